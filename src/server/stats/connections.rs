//! Stream connections, as the stats socket shows them.

use std::borrow::Cow;
use std::cmp::Reverse;
use std::net::{IpAddr, SocketAddr};

use serde::{Deserialize, Serialize};

use super::{Total, rounded};
use crate::config::Listen;
use crate::dispatch::targets::proxy::Row;
use crate::ids::ListenerId;
use crate::net::conns::SourceCount;
use crate::words::Transport;

/// Most sources of a listener in the reply to `connections`.
pub const MOST_SOURCES: usize = 100;

/// The part of `counters` about connections.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConnectionCounters {
    /// Connections that are open: their handshakes are done.
    pub open: u64,
    /// Most connections at once, handshakes under way among them; 0 where no listener takes any.
    pub limit: u64,
    /// TLS and WebSocket handshakes under way.
    pub handshakes: u64,
    /// Most handshakes at once.
    pub handshakes_limit: u64,
    /// Connections accepted, by listener; those that were closed at once are among them.
    pub accepted: Total,
    /// Connections closed, by reason. A reason that has not been seen is left out.
    pub closed: Total,
}

/// The reply to `connections`: those that are open, by listener and source.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Connections {
    /// The listeners that take connections, in the order of their numbers.
    pub listeners: Vec<ListenerConnections>,
    /// The downstream proxies that are reached over connections, in the order of the settings.
    #[serde(default)]
    pub proxies: Vec<ProxyConnections>,
}

/// The open connections to a downstream proxy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProxyConnections {
    /// Its name.
    pub proxy: String,
    /// Its address, or the host of its URI while that has none.
    pub address: String,
    /// Its transport: `tcp` or `tls`.
    pub transport: Cow<'static, str>,
    /// Number of connections to it.
    pub connections: u64,
}

/// The open connections of a listener.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListenerConnections {
    /// Its address.
    pub address: SocketAddr,
    /// Its transport: `tcp`, `tls`, `ws` or `wss`.
    pub transport: Cow<'static, str>,
    /// Number of its connections.
    pub connections: u64,
    /// The sources with most connections, at most [`MOST_SOURCES`] of them, the one with most first.
    pub sources: Vec<SourceConnections>,
    /// Number of sources beside these.
    pub other_sources: u64,
}

/// The open connections of a source at a listener.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceConnections {
    /// The source as caps count it: an IPv4 address, or an IPv6 network of 64 bits.
    pub source: String,
    /// Number of its connections.
    pub connections: u64,
}

/// The reply to `connections` with a number: one connection.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Connection {
    /// Its number, as `explain` shows it.
    pub number: u64,
    /// The lane that has it.
    pub lane: u64,
    /// Its transport: `tcp`, `tls`, `ws` or `wss`.
    pub transport: Cow<'static, str>,
    /// Address of the peer.
    pub remote: SocketAddr,
    /// Our own address.
    pub local: SocketAddr,
    /// The listener that accepted it, such as `tcp:192.0.2.1:5060`; empty for one that we have opened.
    pub listener: String,
    /// The downstream proxy that we have opened it to; empty for one that was accepted.
    #[serde(default)]
    pub proxy: String,
    /// Seconds since it was accepted and its handshakes were done.
    #[serde(serialize_with = "rounded")]
    pub age_s: f64,
    /// Milliseconds since its peer was last heard, or since a takeover where nothing has come after that.
    pub heard_ms: u64,
    /// Bytes that wait to leave.
    pub waiting_bytes: u64,
    /// Requests that have come and have no final response yet.
    pub unanswered: u64,
}

impl Connections {
    /// The connections of these listeners, by the counts of all lanes, and those to downstream proxies.
    pub fn of(
        listeners: impl Iterator<Item = (ListenerId, Listen)>,
        counts: Vec<SourceCount>,
        proxies: Vec<ProxyConnections>,
    ) -> Self {
        let mut counts = counts;
        counts.sort_unstable_by_key(|count| (count.listener, count.source));
        counts.dedup_by(|next, first| {
            let is_same = (next.listener, next.source) == (first.listener, first.source);
            first.connections += if is_same { next.connections } else { 0 };
            is_same
        });
        // A stable order: sources with as many connections as each other stay in the order of their addresses.
        counts.sort_by_key(|count| Reverse(count.connections));
        let of = |(id, listen): (ListenerId, Listen)| {
            let own = || counts.iter().filter(|count| count.listener == id);
            let sources: Vec<SourceConnections> = own().take(MOST_SOURCES).map(SourceConnections::from).collect();
            ListenerConnections {
                address: listen.address,
                transport: listen.service.label().into(),
                connections: own().map(|count| count.connections).sum(),
                other_sources: (own().count() - sources.len()) as u64,
                sources,
            }
        };
        Connections { listeners: listeners.map(of).collect(), proxies }
    }
}

