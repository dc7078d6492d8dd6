//! Dialogs of downstream proxies that stay at the well-known address, by the bytes that travel.

use std::net::SocketAddr;

use super::*;
use crate::config::{Pool, Proxy, RecordRoute, Route};
use crate::ids::ConnId;

const CALLER: &str = "198.51.100.7:4711";
const SERVER: &str = "192.0.2.9:5080";
const CALLERS_CONTACT: &str = "10.0.0.1:5062";
const CONN: ConnId = ConnId(7);

/// A dispatcher in front of one server: listener 0 is for UDP, 1 for WebSockets.
struct Rig(Switch<Mute>);

/// A message that has left: its text, and where to.
#[derive(Clone, Debug, PartialEq)]
struct Sent(String, String);

impl Rig {
    fn new(record_route: RecordRoute) -> Self {
        let rules = Rules {
            pools: vec![Pool { record_route, ..Pool::default() }],
            proxies: vec![Proxy {
                name: "a".to_owned(),
                host: "192.0.2.9".to_owned(),
                port: Some(5080),
                ..Proxy::default()
            }],
            unrouted: Route { pool: Pool::DEFAULT.to_owned(), ..Route::default() },
            udp_listeners: vec![(ListenerId(0), "192.0.2.2:5060".parse().unwrap())],
            stream_listeners: vec![(ListenerId(1), Transport::Ws, "192.0.2.2:8080".parse().unwrap())],
            ..Rules::default()
        };
        let keys = Keyring::new(TokenKey::new([1; 32]));
        let dispatch = Dispatch::new(Setup { rules, keys, table_cap: 100, group_cap: 10, workers: 0, seed: 1 });
        Rig(Switch::new(dispatch, Insert::None, 0, Owners::new(0, 1, 0)))
    }

    fn come(&mut self, text: &str, way: &Way) -> Vec<Sent> {
        self.0.on_message(text.as_bytes(), way, NOW);
        let mut all = Vec::new();
        self.0.flush_answers(|batch| {
            all.extend(batch.map(|(bytes, to)| Sent(String::from_utf8_lossy(bytes).into_owned(), to.to_string())));
        });
        self.0.flush_replies(|conn: ConnId, bytes: &[u8]| {
            all.push(Sent(String::from_utf8_lossy(bytes).into_owned(), format!("connection {}", conn.0)));
            true
        });
        all
    }

    fn udp(&mut self, text: &str, source: &str) -> Vec<Sent> {
        let ends: (SocketAddr, SocketAddr) = (source.parse().unwrap(), "192.0.2.2:5060".parse().unwrap());
        let way = Way::of_datagram(Owner::Listener(ListenerId(0)), ListenerId(0), Transport::Udp, ends, NOW);
        self.come(text, &way)
    }

    fn websocket(&mut self, text: &str) -> Vec<Sent> {
        let ends = (CALLER.parse().unwrap(), "192.0.2.2:8080".parse().unwrap());
        let mut way = Way::of_datagram(Owner::Listener(ListenerId(1)), ListenerId(1), Transport::Ws, ends, NOW);
        way.arrival.reply_to = ReplyTo::Stream(CONN);
        self.come(text, &way)
    }

    /// Has the caller's INVITE come; the values of our Record-Route as the server sees them.
    fn call(&mut self) -> Vec<String> {
        recorded(&one(self.udp(INVITE, CALLER)).0)
    }
}

const INVITE: &str = "INVITE sip:7@192.0.2.2 SIP/2.0\r\nVia: SIP/2.0/UDP 10.0.0.1:5062;rport;branch=z9hG4bK-1\r\n\
    Max-Forwards: 70\r\nFrom: <sip:b@example.net>;tag=1\r\nTo: <sip:7@192.0.2.2>\r\nCall-ID: c\r\nCSeq: 1 INVITE\r\n\
    Contact: <sip:b@10.0.0.1:5062>\r\nContent-Length: 0\r\n\r\n";

#[track_caller]
fn one(sent: Vec<Sent>) -> Sent {
    let [one] = &sent[..] else { panic!("not one message: {sent:?}") };
    one.clone()
}

fn recorded(text: &str) -> Vec<String> {
    let line = text.lines().find_map(|line| line.strip_prefix("Record-Route: "));
    line.map(|line| line.split(", ").map(str::to_owned).collect()).unwrap_or_default()
}

/// A request inside the dialog, from the caller or from the server.
fn inside(method: &str, uri: &str, routes: &[String], from_server: bool) -> String {
    let (from, to) = ("<sip:b@example.net>;tag=1", "<sip:7@192.0.2.2>;tag=s");
    let (from, to) = if from_server { (to, from) } else { (from, to) };
    let via = if from_server { SERVER } else { CALLERS_CONTACT };
    let routes: String = routes.iter().map(|route| format!("Route: {route}\r\n")).collect();
    format!(
        "{method} {uri} SIP/2.0\r\nVia: SIP/2.0/UDP {via};rport;branch=z9hG4bK-{method}{from_server}\r\n{routes}\
         Max-Forwards: 70\r\nFrom: {from}\r\nTo: {to}\r\nCall-ID: c\r\nCSeq: 2 {method}\r\nContent-Length: 0\r\n\r\n"
    )
}

