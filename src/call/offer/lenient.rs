//! The cleaning of session descriptions: from real bodies, the lines that matter in a form that an SDP parser takes.
//!
//! Real bodies end lines with CR, LF or both, indent them, pad fields with two spaces, write Latin-1, invent line
//! types, state `c=` twice or break lines that are not needed. Refusing a call for that helps no one. The kept lines
//! are `v=`, `t=`, `c=`, `m=` and the attributes of [`ATTRIBUTES`]. Dropped lines cost nothing further on, however much
//! ICE there is. `m=` lines are never dropped: the answer must have as many (RFC 3264 §6).

use std::fmt::Write as _;

use super::{LineRefusal, OfferError};

/// Bytes of a body that is read.
pub const BODY_LIMIT: usize = 32 * 1024;
/// Lines of a body, dropped ones included.
pub const LINE_LIMIT: usize = 1_024;
/// `m=` lines of a body.
pub const SECTION_LIMIT: usize = 32;
/// Attribute lines kept in one section.
pub const ATTRIBUTE_LIMIT: usize = 128;
/// Bytes of a line that is kept.
const LENGTH_LIMIT: usize = 1_024;

/// The attributes that are read.
const ATTRIBUTES: [&str; 9] =
    ["rtpmap", "fmtp", "ptime", "maxptime", "sendrecv", "sendonly", "recvonly", "inactive", "rtcp"];

/// A body, cleaned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cleaned {
    /// The lines that matter, CRLF between them; begins with `v=0`.
    pub text: String,
    /// For each `m=` line the refusal it must get, if its sender wrote it wrong. The line stands in `text` in a form
    /// that a parser takes.
    pub faults: Vec<Option<LineRefusal>>,
}

/// Cleans `body`.
pub fn clean(body: &[u8]) -> Result<Cleaned, OfferError> {
    if body.len() > BODY_LIMIT {
        return Err(OfferError::TooLarge { what: "bytes", limit: BODY_LIMIT });
    }
    let mut cleaned = String::with_capacity(body.len() + 64);
    let mut section = Section::default();
    let mut faults = Vec::new();
    let lines =
        body.split(|byte| matches!(byte, b'\r' | b'\n')).map(<[u8]>::trim_ascii).filter(|line| !line.is_empty());
    for (number, line) in lines.enumerate() {
        if number >= LINE_LIMIT {
            return Err(OfferError::TooLarge { what: "lines", limit: LINE_LIMIT });
        }
        if number == 0 {
            check_version(line)?;
            cleaned.push_str("v=0\r\n");
            continue;
        }
        let [kind, b'=', value @ ..] = line else { continue };
        let value = value.trim_ascii();
        match kind {
            b'm' => {
                if faults.len() == SECTION_LIMIT {
                    return Err(OfferError::TooLarge { what: "media sections", limit: SECTION_LIMIT });
                }
                if value.len() > LENGTH_LIMIT || !value.iter().all(|byte| matches!(byte, b' '..=b'~')) {
                    return Err(OfferError::Malformed("a media line with impossible characters or length".into()));
                }
                section = Section::default();
                let fault = fault_of_media(value);
                faults.push(fault.filter(|fault| *fault != LineRefusal::Disabled));
                if fault.is_some() {
                    push_mended(&mut cleaned, value)?;
                    continue;
                }
            }
            b'c' if section.has_connection => continue,
            b'c' => section.has_connection = is_connection(value),
            b't' if faults.is_empty() && !section.has_time && is_time(value) => section.has_time = true,
            b'a' if section.attributes < ATTRIBUTE_LIMIT && is_read(value) => section.attributes += 1,
            _ => continue,
        }
        if *kind == b'c' && !section.has_connection || value.len() > LENGTH_LIMIT {
            continue;
        }
        cleaned.push(char::from(*kind));
        cleaned.push('=');
        push_clean(&mut cleaned, value, *kind != b'a');
        cleaned.push_str("\r\n");
    }
    if cleaned.is_empty() {
        return Err(OfferError::Empty);
    }
    Ok(Cleaned { text: cleaned, faults })
}

