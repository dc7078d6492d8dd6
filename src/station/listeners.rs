//! The duplicates of the well-known sockets that a worker answers from, as numbers.
//!
//! A worker knows them by numbers of its own, which stay the same when a new dispatcher counts its listeners otherwise:
//! a transaction that was begun under the old one ends on the socket it came to.

use std::net::SocketAddr;

use crate::ids::ListenerId;

/// The well-known sockets, by the worker's own numbers.
#[derive(Debug, Default)]
pub struct Listeners {
    /// Address of each, and whether the worker has a duplicate of it.
    known: Vec<(SocketAddr, bool)>,
    /// Our number of each listener, indexed by the dispatcher's number.
    numbers: Vec<u16>,
}

impl Listeners {
    /// A dispatcher has these addresses; `came` says of each whether its duplicate has been passed. One that is there
    /// already is not needed again.
    pub fn set(&mut self, addresses: &[SocketAddr], came: &[bool]) {
        self.numbers.clear();
        for (address, came) in addresses.iter().zip(came) {
            let at = match self.known.iter().position(|(known, _)| known == address) {
                Some(at) => at,
                None => {
                    self.known.push((*address, false));
                    self.known.len() - 1
                }
            };
            if let Some((_, held)) = self.known.get_mut(at) {
                *held |= came;
            }
            self.numbers.push(at as u16);
        }
        // The duplicate of an address that the dispatcher has given up is closed, so that other programs can bind it.
        for (at, (_, held)) in self.known.iter_mut().enumerate() {
            *held &= self.numbers.contains(&(at as u16));
        }
    }

    /// Our number of the dispatcher's listener.
    pub fn number(&self, listener: ListenerId) -> ListenerId {
        self.numbers.get(usize::from(listener.0)).map_or(listener, |number| ListenerId(*number))
    }

    /// The dispatcher's number of the listener that is ours under this one.
    pub(super) fn theirs(&self, number: u16) -> Option<ListenerId> {
        self.numbers.iter().position(|ours| *ours == number).map(|at| ListenerId(at as u16))
    }

    /// Whether we hold the duplicate under our number.
    pub fn is_held(&self, number: u16) -> bool {
        self.known.get(usize::from(number)).is_some_and(|(_, held)| *held)
    }

    /// The addresses, by our numbers.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.known.iter().map(|(address, _)| *address).collect()
    }

    /// Whether we hold a duplicate of each, by our numbers.
    pub fn held(&self) -> Vec<bool> {
        self.known.iter().map(|(_, held)| *held).collect()
    }

    /// All duplicates are closed; the numbers stay.
    pub(super) fn close(&mut self) {
        self.known.iter_mut().for_each(|(_, held)| *held = false);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listener_keeps_its_number_when_a_new_dispatcher_counts_otherwise() {
        let [a, b, c] = ["192.0.2.1:5060", "192.0.2.2:5060", "192.0.2.3:5060"].map(|text| text.parse().unwrap());
        let mut listeners = Listeners::default();
        listeners.set(&[a, b], &[true, true]);
        listeners.set(&[c, b], &[true, false]);
        assert_eq!(listeners.addresses(), [a, b, c]);
        assert_eq!((listeners.number(ListenerId(0)), listeners.number(ListenerId(1))), (ListenerId(2), ListenerId(1)));
        assert_eq!(listeners.held(), [false, true, true], "the one that was given up is closed");
    }
}
