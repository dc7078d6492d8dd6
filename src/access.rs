//! Access lists and rates: the sources that may send, and the number of requests that each may begin.
//!
//! Rules stand in order, and the first rule whose network holds the source decides; if no rule does, everything may
//! come. The use that a limited source has made of its rate stands in buckets of a fixed number, found by a keyed hash
//! of the source, four places for each hash. A new source replaces the bucket used longest ago, and a banned one last.
//! So nothing grows, and no source can aim at another's bucket. A source whose bucket is lost begins with a full one.
//!
//! The dispatcher applies this to messages to the well-known sockets, each worker to those to its own ports.

use std::net::IpAddr;

use crate::config::Network;
use crate::fingerprint::Source;
use crate::pack::{Damaged, packed, saved};
use crate::time::Time;
use crate::wire::handoff::FrameBuilder;
use crate::words::{AccessAction, AccessRule};

/// The access rules, and the use that each limited source has made of its rate.
#[derive(Debug)]
pub struct Access {
    given: Vec<AccessRule>,
    rules: Vec<(Network, AccessAction)>,
    /// Empty while no rule is a limit.
    buckets: Vec<Bucket>,
    /// Number of lanes that share the rate of a source.
    sharers: u32,
}

/// Whether a source may begin something now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// It may.
    Granted,
    /// It has begun too much. It may be told so.
    Refused,
    /// It has begun too much, and has been told so often enough.
    Ignored,
    /// It is banned.
    Banned,
}

/// The use that a source has made of its rate. Times are in nanoseconds.
#[derive(Clone, Copy, Debug, Default)]
struct Bucket {
    /// The source under this rule; 0: none.
    key: u64,
    /// When all its grants have been earned again (the generic cell rate algorithm of ITU-T I.371).
    granted: u64,
    /// The same for its refusals: refusals are answers, and a source gets no more of them than of grants.
    refused: u64,
    banned_until: u64,
}

/// State that another dispatcher needs: the rules, and the buckets in use by their places.
struct AccessState {
    rules: Box<[u8]>,
    buckets: Vec<(usize, Bucket)>,
}

saved!(Access by AccessState: Access::state, Access::set_state);
packed!(AccessState { rules, buckets });
packed!(Bucket { key, granted, refused, banned_until });

/// Buckets in all: 2 MiB, taken when the first limit is set.
const BUCKETS: usize = 1 << 16;
/// Buckets that a source may be in.
const WAYS: usize = 4;
/// Responses that a source may send for each request that it may begin: a call may bring it so many requests of a
/// worker. Responses have a bucket of their own, so that a thousand calls that end at once take no grant from a new
/// call.
const RESPONSES: u32 = 8;
/// The bucket number for responses under a rule is the rule's number plus this, beyond the number of any rule.
const FOR_RESPONSES: usize = 1 << 16;

impl Access {
    /// Access by these rules, with nothing used up.
    pub fn new(rules: &[AccessRule]) -> Self {
        let mut access = Access { given: Vec::new(), rules: Vec::new(), buckets: Vec::new(), sharers: 1 };
        access.set_rules(rules);
        access
    }

    /// Sets other rules. Unless they are the same, all use of rates is forgotten, and every ban with it.
    pub fn set_rules(&mut self, rules: &[AccessRule]) {
        if rules == self.given {
            return;
        }
        self.given = rules.to_vec();
        // A rule with an action of a newer version, or with an impossible network, has no effect.
        let known = rules.iter().filter(|rule| rule.action != AccessAction::Other);
        self.rules = known.filter_map(|rule| Some((Network::new(rule.network, rule.prefix)?, rule.action))).collect();
        let is_limit = |rule: &(Network, AccessAction)| matches!(rule.1, AccessAction::Limit { .. });
        let wanted = if self.rules.iter().any(is_limit) { BUCKETS } else { 0 };
        self.buckets = vec![Bucket::default(); wanted];
    }

    fn state(&self) -> AccessState {
        let Access { given, rules: _, buckets, sharers: _ } = self;
        let used = buckets.iter().enumerate().filter(|(_, bucket)| bucket.key != 0);
        AccessState { rules: as_bytes(given).into(), buckets: used.map(|(at, bucket)| (at, *bucket)).collect() }
    }

    /// Takes the state over, unless it is of other rules.
    fn set_state(&mut self, state: AccessState) -> Result<(), Damaged> {
        let are_same = *state.rules == as_bytes(&self.given)[..];
        for (at, bucket) in state.buckets {
            if let Some(place) = self.buckets.get_mut(at).filter(|_| are_same) {
                *place = bucket;
            }
        }
        Ok(())
    }

