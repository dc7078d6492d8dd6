//! Requests that systems send by themselves: where they go, and that nobody else is led anywhere.

use super::*;
use crate::dispatch::decision::Reason;

/// A connection that system a has opened to the TCP listener, and its source.
const ITS: ConnId = ConnId(50);
const SYSTEM: &str = "192.0.2.11:40000";
/// Another system.
const OTHER: &str = "192.0.2.12:40000";
pub(super) const PHONE: &str = "203.0.113.9:5062";

/// A request of the system to this URI.
pub(super) fn to_uri(method: &str, uri: &str, routes: &[&str]) -> String {
    let routes: String = routes.iter().map(|route| format!("Route: <{route}>\r\n")).collect();
    format!(
        "{method} {uri} SIP/2.0\r\nVia: SIP/2.0/TCP 192.0.2.11:5080;rport;branch=z9hG4bK-{method}\r\n{routes}\
         Max-Forwards: 70\r\nFrom: <sip:ivr@192.0.2.11>;tag=s1\r\nTo: <sip:phone@example.net>\r\nCall-ID: out\r\n\
         CSeq: 1 {method}\r\nContact: <sip:ivr@192.0.2.11:5080;transport=tcp>\r\nContent-Length: 0\r\n\r\n"
    )
}

/// A request inside the dialog, of the side whose Route values these are.
pub(super) fn inside(method: &str, uri: &str, via: &str, routes: &[String], (from, to): (&str, &str)) -> String {
    let routes: String = routes.iter().map(|route| format!("Route: {route}\r\n")).collect();
    format!(
        "{method} {uri} SIP/2.0\r\nVia: SIP/2.0/{via};rport;branch=z9hG4bK-{method}{from}\r\n{routes}\
         Max-Forwards: 70\r\nFrom: <sip:x@example.net>;tag={from}\r\nTo: <sip:y@example.net>;tag={to}\r\n\
         Call-ID: out\r\nCSeq: 2 {method}\r\nContent-Length: 0\r\n\r\n"
    )
}

/// The same request of another call.
pub(super) fn of_call(text: &str, call: &str) -> String {
    text.replace("Call-ID: out", &format!("Call-ID: {call}"))
        .replace("branch=z9hG4bK-", &format!("branch=z9hG4bK-{call}"))
}

/// The connections of a lane, one of which ends.
pub(super) struct Ends(pub(super) Option<ConnId>);

impl Connections for Ends {
    fn queue(&mut self, _: ConnId, _: &[u8]) -> bool {
        true
    }

    fn write(&mut self) {}

    fn poll_closed(&mut self) -> Option<(ConnId, usize)> {
        Some((self.0.take()?, 0))
    }

    fn waiting(&self, _: ConnId) -> usize {
        0
    }
}

/// A request of system a to the caller, whose Contact is this.
pub(super) fn to_caller(method: &str, contact: &str, routes: &[String]) -> String {
    let text = inside(method, contact, "TCP 192.0.2.11:5080", routes, ("s", "1"));
    text.replace("Call-ID: out", "Call-ID: c")
}

pub(super) fn answer(request: &Sent, status: &str) -> String {
    let rest = request.text.split_once("\r\n").unwrap().1;
    let tagged = rest.replace("To: <sip:phone@example.net>\r\n", "To: <sip:phone@example.net>;tag=p1\r\n");
    format!("SIP/2.0 {status}\r\n{tagged}")
}

impl Rig {
    /// The system sends on the connection that it has opened.
    pub(super) fn system(&mut self, text: &str) -> Vec<Sent> {
        self.stream(text, ITS, SYSTEM)
    }

    pub(super) fn datagram(&mut self, text: &str, source: &str) -> Vec<Sent> {
        let ends = (source.parse().unwrap(), UDP.parse().unwrap());
        let way = Way::of_datagram(Owner::Listener(ListenerId(0)), ListenerId(0), Transport::Udp, ends, self.now);
        self.switch.on_message(text.as_bytes(), &way, self.now);
        self.left()
    }

