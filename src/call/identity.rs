//! The identity of this user agent: its token, its addresses, its limits.

use std::net::{IpAddr, SocketAddr};

use crate::words::ReplyFrom;

/// The names and addresses of one worker.
#[derive(Clone, Debug)]
pub struct Identity {
    /// The worker's token, with which its tags and branches begin.
    pub token: Box<str>,
    /// Its own SIP sockets; the same numbers name UDP socket and TCP listener.
    pub own: Vec<SocketAddr>,
    /// The dispatcher's well-known addresses, by listener number.
    pub listeners: Vec<SocketAddr>,
    /// Whether we hold a duplicate of a listener, by listener number.
    pub duplicates: Vec<bool>,
    /// Our own addresses, if the dispatcher is on another host; else empty. It sends answers from its listeners for us
    /// where they have to leave from there.
    pub away: Vec<IpAddr>,
    /// The addresses to name in Contact, by listener number; the first is the default.
    pub advertise: Vec<IpAddr>,
    /// An address of this host for each address family it has. It stands for a socket that is bound to all addresses.
    pub hosts: Vec<IpAddr>,
    /// The sockets that responses to handed-over requests leave from.
    pub reply_from: ReplyFrom,
    /// The value of `Server` and `User-Agent`; empty: neither is sent.
    pub program: Box<str>,
    /// The seed of tags, branches and sequence numbers: 128 random bits.
    pub seed: [u64; 2],
    /// The name in Contact for TLS callers, which the certificate is made for. `None`: an address.
    pub contact_name: Option<Box<str>>,
    /// Whether its own SIP ports speak TLS as well.
    pub speaks_tls: bool,
}

impl Identity {
    /// The number of the own socket that serves a peer who reached `local`: the one bound to that address, else the
    /// first of its family, else the first.
    pub(super) fn own_socket(&self, local: IpAddr) -> u16 {
        let found =
            self.own.iter().position(|own| own.ip() == local).or_else(|| {
                self.own.iter().position(|own| own.ip().is_unspecified() && own.is_ipv4() == local.is_ipv4())
            });
        let found = found.or_else(|| self.own.iter().position(|own| own.is_ipv4() == local.is_ipv4()));
        found.unwrap_or(0) as u16
    }

    /// The address of this host that stands for `local`: that one itself, or on another host than the dispatcher's the
    /// nearest of our own.
    pub(super) fn here(&self, local: IpAddr) -> IpAddr {
        nearest(&self.away, local).unwrap_or(local)
    }

    /// The address at which peers that reached `local` (over well-known socket `listener`, if any) can reach us.
    pub(super) fn public_ip(&self, listener: Option<u16>, local: IpAddr) -> IpAddr {
        if let Some(own) = nearest(&self.away, local) {
            return own;
        }
        self.dispatcher_ip(listener, local)
    }

    /// The address at which peers that reached `local` can reach the dispatcher.
    pub(super) fn dispatcher_ip(&self, listener: Option<u16>, local: IpAddr) -> IpAddr {
        let usable = |ip: &&IpAddr| !ip.is_unspecified() && ip.is_ipv4() == local.is_ipv4();
        let named = listener.and_then(|number| self.advertise.get(usize::from(number))).filter(usable);
        let named = named.or_else(|| self.advertise.iter().find(usable));
        match named {
            Some(ip) => *ip,
            None => local,
        }
    }

    /// The place for media of the family of `towards` if the call's signalling is of the other one: our socket of that
    /// family if it is bound to one address, else `host`, this host's address on the way to `towards`.
    pub(super) fn media_place(&self, towards: IpAddr, host: Option<IpAddr>) -> Option<MediaPlace> {
        let is_like = |ip: IpAddr| ip.is_ipv4() == towards.is_ipv4();
        let own = self.own.iter().find(|own| is_like(own.ip()) && !own.ip().is_unspecified());
        let bound = own.map(SocketAddr::ip).or(host.filter(|host| is_like(*host)))?;
        Some(MediaPlace { named: self.public_ip(None, bound), bound })
    }

    /// The address at which peers that have not reached any of our addresses yet can reach the socket bound to `own`.
    pub(super) fn ip_of(&self, own: &SocketAddr) -> IpAddr {
        let ip = self.public_ip(None, own.ip());
        let is_like = |host: &&IpAddr| host.is_ipv4() == ip.is_ipv4();
        self.hosts.iter().find(is_like).copied().filter(|_| ip.is_unspecified()).unwrap_or(ip)
    }
}

/// The address of the same family that has most of its first bits in common with `to`: the one in the same network, if
/// any is.
pub fn nearest(own: &[IpAddr], to: IpAddr) -> Option<IpAddr> {
    let bits = |ip: IpAddr| match ip {
        IpAddr::V4(ip) => u128::from(ip.to_bits()) << 96,
        IpAddr::V6(ip) => ip.to_bits(),
    };
    let alike = own.iter().filter(|ip| ip.is_ipv4() == to.is_ipv4());
    // Of two that are as near, the first.
    alike.copied().min_by_key(|ip| bits(*ip) ^ bits(to)).or_else(|| own.first().copied())
}

/// The place of a stream's socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MediaPlace {
    /// The address that the peer is told.
    pub named: IpAddr,
    /// The address that the socket is bound to.
    pub bound: IpAddr,
}

/// The limits of a worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Capacity units.
    pub units: u32,
    /// Calls, ended ones whose BYE is not answered yet included.
    pub calls: usize,
    /// Server transactions, finished ones that wait for retransmissions included.
    pub transactions: usize,
    /// Bytes of requests and responses that transactions keep.
    pub kept_bytes: usize,
    /// The largest body taken, in bytes.
    pub body: usize,
    /// The longest text of a dialog (its URIs, tags and route set together), in bytes.
    pub dialog: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            units: 1_000,
            calls: 100_000,
            transactions: 400_000,
            kept_bytes: 128 << 20,
            body: 32 << 10,
            dialog: 8 << 10,
        }
    }
}

/// Our wishes for session timers (RFC 4028).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionTimer {
    /// The interval we ask for when the peer names none, in seconds; `None`: no session timer then.
    pub expires: Option<u32>,
    /// The shortest interval we take, in seconds; at least 90 (RFC 4028 §5).
    pub min_se: u32,
}

impl Default for SessionTimer {
    fn default() -> Self {
        SessionTimer { expires: Some(1_800), min_se: 90 }
    }
}
