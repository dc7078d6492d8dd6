//! The units that calls of strangers take.

use super::*;

/// An INVITE of a call of its own.
fn call(number: u32) -> Text {
    invite().call(&format!("call-{number}")).branch(&format!("call-{number}"))
}

/// The dispatcher hands over the INVITE of a call of this many units, from `source`; the worker answers.
fn answered(desk: &mut Desk, number: u32, units: u32, source: &str) -> (CallKey, String) {
    desk.hand_with(&call(number), |envelope| {
        envelope.size = units;
        envelope.source = format!("{source}:5060").parse().unwrap();
    });
    let key = desk.incoming();
    desk.act(|uas, now| uas.accept(key, Some(ANSWER.as_bytes()), now));
    let tag = to_tag(&desk.only());
    desk.outputs.clear();
    (key, tag)
}

fn acknowledge(desk: &mut Desk, number: u32, tag: &str) {
    desk.own(&text("ACK").call(&format!("call-{number}")).branch("ack").to(tag));
    desk.outputs.clear();
}

fn used(desk: &Desk) -> u32 {
    desk.uas.load().units_used
}

#[test]
fn calls_that_nobody_acknowledges_hold_half_of_a_worker_at_most() {
    let mut desk = Desk::new();
    answered(&mut desk, 0, 400, "198.51.100.1");
    assert_eq!(used(&desk), 400, "a first call counts by its size");
    for number in 1..10 {
        answered(&mut desk, number, 400, &format!("198.51.100.{number}"));
    }
    assert_eq!(used(&desk), 500 + 10, "each has one unit for certain");
    // An honest call of the other half's size finds room.
    let (_, tag) = answered(&mut desk, 10, 400, "203.0.113.1");
    acknowledge(&mut desk, 10, &tag);
    assert_eq!(used(&desk), 500 + 10 + 400);
    desk.wait(SECOND * 33);
    desk.outputs.clear();
    assert_eq!(used(&desk), 400, "what was never acknowledged is over");
}

#[test]
fn the_claim_of_a_call_is_free_once_no_copy_of_its_answer_leaves_any_more() {
    let mut desk = Desk::new();
    let (_, tag) = answered(&mut desk, 0, 400, "198.51.100.1");
    answered(&mut desk, 1, 400, "198.51.100.2");
    // At 3.5 s the last copy leaves; the next one would at 7.5 s.
    desk.wait(ms(7_400));
    assert_eq!(used(&desk), 500 + 2);
    desk.wait(ms(200));
    assert_eq!((used(&desk), desk.uas.load().sessions), (2, 2), "a unit for each, until its time is over");
    // The ACK was late, not lost.
    acknowledge(&mut desk, 0, &tag);
    assert_eq!(used(&desk), 400 + 1);
    desk.wait(SECOND * 33);
    desk.outputs.clear();
    assert_eq!(used(&desk), 400);
}

#[test]
fn the_reservation_that_a_stranger_made_for_a_conference_ends_with_its_call() {
    let mut desk = Desk::new();
    let leg = |number| Text { uri: "sip:conf=a@ms.example.com".into(), ..call(number) };
    let come = |desk: &mut Desk, number: u32, source: &str, units: u32| {
        desk.hand_with(&leg(number), |envelope| {
            (envelope.size, envelope.names_size) = (units, number == 0);
            envelope.source = format!("{source}:5060").parse().unwrap();
        });
        let key = desk.incoming();
        desk.act(|uas, now| uas.accept(key, Some(ANSWER.as_bytes()), now));
        desk.outputs.clear();
    };
    come(&mut desk, 0, "198.51.100.1", 400);
    come(&mut desk, 1, "127.0.0.1", 3);
    assert_eq!(used(&desk), 400);
    desk.wait(ms(7_600));
    assert_eq!(used(&desk), 400, "the other leg may be inside it");
    desk.wait(SECOND * 33);
    desk.outputs.clear();
    assert_eq!(used(&desk), 0);
}

/// An INVITE into a conference that names this many units, from `source`; the worker answers.
fn leg(desk: &mut Desk, number: u32, room: char, units: u32, source: &str) -> String {
    let invite = Text { uri: format!("sip:conf={room}@ms.example.com"), ..call(number) };
    desk.hand_with(&invite, |envelope| {
        (envelope.size, envelope.names_size) = (units, true);
        envelope.source = format!("{source}:5060").parse().unwrap();
    });
    let key = desk.incoming();
    desk.act(|uas, now| uas.accept(key, Some(ANSWER.as_bytes()), now));
    let tag = to_tag(&desk.only());
    desk.outputs.clear();
    tag
}