    /// A connection of a caller ends.
    pub(super) fn closes(&mut self, conn: ConnId) -> Vec<Sent> {
        self.gone.push(conn);
        self.switch.flush_replies(Ends(Some(conn)));
        let so_far = self.now.since(NOW).as_millis() as u64;
        self.passes(so_far)
    }

    /// A call of a caller on a connection to system a. The Route values of the system.
    pub(super) fn called(&mut self) -> Vec<String> {
        let sent = one(self.stream(&invite(BY_TCP), CALLERS, CALLER));
        one(self.responds(&sent, "200 OK"));
        sent.routes()
    }

    pub(super) fn counted(&self, reason: Reason) -> u64 {
        self.switch.dispatch().counters().of(reason)
    }

    pub(super) fn set_rules(&mut self, change: impl FnOnce(&mut Rules)) {
        let mut rules = self.switch.dispatch().rules().clone();
        change(&mut rules);
        self.switch.dispatch.set_rules(rules, self.now);
    }
}

#[test]
fn a_call_of_a_system_goes_to_its_request_uri_over_udp_whichever_side_opened_the_connection() {
    for conn in [ITS, ConnId(1)] {
        let mut rig = Rig::connected(1);
        let source = if conn == ITS { SYSTEM } else { "192.0.2.11:5080" };
        let sent = one(rig.stream(&to_uri("INVITE", "sip:phone@203.0.113.9:5062", &[]), conn, source));
        assert_eq!(sent.shown(), format!("INVITE to {PHONE}"));
        assert!(sent.text.starts_with("INVITE sip:phone@203.0.113.9:5062 SIP/2.0\r\n"));
        assert!(sent.field("Via").starts_with("SIP/2.0/UDP 192.0.2.2:5060;branch=z9hG4bK"), "{}", sent.text);
        assert_eq!(sent.field("Max-Forwards"), "69");
        assert_eq!(
            shown(&rig.passes(700)),
            [format!("INVITE to {PHONE}"), format!("100 to #{}", conn.0)].into_iter().rev().collect::<Vec<_>>(),
            "datagrams are lost"
        );
        let ok = one(rig.datagram(&answer(&sent, "200 OK"), PHONE));
        assert_eq!(ok.shown(), format!("200 to #{}", conn.0));
        assert_eq!(ok.text.matches("Via:").count(), 1);
        assert_eq!(rig.counted(Reason::OutboundUri), 1);
    }
}

#[test]
fn a_systems_request_to_an_address_without_a_way_ends_at_once() {
    let mut rig = Rig::connected(1);
    for (method, call) in [("INVITE", "v"), ("MESSAGE", "w")] {
        let text = to_uri(method, "sip:phone@203.0.113.9:5062", &[]);
        assert_eq!(one(rig.system(&text.replace("Call-ID: out", &format!("Call-ID: {call}")))).to, PHONE);
    }
    rig.switch.on_undeliverable("203.0.113.9:5063".parse().unwrap(), rig.now);
    assert_eq!(rig.left(), [], "another one");
    rig.switch.on_undeliverable(PHONE.parse().unwrap(), rig.now);
    let ended = shown(&rig.left());
    assert_eq!(ended, vec![format!("500 to #{}", ITS.0); 2], "RFC 3261 §16.9, and no 503 that says more than is known");
    // The caller of a dialog, who is reached in datagrams.
    let sent = one(rig.udp(&another(BY_UDP, "c")));
    let mut routes = one(rig.responds(&sent, "200 OK")).routes();
    routes.truncate(2);
    let bye = request("BYE", "TCP 192.0.2.11:5080", 3, &routes, ";tag=1");
    assert_eq!(one(rig.system(&bye)).to, CALLER);
    rig.switch.on_undeliverable(CALLER.parse().unwrap(), rig.now);
    assert_eq!(shown(&rig.left()), [format!("500 to #{}", ITS.0)]);
}

