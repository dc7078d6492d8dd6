//! The pump: what is left of a dispatcher whose successor has taken over everything but its TLS sessions.
//!
//! A session of TLS cannot be given to another process. The pump deciphers and enciphers for the successor, which has
//! each connection's plaintext through a pair of sockets and treats it as a connection of its own. The successor closes
//! them one by one; the pump ends with the last of them, or with its successor.

use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::time::Duration;

use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};

use super::pipe::Pipe;
use crate::net::clock;
use crate::net::conns::Pumped;

/// Time beyond `linger` that the successor has to close the last connections.
const GRACE: Duration = Duration::from_secs(60);

/// TLS sessions of connections that another process serves.
#[derive(Debug)]
pub struct Pump {
    poll: Poll,
    /// By place; the tokens of its two sockets are twice the place, and one more.
    pipes: Vec<Option<Pipe>>,
}

impl Pump {
    /// A pump for these connections. Those that cannot be watched are closed.
    ///
    /// # Errors
    ///
    /// The kernel gives no poll.
    pub fn new(pumped: Vec<Pumped>) -> io::Result<Self> {
        let mut pump = Pump { poll: Poll::new()?, pipes: Vec::new() };
        for pipe in pumped.into_iter().filter_map(Pipe::new) {
            let place = pump.pipes.len();
            let interest = Interest::READABLE | Interest::WRITABLE;
            let both = [(pipe.socket(), 2 * place), (pipe.plaintext(), 2 * place + 1)];
            let registry = pump.poll.registry();
            let watched = both
                .into_iter()
                .all(|(fd, token)| registry.register(&mut SourceFd(&fd), Token(token), interest).is_ok());
            pump.pipes.push(watched.then_some(pipe));
        }
        Ok(pump)
    }

    /// Number of its connections.
    pub fn count(&self) -> usize {
        self.pipes.iter().flatten().count()
    }

    /// Its descriptors. The process should have no others.
    pub fn descriptors(&self) -> Vec<RawFd> {
        let pipes = self.pipes.iter().flatten().flat_map(|pipe| [pipe.socket(), pipe.plaintext()]);
        pipes.chain([self.poll.as_raw_fd()]).collect()
    }

    /// Runs until the last connection has ended, or some time after `linger`.
    ///
    /// # Errors
    ///
    /// The kernel does not say what can be read.
    pub fn run(mut self, linger: Duration) -> io::Result<()> {
        let end = clock::now() + linger + GRACE;
        let mut events = Events::with_capacity(256);
        // Edges came before the poll was there.
        (0..self.pipes.len()).for_each(|place| self.carry(place));
        while self.count() > 0 {
            let left = end.since(clock::now());
            if left.is_zero() {
                break;
            }
            match self.poll.poll(&mut events, Some(left)) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                result => result?,
            }
            events.iter().for_each(|event| self.carry(event.token().0 / 2));
        }
        Ok(())
    }

    /// Carries bytes both ways until the kernel has no more and takes no more.
    fn carry(&mut self, place: usize) {
        let Some(pipe) = self.pipes.get_mut(place) else { return };
        if pipe.as_mut().is_some_and(|pipe| !pipe.carry(clock::now())) {
            *pipe = None;
        }
    }
}
