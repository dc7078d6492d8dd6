//! The units that calls take of the worker's capacity: counted, claimed by strangers, freed.

use std::net::IpAddr;

use crate::call::exchange::{Arrival, CallKey, Load, Path};
use crate::call::strangers::{Claim, Strangers};
use crate::call::uas::Uas;
use crate::call::uas::call::Phase;
use crate::call::uas::rooms;

impl Uas {
    /// Changes the capacity. Standing calls stay.
    pub fn set_units(&mut self, units: u32) {
        self.limits.units = units;
    }

    /// Sets the number of units of the capacity that sessions other than SIP calls take.
    pub fn set_elsewhere(&mut self, units: u32) {
        self.elsewhere = units;
    }

    /// The present load.
    pub fn load(&self) -> Load {
        Load { units_used: self.units_counted(), ..self.load }
    }

    /// Units that strangers claim beyond their share: they are not in the load.
    pub fn units_not_counted(&self) -> u32 {
        self.strangers.uncounted(self.rooms.claimed(), Strangers::share(self.limits.units))
    }

    /// Units that strangers may still claim of this worker, in any protocol.
    pub fn units_for_strangers(&self) -> u32 {
        let share = Strangers::share(self.limits.units);
        share - self.strangers.counted(self.rooms.claimed(), share)
    }

    /// The capacity in units.
    pub fn units(&self) -> u32 {
        self.limits.units
    }

    /// Units of all the sessions that share the capacity.
    pub(super) fn units_taken(&self) -> u32 {
        self.units_counted().saturating_add(self.elsewhere)
    }

    /// Units of the calls, without the units that strangers claim beyond their share.
    fn units_counted(&self) -> u32 {
        self.load.units_used.saturating_sub(self.units_not_counted())
    }

    /// Whether the source of an INVITE may be forged, and has not been heard before.
    pub(super) fn is_stranger(&self, arrival: &Arrival) -> bool {
        let ip = arrival.source.ip();
        // The source of a connection cannot be forged, nor can a loopback address from another host.
        let is_sure = ip.to_canonical().is_loopback()
            || match arrival.path {
                Path::Stream(_) => true,
                Path::Handoff { reply_to, .. } => reply_to.is_through_dispatcher(),
                Path::Own(_) => false,
            };
        !is_sure && !self.strangers.knows(self.prints.source(ip))
    }

    /// The units that a call of a stranger claims beyond its first.
    pub(super) fn claim(&mut self, units: u32, seat: Option<rooms::RoomSeat>) -> Claim {
        // The cost of the leg is not the claim: inside a reservation it may be zero, and the reservation may end before
        // the leg.
        if seat.is_some() { Claim::Seated } else { self.strangers.claim(units.saturating_sub(1)) }
    }

    /// The far end of a call hears us: its source is no stranger any more.
    pub(super) fn acquaint(&mut self, key: CallKey, source: IpAddr) {
        let source = self.prints.source(source);
        self.strangers.on_heard(source);
        self.unclaim(key);
    }

    /// The far end of a call has been heard.
    pub(super) fn unclaim(&mut self, key: CallKey) {
        let Some(call) = self.calls.get_mut(key) else { return };
        match (std::mem::take(&mut call.claim), call.seat) {
            (Claim::Seated, Some(seat)) => self.rooms.hear(seat),
            (claim, _) => self.strangers.unclaim(claim),
        }
    }

    /// The last copy of the answer to a call has left, and no ACK has come by the time at which the next copy would
    /// have left.
    pub(super) fn give_up(&mut self, key: CallKey) {
        // A leg keeps its claim: units that it has reserved may be in use by other legs of its conference, which count.
        let Some(call) = self.calls.get_mut(key).filter(|call| call.seat.is_none()) else { return };
        call.claim = self.strangers.give_up(call.claim);
    }

    /// The units that would be free again without this call: units it takes that do not count would not be gained.
    pub(super) fn frees(&self, key: CallKey) -> u32 {
        let Some(call) = self.calls.get(key) else { return 0 };
        let whole = (call.size, self.rooms.claimed());
        let (freed, seated) = call.seat.map_or(whole, |seat| self.rooms.without(seat, call.claim == Claim::Seated));
        let share = Strangers::share(self.limits.units);
        let uncounted = self.strangers.uncounted_without(call.claim, seated, share);
        let uncounted = self.units_not_counted().saturating_sub(uncounted);
        freed.saturating_sub(uncounted)
    }

    /// A call is over, or its ACK has not come: its units are free again.
    pub(super) fn vacate(&mut self, key: CallKey) {
        let Some(call) = self.calls.get_mut(key) else { return };
        let stood = call.phase == Phase::Confirmed;
        let (size, claim) = (std::mem::take(&mut call.size), std::mem::take(&mut call.claim));
        let freed = match call.seat.take() {
            Some(seat) => self.rooms.leave(seat, stood, claim == Claim::Seated),
            None => {
                self.strangers.unclaim(claim);
                size
            }
        };
        self.load.units_used = self.load.units_used.saturating_sub(freed);
    }
}
