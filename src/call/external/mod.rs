//! An ordinary MGCP gateway behind the dispatcher, such as Osmocom's: the worker passes handed-over commands to it, and
//! its answers to the call agents.
//!
//! The gateway does not notice the worker. It sees one call agent, which has transaction ids of its own. It sees names
//! without the token by which the dispatcher finds this worker; call agents see names with it.
//!
//! A command is carried out at most once: a copy from a call agent gets the first answer again. A CRCX that leaves the
//! choice of the endpoint to the gateway is sent to it exactly once, whatever happens, because gateways that do not
//! keep their answers would open another endpoint for each copy. As long as the gateway does not answer, this worker
//! reports that it has no room.
//!
//! Pure, as [`crate::call`] is: messages and the time go in, [`Output`]s come out.

mod agents;
mod anyof;
mod asked;
mod connections;
mod exchange;
mod names;
mod own;
mod reach;
mod relay;
mod rewrite;
mod settle;
mod several;
mod window;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use self::agents::Agents;
use self::asked::{AgentCommand, Pending, Purpose, VerbKind, Verbs};
use self::connections::Connections;
pub use self::exchange::Output;
use self::names::Tokens;
use self::reach::Reach;
use self::relay::Relayed;
use self::window::Sending;
use crate::call::exchange::{Arrival, Egress, Load};
use crate::fingerprint::Printer;
use crate::ids::TransactionRange;
use crate::time::Time;
use crate::transaction::mgcp_server::{Copied, Transactions};
use crate::transaction::name::mgcp::TransactionKey;
use crate::transaction::timers::RTO;
use crate::wire::mgcp::{Command, Field, Message, ReturnCode, Verb, Wildcard, parse, parts};
use crate::words::RefuseReason;

/// A call agent gets 101 when the gateway has not answered for this time; else it would give up, or ask elsewhere.
const PATIENCE: Duration = Duration::from_secs(1);
/// A command is given up after this time if the gateway answers others: it has not understood this one, or its answer
/// is lost.
const UNANSWERED: Duration = Duration::from_secs(4);
/// The final answer leaves within this time, before the call agent gives up (T-MAX, §4.3, is 20 s).
const AT_MOST: Duration = Duration::from_secs(19);
/// The final answer is awaited for this time after a 1xx of the gateway, which now takes its time and sends its final
/// answer by itself.
const PROVISIONAL: Duration = Duration::from_secs(60);

/// Transactions at most: 30 s of 2,000 commands a second. Beyond it the oldest response goes.
const MOST: usize = 1 << 16;
/// Bytes of the responses that are kept, at most. Beyond it the oldest one goes.
const MOST_BYTES: usize = 64 << 20;
/// The purpose of the fingerprint of a command's text.
const TEXT: u8 = b't';

/// The worker that speaks for one gateway.
#[derive(Debug)]
pub struct External {
    tokens: Tokens,
    range: TransactionRange,
    /// The transaction id of our next command.
    next: u32,
    units: u32,
    draining: bool,
    /// Whether all connections have been deleted; one that comes about later is then deleted at once.
    ending: bool,
    reach: Reach,
    /// Commands of call agents, each with the id under which the gateway has it.
    transactions: Transactions<u32>,
    printer: Printer,
    pending: BTreeMap<u32, Pending>,
    timers: BTreeSet<(Time, u32)>,
    /// The commands that have not been sent yet, in order.
    waiting: VecDeque<u32>,
    /// Number of commands that count towards the window.
    under_way: usize,
    connections: Connections,
    /// Units of CRCX that the gateway has not answered.
    asked_units: u32,
    answered: u64,
    agents: Agents,
    relayed: Relayed,
    /// Verbs that the gateway has answered.
    known: Verbs,
    outputs: VecDeque<Output>,
}

/// The worker's token, transaction ids and capacity.
#[derive(Clone, Debug)]
pub struct Identity {
    /// The worker's token, a term of every endpoint name that call agents see.
    pub token: Box<str>,
    /// The transaction ids of its own commands.
    pub range: TransactionRange,
    /// Capacity units.
    pub units: u32,
    /// The seed of hashes and of the first transaction id in the range: 128 random bits.
    pub seed: [u64; 2],
}

impl External {
    /// A worker whose gateway has not been heard yet.
    pub fn new(identity: Identity) -> Self {
        External {
            tokens: Tokens::new(&identity.token),
            next: identity.range.pick(identity.seed[0]),
            range: identity.range,
            units: identity.units,
            draining: false,
            ending: false,
            reach: Reach::default(),
            transactions: Transactions::new(MOST, MOST_BYTES),
            printer: Printer::seeded(identity.seed),
            pending: BTreeMap::new(),
            timers: BTreeSet::new(),
            waiting: VecDeque::new(),
            under_way: 0,
            connections: Connections::default(),
            asked_units: 0,
            answered: 0,
            agents: Agents::default(),
            relayed: Relayed::default(),
            known: Verbs::default(),
            outputs: VecDeque::new(),
        }
    }

