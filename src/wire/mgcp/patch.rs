//! A command that travels on with one parameter more: pieces of the original bytes around the new ones.

use super::command::Command;
use super::params::lines_at;

/// A command with a line put in; sent one after the other the pieces are the changed command.
pub type Pieces<'a> = [&'a [u8]; 3];

/// The command with `line` (from [`line::write`](crate::wire::line::write)) after its command line. Readers take the
/// first of a name, so it counts even where the sender wrote one of that name.
pub fn with_param<'a>(command: &Command<'a>, line: &'a [u8]) -> Pieces<'a> {
    let bytes = command.bytes();
    let (head, rest) = bytes.split_at_checked(command.head_end()).unwrap_or((bytes, &[]));
    match head.last() {
        Some(b'\n') => [head, line, rest],
        // The command line ends with the datagram.
        _ => [head, b"\r\n", line],
    }
}

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
    use crate::wire::line;

    fn command(text: &str) -> Command<'_> {
        match parse(text.as_bytes()) {
            Ok(Message::Command(command)) => command,
            other => panic!("{text:?}: {other:?}"),
        }
    }

    #[test]
    fn the_line_stands_behind_the_command_line() {
        let mut line = Vec::new();
        line::write(&mut line, "X-Worker-Port", b"2431");
        for (text, expected) in [
            (
                "CRCX 1 a@b MGCP 1.0\r\nC: 1\r\n\r\nv=0\r\n",
                "CRCX 1 a@b MGCP 1.0\r\nX-Worker-Port: 2431\r\nC: 1\r\n\r\nv=0\r\n",
            ),
            ("CRCX 1 a@b MGCP 1.0\n", "CRCX 1 a@b MGCP 1.0\nX-Worker-Port: 2431\r\n"),
            ("CRCX 1 a@b MGCP 1.0", "CRCX 1 a@b MGCP 1.0\r\nX-Worker-Port: 2431\r\n"),
        ] {
            let changed = with_param(&command(text), &line).concat();
            assert_eq!(String::from_utf8(changed).unwrap(), expected);
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