#[test]
fn a_dialog_that_a_system_has_begun_goes_by_record_route_values_of_both_sides() {
    let mut rig = Rig::connected(1);
    let sent = one(rig.system(&to_uri("INVITE", "sip:phone@203.0.113.9:5062", &[])));
    let [called, system] = &sent.routes()[..] else { panic!("{}", sent.text) };
    assert!(called.contains("@192.0.2.2:5060;") && called.ends_with(";lr>"), "{called}");
    assert!(system.contains("@192.0.2.2:5070;transport=tcp;"), "{system}");
    one(rig.datagram(&answer(&sent, "200 OK"), PHONE));
    let as_called = sent.routes();
    let as_system: Vec<String> = as_called.iter().rev().cloned().collect();
    // The phone's Contact is another port than that which it was called at.
    let contact = "sip:phone@203.0.113.9:6000";
    for method in ["ACK", "INFO", "BYE"] {
        let text = inside(method, contact, "TCP 192.0.2.11:5080", &as_system, ("s1", "p1"));
        let sent = one(rig.system(&text));
        assert_eq!(sent.shown(), format!("{method} to 203.0.113.9:6000"));
        assert!(!sent.text.contains("\r\nRoute:") && !sent.text.contains("Record-Route"), "{}", sent.text);
        if method != "ACK" {
            assert_eq!(one(rig.datagram(&answer(&sent, "200 OK"), PHONE)).shown(), "200 to #50");
        }
    }
    let text = inside("BYE", "sip:ivr@192.0.2.11:5080;transport=tcp", "UDP 203.0.113.9:6000", &as_called, ("p1", "s1"));
    let bye = one(rig.datagram(&text, PHONE));
    assert_eq!(bye.shown(), "BYE to #1", "by the connection that we keep open");
    assert!(!bye.text.contains("\r\nRoute:"), "{}", bye.text);
    assert_eq!(one(rig.responds(&bye, "200 OK")).shown(), format!("200 to {PHONE}"));
}

#[test]
fn a_system_reaches_a_phone_whose_contact_a_nat_hides_the_way_that_it_called_it() {
    let mut rig = Rig::connected(1);
    let sent = one(rig.system(&to_uri("INVITE", "sip:phone@203.0.113.9:5062", &[])));
    let routes: Vec<String> = sent.routes().into_iter().rev().collect();
    for contact in ["sip:phone@10.0.0.9:5060", "sip:phone@x.invalid"] {
        let method = if contact.ends_with("invalid") { "INFO" } else { "BYE" };
        let bye = inside(method, contact, "TCP 192.0.2.11:5080", &routes, ("s1", "p1"));
        assert_eq!(one(rig.system(&bye)).shown(), format!("{method} to {PHONE}"));
    }
}

#[test]
fn the_cancel_and_the_ack_of_a_systems_call_are_dealt_with_hop_by_hop() {
    let mut rig = Rig::connected(1);
    let invite = to_uri("INVITE", "sip:phone@203.0.113.9:5062", &[]);
    let sent = one(rig.system(&invite));
    assert!(rig.system(&invite).is_empty(), "a copy");
    assert_eq!(shown(&rig.datagram(&answer(&sent, "180 Ringing"), PHONE)), ["180 to #50"]);
    let cancel = to_uri("CANCEL", "sip:phone@203.0.113.9:5062", &[]).replace("-CANCEL", "-INVITE");
    assert_eq!(shown(&rig.system(&cancel)), [format!("CANCEL to {PHONE}"), "200 to #50".to_owned()]);
    let refused = rig.datagram(&answer(&sent, "487 Request Terminated"), PHONE);
    assert_eq!(shown(&refused), [format!("ACK to {PHONE}"), "487 to #50".to_owned()]);
    let ack = to_uri("ACK", "sip:phone@203.0.113.9:5062", &[]).replace("-ACK", "-INVITE");
    assert!(rig.system(&ack.replace("example.net>\r\nCall", "example.net>;tag=p1\r\nCall")).is_empty());
}

