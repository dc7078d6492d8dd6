//! Echoed identity.

use super::*;

#[test]
fn a_token_in_the_to_tag_names_the_worker_of_a_dialog() {
    let mut rig = rig(4);
    let tag = format!("{}-x1", rig.token(2, 1));
    for method in ["BYE", "INVITE", "UPDATE", "INFO", "PRACK", "ACK", "CANCEL", "NOTIFY", "X"] {
        let decision = rig.send(&in_dialog("unseen", method, &tag));
        assert_eq!(to(decision), (2, Reason::ToTag), "{method}");
        let Handoff { entry, follows, size, .. } = handoff(decision);
        assert_eq!((entry, follows, size), (None, true, 0));
    }
}

#[test]
fn a_token_of_a_life_that_is_over_gets_481_and_its_ack_nothing() {
    let mut rig = rig(2);
    rig.down(1);
    rig.up(1, 100);
    let (gone, live) = (rig.token(1, 1), rig.token(1, 2));
    assert_eq!(status(rig.send(&in_dialog("a", "BYE", &gone))), (481, Reason::WorkerGone));
    assert_eq!(status(rig.send(&in_dialog("a", "CANCEL", &gone))), (481, Reason::WorkerGone));
    assert_eq!(rig.send(&in_dialog("a", "ACK", &gone)), dropped(Reason::WorkerGone));
    assert_eq!(to(rig.send(&in_dialog("a", "BYE", &live))), (1, Reason::ToTag));
    let forged = live.replace("pm", "pm0");
    assert_eq!(status(rig.send(&in_dialog("a", "BYE", &forged))), (481, Reason::UnknownDialog));
}

#[test]
fn an_initial_request_follows_any_identity_it_echoes() {
    let mut rig = rig(4);
    let token = rig.token(3, 1);
    let uri = |uri: String| invite("a").replace("INVITE sip:ivr@ms.example.net", &format!("INVITE {uri}"));
    let header = |line: String| with_header(&invite("a"), &line);
    let cases = [
        (uri(format!("sip:{token}-7@ms.example.net")), Reason::RequestUri),
        (uri(format!("sip:ivr@ms.example.net;pm={token}")), Reason::RequestUri),
        (uri("sip:ivr@198.51.100.1:5073".to_owned()), Reason::WorkerAddress),
        (header(format!("Route: <sip:{token}@198.51.100.1;lr>")), Reason::Route),
        (header("Route: <sip:198.51.100.1:5073;lr>, <sip:x>".to_owned()), Reason::Route),
        (header(format!("Replaces: other;to-tag={token}-1;from-tag=2")), Reason::Replaces),
        (header(format!("Join: other;from-tag=2;to-tag={token}-1")), Reason::Replaces),
        (header(format!("Target-Dialog: other;local-tag={token}-1;remote-tag=2")), Reason::TargetDialog),
        (header(format!("Authorization: Digest username=\"a\", nonce=\"{token}99\"")), Reason::Nonce),
        (header(format!("SIP-If-Match: {token}-etag")), Reason::Etag),
        (header(format!("{EXTENSION}: {token}")), Reason::Extension),
    ];
    for (at, (text, reason)) in cases.into_iter().enumerate() {
        let text = text.replace("-a", &format!("-a{at}")).replace("Call-ID: a", &format!("Call-ID: a{at}"));
        let decision = rig.send(&text);
        assert_eq!(to(decision), (3, reason), "{text}");
        let Handoff { entry, follows, .. } = handoff(decision);
        assert!(entry.is_some() && follows);
        assert_eq!(to(rig.send(&same(&text, "CANCEL"))), (3, Reason::Cancel), "its CANCEL finds it");
    }
}

#[test]
fn the_port_of_a_worker_on_another_host_is_not_ours() {
    let mut rig = rig(1);
    let text = invite("a").replace("INVITE sip:ivr@ms.example.net", "INVITE sip:ivr@192.0.2.77:5070");
    assert_eq!(rig.send(&text).reason, Reason::Selected);
    let mut rules = rules();
    rules.own_addresses = vec!["192.0.2.77".parse().unwrap()];
    rig.dispatch.set_rules(rules, rig.now);
    assert_eq!(rig.send(&text.replace("-a", "-b").replace("ID: a", "ID: b")).reason, Reason::WorkerAddress);
}

#[test]
fn options_to_a_workers_own_port_go_to_that_worker() {
    let mut rig = rig(2);
    let text = same(&invite("a"), "OPTIONS").replace("OPTIONS sip:ivr@ms.example.net", "OPTIONS sip:198.51.100.1:5071");
    assert_eq!(to(rig.send(&text)), (1, Reason::WorkerAddress));
}

#[test]
fn replaces_of_a_dialog_that_is_gone_gets_481_and_other_old_tokens_are_selected_anew() {
    let mut rig = rig(2);
    let gone = rig.token(0, 77);
    let replaces = with_header(&invite("a"), &format!("Replaces: x;to-tag={gone};from-tag=2"));
    assert_eq!(status(rig.send(&replaces)), (481, Reason::ReplacesGone));
    for (call, line) in [
        ("n", format!("Authorization: Digest nonce=\"{gone}\"")),
        ("e", format!("SIP-If-Match: {gone}")),
        ("t", format!("Target-Dialog: x;local-tag={gone};remote-tag=1")),
    ] {
        assert_eq!(rig.send(&with_header(&invite(call), &line)).reason, Reason::Selected);
    }
}

#[test]
fn a_response_goes_to_the_worker_whose_token_is_in_our_branch() {
    let mut rig = rig(3);
    let (live, gone) = (rig.token(2, 1), rig.token(2, 9));
    assert_eq!(to(rig.send(&response(&format!("{live}-1")))), (2, Reason::Branch));
    assert_eq!(rig.send(&response(&gone)), dropped(Reason::WorkerGone));
    assert_eq!(rig.send(&response("776asdhds")), dropped(Reason::UnknownResponse));
}
