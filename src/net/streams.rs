//! Stream connections of a worker: those that are accepted at its listeners, and those that it dials for requests of
//! its own.
//!
//! [`Conns`] reads and writes them, and bounds each in bytes and time. Here the number of connections is bounded, in
//! all and for each host; see [`Crowd`]. A connection that carries a call is closed neither to make room nor for its
//! silence.

use std::collections::HashMap;
use std::io;
use std::mem::take;
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::time::Duration;

use mio::event::Event;
use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ServerConfig};

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

/// The far end of a connection that we open.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Remote {
    /// Its address.
    pub to: SocketAddr,
    /// The name, or address, that it has to show a certificate for; `None`: it is spoken to over TCP.
    pub name: Option<Arc<str>>,
}

/// Connections that are gone, and the messages that went with them.
#[derive(Debug, Default)]
pub struct Lost {
    /// The far ends of our own connections that could not be opened, or are closed.
    pub unreached: Vec<Remote>,
    /// The numbers of connections to our ports.
    pub closed: Vec<u64>,
    /// Messages that could not leave on connections with these numbers.
    pub unsent: Vec<(u64, Arc<[u8]>)>,
}

/// All connections of a process.
pub struct Streams {
    conns: Conns,
    listeners: Vec<Listener>,
    tokens: Tokens,
    crowd: Crowd,
    /// Protocol of the connections that are accepted.
    accepted: Kind,
    /// For the connections over TLS that we open.
    caller: Option<Arc<ClientConfig>>,
    /// The connections over TLS that we have opened.
    secure: HashMap<Remote, ConnKey>,
    lost: Lost,
    /// Messages that have been queued since the last flush, by the number of their connection.
    written: Vec<(u64, Arc<[u8]>)>,
    /// The time to accept again the connections that no descriptor was left for: the poll tells an edge only once.
    accept_at: Option<Time>,
    unaccepted: Seldom,
    refused: Seldom,
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
            caller: None,
            secure: HashMap::new(),
            lost: Lost::default(),
            written: Vec::new(),
            accept_at: None,
            unaccepted: Seldom::default(),
            refused: Seldom::default(),
        })
    }

    /// Connections that are accepted from now on may speak TLS as `called` says, and those that we open as `caller`
    /// says; `None`: they may not.
    pub fn set_tls(&mut self, called: Option<Arc<ServerConfig>>, caller: Option<Arc<ClientConfig>>) {
        self.accepted = called.map_or(Kind::Plain, Kind::Sniffed);
        self.caller = caller;
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
        self.settle(now);
    }

    /// Writes what is queued, once for each connection.
    pub fn flush(&mut self, now: Time) {
        self.conns.flush();
        self.settle(now);
        self.written.clear();
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
    pub fn close_where(&mut self, now: Time, is_unwanted: impl Fn(IpAddr) -> bool) {
        self.conns.close_where(CloseReason::Denied, |ends| is_unwanted(ends.remote.ip()));
        self.settle(now);
    }

    /// Sends on connection `conn`. A request is not sent to a peer that has ended its half: it answers nothing any
    /// more, and has closed the other half as well, most likely.
    pub fn send(&mut self, conn: u64, bytes: &Arc<[u8]>, now: Time) {
        let is_response = bytes.starts_with(b"SIP/2.0 ");
        let usable = |key: &ConnKey| is_response || self.conns.takes_requests(*key);
        match self.conns.numbered(conn).filter(usable) {
            Some(key) => self.queue(key, bytes, now),
            None => self.lost.unsent.push((conn, Arc::clone(bytes))),
        }
    }

    /// Sends on a connection to `remote`, which is opened when there is none.
    pub fn dial(&mut self, remote: Remote, bytes: &Arc<[u8]>, now: Time, carries_call: impl Fn(u64) -> bool) {
        let open = match self.to(&remote) {
            Some(key) => Ok(key),
            None => self.open(&remote, now, carries_call),
        };
        match open {
            Ok(key) => self.queue(key, bytes, now),
            Err(error) => {
                tracing::debug!(%error, to = %remote.to, name = remote.name.as_deref(), "cannot connect");
                self.lost.unreached.push(remote);
            }
        }
    }

    /// Takes what is gone since the last call.
    pub fn take_lost(&mut self) -> Lost {
        let mut lost = take(&mut self.lost);
        // Where another connection has been opened since, what waits may wait for that one.
        lost.unreached.retain(|remote| self.to(remote).is_none());
        lost
    }

    /// Closes the connections whose time is over. `ready` gets the listeners from which connections should be accepted
    /// again.
    pub fn handle_timeout(&mut self, now: Time, carries_call: impl Fn(u64) -> bool, mut ready: impl FnMut(Token)) {
        if self.accept_at.take_if(|at| *at <= now).is_some() {
            (0..self.listeners.len()).for_each(|number| ready(Token(self.tokens.listeners + number)));
        }
        self.conns.handle_timeout(now, |key| carries_call(key.number()));
        self.settle(now);
    }

    /// When [`Streams::handle_timeout`] is due.
    pub fn poll_timeout(&self) -> Option<Time> {
        self.conns.poll_timeout().into_iter().chain(self.accept_at).min()
    }

    /// The connection to `remote` that takes requests. Over TLS it is one that we have opened to that name: nobody has
    /// proved to be it on another one.
    fn to(&self, remote: &Remote) -> Option<ConnKey> {
        let key = if remote.name.is_none() { self.conns.to(remote.to) } else { self.secure.get(remote).copied() };
        key.filter(|key| self.conns.takes_requests(*key))
    }

    /// Begins a connection to `remote`.
    fn open(&mut self, remote: &Remote, now: Time, carries_call: impl Fn(u64) -> bool) -> io::Result<ConnKey> {
        let kind = match &remote.name {
            None => Kind::Plain,
            Some(name) => {
                let config =
                    self.caller.clone().ok_or_else(|| io::Error::other("without certificates there is no TLS"))?;
                Kind::TlsClient(config, ServerName::try_from(name.to_string()).map_err(io::Error::other)?)
            }
        };
        let socket = tcp::connect(remote.to)?;
        let ends = Ends { remote: remote.to, local: socket.local_addr()?, listener: None };
        let key = self.insert(socket, kind, ends, now, carries_call)?;
        if remote.name.is_some() {
            self.secure.insert(remote.clone(), key);
        }
        Ok(key)
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
                self.settle(now);
            }
            Room::None => return Err(io::Error::other("all connections that could make room carry calls")),
        }
        let stream = Stream::new(kind, Limits::default(), now);
        let key = self.conns.insert(Moved { socket, stream, outgoing: Vec::new(), ends }, now)?;
        self.crowd.add(source);
        Ok(key)
    }

    fn queue(&mut self, key: ConnKey, bytes: &Arc<[u8]>, now: Time) {
        self.written.push((key.number(), Arc::clone(bytes)));
        self.conns.send(key, bytes);
        self.settle(now);
    }

    /// Forgets the connections that are no more.
    fn settle(&mut self, now: Time) {
        while let Some(Closed { key, ends, reason, .. }) = self.conns.poll_closed() {
            let (to, number) = (ends.remote, key.number());
            self.crowd.remove(host(to.ip()));
            if ends.listener.is_some() {
                tracing::debug!(remote = %to, reason = reason.label(), "a connection is closed");
                self.lost.closed.push(number);
                self.lost.unsent.extend(self.written.extract_if(.., |(conn, _)| *conn == number));
                continue;
            }
            let secure = self.secure.extract_if(|_, it| *it == key).next().map(|(remote, _)| remote);
            let remote = secure.unwrap_or(Remote { to, name: None });
            let (name, label) = (remote.name.as_deref(), reason.label());
            match reason {
                // Another host may stand there, or the certificates of one of us are no good: the operator has to know.
                CloseReason::Fault(Fault::Tls(_)) => {
                    if let Some(times) = self.refused.comes_up(now) {
                        tracing::warn!(remote = %to, name, reason = label, times, "TLS fails with a peer that we call");
                    }
                }
                _ => tracing::debug!(remote = %to, name, reason = label, "a connection of ours is closed"),
            }
            self.lost.unreached.push(remote);
        }
        // Nothing waits for the end of handshakes.
        while self.conns.poll_opened().is_some() {}
    }
}

#[cfg(test)]
mod tests;
