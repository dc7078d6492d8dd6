//! Patterns of routes: text in which `*` stands for any characters.

use memchr::memmem;
use serde::{Deserialize, Deserializer};

/// Whether the text fits the pattern. Each piece between two stars is looked for once, from where the piece before it
/// ended: no text makes the search begin again.
pub(super) fn fits(pattern: &[u8], text: &[u8]) -> bool {
    let mut pieces = pattern.split(|&byte| byte == b'*');
    let first = pieces.next().unwrap_or_default();
    let Some(mut rest) = text.strip_prefix(first) else { return false };
    let Some(mut piece) = pieces.next() else { return rest.is_empty() };
    for next in pieces {
        let Some(at) = memmem::find(rest, piece) else { return false };
        rest = &rest[at + piece.len()..];
        piece = next;
    }
    rest.ends_with(piece)
}

/// Longest text that is compared: longer ones are no hosts, and no users that a pattern is written for.
const LONGEST_TEXT: usize = 512;

/// Whether a host fits the pattern, in any case; the brackets of an IPv6 address do not count.
pub(super) fn fits_host(pattern: &str, host: &[u8]) -> bool {
    let bare = host.strip_prefix(b"[").and_then(|host| host.strip_suffix(b"]")).unwrap_or(host);
    let mut room = [0; LONGEST_TEXT];
    let Some(lower) = room.get_mut(..bare.len()) else { return pattern == "*" };
    lower.copy_from_slice(bare);
    lower.make_ascii_lowercase();
    fits(pattern.as_bytes(), lower)
}

/// Whether a user part fits the pattern. Characters written as escapes are the same as plain ones (RFC 3261 §19.1.4).
pub(super) fn fits_user(pattern: &str, user: &[u8]) -> bool {
    if memchr::memchr(b'%', user).is_none() {
        return fits(pattern.as_bytes(), user);
    }
    let mut room = [0; LONGEST_TEXT];
    let (mut rest, mut length) = (user, 0);
    while let Some((&first, after)) = rest.split_first() {
        let escaped = (first == b'%').then(|| escaped(after)).flatten();
        rest = if escaped.is_some() { &after[2..] } else { after };
        let Some(place) = room.get_mut(length) else { return pattern == "*" };
        *place = escaped.unwrap_or(first);
        length += 1;
    }
    fits(pattern.as_bytes(), &room[..length])
}

/// The character of an escape, whose two digits `digits` begins with.
fn escaped(digits: &[u8]) -> Option<u8> {
    let value = |at: usize| char::from(*digits.get(at)?).to_digit(16);
    u8::try_from(value(0)? * 16 + value(1)?).ok()
}

/// Reads `NAME: PATTERN`.
pub(super) fn read_header<'de, D: Deserializer<'de>>(from: D) -> Result<Option<(String, String)>, D::Error> {
    let text = String::deserialize(from)?;
    let (name, pattern) = text.split_once(':').map_or((text.as_str(), ""), |(name, rest)| (name.trim(), rest.trim()));
    let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"-.!%*_+`'~".contains(&byte);
    if name.is_empty() || !name.bytes().all(is_token) || pattern.is_empty() || pattern.contains(char::is_control) {
        let words = format!("`{text}` is no condition on a header: write `NAME: PATTERN`, such as `X-Tenant: acme`");
        return Err(serde::de::Error::custom(words));
    }
    Ok(Some((name.to_owned(), pattern.to_owned())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_any_characters_and_for_none() {
        let cases = [
            ("7*", "7", true),
            ("7*", "701", true),
            ("7*", "17", false),
            ("*7", "17", true),
            ("*", "", true),
            ("a*b*c", "aXbYc", true),
            ("a*b*c", "abc", true),
            ("a*b*c", "acb", false),
            ("a*b", "a", false),
            ("aba*aba", "aba", false),
            ("aba*aba", "abaaba", true),
            ("**", "x", true),
            ("", "", true),
            ("", "x", false),
            ("701", "7011", false),
        ];
        for (pattern, text, expected) in cases {
            assert_eq!(fits(pattern.as_bytes(), text.as_bytes()), expected, "{pattern} {text}");
        }
    }

    #[test]
    fn a_text_made_to_be_searched_again_and_again_is_read_once() {
        let pattern = format!("*{}b*{}c", "a".repeat(120), "*a".repeat(60));
        let text = vec![b'a'; 1 << 20];
        let begin = std::time::Instant::now();
        assert!(!fits(pattern.as_bytes(), &text));
        assert!(begin.elapsed().as_secs() < 2, "{:?}", begin.elapsed());
    }

    #[test]
    fn hosts_fit_in_any_case_and_users_however_they_are_escaped() {
        assert!(fits_host("ivr.*", b"IVR.example.NET") && fits_host("2001:db8::1", b"[2001:DB8::1]"));
        assert!(fits_host("*", &[b'a'; 9000]) && !fits_host("a*", &[b'a'; 9000]));
        assert!(fits_user("7*", b"%3701") && fits_user("a%", b"a%") && fits_user("a%z*", b"a%zz"));
        assert!(!fits_user("7*", b"%38") && fits_user("*", &b"%41".repeat(9000)));
    }
}
