//! The socket of a link, watched by the lane's poll.

use std::io::{self, IoSlice};
use std::os::fd::AsRawFd;
use std::sync::Arc;

use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};

use crate::net::unix::SeqPacket;
use crate::switch::links::Channel;

/// A SEQPACKET socket that is registered until it is dropped.
#[derive(Debug)]
pub struct LinkSocket {
    socket: SeqPacket,
    registry: Arc<Registry>,
    token: Token,
}

impl LinkSocket {
    /// Has the poll say when `socket` can be read.
    ///
    /// # Errors
    ///
    /// The kernel takes no more descriptors to watch.
    pub fn register(socket: SeqPacket, registry: Arc<Registry>, token: Token) -> io::Result<Self> {
        registry.register(&mut SourceFd(&socket.as_raw_fd()), token, Interest::READABLE)?;
        Ok(LinkSocket { socket, registry, token })
    }

    /// The same socket under another descriptor, for the dispatcher that takes over.
    ///
    /// # Errors
    ///
    /// No descriptor is left.
    pub fn duplicate(&self) -> io::Result<SeqPacket> {
        self.socket.try_clone()
    }
}

impl Channel for LinkSocket {
    fn send(&mut self, pieces: &[IoSlice<'_>]) -> io::Result<()> {
        self.socket.send(pieces, &[])
    }

    fn recv(&mut self, frame: &mut [u8]) -> io::Result<usize> {
        // Workers pass no descriptors on a link once it is set up; one that arrives all the same is closed.
        self.socket.recv(frame, &mut Vec::new())
    }

    fn watch_writable(&mut self, wanted: bool) {
        let interest = if wanted { Interest::READABLE | Interest::WRITABLE } else { Interest::READABLE };
        // A socket that cannot be watched any more is broken, and its next read reports that.
        let _ = self.registry.reregister(&mut SourceFd(&self.socket.as_raw_fd()), self.token, interest);
    }
}

impl Drop for LinkSocket {
    fn drop(&mut self) {
        // Closing deregisters it as well, once no duplicate is left, so a failure here does no harm.
        let _ = self.registry.deregister(&mut SourceFd(&self.socket.as_raw_fd()));
    }
}
