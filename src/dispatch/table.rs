//! The table: recent transactions and the worker that has each.
//!
//! One entry holds both keys of a transaction: its name and the name of its call (`transaction::name`). The entries of
//! one call form a list that starts at the newest. Slab and indexes are sized to the cap at start, so that nothing
//! grows and nothing is allocated later. An entry's life has one of a few fixed lengths and begins when its state is
//! set, so that the queue for each length is always in order of deadline: expiry, renewal and "oldest first" cost the
//! same for one entry as for a million.
//!
//! Entries that wait for an answer are never removed for new ones, whatever their source. Answered entries are, oldest
//! first. The last eighth of the places is for sources that wait for less than their fair share.

mod entry;
mod saved;

use std::collections::BTreeSet;
use std::time::Duration;

use super::decision::EntryId;
use super::index::Index;
use super::share::Shares;
use crate::fingerprint::{Fingerprint, SourcePrint};
use crate::ids::{ProxyId, TargetId};
use crate::time::Time;
use crate::transaction::LIFETIME;
pub use entry::{Entry, Hold, NewEntry, State};
use entry::{FINISHED, INVITES, Neighbours, REMEMBERED};

/// Recent transactions.
#[derive(Debug)]
pub struct Table {
    entries: Vec<Entry>,
    cap: usize,
    free: u32,
    by_name: Index,
    by_call: Index,
    queues: [Queue; 4],
    pending_max: Duration,
    remember: Duration,
    /// Number of entries that lead later requests.
    remembered: usize,
    shares: Shares,
    len: usize,
}

/// Every place holds a transaction that waits for its answer, or the places left are for other sources.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full;

#[derive(Clone, Copy, Debug)]
struct Queue {
    first: u32,
    last: u32,
}

const NONE: u32 = u32::MAX;
/// Most places that the indexes can distinguish; far more than fits into memory.
const MAX_CAP: usize = 1 << 30;
const UNLINKED: Neighbours = Neighbours { previous: NONE, next: NONE };
/// A place that holds no entry.
const FREE: u8 = u8::MAX;

/// Time after which a provisional response renews an INVITE.
const RENEWED_AFTER: Duration = Duration::from_secs(10);

impl Table {
    /// An empty table for `cap` entries. `pending_max`: longest wait of an INVITE for its final response.
    pub fn new(cap: usize, pending_max: Duration) -> Self {
        let cap = cap.clamp(1, MAX_CAP);
        Table {
            entries: Vec::with_capacity(cap),
            cap,
            free: NONE,
            by_name: Index::new(cap),
            by_call: Index::new(cap),
            queues: [Queue { first: NONE, last: NONE }; 4],
            pending_max,
            remember: LIFETIME,
            remembered: 0,
            shares: Shares::default(),
            len: 0,
        }
    }

    /// Sets the time for which entries that lead later requests stay after their final response, from the next one on.
    pub fn set_remember(&mut self, remember: Duration) {
        self.remember = remember;
    }

    /// An entry has led a request of its call: it stays for its whole time again.
    pub fn renew(&mut self, id: EntryId, now: Time) {
        if let Some(entry) = self.get(id).filter(|entry| entry.queue == REMEMBERED) {
            let state = entry.state;
            self.stand(id, state, now);
        }
    }

    /// An INVITE has got a provisional response: it waits for its whole time again, as by timer C (RFC 3261 §16.7 step
    /// 2). The first ones, soon after it has left, change nothing.
    pub fn ring(&mut self, id: EntryId, now: Time) {
        let is_due = |entry: &Entry| entry.queue == INVITES && entry.deadline + RENEWED_AFTER <= now + self.pending_max;
        if self.get(id).is_some_and(is_due) {
            self.dequeue(id.index);
            self.enqueue(id.index, now);
        }
    }

    /// Sets another limit for INVITEs that wait, from the next entry on.
    pub fn set_pending_max(&mut self, pending_max: Duration) {
        self.pending_max = pending_max;
    }

