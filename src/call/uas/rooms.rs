//! The conferences whose legs this worker has, each with the units that it has reserved.
//!
//! A conference takes the units that its first message names until its last leg is over. The reservation of a leg that
//! is refused, cancelled or never acknowledged ends with the leg: the remaining legs take the units they need.
//!
//! Strangers claim the units that a conference takes because of them: the units they have reserved, and the units that
//! their legs need beyond one each. The units it would take without both are certain.

use hashbrown::HashTable;

use crate::fingerprint::Fingerprint;
use crate::reservation::{Reservation, Seat, Weight};

/// Conferences.
#[derive(Debug, Default)]
pub(super) struct Rooms {
    rooms: HashTable<Room>,
    /// Units that strangers claim in all conferences.
    claimed: u32,
}

#[derive(Clone, Copy, Debug)]
struct Room {
    /// The fingerprint of its name.
    name: Fingerprint,
    reservation: Reservation,
    /// Units beyond the first that each leg of a stranger needs.
    unsure: u32,
    /// Whether a stranger has made the reservation.
    is_reservation_unsure: bool,
}

/// The place of a call in the conference of this name.
pub(super) type RoomSeat = (Fingerprint, Seat);

impl Room {
    fn claimed(&self) -> u32 {
        let sure = self.reservation.units_without(self.unsure, !self.is_reservation_unsure);
        self.reservation.units().saturating_sub(sure)
    }

    fn join(&mut self, leg: Weight, is_stranger: bool) -> Seat {
        let seat = self.reservation.join(leg);
        if is_stranger {
            self.unsure = self.unsure.saturating_add(seat.needs_beyond_one());
            self.is_reservation_unsure |= seat.is_first();
        }
        seat
    }

    fn leave(&mut self, seat: Seat, stood: bool, is_stranger: bool) -> u32 {
        if is_stranger {
            self.forget_needs(seat);
        }
        if stood { self.reservation.leave(seat) } else { self.reservation.withdraw(seat) }
    }

    fn forget_needs(&mut self, seat: Seat) {
        self.unsure = self.unsure.saturating_sub(seat.needs_beyond_one());
    }
}

impl Rooms {
    /// Units that strangers claim.
    pub(super) fn claimed(&self) -> u32 {
        self.claimed
    }

    /// The units that a leg of this weight costs.
    pub(super) fn cost(&self, name: Fingerprint, leg: Weight) -> u32 {
        let known = self.rooms.find(name.short(), |room| room.name == name);
        known.map_or(leg.units, |room| { room.reservation }.join(leg).cost)
    }

    /// A leg of this weight joins.
    pub(super) fn join(&mut self, name: Fingerprint, leg: Weight, is_stranger: bool) -> RoomSeat {
        let place = self.rooms.entry(name.short(), |room| room.name == name, |room| room.name.short());
        let new = || Room { name, reservation: Reservation::default(), unsure: 0, is_reservation_unsure: false };
        let mut place = place.or_insert_with(new);
        let room = place.get_mut();
        let before = room.claimed();
        let seat = room.join(leg, is_stranger);
        self.claimed = self.claimed.saturating_sub(before).saturating_add(room.claimed());
        (name, seat)
    }

    /// The caller of a leg is no stranger any more.
    pub(super) fn hear(&mut self, place: RoomSeat) {
        self.change(place, |room, seat| {
            room.forget_needs(seat);
            room.is_reservation_unsure &= !seat.is_first();
        });
    }

    /// A leg leaves; `stood`: it was acknowledged, and its reservation stays. Returns the units that are free again.
    pub(super) fn leave(&mut self, place: RoomSeat, stood: bool, is_stranger: bool) -> u32 {
        self.change(place, |room, seat| room.leave(seat, stood, is_stranger)).unwrap_or(0)
    }

    fn change<R>(&mut self, (name, seat): RoomSeat, change: impl FnOnce(&mut Room, Seat) -> R) -> Option<R> {
        let mut found = self.rooms.find_entry(name.short(), |room| room.name == name).ok()?;
        let room = found.get_mut();
        let before = room.claimed();
        let changed = change(room, seat);
        self.claimed = self.claimed.saturating_sub(before).saturating_add(room.claimed());
        if room.reservation.is_over() {
            found.remove();
        }
        Some(changed)
    }

    /// The units that would be free again without this leg, and the units that strangers would then claim.
    pub(super) fn without(&self, (name, seat): RoomSeat, is_stranger: bool) -> (u32, u32) {
        let Some(room) = self.rooms.find(name.short(), |room| room.name == name) else { return (0, self.claimed) };
        let mut rest = *room;
        let freed = rest.leave(seat, true, is_stranger);
        (freed, self.claimed.saturating_sub(room.claimed()).saturating_add(rest.claimed()))
    }
}
