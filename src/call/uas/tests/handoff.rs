//! Messages handed over: each is answered or given back exactly once, and a message that is given back is not answered.

use super::*;
use crate::words::Envelope;

#[test]
fn a_worker_without_room_gives_the_call_back_and_all_that_follows_it() {
    let limits = Limits { units: 3, ..Limits::default() };
    let mut desk = Desk::with(identity(), limits, SessionTimer::default());
    let first = desk.hand_with(&invite(), |envelope| envelope.size = 4);
    assert_eq!(desk.settled(), (vec![], vec![(first, RefuseReason::Full)]));
    let mut cancel = text("CANCEL");
    cancel.branch = invite().branch;
    let cancel = desk.hand_with(&cancel, |envelope| envelope.follows = true);
    let again = desk.hand_with(&invite(), |envelope| envelope.follows = true);
    let follows = |seq| (seq, RefuseReason::Follows);
    assert_eq!(desk.settled(), (vec![], vec![follows(cancel), follows(again)]));
    assert_eq!((desk.sent().len(), desk.events()), (0, vec![]));
    desk.wait(SECOND * 33);
    desk.hand_with(&invite(), |envelope| envelope.size = 3);
    desk.incoming();
    assert_eq!(desk.uas.load().units_used, 3);
}

#[test]
fn a_request_that_belongs_here_gets_our_own_answer_when_we_are_full() {
    let limits = Limits { units: 2, ..Limits::default() };
    let mut desk = Desk::with(identity(), limits, SessionTimer::default());
    let seq = desk.hand_with(&invite(), |envelope| (envelope.size, envelope.follows) = (2, true));
    desk.incoming();
    let other = desk.hand_with(&invite().call("2").branch("2"), |envelope| envelope.follows = true);
    assert_eq!((desk.statuses(), desk.settled()), (vec![486], (vec![other], vec![])));
    let huge =
        desk.hand_with(&invite().call("3").branch("3"), |envelope| (envelope.size, envelope.follows) = (3, true));
    assert_eq!((desk.statuses(), desk.settled()), (vec![480], (vec![huge], vec![])));
    assert!(seq < other);
}

#[test]
fn at_our_own_port_a_full_worker_says_503_and_one_with_too_little_left_486() {
    let limits = Limits { units: 2, ..Limits::default() };
    let mut desk = Desk::with(identity(), limits, SessionTimer::default());
    desk.own(&invite());
    let source = "192.0.2.9:5070".parse().unwrap();
    let large = Arrival::own(0, source, "192.0.2.1:5071".parse().unwrap(), 2);
    desk.say(&invite().call("2").branch("2").bytes(), &large);
    assert_eq!(desk.statuses(), [486]);
    desk.own(&invite().call("3").branch("3"));
    desk.own(&invite().call("4").branch("4"));
    let refusal = desk.only();
    assert_eq!((status(&refusal), header(&refusal, "Retry-After")), (503, Some("5")));
    assert_eq!(desk.uas.load().direct, 4);
}

#[test]
fn a_request_that_is_read_after_its_deadline_goes_back() {
    let mut desk = Desk::new();
    let late = desk.now - ms(1);
    let seq = desk.hand_with(&invite(), |envelope| envelope.deadline = Some(late));
    assert_eq!((desk.settled(), desk.events()), ((vec![], vec![(seq, RefuseReason::Late)]), vec![]));
    let now = desk.now;
    desk.hand_with(&invite().branch("2").call("2"), |envelope| envelope.deadline = Some(now));
    desk.incoming();
    // A message that follows a call is never too late.
    desk.hand_with(&invite().branch("3").call("3"), |envelope| {
        (envelope.deadline, envelope.follows) = (Some(late), true);
    });
    desk.incoming();
}

#[test]
fn a_draining_worker_takes_nothing_new_and_goes_on_with_its_calls() {
    let mut desk = Desk::new();
    let (_, tag) = desk.standing(&invite());
    desk.uas.set_draining(true);
    let seq = desk.hand(&invite().branch("2").call("2"));
    assert_eq!(desk.settled(), (vec![], vec![(seq, RefuseReason::Draining)]));
    desk.own(&invite().branch("3").call("3"));
    assert_eq!(desk.statuses(), [503]);
    desk.own(&text("INFO").to(&tag).cseq(2));
    assert_eq!(desk.statuses(), [200]);
}

#[test]
fn the_application_can_give_a_call_back_until_the_caller_has_heard_of_us() {
    let mut desk = Desk::new();
    let seq = desk.hand(&invite());
    let key = desk.incoming();
    desk.act(|uas, now| uas.refuse(key, RefuseReason::Exhausted, now));
    assert_eq!(desk.settled(), (vec![], vec![(seq, RefuseReason::Exhausted)]));
    assert_eq!(desk.events(), [(key, Event::Ended(EndReason::Refused(RefuseReason::Exhausted)))]);
    let mut desk = Desk::new();
    let seq = desk.hand(&invite());
    let key = desk.incoming();
    desk.act(|uas, now| uas.ring(key, 180, None, Delivery::AsRequired, now));
    desk.act(|uas, now| uas.refuse(key, RefuseReason::Exhausted, now));
    assert_eq!((desk.statuses(), desk.settled()), (vec![180, 503], (vec![seq], vec![])));
    desk.assert_idle();
}

