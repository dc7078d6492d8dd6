//! The first packet of a connection: the event `R/ma` (RFC 3660 §2.5).
//!
//! The media counts packets and tells only when it is asked. So the worker asks about a connection while a request
//! waits for its first packet, and only then.

use std::time::Duration;

use crate::call::gateway::events::seen::Seen;
use crate::call::gateway::exchange::{Ask, ConnectionKey, EndpointKey, Told};
use crate::call::gateway::{Gateway, Job, Timer};
use crate::time::Time;

/// Whether a packet has come to a connection, as far as a request wants to know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Hearing {
    /// No request waits for it.
    Unasked,
    /// The media is asked again after this time.
    Asking(Duration),
    /// A packet has come, and the event was reported.
    Heard,
}

/// The media is asked first after this time, and then ever more rarely: as a rule packets come at once or never.
const FIRST: Duration = Duration::from_millis(50);
const LONGEST: Duration = Duration::from_millis(1_600);

impl Gateway {
    /// Begins to ask for the first packets of an endpoint's connections, if a request waits for them.
    pub(super) fn listen(&mut self, endpoint: EndpointKey, now: Time) {
        let keys = self.endpoints.get(endpoint).map(|endpoint| endpoint.connections.clone()).unwrap_or_default();
        for key in keys {
            if self.is_awaited(key)
                && let Some(connection) = self.connections.get_mut(key)
                && connection.hearing == Hearing::Unasked
            {
                connection.hearing = Hearing::Asking(FIRST);
                self.wheel.schedule(now + FIRST, Timer::Listen(key));
            }
        }
    }

    /// It is time to ask the media.
    pub(super) fn on_listening(&mut self, key: ConnectionKey) {
        let awaited = self.is_awaited(key);
        let Some(connection) = self.connections.get_mut(key) else { return };
        if !awaited {
            connection.hearing = Hearing::Unasked;
            return;
        }
        match self.jobs.insert(Job::Listen(key)) {
            Some(job) => self.ask(key, Ask::Count, job),
            None => connection.hearing = Hearing::Unasked,
        }
    }

    /// The media has counted.
    pub(super) fn on_counted(&mut self, key: ConnectionKey, told: Told, now: Time) {
        let seen = self.media_start(key);
        let Some(connection) = self.connections.get_mut(key) else { return };
        let (Hearing::Asking(pause), Told::Counted(counters)) = (connection.hearing, told) else { return };
        if counters.packets_received == 0 {
            let pause = (pause * 2).min(LONGEST);
            connection.hearing = Hearing::Asking(pause);
            self.wheel.schedule(now + pause, Timer::Listen(key));
            return;
        }
        connection.hearing = Hearing::Heard;
        let endpoint = connection.endpoint;
        if let Some(seen) = seen {
            self.events.on_event(endpoint, seen, now);
            // An embedded request that has just taken effect may wait for other packets.
            self.listen(endpoint, now);
            self.measure(endpoint, now);
        }
    }

    fn is_awaited(&self, key: ConnectionKey) -> bool {
        let Some(connection) = self.connections.get(key) else { return false };
        self.media_start(key).is_some_and(|seen| self.events.is_watched(connection.endpoint, &seen))
    }

    fn media_start(&self, key: ConnectionKey) -> Option<Seen> {
        Seen::named("R", "ma", Some(self.connections.get(key)?.id.as_bytes()), b"")
    }
}
