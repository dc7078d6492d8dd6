//! Reliable provisional responses (RFC 3262).

use super::*;

fn prack(tag: &str, ringing: &str) -> Text {
    text("PRACK").to(tag).cseq(2).header(&format!("RAck: {} 1 INVITE", header(ringing, "RSeq").unwrap()))
}

fn ringing(desk: &mut Desk, invite: &Text, sdp: Option<&str>, delivery: Delivery) -> (CallKey, String) {
    desk.hand(invite);
    let key = desk.incoming();
    assert!(desk.act(|uas, now| uas.ring(key, 183, sdp.map(str::as_bytes), delivery, now)));
    (key, desk.only())
}

#[test]
fn a_response_is_sent_reliably_where_the_peer_requires_it_and_plainly_where_it_does_not_know_how() {
    let mut desk = Desk::new();
    let (_, plain) = ringing(&mut desk, &invite(), None, Delivery::Reliable);
    assert_eq!((status(&plain), header(&plain, "RSeq")), (183, None));
    let mut desk = Desk::new();
    let (_, plain) = ringing(&mut desk, &invite().header("Supported: 100rel"), None, Delivery::AsRequired);
    assert_eq!(header(&plain, "RSeq"), None);
    for (line, delivery) in [("Require: 100rel", Delivery::AsRequired), ("Supported: 100rel", Delivery::Reliable)] {
        let mut desk = Desk::new();
        let (_, sent) = ringing(&mut desk, &invite().header(line), None, delivery);
        assert_eq!(header(&sent, "Require"), Some("100rel"));
        assert!((1..1 << 31).contains(&header(&sent, "RSeq").unwrap().parse::<u32>().unwrap()));
    }
}

#[test]
fn a_reliable_response_is_repeated_until_its_prack() {
    let mut desk = Desk::new();
    let (key, sent) = ringing(&mut desk, &invite().header("Require: 100rel"), None, Delivery::AsRequired);
    desk.wait(ms(511));
    assert_eq!(desk.only(), sent);
    desk.own(&text("PRACK").to(&to_tag(&sent)).cseq(2).branch("wrong").header("RAck: 1 9 INVITE"));
    assert_eq!(desk.statuses(), [481]);
    assert!(!desk.act(|uas, now| uas.ring(key, 180, None, Delivery::AsRequired, now)));
    desk.own(&prack(&to_tag(&sent), &sent).cseq(3));
    assert_eq!(desk.statuses(), [200]);
    desk.wait(SECOND * 5);
    assert_eq!(desk.sent().len(), 0);
    assert!(desk.act(|uas, now| uas.ring(key, 180, None, Delivery::AsRequired, now)));
    let second = desk.only();
    let number = |text: &str| header(text, "RSeq").unwrap().parse::<u32>().unwrap();
    assert_eq!(number(&second), number(&sent) + 1);
    desk.own(&prack(&to_tag(&sent), &sent).cseq(4).branch("old"));
    assert_eq!(desk.statuses(), [481]);
}

#[test]
fn without_prack_the_call_ends_with_504() {
    let mut desk = Desk::new();
    let (key, _) = ringing(&mut desk, &invite().header("Require: 100rel"), None, Delivery::AsRequired);
    desk.wait(ms(31_900));
    assert!(desk.sent().iter().all(|text| status(text) == 183));
    desk.wait(ms(300));
    assert_eq!(desk.events(), [(key, Event::Ended(EndReason::NoPrack))]);
    assert_eq!(desk.statuses(), [504]);
    desk.assert_idle();
}

#[test]
fn a_2xx_waits_for_the_prack_of_early_media() {
    let mut desk = Desk::new();
    let (key, sent) = ringing(&mut desk, &invite().header("Require: 100rel"), Some(ANSWER), Delivery::AsRequired);
    assert!(desk.act(|uas, now| uas.accept(key, Some(ANSWER.as_bytes()), now)));
    assert_eq!(desk.sent().len(), 0);
    desk.own(&prack(&to_tag(&sent), &sent));
    assert_eq!(desk.statuses(), [200, 200]);
    desk.own(&text("ACK").branch("ack").to(&to_tag(&sent)));
    assert_eq!(desk.events(), [(key, Event::Established)]);
}

#[test]
fn a_2xx_does_not_wait_for_the_prack_of_plain_ringing() {
    let mut desk = Desk::new();
    let (key, _) = ringing(&mut desk, &invite().header("Require: 100rel"), None, Delivery::AsRequired);
    desk.act(|uas, now| uas.accept(key, Some(ANSWER.as_bytes()), now));
    assert_eq!(desk.statuses(), [200]);
    desk.wait(ms(511));
    assert_eq!(desk.statuses(), [200]);
}

