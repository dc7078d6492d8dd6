//! One connection of a link over a network: frames in TLS in TCP.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};

use crate::net::clock;
use crate::stream::Fault;
use crate::stream::tls::Tls;
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

/// Most reads for one frame. A frame of many small packets takes some dozens.
const MOST_READS: usize = 1_024;

/// A connection of a link.
#[derive(Debug)]
pub struct Connection {
    socket: TcpStream,
    tls: Tls,
    /// Bytes for the socket, and the number of them that it has taken.
    out: Vec<u8>,
    written: usize,
    /// Bytes of frames, and the number of them that have been read.
    inbox: Vec<u8>,
    taken: usize,
    /// Why nothing more can be read.
    failed: Option<io::Error>,
}

impl Connection {
    /// A connection on this socket, which never waits from now on. The TLS handshake is done by the first calls of
    /// [`Connection::recv`].
    ///
    /// # Errors
    ///
    /// The socket is broken.
    pub fn new(socket: TcpStream, tls: Tls) -> io::Result<Self> {
        socket.set_nonblocking(true)?;
        socket.set_nodelay(true)?;
        let options = SockRef::from(&socket);
        let keepalive = TcpKeepalive::new().with_time(KEEPALIVE_EVERY).with_interval(KEEPALIVE_EVERY);
        options.set_tcp_keepalive(&keepalive.with_retries(KEEPALIVE_PROBES))?;
        options.set_tcp_user_timeout(Some(UNACKNOWLEDGED))?;
        let mut connection =
            Connection { socket, tls, out: Vec::new(), written: 0, inbox: Vec::new(), taken: 0, failed: None };
        // The side that calls says the first word.
        connection.decrypt(&[])?;
        connection.flush()?;
        Ok(connection)
    }

    /// The name in the certificate of the other end: the first of its DNS names, in lower case.
    ///
    /// # Errors
    ///
    /// It has shown no certificate, or one without a name.
    pub fn peer_name(&self) -> Result<String, NoName> {
        let certificate = self.tls.peer_certificates().and_then(<[_]>::first).ok_or(NoName::Nothing)?;
        let certificate = webpki::EndEntityCert::try_from(certificate).map_err(|_| NoName::Unreadable)?;
        certificate.valid_dns_names().next().map(str::to_ascii_lowercase).ok_or(NoName::Nameless)
    }

    /// The address of this end.
    ///
    /// # Errors
    ///
    /// The socket is broken.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
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
        self.tls.write(frame, &mut self.out);
    }

    /// Says that nothing more follows, as far as the socket takes it.
    pub fn close(&mut self) {
        self.tls.close(&mut self.out);
        // The other end sees the end of the connection either way.
        let _ = self.flush();
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
        for _ in 0..MOST_READS {
            if let Some(length) = self.whole()? {
                let bytes = self.inbox.get(self.taken..self.taken + length).unwrap_or_default();
                let too_long = || io::Error::new(io::ErrorKind::InvalidData, "a frame longer than the buffer");
                frame.get_mut(..length).ok_or_else(too_long)?.copy_from_slice(bytes);
                self.taken += length;
                return Ok(Some(length));
            }
            // Frames that came before the end are read first.
            if let Some(error) = &self.failed {
                return Err(io::Error::new(error.kind(), error.to_string()));
            }
            match self.read() {
                Ok(true) => {}
                Ok(false) => return Ok(None),
                Err(error) => self.failed = Some(error),
            }
        }
        // Records of TLS without content, as fast as they are read: the reader would come to nothing else.
        Err(io::Error::new(io::ErrorKind::ConnectionAborted, "it sends much, and no frame"))
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
                    let read = self.decrypt(bytes.get(..length).unwrap_or_default());
                    // Answers to the other end's keys, and alerts, leave now. A socket that is full takes them later;
                    // one that is broken is found by the next read.
                    let _ = self.flush();
                    read.map(|()| true)
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(false),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => Err(error),
            };
        }
    }
}

impl Connection {
    fn decrypt(&mut self, bytes: &[u8]) -> io::Result<()> {
        let Connection { tls, out, inbox, .. } = self;
        let read = tls.on_bytes(bytes, clock::now(), out, &mut |plaintext| {
            inbox.extend_from_slice(plaintext);
            Ok(())
        });
        read.map_err(|fault| match fault {
            Fault::Closed => io::ErrorKind::UnexpectedEof.into(),
            fault => io::Error::new(io::ErrorKind::ConnectionAborted, fault.label()),
        })
    }
}

/// The reason why the other end has no name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoName {
    /// It has shown no certificate.
    #[error("it has shown no certificate")]
    Nothing,
    /// Its certificate cannot be read.
    #[error("its certificate cannot be read")]
    Unreadable,
    /// Its certificate has no DNS name.
    #[error("its certificate has no DNS name (subjectAltName), which is the worker's name")]
    Nameless,
}

impl AsFd for Connection {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl AsRawFd for Connection {
    fn as_raw_fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }
}
