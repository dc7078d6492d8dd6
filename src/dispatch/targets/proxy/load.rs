//! Load of a downstream proxy: by its own reports, else by the calls that it has answered lately.
//!
//! A report is old after three intervals: then the load is unknown, which is not the same as 0, and the percentage that
//! an agent has given holds no more. Its words `drain` and `maint` hold until it takes them back, as HAProxy has it:
//! one that stops with its server must not bring the server back. Numbers of a report are a peer's: whatever they say,
//! a load is between 0 and 1.

use std::time::Duration;

use super::overload::Overload;
use super::recent::Recent;
use crate::pack::packed;
use crate::time::Time;
use crate::words::word_list::words;

/// Intervals after which a report counts no more.
const OLD: u32 = 3;
/// Most processes that are kept of a report.
const PROCESSES: usize = 256;

/// A proxy's own word about new requests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Word {
    /// It takes them.
    #[default]
    Ready,
    /// It has no room for any.
    Full,
    /// It finishes those that it has.
    Drain,
}

words!(Word { Ready = "ready", Full = "full", Drain = "drain" });
packed!(Word as Ready = 0, Full = 1, Drain = 2);

/// One process of a proxy, by its report.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Process {
    /// Sessions in use.
    pub used: u32,
    /// Most sessions; 0 where it does not say.
    pub total: u32,
}

packed!(Process { used, total });

/// A report as it was read, with any numbers.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Reported {
    /// Sessions in use.
    pub used: Option<f64>,
    /// Most sessions.
    pub total: Option<f64>,
    /// Share of its handicap that it wants, in percent.
    pub percent: Option<f64>,
    /// Its word about new requests.
    pub word: Option<Word>,
    /// Its processes.
    pub processes: Vec<Process>,
}

/// The settings that a load is judged by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// Most sessions by the operator.
    pub capacity: Option<u32>,
    /// Interval of the reports.
    pub interval: Duration,
    /// Time for which an answered call counts.
    pub session_time: Duration,
    /// Lanes that send calls: each counts its own.
    pub lanes: u32,
}

/// Load of one proxy.
#[derive(Clone, Debug, Default)]
pub struct Load {
    used: Option<u32>,
    total: Option<u32>,
    /// Time of the last report.
    at: Option<Time>,
    word: Word,
    /// Share of its handicap in thousandths, by its last report that says one.
    share: Option<u16>,
    processes: Vec<Process>,
    answered: Recent,
    overload: Overload,
    limits: Limits,
}

packed!(Load { used, total, at, word, share, processes, answered, overload } else { limits });

impl Load {
    /// A load without reports.
    pub fn new(limits: Limits) -> Self {
        Load { limits, answered: Recent::new(limits.session_time), ..Load::default() }
    }

    /// Sets other limits.
    pub fn set_limits(&mut self, limits: Limits) {
        self.answered.set_span(limits.session_time);
        self.limits = limits;
    }

    /// Forgets what was reported: another source reports from now on, or none.
    pub fn forget_reports(&mut self) {
        let (limits, answered) = (self.limits, std::mem::take(&mut self.answered));
        *self = Load { limits, answered, overload: self.overload, ..Load::default() };
    }

    /// Takes note of a report. Returns whether it says anything: one that does not leaves the last one as it is.
    pub fn on_report(&mut self, report: &Reported, now: Time) -> bool {
        let processes = &report.processes[..report.processes.len().min(PROCESSES)];
        let (used, total) = (report.used.and_then(count), report.total.and_then(count));
        let share = report.percent.filter(|percent| *percent >= 0.0).map(|percent| (percent.min(100.0) * 10.0) as u16);
        if used.is_none() && total.is_none() && share.is_none() && report.word.is_none() {
            return false;
        }
        (self.used, self.at) = (used, Some(now));
        // Words of an agent hold until it says others, as HAProxy has it; what is in use is measured anew.
        self.total = total.or(self.total);
        self.word = report.word.unwrap_or(self.word);
        self.share = share.or(self.share);
        self.processes.clear();
        self.processes.extend_from_slice(processes);
        true
    }

    /// Overload control of its server.
    pub const fn overload_mut(&mut self) -> &mut Overload {
        &mut self.overload
    }

    /// Overload control of its server.
    pub const fn overload(&self) -> &Overload {
        &self.overload
    }

    /// Counts an answered call.
    pub fn on_answered(&mut self, now: Time) {
        self.answered.add(now);
    }

    /// Sessions in use: by the last report, else the calls answered lately.
    pub fn used(&self, now: Time) -> u32 {
        match self.used {
            Some(used) if self.is_fresh(now) => used,
            _ => self.answered.count(now).saturating_mul(self.limits.lanes.max(1)),
        }
    }

    /// Most sessions; `None` where nothing says it.
    pub fn total(&self, now: Time) -> Option<u32> {
        self.limits.capacity.or(self.total.filter(|_| self.is_fresh(now)))
    }

