//! A call's beginning: INVITE server transactions, the first dialog, ACK, CANCEL, delayed offers.

use super::*;
use crate::words::ReplyTo;

#[test]
fn a_call_is_answered_with_a_dialog_of_our_own_port() {
    let mut desk = Desk::new();
    let seq = desk.hand(&invite().header("Record-Route: <sip:p1;lr>, <sip:p2;lr>").header("Record-Route: <sip:p3;lr>"));
    let events = desk.events();
    let [(key, Event::Incoming { offer, replaces })] = events.as_slice() else { panic!("{events:?}") };
    assert_eq!((offer.as_deref(), *replaces), (Some(OFFER.as_bytes()), None));
    assert_eq!((desk.sent().len(), desk.settled()), (0, (vec![], vec![])));
    desk.act(|uas, now| uas.accept(*key, Some(ANSWER.as_bytes()), now));
    let [Output::Transmit(transmit), end, Output::Answered(answered)] = desk.outputs.as_slice() else { panic!() };
    assert_eq!((transmit.hop, transmit.to, *answered), (Hop::Listener(0), "192.0.2.9:5070".parse().unwrap(), seq));
    assert_eq!(*end, Output::Final { seq, status: 200, why: None });
    assert_eq!(transmit.from, Some("192.0.2.1".parse().unwrap()));
    let ok = desk.only();
    assert_eq!(status(&ok), 200);
    assert_eq!(header(&ok, "Contact"), Some("<sip:192.0.2.1:5071>"));
    assert!(to_tag(&ok).starts_with(&format!("{TOKEN}-")));
    let via = header(&ok, "Via").unwrap();
    assert!(via.contains("received=192.0.2.9") && via.contains("rport=5070"), "{via}");
    let routes: Vec<_> = ok.split("\r\n").filter(|line| line.starts_with("Record-Route:")).collect();
    assert_eq!(routes.join(" ").matches("<sip:p").count(), 3, "{routes:?}");
    assert_eq!((header(&ok, "Content-Type"), body(&ok)), (Some("application/sdp"), ANSWER));
    assert_eq!(desk.uas.load(), crate::call::Load { units_used: 1, sessions: 1, direct: 0, answered: 1 });
}

#[test]
fn a_100_comes_after_200_ms_without_decision_and_no_earlier() {
    let mut desk = Desk::new();
    desk.hand(&invite());
    desk.wait(ms(199));
    assert_eq!(desk.statuses(), [0; 0]);
    desk.wait(ms(12));
    let trying = desk.only();
    assert_eq!((status(&trying), header(&trying, "To")), (100, Some("<sip:ivr@example.net>")));
    desk.wait(SECOND);
    assert_eq!(desk.statuses(), [0; 0]);
}

#[test]
fn a_copy_of_a_ringing_invite_from_elsewhere_does_not_move_the_answers_there() {
    let from = |desk: &mut Desk, text: &str, source: &str| {
        let arrival = Arrival::own(0, source.parse().unwrap(), "192.0.2.1:5071".parse().unwrap(), 1);
        desk.say(text, &arrival);
    };
    let sent_to = |desk: &mut Desk| {
        let sent = desk.outputs.iter().filter_map(|output| match output {
            Output::Transmit(transmit) => Some(transmit.to.to_string()),
            _ => None,
        });
        let sent: Vec<_> = sent.collect();
        desk.outputs.retain(|output| !matches!(output, Output::Transmit(_)));
        sent
    };
    let whole = invite().bytes();
    let without = whole.replace(";rport", "");
    for (copy, source, answered_at) in [
        // A copy from a host that has seen the INVITE.
        (&whole, "198.51.100.66:5060", "192.0.2.9:5070"),
        (&without, "198.51.100.66:5060", "192.0.2.9:5070"),
        // Another host behind the same NAT, with a sent-by of its own choice.
        (&without.replace("192.0.2.9:5070;", "192.0.2.9:6666;"), "192.0.2.9:6666", "192.0.2.9:5070"),
        // The NAT has another port for the caller now.
        (&whole, "192.0.2.9:1024", "192.0.2.9:1024"),
    ] {
        let mut desk = Desk::new();
        from(&mut desk, &whole, "192.0.2.9:5070");
        let key = desk.incoming();
        desk.act(|uas, now| uas.ring(key, 180, None, Delivery::AsRequired, now));
        sent_to(&mut desk);
        from(&mut desk, copy, source);
        sent_to(&mut desk);
        desk.outputs.clear();
        assert!(desk.act(|uas, now| uas.accept(key, Some(ANSWER.as_bytes()), now)));
        assert_eq!(sent_to(&mut desk), [answered_at], "a copy from {source}");
    }
}

