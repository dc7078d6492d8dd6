//! Requests for downstream proxies over TCP that name their proxy.

use pointsman::config::{Pool, PoolMode, PoolPolicy, Proxy, Route};
use pointsman::dispatch::decision::Hop;
use pointsman::ids::{ConnId, ProxyId};

use super::forwarding::forward;
use super::*;

/// Three proxies over TCP, each with one connection: fs1 has number 101 and so on.
fn rig_of_systems() -> Rig {
    let proxy = |number: u8| Proxy {
        name: format!("fs{number}"),
        host: format!("192.0.2.{number}"),
        transport: Transport::Tcp,
        identifier: true,
        ..Proxy::default()
    };
    let rules = Rules {
        pools: vec![Pool { mode: PoolMode::Proxy, policy: PoolPolicy::RoundRobin, ..Pool::default() }],
        proxies: (1..=3).map(proxy).collect(),
        unrouted: Route { pool: Pool::DEFAULT.to_owned(), ..Route::default() },
        udp_listeners: vec![(ListenerId(0), "198.51.100.1:5060".parse().unwrap())],
        stream_listeners: vec![(ListenerId(1), Transport::Tcp, "198.51.100.1:5060".parse().unwrap())],
        ..rules()
    };
    let mut rig = rig_with(1, rules, 1000);
    while let Some(dial) = rig.dispatch.poll_dial(rig.now) {
        let conn = ConnId(101 + u64::from(dial.proxy.0));
        rig.dispatch.on_dialled(&dial, Some(conn), rig.now);
        rig.dispatch.on_connection_open(conn, rig.now);
    }
    rig
}

#[test]
fn a_request_that_names_its_proxy_goes_by_the_connection_to_it_and_others_take_turns() {
    let mut rig = rig_of_systems();
    let identifier = rig.dispatch.identifier_for(ProxyId(1)).unwrap().text();
    let header = format!("X-Pointsman-System: {}\r\nFrom:", std::str::from_utf8(&identifier).unwrap());
    for call in ["a", "b", "c"] {
        let decision = rig.send(&invite(call).replace("From:", &header));
        assert_eq!(decision.reason, Reason::Identified);
        let forward = forward(decision);
        assert_eq!((forward.to, forward.transport), (Hop::Connection(ConnId(102)), Transport::Tcp));
    }
    let turns: Vec<_> = ["d", "e", "f"].map(|call| forward(rig.send(&invite(call))).to).into();
    assert_eq!(turns, [101, 102, 103].map(|number| Hop::Connection(ConnId(number))));
}
