//! Unix sockets of type `SOCK_SEQPACKET`: one write is one frame, and descriptors are passed beside it.

use std::fs;
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use nix::sys::socket::{getsockopt, sockopt};
use rustix::fs::Mode;
use rustix::net::sockopt as options;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketAddrUnix, SocketFlags, SocketType,
};

/// Most bytes of a socket's path (`sun_path` less its final NUL).
pub const PATH_LIMIT: usize = 107;
/// Most descriptors beside one frame (the kernel's `SCM_MAX_FD`).
pub const DESCRIPTORS: usize = 253;
/// Size of a link's send buffer: the default holds 93 messages of 1.1 KB, this one about 3,600.
pub const SEND_BUFFER: usize = 4 << 20;

/// One end of a link.
#[derive(Debug)]
pub struct SeqPacket {
    fd: OwnedFd,
}

/// Process at the other end, as the kernel saw it when the link was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Its process id; `None` when it lives in another pid namespace (another container).
    pub pid: Option<u32>,
    /// Its user id.
    pub uid: u32,
}

impl SeqPacket {
    /// Two ends that are linked to each other.
    ///
    /// # Errors
    ///
    /// No descriptor is left.
    pub fn pair() -> io::Result<(Self, Self)> {
        let (one, two) = rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, FLAGS, None)?;
        Ok((SeqPacket { fd: one }, SeqPacket { fd: two }))
    }

    /// Connects to the listener at `path`.
    ///
    /// # Errors
    ///
    /// No process listens there, or this one lacks the permission.
    pub fn connect(path: &Path) -> Result<Self, UnixError> {
        let address = address(path)?;
        let failed = |error| UnixError::connecting(path, error);
        let fd = socket().map_err(failed)?;
        rustix::net::connect(&fd, &address).map_err(|errno| failed(errno.into()))?;
        Ok(SeqPacket { fd })
    }

    /// Takes one end that another process has made.
    ///
    /// # Errors
    ///
    /// The descriptor is not a socket of this type.
    pub fn from_fd(fd: OwnedFd) -> io::Result<Self> {
        if options::socket_type(&fd)? != SocketType::SEQPACKET {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "the descriptor is not a SOCK_SEQPACKET socket"));
        }
        Ok(SeqPacket { fd })
    }

    /// A duplicate: the same end under another descriptor.
    ///
    /// # Errors
    ///
    /// No descriptor is left.
    pub fn try_clone(&self) -> io::Result<Self> {
        Ok(SeqPacket { fd: self.fd.try_clone()? })
    }

    /// Sends `pieces` as one frame, whole or not at all, with `descriptors` beside it. Never waits.
    ///
    /// # Errors
    ///
    /// `WouldBlock` when the buffer is full, `BrokenPipe` or `ConnectionReset` when the other end is gone.
    pub fn send(&self, pieces: &[IoSlice<'_>], descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
        let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
        if descriptors.is_empty() {
            return retried(|| rustix::net::sendmsg(&self.fd, pieces, &mut SendAncillaryBuffer::default(), flags))
                .map(drop);
        }
        let mut space = [MaybeUninit::uninit(); DESCRIPTOR_SPACE];
        let mut ancillary = SendAncillaryBuffer::new(&mut space);
        if descriptors.len() > DESCRIPTORS || !ancillary.push(SendAncillaryMessage::ScmRights(descriptors)) {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "more descriptors than one frame can carry"));
        }
        retried(|| rustix::net::sendmsg(&self.fd, pieces, &mut ancillary, flags)).map(drop)
    }

    /// Receives one frame and the descriptors beside it (closed on exec). Never waits. Returns 0 when the other end is
    /// gone and everything it sent has been read; also after a reset, because its last frames can still be read after
    /// that.
    ///
    /// # Errors
    ///
    /// `WouldBlock` when there is nothing; `InvalidData` when the frame is longer than `frame` or carried more
    /// descriptors than fit (those that arrived are closed).
    pub fn recv(&self, frame: &mut [u8], descriptors: &mut Vec<OwnedFd>) -> io::Result<usize> {
        let mut resets = 0;
        loop {
            match self.recv_once(frame, descriptors) {
                // The kernel reports the reset first and once, before the frames that are still in the queue.
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset && resets == 0 => resets += 1,
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return Ok(0),
                done => return done,
            }
        }
    }

    fn recv_once(&self, frame: &mut [u8], descriptors: &mut Vec<OwnedFd>) -> io::Result<usize> {
        let mut space = [MaybeUninit::uninit(); DESCRIPTOR_SPACE];
        let mut ancillary = RecvAncillaryBuffer::new(&mut space);
        let flags = RecvFlags::DONTWAIT | RecvFlags::CMSG_CLOEXEC;
        let received =
            retried(|| rustix::net::recvmsg(&self.fd, &mut [IoSliceMut::new(frame)], &mut ancillary, flags))?;
        let invalid = |text| Err(io::Error::new(io::ErrorKind::InvalidData, text));
        if received.flags.contains(ReturnFlags::TRUNC) {
            return invalid("a frame longer than the buffer");
        }
        if received.flags.contains(ReturnFlags::CTRUNC) {
            return invalid("more descriptors beside a frame than can be taken");
        }
        for message in ancillary.drain() {
            if let RecvAncillaryMessage::ScmRights(received) = message {
                descriptors.extend(received);
            }
        }
        Ok(received.bytes)
    }

    /// Process at the other end.
    ///
    /// # Errors
    ///
    /// The socket is not connected.
    pub fn peer(&self) -> io::Result<Peer> {
        let credentials = getsockopt(&self.fd, sockopt::PeerCredentials)?;
        let pid = u32::try_from(credentials.pid()).ok().filter(|pid| *pid != 0);
        Ok(Peer { pid, uid: credentials.uid() })
    }

    /// Asks for buffers of `send` and `receive` bytes; 0 leaves a buffer as it is. Returns the granted size of the send
    /// buffer.
    ///
    /// # Errors
    ///
    /// The socket is broken.
    pub fn set_buffers(&self, send: usize, receive: usize) -> io::Result<usize> {
        if send > 0 && options::set_socket_send_buffer_size_force(&self.fd, send).is_err() {
            options::set_socket_send_buffer_size(&self.fd, send)?;
        }
        if receive > 0 && options::set_socket_recv_buffer_size_force(&self.fd, receive).is_err() {
            options::set_socket_recv_buffer_size(&self.fd, receive)?;
        }
        // The kernel doubles what is asked for, to pay for its bookkeeping (socket(7)).
        Ok(options::socket_send_buffer_size(&self.fd)? / 2)
    }
}

