//! A TLS connection whose plaintext goes to another process.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::net::UnixStream;

use crate::net::conns::{Moved, Pumped};
use crate::stream::Fault;
use crate::stream::tls::Tls;
use crate::time::Time;

/// Bytes of one read.
const READ: usize = 16 << 10;
/// While so many bytes wait for one side, the other is not read.
const PAUSE: usize = 64 << 10;

/// The two sockets, and the session between them.
#[derive(Debug)]
pub(super) struct Pipe {
    tls: Tls,
    socket: TcpStream,
    plaintext: UnixStream,
    /// Bytes for the peer, in records.
    to_peer: Vec<u8>,
    /// Plaintext for the other process.
    to_process: Vec<u8>,
    /// Whether the peer has ended its half.
    has_peer_ended: bool,
    /// Whether the other process has closed the connection.
    has_process_ended: bool,
    /// Whether the other process has been told of the end.
    has_told: bool,
}

impl Pipe {
    /// The pipe of a connection; `None` where it has no TLS.
    pub(super) fn new(pumped: Pumped) -> Option<Self> {
        let Pumped { moved: Moved { socket, stream, outgoing, .. }, plaintext } = pumped;
        Some(Pipe {
            tls: stream.into_tls()?,
            socket,
            plaintext,
            to_peer: outgoing,
            to_process: Vec::new(),
            has_peer_ended: false,
            has_process_ended: false,
            has_told: false,
        })
    }

    /// The peer's socket.
    pub(super) fn socket(&self) -> RawFd {
        self.socket.as_raw_fd()
    }

    /// The other process's socket.
    pub(super) fn plaintext(&self) -> RawFd {
        self.plaintext.as_raw_fd()
    }

    /// Carries bytes both ways until the kernel has no more and takes no more; false when the connection is over.
    pub(super) fn carry(&mut self, now: Time) -> bool {
        loop {
            let carried = self.carry_once(now);
            match carried {
                Ok(true) => {}
                Ok(false) => break,
                Err(_) => return false,
            }
        }
        if self.has_peer_ended && self.to_process.is_empty() && !std::mem::replace(&mut self.has_told, true) {
            // The other process may be gone: then its end is read next.
            let _ = self.plaintext.shutdown(Shutdown::Write);
        }
        !(self.has_process_ended && self.to_peer.is_empty())
    }

    /// Reads from and writes to each side once; false when nothing was carried.
    fn carry_once(&mut self, now: Time) -> io::Result<bool> {
        let mut buffer = [0; READ];
        let mut has_carried = false;
        if !self.has_peer_ended && self.to_process.len() < PAUSE && self.to_peer.len() < PAUSE {
            let read = some(self.socket.read(&mut buffer))?;
            has_carried |= read.is_some();
            if let Some(read) = read {
                self.on_records(buffer.get(..read).unwrap_or_default(), now)?;
            }
        }
        if !self.has_process_ended && self.to_peer.len() < PAUSE {
            let read = some(self.plaintext.read(&mut buffer))?;
            has_carried |= read.is_some();
            match read {
                Some(0) => {
                    self.has_process_ended = true;
                    self.tls.close(&mut self.to_peer);
                }
                Some(read) => {
                    self.tls.write(buffer.get(..read).unwrap_or_default(), &mut self.to_peer);
                }
                None => {}
            }
        }
        if !self.to_peer.is_empty()
            && let Some(written) = some(self.socket.write(&self.to_peer))?
        {
            self.to_peer.drain(..written);
            has_carried = true;
        }
        if !self.to_process.is_empty()
            && let Some(written) = some(self.plaintext.write(&self.to_process))?
        {
            self.to_process.drain(..written);
            has_carried = true;
        }
        Ok(has_carried)
    }

    /// Bytes of the peer; none: it has ended its half.
    fn on_records(&mut self, bytes: &[u8], now: Time) -> io::Result<()> {
        if bytes.is_empty() {
            self.has_peer_ended = true;
            return Ok(());
        }
        let Pipe { tls, to_peer, to_process, .. } = self;
        let mut keep = |plaintext: &[u8]| {
            to_process.extend_from_slice(plaintext);
            Ok(())
        };
        match tls.on_bytes(bytes, now, to_peer, &mut keep) {
            Ok(()) => Ok(()),
            Err(Fault::Closed) => {
                self.has_peer_ended = true;
                Ok(())
            }
            Err(fault) => Err(io::Error::other(fault.label())),
        }
    }
}

/// The number of bytes; `None` where the kernel has or takes none for now.
fn some(result: io::Result<usize>) -> io::Result<Option<usize>> {
    match result {
        Ok(count) => Ok(Some(count)),
        Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => Ok(None),
        Err(error) => Err(error),
    }
}
