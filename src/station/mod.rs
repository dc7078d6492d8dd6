//! A worker as a value: what it does about each event, in which order and within which bounds.
//!
//! # The cut
//!
//! A [`Station`] has the worker's ends of its links ([`DispatcherLinks`]) and its sessions ([`Sessions`]): either the
//! user agent, the media gateway and the application ([`MediaServer`]), or another gateway ([`Adapter`]). It has no
//! socket, clock, thread or random source: every function is told the time, and what is random is given at the start.
//!
//! ```text
//! into it                                    out of it
//! on_frame, on_link_end   from a link        speak          frames for the links, reports when due
//! on_sip, on_mgcp         from an own port   poll_output    messages to send, names to look up,
//! on_found, on_unsent     about an output                   new access rules, the dispatcher's end
//! on_stop_signal          from the operator  poll_timeout   when handle_timeout is due
//! handle_timeout          the time has come  next_step      stay, look for a dispatcher, or leave
//! ```
//!
//! After every event the outputs are carried out until there are none: the bounds of the queues, and the order of what
//! a peer gets, rest on it. The process ([`crate::worker`]) has the sockets, the poll, the signals and the media; it
//! decides which source is read next and how much of it. The simulation has the same value in virtual time.
//!
//! Media stands outside ([`Media`]): it has ports and sockets, and it is asked and answers at once.

mod adapter;
mod application;
pub(crate) mod call_log;
mod conferences;
mod dispatcher;
mod echo;
mod gate;
mod lanes;
mod listeners;
mod media;
mod media_server;
mod mgcp;
mod misuse;
mod orphan;
mod report;
mod sessions;
mod size;
mod stage;
mod transactions;

use std::io::{self, IoSlice};
use std::time::Duration;

use crate::ids::Seq;
use crate::time::Time;
use crate::words::{Dispatched, DrainMode, Hello, ReplyTo, Welcome};

use self::dispatcher::Change;

pub use self::adapter::{Adapter, GatewayEffect};
pub use self::application::{Application, Call, Calls, Standalone};
pub use self::dispatcher::DispatcherLinks;
pub use self::echo::Echo;
pub use self::listeners::Listeners;
pub use self::media::Media;
pub use self::media_server::{Effect, MediaServer, Question, Setup};
pub use self::misuse::Misuse;
pub use self::orphan::Next;
pub use self::report::Intervals;
pub use self::sessions::{Account, Conference, Sessions};

/// A worker.
///
/// ```
/// use pointsman::ids::{ListenerId, Seq};
/// use pointsman::link::worker_end::WorkerEnd;
/// use pointsman::station::{Adapter, DispatcherLinks, GatewayEffect, Intervals, Output, Station, Ways};
/// use pointsman::time::Time;
/// use pointsman::wire::handoff::{FrameBuilder, Record};
/// use pointsman::words::{Envelope, Message, ReplyFrom, ReplyTo, Transport, Welcome};
///
/// let (now, agent, gateway) = (Time(1_000_000), "192.0.2.9:2727".parse().unwrap(), "127.0.0.1:2427".parse().unwrap());
/// let welcome = Welcome {
///     name: "w0".into(), slot: 0, token: "pm0123456789abcdef".into(), incarnation: 1, secret: 7, key: None,
///     capacity: 10, advertise: vec![], contact_name: None, rtp_ports: (0, 0), reply_from: ReplyFrom::Listener,
///     sockets: vec![], listeners: vec!["192.0.2.1:2427".parse().unwrap()], access: vec![], mgcp: None,
///     features: vec![], lan: None,
/// };
/// let sessions = Adapter::new(&welcome, gateway, None, [1, 2]);
/// let links = DispatcherLinks::new(welcome, WorkerEnd::new(), 0, &[true], Intervals::default());
/// let ways = Ways { can_return: false, has_slot: true, answers_while_stopping: false };
/// let mut station = Station::new(links, sessions, ways);
///
/// // The dispatcher hands a command over: it is sent on to the gateway, whose answer leaves for the call agent.
/// let envelope = Envelope {
///     seq: Seq(1), received: now, deadline: None, reply_to: ReplyTo::Datagram, size: 0, listener: ListenerId(0),
///     transport: Transport::Mgcp, pinned: false, again: false, ring_first: false, alias: false, names_size: false,
///     follows: true, source: agent, local: "192.0.2.1:2427".parse().unwrap(),
/// };
/// let mut frame = FrameBuilder::new();
/// frame.push(&Record::Message(Message { envelope, payload: b"AUEP 7 ds/pm0123456789abcdef/1@ms MGCP 1.0\r\n" }));
/// assert!(station.on_frame(0, frame.bytes(), now));
/// let Some(Output::Effect(GatewayEffect::Tell(command))) = station.poll_output(now) else { panic!("no command") };
/// assert!(command.ends_with(b" ds/1@ms MGCP 1.0\r\n"));
/// let id = String::from_utf8_lossy(&command).split(' ').nth(1).unwrap().to_owned();
/// station.sessions_mut().on_gateway(format!("200 {id} OK\r\n").as_bytes(), now);
/// let Some(Output::Effect(GatewayEffect::Transmit(answer))) = station.poll_output(now) else { panic!("no answer") };
/// assert_eq!((answer.to, &answer.bytes[..]), (agent, &b"200 7 OK\r\n"[..]));
/// ```
pub struct Station<S> {
    dispatcher: DispatcherLinks,
    sessions: S,
    ways: Ways,
    /// Why the dispatcher's last link has ended, until everything that was meant for it has been carried out.
    lost: Option<String>,
}

