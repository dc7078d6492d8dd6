//! The worker's process: one thread, one poll; every effect the user agent and the application ask for happens here.

use std::collections::VecDeque;
use std::io;
use std::time::Duration;

use mio::{Events, Poll, Token, Waker};

use crate::call::{Arrival, CallKey, Event, Hop, Identity, Limits, Output, ResolveKey, Timers, Transmit, Uas};
use crate::handoff::Transmit as Flow;
use crate::handoff::back::{Back, BackEvent};
use crate::handoff::frame::{Drain, DrainMode, Report};
use crate::net::resolve::{Asked, Limits as Lookups, Resolver};
use crate::net::udp::{Batch, Socket};
use crate::net::{clock, random};
use crate::time::Time;
use crate::wire::sip::{Method, Scanner};
use crate::worker::application::{Application, Call, Calls, Open};
use crate::worker::conferences::{self, Conferences};
use crate::worker::link::{Joined, LinkEnd, Received};
use crate::worker::media::{Media, RTP_TOKENS};
use crate::worker::report::{CpuShare, Pace};
use crate::worker::settings::{Settings, WorkerError};
use crate::worker::size::size_of;
use crate::worker::streams::{self, Streams};

/// The link to the dispatcher.
pub(super) const LINK: Token = Token(0);
/// Addresses that were looked up.
pub(super) const RESOLVER: Token = Token(1);
/// The slot's UDP sockets, by number.
const OWN_UDP: usize = 1 << 8;
/// The slot's TCP listeners, by number.
const OWN_TCP: usize = 1 << 9;
/// Sockets of each kind that a slot can have.
const SOCKETS: usize = 1 << 8;
/// Batches or frames read from one source before others have their turn.
const TURNS: usize = 4;
/// With neither call nor dispatcher a worker leaves after this time.
const ORPHANED_FOR: Duration = Duration::from_secs(30);
/// A name that takes longer is given up: the BYE's own time is 32 s.
const LOOKUP_WITHIN: Duration = Duration::from_secs(8);

/// Runs a worker until the dispatcher stops it, or until it has had neither call nor dispatcher for 30 s.
///
/// # Errors
///
/// The dispatcher cannot be reached or does not welcome the worker, or the system refuses a socket. A link that ends
/// later is no error: the calls go on.
pub fn run(settings: Settings, application: impl Application) -> Result<(), WorkerError> {
    let poll = Poll::new().map_err(WorkerError::system("cannot make a poll"))?;
    let joined = LinkEnd::join(&settings, &poll)?;
    Worker::new(poll, joined, &settings, application)?.run()
}

