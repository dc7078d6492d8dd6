//! The conferences whose legs this worker has, each with the units that it has reserved.
//!
//! A conference takes what its first message names until its last leg is over. The reservation of a leg that is refused,
//! cancelled or never acknowledged goes with it: the legs that are left take what they need.

use hashbrown::HashTable;

use crate::call::exchange::CallKey;
use crate::call::uas::{Phase, Uas};
use crate::reservation::{Reservation, Seat, Weight};

/// Conferences, each with the fingerprint of its name.
#[derive(Debug, Default)]
pub(super) struct Rooms {
    rooms: HashTable<(u128, Reservation)>,
}

/// The place of a call in the conference of this name.
pub(super) type Place = (u128, Seat);

impl Rooms {
    /// The units that a leg of this weight costs.
    pub(super) fn cost(&self, name: u128, leg: Weight) -> u32 {
        let known = self.rooms.find(name as u64, |room| room.0 == name);
        known.map_or(leg.units, |(_, room)| { *room }.join(leg).cost)
    }

    /// A leg of this weight comes.
    pub(super) fn join(&mut self, name: u128, leg: Weight) -> Place {
        let place = self.rooms.entry(name as u64, |room| room.0 == name, |room| room.0 as u64);
        (name, place.or_insert((name, Reservation::default())).get_mut().1.join(leg))
    }

    /// A leg goes as `leave` has it. Gives the units that are free again.
    fn leave(&mut self, (name, seat): Place, leave: impl FnOnce(&mut Reservation, Seat) -> u32) -> u32 {
        let Ok(mut found) = self.rooms.find_entry(name as u64, |room| room.0 == name) else { return 0 };
        let (_, room) = found.get_mut();
        let freed = leave(room, seat);
        if room.is_over() {
            found.remove();
        }
        freed
    }

    /// The units that would be free again without this leg.
    fn frees(&self, (name, seat): Place) -> u32 {
        self.rooms.find(name as u64, |room| room.0 == name).map_or(0, |(_, room)| { *room }.leave(seat))
    }
}

impl Uas {
    /// The units that would be free again without this call.
    pub(super) fn frees(&self, key: CallKey) -> u32 {
        let Some(call) = self.calls.get(key) else { return 0 };
        call.seat.map_or(call.size, |seat| self.rooms.frees(seat))
    }

    /// A call is over, or nobody has acknowledged it: what it takes is free again.
    pub(super) fn vacate(&mut self, key: CallKey) {
        let Some(call) = self.calls.get_mut(key) else { return };
        let leave = if call.phase == Phase::Confirmed { Reservation::leave } else { Reservation::withdraw };
        let (size, seat) = (std::mem::take(&mut call.size), call.seat.take());
        self.unclaim(key);
        let freed = seat.map_or(size, |seat| self.rooms.leave(seat, leave));
        self.load.units_used = self.load.units_used.saturating_sub(freed);
    }
}
