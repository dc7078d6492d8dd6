//! Requests that are not served, and the answers to their senders.

use super::*;
use crate::call::offer::{LineRefusal, OfferError};
use crate::words::Envelope;

fn refusal(text: &Text) -> String {
    let mut desk = Desk::new();
    let seq = desk.hand(text);
    assert_eq!((desk.events(), desk.settled().0), (vec![], vec![seq]));
    let refusal = desk.only();
    assert!(to_tag(&refusal).starts_with(TOKEN), "{refusal}");
    refusal
}

#[test]
fn methods_of_the_standard_that_we_do_not_serve_get_405_and_unknown_ones_501() {
    for method in ["SUBSCRIBE", "REFER", "PUBLISH", "REGISTER", "MESSAGE"] {
        let mut desk = Desk::new();
        desk.own(&text(method));
        let refusal = desk.only();
        assert_eq!(status(&refusal), 405, "{method}");
        assert_eq!(header(&refusal, "Allow"), Some("INVITE, ACK, CANCEL, BYE, OPTIONS, INFO, UPDATE, PRACK"));
    }
    let unknown = refusal(&text("FROBNICATE"));
    assert_eq!(status(&unknown), 501);
    assert!(header(&unknown, "Allow").is_some());
}

#[test]
fn a_request_of_a_dialog_gets_481_outside_one_at_the_workers_own_port() {
    for method in ["INFO", "NOTIFY", "UPDATE", "PRACK", "BYE"] {
        let mut desk = Desk::new();
        desk.own(&text(method));
        assert_eq!(desk.statuses(), [481], "{method}");
    }
}

#[test]
fn a_request_that_the_dispatcher_lets_through_is_the_applications_to_answer() {
    for method in ["MESSAGE", "SUBSCRIBE", "NOTIFY", "REFER", "INFO", "PUBLISH", "REGISTER"] {
        let mut desk = Desk::new();
        let seq = desk.hand(&text(method));
        let asked = desk.outputs.iter().find_map(|output| match output {
            Output::Standalone(key) => Some(*key),
            _ => None,
        });
        let key = asked.unwrap();
        let seen =
            desk.act(|uas, _| uas.with_standalone(key, |msg| msg.method().map(|method| method.label().as_str())));
        assert_eq!(seen, Some(Some(method)));
        assert!(!desk.act(|uas, now| uas.answer_standalone(key, 100, &[], now)), "no final status");
        assert!(desk.act(|uas, now| uas.answer_standalone(key, 202, &[("Expires", b"60")], now)));
        let answer = desk.only();
        assert_eq!((status(&answer), header(&answer, "Expires"), desk.settled().0), (202, Some("60"), vec![seq]));
        assert!(!desk.act(|uas, now| uas.answer_standalone(key, 200, &[], now)), "once");
        desk.hand(&text(method));
        assert_eq!(desk.only(), answer, "a copy gets the same answer");
    }
}

#[test]
fn a_request_that_the_application_leaves_alone_is_refused_as_without_one() {
    for (method, wanted) in [("MESSAGE", 405), ("REGISTER", 405), ("INFO", 481), ("NOTIFY", 481)] {
        let mut desk = Desk::new();
        desk.hand(&text(method));
        let Some(Output::Standalone(key)) = desk.outputs.pop() else { panic!("{method}") };
        assert!(desk.act(|uas, now| uas.refuse_standalone(key, now)));
        let answer = desk.only();
        assert_eq!((status(&answer), header(&answer, "Allow").is_some()), (wanted, wanted == 405), "{method}");
        assert!(!desk.act(|uas, now| uas.refuse_standalone(key, now)));
    }
}

#[test]
fn a_request_that_the_application_never_answers_gets_500() {
    let mut desk = Desk::new();
    let seq = desk.hand(&text("MESSAGE"));
    desk.wait(SECOND * 40);
    assert_eq!((desk.statuses(), desk.settled().0), (vec![500], vec![seq]));
    desk.assert_idle();
}

