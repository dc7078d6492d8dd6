//! The units that calls of strangers take. A stranger is a source that has never shown that it hears us.
//!
//! A forger of sources can state a size of a thousand units in each of four datagrams and hold every worker until its
//! INVITE runs out of time. So a call of a stranger counts one unit for certain. The size it states beyond that counts
//! as well, as long as all strangers together have no more than half of the worker. Once the far end of its dialog is
//! heard, the call counts whole, and so does every later call of that source. Once the last copy of its answer has
//! brought no ACK, it counts one unit and no more, unless the ACK comes after all.

use crate::fingerprint::Source;

/// Sources that were heard, and the claims of calls from other sources.
#[derive(Debug)]
pub(super) struct Strangers {
    /// Keyed hashes of sources that were heard, each at the one index that it can have; 0: no source.
    heard: Box<[u64]>,
    /// Units beyond the first of each call whose far end has not been heard.
    held: u32,
    /// Units beyond the first of each call whose far end is not expected to be heard any more.
    given_up: u32,
}

/// The units beyond the first that a call takes before its far end has been heard.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Claim {
    /// The far end is known, or no more than one unit is asked for.
    #[default]
    None,
    /// It is a leg of a conference, whose room counts the claim.
    Seated,
    /// Its far end may still be heard.
    Held(u32),
    /// No datagram leaves any more that would make its far end answer.
    GivenUp(u32),
}

/// Units that strangers may claim of a small worker: plain calls, which need no claim, could hold as many.
const SHARE_AT_LEAST: u32 = 16;
/// Sources that are remembered: 32 KiB. A source that is replaced by another one is a stranger again.
const PLACES: usize = 1 << 12;

impl Strangers {
    pub(super) fn new() -> Self {
        Strangers { heard: vec![0; PLACES].into(), held: 0, given_up: 0 }
    }

    /// Units that strangers may claim of a worker with this many units.
    pub(super) fn share(units: u32) -> u32 {
        (units / 2).max(SHARE_AT_LEAST)
    }

    /// Units that strangers claim beyond this share, which do not count; `seated` are the units that conference legs
    /// claim.
    pub(super) fn uncounted(&self, seated: u32, share: u32) -> u32 {
        self.uncounted_without(Claim::None, seated, share)
    }

    /// The same, if this claim were at an end.
    pub(super) fn uncounted_without(&self, claim: Claim, seated: u32, share: u32) -> u32 {
        let (held, given_up) = match claim {
            Claim::None | Claim::Seated => (0, 0),
            Claim::Held(units) => (units, 0),
            Claim::GivenUp(units) => (0, units),
        };
        let beyond = self.held.saturating_sub(held).saturating_add(seated).saturating_sub(share);
        self.given_up.saturating_sub(given_up).saturating_add(beyond)
    }

    /// Units of this share that strangers claim; `seated` are the units that conference legs claim.
    pub(super) fn counted(&self, seated: u32, share: u32) -> u32 {
        self.held.saturating_add(seated).min(share)
    }

    /// A call of a stranger takes this many units beyond its first.
    pub(super) fn claim(&mut self, units: u32) -> Claim {
        if units == 0 {
            return Claim::None;
        }
        self.held = self.held.saturating_add(units);
        Claim::Held(units)
    }

    /// A call's claim is at an end: it counts whole, or is over.
    pub(super) fn unclaim(&mut self, claim: Claim) {
        match claim {
            Claim::None | Claim::Seated => {}
            Claim::Held(units) => self.held = self.held.saturating_sub(units),
            Claim::GivenUp(units) => self.given_up = self.given_up.saturating_sub(units),
        }
    }

    /// The far end of a call is not expected to be heard any more.
    pub(super) fn give_up(&mut self, claim: Claim) -> Claim {
        let Claim::Held(units) = claim else { return claim };
        self.unclaim(claim);
        self.given_up = self.given_up.saturating_add(units);
        Claim::GivenUp(units)
    }

    /// Whether a source was heard.
    pub(super) fn knows(&self, source: Source) -> bool {
        let hash = source.bits().max(1);
        self.heard[hash as usize % PLACES] == hash
    }

    pub(super) fn on_heard(&mut self, source: Source) {
        let hash = source.bits().max(1);
        self.heard[hash as usize % PLACES] = hash;
    }
}
