//! A network: `10.0.0.0/8`, `2001:db8::/32`, or one address.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use super::text::written_as_text;

/// The addresses whose first `prefix` bits are those of `address`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    prefix: u8,
}

impl Network {
    /// Every IPv4 and every IPv6 address.
    pub const ALL: [Network; 2] = [
        Network { address: IpAddr::V4(Ipv4Addr::UNSPECIFIED), prefix: 0 },
        Network { address: IpAddr::V6(Ipv6Addr::UNSPECIFIED), prefix: 0 },
    ];

    /// The network of `prefix` bits that `address` lies in; `None` when the address has fewer bits.
    pub fn new(address: IpAddr, prefix: u8) -> Option<Network> {
        let bits = if address.is_ipv4() { 32 } else { 128 };
        let network = Network { address, prefix };
        (prefix <= bits).then(|| Network { address: network.first(), prefix })
    }

    /// Whether `address` lies in it. An IPv4 address in IPv6 form (`::ffff:192.0.2.1`) counts as IPv4.
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.address, address.to_canonical()) {
            (IpAddr::V4(own), IpAddr::V4(other)) => {
                let mask = u32::MAX.checked_shl(32 - u32::from(self.prefix)).unwrap_or(0);
                (own.to_bits() ^ other.to_bits()) & mask == 0
            }
            (IpAddr::V6(own), IpAddr::V6(other)) => {
                let mask = u128::MAX.checked_shl(128 - u32::from(self.prefix)).unwrap_or(0);
                (own.to_bits() ^ other.to_bits()) & mask == 0
            }
            _ => false,
        }
    }

    /// The first address of the network.
    pub const fn address(&self) -> IpAddr {
        self.address
    }

    /// Number of leading bits that count.
    pub const fn prefix(&self) -> u8 {
        self.prefix
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

impl FromStr for Network {
    type Err = BadNetwork;

    fn from_str(text: &str) -> Result<Self, BadNetwork> {
        let bad = || BadNetwork::Form(text.to_owned());
        let (address, prefix) = text.split_once('/').map_or((text, None), |(address, prefix)| (address, Some(prefix)));
        let address: IpAddr = address.parse().map_err(|_| bad())?;
        let bits = if address.is_ipv4() { 32 } else { 128 };
        let prefix = match prefix {
            None => bits,
            Some(digits) if !digits.is_empty() && digits.bytes().all(|digit| digit.is_ascii_digit()) => {
                digits.parse().ok().filter(|prefix| *prefix <= bits).ok_or_else(bad)?
            }
            Some(_) => return Err(bad()),
        };
        let network = Network { address, prefix };
        // A text such as 10.0.0.1/8 is more often a slip than intended.
        let first = network.first();
        if first != address {
            return Err(BadNetwork::HostBits { text: text.to_owned(), first: Network { address: first, prefix } });
        }
        Ok(network)
    }
}

impl Network {
    fn first(&self) -> IpAddr {
        match self.address {
            IpAddr::V4(own) => {
                let mask = u32::MAX.checked_shl(32 - u32::from(self.prefix)).unwrap_or(0);
                IpAddr::V4(Ipv4Addr::from_bits(own.to_bits() & mask))
            }
            IpAddr::V6(own) => {
                let mask = u128::MAX.checked_shl(128 - u32::from(self.prefix)).unwrap_or(0);
                IpAddr::V6(Ipv6Addr::from_bits(own.to_bits() & mask))
            }
        }
    }
}

written_as_text!(Network, "a network such as \"10.0.0.0/8\"");

/// A text that is not a network.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadNetwork {
    /// The text is not of the form ADDR/BITS.
    #[error("`{0}` is not a network: write ADDR/BITS, such as 10.0.0.0/8, or one address")]
    Form(String),
    /// Bits are set beyond the prefix.
    #[error("`{text}` has bits set beyond its prefix: write {first}")]
    HostBits {
        /// The operator's text.
        text: String,
        /// The network it lies in.
        first: Network,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    fn network(text: &str) -> Network {
        text.parse().unwrap()
    }

    #[test]
    fn a_network_holds_the_addresses_with_its_prefix() {
        let ten = network("10.0.0.0/8");
        assert!(ten.contains("10.255.0.1".parse().unwrap()));
        assert!(ten.contains("::ffff:10.1.2.3".parse().unwrap()));
        assert!(!ten.contains("11.0.0.1".parse().unwrap()));
        assert!(!ten.contains("::a00:1".parse().unwrap()));
        assert!(network("2001:db8::/32").contains("2001:db8:ffff::1".parse().unwrap()));
        assert!(!network("2001:db8::/32").contains("2001:db9::1".parse().unwrap()));
        assert!(network("192.0.2.7").contains("192.0.2.7".parse().unwrap()));
        assert!(!network("192.0.2.7").contains("192.0.2.6".parse().unwrap()));
        for address in ["0.0.0.0", "255.255.255.255", "::", "ffff::1"] {
            assert!(Network::ALL.iter().any(|all| all.contains(address.parse().unwrap())), "{address}");
        }
    }

    #[test]
    fn text_that_is_no_network_is_refused() {
        for bad in ["", "/8", "10.0.0.0/", "10.0.0.0/33", "10.0.0.0/-1", "10.0.0.0/+8", "::/129", "example.org"] {
            assert_eq!(bad.parse::<Network>(), Err(BadNetwork::Form(bad.into())));
        }
        let error = "10.0.0.1/8".parse::<Network>().unwrap_err();
        assert_eq!(error.to_string(), "`10.0.0.1/8` has bits set beyond its prefix: write 10.0.0.0/8");
    }
}
