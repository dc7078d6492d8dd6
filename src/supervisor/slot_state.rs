//! The state of a slot's process as a value: whether it runs, and when the next one may start.
//!
//! The first restart is immediate. From the second on the slot backs off, so that a worker that dies at once does not
//! take up the whole machine. A worker that has lived for a while clears the record.

use std::time::Duration;

use crate::pack::packed;
use crate::time::Time;

/// The wait before the second restart; it doubles with each further one.
const FIRST_BACK_OFF: Duration = Duration::from_millis(500);
/// The longest wait.
const LONGEST_BACK_OFF: Duration = Duration::from_secs(30);
/// Lifetime after which a worker has proven itself.
const PROVEN_AFTER: Duration = Duration::from_secs(30);
/// Number of deaths in a row from which on the log reports a crash loop.
const CRASH_LOOP: u32 = 3;

/// Phase of a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// A process was started and has not introduced itself yet.
    Starting {
        /// Its process id.
        pid: u32,
        /// The time at which it was started.
        since: Time,
    },
    /// A worker serves the slot.
    Up {
        /// Its process id.
        pid: u32,
        /// The time at which it introduced itself.
        since: Time,
    },
    /// The slot has no worker until the time of the next start.
    BackOff {
        /// The time at which the next worker is started.
        until: Time,
    },
    /// The slot has no worker and gets none.
    Retired,
}

/// Consequence of a death.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Restart {
    /// The time at which the successor is started.
    pub at: Time,
    /// Deaths in a row, if there are so many that the operator should look.
    pub crash_loop: Option<u32>,
}

/// The state of a slot's process, with the record of its restarts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SlotState {
    phase: Phase,
    /// Workers started after the first.
    restarts: u64,
    /// Deaths since a worker last proved itself.
    deaths_in_a_row: u32,
}

packed!(SlotState { phase, restarts, deaths_in_a_row });

packed!(Phase as Starting { pid, since } = 0, Up { pid, since } = 1, BackOff { until } = 2, Retired = 3);

impl SlotState {
    /// A slot whose first worker is due at once.
    pub const fn new(now: Time) -> Self {
        SlotState { phase: Phase::BackOff { until: now }, restarts: 0, deaths_in_a_row: 0 }
    }

    /// A slot whose worker has come back from an earlier dispatcher.
    pub const fn reattached(pid: u32, now: Time) -> Self {
        SlotState { phase: Phase::Up { pid, since: now }, restarts: 0, deaths_in_a_row: 0 }
    }

    /// A slot that gets no worker.
    pub const fn retired() -> Self {
        SlotState { phase: Phase::Retired, restarts: 0, deaths_in_a_row: 0 }
    }

    /// A process was started for it.
    pub fn on_started(&mut self, pid: u32, now: Time) {
        self.phase = Phase::Starting { pid, since: now };
    }

    /// Its worker introduced itself.
    pub fn on_up(&mut self, now: Time) {
        if let Phase::Starting { pid, .. } = self.phase {
            self.phase = Phase::Up { pid, since: now };
        }
    }

    /// Its process is gone, or could not be started. `None` when the slot is retired.
    pub fn on_death(&mut self, now: Time) -> Option<Restart> {
        match self.phase {
            Phase::Retired => return None,
            Phase::Up { since, .. } if now.since(since) >= PROVEN_AFTER => self.deaths_in_a_row = 0,
            _ => {}
        }
        let wait = back_off(self.deaths_in_a_row);
        self.deaths_in_a_row += 1;
        self.restarts += 1;
        let at = now + wait;
        self.phase = Phase::BackOff { until: at };
        Some(Restart { at, crash_loop: (self.deaths_in_a_row >= CRASH_LOOP).then_some(self.deaths_in_a_row) })
    }

    /// Retires the slot: it gets no successor. Returns true when a process is still there.
    pub fn retire(&mut self) -> bool {
        let alive = self.pid().is_some();
        self.phase = Phase::Retired;
        alive
    }

    /// Revives a retired slot; its worker is due at once unless the old one is still there.
    pub fn revive(&mut self, now: Time) {
        if self.phase == Phase::Retired {
            self.phase = Phase::BackOff { until: now };
        }
    }

    /// The slot's phase.
    pub const fn phase(&self) -> Phase {
        self.phase
    }

    /// Whether a worker serves it.
    pub const fn is_up(&self) -> bool {
        matches!(self.phase, Phase::Up { .. })
    }

    /// The process in it.
    pub const fn pid(&self) -> Option<u32> {
        match self.phase {
            Phase::Starting { pid, .. } | Phase::Up { pid, .. } => Some(pid),
            Phase::BackOff { .. } | Phase::Retired => None,
        }
    }

    /// Workers started after the first.
    pub const fn restarts(&self) -> u64 {
        self.restarts
    }

    /// The time at which a process is due to be started.
    pub const fn poll_timeout(&self) -> Option<Time> {
        match self.phase {
            Phase::BackOff { until } => Some(until),
            _ => None,
        }
    }
}

