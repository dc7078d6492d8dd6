//! The operator's side: subcommands and the stats socket of a running dispatcher.

use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::process::Command;

use nix::sys::signal::Signal;
use serde_json::Value;

use crate::support::phone::{Dialog, Phone};
use crate::support::pointsman::{EXECUTABLE, Pointsman, Setup};
use crate::support::{DEADLINE, proc, wait_for};

fn call(phone: &Phone, pointsman: &Pointsman) -> Dialog {
    phone.call(&phone.invite(pointsman.address(), None), pointsman.address())
}

#[test]
fn a_drained_worker_gets_no_new_calls_and_keeps_those_it_has() {
    let pointsman = Setup::new(2).with(["--policy", "round-robin"]).start();
    let phone = Phone::new(pointsman.address().ip());
    let calls: Vec<_> = (0..4).map(|_| call(&phone, &pointsman)).collect();
    let output = pointsman.command(&["drain", "w0"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(pointsman.worker(0)["admin"], "drain");
    for _ in 0..6 {
        assert_eq!(pointsman.slot_of(call(&phone, &pointsman).target), 1);
    }
    for dialog in &calls {
        assert_eq!(phone.transact(&dialog.request("BYE", 1), dialog.target).status(), 200);
    }
    assert!(pointsman.command(&["ready", "w0"]).status.success());
    assert_eq!(pointsman.worker(0)["admin"], "ready");
    let slots: Vec<_> = (0..4).map(|_| pointsman.slot_of(call(&phone, &pointsman).target)).collect();
    assert!(slots.contains(&0), "{slots:?}");
}

#[test]
fn with_all_workers_drained_options_says_503_and_so_does_a_call() {
    let pointsman = Setup::new(1).start();
    let phone = Phone::new(pointsman.address().ip());
    let options = phone.request("OPTIONS", pointsman.address());
    assert_eq!(phone.transact(&options, pointsman.address()).status(), 200);
    assert!(pointsman.command(&["drain", "w0"]).status.success());
    let options = phone.request("OPTIONS", pointsman.address());
    let refused = phone.transact(&options, pointsman.address());
    assert_eq!(refused.status(), 503);
    assert!(refused.header("Retry-After").is_some(), "{}", refused.text);
    let invite = phone.invite(pointsman.address(), None);
    assert_eq!(phone.transact(&invite, pointsman.address()).status(), 503);
}

#[test]
fn explain_says_where_a_call_went_and_why() {
    let pointsman = Setup::new(2).start();
    let phone = Phone::new(pointsman.address().ip());
    let dialog = call(&phone, &pointsman);
    let worker = format!("w{}", pointsman.slot_of(dialog.target));
    let output = pointsman.command(&["explain", &dialog.invite.call_id]);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success() && text.contains(&worker), "{text}");
    let explained = pointsman.stats(&format!("explain {}", dialog.invite.call_id));
    let first = &explained["decisions"][0];
    assert_eq!(first["worker"], worker.as_str(), "{explained}");
    assert!(first["reason"].as_str().is_some_and(|reason| !reason.is_empty()), "{explained}");
}

#[test]
fn explain_says_how_a_worker_refused_a_call_and_what_was_wrong_with_a_request() {
    let pointsman = Setup::new(1).start();
    let phone = Phone::new(pointsman.address().ip());
    let mut invite = phone.invite(pointsman.address(), None);
    invite.body = invite.body.map(|body| body.replace("RTP/AVP 0 8", "RTP/SAVP 0 8"));
    let refused = phone.transact(&invite, pointsman.address());
    assert_eq!(refused.status(), 488);
    assert!(refused.header("Warning").is_some_and(|warning| warning.starts_with("302 ")), "{}", refused.text);
    phone.send(&invite.ack(&refused), pointsman.address());
    wait_for("the worker to tell the end of the call", DEADLINE, || {
        let explained = pointsman.stats(&format!("explain {}", invite.call_id));
        let first = &explained["decisions"][0];
        (first["method"] == "INVITE" && first["final_status"] == 488 && first["why"] != "").then_some(())
    });
    let text = String::from_utf8_lossy(&pointsman.command(&["explain", &invite.call_id]).stdout).into_owned();
    assert!(text.contains("INVITE handed over to w0 ") && text.contains("ended with 488: no stream"), "{text}");
    let bad = phone.request("OPTIONS", pointsman.address());
    let reply = bad.text().replace("CSeq: 1 OPTIONS", "CSeq: one OPTIONS");
    phone.send_bytes(reply.as_bytes(), pointsman.address());
    let reply = phone.expect("a 400", |reply| reply.status() == 400);
    assert_eq!(reply.start_line(), "SIP/2.0 400 Malformed CSeq");
    let explained = pointsman.stats(&format!("explain {}", bad.call_id));
    assert_eq!(explained["decisions"][0]["why"], "Malformed CSeq", "{explained}");
}

#[test]
fn the_well_known_port_answers_as_the_workers_own() {
    let pointsman = Setup::new(1).start();
    let phone = Phone::new(pointsman.address().ip());
    let own = call(&phone, &pointsman).target;
    let both = |method: &str| [pointsman.address(), own].map(|port| phone.transact(&phone.request(method, port), port));
    let [dispatcher, worker] = both("OPTIONS");
    assert_eq!((dispatcher.status(), worker.status()), (200, 200));
    for name in ["Allow", "Accept", "Accept-Encoding", "Accept-Language", "Supported"] {
        assert_eq!((dispatcher.header(name), dispatcher.header(name).is_some()), (worker.header(name), true), "{name}");
    }
    for method in ["INFO", "NOTIFY", "UPDATE", "PRACK", "BYE"] {
        assert_eq!(both(method).map(|reply| reply.status()), [481, 481], "{method}");
    }
    for method in ["MESSAGE", "REGISTER", "SUBSCRIBE"] {
        assert_eq!(both(method).map(|reply| reply.status()), [405, 405], "{method}");
    }
}

#[test]
fn stat_shows_every_worker_as_a_table_and_as_json() {
    let pointsman = Setup::new(3).start();
    let table = pointsman.command(&["stat"]);
    let text = String::from_utf8_lossy(&table.stdout).into_owned();
    assert!(table.status.success() && ["w0", "w1", "w2"].iter().all(|name| text.contains(name)), "{text}");
    let json = pointsman.command(&["stat", "--json"]);
    let load: Value = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!(load["workers"].as_array().map(Vec::len), Some(3));
    assert_eq!(load["dispatcher"]["pid"], pointsman.pid());
}

#[test]
fn counters_show_each_conference_once_whatever_the_number_of_lanes() {
    let pointsman = Setup::new(1).start();
    let phone = Phone::new(pointsman.address().ip());
    let standing = ["one", "two", "three"].map(|name| {
        let mut leg = phone.invite(pointsman.address(), None);
        leg.uri = format!("sip:conf={name}@{}", pointsman.address());
        phone.call(&leg, pointsman.address())
    });
    let wait_for_entries = |entries: u64| {
        wait_for("the conferences to be told to every lane", DEADLINE, || {
            let shown = pointsman.stats("counters")["conferences"].clone();
            assert_eq!((&shown["cap"], &shown["unrecorded"]), (&65_536.into(), &0.into()), "{shown}");
            (shown["entries"] == entries).then_some(())
        });
    };
    wait_for_entries(3);
    for dialog in &standing {
        assert_eq!(phone.transact(&dialog.request("BYE", 1), dialog.target).status(), 200);
    }
    wait_for_entries(0);
}

#[test]
fn stat_without_a_dispatcher_fails_with_1() {
    let dir = tempfile::Builder::new().prefix("pm-").tempdir().unwrap();
    let output = crate::support::pointsman::run(&["stat", "--run-dir", &dir.path().display().to_string()]);
    assert_eq!(output.status.code(), Some(1));
}

#[test]
fn an_unknown_worker_or_command_is_an_error_that_changes_nothing() {
    let pointsman = Setup::new(1).start();
    assert!(!pointsman.command(&["drain", "w7"]).status.success());
    assert!(pointsman.stats("drain w7")["error"].as_str().is_some_and(|error| error.contains("w7")));
    assert!(pointsman.stats("frobnicate")["error"].is_string());
    assert_eq!(pointsman.worker(0)["admin"], "ready");
}

#[test]
fn a_reload_changes_the_number_of_workers_and_leaves_calls_alone() {
    let dir = tempfile::Builder::new().prefix("pm-").tempdir().unwrap();
    let file = dir.path().join("pointsman.toml");
    std::fs::write(&file, "policy = \"round-robin\"\n").unwrap();
    let mut setup = Setup::new(2).with(["--config", &file.display().to_string()]);
    // On the command line the setting would win over the file.
    setup.workers_by_file = true;
    std::fs::write(&file, "policy = \"round-robin\"\nworkers = 2\n").unwrap();
    let pointsman = setup.start();
    let phone = Phone::new(pointsman.address().ip());
    let dialog = call(&phone, &pointsman);
    let pids = pointsman.worker_pids();
    std::fs::write(&file, "policy = \"least-load\"\nworkers = 3\n").unwrap();
    let reply = pointsman.stats("reload");
    let changed = reply["changed"].as_array().unwrap_or_else(|| panic!("{reply}"));
    let keys: Vec<_> = changed.iter().filter_map(|change| change["key"].as_str()).collect();
    assert!(keys.contains(&"policy") && keys.contains(&"workers"), "{reply}");
    pointsman.wait_until("the third worker to be up", |load| load["workers"][2]["state"] == "up");
    assert_eq!(&pointsman.worker_pids()[..2], &pids[..]);
    assert_eq!(phone.transact(&dialog.request("BYE", 1), dialog.target).status(), 200);
    std::fs::write(&file, "policy = \"no-such-policy\"\n").unwrap();
    assert!(pointsman.stats("reload")["error"].is_string());
    assert_eq!(pointsman.load()["workers"].as_array().map(Vec::len), Some(3));
}

#[test]
fn a_slot_that_is_reloaded_away_goes_also_while_somebody_watches_all_the_time() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "workers = 2\n").unwrap();
    let setup = Setup { workers_by_file: true, ..Setup::new(2) };
    let pointsman = setup.with(["--config", &file.path().display().to_string()]).start();
    std::fs::write(file.path(), "workers = 1\n").unwrap();
    pointsman.stats("reload");
    // Asks every few milliseconds: the dispatcher is never without something to do.
    pointsman.wait_until("the empty slot to go", |load| load["workers"].as_array().is_some_and(|all| all.len() == 1));
}

