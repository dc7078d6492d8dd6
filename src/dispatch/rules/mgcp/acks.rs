//! Acknowledgements of responses (RFC 3435 §3.5.1 and §3.5.6): `K:` in a command, or a 000 on its own, names
//! transactions whose final responses have come. They may be any worker's. The worker that gets the command reads its
//! `K:` itself; each of the other workers gets a 000.

use std::net::SocketAddr;

use crate::dispatch::Dispatch;
use crate::dispatch::decision::{EntryId, Handoff, Reason, Target};
use crate::dispatch::table::Entry;
use crate::ids::{TargetId, WorkerId};
use crate::time::Time;
use crate::wire::mgcp::{Command, TransactionId};

/// At most this many `K:` transactions of one command are looked up; ordinary call agents acknowledge a few at a time.
pub const MOST_ACKS: usize = 64;

/// Acknowledgements on their way.
#[derive(Debug, Default)]
pub(in crate::dispatch) struct Acks {
    /// Acknowledged transactions of workers that this lane knows.
    known: Vec<(TargetId, TransactionId)>,
    /// Acknowledged transactions that this lane does not know; kept only if there are other lanes.
    unknown: Vec<TransactionId>,
}

impl Dispatch {
    /// The next worker that is to have a 000, for a transaction that a command or a 000 has acknowledged.
    pub fn poll_ack(&mut self, now: Time) -> Option<(Handoff, TransactionId)> {
        while let Some((worker, transaction)) = self.acks.known.pop() {
            if let Target::Worker(handoff) = self.follow(worker, Reason::Ack, now).target {
                return Some((handoff, transaction));
            }
        }
        None
    }

    /// The next acknowledged transaction that this lane does not know: another lane may know it.
    pub fn poll_unknown_ack(&mut self) -> Option<TransactionId> {
        self.acks.unknown.pop()
    }

    /// Takes note of an acknowledged transaction of `source` that another lane has read and does not know.
    pub fn on_ack_elsewhere(&mut self, source: SocketAddr, transaction: TransactionId, now: Time) {
        if let Some(known) = self.known(source, transaction, now) {
            self.acknowledge_known(known, transaction, None, now);
        }
    }

    /// Looks up the transactions that a command acknowledges. `worker` gets the command itself.
    pub(super) fn acknowledge(
        &mut self,
        command: &Command<'_>,
        source: SocketAddr,
        worker: Option<WorkerId>,
        now: Time,
    ) {
        let Some(ranges) = command.acks() else { return };
        for id in ranges.iter().flatten().take(MOST_ACKS) {
            match self.known(source, TransactionId(id), now) {
                Some(known) => self.acknowledge_known(known, TransactionId(id), worker, now),
                None => self.acknowledge_elsewhere(TransactionId(id)),
            }
        }
    }

    /// Passes each acknowledgement on once: a call agent that repeats it in every command gains nothing.
    fn acknowledge_known(
        &mut self,
        (id, entry): (EntryId, Entry),
        transaction: TransactionId,
        worker: Option<WorkerId>,
        now: Time,
    ) {
        if !entry.is_acknowledged() && self.is_held(&entry) && worker.is_none_or(|worker| entry.target != worker) {
            self.acks.known.push((entry.target, transaction));
            self.table.acknowledged(id, now);
        }
    }

    pub(super) fn acknowledge_elsewhere(&mut self, transaction: TransactionId) {
        if self.lanes > 1 && self.acks.unknown.len() < MOST_ACKS {
            self.acks.unknown.push(transaction);
        }
    }
}
