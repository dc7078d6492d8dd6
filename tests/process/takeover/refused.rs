//! Takeovers that come to nothing: one clear line, and the dispatcher that runs serves on.

use std::fs;
use std::io::IoSlice;
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::time::Duration;

use nix::sys::signal::Signal;
use pointsman::net::unix::{SeqListener, SeqPacket};
use pointsman::wire::handoff::{FRAME_HARD_LIMIT, Frame, FrameBuilder, Record};
use pointsman::words::Takeover;
use pointsman::words::takeover::Ask;

use super::{call, hang_up};
use crate::generator::{Generator, Pace, Plan, Until};
use crate::support::phone::Phone;
use crate::support::pointsman::{EXECUTABLE, Pointsman, Setup};
use crate::support::{DEADLINE, PROMPT, proc, wait_for};

/// Calls are answered, by the dispatcher and the workers that were there before.
fn assert_undisturbed(pointsman: &Pointsman, workers: &[u32]) {
    let phone = Phone::new(pointsman.address().ip());
    hang_up(&phone, &call(pointsman, &phone));
    assert_eq!(pointsman.dispatcher("pid"), u64::from(pointsman.pid()));
    assert_eq!(pointsman.worker_pids(), workers);
}

/// One line that has these words, and exit code 2.
fn assert_refused((code, text): &(Option<i32>, String), words: &[&str]) {
    let lines: Vec<_> = text.lines().filter(|line| line.starts_with("pointsman:")).collect();
    assert_eq!((*code, lines.len()), (Some(2), 1), "{text}");
    assert!(words.iter().all(|word| lines[0].contains(word)), "{text}");
}

/// The first question of a new dispatcher of this setup, and its exit code and output when the old one is gone then.
fn ask_of(pointsman: &Pointsman) -> (Ask, (Option<i32>, String)) {
    let elsewhere = tempfile::Builder::new().prefix("pm-").tempdir().unwrap();
    fs::copy(pointsman.run_dir().join("key"), elsewhere.path().join("key")).unwrap();
    let listener = SeqListener::bind(&elsewhere.path().join("handoff.sock")).unwrap();
    let (setup, dir) = (pointsman.setup(), elsewhere.path().to_owned());
    let new = std::thread::spawn(move || Pointsman::fail_to_take_over(&setup, &dir));
    let link = wait_for("it to connect", DEADLINE, || listener.accept().unwrap());
    let Some(Takeover::Ask(ask)) = hear(&link).0 else { panic!("it does not ask") };
    drop(link);
    (ask, new.join().unwrap())
}

fn say(link: &SeqPacket, step: Takeover) {
    let mut frame = FrameBuilder::new();
    frame.push(&Record::Takeover(step));
    link.send(&[IoSlice::new(frame.bytes())], &[]).unwrap();
}

/// The next record from the other end: a step, or the reason why there is none; with the descriptors beside it.
fn hear(link: &SeqPacket) -> (Option<Takeover>, String, Vec<OwnedFd>) {
    let (mut buffer, mut descriptors) = (vec![0; FRAME_HARD_LIMIT], Vec::new());
    let length = wait_for("a word", DEADLINE, || match link.recv(&mut buffer, &mut descriptors) {
        Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => None,
        read => Some(read.unwrap()),
    });
    if length == 0 {
        return (None, "it has closed the connection".to_owned(), Vec::new());
    }
    match Frame::parse(&buffer[..length]).unwrap().next() {
        Some(Ok(Record::Takeover(step))) => (Some(step), String::new(), descriptors),
        Some(Ok(Record::Goodbye(reason))) => (None, reason.to_owned(), descriptors),
        other => panic!("{other:?}"),
    }
}

/// A new dispatcher that asks, and does as the test wants.
fn ask(pointsman: &Pointsman, ask: &Ask) -> SeqPacket {
    let link = SeqPacket::connect(&pointsman.run_dir().join("handoff.sock")).unwrap();
    say(&link, Takeover::Ask(ask.clone()));
    link
}

/// It may take over: then it makes itself ready.
fn until_granted(link: &SeqPacket) -> Vec<OwnedFd> {
    let (step, reason, descriptors) = hear(link);
    let is_it = matches!(step, Some(Takeover::Granted { descriptors: count, .. }) if count == descriptors.len());
    assert!(is_it, "{step:?} {reason}");
    descriptors
}

/// The new dispatcher has been given everything: no process reads then.
fn until_given(link: &SeqPacket) -> Vec<OwnedFd> {
    until_granted(link);
    say(link, Takeover::Ready);
    let (step, _, descriptors) = hear(link);
    assert_eq!(step, Some(Takeover::Given { descriptors: descriptors.len() }));
    descriptors
}

