//! The duplicates of the well-known sockets that a worker answers from.

use std::os::fd::{AsFd, BorrowedFd};

use crate::ids::ListenerId;
use crate::net::udp::Socket;
use crate::station::Listeners;
use crate::words::{PassedSocket, SocketRole};

/// Duplicates of the well-known sockets, by the worker's own numbers.
#[derive(Debug, Default)]
pub(super) struct Duplicates {
    sockets: Vec<Option<Socket>>,
}

impl Duplicates {
    /// A dispatcher has passed these sockets, by its own numbers. One that is there already is not needed again; one
    /// that is not held any more is closed.
    pub(super) fn set(&mut self, listeners: &Listeners, came: Vec<Option<Socket>>) {
        self.sockets.resize_with(listeners.addresses().len(), || None);
        for (theirs, socket) in came.into_iter().enumerate() {
            let number = listeners.number(ListenerId(theirs as u16)).0;
            if let Some(place @ None) = self.sockets.get_mut(usize::from(number)) {
                *place = socket;
            }
        }
        for (number, socket) in self.sockets.iter_mut().enumerate() {
            socket.take_if(|_| !listeners.is_held(number as u16));
        }
    }

    /// The duplicate under our number.
    pub(super) fn get(&self, number: u16) -> Option<&Socket> {
        self.sockets.get(usize::from(number))?.as_ref()
    }

    /// The sockets to give back to a new dispatcher.
    pub(super) fn passed(&self, listeners: &Listeners) -> Vec<(PassedSocket, BorrowedFd<'_>)> {
        let all = listeners.addresses().into_iter().zip(&self.sockets).enumerate();
        all.filter_map(|(at, (address, socket))| {
            let about = PassedSocket { role: SocketRole::Listener, address, listener: Some(at as u16) };
            Some((about, socket.as_ref()?.as_fd()))
        })
        .collect()
    }

    /// Lets go of all of them; the numbers stay.
    pub(super) fn close(&mut self) {
        self.sockets.iter_mut().for_each(|socket| *socket = None);
    }

    /// Has the kernel note when datagrams arrive: no process reads them now, and the next dispatcher drops those that
    /// are too old.
    pub(super) fn stamp_arrivals(&self) {
        // Without arrival times every datagram counts as fresh.
        self.sockets.iter().flatten().for_each(|socket| drop(socket.stamp_arrivals(true)));
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
    fn the_duplicate_of_a_listener_that_the_dispatcher_has_given_up_is_closed() {
        let (one, two, three) = (socket(), socket(), socket());
        let [a, b, c] = [&one, &two, &three].map(Socket::local_addr);
        let (mut listeners, mut duplicates) = (Listeners::default(), Duplicates::default());
        listeners.set(&[a, b], &[true, true]);
        duplicates.set(&listeners, vec![Some(one), Some(two)]);
        listeners.set(&[c, b], &[true, false]);
        duplicates.set(&listeners, vec![Some(three), None]);
        assert!(duplicates.get(0).is_none());
        assert_eq!(duplicates.get(2).map(Socket::local_addr), Some(c));
        let passed = duplicates.passed(&listeners);
        assert_eq!(passed.iter().map(|(passed, _)| passed.address).collect::<Vec<_>>(), [b, c]);
    }
}
