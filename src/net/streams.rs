//! TCP connections that are accepted at our listeners or dialled for requests of ours: bytes to messages and back.
//!
//! Every connection is bounded: in the bytes it may send without completing a message, in the time a message may take
//! to come, in the bytes that may wait to leave, and in the time it may be silent. The number of connections is
//! bounded, in all and for each host; see [`Crowd`]. A connection that carries a call is closed neither to make room
//! nor for its silence.
//!
//! A peer that has closed its half of the connection still gets the answers to its requests.

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::mem::take;
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::os::fd::AsRawFd;
use std::time::Duration;

use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};

use crate::crowd::{Crowd, Room, Standing};
use crate::fingerprint::host;
use crate::net::tcp::{self, Listener};
use crate::seldom::Seldom;
use crate::slab::{Handle, Slab, handle};
use crate::time::Time;
use crate::transaction::LIFETIME;
use crate::wire::framing::{Framed, Framer};

/// Connections accepted from one listener before others have their turn.
const ACCEPTED: usize = 4;
/// Divisor of the connections: no host (an IPv4 address or an IPv6 /64) has more than this fraction of them.
const HOST_SHARE: usize = 8;
/// A connection without a call that has been silent for so long is closed.
const IDLE_LIMIT: Duration = Duration::from_secs(600);
/// A message that has begun must be there after this time: 64·T1, as long as its sender waits for an answer.
const MESSAGE_WITHIN: Duration = LIFETIME;
/// A peer that has ended its half, or whose messages cannot be told apart any more, gets the answers that leave within
/// this time. Later responses are dialled (RFC 3261 §18.2.2).
const ENDED_FOR: Duration = Duration::from_secs(2);
/// When no descriptor was left for a connection, it is accepted after this time.
const ACCEPT_AGAIN: Duration = Duration::from_secs(1);
/// A buffer that is larger is not kept for the next message.
const BUFFER_KEPT: usize = 4 << 10;
/// Connections are looked at this often.
const LOOK_EVERY: Duration = Duration::from_secs(10);
/// Bytes that may wait for one connection to take them.
const OUTGOING_LIMIT: usize = 256 << 10;
/// While so many bytes wait for a connection to take them, nothing more is read from it: a peer that does not read its
/// answers gets no more of them.
const OUTGOING_PAUSE: usize = 64 << 10;
/// Bytes read from a connection before others have their turn: some dozens of small messages.
const READ: usize = 16 << 10;

handle! {
    /// A connection.
    struct ConnKey;
}

/// The first tokens by which the poll names listeners and connections.
#[derive(Clone, Copy, Debug)]
pub struct Tokens {
    /// Each listener has this plus its number.
    pub listeners: usize,
    /// Each connection has this plus its index in the slab.
    pub connections: usize,
}

/// All connections of a process.
pub struct Streams {
    registry: Registry,
    listeners: Vec<Listener>,
    tokens: Tokens,
    connections: Slab<ConnKey, Connection>,
    crowd: Crowd,
    /// Connections whose peer has ended its half, in the order of their closing.
    ended: VecDeque<(Time, ConnKey)>,
    /// Destinations of our own connections that came to nothing.
    failed: Vec<SocketAddr>,
    looked: Option<Time>,
    /// The time to accept again the connections that no descriptor was left for: the poll tells an edge only once.
    accept_at: Option<Time>,
    unaccepted: Seldom,
    buffer: Vec<u8>,
}

struct Connection {
    stream: TcpStream,
    remote: SocketAddr,
    local: SocketAddr,
    /// Bytes that are no whole message yet.
    incoming: Vec<u8>,
    framer: Framer,
    /// Number of incoming bytes from which the framer looks again.
    enough: usize,
    outgoing: Vec<u8>,
    heard: Time,
    /// The time at which an unfinished message began.
    begun: Option<Time>,
    /// Whether nothing more is read: the peer has ended its half, or sent bytes that are no message.
    ended: bool,
    /// Whether a message has come on it.
    served: bool,
    /// Whether we have opened it.
    dialled: bool,
}

impl Connection {
    /// Its remote address, if we have opened it and it breaks or ends now before a message has come.
    fn came_to_nothing(&self) -> Option<SocketAddr> {
        (self.dialled && !self.served && !self.ended).then_some(self.remote)
    }
}

