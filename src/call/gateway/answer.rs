//! Answers: their writing, the way on which they leave, and the memory of them (RFC 3435 §3.5).

use std::sync::Arc;

use crate::call::exchange::{Arrival, Egress, Hop, Path, Transmit, Way};
use crate::call::gateway::events::Sender;
use crate::call::gateway::exchange::Output;
use crate::call::gateway::identity::Naming;
use crate::call::gateway::{Gateway, Timer};
use crate::call::seqs::Seqs;
use crate::time::Time;
use crate::transaction::mgcp_server::{Copied, Due, Transaction};
use crate::transaction::name::mgcp::TransactionKey;
use crate::wire::mgcp::{Field, ResponseWriter, ReturnCode, TransactionId, separator};
use crate::words::RefuseReason;

/// A command that is carried out, or was, as far as its answer needs it.
#[derive(Debug)]
pub(super) struct Work {
    way: Way,
    /// Its handed-over copies, until its final answer has left.
    seqs: Seqs,
    /// Whether it may go back to the dispatcher instead of being answered.
    may_go_back: bool,
    /// When the wheel looks at it next.
    armed: Time,
}

impl Work {
    /// The dispatcher is gone: the command cannot go back to it.
    pub(super) fn stay(&mut self) {
        self.may_go_back = false;
    }
}

/// The answer to a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Answer {
    code: ReturnCode,
    params: Vec<(&'static str, Vec<u8>)>,
    descriptions: Vec<Vec<u8>>,
    /// Messages that have to arrive before it: they leave in the same datagram, in front (RFC 3435 §4.4.1).
    before: Vec<Arc<[u8]>>,
}

/// The reason for which a command is not carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Denial {
    pub(super) code: ReturnCode,
    /// The reason for giving it back to the dispatcher, where that is allowed.
    pub(super) back: Option<RefuseReason>,
}

impl From<ReturnCode> for Denial {
    fn from(code: ReturnCode) -> Self {
        Denial { code, back: None }
    }
}

impl Denial {
    /// A denial for lack of room: another worker may have some.
    pub(super) const fn back(code: ReturnCode, reason: RefuseReason) -> Self {
        Denial { code, back: Some(reason) }
    }
}

impl Answer {
    pub(super) const fn new(code: ReturnCode) -> Self {
        Answer { code, params: Vec::new(), descriptions: Vec::new(), before: Vec::new() }
    }

    pub(super) fn param(self, field: Field, value: impl Into<Vec<u8>>) -> Self {
        self.named(field.name(), value)
    }

    pub(super) fn named(mut self, name: &'static str, value: impl Into<Vec<u8>>) -> Self {
        self.params.push((name, value.into()));
        self
    }

    pub(super) fn description(mut self, text: impl Into<Vec<u8>>) -> Self {
        self.descriptions.push(text.into());
        self
    }

    /// The same, with messages that have to arrive before it.
    pub(super) fn after(mut self, messages: Vec<Arc<[u8]>>) -> Self {
        self.before = messages;
        self
    }

    /// The message; 533 in its place if it is longer than `longest` bytes.
    fn write(&self, id: TransactionId, asks_for_ack: bool, longest: usize) -> Arc<[u8]> {
        let mut out = Vec::with_capacity(256);
        let mut writer = ResponseWriter::new(&mut out, self.code, id);
        if asks_for_ack {
            writer = writer.param(Field::ResponseAck, b"");
        }
        for (name, value) in &self.params {
            writer = writer.extension(name, value);
        }
        for description in &self.descriptions {
            writer = writer.session(description);
        }
        writer.finish();
        if out.len() > longest && self.code != ReturnCode::RESPONSE_TOO_LARGE {
            return Answer::new(ReturnCode::RESPONSE_TOO_LARGE).write(id, asks_for_ack, longest);
        }
        out.into()
    }
}

