//! Selects one worker after the other, each as often as its weight says: a schedule made once, with each worker's turns
//! spread evenly.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::{Ask, Random, Snapshot};
use crate::config::Policy;

/// A round of turns.
#[derive(Debug, Default)]
pub(super) struct Schedule {
    turns: Vec<u16>,
    next: usize,
}

/// The longest round. Weights whose sum is larger are scaled down to it.
const LONGEST: u64 = 16_384;

impl Schedule {
    /// The schedule for a policy; empty if the policy needs none.
    pub(super) fn of(policy: Policy, weights: &[u32], workers: usize) -> Self {
        if policy != Policy::Weighted {
            return Schedule::default();
        }
        let weights: Vec<u64> =
            (0..workers).map(|worker| weights.get(worker).map_or(1, |&weight| u64::from(weight))).collect();
        let sum: u64 = weights.iter().sum();
        let common = weights.iter().fold(0, |a, &b| common_divisor(a, b)).max(1);
        let scale = |weight: u64| match weight {
            0 => 0,
            _ if sum / common <= LONGEST => weight / common,
            _ => (weight * LONGEST / sum).max(1),
        };
        let shares: Vec<u64> = weights.into_iter().map(scale).collect();
        // Each worker's turns are due at equal distances, the first after half a distance; the turns are taken in the
        // order in which they are due. Time is counted in fractions of a round.
        const ROUND: u64 = 1 << 40;
        let due = |share: u64, turn: u64| ROUND / (2 * share) * (2 * turn + 1);
        let first = |(worker, &share): (usize, &u64)| (share > 0).then(|| Reverse((due(share, 0), worker, 0)));
        let mut waiting: BinaryHeap<Reverse<(u64, usize, u64)>> = shares.iter().enumerate().filter_map(first).collect();
        let mut turns = Vec::with_capacity(shares.iter().sum::<u64>() as usize);
        while let Some(Reverse((_, worker, turn))) = waiting.pop() {
            turns.push(worker as u16);
            let share = shares[worker];
            if turn + 1 < share {
                waiting.push(Reverse((due(share, turn + 1), worker, turn + 1)));
            }
        }
        Schedule { turns, next: 0 }
    }

    pub(super) fn pick(&mut self, snapshot: &Snapshot<'_>, ask: &Ask, random: &mut Random) -> Option<usize> {
        let mut skipped = None;
        for _ in 0..self.turns.len().min(64) {
            let worker = usize::from(*self.turns.get(self.next)?);
            self.next = (self.next + 1) % self.turns.len();
            if !snapshot.takes(worker, ask) {
                continue;
            }
            if random.grants(snapshot.share(worker)) {
                return Some(worker);
            }
            skipped = skipped.or(Some(worker));
        }
        // Few workers have room: take the next one that has room and any turn in the schedule.
        skipped.or_else(|| {
            let at = self.next;
            self.turns[at..]
                .iter()
                .chain(&self.turns[..at])
                .map(|&worker| usize::from(worker))
                .find(|&worker| snapshot.takes(worker, ask))
        })
    }
}

fn common_divisor(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { common_divisor(b, a % b) }
}
