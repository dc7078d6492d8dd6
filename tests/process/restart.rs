//! The dispatcher dies and is started again: its workers outlive it, and come back with their calls and their sockets.

use std::fs;
use std::net::UdpSocket;
use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use pointsman::handoff::frame::Hello;
use serde_json::Value;

use crate::generator::{Generator, Pace, Plan, Until};
use crate::strangers::{goodbye, hello, say};
use crate::support::phone::{Dialog, Phone, Request};
use crate::support::pointsman::{Pointsman, Setup, run};
use crate::support::{DEADLINE, own_address, proc, wait_for};

/// `count` calls that stand.
fn calls(pointsman: &Pointsman, phone: &Phone, count: usize) -> Vec<Dialog> {
    (0..count).map(|_| phone.call(&phone.invite(pointsman.address(), None), pointsman.address())).collect()
}

fn hang_up(phone: &Phone, dialog: &Dialog) {
    assert_eq!(phone.transact(&dialog.request("BYE", 1), dialog.target).status(), 200);
}

/// An INVITE that rings for so many milliseconds.
fn ringing(pointsman: &Pointsman, phone: &Phone, milliseconds: u32) -> Request {
    let mut invite = phone.invite(pointsman.address(), None);
    invite.uri.push_str(&format!(";ring={milliseconds}"));
    phone.send(&invite, pointsman.address());
    phone.expect("ringing", |reply| reply.answers(&invite) && reply.status() == 180);
    invite
}

/// Kills the dispatcher and starts it again, until its workers are back.
fn restart(pointsman: &mut Pointsman) {
    pointsman.crash();
    pointsman.start_again();
    pointsman.wait_until_up();
}

fn sum(load: &Value, field: &str) -> u64 {
    let workers = load["workers"].as_array().map(Vec::as_slice).unwrap_or_default();
    workers.iter().filter_map(|worker| worker[field].as_u64()).sum()
}

/// A call with sound.
struct Talk {
    sound: UdpSocket,
    dialog: Dialog,
}

impl Talk {
    fn new(pointsman: &Pointsman, phone: &Phone) -> Self {
        let ip = pointsman.address().ip();
        let sound = UdpSocket::bind((ip, 0)).unwrap();
        sound.set_read_timeout(Some(DEADLINE)).unwrap();
        let dialog = phone.call(&phone.invite(pointsman.address(), sound.local_addr().ok()), pointsman.address());
        Talk { sound, dialog }
    }

    /// Says something and hears it.
    fn echo(&self, sequence: u16) {
        let mut packet = vec![0x80, 0];
        packet.extend_from_slice(&sequence.to_be_bytes());
        packet.extend_from_slice(&(u32::from(sequence) * 160).to_be_bytes());
        packet.extend_from_slice(&0x1234_5678_u32.to_be_bytes());
        packet.resize(172, sequence as u8 | 1);
        self.sound.send_to(&packet, self.dialog.answer.media_address()).unwrap();
        let mut heard = [0; 2048];
        let (length, _) = self.sound.recv_from(&mut heard).expect("an echo");
        assert_eq!(heard[12..length], packet[12..]);
    }
}

#[test]
fn calls_outlive_the_dispatcher_and_the_next_one_takes_their_workers_over() {
    let mut pointsman = Setup::new(2).start();
    let phone = Phone::new(pointsman.address().ip());
    let standing = calls(&pointsman, &phone, 6);
    let workers = pointsman.worker_pids();
    pointsman.crash();
    // Straight to its worker, which needs no dispatcher for that.
    hang_up(&phone, &standing[0]);
    // Into the well-known port, where it waits for the next one.
    let invite = phone.invite(pointsman.address(), None);
    phone.send(&invite, pointsman.address());
    let begin = Instant::now();
    pointsman.start_again();
    let answer = phone.final_response(&invite);
    assert_eq!(answer.status(), 200, "{}", answer.text);
    assert!(begin.elapsed() < Duration::from_secs(3), "{:?}", begin.elapsed());
    println!("restart to first answer: {:?}", begin.elapsed());
    pointsman.wait_until_up();
    assert_eq!(pointsman.worker_pids(), workers);
    for dialog in &standing[1..] {
        // Through the well-known port, too: the tokens are still good.
        assert_eq!(phone.transact(&dialog.request("BYE", 1), pointsman.address()).status(), 200);
    }
}

