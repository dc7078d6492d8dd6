//! Calls of `stateful` pools that no server answers, and that the workers get by `fallback`.

use pointsman::config::{Pool, PoolMode, Proxy};
use pointsman::dispatch::contexts::LeavingMessage;
use pointsman::dispatch::decision::{Forward, Side};

use super::forwarding::{forward, proxied, response};
use super::*;

/// Three proxies, and workers to which their calls fall back.
fn fallen(workers: usize) -> Rig {
    fallen_with(workers, |_| {})
}

fn fallen_with(workers: usize, change: impl FnOnce(&mut Rules)) -> Rig {
    let mut rules = proxied(PoolMode::Stateful);
    rules.pools[0].fallback = vec!["workers".to_owned()];
    change(&mut rules);
    rig_with(workers, rules, 1000)
}

impl Rig {
    fn leaving(&mut self) -> Vec<LeavingMessage> {
        std::iter::from_fn(|| self.dispatch.poll_leaving()).map(|leaving| leaving.message).collect()
    }

    /// Each proxy that gets the request answers it with this status. Returns the last decision, and what leaves then.
    fn refused_by_all(&mut self, text: &str, status: u16) -> (Decision, Vec<LeavingMessage>) {
        let mut at = forward(self.send(text));
        loop {
            let decision = self.respond(&response(text, &at, status));
            let left = self.leaving();
            match requests(&left)[..] {
                [next] => at = next,
                _ => return (decision, left),
            }
        }
    }

    /// All proxies say nothing, one after the other. Returns the ways to them, and the handover to a worker.
    fn silent(&mut self, text: &str) -> (Vec<Forward>, Handoff) {
        let mut all = vec![forward(self.send(text))];
        for _ in 0..30 {
            self.pass(Duration::from_millis(510));
            (0..self.lives.len()).for_each(|worker| self.heard(worker as u16));
            let left = self.leaving();
            all.extend(
                requests(&left)
                    .into_iter()
                    .filter(|new| all.iter().all(|old| old.proxy != new.proxy))
                    .collect::<Vec<_>>(),
            );
            if let Some(handoff) = handed_over(&left) {
                return (all, handoff);
            }
        }
        panic!("no worker has got it");
    }
}

fn requests(left: &[LeavingMessage]) -> Vec<Forward> {
    let request = |message: &LeavingMessage| match message {
        LeavingMessage::Request(forward) => Some(*forward),
        _ => None,
    };
    left.iter().filter_map(request).collect()
}

fn handed_over(left: &[LeavingMessage]) -> Option<Handoff> {
    left.iter().find_map(|message| match message {
        LeavingMessage::HandedOver(handoff) => Some(*handoff),
        _ => None,
    })
}

/// The kinds of messages that leave.
fn kinds(left: &[LeavingMessage]) -> Vec<&'static str> {
    let kind = |message: &LeavingMessage| match message {
        LeavingMessage::Request(_) => "request",
        LeavingMessage::Cancel(_) => "CANCEL",
        LeavingMessage::Acknowledge(..) => "ACK",
        LeavingMessage::Answer(_) | LeavingMessage::Response(_) => "response",
        LeavingMessage::HandedOver(_) => "handed over",
        LeavingMessage::TakenBack(_) => "taken back",
    };
    left.iter().map(kind).collect()
}

#[test]
fn a_call_that_every_member_answers_503_is_handed_to_a_worker_and_copy_cancel_and_ack_follow_it_there() {
    let mut rig = fallen(2);
    let text = invite("a");
    let (decision, left) = rig.refused_by_all(&text, 503);
    assert_eq!(decision, dropped(Reason::MovedStatus));
    assert_eq!(kinds(&left), ["ACK", "handed over"]);
    let had = handed_over(&left).unwrap();
    assert!(had.entry.is_some() && !had.follows && had.deadline.is_some() && had.size == 1, "{had:?}");
    for (text, reason) in [
        (text.clone(), Reason::Retransmission),
        (same(&text, "CANCEL"), Reason::Cancel),
        (same(&text, "ACK"), Reason::Ack),
    ] {
        assert_eq!(to(rig.send(&text)), (had.worker.0, reason));
    }
    let explained = rig.dispatch.explain(b"a");
    let handed = explained.iter().find(|it| matches!(it.target, ShortTarget::Worker { follows: false, .. })).unwrap();
    assert_eq!(handed.reason, Reason::MovedStatus);
    let attempts = explained.iter().filter(|it| matches!(it.target, ShortTarget::Forwarded { .. }));
    assert!(attempts.clone().count() == 3 && attempts.clone().all(|it| it.took.is_some()), "{explained:?}");
    let moved: Vec<u64> = rig.dispatch.proxies().rows(rig.now).iter().map(|row| row.moved).collect();
    assert_eq!(moved, [1, 1, 1]);
    assert_eq!(rig.dispatch.pool().get(had.worker).map(|slot| (slot.handoffs, slot.ledger())), Some((1, 1)));
    let counters = rig.dispatch.counters();
    assert_eq!((counters.of(Reason::MovedStatus), counters.returned), (4, 1), "three responses, and the handover");
    assert_eq!(rig.leaving(), []);
    rig.pass(Duration::from_secs(60));
    assert_eq!(rig.leaving(), [], "no answer of ours");
    rig.dispatch.check();
}