impl Gateway {
    /// The final answer to a command that was carried out.
    pub(super) fn answer(&mut self, key: TransactionKey, answer: &Answer, now: Time) {
        let said_100 = self.transactions.get(key).and_then(Transaction::said_100);
        let Some(asks_for_ack) = said_100 else { return };
        let bytes = answer.write(key.id(), asks_for_ack, self.limits.answer);
        let Some(work) = self.transactions.answer(key, bytes.clone(), now) else { return };
        let sent = match answer.before.is_empty() {
            true => bytes,
            false => one_datagram(&answer.before, &bytes, self.limits.answer),
        };
        self.outputs.push_back(transmit(&work.way, &sent));
        self.outputs.extend(work.seqs.drain().map(Output::Answered));
        self.arm(key);
    }

    /// Answers a command that changes nothing. If room is scarce, this answer is not remembered: a command that was
    /// carried out needs the place more, and this one can be asked again.
    pub(super) fn tell(&mut self, key: TransactionKey, answer: &Answer, now: Time) {
        if !self.transactions.is_crowded() {
            return self.answer(key, answer, now);
        }
        let Some(mut work) = self.transactions.withdraw(key) else { return };
        let bytes = answer.write(key.id(), false, self.limits.answer);
        self.outputs.push_back(transmit(&work.way, &bytes));
        self.outputs.extend(work.seqs.drain().map(Output::Answered));
    }

    /// A command is not carried out: it goes back to the dispatcher if it may, else it is answered.
    pub(super) fn deny(&mut self, key: TransactionKey, denial: Denial, now: Time) {
        let may_go_back =
            |transaction: &Transaction<Work>| transaction.work().may_go_back && transaction.said_100() == Some(false);
        let goes_back = self.transactions.get(key).is_some_and(may_go_back);
        if let Some(reason) = denial.back.filter(|_| goes_back) {
            self.refused.insert(key.print(&self.printer), now);
            let Some(mut work) = self.transactions.withdraw(key) else { return };
            self.outputs.extend(work.seqs.drain().map(|seq| Output::Refuse(seq, reason)));
            return;
        }
        self.tell(key, &Answer::new(denial.code), now);
    }

    /// A command that is to be carried out.
    pub(super) fn work(&self, arrival: &Arrival, may_go_back: bool) -> Work {
        Work { way: self.way(arrival), seqs: Seqs::new(arrival.seq()), may_go_back, armed: Time::NEVER }
    }

    /// A copy of a known command has come.
    pub(super) fn on_repeated(&mut self, key: TransactionKey, arrival: &Arrival) {
        let way = self.way(arrival);
        let seq = arrival.seq();
        match self.transactions.on_copy(key) {
            Some(Copied::Answered(bytes)) => {
                self.outputs.push_back(transmit(&way, &bytes));
                self.outputs.extend(seq.map(Output::Answered));
            }
            // RFC 3435 §3.5.1: the call agent has confirmed the answer and does not wait for it.
            Some(Copied::Confirmed) => self.outputs.extend(seq.map(Output::Answered)),
            Some(Copied::Underway(work)) => {
                let too_many = seq.and_then(|seq| work.seqs.add(seq));
                self.outputs.extend(too_many.map(Output::Answered));
                self.say_100(key);
            }
            None => {}
        }
    }

    /// Tells the call agent that a command takes time (RFC 3435 §3.5.6). From then on its final answer has to be
    /// confirmed.
    fn say_100(&mut self, key: TransactionKey) {
        self.transactions.say_100(key);
        let Some(transaction) = self.transactions.get(key) else { return };
        let bytes = Answer::new(ReturnCode::EXECUTING).write(key.id(), false, self.limits.answer);
        self.outputs.push_back(transmit(&transaction.work().way, &bytes));
    }

    /// Answers without remembering: the answer is the same whenever it is asked for.
    pub(super) fn answer_once(&mut self, code: ReturnCode, id: TransactionId, arrival: &Arrival) {
        let bytes = Answer::new(code).write(id, false, self.limits.answer);
        self.outputs.push_back(transmit(&self.way(arrival), &bytes));
        self.dealt_with(arrival);
    }