#[test]
fn a_retransmitted_invite_gets_the_last_provisional_again_and_opens_no_second_call() {
    let mut desk = Desk::new();
    let first = desk.hand(&invite());
    let key = desk.incoming();
    desk.act(|uas, now| uas.ring(key, 180, None, Delivery::AsRequired, now));
    assert_eq!(desk.statuses(), [180]);
    let again = desk.hand(&invite());
    assert_eq!((desk.statuses(), desk.events()), (vec![180], vec![]));
    // Both copies are kept for us until the final response has left.
    assert_eq!(desk.settled(), (vec![], vec![]));
    desk.act(|uas, now| uas.accept(key, Some(ANSWER.as_bytes()), now));
    assert_eq!(desk.settled().0, [first, again]);
    let late = desk.hand(&invite());
    // The sender of the copy has not got the 2xx.
    assert_eq!((desk.statuses(), desk.settled().0), (vec![200, 200], vec![late]));
}

#[test]
fn to_a_caller_who_hears_us_a_2xx_is_repeated_from_t1_to_t2_until_its_ack() {
    let mut desk = Desk::new();
    let (key, tag) = desk.ringing_with_prack();
    desk.act(|uas, now| uas.accept(key, Some(ANSWER.as_bytes()), now));
    let ok = desk.only();
    for gap in [500, 1_000, 2_000, 4_000, 4_000, 4_000] {
        desk.wait(ms(gap - 20));
        assert_eq!(desk.sent().len(), 0, "{gap}");
        desk.wait(ms(20) + ms(11));
        assert_eq!(desk.only(), ok);
        desk.now = desk.now - ms(11);
    }
    desk.own(&text("ACK").branch("ack").to(&tag));
    assert_eq!(desk.events(), [(key, Event::Established)]);
    desk.wait(SECOND * 30);
    assert_eq!(desk.sent().len(), 0);
}

#[test]
fn without_ack_a_call_ends_with_bye_after_64_t1() {
    let mut desk = Desk::new();
    desk.hand(&invite());
    let key = desk.incoming();
    desk.act(|uas, now| uas.accept(key, Some(ANSWER.as_bytes()), now));
    desk.wait(ms(31_900));
    assert!(desk.sent().iter().all(|text| status(text) == 200));
    desk.wait(ms(200));
    assert_eq!(desk.events(), [(key, Event::Ended(EndReason::NoAck))]);
    assert!(desk.only().starts_with("BYE sip:caller@192.0.2.9:5070 SIP/2.0\r\n"));
    desk.assert_idle();
}

#[test]
fn an_ack_of_another_number_does_not_count() {
    let mut desk = Desk::new();
    desk.hand(&invite().cseq(5));
    let key = desk.incoming();
    desk.act(|uas, now| uas.accept(key, Some(ANSWER.as_bytes()), now));
    let tag = to_tag(&desk.only());
    desk.own(&text("ACK").branch("ack").to(&tag).cseq(4));
    desk.own(&text("ACK").branch("ack").to("other").cseq(5));
    assert_eq!(desk.events(), []);
    desk.own(&text("ACK").branch("ack").to(&tag).cseq(5));
    assert_eq!(desk.events(), [(key, Event::Established)]);
}