#[test]
fn conferences_that_nobody_acknowledges_hold_half_of_a_worker_at_most() {
    let mut desk = Desk::new();
    let rooms = [('x', 900), ('y', 480), ('z', 480)];
    for (number, (room, units)) in (0..).zip(rooms) {
        leg(&mut desk, number, room, units, &format!("198.51.100.{number}"));
    }
    assert_eq!(used(&desk), 500 + 3);
    desk.wait(SECOND * 31);
    desk.outputs.clear();
    // The legs fit into the reservations of the first legs.
    for (number, (room, units)) in (3..).zip(rooms) {
        leg(&mut desk, number, room, units - 1, &format!("198.51.100.{number}"));
    }
    assert_eq!(used(&desk), 500 + 6, "each leg has one unit for certain");
    desk.wait(ms(1_500));
    desk.outputs.clear();
    assert_eq!(desk.uas.load().sessions, 3);
    assert_eq!(used(&desk), 500 + 3, "what stays of a conference is claimed by the legs that stay");
    desk.wait(SECOND * 33);
    desk.outputs.clear();
    assert_eq!(used(&desk), 0);
    answered(&mut desk, 9, 800, "198.51.100.1");
    assert_eq!(used(&desk), 500 + 1, "no claim is left behind");
}

#[test]
fn claims_of_strangers_on_conferences_take_nothing_off_the_calls_of_others() {
    let mut desk = Desk::new();
    leg(&mut desk, 0, 'x', 400, "127.0.0.1");
    for number in 1..6 {
        // All units of these legs are inside the reservation of a known caller.
        leg(&mut desk, number, 'x', 70, &format!("198.51.100.{number}"));
    }
    assert_eq!(used(&desk), 400);
    let tag = leg(&mut desk, 6, 'y', 600, "198.51.100.6");
    assert_eq!(used(&desk), 400 + 500 + 1);
    desk.own(&text("ACK").call("call-6").branch("ack").to(&tag));
    desk.outputs.clear();
    assert_eq!(used(&desk), 400 + 600, "a reservation counts whole once its maker is heard");
    leg(&mut desk, 7, 'y', 300, "198.51.100.7");
    assert_eq!(used(&desk), 400 + 600);
}

#[test]
fn a_caller_that_was_heard_or_cannot_be_forged_is_counted_whole() {
    let mut desk = Desk::new();
    let (first, tag) = answered(&mut desk, 0, 900, "198.51.100.1");
    assert_eq!(used(&desk), 501);
    acknowledge(&mut desk, 0, &tag);
    assert_eq!(used(&desk), 900);
    desk.act(|uas, now| uas.hang_up(first, now));
    desk.outputs.clear();
    assert_eq!(used(&desk), 0);
    answered(&mut desk, 1, 900, "198.51.100.1");
    assert_eq!(used(&desk), 900, "its source has been heard");
    let mut desk = Desk::new();
    answered(&mut desk, 2, 900, "127.0.0.1");
    assert_eq!(used(&desk), 900);
    let mut desk = Desk::new();
    desk.say(
        &call(3).bytes(),
        &Arrival::stream(
            9,
            Transport::Tcp,
            ("198.51.100.3:5060".parse().unwrap(), "192.0.2.1:5071".parse().unwrap()),
            900,
        ),
    );
    assert_eq!(used(&desk), 900);
}

#[test]
fn a_call_that_is_refused_or_cancelled_claims_nothing_more() {
    let mut desk = Desk::new();
    for number in 0..3 {
        desk.hand_with(&call(number), |envelope| envelope.size = 300);
        let key = desk.incoming();
        match number {
            0 => drop(desk.act(|uas, now| uas.refuse(key, RefuseReason::Exhausted, now))),
            1 => drop(desk.act(|uas, now| uas.reject(key, 486, now))),
            _ => desk.act(|uas, now| uas.hang_up(key, now)),
        }
        desk.outputs.clear();
    }
    answered(&mut desk, 9, 500, "198.51.100.1");
    assert_eq!(used(&desk), 500);
}
