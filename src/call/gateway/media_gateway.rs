//! The gateway: its state, its inputs and outputs. The files beside this one carry out the commands.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::time::Duration;

use crate::call::exchange::{Arrival, Load};
use crate::call::gateway::answer::{Denial, Work};
use crate::call::gateway::calls::CallEntry;
use crate::call::gateway::connection::Connection;
use crate::call::gateway::endpoint::Endpoint;
use crate::call::gateway::events::{Events, Voice};
use crate::call::gateway::exchange::{ConnectionKey, EndpointKey, LookupKey, Output};
use crate::call::gateway::identity::{Identity, Limits, Naming};
use crate::call::gateway::job::{Job, JobKey, MediaRequests};
use crate::call::gateway::params;
use crate::call::refused::Refused;
use crate::call::strangers::Strangers;
use crate::fingerprint::Printer;
use crate::slab::Slab;
use crate::time::{Time, Wheel};
use crate::transaction::T_HIST;
use crate::transaction::mgcp_server::Transactions;
use crate::transaction::name::mgcp::TransactionKey;
use crate::wire::mgcp::{
    Command, Message, Response, RestartMethod, ReturnCode, TransactionId, Unparsable, Verb, Wildcard,
};
use crate::words::RefuseReason;

/// The media gateway of one worker.
///
/// ```
/// use pointsman::call::Arrival;
/// use pointsman::call::gateway::events::Voice;
/// use pointsman::call::gateway::{Ask, Gateway, Identity, Limits, Output, Told};
/// use pointsman::ids::{TransactionRange, WorkerId};
/// use pointsman::time::Time;
/// use pointsman::wire::mgcp::parse;
///
/// let token = "pm0123456789abcdef";
/// let identity = Identity {
///     token: token.into(),
///     hex: "0123456789abcdef0123".into(),
///     own: vec!["192.0.2.9:2430".parse().unwrap()],
///     own_naming: Vec::new(),
///     listeners: Vec::new(),
///     naming: Vec::new(),
///     duplicates: Vec::new(),
///     advertise: Vec::new(),
///     aliases: Vec::new(),
///     seed: [1, 2],
/// };
/// let voice = Voice { token: token.into(), range: TransactionRange::of(WorkerId(0)), agents: Vec::new(), seed: 3 };
/// let mut gateway = Gateway::new(identity, voice, Limits::default());
///
/// let now = Time(1_000_000_000);
/// let create = parse(b"CRCX 7 ann/$@ms MGCP 1.0\nC: a\nM: recvonly\n").unwrap();
/// let arrival = Arrival::own(0, "192.0.2.1:2727".parse().unwrap(), "192.0.2.9:2430".parse().unwrap(), 1);
/// gateway.on_message(&create, &arrival, now);
///
/// // The shell opens the sockets; then the answer names them.
/// let Some(Output::Media(connection, Ask::Open { .. })) = gateway.poll_output() else { panic!("no media") };
/// gateway.on_media(connection, Told::Opened(20_000), now);
/// let answer = std::iter::from_fn(|| gateway.poll_output()).find_map(|output| match output {
///     Output::Transmit(transmit) => Some(String::from_utf8_lossy(&transmit.bytes).into_owned()),
///     _ => None,
/// });
/// let answer = answer.unwrap();
/// assert!(answer.starts_with("200 7 OK") && answer.contains("m=audio 20000 "), "{answer}");
/// ```
#[derive(Debug)]
pub struct Gateway {
    pub(super) identity: Identity,
    pub(super) limits: Limits,
    pub(super) endpoints: Slab<EndpointKey, Endpoint>,
    pub(super) by_number: BTreeMap<u64, EndpointKey>,
    pub(super) next_number: u64,
    /// Endpoints that only their requests hold, ordered by the time since which they have no connection.
    pub(super) lonely: BTreeSet<(Time, EndpointKey)>,
    pub(super) connections: Slab<ConnectionKey, Connection>,
    pub(super) by_id: BTreeMap<u32, ConnectionKey>,
    pub(super) next_id: u32,
    pub(super) calls: BTreeMap<Box<[u8]>, CallEntry>,
    pub(super) transactions: Transactions<Work>,
    /// Commands that went back to the dispatcher.
    pub(super) refused: Refused,
    pub(super) jobs: Slab<JobKey, Job>,
    pub(super) asked: MediaRequests,
    pub(super) events: Events,
    pub(super) wheel: Wheel<Timer>,
    pub(super) outputs: VecDeque<Output>,
    pub(super) load: Load,
    pub(super) strangers: Strangers,
    /// Units that strangers may claim here, if the worker shares them with SIP calls.
    pub(super) for_strangers: Option<u32>,
    pub(super) draining: bool,
    /// Number of doubtful connections.
    pub(super) doubts: usize,
    /// Whether the endpoints have been taken out of service.
    pub(super) stopped: bool,
    /// Makes fingerprints and unpredictable numbers.
    pub(super) printer: Printer,
    count: u64,
}

