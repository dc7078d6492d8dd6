//! The tie between a worker and its dispatcher: the links, the duplicates of the well-known sockets, the reports, and
//! the way back to the next dispatcher when this one is gone. The worker itself decides what a message means, what it
//! tells the dispatcher and how sessions end.

use std::io;

use mio::Poll;

use crate::link::worker_end::{FromDispatcher, WorkerEnd};
use crate::net::clock;
use crate::station::orphan::{Next, Orphan};
use crate::station::report::{CpuShare, Pace};
use crate::station::stage::Stage;
use crate::time::Time;
use crate::words::{AccessRule, DrainMode, Envelope, Hello, Report, Welcome};
use crate::worker::comeback::{Comeback, Progress};
use crate::worker::link::{self, Introduced, OwnPorts, Received};
use crate::worker::links::{Lane, Links};
use crate::worker::listeners::Listeners;
use crate::worker::settings::WorkerError;
use crate::worker::sources::Sources;

/// A worker's tie to its dispatcher.
pub(super) struct Tie {
    /// The last welcome: a new dispatcher asks for its name, key, secret and incarnation.
    pub(super) welcome: Welcome,
    pub(super) links: Links,
    /// Duplicates of the well-known sockets; only sent on.
    pub(super) listeners: Listeners,
    pub(super) stage: Stage,
    /// A new link, while the dispatcher at its other end has not welcomed us.
    comeback: Option<Comeback>,
    pace: Pace,
    cpu: CpuShare,
}

/// The content of a frame beside messages, or the end of the link.
#[derive(Debug, Default)]
pub(super) struct Heard {
    /// The effect of the dispatcher's order.
    pub(super) order: Option<DrainMode>,
    /// The access rules from now on.
    pub(super) access: Option<Vec<AccessRule>>,
    /// Why the link is over.
    pub(super) over: Option<String>,
}

impl Tie {
    /// The tie of a worker that has been welcomed, and the ports that are its own.
    ///
    /// # Errors
    ///
    /// The poll watches nothing more.
    pub(super) fn new(introduced: Introduced, poll: &Poll) -> Result<(Self, OwnPorts), WorkerError> {
        let Introduced { link, back, welcome, own, listeners: duplicates, more } = introduced;
        let (mut links, mut listeners) = (Links::default(), Listeners::default());
        links.set(link, back, more, poll).map_err(WorkerError::system("cannot watch the links"))?;
        listeners.set(&welcome.listeners, duplicates);
        let (pace, cpu) = (Pace::default(), CpuShare::default());
        Ok((Tie { welcome, links, listeners, stage: Stage::new(), comeback: None, pace, cpu }, own))
    }

