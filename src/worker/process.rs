//! The worker's process: one thread, one poll. Every effect that the user agent and the application ask for happens
//! here.

mod effects;
pub(super) mod gateway;
mod reading;
mod reunion;

use std::os::fd::AsRawFd;
use std::time::Duration;

use mio::unix::SourceFd;
use mio::{Interest, Registry, Token, Waker};

use crate::call::gateway::LookupKey;
use crate::call::{CallKey, Identity, Limits, ResolveKey, Uas};
use crate::ids::TokenKey;
use crate::net::process::descriptor_limit;
use crate::net::resolve::Resolver;
use crate::net::streams::{self, Streams};
use crate::net::udp::{Batch, Socket};
use crate::net::{clock, host, random};
use crate::station::call_log::{CallLog, named};
use crate::station::conferences::Conferences;
use crate::station::gate::AccessGate;
use crate::station::orphan::Next;
use crate::station::transactions::OpenTransactions;
use crate::time::Time;
use crate::wire::sip::Scanner;
use crate::words::{DrainMode, Report};
use crate::worker::application::{Application, Calls};
use crate::worker::descriptors::Descriptors;
use crate::worker::link::{LinkEnd, OwnPorts};
use crate::worker::links::{LINKS, MOST};
use crate::worker::media::{Media, RTP_TOKENS};
use crate::worker::mgcp::Mgcp;
use crate::worker::settings::{Settings, WorkerError};
use crate::worker::slot_lock::SlotLock;
use crate::worker::sources::{SIGNALS, Sources};
use crate::worker::tie::Tie;
use crate::worker::turn::Rank;

/// Addresses that were looked up.
pub(super) const RESOLVER: Token = Token(1);
/// The slot's UDP sockets, by number.
const OWN_UDP: usize = 1 << 8;
/// The slot's TCP listeners, by number.
const OWN_TCP: usize = 1 << 9;
/// The slot's MGCP sockets, by number.
const OWN_MGCP: usize = 1 << 10;
/// Stream connections, by their index.
const STREAM_TOKENS: usize = 1 << 20;
/// Sockets of each kind that a slot can have.
const SOCKETS: usize = 1 << 8;
/// A name that takes longer is given up: the BYE's own time is 32 s.
const LOOKUP_WITHIN: Duration = Duration::from_secs(8);

/// Runs a worker until the dispatcher stops it, or until it has had neither call nor dispatcher for 30 s.
///
/// # Errors
///
/// The dispatcher cannot be reached or does not welcome the worker, or the system refuses a socket. A link that ends
/// later is no error: the calls go on.
pub fn run(settings: Settings, application: impl Application) -> Result<(), WorkerError> {
    let sources = Sources::new(rank_of)?;
    let _named = settings.name.as_deref().map(|name| named(name).entered());
    // The lock is taken before the slot's sockets come: the process that has them must hold it, because a new
    // dispatcher waits for the lock's holder.
    let lock = SlotLock::take(&settings)?;
    let (mut tie, own) = Tie::new(LinkEnd::join(&settings, &sources.poll)?, &sources.poll)?;
    let _named = settings.name.is_none().then(|| named(&tie.welcome.name).entered());
    let media_ports = settings.media_ports(tie.welcome.rtp_ports);
    // The worker says goodbye with the reason, so that the dispatcher does not report it as missing.
    let media_ports = media_ports.inspect_err(|error| tie.links.goodbye(&error.to_string(), clock::now()))?;
    Worker::new(sources, lock, tie, own, media_ports, settings, application)?.run()
}

/// Rank of a source: links are read first, then datagrams, then streams.
fn rank_of(source: Token) -> Rank {
    match source.0 {
        ..OWN_UDP => Rank::Links,
        OWN_TCP..OWN_MGCP | STREAM_TOKENS..RTP_TOKENS => Rank::Streams,
        _ => Rank::Datagrams,
    }
}

/// Watches a socket for datagrams.
fn watch(registry: &Registry, socket: &Socket, token: Token) -> Result<(), WorkerError> {
    let fd = socket.as_raw_fd();
    registry
        .register(&mut SourceFd(&fd), token, Interest::READABLE)
        .map_err(WorkerError::system("cannot watch the slot's socket"))
}

