//! A worker's own sessions: SIP calls and MGCP connections, the application that decides about calls, and all that the
//! dispatcher is told about them.

mod arriving;
mod outputs;

use std::net::{IpAddr, SocketAddr};
use std::vec;

use crate::call::gateway::LookupKey;
use crate::call::{CallKey, Hop, Identity, Limits, ResolveKey, SessionTimer, Transmit, Uas};
use crate::ids::TokenKey;
use crate::names::{self, Endpoint};
use crate::time::Time;
use crate::wire::sip::Scanner;
use crate::words::{AccessRule, Envelope, ReplyTo, Report, Welcome};

use super::application::{Application, Calls};
use super::call_log::CallLog;
use super::conferences::Conferences;
use super::dispatcher::{Change, DispatcherLinks};
use super::gate::AccessGate;
use super::listeners::Listeners;
use super::media::Media;
use super::mgcp::{self, Mgcp};
use super::sessions::{Account, Sessions};
use super::transactions::OpenTransactions;

/// Calls that are ended before the others' requests have been sent: so the queue of outputs stays short.
const ENDED_AT_ONCE: usize = 64;

/// A worker's own sessions.
pub struct MediaServer<A, M> {
    uas: Uas,
    mgcp: Mgcp,
    application: A,
    media: M,
    transactions: OpenTransactions,
    conferences: Conferences,
    /// The access rules at our own ports.
    gate: AccessGate,
    /// Whether connections have not been held against the rules yet.
    has_new_rules: bool,
    /// Certificates that the process has not got yet.
    new_certificates: Option<Vec<u8>>,
    call_log: CallLog,
    scanner: Scanner,
    /// Calls that are still to be ended; the connections follow them.
    ending: Option<vec::IntoIter<CallKey>>,
    /// Whether it is a media gateway as well.
    has_gateway: bool,
    /// Capacity units of its own choice.
    capacity: Option<u32>,
}

/// The parts that a worker is given at its start, beside the dispatcher's welcome.
#[derive(Clone, Debug)]
pub struct Setup {
    /// The addresses of its own SIP sockets, by number.
    pub sip: Vec<SocketAddr>,
    /// The addresses of its own MGCP sockets, by number.
    pub mgcp: Vec<SocketAddr>,
    /// The addresses of this host.
    pub hosts: Vec<IpAddr>,
    /// Program and version, for the `Server` header.
    pub program: Box<str>,
    /// Capacity units. `None`: the dispatcher's welcome says how many.
    pub capacity: Option<u32>,
    /// Whether it is a media gateway as well.
    pub has_gateway: bool,
    /// Session timers that it asks for (RFC 4028).
    pub session_timer: SessionTimer,
    /// Keys the hash of sources at its own ports.
    pub gate_key: TokenKey,
    /// Seeds: two for SIP, three for MGCP.
    pub seeds: [u64; 5],
}

/// A request of the sessions to the process.
#[derive(Debug)]
pub enum Effect {
    /// Send this SIP message. [`MediaServer::on_unsent`] when no route leads to its destination.
    Sip(Transmit),
    /// Send this MGCP message.
    Mgcp(Transmit),
    /// Look this up, then call [`MediaServer::on_found`].
    LookUp(Question, names::Question),
    /// Close the stream connections that [`MediaServer::denies`].
    Access,
    /// Serve TLS with these certificates, the content of a file, then call [`MediaServer::set_secure`].
    Certificates(Vec<u8>),
}

/// The message that waits for an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Question {
    /// A SIP request.
    Request(ResolveKey),
    /// An MGCP command to a call agent.
    CallAgent(LookupKey),
}