#[test]
fn a_call_that_members_are_silent_about_is_handed_to_a_worker_and_one_that_rings_at_last_is_cancelled() {
    let mut rig = fallen(1);
    let text = invite("a");
    let (all, had) = rig.silent(&text);
    assert_eq!((all.len(), had.worker.0), (3, 0));
    let decision = rig.respond(&response(&text, &all[1], 180));
    assert_eq!(decision, dropped(Reason::LateResponse));
    assert!(matches!(&rig.leaving()[..], [LeavingMessage::Cancel(cancel)] if cancel.to == all[1].to));
    assert_eq!(rig.respond(&response(&text, &all[1], 487)), dropped(Reason::LateResponse));
    assert_eq!(kinds(&rig.leaving()), ["ACK"]);
    assert_eq!(rig.respond(&response(&text, &all[0], 603)), dropped(Reason::LateResponse));
    assert_eq!(kinds(&rig.leaving()), ["ACK"]);
    assert_eq!(to(rig.send(&text)), (0, Reason::Retransmission));
    rig.answered(&had);
    rig.dispatch.check();
}

#[test]
fn a_late_2xx_reaches_the_caller_and_the_worker_is_cancelled_unless_it_has_answered() {
    for is_answered in [false, true] {
        let mut rig = fallen(1);
        let text = invite("a");
        let (all, had) = rig.silent(&text);
        if is_answered {
            rig.answered(&had);
        }
        let decision = rig.respond(&response(&text, &all[0], 200));
        assert!(matches!(decision.target, Target::ForwardResponse(_)), "{decision:?}");
        let left = rig.leaving();
        let ack = in_dialog("a", "ACK", "s").replace("CSeq: 2", "CSeq: 1");
        let ack = rig.send(&ack);
        if is_answered {
            assert_eq!(kinds(&left), [""; 0]);
            assert_eq!(to(ack), (0, Reason::Ack), "the call that stood first");
        } else {
            let [LeavingMessage::TakenBack(back)] = left[..] else { panic!("{left:?}") };
            assert!(back.worker == had.worker && back.follows && back.seq > had.seq);
            assert_eq!((forward(ack).to, ack.reason), (all[0].to, Reason::Ack));
        }
        // However often it comes.
        assert!(matches!(rig.respond(&response(&text, &all[0], 200)).target, Target::ForwardResponse(_)));
        assert_eq!(rig.leaving(), []);
        rig.down(0);
        rig.up(0, 100);
        assert_eq!(rig.back(&text, &had, Cause::Died), dropped(Reason::MovedAlready), "no second call");
        rig.dispatch.check();
    }
}

#[test]
fn a_member_that_answers_minutes_late_ends_no_call_that_rings_at_a_worker() {
    let mut rig = fallen(1);
    let text = invite("a");
    let (all, _) = rig.silent(&text);
    rig.pass(Duration::from_secs(50));
    for status in [180, 404, 503, 603] {
        assert_eq!(rig.respond(&response(&text, &all[0], status)), dropped(Reason::LateResponse), "{status}");
    }
    let success = rig.respond(&response(&text, &all[0], 200));
    assert!(matches!(success.target, Target::ForwardResponse(_)), "RFC 3261 §16.7 step 5: {success:?}");
    rig.dispatch.check();
}

/// A change of the workers before a call.
type Prepare = fn(&mut Rig);