/// The state of a worker process.
struct Worker<A> {
    sources: Sources,
    /// The slot's lock, held as long as its sockets are. `None` for a worker that came by itself, whose sockets are its
    /// own.
    slot: Option<SlotLock>,
    settings: Settings,
    tie: Tie,
    transactions: OpenTransactions,
    /// Changes since a new dispatcher was sent this worker's account.
    meanwhile: Vec<Meanwhile>,
    uas: Uas,
    mgcp: Mgcp,
    application: A,
    call_log: CallLog,
    media: Media,
    conferences: Conferences,
    streams: Streams,
    /// The access rules at our own ports.
    gate: AccessGate,
    own: Vec<Socket>,
    resolver: Resolver<Question>,
    scanner: Scanner,
    batch: Batch,
    rtp_batch: Batch,
}

/// The message that waits for an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Question {
    /// A SIP request.
    Request(ResolveKey),
    /// An MGCP command to a call agent.
    CallAgent(LookupKey),
}

/// A change that a new dispatcher is told after its welcome.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Meanwhile {
    /// The final response to a transaction of an earlier link has left.
    Released([u8; 16]),
    Opened(Box<[u8]>, Time),
    Closed(Box<[u8]>),
}

impl<A: Application> Worker<A> {
    fn new(
        sources: Sources,
        lock: Option<SlotLock>,
        tie: Tie,
        ports: OwnPorts,
        media_ports: (u16, u16),
        settings: Settings,
        application: A,
    ) -> Result<Self, WorkerError> {
        let OwnPorts { udp: own, tcp, mgcp } = ports;
        let Tie { welcome, listeners, .. } = &tie;
        let mut transactions = OpenTransactions::default();
        transactions.set_key(welcome.key.clone());
        let gate_key = TokenKey::new(random().map_err(WorkerError::system("no random numbers"))?);
        let random: [u8; 48] = random().map_err(WorkerError::system("no random numbers"))?;
        let seed =
            |at: usize| random.get(at..at + 8).and_then(|bytes| bytes.try_into().ok()).map_or(0, u64::from_ne_bytes);
        let identity = Identity {
            token: welcome.token.as_str().into(),
            own: own.iter().map(Socket::local_addr).collect(),
            listeners: listeners.addresses(),
            duplicates: listeners.held(),
            advertise: welcome.advertise.clone(),
            hosts: host::addresses(),
            reply_from: welcome.reply_from,
            program: settings.program.as_str().into(),
            seed: [seed(0), seed(8)],
        };
        let units = settings.capacity.unwrap_or(welcome.capacity);
        let mut mgcp = Mgcp::new(welcome, mgcp, listeners, units, [seed(24), seed(32), seed(40)]);
        mgcp.start(welcome, clock::now());
        let limits = Limits { units, ..Limits::default() };
        let registry = sources.poll.registry();
        for (number, socket) in own.iter().enumerate().take(SOCKETS) {
            watch(registry, socket, Token(OWN_UDP + number))?;
        }
        for (number, socket) in mgcp.own.iter().enumerate().take(SOCKETS) {
            watch(registry, socket, Token(OWN_MGCP + number))?;
        }
        let shares = Descriptors::of(descriptor_limit());
        let tokens = streams::Tokens { listeners: OWN_TCP, connections: STREAM_TOKENS };
        let streams = Streams::new(registry, tcp, tokens, shares.streams)
            .map_err(WorkerError::system("cannot watch the slot's TCP listener"))?;
        let media_registry = registry.try_clone().map_err(WorkerError::system("cannot share the poll"))?;
        let waker = Waker::new(registry, RESOLVER).map_err(WorkerError::system("cannot make a waker"))?;
        // A failed wake is made good by the deadline of the question.
        let wake = move || drop(waker.wake());
        let resolver = Resolver::new(wake).map_err(WorkerError::system("cannot start the look-up of names"))?;
        Ok(Worker {
            media: Media::new(media_registry, media_ports, shares.media, seed(16)),
            uas: Uas::new(identity, limits, settings.session_timer),
            mgcp,
            sources,
            slot: lock,
            settings,
            gate: AccessGate::new(&welcome.access, &gate_key),
            tie,
            transactions,
            meanwhile: Vec::new(),
            application,
            call_log: CallLog::default(),
            conferences: Conferences::default(),
            streams,
            own,
            resolver,
            scanner: Scanner::new(),
            batch: Batch::new(),
            rtp_batch: Batch::sized(32, 2_048),
        })
    }

