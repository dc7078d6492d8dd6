//! The links between a worker and its dispatcher, as a value: the messages' numbers, the reports, the numbers of the
//! well-known sockets, and the stage of the worker's life that follows from all that. The worker itself decides what a
//! message means, what it tells the dispatcher and how sessions end.

use std::io::{self, IoSlice};
use std::time::Duration;

use crate::ids::Seq;
use crate::link::clock::ForeignClock;
use crate::link::worker_end::{FromDispatcher, WorkerEnd};
use crate::time::Time;
use crate::words::{AccessRule, Dispatched, DrainMode, Envelope, Hello, RefuseReason, ReplyTo, Report, Welcome};

use super::lanes::{Lane, Lanes};
use super::listeners::Listeners;
use super::orphan::Orphan;
use super::report::{CpuShare, Intervals, Pace};
use super::stage::Stage;

/// A worker's links to its dispatcher.
#[derive(Debug)]
pub struct DispatcherLinks {
    /// The last welcome: a new dispatcher asks for its name, key, secret and incarnation.
    pub(super) welcome: Welcome,
    pub(super) listeners: Listeners,
    pub(super) stage: Stage,
    lanes: Lanes,
    /// The clock of a dispatcher on another host.
    clock: Option<ForeignClock>,
    /// Whether a new dispatcher has been told of this worker and has not welcomed it yet.
    is_coming_back: bool,
    /// Changes since a new dispatcher was sent this worker's account.
    meanwhile: Vec<Change>,
    pace: Pace,
    cpu: CpuShare,
}

/// A change that the dispatcher is told. A new one is told after its welcome.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// The final response to a transaction of an earlier link has left.
    Released([u8; 16]),
    /// A conference is open, or the call of an MGCP call agent, since when.
    Opened(Box<[u8]>, Time),
    /// It is closed.
    Closed(Box<[u8]>),
}

/// The content of a frame beside messages, or the end of the link.
#[derive(Debug, Default)]
pub(super) struct Heard {
    /// The effect of the dispatcher's order.
    pub(super) order: Option<DrainMode>,
    /// The access rules from now on.
    pub(super) access: Option<Vec<AccessRule>>,
    /// Replies of ours whose connections are gone.
    pub(super) undelivered: Vec<(ReplyTo, Box<[u8]>)>,
    /// Why the link is over.
    pub(super) over: Option<String>,
}

impl DispatcherLinks {
    /// The links of a worker that has been welcomed on the first one; `more` came beside the welcome. `held` says of
    /// each listener of the welcome whether its duplicate did.
    pub fn new(welcome: Welcome, first: WorkerEnd, more: usize, held: &[bool], reports: Intervals) -> Self {
        let (mut lanes, mut listeners) = (Lanes::default(), Listeners::default());
        lanes.set(first, more);
        listeners.set(&welcome.listeners, held);
        DispatcherLinks {
            welcome,
            listeners,
            stage: Stage::new(),
            lanes,
            clock: None,
            is_coming_back: false,
            meanwhile: Vec::new(),
            pace: Pace::new(reports),
            cpu: CpuShare::default(),
        }
    }

    /// The last welcome.
    pub const fn welcome(&self) -> &Welcome {
        &self.welcome
    }

    /// The well-known sockets that this worker has duplicates of, by its own numbers.
    pub const fn listeners(&self) -> &Listeners {
        &self.listeners
    }

    /// Whether frames of link `lane` are to be read: they are not while the link has a backlog to take.
    pub(super) fn wants_frames(&self, lane: usize) -> bool {
        self.lanes.get(lane).is_some_and(|lane| lane.end.wants_frames())
    }

    /// The last message that has been read from link `lane`.
    pub(super) fn taken_through(&self, lane: usize) -> Seq {
        self.lanes.get(lane).map_or(Seq::default(), |lane| lane.end.taken_through())
    }

