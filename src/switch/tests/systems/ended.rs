//! Connections to servers that end: what has gone by them goes elsewhere, or its caller hears of it.

use super::*;

#[test]
fn a_call_without_response_whose_connection_ends_goes_to_another_server_and_one_that_rings_gets_503() {
    let mut rig = Rig::connected(1);
    let first = one(rig.stream(&invite(BY_TCP), CALLERS, CALLER));
    assert_eq!(first.shown(), "INVITE to #1");
    let second = one(rig.stream(&another(BY_TCP, "d"), CALLERS, CALLER));
    assert_eq!(second.shown(), "INVITE to #102");
    rig.responds(&second, "180 Ringing");
    let moved = one(rig.ends(1));
    assert_eq!(moved.shown(), "INVITE to #102");
    assert_eq!(shown(&rig.responds(&moved, "200 OK")), ["200 to #7"]);
    let cut = one(rig.ends(102));
    assert_eq!(cut.shown(), "503 to #7", "nobody knows what became of it");
    assert!(!cut.text.contains("Retry-After"), "another server may take the next call: {}", cut.text);
    // Once is enough: the next one gets an answer.
    let third = one(rig.stream(&another(BY_TCP, "e"), CALLERS, CALLER));
    assert_eq!(third.shown(), "503 to #7", "no connection is open");
}

#[test]
fn explain_and_the_counters_tell_of_final_responses_that_the_dispatcher_gives_to_requests_under_way() {
    let mut rig = Rig::connected(1);
    let sent = one(rig.stream(&invite(BY_TCP), CALLERS, CALLER));
    rig.responds(&sent, "180 Ringing");
    let returned = |rig: &Rig| rig.switch.dispatch().counters().returned;
    let before = returned(&rig);
    assert_eq!(shown(&rig.ends(1)), ["503 to #7"]);
    assert_eq!(rig.explained("c").last().unwrap(), "Replied 503 flow-failed");
    assert_eq!(returned(&rig), before + 1);
    one(rig.udp(&another(BY_UDP, "d")));
    assert_eq!(shown(&rig.passes(40_000)).last().unwrap(), "408 to 198.51.100.7:4711");
    assert_eq!(rig.explained("d").last().unwrap(), "Replied 408 unanswered");
    // Of the last two connections, that without the request ends first.
    let mut rig = Rig::connected(1);
    assert_eq!(one(rig.udp(&another(BY_UDP, "e"))).to, "#1");
    assert_eq!(rig.ends(102), []);
    assert_eq!(shown(&rig.ends(1)), ["503 to 198.51.100.7:4711"]);
    let told = rig.explained("e");
    assert_eq!(told[told.len() - 2..], ["Stays 0 no-proxy", "Replied 503 no-proxy"]);
}

#[test]
fn a_call_without_response_whose_connection_ends_goes_by_another_one_to_the_same_server() {
    let mut rig = Rig::connected(2);
    let first = one(rig.stream(&invite(BY_TCP), CALLERS, CALLER));
    assert_eq!(first.shown(), "INVITE to #1");
    let again = one(rig.ends(1));
    assert_eq!(again.shown(), "INVITE to #2");
    assert_eq!(again.field("Via"), first.field("Via"), "it is the same transaction");
    assert_eq!(shown(&rig.responds(&again, "200 OK")), ["200 to #7"]);
}

#[test]
fn a_server_that_has_no_connection_gets_none_of_the_new_calls_and_its_own_again_once_it_has() {
    let mut rig = Rig::connected(1);
    let sent = one(rig.udp(&invite(BY_UDP)));
    let mut routes = one(rig.responds(&sent, "200 OK")).routes();
    routes.reverse();
    rig.ends(1);
    for call in ["d", "e", "f"] {
        let sent = one(rig.udp(&another(BY_UDP, call)));
        assert_eq!(sent.shown(), "INVITE to #102");
    }
    let bye = one(rig.udp(&request("BYE", BY_UDP, 2, &routes, ";tag=s")));
    assert_eq!(bye.shown(), "503 to 198.51.100.7:4711");
    rig.open();
    let bye = one(rig.udp(&request("BYE", BY_UDP, 3, &routes, ";tag=s")));
    assert_eq!(bye.shown(), "BYE to #3");
}