/// The response to a request that came so, with this status.
fn response(request: &str, status: &str) -> String {
    format!("SIP/2.0 {status}\r\n{}", request.split_once("\r\n").unwrap().1)
}

fn reversed(values: &[String]) -> Vec<String> {
    values.iter().rev().cloned().collect()
}

#[test]
fn a_call_from_behind_a_nat_stays_with_us_and_each_side_reaches_the_other() {
    let mut rig = Rig::new(RecordRoute::Auto);
    let values = rig.call();
    assert_eq!(values.len(), 2, "a value for each side: {values:?}");
    for (method, from_server) in [("BYE", true), ("INVITE", true), ("ACK", true), ("CANCEL", true)] {
        let text = inside(method, "sip:b@10.0.0.1:5062", &values, from_server);
        let Sent(text, to) = one(rig.udp(&text, SERVER));
        assert_eq!(to, CALLER, "{method}: where the call came from, not its Contact");
        assert!(text.starts_with(&format!("{method} sip:b@10.0.0.1:5062 SIP/2.0\r\n")), "{text}");
        assert!(!text.contains("Route:") && text.contains("Max-Forwards: 69"), "{text}");
        if method != "ACK" {
            let Sent(text, to) = one(rig.udp(&response(&text, "200 OK"), CALLER));
            assert_eq!((to.as_str(), text.matches("Via:").count()), (SERVER, 1), "{text}");
        }
    }
    for method in ["BYE", "INVITE", "ACK", "CANCEL"] {
        let text = inside(method, "sip:7@192.0.2.9:5090", &reversed(&values), false);
        let Sent(text, to) = one(rig.udp(&text, CALLER));
        assert_eq!(to, "192.0.2.9:5090", "{method}: the server's Contact");
        assert!(!text.contains("Route:"), "{text}");
        if method != "ACK" {
            assert_eq!(one(rig.udp(&response(&text, "200 OK"), SERVER)).1, CALLER);
        }
    }
}

#[test]
fn the_first_values_token_leads_to_the_other_side_whoever_sends_from_where() {
    let mut rig = Rig::new(RecordRoute::Always);
    let values = rig.call();
    // The NAT has given the caller another port since.
    let bye = inside("BYE", "sip:7@192.0.2.9:5080", &reversed(&values), false);
    assert_eq!(one(rig.udp(&bye, "198.51.100.7:9999")).1, SERVER);
    let bye = inside("BYE", "sip:b@10.0.0.1:5062", &values, true);
    assert_eq!(one(rig.udp(&bye, "192.0.2.10:5060")).1, CALLER);
}

#[test]
fn callers_that_can_be_reached_are_left_to_their_server() {
    let recorded_by = |record_route, text: &str| recorded(&one(Rig::new(record_route).udp(text, CALLER)).0).len();
    let auto = |text: &str| recorded_by(RecordRoute::Auto, text);
    assert_eq!(auto(INVITE), 2);
    for contact in ["sip:b@x.invalid", "sip:b@192.168.1.1", "sip:b@[fd00::1]:5060", "sip:b@100.64.0.1"] {
        assert_eq!(auto(&INVITE.replace("sip:b@10.0.0.1:5062", contact)), 2, "{contact}");
    }
    for contact in ["sip:b@198.51.100.7:5060", "sip:b@203.0.113.9", "sip:b@pbx.example.net", "tel:123"] {
        assert_eq!(auto(&INVITE.replace("sip:b@10.0.0.1:5062", contact)), 0, "{contact}");
    }
    let by_proxy = INVITE.replace("Contact:", "Record-Route: <sip:198.51.100.7;lr>\r\nContact:");
    let Sent(text, _) = one(Rig::new(RecordRoute::Auto).udp(&by_proxy, CALLER));
    assert_eq!(text.matches("Record-Route").count(), 1, "a proxy before us reaches the caller");
    assert_eq!(recorded_by(RecordRoute::Never, INVITE), 0);
    for method in ["REGISTER", "OPTIONS", "MESSAGE"] {
        assert_eq!(recorded_by(RecordRoute::Always, &INVITE.replace("INVITE", method)), 0, "{method}");
    }
}

#[test]
fn a_private_network_of_both_sides_is_no_nat() {
    let mut rig = Rig::new(RecordRoute::Auto);
    assert_eq!(recorded(&one(rig.udp(INVITE, "10.0.0.1:5062")).0).len(), 0);
}

