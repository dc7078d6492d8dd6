//! The words of workers and their links, as the decision takes note of them: a worker connects, comes back or is gone;
//! it answers, reports its load, opens and closes conferences.

use super::decision::{Brought, EntryId, Joined, Room};
use super::group::{GroupId, Opening};
use super::table::{Entry, Hold, NewEntry, State};
use super::{Dispatch, LOOK_EVERY, sip};
use crate::fingerprint::{Fingerprint, SourcePrint};
use crate::ids::{Seq, WorkerId};
use crate::time::Time;
use crate::transaction::name::{self, sip::Names};
use crate::wire::sip::Message;
use crate::words;

impl Dispatch {
    /// Takes note that the final responses to the messages that made these entries have been sent. What has waited for
    /// them lies far apart in memory: all of it is asked for before any of it is waited for.
    pub fn on_answered_together(&mut self, entries: impl Iterator<Item = EntryId> + Clone, now: Time) {
        let group = |id| self.table.get(id).and_then(Entry::group);
        entries.clone().for_each(|id| self.table.fetch(id));
        entries.clone().filter_map(group).for_each(|id| self.groups.fetch(id));
        entries.clone().filter_map(group).for_each(|id| self.groups.expect_end(id));
        entries.for_each(|id| self.on_answered(id, now));
    }

    /// Takes note that the final response to the message that made this entry has been sent.
    pub fn on_answered(&mut self, entry: EntryId, now: Time) {
        let hold = self.table.answered(entry, now);
        if let Some(group) = hold.and_then(Hold::group) {
            self.groups.on_answered(group, entry);
        }
        self.give_back(hold, now);
    }

    /// Gives back what a transaction has held that waits no more.
    pub(super) fn give_back(&mut self, hold: Option<Hold>, now: Time) {
        match hold {
            Some(Hold::Leg(group)) => self.groups.release(group),
            Some(Hold::Unheard { proxy, sent }) => self.proxies.on_given_up(proxy, sent, now),
            None => {}
        }
    }

    /// Releases a leg of a group that waits no more.
    pub(super) fn release(&mut self, group: Option<GroupId>) {
        if let Some(group) = group {
            self.groups.release(group);
        }
    }

    /// Takes note of a worker's final answer to a message, for [`Dispatch::explain`].
    pub fn on_outcome(&mut self, worker: WorkerId, outcome: words::Outcome<'_>, now: Time) {
        self.history.note_final(worker, outcome, now);
    }

    /// Takes note that a worker has sent `Hello`. Numbers on its link start at 1.
    pub fn on_worker_up(&mut self, worker: WorkerId, joined: &Joined, now: Time) {
        if usize::from(worker.0) >= self.pool.len() {
            return;
        }
        self.groups.on_target_down(worker.into());
        self.pool.on_up(worker, joined, now);
        self.directory.add(worker, joined);
        self.gatherings.on_worker_down(worker, now);
        self.next_look = self.next_look.or(Some(now + LOOK_EVERY));
    }

    /// Takes note that a worker of an earlier dispatcher has come back, with the work that it has. Numbers on its link
    /// start at 1.
    pub fn on_worker_back(&mut self, worker: WorkerId, joined: &Joined, brought: &Brought, now: Time) {
        self.on_worker_up(worker, joined, now);
        let Some(life) = self.pool.get(worker).map(|slot| slot.life) else { return };
        self.pool.on_back(worker, brought);
        for held in &brought.transactions {
            let name = Fingerprint::from_bytes(held.name);
            // If two workers claim one transaction, the first has it, as with two copies of a request.
            if self.table.by_name(name).is_some() {
                continue;
            }
            let new = NewEntry {
                name,
                call: Fingerprint::from_bytes(held.call),
                discriminator: held.cseq,
                target: worker.into(),
                life,
                hold: None,
                is_invite: held.is_invite,
                is_remembered: false,
                state: if held.is_answered { State::ANSWERED } else { State::PENDING },
                // The source is not known, so each transaction counts as a source of its own.
                source: SourcePrint(name.short() as u16),
            };
            let Ok((entry, _)) = self.table.insert(new, now) else { break };
            if held.is_cancelled {
                self.table.cancel(entry);
            }
        }
        for (opened, name) in &brought.conferences {
            self.on_group_open(worker, name, *opened);
        }
    }

