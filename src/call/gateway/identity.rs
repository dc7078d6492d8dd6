//! The identity of a gateway: its token, its addresses, the naming of its endpoints, its limits.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use crate::call::gateway::kind::Kind;

/// The names and addresses of one worker as gateway.
#[derive(Clone, Debug)]
pub struct Identity {
    /// The worker's token: the second term of its endpoints' names.
    pub token: Box<str>,
    /// The hexadecimal form of its token: the beginning of its connection ids.
    pub hex: Box<str>,
    /// Its own MGCP sockets.
    pub own: Vec<SocketAddr>,
    /// The naming of endpoints whose CRCX came straight to an own socket, by the socket's number; absent: relay.
    pub own_naming: Vec<Naming>,
    /// The dispatcher's well-known addresses, by listener number.
    pub listeners: Vec<SocketAddr>,
    /// The naming of endpoints whose CRCX came to a listener, by the listener's number; absent: relay.
    pub naming: Vec<Naming>,
    /// Whether we hold a duplicate of a listener, by listener number.
    pub duplicates: Vec<bool>,
    /// The addresses to name in session descriptions, by listener number; the first is the default.
    pub advertise: Vec<IpAddr>,
    /// Other beginnings of names that call agents use for a kind, in lower case: `rtpbridge` for `bridge`,
    /// `mobicents/ivr` for `ivr`.
    pub aliases: Vec<(Box<str>, Kind)>,
    /// The seed of connection ids and session ids: 128 random bits.
    pub seed: [u64; 2],
}

/// The domain, after the `@`, in the name of an endpoint made here.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Naming {
    /// The domain that the command named: later commands come through the dispatcher, which knows the token.
    #[default]
    Relay,
    /// This domain, the worker's own: `w3.ms.example.net` or `[192.0.2.20]`.
    Domain(Box<str>),
    /// The domain that the command named, with the port of our own socket.
    Port,
}

impl Identity {
    /// The number of the own socket that serves a peer who reached `local`: the one bound to that address, else the
    /// first of its family, else the first.
    pub(super) fn own_socket(&self, local: IpAddr) -> u16 {
        let at = |wanted: &dyn Fn(&SocketAddr) -> bool| self.own.iter().position(wanted);
        let found = at(&|own| own.ip() == local)
            .or_else(|| at(&|own| own.ip().is_unspecified() && own.is_ipv4() == local.is_ipv4()))
            .or_else(|| at(&|own| own.is_ipv4() == local.is_ipv4()));
        found.unwrap_or(0) as u16
    }

    /// The address that peers who reached `local` (over well-known socket `listener`, if any) send their packets to.
    pub(super) fn public_ip(&self, listener: Option<u16>, local: IpAddr) -> IpAddr {
        let usable = |ip: &&IpAddr| !ip.is_unspecified() && ip.is_ipv4() == local.is_ipv4();
        let named = listener.and_then(|number| self.advertise.get(usize::from(number))).filter(usable);
        named.or_else(|| self.advertise.iter().find(usable)).copied().unwrap_or(local)
    }
}

/// The limits of a gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Capacity units that sessions of this gateway may take.
    pub units: u32,
    /// Connections.
    pub connections: usize,
    /// Endpoints, including those held by a request alone.
    pub endpoints: usize,
    /// Connections of one endpoint; a bridge has never more than two.
    pub connections_per_endpoint: usize,
    /// Commands whose answers are remembered (RFC 3435 §3.5.1).
    pub transactions: usize,
    /// Bytes of the answers that are remembered.
    pub kept_bytes: usize,
    /// The longest answer, in bytes (RFC 3435 §3.5.2: every call agent takes at least 4,000).
    pub answer: usize,
    /// Time after which a connection is deleted, if there was no command for its endpoint and no packet; `None`: never.
    pub silence: Option<Duration>,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            units: 1_000,
            connections: 20_000,
            endpoints: 20_000,
            connections_per_endpoint: 64,
            transactions: 400_000,
            kept_bytes: 64 << 20,
            answer: 4_000,
            silence: None,
        }
    }
}
