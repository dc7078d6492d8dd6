//! The rules for SIP, in their order: the worker that the message itself names, the worker that the table knows, the
//! worker of the conference, and only then selection.

use std::net::IpAddr;

use super::Dispatch;
use super::decision::{Arrival, Decision, EntryId, Reason, Search, Target, Tried};
use super::echoed::Echoed;
use super::fingerprint::{Fingerprint, Printer, Text};
use super::identity::{Named, branch_token};
use super::placing::Placement;
use super::table::{Entry, State};
use super::transaction::Names;
use crate::config::MethodRule;
use crate::time::Time;
use crate::transaction::LIFETIME;
use crate::wire::sip::{Essentials, Fault, Message, Method, Unparsable};
use crate::words::Transport;

/// The header that carries a worker's token if no field of SIP does.
pub const EXTENSION: &str = "X-Pointsman-Worker";
/// The URI parameter that carries a worker's token in Contact if the user part has another meaning.
pub const URI_PARAM: &[u8] = b"pm";

/// The purpose of a conference's fingerprint.
const CONFERENCE: u8 = b'g';

/// The fields of a request that the rules read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Summary<'a> {
    pub(super) method: Method<'a>,
    pub(super) branch: Fingerprint,
    pub(super) call: Fingerprint,
    pub(super) cseq: u32,
    pub(super) to_tag: Option<&'a [u8]>,
    pub(super) sender: IpAddr,
    pub(super) read: Essentials<'a>,
}

impl<'a> Summary<'a> {
    pub(super) fn of(message: &Message<'a>, method: Method<'a>, arrival: &Arrival, printer: &Printer) -> Self {
        let read = message.essentials();
        let Names { branch, call, cseq } = Names::of(message, &read, printer);
        let to_tag = read.to.and_then(|to| to.tag());
        Summary { method, branch, call, cseq, to_tag, sender: arrival.source.ip(), read }
    }
}

impl Dispatch {
    pub(super) fn decide_unparsable(&mut self, bad: &Unparsable<'_>, arrival: &Arrival, now: Time) -> Decision {
        let dropped = |reason| Decision { target: Target::Drop, reason };
        if self.access.denies(arrival.source.ip()) {
            return dropped(Reason::Denied);
        }
        match bad.fault {
            Fault::Empty | Fault::Keepalive if arrival.transport == Transport::Udp => {
                dropped(Reason::KeepaliveDatagram)
            }
            Fault::Empty | Fault::Keepalive => dropped(Reason::KeepaliveStream),
            Fault::Stun => dropped(Reason::Stun),
            fault => match (fault.status(), bad.message.and_then(|message| Some((message, message.method()?)))) {
                (Some(status), Some((message, method))) => {
                    let summary = Summary::of(&message, method, arrival, &self.printer);
                    self.turn_away(&summary, now).unwrap_or_else(|| self.answer_fault(&summary, status, fault))
                }
                _ => dropped(Reason::Unparsable),
            },
        }
    }

    pub(super) fn decide(&mut self, message: &Message<'_>, arrival: &Arrival, now: Time) -> Decision {
        if self.access.denies(arrival.source.ip()) {
            return Decision { target: Target::Drop, reason: Reason::Denied };
        }
        let Some(method) = message.method() else { return self.response(message, arrival, now) };
        let summary = Summary::of(message, method, arrival, &self.printer);
        // A BYE ends its call however late it is. The worker sees by CSeq which messages have been overtaken.
        if summary.to_tag.is_none() && now.since(arrival.received) > LIFETIME {
            return Decision { target: Target::Drop, reason: Reason::TooOld };
        }
        self.table.touch(summary.branch, summary.call);
        match (method, summary.to_tag) {
            (Method::Ack, _) => self.ack(message, &summary, arrival, now),
            (Method::Cancel, _) => self.cancel(message, &summary, arrival, now),
            (_, Some(to_tag)) => self.in_dialog(message, &summary, to_tag, arrival, now),
            (_, None) => self.initial(message, &summary, arrival, now),
        }
    }

