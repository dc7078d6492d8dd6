//! Request lines of the stats socket.

use pointsman::admin::protocol::{Command, LONGEST_LINE, Reply};

use crate::runner::Seen;

pub const WORDS: &[&str] = &[
    "load",
    "workers",
    "counters",
    "connections",
    "watch",
    "drain",
    "ready",
    "maint",
    "explain",
    "reload",
    " w0",
    " w65536",
    "{",
    "}",
    "\"",
    "{\"command\":\"",
    "\",\"worker\":\"w1\"",
    "\"call-id\":",
    "null",
    "[[",
    "\\u0000",
    "\n",
    "\u{feff}",
    "é",
];

pub fn seeds() -> Vec<Vec<u8>> {
    let lines = [
        "",
        "load",
        "workers",
        "counters",
        "connections",
        "connections 549755813895",
        "{\"command\":\"connections\",\"connection\":7}",
        "watch",
        "drain w2",
        "ready w2\r\n",
        "explain a b@c",
        "reload",
        "{\"command\":\"drain\",\"worker\":\"w2\"}",
        "{\"command\":\"explain\",\"call_id\":\"x\"}",
        "drain 2",
        "drain",
    ];
    lines.iter().map(|line| line.as_bytes().to_vec()).collect()
}

pub fn run(input: &[u8], seen: &mut Seen) {
    match Command::parse(input) {
        Ok(command) => {
            seen.note(("command", std::mem::discriminant(&command)));
            let line = command.to_line();
            assert!(!line.contains('\n'), "{line:?}");
            // A word takes less room than its object.
            if line.len() <= LONGEST_LINE {
                assert_eq!(Command::parse(line.as_bytes()).as_ref(), Ok(&command), "{line}");
            }
        }
        Err(error) => {
            seen.note(("error", std::mem::discriminant(&error)));
            let line = Reply::from(error).to_line();
            let body = line.strip_suffix('\n').unwrap_or(&line);
            assert!(!body.contains('\n') && body.len() < 8 * 1024, "{line:?}");
            let value: serde_json::Value = serde_json::from_str(body).unwrap();
            assert!(value.get("error").is_some_and(|error| error.is_string()), "{line}");
        }
    }
}