    /// A frame of link `number`. `on_message` gets the messages handed over, in the worker's numbers, and says whether
    /// it has taken each. One that it has not taken is not answered.
    pub(super) fn on_frame(
        &mut self,
        number: usize,
        frame: &[u8],
        now: Time,
        mut on_message: impl FnMut(&Envelope, &[u8]) -> bool,
    ) -> Heard {
        let numbers = self.lanes.numbers();
        let Some(Lane { end, .. }) = self.lanes.get_mut(number) else { return Heard::default() };
        let clock = &mut self.clock;
        let (mut heard, mut drain, mut unread) = (Heard::default(), None, Vec::new());
        let result = end.on_frame(frame, &mut |event| match event {
            FromDispatcher::Message(message) => {
                let mut envelope = message.envelope;
                if let Some(clock) = &*clock {
                    envelope.received = clock.ours(envelope.received, now);
                    envelope.deadline = envelope.deadline.map(|deadline| clock.earliest(deadline, now));
                }
                envelope.seq = numbers.of(number, envelope.seq);
                envelope.listener = self.listeners.number(envelope.listener);
                envelope.reply_to = numbers.reply_to(number, envelope.reply_to);
                if !on_message(&envelope, message.payload) {
                    // The message cannot be parsed, as the dispatcher can see itself, or the access rules keep it out.
                    unread.push(message.envelope.seq);
                }
            }
            FromDispatcher::Drain(change) => drain = Some(change),
            FromDispatcher::Access(rules) => heard.access = Some(rules.iter().collect()),
            FromDispatcher::Goodbye(reason) => heard.over = Some(reason.to_owned()),
            FromDispatcher::Undelivered { to, bytes } => {
                heard.undelivered.push((numbers.reply_to(number, to), bytes.into()));
            }
            FromDispatcher::Clock { asked, at } => {
                if let Some(clock) = &mut *clock {
                    clock.narrow(asked, at, now);
                }
            }
            // A second welcome is ignored.
            FromDispatcher::Welcome(_) => {}
        });
        unread.into_iter().for_each(|seq| end.done(seq, now));
        heard.order = drain.and_then(|drain| self.stage.on_drain(drain, now));
        heard.over = heard.over.or_else(|| result.err().map(|error| error.to_string()));
        heard
    }

    /// Link `lane` has been read to its end; true when all of them have, and had not before.
    pub(super) fn on_end(&mut self, lane: usize) -> bool {
        self.lanes.is_up() && self.lanes.on_end(lane)
    }

    /// Whether there is a dispatcher.
    pub(super) fn is_up(&self) -> bool {
        self.lanes.is_up()
    }

    // -- what the worker tells --

    /// The first final response to a message has left, or none will; false for a message of an earlier link.
    pub(super) fn answered(&mut self, number: Seq, now: Time) -> bool {
        self.lanes.answered(number, now)
    }

    /// As [`Lanes::outcome`].
    pub(super) fn outcome(&mut self, number: Seq, status: u16, why: Option<Box<str>>) {
        self.lanes.outcome(number, status, why);
    }

    /// Gives a message back. A message of an earlier link cannot be given back: it is answered instead.
    pub(super) fn refuse(&mut self, number: Seq, reason: RefuseReason) {
        self.lanes.refuse(number, reason);
    }

    /// Gives the dispatcher the answer `bytes` to a message that it passes on itself.
    pub(super) fn reply(&mut self, to: ReplyTo, bytes: &[u8]) {
        if let Err(error) = self.lanes.reply(to, bytes) {
            tracing::debug!(%error, "an answer that the dispatcher was to send is dropped");
        }
    }

    /// Has the dispatcher send an answer from the well-known socket that is ours under this number.
    pub fn send(&mut self, number: u16, answer: Dispatched<'_>) {
        let Some(listener) = self.listeners.theirs(number) else { return };
        if let Err(error) = self.lanes.send(&Dispatched { listener, ..answer }) {
            tracing::debug!(%error, "an answer that the dispatcher was to send is dropped");
        }
    }

    /// Tells the dispatcher of a change. A dispatcher that has this worker's account and has not welcomed it yet is
    /// told later.
    pub(super) fn tell(&mut self, change: Change) {
        if !self.lanes.is_up() {
            if self.is_coming_back {
                self.meanwhile.push(change);
            }
            return;
        }
        let told = match &change {
            Change::Released(name) => {
                self.lanes.release(*name);
                Ok(())
            }
            Change::Opened(name, opened) => {
                let opened = self.clock.as_ref().map_or(*opened, |clock| clock.theirs(*opened, *opened));
                self.lanes.group_open(opened, name)
            }
            Change::Closed(name) => self.lanes.group_closed(name),
        };
        if let Err(error) = told {
            tracing::debug!(%error, "a conference cannot be reported to the dispatcher");
        }
    }