#[test]
fn a_route_after_ours_leads_a_systems_request_and_an_other_system_gets_it_by_its_connection() {
    let mut rig = Rig::connected(1);
    let ours = "sip:192.0.2.2:5070;transport=tcp;lr";
    let text = to_uri("OPTIONS", "sip:phone@example.org", &[ours, "sip:198.51.100.30;lr"]);
    let sent = one(rig.system(&text));
    assert_eq!(sent.shown(), "OPTIONS to 198.51.100.30:5060");
    assert_eq!(sent.field("Route"), "<sip:198.51.100.30;lr>");
    assert!(sent.text.starts_with("OPTIONS sip:phone@example.org "), "{}", sent.text);
    assert_eq!(rig.counted(Reason::OutboundRoute), 1);
    let strict = to_uri("MESSAGE", "sip:phone@example.org", &[ours, "sip:198.51.100.30"]);
    let sent = one(rig.system(&strict));
    assert!(sent.text.starts_with("MESSAGE sip:198.51.100.30 "), "{}", sent.text);
    assert_eq!(sent.field("Route"), "<sip:phone@example.org>");
    let sent = one(rig.system(&to_uri("INVITE", "sip:x@192.0.2.12:5080;transport=tcp", &[])));
    assert_eq!(sent.shown(), "INVITE to #102");
    assert_eq!(one(rig.responds(&sent, "200 OK")).shown(), "200 to #50");
    let answered =
        |rig: &Rig| rig.switch.dispatch().proxies().rows(rig.now).iter().map(|row| row.answered).sum::<u64>();
    assert_eq!(answered(&rig), 1, "it is a call of the other system");
    let routes: Vec<String> = sent.routes().into_iter().rev().collect();
    let info = inside("INFO", "sip:x@192.0.2.12:5080;transport=tcp", "TCP 192.0.2.11:5080", &routes, ("s1", "p1"));
    let again = info.replace(" INFO", " INVITE").replace("INFO ", "INVITE ").replace("-INFO", "-again");
    let again = one(rig.system(&again));
    rig.responds(&again, "200 OK");
    assert_eq!(answered(&rig), 1, "one inside its dialog is none");
}

#[test]
fn a_system_that_wants_no_requests_gets_none_of_another_system_but_those_inside_dialogs() {
    let mut rig = Rig::with(1, |proxy| proxy.oc = true);
    rig.open();
    let uri = "sip:x@192.0.2.12:5080;transport=tcp";
    let sent = one(rig.system(&to_uri("INVITE", uri, &[])));
    assert_eq!(sent.shown(), "INVITE to #102");
    let wish = sent.text.lines().find(|line| line.starts_with("Via:")).unwrap().to_owned();
    let said = wish.replace(";oc;oc-algo=\"loss\"", ";oc=100;oc-algo=\"loss\";oc-validity=500000;oc-seq=1.0");
    assert_ne!(wish, said, "{wish}");
    let accepted = answer(&sent, "200 OK").replacen(&wish, &said, 1);
    assert_eq!(one(rig.stream(&accepted, ConnId(102), "192.0.2.12:5080")).shown(), "200 to #50");
    let another = one(rig.system(&of_call(&to_uri("INVITE", uri, &[]), "another")));
    assert_eq!(another.shown(), "503 to #50");
    assert!(!another.text.contains("Retry-After"), "{}", another.text);
    let help = to_uri("INVITE", uri, &[]).replace("Max-F", "Resource-Priority: esnet.0\r\nMax-F");
    assert_eq!(one(rig.system(&of_call(&help, "help"))).shown(), "INVITE to #102");
}

#[test]
fn a_number_of_ours_and_what_a_route_names_go_to_the_pools_also_for_a_system() {
    let mut rig = Rig::connected(1);
    for (call, uri) in [("one", "sip:7@192.0.2.2"), ("two", "sip:7@192.0.2.2:5070;transport=tcp")] {
        let sent = one(rig.system(&of_call(&to_uri("INVITE", uri, &[]), call)));
        assert!(sent.to.starts_with('#'), "{sent:?}");
    }
    assert_eq!(rig.counted(Reason::Proxied), 2);
    let route = Route { user: Some("9*".to_owned()), pool: Pool::DEFAULT.to_owned(), ..Route::default() };
    let all = Route { pool: Pool::DEFAULT.to_owned(), ..Route::default() };
    rig.set_rules(|rules| rules.routes = vec![route, all]);
    let invite = |user: &str| of_call(&to_uri("INVITE", &format!("sip:{user}@203.0.113.9"), &[]), user);
    assert!(one(rig.system(&invite("99"))).to.starts_with('#'), "the route that names it");
    assert_eq!(one(rig.system(&invite("88"))).shown(), "INVITE to 203.0.113.9:5060", "a route for all names nothing");
}