    /// The transaction of a message that a worker came back with and has not answered: its name, and its entry while it
    /// waits for that worker.
    pub fn brought(&self, worker: WorkerId, message: &Message<'_>) -> Option<([u8; 16], EntryId)> {
        let name = Names::opened_by(message, &self.printer)?.name;
        let id = self.table.by_name(Fingerprint::from_bytes(name))?;
        let waits = |entry: &&Entry| entry.target == worker && entry.is_pending();
        self.table.get(id).filter(waits).map(|_| (name, id))
    }

    /// The number of the life that a worker is in, or was in last.
    pub fn life(&self, worker: WorkerId) -> Option<u32> {
        self.pool.get(worker).map(|slot| slot.life)
    }

    /// Takes note that the final response to a transaction that a worker came back with has been sent.
    pub fn on_released(&mut self, worker: WorkerId, name: [u8; 16], now: Time) {
        if let Some(life) = self.life(worker) {
            self.on_released_before_death(worker, life, name, now);
        }
    }

    /// [`Dispatch::on_released`] for a worker that is gone and was in this life.
    pub fn on_released_before_death(&mut self, worker: WorkerId, life: u32, name: [u8; 16], now: Time) {
        if let Some(entry) = self.table.by_name(Fingerprint::from_bytes(name)) {
            self.on_answered_before_death(entry, worker, life, now);
        }
    }

    /// Takes note that a worker that is gone, and was in this life, had answered a message before. A retransmission may
    /// have gone to another worker since: that worker then has the transaction, and this answer does not count for it.
    pub fn on_answered_before_death(&mut self, entry: EntryId, worker: WorkerId, life: u32, now: Time) {
        if self.table.get(entry).is_some_and(|entry| (entry.target, entry.life) == (worker.into(), life)) {
            self.on_answered(entry, now);
        }
    }

    /// Takes note that the link of a worker lost in this life has been read to the end: it brings no more answers to
    /// gatherings.
    pub fn on_link_read(&mut self, worker: WorkerId, life: Option<u32>, now: Time) {
        // A successor in the slot may have been asked since.
        if self.life(worker).is_none_or(|of_now| Some(of_now) == life) {
            self.gatherings.on_worker_down(worker, now);
        }
    }

    /// Takes note that a worker is gone: it gets nothing more. Its link may still be read: see
    /// [`Dispatch::on_link_read`].
    pub fn on_worker_lost(&mut self, worker: WorkerId) {
        let slots = self.pool.len();
        self.pool.on_down(worker);
        self.directory.remove(worker);
        self.groups.on_target_down(worker.into());
        if self.pool.len() != slots {
            self.selector.set(self.rules.policy, &self.rules.weights, self.pool.len());
        }
    }

    /// Takes note of the last message that a worker has read on its link while more was waiting (`None`: nothing
    /// waits). Called for every link when [`Dispatch::is_look_due`].
    pub fn on_unread(&mut self, worker: WorkerId, behind: Option<Seq>) {
        self.pool.on_unread(worker, behind);
    }

    /// Takes note of a worker's report.
    pub fn on_report(&mut self, worker: WorkerId, report: &words::Report, now: Time) {
        self.pool.on_report(worker, report, now);
    }

    /// Takes note of the room on a link; called after each push and each `Answered`.
    pub fn on_link_room(&mut self, worker: WorkerId, room: Room) {
        self.pool.set_room(worker, room);
    }

    /// Takes note that a worker has opened a conference, or a call of MGCP. `name` is the user part that callers write,
    /// `conf=ID`, or the call id with `C:` in front.
    pub fn on_group_open(&mut self, worker: WorkerId, name: &[u8], opened: Time) {
        match self.groups.open(self.group_name(name), worker.into(), opened) {
            Opening::Recorded => {}
            Opening::Conflict => self.counters.group_conflicts += 1,
            Opening::Full => self.counters.groups_unrecorded += 1,
        }
    }

    /// Takes note that a worker has closed a conference.
    pub fn on_group_closed(&mut self, worker: WorkerId, name: &[u8]) {
        self.groups.close(self.group_name(name), worker.into());
    }

    /// The fingerprint of a group that a worker names.
    fn group_name(&self, name: &[u8]) -> Fingerprint {
        match name.strip_prefix(name::mgcp::CALL) {
            Some(id) => name::mgcp::call(id, &self.printer),
            None => sip::conference(name, &self.printer),
        }
    }

    /// Takes note of the units that another lane has handed to a worker and that no report to that lane includes.
    pub fn on_ledger_elsewhere(&mut self, worker: WorkerId, lane: usize, units: u32) {
        self.pool.set_elsewhere(worker, lane, units);
    }
}
