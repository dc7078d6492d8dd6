//! The branch of a request by which a downstream proxy is probed.
//!
//! ```text
//! z9hG4bK 0f3kq9u2v7a1c 3q1v0f3kq9u2v
//!         │             └ hash of the number and of the address that the request goes to
//!         └ number of the request
//! ```
//!
//! A response to a probe may come to a well-known listener, where any lane reads it. The lane knows it by its topmost
//! Via alone: the hash is that of the response's source. So a response counts only when it comes from the address that
//! the probe has gone to, and no one else can think of one.
//!
//! The characters are digits and small letters, and are read in either case.

use std::net::SocketAddr;

use super::forwarded::COOKIE;
use crate::fingerprint::Printer;
use crate::fingerprint::Text::{AsItIs, Number};
use crate::ids::{decode, encode};

/// The purpose of fingerprints.
const PROBE: u8 = b'p';
/// Characters of a number of 64 bits.
const NUMBER: usize = 13;

/// The branch of a probe. No branch of a request that is forwarded has its length.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct ProbeBranch([u8; ProbeBranch::LEN]);

impl ProbeBranch {
    /// The length of its text.
    pub const LEN: usize = COOKIE.len() + NUMBER + NUMBER;

    /// The branch of the request with this number, which goes to this address.
    pub fn give(printer: &Printer, number: u64, to: SocketAddr) -> Self {
        let mut text = [0; Self::LEN];
        let (cookie, rest) = text.split_at_mut(COOKIE.len());
        let (first, hash) = rest.split_at_mut(NUMBER);
        cookie.copy_from_slice(COOKIE);
        encode(number, first);
        encode(hash_of(printer, number, to), hash);
        ProbeBranch(text)
    }

    /// Reads the branch of a response from this address; `None` unless it was given to a request that has gone there.
    pub fn read(printer: &Printer, branch: &[u8], from: SocketAddr) -> Option<Self> {
        if branch.len() != Self::LEN {
            return None;
        }
        let number = decode(branch.get(COOKIE.len()..COOKIE.len() + NUMBER)?)?;
        let given = ProbeBranch::give(printer, number, from);
        given.0.eq_ignore_ascii_case(branch).then_some(given)
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

impl std::fmt::Debug for ProbeBranch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

fn hash_of(printer: &Printer, number: u64, to: SocketAddr) -> u64 {
    let number = number.to_be_bytes();
    let v6 = match to {
        SocketAddr::V4(to) => to.ip().to_ipv6_mapped(),
        SocketAddr::V6(to) => *to.ip(),
    };
    printer.print_each(PROBE, [AsItIs(&number), AsItIs(&v6.octets()), Number(to.port())]).short()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::TokenKey;
    use crate::transaction::forwarded::ForwardedBranch;

    fn printer(byte: u8) -> Printer {
        Printer::new(&TokenKey::new([byte; 32]))
    }

    #[test]
    fn a_branch_is_known_again_from_the_address_that_it_has_gone_to_and_from_no_other() {
        for place in ["192.0.2.21:5060", "[2001:db8::21]:5060"] {
            let to: SocketAddr = place.parse().unwrap();
            let given = ProbeBranch::give(&printer(1), u64::MAX, to);
            let read =
                |branch: &str, from: &str| ProbeBranch::read(&printer(1), branch.as_bytes(), from.parse().unwrap());
            assert_eq!(read(given.as_str(), place), Some(given));
            assert_eq!(read(&given.as_str().to_uppercase(), place), Some(given), "in either case");
            for other in ["192.0.2.22:5060", "192.0.2.21:5061", "[2001:db8::22]:5060"] {
                assert_eq!(read(given.as_str(), other), None);
            }
            assert_eq!(ProbeBranch::read(&printer(2), given.as_str().as_bytes(), to), None, "of another dispatcher");
        }
    }

    #[test]
    fn no_other_text_is_a_branch_of_a_probe() {
        let from: SocketAddr = "192.0.2.21:5060".parse().unwrap();
        let given = ProbeBranch::give(&printer(1), 7, from);
        for place in 0..ProbeBranch::LEN {
            let mut text = given.as_str().as_bytes().to_vec();
            text[place] = if text[place] == b'0' { b'1' } else { b'0' };
            assert_eq!(ProbeBranch::read(&printer(1), &text, from), None, "{place}");
            assert_eq!(ProbeBranch::read(&printer(1), &text[..place], from), None);
        }
        assert_eq!(ProbeBranch::read(&printer(1), b"", from), None);
        assert!(ForwardedBranch::read(given.as_str().as_bytes()).is_none());
    }
}
