//! Orders of the operator for proxies: they take effect at once, and stay over a reload and a takeover.

use serde_json::Value;

use super::callers::Callers;
use super::servers::Servers;
use super::{Front, settings};

fn by_turns(servers: &Servers, lines: &str) -> String {
    settings("policy = \"round-robin\"", servers, |_| lines.to_owned())
}

#[track_caller]
fn order(front: &Front, words: &[&str]) {
    let output = front.pointsman.command(words);
    assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// Admin word and handicap of each proxy.
fn orders(front: &Front) -> Vec<(String, u64)> {
    let of = |row: &Value| (row["admin"].as_str().unwrap().to_owned(), row["handicap"].as_u64().unwrap());
    front.rows().iter().map(of).collect()
}

fn expected(orders: [(&str, u64); 3]) -> Vec<(String, u64)> {
    orders.map(|(word, handicap)| (word.to_owned(), handicap)).to_vec()
}

#[test]
fn a_proxy_in_drain_or_maint_gets_no_new_calls_until_it_is_ready_again() {
    let servers = Servers::start(3);
    let front = Front::start(&by_turns(&servers, ""));
    let callers = Callers::new(front.pointsman.address());
    order(&front, &["drain", "s0"]);
    order(&front, &["maint", "s2"]);
    let outcome = callers.call(0..100);
    assert_eq!(outcome.statuses.get(&200), Some(&100));
    assert_eq!([0, 1, 2].map(|server| servers.calls(server)), [0, 100, 0]);
    order(&front, &["ready", "s0"]);
    order(&front, &["ready", "s2"]);
    callers.call(100..400);
    let had = [0, 1, 2].map(|server| servers.calls(server));
    assert_eq!(had, [100, 200, 100]);
    let output = front.pointsman.command(&["drain", "s7"]);
    assert!(!output.status.success(), "there is no such proxy");
}

#[test]
fn a_drain_of_a_proxy_that_waits_says_what_is_left_and_ends_when_its_calls_are_over() {
    let servers = Servers::start(1);
    let front = Front::start(&by_turns(&servers, "session-time = \"5s\""));
    let outcome = Callers::new(front.pointsman.address()).call(0..3);
    assert_eq!(outcome.statuses.get(&200), Some(&3));
    let late = front.pointsman.command(&["drain", "s0", "--within", "100ms"]);
    let said = String::from_utf8_lossy(&late.stderr).into_owned();
    assert_eq!((late.status.code(), said.as_str()), (Some(1), "pointsman: after 100ms: s0 has 3 sessions\n"));
    let done = front.pointsman.command(&["drain", "s0", "--wait"]);
    assert_eq!(String::from_utf8_lossy(&done.stdout), "s0: drain\nnothing is left\n");
    assert_eq!(front.row("s0")["used"], 0);
    let all = front.pointsman.command(&["drain", "--all"]);
    assert_eq!(all.status.code(), Some(1), "there is no worker, and a proxy is drained by its name alone");
}

#[test]
fn orders_and_handicaps_stay_over_reloads_that_do_not_touch_them_and_over_takeovers() {
    let servers = Servers::start(3);
    let mut front = Front::start(&by_turns(&servers, "handicap = 50"));
    order(&front, &["drain", "s0"]);
    order(&front, &["handicap", "s1", "7"]);
    let said = expected([("drain", 50), ("ready", 7), ("ready", 50)]);
    assert_eq!(orders(&front), said);
    front.reload(&by_turns(&servers, "handicap = 50\ncapacity = 10"));
    assert_eq!(orders(&front), said);
    let outcome = Callers::new(front.pointsman.address()).call(0..10);
    assert_eq!(outcome.statuses.get(&200), Some(&10));
    let calls = |front: &Front| front.rows().iter().map(|row| row["calls"].as_u64().unwrap()).collect::<Vec<u64>>();
    let before = calls(&front);
    assert_eq!(before, [0, 5, 5]);
    front.pointsman.take_over();
    assert_eq!((orders(&front), calls(&front)), (said, before));
    front.reload(&by_turns(&servers, "handicap = 60"));
    assert_eq!(orders(&front), expected([("drain", 60), ("ready", 60), ("ready", 60)]));
}

#[test]
fn a_reload_with_a_fault_changes_no_proxy() {
    let servers = Servers::start(2);
    let front = Front::start(&by_turns(&servers, ""));
    let before: Vec<Value> = front.rows().iter().map(|row| row["address"].clone()).collect();
    for fault in ["handicap = 0", "uri = \"sip:x\"", "pool = \"nowhere\"", "probe = \"sometimes\""] {
        std::fs::write(front.dir.path().join("settings.toml"), by_turns(&servers, fault)).unwrap();
        let reply = front.pointsman.stats("reload");
        assert!(reply["error"].is_string(), "{fault}: {reply}");
        let after: Vec<Value> = front.rows().iter().map(|row| row["address"].clone()).collect();
        assert_eq!(before, after, "{fault}");
    }
    let outcome = Callers::new(front.pointsman.address()).call(0..100);
    assert_eq!(outcome.statuses.get(&200), Some(&100));
}
