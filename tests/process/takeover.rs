//! One dispatcher takes over from another: no caller notices, and whatever goes wrong, one serves.

mod refused;

use std::fs;
use std::net::SocketAddr;
use std::time::Duration;

use pointsman::words::{Hello, Port};
use rustix::net::{RecvFlags, SendFlags, recv, send};
use serde_json::Value;

use crate::generator::{Generator, Pace, Plan, Until};
use crate::strangers::{hello, knock};
use crate::support::phone::{Dialog, Phone, Request};
use crate::support::pointsman::{Pointsman, Setup};
use crate::support::{DEADLINE, PROMPT, own_address, pass_over, wait_for};

/// The pauses in which no process read, one for each takeover, in microseconds, by the log.
fn pauses(pointsman: &Pointsman) -> Vec<u64> {
    let log = pointsman.log();
    let after = |line: &str| line.split("nothing was read for ").nth(1)?.split(' ').next()?.parse().ok();
    log.lines().filter_map(after).collect()
}

fn call(pointsman: &Pointsman, phone: &Phone) -> Dialog {
    phone.call(&phone.invite(pointsman.address(), None), pointsman.address())
}

fn hang_up(phone: &Phone, dialog: &Dialog) {
    assert_eq!(phone.transact(&dialog.request("BYE", 1), dialog.target).status(), 200);
}

/// An INVITE that rings for a minute, and the port of the worker where it does.
fn ringing(pointsman: &Pointsman, phone: &Phone) -> (Request, SocketAddr) {
    let mut invite = phone.invite(pointsman.address(), None);
    invite.uri.push_str(";ring=60000");
    phone.send(&invite, pointsman.address());
    let rings = phone.expect("ringing", |reply| reply.answers(&invite) && reply.status() == 180);
    (invite, rings.contact_address())
}

fn states(load: &Value) -> Vec<&str> {
    load["workers"].as_array().unwrap().iter().filter_map(|worker| worker["state"].as_str()).collect()
}

/// Takeovers while so many calls a second come in, one for each fifth of a second's that were answered.
fn take_over_under_load(setup: Setup, rate: u64, times: usize, begin_after: Duration) {
    let mut pointsman = setup.start();
    let plan = Plan {
        pace: Pace::Rate(rate as f64),
        at_most: 2_000,
        until: Until::Stopped,
        hold: Some(Duration::from_millis(300)),
        // A lost answer is asked for again, and shows. One that a busy machine sends late is not lost.
        t1: PROMPT,
        ..Plan::new(pointsman.address())
    };
    let workers = pointsman.worker_pids();
    let mut generator = Generator::new(plan).unwrap();
    let progress = generator.progress();
    let load = std::thread::spawn(move || generator.run().clone());
    std::thread::sleep(begin_after);
    for _ in 0..times {
        let before = progress.answered();
        wait_for("more answers", DEADLINE, || (progress.answered() >= before + rate / 5).then_some(()));
        pointsman.take_over();
    }
    progress.stop();
    let outcome = load.join().unwrap();
    let all_of_them = || Some(pauses(&pointsman)).filter(|pauses| pauses.len() >= times);
    let pauses = wait_for("the line of each takeover", DEADLINE, all_of_them);
    let (p50, p99) = (outcome.latency.value_at_quantile(0.5), outcome.latency.value_at_quantile(0.99));
    println!("{} calls, INVITE to 2xx p50 {p50} µs, p99 {p99} µs; pauses in µs: {pauses:?}", outcome.started);
    assert_eq!(pauses.len(), times);
    assert!(outcome.failures.is_empty(), "{:?}", outcome.failures);
    assert_eq!((outcome.answered, outcome.completed), (outcome.started, outcome.started));
    assert_eq!((outcome.second_answers, outcome.strangers), (0, 0));
    assert_eq!((outcome.invites_again, outcome.byes_again), (0, 0));
    assert_eq!(pointsman.worker_pids(), workers);
    // No call was lost, and each was counted once, by one dispatcher or the other.
    let load = pointsman.load();
    assert_eq!(load["dispatcher"]["received"], outcome.invites_sent, "{load}");
    assert_eq!(load["dispatcher"]["dropped"], 0, "{load}");
    let of_all = |field: &str| -> u64 {
        load["workers"].as_array().unwrap().iter().filter_map(|worker| worker[field].as_u64()).sum()
    };
    // A worker that reads a message late on a busy machine refuses it, and the message is handed over once more.
    let handoffs = of_all("handoffs") - of_all("refused");
    assert_eq!(handoffs, load["dispatcher"]["handed_over"].as_u64().unwrap(), "{load}");
    assert_eq!(handoffs + load["dispatcher"]["relayed"].as_u64().unwrap(), outcome.invites_sent, "{load}");
    pointsman.wait_until("the load to be nothing again", |load| {
        let workers = load["workers"].as_array().map(Vec::as_slice).unwrap_or_default();
        workers.iter().all(|worker| worker["units_used"] == 0 && worker["ledger"] == 0 && worker["restarts"] == 0)
    });
}

