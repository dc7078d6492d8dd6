//! The clock: the host's monotonic time, and the CPU time of the process.

use std::time::Duration;

use rustix::time::{ClockId, Timespec, clock_gettime};

use crate::time::Time;

/// The time now, on the host's monotonic clock.
pub fn now() -> Time {
    Time(u64::try_from(span(clock_gettime(ClockId::Monotonic)).as_micros()).unwrap_or(u64::MAX))
}

/// The time since 1970 on the host's wall clock, with which the kernel stamps datagrams.
pub fn since_1970() -> Duration {
    span(clock_gettime(ClockId::Realtime))
}

/// The CPU time that this process has used, user and system, all threads.
pub fn cpu() -> Duration {
    span(clock_gettime(ClockId::ProcessCPUTime))
}

/// The time as a duration; none of these clocks is ever negative.
fn span(moment: Timespec) -> Duration {
    Duration::new(moment.tv_sec.try_into().unwrap_or_default(), moment.tv_nsec.try_into().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_does_not_run_backwards() {
        let (before, cpu_before) = (now(), cpu());
        assert!(now() >= before);
        assert!(cpu() >= cpu_before);
    }
}
