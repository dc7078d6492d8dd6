//! Workers that the dispatcher did not start: `pointsman worker --dispatcher PATH`, and programs on the SDK.

use std::process::{Child, Command, Stdio};

use pointsman::config::Policy;

use crate::support::phone::Phone;
use crate::support::pointsman::{EXECUTABLE, Pointsman, Setup};
use crate::support::{DEADLINE, proc, wait_for};

/// A process that is killed when the test is over.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn by_hand(pointsman: &Pointsman) -> Killed {
    by_hand_with(pointsman, &[])
}

fn by_hand_with(pointsman: &Pointsman, flags: &[&str]) -> Killed {
    let mut command = Command::new(EXECUTABLE);
    command.args(["worker", "--dispatcher"]).arg(pointsman.run_dir().join("handoff.sock")).args(flags);
    Killed(command.stdin(Stdio::null()).stderr(Stdio::null()).spawn().unwrap())
}

/// So many that with one lane or with four each of two workers gets two of them: lanes go round each by itself.
const CALLS: usize = 24;

#[test]
fn a_worker_that_is_started_by_hand_takes_calls_at_a_port_of_its_own_until_it_is_stopped() {
    let pointsman = Setup::new(1).with(["--policy", "round-robin", "--slow-start", "0s"]).start();
    let mut worker = by_hand(&pointsman);
    pointsman.wait_until("the worker to be there", |load| load["workers"][1]["state"] == "up");
    assert_eq!(pointsman.worker(1)["pid"], worker.0.id());
    let phone = Phone::new(pointsman.address().ip());
    let calls: Vec<_> =
        (0..CALLS).map(|_| phone.call(&phone.invite(pointsman.address(), None), pointsman.address())).collect();
    let port = pointsman.worker_address(1).port();
    let at_hand: Vec<_> = calls.iter().filter(|dialog| dialog.target.port() == port).collect();
    assert!((2..CALLS - 1).contains(&at_hand.len()), "{}", at_hand.len());
    // Contact names the address that the call came to, and this host answers there.
    assert_eq!(at_hand[0].target.ip(), pointsman.address().ip());
    assert_eq!(phone.transact(&at_hand[0].request("BYE", 1), at_hand[0].target).status(), 200);
    assert!(proc::signal(worker.0.id(), nix::sys::signal::Signal::SIGTERM));
    for _ in 1..at_hand.len() {
        let bye = phone.expect("the BYE of another", |message| message.status() == 0 && message.method() == "BYE");
        phone.answer(&bye, 200);
    }
    let status = wait_for("its end", DEADLINE, || worker.0.try_wait().unwrap());
    assert!(status.success());
    pointsman.wait_until("its place to be free", |load| load["workers"].as_array().is_some_and(|all| all.len() == 1));
}

#[test]
fn a_worker_that_came_by_itself_outlives_the_dispatcher_too_and_keeps_no_port_from_the_next_one() {
    let mut pointsman = Setup::new(1).with(["--policy", "round-robin", "--slow-start", "0s"]).start();
    let worker = by_hand(&pointsman);
    pointsman.wait_until("the worker to be there", |load| load["workers"][1]["state"] == "up");
    let phone = Phone::new(pointsman.address().ip());
    let calls: Vec<_> =
        (0..CALLS).map(|_| phone.call(&phone.invite(pointsman.address(), None), pointsman.address())).collect();
    let slot = pointsman.worker_pids()[0];
    pointsman.crash();
    // The slot's worker, with its duplicate of the well-known socket, goes as well.
    assert!(proc::signal(slot, nix::sys::signal::Signal::SIGKILL));
    wait_for("its end", DEADLINE, || (!proc::runs(slot)).then_some(()));
    wait_for("the well-known port to be let go", DEADLINE, || std::net::UdpSocket::bind(pointsman.address()).ok());
    pointsman.start_again();
    pointsman.wait_until("both to be up", |load| {
        let workers = load["workers"].as_array().map(Vec::as_slice).unwrap_or_default();
        workers.len() == 2 && workers.iter().all(|worker| worker["state"] == "up")
    });
    assert_eq!(pointsman.worker(1)["pid"], worker.0.id());
    let port = pointsman.worker_address(1).port();
    let at_hand: Vec<_> = calls.iter().filter(|dialog| dialog.target.port() == port).collect();
    assert!((2..CALLS - 1).contains(&at_hand.len()), "{}", at_hand.len());
    pointsman.wait_until("its load to be known", |load| load["workers"][1]["sessions"] == at_hand.len());
    for dialog in at_hand {
        // Through the well-known port: its token is still its own.
        assert_eq!(phone.transact(&dialog.request("BYE", 1), pointsman.address()).status(), 200);
    }
}

#[test]
fn without_workers_of_its_own_a_dispatcher_says_503_until_one_comes() {
    let pointsman = Setup::new(0).start();
    let phone = Phone::new(pointsman.address().ip());
    let refused = phone.transact(&phone.invite(pointsman.address(), None), pointsman.address());
    assert_eq!(refused.status(), 503, "{}", refused.text);
    assert!(pointsman.command(&["stat"]).status.success(), "nobody is missed");
    let _worker = by_hand(&pointsman);
    pointsman.wait_until("the worker to be there", |load| load["workers"][0]["state"] == "up");
    let dialog = phone.call(&phone.invite(pointsman.address(), None), pointsman.address());
    assert_eq!(phone.transact(&dialog.request("BYE", 1), dialog.target).status(), 200);
}