#[test]
fn a_100_of_a_server_does_not_keep_a_call_whose_connection_ends() {
    let mut rig = Rig::connected(1);
    let sent = one(rig.stream(&invite(BY_TCP), CALLERS, CALLER));
    rig.responds(&sent, "100 Trying");
    assert_eq!(shown(&rig.ends(1)), ["503 to #7"], "it has got there, and nobody knows what became of it");
}

#[test]
fn a_late_refusal_of_a_call_that_has_got_503_for_its_connection_goes_no_further() {
    let mut rig = Rig::connected(2);
    let sent = one(rig.stream(&invite(BY_TCP), CALLERS, CALLER));
    rig.responds(&sent, "180 Ringing");
    assert_eq!(shown(&rig.ends(1)), ["503 to #7"]);
    rig.stream(&request("ACK", BY_TCP, 1, &[], ";tag=x"), CALLERS, CALLER);
    let by_another = Sent { to: "#2".to_owned(), ..sent.clone() };
    assert_eq!(shown(&rig.responds(&by_another, "302 Moved")), ["ACK to #2"], "its server is told, and nobody else");
    assert!(rig.passes(70_000).is_empty());
}

#[test]
fn a_request_inside_a_dialog_whose_connection_ends_goes_to_another_server_or_gets_503_as_the_operator_wants() {
    use crate::config::SystemDown;
    for (system_down, expected) in
        [(SystemDown::Refuse, "503 to 198.51.100.7:4711"), (SystemDown::Move, "INFO to #102")]
    {
        let mut rig = Rig::with(1, |proxy| proxy.system_down = system_down);
        rig.open();
        let sent = one(rig.udp(&invite(BY_UDP)));
        let mut routes = one(rig.responds(&sent, "200 OK")).routes();
        routes.reverse();
        let info = one(rig.udp(&request("INFO", BY_UDP, 2, &routes, ";tag=s")));
        assert_eq!(info.to, "#1");
        let then = one(rig.ends(1));
        assert_eq!(then.shown(), expected);
        match system_down {
            SystemDown::Refuse => assert!(!then.field("Retry-After").is_empty()),
            SystemDown::Move => assert_eq!(shown(&rig.responds(&then, "200 OK")), ["200 to 198.51.100.7:4711"]),
        }
    }
}

#[test]
fn requests_inside_the_dialogs_of_a_dead_server_move_to_another_one_where_the_operator_wants_that() {
    let mut rig = Rig::with(1, |proxy| proxy.system_down = crate::config::SystemDown::Move);
    rig.open();
    let sent = one(rig.udp(&invite(BY_UDP)));
    let mut routes = one(rig.responds(&sent, "200 OK")).routes();
    routes.reverse();
    rig.ends(1);
    let bye = one(rig.udp(&request("BYE", BY_UDP, 2, &routes, ";tag=s")));
    assert_eq!(bye.shown(), "BYE to #102");
    assert!(!bye.text.contains("\r\nRoute:"), "{}", bye.text);
    assert!(rig.udp(&request("ACK", BY_UDP, 3, &routes, ";tag=s")).is_empty(), "an ACK is for one server");
}

#[test]
fn a_cancelled_call_without_response_does_not_ring_anew_when_its_connection_ends() {
    let mut rig = Rig::connected(2);
    let sent = one(rig.udp(&invite(BY_UDP)));
    assert_eq!(sent.shown(), "INVITE to #1");
    assert_eq!(shown(&rig.udp(&request("CANCEL", BY_UDP, 1, &[], ""))), ["200 to 198.51.100.7:4711"]);
    assert_eq!(shown(&rig.ends(1)), ["487 to 198.51.100.7:4711"]);
}