#[test]
fn twenty_takeovers_under_two_thousand_calls_a_second_lose_and_repeat_nothing() {
    take_over_under_load(Setup::new(4), 2_000, 20, Duration::ZERO);
}

#[test]
#[ignore = "takes 40 s: the table has to fill with what 64·T1 of calls leave in it"]
fn a_full_table_is_taken_over_as_an_empty_one_is() {
    take_over_under_load(Setup::new(4), 2_000, 5, Duration::from_secs(34));
}

#[test]
fn several_lanes_are_taken_over_as_one_is() {
    for lanes in ["2", "4"] {
        let mut setup = Setup::new(4);
        setup.more = vec!["--lanes".to_owned(), lanes.to_owned()];
        take_over_under_load(setup, 500, 5, Duration::ZERO);
    }
}

#[test]
fn a_dispatcher_that_takes_over_has_the_workers_the_calls_and_the_counts() {
    let mut pointsman = Setup::new(2).start();
    let phone = Phone::new(pointsman.address().ip());
    let target = pointsman.address();
    let standing = call(&pointsman, &phone);
    let slot = pointsman.slot_of(standing.target);
    pointsman.wait_until("the call to be reported", |load| {
        load["workers"][slot]["sessions"] == 1 && load["workers"][slot]["ledger"] == 0
    });
    let (pid, workers, before) = (pointsman.pid(), pointsman.worker_pids(), pointsman.load());
    pointsman.take_over();
    assert_ne!(pointsman.pid(), pid);
    assert_eq!(pointsman.dispatcher("pid"), u64::from(pointsman.pid()));
    assert_eq!(pointsman.worker_pids(), workers);
    let after = pointsman.load();
    for count in ["received", "handed_over", "table_entries"] {
        assert_eq!(after["dispatcher"][count], before["dispatcher"][count], "{count} in {after}");
    }
    for field in ["sessions", "handoffs", "units_used", "units_total", "admin", "state"] {
        for at in 0..2 {
            assert_eq!(after["workers"][at][field], before["workers"][at][field], "{field} in {after}");
        }
    }
    assert!(after["dispatcher"]["uptime_s"].as_f64() >= before["dispatcher"]["uptime_s"].as_f64());
    assert_eq!(fs::read_to_string(pointsman.run_dir().join("lock")).unwrap(), format!("{}\n", pointsman.pid()));
    // Through the well-known port: the token is still good.
    assert_eq!(phone.transact(&standing.request("BYE", 1), target).status(), 200);
    hang_up(&phone, &call(&pointsman, &phone));
    let dir = pointsman.run_dir().to_owned();
    assert!(pointsman.stop().success());
    assert!(!dir.join("handoff.sock").exists() && !dir.join("stats.sock").exists(), "the last one clears up");
}