/// Transactions that one message can confirm: more than a call agent begins between two messages.
const CONFIRMED_AT_ONCE: usize = 5_000;

/// The purpose of the fingerprint of a command's text.
const TEXT: u8 = b't';

/// An entry of the wheel.
#[derive(Clone, Copy, Debug)]
pub(super) enum Timer {
    Transaction(TransactionKey),
    Lonely(EndpointKey),
    Listen(ConnectionKey),
    Doubt(ConnectionKey),
    Silence(ConnectionKey),
    Measure(ConnectionKey),
}

impl Gateway {
    /// A gateway without endpoints; `voice` has the settings of its own commands.
    pub fn new(identity: Identity, voice: Voice, limits: Limits) -> Self {
        Gateway {
            endpoints: Slab::new(limits.endpoints),
            by_number: BTreeMap::new(),
            next_number: 1,
            lonely: BTreeSet::new(),
            connections: Slab::new(limits.connections),
            by_id: BTreeMap::new(),
            next_id: 0,
            calls: BTreeMap::new(),
            transactions: Transactions::new(limits.transactions, limits.kept_bytes),
            refused: Refused::new(T_HIST),
            jobs: Slab::new(limits.transactions),
            asked: MediaRequests::new(),
            events: Events::new(voice, identity.aliases.iter().map(|(alias, _)| alias.clone())),
            // 10 ms are fine enough for the first retransmission; one turn is 20 s.
            wheel: Wheel::new(Duration::from_millis(10), 2_048, 1_024),
            outputs: VecDeque::new(),
            load: Load::default(),
            strangers: Strangers::new(),
            for_strangers: None,
            draining: false,
            doubts: 0,
            stopped: false,
            printer: Printer::seeded(identity.seed),
            count: 0,
            identity,
            limits,
        }
    }

    /// Takes a message. Its consequences come out of [`Gateway::poll_output`].
    pub fn on_message(&mut self, message: &Message<'_>, arrival: &Arrival, now: Time) {
        match message {
            Message::Command(command) => self.on_command(command, arrival, now),
            Message::Response(response) => self.on_response(response, arrival, now),
        }
    }

    /// Takes bytes that are no readable message. Bytes that start like a response are never answered.
    pub fn on_unparsable(&mut self, unparsable: &Unparsable<'_>, arrival: &Arrival, _now: Time) {
        match unparsable.answer() {
            Some((code, id)) => self.answer_once(code, id, arrival),
            None => self.dealt_with(arrival),
        }
    }

    /// Refuses a command that is one too many in its datagram: it is not carried out, and its sender is told.
    pub fn on_overflow(&mut self, command: &Command<'_>, arrival: &Arrival) {
        self.answer_once(ReturnCode::OVERLOAD, command.transaction(), arrival);
    }

    /// Whether a command belongs to no known endpoint and no known transaction, and would be answered: a flood consists
    /// of such commands.
    pub fn begins(&self, command: &Command<'_>, arrival: &Arrival) -> bool {
        let known = self.transactions.find(transaction_of(command, arrival), self.text_print(command));
        known.is_none() && self.find_endpoint(&command.endpoint()).is_none()
    }

    /// The address of a call agent, or that there is none.
    pub fn on_resolved(&mut self, key: LookupKey, addresses: &[SocketAddr], now: Time) {
        self.events.on_resolved(key, addresses, now);
    }