impl AsFd for SeqPacket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl AsRawFd for SeqPacket {
    fn as_raw_fd(&self) -> RawFd {
        self.fd.as_raw_fd()
    }
}

impl From<SeqPacket> for OwnedFd {
    fn from(packet: SeqPacket) -> OwnedFd {
        packet.fd
    }
}

/// A socket file that workers connect to. Dropping it removes the file, unless another has taken its place.
#[derive(Debug)]
pub struct SeqListener {
    fd: OwnedFd,
    path: PathBuf,
    /// Device and inode of the file.
    file: (u64, u64),
}

impl SeqListener {
    /// Listens at `path`, mode 0600. A socket file at which no process listens any more is replaced.
    ///
    /// # Errors
    ///
    /// The path is too long, its directory is missing, a process listens there, or the file is no socket.
    pub fn bind(path: &Path) -> Result<Self, UnixError> {
        let address = address(path)?;
        clear(path)?;
        let failed = |error| UnixError::listening(path, error);
        let fd = socket().map_err(failed)?;
        // On Linux the file is made with the mode of the socket, less the umask: it is never open to others, not even
        // for a moment.
        let mode = Mode::RUSR | Mode::WUSR;
        rustix::fs::fchmod(&fd, mode).map_err(|errno| failed(errno.into()))?;
        rustix::net::bind(&fd, &address).map_err(|errno| failed(errno.into()))?;
        let made = rustix::fs::chmod(path, mode).map_err(io::Error::from).and_then(|()| fs::symlink_metadata(path));
        let made = made.map_err(failed)?;
        let listener = SeqListener { fd, path: path.to_owned(), file: (made.dev(), made.ino()) };
        rustix::net::listen(&listener.fd, BACKLOG).map_err(|errno| failed(errno.into()))?;
        Ok(listener)
    }

    /// Takes over a listener that another process has made at `path`, and with it the file, if that is there.
    pub fn inherit(fd: OwnedFd, path: &Path) -> Self {
        // A process that connects sees as its peer the process that has called this last (SO_PEERCRED, unix(7)): from
        // now on this one. The socket listens already, which is no error, and goes on listening if this call fails.
        let _ = rustix::net::listen(&fd, BACKLOG);
        let file = fs::symlink_metadata(path).map_or((0, 0), |made| (made.dev(), made.ino()));
        SeqListener { fd, path: path.to_owned(), file }
    }

