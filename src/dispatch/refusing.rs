//! The dispatcher's own answers: to OPTIONS, to requests that no worker takes, to requests that come too often.

use super::Dispatch;
use super::access::Admission;
use super::decision::{Answer, Decision, EntryId, Operational, Protocol, Reason, Room, Target};
use super::fingerprint::Source;
use super::sip::Summary;
use super::table::{NewEntry, State};
use super::targets::worker::Worker;
use crate::ids::WorkerId;
use crate::time::Time;
use crate::wire::sip::{Fault, Message, Method, Name, capabilities};

impl Dispatch {
    /// Answers OPTIONS to the dispatcher itself (RFC 3261 §11.2): the answer that an INVITE would get.
    pub(super) fn options(&self, message: &Message<'_>, summary: &Summary<'_>) -> Decision {
        // RFC 3261 §8.2.2.3.
        if message.values(Name::Require).any(|option| !capabilities::supports(option)) {
            return self.refine(self.answer(summary, 420, Reason::Options), |answer| answer.unsupported = true);
        }
        if !self.pool.has_open(Protocol::Sip) {
            return self.unavailable(summary, Reason::OptionsUnavailable);
        }
        self.refine(self.answer(summary, 200, Reason::Options), |answer| {
            answer.allow = true;
            answer.capabilities = true;
        })
    }

    /// Answers a REGISTER that the rules accept: 200 with the addresses as they came (RFC 3261 §10.3). None of them is
    /// stored.
    pub(super) fn registered(&self, summary: &Summary<'_>) -> Decision {
        self.refine(self.answer(summary, 200, Reason::Registered), |answer| answer.registered = true)
    }

    /// Counts a request that belongs to no call or transaction against its source's rate. Beyond the rate, returns the
    /// decision to turn it away. The first such requests are answered 503: an honest caller then stops sending again
    /// (RFC 3261 §17.1.1.2), which silence would not achieve. But a source gets no more such answers than the rate has
    /// grants, so that forged sources do not direct a flood at the host whose address they name.
    pub(super) fn turn_away(&mut self, summary: &Summary<'_>, now: Time) -> Option<Decision> {
        let dropped = |reason| Some(Decision { target: Target::Drop, reason });
        let source = || self.printer.source(summary.sender);
        match self.access.admit(summary.sender, source, now) {
            Admission::Granted => None,
            Admission::Refused => Some(self.answer(summary, 503, Reason::OverRate)),
            Admission::Ignored => dropped(Reason::OverRate),
            Admission::Banned => dropped(Reason::Banned),
        }
    }

    /// The answer to a request that belongs to no call or transaction, unless its source is to be turned away.
    pub(super) fn answer_stranger(
        &mut self,
        summary: &Summary<'_>,
        status: u16,
        reason: Reason,
        now: Time,
    ) -> Decision {
        self.turn_away(summary, now).unwrap_or_else(|| self.answer(summary, status, reason))
    }

    /// The answer to a request that is faulty; it names the fault.
    pub(super) fn answer_fault(&self, summary: &Summary<'_>, status: u16, fault: Fault) -> Decision {
        let reason = if fault == Fault::UriScheme { Reason::UnknownScheme } else { Reason::Malformed };
        self.refine(self.answer(summary, status, reason), |answer| answer.fault = Some(fault))
    }

    /// The least room that a link must have for a new call of this source: if room is scarce, it is for sources that
    /// wait for less than their share.
    pub(super) fn least_room(&self, summary: &Summary<'_>) -> Room {
        // The share is looked up only if some link's room is scarce.
        let is_over = || self.table.shares().is_used_up(self.source(summary).print());
        if self.pool.is_scarce(Protocol::Sip) && is_over() { Room::All } else { Room::Scarce }
    }

    pub(super) fn source(&self, summary: &Summary<'_>) -> Source {
        self.printer.source(summary.sender)
    }

    /// The answer if the link of the only worker that may have the request has no more than this room.
    pub(super) fn no_room(&self, summary: &Summary<'_>, room: Room) -> Decision {
        match room {
            Room::Scarce => self.answer(summary, 503, Reason::OverShare),
            _ => self.answer(summary, 486, Reason::HolderBusy),
        }
    }

    pub(super) fn refuse_method(&self, summary: &Summary<'_>, status: u16, reason: Reason) -> Decision {
        self.refine(self.answer(summary, status, reason), |answer| answer.allow = true)
    }

    pub(super) fn unavailable(&self, summary: &Summary<'_>, reason: Reason) -> Decision {
        self.answer(summary, 503, reason)
    }

    /// The answer if no worker was selected. It is kept for the INVITE's retransmissions, so that none of them is given
    /// to a worker after all once there is room.
    pub(super) fn nobody(&mut self, summary: &Summary<'_>, reason: Reason, now: Time) -> Decision {
        let status = status_of(reason);
        // A source that is over its share gets no table place for the answer either.
        if summary.method == Method::Invite && reason != Reason::OverShare {
            let new = NewEntry {
                branch: summary.branch,
                call: summary.call,
                discriminator: summary.cseq,
                worker: WorkerId(0),
                life: 0,
                group: None,
                is_invite: true,
                state: State::Verdict(status),
                source: self.source(summary).print(),
            };
            self.record(new, now);
        }
        self.answer(summary, status, reason)
    }

    /// The dispatcher's final answer to a transaction that is in the table.
    pub(super) fn verdict(
        &mut self,
        summary: &Summary<'_>,
        id: EntryId,
        status: u16,
        reason: Reason,
        now: Time,
    ) -> Decision {
        let group = self.table.verdict(id, status, now);
        if let Some(group) = group {
            self.groups.withdraw(group, id);
        }
        self.release(group);
        self.answer(summary, status, reason)
    }

    pub(super) fn answer(&self, summary: &Summary<'_>, status: u16, reason: Reason) -> Decision {
        let own_tag = || self.directory.keys().dispatcher_tag(summary.branch);
        let to_tag = if summary.to_tag.is_some() { None } else { Some(own_tag()) };
        let retry_after = (status == 503).then_some(self.rules.retry_after);
        Decision { target: Target::Answer(Answer { retry_after, ..Answer::new(status, to_tag) }), reason }
    }

    pub(super) fn refine(&self, mut decision: Decision, change: impl FnOnce(&mut Answer)) -> Decision {
        if let Target::Answer(answer) = &mut decision.target {
            change(answer);
        }
        decision
    }

    /// The reason why no worker takes a session of this size.
    pub(super) fn why_nobody(&self, protocol: Protocol, size: u32, least: Room) -> Reason {
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

/// RFC 3261 §21.5.4: a 503 makes peers avoid the whole address, so it is only for "no new call at all".
pub(super) const fn status_of(reason: Reason) -> u16 {
    match reason {
        Reason::NoRoomForSize | Reason::HolderBusy => 486,
        Reason::LargerThanAnyWorker => 480,
        _ => 503,
    }
}
