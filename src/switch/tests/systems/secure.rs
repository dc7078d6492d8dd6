//! Requests of systems that go over TLS to where they name: for whose host, and never over anything else.

use super::outbound::{PHONE, answer, inside, of_call, to_uri};
use super::*;
use crate::dispatch::callees::Callee;
use crate::dispatch::decision::Reason;
use crate::dispatch::targets::proxies::Security;

const NAMED: &str = "sip:phone@Phones.example.net:5062;transport=tls";
const SECURED: &str = "sips:phone@phones.example.net:5062";
const FIRST: ConnId = ConnId(60);
const SECOND: ConnId = ConnId(61);
/// The connection that a system over TLS has opened.
const ITS: ConnId = ConnId(51);

impl Rig {
    /// Two systems over this transport, and a listener for TLS.
    pub(super) fn secure(transport: Transport) -> Self {
        let mut rig = Rig::with(1, |proxy| proxy.transport = transport);
        rig.set_rules(|rules| {
            rules.stream_listeners.push((ListenerId(2), Transport::Tls, "192.0.2.2:5061".parse().unwrap()))
        });
        rig.open();
        rig
    }

    /// A message over TLS.
    pub(super) fn secured(&mut self, text: &str, conn: ConnId, source: &str) -> Vec<Sent> {
        let ends: (SocketAddr, SocketAddr) = (source.parse().unwrap(), "192.0.2.2:5061".parse().unwrap());
        let way = Way::of_stream(conn, ListenerId(2), Transport::Tls, ends, self.now);
        self.switch.on_message(text.as_bytes(), &way, self.now);
        self.left()
    }

    /// A system over TLS sends on the connection that it has opened.
    fn secure_system(&mut self, text: &str) -> Vec<Sent> {
        self.secured(&text.replace("SIP/2.0/TCP", "SIP/2.0/TLS"), ITS, "192.0.2.11:40000")
    }

    /// The lane opens the connection that is asked for, and this leaves.
    pub(super) fn calls(&mut self, conn: ConnId) -> (String, Sent) {
        let callee = self.switch.poll_callee().expect("a connection that is asked for");
        assert_eq!(callee.address, PHONE.parse().unwrap());
        self.switch.on_callee_dialled(&callee, Some(conn), self.now);
        self.switch.on_connection_open(conn, self.now);
        (callee.name.expect("a name").to_string(), one(self.left()))
    }
}

fn callee(address: &str, name: &str) -> Callee {
    Callee { address: address.parse().unwrap(), name: Some(name.into()) }
}

#[test]
fn a_systems_call_over_tls_goes_by_a_connection_for_the_host_of_its_uri_and_so_does_its_dialog() {
    let mut rig = Rig::secure(Transport::Tcp);
    assert!(rig.system(&to_uri("INVITE", NAMED, &[])).is_empty());
    assert!(rig.finds(&[PHONE]).is_empty());
    let (name, sent) = rig.calls(FIRST);
    assert_eq!((&*name, &*sent.shown()), ("phones.example.net", "INVITE to #60"));
    assert!(sent.field("Via").starts_with("SIP/2.0/TLS 192.0.2.2:5061;branch=z9hG4bK"), "{}", sent.text);
    let [called, system] = &sent.routes()[..] else { panic!("{}", sent.text) };
    assert!(called.contains("@192.0.2.2:5061;transport=tls;") && !called.contains("called="), "{called}");
    assert!(system.contains("@192.0.2.2:5070;transport=tcp;") && system.contains(";called=phones.example.net;"));
    assert_eq!(one(rig.secured(&answer(&sent, "200 OK"), FIRST, PHONE)).shown(), "200 to #50");
    let routes: Vec<String> = sent.routes().into_iter().rev().collect();
    // Its Contact is an address, of which its certificate says nothing, or a name of its own network.
    for (method, contact) in [
        ("ACK", "sip:phone@203.0.113.9:5062;transport=tls"),
        ("INFO", "sips:phone@203.0.113.9:5062"),
        ("UPDATE", "sip:phone@10.0.0.9:5062;transport=tls"),
        ("PRACK", "sip:phone@phone.invalid;transport=tls"),
    ] {
        let sent = one(rig.system(&inside(method, contact, "TCP 192.0.2.11:5080", &routes, ("s1", "p1"))));
        assert_eq!(sent.shown(), format!("{method} to #60"));
        assert!(!sent.text.contains("\r\nRoute:"), "{}", sent.text);
    }
    let bye = inside("BYE", "sip:ivr@192.0.2.11:5080", "TLS 203.0.113.9:5062", &sent.routes(), ("p1", "s1"));
    assert_eq!(one(rig.secured(&bye, FIRST, PHONE)).shown(), "BYE to #1");
    // The connection is gone: another one is for the same host.
    rig.ends(FIRST.0);
    let bye = inside("BYE", "sips:phone@203.0.113.9:5062", "TCP 192.0.2.11:5080", &routes, ("s1", "p1"));
    assert!(rig.system(&bye).is_empty());
    let (name, sent) = rig.calls(SECOND);
    assert_eq!((&*name, &*sent.shown()), ("phones.example.net", "BYE to #61"));
}

