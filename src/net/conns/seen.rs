//! Connections as an operator asks about them: how many there are of each source, and the state of one.

use std::net::{IpAddr, Ipv6Addr};

use foldhash::fast::RandomState;
use hashbrown::HashMap;

use super::{ConnKey, Conns, Ends};
use crate::ids::ListenerId;
use crate::time::Time;
use crate::words::Transport;

/// Connections that a listener has accepted from one source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SourceCount {
    /// The listener.
    pub listener: ListenerId,
    /// The source, as caps count it: an IPv4 address, or the first address of an IPv6 network of 64 bits.
    pub source: IpAddr,
    /// Number of connections.
    pub connections: u64,
}

/// The state of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConnState {
    /// Its two ends.
    pub ends: Ends,
    /// Transport of its messages.
    pub transport: Transport,
    /// The time from which it was there. Another process that takes it over keeps that.
    pub since: Time,
    /// When its peer was last heard.
    pub heard: Time,
    /// Bytes that wait to leave.
    pub waiting: usize,
    /// Requests that have come and have no final response yet.
    pub unanswered: u32,
    /// Whether it is one that we keep open to a server.
    pub is_persistent: bool,
}

impl Conns {
    /// The state of a connection.
    pub fn state(&self, key: ConnKey) -> Option<ConnState> {
        let connection = self.places.get(key)?;
        Some(ConnState {
            ends: connection.ends,
            transport: connection.stream.transport(),
            since: connection.since,
            heard: connection.heard,
            waiting: connection.waiting(),
            unanswered: connection.unanswered,
            is_persistent: connection.stream.is_persistent(),
        })
    }

    /// Number of connections of each listener, by number.
    pub fn by_listener(&self) -> Vec<u64> {
        let mut counts = Vec::new();
        for (listener, _) in self.accepted() {
            let at = usize::from(listener.0);
            counts.resize(counts.len().max(at + 1), 0);
            counts[at] += 1;
        }
        counts
    }

    /// Number of connections of each source at each listener, in no order.
    pub fn by_source(&self) -> Vec<SourceCount> {
        let mut counts: HashMap<(ListenerId, IpAddr), u64, RandomState> = HashMap::default();
        for (listener, ends) in self.accepted() {
            *counts.entry((listener, source(ends.remote.ip()))).or_default() += 1;
        }
        let count = |((listener, source), connections)| SourceCount { listener, source, connections };
        counts.into_iter().map(count).collect()
    }

    /// The connections that listeners have accepted.
    fn accepted(&self) -> impl Iterator<Item = (ListenerId, &Ends)> {
        self.keys().filter_map(|key| self.ends(key)).filter_map(|ends| Some((ends.listener?, ends)))
    }
}

/// The source that an address counts for.
const fn source(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() >> 64 << 64)),
        address @ IpAddr::V4(_) => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_is_an_ipv4_address_or_an_ipv6_network() {
        let of = |text: &str| source(text.parse().unwrap()).to_string();
        assert_eq!(of("192.0.2.7"), "192.0.2.7");
        assert_eq!(of("::ffff:192.0.2.7"), "192.0.2.7");
        assert_eq!(of("2001:db8:1:2:3:4:5:6"), "2001:db8:1:2::");
    }
}
