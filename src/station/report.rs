//! When a report is due: soon after a change, often under load, rarely when idle. Arithmetic only.

use std::time::Duration;

use crate::time::Time;
use crate::words::Report;

/// The times between two reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Intervals {
    /// A change is reported no sooner than this after the last report.
    pub on_change: Duration,
    /// With calls, a report leaves at least this often.
    pub under_load: Duration,
    /// Without calls, a report leaves at least this often.
    pub idle: Duration,
}

impl Default for Intervals {
    fn default() -> Self {
        Intervals {
            on_change: Duration::from_millis(10),
            under_load: Duration::from_millis(100),
            idle: Duration::from_secs(1),
        }
    }
}

/// The CPU's share is measured over at least this time.
const CPU_WINDOW: Duration = Duration::from_millis(100);

/// The pace of one link's reports.
#[derive(Clone, Debug, Default)]
pub(super) struct Pace {
    intervals: Intervals,
    last: Option<(Time, Figures)>,
}

/// The figures of a report whose change is worth a new report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Figures {
    units_used: u32,
    sessions: u32,
    no_room: bool,
    draining: bool,
}

impl Pace {
    /// Nothing has been reported yet.
    pub(super) const fn new(intervals: Intervals) -> Self {
        Pace { intervals, last: None }
    }

    /// The next report is the first to another dispatcher.
    pub(super) const fn restart(&mut self) {
        self.last = None;
    }

    /// When the next report is due, if it is to say this. The first one is due at once.
    pub(super) fn due(&self, report: &Report) -> Time {
        let Some((at, last)) = self.last else { return Time(0) };
        let after = if Figures::of(report) != last {
            self.intervals.on_change
        } else if report.sessions > 0 {
            self.intervals.under_load
        } else {
            self.intervals.idle
        };
        at + after
    }

    /// This report has left.
    pub(super) fn reported(&mut self, report: &Report, now: Time) {
        self.last = Some((now, Figures::of(report)));
    }
}

impl Figures {
    const fn of(report: &Report) -> Self {
        let Report { units_used, sessions, no_room, draining, .. } = *report;
        Figures { units_used, sessions, no_room, draining }
    }
}

/// The share of one core that a process uses, measured between looks.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct CpuShare {
    last: Option<(Time, Duration)>,
    millionths: u32,
}

impl CpuShare {
    /// The share in millionths of one core; `used` is the CPU time since the process began.
    pub(super) fn measure(&mut self, used: Duration, now: Time) -> u32 {
        let Some((at, before)) = self.last else {
            self.last = Some((now, used));
            return 0;
        };
        let passed = now.since(at);
        if passed >= CPU_WINDOW {
            let share = used.saturating_sub(before).as_micros() * 1_000_000 / passed.as_micros().max(1);
            self.millionths = u32::try_from(share).unwrap_or(u32::MAX);
            self.last = Some((now, used));
        }
        self.millionths
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_is_reported_after_10_ms_load_after_100_and_nothing_after_a_second() {
        let [idle, busy] = [0, 1].map(|sessions| Report { sessions, ..Report::default() });
        let mut pace = Pace::default();
        assert_eq!(pace.due(&idle), Time(0));
        pace.reported(&idle, Time(1_000));
        assert_eq!(pace.due(&busy), Time(11_000));
        assert_eq!(pace.due(&Report { answered: 7, ..idle }), Time(1_001_000), "that alone is no news");
        pace.reported(&busy, Time(1_000));
        assert_eq!(pace.due(&busy), Time(101_000));
        pace.reported(&idle, Time(2_000));
        assert_eq!(pace.due(&idle), Time(1_002_000));
    }

    #[test]
    fn the_share_is_cpu_time_over_time() {
        let mut share = CpuShare::default();
        assert_eq!(share.measure(Duration::from_millis(5), Time(0)), 0);
        assert_eq!(share.measure(Duration::from_millis(30), Time(50_000)), 0);
        assert_eq!(share.measure(Duration::from_millis(30), Time(100_000)), 250_000);
    }
}
