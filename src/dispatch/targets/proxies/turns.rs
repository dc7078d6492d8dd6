//! Turns by weight: every member's turns are due at equal distances, the shorter the higher its weight.
//!
//! The member whose turn is due first gets the request. One that takes nothing is left out, so its share goes to all
//! others by their weights, and not to a neighbour. One that has come back has its first turn soon, whatever its weight
//! is by then: an answer tells more of it than time. A turn costs no more in a large pool than the height of a heap;
//! weights are read anew at intervals.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

use crate::time::Time;

/// Interval at which weights and states of all members are read.
const READ_EVERY: Duration = Duration::from_millis(100);
/// Distance between the turns of a member of weight 1.
const STEP: f64 = (1_u64 << 32) as f64;

/// A member's share of the turns.
#[derive(Clone, Copy, Debug)]
pub(super) struct Share {
    pub(super) weight: f64,
    /// When it came back, if that was a short time ago.
    pub(super) returned: Option<Time>,
}

/// The next turn of a member.
#[derive(Clone, Copy, Debug)]
struct Turn {
    at: u64,
    /// The distance to it when it was given.
    distance: u64,
    returned: Option<Time>,
}

/// The turns of some members.
#[derive(Clone, Debug, Default)]
pub(super) struct Turns {
    due: BinaryHeap<Reverse<(u64, u16)>>,
    /// Each member's next turn; `None` for one that took nothing.
    turns: Vec<Option<Turn>>,
    /// The turn that was taken last.
    taken: u64,
    read: Option<Time>,
    /// Whether a member had come back a short time ago when they were read.
    has_returned: bool,
    /// Members that were passed over in this search.
    aside: Vec<Reverse<(u64, u16)>>,
}

impl Turns {
    /// Whether a member has come back a short time ago.
    pub(super) fn sees_returned(&mut self, members: usize, now: Time, share: impl Fn(usize) -> Option<Share>) -> bool {
        self.read_if_old(members, now, share);
        self.has_returned
    }

    /// The member whose turn it is among `members`; `share` is `None` for one that takes nothing, `may` says which may
    /// have this request.
    pub(super) fn next(
        &mut self,
        members: usize,
        now: Time,
        share: impl Fn(usize) -> Option<Share>,
        may: impl Fn(usize) -> bool,
    ) -> Option<usize> {
        self.read_if_old(members, now, &share);
        let mut found = None;
        while let Some(Reverse((turn, number))) = self.due.pop() {
            let member = usize::from(number);
            let Some(Share { weight, returned }) = share(member) else {
                // It is in again once all are read.
                self.turns[member] = None;
                continue;
            };
            if !may(member) {
                self.aside.push(Reverse((turn, number)));
                continue;
            }
            let distance = distance(weight);
            let next = turn.saturating_add(distance);
            self.taken = self.taken.max(turn);
            self.turns[member] = Some(Turn { at: next, distance, returned });
            self.due.push(Reverse((next, number)));
            found = Some(member);
            break;
        }
        self.due.extend(self.aside.drain(..));
        found
    }

    fn read_if_old(&mut self, members: usize, now: Time, share: impl Fn(usize) -> Option<Share>) {
        let is_old = self.read.is_none_or(|read| now.since(read) >= READ_EVERY);
        if is_old || self.turns.len() != members {
            self.read_all(members, share);
            self.read = Some(now);
        }
    }

    fn read_all(&mut self, members: usize, share: impl Fn(usize) -> Option<Share>) {
        self.turns.resize(members, None);
        self.due.clear();
        self.has_returned = false;
        let mut shortest = None;
        for (member, turn) in self.turns.iter_mut().enumerate() {
            let Some(Share { weight, returned }) = share(member) else {
                *turn = None;
                continue;
            };
            self.has_returned |= returned.is_some();
            let distance = distance(weight);
            let left = match *turn {
                // The rest of the way to its turn grows or shrinks with the distance.
                Some(Turn { at, distance: before, returned: same }) if returned.is_none() || same == returned => {
                    let left = at.saturating_sub(self.taken);
                    (u128::from(left) * u128::from(distance) / u128::from(before.max(1))) as u64
                }
                _ if returned.is_some() => {
                    let all = || (0..members).filter_map(&share).map(|share| self::distance(share.weight)).min();
                    shortest.get_or_insert_with(all).unwrap_or(distance) / 2
                }
                _ => distance / 2,
            };
            // Numbers begin anew, so that they never reach their end.
            *turn = Some(Turn { at: left, distance, returned });
            self.due.push(Reverse((left, member as u16)));
        }
        self.taken = 0;
    }
}

