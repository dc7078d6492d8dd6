//! Lines and white space (RFC 3435 Appendix A): a line ends with CRLF or LF, white space is space and tab.

use memchr::memchr;

/// A space or a tab.
#[inline]
pub(super) const fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t')
}

/// The line that starts at `from`, without its end, and where the next one starts.
#[inline]
pub(super) fn line_at(bytes: &[u8], from: usize) -> (&[u8], usize) {
    let rest = bytes.get(from..).unwrap_or_default();
    match memchr(b'\n', rest) {
        Some(at) => (without_cr(rest.get(..at).unwrap_or_default()), from + at + 1),
        None => (without_cr(rest), bytes.len()),
    }
}

/// `bytes` without spaces, tabs and line ends at either end: the value of a wrapped line has line ends inside.
#[inline]
pub(super) fn trim(mut bytes: &[u8]) -> &[u8] {
    while let [first, rest @ ..] = bytes
        && is_white(*first)
    {
        bytes = rest;
    }
    while let [rest @ .., last] = bytes
        && is_white(*last)
    {
        bytes = rest;
    }
    bytes
}

/// Whether there is nothing but white space.
#[inline]
pub(super) fn is_blank(line: &[u8]) -> bool {
    line.iter().all(|&byte| is_white(byte))
}

/// The first word of a line and the text after it, white space on both sides left out.
#[inline]
pub(super) fn word(line: &[u8]) -> (&[u8], &[u8]) {
    let line = trim(line);
    let end = line.iter().position(|&byte| is_space(byte)).unwrap_or(line.len());
    let (word, rest) = line.split_at_checked(end).unwrap_or((line, &[]));
    (word, trim(rest))
}

/// `word` in lower case, to compare with known words; empty where it is longer than `space`: no known word is so long.
#[inline]
pub(super) fn lowered<'s>(word: &[u8], space: &'s mut [u8; 8]) -> &'s [u8] {
    let Some(place) = space.get_mut(..word.len()) else { return &[] };
    place.copy_from_slice(word);
    place.make_ascii_lowercase();
    place
}

/// A whole number in digits and nothing else; `None` beyond `u32`.
#[inline]
pub(super) fn number(digits: &[u8]) -> Option<u32> {
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0_u32, |value, &byte| {
        let digit = byte.is_ascii_digit().then(|| u32::from(byte - b'0'))?;
        value.checked_mul(10)?.checked_add(digit)
    })
}

const fn is_white(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\r' | b'\n')
}

fn without_cr(line: &[u8]) -> &[u8] {
    line.strip_suffix(b"\r").unwrap_or(line)
}
