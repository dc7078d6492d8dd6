//! Answers to a GET, as far as a document about a load needs them (RFC 9112): 200 alone, of a limited length.

/// Longest document.
pub(super) const LONGEST: usize = 256 << 10;
/// Longest head.
const LONGEST_HEAD: usize = 16 << 10;

/// The state of an answer that has come so far.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Read {
    /// It is not whole yet.
    More,
    /// Its document.
    Whole(Vec<u8>),
    /// It is of no use.
    Bad,
}

/// Writes the request.
pub(super) fn request(host: &str, port: u16, path: &str) -> String {
    let host = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
    format!(
        "GET {path} HTTP/1.1\r\nHost: {host}:{port}\r\nUser-Agent: pointsman\r\nAccept: application/json, text/plain\r\n\
         Connection: close\r\n\r\n"
    )
}

/// Reads an answer. `is_end`: nothing comes after these bytes.
pub(super) fn read(bytes: &[u8], is_end: bool) -> Read {
    let open = if is_end { Read::Bad } else { Read::More };
    let Some(end) = memchr::memmem::find(bytes, b"\r\n\r\n") else {
        return if bytes.len() > LONGEST_HEAD { Read::Bad } else { open };
    };
    let (head, body) = (&bytes[..end], &bytes[end + 4..]);
    let mut lines = head.split(|&byte| byte == b'\n').map(<[u8]>::trim_ascii);
    let mut status = lines.next().unwrap_or_default().split(|&byte| byte == b' ');
    let is_http = status.next().is_some_and(|version| version.starts_with(b"HTTP/1."));
    if !is_http || status.next() != Some(b"200") || end > LONGEST_HEAD {
        return Read::Bad;
    }
    let (mut length, mut is_chunked) = (None, false);
    for line in lines {
        let colon = line.iter().position(|&byte| byte == b':').unwrap_or(line.len());
        let (name, value) = (&line[..colon], line.get(colon + 1..).unwrap_or_default().trim_ascii());
        if name.eq_ignore_ascii_case(b"content-length") {
            length = Some(number(value, 10));
        } else if name.eq_ignore_ascii_case(b"transfer-encoding") {
            is_chunked = value.eq_ignore_ascii_case(b"chunked");
            if !is_chunked {
                return Read::Bad;
            }
        }
    }
    match (is_chunked, length) {
        (true, _) => chunks(body).unwrap_or(open),
        (false, Some(None)) => Read::Bad,
        (false, Some(Some(length))) => body.get(..length).map_or(open, |body| Read::Whole(body.to_vec())),
        (false, None) if body.len() > LONGEST => Read::Bad,
        (false, None) if is_end => Read::Whole(body.to_vec()),
        (false, None) => Read::More,
    }
}

/// The document in chunks (RFC 9112 §7.1); `None` if it is not whole.
fn chunks(mut rest: &[u8]) -> Option<Read> {
    let mut document = Vec::new();
    loop {
        let Some(end) = memchr::memchr(b'\n', rest) else { return (rest.len() > LONGEST_HEAD).then_some(Read::Bad) };
        let size = rest[..end].split(|&byte| byte == b';').next().unwrap_or_default().trim_ascii();
        let Some(size) = number(size, 16).filter(|size| document.len() + size <= LONGEST) else {
            return Some(Read::Bad);
        };
        if size == 0 {
            return Some(Read::Whole(document));
        }
        rest = &rest[end + 1..];
        document.extend_from_slice(rest.get(..size)?);
        rest = match rest.get(size..size + 2) {
            Some(b"\r\n") => &rest[size + 2..],
            Some(_) => return Some(Read::Bad),
            None => return None,
        };
    }
}

/// A length; `None` for one that is none, or too long.
fn number(digits: &[u8], radix: u32) -> Option<usize> {
    let is_number = !digits.is_empty() && digits.len() <= 8 && digits.iter().all(u8::is_ascii_hexdigit);
    let text = std::str::from_utf8(digits).ok().filter(|_| is_number)?;
    usize::from_str_radix(text, radix).ok().filter(|length| *length <= LONGEST)
}
