//! The table as bytes, for the dispatcher that takes over. Places, queues and lists are written in their order, so that
//! every [`EntryId`](crate::dispatch::decision::EntryId) that a link remembers means the same entry afterwards, and
//! nothing must be sorted.

use super::{
    Entry, FINISHED, FREE, Fingerprint, NONE, Neighbours, Queue, REMEMBERED, Shares, SourcePrint, State, Table, Time,
    UNLINKED,
};
use crate::ids::{TargetId, WorkerId};
use crate::pack::{Damaged, packed, saved};

saved!(Table { entries, free, queues, by_name, by_call } else { cap, shares, pending_max, remember, remembered, len } then Table::resume);
packed!(Entry {
    name,
    call,
    source,
    discriminator,
    target,
    life,
    hold,
    state,
    is_invite,
    is_remembered,
    is_accepted,
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
            hold: None,
            state: State::PENDING,
            is_invite: false,
            is_remembered: false,
            is_accepted: false,
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
    /// here; those in its indexes at each search, because a check of every bucket would take longer than the rest. The
    /// list of free places is made anew: whether a list that was read has an end is not seen place by place.
    fn resume(&mut self) -> Result<(), Damaged> {
        let places = self.entries.len();
        if places > self.cap {
            return Err(Damaged("a table beyond table-cap"));
        }
        let is_place = |index: u32| index == NONE || (index as usize) < places;
        let are_places = |links: Neighbours| is_place(links.previous) && is_place(links.next);
        (self.shares, self.len, self.free, self.remembered) = (Shares::default(), 0, NONE, 0);
        // Entries say twice who follows whom. Sums over all compare it without going from one place to a far one.
        let (mut following, mut preceding) = (0_u64, 0_u64);
        for at in 0..places as u32 {
            let entry = self.entry(at);
            if entry.queue == FREE {
                self.vacate(at);
                continue;
            }
            if !self.is_queued(at, entry) || !are_places(entry.queue_links) || !are_places(entry.call_links) {
                return Err(Damaged("a list of the table"));
            }
            let Neighbours { previous, next } = entry.queue_links;
            if previous != NONE {
                preceding = preceding.wrapping_add(pair(entry.queue, previous, at));
            }
            if next != NONE {
                following = following.wrapping_add(pair(entry.queue, at, next));
            }
            let (queue, source) = (entry.queue, entry.source);
            self.remembered += usize::from(queue == REMEMBERED);
            if queue < FINISHED {
                self.shares.add(source);
            }
            self.len += 1;
        }
        if following != preceding || !(0..).zip(&self.queues).all(|(number, queue)| self.has_ends(number, queue)) {
            return Err(Damaged("a queue of the table"));
        }
        if self.by_name.len().max(self.by_call.len()) > self.len {
            return Err(Damaged("an index of the table"));
        }
        Ok(())
    }

    /// Whether the entry is in the queue for its state, and is its first or last if nothing is before or behind it.
    fn is_queued(&self, at: u32, entry: &Entry) -> bool {
        let Some(queue) = self.queues.get(entry.queue as usize) else { return false };
        let Neighbours { previous, next } = entry.queue_links;
        entry.queue == entry.queue_for_state()
            && (previous != NONE || queue.first == at)
            && (next != NONE || queue.last == at)
    }

    /// Whether the queue is empty, or its first and last place hold entries that are in it and have nothing before or
    /// behind them.
    fn has_ends(&self, number: u8, queue: &Queue) -> bool {
        let ends_at = |place: u32, neighbour: fn(&Neighbours) -> u32| {
            let entry = self.entries.get(place as usize);
            entry.is_some_and(|it| it.queue == number && neighbour(&it.queue_links) == NONE)
        };
        let is_empty = queue.first == NONE && queue.last == NONE;
        is_empty || ends_at(queue.first, |links| links.previous) && ends_at(queue.last, |links| links.next)
    }
}

/// A number for two neighbours in a queue. It mixes all bits, so that no damage leaves a sum of such numbers the same.
const fn pair(queue: u8, before: u32, behind: u32) -> u64 {
    // A place has 30 bits (`MAX_CAP`), and a queue two.
    let both = (before as u64) << 32 | (queue as u64) << 30 | behind as u64;
    let mixed = both.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (mixed ^ mixed >> 32).wrapping_mul(0xd6e8_feb8_6659_fd93)
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