    /// Takes a message that was handed over.
    pub fn on_message(&mut self, message: &Message<'_>, arrival: &Arrival, now: Time) {
        match message {
            Message::Command(command) => self.on_command(command, arrival, now),
            Message::Response(response) => {
                self.on_agents_response(response);
                self.done(arrival);
            }
        }
    }

    /// Takes a datagram from the gateway.
    pub fn on_gateway(&mut self, datagram: &[u8], now: Time) {
        for part in parts(datagram) {
            match parse(part) {
                Ok(Message::Response(response)) => self.on_response(&response, now),
                Ok(Message::Command(command)) => self.on_gateways_command(&command, now),
                // An unreadable message has no transaction, so no call agent waits for it: it is dropped.
                Err(_) => {}
            }
        }
        self.advance(now);
    }

    /// The kernel reports that no socket is open at the gateway's address. Commands that are sent only once get no
    /// answer any more: they end at once, so that their call agents can ask elsewhere.
    pub fn on_gateway_gone(&mut self, now: Time) {
        self.reach.lose(now);
        // A gateway that is gone has lost its connections; another one that is started in its place does not have them
        // either.
        for call in self.connections.close_all() {
            self.outputs.push_back(Output::CallClosed(call));
        }
        let is_over =
            |pending: &Pending| pending.transaction.leaves_once() && matches!(pending.purpose, Purpose::Command(_));
        let over: Vec<u32> = self.pending.iter().filter(|(_, pending)| is_over(pending)).map(|(own, _)| *own).collect();
        for own in over {
            self.abandon(own, now);
        }
    }

    /// Does what is due: sends again, tells call agents to wait, gives up, asks whether the gateway is there.
    pub fn handle_timeout(&mut self, now: Time) {
        while let Some((due, own)) = self.timers.first().copied()
            && due <= now
        {
            self.timers.remove(&(due, own));
            self.on_due(own, now);
        }
        self.advance(now);
        self.transactions.handle_timeout(now);
        self.ask_whether_there(now);
    }

    /// When [`External::handle_timeout`] is due.
    pub fn poll_timeout(&self) -> Option<Time> {
        let first = self.timers.first().map(|(due, _own)| *due);
        [first, self.reach.poll_timeout(), self.transactions.poll_timeout()].into_iter().flatten().min()
    }

    /// The next output.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// Stops taking connections, or takes them again.
    pub const fn set_draining(&mut self, draining: bool) {
        (self.draining, self.ending) = (draining, false);
    }

    /// Sets the number of capacity units; existing connections stay.
    pub const fn set_units(&mut self, units: u32) {
        self.units = units;
    }

    /// Whether the worker takes no more connections.
    pub const fn is_draining(&self) -> bool {
        self.draining
    }

    /// A new dispatcher's token and transaction ids for this worker. Names with the former token are understood all the
    /// same.
    pub fn set_identity(&mut self, token: &str, range: TransactionRange) {
        self.tokens.set(token);
        if range != self.range {
            self.next = range.pick(self.next.into());
            self.range = range;
        }
    }

    /// The dispatcher is gone, and its gatherings of answers with it. All other commands are answered all the same.
    pub fn on_dispatcher_lost(&mut self) {
        self.pending.values_mut().for_each(Pending::on_dispatcher_lost);
    }

    /// The load of this worker.
    pub fn load(&self) -> Load {
        Load {
            units_used: self.connections.units() + self.asked_units,
            sessions: self.connections.count(),
            direct: 0,
            answered: self.answered,
        }
    }

    /// Capacity units.
    pub const fn units(&self) -> u32 {
        self.units
    }

    /// Whether the worker takes no connections now because the gateway does not answer.
    pub const fn is_without_gateway(&self) -> bool {
        !self.reach.is_up()
    }

    /// Whether the worker could exit: it has no connection, and no command under way.
    pub fn is_quiet(&self) -> bool {
        self.connections.count() == 0 && !self.pending.values().any(Pending::is_a_commitment)
    }

    /// The call ids that have connections here, or are about to, each in lower case and since when.
    pub fn calls(&self) -> Vec<(Time, Box<[u8]>)> {
        self.connections.calls()
    }

