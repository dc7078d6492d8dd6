//! Stream connections of a lane: messages come from them, and answers leave on them.

use crossbeam_channel::Sender;
use tracing::debug;

use super::Lane;
use super::dialled::{Dialled, is_dialled};
use crate::ids::{ConnId, ListenerId};
use crate::net::clock;
use crate::net::conns::{CloseReason, Closed, Closures, ConnKey, ConnState, Conns, Moved, Origin};
use crate::server::StreamCounters;
use crate::server::gate::Census;
use crate::server::stream_counters::count;
use crate::stream::{Received, is_alias, names_shown};
use crate::switch::{Connections, Way};
use crate::time::Time;

/// Most connections whose certificates' proxies are kept in mind.
const MOST_CERTIFIED: usize = 4_096;

impl Lane {
    /// The gate hands over a connection whose handshakes are done.
    pub(super) fn on_connection(&mut self, moved: Moved) {
        let ends = moved.ends;
        if let Err(error) = self.conns.insert(moved, clock::now()) {
            debug!(remote = %ends.remote, %error, "a connection cannot be watched");
            self.closures.count(CloseReason::Broken);
            // The gate is gone only when the process ends.
            let _ = self.census.send(Census::Closed(ends.remote.ip()));
        }
    }

    /// Counts of its connections.
    pub(super) fn stream_counters(&self) -> StreamCounters {
        StreamCounters {
            open: self.conns.by_listener(),
            received: self.on_streams.clone(),
            closed: self.closures.clone(),
        }
    }

    /// The state of a connection, and the name of the downstream proxy that we have opened it to; `None` where another
    /// lane has it, or none.
    pub(super) fn state_of(&self, connection: ConnId) -> Option<(ConnState, String)> {
        let state = self.conns.state(self.key_of(connection)?)?;
        Some((state, self.switch.dispatch().proxies().name_of_connection(connection).unwrap_or_default().to_owned()))
    }

    /// The key of a connection of this lane.
    pub(super) fn key_of(&self, connection: ConnId) -> Option<ConnKey> {
        let number = Some(connection).filter(|it| it.lane() == self.switch.own())?.number();
        self.conns.numbered(number)
    }

    /// Tells the gate of connections that come from another dispatcher.
    pub(super) fn tell_sources(&self) {
        let accepted = self.conns.keys().filter(|key| !is_dialled(&self.conns, *key));
        for ends in accepted.filter_map(|key| self.conns.ends(key)) {
            // The gate is gone only when the process ends.
            let _ = self.census.send(Census::Inherited(ends.remote.ip()));
        }
    }

    /// Reads the connections in turn. While calls wait for the first connection to a downstream proxy, those that we
    /// have opened alone: they are open after their handshakes. Tells how many messages there were.
    pub(super) fn read_streams(&mut self, now: Time) -> usize {
        let lane = self.switch.own();
        let is_holding = self.holding_until.is_some();
        let Lane { conns, switch, on_streams, certified, .. } = self;
        if certified.len() > MOST_CERTIFIED {
            certified.clear();
        }
        let mut messages = 0;
        let mut take = |origin: Origin<'_>, received: Received<'_>| {
            messages += 1;
            let Origin { key, ends, transport, certificate } = origin;
            let connection = ConnId::new(lane, key.number());
            // A message on a connection to a downstream proxy came as if to the listener beside it.
            let listener = ends.listener.or_else(|| switch.listener_beside(transport, ends.remote.ip()));
            let listener = listener.unwrap_or(ListenerId(0));
            let way = Way::of_stream(connection, listener, transport, (ends.remote, ends.local), now);
            count(on_streams, listener);
            match received {
                Received::Message(bytes) => {
                    let find = |shown| switch.dispatch().proxies().certified(names_shown(shown));
                    let proxy =
                        certificate.and_then(|shown| *certified.entry(connection).or_insert_with(|| find(shown)));
                    let way = way.with_alias(is_alias(bytes, certificate)).certified_as(proxy);
                    switch.on_message(bytes, &way, now)
                }
                Received::Faulty(head, fault) => switch.on_faulty(head, fault, &way, now),
            }
        };
        if is_holding {
            conns.read_own(now, &mut take)
        } else {
            conns.read(now, &mut take)
        }
        messages
    }

    /// Writes the answers, once for each connection.
    pub(super) fn flush_streams(&mut self, now: Time) {
        let lane = self.switch.own();
        let Lane { conns, switch, census, closures, dialled, .. } = self;
        // Requests on a connection that has ended go to others, and these may have ended as well.
        loop {
            let mut full = Vec::new();
            switch.flush_replies(Writing { conns, census, closures, dialled, full: &mut full, lane });
            full.iter().for_each(|conn| switch.on_connection_taken(*conn, false));
            let ended = dialled.take_ended();
            if ended.is_empty() {
                return;
            }
            ended.into_iter().for_each(|(conn, why)| switch.on_connection_closed(conn, why, now));
        }
    }
}

/// The lane's connections while it writes to them.
struct Writing<'l> {
    conns: &'l mut Conns,
    census: &'l Sender<Census>,
    closures: &'l mut Closures,
    dialled: &'l mut Dialled,
    /// Connections to proxies on which much has come to wait.
    full: &'l mut Vec<ConnId>,
    lane: usize,
}

impl Connections for Writing<'_> {
    fn queue(&mut self, connection: ConnId, message: &[u8]) -> bool {
        let Some(key) = self.conns.numbered(connection.number()) else { return false };
        let is_queued = self.conns.send(key, message);
        self.dialled.on_queued(self.conns, key);
        is_queued
    }

    fn write(&mut self) {
        self.conns.flush();
        while let Some(key) = self.dialled.poll_full(self.conns) {
            self.full.push(ConnId::new(self.lane, key.number()));
        }
    }

    fn poll_closed(&mut self) -> Option<(ConnId, usize)> {
        let Closed { key, ends, reason, waiting } = self.conns.poll_closed()?;
        debug!(remote = %ends.remote, reason = reason.label(), "a connection is closed");
        self.closures.count(reason);
        let conn = ConnId::new(self.lane, key.number());
        match ends.listener {
            None => self.dialled.on_closed(conn, key, reason),
            // The gate is gone only when the process ends.
            Some(_) => drop(self.census.send(Census::Closed(ends.remote.ip()))),
        }
        Some((conn, waiting))
    }

    fn waiting(&self, connection: ConnId) -> usize {
        self.conns.numbered(connection.number()).map_or(0, |key| self.conns.waiting(key))
    }
}
