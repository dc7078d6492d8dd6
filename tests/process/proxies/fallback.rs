//! Calls that no server of a pool answers, and that a worker gets.

use std::net::SocketAddr;

use super::servers::{Manner, Servers};
use super::{Front, settings};
use crate::support::line::Line;
use crate::support::phone::{Phone, Received};
use crate::support::pointsman::Setup;

/// Two workers behind servers that answer like this, which lose a call after 200 ms.
fn behind(servers: &Servers) -> Front {
    let pool = "mode = \"stateful\"\nanswer-within = \"200ms\"\nfallback = [\"workers\"]";
    let text = settings(pool, servers, |_| String::new());
    let setup = Setup::new(2);
    let tcp = format!("tcp:{}", SocketAddr::new(setup.ip, setup.port));
    Front::start_as(&format!("{text}[[route]]\npool = \"default\"\n"), setup.with(["--listen", &tcp]))
}

/// The worker that has been handed the call, by what `explain` says.
fn worker_of(front: &Front, call_id: &str, reason: &str) -> usize {
    let decisions = front.pointsman.stats(&format!("explain {call_id}"));
    let decisions = decisions["decisions"].as_array().unwrap();
    let handed = decisions.iter().find(|it| it["action"] == "handed_over").unwrap_or_else(|| panic!("{decisions:?}"));
    assert_eq!(handed["reason"], reason, "{decisions:?}");
    let name = handed["worker"].as_str().unwrap();
    name.trim_start_matches('w').parse().unwrap()
}

#[test]
fn a_call_that_every_server_answers_503_is_answered_by_a_worker() {
    let servers = Servers::with(2, &Manner { status: 503, ..Manner::default() });
    let front = behind(&servers);
    let target = front.pointsman.address();
    let phone = Phone::new(target.ip());
    let dialog = phone.call(&phone.invite(target, None), target);
    assert_eq!((servers.calls(0), servers.calls(1)), (1, 1), "each has refused it");
    let slot = worker_of(&front, &dialog.invite.call_id, "moved-status");
    assert_eq!(front.pointsman.slot_of(dialog.target), slot);
    assert_eq!(front.pointsman.worker_number(slot, "handoffs"), 1);
    assert_eq!((front.row("s0")["moved"].as_u64(), front.row("s1")["moved"].as_u64()), (Some(1), Some(1)));
    assert_eq!(phone.transact(&dialog.request("BYE", 1), dialog.target).status(), 200);
}

#[test]
fn a_call_on_a_connection_that_every_server_answers_503_is_answered_by_a_worker_on_that_connection() {
    let servers = Servers::with(2, &Manner { status: 503, ..Manner::default() });
    let front = behind(&servers);
    let target = front.pointsman.address();
    let mut line = Line::tcp(target).unwrap();
    line.invite(target, "by-tcp").unwrap();
    let answer = line.receive_final("INVITE").unwrap();
    assert!(answer.starts_with("SIP/2.0 200"), "{answer}");
    assert_eq!((servers.calls(0), servers.calls(1)), (1, 1), "each has refused it");
    worker_of(&front, "by-tcp", "moved-status");
}

#[test]
fn a_call_that_servers_are_silent_about_rings_at_a_worker_outlives_that_one_and_is_cancelled_at_the_next() {
    let servers = Servers::with(2, &Manner { status: 0, ..Manner::default() });
    let front = behind(&servers);
    let target = front.pointsman.address();
    let phone = Phone::new(target.ip());
    let mut invite = phone.invite(target, None);
    invite.uri.push_str(";ring=60000");
    phone.send(&invite, target);
    let rings = |reply: &Received| reply.answers(&invite) && reply.status() == 180;
    let first = phone.expect("ringing", rings);
    let slot = worker_of(&front, &invite.call_id, "moved-silent");
    assert_eq!(front.pointsman.slot_of(first.contact_address()), slot);
    front.pointsman.kill_worker(slot);
    phone.expect("ringing again", |reply| rings(reply) && reply.to_tag() != first.to_tag());
    let cancel = invite.cancel();
    assert_eq!(phone.transact(&cancel, target).status(), 200);
    let end = phone.final_response(&invite);
    assert_eq!(end.status(), 487, "{}", end.text);
    phone.send(&invite.ack(&end), target);
    // Nobody hears a server that wakes up now.
    let had = servers.seen(0, |seen| seen.cancels.len()) + servers.seen(1, |seen| seen.cancels.len());
    assert_eq!(had, 0, "RFC 3261 §9.1: nothing has been responded");
}
