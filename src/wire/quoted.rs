//! Bytes of a peer, escaped for a line of the log.

use std::fmt::Display;

/// Most bytes that are shown.
const LONGEST: usize = 256;

/// The bytes with escapes: nothing in them ends the line or moves a terminal's cursor.
pub fn quoted(bytes: &[u8]) -> impl Display + '_ {
    bytes.get(..LONGEST).unwrap_or(bytes).escape_ascii()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_of_a_peer_stay_on_their_line() {
        assert_eq!(quoted(b"a@b\r\n\x1b[2J\xff").to_string(), "a@b\\r\\n\\x1b[2J\\xff");
        assert_eq!(quoted(&[b'x'; 1_000]).to_string().len(), LONGEST);
    }
}
