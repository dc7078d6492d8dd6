//! The units that a conference has reserved, and the legs that share them.
//!
//! The first message of a conference may name a size: so many units are taken from then on, until the conference is
//! over. The first leg needs one unit of them, each later leg as many as its own size; only units beyond the
//! reservation cost more. Dispatcher and worker count by this one rule, so that ledger and report agree. MGCP
//! connections are an exception: the dispatcher counts each with its whole size until the worker's next report, which
//! is too much, never too little.

use crate::pack::packed;

/// The size of a session.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Weight {
    /// Units.
    pub units: u32,
    /// Whether the message names the units. If it does and begins a conference, they are a reservation. The streams of
    /// an offer reserve nothing for others.
    pub named: bool,
}

/// The units of one conference.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reservation {
    legs: u32,
    reserved: u32,
    needed: u32,
}

packed!(Reservation { legs, reserved, needed });

/// The place of a leg in a conference.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seat {
    /// Units that this leg adds to those that the conference takes.
    pub cost: u32,
    needs: u32,
    is_first: bool,
}

impl Seat {
    /// Units beyond the first that the leg needs by itself.
    pub fn needs_beyond_one(&self) -> u32 {
        self.needs.saturating_sub(1)
    }

    /// Whether the leg was the first one, which makes the reservation.
    pub fn is_first(&self) -> bool {
        self.is_first
    }
}

impl Weight {
    /// The weight of a message that begins no session.
    pub const NOTHING: Weight = Weight { units: 0, named: false };

    /// A size that makes no reservation.
    pub const fn plain(units: u32) -> Self {
        Weight { units, named: false }
    }
}

impl Reservation {
    /// The reservation of a conference whose first leg this dispatcher or worker has not counted: no reserved units are
    /// known.
    pub const UNKNOWN: Reservation = Reservation { legs: 1, reserved: 0, needed: 0 };

    /// The units that the conference takes.
    pub fn units(&self) -> u32 {
        self.reserved.max(self.needed)
    }

    /// Adds a leg. The first one makes the reservation.
    pub fn join(&mut self, leg: Weight) -> Seat {
        let before = self.units();
        let is_first = self.legs == 0;
        let needs = if is_first && leg.named { leg.units.min(1) } else { leg.units };
        if is_first && leg.named {
            self.reserved = leg.units;
        }
        self.legs = self.legs.saturating_add(1);
        self.needed = self.needed.saturating_add(needs);
        Seat { cost: self.units() - before, needs, is_first }
    }

    /// Removes a leg; with the last one the conference is over. Returns the units that are free again.
    pub fn leave(&mut self, seat: Seat) -> u32 {
        let before = self.units();
        self.legs = self.legs.saturating_sub(1);
        self.needed = self.needed.saturating_sub(seat.needs);
        if self.legs == 0 {
            *self = Reservation::default();
        }
        before - self.units()
    }

    /// Removes a leg that never stood, as [`Reservation::leave`]; a reservation that it has made goes with it.
    pub fn withdraw(&mut self, seat: Seat) -> u32 {
        let before = self.units();
        if seat.is_first {
            self.reserved = 0;
        }
        before - self.units() + self.leave(seat)
    }

    /// The units that the conference would take if its legs needed `needs` units less and, unless `reserves`, if
    /// nothing were reserved.
    pub fn units_without(&self, needs: u32, reserves: bool) -> u32 {
        self.needed.saturating_sub(needs).max(if reserves { self.reserved } else { 0 })
    }

    /// Drops the reservation: the legs take the units that they need.
    pub fn unreserve(&mut self) {
        self.reserved = 0;
    }

    /// Whether no leg is left.
    pub fn is_over(&self) -> bool {
        self.legs == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEN: Weight = Weight { units: 10, named: true };

    #[test]
    fn a_leg_inside_the_reservation_costs_nothing_and_one_beyond_costs_what_it_needs() {
        let mut room = Reservation::default();
        let seats =
            [TEN, Weight::plain(5), Weight::plain(6), Weight { units: 3, named: true }].map(|leg| room.join(leg));
        assert_eq!(seats.map(|seat| seat.cost), [10, 0, 2, 3], "the first needs one, the second five; four are left");
        assert_eq!([seats[3], seats[1], seats[2]].map(|seat| room.leave(seat)), [3, 2, 0]);
        assert_eq!((room.units(), room.leave(seats[0]), room.is_over()), (10, 10, true));
    }

    #[test]
    fn a_reservation_stands_until_the_last_leg_goes_whoever_made_it() {
        let mut room = Reservation::default();
        let [first, second] = [TEN, Weight::plain(1)].map(|leg| room.join(leg));
        assert_eq!((room.leave(first), room.units(), room.leave(second)), (0, 10, 10));
        let first = room.join(Weight::plain(2));
        assert_eq!((first.cost, room.leave(first)), (2, 2), "the next conference of that name begins anew");
    }

    #[test]
    fn the_reservation_of_a_leg_that_never_stood_goes_with_it() {
        let mut room = Reservation::default();
        let [first, second] = [TEN, Weight::plain(2)].map(|leg| room.join(leg));
        assert_eq!((room.withdraw(first), room.units(), room.withdraw(second)), (8, 2, 2));
    }

    #[test]
    fn the_streams_of_the_first_offer_reserve_nothing_for_others() {
        let mut room = Reservation::default();
        let seats = [5, 1].map(|units| room.join(Weight::plain(units)));
        assert_eq!((seats.map(|seat| seat.cost), room.leave(seats[0]), room.units()), ([5, 1], 5, 1));
    }

    #[test]
    fn absurd_sizes_do_not_overflow() {
        let mut room = Reservation::UNKNOWN;
        let seats = [u32::MAX; 3].map(|units| room.join(Weight { units, named: true }));
        assert_eq!(seats.map(|seat| seat.cost), [u32::MAX, 0, 0]);
        let _ = seats.map(|seat| room.leave(seat));
        assert_eq!(room.units(), 0);
    }
}
