//! Connections that end by themselves, because their media does not work any more (RFC 3435 §2.3.8).
//!
//! The DLCX with a reason code that tells the call agent is sent from here. It also ends connections without a sign of
//! life. Sockets do not fail by themselves, so no media says [`crate::call::gateway::Told::Lost`] yet.

use crate::call::gateway::connection::ConnectionId;
use crate::call::gateway::events::Gone;
use crate::call::gateway::exchange::{ConnectionKey, EndpointKey, Told};
use crate::call::gateway::{Gateway, Job};
use crate::time::Time;
use crate::wire::mgcp::{ConnectionParameters, ReasonCode};

/// A connection whose media is lost, until it is closed.
#[derive(Debug)]
pub(super) struct Loss {
    endpoint: EndpointKey,
    id: ConnectionId,
    call: Box<[u8]>,
    reason: ReasonCode,
}

impl Gateway {
    /// The media of a connection is lost: the connection is deleted.
    pub(super) fn on_media_lost(&mut self, key: ConnectionKey, now: Time) {
        self.lose(key, ReasonCode::LOWER_LAYER_LOST, now);
    }

    /// Deletes a connection without a call agent's command, and tells the call agent.
    pub(super) fn lose(&mut self, key: ConnectionKey, reason: ReasonCode, now: Time) {
        let Some(connection) = self.connections.get(key).filter(|connection| connection.port != 0) else { return };
        let loss = Loss { endpoint: connection.endpoint, id: connection.id, call: connection.call.clone(), reason };
        let job = self.jobs.insert(Job::Lose(Box::new(loss)));
        let endpoints = self.close_connections(&[key], job);
        if job.is_none() {
            endpoints.into_iter().for_each(|endpoint| self.release(endpoint, now));
        }
    }

    /// The media of a lost connection is closed.
    pub(super) fn on_lost_closed(&mut self, loss: &Loss, told: Told, now: Time) {
        let counters = if let Told::Closed(counters) = told { counters } else { Default::default() };
        let gone = Gone {
            call: &loss.call,
            connection: loss.id.as_bytes(),
            reason: loss.reason,
            parameters: ConnectionParameters::from(counters),
        };
        self.events.on_gone(loss.endpoint, &gone, now);
        self.release(loss.endpoint, now);
    }
}
