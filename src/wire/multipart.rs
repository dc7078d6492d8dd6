//! Bodies of several parts (RFC 2046 §5.1): their parts, and the part of a given media type.

use memchr::memmem;

use super::sip::Params;

/// The deepest nesting of multipart bodies that is looked into.
pub const MAX_DEPTH: usize = 3;

/// The most parts that are looked at, all levels together.
pub const MAX_PARTS: usize = 32;

/// The longest boundary (RFC 2046 §5.1.1).
const MAX_BOUNDARY: usize = 70;

/// A body, or one part of it, with the content type and disposition of its headers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part<'a> {
    /// Content-Type as written.
    pub content_type: Option<&'a [u8]>,
    /// Content-Disposition as written.
    pub disposition: Option<&'a [u8]>,
    /// The content.
    pub content: &'a [u8],
}

impl<'a> Part<'a> {
    /// Whether it is of the media type `wanted` (in lower case, without parameters).
    pub fn is_type(&self, wanted: &[u8]) -> bool {
        self.content_type.is_some_and(|content_type| is_type(content_type, wanted))
    }

    /// Whether it is a body of several parts.
    #[inline]
    pub fn is_multipart(&self) -> bool {
        let Some([b'm' | b'M' | b'\t' | b' ' | b'\r' | b'\n' | b'\x0c', ..]) = self.content_type else { return false };
        let front = self.content_type.and_then(|kind| kind.trim_ascii_start().get(..10));
        front.is_some_and(|front| front.eq_ignore_ascii_case(b"multipart/"))
    }

    /// Its parts, when it is a body of several parts and names its boundary.
    pub fn parts(&self) -> Option<Parts<'a>> {
        if !self.is_multipart() {
            return None;
        }
        let (_, params) = split_type(self.content_type.unwrap_or_default());
        let boundary = params.get(b"boundary")?;
        let boundary = boundary.strip_prefix(b"\"").and_then(|inner| inner.strip_suffix(b"\"")).unwrap_or(boundary);
        (1..=MAX_BOUNDARY).contains(&boundary.len()).then(|| Parts::new(self.content, boundary))
    }

    /// The disposition type (RFC 3261 §20.11) without its parameters; `None` without a Content-Disposition.
    pub fn disposition_type(&self) -> Option<&'a [u8]> {
        self.disposition.map(|value| split_type(value).0)
    }

    /// Whether it describes the session it comes with: not a session of its own before the call is answered
    /// (`early-session`, RFC 3959).
    pub fn is_for_the_session(&self) -> bool {
        self.disposition_type().is_none_or(|kind| kind.is_empty() || kind.eq_ignore_ascii_case(b"session"))
    }

    /// The `handling` parameter, whether the part must be understood; `None` when it is absent.
    pub fn must_be_understood(&self) -> Option<bool> {
        let handling = split_type(self.disposition?).1.get(b"handling")?;
        if handling.eq_ignore_ascii_case(b"required") {
            return Some(true);
        }
        handling.eq_ignore_ascii_case(b"optional").then_some(false)
    }
}

/// The content of `body` when it is of the media type `wanted` (in lower case), else of its first part of that type.
/// Session descriptions that are for an early session are passed over.
#[inline]
pub fn find<'a>(body: Part<'a>, wanted: &[u8]) -> Option<&'a [u8]> {
    // Most bodies are of one part, and the dispatcher asks for one type after the other.
    if !body.is_multipart() && !body.is_type(wanted) {
        return None;
    }
    find_within(body, wanted, MAX_DEPTH, &mut MAX_PARTS.clone())
}

#[inline(never)]
fn find_within<'a>(part: Part<'a>, wanted: &[u8], depth: usize, left: &mut usize) -> Option<&'a [u8]> {
    if part.is_type(wanted) {
        return (wanted != b"application/sdp" || part.is_for_the_session()).then_some(part.content);
    }
    if depth == 0 {
        return None;
    }
    part.parts()?.find_map(|part| {
        *left = left.checked_sub(1)?;
        find_within(part, wanted, depth - 1, left)
    })
}

/// Whether a Content-Type value or a media range names this type (in lower case), whatever its parameters. White space
/// around the slash is allowed (RFC 3261 §25.1, SLASH).
#[inline]
pub fn is_type(value: &[u8], wanted: &[u8]) -> bool {
    // The dispatcher's hot path asks this for each body, for one type after the other. A value shorter than the type is
    // another type, and nearly every message writes its type as the RFCs do.
    if value.len() <= wanted.len() {
        return value.len() == wanted.len() && (value == wanted || value.eq_ignore_ascii_case(wanted));
    }
    is_type_with_more(value, wanted)
}

