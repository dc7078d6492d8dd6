//! Placing of requests, recorded before they leave: by their group, or by selection.

use std::net::IpAddr;

use crate::dispatch::Dispatch;
use crate::dispatch::case::{Case, Placement, Request};
use crate::dispatch::decision::{Decision, EntryId, Handoff, Reason, Room, Search, Target, Tried};
use crate::dispatch::group::Group;
use crate::dispatch::select::{Ask, by_hash};
use crate::dispatch::table::{Entry, Hold, NewEntry, State};
use crate::ids::{TargetId, WorkerId};
use crate::reservation::Weight;
use crate::time::Time;

impl Dispatch {
    /// Begins a call: at the worker of its group, else at a selected one.
    pub(super) fn begin<R: Request>(&mut self, case: &Case<'_, R>) -> Decision {
        let size = self.size(case);
        if !self.table.has_place(|| case.source(self).print())
            && let Some(decision) = R::without_place(case, self, size)
        {
            return decision;
        }
        match self.choose(case, size, Tried::default(), self.least_room(case)) {
            Ok(placement) => self.place(case, placement),
            Err(why) => self.refuse(case, why),
        }
    }

    /// The group's target, else a selected one, which has the group from now on.
    fn choose<R: Request>(
        &mut self,
        case: &Case<'_, R>,
        size: Weight,
        tried: Tried,
        least: Room,
    ) -> Result<Placement, Reason> {
        let group = R::group(case, self);
        if let Some(name) = group
            && let Some(&Group { target, opened, .. }) = self.groups.find(name).and_then(|id| self.groups.get(id))
            && !tried.contains(target)
        {
            let group = self.groups.join(name, target);
            // A conference that its worker has not opened yet can still move to another worker, with all its legs.
            return Ok(Placement { target, reason: Reason::Group, size, follows: opened.is_some(), group });
        }
        let key = group.unwrap_or(case.call).short();
        let ask = Ask { size: size.units, key, tried };
        let (pool, snapshot) = (&self.pool, self.pool.snapshot(R::PROTOCOL, least, case.now));
        let is_crowded = group.is_some_and(|name| self.groups.find(name).is_none()) && !self.groups.has_place();
        let picked = if is_crowded {
            // The conference is not remembered, so its name must lead every leg to the same worker.
            self.counters.groups_unrecorded += 1;
            by_hash(key, pool.len(), |worker| snapshot.takes(worker, &ask)).map(|at| WorkerId(at as u16))
        } else {
            self.selector.pick(&snapshot, &ask)
        };
        let target = TargetId::Worker(picked.ok_or_else(|| self.why_no_worker(R::PROTOCOL, size.units, least))?);
        let Some(name) = group.filter(|_| !is_crowded) else {
            return Ok(Placement { target, reason: Reason::Selected, size, follows: false, group: None });
        };
        let group = self.groups.join(name, target);
        // A conference whose target has refused its first leg moves to this one, and the later legs follow.
        if let Some(id) = group {
            self.groups.move_to(id, target);
        }
        Ok(Placement { target, reason: Reason::SelectedGroup, size, follows: false, group })
    }

    /// Hands over a request that begins something. It is entered before it leaves, since a CANCEL or a retransmission
    /// may follow at once.
    pub(super) fn place<R: Request>(&mut self, case: &Case<'_, R>, placement: Placement) -> Decision {
        let Placement { target, group, .. } = placement;
        let room = self.pool.get(target).map_or(Room::None, |slot| slot.room);
        let Some(slot) = self.pool.get(target).filter(|_| room <= self.least_room(case)) else {
            self.release(group);
            let why = if room == Room::Scarce { Reason::OverShare } else { Reason::HolderBusy };
            return self.refuse(case, why);
        };
        let new = NewEntry { hold: group.map(Hold::Leg), ..case.entry(self, (target, slot.life), State::PENDING) };
        let entry = self.record(new, case.now);
        // A request that only one worker may have finds that worker without an entry.
        if R::AT_MOST_ONCE && entry.is_none() && !placement.follows {
            return self.answer_why(case, Reason::TableFull);
        }
        self.hand_over(case, placement, entry, Search::new(case.now))
    }

