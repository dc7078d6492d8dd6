//! Probes of one proxy by their numbers: each has one end, its answer or its loss.

use std::time::Duration;

use crate::pack::packed;

/// A probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProbeNumber {
    /// Life of the proxy that it was sent to.
    pub life: u32,
    /// Its number among those of that life, rising.
    pub number: u32,
}

/// An answer to a probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answered {
    /// Its status.
    pub status: u16,
    /// Its Retry-After.
    pub retry_after: Option<Duration>,
    /// Time from the probe to it.
    pub delay: Duration,
}

/// The last 64 probes that have ended.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Concluded {
    newest: u32,
    /// A bit for each of the newest and those before it, the newest lowest.
    ended: u64,
}

packed!(Concluded { newest, ended });

impl Concluded {
    /// Notes the end of a probe; false if it has ended before, or is too old to be known.
    pub(super) const fn conclude(&mut self, number: u32) -> bool {
        if self.ended == 0 || number > self.newest {
            let passed = number.saturating_sub(self.newest);
            self.ended = if self.ended == 0 || passed >= 64 { 1 } else { self.ended << passed | 1 };
            self.newest = number;
            return true;
        }
        let before = self.newest - number;
        if before >= 64 || self.ended >> before & 1 != 0 {
            return false;
        }
        self.ended |= 1 << before;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_probe_ends_once_also_after_later_ones() {
        let mut concluded = Concluded::default();
        let ends = [7, 7, 9, 8, 8, 7, 9, 80, 16, 15, 17, 17, u32::MAX, 80].map(|number| concluded.conclude(number));
        let expected = [true, false, true, true, false, false, false, true, false, false, true, false, true, false];
        // 16 and before are too old once 80 has ended.
        assert_eq!(ends, expected);
    }
}
