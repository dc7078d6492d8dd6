//! The stats as a table for people.

use std::fmt::Write;
use std::net::SocketAddr;

use crate::server::stats::{AdminState, DispatcherLoad, Snapshot, State, WorkerLoad};
use crate::switch::totals::ByTransport;

/// The snapshot as an aligned table: a line for each worker, their totals, and a line for the dispatcher.
pub fn table(snapshot: &Snapshot) -> String {
    let mut text = align(&rows(snapshot), &ALL).join("\n");
    text.push('\n');
    text.push_str(&dispatcher_line(&snapshot.dispatcher));
    text.push('\n');
    text.extend(connections_line(&snapshot.dispatcher));
    text
}

/// The lines of the table that fit on a screen of so many columns: the heading, a line for each worker, their totals.
/// Columns that do not fit are left out, the least important first.
pub(super) fn lines_within(snapshot: &Snapshot, columns: usize) -> Vec<String> {
    let rows = rows(snapshot);
    let mut shown = ALL.to_vec();
    let mut lines = align(&rows, &shown);
    for least in LEAST_FIRST {
        if lines.iter().all(|line| line.chars().count() <= columns) {
            break;
        }
        shown.retain(|column| *column != least);
        lines = align(&rows, &shown);
    }
    lines
}

fn rows(snapshot: &Snapshot) -> Vec<[String; COLUMNS]> {
    let mut rows = vec![HEAD.map(str::to_owned)];
    rows.extend(snapshot.workers.iter().map(row));
    rows.push(totals(&snapshot.workers));
    rows
}

/// Workers that are neither up nor in `maint`, each in words.
pub fn missing(snapshot: &Snapshot) -> Vec<String> {
    let is_missing = |worker: &&WorkerLoad| worker.state != State::Up && worker.admin != AdminState::Maint;
    snapshot.workers.iter().filter(is_missing).map(word).collect()
}

/// All that is missing, in a line that names the first few; `None` if nothing is.
pub fn trouble(missing: &[String]) -> Option<String> {
    match missing {
        [] => None,
        few if few.len() <= 8 => Some(few.join(", ")),
        many => Some(format!("{} and {} more", many[..8].join(", "), many.len() - 8)),
    }
}

/// State, in a word, of a worker that is not up.
fn word(worker: &WorkerLoad) -> String {
    let WorkerLoad { name, state, fault, .. } = worker;
    let fault = if fault.is_empty() { String::new() } else { format!(" ({fault})") };
    format!("{name} is {}{fault}", state.label())
}

const COLUMNS: usize = 12;

const HEAD: [&str; COLUMNS] = [
    "WORKER", "STATE", "ADMIN", "ADDRESS", "LOAD", "UNITS", "SESSIONS", "CPU", "HANDOFFS", "REFUSED", "RESTARTS",
    "REPORT",
];

/// All columns, by number.
const ALL: [usize; COLUMNS] = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11];

/// Columns in the order in which a narrow screen drops them: report, restarts, refused, handoffs, address, CPU.
const LEAST_FIRST: [usize; 6] = [11, 10, 9, 8, 3, 7];

/// Columns of words are aligned left, columns of numbers right.
const LEFT: [bool; COLUMNS] = [true, true, true, true, true, false, false, false, false, false, false, false];

fn row(worker: &WorkerLoad) -> [String; COLUMNS] {
    let certified = if worker.certified.is_empty() { String::new() } else { format!(" ({})", worker.certified) };
    [
        format!("{}{certified}", worker.name),
        worker.state.label().to_owned(),
        worker.admin.label().to_owned(),
        SocketAddr::new(worker.address, worker.port).to_string(),
        bar(worker.load),
        units(worker.units_used, worker.ledger, worker.units_total),
        worker.sessions.to_string(),
        percent(worker.cpu),
        worker.handoffs.to_string(),
        worker.refused.to_string(),
        worker.restarts.to_string(),
        age(worker),
    ]
}