#[test]
fn two_hundred_calls_go_on_and_every_new_one_is_answered_while_the_dispatcher_is_killed_and_started_again() {
    let mut pointsman = Setup::new(4).start();
    let phone = Phone::new(pointsman.address().ip());
    let talks: Vec<Talk> = (0..200).map(|_| Talk::new(&pointsman, &phone)).collect();
    let conference = |phone: &Phone| {
        let mut leg = phone.invite(pointsman.address(), None);
        leg.uri = format!("sip:conf=all@{}", pointsman.address());
        phone.call(&leg, pointsman.address())
    };
    let first = conference(&phone);
    talks.iter().for_each(|talk| talk.echo(1));
    let plan = Plan {
        pace: Pace::Rate(500.0),
        until: Until::Calls(2_500),
        hold: Some(Duration::from_millis(300)),
        ..Plan::new(pointsman.address())
    };
    let mut generator = Generator::new(plan).unwrap();
    let progress = generator.progress();
    let load = std::thread::spawn(move || generator.run().clone());
    wait_for("500 answered calls", DEADLINE, || (progress.answered() >= 500).then_some(()));
    let target = pointsman.address();
    pointsman.crash();
    talks.iter().for_each(|talk| talk.echo(2));
    // What is not answered now has not been retransmitted by its caller yet.
    let sent = progress.invites_sent();
    wait_for("calls into the void", DEADLINE, || (progress.invites_sent() >= sent + 100).then_some(()));
    let begin = Instant::now();
    pointsman.start_again();
    let before = progress.answered();
    wait_for("the first answer", DEADLINE, || (progress.answered() > before).then_some(()));
    let first_answer = begin.elapsed();
    println!("restart to first answer under load: {first_answer:?}");
    assert!(first_answer < Duration::from_secs(3), "{first_answer:?}");
    let outcome = load.join().unwrap();
    assert!(outcome.failures.is_empty(), "{:?}", outcome.failures);
    assert_eq!((outcome.started, outcome.answered, outcome.completed), (2_500, 2_500, 2_500));
    pointsman.wait_until("the load to be the standing calls again", |load| {
        sum(load, "sessions") == 201 && sum(load, "units_used") == 201 && sum(load, "ledger") == 0
    });
    assert_eq!(sum(&pointsman.load(), "restarts"), 0);
    talks.iter().for_each(|talk| talk.echo(3));
    let mut leg = phone.invite(target, None);
    leg.uri = format!("sip:conf=all@{target}");
    let second = phone.call(&leg, target);
    assert_eq!(second.target, first.target, "the conference's next leg meets another worker");
    for dialog in talks.iter().map(|talk| &talk.dialog).chain([&first, &second]) {
        hang_up(&phone, dialog);
    }
    pointsman.wait_until("no load at all", |load| sum(load, "sessions") == 0 && sum(load, "units_used") == 0);
}

#[test]
fn kills_of_dispatcher_and_workers_in_turn_leave_no_invite_without_an_answer() {
    let mut pointsman = Setup::new(4).start();
    let plan = Plan {
        pace: Pace::Rate(500.0),
        until: Until::Stopped,
        hold: Some(Duration::from_millis(200)),
        ..Plan::new(pointsman.address())
    };
    let mut generator = Generator::new(plan).unwrap();
    let progress = generator.progress();
    let load = std::thread::spawn(move || generator.run().clone());
    let answers = |more: u64| {
        let before = progress.answered();
        wait_for("answers", DEADLINE, || (progress.answered() >= before + more).then_some(()));
    };
    for round in 0..6 {
        answers(200);
        match round % 3 {
            0 => pointsman.crash(),
            1 => {
                pointsman.kill_worker(round % 4);
                pointsman.crash();
            }
            _ => {
                let workers = pointsman.worker_pids();
                pointsman.crash();
                // Nobody is there who could start a successor or read its port.
                assert!(proc::signal(workers[round % 4], Signal::SIGKILL));
            }
        }
        pointsman.start_again();
        pointsman.wait_until_up();
    }
    answers(500);
    progress.stop();
    let outcome = load.join().unwrap();
    let lost = outcome.failures.get("BYE 481").copied().unwrap_or_default();
    assert_eq!(outcome.failures.values().sum::<u64>(), lost, "{:?}", outcome.failures);
    assert_eq!(outcome.completed + lost, outcome.started);
    pointsman.wait_until("no load at all", |load| {
        sum(load, "sessions") == 0 && sum(load, "units_used") == 0 && sum(load, "ledger") == 0
    });
}

