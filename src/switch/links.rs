//! The links to the workers, by slot: the dispatcher's end of the protocol, and the channel that carries its frames.

use std::collections::VecDeque;
use std::io::{self, IoSlice};

use crate::dispatch::note::Note;
use crate::ids::{Incarnation, LinkId, WorkerId};
use crate::link::Transmit;
use crate::link::dispatcher_end::DispatcherEnd;
use crate::time::Time;

/// Carrier of one link's frames: a socket, or memory in tests, where time is a value.
pub trait Channel {
    /// Sends `pieces` as one frame, whole or not at all. Never waits.
    ///
    /// # Errors
    ///
    /// `WouldBlock` when it takes no more now; anything else when the link is broken.
    fn send(&mut self, pieces: &[IoSlice<'_>]) -> io::Result<()>;

    /// Sends `pieces` as one frame, and beside it a file with this content, which no process can change. Only a channel
    /// on this host passes files.
    ///
    /// # Errors
    ///
    /// As [`Channel::send`], or there are no descriptors for the file.
    fn send_file(&mut self, _pieces: &[IoSlice<'_>], _content: &[u8]) -> io::Result<()> {
        Ok(())
    }

    /// Receives one frame into `frame`. Never waits. Returns 0 when the other end is gone and all it sent has been
    /// read.
    ///
    /// # Errors
    ///
    /// `WouldBlock` when there is nothing now; anything else when the link is broken.
    fn recv(&mut self, frame: &mut [u8]) -> io::Result<usize>;

    /// Turns the event on or off by which the channel reports that it takes frames again.
    fn watch_writable(&mut self, wanted: bool);

    /// Sends what it has kept of frames that it took; true when it takes another. Only a channel that is a stream of
    /// bytes keeps anything.
    fn flush(&mut self) -> bool {
        true
    }

    /// Does what is due at each look; returns whether it should be read. Only a channel over a network has anything to
    /// do.
    fn look(&mut self, _now: Time) -> bool {
        false
    }

    /// Whether the worker is on another host.
    fn is_over_network(&self) -> bool {
        false
    }

    /// Whether it has lost its connection and waits for the next.
    fn is_cut(&self) -> bool {
        false
    }
}

/// One link.
#[derive(Debug)]
pub struct Link<C> {
    channel: C,
    /// Incarnation of the worker that it belongs to.
    pub incarnation: Incarnation,
    /// Id of the link: one incarnation of a worker may have several links, one after the other.
    pub id: LinkId,
    /// The protocol's state, retained messages included.
    pub front: DispatcherEnd<Note>,
    /// Whether it is on the list of links that may have something to read.
    readable: bool,
    /// Whether it is on the list of links with something to send.
    dirty: bool,
    /// Whether the channel took no more: the next write then waits until it reports room.
    blocked: bool,
    /// Whether the channel was asked to say when it can be written.
    writable_wanted: bool,
}

/// All links.
#[derive(Debug)]
pub struct Links<C> {
    by_worker: Vec<Option<Link<C>>>,
    dirty: Vec<WorkerId>,
    /// Links that may have something to read, each once.
    readable: VecDeque<WorkerId>,
}

impl<C: Channel> Links<C> {
    /// A worker's link begins.
    pub fn insert(
        &mut self,
        worker: WorkerId,
        (incarnation, id): (Incarnation, LinkId),
        channel: C,
        front: DispatcherEnd<Note>,
    ) {
        let at = usize::from(worker.0);
        if self.by_worker.len() <= at {
            self.by_worker.resize_with(at + 1, || None);
        }
        self.by_worker[at] = Some(Link {
            channel,
            incarnation,
            id,
            front,
            readable: false,
            dirty: false,
            blocked: false,
            writable_wanted: false,
        });
        // Frames that arrived before the link was registered announce themselves by no edge.
        self.on_event(worker, true, false);
    }

    /// Takes a worker's link, which is over: nothing is written on it any more.
    pub fn remove(&mut self, worker: WorkerId) -> Option<Link<C>> {
        let link = self.by_worker.get_mut(usize::from(worker.0))?.take()?;
        self.dirty.retain(|dirty| *dirty != worker);
        Some(link)
    }

    /// A worker's link.
    pub fn get(&self, worker: WorkerId) -> Option<&Link<C>> {
        self.by_worker.get(usize::from(worker.0))?.as_ref()
    }

    /// A worker's link.
    pub fn get_mut(&mut self, worker: WorkerId) -> Option<&mut Link<C>> {
        self.by_worker.get_mut(usize::from(worker.0))?.as_mut()
    }

    /// All links there are.
    pub fn iter(&self) -> impl Iterator<Item = (WorkerId, &Link<C>)> {
        self.by_worker.iter().enumerate().filter_map(|(at, link)| Some((WorkerId(at as u16), link.as_ref()?)))
    }

    /// A link can be read or written.
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

    /// Has the channels do what is due at each look.
    pub fn look(&mut self, now: Time) {
        for at in 0..self.by_worker.len() {
            let worker = WorkerId(at as u16);
            if self.get_mut(worker).is_some_and(|link| link.channel.look(now)) {
                self.on_event(worker, true, false);
            }
        }
    }

    /// All links there are.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = (WorkerId, &mut Link<C>)> {
        self.by_worker.iter_mut().enumerate().filter_map(|(at, link)| Some((WorkerId(at as u16), link.as_mut()?)))
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

    /// Writes the queued records: all of a worker's in one frame, as far as the channel takes it.
    pub fn flush(&mut self) {
        for worker in self.dirty.drain(..) {
            let Some(Some(link)) = self.by_worker.get_mut(usize::from(worker.0)) else { continue };
            link.dirty = false;
            if link.blocked {
                continue;
            }
            let Link { channel, front, .. } = link;
            // A broken link is noticed where it is read; until then the queued records stay retained.
            let sent = front.poll_transmit(|pieces| channel.send(pieces));
            let blocked = matches!(sent, Ok(Transmit::Blocked)) || !channel.flush();
            if blocked != link.writable_wanted {
                // Asked for only while blocked: a link that is writable all the time would wake the lane each turn.
                channel.watch_writable(blocked);
                link.writable_wanted = blocked;
            }
            link.blocked = blocked;
        }
    }
}

impl<C> Default for Links<C> {
    fn default() -> Self {
        Links { by_worker: Vec::new(), dirty: Vec::new(), readable: VecDeque::new() }
    }
}

impl<C: Channel> Link<C> {
    /// The carrier of its frames.
    pub const fn channel(&self) -> &C {
        &self.channel
    }

    /// The carrier of its frames.
    pub const fn channel_mut(&mut self) -> &mut C {
        &mut self.channel
    }

    /// Whether frames wait for a channel that takes them again. A channel over a network says so by no event where the
    /// other end has read what was in its way.
    pub fn takes_again(&mut self) -> bool {
        self.blocked && self.channel.flush()
    }

    /// Reads one frame into `buffer`: `Ok(None)` when there is none now, `Ok(Some(0))` when the link has ended.
    pub fn read(&mut self, buffer: &mut [u8]) -> io::Result<Option<usize>> {
        match self.channel.recv(buffer) {
            Ok(length) => Ok(Some(length)),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
            Err(error) => Err(error),
        }
    }
}