    fn run(mut self) -> Result<(), WorkerError> {
        loop {
            let now = clock::now();
            let due = if self.sources.has_more() { None } else { self.poll_timeout(now) };
            self.sources.wait(due.map(|due| due.since(now)))?;
            while let Some(token) = self.sources.next() {
                if self.on_ready(token) {
                    self.sources.add(token);
                }
                self.carry_out();
            }
            let now = clock::now();
            if self.tie.stage.is_drained(now) {
                self.end_calls("drained for long enough", now);
            }
            self.uas.handle_timeout(now);
            self.mgcp.gateway.handle_timeout(now);
            if self.application.poll_timeout().is_some_and(|due| due <= now) {
                self.application.handle_timeout(&mut Calls { uas: &mut self.uas, media: &mut self.media, now });
            }
            let Worker { sources, uas, streams, .. } = &mut self;
            streams.handle_timeout(now, |conn| uas.carries_call(conn), |listener| sources.add(listener));
            if let Some(slot) = &mut self.slot {
                slot.handle_timeout(now);
            }
            self.on_found(now);
            self.carry_out();
            if self.is_over(now) {
                return Ok(());
            }
            let report = self.report(now);
            self.tie.speak(report, now, &mut self.sources);
        }
    }

    fn poll_timeout(&self, now: Time) -> Option<Time> {
        let all = [
            self.tie.poll_timeout(self.report(now)),
            self.uas.poll_timeout(),
            self.mgcp.gateway.poll_timeout(),
            self.application.poll_timeout(),
            self.streams.poll_timeout(),
            self.resolver.poll_timeout(),
            self.slot.as_ref().map(SlotLock::poll_timeout),
        ];
        all.into_iter().flatten().min()
    }

    /// Reads from a source; true when it may have more.
    fn on_ready(&mut self, token: Token) -> bool {
        let now = clock::now();
        match token {
            // More frames may follow the welcome.
            Token(LINKS) if self.tie.is_coming_back() => self.on_comeback(now),
            Token(token) if (LINKS..LINKS + MOST).contains(&token) => self.on_link(token - LINKS),
            SIGNALS => {
                while self.sources.signals.poll() {
                    let order = self.tie.stage.on_stop_signal(now);
                    self.obey(order, now);
                }
                false
            }
            RESOLVER => {
                self.on_found(now);
                false
            }
            Token(token) if token >= RTP_TOKENS => self.media.on_readable(Token(token), &mut self.rtp_batch, now),
            Token(token) if (OWN_UDP..OWN_UDP + SOCKETS).contains(&token) => self.on_own(token - OWN_UDP),
            Token(token) if (OWN_MGCP..OWN_MGCP + SOCKETS).contains(&token) => self.on_own_mgcp(token - OWN_MGCP),
            token => self.on_stream(token),
        }
    }

    fn obey(&mut self, order: Option<DrainMode>, now: Time) {
        match order {
            None => {}
            Some(DrainMode::Ready) => {
                self.uas.set_draining(false);
                self.mgcp.gateway.set_draining(false, now);
            }
            Some(DrainMode::Drain) => {
                self.uas.set_draining(true);
                self.mgcp.gateway.set_draining(true, now);
            }
            Some(DrainMode::Stop) => {
                self.uas.set_draining(true);
                self.end_calls("stopping", now);
            }
        }
    }

    fn end_calls(&mut self, why: &str, now: Time) {
        let calls: Vec<CallKey> = self.uas.calls().collect();
        let connections = self.mgcp.gateway.load().sessions;
        tracing::info!(calls = calls.len(), connections, "{why}: calls are ended");
        for (number, key) in calls.into_iter().enumerate() {
            self.uas.hang_up(key, now);
            if number % 64 == 63 {
                self.carry_out();
            }
        }
        self.mgcp.gateway.end_all(now);
        self.carry_out();
    }

    /// Whether no call, connection or transaction goes on here.
    fn is_quiet(&self) -> bool {
        self.uas.is_quiet() && self.mgcp.gateway.is_quiet()
    }

    fn is_over(&mut self, now: Time) -> bool {
        if self.tie.is_comeback_over(now) {
            self.on_comeback(now);
        }
        let has_calls = match self.tie.stage.is_stopping() {
            true => !self.is_quiet(),
            false => !self.uas.is_quiet() || self.mgcp.gateway.is_needed(),
        };
        match self.tie.poll(has_calls, now) {
            Next::Wait => false,
            Next::Try => {
                let begun = self.come_back(now);
                self.tie.on_hello(begun, now);
                false
            }
            Next::Leave => true,
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
}