#[test]
fn the_load_is_right_from_the_first_moment() {
    let mut pointsman = Setup::new(2).start();
    let phone = Phone::new(pointsman.address().ip());
    for size in [30, 50, 7] {
        let invite = phone.invite(pointsman.address(), None).with("X-Session-Size", size.to_string());
        phone.call(&invite, pointsman.address());
    }
    let used = |load: &Value| {
        [0, 1].map(|slot| (load["workers"][slot]["units_used"].as_u64(), load["workers"][slot]["sessions"].as_u64()))
    };
    pointsman.wait_until("the reports of all", |load| sum(load, "units_used") == 87 && sum(load, "ledger") == 0);
    let before = used(&pointsman.load());
    restart(&mut pointsman);
    assert_eq!(used(&pointsman.load()), before);
}

#[test]
fn the_next_leg_of_a_conference_meets_its_worker_and_a_closed_one_is_forgotten() {
    let mut pointsman = Setup::new(4).with(["--policy", "round-robin"]).start();
    let phone = Phone::new(pointsman.address().ip());
    let target = pointsman.address();
    let leg = |name: &str| {
        let mut leg = phone.invite(target, None);
        leg.uri = format!("sip:conf={name}@{target}");
        phone.call(&leg, target)
    };
    let rooms: Vec<Dialog> = (0..3).map(|room| leg(&format!("room{room}"))).collect();
    pointsman.crash();
    // It closes while nobody is there to be told.
    hang_up(&phone, &rooms[2]);
    pointsman.start_again();
    pointsman.wait_until_up();
    // Round robin begins anew: by chance alone not both would be right.
    assert_eq!(leg("room1").target, rooms[1].target);
    assert_eq!(leg("room0").target, rooms[0].target);
    let elsewhere = (0..3).map(|_| leg("room2").target).collect::<Vec<_>>();
    assert!(elsewhere.iter().all(|target| *target == elsewhere[0]), "{elsewhere:?}");
}

#[test]
fn a_cancel_of_a_call_that_rang_over_the_crash_reaches_its_worker() {
    let mut pointsman = Setup::new(4).with(["--policy", "round-robin"]).start();
    let phone = Phone::new(pointsman.address().ip());
    let invites: Vec<Request> = (0..4).map(|_| ringing(&pointsman, &phone, 60_000)).collect();
    restart(&mut pointsman);
    for invite in &invites {
        let cancel = invite.cancel();
        phone.send(&cancel, pointsman.address());
        let (mut cancelled, mut ended) = (None, None);
        while cancelled.is_none() || ended.is_none() {
            let reply = phone.expect("answers to INVITE and CANCEL", |reply| reply.status() >= 200);
            if reply.answers(invite) {
                phone.send(&invite.ack(&reply), pointsman.address());
                ended = Some(reply.status());
            } else if reply.answers(&cancel) {
                cancelled = Some(reply.status());
            }
        }
        assert_eq!((cancelled, ended), (Some(200), Some(487)));
    }
    pointsman.wait_until("no session to be left", |load| sum(load, "sessions") == 0);
}

#[test]
fn retransmissions_and_copies_reach_the_worker_that_has_the_call_over_two_crashes() {
    let mut pointsman = Setup::new(4).with(["--policy", "round-robin"]).start();
    let phone = Phone::new(pointsman.address().ip());
    let rings = ringing(&pointsman, &phone, 60_000);
    let answered = calls(&pointsman, &phone, 3);
    for _ in 0..2 {
        restart(&mut pointsman);
        phone.send(&rings, pointsman.address());
        phone.expect("ringing again", |reply| reply.answers(&rings) && reply.status() == 180);
        for Dialog { invite, target, .. } in &answered {
            let copy = invite.clone().on_new_branch();
            assert_eq!(phone.transact(&copy, pointsman.address()).status(), 482);
            // Absorbed by the worker (RFC 6026): only the dispatcher tells where it went.
            phone.send(invite, pointsman.address());
            let slot = format!("w{}", pointsman.slot_of(*target));
            wait_for("the retransmission to be decided on", DEADLINE, || {
                let explained = pointsman.stats(&format!("explain {}", invite.call_id));
                let last = explained["decisions"].as_array()?.last()?.clone();
                (last["reason"] == "retransmission").then(|| assert_eq!(last["worker"], slot.as_str(), "{explained}"))
            });
        }
    }
    assert_eq!(sum(&pointsman.load(), "sessions"), 4);
}

