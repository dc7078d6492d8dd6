//! A worker's report of its load.

use crate::ids::Seq;

/// A worker's load, in absolute numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Rises by one with each report of a link.
    pub number: u64,
    /// All messages up to this one have been read from the link. This only frees room on the link; it says nothing
    /// about load.
    pub taken_through: Seq,
    /// The figures below include all handoffs up to this one.
    pub covers: Seq,
    /// Units of the sessions it has.
    pub units_used: u32,
    /// Units it has in all.
    pub units_total: u32,
    /// Sessions it has.
    pub sessions: u32,
    /// Its use of the CPU, in millionths of one core.
    pub cpu: u32,
    /// Whether it can take nothing now, although units are free (its ports or descriptors are used up).
    pub no_room: bool,
    /// Whether it is draining, by its own report.
    pub draining: bool,
    /// Initial requests that came directly to its own port, since its start.
    pub direct: u64,
    /// Calls it has answered with 2xx, since its start.
    pub answered: u64,
}
