//! Selection.

use super::*;

#[test]
fn least_load_counts_what_was_handed_over_before_any_report() {
    let mut rig = rig(2);
    let big = with_header(&invite("a"), "X-Session-Size: 50");
    let first = handoff(rig.send(&big)).worker.0;
    let others: Vec<u16> = (0..50).map(|call| handoff(rig.send(&invite(&format!("c{call}")))).worker.0).collect();
    assert!(others.iter().all(|&worker| worker == 1 - first));
    assert_eq!(rig.dispatch.pool().get(WorkerId(first)).map(|worker| worker.ledger()), Some(50));
    rig.report(
        u32::from(first) as u16,
        Report { number: 1, covers: Seq(1), units_used: 0, units_total: 100, ..Report::default() },
    );
    assert_eq!(handoff(rig.send(&invite("d"))).worker.0, first, "the big one has ended");
}

#[test]
fn every_policy_hands_over_and_numbers_each_link_from_1() {
    for &policy in Policy::ALL {
        let mut rig = rig_with(3, Rules { policy, weights: vec![2, 1], ..rules() }, 1000);
        let mut next = [1; 3];
        for call in 0..30 {
            let Handoff { worker, seq, .. } = handoff(rig.send(&invite(&call.to_string())));
            let next = &mut next[usize::from(worker.0)];
            assert_eq!(seq, Seq(*next), "{policy:?}");
            *next += 1;
        }
        let used: Vec<bool> = next.iter().map(|&seq| seq > 1).collect();
        assert_eq!(used, if policy == Policy::Pack { [true, false, false] } else { [true; 3] }, "{policy:?}");
    }
}

#[test]
fn workers_that_drain_are_silent_or_have_a_full_link_get_nothing_new_and_keep_their_calls() {
    let mut rig = rig(2);
    let tag = rig.token(0, 1);
    let check = |rig: &mut Rig, call: &str| {
        for number in 0..4 {
            assert_eq!(handoff(rig.send(&invite(&format!("{call}{number}")))).worker.0, 1);
        }
        assert_eq!(to(rig.send(&in_dialog("x", "BYE", &tag))), (0, Reason::ToTag));
    };
    rig.dispatch.set_admin(WorkerId(0), Admin::Drain);
    check(&mut rig, "drain");
    rig.dispatch.set_admin(WorkerId(0), Admin::Ready);
    rig.report(0, Report { number: 1, units_total: 100, draining: true, ..Report::default() });
    check(&mut rig, "own");
    rig.report(0, Report { number: 2, units_total: 100, no_room: true, ..Report::default() });
    check(&mut rig, "no-room");
    rig.report(0, Report { number: 3, units_total: 100, ..Report::default() });
    rig.dispatch.on_link_room(WorkerId(0), Room::Following);
    check(&mut rig, "link");
    rig.dispatch.on_link_room(WorkerId(0), Room::All);
    rig.pass(Duration::from_secs(4));
    rig.heard(1);
    rig.pass(Duration::from_secs(3));
    assert_eq!(rig.dispatch.pool().get(WorkerId(0)).map(|worker| worker.operational), Some(Operational::Silent));
    check(&mut rig, "silent");
    rig.heard(0);
    assert!((0..4).any(|call| handoff(rig.send(&invite(&format!("back{call}")))).worker.0 == 0));
}

#[test]
fn an_invite_that_was_answered_busy_gets_that_answer_again_and_no_worker_once_the_link_has_room() {
    let mut rig = rig(1);
    rig.send(&invite("a"));
    rig.dispatch.on_link_room(WorkerId(0), Room::Following);
    let again = invite("a").replace("z9hG4bK-", "z9hG4bK-2-").replace("CSeq: 1", "CSeq: 2");
    assert_eq!(status(rig.send(&again)), (486, Reason::HolderBusy));
    rig.dispatch.on_link_room(WorkerId(0), Room::All);
    assert_eq!(status(rig.send(&again)), (486, Reason::AnsweredBefore), "RFC 3261 §17.2.1");
}

#[test]
fn a_full_link_loses_what_follows_and_spares_its_reserve_from_retransmissions() {
    let mut rig = rig(1);
    let tag = rig.token(0, 1);
    rig.send(&invite("a"));
    rig.dispatch.on_link_room(WorkerId(0), Room::Following);
    assert_eq!(rig.send(&invite("a")), dropped(Reason::LinkFull));
    assert_eq!(rig.send(&same(&invite("a"), "CANCEL")).reason, Reason::Cancel);
    assert_eq!(rig.send(&in_dialog("a", "BYE", &tag)).reason, Reason::ToTag);
    let again = invite("a").replace("z9hG4bK-", "z9hG4bK-2-").replace("CSeq: 1", "CSeq: 2");
    assert_eq!(status(rig.send(&again)), (486, Reason::HolderBusy));
    rig.dispatch.on_link_room(WorkerId(0), Room::None);
    assert_eq!(rig.send(&in_dialog("a", "BYE", &tag)), dropped(Reason::LinkFull));
}
