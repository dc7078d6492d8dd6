//! Requests that another owner has left.

use super::*;

/// The standing of a request at one proxy whose owner names no end.
fn endless(is_heard: bool, is_cancelled: bool, answered: Option<u16>) -> Standing {
    let to = candidate(1);
    let has_failed = answered.is_some();
    let branch = BranchStanding { to, is_heard, is_abandoned: false, is_cancelled, has_failed, end: Time::NEVER };
    Standing {
        branches: vec![branch],
        is_bound: true,
        is_cancelled,
        leads_to_flow: false,
        answered,
        waits_for_ack: false,
        passed: None,
        undecided_at: Time::NEVER,
        is_tried: true,
    }
}

#[test]
fn a_request_of_another_owner_ends_whatever_end_that_names() {
    let cases = [
        (Kind::Other, endless(false, false, None)),
        (Kind::Invite, endless(false, false, None)),
        (Kind::Invite, endless(true, true, None)),
        (Kind::Invite, endless(true, false, Some(486))),
    ];
    for (kind, standing) in cases {
        let mut call = Call::begin(kind);
        call.context.go_on(&standing, Time(0));
        call.passes(200_000);
        assert!(call.context.is_over(call.now), "{kind:?}: {standing:?}");
    }
}
