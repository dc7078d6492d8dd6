//! The units that calls of strangers take: of sources that have never shown that they hear us.
//!
//! A forger of sources can state a size of a thousand units in each of four datagrams and hold every worker until its
//! INVITE runs out of time. So a call of a stranger counts one unit for certain; what it states beyond that counts as well,
//! as long as all strangers together have no more than half of the worker, until the far end of its dialog is heard. Then
//! the call counts whole, and so does every later one of that source.

use std::net::IpAddr;

use crate::call::exchange::{Arrival, CallKey, Path};
use crate::call::uas::Uas;

/// Sources that were heard, and what calls of others claim.
#[derive(Debug)]
pub(super) struct Strangers {
    /// Keyed hashes of sources that were heard, each in the one place that it can have; 0: nobody.
    heard: Box<[u64]>,
    /// Units beyond the first of each call whose far end has not been heard.
    claimed: u32,
}

/// Units that strangers may claim of a small worker: as many plain calls hold them as well.
const SHARE_AT_LEAST: u32 = 16;
/// Sources that are remembered: 32 KiB. One that is forgotten for another is a stranger once more.
const PLACES: usize = 1 << 12;

impl Strangers {
    pub(super) fn new() -> Self {
        Strangers { heard: vec![0; PLACES].into(), claimed: 0 }
    }

    /// Units that strangers claim and that a worker of so many units does not count.
    pub(super) fn uncounted(&self, units: u32) -> u32 {
        self.claimed.saturating_sub((units / 2).max(SHARE_AT_LEAST))
    }

    fn knows(&self, source: u64) -> bool {
        self.heard[source as usize % PLACES] == source
    }

    fn on_heard(&mut self, source: u64) {
        self.heard[source as usize % PLACES] = source;
    }
}

impl Uas {
    /// The units that a call of this cost claims without having been heard.
    pub(super) fn claim(&mut self, arrival: &Arrival, cost: u32) -> u32 {
        let ip = arrival.source.ip();
        // Nobody forges the source of a connection, nor, from another host, a loopback address.
        let is_sure = ip.to_canonical().is_loopback()
            || match arrival.path {
                Path::Stream(_) => true,
                Path::Handoff { conn, .. } => conn.0 != 0,
                Path::Own(_) => false,
            };
        if is_sure || self.strangers.knows(self.prints.source(ip)) {
            return 0;
        }
        let claimed = cost.saturating_sub(1);
        self.strangers.claimed = self.strangers.claimed.saturating_add(claimed);
        claimed
    }

    /// The far end of a call hears us: its source is no stranger any more.
    pub(super) fn acquaint(&mut self, key: CallKey, source: IpAddr) {
        let source = self.prints.source(source);
        self.strangers.on_heard(source);
        self.unclaim(key);
    }

    /// A call has ended, or has been heard.
    pub(super) fn unclaim(&mut self, key: CallKey) {
        let claimed = self.calls.get_mut(key).map_or(0, |call| std::mem::take(&mut call.claimed));
        self.strangers.claimed = self.strangers.claimed.saturating_sub(claimed);
    }
}
