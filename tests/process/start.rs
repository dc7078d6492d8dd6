//! Obstacles to a start: one line that names the obstacle, exit code 2, nothing left on disk or running.

use std::cell::Cell;
use std::net::UdpSocket;
use std::process::Output;
use std::time::Duration;

use nix::sys::signal::Signal;

use crate::support::phone::Phone;
use crate::support::pointsman::{EXECUTABLE, Setup, run};
use crate::support::{DEADLINE, own_address, proc, wait_for};

/// Exit code 2, one line on stderr that holds every one of `words`, nothing on stdout.
fn assert_refused(output: &Output, words: &[&str]) {
    let (text, code) = (String::from_utf8_lossy(&output.stderr), output.status.code());
    assert_eq!(code, Some(2), "{text}");
    // Warnings about the settings may stand before it, with their time.
    let said: Vec<_> = text.lines().filter(|line| line.starts_with("pointsman:")).collect();
    assert_eq!(said.len(), 1, "one line, not:\n{text}");
    for word in words {
        assert!(said[0].contains(word), "no `{word}` in: {text}");
    }
    assert!(output.stdout.is_empty(), "{}", String::from_utf8_lossy(&output.stdout));
}

fn dir() -> tempfile::TempDir {
    tempfile::Builder::new().prefix("pm-").tempdir().unwrap()
}

fn left_in(dir: &tempfile::TempDir) -> Vec<String> {
    let entries = std::fs::read_dir(dir.path()).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned());
    names.filter(|name| name.ends_with(".sock")).collect()
}

#[test]
fn a_port_in_use_is_named() {
    let taken = UdpSocket::bind((own_address(), 5060)).unwrap();
    let address = taken.local_addr().unwrap();
    let dir = dir();
    let run_dir = dir.path().display().to_string();
    let output = run(&["--workers", "1", "--listen", &format!("udp:{address}"), "--run-dir", &run_dir]);
    assert_refused(&output, &[&address.to_string()]);
    assert_eq!(left_in(&dir), Vec::<String>::new());
}

#[test]
fn a_workers_port_in_use_is_named() {
    let ip = own_address();
    let _taken = UdpSocket::bind((ip, 5071)).unwrap();
    let dir = dir();
    let run_dir = dir.path().display().to_string();
    let output = run(&["--workers", "2", "--listen", &format!("udp:{ip}:5060"), "--run-dir", &run_dir]);
    assert_refused(&output, &[&format!("{ip}:5071")]);
    assert_eq!(left_in(&dir), Vec::<String>::new());
}

#[test]
fn a_certificate_that_cannot_be_read_is_named_as_check_names_it_though_no_listener_speaks_tls() {
    let dir = dir();
    let file = dir.path().join("p.toml");
    let text = format!(
        "listen = [\"udp:{}:5060\"]\n[[tls]]\ncertificate = \"/nowhere.pem\"\nkey = \"/nowhere.key\"\n",
        own_address()
    );
    std::fs::write(&file, text).unwrap();
    let (file, run_dir) = (file.display().to_string(), dir.path().display().to_string());
    for words in [&["check", &file][..], &["--config", &file, "--run-dir", &run_dir]] {
        assert_refused(&run(words), &["tls: /nowhere.pem cannot be read"]);
    }
    assert_eq!(left_in(&dir), Vec::<String>::new());
}

#[test]
fn an_address_that_is_not_this_hosts_is_named() {
    let dir = dir();
    let run_dir = dir.path().display().to_string();
    let output = run(&["--workers", "1", "--listen", "udp:203.0.113.77:5060", "--run-dir", &run_dir]);
    assert_refused(&output, &["203.0.113.77:5060"]);
    assert_eq!(left_in(&dir), Vec::<String>::new());
}

#[test]
fn a_socket_path_that_is_too_long_is_named() {
    let dir = dir();
    let long = dir.path().join("d".repeat(110));
    let listen = format!("udp:{}:5060", own_address());
    let output = run(&["--workers", "1", "--listen", &listen, "--run-dir", &long.display().to_string()]);
    assert_refused(&output, &["ddddd"]);
}

#[test]
fn a_bad_key_in_the_configuration_is_named_with_its_place() {
    let dir = dir();
    let file = dir.path().join("pointsman.toml");
    std::fs::write(&file, "workers = 2\nworkes = 3\n").unwrap();
    for words in [&["check", "--config"][..], &["--config"]] {
        let mut words = words.to_vec();
        let path = file.display().to_string();
        words.push(&path);
        let output = run(&words);
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{text}");
        assert!(text.contains("workes"), "{text}");
    }
}

