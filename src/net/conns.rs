//! Stream connections of one thread: sockets, readiness, write queues and timers around a [`Stream`] each.
//!
//! Sockets are edge-triggered. A connection that may have more to read stands in a list and is visited in turn, with
//! one read a visit, so a peer that sends without a pause keeps no other waiting. What must leave waits in the
//! connection's queue until [`Conns::flush`], which writes once for each connection.
//!
//! Every connection is bounded in the bytes that wait to leave: above [`PAUSE`] nothing more is read from it, above
//! [`CAP`] it is closed. The bytes that come are bounded by its [`Stream`], and so are the times it may take.

mod connection;
mod reason;
mod seen;
mod taken;

use std::collections::VecDeque;
use std::io;
use std::net::{SocketAddr, TcpStream};
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::time::Duration;

use foldhash::fast::RandomState;
use hashbrown::HashMap;
use mio::event::Event;
use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};
use rustls::pki_types::CertificateDer;

use self::connection::{Connection, Read};
pub use self::reason::{CloseReason, Closures};
pub use self::seen::{ConnState, SourceCount};
pub use self::taken::{ConnName, Pumped, SavedConns};
use crate::ids::ListenerId;
use crate::slab::{Handle, Slab, handle};
use crate::stream::{Fault, Received, Stream};
use crate::time::{Time, Wheel};
use crate::words::Transport;

/// Bytes of one read. An application server may send all its calls on one connection: with 16 KiB a turn brought twenty
/// messages of them, and cost a write to each server.
const READ: usize = 64 << 10;
/// Messages and bytes read in one turn. A larger parcel for another lane would cost page faults.
const MESSAGES_A_TURN: usize = 512;
const BYTES_A_TURN: usize = 512 << 10;
/// While fewer messages have come in a turn, those connections that may have more are visited again: their messages
/// share the frames of the turn.
const AGAIN_BELOW: usize = 32;
/// Connections visited in one turn: after a takeover all may have something.
const VISITS_A_TURN: usize = 1_024;
/// While so many bytes wait to leave, nothing more is read: a peer that does not read its answers gets no more of them.
pub const PAUSE: usize = 64 << 10;
/// A connection for which more bytes wait is closed.
pub const CAP: usize = 256 << 10;
/// A peer that has ended its half, or whose messages cannot be told apart any more, gets the answers that leave within
/// this time.
const ENDED_FOR: Duration = Duration::from_secs(2);
/// Empty write buffers that are kept.
const SPARE: usize = 64;
/// A larger buffer is not kept.
const SPARE_BYTES: usize = 128 << 10;
/// A connection's deadlines are looked at this often at least: so few entries of deadlines that have moved wait on the
/// wheel.
const LOOK_EVERY: Duration = Duration::from_secs(30);
const TICK: Duration = Duration::from_millis(250);
const BUCKETS: usize = 256;

handle! {
    /// A connection of one thread.
    pub struct ConnKey;
}

impl ConnKey {
    /// Bits of a place in [`ConnKey::number`], and of a tenancy.
    const PLACE_BITS: u32 = 20;
    const TENANCY_BITS: u32 = 19;

    /// The connection's number, of 39 bits, for what goes beyond this thread. The number of a connection that is gone
    /// returns after 2¹⁹ others in its place.
    pub fn number(self) -> u64 {
        let tenancy = self.generation() & ((1 << Self::TENANCY_BITS) - 1);
        u64::from(self.index()) | u64::from(tenancy) << Self::PLACE_BITS
    }
}

/// The two ends of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ends {
    /// Address of the peer.
    pub remote: SocketAddr,
    /// Our own address.
    pub local: SocketAddr,
    /// The listener that accepted it; `None` where we have opened it.
    pub listener: Option<ListenerId>,
}