#[test]
fn where_no_worker_takes_it_either_the_caller_gets_the_best_response() {
    let large = || with_header(&invite("a"), "X-Session-Size: 500");
    let cases: [(usize, Prepare, String); 4] = [
        (0, |_| {}, invite("a")),
        (1, |rig| rig.down(0), invite("a")),
        (
            1,
            |rig| rig.report(0, Report { number: 1, units_used: 100, units_total: 100, ..Report::default() }),
            invite("a"),
        ),
        (1, |_| {}, large()),
    ];
    for (number, (workers, prepare, text)) in cases.into_iter().enumerate() {
        let mut rig = fallen(workers);
        prepare(&mut rig);
        let (decision, left) = rig.refused_by_all(&text, 503);
        assert!(matches!(decision.target, Target::Passed(..)), "{number}: {decision:?}");
        let [LeavingMessage::Acknowledge(..), LeavingMessage::Answer(answer)] = &left[..] else { panic!("{left:?}") };
        assert_eq!(answer.status, 500, "{number}");
        rig.dispatch.check();
    }
}

#[test]
fn a_worker_that_refuses_the_call_or_dies_leaves_it_to_another() {
    let mut rig = fallen(3);
    let text = invite("a");
    let had = handed_over(&rig.refused_by_all(&text, 503).1).unwrap();
    let second = handoff(rig.refuse(&text, &had));
    assert_ne!(second.worker, had.worker);
    rig.down(second.worker.0);
    let third = handoff(rig.back(&text, &second, Cause::Died));
    assert!(![had.worker, second.worker].contains(&third.worker) && third.again);
    assert_eq!(to(rig.send(&text)), (third.worker.0, Reason::Retransmission));
    // A caller that has cancelled gets no other one.
    rig.send(&same(&text, "CANCEL"));
    rig.down(third.worker.0);
    assert_eq!(status(rig.back(&text, &third, Cause::Died)), (487, Reason::Cancelled));
    rig.dispatch.check();
}

#[test]
fn a_call_on_a_connection_is_handed_over_with_its_way_back() {
    for transport in [Transport::Tcp, Transport::Tls, Transport::Ws] {
        let mut rig = fallen(1);
        (rig.arrival.transport, rig.arrival.reply_to) = (transport, ReplyTo::Stream(ConnId(7)));
        let text = invite("a").replace("SIP/2.0/UDP 203", &format!("SIP/2.0/{} 203", transport.via_name()));
        let mut at = forward(rig.send(&text));
        let caller = rig.arrival;
        let leaving = loop {
            (rig.arrival.transport, rig.arrival.reply_to) = (Transport::Udp, ReplyTo::Datagram);
            rig.respond(&response(&text, &at, 503));
            let next: Vec<_> = std::iter::from_fn(|| rig.dispatch.poll_leaving()).collect();
            match next.iter().find(|leaving| matches!(leaving.message, LeavingMessage::Request(_))) {
                Some(leaving) => {
                    let LeavingMessage::Request(forward) = leaving.message else { unreachable!() };
                    at = forward;
                }
                None => break next.into_iter().last().unwrap(),
            }
        };
        let LeavingMessage::HandedOver(handoff) = leaving.message else { panic!("{leaving:?}") };
        let envelope = handoff.envelope(&leaving.arrival);
        assert_eq!((envelope.reply_to, envelope.transport), (caller.reply_to, transport));
        assert_eq!(envelope.pinned, transport == Transport::Ws);
        assert_eq!(rig.dispatch.counters().pinned, u64::from(transport == Transport::Ws));
        rig.dispatch.check();
    }
}

#[test]
fn a_call_that_rings_or_is_cancelled_is_no_workers() {
    let mut rig = fallen(1);
    let text = invite("a");
    let first = forward(rig.send(&text));
    rig.respond(&response(&text, &first, 180));
    rig.respond(&response(&text, &first, 503));
    assert_eq!(handed_over(&rig.leaving()), None);
    let text = invite("b");
    let first = forward(rig.send(&text));
    rig.send(&same(&text, "CANCEL"));
    rig.pass(Duration::from_secs(5));
    assert_eq!(handed_over(&rig.leaving()), None);
    rig.respond(&response(&text, &first, 503));
    assert_eq!(handed_over(&rig.leaving()), None);
    rig.dispatch.check();
}

#[test]
fn a_request_that_workers_take_goes_to_one_and_any_other_ends_as_without_them() {
    let mut rig = fallen_with(1, |rules| rules.methods.message = MethodRule::Select);
    let message = same(&invite("a"), "MESSAGE");
    let (all, had) = rig.silent(&message);
    assert_eq!((had.size, had.worker.0), (0, 0));
    assert_eq!(rig.respond(&response(&message, &all[0], 200)).target, Target::Drop, "RFC 4320 §4.2");
    assert_eq!(rig.leaving(), []);
    for method in ["OPTIONS", "REGISTER", "FROBNICATE", "INFO"] {
        let text = same(&invite(&method.to_lowercase()), method);
        let (decision, left) = rig.refused_by_all(&text, 503);
        assert!(matches!(decision.target, Target::Passed(_, Side::Server)), "{method}: {decision:?}");
        assert_eq!(kinds(&left), ["response"], "{method}");
    }
    rig.dispatch.check();
}

