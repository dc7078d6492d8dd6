//! One lane's state as bytes, for the dispatcher that takes over: it decides as this one would have.
//!
//! The settings of the configuration (rules, keys, sizes) are not in them: the new dispatcher has its own. The memory
//! of selections and the ring of past decisions are left out. The former is worth nothing; the latter takes longer than
//! reading may pause, so `explain` begins anew. The gatherings of MGCP commands for all workers are left out as well:
//! their senders send them again.

use super::Dispatch;
use super::counters::Counters;
use super::group::Groups;
use super::identity::Directory;
use super::table::Table;
use super::targets::pool::Pool;
use crate::access::Access;
use crate::fingerprint::SCHEME;
use crate::pack::{Damaged, Pack, Packed};

impl Dispatch {
    /// Writes everything that is not in the configuration.
    pub fn save(&self, out: &mut Vec<u8>) {
        let Dispatch {
            rules: _,
            allow: _,
            printer: _,
            directory,
            pool,
            selector: _,
            table,
            groups,
            access,
            history: _,
            call_hash: _,
            counters,
            unrecorded_until,
            next_look,
            gatherings,
            apart_until,
            // Their senders send the acknowledgements again.
            acks: _,
            lanes: _,
        } = self;
        directory.save(out);
        pool.save(out);
        table.save(out);
        groups.save(out);
        access.save(out);
        counters.pack(out);
        unrecorded_until.pack(out);
        next_look.pack(out);
        gatherings.last().pack(out);
        apart_until.pack(out);
    }

    /// Makes room for a state with this many entries in its table.
    pub fn make_room(&mut self, entries: usize) {
        self.table.make_room(entries);
    }

    /// Replaces this state by the one that [`Dispatch::save`] wrote.
    ///
    /// # Errors
    ///
    /// The bytes are no such state, or do not fit into the sizes set; the value must not be used then.
    pub fn restore(&mut self, from: &mut Packed<'_>) -> Result<(), Damaged> {
        self.directory.restore(from)?;
        self.pool.restore(from)?;
        self.table.restore(from)?;
        self.groups.restore(from)?;
        self.access.restore(from)?;
        self.counters = Counters::unpack(from)?;
        self.unrecorded_until = Pack::unpack(from)?;
        self.next_look = Pack::unpack(from)?;
        self.gatherings.go_on_behind(Pack::unpack(from)?);
        self.apart_until = Pack::unpack(from)?;
        self.selector.set(self.rules.policy, &self.rules.weights, self.pool.len());
        Ok(())
    }

    /// The layout of these bytes.
    pub fn layout(out: &mut String) {
        out.push_str(SCHEME);
        Directory::layout(out);
        Pool::layout(out);
        Table::layout(out);
        Groups::layout(out);
        Access::layout(out);
        Counters::layout(out);
    }
}
