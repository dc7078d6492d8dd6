//! A turn of the lane without its system calls: the switch from the datagram to the frame, and from the worker's frame
//! to the entry.

use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::time::Duration;

use pointsman::config::{Insert, Policy};
use pointsman::dispatch::decision::Joined;
use pointsman::dispatch::identity::Keyring;
use pointsman::dispatch::owner::Owners;
use pointsman::dispatch::rules::Rules;
use pointsman::dispatch::{Dispatch, Setup};
use pointsman::ids::{Incarnation, ListenerId, Seq, WorkerId};
use pointsman::switch::links::Channel;
use pointsman::switch::owner::Owner;
use pointsman::switch::{Switch, Way};
use pointsman::time::Time;
use pointsman::wire::handoff::{Frame, FrameBuilder, Record};
use pointsman::words::{Report, Transport};

use super::Step;
use super::messages::invite;
use super::numbered::{KEY, Numbered};

const CALLER: ([u8; 4], u16) = ([203, 0, 113, 5], 5060);
const FRONT: ([u8; 4], u16) = ([198, 51, 100, 1], 5060);
const WORKERS: u16 = 4;
/// INVITEs of a turn.
const BATCH: usize = 32;

/// A link in memory, to a worker that answers what it was told to.
#[derive(Default)]
struct Memory {
    /// The frames that were sent.
    sent: Vec<u8>,
    /// The frame that is to be read.
    answers: Vec<u8>,
    number: u64,
}

impl Memory {
    /// Answers all that was sent.
    fn answer(&mut self) {
        let (mut answered, mut rest) = (Vec::new(), &self.sent[..]);
        while !rest.is_empty() {
            let (frame, behind) = rest.split_at(Frame::length(rest).unwrap());
            for record in Frame::parse(frame).unwrap() {
                if let Record::Message(message) = record.unwrap() {
                    answered.push(message.envelope.seq);
                }
            }
            rest = behind;
        }
        self.sent.clear();
        let Some(&last) = answered.last() else { return };
        self.number += 1;
        let mut builder = FrameBuilder::new();
        builder.push_answered(&answered);
        builder.push(&Record::Report(Report {
            number: self.number,
            taken_through: last,
            covers: last,
            units_total: 1_000_000,
            ..Report::default()
        }));
        self.answers = builder.bytes().to_vec();
    }
}

impl Channel for Memory {
    fn send(&mut self, pieces: &[IoSlice<'_>]) -> io::Result<()> {
        pieces.iter().for_each(|piece| self.sent.extend_from_slice(piece));
        Ok(())
    }

    fn recv(&mut self, frame: &mut [u8]) -> io::Result<usize> {
        let length = self.answers.len();
        if length == 0 {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        frame[..length].copy_from_slice(&self.answers);
        self.answers.clear();
        Ok(length)
    }

    fn watch_writable(&mut self, _: bool) {}
}

/// The part of a turn that is measured.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// INVITEs come, and leave in frames. The copy of a frame to the link is part of it.
    Messages,
    /// The workers' frames are read.
    Frames,
}

/// New INVITEs, each answered by its worker.
pub struct Lane {
    part: Part,
    switch: Switch<Memory>,
    caller: Numbered,
    came: Vec<Vec<u8>>,
    now: Time,
}

impl Lane {
    pub fn new(part: Part, held: usize) -> Self {
        let rules = Rules { policy: Policy::LeastLoad, slow_start: Duration::ZERO, ..Rules::default() };
        let (keys, workers) = (Keyring::new(KEY), usize::from(WORKERS));
        let setup = Setup { rules, keys, table_cap: held, group_cap: 1024, workers, seed: 3 };
        let mut switch = Switch::new(Dispatch::new(setup), Insert::None, 16 << 20, Owners::new(0, 1, 7));
        for worker in 0..WORKERS {
            let address = SocketAddr::from((FRONT.0, 5070 + worker));
            let joined = Joined::sip(Incarnation::new(u64::from(worker) + 1), 1_000_000, vec![address]);
            switch.on_link(WorkerId(worker), Memory::default(), &joined, Time(0));
        }
        let (caller, came) = (Numbered::new(invite(), 10), vec![Vec::new(); BATCH]);
        let mut lane = Lane { part, switch, caller, came, now: Time(1_000_000) };
        for _ in 0..held.div_ceil(BATCH) {
            lane.write();
            lane.take();
            lane.answer();
            lane.read();
        }
        lane
    }

    /// The INVITEs of the next turn.
    fn write(&mut self) {
        self.now = self.now + Duration::from_micros(50);
        for bytes in &mut self.came {
            self.caller.next();
            bytes.clone_from(&self.caller.bytes);
        }
    }

    fn take(&mut self) {
        let Lane { switch, came, now, .. } = self;
        let (owner, ends) = (Owner::Listener(ListenerId(0)), (SocketAddr::from(CALLER), SocketAddr::from(FRONT)));
        let way = Way::of_datagram(owner, ListenerId(0), Transport::Udp, ends, *now);
        switch.on_messages(came.iter().map(|bytes| (&bytes[..], way)), *now);
        switch.handle_timeout(*now);
        switch.flush_answers(|_| ());
        switch.flush_links();
    }

    fn answer(&mut self) {
        for worker in (0..WORKERS).map(WorkerId) {
            let id = self.switch.links().get(worker).unwrap().id;
            self.switch.link_socket(worker, id).unwrap().answer();
            self.switch.on_link_event(worker, true, false);
        }
    }

    fn read(&mut self) {
        while let Some(worker) = self.switch.take_readable_link() {
            self.switch.read_link(worker, self.now);
        }
    }
}

impl Step for Lane {
    fn prepare(&mut self) {
        if self.part == Part::Messages {
            self.answer();
            self.read();
        }
        self.write();
        if self.part == Part::Frames {
            self.take();
            self.answer();
        }
    }

    fn run(&mut self) {
        match self.part {
            Part::Messages => self.take(),
            Part::Frames => self.read(),
        }
    }

    fn messages(&self) -> u64 {
        BATCH as u64
    }
}
