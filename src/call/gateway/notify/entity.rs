//! Notified entities: names of call agents (RFC 3435 §2.1.4, §3.2.2.11).

use std::net::{IpAddr, SocketAddr};

/// A call agent's name: `ca@ca1.example.net:5678`, `[192.0.2.5]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entity {
    text: Box<[u8]>,
    host: Host,
    port: u16,
}

/// Where a call agent is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Host {
    /// At this address.
    Address(IpAddr),
    /// At the addresses of this name.
    Name(Box<str>),
}

/// The port of a call agent whose name has none (RFC 3435 §2.1.4).
pub const PORT: u16 = 2727;

/// RFC 3435 §2.1.2: local name and domain name have at most 255 characters each.
const LONGEST: usize = 2 * 255 + 1 + 6;

impl Entity {
    /// Reads a name; `None` when it is not one. The part before the `@` may be missing.
    pub fn parse(text: &[u8]) -> Option<Self> {
        let trimmed = text.trim_ascii();
        if trimmed.len() > LONGEST || !trimmed.iter().all(u8::is_ascii_graphic) {
            return None;
        }
        let name = std::str::from_utf8(trimmed).ok()?;
        let domain = name.rsplit_once('@').map_or(name, |(_, domain)| domain);
        let (host, port) = split_port(domain)?;
        let host = match host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            Some(address) => Host::Address(address.parse().ok()?),
            None => host.parse().map_or_else(|_| Host::Name(host.into()), Host::Address),
        };
        if matches!(&host, Host::Name(name) if name.is_empty()) {
            return None;
        }
        Some(Entity { text: trimmed.into(), host, port })
    }

    /// Whoever sends from this address.
    pub fn at(source: SocketAddr) -> Self {
        let text = format!("[{}]:{}", source.ip(), source.port());
        Entity { text: text.into_bytes().into(), host: Host::Address(source.ip()), port: source.port() }
    }

    /// The name as written.
    pub fn text(&self) -> &[u8] {
        &self.text
    }

    /// Where it is.
    pub const fn host(&self) -> &Host {
        &self.host
    }

    /// Its port.
    pub const fn port(&self) -> u16 {
        self.port
    }
}

fn split_port(domain: &str) -> Option<(&str, u16)> {
    let (host, port) = match domain.strip_prefix('[') {
        Some(rest) => {
            let end = rest.find(']')? + 2;
            (domain.get(..end)?, domain.get(end..)?)
        }
        None => domain.split_at(domain.find(':').unwrap_or(domain.len())),
    };
    match port.strip_prefix(':') {
        Some(digits) => Some((host, digits.parse().ok().filter(|&port| port != 0)?)),
        None if port.is_empty() => Some((host, PORT)),
        None => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Option<(Host, u16)> {
        Entity::parse(text.as_bytes()).map(|entity| (entity.host, entity.port))
    }

    #[test]
    fn a_call_agent_without_a_port_listens_on_2727() {
        let named = |name: &str| Host::Name(name.into());
        assert_eq!(read("ca@ca1.example.net:5678"), Some((named("ca1.example.net"), 5_678)));
        assert_eq!(read("ca@ca1.example.net"), Some((named("ca1.example.net"), PORT)));
        assert_eq!(read("ca1.example.net"), Some((named("ca1.example.net"), PORT)));
        let address = Host::Address("192.0.2.5".parse().unwrap());
        assert_eq!(read(" [192.0.2.5] "), Some((address.clone(), PORT)));
        assert_eq!(read("ca@192.0.2.5:99"), Some((address, 99)));
        assert_eq!(read("ca@[2001:db8::1]:99"), Some((Host::Address("2001:db8::1".parse().unwrap()), 99)));
    }

    #[test]
    fn what_names_nobody_is_no_entity() {
        for text in
            ["", "ca@", "ca@host:", "ca@host:0", "ca@host:66000", "ca@host:x", "ca@[192.0.2.5", "ca @host", "@:1"]
        {
            assert_eq!(read(text), None, "{text}");
        }
    }
}