#[test]
fn a_drain_that_waits_ends_well_when_nothing_is_left_and_says_what_is_left_in_the_end() {
    let pointsman = Setup::new(2).start();
    let phone = Phone::new(pointsman.address().ip());
    let dialog = call(&phone, &pointsman);
    let worker = format!("w{}", pointsman.slot_of(dialog.target));
    pointsman.wait_until("the call to be reported", |load| {
        load["workers"].as_array().is_some_and(|all| all.iter().any(|worker| worker["sessions"] == 1))
    });
    let late = pointsman.command(&["drain", "--all", "--within", "1s"]);
    let said = String::from_utf8_lossy(&late.stderr).into_owned();
    assert_eq!(late.status.code(), Some(1), "{said}");
    assert_eq!(said, format!("pointsman: after 1s: {worker} has 1 session\n"));
    assert_eq!([0, 1].map(|slot| pointsman.worker(slot)["admin"].clone()), ["drain", "drain"]);
    assert_eq!(phone.transact(&dialog.request("BYE", 1), dialog.target).status(), 200);
    let done = pointsman.command(&["drain", "--all", "--wait"]);
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    assert_eq!(String::from_utf8_lossy(&done.stdout), "w0: drain\nw1: drain\nnothing is left\n");
    assert!(pointsman.command(&["ready", "--all"]).status.success());
    call(&phone, &pointsman);
}

