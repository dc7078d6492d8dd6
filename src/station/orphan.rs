//! A worker without a dispatcher, as a value: it looks for a new one again and again, and leaves when it has had
//! neither call nor dispatcher for 30 s.
//!
//! A slot's worker keeps its duplicates of the well-known sockets all that time. If every worker closed them, the
//! datagrams that wait in them for the next dispatcher would be lost. They are closed when the worker ends.

use std::time::Duration;

use crate::time::Time;

/// Interval of tries: a dispatcher that starts again waits for a second, which is time for twenty tries.
const TRY_EVERY: Duration = Duration::from_millis(50);
/// Added to the interval for each slot: a thousand workers that tried 20 times a second would take the CPU time that
/// calls need.
const TRY_EVERY_EACH: Duration = Duration::from_micros(250);
/// Pause after a refusal: the same dispatcher would most likely refuse us again.
const AFTER_REFUSAL: Duration = Duration::from_secs(1);
/// With neither call nor dispatcher a worker leaves after this time.
const ALONE_FOR: Duration = Duration::from_secs(30);

/// A worker without a dispatcher.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Orphan {
    /// Interval at which a dispatcher is looked for; `None`: never.
    every: Option<Duration>,
    /// When a dispatcher is looked for next; `None`: never, or not while one is spoken to.
    try_at: Option<Time>,
    /// Since when there has been no call either.
    alone_since: Option<Time>,
    /// The reason of the last refusal: logged once.
    refused: Option<String>,
}

/// The next step of a worker without a dispatcher.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Nothing.
    Wait,
    /// Look for a dispatcher; `Orphan::on_failed` or `Orphan::on_refused` when that leads to nothing.
    Try,
    /// End the process.
    Leave,
}

impl Orphan {
    /// The dispatcher is gone; a new one is looked for so often. `None`: one that cannot come back only ends its calls.
    pub(super) fn new(every: Option<Duration>, now: Time) -> Self {
        Orphan { every, try_at: every.map(|_| now), alone_since: None, refused: None }
    }

    /// Interval at which the worker of a slot looks for a new dispatcher.
    pub(super) fn pace_of(slot: u16) -> Duration {
        TRY_EVERY + TRY_EVERY_EACH * u32::from(slot)
    }

    /// The next step of a worker without a dispatcher.
    pub(super) fn poll(&mut self, has_calls: bool, now: Time) -> Next {
        if has_calls {
            self.alone_since = None;
        } else if now.since(*self.alone_since.get_or_insert(now)) >= ALONE_FOR {
            return Next::Leave;
        }
        if self.try_at.take_if(|at| *at <= now).is_some() { Next::Try } else { Next::Wait }
    }

    /// When [`Orphan::poll`] is due; `None` while a dispatcher is spoken to and there are calls.
    pub(super) fn poll_timeout(&self) -> Option<Time> {
        self.try_at.into_iter().chain(self.alone_since.map(|since| since + ALONE_FOR)).min()
    }

    /// No dispatcher listens, or the one that did has stopped answering.
    pub(super) fn on_failed(&mut self, now: Time) {
        self.try_at = self.every.map(|every| now + every);
    }

    /// A dispatcher has refused it. True when the reason is a new one, worth a line in the log.
    pub(super) fn on_refused(&mut self, reason: &str, now: Time) -> bool {
        self.try_at = Some(now + AFTER_REFUSAL);
        let is_new = self.refused.as_deref() != Some(reason);
        if is_new {
            self.refused = Some(reason.to_owned());
        }
        is_new
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000;

    #[test]
    fn it_looks_for_a_dispatcher_at_once_and_then_at_the_pace_of_its_slot() {
        assert_eq!(Orphan::pace_of(1_023).as_millis(), 305, "a second has three tries of the last of a thousand");
        let mut orphan = Orphan::new(Some(Orphan::pace_of(0)), Time(0));
        assert_eq!(orphan.poll(true, Time(0)), Next::Try);
        // The worker speaks to a dispatcher: it tries no other meanwhile.
        assert_eq!((orphan.poll(true, Time(500 * MS)), orphan.poll_timeout()), (Next::Wait, None));
        orphan.on_failed(Time(500 * MS));
        assert_eq!(orphan.poll_timeout(), Some(Time(550 * MS)));
        assert_eq!(orphan.poll(true, Time(549 * MS)), Next::Wait);
        assert_eq!(orphan.poll(true, Time(550 * MS)), Next::Try);
    }

    #[test]
    fn a_refusal_is_said_once_and_slows_it_down() {
        let mut orphan = Orphan::new(Some(TRY_EVERY), Time(0));
        assert!(orphan.on_refused("no", Time(0)));
        assert_eq!(orphan.poll(true, Time(999 * MS)), Next::Wait);
        assert_eq!(orphan.poll(true, Time(1_000 * MS)), Next::Try);
        assert!(!orphan.on_refused("no", Time(1_000 * MS)));
        assert!(orphan.on_refused("another", Time(2_000 * MS)));
    }

    #[test]
    fn it_leaves_after_30_s_with_neither_call_nor_dispatcher() {
        let mut orphan = Orphan::new(None, Time(0));
        assert_eq!(orphan.poll(true, Time(60_000 * MS)), Next::Wait, "it has calls");
        assert_eq!(orphan.poll(false, Time(61_000 * MS)), Next::Wait);
        assert_eq!(orphan.poll_timeout(), Some(Time(91_000 * MS)));
        assert_eq!(orphan.poll(true, Time(80_000 * MS)), Next::Wait, "a call at its own port");
        assert_eq!(orphan.poll(false, Time(90_000 * MS)), Next::Wait);
        assert_eq!(orphan.poll(false, Time(120_000 * MS)), Next::Leave);
    }
}