    /// Reports when due, and sends what waits for the links: `send` gets each frame whole. `cpu` is asked for the CPU
    /// time of the process when a report leaves. `ready` gets the links that should be read: they take more again, or
    /// have broken.
    pub(super) fn speak(
        &mut self,
        report: Report,
        now: Time,
        cpu: impl FnOnce() -> Duration,
        send: impl FnMut(usize, &[IoSlice<'_>]) -> io::Result<()>,
        ready: impl FnMut(usize),
    ) {
        if !self.lanes.is_up() {
            return;
        }
        let report = self.in_its_own_word(report);
        if self.pace.due(&report) <= now || self.lanes.report_due() {
            self.lanes.report(Report { cpu: self.cpu.measure(cpu(), now), ..report });
            self.pace.reported(&report, now);
        }
        if self.clock.as_mut().is_some_and(|clock| clock.poll_ask(now)) {
            self.lanes.ask_clock(now);
        }
        self.lanes.flush(now, send, ready);
    }

    /// Says on every link why it is closed: the process ends.
    pub fn goodbye(&mut self, reason: &str, now: Time, send: impl FnMut(usize, &[IoSlice<'_>]) -> io::Result<()>) {
        self.lanes.goodbye(reason, now, send);
    }

    /// When [`DispatcherLinks::speak`], the next step of the stage or the end of a drain is due, if this is to be
    /// reported.
    pub(super) fn poll_timeout(&self, report: Report) -> Option<Time> {
        let report = self.lanes.is_up().then(|| self.pace.due(&self.in_its_own_word(report)));
        let clock = self.clock.as_ref().filter(|_| self.lanes.is_up()).map(ForeignClock::poll_timeout);
        [report, clock, self.lanes.poll_timeout(), self.stage.poll_timeout()].into_iter().flatten().min()
    }

    /// A drain that the dispatcher has ordered is the dispatcher's to remember and to take back.
    const fn in_its_own_word(&self, report: Report) -> Report {
        Report { draining: self.stage.is_stopping(), ..report }
    }

    /// The clock of the dispatcher, which is on another host: it showed `theirs` after we had asked at `asked` and
    /// before we heard it at `heard`.
    pub fn set_clock(&mut self, asked: Time, theirs: Time, heard: Time) {
        self.clock = Some(ForeignClock::new(asked, theirs, heard));
    }

    // -- the dispatcher, as it comes and goes --

    /// All links have been read to their end.
    pub(super) fn on_lost(&mut self, can_return: bool, now: Time) {
        self.lanes.clear();
        let try_every = can_return.then(|| Orphan::pace_of(self.welcome.slot));
        self.stage.on_dispatcher_lost(try_every, now);
    }

    /// The `Hello` to a new dispatcher: with the secret and incarnation of the last welcome. What changes from now on
    /// is told after the dispatcher's welcome.
    pub(super) fn hello_again(&mut self, report: &Report, hello: Hello, after: Vec<Change>) -> Hello {
        (self.is_coming_back, self.meanwhile) = (true, after);
        Hello {
            secret: Some(self.welcome.secret),
            incarnation: Some(self.welcome.incarnation),
            units_used: report.units_used,
            sessions: report.sessions,
            ..hello
        }
    }

    /// No dispatcher listens, or the one that did has stopped answering.
    pub(super) fn on_failed(&mut self, now: Time) {
        self.is_coming_back = false;
        self.stage.on_failed(now);
    }

    /// A new dispatcher refuses this worker.
    pub(super) fn on_refused(&mut self, reason: &str, now: Time) {
        self.is_coming_back = false;
        if self.stage.on_refused(reason, now) {
            tracing::warn!(reason, "a new dispatcher refuses this worker; calls go on");
        }
    }

    /// A new dispatcher has welcomed this worker. Its links and sockets are as in [`DispatcherLinks::new`].
    pub(super) fn on_welcome(&mut self, welcome: Welcome, more: usize, held: &[bool]) {
        self.listeners.set(&welcome.listeners, held);
        self.welcome = welcome;
        self.lanes.set(WorkerEnd::new(), more);
        self.is_coming_back = false;
        self.pace.restart();
        self.stage.on_welcome();
    }

    /// Tells the new dispatcher what has changed since it was sent the account.
    pub(super) fn tell_meanwhile(&mut self) {
        std::mem::take(&mut self.meanwhile).into_iter().for_each(|change| self.tell(change));
    }
}

#[cfg(test)]
mod tests;