#[test]
fn a_refusal_is_repeated_until_its_ack_and_absorbs_the_rest() {
    let mut desk = Desk::new();
    let seq = desk.hand(&invite());
    let key = desk.incoming();
    desk.act(|uas, now| uas.reject(key, 603, now));
    assert_eq!(desk.events(), [(key, Event::Ended(EndReason::Rejected(603)))]);
    assert_eq!(desk.settled().0, [seq]);
    let refusal = desk.only();
    desk.wait(ms(511));
    assert_eq!(desk.only(), refusal);
    desk.hand(&invite());
    assert_eq!(desk.only(), refusal);
    let mut ack = text("ACK").to(&to_tag(&refusal));
    ack.branch = invite().branch;
    desk.own(&ack);
    desk.wait(ms(4_900));
    desk.hand(&invite());
    assert_eq!(desk.sent().len(), 0);
    desk.assert_idle();
}

#[test]
fn over_a_stream_a_refusal_is_sent_once() {
    let mut desk = Desk::new();
    desk.hand_with(&invite(), |envelope| {
        envelope.reply_to = ReplyTo::Stream(ConnId(9));
        envelope.transport = Transport::Tcp;
    });
    let key = desk.incoming();
    desk.act(|uas, now| uas.reject(key, 486, now));
    let [Output::Transmit(transmit), ..] = desk.outputs.as_slice() else { panic!() };
    assert_eq!(transmit.hop, Hop::Dispatcher(ReplyTo::Stream(ConnId(9))));
    desk.sent();
    desk.wait(SECOND * 40);
    assert_eq!(desk.sent().len(), 0);
    desk.assert_idle();
}

#[test]
fn cancel_gets_200_and_the_invite_487_with_one_tag() {
    let mut desk = Desk::new();
    let first = desk.hand(&invite());
    let key = desk.incoming();
    let mut cancel = text("CANCEL");
    cancel.branch = invite().branch;
    let second = desk.hand_with(&cancel, |envelope| envelope.follows = true);
    let sent = desk.sent();
    assert_eq!(sent.iter().map(|text| status(text)).collect::<Vec<_>>(), [200, 487]);
    assert_eq!(to_tag(&sent[0]), to_tag(&sent[1]));
    assert_eq!(desk.events(), [(key, Event::Ended(EndReason::Cancelled))]);
    assert_eq!(desk.settled().0, [second, first]);
    desk.hand(&cancel);
    assert_eq!(desk.statuses(), [200]);
    desk.assert_idle();
}

#[test]
fn cancel_after_the_final_response_changes_nothing() {
    let mut desk = Desk::new();
    desk.hand(&invite());
    let key = desk.incoming();
    desk.act(|uas, now| uas.accept(key, Some(ANSWER.as_bytes()), now));
    desk.sent();
    let mut cancel = text("CANCEL");
    cancel.branch = invite().branch;
    desk.hand(&cancel);
    assert_eq!((desk.statuses(), desk.events()), (vec![200], vec![]));
}

#[test]
fn cancel_of_nothing_gets_481() {
    let mut desk = Desk::new();
    let seq = desk.hand(&text("CANCEL"));
    assert_eq!((desk.statuses(), desk.settled().0), (vec![481], vec![seq]));
}

#[test]
fn an_invite_without_offer_gets_ours_and_the_answer_comes_in_the_ack() {
    let mut desk = Desk::new();
    desk.hand(&text("INVITE"));
    let events = desk.events();
    let [(key, Event::Incoming { offer: None, .. })] = events.as_slice() else { panic!("{events:?}") };
    desk.act(|uas, now| uas.accept(*key, Some(OFFER.as_bytes()), now));
    let ok = desk.only();
    assert_eq!(body(&ok), OFFER);
    desk.own(&text("ACK").branch("ack").to(&to_tag(&ok)).body(ANSWER));
    assert_eq!(desk.events(), [(*key, Event::Established), (*key, Event::Answer(ANSWER.as_bytes().into()))]);
}

