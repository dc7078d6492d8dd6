//! Decisions about messages that come back from a worker, refused or orphaned.
//!
//! Only a message that was placed by selection moves to another worker, to each worker once. A message that only one
//! worker may have is answered. A message that follows a call never moves.

use super::Dispatch;
use super::decision::{Arrival, Cause, Decision, EntryId, Protocol, Reason, Returned, Search, Target, Tried};
use super::sip::Summary;
use super::table::{Entry, State};
use crate::time::Time;
use crate::transaction::LIFETIME;
use crate::wire::sip::{Message, Method};
use crate::words::RefuseReason;

impl Dispatch {
    pub(super) fn decide_returned(
        &mut self,
        message: &Message<'_>,
        arrival: &Arrival,
        back: &Returned,
        now: Time,
    ) -> Decision {
        if let Cause::Refused(why) = back.cause {
            self.pool.on_refused(back.from, back.seq, back.size);
            // A message that was never sent on the link proves nothing about the worker.
            if why == RefuseReason::Exhausted && back.sent {
                self.pool.on_exhausted(back.from);
            }
        }
        let dropped = |reason| Decision { target: Target::Drop, reason };
        let Some(method) = message.method() else { return dropped(Reason::OrphanInDialog) };
        let summary = Summary::of(message, method, arrival, &self.printer);
        match (method, summary.to_tag) {
            (Method::Ack, _) => dropped(Reason::OrphanInDialog),
            (Method::Cancel, None) => self.cancel_returned(&summary, back, now),
            (_, Some(_)) => match back.cause {
                Cause::Died => self.answer(&summary, 481, Reason::OrphanInDialog),
                Cause::Refused(_) => self.answer(&summary, 500, Reason::RefusedInDialog),
            },
            (_, None) => self.request_returned(message, &summary, arrival, back, now),
        }
    }

    fn cancel_returned(&mut self, summary: &Summary<'_>, back: &Returned, now: Time) -> Decision {
        let known = self.transaction_of_cancel(summary);
        let Some((id, entry)) = known.and_then(|id| Some((id, *self.table.get(id)?))) else {
            return self.answer(summary, 481, Reason::OrphanInDialog);
        };
        match entry.state {
            State::Answered { .. } | State::Over => self.answer(summary, 481, Reason::OrphanInDialog),
            State::Verdict(_) => self.answer(summary, 200, Reason::CancelAnswered),
            // Its INVITE had moved to another worker before the CANCEL was seen.
            State::Pending { .. } if self.has_moved(&entry, back) => self.follow(entry.worker, Reason::Cancel, now),
            State::Pending { .. } => {
                self.table.cancel(id);
                self.answer(summary, 200, Reason::CancelAnswered)
            }
        }
    }

    fn request_returned(
        &mut self,
        message: &Message<'_>,
        summary: &Summary<'_>,
        arrival: &Arrival,
        back: &Returned,
        now: Time,
    ) -> Decision {
        let moved = Decision { target: Target::Drop, reason: Reason::MovedAlready };
        let Some(id) = back.entry else {
            // A retransmission: only the first copy is decided about.
            return if back.follows && back.size == 0 {
                moved
            } else {
                self.unrecorded_returned(summary, arrival, back, now)
            };
        };
        let Some(entry) = self.undecided(id, back) else {
            self.settle_acknowledged(id, now);
            return moved;
        };
        match back.cause {
            Cause::Died => {
                let search = search_after_death(&entry, back, now);
                self.move_on(message, summary, arrival, id, back.weight(), search, Reason::Died, now)
            }
            Cause::Refused(_) => self.refused(message, summary, arrival, (id, &entry), back, now),
        }
    }

