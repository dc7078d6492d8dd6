//! Stream connections as tables for people.

use crate::server::stats::connections::{Connection, Connections, ListenerConnections, ProxyConnections};

/// The connections of each listener and of its sources, and to each downstream proxy, as an aligned table.
pub fn listing(connections: &Connections) -> String {
    if connections.listeners.is_empty() && connections.proxies.is_empty() {
        return "no listener takes connections; --listen tcp:ADDR:PORT adds one (tls, ws and wss as well)\n".to_owned();
    }
    let mut rows = vec![["LISTENER", "SOURCE", "CONNECTIONS"].map(str::to_owned)];
    rows.extend(connections.listeners.iter().flat_map(rows_of));
    let to_proxy = |to: &ProxyConnections| {
        [format!("to {}:{}", to.transport, to.address), to.proxy.clone(), to.connections.to_string()]
    };
    rows.extend(connections.proxies.iter().map(to_proxy));
    let width = |column: usize| rows.iter().map(|row| row[column].len()).max().unwrap_or_default();
    let (first, second, third) = (width(0), width(1), width(2));
    let line = |[a, b, c]: &[String; 3]| format!("{a:<first$}  {b:<second$}  {c:>third$}\n");
    rows.iter().map(line).collect()
}

/// Rows of a listener: all its connections, then each source, then the sources that have no row.
fn rows_of(listener: &ListenerConnections) -> Vec<[String; 3]> {
    let ListenerConnections { address, transport, connections, sources, other_sources } = listener;
    let name = format!("{transport}:{address}");
    let row = |source: String, count: u64| [name.clone(), source, count.to_string()];
    let mut rows = vec![row("all".to_owned(), *connections)];
    rows.extend(sources.iter().map(|source| row(source.source.clone(), source.connections)));
    if *other_sources > 0 {
        let shown: u64 = sources.iter().map(|source| source.connections).sum();
        rows.push(row(format!("{other_sources} more"), connections.saturating_sub(shown)));
    }
    rows
}

/// One connection, a line for each of its figures.
pub fn figures(connection: &Connection) -> String {
    let Connection { number, lane, transport, remote, local, listener, proxy, age_s, .. } = connection;
    let Connection { heard_ms, waiting_bytes, unanswered, .. } = connection;
    let lines = [
        ("connection", number.to_string()),
        ("transport", transport.to_string()),
        ("remote", remote.to_string()),
        ("local", local.to_string()),
        match (&**proxy, &**listener) {
            // Opened by us, and kept open to nobody.
            ("", "") => ("opened", "for a request of a downstream proxy".to_owned()),
            ("", listener) => ("listener", listener.to_owned()),
            (proxy, _) => ("proxy", proxy.to_owned()),
        },
        ("lane", lane.to_string()),
        ("age", format!("{age_s:.1} s")),
        ("last heard", format!("{:.3} s ago", *heard_ms as f64 / 1000.0)),
        ("waiting", format!("{waiting_bytes} bytes to leave")),
        ("unanswered", format!("{unanswered} requests without a final response")),
    ];
    lines.iter().map(|(name, figure)| format!("{name:<10}  {figure}\n")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::stats::connections::SourceConnections;

    fn source(source: &str, connections: u64) -> SourceConnections {
        SourceConnections { source: source.to_owned(), connections }
    }

    #[test]
    fn sources_stand_below_their_listener_and_columns_are_aligned() {
        let tcp = ListenerConnections {
            address: "192.0.2.1:5060".parse().unwrap(),
            transport: "tcp".into(),
            connections: 131,
            sources: vec![source("192.0.2.9", 100), source("2001:db8:1:2::/64", 7)],
            other_sources: 24,
        };
        let wss = ListenerConnections {
            address: "[2001:db8::1]:443".parse().unwrap(),
            transport: "wss".into(),
            connections: 0,
            sources: Vec::new(),
            other_sources: 0,
        };
        let far = ProxyConnections {
            proxy: "far".to_owned(),
            address: "192.0.2.5:5060".to_owned(),
            transport: "tcp".into(),
            connections: 2,
        };
        let expected = "\
LISTENER               SOURCE             CONNECTIONS
tcp:192.0.2.1:5060     all                        131
tcp:192.0.2.1:5060     192.0.2.9                  100
tcp:192.0.2.1:5060     2001:db8:1:2::/64            7
tcp:192.0.2.1:5060     24 more                     24
wss:[2001:db8::1]:443  all                          0
to tcp:192.0.2.5:5060  far                          2
";
        assert_eq!(listing(&Connections { listeners: vec![tcp, wss], proxies: vec![far] }), expected);
        assert!(listing(&Connections::default()).contains("--listen tcp:"));
    }

    #[test]
    fn a_connection_has_a_line_for_each_figure() {
        let connection = Connection {
            number: 549_755_813_895,
            lane: 1,
            transport: "tls".into(),
            remote: "192.0.2.9:40000".parse().unwrap(),
            local: "192.0.2.1:5061".parse().unwrap(),
            listener: "tls:192.0.2.1:5061".to_owned(),
            proxy: String::new(),
            age_s: 61.25,
            heard_ms: 2_004,
            waiting_bytes: 0,
            unanswered: 1,
        };
        let expected = "\
connection  549755813895
transport   tls
remote      192.0.2.9:40000
local       192.0.2.1:5061
listener    tls:192.0.2.1:5061
lane        1
age         61.2 s
last heard  2.004 s ago
waiting     0 bytes to leave
unanswered  1 requests without a final response
";
        assert_eq!(figures(&connection), expected);
        let dialled = Connection { listener: String::new(), proxy: "far".to_owned(), ..connection };
        assert!(figures(&dialled).contains("proxy       far\nlane"), "{}", figures(&dialled));
        let called = Connection { proxy: String::new(), ..dialled };
        assert!(
            figures(&called).contains("opened      for a request of a downstream proxy\nlane"),
            "{}",
            figures(&called)
        );
    }
}
