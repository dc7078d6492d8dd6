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
    /// Counts a command that belongs to no call or transaction against its source's rate. Beyond the rate, returns the
    /// decision to turn it away, as with SIP: refusals up to the number of grants, then silence.
    pub(super) fn turn_away_mgcp(&mut self, sender: IpAddr, transaction: TransactionId, now: Time) -> Option<Decision> {
        let dropped = |reason| Some(Decision { target: Target::Drop, reason });
        match self.access.admit(sender, || self.printer.source(sender), now) {
            Admission::Granted => None,
            Admission::Refused => Some(returned(ReturnCode::OVERLOAD, transaction, Reason::OverRate)),
            Admission::Ignored => dropped(Reason::OverRate),
            Admission::Banned => dropped(Reason::Banned),
        }
    }

    /// The answer to a command that belongs to no call or transaction, unless its source is to be turned away.
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

    /// The answer if no worker was selected. It is kept for retransmissions, so that none of them is given to a worker
    /// after all once there is room.
    pub(super) fn nobody_mgcp(&mut self, summary: &Summary<'_>, reason: Reason, now: Time) -> Decision {
        let code = code_of(reason);
        // A source that is over its share gets no table place for the answer either.
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

    /// The least room that a link must have for a new call of this source; see [`Dispatch::least_room`].
    pub(super) fn least_mgcp_room(&self, sender: IpAddr) -> Room {
        let is_over = || self.table.shares().is_used_up(self.printer.source(sender).print());
        if self.pool.is_scarce(Protocol::Mgcp) && is_over() { Room::All } else { Room::Scarce }
    }

    /// The return code if all workers have refused: some endpoints exist, or none.
    pub(super) fn refused_by_all(&self) -> ReturnCode {
        if self.pool.has_open(Protocol::Mgcp) { ReturnCode::RESOURCES_NOT_NOW } else { ReturnCode::NO_ENDPOINT }
    }
}

/// 410: no endpoint exists. 403: this one needs more than is free now. 502: it will always need more. 409: trying later
/// may help (RFC 3435 §2.4).
pub(super) const fn code_of(reason: Reason) -> ReturnCode {
    match reason {
        Reason::NoRoomForSize => ReturnCode::RESOURCES_NOT_NOW,
        Reason::LargerThanAnyWorker => ReturnCode::INSUFFICIENT_RESOURCES,
        Reason::OverShare | Reason::HolderBusy => ReturnCode::OVERLOAD,
        _ => ReturnCode::NO_ENDPOINT,
    }
}
