//! One lane's state as bytes, for the dispatcher that takes over: it decides as this one would have.
//!
//! The settings of the configuration (rules, keys, sizes) are not in them: the new dispatcher has its own. The memory
//! of selections and the ring of past decisions are left out. The former is worth nothing; the latter takes longer than
//! reading may pause, so `explain` begins anew. The gatherings of MGCP commands for all workers are left out as well:
//! their senders send them again.

use super::Dispatch;
use crate::pack::{Damaged, saved};

saved!(Dispatch {
    directory,
    pool,
    proxies,
    table,
    groups,
    access,
    counters,
    unrecorded_until,
    next_look,
    gatherings,
    apart_until,
} else {
    rules,
    allow,
    printer,
    branches,
    redirected,
    contexts,
    selector,
    history,
    call_hash,
    // Their senders send the acknowledgements again.
    acks,
    lane,
    lanes,
} then Dispatch::resume);

impl Dispatch {
    /// Makes room for a state with this many entries in its table.
    pub fn make_room(&mut self, entries: usize) {
        self.table.make_room(entries);
    }

    fn resume(&mut self) -> Result<(), Damaged> {
        self.selector.set(self.rules.policy, &self.rules.weights, self.pool.len());
        Ok(())
    }
}
