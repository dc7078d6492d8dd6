//! Calls of callers to servers over TCP: requests, responses, and their ways back.

use super::*;

#[test]
fn a_call_over_udp_goes_by_a_connection_to_its_server_and_its_answer_comes_back() {
    let mut rig = Rig::connected(1);
    let sent = one(rig.udp(&invite(BY_UDP).replace("Content-Length: 0\r\n", "")));
    assert_eq!(sent.shown(), "INVITE to #1");
    assert!(sent.field("Via").starts_with("SIP/2.0/TCP 192.0.2.2:5070;branch=z9hG4bK"), "{}", sent.text);
    assert_eq!(sent.field("Content-Length"), "0", "a message on a connection says how long it is");
    let ok = one(rig.responds(&sent, "200 OK"));
    assert_eq!(ok.shown(), "200 to 198.51.100.7:4711");
    assert!(ok.field("Via").starts_with("SIP/2.0/UDP 10.0.0.1:5062;"));
}

#[test]
fn a_dialog_between_udp_and_tcp_goes_by_two_record_routes_of_each_sides_own_transport() {
    let mut rig = Rig::connected(1);
    let sent = one(rig.udp(&invite(BY_UDP)));
    let [server, caller] = &sent.routes()[..] else { panic!("{}", sent.text) };
    assert!(server.contains("@192.0.2.2:5070;transport=tcp;system=") && server.ends_with(";lr>"), "{server}");
    assert!(caller.contains("@192.0.2.2:5060;system=") && caller.ends_with(";lr>"), "{caller}");
    let ok = one(rig.responds(&sent, "200 OK"));
    let mut routes = ok.routes();
    routes.reverse();
    for method in ["ACK", "BYE"] {
        let sent = one(rig.udp(&request(method, BY_UDP, 2, &routes, ";tag=s")));
        assert_eq!(sent.shown(), format!("{method} to #1"));
        assert!(!sent.text.contains("\r\nRoute:"), "{}", sent.text);
    }
    // The server's own, on the connection that we have opened, and on one that it has opened.
    routes.reverse();
    let bye = request("BYE", "TCP 192.0.2.11:5080", 3, &routes, ";tag=1").replace("From", "X").replace("X:", "From:");
    for conn in [1, 8] {
        let bye = bye.replace("z9hG4bK-3", &format!("z9hG4bK-{conn}9"));
        let sent = one(rig.stream(&bye, ConnId(conn), "192.0.2.11:5080"));
        assert_eq!(sent.shown(), "BYE to 198.51.100.7:4711");
        let ok = one(rig.udp(&response(&sent.text, "200 OK")));
        assert_eq!(ok.shown(), format!("200 to #{conn}"));
    }
}

#[test]
fn copies_cancel_and_ack_of_a_call_over_udp_are_dealt_with_here_and_the_server_gets_each_once() {
    let mut rig = Rig::connected(1);
    let sent = one(rig.udp(&invite(BY_UDP)));
    assert!(rig.udp(&invite(BY_UDP)).is_empty(), "a copy is absorbed");
    assert_eq!(shown(&rig.passes(250)), ["100 to 198.51.100.7:4711"]);
    assert_eq!(shown(&rig.passes(4_000)), [""; 0], "TCP loses nothing, so nothing is sent again");
    assert_eq!(shown(&rig.responds(&sent, "180 Ringing")), ["180 to 198.51.100.7:4711"]);
    let cancelled = rig.udp(&request("CANCEL", BY_UDP, 1, &[], ""));
    assert_eq!(shown(&cancelled), ["200 to 198.51.100.7:4711", "CANCEL to #1"]);
    let refused = rig.responds(&sent, "487 Request Terminated");
    assert_eq!(shown(&refused), ["487 to 198.51.100.7:4711", "ACK to #1"]);
    assert_eq!(shown(&rig.passes(4_600)), ["487 to 198.51.100.7:4711"], "until its ACK");
    assert!(rig.udp(&request("ACK", BY_UDP, 1, &[], ";tag=s")).is_empty());
    assert!(rig.passes(40_000).is_empty());
}

#[test]
fn a_cancel_on_another_connection_than_its_invite_reaches_the_server_with_the_branch_of_the_invite() {
    let mut rig = Rig::connected(1);
    let sent = one(rig.stream(&invite(BY_TCP), CALLERS, CALLER));
    rig.responds(&sent, "180 Ringing");
    let cancel = request("CANCEL", "TCP 203.0.113.1:9", 1, &[], "");
    let got = rig.stream(&cancel, ConnId(9), CALLER);
    let cancel = got.iter().find(|sent| sent.to == "#1").unwrap_or_else(|| panic!("{got:?}"));
    assert_eq!(cancel.field("Via"), sent.field("Via"));
    assert!(shown(&got).contains(&"200 to #9".to_owned()), "{got:?}");
}

#[test]
fn between_connections_no_100_of_our_own_leaves_and_that_of_the_server_passes() {
    let mut rig = Rig::connected(1);
    let sent = one(rig.stream(&invite(BY_TCP), CALLERS, CALLER));
    assert_eq!(shown(&rig.passes(10_000)), [""; 0], "the caller repeats nothing, whatever it hears");
    let copy = rig.stream(&invite(BY_TCP), CALLERS, CALLER);
    assert_eq!(shown(&copy), [""; 0], "a copy is absorbed");
    assert_eq!(shown(&rig.responds(&sent, "100 Trying")), ["100 to #7"]);
    assert_eq!(shown(&rig.responds(&sent, "180 Ringing")), ["180 to #7"]);
    let copy = rig.stream(&invite(BY_TCP), CALLERS, CALLER);
    assert_eq!(shown(&copy), [""; 0], "and has its 180 on the connection");
    let ok = one(rig.responds(&sent, "200 OK"));
    assert_eq!((ok.shown().as_str(), ok.field("Via").contains("z9hG4bK-1")), ("200 to #7", true), "{}", ok.text);
}

