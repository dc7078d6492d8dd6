//! Tests with configurations as values: those that are accepted, and each fault with its place and its words.

mod access;
mod connections;
mod lan;
mod mgcp;
mod proxies;

use super::describe::Apply;
use super::*;

fn config(text: &str) -> Config {
    Config::check(&Settings::parse(text).unwrap()).unwrap()
}

fn config_of(settings: &Settings) -> Config {
    Config::check(settings).unwrap()
}

/// The line an operator sees for a file of this text, named `p.toml`.
fn fault(text: &str) -> String {
    fault_with(text, &Settings::default())
}

fn fault_with(text: &str, flags: &Settings) -> String {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("p.toml");
    std::fs::write(&path, text).unwrap();
    let error = Config::load(Some(&path), flags).unwrap_err().to_string();
    assert_eq!(error.lines().count(), 1, "{error}");
    error.replace(&path.display().to_string(), "p.toml")
}

/// The file that `check --print` shows, without the keys that have no value.
fn printed(config: &super::Config) -> String {
    let rows = config.describe();
    let set = rows.iter().filter(|row| !row.value.starts_with('('));
    set.map(|row| format!("{} = {}\n", row.key, row.value)).collect()
}

#[test]
fn without_settings_the_documented_defaults_hold() {
    let config = Config::default();
    assert_eq!(config.workers, 1);
    assert_eq!(config.listen, ["udp:0.0.0.0:5060", "tcp:0.0.0.0:5060"].map(|listen| listen.parse().unwrap()));
    assert_eq!((config.worker_ports, config.worker_mgcp_ports), (5070, 2430));
    assert_eq!((config.capacity, config.rtp_ports.to_string()), (1000, "20000-31999".to_owned()));
    assert_eq!((config.policy, config.lanes, config.insert), (Policy::LeastLoad, 1, Insert::None));
    assert_eq!((config.reply_from, config.drain_after), (ReplyFrom::Listener, None));
    assert_eq!(config.mgcp_timeout, Some(Duration::from_secs(600)));
    assert_eq!((config.stop_after.as_secs(), config.pending_max.as_secs()), (3, 300));
    assert_eq!((config.max_size, config.video_size, config.retention), (1000, 4, Bytes(16 << 20)));
    assert_eq!(config.size_order, SizeSource::ALL);
    assert_eq!(config, config_of(&Settings::default()));
    assert_eq!(config.notes(), Vec::<String>::new());
}

#[test]
fn every_key_can_be_written_in_the_file() {
    let text = r#"
        workers = 4
        run-dir = "/tmp/pm"
        stats-group = "adm"
        listen = ["udp:127.0.0.1:5060", "[::1]:5060", "mgcp:127.0.0.1:2427"]
        worker-ports = 6000
        worker-mgcp-ports = 7000
        capacity = 500
        rtp-ports = "40000-49999"
        policy = "weighted"
        lanes = 1
        advertise = "192.0.2.1"
        insert = "request-uri"
        reply-from = "worker"
        stop-after = "5s"
        drain-after = "1h"
        max-size = 120
        video-size = 6
        size-from = ["10.0.0.0/8"]
        size-order = ["sdp", "header"]
        table-cap = 100000
        pending-max = "3m"
        retention = "32MiB"
        slow-start = "0s"
        silent-after = "4s"
        weights = { w0 = 2, w3 = 5 }
        token-key = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"
        previous-token-key = "ff112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"
        pinned-sources = ["192.168.0.0/16", "fc00::/7"]
        ring-first = ["192.0.2.0/24"]
        max-connections = 5000
        max-connections-per-source = 100
        connection-exempt = ["10.0.0.1"]
        max-handshakes = 64
        origins = ["https://example.net", "null"]
        linger = "1m"
        mgcp-timeout = "1h"
        identifier-header = "X-System"
        remember = "2h"
        access = [{ from = ["10.0.0.0/8"], action = "allow" }, { action = "limit", rate = 20, burst = 60, ban = "5m" }]
        [methods]
        MESSAGE = "select"
        [[mgcp]]
        bypass = "port"
        [mgcp-aliases]
        rtpbridge = "bridge"
        [[sip]]
        bypass = "pin"
        [[tls]]
        certificate = "a.pem"
        key = "a.key"
        [lan]
        listen = "192.0.2.1:5090"
        certificate = "d.pem"
        key = "d.key"
        client-ca = "ca.pem"
        [[route]]
        user = "7*"
        pool = "ivr"
        [[pool]]
        name = "ivr"
        [proxy-defaults]
        handicap = 50
        [[proxy]]
        name = "fs1"
        uri = "sip:192.0.2.21"
        pool = "ivr"
    "#;
    let settings = Settings::parse(text).unwrap();
    let unset: Vec<&str> = KEYS.iter().map(|key| key.name).filter(|key| !settings.sets(key)).collect();
    assert_eq!(unset, Vec::<&str>::new(), "keys this test does not write");
    let config = Config::check(&settings).unwrap();
    assert_eq!((config.workers, config.policy, config.insert), (4, Policy::Weighted, Insert::RequestUri));
    assert_eq!(config.drain_after, Some(Duration::from_secs(3600)));
    assert_eq!((config.weight(WorkerId(0)), config.weight(WorkerId(1)), config.weight(WorkerId(3))), (2, 1, 5));
    assert_eq!(config.method_rule("MESSAGE"), MethodRule::Select);
    assert_eq!(config.method_rule("REFER"), MethodRule::Refuse);
    assert_eq!(config.sip_ips().len(), 2);
    assert!(config.token_key.is_some() && config.previous_token_key != config.token_key);
}