impl Streams {
    /// At most `limit` connections, accepted from `listeners`.
    ///
    /// # Errors
    ///
    /// The poll does not watch a listener.
    pub fn new(registry: &Registry, listeners: Vec<Listener>, tokens: Tokens, limit: usize) -> io::Result<Self> {
        for (number, listener) in listeners.iter().enumerate() {
            let token = Token(tokens.listeners + number);
            registry.register(&mut SourceFd(&listener.as_raw_fd()), token, Interest::READABLE)?;
        }
        Ok(Streams {
            registry: registry.try_clone()?,
            listeners,
            tokens,
            connections: Slab::new(limit),
            crowd: Crowd::new(limit, limit / HOST_SHARE),
            ended: VecDeque::new(),
            failed: Vec::new(),
            looked: None,
            accept_at: None,
            unaccepted: Seldom::default(),
            buffer: vec![0; READ],
        })
    }

    /// The listeners that accept connections.
    pub fn listeners(&self) -> &[Listener] {
        &self.listeners
    }

    /// Writes the bytes that wait for a connection, and reads from it once; `sink` gets each message, the connection's
    /// number, its remote and its local address. True when there may be more to read.
    pub fn on_ready(
        &mut self,
        token: Token,
        now: Time,
        sink: &mut impl FnMut(&[u8], u64, SocketAddr, SocketAddr),
    ) -> bool {
        let Some(key) = self.key_of(token) else { return false };
        self.write(key, b"");
        let Some(connection) = self.connections.get_mut(key) else { return false };
        // While much waits to be sent, the poll says when it takes more.
        if connection.outgoing.len() >= OUTGOING_PAUSE || connection.ended {
            return false;
        }
        let read = match connection.stream.read(&mut self.buffer) {
            Ok(0) => return self.end(key, now),
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return false,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return true,
            Err(_) => return self.fail(key),
        };
        connection.heard = now;
        connection.begun.get_or_insert(now);
        connection.incoming.extend_from_slice(self.buffer.get(..read).unwrap_or_default());
        if connection.incoming.len() < connection.enough {
            return true;
        }
        let (remote, local) = (connection.remote, connection.local);
        let (mut at, mut pongs) = (0, Vec::new());
        let fault = loop {
            let rest = connection.incoming.get(at..).unwrap_or_default();
            match connection.framer.next(rest) {
                Framed::Message(length) => {
                    sink(rest.get(..length).unwrap_or_default(), number_of(key), remote, local);
                    connection.served = true;
                    at += length;
                }
                Framed::Ping(length) => {
                    // RFC 5626 §4.4.1.
                    pongs.extend_from_slice(b"\r\n");
                    at += length;
                }
                Framed::Blank(length) => at += length,
                Framed::NeedMore { at_least } => {
                    connection.enough = at_least;
                    break None;
                }
                Framed::Faulty(_, fault) | Framed::Close(fault) => break Some(fault),
            }
        };
        connection.incoming.drain(..at);
        if connection.incoming.is_empty() {
            connection.begun = None;
            connection.incoming.shrink_to(BUFFER_KEPT);
        } else if at > 0 {
            connection.begun = Some(now);
        }
        if let Some(fault) = fault {
            tracing::debug!(%remote, fault = fault.label(), "a connection is closed: where its messages end cannot be found");
            // Requests that came before the fault are answered first.
            return if connection.served { self.end(key, now) } else { self.close(key) };
        }
        self.write(key, &pongs);
        true
    }

    /// Whether this is the token of a listener.
    pub fn is_listener(&self, token: Token) -> bool {
        token.0.checked_sub(self.tokens.listeners).is_some_and(|number| number < self.listeners.len())
    }

