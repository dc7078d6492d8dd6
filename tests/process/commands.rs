//! The operator's side: subcommands and the stats socket of a running dispatcher.

use serde_json::Value;

use crate::support::phone::{Dialog, Phone};
use crate::support::pointsman::{Pointsman, Setup};

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
    // On the command line it would win over the file.
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