#[test]
fn the_answer_to_a_call_that_rang_over_the_crash_is_not_taken_for_anothers() {
    let mut pointsman = Setup::new(1).start();
    let phone = Phone::new(pointsman.address().ip());
    let earlier = ringing(&pointsman, &phone, 1_000);
    restart(&mut pointsman);
    // On the new link this has the number that the other had on the old one.
    let later = ringing(&pointsman, &phone, 60_000);
    assert_eq!(phone.final_response(&earlier).status(), 200);
    // Its answer has been told behind the other's.
    let last = phone.invite(pointsman.address(), None);
    assert_eq!(phone.transact(&last, pointsman.address()).status(), 200);
    let retained = |pointsman: &Pointsman| -> u64 {
        let counters = pointsman.stats("counters");
        let links = counters["links"].as_array().unwrap();
        links.iter().map(|link| link["retained_bytes"].as_u64().unwrap()).sum()
    };
    pointsman.wait_until("the last to be let go", |load| load["workers"][0]["sessions"] == 3);
    let one = wait_for("the last to be let go", DEADLINE, || {
        let bytes = retained(&pointsman);
        (bytes <= 2_048).then_some(bytes)
    });
    assert!(one > 0, "the call that rings is kept for the next worker, should this one die");
    phone.send(&later.cancel(), pointsman.address());
    pointsman.wait_until("nothing to be kept", |_| retained(&pointsman) == 0);
}

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
    let log = pointsman.log();
    let line = log.lines().find(|line| line.contains("killed")).unwrap_or_else(|| panic!("{log}"));
    assert!(line.contains("w0") && line.contains(&workers[0].to_string()), "{line}");
    assert_eq!(pointsman.worker(1)["pid"], workers[1]);
    for dialog in &standing {
        let slot = pointsman.slot_of(dialog.target);
        let status = phone.transact(&dialog.request("BYE", 1), dialog.target).status();
        assert_eq!(status, if slot == 0 { 481 } else { 200 });
    }
}

