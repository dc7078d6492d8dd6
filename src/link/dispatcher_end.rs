//! The dispatcher's end of one link: the messages that have been handed over to a worker, and the worker's reports
//! about them.
//!
//! A message is copied once, with its envelope, into the [`Store`]. Frames are gathered directly from there. The
//! message stays until the worker has answered it, gives it back, or dies. The decision assigns the numbers, so that
//! its ledger and the link share them. No socket is used here: [`DispatcherEnd::poll_transmit`] is given a function
//! that sends.
//!
//! No record of a worker can make this end panic or grow: numbers that are not retained are counted and ignored.

mod saved;

use std::io::{self, IoSlice};

use crate::ids::Seq;
use crate::link::index::Index;
use crate::link::store::{BLOCK, Chain, LARGEST, Share, Store};
use crate::link::{Transmit, is_backpressure};
use crate::time::Time;
use crate::wire::handoff::{
    FRAME_HEADER, FRAME_SOFT_LIMIT, Frame, FrameBuilder, FrameError, Record, frame_header, message_header,
};
use crate::words::{AccessRule, Envelope, HandedOver, Hello, Outcome, RefuseReason, ReplyTo, Report, Room};

/// Most messages handed over and not yet read by the worker; beyond it the worker has no room. A worker reads thousands
/// within a report's interval; a worker so far behind is stuck.
pub const UNREAD_LIMIT: u64 = 16_384;
/// Impossible records that a worker may send, besides two for each message that it was handed.
const FAULTS_LIMIT: u64 = 10_000;
/// Most outcomes and replies of a worker for each message that it was handed, including provisional ones.
const WORDS_EACH: u64 = 8;
/// Bytes of control records that may wait for a link that takes nothing.
const CONTROL_LIMIT: usize = 6 * 1024;

/// The dispatcher's end of one link. It keeps a note `N` with each message, and gives the note back with the message or
/// with its answer.
#[derive(Debug)]
pub struct DispatcherEnd<N> {
    store: Store,
    index: Index,
    held: Vec<Option<Held<N>>>,
    vacant: Vec<u32>,
    /// The first and the last record that has not been sent, as places in `held`.
    unsent: Option<(u32, u32)>,
    unsent_blocks: u32,
    control: FrameBuilder,
    pushed: Seq,
    sent: Seq,
    taken: Seq,
    report: u64,
    stats: Stats,
}

/// The content of a worker's frame, record by record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FromWorker<'a, N> {
    /// The worker introduces itself.
    Hello(Hello),
    /// The first final response to a message has been sent, or none will be: the message is no longer retained.
    Answered {
        /// The message's number.
        seq: Seq,
        /// The note about it.
        note: N,
    },
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
    /// The worker closes the link.
    Goodbye(&'a str),
}

/// The reason why a message could not be handed over on this link.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoRoom {
    /// The memory for unanswered messages is used up.
    #[error("no memory left for unanswered messages")]
    Store,
    /// Too many messages wait that the worker has not read.
    #[error("{UNREAD_LIMIT} messages wait that the worker has not read")]
    Unread,
    /// Larger than any message that can come in.
    #[error("a message of {0} bytes; at most {LARGEST} can be handed over")]
    Oversized(usize),
    /// The number is not above the last one: a message would be found under another's number.
    #[error("message {} is not above the last, {}", .seq.0, .last.0)]
    Number {
        /// Its number.
        seq: Seq,
        /// The last number.
        last: Seq,
    },
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

/// Counts of a link since it began, and its current contents.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Frames sent.
    pub frames: u64,
    /// Messages sent.
    pub records: u64,
    /// Bytes sent.
    pub bytes: u64,
    /// Times that the link took no more.
    pub blocked: u64,
    /// Impossible records of the worker: numbers not retained, reports out of order.
    pub faults: u64,
    /// Outcomes and replies of the worker.
    pub words: u64,
    /// Messages not answered yet.
    pub retained: u64,
    /// Memory of these messages, in bytes.
    pub retained_bytes: u64,
    /// Messages that the worker has not read yet, by its reports.
    pub unread: u64,
}

