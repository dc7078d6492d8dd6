//! A reload adds and removes workers; calls and the operator's orders stay.

use serde_json::Value;

use crate::support::phone::Phone;
use crate::support::pointsman::{Pointsman, Setup};

/// A dispatcher whose number of workers stands in a file.
struct ByFile {
    file: tempfile::NamedTempFile,
    pointsman: Pointsman,
}

impl ByFile {
    fn start(workers: usize) -> Self {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), format!("workers = {workers}\n")).unwrap();
        let setup = Setup { workers_by_file: true, ..Setup::new(workers) };
        let pointsman = setup.with(["--config", &file.path().display().to_string()]).start();
        ByFile { file, pointsman }
    }

    fn reload(&self, workers: usize) {
        std::fs::write(self.file.path(), format!("workers = {workers}\n")).unwrap();
        let reply = self.pointsman.stats("reload");
        assert!(reply["changed"].is_array(), "{reply}");
    }

    fn wait_for_all(&self, workers: usize) {
        self.pointsman.wait_until("the pool to have its new size", |load| {
            let all = load["workers"].as_array().map(Vec::as_slice).unwrap_or_default();
            all.len() == workers && all.iter().all(|worker| worker["state"] == "up")
        });
    }

    fn admin(&self) -> Vec<Value> {
        let load = self.pointsman.load();
        let all = load["workers"].as_array().map(Vec::as_slice).unwrap_or_default();
        all.iter().map(|worker| worker["admin"].clone()).collect()
    }
}

#[test]
fn slots_that_come_back_after_a_shrink_take_calls_again() {
    let by_file = ByFile::start(3);
    by_file.reload(1);
    by_file.wait_for_all(1);
    by_file.reload(3);
    by_file.wait_for_all(3);
    assert_eq!(by_file.admin(), ["ready", "ready", "ready"]);
    let phone = Phone::new(by_file.pointsman.address().ip());
    let mut slots: Vec<_> = (0..12)
        .map(|_| {
            let target = by_file.pointsman.address();
            by_file.pointsman.slot_of(phone.call(&phone.invite(target, None), target).target)
        })
        .collect();
    slots.sort_unstable();
    slots.dedup();
    assert_eq!(slots, [0, 1, 2]);
}

#[test]
fn a_reload_to_a_pool_that_gets_no_request_says_so_once_and_one_to_files_that_cannot_be_read_is_refused() {
    let by_file = ByFile::start(1);
    let reload = |text: &str| {
        std::fs::write(by_file.file.path(), format!("workers = 1\n{text}")).unwrap();
        by_file.pointsman.stats("reload")
    };
    let proxy = "[[proxy]]\nname = \"a\"\nuri = \"sip:127.0.0.1:5099\"\nprobe = \"none\"\n";
    for handicap in [100, 50] {
        let reply = reload(&format!("{proxy}handicap = {handicap}\n"));
        assert!(reply["changed"].is_array(), "{reply}");
    }
    by_file.pointsman.wait_for_log("no request comes to default");
    assert_eq!(by_file.pointsman.log().matches("no request comes to default").count(), 1);
    let reply = reload("[[tls]]\ncertificate = \"/nowhere.pem\"\nkey = \"/nowhere.key\"\n");
    assert!(reply["error"].as_str().is_some_and(|error| error.contains("tls: /nowhere.pem cannot be read")), "{reply}");
}

#[test]
fn a_worker_that_the_operator_drains_stays_drained_over_a_reload() {
    let by_file = ByFile::start(3);
    assert!(by_file.pointsman.command(&["drain", "w0", "w2"]).status.success());
    let phone = Phone::new(by_file.pointsman.address().ip());
    let target = by_file.pointsman.address();
    // Its call keeps the slot there until the next reload wants it back.
    assert!(by_file.pointsman.command(&["ready", "w2"]).status.success());
    assert!(by_file.pointsman.command(&["drain", "w1"]).status.success());
    let dialog = phone.call(&phone.invite(target, None), target);
    assert_eq!(by_file.pointsman.slot_of(dialog.target), 2);
    assert!(by_file.pointsman.command(&["drain", "w2"]).status.success());
    by_file.reload(1);
    let refused = by_file.pointsman.command(&["ready", "w2"]);
    assert_eq!(refused.status.code(), Some(1), "a slot that leaves cannot be made ready");
    by_file.reload(3);
    by_file.wait_for_all(3);
    assert_eq!((&by_file.admin()[0], &by_file.admin()[2]), (&"drain".into(), &"drain".into()));
}

#[test]
fn a_drain_outlives_worker_and_dispatcher_and_then_a_reload_to_fewer_workers_and_back() {
    let mut by_file = ByFile::start(3);
    assert!(by_file.pointsman.command(&["drain", "w0", "w1"]).status.success());
    let phone = Phone::new(by_file.pointsman.address().ip());
    let target = by_file.pointsman.address();
    // Its call keeps the slot there until the last reload wants it back.
    let dialog = phone.call(&phone.invite(target, None), target);
    assert_eq!(by_file.pointsman.slot_of(dialog.target), 2);
    assert!(by_file.pointsman.command(&["drain", "w2"]).status.success());
    let died = by_file.pointsman.kill_worker(1);
    by_file.pointsman.wait_until("a successor", |load| {
        let worker = &load["workers"][1];
        worker["state"] == "up" && worker["pid"] != u64::from(died)
    });
    assert_eq!(by_file.admin(), ["drain", "drain", "drain"]);
    by_file.pointsman.crash();
    by_file.pointsman.start_again();
    by_file.wait_for_all(3);
    assert_eq!(by_file.admin(), ["drain", "drain", "drain"]);
    by_file.reload(1);
    by_file.reload(3);
    by_file.wait_for_all(3);
    assert_eq!((&by_file.admin()[0], &by_file.admin()[2]), (&"drain".into(), &"drain".into()));
    assert_eq!(phone.transact(&dialog.request("BYE", 1), dialog.target).status(), 200);
}
