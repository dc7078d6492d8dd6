//! The weights that are shown follow what servers report, what they answer when they are asked, and the time that they
//! take for it; each moves the weight of its server and no other.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use serde_json::Value;

use super::callers::Callers;
use super::servers::{Manner, Servers};
use super::{Front, settings};
use crate::support::phone::Phone;
use crate::support::pointsman::{Pointsman, Setup};
use crate::support::{DEADLINE, own_address, proc};

/// Interval of the probes.
const EVERY: &str = "probe-interval = \"200ms\"";

/// A dispatcher in front of servers, each of which has these lines.
fn front(servers: &Servers, lines: &str) -> Front {
    front_with(servers, |_| lines.to_owned())
}

fn front_with(servers: &Servers, lines: impl Fn(usize) -> String) -> Front {
    let front = Front::start(&settings("", servers, |number| format!("{EVERY}\n{}", lines(number))));
    // Best delays are known.
    for number in 0..servers.count() {
        front.wait_until(&format!("s{number}"), "to have been probed", |row| row["probes"].as_u64() > Some(2));
    }
    front
}

/// Waits until these are the weights, about; delays of this machine lower each now and then.
fn wait_for_weights(front: &Front, what: &str, expected: &[f64]) {
    let begin = Instant::now();
    loop {
        let weights: Vec<f64> = front.rows().iter().filter_map(|row| row["weight"].as_f64()).collect();
        let is_about = |(weight, expected): (&f64, &f64)| (weight - expected).abs() <= 1.0 + expected / 5.0;
        if weights.len() == expected.len() && weights.iter().zip(expected).all(is_about) {
            println!("{what}: {weights:?} after {:?}", begin.elapsed());
            return;
        }
        assert!(begin.elapsed() < DEADLINE, "{what}: {weights:?} are not {expected:?}: {:#?}", front.rows());
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn load(row: &Value) -> f64 {
    row["load"].as_f64().unwrap()
}

#[test]
fn a_load_that_a_server_reports_by_itself_moves_its_weight_and_counts_for_three_intervals() {
    let servers = Servers::start(3);
    let front = front(&servers, "load = \"sip\"");
    let report = |number: usize, count: usize, line: &str| {
        let (to, own) = (front.pointsman.address(), servers.address(number));
        let text = format!(
            "OPTIONS sip:{to} SIP/2.0\r\nVia: SIP/2.0/UDP {own};branch=z9hG4bK-{count}\r\nMax-Forwards: 70\r\n\
             From: <sip:s@{own}>;tag=s\r\nTo: <sip:{to}>\r\nCall-ID: {count}@{own}\r\nCSeq: {count} OPTIONS\r\n{line}\r\n\
             Content-Length: 0\r\n\r\n"
        );
        servers.send(number, text.as_bytes(), to);
    };
    for (count, line, weight) in
        [(1, "X-Load: used=80;total=100", 20.0), (2, "X-Load: used=50;total=100;state=ready", 50.0)]
    {
        report(1, count, line);
        wait_for_weights(&front, line, &[100.0, weight, 100.0]);
        let row = front.wait_until("s1", "to be of unknown load", |row| load(row) == -1.0);
        assert!(row["load_age_ms"].as_u64() >= Some(600), "{row}");
        wait_for_weights(&front, "an old report counts no more", &[100.0; 3]);
    }
    // The words of another server for the same.
    report(2, 3, "X-FS-Calls: 17\r\nX-FS-Status: closed");
    front.wait_until("s2", "to take nothing new", |row| row["weight"] == 0 && row["used"] == 17);
    report(2, 4, "X-FS-Calls: 17\r\nX-FS-Status: open");
    wait_for_weights(&front, "open again", &[100.0; 3]);
}

#[test]
fn a_load_that_a_server_answers_when_asked_moves_its_weight_until_it_answers_no_more() {
    let servers = Servers::start(3);
    let front = front(&servers, "load = \"sip\"");
    servers.change(0, |manner| manner.probe_headers = "X-Load: used=800;total=1000\r\n".to_owned());
    wait_for_weights(&front, "80 %", &[20.0, 100.0, 100.0]);
    let row = front.row("s0");
    assert_eq!((load(&row), &row["used"], &row["total"]), (0.8, &800.into(), &1000.into()), "{row}");
    servers.change(0, |manner| manner.probe_headers = String::new());
    front.wait_until("s0", "to be of unknown load", |row| load(row) == -1.0);
    wait_for_weights(&front, "no report", &[100.0; 3]);
}

#[test]
fn one_probe_asks_for_the_load_and_is_timed() {
    let servers = Servers::start(2);
    let front = front(&servers, "load = \"sip\"");
    servers.change(1, |manner| {
        (manner.probe_headers, manner.options_after) =
            ("X-Load: used=50;total=100\r\n".to_owned(), Duration::from_millis(20));
    });
    // 100 × 5 ms/(5 ms + 20 ms) × (1 − 0.5)
    wait_for_weights(&front, "half full and 20 ms", &[100.0, 10.0]);
}

#[test]
fn the_delay_of_options_moves_the_weight_of_its_server() {
    let servers = Servers::start(3);
    let front = front(&servers, "load = \"none\"");
    servers.change(2, |manner| manner.options_after = Duration::from_millis(50));
    wait_for_weights(&front, "50 ms", &[100.0, 100.0, 100.0 * 5.0 / 55.0]);
    // By delay alone: the calls follow the weights.
    let outcome = Callers::new(front.pointsman.address()).call(0..300);
    assert_eq!(outcome.statuses.get(&200), Some(&300));
    let calls: Vec<usize> = (0..3).map(|number| servers.calls(number)).collect();
    assert!(calls[2] < 60 && calls[0] > 60 && calls[1] > 60, "{calls:?}");
    servers.change(2, |manner| manner.options_after = Duration::ZERO);
    wait_for_weights(&front, "fast again", &[100.0; 3]);
}

#[test]
fn the_delay_of_an_invite_that_is_refused_moves_the_weight_and_makes_no_call() {
    let servers = Servers::start(3);
    let front = front(&servers, "load = \"none\"\nprobe = \"invite\"");
    servers.change(0, |manner| manner.refusal_after = Duration::from_millis(50));
    wait_for_weights(&front, "50 ms", &[100.0 * 5.0 / 55.0, 100.0, 100.0]);
    for number in 0..3 {
        servers.seen(number, |seen| {
            let (refused, acknowledged) = (seen.probes["INVITE"], seen.acks.len() as u32);
            assert!(refused > 2 && acknowledged + 1 >= refused, "{refused} refused, {acknowledged} acknowledged");
            assert_eq!((seen.invites.len(), seen.cancels.len(), seen.probes.len()), (0, 0, 1));
        });
    }
}

#[test]
fn a_server_that_is_full_by_its_answer_to_probes_gets_nothing_and_is_not_down() {
    let servers = Servers::start(2);
    let front = front(&servers, "");
    servers.change(0, |manner| manner.probe_status = 503);
    let row = front.wait_until("s0", "to be full", |row| row["word"] == "full");
    assert_eq!((&row["state"], &row["weight"]), (&"up".into(), &0.into()), "{row}");
    Callers::new(front.pointsman.address()).call(0..100);
    assert_eq!((servers.calls(0), servers.calls(1)), (0, 100));
    servers.change(0, |manner| manner.probe_status = 200);
    wait_for_weights(&front, "room again", &[100.0; 2]);
    assert!(!front.pointsman.log().contains("a downstream proxy is down"), "{}", front.pointsman.log());
}

#[test]
fn without_reports_the_calls_that_a_server_has_answered_are_its_load_until_their_time_is_over() {
    let servers = Servers::with(2, &Manner::default());
    let lines = |number| if number == 0 { "capacity = 50\nsession-time = \"8s\"" } else { "" };
    let front = front_with(&servers, |number| lines(number).to_owned());
    let calls = 40;
    Callers::new(front.pointsman.address()).call(0..calls);
    let had = servers.calls(0);
    assert!(had > 0 && had < calls);
    // On a busy machine its delay takes from its weight as well.
    let counts = |row: &Value| {
        let free = 1.0 - load(row);
        row["used"] == had && load(row) == had as f64 / 50.0 && row["weight"].as_f64().unwrap() <= 100.0 * free + 1.0
    };
    front.wait_until("s0", "to count its calls", counts);
    front.wait_until("s0", "to be empty again", |row| row["used"] == 0 && load(row) == 0.0);
}

/// A server of documents or lines about a load: sends what it is told to each that connects.
pub(super) fn documents(text: &Arc<Mutex<String>>, asks_first: bool) -> SocketAddr {
    let listener = TcpListener::bind((own_address(), 0)).unwrap();
    let (address, text) = (listener.local_addr().unwrap(), Arc::clone(text));
    // It ends with the process.
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            let mut request = [0; 1_024];
            if asks_first {
                let _ = stream.read(&mut request);
            }
            let _ = stream.write_all(text.lock().unwrap().as_bytes());
        }
    });
    address
}

