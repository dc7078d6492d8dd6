//! Requests of systems that no flow token leads.

use std::time::Duration;

use pointsman::config;
use pointsman::dispatch::contexts::LeavingMessage;
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
        ("d", "sip:x@203.0.113.9;transport=tls", 480, Reason::OutboundUnreachable),
    ] {
        let decision = rig.send(&to(call, uri, ""));
        assert_eq!((answer(decision).status, decision.reason), (status, reason));
    }
    // A name is looked up first.
    let decision = rig.send(&to("f", "sip:x@example.org", ""));
    assert!(matches!(decision, Decision { target: Target::Waits(_), reason: Reason::OutboundUri }), "{decision:?}");
    let look_up = rig.dispatch.poll_look_up().unwrap();
    assert_eq!(
        (&*look_up.host, look_up.port, look_up.transport, look_up.asks_transports),
        ("example.org", None, Transport::Udp, true)
    );
    rig.dispatch.on_found(&[look_up.found(vec!["203.0.113.7:5060".parse().unwrap()], rig.now)], rig.now);
    assert!(matches!(rig.dispatch.poll_leaving().map(|it| it.message), Some(LeavingMessage::Request(_))));
    assert_eq!(rig.dispatch.explain(b"f").pop().unwrap().reason, Reason::OutboundLookedUp);
    // A connection is opened first.
    let decision = rig.send(&to("g", "sip:x@203.0.113.9;transport=tcp", ""));
    assert!(matches!(decision, Decision { target: Target::Waits(_), reason: Reason::OutboundUri }), "{decision:?}");
    let callee = rig.dispatch.poll_callee().unwrap();
    rig.dispatch.on_callee_dialled(&callee, Some(ConnId(60)), rig.now);
    rig.dispatch.on_connection_open(ConnId(60), rig.now);
    let leaving = rig.dispatch.poll_leaving().map(|it| it.message);
    assert!(
        matches!(&leaving, Some(LeavingMessage::Request(it)) if it.to == Hop::Connection(ConnId(60))),
        "{leaving:?}"
    );
    assert_eq!(rig.dispatch.explain(b"g").pop().unwrap().reason, Reason::OutboundConnected);
    // A stranger's goes to the workers.
    come_by(&mut rig, ConnId(9), "192.0.2.2:5080");
    assert_eq!(rig.send(&to("e", "sip:x@203.0.113.9:5070", "")).reason, Reason::Selected);
}

#[test]
fn a_systems_request_goes_to_the_contact_of_a_caller_whose_connection_is_gone() {
    let mut rig = rig_of_system();
    let mut rules = rig.dispatch.rules().clone();
    rules.unrouted.pool = config::Pool::DEFAULT.to_owned();
    rig.dispatch.set_rules(rules, rig.now);
    come_by(&mut rig, ConnId(9), "203.0.113.5:4711");
    let text = to("a", "sip:7@198.51.100.1", "");
    let sent = forward(rig.send(&text));
    assert_eq!(sent.to, Hop::Connection(ConnId(1)));
    let (mut values, mut scanner) = (Vec::new(), Scanner::new());
    let message = scanner.scan(text.as_bytes()).unwrap();
    rig.dispatch.write_record_route(&mut values, &sent, (&message, &rig.arrival));
    come_by(&mut rig, ConnId(1), "192.0.2.1:5080");
    let values = String::from_utf8(values).unwrap();
    let bye = format!(
        "BYE sip:as@203.0.113.5 SIP/2.0\r\nVia: SIP/2.0/TCP 192.0.2.1:5080;branch=z9hG4bK-bye\r\nRoute: {values}\r\n\
         Max-Forwards: 70\r\nFrom: <sip:ivr@ms.example.net>;tag=s\r\nTo: <sip:as@example.net>;tag=f-a\r\n\
         Call-ID: a\r\nCSeq: 2 BYE\r\nContent-Length: 0\r\n\r\n"
    );
    assert_eq!(forward(rig.send(&bye)).to, Hop::Connection(ConnId(9)));
    assert!(rig.dispatch.has_gone_by(ConnId(9)) && !rig.dispatch.has_gone_by(ConnId(8)));
    rig.dispatch.on_caller_gone(ConnId(9), rig.now);
    let leaving = rig.dispatch.poll_leaving().map(|leaving| leaving.message);
    let Some(LeavingMessage::Request(sent)) = leaving else { panic!("{leaving:?}") };
    assert_eq!(sent.to, Hop::Address("203.0.113.5:5060".parse().unwrap()));
    assert_eq!(rig.dispatch.explain(b"a").pop().unwrap().reason, Reason::OutboundContact);
    rig.dispatch.check();
}

