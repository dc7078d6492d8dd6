//! The rules for SIP, in their order: the worker that the message itself names, the worker that the table knows, the
//! worker of the conference, and only then selection.

mod answering;
mod attempts;
mod echoed;
mod forwarding;
mod pinned;
mod returned;
mod unrecorded;

use crate::config::MethodRule;
use crate::dispatch::Dispatch;
use crate::dispatch::case::{self, Placement};
use crate::dispatch::decision::{Answer, Arrival, Decision, EntryId, Handoff, Protocol, Reason, Says, Target, Tried};
use crate::dispatch::history::About;
use crate::dispatch::identity::{DispatcherTag, Named, branch_token};
use crate::dispatch::returned::Returned;
use crate::dispatch::table::{Entry, State};
use crate::fingerprint::{Fingerprint, Printer, Text};
use crate::reservation::Weight;
use crate::time::Time;
use crate::transaction::LIFETIME;
use crate::transaction::name::sip::Names;
use crate::wire::Label;
use crate::wire::sip::{Essentials, Fault, Message, Method, SMALLEST_ANSWERED, Unparsable};
use crate::words::Transport;
use echoed::Echoed;
pub(in crate::dispatch) use forwarding::ForgottenCancels;
pub use pinned::Pinned;

/// The header that carries a worker's token if no field of SIP does.
pub const EXTENSION: &str = "X-Pointsman-Worker";
/// The URI parameter that carries a worker's token in Contact if the user part has another meaning.
pub const URI_PARAM: &[u8] = b"pm";

/// The purpose of a conference's fingerprint.
const CONFERENCE: u8 = b'g';

/// A request of SIP.
#[derive(Clone, Copy, Debug)]
pub(in crate::dispatch) struct SipRequest<'a> {
    message: &'a Message<'a>,
    method: Method<'a>,
    to_tag: Option<&'a [u8]>,
    // By reference: it is large, and a case is moved a few times.
    read: &'a Essentials<'a>,
}

/// A request of SIP, in the terms of the decision.
pub(in crate::dispatch) type Case<'a> = case::Case<'a, SipRequest<'a>>;

impl<'a> Case<'a> {
    /// The case of a request, of which the essentials have been read; `None` for a response.
    #[inline]
    pub(in crate::dispatch) fn of(
        message: &'a Message<'a>,
        read: &'a Essentials<'a>,
        arrival: &'a Arrival,
        now: Time,
        printer: &Printer,
    ) -> Option<Self> {
        let method = message.method()?;
        let Names { transaction: name, call, cseq: discriminator } = Names::of(message, read, printer);
        let request = SipRequest { message, method, to_tag: read.to.and_then(|to| to.tag()), read };
        Some(Case { request, name, call, discriminator, arrival, now })
    }
}

