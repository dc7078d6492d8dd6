//! The fate of calls over a restart: those that stand and those that begin.

use std::net::UdpSocket;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use serde_json::Value;

use super::{calls, hang_up, restart, ringing, sum};
use crate::generator::{Generator, Pace, Plan, Until};
use crate::support::phone::{Dialog, Phone, Request};
use crate::support::pointsman::{Pointsman, Setup};
use crate::support::{DEADLINE, PROMPT, proc, wait_for};

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
    // The BYE goes straight to the call's worker, which needs no dispatcher for it.
    hang_up(&phone, &standing[0]);
    // This one goes into the well-known port, where it waits for the next dispatcher.
    let invite = phone.invite(pointsman.address(), None);
    phone.send(&invite, pointsman.address());
    let begin = Instant::now();
    pointsman.start_again();
    let answer = phone.final_response(&invite);
    assert_eq!(answer.status(), 200, "{}", answer.text);
    assert!(begin.elapsed() < PROMPT, "{:?}", begin.elapsed());
    println!("restart to first answer: {:?}", begin.elapsed());
    pointsman.wait_until_up();
    assert_eq!(pointsman.worker_pids(), workers);
    for dialog in &standing[1..] {
        // Through the well-known port as well: the tokens are still good.
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
        at_most: 1_000,
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
    // INVITEs that have no answer now have not been retransmitted by their callers yet.
    let sent = progress.invites_sent();
    wait_for("calls into the void", DEADLINE, || (progress.invites_sent() >= sent + 100).then_some(()));
    let begin = Instant::now();
    pointsman.start_again();
    let before = progress.answered();
    wait_for("the first answer", DEADLINE, || (progress.answered() > before).then_some(()));
    let first_answer = begin.elapsed();
    println!("restart to first answer under load: {first_answer:?}");
    assert!(first_answer < PROMPT, "{first_answer:?}");
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
    kill_in_turn(6, 200);
}

#[test]
#[ignore = "takes six minutes"]
fn sixty_kills_in_six_minutes_leave_no_invite_without_an_answer_and_nothing_behind() {
    kill_in_turn(60, 2_500);
}

/// Kills dispatcher, workers, or both, `kills` times under 500 calls/s, with `calls` calls answered in between.
fn kill_in_turn(kills: usize, calls: u64) {
    let mut pointsman = Setup::new(4).start();
    let plan = Plan {
        pace: Pace::Rate(500.0),
        at_most: 1_000,
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
    let descriptors = |pid: u32| std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count();
    let fresh = descriptors(pointsman.pid());
    for round in 0..kills {
        answers(calls);
        match round % 3 {
            0 => pointsman.crash(),
            1 => {
                pointsman.kill_worker(round % 4);
                pointsman.crash();
            }
            _ => {
                let workers = pointsman.worker_pids();
                pointsman.crash();
                // No dispatcher is there that could start a successor or read its port.
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
    println!("{kills} kills, {} calls, {lost} ended with their worker", outcome.started);
    // A worker that came back is watched by one descriptor more than a child is.
    let now = descriptors(pointsman.pid());
    assert!(now <= fresh + 8, "{fresh} descriptors at the start, {now} at the end");
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
    // The conference closes while no dispatcher is there to be told.
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
fn a_call_that_rang_over_the_crash_is_answered_by_the_next_worker_when_its_own_dies_long_after() {
    let mut pointsman = Setup::new(2).lanes(2).start();
    let phone = Phone::new(pointsman.address().ip());
    let waits: Vec<Request> = (0..3).map(|_| ringing(&pointsman, &phone, 3_000)).collect();
    let cancelled: Vec<Request> = (0..3).map(|_| ringing(&pointsman, &phone, 60_000)).collect();
    restart(&mut pointsman);
    // A dispatcher that takes over from this one has to know these transactions as well.
    pointsman.take_over();
    pointsman.wait_until("their sessions to be told", |load| sum(load, "sessions") == 6);
    // Not both: a call whose second worker dies as well gets 500.
    assert!(pointsman.worker_number(0, "sessions") > 0);
    assert!(proc::signal(pointsman.worker_pids()[0], Signal::SIGKILL));
    pointsman.wait_until("another worker", |load| sum(load, "restarts") == 1);
    // Their callers have heard them ring, and send their INVITEs no more.
    for invite in &cancelled {
        phone.send(&invite.cancel(), pointsman.address());
    }
    let (mut answered, mut ended) = (0, 0);
    while answered < waits.len() || ended < cancelled.len() {
        let reply = phone.expect("a final response to each INVITE", |reply| reply.status() >= 200);
        answered += usize::from(reply.status() == 200 && waits.iter().any(|invite| reply.answers(invite)));
        if let Some(invite) = cancelled.iter().find(|invite| reply.answers(invite)) {
            assert_eq!(reply.status(), 487, "{}", reply.text);
            phone.send(&invite.ack(&reply), pointsman.address());
            ended += 1;
        }
    }
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
    // The worker has told of its answer after the other's.
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