    /// Enters a transaction. If no place is left, the oldest answered entry is removed, and returned.
    ///
    /// # Errors
    ///
    /// [`Full`]: see [`Table::has_place`].
    pub fn insert(&mut self, new: NewEntry, now: Time) -> Result<(EntryId, Option<Entry>), Full> {
        if matches!(new.state, State::Pending { .. }) && !self.has_place(|| new.source) {
            return Err(Full);
        }
        let mut evicted = None;
        if self.free == NONE && self.entries.len() == self.cap {
            let oldest = self.oldest();
            if oldest == NONE {
                return Err(Full);
            }
            evicted = Some(self.remove(oldest));
            self.expect_removal(self.oldest());
        }
        let entry = Entry {
            name: new.name,
            call: new.call,
            discriminator: new.discriminator,
            target: new.target,
            life: new.life,
            hold: new.hold,
            state: new.state,
            is_invite: new.is_invite,
            is_remembered: new.is_remembered,
            is_accepted: false,
            deaths: 0,
            source: new.source,
            generation: 0,
            deadline: now,
            queue: FREE,
            queue_links: UNLINKED,
            call_links: UNLINKED,
        };
        let index = self.place(entry);
        self.enqueue(index, now);
        self.index(index);
        self.len += 1;
        Ok((EntryId { index, generation: self.entry(index).generation }, evicted))
    }

    /// Asks the memory for what a search for both keys reads, and does not wait for it: in a large table each lies in a
    /// cache line that is far away.
    pub fn expect(&self, name: Fingerprint, call: Fingerprint) {
        self.by_name.expect(name.short());
        self.by_call.expect(call.short());
    }

    /// Asks the memory for an entry that is read soon, and does not wait for it.
    pub fn fetch(&self, id: EntryId) {
        self.entries.get(id.index as usize).into_iter().for_each(Entry::fetch);
    }

    /// The transaction of this name.
    pub fn by_name(&self, name: Fingerprint) -> Option<EntryId> {
        let found = self.by_name.get(name.short(), has(&self.entries, |entry| entry.name == name));
        found.map(|index| self.id(index))
    }

    /// The newest transaction of this call.
    pub fn by_call(&self, call: Fingerprint) -> Option<EntryId> {
        self.newest(call).map(|index| self.id(index))
    }

    /// The newest INVITE of this call with this CSeq number that a worker has or has answered. An INVITE that the
    /// dispatcher has refused, or whose refusal has been acknowledged, is found by its name alone.
    pub fn invite_of(&self, call: Fingerprint, cseq: u32) -> Option<EntryId> {
        let is_its = |entry: &Entry| entry.is_invite && entry.discriminator == cseq;
        let with_worker = |entry: &Entry| !matches!(entry.state, State::AnsweredHere(_)) && !entry.is_over();
        self.of_call(call).find(|(_, entry)| is_its(entry) && with_worker(entry)).map(|(id, _)| id)
    }

    /// The transactions of this call, newest first, sixteen at most: a caller cannot make a look-up long by sending
    /// many.
    pub fn of_call(&self, call: Fingerprint) -> impl Iterator<Item = (EntryId, &Entry)> {
        let older = |&at: &u32| Some(self.entry(at).call_links.next).filter(|&next| next != NONE);
        std::iter::successors(self.newest(call), older).take(16).map(|at| (self.id(at), self.entry(at)))
    }

    /// The entry, if its place still holds the same one.
    pub fn get(&self, id: EntryId) -> Option<&Entry> {
        self.entries.get(id.index as usize).filter(|entry| entry.generation == id.generation && entry.queue != FREE)
    }

    /// Takes note of its CANCEL.
    pub fn cancel(&mut self, id: EntryId) {
        if let Some(Entry { state: State::Pending { cancelled, .. } | State::Answered { cancelled }, .. }) =
            self.get_mut(id)
        {
            *cancelled = true;
        }
    }

    /// Takes note that its final response has been sent: its life is [`LIFETIME`] from now. Returns what it held.
    pub fn answered(&mut self, id: EntryId, now: Time) -> Option<Hold> {
        let state = match self.get(id)?.state {
            State::Pending { acknowledged: true, .. } => State::Over,
            State::Pending { cancelled, .. } => State::Answered { cancelled },
            _ => return None,
        };
        self.stand(id, state, now)
    }

