//! Symptoms that users of other proxies have reported, each a test with real servers. Those that need no sockets stand
//! beside the code that they are about.

use std::time::Duration;

use super::callers::Callers;
use super::servers::{Manner, Servers};
use super::{Front, settings};
use crate::support::phone::{Phone, Received, Request};
use crate::support::{DEADLINE, wait_for};

/// Servers of a pool that remembers its requests, and moves them after 300 ms.
fn stateful(servers: &Servers, lines: impl Fn(usize) -> String) -> Front {
    let pool = "mode = \"stateful\"\npolicy = \"round-robin\"\nanswer-within = \"300ms\"";
    Front::start(&settings(pool, servers, lines))
}

fn caller(front: &Front) -> (Phone, Request) {
    let phone = Phone::new(front.pointsman.address().ip());
    let invite = phone.invite(front.pointsman.address(), None);
    (phone, invite)
}

/// The server that has had an INVITE of this call.
fn server_of(servers: &Servers, call: &Request) -> usize {
    wait_for("the call at a server", DEADLINE, || {
        (0..servers.count()).find(|server| servers.seen(*server, |seen| seen.invites.contains_key(&call.call_id)))
    })
}

fn acknowledge(phone: &Phone, invite: &Request, answer: &Received) {
    let ack = Request { to_tag: Some(answer.to_tag().to_owned()), ..invite.ack(answer) };
    phone.send(&ack.on_new_branch(), answer.contact_address());
}

#[test]
fn a_late_2xx_after_fail_over_reaches_the_caller_and_its_call_does_not_ring_on_unacknowledged() {
    let servers = Servers::start(2);
    let front = stateful(&servers, |_| String::new());
    // Each is late until one has the call.
    (0..2).for_each(|server| servers.change(server, |manner| manner.after = Duration::from_millis(900)));
    let (phone, invite) = caller(&front);
    phone.send(&invite, front.pointsman.address());
    let late = server_of(&servers, &invite);
    servers.change(1 - late, |manner| manner.after = Duration::ZERO);
    for server in [1 - late, late] {
        let is_it = |reply: &Received| {
            reply.status() == 200 && reply.answers(&invite) && reply.contact_address() == servers.address(server)
        };
        let answer = phone.expect("a 2xx", is_it);
        acknowledge(&phone, &invite, &answer);
        wait_for("the ACK", DEADLINE, || {
            servers.seen(server, |seen| seen.acks.contains_key(&invite.call_id)).then_some(())
        });
    }
    front.wait_until(&format!("s{late}"), "to have lost a call to another", |row| row["moved"] == 1);
}

#[test]
fn a_call_that_its_caller_cancels_goes_to_no_other_server() {
    let servers = Servers::with(3, &Manner { status: 0, ..Manner::default() });
    let front = stateful(&servers, |_| String::new());
    let (phone, invite) = caller(&front);
    phone.send(&invite, front.pointsman.address());
    let server = server_of(&servers, &invite);
    let cancel = invite.cancel();
    phone.send(&cancel, front.pointsman.address());
    assert_eq!(phone.final_response(&cancel).status(), 200);
    // Timer A: 0.5 s, 1 s and 2 s after each other, far beyond the time after which it would have moved.
    wait_for("three copies of the INVITE", DEADLINE, || {
        servers.seen(server, |seen| seen.invites[&invite.call_id] >= 4).then_some(())
    });
    let had: Vec<usize> = (0..3).map(|server| servers.calls(server)).collect();
    assert_eq!(had.iter().sum::<usize>(), 1, "{had:?}");
    // No CANCEL before a provisional response (RFC 3261 §9.1). Then one, and the caller hears the end of it.
    servers.seen(server, |seen| assert!(seen.cancels.is_empty()));
    servers.change(server, |manner| manner.status = 180);
    let end = phone.final_response(&invite);
    assert_eq!(end.status(), 487);
    phone.send(&invite.ack(&end), front.pointsman.address());
    servers.seen(server, |seen| assert!(seen.cancels.contains_key(&invite.call_id)));
}

