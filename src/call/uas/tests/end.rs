//! A call's end, and our requests that end it.

use super::*;
use crate::call::ResolveKey;
use crate::names::{Endpoint, Protocol, Question, Source};

#[test]
fn the_peers_bye_gets_200_and_ends_the_call() {
    let mut desk = Desk::new();
    let (key, tag) = desk.standing(&invite());
    desk.own(&text("BYE").to(&tag).cseq(2));
    assert_eq!((desk.statuses(), desk.events()), (vec![200], vec![(key, Event::Ended(EndReason::PeerHungUp))]));
    // Its retransmission gets the same; another BYE finds no call.
    desk.own(&text("BYE").to(&tag).cseq(2));
    desk.own(&text("BYE").to(&tag).cseq(3).branch("new"));
    assert_eq!((desk.statuses(), desk.events()), (vec![200, 481], vec![]));
    desk.assert_idle();
}

#[test]
fn bye_before_the_final_response_ends_the_invite_with_487() {
    let mut desk = Desk::new();
    desk.hand(&invite());
    let key = desk.incoming();
    desk.act(|uas, now| uas.ring(key, 180, None, Delivery::AsRequired, now));
    let tag = to_tag(&desk.only());
    desk.own(&text("BYE").to(&tag).cseq(2));
    assert_eq!((desk.statuses(), desk.events()), (vec![200, 487], vec![(key, Event::Ended(EndReason::PeerHungUp))]));
    desk.assert_idle();
}

#[test]
fn our_bye_follows_the_route_set_and_is_repeated_until_answered() {
    let mut desk = Desk::new();
    let (key, tag) =
        desk.standing(&invite().header("Record-Route: <sip:192.0.2.77:5099;lr>").header("Record-Route: <sip:p2;lr>"));
    desk.act(|uas, now| uas.hang_up(key, now));
    let [Output::Event(_, event), Output::Transmit(transmit)] = desk.outputs.as_slice() else { panic!() };
    assert_eq!((transmit.to, event), ("192.0.2.77:5099".parse().unwrap(), &Event::Ended(EndReason::HungUp)));
    assert_eq!(transmit.hop, Hop::Own(0));
    let bye = desk.only();
    assert!(bye.starts_with("BYE sip:caller@192.0.2.9:5070 SIP/2.0\r\n"), "{bye}");
    assert_eq!(
        header(&bye, "Route").map(|route| route.replace(' ', "")).as_deref(),
        Some("<sip:192.0.2.77:5099;lr>,<sip:p2;lr>")
    );
    assert_eq!(header(&bye, "From"), Some(format!("<sip:ivr@example.net>;tag={tag}").as_str()));
    assert_eq!(header(&bye, "To"), Some("<sip:caller@example.net>;tag=caller"));
    assert_eq!((header(&bye, "CSeq"), header(&bye, "Call-ID")), (Some("1 BYE"), Some("call-1@192.0.2.9")));
    assert_eq!(desk.uas.load().sessions, 0);
    desk.wait(ms(511));
    assert_eq!(desk.only(), bye);
    desk.reply(&bye, 100, "", "");
    desk.reply(&bye, 200, "", "");
    assert!(desk.uas.is_quiet());
    desk.wait(SECOND * 10);
    assert_eq!(desk.sent().len(), 0);
    desk.assert_idle();
}

#[test]
fn a_strict_router_gets_the_target_at_the_end_of_the_route() {
    let mut desk = Desk::new();
    let (key, _) =
        desk.standing(&invite().header("Record-Route: <sip:192.0.2.77>").header("Record-Route: <sip:p2;lr>"));
    desk.act(|uas, now| uas.hang_up(key, now));
    let bye = desk.only();
    assert!(bye.starts_with("BYE sip:192.0.2.77 SIP/2.0\r\n"), "{bye}");
    assert_eq!(header(&bye, "Route"), Some("<sip:p2;lr>, <sip:caller@192.0.2.9:5070>"));
}