/// Most workers that are being started at once. Of a thousand that start in one moment, none would be welcomed within
/// the time that it waits.
const STARTING_AT_ONCE: usize = 32;

/// The slots, by number, whose workers are to be started now.
pub fn to_start(slots: impl Iterator<Item = SlotState> + Clone, now: Time) -> impl Iterator<Item = usize> {
    let is_due = move |slot: &SlotState| slot.poll_timeout().is_some_and(|due| due <= now);
    let room = room(slots.clone());
    slots.enumerate().filter(move |(_, slot)| is_due(slot)).map(|(at, _)| at).take(room)
}

/// The time at which [`to_start`] has a slot; `None` also while as many as may be are being started.
pub fn next_start(slots: impl Iterator<Item = SlotState> + Clone) -> Option<Time> {
    if room(slots.clone()) == 0 { None } else { slots.filter_map(|slot| slot.poll_timeout()).min() }
}

fn room(slots: impl Iterator<Item = SlotState>) -> usize {
    STARTING_AT_ONCE.saturating_sub(slots.filter(|slot| matches!(slot.phase, Phase::Starting { .. })).count())
}

/// The wait after `deaths` earlier deaths in a row.
fn back_off(deaths: u32) -> Duration {
    match deaths.checked_sub(1) {
        None => Duration::ZERO,
        Some(doublings) => FIRST_BACK_OFF.saturating_mul(1 << doublings.min(16)).min(LONGEST_BACK_OFF),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000;

    fn dies_after(slot: &mut SlotState, started: u64, lived: u64) -> Restart {
        slot.on_started(4711, Time(started));
        slot.on_up(Time(started));
        slot.on_death(Time(started + lived)).unwrap()
    }

    #[test]
    fn a_thousand_workers_are_not_started_in_one_moment() {
        let mut slots = [SlotState::new(Time(0)); 100];
        let start = |slots: &mut [SlotState]| {
            let due: Vec<usize> = to_start(slots.iter().copied(), Time(0)).collect();
            due.iter().for_each(|at| slots[*at].on_started(1, Time(0)));
            due
        };
        assert_eq!(start(&mut slots), (0..32).collect::<Vec<_>>());
        assert_eq!((start(&mut slots), next_start(slots.iter().copied())), (Vec::new(), None));
        slots[7].on_up(Time(0));
        assert_eq!(next_start(slots.iter().copied()), Some(Time(0)));
        assert_eq!(start(&mut slots), [32]);
    }

    #[test]
    fn the_first_restart_is_immediate_and_later_ones_back_off() {
        let mut slot = SlotState::new(Time(0));
        assert_eq!(slot.poll_timeout(), Some(Time(0)));
        assert_eq!(dies_after(&mut slot, 0, SECOND), Restart { at: Time(SECOND), crash_loop: None });
        assert_eq!(dies_after(&mut slot, SECOND, 0).at, Time(SECOND + 500_000));
        let third = dies_after(&mut slot, 2 * SECOND, 0);
        assert_eq!(third, Restart { at: Time(3 * SECOND), crash_loop: Some(3) });
        assert_eq!(slot.restarts(), 3);
    }

    #[test]
    fn the_wait_has_an_upper_bound() {
        let mut slot = SlotState::new(Time(0));
        for _ in 0..40 {
            dies_after(&mut slot, 0, 0);
        }
        assert_eq!(dies_after(&mut slot, 0, 0).at, Time(30 * SECOND));
    }

    #[test]
    fn a_worker_that_came_back_is_up_and_its_death_leads_to_a_successor() {
        let mut slot = SlotState::reattached(7, Time(0));
        assert_eq!((slot.pid(), slot.restarts(), slot.poll_timeout()), (Some(7), 0, None));
        assert_eq!(slot.on_death(Time(SECOND)), Some(Restart { at: Time(SECOND), crash_loop: None }));
    }

    #[test]
    fn a_worker_that_lived_half_a_minute_clears_the_record() {
        let mut slot = SlotState::new(Time(0));
        dies_after(&mut slot, 0, 0);
        dies_after(&mut slot, 0, 0);
        assert_eq!(dies_after(&mut slot, 0, 30 * SECOND), Restart { at: Time(30 * SECOND), crash_loop: None });
    }

    #[test]
    fn a_worker_that_never_came_up_counts_as_a_death() {
        let mut slot = SlotState::new(Time(0));
        slot.on_started(1, Time(0));
        assert_eq!(slot.pid(), Some(1));
        assert!(slot.on_death(Time(100 * SECOND)).is_some());
        slot.on_started(2, Time(100 * SECOND));
        assert_eq!(slot.on_death(Time(200 * SECOND)).unwrap().at, Time(200 * SECOND + 500_000));
    }

    #[test]
    fn a_retired_slot_gets_no_successor() {
        let mut slot = SlotState::new(Time(0));
        slot.on_started(1, Time(0));
        assert!(slot.retire());
        assert_eq!(slot.on_death(Time(1)), None);
        assert_eq!(slot.poll_timeout(), None);
    }
}
