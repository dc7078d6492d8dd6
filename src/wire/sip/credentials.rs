//! Digest credentials: only what names the server that asked for them (RFC 7616 §3.4).

use super::text::{Members, cut, find, is_lws, trim, unquoted};

/// The nonce of an Authorization or Proxy-Authorization value.
pub(crate) fn nonce(value: &[u8]) -> Option<&[u8]> {
    let (scheme, fields) = cut(value, value.iter().position(|&byte| is_lws(byte)));
    if !scheme.eq_ignore_ascii_case(b"Digest") {
        return None;
    }
    Members::new(fields).find_map(|field| {
        let (name, value) = cut(field, find(field, [b'=']));
        trim(name).eq_ignore_ascii_case(b"nonce").then(|| unquoted(trim(value.get(1..).unwrap_or_default())))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nonce_of_digest_credentials_is_read_without_its_quotes() {
        let value = b"Digest username=\"a, nonce=x\", realm=\"r\",\r\n NONCE = \"pm123\", uri=\"sip:b\"";
        assert_eq!(nonce(value), Some(&b"pm123"[..]));
        assert_eq!(nonce(b"Digest realm=\"r\", cnonce=\"x\""), None);
        assert_eq!(nonce(b"Basic nonce=\"x\""), None);
    }
}
