//! A cleaner of temporary directories has been in the run directory: regular files that nobody touches for days go, sockets
//! stay.

use std::fs;
use std::net::UdpSocket;

use super::{calls, hang_up};
use crate::support::phone::Phone;
use crate::support::pointsman::{Setup, run};
use crate::support::{DEADLINE, wait_for};

/// Removes files of the run directory while calls stand, kills the dispatcher and starts it again.
fn outlives(cleaned: &[&str]) {
    let mut pointsman = Setup::new(2).with(["--policy", "round-robin"]).start();
    let phone = Phone::new(pointsman.address().ip());
    let standing = calls(&pointsman, &phone, 2);
    let workers = pointsman.worker_pids();
    cleaned.iter().for_each(|name| fs::remove_file(pointsman.run_dir().join(name)).unwrap());
    pointsman.crash();
    pointsman.start_again();
    pointsman.wait_until_up();
    assert_eq!(pointsman.worker_pids(), workers, "{cleaned:?}");
    standing.iter().for_each(|dialog| hang_up(&phone, dialog));
    calls(&pointsman, &phone, 2).iter().for_each(|dialog| hang_up(&phone, dialog));
    for name in ["key", "lock", "w0.lock", "w1.lock"] {
        assert!(pointsman.run_dir().join(name).exists(), "{name} is there again after {cleaned:?}");
    }
}

#[test]
fn a_worker_whose_lock_was_cleaned_away_comes_back() {
    outlives(&["w0.lock"]);
}

#[test]
fn workers_come_back_though_every_file_was_cleaned_away() {
    outlives(&["key", "lock", "w0.lock", "w1.lock"]);
}

#[test]
fn workers_come_back_to_a_run_directory_that_was_made_anew() {
    let mut pointsman = Setup::new(2).start();
    let phone = Phone::new(pointsman.address().ip());
    let standing = calls(&pointsman, &phone, 2);
    let workers = pointsman.worker_pids();
    pointsman.crash();
    let sockets_and_locks = fs::read_dir(pointsman.run_dir()).unwrap().map(|entry| entry.unwrap().path());
    sockets_and_locks.filter(|path| !path.ends_with("stderr")).for_each(|path| fs::remove_file(path).unwrap());
    pointsman.start_again();
    pointsman.wait_until_up();
    assert_eq!(pointsman.worker_pids(), workers);
    standing.iter().for_each(|dialog| hang_up(&phone, dialog));
}

#[test]
fn a_port_that_is_taken_is_told_with_who_has_it_and_the_flag_that_chooses_it() {
    let setup = Setup::new(1);
    let refused = |taken: &str, flags: &[&str]| {
        let other = UdpSocket::bind(taken).unwrap();
        let dir = tempfile::tempdir().unwrap();
        let run_dir = dir.path().join("pm").display().to_string();
        let output = run(&[&["--run-dir", &run_dir], flags].concat());
        drop(other);
        assert_eq!(output.status.code(), Some(2));
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    let (listen, mgcp) = (format!("udp:{}:5060", setup.ip), format!("mgcp:{}:2427", setup.ip));
    let us = format!("process {} (", std::process::id());
    for (port, flags, flag) in [
        (5060, ["--listen", &listen], "--listen"),
        (5070, ["--listen", &listen], "--worker-ports"),
        (2430, ["--listen", &mgcp], "--worker-mgcp-ports"),
    ] {
        let said = refused(&format!("{}:{port}", setup.ip), &flags);
        let last = said.lines().last().unwrap();
        assert!(last.contains(&us) && last.ends_with(&format!("choose another with {flag}")), "{said}");
    }
}

#[test]
fn a_start_in_the_way_of_workers_of_another_run_directory_names_them() {
    let pointsman = Setup::new(1).start();
    let worker = pointsman.worker_pids()[0];
    let dir = tempfile::tempdir().unwrap();
    let run_dir = dir.path().join("pm").display().to_string();
    let output = run(&["--run-dir", &run_dir, "--listen", &format!("udp:{}", pointsman.address())]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains(&format!("process {worker} (")) && said.contains("worker --name w0"), "{said}");
    wait_for("its directory to be gone again", DEADLINE, || (!dir.path().join("pm").exists()).then_some(()));
}
