//! Access lists and rates.

use super::*;

fn access(rules: &[(&str, u8, AccessAction)]) -> Rules {
    let rule = |&(network, prefix, action): &(&str, u8, AccessAction)| AccessRule {
        network: network.parse().unwrap(),
        prefix,
        action,
    };
    Rules { access: rules.iter().map(rule).collect(), ..self::rules() }
}

fn limit(rate: u32, burst: u32, ban_ms: u32) -> AccessAction {
    AccessAction::Limit { rate, burst, ban_ms }
}

#[test]
fn a_denied_source_gets_no_answer_to_anything() {
    let mut rig = rig(1);
    let tag = rig.token(0, 1);
    rig.send(&invite("a"));
    rig.dispatch.set_rules(access(&[("203.0.113.0", 24, AccessAction::Deny)]), rig.now);
    for text in [
        invite("a"),
        invite("b"),
        same(&invite("a"), "CANCEL"),
        in_dialog("a", "BYE", &tag),
        invite("o").replace("INVITE", "OPTIONS"),
        invite("m").replace("CSeq: 1", "CSeq: x"),
        "nonsense\r\n\r\n".to_owned(),
    ] {
        assert_eq!(rig.send(&text), dropped(Reason::Denied), "{text}");
    }
    assert_eq!(rig.send_from("192.0.2.1", &invite("c")).reason, Reason::Selected);
    assert_eq!(rig.dispatch.counters().of(Reason::Denied), 7);
    assert_eq!(rig.dispatch.explain(b"b").last().map(|it| it.reason), Some(Reason::Denied));
    rig.dispatch.set_rules(rules(), rig.now);
    assert_eq!(rig.send(&invite("a")).reason, Reason::Retransmission, "no call was touched");
}

#[test]
fn a_datagram_too_small_for_its_answer_gets_none() {
    let mut rig = rig(1);
    let tiny = "OPTIONS sip:a SIP/2.0\nv:SIP/2.0/UDP a\nf:sip:a\nt:sip:a\ni:1\nCSeq:1 OPTIONS\n\n";
    assert_eq!(rig.send(tiny), dropped(Reason::TooSmall));
    rig.arrival.transport = Transport::Tcp;
    assert_eq!(status(rig.send(tiny)), (200, Reason::Options), "nobody forges the source of a connection");
}

#[test]
fn over_its_rate_a_source_is_refused_with_503_and_then_not_answered() {
    let mut rig = rig_with(1, access(&[("0.0.0.0", 0, limit(2, 3, 0))]), 1000);
    let reasons: Vec<_> = (0..8).map(|call| rig.send(&invite(&format!("c{call}")))).collect();
    assert!(reasons[..3].iter().all(|decision| decision.reason == Reason::Selected));
    assert!(reasons[3..6].iter().all(|decision| status(*decision) == (503, Reason::OverRate)));
    assert_eq!(answer(reasons[3]).retry_after, Some(5));
    assert_eq!(reasons[6..], [dropped(Reason::OverRate); 2]);
    assert_eq!(rig.send_from("192.0.2.9", &invite("other")).reason, Reason::Selected);
    rig.pass(Duration::from_millis(500));
    assert_eq!(rig.send(&invite("later")).reason, Reason::Selected);
    assert_eq!(status(rig.send(&invite("o").replace("INVITE", "OPTIONS"))), (503, Reason::OverRate));
}

#[test]
fn a_request_of_a_call_is_never_rated() {
    let mut rig = rig_with(1, access(&[("0.0.0.0", 0, limit(1, 1, 60_000))]), 1000);
    let tag = rig.token(0, 1);
    rig.send(&invite("a"));
    assert_eq!(status(rig.send(&invite("b"))), (503, Reason::OverRate));
    assert_eq!(rig.send(&invite("b")), dropped(Reason::Banned));
    for _ in 0..50 {
        assert_eq!(rig.send(&invite("a")).reason, Reason::Retransmission);
        assert_eq!(rig.send(&same(&invite("a"), "CANCEL")).reason, Reason::Cancel);
        assert_eq!(rig.send(&in_dialog("a", "BYE", &tag)).reason, Reason::ToTag);
    }
    rig.now = rig.now + Duration::from_secs(61);
    assert_eq!(rig.send(&invite("b")).reason, Reason::Selected);
}

