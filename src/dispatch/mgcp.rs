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
mod names;
mod placing;
mod refusing;
mod returned;
pub mod size;

use std::net::{IpAddr, SocketAddr};

use super::Dispatch;
use super::decision::{Arrival, Decision, EntryId, Reason, Return, Returned, Search, Target};
use super::fingerprint::{Fingerprint, Printer};
use super::group::Group;
use super::placing::Placement;
use super::table::{Entry, State};
use crate::ids::{TransactionRange, WorkerId};
use crate::time::Time;
use crate::transaction::LIFETIME;
use crate::wire::mgcp::{
    Command, EndpointName, Message, Response, ReturnCode, TransactionId, Unparsable, Verb, Wildcard,
};

pub(super) use acks::Acks;
pub use acks::MOST_ACKS;
pub(super) use gathering::Gatherings;
use meant::Meant;
pub use names::{CALL, Names};
pub(super) use names::{call, lowered};

/// The fields of a command that the rules read.
#[derive(Clone, Copy, Debug)]
struct Summary<'a> {
    verb: Verb<'a>,
    transaction: TransactionId,
    name: Fingerprint,
    call: Option<Fingerprint>,
    sender: IpAddr,
    port: u16,
    wildcard: Wildcard,
}

impl Summary<'_> {
    /// Whether the gateway is to choose the endpoint. RFC 3435 §2.3.5 has no "all of" in a CRCX; a call agent that
    /// writes it means "any of".
    fn leaves_choice(&self) -> bool {
        self.verb == Verb::Crcx && self.wildcard != Wildcard::None
    }
}

impl Dispatch {
    /// Decides about an MGCP message from a well-known socket.
    pub fn on_mgcp(&mut self, message: &Message<'_>, arrival: &Arrival, now: Time) -> Decision {
        let decision = self.decide_mgcp(message, arrival, now);
        self.counters.on_decision(&decision);
        self.note_mgcp(message, &decision, now);
        decision
    }

    /// Decides about bytes from a well-known MGCP socket that cannot be read as a message.
    pub fn on_mgcp_unparsable(&mut self, bad: &Unparsable<'_>, arrival: &Arrival, now: Time) -> Decision {
        let decision = self.decide_mgcp_unparsable(bad, arrival, now);
        self.counters.on_decision(&decision);
        decision
    }

    /// Decides about an MGCP message, readable or not, to the port of a slot that has no worker. The decision is the
    /// same as at a well-known socket, and counted apart.
    pub fn on_mgcp_vacant(
        &mut self,
        message: Result<&Message<'_>, &Unparsable<'_>>,
        arrival: &Arrival,
        now: Time,
    ) -> Decision {
        let decision = match message {
            Ok(message) => self.decide_mgcp(message, arrival, now),
            Err(bad) => self.decide_mgcp_unparsable(bad, arrival, now),
        };
        self.counters.on_vacant(&decision);
        message.iter().for_each(|message| self.note_mgcp(message, &decision, now));
        decision
    }

    /// Decides about an MGCP message that a worker refused or died with. After a death, [`Dispatch::on_worker_lost`]
    /// comes first.
    pub fn on_mgcp_returned(
        &mut self,
        message: &Message<'_>,
        arrival: &Arrival,
        back: &Returned,
        now: Time,
    ) -> Decision {
        let decision = self.decide_mgcp_returned(message, arrival, back, now);
        self.counters.on_returned(&decision);
        self.note_mgcp(message, &decision, now);
        decision
    }

    /// Decides about a message that is not carried out: its datagram has more parts than can wait, or too many
    /// datagrams wait.
    pub fn on_mgcp_overflow(&mut self, message: &Message<'_>, arrival: &Arrival, now: Time) -> Decision {
        let decision = match message {
            _ if self.access.denies(arrival.source.ip()) => Decision { target: Target::Drop, reason: Reason::Denied },
            Message::Command(command) => {
                let summary = self.told_apart(Summary::of(command, arrival, &self.printer), arrival, now);
                match self.entry_of(summary.name) {
                    Some((_, Entry { state: State::Verdict(code), .. })) => {
                        returned(ReturnCode(code), summary.transaction, Reason::AnsweredBefore)
                    }
                    // An earlier copy has been carried out, or will be: only that copy is answered.
                    Some(_) => Decision { target: Target::Drop, reason: Reason::TooManyParts },
                    None => self.return_stranger(&summary, ReturnCode::OVERLOAD, Reason::TooManyParts, now),
                }
            }
            Message::Response(_) => Decision { target: Target::Drop, reason: Reason::TooManyParts },
        };
        self.counters.on_decision(&decision);
        self.note_mgcp(message, &decision, now);
        decision
    }

    fn decide_mgcp_unparsable(&mut self, bad: &Unparsable<'_>, arrival: &Arrival, now: Time) -> Decision {
        let dropped = |reason| Decision { target: Target::Drop, reason };
        let sender = arrival.source.ip();
        if self.access.denies(sender) {
            return dropped(Reason::Denied);
        }
        match bad.answer() {
            Some((code, transaction)) => {
                let refusal = self.turn_away_mgcp(sender, transaction, now);
                refusal.unwrap_or_else(|| returned(code, transaction, Reason::Malformed))
            }
            None => dropped(Reason::Unparsable),
        }
    }

