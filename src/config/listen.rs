//! A well-known address: `[udp:|tcp:|tls:|ws:|wss:|mgcp:]ADDR:PORT`.

use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;

use super::text::written_as_text;
use crate::words::Transport;

/// An address to listen on, and the protocol spoken there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Listen {
    /// Protocol spoken there.
    pub service: Service,
    /// The address; port 0: the kernel chooses.
    pub address: SocketAddr,
}

/// Protocol spoken on a well-known address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Service {
    /// SIP over UDP.
    Udp,
    /// SIP over TCP.
    Tcp,
    /// SIP over TLS.
    Tls,
    /// SIP over WebSocket (RFC 7118).
    Ws,
    /// SIP over WebSocket over TLS.
    Wss,
    /// MGCP over UDP.
    Mgcp,
}

impl Service {
    /// All of them.
    pub const ALL: [Service; 6] = [Service::Udp, Service::Tcp, Service::Tls, Service::Ws, Service::Wss, Service::Mgcp];

    /// Its name in an address.
    pub const fn label(self) -> &'static str {
        match self {
            Service::Udp => "udp",
            Service::Tcp => "tcp",
            Service::Tls => "tls",
            Service::Ws => "ws",
            Service::Wss => "wss",
            Service::Mgcp => "mgcp",
        }
    }

    /// Whether it is spoken on connections.
    pub const fn is_stream(self) -> bool {
        !matches!(self, Service::Udp | Service::Mgcp)
    }

    /// Whether its connections begin with a TLS handshake.
    pub const fn is_secure(self) -> bool {
        matches!(self, Service::Tls | Service::Wss)
    }

    /// Whether it is spoken in WebSocket frames.
    pub const fn is_websocket(self) -> bool {
        matches!(self, Service::Ws | Service::Wss)
    }

    /// Transport of the messages that come to it.
    pub const fn transport(self) -> Transport {
        match self {
            Service::Udp => Transport::Udp,
            Service::Tcp => Transport::Tcp,
            Service::Tls => Transport::Tls,
            Service::Ws => Transport::Ws,
            Service::Wss => Transport::Wss,
            Service::Mgcp => Transport::Mgcp,
        }
    }
}

impl Listen {
    /// Whether the kernel would refuse to bind both: the same port of the same kind on the same address, a wildcard
    /// being every address of its family.
    pub fn clashes_with(&self, other: &Listen) -> bool {
        let (a, b) = (self.address, other.address);
        let same_address = a.ip() == b.ip() || a.ip().is_unspecified() || b.ip().is_unspecified();
        self.service.is_stream() == other.service.is_stream()
            && a.port() == b.port()
            && a.port() != 0
            && a.is_ipv4() == b.is_ipv4()
            && same_address
    }
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.service.label(), self.address)
    }
}

impl FromStr for Listen {
    type Err = BadListen;

    fn from_str(text: &str) -> Result<Self, BadListen> {
        let prefix = text.split_once(':').filter(|(before, _)| before.starts_with(|c: char| c.is_ascii_alphabetic()));
        let (service, address) = match prefix {
            // An IPv6 address without brackets may begin with a letter as well.
            Some((before, _)) if text.parse::<std::net::Ipv6Addr>().is_err() => {
                let service = Service::ALL.into_iter().find(|service| service.label().eq_ignore_ascii_case(before));
                let service = service.ok_or_else(|| BadListen::Service(before.to_owned()))?;
                (service, text.get(before.len() + 1..).unwrap_or_default())
            }
            _ => (Service::Udp, text),
        };
        let address = address.parse().map_err(|_| BadListen::of(text, address))?;
        Ok(Listen { service, address })
    }
}

written_as_text!(Listen, "an address such as \"udp:192.0.2.1:5060\" or \"mgcp:[2001:db8::1]:2427\"");

