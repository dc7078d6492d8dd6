//! Placing of connections, recorded before the command leaves: at the worker of the call, or by selection.

use super::refusing::code_of;
use super::{Summary, returned};
use crate::dispatch::Dispatch;
use crate::dispatch::decision::{Decision, EntryId, Protocol, Reason, Room, Search, Target, Tried};
use crate::dispatch::placing::{Placement, Wanted};
use crate::dispatch::table::{NewEntry, State};
use crate::ids::WorkerId;
use crate::reservation::Weight;
use crate::time::Time;
use crate::wire::mgcp::{Command, ReturnCode};

impl Dispatch {
    /// Places a connection on an endpoint that the gateway chooses: with the other legs of its call, else at a selected
    /// worker, which has the call from now on.
    pub(super) fn begin_mgcp(&mut self, command: &Command<'_>, summary: &Summary<'_>, now: Time) -> Decision {
        let size = self.mgcp_size(command, summary);
        let has_place = self.table.has_place(|| self.printer.source(summary.sender).print());
        if !has_place && self.opened_by(summary).is_none() {
            return returned(ReturnCode::OVERLOAD, summary.transaction, Reason::TableFull);
        }
        let least = self.least_mgcp_room(summary.sender);
        match self.choose_for(&wanted(summary), size, Tried::default(), least, now) {
            Ok(placement) => self.place_mgcp(summary, placement, now),
            Err(reason) => self.nobody_mgcp(summary, reason, now),
        }
    }

    /// Hands over a command that makes a connection. It is entered before it leaves, since its retransmission may
    /// follow at once.
    pub(super) fn place_mgcp(&mut self, summary: &Summary<'_>, placement: Placement, now: Time) -> Decision {
        let Placement { worker, group, .. } = placement;
        let room = self.pool.get(worker).map_or(Room::None, |slot| slot.room);
        let Some(slot) = self.pool.get(worker).filter(|_| room <= self.least_mgcp_room(summary.sender)) else {
            self.release(group);
            let reason = if room == Room::Scarce { Reason::OverShare } else { Reason::HolderBusy };
            return self.nobody_mgcp(summary, reason, now);
        };
        let new = NewEntry { group, ..self.mgcp_entry(summary, worker, slot.life) };
        let entry = self.record(new, now);
        if entry.is_none() && !placement.follows {
            // Its retransmission would make a second connection. A command that only one worker may have finds that
            // worker without an entry.
            return returned(ReturnCode::OVERLOAD, summary.transaction, Reason::TableFull);
        }
        self.give(placement, placement.size.units, None, entry, Search::new(now), now)
    }

    /// Moves an entry to another worker: its worker is gone, or has refused the message.
    pub(super) fn move_mgcp(
        &mut self,
        command: &Command<'_>,
        summary: &Summary<'_>,
        (id, size): (EntryId, Weight),
        search: Search,
        reason: Reason,
        now: Time,
    ) -> Decision {
        let Search { tried, deaths, .. } = search;
        if deaths >= 2 {
            return self.mgcp_verdict(summary, id, ReturnCode::TRANSIENT_ERROR, Reason::Poison, now);
        }
        let size = if size.units > 0 { size } else { self.mgcp_size(command, summary) };
        // The command has waited as one of its source's, so it already has a part of that share.
        let placement = match self.choose_for(&wanted(summary), size, tried, Room::Scarce, now) {
            Ok(placement) => placement,
            Err(why) if tried.as_slice().is_empty() || reason == Reason::Died => {
                return self.mgcp_verdict(summary, id, code_of(why), why, now);
            }
            Err(_) => {
                let code = self.refused_by_all();
                return self.mgcp_verdict(summary, id, code, Reason::RefusedByAll, now);
            }
        };
        let Placement { worker, group, .. } = placement;
        let Some(slot) = self.pool.get(worker).filter(|slot| slot.room.takes_new()) else {
            self.release(group);
            return self.mgcp_verdict(summary, id, ReturnCode::OVERLOAD, Reason::HolderBusy, now);
        };
        let life = slot.life;
        let before = self.table.move_to(id, (worker, life), group, deaths, now);
        self.release(before);
        self.give(Placement { reason, ..placement }, placement.size.units, None, Some(id), search, now)
    }

    /// Hands over a command that the table does not know to the only worker that may have it.
    pub(super) fn follow_first(
        &mut self,
        summary: &Summary<'_>,
        worker: WorkerId,
        reason: Reason,
        now: Time,
    ) -> Decision {
        let decision = self.follow(worker, reason, now);
        match decision.target {
            Target::Worker(_) => self.remember(summary, worker, now),
            // If the table remembers commands, this is the first copy. Else an earlier copy may have been carried out,
            // and an answer now would be a second one to it.
            _ if self.remembers() => return self.nobody_mgcp(summary, Reason::HolderBusy, now),
            _ => {}
        }
        decision
    }

    /// Remembers the worker of a command that names its worker, for the acknowledgement that may follow. Other
    /// transactions' places are not taken for it.
    fn remember(&mut self, summary: &Summary<'_>, worker: WorkerId, now: Time) {
        if !self.remembers() {
            return;
        }
        let life = self.pool.get(worker).map_or(0, |slot| slot.life);
        let new = NewEntry { state: State::ANSWERED, ..self.mgcp_entry(summary, worker, life) };
        // Less than half of the table is in use.
        let _ = self.table.insert(new, now);
    }

    /// Whether the table has room for entries that it can do without.
    fn remembers(&self) -> bool {
        self.table.len() < self.table.cap() / 2
    }

    pub(super) fn mgcp_entry(&self, summary: &Summary<'_>, worker: WorkerId, life: u32) -> NewEntry {
        NewEntry {
            branch: summary.name,
            call: summary.call.unwrap_or(summary.name),
            discriminator: summary.port.into(),
            worker,
            life,
            group: None,
            // T-HIST is as long as the life of any other transaction.
            is_invite: false,
            state: State::PENDING,
            source: self.printer.source(summary.sender).print(),
        }
    }

    pub(super) fn mgcp_size(&mut self, command: &Command<'_>, summary: &Summary<'_>) -> Weight {
        let sized = self.rules.size.size_of_connection(command, summary.sender);
        self.counters.on_size(sized.note);
        sized.weight
    }
}

fn wanted(summary: &Summary<'_>) -> Wanted {
    let key = summary.call.unwrap_or(summary.name);
    Wanted { protocol: Protocol::Mgcp, group: summary.call, key }
}