    /// Accepts the next worker that connects. `None`: no worker waits. Never waits.
    ///
    /// # Errors
    ///
    /// No descriptor is left.
    pub fn accept(&self) -> io::Result<Option<SeqPacket>> {
        match retried(|| rustix::net::accept_with(&self.fd, FLAGS)) {
            Ok(fd) => Ok(Some(SeqPacket { fd })),
            // A peer that left before it was accepted is no error of the listener.
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::ConnectionAborted) => {
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// Path at which it listens.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for SeqListener {
    fn drop(&mut self) {
        let ours = fs::symlink_metadata(&self.path).is_ok_and(|now| (now.dev(), now.ino()) == self.file);
        if ours {
            // The removal may fail: the next listener replaces a dead file.
            let _ = fs::remove_file(&self.path);
        }
    }
}

impl AsFd for SeqListener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl AsRawFd for SeqListener {
    fn as_raw_fd(&self) -> RawFd {
        self.fd.as_raw_fd()
    }
}

/// Reason why a Unix socket cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum UnixError {
    /// The path does not fit into a socket address.
    #[error(
        "the socket path {} has {} bytes, at most {PATH_LIMIT} are possible; choose a shorter one with --run-dir",
        .path.display(), .path.as_os_str().len()
    )]
    PathTooLong {
        /// The path.
        path: PathBuf,
    },
    /// The path's directory does not exist.
    #[error("cannot listen at {}: its directory does not exist; make it or choose another with --run-dir", .path.display())]
    NoDirectory {
        /// The path.
        path: PathBuf,
    },
    /// Another process listens there.
    #[error("cannot listen at {}: another dispatcher listens there; stop it or choose another directory with --run-dir", .path.display())]
    InUse {
        /// The path.
        path: PathBuf,
    },
    /// A file that is not a socket lies there.
    #[error("cannot listen at {}: that file is not a socket; remove it or choose another directory with --run-dir", .path.display())]
    NotASocket {
        /// The path.
        path: PathBuf,
    },
    /// The file or its directory belongs to another user.
    #[error("no permission for the socket {}; run as its owner or choose another directory with --run-dir", .path.display())]
    Permission {
        /// The path.
        path: PathBuf,
    },
    /// No process listens there.
    #[error("cannot connect to {}: no process listens there; start the dispatcher or name its socket", .path.display())]
    NotListening {
        /// The path.
        path: PathBuf,
    },
    /// Any other error.
    #[error("cannot {attempted} {}: {error}", .path.display())]
    Other {
        /// The path.
        path: PathBuf,
        /// Name of the step that failed.
        attempted: &'static str,
        /// The system's error.
        error: io::Error,
    },
}

impl UnixError {
    fn listening(path: &Path, error: io::Error) -> Self {
        let path = path.to_owned();
        match error.kind() {
            io::ErrorKind::AddrInUse => UnixError::InUse { path },
            io::ErrorKind::NotFound => UnixError::NoDirectory { path },
            io::ErrorKind::PermissionDenied => UnixError::Permission { path },
            _ => UnixError::Other { path, attempted: "listen at", error },
        }
    }

    fn connecting(path: &Path, error: io::Error) -> Self {
        let path = path.to_owned();
        match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => UnixError::NotListening { path },
            io::ErrorKind::PermissionDenied => UnixError::Permission { path },
            _ => UnixError::Other { path, attempted: "connect to", error },
        }
    }
}

/// All workers of the largest pool can come back to a new dispatcher at the same moment; one that finds no place tries
/// again.
const BACKLOG: i32 = 1024;
const FLAGS: SocketFlags = SocketFlags::CLOEXEC.union(SocketFlags::NONBLOCK);
const DESCRIPTOR_SPACE: usize = rustix::cmsg_space!(ScmRights(DESCRIPTORS));

fn socket() -> io::Result<OwnedFd> {
    Ok(rustix::net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, FLAGS, None)?)
}

fn address(path: &Path) -> Result<SocketAddrUnix, UnixError> {
    let too_long = || UnixError::PathTooLong { path: path.to_owned() };
    if path.as_os_str().as_bytes().len() > PATH_LIMIT {
        return Err(too_long());
    }
    SocketAddrUnix::new(path).map_err(|_| too_long())
}

/// Makes way for a listener: removes a socket file at which no process listens.
fn clear(path: &Path) -> Result<(), UnixError> {
    let failed = |error| UnixError::listening(path, error);
    if path.parent().is_some_and(|parent| !parent.as_os_str().is_empty() && !parent.is_dir()) {
        return Err(UnixError::NoDirectory { path: path.to_owned() });
    }
    let there = match fs::symlink_metadata(path) {
        Ok(there) => there,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(failed(error)),
    };
    if !there.file_type().is_socket() {
        return Err(UnixError::NotASocket { path: path.to_owned() });
    }
    match SeqPacket::connect(path) {
        Err(UnixError::NotListening { .. }) => fs::remove_file(path).map_err(failed),
        Err(UnixError::Permission { path }) => Err(UnixError::Permission { path }),
        // A listener of another type, or one whose queue is full, is alive as well.
        Ok(_) | Err(_) => Err(UnixError::InUse { path: path.to_owned() }),
    }
}

/// Repeats a call that a signal has interrupted.
fn retried<T>(mut call: impl FnMut() -> rustix::io::Result<T>) -> io::Result<T> {
    Ok(rustix::io::retry_on_intr(&mut call)?)
}

#[cfg(test)]
mod tests;
