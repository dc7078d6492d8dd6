//! Selects one worker after the other.

use super::{Ask, Random, Snapshot};

pub(super) fn pick(snapshot: &Snapshot<'_>, ask: &Ask, cursor: &mut usize, random: &mut Random) -> Option<usize> {
    let next = |worker: usize| if worker + 1 >= snapshot.loads.len() { 0 } else { worker + 1 };
    let mut skipped = None;
    // A worker that starts is sometimes skipped; if all workers start, the first skipped one gets the session.
    for _ in 0..8 {
        let found = snapshot.from(*cursor, ask)?;
        *cursor = next(found);
        if random.grants(snapshot.share(found)) {
            return Some(found);
        }
        skipped = skipped.or(Some(found));
    }
    skipped
}
