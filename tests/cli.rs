//! The command line of the built executable: its output, on stdout or stderr, and its exit codes.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::thread;

use pointsman::admin::protocol::{COMMANDS, Reply};
use pointsman::admin::rights::OtherUsers;
use pointsman::admin::{listener, server};
use pointsman::config::{Apply, KEYS, Key, TABLES, Table, TableKey};
use pointsman::dispatch::targets::proxies::PoolRow;
use pointsman::dispatch::targets::proxy::Row;
use pointsman::server::stats::connections::ConnectionCounters;
use pointsman::server::stats::{DispatcherLoad, WorkerLoad};

fn pointsman(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_pointsman"))
        .args(arguments)
        // Neither a dispatcher of this machine nor its settings play a part.
        .env("XDG_RUNTIME_DIR", "/nonexistent")
        .env_remove("POINTSMAN_LOG")
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

/// The one line on stderr of a command that ended with `code` and printed nothing.
fn refusal(arguments: &[&str], code: i32) -> String {
    let output = pointsman(arguments);
    let line = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {line}");
    assert_eq!(line.lines().count(), 1, "{arguments:?}: {line}");
    assert_eq!(String::from_utf8(output.stdout).unwrap(), "");
    line.trim_end().to_owned()
}

/// The reply of `pointsman check` to a file of this text.
fn check(text: &str) -> Output {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("p.toml");
    std::fs::write(&path, text).unwrap();
    pointsman(&["check", path.to_str().unwrap()])
}

const SUBCOMMANDS: [&str; 14] = [
    "dispatch",
    "worker",
    "stat",
    "top",
    "drain",
    "ready",
    "maint",
    "handicap",
    "forget",
    "explain",
    "connections",
    "reload",
    "check",
    "certify",
];

#[test]
fn help_shows_the_subcommands_and_examples() {
    let output = pointsman(&["--help"]);
    assert_eq!(output.status.code(), Some(0));
    let text = stdout(&output);
    for word in SUBCOMMANDS {
        assert!(text.contains(&format!("\n  {word} ")), "{word}: {text}");
    }
    for word in ["Examples:", "pointsman --workers 4", "--listen", "--worker-ports", "--run-dir", "--rtp-ports"] {
        assert!(text.contains(word), "{word}: {text}");
    }
}

#[test]
fn each_subcommand_has_help_of_its_own() {
    let words =
        ["dispatch", "worker", "stat", "top", "drain", "ready", "maint", "explain", "connections", "reload", "check"];
    for word in words {
        let output = pointsman(&[word, "--help"]);
        assert_eq!(output.status.code(), Some(0), "{word}");
        assert!(stdout(&output).contains(&format!("Usage: pointsman {word}")), "{word}: {}", stdout(&output));
    }
    let version = pointsman(&["--version"]);
    assert_eq!(stdout(&version), format!("pointsman {}\n", env!("CARGO_PKG_VERSION")));
}

#[test]
fn each_bad_argument_is_one_line_that_names_it_and_exit_code_2() {
    let cases: [(&[&str], &str); 37] = [
        (&["--workers", "1025"], "pointsman: --workers: 1025 is more than 1024, the most one host can have"),
        (&["--workers", "four"], "'four'"),
        (&["--workers", "-1"], "-1"),
        (&["--workers", "99999"], "99999"),
        (&["--worker", "4"], "--worker"),
        (&["--listen", "0.0.0.0"], "names no port"),
        (&["--listen", "localhost:5060"], "names are not looked up"),
        (&["--listen", "sctp:0.0.0.0:5060"], "`sctp` is neither udp, tcp, tls, ws, wss nor mgcp"),
        (&["--listen", "tls:[::]:5061"], "--listen: tls:[::]:5061 needs a certificate; write [[tls]]"),
        (&["--listen", "udp:0.0.0.0:2427", "--listen", "mgcp:0.0.0.0:2427"], "clashes with udp:0.0.0.0:2427"),
        (&["--listen", "0.0.0.0:5060", "--listen", "127.0.0.1:5060"], "clashes with udp:0.0.0.0:5060"),
        (&["--workers", "4", "--worker-ports", "65533"], "run past port 65535"),
        (&["--workers", "4", "--worker-ports", "5058"], "holds port 5060 of listener"),
        (&["--rtp-ports", "1000"], "FIRST-LAST"),
        (&["--workers", "9", "--rtp-ports", "40000-40010"], "each worker needs one; give 18 ports or more"),
        (&["--policy", "best"], "`best` is not one of least-load, round-robin"),
        (&["--lanes", "65"], "--lanes: 65 is more than 64"),
        (&["--stop-after", "3"], "3s"),
        (&["--reply-from", "nowhere"], "`nowhere` is not one of listener, worker"),
        (&["--config", "/nonexistent/p.toml"], "configuration file /nonexistent/p.toml: cannot be opened"),
        (&["drain"], "NAME"),
        (&["drain", "Two"], "workers are named w0, w1"),
        (&["connections", "w0"], "invalid value 'w0' for '[NUMBER]': connections have numbers; `explain` shows them"),
        (&["handicap", "fs1", "x"], "invalid value 'x' for '<N>': give a whole number, 1 to 1000"),
        (&["--advertise", "example.net"], "not a numeric address, such as 192.0.2.1; names are not looked up"),
        (&["worker", "--dispatcher", "x", "--capacity", "0"], "0 is not in 1..=1000000"),
        (&["worker", "--dispatcher", ""], "the path is empty; give a handoff socket"),
        (
            &["worker", "--dispatcher", "/r/handoff.sock", "--certificate", "c", "--key", "k", "--ca", "a"],
            "--certificate is for a dispatcher on another host",
        ),
        (
            &["worker", "--dispatcher", "tls://192.0.2.1:5090", "--name", "w2", "--certificate", "c"],
            "--name: a worker on another host has the name in its certificate",
        ),
        (&["certify", "--dir", "d"], "<--dispatcher <HOST>|--worker <NAME>>"),
        (&["certify", "--dir", "d", "--worker", "../escaped"], "--worker: `../escaped` is no name of a worker; give"),
        (&["certify", "--dir", "d", "--worker", ""], "--worker: `` is no name of a worker; give a DNS name"),
        (&["certify", "--dir", "d", "--worker", "a b"], "--worker: `a b` is no name of a worker"),
        (&["certify", "--dir", "d", "--worker", "192.0.2.1"], "--worker: `192.0.2.1` is no name of a worker"),
        (&["certify", "--dir", "d", "--worker", "ca"], "--worker: `ca` is taken"),
        (&["certify", "--dir", "d", "--worker", "w1"], "--worker: `w1` is taken"),
        (&["certify", "--dir", "d", "--dispatcher", ""], "--dispatcher: `` is neither a DNS name nor an address"),
    ];
    for (arguments, words) in cases {
        let line = refusal(arguments, 2);
        assert!(line.starts_with("pointsman: ") && line.contains(words), "{arguments:?}: {line}");
    }
    let long = format!("/tmp/{}", "d".repeat(120));
    let line = refusal(&["--run-dir", &long], 2);
    assert!(line.contains(&long) && line.contains("socket paths hold 107"), "{line}");
    assert!(refusal(&["frobnicate"], 2).contains("frobnicate"));
    assert!(refusal(&["stat", "--stats", "/a", "--run-dir", "/b"], 2).contains("cannot be used with"));
}

#[test]
fn each_bad_file_is_one_line_with_its_place_and_exit_code_2() {
    let cases = [
        ("workers = 1025", ":1:1: workers: 1025 is more than 1024, the most one host can have"),
        ("\n\nworkrs = 4", ":3:1: workrs: no such key; did you mean `workers`?"),
        ("policy = ", ":1:10: "),
        ("stop-after = 3", ":1:14: stop-after: `3` is not a duration with its unit"),
        ("[weights]\nw7 = 2", ":2:1: weights.w7: there is no such worker"),
        ("[methods]\nINVITE = \"refuse\"", ":2:1: methods.INVITE: no rule can be given"),
    ];
    for (text, words) in cases {
        let output = check(text);
        let line = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{text}");
        assert!(line.lines().count() == 1 && line.contains(&format!("/p.toml{words}")), "{text}: {line}");
    }
}

#[test]
fn a_pipe_or_directory_is_refused_as_configuration_file() {
    let dir = tempfile::tempdir().unwrap();
    let pipe = dir.path().join("pipe").display().to_string();
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let file = dir.path().join("file").display().to_string();
    std::fs::write(&file, "").unwrap();
    assert!(refusal(&["check", "--run-dir", &file], 2).contains("is not a directory; name another with --run-dir"));
    for path in [&pipe, "/dev/zero", &dir.path().display().to_string()] {
        let words = format!("configuration file {path}: not a file; name one that can be read again");
        assert!(refusal(&["check", path], 2).contains(&words), "{path}");
    }
}

#[test]
fn a_shared_directory_is_refused_as_run_directory_and_one_in_it_proposed() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o1777)).unwrap();
    let path = dir.path().display().to_string();
    let output = pointsman(&["--run-dir", &path, "--workers", "0", "--listen", "127.0.0.1:0"]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains(&format!("name one of its own in it, such as --run-dir {path}/pointsman")), "{said}");
    assert!(!said.contains("chmod"), "{said}");
}