#[test]
fn a_repeated_cancel_gets_no_481_and_its_call_no_second_487() {
    let servers = Servers::with(2, &Manner { status: 180, ..Manner::default() });
    let front = stateful(&servers, |_| String::new());
    let (phone, invite) = caller(&front);
    let target = front.pointsman.address();
    phone.send(&invite, target);
    phone.expect("ringing", |reply| reply.status() == 180 && reply.answers(&invite));
    let cancel = invite.cancel();
    (0..3).for_each(|_| phone.send(&cancel, target));
    let (mut cancelled, mut ended) = (0, 0);
    while (cancelled, ended) != (3, 1) {
        let reply = phone.expect("three 200 and a 487", |reply| reply.status() >= 200);
        if reply.answers(&cancel) {
            assert_eq!(reply.status(), 200, "{}", reply.text);
            cancelled += 1;
        } else {
            assert_eq!(reply.status(), 487, "{}", reply.text);
            phone.send(&invite.ack(&reply), target);
            ended += 1;
        }
    }
    // After the end of the call as well.
    phone.send(&cancel, target);
    let again = phone.expect("an answer", |reply| reply.status() >= 200);
    assert!(again.answers(&cancel) && again.status() == 200, "{}", again.text);
}

#[test]
fn an_answer_that_comes_after_its_probe_was_lost_does_not_have_a_dead_server_up_and_it_is_probed_on() {
    let servers = Servers::start(2);
    let lines = |_| "probe-interval = \"400ms\"\nprobe-within = \"200ms\"".to_owned();
    let front = stateful(&servers, lines);
    servers.change(0, |manner| manner.options_after = Duration::from_millis(300));
    let down = front.wait_for_state("s0", "down");
    let probes = |row: &serde_json::Value| row["probes"].as_u64().unwrap_or_default();
    let later = front.wait_until("s0", "to be probed on", |row| {
        assert_eq!(row["state"], "down", "{row}");
        probes(row) >= probes(&down) + 4
    });
    assert_eq!(later["weight"], 0);
    servers.change(0, |manner| manner.options_after = Duration::ZERO);
    front.wait_for_state("s0", "up");
}

#[test]
fn two_entries_with_one_address_have_each_a_health_of_their_own() {
    // It answers OPTIONS with a failure, and refuses an INVITE as it should.
    let servers = Servers::with(1, &Manner { probe_status: 500, ..Manner::default() });
    let address = servers.address(0);
    let text = format!(
        "[[pool]]\nname = \"default\"\n[[pool]]\nname = \"other\"\n[proxy-defaults]\nprobe-interval = \"200ms\"\n\
         [[proxy]]\nname = \"a\"\nuri = \"sip:{address}\"\n\
         [[proxy]]\nname = \"b\"\nuri = \"sip:{address}\"\npool = \"other\"\nprobe = \"none\"\n"
    );
    let front = Front::start(&text);
    front.wait_for_state("a", "down");
    let other = front.row("b");
    assert_eq!((&other["state"], &other["weight"]), (&"up".into(), &100.into()), "{other}");
}

#[test]
fn fail_over_picks_no_server_that_is_known_to_be_down() {
    let servers = Servers::start(3);
    servers.close(1);
    servers.change(0, |manner| manner.status = 503);
    let front = stateful(&servers, |_| "probe-interval = \"200ms\"".to_owned());
    front.wait_for_state("s1", "down");
    let outcome = Callers::new(front.pointsman.address()).call(0..60);
    assert_eq!(outcome.statuses.get(&200), Some(&60), "{:?}", outcome.statuses);
    assert!(servers.calls(0) > 0);
    let row = front.row("s1");
    assert_eq!(row["calls"], 0, "{row}");
}