/// A connection that is moved from one thread to another.
#[derive(Debug)]
pub struct Moved {
    /// The socket, which no poll watches.
    pub socket: TcpStream,
    /// The state of its bytes.
    pub stream: Stream,
    /// Bytes that must leave before any others.
    pub outgoing: Vec<u8>,
    /// Its two ends.
    pub ends: Ends,
}

/// The connection that a message has come on.
#[derive(Clone, Copy, Debug)]
pub struct Origin<'c> {
    /// Its key.
    pub key: ConnKey,
    /// Its two ends.
    pub ends: &'c Ends,
    /// Transport of the message.
    pub transport: Transport,
    /// The certificate by which its peer has shown who it is.
    pub certificate: Option<&'c CertificateDer<'static>>,
}

/// A connection that is no more.
#[derive(Clone, Copy, Debug)]
pub struct Closed {
    /// Its key.
    pub key: ConnKey,
    /// Its two ends.
    pub ends: Ends,
    /// Reason of its end.
    pub reason: CloseReason,
    /// Number of bytes that had not left.
    pub waiting: usize,
}

/// All stream connections of a thread.
#[derive(Debug)]
pub struct Conns {
    registry: Arc<Registry>,
    /// Whether connections go to another thread as soon as their handshakes are done: their messages are for that one.
    hands_over: bool,
    /// Token of the first place.
    first: usize,
    places: Slab<ConnKey, Connection>,
    /// Connections that may have more to read, in their turn.
    readable: VecDeque<ConnKey>,
    /// Connections for which bytes have been queued since the last flush.
    unflushed: Vec<ConnKey>,
    /// Connections whose handshakes are done, until they are asked for.
    opened: VecDeque<ConnKey>,
    closed: VecDeque<Closed>,
    /// Connections by the address of their peer, as far as they take requests.
    by_peer: HashMap<SocketAddr, ConnKey, RandomState>,
    /// Deadlines. An entry counts only while its connection is armed with this very deadline.
    timers: Wheel<(ConnKey, Time)>,
    buffer: Box<[u8]>,
    spare: Vec<Vec<u8>>,
}

impl Conns {
    /// No connections, and room for `limit`. The poll of `registry` watches them, with tokens from `first` on.
    pub fn new(registry: Arc<Registry>, first: usize, limit: usize) -> Self {
        Conns {
            registry,
            hands_over: false,
            first,
            places: Slab::new(limit.min((1 << ConnKey::PLACE_BITS) - 1)),
            readable: VecDeque::new(),
            unflushed: Vec::new(),
            opened: VecDeque::new(),
            closed: VecDeque::new(),
            by_peer: HashMap::default(),
            timers: Wheel::new(TICK, BUCKETS, 0),
            buffer: vec![0; READ].into_boxed_slice(),
            spare: Vec::new(),
        }
    }

    /// The same for the handshakes of connections, which are then asked for ([`Conns::poll_opened`]) and taken out. No
    /// message of theirs is read.
    pub fn of_handshakes(registry: Arc<Registry>, first: usize, limit: usize) -> Self {
        Conns { hands_over: true, ..Conns::new(registry, first, limit) }
    }

    /// Number of connections.
    pub const fn count(&self) -> usize {
        self.places.len()
    }

    /// Takes a connection in.
    ///
    /// # Errors
    ///
    /// There is no room, or the kernel takes no more descriptors to watch. The connection is closed then.
    pub fn insert(&mut self, moved: Moved, now: Time) -> io::Result<ConnKey> {
        let fd = moved.socket.as_raw_fd();
        let remote = moved.ends.remote;
        let key = self.places.insert(Connection::new(moved, now)).ok_or(io::ErrorKind::QuotaExceeded)?;
        let token = Token(self.first + key.index() as usize);
        let watched = self.registry.register(&mut SourceFd(&fd), token, Interest::READABLE | Interest::WRITABLE);
        if let Err(error) = watched {
            self.places.remove(key);
            return Err(error);
        }
        self.by_peer.insert(remote, key);
        // Its stream may hold messages that came with the last bytes of a handshake.
        self.list(key);
        self.arm(key, now);
        Ok(key)
    }

