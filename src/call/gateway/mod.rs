//! The worker as media gateway: MGCP 1.0 (RFC 3435) as a value, without socket, clock or thread.
//!
//! [`Gateway`] reads commands, makes endpoints and connections, answers, and tells the media what to do. Its endpoints
//! are virtual: `CRCX 1 ann/$@domain` makes one, and it is gone with its last connection and its last request. So only
//! endpoints in use take room, however many are asked for.
//!
//! The shell feeds it with [`Gateway::on_message`], [`Gateway::on_unparsable`] and [`Gateway::handle_timeout`], and
//! carries out the outputs of [`Gateway::poll_output`]. It carries out [`Output::Media`] before the next input, and
//! answers it at once with [`Gateway::on_media`]; it carries out the rest when it likes, in order. The vocabulary of
//! both directions is in [`exchange`]. Arrivals and the ways of transmissions are those of SIP
//! ([`crate::call::exchange`]). A command whose answer goes back over the link is one that came by a stream connection
//! of the dispatcher.
//!
//! Three promises hold. For every message that was handed over exactly one [`Output::Answered`] or [`Output::Refuse`]
//! comes out. A command is carried out whole or not at all, and its retransmission gets the same bytes for T-HIST (RFC
//! 3435 §3.5.1). An answer is never answered.

pub mod events;
pub mod exchange;
pub mod identity;
pub mod kind;
pub mod notify;
pub mod restart;

mod answer;
mod audit;
mod bearer;
mod calls;
mod claims;
mod command;
mod connection;
mod create;
mod delete;
mod description;
mod doubt;
mod embedded;
mod endpoint;
mod listening;
mod lost;
mod measuring;
mod media_requests;
mod mode;
mod modify;
mod params;
mod remote;
mod request;
mod silence;
mod terms;
mod wanted;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::time::Duration;

use crate::call::exchange::{Arrival, Load};
use crate::call::gateway::answer::Work;
use crate::call::gateway::audit::ConnectionAudit;
use crate::call::gateway::calls::CallEntry;
use crate::call::gateway::connection::Connection;
use crate::call::gateway::create::Creation;
use crate::call::gateway::delete::Deletion;
use crate::call::gateway::endpoint::Endpoint;
use crate::call::gateway::events::{Events, Voice};
use crate::call::gateway::lost::Loss;
use crate::call::gateway::media_requests::MediaRequests;
use crate::call::gateway::modify::Modification;
use crate::call::refused::Refused;
use crate::call::strangers::Strangers;
use crate::fingerprint::Printer;
use crate::slab::{Slab, handle};
use crate::time::{Time, Wheel};
use crate::transaction::T_HIST;
use crate::transaction::mgcp_server::Transactions;
use crate::transaction::name::mgcp::TransactionKey;
use crate::wire::mgcp::{Message, RestartMethod};

pub use self::exchange::{Ask, ConnectionKey, Counters, EndpointKey, Flow, LookupKey, Output, Sound, Told};
pub use self::identity::{Identity, Limits, Naming};
pub use self::kind::Kind;

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
    identity: Identity,
    limits: Limits,
    endpoints: Slab<EndpointKey, Endpoint>,
    by_number: BTreeMap<u64, EndpointKey>,
    next_number: u64,
    /// Endpoints that only their requests hold, ordered by the time since which they have no connection.
    lonely: BTreeSet<(Time, EndpointKey)>,
    connections: Slab<ConnectionKey, Connection>,
    by_id: BTreeMap<u32, ConnectionKey>,
    next_id: u32,
    calls: BTreeMap<Box<[u8]>, CallEntry>,
    transactions: Transactions<Work>,
    /// Commands that went back to the dispatcher.
    refused: Refused,
    jobs: Slab<JobKey, Job>,
    asked: MediaRequests,
    events: Events,
    wheel: Wheel<Timer>,
    outputs: VecDeque<Output>,
    load: Load,
    strangers: Strangers,
    /// Units that strangers may claim here, if the worker shares them with SIP calls.
    for_strangers: Option<u32>,
    draining: bool,
    /// Number of doubtful connections.
    doubts: usize,
    /// Whether the endpoints have been taken out of service.
    stopped: bool,
    /// Makes fingerprints and unpredictable numbers.
    printer: Printer,
    count: u64,
}

/// An entry of the wheel.
#[derive(Clone, Copy, Debug)]
enum Timer {
    Transaction(TransactionKey),
    Lonely(EndpointKey),
    Listen(ConnectionKey),
    Doubt(ConnectionKey),
    Silence(ConnectionKey),
    Measure(ConnectionKey),
}

handle! {
    /// A command that waits.
    struct JobKey;
}

/// The command or check that waits.
#[derive(Debug)]
enum Job {
    Create(Box<Creation>),
    Modify(Box<Modification>),
    Delete(Deletion),
    /// An audit that waits for the counters of a connection.
    Audit(ConnectionAudit),
    /// A request that waits for the first packet of a connection.
    Listen(ConnectionKey),
    /// A connection that perhaps no call agent knows; its packets are counted.
    Doubt(ConnectionKey),
    /// A connection that is asked for its packets, as a sign of life.
    Silence(ConnectionKey),
    /// A connection that is measured.
    Measure(ConnectionKey),
    /// A connection that is lost.
    Lose(Box<Loss>),
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

    /// A number that cannot be predicted from outside.
    fn number(&mut self, purpose: u8) -> u64 {
        self.count += 1;
        self.printer.print(purpose, &[&self.count.to_be_bytes()]).short()
    }
}
