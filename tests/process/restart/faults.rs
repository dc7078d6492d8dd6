//! Faults at a restart: workers and other processes that hang, lie, die as well or are in the way.

use std::fs;
use std::time::Duration;

use nix::sys::signal::Signal;
use pointsman::words::Hello;

use super::{calls, hang_up, restart};
use crate::strangers::{goodbye, hello, say};
use crate::support::phone::Phone;
use crate::support::pointsman::{Pointsman, Setup, run};
use crate::support::{DEADLINE, proc, wait_for};

#[test]
fn a_worker_that_hangs_at_the_restart_is_killed_and_named_and_the_others_go_on() {
    let mut pointsman = Setup::new(2).with(["--policy", "round-robin"]).start();
    let phone = Phone::new(pointsman.address().ip());
    let standing = calls(&pointsman, &phone, 2);
    let workers = pointsman.worker_pids();
    pointsman.crash();
    assert!(proc::signal(workers[0], Signal::SIGSTOP));
    pointsman.start_again();
    pointsman.wait_until_up();
    assert!(!proc::runs(workers[0]));
    let is_named = || pointsman.log().lines().find(|line| line.contains("killed")).map(str::to_owned);
    let line = wait_for("the worker to be named", DEADLINE, is_named);
    assert!(line.contains("w0") && line.contains(&workers[0].to_string()), "{line}");
    assert_eq!(pointsman.worker(1)["pid"], workers[1]);
    for dialog in &standing {
        let slot = pointsman.slot_of(dialog.target);
        let status = phone.transact(&dialog.request("BYE", 1), dialog.target).status();
        assert_eq!(status, if slot == 0 { 481 } else { 200 });
    }
}

#[test]
fn workers_that_come_one_after_the_other_are_all_waited_for() {
    let mut pointsman = Setup::new(4).start();
    let workers = pointsman.worker_pids();
    pointsman.crash();
    workers.iter().for_each(|pid| assert!(proc::signal(*pid, Signal::SIGSTOP)));
    pointsman.start_again();
    // A machine that gives each process its turn only now: together they take longer than the dispatcher waits for one
    // that hangs.
    for pid in &workers {
        std::thread::sleep(Duration::from_millis(400));
        assert!(proc::signal(*pid, Signal::SIGCONT));
    }
    pointsman.wait_until_up();
    assert_eq!(pointsman.worker_pids(), workers);
}

#[test]
fn a_lie_during_the_restart_is_refused_and_nobody_else_notices() {
    let mut pointsman = Setup::new(2).start();
    let phone = Phone::new(pointsman.address().ip());
    let workers = pointsman.worker_pids();
    let standing = calls(&pointsman, &phone, 4);
    pointsman.crash();
    // While one worker hangs, the dispatcher waits for it, and strangers may knock.
    assert!(proc::signal(workers[0], Signal::SIGSTOP));
    // The socket file of the dead one is there; the new one's answers.
    fs::remove_file(pointsman.run_dir().join("handoff.sock")).unwrap();
    pointsman.start_again();
    wait_for("the handoff socket", DEADLINE, || pointsman.run_dir().join("handoff.sock").exists().then_some(()));
    let lie =
        Hello { name: Some("w0".into()), pid: workers[0], incarnation: Some(1), secret: Some(2), ..Hello::default() };
    let said = say(pointsman.run_dir(), &hello(lie.clone()));
    let reason = goodbye(&said).unwrap_or_else(|| panic!("no reason"));
    assert!(reason.contains("w0") && reason.contains(&workers[0].to_string()), "{reason}");
    let said = say(pointsman.run_dir(), &hello(Hello { sessions: u32::MAX, ..lie }));
    assert!(goodbye(&said).is_some_and(|reason| reason.contains("4294967295 sessions")), "{said:?}");
    assert!(proc::signal(workers[0], Signal::SIGCONT));
    pointsman.wait_until_up();
    assert_eq!(pointsman.worker_pids(), workers, "both are back");
    standing.iter().for_each(|dialog| hang_up(&phone, dialog));
}

#[test]
fn killed_five_times_in_a_row_it_leaks_nothing() {
    let mut pointsman = Setup::new(2).start();
    let phone = Phone::new(pointsman.address().ip());
    let standing = calls(&pointsman, &phone, 2);
    let workers = pointsman.worker_pids();
    restart(&mut pointsman);
    let descriptors = |pid: u32| fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count();
    let all = |pointsman: &Pointsman| [workers[0], workers[1], pointsman.pid()].map(descriptors).to_vec();
    // A client of the stats socket has one while it is served.
    let quiet = |pointsman: &Pointsman| {
        wait_for("no client to be served", DEADLINE, || {
            let counts = all(pointsman);
            std::thread::sleep(Duration::from_millis(20));
            (counts == all(pointsman)).then_some(counts)
        })
    };
    let before = quiet(&pointsman);
    for _ in 0..4 {
        restart(&mut pointsman);
        assert_eq!(pointsman.worker_pids(), workers);
    }
    assert_eq!(quiet(&pointsman), before);
    let holders = pointsman.holders();
    assert!(holders.len() == 2 && holders.iter().all(|pid| workers.contains(pid)), "{holders:?} {workers:?}");
    standing.iter().for_each(|dialog| hang_up(&phone, dialog));
    assert!(pointsman.stop().success());
    assert!(workers.iter().all(|&pid| !proc::runs(pid)));
}

