//! A worker is stopped (SIGSTOP): it counts as silent, not as dead, until it has been silent for too long.

use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use crate::generator::{Generator, Outcome, Pace, Plan, Until};
use crate::support::pointsman::{Pointsman, Setup};
use crate::support::{DEADLINE, proc, wait_for};

/// Stops a worker under 300 new calls a second, does `meanwhile`, and returns what became of the calls.
fn with_a_stopped_worker(pointsman: &Pointsman, calls: u64, meanwhile: impl FnOnce(u32)) -> Outcome {
    let plan = Plan {
        pace: Pace::Rate(300.0),
        at_most: 1_000,
        until: Until::Calls(calls),
        hold: Some(Duration::from_millis(100)),
        inactive: true,
        ..Plan::new(pointsman.address())
    };
    let mut generator = Generator::new(plan).unwrap();
    let progress = generator.progress();
    let load = std::thread::spawn(move || generator.run().clone());
    wait_for("200 answered calls", DEADLINE, || (progress.answered() >= 200).then_some(()));
    let stopped = pointsman.worker_number(1, "pid") as u32;
    assert!(proc::signal(stopped, Signal::SIGSTOP));
    meanwhile(stopped);
    load.join().unwrap()
}

#[test]
fn calls_meet_a_worker_that_is_stopped_for_three_seconds_and_every_one_is_answered() {
    // The worker is silent because it does not read: it may go so long without a report.
    let pointsman = Setup::new(4).with(["--silent-after", "60s"]).start();
    let outcome = with_a_stopped_worker(&pointsman, 1_800, |stopped| {
        let begin = Instant::now();
        pointsman.wait_until("the worker to be silent", |load| load["workers"][1]["state"] == "silent");
        let handoffs = pointsman.worker_number(1, "handoffs");
        wait_for("three seconds", DEADLINE, || (begin.elapsed() >= Duration::from_secs(3)).then_some(()));
        let more = pointsman.worker_number(1, "handoffs") - handoffs;
        // Each lane finds the worker silent on its own link, some milliseconds apart.
        let before_others_knew = if pointsman.has_lanes() { 8 } else { 0 };
        assert!(more <= before_others_knew, "it got {more} new calls though it was silent");
        assert!(proc::signal(stopped, Signal::SIGCONT));
        pointsman.wait_until("the worker to be up again", |load| load["workers"][1]["state"] == "up");
    });
    assert_eq!((outcome.answered, outcome.failed("INVITE")), (1_800, 0), "{:?}", outcome.failures);
    assert_eq!(outcome.completed, 1_800, "{:?}", outcome.failures);
    assert_eq!(outcome.second_answers, 0);
    assert_eq!(pointsman.worker_number(1, "restarts"), 0);
}

#[test]
fn a_worker_that_stays_silent_is_killed_and_what_it_had_not_read_is_answered_by_others() {
    let pointsman = Setup::new(4).start();
    let outcome = with_a_stopped_worker(&pointsman, 900, |stopped| {
        pointsman.wait_until("the successor of the worker", |load| {
            let worker = &load["workers"][1];
            worker["state"] == "up" && worker["restarts"] == 1 && worker["pid"] != stopped
        });
        assert!(!proc::runs(stopped), "the successor came before its predecessor's end");
    });
    assert_eq!((outcome.answered, outcome.failed("INVITE")), (900, 0), "{:?}", outcome.failures);
    // It may have been stopped between an answer and its word to the dispatcher, which follows within 10 ms.
    // With several lanes each link says less, so that the word waits for longer.
    let unreported = if pointsman.has_lanes() { 8 } else { 0 };
    assert!(outcome.second_answers <= unreported, "{}", outcome.second_answers);
}

#[test]
fn a_worker_in_maintenance_may_be_stopped_as_long_as_its_operator_likes() {
    let pointsman = Setup::new(1).with(["--silent-after", "2s"]).start();
    assert!(pointsman.command(&["maint", "w0"]).status.success());
    let worker = pointsman.worker_number(0, "pid") as u32;
    assert!(proc::signal(worker, Signal::SIGSTOP));
    let begin = Instant::now();
    pointsman.wait_until("the worker to be silent", |load| load["workers"][0]["state"] == "silent");
    wait_for("the time after which others are killed", DEADLINE, || {
        (begin.elapsed() > Duration::from_secs(10)).then_some(())
    });
    assert_eq!((pointsman.worker_number(0, "restarts"), proc::runs(worker)), (0, true));
}