#[test]
fn a_second_dispatcher_on_the_same_run_directory_is_refused_and_disturbs_nothing() {
    let first = Setup::new(1).start();
    let run_dir = first.run_dir().display().to_string();
    let listen = format!("udp:{}:5060", own_address());
    let output = run(&["--workers", "1", "--listen", &listen, "--run-dir", &run_dir]);
    assert_refused(&output, &[&first.pid().to_string()]);
    assert_eq!(first.load()["workers"][0]["state"], "up");
}

#[test]
fn an_unknown_option_is_a_usage_error() {
    assert_eq!(run(&["--wrokers", "4"]).status.code(), Some(2));
}

#[test]
fn a_call_that_comes_before_the_first_worker_is_up_is_answered_and_not_refused() {
    let pointsman = Setup::new(1).spawn();
    let phone = Phone::new(pointsman.address().ip());
    let invite = phone.invite(pointsman.address(), None);
    let answer = wait_for("a final answer", DEADLINE, || {
        // Until the port is there, datagrams to it are lost.
        phone.send(&invite, pointsman.address());
        phone.receive(Duration::from_micros(200)).filter(|answer| answer.answers(&invite) && answer.status() >= 200)
    });
    assert_eq!(answer.status(), 200, "{}", answer.text);
}

#[test]
fn too_few_descriptors_are_named_and_nothing_is_started() {
    for limit in [12, 18, 24, 30] {
        let dir = dir();
        let words = format!(
            "ulimit -n {limit}; exec {} --workers 4 --listen udp:{}:5060 --run-dir {}",
            crate::support::pointsman::EXECUTABLE,
            own_address(),
            dir.path().display()
        );
        let output = std::process::Command::new("sh").args(["-c", &words]).output().unwrap();
        assert_refused(&output, &["file descriptors", &limit.to_string()]);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    }
}

#[test]
fn a_signal_during_the_start_is_an_order_and_leaves_no_socket_behind() {
    let dir = dir();
    let run_dir = dir.path().join("run");
    let mut child = std::process::Command::new(crate::support::pointsman::EXECUTABLE)
        .args(["--workers", "8", "--listen", &format!("udp:{}:5060", own_address()), "--run-dir"])
        .arg(&run_dir)
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    wait_for("the first trace of it", DEADLINE, || run_dir.join("lock").exists().then_some(()));
    assert!(crate::support::proc::signal(child.id(), nix::sys::signal::Signal::SIGTERM));
    assert!(child.wait().unwrap().success());
    let left: Vec<_> = std::fs::read_dir(&run_dir).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(left.iter().all(|name| !name.to_string_lossy().ends_with(".sock")), "{left:?}");
}

#[test]
fn too_little_memory_is_said_before_anything_is_begun() {
    let dir = dir();
    let mut command = std::process::Command::new("prlimit");
    command.args(["--as=400000000", EXECUTABLE, "--workers", "8", "--retention", "64MiB", "--run-dir"]);
    command.arg(dir.path()).args(["--listen", &format!("udp:{}:5060", own_address())]);
    let output = command.output().unwrap();
    assert_refused(&output, &["memory", "--retention", "8 workers"]);
    assert_eq!(left_in(&dir), Vec::<String>::new());
}

#[test]
fn load_and_explain_are_answered_while_workers_start() {
    // Thirty-two are started at a time.
    const WORKERS: usize = 80;
    let pointsman = Setup::new(WORKERS).spawn();
    // As long as one of them is held they are not all up.
    let mut known = Vec::new();
    let held = wait_for("a worker to start", DEADLINE, || {
        let held = pointsman.hold_starting(&mut known);
        (held.is_some() || known.len() >= WORKERS).then_some(held)
    });
    let held = held.unwrap_or_else(|| pointsman.hold_successor());
    let in_between = Cell::new(0);
    pointsman.wait_until("all workers to be up", |load| {
        let Some(all) = load["workers"].as_array() else { return false };
        assert_eq!(all.len(), WORKERS, "each of them is shown from the first moment");
        let up = all.iter().filter(|worker| worker["state"] == "up").count();
        if (1..WORKERS).contains(&up) {
            in_between.set(in_between.get() + 1);
            let answer = pointsman.stats("explain nobody");
            assert!(answer["decisions"].is_array(), "{answer}");
        }
        up == WORKERS - 1
    });
    assert!(in_between.get() > 0);
    assert!(proc::signal(held, Signal::SIGCONT));
    pointsman.wait_until_up();
}
