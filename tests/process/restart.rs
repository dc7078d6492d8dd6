//! The dispatcher dies and is started again: its workers outlive it, and come back with their calls and their sockets.

use std::time::{Duration, Instant};

use crate::support::phone::{Dialog, Phone};
use crate::support::pointsman::{Pointsman, Setup};

/// Calls that stand, one phone for all.
fn calls(pointsman: &Pointsman, phone: &Phone, count: usize) -> Vec<Dialog> {
    (0..count).map(|_| phone.call(&phone.invite(pointsman.address(), None), pointsman.address())).collect()
}

#[test]
fn calls_outlive_the_dispatcher_and_the_next_one_takes_their_workers_over() {
    let mut pointsman = Setup::new(2).start();
    let phone = Phone::new(pointsman.address().ip());
    let standing = calls(&pointsman, &phone, 6);
    let workers = pointsman.worker_pids();
    pointsman.crash();
    // Straight to its worker, which needs no dispatcher for that.
    assert_eq!(phone.transact(&standing[0].request("BYE", 1), standing[0].target).status(), 200);
    // Into the well-known port, which waits for the next one.
    let invite = phone.invite(pointsman.address(), None);
    phone.send(&invite, pointsman.address());
    let begin = Instant::now();
    pointsman.start_again();
    let answer = phone.final_response(&invite);
    assert_eq!(answer.status(), 200, "{}", answer.text);
    assert!(begin.elapsed() < Duration::from_secs(3), "{:?}", begin.elapsed());
    eprintln!("restart to first answer: {:?}", begin.elapsed());
    pointsman.wait_until_up();
    assert_eq!(pointsman.worker_pids(), workers);
    for dialog in &standing[1..] {
        // Through the well-known port, too: the tokens are still good.
        assert_eq!(phone.transact(&dialog.request("BYE", 1), pointsman.address()).status(), 200);
    }
}
