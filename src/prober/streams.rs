//! The connections of the probes over TCP and TLS, one for each address.
//!
//! A connection stays open between the probes. One on which nothing has come since the last probe left is not used
//! again: a host that has been started anew, or a firewall between, may have forgotten it.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use mio::Registry;
use mio::event::Event;
use tracing::{debug, warn};

use crate::net::conns::{CloseReason, Closed, ConnKey, Conns, Ends, Moved};
use crate::net::tcp;
use crate::net::tls::ProxyKinds;
use crate::stream::{Limits, Received, Stream};
use crate::time::Time;

/// The first token of connections: sockets have the numbers of their entries.
pub(super) const FIRST: usize = 1 << 32;
/// Most connections.
const MOST: usize = 1 << 18;

/// The connections, by the number of their entry in the schedule.
#[derive(Debug)]
pub(super) struct Streams {
    conns: Conns,
    entries: BTreeMap<usize, Entry>,
    /// The entries by the numbers of their connections.
    by_conn: BTreeMap<u64, usize>,
    /// The entries whose probe has not left yet.
    unsent: Vec<usize>,
    events: VecDeque<StreamEvent>,
}

/// The far end of an entry's connections.
#[derive(Debug)]
struct Entry {
    proxy: Arc<str>,
    to: SocketAddr,
    /// The address of ours that they leave from; `None`: the kernel chooses one.
    from: Option<IpAddr>,
    connection: Option<Connection>,
    /// The fault that the log has had.
    told: Option<CloseReason>,
}

#[derive(Debug)]
struct Connection {
    key: ConnKey,
    local: SocketAddr,
    /// Whether something has come since the last probe.
    is_heard: bool,
}

/// An event of an entry's connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum StreamEvent {
    /// The probe has left.
    Sent(usize),
    /// The host says that nothing listens there, or no route leads to it.
    Refused(usize),
    /// The connection has ended, or could not be opened.
    Closed(usize),
}

impl Streams {
    /// No connections. The poll of `registry` watches them.
    pub(super) fn new(registry: Registry) -> Self {
        Streams {
            conns: Conns::new(Arc::new(registry), FIRST, MOST),
            entries: BTreeMap::new(),
            by_conn: BTreeMap::new(),
            unsent: Vec::new(),
            events: VecDeque::new(),
        }
    }

    /// Adds an entry: the proxy, its address, and the address of ours.
    pub(super) fn add(&mut self, number: usize, proxy: Arc<str>, to: SocketAddr, from: Option<IpAddr>) {
        self.entries.insert(number, Entry { proxy, to, from, connection: None, told: None });
    }

    pub(super) fn remove(&mut self, number: usize) {
        self.close(number);
        self.entries.remove(&number);
    }

    /// The connection for the next probe of an entry, by its address of ours; true where it is opened now.
    ///
    /// # Errors
    /// It cannot be opened; see [`tcp::is_refusal`].
    pub(super) fn open(&mut self, number: usize, kinds: &ProxyKinds, now: Time) -> io::Result<(SocketAddr, bool)> {
        if let Some(open) = self.entries.get(&number).and_then(|entry| entry.connection.as_ref())
            && open.is_heard
            && self.conns.takes_requests(open.key)
        {
            return Ok((open.local, false));
        }
        self.close(number);
        let Some(entry) = self.entries.get_mut(&number) else { return Err(io::ErrorKind::NotFound.into()) };
        let kind = kinds.proxies.get(&*entry.proxy).ok_or(io::ErrorKind::NotFound)?.kind.clone();
        let socket = tcp::connect_from(entry.from, entry.to)?;
        let local = socket.local_addr()?;
        let ends = Ends { remote: entry.to, local, listener: None };
        let stream = Stream::new(kind, Limits::default(), now);
        let key = self.conns.insert(Moved { socket, stream, outgoing: Vec::new(), ends }, now)?;
        self.by_conn.insert(key.number(), number);
        entry.connection = Some(Connection { key, local, is_heard: false });
        Ok((local, true))
    }

