//! The final answer of a worker to a message, as operators see it.

use crate::ids::Seq;

/// The final answer to a message, for operators who ask the dispatcher. No decision depends on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outcome<'a> {
    /// The message.
    pub seq: Seq,
    /// The status of its final response.
    pub status: u16,
    /// The reason in words, or empty. At most [`Outcome::LONGEST`] bytes are read.
    pub why: &'a str,
}

impl Outcome<'_> {
    /// The longest reason that is read, in bytes.
    pub const LONGEST: usize = 128;
}