fn totals(workers: &[WorkerLoad]) -> [String; COLUMNS] {
    let sum = |part: fn(&WorkerLoad) -> u64| workers.iter().map(part).fold(0, u64::saturating_add);
    let (used, total) = (sum(|w| u64::from(w.units_used)), sum(|w| u64::from(w.units_total)));
    let ledger = sum(|w| w.ledger);
    let up = workers.iter().filter(|worker| worker.state == State::Up).count();
    let load = if total == 0 { 0.0 } else { (used + ledger) as f64 / total as f64 };
    [
        "total".to_owned(),
        format!("{up} up"),
        String::new(),
        String::new(),
        bar(load),
        units(used, ledger, total),
        sum(|w| u64::from(w.sessions)).to_string(),
        percent(workers.iter().map(|worker| worker.cpu).sum()),
        sum(|w| w.handoffs).to_string(),
        sum(|w| w.refused).to_string(),
        sum(|w| w.restarts).to_string(),
        String::new(),
    ]
}

/// The dispatcher's totals, in a line.
pub(super) fn dispatcher_line(dispatcher: &DispatcherLoad) -> String {
    let DispatcherLoad { pid, uptime_s, received, handed_over, relayed, replied, dropped, pinned, .. } = dispatcher;
    let DispatcherLoad { table_entries, rx_overflow, forwarded, responses, .. } = dispatcher;
    let travelled = match (forwarded, responses) {
        (0, 0) => String::new(),
        _ => format!("forwarded {forwarded}, responses {responses}, "),
    };
    format!(
        "dispatcher {pid}, up {}: received {received}, handed over {handed_over}, {travelled}relayed {relayed}, replied {replied}, \
         dropped {dropped}, pinned {pinned}, table {table_entries}, overflow {rx_overflow}",
        uptime(*uptime_s)
    )
}

/// Connections, and messages by transport, in a line with its end; `None` where no connection has brought any.
fn connections_line(dispatcher: &DispatcherLoad) -> Option<String> {
    let DispatcherLoad { connections, transports, .. } = dispatcher;
    if *connections == 0 && transports.on_connections() == 0 {
        return None;
    }
    let ByTransport { udp, tcp, tls, ws, wss, mgcp } = transports;
    Some(format!(
        "connections {connections}: received over udp {udp}, tcp {tcp}, tls {tls}, ws {ws}, wss {wss}, mgcp {mgcp}\n"
    ))
}

/// Ten cells and a percentage; above 100 % the bar is full and only the number rises.
fn bar(load: f64) -> String {
    let load = if load.is_finite() { load.max(0.0) } else { 0.0 };
    // Rounds up: a worker with one session does not look idle.
    let cells = ((load * 10.0).ceil() as usize).min(10);
    format!("{}{} {:>6}", "#".repeat(cells), ".".repeat(10 - cells), percent(load))
}

fn percent(share: f64) -> String {
    // The sum of nothing is -0.0, which plus 0.0 is 0.0.
    format!("{:.1}%", if share.is_finite() { share * 100.0 + 0.0 } else { 0.0 })
}

fn units(used: impl Into<u64>, ledger: u64, total: impl Into<u64>) -> String {
    let (used, total) = (used.into(), total.into());
    if ledger == 0 { format!("{used}/{total}") } else { format!("{used}+{ledger}/{total}") }
}

fn age(worker: &WorkerLoad) -> String {
    match worker.report_age_ms {
        _ if worker.state == State::Down => "-".to_owned(),
        millis @ 0..10_000 => format!("{millis}ms"),
        millis => format!("{}s", millis / 1000),
    }
}

fn uptime(seconds: f64) -> String {
    let seconds = if seconds.is_finite() { seconds.max(0.0) as u64 } else { 0 };
    match (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60, seconds % 60) {
        (0, 0, 0, s) => format!("{s}s"),
        (0, 0, m, s) => format!("{m}m{s}s"),
        (0, h, m, _) => format!("{h}h{m}m"),
        (d, h, _, _) => format!("{d}d{h}h"),
    }
}

