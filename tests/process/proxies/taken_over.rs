//! A dispatcher takes over while servers of a `stateful` pool have calls.

use std::time::Duration;

use super::callers::Callers;
use super::servers::{Manner, Servers};
use super::{Front, settings};
use crate::support::phone::{Phone, Received, Request};
use crate::support::{DEADLINE, wait_for};

/// Time after which a server that is silent loses a call: a takeover takes less.
const ANSWER_WITHIN: Duration = Duration::from_secs(3);

/// Two servers that answer like this, and a call at one of them: the number of that.
fn call_at(manner: &Manner) -> (Servers, Front, Phone, Request, usize) {
    let servers = Servers::with(2, manner);
    let pool = format!("mode = \"stateful\"\nanswer-within = \"{}s\"", ANSWER_WITHIN.as_secs());
    let front = Front::start(&settings(&pool, &servers, |_| String::new()));
    let phone = Phone::new(front.pointsman.address().ip());
    let invite = phone.invite(front.pointsman.address(), None);
    phone.send(&invite, front.pointsman.address());
    let server = wait_for("the call at a server", DEADLINE, || {
        (0..2).find(|server| servers.seen(*server, |seen| seen.invites.contains_key(&invite.call_id)))
    });
    (servers, front, phone, invite, server)
}

#[test]
fn a_call_moves_from_a_silent_server_after_a_takeover_and_the_late_refusal_there_reaches_nobody() {
    let late = Manner { status: 486, after: ANSWER_WITHIN + Duration::from_secs(1), ..Manner::default() };
    let (servers, mut front, phone, invite, server) = call_at(&late);
    servers.change(1 - server, |manner| *manner = Manner::default());
    front.pointsman.take_over();
    let answer = phone.final_response(&invite);
    assert_eq!((answer.status(), answer.contact_address()), (200, servers.address(1 - server)));
    phone.send(&Request { to_tag: Some(answer.to_tag().to_owned()), ..invite.ack(&answer) }.on_new_branch(), {
        answer.contact_address()
    });
    // The dispatcher acknowledges it, since the caller has had its answer.
    wait_for("the ACK to the refusal", DEADLINE, || {
        servers.seen(server, |seen| seen.acks.contains_key(&invite.call_id)).then_some(())
    });
    let options = phone.request("OPTIONS", front.pointsman.address());
    phone.send(&options, front.pointsman.address());
    let last = phone.expect("an answer", |reply: &Received| reply.status() != 200 || reply.answers(&options));
    assert!(last.answers(&options), "{}", last.text);
}

#[test]
fn a_call_that_rings_is_cancelled_after_a_takeover_and_ends_with_487() {
    let (servers, mut front, phone, invite, server) = call_at(&Manner { status: 180, ..Manner::default() });
    phone.expect("ringing", |reply| reply.status() == 180 && reply.answers(&invite));
    front.pointsman.take_over();
    let cancel = invite.cancel();
    assert_eq!(phone.transact(&cancel, front.pointsman.address()).status(), 200);
    let end = phone.final_response(&invite);
    assert_eq!(end.status(), 487);
    phone.send(&invite.ack(&end), front.pointsman.address());
    servers.seen(server, |seen| assert_eq!(seen.cancels.get(&invite.call_id), Some(&1)));
}

#[test]
fn every_call_is_answered_once_while_dispatchers_take_over_from_each_other() {
    let servers = Servers::with(2, &Manner { after: Duration::from_millis(100), ..Manner::default() });
    let mut front = Front::start(&settings("mode = \"stateful\"", &servers, |_| String::new()));
    let callers = Callers::at_rate(front.pointsman.address(), 500.0);
    let calls = 2_000;
    let outcome = std::thread::scope(|scope| {
        let outcome = scope.spawn(|| callers.call(0..calls));
        for taken_over in 1..=3 {
            while callers.done() < calls / 4 * taken_over {
                std::thread::yield_now();
            }
            front.pointsman.take_over();
        }
        outcome.join().unwrap()
    });
    println!("messages sent again: {}", outcome.again);
    assert_eq!(outcome.statuses.get(&200), Some(&calls), "{:?}", outcome.statuses);
    let had: usize = (0..2).map(|server| servers.calls(server)).sum();
    assert_eq!(had, calls, "no call has gone to two servers");
}
