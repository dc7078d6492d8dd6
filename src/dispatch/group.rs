//! Conferences, and calls of MGCP, and the worker that has each: every leg of one must reach the same worker.
//!
//! A conference is entered provisionally when its first leg is handed over, so that two first legs in one batch meet.
//! Its worker's `GroupOpen` confirms it. A provisional conference is removed when its last waiting leg has its answer.

use super::decision::EntryId;
use super::index::Index;
use crate::fingerprint::Fingerprint;
use crate::ids::TargetId;
use crate::net::memory::fetch;
use crate::pack::{Damaged, packed, saved};
use crate::reservation::{Reservation, Weight};
use crate::time::Time;

/// A conference in the list. The generation distinguishes it from an earlier one in the same place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GroupId {
    index: u32,
    generation: u32,
}

/// A conference.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Group {
    /// The target that has it, or is to have it.
    pub target: TargetId,
    /// When its worker opened it; `None` while it is provisional.
    pub opened: Option<Time>,
    /// Its units, as far as this lane knows them.
    reservation: Reservation,
    /// The transaction of the leg that has made the reservation, while that leg waits for its answer.
    maker: Option<EntryId>,
    name: Fingerprint,
    waiting: u32,
    generation: u32,
    is_live: bool,
}

saved!(Groups { groups } else { free, by_name, cap } then Groups::resume);
packed!(GroupId { index, generation });
packed!(Group { target, opened, reservation, maker, name, waiting, generation, is_live });

/// The result of a worker's message that it has opened a conference.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opening {
    /// The worker has the conference.
    Recorded,
    /// Another worker has reported it as well; the older opening holds.
    Conflict,
    /// The list is full.
    Full,
}

/// The list of conferences. Sized at start.
#[derive(Debug)]
pub struct Groups {
    groups: Vec<Group>,
    free: Vec<u32>,
    by_name: Index,
    cap: usize,
}

impl Groups {
    /// An empty list for `cap` conferences.
    pub fn new(cap: usize) -> Self {
        Groups { groups: Vec::with_capacity(cap), free: Vec::with_capacity(cap), by_name: Index::new(cap.max(1)), cap }
    }

    /// Adds a leg that waits for its answer at the conference's worker; the first one enters the conference for
    /// `target`. `None` if the list is full.
    pub fn join(&mut self, name: Fingerprint, target: TargetId) -> Option<GroupId> {
        let id = match self.find(name) {
            Some(id) => id,
            None => self.enter(name, target, None)?,
        };
        self.groups[id.index as usize].waiting += 1;
        Some(id)
    }

    /// Removes a waiting leg: it has its answer, or waits no more.
    pub fn release(&mut self, id: GroupId) {
        let Some(group) = self.get_mut(id) else { return };
        group.waiting = group.waiting.saturating_sub(1);
        if group.waiting == 0 && group.opened.is_none() {
            self.remove(id.index);
        }
    }

    /// Counts a leg of this weight that goes to the conference's worker. Returns the units that it costs there: none
    /// inside the reservation that the conference began with. The dispatcher does not hear of legs that leave, so after
    /// many have come and gone the figure is too high until the worker's next report.
    pub fn weigh(&mut self, id: GroupId, leg: Weight, entry: Option<EntryId>) -> u32 {
        let Some(group) = self.get_mut(id) else { return leg.units };
        let seat = group.reservation.join(leg);
        if seat.is_first() {
            group.maker = entry;
        }
        seat.cost
    }

    /// Drops the reservation that this leg has made: the leg is cancelled or refused. Other legs may keep the
    /// conference.
    pub fn withdraw(&mut self, id: GroupId, entry: EntryId) {
        if let Some(group) = self.get_mut(id).filter(|group| group.maker == Some(entry)) {
            group.maker = None;
            group.reservation.unreserve();
        }
    }

    /// Takes note that a leg has its answer. If its worker has not opened the conference before, the leg was refused.
    pub fn on_answered(&mut self, id: GroupId, entry: EntryId) {
        if self.get(id).is_some_and(|group| group.opened.is_none()) {
            self.withdraw(id, entry);
        }
    }

    /// Gives a provisional conference another worker: its legs follow, and the first of them reserves anew.
    pub fn move_to(&mut self, id: GroupId, target: TargetId) {
        if let Some(group) = self.get_mut(id)
            && group.target != target
        {
            group.target = target;
            group.reservation = Reservation::default();
        }
    }

