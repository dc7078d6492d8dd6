//! Messages that come back from a worker.

use super::*;

#[test]
fn a_refused_request_is_offered_to_each_worker_once_and_then_answered() {
    let mut rig = rig(3);
    let mut had = handoff(rig.send(&invite("a")));
    let mut seen = vec![had.worker.0];
    for _ in 0..2 {
        let next = rig.refuse(&invite("a"), &had);
        assert_eq!(next.reason, Reason::Refused);
        had = handoff(next);
        assert!(!had.again && had.entry.is_some());
        seen.push(had.worker.0);
    }
    seen.sort_unstable();
    assert_eq!(seen, [0, 1, 2]);
    let last = rig.refuse(&invite("a"), &had);
    assert_eq!(status(last), (486, Reason::RefusedByAll));
    assert_eq!(status(rig.send(&invite("a"))), (486, Reason::AnsweredBefore));
    assert!(rig.dispatch.pool().iter().all(|(_, worker)| (worker.ledger(), worker.refused) == (0, 1)));
}

#[test]
fn where_no_worker_has_a_port_left_the_answer_is_503_and_not_busy() {
    let mut rig = rig(2);
    let exhausted = Cause::Refused(RefuseReason::Exhausted);
    let first = handoff(rig.send(&invite("a")));
    let second = handoff(rig.back(&invite("a"), &first, exhausted));
    let last = rig.back(&invite("a"), &second, exhausted);
    assert!(matches!(last.target, Target::Answer(answer) if answer.retry_after.is_some()), "{last:?}");
    assert_eq!(status(last), (503, Reason::RefusedByAll));
    assert_eq!(status(rig.send(&invite("b"))), (503, Reason::Full), "until a report says otherwise");
    (0..2).for_each(|worker| {
        let report = Report { number: 1, units_total: 100, ..Report::default() };
        rig.dispatch.on_report(WorkerId(worker), &report, rig.now);
    });
    handoff(rig.send(&invite("c")));
}

#[test]
fn a_refused_request_is_not_offered_around_for_longer_than_the_patience() {
    let mut rig = rig(3);
    let had = handoff(rig.send(&invite("a")));
    rig.pass(Duration::from_millis(401));
    assert_eq!(status(rig.refuse(&invite("a"), &had)), (486, Reason::RefusedByAll));
}

#[test]
fn a_request_that_a_worker_read_too_late_goes_to_the_next_however_long_that_took() {
    let mut rig = rig(3);
    let first = handoff(rig.send(&invite("a")));
    rig.pass(Duration::from_secs(3));
    let late = Cause::Refused(RefuseReason::Late);
    let next = rig.back(&invite("a"), &first, late);
    assert_eq!(next.reason, Reason::Refused);
    let second = handoff(next);
    assert_ne!(second.worker, first.worker);
    assert!(second.deadline > Some(rig.now), "its time begins anew");
    // So does the patience with refusals.
    rig.pass(Duration::from_millis(300));
    assert_eq!(rig.refuse(&invite("a"), &second).reason, Reason::Refused);
    let other = handoff(rig.send(&invite("b")));
    rig.pass(Duration::from_secs(33));
    (0..3).for_each(|worker| rig.heard(worker));
    assert_eq!(status(rig.back(&invite("b"), &other, late)), (486, Reason::RefusedByAll), "its caller has given up");
}

#[test]
fn a_request_whose_worker_died_late_is_still_offered_around() {
    let mut rig = rig(3);
    let first = handoff(rig.send(&invite("a")));
    rig.pass(Duration::from_secs(2));
    rig.down(first.worker.0);
    let second = handoff(rig.back(&invite("a"), &first, Cause::Died));
    let third = rig.refuse(&invite("a"), &second);
    assert_eq!(third.reason, Reason::Refused);
    assert!(![first.worker, second.worker].contains(&handoff(third).worker));
}