    fn on_command(&mut self, command: &Command<'_>, arrival: &Arrival, now: Time) {
        let (key, print) = self.named(command, arrival);
        let known = self.transactions.find(key, print);
        match known.and_then(|known| self.transactions.on_copy(known)) {
            Some(Copied::Answered(response)) => {
                self.send(arrival, response);
                return self.done(arrival);
            }
            Some(Copied::Underway(own)) => {
                let own = *own;
                return self.on_again(own, arrival);
            }
            Some(Copied::Confirmed) => return self.done(arrival),
            None => {}
        }
        if arrival.deadline.is_some_and(|deadline| deadline < now) {
            return self.refuse(arrival, RefuseReason::Late);
        }
        let verb = command.verb();
        if matches!(verb, Verb::Other(_) | Verb::Ntfy | Verb::Rsip) {
            return self.answer(ReturnCode::UNKNOWN_COMMAND, command, arrival, now);
        }
        if !self.transactions.make_room() {
            return match arrival.follows {
                true => self.answer(ReturnCode::OVERLOAD, command, arrival, now),
                false => self.refuse(arrival, RefuseReason::Exhausted),
            };
        }
        let mut size = 0;
        if verb == Verb::Crcx {
            size = arrival.size.max(1);
            if let Some((reason, code)) = self.why_not(size) {
                return match arrival.follows {
                    true => self.answer(code, command, arrival, now),
                    false => self.refuse(arrival, reason),
                };
            }
        }
        let asked = AgentCommand { size, ..AgentCommand::new((key, print), command, arrival, &self.tokens) };
        if asked.verb == VerbKind::Delete && command.endpoint().is_several() {
            return self.delete_several(asked, now);
        }
        self.ask(asked, command, now);
    }

    /// The key of a command's transaction, and the hash that its copies share.
    fn named(&self, command: &Command<'_>, arrival: &Arrival) -> (TransactionKey, u64) {
        let key = TransactionKey::new(arrival.source, command.transaction());
        (key, self.printer.print(TEXT, &[command.bytes()]).short())
    }

    /// The reason for which a connection of that size cannot be made; `None` if it can.
    fn why_not(&self, size: u32) -> Option<(RefuseReason, ReturnCode)> {
        if self.draining {
            return Some((RefuseReason::Draining, ReturnCode::RESOURCES_NOT_NOW));
        }
        if !self.reach.is_up() {
            return Some((RefuseReason::Exhausted, ReturnCode::TRANSIENT_ERROR));
        }
        let used = self.load().units_used;
        (used.saturating_add(size) > self.units).then_some((RefuseReason::Full, ReturnCode::RESOURCES_NOT_NOW))
    }

    /// Sends a command to the gateway.
    fn ask(&mut self, asked: AgentCommand, command: &Command<'_>, now: Time) {
        let own = self.take_id();
        let bytes = rewrite::to_gateway(command, own, &self.tokens);
        self.transactions.begin(asked.key, asked.print, own, now);
        self.asked_units += asked.size;
        let call = asked.call.as_ref().filter(|_| asked.verb == VerbKind::Create);
        let opened = call.and_then(|call| self.connections.expect(call, now));
        self.outputs.extend(opened.map(|call| Output::CallOpened(call, now)));
        self.agents.note(&asked.endpoint, asked.way, asked.source);
        let second = command.param(Field::SecondEndpointId).unwrap_or_default();
        let is_wild = command.endpoint().wildcard() != Wildcard::None || memchr::memchr2(b'$', b'*', second).is_some();
        let is_sent_again = asked.verb != VerbKind::Create || !is_wild;
        let sending = Sending { bytes, repeat: is_sent_again.then_some(RTO), wait: UNANSWERED };
        self.begin(own, Purpose::Command(Box::new(asked)), sending, now);
    }

    /// A copy of a command that the gateway has not answered yet.
    fn on_again(&mut self, own: u32, arrival: &Arrival) {
        let Some(asked) = self.pending.get_mut(&own).and_then(|pending| pending.purpose.asked_mut()) else {
            return self.done(arrival);
        };
        let too_many = asked.on_again(arrival);
        if asked.is_told_to_wait {
            let bytes = rewrite::plain(ReturnCode::QUEUED, asked.key.id());
            self.send(arrival, bytes);
        }
        self.outputs.extend(too_many.map(Output::Answered));
    }

    /// A transaction id of ours that is not in use.
    fn take_id(&mut self) -> u32 {
        let mut own = self.next;
        // The loop ends: far fewer ids are in use than the range has.
        while self.pending.contains_key(&own) || self.relayed.has(own) {
            own = self.range.next(own);
        }
        self.next = self.range.next(own);
        own
    }

    fn send(&mut self, arrival: &Arrival, bytes: Arc<[u8]>) {
        self.outputs.push_back(Output::Transmit(Egress::of(arrival).transmit(arrival.source, bytes)));
    }

    /// Answers a command that never goes to the gateway.
    fn answer(&mut self, code: ReturnCode, command: &Command<'_>, arrival: &Arrival, now: Time) {
        let response = rewrite::plain(code, command.transaction());
        self.send(arrival, Arc::clone(&response));
        // The same command gets the same answer again. Room that is scarce is for commands that were carried out.
        if !self.transactions.is_crowded() {
            let (key, print) = self.named(command, arrival);
            self.transactions.begin(key, print, 0, now);
            self.transactions.answer(key, response, now);
        }
        self.done(arrival);
    }

    fn done(&mut self, arrival: &Arrival) {
        self.outputs.extend(arrival.seq().map(Output::Answered));
    }

    fn refuse(&mut self, arrival: &Arrival, reason: RefuseReason) {
        self.outputs.extend(arrival.seq().map(|seq| Output::Refuse(seq, reason)));
    }
}

#[cfg(test)]
mod tests;