impl case::Request for SipRequest<'_> {
    const PROTOCOL: Protocol = Protocol::Sip;
    const AT_MOST_ONCE: bool = false;
    const RESERVES: bool = true;

    fn is_invite(&self) -> bool {
        self.method == Method::Invite
    }

    fn group(case: &Case<'_>, dispatch: &Dispatch) -> Option<Fingerprint> {
        case.request.read.uri?.conference().map(|name| conference(name, &dispatch.printer))
    }

    fn size(case: &Case<'_>, dispatch: &Dispatch) -> Option<Weight> {
        let SipRequest { message, read, .. } = &case.request;
        // Only INVITE begins a session.
        case.request.is_invite().then(|| dispatch.rules.size.size_of(message, read.uri.as_ref(), case.sender()))
    }

    /// RFC 3261 §21.5.4: a 503 makes peers avoid the whole address, so it is only for "no new call at all".
    fn code(why: Reason, has_open: bool) -> u16 {
        match why {
            Reason::Cancelled => 487,
            Reason::Poison => 500,
            Reason::NoRoomForSize | Reason::HolderBusy => 486,
            Reason::RefusedByHolder | Reason::RefusedByAll if has_open => 486,
            Reason::LargerThanAnyWorker => 480,
            _ => 503,
        }
    }

    fn answer(case: &Case<'_>, dispatch: &Dispatch, status: u16, reason: Reason) -> Decision {
        let own_tag = || dispatch.directory.keys().dispatcher_tag(case.name);
        let to_tag = if case.request.to_tag.is_some() { None } else { Some(own_tag()) };
        let retry_after = (status == 503).then_some(dispatch.rules.retry_after);
        Decision { target: Target::Answer(Answer { retry_after, ..Answer::new(status, to_tag) }), reason }
    }

    fn without_place(case: &Case<'_>, dispatch: &mut Dispatch, size: Weight) -> Option<Decision> {
        Some(dispatch.place_unrecorded(case, size, 0))
    }

    fn after_death(_: &Case<'_>, _: &mut Dispatch, (_, entry): (EntryId, &Entry)) -> Option<Decision> {
        // A late copy of a request that its caller has finished with.
        entry.is_over().then_some(Decision { target: Target::Drop, reason: Reason::WorkerGone })
    }

    fn gone(case: &Case<'_>, dispatch: &Dispatch) -> Option<(u16, Reason)> {
        match dispatch.echoed(case) {
            Echoed::Gone(reason) => Some((481, reason)),
            Echoed::Worker(..) | Echoed::NoWorker => None,
        }
    }

    fn beside<'d>(case: &Case<'_>, dispatch: &'d Dispatch, id: EntryId, tried: Tried) -> Option<&'d Entry> {
        dispatch.beside(case, id, tried)
    }

    fn is_bound(case: &Case<'_>, dispatch: &Dispatch, (id, entry): (EntryId, &Entry), back: &Returned) -> bool {
        // A leg of a conference is bound by its conference alone. A copy goes to the worker of its request.
        let group = entry.group().and_then(|group| dispatch.groups.get(group));
        group.is_none() && dispatch.beside(case, id, back.excluded()).is_none()
    }

    fn follower_returned(case: &Case<'_>, dispatch: &mut Dispatch, back: &Returned) -> Decision {
        returned::decide(case, dispatch, back)
    }

    fn forward(case: &Case<'_>, dispatch: &mut Dispatch, entry: &Entry, why: Reason) -> Decision {
        dispatch.forward_following(case, entry, why)
    }

    fn complete(case: &Case<'_>, dispatch: &Dispatch, handoff: &mut Handoff) {
        let source = case.sender();
        handoff.pinned = dispatch.pinned(case.request.method, case.arrival);
        handoff.ring_first = dispatch.rules.ring_first.iter().any(|network| network.contains(source));
    }
}

/// Decides about a message.
#[inline]
pub(in crate::dispatch) fn decide(
    dispatch: &mut Dispatch,
    message: &Message<'_>,
    arrival: &Arrival,
    now: Time,
) -> Decision {
    let decision = dispatch.judge(message, arrival, now);
    if message.bytes().len() >= SMALLEST_ANSWERED { decision } else { unamplified(decision, message, arrival) }
}

/// Reads a request before it is decided about. `None` for a response, and for a request that is not answered whatever
/// it says.
pub(in crate::dispatch) fn read_ahead<'m>(
    dispatch: &Dispatch,
    message: &Message<'m>,
    arrival: &Arrival,
) -> Option<Essentials<'m>> {
    (message.is_request() && !dispatch.access.denies(arrival.source.ip())).then(|| message.essentials())
}

/// The case of a request that [`read_ahead`] has read. The memory is asked for what its decision reads of the table.
#[inline]
pub(in crate::dispatch) fn foresee<'m>(
    dispatch: &Dispatch,
    message: &'m Message<'m>,
    read: &'m Essentials<'m>,
    arrival: &'m Arrival,
    now: Time,
) -> Option<Case<'m>> {
    let case = Case::of(message, read, arrival, now, &dispatch.printer)?;
    dispatch.table.expect(case.name, case.call);
    Some(case)
}

/// Decides about a request that [`foresee`] has read.
#[inline]
pub(in crate::dispatch) fn decide_foreseen(
    dispatch: &mut Dispatch,
    message: &Message<'_>,
    case: &Case<'_>,
) -> Decision {
    let decision = dispatch.judge_request(case);
    if message.bytes().len() >= SMALLEST_ANSWERED { decision } else { unamplified(decision, message, case.arrival) }
}

