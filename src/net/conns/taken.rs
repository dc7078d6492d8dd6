//! Connections that another process takes over: their sockets first, and what is known of each when nothing is read any
//! more.
//!
//! A session of TLS cannot be given away. Its process goes on with it and gives the other one the plaintext, through a
//! pair of sockets.

use std::io;
use std::net::{SocketAddr, TcpStream};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use mio::unix::SourceFd;
use mio::{Interest, Token};

use super::connection::Connection;
use super::{CloseReason, ConnKey, Conns, ENDED_FOR, Ends, Moved};
use crate::ids::ListenerId;
use crate::pack::packed;
use crate::slab::Handle;
use crate::stream::{Limits, Stream};
use crate::time::Time;
use crate::words::Transport;

/// Parts of the first half of `linger`: the connections of each may be closed from its begin on.
const TURNS: u32 = 64;

/// A connection's place and tenancy, for the process that takes it over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConnName {
    /// The place.
    pub index: u32,
    /// Number of earlier tenants of the place.
    pub generation: u32,
}

/// All connections but their sockets.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct SavedConns {
    conns: Vec<SavedConn>,
    /// Number of tenants that each place has had.
    generations: Vec<u32>,
}

/// A connection but its socket.
#[derive(Debug, PartialEq, Eq)]
struct SavedConn {
    name: ConnName,
    remote: SocketAddr,
    local: SocketAddr,
    listener: Option<ListenerId>,
    transport: Transport,
    /// Bytes of a message that is not whole yet.
    pending: Vec<u8>,
    /// Bytes that wait to leave.
    outgoing: Vec<u8>,
    since: Time,
    unanswered: u32,
    has_served: bool,
    /// Whether its peer has ended its half.
    is_ended: bool,
    /// Whether it is kept open to a server.
    is_persistent: bool,
}

packed!(ConnName { index, generation });
packed!(SavedConns { conns, generations });
packed!(SavedConn {
    name,
    remote,
    local,
    listener,
    transport,
    pending,
    outgoing,
    since,
    unanswered,
    has_served,
    is_ended,
    is_persistent,
});

/// A TLS connection whose plaintext goes to another process.
#[derive(Debug)]
pub struct Pumped {
    /// The connection.
    pub moved: Moved,
    /// Our end of the pair through which the other process has its plaintext.
    pub plaintext: UnixStream,
}

impl Conns {
    /// The sockets for the process that takes over, each with its connection's name. Those of TLS connections are ends
    /// of pairs.
    ///
    /// # Errors
    ///
    /// No descriptor is left.
    pub fn give_sockets(&mut self) -> io::Result<Vec<(ConnName, OwnedFd)>> {
        let keys: Vec<ConnKey> = self.places.keys().collect();
        let mut given = Vec::with_capacity(keys.len());
        for key in keys {
            let Some(connection) = self.places.get_mut(key) else { continue };
            given.push((ConnName { index: key.index(), generation: key.generation() }, connection.give_socket()?));
        }
        Ok(given)
    }

    /// Forgets that sockets were given away: no process takes over.
    pub fn take_back(&mut self) {
        let keys: Vec<ConnKey> = self.places.keys().collect();
        for key in keys {
            if let Some(connection) = self.places.get_mut(key) {
                connection.plaintext = None;
            }
        }
    }

    /// The state of all connections but those that we are still opening. What the kernel takes of waiting bytes has
    /// left before.
    pub fn save(&mut self) -> SavedConns {
        self.flush();
        let saved = self.places.keys().filter_map(|key| {
            let connection = self.places.get(key).filter(|connection| !connection.is_being_opened())?;
            let name = ConnName { index: key.index(), generation: key.generation() };
            Some(SavedConn::of(name, connection))
        });
        SavedConns { conns: saved.collect(), generations: self.places.generations().collect() }
    }

    /// Takes the sockets of another process's connections, before there are any others. They are watched, and nothing
    /// is known about them until [`Conns::restore`].
    ///
    /// # Errors
    ///
    /// The kernel takes no more descriptors to watch.
    pub fn adopt(&mut self, sockets: Vec<(ConnName, OwnedFd)>, now: Time) -> io::Result<()> {
        let unknown = SocketAddr::from(([0, 0, 0, 0], 0));
        let ends = Ends { remote: unknown, local: unknown, listener: Some(ListenerId(0)) };
        let sockets = sockets.into_iter().filter(|(name, _)| name.index < 1 << ConnKey::PLACE_BITS);
        let connections = sockets.map(|(ConnName { index, generation }, socket)| {
            let stream = Stream::resumed(Transport::Tcp, Limits::default(), now);
            let moved = Moved { socket: TcpStream::from(socket), stream, outgoing: Vec::new(), ends };
            (ConnKey::new(index, generation), Connection::new(moved, now))
        });
        self.places.fill(connections);
        for key in self.places.keys() {
            let Some(connection) = self.places.get(key) else { continue };
            let token = Token(self.first + key.index() as usize);
            let interest = Interest::READABLE | Interest::WRITABLE;
            self.registry.register(&mut SourceFd(&connection.as_raw_fd()), token, interest)?;
        }
        Ok(())
    }

