//! Requests of ours to names that stand for several places (RFC 3263 §4.3).

use std::net::SocketAddr;

use super::*;
use crate::call::exchange::ResolveKey;
use crate::names::{Endpoint, Protocol};

const FIRST: &str = "192.0.2.71:5060";
const SECOND_PLACE: &str = "192.0.2.72:5060";
const THIRD: &str = "192.0.2.73:5060";

fn address(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

fn udp(places: &[&str]) -> Vec<Endpoint> {
    places.iter().map(|place| Endpoint { protocol: Protocol::Udp, address: address(place) }).collect()
}

fn tcp(places: &[&str]) -> Vec<Endpoint> {
    places.iter().map(|place| Endpoint { protocol: Protocol::Tcp, address: address(place) }).collect()
}

/// Answers the waiting question, and forgets all outputs so far.
fn resolve(desk: &mut Desk, found: &[Endpoint]) {
    let asked = question(desk);
    desk.outputs.clear();
    desk.act(|uas, now| uas.on_resolved(asked, found, now));
}

fn resolve_keeping(desk: &mut Desk, found: &[Endpoint]) {
    let asked = question(desk);
    desk.act(|uas, now| uas.on_resolved(asked, found, now));
}

fn question(desk: &Desk) -> ResolveKey {
    let asked: Option<ResolveKey> = desk.outputs.iter().find_map(|output| match output {
        Output::Resolve(key, _) => Some(*key),
        _ => None,
    });
    asked.expect("a question")
}

/// A call whose route is a name, and our refresh in it, which goes to the first of these places.
fn refreshing(found: &[Endpoint]) -> (Desk, CallKey) {
    let mut desk = Desk::new();
    let timer = invite().header("Supported: timer").header("Session-Expires: 90;refresher=uas");
    let (key, _) = desk.standing(&timer.header("Record-Route: <sip:proxy.example.net;lr>"));
    desk.wait(SECOND * 46);
    resolve(&mut desk, found);
    (desk, key)
}

fn no_connection(desk: &mut Desk, to: &[&str]) {
    let to: Vec<SocketAddr> = to.iter().map(|to| address(to)).collect();
    desk.act(|uas, now| uas.on_dialled_failed(|failed, _| to.contains(&failed), now));
}

fn no_route(desk: &mut Desk, request: &str) {
    desk.act(|uas, now| uas.on_unsent(request.as_bytes(), now));
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

/// Destinations of all messages sent since the last look.
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
    // A late answer of the first place does not answer the second transaction.
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
fn a_place_that_says_nothing_is_the_last_also_when_others_answered_503() {
    let mut desk = ending(&udp(&[FIRST, SECOND_PLACE, THIRD]));
    let (_, _, bye) = desk.only_transmit();
    desk.reply(&bye, 503, "", "");
    desk.wait(SECOND * 34);
    assert_eq!(places(&mut desk), [SECOND_PLACE; 5]);
    assert!(desk.uas.is_quiet());
    desk.assert_idle();
}

/// Destinations of all messages in a call whose route is a name with these places, until it is over. All places are
/// silent but `refuses`, which answers 503 and asks for a repetition at once.
fn sent_where_one_refuses(names: &[&str], refuses: &str) -> Vec<String> {
    let mut desk = Desk::new();
    let timer = invite().header("Supported: timer").header("Session-Expires: 90;refresher=uas");
    desk.standing(&timer.header("Record-Route: <sip:proxy.example.net;lr>"));
    let mut sent = Vec::new();
    for _ in 0..4_000 {
        desk.wait(ms(100));
        for output in std::mem::take(&mut desk.outputs) {
            match output {
                Output::Resolve(key, _) => desk.act(|uas, now| uas.on_resolved(key, &udp(names), now)),
                Output::Transmit(transmit) => {
                    let to = transmit.to.to_string();
                    let request = String::from_utf8(transmit.bytes.to_vec()).unwrap();
                    if to == refuses && !request.starts_with("ACK ") {
                        desk.reply(&request, 503, "Retry-After: 0\r\n", "");
                    }
                    sent.push(to);
                }
                _ => {}
            }
        }
    }
    assert!(desk.uas.is_quiet(), "the call is over");
    sent
}

#[test]
fn a_place_that_refuses_for_ever_makes_five_datagrams_leave_for_each_silent_one_of_its_name_at_most() {
    for names in [
        [FIRST, SECOND_PLACE, THIRD],
        [FIRST, THIRD, SECOND_PLACE],
        [SECOND_PLACE, FIRST, THIRD],
        [SECOND_PLACE, THIRD, FIRST],
        [THIRD, FIRST, SECOND_PLACE],
        [THIRD, SECOND_PLACE, FIRST],
    ] {
        let sent = sent_where_one_refuses(&names, THIRD);
        let silent = sent.iter().filter(|to| *to == FIRST || *to == SECOND_PLACE).count();
        assert!((1..=5).contains(&silent), "{names:?}: {sent:?}");
    }
    // The only place refuses: the call ends with its session, at the earliest.
    assert!(sent_where_one_refuses(&[THIRD], THIRD).len() > 20);
}

#[test]
fn a_call_that_ends_while_its_refresh_is_unanswered_sends_five_datagrams_there_in_all() {
    let (mut desk, key) = refreshing(&udp(&[FIRST]));
    desk.wait(SECOND * 20);
    desk.act(|uas, now| uas.hang_up(key, now));
    resolve_keeping(&mut desk, &udp(&[FIRST]));
    desk.wait(SECOND * 40);
    let sent: Vec<String> = desk.sent().iter().map(|text| text.split(' ').next().unwrap().to_owned()).collect();
    assert_eq!(sent, ["INVITE", "INVITE", "INVITE", "INVITE", "BYE"]);
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
    no_connection(&mut desk, &[SECOND_PLACE]);
    assert_eq!(places(&mut desk), [""; 0], "another place");
    no_connection(&mut desk, &[FIRST, THIRD]);
    assert_eq!(places(&mut desk), [SECOND_PLACE]);
    no_connection(&mut desk, &[SECOND_PLACE]);
    assert!(desk.uas.is_quiet(), "there is no third, and nothing is repeated over TCP");
    desk.assert_idle();
}

#[test]
fn a_datagram_is_not_lost_where_no_connection_can_be_opened() {
    let mut desk = ending(&udp(&[FIRST, SECOND_PLACE]));
    desk.outputs.clear();
    no_connection(&mut desk, &[FIRST]);
    assert_eq!(places(&mut desk), [""; 0]);
}

#[test]
fn a_refresh_that_the_last_place_takes_no_connection_for_is_tried_again() {
    let (mut desk, _) = refreshing(&tcp(&[FIRST]));
    desk.outputs.clear();
    no_connection(&mut desk, &[FIRST]);
    desk.wait(SECOND * 5);
    resolve(&mut desk, &tcp(&[FIRST]));
    let again = desk.only();
    assert!(again.starts_with("INVITE "), "{again}");
    desk.reply(&again, 200, "Session-Expires: 90;refresher=uac\r\n", ANSWER);
    assert!(desk.only().starts_with("ACK "));
    assert_eq!(desk.uas.load().sessions, 1);
}

#[test]
fn a_request_on_a_connection_that_is_there_does_not_fail_with_another_to_the_same_place() {
    let mut desk = Desk::new();
    let arrival = Arrival::stream(9, Transport::Tcp, (address(FIRST), "192.0.2.1:5071".parse().unwrap()), 1);
    desk.say(&invite().bytes(), &arrival);
    let key = desk.incoming();
    desk.act(|uas, now| uas.accept(key, Some(ANSWER.as_bytes()), now));
    let tag = to_tag(&desk.only());
    desk.say(&text("ACK").branch("ack").to(&tag).bytes(), &arrival);
    desk.act(|uas, now| uas.hang_up(key, now));
    let (hop, ..) = desk.only_transmit();
    assert_eq!(hop, Hop::Stream(9));
    desk.act(|uas, now| uas.on_dialled_failed(|_, _| true, now));
    desk.act(|uas, now| uas.on_connections_closed(|conn| conn == 8, now));
    assert!(!desk.uas.is_quiet() && desk.sent().is_empty(), "its answer may come");
}

#[test]
fn a_place_that_no_route_leads_to_is_passed_over_and_counts_as_no_copy() {
    let mut desk = ending(&udp(&[FIRST, SECOND_PLACE]));
    let (_, _, bye) = desk.only_transmit();
    no_route(&mut desk, &bye);
    let (_, to, second) = desk.only_transmit();
    assert_eq!((to.as_str(), differing(&bye, &second)), (SECOND_PLACE, vec!["Via".to_owned()]));
    // Without any network the request stays with the last place, and only copies that leave count.
    no_route(&mut desk, &second);
    for _ in 0..5 {
        assert_eq!(places(&mut desk), [""; 0]);
        while desk.outputs.is_empty() {
            desk.wait(ms(100));
        }
        let (_, to, copy) = desk.only_transmit();
        assert_eq!((to.as_str(), &copy), (SECOND_PLACE, &second));
        no_route(&mut desk, &copy);
    }
    desk.wait(SECOND * 32);
    assert_eq!(places(&mut desk), [SECOND_PLACE; 5]);
    desk.assert_idle();
}

#[test]
fn a_missing_route_fails_only_a_request_of_ours() {
    let mut desk = ending(&udp(&[FIRST, SECOND_PLACE]));
    let (_, _, bye) = desk.only_transmit();
    for other in
        [bye.replacen("BYE ", "ACK ", 1).replace(" BYE", " ACK"), bye.replace("z9hG4bK", "z9hG4bKx"), String::new()]
    {
        no_route(&mut desk, &other);
    }
    assert_eq!(places(&mut desk), [""; 0]);
}

#[test]
fn of_many_places_three_are_tried_and_each_of_them_once() {
    let many: Vec<String> = (0..40).map(|number| format!("198.51.100.{}:5060", number / 2)).collect();
    let mut desk = ending(&udp(&many.iter().map(String::as_str).collect::<Vec<_>>()));
    for number in 0..3 {
        let (_, to, bye) = desk.only_transmit();
        assert_eq!(to, format!("198.51.100.{number}:5060"));
        desk.reply(&bye, 503, "", "");
    }
    assert_eq!(places(&mut desk), [""; 0]);
    desk.assert_idle();
}

#[test]
fn a_refused_refresh_by_invite_is_acknowledged_and_goes_to_the_next_place() {
    let (mut desk, key) = refreshing(&udp(&[FIRST, SECOND_PLACE]));
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
    // The late answer counts: the session goes on, and is refreshed again.
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
