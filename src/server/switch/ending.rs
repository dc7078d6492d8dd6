//! Messages that workers that are gone had not answered go to others: some in each turn, so that a lane that loses many
//! workers, or one with much to answer, goes on reading.

use std::collections::VecDeque;
use std::{iter, vec};

use super::super::links::Channel;
use super::Switch;
use super::back::Back;
use crate::dispatch::decision::Cause;
use crate::handoff::front::{Orphans, Returned};
use crate::ids::{Incarnation, WorkerId};
use crate::time::Time;

/// Messages that are decided about in one turn: about a millisecond's work.
const MESSAGES_A_TURN: usize = 128;

/// Workers that are gone, and their messages that are still to be decided about. The first death comes first.
#[derive(Debug, Default)]
pub(super) struct Estates(VecDeque<(WorkerId, Estate)>);

/// What it had handed back to this dispatcher, and then what it had on its link.
type Estate = iter::Chain<vec::IntoIter<Returned>, Orphans>;

impl Estates {
    /// The next message; the memory of a worker is given back once it has none.
    fn next(&mut self) -> Option<Back> {
        let (worker, messages) = self.0.front_mut()?;
        let message = messages.next();
        let from = *worker;
        if message.is_none() {
            self.0.pop_front();
        }
        Some(Back { message: message?, from, cause: Cause::Died })
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl<C: Channel> Switch<C> {
    /// A link is over: what the worker had not answered goes to others. Says whose link it was.
    pub fn on_link_lost(&mut self, worker: WorkerId, now: Time) -> Option<Incarnation> {
        let (incarnation, front) = self.hands.links.remove(worker)?;
        self.dispatch.on_worker_down(worker, now);
        self.fit_pool();
        self.suspects.on_link_lost(worker);
        let is_first = self.estates.is_empty();
        let handed_back = self.handed_back.on_link_lost(worker);
        self.estates.0.push_back((worker, handed_back.into_iter().chain(front.into_orphans())));
        if is_first {
            self.place_orphans(now);
        }
        Some(incarnation)
    }

    /// Whether messages of workers that are gone wait for their next decision.
    pub fn has_orphans(&self) -> bool {
        !self.estates.is_empty()
    }

    /// Decides about some of them.
    pub(super) fn place_orphans(&mut self, now: Time) {
        for _ in 0..MESSAGES_A_TURN {
            // At the end of one estate the turn is over as well: giving its memory back takes its time.
            let Some(back) = self.estates.next() else { break };
            // What never left cannot have been the death of it. What was there at two deaths has its answer now.
            let Back { message, .. } = &back;
            let is_suspect = message.sent && message.note.deaths == 0 && message.note.entry.is_some();
            if is_suspect {
                self.suspects.add(back);
            } else {
                self.returned.push_back(back);
            }
        }
        self.place_returned(now);
        self.place_suspects(now);
        self.go_on_chains(now);
    }
}
