//! Messages that are not served.

use super::*;

#[test]
fn keepalives_get_no_answer() {
    let mut rig = rig(1);
    assert_eq!(rig.send("\r\n\r\n"), dropped(Reason::KeepaliveDatagram));
    assert_eq!(rig.send("\0"), dropped(Reason::KeepaliveDatagram));
    assert_eq!(rig.send_bytes(b"\x00\x01\x00\x00\x21\x12\xa4\x42............"), dropped(Reason::Stun));
    rig.arrival.transport = Transport::Tcp;
    assert_eq!(rig.send("\r\n\r\n"), dropped(Reason::KeepaliveStream));
}

#[test]
fn an_unreadable_request_is_answered_where_an_answer_finds_its_way() {
    let mut rig = rig(1);
    assert_eq!(rig.send("GET / HTTP/1.1\r\n\r\n"), dropped(Reason::Unparsable));
    let newer = invite("a").replace("SIP/2.0\r\nVia", "SIP/7.0\r\nVia");
    assert_eq!(status(rig.send(&newer)), (505, Reason::Malformed));
    assert_eq!(status(rig.send(&invite("a").replace("Length: 0", "Length: 9"))), (400, Reason::Malformed));
    assert_eq!(rig.send(&same(&invite("a"), "ACK").replace("Length: 0", "Length: 9")), dropped(Reason::Unparsable));
    assert_eq!(status(rig.send(&invite("a").replace("70", "many"))), (400, Reason::Malformed));
    assert_eq!(
        status(rig.send(&invite("a").replace("sip:ivr@ms.example.net SIP", "soap:x SIP"))),
        (416, Reason::UnknownScheme)
    );
}

#[test]
fn unknown_methods_get_501_and_refused_ones_405_both_with_allow() {
    let mut rig = rig(1);
    let unknown = rig.send(&same(&invite("a"), "NEWMETHOD"));
    assert_eq!((status(unknown), answer(unknown).says), ((501, Reason::UnknownMethod), Says::Allow));
    for method in ["REGISTER", "PUBLISH", "SUBSCRIBE"] {
        let refused = rig.send(&same(&invite(method), method));
        assert_eq!((status(refused), answer(refused).says), ((405, Reason::MethodRefused), Says::Allow));
    }
    for method in ["MESSAGE", "REFER"] {
        assert_eq!(handoff(rig.send(&same(&invite(method), method))).size, 0);
    }
    for method in ["BYE", "UPDATE", "PRACK", "NOTIFY", "INFO"] {
        assert_eq!(status(rig.send(&same(&invite(method), method))), (481, Reason::UnknownDialog));
    }
    let mut rules = rules();
    (rules.methods.register, rules.methods.notify) = (MethodRule::Select, MethodRule::Select);
    rig.dispatch.set_rules(rules, rig.now);
    assert_eq!(rig.send(&same(&invite("n"), "NOTIFY")).reason, Reason::Selected);
    assert_eq!(rig.send(&same(&invite("r"), "REGISTER")).reason, Reason::Selected);
    assert!(rig.dispatch.allow().contains("REGISTER"));
}

#[test]
fn a_register_is_accepted_where_the_rules_say_so() {
    let mut rig = rig(1);
    let mut rules = rules();
    rules.methods.register = MethodRule::Accept;
    rig.dispatch.set_rules(rules, rig.now);
    let accepted = rig.send(&same(&invite("r"), "REGISTER"));
    assert_eq!((status(accepted), answer(accepted).says), ((200, Reason::Registered), Says::Registered));
    assert!(rig.dispatch.allow().ends_with(", REGISTER"), "{}", rig.dispatch.allow());
}

#[test]
fn a_request_that_waited_longer_than_its_sender_is_dropped() {
    let mut rig = rig(1);
    let text = invite("a");
    let mut scanner = Scanner::new();
    let message = scanner.scan(text.as_bytes()).unwrap();
    let late = rig.now + Duration::from_secs(33);
    assert_eq!(rig.dispatch.on_message(&message, &rig.arrival, late), dropped(Reason::TooOld));
}

#[test]
fn a_400_says_what_is_wrong_and_explain_as_well() {
    let mut rig = rig(1);
    let text = invite("a").replace("CSeq: 1 INVITE", "CSeq: x INVITE");
    let mut scanner = Scanner::new();
    let bad = scanner.scan(text.as_bytes()).unwrap_err();
    let decision = rig.dispatch.on_message(&bad, &rig.arrival, rig.now);
    assert_eq!((status(decision), answer(decision).says), ((400, Reason::Malformed), Says::Fault(Fault::CSeq)));
    let noted = rig.dispatch.explain(b"a");
    assert_eq!(
        (noted[0].method, noted[0].fault, noted[0].target),
        (Label::Invite, Some(Fault::CSeq), ShortTarget::Answered(400))
    );
    let far = rig.send(&invite("b").replace("Max-Forwards: 70", "Max-Forwards: 300"));
    assert_eq!(answer(far).says, Says::Fault(Fault::MaxForwards));
}

#[test]
fn explain_knows_what_was_dropped_as_unparsable() {
    let mut rig = rig(1);
    let text = invite("a").replace("From:", "Nobody:");
    let mut scanner = Scanner::new();
    let bad = scanner.scan(text.as_bytes()).unwrap_err();
    assert_eq!(rig.dispatch.on_message(&bad, &rig.arrival, rig.now), dropped(Reason::Unparsable));
    let noted = rig.dispatch.explain(b"a");
    assert_eq!((noted[0].fault, noted[0].target), (Some(Fault::Missing), ShortTarget::Dropped));
}

#[test]
fn a_bye_that_waited_for_a_dispatcher_is_handed_on_however_late() {
    let mut rig = rig(2);
    let tag = format!("{}-x1", rig.token(1, 1));
    let late = rig.now + Duration::from_secs(3_600);
    for method in ["BYE", "ACK", "INFO", "INVITE"] {
        let text = in_dialog("a", method, &tag);
        let mut scanner = Scanner::new();
        let message = scanner.scan(text.as_bytes()).unwrap();
        let decision = rig.dispatch.on_message(&message, &rig.arrival, late);
        assert_eq!((handoff(decision).worker, decision.reason), (WorkerId(1), Reason::ToTag), "{method}");
    }
}

#[test]
fn sources_that_insist_on_a_provisional_response_are_told_to_the_worker() {
    let mut rig = rig(1);
    assert!(!handoff(rig.send(&invite("a"))).ring_first);
    let mut rules = rules();
    let source = rig.arrival.source.ip();
    rules.ring_first = vec![format!("{source}/32").parse().unwrap()];
    rig.dispatch.set_rules(rules, rig.now);
    assert!(handoff(rig.send(&invite("b"))).ring_first);
}
