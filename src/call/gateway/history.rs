//! The commands that were answered or are being carried out, kept so that none is carried out twice (RFC 3435 §3.5.1).
//!
//! A command is known by its source address, without the port, and its transaction id: a call agent may have several
//! ports. Several call agents may also share an address, each with ids from 1 on. So a command from another port with
//! the same id but another text is another command. An answer is kept for T-HIST, or until the call agent confirms it
//! (`K:`, 000). The id of a confirmed one stays known, so that a late copy of the command is not taken for a new one.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::call::gateway::identity::{Limits, Timers};
use crate::call::server::{Seqs, Way};
use crate::time::Time;
use crate::transaction::Resend;
use crate::transaction::name::mgcp::TransactionKey;
use crate::wire::mgcp::TransactionId;

/// A command that has been seen.
#[derive(Debug)]
pub(super) struct Transaction {
    pub(super) state: State,
    /// A hash of its text.
    pub(super) print: u64,
    /// The way of its answer.
    pub(super) way: Way,
    /// Its handed-over copies, until its final answer has left.
    pub(super) seqs: Seqs,
    /// Whether it may go back to the dispatcher instead of being answered.
    pub(super) may_go_back: bool,
    /// When it is forgotten; while it is under way, when a 100 is due.
    pub(super) end: Time,
    /// When the wheel looks at it next.
    pub(super) armed: Time,
}

/// The progress of a command.
#[derive(Clone, Debug)]
pub(super) enum State {
    /// It is being carried out; the flag tells whether a 100 has been sent.
    Underway(bool),
    /// It is answered. After a 100 the answer is sent again until it is confirmed (RFC 3435 §3.5.6).
    Answered(Arc<[u8]>, Option<Resend>),
    /// The call agent has the answer.
    Confirmed,
}

impl Transaction {
    /// When the wheel must look at it.
    pub(super) fn due(&self) -> Time {
        match self.state {
            State::Answered(_, Some(resend)) => resend.at().min(self.end),
            _ => self.end,
        }
    }

    fn bytes(&self) -> usize {
        match &self.state {
            State::Answered(bytes, _) => bytes.len(),
            State::Underway(_) | State::Confirmed => 0,
        }
    }
}

/// Transactions of one address and id that are searched for a copy, at most. Call agents at one address that use the
/// same ids, or ports that one call agent sends its copies from, are few. A sender that pretends to be more must not
/// make each command cost more.
const PORTS: usize = 16;

/// All transactions, bounded in number and bytes.
#[derive(Debug)]
pub(super) struct History {
    entries: BTreeMap<TransactionKey, Transaction>,
    bytes: usize,
    most: usize,
    most_bytes: usize,
}