#[test]
fn an_offer_of_ours_in_a_reliable_response_is_answered_by_prack() {
    let mut desk = Desk::new();
    let (key, sent) = ringing(&mut desk, &text("INVITE").header("Require: 100rel"), Some(OFFER), Delivery::AsRequired);
    desk.own(&prack(&to_tag(&sent), &sent).body(ANSWER));
    assert_eq!((desk.statuses(), desk.events()), (vec![200], vec![(key, Event::Answer(ANSWER.as_bytes().into()))]));
}

#[test]
fn an_offer_in_a_prack_is_answered_in_its_200_and_the_2xx_waits() {
    let mut desk = Desk::new();
    let (key, sent) = ringing(&mut desk, &invite().header("Require: 100rel"), Some(ANSWER), Delivery::AsRequired);
    desk.act(|uas, now| uas.accept(key, Some(ANSWER.as_bytes()), now));
    desk.own(&prack(&to_tag(&sent), &sent).body(OFFER));
    assert_eq!((desk.events(), desk.sent().len()), (vec![(key, Event::Offer(OFFER.as_bytes().into()))], 0));
    desk.act(|uas, now| uas.answer_offer(key, ANSWER.as_bytes(), now));
    assert_eq!(desk.statuses(), [200, 200]);
}

#[test]
fn an_offer_in_a_prack_that_the_application_never_answers_does_not_hold_the_2xx_back_for_ever() {
    let mut desk = Desk::new();
    let (key, sent) = ringing(&mut desk, &invite().header("Require: 100rel"), Some(ANSWER), Delivery::AsRequired);
    desk.act(|uas, now| uas.accept(key, Some(ANSWER.as_bytes()), now));
    desk.own(&prack(&to_tag(&sent), &sent).body(OFFER));
    desk.wait(SECOND * 31);
    assert_eq!(desk.sent().len(), 0);
    desk.wait(SECOND);
    assert_eq!(desk.statuses(), [500, 200]);
}

#[test]
fn the_prack_of_ringing_that_comes_after_the_2xx_gets_200() {
    let mut desk = Desk::new();
    let (key, sent) = ringing(&mut desk, &invite().header("Require: 100rel"), None, Delivery::AsRequired);
    desk.act(|uas, now| uas.accept(key, Some(ANSWER.as_bytes()), now));
    desk.sent();
    desk.own(&prack(&to_tag(&sent), &sent));
    assert_eq!(desk.statuses(), [200]);
    desk.own(&text("ACK").branch("ack").to(&to_tag(&sent)));
    desk.own(&prack(&to_tag(&sent), &sent).cseq(3).branch("again"));
    assert_eq!(desk.statuses(), [481]);
    assert_eq!(desk.uas.load().sessions, 1);
}

#[test]
fn an_offer_in_a_prack_while_another_waits_gets_500_and_leaves_the_other_alone() {
    let mut desk = Desk::new();
    let (key, sent) = ringing(&mut desk, &invite().header("Require: 100rel"), Some(ANSWER), Delivery::AsRequired);
    let tag = to_tag(&sent);
    desk.own(&text("UPDATE").to(&tag).cseq(2).body(OFFER));
    desk.settled();
    let seq = desk.hand_with(&prack(&tag, &sent).cseq(3).body(OFFER), |envelope| envelope.follows = true);
    assert_eq!((desk.statuses(), desk.settled()), (vec![500], (vec![seq], vec![])));
    assert_eq!(desk.events(), [(key, Event::Offer(OFFER.as_bytes().into()))]);
    desk.act(|uas, now| uas.answer_offer(key, ANSWER.as_bytes(), now));
    let ok = desk.only();
    assert_eq!((status(&ok), header(&ok, "CSeq")), (200, Some("2 UPDATE")));
}

#[test]
fn an_offer_that_the_prack_has_answered_is_not_repeated_in_the_2xx() {
    let mut desk = Desk::new();
    let (key, sent) = ringing(&mut desk, &text("INVITE").header("Require: 100rel"), Some(OFFER), Delivery::AsRequired);
    desk.own(&prack(&to_tag(&sent), &sent).body(ANSWER));
    desk.sent();
    desk.events();
    desk.act(|uas, now| uas.accept(key, Some(OFFER.as_bytes()), now));
    assert_eq!(body(&desk.only()), "");
    desk.own(&text("ACK").branch("ack").to(&to_tag(&sent)));
    assert_eq!(desk.events(), [(key, Event::Established)]);
}