#[test]
fn the_command_line_wins_over_the_file() {
    let file = Settings::parse("workers = 4\npolicy = \"hash\"\n").unwrap();
    let flags = Settings { workers: Some(2), capacity: Some(10), ..Settings::default() };
    let both = file.overridden_by(&flags);
    assert_eq!((both.workers, both.policy, both.capacity), (Some(2), Some(Policy::Hash), Some(10)));
    let all = Settings::parse(&printed(&super::Config::default())).unwrap();
    assert_eq!(Settings::default().overridden_by(&all), all);
    assert_eq!(all.overridden_by(&Settings::default()), all);
}

#[test]
fn a_described_configuration_reads_back_as_the_same() {
    for text in [
        "workers = 3\nweights = { w1 = 7 }\nstop-after = \"1500ms\"\n[methods]\nREFER = \"select\"\n",
        "stats-group = 'a\"b'\n",
        "listen = ['udp:127.0.0.1:5060', 'mgcp:127.0.0.1:2427']\n[[mgcp]]\ncall-agent = 'a\"\\b@ca.example.net'\n",
        "stats-group = 'a\\b'\nrun-dir = \"/tmp/\\\"quoted\\\"\\n\"\n",
    ] {
        let config = config(text);
        let text = printed(&config);
        let settings = Settings::parse(&text).unwrap_or_else(|error| panic!("{error}: {text}"));
        assert_eq!(config_of(&settings), config, "{text}");
    }
}

#[test]
fn slots_have_consecutive_ports_and_even_shares_of_the_media_ports() {
    let config = config("workers = 4\n");
    assert_eq!(config.slots().map(|slot| config.sip_port(slot)).collect::<Vec<_>>(), [5070, 5071, 5072, 5073]);
    assert_eq!(config.mgcp_port(WorkerId(3)), 2433);
    let shares: Vec<String> = config.slots().map(|slot| config.rtp_ports(slot).to_string()).collect();
    assert_eq!(shares, ["20000-22999", "23000-25999", "26000-28999", "29000-31999"]);
}

#[test]
fn an_uneven_media_range_is_split_into_even_ports_without_overlap() {
    let config = config("workers = 3\nrtp-ports = \"20001-20017\"\n");
    let shares: Vec<String> = config.slots().map(|slot| config.rtp_ports(slot).to_string()).collect();
    assert_eq!(shares, ["20002-20005", "20006-20009", "20010-20013"]);
}