#[test]
fn forged_routes_lead_nowhere() {
    let mut rig = Rig::new(RecordRoute::Always);
    let values = rig.call();
    let other_call = |text: String| text.replace("Call-ID: c", "Call-ID: d");
    let changed = |values: &[String]| values.iter().map(|value| value.replacen("0", "1", 1)).collect::<Vec<_>>();
    for (forged, why) in [
        (other_call(inside("BYE", "sip:x@203.0.113.66", &values, true)), "another dialog's token"),
        (other_call(inside("BYE", "sip:x@203.0.113.66", &reversed(&values), false)), "another dialog's token"),
        (other_call(inside("BYE", "sip:x@203.0.113.66", &changed(&values), true)), "a changed token"),
        (other_call(inside("BYE", "sip:x@203.0.113.66", &["<sip:192.0.2.2;lr>".to_owned()], false)), "no token"),
    ] {
        let Sent(text, to) = one(rig.udp(&forged, "203.0.113.5:5060"));
        assert!(text.starts_with("SIP/2.0 481 ") && to == "203.0.113.5:5060", "{why}: {text}");
    }
    // A caller with a token of its own gets no further than the server.
    let mut routes = reversed(&values);
    let bye = inside("BYE", "sip:x@203.0.113.66", &routes, false);
    assert_eq!(one(rig.udp(&bye, CALLER)).1, SERVER);
    routes.push("<sip:203.0.113.66;lr>".to_owned());
    let bye = inside("BYE", "sip:7@192.0.2.9", &routes, false).replace("-BYE", "-BYE2");
    assert_eq!(one(rig.udp(&bye, CALLER)).1, SERVER);
}

#[test]
fn routers_without_lr_before_and_after_us_get_what_they_understand() {
    let mut rig = Rig::new(RecordRoute::Always);
    let values = rig.call();
    // A strict router has put our value into the request-URI, and the request-URI at the end (RFC 3261 §16.4).
    let uri = |value: &str| value.trim_matches(['<', '>']).to_owned();
    let routes = [values[1].clone(), "<sip:b@10.0.0.1:5062>".to_owned()];
    let Sent(text, to) = one(rig.udp(&inside("BYE", &uri(&values[0]), &routes, true), SERVER));
    assert_eq!(to, CALLER);
    assert!(text.starts_with("BYE sip:b@10.0.0.1:5062 SIP/2.0\r\n") && !text.contains("Route:"), "{text}");
    // The next router, at the server, is strict (§16.6 step 6).
    let mut routes = reversed(&values);
    routes.push("<sip:192.0.2.9:5099>".to_owned());
    let Sent(text, to) = one(rig.udp(&inside("BYE", "sip:7@192.0.2.88", &routes, false), CALLER));
    assert_eq!(to, "192.0.2.9:5099");
    assert!(text.starts_with("BYE sip:192.0.2.9:5099 SIP/2.0\r\n"), "{text}");
    assert!(text.contains("Route: <sip:7@192.0.2.88>\r\n"), "{text}");
}

#[test]
fn a_route_that_has_led_a_call_here_goes_no_further() {
    for route in ["<sip:192.0.2.2;lr>", "<sip:192.0.2.2:5060;lr>", "<sip:sip.example.net;lr>"] {
        let text = INVITE.replace("Contact:", &format!("Route: {route}\r\nContact:"));
        let Sent(text, to) = one(Rig::new(RecordRoute::Never).udp(&text, CALLER));
        assert!(to == SERVER && !text.contains("\nRoute:"), "{text}");
    }
    let text = INVITE.replace("Contact:", "Route: <sip:192.0.2.2;lr>, <sip:203.0.113.1;lr>\r\nContact:");
    let Sent(text, to) = one(Rig::new(RecordRoute::Never).udp(&text, CALLER));
    assert!(to == SERVER && text.contains("\nRoute: <sip:203.0.113.1;lr>\r\n"), "{text}");
}

#[test]
fn a_browser_is_reached_on_its_connection() {
    let mut rig = Rig::new(RecordRoute::Auto);
    let invite = INVITE.replace("/UDP 10.0.0.1:5062", "/WS x.invalid").replace("b@10.0.0.1:5062", "b@x.invalid");
    let sent = one(rig.websocket(&invite));
    assert_eq!(sent.1, SERVER);
    let values = recorded(&sent.0);
    assert!(values[0].ends_with("@192.0.2.2:5060;lr>"), "{values:?}");
    assert!(values[1].ends_with("@192.0.2.2:8080;transport=ws;lr>"), "{values:?}");
    let ok = response(&sent.0, "200 OK").replace("To: <sip:7@192.0.2.2>", "To: <sip:7@192.0.2.2>;tag=s");
    let Sent(text, to) = one(rig.udp(&ok, SERVER));
    assert_eq!(to, "connection 7");
    assert_eq!(recorded(&text), values);
    let Sent(text, to) = one(rig.udp(&inside("BYE", "sip:b@x.invalid", &values, true), SERVER));
    assert_eq!(to, "connection 7");
    assert!(text.contains("\r\nVia: SIP/2.0/WS 192.0.2.2:8080;branch=z9hG4bK"), "{text}");
    let Sent(text, to) = one(rig.websocket(&response(&text, "200 OK")));
    assert_eq!((to.as_str(), text.matches("Via:").count()), (SERVER, 1), "{text}");
    // What the browser sends inside the dialog has a context of its own, as its INVITE had.
    let bye = inside("INFO", "sip:7@192.0.2.9:5080", &reversed(&values), false);
    let Sent(text, to) = one(rig.websocket(&bye));
    assert_eq!(to, SERVER);
    assert_eq!(one(rig.udp(&response(&text, "200 OK"), SERVER)).1, "connection 7");
}
