//! Transaction identifiers (RFC 3435 §3.2.1.2).

use std::fmt;

use super::line::number;

/// A transaction identifier. It is written with one to nine digits and compares as a number (§3.2.1.2), so `0042` and
/// `42` are the same. Zero is outside the range the section gives, but its own call flows use it, so it is read too.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TransactionId(pub u32);

impl TransactionId {
    /// The largest there is.
    pub const MAX: TransactionId = TransactionId(999_999_999);

    /// Reads digits; `None` for anything else and beyond [`MAX`](Self::MAX).
    pub fn parse(digits: &[u8]) -> Option<Self> {
        number(digits).map(TransactionId).filter(|id| *id <= Self::MAX)
    }
}

impl fmt::Display for TransactionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}
