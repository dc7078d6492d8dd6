//! Totals that a lane counts itself.

use crate::pack::packed;

/// Counts of messages since the lane's start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Messages read from the well-known sockets, retransmissions included.
    pub received: u64,
    /// Messages given to a worker by selection, table or group.
    pub handed_over: u64,
    /// Messages given to the worker that has their call.
    pub relayed: u64,
    /// Answers of the dispatcher's own.
    pub replied: u64,
    /// Messages dropped.
    pub dropped: u64,
    /// Initial requests whose dialog stays at the well-known port.
    pub pinned: u64,
    /// Entries in the table.
    pub table_entries: u64,
    /// Datagrams that the kernel dropped because a receive buffer was full.
    pub rx_overflow: u64,
}

packed!(Totals { received, handed_over, relayed, replied, dropped, pinned, table_entries, rx_overflow });