    /// Reads a frame of lane `number`; `None` when there is none for now. `on_message` gets the messages handed over,
    /// in the worker's numbers, and says whether it has taken each. One that it has not taken is not answered.
    pub(super) fn read(
        &mut self,
        number: usize,
        now: Time,
        mut on_message: impl FnMut(&Envelope, &[u8]) -> bool,
    ) -> Option<Heard> {
        let numbers = self.links.numbers();
        let Lane { end, back, .. } = self.links.get_mut(number)?;
        if !back.wants_frames() {
            // Frames are read again once the link has taken its backlog.
            return None;
        }
        let over = |reason: String| Some(Heard { over: Some(reason), ..Heard::default() });
        let frame = match end.receive() {
            Ok(Received::Frame(frame)) => frame,
            Ok(Received::Nothing) => return None,
            Ok(Received::End) => return over("the dispatcher is gone".to_owned()),
            Err(error) => return over(error.to_string()),
        };
        let (mut heard, mut drain, mut unread) = (Heard::default(), None, Vec::new());
        let result = back.on_frame(frame, &mut |event| match event {
            FromDispatcher::Message(message) => {
                let mut envelope = message.envelope;
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
            // A second welcome is ignored.
            FromDispatcher::Welcome(_) => {}
        });
        unread.into_iter().for_each(|seq| back.done(seq, now));
        heard.order = drain.and_then(|drain| self.stage.on_drain(drain, now));
        heard.over = heard.over.or_else(|| result.err().map(|error| error.to_string()));
        Some(heard)
    }

    /// Reports when due, and sends what waits for the links.
    pub(super) fn speak(&mut self, report: Report, now: Time, sources: &mut Sources) {
        if !self.links.is_up() {
            return;
        }
        let report = self.in_its_own_word(report);
        if self.pace.due(&report) <= now || self.links.report_due() {
            self.links.report(Report { cpu: self.cpu.measure(clock::cpu(), now), ..report });
            self.pace.reported(&report, now);
        }
        self.links.flush(now, |link| sources.add(link));
    }

    /// When [`Tie::speak`], [`Tie::on_comeback`], [`Tie::poll`] or the end of a drain is due, if this is to be
    /// reported.
    pub(super) fn poll_timeout(&self, report: Report) -> Option<Time> {
        let report = self.links.is_up().then(|| self.pace.due(&self.in_its_own_word(report)));
        let comeback = self.comeback.as_ref().map(Comeback::poll_timeout);
        [report, self.links.poll_timeout(), self.stage.poll_timeout(), comeback].into_iter().flatten().min()
    }

    /// A drain that the dispatcher has ordered is the dispatcher's to remember and to take back.
    const fn in_its_own_word(&self, report: Report) -> Report {
        Report { draining: self.stage.is_stopping(), ..report }
    }

    /// The next step; see [`Stage::poll`]. Tells the dispatcher before the worker leaves.
    pub(super) fn poll(&mut self, has_calls: bool, now: Time) -> Next {
        let next = self.stage.poll(has_calls, now);
        if next == Next::Leave {
            self.links.goodbye("stopped", now);
        }
        next
    }

    /// All links have been read to their end.
    pub(super) fn on_dispatcher_lost(&mut self, can_return: bool, now: Time) {
        self.links.clear();
        let try_every = can_return.then(|| Orphan::pace_of(self.welcome.slot));
        self.stage.on_dispatcher_lost(try_every, now);
    }

    /// The `Hello` of a worker that comes back: with the secret and incarnation of its last welcome.
    pub(super) fn hello_again(&self, report: &Report, hello: Hello) -> Hello {
        Hello {
            secret: Some(self.welcome.secret),
            incarnation: Some(self.welcome.incarnation),
            units_used: report.units_used,
            sessions: report.sessions,
            ..hello
        }
    }

    /// A new dispatcher has been sent the `Hello`, or none was there.
    pub(super) fn on_hello(&mut self, begun: io::Result<Comeback>, now: Time) {
        match begun {
            Ok(comeback) => self.comeback = Some(comeback),
            // No dispatcher there is the common case, so it is not logged.
            Err(_) => self.stage.on_failed(now),
        }
    }

    /// Whether a new dispatcher has been told of us and has not welcomed us yet.
    pub(super) const fn is_coming_back(&self) -> bool {
        self.comeback.is_some()
    }

    /// Whether a new dispatcher has had its time to welcome us.
    pub(super) fn is_comeback_over(&self, now: Time) -> bool {
        self.comeback.as_ref().is_some_and(|comeback| comeback.poll_timeout() <= now)
    }

    /// The link to a new dispatcher has something to say, or takes more, or its time is over. True when that dispatcher
    /// has welcomed us: its links and sockets are ours.
    pub(super) fn on_comeback(&mut self, poll: &Poll, now: Time) -> bool {
        let Some(comeback) = self.comeback.take() else { return false };
        let (link, welcome, descriptors) = match comeback.go_on(now) {
            Progress::Welcome(link, welcome, descriptors) => (link, *welcome, descriptors),
            Progress::Waiting(comeback) => {
                self.comeback = Some(comeback);
                return false;
            }
            Progress::Refused(reason) => {
                if self.stage.on_refused(&reason, now) {
                    tracing::warn!(reason, "a new dispatcher refuses this worker; calls go on");
                }
                return false;
            }
            Progress::Failed => {
                self.stage.on_failed(now);
                return false;
            }
        };
        let mut more = Vec::new();
        // The slot's sockets, which it gave back, are ours already.
        match link::sort(&welcome, descriptors) {
            Ok(sorted) => {
                self.listeners.set(&welcome.listeners, sorted.listeners);
                more = sorted.more;
            }
            Err(error) => tracing::warn!(%error, "the new dispatcher's sockets cannot be used"),
        }
        self.welcome = welcome;
        if let Err(error) = self.links.set(link, WorkerEnd::new(), more, poll) {
            tracing::warn!(%error, "the link to a lane of the dispatcher cannot be watched");
        }
        self.pace = Pace::default();
        self.stage.on_welcome();
        true
    }
}

#[cfg(test)]
mod tests;
