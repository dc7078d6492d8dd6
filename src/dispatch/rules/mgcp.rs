//! The rules for MGCP (RFC 3435), in their order: the worker that the command itself names, the worker that the table
//! knows, the worker of the call, and only then selection. A command for "all of" the endpoints goes to every worker.
//!
//! A call agent names an endpoint once it has been told its name, and the name holds the worker's token. So a worker is
//! selected for `$` in a CRCX, and every later command finds that worker without a table. A retransmission reaches the
//! worker that has had the command, for as long as one may come (T-HIST); an answer of the dispatcher's own is kept as
//! long.

mod acks;
pub mod chain;
mod everyone;
pub mod gathering;
mod meant;
mod merge;
mod returned;
pub mod size;

use std::net::SocketAddr;

use crate::dispatch::Dispatch;
use crate::dispatch::case::{self, Placement};
use crate::dispatch::decision::{Arrival, Decision, EntryId, Handoff, Protocol, Reason, Return, Target, Tried};
use crate::dispatch::history::About;
use crate::dispatch::returned::Returned;
use crate::dispatch::table::{Entry, State};
use crate::fingerprint::{Fingerprint, Printer};
use crate::ids::{TargetId, TransactionRange};
use crate::reservation::Weight;
use crate::time::Time;
use crate::transaction::LIFETIME;
use crate::transaction::name::mgcp::{Names, lowered};
use crate::wire::mgcp::{
    Command, EndpointName, Message, Response, ReturnCode, TransactionId, Unparsable, Verb, Wildcard,
};

pub(in crate::dispatch) use acks::Acks;
pub use acks::MOST_ACKS;
pub(in crate::dispatch) use gathering::Gatherings;
use meant::Meant;

/// A command.
#[derive(Clone, Copy, Debug)]
pub(in crate::dispatch) struct MgcpCommand<'a> {
    command: &'a Command<'a>,
    verb: Verb<'a>,
    transaction: TransactionId,
    call: Option<Fingerprint>,
    wildcard: Wildcard,
}

/// A command, in the terms of the decision.
pub(in crate::dispatch) type Case<'a> = case::Case<'a, MgcpCommand<'a>>;

impl MgcpCommand<'_> {
    /// Whether the gateway is to choose the endpoint. RFC 3435 §2.3.5 has no "all of" in a CRCX; a call agent that
    /// writes it means "any of".
    fn leaves_choice(&self) -> bool {
        self.verb == Verb::Crcx && self.wildcard != Wildcard::None
    }
}

impl<'a> Case<'a> {
    fn of(command: &'a Command<'a>, arrival: &'a Arrival, now: Time, printer: &Printer) -> Self {
        let Names { transaction: name, call } = Names::of(command, arrival.source.ip(), printer);
        let (verb, transaction) = (command.verb(), command.transaction());
        let request = MgcpCommand { command, verb, transaction, call, wildcard: command.endpoint().wildcard() };
        let discriminator = arrival.source.port().into();
        Case { request, name, call: call.unwrap_or(name), discriminator, arrival, now }
    }
}