#[test]
fn without_a_running_dispatcher_a_takeover_says_so_and_leaves_no_file() {
    let dir = tempfile::tempdir().unwrap();
    let run_dir = dir.path().join("pm");
    let refused = Pointsman::fail_to_take_over(&Setup::new(1), &run_dir);
    assert_refused(&refused, &["no dispatcher runs in", "without --takeover"]);
    assert!(!run_dir.exists());
}

#[test]
fn after_the_death_of_a_dispatcher_a_takeover_says_so_and_the_workers_go_on() {
    let mut pointsman = Setup::new(1).start();
    let workers = pointsman.worker_pids();
    pointsman.crash();
    let refused = Pointsman::fail_to_take_over(&pointsman.setup(), pointsman.run_dir());
    assert_refused(&refused, &["no dispatcher runs in"]);
    pointsman.start_again();
    pointsman.wait_until_up();
    assert_undisturbed(&pointsman, &workers);
}

#[test]
fn a_takeover_with_settings_that_only_a_restart_changes_is_refused_by_name() {
    let pointsman = Setup::new(2).start();
    let workers = pointsman.worker_pids();
    let setup = pointsman.setup();
    let others = [
        (Setup { port: 5099, ..setup.clone() }, "listen"),
        (Setup { worker_ports: 6070, ..setup.clone() }, "worker-ports"),
        (setup.clone().with(["--capacity", "7"]), "capacity"),
        (setup.clone().with(["--table-cap", "2048"]), "table-cap"),
    ];
    for (other, key) in others {
        assert_refused(&Pointsman::fail_to_take_over(&other, pointsman.run_dir()), &[key, "cannot change"]);
    }
    fs::rename(pointsman.run_dir().join("key"), pointsman.run_dir().join("kept")).unwrap();
    assert_refused(&Pointsman::fail_to_take_over(&setup, pointsman.run_dir()), &["key", "gone"]);
    fs::write(pointsman.run_dir().join("key"), [7; 32]).unwrap();
    fs::set_permissions(pointsman.run_dir().join("key"), fs::Permissions::from_mode(0o600)).unwrap();
    assert_refused(&Pointsman::fail_to_take_over(&setup, pointsman.run_dir()), &["another token key"]);
    fs::rename(pointsman.run_dir().join("kept"), pointsman.run_dir().join("key")).unwrap();
    assert_undisturbed(&pointsman, &workers);
}

#[test]
fn another_version_is_refused_before_anything_pauses() {
    let pointsman = Setup::new(1).start();
    let workers = pointsman.worker_pids();
    let (own, alone) = ask_of(&pointsman);
    assert_refused(&alone, &["has ended meanwhile"]);
    let newer = Ask { program: "pointsman 9.9.9".into(), layout: own.layout ^ 1, ..own };
    let (_, reason, _) = hear(&ask(&pointsman, &newer));
    assert!(reason.contains("pointsman 9.9.9 does not read the state of pointsman "), "{reason}");
    assert_undisturbed(&pointsman, &workers);
}