    /// Sends a message on the connection of an entry, if it has one.
    pub(super) fn send(&mut self, number: usize, bytes: &[u8], is_probe: bool) {
        let Some(open) = self.entries.get_mut(&number).and_then(|entry| entry.connection.as_mut()) else { return };
        if self.conns.send(open.key, bytes) && is_probe {
            open.is_heard = false;
            self.unsent.push(number);
        }
    }

    /// The poll has an event of a connection.
    pub(super) fn on_event(&mut self, event: &Event) {
        self.conns.on_event(event);
    }

    /// Reads what has come and writes what waits. `sink` gets the responses, each with its entry and the address that
    /// it comes from. Requests mean nothing here.
    pub(super) fn turn(&mut self, now: Time, sink: &mut impl FnMut(usize, SocketAddr, &[u8])) {
        let Streams { conns, entries, by_conn, .. } = self;
        conns.read(now, &mut |origin, received| {
            let Some(number) = by_conn.get(&origin.key.number()) else { return };
            let Some(entry) = entries.get_mut(number) else { return };
            let Received::Message(bytes) = received else { return };
            entry.connection.iter_mut().for_each(|open| open.is_heard = true);
            entry.told = None;
            if bytes.starts_with(b"SIP/2.0 ") {
                sink(*number, entry.to, bytes);
            }
        });
        conns.flush();
        self.settle();
    }

    /// The next event.
    pub(super) fn poll(&mut self) -> Option<StreamEvent> {
        self.events.pop_front()
    }

    /// Whether [`Streams::turn`] has more to do at once.
    pub(super) fn is_unfinished(&self) -> bool {
        self.conns.has_readable()
    }

    /// When [`Streams::handle_timeout`] is to be called next.
    pub(super) fn poll_timeout(&self) -> Option<Time> {
        self.conns.poll_timeout()
    }

    /// Time has passed: handshakes and messages take too long. Silence between two probes is none.
    pub(super) fn handle_timeout(&mut self, now: Time) {
        self.conns.handle_timeout(now, |_| true);
    }

    /// Closes the connection of an entry.
    fn close(&mut self, number: usize) {
        if let Some(open) = self.entries.get_mut(&number).and_then(|entry| entry.connection.take()) {
            self.by_conn.remove(&open.key.number());
            self.unsent.retain(|unsent| *unsent != number);
            self.conns.close(open.key, CloseReason::MadeRoom);
        }
    }

    /// The proxy of an entry.
    pub(super) fn proxy(&self, number: usize) -> &str {
        self.entries.get(&number).map_or("", |entry| &entry.proxy)
    }

    /// Finds out which connections have ended, and which probes have left.
    fn settle(&mut self) {
        while let Some(Closed { key, ends, reason, .. }) = self.conns.poll_closed() {
            let Some(number) = self.by_conn.remove(&key.number()) else { continue };
            let Some(entry) = self.entries.get_mut(&number) else { continue };
            entry.connection = None;
            match reason {
                // Another host may stand there, or the certificates of one of us are no good: the operator has to know.
                CloseReason::Fault(_) if entry.told != Some(reason) => {
                    entry.told = Some(reason);
                    warn!("{}: no probe gets through to {}: {}", entry.proxy, ends.remote, reason.label());
                }
                _ => debug!("{}: the connection to {} has ended: {}", entry.proxy, ends.remote, reason.label()),
            }
            let is_refused = reason == CloseReason::Refused;
            self.events.push_back(if is_refused { StreamEvent::Refused(number) } else { StreamEvent::Closed(number) });
        }
        // A probe that waits for its handshake has not left.
        while self.conns.poll_opened().is_some() {}
        let Streams { conns, entries, unsent, events, .. } = self;
        unsent.retain(|number| {
            let Some(open) = entries.get(number).and_then(|entry| entry.connection.as_ref()) else { return false };
            let waits = !conns.is_open(open.key) || conns.waiting(open.key) > 0;
            if !waits {
                events.push_back(StreamEvent::Sent(*number));
            }
            waits
        });
    }
}