#[derive(Debug)]
struct Held<N> {
    seq: Seq,
    note: N,
    chain: Chain,
    /// The place of the record that is sent after this one.
    next: Option<u32>,
    sent: bool,
}

impl<N: Copy> DispatcherEnd<N> {
    /// A link that retains at most `store_bytes` bytes.
    pub fn new(store_bytes: usize) -> Self {
        let store = Store::new(store_bytes);
        // A message of less than two blocks is rare; without this bound, tiny messages would need an index twice as
        // large.
        let limit = store.capacity() / (2 * BLOCK);
        DispatcherEnd {
            store,
            index: Index::new(limit),
            held: Vec::with_capacity(limit),
            vacant: Vec::with_capacity(limit),
            unsent: None,
            unsent_blocks: 0,
            control: FrameBuilder::new(),
            pushed: Seq(0),
            sent: Seq(0),
            taken: Seq(0),
            report: 0,
            stats: Stats::default(),
        }
    }

    /// Takes a message: `payload` is the message in pieces, copied once. It leaves with the next
    /// [`DispatcherEnd::poll_transmit`], and is retained until it is answered.
    ///
    /// # Errors
    ///
    /// The link has no room, or the number is not above the last one. In both cases nothing has changed.
    pub fn push(&mut self, envelope: &Envelope, note: N, payload: &[&[u8]]) -> Result<(), NoRoom> {
        let length: usize = payload.iter().map(|piece| piece.len()).sum();
        let header = message_header(envelope, length);
        if header.len() + length > LARGEST {
            return Err(NoRoom::Oversized(length));
        }
        if envelope.seq <= self.pushed {
            return Err(NoRoom::Number { seq: envelope.seq, last: self.pushed });
        }
        let share = if envelope.follows { Share::Reserve } else { Share::Common };
        if self.unread() >= unread_limit(share) {
            return Err(NoRoom::Unread);
        }
        if self.index.room() <= index_reserve(share, &self.store) {
            return Err(NoRoom::Store);
        }
        let chain = self.put(&header, payload, share).ok_or(NoRoom::Store)?;
        self.keep(Held { seq: envelope.seq, note, chain, next: None, sent: false });
        self.pushed = envelope.seq;
        Ok(())
    }

    /// Takes a control record (`Welcome`, `Drain`, `Access`, `Goodbye`). It leaves before the messages that
    /// wait. On a link that takes nothing, a record that does not fit into 6 KiB is dropped, and the result is false.
    pub fn push_control(&mut self, record: &Record<'_>) -> bool {
        if self.control.len() > CONTROL_LIMIT {
            return false;
        }
        let before = self.control.len();
        self.control.push(record);
        self.keep_control(before)
    }

    /// Sends the worker the access rules for its own ports; false as with [`DispatcherEnd::push_control`].
    pub fn push_access(&mut self, rules: &[AccessRule]) -> bool {
        if self.control.len() > CONTROL_LIMIT {
            return false;
        }
        let before = self.control.len();
        self.control.push_access(rules);
        self.keep_control(before)
    }

