//! Conferences.

use super::*;

#[test]
fn all_legs_of_a_conference_meet_also_two_first_ones() {
    let mut rig = rig(8);
    let first = rig.send(&leg("a", "42"));
    assert_eq!(first.reason, Reason::SelectedGroup);
    for call in 0..20 {
        let next = rig.send(&leg(&format!("l{call}"), "42"));
        assert_eq!(to(next), (handoff(first).worker.0, Reason::Group));
        assert!(!handoff(next).follows, "it may still be given back, and all legs with it");
    }
    rig.dispatch.on_group_open(handoff(first).worker, b"conf=42", rig.now);
    assert!(handoff(rig.send(&leg("late", "42"))).follows);
    assert_eq!(rig.send(&leg("other", "43")).reason, Reason::SelectedGroup);
}

#[test]
fn legs_that_write_the_name_of_their_conference_in_capitals_meet_the_others() {
    let mut rig = rig(8);
    let first = handoff(rig.send(&leg("a", "room-a"))).worker;
    for (call, name) in ["ROOM-A", "Room-a;leg=2"].iter().enumerate() {
        assert_eq!(to(rig.send(&leg(&format!("l{call}"), name))), (first.0, Reason::Group));
    }
    rig.dispatch.on_group_open(first, b"conf=room-a", rig.now);
    let late = leg("late", "Room-A").replace("sip:conf=", "sip:CONF=");
    assert!(handoff(rig.send(&late)).follows);
}

#[test]
fn a_provisional_conference_goes_with_its_last_answer_and_a_confirmed_one_stays() {
    let mut rig = rig(8);
    let legs: Vec<Handoff> = ["a", "b"].iter().map(|call| handoff(rig.send(&leg(call, "42")))).collect();
    legs.iter().for_each(|leg| rig.answered(leg));
    assert_eq!(rig.dispatch.conferences(), 0);
    let first = handoff(rig.send(&leg("c", "42")));
    rig.dispatch.on_group_open(first.worker, b"conf=42", rig.now);
    rig.answered(&first);
    assert_eq!(to(rig.send(&leg("d", "42"))), (first.worker.0, Reason::Group));
    rig.dispatch.on_group_open(WorkerId(7 - first.worker.0), b"conf=42", rig.now + Duration::from_secs(1));
    assert_eq!(rig.dispatch.counters().group_conflicts, 1);
    assert_eq!(handoff(rig.send(&leg("e", "42"))).worker, first.worker, "the older opening holds");
    rig.down(first.worker.0);
    assert_eq!(rig.dispatch.conferences(), 0);
}

#[test]
fn the_legs_of_a_conference_whose_worker_refuses_move_together() {
    let mut rig = rig(4);
    let legs: Vec<Handoff> = ["a", "b", "c"].iter().map(|call| handoff(rig.send(&leg(call, "42")))).collect();
    let moved: Vec<(u16, Reason)> =
        legs.iter().zip(["a", "b", "c"]).map(|(had, call)| to(rig.refuse(&leg(call, "42"), had))).collect();
    assert_ne!(moved[0].0, legs[0].worker.0);
    assert!(moved.iter().all(|&leg| leg == (moved[0].0, Reason::Refused)), "{moved:?}");
    assert_eq!(handoff(rig.send(&leg("d", "42"))).worker.0, moved[0].0);
}

#[test]
fn the_legs_of_a_conference_whose_worker_dies_move_together() {
    let mut rig = rig(4);
    let legs: Vec<Handoff> = ["a", "b"].iter().map(|call| handoff(rig.send(&leg(call, "42")))).collect();
    rig.dispatch.on_group_open(legs[0].worker, b"conf=42", rig.now);
    rig.down(legs[0].worker.0);
    let early = handoff(rig.send(&leg("c", "42"))).worker.0;
    let moved: Vec<(u16, Reason)> =
        legs.iter().zip(["a", "b"]).map(|(had, call)| to(rig.back(&leg(call, "42"), had, Cause::Died))).collect();
    assert_eq!(moved, [(early, Reason::Died); 2]);
}

#[test]
fn a_conference_that_is_open_and_full_refuses_for_itself() {
    let mut rig = rig(4);
    let first = handoff(rig.send(&leg("a", "42")));
    rig.dispatch.on_group_open(first.worker, b"conf=42", rig.now);
    let next = handoff(rig.send(&leg("b", "42")));
    assert_eq!(status(rig.refuse(&leg("b", "42"), &next)), (486, Reason::RefusedByHolder));
}

#[test]
fn a_first_leg_that_is_refused_does_not_take_along_a_conference_that_others_have_opened() {
    let mut rig = rig(4);
    let first = handoff(rig.send(&leg("a", "42")));
    handoff(rig.send(&leg("b", "42")));
    rig.dispatch.on_group_open(first.worker, b"conf=42", rig.now);
    assert_eq!(status(rig.refuse(&leg("a", "42"), &first)), (486, Reason::RefusedByHolder));
    assert_eq!(to(rig.send(&leg("c", "42"))), (first.worker.0, Reason::Group));
}

