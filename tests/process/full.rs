//! No room: the next worker is tried, and where there is none the caller gets an answer.

use std::net::UdpSocket;

use crate::support::phone::{Phone, Received};
use crate::support::pointsman::{Pointsman, Setup};

fn place(phone: &Phone, pointsman: &Pointsman, size: u32) -> Received {
    let invite = phone.invite(pointsman.address(), None).with("X-Session-Size", size.to_string());
    let reply = phone.transact(&invite, pointsman.address());
    match reply.status() {
        200 => phone.send(&crate::support::phone::Dialog::new(&invite, reply.clone()).ack(), reply.contact_address()),
        _ => phone.send(&invite.ack(&reply), pointsman.address()),
    }
    reply
}

#[test]
fn a_pool_that_is_full_answers_503_with_retry_after() {
    let pointsman = Setup::new(2).with(["--capacity", "2"]).start();
    let phone = Phone::new(pointsman.address().ip());
    for _ in 0..4 {
        assert_eq!(place(&phone, &pointsman, 1).status(), 200);
    }
    let refused = place(&phone, &pointsman, 1);
    assert_eq!(refused.status(), 503, "{}", refused.text);
    assert!(refused.header("Retry-After").is_some_and(|seconds| seconds.parse::<u32>().is_ok()), "{}", refused.text);
    pointsman.wait_until("both workers to report themselves full", |load| {
        load["workers"].as_array().is_some_and(|all| all.iter().all(|worker| worker["units_used"] == 2))
    });
}

#[test]
fn a_session_that_does_not_fit_now_gets_486_and_one_that_never_fits_480() {
    let pointsman = Setup::new(1).with(["--capacity", "4"]).start();
    let phone = Phone::new(pointsman.address().ip());
    assert_eq!(place(&phone, &pointsman, 3).status(), 200);
    assert_eq!(place(&phone, &pointsman, 2).status(), 486);
    assert_eq!(place(&phone, &pointsman, 5).status(), 480);
    assert_eq!(place(&phone, &pointsman, 1).status(), 200);
}

#[test]
fn a_call_that_a_full_worker_refuses_goes_to_the_next_before_the_caller_hears_of_it() {
    const UNITS: usize = 4;
    let pointsman = Setup::new(2).with(["--capacity", &UNITS.to_string(), "--policy", "pack"]).start();
    let phone = Phone::new(pointsman.address().ip());
    let refused = || pointsman.worker_number(0, "refused") + pointsman.worker_number(1, "refused");
    // Calls placed straight at the worker's port fill it without the dispatcher's knowledge, until its next report.
    // Whether others are handed over before that is a matter of a millisecond, so this is tried until it happens once.
    for _ in 0..50 {
        let direct: Vec<_> = (0..UNITS).map(|_| phone.invite(pointsman.worker_address(0), None)).collect();
        let handed: Vec<_> = (0..UNITS).map(|_| phone.invite(pointsman.address(), None)).collect();
        direct.iter().for_each(|invite| phone.send(invite, pointsman.worker_address(0)));
        handed.iter().for_each(|invite| phone.send(invite, pointsman.address()));
        let mut open = direct.iter().chain(&handed).collect::<Vec<_>>();
        while !open.is_empty() {
            let reply = phone.expect("an answer to every INVITE", |reply| reply.status() >= 200);
            let Some(at) = open.iter().position(|invite| reply.answers(invite)) else { continue };
            let invite = open.swap_remove(at);
            let through_dispatcher = handed.iter().any(|other| other.branch == invite.branch);
            if reply.status() == 200 {
                let dialog = crate::support::phone::Dialog::new(invite, reply);
                phone.send(&dialog.ack(), dialog.target);
                phone.send(&dialog.request("BYE", 1), dialog.target);
            } else {
                assert!(!through_dispatcher, "the caller heard {} of a full worker", reply.status());
                phone.send(&invite.ack(&reply), reply.from);
            }
        }
        if refused() > 0 {
            return;
        }
        // The next try needs both workers empty, by the dispatcher's own count.
        pointsman.wait_until("both workers to be empty again", |load| {
            let is_empty = |worker: &serde_json::Value| worker["units_used"] == 0 && worker["ledger"] == 0;
            load["workers"].as_array().is_some_and(|all| all.iter().all(is_empty))
        });
        pointsman.wait_until("the calls to be over", |load| {
            load["workers"].as_array().is_some_and(|all| all.iter().all(|worker| worker["units_used"] == 0))
        });
    }
    panic!("in 50 rounds no worker refused anything");
}

#[test]
fn every_free_rtp_port_is_found_however_many_another_program_has_and_none_left_is_503() {
    const PAIRS: u16 = 60;
    const FREE: u16 = 5;
    let range = format!("20000-{}", 20_000 + 2 * PAIRS - 1);
    let setup = Setup::new(1).with(["--rtp-ports", &range]);
    let held: Vec<_> = (0..PAIRS - FREE).map(|pair| UdpSocket::bind((setup.ip, 20_000 + 2 * pair)).unwrap()).collect();
    let pointsman = setup.start();
    let phone = Phone::new(pointsman.address().ip());
    let sound = UdpSocket::bind((pointsman.address().ip(), 0)).unwrap();
    let invite = || phone.invite(pointsman.address(), sound.local_addr().ok());
    for call in 0..FREE {
        let answer = phone.transact(&invite(), pointsman.address());
        assert_eq!(answer.status(), 200, "call {call}: {}", answer.text);
    }
    for _ in 0..2 {
        let refused = phone.transact(&invite(), pointsman.address());
        assert_eq!((refused.status(), refused.header("Retry-After").is_some()), (503, true), "{}", refused.text);
    }
    drop(held);
    pointsman.wait_until("a call to find a port that is free again", |_| {
        phone.transact(&invite(), pointsman.address()).status() == 200
    });
}