#[test]
fn a_refusal_of_what_only_one_worker_can_have_is_the_answer() {
    let mut rig = rig(3);
    let token = rig.token(1, 1);
    let text = with_header(&invite("a"), &format!("Replaces: x;to-tag={token};from-tag=2"));
    let had = handoff(rig.send(&text));
    assert_eq!(had.deadline, None);
    assert_eq!(status(rig.refuse(&text, &had)), (486, Reason::RefusedByHolder));
}

#[test]
fn a_dead_workers_requests_go_to_the_next_one_and_the_second_death_ends_it() {
    let mut rig = rig(3);
    let first = handoff(rig.send(&invite("a")));
    rig.pass(Duration::from_secs(100));
    (0..3).for_each(|worker| rig.heard(worker));
    rig.down(first.worker.0);
    let next = rig.back(&invite("a"), &first, Cause::Died);
    assert_eq!(next.reason, Reason::Died);
    let second = handoff(next);
    assert!(second.again && second.search.deaths == 1 && second.worker != first.worker);
    rig.down(second.worker.0);
    assert_eq!(status(rig.back(&invite("a"), &second, Cause::Died)), (500, Reason::Poison));
    assert_eq!(status(rig.send(&invite("a"))), (500, Reason::AnsweredBefore));
}

#[test]
fn a_merged_copy_whose_worker_dies_follows_the_request_it_is_a_copy_of() {
    let mut rig = rig_with(4, Rules { policy: Policy::RoundRobin, ..rules() }, 1000);
    let copy = invite("a").replace("z9hG4bK-", "z9hG4bK-2-");
    let first = handoff(rig.send(&invite("a")));
    let second = handoff(rig.send(&copy));
    rig.down(first.worker.0);
    let moved = handoff(rig.back(&invite("a"), &first, Cause::Died));
    let decision = rig.back(&copy, &second, Cause::Died);
    assert_eq!(to(decision), (moved.worker.0, Reason::Died), "elsewhere it would be a second call");
    assert_eq!((handoff(decision).follows, handoff(decision).size), (true, 0));
    rig.answered(&moved);
    rig.answered(&second);
    rig.down(moved.worker.0);
    let anew = handoff(rig.send(&copy));
    assert_eq!(to(rig.send(&invite("a"))), (anew.worker.0, Reason::SelectedAnew), "found by a retransmission, too");
}

#[test]
fn a_merged_copy_that_is_refused_follows_the_request_it_is_a_copy_of() {
    let mut rig = rig_with(4, Rules { policy: Policy::RoundRobin, ..rules() }, 1000);
    let copy = invite("a").replace("z9hG4bK-", "z9hG4bK-2-");
    let first = handoff(rig.send(&invite("a")));
    let second = handoff(rig.send(&copy));
    let moved = handoff(rig.refuse(&invite("a"), &first));
    assert_eq!(to(rig.refuse(&copy, &second)), (moved.worker.0, Reason::Refused));
}

#[test]
fn a_copy_that_is_gone_with_its_worker_does_not_hide_the_call() {
    let mut rig = rig_with(4, Rules { policy: Policy::RoundRobin, ..rules() }, 1000);
    let first = handoff(rig.send(&invite("a")));
    let copy = handoff(rig.send(&invite("a").replace("z9hG4bK-", "z9hG4bK-2-")));
    rig.answered(&copy);
    rig.down(first.worker.0);
    let moved = handoff(rig.back(&invite("a"), &first, Cause::Died));
    let again = invite("a").replace("z9hG4bK-", "z9hG4bK-3-").replace("CSeq: 1", "CSeq: 2");
    assert_eq!(to(rig.send(&again)), (moved.worker.0, Reason::Again));
    let bye = in_dialog("a", "BYE", "without-a-token");
    assert_eq!(to(rig.send(&bye)), (moved.worker.0, Reason::InDialog));
}

