//! Takeovers while calls go to systems over connections.

use std::time::Duration;

use super::*;
use crate::generator::{Generator, Outcome, Pace, Plan, Until};
use crate::support::PROMPT;

/// Calls a second of each caller.
const RATE: f64 = 100.0;
const TAKEOVERS: usize = 5;

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
    let plan = |connections| Plan {
        pace: Pace::Rate(RATE),
        connections,
        at_most: 1_000,
        until: Until::Stopped,
        hold: Some(Duration::from_millis(300)),
        // One that a busy machine sends late is not lost.
        t1: PROMPT,
        ..Plan::new(front.pointsman.address())
    };
    let mut callers = [0, 2].map(|connections| Generator::new(plan(connections)).unwrap());
    let progress = callers.each_ref().map(Generator::progress);
    let outcomes = std::thread::scope(|scope| {
        let calls = callers.each_mut().map(|callers| scope.spawn(|| callers.run().clone()));
        for _ in 0..TAKEOVERS {
            let before = progress.each_ref().map(|progress| progress.completed());
            let goes_on = || progress.iter().zip(before).all(|(progress, before)| progress.completed() > before + 30);
            wait_for("more calls", DEADLINE, || goes_on().then_some(()));
            front.pointsman.take_over();
        }
        progress.iter().for_each(|progress| progress.stop());
        calls.map(|calls| calls.join().unwrap())
    });
    outcomes.iter().for_each(assert_complete);
    println!("{} calls over UDP, {} over TCP", outcomes[0].completed, outcomes[1].completed);
    for (system, peers) in systems.iter().zip(&mut peers) {
        let mut after = system.peers();
        peers.sort_unstable();
        after.sort_unstable();
        assert_eq!(*peers, after);
    }
}
