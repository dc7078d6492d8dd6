//! Stream connections of a lane: messages come from them, and answers leave on them.

use crossbeam_channel::Sender;
use tracing::debug;

use super::Lane;
use crate::ids::{ConnId, ListenerId};
use crate::net::clock;
use crate::net::conns::{CloseReason, Closed, Closures, ConnState, Conns, Moved, Origin};
use crate::server::StreamCounters;
use crate::server::gate::Census;
use crate::server::stream_counters::count;
use crate::stream::{Received, is_alias};
use crate::switch::{Connections, Way};
use crate::time::Time;

/// Bits of a connection's own number in a [`ConnId`].
const OWN: u64 = (1 << 39) - 1;

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

    /// The state of a connection; `None` where another lane has it, or none.
    pub(super) fn state_of(&self, connection: ConnId) -> Option<ConnState> {
        let number = Some(connection).filter(|it| it.lane() == self.switch.own())?.0 & OWN;
        self.conns.state(self.conns.numbered(number)?)
    }

    /// Tells the gate of connections that come from another dispatcher.
    pub(super) fn tell_sources(&self) {
        for ends in self.conns.keys().filter_map(|key| self.conns.ends(key)) {
            // The gate is gone only when the process ends.
            let _ = self.census.send(Census::Inherited(ends.remote.ip()));
        }
    }

    /// Reads the connections in turn.
    pub(super) fn read_streams(&mut self, now: Time) {
        let lane = self.switch.own();
        let Lane { conns, switch, on_streams, .. } = self;
        conns.read(now, &mut |origin, received| {
            let Origin { key, ends, transport, certificate } = origin;
            let listener = ends.listener.unwrap_or(ListenerId(0));
            let connection = ConnId::new(lane, key.number());
            let way = Way::of_stream(connection, listener, transport, (ends.remote, ends.local), now);
            count(on_streams, listener);
            match received {
                Received::Message(bytes) => {
                    switch.on_message(bytes, &way.with_alias(is_alias(bytes, certificate)), now)
                }
                Received::Faulty(head, fault) => switch.on_faulty(head, fault, &way, now),
            }
        });
    }

    /// Writes the answers, once for each connection.
    pub(super) fn flush_streams(&mut self) {
        let lane = self.switch.own();
        let Lane { conns, switch, census, closures, .. } = self;
        switch.flush_replies(Writing { conns, census, closures, lane });
    }
}

/// The lane's connections while it writes to them.
struct Writing<'l> {
    conns: &'l mut Conns,
    census: &'l Sender<Census>,
    closures: &'l mut Closures,
    lane: usize,
}

impl Connections for Writing<'_> {
    fn queue(&mut self, connection: ConnId, message: &[u8]) -> bool {
        self.conns.numbered(connection.0 & OWN).is_some_and(|key| self.conns.send(key, message))
    }

    fn write(&mut self) {
        self.conns.flush();
    }

    fn poll_closed(&mut self) -> Option<(ConnId, usize)> {
        let Closed { key, ends, reason, waiting } = self.conns.poll_closed()?;
        debug!(remote = %ends.remote, reason = reason.label(), "a connection is closed");
        self.closures.count(reason);
        // The gate is gone only when the process ends.
        let _ = self.census.send(Census::Closed(ends.remote.ip()));
        Some((ConnId::new(self.lane, key.number()), waiting))
    }

    fn waiting(&self, connection: ConnId) -> usize {
        self.conns.numbered(connection.0 & OWN).map_or(0, |key| self.conns.waiting(key))
    }
}
