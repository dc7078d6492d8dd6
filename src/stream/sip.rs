//! SIP messages in a sequence of bytes (RFC 3261 §18.3), those that come in pieces put together.

use super::keepalive::Keepalive;
use super::signs::Signs;
use super::unfinished::Unfinished;
use super::{Fault, Received};
use crate::time::Time;
use crate::wire::framing::{Framed, Framer};

/// Bytes that are copied behind an unfinished head before it is looked at again.
const STEP: usize = 512;

/// The messages of a connection.
#[derive(Debug, Default)]
pub(super) struct Messages {
    /// A message, or a keepalive.
    pending: Unfinished,
    framer: Framer,
    /// Number of pending bytes from which the framer looks again.
    enough: usize,
    /// Keepalives since the last message.
    keepalives: Signs,
    /// Our own keepalives.
    own: Option<Box<Keepalive>>,
}

impl Messages {
    /// The messages of a connection on which we send keepalives.
    pub(super) fn kept_alive(now: Time) -> Self {
        Messages { own: Some(Box::new(Keepalive::new(now))), ..Messages::default() }
    }

    /// When [`Messages::handle_timeout`] is due.
    pub(super) fn keepalive_at(&self) -> Time {
        self.own.as_ref().map_or(Time::NEVER, |own| own.poll_timeout())
    }

    /// Sends a keepalive that is due, or finds that the last one had no answer.
    pub(super) fn handle_timeout(&mut self, now: Time, out: &mut Vec<u8>) -> Result<(), Fault> {
        self.own.as_mut().map_or(Ok(()), |own| own.handle_timeout(now, out))
    }

    /// Gives each message to `sink`, and adds the answer to each keepalive to `out`.
    pub(super) fn on_bytes(
        &mut self,
        bytes: &[u8],
        now: Time,
        out: &mut Vec<u8>,
        sink: &mut impl FnMut(Received<'_>),
    ) -> Result<(), Fault> {
        let mut rest = bytes;
        let was_empty = self.pending.bytes.is_empty();
        while !self.pending.bytes.is_empty() && !rest.is_empty() {
            rest = self.complete(rest, now, out, sink)?;
        }
        while !rest.is_empty() {
            match self.framer.next(rest) {
                Framed::NeedMore { at_least } => {
                    self.enough = at_least;
                    self.pending.bytes.extend_from_slice(rest);
                    rest = &[];
                }
                framed => {
                    self.count(framed, now)?;
                    rest = rest.get(take(framed, rest, out, sink)?..).unwrap_or_default();
                }
            }
        }
        if let Some(own) = &mut self.own
            && !bytes.is_empty()
            && own.on_heard(&self.pending.bytes, now)
        {
            self.pending.bytes.clear();
            self.pending.end();
        }
        self.pending.settle(was_empty, now);
        if matches!(self.pending.bytes.first(), Some(b'\r' | b'\n')) {
            // Half a keepalive may stay alone for as long as its sender likes.
            self.pending.end();
        }
        Ok(())
    }

    /// The bytes of the message that is not whole yet, or of a keepalive.
    pub(super) fn pending(&self) -> &[u8] {
        &self.pending.bytes
    }

    /// The time at which the message began that is not whole yet.
    pub(super) fn begun(&self) -> Time {
        self.pending.begun()
    }

    /// The time of a message that is not whole yet counts from now on.
    pub(super) const fn begin_again(&mut self, now: Time) {
        self.pending.begin_again(now);
    }

    /// Counts the keepalives between two messages.
    fn count(&mut self, framed: Framed, now: Time) -> Result<(), Fault> {
        match framed {
            Framed::Message(_) => self.keepalives.on_message(),
            Framed::Ping(_) | Framed::Blank(_) if !self.keepalives.note(now) => return Err(Fault::Flood),
            _ => {}
        }
        Ok(())
    }

    /// Copies behind the pending bytes what these need, and no more than a step beyond. The result is the bytes after
    /// what was taken.
    fn complete<'a>(
        &mut self,
        bytes: &'a [u8],
        now: Time,
        out: &mut Vec<u8>,
        sink: &mut impl FnMut(Received<'_>),
    ) -> Result<&'a [u8], Fault> {
        let before = self.pending.bytes.len();
        let wanted = self.enough.saturating_sub(before).max(STEP);
        let (copied, rest) = bytes.split_at(wanted.min(bytes.len()));
        self.pending.bytes.extend_from_slice(copied);
        match self.framer.next(&self.pending.bytes) {
            Framed::NeedMore { at_least } => {
                self.enough = at_least;
                Ok(rest)
            }
            framed => {
                self.count(framed, now)?;
                let taken = take(framed, &self.pending.bytes, out, sink)?;
                self.pending.end();
                // After a line end, half a keepalive may turn out to be none, and is looked at again.
                self.pending.bytes.truncate(before);
                self.pending.bytes.drain(..taken.min(before));
                Ok(bytes.get(taken.saturating_sub(before)..).unwrap_or_default())
            }
        }
    }
}

/// Carries out what lies at the front of `bytes`. The result is its length.
fn take(framed: Framed, bytes: &[u8], out: &mut Vec<u8>, sink: &mut impl FnMut(Received<'_>)) -> Result<usize, Fault> {
    match framed {
        Framed::Message(length) => {
            sink(Received::Message(bytes.get(..length).unwrap_or_default()));
            Ok(length)
        }
        Framed::Ping(length) => {
            // RFC 5626 §4.4.1.
            out.extend_from_slice(b"\r\n");
            Ok(length)
        }
        Framed::Blank(length) => Ok(length),
        Framed::NeedMore { .. } => Ok(0),
        Framed::Faulty(head, fault) => {
            sink(Received::Faulty(bytes.get(..head).unwrap_or_default(), fault));
            Err(Fault::Framing(fault))
        }
        Framed::Close(fault) => Err(Fault::Framing(fault)),
    }
}