impl case::Request for MgcpCommand<'_> {
    const PROTOCOL: Protocol = Protocol::Mgcp;
    const AT_MOST_ONCE: bool = true;
    const RESERVES: bool = false;

    /// T-HIST is as long as the life of any transaction but an INVITE's.
    fn is_invite(&self) -> bool {
        false
    }

    fn group(case: &Case<'_>, _: &Dispatch) -> Option<Fingerprint> {
        case.request.call
    }

    fn size(case: &Case<'_>, dispatch: &Dispatch) -> Option<Weight> {
        Some(dispatch.rules.size.size_of_connection(case.request.command, case.sender()))
    }

    /// RFC 3435 §2.4. 410: no endpoint exists. 403: this one needs more than is free now. 502: it will always need
    /// more. 409: trying later may help. 400: an error that may pass.
    fn code(why: Reason, has_open: bool) -> u16 {
        let code = match why {
            Reason::Poison => ReturnCode::TRANSIENT_ERROR,
            Reason::NoRoomForSize | Reason::RefusedByHolder => ReturnCode::RESOURCES_NOT_NOW,
            Reason::RefusedByAll if has_open => ReturnCode::RESOURCES_NOT_NOW,
            Reason::LargerThanAnyWorker => ReturnCode::INSUFFICIENT_RESOURCES,
            Reason::OverRate | Reason::OverShare | Reason::HolderBusy | Reason::TableFull | Reason::TooManyParts => {
                ReturnCode::OVERLOAD
            }
            _ => ReturnCode::NO_ENDPOINT,
        };
        code.0
    }

    fn answer(case: &Case<'_>, _: &Dispatch, code: u16, reason: Reason) -> Decision {
        returned(ReturnCode(code), case.request.transaction, reason)
    }

    fn without_place(case: &Case<'_>, dispatch: &mut Dispatch, _: Weight) -> Option<Decision> {
        // Another leg of a call that a worker has finds that worker without an entry.
        let group = case.request.call.and_then(|call| dispatch.groups.get(dispatch.groups.find(call)?));
        let is_opened = group.is_some_and(|group| group.opened.is_some());
        (!is_opened).then(|| dispatch.answer_why(case, Reason::TableFull))
    }

    fn after_death(case: &Case<'_>, dispatch: &mut Dispatch, (id, _): (EntryId, &Entry)) -> Option<Decision> {
        match dispatch.meant(case) {
            Meant::Gone(code) => Some(dispatch.conclude(case, id, code.0, Reason::WorkerGone)),
            // It has no endpoint yet: a connection that its worker may have made has died with the worker.
            _ if case.request.leaves_choice() => None,
            _ => Some(dispatch.answer(case, ReturnCode::ENDPOINT_UNKNOWN.0, Reason::WorkerGone)),
        }
    }

    fn gone(case: &Case<'_>, dispatch: &Dispatch) -> Option<(u16, Reason)> {
        match dispatch.meant(case) {
            Meant::Gone(code) => Some((code.0, Reason::OrphanInDialog)),
            Meant::Worker(..) | Meant::NoWorker => None,
        }
    }

    fn beside<'d>(_: &Case<'_>, _: &'d Dispatch, _: EntryId, _: Tried) -> Option<&'d Entry> {
        None
    }

    fn is_bound(case: &Case<'_>, dispatch: &Dispatch, _: (EntryId, &Entry), _: &Returned) -> bool {
        // A command that names its endpoint stays there.
        dispatch.meant(case) != Meant::NoWorker
    }

    fn follower_returned(case: &Case<'_>, dispatch: &mut Dispatch, back: &Returned) -> Decision {
        returned::decide(case, dispatch, back)
    }

    fn complete(_: &Case<'_>, _: &Dispatch, _: &mut Handoff) {}
}

/// Decides about a message that is not carried out: its datagram has more parts than can wait, or too many datagrams
/// wait.
pub(in crate::dispatch) fn decide_overflow(
    dispatch: &mut Dispatch,
    message: &Message<'_>,
    arrival: &Arrival,
    now: Time,
) -> Decision {
    match message {
        _ if dispatch.access.denies(arrival.source.ip()) => Decision { target: Target::Drop, reason: Reason::Denied },
        Message::Command(command) => {
            let case = dispatch.told_apart(Case::of(command, arrival, now, &dispatch.printer));
            match dispatch.entry_of(case.name) {
                Some((_, Entry { state: State::AnsweredHere(code), .. })) => {
                    dispatch.answer(&case, code, Reason::AnsweredBefore)
                }
                // An earlier copy has been carried out, or will be: only that copy is answered.
                Some(_) => Decision { target: Target::Drop, reason: Reason::TooManyParts },
                None => dispatch.answer_stranger(&case, ReturnCode::OVERLOAD.0, Reason::TooManyParts),
            }
        }
        Message::Response(_) => Decision { target: Target::Drop, reason: Reason::TooManyParts },
    }
}