#[test]
fn a_call_whose_connections_end_one_after_the_other_is_not_sent_without_end() {
    let mut rig = Rig::connected(3);
    assert_eq!(one(rig.stream(&invite(BY_TCP), CALLERS, CALLER)).shown(), "INVITE to #1");
    assert_eq!(shown(&rig.ends(1)), ["INVITE to #2"]);
    assert_eq!(shown(&rig.ends(2)), ["INVITE to #104"], "another server has its turn");
}

#[test]
fn a_registration_that_comes_again_goes_to_another_server_when_its_own_is_dead() {
    let mut rig = Rig::connected(1);
    let register = |branch| request("REGISTER", BY_UDP, branch, &[], "");
    let sent = one(rig.udp(&register(1)));
    assert_eq!(sent.shown(), "REGISTER to #1");
    rig.responds(&sent, "200 OK");
    rig.ends(1);
    assert_eq!(one(rig.udp(&register(2))).shown(), "REGISTER to #102");
}

#[test]
fn a_request_inside_a_remembered_dialog_moves_as_well_when_its_server_is_dead() {
    let mut rig = Rig::with(1, |proxy| proxy.system_down = crate::config::SystemDown::Move);
    rig.open();
    let sent = one(rig.udp(&invite(BY_UDP)));
    rig.responds(&sent, "200 OK");
    rig.ends(1);
    assert_eq!(one(rig.udp(&request("BYE", BY_UDP, 2, &[], ";tag=s"))).shown(), "BYE to #102");
}

#[test]
fn a_request_of_a_strict_router_that_moves_to_a_server_over_udp_has_the_uri_that_its_caller_gave_it() {
    let mut rig = Rig::with(1, |proxy| {
        proxy.system_down = crate::config::SystemDown::Move;
        proxy.transport = if proxy.name == "a" { Transport::Tcp } else { Transport::Udp };
    });
    let mut rules = rig.switch.dispatch().rules().clone();
    rules.pools[0].rewrite_uri = true;
    rig.switch.reload(rules, Insert::None, 0, NOW);
    rig.open();
    let sent = one(rig.udp(&invite(BY_UDP)));
    assert_eq!(sent.to, "#1");
    let mut routes = one(rig.responds(&sent, "200 OK")).routes();
    routes.reverse();
    rig.ends(1);
    // RFC 3261 §16.6 step 6: the router has put our value into the request-URI, and the URI of the callee last.
    let ours = routes.remove(0);
    let uri = ours.trim_start_matches('<').trim_end_matches('>').to_owned();
    routes.push("<sip:7@192.0.2.9:5099>".to_owned());
    let bye = request("BYE", BY_UDP, 2, &routes, ";tag=s").replacen("sip:7@192.0.2.2", &uri, 1);
    let moved = one(rig.udp(&bye));
    assert_eq!(moved.text.lines().next(), Some("BYE sip:7@192.0.2.9:5099 SIP/2.0"), "{}", moved.text);
    assert_eq!(moved.shown(), "BYE to 192.0.2.12:5080");
}

#[test]
fn a_call_whose_every_server_is_gone_goes_to_a_worker_where_the_pool_falls_back_on_them() {
    for via in [BY_UDP, BY_TCP] {
        let mut rig = Rig::connected(1);
        let mut rules = rig.switch.dispatch().rules().clone();
        rules.pools[0].fallback = vec![Pool::WORKERS.to_owned()];
        rig.switch.reload(rules, Insert::None, 0, rig.now);
        link(&mut rig.switch, 0);
        let sent = match via {
            BY_UDP => rig.udp(&invite(via)),
            _ => rig.stream(&invite(via), CALLERS, CALLER),
        };
        assert_eq!(shown(&sent), ["INVITE to #1"]);
        assert_eq!(shown(&rig.ends(1)), ["INVITE to #102"]);
        assert_eq!(held(&rig.switch, 0), 0);
        assert_eq!(rig.ends(102), [], "no 503");
        assert_eq!(held(&rig.switch, 0), 1, "{via}");
        assert_eq!(rig.explained("c").last().map(String::as_str), Some("HandedOver 0 moved-error"));
    }
}
