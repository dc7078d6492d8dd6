//! The worker's process: one thread, one poll; every effect the user agent and the application ask for happens here.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::Path;
use std::thread;
use std::time::Duration;

use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token, Waker};

use crate::admin::run_dir::worker_lock;
use crate::call::{Arrival, CallKey, Event, Hop, Identity, Limits, Output, ResolveKey, Timers, Transmit, Uas};
use crate::dispatch::SMALLEST_ANSWERED;
use crate::handoff::back::{Back, BackEvent};
use crate::handoff::frame::{
    AccessRule, Drain, DrainMode, Hello, PassedSocket, Port, RefuseReason, Report, SocketRole, Welcome,
};
use crate::ids::{Seq, TokenKey, WorkerId};
use crate::net::process::{LockError, LockFile, StopSignals};
use crate::net::resolve::{Asked, Limits as Lookups, Resolver};
use crate::net::udp::{Batch, Socket};
use crate::net::{clock, random};
use crate::time::Time;
use crate::wire::sip::{Method, Scanner};
use crate::worker::application::{Application, Call, Calls, Open};
use crate::worker::comeback::{Comeback, Progress};
use crate::worker::conferences::{self, Conferences};
use crate::worker::holdings::Holdings;
use crate::worker::link::{self, Joined, LinkEnd, Received, Sorted};
use crate::worker::links::{self, LINKS, Lane, Links, MOST};
use crate::worker::listeners::Listeners;
use crate::worker::media::{Media, RTP_TOKENS};
use crate::worker::orphan::{Next, Orphan};
use crate::worker::report::{CpuShare, Pace};
use crate::worker::screen::Screen;
use crate::worker::settings::{Link, Settings, WorkerError};
use crate::worker::size::size_of;
use crate::worker::streams::{self, Streams};

/// Addresses that were looked up.
pub(super) const RESOLVER: Token = Token(1);
/// SIGTERM and SIGINT.
const SIGNALS: Token = Token(2);
/// The slot's UDP sockets, by number.
const OWN_UDP: usize = 1 << 8;
/// The slot's TCP listeners, by number.
const OWN_TCP: usize = 1 << 9;
/// Sockets of each kind that a slot can have.
const SOCKETS: usize = 1 << 8;
/// Batches or frames read from one source before others have their turn.
const TURNS: usize = 4;
/// A worker that is told to stop by signal gives its calls this time, as the dispatcher's `--stop-after` does by default.
const STOP_WITHIN: Duration = Duration::from_secs(3);
/// The lock of a slot is free this soon after its last holder has ended.
const LOCK_WITHIN: Duration = Duration::from_secs(1);
/// A name that takes longer is given up: the BYE's own time is 32 s.
const LOOKUP_WITHIN: Duration = Duration::from_secs(8);

/// Runs a worker until the dispatcher stops it, or until it has had neither call nor dispatcher for 30 s.
///
/// # Errors
///
/// The dispatcher cannot be reached or does not welcome the worker, or the system refuses a socket. A link that ends
/// later is no error: the calls go on.
pub fn run(settings: Settings, application: impl Application) -> Result<(), WorkerError> {
    // Before any thread is started: they all inherit it.
    let signals = StopSignals::take().map_err(WorkerError::system("cannot take signals"))?;
    let poll = Poll::new().map_err(WorkerError::system("cannot make a poll"))?;
    poll.registry()
        .register(&mut SourceFd(&signals.as_raw_fd()), SIGNALS, Interest::READABLE)
        .map_err(WorkerError::system("cannot watch signals"))?;
    // Before the slot's sockets come: who has them has the lock, and a new dispatcher waits for its holder.
    let lock = lock_slot(&settings)?;
    let joined = LinkEnd::join(&settings, &poll)?;
    Worker::new(poll, signals, lock, joined, settings, application)?.run()
}

