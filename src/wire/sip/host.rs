//! Host and port, as Via and URIs carry them (RFC 3261 §25.1 `hostport`).

use std::net::{IpAddr, Ipv4Addr};

use super::text::{cut, find, number, trim};
use crate::wire::find::host_name_len;

/// A host as written: a name, an IPv4 address, or an IPv6 address in brackets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Host<'a>(&'a [u8]);

impl<'a> Host<'a> {
    /// Reads `host [":" port]`, with white space around the colon as Via allows it.
    pub fn with_port(bytes: &'a [u8]) -> Option<(Host<'a>, Option<u16>)> {
        let bytes = trim(bytes);
        let end = match bytes.first()? {
            b'[' => find(bytes, [b']'])? + 1,
            // Underscores are not in the RFC's names, but in use.
            _ => host_name_len(bytes),
        };
        let (host, rest) = cut(bytes, Some(end));
        let host = match host {
            // RFC 5118 §4.10: the address itself is not judged here, so that `:::` passes.
            [b'[', inner @ .., b']'] if !inner.iter().all(|&byte| is_address_byte(byte)) => return None,
            [] => return None,
            _ => Host(host),
        };
        match trim(rest) {
            [] => Some((host, None)),
            [b':', port @ ..] => Some((host, Some(number(trim(port))?.try_into().ok()?))),
            _ => None,
        }
    }

    /// The host as written, with the brackets of an IPv6 address.
    pub const fn as_bytes(self) -> &'a [u8] {
        self.0
    }

    /// The address, if it is one and no name.
    pub fn ip(self) -> Option<IpAddr> {
        address(self.0)
    }

    /// The name, or the address without brackets, in the one form that names are compared in: in lower case, without a
    /// dot at its end.
    pub fn name(self) -> Option<String> {
        let text = std::str::from_utf8(self.0).ok()?;
        let text = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
        let text = text.strip_suffix('.').unwrap_or(text);
        (!text.is_empty()).then(|| text.to_ascii_lowercase())
    }
}

/// A byte of an IPv6 address.
const fn is_address_byte(byte: u8) -> bool {
    byte.is_ascii_hexdigit() || matches!(byte, b':' | b'.')
}

/// An address with or without brackets; `:::` is read as `::` (RFC 5118 §4.10).
pub(crate) fn address(bytes: &[u8]) -> Option<IpAddr> {
    let bare = match bytes {
        [b'[', inner @ .., b']'] => inner,
        _ => bytes,
    };
    // The longest address has 45 characters; most names end here without a look at UTF-8.
    if bare.len() > 46 || !bare.first().is_some_and(|&byte| byte.is_ascii_hexdigit() || byte == b':') {
        return None;
    }
    if let Some(ip) = ipv4(bare) {
        return Some(ip.into());
    }
    let text = std::str::from_utf8(bare).ok()?;
    text.parse().ok().or_else(|| {
        let (front, back) = text.split_once(":::")?;
        let mut mended = [0; 48];
        let pieces = [front.as_bytes(), b"::", back.as_bytes()];
        let mut at = 0;
        for piece in pieces {
            mended.get_mut(at..at + piece.len())?.copy_from_slice(piece);
            at += piece.len();
        }
        std::str::from_utf8(mended.get(..at)?).ok()?.parse().ok()
    })
}

/// Reads four numbers as `Ipv4Addr` does, in a third of the time: every message names a few addresses.
fn ipv4(text: &[u8]) -> Option<Ipv4Addr> {
    let (mut octets, mut at) = ([0; 4], 0);
    let mut digits = 0;
    for &byte in text {
        match (byte, octets.get_mut(at)?) {
            (b'.', _) if digits > 0 => (at, digits) = (at + 1, 0),
            // No zero before another digit: some programs read that as octal.
            (b'0'..=b'9', octet) if digits == 0 || *octet > 0 => {
                *octet = u8::checked_mul(*octet, 10)?.checked_add(byte - b'0')?;
                digits += 1;
            }
            _ => return None,
        }
    }
    (at == 3 && digits > 0).then(|| octets.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Option<(&str, Option<u16>)> {
        let (host, port) = Host::with_port(text.as_bytes())?;
        Some((std::str::from_utf8(host.as_bytes()).unwrap(), port))
    }

    #[test]
    fn hosts_are_names_and_addresses_with_and_without_a_port() {
        assert_eq!(read("ms_1.example.net"), Some(("ms_1.example.net", None)));
        assert_eq!(read("192.0.2.1 : 5061"), Some(("192.0.2.1", Some(5061))));
        assert_eq!(read("[2001:db8::10]:5070"), Some(("[2001:db8::10]", Some(5070))));
        assert_eq!(read("[2001:db8::10:5070]"), Some(("[2001:db8::10:5070]", None)));
    }

    #[test]
    fn text_that_is_no_host_or_no_port_is_not_read() {
        for bad in
            ["", ":5060", "2001:db8::10", "[2001:db8::1", "a b", "h:", "h:x", "h:65536", "h:-1", "[x]", "h/x", "a,b"]
        {
            assert_eq!(read(bad), None, "{bad}");
        }
    }

    #[test]
    fn an_address_is_read_from_its_text_also_with_one_colon_too_many() {
        let ip = |text: &str| Host::with_port(text.as_bytes()).unwrap().0.ip();
        assert_eq!(ip("192.0.2.1"), Some("192.0.2.1".parse().unwrap()));
        assert_eq!(ip("[::ffff:192.0.2.1]"), Some("::ffff:192.0.2.1".parse().unwrap()));
        assert_eq!(ip("[2001:db8:::192.0.2.1]"), Some("2001:db8::192.0.2.1".parse().unwrap()));
        assert_eq!(ip("ms.example.net"), None);
        assert_eq!(ip("[1:2]"), None);
    }
}
