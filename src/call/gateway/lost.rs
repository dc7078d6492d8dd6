//! Connections that end by themselves, because their media does not work any more (RFC 3435 §2.3.8).

use crate::call::gateway::Gateway;
use crate::call::gateway::exchange::ConnectionKey;
use crate::time::Time;

impl Gateway {
    /// The media of a connection is lost: the connection is deleted, and the call agent is told.
    pub(super) fn on_media_lost(&mut self, key: ConnectionKey, now: Time) {
        if self.connections.get(key).is_none_or(|connection| connection.port == 0) {
            return;
        }
        for endpoint in self.close_connections(&[key], None) {
            self.release(endpoint, now);
        }
    }
}
