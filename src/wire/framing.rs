//! Messages in a stream: how many bytes the next one takes (RFC 3261 §18.3, RFC 5626 §3.5.1).
//!
//! After a wrong length no later message can be found, so every fault closes the connection.

use memchr::memmem;

use super::find::Places;
use super::sip::{MAX_FIELDS, MAX_MESSAGE};

/// The most bytes a header section may take on a stream before its end is seen.
pub const MAX_HEAD: usize = 32 * 1024;

/// The content at the front of a stream's buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framed {
    /// A message of that many bytes, from the start line to the end of the body.
    Message(usize),
    /// A double line end that asks for a pong (a single CRLF back), this many bytes long.
    Ping(usize),
    /// A single line end: padding between messages; take it and go on.
    Blank(usize),
    /// More bytes are needed. There is no point in asking again before the buffer holds `at_least` bytes.
    NeedMore {
        /// Total bytes, those at hand included.
        at_least: usize,
    },
    /// A head of that many bytes, after which the message's end cannot be found: up to its empty line, or, where it is
    /// too large, its first whole fields. It can be answered; then the connection has to be closed.
    Faulty(usize, StreamFault),
    /// The connection has to be closed.
    Close(StreamFault),
}

/// Reason why no further message of a stream can be read.
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

/// Looks at the front of `buffer` once.
pub fn next(buffer: &[u8]) -> Framed {
    Framer::default().next(buffer)
}

/// Looks at a buffer that has nothing but one message, or line ends: a message in it needs no Content-Length (RFC 7118
/// §5), and one that it has must be right.
pub fn whole(buffer: &[u8]) -> Framed {
    let mut framer = Framer::default();
    let framed = framer.look(buffer);
    match framed {
        Framed::Faulty(_, StreamFault::NoContentLength) if buffer.len() <= MAX_MESSAGE => Framed::Message(buffer.len()),
        Framed::Message(length) if length == buffer.len() => framed,
        Framed::Message(_) => Framed::Faulty(framer.field, StreamFault::ContentLength),
        Framed::NeedMore { .. } if framer.is_in_body => Framed::Faulty(framer.field, StreamFault::ContentLength),
        Framed::NeedMore { .. } if buffer.iter().all(|byte| b"\r\n".contains(byte)) => Framed::Blank(buffer.len()),
        Framed::NeedMore { .. } => Framed::Close(StreamFault::NotSip),
        _ => framed,
    }
}

/// Reads the front of a growing buffer until there is a message, and each byte of its head once: a peer that sends a
/// head byte by byte costs no more than one that sends it whole.
#[derive(Clone, Copy, Debug, Default)]
pub struct Framer {
    /// The field that is being read begins here.
    field: usize,
    /// The position up to which the field's line ends have been read.
    seen: usize,
    /// Fields before it, the start line included.
    fields: u16,
    /// Whether the head has ended: the body begins where the next field would.
    is_in_body: bool,
    body: Body,
}

/// The body's length.
#[derive(Clone, Copy, Debug, Default)]
enum Body {
    /// No field has said it yet.
    #[default]
    Unknown,
    Stated(usize),
    /// A field is no number, or two differ. The head is read to its end nevertheless, so that it can be answered.
    Doubtful,
}

impl Framer {
    /// Reads the front of `buffer`. After [`Framed::NeedMore`] that is the same buffer with more bytes at its end, else
    /// the bytes after those that were taken.
    pub fn next(&mut self, buffer: &[u8]) -> Framed {
        let framed = self.look(buffer);
        if !matches!(framed, Framed::NeedMore { .. }) {
            *self = Framer::default();
        }
        framed
    }

    fn look(&mut self, buffer: &[u8]) -> Framed {
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
        if !self.is_in_body
            && let Err(answer) = self.read_head(buffer)
        {
            return answer;
        }
        let head = self.field;
        let length = match self.body {
            Body::Stated(body) => head.saturating_add(body),
            Body::Unknown => return Framed::Faulty(head, StreamFault::NoContentLength),
            Body::Doubtful => return Framed::Faulty(head, StreamFault::ContentLength),
        };
        if length > MAX_MESSAGE {
            return Framed::Faulty(head, StreamFault::MessageTooLarge);
        }
        if length > buffer.len() { Framed::NeedMore { at_least: length } } else { Framed::Message(length) }
    }

