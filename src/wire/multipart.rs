//! Bodies of several parts (RFC 2046 §5.1): only as far as finding the part of one media type.

use memchr::memmem;

use super::sip::Params;

/// The deepest nesting of multipart bodies that is looked into.
const MAX_DEPTH: usize = 3;

/// The most parts that are looked at, all levels together.
const MAX_PARTS: usize = 32;

/// The longest boundary (RFC 2046 §5.1.1).
const MAX_BOUNDARY: usize = 70;

/// `body` when `content_type` is the media type `wanted` (in lower case), else its first part of that type.
pub fn find<'a>(content_type: &[u8], body: &'a [u8], wanted: &[u8]) -> Option<&'a [u8]> {
    if content_type.eq_ignore_ascii_case(wanted) {
        return Some(body);
    }
    find_within(content_type, body, wanted, MAX_DEPTH, &mut MAX_PARTS.clone())
}

fn find_within<'a>(
    content_type: &[u8],
    body: &'a [u8],
    wanted: &[u8],
    depth: usize,
    left: &mut usize,
) -> Option<&'a [u8]> {
    let (media_type, params) = split_type(content_type);
    if media_type.eq_ignore_ascii_case(wanted) {
        return Some(body);
    }
    let is_multipart = media_type.get(..10).is_some_and(|front| front.eq_ignore_ascii_case(b"multipart/"));
    if !is_multipart || depth == 0 {
        return None;
    }
    let boundary = params.get(b"boundary")?;
    let boundary = boundary.strip_prefix(b"\"").and_then(|inner| inner.strip_suffix(b"\"")).unwrap_or(boundary);
    if !(1..=MAX_BOUNDARY).contains(&boundary.len()) {
        return None;
    }
    Parts::new(body, boundary).find_map(|part| {
        *left = left.checked_sub(1)?;
        let (content_type, content) = part_of(part);
        // RFC 2046 §5.1: a part without a type is plain text.
        find_within(content_type.unwrap_or(b"text/plain"), content, wanted, depth - 1, left)
    })
}

fn split_type(content_type: &[u8]) -> (&[u8], Params<'_>) {
    let at = content_type.iter().position(|&byte| byte == b';').unwrap_or(content_type.len());
    let (media_type, params) = content_type.split_at_checked(at).unwrap_or((content_type, &[]));
    (media_type.trim_ascii(), Params::new(params))
}

/// The parts of a body between its delimiter lines.
struct Parts<'a, 'b> {
    rest: &'a [u8],
    boundary: &'b [u8],
}

impl<'a, 'b> Parts<'a, 'b> {
    fn new(body: &'a [u8], boundary: &'b [u8]) -> Self {
        let mut parts = Parts { rest: body, boundary };
        // What stands before the first delimiter is the preamble.
        parts.next();
        parts
    }
}

impl<'a> Iterator for Parts<'a, '_> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        if self.rest.is_empty() {
            return None;
        }
        let mut from = 0;
        loop {
            let Some(at) = self.rest.get(from..).and_then(|rest| memmem::find(rest, b"--")).map(|at| from + at) else {
                // The last delimiter is missing: what is there counts, the sender may have left it out.
                return Some(std::mem::take(&mut self.rest));
            };
            let behind = self.rest.get(at + 2..).unwrap_or_default();
            let at_line_start = at == 0 || self.rest.get(at - 1) == Some(&b'\n');
            let Some(behind) = behind.strip_prefix(self.boundary).filter(|_| at_line_start) else {
                from = at + 2;
                continue;
            };
            // The boundary may be the front of a longer one, of a multipart inside.
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

/// The type and the content of a part.
fn part_of(part: &[u8]) -> (Option<&[u8]>, &[u8]) {
    let mut content_type = None;
    let mut rest = part;
    loop {
        let mut end = 0;
        loop {
            match rest.get(end..).and_then(|rest| memchr::memchr(b'\n', rest)) {
                Some(at) => end += at + 1,
                None => return (content_type, &[]),
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
            return (content_type, rest);
        }
        if let Some(colon) = memchr::memchr(b':', line) {
            let (name, value) = line.split_at_checked(colon).unwrap_or((line, &[]));
            let name = name.trim_ascii();
            if name.eq_ignore_ascii_case(b"Content-Type") || name.eq_ignore_ascii_case(b"c") {
                content_type = value.get(1..).map(<[u8]>::trim_ascii);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BODY: &[u8] = b"preamble\r\n--b1\r\nContent-Type: application/sdp\r\n\r\nv=0\r\nm=audio 1 RTP/AVP 0\r\n\r\n\
        --b1 \r\nContent-ID: 1\r\ncontent-type:\r\n application/mediaservercontrol+xml\r\n\r\n<x/>\r\n--b1--\r\nepilogue";

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
        assert_eq!(find(b"multipart/mixed", body, b"application/sdp"), None);
        assert_eq!(find(b"multipart/mixed; boundary=", body, b"application/sdp"), None);
    }

    #[test]
    fn deep_nesting_and_many_parts_end() {
        let many = b"--b\r\n\r\nx\r\n".repeat(1000);
        assert_eq!(find(b"multipart/mixed; boundary=b", &many, b"application/sdp"), None);
    }
}