#[test]
fn first_port_zero_lets_the_kernel_choose_for_every_slot() {
    let config = config("workers = 4\nworker-ports = 0\nlisten = [\"127.0.0.1:0\"]\n");
    assert_eq!(config.slots().map(|slot| config.sip_port(slot)).collect::<Vec<_>>(), [0; 4]);
}

#[test]
fn syntax_errors_and_unknown_keys_are_named_with_line_and_column() {
    assert!(fault("workers = 4\npolicy = \n").starts_with("p.toml:2:10: "), "{}", fault("workers = 4\npolicy = \n"));
    assert_eq!(fault("\n worker = 4\n"), "p.toml:2:2: worker: no such key; did you mean `workers`?");
    let far = fault("frobnicate = 1\n");
    assert!(far.starts_with("p.toml:1:1: frobnicate: no such key; the keys are "), "{far}");
    assert!(fault("workers = 1\nworkers = 2\n").starts_with("p.toml:2:1: "));
    assert!(fault("\0").starts_with("p.toml:1:"));
}

#[test]
fn values_of_the_wrong_shape_are_named_with_their_key() {
    let policies: Vec<&str> = Policy::ALL.iter().map(|policy| policy.label()).collect();
    let cases = [
        ("workers = \"four\"", "p.toml:1:11: workers: invalid type: string \"four\", expected a whole number"),
        ("workers = -1", "p.toml:1:11: workers: -1 is too small"),
        ("stop-after = 3", "p.toml:1:14: stop-after: `3` is not a duration with its unit, such as 500ms, 3s, 5m or 1h"),
        ("reply-from = \"caller\"", "p.toml:1:14: reply-from: `caller` is not one of listener, worker"),
        ("policy = \"best\"", &format!("p.toml:1:10: policy: `best` is not one of {}", policies.join(", "))),
        (
            "listen = [\"0.0.0.0\"]",
            "p.toml:1:11: listen: `0.0.0.0` names no port: write ADDR:PORT, such as 0.0.0.0:5060",
        ),
        ("rtp-ports = \"1\"", "p.toml:1:13: rtp-ports: `1` is not a range of ports FIRST-LAST, such as 20000-31999"),
        ("[[pool]]\nname = \"a\"\nretry-on = 503", "p.toml:3:12: pool.1.retry-on: a list is needed; write [503]"),
        ("workers = 70000", "p.toml:1:11: workers: 70000 is too large"),
        ("listen = \"udp:192.0.2.1:5060\"", "p.toml:1:10: listen: a list is needed; write [\"udp:192.0.2.1:5060\"]"),
        (
            "advertise = \"\"",
            "p.toml:1:13: advertise: not a numeric address, such as 192.0.2.1; names are not looked up",
        ),
        (
            "[lan]\nlisten = \"here:5090\"",
            "p.toml:2:10: lan.listen: not an address; write ADDR:PORT with a numeric address, such as 192.0.2.1:5090",
        ),
        ("workers = 1\nworkers = 2", "p.toml:2:1: workers: the key stands there twice; keep one"),
        ("[weights]\nw0 = 1\nw0 = 2", "p.toml:3:1: w0: the key stands there twice; keep one"),
        ("workers = 1\n[lan]\nlisten = \"192.0.2.1:5090\"", "p.toml:2:1: lan: `certificate` is missing"),
        ("[[access]]\nrate = 1", "p.toml:1:1: access.1: `action` is missing"),
        ("access = [{ rate = 1 }]", "p.toml:1:11: access.1: `action` is missing"),
        ("access = [\"deny\"]", "p.toml:1:11: access: invalid type: string \"deny\", expected a table"),
        (
            "size-from = [\"10.0.0.1/8\"]",
            "p.toml:1:14: size-from: `10.0.0.1/8` has bits set beyond its prefix: write 10.0.0.0/8",
        ),
    ];
    for (text, expected) in cases {
        assert_eq!(fault(text), expected);
    }
    let secret = fault("token-key = \"hunter2\"");
    assert!(secret.starts_with("p.toml:1:13: token-key: ") && !secret.contains("hunter2"), "{secret}");
}

