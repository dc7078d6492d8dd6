//! One row of the table of keys, and the macro that makes settings and list of keys from the rows.

use std::ffi::OsStr;
use std::fmt::Display;
use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::path::PathBuf;

use super::error::Fault;
use super::settings::NO_ADDRESS;
use super::{Apply, Bytes, Config, Insert, Listen, Network, Policy, PortRange, Settings, SizeSource, Span};
use crate::words::ReplyFrom;

/// A key of the configuration: a row of the table in `src/config/keys.rs`.
#[derive(Debug)]
pub struct Key {
    /// Name in the file; on the command line it follows `--`.
    pub name: &'static str,
    /// Description: `--help` shows the first sentence, README the whole.
    pub doc: &'static str,
    /// Section of README that tells more, as a link; empty: none.
    pub see: &'static str,
    /// Event with which a changed value takes effect.
    pub apply: Apply,
    /// Flag of the same name. Tables do not fit on a command line, and secrets there are for all to see.
    pub flag: Option<Flag>,
    /// Words for the default where its value says less.
    pub(super) shown: Option<&'static str>,
    /// Value of an absent key, as it would be written in the file.
    pub(super) default: fn() -> Option<String>,
    /// Values that are possible, in words.
    pub(super) range: fn() -> Option<String>,
    /// Whether the settings have a value for the key.
    pub(super) is_set: fn(&Settings) -> bool,
    /// Value in force, as it would be written in the file.
    pub(super) value: fn(&Config) -> String,
    /// Whether two configurations have the same value.
    pub(super) is_same: fn(&Config, &Config) -> bool,
}

/// A key on the command line.
#[derive(Debug)]
pub struct Flag {
    /// Word for the value in `--help`.
    pub value: &'static str,
    /// Heading that `--help` shows the flag below.
    pub heading: Option<&'static str>,
    /// Whether the flag takes several values, with commas between them or each with the flag again.
    pub is_list: bool,
    /// Adds a value from the command line to the settings; the error is what to write instead.
    pub add: fn(&mut Settings, &OsStr) -> Result<(), String>,
}

impl Key {
    /// Default as the file would have it, or in words.
    pub fn default(&self) -> String {
        self.shown.map(str::to_owned).or_else(self.default).unwrap_or_else(|| "none".to_owned())
    }

    /// Values that are possible, in words; `None`: the description says it.
    pub fn range(&self) -> Option<String> {
        (self.range)()
    }
}

