//! Reads the source: state machines keep their state to themselves, and a time of a standard is defined once.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails here")]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

fn files(under: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(under).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => files(&path, found),
            false if path.extension().is_some_and(|ending| ending == "rs") => found.push(path),
            false => {}
        }
    }
}

/// The code of each file below `src/{under}`, without comments and unit tests, by the file's name below `src`.
fn sources(under: &str) -> BTreeMap<String, String> {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut found = Vec::new();
    files(&src.join(under), &mut found);
    found.retain(|path| !path.ends_with("tests.rs") && !path.components().any(|part| part.as_os_str() == "tests"));
    let read = |path: &PathBuf| {
        let text = fs::read_to_string(path).unwrap();
        let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
        let code: Vec<&str> = code.lines().map(|line| line.split("//").next().unwrap_or_default()).collect();
        (path.strip_prefix(&src).unwrap().to_string_lossy().into_owned(), code.join("\n"))
    };
    found.iter().map(read).collect()
}

/// The fields of a struct with named fields, as written.
fn fields<'a>(code: &'a str, name: &str) -> Option<Vec<&'a str>> {
    let begins = [format!("struct {name} {{"), format!("struct {name}<")];
    let begin = begins.iter().find_map(|begin| code.find(begin.as_str()))?;
    let body = code[begin..].split_once("{\n")?.1.split_once("\n}")?.0;
    Some(body.lines().map(str::trim).filter(|line| line.contains(':')).collect())
}

#[test]
fn no_field_of_a_transaction_can_be_assigned_outside_its_file() {
    let machines = [
        ("transaction/sip_server.rs", "Transaction"),
        ("transaction/sip_client.rs", "Transaction"),
        ("transaction/mgcp_server.rs", "Transaction"),
        ("transaction/mgcp_server.rs", "Transactions"),
        ("transaction/mgcp_client.rs", "Transaction"),
        ("transaction/name/mgcp.rs", "TransactionKey"),
        ("transaction/timers.rs", "Resend"),
        ("call/uas/server.rs", "Server"),
        ("call/uas/server.rs", "Servers"),
    ];
    let code = sources("");
    for (file, name) in machines {
        let fields = fields(&code[file], name).unwrap_or_else(|| panic!("{file} has no struct {name}"));
        assert!(fields.len() > 1, "{file}: {name}");
        let open: Vec<&&str> = fields.iter().filter(|field| field.starts_with("pub")).collect();
        assert!(open.is_empty(), "{file}: {name} has {open:?}");
    }
}

#[test]
fn a_time_of_a_standard_is_defined_once() {
    /// The names by which SIP and MGCP know their times, and the house's names for them.
    const NAMES: &[&str] = &[
        "T1",
        "T2",
        "T4",
        "T64",
        "T1_64",
        "TIMER_A",
        "TIMER_B",
        "TIMER_D",
        "TIMER_E",
        "TIMER_F",
        "TIMER_G",
        "TIMER_H",
        "TIMER_I",
        "TIMER_J",
        "TIMER_K",
        "TIMER_L",
        "TIMER_M",
        "LINGER",
        "LIFETIME",
        "TRANSACTION_LIFE",
        "RTO",
        "RTO_MAX",
        "T_MAX",
        "T_HIST",
        "LONGTRAN",
        "KEPT_FOR",
    ];
    for (file, code) in sources("") {
        for line in code.lines().filter(|line| line.contains("const ") && line.contains("Duration")) {
            let name = line.split("const ").nth(1).and_then(|rest| rest.split(':').next()).unwrap_or_default();
            let is_home = file == "transaction/timers.rs";
            assert!(is_home || !NAMES.contains(&name), "{file} defines {name}: use transaction::timers");
            // 64·T1 is the only 32 s of SIP and MGCP.
            assert!(is_home || !line.contains("from_secs(32)"), "{file} defines 64·T1 as {name}: use LIFETIME");
        }
    }
}

#[test]
fn the_reader_sees_what_it_looks_for() {
    let code = "struct A {\n    pub a: u8,\n    b: Vec<u8>,\n}\nstruct B<W> {\n    w: W,\n}\n";
    assert_eq!(fields(code, "A"), Some(vec!["pub a: u8,", "b: Vec<u8>,"]));
    assert_eq!(fields(code, "B"), Some(vec!["w: W,"]));
    assert!(sources("").len() > 200);
}

#[test]
fn the_decision_has_no_function_of_one_protocol_beside_that_of_the_other() {
    let code = sources("");
    let of_the_decision = |name: &str| name.starts_with("dispatch/") || name.starts_with("switch/");
    let mut pairs = Vec::new();
    for (file, code) in code.iter().filter(|(name, _)| of_the_decision(name)) {
        for (at, _) in code.match_indices("fn ") {
            let name: String = code[at + 3..].chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
            if name.ends_with("_mgcp") {
                pairs.push(format!("{file}: {name}"));
            }
        }
        assert!(!code.contains("too_many_arguments"), "{file}: what belongs together is a value");
    }
    assert!(pairs.is_empty(), "{pairs:?}");
}
