//! Selection by the lowest (used + this size) / capacity: exact for small pools, the better of two drawn for large
//! ones.

use super::{Ask, Load, Random, Snapshot};

/// Up to this many workers every one is compared.
const EXACT: usize = 32;

/// Number of draws to find two workers with room before the pool is searched: with half the pool full, all 16 fail once
/// in 65,536 selections.
const DRAWS: usize = 16;

pub(super) fn pick(snapshot: &Snapshot<'_>, ask: &Ask, cursor: &mut usize, random: &mut Random) -> Option<usize> {
    let workers = snapshot.loads.len();
    if workers <= EXACT {
        // The start moves on each time, so that workers with equal scores take turns.
        *cursor = if *cursor + 1 >= workers { 0 } else { *cursor + 1 };
        let mut best: Option<(usize, Score)> = None;
        for worker in snapshot.open.around(*cursor) {
            let Some(load) = snapshot.loads.get(worker).filter(|load| ask.fits(worker, load)) else { continue };
            let score = Score::of(snapshot, ask, load);
            if best.is_none_or(|(_, lowest)| score.is_below(lowest)) {
                best = Some((worker, score));
            }
        }
        return best.map(|(worker, _)| worker);
    }
    let mut first = None;
    for _ in 0..DRAWS {
        let drawn = random.below(workers);
        if !snapshot.takes(drawn, ask) || first == Some(drawn) {
            continue;
        }
        match first {
            None => first = Some(drawn),
            Some(first) => return Some(better(snapshot, ask, first, drawn)),
        }
    }
    first.or_else(|| snapshot.from(random.below(workers), ask))
}

/// The worker with the lower score; the first of two with the same.
fn better(snapshot: &Snapshot<'_>, ask: &Ask, first: usize, second: usize) -> usize {
    let score = |worker| Score::of(snapshot, ask, snapshot.loads.get(worker).unwrap_or(&Load::default()));
    let is_second = score(second).is_below(score(first));
    if is_second { second } else { first }
}

/// A worker's load with the new session, as a fraction. A worker that starts counts as if it were smaller.
#[derive(Clone, Copy)]
struct Score {
    used: u64,
    of: u64,
}

impl Score {
    fn of(snapshot: &Snapshot<'_>, ask: &Ask, load: &Load) -> Self {
        let used = u64::from(load.used) + u64::from(ask.size);
        Score { used, of: u64::from(load.total) * snapshot.share_of(load) }
    }

    fn is_below(self, other: Score) -> bool {
        u128::from(self.used) * u128::from(other.of) < u128::from(other.used) * u128::from(self.of)
    }
}
