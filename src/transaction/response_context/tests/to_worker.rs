//! Requests that go to a worker after their proxies.

use super::*;

/// A call that a worker may have after three proxies.
fn call(kind: Kind) -> Call {
    let mut call = Call::begin(kind);
    call.context.may_go_to_worker = true;
    call
}

#[test]
fn after_the_last_try_a_worker_alone_may_have_a_call_and_without_one_the_caller_gets_the_best_response() {
    let tried = || {
        let mut call = call(Kind::Invite);
        assert_eq!(call.gets(1, 503), ["ACK to 1", "Status(503) 1?"]);
        call.moves_to(2);
        call.gets(2, 503);
        call.moves_to(3);
        assert_eq!(call.gets(3, 503), ["ACK to 3", "Status(503) 3, a worker?"]);
        call
    };
    assert_eq!(tried().next(Next::None), ["our 500"]);
    let mut call = tried();
    assert_eq!(call.next(Next::Worker), [""; 0]);
    assert_eq!(call.gets(3, 503), ["ACK to 3"]);
    assert_eq!(call.sends_again(), [""; 0], "a copy is the worker's");
    assert!(!call.context.on_ack(call.now), "and so is the ACK");
    assert_eq!(call.passes(60_000), [], "no 100, no 408");
    assert!(call.context.is_over(call.now));
    assert_eq!(call.context.answered(), None);
}

#[test]
fn a_silent_proxy_that_rings_after_a_worker_has_the_call_is_cancelled_and_heard_no_more() {
    let mut call = call(Kind::Invite);
    call.passes(999);
    assert_eq!(call.waits(), (1_000, vec!["Silent 1?".to_owned()]));
    assert_eq!(call.next(Next::Worker), [""; 0], "nothing to cancel before a provisional response");
    assert_eq!(call.passes(1_900), [], "no more copies");
    assert_eq!(call.gets(1, 180), ["CANCEL to 1"]);
    assert_eq!(call.passes(2_500), at(&[(2_400, "CANCEL to 1")]));
    assert_eq!(call.gets(1, 487), ["ACK to 1"]);
    assert_eq!(call.passes(60_000), []);
    assert!(call.context.is_over(call.now));
}

#[test]
fn a_late_2xx_takes_the_call_from_the_worker_once_and_any_other_passes_as_well() {
    let mut call = call(Kind::Invite);
    call.passes(999);
    call.waits();
    call.moves_to(2);
    call.passes(1_999);
    assert_eq!(call.waits(), (2_000, vec!["Silent 2?".to_owned()]));
    call.next(Next::Worker);
    assert_eq!(call.gets(2, 100), ["CANCEL to 2"]);
    assert_eq!(call.gets(1, 200), ["2xx", "taken back for 1"]);
    assert_eq!(call.gets(1, 200), ["2xx"]);
    assert_eq!(call.gets(2, 200), ["2xx"], "CANCEL and 2xx have crossed");
    assert_eq!(call.context.answered(), Some(200));
    call.passes(60_000);
    assert!(call.context.is_over(call.now));
}

#[test]
fn a_refusal_of_a_proxy_that_a_call_has_left_for_a_worker_is_acknowledged_and_passes_never() {
    for status in [302, 486, 603] {
        let mut call = call(Kind::Invite);
        call.passes(999);
        call.waits();
        call.next(Next::Worker);
        assert_eq!(call.gets(1, status), ["ACK to 1"], "{status}");
        assert_eq!(call.passes(60_000), [], "{status}");
    }
}

#[test]
fn a_call_that_rings_or_is_cancelled_goes_to_no_worker() {
    let mut rings = call(Kind::Invite);
    rings.gets(1, 180);
    assert_eq!(rings.gets(1, 503), ["ACK to 1", "our 500"]);
    let mut cancelled = call(Kind::Invite);
    cancelled.cancels();
    assert!(cancelled.passes(30_000).iter().all(|(_, effect)| !effect.ends_with('?')));
    assert_eq!(cancelled.gets(1, 503), ["ACK to 1", "our 500"]);
}

#[test]
fn another_request_that_a_worker_has_gets_no_response_of_a_proxy_and_is_never_cancelled() {
    let mut call = call(Kind::Other);
    call.passes(999);
    assert_eq!(call.waits(), (1_000, vec!["Silent 1?".to_owned()]));
    call.next(Next::Worker);
    for status in [100, 200, 404] {
        assert_eq!(call.gets(1, status), [""; 0], "{status}");
    }
    assert_eq!(call.passes(60_000), []);
    assert!(call.context.is_over(call.now));
}

#[test]
fn a_silent_call_whose_workers_are_all_busy_is_asked_about_until_one_is_free() {
    let mut call = call(Kind::Invite);
    call.passes(999);
    call.waits();
    call.moves_to(2);
    call.passes(1_999);
    call.waits();
    call.moves_to(3);
    let questions: Vec<_> = call.passes(5_900).into_iter().filter(|(_, it)| it.ends_with('?')).collect();
    assert_eq!(questions, at(&[3_000, 4_000, 5_000].map(|at| (at, "Silent 3, a worker?"))));
}
