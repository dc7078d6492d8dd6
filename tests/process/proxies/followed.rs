//! A copy of an INVITE and its CANCEL go to the server that has the INVITE, whatever has changed meanwhile.

use std::time::Instant;

use super::callers::Callers;
use super::servers::{Manner, Servers};
use super::{Front, settings};

/// Calls of each test.
const CALLS: usize = 10_000;
const FEW: usize = 2_000;

fn ringing(count: usize) -> Servers {
    Servers::with(count, &Manner { status: 180, ..Manner::default() })
}

fn by_turns(mode: &str, servers: &Servers) -> String {
    // Servers that ring for long are called on.
    settings(&format!("mode = \"{mode}\"\npolicy = \"weighted\"\nretry-on = []"), servers, |_| String::new())
}

/// Has calls ring whose INVITEs are sent twice, does something in between, sends each INVITE again and cancels it. No
/// server but that of a call has had anything of it.
fn ring_and_cancel(
    (front, servers): (&mut Front, &Servers),
    calls: usize,
    copies: u32,
    between: impl FnOnce(&mut Front),
) {
    let callers = Callers::new(front.pointsman.address());
    let begin = Instant::now();
    let rings = callers.ring(0..calls);
    assert_eq!(rings.statuses.get(&180), Some(&calls), "{:?}", rings.statuses);
    between(front);
    let cancelled = callers.cancel(0..calls);
    let again = (rings.again, cancelled.again);
    println!("{calls} calls in {:?}, messages sent again: {again:?}", begin.elapsed());
    assert_followed(servers, calls, copies);
    assert_eq!(cancelled.statuses.get(&487), Some(&calls), "{:?}", cancelled.statuses);
    assert_eq!(cancelled.failed_cancels, 0);
}

/// Each call had one server, which had this many of its INVITEs at least, and its CANCEL.
fn assert_followed(servers: &Servers, calls: usize, copies: u32) {
    let had: Vec<usize> = (0..servers.count()).map(|server| servers.calls(server)).collect();
    println!("calls by server: {had:?}");
    assert_eq!(had.iter().sum::<usize>(), calls, "calls with two servers: {had:?}");
    for server in 0..servers.count() {
        servers.seen(server, |seen| {
            for (call, invites) in &seen.invites {
                assert!(*invites >= copies, "{call}: {invites} INVITEs");
                assert!(seen.cancels.contains_key(call), "{call}: no CANCEL");
            }
            assert_eq!(seen.cancels.len(), seen.invites.len(), "CANCELs of calls that were elsewhere");
        });
    }
}

#[test]
fn of_ten_thousand_invites_every_copy_and_cancel_arrives_at_the_server_of_the_invite() {
    let servers = ringing(3);
    let mut front = Front::start(&by_turns("proxy", &servers));
    ring_and_cancel((&mut front, &servers), CALLS, 3, |_| {});
}

#[test]
fn of_invites_with_state_every_cancel_arrives_at_the_server_of_the_invite() {
    let servers = ringing(3);
    let mut front = Front::start(&by_turns("stateful", &servers));
    ring_and_cancel((&mut front, &servers), FEW, 1, |_| {});
}

#[test]
fn copies_and_cancels_arrive_at_the_server_of_the_invite_after_its_weight_has_changed() {
    let servers = ringing(3);
    let mut front = Front::start(&by_turns("proxy", &servers));
    ring_and_cancel((&mut front, &servers), CALLS, 3, |front| {
        for (name, handicap) in [("s0", 1), ("s1", 1000)] {
            let reply = front.pointsman.stats(&format!("handicap {name} {handicap}"));
            assert_eq!(reply["handicap"], handicap, "{reply}");
        }
    });
    assert_eq!(front.row("s0")["handicap"], 1);
}

fn across_a_reload(mode: &str, copies: u32) {
    let servers = ringing(4);
    let mut front = Front::start(&by_turns(mode, &servers));
    let mut others = String::new();
    ring_and_cancel((&mut front, &servers), FEW, copies, |front| {
        let all = settings(&format!("mode = \"{mode}\"\npolicy = \"hash\""), &servers, |_| "handicap = 7".to_owned());
        // The first of them is gone, the others have other weights and places.
        let parts: Vec<&str> = all.split("[[proxy]]").collect();
        others = [parts[0], parts[4], parts[2], parts[3]].join("[[proxy]]");
        front.reload(&others);
    });
    let names: Vec<String> = front.rows().iter().map(|row| row["name"].to_string()).collect();
    assert_eq!(names, ["\"s3\"", "\"s1\"", "\"s2\""]);
    assert!(servers.calls(0) > FEW / 5, "it had calls before it was gone");
}

#[test]
fn copies_and_cancels_arrive_at_the_server_of_the_invite_after_a_reload_without_it() {
    across_a_reload("proxy", 3);
}

#[test]
fn cancels_with_state_arrive_at_the_server_of_the_invite_after_a_reload_without_it() {
    across_a_reload("stateful", 1);
}

/// The dispatcher dies while calls ring, and the next one knows none of them.
fn after_a_death(mode: &str) {
    let servers = ringing(3);
    let mut front = Front::start(&by_turns(mode, &servers));
    let callers = Callers::new(front.pointsman.address());
    let rings = callers.ring(0..FEW);
    assert_eq!(rings.statuses.get(&180), Some(&FEW), "{:?}", rings.statuses);
    front.pointsman.crash();
    front.pointsman.start_again();
    front.pointsman.wait_until("the next dispatcher", |load| load["dispatcher"].is_object());
    let cancelled = callers.cancel_alone(0..FEW);
    assert_eq!(cancelled.statuses.get(&487), Some(&FEW), "{:?}", cancelled.statuses);
    for server in 0..servers.count() {
        servers.seen(server, |seen| {
            assert!(seen.invites.keys().all(|call| seen.cancels.contains_key(call)), "a CANCEL is missing");
        });
    }
}

#[test]
fn cancels_end_calls_that_ring_after_the_death_of_the_dispatcher() {
    after_a_death("proxy");
}

#[test]
fn cancels_end_calls_with_state_that_ring_after_the_death_of_the_dispatcher() {
    after_a_death("stateful");
}

fn across_a_takeover(mode: &str, copies: u32) {
    let servers = ringing(3);
    let mut front = Front::start(&by_turns(mode, &servers));
    let callers = Callers::new(front.pointsman.address());
    let rings = callers.ring(0..FEW);
    assert_eq!(rings.statuses.get(&180), Some(&FEW), "{:?}", rings.statuses);
    let cancelled = std::thread::scope(|scope| {
        let cancelled = scope.spawn(|| callers.cancel(0..FEW));
        while callers.done() < FEW + FEW / 4 {
            std::thread::yield_now();
        }
        front.pointsman.take_over();
        cancelled.join().unwrap()
    });
    println!("messages sent again: {}", cancelled.again);
    assert_followed(&servers, FEW, copies);
    assert_eq!(cancelled.statuses.get(&487), Some(&FEW), "{:?}", cancelled.statuses);
    assert_eq!(cancelled.failed_cancels, 0);
}

#[test]
fn copies_and_cancels_arrive_at_the_server_of_the_invite_across_a_takeover() {
    across_a_takeover("proxy", 3);
}

#[test]
fn cancels_with_state_arrive_at_the_server_of_the_invite_across_a_takeover() {
    across_a_takeover("stateful", 1);
}