#[test]
fn a_systems_request_goes_to_maddr_instead_of_the_host() {
    for (uri, to) in [
        ("sip:phone@198.51.100.99;maddr=203.0.113.9", "203.0.113.9:5060"),
        ("sip:phone@nowhere.invalid:5062;maddr=203.0.113.9", PHONE),
    ] {
        let mut rig = Rig::connected(1);
        assert_eq!(shown(&rig.system(&to_uri("OPTIONS", uri, &[]))), [format!("OPTIONS to {to}")]);
    }
    let mut rig = Rig::connected(1);
    let loopback = to_uri("OPTIONS", "sip:phone@198.51.100.99;maddr=127.0.0.1", &[]);
    assert_eq!(shown(&rig.system(&loopback)), ["403 to #50"]);
}

#[test]
fn a_system_cannot_have_requests_sent_to_us_to_this_host_or_to_many() {
    let mut rig = Rig::connected(1);
    let ours = "sip:192.0.2.2:5070;transport=tcp;lr";
    for (number, (uri, routes, status)) in [
        ("sip:x@127.0.0.1:5060", vec![], 403),
        ("sip:x@[::1]", vec![], 403),
        ("sip:x@[::ffff:127.0.0.1]", vec![], 403),
        ("sip:x@0.0.0.0", vec![], 403),
        ("sip:x@224.0.1.75", vec![], 403),
        ("sip:x@255.255.255.255", vec![], 403),
        ("sip:x@203.0.113.9;transport=tls", vec![], 480),
        ("sip:x@203.0.113.9;transport=sctp", vec![], 480),
        ("sip:x@203.0.113.9", vec![ours, ours, ours, ours], 482),
    ]
    .into_iter()
    .enumerate()
    {
        let text = to_uri("MESSAGE", uri, &routes).replace("-MESSAGE", &format!("-{number}"));
        let answer = one(rig.system(&text));
        assert_eq!(answer.shown(), format!("{status} to #50"), "{uri}");
    }
    let hops =
        |count: u8| to_uri("INVITE", "sip:x@203.0.113.9", &[]).replace("Forwards: 70", &format!("Forwards: {count}"));
    assert_eq!(one(rig.system(&hops(0))).shown(), "483 to #50");
    let required = to_uri("INFO", "sip:x@203.0.113.9", &[]).replace("Max-F", "Proxy-Require: x\r\nMax-F");
    assert_eq!(one(rig.system(&required)).shown(), "420 to #50");
    // A request that comes again by the same way has looped.
    let sent = one(rig.system(&to_uri("INVITE", "sip:x@203.0.113.9", &[])));
    assert_eq!(one(rig.system(&sent.text)).shown(), "482 to #50");
}

#[test]
fn nobody_but_a_system_is_routed_to_where_he_names() {
    let victim = "203.0.113.66";
    let ours = "sip:192.0.2.2:5070;transport=tcp;lr";
    let texts = || {
        let uri = format!("sip:x@{victim}");
        let route = format!("sip:{victim};lr");
        ["INVITE", "OPTIONS", "MESSAGE", "BYE", "ACK", "CANCEL"].into_iter().flat_map(move |method| {
            let (uri, route) = (uri.clone(), route.clone());
            [
                to_uri(method, &uri, &[]),
                to_uri(method, "sip:7@192.0.2.2", &[&route]),
                to_uri(method, "sip:7@192.0.2.2", &[ours, &route]),
                to_uri(method, &uri, &[]).replace("example.net>\r\nCall", "example.net>;tag=p\r\nCall"),
                to_uri(method, &uri, &[ours, &route]).replace("example.net>\r\nCall", "example.net>;tag=p\r\nCall"),
            ]
        })
    };
    let is_victim = |sent: &Sent| sent.to.contains(victim);
    for text in texts() {
        let mut rig = Rig::connected(1);
        // A caller on a connection, and datagrams that have the source of a system.
        let mut sent = rig.stream(&text, CALLERS, CALLER);
        for source in [CALLER, SYSTEM, "192.0.2.11:5080"] {
            sent.extend(rig.datagram(&text.replace("/TCP 192", "/UDP 192"), source));
        }
        sent.extend(rig.passes(2_000));
        assert!(!sent.iter().any(is_victim), "{text}: {sent:?}");
    }
}