#[test]
fn a_copy_that_is_left_over_from_its_request_is_selected_with_its_size() {
    let mut rig = rig(2);
    let sized = with_header(&invite("a"), "X-Session-Size: 5");
    let first = handoff(rig.send(&sized));
    let copy = sized.replace("z9hG4bK-", "z9hG4bK-2-");
    let second = handoff(rig.send(&copy));
    rig.answered(&first);
    rig.down(first.worker.0);
    let moved = handoff(rig.back(&copy, &second, Cause::Died));
    assert_eq!((moved.size, moved.follows), (5, false));
}

#[test]
fn poison_is_noticed_by_retransmissions_too() {
    let mut rig = rig(3);
    let first = handoff(rig.send(&invite("a")));
    rig.down(first.worker.0);
    let second = handoff(rig.send(&invite("a")));
    rig.down(second.worker.0);
    assert_eq!(status(rig.send(&invite("a"))), (500, Reason::Poison));
}

#[test]
fn the_only_worker_died_and_nobody_is_left() {
    let mut rig = rig(1);
    let had = handoff(rig.send(&invite("a")));
    rig.down(0);
    assert_eq!(status(rig.back(&invite("a"), &had, Cause::Died)), (503, Reason::NoWorker));
}

#[test]
fn the_next_life_of_the_same_slot_may_have_it() {
    let mut rig = rig(1);
    let had = handoff(rig.send(&invite("a")));
    rig.down(0);
    rig.up(0, 100);
    let next = rig.back(&invite("a"), &had, Cause::Died);
    assert_eq!((to(next), handoff(next).seq), ((0, Reason::Died), Seq(1)));
}

#[test]
fn an_invite_that_comes_back_after_its_cancel_gets_487_and_the_cancel_200() {
    for cause in [Cause::Refused(RefuseReason::Full), Cause::Died] {
        let mut rig = rig(3);
        let cancel = same(&invite("a"), "CANCEL");
        let had = handoff(rig.send(&invite("a")));
        let had_cancel = handoff(rig.send(&cancel));
        if cause == Cause::Died {
            rig.down(had.worker.0);
        }
        assert_eq!(status(rig.back(&invite("a"), &had, cause)), (487, Reason::Cancelled));
        assert_eq!(status(rig.back(&cancel, &had_cancel, cause)), (200, Reason::CancelAnswered));
        assert_eq!(status(rig.send(&invite("a"))), (487, Reason::AnsweredBefore));
    }
}

#[test]
fn a_cancel_between_a_death_and_its_orphans_is_answered_and_remembered() {
    let mut rig = rig(3);
    let had = handoff(rig.send(&invite("a")));
    rig.down(had.worker.0);
    assert_eq!(status(rig.send(&same(&invite("a"), "CANCEL"))), (200, Reason::CancelAnswered));
    assert_eq!(status(rig.back(&invite("a"), &had, Cause::Died)), (487, Reason::Cancelled));
    let answered = handoff(rig.send(&invite("b")));
    rig.answered(&answered);
    rig.down(answered.worker.0);
    assert_eq!(status(rig.send(&same(&invite("b"), "CANCEL"))), (481, Reason::WorkerGone));
}

#[test]
fn a_request_of_a_call_never_moves() {
    let mut rig = rig(2);
    let had = handoff(rig.send(&invite("a")));
    let copy = handoff(rig.send(&invite("a")));
    let bye = in_dialog("a", "BYE", "foreign");
    let had_bye = handoff(rig.send(&bye));
    let had_ack = handoff(rig.send(&same(&invite("a"), "ACK")));
    assert_eq!(status(rig.refuse(&bye, &had_bye)), (500, Reason::RefusedInDialog));
    assert_eq!(rig.refuse(&invite("a"), &copy), dropped(Reason::MovedAlready));
    rig.down(had.worker.0);
    assert_eq!(status(rig.back(&bye, &had_bye, Cause::Died)), (481, Reason::OrphanInDialog));
    assert_eq!(rig.back(&same(&invite("a"), "ACK"), &had_ack, Cause::Died), dropped(Reason::OrphanInDialog));
    assert_eq!(rig.back(&invite("a"), &copy, Cause::Died), dropped(Reason::MovedAlready));
}