    /// Accepts connections at the listener of this token, those from unwanted addresses only to close them. True when
    /// more may wait.
    pub fn accept(
        &mut self,
        token: Token,
        now: Time,
        carries_call: impl Fn(u64) -> bool,
        is_unwanted: impl Fn(IpAddr) -> bool,
    ) -> bool {
        let Some(number) = token.0.checked_sub(self.tokens.listeners) else { return false };
        for _ in 0..ACCEPTED {
            let (stream, remote) = match self.listeners.get(number).map(Listener::accept) {
                Some(Ok(Some(accepted))) => accepted,
                Some(Ok(None)) | None => return false,
                Some(Err(error)) => {
                    if let Some(times) = self.unaccepted.comes_up(now) {
                        tracing::warn!(%error, times, "cannot accept a connection");
                    }
                    self.accept_at = Some(now + ACCEPT_AGAIN);
                    return false;
                }
            };
            if is_unwanted(remote.ip()) {
                continue;
            }
            if let Err(error) = self.insert(stream, remote, now, &carries_call) {
                tracing::debug!(%error, "a connection could not be taken");
            }
        }
        true
    }

    /// Closes the connections with these remote addresses.
    pub fn close_where(&mut self, is_unwanted: impl Fn(IpAddr) -> bool) {
        let is_unwanted = |key: &ConnKey| self.connections.get(*key).is_some_and(|it| is_unwanted(it.remote.ip()));
        let unwanted: Vec<ConnKey> = self.connections.keys().filter(is_unwanted).collect();
        unwanted.into_iter().for_each(|key| {
            self.close(key);
        });
    }

    /// Sends on connection `conn` or, when it is gone, on one to `to`. A request is not sent to a peer that has ended
    /// its half: it answers nothing any more, and has closed the other half as well, most likely.
    pub fn send(&mut self, conn: u64, to: SocketAddr, bytes: &[u8], now: Time, carries_call: impl Fn(u64) -> bool) {
        let key = numbered(conn);
        let is_response = bytes.starts_with(b"SIP/2.0 ");
        match self.connections.get(key) {
            Some(connection) if is_response || !connection.ended => self.write(key, bytes),
            _ => self.dial(to, bytes, now, carries_call),
        }
    }

    /// Sends on a connection to `to`, which is opened when there is none.
    pub fn dial(&mut self, to: SocketAddr, bytes: &[u8], now: Time, carries_call: impl Fn(u64) -> bool) {
        let usable = |it: &Connection| it.remote == to && !it.ended;
        let open = self.connections.keys().find(|key| self.connections.get(*key).is_some_and(usable));
        let key = match open {
            Some(key) => key,
            None => match tcp::connect(to).and_then(|stream| self.insert(stream, to, now, &carries_call)) {
                Ok(key) => {
                    self.connections.get_mut(key).into_iter().for_each(|connection| connection.dialled = true);
                    key
                }
                Err(error) => {
                    tracing::debug!(%error, %to, "cannot connect");
                    self.failed.push(to);
                    return;
                }
            },
        };
        self.write(key, bytes);
    }

    /// Takes the addresses that connections of ours could not be opened to, or that ended such connections before
    /// anything came.
    pub fn take_failed(&mut self) -> Vec<SocketAddr> {
        take(&mut self.failed)
    }

    /// Whether connection `conn` takes requests.
    pub fn takes_requests(&self, conn: u64) -> bool {
        self.connections.get(numbered(conn)).is_some_and(|connection| !connection.ended)
    }

    /// Closes connections that have been silent for too long, that take too long for a message, or that have ended.
    /// `ready` gets the listeners from which connections should be accepted again.
    pub fn handle_timeout(&mut self, now: Time, carries_call: impl Fn(u64) -> bool, mut ready: impl FnMut(Token)) {
        while let Some((_, key)) = self.ended.pop_front_if(|(at, _)| *at <= now) {
            self.close(key);
        }
        if self.accept_at.take_if(|at| *at <= now).is_some() {
            (0..self.listeners.len()).for_each(|number| ready(Token(self.tokens.listeners + number)));
        }
        if self.next_look().is_none_or(|due| now < due) {
            return;
        }
        self.looked = Some(now);
        let given_up = |key: &ConnKey| {
            self.connections.get(*key).is_some_and(|it| {
                now.since(it.heard) >= IDLE_LIMIT && !carries_call(number_of(*key))
                    || it.begun.is_some_and(|begun| now.since(begun) >= MESSAGE_WITHIN)
            })
        };
        let given_up: Vec<ConnKey> = self.connections.keys().filter(given_up).collect();
        given_up.into_iter().for_each(|key| {
            self.close(key);
        });
    }

    /// When [`Streams::handle_timeout`] is due.
    pub fn poll_timeout(&self) -> Option<Time> {
        let ended = self.ended.front().map(|(at, _)| *at);
        [self.next_look(), ended, self.accept_at].into_iter().flatten().min()
    }