#[test]
fn a_system_is_known_by_its_networks_as_well() {
    let mut rig = Rig::connected(1);
    let invite = to_uri("INVITE", "sip:phone@203.0.113.9:5062", &[]);
    let elsewhere = "198.51.100.77:1234";
    assert_ne!(rig.stream(&invite, ITS, elsewhere)[0].to, PHONE);
    rig.set_rules(|rules| rules.proxies[1].from = vec!["198.51.100.64/26".parse().unwrap()]);
    let invite = of_call(&invite, "other");
    let sent = one(rig.stream(&invite, ITS, elsewhere));
    assert_eq!(sent.shown(), format!("INVITE to {PHONE}"));
    let routes = sent.routes();
    let bye = inside("BYE", "sip:ivr@198.51.100.77:5080", "UDP 203.0.113.9:6000", &routes, ("p1", "s1"));
    assert_eq!(one(rig.datagram(&of_call(&bye, "other"), PHONE)).shown(), "BYE to #102");
}

#[test]
fn the_called_cannot_have_requests_sent_elsewhere_by_the_systems_route_values() {
    let mut rig = Rig::connected(1);
    let sent = one(rig.system(&to_uri("INVITE", "sip:phone@203.0.113.9:5062", &[])));
    let routes: Vec<String> = sent.routes().into_iter().rev().collect();
    let victim = "sip:x@203.0.113.66:7000";
    let text = inside("INFO", victim, "UDP 203.0.113.9:6000", &routes, ("s1", "p1"));
    assert_eq!(one(rig.datagram(&text, PHONE)).shown(), format!("INFO to {PHONE}"));
}

#[test]
fn a_systems_request_for_a_caller_whose_connection_closes_after_it_has_left_ends_by_430_at_once() {
    for (method, status) in [("INVITE", None), ("INVITE", Some("180 Ringing")), ("INFO", None)] {
        let mut rig = Rig::connected(1);
        let routes = rig.called();
        let sent = one(rig.stream(&to_caller(method, "sip:b@10.0.0.1:5062", &routes), ConnId(1), "192.0.2.11:5080"));
        assert_eq!(sent.shown(), format!("{method} to #7"));
        if let Some(status) = status {
            one(rig.stream(&answer(&sent, status), CALLERS, CALLER));
        }
        assert_eq!(shown(&rig.closes(CALLERS)), ["430 to #1"], "{method} {status:?}");
        assert_eq!(rig.counted(Reason::FlowFailed), 1);
        assert!(rig.passes(40_000).is_empty());
    }
}

#[test]
fn requests_that_a_caller_has_answered_and_his_own_stay_when_his_connection_closes() {
    let mut rig = Rig::connected(1);
    let routes = rig.called();
    let sent = one(rig.stream(&to_caller("INFO", "sip:b@10.0.0.1:5062", &routes), ConnId(1), "192.0.2.11:5080"));
    assert_eq!(shown(&rig.stream(&answer(&sent, "200 OK"), CALLERS, CALLER)), ["200 to #1"]);
    let own = one(rig.stream(&another(BY_TCP, "d"), CALLERS, CALLER));
    assert_eq!(own.shown(), "INVITE to #102");
    assert_eq!(shown(&rig.closes(CALLERS)), [""; 0]);
    assert_eq!(rig.counted(Reason::FlowFailed), 0);
}

