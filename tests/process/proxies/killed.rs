//! Servers that die, refuse or ask to be left alone while calls come in.

use std::time::{Duration, Instant};

use super::callers::Callers;
use super::servers::{Manner, Servers};
use super::{Front, settings};
use crate::support::PROMPT;

/// Calls a second.
const RATE: f64 = 1_000.0;

#[test]
fn no_call_with_state_is_lost_when_a_server_is_killed_and_it_comes_back_with_slow_start() {
    let servers = Servers::start(3);
    let lines = |_| "handicap = 1000\nprobe-interval = \"500ms\"".to_owned();
    let front = Front::start(&format!("slow-start = \"5s\"\n{}", settings("mode = \"stateful\"", &servers, lines)));
    let callers = Callers::at_rate(front.pointsman.address(), RATE);
    let calls = 4_000;
    let outcome = std::thread::scope(|scope| {
        let outcome = scope.spawn(|| callers.call(0..calls));
        while callers.done() < calls / 4 {
            std::thread::yield_now();
        }
        servers.close(0);
        let closed = Instant::now();
        let down = front.wait_for_state("s0", "down");
        println!("down after {:?}: {}", closed.elapsed(), down["why"]);
        assert!(closed.elapsed() < PROMPT);
        assert_eq!(down["weight"], 0);
        // Those that wait for it move to others meanwhile.
        while callers.done() < calls / 2 {
            std::thread::yield_now();
        }
        servers.open(0);
        let up = front.wait_for_state("s0", "up");
        println!("up again: {up}");
        let weight = up["weight"].as_u64().unwrap();
        assert!((1..800).contains(&weight), "it has its full share at once: {up}");
        outcome.join().unwrap()
    });
    println!("messages sent again: {}; {}", outcome.again, front.row("s0"));
    assert_eq!(outcome.statuses.get(&200), Some(&calls), "{:?}", outcome.statuses);
    let before = servers.calls(0);
    front.wait_until("s0", "to have a share again", |row| row["weight"].as_u64() > Some(100));
    Callers::new(front.pointsman.address()).call(calls..calls + 300);
    assert!(servers.calls(0) > before);
}

#[test]
fn no_call_with_state_is_lost_when_a_server_says_nothing_any_more() {
    let servers = Servers::start(3);
    let front = Front::start(&settings("mode = \"stateful\"", &servers, |_| String::new()));
    let callers = Callers::at_rate(front.pointsman.address(), RATE);
    let calls = 4_000;
    let outcome = std::thread::scope(|scope| {
        let outcome = scope.spawn(|| callers.call(0..calls));
        while callers.done() < calls / 4 {
            std::thread::yield_now();
        }
        servers.change(2, |manner| (manner.status, manner.probe_status) = (0, 0));
        let silent = Instant::now();
        let down = front.wait_for_state("s2", "down");
        println!("down after {:?}: {}", silent.elapsed(), down["why"]);
        assert!(silent.elapsed() < PROMPT);
        outcome.join().unwrap()
    });
    assert_eq!(outcome.statuses.get(&200), Some(&calls), "{:?}", outcome.statuses);
    println!("messages sent again: {}; {}", outcome.again, front.row("s2"));
    assert!(front.row("s2")["moved"].as_u64() > Some(0));
}

/// Calls that a server gets which refuses each at once, beside two that answer them.
fn refuses_at_once(mode: &str) -> usize {
    let servers = Servers::start(3);
    servers.change(1, |manner| manner.status = 503);
    let front = Front::start(&settings(&format!("mode = \"{mode}\""), &servers, |_| String::new()));
    let calls = 3_000;
    let outcome = Callers::at_rate(front.pointsman.address(), RATE).call(0..calls);
    let had = servers.calls(1);
    println!("{mode}: {had} of {calls}, answers {:?}", outcome.statuses);
    // A caller gets the refusal where no other server is tried.
    let refused = if mode == "proxy" { had } else { 0 };
    assert_eq!(outcome.statuses.get(&200), Some(&(calls - refused)), "{:?}", outcome.statuses);
    had
}

#[test]
fn a_server_that_refuses_at_once_gets_few_calls() {
    assert!((1..=20).contains(&refuses_at_once("proxy")));
}

#[test]
fn a_server_that_refuses_at_once_gets_few_calls_with_state_and_none_is_lost() {
    assert!((1..=20).contains(&refuses_at_once("stateful")));
}

/// The time that a server asks for.
const REST: Duration = Duration::from_secs(3);

/// Calls in turn, until one is refused with a Retry-After: the server gets nothing until then.
#[test]
fn a_server_that_refuses_a_call_with_retry_after_is_left_alone_until_then() {
    let servers = Servers::start(2);
    let seconds = REST.as_secs();
    servers.change(0, |manner| (manner.status, manner.headers) = (503, format!("Retry-After: {seconds}\r\n")));
    let pool = "mode = \"stateful\"\npolicy = \"round-robin\"";
    let front = Front::start(&settings(pool, &servers, |_| "probe-interval = \"100ms\"".to_owned()));
    let callers = Callers::new(front.pointsman.address());
    let outcome = callers.call(0..2);
    // The clock of the rest begins with the refusal, so not after this.
    let begin = Instant::now();
    assert_eq!((outcome.statuses.get(&200), servers.calls(0)), (Some(&2), 1));
    servers.change(0, |manner| *manner = Manner::default());
    let mut call = 2;
    let alone = loop {
        let had = servers.calls(0);
        callers.call(call..call + 1);
        call += 1;
        if servers.calls(0) > had {
            break begin.elapsed();
        }
        // Answered probes do not shorten it.
        let row = front.row("s0");
        assert!(row["state"] == "up" && (row["word"] == "full" || begin.elapsed() >= REST - REST / 10), "{row}");
        std::thread::sleep(Duration::from_millis(10));
    };
    println!("left alone for {alone:?}, {call} calls");
    assert!(alone >= REST - REST / 10 && alone < REST + PROMPT, "{alone:?}");
}