#[test]
fn the_invites_expires_ends_a_call_that_nobody_decides_on() {
    let mut desk = Desk::new();
    desk.hand(&invite().header("Expires: 3"));
    let key = desk.incoming();
    desk.wait(ms(2_900));
    assert_eq!(desk.statuses(), [100]);
    desk.wait(ms(200));
    assert_eq!((desk.statuses(), desk.events()), (vec![487], vec![(key, Event::Ended(EndReason::InviteExpired))]));
    desk.assert_idle();
}

#[test]
fn a_call_that_comes_to_our_own_port_is_answered_from_there_and_counted() {
    let mut desk = Desk::new();
    desk.own(&invite());
    let key = desk.incoming();
    desk.act(|uas, now| uas.accept(key, Some(ANSWER.as_bytes()), now));
    let [Output::Transmit(transmit)] = desk.outputs.as_slice() else { panic!("{:?}", desk.outputs) };
    assert_eq!(transmit.hop, Hop::Own(0));
    assert_eq!(desk.uas.load().direct, 1);
}

#[test]
fn a_pinned_dialog_names_the_well_known_address_and_the_token() {
    let mut desk = Desk::new();
    desk.hand_with(&invite(), |envelope| {
        envelope.pinned = true;
        envelope.source = "203.0.113.7:1024".parse().unwrap();
    });
    let key = desk.incoming();
    desk.act(|uas, now| uas.accept(key, Some(ANSWER.as_bytes()), now));
    let ok = desk.only();
    assert_eq!(header(&ok, "Contact"), Some(format!("<sip:{TOKEN}@192.0.2.1:5060>").as_str()));
    desk.hand_with(&text("ACK").branch("ack").to(&to_tag(&ok)), |envelope| {
        envelope.follows = true;
        envelope.source = "203.0.113.7:1024".parse().unwrap();
    });
    desk.outputs.clear();
    desk.act(|uas, now| uas.hang_up(key, now));
    let [Output::Event(..), Output::Transmit(transmit)] = desk.outputs.as_slice() else { panic!("{:?}", desk.outputs) };
    // Only datagrams from the well-known port get through to the caller.
    assert_eq!((transmit.hop, transmit.to), (Hop::Listener(0), "203.0.113.7:1024".parse().unwrap()));
    let bye = desk.only();
    assert!(header(&bye, "Via").unwrap().starts_with(&format!("SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bK{TOKEN}")));
}

#[test]
fn responses_leave_from_our_own_port_when_told_so_or_without_a_duplicate() {
    for (reply_from, duplicates) in [(ReplyFrom::Worker, vec![true]), (ReplyFrom::Listener, vec![])] {
        let identity = Identity { reply_from, duplicates, ..identity() };
        let mut desk = Desk::with(identity, Limits::default(), SessionTimer::default());
        desk.hand(&text("OPTIONS"));
        let [Output::Transmit(transmit), ..] = desk.outputs.as_slice() else { panic!() };
        assert_eq!(transmit.hop, Hop::Own(0));
    }
}

#[test]
fn the_advertised_address_stands_in_contact() {
    let identity = Identity { advertise: vec!["198.51.100.4".parse().unwrap()], ..identity() };
    let mut desk = Desk::with(identity, Limits::default(), SessionTimer::default());
    desk.hand(&invite());
    let key = desk.incoming();
    assert_eq!(desk.uas.address(key), Some("198.51.100.4".parse().unwrap()));
    desk.act(|uas, now| uas.accept(key, None, now));
    assert_eq!(header(&desk.only(), "Contact"), Some("<sip:198.51.100.4:5071>"));
}

#[test]
fn a_second_copy_on_another_way_gets_482() {
    let mut desk = Desk::new();
    desk.hand(&invite());
    desk.incoming();
    let seq = desk.hand(&invite().branch("other-way"));
    assert_eq!((desk.statuses(), desk.settled().0, desk.events()), (vec![482], vec![seq], vec![]));
    // The INVITE is sent again with credentials: it is a new request, not a copy.
    desk.hand(&invite().branch("again").cseq(2));
    desk.incoming();
}

