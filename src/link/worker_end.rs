//! The worker's end of one link: messages in; answers, refusals, reports and conferences out.
//!
//! The worker owes one report for each message it gets: [`WorkerEnd::answered`] once the first final response has been
//! sent, [`WorkerEnd::done`] if none will be (an ACK, a response), or [`WorkerEnd::refuse`]. Answered numbers are
//! collected for at most 10 ms; any other record leaves at once and takes them along. The user agent checks deadlines:
//! it refuses a message that it reads too late, and then any later message of the same transaction.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::time::Duration;

use crate::ids::Seq;
use crate::link::dispatcher_end::UNREAD_LIMIT;
use crate::link::{Transmit, is_backpressure};
use crate::time::Time;
use crate::wire::handoff::{AccessRules, FRAME_HEADER, FRAME_SOFT_LIMIT, Frame, FrameBuilder, FrameError, Record};
use crate::words::{Dispatched, Drain, Hello, Message, Outcome, RefuseReason, ReplyTo, Report, Welcome};

/// Longest time that an answered number may wait for others.
pub const ANSWERED_WITHIN: Duration = Duration::from_millis(10);
/// This many answered numbers leave at once: a frame of 2 KiB.
const ANSWERED_AT_ONCE: usize = 256;
/// Most numbers in one `Answered` record: a frame holds them and other records.
const ANSWERED_PER_RECORD: usize = 4096;
/// This many messages read since the last report make a report due: the dispatcher counts the messages that it believes
/// unread.
const REPORT_AFTER: u64 = UNREAD_LIMIT / 8;
/// Bytes that may wait for a link that takes nothing. Beyond it, replies and conferences are refused to the caller of
/// these functions, and [`WorkerEnd::wants_frames`] says to read no more.
const BACKLOG_LIMIT: usize = 1024 * 1024;

/// The worker's end of one link.
#[derive(Debug, Default)]
pub struct WorkerEnd {
    taken: Seq,
    reported: Seq,
    number: u64,
    answered: Vec<Seq>,
    /// Final answers to messages: they leave together with the messages' numbers.
    outcomes: Vec<(Seq, u16, Option<Box<str>>)>,
    /// The time at which the oldest of `answered` must leave.
    due: Option<Time>,
    /// A newer report replaces it instead of queueing: its numbers are absolute.
    report: Option<Report>,
    current: FrameBuilder,
    /// Full frames that leave before `current`, if the link takes nothing.
    full: VecDeque<Vec<u8>>,
    backlog: usize,
}

