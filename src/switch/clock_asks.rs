//! Questions of workers on other hosts for the dispatcher's clock.
//!
//! The time of a turn is read before its frames are. An answer with that time could be older than the question, and the
//! worker would take the clock to be behind. So a question is answered in the next turn.

use super::Switch;
use super::links::Channel;
use crate::ids::WorkerId;
use crate::time::Time;
use crate::wire::handoff::Record;

/// Questions that wait for the next turn, one of each worker: one that asks without end keeps no other's away.
#[derive(Debug, Default)]
pub struct ClockAsks(Vec<Ask>);

#[derive(Debug)]
struct Ask {
    worker: WorkerId,
    asked: Time,
    /// The time of the turn in which the question was read.
    turn: Time,
}

impl ClockAsks {
    pub(super) fn add(&mut self, worker: WorkerId, asked: Time, turn: Time) {
        let ask = Ask { worker, asked, turn };
        match self.0.iter_mut().find(|it| it.worker == worker) {
            Some(before) => *before = ask,
            None => self.0.push(ask),
        }
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl<C: Channel> Switch<C> {
    /// Answers the questions of earlier turns.
    pub(super) fn tell_clock(&mut self, now: Time) {
        let Switch { clock_asks, outbox, .. } = self;
        clock_asks.0.retain(|ask| {
            if now <= ask.turn {
                return true;
            }
            if let Some(link) = outbox.links.get_mut(ask.worker) {
                link.front.push_control(&Record::Clock { asked: ask.asked, at: now });
                outbox.links.touch(ask.worker);
            }
            false
        });
    }
}