#[test]
fn a_call_inside_a_dialog_of_a_server_is_no_workers() {
    let mut rig = fallen(1);
    let text = invite("a");
    let first = forward(rig.send(&text));
    rig.respond(&response(&text, &first, 200));
    rig.leaving();
    let again = in_dialog("a", "INVITE", "s");
    let sent = forward(rig.send(&again));
    rig.respond(&response(&again, &sent, 503).replace(";tag=s;tag=s", ";tag=s"));
    assert_eq!(handed_over(&rig.leaving()), None);
}

#[test]
fn workers_that_are_members_beside_the_proxies_get_what_those_do_not_answer() {
    let mut rig = fallen_with(1, |rules| {
        rules.pools[0].fallback.clear();
        (rules.pools[0].workers, rules.pools[0].tries) = (true, 9);
    });
    for call in 0..20 {
        let text = invite(&format!("c{call}"));
        let mut decision = rig.send(&text);
        while let Target::Forward(at) = decision.target {
            rig.respond(&response(&text, &at, 486 + 17 * u16::from(call % 2 == 0)));
            let left = rig.leaving();
            let Some(next) = requests(&left).pop() else {
                assert_eq!(handed_over(&left).is_some(), call % 2 == 0, "{left:?}");
                break;
            };
            decision.target = Target::Forward(next);
        }
    }
    rig.dispatch.check();
}

#[test]
fn a_pool_after_the_workers_gets_the_call_that_is_too_large_for_them() {
    let mut rig = fallen_with(1, |rules| {
        rules.pools[0].fallback.push("last".to_owned());
        rules.pools[0].tries = 9;
        rules.pools.push(Pool { name: "last".to_owned(), ..Pool::default() });
        rules.proxies.push(Proxy {
            name: "last".to_owned(),
            pool: "last".to_owned(),
            host: "192.0.2.9".to_owned(),
            port: Some(5060),
            ..Proxy::default()
        });
    });
    let text = with_header(&invite("a"), "X-Session-Size: 500");
    let mut hosts = vec![forward(rig.send(&text))];
    for _ in 0..3 {
        rig.respond(&response(&text, hosts.last().unwrap(), 503));
        hosts.extend(requests(&rig.leaving()));
    }
    assert_eq!(hosts.last().unwrap().to.to_string(), "192.0.2.9:5060");
    let (_, left) = rig.refused_by_all(&invite("b"), 503);
    assert!(handed_over(&left).is_some(), "one that is not: {left:?}");
}

#[test]
fn two_copies_of_a_call_come_to_one_worker() {
    let mut rig = fallen(2);
    let (first, second) = (invite("a"), invite("a").replace("z9hG4bK-a", "z9hG4bK-other"));
    let at = forward(rig.send(&first));
    forward(rig.send(&second));
    let mut ways = vec![at];
    let handoffs: Vec<Handoff> = (0..20)
        .flat_map(|_| {
            rig.pass(Duration::from_millis(510));
            (0..2).for_each(|worker| rig.heard(worker));
            let left = rig.leaving();
            ways.extend(requests(&left));
            left.into_iter().filter_map(|message| handed_over(&[message])).collect::<Vec<_>>()
        })
        .collect();
    let [one, other] = handoffs[..] else { panic!("{handoffs:?}") };
    assert_eq!(one.worker, other.worker);
    assert_eq!((one.size, other.size, other.follows), (1, 0, true), "the worker answers the second one 482");
}

#[test]
fn a_pool_whose_members_are_down_leaves_what_the_pool_after_it_does_not_answer_to_the_workers() {
    let mut rig = fallen_with(1, |rules| {
        let first = Pool { fallback: vec!["default".to_owned(), "workers".to_owned()], ..rules.pools[0].clone() };
        rules.pools[0].fallback.clear();
        rules.pools.push(Pool { name: "first".to_owned(), ..first });
        rules.unrouted.pool = "first".to_owned();
        rules.proxies.push(Proxy {
            name: "named".to_owned(),
            pool: "first".to_owned(),
            host: "has-no-address.example.net".to_owned(),
            ..Proxy::default()
        });
    });
    let (_, left) = rig.refused_by_all(&invite("a"), 503);
    assert!(handed_over(&left).is_some(), "{left:?}");
}
