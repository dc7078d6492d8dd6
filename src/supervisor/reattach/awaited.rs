//! Workers of an earlier dispatcher that are waited for, each once.
//!
//! Workers whose lock files were removed make them anew one after another, on a busy machine far apart. Each is waited
//! for once, so that the wait ends even if one neither comes nor can be killed.

use std::collections::BTreeSet;

use crate::ids::WorkerId;

/// The slots whose workers have been waited for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AwaitedOnce {
    awaited: BTreeSet<WorkerId>,
}

impl AwaitedOnce {
    /// The slots, of those whose workers live, to be waited for now. `has_come` tells whether a slot's worker is back.
    pub fn next(
        &mut self,
        living: impl IntoIterator<Item = WorkerId>,
        has_come: impl Fn(WorkerId) -> bool,
    ) -> BTreeSet<WorkerId> {
        living.into_iter().filter(|slot| !has_come(*slot) && self.awaited.insert(*slot)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn workers_whose_locks_come_back_one_by_one_are_all_waited_for_and_each_once() {
        let mut awaited_once = AwaitedOnce::default();
        let mut held = Vec::new();
        for slot in (0..40).map(WorkerId) {
            held.push(slot);
            // The worker before has come; the very first neither comes nor can be killed.
            let has_come = |it: WorkerId| it != WorkerId(0) && it < slot;
            assert_eq!(awaited_once.next(held.clone(), has_come), BTreeSet::from([slot]));
        }
        assert_eq!(awaited_once.next(held, |_| false), BTreeSet::new());
    }
}
