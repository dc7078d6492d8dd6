//! Servers that know only the well-known address and port: their probes leave from there.

use std::cell::Cell;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};

use super::callers::Callers;
use super::servers::{Manner, Servers, answer};
use super::{Front, settings};
use crate::support::own_address;
use crate::support::pointsman::Setup;

const CALLS: usize = 300;
/// Answered probes after which it is no chance that they were answered.
const MANY: u64 = 10;

/// Servers that take messages from this address alone.
fn guarded(servers: usize, from: SocketAddr, manner: &Manner) -> Servers {
    Servers::with(servers, &Manner { only_from: Some(from), ..manner.clone() })
}

/// Settings whose probes leave from there.
fn probed_from(from: &str, servers: &Servers, more: &str) -> String {
    settings("", servers, |_| format!("probe-interval = \"200ms\"\nprobe-from = \"{from}\"\n{more}"))
}

fn total(front: &Front, of: &str, reason: &str) -> u64 {
    front.pointsman.stats("counters")[of]["reasons"][reason].as_u64().unwrap_or_default()
}

#[track_caller]
fn assert_counts_add_up(front: &Front) {
    let ways = ["handed_over", "forwarded", "responses", "relayed", "replied", "dropped"];
    front.pointsman.wait_until("the counts to add up", |load| {
        let of = |field: &str| load["dispatcher"][field].as_u64().unwrap_or_else(|| panic!("{field}: {load}"));
        of("received") == ways.iter().map(|field| of(field)).sum::<u64>()
    });
}

/// Waits until a server has answered this many probes more.
fn wait_for_probes(front: &Front, name: &str, more: u64) {
    let good = |row: &serde_json::Value| row["probes"].as_u64().unwrap() - row["probes_lost"].as_u64().unwrap();
    let before = good(&front.row(name));
    let row = front.wait_until(name, "to answer probes", |row| good(row) >= before + more);
    assert_eq!(row["state"], "up", "{row}");
}

fn known_by_the_well_known_port(setup: Setup, from: SocketAddr, lines: &str) {
    let servers = guarded(2, from, &Manner::default());
    let front = Front::start_as(&probed_from("listener", &servers, lines), setup);
    for name in ["s0", "s1"] {
        wait_for_probes(&front, name, MANY);
    }
    let port = front.pointsman.address().port();
    let outcome = Callers::new(SocketAddr::new(from.ip(), port)).call(0..CALLS);
    assert_eq!(outcome.statuses.get(&200), Some(&CALLS), "{:?}", outcome.statuses);
    assert!(total(&front, "responses", "probe-answer") >= 2 * MANY);
    assert_eq!(total(&front, "dropped", "unknown-response"), 0);
    assert_counts_add_up(&front);
    assert_eq!(servers.calls(0) + servers.calls(1), CALLS);
}

#[test]
fn servers_that_know_only_the_well_known_port_are_up_and_take_calls() {
    let setup = Setup::new(0).lanes(1);
    let from = SocketAddr::new(setup.ip, setup.port);
    known_by_the_well_known_port(setup, from, "");
}

#[test]
fn servers_that_know_only_the_well_known_port_are_up_and_take_calls_on_two_lanes() {
    let setup = Setup::new(0).lanes(2);
    let from = SocketAddr::new(setup.ip, setup.port);
    known_by_the_well_known_port(setup, from, "probe = \"options-0\"");
}

#[test]
fn servers_that_know_only_the_port_of_a_wildcard_listener_are_up_and_take_calls() {
    let port = UdpSocket::bind("0.0.0.0:0").unwrap().local_addr().unwrap().port();
    let setup = Setup { ip: Ipv4Addr::UNSPECIFIED.into(), port, ..Setup::new(0) };
    // The route to a loopback address begins there.
    known_by_the_well_known_port(setup, SocketAddr::from(([127, 0, 0, 1], port)), "");
}

#[test]
fn an_invite_that_probes_is_acknowledged_from_the_well_known_port() {
    let setup = Setup::new(0);
    let servers = guarded(1, SocketAddr::new(setup.ip, setup.port), &Manner::default());
    let front = Front::start_as(&probed_from("listener", &servers, "probe = \"invite\""), setup);
    wait_for_probes(&front, "s0", MANY);
    let (invites, acks) = servers.seen(0, |seen| (seen.probes["INVITE"] as usize, seen.acks.len()));
    // The last one may be on its way.
    assert!(acks + 1 >= invites && invites as u64 >= MANY, "{invites} INVITEs, {acks} ACKs");
}

#[test]
fn a_reload_changes_the_port_that_probes_leave_from() {
    let setup = Setup::new(0);
    let servers = guarded(1, SocketAddr::new(setup.ip, setup.port), &Manner::default());
    let front = Front::start_as(&probed_from("own", &servers, ""), setup);
    front.wait_for_state("s0", "down");
    for _ in 0..2 {
        front.reload(&probed_from("listener", &servers, ""));
        front.wait_for_state("s0", "up");
        wait_for_probes(&front, "s0", MANY);
        front.reload(&probed_from("own", &servers, ""));
        front.wait_for_state("s0", "down");
    }
    assert_counts_add_up(&front);
}

#[test]
fn a_dispatcher_that_takes_over_probes_from_the_same_port() {
    let setup = Setup::new(0).lanes(2);
    let servers = guarded(1, SocketAddr::new(setup.ip, setup.port), &Manner::default());
    let mut front = Front::start_as(&probed_from("listener", &servers, ""), setup);
    wait_for_probes(&front, "s0", MANY);
    for _ in 0..2 {
        front.pointsman.take_over();
        front.pointsman.wait_until_up();
        wait_for_probes(&front, "s0", MANY);
    }
    assert_counts_add_up(&front);
}

/// A server that says nothing, and a stranger that has seen its probes and answers each for it.
#[test]
fn answers_to_probes_that_come_from_another_address_change_nothing() {
    let servers = Servers::start(1);
    let front = Front::start(&probed_from("listener", &servers, "fall = 3"));
    wait_for_probes(&front, "s0", MANY);
    servers.change(0, |manner| manner.probe_status = 0);
    let stranger = UdpSocket::bind((own_address(), 0)).unwrap();
    let (address, forged) = (servers.address(0), Cell::new(0));
    let lost = front.row("s0")["probes_lost"].as_u64().unwrap();
    let row = front.wait_until("s0", "to be down", |row| {
        let probe = servers.seen(0, |seen| seen.probe.clone()).unwrap();
        let text = answer(&probe, 200, "", address);
        stranger.send_to(text.as_bytes(), front.pointsman.address()).unwrap();
        forged.set(forged.get() + 1);
        row["state"] == "down"
    });
    assert!(row["probes_lost"].as_u64() >= Some(lost + 3), "{row}");
    front.pointsman.wait_until("the forged answers to be dropped", |_| {
        total(&front, "dropped", "unknown-response") == forged.get()
    });
    servers.change(0, |manner| manner.probe_status = 200);
    front.wait_for_state("s0", "up");
    assert_counts_add_up(&front);
}