#[test]
fn a_table_in_the_wrong_brackets_is_named_with_the_right_ones() {
    for key in ["access", "mgcp", "pool", "proxy", "route", "sip", "tls"] {
        let words = format!("{key}: write [[{key}]] above the lines of each");
        assert_eq!(fault(&format!("[{key}]\n")), format!("p.toml:1:2: {words}"));
        assert_eq!(fault(&format!("workers = 1\n{key} = 1\n")), format!("p.toml:2:1: {words}"));
    }
    for key in ["lan", "methods", "mgcp-aliases", "proxy-defaults", "weights"] {
        let words = format!("{key}: write [{key}] above its lines, once");
        assert_eq!(fault(&format!("[[{key}]]\n")), format!("p.toml:1:3: {words}"));
        assert_eq!(fault(&format!("workers = 1\n[[{key}]]\n")), format!("p.toml:2:3: {words}"));
    }
}

#[test]
fn each_value_that_cannot_be_names_its_key_and_what_to_do() {
    let cases = [
        ("workers = 2000", "p.toml:1:1: workers: 2000 is more than 1024, the most one host can have"),
        ("capacity = 0", "p.toml:1:1: capacity: 0 is out of range; give 1 to 1000000 units"),
        ("max-size = 0", "p.toml:1:1: max-size: 0 is out of range; give 1 to 1000000 units"),
        ("lanes = 65", "p.toml:1:1: lanes: 65 is more than 64; one for each CPU core is plenty"),
        ("lanes = 0", "p.toml:1:1: lanes: 0 lanes would read nothing; give 1"),
        ("table-cap = 5", "p.toml:1:1: table-cap: 5 is out of range; give 1024 to 16777216 entries"),
        ("pending-max = \"1s\"", "p.toml:1:1: pending-max: 1s is out of range; give 32s to 1h"),
        ("stop-after = \"never\"", "p.toml:1:1: stop-after: never is out of range; give 0s to 1h"),
        ("silent-after = \"1s\"", "p.toml:1:1: silent-after: 1s is out of range; give 2s to 1m"),
        (
            "drain-after = \"0s\"",
            "p.toml:1:1: drain-after: 0s would end every call at once; give a longer time, or `never`",
        ),
        ("mgcp-timeout = \"0s\"", "p.toml:1:1: mgcp-timeout: 0s is out of range; give 1s to 168h, or `never`"),
        ("retention = 1", "p.toml:1:1: retention: 1 is out of range; give 128KiB to 1GiB"),
        ("listen = []", "p.toml:1:1: listen: the list is empty; give at least one address, such as udp:0.0.0.0:5060"),
        (
            "listen = [\"0.0.0.0:5060\", \"127.0.0.1:5060\"]",
            "p.toml:1:1: listen: udp:127.0.0.1:5060 clashes with udp:0.0.0.0:5060; give each another port or address",
        ),
        (
            "listen = [\"224.0.1.75:5060\"]",
            "p.toml:1:1: listen: udp:224.0.1.75:5060: a multicast address; give an address of this host",
        ),
        (
            "listen = [\"255.255.255.255:5060\"]",
            "p.toml:1:1: listen: udp:255.255.255.255:5060: the broadcast address; give an address of this host",
        ),
        (
            "advertise = \"0.0.0.0\"",
            "p.toml:1:1: advertise: 0.0.0.0 is no address to send to; give the one that callers can reach",
        ),
        ("size-order = [\"sdp\", \"sdp\"]", "p.toml:1:1: size-order: `sdp` stands there twice; keep the first"),
        ("[weights]\nw1 = 2", "p.toml:2:1: weights.w1: there is no such worker; the last of 1 is w0"),
        ("[weights]\nw0 = 0", "p.toml:2:1: weights.w0: 0 is no weight; to keep sessions away use `pointsman drain w0`"),
        ("[weights]\nzero = 1", "p.toml:2:1: weights.zero: `zero` is not a worker's name: workers are named w0, w1, …"),
        (
            "[methods]\nINVITE = \"refuse\"",
            "p.toml:2:1: methods.INVITE: no rule can be given for this method; rules are for INFO, MESSAGE, NOTIFY, \
             PUBLISH, REFER, REGISTER, SUBSCRIBE",
        ),
        (
            "[methods]\nMESSAGE = \"accept\"",
            "p.toml:2:1: methods.MESSAGE: only REGISTER can be accepted without a worker",
        ),
        ("run-dir = \"\"", "p.toml:1:1: run-dir: the path is empty; name a directory, such as /run/pointsman"),
    ];
    for (text, expected) in cases {
        assert_eq!(fault(text), expected);
    }
}

