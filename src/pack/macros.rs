//! Macros that write [`Pack`](super::Pack) and [`Saved`](super::Saved) from a list of fields or variants.

/// Packs a type by the list of its fields:
///
/// - a struct: `packed!(Point { x, y })`, of any types `packed!(Point<T, U> { x, y })`, with fields that are not packed
///   and unpacked as their default `packed!(Point { x, y } else { seen })`;
/// - a newtype: `packed!(Metres(u32))`;
/// - any type by a value that says the same: `packed!(Set by Vec<u32>: Set::list, Set::of_list)`;
/// - an enum, by codes that never change their meaning:
///   `packed!(Shape as Nothing = 0, Dot(at) = 1, Line { a, b } = 2)`.
macro_rules! packed {
    ($type:ident { $($field:ident),* $(,)? } $(else { $($other:ident),* })?) => {
        packed!([] $type { $($field),* } else { $($($other),*)? });
    };
    ($type:ident<$($of:ident$(: $bound:path)?),+> { $($field:ident),* $(,)? }) => {
        packed!([<$($of: [$crate::pack::Pack $(+ $bound)?]),+> $type<$($of),+>] $type { $($field),* } else {});
    };
    ([] $type:ident $fields:tt else $others:tt) => {
        packed!([<> $type] $type $fields else $others);
    };
    ([<$($of:ident: [$($bound:tt)+]),*> $name:ty] $type:ident { $($field:ident),* } else { $($other:ident),* }) => {
        impl<$($of: $($bound)+),*> $crate::pack::Pack for $name {
            #[inline]
            fn pack(&self, out: &mut Vec<u8>) {
                let $type { $($field,)* $($other: _,)* } = self;
                $($crate::pack::Pack::pack($field, out);)*
            }

            #[inline]
            fn unpack(from: &mut $crate::pack::Packed<'_>) -> Result<Self, $crate::pack::Damaged> {
                Ok($type { $($field: $crate::pack::Pack::unpack(from)?,)* $($other: Default::default(),)* })
            }

            fn layout(out: &mut String) {
                out.push_str(concat!(stringify!($type), "{"));
                $(
                    out.push_str(concat!(stringify!($field), ":"));
                    $crate::pack::layout_of::<Self, _>(|it| &it.$field, out);
                    out.push(',');
                )*
                out.push('}');
            }
        }
    };
    ($type:ident($inner:ty)) => {
        impl $crate::pack::Pack for $type {
            #[inline]
            fn pack(&self, out: &mut Vec<u8>) {
                <$inner as $crate::pack::Pack>::pack(&self.0, out);
            }

            #[inline]
            fn unpack(from: &mut $crate::pack::Packed<'_>) -> Result<Self, $crate::pack::Damaged> {
                <$inner as $crate::pack::Pack>::unpack(from).map($type)
            }

            fn layout(out: &mut String) {
                out.push_str(concat!(stringify!($type), "="));
                <$inner as $crate::pack::Pack>::layout(out);
            }
        }
    };
    ($type:ident$(<$of:ident: $bound:path>)? by $value:ty: $value_of:expr, $of_value:expr) => {
        impl$(<$of: $crate::pack::Pack + $bound>)? $crate::pack::Pack for $type$(<$of>)? {
            fn pack(&self, out: &mut Vec<u8>) {
                let value_of: fn(&Self) -> $value = $value_of;
                $crate::pack::Pack::pack(&value_of(self), out);
            }

            fn unpack(from: &mut $crate::pack::Packed<'_>) -> Result<Self, $crate::pack::Damaged> {
                let of_value: fn($value) -> Result<Self, $crate::pack::Damaged> = $of_value;
                of_value($crate::pack::Pack::unpack(from)?)
            }

            fn layout(out: &mut String) {
                out.push_str(concat!(stringify!($type), "="));
                <$value as $crate::pack::Pack>::layout(out);
            }
        }
    };
    ($type:ident as $($variant:ident $(($($item:ident),*))? $({ $($field:ident),* })? = $code:literal),* $(,)?) => {
        impl $crate::pack::Pack for $type {
            #[inline]
            fn pack(&self, out: &mut Vec<u8>) {
                match self {
                    $($type::$variant $(($($item),*))? $({ $($field),* })? => {
                        out.push($code);
                        $($($crate::pack::Pack::pack($item, out);)*)?
                        $($($crate::pack::Pack::pack($field, out);)*)?
                    })*
                }
            }

            #[inline]
            fn unpack(from: &mut $crate::pack::Packed<'_>) -> Result<Self, $crate::pack::Damaged> {
                match <u8 as $crate::pack::Pack>::unpack(from)? {
                    $($code => {
                        $($(let $item = $crate::pack::Pack::unpack(from)?;)*)?
                        $($(let $field = $crate::pack::Pack::unpack(from)?;)*)?
                        Ok($type::$variant $(($($item),*))? $({ $($field),* })?)
                    })*
                    _ => Err($crate::pack::Damaged(stringify!($type))),
                }
            }

            #[allow(unused_variables, reason = "a variant is taken apart for each of its fields")]
            fn layout(out: &mut String) {
                out.push_str(stringify!($type));
                $(
                    out.push_str(concat!("|", stringify!($variant), "=", $code));
                    packed!(@parts $type::$variant $(($($item),*))? $({ $($field),* })?, out);
                )*
            }
        }
    };
    (@parts $type:ident::$variant:ident, $out:ident) => {};
    (@parts $type:ident::$variant:ident ($($item:ident),*), $out:ident) => {
        packed!(@each $type::$variant, ($($item),*), [$($item)*], $out);
    };
    (@parts $type:ident::$variant:ident { $($field:ident),* }, $out:ident) => {
        $(
            $out.push_str(concat!(":", stringify!($field), ":"));
            $crate::pack::layout_in::<$type, _>(
                |it| match it {
                    $type::$variant { $field, .. } => Some($field),
                    #[allow(unreachable_patterns, reason = "an enum may have one variant alone")]
                _ => None,
                },
                $out,
            );
        )*
    };
    (@each $type:ident::$variant:ident, $all:tt, [$($item:ident)*], $out:ident) => {
        $(
            $out.push(':');
            packed!(@one $type::$variant $all, $item, $out);
        )*
    };
    (@one $type:ident::$variant:ident ($($all:ident),*), $item:ident, $out:ident) => {
        $crate::pack::layout_in::<$type, _>(
            |it| match it {
                $type::$variant($($all),*) => Some($item),
                #[allow(unreachable_patterns, reason = "an enum may have one variant alone")]
                _ => None,
            },
            $out,
        );
    };
}
pub(crate) use packed;