    fn decide_mgcp(&mut self, message: &Message<'_>, arrival: &Arrival, now: Time) -> Decision {
        if self.access.denies(arrival.source.ip()) {
            return Decision { target: Target::Drop, reason: Reason::Denied };
        }
        let command = match message {
            Message::Command(command) => command,
            Message::Response(response) => return self.mgcp_response(response, arrival, now),
        };
        if now.since(arrival.received) > LIFETIME {
            return Decision { target: Target::Drop, reason: Reason::TooOld };
        }
        let summary = Summary::of(command, arrival, &self.printer);
        self.table.touch(summary.name, summary.call.unwrap_or(summary.name));
        let summary = self.told_apart(summary, arrival, now);
        let decision = match summary.verb {
            Verb::Crcx => self.create(command, &summary, arrival, now),
            Verb::Mdcx | Verb::Dlcx | Verb::Rqnt | Verb::Epcf | Verb::Auep | Verb::Aucx => {
                self.named(command, &summary, arrival, now)
            }
            // RFC 3435 §2.3: a gateway sends these to its call agent, never the reverse.
            Verb::Ntfy | Verb::Rsip | Verb::Mesg => {
                return self.return_stranger(&summary, ReturnCode::UNKNOWN_COMMAND, Reason::MethodRefused, now);
            }
            Verb::Other(_) => {
                return self.return_stranger(&summary, ReturnCode::UNKNOWN_COMMAND, Reason::UnknownMethod, now);
            }
        };
        let worker = match decision.target {
            Target::Worker(handoff) => Some(handoff.worker),
            _ => None,
        };
        self.acknowledge(command, arrival.source, worker, now);
        decision
    }

    /// Decides about a CreateConnection, which begins something. It must be carried out at most once, so the table is
    /// asked first.
    fn create(&mut self, command: &Command<'_>, summary: &Summary<'_>, arrival: &Arrival, now: Time) -> Decision {
        let meant = self.meant(command, summary, arrival);
        if let Some((id, entry)) = self.entry_of(summary.name) {
            return self.retransmitted(command, summary, (id, &entry), &meant, now);
        }
        // A token in the endpoint's name chooses the worker; the command still counts against its source's rate.
        if let Some(refusal) = self.turn_away_mgcp(summary.sender, summary.transaction, now) {
            return refusal;
        }
        match meant {
            Meant::Worker(worker, reason) => {
                let size = self.mgcp_size(command, summary);
                // A call stays with the worker that has opened it; an endpoint name of another worker does not move it.
                let is_elsewhere =
                    |id| self.groups.get(id).is_some_and(|group| group.worker != worker && group.opened.is_some());
                let call = summary.call.filter(|call| !self.groups.find(*call).is_some_and(is_elsewhere));
                let group = call.and_then(|call| self.groups.join(call, worker));
                let placement = Placement { worker, reason, size, follows: true, group };
                self.place_mgcp(summary, placement, now)
            }
            Meant::Gone(code) => returned(code, summary.transaction, Reason::WorkerGone),
            Meant::Nobody => {
                if summary.leaves_choice() {
                    return self.begin_mgcp(command, summary, now);
                }
                match self.holder(summary) {
                    Some(worker) => self.follow_first(summary, worker, Reason::Group, now),
                    None => returned(ReturnCode::ENDPOINT_UNKNOWN, summary.transaction, Reason::UnknownEndpoint),
                }
            }
        }
    }

    /// Decides about any other command: it goes to the worker of its endpoint.
    fn named(&mut self, command: &Command<'_>, summary: &Summary<'_>, arrival: &Arrival, now: Time) -> Decision {
        let meant = self.meant(command, summary, arrival);
        match (meant, self.entry_of(summary.name)) {
            (_, Some((_, Entry { state: State::Verdict(code), .. }))) => {
                return returned(ReturnCode(code), summary.transaction, Reason::AnsweredBefore);
            }
            (Meant::Worker(worker, reason), None) => return self.follow_first(summary, worker, reason, now),
            (Meant::Worker(worker, reason), Some(_)) => return self.follow(worker, reason, now),
            (Meant::Gone(code), _) => return returned(code, summary.transaction, Reason::WorkerGone),
            (Meant::Nobody, Some((id, entry))) => {
                return self.retransmitted(command, summary, (id, &entry), &meant, now);
            }
            (Meant::Nobody, None) => {}
        }
        if summary.wildcard == Wildcard::AllOf && goes_to_all(summary.verb) {
            return self.everyone(command, summary, arrival, now);
        }
        if let Some(worker) = self.holder(summary) {
            return self.follow_first(summary, worker, Reason::Group, now);
        }
        self.return_stranger(summary, ReturnCode::ENDPOINT_UNKNOWN, Reason::UnknownEndpoint, now)
    }