/// The content of the dispatcher's frame, record by record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FromDispatcher<'a> {
    /// The dispatcher accepts the worker; descriptors came beside the frame.
    Welcome(Box<Welcome>),
    /// A message to serve.
    Message(Message<'a>),
    /// The operator's order about new work.
    Drain(Drain),
    /// The sources that may send to the worker's own ports, from now on.
    Access(AccessRules<'a>),
    /// The connection is gone, to which these bytes of a reply of ours were to go.
    Undelivered {
        /// The connection.
        to: ReplyTo,
        /// The bytes.
        bytes: &'a [u8],
    },
    /// The dispatcher's clock, asked for at a time of ours.
    Clock {
        /// Our time when we asked.
        asked: Time,
        /// The dispatcher's time when it was asked.
        at: Time,
    },
    /// The dispatcher closes the link.
    Goodbye(&'a str),
}

/// The reason why a dispatcher's frame closes its link.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DispatcherFault {
    /// Not a frame.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// A record that only a worker may send.
    #[error("the dispatcher has sent `{0}`, which only a worker sends")]
    Unexpected(&'static str),
}

/// The reason why a record could not be queued for the link.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Backlog {
    /// The link takes nothing, and too much waits for it already.
    #[error("{0} bytes wait on a link that the dispatcher does not read")]
    Full(usize),
    /// The record does not fit into one frame.
    #[error("{0} bytes do not fit into one frame")]
    Oversized(usize),
}

impl WorkerEnd {
    /// A new link.
    pub fn new() -> Self {
        WorkerEnd::default()
    }

    /// Reads the dispatcher's frame. `sink` gets its records, in order, up to the first error. A `Ping` is answered
    /// here; those of a link over a network are read by its [`Session`](crate::link::session::Session).
    ///
    /// # Errors
    ///
    /// The bytes are no frame, or a record may not be sent by a dispatcher: close the link.
    pub fn on_frame<'a>(
        &mut self,
        frame: &'a [u8],
        sink: &mut impl FnMut(FromDispatcher<'a>),
    ) -> Result<(), DispatcherFault> {
        for record in Frame::parse(frame)? {
            match record? {
                Record::Message(message) => {
                    self.taken = self.taken.max(message.envelope.seq);
                    sink(FromDispatcher::Message(message));
                }
                Record::Welcome(welcome) => sink(FromDispatcher::Welcome(Box::new(welcome))),
                Record::Drain(drain) => sink(FromDispatcher::Drain(drain)),
                Record::Access(rules) => sink(FromDispatcher::Access(rules)),
                // The file beside the frame says all.
                Record::Certificates => {}
                Record::Undelivered { to, bytes } => sink(FromDispatcher::Undelivered { to, bytes }),
                Record::Goodbye(reason) => sink(FromDispatcher::Goodbye(reason)),
                Record::Ping(number) => self.queue(&Record::Pong(number), 0),
                Record::Clock { asked, at } => sink(FromDispatcher::Clock { asked, at }),
                Record::Hello(_) => return Err(DispatcherFault::Unexpected("Hello")),
                Record::Report(_) => return Err(DispatcherFault::Unexpected("Report")),
                Record::Answered(_) => return Err(DispatcherFault::Unexpected("Answered")),
                Record::Refuse { .. } => return Err(DispatcherFault::Unexpected("Refuse")),
                Record::Reply { .. } => return Err(DispatcherFault::Unexpected("Reply")),
                Record::Release(_) => return Err(DispatcherFault::Unexpected("Release")),
                Record::Holding(_) => return Err(DispatcherFault::Unexpected("Holding")),
                Record::GroupOpen { .. } => return Err(DispatcherFault::Unexpected("GroupOpen")),
                Record::GroupClosed { .. } => return Err(DispatcherFault::Unexpected("GroupClosed")),
                Record::Pong(_) => return Err(DispatcherFault::Unexpected("Pong")),
                Record::Outcome(_) => return Err(DispatcherFault::Unexpected("Outcome")),
                Record::Unanswered(_) => return Err(DispatcherFault::Unexpected("Unanswered")),
                Record::ClockAsk(_) => return Err(DispatcherFault::Unexpected("ClockAsk")),
                Record::Send(_) => return Err(DispatcherFault::Unexpected("Send")),
                Record::Takeover(_) => return Err(DispatcherFault::Unexpected("Takeover")),
            }
        }
        Ok(())
    }

    /// Takes note that the first final response to `seq` has been sent.
    pub fn answered(&mut self, seq: Seq, now: Time) {
        self.answered.push(seq);
        self.due.get_or_insert(now + ANSWERED_WITHIN);
    }

    /// Queues the final answer to `seq`. It leaves before or with the number itself: call this before
    /// [`WorkerEnd::answered`].
    pub fn outcome(&mut self, seq: Seq, status: u16, why: Option<Box<str>>) {
        // They leave with the next answered numbers, of which there are no more.
        if self.outcomes.len() < ANSWERED_AT_ONCE {
            self.outcomes.push((seq, status, why));
        }
    }

    /// Takes note that no response to `seq` will be sent: it is an ACK, a response, or a message that was dropped.
    pub fn done(&mut self, seq: Seq, now: Time) {
        self.answered(seq, now);
    }

    /// Gives `seq` back: another worker may have it.
    pub fn refuse(&mut self, seq: Seq, reason: RefuseReason) {
        self.queue(&Record::Refuse { seq, reason }, 0);
    }

    /// Takes note that the final response to a transaction that the worker came back with has been sent.
    pub fn release(&mut self, name: [u8; 16]) {
        self.make_room(name.len());
        self.current.push_release(&[name]);
    }

    /// Introduces the worker; the first record on a link.
    pub fn hello(&mut self, hello: Hello) {
        self.queue(&Record::Hello(hello), 0);
    }

    /// Reports the worker's load. `number` and `taken_through` are filled in here. The worker sets `covers` (its
    /// figures include all messages up to it; see [`WorkerEnd::taken_through`]), which is cut to the last message that
    /// has been read.
    pub fn report(&mut self, report: Report) {
        self.report = Some(Report { taken_through: self.taken, covers: report.covers.min(self.taken), ..report });
        self.reported = self.taken;
    }

    /// Tells the dispatcher that the worker has had the conference `name` since `opened`.
    ///
    /// # Errors
    ///
    /// Too much waits for the link already, or the name is longer than a frame.
    pub fn group_open(&mut self, opened: Time, name: &[u8]) -> Result<(), Backlog> {
        self.try_queue(&Record::GroupOpen { opened, name }, name.len())
    }

    /// Tells the dispatcher that the worker no longer has the conference `name`.
    ///
    /// # Errors
    ///
    /// As [`WorkerEnd::group_open`].
    pub fn group_closed(&mut self, name: &[u8]) -> Result<(), Backlog> {
        self.try_queue(&Record::GroupClosed { name }, name.len())
    }

    /// Has the dispatcher write `bytes` to a stream connection, or take them as this worker's answer to a gathering.
    ///
    /// # Errors
    ///
    /// As [`WorkerEnd::group_open`].
    pub fn reply(&mut self, to: ReplyTo, bytes: &[u8]) -> Result<(), Backlog> {
        self.try_queue(&Record::Reply { to, bytes }, bytes.len())
    }

    /// Has the dispatcher send an answer from a well-known socket.
    ///
    /// # Errors
    ///
    /// As [`WorkerEnd::group_open`].
    pub fn send(&mut self, answer: &Dispatched<'_>) -> Result<(), Backlog> {
        self.try_queue(&Record::Send(*answer), answer.bytes.len())
    }

    /// Asks for the dispatcher's clock; `now` is our own.
    pub fn ask_clock(&mut self, now: Time) {
        self.queue(&Record::ClockAsk(now), 0);
    }

    /// Tells the dispatcher why the worker closes the link.
    pub fn goodbye(&mut self, reason: &str) {
        self.queue(&Record::Goodbye(reason), reason.len());
    }

    /// Sends everything that is due by `now`, until nothing is due or the link takes no more. `send` sends the pieces
    /// as one frame, whole or not at all.
    ///
    /// # Errors
    ///
    /// The error of `send`, unless it means "later": then the unsent records are kept, and [`Transmit::Blocked`] is
    /// returned.
    pub fn poll_transmit(
        &mut self,
        now: Time,
        mut send: impl FnMut(&[IoSlice<'_>]) -> io::Result<()>,
    ) -> io::Result<Transmit> {
        if self.is_due(now) {
            self.close_frame();
        }
        loop {
            let sent = match self.full.front() {
                Some(frame) => send(&[IoSlice::new(frame)]),
                None if self.current.is_empty() => return Ok(Transmit::Drained),
                None => send(&[IoSlice::new(self.current.bytes())]),
            };
            match sent {
                Ok(()) => {}
                Err(error) if is_backpressure(&error) => return Ok(Transmit::Blocked),
                Err(error) => return Err(error),
            }
            match self.full.pop_front() {
                Some(frame) => self.backlog -= frame.len(),
                None => self.current.clear(),
            }
        }
    }

    /// The time at which [`WorkerEnd::poll_transmit`] has something to send; `Time(0)`: at once.
    pub fn poll_timeout(&self) -> Option<Time> {
        if self.is_urgent() { Some(Time(0)) } else { self.due }
    }

    /// The last message that has been read; all before it have been read as well.
    pub const fn taken_through(&self) -> Seq {
        self.taken
    }

    /// Whether so many messages have been read since the last report that the dispatcher should be told.
    pub const fn report_due(&self) -> bool {
        self.taken.0 - self.reported.0 >= REPORT_AFTER
    }

    /// Whether to read on. False while the link takes nothing and much waits for it: the dispatcher is slow, and unread
    /// messages make it hold back.
    pub fn wants_frames(&self) -> bool {
        self.waiting() <= BACKLOG_LIMIT
    }

    fn is_due(&self, now: Time) -> bool {
        self.is_urgent() || self.due.is_some_and(|due| due <= now)
    }

    fn is_urgent(&self) -> bool {
        self.report.is_some()
            || !self.current.is_empty()
            || !self.full.is_empty()
            || self.answered.len() >= ANSWERED_AT_ONCE
    }

    /// Adds the records that are held back, answered numbers and the report, to the frame that leaves next.
    fn close_frame(&mut self) {
        let outcomes = std::mem::take(&mut self.outcomes);
        for (seq, status, why) in &outcomes {
            let why = why.as_deref().unwrap_or_default();
            self.queue(&Record::Outcome(Outcome { seq: *seq, status: *status, why }), why.len());
        }
        // The memory is kept for the next ones.
        self.outcomes = outcomes;
        self.outcomes.clear();
        let answered = std::mem::take(&mut self.answered);
        for seqs in answered.chunks(ANSWERED_PER_RECORD) {
            self.make_room(size_of_val(seqs));
            self.current.push_answered(seqs);
        }
        // The memory is kept for the next ones.
        self.answered = answered;
        self.answered.clear();
        self.due = None;
        if let Some(report) = self.report.take() {
            self.number += 1;
            self.queue(&Record::Report(Report { number: self.number, ..report }), 0);
        }
    }

    fn try_queue(&mut self, record: &Record<'_>, length: usize) -> Result<(), Backlog> {
        if length > FRAME_SOFT_LIMIT {
            return Err(Backlog::Oversized(length));
        }
        let waiting = self.waiting();
        if waiting + length > BACKLOG_LIMIT {
            return Err(Backlog::Full(waiting));
        }
        self.queue(record, length);
        Ok(())
    }

    fn queue(&mut self, record: &Record<'_>, length: usize) {
        self.make_room(length);
        self.current.push(record);
    }

    /// Queues the current frame if `length` more bytes would take it past the limit.
    fn make_room(&mut self, length: usize) {
        if self.current.is_empty() || self.current.fits(length) {
            return;
        }
        let frame = self.current.bytes().to_vec();
        self.backlog += frame.len();
        self.full.push_back(frame);
        self.current.clear();
    }

    fn waiting(&self) -> usize {
        self.backlog + self.current.len() - FRAME_HEADER + size_of_val(self.answered.as_slice())
    }
}

#[cfg(test)]
mod tests;
