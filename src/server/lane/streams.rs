//! Stream connections of a lane: messages come from them, and answers leave on them.

use tracing::debug;

use super::Lane;
use crate::ids::{ConnId, ListenerId};
use crate::net::clock;
use crate::net::conns::{Moved, Origin};
use crate::server::gate::Census;
use crate::stream::Received;
use crate::switch::Way;
use crate::time::Time;

/// Bits of a connection's own number in a [`ConnId`].
const OWN: u64 = (1 << 39) - 1;

impl Lane {
    /// The gate hands over a connection whose handshakes are done.
    pub(super) fn on_connection(&mut self, moved: Moved) {
        let ends = moved.ends;
        if let Err(error) = self.conns.insert(moved, clock::now()) {
            debug!(remote = %ends.remote, %error, "a connection cannot be watched");
            // The gate is gone only when the process ends.
            let _ = self.census.send(Census::Closed(ends.remote.ip()));
        }
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
        let Lane { conns, switch, .. } = self;
        conns.read(now, &mut |origin, received| {
            let Origin { key, ends, transport } = origin;
            let listener = ends.listener.unwrap_or(ListenerId(0));
            let connection = ConnId::new(lane, key.number());
            let way = Way::of_stream(connection, listener, transport, (ends.remote, ends.local), now);
            match received {
                Received::Message(bytes) => switch.on_message(bytes, &way, now),
                Received::Faulty(head, fault) => switch.on_faulty(head, fault, &way, now),
            }
        });
    }

    /// Writes the answers, once for each connection.
    pub(super) fn flush_streams(&mut self) {
        let Lane { conns, switch, census, closures, .. } = self;
        switch.flush_replies(|connection, bytes| {
            conns.numbered(connection.0 & OWN).is_some_and(|key| conns.send(key, bytes))
        });
        conns.flush();
        while let Some(end) = conns.poll_closed() {
            debug!(remote = %end.ends.remote, reason = end.reason.label(), "a connection is closed");
            closures.count(end.reason);
            // The gate is gone only when the process ends.
            let _ = census.send(Census::Closed(end.ends.remote.ip()));
        }
    }
}
