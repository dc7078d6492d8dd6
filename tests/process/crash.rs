//! A worker is killed while calls come in.

use std::time::Duration;

use crate::generator::{Generator, Pace, Plan, Until};
use crate::support::phone::Phone;
use crate::support::pointsman::Setup;
use crate::support::{DEADLINE, wait_for};

#[test]
fn after_the_kill_of_a_worker_every_invite_without_an_answer_and_every_later_one_gets_a_2xx() {
    let pointsman = Setup::new(4).start();
    let plan = Plan {
        pace: Pace::Rate(1_000.0),
        at_most: 1_000,
        until: Until::Calls(4_000),
        hold: Some(Duration::from_millis(200)),
        ..Plan::new(pointsman.address())
    };
    let mut generator = Generator::new(plan).unwrap();
    let progress = generator.progress();
    let load = std::thread::spawn(move || generator.run().clone());
    wait_for("1,000 answered calls", DEADLINE, || (progress.answered() >= 1_000).then_some(()));
    let killed = pointsman.kill_worker(1);
    pointsman.wait_until("the restart of the worker", |load| {
        let worker = &load["workers"][1];
        worker["state"] == "up" && worker["restarts"] == 1 && worker["pid"] != killed
    });
    let outcome = load.join().unwrap();
    assert_eq!(outcome.failed("INVITE"), 0, "{:?}", outcome.failures);
    assert_eq!((outcome.started, outcome.answered), (4_000, 4_000));
    // Calls of the dead worker have lost it; their BYE is answered all the same.
    let lost = outcome.failures.get("BYE 481").copied().unwrap_or_default();
    assert_eq!(outcome.failed("BYE"), lost, "{:?}", outcome.failures);
    assert!(lost > 0, "no call stood in the worker that was killed");
    assert_eq!(outcome.completed + lost, 4_000);
}

#[test]
fn the_port_of_a_killed_worker_answers_481_for_its_old_dialogs() {
    let pointsman = Setup::new(1).start();
    let phone = Phone::new(pointsman.address().ip());
    let dialog = phone.call(&phone.invite(pointsman.address(), None), pointsman.address());
    assert_eq!(dialog.target, pointsman.worker_address(0));
    pointsman.kill_worker(0);
    let bye = dialog.request("BYE", 1);
    // One datagram: it waits in the socket, which outlives the worker.
    phone.send(&bye, dialog.target);
    assert_eq!(phone.final_response(&bye).status(), 481);
}

#[test]
fn a_worker_that_dies_again_and_again_does_not_stop_the_others() {
    let pointsman = Setup::new(2).start();
    for round in 1..=3 {
        pointsman.kill_worker(0);
        pointsman.wait_until("the worker to be seen down or restarted", |load| {
            load["workers"][0]["restarts"].as_u64() >= Some(round)
        });
        let phone = Phone::new(pointsman.address().ip());
        let dialog = phone.call(&phone.invite(pointsman.address(), None), pointsman.address());
        let bye = dialog.request("BYE", 1);
        assert_eq!(phone.transact(&bye, dialog.target).status(), 200);
        pointsman.wait_until("the worker to be up again", |load| load["workers"][0]["state"] == "up");
    }
}

#[test]
fn messages_to_the_port_of_a_dead_worker_are_counted_apart_and_the_totals_add_up() {
    let pointsman = Setup::new(2).start();
    let phone = Phone::new(pointsman.address().ip());
    let calls: Vec<_> =
        (0..4).map(|_| phone.call(&phone.invite(pointsman.address(), None), pointsman.address())).collect();
    let dead = pointsman.worker_address(0);
    // After the fourth death the slot stays empty for two seconds.
    for restarts in 1..=4 {
        pointsman.wait_until("a worker in the slot", |load| load["workers"][0]["state"] == "up");
        pointsman.kill_worker(0);
        pointsman.wait_until("the death to be seen", |load| load["workers"][0]["restarts"] == restarts);
    }
    let mut asked = 1;
    for dialog in calls.iter().filter(|dialog| dialog.target == dead) {
        asked += 1;
        assert_eq!(phone.transact(&dialog.request("BYE", 1), dead).status(), 481);
    }
    phone.call(&phone.invite(dead, None), dead);
    let counters = pointsman.stats("counters");
    assert!(counters["vacant"]["total"].as_u64() >= Some(asked), "{}", counters["vacant"]);
    let number = |field: &str| pointsman.dispatcher(field);
    let done: u64 = ["handed_over", "relayed", "replied", "dropped"].into_iter().map(number).sum();
    assert_eq!((number("received"), done), (4, 4));
    assert_eq!(counters["received"]["total"], 4);
}