    /// Its load, 0 to 1: the part of the requests that it does not want, or of its sessions that are in use, whichever
    /// is more; `None` while it is unknown.
    pub fn fraction(&self, now: Time) -> Option<f64> {
        let unwanted = self.overload.unwanted(now).map(|percent| f64::from(percent) / 100.0);
        match (self.in_use(now), unwanted) {
            (Some(used), Some(unwanted)) => Some(used.max(unwanted)),
            (used, unwanted) => used.or(unwanted),
        }
    }

    /// Sessions in use by those that it has, 0 to 1; `None` while it is unknown.
    pub fn in_use(&self, now: Time) -> Option<f64> {
        let total = self.total(now)?;
        // A server that reports and says nothing of its use has an unknown one.
        if self.at.is_some() && (self.used.is_none() || !self.is_fresh(now)) {
            return None;
        }
        let used = self.used(now);
        Some(if used >= total { 1.0 } else { f64::from(used) / f64::from(total) })
    }

    /// Whether it has room, and does not ask to be left alone.
    pub fn takes_new(&self, now: Time) -> bool {
        self.has_room(now) && self.overload.unwanted(now) != Some(100)
    }

    /// Whether it has room, whatever part of the requests it does not want.
    pub fn has_room(&self, now: Time) -> bool {
        match self.word(now) {
            Word::Ready => self.in_use(now).is_none_or(|used| used < 1.0),
            Word::Full | Word::Drain => false,
        }
    }

    /// Its own word. A server that was full long ago may have room again; one that drains says so when it has done.
    pub fn word(&self, now: Time) -> Word {
        if self.word == Word::Full && !self.is_fresh(now) { Word::Ready } else { self.word }
    }

    /// Share of its handicap that it wants, 0 to 1; all of it while that is unknown.
    pub fn share(&self, now: Time) -> f64 {
        self.share.filter(|_| self.is_fresh(now)).map_or(1.0, |share| f64::from(share) / 1_000.0)
    }

    /// Time since its last report; `None` before the first.
    pub fn age(&self, now: Time) -> Option<Duration> {
        self.at.map(|at| now.since(at))
    }

    /// Its processes by the last report, while that counts.
    pub fn processes(&self, now: Time) -> &[Process] {
        if self.is_fresh(now) { &self.processes } else { &[] }
    }

    fn is_fresh(&self, now: Time) -> bool {
        self.at.is_some_and(|at| now.since(at) <= OLD * self.limits.interval)
    }
}