#[test]
fn an_info_package_is_refused_by_name() {
    let mut desk = Desk::new();
    let (_, tag) = desk.standing(&invite());
    desk.own(&text("INFO").to(&tag).cseq(2).header("Info-Package: foo"));
    assert!(desk.only().starts_with("SIP/2.0 469 Bad Info Package\r\n"));
}

#[test]
fn a_100_repeats_the_timestamp() {
    let mut desk = Desk::new();
    desk.hand(&invite().header("Timestamp: 54.2"));
    desk.wait(SECOND);
    let trying = desk.only();
    // RFC 3261 §8.2.6.1.
    assert_eq!((status(&trying), header(&trying, "Timestamp")), (100, Some("54.2")));
}

#[test]
fn an_unknown_extension_gets_420_with_its_name() {
    let refusal = refusal(&invite().header("Require: 100rel, foo").header("Require: bar, TIMER"));
    assert_eq!((status(&refusal), header(&refusal, "Unsupported")), (420, Some("foo, bar")));
}

#[test]
fn bodies_that_we_do_not_read_get_415_with_what_we_do() {
    let mut other = invite();
    other.content_type = "application/mumble";
    let refused = refusal(&other);
    assert_eq!((status(&refused), header(&refused, "Accept")), (415, Some("application/sdp")));
    let packed = refusal(&invite().header("Content-Encoding: gzip"));
    assert_eq!((status(&packed), header(&packed, "Accept-Encoding")), (415, Some("identity")));
}

#[test]
fn a_body_that_is_marked_optional_is_passed_over() {
    let mut desk = Desk::new();
    let mut other = invite().header("Content-Disposition: render;handling=optional");
    other.content_type = "application/mumble";
    desk.hand(&other);
    let events = desk.events();
    let [(_, Event::Incoming { offer: None, .. })] = events.as_slice() else { panic!("{events:?}") };
}

#[test]
fn the_offer_is_found_in_a_multipart_body() {
    let mut desk = Desk::new();
    let mut mixed = invite().body(&format!(
        "--b\r\nContent-Type: application/mediaservercontrol+xml\r\n\r\n<x/>\r\n--b\r\nContent-Type: application/sdp\r\n\r\n{OFFER}\r\n--b--\r\n"
    ));
    mixed.content_type = "multipart/mixed;boundary=b";
    desk.hand(&mixed);
    let events = desk.events();
    let [(_, Event::Incoming { offer: Some(offer), .. })] = events.as_slice() else { panic!("{events:?}") };
    assert_eq!(&**offer, OFFER.as_bytes());
}

#[test]
fn a_part_that_must_be_understood_and_is_not_gets_415() {
    let mut mixed = invite().body(&format!(
        "--b\r\nContent-Type: application/sdp\r\n\r\n{OFFER}\r\n--b\r\nContent-Type: application/isup\r\n\
         Content-Disposition: signal;handling=required\r\n\r\nx\r\n--b--\r\n"
    ));
    mixed.content_type = "multipart/mixed;boundary=b";
    let refused = refusal(&mixed);
    assert_eq!((status(&refused), header(&refused, "Accept")), (415, Some("application/sdp")));
    mixed.body = mixed.body.replace("application/sdp", "text/plain").replace("required", "optional");
    assert_eq!(status(&refusal(&mixed)), 415, "no part is a session description");
}

#[test]
fn a_body_that_is_too_large_gets_413() {
    assert_eq!(status(&refusal(&invite().body(&"x".repeat(33 << 10)))), 413);
}

#[test]
fn a_caller_that_takes_no_session_description_gets_406() {
    assert_eq!(status(&refusal(&invite().header("Accept: text/plain"))), 406);
    let mut desk = Desk::new();
    desk.hand(&invite().header("Accept: text/plain, application/sdp;level=1"));
    desk.incoming();
}