/// [`is_type`] for a value that is longer than the type: it has parameters, or white space.
fn is_type_with_more(value: &[u8], wanted: &[u8]) -> bool {
    let (kind, _) = split_type(value);
    if kind.len() <= wanted.len() {
        return kind.eq_ignore_ascii_case(wanted);
    }
    let halves = |text: &'_ [u8]| text.iter().position(|&byte| byte == b'/');
    let (Some(ours), Some(theirs)) = (halves(wanted), halves(kind)) else { return false };
    let same = |a: Option<&[u8]>, b: Option<&[u8]>| {
        a.is_some_and(|a| b.is_some_and(|b| a.trim_ascii().eq_ignore_ascii_case(b.trim_ascii())))
    };
    same(kind.get(..theirs), wanted.get(..ours)) && same(kind.get(theirs + 1..), wanted.get(ours + 1..))
}

fn split_type(value: &[u8]) -> (&[u8], Params<'_>) {
    let at = value.iter().position(|&byte| byte == b';').unwrap_or(value.len());
    let (kind, params) = value.split_at_checked(at).unwrap_or((value, &[]));
    (kind.trim_ascii(), Params::new(params))
}

/// The parts of a body between its delimiter lines.
#[derive(Clone, Copy, Debug)]
pub struct Parts<'a> {
    rest: &'a [u8],
    boundary: &'a [u8],
}

impl<'a> Parts<'a> {
    fn new(body: &'a [u8], boundary: &'a [u8]) -> Self {
        let mut parts = Parts { rest: body, boundary };
        // The text before the first delimiter is the preamble: it is skipped.
        parts.next_piece();
        parts
    }

    /// The bytes up to the next delimiter line.
    fn next_piece(&mut self) -> Option<&'a [u8]> {
        if self.rest.is_empty() {
            return None;
        }
        let mut from = 0;
        loop {
            let Some(at) = self.rest.get(from..).and_then(|rest| memmem::find(rest, b"--")).map(|at| from + at) else {
                // The last delimiter is missing: the part counts as it is, because the sender may have left the
                // delimiter out.
                return Some(std::mem::take(&mut self.rest));
            };
            let behind = self.rest.get(at + 2..).unwrap_or_default();
            let at_line_start = at == 0 || self.rest.get(at - 1) == Some(&b'\n');
            let Some(behind) = behind.strip_prefix(self.boundary).filter(|_| at_line_start) else {
                from = at + 2;
                continue;
            };
            // The boundary may be a prefix of a longer one, of a multipart inside.
            if !matches!(behind, [] | [b'-', b'-', ..] | [b' ' | b'\t' | b'\r' | b'\n', ..]) {
                from = at + 2;
                continue;
            }
            let part = self.rest.get(..at).unwrap_or_default();
            let part = part.strip_suffix(b"\n").unwrap_or(part);
            let part = part.strip_suffix(b"\r").unwrap_or(part);
            self.rest = match memchr::memchr(b'\n', behind) {
                Some(end) if !behind.starts_with(b"--") => behind.get(end + 1..).unwrap_or_default(),
                _ => &[],
            };
            return Some(part);
        }
    }
}

impl<'a> Iterator for Parts<'a> {
    type Item = Part<'a>;

    fn next(&mut self) -> Option<Part<'a>> {
        self.next_piece().map(part_of)
    }
}

