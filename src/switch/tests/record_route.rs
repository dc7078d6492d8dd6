//! Dialogs of downstream proxies that stay at the well-known address, by the bytes that travel.

use std::net::SocketAddr;

use super::*;
use crate::config::RecordRoute;
use crate::ids::ConnId;
use crate::server::stats::Sender;

const CALLER: &str = "198.51.100.7:4711";
const SERVER: &str = "192.0.2.9:5080";
const STRANGER: &str = "203.0.113.66:5060";
const CALLERS_CONTACT: &str = "10.0.0.1:5062";
const CONN: ConnId = ConnId(7);

/// A dispatcher in front of one server.
struct Rig(Switch<Mute>);

/// A message that has left: its text, and where to.
#[derive(Clone, Debug, PartialEq)]
struct Sent(String, String);

impl Rig {
    fn new(record_route: RecordRoute) -> Self {
        Rig(in_front(Pool { record_route, ..Pool::default() }, &["192.0.2.9"]))
    }

    fn come(&mut self, text: &str, way: &Way) -> Vec<Sent> {
        self.0.on_message(text.as_bytes(), way, NOW);
        self.left()
    }

    /// Has a server's request come for a connection that is gone.
    fn in_vain(&mut self, text: &str) -> Vec<Sent> {
        let ends = (SERVER.parse().unwrap(), "192.0.2.2:5060".parse().unwrap());
        let way = Way::of_datagram(Owner::Listener(ListenerId(0)), ListenerId(0), Transport::Udp, ends, NOW);
        self.0.on_message(text.as_bytes(), &way, NOW);
        self.0.flush_replies(|_: ConnId, _: &[u8]| false);
        if self.0.poll_timeout().is_some_and(|at| at <= NOW) {
            self.0.handle_timeout(NOW);
        }
        self.left()
    }

    /// All that leaves at this time after the beginning.
    fn at(&mut self, after: Duration) -> Vec<Sent> {
        self.0.handle_timeout(NOW + after);
        self.left()
    }