impl History {
    pub(super) const fn new(limits: &Limits) -> Self {
        History { entries: BTreeMap::new(), bytes: 0, most: limits.transactions, most_bytes: limits.kept_bytes }
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether no further command can be remembered: then none can be carried out either.
    pub(super) fn is_full(&self) -> bool {
        self.entries.len() >= self.most || self.bytes >= self.most_bytes
    }

    /// Whether room is so scarce that it is kept for commands that were carried out: a refusal can be given again.
    pub(super) fn is_crowded(&self) -> bool {
        self.entries.len() >= self.most / 2 || self.bytes >= self.most_bytes / 2
    }

    pub(super) fn get_mut(&mut self, key: TransactionKey) -> Option<&mut Transaction> {
        self.entries.get_mut(&key)
    }

    /// The command of which one with this key and text is a copy.
    pub(super) fn find(&self, key: TransactionKey, print: u64) -> Option<TransactionKey> {
        if self.entries.contains_key(&key) {
            return Some(key);
        }
        let mut known = self.entries.range(key.of_any_port(key.id(), key.id())).take(PORTS);
        known.find(|(_, transaction)| transaction.print == print).map(|(known, _)| *known)
    }

    pub(super) fn insert(&mut self, key: TransactionKey, transaction: Transaction) {
        self.bytes += transaction.bytes();
        if let Some(before) = self.entries.insert(key, transaction) {
            self.bytes -= before.bytes();
        }
    }

    pub(super) fn remove(&mut self, key: TransactionKey) -> Option<Transaction> {
        let gone = self.entries.remove(&key)?;
        self.bytes -= gone.bytes();
        Some(gone)
    }

    /// Sets the state of a transaction, and keeps count of its bytes.
    pub(super) fn set(&mut self, key: TransactionKey, state: State) -> Option<&mut Transaction> {
        let transaction = self.entries.get_mut(&key)?;
        self.bytes -= transaction.bytes();
        transaction.state = state;
        self.bytes += transaction.bytes();
        Some(transaction)
    }

    /// The call agent at `from` has the answers to these commands. At most `budget` of them are looked at, and the
    /// number is taken off `budget`: a confirmation saves room, and must not cost more than it saves.
    pub(super) fn confirm(&mut self, from: TransactionKey, first: u32, last: u32, budget: &mut usize) {
        if first > last {
            return;
        }
        let meant = from.of_any_port(TransactionId(first), TransactionId(last));
        for (key, transaction) in self.entries.range_mut(meant).take(*budget) {
            *budget -= 1;
            if key.port() == from.port() && matches!(transaction.state, State::Answered(..)) {
                self.bytes -= transaction.bytes();
                transaction.state = State::Confirmed;
            }
        }
    }

    /// The dispatcher is gone: no command can go back to it any more.
    pub(super) fn keep_all(&mut self) {
        self.entries.values_mut().for_each(|transaction| transaction.may_go_back = false);
    }
}

impl Timers {
    /// The first retransmission of an answer that follows a 100.
    pub(super) fn first_resend(&self, now: Time) -> Resend {
        Resend::first(self.first, now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::call::exchange::Hop;

    fn at(host: u8, id: u32, port: u16) -> TransactionKey {
        TransactionKey::new(([192, 0, 2, host], port).into(), TransactionId(id))
    }

    fn key(host: u8, id: u32) -> TransactionKey {
        at(host, id, 2_727)
    }

    fn answered(bytes: usize) -> Transaction {
        let source = "192.0.2.1:2727".parse().unwrap();
        Transaction {
            state: State::Answered(vec![0; bytes].into(), None),
            print: bytes as u64,
            way: Way { hop: Hop::Own(0), source, to: source, from: None },
            seqs: Seqs::default(),
            may_go_back: false,
            end: Time(0),
            armed: Time(0),
        }
    }

    #[test]
    fn whoever_pretends_to_be_many_ports_hides_nobody_s_own_command() {
        let mut history = History::new(&Limits::default());
        let at = |port| at(1, 5, port);
        (1..=100).for_each(|port| history.insert(at(port), answered(1)));
        assert_eq!(history.find(at(90), 7), Some(at(90)));
        assert_eq!(history.find(at(900), 7), None);
    }

    #[test]
    fn a_confirmed_range_gives_its_bytes_back_and_keeps_its_ids() {
        let mut history = History::new(&Limits { kept_bytes: 300, ..Limits::default() });
        [key(1, 5), key(1, 6), key(1, 9), key(2, 6)].into_iter().for_each(|key| history.insert(key, answered(100)));
        assert!(history.is_full());
        history.confirm(key(1, 0), 1, 8, &mut 100);
        assert_eq!((history.bytes, history.len()), (200, 4));
        assert!(matches!(history.get_mut(key(1, 6)).unwrap().state, State::Confirmed));
        assert!(matches!(history.get_mut(key(2, 6)).unwrap().state, State::Answered(..)));
        history.confirm(key(1, 0), 9, 1, &mut 100);
        let mut budget = 2;
        history.confirm(key(1, 0), 0, u32::MAX, &mut budget);
        assert_eq!((history.bytes, budget), (200, 0), "the third is not reached");
        history.confirm(key(1, 0), 0, u32::MAX, &mut 100);
        assert_eq!(history.bytes, 100);
        assert_eq!(history.find(key(1, 5), 0), Some(key(1, 5)));
        assert_eq!(history.find(at(1, 5, 1), 100), Some(key(1, 5)));
        assert_eq!(history.find(at(1, 5, 1), 99), None);
        history.confirm(at(2, 6, 1), 6, 6, &mut 100);
        assert_eq!(history.bytes, 100, "who is not asked confirms nothing");
        history.remove(key(1, 5));
        history.remove(key(2, 6));
        assert_eq!((history.bytes, history.len()), (0, 2));
    }
}
