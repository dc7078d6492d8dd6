//! TCP set-up: listeners and connections that never wait.

use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::time::Duration;

use socket2::{Domain, Protocol, SockRef, Type};

use super::bind::BindError;

/// Most connections that wait to be accepted; the kernel cuts it to `net.core.somaxconn`.
const BACKLOG: i32 = 4096;
/// Time after which a peer that acknowledges nothing is gone.
const UNACKNOWLEDGED: Duration = Duration::from_secs(10);

/// A listening TCP socket.
#[derive(Debug)]
pub struct Listener {
    inner: TcpListener,
    local: SocketAddr,
}

impl Listener {
    /// Listens at `address`. Unlike UDP, a TCP listener may take a port over from connections in TIME_WAIT
    /// (`SO_REUSEADDR`), which on Linux never lets two programs listen at one port.
    ///
    /// # Errors
    ///
    /// The address is in use, belongs to no interface of this host, or needs a right that this process lacks.
    pub fn bind(address: SocketAddr) -> Result<Self, BindError> {
        Listener::bind_with(address).map_err(|error| BindError::new("tcp", address, error))
    }

    fn bind_with(address: SocketAddr) -> io::Result<Self> {
        let socket = socket2::Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
        if address.is_ipv6() {
            socket.set_only_v6(true)?;
        }
        socket.set_reuse_address(true)?;
        socket.bind(&address.into())?;
        socket.listen(BACKLOG)?;
        Listener::from_fd(socket.into())
    }