    /// Takes the state of the adopted connections. Those without one have ended meanwhile, or were not open yet. Those
    /// that another process enciphers for us are closed one by one within `linger`.
    pub fn restore(&mut self, saved: SavedConns, linger: Duration, now: Time) {
        let adopted: Vec<ConnKey> = self.places.keys().collect();
        let mut known = vec![false; adopted.last().map_or(0, |last| last.index() as usize + 1)];
        for saved in saved.conns {
            let key = ConnKey::new(saved.name.index, saved.name.generation);
            let Some(connection) = self.places.get_mut(key) else { continue };
            known[key.index() as usize] = true;
            saved.put_into(connection, now);
            if connection.stream.is_enciphered_elsewhere() {
                // The owner of those that we have opened closes them sooner.
                let is_ours = connection.ends.listener.is_none();
                let turn = if is_ours { linger } else { linger / 2 / TURNS * (key.index() % TURNS) };
                connection.leaves = Some((now + turn, now + linger));
            }
            let remote = connection.ends.remote;
            if connection.wants_flush() {
                connection.is_unflushed = true;
                self.unflushed.push(key);
            }
            self.by_peer.insert(remote, key);
            self.list(key);
            self.arm(key, now);
        }
        for key in adopted.into_iter().filter(|key| !known[key.index() as usize]) {
            self.take(key);
        }
        self.places.set_generations(&saved.generations);
    }

    /// Takes out the TLS connections whose plaintext goes to the process that has taken over.
    pub fn take_pumped(&mut self) -> Vec<Pumped> {
        let keys: Vec<ConnKey> = self.places.keys().collect();
        let pumped = keys.into_iter().filter_map(|key| {
            let plaintext = self.places.get_mut(key)?.plaintext.take()?;
            Some(Pumped { moved: self.remove(key)?, plaintext })
        });
        pumped.collect()
    }
}

impl Connection {
    /// The socket for another process: a duplicate, or the end of a pair where we do TLS.
    fn give_socket(&mut self) -> io::Result<OwnedFd> {
        if !self.stream.does_tls() {
            return self.as_fd().try_clone_to_owned();
        }
        let (own, other) = UnixStream::pair()?;
        own.set_nonblocking(true)?;
        other.set_nonblocking(true)?;
        self.plaintext = Some(own);
        Ok(other.into())
    }
}

impl SavedConn {
    fn of(name: ConnName, connection: &Connection) -> Self {
        let Connection { stream, ends, .. } = connection;
        // Bytes that TLS has made stay with the process that does it.
        let outgoing = if stream.does_tls() { Vec::new() } else { connection.unsent().to_vec() };
        SavedConn {
            name,
            remote: ends.remote,
            local: ends.local,
            listener: ends.listener,
            transport: stream.transport(),
            pending: stream.pending().to_vec(),
            outgoing,
            since: connection.since,
            unanswered: connection.unanswered,
            has_served: connection.has_served(),
            is_ended: !connection.is_whole(),
            is_persistent: stream.is_persistent(),
        }
    }

    fn put_into(self, connection: &mut Connection, now: Time) {
        let SavedConn { remote, local, listener, transport, pending, outgoing, since, unanswered, .. } = self;
        connection.ends = Ends { remote, local, listener };
        connection.stream = match self.is_persistent {
            true => Stream::persistent_resumed(transport, now),
            false => Stream::resumed(transport, Limits::default(), now),
        };
        connection.outgoing = outgoing;
        connection.since = since;
        connection.unanswered = unanswered;
        connection.set_served(self.has_served);
        // An unfinished message gives nothing and needs no answer.
        let mut none = Vec::new();
        let _ = connection.stream.on_bytes(&pending, now, &mut none, &mut |_| ());
        if self.is_ended {
            connection.end(now + ENDED_FOR, CloseReason::Ended);
        }
    }
}
