//! The loads of other servers: the very lines of README, with servers that answer in the formats of those.

use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use std::sync::{Arc, Mutex};

use toml::{Table, Value};

use super::Front;
use super::servers::{Manner, Servers};
use super::weights::{documents, http};

const README: &str = include_str!("../../../README.md");

/// Asterisk's res_prometheus.
const ASTERISK: &str = "# HELP asterisk_calls_sum Total number of calls that have passed through Asterisk.\n\
    # TYPE asterisk_calls_sum counter\nasterisk_calls_sum{eid=\"02:42:ac:11:00:02\"} 1234\n\
    # HELP asterisk_calls_count Current number of active calls.\n# TYPE asterisk_calls_count gauge\n\
    asterisk_calls_count{eid=\"02:42:ac:11:00:02\"} 31\n";
/// Kamailio's xhttp_prom: a time after each value.
const KAMAILIO: &str = "# NO User defined metrics\n\n# Kamailio whole internal statistics\n\
    kamailio_dialog_active_dialogs 32 1795860118717\nkamailio_dialog_early_dialogs 4 1795860118717\n\
    kamailio_dialog_processed_dialogs 99 1795860118717\n";
/// LiveKit SIP: a series for each direction and number.
const LIVEKIT: &str = "# HELP livekit_sip_calls_active Number of currently active SIP calls\n\
    # TYPE livekit_sip_calls_active gauge\nlivekit_sip_calls_active{dir=\"inbound\",node_id=\"a\",to=\"+1\"} 30\n\
    livekit_sip_calls_active{dir=\"outbound\",node_id=\"a\",to=\"+2\"} 3\nlivekit_sip_available{node_id=\"a\"} 1\n";

/// The block of README in this language in which a text stands.
fn block(language: &str, text: &str) -> &'static str {
    let blocks = README.split("\n```").filter_map(|block| block.strip_prefix(language)?.strip_prefix('\n'));
    let mut blocks = blocks.filter(|block| block.contains(text));
    blocks.next().unwrap_or_else(|| panic!("no block of README has {text}"))
}

/// The line of README's agent for FreeSWITCH beside this number of calls.
fn line_of_agent(calls: u32) -> String {
    let dir = tempfile::tempdir().unwrap();
    let fs_cli = dir.path().join("fs_cli");
    let answer = format!("#!/bin/sh\n[ \"$*\" = '-x show calls count' ] && printf '\\n{calls} total.\\n\\n'\n");
    std::fs::write(&fs_cli, answer).unwrap();
    std::fs::set_permissions(&fs_cli, std::fs::Permissions::from_mode(0o755)).unwrap();
    let path = format!("{}:{}", dir.path().display(), std::env::var("PATH").unwrap_or_default());
    let output = Command::new("sh").args(["-c", block("sh", "fs_cli")]).env("PATH", path).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn the_loads_of_other_servers_are_read_by_the_lines_of_the_readme() {
    let mut settings: Table = block("toml", "asterisk_calls_count").parse().unwrap();
    let proxies = settings["proxy"].as_array_mut().unwrap();
    let servers = Servers::with(proxies.len(), &Manner::default());
    let mut jambonz = None;
    for (number, proxy) in proxies.iter_mut().enumerate() {
        let proxy = proxy.as_table_mut().unwrap();
        let (answer, asks_first) = match proxy["name"].as_str().unwrap() {
            "asterisk" => (http(ASTERISK), true),
            "kamailio" => (http(KAMAILIO), true),
            "livekit" => (http(LIVEKIT), true),
            "freeswitch" => (line_of_agent(35), false),
            "jambonz" => {
                jambonz = Some(number);
                (String::new(), false)
            }
            other => panic!("no server like {other} here"),
        };
        proxy.insert("uri".to_owned(), format!("sip:{}", servers.address(number)).into());
        let load = proxy["load"].as_str().unwrap();
        // Scheme and path stay as they are written.
        if let Some(place) = load.split_once("192.0.2.").map(|(_, rest)| rest.split('/').next().unwrap()) {
            let source = documents(&Arc::new(Mutex::new(answer)), asks_first);
            let load = load.replace(&format!("192.0.2.{place}"), &source.to_string());
            proxy.insert("load".to_owned(), load.into());
        }
    }
    let defaults = Table::from_iter([("probe-interval".to_owned(), Value::from("200ms"))]);
    settings.insert("proxy-defaults".to_owned(), defaults.into());
    let front = Front::start(&settings.to_string());
    let jambonz = jambonz.unwrap();
    servers.change(jambonz, |manner| manner.probe_headers = "X-FS-Status: open\r\nX-FS-Calls: 34\r\n".to_owned());
    let uses = [("asterisk", 31), ("kamailio", 32), ("livekit", 33), ("jambonz", 34), ("freeswitch", 35)];
    for (name, used) in uses {
        front.wait_until(name, "to tell its load", |row| row["used"] == used && row["load"] == f64::from(used) / 200.0);
    }
}