    /// A message needs no answer, or already has it.
    pub(super) fn dealt_with(&mut self, arrival: &Arrival) {
        self.outputs.extend(arrival.seq().map(Output::Answered));
    }

    pub(super) fn on_transaction_timer(&mut self, key: TransactionKey, now: Time) {
        let Some(transaction) = self.transactions.get_mut(key) else { return };
        let work = transaction.work_mut();
        if now < work.armed {
            return;
        }
        work.armed = Time::NEVER;
        let way = work.way;
        match self.transactions.on_due(key, now) {
            Due::Nothing => {}
            Due::Provisional => self.say_100(key),
            Due::Again(bytes) => self.outputs.push_back(transmit(&way, &bytes)),
        }
        self.arm(key);
    }

    /// Files a transaction with the wheel, unless the wheel looks at it early enough anyway.
    pub(super) fn arm(&mut self, key: TransactionKey) {
        let Some(transaction) = self.transactions.get_mut(key) else { return };
        let due = transaction.poll_timeout();
        let work = transaction.work_mut();
        if due < work.armed {
            work.armed = due;
            self.wheel.schedule(due, Timer::Transaction(key));
        }
    }

    /// The sender of a message, and the way on which our commands reach it. They leave from the address at which call
    /// agents know the endpoints: the well-known one for relay naming only, else the worker's own.
    pub(super) fn sender(&self, arrival: &Arrival) -> Sender {
        let local = arrival.local.ip();
        let relays =
            |listener: u16| matches!(self.identity.naming.get(usize::from(listener)), None | Some(Naming::Relay));
        let hop = match arrival.path {
            Path::Handoff { listener, .. } if relays(listener.0) && self.has_duplicate(listener.0) => {
                Hop::Listener(listener.0)
            }
            Path::Handoff { .. } | Path::Stream(_) => Hop::Own(self.identity.own_socket(local)),
            Path::Own(socket) => Hop::Own(socket),
        };
        Sender { source: arrival.source, way: Egress { hop, from: Some(local) } }
    }

    fn has_duplicate(&self, listener: u16) -> bool {
        self.identity.duplicates.get(usize::from(listener)) == Some(&true)
    }

    /// The way of an answer: from the address and port that the command was sent to (RFC 3435 §3.5), if this worker has
    /// that socket.
    fn way(&self, arrival: &Arrival) -> Way {
        let local = arrival.local.ip();
        let hop = match arrival.path {
            Path::Handoff { reply_to, .. } if reply_to.is_through_dispatcher() => Hop::Dispatcher(reply_to),
            Path::Handoff { listener, .. } if self.has_duplicate(listener.0) => Hop::Listener(listener.0),
            Path::Handoff { .. } => Hop::Own(self.identity.own_socket(local)),
            Path::Own(socket) => Hop::Own(socket),
            Path::Stream(conn) => Hop::Stream(conn),
        };
        let Arrival { transport, source, .. } = *arrival;
        Way { hop, transport, source, to: source, from: Some(local) }
    }
}

/// One datagram of several messages. Messages of `before` that would make it longer than `most` bytes are left out:
/// they travel alone, because they are repeated until they are answered anyway.
fn one_datagram(before: &[Arc<[u8]>], last: &[u8], most: usize) -> Arc<[u8]> {
    let mut datagram = Vec::with_capacity(1_024);
    for message in before {
        if datagram.len() + message.len() + last.len() > most {
            break;
        }
        datagram.extend_from_slice(message);
        separator(&mut datagram);
    }
    datagram.extend_from_slice(last);
    datagram.into()
}

fn transmit(way: &Way, bytes: &Arc<[u8]>) -> Output {
    Output::Transmit(Transmit { hop: way.hop, to: way.to, peer: None, from: way.from, bytes: bytes.clone() })
}