/// The messages that leave: the destinations of requests and the statuses of answers, and the way of the last request.
fn left(rig: &mut Rig) -> (Vec<String>, Option<Forward>) {
    let (mut all, mut last) = (Vec::new(), None);
    for leaving in std::iter::from_fn(|| rig.dispatch.poll_leaving()) {
        let (what, forward) = match leaving.message {
            LeavingMessage::Request(forward) => ("", forward),
            LeavingMessage::Cancel(forward) => ("CANCEL ", forward),
            LeavingMessage::Acknowledge(forward, _) => ("ACK ", forward),
            LeavingMessage::Answer(answer) => {
                all.push(answer.status.to_string());
                continue;
            }
            LeavingMessage::Response(bytes) => {
                all.push(String::from_utf8_lossy(&bytes[8..11]).into_owned());
                continue;
            }
            LeavingMessage::HandedOver(_) | LeavingMessage::TakenBack(_) => panic!("{leaving:?}"),
        };
        all.push(format!("{what}{}", forward.to));
        last = Some(forward);
    }
    (all, last)
}

fn leaving(rig: &mut Rig) -> Vec<String> {
    left(rig).0
}

/// Has the name be looked up that a system's request goes to.
fn look_up(rig: &mut Rig, call: &str, addresses: &[&str]) {
    let decision = rig.send(&to(call, NAMED, ""));
    assert!(matches!(decision.target, Target::Waits(_)), "{decision:?}");
    let look_up = rig.dispatch.poll_look_up().unwrap();
    let addresses = addresses.iter().map(|address| address.parse().unwrap()).collect();
    rig.dispatch.on_found(&[look_up.found(addresses, rig.now)], rig.now);
}

fn wait(rig: &mut Rig, milliseconds: u64) {
    rig.now = rig.now + Duration::from_millis(milliseconds);
    rig.dispatch.handle_timeout(rig.now);
}

/// The URI of a name, and its addresses.
const NAMED: &str = "sip:x@example.org";
const FIRST: &str = "203.0.113.7:5060";
const SECOND: &str = "203.0.113.8:5060";

/// A response of an address that a request to the name has gone to, and the messages that leave then.
fn responds(rig: &mut Rig, sent: &Forward, status: u16) -> (Vec<String>, Decision) {
    let decision = rig.respond(&super::forwarding::response(&to("a", NAMED, ""), sent, status));
    (leaving(rig), decision)
}

#[test]
fn a_call_goes_to_the_next_address_of_a_name_where_nothing_is_heard_from_one() {
    let mut rig = rig_of_system();
    look_up(&mut rig, "a", &[FIRST, SECOND]);
    let first = left(&mut rig).1.unwrap();
    wait(&mut rig, 4_900);
    assert!(leaving(&mut rig).iter().all(|it| it == FIRST || it == "100"));
    wait(&mut rig, 200);
    let (shown, second) = left(&mut rig);
    assert_eq!(shown, [SECOND]);
    assert_ne!(first.branch, second.unwrap().branch, "another client transaction (RFC 3263 §4.3)");
    assert_eq!(rig.dispatch.explain(b"a").pop().unwrap().reason, Reason::MovedSilent);
    // The last one has all the time of its transaction.
    wait(&mut rig, 31_000);
    assert!(leaving(&mut rig).iter().all(|it| it == SECOND));
    wait(&mut rig, 2_000);
    assert_eq!(leaving(&mut rig), ["408"]);
    rig.dispatch.check();
}

