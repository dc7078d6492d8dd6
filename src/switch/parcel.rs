//! Parcels: messages that one lane has read and another is to decide about, a batch at a time, and on the way back the
//! answers for connections of the lane that read them.

use std::ops::Range;

use super::Way;
use super::replies::Replies;
use crate::ids::{ConnId, WorkerId};
use crate::net::memory::fetch;

/// Largest parcel whose memory is kept for the next batch, in bytes.
const KEPT: usize = 1 << 20;
/// Messages whose bytes are on their way from the sender's core while one is decided about.
const AHEAD: usize = 8;
/// Bytes of a cache line.
const LINE: usize = 64;
/// Most changes of the ledger, and most connections, that wait in one parcel.
const LEDGER: usize = 1 << 16;

/// Messages for another lane, and the units that the sender has handed over and no report covers. Its memory is reused.
#[derive(Debug, Default)]
pub struct Parcel {
    /// The lane that packed it.
    pub from: usize,
    /// Units that the sender has handed to workers and no report to it covers, where that has changed.
    pub ledger: Vec<(WorkerId, u32)>,
    bytes: Vec<u8>,
    messages: Vec<Passed>,
    /// Answers for connections of the lane that gets the parcel.
    pub replies: Replies,
    /// Requests that the lane has forwarded to connections that are gone.
    pub undelivered: Replies,
    /// Connections that are gone: those of the lane that packed it.
    pub gone: Vec<ConnId>,
}

/// One message: its place in the parcel, and how it came.
#[derive(Clone, Debug)]
struct Passed {
    range: Range<usize>,
    way: Way,
}

impl Parcel {
    /// An empty parcel of lane `from`.
    pub fn new(from: usize) -> Self {
        Parcel { from, ..Parcel::default() }
    }

    /// Adds a message that came on this way.
    pub fn add(&mut self, message: &[u8], way: &Way) {
        let begin = self.bytes.len();
        self.bytes.extend_from_slice(message);
        self.messages.push(Passed { range: begin..self.bytes.len(), way: *way });
    }

    /// Its messages in the order in which they were read.
    ///
    /// The sender's core has written them, and a line of its cache is as far away as memory is: the lines of later
    /// messages are asked for meanwhile.
    pub fn messages(&self) -> impl Iterator<Item = (&[u8], &Way)> {
        self.messages.iter().take(AHEAD).for_each(|passed| self.ask_for(passed));
        self.messages.iter().enumerate().map(|(at, passed)| {
            self.messages.get(at + 2 * AHEAD).into_iter().for_each(fetch);
            self.messages.get(at + AHEAD).into_iter().for_each(|later| self.ask_for(later));
            (self.bytes_of(passed), &passed.way)
        })
    }

    fn ask_for(&self, passed: &Passed) {
        self.bytes_of(passed).chunks(LINE).filter_map(<[u8]>::first).for_each(fetch);
    }

    fn bytes_of(&self, passed: &Passed) -> &[u8] {
        self.bytes.get(passed.range.clone()).unwrap_or_default()
    }

    /// Whether it holds so much that no more should wait in it.
    pub fn is_full(&self) -> bool {
        self.bytes.len() + self.replies.bytes() + self.undelivered.bytes() > KEPT
            || self.ledger.len().max(self.gone.len()) > LEDGER
    }

    /// The number of its messages to decide about.
    pub fn len(&self) -> usize {
        self.messages.len()
    }

    /// Whether nothing is in it.
    pub fn is_empty(&self) -> bool {
        let is_unanswered = self.replies.is_empty() && self.undelivered.is_empty();
        self.messages.is_empty() && is_unanswered && self.ledger.is_empty() && self.gone.is_empty()
    }

    /// Takes everything out.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.bytes.shrink_to(KEPT);
        self.messages.clear();
        self.replies.clear(KEPT);
        self.undelivered.clear(KEPT);
        self.ledger.clear();
        self.gone.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dispatch::decision::Arrival;
    use crate::ids::ListenerId;
    use crate::switch::owner::Owner;
    use crate::time::Time;
    use crate::words::ReplyTo;
    use crate::words::Transport;

    #[test]
    fn messages_come_out_as_they_went_in_and_the_memory_of_large_ones_is_given_back() {
        let source = "192.0.2.1:5060".parse().unwrap();
        let arrival = |received| Arrival {
            listener: ListenerId(1),
            transport: Transport::Udp,
            reply_to: ReplyTo::Datagram,
            source,
            local: source,
            received: Time(received),
            alias: false,
            certified: None,
        };
        let mut parcel = Parcel::new(2);
        assert!(parcel.is_empty());
        parcel.add(b"one", &Way { owner: Owner::Listener(ListenerId(1)), arrival: arrival(1) });
        parcel.add(&vec![b'x'; 4 << 20], &Way { owner: Owner::Vacant(WorkerId(3)), arrival: arrival(2) });
        let out: Vec<_> =
            parcel.messages().map(|(bytes, way)| (bytes.len(), way.owner, way.arrival.received)).collect();
        assert_eq!(
            out,
            [(3, Owner::Listener(ListenerId(1)), Time(1)), (4 << 20, Owner::Vacant(WorkerId(3)), Time(2)),]
        );
        parcel.clear();
        assert!(parcel.is_empty() && parcel.bytes.capacity() <= KEPT);
        parcel.ledger.push((WorkerId(0), 1));
        assert!(!parcel.is_empty() && parcel.messages().count() == 0);
    }
}
