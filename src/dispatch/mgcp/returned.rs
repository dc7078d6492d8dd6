//! Decisions about commands that come back from a worker, refused or orphaned.
//!
//! Only a command that was placed by selection moves to another worker, to each worker once. The legs of a call that
//! its worker has not begun move together. A command that names its endpoint has one worker only, and is answered.

use super::meant::Meant;
use super::{Summary, returned};
use crate::dispatch::Dispatch;
use crate::dispatch::decision::{Arrival, Cause, Decision, EntryId, GatheringId, Reason, Returned, Target};
use crate::dispatch::returned::search_after_death;
use crate::dispatch::table::{Entry, State};
use crate::time::Time;
use crate::wire::mgcp::{Command, Message, ReturnCode, Verb};
use crate::words::RefuseReason;

impl Dispatch {
    pub(super) fn decide_mgcp_returned(
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
        // It is one of many handovers of the same command: the other workers answer.
        if let Some(gathering) = GatheringId::of(arrival.conn) {
            self.gatherings.leave_out(gathering, back.from, now);
            return dropped(Reason::Everyone);
        }
        let Message::Command(command) = message else { return dropped(Reason::OrphanInDialog) };
        let summary = self.told_apart(Summary::of(command, arrival, &self.printer), arrival, now);
        match back.entry {
            Some(id) => self.connection_returned(command, &summary, arrival, id, back, now),
            None => self.named_returned(command, &summary, arrival, back, now),
        }
    }

    /// Decides about a command that found its worker by a name, or about a copy of a command in the table.
    fn named_returned(
        &mut self,
        command: &Command<'_>,
        summary: &Summary<'_>,
        arrival: &Arrival,
        back: &Returned,
        now: Time,
    ) -> Decision {
        let dropped = |reason| Decision { target: Target::Drop, reason };
        let known = self.entry_of(summary.name);
        match (back.cause, known) {
            (_, Some((_, Entry { state: State::Verdict(code), .. }))) => {
                returned(ReturnCode(code), summary.transaction, Reason::AnsweredBefore)
            }
            // Only the first copy is decided about; this one is dropped.
            (Cause::Refused(_), Some(_)) if summary.verb == Verb::Crcx => dropped(Reason::MovedAlready),
            (Cause::Died, Some(_)) if summary.leaves_choice() => dropped(Reason::MovedAlready),
            // The link did not take it, but the worker may have carried out an earlier copy.
            (Cause::Refused(_), _) if !back.sent => dropped(Reason::LinkFull),
            (Cause::Refused(_), Some((id, _))) => {
                self.mgcp_verdict(summary, id, ReturnCode::TRANSIENT_ERROR, Reason::RefusedInDialog, now)
            }
            (Cause::Refused(_), None) => {
                returned(ReturnCode::TRANSIENT_ERROR, summary.transaction, Reason::RefusedInDialog)
            }
            (Cause::Died, _) => {
                let code = match self.meant(command, summary, arrival) {
                    Meant::Gone(code) => code,
                    _ => ReturnCode::ENDPOINT_UNKNOWN,
                };
                returned(code, summary.transaction, Reason::OrphanInDialog)
            }
        }
    }

    fn connection_returned(
        &mut self,
        command: &Command<'_>,
        summary: &Summary<'_>,
        arrival: &Arrival,
        id: EntryId,
        back: &Returned,
        now: Time,
    ) -> Decision {
        let moved = Decision { target: Target::Drop, reason: Reason::MovedAlready };
        let Some(entry) = self.undecided(id, back) else { return moved };
        match back.cause {
            Cause::Died => {
                if let Meant::Gone(code) = self.meant(command, summary, arrival) {
                    return self.mgcp_verdict(summary, id, code, Reason::OrphanInDialog, now);
                }
                let search = search_after_death(&entry, back, now);
                self.move_mgcp(command, summary, (id, back.weight()), search, Reason::Died, now)
            }
            Cause::Refused(_) => self.connection_refused(command, summary, arrival, (id, &entry), back, now),
        }
    }

    fn connection_refused(
        &mut self,
        command: &Command<'_>,
        summary: &Summary<'_>,
        arrival: &Arrival,
        (id, entry): (EntryId, &Entry),
        back: &Returned,
        now: Time,
    ) -> Decision {
        // The legs of a call that its worker has begun stay with it. So does a command that names its endpoint.
        let group = entry.group.and_then(|group| self.groups.get(group));
        let is_named = back.follows && self.meant(command, summary, arrival) != Meant::Nobody;
        let is_begun = group.is_some_and(|group| group.opened.is_some() && group.worker == back.from);
        if is_named || is_begun {
            return self.mgcp_verdict(summary, id, ReturnCode::RESOURCES_NOT_NOW, Reason::RefusedByHolder, now);
        }
        let Some(search) = self.search_after_refusal(entry, arrival, back, now) else {
            let code = self.refused_by_all();
            return self.mgcp_verdict(summary, id, code, Reason::RefusedByAll, now);
        };
        self.move_mgcp(command, summary, (id, back.weight()), search, Reason::Refused, now)
    }
}