#[test]
fn a_foreign_scheme_gets_416() {
    let mut foreign = invite();
    foreign.uri = "http://192.0.2.1/".into();
    let mut desk = Desk::new();
    // The scanner may say so itself.
    if let Ok(msg) = Scanner::new().scan(foreign.bytes().as_bytes()) {
        desk.uas.on_message(&msg, &Arrival::handed_over(&Envelope::plain(1)), desk.now);
        desk.act(|_, _| ());
        assert_eq!(desk.statuses(), [416]);
    }
}

#[test]
fn an_invite_without_contact_gets_400_that_says_so() {
    let mut bare = invite();
    bare.contact = false;
    assert!(refusal(&bare).starts_with("SIP/2.0 400 Missing or Malformed Contact\r\n"));
}

/// A call whose description cannot be answered; returns the answer to the caller and the report to the dispatcher.
fn unanswerable(error: &OfferError) -> (String, u16, String) {
    let mut desk = Desk::new();
    let seq = desk.hand(&invite());
    let key = desk.incoming();
    assert!(desk.act(|uas, now| uas.reject_description(key, error, now)));
    assert_eq!(desk.events(), [(key, Event::Ended(EndReason::Rejected(error.status())))]);
    let told = desk.outputs.iter().find_map(|output| match output {
        Output::Final { seq: of, status, why } if *of == seq => {
            Some((*status, why.as_deref().unwrap_or_default().to_owned()))
        }
        _ => None,
    });
    let (status, why) = told.unwrap();
    assert_eq!(desk.settled().0, [seq]);
    (desk.only(), status, why)
}

#[test]
fn a_488_says_why_in_a_warning_and_to_the_dispatcher() {
    // RFC 3261 §20.43.
    for (refusal, code) in [
        (LineRefusal::Address, 301),
        (LineRefusal::Transport, 302),
        (LineRefusal::MediaType, 304),
        (LineRefusal::Format, 305),
        (LineRefusal::Multicast, 330),
    ] {
        let (answer, final_status, why) = unanswerable(&OfferError::NothingCommon(refusal));
        let warning = format!("{code} 192.0.2.1:5071 \"{}\"", refusal.warning().1);
        assert_eq!((status(&answer), header(&answer, "Warning")), (488, Some(warning.as_str())));
        assert_eq!((final_status, why), (488, format!("no stream can be answered: {refusal}")));
    }
}

#[test]
fn a_400_for_a_session_description_says_what_is_wrong_with_it() {
    let (answer, final_status, why) = unanswerable(&OfferError::NotSdp);
    assert!(answer.starts_with("SIP/2.0 400 the body is not a session description\r\n"), "{answer}");
    assert_eq!(
        (final_status, why.as_str(), header(&answer, "Warning")),
        (400, "the body is not a session description", None)
    );
}

#[test]
fn a_488_within_a_call_says_why_and_the_call_stands() {
    let mut desk = Desk::new();
    let (key, tag) = desk.standing(&invite());
    desk.own(&invite().to(&tag).cseq(2).branch("re"));
    let error = OfferError::NothingCommon(LineRefusal::Format);
    assert!(desk.act(|uas, now| uas.reject_description(key, &error, now)));
    assert!(header(&desk.only(), "Warning").is_some_and(|warning| warning.starts_with("305 ")));
    assert!(!desk.act(|uas, now| uas.reject_description(key, &error, now)), "nothing waits");
    assert_eq!(desk.uas.load().sessions, 1);
}

#[test]
fn a_route_set_beyond_all_measure_gets_513() {
    let routes = format!("Record-Route: <sip:{}.example.net;lr>", "p".repeat(9_000));
    assert_eq!(status(&refusal(&invite().header(&routes))), 513);
}

#[test]
fn replaces_and_join_in_a_request_other_than_invite_get_400() {
    for header in ["Replaces: 1;to-tag=a;from-tag=b", "Join: 1;to-tag=a;from-tag=b"] {
        assert_eq!(status(&refusal(&text("OPTIONS").header(header))), 400, "{header}: RFC 3891 §3, RFC 3911 §4");
    }
}

