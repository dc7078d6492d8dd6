//! Requests of ours to names that stand for several places (RFC 3263 §4.3).

use std::net::SocketAddr;

use super::*;
use crate::call::exchange::ResolveKey;
use crate::names::{Endpoint, Protocol};

const FIRST: &str = "192.0.2.71:5060";
const SECOND_PLACE: &str = "192.0.2.72:5060";

fn address(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

fn udp(places: &[&str]) -> Vec<Endpoint> {
    places.iter().map(|place| Endpoint { protocol: Protocol::Udp, address: address(place) }).collect()
}

fn tcp(places: &[&str]) -> Vec<Endpoint> {
    places.iter().map(|place| Endpoint { protocol: Protocol::Tcp, address: address(place) }).collect()
}

/// Answers the question that waits.
fn resolve(desk: &mut Desk, found: &[Endpoint]) {
    let asked: Option<ResolveKey> = desk.outputs.iter().find_map(|output| match output {
        Output::Resolve(key, _) => Some(*key),
        _ => None,
    });
    desk.outputs.clear();
    desk.act(|uas, now| uas.on_resolved(asked.expect("a question"), found, now));
}

/// A call whose route is a name, and our BYE in it, which goes to the first of these places.
fn ending(found: &[Endpoint]) -> Desk {
    let mut desk = Desk::new();
    let (key, _) = desk.standing(&invite().header("Record-Route: <sip:proxy.example.net;lr>"));
    desk.act(|uas, now| uas.hang_up(key, now));
    resolve(&mut desk, found);
    desk
}

/// Names of the fields that differ between two requests.
fn differing(one: &str, other: &str) -> Vec<String> {
    assert_eq!((one.lines().next(), one.lines().count()), (other.lines().next(), other.lines().count()));
    let pairs = one.lines().zip(other.lines()).filter(|(one, other)| one != other);
    pairs.map(|(one, _)| one.split(':').next().unwrap().to_owned()).collect()
}

/// Destinations of all that has been sent since the last look.
fn places(desk: &mut Desk) -> Vec<String> {
    let sent = desk.outputs.iter().filter_map(|output| match output {
        Output::Transmit(transmit) => Some(transmit.to.to_string()),
        _ => None,
    });
    let sent = sent.collect();
    desk.outputs.clear();
    sent
}

#[test]
fn after_503_the_same_request_goes_to_the_next_place_on_another_branch() {
    let mut desk = ending(&udp(&[FIRST, SECOND_PLACE]));
    let (_, to, first) = desk.only_transmit();
    assert_eq!(to, FIRST);
    desk.reply(&first, 503, "Retry-After: 60\r\n", "");
    let (_, to, second) = desk.only_transmit();
    assert_eq!((to.as_str(), differing(&first, &second)), (SECOND_PLACE, vec!["Via".to_owned()]));
    // A late answer of the first place is none to the second transaction.
    desk.reply(&first, 200, "", "");
    assert!(!desk.uas.is_quiet());
    desk.reply(&second, 503, "", "");
    assert!(desk.uas.is_quiet(), "there is no third");
    desk.assert_idle();
}

#[test]
fn any_other_refusal_is_the_answer() {
    let mut desk = ending(&udp(&[FIRST, SECOND_PLACE]));
    let (_, _, bye) = desk.only_transmit();
    desk.reply(&bye, 500, "", "");
    assert!(desk.uas.is_quiet());
    assert_eq!(places(&mut desk), [""; 0]);
}

#[test]
fn a_place_that_says_nothing_for_64_t1_is_followed_by_the_next() {
    let mut desk = ending(&udp(&[FIRST, SECOND_PLACE]));
    desk.wait(SECOND * 31);
    assert_eq!(places(&mut desk), [FIRST; 2]);
    desk.wait(SECOND * 2);
    assert_eq!(places(&mut desk), [SECOND_PLACE; 2]);
    desk.wait(SECOND * 32);
    assert!(desk.uas.is_quiet());
    desk.assert_idle();
}

#[test]
fn a_place_that_said_100_is_there_and_no_other_is_tried() {
    let mut desk = ending(&udp(&[FIRST, SECOND_PLACE]));
    let (_, _, bye) = desk.only_transmit();
    desk.reply(&bye, 100, "", "");
    desk.wait(SECOND * 34);
    assert!(desk.uas.is_quiet());
    assert!(places(&mut desk).iter().all(|place| place == FIRST));
}

#[test]
fn where_no_connection_can_be_opened_the_next_place_is_tried_at_once() {
    let mut desk = ending(&tcp(&[FIRST, SECOND_PLACE]));
    let (hop, to, _) = desk.only_transmit();
    assert_eq!((hop, to.as_str()), (Hop::Dial, FIRST));
    desk.act(|uas, now| uas.on_transport_failed(address(SECOND_PLACE), true, now));
    desk.act(|uas, now| uas.on_transport_failed(address(FIRST), false, now));
    assert_eq!(places(&mut desk), [""; 0], "another place, or another transport");
    desk.act(|uas, now| uas.on_transport_failed(address(FIRST), true, now));
    let (_, to, bye) = desk.only_transmit();
    assert_eq!(to, SECOND_PLACE);
    // The last place keeps its transaction.
    desk.act(|uas, now| uas.on_transport_failed(address(SECOND_PLACE), true, now));
    desk.reply(&bye, 200, "", "");
    desk.assert_idle();
}

#[test]
fn of_many_places_three_are_tried_with_two_copies_each_and_each_of_them_once() {
    let many: Vec<String> = (0..40).map(|number| format!("198.51.100.{}:5060", number / 2)).collect();
    let mut desk = ending(&udp(&many.iter().map(String::as_str).collect::<Vec<_>>()));
    desk.wait(SECOND * 200);
    let expected = [0, 0, 1, 1, 2, 2].map(|number| format!("198.51.100.{number}:5060"));
    assert_eq!(places(&mut desk), expected);
    desk.assert_idle();
}

#[test]
fn a_refused_refresh_by_invite_is_acknowledged_and_goes_to_the_next_place() {
    let mut desk = Desk::new();
    let timer = invite().header("Supported: timer").header("Session-Expires: 90;refresher=uas");
    let (key, _) = desk.standing(&timer.header("Record-Route: <sip:proxy.example.net;lr>"));
    desk.wait(SECOND * 46);
    resolve(&mut desk, &udp(&[FIRST, SECOND_PLACE]));
    let (_, _, first) = desk.only_transmit();
    assert!(first.starts_with("INVITE "), "{first}");
    desk.reply(&first, 503, "", "");
    let sent = desk.sent();
    let [ack, second] = sent.as_slice() else { panic!("{sent:#?}") };
    assert!(ack.starts_with("ACK ") && header(ack, "Via") == header(&first, "Via"), "{ack}");
    assert_eq!(differing(&first, second), ["Via"]);
    // Its copy is acknowledged again.
    desk.reply(&first, 503, "", "");
    assert!(desk.only().starts_with("ACK "));
    desk.reply(second, 200, "Session-Expires: 90;refresher=uac\r\n", ANSWER);
    assert!(desk.only().starts_with("ACK "));
    // It counts: the session goes on, and is refreshed again.
    desk.wait(SECOND * 46);
    resolve(&mut desk, &udp(&[FIRST]));
    assert!(desk.only().starts_with("INVITE "));
    desk.act(|uas, now| uas.hang_up(key, now));
}

#[test]
fn a_refresh_that_nobody_waits_for_any_more_goes_nowhere_else() {
    let mut desk = Desk::new();
    let timer = invite().header("Supported: timer").header("Session-Expires: 90;refresher=uas");
    let (_, tag) = desk.standing(&timer.header("Record-Route: <sip:proxy.example.net;lr>"));
    desk.wait(SECOND * 46);
    resolve(&mut desk, &udp(&[FIRST, SECOND_PLACE]));
    desk.outputs.clear();
    desk.own(&text("BYE").to(&tag).cseq(2));
    desk.outputs.clear();
    desk.wait(SECOND * 40);
    assert_eq!(places(&mut desk), [""; 0]);
    desk.assert_idle();
}
