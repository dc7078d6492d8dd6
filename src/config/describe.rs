//! A configuration as text, key by key: `pointsman check --print` shows it and a reload compares it.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use super::{
    AccessRule, Bytes, Config, EndpointKind, Insert, KEYS, Lan, Listen, MethodRule, MgcpRule, Network, Policy, Pool,
    PortRange, Proxy, ProxyKeys, Route, SipRule, SizeSource, Span, TlsIdentity,
};
use crate::ids::TokenKey;
use crate::words::ReplyFrom;

/// One key of a checked configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Described {
    /// The key.
    pub key: &'static str,
    /// Its value as it would be written in the file; secrets as `…`.
    pub value: String,
    /// Whether a reload may change it.
    pub apply: Apply,
}

/// Event with which a changed value takes effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Apply {
    /// A reload.
    Live,
    /// The next start: sockets, memory and workers were set up with the old value.
    Restart,
}

impl Config {
    /// Every key with its value in force, in the order of the table.
    pub fn describe(&self) -> Vec<Described> {
        KEYS.iter().map(|key| Described { key: key.name, value: (key.value)(self), apply: key.apply }).collect()
    }
}

/// A value in the notation of the configuration file.
pub(super) trait Written {
    fn written(&self) -> String;

    /// Text for a key without a value.
    fn unset() -> String {
        "(not set)".to_owned()
    }
}

macro_rules! written_bare {
    ($($type:ty),+) => {
        $(impl Written for $type {
            fn written(&self) -> String {
                self.to_string()
            }
        })+
    };
}

macro_rules! written_quoted {
    ($($type:ty),+) => {
        $(impl Written for $type {
            fn written(&self) -> String {
                quoted(self)
            }
        })+
    };
}

written_bare!(bool, u16, u32, usize, AccessRule, Lan, MgcpRule, Pool, Proxy, ProxyKeys, Route, SipRule, TlsIdentity);
written_quoted!(String, IpAddr, Listen, PortRange, Policy, Insert, Span, Network, SizeSource, Bytes, MethodRule);
written_quoted!(EndpointKind, ReplyFrom);

impl Written for PathBuf {
    fn written(&self) -> String {
        quoted(self.display())
    }
}

impl Written for TokenKey {
    fn written(&self) -> String {
        quoted("…")
    }
}

impl Written for Duration {
    fn written(&self) -> String {
        Span::Of(*self).written()
    }

    fn unset() -> String {
        Span::Never.written()
    }
}

impl<T: Written> Written for Option<T> {
    fn written(&self) -> String {
        self.as_ref().map_or_else(T::unset, T::written)
    }
}

impl<T: Written> Written for Vec<T> {
    fn written(&self) -> String {
        format!("[{}]", self.iter().map(T::written).collect::<Vec<_>>().join(", "))
    }
}

impl<K: Display, V: Written> Written for BTreeMap<K, V> {
    fn written(&self) -> String {
        let row = |(name, value): (&K, &V)| format!("{} = {}", key(&name.to_string()), value.written());
        let rows: Vec<String> = self.iter().map(row).collect();
        if rows.is_empty() { "{}".to_owned() } else { format!("{{ {} }}", rows.join(", ")) }
    }
}

/// A table on one line, of those fields that have a value.
pub(super) fn inline_table<const N: usize>(fields: [(&str, Option<String>); N]) -> String {
    let rows = fields.into_iter().filter_map(|(name, value)| Some(format!("{name} = {}", value?)));
    let rows: Vec<String> = rows.collect();
    if rows.is_empty() { "{}".to_owned() } else { format!("{{ {} }}", rows.join(", ")) }
}

/// A text as it is written in the file: in quotes, with quotes and backslashes in it marked.
pub(super) fn quoted(value: impl Display) -> String {
    toml::Value::String(value.to_string()).to_string()
}

/// A key as it is written in a table: quoted where it has more than letters, digits and hyphens.
fn key(name: &str) -> String {
    let is_bare = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
    if name.bytes().all(is_bare) { name.to_owned() } else { quoted(name) }
}
