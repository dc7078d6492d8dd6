//! Calls that come back: the dispatcher finds its own mark in them, and ends them.

use std::net::SocketAddr;
use std::time::Instant;

use super::Front;
use super::callers::Callers;
use crate::support::PROMPT;
use crate::support::pointsman::Setup;

/// Dispatchers in a ring, each of which has the next as its only proxy.
fn ring(count: usize, pool: &str) -> Vec<Front> {
    let setups: Vec<Setup> = (0..count).map(|_| Setup::new(0)).collect();
    let addresses: Vec<SocketAddr> = setups.iter().map(|setup| SocketAddr::new(setup.ip, setup.port)).collect();
    let one = |(at, setup): (usize, Setup)| {
        let next = addresses[(at + 1) % count];
        let text = format!("[[pool]]\nname = \"default\"\n{pool}\n[[proxy]]\nname = \"next\"\nuri = \"sip:{next}\"\n");
        Front::start_as(&text, setup)
    };
    setups.into_iter().enumerate().map(one).collect()
}

/// Calls that go round get 482, each after few messages.
fn end_of_loops(count: usize, pool: &str, most: u64) {
    let ring = ring(count, pool);
    let calls = 50;
    let begin = Instant::now();
    let outcome = Callers::new(ring[0].pointsman.address()).call(0..calls);
    println!("{count} with {pool:?}: {:?} in {:?}", outcome.statuses, begin.elapsed());
    assert_eq!(outcome.statuses.get(&482), Some(&calls), "{:?}", outcome.statuses);
    assert!(begin.elapsed() < PROMPT);
    let received = ring[0].pointsman.dispatcher("received");
    assert!(received <= most * calls as u64 + 4 * outcome.again as u64, "{received} messages for {calls} calls");
}

#[test]
fn a_call_that_comes_back_through_another_proxy_is_refused() {
    end_of_loops(2, "mode = \"proxy\"", 6);
}

#[test]
fn a_call_with_state_that_comes_back_through_another_proxy_is_refused() {
    end_of_loops(2, "mode = \"stateful\"", 8);
}

#[test]
fn a_call_that_comes_back_through_many_proxies_which_rewrite_it_is_refused() {
    end_of_loops(4, "mode = \"proxy\"\nrewrite-uri = true", 10);
}