/// The ACK to a refusal: it has the branch of the INVITE.
fn acknowledge(desk: &mut Desk, refused: &Text, refusal: &str) {
    desk.hand(&Text { method: "ACK", body: String::new(), ..refused.clone().to(&to_tag(refusal)) });
}

#[test]
fn the_next_attempt_of_a_proxy_that_hunts_is_a_new_call_once_the_refusal_is_acknowledged() {
    let mut desk = Desk::new();
    desk.hand(&invite());
    let first = desk.incoming();
    desk.hand(&invite().branch("copy"));
    let copy = desk.only();
    assert_eq!(status(&copy), 482, "the first still rings");
    desk.act(|uas, now| uas.reject(first, 486, now));
    let refusal = desk.only();
    desk.events();
    desk.hand(&invite().branch("early"));
    assert_eq!(desk.statuses(), [482], "the refusal has not been acknowledged");
    acknowledge(&mut desk, &invite(), &refusal);
    // Its 482 has not been acknowledged; the next attempt must not count as a copy of it.
    desk.hand(&invite().branch("next"));
    let next = desk.incoming();
    desk.hand(&invite().branch("beside-next"));
    assert_eq!(desk.statuses(), [482]);
    desk.act(|uas, now| uas.reject(next, 486, now));
    let refusal = desk.only();
    desk.events();
    acknowledge(&mut desk, &invite().branch("next"), &refusal);
    desk.hand(&invite().branch("third"));
    let third = desk.incoming();
    desk.act(|uas, now| uas.reject(third, 486, now));
    desk.assert_idle();
}

#[test]
fn a_copy_of_a_call_that_stands_gets_482_as_long_as_one_can_be_on_its_way() {
    let mut desk = Desk::new();
    desk.standing(&invite());
    desk.wait(ms(4_900));
    desk.hand(&invite().branch("copy"));
    assert_eq!(desk.statuses(), [482]);
    desk.wait(ms(200));
    desk.outputs.clear();
    desk.hand(&invite().branch("later"));
    desk.incoming();
}

#[test]
fn the_next_attempt_is_taken_by_a_worker_that_gave_the_first_one_back() {
    let mut desk = Desk::new();
    let first = desk.hand(&invite());
    let key = desk.incoming();
    desk.act(|uas, now| uas.refuse(key, RefuseReason::Full, now));
    desk.events();
    assert_eq!(desk.settled(), (vec![], vec![(first, RefuseReason::Full)]));
    let copy = desk.hand_with(&invite().branch("copy"), |envelope| envelope.follows = true);
    assert_eq!(desk.settled().1, [(copy, RefuseReason::Follows)], "it was on its way here behind the first");
    desk.hand(&invite().branch("next"));
    desk.incoming();
}

#[test]
fn an_ack_without_the_answer_to_our_offer_ends_the_call() {
    let mut desk = Desk::new();
    desk.hand(&text("INVITE"));
    let key = desk.incoming();
    desk.act(|uas, now| uas.accept(key, Some(OFFER.as_bytes()), now));
    let tag = to_tag(&desk.only());
    desk.own(&text("ACK").branch("ack").to(&tag));
    assert!(desk.only().starts_with("BYE "));
    assert_eq!(desk.events(), [(key, Event::Established), (key, Event::Ended(EndReason::NoAnswer))]);
    desk.assert_idle();
}

#[test]
fn to_a_caller_who_hears_us_ringing_is_repeated_every_minute() {
    let mut desk = Desk::new();
    let (key, _) = desk.ringing_with_prack();
    desk.act(|uas, now| uas.ring(key, 182, None, Delivery::AsRequired, now));
    let sent = desk.only();
    desk.wait(SECOND * 59);
    assert_eq!(desk.sent().len(), 0);
    desk.wait(SECOND * 122);
    assert_eq!(desk.sent(), [sent.clone(), sent.clone(), sent]);
    desk.act(|uas, now| uas.reject(key, 486, now));
    desk.assert_idle();
}