/// A number of sessions; `None` for what is no number.
fn count(number: f64) -> Option<u32> {
    (number.is_finite() && number >= 0.0).then(|| number.min(f64::from(u32::MAX)).round() as u32)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::load::OverloadControl;

    fn at(seconds: u64) -> Time {
        Time((1_000 + seconds) * 1_000_000)
    }

    fn load(capacity: Option<u32>) -> Load {
        let limits =
            Limits { capacity, interval: Duration::from_secs(2), session_time: Duration::from_secs(180), lanes: 1 };
        Load::new(limits)
    }

    fn reported(used: f64, total: f64) -> Reported {
        Reported { used: Some(used), total: Some(total), ..Reported::default() }
    }

    #[test]
    fn a_report_counts_for_three_intervals_and_then_nothing_is_known() {
        let mut load = load(None);
        assert_eq!((load.fraction(at(0)), load.age(at(0))), (None, None));
        assert!(load.on_report(&reported(20.0, 80.0), at(0)));
        assert_eq!(load.fraction(at(6)), Some(0.25));
        assert_eq!((load.fraction(at(7)), load.takes_new(at(7))), (None, true));
        let mut load = super::tests::load(Some(100));
        load.on_report(&reported(20.0, 80.0), at(0));
        assert_eq!(load.fraction(at(0)), Some(0.2), "the operator's word is above the server's");
        assert_eq!(load.fraction(at(7)), None, "not 0");
    }

    #[test]
    fn numbers_without_sense_give_a_load_between_0_and_1_or_none() {
        let cases = [
            ((f64::NAN, 100.0), None),
            ((-1.0, 100.0), None),
            ((f64::INFINITY, 100.0), None),
            ((1e300, 100.0), Some(1.0)),
            ((1.0, 0.0), Some(1.0)),
            ((0.0, 0.0), Some(1.0)),
            ((5.0, 4.0), Some(1.0)),
            ((5.0, f64::NAN), None),
            ((5.0, -4.0), None),
            ((5.0, 1e300), Some(5.0 / f64::from(u32::MAX))),
            ((-0.0, 7.0), Some(0.0)),
        ];
        for ((used, total), expected) in cases {
            let mut load = load(None);
            load.on_report(&reported(used, total), at(0));
            assert_eq!(load.fraction(at(0)), expected, "{used}/{total}");
        }
        let mut load = load(None);
        load.on_report(&reported(1.0, 4.0), at(0));
        assert!(!load.on_report(&reported(f64::NAN, -1.0), at(5)));
        assert_eq!((load.fraction(at(6)), load.fraction(at(7))), (Some(0.25), None), "nonsense keeps nothing alive");
    }

    #[test]
    fn of_many_processes_some_are_kept() {
        let mut load = load(None);
        let processes = vec![Process { used: 1, total: 1 }; 100_000];
        load.on_report(&Reported { used: Some(1e5), processes, ..Reported::default() }, at(0));
        assert_eq!((load.processes(at(0)).len(), load.used(at(0))), (PROCESSES, 100_000));
    }

    #[test]
    fn a_total_that_an_agent_has_said_holds_until_it_says_another_one() {
        let mut load = load(None);
        load.on_report(&reported(5.0, 50.0), at(0));
        let used = |used| Reported { used: Some(used), ..Reported::default() };
        load.on_report(&used(10.0), at(2));
        assert_eq!((load.total(at(2)), load.fraction(at(2))), (Some(50), Some(0.2)));
        load.on_report(&Reported { word: Some(Word::Ready), ..Reported::default() }, at(4));
        assert_eq!((load.total(at(4)), load.fraction(at(4))), (Some(50), None), "its use is not known");
        assert_eq!(load.total(at(11)), None, "it has fallen silent");
        load.on_report(&used(10.0), at(20));
        load.on_report(&Reported { total: Some(20.0), ..used(10.0) }, at(22));
        assert_eq!((load.total(at(22)), load.fraction(at(22))), (Some(20), Some(0.5)));
        load.forget_reports();
        load.on_report(&used(10.0), at(24));
        assert_eq!((load.total(at(24)), load.fraction(at(24))), (None, None), "another source reports");
    }

    #[test]
    fn full_ends_with_the_report_and_drain_with_the_next_word() {
        let mut load = load(None);
        load.on_report(&Reported { word: Some(Word::Full), ..Reported::default() }, at(0));
        assert_eq!((load.takes_new(at(6)), load.takes_new(at(7))), (false, true));
        load.on_report(&Reported { word: Some(Word::Drain), percent: Some(75.0), ..Reported::default() }, at(10));
        load.on_report(&reported(1.0, 2.0), at(11));
        assert_eq!((load.takes_new(at(99)), load.share(at(17))), (false, 0.75));
        load.on_report(&Reported { word: Some(Word::Ready), percent: Some(f64::NAN), ..Reported::default() }, at(99));
        assert_eq!((load.takes_new(at(99)), load.share(at(99))), (true, 0.75));
        load.forget_reports();
        assert_eq!((load.share(at(99)), load.age(at(99))), (1.0, None));
    }

    #[test]
    fn an_agent_that_has_fallen_silent_leaves_no_percentage_and_its_last_word() {
        let mut load = load(None);
        let said = Reported { percent: Some(10.0), used: Some(3.0), total: Some(4.0), ..Reported::default() };
        load.on_report(&said, at(0));
        assert_eq!((load.share(at(6)), load.fraction(at(6))), (0.1, Some(0.75)));
        assert_eq!((load.share(at(7)), load.fraction(at(7)), load.takes_new(at(7))), (1.0, None, true));
        load.on_report(&Reported { percent: Some(0.0), ..Reported::default() }, at(10));
        assert_eq!((load.share(at(16)), load.share(at(17))), (0.0, 1.0));
        load.on_report(&Reported { word: Some(Word::Drain), ..said }, at(20));
        assert_eq!((load.takes_new(at(9_999)), load.word(at(9_999))), (false, Word::Drain));
    }

    #[test]
    fn without_reports_the_calls_of_the_last_minutes_count_and_no_more_than_they() {
        let mut load = load(Some(100));
        (0..50).for_each(|_| load.on_answered(at(0)));
        assert_eq!((load.used(at(0)), load.fraction(at(0))), (50, Some(0.5)));
        (0..60).for_each(|_| load.on_answered(at(90)));
        assert!(!load.takes_new(at(90)));
        assert_eq!((load.used(at(184)), load.takes_new(at(184))), (60, true));
        assert_eq!(load.used(at(280)), 0);
        load.set_limits(Limits { lanes: 4, ..load.limits });
        load.on_answered(at(280));
        assert_eq!(load.used(at(280)), 4, "each lane sees its part");
        load.set_limits(Limits { capacity: None, ..load.limits });
        assert_eq!(load.fraction(at(280)), None);
    }

    #[test]
    fn a_wish_for_fewer_requests_holds_until_it_expires_and_an_older_one_changes_nothing() {
        let mut load = Load::default();
        let wish = |percent, validity, seq| OverloadControl { percent, validity: Duration::from_secs(validity), seq };
        load.overload_mut().on_wish(wish(20, 2, 5), at(0));
        assert_eq!((load.fraction(at(1)), load.fraction(at(2))), (Some(0.2), None));
        load.overload_mut().on_wish(wish(90, 2, 4), at(1));
        load.overload_mut().on_wish(wish(80, 2, 5), at(1));
        assert_eq!(load.fraction(at(1)), Some(0.2), "oc-seq backwards, and the same again");
        load.overload_mut().on_wish(wish(100, 2, 6), at(1));
        assert!(!load.takes_new(at(1)) && load.takes_new(at(3)));
        load.overload_mut().on_wish(wish(100, 0, 7), at(1));
        assert!(load.takes_new(at(1)), "oc-validity=0");
        load.overload_mut().on_wish(wish(30, 2, 1), at(60));
        assert_eq!(load.fraction(at(61)), Some(0.3), "the server counts anew");
    }
}