#[test]
fn a_bye_without_answer_is_given_up_after_64_t1() {
    let mut desk = Desk::new();
    let (key, _) = desk.standing(&invite());
    desk.act(|uas, now| uas.hang_up(key, now));
    desk.wait(SECOND * 31);
    // Timer E: 0, .5, 1.5, 3.5, 7.5, then every 4 s.
    assert_eq!(desk.sent().len(), 10);
    assert!(!desk.uas.is_quiet());
    desk.wait(SECOND * 2);
    assert!(desk.uas.is_quiet());
    desk.assert_idle();
}

#[test]
fn crossing_byes_are_both_answered() {
    let mut desk = Desk::new();
    let (key, tag) = desk.standing(&invite());
    desk.act(|uas, now| uas.hang_up(key, now));
    let bye = desk.only();
    desk.events();
    desk.own(&text("BYE").to(&tag).cseq(2));
    assert_eq!((desk.statuses(), desk.events()), (vec![200], vec![]));
    desk.reply(&bye, 481, "", "");
    desk.assert_idle();
}

#[test]
fn we_do_not_hang_up_before_the_ack() {
    let mut desk = Desk::new();
    desk.hand(&invite());
    let key = desk.incoming();
    desk.act(|uas, now| uas.accept(key, Some(ANSWER.as_bytes()), now));
    let tag = to_tag(&desk.only());
    desk.act(|uas, now| uas.hang_up(key, now));
    assert_eq!((desk.sent().len(), desk.events()), (0, vec![]));
    desk.own(&text("ACK").branch("ack").to(&tag));
    assert!(desk.only().starts_with("BYE "));
    assert_eq!(desk.events(), [(key, Event::Established), (key, Event::Ended(EndReason::HungUp))]);
}

#[test]
fn hanging_up_before_the_answer_is_480() {
    let mut desk = Desk::new();
    desk.hand(&invite());
    let key = desk.incoming();
    desk.act(|uas, now| uas.hang_up(key, now));
    assert_eq!((desk.statuses(), desk.events()), (vec![480], vec![(key, Event::Ended(EndReason::HungUp))]));
}

#[test]
fn a_name_is_looked_up_before_our_bye() {
    let mut desk = Desk::new();
    let (key, _) = desk.standing(&invite().header("Record-Route: <sip:proxy.example.net:5099;lr>"));
    desk.act(|uas, now| uas.hang_up(key, now));
    let lookup = desk.outputs.iter().find_map(|output| match output {
        Output::Resolve(key, question) => Some((*key, question.clone())),
        _ => None,
    });
    let (asked, question) = lookup.unwrap();
    assert_eq!((&*question.host, question.port, desk.sent().len()), ("proxy.example.net", Some(5099), 0));
    desk.act(|uas, now| uas.on_resolved(asked, &[found(Protocol::Udp, "192.0.2.77:5099")], now));
    assert!(desk.only().starts_with("BYE "));
    // A second answer changes nothing.
    desk.act(|uas, now| uas.on_resolved(asked, &[], now));
    assert!(!desk.uas.is_quiet());
}

#[test]
fn a_name_without_address_ends_the_matter() {
    let mut desk = Desk::new();
    let (key, _) = desk.standing(&invite().header("Record-Route: <sip:proxy.example.net;lr>"));
    desk.act(|uas, now| uas.hang_up(key, now));
    let asked = desk.outputs.iter().find_map(|output| match output {
        Output::Resolve(key, _) => Some(*key),
        _ => None,
    });
    desk.act(|uas, now| uas.on_resolved(asked.unwrap(), &[], now));
    assert!(desk.uas.is_quiet());
    desk.assert_idle();
}

/// The name that our BYE asks to look up, with this Contact.
fn question_of(contact: &str) -> (Desk, ResolveKey, Question) {
    let mut desk = Desk::new();
    let mut invite = invite().header(&format!("Contact: <{contact}>"));
    invite.contact = false;
    let (key, _) = desk.standing(&invite);
    desk.act(|uas, now| uas.hang_up(key, now));
    let asked = desk.outputs.iter().find_map(|output| match output {
        Output::Resolve(key, question) => Some((*key, question.clone())),
        _ => None,
    });
    let (key, question) = asked.unwrap();
    (desk, key, question)
}

