//! Values as bytes: how a dispatcher gives its state to the one that takes over from it.
//!
//! A type lists its fields once (`packed!`), beside its definition. The list is exhaustive: the code does not compile
//! unless a new field is packed or named as left out. Both ends are the same program or nearly so: the format has no
//! room for differences. Instead each type tells its [`Pack::layout`], and a dispatcher refuses bytes of another one.
//!
//! Numbers are little-endian and of their type's length; a list is preceded by its length as u32.

use std::collections::VecDeque;
use std::hash::Hash;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::time::Duration;

use foldhash::fast::FixedState;
use hashbrown::HashMap;

use crate::ids::{ConnId, GatheringId, Incarnation, LinkId, ListenerId, Seq, TargetId, WorkerId};
use crate::time::Time;

/// A value that can be written as bytes and read back.
pub trait Pack: Sized {
    /// Appends it to `out`.
    fn pack(&self, out: &mut Vec<u8>);

    /// Reads it from the front of `from`.
    ///
    /// # Errors
    ///
    /// The bytes are no such value.
    fn unpack(from: &mut Packed<'_>) -> Result<Self, Damaged>;

    /// Reads a value in place of this one. A list keeps its memory.
    ///
    /// # Errors
    ///
    /// As [`Pack::unpack`].
    fn unpack_over(&mut self, from: &mut Packed<'_>) -> Result<(), Damaged> {
        *self = Pack::unpack(from)?;
        Ok(())
    }

    /// Writes a description of its layout, for people and for [`fingerprint`].
    fn layout(out: &mut String);
}

/// State that is replaced in its place: it has limits or memory of its own, so it cannot be unpacked as a new value.
pub trait Saved {
    /// Appends the state to `out`.
    fn save(&self, out: &mut Vec<u8>);

    /// Replaces the state by the one at the front of `from`.
    ///
    /// # Errors
    ///
    /// The bytes are no such state, or do not fit; the value must not be used then.
    fn restore(&mut self, from: &mut Packed<'_>) -> Result<(), Damaged>;

    /// Writes a description of the layout, as [`Pack::layout`] does.
    fn describe(out: &mut String);
}

impl<T: Pack> Saved for T {
    fn save(&self, out: &mut Vec<u8>) {
        self.pack(out);
    }

    fn restore(&mut self, from: &mut Packed<'_>) -> Result<(), Damaged> {
        self.unpack_over(from)
    }

    fn describe(out: &mut String) {
        T::layout(out);
    }
}

/// Bytes that values are read from.
#[derive(Clone, Copy, Debug)]
pub struct Packed<'a>(&'a [u8]);

/// The bytes are not as they were written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the state of the running dispatcher cannot be read ({0})")]
pub struct Damaged(pub &'static str);

impl<'a> Packed<'a> {
    /// Reads from the front of `bytes`.
    pub const fn new(bytes: &'a [u8]) -> Self {
        Packed(bytes)
    }

    /// Takes `length` bytes.
    ///
    /// # Errors
    ///
    /// Fewer bytes are left.
    pub fn take(&mut self, length: usize) -> Result<&'a [u8], Damaged> {
        let (taken, rest) = self.0.split_at_checked(length).ok_or(Damaged("too short"))?;
        self.0 = rest;
        Ok(taken)
    }

    /// Reads the length of a list. Every item takes a byte at least, so a length beyond the bytes is refused before
    /// anything is reserved for it.
    ///
    /// # Errors
    ///
    /// The bytes hold no list of that length.
    pub fn length(&mut self) -> Result<usize, Damaged> {
        let length = u32::unpack(self)? as usize;
        if length > self.0.len() { Err(Damaged("a list longer than the rest")) } else { Ok(length) }
    }

    /// Reads bytes with their length in front.
    ///
    /// # Errors
    ///
    /// Fewer bytes are left.
    pub fn bytes(&mut self) -> Result<&'a [u8], Damaged> {
        let length = self.length()?;
        self.take(length)
    }

