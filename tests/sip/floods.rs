//! Floods.

use super::*;

#[test]
fn a_full_table_places_by_hash_and_what_follows_finds_the_same_worker() {
    let mut rig = rig_with(5, rules(), 2);
    ["a", "b"].iter().for_each(|call| {
        rig.send(&invite(call));
    });
    for call in 0..20 {
        let text = invite(&format!("c{call}"));
        let placed = rig.send(&text);
        let worker = handoff(placed).worker.0;
        assert_eq!((placed.reason, handoff(placed).entry), (Reason::Unrecorded, None));
        assert_eq!(to(rig.send(&text)), (worker, Reason::Unrecorded), "a retransmission");
        assert_eq!(to(rig.send(&same(&text, "CANCEL"))), (worker, Reason::FollowsUnrecorded));
        assert_eq!(to(rig.send(&same(&text, "ACK"))), (worker, Reason::FollowsUnrecorded));
        assert_eq!(
            to(rig.send(&in_dialog(&format!("c{call}"), "BYE", "foreign"))),
            (worker, Reason::FollowsUnrecorded)
        );
    }
    assert_eq!(rig.send(&invite("a")).reason, Reason::Retransmission, "who waits keeps its place");
    let had = handoff(rig.send(&invite("d")));
    assert_eq!(status(rig.refuse(&invite("d"), &had)), (486, Reason::RefusedByHolder));
    rig.down(had.worker.0);
    assert_eq!(rig.back(&invite("d"), &had, Cause::Died).reason, Reason::Unrecorded);
    rig.pass(Duration::from_secs(301));
    assert_eq!(status(rig.send(&same(&invite("e"), "CANCEL"))), (481, Reason::UnknownCancel));
}

#[test]
fn under_pressure_a_source_over_its_share_is_placed_unrecorded_and_others_are_recorded() {
    let mut rig = rig_with(3, rules(), 80);
    let honest = handoff(rig.send_from("192.0.2.1", &invite("h"))).worker.0;
    for call in 0..200 {
        let placed = rig.send_from("203.0.113.66", &invite(&format!("c{call}")));
        let expected = if call < 69 { Reason::Selected } else { Reason::Unrecorded };
        assert_eq!(placed.reason, expected, "{call}");
    }
    assert_eq!(rig.send_from("192.0.2.2", &invite("n")).reason, Reason::Selected, "a newcomer");
    assert_eq!(rig.send_from("192.0.2.1", &invite("h2")).reason, Reason::Selected, "little of its own waits");
    assert_eq!(to(rig.send_from("192.0.2.1", &invite("h"))), (honest, Reason::Retransmission));
    assert_eq!(to(rig.send_from("192.0.2.1", &same(&invite("h"), "CANCEL"))), (honest, Reason::Cancel));
}

#[test]
fn a_network_of_64_bits_is_one_source() {
    let mut rig = rig_with(3, rules(), 80);
    rig.send(&invite("h"));
    for call in 0..100 {
        let placed = rig.send_from(&format!("2001:db8::{call:x}"), &invite(&format!("c{call}")));
        assert_eq!(placed.reason, if call < 69 { Reason::Selected } else { Reason::Unrecorded }, "{call}");
    }
}

#[test]
fn scarce_room_on_every_link_is_for_sources_below_their_share() {
    let mut rig = rig_with(2, rules(), 1000);
    rig.send_from("192.0.2.1", &invite("h"));
    (0..9).for_each(|call| {
        assert_eq!(rig.send_from("203.0.113.66", &invite(&format!("c{call}"))).reason, Reason::Selected)
    });
    rig.dispatch.on_link_room(WorkerId(0), Room::Scarce);
    for call in 0..4 {
        let placed = rig.send_from("203.0.113.66", &invite(&format!("d{call}")));
        assert_eq!(to(placed), (1, Reason::Selected), "the other has room for all");
    }
    rig.dispatch.on_link_room(WorkerId(1), Room::Scarce);
    let refused = rig.send_from("203.0.113.66", &invite("e"));
    assert_eq!((status(refused), answer(refused).retry_after), ((503, Reason::OverShare), Some(5)));
    assert_eq!(rig.send_from("192.0.2.1", &invite("h2")).reason, Reason::Selected);
    assert_eq!(rig.send_from("192.0.2.2", &invite("n")).reason, Reason::Selected);
    rig.dispatch.on_link_room(WorkerId(1), Room::All);
    assert_eq!(rig.send_from("203.0.113.66", &invite("e")).reason, Reason::Selected, "nothing was held against it");
}

#[test]
fn an_ack_behind_each_invite_hides_nobody_who_is_over_its_share() {
    let mut rig = rig_with(3, rules(), 80);
    rig.send_from("192.0.2.1", &invite("h"));
    for call in 0..100 {
        let invite = invite(&format!("c{call}"));
        let placed = rig.send_from("203.0.113.66", &invite);
        assert_eq!(placed.reason, if call < 69 { Reason::Selected } else { Reason::Unrecorded }, "{call}");
        // None of them has been answered.
        rig.send_from("203.0.113.66", &same(&invite, "ACK"));
    }
}

#[test]
fn forged_addresses_without_number_take_no_place_of_those_who_wait() {
    let mut rig = rig_with(4, rules(), 2000);
    (0..4).for_each(|worker| rig.report(worker, Report { number: 1, units_total: 1_000_000, ..Report::default() }));
    let honest: Vec<String> = (0..100).map(|call| invite(&format!("h{call}"))).collect();
    let workers: Vec<u16> = honest.iter().map(|call| handoff(rig.send_from("192.0.2.1", call)).worker.0).collect();
    for number in 0_u32..20_000 {
        let source = std::net::Ipv4Addr::from_bits(0x0a00_0000 + number).to_string();
        assert!(matches!(rig.send_from(&source, &invite(&format!("f{number}"))).target, Target::Worker(_)));
    }
    assert_eq!(rig.dispatch.table_len(), 2000);
    assert!(rig.dispatch.counters().of(Reason::Unrecorded) >= 18_000);
    for (call, worker) in honest.iter().zip(workers) {
        assert_eq!(to(rig.send_from("192.0.2.1", call)), (worker, Reason::Retransmission));
        assert_eq!(to(rig.send_from("192.0.2.1", &same(call, "CANCEL"))), (worker, Reason::Cancel));
    }
}
