//! Requests without an entry: the table is full of waiting requests, and a hash leads each call to one worker.

use super::{Case, Dispatch, SipRequest};
use crate::dispatch::case::{Placement, Request as _};
use crate::dispatch::decision::{Decision, Protocol, Reason, Room, Search};
use crate::dispatch::returned::{Cause, Returned};
use crate::dispatch::select::by_hash;
use crate::ids::{TargetId, WorkerId};
use crate::reservation::Weight;

impl Dispatch {
    /// Places a request by hash, as the table is full of waiting requests. The hash of the call (or of the conference)
    /// leads later messages to the same worker, whatever its load is then. So the load must not count now either; the
    /// worker itself refuses a request for which it has no room.
    pub(super) fn place_unrecorded(&mut self, case: &Case<'_>, size: Weight, deaths: u8) -> Decision {
        self.unrecorded_until = case.now + self.rules.pending_max;
        let Some(target) = self.unrecorded_target(case) else {
            let reason = self.why_no_worker(Protocol::Sip, size.units, Room::Scarce);
            return self.unavailable(case, reason);
        };
        let room = self.pool.get(target).map_or(Room::None, |slot| slot.room);
        if room > self.least_room(case) {
            let why = if room == Room::Scarce { Reason::OverShare } else { Reason::HolderBusy };
            return self.answer_why(case, why);
        }
        let placement = Placement { target, reason: Reason::Unrecorded, size, follows: false, group: None };
        self.hand_over(case, placement, None, Search::after_deaths(deaths, case.now))
    }

    /// The target to which a request would be placed now if it were placed without a record.
    pub(super) fn unrecorded_target(&self, case: &Case<'_>) -> Option<TargetId> {
        if case.now >= self.unrecorded_until {
            return None;
        }
        let conference = SipRequest::group(case, self);
        let holder = conference.and_then(|name| self.groups.get(self.groups.find(name)?)).map(|group| group.target);
        let key = conference.unwrap_or(case.call).short();
        let hashed = || {
            by_hash(key, self.pool.len(), |worker| {
                self.pool.is_ready(worker) && self.pool.serves(worker, Protocol::Sip)
            })
        };
        holder.or_else(|| hashed().map(|at| TargetId::Worker(WorkerId(at as u16))))
    }

    /// Decides about a request without an entry. Its hash leads it, and its CANCEL, to one worker, so it cannot be
    /// offered around.
    pub(super) fn unrecorded_returned(&mut self, case: &Case<'_>, back: &Returned) -> Decision {
        let deaths = back.message.note.search.deaths + u8::from(back.message.sent);
        match back.cause {
            Cause::Died if deaths >= 2 => self.answer(case, 500, Reason::Poison),
            Cause::Died => self.place_unrecorded(case, back.weight(), deaths),
            Cause::Refused(_) => self.answer(case, 486, Reason::RefusedByHolder),
        }
    }
}
