//! The transactions of call agents: each is carried out once, and its response is kept for T-HIST (RFC 3435 §3.5.1).

use std::collections::{BTreeMap, VecDeque};
use std::hash::BuildHasher;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use foldhash::fast::FixedState;

use crate::call::exchange::Arrival;
use crate::time::Time;
use crate::wire::mgcp::{Command, TransactionId};

/// How long a response is kept for copies of its command (T-HIST, §3.5.1).
const KEPT_FOR: Duration = Duration::from_secs(30);
/// Transactions at most: 30 s of 2,000 commands a second. Beyond it the oldest response goes.
const MOST: usize = 1 << 16;
/// Ports of one address that a copy is looked for at.
const PORTS: usize = 16;

/// What makes a transaction one: call agents number theirs (§3.2.1.2). Several at one address may count alike; and one of
/// them may send a copy from another port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Key {
    pub(super) source: IpAddr,
    pub(super) id: TransactionId,
    pub(super) port: u16,
    /// Of the whole command.
    pub(super) print: u64,
}

impl Key {
    pub(super) fn of(command: &Command<'_>, arrival: &Arrival) -> Self {
        Key {
            source: arrival.source.ip(),
            id: command.transaction(),
            port: arrival.source.port(),
            print: FixedState::default().hash_one(command.bytes()),
        }
    }
}

/// Where a transaction is.
#[derive(Clone, Debug)]
pub(super) enum Entry {
    /// The gateway has it, under this id of ours.
    Pending(u32),
    /// It has had this final response.
    Done(Arc<[u8]>),
}

/// The transactions of call agents.
#[derive(Debug, Default)]
pub(super) struct History {
    entries: BTreeMap<Key, Entry>,
    /// Those with a response, in the order in which they are forgotten.
    done: VecDeque<(Time, Key)>,
}

impl History {
    /// The transaction that this one is a copy of.
    pub(super) fn get(&self, key: &Key) -> Option<&Entry> {
        let of_port = |port| Key { port, print: 0, ..*key }..=Key { port, print: u64::MAX, ..*key };
        let same_port = self.entries.range(of_port(key.port)).next();
        let all = *of_port(0).start()..=*of_port(u16::MAX).end();
        let copy = || self.entries.range(all).take(PORTS).find(|(known, _)| known.print == key.print);
        same_port.or_else(copy).map(|(_, entry)| entry)
    }

    /// Makes room if it can be made.
    pub(super) fn has_room(&mut self) -> bool {
        if self.entries.len() >= MOST
            && let Some((_, oldest)) = self.done.pop_front()
        {
            self.entries.remove(&oldest);
        }
        self.entries.len() < MOST
    }

    pub(super) fn insert(&mut self, key: Key, entry: Entry) {
        self.entries.insert(key, entry);
    }

    /// A transaction that has never begun.
    pub(super) fn remove(&mut self, key: &Key) {
        self.entries.remove(key);
    }

    /// The final response of that transaction has left.
    pub(super) fn is_done(&mut self, key: Key, now: Time) {
        self.done.push_back((now + KEPT_FOR, key));
    }

    pub(super) fn forget(&mut self, now: Time) {
        while let Some((_, key)) = self.done.pop_front_if(|(over, _)| *over <= now) {
            self.entries.remove(&key);
        }
    }

    pub(super) fn poll_timeout(&self) -> Option<Time> {
        self.done.front().map(|(over, _)| *over)
    }
}
