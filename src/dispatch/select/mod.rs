//! Selection: the worker that gets a new session.
//!
//! A policy sees an immutable [`Snapshot`] of the pool and the request's [`Ask`], and knows nothing of health, links or
//! sockets: a worker that may not get new work is not open in the snapshot. Asked again with the first candidate among
//! the tried ones, it gives the next, and so on. No policy's cost grows with the number of workers while most have
//! room.

mod hash;
pub mod latency;
mod least_load;
mod pack;
mod round_robin;
mod weighted;

use std::time::Duration;

use super::bits::Bits;
use super::decision::Tried;
use crate::config::Policy;
use crate::ids::WorkerId;
use crate::time::Time;

pub use hash::by_hash;
use weighted::Schedule;

/// The pool as a policy sees it.
#[derive(Clone, Copy, Debug)]
pub struct Snapshot<'a> {
    /// Workers that may get new work.
    pub open: &'a Bits,
    /// Every worker's load, by slot.
    pub loads: &'a [Load],
    /// Time that a worker takes to get its full share after its start.
    pub slow_start: Duration,
    /// The time at which the oldest of the workers that may get new work came up. A cold worker gets less work only if
    /// another is warmer.
    pub warmest: Time,
    /// The time now.
    pub now: Time,
}

/// A worker's load.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Load {
    /// Units in use by its own report, and those handed over since.
    pub used: u32,
    /// Units it has.
    pub total: u32,
    /// When it came up.
    pub up_since: Time,
}

/// The request that a worker is selected for.
#[derive(Clone, Copy, Debug)]
pub struct Ask {
    /// Units.
    pub size: u32,
    /// Hash of the conference or the call.
    pub key: u64,
    /// Workers that must not get it.
    pub tried: Tried,
}

impl Ask {
    /// Whether a worker with this load has room, and has not been tried.
    #[inline]
    fn fits(&self, worker: usize, load: &Load) -> bool {
        u64::from(load.used) + u64::from(self.size) <= u64::from(load.total)
            && !self.tried.contains(WorkerId(worker as u16))
    }
}

impl Snapshot<'_> {
    /// Whether `worker` is open, not tried, and has room.
    pub fn takes(&self, worker: usize, ask: &Ask) -> bool {
        self.open.contains(worker) && self.loads.get(worker).is_some_and(|load| ask.fits(worker, load))
    }

    /// A worker's full share is 1024. During its slow start it has less if another worker is warmer, but never less
    /// than a tenth.
    pub fn share(&self, worker: usize) -> u64 {
        self.loads.get(worker).map_or(0, |load| self.share_of(load))
    }

    #[inline]
    fn share_of(&self, load: &Load) -> u64 {
        let whole = self.slow_start.as_micros() as u64;
        let age = |since: Time| self.now.0.saturating_sub(since.0);
        // The common case needs no division.
        if age(load.up_since) >= whole {
            return 1024;
        }
        let warmth = |since: Time| age(since).clamp(whole / 10, whole).max(1);
        (warmth(load.up_since) * 1024 / warmth(self.warmest)).min(1024)
    }

    /// The first worker that takes it, from `start` on and then from 0.
    fn from(&self, start: usize, ask: &Ask) -> Option<usize> {
        self.open.around(start).find(|&worker| self.takes(worker, ask))
    }
}

/// The policy in force and its memory from one selection to the next.
#[derive(Debug)]
pub struct Selector {
    policy: Policy,
    schedule: Schedule,
    cursor: usize,
    random: Random,
}

impl Selector {
    /// A selector; `weights` by slot are for [`Policy::Weighted`].
    pub fn new(policy: Policy, weights: &[u32], workers: usize, seed: u64) -> Self {
        Selector { policy, schedule: Schedule::of(policy, weights, workers), cursor: 0, random: Random::new(seed) }
    }

    /// Sets another policy, other weights, another number of workers.
    pub fn set(&mut self, policy: Policy, weights: &[u32], workers: usize) {
        self.policy = policy;
        self.schedule = Schedule::of(policy, weights, workers);
    }

    /// The best candidate that has not been tried.
    pub fn pick(&mut self, snapshot: &Snapshot<'_>, ask: &Ask) -> Option<WorkerId> {
        let worker = match self.policy {
            Policy::LeastLoad => least_load::pick(snapshot, ask, &mut self.cursor, &mut self.random),
            Policy::RoundRobin => round_robin::pick(snapshot, ask, &mut self.cursor, &mut self.random),
            Policy::Weighted => self.schedule.pick(snapshot, ask, &mut self.random),
            Policy::Hash => by_hash(ask.key, snapshot.loads.len(), |worker| snapshot.takes(worker, ask)),
            Policy::Pack => pack::pick(snapshot, ask),
        };
        worker.map(|worker| WorkerId(worker as u16))
    }
}

/// A small pseudo-random sequence (splitmix64) from a seed given once: the same seed gives the same selections.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// The sequence of a seed.
    pub const fn new(seed: u64) -> Self {
        Random(seed | 1)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.0)
    }

    /// A number below `bound`, without a division.
    pub fn below(&mut self, bound: usize) -> usize {
        ((u128::from(self.next()) * bound as u128) >> 64) as usize
    }

    /// Whether a chance of `share` in 1024 came up.
    fn grants(&mut self, share: u64) -> bool {
        share >= 1024 || self.next() & 1023 < share
    }
}

/// The finisher of splitmix64: every input bit affects all output bits.
pub const fn mix(mut bits: u64) -> u64 {
    bits = (bits ^ bits >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ bits >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ bits >> 31
}

#[cfg(test)]
mod tests;
