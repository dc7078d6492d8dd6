//! Takeovers while calls go to systems over connections.

use std::thread;
use std::time::Duration;

use super::caller::Caller;
use super::*;
use crate::generator::{Generator, Outcome, Pace, Plan, Until};
use crate::proxies::connections::Authority;
use crate::support::PROMPT;

/// Calls a second of each caller.
const RATE: f64 = 100.0;
const TAKEOVERS: usize = 5;

/// Callers over UDP, or on so many connections over TCP.
fn plan(front: &Front, connections: usize) -> Plan {
    Plan {
        pace: Pace::Rate(RATE),
        connections,
        at_most: 1_000,
        until: Until::Stopped,
        hold: Some(Duration::from_millis(300)),
        // One that a busy machine sends late is not lost.
        t1: PROMPT,
        ..Plan::new(front.pointsman.address())
    }
}

fn assert_complete(outcome: &Outcome) {
    assert!(outcome.failures.is_empty(), "{:?}", outcome.failures);
    assert_eq!((outcome.answered, outcome.completed), (outcome.started, outcome.started));
    assert_eq!((outcome.second_answers, outcome.strangers, outcome.from_elsewhere), (0, 0, 0));
}

#[test]
fn calls_over_udp_and_tcp_to_systems_are_not_lost_in_takeovers_and_the_connections_are_kept() {
    let systems = [(); 2].map(|()| System::start(None));
    let mut front = start(&settings(&addresses(&systems), "probe = \"none\""), 2);
    wait_for_connections(&front, &systems, 2);
    let mut peers = [systems[0].peers(), systems[1].peers()];
    let callers = [0, 2].map(|connections| Generator::new(plan(&front, connections)).unwrap());
    let progress = callers.each_ref().map(Generator::progress);
    let calls = callers.map(|mut callers| thread::spawn(move || callers.run().clone()));
    for _ in 0..TAKEOVERS {
        let before = progress.each_ref().map(|progress| progress.completed());
        let goes_on = || progress.iter().zip(before).all(|(progress, before)| progress.completed() > before + 30);
        wait_for("more calls", DEADLINE, || goes_on().then_some(()));
        front.pointsman.take_over();
    }
    progress.iter().for_each(|progress| progress.stop());
    let outcomes = calls.map(|calls| calls.join().unwrap());
    outcomes.iter().for_each(assert_complete);
    println!("{} calls over UDP, {} over TCP", outcomes[0].completed, outcomes[1].completed);
    for (system, peers) in systems.iter().zip(&mut peers) {
        let mut after = system.peers();
        peers.sort_unstable();
        after.sort_unstable();
        assert_eq!(*peers, after);
    }
}

/// A dispatcher in front of a system over TLS.
fn over_tls() -> (System, Front, Authority) {
    let ca = Authority::new();
    let system = System::start(Some(ca.certify("system.example.test")));
    let lines = format!("tls-name = \"system.example.test\"\nprobe = \"none\"\n{}", ca.tls());
    let text = settings(&[system.address()], &lines).replace("transport=tcp", "transport=tls");
    let setup = Setup::new(0).lanes(1);
    let listen = format!("tls:{}", SocketAddr::new(setup.ip, setup.port + 1));
    let front = Front::start_as(&text, setup.with(["--listen", &listen]));
    (system, front, ca)
}

#[test]
fn the_first_call_waits_for_the_handshake_with_a_system_over_tls() {
    let (_system, front, _ca) = over_tls();
    let mut caller = Caller::udp(front.pointsman.address());
    caller.says("INVITE", 1, "i");
    caller.hears("INVITE", 200);
}

#[test]
fn a_connection_over_tls_is_replaced_when_the_certificate_that_it_shows_is_renewed_under_the_same_name() {
    let (system, front, ca) = over_tls();
    front.wait_until("s0", "to be connected", |row| row["connections"] == 1);
    let before = system.peers();
    front.pointsman.stats("reload");
    ca.certify("edge.example.test");
    front.pointsman.stats("reload");
    wait_for("another connection", DEADLINE, || {
        let after = system.peers();
        (after.len() == 1 && after != before).then_some(())
    });
    front.wait_until("s0", "to be connected", |row| row["connections"] == 1);
}

#[test]
fn a_connection_over_tls_is_replaced_after_a_takeover_no_call_is_lost_and_the_old_process_ends() {
    let (system, mut front, _ca) = over_tls();
    front.wait_until("s0", "to be connected", |row| row["connections"] == 1);
    let before = system.peers();
    let mut callers = Generator::new(plan(&front, 0)).unwrap();
    let progress = callers.progress();
    let calls = thread::spawn(move || callers.run().clone());
    let more = || {
        let before = progress.completed();
        wait_for("more calls", DEADLINE, || (progress.completed() > before + 50).then_some(()));
    };
    more();
    let mut old = front.pointsman.take_over_and_keep();
    let status = wait_for("the end of the old process", DEADLINE, || old.try_wait().unwrap());
    assert!(status.success(), "{status}");
    more();
    progress.stop();
    assert_complete(&calls.join().unwrap());
    let after = system.peers();
    assert!(after.len() == 1 && after != before, "{before:?}, then {after:?}");
}
