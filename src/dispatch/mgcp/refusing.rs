//! The dispatcher's own return codes (RFC 3435 §2.4).

use std::net::IpAddr;

use super::{Summary, returned};
use crate::dispatch::Dispatch;
use crate::dispatch::access::Admission;
use crate::dispatch::decision::{Decision, EntryId, Protocol, Reason, Room, Target};
use crate::dispatch::table::{NewEntry, State};
use crate::ids::WorkerId;
use crate::time::Time;
use crate::wire::mgcp::{ReturnCode, TransactionId};

impl Dispatch {
    /// What belongs to nothing here is counted against its source's rate; beyond it, the decision to turn it away, as with
    /// SIP: told so as often as it is granted something, silence beyond.
    pub(super) fn turn_away_mgcp(&mut self, sender: IpAddr, transaction: TransactionId, now: Time) -> Option<Decision> {
        let dropped = |reason| Some(Decision { target: Target::Drop, reason });
        match self.access.admit(sender, || self.printer.source(sender), now) {
            Admission::Granted => None,
            Admission::Refused => Some(returned(ReturnCode::OVERLOAD, transaction, Reason::OverRate)),
            Admission::Ignored => dropped(Reason::OverRate),
            Admission::Banned => dropped(Reason::Banned),
        }
    }

    /// The answer to a command that belongs to nothing here, unless its source is to be turned away.
    pub(super) fn return_stranger(
        &mut self,
        summary: &Summary<'_>,
        code: ReturnCode,
        reason: Reason,
        now: Time,
    ) -> Decision {
        let refusal = self.turn_away_mgcp(summary.sender, summary.transaction, now);
        refusal.unwrap_or_else(|| returned(code, summary.transaction, reason))
    }

    /// Nobody was selected: the answer, kept for retransmissions, so that one of them is not selected after all when room
    /// opens in between.
    pub(super) fn nobody_mgcp(&mut self, summary: &Summary<'_>, reason: Reason, now: Time) -> Decision {
        let code = code_of(reason);
        // Who is over its share gets no place for the answer either.
        if reason != Reason::OverShare {
            let new = NewEntry { state: State::Verdict(code.0), ..self.mgcp_entry(summary, WorkerId(0), 0) };
            self.record(new, now);
        }
        returned(code, summary.transaction, reason)
    }

    /// The dispatcher's final answer to a transaction that is in the table.
    pub(super) fn mgcp_verdict(
        &mut self,
        summary: &Summary<'_>,
        id: EntryId,
        code: ReturnCode,
        reason: Reason,
        now: Time,
    ) -> Decision {
        let group = self.table.verdict(id, code.0, now);
        self.release(group);
        returned(code, summary.transaction, reason)
    }

    /// What a link must have for a new call of this source; see [`Dispatch::least_room`].
    pub(super) fn least_mgcp_room(&self, sender: IpAddr) -> Room {
        let is_over = || self.table.shares().is_used_up(self.printer.source(sender).print());
        if self.pool.is_scarce(Protocol::Mgcp) && is_over() { Room::All } else { Room::Scarce }
    }

    /// What is left to say where all have refused: some endpoints are there, or none.
    pub(super) fn refused_by_all(&self) -> ReturnCode {
        if self.pool.has_open(Protocol::Mgcp) { ReturnCode::RESOURCES_NOT_NOW } else { ReturnCode::NO_ENDPOINT }
    }
}

/// 410 says that no endpoint is there, 403 that this one needs more than there is now, 502 that it always will, 409 that
/// trying later may help (RFC 3435 §2.4).
pub(super) const fn code_of(reason: Reason) -> ReturnCode {
    match reason {
        Reason::NoRoomForSize => ReturnCode::RESOURCES_NOT_NOW,
        Reason::LargerThanAnyWorker => ReturnCode::INSUFFICIENT_RESOURCES,
        Reason::OverShare | Reason::HolderBusy => ReturnCode::OVERLOAD,
        _ => ReturnCode::NO_ENDPOINT,
    }
}