#[test]
fn requests_of_a_dialog_that_is_not_ours_get_481_and_an_ack_nothing() {
    for method in ["BYE", "INVITE", "UPDATE", "INFO", "PRACK", "OPTIONS"] {
        let mut desk = Desk::new();
        let seq = desk.hand(&text(method).to("pmother-1"));
        assert_eq!((desk.statuses(), desk.settled().0), (vec![481], vec![seq]), "{method}");
    }
    for method in ["BYE", "UPDATE", "PRACK"] {
        assert_eq!(status(&refusal(&text(method))), 481, "{method} without To-tag");
    }
    let mut desk = Desk::new();
    let seq = desk.hand(&text("ACK").to("pmother-1"));
    assert_eq!((desk.sent().len(), desk.settled().0), (0, vec![seq]));
}

#[test]
fn the_tag_alone_does_not_open_a_dialog() {
    let mut desk = Desk::new();
    let (_, tag) = desk.standing(&invite());
    desk.own(&text("BYE").to(&tag).cseq(2).call("another-call"));
    let mut stranger = text("BYE").to(&tag).cseq(2).branch("stranger");
    stranger.from_tag = "stranger".into();
    desk.own(&stranger);
    desk.own(&text("BYE").to(&tag[..tag.len() - 1]).cseq(2).branch("cut"));
    assert_eq!((desk.statuses(), desk.uas.load().sessions), (vec![481, 481, 481], 1));
}

#[test]
fn an_overtaken_request_gets_500() {
    let mut desk = Desk::new();
    let (_, tag) = desk.standing(&invite().cseq(5));
    desk.own(&text("INFO").to(&tag).cseq(4));
    assert_eq!(desk.statuses(), [500]);
    desk.own(&text("BYE").to(&tag).cseq(6));
    assert_eq!(desk.statuses(), [200]);
}

#[test]
fn options_says_what_we_can() {
    let mut desk = Desk::new();
    desk.hand(&text("OPTIONS"));
    let ok = desk.only();
    assert_eq!((status(&ok), header(&ok, "Accept")), (200, Some("application/sdp")));
    assert_eq!(header(&ok, "Supported"), Some("100rel, timer, replaces"));
    desk.uas.set_draining(true);
    desk.hand(&text("OPTIONS"));
    assert_eq!(desk.statuses(), [486]);
    let mut desk = Desk::new();
    let (_, tag) = desk.standing(&invite());
    desk.own(&text("OPTIONS").to(&tag).cseq(2));
    assert_eq!(desk.statuses(), [200]);
}

#[test]
fn info_goes_to_the_application_and_a_package_nobody_agreed_on_gets_469() {
    let mut desk = Desk::new();
    desk.uas.set_info_types(&["application/dtmf-relay", "text/plain"]);
    let (key, tag) = desk.standing(&invite());
    let mut digit = text("INFO").to(&tag).cseq(2).body("Signal=5\r\n");
    digit.content_type = "application/dtmf-relay";
    desk.own(&digit);
    assert_eq!(desk.statuses(), [200]);
    let content_type: Box<[u8]> = b"application/dtmf-relay"[..].into();
    assert_eq!(desk.events(), [(key, Event::Info { content_type, body: b"Signal=5\r\n"[..].into() })]);
    desk.own(&text("INFO").to(&tag).cseq(3).branch("package").header("Info-Package: foo"));
    let refused = desk.only();
    assert_eq!((status(&refused), header(&refused, "Recv-Info"), desk.events()), (469, Some(""), vec![]));
}