/// Saves a type by the list of its fields, and of those that are left out: `saved!(Table { entries } else { limit })`.
/// `then` names a function that checks what was restored, and builds what follows from it. A type that is none of its
/// fields' sum is saved by a value: `saved!(Index by Vec<u64>: Index::filled, Index::refill)`.
macro_rules! saved {
    ($type:ident$(<$of:ident: $bound:path>)? { $($field:ident),* $(,)? } else { $($other:ident),* $(,)? } $(then $check:expr)?) => {
        impl$(<$of: $bound>)? $crate::pack::Saved for $type$(<$of>)? {
            fn save(&self, out: &mut Vec<u8>) {
                let $type { $($field,)* $($other: _,)* } = self;
                $($crate::pack::Saved::save($field, out);)*
            }

            fn restore(&mut self, from: &mut $crate::pack::Packed<'_>) -> Result<(), $crate::pack::Damaged> {
                $($crate::pack::Saved::restore(&mut self.$field, from)?;)*
                $($check(self)?;)?
                Ok(())
            }

            fn describe(out: &mut String) {
                out.push_str(concat!(stringify!($type), "{"));
                $(
                    out.push_str(concat!(stringify!($field), ":"));
                    $crate::pack::describe_of::<Self, _>(|it| &it.$field, out);
                    out.push(',');
                )*
                out.push('}');
            }
        }
    };
    ($type:ident by $value:ty: $value_of:expr, $set:expr) => {
        impl $crate::pack::Saved for $type {
            fn save(&self, out: &mut Vec<u8>) {
                let value_of: fn(&$type) -> $value = $value_of;
                $crate::pack::Pack::pack(&value_of(self), out);
            }

            fn restore(&mut self, from: &mut $crate::pack::Packed<'_>) -> Result<(), $crate::pack::Damaged> {
                let set: fn(&mut $type, $value) -> Result<(), $crate::pack::Damaged> = $set;
                set(self, $crate::pack::Pack::unpack(from)?)
            }

            fn describe(out: &mut String) {
                out.push_str(concat!(stringify!($type), "="));
                <$value as $crate::pack::Pack>::layout(out);
            }
        }
    };
}
pub(crate) use saved;