/// The lock of the slot that a dispatcher has started this worker for.
fn lock_slot(settings: &Settings) -> Result<Option<LockFile>, WorkerError> {
    // Who comes by itself has ports of its own.
    let name = settings.name.as_deref().filter(|_| matches!(settings.link, Link::Inherited(_)));
    let slot = name.and_then(|name| name.parse::<WorkerId>().ok());
    let run_dir = settings.handoff.as_deref().and_then(Path::parent);
    let (Some(slot), Some(run_dir)) = (slot, run_dir) else { return Ok(None) };
    let path = worker_lock(run_dir, slot);
    let deadline = clock::now() + LOCK_WITHIN;
    loop {
        match LockFile::take(&path) {
            Err(LockError::Held { .. }) if clock::now() < deadline => thread::sleep(Duration::from_millis(20)),
            taken => return Ok(Some(taken?)),
        }
    }
}

/// Everything a worker process has.
struct Worker<A> {
    poll: Poll,
    signals: StopSignals,
    /// Held as long as the sockets of a slot are; a worker that came by itself has its own.
    slot: Option<LockFile>,
    settings: Settings,
    /// The last one: what a new dispatcher asks for.
    welcome: Welcome,
    links: Links,
    /// A new link, while the dispatcher at its other end has not welcomed us.
    comeback: Option<Comeback>,
    holdings: Holdings,
    /// What has happened since a new dispatcher was told what there is.
    meanwhile: Vec<Meanwhile>,
    uas: Uas,
    application: A,
    media: Media,
    conferences: Conferences,
    streams: Streams,
    /// What may come to our own ports.
    screen: Screen,
    own: Vec<Socket>,
    /// Duplicates of the well-known sockets; only sent on.
    listeners: Listeners,
    resolver: Resolver<ResolveKey>,
    pace: Pace<Figures>,
    cpu: CpuShare,
    scanner: Scanner,
    batch: Batch,
    rtp_batch: Batch,
    /// Sources that may have more to read: an edge is told only once.
    ready: VecDeque<Token>,
    stage: Stage,
    /// When the calls of a drain that has a deadline are ended.
    calls_end_at: Option<Time>,
}

/// How a worker's life goes on.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Stage {
    /// It has a dispatcher.
    Serving,
    /// The dispatcher is gone.
    Orphaned(Orphan),
    /// It ends its calls, until this time.
    Stopping(Time),
}

/// Something that a new dispatcher has to hear behind its welcome.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Meanwhile {
    /// The final response to a transaction of an earlier link has left.
    Released([u8; 16]),
    Opened(Box<[u8]>, Time),
    Closed(Box<[u8]>),
}

/// What of a report is worth a new one when it changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Figures {
    units_used: u32,
    sessions: u32,
    no_room: bool,
    draining: bool,
}

impl<A: Application> Worker<A> {
    fn new(
        poll: Poll,
        signals: StopSignals,
        lock: Option<LockFile>,
        joined: Joined,
        settings: Settings,
        application: A,
    ) -> Result<Self, WorkerError> {
        let Joined { link, back, welcome, own, tcp, listeners: duplicates, more } = joined;
        let mut links = Links::default();
        links.set(link, back, more, &poll).map_err(WorkerError::system("cannot watch the links"))?;
        let mut listeners = Listeners::default();
        listeners.set(&welcome.listeners, duplicates);
        let mut holdings = Holdings::default();
        holdings.set_key(welcome.key.clone());
        let screen_key = TokenKey::new(random().map_err(WorkerError::system("no random numbers"))?);
        let random: [u8; 24] = random().map_err(WorkerError::system("no random numbers"))?;
        let seed =
            |at: usize| random.get(at..at + 8).and_then(|bytes| bytes.try_into().ok()).map_or(0, u64::from_ne_bytes);
        let identity = Identity {
            token: welcome.token.as_str().into(),
            own: own.iter().map(Socket::local_addr).collect(),
            listeners: listeners.addresses(),
            duplicates: listeners.held(),
            advertise: welcome.advertise.clone(),
            reply_from: welcome.reply_from,
            program: settings.program.as_str().into(),
            seed: [seed(0), seed(8)],
        };
        let limits = Limits { units: settings.capacity.unwrap_or(welcome.capacity), ..Limits::default() };
        let registry = poll.registry();
        for (number, socket) in own.iter().enumerate().take(SOCKETS) {
            streams::register(registry, socket, Token(OWN_UDP + number))?;
        }
        let streams = Streams::new(registry, tcp, OWN_TCP)?;
        let media_registry = registry.try_clone().map_err(WorkerError::system("cannot share the poll"))?;
        let waker = Waker::new(registry, RESOLVER).map_err(WorkerError::system("cannot make a waker"))?;
        // A failed wake is made good by the deadline of the question.
        let wake = move || drop(waker.wake());
        let resolver = Resolver::new(Lookups::default(), wake)
            .map_err(WorkerError::system("cannot start the look-up of names"))?;
        Ok(Worker {
            media: Media::new(media_registry, welcome.rtp_ports, seed(16)),
            uas: Uas::new(identity, limits, Timers::default(), settings.session_timer),
            poll,
            signals,
            slot: lock,
            settings,
            screen: Screen::new(&welcome.access, &screen_key),
            welcome,
            links,
            comeback: None,
            holdings,
            meanwhile: Vec::new(),
            application,
            conferences: Conferences::default(),
            streams,
            own,
            listeners,
            resolver,
            pace: Pace::new(),
            cpu: CpuShare::default(),
            scanner: Scanner::new(),
            batch: Batch::new(),
            rtp_batch: Batch::sized(32, 2_048),
            // The welcome's frame may have had company.
            ready: VecDeque::from([links::token(0)]),
            stage: Stage::Serving,
            calls_end_at: None,
        })
    }

