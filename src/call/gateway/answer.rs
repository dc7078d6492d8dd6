//! Answers: their writing, the way on which they leave, and the memory of them (RFC 3435 §3.5).

use std::sync::Arc;

use crate::call::exchange::{Arrival, Hop, Path, Transmit};
use crate::call::gateway::Gateway;
use crate::call::gateway::events::Sender;
use crate::call::gateway::exchange::Output;
use crate::call::gateway::history::{State, Transaction};
use crate::call::gateway::identity::Naming;
use crate::call::gateway::media_gateway::Timer;
use crate::call::gateway::notify;
use crate::call::server::{Seqs, Way};
use crate::time::Time;
use crate::transaction::name::mgcp::TransactionKey;
use crate::wire::mgcp::{Field, ResponseWriter, ReturnCode, TransactionId, separator};
use crate::words::RefuseReason;

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

    pub(super) fn behind(mut self, messages: Vec<Arc<[u8]>>) -> Self {
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
        let Some(transaction) = self.history.get_mut(key) else { return };
        let State::Underway(has_100) = transaction.state else { return };
        let bytes = answer.write(key.id(), has_100, self.limits.answer);
        let way = transaction.way;
        let mut seqs = std::mem::take(&mut transaction.seqs);
        transaction.end = now + self.timers.history;
        let resend = has_100.then(|| self.timers.first_resend(now));
        self.history.set(key, State::Answered(bytes.clone(), resend));
        let sent = match answer.before.is_empty() {
            true => bytes,
            false => behind(&answer.before, &bytes, self.limits.answer),
        };
        self.outputs.push_back(transmit(&way, &sent));
        self.outputs.extend(seqs.drain().map(Output::Answered));
        self.arm(key);
    }

    /// Answers a command that changes nothing. If room is scarce, this answer is not remembered: a command that was
    /// carried out needs the place more, and this one can be asked again.
    pub(super) fn tell(&mut self, key: TransactionKey, answer: &Answer, now: Time) {
        if !self.history.is_crowded() {
            return self.answer(key, answer, now);
        }
        let Some(mut transaction) = self.history.remove(key) else { return };
        let bytes = answer.write(key.id(), false, self.limits.answer);
        self.outputs.push_back(transmit(&transaction.way, &bytes));
        self.outputs.extend(transaction.seqs.drain().map(Output::Answered));
    }

    /// A command is not carried out: it goes back to the dispatcher if it may, else it is answered.
    pub(super) fn deny(&mut self, key: TransactionKey, denial: Denial, now: Time) {
        let goes_back = self
            .history
            .get_mut(key)
            .is_some_and(|transaction| transaction.may_go_back && matches!(transaction.state, State::Underway(false)));
        if let Some(reason) = denial.back.filter(|_| goes_back) {
            self.refused.insert(key.print(&self.printer), now);
            let Some(mut transaction) = self.history.remove(key) else { return };
            for seq in transaction.seqs.drain() {
                self.outputs.push_back(Output::Refuse(seq, reason));
            }
            return;
        }
        self.tell(key, &Answer::new(denial.code), now);
    }

    /// Begins a transaction.
    pub(super) fn begin(&mut self, key: TransactionKey, print: u64, arrival: &Arrival, may_go_back: bool, now: Time) {
        let transaction = Transaction {
            state: State::Underway(false),
            print,
            way: self.way(arrival),
            seqs: Seqs::new(arrival.seq()),
            may_go_back,
            end: now + self.timers.longtran,
            armed: Time::NEVER,
        };
        self.history.insert(key, transaction);
    }

    /// A copy of a known command has come.
    pub(super) fn on_repeated(&mut self, key: TransactionKey, arrival: &Arrival) {
        let way = self.way(arrival);
        let Some(transaction) = self.history.get_mut(key) else { return };
        let seq = arrival.seq();
        match &transaction.state {
            State::Answered(bytes, _) => {
                self.outputs.push_back(transmit(&way, bytes));
                self.outputs.extend(seq.map(Output::Answered));
            }
            // RFC 3435 §3.5.1: the call agent has confirmed the answer and does not wait for it.
            State::Confirmed => self.outputs.extend(seq.map(Output::Answered)),
            State::Underway(_) => {
                let too_many = seq.and_then(|seq| transaction.seqs.add(seq));
                self.outputs.extend(too_many.map(Output::Answered));
                self.say_100(key);
            }
        }
    }

    /// Tells the call agent that a command takes time (RFC 3435 §3.5.6). From then on its final answer has to be
    /// confirmed.
    fn say_100(&mut self, key: TransactionKey) {
        let Some(transaction) = self.history.get_mut(key) else { return };
        transaction.state = State::Underway(true);
        let bytes = Answer::new(ReturnCode::EXECUTING).write(key.id(), false, self.limits.answer);
        let output = transmit(&transaction.way, &bytes);
        self.outputs.push_back(output);
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
        let longest = self.timers.longest;
        let give_up = self.timers.history.saturating_sub(self.timers.most);
        let Some(transaction) = self.history.get_mut(key) else { return };
        if now < transaction.armed {
            return;
        }
        transaction.armed = Time::NEVER;
        let is_over = transaction.end <= now;
        match &mut transaction.state {
            State::Underway(false) if is_over => {
                // The command is not answered by the clock: it goes on waiting for its job.
                transaction.end = Time::NEVER;
                self.say_100(key);
            }
            State::Underway(_) => {}
            _ if is_over => {
                self.history.remove(key);
            }
            State::Answered(bytes, resend) => {
                let due = resend.filter(|resend| resend.is_due(now));
                if let Some(due) = due {
                    // RFC 3435 §3.5.3: nothing is sent again after T-MAX.
                    *resend = Some(due.next(longest, now)).filter(|next| next.at() + give_up <= transaction.end);
                    let output = transmit(&transaction.way, bytes);
                    self.outputs.push_back(output);
                }
            }
            State::Confirmed => {}
        }
        self.arm(key);
    }

    /// Files a transaction with the wheel, unless the wheel looks at it early enough anyway.
    pub(super) fn arm(&mut self, key: TransactionKey) {
        let Some(transaction) = self.history.get_mut(key) else { return };
        let due = transaction.due();
        if due < transaction.armed {
            transaction.armed = due;
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
        Sender { source: arrival.source, way: notify::Way { hop, from: Some(local) } }
    }

    fn has_duplicate(&self, listener: u16) -> bool {
        self.identity.duplicates.get(usize::from(listener)) == Some(&true)
    }

    /// The way of an answer: from the address and port that the command was sent to (RFC 3435 §3.5), if this worker has
    /// that socket.
    fn way(&self, arrival: &Arrival) -> Way {
        let local = arrival.local.ip();
        let hop = match arrival.path {
            Path::Handoff { conn, .. } if conn.0 != 0 => Hop::Dispatcher(conn),
            Path::Handoff { listener, .. } if self.has_duplicate(listener.0) => Hop::Listener(listener.0),
            Path::Handoff { .. } => Hop::Own(self.identity.own_socket(local)),
            Path::Own(socket) => Hop::Own(socket),
            Path::Stream(conn) => Hop::Stream(conn),
        };
        Way { hop, source: arrival.source, to: arrival.source, from: Some(local) }
    }
}

/// One datagram of several messages. Messages of `before` that would make it longer than `most` bytes are left out:
/// they travel alone, because they are repeated until they are answered anyway.
fn behind(before: &[Arc<[u8]>], last: &[u8], most: usize) -> Arc<[u8]> {
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
    Output::Transmit(Transmit { hop: way.hop, to: way.to, from: way.from, bytes: bytes.clone() })
}