/// Decides about bytes that cannot be read as a message.
pub(in crate::dispatch) fn decide_unparsable(
    dispatch: &mut Dispatch,
    bad: &Unparsable<'_>,
    arrival: &Arrival,
    now: Time,
) -> Decision {
    let dropped = |reason| Decision { target: Target::Drop, reason };
    let sender = arrival.source.ip();
    if dispatch.access.denies(sender) {
        return dropped(Reason::Denied);
    }
    match bad.answer() {
        Some((code, transaction)) => match dispatch.admit(sender, now) {
            Ok(()) => returned(code, transaction, Reason::Malformed),
            Err(Some(reason)) => dropped(reason),
            Err(None) => returned(ReturnCode::OVERLOAD, transaction, Reason::OverRate),
        },
        None => dropped(Reason::Unparsable),
    }
}

/// Decides about a message.
pub(in crate::dispatch) fn decide(
    dispatch: &mut Dispatch,
    message: &Message<'_>,
    arrival: &Arrival,
    now: Time,
) -> Decision {
    if dispatch.access.denies(arrival.source.ip()) {
        return Decision { target: Target::Drop, reason: Reason::Denied };
    }
    let command = match message {
        Message::Command(command) => command,
        Message::Response(response) => return dispatch.mgcp_response(response, arrival, now),
    };
    match foresee(dispatch, command, arrival, now) {
        Some(case) => decide_foreseen(dispatch, case),
        None => Decision { target: Target::Drop, reason: Reason::TooOld },
    }
}

/// Reads a command that is decided about soon, and asks the memory for what its decision reads. `None`: its source is
/// denied, or it has come too long ago.
pub(in crate::dispatch) fn foresee<'m>(
    dispatch: &Dispatch,
    command: &'m Command<'m>,
    arrival: &'m Arrival,
    now: Time,
) -> Option<Case<'m>> {
    if dispatch.access.denies(arrival.source.ip()) || now.since(arrival.received) > LIFETIME {
        return None;
    }
    let case = Case::of(command, arrival, now, &dispatch.printer);
    dispatch.table.expect(case.name, case.call);
    if let Some(call) = case.request.call {
        dispatch.groups.expect(call);
    }
    Some(case)
}

/// Decides about a command that [`foresee`] has read.
pub(in crate::dispatch) fn decide_foreseen(dispatch: &mut Dispatch, case: Case<'_>) -> Decision {
    let Case { arrival, now, .. } = case;
    let command = case.request.command;
    let case = dispatch.told_apart(case);
    let decision = match case.request.verb {
        Verb::Crcx => dispatch.create(&case),
        Verb::Mdcx | Verb::Dlcx | Verb::Rqnt | Verb::Epcf | Verb::Auep | Verb::Aucx => dispatch.named(&case),
        // RFC 3435 §2.3: a gateway sends these to its call agent, never the reverse.
        Verb::Ntfy | Verb::Rsip | Verb::Mesg => {
            return dispatch.answer_stranger(&case, ReturnCode::UNKNOWN_COMMAND.0, Reason::MethodRefused);
        }
        Verb::Other(_) => {
            return dispatch.answer_stranger(&case, ReturnCode::UNKNOWN_COMMAND.0, Reason::UnknownMethod);
        }
    };
    let worker = match decision.target {
        Target::Worker(handoff) => Some(handoff.worker),
        _ => None,
    };
    dispatch.acknowledge(command, arrival.source, worker, now);
    decision
}

/// Notes the decision about a command: by its call, else by its endpoint and by its transaction.
pub(in crate::dispatch) fn note(
    dispatch: &mut Dispatch,
    message: &Message<'_>,
    decision: &Decision,
    arrival: &Arrival,
    now: Time,
) {
    let Message::Command(command) = message else { return };
    let about = About { method: command.verb().label(), fault: None, arrival };
    if let Some(call) = command.call_id().filter(|id| !id.is_empty()) {
        return dispatch.note_text(lowered(call, &mut [0; 64]), about, decision, now);
    }
    let mut name = [0; 2 * EndpointName::MAX + 1];
    dispatch.note_text(lowered(command.endpoint().as_bytes(), &mut name), about, decision, now);
    let mut digits = [0; 10];
    dispatch.note_text(decimal(command.transaction().0, &mut digits), about, decision, now);
}

