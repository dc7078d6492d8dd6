//! The messages of one datagram: piggybacking (RFC 3435 §3.5.5).

use memchr::memmem;

use super::line::is_blank;

/// Most messages in one datagram; no call agent needs more. In a larger datagram each command is answered, and none is
/// carried out.
pub const MOST_PARTS: usize = 64;

/// The messages of one datagram, in order. They are separated by a line with a single dot; the line ends before it
/// belong to the message, and a part that is only empty lines is left out.
pub fn parts(datagram: &[u8]) -> Parts<'_> {
    Parts { rest: datagram }
}

/// Iterates over the messages of one datagram.
#[derive(Clone, Copy, Debug)]
pub struct Parts<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Parts<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        while !self.rest.is_empty() {
            let (end, behind) = separator(self.rest).unwrap_or((self.rest.len(), self.rest.len()));
            let part = self.rest.get(..end).unwrap_or_default();
            self.rest = self.rest.get(behind..).unwrap_or_default();
            if !is_blank(part) {
                return Some(part);
            }
        }
        None
    }
}

/// The offset of the first separating line, and the offset of the part that follows it.
fn separator(bytes: &[u8]) -> Option<(usize, usize)> {
    if let Some(behind) = dot_line(bytes) {
        return Some((0, behind));
    }
    let mut from = 0;
    loop {
        let start = from + memmem::find(bytes.get(from..)?, b"\n.")? + 1;
        if let Some(behind) = bytes.get(start..).and_then(dot_line) {
            return Some((start, start + behind));
        }
        from = start;
    }
}

/// The length of the separating line that `bytes` start with.
fn dot_line(bytes: &[u8]) -> Option<usize> {
    match bytes {
        [b'.', b'\r', b'\n', ..] => Some(3),
        [b'.', b'\n', ..] => Some(2),
        [b'.', b'\r'] => Some(2),
        [b'.'] => Some(1),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(datagram: &str) -> Vec<&str> {
        parts(datagram.as_bytes()).map(|part| std::str::from_utf8(part).unwrap()).collect()
    }

    #[test]
    fn a_line_with_a_single_dot_separates_messages_whatever_the_line_ends() {
        assert_eq!(texts("200 1 OK\r\n.\r\nDLCX 2 a@b MGCP 1.0\r\n"), ["200 1 OK\r\n", "DLCX 2 a@b MGCP 1.0\r\n"]);
        assert_eq!(texts("200 1 OK\n.\n200 2 OK\r\n.\n200 3"), ["200 1 OK\n", "200 2 OK\r\n", "200 3"]);
        assert_eq!(texts("200 1 OK\r\n.\r"), ["200 1 OK\r\n"]);
        assert_eq!(texts("200 1 OK\r\n."), ["200 1 OK\r\n"]);
    }

    #[test]
    fn a_dot_with_anything_beside_it_separates_nothing() {
        for whole in ["NTFY 1 a@b MGCP 1.0\n..\nX: 1\n", "NTFY 1 a@b MGCP 1.0\n.x\n", "NTFY 1 a@b MGCP 1.0\nD: 1.\n"] {
            assert_eq!(texts(whole), [whole]);
        }
    }

    #[test]
    fn parts_without_a_message_are_left_out() {
        assert_eq!(texts(".\r\n.\n\r\n.\n200 1 OK\n.\n\n.\n"), ["200 1 OK\n"]);
        assert!(texts("").is_empty() && texts("\r\n \r\n").is_empty());
    }
}
