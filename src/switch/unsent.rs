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
}

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
        let queue = self.by_conn.entry(reply.conn).or_default();
        queue.bytes += reply.bytes.len();
        queue.messages.push_back(Message { from: reply.from, bytes: reply.bytes.into() });
    }

    /// Forgets the messages that have left whole: those before the last `waiting` bytes of each connection.
    pub(super) fn forget_sent(&mut self, waiting: impl Fn(ConnId) -> usize) {
        self.by_conn.retain(|conn, queue| {
            let waiting = waiting(*conn);
            while let Some(first) = queue.messages.front().filter(|it| queue.bytes - it.bytes.len() >= waiting) {
                queue.bytes -= first.bytes.len();
                queue.messages.pop_front();
            }
            !queue.messages.is_empty()
        });
    }

    /// Takes the messages of a connection that has ended.
    pub(super) fn take(&mut self, conn: ConnId) -> impl Iterator<Item = Message> + use<> {
        self.by_conn.remove(&conn).into_iter().flat_map(|queue| queue.messages)
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
            assert_eq!(unsent.take(CONN).count(), kept, "{waiting}");
        }
    }

    #[test]
    fn a_connection_on_which_nothing_waits_is_forgotten() {
        let mut unsent = unsent(&[b"one", b"two"]);
        unsent.forget_sent(|_| 0);
        assert!(unsent.by_conn.is_empty());
    }
}