    /// The next output; `None` when there is none until the next input or [`Gateway::poll_timeout`].
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front().or_else(|| self.events.poll_output())
    }

    /// Time has passed.
    pub fn handle_timeout(&mut self, now: Time) {
        while let Some(timer) = self.wheel.poll_expired(now) {
            match timer {
                Timer::Transaction(key) => self.on_transaction_timer(key, now),
                Timer::Lonely(key) => self.on_lonely(key, now),
                Timer::Listen(key) => self.on_listening(key),
                Timer::Doubt(key) => self.on_doubt(key),
                Timer::Measure(key) => self.on_measuring(key, now),
                Timer::Silence(key) => self.on_silence(key, now),
            }
        }
        self.transactions.handle_timeout(now);
        self.events.handle_timeout(now);
    }

    /// When [`Gateway::handle_timeout`] is to be called next.
    pub fn poll_timeout(&self) -> Option<Time> {
        [self.wheel.poll_timeout(), self.transactions.poll_timeout(), self.events.poll_timeout()]
            .into_iter()
            .flatten()
            .min()
    }

    /// The worker is in service: the call agents are told (RFC 3435 §4.4.6).
    pub fn start(&mut self, now: Time) {
        self.events.tell_all(RestartMethod::Restart, now);
    }

    /// This worker is the successor of one that has died, with this token: the call agents are told that its endpoints
    /// are gone. Called before [`Gateway::start`].
    pub fn succeed(&mut self, dead: &str, now: Time) {
        self.events.succeed(dead, now);
    }

    /// Whether new connections are turned away. The call agents are told of a change (RFC 3435 §2.3.12).
    pub fn set_draining(&mut self, draining: bool, now: Time) {
        if draining == self.draining {
            return;
        }
        let method = match (draining, std::mem::take(&mut self.stopped)) {
            (true, _) => RestartMethod::Graceful,
            (false, false) => RestartMethod::CancelGraceful,
            // A gateway that was out of service comes back empty.
            (false, true) => RestartMethod::Restart,
        };
        self.draining = draining;
        self.events.tell_all(method, now);
    }

    /// Whether new connections are turned away.
    pub const fn is_draining(&self) -> bool {
        self.draining
    }

    /// Changes the number of units this gateway may use: the worker's capacity less the units of its other sessions.
    /// Existing connections stay.
    pub fn set_units(&mut self, units: u32) {
        self.limits.units = units;
    }

    /// Sets the number of units that strangers may claim here.
    pub fn set_for_strangers(&mut self, units: u32) {
        self.for_strangers = Some(units);
    }

    /// The capacity in units.
    pub fn units(&self) -> u32 {
        self.limits.units
    }

    /// The dispatcher is gone. Messages it has handed over can no longer be given back, so they are answered. A message
    /// that was given back may not have reached another worker: a new dispatcher that selects us for it does so for the
    /// first time.
    pub fn on_dispatcher_lost(&mut self) {
        self.refused = Refused::new(T_HIST);
        self.transactions.works_mut().for_each(Work::stay);
    }

    /// A new dispatcher has other well-known sockets. Sockets that existed before keep their numbers.
    pub fn set_listeners(&mut self, listeners: Vec<SocketAddr>, naming: Vec<Naming>, duplicates: Vec<bool>) {
        self.identity.listeners = listeners;
        self.identity.naming = naming;
        self.identity.duplicates = duplicates;
    }

    /// The load: `sessions` are connections, `answered` the CRCX that were carried out.
    pub fn load(&self) -> Load {
        Load { units_used: self.units_counted(), ..self.load }
    }

    /// Deletes all connections, requests and endpoints: the worker goes out of service, and tells the call agents so.
    /// [`Gateway::set_draining`] brings it back.
    pub fn end_all(&mut self, now: Time) {
        let connections: Vec<ConnectionKey> = self.connections.keys().collect();
        self.close_connections(&connections, None);
        let endpoints: Vec<EndpointKey> = self.endpoints.keys().collect();
        endpoints.into_iter().for_each(|key| self.remove_endpoint(key));
        (self.draining, self.stopped) = (true, true);
        self.events.tell_all(RestartMethod::Forced, now);
    }

    /// Whether nothing is left: no connection, no endpoint, no transaction.
    pub fn is_idle(&self) -> bool {
        self.is_quiet() && self.transactions.is_empty()
    }

    /// Whether all connections and endpoints are gone, and no call agent has still to be told of anything. Answers may
    /// still be kept for retransmissions of their commands.
    pub fn is_quiet(&self) -> bool {
        self.connections.is_empty() && self.endpoints.is_empty() && self.events.is_idle()
    }

    /// Whether a worker without a dispatcher is still needed: for a connection, or until the call agents have answered
    /// its notifications and goodbyes. Requests alone do not keep it: without connections none of the events they ask
    /// for happens.
    pub fn is_needed(&self) -> bool {
        !self.connections.is_empty() || !self.events.is_idle()
    }

    fn on_command(&mut self, command: &Command<'_>, arrival: &Arrival, now: Time) {
        let key = transaction_of(command, arrival);
        let print = self.text_print(command);
        if let Some(known) = self.transactions.find(key, print) {
            return self.on_repeated(known, arrival);
        }
        if self.goes_back(key, arrival, now) {
            return;
        }
        // Confirmations take effect after the look-up: a copy that confirms its own command must get its answer all the
        // same.
        let mut budget = CONFIRMED_AT_ONCE;
        for range in command.acks().iter().flat_map(|acks| acks.iter()) {
            self.transactions.confirm(key, TransactionId(*range.start()), TransactionId(*range.end()), &mut budget);
        }
        let verb = command.verb();
        if matches!(verb, Verb::Ntfy | Verb::Rsip | Verb::Mesg | Verb::Other(_)) {
            return self.answer_once(ReturnCode::UNKNOWN_COMMAND, command.transaction(), arrival);
        }
        // A CRCX for a named endpoint can be carried out here only.
        let is_selected = verb == Verb::Crcx && command.endpoint().wildcard() != Wildcard::None;
        let may_go_back = is_selected && arrival.seq().is_some() && !arrival.follows;
        if self.transactions.is_full() {
            return match arrival.seq() {
                Some(seq) if may_go_back => {
                    self.refused.insert(key.print(&self.printer), now);
                    self.outputs.push_back(Output::Refuse(seq, RefuseReason::Exhausted));
                }
                _ => self.answer_once(ReturnCode::OVERLOAD, command.transaction(), arrival),
            };
        }
        self.begin(key, print, arrival, may_go_back, now);
        if verb == Verb::Crcx && arrival.seq().is_none() {
            self.load.direct += 1;
        }
        if let Err(denial) = self.carry_out(command, arrival, key, now) {
            self.deny(key, denial, now);
        }
        self.arm(key);
    }

    fn carry_out(
        &mut self,
        command: &Command<'_>,
        arrival: &Arrival,
        key: TransactionKey,
        now: Time,
    ) -> Result<(), Denial> {
        self.believe(command);
        self.hear_of(command, now);
        self.acquaint(command, arrival.source.ip());
        params::check(command)?;
        match command.verb() {
            Verb::Crcx => self.on_crcx(command, arrival, key, now),
            Verb::Mdcx => self.on_mdcx(command, arrival, key, now),
            Verb::Dlcx => self.on_dlcx(command, arrival, key, now),
            Verb::Rqnt => self.on_rqnt(command, arrival, key, now),
            Verb::Epcf => self.on_epcf(command, key, now),
            Verb::Auep => self.on_auep(command, key, now),
            Verb::Aucx => self.on_aucx(command, key, now),
            Verb::Ntfy | Verb::Rsip | Verb::Mesg | Verb::Other(_) => Err(ReturnCode::UNKNOWN_COMMAND.into()),
        }
    }

    /// Gives back a message that comes too late, or that is a copy of one that was given back.
    fn goes_back(&mut self, key: TransactionKey, arrival: &Arrival, now: Time) -> bool {
        let Some(seq) = arrival.seq() else { return false };
        let print = key.print(&self.printer);
        let reason = if self.refused.contains(print, now) {
            RefuseReason::Follows
        } else if !arrival.follows && arrival.deadline.is_some_and(|deadline| deadline < now) {
            self.refused.insert(print, now);
            RefuseReason::Late
        } else {
            return false;
        };
        self.outputs.push_back(Output::Refuse(seq, reason));
        true
    }

    /// A response: to a command of ours, or the acknowledgement of an answer (RFC 3435 §3.5.6).
    fn on_response(&mut self, response: &Response<'_>, arrival: &Arrival, now: Time) {
        if response.code().is_ack() {
            let key = key_of(response.transaction(), arrival);
            self.transactions.confirm(key, key.id(), key.id(), &mut 16);
        } else {
            self.events.on_response(response, self.sender(arrival), now);
        }
        self.dealt_with(arrival);
    }

    /// A number that cannot be predicted from outside.
    pub(super) fn number(&mut self, purpose: u8) -> u64 {
        self.count += 1;
        self.printer.print(purpose, &[&self.count.to_be_bytes()]).short()
    }

    /// The hash that the copies of a command share.
    fn text_print(&self, command: &Command<'_>) -> u64 {
        self.printer.print(TEXT, &[command.bytes()]).short()
    }
}

fn transaction_of(command: &Command<'_>, arrival: &Arrival) -> TransactionKey {
    key_of(command.transaction(), arrival)
}

fn key_of(transaction: TransactionId, arrival: &Arrival) -> TransactionKey {
    TransactionKey::new(arrival.source, transaction)
}