    fn next_look(&self) -> Option<Time> {
        (!self.connections.is_empty()).then(|| self.looked.map_or(Time(0), |looked| looked + LOOK_EVERY))
    }

    fn insert(
        &mut self,
        stream: TcpStream,
        remote: SocketAddr,
        now: Time,
        carries_call: impl Fn(u64) -> bool,
    ) -> io::Result<ConnKey> {
        let local = stream.local_addr()?;
        let standing = self.connections.keys().filter_map(|key| {
            let Connection { remote, heard, .. } = self.connections.get(key)?;
            let in_use = carries_call(number_of(key));
            Some(Standing { key, source: host(remote.ip()), heard: *heard, in_use })
        });
        match self.crowd.room(host(remote.ip()), standing) {
            Room::Free => {}
            Room::InPlaceOf(key) => {
                self.close(key);
            }
            Room::None => return Err(io::Error::other("all connections that could make room carry calls")),
        }
        let fd = stream.as_raw_fd();
        let connection = Connection {
            stream,
            remote,
            local,
            incoming: Vec::new(),
            framer: Framer::default(),
            enough: 1,
            outgoing: Vec::new(),
            heard: now,
            begun: None,
            ended: false,
            served: false,
            dialled: false,
        };
        let key = self.connections.insert(connection).ok_or(io::ErrorKind::OutOfMemory)?;
        self.crowd.add(host(remote.ip()));
        let token = Token(self.tokens.connections + key.index() as usize);
        if let Err(error) = self.registry.register(&mut SourceFd(&fd), token, Interest::READABLE | Interest::WRITABLE) {
            // The poll does not watch it, so that it would never be read.
            self.close(key);
            return Err(error);
        }
        Ok(key)
    }

    /// Writes pending bytes and then `bytes`; those that the connection does not take wait.
    fn write(&mut self, key: ConnKey, bytes: &[u8]) {
        let Some(connection) = self.connections.get_mut(key) else { return };
        if connection.outgoing.len() + bytes.len() > OUTGOING_LIMIT {
            tracing::debug!(remote = %connection.remote, "a connection is closed: its peer reads nothing");
            self.close(key);
            return;
        }
        connection.outgoing.extend_from_slice(bytes);
        while !connection.outgoing.is_empty() {
            match connection.stream.write(&connection.outgoing) {
                Ok(written) => {
                    connection.outgoing.drain(..written);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // `NotConnected`: it is still being opened.
                Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::NotConnected) => return,
                Err(_) => {
                    self.fail(key);
                    return;
                }
            }
        }
    }

    fn key_of(&self, token: Token) -> Option<ConnKey> {
        let index = u32::try_from(token.0.checked_sub(self.tokens.connections)?).ok()?;
        self.connections.at(index).map(|(key, _)| key)
    }

    /// Reads nothing more, and closes when the answers under way have had time to leave.
    fn end(&mut self, key: ConnKey, now: Time) -> bool {
        if let Some(connection) = self.connections.get_mut(key).filter(|connection| !connection.ended) {
            self.failed.extend(connection.came_to_nothing());
            connection.ended = true;
            (connection.incoming, connection.begun) = (Vec::new(), None);
            self.ended.push_back((now + ENDED_FOR, key));
        }
        false
    }

    /// A connection breaks. A connection of ours on which nothing has come yet most likely was never open.
    fn fail(&mut self, key: ConnKey) -> bool {
        self.failed.extend(self.connections.get(key).and_then(Connection::came_to_nothing));
        self.close(key)
    }

    /// Closing the descriptor takes it out of the poll.
    fn close(&mut self, key: ConnKey) -> bool {
        if let Some(connection) = self.connections.remove(key) {
            self.crowd.remove(host(connection.remote.ip()));
        }
        false
    }
}

/// The connection of a number that the user agent has.
fn numbered(conn: u64) -> ConnKey {
    ConnKey::new(conn as u32, (conn >> 32) as u32)
}

/// A connection's number for the user agent.
fn number_of(key: ConnKey) -> u64 {
    u64::from(key.index()) | u64::from(key.generation()) << 32
}

#[cfg(test)]
mod tests;
