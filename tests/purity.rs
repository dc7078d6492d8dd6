//! Reads the source: the pure directories name no socket, clock, thread, lock or random source, and no module above
//! them.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails here")]

use std::fs;
use std::path::{Path, PathBuf};

/// The pure modules, lowest first, each with the crate's modules it may name. The switch is all of the dispatcher that
/// the simulation runs in virtual time.
const LAYERS: &[(&str, &[&str])] = &[
    ("ids", &["ids"]),
    ("time", &["time"]),
    ("seldom", &["time", "seldom"]),
    ("crowd", &["time", "crowd"]),
    ("few", &["few"]),
    ("pack", &["few", "ids", "time", "pack"]),
    ("reservation", &["pack", "reservation"]),
    ("words", &["ids", "time", "pack", "words"]),
    ("fingerprint", &["ids", "pack", "wire", "fingerprint"]),
    ("slab", &["slab"]),
    ("transaction/timers", &["time", "pack"]),
    ("transaction/name", &["fingerprint", "words", "wire"]),
    ("transaction", &["ids", "time", "few", "pack", "fingerprint", "words", "wire", "transaction"]),
    ("wire", &["ids", "time", "words", "wire"]),
    ("config", &["ids", "time", "words", "transaction::LIFETIME", "config"]),
    ("access", &["ids", "time", "pack", "fingerprint", "words", "wire::handoff", "config::Network", "access"]),
    ("stream", &["time", "words", "wire", "stream"]),
    // A fetch is a hint to the processor: no value depends on it.
    ("link", &["ids", "time", "pack", "words", "wire::handoff", "link", "net::memory::fetch"]),
    (
        "dispatch",
        &[
            "ids",
            "time",
            "few",
            "slab",
            "pack",
            "reservation",
            "fingerprint",
            "words",
            "wire",
            "transaction",
            "config",
            "access",
            "dispatch",
            // A hint to the processor, as above.
            "net::memory::fetch",
        ],
    ),
    ("names", &["time", "words", "names"]),
    ("media", &["ids", "time", "wire", "media"]),
    (
        "call",
        &[
            "ids",
            "time",
            "slab",
            "reservation",
            "fingerprint",
            "words",
            "wire",
            "transaction",
            "media",
            "names",
            "call",
        ],
    ),
    (
        "station",
        &[
            "ids",
            "time",
            "reservation",
            "fingerprint",
            "wire",
            "link",
            "words",
            "transaction",
            "access",
            "names",
            "media",
            "call",
            "seldom",
            "station",
        ],
    ),
    ("prober/exchange.rs", &["time", "fingerprint", "words", "wire", "transaction", "config"]),
    ("prober/http.rs", &[]),
    ("prober/names.rs", &["time", "words", "names", "config", "dispatch"]),
    ("prober/schedule.rs", &["time", "fingerprint", "wire", "dispatch::probed"]),
    (
        "switch",
        &[
            "ids",
            "time",
            "pack",
            "words",
            "wire",
            "transaction",
            "link",
            "config",
            "dispatch",
            "switch",
            // A hint to the processor, as above.
            "net::memory::fetch",
        ],
    ),
];

/// Names that a pure module must not use. `std::net` address types are fine, its sockets are not.
const FORBIDDEN: &[&str] = &[
    "UdpSocket",
    "TcpStream",
    "TcpListener",
    "UnixStream",
    "UnixListener",
    "UnixDatagram",
    "std::os::",
    "Instant",
    "SystemTime",
    "std::thread",
    "thread::",
    "Mutex",
    "RwLock",
    "Condvar",
    "OnceLock",
    "LazyLock",
    "Atomic",
    "thread_local!",
    "static mut",
    "RandomState",
    "DefaultHasher",
    "std::collections::HashMap",
    "std::collections::HashSet",
    "getrandom",
    "rand::",
    "mio::",
    "tokio::",
    "socket2::",
    "libc::",
    "nix::",
    "rustix::",
    "std::process",
    "std::env",
    "unsafe ",
];

