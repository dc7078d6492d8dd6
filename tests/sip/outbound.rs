//! Requests of systems that no flow token leads.

use pointsman::config;
use pointsman::dispatch::decision::{Forward, Hop, Side};

use super::forwarding::forward;
use super::*;

/// A dispatcher in front of one system over TCP, whose message comes next.
fn rig_of_system() -> Rig {
    let proxy = config::Proxy {
        name: "system".to_owned(),
        host: "192.0.2.1".to_owned(),
        port: Some(5080),
        transport: Transport::Tcp,
        ..config::Proxy::default()
    };
    let mut rig = rig_with(
        1,
        Rules {
            pools: vec![config::Pool::default()],
            proxies: vec![proxy],
            udp_listeners: vec![(ListenerId(0), "198.51.100.1:5060".parse().unwrap())],
            stream_listeners: vec![(ListenerId(1), Transport::Tcp, "198.51.100.1:5060".parse().unwrap())],
            ..rules()
        },
        1000,
    );
    let dial = rig.dispatch.poll_dial(rig.now).unwrap();
    rig.dispatch.on_dialled(&dial, Some(ConnId(1)), rig.now);
    rig.dispatch.on_connection_open(ConnId(1), rig.now);
    come_by(&mut rig, ConnId(1), "192.0.2.1:5080");
    rig
}

/// The next message comes on this connection.
fn come_by(rig: &mut Rig, conn: ConnId, source: &str) {
    (rig.arrival.transport, rig.arrival.reply_to) = (Transport::Tcp, ReplyTo::Stream(conn));
    (rig.arrival.listener, rig.arrival.source) = (ListenerId(1), source.parse().unwrap());
}

fn to(call: &str, uri: &str, route: &str) -> String {
    let text = invite(call).replace("INVITE sip:ivr@ms.example.net", &format!("INVITE {uri}")).replace("/UDP", "/TCP");
    if route.is_empty() { text } else { text.replace("Max-F", &format!("Route: <{route}>\r\nMax-F")) }
}

#[test]
fn a_system_is_led_to_the_next_route_or_the_request_uri_and_refused_where_that_must_not_or_cannot_be() {
    let mut rig = rig_of_system();
    for (call, uri, route, address, reason) in [
        ("a", "sip:x@203.0.113.9:5070", "", "203.0.113.9:5070", Reason::OutboundUri),
        ("b", "sip:x@example.org", "sip:203.0.113.8;lr", "203.0.113.8:5060", Reason::OutboundRoute),
    ] {
        let decision = rig.send(&to(call, uri, route));
        assert_eq!(decision.reason, reason);
        let Forward { to, side, records_route, .. } = forward(decision);
        assert_eq!((to, side), (Hop::Address(address.parse().unwrap()), Side::Server));
        assert!(records_route, "the two sides differ in their transports");
    }
    for (call, uri, status, reason) in [
        ("c", "sip:x@127.0.0.1", 403, Reason::OutboundRefused),
        ("d", "sip:x@203.0.113.9;transport=tcp", 480, Reason::OutboundUnreachable),
    ] {
        let decision = rig.send(&to(call, uri, ""));
        assert_eq!((answer(decision).status, decision.reason), (status, reason));
    }
    // A stranger's goes to the workers.
    come_by(&mut rig, ConnId(9), "192.0.2.2:5080");
    assert_eq!(rig.send(&to("e", "sip:x@203.0.113.9:5070", "")).reason, Reason::Selected);
}