/// A text that is not an address to listen on.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadListen {
    /// The word before the address is no service.
    #[error("`{0}` is neither udp, tcp, tls, ws, wss nor mgcp, and names are not looked up: write [udp:]ADDR:PORT")]
    Service(String),
    /// The port is missing.
    #[error("`{0}` names no port: write ADDR:PORT, such as 0.0.0.0:5060")]
    NoPort(String),
    /// An IPv6 address without brackets.
    #[error("`{0}`: an IPv6 address stands in brackets: write [ADDR]:PORT")]
    NoBrackets(String),
    /// Any other text.
    #[error("`{0}` is not an address: write [udp:]ADDR:PORT with a numeric address, such as udp:192.0.2.1:5060")]
    Address(String),
}

impl BadListen {
    fn of(text: &str, address: &str) -> Self {
        let bare = address.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(address);
        match bare.parse::<std::net::IpAddr>() {
            Ok(std::net::IpAddr::V6(_)) if bare == address => BadListen::NoBrackets(text.to_owned()),
            Ok(_) => BadListen::NoPort(text.to_owned()),
            Err(_) => BadListen::Address(text.to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listen(text: &str) -> Listen {
        text.parse().unwrap()
    }

    #[test]
    fn an_address_says_what_is_spoken_there_and_udp_when_it_does_not() {
        assert_eq!(listen("127.0.0.1:5060"), listen("udp:127.0.0.1:5060"));
        assert_eq!(listen("[::1]:5060").to_string(), "udp:[::1]:5060");
        assert_eq!(listen("TLS:0.0.0.0:5061").service, Service::Tls);
        assert_eq!(listen("ws:0.0.0.0:80").service, Service::Ws);
        assert_eq!(listen("WSS:[::]:443").to_string(), "wss:[::]:443");
        assert_eq!(listen("mgcp:[2001:db8::1]:2427").to_string(), "mgcp:[2001:db8::1]:2427");
        assert_eq!(listen("udp:[fe80::1%5]:5060").address.port(), 5060);
    }

    #[test]
    fn text_that_is_no_address_is_refused_with_the_form_to_write() {
        let error = |text: &str| text.parse::<Listen>().unwrap_err();
        assert_eq!(error("udp:0.0.0.0"), BadListen::NoPort("udp:0.0.0.0".into()));
        assert_eq!(error("[::]"), BadListen::NoPort("[::]".into()));
        assert_eq!(error("udp:::1"), BadListen::NoBrackets("udp:::1".into()));
        assert_eq!(error("fe80::1"), BadListen::NoBrackets("fe80::1".into()));
        assert_eq!(error("sctp:0.0.0.0:5060"), BadListen::Service("sctp".into()));
        assert_eq!(error("localhost:5060"), BadListen::Service("localhost".into()));
        for bad in ["", "5060", ":5060", "udp:", "0.0.0.0:70000", "256.0.0.1:5060", "udp:udp:0.0.0.0:1", "0.0.0.0:+1"] {
            assert!(bad.parse::<Listen>().is_err(), "{bad}");
        }
    }

    #[test]
    fn two_addresses_clash_when_the_kernel_would_refuse_one() {
        let clash = |a: &str, b: &str| listen(a).clashes_with(&listen(b));
        assert!(clash("udp:0.0.0.0:5060", "udp:127.0.0.1:5060"));
        assert!(clash("udp:127.0.0.1:5060", "mgcp:127.0.0.1:5060"));
        assert!(clash("tcp:[::]:5060", "tls:[::1]:5060"));
        assert!(clash("ws:0.0.0.0:443", "wss:0.0.0.0:443"));
        assert!(!clash("udp:0.0.0.0:5060", "udp:[::]:5060"));
        assert!(!clash("udp:0.0.0.0:5060", "tcp:0.0.0.0:5060"));
        assert!(!clash("udp:127.0.0.1:5060", "udp:127.0.0.2:5060"));
        assert!(!clash("udp:127.0.0.1:0", "udp:127.0.0.1:0"));
    }
}
