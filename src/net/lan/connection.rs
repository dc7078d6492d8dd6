//! One connection of a link over a network: frames in TLS in TCP.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::{AsRawFd, RawFd};
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};

use crate::wire::handoff::{FRAME_HARD_LIMIT, FRAME_HEADER, Frame};

/// A peer that is gone without a word shows after this time, beside the counts that each end sends every second.
const KEEPALIVE_EVERY: Duration = Duration::from_secs(5);
const KEEPALIVE_PROBES: u32 = 3;
/// Longest time that sent bytes may stay unacknowledged.
const UNACKNOWLEDGED: Duration = Duration::from_secs(10);
/// Bytes read from the socket at a time.
const READ: usize = 16 << 10;
/// Bytes for the socket that are put together before they are written.
const TOGETHER: usize = 64 << 10;

/// A connection of a link.
#[derive(Debug)]
pub struct Connection {
    socket: TcpStream,
    /// Bytes for the socket, and the number of them that it has taken.
    out: Vec<u8>,
    written: usize,
    /// Bytes of frames, and the number of them that have been read.
    inbox: Vec<u8>,
    taken: usize,
}

impl Connection {
    /// A connection on this socket, which never waits from now on.
    ///
    /// # Errors
    ///
    /// The socket is broken.
    pub fn new(socket: TcpStream) -> io::Result<Self> {
        socket.set_nonblocking(true)?;
        socket.set_nodelay(true)?;
        let options = SockRef::from(&socket);
        let keepalive = TcpKeepalive::new().with_time(KEEPALIVE_EVERY).with_interval(KEEPALIVE_EVERY);
        options.set_tcp_keepalive(&keepalive.with_retries(KEEPALIVE_PROBES))?;
        options.set_tcp_user_timeout(Some(UNACKNOWLEDGED))?;
        Ok(Connection { socket, out: Vec::new(), written: 0, inbox: Vec::new(), taken: 0 })
    }

    /// The address of the other end.
    ///
    /// # Errors
    ///
    /// The socket is broken.
    pub fn peer_addr(&self) -> io::Result<SocketAddr> {
        self.socket.peer_addr()
    }

    /// Whether so much waits for the socket that more is to be added only after [`Connection::flush`].
    pub fn is_full(&self) -> bool {
        self.out.len() - self.written >= TOGETHER
    }

    /// Adds a frame to what leaves with the next [`Connection::flush`].
    pub fn add(&mut self, frame: &[u8]) {
        self.out.extend_from_slice(frame);
    }

    /// Writes what waits, as far as the socket takes it; true when nothing waits any more.
    ///
    /// # Errors
    ///
    /// The connection is broken.
    pub fn flush(&mut self) -> io::Result<bool> {
        while let Some(rest) = self.out.get(self.written..).filter(|rest| !rest.is_empty()) {
            match self.socket.write(rest) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => self.written += written,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        self.out.clear();
        self.out.shrink_to(TOGETHER);
        self.written = 0;
        Ok(true)
    }

    /// Reads the next frame into `frame`; `None` when there is none now.
    ///
    /// # Errors
    ///
    /// The connection is broken or at its end (`UnexpectedEof`), or what came is no frame (`InvalidData`).
    pub fn recv(&mut self, frame: &mut [u8]) -> io::Result<Option<usize>> {
        loop {
            if let Some(length) = self.whole()? {
                let bytes = self.inbox.get(self.taken..self.taken + length).unwrap_or_default();
                let too_long = || io::Error::new(io::ErrorKind::InvalidData, "a frame longer than the buffer");
                frame.get_mut(..length).ok_or_else(too_long)?.copy_from_slice(bytes);
                self.taken += length;
                return Ok(Some(length));
            }
            if !self.read()? {
                return Ok(None);
            }
        }
    }

    /// The length of the frame that has come, if it has come as a whole.
    fn whole(&self) -> io::Result<Option<usize>> {
        let bytes = self.inbox.get(self.taken..).unwrap_or_default();
        if bytes.len() < FRAME_HEADER {
            return Ok(None);
        }
        let length = Frame::length(bytes).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
        Ok((length <= bytes.len()).then_some(length))
    }

    /// Reads from the socket once; false when there is nothing.
    fn read(&mut self) -> io::Result<bool> {
        self.inbox.drain(..self.taken);
        self.taken = 0;
        self.inbox.shrink_to(FRAME_HARD_LIMIT);
        let mut bytes = [0; READ];
        loop {
            return match self.socket.read(&mut bytes) {
                Ok(0) => Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(length) => {
                    self.inbox.extend_from_slice(bytes.get(..length).unwrap_or_default());
                    Ok(true)
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(false),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => Err(error),
            };
        }
    }
}

impl AsRawFd for Connection {
    fn as_raw_fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }
}
