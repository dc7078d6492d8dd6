//! Digit maps as text: `(0T|00T|[1-7]xxx|*xx)` (RFC 3435 §2.1.5).

use super::line::trim;

/// The alternatives that dialled digits are compared with.
#[derive(Clone, Copy, Debug)]
pub struct DigitMap<'a>(&'a [u8]);

impl<'a> DigitMap<'a> {
    /// Reads a map; `None` where it holds a character that is no part of one. Empty is a map without alternatives.
    pub fn parse(value: &'a [u8]) -> Option<Self> {
        let value = trim(value);
        let list = match value {
            [b'(', list @ .., b')'] => list,
            other => other,
        };
        let is_alternative = |text: &[u8]| !text.is_empty() && is_alternative(text);
        let is_map =
            list.is_empty() && value.is_empty() || list.split(|&byte| byte == b'|').map(trim).all(is_alternative);
        is_map.then_some(DigitMap(list))
    }

    /// Its alternatives.
    pub fn alternatives(&self) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        self.0.split(|&byte| byte == b'|').map(trim).filter(|text| !text.is_empty())
    }
}

/// Positions (a key, `x` for any digit, `T` for the timer, a range in brackets), each perhaps with a dot for
/// repetition.
fn is_alternative(mut text: &[u8]) -> bool {
    let mut may_repeat = false;
    while let [sign, rest @ ..] = text {
        text = rest;
        match sign {
            b'.' if may_repeat => {
                may_repeat = false;
                continue;
            }
            b'[' => {
                let Some(end) = memchr::memchr(b']', rest) else { return false };
                let range = rest.get(..end).unwrap_or_default();
                let is_sign = |byte: &u8| is_key(*byte) || *byte == b'-';
                if range.is_empty() || !range.iter().all(is_sign) {
                    return false;
                }
                text = rest.get(end + 1..).unwrap_or_default();
            }
            sign if is_key(*sign) => {}
            _ => return false,
        }
        may_repeat = true;
    }
    true
}

/// A digit, `*`, `#`, or a letter: A to D, T, X, and those that extensions of packages bring (§2.1.5).
const fn is_key(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'*' | b'#')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_map_is_one_alternative_or_several_in_parentheses() {
        // RFC 3435 §2.1.5 and Appendix F.1.
        let map = DigitMap::parse(b"(0T| 00T|[1-7]xxx|8xxxxxxx|#xxxxxxx|*xx|91xxxxxxxxxx|9011x.T)").unwrap();
        assert_eq!(map.alternatives().count(), 8);
        assert_eq!(map.alternatives().nth(1), Some(&b"00T"[..]));
        assert_eq!(DigitMap::parse(b"5xxx").unwrap().alternatives().count(), 1);
        assert_eq!(DigitMap::parse(b"").unwrap().alternatives().count(), 0);
    }

    #[test]
    fn text_that_is_no_digit_map_yields_none() {
        for bad in ["()", "(0T", "0T)", "(0||1)", "(.)", "(0..)", "[1-7", "[]", "0 1", "[1/7]"] {
            assert!(DigitMap::parse(bad.as_bytes()).is_none(), "{bad}");
        }
    }
}
