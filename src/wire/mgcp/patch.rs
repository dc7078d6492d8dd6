//! Changes to a command that travels on.

use super::command::Command;
use super::params::lines_at;

/// Appends the command to `out`, without its parameters of this name.
pub fn without_param(out: &mut Vec<u8>, command: &Command<'_>, name: &str) {
    let bytes = command.bytes();
    let (mut from, mut at) = (0, command.head_end());
    for param in command.params() {
        let (_lines, behind) = lines_at(bytes, at);
        if param.name.eq_ignore_ascii_case(name.as_bytes()) {
            out.extend_from_slice(bytes.get(from..at).unwrap_or_default());
            from = behind;
        }
        at = behind;
    }
    out.extend_from_slice(bytes.get(from..).unwrap_or_default());
}

#[cfg(test)]
mod tests {
    use super::super::{Message, parse};
    use super::*;

    fn command(text: &str) -> Command<'_> {
        match parse(text.as_bytes()) {
            Ok(Message::Command(command)) => command,
            other => panic!("{text:?}: {other:?}"),
        }
    }

    #[test]
    fn all_parameters_of_a_name_are_taken_out_with_their_continuations() {
        let text = "CRCX 1 a@b MGCP 1.0\nx-worker-port: 9\n 8\nM: x\r\nX-Worker-Port: 7\n\nv=0\nX-Worker-Port: 6\n";
        let mut out = Vec::new();
        without_param(&mut out, &command(text), "X-Worker-Port");
        assert_eq!(out, b"CRCX 1 a@b MGCP 1.0\nM: x\r\n\nv=0\nX-Worker-Port: 6\n");
    }
}
