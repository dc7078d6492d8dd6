//! The carrier of a link's frames, watched by the lane's poll: a Unix socket, or connections over a network.

use std::io::{self, IoSlice};
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::sync::Arc;

use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};

use crate::link::session::SavedSession;
use crate::net::lan::{Connected, Connection, LanChannel};
use crate::net::memory;
use crate::net::unix::SeqPacket;
use crate::switch::links::Channel;
use crate::time::Time;

/// The carrier of a link, whose socket is registered until it is closed.
#[derive(Debug)]
pub struct LinkSocket {
    kind: Kind,
    registry: Arc<Registry>,
    token: Token,
}

#[derive(Debug)]
enum Kind {
    Unix(SeqPacket),
    Lan(Box<LanChannel>),
}

/// A link that the control side gives to a lane.
#[derive(Debug)]
pub enum GivenLink {
    /// To a worker on this host.
    Unix(SeqPacket),
    /// To a worker on another host.
    Lan(Box<LanChannel>),
}

impl LinkSocket {
    /// Has the poll say when the link can be read.
    ///
    /// # Errors
    ///
    /// The kernel takes no more descriptors to watch.
    pub fn register(link: GivenLink, registry: Arc<Registry>, token: Token) -> io::Result<Self> {
        let kind = match link {
            GivenLink::Unix(socket) => Kind::Unix(socket),
            GivenLink::Lan(channel) => Kind::Lan(channel),
        };
        let socket = LinkSocket { kind, registry, token };
        socket.watch()?;
        Ok(socket)
    }

    /// The same socket under another descriptor, for the dispatcher that takes over. `None`: a connection over a
    /// network ends with this process.
    ///
    /// # Errors
    ///
    /// No descriptor is left.
    pub fn duplicate(&self) -> io::Result<Option<SeqPacket>> {
        match &self.kind {
            Kind::Unix(socket) => socket.try_clone().map(Some),
            Kind::Lan(_) => Ok(None),
        }
    }

    /// The state of a link over a network, for the dispatcher that takes over.
    pub fn session(&self) -> Option<SavedSession> {
        match &self.kind {
            Kind::Unix(_) => None,
            Kind::Lan(channel) => Some(channel.save()),
        }
    }

    /// A worker on another host has opened a connection for this link, and has read so many frames.
    ///
    /// # Errors
    ///
    /// The link is no such one, is over, or cannot be watched.
    pub fn attach(&mut self, connection: Connection, read: u64, shown: Connected) -> Result<(), String> {
        let Kind::Lan(channel) = &mut self.kind else { return Err("the link is not one over a network".to_owned()) };
        channel.show(shown);
        channel.attach(connection, read)?;
        self.watch().map_err(|error| error.to_string())
    }

    fn watch(&self) -> io::Result<()> {
        // A connection over a network keeps parts of frames, so that it is always of interest when it can be written.
        let interest = match &self.kind {
            Kind::Unix(_) => Interest::READABLE,
            Kind::Lan(_) => Interest::READABLE | Interest::WRITABLE,
        };
        match self.descriptor() {
            Some(fd) => self.registry.register(&mut SourceFd(&fd), self.token, interest),
            None => Ok(()),
        }
    }

    fn descriptor(&self) -> Option<RawFd> {
        match &self.kind {
            Kind::Unix(socket) => Some(socket.as_raw_fd()),
            Kind::Lan(channel) => channel.connection().map(AsRawFd::as_raw_fd),
        }
    }
}

impl Channel for LinkSocket {
    fn send(&mut self, pieces: &[IoSlice<'_>]) -> io::Result<()> {
        match &mut self.kind {
            Kind::Unix(socket) => socket.send(pieces, &[]),
            Kind::Lan(channel) => channel.send(pieces),
        }
    }

    fn send_file(&mut self, pieces: &[IoSlice<'_>], content: &[u8]) -> io::Result<()> {
        match &self.kind {
            Kind::Unix(socket) => socket.send(pieces, &[memory::sealed(content)?.as_fd()]),
            Kind::Lan(_) => Ok(()),
        }
    }

    fn recv(&mut self, frame: &mut [u8]) -> io::Result<usize> {
        match &mut self.kind {
            // Workers pass no descriptors on a link once it is set up; one that arrives all the same is closed.
            Kind::Unix(socket) => socket.recv(frame, &mut Vec::new()),
            Kind::Lan(channel) => match channel.recv(frame) {
                Ok(0) => Err(io::Error::other(channel.over().unwrap_or("it is over").to_owned())),
                received => received,
            },
        }
    }

    fn watch_writable(&mut self, wanted: bool) {
        let Kind::Unix(socket) = &self.kind else { return };
        let interest = if wanted { Interest::READABLE | Interest::WRITABLE } else { Interest::READABLE };
        // A socket that cannot be watched any more is broken, and its next read reports that.
        let _ = self.registry.reregister(&mut SourceFd(&socket.as_raw_fd()), self.token, interest);
    }

    fn flush(&mut self) -> bool {
        match &mut self.kind {
            Kind::Unix(_) => true,
            Kind::Lan(channel) => channel.flush(),
        }
    }

    fn look(&mut self, now: Time) -> bool {
        match &mut self.kind {
            Kind::Unix(_) => false,
            Kind::Lan(channel) => channel.handle_timeout(now),
        }
    }

    fn is_over_network(&self) -> bool {
        matches!(self.kind, Kind::Lan(_))
    }

    fn is_cut(&self) -> bool {
        match &self.kind {
            Kind::Unix(_) => false,
            Kind::Lan(channel) => channel.is_cut(),
        }
    }
}

impl Drop for LinkSocket {
    fn drop(&mut self) {
        // Closing deregisters it as well, once no duplicate is left, so a failure here does no harm.
        if let Some(fd) = self.descriptor() {
            let _ = self.registry.deregister(&mut SourceFd(&fd));
        }
    }
}
