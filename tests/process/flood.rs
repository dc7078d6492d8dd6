//! Floods of forged INVITEs, and honest calls beside them.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use crate::support::flood::{Flood, Honest, memory_cap};
use crate::support::phone::{Dialog, Phone};
use crate::support::pointsman::{Pointsman, Setup};
use crate::support::{own_address, pass_over, proc};

const HONEST: usize = 100;
/// Longer than a deadline elsewhere: the executable is not optimised.
const FLOOD_WITHIN: Duration = Duration::from_secs(60);

/// Runs `beside` while a flood from `addresses` addresses goes on.
fn flooded(pointsman: &Pointsman, addresses: u32, beside: impl FnOnce()) {
    let over = AtomicBool::new(false);
    // Also when what runs beside fails.
    struct End<'a>(&'a AtomicBool);
    impl Drop for End<'_> {
        fn drop(&mut self) {
            self.0.store(true, Ordering::Relaxed);
        }
    }
    thread::scope(|scope| {
        scope.spawn(|| Flood::new(pointsman.address(), addresses).run(pointsman, &over));
        let _end = End(&over);
        beside();
    });
}

fn wait_for_received(pointsman: &Pointsman, messages: u64) {
    pointsman.wait_until_within("the flood to be read", FLOOD_WITHIN, |load| {
        load["dispatcher"]["received"].as_u64().is_some_and(|received| received >= messages)
    });
}

fn reasons(pointsman: &Pointsman, total: &str, reason: &str) -> u64 {
    let counters = pointsman.stats("counters");
    counters[total]["reasons"][reason].as_u64().unwrap_or_default()
}

#[test]
fn in_a_flood_of_forged_sources_the_calls_that_wait_are_cancelled_and_memory_stays_within_its_caps() {
    let pointsman =
        Setup::new(4).with(["--capacity", "1000000", "--table-cap", "65536", "--retention", "4MiB"]).start();
    let mut honest = Honest::new(own_address().into(), pointsman.address());
    honest.ring(HONEST);
    flooded(&pointsman, 1 << 21, || {
        wait_for_received(&pointsman, 60_000);
        assert!(reasons(&pointsman, "replied", "full") > 0, "no pressure yet");
        honest.cancel();
        wait_for_received(&pointsman, 200_000);
    });
    let cap = memory_cap(65_536, 4, 4 << 20);
    assert!(proc::resident(pointsman.pid()) <= cap, "{} of {cap} bytes", proc::resident(pointsman.pid()));
    assert!(pointsman.dispatcher("table_entries") <= 65_536);
    // A busy host may have made callers send a CANCEL twice; each CANCEL found its worker.
    assert!(reasons(&pointsman, "relayed", "cancel") >= HONEST as u64);
    assert_eq!(reasons(&pointsman, "replied", "unknown-cancel"), 0);
}

#[test]
fn a_flood_from_a_few_sources_leaves_room_for_the_calls_of_others() {
    let pointsman = Setup::new(4).with(["--capacity", "1000000", "--retention", "1MiB"]).start();
    flooded(&pointsman, 8, || {
        pointsman.wait_until_within("the flood to be over its share", FLOOD_WITHIN, |_| {
            reasons(&pointsman, "replied", "over-share") > 1_000
        });
        let mut honest = Honest::new(own_address().into(), pointsman.address());
        honest.ring(HONEST);
        honest.cancel();
    });
    assert_eq!(pointsman.stats("counters")["table"]["unrecorded"], 0);
}

#[test]
fn four_datagrams_that_state_a_thousand_units_each_leave_half_of_every_worker_to_others() {
    let stranger = pointsman::net::host::own_address(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
    if stranger.is_loopback() {
        return pass_over("this host has no address but loopback, and who is there is no stranger");
    }
    let pointsman = Setup::new(4).with(["--policy", "least-load", "--slow-start", "0s"]).start();
    let (stranger, target) = (Phone::new(stranger), pointsman.address());
    let mut bytes = 0;
    let mut answered = Vec::new();
    for _ in 0..4 {
        let invite = stranger.invite(target, None).with("X-Session-Size", "1000");
        bytes += invite.text().len();
        stranger.send(&invite, target);
        let answer = stranger.final_response(&invite);
        assert_eq!(answer.status(), 200, "{}", answer.text);
        answered.push((invite, answer));
    }
    let units = |load: &serde_json::Value| -> Vec<u64> {
        let workers = load["workers"].as_array().map(Vec::as_slice).unwrap_or_default();
        workers.iter().map(|it| it["units_used"].as_u64().unwrap_or(0) + it["ledger"].as_u64().unwrap_or(0)).collect()
    };
    // Each stranger's call counts one unit for certain, and claimed units fill half of the worker at most.
    pointsman.wait_until("each worker to report a stranger's call", |load| units(load) == [501; 4]);
    println!("{bytes} bytes in 4 datagrams hold {:?} of 4 x 1000 units", units(&pointsman.load()));
    let honest = Phone::new(target.ip());
    for _ in 0..4 {
        let invite = honest.invite(target, None).with("X-Session-Size", "400");
        honest.call(&invite, target);
    }
    pointsman.wait_until("them to have the other half", |load| units(load) == [901; 4]);
    // Acknowledged, a stranger's call counts as it says.
    let (invite, answer) = answered.swap_remove(0);
    let dialog = Dialog::new(&invite, answer);
    stranger.send(&dialog.ack(), dialog.target);
    pointsman.wait_until("it to count whole", |load| units(load).contains(&1_400));
}