fn sources(under: &Path, found: &mut Vec<PathBuf>) {
    if under.is_file() {
        found.push(under.to_owned());
        return;
    }
    let Ok(entries) = fs::read_dir(under) else { return };
    for entry in entries.flatten() {
        let path = entry.path();
        if path.is_dir() || path.extension().is_some_and(|ending| ending == "rs") {
            sources(&path, found);
        }
    }
}

/// The code of a file: comments cut off, unit tests at its end left out.
fn code(path: &Path) -> String {
    let text = fs::read_to_string(path).unwrap();
    let code = text.split("#[cfg(test)]").next().unwrap_or_default();
    code.lines().map(|line| line.split("//").next().unwrap_or_default()).collect::<Vec<_>>().join("\n")
}

fn files_of(layer: &str) -> Vec<(String, String)> {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut found = Vec::new();
    sources(&src.join(layer), &mut found);
    sources(&src.join(format!("{layer}.rs")), &mut found);
    found.retain(|path| !path.ends_with("tests.rs") && !path.components().any(|part| part.as_os_str() == "tests"));
    let name = |path: &Path| path.strip_prefix(&src).unwrap().to_string_lossy().into_owned();
    found.iter().map(|path| (name(path), code(path))).collect()
}

#[test]
fn pure_modules_name_no_socket_clock_thread_lock_or_random_source() {
    let mut offences = Vec::new();
    for (layer, _) in LAYERS {
        for (name, code) in files_of(layer) {
            for word in FORBIDDEN.iter().filter(|word| names(&code, word)) {
                offences.push(format!("{name} names {word}"));
            }
        }
    }
    assert!(offences.is_empty(), "{}", offences.join("\n"));
}

#[test]
fn pure_modules_name_no_module_above_them() {
    let mut offences = Vec::new();
    for (layer, may) in LAYERS {
        for (name, code) in files_of(layer) {
            for (at, _) in code.match_indices("crate::") {
                let rest = &code[at + "crate::".len()..];
                if !may.iter().any(|module| rest.starts_with(module)) {
                    let named: String =
                        rest.chars().take_while(|c| c.is_alphanumeric() || ":_{".contains(*c)).collect();
                    offences.push(format!("{name} names crate::{named}"));
                }
            }
        }
    }
    assert!(offences.is_empty(), "{}", offences.join("\n"));
}

/// The directories that speak to the kernel, each with the crate's modules it must not name.
const ABOVE: &[(&str, &[&str])] = &[
    ("net", &["server", "worker", "supervisor", "upgrade", "admin"]),
    ("server", &["worker", "supervisor", "upgrade", "admin"]),
    ("worker", &["server", "supervisor", "upgrade", "admin"]),
    ("upgrade", &["server", "worker", "supervisor", "admin"]),
    ("admin", &["worker", "supervisor", "upgrade"]),
];

#[test]
fn processes_name_no_module_above_them() {
    let mut offences = Vec::new();
    for (layer, above) in ABOVE {
        for (name, code) in files_of(layer) {
            let named = above.iter().filter(|module| code.contains(&format!("crate::{module}")));
            offences.extend(named.map(|module| format!("{name} names crate::{module}")));
        }
    }
    assert!(offences.is_empty(), "{}", offences.join("\n"));
}

#[test]
fn layouts_follow_from_the_lists_of_fields_and_are_written_nowhere() {
    let written = files_of("").into_iter().filter(|(name, code)| {
        !name.starts_with("pack/") && (code.contains("fn layout(") || code.contains("impl Pack for"))
    });
    let written: Vec<_> = written.map(|(name, _)| name).collect();
    assert!(written.is_empty(), "use `packed!` or `saved!`: {written:?}");
}

#[test]
fn the_reader_sees_what_it_looks_for() {
    assert!(names("let now = Instant::now();", "Instant"));
    assert!(!names("fn instantly() {}", "Instant"));
    assert!(files_of("dispatch").len() > 10);
    assert!(files_of("wire").iter().any(|(_, code)| code.contains("crate::ids")));
}

/// Whether `word` stands there on its own, or begins a longer name (`Atomic`, `thread::`).
fn names(code: &str, word: &str) -> bool {
    code.match_indices(word).any(|(at, _)| {
        let before = code[..at].chars().next_back();
        !before.is_some_and(|c| c.is_alphanumeric() || c == '_')
    })
}