#[test]
fn after_a_2xx_nothing_but_a_2xx_of_its_server_reaches_a_caller() {
    for by_udp in [true, false] {
        let mut rig = Rig::connected(1);
        let come = |rig: &mut Rig, text: &str| if by_udp { rig.udp(text) } else { rig.stream(text, CALLERS, CALLER) };
        let via = if by_udp { BY_UDP } else { BY_TCP };
        let sent = one(come(&mut rig, &invite(via)));
        let mut routes = one(rig.responds(&sent, "200 OK")).routes();
        routes.reverse();
        for status in ["180 Ringing", "486 Busy Here", "603 Decline"] {
            assert_eq!(rig.responds(&sent, status), [], "{status} over UDP: {by_udp}");
        }
        assert_eq!(rig.responds(&sent, "200 OK").len(), 1, "RFC 6026 §8.4: its ACK may be lost");
        let reinvite = one(come(&mut rig, &request("INVITE", via, 5, &routes, ";tag=s").replace("CSeq: 1", "CSeq: 2")));
        assert_eq!(rig.responds(&reinvite, "200 OK").len(), 1);
        assert_eq!(rig.responds(&reinvite, "488 Not Acceptable Here"), [], "over UDP: {by_udp}");
    }
}

#[test]
fn a_response_to_the_request_of_one_server_counts_from_no_other_server() {
    let mut rig = Rig::connected(1);
    let sent = one(rig.udp(&invite(BY_UDP)));
    assert_eq!(sent.to, "#1");
    let by_another = Sent { to: "#101".to_owned(), ..sent.clone() };
    for status in ["180 Ringing", "200 OK", "486 Busy Here"] {
        assert_eq!(rig.responds(&by_another, status), [], "{status}");
    }
    assert_eq!(shown(&rig.responds(&sent, "200 OK")), ["200 to 198.51.100.7:4711"]);
    let elsewhere = another(BY_UDP, "d");
    let mut rig = Rig::with(1, |proxy| {
        let network = if proxy.name == "a" { "203.0.113.0/24" } else { "198.18.0.0/15" };
        proxy.from = vec![network.parse().unwrap()];
    });
    rig.open();
    let sent = one(rig.udp(&elsewhere));
    assert_eq!(sent.to, "#1");
    let answer = response(&sent.text, "200 OK");
    assert_eq!(rig.stream(&answer, ConnId(55), "198.18.0.9:5060"), [], "a network of the other one");
    assert_eq!(shown(&rig.stream(&answer, ConnId(56), "203.0.113.9:5060")), ["200 to 198.51.100.7:4711"]);
}

#[test]
fn a_response_from_a_source_that_is_no_server_goes_nowhere() {
    let mut rig = Rig::connected(1);
    let sent = one(rig.udp(&invite(BY_UDP)));
    let answer = response(&sent.text, "603 Decline");
    assert!(rig.udp(&answer).is_empty(), "a callee behind the server sees our Via too");
    assert!(rig.stream(&answer, ConnId(55), "203.0.113.66:5060").is_empty());
    assert_eq!(shown(&rig.responds(&sent, "200 OK")), ["200 to 198.51.100.7:4711"]);
}

#[test]
fn a_uri_names_the_server_over_tcp_where_the_pool_says_so_and_inside_the_dialog_it_stays_a_contact() {
    let rewriting = || {
        let mut rig = Rig::connected(1);
        let mut rules = rig.switch.dispatch().rules().clone();
        rules.pools[0].rewrite_uri = true;
        rig.switch.reload(rules, Insert::None, 0, NOW);
        rig
    };
    let mut rig = rewriting();
    let sent = one(rig.udp(&invite(BY_UDP)));
    assert_eq!(sent.to, "#1");
    assert_eq!(sent.text.lines().next(), Some("INVITE sip:7@192.0.2.11:5080 SIP/2.0"));
    let mut routes = one(rig.responds(&sent, "200 OK")).routes();
    routes.reverse();
    // Another dispatcher knows the call by its Route alone.
    for mut rig in [rig, rewriting()] {
        let bye = one(rig.udp(&request("BYE", BY_UDP, 2, &routes, ";tag=s")));
        assert_eq!(bye.text.lines().next(), Some("BYE sip:7@192.0.2.2 SIP/2.0"));
    }
}

#[test]
fn an_ack_with_the_branch_of_another_calls_invite_goes_to_the_server_of_its_own_call() {
    for status in ["200 OK", "486 Busy Here"] {
        let mut rig = Rig::connected(1);
        let first = one(rig.stream(&invite(BY_TCP), CALLERS, CALLER));
        assert_eq!(first.shown(), "INVITE to #1");
        assert!(shown(&rig.responds(&first, status)).iter().any(|it| it.ends_with(" to #7")));
        let second = one(rig.stream(&another(BY_TCP, "d"), CALLERS, CALLER));
        assert_eq!(second.shown(), "INVITE to #102");
        let mut routes = one(rig.responds(&second, "200 OK")).routes();
        routes.reverse();
        let ack = request("ACK", BY_TCP, 1, &routes, ";tag=s").replace("Call-ID: c", "Call-ID: d");
        assert_eq!(one(rig.stream(&ack, CALLERS, CALLER)).shown(), "ACK to #102", "{status}");
    }
}
