//! One dispatcher takes over from another under load: no caller notices, and whatever goes wrong, one serves.

use std::time::Duration;

use crate::generator::{Generator, Pace, Plan, Until};
use crate::support::phone::Phone;
use crate::support::pointsman::{Pointsman, Setup};
use crate::support::{DEADLINE, wait_for};

/// How long nobody read in each takeover, in microseconds, by the log.
fn pauses(pointsman: &Pointsman) -> Vec<u64> {
    let log = pointsman.log();
    let after = |line: &str| line.split("nothing was read for ").nth(1)?.split(' ').next()?.parse().ok();
    log.lines().filter_map(after).collect()
}

#[test]
fn a_dispatcher_that_takes_over_has_the_workers_the_calls_and_the_counts() {
    let mut pointsman = Setup::new(1).start();
    let phone = Phone::new(pointsman.address().ip());
    let target = pointsman.address();
    let standing = phone.call(&phone.invite(target, None), target);
    let (pid, workers, load) = (pointsman.pid(), pointsman.worker_pids(), pointsman.load());
    pointsman.take_over();
    assert_ne!(pointsman.pid(), pid);
    assert_eq!(pointsman.dispatcher("pid"), u64::from(pointsman.pid()));
    assert_eq!(pointsman.worker_pids(), workers);
    let after = pointsman.load();
    assert_eq!(after["workers"][0]["sessions"], 1, "{after}");
    for count in ["received", "handed_over", "table_entries"] {
        assert_eq!(after["dispatcher"][count], load["dispatcher"][count], "{count} in {after}");
    }
    assert!(after["dispatcher"]["uptime_s"].as_f64() >= load["dispatcher"]["uptime_s"].as_f64());
    assert_eq!(phone.transact(&standing.request("BYE", 1), target).status(), 200);
    let next = phone.call(&phone.invite(target, None), target);
    assert_eq!(phone.transact(&next.request("BYE", 1), next.target).status(), 200);
    println!("{:?}", pauses(&pointsman));
    assert!(pointsman.stop().success());
}

#[test]
fn twenty_takeovers_under_two_thousand_calls_a_second_lose_and_repeat_nothing() {
    let mut pointsman = Setup::new(4).start();
    let plan = Plan {
        pace: Pace::Rate(2_000.0),
        until: Until::Stopped,
        hold: Some(Duration::from_millis(300)),
        ..Plan::new(pointsman.address())
    };
    let workers = pointsman.worker_pids();
    let mut generator = Generator::new(plan).unwrap();
    let progress = generator.progress();
    let load = std::thread::spawn(move || generator.run().clone());
    for _ in 0..20 {
        let before = progress.answered();
        wait_for("400 answered calls", DEADLINE, || (progress.answered() >= before + 400).then_some(()));
        pointsman.take_over();
    }
    progress.stop();
    let outcome = load.join().unwrap();
    let pauses = pauses(&pointsman);
    println!("{} calls, pauses in µs: {pauses:?}", outcome.started);
    println!(
        "INVITE to 2xx: p50 {} p99 {} max {} µs",
        outcome.latency.value_at_quantile(0.5),
        outcome.latency.value_at_quantile(0.99),
        outcome.latency.max()
    );
    assert_eq!(pauses.len(), 20);
    assert!(outcome.failures.is_empty(), "{:?}", outcome.failures);
    assert_eq!((outcome.answered, outcome.completed), (outcome.started, outcome.started));
    assert_eq!((outcome.invites_again, outcome.second_answers, outcome.strangers), (0, 0, 0));
    assert_eq!(pointsman.worker_pids(), workers);
    let load = pointsman.load();
    for count in ["received", "handed_over"] {
        assert_eq!(load["dispatcher"][count], outcome.invites_sent, "{count} in {load}");
    }
    pointsman.wait_until("the load to be nothing again", |load| {
        let workers = load["workers"].as_array().map(Vec::as_slice).unwrap_or_default();
        workers.iter().all(|worker| worker["units_used"] == 0 && worker["ledger"] == 0 && worker["restarts"] == 0)
    });
}
