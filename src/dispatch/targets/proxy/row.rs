//! One proxy in the statistics.

use std::time::Duration;

use serde::Serialize;

use super::{Process, Proxy};
use crate::time::Time;

/// The figures of one proxy. Numbers are never absent; an unknown load is -1.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Row {
    /// Its name.
    pub name: String,
    /// Its address, or the host of its URI while that has none.
    pub address: String,
    /// Its transport: `udp`, `tcp` or `tls`.
    pub transport: &'static str,
    /// Connections to it that are open; 0 over UDP.
    pub connections: u64,
    /// Name of its pool.
    pub pool: String,
    /// Its state.
    pub state: &'static str,
    /// The grounds of its state.
    pub why: &'static str,
    /// The operator's order.
    pub admin: &'static str,
    /// Its own word about new requests.
    pub word: &'static str,
    /// Its weight: 0 if it gets nothing new.
    pub weight: u32,
    /// Its share beside others of the same delay and load.
    pub handicap: u16,
    /// Smoothed delay.
    pub delay_ms: f64,
    /// Its own best delay.
    pub best_ms: f64,
    /// Delay of the last answered probe.
    pub probe_ms: f64,
    /// Requests without a response.
    pub outstanding: u32,
    /// Load, 0 to 1; -1: unknown.
    pub load: f64,
    /// Sessions in use.
    pub used: u32,
    /// Most sessions; 0: unknown.
    pub total: u32,
    /// Age of the last report; 0 without one.
    pub load_age_ms: u64,
    /// Its processes, by the last report.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub processes: Vec<(u32, u32)>,
    /// Requests that begin something, sent to it.
    pub calls: u64,
    /// Calls that it answered with a 2xx.
    pub answered: u64,
    /// Requests that another one got after it.
    pub moved: u64,
    /// Requests that failed there.
    pub failed: u64,
    /// Probes that have ended.
    pub probes: u64,
    /// Number of them that were lost.
    pub probes_lost: u64,
    /// Whether its addresses are old: its name could not be resolved again.
    pub stale: bool,
    /// Seconds since its last change of state.
    pub since_s: f64,
}

impl Row {
    /// Adds the figures of the same proxy in another lane: counts are added up, the rest is taken from the lane where
    /// it is worse off.
    pub fn add(&mut self, other: &Row) {
        let is_worse = other.weight < self.weight;
        let counts = |row: &Row| [row.calls, row.answered, row.moved, row.failed];
        let mut sums = counts(self);
        sums.iter_mut().zip(counts(other)).for_each(|(sum, count)| *sum += count);
        let (outstanding, connections) = (self.outstanding + other.outstanding, self.connections + other.connections);
        // Without reports each lane concludes it from its own calls.
        let used = self.used.max(other.used);
        if is_worse {
            *self = other.clone();
        }
        [self.calls, self.answered, self.moved, self.failed] = sums;
        (self.outstanding, self.connections, self.used) = (outstanding, connections, used);
    }
}

impl Proxy {
    /// Its figures. Name, pool, handicap and whether it is stale are its owner's to fill in.
    pub fn row(&self, now: Time) -> Row {
        let counts = &self.counts;
        let since = self.health.since(now);
        Row {
            address: self.address.map(|address| address.to_string()).unwrap_or_default(),
            transport: self.transport().label(),
            connections: self.connections.open() as u64,
            state: self.state(now).label(),
            why: self.why().label(),
            admin: match self.admin {
                crate::dispatch::decision::Admin::Ready => "ready",
                crate::dispatch::decision::Admin::Drain => "drain",
                crate::dispatch::decision::Admin::Maint => "maint",
            },
            word: if self.health.is_full(now) { super::Word::Full } else { self.load.word(now) }.label(),
            weight: self.shown_weight(now),
            delay_ms: thousandths(self.delay.smoothed(now)),
            best_ms: thousandths(self.delay.best(now)),
            probe_ms: thousandths(self.probe_delay.map_or(0.0, |delay| delay.as_secs_f64() * 1e6)),
            outstanding: self.outstanding(),
            load: self.load.fraction(now).map_or(-1.0, |load| (load * 1e4).round() / 1e4),
            used: self.load.used(now),
            total: self.load.total(now).unwrap_or(0),
            load_age_ms: self.load.age(now).unwrap_or(Duration::ZERO).as_millis() as u64,
            processes: self.load.processes(now).iter().map(|&Process { used, total }| (used, total)).collect(),
            calls: counts.calls,
            answered: counts.answered,
            moved: counts.moved,
            failed: counts.failed,
            probes: counts.probes,
            probes_lost: counts.probes_lost,
            since_s: now.since(since).as_secs_f64(),
            ..Row::default()
        }
    }

    /// Its weight as it is shown: 0 only if it gets nothing, else at least 1.
    pub fn shown_weight(&self, now: Time) -> u32 {
        if self.takes_new(now) { self.weight(now).round().max(1.0) as u32 } else { 0 }
    }
}

/// Microseconds as milliseconds, to a thousandth.
fn thousandths(micros: f64) -> f64 {
    micros.round() / 1e3
}