#[test]
fn check_says_that_media_ports_leave_none_to_workers_of_ones_own() {
    let output = pointsman(&["check", "--workers", "0", "--listen", "127.0.0.1:1000", "--rtp-ports", "1024-65535"]);
    assert_eq!(output.status.code(), Some(0));
    let said = stdout(&output);
    let words = "note: rtp-ports: 1024-65535 leaves no ports to workers of your own; narrow it, or start each of them with \
                 --rtp-ports\n";
    assert!(said.contains(words), "{said}");
}

#[test]
fn check_accepts_the_example_and_prints_what_reads_back() {
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/pointsman.toml");
    let output = pointsman(&["check", example.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(stdout(&output), format!("{}: fine\n", example.display()));
    let printed = stdout(&pointsman(&["check", "--print", example.to_str().unwrap(), "--workers", "2"]));
    assert!(printed.contains("\nworker-ports = 5070\n") && printed.starts_with("workers = 2\n"), "{printed}");
    assert_eq!(check(&printed).status.code(), Some(0));
    assert_eq!(pointsman(&["check"]).status.code(), Some(0));
    assert_eq!(pointsman(&["check", "--config", example.to_str().unwrap()]).status.code(), Some(0));
}

/// The row of a key in README's table.
fn row(key: &Key) -> String {
    let default = key.default();
    let default = if default.contains(['"', '[']) { format!("`{default}`") } else { default };
    let reload = if key.apply == Apply::Live { " ●" } else { "" };
    let mut words = key.doc.trim().trim_end_matches('.').to_owned();
    if let Some(range) = key.range() {
        words += &format!("; {range}");
    }
    if !key.see.is_empty() {
        words += &format!("; see {}", key.see);
    }
    format!("| `{}` | {default} |{reload} | {} |\n", key.name, words.replace('|', "\\|"))
}

/// README with the table of this name replaced.
fn with_table(readme: &str, name: &str, table: &str) -> String {
    let (begin, end) = (format!("<!-- {name} -->\n"), format!("<!-- end of {name} -->\n"));
    let (before, rest) = readme.split_once(&begin).expect(name);
    let (_, after) = rest.split_once(&end).expect(name);
    format!("{before}{begin}{table}{end}{after}")
}

/// A table's name as it is written in the file.
fn written(table: &Table) -> String {
    if table.is_list { format!("[[{}]]", table.name) } else { format!("[{}]", table.name) }
}

#[test]
fn the_readme_has_the_keys_and_those_of_the_tables() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md");
    let readme = std::fs::read_to_string(&path).unwrap();
    let head = "| key | default | | description |\n|---|---|---|---|\n".to_owned();
    let mut expected = with_table(&readme, "keys", &(head + &KEYS.iter().map(row).collect::<String>()));
    for table in TABLES {
        let row = |key: &TableKey| {
            let words = key.description().replace('|', "\\|");
            format!("| `{}` | {} | {words} |\n", key.name(), key.default().unwrap_or("–"))
        };
        let head = format!("| key of `{}` | default | description |\n|---|---|---|\n", written(table));
        let rows: String = table.keys.iter().map(row).collect();
        expected = with_table(&expected, &format!("keys of {}", table.name), &(head + &rows));
    }
    if readme != expected && std::env::var_os("POINTSMAN_RENEW").is_some() {
        std::fs::write(&path, expected).unwrap();
        return;
    }
    let stale: Vec<&str> = expected.lines().filter(|line| !readme.contains(line)).collect();
    let remedy = "run this test with POINTSMAN_RENEW=1 to write README's tables, which have";
    assert!(readme == expected, "{remedy}\n{}", stale.join("\n"));
}

#[test]
fn the_help_of_check_has_the_keys_that_stand_in_the_file_alone() {
    let help = stdout(&pointsman(&["check", "--help"]));
    for key in KEYS.iter().filter(|key| key.flag.is_none()) {
        assert!(help.contains(&format!("\n  {} ", key.name)), "{}: {help}", key.name);
    }
    for table in TABLES {
        let (_, rest) = help.split_once(&format!("Keys of {}:\n", written(table))).unwrap();
        let rows = rest.split("\n\n").next().unwrap();
        for key in table.keys {
            assert!(rows.lines().any(|line| line.trim_start().starts_with(&key.name())), "{}: {rows}", key.name());
        }
    }
}

#[test]
fn the_readme_names_every_command_and_every_field_of_the_stats_socket() {
    let readme = include_str!("../README.md");
    let (_, requests) = readme.split_once("\nRequests are words").unwrap();
    let requests = requests.split("\n\n").next().unwrap();
    for command in COMMANDS {
        let word = command.split(' ').next().unwrap();
        assert!(requests.contains(&format!("`{word}")), "{command}: {requests}");
    }
    let proxy = Row { processes: vec![(1, 2)], ..Row::default() };
    let worker = WorkerLoad { fault: "exited".into(), certified: "media1".into(), ..WorkerLoad::default() };
    let pool = PoolRow { name: String::new(), mode: "", policy: "", up: 0, panic: false, calls: 0 };
    let rows = [
        ("a worker", serde_json::to_value(worker).unwrap()),
        ("the dispatcher", serde_json::to_value(DispatcherLoad::default()).unwrap()),
        ("a proxy", serde_json::to_value(proxy).unwrap()),
        ("a pool", serde_json::to_value(pool).unwrap()),
        ("`connections`", serde_json::to_value(ConnectionCounters::default()).unwrap()),
    ];
    for (of, row) in rows {
        let (_, rest) = readme.split_once(&format!("\n| field of {of} ")).expect(of);
        let table = rest.split("\n\n").next().unwrap();
        let named: Vec<&str> = table.lines().filter_map(|line| line.split('|').nth(1)).collect();
        for field in row.as_object().unwrap().keys() {
            assert!(named.iter().any(|cell| cell.contains(&format!("`{field}`"))), "{of}: {field}: {table}");
        }
    }
}

#[test]
fn a_line_of_help_is_broken_where_the_next_word_does_not_fit() {
    for word in SUBCOMMANDS {
        let help = stdout(&pointsman(&[word, "--help"]));
        for (line, next) in help.lines().zip(help.lines().skip(1)) {
            let is_prose = |line: &str| !line.is_empty() && !line.starts_with(' ');
            let next_word = next.split(' ').next().unwrap();
            let fits = line.len() + 1 + next_word.len() <= 100;
            let is_end = line.ends_with(['.', ':']);
            assert!(!(is_prose(line) && is_prose(next) && fits && !is_end), "{word}: {line}\n{next}");
        }
    }
}

#[test]
fn the_readme_describes_every_subcommand() {
    let readme = include_str!("../README.md");
    for word in ["stat", "top", "drain", "ready", "maint", "forget", "explain", "reload", "check", "worker"] {
        assert!(readme.contains(&format!("`pointsman {word}")), "{word}");
    }
}

#[test]
fn without_a_dispatcher_the_operators_commands_say_so_and_exit_with_1() {
    let dir = tempfile::tempdir().unwrap();
    let run_dir = dir.path().to_str().unwrap();
    for arguments in [
        &["stat"][..],
        &["top"],
        &["drain", "w0"],
        &["ready", "w0"],
        &["forget", "w0"],
        &["explain", "a@b"],
        &["reload"],
    ] {
        let line = refusal(&[arguments, &["--run-dir", run_dir]].concat(), 1);
        assert_eq!(
            line,
            format!("pointsman: no dispatcher answers at {run_dir}/stats.sock: not there; is it running?")
        );
    }
}

/// A socket that answers each request line with the next of `replies`; gives back what it was asked.
fn fake_dispatcher(dir: &Path, replies: Vec<String>) -> thread::JoinHandle<Vec<String>> {
    let listener = UnixListener::bind(dir.join("stats.sock")).unwrap();
    thread::spawn(move || {
        let mut stream = BufReader::new(listener.accept().unwrap().0);
        let mut requests = Vec::new();
        for reply in replies {
            let mut line = String::new();
            stream.read_line(&mut line).unwrap();
            requests.push(line.trim_end().to_owned());
            stream.get_mut().write_all(reply.as_bytes()).unwrap();
        }
        requests
    })
}

fn load(state: &str) -> String {
    format!(
        "{{\"workers\":[{{\"name\":\"w0\",\"pid\":4711,\"state\":\"{state}\",\"admin\":\"ready\",\
         \"address\":\"192.0.2.10\",\"port\":5070,\"units_used\":17,\"units_total\":1000,\"ledger\":1,\"load\":0.018,\
         \"sessions\":12,\"cpu\":0.04,\"handoffs\":1234,\"refused\":0,\"restarts\":0,\"report_age_ms\":87}}],\
         \"dispatcher\":{{\"pid\":4700,\"uptime_s\":12.5,\"received\":9,\"handed_over\":8,\"relayed\":0,\"replied\":1,\
         \"dropped\":0,\"table_entries\":8,\"rx_overflow\":0}}}}\n"
    )
}

#[test]
fn stat_prints_a_table_or_the_object_and_is_unhappy_when_a_worker_is_down() {
    let dir = tempfile::tempdir().unwrap();
    let server = fake_dispatcher(dir.path(), vec![load("up")]);
    let output = pointsman(&["stat", "--run-dir", dir.path().to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(0));
    assert!(stdout(&output).contains("w0      up     ready  192.0.2.10:5070"), "{}", stdout(&output));
    assert_eq!(server.join().unwrap(), ["{\"command\":\"load\"}"]);

    let dir = tempfile::tempdir().unwrap();
    fake_dispatcher(dir.path(), vec![load("silent")]);
    let output = pointsman(&["stat", "--json", "--stats", dir.path().join("stats.sock").to_str().unwrap()]);
    assert_eq!((output.status.code(), stdout(&output)), (Some(1), load("silent")));
    assert_eq!(String::from_utf8(output.stderr).unwrap(), "pointsman: w0 is silent\n");
}

#[test]
fn stat_is_unhappy_when_a_downstream_proxy_is_down() {
    let row = Row { name: "fs1".into(), state: "down", why: "probe", admin: "ready", ..Row::default() };
    let row = serde_json::to_value(row).unwrap();
    let proxies = serde_json::json!({ "proxies": [row], "pools": [] });
    let mut load: serde_json::Value = serde_json::from_str(&load("up")).unwrap();
    load["proxies"] = proxies["proxies"].clone();
    for (arguments, reply) in [(&["stat"][..], load), (&["stat", "proxies"], proxies)] {
        let dir = tempfile::tempdir().unwrap();
        fake_dispatcher(dir.path(), vec![format!("{reply}\n")]);
        let output = pointsman(&[arguments, &["--run-dir", dir.path().to_str().unwrap()]].concat());
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!((output.status.code(), &*said), (Some(1), "pointsman: fs1 is down (probe)\n"), "{arguments:?}");
    }
}

#[test]
fn a_reader_that_goes_away_is_no_panic() {
    let dir = tempfile::tempdir().unwrap();
    let many = vec![load("up").repeat(2000)];
    fake_dispatcher(dir.path(), many);
    let mut child = Command::new(env!("CARGO_BIN_EXE_pointsman"))
        .args(["stat", "--watch", "--json", "--run-dir", dir.path().to_str().unwrap()])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut one = [0; 1];
    child.stdout.take().unwrap().read_exact(&mut one).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(String::from_utf8(output.stderr).unwrap(), "");
    assert_eq!(output.status.code(), Some(0));
}

#[test]
fn check_complains_of_a_secret_that_everybody_can_read() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("p.toml");
    let with_mode = |text: &str, mode: u32| {
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        stdout(&pointsman(&["check", path.to_str().unwrap()]))
    };
    let secret = format!("token-key = \"{}\"\n", "0f".repeat(32));
    let text = with_mode(&secret, 0o644);
    assert!(text.starts_with("note: token-key: every user of this host can read ") && text.contains("chmod"), "{text}");
    assert!(!with_mode(&secret, 0o640).contains("note"), "the dispatcher's group may");
    assert!(!with_mode("workers = 2\n", 0o644).contains("note"), "it holds no secret");
}

#[test]
fn check_reads_the_files_of_certificates_and_tells_what_will_be_trouble() {
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str, mode: u32| {
        let path = dir.path().join(name);
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        path.display().to_string()
    };
    let certify = |days: u64| {
        let mut params = rcgen::CertificateParams::new(["sip.example.net".to_owned()]).unwrap();
        let now = std::time::SystemTime::now();
        params.not_after = (now + std::time::Duration::from_secs(86_400 * days)).into();
        let key = rcgen::KeyPair::generate().unwrap();
        (params.self_signed(&key).unwrap().pem(), key.serialize_pem())
    };
    let checked = |certificate: &str, key: &str, name: &str| {
        let text = format!(
            "listen = [\"tls:192.0.2.1:5061\"]\n[[tls]]\ncertificate = \"{certificate}\"\nkey = \"{key}\"\n\
             contact-name = \"{name}\"\n"
        );
        let output = check(&text);
        (output.status.code(), stdout(&output) + &String::from_utf8(output.stderr).unwrap())
    };
    let (pem, key) = certify(90);
    let good = write("good.pem", &pem, 0o644);
    let key = write("good.key", &key, 0o600);
    assert!(!checked(&good, &key, "sip.example.net").1.contains("note: tls"));
    let (_, text) = checked(&good, &key, "other.example.net");
    assert!(text.contains("note: tls: no certificate is made for the contact-name other.example.net"), "{text}");

    let (pem, ending_key) = certify(13);
    let ending = write("ending.pem", &pem, 0o644);
    let open = write("ending.key", &ending_key, 0o644);
    let (_, text) = checked(&ending, &open, "sip.example.net");
    assert!(text.contains(&format!("note: tls: the certificate in {ending} ends within two weeks")), "{text}");
    assert!(text.contains(&format!("note: tls: every user of this host can read the key {open}")), "{text}");

    let (code, text) = checked(&good, &open, "sip.example.net");
    let belongs = format!("pointsman: tls: {open} has a key that does not belong to the certificate in {good}\n");
    assert_eq!((code, text), (Some(2), belongs));
}

#[test]
fn drain_and_ready_name_what_they_did_and_repeat_a_refusal() {
    let dir = tempfile::tempdir().unwrap();
    let replies = vec![
        "{\"worker\":\"w1\",\"admin\":\"drain\"}\n".to_owned(),
        "{\"error\":\"there is no worker w9: there are 4, the first is w0\"}\n".to_owned(),
    ];
    let server = fake_dispatcher(dir.path(), replies);
    let output = pointsman(&["drain", "w1", "w9", "--run-dir", dir.path().to_str().unwrap()]);
    assert_eq!((output.status.code(), stdout(&output).as_str()), (Some(1), "w1: drain\n"));
    let line = String::from_utf8(output.stderr).unwrap();
    assert_eq!(line, "pointsman: there is no worker w9: there are 4, the first is w0\n");
    assert_eq!(
        server.join().unwrap(),
        ["{\"command\":\"drain\",\"worker\":\"w1\"}", "{\"command\":\"drain\",\"worker\":\"w9\"}"]
    );
}

#[test]
fn drain_does_all_that_it_is_asked_for_and_fails_with_what_it_could_not() {
    let dir = tempfile::tempdir().unwrap();
    let replies = ["{\"worker\":\"w1\",\"admin\":\"drain\"}\n", "{\"error\":\"there is no worker w9\"}\n"];
    let replies = [replies[0], replies[1], "{\"worker\":\"w3\",\"admin\":\"drain\"}\n"];
    let server = fake_dispatcher(dir.path(), replies.map(str::to_owned).to_vec());
    let output = pointsman(&["drain", "w1", "w9", "w3", "--run-dir", dir.path().to_str().unwrap()]);
    assert_eq!((output.status.code(), &*stdout(&output)), (Some(1), "w1: drain\nw3: drain\n"));
    assert_eq!(String::from_utf8(output.stderr).unwrap(), "pointsman: there is no worker w9\n");
    assert_eq!(server.join().unwrap().len(), 3);
}

#[test]
fn explain_tells_each_decision_in_a_sentence() {
    let dir = tempfile::tempdir().unwrap();
    let reply = "{\"call_id\":\"a@b\",\"decisions\":[\
                 {\"age_ms\":5210,\"action\":\"handed_over\",\"worker\":\"w2\",\"status\":0,\"reason\":\"selected\",\
                 \"size\":3,\"transport\":\"tcp\",\"connection\":7,\"pinned\":true,\"pinned_by\":\"pinned-sources\"},\
                 {\"age_ms\":400,\"method\":\"INVITE\",\"action\":\"forwarded\",\"worker\":null,\"proxy\":\"fs1\",\
                 \"weight\":87,\"ms\":12,\"status\":0,\"reason\":\"proxied\",\"size\":0,\"pinned\":false},\
                 {\"age_ms\":10,\"action\":\"replied\",\"worker\":null,\"status\":486,\"reason\":\"no-room\",\
                 \"size\":0,\"pinned\":false}]}\n";
    fake_dispatcher(dir.path(), vec![reply.to_owned()]);
    let output = pointsman(&["explain", "a@b", "--run-dir", dir.path().to_str().unwrap()]);
    assert_eq!(
        stdout(&output),
        "     5.210 s ago: handed over to w2 (selected, size 3, over tcp, connection 7, pinned by pinned-sources)\n     0.400 s ago: INVITE forwarded to fs1, weight 87, 12 ms (proxied)\n     0.010 s ago: answered with 486 (no-room)\n"
    );
    let dir = tempfile::tempdir().unwrap();
    fake_dispatcher(dir.path(), vec!["{\"call_id\":\"x@y\",\"decisions\":[]}\n".to_owned()]);
    let line = refusal(&["explain", "x@y", "--run-dir", dir.path().to_str().unwrap()], 1);
    assert_eq!(line, "pointsman: nothing is remembered about the call x@y");
}

#[test]
fn another_user_is_turned_away_by_the_stats_socket() {
    if !nix::unistd::geteuid().is_root() {
        eprintln!("only root can become another user: not tested");
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let (path, executable) = (dir.path().join("stats.sock"), dir.path().join("pointsman"));
    std::fs::copy(env!("CARGO_BIN_EXE_pointsman"), &executable).unwrap();
    let listener = listener::bind(&path, None).unwrap();
    // Nothing but the check of the peer's user stands between: directory and socket are open to all.
    for open in [dir.path(), &path] {
        std::fs::set_permissions(open, std::fs::Permissions::from_mode(0o777)).unwrap();
    }
    // The thread ends with the test's process.
    thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(server::serve(listener, OtherUsers::Refused, |_| async {
            Reply::error("a stranger got through")
        }))
    });
    let output = Command::new(&executable).args(["stat", "--stats"]).arg(&path).uid(65_534).output().unwrap();
    assert_eq!(
        String::from_utf8(output.stderr).unwrap(),
        "pointsman: this socket is for the dispatcher's own user and root\n"
    );
    assert_eq!(output.status.code(), Some(1));
}