#[test]
fn an_info_whose_body_nobody_takes_is_refused_with_the_types_that_are_taken() {
    for (types, accept) in
        [(&[][..], ""), (&["application/dtmf-relay", "text/plain"], "application/dtmf-relay, text/plain")]
    {
        let mut desk = Desk::new();
        desk.uas.set_info_types(types);
        let (key, tag) = desk.standing(&invite());
        let kinds = ["application/x-foo", "application/mediaservercontrol+xml", "application/sdp"];
        for (cseq, kind) in (2..).zip(kinds) {
            let mut play = text("INFO").to(&tag).cseq(cseq).branch(kind).body("<play/>");
            play.content_type = kind;
            desk.own(&play);
            let refused = desk.only();
            assert_eq!(
                (status(&refused), header(&refused, "Accept"), desk.events()),
                (415, Some(accept), vec![]),
                "{kind}"
            );
        }
        let mut optional = text("INFO").to(&tag).cseq(8).branch("optional").body("<play/>");
        optional.content_type = "application/x-foo";
        desk.own(&optional.header("Content-Disposition: render;handling=optional"));
        assert_eq!((desk.statuses(), desk.events()), (vec![200], vec![]), "an optional body is passed over");
        desk.own(&text("INFO").to(&tag).cseq(9).branch("empty"));
        let empty = Event::Info { content_type: Box::default(), body: Box::default() };
        assert_eq!(
            (desk.statuses(), desk.events()),
            (vec![200], vec![(key, empty)]),
            "one without a body is no question"
        );
    }
}

#[test]
fn a_request_that_opens_nothing_gets_one_answer_of_about_its_size_however_long_nobody_says_more() {
    for method in ["OPTIONS", "BYE", "CANCEL", "REGISTER", "MESSAGE", "PRACK", "UPDATE", "INFO", "ACK", "FROBNICATE"] {
        for request in [text(method), text(method).to("unknown"), text(method).header("Require: a,b,c,d,e,f,g,h,i,j")] {
            let mut desk = Desk::new();
            desk.own(&request);
            let mut sent = desk.sent();
            desk.wait(ms(64_000));
            sent.extend(desk.sent());
            assert_eq!(sent.len(), usize::from(method != "ACK"), "{method}");
            let (in_bytes, out) = (request.bytes().len(), sent.first().map_or(0, String::len));
            assert!(out <= in_bytes * 3 / 2 + 220, "{out} bytes for {in_bytes}: {sent:?}");
        }
    }
}

#[test]
fn a_request_that_begins_something_is_told_from_one_that_belongs_to_a_call() {
    let mut desk = Desk::new();
    let begins = |desk: &Desk, text: &Text| {
        let text = text.bytes();
        desk.uas.begins(&Scanner::new().scan(text.as_bytes()).unwrap())
    };
    let invite = invite();
    assert!(begins(&desk, &invite) && begins(&desk, &text("OPTIONS")) && begins(&desk, &text("BYE").to("other")));
    let cancel = text("CANCEL").branch("INVITE-1");
    assert!(begins(&desk, &cancel));
    desk.own(&invite);
    assert!(!begins(&desk, &invite), "a retransmission");
    assert!(!begins(&desk, &cancel));
    let mut desk = Desk::new();
    let (_, tag) = desk.standing(&invite);
    assert!(!begins(&desk, &text("BYE").to(&tag)) && !begins(&desk, &text("ACK").to("other")));
    assert!(begins(&desk, &text("BYE").to(&tag).call("other")));
}

#[test]
fn tags_and_branches_are_the_same_in_either_case() {
    // RFC 3261 §7.3.1.
    let mut desk = Desk::new();
    let mut first = invite().branch("aB");
    first.from_tag = "Caller".into();
    desk.own(&first);
    let key = desk.incoming();
    desk.act(|uas, now| uas.ring(key, 180, None, Delivery::AsRequired, now));
    let ringing = desk.only();
    let mut again = first.clone().branch("Ab");
    again.from_tag = "cALLER".into();
    desk.own(&again);
    assert_eq!((desk.only(), desk.events()), (ringing.clone(), vec![]), "a copy, not a second call");
    desk.act(|uas, now| uas.accept(key, Some(ANSWER.as_bytes()), now));
    let mut bye = text("BYE").to(&to_tag(&ringing).to_uppercase()).cseq(2);
    bye.from_tag = "CALLER".into();
    desk.sent();
    desk.own(&bye);
    assert_eq!(desk.statuses(), [200]);
    assert_eq!(desk.events(), [(key, Event::Ended(EndReason::PeerHungUp))]);
}