    /// Takes a connection out, for another thread.
    pub fn remove(&mut self, key: ConnKey) -> Option<Moved> {
        let connection = self.take(key)?;
        // A descriptor that is closed here later is no longer watched in any case.
        let _ = self.registry.deregister(&mut SourceFd(&connection.as_raw_fd()));
        Some(connection.into_moved())
    }

    fn take(&mut self, key: ConnKey) -> Option<Connection> {
        let connection = self.places.remove(key)?;
        if self.by_peer.get(&connection.ends.remote) == Some(&key) {
            self.by_peer.remove(&connection.ends.remote);
        }
        Some(connection)
    }

    /// Closes a connection at once.
    pub fn close(&mut self, key: ConnKey, reason: CloseReason) {
        let Some(mut connection) = self.take(key) else { return };
        let waiting = connection.waiting();
        connection.say_goodbye();
        self.closed.push_back(Closed { key, ends: connection.ends, reason, waiting });
    }

    /// Closes a connection once all that is queued has left and the requests of its peer are answered; at `by` in any
    /// case. One that is still being opened is closed at once.
    pub fn hang_up(&mut self, key: ConnKey, by: Time, now: Time) {
        let Some(connection) = self.places.get_mut(key) else { return };
        if connection.is_being_opened() {
            return self.close(key, CloseReason::Unneeded);
        }
        // Messages that leave in this turn are not queued yet.
        connection.hung_up.get_or_insert((now, by));
        self.arm(key, now);
    }

    /// Closes the connections that `is_unwanted` names.
    pub fn close_where(&mut self, reason: CloseReason, is_unwanted: impl Fn(&Ends) -> bool) {
        let unwanted: Vec<ConnKey> =
            self.places.keys().filter(|key| self.ends(*key).is_some_and(&is_unwanted)).collect();
        unwanted.into_iter().for_each(|key| self.close(key, reason));
    }

