//! A link in memory: two bounded queues of frames, which can be cut, frozen and looked into.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io::{self, IoSlice};
use std::rc::Rc;

use pointsman::ids::Seq;
use pointsman::switch::links::Channel;
use pointsman::time::Time;
use pointsman::wire::handoff::{Frame, Record};

use crate::mutation::{Mutation, answered};
use crate::{text, truth};

/// Both directions of one link.
#[derive(Debug, Default)]
pub struct Pipe {
    to_worker: VecDeque<Vec<u8>>,
    to_front: VecDeque<Vec<u8>>,
    /// Bytes that each direction holds at most.
    capacity: usize,
    /// Whether it takes nothing from the dispatcher although it could.
    frozen: bool,
    /// Whether the dispatcher has read something since the worker looked last.
    has_room: bool,
    worker_is_gone: bool,
    front_is_gone: bool,
    writable_wanted: bool,
    /// Edges that the dispatcher's poll has not been told yet.
    news: News,
    mutation: Option<Mutation>,
    /// The traffic of the link, as an auditor would book it.
    pub books: Books,
}

/// Edges for the dispatcher's poll.
#[derive(Clone, Copy, Debug, Default)]
pub struct News {
    /// Something has come, or the other end has gone.
    pub readable: bool,
    /// There is room again.
    pub writable: bool,
}

/// The books about a link's traffic.
#[derive(Debug, Default)]
pub struct Books {
    /// Messages that have left and that the dispatcher has not been told to forget.
    pub open: BTreeMap<Seq, Entry>,
    /// Branches of the INVITEs that have left.
    branches: BTreeSet<String>,
    /// The last message that has left.
    sent: Seq,
    /// Units handed over that are in no report yet: at least and at most, since a leg may be inside its conference's
    /// reservation.
    pub uncovered: BTreeMap<Seq, (u32, u32)>,
    /// The right content of the worker's next report: its units, and the last message that they count.
    pub says: (u32, Seq),
    /// The same for the reports that are on their way.
    said: VecDeque<(u32, Seq)>,
    /// Units by the last report that was read, as it should have been.
    pub reported: Option<u32>,
}

/// A message on a link.
#[derive(Debug)]
pub struct Entry {
    pub caller: Option<usize>,
    pub branch: String,
    /// Whether it is the first copy of an INVITE that begins something.
    pub begins: bool,
    /// When it is too late to read it.
    pub deadline: Option<Time>,
}

/// The dispatcher's end.
#[derive(Debug)]
pub struct FrontEnd(pub Rc<RefCell<Pipe>>);

impl Pipe {
    /// A link that holds `capacity` bytes each way.
    pub fn new(capacity: usize, mutation: Option<Mutation>) -> Self {
        Pipe { capacity, mutation, ..Pipe::default() }
    }

    /// The edges that the poll would report now; each is reported once.
    pub fn take_news(&mut self) -> News {
        std::mem::take(&mut self.news)
    }

    /// Stops or resumes taking frames from the dispatcher.
    pub fn freeze(&mut self, frozen: bool) {
        self.frozen = frozen;
        self.tell_of_room();
    }

    /// Whether there is room again for the worker; it says so once.
    pub fn take_room(&mut self) -> bool {
        std::mem::take(&mut self.has_room)
    }

    /// Whether it takes nothing more from the dispatcher until further notice.
    pub fn is_blocked(&self) -> bool {
        self.frozen || self.writable_wanted
    }

    /// Whether the worker has something to read.
    pub fn has_frames(&self) -> bool {
        !self.to_worker.is_empty()
    }

    /// The worker reads.
    pub fn worker_recv(&mut self) -> Option<Vec<u8>> {
        let frame = self.to_worker.pop_front()?;
        self.tell_of_room();
        if let Some(word) = self.mutation.and_then(|mutation| mutation.on_read(&frame)) {
            self.to_front.push_back(word);
            self.news.readable = true;
        }
        Some(frame)
    }