#[test]
fn forged_responses_reach_a_worker_no_faster_than_eight_for_each_request_that_their_source_may_begin() {
    let mut rig = rig_with(2, access(&[("0.0.0.0", 0, limit(10, 5, 60_000))]), 1000);
    let token = rig.token(1, 1);
    let forged: Vec<_> = (0..200).map(|number| rig.send(&response(&format!("{token}-{number}")))).collect();
    assert!(forged[..40].iter().all(|decision| to(*decision) == (1, Reason::Branch)));
    assert!(forged[40..].iter().all(|decision| *decision == dropped(Reason::OverRate)));
    assert_eq!(rig.send(&invite("a")).reason, Reason::Selected, "nobody is banned for responses");
    assert_eq!(rig.send_from("192.0.2.9", &response(&token)).reason, Reason::Branch, "each source for itself");
    rig.pass(Duration::from_millis(100));
    let later = (0..20).filter(|_| rig.send(&response(&token)).reason == Reason::Branch).count();
    assert_eq!(later, 8);
    // A source that is banned ends its calls in order.
    for call in 0..9 {
        rig.send(&invite(&format!("b{call}")));
    }
    assert_eq!(rig.send(&invite("c")), dropped(Reason::Banned));
    rig.pass(Duration::from_millis(100));
    assert_eq!(rig.send(&response(&token)).reason, Reason::Branch);
}

#[test]
fn whatever_begins_something_is_rated_whoever_it_names() {
    let mut rig = rig_with(1, access(&[("0.0.0.0", 0, limit(1, 1, 60_000))]), 1000);
    let token = rig.token(0, 1);
    rig.send(&invite("a"));
    rig.send(&invite("over"));
    let next = |number: u32| invite("a").replace("z9hG4bK-", &format!("z9hG4bK-{number}-"));
    let named = [
        with_header(&invite("b"), &format!("{EXTENSION}: {token}")),
        invite("c").replace("sip:ivr@ms", &format!("sip:{token}@ms")),
        invite("d").replace(" SIP/2.0\r\nVia", &format!(";pm={token} SIP/2.0\r\nVia")),
        with_header(&invite("e"), &format!("Route: <sip:{token}@198.51.100.1;lr>")),
        with_header(&invite("f"), &format!("Authorization: Digest username=\"a\", nonce=\"{token}x\"")),
        with_header(&invite("g"), &format!("Target-Dialog: x;local-tag=l;remote-tag={token}-y")),
        with_header(&invite("h"), &format!("Replaces: x;to-tag={token}-y;from-tag=z")),
        with_header(&invite("i"), "Replaces: x;to-tag=pm0000000000000000-y;from-tag=z"),
        with_header(&same(&invite("j"), "PUBLISH"), &format!("SIP-If-Match: {token}x")),
        next(2),
        next(3).replace("CSeq: 1", "CSeq: 2"),
    ];
    for text in &named {
        assert_eq!(rig.send(text), dropped(Reason::Banned), "{text}");
    }
    rig.now = rig.now + Duration::from_secs(61);
    assert_eq!(rig.send(&named[0]).reason, Reason::Extension, "the token chooses the worker");
    assert_eq!(status(rig.send(&named[1])), (503, Reason::OverRate));
    assert_eq!(rig.send(&named[1]), dropped(Reason::Banned));
}

#[test]
fn a_source_gets_one_503_before_its_ban_and_then_no_answer_to_a_request_outside_a_call() {
    let mut rig = rig_with(1, access(&[("0.0.0.0", 0, limit(1, 1, 60_000))]), 1000);
    rig.send(&invite("a"));
    assert_eq!(status(rig.send(&invite("over"))), (503, Reason::OverRate), "it hears that it is to stop");
    for text in [
        invite("b"),
        same(&invite("c"), "CANCEL"),
        in_dialog("d", "BYE", "foreign"),
        invite("e").replace("INVITE", "BYE"),
        invite("f").replace("INVITE", "WINK"),
        invite("g").replace("INVITE", "REGISTER"),
        invite("h").replace("INVITE", "OPTIONS"),
        invite("i").replace("sip:ivr@ms", "http://ms"),
        invite("j").replace("Max-Forwards: 70", "Max-Forwards: x"),
    ] {
        assert_eq!(rig.send(&text), dropped(Reason::Banned), "{text}");
    }
}
