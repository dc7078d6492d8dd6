//! Requests for downstream proxies over TCP that name their proxy.

use pointsman::config::{Pool, PoolMode, PoolPolicy, Proxy, Route};
use pointsman::dispatch::contexts::LeavingMessage;
use pointsman::dispatch::decision::Hop;
use pointsman::ids::{ConnId, ProxyId};

use super::forwarding::{forward, response};
use super::*;

/// Three proxies over TCP, each with one connection: fs1 has number 101 and so on.
fn rig_of_systems() -> Rig {
    rig_of_systems_with(10_000)
}

fn rig_of_systems_with(table_cap: usize) -> Rig {
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
    let mut rig = rig_with(1, rules, table_cap);
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

#[test]
fn one_client_does_not_take_the_room_for_requests_under_way_from_others() {
    let identified = |call: &str, identifier: &str| {
        in_dialog(call, "INFO", "s").replace("From:", &format!("X-Pointsman-System: {identifier}\r\nFrom:"))
    };
    let addressed = |call: &str, _: &str| {
        in_dialog(call, "INFO", "s").replace("sip:ivr@ms.example.net SIP", "sip:192.0.2.1;transport=tcp SIP")
    };
    // The reason of a decision about requests, and the request of a call, which may name its proxy.
    type Requests = (Reason, fn(&str, &str) -> String);
    let requests: [Requests; 3] =
        [(Reason::Identified, identified), (Reason::RequestUri, addressed), (Reason::Proxied, |call, _| invite(call))];
    // Each takes as much room as thirty small ones.
    let body = "x".repeat(60_000);
    for (reason, request) in requests {
        let mut rig = rig_of_systems();
        (rig.arrival.listener, rig.arrival.transport) = (ListenerId(1), Transport::Tcp);
        rig.arrival.reply_to = ReplyTo::Stream(ConnId(1));
        let identifier = rig.dispatch.identifier_for(ProxyId(1)).unwrap().text();
        let identifier = std::str::from_utf8(&identifier).unwrap();
        let (mut forwarded, mut refused) = (0, Vec::new());
        for call in 0..2_500 {
            let text = with_body(&request(&format!("a{call}"), identifier), "text/plain", &body);
            let decision = rig.send_from("203.0.113.66", &text);
            match decision.target {
                Target::Forward(_) => forwarded += 1,
                _ => refused.push(decision),
            }
            assert!(decision.reason == reason || !refused.is_empty(), "{decision:?}");
        }
        assert!(forwarded > 1_500 && refused.len() > 500, "{reason}: {forwarded} forwarded");
        for decision in refused {
            assert_eq!(status(decision), (503, Reason::TableFull), "{reason}");
            assert!(answer(decision).retry_after.is_some());
        }
        // An honest caller makes calls and ends them.
        for call in 0..200 {
            let honest = format!("b{call}");
            forward(rig.send(&invite(&honest)));
            forward(rig.send(&in_dialog(&honest, "BYE", "s")));
        }
        assert_eq!(rig.dispatch.counters().of(Reason::TableFull), 2_500 - forwarded, "{reason}");
        rig.dispatch.check();
    }
}

#[test]
fn a_copy_of_a_call_that_the_table_has_given_up_is_dealt_with_while_its_state_lives() {
    let mut rig = rig_of_systems_with(8);
    let refused = |rig: &mut Rig, call: &str| {
        let sent = forward(rig.send(&invite(call)));
        let Hop::Connection(conn) = sent.to else { panic!("{sent:?}") };
        let before = rig.arrival;
        (rig.arrival.listener, rig.arrival.transport) = (ListenerId(1), Transport::Tcp);
        rig.arrival.reply_to = ReplyTo::Stream(conn);
        let text = response(&invite(call), &sent, 486);
        rig.send_from(&format!("192.0.2.{}", conn.0 - 100), &text);
        rig.arrival = before;
        let left = std::iter::from_fn(|| rig.dispatch.poll_leaving()).map(|leaving| leaving.message);
        left.filter(|message| matches!(message, LeavingMessage::Response(_))).count()
    };
    assert_eq!(refused(&mut rig, "first"), 1);
    (0..8).for_each(|call| assert_eq!(refused(&mut rig, &format!("b{call}")), 1));
    let decision = rig.send(&invite("first"));
    assert_eq!((decision.target, decision.reason), (Target::Drop, Reason::Proxied));
    let left: Vec<_> = std::iter::from_fn(|| rig.dispatch.poll_leaving()).map(|leaving| leaving.message).collect();
    assert!(matches!(&left[..], [LeavingMessage::Response(_)]), "its 486 again: {left:?}");
}