impl Dispatch {
    /// Decides about a CreateConnection, which begins something. It must be carried out at most once, so the table is
    /// asked first.
    fn create(&mut self, case: &Case<'_>) -> Decision {
        if let Some((id, entry)) = self.entry_of(case.name) {
            return self.retransmission(case, (id, &entry));
        }
        let meant = self.meant(case);
        // A token in the endpoint's name chooses the worker; the command still counts against its source's rate.
        if let Some(refusal) = self.turn_away(case) {
            return refusal;
        }
        match meant {
            Meant::Worker(worker, reason) => {
                let size = self.size(case);
                // A call stays with the worker that has opened it; an endpoint name of another worker does not move it.
                let is_elsewhere =
                    |id| self.groups.get(id).is_some_and(|group| group.target != worker && group.opened.is_some());
                let call = case.request.call.filter(|call| !self.groups.find(*call).is_some_and(is_elsewhere));
                let group = call.and_then(|call| self.groups.join(call, worker.into()));
                self.place(case, Placement { target: worker.into(), reason, size, follows: true, group })
            }
            Meant::Gone(code) => self.answer(case, code.0, Reason::WorkerGone),
            Meant::NoWorker if case.request.leaves_choice() => self.begin(case),
            Meant::NoWorker => match self.holder(case) {
                Some(target) => self.follow_first(case, target, Reason::Group),
                None => self.answer(case, ReturnCode::ENDPOINT_UNKNOWN.0, Reason::UnknownEndpoint),
            },
        }
    }

    /// Decides about any other command: it goes to the worker of its endpoint.
    fn named(&mut self, case: &Case<'_>) -> Decision {
        match (self.meant(case), self.entry_of(case.name)) {
            (_, Some((_, Entry { state: State::AnsweredHere(code), .. }))) => {
                return self.answer(case, code, Reason::AnsweredBefore);
            }
            (Meant::Worker(worker, reason), None) => return self.follow_first(case, worker, reason),
            (Meant::Worker(worker, reason), Some(_)) => return self.follow(worker, reason, case.now),
            (Meant::Gone(code), _) => return self.answer(case, code.0, Reason::WorkerGone),
            (Meant::NoWorker, Some((id, entry))) => return self.retransmission(case, (id, &entry)),
            (Meant::NoWorker, None) => {}
        }
        if case.request.wildcard == Wildcard::AllOf && goes_to_all(case.request.verb) {
            return self.everyone(case);
        }
        if let Some(target) = self.holder(case) {
            return self.follow_first(case, target, Reason::Group);
        }
        self.answer_stranger(case, ReturnCode::ENDPOINT_UNKNOWN.0, Reason::UnknownEndpoint)
    }

    /// Hands over a command that the table does not know to the only target that may have it.
    fn follow_first(&mut self, case: &Case<'_>, target: impl Into<TargetId>, reason: Reason) -> Decision {
        let target = target.into();
        let decision = self.follow(target, reason, case.now);
        match decision.target {
            Target::Worker(_) => self.remember(case, target),
            // If the table remembers commands, this is the first copy. Else an earlier copy may have been carried out,
            // and an answer now would be a second one to it.
            _ if self.remembers() => return self.refuse(case, Reason::HolderBusy),
            _ => {}
        }
        decision
    }

    /// Remembers the target of a command that names its target, for the acknowledgement that may follow. Other
    /// transactions' places are not taken for it.
    fn remember(&mut self, case: &Case<'_>, target: TargetId) {
        if !self.remembers() {
            return;
        }
        let life = self.pool.get(target).map_or(0, |slot| slot.life);
        let new = case.entry(self, (target, life), State::ANSWERED);
        // Less than half of the table is in use.
        let _ = self.table.insert(new, case.now);
    }

    /// Whether the table has room for entries that it can do without.
    fn remembers(&self) -> bool {
        self.table.len() < self.table.cap() / 2
    }

    /// The table's entry for the transaction of this name.
    fn entry_of(&self, name: Fingerprint) -> Option<(EntryId, Entry)> {
        let id = self.table.by_name(name)?;
        Some((id, *self.table.get(id)?))
    }