#[test]
fn port_ranges_that_run_out_or_meet_are_named() {
    let cases = [
        (
            "workers = 4\nworker-ports = 65533",
            "p.toml:2:1: worker-ports: 65533 and 4 workers run past port 65535; choose a first port of at most 65532",
        ),
        (
            "workers = 4\nworker-mgcp-ports = 65535",
            "p.toml:2:1: worker-mgcp-ports: 65535 and 4 workers run past port 65535; choose a first port of at most 65532",
        ),
        (
            "workers = 4\nworker-ports = 5058",
            "p.toml:2:1: worker-ports: worker-ports 5058-5061 holds port 5060 of listener udp:0.0.0.0:5060; choose ports apart from it",
        ),
        (
            "rtp-ports = \"5000-6000\"",
            "p.toml:1:1: rtp-ports: worker-ports 5070-5070 and rtp-ports 5000-6000 overlap; choose ranges apart from each other",
        ),
        (
            "listen = [\"0.0.0.0:20000\"]",
            "p.toml:1:1: listen: rtp-ports 20000-31999 holds port 20000 of listener udp:0.0.0.0:20000; choose ports apart from it",
        ),
        (
            "workers = 8\nrtp-ports = \"40000-40013\"",
            "p.toml:2:1: rtp-ports: 40000-40013 holds 7 pairs of an even port and the next, and each worker needs one; \
             give 16 ports or more, from an even one on",
        ),
    ];
    for (text, expected) in cases {
        assert_eq!(fault(text), expected);
    }
    // A worker's MGCP port is only ever bound beside an MGCP listener.
    assert_eq!(config("worker-mgcp-ports = 5070").worker_mgcp_ports, 5070);
    assert_eq!(config("workers = 4\nworker-ports = 65532").sip_port(WorkerId(3)), 65535);
}

#[test]
fn a_run_directory_too_long_for_its_sockets_is_refused_with_its_path() {
    let longest = format!("/{}", "d".repeat(93));
    assert_eq!(config(&format!("run-dir = \"{longest}\"")).run_dir, Some(PathBuf::from(&longest)));
    let long = format!("{longest}d");
    assert_eq!(
        fault(&format!("run-dir = \"{long}\"")),
        format!("p.toml:1:1: run-dir: {long} has 95 bytes, and socket paths hold 107; name a directory of at most 94")
    );
}

#[test]
fn a_run_directory_that_is_not_utf_8_is_refused_before_a_worker_cannot_be_given_it() {
    use std::os::unix::ffi::OsStringExt as _;
    let run_dir = Some(PathBuf::from(std::ffi::OsString::from_vec(b"/run/\xff".to_vec())));
    let fault = fault_with("", &Settings { run_dir, ..Settings::default() });
    assert!(fault.contains("run-dir") && fault.contains("is not UTF-8"), "{fault}");
}

#[test]
fn no_workers_of_its_own_is_a_configuration_with_a_note() {
    let none = config("workers = 0");
    assert_eq!(none.workers, 0);
    assert!(none.notes().iter().any(|note| note.contains("503 until one comes")), "{:?}", none.notes());
    let weight = "p.toml:2:9: weights.w0: there is no such worker: none is started";
    assert_eq!(fault("workers = 0\nweights.w0 = 2"), weight);
}

