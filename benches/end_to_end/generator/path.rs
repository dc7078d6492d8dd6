//! The caller's way to the front and to the workers: one UDP socket, or TCP connections.

use std::io::{self, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::time::Duration;

use pointsman::wire::framing::{self, Framed};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::RecvFlags;

use super::Plan;

/// Bytes of one read.
const READ: usize = 65_536;

/// The way of messages from and to the caller.
pub enum Path {
    /// One socket, to and from everybody.
    Udp(UdpSocket),
    /// Connections that carry many calls each.
    Tcp(Lines),
}

/// Connections to the front, and one to each worker that a call leads to.
pub struct Lines {
    target: SocketAddr,
    lines: Vec<Line>,
    /// The first lines go to the front; a call keeps to one of them.
    to_front: usize,
}

struct Line {
    to: SocketAddr,
    socket: TcpStream,
    /// Bytes of a message that is not whole yet.
    pending: Vec<u8>,
}

impl Path {
    /// The way that the plan asks for.
    pub fn open(plan: &Plan) -> io::Result<Self> {
        if plan.connections > 0 {
            let line = |_| Line::open(plan.target);
            let lines = (0..plan.connections).map(line).collect::<io::Result<_>>()?;
            return Ok(Path::Tcp(Lines { target: plan.target, lines, to_front: plan.connections }));
        }
        let socket = UdpSocket::bind(SocketAddr::new(plan.local, 0))?;
        socket.set_nonblocking(true)?;
        let options = socket2::SockRef::from(&socket);
        options.set_recv_buffer_size(8 << 20)?;
        options.set_send_buffer_size(4 << 20)?;
        Ok(Path::Udp(socket))
    }

    /// The caller's own address.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        match self {
            Path::Udp(socket) => socket.local_addr(),
            Path::Tcp(lines) => lines.lines.first().map_or(Err(io::ErrorKind::NotConnected.into()), Line::local_addr),
        }
    }

    /// The name of the transport in Via.
    pub const fn transport(&self) -> &'static str {
        match self {
            Path::Udp(_) => "UDP",
            Path::Tcp(_) => "TCP",
        }
    }

    /// Whether nothing is lost on it: nothing is sent again then (RFC 3261 §17.1.1.2).
    pub const fn is_reliable(&self) -> bool {
        matches!(self, Path::Tcp(_))
    }

    /// Sends a message of the call in this slot.
    pub fn send(&mut self, slot: u32, message: &[u8], to: SocketAddr) -> io::Result<()> {
        match self {
            Path::Udp(socket) => socket.send_to(message, to).map(drop),
            Path::Tcp(lines) => lines.to(slot, to)?.socket.write_all(message),
        }
    }

    /// Waits until something can be read, at most so long.
    pub fn wait(&self, within: Duration) {
        let timeout = Timespec { tv_sec: 0, tv_nsec: i64::from(within.subsec_nanos()) };
        let mut fds: Vec<PollFd<'_>> = match self {
            Path::Udp(socket) => vec![PollFd::new(socket, PollFlags::IN)],
            Path::Tcp(lines) => lines.lines.iter().map(|line| PollFd::new(&line.socket, PollFlags::IN)).collect(),
        };
        // An interrupted wait is a short wait.
        let _ = poll(&mut fds, Some(&timeout));
    }
}

impl Lines {
    fn to(&mut self, slot: u32, to: SocketAddr) -> io::Result<&mut Line> {
        let known = if to == self.target {
            Some(slot as usize % self.to_front)
        } else {
            self.lines.iter().position(|line| line.to == to)
        };
        let at = match known {
            Some(at) => at,
            None => {
                self.lines.push(Line::open(to)?);
                self.lines.len() - 1
            }
        };
        Ok(&mut self.lines[at])
    }

    /// The messages that are there, each with the address that it comes from.
    pub fn read(&mut self) -> Vec<(Vec<u8>, SocketAddr)> {
        let mut fds: Vec<PollFd<'_>> = self.lines.iter().map(|line| PollFd::new(&line.socket, PollFlags::IN)).collect();
        let _ = poll(&mut fds, Some(&Timespec::default()));
        let readable: Vec<bool> = fds.iter().map(|fd| !fd.revents().is_empty()).collect();
        let mut messages = Vec::new();
        for (line, _) in self.lines.iter_mut().zip(readable).filter(|(_, is_readable)| *is_readable) {
            line.read(&mut messages);
        }
        messages
    }
}

impl Line {
    fn open(to: SocketAddr) -> io::Result<Self> {
        let socket = TcpStream::connect(to)?;
        socket.set_nodelay(true)?;
        Ok(Line { to, socket, pending: Vec::new() })
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    fn read(&mut self, messages: &mut Vec<(Vec<u8>, SocketAddr)>) {
        let mut buffer = [0; READ];
        let Ok((count, _)) = rustix::net::recv(&self.socket, &mut buffer, RecvFlags::DONTWAIT) else { return };
        assert!(count > 0, "{} has closed a connection", self.to);
        self.pending.extend_from_slice(&buffer[..count]);
        let mut taken = 0;
        loop {
            match framing::next(&self.pending[taken..]) {
                Framed::Message(length) => {
                    messages.push((self.pending[taken..taken + length].to_vec(), self.to));
                    taken += length;
                }
                Framed::Ping(length) | Framed::Blank(length) => taken += length,
                Framed::NeedMore { .. } => break,
                framed @ (Framed::Faulty(..) | Framed::Close(_)) => panic!("{} sent no SIP: {framed:?}", self.to),
            }
        }
        self.pending.drain(..taken);
    }
}
