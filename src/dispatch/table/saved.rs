//! The table as bytes, for the dispatcher that takes over. Places, queues and lists are written in their order, so that
//! every [`EntryId`](crate::dispatch::decision::EntryId) that a link remembers means the same entry afterwards, and
//! nothing must be sorted.

use super::{
    Entry, FINISHED, FREE, Fingerprint, Links, NONE, Queue, Shares, SourcePrint, State, Table, Time, UNLINKED, WorkerId,
};
use crate::pack::{Damaged, Pack, Packed, packed};

packed!(Entry {
    branch,
    call,
    source,
    discriminator,
    worker,
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
packed!(Links { previous, next });
packed!(Queue { first, last });

/// Bytes of an entry, roughly: the memory is reserved once.
const ENTRY: usize = 96;

impl Table {
    /// Writes the whole table.
    pub fn save(&self, out: &mut Vec<u8>) {
        // Size and limits come from the rules; the length follows from the entries.
        let Table { entries, cap: _, free, by_branch, by_call, queues, shares: _, pending_max: _, len: _ } = self;
        out.reserve(entries.len() * (ENTRY + 2 * size_of::<u64>()));
        entries.pack(out);
        free.pack(out);
        queues.pack(out);
        by_branch.save(out);
        by_call.save(out);
    }

    /// Touches the memory for this many entries, in a table that is empty. Filling it later then meets no page fault.
    pub fn make_room(&mut self, entries: usize) {
        let nobody = Entry {
            branch: Fingerprint::default(),
            call: Fingerprint::default(),
            source: SourcePrint::default(),
            discriminator: 0,
            worker: WorkerId(0),
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
            self.entries.resize(entries.min(self.cap), nobody);
            self.entries.clear();
            self.by_branch.clear();
            self.by_call.clear();
        }
    }

    /// Replaces the table by the one that [`Table::save`] wrote. After an error the table must not be used.
    ///
    /// # Errors
    ///
    /// The bytes are no table, or a table larger than this one's capacity.
    pub fn restore(&mut self, from: &mut Packed<'_>) -> Result<(), Damaged> {
        let places = from.length()?;
        if places > self.cap {
            return Err(Damaged("a table beyond table-cap"));
        }
        // Every index is checked once, here; the table itself does not check them again.
        let is_place = |index: u32| index == NONE || (index as usize) < places;
        let are_places = |links: Links| is_place(links.previous) && is_place(links.next);
        if !self.is_empty() {
            (self.shares, self.len) = (Shares::default(), 0);
            self.by_branch.clear();
            self.by_call.clear();
        }
        self.entries.clear();
        for _ in 0..places {
            let entry = Entry::unpack(from)?;
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
            self.entries.push(entry);
        }
        self.free = u32::unpack(from)?;
        self.queues = <[Queue; 3]>::unpack(from)?;
        if !is_place(self.free) || !self.queues.iter().all(|queue| is_place(queue.first) && is_place(queue.last)) {
            return Err(Damaged("a list of the table"));
        }
        self.by_branch.restore(from, places)?;
        self.by_call.restore(from, places)
    }

    /// The layout of these bytes.
    pub fn layout(out: &mut String) {
        out.push_str("table:places,free,queues,indexes:");
        Entry::layout(out);
        Queue::layout(out);
    }
}

impl Default for Queue {
    fn default() -> Self {
        Queue { first: NONE, last: NONE }
    }
}

impl Pack for State {
    fn pack(&self, out: &mut Vec<u8>) {
        let (code, rest) = match *self {
            State::Pending { cancelled, acknowledged } => (0_u8, u16::from(cancelled) | u16::from(acknowledged) << 1),
            State::Answered { cancelled } => (1, u16::from(cancelled)),
            State::AnsweredHere(status) => (2, status),
            State::Over => (3, 0),
        };
        code.pack(out);
        rest.pack(out);
    }

    fn unpack(from: &mut Packed<'_>) -> Result<Self, Damaged> {
        match (u8::unpack(from)?, u16::unpack(from)?) {
            (0, flags @ 0..4) => Ok(State::Pending { cancelled: flags & 1 != 0, acknowledged: flags & 2 != 0 }),
            (1, flags @ 0..2) => Ok(State::Answered { cancelled: flags != 0 }),
            (2, status) => Ok(State::AnsweredHere(status)),
            (3, 0) => Ok(State::Over),
            _ => Err(Damaged("a state of the table")),
        }
    }

    fn layout(out: &mut String) {
        out.push_str("State|Pending=0:cancelled,acknowledged|Answered=1:cancelled|AnsweredHere=2:u16|Over=3");
    }
}
