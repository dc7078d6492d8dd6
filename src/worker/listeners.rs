//! The duplicates of the well-known sockets that a worker answers from.
//!
//! A worker knows them by numbers of its own, which stay the same when a new dispatcher counts its listeners otherwise:
//! a transaction that was begun under the old one ends on the socket it came to.

use std::net::SocketAddr;

use crate::ids::ListenerId;
use crate::net::udp::Socket;
use crate::words::{PassedSocket, SocketRole};

/// Duplicates of the well-known sockets.
#[derive(Debug, Default)]
pub(super) struct Listeners {
    known: Vec<(SocketAddr, Option<Socket>)>,
    /// Our number of each listener, indexed by the dispatcher's number.
    numbers: Vec<u16>,
}

impl Listeners {
    /// A dispatcher has these addresses, and has passed these sockets; one that is there already is not needed again.
    pub(super) fn set(&mut self, addresses: &[SocketAddr], sockets: Vec<Option<Socket>>) {
        self.numbers.clear();
        for (address, socket) in addresses.iter().zip(sockets) {
            let at = match self.known.iter().position(|(known, _)| known == address) {
                Some(at) => at,
                None => {
                    self.known.push((*address, None));
                    self.known.len() - 1
                }
            };
            if let Some((_, held)) = self.known.get_mut(at)
                && held.is_none()
            {
                *held = socket;
            }
            self.numbers.push(at as u16);
        }
        // The duplicate of an address that the dispatcher has given up is closed, so that other programs can bind it.
        for (at, (_, socket)) in self.known.iter_mut().enumerate() {
            if !self.numbers.contains(&(at as u16)) {
                *socket = None;
            }
        }
    }

    /// Our number of the dispatcher's listener.
    pub(super) fn number(&self, listener: ListenerId) -> ListenerId {
        self.numbers.get(usize::from(listener.0)).map_or(listener, |number| ListenerId(*number))
    }

    /// The duplicate under our number.
    pub(super) fn get(&self, number: u16) -> Option<&Socket> {
        self.known.get(usize::from(number)).and_then(|(_, socket)| socket.as_ref())
    }

    /// The addresses, by our numbers.
    pub(super) fn addresses(&self) -> Vec<SocketAddr> {
        self.known.iter().map(|(address, _)| *address).collect()
    }

    /// Whether we hold a duplicate of each, by our numbers.
    pub(super) fn held(&self) -> Vec<bool> {
        self.known.iter().map(|(_, socket)| socket.is_some()).collect()
    }

    /// The sockets to give back to a new dispatcher.
    pub(super) fn passed(&self) -> impl Iterator<Item = (PassedSocket, &Socket)> {
        self.known.iter().enumerate().filter_map(|(at, (address, socket))| {
            let passed = PassedSocket { role: SocketRole::Listener, address: *address, listener: Some(at as u16) };
            Some((passed, socket.as_ref()?))
        })
    }

    /// Lets go of all of them; the numbers stay.
    pub(super) fn close(&mut self) {
        self.known.iter_mut().for_each(|(_, socket)| *socket = None);
    }

    /// Has the kernel note when datagrams arrive: no process reads them now, and the next dispatcher drops those that
    /// are too old.
    pub(super) fn stamp_arrivals(&self) {
        for (_, socket) in &self.known {
            // Without arrival times every datagram counts as fresh.
            let _ = socket.as_ref().map(|socket| socket.stamp_arrivals(true));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::udp::Buffers;

    fn socket() -> Socket {
        Socket::bind("127.0.0.1:0".parse().unwrap(), Buffers::MEDIA).unwrap()
    }

    #[test]
    fn a_listener_keeps_its_number_when_a_new_dispatcher_counts_otherwise() {
        let (one, two, three) = (socket(), socket(), socket());
        let [a, b, c] = [&one, &two, &three].map(Socket::local_addr);
        let mut listeners = Listeners::default();
        listeners.set(&[a, b], vec![Some(one), Some(two)]);
        listeners.set(&[c, b], vec![Some(three), None]);
        assert_eq!(listeners.addresses(), [a, b, c]);
        assert_eq!((listeners.number(ListenerId(0)), listeners.number(ListenerId(1))), (ListenerId(2), ListenerId(1)));
        assert_eq!(listeners.held(), [false, true, true], "the one that was given up is closed");
        assert_eq!(listeners.passed().map(|(passed, _)| passed.address).collect::<Vec<_>>(), [b, c]);
    }
}