fn found(protocol: Protocol, address: &str) -> Endpoint {
    Endpoint { protocol, address: address.parse().unwrap() }
}

#[test]
fn a_name_without_a_port_is_asked_for_its_services_and_one_with_a_transport_for_that_alone() {
    let of = |contact| {
        let (_, _, question) = question_of(contact);
        (question.port, question.protocols)
    };
    const BOTH: &[Protocol] = &[Protocol::Udp, Protocol::Tcp];
    assert_eq!(of("sip:caller@pool.example.net"), (None, BOTH));
    assert_eq!(of("sip:caller@pool.example.net:5088"), (Some(5088), BOTH));
    assert_eq!(of("sip:caller@pool.example.net;transport=udp"), (None, &BOTH[..1]));
    assert_eq!(of("sip:caller@pool.example.net;transport=tcp"), (None, &BOTH[1..]));
    assert_eq!(&*question_of("sip:caller@192.0.2.9;maddr=pool.example.net").2.host, "pool.example.net");
    assert_eq!(question_of("sip:caller@pool.example.net").2.source, Source::peer([192, 0, 2, 9].into()));
}

#[test]
fn of_the_places_found_the_first_is_taken_that_we_have_a_way_to() {
    let (mut desk, key, _) = question_of("sip:caller@pool.example.net");
    let places = [found(Protocol::Udp, "[2001:db8::9]:5077"), found(Protocol::Tcp, "192.0.2.44:5078")];
    desk.act(|uas, now| uas.on_resolved(key, &places, now));
    let ways = desk.outputs.iter().filter_map(|output| match output {
        Output::Transmit(transmit) => Some((transmit.hop, transmit.to)),
        _ => None,
    });
    assert_eq!(ways.collect::<Vec<_>>(), [(Hop::Dial, "192.0.2.44:5078".parse().unwrap())]);
    assert!(header(&desk.only(), "Via").unwrap().starts_with("SIP/2.0/TCP "));
}

#[test]
fn a_target_that_speaks_tcp_is_dialled() {
    let mut desk = Desk::new();
    let mut invite = invite().header("Contact: <sip:caller@192.0.2.9:5070;transport=TCP>");
    invite.contact = false;
    let (key, _) = desk.standing(&invite);
    desk.act(|uas, now| uas.hang_up(key, now));
    let hops = desk.outputs.iter().filter_map(|output| match output {
        Output::Transmit(transmit) => Some(transmit.hop),
        _ => None,
    });
    assert_eq!(hops.collect::<Vec<_>>(), [Hop::Dial]);
    assert!(header(&desk.only(), "Via").unwrap().starts_with("SIP/2.0/TCP "));
}

#[test]
fn a_fold_in_the_peers_contact_does_not_break_our_request_line() {
    let mut desk = Desk::new();
    let mut folded = invite().header("Contact: <sip:caller@192.0.2.9:5070;x=1\r\n ;y=2>");
    folded.contact = false;
    let (key, _) = desk.standing(&folded);
    desk.act(|uas, now| uas.hang_up(key, now));
    assert!(desk.only().split("\r\n").next().unwrap().ends_with(" SIP/2.0"));
}

#[test]
fn a_request_after_our_bye_is_not_told_to_the_application() {
    let mut desk = Desk::new();
    let (key, tag) = desk.standing(&invite());
    desk.act(|uas, now| uas.hang_up(key, now));
    desk.outputs.clear();
    for (cseq, method) in (2..).zip(["INFO", "UPDATE", "INVITE", "OPTIONS", "PRACK"]) {
        desk.own(&text(method).to(&tag).cseq(cseq).branch(method));
    }
    assert_eq!((desk.statuses(), desk.events()), (vec![481; 5], vec![]));
}