#[test]
fn workers_that_come_by_themselves_get_no_media_port_of_a_slot() {
    let beside = |rtp: &str| {
        config(&format!("rtp-ports = \"{rtp}\"\nlisten = [\"udp:0.0.0.0:1000\"]\nworker-ports = 0")).rtp_ports_beside()
    };
    assert_eq!(beside("20000-31999"), Some(PortRange { first: 32_000, last: 65_535 }));
    assert_eq!(beside("50000-60000"), Some(PortRange { first: 1_024, last: 49_999 }));
    assert_eq!(beside("1024-1999"), Some(PortRange { first: 2_000, last: 65_535 }));
    assert_eq!(beside("1024-65533"), Some(PortRange { first: 65_534, last: 65_535 }));
}

#[test]
fn media_ports_that_leave_none_to_workers_that_come_by_themselves_are_noted() {
    let elsewhere = |text: &str| config(&format!("listen = [\"udp:0.0.0.0:1000\"]\nworker-ports = 0\n{text}"));
    for rtp in ["1024-65535", "1025-65535", "1024-65534", "1-65535"] {
        let all = config(&format!("listen = [\"udp:0.0.0.0:0\"]\nworker-ports = 0\nrtp-ports = \"{rtp}\""));
        assert_eq!(all.rtp_ports_beside(), None, "{rtp}");
        let note = format!(
            "rtp-ports: {rtp} leaves no ports to workers of your own; narrow it, or start each of them with --rtp-ports"
        );
        assert_eq!(all.notes(), [note]);
    }
    let few = elsewhere("workers = 0\nrtp-ports = \"2000-65535\"");
    assert_eq!(
        few.notes().last().map(String::as_str),
        Some(
            "rtp-ports: 2000-65535 leaves workers of your own 488 media streams between them, fewer than the capacity of 1000 \
         of one; narrow it, or start each of them with --rtp-ports"
        )
    );
    // A dispatcher with workers of its own seldom has others, and a small range is enough for these.
    assert_eq!(elsewhere("rtp-ports = \"2000-65535\"").notes(), Vec::<String>::new());
}

#[test]
fn a_fault_is_shown_where_the_operator_wrote_it() {
    let flags = Settings { workers: Some(1025), ..Settings::default() };
    let words = "workers: 1025 is more than 1024, the most one host can have";
    assert_eq!(fault_with("workers = 4", &flags), format!("--{words}"));
    // The flag's number of workers does not fit the file's ports: both are named, the flag is the place.
    let flags = Settings { workers: Some(4), ..Settings::default() };
    assert_eq!(
        fault_with("\nworker-ports = 65535", &flags).split(": ").next(),
        Some("--workers"),
        "{}",
        fault_with("\nworker-ports = 65535", &flags)
    );
    let error = Config::check(&Settings { workers: Some(1025), ..Settings::default() }).unwrap_err();
    assert_eq!(error.to_string(), words);
}

#[test]
fn a_file_that_cannot_be_read_is_named() {
    let missing = Config::load(Some(Path::new("/nonexistent/p.toml")), &Settings::default()).unwrap_err().to_string();
    assert!(missing.starts_with("configuration file /nonexistent/p.toml: cannot be opened: "), "{missing}");
    let dir = tempfile::tempdir().unwrap();
    let long = dir.path().join("long.toml");
    std::fs::write(&long, vec![b'#'; (1 << 20) + 1]).unwrap();
    assert!(Config::load(Some(&long), &Settings::default()).unwrap_err().to_string().contains("longer than 1 MiB"));
    std::fs::write(&long, b"# \xff\n").unwrap();
    assert!(Config::load(Some(&long), &Settings::default()).unwrap_err().to_string().contains("not UTF-8"));
    assert!(Config::load(Some(dir.path()), &Settings::default()).unwrap_err().to_string().contains("not a file"));
}

#[test]
fn settings_that_are_allowed_and_probably_not_meant_are_noted() {
    let notes = |text: &str| config(text).notes();
    assert_eq!(
        notes("workers = 12"),
        ["rtp-ports: 20000-31999 leaves each of 12 workers 500 media streams, fewer than its capacity of 1000"]
    );
    assert_eq!(notes("weights = { w0 = 2 }").len(), 1);
    assert_eq!(notes("policy = \"weighted\"\nweights = { w0 = 2 }"), Vec::<String>::new());
    assert_eq!(notes("capacity = 100\n").len(), 1);
    assert_eq!(notes("listen = [\"127.0.0.1:5060\"]").len(), 1);
}