#[test]
fn certificates_are_made_once_with_their_keys_closed_to_others_and_a_worker_is_told_which_it_needs() {
    let dir = tempfile::tempdir().unwrap();
    let at = dir.path().join("lan").display().to_string();
    let made = pointsman(&["certify", "--dir", &at, "--dispatcher", "192.0.2.1"]);
    assert_eq!(made.status.code(), Some(0), "{made:?}");
    assert_eq!(String::from_utf8_lossy(&made.stdout), format!("{at}/dispatcher.pem\n{at}/dispatcher.key\n"));
    assert_eq!(pointsman(&["certify", "--dir", &at, "--worker", "media1"]).status.code(), Some(0));
    for key in ["ca.key", "dispatcher.key", "media1.key"] {
        let mode = std::fs::metadata(dir.path().join("lan").join(key)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{key}");
    }
    let before = std::fs::read(dir.path().join("lan/media1.pem")).unwrap();
    let again = pointsman(&["certify", "--dir", &at, "--worker", "media1"]);
    assert_eq!(again.status.code(), Some(2));
    let words =
        "media1.key is there already; for a new certificate remove media1.key and media1.pem, or give another name";
    assert!(String::from_utf8_lossy(&again.stderr).contains(words), "{again:?}");
    assert_eq!(std::fs::read(dir.path().join("lan/media1.pem")).unwrap(), before);
    let said = |words: &[&str]| String::from_utf8_lossy(&pointsman(words).stderr).into_owned();
    assert!(said(&["worker", "--dispatcher", "tls://192.0.2.1"]).contains("is written tls://HOST:PORT"));
    assert!(
        said(&["worker", "--dispatcher", "tls://[::1]:5090"]).contains("needs --certificate; see `pointsman certify`")
    );
    let file = dir.path().join("p.toml");
    let text = format!(
        "[lan]\nlisten = \"192.0.2.1:5090\"\ncertificate = \"{at}/dispatcher.pem\"\nkey = \"{at}/media1.key\"\n\
         client-ca = \"{at}/ca.pem\"\n"
    );
    std::fs::write(&file, &text).unwrap();
    let path = file.display().to_string();
    assert!(
        said(&["check", &path]).contains("has a key that does not belong to the certificate"),
        "{}",
        said(&["check", &path])
    );
    std::fs::write(&file, text.replace("media1.key", "dispatcher.key")).unwrap();
    assert_eq!(pointsman(&["check", &path]).status.code(), Some(0));
}
