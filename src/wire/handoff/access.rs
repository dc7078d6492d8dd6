//! The record of the rules about sources (`Access`).
//!
//! ```text
//! entry: 0 u8 family (4, 6)   1 u8 prefix   2 u8 action: 0 allow, 1 deny, 2 limit   3 reserved   4 u32 rate
//!        8 u32 burst   12 u32 ban in milliseconds   16 16 bytes address (IPv4 in the first four)
//! ```

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::frame::{FrameBuilder, stride_fixed};
use super::numbers::{put_u32, u32_at};
use crate::words::{AccessAction, AccessRule};

/// The bytes of an [`AccessRule`] in an `Access` record.
pub(super) const ACCESS_RULE: usize = 32;

/// The rules of an `Access` record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AccessRules<'a> {
    pub(super) bytes: &'a [u8],
    /// Bytes of an entry; entries of a newer version are longer.
    pub(super) stride: usize,
}

impl AccessRules<'_> {
    /// The rules, in the order in which they were written; a rule with an unknown address family is skipped.
    pub fn iter(&self) -> impl Iterator<Item = AccessRule> + '_ {
        self.bytes.chunks_exact(self.stride).filter_map(read_access_rule)
    }
}

impl FrameBuilder {
    /// Adds an `Access` record for `rules`.
    pub fn push_access(&mut self, rules: &[AccessRule]) {
        self.push_entries(7, &stride_fixed(ACCESS_RULE), rules.iter().map(access_entry));
    }
}

fn read_access_rule(entry: &[u8]) -> Option<AccessRule> {
    Some(AccessRule {
        network: match entry[0] {
            4 => Ipv4Addr::new(entry[16], entry[17], entry[18], entry[19]).into(),
            6 => Ipv6Addr::from(<[u8; 16]>::try_from(entry.get(16..32)?).ok()?).into(),
            _ => return None,
        },
        prefix: entry[1],
        action: match entry[2] {
            0 => AccessAction::Allow,
            1 => AccessAction::Deny,
            2 => AccessAction::Limit { rate: u32_at(entry, 4), burst: u32_at(entry, 8), ban_ms: u32_at(entry, 12) },
            _ => AccessAction::Other,
        },
    })
}

fn access_entry(rule: &AccessRule) -> [u8; ACCESS_RULE] {
    let mut entry = [0; ACCESS_RULE];
    match rule.network {
        IpAddr::V4(ip) => {
            entry[0] = 4;
            entry[16..20].copy_from_slice(&ip.octets());
        }
        IpAddr::V6(ip) => {
            entry[0] = 6;
            entry[16..32].copy_from_slice(&ip.octets());
        }
    }
    entry[1] = rule.prefix;
    entry[2] = match rule.action {
        AccessAction::Allow => 0,
        AccessAction::Deny => 1,
        AccessAction::Limit { .. } => 2,
        AccessAction::Other => u8::MAX,
    };
    if let AccessAction::Limit { rate, burst, ban_ms } = rule.action {
        put_u32(&mut entry, 4, rate);
        put_u32(&mut entry, 8, burst);
        put_u32(&mut entry, 12, ban_ms);
    }
    entry
}
