//! Acknowledgements of responses (RFC 3435 §3.5.1 and §3.5.6): `K:` in a command, or a 000 on its own, says of
//! transactions that may be any worker's that their final responses have come. The worker that gets the command reads
//! its `K:` itself; each of the others gets a 000.

use std::net::SocketAddr;

use crate::dispatch::Dispatch;
use crate::dispatch::decision::{EntryId, Handoff, Reason, Target};
use crate::dispatch::table::Entry;
use crate::ids::WorkerId;
use crate::time::Time;
use crate::wire::mgcp::{Command, TransactionId};

/// So many transactions of one command are looked up: who acknowledges them as they come names a few.
pub const MOST_ACKS: usize = 64;

/// Acknowledgements on their way.
#[derive(Debug, Default)]
pub(in crate::dispatch) struct Acks {
    /// For workers of this lane.
    known: Vec<(WorkerId, TransactionId)>,
    /// Not this lane's; kept only where there are others.
    unknown: Vec<TransactionId>,
}

impl Dispatch {
    /// A worker that is to have a 000 for a transaction that a command or a 000 has acknowledged.
    pub fn poll_ack(&mut self, now: Time) -> Option<(Handoff, TransactionId)> {
        while let Some((worker, transaction)) = self.acks.known.pop() {
            if let Target::Worker(handoff) = self.follow(worker, Reason::Ack, now).target {
                return Some((handoff, transaction));
            }
        }
        None
    }

    /// A transaction that was acknowledged and is no business of this lane: another one may know it.
    pub fn poll_unknown_ack(&mut self) -> Option<TransactionId> {
        self.acks.unknown.pop()
    }

    /// Another lane has read that a transaction of `source` is acknowledged, and does not know it.
    pub fn on_ack_elsewhere(&mut self, source: SocketAddr, transaction: TransactionId, now: Time) {
        if let Some(known) = self.known(source, transaction, now) {
            self.acknowledge_known(known, transaction, None);
        }
    }

    /// Looks up what a command acknowledges. `worker` gets the command itself.
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
                Some(known) => self.acknowledge_known(known, TransactionId(id), worker),
                None => self.acknowledge_elsewhere(TransactionId(id)),
            }
        }
    }

    /// Each transaction is acknowledged once: who says it in every command gains nothing.
    fn acknowledge_known(
        &mut self,
        (id, entry): (EntryId, Entry),
        transaction: TransactionId,
        worker: Option<WorkerId>,
    ) {
        if !entry.cancelled && self.is_held(&entry) && Some(entry.worker) != worker {
            self.acks.known.push((entry.worker, transaction));
            self.table.cancel(id);
        }
    }

    pub(super) fn acknowledge_elsewhere(&mut self, transaction: TransactionId) {
        if self.lanes > 1 && self.acks.unknown.len() < MOST_ACKS {
            self.acks.unknown.push(transaction);
        }
    }
}