#[test]
fn a_systems_request_for_a_caller_whose_connection_is_gone_goes_to_his_contact_where_that_can_be_reached() {
    let contact = "sip:b@198.51.100.7:5099";
    for is_late in [false, true] {
        let mut rig = Rig::connected(1);
        let routes = rig.called();
        let bye = to_caller("BYE", contact, &routes);
        let sent = if is_late {
            assert_eq!(one(rig.stream(&bye, ConnId(1), "192.0.2.11:5080")).shown(), "BYE to #7");
            one(rig.closes(CALLERS))
        } else {
            rig.gone.push(CALLERS);
            one(rig.stream(&bye, ConnId(1), "192.0.2.11:5080").split_off(1).into_iter().chain(rig.passes(0)).collect())
        };
        assert_eq!(sent.shown(), "BYE to 198.51.100.7:5099");
        assert!(sent.field("Via").starts_with("SIP/2.0/UDP 192.0.2.2:5060;"), "{}", sent.text);
        assert!(!sent.text.contains("\r\nRoute:"), "{}", sent.text);
        assert_eq!(shown(&rig.passes(600)), ["BYE to 198.51.100.7:5099"], "datagrams are lost");
        let ok = one(rig.datagram(&answer(&sent, "200 OK"), "198.51.100.7:5099"));
        assert_eq!(ok.shown(), "200 to #1");
        assert_eq!((rig.counted(Reason::OutboundContact), rig.counted(Reason::FlowFailed)), (1, 0));
    }
}

#[test]
fn a_contact_that_means_nothing_here_or_is_ours_gets_430() {
    for contact in [
        "sip:b@x.invalid",
        "sip:b@10.0.0.1",
        "sip:b@127.0.0.1:5062",
        "sip:b@192.0.2.2",
        "sip:b@198.51.100.7;transport=ws",
    ] {
        let mut rig = Rig::connected(1);
        let routes = rig.called();
        one(rig.stream(&to_caller("BYE", contact, &routes), ConnId(1), "192.0.2.11:5080"));
        assert_eq!(shown(&rig.closes(CALLERS)), ["430 to #1"], "{contact}");
    }
}

impl Rig {
    /// The prober finds that the name that was asked for leads there.
    pub(super) fn finds(&mut self, addresses: &[&str]) -> Vec<Sent> {
        let look_up = self.switch.poll_look_up().expect("a name");
        let found = look_up.found(addresses.iter().map(|it| it.parse().unwrap()).collect(), self.now);
        self.switch.on_found(&[found], self.now);
        self.left()
    }
}

#[test]
fn a_systems_call_to_a_name_waits_until_that_is_looked_up_and_the_system_hears_100() {
    let mut rig = Rig::connected(1);
    let invite = to_uri("INVITE", "sip:phone@Phone.Example.org;user=phone", &[]);
    assert!(rig.system(&invite).is_empty());
    assert!(rig.system(&invite).is_empty(), "a copy");
    assert_eq!(shown(&rig.passes(250)), ["100 to #50"]);
    let sent = one(rig.finds(&["203.0.113.9:5062", "203.0.113.8:5062"]));
    assert_eq!(sent.shown(), format!("INVITE to {PHONE}"));
    assert!(sent.text.starts_with("INVITE sip:phone@Phone.Example.org;user=phone SIP/2.0\r\n"), "{}", sent.text);
    assert_eq!(sent.routes().len(), 2);
    assert_eq!(shown(&rig.passes(900)), [format!("INVITE to {PHONE}")], "datagrams are lost");
    assert_eq!(one(rig.datagram(&answer(&sent, "200 OK"), PHONE)).shown(), "200 to #50");
    // Our Record-Route leads to it.
    let routes: Vec<String> = sent.routes().into_iter().rev().collect();
    let bye = inside("BYE", "sip:phone@x.invalid", "TCP 192.0.2.11:5080", &routes, ("s1", "p1"));
    assert_eq!(one(rig.system(&bye)).shown(), format!("BYE to {PHONE}"));
    assert_eq!((rig.counted(Reason::OutboundUri), rig.counted(Reason::OutboundLookedUp)), (2, 1));
}

#[test]
fn requests_for_one_name_wait_together_and_each_goes() {
    let mut rig = Rig::connected(1);
    for call in ["one", "two"] {
        assert!(rig.system(&of_call(&to_uri("MESSAGE", "sip:x@example.org", &[]), call)).is_empty());
    }
    assert_eq!(shown(&rig.finds(&[PHONE])), [format!("MESSAGE to {PHONE}"), format!("MESSAGE to {PHONE}")]);
    assert_eq!(rig.switch.poll_look_up(), None);
}