#[test]
fn a_503_of_an_address_is_acknowledged_there_and_the_call_goes_to_the_next_one() {
    let mut rig = rig_of_system();
    look_up(&mut rig, "a", &[FIRST, SECOND]);
    let first = left(&mut rig).1.unwrap();
    let decision = rig.respond(&super::forwarding::response(&to("a", NAMED, ""), &first, 503));
    assert_eq!(decision.target, Target::Drop);
    assert_eq!(leaving(&mut rig), [format!("ACK {FIRST}").as_str(), SECOND]);
    assert_eq!(rig.dispatch.counters().of(Reason::MovedStatus), 1);
    let (shown, decision) = responds(&mut rig, &first, 503);
    assert_eq!((shown, decision.target), (vec![format!("ACK {FIRST}")], Target::Drop), "a copy of it");
    wait(&mut rig, 600);
    let second = left(&mut rig).1.unwrap();
    // Both refuse: the last one has no next, and its 503 would have our caller stay away.
    assert_eq!(responds(&mut rig, &second, 503).0, [format!("ACK {SECOND}").as_str(), "500"]);
}

#[test]
fn any_other_refusal_of_an_address_is_the_answer() {
    for status in [302, 404, 486, 500, 600] {
        let mut rig = rig_of_system();
        look_up(&mut rig, "a", &[FIRST, SECOND]);
        let first = left(&mut rig).1.unwrap();
        assert_eq!(responds(&mut rig, &first, status).0, [format!("ACK {FIRST}"), status.to_string()]);
    }
}

#[test]
fn a_cancel_goes_to_the_address_that_has_the_call_and_one_that_was_given_up_gets_its_own_once_it_rings() {
    let mut rig = rig_of_system();
    look_up(&mut rig, "a", &[FIRST, SECOND]);
    let first = left(&mut rig).1.unwrap();
    wait(&mut rig, 5_100);
    let second = left(&mut rig).1.unwrap();
    let (shown, decision) = responds(&mut rig, &second, 180);
    assert!(shown.is_empty() && matches!(decision.target, Target::ForwardResponse(_)), "{decision:?}");
    come_by(&mut rig, ConnId(1), "192.0.2.1:5080");
    let decision = rig.send(&same(&to("a", NAMED, ""), "CANCEL"));
    assert_eq!(answer(decision).status, 200);
    let (shown, cancel) = left(&mut rig);
    assert_eq!(shown, [format!("CANCEL {SECOND}")]);
    assert_eq!(cancel.unwrap().branch, second.branch);
    let rings = rig.respond(&super::forwarding::response(&to("a", NAMED, ""), &first, 180));
    assert_eq!((rings.target, rings.reason), (Target::Drop, Reason::LateResponse));
    let (shown, cancel) = left(&mut rig);
    assert_eq!(shown, [format!("CANCEL {FIRST}")]);
    assert_eq!(cancel.unwrap().branch, first.branch);
    let (shown, decision) = responds(&mut rig, &first, 487);
    assert_eq!((shown, decision.target), (vec![format!("ACK {FIRST}")], Target::Drop));
    assert_eq!(responds(&mut rig, &second, 487).0, [format!("ACK {SECOND}").as_str(), "487"]);
}

#[test]
fn a_2xx_of_an_address_that_was_given_up_passes_and_the_next_one_is_cancelled() {
    let mut rig = rig_of_system();
    look_up(&mut rig, "a", &[FIRST, SECOND]);
    let first = left(&mut rig).1.unwrap();
    wait(&mut rig, 5_100);
    let second = left(&mut rig).1.unwrap();
    let (shown, decision) = responds(&mut rig, &first, 200);
    assert!(shown.is_empty() && matches!(decision.target, Target::ForwardResponse(_)), "{decision:?}");
    let (shown, decision) = responds(&mut rig, &second, 100);
    assert_eq!((shown, decision.target), (vec![format!("CANCEL {SECOND}")], Target::Drop));
    // It has answered as well: both calls are the caller's to end (RFC 3261 §13.2.2.4).
    assert!(matches!(responds(&mut rig, &second, 200).1.target, Target::ForwardResponse(_)));
}