#[test]
fn a_leg_that_comes_again_with_credentials_goes_where_its_conference_is_by_then() {
    let mut rig = rig_with(4, Rules { policy: Policy::RoundRobin, ..rules() }, 1000);
    let again = |call: &str| leg(call, "42").replace("z9hG4bK-", "z9hG4bK-2-").replace("CSeq: 1", "CSeq: 2");
    let first = handoff(rig.send(&leg("a", "42")));
    rig.answered(&first);
    let other = handoff(rig.send(&leg("b", "42")));
    assert_ne!(other.worker, first.worker);
    assert_eq!(to(rig.send(&again("a"))), (other.worker.0, Reason::Group));
    // No worker has conference 43: the caller's next attempt goes where the first one was, and opens it again there.
    let challenged = leg("c", "43");
    let first = handoff(rig.send(&challenged));
    rig.answered(&first);
    let second = rig.send(&challenged.replace("z9hG4bK-", "z9hG4bK-2-").replace("CSeq: 1", "CSeq: 2"));
    assert_eq!(to(second), (first.worker.0, Reason::Again));
    assert_eq!(to(rig.send(&leg("d", "43"))), (first.worker.0, Reason::Group));
}

#[test]
fn a_leg_inside_the_reservation_of_its_conference_is_counted_with_nothing_more() {
    let mut rig = rig(1);
    let sized = |call: &str, room: &str, units: u32| with_header(&leg(call, room), &format!("X-Session-Size: {units}"));
    let first = handoff(rig.send(&sized("a", "42", 10)));
    assert_eq!((first.size, first.names_size, ledger(&rig, first.worker)), (10, true, Some(10)));
    for call in 1..10 {
        let next = handoff(rig.send(&leg(&format!("l{call}"), "42")));
        assert_eq!((next.size, next.names_size, ledger(&rig, first.worker)), (1, false, Some(10)));
    }
    handoff(rig.send(&sized("m", "42", 2)));
    assert_eq!(ledger(&rig, first.worker), Some(12), "beyond it a leg counts as it says");
    handoff(rig.send(&sized("n", "43", 3)));
    assert_eq!(ledger(&rig, first.worker), Some(15));
    // The worker's word changes nothing, and its end of the conference everything.
    rig.dispatch.on_group_open(first.worker, b"conf=42", rig.now);
    handoff(rig.send(&leg("o", "42")));
    assert_eq!(ledger(&rig, first.worker), Some(16));
    rig.dispatch.on_group_closed(first.worker, b"conf=42");
    handoff(rig.send(&sized("p", "42", 5)));
    handoff(rig.send(&leg("q", "42")));
    assert_eq!(ledger(&rig, first.worker), Some(21));
}

#[test]
fn streams_that_weigh_much_and_conferences_that_began_elsewhere_reserve_nothing() {
    const VIDEO: &str =
        "v=0\r\no=- 1 1 IN IP4 h\r\ns=-\r\nt=0 0\r\nm=audio 4000 RTP/AVP 0\r\nm=video 4002 RTP/AVP 96\r\n";
    let mut rig = rig(1);
    let first = handoff(rig.send(&with_body(&leg("a", "42"), "application/sdp", VIDEO)));
    assert_eq!((first.size, first.names_size), (5, false));
    handoff(rig.send(&leg("b", "42")));
    assert_eq!(ledger(&rig, first.worker), Some(6));
    rig.dispatch.on_group_open(first.worker, b"conf=43", rig.now);
    handoff(rig.send(&with_header(&leg("c", "43"), "X-Session-Size: 4")));
    handoff(rig.send(&leg("d", "43")));
    assert_eq!(ledger(&rig, first.worker), Some(11));
}

#[test]
fn the_first_leg_that_moves_to_another_worker_reserves_there() {
    let mut rig = rig(3);
    let first = with_header(&leg("a", "42"), "X-Session-Size: 10");
    let legs = [handoff(rig.send(&first)), handoff(rig.send(&leg("b", "42")))];
    let moved = [(&first, &legs[0]), (&leg("b", "42"), &legs[1])].map(|(text, had)| handoff(rig.refuse(text, had)));
    assert_ne!(moved[0].worker, legs[0].worker);
    assert_eq!(moved[1].worker, moved[0].worker);
    assert_eq!((ledger(&rig, legs[0].worker), ledger(&rig, moved[0].worker)), (Some(0), Some(10)));
    rig.down(moved[0].worker.0);
    let again = handoff(rig.back(&first, &moved[0], Cause::Died));
    handoff(rig.back(&leg("b", "42"), &moved[1], Cause::Died));
    assert_eq!((again.size, again.names_size, ledger(&rig, again.worker)), (10, true, Some(10)));
}

#[test]
fn legs_meet_by_their_name_when_the_list_of_conferences_is_full() {
    let setup = Setup { rules: rules(), keys: Keyring::new(KEY), table_cap: 1000, group_cap: 0, workers: 8, seed: 1 };
    let mut rig = rig(8);
    rig.dispatch = Dispatch::new(setup);
    (0..8).for_each(|worker| rig.up(worker, 100));
    let first = handoff(rig.send(&leg("a", "42"))).worker;
    assert!((0..10).all(|call| handoff(rig.send(&leg(&format!("b{call}"), "42"))).worker == first));
    assert_eq!(rig.dispatch.counters().groups_unrecorded, 11);
}
