//! One particular message kills any worker that reads it.

use std::path::PathBuf;
use std::thread;

use pointsman::worker::{Application, Call, Link, Settings, run};
use serde_json::Value;

use crate::support::phone::{Phone, Request};
use crate::support::pointsman::{Pointsman, Setup};

/// An application with a fault: it cannot bear a certain header.
struct Delicate;

impl Application for Delicate {
    fn on_call(&mut self, call: &mut Call<'_>) {
        let poison = call.invite(|invite| invite.extension(b"X-Poison").is_some());
        assert_ne!(poison, Some(true), "this is what kills it");
        call.echo();
    }
}

/// A worker with that application. It lives in a thread: when that panics, its link ends as a dead process's does.
fn delicate_worker(pointsman: &Pointsman) {
    let path: PathBuf = pointsman.run_dir().join("handoff.sock");
    thread::spawn(move || run(Settings::new(Link::Path(path)), Delicate));
}

fn wait_for_workers(pointsman: &Pointsman, number: usize) {
    pointsman.wait_until("the workers to be there", |load| {
        let all = load["workers"].as_array().map(Vec::as_slice).unwrap_or_default();
        // Workers that died stay in the list, and are down.
        all.iter().filter(|worker| worker["state"] == "up").count() == number
    });
}

fn poisoned(phone: &Phone, pointsman: &Pointsman) -> Request {
    phone.invite(pointsman.address(), None).with("X-Poison", "1")
}

#[test]
fn a_message_that_kills_two_workers_gets_500_and_no_third_one_to_kill() {
    let pointsman = Setup::new(1).start();
    let phone = Phone::new(pointsman.address().ip());
    let standing = phone.call(&phone.invite(pointsman.address(), None), pointsman.address());
    assert!(pointsman.command(&["drain", "w0"]).status.success());
    (0..3).for_each(|_| delicate_worker(&pointsman));
    wait_for_workers(&pointsman, 4);
    let poison = poisoned(&phone, &pointsman);
    assert_eq!(phone.transact(&poison, pointsman.address()).status(), 500);
    // It stays so for its retransmissions.
    assert_eq!(phone.transact(&poison, pointsman.address()).status(), 500);
    wait_for_workers(&pointsman, 2);
    let explained = pointsman.stats(&format!("explain {}", poison.call_id));
    let reasons: Vec<_> = explained["decisions"].as_array().unwrap().iter().map(|it| it["reason"].clone()).collect();
    // A caller on a busy machine asks again while a worker has it, and the copy comes back with it.
    let is_of_a_copy = |reason: &Value| reason == "retransmission" || reason == "moved-already";
    let told: Vec<_> = reasons.into_iter().filter(|reason| !is_of_a_copy(reason)).collect();
    assert_eq!(told[..3], ["selected", "died", "poison"]);
    assert!(told.len() > 3 && told[3..].iter().all(|reason| reason == "answered-before"), "{told:?}");
    assert_eq!(pointsman.stats("counters")["returned"]["reasons"]["poison"], 1);
    // Other calls have noticed nothing.
    phone.call(&phone.invite(pointsman.address(), None), pointsman.address());
    assert_eq!(phone.transact(&standing.request("BYE", 1), standing.target).status(), 200);
}

#[test]
fn calls_that_come_together_with_a_message_that_kills_twice_are_answered() {
    let pointsman = Setup::new(1).start();
    assert!(pointsman.command(&["drain", "w0"]).status.success());
    (0..3).for_each(|_| delicate_worker(&pointsman));
    wait_for_workers(&pointsman, 4);
    let phone = Phone::new(pointsman.address().ip());
    let mut calls: Vec<_> = (0..30).map(|_| phone.invite(pointsman.address(), None)).collect();
    calls.insert(10, poisoned(&phone, &pointsman));
    calls.iter().for_each(|call| phone.send(call, pointsman.address()));
    let mut answered = vec![None; calls.len()];
    while answered.contains(&None) {
        let answer = phone.expect("the next answer", |message| message.status() >= 200);
        let at = calls.iter().position(|call| answer.answers(call)).unwrap();
        answered[at].get_or_insert(answer.status());
    }
    let refused: Vec<_> = answered.iter().enumerate().filter(|(_, status)| **status != Some(200)).collect();
    assert_eq!(refused, [(10, &Some(500))]);
}
