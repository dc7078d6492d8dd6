//! A question and its possible outcomes.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use crate::words::Transport;

/// The subject of a look-up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    /// A name, an IPv4 address, or an IPv6 address with or without brackets.
    pub host: Box<str>,
    /// The port; without one SRV records name it, else it is the usual one (RFC 3263 §4.2).
    pub port: Option<u16>,
    /// The transports that the asker can use, the one it likes best first; at least one.
    pub protocols: &'static [Protocol],
    /// Whether the domain is asked for its transports before their SRV records (RFC 3263 §4.1).
    pub asks_transports: bool,
    /// On whose behalf it is asked.
    pub source: Source,
}

/// A transport that SRV records are kept for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// `_sip._udp`
    Udp,
    /// `_sip._tcp`
    Tcp,
    /// `_sips._tcp`
    Tls,
}

impl Protocol {
    /// The labels before a domain's name in the name of its SRV records.
    pub(super) const fn service(self) -> &'static str {
        match self {
            Protocol::Udp => "_sip._udp",
            Protocol::Tcp => "_sip._tcp",
            Protocol::Tls => "_sips._tcp",
        }
    }

    /// The service of its NAPTR records, in lower case (RFC 3263 §4.1).
    pub(super) const fn pointer(self) -> &'static str {
        match self {
            Protocol::Udp => "sip+d2u",
            Protocol::Tcp => "sip+d2t",
            Protocol::Tls => "sips+d2t",
        }
    }
}

/// A place that was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// The transport spoken there.
    pub protocol: Protocol,
    /// The address.
    pub address: SocketAddr,
}

/// A place with its rank among all of its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Server {
    /// The place.
    pub endpoint: Endpoint,
    /// Its priority (RFC 2782), the lowest first; 0 without SRV records.
    pub priority: u16,
    /// Its weight; 0 without SRV records.
    pub weight: u16,
}

/// The source on whose behalf a question is asked: fair shares are counted by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Source {
    /// The MGCP gateway, for names of call agents.
    CallAgents,
    /// The configuration, for names of downstream proxies.
    Proxies,
    /// A peer at this address; for IPv6 its network of 64 bits, which belongs to one customer.
    Peer(IpAddr),
}

impl Source {
    /// The source that a peer at `ip` counts for.
    pub fn peer(ip: IpAddr) -> Self {
        match ip {
            IpAddr::V4(_) => Source::Peer(ip),
            IpAddr::V6(ip) => Source::Peer(Ipv6Addr::from(u128::from(ip) >> 64 << 64).into()),
        }
    }
}

/// The fate of a question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Asked {
    /// It was an address: no look-up needed.
    Now(Endpoint),
    /// The answer comes later, if only because the cache and the files have not been searched yet.
    Later,
}

/// Why a name has no address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unfound {
    /// The name servers say that there is no such name.
    #[error("there is no name `{name}`")]
    NoName {
        /// The name.
        name: Box<str>,
    },
    /// The name servers know no address of it.
    #[error("`{name}` has no address")]
    Nothing {
        /// The name.
        name: Box<str>,
    },
    /// The name servers do not answer, or say that they cannot.
    #[error("the name servers give no answer for `{name}`")]
    Failed {
        /// The name.
        name: Box<str>,
    },
    /// The answer did not come in time.
    #[error("the address of `{name}` was not found in time")]
    Late {
        /// The name.
        name: Box<str>,
    },
    /// Too many questions wait already, most of them of this source.
    #[error("cannot look up `{name}`: too many look-ups wait already")]
    Busy {
        /// The name.
        name: Box<str>,
    },
    /// Not a host name at all.
    #[error("`{name}` is not a host name")]
    NotAName {
        /// The name, as far as it is text.
        name: Box<str>,
    },
}

/// RFC 1035 §2.3.4, with room for the labels that are put before a name.
const NAME_LIMIT: usize = 235;
/// RFC 1035 §2.3.4.
const LABEL_LIMIT: usize = 63;

impl Question {
    /// The address, if the host is an address and no name.
    pub(super) fn literal(&self) -> Option<IpAddr> {
        let bare = self.host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(&self.host);
        bare.parse().ok()
    }

    /// The port, where no SRV record says another.
    pub(super) fn usual_port(&self) -> u16 {
        let transport = match self.protocols.first() {
            Some(Protocol::Tls) => Transport::Tls,
            _ => Transport::Udp,
        };
        self.port.unwrap_or(transport.default_port())
    }

    /// Whether the host may be a name: letters, digits, hyphens and dots (RFC 1123 §2.1), and the underscore that many
    /// networks use.
    pub(super) fn is_name(&self) -> bool {
        let host = self.host.strip_suffix('.').unwrap_or(&self.host);
        let is_byte = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        let is_label = |label: &str| (1..=LABEL_LIMIT).contains(&label.len()) && label.bytes().all(is_byte);
        host.len() <= NAME_LIMIT && host.split('.').all(is_label)
    }

    /// The beginning of the host, for an error.
    pub(super) fn shown(&self) -> Box<str> {
        self.host.chars().take(NAME_LIMIT).collect::<String>().into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(host: &str) -> Question {
        let protocols = &[Protocol::Udp];
        Question { host: host.into(), port: None, protocols, asks_transports: false, source: Source::CallAgents }
    }

    #[test]
    fn addresses_are_no_names() {
        for (text, address) in [("192.0.2.1", "192.0.2.1"), ("[2001:db8::1]", "2001:db8::1"), ("::1", "::1")] {
            assert_eq!(of(text).literal(), address.parse().ok(), "{text}");
        }
        assert_eq!(of("ms.example.net").literal(), None);
    }

    #[test]
    fn names_are_told_from_text_that_is_no_name() {
        for good in ["a", "ms-1.example.net", "ms_1.example.net.", &format!("{}.net", "a".repeat(63))] {
            assert!(of(good).is_name(), "{good}");
        }
        let long = ["a".repeat(64), ["abcdefgh"; 30].join(".")];
        for bad in ["", ".", "a..b", ".a", "a b", "a\0b", "[::1", "ü.example", &long[0], &long[1]] {
            assert!(!of(bad).is_name(), "{bad}");
        }
    }

    #[test]
    fn a_customer_of_ipv6_is_one_source() {
        let peer = |text: &str| Source::peer(text.parse().unwrap());
        assert_eq!(peer("2001:db8::1"), peer("2001:db8::ffff:1"));
        assert_ne!(peer("2001:db8::1"), peer("2001:db8:0:1::1"));
        assert_ne!(peer("192.0.2.1"), peer("192.0.2.2"));
    }
}
