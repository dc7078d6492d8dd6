//! Placing of requests, recorded before they leave: by their conference, by selection, or by hash without a record.

use std::net::IpAddr;

use super::Dispatch;
use super::decision::{Arrival, Decision, EntryId, Handoff, Pinned, Protocol, Reason, Room, Search, Target, Tried};
use super::echoed::Echoed;
use super::fingerprint::Fingerprint;
use super::group::{Group, GroupId};
use super::refusing::status_of;
use super::select::{Ask, by_hash};
use super::sip::Summary;
use super::table::{Entry, NewEntry, State};
use crate::ids::WorkerId;
use crate::reservation::Weight;
use crate::time::Time;
use crate::wire::sip::{Message, Method};

/// A request to be placed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wanted {
    pub(super) protocol: Protocol,
    /// The conference, or the call of MGCP, that it belongs to.
    pub(super) group: Option<Fingerprint>,
    /// The key of a selection by hash.
    pub(super) key: Fingerprint,
}

/// The worker for an initial request, and the reason.
#[derive(Clone, Copy, Debug)]
pub(super) struct Placement {
    pub(super) worker: WorkerId,
    pub(super) reason: Reason,
    pub(super) size: Weight,
    pub(super) follows: bool,
    pub(super) group: Option<GroupId>,
}

impl Dispatch {
    /// The place of a request whose call a worker has, or has had: the request is a copy, or the next attempt.
    pub(super) fn place_known(
        &mut self,
        message: &Message<'_>,
        summary: &Summary<'_>,
        arrival: &Arrival,
        entry: &Entry,
    ) -> Placement {
        let Entry { worker, discriminator, .. } = *entry;
        if discriminator == summary.cseq {
            // The worker answers a copy with 482: no session comes of it.
            return Placement { worker, reason: Reason::Merged, size: Weight::NOTHING, follows: true, group: None };
        }
        let size = self.size(message, summary, arrival);
        let group = self.conference(summary).and_then(|name| self.groups.join(name, worker));
        match group.and_then(|group| self.groups.get(group)) {
            // While the caller fetched its credentials, its conference has begun at another worker.
            Some(held) if held.worker != worker => {
                Placement { worker: held.worker, reason: Reason::Group, size, follows: held.opened.is_some(), group }
            }
            _ => Placement { worker, reason: Reason::Again, size, follows: true, group },
        }
    }

    /// The conference's worker, else a selected one, which has the conference from now on.
    pub(super) fn choose(
        &mut self,
        summary: &Summary<'_>,
        size: Weight,
        tried: Tried,
        least: Room,
        now: Time,
    ) -> Result<Placement, Reason> {
        let group = self.conference(summary);
        let wanted = Wanted { protocol: Protocol::Sip, group, key: group.unwrap_or(summary.call) };
        self.choose_for(&wanted, size, tried, least, now)
    }

    /// The group's worker, else a selected one, which has the group from now on.
    pub(super) fn choose_for(
        &mut self,
        wanted: &Wanted,
        size: Weight,
        tried: Tried,
        least: Room,
        now: Time,
    ) -> Result<Placement, Reason> {
        let Wanted { protocol, group, key } = *wanted;
        if let Some(name) = group
            && let Some(&Group { worker, opened, .. }) = self.groups.find(name).and_then(|id| self.groups.get(id))
            && !tried.contains(worker)
        {
            let group = self.groups.join(name, worker);
            // A conference that its worker has not opened yet can still move to another worker, with all its legs.
            return Ok(Placement { worker, reason: Reason::Group, size, follows: opened.is_some(), group });
        }
        let key = key.short();
        let ask = Ask { size: size.units, key, tried };
        let (pool, snapshot) = (&self.pool, self.pool.snapshot(protocol, least, now));
        let is_crowded = group.is_some_and(|name| self.groups.find(name).is_none()) && !self.groups.has_place();
        let picked = if is_crowded {
            // The conference is not remembered, so its name must lead every leg to the same worker.
            self.counters.groups_unrecorded += 1;
            by_hash(key, pool.len(), |worker| snapshot.takes(worker, &ask)).map(|at| WorkerId(at as u16))
        } else {
            self.selector.pick(&snapshot, &ask)
        };
        let worker = picked.ok_or_else(|| self.why_nobody(protocol, size.units, least))?;
        let Some(name) = group.filter(|_| !is_crowded) else {
            return Ok(Placement { worker, reason: Reason::Selected, size, follows: false, group: None });
        };
        let group = self.groups.join(name, worker);
        // A conference whose worker has refused its first leg moves to this worker, and the later legs follow.
        if let Some(id) = group {
            self.groups.move_to(id, worker);
        }
        Ok(Placement { worker, reason: Reason::SelectedGroup, size, follows: false, group })
    }

