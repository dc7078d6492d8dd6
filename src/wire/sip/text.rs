//! The small grammar that all fields share: white space, tokens, quoted strings, lists (RFC 3261 §25.1).

pub(crate) use crate::wire::find::find;

/// Linear white space, with the line ends of folds: inside a field's value they mean the same as a space.
#[inline]
pub(crate) const fn is_lws(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\r' | b'\n')
}

/// A byte of a `token`.
#[inline]
pub(crate) const fn is_token_byte(byte: u8) -> bool {
    TOKEN[byte as usize]
}

/// A look into a table is faster than the comparisons.
static TOKEN: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0_u8;
    while byte < 128 {
        table[byte as usize] = byte.is_ascii_alphanumeric()
            || matches!(byte, b'-' | b'.' | b'!' | b'%' | b'*' | b'_' | b'+' | b'`' | b'\'' | b'~');
        byte += 1;
    }
    table
};

/// Whether `bytes` are one `token`.
#[inline]
pub(crate) fn is_token(bytes: &[u8]) -> bool {
    !bytes.is_empty() && bytes.iter().all(|&byte| is_token_byte(byte))
}

/// `bytes` without white space and folds at either end.
#[inline]
pub(crate) fn trim(mut bytes: &[u8]) -> &[u8] {
    while let [first, rest @ ..] = bytes
        && is_lws(*first)
    {
        bytes = rest;
    }
    while let [rest @ .., last] = bytes
        && is_lws(*last)
    {
        bytes = rest;
    }
    bytes
}

/// A whole number in digits and nothing else; `None` beyond `u32`.
#[inline]
pub(crate) fn number(bytes: &[u8]) -> Option<u32> {
    if let 1..=9 = bytes.len() {
        // So many digits fit.
        let mut value = 0;
        for byte in bytes {
            let digit = u32::from(byte.wrapping_sub(b'0'));
            if digit > 9 {
                return None;
            }
            value = 10 * value + digit;
        }
        return Some(value);
    }
    if bytes.is_empty() {
        return None;
    }
    bytes.iter().try_fold(0_u32, |value, &byte| {
        let digit = byte.is_ascii_digit().then(|| u32::from(byte - b'0'))?;
        value.checked_mul(10)?.checked_add(digit)
    })
}

/// The seconds that a value begins with; a comment and parameters may follow (RFC 3261 §20.33, RFC 4028 §4). A number
/// beyond `u32` counts as the largest of them: its sender means a very long time.
pub fn delta_seconds(value: &[u8]) -> Option<u32> {
    let value = trim(value);
    let (seconds, _) = cut(value, value.iter().position(|byte| !byte.is_ascii_digit()));
    (!seconds.is_empty()).then(|| number(seconds).unwrap_or(u32::MAX))
}

/// `bytes` up to `at` and from there on. Beyond the end everything is before.
#[inline]
pub(crate) fn cut(bytes: &[u8], at: Option<usize>) -> (&[u8], &[u8]) {
    bytes.split_at_checked(at.unwrap_or(bytes.len())).unwrap_or((bytes, &[]))
}

/// The length of the quoted string that `bytes` starts with, quotes included; `None` when it never ends.
pub(crate) fn quoted_len(bytes: &[u8]) -> Option<usize> {
    let mut at = 1;
    loop {
        at += find(bytes.get(at..)?, [b'"', b'\\'])?;
        match bytes.get(at) {
            Some(b'"') => return Some(at + 1),
            _ => at += 2,
        }
    }
}

/// The text between the quotes, escapes left as they are; a value without quotes as it is.
pub(crate) fn unquoted(bytes: &[u8]) -> &[u8] {
    match bytes {
        [b'"', inner @ .., b'"'] => inner,
        _ => bytes,
    }
}

/// The offset of `inner` in `outer`, of which it must be a part.
pub(crate) fn offset_in(outer: &[u8], inner: &[u8]) -> Option<usize> {
    let offset = (inner.as_ptr() as usize).checked_sub(outer.as_ptr() as usize)?;
    (offset + inner.len() <= outer.len()).then_some(offset)
}

/// The members of a comma-separated value, trimmed, empty ones included. A comma in quotes or angle brackets separates
/// nothing; a quote or bracket that is never closed reaches to the end.
#[derive(Clone, Copy, Debug)]
pub struct Members<'a>(Option<&'a [u8]>);

impl<'a> Members<'a> {
    /// The members of `value`.
    pub const fn new(value: &'a [u8]) -> Self {
        Members(Some(value))
    }
}

impl<'a> Iterator for Members<'a> {
    type Item = &'a [u8];

    #[inline]
    fn next(&mut self) -> Option<&'a [u8]> {
        let rest = self.0?;
        let (member, after) = cut(rest, top_level_comma(rest));
        self.0 = after.split_first().map(|(_comma, rest)| rest);
        Some(trim(member))
    }
}

fn top_level_comma(bytes: &[u8]) -> Option<usize> {
    // Most values have no comma at all.
    find(bytes, [b','])?;
    let mut at = 0;
    loop {
        at += find(bytes.get(at..)?, [b',', b'"', b'<'])?;
        at += match bytes.get(at)? {
            b',' => return Some(at),
            b'"' => quoted_len(&bytes[at..])?,
            _ => find(&bytes[at..], [b'>'])?,
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn members(value: &str) -> Vec<&str> {
        Members::new(value.as_bytes()).map(|member| std::str::from_utf8(member).unwrap()).collect()
    }

    #[test]
    fn commas_in_quotes_and_angle_brackets_do_not_split() {
        assert_eq!(members(r#" "a,\"b" <sip:x,y@h>;p=1 , <sip:c>"#), [r#""a,\"b" <sip:x,y@h>;p=1"#, "<sip:c>"]);
        assert_eq!(members("a,,b,"), ["a", "", "b", ""]);
        assert_eq!(members(r#""never, closed"#), [r#""never, closed"#]);
        assert_eq!(members("<sip:never, closed"), ["<sip:never, closed"]);
        assert_eq!(members(""), [""]);
    }

    #[test]
    fn a_quoted_string_ends_at_the_first_quote_that_is_not_escaped() {
        assert_eq!(quoted_len(br#""a\"b" c"#), Some(6));
        assert_eq!(quoted_len(br#""\\""#), Some(4));
        assert_eq!(quoted_len(br#""\"#), None);
        assert_eq!(quoted_len(br#"""#), None);
    }

    #[test]
    fn seconds_are_read_however_many_they_are_and_whatever_follows() {
        let longest = Some(u32::MAX);
        let values = [
            ("120", Some(120)),
            (" 5", Some(5)),
            ("18000;duration=3600", Some(18_000)),
            ("5 (I'm in a meeting);duration=3", Some(5)),
            ("4294967295", longest),
            ("4294967296", longest),
            ("99999999999999999999999 ", longest),
        ];
        for (value, seconds) in values {
            assert_eq!(delta_seconds(value.as_bytes()), seconds, "{value}");
        }
        for bad in ["", "soon", "-1", ";duration=3", "(5)"] {
            assert_eq!(delta_seconds(bad.as_bytes()), None, "{bad}");
        }
    }

    #[test]
    fn a_number_is_digits_only_and_fits_32_bits() {
        assert_eq!(number(b"4294967295"), Some(u32::MAX));
        assert_eq!(number(b"0009"), Some(9));
        for bad in [&b""[..], b"4294967296", b"-1", b"+1", b"1 ", b"0x1"] {
            assert_eq!(number(bad), None);
        }
    }
}