/// A part with its headers read. RFC 2046 §5.1: one without a type is plain text.
fn part_of(bytes: &[u8]) -> Part<'_> {
    let mut part = Part { content_type: Some(b"text/plain"), disposition: None, content: &[] };
    let mut rest = bytes;
    loop {
        let mut end = 0;
        loop {
            match rest.get(end..).and_then(|rest| memchr::memchr(b'\n', rest)) {
                Some(at) => end += at + 1,
                None => return part,
            }
            // A blank line ends the headers, even where the content starts with a space.
            let is_blank = matches!(rest.get(..end), Some(b"\n" | b"\r\n"));
            if is_blank || !matches!(rest.get(end), Some(b' ' | b'\t')) {
                break;
            }
        }
        let (line, behind) = rest.split_at_checked(end).unwrap_or((rest, &[]));
        rest = behind;
        let line = line.trim_ascii();
        if line.is_empty() {
            part.content = rest;
            return part;
        }
        if let Some(colon) = memchr::memchr(b':', line) {
            let (name, value) = line.split_at_checked(colon).unwrap_or((line, &[]));
            let (name, value) = (name.trim_ascii(), value.get(1..).map(<[u8]>::trim_ascii));
            if name.eq_ignore_ascii_case(b"Content-Type") || name.eq_ignore_ascii_case(b"c") {
                part.content_type = value;
            } else if name.eq_ignore_ascii_case(b"Content-Disposition") {
                part.disposition = value;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BODY: &[u8] = b"preamble\r\n--b1\r\nContent-Type: application/sdp\r\n\r\nv=0\r\nm=audio 1 RTP/AVP 0\r\n\r\n\
        --b1 \r\nContent-ID: 1\r\ncontent-type:\r\n application/mediaservercontrol+xml\r\n\r\n<x/>\r\n--b1--\r\nepilogue";

    fn find<'a>(content_type: &'a [u8], content: &'a [u8], wanted: &[u8]) -> Option<&'a [u8]> {
        super::find(Part { content_type: Some(content_type), disposition: None, content }, wanted)
    }

    #[test]
    fn a_part_for_an_early_session_is_not_the_sessions_description() {
        let part = |disposition: &str| {
            format!("--b\r\nContent-Type: application/sdp\r\n{disposition}\r\n\r\nv=0 {disposition}")
        };
        let body = [
            part("Content-Disposition: early-session;handling=optional"),
            part("content-disposition :\r\n Session ; handling=required"),
            "--b--".to_owned(),
        ]
        .join("\r\n");
        let found = find(b"multipart/mixed; boundary=b", body.as_bytes(), b"application/sdp").unwrap();
        assert!(found.ends_with(b"required"), "{}", String::from_utf8_lossy(found));
        let alone =
            Part { content_type: Some(b"application/sdp"), disposition: Some(b"early-session"), content: b"v=0" };
        assert_eq!(super::find(alone, b"application/sdp"), None);
    }

    #[test]
    fn handling_says_whether_a_part_must_be_understood() {
        let asks = |value: &'static [u8]| {
            Part { content_type: None, disposition: Some(value), content: b"" }.must_be_understood()
        };
        assert_eq!(asks(b"session; handling = optional"), Some(false));
        assert_eq!(asks(b"signal;Handling=REQUIRED"), Some(true));
        assert_eq!((asks(b"optional"), asks(b"signal;handling=other"), asks(b"")), (None, None, None));
    }

    #[test]
    fn blanks_around_the_slash_of_a_media_type_are_allowed() {
        for same in ["application/sdp", "Application / SDP;x=1", "application\t/sdp", " application/ sdp "] {
            assert!(is_type(same.as_bytes(), b"application/sdp"), "{same}");
        }
        for other in ["application", "applicationsdp", "application/sdpx", "app lication/sdp", "/", ""] {
            assert!(!is_type(other.as_bytes(), b"application/sdp"), "{other}");
        }
    }

    #[test]
    fn the_part_of_the_wanted_type_is_found() {
        let mixed = b"multipart/mixed;boundary=\"b1\"";
        assert_eq!(find(mixed, BODY, b"application/sdp"), Some(&b"v=0\r\nm=audio 1 RTP/AVP 0\r\n"[..]));
        assert_eq!(find(mixed, BODY, b"application/mediaservercontrol+xml"), Some(&b"<x/>"[..]));
        assert_eq!(find(mixed, BODY, b"text/plain"), None);
    }

    #[test]
    fn a_body_of_one_part_is_the_body() {
        assert_eq!(find(b"Application/SDP; charset=x", b"v=0", b"application/sdp"), Some(&b"v=0"[..]));
        assert_eq!(find(b"text/plain", b"v=0", b"application/sdp"), None);
    }

    #[test]
    fn a_nested_boundary_that_starts_like_the_outer_one_is_told_apart() {
        let body = b"--b\r\nContent-Type: multipart/alternative; boundary=bb\r\n\r\n\
            --bb\r\n\r\ntext\r\n--bb\r\nContent-Type: application/sdp\r\n\r\nv=0\r\n--bb--\r\n--b--\r\n";
        assert_eq!(find(b"multipart/mixed; boundary=b", body, b"application/sdp"), Some(&b"v=0"[..]));
        assert_eq!(find(b"multipart/mixed; boundary=b", body, b"text/plain"), Some(&b"text"[..]));
    }

    #[test]
    fn line_feeds_alone_and_a_missing_last_delimiter_are_accepted() {
        let body = b"--b\nContent-Type: application/sdp\n\nv=0\n";
        assert_eq!(find(b"multipart/mixed; boundary=b", body, b"application/sdp"), Some(&b"v=0\n"[..]));
        assert_eq!(find(b" \t\x0cMULTIPART/mixed; boundary=b", body, b"application/sdp"), Some(&b"v=0\n"[..]));
        assert_eq!(find(b"multipart/mixed", body, b"application/sdp"), None);
        assert_eq!(find(b"multipart/mixed; boundary=", body, b"application/sdp"), None);
    }

    #[test]
    fn deep_nesting_and_many_parts_end() {
        let many = b"--b\r\n\r\nx\r\n".repeat(1000);
        assert_eq!(find(b"multipart/mixed; boundary=b", &many, b"application/sdp"), None);
    }
}