    /// Takes note that a worker has opened a conference.
    pub fn open(&mut self, name: Fingerprint, target: TargetId, opened: Time) -> Opening {
        let Some(id) = self.find(name) else {
            return self.enter(name, target, Some(opened)).map_or(Opening::Full, |_| Opening::Recorded);
        };
        let group = &mut self.groups[id.index as usize];
        let conflict = group.target != target && group.opened.is_some();
        if !conflict || group.opened.is_some_and(|first| opened < first) {
            if group.target != target || group.reservation.is_over() {
                group.reservation = Reservation::UNKNOWN;
            }
            group.target = target;
            group.opened = Some(opened);
        }
        if conflict { Opening::Conflict } else { Opening::Recorded }
    }

    /// Takes note that a worker has closed a conference. Legs that wait for their answer keep it, provisionally.
    pub fn close(&mut self, name: Fingerprint, target: TargetId) {
        let Some(id) = self.find(name) else { return };
        let group = &mut self.groups[id.index as usize];
        if group.target == target {
            group.opened = None;
            group.reservation = Reservation::default();
            if group.waiting == 0 {
                self.remove(id.index);
            }
        }
    }

    /// Removes the conferences of a worker that is gone.
    pub fn on_target_down(&mut self, target: TargetId) {
        for index in 0..self.groups.len() as u32 {
            let group = &self.groups[index as usize];
            if group.is_live && group.target == target {
                self.remove(index);
            }
        }
    }

    /// The conference of this name.
    pub fn find(&self, name: Fingerprint) -> Option<GroupId> {
        let index = self.by_name.get(name.short(), has(&self.groups, name))?;
        Some(GroupId { index, generation: self.groups[index as usize].generation })
    }

    /// Asks the memory for what a search for this name reads, and does not wait for it.
    pub fn expect(&self, name: Fingerprint) {
        self.by_name.expect(name.short());
    }

    /// Asks the memory for a conference that is read soon, and does not wait for it.
    pub fn fetch(&self, id: GroupId) {
        self.groups.get(id.index as usize).into_iter().for_each(fetch);
    }

    /// Asks the memory for what the end of a conference reads besides itself, and does not wait for it.
    pub fn expect_end(&self, id: GroupId) {
        if let Some(group) = self.get(id) {
            self.expect(group.name);
        }
    }

    /// The conference, if its place still holds the same one.
    pub fn get(&self, id: GroupId) -> Option<&Group> {
        self.groups.get(id.index as usize).filter(|group| group.is_live && group.generation == id.generation)
    }

    /// Whether the list has a place for another conference.
    pub fn has_place(&self) -> bool {
        !self.free.is_empty() || self.groups.len() < self.cap
    }

    /// Number of conferences.
    pub const fn len(&self) -> usize {
        self.by_name.len()
    }

    /// Most conferences that it can hold.
    pub const fn cap(&self) -> usize {
        self.cap
    }

    /// Whether the list is empty.
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Panics if the index does not agree with the list. For tests: it reads everything.
    pub fn check(&self) {
        let live = self.groups.iter().filter(|group| group.is_live);
        assert_eq!(live.clone().count(), self.by_name.len(), "index");
        assert_eq!(self.groups.len(), self.by_name.len() + self.free.len(), "free places");
        assert!(self.groups.len() <= self.cap, "cap");
        for group in live {
            let found = self.find(group.name).and_then(|id| self.get(id));
            assert_eq!(found, Some(group), "a conference is not found by its name");
            assert!(
                group.opened.is_some() || group.waiting > 0,
                "a conference without a worker and without waiting legs"
            );
        }
    }

    /// Finds the names and the free places again. All places were written, free ones included, so each [`GroupId`] has
    /// kept its meaning.
    fn resume(&mut self) -> Result<(), Damaged> {
        if self.groups.len() > self.cap {
            return Err(Damaged("too many conferences"));
        }
        self.free.clear();
        if !self.is_empty() {
            self.by_name.clear();
        }
        for (index, group) in (0..).zip(&self.groups) {
            if !group.is_live {
                self.free.push(index);
            } else if self.by_name.set(group.name.short(), index, has(&self.groups, group.name)).is_some() {
                return Err(Damaged("a conference twice"));
            }
        }
        Ok(())
    }

    fn get_mut(&mut self, id: GroupId) -> Option<&mut Group> {
        self.groups.get_mut(id.index as usize).filter(|group| group.is_live && group.generation == id.generation)
    }

    fn enter(&mut self, name: Fingerprint, target: TargetId, opened: Option<Time>) -> Option<GroupId> {
        let reservation = opened.map_or(Reservation::default(), |_| Reservation::UNKNOWN);
        let mut group =
            Group { target, opened, reservation, maker: None, name, waiting: 0, generation: 0, is_live: true };
        let index = match self.free.pop() {
            Some(index) => {
                let place = &mut self.groups[index as usize];
                group.generation = place.generation.wrapping_add(1);
                *place = group;
                index
            }
            None if self.groups.len() < self.cap => {
                self.groups.push(group);
                (self.groups.len() - 1) as u32
            }
            None => return None,
        };
        self.by_name.set(name.short(), index, has(&self.groups, name));
        Some(GroupId { index, generation: group.generation })
    }