pub(super) fn http(body: &str) -> String {
    format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}", body.len())
}

#[test]
fn documents_and_agent_lines_about_a_load_move_the_weight_until_their_source_is_silent() {
    let texts = [
        http(r#"{"used":17,"total":20,"state":"ready","processes":[{"used":9,"total":10},{"used":8,"total":10}]}"#),
        http("# TYPE calls gauge\ncalls{dir=\"in\"} 3\ncalls{dir=\"out\"} 2\nmost 10\n"),
        "up 75% used:1 used:2 maxconn:10\n".to_owned(),
    ];
    let texts = texts.map(|text| Arc::new(Mutex::new(text)));
    let servers = Servers::start(4);
    let sources = [
        format!("load = \"http://{}/load\"", documents(&texts[0], true)),
        format!(
            "load = \"http://{}/metrics\"\nload-used = \"calls\"\nload-total = \"most\"",
            documents(&texts[1], true)
        ),
        format!("load = \"agent:{}\"", documents(&texts[2], false)),
        String::new(),
    ];
    let front = front_with(&servers, |number| sources[number].clone());
    wait_for_weights(&front, "documents and a line", &[15.0, 50.0, 100.0 * 0.75 * 0.7, 100.0]);
    assert_eq!(front.row("s0")["processes"].as_array().map(Vec::len), Some(2), "{}", front.row("s0"));
    // Garbage says nothing.
    for (text, garbage) in texts.iter().zip([http("<html>"), http("calls NaN\n"), "\u{1}".repeat(4_000)]) {
        *text.lock().unwrap() = garbage;
    }
    for name in ["s0", "s1", "s2"] {
        front.wait_until(name, "to be of unknown load", |row| load(row) == -1.0);
    }
    wait_for_weights(&front, "no source", &[100.0; 4]);
}

/// A dispatcher in front of others.
fn before_pointsmen(servers: &[Pointsman]) -> Front {
    let mut text = String::new();
    for (number, server) in servers.iter().enumerate() {
        let uri = format!("sip:{}", server.address());
        text += &format!("[[proxy]]\nname = \"s{number}\"\nuri = \"{uri}\"\nload = \"sip\"\n{EVERY}\n");
    }
    let front = Front::start(&text);
    for number in 0..servers.len() {
        front.wait_until(&format!("s{number}"), "to tell its load", |row| load(row) == 0.0);
    }
    front
}

#[test]
fn calls_at_a_downstream_pointsman_lower_its_weight_and_no_other() {
    let servers = [0; 3].map(|_| Setup::new(2).with(["--capacity", "10", "--max-size", "10"]).start());
    let front = before_pointsmen(&servers);
    wait_for_weights(&front, "no calls", &[100.0; 3]);
    let (phone, target) = (Phone::new(servers[1].address().ip()), servers[1].address());
    let calls: Vec<_> = (0..16).map(|_| phone.call(&phone.invite(target, None), target)).collect();
    wait_for_weights(&front, "16 of 20 calls", &[100.0, 20.0, 100.0]);
    for dialog in &calls {
        assert_eq!(phone.transact(&dialog.request("BYE", 1), dialog.target).status(), 200);
    }
    wait_for_weights(&front, "no calls any more", &[100.0; 3]);
}

#[test]
fn the_processes_of_a_downstream_pointsman_are_shown_and_a_dead_one_is_not_counted() {
    let servers = [Setup::new(4).with(["--capacity", "100"]).start(), Setup::new(2).start()];
    let front = before_pointsmen(&servers);
    let processes = |row: &Value| row["processes"].as_array().map_or(0, Vec::len);
    let row = front.wait_until("s0", "to have four processes", |row| processes(row) == 4);
    assert_eq!((&row["total"], &row["used"]), (&400.into(), &0.into()), "{row}");
    let before = front.row("s1");
    let held = servers[0].hold_successor();
    let row = front.wait_until("s0", "to have three processes", |row| processes(row) == 3);
    assert_eq!(row["total"], 300, "{row}");
    assert_eq!((&front.row("s1")["total"], &front.row("s1")["processes"]), (&before["total"], &before["processes"]));
    let output = front.pointsman.command(&["stat", "proxies", "--json"]);
    let shown: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(processes(&shown["proxies"][0]), 3, "{shown}");
    assert!(proc::signal(held, Signal::SIGCONT));
    front.wait_until("s0", "to have four processes again", |row| processes(row) == 4 && row["total"] == 400);
}
