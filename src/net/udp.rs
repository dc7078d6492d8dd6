//! UDP sockets: datagrams are read in batches and sent singly or in batches. An answer leaves from the local address
//! that its request came to.
//!
//! An ICMP message about a peer is not an error of the socket: a datagram that cannot be delivered is
//! [`Delivery::Undeliverable`], and a pending error never hides the datagrams after it. The protocols above retransmit.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::time::Duration;

use nix::sys::socket::{setsockopt, sockopt};
use rustix::net::sockopt as options;
use socket2::{Domain, Protocol, SockRef, Type};

use super::bind::BindError;
use super::clock;
use super::sockaddr::{Control, Name};
use super::sys::{self, BATCH, Outgoing, Received};

/// A bound UDP socket.
#[derive(Debug)]
pub struct Socket {
    fd: OwnedFd,
    local: SocketAddr,
}

/// Sizes of a socket's buffers, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Buffers {
    /// Buffer for datagrams that have not been read.
    pub receive: usize,
    /// Buffer for datagrams that have not left.
    pub send: usize,
}

impl Buffers {
    /// Sizes for signalling: 8 MiB and 4 MiB. The default holds about 256 small datagrams.
    pub const SIGNALLING: Buffers = Buffers { receive: 8 << 20, send: 4 << 20 };
    /// Sizes for one media stream: a second of packets is more than is worth playing.
    pub const MEDIA: Buffers = Buffers { receive: 256 << 10, send: 256 << 10 };
}

/// Fate of a datagram that was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// The kernel took it.
    Left,
    /// The socket takes no more now.
    Blocked,
    /// It cannot be sent to that address, or not from that local one; the errno. Trying again does not help.
    Undeliverable(i32),
}

impl Delivery {
    /// Whether it failed because of the address that the datagram was for, so that no other can be sent there: not for
    /// its size, and not by a firewall, which may refuse this one alone.
    pub const fn is_of_address(self) -> bool {
        match self {
            Delivery::Left | Delivery::Blocked => false,
            Delivery::Undeliverable(errno) => {
                !matches!(errno, libc::EMSGSIZE | libc::EPERM | libc::ECONNREFUSED | libc::ECONNRESET)
            }
        }
    }
}

/// A datagram to send with [`Socket::send_batch`].
#[derive(Clone, Copy, Debug)]
pub struct Answer<'a> {
    /// Its bytes.
    pub bytes: &'a [u8],
    /// Destination.
    pub to: SocketAddr,
    /// The local address it leaves from; only a wildcard socket has a choice.
    pub from: Option<IpAddr>,
}

/// The memory of a socket, in bytes counted as in the request for them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Memory {
    /// The receive buffer that was granted.
    pub receive: usize,
    /// The send buffer that was granted.
    pub send: usize,
    /// Bytes that wait in the receive buffer, with the kernel's own bookkeeping.
    pub waiting: usize,
    /// Datagrams that the kernel dropped because the buffer was full, since the socket was made; wraps at 2³².
    pub drops: u32,
}

impl Socket {
    /// Binds `address` and asks for `buffers`; [`Socket::memory`] returns the sizes granted.
    ///
    /// Neither `SO_REUSEADDR` nor `SO_REUSEPORT` is set: another program must not be able to take a share of the
    /// datagrams. An IPv6 socket is for IPv6 alone.
    ///
    /// # Errors
    ///
    /// The address is in use, belongs to no interface of this host, or needs a right that this process lacks.
    pub fn bind(address: SocketAddr, buffers: Buffers) -> Result<Self, BindError> {
        Socket::bind_with(address, buffers).map_err(|error| BindError::new("udp", address, error))
    }

    fn bind_with(address: SocketAddr, buffers: Buffers) -> io::Result<Self> {
        let socket = socket2::Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
        socket.set_nonblocking(true)?;
        if address.is_ipv6() {
            socket.set_only_v6(true)?;
        }
        // The options are set before the bind, so that the first datagram already carries its local address.
        prepare(&socket.as_fd(), address.ip(), buffers)?;
        socket.bind(&address.into())?;
        Socket::from_fd(socket.into())
    }

    /// Gives a bound socket its buffers, and has it report the local address of each datagram, which answers need.
    ///
    /// # Errors
    ///
    /// The kernel refuses.
    pub fn prepare(&self, buffers: Buffers) -> io::Result<()> {
        prepare(&self.fd.as_fd(), self.local.ip(), buffers)
    }