    fn left(&mut self) -> Vec<Sent> {
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

    /// Has a browser's INVITE come; the values of our Record-Route as the server sees them.
    fn browser(&mut self) -> Vec<String> {
        let invite = INVITE.replace("/UDP 10.0.0.1:5062", "/WS x.invalid").replace("b@10.0.0.1:5062", "b@x.invalid");
        let sent = one(self.websocket(&invite));
        let ok = response(&sent.0, "200 OK").replace("To: <sip:7@192.0.2.2>", "To: <sip:7@192.0.2.2>;tag=s");
        one(self.udp(&ok, SERVER));
        recorded(&sent.0)
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
fn a_strangers_bye_with_the_token_of_a_server_is_not_explained_as_one_from_that_server() {
    let mut rig = Rig::new(RecordRoute::Auto);
    let values = rig.call();
    for (number, (source, sent_by)) in [(SERVER, Sender::Proxy), (STRANGER, Sender::Other)].into_iter().enumerate() {
        let bye = inside("BYE", "sip:b@10.0.0.1:5062", &values, true);
        one(rig.udp(&bye.replace("z9hG4bK-", &format!("z9hG4bK-{number}")), source));
        assert_eq!(rig.0.explain(b"c", NOW).last().unwrap().sent_by, Some(sent_by), "{source}");
    }
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
        let text = inside(method, "sip:7@192.0.2.9:5080", &reversed(&values), false);
        let Sent(text, to) = one(rig.udp(&text, CALLER));
        assert_eq!(to, SERVER, "{method}");
        assert!(!text.contains("Route:"), "{text}");
        if method != "ACK" {
            assert_eq!(one(rig.udp(&response(&text, "200 OK"), SERVER)).1, CALLER);
        }
    }
}

#[test]
fn after_a_restart_with_another_order_of_listen_a_dialog_does_not_leave_from_another_socket() {
    let mut rig = Rig::new(RecordRoute::Always);
    let values = rig.call();
    let address = |port| SocketAddr::from(([192, 0, 2, 2], port));
    let others =
        [(vec![(0, 5070), (1, 5060)], "5060"), (vec![(0, 5060), (1, 5070)], "5060"), (vec![(0, 5070)], "5070")];
    for (number, (listeners, leaves_from)) in others.into_iter().enumerate() {
        let udp_listeners = listeners.into_iter().map(|(id, port)| (ListenerId(id), address(port))).collect();
        let rules = Rules { udp_listeners, ..rig.0.dispatch().rules().clone() };
        rig.0.dispatch.set_rules(rules, NOW);
        let bye = inside("BYE", "sip:b@10.0.0.1:5062", &values, true).replace("-BYE", &format!("-BYE{number}"));
        // It comes to the other socket.
        let ends = (SERVER.parse().unwrap(), address(5070));
        let id = rig.0.dispatch().rules().udp_listeners.iter().find(|(_, at)| *at == ends.1).unwrap().0;
        let way = Way::of_datagram(Owner::Listener(id), id, Transport::Udp, ends, NOW);
        let Sent(text, to) = one(rig.come(&bye, &way));
        assert_eq!(to, CALLER);
        assert!(text.contains(&format!("\r\nVia: SIP/2.0/UDP 192.0.2.2:{leaves_from};branch=")), "{number}: {text}");
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
    // Nor to another port of the server, nor back to us.
    for uri in ["sip:x@192.0.2.9:53", "sip:x@192.0.2.2:5060"] {
        let bye = inside("BYE", uri, &reversed(&values), false).replace("-BYE", &format!("-{}", uri.len()));
        assert_eq!(one(rig.udp(&bye, CALLER)).1, SERVER, "{uri}");
    }
}

#[test]
fn routes_that_cannot_be_read_are_a_fault() {
    let mut rig = Rig::new(RecordRoute::Always);
    let values = rig.call();
    let uri = values[0].trim_matches(['<', '>']).to_owned();
    for (number, last) in ["<>", "<sip:a\"b\u{1}c@192.0.2.9>", "\"garb <sip:x", "<tel:1>"].into_iter().enumerate() {
        for (uri, mut routes) in [(uri.as_str(), values[1..].to_vec()), ("sip:7@192.0.2.9", reversed(&values))] {
            routes.push(last.to_owned());
            let text = inside("INFO", uri, &routes, uri.len() > 20).replace("-INFO", &format!("-{number}"));
            let Sent(text, to) = one(rig.udp(&text, "203.0.113.5:5060"));
            assert!(text.starts_with("SIP/2.0 400 ") && to == "203.0.113.5:5060", "{last}: {text}");
        }
    }
}

#[test]
fn a_caller_may_have_our_name_above_the_values_of_its_dialog() {
    let mut rig = Rig::new(RecordRoute::Always);
    let values = rig.call();
    let mut routes = vec!["<sip:sip.example.net;lr>".to_owned()];
    routes.extend(reversed(&values));
    let Sent(text, to) = one(rig.udp(&inside("BYE", "sip:7@192.0.2.9:5080", &routes, false), CALLER));
    assert!(to == SERVER && !text.contains("Route:"), "{text}");
}

#[test]
fn a_proxy_that_the_settings_have_lost_ends_its_dialogs_and_requests_itself() {
    let mut rig = Rig::new(RecordRoute::Always);
    let invite = one(rig.udp(INVITE, CALLER)).0;
    let values = recorded(&invite);
    rig.0.dispatch.set_rules(Rules { proxies: Vec::new(), ..rig.0.dispatch().rules().clone() }, NOW);
    let Sent(text, to) = one(rig.udp(&response(&invite, "200 OK"), SERVER));
    assert!(to == CALLER && text.starts_with("SIP/2.0 200"), "{text}");
    assert_eq!(one(rig.udp(&inside("BYE", "sip:b@10.0.0.1:5062", &values, true), SERVER)).1, CALLER);
    assert_eq!(one(rig.udp(&inside("INFO", "sip:7@192.0.2.9", &reversed(&values), false), CALLER)).1, SERVER);
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
    routes.push(format!("<sip:{SERVER}>"));
    let Sent(text, to) = one(rig.udp(&inside("BYE", "sip:7@192.0.2.88", &routes, false), CALLER));
    assert_eq!(to, SERVER);
    assert!(text.starts_with(&format!("BYE sip:{SERVER} SIP/2.0\r\n")), "{text}");
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
    // The server sends its 2xx until the ACK comes, and the caller has to hear each (RFC 6026 §7.3).
    for _ in 0..3 {
        let Sent(text, to) = one(rig.udp(&ok, SERVER));
        assert_eq!(to, "connection 7");
        assert_eq!(recorded(&text), values);
    }
    let Sent(text, to) = one(rig.udp(&inside("BYE", "sip:b@x.invalid", &values, true), SERVER));
    assert_eq!(to, "connection 7");
    assert!(text.contains("\r\nVia: SIP/2.0/WS 192.0.2.2:8080;branch=z9hG4bK"), "{text}");
    let Sent(text, to) = one(rig.websocket(&response(&text, "200 OK")));
    assert_eq!((to.as_str(), text.matches("Via:").count()), (SERVER, 1), "{text}");
    // A request of the browser's inside the dialog has a context of its own, as its INVITE had.
    let bye = inside("INFO", "sip:7@192.0.2.9:5080", &reversed(&values), false);
    let Sent(text, to) = one(rig.websocket(&bye));
    assert_eq!(to, SERVER);
    assert_eq!(one(rig.udp(&response(&text, "200 OK"), SERVER)).1, "connection 7");
}

#[test]
fn the_cancel_of_a_browsers_invite_inside_its_dialog_is_sent_until_it_is_answered() {
    let mut rig = Rig::new(RecordRoute::Auto);
    let invite = INVITE.replace("/UDP 10.0.0.1:5062", "/WS x.invalid").replace("b@10.0.0.1:5062", "b@x.invalid");
    let values = recorded(&one(rig.websocket(&invite)).0);
    let again = inside("INVITE", "sip:7@192.0.2.9:5080", &reversed(&values), false);
    let Sent(invite, _) = one(rig.websocket(&again));
    assert_eq!(one(rig.udp(&response(&invite, "180 Ringing"), SERVER)).1, "connection 7");
    let cancel = again.replace("INVITE sip", "CANCEL sip").replace("2 INVITE", "2 CANCEL");
    let sent = rig.websocket(&cancel);
    let cancel = sent.iter().find(|Sent(text, _)| text.starts_with("CANCEL")).expect("its CANCEL");
    assert!(rig.udp(&response(&cancel.0, "200 OK"), SERVER).is_empty());
    rig.0.handle_timeout(NOW + Duration::from_secs(1));
    let mut left = Vec::new();
    rig.0.flush_answers(|batch| left.extend(batch.map(|(bytes, _)| String::from_utf8_lossy(bytes).into_owned())));
    assert!(!left.iter().any(|text| text.starts_with("CANCEL")), "{left:?}");
}

fn shown(all: &[Sent]) -> Vec<String> {
    let first = |text: &str| {
        let words: Vec<_> = text.split([' ', '\r']).take(2).collect();
        if words[0] == "SIP/2.0" { words[1].to_owned() } else { words[0].to_owned() }
    };
    all.iter().map(|Sent(text, to)| format!("{} to {to}", first(text))).collect()
}

#[test]
fn a_servers_request_for_a_browser_that_has_left_gets_430_and_its_ack_nothing() {
    let mut rig = Rig::new(RecordRoute::Auto);
    let values = rig.browser();
    for method in ["BYE", "INVITE", "INFO"] {
        let sent = rig.in_vain(&inside(method, "sip:b@x.invalid", &values, true));
        let answer = sent.last().unwrap();
        assert!(answer.0.starts_with("SIP/2.0 430 Flow Failed\r\n") && answer.1 == SERVER, "{method}: {sent:?}");
        assert_eq!(answer.0.matches("Via:").count(), 1, "{}", answer.0);
    }
    assert_eq!(shown(&rig.in_vain(&inside("BYE", "sip:b@x.invalid", &values, true))), [format!("430 to {SERVER}")]);
    // The ACK to the 430 goes no further.
    let ack = inside("ACK", "sip:b@x.invalid", &values, true).replace("-ACKtrue", "-INVITEtrue");
    assert_eq!(rig.in_vain(&ack), []);
    assert_eq!(rig.in_vain(&inside("ACK", "sip:b@x.invalid", &values, true)), [], "that to a 2xx is never answered");
    let dispatch = rig.0.dispatch();
    assert_eq!(dispatch.counters().of(Reason::FlowFailed), 4);
    assert!(dispatch.explain(b"c").iter().any(|it| it.reason == Reason::FlowFailed), "and it is explained");
    rig.at(Duration::from_secs(70));
    rig.0.check();
}

#[test]
fn a_servers_request_that_had_not_left_when_its_browser_did_gets_430() {
    struct Ending(Option<usize>);
    impl Connections for Ending {
        fn queue(&mut self, _: ConnId, message: &[u8]) -> bool {
            self.0 = Some(message.len());
            true
        }
        fn write(&mut self) {}
        fn poll_closed(&mut self) -> Option<(ConnId, usize)> {
            Some((CONN, self.0.take()?))
        }
        fn waiting(&self, _: ConnId) -> usize {
            0
        }
    }
    let mut rig = Rig::new(RecordRoute::Auto);
    let values = rig.browser();
    let ends = (SERVER.parse().unwrap(), "192.0.2.2:5060".parse().unwrap());
    let way = Way::of_datagram(Owner::Listener(ListenerId(0)), ListenerId(0), Transport::Udp, ends, NOW);
    rig.0.on_message(inside("BYE", "sip:b@x.invalid", &values, true).as_bytes(), &way, NOW);
    rig.0.flush_replies(Ending(None));
    assert_eq!(shown(&rig.at(Duration::ZERO)), [format!("430 to {SERVER}")]);
}

#[test]
fn a_copy_of_a_servers_reinvite_reaches_the_browser_no_second_time() {
    let mut rig = Rig::new(RecordRoute::Auto);
    let values = rig.browser();
    let invite = inside("INVITE", "sip:b@x.invalid", &values, true);
    let Sent(seen, to) = one(rig.udp(&invite, SERVER));
    assert_eq!(to, "connection 7");
    assert_eq!(rig.udp(&invite, SERVER), []);
    assert_eq!(shown(&rig.at(Duration::from_millis(210))), [format!("100 to {SERVER}")]);
    assert_eq!(shown(&rig.udp(&invite, SERVER)), [format!("100 to {SERVER}")]);
    assert_eq!(rig.at(Duration::from_secs(3)), [], "a stream loses nothing");
    assert_eq!(shown(&rig.websocket(&response(&seen, "180 Ringing"))), [format!("180 to {SERVER}")]);
    let cancel = inside("CANCEL", "sip:b@x.invalid", &values, true).replace("-CANCELtrue", "-INVITEtrue");
    let mut sent = shown(&rig.udp(&cancel, SERVER));
    sent.sort_unstable();
    assert_eq!(sent, [format!("200 to {SERVER}"), "CANCEL to connection 7".to_owned()]);
    let sent = shown(&rig.websocket(&response(&seen, "487 Request Terminated")));
    assert!(sent.contains(&"ACK to connection 7".to_owned()) && sent.contains(&format!("487 to {SERVER}")), "{sent:?}");
    assert_eq!(shown(&rig.at(Duration::from_millis(3_600))), [format!("487 to {SERVER}")], "until its ACK comes");
    let ack = inside("ACK", "sip:b@x.invalid", &values, true).replace("-ACKtrue", "-INVITEtrue");
    assert_eq!(rig.udp(&ack, SERVER), [], "hop by hop");
    assert_eq!(rig.at(Duration::from_secs(10)), []);
}

#[test]
fn a_browser_that_says_nothing_to_a_reinvite_ends_it_by_408() {
    let mut rig = Rig::new(RecordRoute::Auto);
    let values = rig.browser();
    one(rig.udp(&inside("INVITE", "sip:b@x.invalid", &values, true), SERVER));
    rig.at(Duration::from_secs(31));
    assert_eq!(shown(&rig.at(Duration::from_millis(32_100))), [format!("408 to {SERVER}")]);
}

#[test]
fn each_2xx_of_a_browser_to_a_reinvite_passes_and_copies_of_that_reinvite_do_not() {
    let mut rig = Rig::new(RecordRoute::Auto);
    let values = rig.browser();
    let invite = inside("INVITE", "sip:b@x.invalid", &values, true);
    let Sent(seen, _) = one(rig.udp(&invite, SERVER));
    for _ in 0..2 {
        let sent = rig.websocket(&response(&seen, "200 OK"));
        assert_eq!(shown(&sent), [format!("200 to {SERVER}")]);
    }
    assert_eq!(rig.udp(&invite, SERVER), []);
    let ack = inside("ACK", "sip:b@x.invalid", &values, true);
    assert_eq!(shown(&rig.udp(&ack, SERVER)), ["ACK to connection 7"]);
}

#[test]
fn a_browser_that_refuses_what_its_server_asks_says_nothing_about_that_server() {
    let mut rig = Rig::new(RecordRoute::Auto);
    let values = rig.browser();
    let weight = |rig: &Rig| rig.0.dispatch().proxies().iter().map(|(_, proxy)| proxy.weight(NOW)).sum::<f64>();
    let before = weight(&rig);
    for number in 0..10 {
        let info = inside("INFO", "sip:b@x.invalid", &values, true).replace("-INFO", &format!("-{number}"));
        let Sent(seen, _) = one(rig.udp(&info, SERVER));
        // It is on the host of the server.
        let ends = ("192.0.2.9:4711".parse().unwrap(), "192.0.2.2:8080".parse().unwrap());
        let way = Way::of_stream(CONN, ListenerId(1), Transport::Ws, ends, NOW);
        let answer = one(rig.come(&response(&seen, "503 No"), &way));
        assert!(answer.0.starts_with("SIP/2.0 50") && answer.1 == SERVER, "{answer:?}");
    }
    assert_eq!(weight(&rig), before);
}

#[test]
fn a_server_of_the_other_family_that_no_socket_reaches_is_said_to_the_caller() {
    let mut rig = Rig::new(RecordRoute::Auto);
    let proxies =
        vec![Proxy { name: "six".to_owned(), host: "2001:db8::1".to_owned(), port: Some(5060), ..Proxy::default() }];
    rig.0.dispatch.set_rules(Rules { proxies, ..rig.0.dispatch().rules().clone() }, NOW);
    assert!(one(rig.udp(INVITE, CALLER)).0.starts_with("SIP/2.0 503 "));
    // A wildcard socket of that family reaches it, from the address that this host has there.
    let udp_listeners =
        vec![(ListenerId(0), "192.0.2.2:5060".parse().unwrap()), (ListenerId(2), "[::]:5060".parse().unwrap())];
    let wildcard_addresses = vec!["192.0.2.2".parse().unwrap(), "2001:db8::2".parse().unwrap()];
    let rules = Rules { udp_listeners, wildcard_addresses, ..rig.0.dispatch().rules().clone() };
    rig.0.dispatch.set_rules(rules, NOW);
    let Sent(text, to) = one(rig.udp(&INVITE.replace("bK-1", "bK-2"), CALLER));
    assert_eq!(to, "[2001:db8::1]:5060");
    assert!(text.contains("\r\nVia: SIP/2.0/UDP [2001:db8::2]:5060;branch="), "{text}");
    assert_eq!(one(rig.udp(&response(&text, "200 OK"), "[2001:db8::1]:5060")).1, CALLER);
}
