//! Datagrams that are held back until the worker asks for nothing more: those that leave by one socket then take one
//! system call.
//!
//! They leave in the order in which they came here, whatever their sockets, so that a peer gets them in that order. The
//! dispatcher hears of an answer at the end of the turn, when it has left.

use crate::call::Transmit;
use crate::net::udp::{Answer, Delivery, Socket};
use crate::station::call_log::call_id_of;

/// Datagrams that are held back at most: as many as one system call sends.
const MOST: usize = 32;

/// The socket that a datagram leaves by, under its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Exit {
    /// A SIP socket of the worker's own.
    Sip(u16),
    /// The duplicate of a well-known SIP socket.
    SipListener(u16),
    /// An MGCP socket of the worker's own.
    Mgcp(u16),
    /// The duplicate of a well-known MGCP socket.
    MgcpListener(u16),
}

/// Datagrams that are held back.
#[derive(Debug, Default)]
pub(super) struct Held {
    waiting: Vec<(Exit, Transmit)>,
}

impl Held {
    /// Holds a datagram back; true when there is no room for another one until [`Held::send`].
    #[must_use]
    pub(super) fn push(&mut self, exit: Exit, transmit: Transmit) -> bool {
        self.waiting.push((exit, transmit));
        self.waiting.len() >= MOST
    }

    /// Sends them all. One that cannot be sent is lost like a packet on the way: the transaction that it belongs to
    /// repeats it, or its peer does. `unrouted` gets each SIP message to whose destination no route leads.
    pub(super) fn send<'a>(&mut self, socket_of: impl Fn(Exit) -> Option<&'a Socket>, mut unrouted: impl FnMut(&[u8])) {
        for together in self.waiting.chunk_by(|(one, _), (next, _)| one == next) {
            let Some(exit) = together.first().map(|(exit, _)| *exit) else { continue };
            let Some(socket) = socket_of(exit) else { continue };
            let answers =
                together.iter().map(|(_, Transmit { bytes, to, from, .. })| Answer { bytes, to: *to, from: *from });
            socket.send_batch(answers, |Answer { bytes, to, .. }, fate| match fate {
                Ok(Delivery::Undeliverable(errno @ (libc::ENETUNREACH | libc::EHOSTUNREACH))) if exit.is_of_sip() => {
                    tracing::debug!(call_id = call_id_of(bytes), errno, %to, "no route leads to where a message goes");
                    unrouted(bytes);
                }
                // Other faults pass with time.
                Ok(_) => {}
                Err(error) => tracing::debug!(call_id = call_id_of(bytes), %error, %to, "a message could not be sent"),
            });
        }
        self.waiting.clear();
    }
}

impl Exit {
    const fn is_of_sip(self) -> bool {
        matches!(self, Exit::Sip(_) | Exit::SipListener(_))
    }
}

#[cfg(test)]
mod tests {
    use std::net::{SocketAddr, UdpSocket};
    use std::sync::Arc;
    use std::time::Duration;

    use super::*;
    use crate::call::Hop;
    use crate::net::udp::Buffers;

    fn socket() -> Socket {
        Socket::bind("127.0.0.1:0".parse().unwrap(), Buffers::MEDIA).unwrap()
    }

    fn peer() -> UdpSocket {
        let peer = UdpSocket::bind("127.0.0.1:0").unwrap();
        peer.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        peer
    }

    fn datagram(to: SocketAddr, bytes: &[u8]) -> Transmit {
        Transmit { hop: Hop::Gone, to, peer: None, from: None, bytes: Arc::from(bytes) }
    }

    #[test]
    fn a_peer_gets_what_leaves_by_several_sockets_in_the_order_of_the_worker() {
        let (own, well_known, peer) = (socket(), socket(), peer());
        let sent = [Exit::Sip(0), Exit::Sip(0), Exit::SipListener(0), Exit::Sip(0), Exit::SipListener(0)];
        let socket_of = |exit| Some(if exit == Exit::Sip(0) { &own } else { &well_known });
        let mut held = Held::default();
        for (number, exit) in sent.into_iter().enumerate() {
            assert!(!held.push(exit, datagram(peer.local_addr().unwrap(), &[number as u8])));
        }
        held.send(socket_of, |bytes| panic!("{bytes:?}"));
        for (number, exit) in sent.into_iter().enumerate() {
            let mut bytes = [0; 8];
            let (length, from) = peer.recv_from(&mut bytes).unwrap();
            assert_eq!((&bytes[..length], Some(from)), (&[number as u8][..], socket_of(exit).map(Socket::local_addr)));
        }
        held.send(|_| panic!("each leaves once"), |_| ());
    }

    #[test]
    fn a_datagram_that_cannot_be_sent_keeps_no_other_back_and_is_named_where_its_route_is_missing() {
        let (own, peer) = (socket(), peer());
        let to = peer.local_addr().unwrap();
        // An address that no host has (RFC 5737), and that hosts without a default route do not send to.
        let far = "203.0.113.9:5060".parse().unwrap();
        let is_routed = own.send(b"x", far, None).unwrap() != Delivery::Undeliverable(libc::ENETUNREACH);
        let largest = vec![0; 65_508];
        let mut held = Held::default();
        let leaving = [
            (Exit::Sip(0), datagram(far, b"BYE 1")),
            (Exit::Sip(0), datagram(to, b"1")),
            (Exit::Sip(7), datagram(to, b"a socket that is closed")),
            (Exit::Sip(0), datagram(to, &largest)),
            (Exit::Mgcp(0), datagram(far, b"NTFY 1")),
            (Exit::Mgcp(0), datagram(to, b"2")),
            (Exit::SipListener(0), datagram(to, b"3")),
            (Exit::SipListener(0), datagram(far, b"BYE 2")),
        ];
        leaving.into_iter().for_each(|(exit, datagram)| assert!(!held.push(exit, datagram)));
        let mut unrouted = Vec::new();
        held.send(|exit| Some(&own).filter(|_| exit != Exit::Sip(7)), |bytes| unrouted.push(bytes.to_vec()));
        for expected in [b"1", b"2", b"3"] {
            let mut bytes = [0; 8];
            let length = peer.recv(&mut bytes).unwrap();
            assert_eq!(&bytes[..length], expected);
        }
        let expected: &[&[u8]] = if is_routed { &[] } else { &[b"BYE 1", b"BYE 2"] };
        assert_eq!(unrouted, expected, "MGCP names no other place");
    }

    #[test]
    fn no_more_are_held_back_than_one_system_call_sends() {
        let mut held = Held::default();
        let to = "127.0.0.1:9".parse().unwrap();
        let held_back = (1..=MOST).filter(|_| !held.push(Exit::Sip(0), datagram(to, b""))).count();
        assert_eq!(held_back, MOST - 1);
    }
}