#[test]
fn a_lie_during_the_restart_is_refused_and_nobody_else_notices() {
    let mut pointsman = Setup::new(2).start();
    let phone = Phone::new(pointsman.address().ip());
    let workers = pointsman.worker_pids();
    let standing = calls(&pointsman, &phone, 4);
    pointsman.crash();
    // While one worker hangs, the dispatcher waits for it, and anybody may knock.
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
fn whoever_reads_the_log_may_go_with_the_dispatcher() {
    let mut pointsman = Setup { log_to_nobody: true, ..Setup::new(1) }.start();
    let phone = Phone::new(pointsman.address().ip());
    let standing = calls(&pointsman, &phone, 1);
    let workers = pointsman.worker_pids();
    // Both it and its worker have something to say about this.
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
fn a_drain_outlives_the_dispatcher_it_was_ordered_from() {
    let mut pointsman = Setup::new(2).start();
    assert!(pointsman.command(&["drain", "w0"]).status.success());
    let phone = Phone::new(pointsman.address().ip());
    calls(&pointsman, &phone, 1);
    restart(&mut pointsman);
    assert_eq!(pointsman.worker(0)["admin"], "drain");
    let other = pointsman.worker_address(1);
    assert!(calls(&pointsman, &phone, 4).iter().all(|dialog| dialog.target == other));
}

#[test]
fn a_worker_beyond_the_configured_ones_keeps_its_calls_and_leaves_behind_the_last() {
    let mut pointsman = Setup::new(3).with(["--policy", "round-robin"]).start();
    let phone = Phone::new(pointsman.address().ip());
    let standing = calls(&pointsman, &phone, 3);
    let workers = pointsman.worker_pids();
    pointsman.crash();
    let fewer = Setup { workers: 1, ..pointsman.setup() };
    pointsman.start_again_as(fewer);
    pointsman.wait_until("the idle worker beyond to be drained", |load| load["workers"][2]["admin"] == "drain");
    assert!(workers.iter().all(|&pid| proc::runs(pid)));
    let first = pointsman.worker_address(0);
    assert!(calls(&pointsman, &phone, 3).iter().all(|dialog| dialog.target == first));
    standing.iter().for_each(|dialog| hang_up(&phone, dialog));
    wait_for("the others to leave", DEADLINE, || workers[1..].iter().all(|&pid| !proc::runs(pid)).then_some(()));
    pointsman.wait_until("one slot", |load| load["workers"].as_array().is_some_and(|all| all.len() == 1));
    assert!(proc::runs(workers[0]));
}

#[test]
fn other_worker_ports_hold_for_a_slot_from_its_next_worker_on() {
    let mut pointsman = Setup::new(1).start();
    let phone = Phone::new(pointsman.address().ip());
    let standing = calls(&pointsman, &phone, 1);
    pointsman.crash();
    let moved = Setup { worker_ports: 6070, ..pointsman.setup() };
    pointsman.start_again_as(moved);
    pointsman.wait_until_up();
    assert_eq!(pointsman.worker_number(0, "port"), 5070);
    hang_up(&phone, &standing[0]);
    pointsman.kill_worker(0);
    pointsman.wait_until("a successor on the new port", |load| {
        load["workers"][0]["state"] == "up" && load["workers"][0]["port"] == 6070
    });
    hang_up(&phone, &calls(&pointsman, &phone, 1)[0]);
}

#[test]
fn another_listening_port_leaves_the_old_one_to_others_and_no_call_alone() {
    let mut pointsman = Setup::new(1).start();
    let phone = Phone::new(pointsman.address().ip());
    let standing = calls(&pointsman, &phone, 1);
    let rings = ringing(&pointsman, &phone, 1_000);
    let old = pointsman.address();
    pointsman.crash();
    let moved = Setup { port: 5062, ..pointsman.setup() };
    pointsman.start_again_as(moved);
    pointsman.wait_until_up();
    UdpSocket::bind(old).expect("nobody keeps the old port");
    let answer = phone.final_response(&rings);
    assert_eq!((answer.status(), answer.from), (200, pointsman.worker_address(0)));
    hang_up(&phone, &standing[0]);
    hang_up(&phone, &calls(&pointsman, &phone, 1)[0]);
}

#[test]
fn another_number_of_lanes_changes_nothing_for_the_calls_that_stand() {
    let mut pointsman = Setup::new(2).start();
    let phone = Phone::new(pointsman.address().ip());
    let standing = calls(&pointsman, &phone, 4);
    for lanes in ["3", "1", "2"] {
        let rings = ringing(&pointsman, &phone, 60_000);
        pointsman.crash();
        let mut other = pointsman.setup();
        other.more = vec!["--lanes".to_owned(), lanes.to_owned()];
        pointsman.start_again_as(other);
        pointsman.wait_until_up();
        phone.send(&rings, pointsman.address());
        phone.expect("ringing again", |reply| reply.answers(&rings) && reply.status() == 180);
        let cancel = rings.cancel();
        assert_eq!(phone.transact(&cancel, pointsman.address()).status(), 200);
    }
    for dialog in &standing {
        assert_eq!(phone.transact(&dialog.request("BYE", 1), pointsman.address()).status(), 200);
    }
}

#[test]
fn a_lost_key_comes_back_with_the_workers() {
    let mut pointsman = Setup::new(2).start();
    let phone = Phone::new(pointsman.address().ip());
    let standing = calls(&pointsman, &phone, 4);
    let workers = pointsman.worker_pids();
    let file = pointsman.run_dir().join("key");
    let key = fs::read(&file).unwrap();
    pointsman.crash();
    fs::remove_file(&file).unwrap();
    pointsman.start_again();
    pointsman.wait_until_up();
    assert_eq!(pointsman.worker_pids(), workers);
    assert_eq!(fs::read(&file).unwrap(), key);
    assert!(pointsman.log().contains("token key was gone"), "{}", pointsman.log());
    for dialog in &standing {
        assert_eq!(phone.transact(&dialog.request("BYE", 1), pointsman.address()).status(), 200);
    }
}

#[test]
fn a_key_that_is_no_key_is_named_and_the_workers_wait_for_a_better_one() {
    let mut pointsman = Setup::new(1).start();
    let phone = Phone::new(pointsman.address().ip());
    let standing = calls(&pointsman, &phone, 1);
    let file = pointsman.run_dir().join("key");
    let key = fs::read(&file).unwrap();
    let listen = format!("udp:{}", pointsman.address());
    let run_dir = pointsman.run_dir().display().to_string();
    let refused = |words: &[&str]| {
        let output = run(&["--workers", "1", "--listen", &listen, "--run-dir", &run_dir]);
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{text}");
        assert!(words.iter().all(|word| text.contains(word)) && text.matches("pointsman:").count() == 1, "{text}");
    };
    pointsman.crash();
    fs::write(&file, &key[..31]).unwrap();
    refused(&["key", "31 bytes"]);
    fs::write(&file, &key).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
    refused(&["key", "others can read it"]);
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    pointsman.start_again();
    pointsman.wait_until_up();
    hang_up(&phone, &standing[0]);
}

#[test]
fn locks_that_a_dead_machine_left_are_no_obstacle() {
    let mut pointsman = Setup::new(1).start();
    let phone = Phone::new(pointsman.address().ip());
    let standing = calls(&pointsman, &phone, 1);
    pointsman.crash();
    // A number that is somebody else's now: ours.
    fs::write(pointsman.run_dir().join("w7.lock"), format!("{}\n", std::process::id())).unwrap();
    let begin = Instant::now();
    pointsman.start_again();
    pointsman.wait_until_up();
    assert!(begin.elapsed() < Duration::from_secs(1), "nobody is waited for who is not there: {:?}", begin.elapsed());
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
    // An address that is nobody's: the start fails behind the return of the workers.
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
    // Nobody answers it: the worker leaves all the same.
    wait_for("the worker to leave", DEADLINE, || (!proc::runs(workers[0])).then_some(()));
    // Its ports are free, and its lock is no obstacle.
    pointsman.start_again();
    pointsman.wait_until_up();
}

#[test]
fn a_worker_of_its_own_comes_back_with_the_token_that_its_calls_carry() {
    use pointsman::handoff::frame::{Frame, Port, Record, Welcome};
    use rustix::net::{RecvFlags, SendFlags, recv, send};

    let mut pointsman = Setup::new(1).start();
    let address = (own_address(), 6060).into();
    let introduce = |pointsman: &Pointsman, former: Option<&Welcome>| {
        let link = crate::strangers::knock(pointsman.run_dir());
        let introduction = Hello {
            ports: vec![Port { service: "sip".into(), address }],
            // Whatever number of lanes the test is run with.
            links: 16,
            secret: former.map(|former| former.secret),
            incarnation: former.map(|former| former.incarnation),
            ..Hello::default()
        };
        send(&link, &hello(introduction), SendFlags::NOSIGNAL).unwrap();
        let mut buffer = vec![0; 80_000];
        let (length, _) = wait_for("the welcome", DEADLINE, || recv(&link, &mut buffer[..], RecvFlags::DONTWAIT).ok());
        let welcome = match Frame::parse(&buffer[..length]).unwrap().next() {
            Some(Ok(Record::Welcome(welcome))) => welcome,
            other => panic!("{other:?}"),
        };
        assert_eq!(welcome.key, None, "the key is for the dispatcher's own workers");
        (link, welcome)
    };
    let (link, first) = introduce(&pointsman, None);
    restart(&mut pointsman);
    drop(link);
    let (_link, second) = introduce(&pointsman, Some(&first));
    assert_eq!((second.token, second.incarnation, second.name), (first.token, first.incarnation, first.name));
}

#[test]
#[ignore = "takes 35 s: requests have to grow old"]
fn a_request_that_has_waited_for_longer_than_its_caller_is_dropped_with_that_reason() {
    let mut pointsman = Setup::new(1).start();
    let phone = Phone::new(pointsman.address().ip());
    let _standing = calls(&pointsman, &phone, 1);
    pointsman.crash();
    // The worker has seen the end of its link when it has tried to find a new one.
    std::thread::sleep(Duration::from_millis(200));
    let (old, young) = (phone.invite(pointsman.address(), None), phone.invite(pointsman.address(), None));
    phone.send(&old, pointsman.address());
    std::thread::sleep(Duration::from_secs(33));
    phone.send(&young, pointsman.address());
    pointsman.start_again();
    assert_eq!(phone.final_response(&young).status(), 200);
    let dropped = pointsman.stats("counters")["dropped"].clone();
    assert_eq!(dropped["reasons"]["too-old"], 1, "{dropped}");
    assert_eq!(pointsman.dispatcher("handed_over"), 1);
}
