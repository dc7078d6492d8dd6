//! Permits: what a worker on another host may have sent from the well-known sockets.
//!
//! A worker that has been broken into must not send to whom it likes from the dispatcher's address. So each message
//! from a datagram carries a keyed hash of its source, its local address and the worker's life; an answer that is to be
//! sent names it, and leaves only for that source. Nothing is remembered: it holds for as long as the call, also after
//! a restart, and on every lane.

use std::net::{IpAddr, SocketAddr};

use crate::ids::{Incarnation, TokenKey};
use crate::words::{Dispatched, Permit};

/// The permits of one life of a worker.
#[derive(Clone, Debug)]
pub struct Permits {
    /// Keys of the dispatcher: the one by which permits are made, and one by which they were made before.
    keys: (TokenKey, Option<TokenKey>),
    incarnation: Incarnation,
}

impl Permits {
    /// The permits of this life.
    pub const fn new(keys: (TokenKey, Option<TokenKey>), incarnation: Incarnation) -> Self {
        Permits { keys, incarnation }
    }

    /// The permit to send to `peer` from the address `local`.
    pub fn permit(&self, peer: SocketAddr, local: IpAddr) -> Permit {
        self.by(&self.keys.0, peer, local)
    }

    /// Whether an answer goes where its permit says.
    pub fn allow(&self, answer: &Dispatched<'_>) -> bool {
        let is_by = |key| self.by(key, answer.to, answer.from) == answer.permit;
        is_by(&self.keys.0) || self.keys.1.as_ref().is_some_and(is_by)
    }

    fn by(&self, key: &TokenKey, peer: SocketAddr, local: IpAddr) -> Permit {
        let mut text = [0; 46];
        text[..8].copy_from_slice(&self.incarnation.bits().to_le_bytes());
        text[8..24].copy_from_slice(&octets(peer.ip()));
        text[24..26].copy_from_slice(&peer.port().to_le_bytes());
        if let SocketAddr::V6(v6) = peer {
            text[26..30].copy_from_slice(&v6.scope_id().to_le_bytes());
        }
        text[30..].copy_from_slice(&octets(local));
        Permit::new(key.hash(b'p', &text))
    }
}

/// An address of either family; IPv4 as IPv6 maps it (RFC 4291 §2.5.5.2).
const fn octets(ip: IpAddr) -> [u8; 16] {
    match ip {
        IpAddr::V4(v4) => v4.to_ipv6_mapped().octets(),
        IpAddr::V6(v6) => v6.octets(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::ListenerId;

    fn key(byte: u8) -> TokenKey {
        TokenKey::new([byte; 32])
    }

    fn permits(byte: u8, previous: Option<u8>, life: u64) -> Permits {
        Permits::new((key(byte), previous.map(key)), Incarnation::new(life))
    }

    #[test]
    fn a_permit_is_for_one_peer_one_local_address_and_one_life_and_outlives_a_change_of_the_key() {
        let local = "192.0.2.1".parse().unwrap();
        let peers = ["192.0.2.9:5060", "192.0.2.9:5061", "192.0.2.10:5060", "[fe80::1%2]:5060", "[fe80::1%3]:5060"];
        let peers = peers.map(|peer| peer.parse().unwrap());
        let ours = permits(1, None, 7);
        for peer in peers {
            let permit = ours.permit(peer, local);
            let answer = Dispatched { listener: ListenerId(0), to: peer, from: local, permit, bytes: b"" };
            assert!(ours.allow(&answer));
            assert!(permits(2, Some(1), 7).allow(&answer));
            assert!(!permits(2, None, 7).allow(&answer), "another site's");
            assert!(!permits(1, None, 8).allow(&answer), "another worker's");
            assert!(!ours.allow(&Dispatched { from: "192.0.2.2".parse().unwrap(), ..answer }));
            for other in peers.into_iter().filter(|other| *other != peer) {
                assert!(!ours.allow(&Dispatched { to: other, ..answer }), "{peer} {other}");
            }
        }
    }
}
