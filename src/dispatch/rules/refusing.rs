//! The dispatcher's own answers to requests that no worker takes, or that come too often.

use std::net::IpAddr;

use crate::access::Admission;
use crate::dispatch::Dispatch;
use crate::dispatch::case::{Case, Request};
use crate::dispatch::decision::{Decision, EntryId, Operational, Protocol, Reason, Room, Target};
use crate::dispatch::table::{Hold, State};
use crate::dispatch::targets::worker::Worker;
use crate::ids::WorkerId;
use crate::time::Time;

impl Dispatch {
    /// Counts a request that belongs to no call or transaction against its source's rate. Beyond the rate, returns the
    /// decision to turn it away.
    pub(super) fn turn_away<R: Request>(&mut self, case: &Case<'_, R>) -> Option<Decision> {
        match self.admit(case.sender(), case.now) {
            Ok(()) => None,
            Err(Some(reason)) => Some(Decision { target: Target::Drop, reason }),
            Err(None) => Some(self.answer_why(case, Reason::OverRate)),
        }
    }

    /// Counts a message that belongs to no call or transaction against its source's rate. Beyond the rate, the first
    /// such requests are answered (`None`), and the others dropped for this reason: an honest SIP caller then stops
    /// sending again (RFC 3261 §17.1.1.2), which silence would not achieve. But a source gets no more such answers than
    /// the rate has grants, so that forged sources do not direct a flood at the host whose address they name.
    pub(super) fn admit(&mut self, sender: IpAddr, now: Time) -> Result<(), Option<Reason>> {
        match self.access.admit(sender, || self.printer.source(sender), now) {
            Admission::Granted => Ok(()),
            Admission::Refused => Err(None),
            Admission::Ignored => Err(Some(Reason::OverRate)),
            Admission::Banned => Err(Some(Reason::Banned)),
        }
    }

    /// The answer to a request that belongs to no call or transaction, unless its source is to be turned away.
    pub(super) fn answer_stranger<R: Request>(&mut self, case: &Case<'_, R>, code: u16, why: Reason) -> Decision {
        self.turn_away(case).unwrap_or_else(|| self.answer(case, code, why))
    }

    /// An answer of the dispatcher's own.
    pub(super) fn answer<R: Request>(&self, case: &Case<'_, R>, code: u16, why: Reason) -> Decision {
        R::answer(case, self, code, why)
    }

    /// The answer of the dispatcher's own that says why.
    pub(super) fn answer_why<R: Request>(&self, case: &Case<'_, R>, why: Reason) -> Decision {
        self.answer(case, self.code::<R>(why), why)
    }

    /// The status or return code that says why.
    pub(super) fn code<R: Request>(&self, why: Reason) -> u16 {
        R::code(why, self.pool.has_open(R::PROTOCOL))
    }

    /// The least room that a link must have for a new call of this source: if room is scarce, it is for sources that
    /// wait for less than their share.
    pub(super) fn least_room<R: Request>(&self, case: &Case<'_, R>) -> Room {
        // The share is looked up only if some link's room is scarce.
        let is_over = || self.table.shares().is_used_up(case.source(self).print());
        if self.pool.is_scarce(R::PROTOCOL) && is_over() { Room::All } else { Room::Scarce }
    }

    /// The answer if no worker takes a request. It is kept for retransmissions, so that none of them is given to a
    /// worker after all once there is room.
    pub(super) fn refuse<R: Request>(&mut self, case: &Case<'_, R>, why: Reason) -> Decision {
        let code = self.code::<R>(why);
        // A source that is over its share gets no table place for the answer either.
        if (R::AT_MOST_ONCE || case.request.is_invite()) && why != Reason::OverShare {
            self.record(case.entry(self, (WorkerId(0).into(), 0), State::AnsweredHere(code)), case.now);
        }
        self.answer(case, code, why)
    }

    /// The dispatcher's final answer to a transaction that is in the table.
    pub(super) fn conclude<R: Request>(&mut self, case: &Case<'_, R>, id: EntryId, code: u16, why: Reason) -> Decision {
        let hold = self.table.answered_here(id, code, case.now);
        if let Some(group) = hold.and_then(Hold::group) {
            self.groups.withdraw(group, id);
        }
        self.give_back(hold, case.now);
        self.answer(case, code, why)
    }

    /// The final answer to a transaction that is in the table, which says why.
    pub(super) fn conclude_why<R: Request>(&mut self, case: &Case<'_, R>, id: EntryId, why: Reason) -> Decision {
        self.conclude(case, id, self.code::<R>(why), why)
    }

    /// The reason why no worker takes a session of this size.
    pub(super) fn why_no_worker(&self, protocol: Protocol, size: u32, least: Room) -> Reason {
        if self.pool.has_open(protocol) && !self.pool.has_open_with(protocol, least) {
            return Reason::OverShare;
        }
        let serving = || self.pool.iter().filter(|(_, slot)| slot.services.has(protocol));
        if self.pool.has_open(protocol) {
            let largest = serving().filter(|(_, slot)| slot.is_alive()).map(|(_, slot)| slot.units_total).max();
            return if largest.is_some_and(|largest| size > largest) {
                Reason::LargerThanAnyWorker
            } else {
                Reason::NoRoomForSize
            };
        }
        let is_up = |slot: &Worker| slot.operational == Operational::Up;
        if !serving().any(|(_, slot)| is_up(slot)) {
            Reason::NoWorker
        } else if serving().any(|(worker, _)| self.pool.is_ready(usize::from(worker.0))) {
            Reason::Full
        } else {
            Reason::AllDraining
        }
    }
}
