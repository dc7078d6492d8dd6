//! The links to the workers: sockets and the dispatcher's end of the protocol, by slot.

use std::collections::VecDeque;
use std::io;
use std::os::fd::AsRawFd;

use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};

use crate::handoff::Transmit;
use crate::handoff::front::Front;
use crate::ids::{Incarnation, WorkerId};
use crate::net::unix::SeqPacket;

/// One link.
#[derive(Debug)]
pub struct Link {
    socket: SeqPacket,
    /// Which life of the worker it belongs to.
    pub incarnation: Incarnation,
    /// The protocol's state, retained messages included.
    pub front: Front,
    /// Whether it is on the list of links that may have something to read.
    readable: bool,
    /// Whether it is on the list of links with something to send.
    dirty: bool,
    /// Whether the kernel's buffer was full: then the next write waits for its word.
    blocked: bool,
    /// Whether the kernel was asked to say when it can be written.
    writable_wanted: bool,
}

/// All links.
#[derive(Debug, Default)]
pub struct Links {
    by_worker: Vec<Option<Link>>,
    dirty: Vec<WorkerId>,
    /// Links that may have something to read, each once.
    readable: VecDeque<WorkerId>,
    first_token: usize,
}

impl Links {
    /// No links; link `n` is registered with token `first_token + n`.
    pub const fn new(first_token: usize) -> Self {
        Links { by_worker: Vec::new(), dirty: Vec::new(), readable: VecDeque::new(), first_token }
    }

    /// A worker's link begins.
    pub fn insert(&mut self, worker: WorkerId, incarnation: Incarnation, socket: SeqPacket, front: Front) {
        let at = usize::from(worker.0);
        if self.by_worker.len() <= at {
            self.by_worker.resize_with(at + 1, || None);
        }
        self.by_worker[at] = Some(Link {
            socket,
            incarnation,
            front,
            readable: false,
            dirty: false,
            blocked: false,
            writable_wanted: false,
        });
        // What came before the link was registered announces itself by no edge.
        self.on_event(worker, true, false);
    }

    /// A worker's link is over; the socket is closed, what it retained comes back.
    pub fn remove(&mut self, worker: WorkerId, registry: &Registry) -> Option<(Incarnation, Front)> {
        let link = self.by_worker.get_mut(usize::from(worker.0))?.take()?;
        // Closing does it as well; a failure here leaves nothing behind.
        let _ = registry.deregister(&mut SourceFd(&link.socket.as_raw_fd()));
        self.dirty.retain(|dirty| *dirty != worker);
        Some((link.incarnation, link.front))
    }

    /// A worker's link.
    pub fn get(&self, worker: WorkerId) -> Option<&Link> {
        self.by_worker.get(usize::from(worker.0))?.as_ref()
    }

    /// A worker's link.
    pub fn get_mut(&mut self, worker: WorkerId) -> Option<&mut Link> {
        self.by_worker.get_mut(usize::from(worker.0))?.as_mut()
    }

    /// All links there are.
    pub fn iter(&self) -> impl Iterator<Item = (WorkerId, &Link)> {
        self.by_worker.iter().enumerate().filter_map(|(at, link)| Some((WorkerId(at as u16), link.as_ref()?)))
    }

    /// The kernel says that a link can be read or written.
    pub fn on_event(&mut self, worker: WorkerId, readable: bool, writable: bool) {
        let Some(link) = self.get_mut(worker) else { return };
        if readable && !std::mem::replace(&mut link.readable, true) {
            self.readable.push_back(worker);
        }
        let Some(link) = self.get_mut(worker) else { return };
        if writable && link.blocked {
            link.blocked = false;
            self.touch(worker);
        }
    }

    /// Takes a link that may have something to read; [`Links::on_event`] puts it back when there may be more.
    pub fn take_readable(&mut self) -> Option<WorkerId> {
        let worker = self.readable.pop_front()?;
        if let Some(link) = self.get_mut(worker) {
            link.readable = false;
        }
        Some(worker)
    }

    /// Whether a link may have something to read.
    pub fn has_readable(&self) -> bool {
        !self.readable.is_empty()
    }

    /// Something was queued for a worker: it is sent with the next [`Links::flush`].
    pub fn touch(&mut self, worker: WorkerId) {
        let Some(link) = self.by_worker.get_mut(usize::from(worker.0)).and_then(Option::as_mut) else { return };
        if !link.dirty {
            link.dirty = true;
            self.dirty.push(worker);
        }
    }

    /// Writes what is queued: all records of a worker in one frame, as far as the kernel takes it.
    pub fn flush(&mut self, registry: &Registry) {
        for worker in self.dirty.drain(..) {
            let Some(Some(link)) = self.by_worker.get_mut(usize::from(worker.0)) else { continue };
            link.dirty = false;
            if link.blocked {
                continue;
            }
            let Link { socket, front, .. } = link;
            // A link that breaks is noticed where it is read; until then what is queued stays retained.
            let sent = front.poll_transmit(|slices| socket.send(slices, &[]).map(drop));
            let blocked = matches!(sent, Ok(Transmit::Blocked));
            if blocked != link.writable_wanted {
                // Asked for only while blocked: a link that is writable all the time would wake the lane each turn.
                let token = Token(self.first_token + usize::from(worker.0));
                let interest = if blocked { Interest::READABLE | Interest::WRITABLE } else { Interest::READABLE };
                let _ = registry.reregister(&mut SourceFd(&link.socket.as_raw_fd()), token, interest);
                link.writable_wanted = blocked;
            }
            link.blocked = blocked;
        }
    }
}

impl Link {
    /// Reads one frame into `buffer`: `Ok(None)` when there is none now, `Ok(Some(0))` at the end.
    pub fn read(&mut self, buffer: &mut [u8]) -> io::Result<Option<usize>> {
        let mut strangers = Vec::new();
        match self.socket.recv(buffer, &mut strangers) {
            Ok(length) => Ok(Some(length)),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
            Err(error) => Err(error),
        }
    }
}
