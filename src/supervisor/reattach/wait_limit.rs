//! Time for which the workers of an earlier dispatcher are waited for, as a value.
//!
//! Each worker tries to connect every 50 ms. A thousand of them on a few cores take turns, and a worker that has not
//! had its turn yet must not be taken for one that hangs: as long as workers come, the rest is waited for.

use std::time::Duration;

use crate::time::Time;

/// Time without an arrival after which the missing workers are taken to hang.
const QUIET: Duration = Duration::from_secs(1);
/// Each worker that is still missing makes that time longer: the others' attempts take so much of the machine's time.
const QUIET_EACH: Duration = Duration::from_millis(2);
/// Longest wait as a whole while workers come; callers wait meanwhile.
const LONGEST: Duration = Duration::from_secs(5);
/// Additional wait as a whole for each worker.
const EACH: Duration = Duration::from_millis(25);

/// The wait for workers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WaitLimit {
    began: Time,
    /// The time of the last arrival.
    last: Time,
}

impl WaitLimit {
    /// Begins to wait.
    pub const fn new(now: Time) -> Self {
        WaitLimit { began: now, last: now }
    }

    /// A worker has come.
    pub fn on_arrival(&mut self, now: Time) {
        self.last = now;
    }

    /// The time at which the wait is over, with `missing` of `all` still to come.
    pub fn until(&self, missing: usize, all: usize) -> Time {
        let each = |time: Duration, count: usize| time.saturating_mul(u32::try_from(count).unwrap_or(u32::MAX));
        let quiet = self.last + QUIET + each(QUIET_EACH, missing);
        quiet.min(self.began + LONGEST + each(EACH, all))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000;

    #[test]
    fn a_hanging_worker_costs_a_second_and_a_thousand_that_come_are_waited_for() {
        let mut wait_limit = WaitLimit::new(Time(0));
        assert_eq!(wait_limit.until(1, 1), Time(1_002 * MS));
        assert_eq!(wait_limit.until(1_024, 1_024), Time(3_048 * MS), "they take their turns");
        wait_limit.on_arrival(Time(3_000 * MS));
        assert_eq!(wait_limit.until(1_023, 1_024), Time(6_046 * MS), "one has come, and others will");
        assert_eq!(wait_limit.until(1, 1_024), Time(4_002 * MS), "the last one hangs");
    }

    #[test]
    fn callers_do_not_wait_for_ever() {
        let mut wait_limit = WaitLimit::new(Time(0));
        wait_limit.on_arrival(Time(30_000 * MS));
        assert_eq!(wait_limit.until(500, 1_024), Time(30_600 * MS));
        wait_limit.on_arrival(Time(4_500 * MS));
        assert_eq!(wait_limit.until(1, 2), Time(5_050 * MS));
    }
}