#[test]
fn a_request_other_than_invite_stays_at_an_address_that_is_silent_and_leaves_one_that_answers_503() {
    let mut rig = rig_of_system();
    let message = |rig: &mut Rig, call: &str| {
        let text = to(call, NAMED, "").replace("INVITE", "MESSAGE");
        assert!(matches!(rig.send(&text).target, Target::Waits(_)));
        let look_up = rig.dispatch.poll_look_up().unwrap();
        let found = look_up.found(vec![FIRST.parse().unwrap(), SECOND.parse().unwrap()], rig.now);
        rig.dispatch.on_found(&[found], rig.now);
        (text, left(rig).1.unwrap())
    };
    message(&mut rig, "a");
    for _ in 0..40 {
        wait(&mut rig, 1_000);
        let shown = leaving(&mut rig);
        assert!(shown.iter().all(|it| it == FIRST || it == "100"), "{shown:?} {}", rig.now);
    }
    come_by(&mut rig, ConnId(1), "192.0.2.1:5080");
    let (text, first) = message(&mut rig, "b");
    rig.respond(&super::forwarding::response(&text, &first, 503));
    assert_eq!(leaving(&mut rig), [SECOND]);
}

#[test]
fn no_more_than_so_many_addresses_of_a_name_are_tried() {
    let mut rig = rig_of_system();
    let addresses: Vec<String> = (1..=20).map(|number| format!("203.0.113.{number}:5060")).collect();
    look_up(&mut rig, "a", &addresses.iter().map(String::as_str).collect::<Vec<_>>());
    let mut branches = Vec::new();
    while let (_, Some(sent)) = left(&mut rig) {
        branches.push(sent.branch);
        rig.dispatch.on_undeliverable(addresses[branches.len() - 1].parse().unwrap(), rig.now);
    }
    assert_eq!(branches.len(), 8);
    branches.sort_by_key(|branch| branch.as_bytes().to_vec());
    branches.dedup();
    assert_eq!(branches.len(), 8);
    rig.dispatch.check();
}

#[test]
fn a_call_goes_to_the_next_address_of_a_name_at_once_where_the_first_cannot_be_reached() {
    let mut rig = rig_of_system();
    // No listener has an address of the family of the first.
    look_up(&mut rig, "a", &["[2001:db8::7]:5060", FIRST, SECOND]);
    assert_eq!(leaving(&mut rig), [FIRST]);
    rig.dispatch.on_undeliverable(SECOND.parse().unwrap(), rig.now);
    assert_eq!(leaving(&mut rig), [""; 0], "another address");
    rig.dispatch.on_undeliverable(FIRST.parse().unwrap(), rig.now);
    assert_eq!(leaving(&mut rig), [SECOND]);
    rig.dispatch.on_undeliverable(FIRST.parse().unwrap(), rig.now);
    assert_eq!(leaving(&mut rig), [""; 0], "it has left that one");
    rig.dispatch.check();
}

#[test]
fn a_call_stays_at_an_address_that_has_responded_however_long_it_takes() {
    let mut rig = rig_of_system();
    look_up(&mut rig, "a", &[FIRST, SECOND]);
    let Some(LeavingMessage::Request(sent)) = rig.dispatch.poll_leaving().map(|it| it.message) else { panic!() };
    rig.respond(&super::forwarding::response(&to("a", NAMED, ""), &sent, 180));
    leaving(&mut rig);
    wait(&mut rig, 60_000);
    rig.dispatch.on_undeliverable(FIRST.parse().unwrap(), rig.now);
    assert_eq!(leaving(&mut rig), [""; 0]);
}
