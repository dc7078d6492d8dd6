//! Signals that reach all processes of a name, the names themselves, and the life of a process 1.

use std::fs;
use std::process::{Child, Command, Stdio};

use nix::sys::signal::Signal;

use crate::support::phone::Phone;
use crate::support::pointsman::{EXECUTABLE, Pointsman, Setup};
use crate::support::{DEADLINE, own_address, proc, wait_for};

/// Signals that operators' scripts send to all of a name (`pkill -HUP -f pointsman`), and others that end a process.
const STRAY: [Signal; 8] = [
    Signal::SIGHUP,
    Signal::SIGUSR1,
    Signal::SIGUSR2,
    Signal::SIGALRM,
    Signal::SIGVTALRM,
    Signal::SIGPROF,
    Signal::SIGIO,
    Signal::SIGPWR,
];

#[test]
fn a_signal_that_reaches_every_process_of_the_name_ends_neither_dispatcher_nor_worker_nor_call() {
    let pointsman = Setup::new(2).start();
    let phone = Phone::new(pointsman.address().ip());
    let dialog = phone.call(&phone.invite(pointsman.address(), None), pointsman.address());
    let workers = pointsman.worker_pids();
    for stray in STRAY {
        assert!(workers.iter().all(|&pid| proc::signal(pid, stray)), "{stray}");
        assert!(proc::signal(pointsman.pid(), stray), "{stray}");
    }
    wait_for("SIGHUP to be heeded", DEADLINE, || pointsman.log().contains("configuration").then_some(()));
    assert_eq!(phone.transact(&dialog.request("OPTIONS", 1), dialog.target).status(), 200);
    assert_eq!(phone.transact(&dialog.request("BYE", 2), dialog.target).status(), 200);
    assert_eq!(pointsman.worker_pids(), workers, "the same processes");
    assert!(pointsman.stop().success());
}

fn name_of(pid: u32) -> String {
    fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default().trim_end().to_owned()
}

#[test]
fn processes_are_called_pointsman_and_workers_say_which_they_are() {
    let mut pointsman = Setup::new(2).start();
    let mut by_hand = Command::new(EXECUTABLE);
    by_hand.args(["worker", "--dispatcher"]).arg(pointsman.run_dir().join("handoff.sock"));
    let by_hand = Ended(by_hand.stdin(Stdio::null()).stderr(Stdio::null()).spawn().unwrap());
    wait_for("the name of w2", DEADLINE, || (name_of(by_hand.0.id()) == "pointsman-w2").then_some(()));
    drop(by_hand);
    // A worker that came by itself is shown as down until the operator forgets it.
    pointsman.wait_until("its end to be seen", |load| load["workers"][2]["state"] == "down");
    assert!(pointsman.command(&["forget", "w2"]).status.success());
    // A worker learns its name from its welcome, after the dispatcher shows it as up.
    let wait_for_names = |pointsman: &Pointsman| {
        wait_for("the names of both workers", DEADLINE, || {
            let names: Vec<_> = pointsman.worker_pids().into_iter().map(name_of).collect();
            (names == ["pointsman-w0", "pointsman-w1"]).then_some(())
        });
    };
    assert_eq!(name_of(pointsman.pid()), "pointsman");
    wait_for_names(&pointsman);
    pointsman.kill_worker(1);
    pointsman.wait_until("a successor", |load| load["workers"][1]["restarts"] == 1);
    pointsman.wait_until_up();
    pointsman.crash();
    pointsman.start_again();
    pointsman.wait_until_up();
    pointsman.take_over();
    assert_eq!(name_of(pointsman.pid()), "pointsman");
    wait_for_names(&pointsman);
}

/// A process that is ended with the test.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn process_1_collects_the_orphans_it_is_given() {
    let dir = tempfile::Builder::new().prefix("pm-").tempdir().unwrap();
    let listen = format!("{}:5060", own_address());
    let (mut unshare, mut nsenter) = (Command::new("unshare"), Command::new("nsenter"));
    if !nix::unistd::getuid().is_root() {
        unshare.args(["--user", "--map-root-user"]);
        nsenter.args(["--user", "--preserve-credentials"]);
    }
    unshare.args(["--pid", "--fork", "--kill-child", "--mount-proc", "--"]);
    unshare.args([EXECUTABLE, "--workers", "1", "--worker-ports", "0", "--listen", &listen, "--run-dir"]);
    // With `unshare` ends the namespace.
    let init = Ended(unshare.arg(dir.path()).stdin(Stdio::null()).stderr(Stdio::null()).spawn().unwrap());
    let dispatcher = wait_for("process 1", DEADLINE, || {
        proc::children(init.0.id()).into_iter().find(|&pid| name_of(pid) == "pointsman")
    });
    let worker = wait_for("its worker", DEADLINE, || {
        proc::children(dispatcher).into_iter().find(|&pid| name_of(pid) == "pointsman-w0")
    });
    // The shell's child outlives it.
    let target = dispatcher.to_string();
    nsenter.args(["--target", &target, "--pid", "--", "sh", "-c", "sleep 0.5 &"]);
    assert!(nsenter.stdout(Stdio::null()).status().unwrap().success());
    let orphan = wait_for("the orphan", DEADLINE, || {
        proc::children(dispatcher).into_iter().find(|&pid| pid != worker && name_of(pid) == "sleep")
    });
    wait_for("the orphan to be collected", DEADLINE, || {
        (!fs::exists(format!("/proc/{orphan}")).unwrap_or(true)).then_some(())
    });
    // The dispatcher's own child is collected by the code that waits for it, and has a successor.
    assert!(proc::signal(worker, Signal::SIGKILL));
    wait_for("a successor", DEADLINE, || {
        let children = proc::children(dispatcher);
        (children.len() == 1 && children[0] != worker && name_of(children[0]) == "pointsman-w0").then_some(())
    });
}
