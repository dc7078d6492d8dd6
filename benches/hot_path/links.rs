//! The dispatcher's end of a link: messages kept, frames made of them, and the answers read.

use std::hint::black_box;
use std::net::SocketAddr;

use pointsman::dispatch::note::Note;
use pointsman::ids::{ListenerId, Seq};
use pointsman::link::Transmit;
use pointsman::link::dispatcher_end::DispatcherEnd;
use pointsman::time::Time;
use pointsman::wire::handoff::FrameBuilder;
use pointsman::words::{Envelope, ReplyTo, Transport};

use super::Step;

/// The bytes of a usual INVITE with SDP.
pub const PAYLOAD: [u8; 1100] = [b'x'; 1100];
const STORE: usize = 16 << 20;
/// Messages of a frame.
const RECORDS: u64 = 16;

pub fn envelope(seq: u64) -> Envelope {
    Envelope {
        seq: Seq(seq),
        received: Time(1),
        deadline: Some(Time(2)),
        reply_to: ReplyTo::Datagram,
        size: 1,
        listener: ListenerId(0),
        transport: Transport::Udp,
        pinned: false,
        again: false,
        ring_first: false,
        alias: false,
        names_size: false,
        follows: false,
        source: SocketAddr::from(([192, 0, 2, 1], 5060)),
        local: SocketAddr::from(([192, 0, 2, 2], 5060)),
    }
}

/// The dispatcher's end, and the frames that answer what it has handed over.
pub struct Link {
    pub end: DispatcherEnd<Note>,
    seq: u64,
    answers: FrameBuilder,
    pending: Vec<Seq>,
}

impl Link {
    pub fn new() -> Self {
        Link { end: DispatcherEnd::new(STORE), seq: 0, answers: FrameBuilder::new(), pending: Vec::new() }
    }

    /// A link on which so many messages stay unanswered.
    pub fn holding(standing: u64) -> Self {
        let mut link = Link::new();
        link.push(standing);
        link.transmit();
        link.pending.clear();
        link
    }

    pub fn push(&mut self, records: u64) {
        for _ in 0..records {
            self.seq += 1;
            self.end.push(&envelope(self.seq), Note::default(), &[&PAYLOAD]).expect("the store has room");
            self.pending.push(Seq(self.seq));
        }
    }

    pub fn transmit(&mut self) {
        let sent = self.end.poll_transmit(|pieces| {
            black_box(pieces);
            Ok(())
        });
        assert_eq!(sent.expect("nothing can fail"), Transmit::Drained);
    }

    pub fn answer(&mut self) {
        self.write_answers();
        self.read_answers();
    }

    /// Writes the worker's frame that answers all that was handed over.
    fn write_answers(&mut self) {
        self.answers.clear();
        self.answers.push_answered(&self.pending);
        self.pending.clear();
    }

    fn read_answers(&mut self) {
        self.end.on_frame(self.answers.bytes(), &mut |event| drop(black_box(event))).expect("a good frame");
    }
}

/// Messages kept, beside 4,000 that stand.
pub struct Kept(Link);

/// Frames made of them.
pub struct Framed(Link);

/// The worker's answers to them read.
pub struct Answered(Link);

impl Kept {
    pub fn new() -> Self {
        Kept(Link::holding(4_000))
    }
}

impl Framed {
    pub fn new() -> Self {
        Framed(Link::holding(4_000))
    }
}

impl Answered {
    pub fn new() -> Self {
        Answered(Link::holding(4_000))
    }
}

impl Step for Kept {
    fn prepare(&mut self) {
        self.0.transmit();
        self.0.answer();
    }

    fn run(&mut self) {
        self.0.push(RECORDS);
    }

    fn messages(&self) -> u64 {
        RECORDS
    }
}

impl Step for Framed {
    fn prepare(&mut self) {
        self.0.answer();
        self.0.push(RECORDS);
    }

    fn run(&mut self) {
        self.0.transmit();
    }

    fn messages(&self) -> u64 {
        RECORDS
    }
}

impl Step for Answered {
    fn prepare(&mut self) {
        self.0.push(RECORDS);
        self.0.transmit();
        self.0.write_answers();
    }

    fn run(&mut self) {
        self.0.read_answers();
    }

    fn messages(&self) -> u64 {
        RECORDS
    }
}
