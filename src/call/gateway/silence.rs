//! Connections of a call agent that has died.
//!
//! A call agent that crashes deletes nothing, and its connections would hold units and ports for ever. So every
//! endpoint keeps the time of its last sign of life: a command that named it, or a packet (RTP or RTCP) to one of its
//! connections. A held connection on a bridge lives by the other connection's packets. After the time `mgcp-timeout`
//! without a sign the endpoint's connections are deleted, and the call agent is told (RFC 3435 §2.3.8).
//!
//! The media counts packets and tells only when it is asked, so packets are noticed at the next question: an endpoint
//! lives up to a quarter longer than its time.

use crate::call::gateway::exchange::{Ask, ConnectionKey, Told};
use crate::call::gateway::{Gateway, Job, Timer};
use crate::time::Time;
use crate::wire::mgcp::{Command, ReasonCode};

/// Questions for a connection's packets within its time.
const QUESTIONS: u32 = 4;

impl Gateway {
    /// A connection was made: its silence is watched from now on.
    pub(super) fn watch_silence(&mut self, key: ConnectionKey, now: Time) {
        let Some(silence) = self.limits.silence else { return };
        let Some(endpoint) = self.connections.get(key).map(|connection| connection.endpoint) else { return };
        if let Some(endpoint) = self.endpoints.get_mut(endpoint) {
            endpoint.alive = now;
        }
        self.wheel.schedule(now + silence / QUESTIONS, Timer::Silence(key));
    }

    /// A command names an endpoint: its call agent lives. A name for many endpoints is no sign of life for any of them.
    pub(super) fn hear_of(&mut self, command: &Command<'_>, now: Time) {
        if let Some(endpoint) = self.find_endpoint(&command.endpoint()).and_then(|key| self.endpoints.get_mut(key)) {
            endpoint.alive = now;
        }
    }

    /// It is time to ask a connection for its packets.
    pub(super) fn on_silence(&mut self, key: ConnectionKey, now: Time) {
        if self.connections.get(key).is_none() {
            return;
        }
        match self.jobs.insert(Job::Silence(key)) {
            Some(job) => self.ask(key, Ask::Count, job),
            None => self.look_again(key, now),
        }
    }

    /// The media has counted the packets of a connection.
    pub(super) fn on_silence_counted(&mut self, key: ConnectionKey, told: Told, now: Time) {
        let Some(connection) = self.connections.get_mut(key) else { return };
        let Some(endpoint) = self.endpoints.get_mut(connection.endpoint) else { return };
        if let Told::Counted(counters) = told
            && counters.packets_received + counters.rtcp_received != connection.packets
        {
            connection.packets = counters.packets_received + counters.rtcp_received;
            endpoint.alive = now;
        }
        match self.limits.silence {
            Some(silence) if endpoint.alive + silence <= now => self.lose(key, ReasonCode::LOWER_LAYER_LOST, now),
            _ => self.look_again(key, now),
        }
    }

    fn look_again(&mut self, key: ConnectionKey, now: Time) {
        let Some(silence) = self.limits.silence else { return };
        self.wheel.schedule(now + silence / QUESTIONS, Timer::Silence(key));
    }
}
