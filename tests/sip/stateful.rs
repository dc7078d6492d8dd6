//! Requests of pools of mode `stateful`: another proxy gets what one has not answered.

use std::time::Duration;

use pointsman::config::PoolMode;
use pointsman::dispatch::contexts::LeavingMessage;
use pointsman::dispatch::decision::{Forward, Hop, Side};
use pointsman::dispatch::history::ShortTarget;
use pointsman::dispatch::probed::{Finding, Found};

use super::forwarding::{forward, response, rig_of};
use super::*;

/// Messages that leave for requests under way.
fn leaving(rig: &mut Rig) -> Vec<LeavingMessage> {
    std::iter::from_fn(|| rig.dispatch.poll_leaving()).map(|leaving| leaving.message).collect()
}

fn reasons(rig: &Rig, call: &str) -> Vec<Reason> {
    let explained = rig.dispatch.explain(call.as_bytes());
    let forwarded =
        explained.iter().filter(|it| matches!(it.target, ShortTarget::Forwarded { .. } | ShortTarget::Stays { .. }));
    forwarded.map(|it| it.reason).collect()
}

/// Milliseconds that each attempt took.
fn took(rig: &Rig, call: &str) -> Vec<Option<u128>> {
    let explained = rig.dispatch.explain(call.as_bytes());
    let attempts = explained.iter().filter(|it| matches!(it.target, ShortTarget::Forwarded { weight: 1.., .. }));
    attempts.map(|it| it.took.map(|took| took.as_millis())).collect()
}

