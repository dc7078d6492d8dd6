//! Counts of stream connections, by each lane and of all lanes together.

use super::stats::Counters;
use crate::ids::ListenerId;
use crate::net::conns::Closures;

/// A lane's counters.
#[derive(Clone, Debug, Default)]
pub struct LaneCounters {
    /// Totals by reason, and the figures of links and of the sockets that take datagrams.
    pub counters: Counters,
    /// Counts of stream connections.
    pub streams: StreamCounters,
}

/// Counts of the stream connections that lanes have had from the gate.
#[derive(Clone, Debug, Default)]
pub struct StreamCounters {
    /// Connections that are open, by the number of their listener.
    pub open: Vec<u64>,
    /// Messages that have come on connections, by the number of their listener.
    pub received: Vec<u64>,
    /// Connections that have ended.
    pub closed: Closures,
}

impl LaneCounters {
    /// The counts of two lanes together.
    pub fn plus(mut self, other: LaneCounters) -> LaneCounters {
        let StreamCounters { open, received, closed } = other.streams;
        add(&mut self.streams.open, &open);
        add(&mut self.streams.received, &received);
        self.streams.closed.add_all(&closed);
        LaneCounters { counters: self.counters.plus(other.counters), streams: self.streams }
    }
}

/// Counts one more for a listener.
pub(super) fn count(counts: &mut Vec<u64>, listener: ListenerId) {
    let at = usize::from(listener.0);
    if at >= counts.len() {
        counts.resize(at + 1, 0);
    }
    counts[at] += 1;
}

fn add(own: &mut Vec<u64>, other: &[u64]) {
    own.resize(own.len().max(other.len()), 0);
    own.iter_mut().zip(other).for_each(|(own, other)| *own += other);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::conns::CloseReason;

    #[test]
    fn lanes_that_have_seen_different_listeners_are_added_up() {
        let lane = |listeners: &[u16]| {
            let mut lane = LaneCounters::default();
            listeners.iter().for_each(|at| count(&mut lane.streams.received, ListenerId(*at)));
            lane.streams.closed.count(CloseReason::Ended);
            lane
        };
        let streams = lane(&[1, 1]).plus(lane(&[3, 1])).streams;
        assert_eq!((streams.received, streams.open), (vec![0, 3, 0, 1], vec![]));
        assert_eq!(streams.closed.iter().collect::<Vec<_>>(), [("ended", 2)]);
    }
}
