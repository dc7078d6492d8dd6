//! Proxied calls on two lanes: a request may come to one of them and its response to the other.

use super::callers::{Callers, Outcome};
use super::servers::{Manner, Servers};
use super::{Front, settings};
use crate::support::pointsman::Setup;

/// Callers, each with a socket of its own, which the kernel gives to one of the lanes.
const CALLERS: usize = 8;
/// Calls of each.
const CALLS: usize = 250;

fn front(mode: &str, servers: &Servers) -> Front {
    Front::start_as(&settings(&format!("mode = \"{mode}\""), servers, |_| String::new()), Setup::new(0).lanes(2))
}

fn callers(front: &Front) -> Vec<Callers> {
    (0..CALLERS).map(|_| Callers::new(front.pointsman.address())).collect()
}

/// Has all callers do something at the same time.
fn together(callers: &[Callers], act: impl Fn(&Callers) -> Outcome + Sync) -> Vec<Outcome> {
    std::thread::scope(|scope| {
        let all: Vec<_> = callers.iter().map(|callers| scope.spawn(|| act(callers))).collect();
        all.into_iter().map(|one| one.join().unwrap()).collect()
    })
}

#[track_caller]
fn assert_all(outcomes: &[Outcome], status: u16) {
    for outcome in outcomes {
        assert_eq!(outcome.statuses.get(&status), Some(&CALLS), "{:?}", outcome.statuses);
        assert_eq!(outcome.failed_cancels, 0);
    }
}

/// Every message that came was counted once, and nothing waits any more.
#[track_caller]
fn assert_counts_add_up(front: &Front, calls: u64) {
    let ways = ["handed_over", "forwarded", "responses", "relayed", "replied", "dropped"];
    // A message on its way from one lane to the other is counted by the other.
    front.pointsman.wait_until("the counts to add up", |load| {
        let of = |field: &str| load["dispatcher"][field].as_u64().unwrap_or_else(|| panic!("{field}: {load}"));
        of("received") == ways.iter().map(|field| of(field)).sum::<u64>()
    });
    let load = front.pointsman.load();
    println!("{:?}", ways.map(|field| (field, &load["dispatcher"][field])));
    let rows = front.rows();
    let sum = |field: &str| rows.iter().filter_map(|row| row[field].as_u64()).sum::<u64>();
    assert_eq!((sum("calls"), sum("outstanding"), sum("failed")), (calls, 0, 0), "{rows:#?}");
    assert_eq!(front.pointsman.stats("proxies")["pools"][0]["calls"], calls);
}

fn calls_on_two_lanes(mode: &str) {
    let servers = Servers::start(3);
    let front = front(mode, &servers);
    let callers = callers(&front);
    let outcomes = together(&callers, |callers| callers.call(0..CALLS));
    assert_all(&outcomes, 200);
    let all = CALLERS * CALLS;
    assert_eq!((0..3).map(|server| servers.calls(server)).sum::<usize>(), all);
    assert_counts_add_up(&front, all as u64);
}

#[test]
fn no_proxied_call_fails_on_two_lanes_and_all_messages_are_counted_once() {
    calls_on_two_lanes("proxy");
}

#[test]
fn no_proxied_call_with_state_fails_on_two_lanes_and_all_messages_are_counted_once() {
    calls_on_two_lanes("stateful");
}

fn cancelled_on_two_lanes(mode: &str) {
    let servers = Servers::with(3, &Manner { status: 180, ..Manner::default() });
    let front = front(mode, &servers);
    let callers = callers(&front);
    assert_all(&together(&callers, |callers| callers.ring(0..CALLS)), 180);
    assert_all(&together(&callers, |callers| callers.cancel(0..CALLS)), 487);
    let all = CALLERS * CALLS;
    assert_eq!((0..3).map(|server| servers.calls(server)).sum::<usize>(), all);
    for server in 0..3 {
        servers.seen(server, |seen| assert_eq!(seen.cancels.len(), seen.invites.len()));
    }
    assert_counts_add_up(&front, all as u64);
}

#[test]
fn proxied_calls_are_cancelled_at_their_servers_on_two_lanes() {
    cancelled_on_two_lanes("proxy");
}

#[test]
fn proxied_calls_with_state_are_cancelled_at_their_servers_on_two_lanes() {
    cancelled_on_two_lanes("stateful");
}

/// Changes of a proxy's state in the log.
fn logged_states(front: &Front) -> Vec<String> {
    let log = front.pointsman.log();
    let of = |line: &str| {
        line.split_once("a downstream proxy is ").map(|(_, rest)| rest.split(' ').next().unwrap().to_owned())
    };
    log.lines().filter_map(of).collect()
}

#[test]
fn a_change_of_state_that_both_lanes_see_at_their_own_requests_is_logged_once() {
    let servers = Servers::with(1, &Manner { status: 500, ..Manner::default() });
    let lines = |_| "probe = \"none\"".to_owned();
    let front = Front::start_as(&settings("mode = \"proxy\"", &servers, lines), Setup::new(0).lanes(2));
    let callers = Callers::new(front.pointsman.address());
    callers.call(0..60);
    servers.change(0, |manner| manner.status = 200);
    let mut calls = 60;
    front.wait_until("s0", "to be up in both lanes", |row| {
        callers.call(calls..calls + 10);
        calls += 10;
        row["state"] == "up"
    });
    front.pointsman.wait_for_log("a downstream proxy is up");
    let states = logged_states(&front);
    println!("{states:?}");
    assert_eq!((states.first().map(String::as_str), states.last().map(String::as_str)), (Some("down"), Some("up")));
    assert!(states.windows(2).all(|pair| pair[0] != pair[1]), "{states:?}");
}
