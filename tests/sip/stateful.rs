//! Requests of pools of mode `stateful`: another proxy gets what one has not answered.

use std::time::Duration;

use pointsman::config::PoolMode;
use pointsman::dispatch::contexts::LeavingMessage;
use pointsman::dispatch::history::ShortTarget;

use super::forwarding::{forward, response, rig_of};
use super::*;

/// Messages that leave for requests under way.
fn leaving(rig: &mut Rig) -> Vec<LeavingMessage> {
    std::iter::from_fn(|| rig.dispatch.poll_leaving()).map(|leaving| leaving.message).collect()
}

fn reasons(rig: &Rig, call: &str) -> Vec<Reason> {
    let explained = rig.dispatch.explain(call.as_bytes());
    let forwarded = explained.iter().filter(|it| matches!(it.target, ShortTarget::Forwarded { .. }));
    forwarded.map(|it| it.reason).collect()
}

#[test]
fn a_call_moves_after_a_503_and_each_attempt_is_explained() {
    let mut rig = rig_of(PoolMode::Stateful);
    let text = invite("a");
    let first = forward(rig.send(&text));
    let decision = rig.respond(&response(&text, &first, 503));
    assert_eq!((decision.target, decision.reason), (Target::Drop, Reason::MovedStatus));
    let [LeavingMessage::Acknowledge(acked, _), LeavingMessage::Request(second)] = &leaving(&mut rig)[..] else {
        panic!("an ACK, and the request")
    };
    assert_eq!((acked.to, acked.branch), (first.to, first.branch));
    assert!(second.proxy != first.proxy && second.branch != first.branch);
    let decision = rig.respond(&response(&text, second, 486));
    assert_eq!((decision.target, decision.reason), (Target::Passed(second.proxy), Reason::Branch));
    assert_eq!(reasons(&rig, "a"), [Reason::Proxied, Reason::MovedStatus]);
}

#[test]
fn a_call_moves_when_its_proxy_is_silent() {
    let mut rig = rig_of(PoolMode::Stateful);
    let text = invite("a");
    let first = forward(rig.send(&text));
    rig.now = rig.now + Duration::from_millis(1_020);
    rig.dispatch.handle_timeout(rig.now);
    let moved = leaving(&mut rig).into_iter().filter_map(|message| match message {
        LeavingMessage::Request(forward) if forward.proxy != first.proxy => Some(forward),
        _ => None,
    });
    assert_eq!(moved.count(), 1);
    assert_eq!(reasons(&rig, "a"), [Reason::Proxied, Reason::MovedSilent]);
    assert_eq!(forward_count(&mut rig, &text), 0, "a copy is absorbed");
}

/// Number of requests that leave when this one comes.
fn forward_count(rig: &mut Rig, text: &str) -> usize {
    let decision = rig.send(text);
    usize::from(matches!(decision.target, Target::Forward(_)))
        + leaving(rig).iter().filter(|message| matches!(message, LeavingMessage::Request(_))).count()
}
