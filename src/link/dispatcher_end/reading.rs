//! The frames of a worker, and the messages that it answers, gives back or leaves unanswered.

use super::{DispatcherEnd, Held, TOGETHER};
use crate::ids::Seq;
use crate::net::memory::fetch;
use crate::time::Time;
use crate::wire::handoff::{FRAME_HEADER, Frame, FrameError, Record, Seqs, deadline_of, frame_header};
use crate::words::{Dispatched, HandedOver, Hello, Outcome, RefuseReason, ReplyTo, Report};

/// Impossible records that a worker may send, besides two for each message that it was handed.
const FAULTS_LIMIT: u64 = 10_000;
/// Most outcomes, replies and answers to be sent of a worker for each message that it was handed, including provisional
/// ones. A 2xx without an ACK is sent ten times more (RFC 3261 §13.3.1.4).
const WORDS_EACH: u64 = 24;
/// Most answers to be sent in calls of an earlier link.
const WORDS_OF_BEFORE: u64 = 16_384;

/// The content of a worker's frame, record by record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FromWorker<'a, N> {
    /// The worker introduces itself.
    Hello(Hello),
    /// The first final responses to these messages have been sent, or none will be: the messages are no longer
    /// retained. Each has its number and the note about it.
    Answered(&'a [(Seq, N)]),
    /// The final answer to a message.
    Outcome(Outcome<'a>),
    /// The worker gives a message back; the message is no longer retained.
    Refused {
        /// The message.
        message: HandedOver<N>,
        /// The worker's reason.
        reason: RefuseReason,
    },
    /// The worker's load. Numbers that it cannot have seen are cut to the last one sent.
    Report(Report),
    /// The final response to a transaction that the worker came back with has been sent.
    Released {
        /// The name of the transaction.
        name: [u8; 16],
    },
    /// The worker has a conference.
    GroupOpen {
        /// The time since which it has it.
        opened: Time,
        /// The conference's name.
        name: &'a [u8],
    },
    /// The worker no longer has a conference.
    GroupClosed {
        /// The conference's name.
        name: &'a [u8],
    },
    /// Bytes to write to a stream connection, or the worker's answer to a gathering.
    Reply {
        /// The way back.
        to: ReplyTo,
        /// The bytes.
        bytes: &'a [u8],
    },
    /// An answer to send from a well-known socket.
    Send(Dispatched<'a>),
    /// The worker asks for the dispatcher's clock, at this time of its own.
    ClockAsk(Time),
    /// The worker closes the link.
    Goodbye(&'a str),
}

/// The reason why a worker's frame closes its link.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WorkerFault {
    /// Not a frame.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// More impossible records than a faulty but honest worker would send.
    #[error("it has sent {0} impossible records")]
    Untrue(u64),
    /// A record that only a dispatcher may send.
    #[error("a worker has sent `{0}`, which only a dispatcher sends")]
    Unexpected(&'static str),
}

impl<N: Copy> DispatcherEnd<N> {
    /// Reads a worker's frame. `sink` gets its records, in order, up to the first error.
    ///
    /// # Errors
    ///
    /// The bytes are no frame, or a record may not be sent by a worker: close the link.
    pub fn on_frame(&mut self, frame: &[u8], sink: &mut impl FnMut(FromWorker<'_, N>)) -> Result<(), WorkerFault> {
        for record in Frame::parse(frame)? {
            match record? {
                Record::Answered(seqs) => self.on_answered(seqs, sink),
                Record::Report(report) => self.on_report(report, sink),
                Record::Refuse { seq, reason } => {
                    if let Some(message) = self.give_back(seq) {
                        sink(FromWorker::Refused { message, reason });
                    }
                }
                Record::Hello(hello) => sink(FromWorker::Hello(hello)),
                Record::Release(names) => names.iter().for_each(|name| sink(FromWorker::Released { name })),
                // These are sent before the `Welcome`, and only once; later they mean nothing.
                Record::Holding(_) | Record::Unanswered(_) => self.stats.faults += 1,
                Record::GroupOpen { opened, name } => sink(FromWorker::GroupOpen { opened, name }),
                Record::GroupClosed { name } => sink(FromWorker::GroupClosed { name }),
                Record::Reply { to, bytes } if self.may_say() => sink(FromWorker::Reply { to, bytes }),
                Record::Outcome(outcome) if outcome.seq <= self.sent && self.may_say() => {
                    sink(FromWorker::Outcome(outcome));
                }
                Record::Send(answer) if self.may_send(&answer) => sink(FromWorker::Send(answer)),
                Record::ClockAsk(asked) => sink(FromWorker::ClockAsk(asked)),
                // These belong to no message that the worker was handed. The `Pong`s of a link over a network are read
                // by its session.
                Record::Reply { .. } | Record::Outcome(_) | Record::Send(_) | Record::Pong(_) => self.stats.faults += 1,
                Record::Goodbye(reason) => sink(FromWorker::Goodbye(reason)),
                Record::Welcome(_) => return Err(WorkerFault::Unexpected("Welcome")),
                Record::Message(_) => return Err(WorkerFault::Unexpected("Message")),
                Record::Drain(_) => return Err(WorkerFault::Unexpected("Drain")),
                Record::Takeover(_) => return Err(WorkerFault::Unexpected("Takeover")),
                Record::Ping(_) => return Err(WorkerFault::Unexpected("Ping")),
                Record::Access(_) => return Err(WorkerFault::Unexpected("Access")),
                Record::Certificates => return Err(WorkerFault::Unexpected("Certificates")),
                Record::Undelivered { .. } => return Err(WorkerFault::Unexpected("Undelivered")),
                Record::Clock { .. } => return Err(WorkerFault::Unexpected("Clock")),
            }
        }
        // A worker may be mistaken about its messages; a worker that sends far more impossible records is of no use.
        if self.stats.faults > FAULTS_LIMIT.saturating_add(2 * self.stats.records) {
            return Err(WorkerFault::Untrue(self.stats.faults));
        }
        Ok(())
    }

    /// Takes out a message that has not left and whose deadline has passed.
    pub fn take_late(&mut self, now: Time) -> Option<HandedOver<N>> {
        let (mut before, mut place) = (None, self.unsent.map(|(first, _)| first));
        while let Some(at) = place {
            let held = self.held.get(at as usize)?.as_ref()?;
            if self.deadline(held).is_some_and(|deadline| deadline < now) {
                return self.unqueue(before, at);
            }
            (before, place) = (place, held.next);
        }
        None
    }

    /// Takes a message out of those that wait to be sent; `before` is the place of the one in front of it.
    fn unqueue(&mut self, before: Option<u32>, place: u32) -> Option<HandedOver<N>> {
        let (first, last) = self.unsent?;
        let held = self.held.get_mut(place as usize)?.take()?;
        self.index.remove(held.seq);
        self.vacant.push(place);
        self.unsent_blocks = self.unsent_blocks.saturating_sub(held.chain.blocks());
        if let Some(Some(before)) = before.and_then(|before| self.held.get_mut(before as usize)) {
            before.next = held.next;
        }
        let first = if before.is_none() { held.next } else { Some(first) };
        let last = if place == last { before.unwrap_or(last) } else { last };
        self.unsent = first.map(|first| (first, last));
        self.read_back(held)
    }

    /// The deadline in the envelope of a retained message, which lies in its first block.
    fn deadline(&self, held: &Held<N>) -> Option<Time> {
        let first = self.store.pieces(&held.chain).next()?;
        deadline_of(first)
    }

    /// Ends the link: gives all retained messages, sent or not, in the order of their numbers.
    ///
    /// Read the link to its end first: a message that the worker answered before it died must not go to another worker.
    pub fn into_orphans(self) -> Orphans<N> {
        let mut order: Vec<(Seq, u32)> =
            (0..).zip(&self.held).filter_map(|(place, held)| Some((held.as_ref()?.seq, place))).collect();
        order.sort_unstable();
        Orphans { front: self, order: order.into_iter() }
    }

    /// Takes out the messages with these numbers. Their records lie far apart in memory: those of some messages are
    /// asked for before any of them is waited for.
    fn on_answered(&mut self, seqs: Seqs<'_>, sink: &mut impl FnMut(FromWorker<'_, N>)) {
        let mut answered = std::mem::take(&mut self.answered);
        for some in seqs.some_at_a_time(TOGETHER) {
            some.iter().for_each(|seq| self.index.expect(seq));
            some.iter().filter_map(|seq| self.held.get(self.index.get(seq)? as usize)).for_each(fetch);
            answered.clear();
            for seq in some.iter() {
                if let Some(held) = self.release(seq) {
                    self.store.free(held.chain);
                    answered.push((seq, held.note));
                }
            }
            if !answered.is_empty() {
                sink(FromWorker::Answered(&answered));
            }
        }
        self.answered = answered;
    }

    fn on_report(&mut self, mut report: Report, sink: &mut impl FnMut(FromWorker<'_, N>)) {
        if report.number <= self.report {
            self.stats.faults += 1;
            return;
        }
        self.report = report.number;
        if report.taken_through > self.sent || report.covers > self.sent {
            self.stats.faults += 1;
        }
        report.taken_through = report.taken_through.min(self.sent);
        report.covers = report.covers.min(self.sent);
        self.taken = self.taken.max(report.taken_through);
        sink(FromWorker::Report(report));
    }

    /// Counts another outcome or reply; false if the worker has sent too many for the messages that it was handed.
    const fn may_say(&mut self) -> bool {
        self.stats.words += 1;
        self.stats.words <= self.stats.records.saturating_mul(WORDS_EACH)
    }

    /// Counts another answer to be sent; false if it has no permit, or there are too many. A worker that has come back
    /// speaks of messages of an earlier link as well.
    fn may_send(&mut self, answer: &Dispatched<'_>) -> bool {
        self.stats.words += 1;
        let most = self.stats.records.saturating_mul(WORDS_EACH).saturating_add(WORDS_OF_BEFORE);
        self.stats.words <= most && self.permits.as_ref().is_some_and(|permits| permits.allow(answer))
    }

    fn give_back(&mut self, seq: Seq) -> Option<HandedOver<N>> {
        let held = self.release(seq)?;
        self.read_back(held)
    }

    /// Takes out a record that the worker has read; its blocks are still to be freed. A number that is not retained, or
    /// has not been sent, is a fault of the worker.
    fn release(&mut self, seq: Seq) -> Option<Held<N>> {
        let place = if seq <= self.sent { self.index.remove(seq) } else { None };
        let Some(place) = place else {
            self.stats.faults += 1;
            return None;
        };
        let held = self.held.get_mut(place as usize)?.take()?;
        self.vacant.push(place);
        // A worker that answers a message has read it and all before it.
        self.taken = self.taken.max(seq);
        Some(held)
    }

    /// Reads a record from its blocks, and frees them. Only messages that come back are read so, so it may allocate.
    fn read_back(&mut self, held: Held<N>) -> Option<HandedOver<N>> {
        let mut bytes = Vec::with_capacity(FRAME_HEADER + held.chain.len());
        bytes.extend_from_slice(&frame_header(held.chain.len()));
        self.store.copy(&held.chain, &mut bytes);
        self.store.free(held.chain);
        let Ok(Record::Message(message)) = Frame::parse(&bytes).ok()?.next()? else { return None };
        let (mut envelope, payload) = (message.envelope, message.payload.to_vec());
        if let ReplyTo::Permitted(_) = envelope.reply_to {
            // The permit was for this worker.
            envelope.reply_to = ReplyTo::Datagram;
        }
        Some(HandedOver { envelope, note: held.note, payload, sent: held.sent })
    }
}

/// The messages of a worker that is gone, read one by one.
#[derive(Debug)]
pub struct Orphans<N> {
    front: DispatcherEnd<N>,
    order: std::vec::IntoIter<(Seq, u32)>,
}

impl<N: Copy> Iterator for Orphans<N> {
    type Item = HandedOver<N>;

    fn next(&mut self) -> Option<HandedOver<N>> {
        loop {
            let (_, place) = self.order.next()?;
            let held = self.front.held.get_mut(place as usize).and_then(Option::take);
            if let Some(message) = held.and_then(|held| self.front.read_back(held)) {
                return Some(message);
            }
        }
    }
}
