//! The records of transactions that a worker brings back (`Holding`) and ends (`Release`).
//!
//! ```text
//! entry: 0 16 bytes name of the transaction   16 16 bytes name of its call
//!       32 u32 CSeq number   36 u8 flags: 1 INVITE, 2 its final response has left, 4 cancelled
//!       37 3 reserved
//! ```

use super::frame::{FrameBuilder, stride_fixed};
use super::numbers::{put_u32, u32_at};
use crate::words::OpenTransaction;

/// The bytes of a [`OpenTransaction`] in a `Holding` record.
pub(super) const TRANSACTION: usize = 40;

/// Most entries in one `Holding` record: a frame holds them and other records.
pub const HOLDING_AT_ONCE: usize = 1_024;

/// The names of transactions in a `Release` record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Released<'a>(pub(super) &'a [u8]);

impl Released<'_> {
    /// The names, in the order in which they were written.
    pub fn iter(&self) -> impl Iterator<Item = [u8; 16]> + '_ {
        self.0.as_chunks().0.iter().copied()
    }
}

/// The entries of a `Holding` record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transactions<'a> {
    pub(super) bytes: &'a [u8],
    /// Bytes of an entry; entries of a newer version are longer.
    pub(super) stride: usize,
}

impl Transactions<'_> {
    /// The entries, in the order in which they were written.
    pub fn iter(&self) -> impl Iterator<Item = OpenTransaction> + '_ {
        self.bytes.chunks_exact(self.stride).map(read_transaction)
    }

    /// Number of entries.
    pub const fn len(&self) -> usize {
        self.bytes.len() / self.stride
    }

    /// Whether there is no entry.
    pub const fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }
}

impl FrameBuilder {
    /// Adds a `Release` record for the transactions with these `names`.
    pub fn push_release(&mut self, names: &[[u8; 16]]) {
        self.push_record(71, &[], names.as_flattened());
    }

    /// Adds a `Holding` record for `transactions`; at most [`HOLDING_AT_ONCE`].
    pub fn push_holding(&mut self, transactions: &[OpenTransaction]) {
        self.push_entries(75, &stride_fixed(TRANSACTION), transactions.iter().map(entry));
    }
}

fn read_transaction(entry: &[u8]) -> OpenTransaction {
    let print = |at: usize| entry.get(at..at + 16).and_then(|bytes| bytes.try_into().ok()).unwrap_or_default();
    OpenTransaction {
        name: print(0),
        call: print(16),
        cseq: u32_at(entry, 32),
        is_invite: entry[36] & 1 != 0,
        is_answered: entry[36] & 2 != 0,
        is_cancelled: entry[36] & 4 != 0,
    }
}

fn entry(transaction: &OpenTransaction) -> [u8; TRANSACTION] {
    let mut entry = [0; TRANSACTION];
    entry[..16].copy_from_slice(&transaction.name);
    entry[16..32].copy_from_slice(&transaction.call);
    put_u32(&mut entry, 32, transaction.cseq);
    entry[36] = u8::from(transaction.is_invite)
        | u8::from(transaction.is_answered) << 1
        | u8::from(transaction.is_cancelled) << 2;
    entry
}