    /// Takes a listener that another process has made.
    ///
    /// # Errors
    ///
    /// The descriptor is not a TCP listener.
    pub fn from_fd(fd: OwnedFd) -> io::Result<Self> {
        let socket = SockRef::from(&fd);
        if socket.r#type()? != Type::STREAM || !socket.is_listener()? {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "the descriptor is not a listening TCP socket"));
        }
        let inner = TcpListener::from(fd);
        inner.set_nonblocking(true)?;
        Ok(Listener { local: inner.local_addr()?, inner })
    }

    /// Accepts the next connection, ready for use without waiting. `None`: no connection waits.
    ///
    /// # Errors
    ///
    /// No descriptor is left, or the listener is broken. Connections that failed before they were accepted are skipped.
    pub fn accept(&self) -> io::Result<Option<(TcpStream, SocketAddr)>> {
        loop {
            match self.inner.accept() {
                Ok((stream, peer)) => {
                    stream.set_nonblocking(true)?;
                    stream.set_nodelay(true)?;
                    return Ok(Some((stream, peer)));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
                Err(error)
                    if matches!(
                        error.kind(),
                        io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset | io::ErrorKind::Interrupted
                    ) => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// A duplicate of the same listener.
    ///
    /// # Errors
    ///
    /// No descriptor is left.
    pub fn try_clone(&self) -> io::Result<Self> {
        Ok(Listener { inner: self.inner.try_clone()?, local: self.local })
    }

    /// Address at which it listens.
    pub const fn local_addr(&self) -> SocketAddr {
        self.local
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.inner.as_fd()
    }
}

impl AsRawFd for Listener {
    fn as_raw_fd(&self) -> RawFd {
        self.inner.as_raw_fd()
    }
}

impl From<Listener> for OwnedFd {
    fn from(listener: Listener) -> OwnedFd {
        listener.inner.into()
    }
}

impl From<Listener> for TcpListener {
    fn from(listener: Listener) -> TcpListener {
        listener.inner
    }
}

/// Has the kernel acknowledge bytes with the answer to them instead of at once: a segment of its own for each read
/// costs a third of the read.
pub fn acknowledge_late(stream: &TcpStream) {
    // A kernel that does not know the option acknowledges at once, which does no harm.
    let _ = SockRef::from(stream).set_tcp_quickack(false);
}

/// Has the kernel acknowledge what has come, and with every read what comes from now on.
pub fn acknowledge_now(stream: &TcpStream) {
    // A kernel that does not know the option acknowledges at once in any case.
    let _ = SockRef::from(stream).set_tcp_quickack(true);
}

/// Has the kernel end a connection whose peer acknowledges nothing for so long.
pub fn give_up_unacknowledged(stream: &TcpStream) {
    // Without the option a host that has vanished is found later, by the kernel's own limit.
    let _ = SockRef::from(stream).set_tcp_user_timeout(Some(UNACKNOWLEDGED));
}

/// Begins a connection to `peer` and does not wait for it: once the stream is writable, `take_error` returns the
/// result.
///
/// # Errors
///
/// No descriptor is left, or no route leads to that address.
pub fn connect(peer: SocketAddr) -> io::Result<TcpStream> {
    connect_from(None, peer)
}

/// [`connect`] from this address of ours; `None`: the kernel chooses one.
///
/// # Errors
///
/// As [`connect`]; the address is not this host's.
pub fn connect_from(from: Option<IpAddr>, peer: SocketAddr) -> io::Result<TcpStream> {
    let socket = socket2::Socket::new(Domain::for_address(peer), Type::STREAM, Some(Protocol::TCP))?;
    if let Some(from) = from {
        socket.bind(&SocketAddr::new(from, 0).into())?;
    }
    socket.set_nonblocking(true)?;
    socket.set_tcp_nodelay(true)?;
    match socket.connect(&peer.into()) {
        Ok(()) => {}
        Err(error) if error.raw_os_error() == Some(libc::EINPROGRESS) => {}
        Err(error) => return Err(error),
    }
    Ok(socket.into())
}

/// Whether an attempt to connect has failed because nothing listens there, or no route leads there.
pub fn is_refusal(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionRefused, HostUnreachable, NetworkUnreachable};
    matches!(error.kind(), ConnectionRefused | HostUnreachable | NetworkUnreachable)
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};

    use super::*;

    /// Waits for an event of `fd`, at most 5 s.
    fn wait(fd: &impl AsFd, events: rustix::event::PollFlags) {
        let within = rustix::event::Timespec { tv_sec: 5, tv_nsec: 0 };
        let mut fds = [rustix::event::PollFd::new(fd, events)];
        assert_eq!(rustix::event::poll(&mut fds, Some(&within)).unwrap(), 1, "nothing happened within 5 s");
    }

    #[test]
    fn a_connection_is_made_and_accepted_without_waiting() {
        let listener = Listener::bind("127.0.0.1:0".parse().unwrap()).unwrap();
        assert!(listener.accept().unwrap().is_none());
        let mut caller = connect(listener.local_addr()).unwrap();
        wait(&listener, rustix::event::PollFlags::IN);
        let (mut called, peer) = listener.accept().unwrap().expect("a connection waits");
        assert_eq!(peer, caller.local_addr().unwrap());
        wait(&caller, rustix::event::PollFlags::OUT);
        assert!(caller.take_error().unwrap().is_none());
        caller.write_all(b"\r\n\r\n").unwrap();
        wait(&called, rustix::event::PollFlags::IN);
        let mut bytes = [0; 8];
        assert_eq!(called.read(&mut bytes).unwrap(), 4);
        assert_eq!(called.read(&mut bytes).unwrap_err().kind(), io::ErrorKind::WouldBlock);
    }

    #[test]
    fn a_port_that_is_listened_at_is_in_use() {
        let first = Listener::bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let second = Listener::bind(first.local_addr());
        assert!(matches!(second, Err(BindError::InUse { place, .. }) if place.protocol == "tcp"));
        let taken_over = Listener::from_fd(first.try_clone().unwrap().into()).unwrap();
        assert_eq!(taken_over.local_addr(), first.local_addr());
        assert!(Listener::from_fd(connect(first.local_addr()).unwrap().into()).is_err());
    }
}