    /// Writes an entry into the table. If the table is full of waiting requests, there is no entry, and its leg of a
    /// group counts no more.
    pub(super) fn record(&mut self, new: NewEntry, now: Time) -> Option<EntryId> {
        match self.table.insert(new, now) {
            Ok((id, evicted)) => {
                self.counters.evicted += u64::from(evicted.is_some());
                Some(id)
            }
            Err(_) => {
                self.give_back(new.hold, now);
                None
            }
        }
    }

    /// Decides about a request whose transaction the table knows.
    pub(super) fn retransmission<R: Request>(
        &mut self,
        case: &Case<'_, R>,
        (id, entry): (EntryId, &Entry),
    ) -> Decision {
        if let State::AnsweredHere(code) = entry.state {
            return self.answer(case, code, Reason::AnsweredBefore);
        }
        if self.is_alive(entry) {
            return self.follow_entry(case, entry, Reason::Retransmission);
        }
        if let Some(decision) = R::after_death(case, self, (id, entry)) {
            return decision;
        }
        let deaths = entry.deaths + u8::from(entry.is_pending());
        let size = self.size(case);
        self.move_on(case, (id, size), Search::after_deaths(deaths, case.now), Reason::SelectedAnew)
    }

    /// Moves an entry to another worker: its worker is gone, or has refused the request.
    pub(super) fn move_on<R: Request>(
        &mut self,
        case: &Case<'_, R>,
        (id, size): (EntryId, Weight),
        search: Search,
        reason: Reason,
    ) -> Decision {
        let Search { tried, deaths, .. } = search;
        if self.table.get(id).is_some_and(Entry::is_cancelled) {
            return self.conclude_why(case, id, Reason::Cancelled);
        }
        if deaths >= 2 {
            return self.conclude_why(case, id, Reason::Poison);
        }
        if let Some((code, why)) = R::gone(case, self) {
            return self.conclude(case, id, code, why);
        }
        // A copy that remains after its request is gone takes the place of the request, and has its size.
        let size = if size.units > 0 { size } else { self.size(case) };
        // The request has waited as one of its source's, so it already has a part of that share.
        let least = Room::Scarce;
        let placement = match self.place_anew(case, (id, size), tried, least) {
            Ok(placement) => placement,
            Err(why) => {
                let is_first = tried.as_slice().is_empty() || reason == Reason::Died;
                let code = self.code::<R>(why);
                return self.conclude(case, id, code, if is_first { why } else { Reason::RefusedByAll });
            }
        };
        let moved = self.move_to(case, id, (Placement { reason, ..placement }, least), search);
        moved.unwrap_or_else(|| self.conclude_why(case, id, Reason::HolderBusy))
    }

    /// The place of a request that has an entry, and is to leave the target that has it.
    pub(super) fn place_anew<R: Request>(
        &mut self,
        case: &Case<'_, R>,
        (id, size): (EntryId, Weight),
        tried: Tried,
        least: Room,
    ) -> Result<Placement, Reason> {
        // Any other copy goes to the worker that now has the request: at another worker it would be a second call.
        let beside = R::beside(case, self, id, tried).map(|entry| {
            // The worker answers a copy with 482: no session comes of it.
            let size = if entry.discriminator == case.discriminator { Weight::NOTHING } else { size };
            Placement { target: entry.target, reason: Reason::Merged, size, follows: true, group: None }
        });
        beside.map_or_else(|| self.choose(case, size, tried, least), Ok)
    }

    /// Hands a request that has an entry over to the worker at which it is placed by now. `None`: the link of that one
    /// has less than this room.
    pub(super) fn move_to<R: Request>(
        &mut self,
        case: &Case<'_, R>,
        id: EntryId,
        (placement, least): (Placement, Room),
        search: Search,
    ) -> Option<Decision> {
        let Placement { target, group, .. } = placement;
        let Some(slot) = self.pool.get(target).filter(|slot| slot.room <= least) else {
            self.release(group);
            return None;
        };
        let life = slot.life;
        let before = self.table.move_to(id, (target, life), search.deaths, case.now);
        self.table.hold(id, group.map(Hold::Leg));
        self.give_back(before, case.now);
        Some(self.hand_over(case, placement, Some(id), search))
    }