    /// Whether this is a CANCEL whose request has not been seen: if several lanes read, the request may still come.
    pub fn is_early(&self, message: &Message<'_>, arrival: &Arrival) -> bool {
        if message.method() != Some(Method::Cancel) {
            return false;
        }
        let summary = Summary::of(message, Method::Cancel, arrival, &self.printer);
        summary.to_tag.is_none() && self.transaction_of_cancel(&summary).is_none()
    }

    /// Decides about a response: it belongs to the worker whose token stands in the branch of the topmost Via. Only
    /// that worker knows whether the request exists, so the number of responses that a source may have handed on is
    /// limited.
    fn response(&mut self, message: &Message<'_>, arrival: &Arrival, now: Time) -> Decision {
        let named =
            message.via().and_then(|via| via.branch()).and_then(branch_token).and_then(|at| self.directory.token(at));
        match named {
            Some(Named::Live(worker)) => self.follow_response(worker, arrival.source.ip(), Reason::Branch, now),
            Some(Named::Gone) => Decision { target: Target::Drop, reason: Reason::WorkerGone },
            None => Decision { target: Target::Drop, reason: Reason::UnknownResponse },
        }
    }

    /// Decides about an ACK. It is never answered (RFC 3261 §17.2.1, §13.2.2.4).
    fn ack(&mut self, message: &Message<'_>, summary: &Summary<'_>, arrival: &Arrival, now: Time) -> Decision {
        let dropped = |reason| Decision { target: Target::Drop, reason };
        let by_branch = self.table.by_branch(summary.branch);
        // Only an INVITE has an ACK of its branch.
        if let Some(id) = by_branch.filter(|id| self.table.get(*id).is_some_and(|entry| entry.is_invite)) {
            self.table.acknowledged(id, now);
        }
        if let Some(to_tag) = summary.to_tag {
            // An ACK to a non-2xx has the INVITE's branch (§17.1.1.3), from which the dispatcher's own tag was made.
            if self.directory.keys().dispatcher_tag(summary.branch).as_bytes().eq_ignore_ascii_case(to_tag) {
                return dropped(Reason::OwnAck);
            }
            match self.directory.token(to_tag) {
                Some(Named::Live(worker)) => return self.follow(worker, Reason::ToTag, now),
                Some(Named::Gone) => return dropped(Reason::WorkerGone),
                None => {}
            }
        }
        let by_branch = by_branch.and_then(|id| self.table.get(id)).copied();
        if let Some(entry) = by_branch.or_else(|| self.entry_of_call(summary)) {
            return match entry.state {
                State::Verdict(_) => dropped(Reason::OwnAck),
                _ if self.is_alive(&entry) => self.follow(entry.worker, Reason::Ack, now),
                _ => dropped(Reason::WorkerGone),
            };
        }
        match self.addressed(message, summary, arrival) {
            Some((Named::Live(worker), reason)) => self.follow(worker, reason, now),
            Some((Named::Gone, _)) => dropped(Reason::WorkerGone),
            None => match self.unrecorded_worker(summary, now) {
                Some(worker) => self.follow(worker, Reason::FollowsUnrecorded, now),
                None => dropped(Reason::UnknownAck),
            },
        }
    }

    /// Decides about a CANCEL. It has the branch of the request that it cancels (RFC 3261 §9.1); if the client made a
    /// new branch, the INVITE is found by its call.
    fn cancel(&mut self, message: &Message<'_>, summary: &Summary<'_>, arrival: &Arrival, now: Time) -> Decision {
        if let Some(id) = self.transaction_of_cancel(summary)
            && let Some(&entry) = self.table.get(id)
        {
            if matches!(entry.state, State::Verdict(_)) {
                return self.answer(summary, 200, Reason::CancelTooLate);
            }
            self.table.cancel(id);
            if let Some(group) = entry.group {
                self.groups.withdraw(group, id);
            }
            return match entry.state {
                _ if self.is_alive(&entry) => self.follow(entry.worker, Reason::Cancel, now),
                // Its INVITE comes back from the dead worker's link, is found cancelled and is answered 487.
                State::Pending { .. } => self.answer(summary, 200, Reason::CancelAnswered),
                _ => self.answer(summary, 481, Reason::WorkerGone),
            };
        }
        // A re-INVITE is cancelled inside its dialog.
        let by_tag = summary.to_tag.and_then(|tag| self.directory.token(tag)).map(|named| (named, Reason::ToTag));
        match by_tag.or_else(|| self.addressed(message, summary, arrival)) {
            Some((Named::Live(worker), reason)) => self.follow(worker, reason, now),
            Some((Named::Gone, _)) => self.answer(summary, 481, Reason::WorkerGone),
            None => match self.unrecorded_worker(summary, now) {
                Some(worker) => self.follow(worker, Reason::FollowsUnrecorded, now),
                None => self.answer_stranger(summary, 481, Reason::UnknownCancel, now),
            },
        }
    }

