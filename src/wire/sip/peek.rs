//! A look at a request that is not scanned yet: just enough to see which call it belongs to.

use super::text::{is_lws, trim};
use crate::wire::find::{find, find_pair};

/// The two fields that tell which call a request belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peek<'a> {
    /// The request-URI as written.
    pub uri: &'a [u8],
    /// Call-ID; never empty.
    pub call_id: &'a [u8],
}

/// Looks at `bytes`; `None` where only the scanner can tell: no request, empty lines in front, no Call-ID or a folded
/// one.
pub fn peek(bytes: &[u8]) -> Option<Peek<'_>> {
    let (uri, mut rest) = request_uri(bytes)?;
    loop {
        // A line that may be a Call-ID, or the empty line.
        rest = rest.get(find_pair(rest, b'\n', [b'C', b'c', b'I', b'i', b'\r', b'\n'])? + 1..)?;
        let value = match rest {
            [b'\r' | b'\n', ..] => return None,
            [b'C' | b'c', b'A' | b'a', b'L' | b'l', b'L' | b'l', b'-', b'I' | b'i', b'D' | b'd', value @ ..] => value,
            [b'I' | b'i', value @ ..] => value,
            _ => continue,
        };
        let (value, behind) = cut_at(value, [b'\n'], b'\n')?;
        let Some((b':', value)) = value.trim_ascii_start().split_first() else { continue };
        let call_id = trim(value);
        let is_folded = behind.first().is_some_and(|&byte| is_lws(byte) && !matches!(byte, b'\r' | b'\n'));
        return (!call_id.is_empty() && !is_folded).then_some(Peek { uri, call_id });
    }
}

/// The request-URI as written, and the bytes behind it; `None` for what is no request.
fn request_uri(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (method, rest) = cut_at(bytes, [b' ', b'/', b'\n'], b' ')?;
    let (uri, rest) = cut_at(rest, [b' ', b'\n'], b' ')?;
    (!method.is_empty()).then_some((uri, rest))
}

/// The parts of `bytes` on both sides of the first of the `wanted` bytes, if that is `expected`.
#[inline(always)]
fn cut_at<const N: usize>(bytes: &[u8], wanted: [u8; N], expected: u8) -> Option<(&[u8], &[u8])> {
    let (before, behind) = bytes.split_at_checked(find(bytes, wanted)?)?;
    let (found, behind) = behind.split_first()?;
    (*found == expected).then_some((before, behind))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::wire::sip::{Scanner, Start};

    fn looked(text: &str) -> Option<(&str, &str)> {
        let Peek { uri, call_id } = peek(text.as_bytes())?;
        Some((std::str::from_utf8(uri).unwrap(), std::str::from_utf8(call_id).unwrap()))
    }

    #[test]
    fn the_call_is_seen_by_long_and_by_compact_name() {
        assert_eq!(looked("INVITE sip:a@b SIP/2.0\r\nTo: c\r\nCall-ID: 1@h\r\n\r\n"), Some(("sip:a@b", "1@h")));
        assert_eq!(looked("BYE sip:a@b SIP/2.0\nI :1@h \nTo: c\n\n"), Some(("sip:a@b", "1@h")));
        assert_eq!(looked("BYE sip:a@b SIP/2.0\r\nIdentity: x\r\ncall-id:\t1\r\n\r\n"), Some(("sip:a@b", "1")));
    }

    #[test]
    fn fields_that_only_the_scanner_can_read_are_left_to_it() {
        assert_eq!(looked("SIP/2.0 200 OK\r\nCall-ID: 1\r\n\r\n"), None);
        assert_eq!(looked("\r\nBYE sip:a@b SIP/2.0\r\nCall-ID: 1\r\n\r\n"), None);
        assert_eq!(looked("BYE sip:a@b SIP/2.0\r\nCall-ID: 1\r\n 2\r\n\r\n"), None);
        assert_eq!(looked("BYE sip:a@b SIP/2.0\r\nCall-ID:\r\n\r\n"), None);
        assert_eq!(looked("BYE sip:a@b SIP/2.0\r\nTo: a\r\n\r\nCall-ID: in the body\r\n"), None);
        assert_eq!(looked(""), None);
    }

    proptest! {
        #[test]
        fn the_quick_look_sees_the_same_as_the_scanner(
            bytes in prop::collection::vec(
                prop_oneof![
                    Just(&b"INVITE sip:a@b SIP/2.0\r\n"[..]), Just(&b"Call-ID: 1\r\n"[..]), Just(&b"i:2\r\n"[..]),
                    Just(&b"Via: SIP/2.0/UDP h;branch=z9hG4bK1\r\n"[..]), Just(&b"From: a;tag=1\r\n"[..]),
                    Just(&b"To: b\r\n"[..]), Just(&b"CSeq: 1 INVITE\r\n"[..]), Just(&b"\r\n"[..]), Just(&b" x\r\n"[..]),
                    Just(&b"\n"[..]), Just(&b"call-id :3\n"[..]), Just(&b"Content-Length: 0\r\n"[..]),
                ],
                0..12,
            )
        ) {
            let bytes = bytes.concat();
            let mut scanner = Scanner::new();
            if let (Some(seen), Ok(message)) = (peek(&bytes), scanner.scan(&bytes)) {
                prop_assert_eq!(seen.call_id, message.call_id());
                let Start::Request { uri, .. } = message.start() else { panic!("no request") };
                prop_assert_eq!(seen.uri, uri);
            }
        }
    }
}