    /// All connections.
    pub fn keys(&self) -> impl Iterator<Item = ConnKey> + '_ {
        self.places.keys()
    }

    /// The two ends of a connection.
    pub fn ends(&self, key: ConnKey) -> Option<&Ends> {
        self.places.get(key).map(|connection| &connection.ends)
    }

    /// The connection with this number.
    pub fn numbered(&self, number: u64) -> Option<ConnKey> {
        let index = number & ((1 << ConnKey::PLACE_BITS) - 1);
        self.at(index as u32).filter(|key| key.number() == number)
    }

    fn at(&self, index: u32) -> Option<ConnKey> {
        self.places.at(index).map(|(key, _)| key)
    }

    /// When its peer was last heard.
    pub fn heard(&self, key: ConnKey) -> Option<Time> {
        self.places.get(key).map(|connection| connection.heard)
    }

    /// Bytes that wait to leave on a connection.
    pub fn waiting(&self, key: ConnKey) -> usize {
        self.places.get(key).map_or(0, Connection::waiting)
    }

    /// Whether the handshakes of a connection are done.
    pub fn is_open(&self, key: ConnKey) -> bool {
        self.places.get(key).is_some_and(|connection| connection.stream.is_open())
    }

    /// Whether requests can be sent on a connection: its peer has not ended its half.
    pub fn takes_requests(&self, key: ConnKey) -> bool {
        self.places.get(key).is_some_and(Connection::is_whole)
    }

    /// The connection with this peer that takes requests.
    pub fn to(&self, remote: SocketAddr) -> Option<ConnKey> {
        self.by_peer.get(&remote).copied().filter(|key| self.takes_requests(*key))
    }

    // -- reading --

    /// The poll has an event of a connection.
    pub fn on_event(&mut self, event: &Event) {
        let Some(index) = event.token().0.checked_sub(self.first) else { return };
        let Some(key) = u32::try_from(index).ok().and_then(|index| self.at(index)) else { return };
        let Some(connection) = self.places.get_mut(key) else { return };
        if event.is_writable() {
            let was_connecting = connection.is_connecting();
            if connection.on_writable() {
                self.unflushed.push(key);
            }
            // Where handshakes follow, it is open at their end.
            if was_connecting && connection.is_connected() && connection.stream.is_open() {
                self.opened.push_back(key);
            }
        }
        if event.is_readable() || event.is_read_closed() || event.is_error() {
            connection.must_reach_end |= event.is_read_closed();
            self.list(key);
        }
    }

    /// Whether a connection may have more to read.
    pub fn has_readable(&self) -> bool {
        !self.readable.is_empty()
    }

    /// Reads from the connections in turn, as much as one turn may; `sink` gets what has come.
    pub fn read(&mut self, now: Time, sink: &mut impl FnMut(Origin<'_>, Received<'_>)) {
        self.read_while(now, || true, sink);
    }

    /// The same, but no further connection is read once `has_time` says no. One is read in any case.
    pub fn read_while(
        &mut self,
        now: Time,
        has_time: impl Fn() -> bool,
        sink: &mut impl FnMut(Origin<'_>, Received<'_>),
    ) {
        let (mut messages, mut bytes, mut visits) = (0, 0, 0);
        while !self.readable.is_empty() && messages < AGAIN_BELOW {
            // A connection that is listed again meanwhile is visited after all others.
            for _ in 0..self.readable.len() {
                let Some(key) = self.readable.pop_front() else { return };
                bytes += self.visit(key, now, &mut |origin, received| {
                    messages += 1;
                    sink(origin, received);
                });
                visits += 1;
                let is_over = messages >= MESSAGES_A_TURN || bytes >= BYTES_A_TURN || visits >= VISITS_A_TURN;
                if is_over || !has_time() {
                    return;
                }
            }
        }
    }

    /// Reads once from each of the connections that we have opened; others wait.
    pub fn read_own(&mut self, now: Time, sink: &mut impl FnMut(Origin<'_>, Received<'_>)) {
        for _ in 0..self.readable.len() {
            let Some(key) = self.readable.pop_front() else { return };
            if self.ends(key).is_some_and(|ends| ends.listener.is_some()) {
                self.readable.push_back(key);
            } else {
                self.visit(key, now, sink);
            }
        }
    }

    /// Reads once from a connection. Returns the number of bytes that have come.
    fn visit(&mut self, key: ConnKey, now: Time, sink: &mut impl FnMut(Origin<'_>, Received<'_>)) -> usize {
        let Some(connection) = self.places.get_mut(key) else { return 0 };
        connection.is_listed = false;
        connection.lend(&mut self.spare);
        let was_open = connection.stream.is_open();
        let (read, bytes) = connection.read(key, &mut self.buffer, now, sink);
        let must_flush = connection.wants_flush();
        if must_flush {
            connection.is_unflushed = true;
            self.unflushed.push(key);
        } else {
            connection.give_back(&mut self.spare);
        }
        let has_opened = !was_open && connection.stream.is_open();
        if has_opened {
            self.opened.push_back(key);
        }
        match read {
            // The end of the handshake may have come with messages, and with the end of the peer's half.
            _ if has_opened && self.hands_over => {}
            Read::More => self.list(key),
            Read::Drained if has_opened => self.list(key),
            Read::Drained => {}
            Read::Ended => self.end(key, now),
            Read::Over(reason) => self.close(key, reason),
            Read::Faulty(fault) => self.end_by_fault(key, CloseReason::Fault(fault), now),
        }
        self.arm(key, now);
        bytes
    }

    fn list(&mut self, key: ConnKey) {
        let Some(connection) = self.places.get_mut(key) else { return };
        if !connection.may_read() {
            connection.is_paused = true;
            return;
        }
        if !std::mem::replace(&mut connection.is_listed, true) {
            self.readable.push_back(key);
        }
    }

    /// The peer has ended its half: it gets the answers that leave in time.
    fn end(&mut self, key: ConnKey, now: Time) {
        let Some(connection) = self.places.get_mut(key) else { return };
        match connection.end_at_once() {
            Some(reason) => self.close(key, reason),
            None => connection.end(now + ENDED_FOR, CloseReason::Ended),
        }
    }

    /// Nothing more can be read from a connection: answers to what came before leave first.
    fn end_by_fault(&mut self, key: ConnKey, reason: CloseReason, now: Time) {
        let Some(connection) = self.places.get_mut(key) else { return };
        if connection.has_served() {
            connection.end(now + ENDED_FOR, reason);
        } else {
            self.close(key, reason);
        }
    }

    // -- writing --

    /// Queues a message; false where the connection is gone.
    pub fn send(&mut self, key: ConnKey, message: &[u8]) -> bool {
        let Some(connection) = self.places.get_mut(key) else { return false };
        connection.lend(&mut self.spare);
        if let Err(reason) = connection.queue(message) {
            self.close(key, reason);
            return false;
        }
        if !std::mem::replace(&mut connection.is_unflushed, true) {
            self.unflushed.push(key);
        }
        true
    }

    /// Writes what is queued, once for each connection.
    pub fn flush(&mut self) {
        let mut unflushed = std::mem::take(&mut self.unflushed);
        for key in unflushed.drain(..) {
            let Some(connection) = self.places.get_mut(key) else { continue };
            connection.is_unflushed = false;
            if let Err(error) = connection.write() {
                let reason = connection.broken(&error);
                self.close(key, reason);
                continue;
            }
            connection.give_back(&mut self.spare);
            if let Some(reason) = connection.over() {
                self.close(key, reason);
            } else if connection.is_paused {
                self.list(key);
            }
        }
        self.unflushed = unflushed;
    }

    // -- what its owner asks for --

    /// The next connection whose handshakes are done.
    pub fn poll_opened(&mut self) -> Option<ConnKey> {
        self.opened.pop_front()
    }

    /// The next connection that is no more.
    pub fn poll_closed(&mut self) -> Option<Closed> {
        self.closed.pop_front()
    }

    // -- time --

    /// When [`Conns::handle_timeout`] is due.
    pub fn poll_timeout(&self) -> Option<Time> {
        self.timers.poll_timeout()
    }

    /// Closes the connections whose time is over, and lets the others say what is due. `keeps` is asked about those
    /// that have only been silent.
    pub fn handle_timeout(&mut self, now: Time, keeps: impl Fn(ConnKey) -> bool) {
        while let Some((key, deadline)) = self.timers.poll_expired(now) {
            let Some(connection) = self.places.get_mut(key).filter(|it| it.armed == deadline) else { continue };
            connection.armed = Time::NEVER;
            connection.lend(&mut self.spare);
            let over = connection.handle_timeout(now);
            let is_paused = connection.is_paused;
            match over.filter(|reason| *reason != CloseReason::Fault(Fault::Idle) || !keeps(key)) {
                Some(reason) => self.close(key, reason),
                None if connection.wants_flush() => {
                    connection.is_unflushed = true;
                    self.unflushed.push(key);
                }
                None => connection.give_back(&mut self.spare),
            }
            if is_paused {
                self.list(key);
            }
            self.arm(key, now);
        }
    }

    /// Files a connection's next deadline, where no earlier one is filed.
    fn arm(&mut self, key: ConnKey, now: Time) {
        let Some(connection) = self.places.get_mut(key) else { return };
        let due = connection.poll_timeout().min(now + LOOK_EVERY);
        if due < connection.armed {
            connection.armed = due;
            self.timers.schedule(due, (key, due));
        }
    }
}

#[cfg(test)]
mod tests;
