//! The call flows of RFC 3435's appendices F and G, word for word except for the names of endpoints and the ids of
//! connections, which a gateway chooses itself.
//!
//! The messages are not part of the project. `POINTSMAN_CORPORA` names the directory they lie in; without it they are
//! looked for beside the project, and the test says so when they are not there.

use std::path::PathBuf;

use super::*;

/// The commands, with this gateway's answers. Analog lines are not among its packages: commands for them get 518.
const FLOW: &[(&str, u16)] = &[
    ("007-F.3-CRCX", 200),
    ("009-F.3-CRCX", 518),
    ("011-F.3-CRCX", 200),
    ("015-F.4-MDCX", 200),
    ("017-F.4-MDCX", 518),
    ("027-F.8-AUEP", 200),
    ("029-F.8-AUEP", 200),
    ("031-F.8-AUEP", 200),
    ("033-F.9-AUCX", 200),
    ("035-F.9-AUCX", 200),
    ("019-F.5-DLCX", 250),
    ("023-F.7-DLCX", 500),
    ("025-F.7-DLCX", 250),
    ("078-G.2.1-CRCX", 200),
    ("080-G.2.1-CRCX", 200),
    ("082-G.2.1-MDCX", 200),
    ("094-G.2.1-MDCX", 200),
    ("098-G.3.1-DLCX", 250),
    ("100-G.3.1-DLCX", 500),
];

#[test]
fn the_call_flows_of_the_rfc_are_answered_as_it_shows_them() {
    let named = std::env::var_os("POINTSMAN_CORPORA").map(PathBuf::from);
    let root = named.unwrap_or_else(|| PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../shared/corpora")));
    let path = root.join("mgcp/rfc3435");
    if !path.is_dir() {
        eprintln!("not run: {} is not there", path.display());
        return;
    }
    let mut rig = Rig::new();
    // The endpoint and the connection that the flow is about: the last ones made.
    let (mut endpoint, mut connection) = (String::new(), String::new());
    for (number, (file, wanted)) in (1..).zip(FLOW) {
        let text = std::fs::read_to_string(path.join(format!("{file}.txt"))).unwrap();
        let command = ours(&text, number, &endpoint, &connection);
        let answer = rig.send(&command);
        assert_eq!(code(&answer), *wanted, "{file}:\n{command}\n{answer}");
        if file.ends_with("CRCX") && *wanted == 200 {
            endpoint = param(&answer, Field::SpecificEndpointId);
            connection = param(&answer, Field::ConnectionId);
            assert_eq!(descriptions(&answer).len(), 1, "{file}");
        }
        let parameters = param(&answer, Field::ConnectionParameters);
        assert_eq!(
            !parameters.is_empty(),
            matches!(*file, "019-F.5-DLCX" | "033-F.9-AUCX" | "098-G.3.1-DLCX"),
            "{file}"
        );
    }
    assert_eq!(rig.units(), 1, "the second caller of appendix G hangs up under another id");
}

/// A command with a transaction id of its own, our names and our ids.
fn ours(text: &str, number: u32, endpoint: &str, connection: &str) -> String {
    let (head, rest) = text.split_once("\r\n").unwrap_or((text, ""));
    let words: Vec<&str> = head.split(' ').collect();
    let (local, domain) = words[2].split_once('@').unwrap();
    let name = match (local, words[0].eq_ignore_ascii_case("CRCX")) {
        (_, true) => format!("ann/$@{domain}"),
        ("*", _) => words[2].to_owned(),
        (local, _) if local.ends_with('*') => format!("ann/*@{domain}"),
        _ => endpoint.to_owned(),
    };
    let mut command = format!("{} {number} {name} {} {}\r\n", words[0], words[3], words[4]);
    for line in rest.lines() {
        match line.split_once(':') {
            Some((id, _)) if id.eq_ignore_ascii_case("I") => command.push_str(&format!("{id}: {connection}\r\n")),
            _ => command.push_str(&format!("{line}\r\n")),
        }
    }
    command
}
