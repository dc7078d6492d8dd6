//! A link over a network, as a value: it outlives its connections. Each end keeps its frames until the other has read
//! them, and sends them again on the next connection (see [`wire::handoff`](crate::wire::handoff)).
//!
//! The user of a link sends and gets whole frames, each once and in order, and need not know of a cut.

use std::collections::VecDeque;
use std::io::IoSlice;
use std::time::Duration;

use crate::pack::packed;
use crate::time::Time;
use crate::wire::handoff::{FRAME_HEADER, Frame, FrameBuilder, FrameError, Record};

/// Bytes of frames that the other end has not read; beyond it the link takes no more. A host in the same network reads
/// this much in some milliseconds.
const MOST_UNREAD: usize = 4 << 20;
/// The other end hears how much was read after so many bytes, and so often.
const TELL_AFTER: usize = 64 << 10;
const TELL_EVERY: Duration = Duration::from_secs(1);
/// Kinds of `Ping` and `Pong`.
const COUNTS: [u8; 2] = [5, 74];

/// The end of a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// It writes `Ping`.
    Dispatcher,
    /// It writes `Pong`.
    Worker,
}

/// One end of a link over a network.
#[derive(Debug)]
pub struct Session {
    side: Side,
    /// Frames that the other end has not read, by its own word, oldest first.
    unread: VecDeque<Box<[u8]>>,
    unread_bytes: usize,
    /// Number of frames that the other end has read, by its own word.
    confirmed: u64,
    /// Number of `unread` that the present connection was given; `None` while none is to be given.
    given: Option<usize>,
    /// Number of frames read from the other end.
    read: u64,
    /// Bytes of frames read since the other end was told.
    untold: usize,
    tell_at: Time,
}

/// A session without a connection, for the dispatcher that takes over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SavedSession {
    unread: Vec<Box<[u8]>>,
    confirmed: u64,
    read: u64,
}

packed!(SavedSession { unread, confirmed, read });

/// The numbers of the two ends do not fit: a frame is lost that no end has any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the other end has read {read} frames, and {first} to {last} are here")]
pub struct Mismatch {
    read: u64,
    first: u64,
    last: u64,
}

/// The reason why a link over a network is over.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SessionFault {
    /// Not a frame.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// The other end counts otherwise.
    #[error(transparent)]
    Count(#[from] Mismatch),
}

impl Session {
    /// A link that begins; it has no connection yet.
    pub fn new(side: Side) -> Self {
        Session {
            side,
            unread: VecDeque::new(),
            unread_bytes: 0,
            confirmed: 0,
            given: None,
            read: 0,
            untold: 0,
            tell_at: Time(0),
        }
    }

    /// The state, for another process: its next connection goes on from here.
    pub fn save(&self) -> SavedSession {
        SavedSession { unread: self.unread.iter().cloned().collect(), confirmed: self.confirmed, read: self.read }
    }

    /// The session that was saved; it has no connection.
    pub fn restored(side: Side, saved: SavedSession) -> Self {
        let SavedSession { unread, confirmed, read } = saved;
        let unread_bytes = unread.iter().map(|frame| frame.len()).sum();
        Session { unread: unread.into(), unread_bytes, confirmed, read, ..Session::new(side) }
    }

    /// Number of frames that were read from the other end.
    pub const fn read(&self) -> u64 {
        self.read
    }

