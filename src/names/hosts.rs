//! The names that a file of this host gives addresses to (`/etc/hosts`).

use std::collections::BTreeMap;
use std::net::IpAddr;

/// Addresses by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hosts {
    names: BTreeMap<Box<str>, Vec<IpAddr>>,
}

/// Most names read from a file; later ones are ignored.
const NAMES_LIMIT: usize = 65_536;
/// Addresses of one name.
const ADDRESSES_LIMIT: usize = 16;

impl Hosts {
    /// Reads the text of a hosts file: lines of an address and its names. Lines that cannot be read are passed over.
    pub fn parse(text: &str) -> Self {
        let mut names: BTreeMap<Box<str>, Vec<IpAddr>> = BTreeMap::new();
        for line in text.lines() {
            let line = line.split('#').next().unwrap_or_default();
            let mut words = line.split_ascii_whitespace();
            let Some(ip) = words.next().and_then(|word| word.parse::<IpAddr>().ok()) else { continue };
            for name in words {
                if names.len() >= NAMES_LIMIT {
                    break;
                }
                let addresses = names.entry(bare(name)).or_default();
                if addresses.len() < ADDRESSES_LIMIT && !addresses.contains(&ip) {
                    addresses.push(ip);
                }
            }
        }
        Hosts { names }
    }

    /// The addresses of a name. `localhost` has its own without a file (RFC 6761 §6.3).
    pub fn get(&self, name: &str) -> Option<Vec<IpAddr>> {
        let name = bare(name);
        if let Some(addresses) = self.names.get(&name) {
            return Some(addresses.clone());
        }
        let is_local = &*name == "localhost" || name.ends_with(".localhost");
        is_local.then(|| vec![IpAddr::from([127, 0, 0, 1]), IpAddr::from([0, 0, 0, 0, 0, 0, 0, 1_u16])])
    }
}

/// A name as it is compared: in lower case, without the dot at its end.
pub(super) fn bare(name: &str) -> Box<str> {
    name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_found_whatever_their_case_and_what_cannot_be_read_is_passed_over() {
        let hosts = Hosts::parse(
            "# nothing\n127.0.0.1 localhost\n192.0.2.7\tMS.example.net ms # a comment\n2001:db8::7 ms.example.net\n\
             fe80::1%eth0 linklocal\nnonsense ms\n192.0.2.8 ms.example.net\n",
        );
        let of = |name| hosts.get(name).unwrap_or_default().iter().map(IpAddr::to_string).collect::<Vec<_>>();
        assert_eq!(of("ms.EXAMPLE.net."), ["192.0.2.7", "2001:db8::7", "192.0.2.8"]);
        assert_eq!(of("ms"), ["192.0.2.7"]);
        assert_eq!(of("localhost"), ["127.0.0.1"]);
        assert_eq!(Hosts::default().get("localhost").map(|all| all.len()), Some(2));
        assert_eq!(hosts.get("example.net"), None);
    }
}