    /// Whether everything has been read.
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Writes the length of a list.
pub fn pack_length(length: usize, out: &mut Vec<u8>) {
    u32::try_from(length).unwrap_or(u32::MAX).pack(out);
}

/// Writes bytes with their length in front.
pub fn pack_bytes(bytes: &[u8], out: &mut Vec<u8>) {
    pack_length(bytes.len(), out);
    out.extend_from_slice(bytes);
}

/// A number for a layout: 64 bits of FNV-1a, the same in every build.
pub fn fingerprint(layout: &str) -> u64 {
    layout.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

/// The layout of the field that a closure names.
pub(crate) fn layout_of<T, F: Pack>(_: fn(&T) -> &F, out: &mut String) {
    F::layout(out);
}

/// The layout of the field of a variant that a closure names.
pub(crate) fn layout_in<T, F: Pack>(_: fn(&T) -> Option<&F>, out: &mut String) {
    F::layout(out);
}

/// Packs a type by the list of its fields:
///
/// - a struct: `packed!(Point { x, y })`, of any type `packed!(Point<T> { x, y })`, with fields that are not packed
///   and unpacked as their default `packed!(Point { x, y } else { seen })`;
/// - a newtype: `packed!(Metres(u32))`;
/// - any type by a value that says the same: `packed!(Set by Vec<u32>: Set::list, Set::of_list)`;
/// - an enum, by codes that never change their meaning:
///   `packed!(Shape as Nothing = 0, Dot(at) = 1, Line { a, b } = 2)`.
macro_rules! packed {
    ($type:ident { $($field:ident),* $(,)? } $(else { $($other:ident),* })?) => {
        packed!([] $type { $($field),* } else { $($($other),*)? });
    };
    ($type:ident<$of:ident> { $($field:ident),* $(,)? }) => {
        packed!([$of] $type { $($field),* } else {});
    };
    ([$($of:ident)?] $type:ident { $($field:ident),* } else { $($other:ident),* }) => {
        impl$(<$of: $crate::pack::Pack>)? $crate::pack::Pack for $type$(<$of>)? {
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
    ($type:ident by $value:ty: $value_of:expr, $of_value:expr) => {
        impl $crate::pack::Pack for $type {
            fn pack(&self, out: &mut Vec<u8>) {
                let value_of: fn(&$type) -> $value = $value_of;
                $crate::pack::Pack::pack(&value_of(self), out);
            }

            fn unpack(from: &mut $crate::pack::Packed<'_>) -> Result<Self, $crate::pack::Damaged> {
                let of_value: fn($value) -> Result<$type, $crate::pack::Damaged> = $of_value;
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

/// The layout of the state in the field that a closure names.
pub(crate) fn describe_of<T, F: Saved>(_: fn(&T) -> &F, out: &mut String) {
    F::describe(out);
}

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

macro_rules! packed_numbers {
    ($($type:ident),*) => {$(
        impl Pack for $type {
            #[inline]
            fn pack(&self, out: &mut Vec<u8>) {
                out.extend_from_slice(&self.to_le_bytes());
            }

            #[inline]
            fn unpack(from: &mut Packed<'_>) -> Result<Self, Damaged> {
                let (bytes, rest) = from.0.split_first_chunk().ok_or(Damaged("too short"))?;
                from.0 = rest;
                Ok($type::from_le_bytes(*bytes))
            }

            fn layout(out: &mut String) {
                out.push_str(stringify!($type));
            }
        }
    )*};
}
packed_numbers!(u8, u16, u32, u64);

/// Packs a type that is a number by another name.
macro_rules! packed_as {
    ($($type:ident: $number:ident, $from:expr, $to:expr;)*) => {$(
        impl $crate::pack::Pack for $type {
            #[inline]
            fn pack(&self, out: &mut Vec<u8>) {
                let to: fn(&$type) -> $number = $to;
                $crate::pack::Pack::pack(&to(self), out);
            }

            #[inline]
            fn unpack(from: &mut $crate::pack::Packed<'_>) -> Result<Self, $crate::pack::Damaged> {
                let make: fn($number) -> $type = $from;
                <$number as $crate::pack::Pack>::unpack(from).map(make)
            }

            fn layout(out: &mut String) {
                out.push_str(concat!(stringify!($type), "=", stringify!($number)));
            }
        }
    )*};
}
packed_as! {
    bool: u8, |number| number != 0, |it| u8::from(*it);
    usize: u64, |number| number as usize, |it| *it as u64;
    Duration: u64, Duration::from_micros, |it| u64::try_from(it.as_micros()).unwrap_or(u64::MAX);
    Time: u64, Time, |it| it.0;
    Seq: u64, Seq, |it| it.0;
    ConnId: u64, ConnId, |it| it.0;
    GatheringId: u64, GatheringId, |it| it.0;
    WorkerId: u16, WorkerId, |it| it.0;
    LinkId: u64, LinkId, |it| it.0;
    ListenerId: u16, ListenerId, |it| it.0;
    Incarnation: u64, Incarnation::new, |it| it.bits();
}
packed!(TargetId as Worker(worker) = 0);

impl<T: Pack> Pack for Option<T> {
    #[inline]
    fn pack(&self, out: &mut Vec<u8>) {
        self.is_some().pack(out);
        if let Some(it) = self {
            it.pack(out);
        }
    }

    #[inline]
    fn unpack(from: &mut Packed<'_>) -> Result<Self, Damaged> {
        if bool::unpack(from)? { T::unpack(from).map(Some) } else { Ok(None) }
    }

    fn layout(out: &mut String) {
        out.push('?');
        T::layout(out);
    }
}

impl<T: Pack> Pack for Vec<T> {
    fn pack(&self, out: &mut Vec<u8>) {
        pack_length(self.len(), out);
        self.iter().for_each(|it| it.pack(out));
    }

    fn unpack(from: &mut Packed<'_>) -> Result<Self, Damaged> {
        let length = from.length()?;
        (0..length).map(|_| T::unpack(from)).collect()
    }

    fn unpack_over(&mut self, from: &mut Packed<'_>) -> Result<(), Damaged> {
        self.clear();
        for _ in 0..from.length()? {
            self.push(T::unpack(from)?);
        }
        Ok(())
    }

    fn layout(out: &mut String) {
        out.push('*');
        T::layout(out);
    }
}

impl<K: Pack + Eq + Hash, V: Pack> Pack for HashMap<K, V, FixedState> {
    fn pack(&self, out: &mut Vec<u8>) {
        pack_length(self.len(), out);
        for (key, value) in self {
            key.pack(out);
            value.pack(out);
        }
    }

    fn unpack(from: &mut Packed<'_>) -> Result<Self, Damaged> {
        let length = from.length()?;
        (0..length).map(|_| Pack::unpack(from)).collect()
    }

    fn layout(out: &mut String) {
        <Vec<(K, V)>>::layout(out);
    }
}

impl<T: Pack> Pack for VecDeque<T> {
    fn pack(&self, out: &mut Vec<u8>) {
        pack_length(self.len(), out);
        self.iter().for_each(|it| it.pack(out));
    }

    fn unpack(from: &mut Packed<'_>) -> Result<Self, Damaged> {
        <Vec<T>>::unpack(from).map(VecDeque::from)
    }

    fn layout(out: &mut String) {
        <Vec<T>>::layout(out);
    }
}

impl<T: Pack + Default, const N: usize> Pack for [T; N] {
    fn pack(&self, out: &mut Vec<u8>) {
        self.iter().for_each(|it| it.pack(out));
    }

    fn unpack(from: &mut Packed<'_>) -> Result<Self, Damaged> {
        let mut all = std::array::from_fn(|_| T::default());
        for it in &mut all {
            *it = T::unpack(from)?;
        }
        Ok(all)
    }

    fn layout(out: &mut String) {
        out.push_str(&format!("{N}×"));
        T::layout(out);
    }
}

impl<A: Pack, B: Pack> Pack for (A, B) {
    fn pack(&self, out: &mut Vec<u8>) {
        self.0.pack(out);
        self.1.pack(out);
    }

    fn unpack(from: &mut Packed<'_>) -> Result<Self, Damaged> {
        Ok((A::unpack(from)?, B::unpack(from)?))
    }

    fn layout(out: &mut String) {
        A::layout(out);
        out.push('&');
        B::layout(out);
    }
}

impl Pack for String {
    fn pack(&self, out: &mut Vec<u8>) {
        pack_bytes(self.as_bytes(), out);
    }

    fn unpack(from: &mut Packed<'_>) -> Result<Self, Damaged> {
        String::from_utf8(from.bytes()?.to_vec()).map_err(|_| Damaged("text"))
    }

    fn layout(out: &mut String) {
        out.push_str("text");
    }
}

impl Pack for IpAddr {
    fn pack(&self, out: &mut Vec<u8>) {
        SocketAddr::new(*self, 0).pack(out);
    }

    fn unpack(from: &mut Packed<'_>) -> Result<Self, Damaged> {
        SocketAddr::unpack(from).map(|address| address.ip())
    }

    fn layout(out: &mut String) {
        out.push_str("ip");
    }
}

impl Pack for Box<[u8]> {
    fn pack(&self, out: &mut Vec<u8>) {
        pack_bytes(self, out);
    }

    fn unpack(from: &mut Packed<'_>) -> Result<Self, Damaged> {
        from.bytes().map(Box::from)
    }

    fn layout(out: &mut String) {
        out.push_str("bytes");
    }
}

impl Pack for SocketAddr {
    fn pack(&self, out: &mut Vec<u8>) {
        self.port().pack(out);
        match self {
            SocketAddr::V4(v4) => {
                4_u8.pack(out);
                v4.ip().octets().pack(out);
            }
            SocketAddr::V6(v6) => {
                6_u8.pack(out);
                v6.ip().octets().pack(out);
                v6.scope_id().pack(out);
            }
        }
    }

    fn unpack(from: &mut Packed<'_>) -> Result<Self, Damaged> {
        let port = u16::unpack(from)?;
        match u8::unpack(from)? {
            4 => Ok(SocketAddr::new(IpAddr::V4(Ipv4Addr::from(<[u8; 4]>::unpack(from)?)), port)),
            6 => {
                let ip = Ipv6Addr::from(<[u8; 16]>::unpack(from)?);
                Ok(SocketAddrV6::new(ip, port, 0, u32::unpack(from)?).into())
            }
            _ => Err(Damaged("address family")),
        }
    }

    fn layout(out: &mut String) {
        out.push_str("address");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Clone, Debug, PartialEq, Eq)]
    struct Sample {
        number: u32,
        list: Vec<(WorkerId, Option<Time>)>,
        address: SocketAddr,
        light: Light,
    }

    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    enum Light {
        Red,
        Green,
    }

    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    struct Metres(u16);

    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    enum Shape {
        Nothing,
        Line(Metres, u8),
        Box { wide: Metres, is_full: bool },
    }

    packed!(Sample { number, list, address, light });
    packed!(Light as Red = 0, Green = 7);
    packed!(Metres(u16));
    packed!(Shape as Nothing = 0, Line(long, thick) = 1, Box { wide, is_full } = 4);

    #[test]
    fn variants_come_back_with_their_fields_by_codes_of_their_own() {
        let shapes = [Shape::Nothing, Shape::Line(Metres(7), 1), Shape::Box { wide: Metres(2), is_full: true }];
        for (shape, bytes) in shapes.into_iter().zip([&[0][..], &[1, 7, 0, 1], &[4, 2, 0, 1]]) {
            let mut packed = Vec::new();
            shape.pack(&mut packed);
            assert_eq!((&packed[..], Shape::unpack(&mut Packed::new(bytes))), (bytes, Ok(shape)));
        }
        let mut layout = String::new();
        Shape::layout(&mut layout);
        assert_eq!(layout, "Shape|Nothing=0|Line=1:Metres=u16:u8|Box=4:wide:Metres=u16:is_full:bool=u8");
    }

    fn sample() -> Sample {
        Sample {
            number: 7,
            list: vec![(WorkerId(3), None), (WorkerId(4), Some(Time(5)))],
            address: "[fe80::1%3]:5060".parse().unwrap(),
            light: Light::Green,
        }
    }

    fn bytes() -> Vec<u8> {
        let mut bytes = Vec::new();
        sample().pack(&mut bytes);
        "192.0.2.1:5070".parse::<SocketAddr>().unwrap().pack(&mut bytes);
        bytes
    }

    #[test]
    fn a_packed_value_unpacks_as_the_same() {
        let bytes = bytes();
        let mut from = Packed::new(&bytes);
        assert_eq!(Sample::unpack(&mut from), Ok(sample()));
        assert_eq!(SocketAddr::unpack(&mut from), Ok("192.0.2.1:5070".parse().unwrap()));
        assert!(from.is_empty());
    }

    #[test]
    fn bytes_that_are_cut_anywhere_are_damaged_and_nothing_else() {
        let bytes = bytes();
        for end in 0..bytes.len() - 7 {
            assert!(Sample::unpack(&mut Packed::new(&bytes[..end])).is_err(), "{end}");
        }
        let endless = [0xff; 12];
        assert!(<Vec<u8>>::unpack(&mut Packed::new(&endless)).is_err());
        assert_eq!(Light::unpack(&mut Packed::new(&[1])), Err(Damaged("Light")));
    }

    #[test]
    fn a_layout_names_every_field_and_its_type() {
        let mut layout = String::new();
        Sample::layout(&mut layout);
        assert_eq!(
            layout,
            "Sample{number:u32,list:*WorkerId=u16&?Time=u64,address:address,light:Light|Red=0|Green=7,}"
        );
        assert_ne!(fingerprint(&layout), fingerprint(&layout.replace("u32", "u64")));
    }
}