    fn read_head(&mut self, buffer: &[u8]) -> Result<(), Framed> {
        for line_end in Places::from(buffer, self.seen, b'\n') {
            let end = line_end + 1;
            let field = buffer.get(self.field..end).unwrap_or_default();
            let is_blank = matches!(field, [b'\n'] | [b'\r', b'\n']);
            if !is_blank {
                match buffer.get(end) {
                    // The field goes on.
                    Some(b' ' | b'\t') => continue,
                    Some(_) => {}
                    // The byte after the line end says whether it does.
                    None => {
                        self.seen = line_end;
                        return Err(self.needs_more(buffer));
                    }
                }
            }
            if end > MAX_HEAD || usize::from(self.fields) > MAX_FIELDS + 1 {
                return Err(self.is_too_large());
            }
            (self.field, self.seen) = (end, end);
            if self.fields == 0 {
                if !(could_start_a_message(field) && names_sip(field)) {
                    return Err(Framed::Close(StreamFault::NotSip));
                }
            } else if is_blank {
                self.is_in_body = true;
                return Ok(());
            } else if let [b'C' | b'c' | b'L' | b'l', ..] = field
                && let Some(stated) = content_length(field)
            {
                self.body = match (self.body, stated) {
                    (Body::Unknown, Some(stated)) => Body::Stated(stated),
                    (Body::Stated(before), Some(stated)) if before == stated => Body::Stated(stated),
                    _ => Body::Doubtful,
                };
            }
            self.fields += 1;
        }
        self.seen = buffer.len();
        Err(self.needs_more(buffer))
    }

    /// The answer where the head is too large: the fields before the one that is being read can be answered.
    const fn is_too_large(&self) -> Framed {
        match self.fields {
            0 => Framed::Close(StreamFault::HeadTooLarge),
            _ => Framed::Faulty(self.field, StreamFault::HeadTooLarge),
        }
    }

    /// The answer where the head does not end yet.
    fn needs_more(&self, buffer: &[u8]) -> Framed {
        let rest = buffer.get(self.field..).unwrap_or_default();
        match buffer.len() {
            MAX_HEAD.. => self.is_too_large(),
            _ if self.fields == 0 && !could_start_a_message(rest) => Framed::Close(StreamFault::NotSip),
            have => Framed::NeedMore { at_least: have + 1 },
        }
    }
}

/// `Some(None)` when the line is a Content-Length that is no number.
fn content_length(line: &[u8]) -> Option<Option<usize>> {
    let behind = match line {
        // Other names that begin with this letter end here.
        [b'C' | b'c', _, _, _, _, _, _, _, b'L' | b'l', ..] => {
            line.split_at_checked(14).filter(|(name, _)| name.eq_ignore_ascii_case(b"Content-Length"))?.1
        }
        [b'L' | b'l', behind @ ..] => behind,
        _ => return None,
    };
    let value = behind.trim_ascii_start().strip_prefix(b":")?.trim_ascii();
    let digits = std::str::from_utf8(value).ok().filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
    Some(digits.and_then(|digits| digits.parse().ok()))
}

/// A start line begins with a token: this tells TLS and other binary data at the first byte.
fn could_start_a_message(line: &[u8]) -> bool {
    line.first().is_none_or(u8::is_ascii_graphic)
}