#[test]
fn a_reload_says_what_changes() {
    let (old, new) = (config("workers = 4"), config("workers = 6\npolicy = \"pack\"\nvideo-size = 8"));
    let change = Change::between(&old, &new).unwrap();
    assert_eq!(change.to_string(), "workers: 4 -> 6, policy: \"least-load\" -> \"pack\", video-size: 4 -> 8");
    assert_eq!(Change::between(&old, &old).unwrap().to_string(), "nothing changed");
}

#[test]
fn a_reload_that_touches_what_needs_a_restart_changes_nothing_and_names_it() {
    let key = "ab".repeat(32);
    let text = format!("policy = \"pack\"\nlisten = [\"0.0.0.0:5080\"]\nworker-ports = 6000\ntoken-key = \"{key}\"");
    let refused = Change::between(&Config::default(), &config(&text)).unwrap_err();
    assert_eq!(refused.keys, ["listen", "worker-ports", "token-key"]);
    assert_eq!(
        refused.to_string(),
        "nothing was changed: listen, worker-ports, token-key cannot change while it runs; restart the dispatcher, or \
         put back the old value"
    );
    let other = config(&format!("token-key = \"{}\"", "cd".repeat(32)));
    let same = config(&format!("token-key = \"{key}\""));
    assert!(Change::between(&same, &other).is_err());
    assert!(Change::between(&same, &same.clone()).unwrap().is_empty());
}

#[test]
fn the_limits_that_have_checks_of_their_own_are_those_in_the_table() {
    let doc = |name: &str| KEYS.iter().find(|key| key.name == name).unwrap().doc;
    assert!(doc("workers").contains(&format!("0 to {MAX_WORKERS}")));
    assert!(doc("lanes").contains(&format!("1 to {}", check::LANES_LIMIT)));
    assert!(fault("mgcp-timeout = \"1ms\"").contains("1s to 168h") && doc("mgcp-timeout").contains("1s to 168h"));
}

#[test]
fn deeply_nested_text_is_an_error_and_no_overflow() {
    let error = Settings::parse(&format!("listen = {}", "[".repeat(200_000))).unwrap_err();
    assert_eq!(error.to_string().lines().count(), 1);
}

proptest::proptest! {
    #[test]
    fn no_text_makes_the_reader_panic_and_each_fault_is_one_line(text in "\\PC{0,80}|[a-z-]{1,12} = [\"a-z0-9.:/\\[\\]]{0,20}\n.{0,9}") {
        if let Err(error) = Settings::parse(&text).and_then(|settings| Config::check(&settings)) {
            proptest::prop_assert_eq!(error.to_string().lines().count(), 1, "{}", error);
        }
    }

    #[test]
    fn slots_never_share_a_port_and_media_ports_stay_in_their_range(
        workers in 1_u16..=1024, first in 1_u16.., span in 0_u16.., ports in 1_u16..
    ) {
        let settings = Settings {
            workers: Some(workers),
            worker_ports: Some(ports),
            rtp_ports: Some(PortRange { first, last: first.saturating_add(span) }),
            ..Settings::default()
        };
        let Ok(config) = Config::check(&settings) else { return Ok(()) };
        let mut last = u32::from(first).saturating_sub(1);
        for slot in config.slots() {
            let share = config.rtp_ports(slot);
            proptest::prop_assert!(u32::from(share.first) > last && share.first % 2 == 0 && share.last % 2 == 1);
            proptest::prop_assert!(share.last <= config.rtp_ports.last && share.pairs() >= 1);
            proptest::prop_assert!(!config.rtp_ports.contains(config.sip_port(slot)));
            last = u32::from(share.last);
        }
        proptest::prop_assert_eq!(config.sip_port(WorkerId(workers - 1)) - config.sip_port(WorkerId(0)), workers - 1);
    }
}