    /// The table's entry for the transaction of this name.
    fn entry_of(&self, name: Fingerprint) -> Option<(EntryId, Entry)> {
        let id = self.table.by_branch(name)?;
        Some((id, *self.table.get(id)?))
    }

    /// Decides about a command whose transaction the table knows.
    fn retransmitted(
        &mut self,
        command: &Command<'_>,
        summary: &Summary<'_>,
        (id, entry): (EntryId, &Entry),
        meant: &Meant,
        now: Time,
    ) -> Decision {
        if let State::Verdict(code) = entry.state {
            return returned(ReturnCode(code), summary.transaction, Reason::AnsweredBefore);
        }
        if self.is_alive(entry) {
            return self.follow(entry.worker, Reason::Retransmission, now);
        }
        match meant {
            Meant::Gone(code) => self.mgcp_verdict(summary, id, *code, Reason::WorkerGone, now),
            // It has no endpoint yet: a connection that its worker may have made has died with the worker.
            _ if summary.leaves_choice() => {
                let deaths = entry.deaths + u8::from(entry.is_pending());
                let size = self.mgcp_size(command, summary);
                let search = Search::after_deaths(deaths, now);
                self.move_mgcp(command, summary, (id, size), search, Reason::SelectedAnew, now)
            }
            _ => returned(ReturnCode::ENDPOINT_UNKNOWN, summary.transaction, Reason::WorkerGone),
        }
    }

    /// Decides about a response: an acknowledgement of a worker's response, or the response to a worker's own command.
    /// The dispatcher never answers it.
    fn mgcp_response(&mut self, response: &Response<'_>, arrival: &Arrival, now: Time) -> Decision {
        let dropped = |reason| Decision { target: Target::Drop, reason };
        let transaction = response.transaction();
        if response.code().is_ack() {
            return match self.known(arrival.source, transaction, now) {
                Some((_, Entry { state: State::Verdict(_), .. })) => dropped(Reason::OwnAck),
                Some((_, entry)) if self.is_alive(&entry) => self.follow(entry.worker, Reason::Ack, now),
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

    /// Several call agents at one address may use the same transaction ids. A command from another port and of another
    /// call is another agent's transaction, and is entered under a name of its own. A retransmission from another port
    /// is of the same call.
    fn told_apart<'a>(&mut self, summary: Summary<'a>, arrival: &Arrival, now: Time) -> Summary<'a> {
        let is_its = |entry: &Entry| is_of_port(entry, summary.port) || summary.call == Some(entry.call);
        let shared = self.table.by_branch(summary.name).and_then(|id| self.table.get(id)).map(is_its);
        if shared == Some(true) || shared.is_none() && now >= self.apart_until {
            return summary;
        }
        let name = Names::beside(arrival.source, summary.transaction, &self.printer);
        if shared.is_none() && self.table.by_branch(name).is_none() {
            return summary;
        }
        // The entry with the shared name may be forgotten before this one.
        self.apart_until = now + 2 * LIFETIME;
        Summary { name, ..summary }
    }

    /// The entry for transaction `id` of this source.
    fn known(&self, source: SocketAddr, id: TransactionId, now: Time) -> Option<(EntryId, Entry)> {
        let shared = self.entry_of(Names::transaction(source.ip(), id, &self.printer));
        if now >= self.apart_until || shared.is_some_and(|(_, entry)| is_of_port(&entry, source.port())) {
            return shared;
        }
        self.entry_of(Names::beside(source, id, &self.printer)).or(shared)
    }

    /// The worker that has the call, or is to have it.
    fn holder(&self, summary: &Summary<'_>) -> Option<WorkerId> {
        Some(self.groups.get(self.groups.find(summary.call?)?)?.worker)
    }

    /// The call, if a worker has reported that it has it.
    fn opened_by(&self, summary: &Summary<'_>) -> Option<&Group> {
        self.groups.get(self.groups.find(summary.call?)?).filter(|group| group.opened.is_some())
    }

    fn note_mgcp(&mut self, message: &Message<'_>, decision: &Decision, now: Time) {
        let Message::Command(command) = message else { return };
        let verb = command.verb().label();
        if let Some(call) = command.call_id().filter(|id| !id.is_empty()) {
            return self.note_text(lowered(call, &mut [0; 64]), verb, None, decision, now);
        }
        let mut name = [0; 2 * EndpointName::MAX + 1];
        self.note_text(lowered(command.endpoint().as_bytes(), &mut name), verb, None, decision, now);
        let mut digits = [0; 10];
        self.note_text(decimal(command.transaction().0, &mut digits), verb, None, decision, now);
    }
}

impl<'a> Summary<'a> {
    fn of(command: &Command<'a>, arrival: &Arrival, printer: &Printer) -> Self {
        let sender = arrival.source.ip();
        let Names { transaction: name, call } = Names::of(command, sender, printer);
        Summary {
            verb: command.verb(),
            transaction: command.transaction(),
            name,
            call,
            sender,
            port: arrival.source.port(),
            wildcard: command.endpoint().wildcard(),
        }
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
