//! Messages in a stream: how many bytes the next one takes (RFC 3261 §18.3, RFC 5626 §3.5.1).
//!
//! Once a length is wrong nothing that follows can be found, so every fault closes the connection.

use memchr::memchr;

use super::sip::{MAX_FIELDS, MAX_MESSAGE, Name};

/// The most bytes a header section may take on a stream before its end is seen.
pub const MAX_HEAD: usize = 32 * 1024;

/// What the front of a stream's buffer holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framed {
    /// A message of that many bytes, from the start line to the end of the body.
    Message(usize),
    /// A double line end that asks for a pong (a single CRLF back), this many bytes long.
    Ping(usize),
    /// A single line end: padding between messages; take it and go on.
    Blank(usize),
    /// More bytes are needed. `at_least` is how many the buffer must hold before it is worth asking again.
    NeedMore {
        /// Total bytes, those at hand included.
        at_least: usize,
    },
    /// The connection has to be closed.
    Close(StreamFault),
}

/// Why a stream can not be read on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StreamFault {
    /// The header section does not end within [`MAX_HEAD`] bytes or has too many lines.
    HeadTooLarge,
    /// The message would be larger than [`MAX_MESSAGE`].
    MessageTooLarge,
    /// Content-Length is missing: on a stream nothing else says where the message ends.
    NoContentLength,
    /// Content-Length is no number, or there are two different ones.
    ContentLength,
    /// The first line is no start line.
    NotSip,
}

impl StreamFault {
    /// A short name for logs and counters.
    pub const fn label(self) -> &'static str {
        match self {
            StreamFault::HeadTooLarge => "head-too-large",
            StreamFault::MessageTooLarge => "message-too-large",
            StreamFault::NoContentLength => "no-content-length",
            StreamFault::ContentLength => "content-length",
            StreamFault::NotSip => "not-sip",
        }
    }
}

/// Looks at the front of `buffer`. Linear in the header section; asking again with one more byte looks at all of it
/// again, so heed `at_least` and read in large pieces.
pub fn next(buffer: &[u8]) -> Framed {
    match buffer {
        [b'\r', b'\n', b'\r', b'\n', ..] => return Framed::Ping(4),
        [b'\n', b'\n', ..] => return Framed::Ping(2),
        // It may be the first half of a ping.
        [b'\r', b'\n'] | [b'\r', b'\n', b'\r'] => return Framed::NeedMore { at_least: 4 },
        [] | [b'\r'] | [b'\n'] => return Framed::NeedMore { at_least: buffer.len() + 1 },
        [b'\r', b'\n', ..] => return Framed::Blank(2),
        [b'\n', ..] => return Framed::Blank(1),
        _ => {}
    }
    let head = match head(buffer) {
        Ok(head) => head,
        Err(answer) => return answer,
    };
    let length = head.end.saturating_add(head.body);
    if length > MAX_MESSAGE {
        return Framed::Close(StreamFault::MessageTooLarge);
    }
    if length > buffer.len() { Framed::NeedMore { at_least: length } } else { Framed::Message(length) }
}

struct Head {
    /// Bytes up to the body.
    end: usize,
    /// Bytes of the body.
    body: usize,
}

fn head(buffer: &[u8]) -> Result<Head, Framed> {
    let mut at = 0;
    let mut lines = 0;
    let mut length: Option<usize> = None;
    loop {
        let rest = buffer.get(at..).unwrap_or_default();
        let Some(end) = end_of_field(rest) else {
            return Err(match buffer.len() {
                MAX_HEAD.. => Framed::Close(StreamFault::HeadTooLarge),
                _ if lines == 0 && !could_start_a_message(rest) => Framed::Close(StreamFault::NotSip),
                have => Framed::NeedMore { at_least: have + 1 },
            });
        };
        let line = rest.get(..end).unwrap_or_default();
        at += end;
        if at > MAX_HEAD || lines > MAX_FIELDS + 1 {
            return Err(Framed::Close(StreamFault::HeadTooLarge));
        }
        if lines == 0 && !could_start_a_message(line) {
            return Err(Framed::Close(StreamFault::NotSip));
        }
        if lines > 0 && matches!(line, b"\n" | b"\r\n") {
            let body = length.ok_or(Framed::Close(StreamFault::NoContentLength))?;
            return Ok(Head { end: at, body });
        }
        if let Some(stated) = content_length(line).filter(|_| lines > 0) {
            let stated = stated.ok_or(Framed::Close(StreamFault::ContentLength))?;
            if length.is_some_and(|before| before != stated) {
                return Err(Framed::Close(StreamFault::ContentLength));
            }
            length = Some(stated);
        }
        lines += 1;
    }
}

