//! A worker on another host than the dispatcher.

use super::*;
use crate::call::identity::nearest;
use crate::words::{Permit, ReplyTo};

/// Of a host in two networks; the dispatcher is in the second.
fn away() -> Desk {
    let ips = ["198.51.100.21", "192.0.2.21"];
    let own = ips.map(|ip| format!("{ip}:5071").parse().unwrap()).into();
    let away = ips.map(|ip| ip.parse().unwrap()).into();
    let identity = Identity { own, away, duplicates: Vec::new(), ..identity() };
    Desk::with(identity, Limits::default(), SessionTimer::default())
}

fn sent(desk: &mut Desk) -> (Hop, String, Option<String>) {
    let transmit = desk.outputs.iter().find_map(|output| match output {
        Output::Transmit(transmit) => Some(transmit),
        _ => None,
    });
    let transmit = transmit.expect("something is sent");
    let text = String::from_utf8_lossy(&transmit.bytes).into_owned();
    let contact = header(&text, "Contact").map(str::to_owned);
    (transmit.hop, transmit.from.unwrap().to_string(), contact)
}

#[test]
fn it_answers_from_its_own_address_and_through_the_dispatcher_only_where_the_via_has_rport() {
    let permit = Permit::new(77);
    let reply_to = ReplyTo::Permitted(permit);
    let mut desk = away();
    desk.hand_with(&text("OPTIONS"), |envelope| envelope.reply_to = reply_to);
    let (hop, from, _) = sent(&mut desk);
    assert_eq!((hop, from.as_str()), (Hop::Permitted(0, permit), "192.0.2.1"), "RFC 3581 §4");
    let mut desk = away();
    let arrival = Arrival::handed_over(&Envelope { received: desk.now, reply_to, ..Envelope::plain(1) });
    desk.say(&text("OPTIONS").bytes().replace(";rport", ""), &arrival);
    let (hop, from, _) = sent(&mut desk);
    assert_eq!((hop, from.as_str()), (Hop::Own(1), "192.0.2.21"));
}

#[test]
fn an_answer_through_the_dispatcher_goes_to_the_port_that_its_request_came_from_and_is_repeated() {
    let mut desk = away();
    desk.hand_with(&invite(), |envelope| {
        envelope.reply_to = ReplyTo::Permitted(Permit::new(77));
        envelope.source = "192.0.2.9:41000".parse().unwrap();
    });
    let key = desk.incoming();
    desk.outputs.clear();
    desk.act(|uas, now| uas.reject(key, 486, now));
    assert_eq!(desk.only_transmit().1, "192.0.2.9:41000");
    desk.wait(ms(600));
    assert_eq!(desk.statuses(), [486]);
}

#[test]
fn contact_names_its_address_in_the_network_of_the_listener_and_that_of_the_dispatcher_if_the_call_is_pinned() {
    let well_known = format!("<sip:{TOKEN}@192.0.2.1:5060>");
    for (pinned, contact) in [(false, "<sip:192.0.2.21:5071>"), (true, well_known.as_str())] {
        let mut desk = away();
        desk.hand_with(&invite(), |envelope| envelope.pinned = pinned);
        let key = desk.incoming();
        desk.outputs.clear();
        desk.act(|uas, now| uas.accept(key, None, now));
        assert_eq!(sent(&mut desk).2.as_deref(), Some(contact));
    }
}

#[test]
fn the_nearest_address_is_one_of_the_same_family_and_network() {
    let own = ["10.0.0.1", "192.0.2.21", "2001:db8::21"].map(|ip| ip.parse().unwrap());
    let to = |ip: &str| nearest(&own, ip.parse().unwrap()).unwrap().to_string();
    assert_eq!(to("192.0.2.1"), "192.0.2.21");
    assert_eq!(to("10.9.9.9"), "10.0.0.1");
    assert_eq!(to("2001:db8:1::1"), "2001:db8::21");
    assert_eq!(nearest(&[], "10.0.0.1".parse().unwrap()), None);
}