    /// Sends everything that waits, in as few frames as possible, until nothing waits or the link takes no more. `send`
    /// sends the pieces as one frame, whole or not at all.
    ///
    /// # Errors
    ///
    /// The error of `send`, unless it means "later": then the unsent records are kept, and [`Transmit::Blocked`] is
    /// returned.
    pub fn poll_transmit(&mut self, mut send: impl FnMut(&[IoSlice<'_>]) -> io::Result<()>) -> io::Result<Transmit> {
        while self.wants_transmit() {
            // Few records are the common case, and need few slices; the frame's header and the control records need
            // two.
            let sent = if self.unsent_blocks <= 14 {
                self.send_frame::<16>(&mut send)
            } else {
                self.send_frame::<320>(&mut send)
            };
            match sent {
                Ok(()) => {}
                Err(error) if is_backpressure(&error) => {
                    self.stats.blocked += 1;
                    return Ok(Transmit::Blocked);
                }
                Err(error) => return Err(error),
            }
        }
        Ok(Transmit::Drained)
    }

    /// Reads a worker's frame. `sink` gets its records, in order, up to the first error.
    ///
    /// # Errors
    ///
    /// The bytes are no frame, or a record may not be sent by a worker: close the link.
    pub fn on_frame(&mut self, frame: &[u8], sink: &mut impl FnMut(FromWorker<'_, N>)) -> Result<(), WorkerFault> {
        for record in Frame::parse(frame)? {
            match record? {
                Record::Answered(seqs) => seqs.iter().for_each(|seq| self.on_answered(seq, sink)),
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
                // These belong to no message that the worker was handed, or answer a `Ping` that is never sent.
                Record::Reply { .. } | Record::Outcome(_) | Record::Pong(_) => self.stats.faults += 1,
                Record::Goodbye(reason) => sink(FromWorker::Goodbye(reason)),
                Record::Welcome(_) => return Err(WorkerFault::Unexpected("Welcome")),
                Record::Message(_) => return Err(WorkerFault::Unexpected("Message")),
                Record::Drain(_) => return Err(WorkerFault::Unexpected("Drain")),
                Record::Takeover(_) => return Err(WorkerFault::Unexpected("Takeover")),
                Record::Ping(_) => return Err(WorkerFault::Unexpected("Ping")),
                Record::Access(_) => return Err(WorkerFault::Unexpected("Access")),
            }
        }
        // A worker may be mistaken about its messages; a worker that sends far more impossible records is of no use.
        if self.stats.faults > FAULTS_LIMIT.saturating_add(2 * self.stats.records) {
            return Err(WorkerFault::Untrue(self.stats.faults));
        }
        Ok(())
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

    /// The messages that the link can still take: the decision is told after each push and each frame.
    pub fn room(&self) -> Room {
        let unread = match self.unread() {
            unread if unread < UNREAD_LIMIT - UNREAD_LIMIT / 4 => Room::All,
            unread if unread < unread_limit(Share::Common) => Room::Scarce,
            unread if unread < unread_limit(Share::Reserve) => Room::Following,
            _ => Room::None,
        };
        let reserve = index_reserve(Share::Common, &self.store);
        let places = match self.index.room() {
            places if places > 2 * reserve => Room::All,
            places if places > reserve => Room::Scarce,
            1.. => Room::Following,
            0 => Room::None,
        };
        self.store.room().max(unread).max(places)
    }

    /// The last message that the worker has read, by its reports; all before it have been read as well.
    pub const fn taken_through(&self) -> Seq {
        self.taken
    }

    /// The last message that the worker has read, if it has not read all that were handed over.
    pub fn unread_behind(&self) -> Option<Seq> {
        (self.sent > self.taken || self.unsent.is_some()).then_some(self.taken)
    }

    /// Whether any record waits to be sent.
    pub fn wants_transmit(&self) -> bool {
        self.unsent.is_some() || !self.control.is_empty()
    }

    /// The counts and contents of the link.
    pub fn stats(&self) -> Stats {
        Stats {
            retained: self.index.len() as u64,
            retained_bytes: self.store.used() as u64,
            unread: self.unread(),
            ..self.stats
        }
    }

    /// Removes the control records after `before` if there are too many.
    fn keep_control(&mut self, before: usize) -> bool {
        let fits = self.control.len() <= CONTROL_LIMIT;
        if !fits {
            self.control.truncate(before);
        }
        fits
    }

    fn send_frame<const SLICES: usize>(
        &mut self,
        send: &mut impl FnMut(&[IoSlice<'_>]) -> io::Result<()>,
    ) -> io::Result<()> {
        let mut slices = [IoSlice::new(&[]); SLICES];
        let mut used = 1;
        let mut length = 0;
        let control = &self.control.bytes()[FRAME_HEADER..];
        if !control.is_empty() {
            slices[used] = IoSlice::new(control);
            used += 1;
            length += control.len();
        }
        let mut records = 0;
        let mut next = self.unsent.map(|(first, _)| first);
        while let Some(held) = next.and_then(|place| self.held.get(place as usize)?.as_ref()) {
            if records > 0 && FRAME_HEADER + length + held.chain.len() > FRAME_SOFT_LIMIT {
                break;
            }
            let Some(behind) = self.store.gather(&held.chain, &mut slices, used) else { break };
            used = behind;
            length += held.chain.len();
            records += 1;
            next = held.next;
        }
        let header = frame_header(length);
        slices[0] = IoSlice::new(&header);
        send(&slices[..used])?;

        self.control.clear();
        for _ in 0..records {
            self.mark_sent();
        }
        self.stats.frames += 1;
        self.stats.records += records;
        self.stats.bytes += (FRAME_HEADER + length) as u64;
        Ok(())
    }

    fn mark_sent(&mut self) {
        let Some((first, last)) = self.unsent else { return };
        let Some(Some(held)) = self.held.get_mut(first as usize) else { return };
        held.sent = true;
        self.unsent_blocks = self.unsent_blocks.saturating_sub(held.chain.blocks());
        self.sent = held.seq;
        self.unsent = held.next.map(|next| (next, last));
    }

    fn on_answered(&mut self, seq: Seq, sink: &mut impl FnMut(FromWorker<'_, N>)) {
        if let Some(held) = self.release(seq) {
            self.store.free(held.chain);
            sink(FromWorker::Answered { seq, note: held.note });
        }
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

    fn give_back(&mut self, seq: Seq) -> Option<HandedOver<N>> {
        let held = self.release(seq)?;
        self.read_back(held)
    }

    /// Takes out a record that the worker has read; its blocks are still to be freed. A number that is not retained, or
    /// has not been sent, is a fault of the worker.
    fn release(&mut self, seq: Seq) -> Option<Held<N>> {
        let place = self.index.get(seq).filter(|_| seq <= self.sent);
        let Some(place) = place else {
            self.stats.faults += 1;
            return None;
        };
        self.index.remove(seq);
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
        let (envelope, payload) = (message.envelope, message.payload.to_vec());
        Some(HandedOver { envelope, note: held.note, payload, sent: held.sent })
    }

    fn put(&mut self, header: &[u8], payload: &[&[u8]], share: Share) -> Option<Chain> {
        match *payload {
            [whole] => self.store.put(&[header, whole], share),
            [one, two] => self.store.put(&[header, one, two], share),
            [one, two, three] => self.store.put(&[header, one, two, three], share),
            // Payloads of more than three pieces are rare, so the list may be copied.
            _ => {
                let pieces: Vec<&[u8]> = std::iter::once(header).chain(payload.iter().copied()).collect();
                self.store.put(&pieces, share)
            }
        }
    }

    /// Retains a message after all others; a message that has not been sent is also queued for sending.
    fn keep(&mut self, held: Held<N>) {
        let (seq, blocks, sent) = (held.seq, held.chain.blocks(), held.sent);
        let place = self.hold(held);
        self.index.insert(seq, place);
        if sent {
            return;
        }
        self.unsent_blocks += blocks;
        self.unsent = match self.unsent {
            None => Some((place, place)),
            Some((first, last)) => {
                if let Some(Some(last)) = self.held.get_mut(last as usize) {
                    last.next = Some(place);
                }
                Some((first, place))
            }
        };
    }

    fn hold(&mut self, held: Held<N>) -> u32 {
        if let Some(place) = self.vacant.pop() {
            self.held[place as usize] = Some(held);
            return place;
        }
        self.held.push(Some(held));
        (self.held.len() - 1) as u32
    }

    /// Assigned numbers that were never pushed count as well, until the worker has read a later message.
    const fn unread(&self) -> u64 {
        self.pushed.0.saturating_sub(self.taken.0)
    }
}

/// Most unread messages under a share.
const fn unread_limit(share: Share) -> u64 {
    match share {
        Share::Common => UNREAD_LIMIT - UNREAD_LIMIT / 8,
        Share::Reserve => UNREAD_LIMIT,
    }
}

/// Number of places of the index that a share may not use.
fn index_reserve(share: Share, store: &Store) -> usize {
    match share {
        Share::Common => store.capacity() / (2 * BLOCK) / 8,
        Share::Reserve => 0,
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

#[cfg(test)]
mod tests;