    /// Takes a socket that another process has bound.
    ///
    /// # Errors
    ///
    /// The descriptor is not a UDP socket.
    pub fn from_fd(fd: OwnedFd) -> io::Result<Self> {
        let socket = SockRef::from(&fd);
        let not_udp = || io::Error::new(io::ErrorKind::InvalidInput, "the descriptor is not a UDP socket");
        if socket.r#type()? != Type::DGRAM {
            return Err(not_udp());
        }
        let local = socket.local_addr()?.as_socket().ok_or_else(not_udp)?;
        Ok(Socket { fd, local })
    }

    /// A duplicate: the same socket under another descriptor, with the same flags and the same queue.
    ///
    /// # Errors
    ///
    /// No descriptor is left.
    pub fn try_clone(&self) -> io::Result<Self> {
        Ok(Socket { fd: self.fd.try_clone()?, local: self.local })
    }

    /// Binds it to one peer: datagrams of other peers are not received, and a send reports when no socket is open
    /// there.
    ///
    /// # Errors
    ///
    /// No route leads to the peer.
    pub fn connect(&self, peer: SocketAddr) -> io::Result<()> {
        SockRef::from(&self.fd).connect(&peer.into())
    }

    /// The error that ICMP has reported for the peer of a [connected](Socket::connect) socket since the last call.
    ///
    /// # Errors
    ///
    /// The socket itself is broken.
    pub fn take_error(&self) -> io::Result<Option<io::Error>> {
        SockRef::from(&self.fd).take_error()
    }

    /// Receives the datagrams that are there, up to the places of `batch`, without waiting. Fewer than
    /// [`Batch::places`]: the socket is drained.
    ///
    /// # Errors
    ///
    /// The socket itself is broken. Errors about a peer are skipped.
    pub fn recv_batch(&self, batch: &mut Batch) -> io::Result<usize> {
        batch.filled = 0;
        batch.local = self.local;
        let mut pending = 0;
        loop {
            let buffers = batch.buffers.chunks_exact_mut(batch.stride).map(|chunk| &mut chunk[..batch.size]);
            match sys::receive(self.as_fd(), buffers, &mut batch.names, &mut batch.controls, &mut batch.received) {
                Ok(got) => {
                    batch.filled = got;
                    return Ok(got);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(0),
                // Each error is reported once, and datagrams may lie after it for which no other event would come.
                Err(error) if pending < BATCH && tells_of_a_peer(&error) => pending += 1,
                Err(error) => return Err(error),
            }
        }
    }

    /// Sends one datagram without waiting. `from` is the local address it leaves from; only a wildcard socket has a
    /// choice, for others it is ignored.
    ///
    /// # Errors
    ///
    /// The socket itself is broken.
    pub fn send(&self, bytes: &[u8], to: SocketAddr, from: Option<IpAddr>) -> io::Result<Delivery> {
        let outgoing = self.outgoing(&Answer { bytes, to, from });
        loop {
            match sys::send(self.as_fd(), &outgoing) {
                Ok(()) => return Ok(Delivery::Left),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return outcome(error),
            }
        }
    }

    /// Sends many datagrams without waiting, with a few system calls for all, in their order. None that the kernel does
    /// not take stops those after it: `unsent` gets each of these, and its fate as [`Socket::send`] tells it.
    pub fn send_batch<'a>(
        &self,
        mut answers: impl ExactSizeIterator<Item = Answer<'a>> + Clone,
        mut unsent: impl FnMut(Answer<'a>, io::Result<Delivery>),
    ) {
        while answers.len() > 1 {
            let batch = answers.clone();
            let mut outgoing: [Outgoing<'_>; BATCH] =
                std::array::from_fn(|_| Outgoing { bytes: &[], name: Name::empty(), control: None });
            let mut count = 0;
            for (place, answer) in outgoing.iter_mut().zip(answers.by_ref()) {
                *place = self.outgoing(&answer);
                count += 1;
            }
            let mut rest = &outgoing[..count];
            while !rest.is_empty() {
                let done = match sys::send_many(self.as_fd(), rest) {
                    Ok(sent) => sent,
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => 0,
                    Err(error) => {
                        if let Some(first) = batch.clone().nth(count - rest.len()) {
                            unsent(first, outcome(error));
                        }
                        1
                    }
                };
                rest = rest.get(done..).unwrap_or_default();
            }
        }
        // One alone costs one system call either way, and this one needs no list of datagrams.
        if let Some(answer) = answers.next() {
            match self.send(answer.bytes, answer.to, answer.from) {
                Ok(Delivery::Left) => {}
                fate => unsent(answer, fate),
            }
        }
    }

    /// Whether the kernel keeps the time at which each datagram arrives, for [`Batch::waited`]. It holds for all
    /// duplicates of the socket, and for datagrams that arrive from now on.
    ///
    /// # Errors
    ///
    /// The socket is broken.
    pub fn stamp_arrivals(&self, stamp: bool) -> io::Result<()> {
        Ok(setsockopt(&self.fd, sockopt::ReceiveTimestampns, &stamp)?)
    }

    /// Address to which it is bound.
    pub const fn local_addr(&self) -> SocketAddr {
        self.local
    }

    /// Its buffers, and the number of datagrams that the kernel has dropped.
    ///
    /// # Errors
    ///
    /// The kernel is older than 4.12.
    pub fn memory(&self) -> io::Result<Memory> {
        let words = sys::meminfo(self.as_fd())?;
        let word = |at: libc::c_int| words.get(at as usize).copied().unwrap_or_default();
        Ok(Memory {
            // The kernel doubles what is asked for, to pay for its bookkeeping (socket(7)).
            receive: word(libc::SK_MEMINFO_RCVBUF) as usize / 2,
            send: word(libc::SK_MEMINFO_SNDBUF) as usize / 2,
            waiting: word(libc::SK_MEMINFO_RMEM_ALLOC) as usize,
            drops: word(libc::SK_MEMINFO_DROPS),
        })
    }

    /// Datagrams that the kernel dropped because the receive buffer was full, since the socket was made; wraps at 2³².
    ///
    /// # Errors
    ///
    /// As [`Socket::memory`].
    pub fn drops(&self) -> io::Result<u32> {
        Ok(self.memory()?.drops)
    }

    fn outgoing<'a>(&self, answer: &Answer<'a>) -> Outgoing<'a> {
        let choice = answer.from.filter(|from| {
            self.local.ip().is_unspecified() && !from.is_unspecified() && from.is_ipv4() == self.local.is_ipv4()
        });
        Outgoing { bytes: answer.bytes, name: Name::new(answer.to), control: choice.map(Control::leave_from) }
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl AsRawFd for Socket {
    fn as_raw_fd(&self) -> RawFd {
        self.fd.as_raw_fd()
    }
}

impl From<Socket> for OwnedFd {
    fn from(socket: Socket) -> OwnedFd {
        socket.fd
    }
}

/// Sizes the buffers, past the system's limit if this process may (`CAP_NET_ADMIN`), else up to the limit. Has a
/// wildcard socket report the local address of each datagram.
fn prepare(socket: &BorrowedFd<'_>, ip: IpAddr, buffers: Buffers) -> io::Result<()> {
    grant(&SockRef::from(socket), buffers)?;
    // A wildcard socket alone needs the address that each datagram was sent to.
    match ip {
        IpAddr::V4(ip) if ip.is_unspecified() => setsockopt(socket, sockopt::Ipv4PacketInfo, &true)?,
        IpAddr::V6(ip) if ip.is_unspecified() => setsockopt(socket, sockopt::Ipv6RecvPacketInfo, &true)?,
        _ => {}
    }
    Ok(())
}

fn grant(socket: &socket2::Socket, buffers: Buffers) -> io::Result<()> {
    if options::set_socket_recv_buffer_size_force(socket, buffers.receive).is_err() {
        options::set_socket_recv_buffer_size(socket, buffers.receive)?;
    }
    if options::set_socket_send_buffer_size_force(socket, buffers.send).is_err() {
        options::set_socket_send_buffer_size(socket, buffers.send)?;
    }
    Ok(())
}

fn outcome(error: io::Error) -> io::Result<Delivery> {
    if error.kind() == io::ErrorKind::WouldBlock || matches!(error.raw_os_error(), Some(libc::ENOBUFS | libc::ENOMEM)) {
        return Ok(Delivery::Blocked);
    }
    undeliverable(&error).map(Delivery::Undeliverable).ok_or(error)
}

/// The errno of an error about a peer, a route or a firewall, not about the socket.
fn undeliverable(error: &io::Error) -> Option<i32> {
    let code = error.raw_os_error()?;
    let known = matches!(
        code,
        libc::ECONNREFUSED
            | libc::ECONNRESET
            | libc::EHOSTUNREACH
            | libc::EHOSTDOWN
            | libc::ENETUNREACH
            | libc::ENETDOWN
            | libc::ENONET
            | libc::ENOPROTOOPT
            | libc::EPROTO
            | libc::EOPNOTSUPP
            | libc::EACCES
            | libc::EPERM
            | libc::EINVAL
            | libc::EADDRNOTAVAIL
            | libc::EAFNOSUPPORT
            | libc::EMSGSIZE
            | libc::ENODEV
    );
    known.then_some(code)
}

/// Whether an error of a receive call is an ICMP message about an earlier datagram, or a signal.
fn tells_of_a_peer(error: &io::Error) -> bool {
    use io::ErrorKind::{
        ConnectionRefused, ConnectionReset, HostUnreachable, Interrupted, NetworkDown, NetworkUnreachable,
    };
    matches!(
        error.kind(),
        ConnectionRefused | ConnectionReset | HostUnreachable | Interrupted | NetworkDown | NetworkUnreachable
    )
}

/// Room for the datagrams of one receive call; reused by each call.
#[derive(Debug)]
pub struct Batch {
    buffers: Vec<u8>,
    size: usize,
    stride: usize,
    names: Vec<Name>,
    controls: Vec<Control>,
    received: Vec<Received>,
    filled: usize,
    local: SocketAddr,
}

/// A received datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Datagram<'a> {
    /// Its bytes.
    pub bytes: &'a [u8],
    /// Sender of the datagram.
    pub source: SocketAddr,
    /// The local address that it was sent to: an answer leaves from there.
    pub local: SocketAddr,
    /// Whether it was longer than its place.
    pub truncated: bool,
}

