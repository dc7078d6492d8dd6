//! CSeq: the number and method of a request (RFC 3261 §20.16).

use super::method::Method;
use super::text::{cut, is_lws, is_token, number, trim};

/// A CSeq value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CSeq<'a> {
    /// The number. RFC 3261 §8.1.1.5 asks for less than 2^31; up to 2^32 − 1 is read (RFC 4475 §3.1.2.4).
    pub number: u32,
    /// The method.
    pub method: Method<'a>,
}

impl<'a> CSeq<'a> {
    /// Reads `number LWS method`.
    pub fn parse(value: &'a [u8]) -> Option<Self> {
        let (number, method) = parts(value)?;
        Some(CSeq { number, method: Method::new(method) })
    }
}

/// The number and the method of a CSeq value.
#[inline]
pub(super) fn parts(value: &[u8]) -> Option<(u32, &[u8])> {
    let value = trim(value);
    let (digits, method) = cut(value, value.iter().position(|&byte| is_lws(byte)));
    let method = trim(method);
    is_token(method).then_some((number(digits)?, method))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cseq_is_a_number_below_2_to_the_32_and_a_method() {
        assert_eq!(CSeq::parse(b"0009\r\n  INVITE"), Some(CSeq { number: 9, method: Method::Invite }));
        assert_eq!(CSeq::parse(b"4294967295 x"), Some(CSeq { number: u32::MAX, method: Method::Other(b"x") }));
        for bad in [&b"36893488147419103232 REGISTER"[..], b"4294967296 A", b"A 1", b"1", b"-1 A", b"1 A B", b""] {
            assert_eq!(CSeq::parse(bad), None);
        }
    }
}
