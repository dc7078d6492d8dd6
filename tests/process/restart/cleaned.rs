//! A cleaner of temporary directories has been in the run directory: regular files that were not touched for days go,
//! sockets stay.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::UdpSocket;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use nix::sys::signal::Signal;

use super::{calls, hang_up};
use crate::support::phone::Phone;
use crate::support::pointsman::{Pointsman, Setup, run};
use crate::support::{DEADLINE, proc, wait_for};

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

/// Processes that are killed when the test is over: without locks nothing else finds them.
struct Killed(Vec<u32>);

impl Drop for Killed {
    fn drop(&mut self) {
        proc::kill_all(&self.0);
    }
}

impl Killed {
    fn signal(&self, signal: Signal) {
        self.0.iter().for_each(|pid| assert!(proc::signal(*pid, signal), "process {pid} is gone"));
    }
}

/// Kills the dispatcher and removes what it and its workers keep in the run directory. The workers cannot make it anew:
/// they are stopped.
fn crash_and_clean(pointsman: &mut Pointsman) -> Killed {
    let workers = Killed(pointsman.worker_pids());
    pointsman.crash();
    let all = workers.0.len();
    wait_for("the workers to be alone", DEADLINE, || {
        // Not before the kill: the end of its parent makes a stopped process go on.
        (pointsman.log().matches("no dispatcher: calls go on").count() >= all).then_some(())
    });
    workers.signal(Signal::SIGSTOP);
    workers.0.iter().for_each(|pid| {
        wait_for("a worker to be stopped", DEADLINE, || proc::is_stopped(*pid).then_some(()));
    });
    let entries = fs::read_dir(pointsman.run_dir()).unwrap().map(|entry| entry.unwrap().path());
    let kept = |path: &PathBuf| path.extension().is_some_and(|end| end == "sock") || path.ends_with("stderr");
    entries.filter(|path| !kept(path)).for_each(|path| fs::remove_file(path).unwrap());
    workers
}

/// A new dispatcher finds every port free, and no lock.
fn are_found_without_a_port_in_the_way(before: usize, after: usize) {
    let setup = Setup { worker_ports: 0, ..Setup::new(before) }.with(["--policy", "round-robin"]);
    let mut pointsman = setup.clone().start();
    let phone = Phone::new(pointsman.address().ip());
    let standing = calls(&pointsman, &phone, before);
    let workers = crash_and_clean(&mut pointsman);
    pointsman.start_again_as(Setup { port: 5062, workers: after, ..setup });
    pointsman.wait_for_log("waiting for the workers of an earlier dispatcher: w0, w1");
    workers.signal(Signal::SIGCONT);
    pointsman.wait_until_up();
    assert!(workers.0.iter().all(|pid| proc::runs(*pid)), "none is killed");
    for (slot, pid) in workers.0[..after].iter().enumerate() {
        // A dispatcher that has waited in vain says so: the worker took more than a second to come back.
        let given_up = format!("end it with `kill {pid}`");
        if pointsman.worker(slot)["pid"] == *pid {
            assert!(!pointsman.log().contains(&given_up), "slot {slot} is doubled");
        } else {
            pointsman.wait_for_log(&given_up);
        }
    }
    standing.iter().for_each(|dialog| hang_up(&phone, dialog));
    calls(&pointsman, &phone, after).iter().for_each(|dialog| hang_up(&phone, dialog));
}

#[test]
fn workers_without_locks_are_waited_for_where_no_port_is_in_the_way() {
    are_found_without_a_port_in_the_way(2, 2);
}

#[test]
fn workers_without_locks_are_waited_for_where_the_new_dispatcher_has_fewer_slots() {
    are_found_without_a_port_in_the_way(3, 1);
}

/// A process that is killed and waited for when the test is over.
struct Foreign(Child);

impl Drop for Foreign {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A process with the words of w0 in a mount namespace of its own, where the run directory is another one.
fn of_another_container(pointsman: &Pointsman) -> Foreign {
    let place = tempfile::Builder::new().prefix("pm-").tempdir().unwrap();
    let run_dir = pointsman.run_dir();
    let script = format!("mount -t tmpfs none '{}' && echo there && kill -STOP $$", run_dir.display());
    fs::write(place.path().join("worker"), script).unwrap();
    let mut unshare = Command::new("unshare");
    if !nix::unistd::getuid().is_root() {
        unshare.args(["--user", "--map-root-user"]);
    }
    unshare.args(["--mount", "--", "sh", "worker", "--name", "w0", "--link-fd", "9", "--dispatcher"]);
    let unshare = unshare.arg(run_dir.join("handoff.sock")).current_dir(place.path()).stdout(Stdio::piped());
    let mut process = Foreign(unshare.spawn().unwrap());
    let mut line = String::new();
    BufReader::new(process.0.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert_eq!(line, "there\n");
    process
}

#[test]
fn a_process_of_another_container_with_the_words_of_a_worker_is_none_of_ours() {
    let setup = Setup { worker_ports: 0, ..Setup::new(1) };
    let mut pointsman = setup.clone().start();
    let workers = crash_and_clean(&mut pointsman);
    let pids = workers.0.clone();
    drop(workers);
    wait_for("the worker to be gone", DEADLINE, || pids.iter().all(|pid| !proc::runs(*pid)).then_some(()));
    let _foreign = of_another_container(&pointsman);
    let before = pointsman.log().len();
    pointsman.start_again_as(setup);
    pointsman.wait_until_up();
    let is_logged = || pointsman.log().get(before..)?.contains("ready for calls").then_some(());
    wait_for("the line after the one that must not be there", DEADLINE, is_logged);
    assert!(!pointsman.log().contains("of an earlier dispatcher"), "{}", pointsman.log());
}

#[test]
fn a_worker_without_a_lock_that_hangs_is_named_and_keeps_its_calls() {
    let setup = Setup { worker_ports: 0, ..Setup::new(1) };
    let mut pointsman = setup.clone().start();
    let phone = Phone::new(pointsman.address().ip());
    let standing = calls(&pointsman, &phone, 1);
    let worker = crash_and_clean(&mut pointsman);
    pointsman.start_again_as(Setup { port: 5062, ..setup });
    pointsman.wait_for_log(&format!("end it with `kill {}`", worker.0[0]));
    pointsman.wait_until_up();
    assert_ne!(pointsman.worker_pids(), worker.0, "its slot has a worker");
    worker.signal(Signal::SIGCONT);
    standing.iter().for_each(|dialog| hang_up(&phone, dialog));
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
