//! Messages that leave on stream connections: the dispatcher's own answers, and what workers give it for its
//! connections, answers and requests.
//!
//! A connection belongs to the lane that accepted it. The lane that decides about a message is another where the call
//! belongs to that one: the answer goes back in a parcel.

use std::ops::Range;

use crate::ids::{ConnId, WorkerId};

/// Messages that wait, in one buffer that is used again.
#[derive(Debug, Default)]
pub struct Replies {
    bytes: Vec<u8>,
    waiting: Vec<Waiting>,
}

/// A message that waits.
#[derive(Clone, Debug)]
struct Waiting {
    conn: ConnId,
    range: Range<usize>,
    from: Option<WorkerId>,
}

/// A message for a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reply<'a> {
    /// The connection.
    pub conn: ConnId,
    /// The message. It is one, whole: on a WebSocket it gets a frame of its own.
    pub bytes: &'a [u8],
    /// The worker that hears of it if the connection is gone; `None`: it is the dispatcher's own.
    pub from: Option<WorkerId>,
}

/// The connections of a lane, as messages leave on them.
pub trait Connections {
    /// Queues a message; false when the connection is gone.
    fn queue(&mut self, connection: ConnId, message: &[u8]) -> bool;

    /// Writes the messages that are queued.
    fn write(&mut self);

    /// The next connection that is no more since this was asked last, and the number of bytes that had not left on it.
    fn poll_closed(&mut self) -> Option<(ConnId, usize)>;

    /// Number of bytes that have not left on a connection.
    fn waiting(&self, connection: ConnId) -> usize;
}

/// A function that sends each message at once.
impl<F: FnMut(ConnId, &[u8]) -> bool> Connections for F {
    fn queue(&mut self, connection: ConnId, message: &[u8]) -> bool {
        self(connection, message)
    }

    fn write(&mut self) {}

    fn poll_closed(&mut self) -> Option<(ConnId, usize)> {
        None
    }

    fn waiting(&self, _: ConnId) -> usize {
        0
    }
}

impl Replies {
    /// Adds the dispatcher's answer that `write` appends to the buffer, for this connection.
    pub fn write(&mut self, conn: ConnId, write: impl FnOnce(&mut Vec<u8>)) {
        let begin = self.bytes.len();
        write(&mut self.bytes);
        self.waiting.push(Waiting { conn, range: begin..self.bytes.len(), from: None });
    }

    /// Adds a message that is ready.
    pub fn push(&mut self, reply: Reply<'_>) {
        let Reply { conn, bytes, from } = reply;
        let begin = self.bytes.len();
        self.bytes.extend_from_slice(bytes);
        self.waiting.push(Waiting { conn, range: begin..self.bytes.len(), from });
    }

    /// The messages in the order in which they were added.
    pub fn iter(&self) -> impl Iterator<Item = Reply<'_>> {
        let reply = |Waiting { conn, range, from }: &Waiting| {
            let bytes = self.bytes.get(range.clone()).unwrap_or_default();
            Reply { conn: *conn, bytes, from: *from }
        };
        self.waiting.iter().map(reply)
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