#[test]
fn a_call_moves_after_a_503_and_each_attempt_is_explained() {
    let mut rig = rig_of(PoolMode::Stateful);
    let text = invite("a");
    let first = forward(rig.send(&text));
    rig.now = rig.now + Duration::from_millis(3);
    let decision = rig.respond(&response(&text, &first, 503));
    assert_eq!((decision.target, decision.reason), (Target::Drop, Reason::MovedStatus));
    let [LeavingMessage::Acknowledge(acked, _), LeavingMessage::Request(second)] = &leaving(&mut rig)[..] else {
        panic!("an ACK, and the request")
    };
    assert_eq!((acked.to, acked.branch), (first.to, first.branch));
    assert!(second.proxy != first.proxy && second.branch != first.branch);
    assert_eq!(took(&rig, "a"), [Some(3), None], "the second one waits");
    rig.now = rig.now + Duration::from_millis(40);
    let decision = rig.respond(&response(&text, second, 486));
    assert_eq!((decision.target, decision.reason), (Target::Passed(second.proxy, Side::Server), Reason::Branch));
    assert_eq!(reasons(&rig, "a"), [Reason::Proxied, Reason::MovedStatus]);
    assert_eq!(took(&rig, "a"), [Some(3), Some(40)]);
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

impl Rig {
    /// The prober has lost two probes of a proxy in a row.
    fn probes_are_lost(&mut self, forward: &Forward) {
        let proxy = self.dispatch.proxies().name(forward.proxy).unwrap().to_owned();
        let address = forward.to.to_string().parse().unwrap();
        for number in [1_001, 1_002] {
            let what = Found::Lost { address, number };
            self.dispatch.on_found(&[Finding { proxy: proxy.as_str().into(), at: self.now, what }], self.now);
        }
    }

    /// Every proxy has answered a probe after this time.
    fn proxies_take(&mut self, delay: Duration) {
        for number in 1..=3 {
            let address = format!("192.0.2.{number}:5060").parse().unwrap();
            let what = Found::Answered { address, number: 1, status: 200, retry_after: None, delay, load: None };
            let finding = Finding { proxy: format!("fs{number}").as_str().into(), at: self.now, what };
            self.dispatch.on_found(&[finding], self.now);
        }
    }
}

fn requests(leaving: Vec<LeavingMessage>) -> Vec<Forward> {
    let request = |message| match message {
        LeavingMessage::Request(forward) => Some(forward),
        _ => None,
    };
    leaving.into_iter().filter_map(request).collect()
}

#[test]
fn a_call_that_has_heard_nothing_leaves_a_proxy_at_once_that_probes_find_down() {
    let mut rig = rig_of(PoolMode::Stateful);
    let text = invite("a");
    let first = forward(rig.send(&text));
    rig.probes_are_lost(&first);
    let [second] = requests(leaving(&mut rig))[..] else { panic!("one request") };
    assert!(second.proxy != first.proxy);
    assert_eq!(reasons(&rig, "a"), [Reason::Proxied, Reason::MovedError]);
    let weights: Vec<u16> = rig
        .dispatch
        .explain(b"a")
        .iter()
        .filter_map(|it| match it.target {
            ShortTarget::Forwarded { weight, .. } => Some(weight),
            _ => None,
        })
        .collect();
    assert!(weights.iter().all(|weight| *weight > 0), "the weight then: {weights:?}");
    rig.dispatch.check();
}

#[test]
fn a_call_that_cannot_be_sent_to_its_server_goes_to_another_at_once() {
    let mut rig = rig_of(PoolMode::Stateful);
    let first = forward(rig.send(&invite("a")));
    let Hop::Address(to) = first.to else { panic!("{first:?}") };
    rig.dispatch.on_undeliverable("192.0.2.99:5060".parse().unwrap(), rig.now);
    assert!(leaving(&mut rig).is_empty(), "another address");
    rig.dispatch.on_undeliverable(to, rig.now);
    let [second] = requests(leaving(&mut rig))[..] else { panic!("one request") };
    assert!(second.proxy != first.proxy);
    assert_eq!(reasons(&rig, "a"), [Reason::Proxied, Reason::MovedError]);
    let row = rig.dispatch.proxies().rows(rig.now).into_iter().find(|row| row.address == to.to_string()).unwrap();
    assert_eq!((row.outstanding, row.moved), (0, 1));
    rig.dispatch.check();
}

#[test]
fn a_call_that_rings_or_is_cancelled_stays_at_a_proxy_that_probes_find_down() {
    for heard in ["180", "CANCEL"] {
        let mut rig = rig_of(PoolMode::Stateful);
        let text = invite("a");
        let first = forward(rig.send(&text));
        if heard == "180" {
            rig.respond(&response(&text, &first, 180));
        } else {
            rig.send(&same(&text, "CANCEL"));
        }
        leaving(&mut rig);
        rig.probes_are_lost(&first);
        assert_eq!(requests(leaving(&mut rig)), [], "{heard}");
        assert_eq!(reasons(&rig, "a"), [Reason::Proxied], "{heard}");
    }
}

#[test]
fn a_call_stays_where_no_other_proxy_is_quick() {
    let mut rig = rig_of(PoolMode::Stateful);
    rig.proxies_take(Duration::from_millis(400));
    let (silent, refused) = (invite("a"), invite("b"));
    forward(rig.send(&silent));
    let first = forward(rig.send(&refused));
    let decision = rig.respond(&response(&refused, &first, 503));
    assert_eq!((decision.target, decision.reason), (Target::Passed(first.proxy, Side::Server), Reason::NotBetter));
    for _ in 0..3 {
        rig.now = rig.now + Duration::from_millis(1_020);
        rig.dispatch.handle_timeout(rig.now);
        leaving(&mut rig);
    }
    assert_eq!(reasons(&rig, "a"), [Reason::Proxied, Reason::NotBetter], "it is said once");
}

#[test]
fn a_call_that_nobody_answers_ends_by_408_and_explain_says_so() {
    let mut rig = rig_of(PoolMode::Stateful);
    forward(rig.send(&invite("a")));
    for _ in 0..80 {
        rig.now = rig.now + Duration::from_millis(500);
        rig.dispatch.handle_timeout(rig.now);
        leaving(&mut rig);
    }
    let last = rig.dispatch.explain(b"a").pop().unwrap();
    assert_eq!((last.target, last.reason), (ShortTarget::Answered(408), Reason::Unanswered));
}

#[test]
fn the_third_refusal_of_three_tries_goes_to_the_caller() {
    let mut rig = rig_of(PoolMode::Stateful);
    let text = invite("a");
    let mut at = forward(rig.send(&text));
    let mut decisions = Vec::new();
    for _ in 0..3 {
        let decision = rig.respond(&response(&text, &at, 503));
        decisions.push((matches!(decision.target, Target::Passed(..)), decision.reason));
        at = requests(leaving(&mut rig)).first().copied().unwrap_or(at);
    }
    assert_eq!(decisions, [(false, Reason::MovedStatus), (false, Reason::MovedStatus), (true, Reason::AllTried)]);
}

#[test]
fn responses_of_a_proxy_that_a_call_has_left_are_late_and_its_2xx_passes() {
    let mut rig = rig_of(PoolMode::Stateful);
    let text = invite("a");
    let first = forward(rig.send(&text));
    rig.now = rig.now + Duration::from_millis(1_020);
    rig.dispatch.handle_timeout(rig.now);
    leaving(&mut rig);
    let late = |rig: &mut Rig, status| {
        let decision = rig.respond(&response(&text, &first, status));
        (matches!(decision.target, Target::ForwardResponse(_)), decision.reason)
    };
    assert_eq!(late(&mut rig, 180), (false, Reason::LateResponse));
    assert_eq!(late(&mut rig, 200), (true, Reason::LateResponse));
}

#[test]
fn a_cancel_with_a_branch_of_its_own_finds_its_invite() {
    let mut rig = rig_of(PoolMode::Stateful);
    let text = invite("a");
    let first = forward(rig.send(&text));
    rig.respond(&response(&text, &first, 180));
    leaving(&mut rig);
    let cancel = same(&text, "CANCEL").replace("z9hG4bK-a", "z9hG4bK-other");
    for _ in 0..2 {
        assert_eq!(answer(rig.send(&cancel)).status, 200);
    }
    let [LeavingMessage::Cancel(sent)] = leaving(&mut rig)[..] else { panic!("one CANCEL") };
    assert_eq!((sent.to, sent.branch), (first.to, first.branch));
}

#[test]
fn an_ack_to_a_2xx_without_route_follows_its_invite() {
    for mode in [PoolMode::Stateful, PoolMode::Proxy] {
        let mut rig = rig_of(mode);
        for call in ["a", "b", "c", "d"] {
            let text = invite(call);
            let first = forward(rig.send(&text));
            rig.respond(&response(&text, &first, 200));
            leaving(&mut rig);
            let ack = in_dialog(call, "ACK", "s").replace("CSeq: 2", "CSeq: 1");
            let decision = rig.send(&ack);
            assert_eq!((forward(decision).to, decision.reason), (first.to, Reason::Ack));
        }
    }
}

#[test]
fn a_request_for_a_sips_uri_gets_480_and_travels_no_further() {
    for mode in [PoolMode::Stateful, PoolMode::Proxy, PoolMode::Redirect] {
        let mut rig = rig_of(mode);
        let decision = rig.send(&invite("a").replace("INVITE sip:", "INVITE sips:"));
        assert_eq!((answer(decision).status, decision.reason), (480, Reason::SipsNotAllowed));
        assert_eq!(answer(decision).says, Says::SipsNotAllowed);
    }
}
