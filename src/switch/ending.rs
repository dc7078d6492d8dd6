//! Links that end, and the messages of their workers, which go to other workers. Each turn does a piece of it: a lane
//! that loses many workers, or one with much to say and to answer, goes on reading.

use std::collections::VecDeque;

use super::Switch;
use super::brought::OfWorker;
use super::links::{Channel, Link};
use super::replies::Reply;
use crate::dispatch::note::Note;
use crate::dispatch::returned::{Cause, Returned};
use crate::ids::{Incarnation, LinkId, WorkerId};
use crate::link::dispatcher_end::{FromWorker, Orphans};
use crate::time::Time;
use crate::words::ReplyTo;

/// Most messages of dead workers that are looked at in one turn, and most that workers gave back: together about a
/// millisecond's work.
pub(super) const MESSAGES_A_TURN: usize = 64;
/// Frames of ending links that are read in one turn. A frame holds a few thousand records at most.
const FRAMES_A_TURN: usize = 8;
/// Frames read from a link that is to end: more than a full socket holds, and no more, because its worker may live and
/// go on writing.
const LAST_FRAMES: usize = 16_384;
/// Most ending links of one worker. If it comes and goes faster than they are read, the frames on its oldest are lost.
const ENDING_A_WORKER: usize = 4;

/// Messages left by workers that are gone.
#[derive(Debug)]
pub(super) struct Estates<C> {
    /// Links whose last frames are still to be read: a message that its worker has answered goes to no other worker.
    ending: VecDeque<Ending<C>>,
    /// Messages that are still to be decided about, those of the worker that died first in front.
    orphaned: VecDeque<Orphaned>,
    /// Whether the links of live workers are to be read before the ending ones are read on.
    is_others_turn: bool,
}

#[derive(Debug)]
struct Ending<C> {
    worker: WorkerId,
    /// The incarnation that its worker had: a successor has another.
    life: Option<u32>,
    link: Link<C>,
    brought: OfWorker,
    frames_left: usize,
}

/// Messages that a worker had brought with it to this dispatcher, and then those that it had on its link.
#[derive(Debug)]
struct Orphaned {
    worker: WorkerId,
    brought: OfWorker,
    orphans: Orphans<Note>,
}

impl<C> Estates<C> {
    /// The next message; the memory of a worker is given back once it has none.
    fn next(&mut self) -> Option<Returned> {
        let Orphaned { worker, brought, orphans } = self.orphaned.front_mut()?;
        let from = *worker;
        let message = brought.pop().or_else(|| orphans.next());
        if message.is_none() {
            self.orphaned.pop_front();
        }
        Some(Returned { message: message?, from, cause: Cause::Died })
    }

    /// Ending links of a worker.
    pub(super) fn ending_of(&self, worker: WorkerId) -> usize {
        self.ending.iter().filter(|ending| ending.worker == worker).count()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.ending.is_empty() && self.orphaned.is_empty()
    }
}

impl<C> Default for Estates<C> {
    fn default() -> Self {
        Estates { ending: VecDeque::new(), orphaned: VecDeque::new(), is_others_turn: false }
    }
}

impl<C: Channel> Switch<C> {
    /// Ends a link that has been read as far as it is to be read: messages that its worker had not answered go to
    /// others. Returns the incarnation of its worker.
    pub fn on_link_lost(&mut self, worker: WorkerId, now: Time) -> Option<Incarnation> {
        self.close_link(worker, 0, now)
    }

    /// Ends the link of a worker that is gone, or is to be replaced. The link may still hold frames: they are read
    /// first, in turns to come. A successor may have a link at once.
    pub fn end_link(&mut self, worker: WorkerId, now: Time) -> Option<Incarnation> {
        self.close_link(worker, LAST_FRAMES, now)
    }

    /// Ends the link with this id; a later link of the worker is left alone.
    pub fn end_link_of(&mut self, worker: WorkerId, id: LinkId, now: Time) -> Option<Incarnation> {
        self.outbox.links.get(worker).filter(|link| link.id == id)?;
        self.end_link(worker, now)
    }

    fn close_link(&mut self, worker: WorkerId, frames_left: usize, now: Time) -> Option<Incarnation> {
        let link = self.outbox.links.remove(worker)?;
        let incarnation = link.incarnation;
        let life = self.dispatch.life(worker);
        self.dispatch.on_worker_lost(worker);
        self.fit_pool();
        self.suspects.on_link_lost(worker);
        // A message that it gave back is not decided about as if a successor had given it back.
        self.given_back.iter_mut().filter(|back| back.from == worker).for_each(Returned::on_worker_died);
        let brought = self.brought.on_link_lost(worker);
        let ending = Ending { worker, life, link, brought, frames_left };
        let is_first = self.estates.is_empty();
        self.finish_oldest_of(worker, now);
        if frames_left == 0 {
            self.finish(ending, now);
        } else {
            self.estates.ending.push_back(ending);
        }
        // Of many workers that die together, the first alone has its messages placed at once.
        if is_first {
            self.place_orphans(now);
        }
        Some(incarnation)
    }