#[test]
fn killed_again_before_its_workers_are_back_it_loses_nothing() {
    let mut pointsman = Setup::new(2).start();
    let phone = Phone::new(pointsman.address().ip());
    let standing = calls(&pointsman, &phone, 4);
    let workers = pointsman.worker_pids();
    for pause in [0, 2, 5, 10, 20, 40] {
        pointsman.crash();
        pointsman.start_again();
        std::thread::sleep(Duration::from_millis(pause));
    }
    pointsman.wait_until_up();
    assert_eq!(pointsman.worker_pids(), workers);
    standing.iter().for_each(|dialog| hang_up(&phone, dialog));
}

#[test]
fn killed_while_its_first_workers_start_it_starts_all_the_same() {
    let mut pointsman = Setup::new(3).spawn();
    for pause in [1, 3, 5, 7, 9, 12, 15, 20] {
        std::thread::sleep(Duration::from_millis(pause));
        pointsman.crash();
        pointsman.start_again();
    }
    pointsman.wait_until_up();
    let phone = Phone::new(pointsman.address().ip());
    calls(&pointsman, &phone, 3).iter().for_each(|dialog| hang_up(&phone, dialog));
    let pids = pointsman.worker_pids();
    assert_eq!(pointsman.holders().len(), pids.len(), "each slot has one worker");
}

#[test]
fn the_reader_of_the_log_may_end_with_the_dispatcher() {
    let mut pointsman = Setup { log_to_nobody: true, ..Setup::new(1) }.start();
    let phone = Phone::new(pointsman.address().ip());
    let standing = calls(&pointsman, &phone, 1);
    let workers = pointsman.worker_pids();
    // Both the dispatcher and its worker log this.
    restart(&mut pointsman);
    assert_eq!(pointsman.worker_pids(), workers);
    hang_up(&phone, &standing[0]);
}

#[test]
fn a_worker_that_came_back_is_replaced_when_it_dies() {
    let mut pointsman = Setup::new(2).start();
    restart(&mut pointsman);
    let killed = pointsman.kill_worker(0);
    pointsman.wait_until("a successor", |load| {
        let worker = &load["workers"][0];
        worker["state"] == "up" && worker["pid"] != killed && worker["restarts"] == 1
    });
    let phone = Phone::new(pointsman.address().ip());
    calls(&pointsman, &phone, 4).iter().for_each(|dialog| hang_up(&phone, dialog));
}

#[test]
fn locks_that_a_dead_machine_left_are_no_obstacle() {
    let mut pointsman = Setup::new(1).start();
    let phone = Phone::new(pointsman.address().ip());
    let standing = calls(&pointsman, &phone, 1);
    pointsman.crash();
    // The lock names a process id that another process has now: ours.
    fs::write(pointsman.run_dir().join("w7.lock"), format!("{}\n", std::process::id())).unwrap();
    pointsman.start_again();
    pointsman.wait_until_up();
    // The whole line: w7 is not there, and is not waited for.
    pointsman.wait_for_log("an earlier dispatcher: w0\n");
    assert_eq!(pointsman.load()["workers"].as_array().map(Vec::len), Some(1));
    hang_up(&phone, &standing[0]);
}

#[test]
fn a_dispatcher_of_another_run_directory_gets_no_port_of_theirs() {
    let mut pointsman = Setup::new(1).start();
    let phone = Phone::new(pointsman.address().ip());
    let standing = calls(&pointsman, &phone, 1);
    pointsman.crash();
    let elsewhere = tempfile::tempdir().unwrap();
    let run_dir = elsewhere.path().join("pm").display().to_string();
    let listen = format!("udp:{}", pointsman.address());
    let output = run(&["--workers", "1", "--listen", &listen, "--run-dir", &run_dir]);
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{text}");
    assert!(text.contains(&pointsman.address().to_string()) && text.contains("in use"), "{text}");
    pointsman.start_again();
    pointsman.wait_until_up();
    hang_up(&phone, &standing[0]);
}

#[test]
fn a_start_that_fails_gives_the_workers_back_to_the_next_one() {
    let mut pointsman = Setup::new(1).start();
    let phone = Phone::new(pointsman.address().ip());
    let standing = calls(&pointsman, &phone, 1);
    let workers = pointsman.worker_pids();
    pointsman.crash();
    // No interface has this address: the start fails after the return of the workers.
    let run_dir = pointsman.run_dir().display().to_string();
    let output = run(&["--workers", "1", "--listen", "udp:192.0.2.1:5060", "--run-dir", &run_dir]);
    assert_eq!(output.status.code(), Some(2));
    pointsman.start_again();
    pointsman.wait_until_up();
    assert_eq!(pointsman.worker_pids(), workers);
    hang_up(&phone, &standing[0]);
}

#[test]
fn sigterm_to_a_worker_without_a_dispatcher_ends_its_calls_with_bye() {
    let mut pointsman = Setup::new(1).start();
    let phone = Phone::new(pointsman.address().ip());
    let dialog = calls(&pointsman, &phone, 1).remove(0);
    let workers = pointsman.worker_pids();
    pointsman.crash();
    assert!(proc::signal(workers[0], Signal::SIGTERM));
    let bye = phone.expect("a BYE", |request| request.start_line().starts_with("BYE "));
    assert!(bye.text.contains(&dialog.invite.call_id), "{}", bye.text);
    // The caller does not answer the BYE: the worker leaves all the same.
    wait_for("the worker to leave", DEADLINE, || (!proc::runs(workers[0])).then_some(()));
    // Its ports are free, and its lock is no obstacle.
    pointsman.start_again();
    pointsman.wait_until_up();
}
