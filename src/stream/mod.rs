//! The bytes of one connection to SIP messages and back, as a value: no socket, no clock.
//!
//! The owner of the connection gives [`Stream`] the bytes that come, sends the bytes that it writes, and asks
//! [`Stream::poll_timeout`] when to call it again. A message that lies whole in the bytes at hand is a slice of them;
//! only an unfinished one is kept.

mod fault;
mod limits;
mod sip;

pub use fault::Fault;
pub use limits::Limits;

use sip::Messages;

use crate::time::Time;
use crate::wire::framing::StreamFault;
use crate::words::Transport;

/// The protocol of a connection.
#[derive(Clone, Debug)]
pub enum Kind {
    /// SIP over TCP.
    Plain,
}

/// A message of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Received<'a> {
    /// A whole message.
    Message(&'a [u8]),
    /// The head of a message whose end cannot be found, up to its empty line. It is answered 400 or 513 where its Via
    /// allows that; the call that gives it returns the fault.
    Faulty(&'a [u8], StreamFault),
}

/// One connection.
#[derive(Debug)]
pub struct Stream {
    limits: Limits,
    messages: Messages,
    /// The last time at which bytes came, or that of its begin.
    heard: Time,
    /// Whether bytes have come at all.
    has_spoken: bool,
}

impl Stream {
    /// A connection that begins now.
    pub fn new(kind: Kind, limits: Limits, now: Time) -> Self {
        match kind {
            Kind::Plain => Stream { limits, messages: Messages::default(), heard: now, has_spoken: false },
        }
    }

    /// Reads the bytes that have come and gives each message to `sink`. Adds to `out` the bytes that have to
    /// leave, even if it fails.
    ///
    /// The call that completes a handshake gives no message. The next one does, and may be made without bytes.
    ///
    /// # Errors
    ///
    /// No further message can be read: the connection has to be closed, when `out` and answers to earlier messages have
    /// left.
    pub fn on_bytes(
        &mut self,
        bytes: &[u8],
        now: Time,
        out: &mut Vec<u8>,
        sink: &mut impl FnMut(Received<'_>),
    ) -> Result<(), Fault> {
        if !bytes.is_empty() {
            (self.heard, self.has_spoken) = (now, true);
        }
        self.messages.on_bytes(bytes, now, out, sink).map_err(Fault::Framing)
    }

    /// Adds the bytes of a SIP message to `out`.
    pub fn write(&mut self, message: &[u8], out: &mut Vec<u8>) {
        out.extend_from_slice(message);
    }

    /// Adds to `out` what the protocol says at an orderly end.
    pub fn close(&mut self, _out: &mut Vec<u8>) {}

    /// Whether its handshakes are done.
    pub fn is_open(&self) -> bool {
        true
    }

    /// Its transport, as a Via names it.
    pub fn transport(&self) -> Transport {
        Transport::Tcp
    }

    /// When [`Stream::handle_timeout`] is due.
    pub fn poll_timeout(&self) -> Time {
        if !self.has_spoken {
            return self.heard + self.limits.first;
        }
        let idle = self.heard + self.limits.idle;
        self.messages.begun().map_or(idle, |begun| idle.min(begun + self.limits.message))
    }

    /// Does what is due.
    ///
    /// # Errors
    ///
    /// A limit has passed. After [`Fault::Idle`] the owner may keep the connection: it is asked again when it has been
    /// silent for as long once more.
    pub fn handle_timeout(&mut self, now: Time, _out: &mut Vec<u8>) -> Result<(), Fault> {
        if now < self.poll_timeout() {
            return Ok(());
        }
        if !self.has_spoken {
            return Err(Fault::Silent);
        }
        if self.messages.begun().is_some_and(|begun| begun + self.limits.message <= now) {
            return Err(Fault::SlowMessage);
        }
        self.heard = now;
        Err(Fault::Idle)
    }
}

#[cfg(test)]
mod tests;