impl<A: Application, M: Media> MediaServer<A, M> {
    /// The sessions of a worker that `dispatcher` has welcomed; there is none yet.
    pub fn new(setup: Setup, dispatcher: &DispatcherLinks, application: A, media: M, now: Time) -> Self {
        let Setup { sip, mgcp, hosts, program, capacity, has_gateway, session_timer, gate_key, seeds } = setup;
        let (welcome, listeners) = (dispatcher.welcome(), dispatcher.listeners());
        let [one, two, seeds @ ..] = seeds;
        let is_away = welcome.lan.is_some();
        let away = if is_away { sip.iter().map(SocketAddr::ip).collect() } else { Vec::new() };
        let identity = Identity {
            token: welcome.token.as_str().into(),
            own: sip,
            listeners: listeners.addresses(),
            duplicates: listeners.held(),
            away,
            advertise: welcome.advertise.clone(),
            hosts,
            reply_from: welcome.reply_from,
            program,
            seed: [one, two],
            contact_name: welcome.contact_name.as_deref().map(Into::into),
            speaks_tls: false,
        };
        let units = capacity.unwrap_or(welcome.capacity);
        let mut mgcp = Mgcp::new(welcome, mgcp, listeners, units, seeds);
        mgcp.start(welcome, now);
        let mut transactions = OpenTransactions::default();
        transactions.set_key(welcome.key.clone());
        let mut uas = Uas::new(identity, Limits { units, ..Limits::default() }, session_timer);
        uas.set_info_types(application.info_types());
        MediaServer {
            uas,
            mgcp,
            application,
            media,
            transactions,
            conferences: Conferences::default(),
            gate: AccessGate::new(&welcome.access, &gate_key),
            has_new_rules: false,
            new_certificates: None,
            call_log: CallLog::default(),
            scanner: Scanner::new(),
            ending: None,
            has_gateway,
            capacity,
        }
    }

    /// The media.
    pub const fn media_mut(&mut self) -> &mut M {
        &mut self.media
    }

    /// The application.
    pub const fn application(&self) -> &A {
        &self.application
    }

    /// Whether connection `conn` carries a call.
    pub fn carries_call(&self, conn: u64) -> bool {
        self.uas.carries_call(conn)
    }

    /// Whether nothing from this address may come.
    pub fn denies(&self, address: IpAddr) -> bool {
        self.gate.denies(address)
    }

    /// Units that strangers claim beyond their share: they are in no report.
    pub fn units_not_counted(&self) -> u32 {
        self.uas.units_not_counted() + self.mgcp.gateway.units_not_counted()
    }

    /// Whether nothing is left of any session.
    pub fn is_idle(&self) -> bool {
        self.uas.is_idle() && self.mgcp.gateway.is_idle() && self.conferences.is_empty()
    }

    /// The addresses that a look-up has found.
    pub fn on_found(&mut self, whose: Question, endpoints: &[Endpoint], now: Time) {
        match whose {
            Question::Request(key) => self.uas.on_resolved(key, endpoints, now),
            Question::CallAgent(key) => {
                let addresses: Vec<SocketAddr> = endpoints.iter().map(|endpoint| endpoint.address).collect();
                self.mgcp.gateway.on_resolved(key, &addresses, now);
            }
        }
    }

    /// Whether the own SIP ports speak TLS from now on, and the name in Contact for TLS callers.
    pub fn set_secure(&mut self, speaks_tls: bool, contact_name: Option<&str>) {
        self.uas.set_secure(speaks_tls, contact_name);
    }

    /// No route leads to the destination of this message: a request goes to its next address, if it has one.
    pub fn on_unsent(&mut self, message: &[u8], now: Time) {
        self.uas.on_unsent(message, now);
    }

    /// Connections of ours could not be opened, or are closed: `is_failed` tells whether one to an address, and over
    /// TLS to a name, is one of these.
    pub fn on_dialled_failed(&mut self, is_failed: impl Fn(SocketAddr, Option<&str>) -> bool, now: Time) {
        self.uas.on_dialled_failed(is_failed, now);
    }

    /// Connections to ports of ours are closed.
    pub fn on_connections_closed(&mut self, is_closed: impl Fn(u64) -> bool, now: Time) {
        self.uas.on_connections_closed(is_closed, now);
    }

    /// The connection `conn` to a port of ours is gone, and a message of ours with it.
    pub fn on_unsent_on(&mut self, conn: u64, message: &[u8], now: Time) {
        self.uas.on_undelivered(Hop::Stream(conn), message, now);
    }
}

impl<A: Application, M: Media> Sessions for MediaServer<A, M> {
    type Effect = Effect;

    fn on_message(&mut self, envelope: &Envelope, payload: &[u8], now: Time) -> bool {
        self.on_handed_over(envelope, payload, now)
    }

    fn on_undelivered(&mut self, to: ReplyTo, bytes: &[u8], now: Time) {
        self.uas.on_undelivered(Hop::Dispatcher(to), bytes, now);
    }

    fn set_certificates(&mut self, file: Vec<u8>) {
        self.new_certificates = Some(file);
    }

    fn set_access(&mut self, rules: &[AccessRule]) {
        self.gate.set_rules(rules);
        self.has_new_rules = true;
    }

    fn set_draining(&mut self, draining: bool, now: Time) {
        self.uas.set_draining(draining);
        self.mgcp.gateway.set_draining(draining, now);
    }

