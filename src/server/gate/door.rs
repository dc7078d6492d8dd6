//! A listener for connections, as the gate sees it.

use std::io;
use std::net::TcpStream;
use std::os::fd::AsRawFd;

use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};

use super::StreamListener;
use crate::ids::ListenerId;
use crate::net::conns::Ends;
use crate::net::tcp::{self, Listener};
use crate::stream::Kind;

/// A listener and its readiness.
#[derive(Debug)]
pub(super) struct Door {
    pub(super) id: ListenerId,
    listener: Listener,
    pub(super) kind: Kind,
    /// Whether connections may wait: an edge is told only once.
    pub(super) is_ready: bool,
    pub(super) accepted: u64,
}

/// Result of accepting.
#[derive(Debug)]
pub(super) enum Accepted {
    Connection(TcpStream, Ends, Kind),
    /// None waits, or the one that waited has gone.
    Nothing,
    /// No descriptor is left, most likely.
    Failed(io::Error),
}

impl Door {
    /// Has the poll watch a listener.
    pub(super) fn open(listener: StreamListener, registry: &Registry, token: Token) -> io::Result<Self> {
        let StreamListener { id, socket, kind } = listener;
        registry.register(&mut SourceFd(&socket.as_raw_fd()), token, Interest::READABLE)?;
        Ok(Door { id, listener: socket, kind, is_ready: true, accepted: 0 })
    }

    /// Accepts one connection.
    pub(super) fn accept(&mut self) -> Accepted {
        let (socket, remote) = match self.listener.accept() {
            Ok(Some(accepted)) => accepted,
            Ok(None) => {
                self.is_ready = false;
                return Accepted::Nothing;
            }
            Err(error) => {
                self.is_ready = false;
                return Accepted::Failed(error);
            }
        };
        self.accepted += 1;
        // The peer has reset it already.
        let Ok(local) = socket.local_addr() else { return Accepted::Nothing };
        tcp::acknowledge_late(&socket);
        let ends = Ends { remote, local, listener: Some(self.id) };
        Accepted::Connection(socket, ends, self.kind.clone())
    }
}
