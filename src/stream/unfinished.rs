//! The bytes of a message that is not whole yet, and the time that it has taken.

use crate::time::Time;

/// A buffer that is larger is not kept for the next message.
const KEPT: usize = 4 << 10;

/// The bytes of a message that is not whole yet.
#[derive(Debug)]
pub(super) struct Unfinished {
    pub(super) bytes: Vec<u8>,
    /// The time of its first byte.
    begun: Time,
}

impl Unfinished {
    /// The time at which the message began; never while there is none.
    pub(super) const fn begun(&self) -> Time {
        self.begun
    }

    /// Its time counts from now on.
    pub(super) const fn begin_again(&mut self, now: Time) {
        if !self.bytes.is_empty() {
            self.begun = now;
        }
    }

    /// The message is whole: bytes that are left belong to another one, which has its own time.
    pub(super) const fn end(&mut self) {
        self.begun = Time::NEVER;
    }

    /// A read is done. `was_empty`: whether no bytes were left by the read before. A connection whose messages come
    /// whole does without a buffer.
    pub(super) fn settle(&mut self, was_empty: bool, now: Time) {
        if !self.bytes.is_empty() {
            self.begun = self.begun.min(now);
            return;
        }
        self.end();
        if was_empty || self.bytes.capacity() > KEPT {
            self.bytes = Vec::new();
        }
    }
}

impl Default for Unfinished {
    fn default() -> Self {
        Unfinished { bytes: Vec::new(), begun: Time::NEVER }
    }
}
