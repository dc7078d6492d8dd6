//! Filters of system calls, as containers and systemd put them around a program, and kernels that lack a call:
//! Pointsman does not need the refused calls.

use std::thread;

use seccompiler::{BpfProgram, SeccompAction, SeccompFilter, apply_filter};
use serde_json::Value;

use crate::support::phone::Phone;
use crate::support::pointsman::{Pointsman, Setup};
use crate::support::{DEADLINE, wait_for};

/// Does `what` in a thread that gets `errno` from each of `calls`, and so does whatever it starts.
fn where_refused(calls: &[i64], errno: i32, what: impl FnOnce() + Send + 'static) {
    let rules = calls.iter().map(|&call| (call, Vec::new())).collect();
    let (allow, refuse) = (SeccompAction::Allow, SeccompAction::Errno(errno as u32));
    let filter = SeccompFilter::new(rules, allow, refuse, std::env::consts::ARCH.try_into().unwrap()).unwrap();
    let program: BpfProgram = filter.try_into().unwrap();
    let filtered = move || {
        apply_filter(&program).expect("a process may filter itself");
        what();
    };
    thread::spawn(filtered).join().unwrap();
}

fn serves(pointsman: &Pointsman) {
    pointsman.wait_until_up();
    let phone = Phone::new(pointsman.address().ip());
    phone.call(&phone.invite(pointsman.address(), None), pointsman.address());
}

#[test]
fn workers_come_up_where_containers_and_systemd_refuse_pidfd_getfd() {
    where_refused(&[libc::SYS_pidfd_getfd], libc::EPERM, || serves(&Setup::new(2).spawn()));
}

#[test]
fn workers_come_up_end_come_back_and_are_taken_over_where_the_kernel_has_no_pidfd() {
    let newer = [libc::SYS_pidfd_open, libc::SYS_pidfd_getfd, libc::SYS_pidfd_send_signal, libc::SYS_clone3];
    where_refused(&newer, libc::ENOSYS, || {
        let mut pointsman = Setup::new(2).spawn();
        serves(&pointsman);
        pointsman.crash();
        pointsman.start_again();
        serves(&pointsman);
        assert_eq!(pointsman.worker_number(0, "restarts"), 0, "it came back");
        pointsman.kill_worker(0);
        pointsman.wait_until("a successor", |load| load["workers"][0]["restarts"] == 1);
        pointsman.take_over();
        serves(&pointsman);
        pointsman.kill_worker(1);
        pointsman.wait_until("a successor", |load| load["workers"][1]["restarts"] == 1);
        serves(&pointsman);
        assert!(pointsman.stop().success());
    });
}

#[test]
fn a_start_that_gets_no_worker_up_says_so_in_the_log_and_in_the_stats() {
    // Workers read their signals from a descriptor, the dispatcher does not.
    where_refused(&[libc::SYS_signalfd4], libc::EPERM, || {
        let pointsman = Setup::new(2).spawn();
        let line = "no worker comes up, every call is refused: the lines above tell why";
        let log = wait_for(line, DEADLINE, || Some(pointsman.log()).filter(|log| log.contains(line)));
        assert!(log.contains("pointsman: cannot take signals: Operation not permitted"), "{log}");
        assert_eq!(log.matches(line).count(), 1);
        // The line comes with the third death in a row of either worker, which may be the other's.
        let is_told =
            |load: &Value| load["workers"][0]["fault"].as_str()?.strip_prefix("exited with code 2, ").map(drop);
        pointsman.wait_until("the fault of w0", |load| is_told(load).is_some());
        let stat = pointsman.command(&["stat"]);
        assert_eq!(stat.status.code(), Some(1));
        let said = String::from_utf8_lossy(&stat.stderr);
        assert!(said.contains("w0 is ") && said.contains(" (exited with code 2, "), "{said}");
    });
}
