//! The notified entity: where a gateway's own commands go, `N: ca@ca1.example.net:5678` (RFC 3435 §3.2.2.11).

use super::line::{number, trim};

/// The port of call agents (§3.5).
pub const CALL_AGENT_PORT: u16 = 2727;

/// A call agent by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotifiedEntity<'a> {
    /// The local name before the `@`, if there is one.
    pub local: Option<&'a [u8]>,
    /// A domain name, or an address in brackets.
    pub domain: &'a [u8],
    /// The port; [`CALL_AGENT_PORT`] where none is named.
    pub port: u16,
}

impl<'a> NotifiedEntity<'a> {
    /// Reads the value; `None` where it is empty (which means the sender of the command) or cannot be one.
    pub fn parse(value: &'a [u8]) -> Option<Self> {
        let value = trim(value);
        let (local, domain) = match memchr::memrchr(b'@', value) {
            Some(at) => (Some(value.get(..at)?), value.get(at + 1..)?),
            None => (None, value),
        };
        let behind_address = memchr::memrchr(b']', domain).map_or(0, |at| at + 1);
        let colon = memchr::memchr(b':', domain.get(behind_address..)?).map(|at| behind_address + at);
        let (domain, port) = match colon {
            Some(at) => {
                let port = number(domain.get(at + 1..)?).and_then(|port| u16::try_from(port).ok())?;
                (domain.get(..at)?, port)
            }
            None => (domain, CALL_AGENT_PORT),
        };
        let is_entity = port > 0
            && !domain.is_empty()
            && local.is_none_or(|local| !local.is_empty())
            && value.len() <= 512
            && value.iter().all(u8::is_ascii_graphic);
        is_entity.then_some(NotifiedEntity { local, domain, port })
    }

    /// The address between brackets, where the domain is one; without brackets too, as many write it.
    pub fn address(&self) -> Option<std::net::IpAddr> {
        let text = match self.domain {
            [b'[', inner @ .., b']'] => inner,
            other => other,
        };
        std::str::from_utf8(text).ok()?.parse().ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entity_has_a_domain_and_perhaps_a_name_and_a_port() {
        for (text, local, domain, port) in [
            ("ca@ca1.whatever.net:5678", Some(&b"ca"[..]), "ca1.whatever.net", 5678),
            ("CA-1@whatever.net", Some(b"CA-1"), "whatever.net", 2727),
            ("[128.96.41.12]", None, "[128.96.41.12]", 2727),
            ("[2001:db8::1]:2728", None, "[2001:db8::1]", 2728),
            ("x/y@[2001:db8::1]", Some(b"x/y"), "[2001:db8::1]", 2727),
        ] {
            let entity = NotifiedEntity { local, domain: domain.as_bytes(), port };
            assert_eq!(NotifiedEntity::parse(text.as_bytes()), Some(entity), "{text}");
        }
        let address = |text: &'static str| NotifiedEntity::parse(text.as_bytes()).unwrap().address();
        assert_eq!(address("[2001:db8::1]:2728"), "2001:db8::1".parse().ok());
        assert_eq!(address("ca@192.0.2.1:2728"), "192.0.2.1".parse().ok());
        assert_eq!(address("ca.example.net"), None);
        for bad in ["", "@", "ca@", "@ca", "ca:0", "ca:x", "ca:65536", "c a"] {
            assert_eq!(NotifiedEntity::parse(bad.as_bytes()), None, "{bad}");
        }
    }
}
