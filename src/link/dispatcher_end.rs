//! The dispatcher's end of one link: the messages that have been handed over to a worker, and the worker's reports
//! about them.
//!
//! A message is copied once, with its envelope, into the [`Store`]. Frames are gathered directly from there. The
//! message stays until the worker has answered it, gives it back, or dies. The decision assigns the numbers, so that
//! its ledger and the link share them. No socket is used here: [`DispatcherEnd::poll_transmit`] is given a function
//! that sends.
//!
//! No record of a worker can make this end panic or grow: numbers that are not retained are counted and ignored.

mod reading;
mod room;
mod saved;

use std::collections::VecDeque;
use std::io::{self, IoSlice};

use self::room::{index_reserve, unread_limit};
use crate::ids::Seq;
use crate::link::index::Index;
use crate::link::permits::Permits;
use crate::link::store::{BLOCK, Chain, LARGEST, Share, Store};
use crate::link::{Transmit, is_backpressure};
use crate::wire::handoff::{
    FRAME_HEADER, FRAME_SOFT_LIMIT, FrameBuilder, RECORD_HEADER, Record, frame_header, message_header,
};
use crate::words::{AccessRule, Envelope, ReplyTo};

pub use self::reading::{FromWorker, Orphans, WorkerFault};

/// Most messages handed over and not yet read by the worker; beyond it the worker has no room. A worker reads thousands
/// within a report's interval; a worker so far behind is stuck.
pub const UNREAD_LIMIT: u64 = 16_384;
/// Bytes of control records that may wait for a link that takes nothing.
const CONTROL_LIMIT: usize = 6 * 1024;
/// Most frames of replies whose connection is gone: four connections that were as slow as they may be.
const MOST_UNDELIVERED: usize = 16;

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
    /// The leave that its worker gets to have answers sent; `None`: it sends them itself.
    permits: Option<Permits>,
    control: FrameBuilder,
    /// Replies of the worker that found their connections gone: they leave in a frame of their own.
    undelivered: VecDeque<FrameBuilder>,
    pushed: Seq,
    sent: Seq,
    taken: Seq,
    report: u64,
    /// Room for the messages that are taken out together.
    answered: Vec<(Seq, N)>,
    stats: Stats,
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

/// The bucket for the message that comes so many numbers later is asked for in advance: by then it is there.
const AHEAD: u64 = 8;

/// Answered messages that are taken out at a time.
const TOGETHER: usize = 8;

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
            permits: None,
            control: FrameBuilder::new(),
            undelivered: VecDeque::new(),
            pushed: Seq(0),
            sent: Seq(0),
            taken: Seq(0),
            report: 0,
            answered: Vec::with_capacity(TOGETHER),
            stats: Stats::default(),
        }
    }

    /// The link to a worker on another host, for which the dispatcher sends answers that have these permits.
    pub fn sending_by(self, permits: Permits) -> Self {
        DispatcherEnd { permits: Some(permits), ..self }
    }

    /// Takes a message: `payload` is the message in pieces, copied once. It leaves with the next
    /// [`DispatcherEnd::poll_transmit`], and is retained until it is answered.
    ///
    /// # Errors
    ///
    /// The link has no room, or the number is not above the last one. In both cases nothing has changed.
    pub fn push(&mut self, envelope: &Envelope, note: N, payload: &[&[u8]]) -> Result<(), NoRoom> {
        let length: usize = payload.iter().map(|piece| piece.len()).sum();
        let header = match &self.permits {
            Some(permits) if envelope.reply_to == ReplyTo::Datagram => {
                let reply_to = ReplyTo::Permitted(permits.permit(envelope.source, envelope.local.ip()));
                message_header(&Envelope { reply_to, ..*envelope }, length)
            }
            _ => message_header(envelope, length),
        };
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
        let chain = self.store.take(header.len() + length, share).ok_or(NoRoom::Store)?;
        let head = chain.head();
        self.keep(Held { seq: envelope.seq, note, chain, next: None, sent: false });
        self.pushed = envelope.seq;
        // The copy comes last: its place is seldom in a cache, and whatever is written after it and read at once would
        // wait for it.
        self.store.fill(head, std::iter::once(&header[..]).chain(payload.iter().copied()));
        Ok(())
    }

    /// Takes a control record (`Welcome`, `Drain`, `Access`, `Goodbye`). It leaves before the messages that wait. On a
    /// link that takes nothing, a record that does not fit into 6 KiB is dropped, and the result is false.
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

    /// Gives the worker a reply back whose connection is gone. Beyond so many frames of them the reply is dropped, and
    /// the result is false: its transaction then ends by its timers.
    pub fn push_undelivered(&mut self, to: ReplyTo, bytes: &[u8]) -> bool {
        let length = RECORD_HEADER + size_of::<u64>() + bytes.len();
        let fits = |frame: &FrameBuilder| frame.len() + length <= FRAME_SOFT_LIMIT;
        if !self.undelivered.back().is_some_and(fits) {
            let new = FrameBuilder::new();
            if self.undelivered.len() >= MOST_UNDELIVERED || !fits(&new) {
                return false;
            }
            self.undelivered.push_back(new);
        }
        if let Some(last) = self.undelivered.back_mut() {
            last.push(&Record::Undelivered { to, bytes });
        }
        true
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
            let undelivered = self.undelivered.front_mut();
            let is_undelivered = undelivered.is_some();
            // Few records are the common case, and need few slices; the frame's header and the control records need
            // two.
            let sent = if let Some(frame) = undelivered {
                send(&[IoSlice::new(frame.bytes())])
            } else if self.unsent_blocks <= 14 {
                self.send_frame::<16>(&mut send)
            } else {
                self.send_frame::<320>(&mut send)
            };
            match sent {
                Ok(()) if is_undelivered => drop(self.undelivered.pop_front()),
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
        self.unsent.is_some() || !self.control.is_empty() || !self.undelivered.is_empty()
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

    /// Retains a message after all others; a message that has not been sent is also queued for sending.
    fn keep(&mut self, held: Held<N>) {
        let (seq, blocks, sent) = (held.seq, held.chain.blocks(), held.sent);
        let place = self.hold(held);
        self.index.insert(seq, place);
        self.index.expect(Seq(seq.0 + AHEAD));
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
}

#[cfg(test)]
mod tests;