#[test]
fn cancels_and_retransmissions_reach_the_worker_that_had_the_call_before() {
    let mut pointsman = Setup::new(4).with(["--policy", "round-robin"]).start();
    let phone = Phone::new(pointsman.address().ip());
    let target = pointsman.address();
    let calls: Vec<_> = (0..4).map(|_| ringing(&pointsman, &phone)).collect();
    pointsman.take_over();
    for (invite, worker) in &calls {
        phone.send(invite, target);
        let rings = phone.expect("ringing again", |reply| reply.answers(invite) && reply.status() == 180);
        assert_eq!(rings.contact_address(), *worker);
        let cancel = invite.cancel();
        phone.send(&cancel, target);
        let ended = phone.expect("487", |reply| reply.answers(invite) && reply.status() >= 200);
        assert_eq!(ended.status(), 487);
        phone.send(&invite.ack(&ended), target);
    }
    pointsman.wait_until("no session to be left", |load| (0..4).all(|at| load["workers"][at]["sessions"] == 0));
}

#[test]
fn messages_that_a_worker_had_not_answered_are_kept_over_the_takeover_for_the_next_one() {
    let mut pointsman = Setup::new(2).with(["--policy", "round-robin"]).start();
    let phone = Phone::new(pointsman.address().ip());
    let (invite, worker) = ringing(&pointsman, &phone);
    pointsman.take_over();
    let slot = pointsman.slot_of(worker);
    let killed = pointsman.kill_worker(slot);
    let elsewhere = phone.expect("ringing elsewhere", |reply| {
        reply.answers(&invite) && reply.status() == 180 && reply.contact_address() != worker
    });
    assert_eq!(pointsman.slot_of(elsewhere.contact_address()), 1 - slot);
    // The worker's process was started by a dispatcher that is gone; its end is noticed all the same.
    pointsman.wait_until("a successor", |load| {
        let worker = &load["workers"][slot];
        worker["state"] == "up" && worker["pid"] != killed && worker["restarts"] == 1
    });
}

#[test]
fn the_next_leg_of_a_conference_meets_its_worker_and_a_drained_one_stays_drained() {
    let mut pointsman = Setup::new(3).with(["--policy", "round-robin"]).start();
    let phone = Phone::new(pointsman.address().ip());
    let target = pointsman.address();
    let leg = || {
        let mut leg = phone.invite(target, None);
        leg.uri = format!("sip:conf=all@{target}");
        phone.call(&leg, target).target
    };
    let first = leg();
    let drained = (pointsman.slot_of(first) + 1) % 3;
    assert!(pointsman.command(&["drain", &format!("w{drained}")]).status.success());
    pointsman.take_over();
    assert_eq!(leg(), first);
    assert_eq!(pointsman.worker(drained)["admin"], "drain");
    let never = pointsman.worker_address(drained);
    assert!((0..4).all(|_| call(&pointsman, &phone).target != never));
}

#[test]
fn the_new_dispatcher_has_its_own_number_of_workers() {
    let mut pointsman = Setup::new(2).start();
    let phone = Phone::new(pointsman.address().ip());
    let workers = pointsman.worker_pids();
    pointsman.take_over_as(Setup { workers: 4, ..pointsman.setup() });
    pointsman.wait_until("four workers", |load| states(load) == ["up"; 4]);
    assert_eq!(pointsman.worker_pids()[..2], workers);
    let standing: Vec<_> = (0..8).map(|_| call(&pointsman, &phone)).collect();
    pointsman.take_over_as(Setup { workers: 1, ..pointsman.setup() });
    pointsman.wait_until("three workers to drain", |load| (1..4).all(|at| load["workers"][at]["admin"] == "drain"));
    standing.iter().for_each(|dialog| hang_up(&phone, dialog));
    pointsman.wait_until("one worker", |load| states(load) == ["up"]);
    assert_eq!(pointsman.worker_pids(), workers[..1]);
}