    /// Decides about a response: an acknowledgement of a worker's response, or the response to a worker's own command.
    /// The dispatcher never answers it.
    fn mgcp_response(&mut self, response: &Response<'_>, arrival: &Arrival, now: Time) -> Decision {
        let dropped = |reason| Decision { target: Target::Drop, reason };
        let transaction = response.transaction();
        if response.code().is_ack() {
            return match self.known(arrival.source, transaction, now) {
                Some((_, Entry { state: State::AnsweredHere(_), .. })) => dropped(Reason::OwnAck),
                Some((_, entry)) if self.is_alive(&entry) => self.follow(entry.target, Reason::Ack, now),
                Some(_) => dropped(Reason::WorkerGone),
                None if self.lanes > 1 => {
                    self.acknowledge_elsewhere(transaction);
                    dropped(Reason::AckElsewhere)
                }
                None => dropped(Reason::UnknownAck),
            };
        }
        let named =
            TransactionRange::worker_of(transaction.0).and_then(|worker| Some((worker, self.pool.get(worker)?)));
        match named {
            Some((worker, slot)) if slot.is_alive() && slot.services.mgcp => {
                self.follow_response(worker, arrival.source.ip(), Reason::TransactionRange, now)
            }
            Some((_, slot)) if !slot.is_alive() => dropped(Reason::WorkerGone),
            _ => dropped(Reason::UnknownResponse),
        }
    }

    /// The case of a command; `None` for a response.
    pub(in crate::dispatch) fn command_in<'a>(
        &mut self,
        message: &'a Message<'a>,
        arrival: &'a Arrival,
        now: Time,
    ) -> Option<Case<'a>> {
        match message {
            Message::Command(command) => Some(self.told_apart(Case::of(command, arrival, now, &self.printer))),
            Message::Response(_) => None,
        }
    }

    /// Several call agents at one address may use the same transaction ids. A command from another port and of another
    /// call is another agent's transaction, and is entered under a name of its own. A retransmission from another port
    /// is of the same call.
    fn told_apart<'a>(&mut self, case: Case<'a>) -> Case<'a> {
        let is_its =
            |entry: &Entry| is_of_port(entry, case.arrival.source.port()) || case.request.call == Some(entry.call);
        let shared = self.table.by_name(case.name).and_then(|id| self.table.get(id)).map(is_its);
        if shared == Some(true) || shared.is_none() && case.now >= self.apart_until {
            return case;
        }
        let name = Names::beside(case.arrival.source, case.request.transaction, &self.printer);
        if shared.is_none() && self.table.by_name(name).is_none() {
            return case;
        }
        // The entry with the shared name may be forgotten before this one.
        self.apart_until = case.now + 2 * LIFETIME;
        // A command without a call is called by its transaction.
        let call = case.request.call.unwrap_or(name);
        Case { name, call, ..case }
    }

    /// The entry for transaction `id` of this source.
    fn known(&self, source: SocketAddr, id: TransactionId, now: Time) -> Option<(EntryId, Entry)> {
        let shared = self.entry_of(Names::transaction(source.ip(), id, &self.printer));
        if now >= self.apart_until || shared.is_some_and(|(_, entry)| is_of_port(&entry, source.port())) {
            return shared;
        }
        self.entry_of(Names::beside(source, id, &self.printer)).or(shared)
    }

    /// The target that has the call, or is to have it.
    fn holder(&self, case: &Case<'_>) -> Option<TargetId> {
        Some(self.groups.get(self.groups.find(case.request.call?)?)?.target)
    }
}

/// Whether an entry's command came from this port, as far as it is known.
const fn is_of_port(entry: &Entry, port: u16) -> bool {
    entry.discriminator == 0 || entry.discriminator == port as u32
}

/// Whether this verb may mean "all of" the endpoints: RFC 3435 §2.3.1, §2.3.3, §2.3.8, §2.3.10. Other commands name one
/// endpoint.
const fn goes_to_all(verb: Verb<'_>) -> bool {
    matches!(verb, Verb::Epcf | Verb::Rqnt | Verb::Dlcx | Verb::Auep)
}

/// An answer of the dispatcher's own.
const fn returned(code: ReturnCode, transaction: TransactionId, reason: Reason) -> Decision {
    Decision { target: Target::Return(Return { code, transaction }), reason }
}

/// A number in decimal digits.
fn decimal(mut number: u32, digits: &mut [u8; 10]) -> &[u8] {
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            return &digits[at..];
        }
    }
}