    /// Decides about a request inside a dialog (RFC 3261 §12.2.2).
    fn in_dialog(
        &mut self,
        message: &Message<'_>,
        summary: &Summary<'_>,
        to_tag: &[u8],
        arrival: &Arrival,
        now: Time,
    ) -> Decision {
        let by_tag = self.directory.token(to_tag).map(|named| (named, Reason::ToTag));
        match by_tag.or_else(|| self.addressed(message, summary, arrival)) {
            Some((Named::Live(worker), reason)) => return self.follow(worker, reason, now),
            Some((Named::Gone, _)) => return self.answer(summary, 481, Reason::WorkerGone),
            None => {}
        }
        match self.entry_of_call(summary) {
            Some(entry) if matches!(entry.state, State::Verdict(_)) => {
                self.answer_stranger(summary, 481, Reason::UnknownDialog, now)
            }
            Some(entry) if self.is_alive(&entry) => self.follow(entry.worker, Reason::InDialog, now),
            Some(_) => self.answer(summary, 481, Reason::WorkerGone),
            None => match self.unrecorded_worker(summary, now) {
                Some(worker) => self.follow(worker, Reason::FollowsUnrecorded, now),
                None => self.answer_stranger(summary, 481, Reason::UnknownDialog, now),
            },
        }
    }

    /// Decides about a request outside a dialog, or its retransmission.
    fn initial(&mut self, message: &Message<'_>, summary: &Summary<'_>, arrival: &Arrival, now: Time) -> Decision {
        if let Some(id) = self.table.by_branch(summary.branch)
            && let Some(&entry) = self.table.get(id)
        {
            return self.retransmission(message, summary, arrival, (id, &entry), now);
        }
        // A known token, nonce or call chooses the worker; the request still counts against its source's rate. Else a
        // source that has made one call could begin any number with them.
        if let Some(refusal) = self.turn_away(summary, now) {
            return refusal;
        }
        if let Err(fault) = message.check_read(&summary.read) {
            return self.answer_fault(summary, fault.status().unwrap_or(400), fault);
        }
        match summary.method {
            Method::Other(_) => return self.refuse_method(summary, 501, Reason::UnknownMethod),
            Method::Bye | Method::Prack | Method::Update => {
                return self.answer(summary, 481, Reason::UnknownDialog);
            }
            _ => {}
        }
        match self.echoed(message, summary, arrival) {
            Echoed::Worker(worker, reason) => {
                let size = self.size(message, summary, arrival);
                let placement = Placement { worker, reason, size, follows: true, group: None };
                return self.place(summary, arrival, placement, now);
            }
            Echoed::Gone(reason) => return self.answer(summary, 481, reason),
            Echoed::Nobody => {}
        }
        // One copy of a call may be gone with its worker while another lives. An answer of the dispatcher's own is for
        // its branch only, and a refusal that has been acknowledged is no ongoing transaction (RFC 3261 §8.2.2.2): the
        // next attempt of a proxy that hunts has another branch and the same CSeq, and is a new request.
        let tells = |entry: &Entry| match entry.state {
            State::Verdict(_) => false,
            _ if entry.is_over() => entry.discriminator != summary.cseq && self.is_alive(entry),
            _ => self.is_alive(entry),
        };
        let known = self.table.of_call(summary.call).map(|(_, entry)| *entry).find(tells);
        if let Some(entry) = known {
            let placement = self.place_known(message, summary, arrival, &entry);
            return self.place(summary, arrival, placement, now);
        }
        match summary.method {
            Method::Invite => {}
            Method::Options => return self.options(message, summary),
            method => match (method, self.rules.methods.rule(method).unwrap_or_default()) {
                (_, MethodRule::Select) => {}
                (Method::Register, MethodRule::Accept) => return self.registered(summary),
                // INFO and NOTIFY belong to a dialog, and INFO stands in Allow: no 405 (RFC 3261 §21.4.6).
                (Method::Info | Method::Notify, _) => return self.answer(summary, 481, Reason::UnknownDialog),
                _ => return self.refuse_method(summary, 405, Reason::MethodRefused),
            },
        }
        self.begin(message, summary, arrival, now)
    }