    fn remove(&mut self, index: u32) {
        let group = &mut self.groups[index as usize];
        group.is_live = false;
        self.by_name.remove(group.name.short(), index);
        self.free.push(index);
    }
}

/// A check for the conference at a place of the index.
fn has(groups: &[Group], name: Fingerprint) -> impl Fn(u32) -> bool {
    move |place| groups.get(place as usize).is_some_and(|group| group.name == name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::WorkerId;

    const fn worker(slot: u16) -> TargetId {
        TargetId::Worker(WorkerId(slot))
    }
    use crate::fingerprint::Printer;
    use crate::ids::TokenKey;

    fn name(text: &str) -> Fingerprint {
        Printer::new(&TokenKey::new([1; 32])).print(3, &[text.as_bytes()])
    }

    fn holder(groups: &Groups, text: &str) -> Option<TargetId> {
        groups.find(name(text)).and_then(|id| groups.get(id)).map(|group| group.target)
    }

    #[test]
    fn a_conference_that_no_worker_confirms_goes_with_its_last_waiting_leg() {
        let mut groups = Groups::new(4);
        let first = groups.join(name("a"), worker(1)).unwrap();
        assert_eq!(groups.join(name("a"), worker(2)), Some(first));
        groups.release(first);
        assert_eq!(holder(&groups, "a"), Some(worker(1)));
        groups.release(first);
        assert_eq!(holder(&groups, "a"), None);
        let again = groups.join(name("a"), worker(2)).unwrap();
        groups.release(first);
        assert!(groups.get(again).is_some(), "a release of the earlier one does not count");
    }

    #[test]
    fn the_reservation_of_a_leg_that_does_not_stand_is_none_though_others_keep_its_conference() {
        let named = Weight { units: 10, named: true };
        let entry = |index| EntryId { index, generation: 1 };
        let begin = || {
            let mut groups = Groups::new(4);
            let id = groups.join(name("a"), worker(1)).unwrap();
            assert_eq!(groups.weigh(id, named, Some(entry(1))), 10);
            groups.join(name("a"), worker(1)).unwrap();
            assert_eq!(groups.weigh(id, Weight::plain(2), Some(entry(2))), 0);
            (groups, id)
        };
        let next = |groups: &mut Groups, id| groups.weigh(id, Weight::plain(2), Some(entry(3)));
        let (mut groups, id) = begin();
        groups.withdraw(id, entry(2));
        groups.on_answered(id, entry(2));
        assert_eq!(next(&mut groups, id), 0, "not its own");
        groups.withdraw(id, entry(1));
        assert_eq!(next(&mut groups, id), 2, "cancelled");
        let (mut groups, id) = begin();
        groups.on_answered(id, entry(1));
        assert_eq!(next(&mut groups, id), 2, "refused: its worker has opened nothing");
        let (mut groups, id) = begin();
        groups.open(name("a"), worker(1), Time(1));
        groups.on_answered(id, entry(1));
        assert_eq!(next(&mut groups, id), 0, "accepted");
    }

    #[test]
    fn of_two_workers_that_claim_one_conference_the_older_opening_holds() {
        let mut groups = Groups::new(4);
        assert_eq!(groups.open(name("a"), worker(1), Time(20)), Opening::Recorded);
        assert_eq!(groups.open(name("a"), worker(2), Time(30)), Opening::Conflict);
        assert_eq!(holder(&groups, "a"), Some(worker(1)));
        assert_eq!(groups.open(name("a"), worker(3), Time(10)), Opening::Conflict);
        assert_eq!(holder(&groups, "a"), Some(worker(3)));
        groups.close(name("a"), worker(1));
        assert_eq!(holder(&groups, "a"), Some(worker(3)), "only the holder closes it");
        groups.close(name("a"), worker(3));
        assert!(groups.is_empty());
    }

    #[test]
    fn the_list_has_an_end_and_a_worker_takes_its_conferences_with_it() {
        let mut groups = Groups::new(2);
        groups.open(name("a"), worker(1), Time(1));
        groups.join(name("b"), worker(2)).unwrap();
        assert_eq!(groups.join(name("c"), worker(1)), None);
        assert_eq!(groups.open(name("c"), worker(1), Time(1)), Opening::Full);
        groups.on_target_down(worker(1));
        assert_eq!((holder(&groups, "a"), holder(&groups, "b")), (None, Some(worker(2))));
        assert_eq!(groups.len(), 1);
    }
}
