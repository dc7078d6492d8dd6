//! The table as bytes, for the dispatcher that takes over. Places, queues and lists are written in their order, so that
//! every [`EntryId`](crate::dispatch::decision::EntryId) that a link remembers means the same entry afterwards, and
//! nothing must be sorted.

use super::{
    Entry, FINISHED, FREE, Fingerprint, NONE, Neighbours, Queue, Shares, SourcePrint, State, Table, Time, UNLINKED,
};
use crate::ids::{TargetId, WorkerId};
use crate::pack::{Damaged, packed, saved};

saved!(Table { entries, free, queues, by_name, by_call } else { cap, shares, pending_max, len } then Table::resume);
packed!(Entry {
    name,
    call,
    source,
    discriminator,
    target,
    life,
    group,
    state,
    is_invite,
    deaths,
    generation,
    deadline,
    queue,
    queue_links,
    call_links,
});
packed!(Neighbours { previous, next });
packed!(Queue { first, last });

impl Table {
    /// Touches the memory for this many entries, in a table that is empty. Filling it later then meets no page fault.
    pub fn make_room(&mut self, entries: usize) {
        let blank = Entry {
            name: Fingerprint::default(),
            call: Fingerprint::default(),
            source: SourcePrint::default(),
            discriminator: 0,
            target: TargetId::Worker(WorkerId(0)),
            life: 0,
            group: None,
            state: State::PENDING,
            is_invite: false,
            deaths: 0,
            generation: 0,
            deadline: Time(0),
            queue: FREE,
            queue_links: UNLINKED,
            call_links: UNLINKED,
        };
        if self.entries.is_empty() {
            self.entries.resize(entries.min(self.cap), blank);
            self.entries.clear();
            self.by_name.clear();
            self.by_call.clear();
        }
    }

    /// Checks a restored table, and sums up what follows from its entries. The places in its lists are checked once,
    /// here; those in its indexes at each search, because a check of every bucket would take longer than the rest.
    fn resume(&mut self) -> Result<(), Damaged> {
        let places = self.entries.len();
        if places > self.cap {
            return Err(Damaged("a table beyond table-cap"));
        }
        let is_place = |index: u32| index == NONE || (index as usize) < places;
        let are_places = |links: Neighbours| is_place(links.previous) && is_place(links.next);
        (self.shares, self.len) = (Shares::default(), 0);
        for entry in &self.entries {
            if !are_places(entry.queue_links) || !are_places(entry.call_links) {
                return Err(Damaged("a list of the table"));
            }
            match entry.queue {
                FREE => {}
                0..=FINISHED => self.len += 1,
                _ => return Err(Damaged("a queue of the table")),
            }
            if entry.queue < FINISHED {
                self.shares.add(entry.source);
            }
        }
        if !is_place(self.free) || !self.queues.iter().all(|queue| is_place(queue.first) && is_place(queue.last)) {
            return Err(Damaged("a list of the table"));
        }
        if self.by_name.len().max(self.by_call.len()) > self.len {
            return Err(Damaged("an index of the table"));
        }
        Ok(())
    }
}

impl Default for Queue {
    fn default() -> Self {
        Queue { first: NONE, last: NONE }
    }
}

packed!(State as
    Pending { cancelled, acknowledged } = 0,
    Answered { cancelled } = 1,
    AnsweredHere(status) = 2,
    Over = 3,
);