/// Decides about bytes that cannot be read as a message.
pub(in crate::dispatch) fn decide_unparsable(
    dispatch: &mut Dispatch,
    bad: &Unparsable<'_>,
    arrival: &Arrival,
    now: Time,
) -> Decision {
    let decision = dispatch.judge_unparsable(bad, arrival, now);
    bad.message.map_or(decision, |message| unamplified(decision, &message, arrival))
}

/// Decides anew about a request of a system that has gone nowhere yet. It was counted against the rate of its source
/// when it came.
pub(in crate::dispatch) fn decide_sought(
    dispatch: &mut Dispatch,
    message: &Message<'_>,
    arrival: &Arrival,
    now: Time,
) -> Decision {
    let read = read_ahead(dispatch, message, arrival);
    let case = read.as_ref().and_then(|read| Case::of(message, read, arrival, now, &dispatch.printer));
    let again = case.and_then(|case| dispatch.lead_again(&case));
    again.unwrap_or_else(|| dispatch.judge(message, arrival, now))
}

/// Notes the decision about a message.
pub(in crate::dispatch) fn note(
    dispatch: &mut Dispatch,
    message: &Message<'_>,
    decision: &Decision,
    arrival: &Arrival,
    now: Time,
) {
    // Probes come all the time and belong to no call: calls would not be found for long.
    if matches!(decision.reason, Reason::ProbeAnswer | Reason::ProberBusy) {
        return;
    }
    let fault = match decision.target {
        Target::Answer(Answer { says: Says::Fault(fault), .. }) => Some(fault),
        _ => None,
    };
    let method = message.method().map_or(Label::Response, Method::label);
    dispatch.note_text(message.call_id(), About { method, fault, arrival }, decision, now);
}

/// Notes the decision about bytes that cannot be read as a message, if their call can be told.
pub(in crate::dispatch) fn note_fault(
    dispatch: &mut Dispatch,
    bad: &Unparsable<'_>,
    decision: &Decision,
    arrival: &Arrival,
    now: Time,
) {
    if let Some(seen) = bad.seen.filter(|seen| !seen.call_id().is_empty()) {
        let method = seen.method().map_or(Label::Response, Method::label);
        dispatch.note_text(seen.call_id(), About { method, fault: Some(bad.fault), arrival }, decision, now);
    }
}

/// The decision, unless it is a large answer to a small datagram.
fn unamplified(decision: Decision, message: &Message<'_>, arrival: &Arrival) -> Decision {
    let is_tiny = arrival.transport == Transport::Udp && message.bytes().len() < SMALLEST_ANSWERED;
    match decision.target {
        Target::Answer(_) | Target::Redirect(_) if is_tiny => {
            Decision { target: Target::Drop, reason: Reason::TooSmall }
        }
        _ => decision,
    }
}