    /// The worker writes.
    pub fn worker_send(&mut self, pieces: &[IoSlice<'_>]) -> io::Result<()> {
        if self.front_is_gone {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        let frame = joined(pieces);
        let held: usize = self.to_front.iter().map(Vec::len).sum();
        if held > 0 && held + frame.len() > self.capacity {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let reports = records(&frame).filter(|record| matches!(record, Record::Report(_))).count();
        self.books.said.extend(std::iter::repeat_n(self.books.says, reports));
        self.to_front.push_back(frame);
        self.news.readable = true;
        Ok(())
    }

    /// The worker dies: frames that it has not read are lost, frames that it has written can be read.
    pub fn worker_gone(&mut self) {
        self.worker_is_gone = true;
        self.to_worker.clear();
        match self.mutation {
            Some(Mutation::DeadLinksAreNotRead) => self.to_front.clear(),
            Some(Mutation::OrphansAreDropped) => {
                let open: Vec<Seq> = self.books.open.keys().copied().collect();
                self.to_front.push_back(answered(&open));
            }
            _ => {}
        }
        self.news.readable = true;
    }

    fn tell_of_room(&mut self) {
        let held: usize = self.to_worker.iter().map(Vec::len).sum();
        if self.writable_wanted && !self.frozen && held <= self.capacity / 2 {
            self.news.writable = true;
        }
    }
}

impl Channel for FrontEnd {
    fn send(&mut self, pieces: &[IoSlice<'_>]) -> io::Result<()> {
        let mut pipe = self.0.borrow_mut();
        if pipe.worker_is_gone {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        let frame = joined(pieces);
        let held: usize = pipe.to_worker.iter().map(Vec::len).sum();
        if pipe.frozen || held > 0 && held + frame.len() > pipe.capacity {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        pipe.books.on_sent(&frame);
        let frame = match pipe.mutation {
            Some(mutation) => mutation.at_the_worker(frame),
            None => frame,
        };
        pipe.to_worker.push_back(frame);
        Ok(())
    }

    fn recv(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut pipe = self.0.borrow_mut();
        match pipe.to_front.pop_front() {
            Some(frame) => {
                pipe.books.on_received(&frame);
                pipe.has_room = true;
                let frame = match pipe.mutation {
                    Some(mutation) => mutation.at_the_front(frame, pipe.books.sent),
                    None => frame,
                };
                buffer[..frame.len()].copy_from_slice(&frame);
                Ok(frame.len())
            }
            None if pipe.worker_is_gone => Ok(0),
            None => Err(io::ErrorKind::WouldBlock.into()),
        }
    }

    fn watch_writable(&mut self, wanted: bool) {
        let mut pipe = self.0.borrow_mut();
        pipe.writable_wanted = wanted;
        pipe.tell_of_room();
    }
}

impl Drop for FrontEnd {
    fn drop(&mut self) {
        self.0.borrow_mut().front_is_gone = true;
    }
}

impl Books {
    fn on_sent(&mut self, frame: &[u8]) {
        for record in records(frame) {
            if let Record::Message(message) = record {
                let text = std::str::from_utf8(message.payload).expect("callers write plain text");
                let entry = Entry {
                    caller: text::caller(text),
                    branch: text::branch(text).to_owned(),
                    deadline: message.envelope.deadline,
                    begins: text.starts_with("INVITE") && self.branches.insert(text::branch(text).to_owned()),
                };
                self.sent = message.envelope.seq;
                self.open.insert(message.envelope.seq, entry);
                let size = message.envelope.size;
                let least = if truth::conference(text).is_some() { 0 } else { size };
                self.uncovered.insert(message.envelope.seq, (least, size));
            }
        }
    }

    fn on_received(&mut self, frame: &[u8]) {
        for record in records(frame) {
            match record {
                Record::Answered(seqs) => seqs.iter().for_each(|seq| drop(self.open.remove(&seq))),
                Record::Refuse { seq, .. } => {
                    self.open.remove(&seq);
                    self.uncovered.remove(&seq);
                }
                Record::Report(_) => {
                    let Some((units, covers)) = self.said.pop_front() else { continue };
                    self.uncovered = self.uncovered.split_off(&Seq(covers.0 + 1));
                    self.reported = Some(units);
                }
                _ => {}
            }
        }
    }
}

/// The records of a frame that one of the two ends has written.
pub fn records(frame: &[u8]) -> impl Iterator<Item = Record<'_>> {
    Frame::parse(frame).expect("an end writes frames").map(|record| record.expect("an end writes records"))
}

fn joined(pieces: &[IoSlice<'_>]) -> Vec<u8> {
    pieces.iter().flat_map(|piece| piece.iter().copied()).collect()
}
