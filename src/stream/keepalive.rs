//! Keepalives on a connection that we have opened (RFC 5626 §4.4.1): a double CRLF is answered by a single one.
//!
//! Not every server answers. Once one has, the connection to it is broken when an answer stays away.

use std::time::Duration;

use super::Fault;
use crate::time::Time;

/// Time between two. RFC 5626 §4.4.1 has up to 95 s where the server says nothing else.
const EVERY: Duration = Duration::from_secs(30);
/// Time that an answer has (RFC 5626 §4.4.1).
const WITHIN: Duration = Duration::from_secs(10);

/// The keepalives of a connection.
#[derive(Debug)]
pub(super) struct Keepalive {
    /// When the next one leaves, or the answer to the last one is late.
    due: Time,
    is_awaited: bool,
    /// Whether the peer has answered one.
    is_answered: bool,
}

impl Keepalive {
    pub(super) fn new(now: Time) -> Self {
        Keepalive { due: now + EVERY, is_awaited: false, is_answered: false }
    }

    /// The peer has said something: it is there. `rest`: the bytes that are no whole message, which may be an answer.
    /// Returns whether they are.
    pub(super) fn on_heard(&mut self, rest: &[u8], now: Time) -> bool {
        if !self.is_awaited || rest == b"\r" {
            return false;
        }
        let is_answer = rest == b"\r\n";
        self.is_answered |= is_answer;
        (self.is_awaited, self.due) = (false, now + EVERY);
        is_answer
    }

    /// When [`Keepalive::handle_timeout`] is due.
    pub(super) const fn poll_timeout(&self) -> Time {
        self.due
    }

    /// Sends one that is due.
    ///
    /// # Errors
    ///
    /// The last one has no answer, and earlier ones had.
    pub(super) fn handle_timeout(&mut self, now: Time, out: &mut Vec<u8>) -> Result<(), Fault> {
        if now < self.due {
            return Ok(());
        }
        if self.is_awaited && self.is_answered {
            return Err(Fault::NoPong);
        }
        out.extend_from_slice(b"\r\n\r\n");
        self.is_awaited = true;
        self.due = now + if self.is_answered { WITHIN } else { EVERY };
        Ok(())
    }
}