#[test]
fn a_full_table_gives_back_and_answers_without_memory() {
    let limits = Limits { transactions: 1, ..Limits::default() };
    let mut desk = Desk::with(identity(), limits, SessionTimer::default());
    let first = desk.hand(&invite());
    desk.incoming();
    let seq = desk.hand(&invite().branch("2").call("2"));
    assert_eq!(desk.settled(), (vec![], vec![(seq, RefuseReason::Exhausted)]));
    desk.own(&invite().branch("3").call("3"));
    assert_eq!((desk.statuses(), desk.uas.servers.len()), (vec![503], 1));
    assert_eq!(first, Seq(1));
}

#[test]
fn responses_and_broken_messages_are_settled_at_once() {
    let mut desk = Desk::new();
    let arrival = Arrival::handed_over(&Envelope::plain(7));
    let stray = "SIP/2.0 200 OK\r\nVia: SIP/2.0/UDP 192.0.2.1:5071;branch=z9hG4bKpm0123456789abcdef0\r\n\
                 From: <sip:a@b>;tag=1\r\nTo: <sip:c@d>;tag=2\r\nCall-ID: x\r\nCSeq: 1 BYE\r\nContent-Length: 0\r\n\r\n";
    desk.say(stray, &arrival);
    assert_eq!((desk.settled(), desk.sent().len()), ((vec![Seq(7)], vec![]), 0));
}

#[test]
fn copies_beyond_reason_are_let_go() {
    let mut desk = Desk::new();
    (0..40).for_each(|_| {
        desk.hand(&invite());
    });
    assert_eq!(desk.settled().0.len(), 40 - 17);
    let key = desk.incoming();
    desk.act(|uas, now| uas.reject(key, 486, now));
    assert_eq!(desk.settled().0.len(), 17);
}

#[test]
fn a_request_from_a_dispatcher_that_is_gone_is_answered_instead_of_given_back() {
    let mut desk = Desk::new();
    let seq = desk.hand(&invite());
    let key = desk.incoming();
    desk.act(|uas, now| uas.on_dispatcher_lost(now));
    desk.act(|uas, now| uas.refuse(key, RefuseReason::Exhausted, now));
    assert_eq!((desk.statuses(), desk.settled()), (vec![503], (vec![seq], vec![])));
}

#[test]
fn a_request_that_went_back_to_a_dispatcher_that_is_gone_may_come_from_the_next_one() {
    let limits = Limits { units: 1, ..Limits::default() };
    let mut desk = Desk::with(identity(), limits, SessionTimer::default());
    let refused = desk.hand_with(&invite(), |envelope| envelope.size = 2);
    assert_eq!(desk.settled(), (vec![], vec![(refused, RefuseReason::Full)]));
    desk.act(|uas, now| uas.on_dispatcher_lost(now));
    desk.uas.set_units(2);
    desk.hand_with(&invite(), |envelope| envelope.size = 2);
    desk.incoming();
}

#[test]
fn a_leg_that_was_on_its_way_when_another_of_its_conference_went_back_goes_back_too() {
    let leg = |number: &str| {
        let mut leg = invite().branch(number).call(number);
        leg.uri = "sip:conf=7@192.0.2.1".into();
        leg
    };
    let mut desk = Desk::new();
    desk.uas.set_draining(true);
    let first = desk.hand(&leg("1"));
    desk.uas.set_draining(false);
    let second = desk.hand(&leg("2"));
    assert_eq!(desk.settled().1, [(first, RefuseReason::Draining), (second, RefuseReason::Follows)]);
    let bound = desk.hand_with(&leg("3"), |envelope| envelope.follows = true);
    desk.incoming();
    assert_eq!((bound, desk.settled().1), (Seq(3), vec![]), "one that can go nowhere else is taken");
    desk.wait(SECOND * 5);
    desk.events();
    desk.hand(&leg("4"));
    desk.incoming();
}

#[test]
fn a_copy_of_a_request_that_went_back_goes_back_too() {
    let mut desk = Desk::new();
    desk.uas.set_draining(true);
    let first = desk.hand(&invite());
    desk.uas.set_draining(false);
    let copy = desk.hand_with(&invite().branch("another-way"), |envelope| envelope.follows = true);
    assert_eq!(desk.settled().1, [(first, RefuseReason::Draining), (copy, RefuseReason::Follows)]);
    desk.hand(&invite().branch("2").cseq(2));
    desk.incoming();
}
