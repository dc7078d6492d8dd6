//! Stream connections of a worker: those that are accepted at its listeners, and those that it dials for requests of
//! its own.
//!
//! [`Conns`] reads and writes them, and bounds each in bytes and time. Here the number of connections is bounded, in
//! all and for each host; see [`Crowd`]. A connection that carries a call is closed neither to make room nor for its
//! silence.

use std::io;
use std::mem::take;
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::time::Duration;

use mio::event::Event;
use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};
use rustls::ServerConfig;

use crate::crowd::{Crowd, Room, Standing};
use crate::fingerprint::host;
use crate::ids::ListenerId;
use crate::net::conns::{CloseReason, Closed, ConnKey, Conns, Ends, Moved, Origin};
use crate::net::tcp::{self, Listener};
use crate::seldom::Seldom;
use crate::stream::{Fault, Kind, Limits, Received, Stream};
use crate::time::Time;

/// Connections accepted from one listener before others have their turn.
const ACCEPTED: usize = 4;
/// Divisor of the connections: no host (an IPv4 address or an IPv6 /64) has more than this fraction of them.
const HOST_SHARE: usize = 8;
/// When no descriptor was left for a connection, it is accepted after this time.
const ACCEPT_AGAIN: Duration = Duration::from_secs(1);

/// The first tokens by which the poll names listeners and connections.
#[derive(Clone, Copy, Debug)]
pub struct Tokens {
    /// Each listener has this plus its number.
    pub listeners: usize,
    /// Each connection has this plus its place.
    pub connections: usize,
}