impl Dispatch {
    fn judge_unparsable(&mut self, bad: &Unparsable<'_>, arrival: &Arrival, now: Time) -> Decision {
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
            fault => {
                let message = bad.message.as_ref().map(|message| (message, message.essentials()));
                let case =
                    message.as_ref().and_then(|(message, read)| Case::of(message, read, arrival, now, &self.printer));
                match fault.status().zip(case) {
                    Some((status, case)) => {
                        self.turn_away(&case).unwrap_or_else(|| self.answer_fault(&case, status, fault))
                    }
                    None => dropped(Reason::Unparsable),
                }
            }
        }
    }

    fn judge(&mut self, message: &Message<'_>, arrival: &Arrival, now: Time) -> Decision {
        if self.access.denies(arrival.source.ip()) {
            return Decision { target: Target::Drop, reason: Reason::Denied };
        }
        if !message.is_request() {
            return self.response(message, arrival, now);
        }
        let read = message.essentials();
        let Some(case) = Case::of(message, &read, arrival, now, &self.printer) else {
            return self.response(message, arrival, now);
        };
        self.table.expect(case.name, case.call);
        self.judge_request(&case)
    }

    fn judge_request(&mut self, case: &Case<'_>) -> Decision {
        // A BYE ends its call however late it is. The worker sees by CSeq which messages have been overtaken.
        if case.request.to_tag.is_none() && case.now.since(case.arrival.received) > LIFETIME {
            return Decision { target: Target::Drop, reason: Reason::TooOld };
        }
        match (case.request.method, case.request.to_tag) {
            (Method::Ack, _) => self.ack(case),
            (Method::Cancel, _) => self.cancel(case),
            (_, Some(to_tag)) => self.in_dialog(case, to_tag),
            (_, None) => self.initial(case),
        }
    }

    /// Whether this is a CANCEL whose request has not been seen: if several lanes read, the request may still come.
    pub fn is_early(&self, message: &Message<'_>, arrival: &Arrival) -> bool {
        if message.method() != Some(Method::Cancel) {
            return false;
        }
        let read = message.essentials();
        let case = Case::of(message, &read, arrival, arrival.received, &self.printer);
        case.is_some_and(|case| {
            case.request.to_tag.is_none()
                && self.transaction_of_cancel(&case).is_none()
                && self.contexts.of(case.name).is_none()
        })
    }

    /// Decides about a response: it belongs to the worker whose token stands in the branch of the topmost Via. Only
    /// that worker knows whether the request exists, so the number of responses that a source may have handed on is
    /// limited.
    fn response(&mut self, message: &Message<'_>, arrival: &Arrival, now: Time) -> Decision {
        let via = message.via();
        let branch = via.and_then(|via| via.branch());
        match branch.and_then(branch_token).and_then(|at| self.directory.token(at)) {
            Some(Named::Live(worker)) => self.follow_response(worker, arrival.source.ip(), Reason::Branch, now),
            Some(Named::Gone) => Decision { target: Target::Drop, reason: Reason::WorkerGone },
            None => {
                let unknown = Decision { target: Target::Drop, reason: Reason::UnknownResponse };
                let Some(via) = via else { return unknown };
                let of_probe = self.answer_to_probe(&via, arrival);
                of_probe.or_else(|| self.forward_response((message, &via), arrival, now)).unwrap_or(unknown)
            }
        }
    }

    /// Decides about an ACK. It is never answered (RFC 3261 §17.2.1, §13.2.2.4).
    fn ack(&mut self, case: &Case<'_>) -> Decision {
        let dropped = |reason| Decision { target: Target::Drop, reason };
        // Some clients draw their branches from so few numbers that the ACK to a 2xx has that of another call.
        let is_of_call = |id: &EntryId| self.table.get(*id).is_some_and(|entry| entry.call == case.call);
        let by_name = self.table.by_name(case.name).filter(is_of_call);
        // Only an INVITE has an ACK of its branch.
        if let Some(id) = by_name.filter(|id| self.table.get(*id).is_some_and(|entry| entry.is_invite)) {
            self.table.acknowledged(id, case.now);
        }
        if let Some(decision) = self.ack_of_context(case) {
            return decision;
        }
        if let Some(to_tag) = case.request.to_tag {
            // An ACK to a non-2xx has the INVITE's branch (§17.1.1.3), from which the dispatcher's own tag was made.
            if DispatcherTag::read(to_tag).is_some_and(|tag| tag == self.directory.keys().dispatcher_tag(case.name)) {
                return dropped(Reason::OwnAck);
            }
            match self.directory.token(to_tag) {
                Some(Named::Live(worker)) => return self.follow(worker, Reason::ToTag, case.now),
                Some(Named::Gone) => return dropped(Reason::WorkerGone),
                None => {}
            }
        }
        let by_name = by_name.and_then(|id| self.table.get(id)).copied();
        if by_name.is_none()
            && let Some(decision) = self.forward_routed(case)
        {
            return decision;
        }
        let entry = by_name.or_else(|| self.entry_of_call(case));
        if by_name.is_none()
            && let Some(decision) = self.forward_outbound_in_dialog(case, entry.as_ref())
        {
            return decision;
        }
        if let Some(entry) = entry {
            return match entry.state {
                State::AnsweredHere(_) => dropped(Reason::OwnAck),
                _ if self.is_alive(&entry) => self.follow_entry(case, &entry, Reason::Ack),
                _ => dropped(Reason::WorkerGone),
            };
        }
        match self.addressed(case) {
            Some((Named::Live(worker), reason)) => self.follow(worker, reason, case.now),
            Some((Named::Gone, _)) => dropped(Reason::WorkerGone),
            None => match self.unrecorded_target(case) {
                Some(target) => self.follow(target, Reason::FollowsUnrecorded, case.now),
                None => self
                    .forward_addressed(case)
                    .or_else(|| self.forward_forgotten(case))
                    .unwrap_or(dropped(Reason::UnknownAck)),
            },
        }
    }

    /// Decides about a CANCEL. It has the branch of the request that it cancels (RFC 3261 §9.1); if the client made a
    /// new branch, the INVITE is found by its call.
    fn cancel(&mut self, case: &Case<'_>) -> Decision {
        // That of a re-INVITE has its Route (§9.1).
        if case.request.to_tag.is_some()
            && let Some(decision) = self.forward_routed(case)
        {
            return decision;
        }
        if let Some(id) = self.transaction_of_cancel(case)
            && let Some(&entry) = self.table.get(id)
        {
            if matches!(entry.state, State::AnsweredHere(_)) {
                return self.answer(case, 200, Reason::CancelTooLate);
            }
            self.table.cancel(id);
            if let Some(group) = entry.group() {
                self.groups.withdraw(group, id);
            }
            return match entry.state {
                _ if self.is_alive(&entry) => self.follow_entry(case, &entry, Reason::Cancel),
                // Its INVITE comes back from the dead worker's link, is found cancelled and is answered 487.
                State::Pending { .. } => self.answer(case, 200, Reason::CancelAnswered),
                _ => self.answer(case, 481, Reason::WorkerGone),
            };
        }
        // A re-INVITE is cancelled inside its dialog.
        let by_tag = case.request.to_tag.and_then(|tag| self.directory.token(tag)).map(|named| (named, Reason::ToTag));
        match by_tag.or_else(|| self.addressed(case)) {
            Some((Named::Live(worker), reason)) => self.follow(worker, reason, case.now),
            Some((Named::Gone, _)) => self.answer(case, 481, Reason::WorkerGone),
            None => match self.unrecorded_target(case) {
                Some(target) => self.follow(target, Reason::FollowsUnrecorded, case.now),
                None => self
                    .follow_context(case, case.name, Reason::Cancel)
                    .or_else(|| self.forward_addressed(case))
                    .or_else(|| self.forward_forgotten(case))
                    .unwrap_or_else(|| self.answer_stranger(case, 481, Reason::UnknownCancel)),
            },
        }
    }

    /// Decides about a request inside a dialog (RFC 3261 §12.2.2).
    fn in_dialog(&mut self, case: &Case<'_>, to_tag: &[u8]) -> Decision {
        let by_tag = self.directory.token(to_tag).map(|named| (named, Reason::ToTag));
        match by_tag.or_else(|| self.addressed(case)) {
            Some((Named::Live(worker), reason)) => return self.follow(worker, reason, case.now),
            Some((Named::Gone, _)) => return self.answer(case, 481, Reason::WorkerGone),
            None => {}
        }
        if let Some(decision) = self.forward_routed(case) {
            return decision;
        }
        let entry = self.entry_of_call(case);
        if let Some(decision) = self.forward_outbound_in_dialog(case, entry.as_ref()) {
            return decision;
        }
        match entry {
            Some(entry) if matches!(entry.state, State::AnsweredHere(_)) => {
                self.answer_stranger(case, 481, Reason::UnknownDialog)
            }
            Some(entry) if self.is_alive(&entry) => {
                if let Some(id) = self.table.by_name(entry.name) {
                    self.table.renew(id, case.now);
                }
                self.follow_entry(case, &entry, Reason::InDialog)
            }
            Some(_) => self.answer(case, 481, Reason::WorkerGone),
            None => match self.unrecorded_target(case) {
                Some(target) => self.follow(target, Reason::FollowsUnrecorded, case.now),
                None => self
                    .forward_addressed(case)
                    .unwrap_or_else(|| self.answer_stranger(case, 481, Reason::UnknownDialog)),
            },
        }
    }

    /// Decides about a request outside a dialog, or its retransmission.
    fn initial(&mut self, case: &Case<'_>) -> Decision {
        if let Some(id) = self.table.by_name(case.name)
            && let Some(&entry) = self.table.get(id)
        {
            return self.retransmission(case, (id, &entry));
        }
        // A known token, nonce or call chooses the worker; the request still counts against its source's rate. Else a
        // source that has made one call could begin any number with them.
        if let Some(refusal) = self.turn_away(case) {
            return refusal;
        }
        if let Err(fault) = case.request.message.check_read(case.request.read) {
            return self.answer_fault(case, fault.status().unwrap_or(400), fault);
        }
        // A request for proxies may have any method (RFC 3261 §16.3).
        if let Some(decision) = self.forward_initial(case) {
            return decision;
        }
        match case.request.method {
            Method::Other(_) => return self.refuse_method(case, 501, Reason::UnknownMethod),
            Method::Bye | Method::Prack | Method::Update => {
                return self.answer(case, 481, Reason::UnknownDialog);
            }
            _ => {}
        }
        match self.echoed(case) {
            Echoed::Worker(worker, reason) => {
                let size = self.size(case);
                let placement = Placement { target: worker.into(), reason, size, follows: true, group: None };
                return self.place(case, placement);
            }
            Echoed::Gone(reason) => return self.answer(case, 481, reason),
            Echoed::NoWorker => {}
        }
        // One copy of a call may be gone with its worker while another lives. An answer of the dispatcher's own is for
        // its branch only, and a refusal that has been acknowledged is no ongoing transaction (RFC 3261 §8.2.2.2): the
        // next attempt of a proxy that hunts has another branch and the same CSeq, and is a new request.
        let tells = |entry: &Entry| match entry.state {
            State::AnsweredHere(_) => false,
            _ if entry.is_over() => entry.discriminator != case.discriminator && self.is_alive(entry),
            _ => self.is_alive(entry),
        };
        let known = self.table.of_call(case.call).map(|(_, entry)| *entry).find(tells);
        if let Some(entry) = known {
            let placement = self.place_known(case, &entry);
            return self.place(case, placement);
        }
        match case.request.method {
            Method::Invite => {}
            Method::Options => return self.options(case),
            method => match (method, self.rules.methods.rule(method).unwrap_or_default()) {
                (_, MethodRule::Select) => {}
                (Method::Register, MethodRule::Accept) => return self.registered(case),
                // INFO and NOTIFY belong to a dialog, and INFO stands in Allow: no 405 (RFC 3261 §21.4.6).
                (Method::Info | Method::Notify, _) => return self.answer(case, 481, Reason::UnknownDialog),
                _ => return self.refuse_method(case, 405, Reason::MethodRefused),
            },
        }
        self.begin(case)
    }

    pub(in crate::dispatch) fn transaction_of_cancel(&self, case: &Case<'_>) -> Option<EntryId> {
        self.table.by_name(case.name).or_else(|| self.table.invite_of(case.call, case.discriminator))
    }

    /// The entry that shows the worker of a call: its newest entry with a live worker, else its newest.
    fn entry_of_call(&self, case: &Case<'_>) -> Option<Entry> {
        let mut entries = self.table.of_call(case.call).map(|(_, entry)| entry);
        let newest = entries.next()?;
        let held = std::iter::once(newest).chain(entries).find(|entry| self.is_held(entry));
        Some(*held.unwrap_or(newest))
    }
}

/// The fingerprint of a conference's name, which compares in any case.
pub(in crate::dispatch) fn conference(name: &[u8], printer: &Printer) -> Fingerprint {
    printer.print_each(CONFERENCE, [Text::InAnyCase(name)])
}
