//! The lowest (used + this size) / capacity: exact for small pools, the better of two drawn for large ones.

use super::{Ask, Random, Snapshot};

/// Up to this many workers every one is looked at.
const EXACT: usize = 32;

/// How many draws find two workers with room before the pool is searched: at half the pool full 16 all fail once in
/// 65,536 selections.
const DRAWS: usize = 16;

pub(super) fn pick(snapshot: &Snapshot<'_>, ask: &Ask, cursor: &mut usize, random: &mut Random) -> Option<usize> {
    let workers = snapshot.loads.len();
    if workers <= EXACT {
        // Ties go round.
        *cursor = if *cursor + 1 >= workers { 0 } else { *cursor + 1 };
        let open = snapshot.open.around(*cursor).filter(|&worker| snapshot.takes(worker, ask));
        return open.reduce(|best, other| better(snapshot, ask, best, other));
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

/// The one with the lower score; the first of two with the same. A worker that starts counts as if it were smaller.
fn better(snapshot: &Snapshot<'_>, ask: &Ask, first: usize, second: usize) -> usize {
    let score = |worker: usize| {
        let load = snapshot.loads.get(worker).copied().unwrap_or_default();
        let used = u128::from(load.used) + u128::from(ask.size);
        (used, u128::from(load.total) * u128::from(snapshot.share(worker)))
    };
    let ((a, of_a), (b, of_b)) = (score(first), score(second));
    if b * of_a < a * of_b { second } else { first }
}