#[test]
fn a_100_is_not_repeated() {
    let mut desk = Desk::new();
    desk.hand(&invite());
    let key = desk.incoming();
    desk.wait(ms(300));
    assert_eq!(desk.statuses(), [100]);
    desk.wait(SECOND * 400);
    assert_eq!(desk.sent().len(), 0);
    desk.act(|uas, now| uas.reject(key, 486, now));
    desk.assert_idle();
}

#[test]
fn a_response_whose_connection_is_gone_is_dialled_to_the_port_in_via() {
    let mut desk = Desk::new();
    let arrival =
        Arrival::stream(9, Transport::Tcp, ("192.0.2.9:40000".parse().unwrap(), "192.0.2.1:5071".parse().unwrap()), 1);
    desk.say(&text("OPTIONS").bytes(), &arrival);
    let ways = desk.outputs.iter().filter_map(|output| match output {
        Output::Transmit(transmit) => Some((transmit.hop, transmit.to)),
        _ => None,
    });
    assert_eq!(ways.collect::<Vec<_>>(), [(Hop::Stream(9), "192.0.2.9:5070".parse().unwrap())]);
}

#[test]
fn a_call_by_a_sips_uri_gets_a_sips_contact() {
    // RFC 3261 §12.1.1.
    let contact_of = |invite: &Text| {
        let secure = Identity { speaks_tls: true, ..identity() };
        let mut desk = Desk::with(secure, Limits::default(), SessionTimer { expires: None, min_se: 90 });
        desk.hand(invite);
        let key = desk.incoming();
        desk.act(|uas, now| uas.accept(key, Some(ANSWER.as_bytes()), now));
        header(&desk.only(), "Contact").unwrap().to_owned()
    };
    let mut by_uri = invite();
    by_uri.uri = "sips:ivr@192.0.2.1".into();
    let mut by_contact = invite().header("Contact: <sips:caller@192.0.2.9>");
    by_contact.contact = false;
    let by_route = invite().header("Record-Route: <sips:p1;lr>, <sip:p2;lr>");
    for secure in [by_uri.clone(), by_contact.clone(), by_route] {
        assert_eq!(contact_of(&secure), "<sips:192.0.2.1:5071>");
    }
    assert_eq!(contact_of(&by_contact.header("Record-Route: <sip:p1;lr>")), "<sip:192.0.2.1:5071>");
    // RFC 5630 §5.1.2: nothing speaks TLS at the port of a worker without certificates.
    let mut desk = Desk::new();
    desk.hand(&by_uri);
    let refusal = desk.only();
    assert!(refusal.starts_with("SIP/2.0 480 "), "{refusal}");
    assert_eq!(header(&refusal, "Warning"), Some("380 pointsman \"SIPS Not Allowed\""));
}

#[test]
fn a_caller_that_insists_on_a_provisional_response_is_sent_180_before_an_answer_that_comes_at_once() {
    let mut desk = Desk::new();
    desk.hand_with(&invite(), |envelope| envelope.ring_first = true);
    let key = desk.incoming();
    assert!(desk.act(|uas, now| uas.accept(key, Some(ANSWER.as_bytes()), now)));
    assert_eq!(desk.statuses(), [180, 200]);
    let mut desk = Desk::new();
    desk.hand_with(&invite(), |envelope| envelope.ring_first = true);
    let key = desk.incoming();
    desk.act(|uas, now| uas.ring(key, 183, None, Delivery::AsRequired, now));
    desk.act(|uas, now| uas.accept(key, Some(ANSWER.as_bytes()), now));
    assert_eq!(desk.statuses(), [183, 200], "it has had one");
    let mut desk = Desk::new();
    desk.hand_with(&invite(), |envelope| envelope.ring_first = true);
    let key = desk.incoming();
    desk.act(|uas, now| uas.reject(key, 486, now));
    assert_eq!(desk.statuses(), [486], "a refusal needs none");
}