#[test]
fn every_policy_chooses_among_nobody() {
    for policy in Policy::ALL {
        let pointsman = Setup::new(0).with(["--policy", policy.label()]).start();
        let phone = Phone::new(pointsman.address().ip());
        let refused = phone.transact(&phone.invite(pointsman.address(), None), pointsman.address());
        assert_eq!(refused.status(), 503, "{policy}: {}", refused.text);
        let _worker = by_hand(&pointsman);
        pointsman.wait_until("the worker to be there", |load| load["workers"][0]["state"] == "up");
        phone.call(&phone.invite(pointsman.address(), None), pointsman.address());
    }
}

#[test]
fn a_worker_that_came_by_itself_and_died_is_missed_until_a_successor_comes_or_it_is_forgotten() {
    let pointsman = Setup::new(1).start();
    let is = |state: &'static str| move |load: &serde_json::Value| load["workers"][1]["state"] == state;
    let worker = by_hand(&pointsman);
    pointsman.wait_until("the worker to be there", is("up"));
    let forget = pointsman.command(&["forget", "w1"]);
    let said = String::from_utf8_lossy(&forget.stderr).into_owned();
    assert!(!forget.status.success() && said.contains(&worker.0.id().to_string()), "it is here: {said}");
    drop(worker);
    pointsman.wait_until("it to be missed", is("down"));
    assert!(pointsman.worker(1)["pid"].is_null());
    let stat = pointsman.command(&["stat"]);
    assert_eq!(stat.status.code(), Some(1), "{}", String::from_utf8_lossy(&stat.stdout));
    let successor = by_hand(&pointsman);
    pointsman.wait_until("its successor in its place", is("up"));
    assert_eq!(pointsman.worker(1)["pid"], successor.0.id());
    assert!(pointsman.command(&["stat"]).status.success());
    drop(successor);
    pointsman.wait_until("the successor to be missed", is("down"));
    assert!(pointsman.command(&["maint", "w1"]).status.success());
    assert!(pointsman.command(&["stat"]).status.success(), "its absence is no fault");
    assert!(pointsman.command(&["forget", "w1"]).status.success());
    pointsman.wait_until("it to be forgotten", |load| load["workers"].as_array().is_some_and(|all| all.len() == 1));
    let own = pointsman.command(&["forget", "w0"]);
    assert!(String::from_utf8_lossy(&own.stderr).contains("is a configured slot"), "{own:?}");
}

#[test]
fn a_worker_that_came_by_itself_is_missed_across_a_takeover() {
    let mut pointsman = Setup::new(1).start();
    let worker = by_hand(&pointsman);
    pointsman.wait_until("the worker to be there", |load| load["workers"][1]["state"] == "up");
    drop(worker);
    pointsman.wait_until("it to be missed", |load| load["workers"][1]["state"] == "down");
    pointsman.take_over();
    pointsman.wait_until("it to be missed still", |load| load["workers"][1]["state"] == "down");
}

#[test]
fn a_worker_that_came_by_itself_gets_new_calls_after_a_takeover() {
    let mut pointsman = Setup::new(0).start();
    let _worker = by_hand(&pointsman);
    pointsman.wait_until("the worker to be there", |load| load["workers"][0]["state"] == "up");
    pointsman.take_over();
    let phone = Phone::new(pointsman.address().ip());
    let invite = phone.invite(pointsman.address(), None);
    assert_eq!(phone.transact(&invite, pointsman.address()).status(), 200);
}

/// The port that an answer names for sound.
fn sound_port(answer: &str) -> u16 {
    let line = answer.lines().find(|line| line.starts_with("m=audio ")).unwrap_or_else(|| panic!("{answer}"));
    line.split(' ').nth(1).and_then(|port| port.parse().ok()).unwrap_or_else(|| panic!("{line}"))
}

#[test]
fn a_worker_that_came_by_itself_has_no_port_of_a_slot_for_sound_and_those_it_is_told_to_have() {
    let pointsman = Setup::new(0).with(["--rtp-ports", "20000-20999"]).start();
    let phone = Phone::new(pointsman.address().ip());
    let rtp = std::net::SocketAddr::new(pointsman.address().ip(), 4_000);
    let answer = || {
        let invite = phone.invite(pointsman.address(), Some(rtp));
        phone.transact(&invite, pointsman.address()).text
    };
    let worker = by_hand(&pointsman);
    pointsman.wait_until("the worker to be there", |load| load["workers"][0]["state"] == "up");
    let port = sound_port(&answer());
    assert!(!(20_000..21_000).contains(&port), "{port}");
    drop(worker);
    pointsman.wait_until("it to be gone", |load| load["workers"][0]["state"] == "down");
    let ip = pointsman.address().ip().to_string();
    let flags = ["--address", &ip, "--port", "6543", "--rtp-ports", "30000-30099"];
    let _worker = by_hand_with(&pointsman, &flags);
    pointsman.wait_until("the next to be there", |load| load["workers"][0]["state"] == "up");
    assert_eq!(pointsman.worker_address(0), std::net::SocketAddr::new(pointsman.address().ip(), 6543));
    let port = sound_port(&answer());
    assert!((30_000..30_100).contains(&port), "{port}");
}

#[test]
fn a_worker_that_came_by_itself_and_finds_no_port_for_sound_says_so_and_leaves() {
    let pointsman = Setup { port: 0, ..Setup::new(0) }.with(["--rtp-ports", "1024-65535"]).start();
    pointsman.wait_for_log("leaves no ports to workers of your own");
    let mut command = Command::new(EXECUTABLE);
    command.args(["worker", "--dispatcher"]).arg(pointsman.run_dir().join("handoff.sock"));
    let output = command.stdin(Stdio::null()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("no ports for media are left") && said.contains("--rtp-ports"), "{said}");
    pointsman.wait_until("nobody to be missed", |load| load["workers"].as_array().is_some_and(Vec::is_empty));
}