/// Everything a worker process has.
struct Worker<A> {
    poll: Poll,
    link: Option<LinkEnd>,
    back: Back,
    uas: Uas,
    application: A,
    media: Media,
    conferences: Conferences,
    streams: Streams,
    own: Vec<Socket>,
    /// Duplicates of the well-known sockets, by listener number; only sent on.
    listeners: Vec<Option<Socket>>,
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
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// It has a dispatcher.
    Serving,
    /// The dispatcher is gone. With the time since when there has been no call either.
    Orphaned(Option<Time>),
    /// It ends its calls, until this time.
    Stopping(Time),
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
    fn new(poll: Poll, joined: Joined, settings: &Settings, application: A) -> Result<Self, WorkerError> {
        let Joined { link, back, welcome, own, tcp, listeners } = joined;
        let random: [u8; 24] = random().map_err(WorkerError::system("no random numbers"))?;
        let seed =
            |at: usize| random.get(at..at + 8).and_then(|bytes| bytes.try_into().ok()).map_or(0, u64::from_ne_bytes);
        let identity = Identity {
            token: welcome.token.as_str().into(),
            own: own.iter().map(Socket::local_addr).collect(),
            listeners: welcome.listeners.clone(),
            duplicates: listeners.iter().map(Option::is_some).collect(),
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
            link: Some(link),
            back,
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
            ready: VecDeque::from([LINK]),
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
        let report = self.link.as_ref().map(|_| self.pace.due(&self.figures(now), self.uas.load().sessions > 0));
        let back = self.link.as_ref().filter(|link| !link.is_blocked()).and_then(|_| self.back.poll_timeout());
        let stage = match self.stage {
            Stage::Serving | Stage::Orphaned(None) => None,
            Stage::Orphaned(Some(since)) => Some(since + ORPHANED_FOR),
            Stage::Stopping(until) => Some(until),
        };
        let all = [
            report,
            back,
            stage,
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
            LINK => self.on_link(),
            RESOLVER => {
                self.on_found(now);
                false
            }
            Token(token) if token >= RTP_TOKENS => self.media.on_readable(Token(token), &mut self.rtp_batch, now),
            Token(token) if (OWN_UDP..OWN_UDP + SOCKETS).contains(&token) => self.on_own(token - OWN_UDP),
            token => self.on_stream(token),
        }
    }

    /// Frames from the dispatcher.
    fn on_link(&mut self) -> bool {
        for _ in 0..TURNS {
            let Some(link) = &mut self.link else { return false };
            if !self.back.wants_frames() {
                // Read on once the link has taken what waits for it.
                return false;
            }
            let frame = match link.receive() {
                Ok(Received::Frame(frame)) => frame,
                Ok(Received::Nothing) => return false,
                Ok(Received::End) => {
                    self.on_link_lost("the dispatcher is gone");
                    return false;
                }
                Err(error) => {
                    self.on_link_lost(&error.to_string());
                    return false;
                }
            };
            let now = clock::now();
            let (uas, scanner) = (&mut self.uas, &mut self.scanner);
            let (mut drain, mut queried, mut goodbye) = (None, false, None);
            let mut unread = Vec::new();
            let result = self.back.on_frame(frame, &mut |event| match event {
                BackEvent::Message(message) => {
                    let mut arrival = Arrival::handed_over(&message.envelope);
                    match scanner.scan(message.payload) {
                        Ok(msg) => {
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
                BackEvent::Goodbye(reason) => goodbye = Some(reason.to_owned()),
                // Once is enough.
                BackEvent::Welcome(_) => {}
            });
            unread.into_iter().for_each(|seq| self.back.done(seq, now));
            if queried {
                self.pace.ask();
            }
            if let Some(drain) = drain {
                self.on_drain(drain, now);
            }
            self.carry_out();
            if let Some(reason) = goodbye.or_else(|| result.err().map(|error| error.to_string())) {
                self.on_link_lost(&reason);
                return false;
            }
        }
        true
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
            for datagram in self.batch.iter().filter(|datagram| !datagram.truncated) {
                match self.scanner.scan(datagram.bytes) {
                    Ok(msg) => {
                        let size = size_of(&msg);
                        let arrival = Arrival::own(number as u16, datagram.source, datagram.local, size);
                        self.uas.on_message(&msg, &arrival, now);
                    }
                    Err(unparsable) => {
                        let arrival = Arrival::own(number as u16, datagram.source, datagram.local, 1);
                        self.uas.on_unparsable(&unparsable, &arrival);
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
        let (uas, scanner) = (&mut self.uas, &mut self.scanner);
        self.streams.on_readable(token, now, &mut |bytes, conn, source, local| match scanner.scan(bytes) {
            Ok(msg) => {
                let size = size_of(&msg);
                uas.on_message(&msg, &Arrival::stream(conn, source, local, size), now);
            }
            Err(unparsable) => uas.on_unparsable(&unparsable, &Arrival::stream(conn, source, local, 1)),
        })
    }

    /// Does what the user agent asks for, until it asks for nothing more.
    fn carry_out(&mut self) {
        while let Some(output) = self.uas.poll_output() {
            let now = clock::now();
            match output {
                Output::Transmit(transmit) => self.transmit(&transmit, now),
                Output::Event(key, event) => self.on_event(key, event, now),
                Output::Answered(seq) => self.back.answered(seq, now),
                Output::Refuse(seq, reason) => self.back.refuse(seq, reason),
                Output::Resolve { key, host, port } => self.look_up(key, &host, port, now),
            }
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
            Hop::Listener(number) => self.listeners.get(usize::from(number)).and_then(Option::as_ref),
            Hop::Stream(conn) => return self.streams.send(conn, *to, bytes, now),
            Hop::Dial => return self.streams.dial(*to, bytes, now),
            Hop::Front(conn) => {
                if let Err(error) = self.back.reply(conn, bytes) {
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
        if self.conferences.join(key, name.clone())
            && self.link.is_some()
            && let Err(error) = self.back.group_open(now, &name)
        {
            tracing::debug!(%error, "the dispatcher does not hear of a conference");
        }
    }

    fn leave_conference(&mut self, key: CallKey) {
        if let Some(name) = self.conferences.leave(key)
            && self.link.is_some()
            && let Err(error) = self.back.group_closed(&name)
        {
            tracing::debug!(%error, "the dispatcher does not hear of a conference's end");
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

    fn on_link_lost(&mut self, reason: &str) {
        if self.link.take().is_none() {
            return;
        }
        tracing::info!(reason, calls = self.uas.load().sessions, "no dispatcher: calls go on");
        self.back = Back::new();
        if !matches!(self.stage, Stage::Stopping(_)) {
            self.stage = Stage::Orphaned(None);
        }
    }

    fn is_over(&mut self, now: Time) -> bool {
        match &mut self.stage {
            Stage::Serving => false,
            Stage::Orphaned(since) if self.uas.is_quiet() => now.since(*since.get_or_insert(now)) >= ORPHANED_FOR,
            Stage::Orphaned(since) => {
                *since = None;
                false
            }
            Stage::Stopping(until) => {
                let over = self.uas.is_quiet() || *until <= now;
                if over && let Some(link) = &mut self.link {
                    self.back.goodbye("stopped");
                    // The process ends either way.
                    let _ = self.back.poll_transmit(now + Duration::from_secs(1), |pieces| link.send(pieces));
                }
                over
            }
        }
    }

    /// Reports when due, and sends what waits for the link.
    fn speak(&mut self, now: Time) {
        let figures = self.figures(now);
        let due = self.pace.due(&figures, figures.sessions > 0) <= now || self.back.report_due();
        let Some(link) = &mut self.link else { return };
        if due {
            let load = self.uas.load();
            self.back.report(Report {
                number: 0,
                taken_through: self.back.taken_through(),
                covers: self.back.taken_through(),
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
        match self.back.poll_transmit(now, |pieces| link.send(pieces)) {
            Ok(Flow::Drained) => {
                if link.unblock() && !self.ready.contains(&LINK) {
                    self.ready.push_back(LINK);
                }
            }
            Ok(Flow::Blocked) => link.block(),
            Err(error) => self.on_link_lost(&error.to_string()),
        }
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