#[test]
fn another_user_is_refused() {
    if !nix::unistd::geteuid().is_root() {
        eprintln!("only root can be somebody else: not tried");
        return;
    }
    let pointsman = Setup::new(1).start();
    let workers = pointsman.worker_pids();
    // A directory that user 65534 can read: the executable's own directory may be closed to it.
    let open = tempfile::tempdir().unwrap();
    fs::set_permissions(open.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let executable = open.path().join("pointsman");
    fs::copy(EXECUTABLE, &executable).unwrap();
    let mut command = Command::new(executable);
    command.args(["dispatch", "--takeover", "--run-dir"]).arg(pointsman.run_dir()).uid(65_534).gid(65_534);
    let output = command.current_dir("/").output().unwrap();
    let refused = (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned());
    assert_refused(&refused, &["belongs to user 0"]);
    assert_undisturbed(&pointsman, &workers);
}

#[test]
fn a_new_dispatcher_that_dies_at_any_point_leaves_the_old_one_serving_and_no_caller_notices() {
    let pointsman = Setup::new(2).start();
    let workers = pointsman.worker_pids();
    let (own, _) = ask_of(&pointsman);
    let plan = Plan {
        pace: Pace::Rate(500.0),
        at_most: 1_000,
        t1: PROMPT,
        until: Until::Stopped,
        hold: Some(Duration::from_millis(100)),
        ..Plan::new(pointsman.address())
    };
    let mut generator = Generator::new(plan).unwrap();
    let progress = generator.progress();
    let load = std::thread::spawn(move || generator.run().clone());
    for round in 0..15 {
        let before = progress.answered();
        let link = ask(&pointsman, &own);
        match round % 5 {
            // It dies when it has asked.
            0 => {}
            // When it was granted.
            1 => drop(until_granted(&link)),
            // When it is ready.
            2 => {
                until_granted(&link);
                say(&link, Takeover::Ready);
            }
            // With everything in its hands.
            3 => drop(until_given(&link)),
            // When it says what cannot be.
            _ => {
                until_given(&link);
                say(&link, Takeover::Over);
                let (_, reason, _) = hear(&link);
                assert!(reason.contains("something else than `taken`"), "{reason}");
            }
        }
        drop(link);
        wait_for("100 more answers", DEADLINE, || (progress.answered() >= before + 100).then_some(()));
    }
    progress.stop();
    let outcome = load.join().unwrap();
    assert!(outcome.failures.is_empty(), "{:?}", outcome.failures);
    assert_eq!((outcome.completed, outcome.invites_again), (outcome.started, 0));
    assert_eq!(pointsman.dispatcher("received"), outcome.invites_sent);
    assert_undisturbed(&pointsman, &workers);
}

#[test]
fn a_silent_new_dispatcher_is_given_up_after_two_seconds_and_messages_that_came_meanwhile_are_answered() {
    let pointsman = Setup::new(1).start();
    let workers = pointsman.worker_pids();
    let (own, _) = ask_of(&pointsman);
    let link = ask(&pointsman, &own);
    let descriptors = until_given(&link);
    let phone = Phone::new(pointsman.address().ip());
    let invite = phone.invite(pointsman.address(), None);
    phone.send(&invite, pointsman.address());
    let (_, reason, _) = hear(&link);
    assert!(reason.contains("has sent nothing for 2s"), "{reason}");
    drop(descriptors);
    assert_eq!(phone.final_response(&invite).status(), 200);
    // Any record is too late now.
    let _ = link.send(&[IoSlice::new(b"?")], &[]);
    pointsman.wait_for_log("serves on: the other dispatcher has sent nothing");
    assert_undisturbed(&pointsman, &workers);
}

#[test]
fn an_order_to_stop_comes_before_a_takeover_that_is_not_over() {
    let pointsman = Setup::new(1).start();
    let (own, _) = ask_of(&pointsman);
    let link = ask(&pointsman, &own);
    let _descriptors = until_given(&link);
    pointsman.ask_to_stop();
    // The signal has been seen when it is not pending any more.
    let status = format!("/proc/{}/status", pointsman.pid());
    wait_for("the signal to arrive", DEADLINE, || {
        let text = fs::read_to_string(&status).ok()?;
        let pending = text.lines().find_map(|line| line.strip_prefix("ShdPnd:"))?;
        (u64::from_str_radix(pending.trim(), 16).ok()? == 0).then_some(())
    });
    std::thread::sleep(Duration::from_millis(20));
    say(&link, Takeover::Taken);
    let (_, reason, _) = hear(&link);
    assert!(reason.contains("stopping"), "{reason}");
    let workers = pointsman.holders();
    assert!(pointsman.stop().success());
    assert!(workers.iter().all(|&pid| !proc::runs(pid)));
}

#[test]
fn of_rival_takeovers_one_succeeds_and_the_others_say_why_they_did_not() {
    let mut pointsman = Setup::new(2).start();
    let phone = Phone::new(pointsman.address().ip());
    let (standing, workers) = (call(&pointsman, &phone), pointsman.worker_pids());
    let mut rivals: Vec<_> = (0..3).map(|_| pointsman.begin_takeover(&pointsman.setup())).collect();
    let mut ended = Vec::new();
    let last = wait_for("all but one to end", DEADLINE, || {
        rivals.retain_mut(|rival| match rival.try_wait().unwrap() {
            None => true,
            Some(status) => {
                ended.push(status.code());
                false
            }
        });
        if rivals.len() == 1 { rivals.pop() } else { None }
    });
    // One that had taken over may have handed on; one that came too late says so.
    assert!(ended.iter().all(|code| matches!(code, Some(0 | 2))), "{ended:?}");
    pointsman.succeed(last);
    hang_up(&phone, &standing);
    assert_undisturbed(&pointsman, &workers);
}

#[test]
fn while_a_worker_starts_a_takeover_waits_and_another_is_told_so() {
    let pointsman = Setup::new(8).start();
    let (own, _) = ask_of(&pointsman);
    let successor = pointsman.hold_successor();
    let first = ask(&pointsman, &own);
    let second = wait_for("the first to be heard", DEADLINE, || {
        pointsman.log().contains("asks to take over").then(|| ask(&pointsman, &own))
    });
    let (_, reason, _) = hear(&second);
    assert!(reason.contains("another takeover"), "{reason}");
    assert!(proc::signal(successor, Signal::SIGCONT));
    until_given(&first);
    drop(first);
    pointsman.wait_until_up();
    assert!(pointsman.worker_pids().contains(&successor), "it is one of the workers");
}