#[test]
fn a_connection_over_tls_is_for_one_host_alone_whatever_else_its_address_serves() {
    let mut rig = Rig::secure(Transport::Tcp);
    for (number, (uri, name)) in [
        (NAMED, "phones.example.net"),
        ("sip:phone@other.example.net;transport=tls", "other.example.net"),
        ("sip:phone@203.0.113.9:5062;transport=tls", "203.0.113.9"),
    ]
    .into_iter()
    .enumerate()
    {
        let text = of_call(&to_uri("INVITE", uri, &[]), &format!("{number}"));
        assert!(rig.system(&text).is_empty());
        if number < 2 {
            assert!(rig.finds(&[PHONE]).is_empty());
        }
        let (shown, _) = rig.calls(ConnId(60 + number as u64));
        assert_eq!(shown, name);
    }
    // A party that was called by its address has its dialog there, whatever its Contact is.
    let sent = one(rig.system(&to_uri("INVITE", "sip:phone@203.0.113.9:5062;transport=tls", &[])));
    let routes: Vec<String> = sent.routes().into_iter().rev().collect();
    let bye = inside("BYE", "sips:phone@10.0.0.9:5062", "TCP 192.0.2.11:5080", &routes, ("s1", "p1"));
    assert_eq!(one(rig.system(&bye)).shown(), "BYE to #62");
    // Over TCP the same address is another place.
    assert!(rig.system(&of_call(&to_uri("INVITE", &NAMED.replace("tls", "tcp"), &[]), "tcp")).is_empty());
    assert!(rig.finds(&[PHONE]).is_empty());
    assert_eq!(rig.switch.poll_callee(), Some(Callee { address: PHONE.parse().unwrap(), name: None }));
    // With other certificates connections are opened anew.
    rig.switch.set_callee_security(Security(7));
    assert!(rig.system(&of_call(&to_uri("INVITE", NAMED, &[]), "again")).is_empty());
    assert!(rig.finds(&[PHONE]).is_empty());
    assert_eq!(rig.calls(ConnId(70)).1.shown(), "INVITE to #70");
}

#[test]
fn where_a_certificate_is_for_another_host_the_next_address_is_tried_and_then_480_says_so() {
    let mut rig = Rig::secure(Transport::Tcp);
    assert!(rig.system(&to_uri("INVITE", NAMED, &[])).is_empty());
    assert!(rig.finds(&[PHONE, "203.0.113.8:5061"]).is_empty());
    for (conn, address) in [(FIRST, PHONE), (SECOND, "203.0.113.8:5061")] {
        let asked = rig.switch.poll_callee().unwrap();
        assert_eq!(asked, callee(address, "phones.example.net"));
        rig.switch.on_callee_dialled(&asked, Some(conn), rig.now);
        rig.switch.on_connection_closed(conn, Ended::Broken, rig.now);
    }
    assert_eq!(shown(&rig.left()), ["480 to #50"]);
    assert_eq!((rig.counted(Reason::OutboundUnreachable), rig.switch.poll_callee()), (1, None));
}

#[test]
fn a_request_for_a_sips_uri_goes_over_tls_from_a_system_over_tls_and_nowhere_from_one_over_tcp() {
    let mut rig = Rig::secure(Transport::Tcp);
    let refused = one(rig.system(&to_uri("INVITE", SECURED, &[])));
    assert_eq!(refused.shown(), "480 to #50");
    assert!(refused.text.contains("\r\nWarning: 380 "), "{}", refused.text);

    let mut rig = Rig::secure(Transport::Tls);
    assert!(rig.secure_system(&to_uri("INVITE", SECURED, &[])).is_empty());
    assert!(rig.finds(&[PHONE]).is_empty());
    let (name, sent) = rig.calls(FIRST);
    assert_eq!((&*name, &*sent.shown()), ("phones.example.net", "INVITE to #60"));
    assert!(sent.text.starts_with("INVITE sips:phone@phones.example.net:5062 SIP/2.0\r\n"), "{}", sent.text);
    assert!(sent.routes().iter().all(|route| route.starts_with("<sips:")), "{}", sent.text);
    assert_eq!(one(rig.secured(&answer(&sent, "200 OK"), FIRST, PHONE)).shown(), "200 to #51");
    // A server of the settings is reached by its connection.
    let sent = one(rig.secure_system(&of_call(&to_uri("INVITE", "sips:x@192.0.2.12:5080", &[]), "two")));
    assert_eq!(sent.shown(), "INVITE to #102");
    // Its transport says that it is no way for the scheme.
    let sent = rig.secure_system(&of_call(&to_uri("INVITE", &format!("{SECURED};transport=udp"), &[]), "three"));
    assert_eq!(shown(&sent), ["480 to #51"]);
}