    /// Begins a call: at the conference's worker, else at a selected one.
    fn begin(&mut self, message: &Message<'_>, summary: &Summary<'_>, arrival: &Arrival, now: Time) -> Decision {
        let size = self.size(message, summary, arrival);
        if !self.table.has_place(|| self.source(summary).print()) {
            return self.place_unrecorded(summary, arrival, size, 0, now);
        }
        match self.choose(summary, size, Tried::default(), self.least_room(summary), now) {
            Ok(placement) => self.place(summary, arrival, placement, now),
            Err(reason) => self.nobody(summary, reason, now),
        }
    }

    /// Decides about a request whose branch the table knows.
    fn retransmission(
        &mut self,
        message: &Message<'_>,
        summary: &Summary<'_>,
        arrival: &Arrival,
        (id, entry): (EntryId, &Entry),
        now: Time,
    ) -> Decision {
        if let State::Verdict(status) = entry.state {
            return self.answer(summary, status, Reason::AnsweredBefore);
        }
        if self.is_alive(entry) {
            return self.follow(entry.worker, Reason::Retransmission, now);
        }
        if entry.is_over() {
            // A late copy of a request that its caller has finished with.
            return Decision { target: Target::Drop, reason: Reason::WorkerGone };
        }
        let deaths = entry.deaths + u8::from(entry.is_pending());
        let size = self.size(message, summary, arrival);
        self.move_on(message, summary, arrival, id, size, Search::after_deaths(deaths, now), Reason::SelectedAnew, now)
    }

    pub(super) fn transaction_of_cancel(&self, summary: &Summary<'_>) -> Option<EntryId> {
        self.table.by_branch(summary.branch).or_else(|| self.table.invite_of(summary.call, summary.cseq))
    }

    /// The entry that shows the worker of a call: its newest entry with a live worker, else its newest.
    fn entry_of_call(&self, summary: &Summary<'_>) -> Option<Entry> {
        let mut entries = self.table.of_call(summary.call).map(|(_, entry)| entry);
        let newest = entries.next()?;
        let held = std::iter::once(newest).chain(entries).find(|entry| self.is_held(entry));
        Some(*held.unwrap_or(newest))
    }

    /// Whether a live worker has the transaction, or was the last to have it.
    pub(super) fn is_held(&self, entry: &Entry) -> bool {
        !matches!(entry.state, State::Verdict(_)) && !entry.is_over() && self.is_alive(entry)
    }

    pub(super) fn is_alive(&self, entry: &Entry) -> bool {
        self.pool.get(entry.worker).is_some_and(|slot| slot.is_alive() && slot.life == entry.life)
    }

    /// The conference that a request is for.
    pub(super) fn conference(&self, summary: &Summary<'_>) -> Option<Fingerprint> {
        summary.read.uri?.conference().map(|name| conference(name, &self.printer))
    }
}

/// The fingerprint of a conference's name, which compares in any case.
pub(super) fn conference(name: &[u8], printer: &Printer) -> Fingerprint {
    printer.print_each(CONFERENCE, [Text::InAnyCase(name)])
}