/// Makes [`Settings`] and [`KEYS`](super::KEYS) from the rows of the table. For a key with a default, the settings get
/// a method of the key's name that fills it in and checks the range.
macro_rules! keys {
    ($(
        $(#[doc = $doc:literal])+
        $name:literal $field:ident: $type:ty {
            apply: $apply:ident
            $(, default: $default:expr $(, within: $range:expr, $unit:literal)?)?
            $(, shown: $shown:literal)?
            $(, flag: $value:literal $(under $heading:literal)?)?
            $(, see: $see:literal)?
        }
    )+) => {
        /// The operator's settings: the keys of the configuration file (TOML), each of which may be absent. Durations
        /// carry a unit (`500ms`, `3s`, `5m`, `1h`). README's table has defaults and ranges.
        #[derive(Clone, Debug, Default, PartialEq, Deserialize)]
        #[serde(deny_unknown_fields, default)]
        pub struct Settings {
            $($(#[doc = $doc])+ #[serde(rename = $name)] pub $field: Option<$type>,)+
        }

        impl Settings {
            /// These settings, each replaced by that of `flags` where `flags` has a value.
            #[must_use]
            pub fn overridden_by(&self, flags: &Settings) -> Settings {
                Settings { $($field: flags.$field.as_ref().or(self.$field.as_ref()).cloned(),)+ }
            }

            $($(
                pub(super) fn $field(&self) -> Result<$type, Fault> {
                    let value = self.$field.clone().unwrap_or_else(|| $default);
                    $(within($name, &value, &$range, $unit)?;)?
                    Ok(value)
                }
            )?)+
        }

        /// The keys of the configuration, in the order in which README and `pointsman check --print` list them.
        pub const KEYS: &[Key] = &[$(Key {
            name: $name,
            doc: concat!($($doc),+),
            see: concat!($($see)?),
            apply: Apply::$apply,
            flag: maybe!($(Flag {
                value: $value,
                heading: maybe!($($heading)?),
                is_list: <$type as Given>::IS_LIST,
                add: |settings, text| Given::add(&mut settings.$field, text),
            })?),
            shown: maybe!($($shown)?),
            default: || maybe!($(<$type as Written>::written(&$default))?),
            range: || maybe!($($(words_of(&$range, $unit))?)?),
            is_set: |settings| settings.$field.is_some(),
            value: |config| config.$field.written(),
            is_same: |one, other| one.$field == other.$field,
        }),+];
    };
}
pub(super) use keys;

/// An optional part of a row.
macro_rules! maybe {
    () => {
        None
    };
    ($part:expr) => {
        Some($part)
    };
}
pub(super) use maybe;

/// Checks a value against its range.
pub(super) fn within<T: PartialOrd + Display>(
    key: &str,
    value: &T,
    range: &RangeInclusive<T>,
    unit: &str,
) -> Result<(), Fault> {
    if range.contains(value) {
        return Ok(());
    }
    Err(Fault::of(key, format!("{value} is out of range; give {}", words_of(range, unit))))
}

/// The range in words: `1 to 1000 units`.
pub(super) fn words_of<T: Display>(range: &RangeInclusive<T>, unit: &str) -> String {
    format!("{} to {}{unit}", range.start(), range.end())
}

/// A value that a flag can give.
pub(super) trait Given: Sized {
    /// Whether the flag may give several.
    const IS_LIST: bool = false;

    fn read(text: &OsStr) -> Result<Self, String>;

    fn add(to: &mut Option<Self>, text: &OsStr) -> Result<(), String> {
        *to = Some(Self::read(text)?);
        Ok(())
    }
}

impl<T: Given> Given for Vec<T> {
    const IS_LIST: bool = true;

    fn read(text: &OsStr) -> Result<Self, String> {
        Ok(vec![T::read(text)?])
    }

    fn add(to: &mut Option<Self>, text: &OsStr) -> Result<(), String> {
        to.get_or_insert_default().push(T::read(text)?);
        Ok(())
    }
}

impl Given for PathBuf {
    fn read(text: &OsStr) -> Result<Self, String> {
        Ok(text.into())
    }
}

impl Given for IpAddr {
    fn read(text: &OsStr) -> Result<Self, String> {
        utf8(text)?.parse().map_err(|_| NO_ADDRESS.to_owned())
    }
}

/// Reads types from flags by their `FromStr`.
macro_rules! given_as_text {
    ($($type:ty),+) => {
        $(impl Given for $type {
            fn read(text: &OsStr) -> Result<Self, String> {
                utf8(text)?.parse().map_err(|error: <$type as std::str::FromStr>::Err| error.to_string())
            }
        })+
    };
}

given_as_text!(String, Listen, PortRange, Policy, Insert, Span, Network, SizeSource, Bytes, ReplyFrom);

/// Reads whole numbers from flags; a number that is too large for the key, not for its type, fails the check.
macro_rules! given_as_number {
    ($($type:ty),+) => {
        $(impl Given for $type {
            fn read(text: &OsStr) -> Result<Self, String> {
                let number = utf8(text)?.parse::<u64>().map_err(|_| "not a whole number".to_owned())?;
                number.try_into().map_err(|_| "too large".to_owned())
            }
        })+
    };
}

given_as_number!(u16, u32, usize);

fn utf8(text: &OsStr) -> Result<&str, String> {
    text.to_str().ok_or_else(|| "not UTF-8 text".to_owned())
}