impl ProxyConnections {
    /// Those to a proxy with these figures; `None` where it is reached without.
    pub fn of(row: Row) -> Option<Self> {
        let Row { name: proxy, address, transport, connections, .. } = row;
        let is_stream = transport != Transport::Udp.label();
        is_stream.then_some(ProxyConnections { proxy, address, transport: transport.into(), connections })
    }
}

impl From<&SourceCount> for SourceConnections {
    fn from(count: &SourceCount) -> Self {
        let source = match count.source {
            IpAddr::V4(address) => address.to_string(),
            IpAddr::V6(network) => format!("{network}/64"),
        };
        SourceConnections { source, connections: count.connections }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(listener: u16, source: &str, connections: u64) -> SourceCount {
        SourceCount { listener: ListenerId(listener), source: source.parse().unwrap(), connections }
    }

    fn listeners() -> impl Iterator<Item = (ListenerId, Listen)> {
        let numbered = [(1, "tcp:192.0.2.1:5060"), (3, "wss:192.0.2.1:443")];
        numbered.into_iter().map(|(at, text)| (ListenerId(at), text.parse().unwrap()))
    }

    #[test]
    fn sources_of_all_lanes_are_added_and_the_one_with_most_connections_is_first() {
        let counts = vec![
            count(3, "192.0.2.9", 1),
            count(1, "2001:db8::", 2),
            count(1, "192.0.2.9", 2),
            count(1, "192.0.2.7", 2),
            count(1, "192.0.2.9", 3),
        ];
        let row = |name: &str, transport, connections| Row {
            name: name.to_owned(),
            address: "192.0.2.5:5060".to_owned(),
            transport,
            connections,
            ..Row::default()
        };
        let rows = [row("near", "udp", 0), row("far", "tcp", 2)];
        let proxies = rows.into_iter().filter_map(ProxyConnections::of).collect();
        assert_eq!(
            serde_json::to_string(&Connections::of(listeners(), counts, proxies)).unwrap(),
            "{\"listeners\":[{\"address\":\"192.0.2.1:5060\",\"transport\":\"tcp\",\"connections\":9,\"sources\":[\
             {\"source\":\"192.0.2.9\",\"connections\":5},{\"source\":\"192.0.2.7\",\"connections\":2},\
             {\"source\":\"2001:db8::/64\",\"connections\":2}],\"other_sources\":0},\
             {\"address\":\"192.0.2.1:443\",\"transport\":\"wss\",\"connections\":1,\"sources\":[\
             {\"source\":\"192.0.2.9\",\"connections\":1}],\"other_sources\":0}],\"proxies\":[\
             {\"proxy\":\"far\",\"address\":\"192.0.2.5:5060\",\"transport\":\"tcp\",\"connections\":2}]}"
        );
    }

    #[test]
    fn nine_thousand_sources_take_a_hundred_rows_and_all_are_counted() {
        let counts = (0..9_000).map(|at| count(1, &format!("10.0.{}.{}", at / 250, at % 250), 1)).collect();
        let first = Connections::of(listeners(), counts, Vec::new()).listeners.remove(0);
        assert_eq!((first.connections, first.sources.len(), first.other_sources), (9_000, MOST_SOURCES, 8_900));
        assert_eq!(first.sources[0].source, "10.0.0.0");
    }

    #[test]
    fn counters_and_a_connection_have_the_documented_fields_in_the_documented_order() {
        let closed = Total::from_iter([("idle", 2), ("too-many-of-source", 1)]);
        let accepted = Total::from_iter([("tcp:192.0.2.1:5060", 5)]);
        let counters =
            ConnectionCounters { open: 2, limit: 10, handshakes: 0, handshakes_limit: 512, accepted, closed };
        assert_eq!(
            serde_json::to_string(&counters).unwrap(),
            "{\"open\":2,\"limit\":10,\"handshakes\":0,\"handshakes_limit\":512,\
             \"accepted\":{\"total\":5,\"reasons\":{\"tcp:192.0.2.1:5060\":5}},\
             \"closed\":{\"total\":3,\"reasons\":{\"idle\":2,\"too-many-of-source\":1}}}"
        );
        let connection = Connection {
            number: 7,
            lane: 0,
            transport: "tcp".into(),
            remote: "192.0.2.9:40000".parse().unwrap(),
            local: "192.0.2.1:5060".parse().unwrap(),
            listener: "tcp:192.0.2.1:5060".to_owned(),
            proxy: String::new(),
            age_s: 12.5,
            heard_ms: 250,
            waiting_bytes: 0,
            unanswered: 1,
        };
        assert_eq!(
            serde_json::to_string(&connection).unwrap(),
            "{\"number\":7,\"lane\":0,\"transport\":\"tcp\",\"remote\":\"192.0.2.9:40000\",\
             \"local\":\"192.0.2.1:5060\",\"listener\":\"tcp:192.0.2.1:5060\",\"proxy\":\"\",\"age_s\":12.5,\"heard_ms\":250,\
             \"waiting_bytes\":0,\"unanswered\":1}"
        );
    }
}
