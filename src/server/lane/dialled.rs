//! Connections that a lane keeps open to downstream proxies.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use rustls::pki_types::ServerName;
use tracing::debug;

use super::Lane;
use crate::dispatch::callees::Callee;
use crate::dispatch::targets::proxies::Dial;
use crate::dispatch::targets::proxy::Ended;
use crate::ids::ConnId;
use crate::net::conns::{CloseReason, ConnKey, Conns, Ends, Moved};
use crate::net::tcp;
use crate::net::tls::ProxyKinds;
use crate::stream::{Kind, Stream};
use crate::time::Time;
use crate::words::Transport;

/// While more bytes than this wait to leave on a connection, its proxy gets no new requests by it.
const MUCH: usize = 32 << 10;

/// The connections of a lane to downstream proxies, as the lane has to look after them.
#[derive(Debug, Default)]
pub(super) struct Dialled {
    /// Those that got more than a little in this turn.
    busy: Vec<ConnKey>,
    /// Those on which much waits to leave although it could.
    full: Vec<ConnKey>,
    /// Those that have ended, until the switch is told.
    ended: Vec<(ConnId, Ended)>,
}

impl Dialled {
    /// A message has been queued on a connection.
    pub(super) fn on_queued(&mut self, conns: &Conns, key: ConnKey) {
        if conns.waiting(key) > MUCH && is_dialled(conns, key) && !self.busy.contains(&key) {
            self.busy.push(key);
        }
    }

    /// The next connection whose proxy has not taken the messages that were queued, though they have been written as
    /// far as they could.
    pub(super) fn poll_full(&mut self, conns: &Conns) -> Option<ConnKey> {
        loop {
            let key = self.busy.pop()?;
            if conns.waiting(key) > MUCH && !self.full.contains(&key) {
                self.full.push(key);
                return Some(key);
            }
        }
    }

    /// A connection of ours is closed.
    pub(super) fn on_closed(&mut self, conn: ConnId, key: ConnKey, reason: CloseReason) {
        self.busy.retain(|other| *other != key);
        self.full.retain(|other| *other != key);
        let ended = if reason == CloseReason::Refused { Ended::Refused } else { Ended::Broken };
        self.ended.push((conn, ended));
    }

    pub(super) fn take_ended(&mut self) -> Vec<(ConnId, Ended)> {
        std::mem::take(&mut self.ended)
    }
}

/// Whether a connection is one that we have opened.
pub(super) fn is_dialled(conns: &Conns, key: ConnKey) -> bool {
    conns.ends(key).is_some_and(|ends| ends.listener.is_none())
}

impl Lane {
    /// Sets the protocol of the connections to downstream proxies. Those whose security has changed are replaced.
    pub(super) fn set_proxy_kinds(&mut self, kinds: ProxyKinds, now: Time) {
        let securities = kinds.proxies.iter().map(|(name, kind)| (name.clone(), kind.security));
        self.switch.set_securities(securities.collect(), now);
        self.switch.set_callee_security(kinds.callees.as_ref().map(|(_, security)| *security).unwrap_or_default());
        self.proxy_kinds = kinds;
    }

    /// Opens and closes connections to downstream proxies, and tells the switch which are open.
    pub(super) fn keep_connections(&mut self, now: Time) {
        while let Some(dial) = self.switch.poll_dial(now) {
            let conn = match self.dial(&dial, now) {
                Ok(key) => Some(self.name_of(key)),
                Err(error) => {
                    debug!(proxy = %dial.entry, to = %dial.to, %error, "cannot connect to a downstream proxy");
                    None
                }
            };
            self.switch.on_dialled(&dial, conn, now);
        }
        while let Some(callee) = self.switch.poll_callee() {
            let conn = self.call(&callee, now).map(|key| self.name_of(key));
            let conn = conn.inspect_err(|error| {
                debug!(to = %callee.address, %error, "cannot connect for a downstream proxy's request");
            });
            self.switch.on_callee_dialled(&callee, conn.ok(), now);
        }
        let by = now + self.switch.dispatch().rules().pending_max;
        while let Some(conn) = self.switch.poll_hang_up(now) {
            match self.key_of(conn) {
                Some(key) => self.conns.hang_up(key, by, now),
                None => self.switch.on_connection_closed(conn, Ended::Broken, now),
            }
        }
        while let Some(key) = self.conns.poll_opened() {
            if is_dialled(&self.conns, key) {
                self.switch.on_connection_open(self.name_of(key), now);
                self.end_wait_for_first();
            }
        }
        let Lane { conns, switch, dialled, .. } = self;
        let lane = switch.own();
        dialled.full.retain(|key| {
            let is_full = conns.waiting(*key) > MUCH;
            if !is_full {
                switch.on_connection_taken(ConnId::new(lane, key.number()), true);
            }
            is_full
        });
    }

    /// Goes on with the connections that an earlier dispatcher has opened to downstream proxies, or for their requests.
    pub(super) fn keep_dialled(&mut self, now: Time) {
        let dialled: Vec<ConnKey> = self.conns.keys().filter(|key| is_dialled(&self.conns, *key)).collect();
        for key in dialled {
            let Some(state) = self.conns.state(key) else { continue };
            let (name, to) = (self.name_of(key), state.ends.remote);
            if !self.conns.takes_requests(key) {
                self.conns.close(key, CloseReason::Unneeded);
            } else if !state.is_persistent {
                // It is not known whose certificate one over TLS was opened for: it brings responses, and gets nothing
                // new.
                if state.transport == Transport::Tcp {
                    self.switch.on_callee_kept(name, to);
                }
            } else if self.switch.on_connection_kept(name, to, state.transport, now) {
                self.dialled.on_queued(&self.conns, key);
                self.end_wait_for_first();
            } else {
                self.conns.hang_up(key, now + self.switch.dispatch().rules().pending_max, now);
            }
        }
    }

    /// Calls wait for the first connection no longer.
    fn end_wait_for_first(&mut self) {
        if self.awaited == 0 {
            self.holding_until = None;
        }
    }

    fn dial(&mut self, dial: &Dial, now: Time) -> io::Result<ConnKey> {
        let kind = self.proxy_kinds.proxies.get(&*dial.entry).ok_or(io::ErrorKind::NotFound)?.kind.clone();
        self.open(dial.to, Stream::persistent(kind, now), now)
    }

    fn call(&mut self, callee: &Callee, now: Time) -> io::Result<ConnKey> {
        let kind = match &callee.name {
            None => Kind::Plain,
            Some(name) => {
                let none = || io::Error::other("there is no CA that its certificate could be of");
                let (config, _) = self.proxy_kinds.callees.as_ref().ok_or_else(none)?;
                let name = ServerName::try_from(name.to_string()).map_err(io::Error::other)?;
                Kind::TlsClient(Arc::clone(config), name)
            }
        };
        self.open(callee.address, Stream::called(kind, now), now)
    }

    fn open(&mut self, to: SocketAddr, stream: Stream, now: Time) -> io::Result<ConnKey> {
        let socket = tcp::connect(to)?;
        tcp::give_up_unacknowledged(&socket);
        let ends = Ends { remote: to, local: socket.local_addr()?, listener: None };
        self.conns.insert(Moved { socket, stream, outgoing: Vec::new(), ends }, now)
    }

    fn name_of(&self, key: ConnKey) -> ConnId {
        ConnId::new(self.switch.own(), key.number())
    }
}