fn align(rows: &[[String; COLUMNS]], shown: &[usize]) -> Vec<String> {
    let mut widths = [0; COLUMNS];
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.len());
        }
    }
    let line = |row: &[String; COLUMNS]| {
        let mut line = String::new();
        for &column in shown {
            let (cell, width) = (&row[column], widths[column]);
            // Writing to a String cannot fail.
            let _ = if LEFT[column] { write!(line, "{cell:<width$}  ") } else { write!(line, "{cell:>width$}  ") };
        }
        line.trim_end().to_owned()
    };
    rows.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn snapshot() -> Snapshot {
        let w0 = WorkerLoad {
            name: "w0".into(),
            pid: Some(4711),
            state: State::Up,
            address: "192.0.2.10".parse().unwrap(),
            port: 5070,
            units_used: 17,
            units_total: 1000,
            ledger: 1,
            load: 0.018,
            sessions: 12,
            cpu: 0.04,
            handoffs: 1234,
            report_age_ms: 87,
            ..WorkerLoad::default()
        };
        let w1 = WorkerLoad {
            name: "w1".into(),
            admin: AdminState::Drain,
            address: "2001:db8::1".parse().unwrap(),
            port: 5071,
            restarts: 3,
            ..WorkerLoad::default()
        };
        let dispatcher = DispatcherLoad { pid: 4700, uptime_s: 3725.0, received: 1240, ..DispatcherLoad::default() };
        Snapshot { workers: vec![w0, w1], dispatcher, ..Snapshot::default() }
    }

    #[test]
    fn columns_are_aligned_and_totals_are_sums() {
        let expected = "\
WORKER  STATE  ADMIN  ADDRESS             LOAD                   UNITS  SESSIONS   CPU  HANDOFFS  REFUSED  RESTARTS  REPORT
w0      up     ready  192.0.2.10:5070     #.........   1.8%  17+1/1000        12  4.0%      1234        0         0    87ms
w1      down   drain  [2001:db8::1]:5071  ..........   0.0%        0/0         0  0.0%         0        0         3       -
total   1 up                              #.........   1.8%  17+1/1000        12  4.0%      1234        0         3
dispatcher 4700, up 1h2m: received 1240, handed over 0, relayed 0, replied 0, dropped 0, pinned 0, table 0, overflow 0
";
        assert_eq!(table(&snapshot()), expected);
    }

    #[test]
    fn a_worker_on_another_host_is_shown_with_the_name_in_its_certificate() {
        let mut snapshot = snapshot();
        snapshot.workers[1].certified = "media1".to_owned();
        assert!(table(&snapshot).contains("\nw1 (media1)  down "), "{}", table(&snapshot));
    }

    #[test]
    fn connections_have_a_line_once_there_was_one() {
        let mut snapshot = snapshot();
        snapshot.dispatcher.transports.udp = 9;
        assert!(!table(&snapshot).contains("connections"));
        snapshot.dispatcher.transports.ws = 2;
        let line = "connections 0: received over udp 9, tcp 0, tls 0, ws 2, wss 0, mgcp 0\n";
        assert!(table(&snapshot).ends_with(line));
        (snapshot.dispatcher.connections, snapshot.dispatcher.transports.ws) = (7, 0);
        assert!(table(&snapshot).contains("\nconnections 7: received over udp 9, tcp 0,"));
    }

    #[test]
    fn a_worker_that_is_missing_without_being_out_of_service_is_trouble() {
        let mut snapshot = snapshot();
        let trouble = |snapshot: &Snapshot| trouble(&missing(snapshot));
        assert_eq!(trouble(&snapshot).as_deref(), Some("w1 is down"));
        snapshot.workers[0].state = State::Silent;
        assert_eq!(trouble(&snapshot).as_deref(), Some("w0 is silent, w1 is down"));
        snapshot.workers[1].fault = "exited with code 2".to_owned();
        assert_eq!(trouble(&snapshot).as_deref(), Some("w0 is silent, w1 is down (exited with code 2)"));
        snapshot.workers.iter_mut().for_each(|worker| worker.admin = AdminState::Maint);
        assert_eq!(trouble(&snapshot), None);
        snapshot.workers = (0..10).map(|n| WorkerLoad { name: format!("w{n}"), ..WorkerLoad::default() }).collect();
        assert!(trouble(&snapshot).unwrap().ends_with("w7 is down and 2 more"));
    }

    #[test]
    fn odd_numbers_do_not_break_the_table() {
        assert_eq!(bar(0.0), "..........   0.0%");
        assert_eq!(bar(0.001), "#.........   0.1%");
        assert_eq!(bar(1.0), "########## 100.0%");
        assert_eq!(bar(12.0), "########## 1200.0%");
        assert_eq!(bar(f64::NAN), "..........   0.0%");
        assert_eq!(bar(-1.0), "..........   0.0%");
        assert_eq!(uptime(59.9), "59s");
        assert_eq!(uptime(61.0), "1m1s");
        assert_eq!(uptime(90_000.0), "1d1h");
        assert_eq!(uptime(f64::INFINITY), "0s");
        let empty = table(&Snapshot::default());
        assert!(empty.contains("0/0") && !empty.contains("-0.0"), "{empty}");
    }
}