    /// Whether messages of workers that are gone, or frames of ending links, wait for the next turn.
    pub fn has_orphans(&self) -> bool {
        !self.estates.is_empty()
    }

    /// Reads on in the links that end. Where workers give back more than can be decided about at once, it takes turns
    /// with the links of live workers.
    pub(super) fn read_ending(&mut self, now: Time) {
        if self.is_behind() || std::mem::take(&mut self.estates.is_others_turn) {
            return;
        }
        for _ in 0..FRAMES_A_TURN {
            let Some(mut ending) = self.estates.ending.pop_front() else { return };
            if self.read_last(&mut ending, now) {
                // A worker that goes on writing does not hold up the other links.
                self.estates.ending.push_back(ending);
            } else {
                self.finish(ending, now);
            }
            if self.is_behind() {
                self.estates.is_others_turn = true;
                return;
            }
        }
    }

    /// Makes room for one more ending link of a worker.
    fn finish_oldest_of(&mut self, worker: WorkerId, now: Time) {
        if self.estates.ending_of(worker) < ENDING_A_WORKER {
            return;
        }
        let ending = &mut self.estates.ending;
        let oldest = ending.iter().enumerate().filter(|(_, ending)| ending.worker == worker);
        let oldest = oldest.min_by_key(|(_, ending)| ending.life).map(|(at, _)| at);
        if let Some(oldest) = oldest.and_then(|at| ending.remove(at)) {
            self.finish(oldest, now);
        }
    }

    /// Reads one of the last frames of a link; returns whether there may be more. Reports of the worker's own load are
    /// of no interest any more.
    fn read_last(&mut self, ending: &mut Ending<C>, now: Time) -> bool {
        let Switch { dispatch, frame, given_back, refused, resumed, outbox, .. } = self;
        let Ending { worker, life, link, brought, frames_left } = ending;
        let life = life.unwrap_or_default();
        let Ok(Some(length @ 1..)) = link.read(frame) else { return false };
        *frames_left -= 1;
        let read = link.front.on_frame(&frame[..length], &mut |event| match event {
            FromWorker::Answered(all) => {
                for entry in all.iter().filter_map(|(_, note)| note.entry) {
                    dispatch.on_answered_before_death(entry, *worker, life, now);
                }
                resumed.extend(all.iter().filter_map(|(_, note)| note.chain));
            }
            // Only an outcome for the same incarnation counts: the numbers of a successor's messages begin anew.
            FromWorker::Outcome(outcome) if dispatch.life(*worker) == Some(life) => {
                dispatch.on_outcome(*worker, outcome, now);
            }
            FromWorker::Refused { message, reason } => {
                refused.count(reason);
                let mut back = Returned { message, from: *worker, cause: Cause::Refused(reason) };
                back.on_worker_died();
                given_back.push_back(back);
            }
            FromWorker::Released { name } => {
                dispatch.on_released_before_death(*worker, life, name, now);
                brought.on_released(name);
            }
            FromWorker::Reply { to: ReplyTo::Gathering(gathering), bytes } => {
                dispatch.on_gathered(gathering, *worker, bytes, now);
            }
            FromWorker::Reply { to: ReplyTo::Stream(conn), bytes } => {
                // The worker is gone, so that nobody is told if the connection is as well.
                outbox.answers.replies.push(Reply { conn, bytes, from: None });
            }
            FromWorker::Send(answer) => outbox.answers.write_for(&answer),
            FromWorker::Outcome(_)
            | FromWorker::ClockAsk(_)
            | FromWorker::Report(_)
            | FromWorker::GroupOpen { .. }
            | FromWorker::GroupClosed { .. }
            | FromWorker::Goodbye(_)
            | FromWorker::Hello(_)
            | FromWorker::Reply { to: ReplyTo::Datagram | ReplyTo::Permitted(_), .. } => {}
        });
        read.is_ok() && *frames_left > 0
    }

    fn finish(&mut self, ending: Ending<C>, now: Time) {
        let Ending { worker, life, link, brought, .. } = ending;
        self.dispatch.on_link_read(worker, life, now);
        self.estates.orphaned.push_back(Orphaned { worker, brought, orphans: link.front.into_orphans() });
    }

    /// Decides about some messages of dead workers.
    pub(super) fn place_orphans(&mut self, now: Time) {
        self.place_suspects(now);
        while self.orphans_left > 0 {
            // At the end of one worker's messages the turn is over as well: giving their memory back takes its time.
            let Some(back) = self.estates.next() else { break };
            self.orphans_left -= 1;
            // A message that was never sent cannot have killed the worker. One that was present at two deaths is
            // answered 500 below, so it is no suspect.
            let message = &back.message;
            let is_suspect = message.sent && message.note.search.deaths == 0 && message.note.entry.is_some();
            if is_suspect {
                self.suspects.add(back);
            } else {
                self.place_now(back, now);
            }
        }
        self.place_suspects(now);
        self.go_on_chains(now);
    }
}
