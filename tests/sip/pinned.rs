//! Pinned sources.

use super::*;

#[test]
fn a_softphone_a_nat_and_a_proxy_in_front_do_not_pin_a_call() {
    [Transport::Udp, Transport::Tcp, Transport::Tls].into_iter().for_each(nothing_in_the_message_pins);
}

fn nothing_in_the_message_pins(transport: Transport) {
    let mut rig = rig(1);
    rig.arrival.transport = transport;
    let plain = invite("a");
    let variants = [
        plain.clone(),
        // pjsua2 with its defaults: `ob` is about requests towards the caller (RFC 5626 §5).
        plain.replace("<sip:as@203.0.113.5>", "<sip:as@203.0.113.5;ob>"),
        plain.replace("Contact: <sip:as@203.0.113.5>", "Contact: <sip:as@192.168.1.4>"),
        plain.replace("UDP 203.0.113.5", "UDP 10.1.2.3"),
        plain.replace("Contact: <sip:as@203.0.113.5>", "Contact: <sip:as@[fd00::1]>"),
        with_header(&plain, "Route: <sip:ms.example.net;lr>"),
        with_header(&plain, "Record-Route: <sip:203.0.113.5;lr>"),
    ];
    for (number, text) in variants.iter().enumerate() {
        let text = text.replace("-a", &format!("-{number}")).replace("ID: a", &format!("ID: {number}"));
        assert_eq!(handoff(rig.send(&text)).pinned, None, "{text}");
    }
    assert_eq!(rig.dispatch.counters().pinned, 0);
}

#[test]
fn pinned_sources_and_websockets_are_pinned_counted_and_explained() {
    let mut rig = rig(1);
    let networks = vec!["203.0.113.0/24".parse().unwrap()];
    rig.dispatch.set_rules(Rules { pinned: networks, ..rules() }, rig.now);
    assert_eq!(handoff(rig.send(&invite("a"))).pinned, Some(Pinned::Source));
    // The operator's setting holds also where a proxy has put itself into the dialog and is the source.
    let routed = with_header(&invite("b"), "Record-Route: <sip:203.0.113.5;lr>");
    assert_eq!(handoff(rig.send(&routed)).pinned, Some(Pinned::Source));
    rig.arrival.source = "198.51.100.7:5060".parse().unwrap();
    assert_eq!(handoff(rig.send(&invite("c"))).pinned, None);
    rig.arrival.transport = Transport::Wss;
    assert_eq!(handoff(rig.send(&invite("d"))).pinned, Some(Pinned::WebSocket));
    // Retransmissions are no calls, and a MESSAGE makes no dialog.
    rig.send(&invite("d"));
    assert_eq!(handoff(rig.send(&same(&invite("e"), "MESSAGE"))).pinned, None);
    assert_eq!(rig.dispatch.counters().pinned, 3);
    let explained = rig.dispatch.explain(b"d");
    assert!(
        matches!(explained[0].target, ShortTarget::Worker { pinned: Some(Pinned::WebSocket), .. }),
        "{explained:?}"
    );
}

#[test]
fn a_listener_with_the_rule_pin_pins_its_calls_and_no_others() {
    let mut rig = rig(1);
    rig.dispatch.set_rules(Rules { pinned_listeners: vec![false, true], ..rules() }, rig.now);
    rig.arrival.transport = Transport::Tcp;
    assert_eq!(handoff(rig.send(&invite("a"))).pinned, None);
    rig.arrival.listener = ListenerId(1);
    assert_eq!(handoff(rig.send(&invite("b"))).pinned, Some(Pinned::Listener));
    rig.arrival.listener = ListenerId(2);
    assert_eq!(handoff(rig.send(&invite("c"))).pinned, None, "a listener that no rule speaks of");
}

#[test]
fn a_browser_that_comes_back_on_another_connection_finds_its_worker() {
    let mut rig = rig(4);
    (rig.arrival.transport, rig.arrival.reply_to) = (Transport::Wss, ReplyTo::Stream(ConnId(1)));
    let worker = handoff(rig.send(&invite("a"))).worker;
    let tag = rig.token(worker.0, 1);
    // Another address, another connection, and long after the table has forgotten the call.
    rig.pass(Duration::from_secs(1_000));
    (rig.arrival.source, rig.arrival.reply_to) = ("203.0.113.99:1".parse().unwrap(), ReplyTo::Stream(ConnId(2)));
    rig.arrival.transport = Transport::Ws;
    for method in ["ACK", "INVITE", "INFO", "BYE"] {
        let decision = rig.send(&in_dialog("a", method, &tag));
        assert_eq!(to(decision), (worker.0, Reason::ToTag), "{method}");
        assert!(handoff(decision).follows);
    }
    let explained = rig.dispatch.explain(b"a");
    let ways: Vec<_> = explained.iter().map(|it| (it.transport, it.connection)).collect();
    assert_eq!(ways[..2], [(Transport::Wss, Some(ConnId(1))), (Transport::Ws, Some(ConnId(2)))]);
}

#[test]
fn a_cancel_on_a_connection_finds_its_invite_though_its_sent_by_is_another() {
    let mut rig = rig(4);
    rig.arrival.transport = Transport::Tcp;
    let worker = handoff(rig.send(&invite("a"))).worker;
    let cancel = same(&invite("a"), "CANCEL").replace("UDP 203.0.113.5", "TCP 203.0.113.5:41000");
    assert_eq!(to(rig.send(&cancel)), (worker.0, Reason::Cancel));
}