#[test]
fn an_unmanaged_worker_keeps_its_link() {
    let mut pointsman = Setup::new(1).start();
    if pointsman.has_lanes() {
        return pass_over("this worker serves a single link");
    }
    let address = (own_address(), 6060).into();
    let link = knock(pointsman.run_dir());
    let ports = vec![Port { service: "sip".into(), address }];
    send(&link, &hello(Hello { ports, ..Hello::default() }), SendFlags::NOSIGNAL).unwrap();
    pointsman.wait_until("the other to be there", |load| states(load) == ["up", "up"]);
    pointsman.take_over();
    assert_eq!(pointsman.worker(1)["pid"], std::process::id());
    let mut buffer = vec![0; 80_000];
    while recv(&link, &mut buffer[..], RecvFlags::DONTWAIT).is_ok_and(|(length, _)| length > 0) {}
    assert!(pointsman.command(&["drain", "w1"]).status.success());
    // It says so on the link that the other dispatcher had made.
    wait_for("the order to drain", DEADLINE, || {
        recv(&link, &mut buffer[..], RecvFlags::DONTWAIT).ok().filter(|(length, _)| *length > 0)
    });
    drop(link);
    pointsman.wait_until("it to be missed", |load| states(load) == ["up", "down"]);
}

#[test]
fn takeover_after_takeover_leaks_nothing() {
    let mut pointsman = Setup::new(2).start();
    let phone = Phone::new(pointsman.address().ip());
    let (standing, workers) = (call(&pointsman, &phone), pointsman.worker_pids());
    let descriptors = |pid: u32| fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count();
    let quiet = |pointsman: &Pointsman| {
        let all = || [pointsman.pid(), workers[0], workers[1]].map(descriptors);
        // A client of the stats socket has one while it is served.
        wait_for("no client to be served", DEADLINE, || {
            let counts = all();
            std::thread::sleep(Duration::from_millis(20));
            (counts == all()).then_some(counts)
        })
    };
    pointsman.take_over();
    let before = quiet(&pointsman);
    for _ in 0..4 {
        pointsman.take_over();
    }
    pointsman.wait_until_up();
    assert_eq!(quiet(&pointsman), before);
    hang_up(&phone, &standing);
}

#[test]
fn a_takeover_in_the_background_serves_when_its_command_returns_or_says_why_it_cannot() {
    let mut pointsman = Setup::new(1).start();
    let (first, workers) = (pointsman.pid(), pointsman.worker_pids());
    let detached = |setup: Setup| pointsman.begin_takeover(&setup.with(["--detach"])).wait().unwrap();
    let other = Setup { port: 5099, ..pointsman.setup() };
    assert_eq!(detached(other).code(), Some(2));
    pointsman.wait_for_log("pointsman: no takeover: listen cannot change");
    assert_eq!(pointsman.dispatcher("pid"), u64::from(first));
    assert!(detached(pointsman.setup()).success());
    let second = pointsman.load()["dispatcher"]["pid"].as_u64().unwrap();
    assert_ne!(second, u64::from(first));
    assert_eq!(fs::read_to_string(format!("/proc/{second}/comm")).unwrap().trim_end(), "pointsman");
    // A shell that reads the command's output, as in `$(…)`, waits for its end.
    for descriptor in 0..2 {
        let stands_for = fs::read_link(format!("/proc/{second}/fd/{descriptor}")).unwrap();
        assert_eq!(stands_for.to_str(), Some("/dev/null"), "descriptor {descriptor}");
    }
    // Back to a child of ours.
    pointsman.take_over();
    pointsman.wait_until("the third to serve", |load| load["dispatcher"]["pid"] == pointsman.pid());
    assert_eq!(pointsman.worker_pids(), workers);
}

#[test]
fn a_crash_after_a_takeover_is_like_any_other() {
    let mut pointsman = Setup::new(2).start();
    let phone = Phone::new(pointsman.address().ip());
    let standing: Vec<_> = (0..4).map(|_| call(&pointsman, &phone)).collect();
    let workers = pointsman.worker_pids();
    pointsman.take_over();
    pointsman.crash();
    pointsman.start_again();
    pointsman.wait_until_up();
    assert_eq!(pointsman.worker_pids(), workers);
    pointsman.take_over();
    standing.iter().for_each(|dialog| hang_up(&phone, dialog));
}