    fn refused(
        &mut self,
        message: &Message<'_>,
        summary: &Summary<'_>,
        arrival: &Arrival,
        (id, entry): (EntryId, &Entry),
        back: &Returned,
        now: Time,
    ) -> Decision {
        if entry.is_cancelled() {
            return self.verdict(summary, id, 487, Reason::Cancelled, now);
        }
        // A leg of a conference that its worker has not opened yet moves with the conference. A leg of an opened
        // conference, which has other legs, has one worker only, and so has any other follower.
        let group = entry.group.and_then(|group| self.groups.get(group));
        let is_bound = match group {
            Some(group) => group.opened.is_some() && group.worker == back.from,
            // A copy goes to the worker of its request.
            None => back.follows && self.beside(summary, id, tried(back)).is_none(),
        };
        if is_bound {
            let status = if self.pool.has_open(Protocol::Sip) { 486 } else { 503 };
            return self.verdict(summary, id, status, Reason::RefusedByHolder, now);
        }
        let Some(search) = self.search_after_refusal(entry, arrival, back, now) else {
            let status = if self.pool.has_open(Protocol::Sip) { 486 } else { 503 };
            return self.verdict(summary, id, status, Reason::RefusedByAll, now);
        };
        self.move_on(message, summary, arrival, id, back.weight(), search, Reason::Refused, now)
    }

    /// Decides about a request without an entry. Its hash leads it, and its CANCEL, to one worker, so it cannot be
    /// offered around.
    fn unrecorded_returned(
        &mut self,
        summary: &Summary<'_>,
        arrival: &Arrival,
        back: &Returned,
        now: Time,
    ) -> Decision {
        match back.cause {
            Cause::Died if back.search.deaths >= 1 && back.sent => self.answer(summary, 500, Reason::Poison),
            Cause::Died => {
                self.place_unrecorded(summary, arrival, back.weight(), back.search.deaths + u8::from(back.sent), now)
            }
            Cause::Refused(_) => self.answer(summary, 486, Reason::RefusedByHolder),
        }
    }

    /// The entry of a returned message while it is undecided. An entry that is gone was answered, or has waited longer
    /// than any caller waits.
    pub(super) fn undecided(&self, id: EntryId, back: &Returned) -> Option<Entry> {
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
            let group = self.table.answered(id, now);
            self.release(group);
        }
    }

    /// The state of the search for a worker after a refusal; `None` if the search is over.
    pub(super) fn search_after_refusal(
        &self,
        entry: &Entry,
        arrival: &Arrival,
        back: &Returned,
        now: Time,
    ) -> Option<Search> {
        let tried = tried(back);
        // A `Late` refusal does not use up the caller's patience: the 400 ms start now, as long as the caller still
        // retransmits.
        let (since, is_over) = if back.cause == Cause::Refused(RefuseReason::Late) {
            (now, now.since(arrival.received) > LIFETIME)
        } else {
            (back.search.since, now.since(back.search.since) > self.rules.patience)
        };
        let deaths = back.search.deaths.max(entry.deaths);
        (!tried.is_full() && !is_over).then_some(Search { tried, since, deaths })
    }

    /// Whether a copy of the request has meanwhile brought its entry to another worker, or to another life of the
    /// worker.
    fn has_moved(&self, entry: &Entry, back: &Returned) -> bool {
        self.is_alive(entry) && (entry.worker != back.from || back.cause == Cause::Died)
    }
}

/// The state of the search after a death: the search starts anew, and so does the patience with refusals.
pub(super) fn search_after_death(entry: &Entry, back: &Returned, now: Time) -> Search {
    let deaths = back.search.deaths.max(entry.deaths).saturating_add(u8::from(back.sent));
    Search { tried: tried(back), since: now, deaths }
}

/// Workers to exclude. A dead worker is not excluded: its successor in the slot may serve the message.
fn tried(back: &Returned) -> Tried {
    let mut tried = Tried::default();
    for &worker in back.search.tried.as_slice().iter().filter(|&&worker| worker != back.from) {
        tried.add(worker);
    }
    if back.cause != Cause::Died {
        tried.add(back.from);
    }
    tried
}
