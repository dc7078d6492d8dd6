//! The stage of a worker's life, as a value: with a dispatcher, without one, or stopping. Orders of the dispatcher and
//! signals of the operator change it.

use std::time::Duration;

use super::orphan::{Next, Orphan};
use crate::time::Time;
use crate::words::{Drain, DrainMode};

/// A worker that is told to stop by signal gives its calls this time, as the dispatcher's `--stop-after` does by
/// default.
const STOP_WITHIN: Duration = Duration::from_secs(3);

/// The stage a worker's life is in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Stage {
    phase: Phase,
    /// When the calls of a drain that has a deadline are ended.
    calls_end_at: Option<Time>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Phase {
    /// It has a dispatcher.
    Serving,
    /// The dispatcher is gone.
    Orphaned(Orphan),
    /// It ends its calls, until this time.
    Stopping(Time),
}

impl Stage {
    /// It has been welcomed for the first time.
    pub(super) const fn new() -> Self {
        Stage { phase: Phase::Serving, calls_end_at: None }
    }

    /// The dispatcher's order. Gives what is to be done about it: take calls, take none, or end those there are.
    pub(super) fn on_drain(&mut self, drain: Drain, now: Time) -> Option<DrainMode> {
        match drain.mode {
            // A stopping worker has ended its calls and leaves when they are over: there is no way back.
            DrainMode::Ready if self.is_stopping() => return None,
            DrainMode::Ready => self.calls_end_at = None,
            // The end of time stands for "as long as they like".
            DrainMode::Drain => self.calls_end_at = Some(now + drain.within).filter(|at| at.0 < u64::MAX),
            DrainMode::Stop => *self = Stage { phase: Phase::Stopping(now + drain.within), calls_end_at: None },
        }
        Some(drain.mode)
    }

    /// The operator stops this process alone: its calls are ended in order. A second signal ends it at once.
    pub(super) fn on_stop_signal(&mut self, now: Time) -> Option<DrainMode> {
        if let Phase::Stopping(until) = &mut self.phase {
            *until = now;
            return None;
        }
        self.on_drain(Drain { mode: DrainMode::Stop, within: STOP_WITHIN }, now)
    }

    /// The dispatcher is gone; the next one is looked for so often. A worker that cannot return only ends its calls.
    pub(super) fn on_dispatcher_lost(&mut self, try_every: Option<Duration>, now: Time) {
        if !self.is_stopping() {
            self.phase = Phase::Orphaned(Orphan::new(try_every, now));
        }
    }

    /// A new dispatcher has welcomed it back.
    pub(super) fn on_welcome(&mut self) {
        if !self.is_stopping() {
            self.phase = Phase::Serving;
        }
    }

    /// As [`Orphan::on_failed`].
    pub(super) fn on_failed(&mut self, now: Time) {
        if let Phase::Orphaned(orphan) = &mut self.phase {
            orphan.on_failed(now);
        }
    }

    /// As [`Orphan::on_refused`].
    pub(super) fn on_refused(&mut self, reason: &str, now: Time) -> bool {
        let Phase::Orphaned(orphan) = &mut self.phase else { return false };
        orphan.on_refused(reason, now)
    }

    /// Whether it ends its calls and then itself.
    pub(super) const fn is_stopping(&self) -> bool {
        matches!(self.phase, Phase::Stopping(_))
    }

    /// Whether a drain has lasted long enough, so that the calls that are left are to be ended; true once.
    pub(super) fn is_drained(&mut self, now: Time) -> bool {
        self.calls_end_at.take_if(|at| *at <= now).is_some()
    }

    /// The next step. `has_calls`: whether the worker has calls or, while it stops, anything else that still goes on.
    pub(super) fn poll(&mut self, has_calls: bool, now: Time) -> Next {
        match &mut self.phase {
            Phase::Serving => Next::Wait,
            Phase::Orphaned(orphan) => orphan.poll(has_calls, now),
            Phase::Stopping(until) if has_calls && now < *until => Next::Wait,
            Phase::Stopping(_) => Next::Leave,
        }
    }

    /// When [`Stage::is_drained`] or [`Stage::poll`] is due.
    pub(super) fn poll_timeout(&self) -> Option<Time> {
        let phase = match &self.phase {
            Phase::Serving => None,
            Phase::Orphaned(orphan) => orphan.poll_timeout(),
            Phase::Stopping(until) => Some(*until),
        };
        phase.into_iter().chain(self.calls_end_at).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000;
    const FIVE: Duration = Duration::from_secs(5);

    fn order(stage: &mut Stage, mode: DrainMode, within: Duration) -> Option<DrainMode> {
        stage.on_drain(Drain { mode, within }, Time(0))
    }

    #[test]
    fn a_drain_ends_calls_at_its_deadline_once_and_has_none_at_the_end_of_time() {
        let mut stage = Stage::new();
        assert_eq!(order(&mut stage, DrainMode::Drain, FIVE), Some(DrainMode::Drain));
        assert_eq!((stage.poll_timeout(), stage.is_drained(Time(5 * SECOND - 1))), (Some(Time(5 * SECOND)), false));
        assert!(stage.is_drained(Time(5 * SECOND)) && !stage.is_drained(Time(6 * SECOND)));
        assert_eq!(stage.poll(false, Time(6 * SECOND)), Next::Wait, "it stays until it is stopped");
        order(&mut stage, DrainMode::Drain, Duration::MAX);
        assert_eq!(stage.poll_timeout(), None);
    }

    #[test]
    fn a_drain_can_be_taken_back_and_a_stop_cannot() {
        let mut stage = Stage::new();
        order(&mut stage, DrainMode::Drain, FIVE);
        assert_eq!(order(&mut stage, DrainMode::Ready, Duration::ZERO), Some(DrainMode::Ready));
        assert_eq!(stage, Stage::new());
        assert_eq!(order(&mut stage, DrainMode::Stop, FIVE), Some(DrainMode::Stop));
        assert_eq!(order(&mut stage, DrainMode::Ready, Duration::ZERO), None);
        assert_eq!(stage.poll(true, Time(5 * SECOND - 1)), Next::Wait);
        assert_eq!(stage.poll(true, Time(5 * SECOND)), Next::Leave, "its calls have had their time");
        assert_eq!(stage.poll(false, Time(0)), Next::Leave);
    }

    #[test]
    fn a_signal_gives_calls_three_seconds_and_a_second_one_none() {
        let mut stage = Stage::new();
        assert_eq!(stage.on_stop_signal(Time(0)), Some(DrainMode::Stop));
        assert_eq!((stage.poll_timeout(), stage.poll(true, Time(SECOND))), (Some(Time(3 * SECOND)), Next::Wait));
        assert_eq!(stage.on_stop_signal(Time(SECOND)), None);
        assert_eq!(stage.poll(true, Time(SECOND)), Next::Leave);
    }

    #[test]
    fn a_worker_that_stops_looks_for_no_dispatcher_and_is_not_kept_by_a_new_one() {
        let mut stage = Stage::new();
        stage.on_dispatcher_lost(Some(FIVE), Time(0));
        assert_eq!(stage.poll(true, Time(0)), Next::Try);
        stage.on_failed(Time(0));
        stage.on_welcome();
        assert_eq!((stage.poll(true, Time(SECOND)), stage.poll_timeout()), (Next::Wait, None));
        stage.on_stop_signal(Time(0));
        stage.on_dispatcher_lost(Some(FIVE), Time(0));
        assert_eq!(stage.poll(true, Time(SECOND)), Next::Wait);
        stage.on_welcome();
        assert!(stage.is_stopping());
    }
}