/// The length of the first field, folds and line end included. `None` while it cannot be told: what follows the line end
/// says whether the field goes on.
fn end_of_field(bytes: &[u8]) -> Option<usize> {
    let mut at = 0;
    loop {
        at += memchr(b'\n', bytes.get(at..)?)? + 1;
        let is_blank = matches!(bytes.get(..at), Some(b"\n" | b"\r\n"));
        if is_blank || !matches!(bytes.get(at)?, b' ' | b'\t') {
            return Some(at);
        }
    }
}

/// `Some(None)` when the line is a Content-Length that is no number.
fn content_length(line: &[u8]) -> Option<Option<usize>> {
    let colon = memchr(b':', line)?;
    let (name, value) = line.split_at_checked(colon)?;
    if Name::of(name.trim_ascii_end()) != Name::ContentLength {
        return None;
    }
    let value = value.get(1..).unwrap_or_default().trim_ascii();
    let digits = std::str::from_utf8(value).ok().filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
    Some(digits.and_then(|digits| digits.parse().ok()))
}

/// A start line begins with a token: this tells TLS and other binary data at the first byte.
fn could_start_a_message(line: &[u8]) -> bool {
    line.first().is_none_or(u8::is_ascii_graphic)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = "OPTIONS sip:h SIP/2.0\r\nCall-ID: x\r\n";

    fn framed(text: impl AsRef<[u8]>) -> Framed {
        next(text.as_ref())
    }

    #[test]
    fn a_message_takes_its_head_and_as_many_bytes_as_content_length_says() {
        let text = format!("{HEAD}l :\r\n 5\r\n\r\nhelloINVITE");
        assert_eq!(framed(&text), Framed::Message(text.len() - 6));
        let text = format!("{HEAD}Content-Length: 0\n\n");
        assert_eq!(framed(&text), Framed::Message(text.len()));
    }

    #[test]
    fn every_shorter_front_of_a_message_needs_more() {
        let text = format!("{HEAD}Content-Length: 5\r\n\r\nhello");
        for end in 0..text.len() {
            match framed(&text[..end]) {
                Framed::NeedMore { at_least } => assert!(at_least > end && at_least <= text.len(), "{end}"),
                other => panic!("{end}: {other:?}"),
            }
        }
    }

    #[test]
    fn line_ends_between_messages_are_keepalives() {
        assert_eq!(framed("\r\n\r\n"), Framed::Ping(4));
        assert_eq!(framed("\r\nINVITE"), Framed::Blank(2));
        assert_eq!(framed("\r\n"), Framed::NeedMore { at_least: 4 });
    }

    #[test]
    fn what_leaves_the_end_unknown_closes_the_connection() {
        for (text, fault) in [
            (format!("{HEAD}\r\n"), StreamFault::NoContentLength),
            (format!("{HEAD}l: -1\r\n\r\n"), StreamFault::ContentLength),
            (format!("{HEAD}l: 1\r\nContent-Length: 2\r\n\r\n"), StreamFault::ContentLength),
            (format!("{HEAD}l: 65535\r\n\r\n"), StreamFault::MessageTooLarge),
            (format!("{HEAD}{}", "a: b\r\n".repeat(200)), StreamFault::HeadTooLarge),
            ("x".repeat(MAX_HEAD), StreamFault::HeadTooLarge),
            ("\x16\x03\x01".to_owned(), StreamFault::NotSip),
        ] {
            assert_eq!(framed(&text), Framed::Close(fault), "{:.40}", text);
        }
    }
}
