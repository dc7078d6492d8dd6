//! Bearer information: how the circuit side is encoded, `B: e:mu` (RFC 3435 §3.2.2.3).

use super::line::{lowered, trim};
use super::list::Members;

/// The encoding of an endpoint's circuit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BearerEncoding {
    /// `A`
    ALaw,
    /// `mu`
    MuLaw,
}

/// The value of `B:`.
#[derive(Clone, Copy, Debug)]
pub struct BearerInformation<'a> {
    text: &'a [u8],
    /// `e`
    pub encoding: Option<BearerEncoding>,
}

impl<'a> BearerInformation<'a> {
    /// Reads the value; `None` where an attribute has no name or the encoding is unknown.
    pub fn parse(value: &'a [u8]) -> Option<Self> {
        let mut encoding = None;
        for (name, value) in attributes(value) {
            if name.is_empty() {
                return None;
            }
            if name.eq_ignore_ascii_case(b"e") {
                encoding = Some(match lowered(value, &mut [0; 8]) {
                    b"a" => BearerEncoding::ALaw,
                    b"mu" => BearerEncoding::MuLaw,
                    _ => return None,
                });
            }
        }
        Some(BearerInformation { text: value, encoding })
    }

    /// Attributes that RFC 3435 does not name, with their values.
    pub fn extensions(&self) -> impl Iterator<Item = (&'a [u8], &'a [u8])> + use<'a> {
        attributes(self.text).filter(|(name, _value)| !name.eq_ignore_ascii_case(b"e"))
    }
}

fn attributes(text: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    Members::new(text).map(|member| {
        let at = memchr::memchr(b':', member).unwrap_or(member.len());
        let (name, value) = member.split_at_checked(at).unwrap_or((member, &[]));
        (trim(name), trim(value.get(1..).unwrap_or_default()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_encoding_is_a_law_or_mu_law_and_the_rest_is_listed() {
        let read = BearerInformation::parse(b"E:MU, x-foo:1").unwrap();
        assert_eq!(read.encoding, Some(BearerEncoding::MuLaw));
        assert_eq!(read.extensions().collect::<Vec<_>>(), [(&b"x-foo"[..], &b"1"[..])]);
        assert_eq!(BearerInformation::parse(b"e:A").unwrap().encoding, Some(BearerEncoding::ALaw));
        assert_eq!(BearerInformation::parse(b"").unwrap().encoding, None);
        assert!(BearerInformation::parse(b"e:x").is_none() && BearerInformation::parse(b"e:A,,").is_none());
    }
}