#[test]
fn a_name_that_leads_nowhere_or_to_us_or_to_this_host_or_is_never_answered_ends_the_request() {
    for (addresses, status) in [(&[][..], 480), (&["192.0.2.2:5060"], 482), (&["127.0.0.1:5060"], 403)] {
        let mut rig = Rig::connected(1);
        assert!(rig.system(&to_uri("INVITE", "sip:x@example.org", &[])).is_empty());
        assert_eq!(shown(&rig.finds(addresses)), [format!("{status} to #50")]);
    }
    let mut rig = Rig::connected(1);
    assert!(rig.system(&to_uri("INVITE", "sip:x@example.org", &[])).is_empty());
    let look_up = rig.switch.poll_look_up().unwrap();
    assert_eq!(shown(&rig.passes(20_000)), ["100 to #50", "480 to #50"]);
    rig.switch.on_found(&[look_up.found(vec![PHONE.parse().unwrap()], rig.now)], rig.now);
    assert!(rig.left().is_empty(), "too late");
    assert_eq!(one(rig.system(&of_call(&to_uri("INVITE", "sip:x@y.invalid", &[]), "two"))).shown(), "480 to #50");
}

#[test]
fn a_systems_call_that_waits_for_a_name_is_cancelled_at_once() {
    let mut rig = Rig::connected(1);
    assert!(rig.system(&to_uri("INVITE", "sip:x@example.org", &[])).is_empty());
    let cancel = to_uri("CANCEL", "sip:x@example.org", &[]).replace("-CANCEL", "-INVITE");
    assert_eq!(shown(&rig.system(&cancel)), ["200 to #50", "487 to #50"]);
    assert!(rig.finds(&[PHONE]).is_empty());
    assert!(rig.passes(40_000).is_empty());
}

#[test]
fn no_more_than_so_many_requests_wait_for_names_and_another_system_finds_room_beside_one_that_has_very_many() {
    let mut rig = Rig::connected(1);
    let refused = |rig: &mut Rig, numbers: std::ops::Range<u32>, source: &str| {
        let refused = numbers.filter(|number| {
            let text = of_call(&to_uri("MESSAGE", &format!("sip:x@{number}.example.org"), &[]), &number.to_string());
            let sent = rig.stream(&text, ITS, source);
            let is_refused = sent.iter().any(|sent| sent.shown() == "503 to #50");
            assert!(!is_refused || sent[0].field("Retry-After") == "5", "{sent:?}");
            is_refused
        });
        refused.count()
    };
    assert_eq!(refused(&mut rig, 0..1_100, SYSTEM), 1_100 - 896);
    assert_eq!(refused(&mut rig, 2_000..2_100, OTHER), 0);
    assert_eq!(refused(&mut rig, 3_000..3_100, SYSTEM), 100);
    assert_eq!(refused(&mut rig, 4_000..4_100, OTHER), 100 - 28, "there is no more room for anyone");
    assert_eq!(rig.switch.dispatch().counters().of(Reason::TableFull), 1_100 - 896 + 100 + 72);
    rig.passes(20_000);
    assert_eq!(refused(&mut rig, 5_000..5_100, SYSTEM), 0);
}

#[test]
fn a_load_that_a_system_reports_on_a_connection_of_its_own_is_that_of_its_address() {
    let options = to_uri("OPTIONS", "sip:192.0.2.2:5070;transport=tcp", &[]);
    let options = options.replace("Content-Length", "X-Load: used=7;total=10\r\nContent-Length");
    for (source, reporter) in [(SYSTEM, Some("192.0.2.11:5080")), (CALLER, None)] {
        let mut rig = Rig::with(1, |proxy| proxy.load = crate::config::LoadSource::Sip);
        rig.open();
        assert_eq!(one(rig.stream(&options, ITS, source)).shown(), "200 to #50");
        let (address, load) = rig.switch.poll_report().unzip();
        assert_eq!(address, reporter.map(|it| it.parse().unwrap()));
        assert_eq!(load.and_then(|load| load.used), reporter.map(|_| 7));
    }
}
