//! Connections that are measured: the events `R/rto` and `R/pl` (RFC 3660 §2.10).
//!
//! The media counts packets and tells only when it is asked. So the worker asks about a connection once a second while
//! a request waits for its silence or its losses. Each of these events occurs once; the next request begins anew.

use std::time::Duration;

use crate::call::gateway::events::measure::Measure;
use crate::call::gateway::events::seen::Seen;
use crate::call::gateway::exchange::{Ask, ConnectionKey, Counters, EndpointKey, Told};
use crate::call::gateway::{Gateway, Job, Timer};
use crate::time::Time;

/// The media is asked at this interval.
const PAUSE: Duration = Duration::from_secs(1);

/// One measurement of a connection.
#[derive(Clone, Copy, Debug)]
pub(super) struct Measuring {
    measure: Measure,
    /// The counters when it began; `None` until the media has told them.
    first: Option<Counters>,
    /// The counters when a packet had last come.
    last: Counters,
    /// The time of the last packet, or of the start; `None`: the time has not begun to run.
    quiet_since: Option<Time>,
    /// Whether the event has occurred.
    is_over: bool,
}

/// The measurements of a connection.
#[derive(Debug, Default)]
pub(super) struct Measurings {
    all: Vec<Measuring>,
    /// Whether the next question is filed with the wheel, or is with the media.
    is_timed: bool,
}

impl Gateway {
    /// A request has come for an endpoint: its measurements begin anew on all connections.
    pub(super) fn measure_anew(&mut self, endpoint: EndpointKey, now: Time) {
        let keys = self.endpoints.get(endpoint).map(|endpoint| endpoint.connections.clone()).unwrap_or_default();
        for key in &keys {
            self.connections.get_mut(*key).into_iter().for_each(|connection| connection.measurings.all.clear());
        }
        self.measure(endpoint, now);
    }

    /// Begins the measurements of the request in force on an endpoint's connections. Those that have begun go on.
    pub(super) fn measure(&mut self, endpoint: EndpointKey, now: Time) {
        let keys = self.endpoints.get(endpoint).map(|endpoint| endpoint.connections.clone()).unwrap_or_default();
        for key in keys {
            let Some(connection) = self.connections.get_mut(key) else { continue };
            let wanted = self.events.measures(endpoint, connection.id.as_bytes());
            let Measurings { all, is_timed } = &mut connection.measurings;
            all.retain(|measuring| wanted.contains(&measuring.measure));
            for measure in wanted {
                if !all.iter().any(|measuring| measuring.measure == measure) {
                    all.push(Measuring::begin(measure, now));
                }
            }
            if !all.is_empty() && !std::mem::replace(is_timed, true) {
                self.on_measuring(key, now);
            }
        }
    }

    /// It is time to ask the media.
    pub(super) fn on_measuring(&mut self, key: ConnectionKey, now: Time) {
        let Some(connection) = self.connections.get_mut(key) else { return };
        if connection.measurings.all.iter().all(|measuring| measuring.is_over) {
            connection.measurings.is_timed = false;
            return;
        }
        match self.jobs.insert(Job::Measure(key)) {
            Some(job) => self.ask(key, Ask::Count, job),
            None => self.wheel.schedule(now + PAUSE, Timer::Measure(key)),
        }
    }

    /// The media has counted.
    pub(super) fn on_measured(&mut self, key: ConnectionKey, told: Told, now: Time) {
        let Some(connection) = self.connections.get_mut(key) else { return };
        self.wheel.schedule(now + PAUSE, Timer::Measure(key));
        let Told::Counted(counters) = told else { return };
        let (endpoint, id) = (connection.endpoint, connection.id);
        let occurred = |measuring: &mut Measuring| measuring.occurs(counters, now).then_some(measuring.measure);
        let occurred: Vec<Measure> = connection.measurings.all.iter_mut().filter_map(occurred).collect();
        for measure in occurred {
            let parameter = measure.parameter();
            if let Some(seen) = Seen::named("R", measure.event(), Some(id.as_bytes()), parameter.as_bytes()) {
                self.events.on_event(endpoint, seen, now);
                // An embedded request that has just taken effect may ask for other measurements.
                self.listen(endpoint, now);
                self.measure(endpoint, now);
            }
        }
    }
}

impl Measuring {
    fn begin(measure: Measure, now: Time) -> Self {
        let is_timeout_at_once = matches!(measure, Measure::Timeout { after_rtcp: false, .. });
        let quiet_since = is_timeout_at_once.then_some(now);
        Measuring { measure, first: None, last: Counters::default(), quiet_since, is_over: false }
    }

    /// Whether the event occurs now; it does so once.
    fn occurs(&mut self, counters: Counters, now: Time) -> bool {
        if self.is_over {
            return false;
        }
        let Some(first) = self.first else {
            (self.first, self.last) = (Some(counters), counters);
            return false;
        };
        self.is_over = match self.measure {
            Measure::Loss(limit) => {
                let received = counters.packets_received.saturating_sub(first.packets_received);
                let lost = counters.packets_lost.saturating_sub(first.packets_lost);
                lost * 100_000 > u64::from(limit) * (received + lost)
            }
            Measure::Timeout { seconds, .. } => {
                let packets = |counters: &Counters| (counters.packets_received, counters.rtcp_received);
                if packets(&counters) != packets(&self.last) {
                    let has_begun = self.quiet_since.is_some() || counters.rtcp_received != self.last.rtcp_received;
                    self.quiet_since = has_begun.then_some(now);
                    self.last = counters;
                }
                self.quiet_since.is_some_and(|since| now.since(since) >= Duration::from_secs(seconds.into()))
            }
        };
        self.is_over
    }
}