    /// Divides the rate of each source among `sharers` lanes, which each see a like part of its messages.
    pub fn share_among(&mut self, sharers: usize) {
        self.sharers = u32::try_from(sharers.max(1)).unwrap_or(u32::MAX);
    }

    /// Whether there is no rule: everything may come.
    pub const fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// Whether there is a limit to what this address may begin.
    pub fn limits(&self, address: IpAddr) -> bool {
        !self.buckets.is_empty() && matches!(self.rule(address), Some((_, AccessAction::Limit { .. })))
    }

    /// Whether nothing from this address may come.
    pub fn denies(&self, address: IpAddr) -> bool {
        !self.rules.is_empty() && self.rule(address).is_some_and(|(_, action)| action == AccessAction::Deny)
    }

    /// Whether this source may begin something now; if so, it is counted. The request that brings a ban is the last one
    /// that is refused, so that an honest source hears why. `source` is the keyed hash of `address`.
    pub fn admit(&mut self, address: IpAddr, source: impl FnOnce() -> Source, now: Time) -> Admission {
        if self.buckets.is_empty() {
            return Admission::Granted;
        }
        let Some((number, AccessAction::Limit { rate, burst, ban_ms })) = self.rule(address) else {
            return Admission::Granted;
        };
        let now = now.0.saturating_mul(1_000);
        let sharers = self.sharers;
        let bucket = self.bucket(source(), number, now);
        if now < bucket.banned_until {
            return Admission::Banned;
        }
        if take(&mut bucket.granted, rate, burst, sharers, now) {
            return Admission::Granted;
        }
        if ban_ms > 0 {
            bucket.banned_until = now.saturating_add(u64::from(ban_ms) * 1_000_000);
        }
        if take(&mut bucket.refused, rate, burst, sharers, now) { Admission::Refused } else { Admission::Ignored }
    }

    /// Whether a response from this source, to a request that only a worker can know, may be handed on now; if so, it
    /// is counted. A ban does not concern it: the response belongs to a call, or the worker drops it. A source is not
    /// banned for it: the worker sends its request again, and so the source its response.
    pub fn admit_response(&mut self, address: IpAddr, source: impl FnOnce() -> Source, now: Time) -> bool {
        if self.buckets.is_empty() {
            return true;
        }
        let Some((number, AccessAction::Limit { rate, burst, .. })) = self.rule(address) else { return true };
        let now = now.0.saturating_mul(1_000);
        let sharers = self.sharers;
        let bucket = self.bucket(source(), number | FOR_RESPONSES, now);
        take(&mut bucket.granted, rate.saturating_mul(RESPONSES), burst.saturating_mul(RESPONSES), sharers, now)
    }

    /// The first rule for an address, and its place.
    fn rule(&self, address: IpAddr) -> Option<(usize, AccessAction)> {
        let place = self.rules.iter().position(|(network, _)| network.contains(address))?;
        Some((place, self.rules[place].1))
    }

    /// The bucket of a source under a rule: its own, else the one in its places that can best be spared.
    fn bucket(&mut self, source: Source, rule: usize, now: u64) -> &mut Bucket {
        // The hash is keyed, so that any constant that tells the rules apart will do.
        let key = (source.bits() ^ (rule as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15)).max(1);
        let first = key as usize % (self.buckets.len() / WAYS) * WAYS;
        let places = &mut self.buckets[first..first + WAYS];
        let known = places.iter().position(|bucket| bucket.key == key);
        let missed = |bucket: &Bucket| (now < bucket.banned_until, bucket.granted);
        let at = known.unwrap_or_else(|| (0..WAYS).min_by_key(|&at| missed(&places[at])).unwrap_or_default());
        let bucket = &mut places[at];
        if known.is_none() {
            *bucket = Bucket { key, ..Bucket::default() };
        }
        bucket
    }
}

/// Takes one of `rate` a second, of which `burst` may be taken at once; false if none is left. Each of `sharers` lanes
/// takes as many as there are lanes, but has one at least.
fn take(earned_at: &mut u64, rate: u32, burst: u32, sharers: u32, now: u64) -> bool {
    let one = 1_000_000_000 / u64::from(rate.max(1));
    let taken = one * u64::from(sharers);
    let from = now.max(*earned_at);
    if from - now > (one * u64::from(burst)).saturating_sub(taken) {
        return false;
    }
    *earned_at = from + taken;
    true
}

/// The rules as a link carries them.
fn as_bytes(rules: &[AccessRule]) -> Vec<u8> {
    let mut frame = FrameBuilder::new();
    frame.push_access(rules);
    frame.records().to_vec()
}

#[cfg(test)]
mod tests;
