//! Notified entities: names of call agents (RFC 3435 §2.1.4, §3.2.2.11).

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use crate::wire::mgcp::NotifiedEntity;

/// A call agent's name: `ca@ca1.example.net:5678`, `[192.0.2.5]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entity {
    text: Box<[u8]>,
    host: Host,
    port: u16,
}

/// The host of a call agent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Host {
    /// Its address.
    Address(IpAddr),
    /// Its name, which has addresses.
    Name(Box<str>),
}

impl Entity {
    /// Reads a name; `None` when it is not one, or means many hosts at once. The part before the `@` may be missing.
    pub fn parse(text: &[u8]) -> Option<Self> {
        let name = NotifiedEntity::parse(text)?;
        let host = match name.address() {
            Some(address) => Host::Address(Some(address).filter(|address| is_one_host(*address))?),
            None if name.domain.contains(&b'[') => return None,
            None => Host::Name(std::str::from_utf8(name.domain).ok()?.into()),
        };
        Some(Entity { text: text.trim_ascii().into(), host, port: name.port })
    }

    /// The call agent that sends from this address.
    pub fn at(source: SocketAddr) -> Self {
        let text = format!("[{}]:{}", source.ip(), source.port());
        Entity { text: text.into_bytes().into(), host: Host::Address(source.ip()), port: source.port() }
    }

    /// The name as written.
    pub fn text(&self) -> &[u8] {
        &self.text
    }

    /// Its host.
    pub const fn host(&self) -> &Host {
        &self.host
    }

    /// Its port.
    pub const fn port(&self) -> u16 {
        self.port
    }
}

/// Whether it is the address of one host: no call agent may make us send to whole networks.
pub(super) fn is_one_host(address: IpAddr) -> bool {
    !address.is_multicast() && !address.is_unspecified() && address != IpAddr::V4(Ipv4Addr::BROADCAST)
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
        assert_eq!(read("ca@ca1.example.net"), Some((named("ca1.example.net"), 2_727)));
        assert_eq!(read("ca1.example.net"), Some((named("ca1.example.net"), 2_727)));
        let address = Host::Address("192.0.2.5".parse().unwrap());
        assert_eq!(read(" [192.0.2.5] "), Some((address.clone(), 2_727)));
        assert_eq!(read("ca@192.0.2.5:99"), Some((address, 99)));
        assert_eq!(read("ca@[2001:db8::1]:99"), Some((Host::Address("2001:db8::1".parse().unwrap()), 99)));
    }

    #[test]
    fn a_text_without_a_name_a_port_or_a_whole_address_is_no_entity() {
        for text in ["", "ca@", "ca@host:0", "ca@[192.0.2.5", "ca@[host]", "ca @host"] {
            assert_eq!(read(text), None, "{text}");
        }
    }

    #[test]
    fn whole_networks_are_no_call_agent() {
        for text in ["ca@[224.0.0.1]", "ca@239.1.1.1:99", "[255.255.255.255]", "[0.0.0.0]", "[::]", "ca@[ff02::1]"] {
            assert_eq!(read(text), None, "{text}");
        }
    }
}