#[test]
fn a_request_that_asks_for_tls_goes_by_no_connection_over_tcp_and_by_that_of_no_other_host() {
    for uri in ["sip:x@192.0.2.12:5080;transport=tls", "sip:x@example.org:5080;transport=tls"] {
        let mut rig = Rig::secure(Transport::Tcp);
        assert!(rig.system(&to_uri("INVITE", uri, &[])).is_empty());
        if uri.contains("example") {
            assert!(rig.finds(&["192.0.2.12:5080"]).is_empty());
        }
        assert!(rig.switch.poll_callee().unwrap().name.is_some(), "{uri}");
    }
    // The server there is known by another name.
    let mut rig = Rig::secure(Transport::Tls);
    assert!(rig.secure_system(&to_uri("INVITE", "sip:x@example.org:5080;transport=tls", &[])).is_empty());
    assert!(rig.finds(&["192.0.2.12:5080"]).is_empty());
    assert_eq!(rig.switch.poll_callee(), Some(callee("192.0.2.12:5080", "example.org")));
    let mut rig = Rig::secure(Transport::Tls);
    rig.reload(|proxies| proxies[1].tls_name = Some("Example.org".to_owned()));
    assert!(rig.secure_system(&to_uri("INVITE", "sip:x@example.org:5080;transport=tls", &[])).is_empty());
    assert_eq!(one(rig.finds(&["192.0.2.12:5080"])).shown(), "INVITE to #102");
}

#[test]
fn a_dialog_that_was_begun_over_tls_goes_by_no_connection_for_another_host() {
    let mut rig = Rig::secure(Transport::Tls);
    assert!(rig.secure_system(&to_uri("INVITE", "sip:x@example.org:5080;transport=tls", &[])).is_empty());
    assert!(rig.finds(&["192.0.2.12:5080"]).is_empty());
    let to = rig.switch.poll_callee().unwrap();
    rig.switch.on_callee_dialled(&to, Some(FIRST), rig.now);
    rig.switch.on_connection_open(FIRST, rig.now);
    let sent = one(rig.left());
    one(rig.secured(&answer(&sent, "200 OK"), FIRST, "192.0.2.12:5080"));
    let routes: Vec<String> = sent.routes().into_iter().rev().collect();
    let contact = "sip:x@192.0.2.12:5080;transport=tls";
    let sent = one(rig.secure_system(&inside("INFO", contact, "TLS 192.0.2.11:5080", &routes, ("s1", "p1"))));
    assert_eq!(sent.shown(), "INFO to #60");
}

#[test]
fn a_request_for_a_sips_uri_leaves_over_nothing_but_tls_inside_a_dialog_as_well() {
    let mut rig = Rig::secure(Transport::Tls);
    let route = ["<sip:198.51.100.7;lr>".to_owned()];
    let request = inside("INFO", "sips:x@phones.example.net", "TLS 192.0.2.11:5080", &route, ("s1", "p1"));
    assert_eq!(shown(&rig.secure_system(&request)), ["480 to #51"]);
}

#[test]
fn a_place_by_websocket_or_of_a_host_that_no_certificate_can_be_for_gets_480() {
    let mut rig = Rig::secure(Transport::Tls);
    for (number, uri) in [
        "sip:x@203.0.113.9;transport=ws".to_owned(),
        "sips:x@203.0.113.9;transport=ws".to_owned(),
        "sip:x@edge.example.net;transport=ws".to_owned(),
        "sips:x@edge.example.net;transport=ws".to_owned(),
        format!("sips:x@{}.example.net", "a.".repeat(150)),
    ]
    .iter()
    .enumerate()
    {
        let sent = rig.secure_system(&of_call(&to_uri("INVITE", uri, &[]), &number.to_string()));
        assert_eq!(shown(&sent), ["480 to #51"], "{uri}");
    }
    assert_eq!(rig.switch.poll_callee(), None);
}

#[test]
fn a_call_over_tls_whose_connection_ends_before_any_response_goes_by_another_one_for_the_same_host() {
    for goes_at_once in [false, true] {
        let mut rig = Rig::secure(Transport::Tcp);
        assert!(rig.system(&to_uri("INVITE", NAMED, &[])).is_empty());
        assert!(rig.finds(&[PHONE]).is_empty());
        let (_, sent) = rig.calls(FIRST);
        if goes_at_once {
            one(rig.secured(&answer(&sent, "200 OK"), FIRST, PHONE));
            let routes: Vec<String> = sent.routes().into_iter().rev().collect();
            let contact = "sip:phone@203.0.113.9:5062;transport=tls";
            let sent = one(rig.system(&inside("INFO", contact, "TCP 192.0.2.11:5080", &routes, ("s1", "p1"))));
            assert_eq!(sent.shown(), "INFO to #60");
        }
        assert!(rig.hangs_up(FIRST).is_empty());
        let (name, sent) = rig.calls(SECOND);
        let method = if goes_at_once { "INFO" } else { "INVITE" };
        assert_eq!((&*name, sent.shown()), ("phones.example.net", format!("{method} to #61")));
        let failed = rig.hangs_up(SECOND);
        assert_eq!(shown(&failed), ["503 to #50"], "once is enough");
    }
}
