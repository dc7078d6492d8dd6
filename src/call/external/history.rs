//! The transactions of call agents: each is carried out once, and its response is kept for T-HIST (RFC 3435 §3.5.1).

use std::collections::{BTreeMap, VecDeque};
use std::hash::BuildHasher;
use std::net::IpAddr;
use std::sync::Arc;

use foldhash::fast::FixedState;

use crate::call::exchange::Arrival;
use crate::time::Time;
use crate::transaction::T_HIST;
use crate::wire::mgcp::{Command, TransactionId};

/// Transactions at most: 30 s of 2,000 commands a second. Beyond it the oldest response goes.
const MOST: usize = 1 << 16;
/// At most this many transactions of one address and id are searched for a copy that came from another port.
const PORTS: usize = 16;

/// The identity of a transaction: call agents number theirs (§3.2.1.2). Several call agents at one address may use the
/// same number, so the port counts. A call agent may send a copy from another port, so the hash of the command counts
/// as well.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Key {
    pub(super) source: IpAddr,
    pub(super) id: TransactionId,
    pub(super) port: u16,
    /// A hash of the whole command.
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

/// The state of a transaction.
#[derive(Clone, Debug)]
pub(super) enum Entry {
    /// The gateway has it, under this id of ours.
    Pending(u32),
    /// It was answered with this final response.
    Done(Arc<[u8]>),
}

/// The transactions of call agents.
#[derive(Debug, Default)]
pub(super) struct History {
    entries: BTreeMap<Key, Entry>,
    /// The transactions with a response, in the order in which they are forgotten.
    done: VecDeque<(Time, Key)>,
}

impl History {
    /// The transaction that a command with this key is a copy of.
    pub(super) fn get(&self, key: &Key) -> Option<&Entry> {
        let of_port = |port| Key { port, print: 0, ..*key }..=Key { port, print: u64::MAX, ..*key };
        let same_port = self.entries.range(of_port(key.port)).next();
        let all = *of_port(0).start()..=*of_port(u16::MAX).end();
        let copy = || self.entries.range(all).take(PORTS).find(|(known, _)| known.print == key.print);
        same_port.or_else(copy).map(|(_, entry)| entry)
    }

    /// Makes room by forgetting the oldest response, if need be; returns whether there is room.
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
        self.done.push_back((now + T_HIST, key));
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
