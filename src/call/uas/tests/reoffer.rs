//! Changes of a standing session, and the glare rules.

use super::*;

fn reinvite(tag: &str) -> Text {
    invite().to(tag).cseq(2).branch("re")
}

#[test]
fn a_reinvite_with_an_offer_is_the_applications_to_answer() {
    let mut desk = Desk::new();
    let (key, tag) = desk.standing(&invite());
    desk.own(&reinvite(&tag));
    assert_eq!((desk.events(), desk.sent().len()), (vec![(key, Event::Offer(OFFER.as_bytes().into()))], 0));
    desk.act(|uas, now| uas.answer_offer(key, ANSWER.as_bytes(), now));
    let ok = desk.only();
    assert_eq!((status(&ok), body(&ok), header(&ok, "Contact")), (200, ANSWER, Some("<sip:192.0.2.1:5071>")));
    desk.wait(ms(511));
    assert_eq!(desk.only(), ok);
    desk.own(&text("ACK").branch("ack2").to(&tag).cseq(2));
    desk.wait(SECOND * 2);
    assert_eq!((desk.sent().len(), desk.events()), (0, vec![]));
}

#[test]
fn a_refused_offer_leaves_the_call_standing() {
    let mut desk = Desk::new();
    let (key, tag) = desk.standing(&invite());
    desk.own(&reinvite(&tag));
    desk.act(|uas, now| uas.reject_offer(key, 488, now));
    assert_eq!((desk.statuses(), desk.uas.load().sessions), (vec![488], 1));
    assert!(!desk.act(|uas, now| uas.answer_offer(key, ANSWER.as_bytes(), now)));
}

#[test]
fn a_reinvite_without_offer_asks_the_application_for_one() {
    let mut desk = Desk::new();
    let (key, tag) = desk.standing(&invite());
    desk.own(&text("INVITE").to(&tag).cseq(2).branch("re"));
    assert_eq!((desk.events(), desk.sent().len()), (vec![(key, Event::OfferWanted)], 0));
    // The application is making the offer, so an offer that crosses it has to wait (RFC 3311 §5.2).
    desk.own(&text("UPDATE").to(&tag).cseq(3).branch("early").body(OFFER));
    assert_eq!(desk.statuses(), [500]);
    let anew = ANSWER.replace("RTP/AVP 0", "RTP/AVP 0 8");
    assert!(desk.act(|uas, now| uas.answer_offer(key, anew.as_bytes(), now)));
    assert_eq!(body(&desk.only()), anew);
    // Our offer is open: an offer that crosses it gets 491.
    desk.own(&text("UPDATE").to(&tag).cseq(4).branch("up").body(OFFER));
    assert_eq!(desk.statuses(), [491]);
    desk.own(&text("ACK").to(&tag).cseq(2).branch("ack2").body(OFFER));
    assert_eq!(desk.events(), [(key, Event::Answer(OFFER.as_bytes().into()))]);
}

#[test]
fn an_application_may_offer_again_what_it_said_last() {
    let mut desk = Desk::new();
    let (key, tag) = desk.standing(&invite());
    assert!(!desk.act(|uas, now| uas.offer_again(key, now)), "nobody has asked");
    desk.own(&text("INVITE").to(&tag).cseq(2).branch("re"));
    assert!(desk.act(|uas, now| uas.offer_again(key, now)));
    assert_eq!(body(&desk.only()), ANSWER);
    desk.own(&text("ACK").to(&tag).cseq(2).branch("ack2").body(OFFER));
    assert_eq!(desk.events(), [(key, Event::OfferWanted), (key, Event::Answer(OFFER.as_bytes().into()))]);
}

#[test]
fn an_offer_that_the_ack_does_not_answer_leaves_the_call_standing() {
    let mut desk = Desk::new();
    let (key, tag) = desk.standing(&invite());
    desk.own(&text("INVITE").to(&tag).cseq(2).branch("re"));
    desk.act(|uas, now| uas.answer_offer(key, ANSWER.as_bytes(), now));
    desk.own(&text("ACK").to(&tag).cseq(2).branch("ack2"));
    desk.outputs.clear();
    desk.own(&text("UPDATE").to(&tag).cseq(3).branch("up").body(OFFER));
    assert_eq!(desk.events(), [(key, Event::Offer(OFFER.as_bytes().into()))]);
}

#[test]
fn a_second_change_while_one_is_open_gets_500_with_a_time() {
    let mut desk = Desk::new();
    let (_, tag) = desk.standing(&invite());
    desk.own(&reinvite(&tag));
    desk.own(&reinvite(&tag).cseq(3).branch("re3"));
    desk.own(&text("UPDATE").to(&tag).cseq(4).branch("up").body(OFFER));
    for refusal in desk.sent() {
        assert_eq!(status(&refusal), 500);
        assert!(header(&refusal, "Retry-After").unwrap().parse::<u32>().unwrap() <= 10);
    }
}

#[test]
fn cancel_of_a_reinvite_ends_the_change_and_not_the_call() {
    let mut desk = Desk::new();
    let (_, tag) = desk.standing(&invite());
    desk.own(&reinvite(&tag));
    let mut cancel = text("CANCEL").to(&tag).cseq(2);
    cancel.branch = reinvite(&tag).branch;
    desk.own(&cancel);
    assert_eq!((desk.statuses(), desk.uas.load().sessions), (vec![200, 487], 1));
}