    /// Hands an initial request over. It is entered before it leaves, since a CANCEL may follow at once.
    pub(super) fn place(
        &mut self,
        summary: &Summary<'_>,
        arrival: &Arrival,
        placement: Placement,
        now: Time,
    ) -> Decision {
        let Placement { worker, group, .. } = placement;
        let room = self.pool.get(worker).map_or(Room::None, |slot| slot.room);
        let Some(slot) = self.pool.get(worker).filter(|_| room <= self.least_room(summary)) else {
            self.release(group);
            let reason = if room == Room::Scarce { Reason::OverShare } else { Reason::HolderBusy };
            return self.nobody(summary, reason, now);
        };
        let new = NewEntry {
            branch: summary.branch,
            call: summary.call,
            discriminator: summary.cseq,
            worker,
            life: slot.life,
            group,
            is_invite: summary.method == Method::Invite,
            state: State::PENDING,
            source: self.source(summary).print(),
        };
        let entry = self.record(new, now);
        self.hand_over(summary, arrival, placement, entry, Search::new(now), now)
    }

    /// Releases a leg of a conference, or of a call of MGCP, that waits no more.
    pub(super) fn release(&mut self, group: Option<GroupId>) {
        if let Some(group) = group {
            self.groups.release(group);
        }
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
                self.release(new.group);
                None
            }
        }
    }

    /// Places a request by hash, as the table is full of waiting requests. The hash of the call (or of the conference)
    /// leads later messages to the same worker, whatever its load is then. So the load must not count now either; the
    /// worker itself refuses a request for which it has no room.
    pub(super) fn place_unrecorded(
        &mut self,
        summary: &Summary<'_>,
        arrival: &Arrival,
        size: Weight,
        deaths: u8,
        now: Time,
    ) -> Decision {
        self.unrecorded_until = now + self.rules.pending_max;
        let worker = self.unrecorded_worker(summary, now);
        let Some(worker) = worker else {
            let reason = self.why_nobody(Protocol::Sip, size.units, Room::Scarce);
            return self.unavailable(summary, reason);
        };
        let room = self.pool.get(worker).map_or(Room::None, |slot| slot.room);
        if room > self.least_room(summary) {
            return self.no_room(summary, room);
        }
        let placement = Placement { worker, reason: Reason::Unrecorded, size, follows: false, group: None };
        self.hand_over(summary, arrival, placement, None, Search::after_deaths(deaths, now), now)
    }

    /// Moves an entry to another worker: its worker is gone, or has refused the message.
    #[allow(clippy::too_many_arguments, reason = "the message, its entry and its past: each from another place")]
    pub(super) fn move_on(
        &mut self,
        message: &Message<'_>,
        summary: &Summary<'_>,
        arrival: &Arrival,
        id: EntryId,
        size: Weight,
        search: Search,
        reason: Reason,
        now: Time,
    ) -> Decision {
        let Search { tried, deaths, .. } = search;
        if self.table.get(id).is_some_and(|entry| entry.is_cancelled()) {
            return self.verdict(summary, id, 487, Reason::Cancelled, now);
        }
        if deaths >= 2 {
            return self.verdict(summary, id, 500, Reason::Poison, now);
        }
        if let Echoed::Gone(reason) = self.echoed(message, summary, arrival) {
            return self.verdict(summary, id, 481, reason, now);
        }
        // A copy that remains after its request is gone takes the place of the request, and has its size.
        let size = if size.units > 0 { size } else { self.size(message, summary, arrival) };
        // Any other copy goes to the worker that now has the request: at another worker it would be a second call.
        let beside = self.beside(summary, id, tried).map(|entry| {
            // The worker answers a copy with 482: no session comes of it.
            let size = if entry.discriminator == summary.cseq { Weight::NOTHING } else { size };
            Placement { worker: entry.worker, reason, size, follows: true, group: None }
        });
        // The request has waited as one of its source's, so it already has a part of that share.
        let placement = match beside.map_or_else(|| self.choose(summary, size, tried, Room::Scarce, now), Ok) {
            Ok(placement) => placement,
            Err(why) => {
                let reason =
                    if tried.as_slice().is_empty() || reason == Reason::Died { why } else { Reason::RefusedByAll };
                let status = if self.pool.has_open(Protocol::Sip) { status_of(why) } else { 503 };
                return self.verdict(summary, id, status, reason, now);
            }
        };
        let Placement { worker, group, .. } = placement;
        let Some(slot) = self.pool.get(worker).filter(|slot| slot.room.takes_new()) else {
            self.release(group);
            return self.verdict(summary, id, 486, Reason::HolderBusy, now);
        };
        let life = slot.life;
        let before = self.table.move_to(id, (worker, life), group, deaths, now);
        self.release(before);
        self.hand_over(summary, arrival, Placement { reason, ..placement }, Some(id), search, now)
    }

    pub(super) fn hand_over(
        &mut self,
        summary: &Summary<'_>,
        arrival: &Arrival,
        placement: Placement,
        entry: Option<EntryId>,
        search: Search,
        begin: Time,
    ) -> Decision {
        let pinned = self.pinned(summary.method, arrival);
        let Placement { size, group, .. } = placement;
        let counted = group.map_or(size.units, |group| self.groups.weigh(group, size, entry));
        let mut decision = self.give(placement, counted, pinned, entry, search, begin);
        if let Target::Worker(handoff) = &mut decision.target {
            let source = arrival.source.ip();
            handoff.ring_first = self.rules.ring_first.iter().any(|network| network.contains(source));
        }
        decision
    }

    /// Hands a message over to the worker at which it is placed. `counted` units count for it until a report includes
    /// it.
    pub(super) fn give(
        &mut self,
        placement: Placement,
        counted: u32,
        pinned: Option<Pinned>,
        entry: Option<EntryId>,
        search: Search,
        begin: Time,
    ) -> Decision {
        let Placement { worker, reason, size, follows, .. } = placement;
        let Some(seq) = self.pool.hand_over(worker, counted) else {
            return Decision { target: Target::Drop, reason: Reason::LinkFull };
        };
        self.pool.count_handoff(worker);
        let handoff = Handoff {
            worker,
            seq,
            size: size.units,
            names_size: size.named,
            entry,
            pinned,
            again: search.deaths > 0,
            ring_first: false,
            follows,
            // A message that only one worker may have is never too late for it.
            deadline: (!follows).then(|| begin + self.rules.read_within),
            search: search.at(worker),
        };
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
    pub(super) fn follow(&mut self, worker: WorkerId, reason: Reason, now: Time) -> Decision {
        let full = Decision { target: Target::Drop, reason: Reason::LinkFull };
        let room = self.pool.get(worker).map(|slot| slot.room);
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
        let Some(seq) = Some(worker).filter(|_| !is_full).and_then(|worker| self.pool.hand_over(worker, 0)) else {
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
            search: Search::new(now).at(worker),
        };
        Decision { target: Target::Worker(handoff), reason }
    }

    /// The entry of another copy of the request (RFC 3261 §8.2.2.2), or of another attempt, at a worker other than
    /// `tried`.
    pub(super) fn beside(&self, summary: &Summary<'_>, id: EntryId, tried: Tried) -> Option<&Entry> {
        let others = self.table.of_call(summary.call).filter(|(other, _)| *other != id).map(|(_, entry)| entry);
        let mut held = others.filter(|entry| self.is_held(entry) && !tried.contains(entry.worker));
        // The next attempt goes to its conference, which may be at another worker by now.
        held.find(|entry| entry.discriminator == summary.cseq || self.conference(summary).is_none())
    }

    /// The worker to which a request would be placed now if it were placed without a record.
    pub(super) fn unrecorded_worker(&self, summary: &Summary<'_>, now: Time) -> Option<WorkerId> {
        if now >= self.unrecorded_until {
            return None;
        }
        let conference = self.conference(summary);
        let holder = conference.and_then(|name| self.groups.get(self.groups.find(name)?)).map(|group| group.worker);
        let key = conference.unwrap_or(summary.call).short();
        let hashed = || {
            by_hash(key, self.pool.len(), |worker| {
                self.pool.is_ready(worker) && self.pool.serves(worker, Protocol::Sip)
            })
        };
        holder.or_else(|| hashed().map(|at| WorkerId(at as u16)))
    }

    pub(super) fn size(&mut self, message: &Message<'_>, summary: &Summary<'_>, arrival: &Arrival) -> Weight {
        // Only INVITE begins a session.
        if summary.method != Method::Invite {
            return Weight::NOTHING;
        }
        let sized = self.rules.size.size_of(message, summary.read.uri.as_ref(), arrival.source.ip());
        self.counters.on_size(sized.note);
        sized.weight
    }
}