    /// Takes a frame in pieces; false if too many wait that the other end has not read.
    pub fn push(&mut self, pieces: &[IoSlice<'_>]) -> bool {
        let length: usize = pieces.iter().map(|piece| piece.len()).sum();
        if !self.unread.is_empty() && self.unread_bytes + length > MOST_UNREAD {
            return false;
        }
        let mut frame = Vec::with_capacity(length);
        pieces.iter().for_each(|piece| frame.extend_from_slice(piece));
        self.unread_bytes += length;
        self.unread.push_back(frame.into());
        true
    }

    /// The next frame for the present connection.
    pub fn next_frame(&mut self) -> Option<&[u8]> {
        let given = self.given.as_mut()?;
        let frame = self.unread.get(*given)?;
        *given += 1;
        Some(frame)
    }

    /// Whether a frame waits for the present connection.
    pub fn has_next(&self) -> bool {
        self.given.is_some_and(|given| given < self.unread.len())
    }

    /// Reads the header and the counts of a frame; true when it is for the link's user.
    ///
    /// # Errors
    ///
    /// The bytes are no frame, or the other end has read more than was sent: the link is over.
    pub fn on_frame(&mut self, frame: &[u8]) -> Result<bool, SessionFault> {
        let mut records = Frame::parse(frame)?;
        if !frame.get(FRAME_HEADER).is_some_and(|kind| COUNTS.contains(kind)) {
            self.read += 1;
            self.untold += frame.len();
            return Ok(true);
        }
        if let Some(Record::Ping(read) | Record::Pong(read)) = records.next().transpose()? {
            self.on_read(read)?;
        }
        Ok(false)
    }

    /// The frame that tells the other end how many of its frames were read, when that is due.
    pub fn poll_count(&mut self, now: Time) -> Option<FrameBuilder> {
        if self.untold < TELL_AFTER && now < self.tell_at {
            return None;
        }
        (self.untold, self.tell_at) = (0, now + TELL_EVERY);
        let mut frame = FrameBuilder::new();
        frame.push(&match self.side {
            Side::Dispatcher => Record::Ping(self.read),
            Side::Worker => Record::Pong(self.read),
        });
        Some(frame)
    }

    /// When [`Session::poll_count`] is due.
    pub const fn poll_timeout(&self) -> Time {
        self.tell_at
    }

    /// The connection is gone.
    pub fn on_cut(&mut self) {
        self.given = None;
    }

    /// Whether an end that has read only so many frames speaks of an earlier time: it has told of more since.
    pub const fn is_outdated(&self, read: u64) -> bool {
        read < self.confirmed
    }

    /// There is a connection, and the other end has read so many frames: those after them are sent on it.
    ///
    /// # Errors
    ///
    /// The frames after them are not here: the link is over.
    pub fn on_connected(&mut self, read: u64) -> Result<(), Mismatch> {
        self.on_read(read)?;
        (self.given, self.tell_at) = (Some(0), Time(0));
        Ok(())
    }

    /// The other end has read so many frames.
    fn on_read(&mut self, read: u64) -> Result<(), Mismatch> {
        let last = self.confirmed.saturating_add(self.unread.len() as u64);
        if !(self.confirmed..=last).contains(&read) {
            return Err(Mismatch { read, first: self.confirmed, last });
        }
        for _ in self.confirmed..read {
            if let Some(frame) = self.unread.pop_front() {
                self.unread_bytes -= frame.len();
            }
            self.given = self.given.map(|given| given.saturating_sub(1));
        }
        self.confirmed = read;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn frame(number: u64) -> Vec<u8> {
        let mut frame = FrameBuilder::new();
        frame.push(&Record::ClockAsk(Time(number)));
        frame.bytes().to_vec()
    }

    fn push(session: &mut Session, number: u64) {
        assert!(session.push(&[IoSlice::new(&frame(number)[..9]), IoSlice::new(&frame(number)[9..])]));
    }

    /// Carries at most `most` frames over; the numbers of those that the user of the other end gets.
    fn carry(from: &mut Session, to: &mut Session, most: usize) -> Vec<u64> {
        let mut got = Vec::new();
        for _ in 0..most {
            let Some(bytes) = from.next_frame() else { break };
            if to.on_frame(bytes).unwrap() {
                let Some(Ok(Record::ClockAsk(Time(number)))) = Frame::parse(bytes).unwrap().next() else { panic!() };
                got.push(number);
            }
        }
        got
    }

    fn pair() -> (Session, Session) {
        let (mut one, mut other) = (Session::new(Side::Dispatcher), Session::new(Side::Worker));
        one.on_connected(0).unwrap();
        other.on_connected(0).unwrap();
        (one, other)
    }

    #[test]
    fn frames_that_were_lost_with_a_connection_are_sent_again_on_the_next_and_none_comes_twice() {
        let (mut one, mut other) = pair();
        (1..=5).for_each(|number| push(&mut one, number));
        assert_eq!(carry(&mut one, &mut other, 3), [1, 2, 3]);
        // Frame 4 is on its way when the connection is cut.
        assert!(one.next_frame().is_some());
        one.on_cut();
        other.on_cut();
        assert!(one.next_frame().is_none());
        push(&mut one, 6);
        // Meanwhile another dispatcher has taken over.
        let mut one = Session::restored(Side::Dispatcher, one.save());
        one.on_connected(other.read()).unwrap();
        other.on_connected(one.read()).unwrap();
        assert_eq!(carry(&mut one, &mut other, 10), [4, 5, 6]);
    }

    #[derive(Clone, Debug)]
    enum Operation {
        Push {
            by_dispatcher: bool,
            count: u8,
        },
        Carry {
            to_dispatcher: bool,
            most: u8,
        },
        Count,
        /// The connection is cut; frames that were given to it and not carried are lost with it.
        Reconnect {
            is_takeover: bool,
        },
    }

    fn operation() -> impl Strategy<Value = Operation> {
        prop_oneof![
            3 => (any::<bool>(), 1..20_u8).prop_map(|(by_dispatcher, count)| Operation::Push { by_dispatcher, count }),
            3 => (any::<bool>(), 0..20_u8).prop_map(|(to_dispatcher, most)| Operation::Carry { to_dispatcher, most }),
            1 => Just(Operation::Count),
            1 => any::<bool>().prop_map(|is_takeover| Operation::Reconnect { is_takeover }),
        ]
    }

    proptest! {
        #[test]
        fn every_frame_comes_once_and_in_order_whatever_is_cut_and_when(
            operations in prop::collection::vec(operation(), 1..80),
        ) {
            let (mut ends, mut now) = (<[Session; 2]>::from(pair()), 0);
            let (mut pushed, mut got) = ([0_u64; 2], [0_u64; 2]);
            let last = [true, false].map(|to_dispatcher| Operation::Carry { to_dispatcher, most: u8::MAX });
            let reconnect = Operation::Reconnect { is_takeover: false };
            for operation in operations.into_iter().chain([reconnect]).chain(std::iter::repeat_n(last, 8).flatten()) {
                match operation {
                    Operation::Push { by_dispatcher, count } => {
                        let at = usize::from(!by_dispatcher);
                        for _ in 0..count {
                            pushed[at] += 1;
                            push(&mut ends[at], pushed[at]);
                        }
                    }
                    Operation::Carry { to_dispatcher, most } => {
                        let [dispatcher, worker] = &mut ends;
                        let (from, to, at) = if to_dispatcher { (worker, dispatcher, 1) } else { (dispatcher, worker, 0) };
                        for number in carry(from, to, usize::from(most)) {
                            got[at] += 1;
                            prop_assert_eq!(number, got[at]);
                        }
                    }
                    Operation::Count => {
                        now += 1_000_000;
                        let counts = ends.each_mut().map(|end| end.poll_count(Time(now)).unwrap().bytes().to_vec());
                        prop_assert!(!ends[1].on_frame(&counts[0]).unwrap() && !ends[0].on_frame(&counts[1]).unwrap());
                    }
                    Operation::Reconnect { is_takeover } => {
                        let [dispatcher, worker] = &mut ends;
                        for _ in 0..3 {
                            let _ = (dispatcher.next_frame(), worker.next_frame());
                        }
                        if is_takeover {
                            *dispatcher = Session::restored(Side::Dispatcher, dispatcher.save());
                        }
                        let (read, read_there) = (dispatcher.read(), worker.read());
                        dispatcher.on_cut();
                        worker.on_cut();
                        dispatcher.on_connected(read_there).unwrap();
                        worker.on_connected(read).unwrap();
                    }
                }
            }
            prop_assert_eq!(got, pushed);
        }
    }

    #[test]
    fn the_other_end_hears_of_what_was_read_each_second_and_after_64_kib() {
        let (mut one, mut other) = pair();
        let told = |session: &mut Session, now| session.poll_count(Time(now)).map(|mut frame| frame.bytes().to_vec());
        assert!(told(&mut other, 0).is_some(), "a connection begins with it");
        (1..=3_000).for_each(|number| push(&mut one, number));
        carry(&mut one, &mut other, 1_000);
        assert_eq!(told(&mut other, 999_999), None);
        let count = told(&mut other, 1_000_000).unwrap();
        assert!(!one.on_frame(&count).unwrap());
        assert_eq!((one.unread.len(), one.read()), (2_000, 0), "a count is not counted");
        carry(&mut one, &mut other, 2_000);
        assert_eq!(told(&mut other, 1_000_001), None);
        other.untold = TELL_AFTER;
        assert!(!one.on_frame(&told(&mut other, 1_000_001).unwrap()).unwrap());
        assert_eq!((one.unread.len(), one.unread_bytes), (0, 0));
    }

    #[test]
    fn an_end_that_has_read_what_was_never_sent_or_forgets_what_it_has_read_ends_the_link() {
        let (mut one, mut other) = pair();
        (1..=2).for_each(|number| push(&mut one, number));
        carry(&mut one, &mut other, 2);
        assert!(one.on_connected(3).is_err());
        one.on_connected(2).unwrap();
        assert!(one.on_connected(1).is_err(), "frame 2 is gone");
        assert!(one.on_frame(b"GET / HTTP/1.1\r\n").is_err());
    }

    #[test]
    fn an_end_that_reads_nothing_is_given_a_limited_number_of_bytes() {
        let mut one = Session::new(Side::Dispatcher);
        let large = vec![0; 60_000];
        let taken = (0..1_000).take_while(|_| one.push(&[IoSlice::new(&large)])).count();
        assert_eq!(taken, MOST_UNREAD / 60_000);
    }
}