#[test]
fn update_with_an_offer_is_answered_by_the_application_and_without_at_once() {
    let mut desk = Desk::new();
    let (key, tag) = desk.standing(&invite());
    desk.own(&text("UPDATE").to(&tag).cseq(2));
    let ok = desk.only();
    assert_eq!((status(&ok), body(&ok), desk.events()), (200, "", vec![]));
    desk.own(&text("UPDATE").to(&tag).cseq(3).branch("offer").body(OFFER));
    assert_eq!(desk.events(), [(key, Event::Offer(OFFER.as_bytes().into()))]);
    desk.act(|uas, now| uas.answer_offer(key, ANSWER.as_bytes(), now));
    assert_eq!(body(&desk.only()), ANSWER);
}

#[test]
fn update_with_an_offer_before_the_first_answer_gets_500() {
    let mut desk = Desk::new();
    desk.hand(&invite());
    let key = desk.incoming();
    desk.act(|uas, now| uas.ring(key, 180, None, Delivery::AsRequired, now));
    let tag = to_tag(&desk.only());
    desk.own(&text("UPDATE").to(&tag).cseq(2).body(OFFER));
    desk.own(&reinvite(&tag).cseq(3));
    assert_eq!(desk.statuses(), [500, 500]);
}

#[test]
fn a_change_of_contact_is_where_our_bye_goes() {
    let mut desk = Desk::new();
    let (key, tag) = desk.standing(&invite());
    let mut moved = text("UPDATE").to(&tag).cseq(2).header("Contact: <sip:caller@192.0.2.10:5099>");
    moved.contact = false;
    desk.own(&moved);
    desk.sent();
    desk.act(|uas, now| uas.hang_up(key, now));
    assert!(desk.only().starts_with("BYE sip:caller@192.0.2.10:5099 SIP/2.0\r\n"));
}

#[test]
fn a_bye_answers_what_is_still_open() {
    let mut desk = Desk::new();
    let (_, tag) = desk.standing(&invite());
    desk.own(&reinvite(&tag));
    desk.own(&text("BYE").to(&tag).cseq(3));
    assert_eq!(desk.statuses(), [200, 487]);
    desk.assert_idle();
}

#[test]
fn a_reinvite_whose_ack_got_lost_is_settled_by_the_next() {
    let mut desk = Desk::new();
    desk.hand(&invite());
    let key = desk.incoming();
    desk.act(|uas, now| uas.accept(key, Some(ANSWER.as_bytes()), now));
    let tag = to_tag(&desk.only());
    desk.own(&reinvite(&tag));
    assert_eq!(desk.events(), [(key, Event::Established), (key, Event::Offer(OFFER.as_bytes().into()))]);
    desk.wait(SECOND);
    assert_eq!(desk.statuses(), [100]);
}

#[test]
fn a_refused_change_does_not_move_where_our_bye_goes() {
    let mut desk = Desk::new();
    let (key, tag) = desk.standing(&invite());
    let mut moved = reinvite(&tag).header("Contact: <sip:caller@192.0.2.10:5099>");
    moved.contact = false;
    desk.own(&moved);
    desk.act(|uas, now| uas.reject_offer(key, 488, now));
    desk.sent();
    desk.act(|uas, now| uas.hang_up(key, now));
    assert!(desk.only().starts_with("BYE sip:caller@192.0.2.9:5070 SIP/2.0\r\n"));
}

#[test]
fn a_reinvite_with_the_branch_of_the_first_invite_is_not_taken_for_a_copy() {
    let mut desk = Desk::new();
    let (key, tag) = desk.standing(&invite());
    let mut again = reinvite(&tag);
    again.branch = invite().branch;
    desk.own(&again);
    assert_eq!(desk.events(), [(key, Event::Offer(OFFER.as_bytes().into()))]);
    desk.act(|uas, now| uas.answer_offer(key, ANSWER.as_bytes(), now));
    let ok = desk.only();
    assert_eq!((status(&ok), header(&ok, "CSeq")), (200, Some("2 INVITE")));
    desk.own(&again);
    assert_eq!((desk.sent().iter().all(|sent| *sent == ok), desk.events()), (true, vec![]), "a copy of the second");
    desk.own(&text("ACK").branch("ack2").to(&tag).cseq(2));
    desk.own(&text("BYE").to(&tag).cseq(3));
    desk.outputs.clear();
    desk.assert_idle();
}

#[test]
fn a_change_that_the_application_never_answers_does_not_stand_in_the_way_of_the_next() {
    let mut desk = Desk::new();
    let (key, tag) = desk.standing(&invite());
    desk.own(&text("UPDATE").to(&tag).cseq(2).branch("first").body(OFFER));
    desk.events();
    desk.wait(SECOND * 40);
    assert_eq!(desk.statuses(), [500]);
    desk.own(&text("UPDATE").to(&tag).cseq(3).branch("next").body(OFFER));
    assert_eq!(desk.events(), [(key, Event::Offer(OFFER.as_bytes().into()))]);
    desk.act(|uas, now| uas.answer_offer(key, ANSWER.as_bytes(), now));
    assert_eq!(desk.statuses(), [200]);
}