#[test]
fn a_drain_whose_client_gave_up_is_not_carried_out_later() {
    let pointsman = Setup::new(1).start();
    assert!(proc::signal(pointsman.pid(), Signal::SIGSTOP));
    let given_up = pointsman.command(&["drain", "w0"]);
    assert!(proc::signal(pointsman.pid(), Signal::SIGCONT));
    assert_eq!(given_up.status.code(), Some(1), "{given_up:?}");
    // A request that comes after it is answered after it.
    assert_eq!(pointsman.worker(0)["admin"], "ready");
    assert!(pointsman.command(&["drain", "w0"]).status.success());
    assert_eq!(pointsman.worker(0)["admin"], "drain");
}

#[test]
fn a_reload_without_a_file_says_that_there_is_none() {
    let pointsman = Setup::new(1).start();
    let output = pointsman.command(&["reload"]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.code() == Some(1) && said.contains("started without --config"), "{said}");
}

#[test]
fn one_worker_is_no_workers() {
    let pointsman = Setup::new(1).start();
    pointsman.wait_for_log(", 1 worker, run directory");
    assert!(!pointsman.log().contains("1 workers"), "{}", pointsman.log());
}

#[test]
fn the_stats_group_reads_and_orders_nothing_and_nobody_else_gets_in() {
    if !nix::unistd::geteuid().is_root() {
        eprintln!("only root can become another user: not tested");
        return;
    }
    let pointsman = Setup::new(1).with(["--stats-group", "4711"]).start();
    let dir = tempfile::tempdir().unwrap();
    std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    let executable = dir.path().join("pointsman");
    std::fs::copy(EXECUTABLE, &executable).unwrap();
    let ask = |gid: u32, words: &[&str]| {
        let mut command = Command::new(&executable);
        command.args(words).arg("--run-dir").arg(pointsman.run_dir()).uid(65_534).gid(gid);
        let output = command.output().unwrap();
        (output.status.code(), String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned())
    };
    let (code, said) = ask(4711, &["stat"]);
    assert!(code == Some(0) && said.contains("w0 "), "{said}");
    let (code, said) = ask(4711, &["drain", "w0"]);
    assert!(code == Some(1) && said.contains("changes are for the dispatcher's own user"), "{said}");
    let (code, said) = ask(65_534, &["stat"]);
    assert!(code == Some(1) && said.contains("ermission"), "{said}");
    assert_eq!(pointsman.worker(0)["admin"], "ready");
    assert!(pointsman.command(&["drain", "w0"]).status.success());
}