fn distance(weight: f64) -> u64 {
    (STEP / weight.max(1e-3)) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The share of a member that has not come back lately.
    fn share(weight: f64) -> Option<Share> {
        Some(Share { weight, returned: None })
    }

    fn shares(weights: &[f64], takes: impl Fn(usize) -> bool, calls: usize) -> Vec<f64> {
        let mut turns = Turns::default();
        let mut counts = vec![0; weights.len()];
        for call in 0..calls {
            let now = Time(1_000_000 + call as u64 * 1_000);
            let picked =
                turns.next(weights.len(), now, |member| share(weights[member]).filter(|_| takes(member)), |_| true);
            counts[picked.unwrap()] += 1;
        }
        counts.into_iter().map(|count| f64::from(count) * 100.0 / calls as f64).collect()
    }

    fn assert_near(shares: &[f64], weights: &[f64]) {
        let sum: f64 = weights.iter().sum();
        for (share, weight) in shares.iter().zip(weights) {
            assert!((share - weight * 100.0 / sum).abs() < 0.2, "{shares:?} by {weights:?}");
        }
    }

    #[test]
    fn the_spread_is_by_weight_with_three_and_with_thirty_members() {
        assert_near(&shares(&[300.0, 200.0, 100.0], |_| true, 10_000), &[3.0, 2.0, 1.0]);
        let thirty: Vec<f64> = (1..=30).map(|number| f64::from(number * number)).collect();
        assert_near(&shares(&thirty, |_| true, 10_000), &thirty);
    }

    #[test]
    fn the_share_of_a_dead_member_goes_to_all_others_by_weight() {
        assert_near(&shares(&[100.0, 300.0, 400.0, 200.0], |member| member != 1, 10_000), &[1.0, 0.0, 4.0, 2.0]);
    }

    #[test]
    fn turns_are_even_and_not_in_a_row() {
        let mut turns = Turns::default();
        let picks: Vec<_> =
            (0..8).map(|_| turns.next(2, Time(1), |member| share([3.0, 1.0][member]), |_| true).unwrap()).collect();
        assert_eq!(picks.iter().filter(|pick| **pick == 1).count(), 2);
        assert!(picks.windows(2).all(|pair| pair != [1, 1]), "{picks:?}");
    }

    #[test]
    fn one_that_may_not_have_this_request_keeps_its_turn() {
        let mut turns = Turns::default();
        let mut next = |may: fn(usize) -> bool| turns.next(2, Time(1), |_| share(1.0), may);
        let turns = [next(|member| member == 1), next(|_| true), next(|_| true), next(|_| true)];
        assert_eq!(turns, [Some(1), Some(0), Some(0), Some(1)]);
        assert_eq!(next(|_| false), None);
    }

    #[test]
    fn a_weight_that_rises_does_not_wait_for_a_turn_of_long_ago() {
        let mut turns = Turns::default();
        let mut low = [100.0, 0.001];
        for call in 0..50 {
            turns.next(2, Time(call * 100), |member| share(low[member]), |_| true);
        }
        low[1] = 100.0;
        let mut count = 0;
        for call in 0..100 {
            count += turns.next(2, Time(1_000_000 + call), |member| share(low[member]), |_| true).unwrap();
        }
        assert!((48..=52).contains(&count), "{count}");
    }

    #[test]
    fn one_that_has_come_back_has_its_first_turn_soon_and_then_those_of_its_weight() {
        let mut turns = Turns::default();
        let mut counts = [0; 2];
        for call in 0..300 {
            let returned = (call >= 100).then_some(Time(100_000));
            let shares = [share(100.0), share(1.0).map(|share| Share { returned, ..share })];
            let takes = |member: usize| shares[member].filter(|_| member == 0 || returned.is_some());
            let picked = turns.next(2, Time(call * 1_000), takes, |_| true).unwrap();
            counts[picked] += 1;
            assert!(call < 202 || counts[1] > 0, "{counts:?} after {call}");
        }
        assert!((2..=3).contains(&counts[1]), "{counts:?}");
    }
}