/// Three cache lines: equal distances of 64 KiB would put all first bytes into the same cache set.
const GAP: usize = 192;

impl Default for Batch {
    fn default() -> Self {
        Batch::new()
    }
}

impl Batch {
    /// 32 places of 64 KiB: any datagram fits. Memory is touched when it is first used.
    pub fn new() -> Self {
        Batch::sized(BATCH, 65_536)
    }

    /// `places` places (1 to 32) of `size` bytes.
    pub fn sized(places: usize, size: usize) -> Self {
        let places = places.clamp(1, BATCH);
        let stride = size.max(1).next_multiple_of(64) + GAP;
        Batch {
            buffers: vec![0; places * stride],
            size: size.max(1),
            stride,
            names: vec![Name::empty(); places],
            controls: vec![Control::empty(); places],
            received: vec![Received::default(); places],
            filled: 0,
            local: SocketAddr::from(([0, 0, 0, 0], 0)),
        }
    }

    /// Most datagrams that one call can bring.
    pub fn places(&self) -> usize {
        self.received.len()
    }

    /// The datagrams of the last call, in the order they came.
    pub fn iter(&self) -> impl Iterator<Item = Datagram<'_>> {
        (0..self.filled).filter_map(|place| self.get(place))
    }

    /// Time for which the datagram at `place` has waited in the socket, if the kernel kept its time of arrival.
    pub fn waited(&self, place: usize) -> Option<Duration> {
        let received = self.received[..self.filled].get(place)?;
        let stamp = self.controls[place].stamp(received.control_length)?;
        // A clock that was set back in between makes the wait shorter, down to zero.
        Some(clock::since_1970().saturating_sub(stamp))
    }

    /// The datagram at `place`. `None` after the last one, or for one without a usable source address.
    #[inline]
    pub fn get(&self, place: usize) -> Option<Datagram<'_>> {
        let received = self.received[..self.filled].get(place)?;
        let buffer = &self.buffers[place * self.stride..][..self.size];
        let source = self.names[place].address(received.name_length)?;
        let local = match self.controls[place].arrived_at(received.control_length) {
            Some((ip, interface)) => with_scope(SocketAddr::new(ip, self.local.port()), interface),
            None => self.local,
        };
        Some(Datagram {
            bytes: &buffer[..received.length.min(self.size)],
            source,
            local,
            truncated: received.truncated,
        })
    }
}

/// Adds the interface to a link-local IPv6 address, which means something only together with it.
fn with_scope(mut address: SocketAddr, interface: u32) -> SocketAddr {
    if let SocketAddr::V6(v6) = &mut address
        && v6.ip().is_unicast_link_local()
    {
        v6.set_scope_id(interface);
    }
    address
}

#[cfg(test)]
mod tests;
