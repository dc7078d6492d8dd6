//! The operator's views and orders.

use super::*;

#[test]
fn totals_add_up_and_explain_tells_a_calls_story() {
    let mut rig = rig(2);
    rig.send(&invite("a"));
    rig.send(&invite("a"));
    rig.send(&same(&invite("b"), "OPTIONS"));
    rig.send("\r\n\r\n");
    rig.send(&in_dialog("a", "BYE", "foreign"));
    let counters = rig.dispatch.counters();
    assert_eq!((counters.received, counters.handed_over, counters.relayed), (5, 1, 2));
    assert_eq!((counters.replied, counters.dropped), (1, 1));
    assert_eq!(counters.reasons().map(|(_, count)| count).sum::<u64>(), 5);
    let story: Vec<Reason> = rig.dispatch.explain(b"a").iter().map(|line| line.reason).collect();
    assert_eq!(story, [Reason::Selected, Reason::Retransmission, Reason::InDialog]);
    assert!(matches!(rig.dispatch.explain(b"a")[0].target, ShortTarget::Worker { size: 1, pinned: None, .. }));
    assert_eq!(rig.dispatch.explain(b"b")[0].target, ShortTarget::Answered(200));
}

#[test]
fn a_reload_keeps_table_load_and_conferences() {
    let mut rig = rig(3);
    let first = handoff(rig.send(&leg("a", "42")));
    rig.dispatch.set_rules(Rules { policy: Policy::RoundRobin, ..rules() }, rig.now);
    rig.dispatch.set_workers(4);
    assert_eq!(to(rig.send(&leg("a", "42"))), (first.worker.0, Reason::Retransmission));
    assert_eq!(to(rig.send(&leg("b", "42"))), (first.worker.0, Reason::Group));
    assert_eq!(rig.dispatch.pool().get(first.worker).map(|worker| worker.ledger()), Some(2));
    rig.lives.push(0);
    rig.up(3, 100);
    let mut used: Vec<u16> = (0..4).map(|call| handoff(rig.send(&invite(&format!("r{call}")))).worker.0).collect();
    used.sort_unstable();
    assert_eq!(used, [0, 1, 2, 3]);
    rig.dispatch.set_workers(1);
    assert!((0..4).all(|call| handoff(rig.send(&invite(&format!("s{call}")))).worker.0 == 0));
}

#[test]
fn a_selected_request_has_a_deadline_and_timeouts_are_told() {
    let mut rig = rig(1);
    let had = handoff(rig.send(&invite("a")));
    assert_eq!(had.deadline, Some(START + Duration::from_secs(2)));
    assert_eq!(had.search.since, START);
    assert_eq!(had.search.tried.as_slice(), [WorkerId(0)]);
    assert!(rig.dispatch.poll_timeout().is_some_and(|timeout| timeout <= START + Duration::from_secs(1)));
}

#[test]
fn an_entry_that_is_not_there_any_more_harms_nothing() {
    let mut rig = rig(2);
    let stale = EntryId { index: 77, generation: 3 };
    rig.dispatch.on_answered(stale, rig.now);
    let had = Handoff { entry: Some(stale), ..handoff(rig.send(&invite("a"))) };
    assert_eq!(rig.refuse(&invite("a"), &had), dropped(Reason::MovedAlready));
    let mut full = Tried::default();
    (0..8).for_each(|worker| assert!(full.add(WorkerId(worker))));
    assert!(!full.add(WorkerId(9)) && full.is_full());
    rig.dispatch.on_link_room(WorkerId(500), Room::None);
    rig.down(500);
}

#[test]
fn a_message_that_another_lane_cannot_take_is_dropped_and_counted() {
    let mut rig = rig(1);
    rig.dispatch.on_lane_full(3);
    assert_eq!(rig.dispatch.counters().of(Reason::LaneFull), 3);
    assert_eq!(rig.dispatch.counters().dropped, 3);
}

#[test]
fn every_reason_is_given_by_a_test_here_or_of_mgcp() {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
    let files = ["sip", "mgcp"].into_iter().flat_map(|of| fs::read_dir(tests.join(of)).unwrap());
    let tests: String = files.map(|file| fs::read_to_string(file.unwrap().path()).unwrap()).collect();
    for reason in Reason::all() {
        let name = format!("Reason::{reason:?}");
        let is_named = tests
            .match_indices(&name)
            .any(|(at, _)| !tests[at + name.len()..].starts_with(|next: char| next.is_alphanumeric()));
        assert!(is_named, "{name}");
    }
}