/// The ways of a worker whose dispatcher is gone.
#[derive(Clone, Copy, Debug)]
pub struct Ways {
    /// Whether it looks for a new dispatcher.
    pub can_return: bool,
    /// Whether it has a slot: its sockets are the dispatcher's, and the next dispatcher waits for them.
    pub has_slot: bool,
    /// Whether it answers from the well-known sockets as long as it stops.
    pub answers_while_stopping: bool,
}

/// A request to the process.
#[derive(Debug)]
pub enum Output<E> {
    /// A request of the sessions.
    Effect(E),
    /// The dispatcher is gone: close its links.
    DispatcherLost(Lost),
}

/// The fate of the duplicates of the well-known sockets when the dispatcher is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lost {
    /// They are kept for the answers of a worker that stops.
    Kept,
    /// They are left to the next dispatcher, which waits for the workers of slots.
    LeftToTheNext,
    /// They are closed. A new dispatcher does not wait for workers that came by themselves, and could not bind these
    /// sockets while they are open here.
    Closed,
}

impl Ways {
    const fn lost(self, is_stopping: bool) -> Lost {
        match (self.has_slot, is_stopping) {
            (true, false) => Lost::LeftToTheNext,
            (true, true) => Lost::Kept,
            (false, true) if self.answers_while_stopping => Lost::Kept,
            (false, _) => Lost::Closed,
        }
    }
}

impl<S: Sessions> Station<S> {
    /// A worker that has been welcomed.
    pub fn new(dispatcher: DispatcherLinks, sessions: S, ways: Ways) -> Self {
        Station { dispatcher, sessions, ways, lost: None }
    }

    /// The sessions.
    pub const fn sessions(&self) -> &S {
        &self.sessions
    }

    /// The sessions.
    pub const fn sessions_mut(&mut self) -> &mut S {
        &mut self.sessions
    }

    /// The links to the dispatcher.
    pub const fn dispatcher(&self) -> &DispatcherLinks {
        &self.dispatcher
    }

    // -- the links --

    /// Whether frames of link `lane` are to be read: they are not while the link has a backlog to take.
    pub fn wants_frames(&self, lane: usize) -> bool {
        self.dispatcher.wants_frames(lane)
    }

    /// A frame of link `lane`. False when the link is over.
    pub fn on_frame(&mut self, lane: usize, frame: &[u8], now: Time) -> bool {
        let Station { dispatcher, sessions, .. } = self;
        let on_message = |envelope: &_, payload: &[u8]| sessions.on_message(envelope, payload, now);
        let heard = dispatcher.on_frame(lane, frame, now, on_message);
        for (to, bytes) in &heard.undelivered {
            self.sessions.on_undelivered(*to, bytes, now);
        }
        if let Some(rules) = heard.access {
            self.sessions.set_access(&rules);
        }
        self.obey(heard.order, now);
        let Some(reason) = heard.over else { return true };
        self.on_link_end(lane, reason);
        false
    }

    /// Link `lane` has been read to its end. Frames of the other lanes are still to be read: the dispatcher is lost
    /// when all links have ended.
    pub fn on_link_end(&mut self, lane: usize, reason: String) {
        if self.dispatcher.on_end(lane) {
            self.lost = Some(reason);
        }
    }

    /// Gives the dispatcher the answer `bytes` to a message that it passes on itself.
    pub fn reply(&mut self, to: ReplyTo, bytes: &[u8]) {
        self.dispatcher.reply(to, bytes);
    }