#[test]
fn a_change_that_waits_when_an_early_call_ends_gets_487_at_once() {
    for how in ["BYE", "CANCEL", "reject"] {
        let mut desk = Desk::new();
        let called = desk.hand(&invite().header("Require: 100rel"));
        let key = desk.incoming();
        desk.act(|uas, now| uas.ring(key, 183, Some(ANSWER.as_bytes()), Delivery::AsRequired, now));
        let tag = to_tag(&desk.only());
        let asked = desk.hand_with(&text("UPDATE").to(&tag).cseq(2).body(OFFER), |envelope| envelope.follows = true);
        desk.outputs.clear();
        match how {
            "BYE" => desk.own(&text("BYE").to(&tag).cseq(3)),
            "CANCEL" => desk.own(&text("CANCEL").branch("INVITE-1")),
            _ => assert!(desk.act(|uas, now| uas.reject(key, 486, now))),
        }
        let mut settled = desk.settled().0;
        settled.sort_unstable();
        assert_eq!(settled, [called, asked], "{how}");
        let answers = desk.sent();
        let update = answers.iter().find(|text| header(text, "CSeq") == Some("2 UPDATE"));
        assert_eq!(update.map(|text| status(text)), Some(487), "{how}");
        desk.assert_idle();
    }
}

#[test]
fn our_bye_to_a_caller_whose_connection_is_gone_goes_to_its_contact() {
    let mut desk = Desk::new();
    let arrival =
        Arrival::stream(9, Transport::Tcp, ("192.0.2.9:40000".parse().unwrap(), "192.0.2.1:5071".parse().unwrap()), 1);
    desk.say(&invite().bytes(), &arrival);
    let key = desk.incoming();
    desk.act(|uas, now| uas.accept(key, Some(ANSWER.as_bytes()), now));
    let tag = to_tag(&desk.only());
    desk.say(&text("ACK").branch("ack").to(&tag).bytes(), &arrival);
    desk.outputs.clear();
    desk.act(|uas, now| uas.hang_up(key, now));
    let ways = desk.outputs.iter().filter_map(|output| match output {
        Output::Transmit(transmit) => Some((transmit.hop, transmit.to)),
        _ => None,
    });
    assert_eq!(ways.collect::<Vec<_>>(), [(Hop::Stream(9), "192.0.2.9:5070".parse().unwrap())]);
}

#[test]
fn a_connection_carries_a_call_from_its_invite_to_its_end_wherever_it_goes_meanwhile() {
    let on = |conn| {
        Arrival::stream(
            conn,
            Transport::Tcp,
            ("192.0.2.9:40000".parse().unwrap(), "192.0.2.1:5071".parse().unwrap()),
            1,
        )
    };
    let carrying = |desk: &Desk| [9, 10].map(|conn| desk.uas.carries_call(conn));
    let mut desk = Desk::new();
    desk.say(&invite().bytes(), &on(9));
    assert_eq!(carrying(&desk), [true, false]);
    let key = desk.incoming();
    desk.act(|uas, now| uas.accept(key, Some(ANSWER.as_bytes()), now));
    let tag = to_tag(&desk.only());
    desk.say(&text("ACK").branch("ack").to(&tag).bytes(), &on(9));
    desk.say(&text("INFO").branch("info").to(&tag).cseq(2).bytes(), &on(10));
    assert_eq!(carrying(&desk), [false, true]);
    desk.own(&text("INFO").branch("other").to(&tag).cseq(3));
    assert_eq!(carrying(&desk), [false, true], "a datagram says nothing of the connection");
    desk.say(&text("BYE").branch("bye").to(&tag).cseq(4).bytes(), &on(10));
    assert_eq!(carrying(&desk), [false, false]);
    desk.say(&invite().call("other").branch("other-call").bytes(), &on(9));
    desk.say(&text("CANCEL").call("other").branch("other-call").bytes(), &on(9));
    assert_eq!(carrying(&desk), [false, false]);
}