/// Whether a first line has the name of the protocol, as a request has at its end and a response at its begin.
fn names_sip(line: &[u8]) -> bool {
    line.starts_with(b"SIP/")
        || line.ends_with(b"SIP/2.0\r\n")
        || memmem::find(line, b"SIP/").is_some()
        || line.windows(4).any(|four| four.eq_ignore_ascii_case(b"SIP/"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

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
    fn a_folded_field_that_comes_byte_by_byte_is_read_once() {
        let text = format!("{HEAD}Subject: a\r\n{}Content-Length: 5\r\n\r\nhello", " \n".repeat(10_000));
        let mut framer = Framer::default();
        for end in 0..text.len() {
            let before = framer.seen;
            let framed = framer.next(&text.as_bytes()[..end]);
            assert!(matches!(framed, Framed::NeedMore { .. }), "{end}: {framed:?}");
            let looked_at = if framer.is_in_body { framer.field } else { end } - before;
            assert!(looked_at <= 2 && framer.seen >= before, "byte {end}: {looked_at} were looked at");
        }
        assert_eq!(framer.next(text.as_bytes()), Framed::Message(text.len()));
        assert_eq!(framer.next(b"\r\n\r\n"), Framed::Ping(4), "the next message is read from its begin");
    }

    proptest! {
        #[test]
        fn a_stream_in_pieces_is_what_it_is_as_a_whole(
            parts in prop::collection::vec(
                prop_oneof![
                    Just(HEAD), Just("l: 3\r\n"), Just("Content-Length:\r\n 3\n"), Just("\r\n"), Just("\n"), Just("abc"),
                    Just(" x\r\n"), Just("a: b\r\n"), Just("l: x\r\n"), Just("\x01"), Just("\r"),
                ],
                0..12,
            ),
            cuts in prop::collection::vec(1..40_usize, 1..40),
        ) {
            let text = parts.concat();
            let (mut framer, mut end) = (Framer::default(), 0);
            for cut in cuts {
                end = (end + cut).min(text.len());
                let framed = framer.next(&text.as_bytes()[..end]);
                prop_assert_eq!(framed, next(&text.as_bytes()[..end]));
                if !matches!(framed, Framed::NeedMore { .. }) {
                    break;
                }
            }
        }
    }

    #[test]
    fn a_message_that_is_whole_by_itself_needs_no_content_length_but_no_wrong_one() {
        let message = |lines: &str, body: &str| whole(format!("{HEAD}{lines}\r\n{body}").as_bytes());
        let length = HEAD.len() + 2;
        assert_eq!(message("", "body"), Framed::Message(length + 4));
        assert_eq!(message("l: 4\r\n", "body"), Framed::Message(length + 10));
        for (lines, body) in [("l: 3\r\n", "body"), ("l: 5\r\n", "body"), ("l: x\r\n", "body")] {
            assert_eq!(message(lines, body), Framed::Faulty(length + 6, StreamFault::ContentLength));
        }
        assert_eq!(whole(b"\r\n"), Framed::Blank(2));
        assert_eq!(whole(b"\r\n\r\n"), Framed::Ping(4));
        for text in ["hello", "hello\r\n\r\n", "INVITE sip:a@h SIP/2.0\r\nVia: x"] {
            assert_eq!(whole(text.as_bytes()), Framed::Close(StreamFault::NotSip), "{text}");
        }
    }

    #[test]
    fn line_ends_between_messages_are_keepalives() {
        assert_eq!(framed("\r\n\r\n"), Framed::Ping(4));
        assert_eq!(framed("\r\nINVITE"), Framed::Blank(2));
        assert_eq!(framed("\r\n"), Framed::NeedMore { at_least: 4 });
    }

    #[test]
    fn a_message_whose_end_is_unknown_closes_the_connection() {
        for (text, fault) in [
            (format!("{HEAD}\r\n"), StreamFault::NoContentLength),
            (format!("{HEAD}l: -1\r\nVia: after it\r\n\r\n"), StreamFault::ContentLength),
            (format!("{HEAD}l: 1\r\nContent-Length: 2\r\n\r\n"), StreamFault::ContentLength),
            (format!("{HEAD}l: 1\r\nl: 2\r\nl: 1\r\n\r\n"), StreamFault::ContentLength),
            (format!("{HEAD}l: 65535\r\n\r\n"), StreamFault::MessageTooLarge),
        ] {
            assert_eq!(framed(&text), Framed::Faulty(text.len(), fault), "{text}");
        }
        let fields = format!("{HEAD}{}", "a: b\r\n".repeat(200));
        let whole = HEAD.len() + 6 * MAX_FIELDS;
        assert_eq!(framed(&fields), Framed::Faulty(whole, StreamFault::HeadTooLarge));
        for more in ["", "\r\n\r\n"] {
            let long = format!("{HEAD}a: {}{more}", "b".repeat(MAX_HEAD));
            assert_eq!(framed(&long), Framed::Faulty(HEAD.len(), StreamFault::HeadTooLarge));
        }
        for (text, fault) in [
            ("x".repeat(MAX_HEAD), StreamFault::HeadTooLarge),
            ("\x16\x03\x01".to_owned(), StreamFault::NotSip),
            ("POST / HTTP/1.1\r\nContent-Length: 0\r\n\r\n".to_owned(), StreamFault::NotSip),
        ] {
            assert_eq!(framed(&text), Framed::Close(fault), "{:.40}", text);
        }
    }
}
