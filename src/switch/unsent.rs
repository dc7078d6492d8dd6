//! Messages that wait for a slow connection, until they have left: if the connection ends before, their workers hear of
//! it.

use std::collections::VecDeque;

use foldhash::fast::FixedState;
use hashbrown::HashMap;

use super::replies::Reply;
use crate::ids::{ConnId, WorkerId};

/// The messages that wait, by connection. A connection stands here only while its peer reads more slowly than it gets
/// answers.
#[derive(Debug, Default)]
pub(super) struct Unsent {
    by_conn: HashMap<ConnId, Queue, FixedState>,
    /// The connections in the order in which they are looked at.
    turns: VecDeque<ConnId>,
}

/// Connections that are looked at in one turn: peers that read nothing may be many.
const LOOKED_AT: usize = 16;

/// The messages of one connection.
#[derive(Debug, Default)]
struct Queue {
    messages: VecDeque<Message>,
    /// Bytes of all of them.
    bytes: usize,
}

/// A message that has not left whole, as far as can be known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Message {
    pub(super) from: Option<WorkerId>,
    pub(super) bytes: Box<[u8]>,
}

impl Unsent {
    /// Notes a message that was queued on a connection on which bytes wait.
    pub(super) fn push(&mut self, reply: Reply<'_>) {
        let turns = &mut self.turns;
        let queue = self.by_conn.entry(reply.conn).or_insert_with(|| {
            turns.push_back(reply.conn);
            Queue::default()
        });
        queue.bytes += reply.bytes.len();
        queue.messages.push_back(Message { from: reply.from, bytes: reply.bytes.into() });
    }

    /// Forgets messages that have left whole, on some connections in turn.
    pub(super) fn forget_sent(&mut self, waiting: impl Fn(ConnId) -> usize) {
        for _ in 0..self.turns.len().min(LOOKED_AT) {
            let Some(conn) = self.turns.pop_front() else { return };
            let Some(queue) = self.by_conn.get_mut(&conn) else { continue };
            queue.forget_sent(waiting(conn));
            if queue.messages.is_empty() {
                self.by_conn.remove(&conn);
            } else {
                self.turns.push_back(conn);
            }
        }
    }

    /// Takes the messages that had not left on a connection when it ended, with so many bytes waiting.
    pub(super) fn take(&mut self, conn: ConnId, waiting: usize) -> impl Iterator<Item = Message> + use<> {
        let mut queue = self.by_conn.remove(&conn).unwrap_or_default();
        queue.forget_sent(waiting);
        queue.messages.into_iter()
    }
}

impl Queue {
    /// Forgets the messages before the last `waiting` bytes.
    fn forget_sent(&mut self, waiting: usize) {
        while let Some(first) = self.messages.front().filter(|it| self.bytes - it.bytes.len() >= waiting) {
            self.bytes -= first.bytes.len();
            self.messages.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONN: ConnId = ConnId(7);

    fn unsent(bytes: &[&[u8]]) -> Unsent {
        let mut unsent = Unsent::default();
        for bytes in bytes {
            unsent.push(Reply { conn: CONN, bytes, from: Some(WorkerId(1)) });
        }
        unsent
    }

    #[test]
    fn a_message_is_kept_until_its_last_byte_has_left() {
        for (waiting, kept) in [(9, 3), (8, 3), (7, 3), (6, 2), (4, 2), (3, 1), (1, 1)] {
            let mut unsent = unsent(&[b"one", b"two", b"six"]);
            unsent.forget_sent(|_| waiting);
            assert_eq!(unsent.take(CONN, usize::MAX).count(), kept, "{waiting}");
        }
    }

    #[test]
    fn a_connection_on_which_nothing_waits_is_forgotten() {
        let mut unsent = unsent(&[b"one", b"two"]);
        unsent.forget_sent(|_| 0);
        assert!(unsent.by_conn.is_empty() && unsent.turns.is_empty());
    }

    #[test]
    fn a_message_that_left_after_the_last_look_does_not_come_back() {
        let mut unsent = unsent(&[b"one", b"two"]);
        let last = Message { from: Some(WorkerId(1)), bytes: b"two".as_slice().into() };
        assert_eq!(unsent.take(CONN, 2).collect::<Vec<_>>(), [last]);
    }
}
