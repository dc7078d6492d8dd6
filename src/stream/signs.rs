//! Signs of life: keepalives, and frames of a WebSocket that bring nothing.

use crate::time::Time;

/// Signs that may come within [`WITHIN`] and without a message between them. RFC 5626 §4.4.1 has one in 95 s.
const MOST: u16 = 128;
/// Seconds.
const WITHIN: u32 = 30;
const SECOND: u64 = 1_000_000;

/// Signs of life without a message between them. Rules about rates count messages, so these have a bound of their own.
#[derive(Debug, Default)]
pub(super) struct Signs {
    count: u16,
    /// The second of the first that counts.
    since: u32,
}

impl Signs {
    /// One comes. False where there are too many.
    pub(super) fn note(&mut self, now: Time) -> bool {
        // 136 years of seconds.
        let now = (now.0 / SECOND) as u32;
        if self.count == 0 || now >= self.since.saturating_add(WITHIN) {
            *self = Signs { count: 0, since: now };
        }
        self.count += 1;
        self.count <= MOST
    }

    /// A message comes.
    pub(super) const fn on_message(&mut self) {
        self.count = 0;
    }
}