    fn run(mut self) -> Result<(), WorkerError> {
        let mut events = Events::with_capacity(1_024);
        loop {
            let now = clock::now();
            let wait = if self.ready.is_empty() {
                self.poll_timeout(now).map(|due| due.since(now))
            } else {
                Some(Duration::ZERO)
            };
            match self.poll.poll(&mut events, wait) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                result => result.map_err(WorkerError::system("cannot wait for events"))?,
            }
            let leftover = self.ready.len();
            for event in &events {
                if event.is_writable() {
                    self.streams.on_writable(event.token());
                }
                if !self.ready.iter().take(leftover).any(|token| *token == event.token()) {
                    self.ready.push_back(event.token());
                }
            }
            for _ in 0..self.ready.len() {
                let Some(token) = self.ready.pop_front() else { break };
                if self.on_ready(token) {
                    self.ready.push_back(token);
                }
                self.carry_out();
            }
            let now = clock::now();
            if self.calls_end_at.is_some_and(|at| at <= now) {
                self.end_calls("drained for long enough", now);
            }
            self.uas.handle_timeout(now);
            if self.application.poll_timeout().is_some_and(|due| due <= now) {
                self.application.handle_timeout(&mut Calls { uas: &mut self.uas, media: &mut self.media, now });
            }
            self.streams.handle_timeout(now);
            self.on_found(now);
            self.carry_out();
            if self.is_over(now) {
                return Ok(());
            }
            self.speak(now);
        }
    }

    fn poll_timeout(&self, now: Time) -> Option<Time> {
        let report = self.links.is_up().then(|| self.pace.due(&self.figures(now), self.uas.load().sessions > 0));
        let stage = match &self.stage {
            Stage::Serving => None,
            Stage::Orphaned(orphan) => orphan.poll_timeout(),
            Stage::Stopping(until) => Some(*until),
        };
        let all = [
            report,
            self.links.poll_timeout(),
            stage,
            self.comeback.as_ref().map(Comeback::poll_timeout),
            self.calls_end_at,
            self.uas.poll_timeout(),
            self.application.poll_timeout(),
            self.streams.poll_timeout(),
            self.resolver.poll_timeout(),
        ];
        all.into_iter().flatten().min()
    }

    /// Reads from a source; true when it may have more.
    fn on_ready(&mut self, token: Token) -> bool {
        let now = clock::now();
        match token {
            Token(LINKS) if self.comeback.is_some() => {
                self.on_comeback(now);
                // Behind the welcome there may be more.
                self.links.is_up()
            }
            Token(token) if (LINKS..LINKS + MOST).contains(&token) => self.on_link(token - LINKS),
            SIGNALS => {
                while self.signals.poll() {
                    self.on_stop_signal(now);
                }
                false
            }
            RESOLVER => {
                self.on_found(now);
                false
            }
            Token(token) if token >= RTP_TOKENS => self.media.on_readable(Token(token), &mut self.rtp_batch, now),
            Token(token) if (OWN_UDP..OWN_UDP + SOCKETS).contains(&token) => self.on_own(token - OWN_UDP),
            token => self.on_stream(token),
        }
    }

    /// Frames from lane `number` of the dispatcher.
    fn on_link(&mut self, number: usize) -> bool {
        for _ in 0..TURNS {
            let numbers = self.links.numbers();
            let Some(Lane { end, back, .. }) = self.links.get_mut(number) else { return false };
            if !back.wants_frames() {
                // Read on once the link has taken what waits for it.
                return false;
            }
            let frame = match end.receive() {
                Ok(Received::Frame(frame)) => frame,
                Ok(Received::Nothing) => return false,
                Ok(Received::End) => return self.on_link_over(number, "the dispatcher is gone"),
                Err(error) => return self.on_link_over(number, &error.to_string()),
            };
            let now = clock::now();
            let Worker { uas, scanner, holdings, listeners, .. } = self;
            let (mut drain, mut queried, mut goodbye) = (None, false, None);
            let (mut unread, mut access) = (Vec::new(), None);
            let result = back.on_frame(frame, &mut |event| match event {
                BackEvent::Message(message) => {
                    let mut envelope = message.envelope;
                    envelope.seq = numbers.of(number, envelope.seq);
                    envelope.listener = listeners.number(envelope.listener);
                    let mut arrival = Arrival::handed_over(&envelope);
                    match scanner.scan(message.payload) {
                        Ok(msg) => {
                            holdings.on_message(&msg, envelope.seq, now);
                            if arrival.size == 0 && msg.method() == Some(Method::Invite) {
                                // It follows something of ours (its conference, its first try without credentials), so
                                // that nobody has weighed it; it opens a session all the same.
                                arrival.size = size_of(&msg);
                            }
                            uas.on_message(&msg, &arrival, now);
                        }
                        // The dispatcher answers what nobody can read; this came through by mistake.
                        Err(_) => unread.push(message.envelope.seq),
                    }
                }
                BackEvent::Drain(change) => drain = Some(change),
                BackEvent::Query => queried = true,
                BackEvent::Access(rules) => access = Some(rules.iter().collect::<Vec<_>>()),
                BackEvent::Goodbye(reason) => goodbye = Some(reason.to_owned()),
                // Once is enough.
                BackEvent::Welcome(_) => {}
            });
            unread.into_iter().for_each(|seq| back.done(seq, now));
            if queried {
                self.pace.ask();
            }
            if let Some(rules) = access {
                self.set_access(&rules);
            }
            if let Some(drain) = drain {
                self.on_drain(drain, now);
            }
            self.carry_out();
            if let Some(reason) = goodbye.or_else(|| result.err().map(|error| error.to_string())) {
                return self.on_link_over(number, &reason);
            }
        }
        true
    }

    /// A link has been read to its end. What the other lanes have sent is still to be read.
    fn on_link_over(&mut self, number: usize, reason: &str) -> bool {
        if self.links.on_end(number) {
            self.on_dispatcher_lost(reason);
        }
        false
    }

    /// Datagrams at the slot's own port.
    fn on_own(&mut self, number: usize) -> bool {
        let Some(socket) = self.own.get(number) else { return false };
        for _ in 0..TURNS {
            let read = match socket.recv_batch(&mut self.batch) {
                Ok(read @ 1..) => read,
                Ok(_) => return false,
                Err(error) => {
                    tracing::warn!(%error, "cannot read from the slot's own port");
                    return false;
                }
            };
            let now = clock::now();
            let Worker { uas, scanner, screen, .. } = self;
            for datagram in self.batch.iter().filter(|datagram| !datagram.truncated) {
                let (scanned, from) = (scanner.scan(datagram.bytes), datagram.source.ip());
                // Nobody gets more from us than was put in, as from the dispatcher.
                let is_tiny = datagram.bytes.len() < SMALLEST_ANSWERED;
                if is_tiny && scanned.as_ref().map_or(true, |msg| uas.begins(msg)) {
                    continue;
                }
                if !screen.lets_in(from, now, || scanned.as_ref().map_or(true, |msg| uas.begins(msg))) {
                    continue;
                }
                match scanned {
                    Ok(msg) => {
                        let size = size_of(&msg);
                        let arrival = Arrival::own(number as u16, datagram.source, datagram.local, size);
                        uas.on_message(&msg, &arrival, now);
                    }
                    Err(unparsable) => {
                        let arrival = Arrival::own(number as u16, datagram.source, datagram.local, 1);
                        uas.on_unparsable(&unparsable, &arrival);
                    }
                }
            }
            if read < self.batch.places() {
                return false;
            }
        }
        true
    }

    /// Bytes on a stream connection, or a new connection.
    fn on_stream(&mut self, token: Token) -> bool {
        let now = clock::now();
        let Worker { uas, scanner, screen, streams, .. } = self;
        let more = streams.on_readable(token, now, &mut |bytes, conn, source, local| {
            let scanned = scanner.scan(bytes);
            if !screen.lets_in(source.ip(), now, || scanned.as_ref().map_or(true, |msg| uas.begins(msg))) {
                return;
            }
            match scanned {
                Ok(msg) => {
                    let size = size_of(&msg);
                    uas.on_message(&msg, &Arrival::stream(conn, source, local, size), now);
                }
                Err(unparsable) => uas.on_unparsable(&unparsable, &Arrival::stream(conn, source, local, 1)),
            }
        });
        if streams.is_listener(token) {
            streams.close_where(|address| screen.denies(address));
        }
        more
    }

    /// Other access rules: they hold for connections that are there, too.
    fn set_access(&mut self, rules: &[AccessRule]) {
        let Worker { screen, streams, .. } = self;
        screen.set_rules(rules);
        streams.close_where(|address| screen.denies(address));
    }

    /// Does what the user agent asks for, until it asks for nothing more.
    fn carry_out(&mut self) {
        while let Some(output) = self.uas.poll_output() {
            let now = clock::now();
            match output {
                Output::Transmit(transmit) => self.transmit(&transmit, now),
                Output::Event(key, event) => self.on_event(key, event, now),
                Output::Answered(seq) => self.answered(seq, now),
                Output::Refuse(seq, reason) => self.refuse(seq, reason),
                Output::Resolve { key, host, port } => self.look_up(key, &host, port, now),
            }
        }
    }

    /// The final response to a handed-over message has left. The dispatcher of an earlier link has no use for its number;
    /// the present one knows the transaction by its name.
    fn answered(&mut self, seq: Seq, now: Time) {
        let named = self.holdings.on_answered(seq, now);
        if !self.links.answered(seq, now)
            && let Some(branch) = named
        {
            self.tell(Meanwhile::Released(branch));
        }
    }

    /// Gives a message back. What came on an earlier link cannot be: the user agent answers it instead.
    fn refuse(&mut self, seq: Seq, reason: RefuseReason) {
        self.holdings.on_refused(seq);
        self.links.refuse(seq, reason);
    }

    /// Tells the dispatcher, or the one that has been told already what there is and has not welcomed us yet.
    fn tell(&mut self, change: Meanwhile) {
        if !self.links.is_up() {
            if self.comeback.is_some() {
                self.meanwhile.push(change);
            }
            return;
        }
        let told = match &change {
            Meanwhile::Released(branch) => {
                self.links.release(*branch);
                Ok(())
            }
            Meanwhile::Opened(name, opened) => self.links.group_open(*opened, name),
            Meanwhile::Closed(name) => self.links.group_closed(name),
        };
        if let Err(error) = told {
            tracing::debug!(%error, "the dispatcher does not hear of a conference");
        }
    }

    fn look_up(&mut self, key: ResolveKey, host: &str, port: u16, now: Time) {
        match self.resolver.ask(key, host, port, now + LOOKUP_WITHIN) {
            Ok(Asked::Now(address)) => self.uas.on_resolved(key, Some(address), now),
            Ok(Asked::Later) => {}
            Err(error) => {
                tracing::debug!(%error, "a request of ours cannot be sent");
                self.uas.on_resolved(key, None, now);
            }
        }
    }

    fn on_found(&mut self, now: Time) {
        while let Some(answer) = self.resolver.poll(now) {
            let address = match answer.addresses {
                Ok(addresses) => addresses.first().copied(),
                Err(error) => {
                    tracing::debug!(%error, "a request of ours cannot be sent");
                    None
                }
            };
            self.uas.on_resolved(answer.key, address, now);
        }
    }

    /// What does not leave is lost like a packet on the way: the transaction's timers repeat it.
    fn transmit(&mut self, transmit: &Transmit, now: Time) {
        let Transmit { hop, to, from, bytes } = transmit;
        let socket = match *hop {
            Hop::Own(number) => self.own.get(usize::from(number)),
            // A listener that a new dispatcher has given up: from our own port then, as if `reply-from` said so.
            Hop::Listener(number) => self
                .listeners
                .get(number)
                .or_else(|| self.own.iter().find(|own| own.local_addr().is_ipv4() == to.is_ipv4())),
            Hop::Stream(conn) => return self.streams.send(conn, *to, bytes, now),
            Hop::Dial => return self.streams.dial(*to, bytes, now),
            Hop::Front(conn) => {
                if let Err(error) = self.links.reply(conn, bytes) {
                    tracing::debug!(%error, "a reply for the dispatcher's connection is dropped");
                }
                return;
            }
        };
        let Some(socket) = socket else { return };
        if let Err(error) = socket.send(bytes, *to, *from) {
            tracing::debug!(%error, %to, "a message could not be sent");
        }
    }

    fn on_event(&mut self, key: CallKey, event: Event, now: Time) {
        let Worker { uas, media, application, .. } = self;
        match event {
            Event::Offer(offer) if media.has(key) => return media.on_offer(uas, key, &offer, now),
            Event::Answer(answer) if media.has(key) => return media.on_answer(uas, key, &answer, now),
            Event::Ended(reason) => {
                media.on_ended(key);
                application.on_ended(key, reason);
                return self.leave_conference(key);
            }
            _ => {}
        }
        let mut call = Call { uas, media, key, now, offer: None, open: Open::Call };
        match event {
            Event::Incoming { offer, .. } => {
                call.offer = offer.as_deref();
                let conference = call.invite(conferences::name_of).flatten();
                application.on_call(&mut call);
                if let Some(name) = conference.filter(|_| self.uas.size(key).is_some()) {
                    self.join_conference(key, name, now);
                }
            }
            Event::Established => application.on_established(&mut call),
            Event::Offer(offer) => {
                (call.offer, call.open) = (Some(offer.as_ref()), Open::Offer);
                application.on_offer(&mut call);
            }
            Event::Answer(answer) => application.on_answer(&mut call, &answer),
            Event::Info { content_type, body } => {
                application.on_info(&mut call, &String::from_utf8_lossy(&content_type), &body);
            }
            Event::Ended(_) => {}
        }
    }

    fn join_conference(&mut self, key: CallKey, name: Box<[u8]>, now: Time) {
        if self.conferences.join(key, name.clone(), now) {
            self.tell(Meanwhile::Opened(name, now));
        }
    }

    fn leave_conference(&mut self, key: CallKey) {
        if let Some(name) = self.conferences.leave(key) {
            self.tell(Meanwhile::Closed(name));
        }
    }

    fn on_drain(&mut self, drain: Drain, now: Time) {
        match drain.mode {
            // Its calls have been ended, and it goes when they have: there is no way back.
            DrainMode::Ready if matches!(self.stage, Stage::Stopping(_)) => {}
            DrainMode::Ready => {
                self.uas.set_draining(false);
                self.calls_end_at = None;
            }
            DrainMode::Drain => {
                self.uas.set_draining(true);
                // The end of time stands for "as long as they like".
                self.calls_end_at = Some(now + drain.within).filter(|at| at.0 < u64::MAX);
            }
            DrainMode::Stop => {
                self.uas.set_draining(true);
                self.stage = Stage::Stopping(now + drain.within);
                self.end_calls("stopping", now);
            }
        }
    }

    fn end_calls(&mut self, why: &str, now: Time) {
        self.calls_end_at = None;
        let calls: Vec<CallKey> = self.uas.calls().collect();
        tracing::info!(calls = calls.len(), "{why}: calls are ended");
        for (number, key) in calls.into_iter().enumerate() {
            self.uas.hang_up(key, now);
            if number % 64 == 63 {
                self.carry_out();
            }
        }
    }

    /// The operator's will, said to this process alone: its calls are ended in order. A second signal: at once.
    fn on_stop_signal(&mut self, now: Time) {
        match &mut self.stage {
            Stage::Stopping(until) => *until = now,
            _ => self.on_drain(Drain { mode: DrainMode::Stop, within: STOP_WITHIN }, now),
        }
    }

    fn on_dispatcher_lost(&mut self, reason: &str) {
        // What is to be said on these links is numbered on them.
        self.carry_out();
        if !self.links.is_up() {
            return;
        }
        tracing::info!(reason, calls = self.uas.load().sessions, "no dispatcher: calls go on");
        self.links.clear();
        self.uas.on_dispatcher_lost();
        if !matches!(self.stage, Stage::Stopping(_)) {
            if self.slot.is_some() {
                self.listeners.stamp_arrivals();
            } else {
                // A new dispatcher does not wait for who came by itself, and could not bind them: what still has to leave
                // from them leaves from our own port.
                self.listeners.close();
                self.uas.set_listeners(self.listeners.addresses(), self.listeners.held());
            }
            self.stage = Stage::Orphaned(Orphan::new(self.settings.handoff.is_some(), clock::now()));
        }
    }

    /// Links to a new dispatcher and begins to tell it what there is.
    fn come_back(&mut self, now: Time) -> io::Result<Comeback> {
        let path = self.settings.handoff.as_deref().ok_or(io::ErrorKind::NotFound)?;
        let link = LinkEnd::connect(path, &self.poll)?;
        let load = self.uas.load();
        let hello = Hello {
            secret: Some(self.welcome.secret),
            incarnation: Some(self.welcome.incarnation),
            program: self.settings.program.clone(),
            pid: std::process::id(),
            capacity: self.settings.capacity,
            wants_listeners: self.settings.wants_listeners,
            links: MOST as u16,
            units_used: load.units_used,
            sessions: load.sessions,
            draining: self.uas.is_draining(),
            ..Hello::default()
        };
        let conferences = self.conferences.open();
        if self.slot.is_none() {
            // It comes as it came first, and tells the rest when it is welcome.
            let port = |own: &Socket| Port { service: "sip".to_owned(), address: own.local_addr() };
            let ports = self.own.iter().map(port).collect();
            let hello = Hello { name: self.settings.name.clone(), ports, ..hello };
            self.meanwhile = conferences.into_iter().map(|(since, name)| Meanwhile::Opened(name, since)).collect();
            return Comeback::begin(link, hello, &[], Vec::new(), Vec::new(), now);
        }
        let mut sockets = Vec::new();
        let mut passed = Vec::new();
        for socket in &self.own {
            passed.push(PassedSocket { role: SocketRole::SipUdp, address: socket.local_addr(), listener: None });
            sockets.push(socket.as_fd());
        }
        for listener in self.streams.listeners() {
            passed.push(PassedSocket { role: SocketRole::SipTcp, address: listener.local_addr(), listener: None });
            sockets.push(listener.as_fd());
        }
        for (about, socket) in self.listeners.passed() {
            passed.push(about);
            sockets.push(socket.as_fd());
        }
        let (name, key) = (Some(self.welcome.name.clone()), self.welcome.key.clone());
        let hello = Hello { name, key, sockets: passed, ..hello };
        Comeback::begin(link, hello, &sockets, self.holdings.transactions(now), conferences, now)
    }

    /// The link to a new dispatcher has something to say, or takes more.
    fn on_comeback(&mut self, now: Time) {
        let Some(comeback) = self.comeback.take() else { return };
        match comeback.go_on(now) {
            Progress::Waiting(comeback) => self.comeback = Some(comeback),
            Progress::Welcome(link, welcome, descriptors) => self.on_welcome(link, *welcome, descriptors),
            Progress::Refused(reason) => {
                self.meanwhile.clear();
                if let Stage::Orphaned(orphan) = &mut self.stage
                    && orphan.on_refused(&reason, now)
                {
                    tracing::warn!(reason, "a new dispatcher does not let this worker in; calls go on");
                }
            }
            Progress::Failed => {
                self.meanwhile.clear();
                if let Stage::Orphaned(orphan) = &mut self.stage {
                    orphan.on_failed(now);
                }
            }
        }
    }

    /// A new dispatcher has welcomed us back. The slot's sockets, which it gave back, are ours already.
    fn on_welcome(&mut self, link: LinkEnd, welcome: Welcome, descriptors: Vec<OwnedFd>) {
        let more = match link::sort(&welcome, descriptors) {
            Ok(Sorted { listeners, more, .. }) => {
                self.listeners.set(&welcome.listeners, listeners);
                more
            }
            Err(error) => {
                tracing::warn!(%error, "the new dispatcher's sockets cannot be used");
                Vec::new()
            }
        };
        self.uas.set_listeners(self.listeners.addresses(), self.listeners.held());
        if self.settings.capacity.is_none() {
            self.uas.set_units(welcome.capacity);
        }
        self.holdings.set_key(welcome.key.clone());
        self.set_access(&welcome.access);
        self.welcome = welcome;
        if let Err(error) = self.links.set(link, Back::new(), more, &self.poll) {
            tracing::warn!(%error, "a lane of the dispatcher cannot be heard");
        }
        self.pace = Pace::new();
        if matches!(self.stage, Stage::Orphaned(_)) {
            self.stage = Stage::Serving;
        }
        tracing::info!(calls = self.uas.load().sessions, "back with a dispatcher");
        std::mem::take(&mut self.meanwhile).into_iter().for_each(|change| self.tell(change));
    }

    fn is_over(&mut self, now: Time) -> bool {
        if self.comeback.as_ref().is_some_and(|comeback| comeback.poll_timeout() <= now) {
            self.on_comeback(now);
        }
        match &mut self.stage {
            Stage::Serving => false,
            Stage::Orphaned(orphan) => match orphan.poll(!self.uas.is_quiet(), now) {
                Next::Wait => false,
                Next::Leave => true,
                Next::Try => {
                    match self.come_back(now) {
                        Ok(comeback) => self.comeback = Some(comeback),
                        // Nobody there is the common case.
                        Err(_) => {
                            if let Stage::Orphaned(orphan) = &mut self.stage {
                                orphan.on_failed(now);
                            }
                        }
                    }
                    false
                }
            },
            Stage::Stopping(until) => {
                let over = self.uas.is_quiet() || *until <= now;
                if over {
                    self.links.goodbye("stopped", now);
                }
                over
            }
        }
    }

    /// Reports when due, and sends what waits for the link.
    fn speak(&mut self, now: Time) {
        let figures = self.figures(now);
        let due = self.pace.due(&figures, figures.sessions > 0) <= now || self.links.report_due();
        if !self.links.is_up() {
            return;
        }
        if due {
            let load = self.uas.load();
            self.links.report(Report {
                number: 0,
                taken_through: Seq(0),
                covers: Seq(0),
                units_used: figures.units_used,
                units_total: self.uas.units(),
                sessions: figures.sessions,
                cpu: self.cpu.measure(clock::cpu(), now),
                no_room: figures.no_room,
                draining: figures.draining,
                direct: load.direct,
                answered: load.answered,
            });
            self.pace.reported(figures, now);
        }
        let ready = &mut self.ready;
        self.links.flush(now, |link| {
            if !ready.contains(&link) {
                ready.push_back(link);
            }
        });
    }

    fn figures(&self, now: Time) -> Figures {
        let load = self.uas.load();
        Figures {
            units_used: load.units_used,
            sessions: load.sessions,
            no_room: self.media.is_exhausted(now),
            // Its own word: a drain that the dispatcher has ordered is the dispatcher's to remember and to take back.
            draining: matches!(self.stage, Stage::Stopping(_)),
        }
    }
}
