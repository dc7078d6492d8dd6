//! A command that travels on with one parameter more: pieces of the original bytes around the new ones.

use super::command::Command;
use super::params::{Params, lines_at};
use super::write::clean;

/// A command with a line put in; sent one behind the other the pieces are the changed command.
pub type Pieces<'a> = [&'a [u8]; 4];

/// Appends `name: value` and a line end to `out`; line ends in the value become spaces.
pub fn param_line(out: &mut Vec<u8>, name: &str, value: &[u8]) {
    let from = out.len();
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    clean(out.get_mut(from..).unwrap_or_default());
    out.extend_from_slice(b"\r\n");
}

/// The command with `line` (from [`param_line`]) behind its command line, and without the first line of that name that
/// was there. Readers take the first of a name, so further ones of the sender mean nothing.
pub fn with_param<'a>(command: &Command<'a>, line: &'a [u8]) -> Pieces<'a> {
    let bytes = command.bytes();
    let head = command.head_end();
    let piece = |from: usize, to: usize| bytes.get(from..to).unwrap_or_default();
    if bytes.get(head.saturating_sub(1)) != Some(&b'\n') {
        // A command line that ends with the datagram.
        return [bytes, b"\r\n", line, b""];
    }
    let name = line.split(|&byte| byte == b':').next().unwrap_or_default();
    match line_of(command.params(), bytes, head, name) {
        Some((from, to)) => [piece(0, head), line, piece(head, from), piece(to, bytes.len())],
        None => [piece(0, head), line, piece(head, bytes.len()), b""],
    }
}

/// Where the first line called `name` is.
fn line_of(params: Params<'_>, bytes: &[u8], head: usize, name: &[u8]) -> Option<(usize, usize)> {
    let mut at = head;
    for param in params {
        let (_lines, behind) = lines_at(bytes, at);
        if param.name.eq_ignore_ascii_case(name) {
            return Some((at, behind));
        }
        at = behind;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::super::{Message, parse};
    use super::*;

    fn with(text: &str) -> String {
        let mut line = Vec::new();
        param_line(&mut line, "X-Worker-Port", b"2431");
        let Ok(Message::Command(command)) = parse(text.as_bytes()) else { panic!("{text:?}") };
        String::from_utf8(with_param(&command, &line).concat()).unwrap()
    }

    #[test]
    fn the_line_stands_behind_the_command_line_and_one_of_its_name_is_taken_out() {
        for (text, expected) in [
            (
                "CRCX 1 a@b MGCP 1.0\r\nC: 1\r\n\r\nv=0\r\n",
                "CRCX 1 a@b MGCP 1.0\r\nX-Worker-Port: 2431\r\nC: 1\r\n\r\nv=0\r\n",
            ),
            (
                "CRCX 1 a@b MGCP 1.0\nC: 1\nx-worker-port: 9\n 8\nM: x\n",
                "CRCX 1 a@b MGCP 1.0\nX-Worker-Port: 2431\r\nC: 1\nM: x\n",
            ),
            ("CRCX 1 a@b MGCP 1.0", "CRCX 1 a@b MGCP 1.0\r\nX-Worker-Port: 2431\r\n"),
            ("CRCX 1 a@b MGCP 1.0\n", "CRCX 1 a@b MGCP 1.0\nX-Worker-Port: 2431\r\n"),
        ] {
            assert_eq!(with(text), expected);
        }
    }

    #[test]
    fn no_value_starts_a_line_of_its_own() {
        let mut line = Vec::new();
        param_line(&mut line, "X-A", b"1\r\nC: 2");
        assert_eq!(line, b"X-A: 1  C: 2\r\n");
    }
}