    fn is_draining(&self) -> bool {
        self.uas.is_draining()
    }

    fn end_all(&mut self, why: &str, _now: Time) {
        self.uas.set_draining(true);
        let calls: Vec<CallKey> = self.uas.calls().collect();
        let connections = self.mgcp.gateway.load().sessions;
        tracing::info!(calls = calls.len(), connections, "{why}: calls are ended");
        self.ending = Some(calls.into_iter());
    }

    fn handle_timeout(&mut self, now: Time) {
        self.uas.handle_timeout(now);
        self.mgcp.gateway.handle_timeout(now);
        if self.application.poll_timeout().is_some_and(|due| due <= now) {
            self.application.handle_timeout(&mut Calls { uas: &mut self.uas, media: &mut self.media, now });
        }
    }

    fn poll_timeout(&self) -> Option<Time> {
        let all = [self.uas.poll_timeout(), self.mgcp.gateway.poll_timeout(), self.application.poll_timeout()];
        all.into_iter().flatten().min()
    }

    fn poll_output(&mut self, dispatcher: &mut DispatcherLinks, now: Time) -> Option<Effect> {
        if std::mem::take(&mut self.has_new_rules) {
            return Some(Effect::Access);
        }
        if let Some(file) = self.new_certificates.take() {
            return Some(Effect::Certificates(file));
        }
        loop {
            let effect = self.poll_gateway(dispatcher, now).or_else(|| self.poll_calls(dispatcher, now));
            if effect.is_some() {
                return effect;
            }
            self.mgcp.share(&mut self.uas);
            if !self.end_some(now) {
                return None;
            }
        }
    }

    fn report(&self, now: Time) -> Report {
        let (load, gateway) = (self.uas.load(), self.mgcp.gateway.load());
        Report {
            units_used: load.units_used.saturating_add(gateway.units_used),
            units_total: self.uas.units(),
            sessions: load.sessions.saturating_add(gateway.sessions),
            no_room: self.media.is_exhausted(now),
            direct: load.direct + gateway.direct,
            answered: load.answered + gateway.answered,
            ..Report::default()
        }
    }

    fn is_needed(&self, is_stopping: bool) -> bool {
        let gateway = &self.mgcp.gateway;
        !self.uas.is_quiet() || if is_stopping { !gateway.is_quiet() } else { gateway.is_needed() }
    }

    fn on_dispatcher_lost(&mut self, now: Time) {
        self.uas.on_dispatcher_lost(now);
        self.mgcp.gateway.on_dispatcher_lost();
    }

    fn set_listeners(&mut self, welcome: &Welcome, listeners: &Listeners) {
        self.uas.set_listeners(listeners.addresses(), listeners.held());
        self.mgcp.set_listeners(welcome, listeners);
    }

    fn on_welcome(&mut self, welcome: &mut Welcome, listeners: &Listeners) {
        if !self.has_gateway {
            welcome.mgcp = None;
        }
        self.set_listeners(welcome, listeners);
        if self.capacity.is_none() {
            self.uas.set_units(welcome.capacity);
        }
        self.transactions.set_key(welcome.key.clone());
        self.set_access(&welcome.access);
    }

    fn account(&mut self, now: Time) -> Account {
        let calls = self.mgcp.gateway.calls().map(|(id, since)| (since, mgcp::group_of(id)));
        let conferences = self.conferences.open().chain(calls).collect();
        let messages = self.transactions.unanswered(self.uas.unanswered());
        Account { transactions: self.transactions.all(now), conferences, messages }
    }
}

impl<A: Application, M: Media> MediaServer<A, M> {
    /// Ends some of the calls that are to be ended, and with the last ones the connections; false when there are none.
    fn end_some(&mut self, now: Time) -> bool {
        let Some(ending) = &mut self.ending else { return false };
        ending.by_ref().take(ENDED_AT_ONCE).for_each(|key| self.uas.hang_up(key, now));
        if ending.len() == 0 {
            self.ending = None;
            self.mgcp.gateway.end_all(now);
        }
        true
    }

    fn join_conference(&mut self, key: CallKey, name: Box<[u8]>, dispatcher: &mut DispatcherLinks, now: Time) {
        if self.conferences.join(key, name.clone(), now) {
            dispatcher.tell(Change::Opened(name, now));
        }
    }

    fn leave_conference(&mut self, key: CallKey, dispatcher: &mut DispatcherLinks) {
        if let Some(name) = self.conferences.leave(key) {
            dispatcher.tell(Change::Closed(name));
        }
    }
}