/// All connections of a process.
pub struct Streams {
    conns: Conns,
    listeners: Vec<Listener>,
    tokens: Tokens,
    crowd: Crowd,
    /// Protocol of the connections that are accepted.
    accepted: Kind,
    /// Destinations of our own connections that came to nothing.
    failed: Vec<SocketAddr>,
    /// The time to accept again the connections that no descriptor was left for: the poll tells an edge only once.
    accept_at: Option<Time>,
    unaccepted: Seldom,
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
            conns: Conns::new(Arc::new(registry.try_clone()?), tokens.connections, limit),
            listeners,
            tokens,
            crowd: Crowd::new(limit, limit / HOST_SHARE),
            accepted: Kind::Plain,
            failed: Vec::new(),
            accept_at: None,
            unaccepted: Seldom::default(),
        })
    }

    /// Connections that are accepted from now on may speak TLS with these certificates; `None`: they may not.
    pub fn set_tls(&mut self, config: Option<Arc<ServerConfig>>) {
        self.accepted = config.map_or(Kind::Plain, Kind::Sniffed);
    }

    /// The listeners that accept connections.
    pub fn listeners(&self) -> &[Listener] {
        &self.listeners
    }

    /// The poll has an event of a connection.
    pub fn on_event(&mut self, event: &Event) {
        self.conns.on_event(event);
    }

    /// Whether a connection may have more to read.
    pub fn has_readable(&self) -> bool {
        self.conns.has_readable()
    }

    /// Reads from the connections in turn, from no further one once `has_time` says no; `sink` gets what has come.
    pub fn read(&mut self, now: Time, has_time: impl Fn() -> bool, sink: &mut impl FnMut(Origin<'_>, Received<'_>)) {
        self.conns.read_while(now, has_time, sink);
        self.settle();
    }

    /// Writes what is queued, once for each connection.
    pub fn flush(&mut self) {
        self.conns.flush();
        self.settle();
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
            let (socket, remote) = match self.listeners.get(number).map(Listener::accept) {
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
            tcp::acknowledge_late(&socket);
            let taken = socket.local_addr().and_then(|local| {
                let ends = Ends { remote, local, listener: Some(ListenerId(number as u16)) };
                self.insert(socket, self.accepted.clone(), ends, now, &carries_call)
            });
            if let Err(error) = taken {
                tracing::debug!(%error, "a connection could not be taken");
            }
        }
        true
    }

    /// Closes the connections with these remote addresses.
    pub fn close_where(&mut self, is_unwanted: impl Fn(IpAddr) -> bool) {
        self.conns.close_where(CloseReason::Denied, |ends| is_unwanted(ends.remote.ip()));
        self.settle();
    }

    /// Sends on connection `conn` only, which speaks TLS: nothing of its call may leave in the clear. A request that
    /// cannot leave counts as one to `to` that has failed.
    pub fn send_secure(&mut self, conn: u64, to: SocketAddr, bytes: &[u8]) {
        let is_response = bytes.starts_with(b"SIP/2.0 ");
        let usable = |key: &ConnKey| is_response || self.conns.takes_requests(*key);
        match self.conns.numbered(conn).filter(usable) {
            Some(key) => self.queue(key, bytes),
            None => self.failed.push(to),
        }
    }

    /// Sends on connection `conn` or, when it is gone, on one to `to`. A request is not sent to a peer that has ended
    /// its half: it answers nothing any more, and has closed the other half as well, most likely.
    pub fn send(&mut self, conn: u64, to: SocketAddr, bytes: &[u8], now: Time, carries_call: impl Fn(u64) -> bool) {
        let is_response = bytes.starts_with(b"SIP/2.0 ");
        let usable = |key: &ConnKey| is_response || self.conns.takes_requests(*key);
        match self.conns.numbered(conn).filter(usable) {
            Some(key) => self.queue(key, bytes),
            None => self.dial(to, bytes, now, carries_call),
        }
    }

    /// Sends on a connection to `to`, which is opened when there is none.
    pub fn dial(&mut self, to: SocketAddr, bytes: &[u8], now: Time, carries_call: impl Fn(u64) -> bool) {
        let open = match self.conns.to(to) {
            Some(key) => Ok(key),
            None => self.open(to, now, carries_call),
        };
        match open {
            Ok(key) => self.queue(key, bytes),
            Err(error) => {
                tracing::debug!(%error, %to, "cannot connect");
                self.failed.push(to);
            }
        }
    }

    /// Takes the addresses that connections of ours could not be opened to, or that ended such connections before
    /// anything came.
    pub fn take_failed(&mut self) -> Vec<SocketAddr> {
        take(&mut self.failed)
    }

    /// Whether connection `conn` takes requests.
    pub fn takes_requests(&self, conn: u64) -> bool {
        self.conns.numbered(conn).is_some_and(|key| self.conns.takes_requests(key))
    }

    /// Closes the connections whose time is over. `ready` gets the listeners from which connections should be accepted
    /// again.
    pub fn handle_timeout(&mut self, now: Time, carries_call: impl Fn(u64) -> bool, mut ready: impl FnMut(Token)) {
        if self.accept_at.take_if(|at| *at <= now).is_some() {
            (0..self.listeners.len()).for_each(|number| ready(Token(self.tokens.listeners + number)));
        }
        self.conns.handle_timeout(now, |key| carries_call(key.number()));
        self.settle();
    }

    /// When [`Streams::handle_timeout`] is due.
    pub fn poll_timeout(&self) -> Option<Time> {
        self.conns.poll_timeout().into_iter().chain(self.accept_at).min()
    }

    /// Begins a connection to `to`.
    fn open(&mut self, to: SocketAddr, now: Time, carries_call: impl Fn(u64) -> bool) -> io::Result<ConnKey> {
        let socket = tcp::connect(to)?;
        let ends = Ends { remote: to, local: socket.local_addr()?, listener: None };
        self.insert(socket, Kind::Plain, ends, now, carries_call)
    }

    fn insert(
        &mut self,
        socket: TcpStream,
        kind: Kind,
        ends: Ends,
        now: Time,
        carries_call: impl Fn(u64) -> bool,
    ) -> io::Result<ConnKey> {
        let source = host(ends.remote.ip());
        let conns = &self.conns;
        let standing = conns.keys().filter_map(|key| {
            let (ends, heard) = conns.ends(key).zip(conns.heard(key))?;
            Some(Standing { key, source: host(ends.remote.ip()), heard, in_use: carries_call(key.number()) })
        });
        match self.crowd.room(source, standing) {
            Room::Free => {}
            Room::InPlaceOf(key) => {
                self.conns.close(key, CloseReason::MadeRoom);
                self.settle();
            }
            Room::None => return Err(io::Error::other("all connections that could make room carry calls")),
        }
        let stream = Stream::new(kind, Limits::default(), now);
        let key = self.conns.insert(Moved { socket, stream, outgoing: Vec::new(), ends }, now)?;
        self.crowd.add(source);
        Ok(key)
    }

    fn queue(&mut self, key: ConnKey, bytes: &[u8]) {
        self.conns.send(key, bytes);
        self.settle();
    }

    /// Forgets the connections that are no more.
    fn settle(&mut self) {
        while let Some(closed) = self.conns.poll_closed() {
            let Closed { ends: Ends { remote, .. }, reason, .. } = closed;
            tracing::debug!(%remote, reason = reason.label(), "a connection is closed");
            self.crowd.remove(host(remote.ip()));
            self.failed.extend(came_to_nothing(&closed).then_some(remote));
        }
        // Nothing waits for the end of handshakes.
        while self.conns.poll_opened().is_some() {}
    }
}

/// Whether a connection of ours has ended before anything could come on it.
fn came_to_nothing(closed: &Closed) -> bool {
    let is_ours = closed.ends.listener.is_none();
    let never_spoke = [Fault::Silent, Fault::SlowHandshake].map(CloseReason::Fault);
    match closed.reason {
        CloseReason::Unreachable => true,
        // Its certificate is not that of the name which was called, or it knows nothing that we know.
        CloseReason::Fault(Fault::Tls(_)) => is_ours,
        reason => is_ours && never_spoke.contains(&reason),
    }
}

#[cfg(test)]
mod tests;