    /// Hands a request over to the worker at which it is placed. Its units count for the worker until a report includes
    /// them.
    pub(super) fn hand_over<R: Request>(
        &mut self,
        case: &Case<'_, R>,
        placement: Placement,
        entry: Option<EntryId>,
        search: Search,
    ) -> Decision {
        let Placement { target, reason, size, follows, group } = placement;
        let full = Decision { target: Target::Drop, reason: Reason::LinkFull };
        let Some(worker) = target.worker() else { return full };
        let group = group.filter(|_| R::RESERVES);
        let counted = group.map_or(size.units, |group| self.groups.weigh(group, size, entry));
        let Some(seq) = self.pool.hand_over(target, counted) else { return full };
        self.pool.count_handoff(target);
        let mut handoff = Handoff {
            worker,
            seq,
            size: size.units,
            names_size: size.named,
            entry,
            pinned: None,
            again: search.deaths > 0,
            ring_first: false,
            follows,
            // A message that only one worker may have is never too late for it.
            deadline: (!follows).then(|| case.now + self.rules.read_within),
            search: search.at(target),
        };
        R::complete(case, self, &mut handoff);
        Decision { target: Target::Worker(handoff), reason }
    }

    /// Hands a response to a worker's own request on, unless its source has sent too many of them.
    pub(super) fn follow_response(&mut self, worker: WorkerId, sender: IpAddr, reason: Reason, now: Time) -> Decision {
        match self.access.admit_response(sender, || self.printer.source(sender), now) {
            true => self.follow(worker, reason, now),
            false => Decision { target: Target::Drop, reason: Reason::OverRate },
        }
    }

    /// Hands over a message that follows something that the worker has. If the link is full the message is dropped, and
    /// its sender sends it again.
    pub(super) fn follow(&mut self, target: impl Into<TargetId>, reason: Reason, now: Time) -> Decision {
        let target = target.into();
        let full = Decision { target: Target::Drop, reason: Reason::LinkFull };
        let Some(worker) = target.worker() else { return full };
        let room = self.pool.get(target).map(|slot| slot.room);
        let is_full = match room {
            Some(Room::All | Room::Scarce) => false,
            // A retransmission can wait for the next one. The reserve is for messages that move a call on, and not for
            // those that a stranger can send who has never spoken with the worker.
            Some(Room::Following) => matches!(
                reason,
                Reason::Retransmission | Reason::TransactionRange | Reason::EndpointDomain | Reason::Everyone
            ),
            Some(Room::None) | None => true,
        };
        let Some(seq) = Some(target).filter(|_| !is_full).and_then(|target| self.pool.hand_over(target, 0)) else {
            return full;
        };
        let handoff = Handoff {
            worker,
            seq,
            size: 0,
            names_size: false,
            entry: None,
            pinned: None,
            again: false,
            ring_first: false,
            follows: true,
            deadline: None,
            search: Search::new(now).at(target),
        };
        Decision { target: Target::Worker(handoff), reason }
    }

    /// Sends on a message that follows a transaction to the target that has it.
    pub(super) fn follow_entry<R: Request>(&mut self, case: &Case<'_, R>, entry: &Entry, reason: Reason) -> Decision {
        match entry.target {
            TargetId::Worker(worker) => self.follow(worker, reason, case.now),
            TargetId::Proxy(_) => R::forward(case, self, entry, reason),
        }
    }

    /// Whether a live worker has the transaction, or was the last to have it.
    pub(super) fn is_held(&self, entry: &Entry) -> bool {
        !matches!(entry.state, State::AnsweredHere(_)) && !entry.is_over() && self.is_alive(entry)
    }

    /// Whether the target lives that has the transaction, in the life in which it got it.
    pub(super) fn is_alive(&self, entry: &Entry) -> bool {
        match entry.target {
            TargetId::Worker(worker) => {
                self.pool.get(worker).is_some_and(|slot| slot.is_alive() && slot.life == entry.life)
            }
            TargetId::Proxy(proxy) => self.proxies.get(proxy).is_some_and(|proxy| proxy.life() == entry.life),
        }
    }

    /// The size of the session that a request begins.
    pub(super) fn size<R: Request>(&self, case: &Case<'_, R>) -> Weight {
        R::size(case, self).unwrap_or(Weight::NOTHING)
    }
}