/// The reason for which a media line cannot be used as it is written: RFC 8866 §5.14 requires a media type, a port, a
/// protocol and at least one format. A disabled line that lacks something is only mended.
fn fault_of_media(value: &[u8]) -> Option<LineRefusal> {
    let mut fields = fields(value).skip(1);
    let port = fields.next().and_then(|port| std::str::from_utf8(port).ok()).unwrap_or_default();
    let (port, count) = port.split_once('/').unwrap_or((port, "1"));
    let fault = match (port.parse::<u16>(), count.parse::<u16>()) {
        (Ok(_), Ok(_)) => match (fields.next(), fields.next()) {
            (Some(_), Some(_)) => return None,
            (Some(_), None) => LineRefusal::Format,
            (None, _) => LineRefusal::Transport,
        },
        _ => LineRefusal::Port,
    };
    Some(if port == "0" { LineRefusal::Disabled } else { fault })
}

/// Writes a media line with all required fields, disabled.
fn push_mended(out: &mut String, value: &[u8]) -> Result<(), OfferError> {
    let mut fields = fields(value).map(String::from_utf8_lossy);
    let Some(media) = fields.next() else {
        return Err(OfferError::Malformed("a media line without a media type".into()));
    };
    let proto = fields.nth(1).unwrap_or_else(|| "RTP/AVP".into());
    let _ = write!(out, "m={media} 0 {proto}");
    let format = fields.next().unwrap_or_else(|| "0".into());
    std::iter::once(format).chain(fields).for_each(|format| {
        let _ = write!(out, " {format}");
    });
    out.push_str("\r\n");
    Ok(())
}

/// The lines seen in the present section, or in the part before the first section.
#[derive(Default)]
struct Section {
    has_connection: bool,
    has_time: bool,
    attributes: usize,
}

fn check_version(line: &[u8]) -> Result<(), OfferError> {
    match line {
        [b'v', b'=', version @ ..] if version.trim_ascii() == b"0" => Ok(()),
        [b'v', b'=', version @ ..] => {
            Err(OfferError::Version(String::from_utf8_lossy(version.get(..16).unwrap_or(version)).into_owned()))
        }
        _ => Err(OfferError::NotSdp),
    }
}

fn is_connection(value: &[u8]) -> bool {
    let mut fields = fields(value);
    let network = fields.next().is_some_and(|field| field.eq_ignore_ascii_case(b"IN"));
    let family = fields.next().is_some_and(|field| matches!(field, b"IP4" | b"IP6" | b"ip4" | b"ip6"));
    network && family && fields.next().is_some() && fields.next().is_none()
}

fn is_time(value: &[u8]) -> bool {
    let number = |field: &[u8]| std::str::from_utf8(field).is_ok_and(|text| text.parse::<u64>().is_ok());
    let mut fields = fields(value);
    fields.next().is_some_and(number) && fields.next().is_some_and(number) && fields.next().is_none()
}

fn is_read(value: &[u8]) -> bool {
    let name = value.split(|byte| *byte == b':').next().unwrap_or_default().trim_ascii();
    ATTRIBUTES.iter().any(|attribute| attribute.as_bytes().eq_ignore_ascii_case(name))
}

fn fields(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(u8::is_ascii_whitespace).filter(|field| !field.is_empty())
}

