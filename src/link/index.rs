//! From a sequence number to the place of its record, without allocating: open addressing in a table of fixed size.
//!
//! Removal moves later entries back instead of leaving marks, so the table is as fast after a million messages as at
//! the start, and never stalls to clean up. At most half of it is ever used, so a search ends after few steps. The
//! numbers are the dispatcher's own: no peer can choose ones that collide.

use crate::ids::Seq;
use crate::net::memory::fetch;

/// Places by sequence number.
#[derive(Debug)]
pub(super) struct Index {
    /// The number, and place + 1. 0 is an empty bucket, so that new zeroed memory is not touched before it is used.
    buckets: Vec<(u64, u32)>,
    shift: u32,
    used: usize,
    limit: usize,
}

impl Index {
    /// An index for at most `limit` numbers.
    pub(super) fn new(limit: usize) -> Self {
        let buckets = (limit.max(4) * 2).next_power_of_two();
        Index { buckets: vec![(0, 0); buckets], shift: u64::BITS - buckets.ilog2(), used: 0, limit }
    }

    /// Number of entries that it can still take.
    pub(super) const fn room(&self) -> usize {
        self.limit.saturating_sub(self.used)
    }

    /// Number of entries.
    pub(super) const fn len(&self) -> usize {
        self.used
    }

    /// Enters `seq`, which must not be in it; the caller has checked that there is room.
    pub(super) fn insert(&mut self, seq: Seq, place: u32) {
        debug_assert!(self.room() > 0 && self.find(seq).is_none(), "index full or {seq:?} entered twice");
        let mut at = self.home(seq.0);
        while self.buckets[at].1 != 0 {
            at = self.behind(at);
        }
        self.buckets[at] = (seq.0, place + 1);
        self.used += 1;
    }

    /// Asks the memory for the bucket where a search for `seq` starts, and does not wait for it.
    pub(super) fn expect(&self, seq: Seq) {
        fetch(&self.buckets[self.home(seq.0)]);
    }

    /// The place of `seq`.
    pub(super) fn get(&self, seq: Seq) -> Option<u32> {
        self.find(seq).map(|at| self.buckets[at].1 - 1)
    }

    /// Removes `seq`.
    pub(super) fn remove(&mut self, seq: Seq) -> Option<u32> {
        let mut hole = self.find(seq)?;
        let place = self.buckets[hole].1 - 1;
        let mut at = hole;
        loop {
            at = self.behind(at);
            let (number, marked) = self.buckets[at];
            if marked == 0 {
                break;
            }
            // An entry may move back to the hole unless its home lies after the hole.
            let mask = self.buckets.len() - 1;
            let from_home = at.wrapping_sub(self.home(number)) & mask;
            let from_hole = at.wrapping_sub(hole) & mask;
            if from_home >= from_hole {
                self.buckets[hole] = (number, marked);
                hole = at;
            }
        }
        self.buckets[hole] = (0, 0);
        self.used -= 1;
        Some(place)
    }

    fn find(&self, seq: Seq) -> Option<usize> {
        let mut at = self.home(seq.0);
        loop {
            match self.buckets[at] {
                (_, 0) => return None,
                (number, _) if number == seq.0 => return Some(at),
                _ => at = self.behind(at),
            }
        }
    }

    /// Eight neighbouring numbers are at home side by side, in two lines of the cache, for messages are answered about
    /// in the order in which they were handed over. Multiplication by the golden ratio spreads the eights evenly.
    fn home(&self, number: u64) -> usize {
        let eight = (number >> 3).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> self.shift;
        eight as usize & !7 | (number & 7) as usize
    }

    fn behind(&self, at: usize) -> usize {
        (at + 1) & (self.buckets.len() - 1)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn it_finds_what_a_map_finds(operations in prop::collection::vec((0..80_u64, any::<bool>()), 1..400)) {
            let mut index = Index::new(24);
            let mut naive = BTreeMap::new();
            for (place, (number, enter)) in operations.into_iter().enumerate() {
                let seq = Seq(number * 0x0fff_ffff);
                if !enter {
                    prop_assert_eq!(index.remove(seq), naive.remove(&seq));
                } else if index.room() > 0 && !naive.contains_key(&seq) {
                    index.insert(seq, place as u32);
                    naive.insert(seq, place as u32);
                }
                prop_assert_eq!(index.len(), naive.len());
                for number in 0..80 {
                    let seq = Seq(number * 0x0fff_ffff);
                    prop_assert_eq!(index.get(seq), naive.get(&seq).copied());
                }
            }
        }
    }
}
