//! Decisions about messages that come back from a worker, refused or orphaned.
//!
//! Only a message that was placed by selection moves to another worker, to each worker once. A message that only one
//! worker may have is answered. A message that follows a call never moves.

use crate::dispatch::Dispatch;
use crate::dispatch::case::{Case, Request};
use crate::dispatch::decision::{Decision, EntryId, Reason, Search, Target};
use crate::dispatch::returned::{Cause, Returned};
use crate::dispatch::table::Entry;
use crate::time::Time;
use crate::transaction::LIFETIME;
use crate::words::{RefuseReason, ReplyTo};

impl Dispatch {
    /// Takes note that a worker has refused a message, if it has.
    pub(in crate::dispatch) fn note_refusal(&mut self, back: &Returned) {
        if let Cause::Refused(why) = back.cause {
            let envelope = &back.message.envelope;
            self.pool.on_refused(back.from, envelope.seq, envelope.size);
            // A message that was never sent on the link proves nothing about the worker.
            if why == RefuseReason::Exhausted && back.message.sent {
                self.pool.on_exhausted(back.from);
            }
        }
    }

    /// Decides about a request that comes back; `None`: it is a response.
    pub(in crate::dispatch) fn request_returned<R: Request>(
        &mut self,
        case: Option<Case<'_, R>>,
        back: &Returned,
    ) -> Decision {
        let Some(case) = case else { return Decision { target: Target::Drop, reason: Reason::OrphanInDialog } };
        // It is one of many handovers of the same command of MGCP: the other workers answer.
        if let ReplyTo::Gathering(gathering) = case.arrival.reply_to {
            self.gatherings.leave_out(gathering, back.from, case.now);
            return Decision { target: Target::Drop, reason: Reason::Everyone };
        }
        match back.message.note.entry {
            Some(id) => self.entered_returned(&case, id, back),
            None => R::follower_returned(&case, self, back),
        }
    }

    /// Decides about a request that has made an entry, or made it anew.
    fn entered_returned<R: Request>(&mut self, case: &Case<'_, R>, id: EntryId, back: &Returned) -> Decision {
        let Some(entry) = self.undecided(id, back) else {
            self.settle_acknowledged(id, case.now);
            return Decision { target: Target::Drop, reason: Reason::MovedAlready };
        };
        match back.cause {
            Cause::Died => {
                let search = search_after_death(&entry, back, case.now);
                self.move_on(case, (id, back.weight()), search, Reason::Died)
            }
            Cause::Refused(_) => self.refused(case, (id, &entry), back),
        }
    }

    fn refused<R: Request>(&mut self, case: &Case<'_, R>, (id, entry): (EntryId, &Entry), back: &Returned) -> Decision {
        if entry.is_cancelled() {
            return self.conclude_why(case, id, Reason::Cancelled);
        }
        // A leg of a group that its worker has not opened yet moves with the group. A leg of an opened one, which has
        // other legs, has one worker only, and so has any other follower.
        let group = entry.group().and_then(|group| self.groups.get(group));
        let is_begun = group.is_some_and(|group| group.opened.is_some() && group.target == back.from);
        if is_begun || back.message.envelope.follows && R::is_bound(case, self, (id, entry), back) {
            return self.conclude_why(case, id, Reason::RefusedByHolder);
        }
        let Some(search) = self.search_after_refusal(case, entry, back) else {
            return self.conclude_why(case, id, Reason::RefusedByAll);
        };
        self.move_on(case, (id, back.weight()), search, Reason::Refused)
    }

    /// The entry of a returned message while it is undecided. An entry that is gone was answered, or has waited longer
    /// than any caller waits.
    fn undecided(&self, id: EntryId, back: &Returned) -> Option<Entry> {
        let waits = |entry: &Entry| match back.cause {
            // A caller that has acknowledged an answer wants no other.
            Cause::Died => !entry.is_over(),
            Cause::Refused(_) => true,
        };
        let undecided = |entry: &Entry| entry.is_pending() && waits(entry) && !self.has_moved(entry, back);
        self.table.get(id).copied().filter(undecided)
    }

    /// Ends the wait of an INVITE whose caller has acknowledged its answer, and whose worker died before it could
    /// report that answer.
    fn settle_acknowledged(&mut self, id: EntryId, now: Time) {
        if self.table.get(id).is_some_and(|entry| entry.is_over() && !self.is_alive(entry)) {
            let hold = self.table.answered(id, now);
            self.give_back(hold, now);
        }
    }

    /// The state of the search for a worker after a refusal; `None` if the search is over.
    fn search_after_refusal<R: Request>(&self, case: &Case<'_, R>, entry: &Entry, back: &Returned) -> Option<Search> {
        let (tried, before) = (back.excluded(), &back.message.note.search);
        // A `Late` refusal does not use up the caller's patience: the 400 ms start now, as long as the caller still
        // retransmits.
        let (since, is_over) = if back.cause == Cause::Refused(RefuseReason::Late) {
            (case.now, case.now.since(case.arrival.received) > LIFETIME)
        } else {
            (before.since, case.now.since(before.since) > self.rules.patience)
        };
        let deaths = before.deaths.max(entry.deaths);
        (!tried.is_full() && !is_over).then_some(Search { tried, since, deaths })
    }

    /// Whether a copy of the request has meanwhile brought its entry to another worker, or to another life of the
    /// worker.
    pub(super) fn has_moved(&self, entry: &Entry, back: &Returned) -> bool {
        self.is_alive(entry) && (entry.target != back.from || back.cause == Cause::Died)
    }
}

/// The state of the search after a death: the search starts anew, and so does the patience with refusals.
fn search_after_death(entry: &Entry, back: &Returned, now: Time) -> Search {
    let before = back.message.note.search.deaths.max(entry.deaths);
    let deaths = before.saturating_add(u8::from(back.message.sent));
    Search { tried: back.excluded(), since: now, deaths }
}