    /// Takes note that its final response is acknowledged: by the ACK to an INVITE's refusal, which has its branch (RFC
    /// 3261 §17.1.1.3), or by a response acknowledgement of MGCP (RFC 3435 §3.5.1). It may overtake the worker's report
    /// that it has answered. Until that report comes the transaction counts as waiting, because any peer can send an
    /// acknowledgement.
    pub fn acknowledged(&mut self, id: EntryId, now: Time) {
        let Some(entry) = self.get_mut(id) else { return };
        match &mut entry.state {
            State::Pending { acknowledged, .. } => *acknowledged = true,
            // The number of a command of MGCP can be used anew T-HIST after its answer, whenever that is acknowledged
            // (RFC 3435 §3.5.1): its life goes on as it is.
            state @ State::Answered { .. } if !entry.is_invite => *state = State::Over,
            State::Answered { .. } => drop(self.stand(id, State::Over, now)),
            State::Over | State::AnsweredHere(_) => {}
        }
    }

    /// Takes note that the dispatcher has answered it: its life is [`LIFETIME`] from now. Returns what it held.
    pub fn answered_here(&mut self, id: EntryId, status: u16, now: Time) -> Option<Hold> {
        self.stand(id, State::AnsweredHere(status), now)
    }

    /// Gives it to another target; its life begins anew. Returns what it held before.
    pub fn move_to(&mut self, id: EntryId, (target, life): (TargetId, u32), deaths: u8, now: Time) -> Option<Hold> {
        let entry = self.get_mut(id)?;
        entry.target = target;
        entry.life = life;
        entry.deaths = deaths;
        entry.is_accepted = false;
        self.stand(id, State::PENDING, now)
    }

    /// Takes note that its caller has a 2xx, and that its response context is over by that.
    pub fn accepted(&mut self, id: EntryId) {
        if let Some(entry) = self.get_mut(id) {
            entry.is_accepted = true;
        }
    }

    /// Notes something that it holds.
    pub fn hold(&mut self, id: EntryId, hold: Option<Hold>) {
        if let Some(entry) = self.get_mut(id) {
            entry.hold = hold;
        }
    }

    /// Takes what it holds.
    pub fn take_hold(&mut self, id: EntryId) -> Option<Hold> {
        self.get_mut(id)?.hold.take()
    }

    /// Removes one entry whose life is over.
    pub fn poll_expired(&mut self, now: Time) -> Option<Entry> {
        let due = self.fronts().find(|&first| self.entry(first).deadline <= now)?;
        self.expect_removal(self.entry(due).queue_links.next);
        Some(self.remove(due))
    }

    /// The time at which the next entry's life is over.
    pub fn poll_timeout(&self) -> Option<Time> {
        self.fronts().map(|first| self.entry(first).deadline).min()
    }

    /// Whether a new transaction of this source finds a place, perhaps that of an answered one.
    pub fn has_place(&self, source: impl FnOnce() -> SourcePrint) -> bool {
        let left = self.cap.saturating_sub(self.shares.waiting());
        left > self.cap / 8 || left > 0 && !self.shares.is_used_up(source())
    }

    /// Waiting transactions, by source.
    pub const fn shares(&self) -> &Shares {
        &self.shares
    }

    /// Most entries it can hold.
    pub const fn cap(&self) -> usize {
        self.cap
    }

    /// The downstream proxies that have transactions which wait since this time or longer.
    pub fn awaited_since(&self, since: Time) -> BTreeSet<ProxyId> {
        let queues = self.queues.iter().zip([self.pending_max, LIFETIME]);
        let waiting = queues.flat_map(|(queue, life)| {
            let first = Some(queue.first).filter(|first| *first != NONE);
            let later = |at: &u32| Some(self.entry(*at).queue_links.next).filter(|next| *next != NONE);
            let oldest_first = std::iter::successors(first, later).map(|at| self.entry(at));
            oldest_first.take_while(move |entry| entry.deadline <= since + life)
        });
        let proxy = |entry: &Entry| match entry.target {
            TargetId::Proxy(proxy) => Some(proxy),
            TargetId::Worker(_) => None,
        };
        waiting.filter_map(proxy).collect()
    }

