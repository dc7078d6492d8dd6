//! SIP messages in a sequence of bytes (RFC 3261 §18.3), those that come in pieces put together.

use super::{Fault, Received};
use crate::time::Time;
use crate::wire::framing::{Framed, Framer};

/// A buffer that is larger is not kept for the next message.
const KEPT: usize = 4 << 10;
/// Bytes that are copied behind an unfinished head before it is looked at again.
const STEP: usize = 512;

/// The messages of a connection.
#[derive(Debug, Default)]
pub(super) struct Messages {
    /// Bytes of a message that is not whole yet, or of a keepalive.
    pending: Vec<u8>,
    framer: Framer,
    /// Number of pending bytes from which the framer looks again.
    enough: usize,
    /// The time at which the pending message began.
    begun: Option<Time>,
}

impl Messages {
    /// Gives each message to `sink`, and adds the answer to each keepalive to `out`.
    pub(super) fn on_bytes(
        &mut self,
        bytes: &[u8],
        now: Time,
        out: &mut Vec<u8>,
        sink: &mut impl FnMut(Received<'_>),
    ) -> Result<(), Fault> {
        let mut rest = bytes;
        let was_pending = !self.pending.is_empty();
        while !self.pending.is_empty() && !rest.is_empty() {
            rest = self.complete(rest, out, sink)?;
        }
        while !rest.is_empty() {
            match self.framer.next(rest) {
                Framed::NeedMore { at_least } => {
                    self.enough = at_least;
                    self.pending.extend_from_slice(rest);
                    rest = &[];
                }
                framed => rest = rest.get(take(framed, rest, out, sink)?..).unwrap_or_default(),
            }
        }
        match self.pending.first() {
            // Half a keepalive may stay alone for as long as its sender likes.
            None | Some(b'\r' | b'\n') => self.begun = None,
            Some(_) => {
                self.begun.get_or_insert(now);
            }
        }
        // One whose messages come whole, or that only says that it lives, does without a buffer.
        if self.pending.is_empty() && (self.pending.capacity() > KEPT || !was_pending) {
            self.pending = Vec::new();
        }
        Ok(())
    }

    /// The bytes of the message that is not whole yet, or of a keepalive.
    pub(super) fn pending(&self) -> &[u8] {
        &self.pending
    }

    /// The time at which the message began that is not whole yet.
    pub(super) fn begun(&self) -> Option<Time> {
        self.begun
    }

    /// Copies behind the pending bytes what these need, and no more than a step beyond. The result is the bytes after
    /// what was taken.
    fn complete<'a>(
        &mut self,
        bytes: &'a [u8],
        out: &mut Vec<u8>,
        sink: &mut impl FnMut(Received<'_>),
    ) -> Result<&'a [u8], Fault> {
        let before = self.pending.len();
        let wanted = self.enough.saturating_sub(before).max(STEP);
        let (copied, rest) = bytes.split_at(wanted.min(bytes.len()));
        self.pending.extend_from_slice(copied);
        match self.framer.next(&self.pending) {
            Framed::NeedMore { at_least } => {
                self.enough = at_least;
                Ok(rest)
            }
            framed => {
                let taken = take(framed, &self.pending, out, sink)?;
                self.begun = None;
                // After a line end, half a keepalive may turn out to be none, and is looked at again.
                self.pending.truncate(before);
                self.pending.drain(..taken.min(before));
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
