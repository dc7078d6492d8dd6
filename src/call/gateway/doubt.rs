//! Connections that perhaps no call agent knows.
//!
//! A worker may die after its answer to a CRCX has left and before the dispatcher has heard of that. The next worker
//! then gets the CRCX and makes a connection as well. The call agent takes the first answer and does not know of the
//! second connection, so it would never delete it. A connection that was made after a death is therefore doubtful,
//! until a command names it or its endpoint, or a packet comes. One that stays doubtful is deleted, and the call agent
//! is told (RFC 3435 §2.3.8).

use std::time::Duration;

use crate::call::gateway::exchange::{Ask, ConnectionKey, Told};
use crate::call::gateway::{Gateway, Job, Timer};
use crate::time::Time;
use crate::wire::mgcp::{Command, ReasonCode};

/// Time for which a connection may be doubtful: longer than any caller waits for an answer.
const DOUBT: Duration = Duration::from_secs(600);

impl Gateway {
    /// A connection was made by a CRCX that a worker had before it died.
    pub(super) fn doubt(&mut self, key: ConnectionKey, now: Time) {
        if let Some(connection) = self.connections.get_mut(key) {
            connection.is_doubtful = true;
            self.doubts += 1;
            self.wheel.schedule(now + DOUBT, Timer::Doubt(key));
        }
    }

    /// A command names an endpoint: its sender knows the connections there.
    pub(super) fn believe(&mut self, command: &Command<'_>) {
        if self.doubts == 0 {
            return;
        }
        let endpoint = self.find_endpoint(&command.endpoint()).and_then(|key| self.endpoints.get(key));
        for key in endpoint.map(|endpoint| endpoint.connections.clone()).unwrap_or_default() {
            self.believe_in(key);
        }
    }

    /// The time of doubt is over.
    pub(super) fn on_doubt(&mut self, key: ConnectionKey) {
        if !self.connections.get(key).is_some_and(|connection| connection.is_doubtful) {
            return;
        }
        match self.jobs.insert(Job::Doubt(key)) {
            Some(job) => self.ask(key, Ask::Count, job),
            None => self.believe_in(key),
        }
    }

    /// The media has counted the packets of a doubtful connection.
    pub(super) fn on_doubt_counted(&mut self, key: ConnectionKey, told: Told, now: Time) {
        match told {
            Told::Counted(counters) if counters.packets_received == 0 => {
                self.lose(key, ReasonCode::FACILITY_FAILURE, now);
            }
            _ => self.believe_in(key),
        }
    }

    pub(super) fn believe_in(&mut self, key: ConnectionKey) {
        if let Some(connection) = self.connections.get_mut(key)
            && std::mem::take(&mut connection.is_doubtful)
        {
            self.doubts = self.doubts.saturating_sub(1);
        }
    }
}