    /// Everything that transactions hold.
    pub fn holds(&self) -> impl Iterator<Item = Hold> + '_ {
        self.entries.iter().filter(|entry| entry.queue != FREE).filter_map(|entry| entry.hold)
    }

    /// Number of entries.
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Whether there is no entry.
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Panics if indexes, queues and lists do not agree with the entries. For tests: it reads everything.
    pub fn check(&self) {
        let live: Vec<u32> = (0..self.entries.len() as u32).filter(|&at| self.entry(at).queue != FREE).collect();
        assert_eq!(live.len(), self.len, "length");
        assert!(self.entries.len() <= self.cap, "cap");
        for &at in &live {
            let entry = self.entry(at);
            assert!(self.by_name(entry.name).is_some(), "entry {at} is not found by its name");
            let mut head = self.newest(entry.call).expect("a call's list");
            while head != at {
                head = self.entry(head).call_links.next;
            }
            assert_eq!(entry.queue >= FINISHED, !entry.is_pending(), "entry {at} in the wrong queue");
        }
        let mut queued = 0;
        for queue in &self.queues {
            let (mut at, mut before, mut deadline) = (queue.first, NONE, Time(0));
            while at != NONE {
                let entry = self.entry(at);
                assert_eq!(entry.queue_links.previous, before, "entry {at} has another entry before it");
                let is_changed = self.pending_max != LIFETIME || entry.queue == REMEMBERED;
                assert!(entry.deadline >= deadline || is_changed, "queue out of order at {at}");
                (before, deadline, at) = (at, entry.deadline, entry.queue_links.next);
                queued += 1;
            }
            assert_eq!(queue.last, before, "last of a queue");
        }
        assert_eq!(queued, self.len, "queues");
        let waiting = live.iter().filter(|&&at| self.entry(at).is_pending()).count();
        assert_eq!(self.shares.waiting(), waiting, "what waits");
        assert!(self.by_name.len() <= self.len && self.by_call.len() <= self.len, "index");
    }

    fn fronts(&self) -> impl Iterator<Item = u32> + '_ {
        self.queues.iter().map(|queue| queue.first).filter(|&first| first != NONE)
    }

    fn id(&self, index: u32) -> EntryId {
        EntryId { index, generation: self.entry(index).generation }
    }

    /// Indexes come from the table's own links, so they are always in range.
    fn entry(&self, index: u32) -> &Entry {
        &self.entries[index as usize]
    }

    fn entry_mut(&mut self, index: u32) -> &mut Entry {
        &mut self.entries[index as usize]
    }

    fn get_mut(&mut self, id: EntryId) -> Option<&mut Entry> {
        self.entries.get_mut(id.index as usize).filter(|entry| entry.generation == id.generation && entry.queue != FREE)
    }

    fn newest(&self, call: Fingerprint) -> Option<u32> {
        self.by_call.get(call.short(), has(&self.entries, |entry| entry.call == call))
    }

    /// Puts an entry into a free place.
    fn place(&mut self, mut entry: Entry) -> u32 {
        if self.free == NONE {
            self.entries.push(entry);
            return (self.entries.len() - 1) as u32;
        }
        let index = self.free;
        let place = &mut self.entries[index as usize];
        self.free = place.queue_links.next;
        entry.generation = place.generation.wrapping_add(1);
        *place = entry;
        index
    }

    fn index(&mut self, index: u32) {
        let Entry { name, call, .. } = *self.entry(index);
        let entries = &self.entries;
        // If a name comes twice (two callers with one branch and sent-by, or a forgery), the newer entry is found.
        self.by_name.set(name.short(), index, has(entries, |entry| entry.name == name));
        let next = self.by_call.set(call.short(), index, has(entries, |entry| entry.call == call)).unwrap_or(NONE);
        if next != NONE {
            self.entry_mut(next).call_links.previous = index;
        }
        self.entry_mut(index).call_links.next = next;
    }

    fn remove(&mut self, index: u32) -> Entry {
        self.dequeue(index);
        let entry = *self.entry(index);
        self.by_name.remove(entry.name.short(), index);
        let Neighbours { previous, next } = entry.call_links;
        if next != NONE {
            self.entry_mut(next).call_links.previous = previous;
        }
        if previous != NONE {
            self.entry_mut(previous).call_links.next = next;
        } else if next == NONE {
            self.by_call.remove(entry.call.short(), index);
        } else {
            self.by_call.replace(entry.call.short(), index, next);
        }
        self.vacate(index);
        self.len -= 1;
        entry
    }

    /// Asks the memory for what the removal of an entry reads, and for the entry after it in its queue.
    fn expect_removal(&self, index: u32) {
        let Some(entry) = self.entries.get(index as usize) else { return };
        self.expect(entry.name, entry.call);
        if let Some(next) = self.entries.get(entry.queue_links.next as usize) {
            next.fetch();
        }
    }

    /// Adds a place to the list of free ones.
    fn vacate(&mut self, index: u32) {
        let free = self.free;
        let place = self.entry_mut(index);
        place.queue = FREE;
        place.queue_links = Neighbours { previous: NONE, next: free };
        place.call_links = UNLINKED;
        self.free = index;
    }

    /// Sets another state; the entry's life begins anew. Returns what it held.
    fn stand(&mut self, id: EntryId, state: State, now: Time) -> Option<Hold> {
        self.get(id)?;
        self.dequeue(id.index);
        let entry = self.entry_mut(id.index);
        entry.state = state;
        let hold = entry.hold.take();
        self.enqueue(id.index, now);
        hold
    }

    /// The entry that makes room first: the oldest that waits for no answer, one that leads no later request before one
    /// that does, as long as these leave a quarter of the table to the others.
    const fn oldest(&self) -> u32 {
        let (finished, remembered) = (self.queues[FINISHED as usize].first, self.queues[REMEMBERED as usize].first);
        match finished {
            NONE => remembered,
            _ if self.remembered * 4 > self.cap * 3 => remembered,
            finished => finished,
        }
    }

    fn enqueue(&mut self, index: u32, now: Time) {
        let queue = self.entry(index).queue_for_state();
        let life = match queue {
            INVITES => self.pending_max,
            REMEMBERED => self.remember,
            _ => LIFETIME,
        };
        let last = std::mem::replace(&mut self.queues[queue as usize].last, index);
        match last {
            NONE => self.queues[queue as usize].first = index,
            _ => self.entry_mut(last).queue_links.next = index,
        }
        let entry = self.entry_mut(index);
        entry.queue = queue;
        entry.deadline = now + life;
        entry.queue_links = Neighbours { previous: last, next: NONE };
        let source = entry.source;
        if queue < FINISHED {
            self.shares.add(source);
        }
        self.remembered += usize::from(queue == REMEMBERED);
    }

    fn dequeue(&mut self, index: u32) {
        let Entry { queue, queue_links: Neighbours { previous, next }, source, .. } = *self.entry(index);
        if queue < FINISHED {
            self.shares.remove(source);
        }
        self.remembered -= usize::from(queue == REMEMBERED);
        match previous {
            NONE => self.queues[queue as usize].first = next,
            _ => self.entry_mut(previous).queue_links.next = next,
        }
        match next {
            NONE => self.queues[queue as usize].last = previous,
            _ => self.entry_mut(next).queue_links.previous = previous,
        }
    }
}

/// A check for the entry at a place of an index. A place beyond the entries, as a faulty dispatcher could hand over, is
/// not the one that is meant.
fn has(entries: &[Entry], is_meant: impl Fn(&Entry) -> bool) -> impl Fn(u32) -> bool {
    move |place| entries.get(place as usize).is_some_and(&is_meant)
}

#[cfg(test)]
mod tests;
