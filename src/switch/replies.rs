//! Answers that leave on stream connections: the dispatcher's own, and those that workers give it for its connections.
//!
//! A connection belongs to the lane that accepted it. The lane that decides about a message is another where the call
//! belongs to that one: the answer goes back in a parcel.

use std::ops::Range;

use crate::ids::ConnId;

/// Answers that wait, in one buffer that is used again.
#[derive(Debug, Default)]
pub struct Replies {
    bytes: Vec<u8>,
    waiting: Vec<(ConnId, Range<usize>)>,
}

impl Replies {
    /// Adds the answer that `write` appends to the buffer, for this connection.
    pub fn write(&mut self, conn: ConnId, write: impl FnOnce(&mut Vec<u8>)) {
        let begin = self.bytes.len();
        write(&mut self.bytes);
        match self.waiting.last_mut() {
            // Answers of one connection leave with one write.
            Some((last, range)) if *last == conn => range.end = self.bytes.len(),
            _ => self.waiting.push((conn, begin..self.bytes.len())),
        }
    }

    /// Adds an answer that is ready.
    pub fn push(&mut self, conn: ConnId, bytes: &[u8]) {
        self.write(conn, |buffer| buffer.extend_from_slice(bytes));
    }

    /// Answers, each with its connection, in the order in which they were added; those that follow each other on one
    /// connection are one.
    pub fn iter(&self) -> impl Iterator<Item = (ConnId, &[u8])> {
        self.waiting.iter().map(|(conn, range)| (*conn, self.bytes.get(range.clone()).unwrap_or_default()))
    }

    /// Number of bytes that wait.
    pub const fn bytes(&self) -> usize {
        self.bytes.len()
    }

    /// Whether none waits.
    pub const fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Forgets all of them. Memory beyond `kept` bytes is given back.
    pub fn clear(&mut self, kept: usize) {
        self.bytes.clear();
        self.bytes.shrink_to(kept);
        self.waiting.clear();
    }
}
