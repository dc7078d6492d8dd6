//! SIGTERM is the operator's order: calls are ended with BYE, then every process is gone.

use crate::generator::{Generator, Plan, Until};
use crate::support::phone::Phone;
use crate::support::pointsman::Setup;
use crate::support::{DEADLINE, PROMPT, proc, wait_for};

#[test]
fn sigterm_ends_calls_with_bye_and_leaves_no_process() {
    let pointsman = Setup::new(2).start();
    let plan = Plan { until: Until::Calls(40), hold: None, inactive: true, ..Plan::new(pointsman.address()) };
    let mut generator = Generator::new(plan).unwrap();
    generator.run();
    assert_eq!(generator.established(), 40);
    let sockets = ["stats.sock", "handoff.sock"].map(|name| pointsman.run_dir().join(name));
    pointsman.ask_to_stop();
    assert!(generator.wait_for_byes(DEADLINE), "{} calls were not ended", generator.established());
    assert_eq!(generator.outcome().ended_by_peer, 40);
    assert!(pointsman.stop().success());
    assert!(sockets.iter().all(|socket| !socket.exists()), "a socket was left behind");
}

#[test]
fn a_call_whose_far_end_is_gone_does_not_hold_up_the_end() {
    let pointsman = Setup::new(1).with(["--stop-after", "1s"]).start();
    let phone = Phone::new(pointsman.address().ip());
    phone.call(&phone.invite(pointsman.address(), None), pointsman.address());
    drop(phone);
    let begin = std::time::Instant::now();
    pointsman.stop();
    assert!(begin.elapsed() < PROMPT, "{:?}", begin.elapsed());
}

#[test]
fn a_second_signal_ends_everything_at_once() {
    let pointsman = Setup::new(1).with(["--stop-after", "60s"]).start();
    let phone = Phone::new(pointsman.address().ip());
    phone.call(&phone.invite(pointsman.address(), None), pointsman.address());
    drop(phone);
    let workers = pointsman.worker_pids();
    pointsman.ask_to_stop();
    wait_for("the second signal to be heeded", DEADLINE, || {
        // The first may not have been taken yet: two pending signals are one.
        proc::signal(pointsman.pid(), nix::sys::signal::Signal::SIGTERM);
        workers.iter().all(|&pid| !proc::runs(pid)).then_some(())
    });
}

#[test]
fn a_draining_worker_ends_its_calls_when_the_time_for_that_is_over() {
    let pointsman = Setup::new(1).with(["--drain-after", "100ms"]).start();
    let phone = Phone::new(pointsman.address().ip());
    phone.call(&phone.invite(pointsman.address(), None), pointsman.address());
    assert!(pointsman.command(&["drain", "w0"]).status.success());
    let bye = phone.receive(DEADLINE).expect("a BYE");
    assert!(bye.text.starts_with("BYE "), "{}", bye.text);
}

#[test]
fn while_it_stops_no_worker_is_made_ready_and_no_configuration_reloaded() {
    let pointsman = Setup::new(1).with(["--stop-after", "60s"]).start();
    let phone = Phone::new(pointsman.address().ip());
    phone.call(&phone.invite(pointsman.address(), None), pointsman.address());
    pointsman.ask_to_stop();
    phone.expect("the BYE of the stop", |message| message.method() == "BYE");
    for command in ["ready w0", "reload"] {
        assert_eq!(pointsman.stats(command)["error"], "the dispatcher is stopping", "{command}");
    }
}

#[test]
fn sigterm_to_one_worker_ends_its_calls_with_bye_and_the_others_go_on() {
    let pointsman = Setup::new(2).with(["--policy", "round-robin", "--slow-start", "0s"]).start();
    let phone = Phone::new(pointsman.address().ip());
    let stopping = pointsman.worker_address(0);
    let (mut ended, mut others) = (Vec::new(), Vec::new());
    // Each lane has a turn of its own, so several calls in a row may go to one worker.
    for _ in 0..100 {
        let dialog = phone.call(&phone.invite(pointsman.address(), None), pointsman.address());
        if dialog.target == stopping { &mut ended } else { &mut others }.push(dialog);
        if ended.len() > 1 && others.len() > 1 {
            break;
        }
    }
    let stopped = pointsman.worker_pids()[0];
    assert!(proc::signal(stopped, nix::sys::signal::Signal::SIGTERM));
    assert!(ended.len() > 1 && others.len() > 1);
    for _ in &ended {
        let bye = phone.expect("a BYE of the worker", |message| message.method() == "BYE" && message.status() == 0);
        assert!(ended.iter().any(|dialog| bye.header("Call-ID") == Some(&dialog.invite.call_id)), "{}", bye.text);
        phone.answer(&bye, 200);
    }
    pointsman.wait_until("its successor", |load| {
        let worker = &load["workers"][0];
        worker["state"] == "up" && worker["restarts"] == 1 && worker["pid"] != stopped
    });
    for dialog in others {
        assert_eq!(phone.transact(&dialog.request("BYE", 1), dialog.target).status(), 200);
    }
}