    /// As `DispatcherLinks::speak`.
    pub fn speak(
        &mut self,
        now: Time,
        cpu: impl FnOnce() -> Duration,
        send: impl FnMut(usize, &[IoSlice<'_>]) -> io::Result<()>,
        ready: impl FnMut(usize),
    ) {
        let report = self.sessions.report(now);
        self.dispatcher.speak(report, now, cpu, send, ready);
    }

    /// The last message that has been read from link `lane`.
    pub fn taken_through(&self, lane: usize) -> Seq {
        self.dispatcher.taken_through(lane)
    }

    // -- outputs --

    /// The next request to the process.
    pub fn poll_output(&mut self, now: Time) -> Option<Output<S::Effect>> {
        loop {
            if let Some(effect) = self.sessions.poll_output(&mut self.dispatcher, now) {
                return Some(Output::Effect(effect));
            }
            // Pending output carries message numbers of these links, so it is sent before the links go.
            let reason = self.lost.take()?;
            if self.dispatcher.is_up() {
                return Some(Output::DispatcherLost(self.on_dispatcher_lost(&reason, now)));
            }
        }
    }

    /// The operator stops this process alone. A second signal ends it at once.
    pub fn on_stop_signal(&mut self, now: Time) {
        let order = self.dispatcher.stage.on_stop_signal(now);
        self.obey(order, now);
    }

    fn obey(&mut self, order: Option<DrainMode>, now: Time) {
        match order {
            None => {}
            Some(DrainMode::Ready) => self.sessions.set_draining(false, now),
            Some(DrainMode::Drain) => self.sessions.set_draining(true, now),
            Some(DrainMode::Stop) => self.sessions.end_all("stopping", now),
        }
    }

    // -- time --

    /// The time has come.
    pub fn handle_timeout(&mut self, now: Time) {
        if self.dispatcher.stage.is_drained(now) {
            self.sessions.end_all("drained for long enough", now);
        }
        self.sessions.handle_timeout(now);
    }

    /// When [`Station::handle_timeout`], [`Station::speak`] or [`Station::next_step`] is due.
    pub fn poll_timeout(&self, now: Time) -> Option<Time> {
        let dispatcher = self.dispatcher.poll_timeout(self.sessions.report(now));
        dispatcher.into_iter().chain(self.sessions.poll_timeout()).min()
    }

    /// The next step of the process: stay, look for a dispatcher, or leave. One that leaves says so on its links.
    pub fn next_step(&mut self, now: Time) -> Next {
        let is_needed = self.sessions.is_needed(self.dispatcher.stage.is_stopping());
        self.dispatcher.stage.poll(is_needed, now)
    }

    /// As [`DispatcherLinks::goodbye`].
    pub fn goodbye(&mut self, reason: &str, now: Time, send: impl FnMut(usize, &[IoSlice<'_>]) -> io::Result<()>) {
        self.dispatcher.goodbye(reason, now, send);
    }

    // -- the dispatcher, as it comes and goes --

    fn on_dispatcher_lost(&mut self, reason: &str, now: Time) -> Lost {
        tracing::info!(reason, calls = self.sessions.report(now).sessions, "no dispatcher: calls go on");
        self.sessions.on_dispatcher_lost(now);
        let lost = self.ways.lost(self.dispatcher.stage.is_stopping());
        if lost == Lost::Closed {
            // Messages that would still leave from them leave from our own port.
            self.dispatcher.listeners.close();
            self.sessions.set_listeners(&self.dispatcher.welcome, &self.dispatcher.listeners);
        }
        self.dispatcher.on_lost(self.ways.can_return, now);
        lost
    }

    /// The introduction to a new dispatcher, made of the `hello` for every dispatcher, and the account that follows it.
    /// A worker without a slot introduces itself as at its first start, and tells the rest after the welcome.
    pub fn come_back(&mut self, hello: Hello, now: Time) -> (Hello, Account) {
        let hello = Hello { draining: self.sessions.is_draining(), ..hello };
        let account = self.sessions.account(now);
        let report = self.sessions.report(now);
        if self.ways.has_slot {
            return (self.dispatcher.hello_again(&report, hello, Vec::new()), account);
        }
        let opened = account.conferences.into_iter().map(|(since, name)| Change::Opened(name, since)).collect();
        (self.dispatcher.hello_again(&report, hello, opened), Account::default())
    }

    /// No dispatcher listens, or the one that did has stopped answering.
    pub fn on_failed(&mut self, now: Time) {
        self.dispatcher.on_failed(now);
    }

    /// A new dispatcher refuses this worker.
    pub fn on_refused(&mut self, reason: &str, now: Time) {
        self.dispatcher.on_refused(reason, now);
    }

    /// As [`DispatcherLinks::set_clock`].
    pub fn set_clock(&mut self, asked: Time, theirs: Time, heard: Time) {
        self.dispatcher.set_clock(asked, theirs, heard);
    }

    /// Has the dispatcher send an answer from the well-known socket that is ours under this number.
    pub fn send(&mut self, number: u16, answer: Dispatched<'_>) {
        self.dispatcher.send(number, answer);
    }

    /// A new dispatcher has welcomed this worker. Its links and sockets are as in [`DispatcherLinks::new`].
    pub fn on_welcome(&mut self, welcome: Welcome, more: usize, held: &[bool], now: Time) {
        self.dispatcher.on_welcome(welcome, more, held);
        let DispatcherLinks { welcome, listeners, .. } = &mut self.dispatcher;
        self.sessions.on_welcome(welcome, listeners);
        tracing::info!(calls = self.sessions.report(now).sessions, "back with a dispatcher");
        self.dispatcher.tell_meanwhile();
    }
}

#[cfg(test)]
mod tests;
