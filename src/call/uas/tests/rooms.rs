//! The units of conferences: their reservations, and the cost of each leg.

use super::*;
use crate::reservation::Weight;

/// The INVITE of a leg of conference `room`.
fn leg(number: u32, room: &str) -> Text {
    Text { uri: format!("sip:conf={room}@ms.example.com"), ..invite() }
        .call(&format!("leg-{number}"))
        .branch(&format!("leg-{number}"))
}

/// A leg of this weight comes, from a host that cannot be forged; the worker answers.
fn answered(desk: &mut Desk, number: u32, room: &str, weight: Weight) -> (CallKey, String) {
    desk.hand_with(&leg(number, room), |envelope| {
        (envelope.size, envelope.names_size) = (weight.units, weight.named);
        envelope.source = "127.0.0.1:5060".parse().unwrap();
    });
    let key = desk.incoming();
    desk.act(|uas, now| uas.accept(key, Some(ANSWER.as_bytes()), now));
    let tag = to_tag(&desk.only());
    desk.outputs.clear();
    (key, tag)
}

fn standing(desk: &mut Desk, number: u32, room: &str, weight: Weight) -> CallKey {
    let (key, tag) = answered(desk, number, room, weight);
    desk.own(&text("ACK").call(&format!("leg-{number}")).branch("ack").to(&tag));
    desk.outputs.clear();
    key
}

fn hang_up(desk: &mut Desk, key: CallKey) -> u32 {
    desk.act(|uas, now| uas.hang_up(key, now));
    desk.outputs.clear();
    desk.uas.load().units_used
}

const NAMED: fn(u32) -> Weight = |units| Weight { units, named: true };
const ONE: Weight = Weight::plain(1);

#[test]
fn a_leg_inside_the_reservation_of_its_conference_costs_nothing_more() {
    let mut desk = Desk::new();
    let used = |desk: &Desk| desk.uas.load().units_used;
    let first = standing(&mut desk, 0, "a", NAMED(10));
    let others: Vec<CallKey> = (1..10).map(|number| standing(&mut desk, number, "A", ONE)).collect();
    assert_eq!((used(&desk), desk.uas.load().sessions), (10, 10));
    let beyond = standing(&mut desk, 10, "a", NAMED(2));
    assert_eq!(used(&desk), 12, "it counts as before");
    standing(&mut desk, 11, "b", ONE);
    assert_eq!(used(&desk), 13, "another conference");
    assert_eq!((hang_up(&mut desk, first), hang_up(&mut desk, beyond)), (12, 11));
    let left: Vec<u32> = others.into_iter().map(|key| hang_up(&mut desk, key)).collect();
    assert_eq!(left, [11, 11, 11, 11, 11, 11, 11, 11, 1], "the reservation goes with the last leg");
}

#[test]
fn a_worker_that_is_full_takes_the_legs_that_are_reserved() {
    let mut desk = Desk::new();
    let all = desk.uas.units();
    standing(&mut desk, 0, "a", NAMED(all));
    standing(&mut desk, 1, "a", ONE);
    assert_eq!(desk.uas.load().units_used, all);
    desk.hand(&leg(2, "b"));
    assert_eq!(desk.settled().1.len(), 1, "another conference finds no room");
}

#[test]
fn a_worker_above_its_capacity_takes_the_legs_that_are_reserved() {
    let mut desk = Desk::new();
    standing(&mut desk, 0, "a", NAMED(10));
    desk.uas.set_units(5);
    standing(&mut desk, 1, "a", NAMED(9));
    assert_eq!((desk.uas.load().units_used, desk.uas.load().sessions), (10, 2));
    desk.hand(&leg(2, "a"));
    assert_eq!(desk.settled().1.len(), 1, "what costs a unit finds no room");
}

#[test]
fn the_reservation_of_a_leg_that_nobody_acknowledges_ends_with_it() {
    let mut desk = Desk::new();
    answered(&mut desk, 0, "a", NAMED(100));
    standing(&mut desk, 1, "a", ONE);
    assert_eq!(desk.uas.load().units_used, 100);
    desk.wait(SECOND * 33);
    desk.outputs.clear();
    assert_eq!(desk.uas.load().units_used, 1);
}