/// Appends `value` as text: UTF-8, or else Latin-1; control characters become spaces. If `single` is set, runs of
/// spaces become one, because the parser splits fields at each space.
fn push_clean(out: &mut String, value: &[u8], single: bool) {
    let mut push = |c: char| {
        let c = if c.is_control() { ' ' } else { c };
        if !(single && c == ' ' && out.ends_with(' ')) {
            out.push(c);
        }
    };
    match std::str::from_utf8(value) {
        Ok(text) => text.chars().for_each(&mut push),
        Err(_) => value.iter().map(|byte| char::from(*byte)).for_each(&mut push),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_that_no_reader_needs_are_dropped_and_the_rest_cleaned() {
        let body = b"\r\nv=0 \nnonsense\n o=- 1 1 IN IP4 x\rs=caf\xe9\nX=1\nb=AS:64\nb=broken\nc=IN  IP4 192.0.2.1\n\
            c=IN IP4 192.0.2.2\nt=0  0\nt=1 1\na=tool:x\na=sendonly\nr=7d\nk=clear:x\n\
            m=audio  4000\tRTP/AVP 0 \na=candidate:1 1 UDP\na=fmtp:101 0-\xb5\n";
        // The tab in the media line is an impossible character; the body without it is taken.
        assert!(matches!(clean(body), Err(OfferError::Malformed(_))));
        let body: Vec<u8> = body.iter().map(|byte| if *byte == b'\t' { b' ' } else { *byte }).collect();
        assert_eq!(
            clean(&body).unwrap().text,
            "v=0\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\na=sendonly\r\nm=audio 4000 RTP/AVP 0\r\na=fmtp:101 0-\u{b5}\r\n"
        );
    }

    #[test]
    fn a_media_line_that_lacks_something_is_mended_and_marked() {
        let media = |line: &str| {
            let cleaned = clean(format!("v=0\r\nm={line}\r\n").as_bytes()).unwrap();
            (cleaned.text.lines().nth(1).unwrap().to_owned(), cleaned.faults[0])
        };
        for (line, mended, fault) in [
            ("video 36924 RTP/AVP", "video 0 RTP/AVP 0", Some(LineRefusal::Format)),
            ("video 0 RTP/AVP", "video 0 RTP/AVP 0", None),
            ("audio 70000 RTP/AVP 8 0", "audio 0 RTP/AVP 8 0", Some(LineRefusal::Port)),
            ("audio -1 RTP/AVP 0", "audio 0 RTP/AVP 0", Some(LineRefusal::Port)),
            ("audio 4000/x RTP/AVP 0", "audio 0 RTP/AVP 0", Some(LineRefusal::Port)),
            ("audio 4000", "audio 0 RTP/AVP 0", Some(LineRefusal::Transport)),
            ("audio", "audio 0 RTP/AVP 0", Some(LineRefusal::Port)),
            ("audio 4000/2 RTP/AVP 0", "audio 4000/2 RTP/AVP 0", None),
        ] {
            assert_eq!(media(line), (format!("m={mended}"), fault), "{line}");
        }
        assert!(matches!(clean(b"v=0\r\nm=\r\n"), Err(OfferError::Malformed(_))));
    }

    #[test]
    fn a_body_that_is_not_sdp_is_refused_with_its_reason() {
        assert_eq!(clean(b""), Err(OfferError::Empty));
        assert_eq!(clean(b"\r\n \r\n"), Err(OfferError::Empty));
        assert_eq!(clean(b"<xml/>"), Err(OfferError::NotSdp));
        assert_eq!(clean(b"m=audio 1 RTP/AVP 0\r\n"), Err(OfferError::NotSdp));
        assert_eq!(clean(b"v=1\r\n"), Err(OfferError::Version("1".into())));
    }

    #[test]
    fn bodies_lines_and_sections_have_limits() {
        let too_large = |what, limit| Err(OfferError::TooLarge { what, limit });
        assert_eq!(clean(&[b'v'; BODY_LIMIT + 1]), too_large("bytes", BODY_LIMIT));
        let lines = format!("v=0\r\n{}", "x\n".repeat(LINE_LIMIT));
        assert_eq!(clean(lines.as_bytes()), too_large("lines", LINE_LIMIT));
        let sections = format!("v=0\r\n{}", "m=audio 1 RTP/AVP 0\n".repeat(SECTION_LIMIT + 1));
        assert_eq!(clean(sections.as_bytes()), too_large("media sections", SECTION_LIMIT));
        let attributes = format!("v=0\r\n{}", "a=ptime:20\n".repeat(ATTRIBUTE_LIMIT + 1));
        assert_eq!(clean(attributes.as_bytes()).unwrap().text.lines().count(), 1 + ATTRIBUTE_LIMIT);
    }
}
