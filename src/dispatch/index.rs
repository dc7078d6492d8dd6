//! From a fingerprint to a place in the slab, without allocating: open addressing in a table of fixed size.
//!
//! A bucket holds half of a fingerprint's short form beside the place, so that a search reads one line of memory and
//! goes to an entry only if it is the right one. Removal moves later places back instead of leaving marks: the index is
//! as fast after a million entries as at the start and never stalls to clean up. Fingerprints are keyed, so that no
//! peer can choose ones that collide.

use crate::net::memory::fetch;
use crate::pack::{Damaged, Pack, Packed, Saved, pack_length};

/// Places by hash.
#[derive(Debug)]
pub(super) struct Index {
    /// The upper half of the hash, then place + 1. 0 is an empty bucket, so that new zeroed memory is not touched
    /// before it is used.
    buckets: Vec<u64>,
    shift: u32,
    used: usize,
    /// Most buckets that are ever filled: some stay empty, where each search ends.
    limit: usize,
}

/// The filled buckets as a list of `u64`, without such a list in memory: its page faults cost a takeover milliseconds.
impl Saved for Index {
    fn save(&self, out: &mut Vec<u8>) {
        pack_length(self.used, out);
        self.filled().for_each(|bucket| bucket.pack(out));
    }

    /// A bucket holds its home itself. Buckets written in their order come to lie side by side again, so that no search
    /// leaves its line of memory.
    fn restore(&mut self, from: &mut Packed<'_>) -> Result<(), Damaged> {
        let used = from.length()?;
        if used > self.buckets.len() * 2 / 3 {
            return Err(Damaged("an index of the table"));
        }
        // No lane reads meanwhile, and an index takes megabytes.
        if self.used > 0 {
            self.clear();
        }
        for _ in 0..used {
            let bucket = u64::unpack(from)?;
            if bucket == 0 {
                return Err(Damaged("an index of the table"));
            }
            let mut at = self.home(bucket);
            while self.buckets[at] != 0 {
                at = self.behind(at);
            }
            self.buckets[at] = bucket;
        }
        self.used = used;
        Ok(())
    }

    fn describe(out: &mut String) {
        out.push_str("Index=");
        <Vec<u64>>::layout(out);
    }
}

impl Index {
    /// An index for at most `limit` places. At most two thirds of the buckets are ever used, so that searches are
    /// short.
    pub(super) fn new(limit: usize) -> Self {
        let buckets = (limit + limit / 2 + 1).next_power_of_two();
        let limit = buckets - (buckets / 4).max(1);
        Index { buckets: vec![0; buckets], shift: u64::BITS - buckets.ilog2(), used: 0, limit }
    }

    /// The place with this hash for which `is_meant` is true.
    pub(super) fn get(&self, hash: u64, is_meant: impl Fn(u32) -> bool) -> Option<u32> {
        self.find(hash, is_meant).ok().map(|at| place(self.buckets[at]))
    }

    /// Enters a place. It replaces the place for which `is_meant` is true, which is returned.
    ///
    /// An index that an earlier dispatcher damaged may be full of places that nobody removes. Then no more are entered,
    /// and the entry is not found, which costs less than a search without an end.
    pub(super) fn set(&mut self, hash: u64, new: u32, is_meant: impl Fn(u32) -> bool) -> Option<u32> {
        let (at, before) = match self.find(hash, is_meant) {
            Ok(at) => (at, Some(place(self.buckets[at]))),
            Err(_) if self.used >= self.limit => return None,
            Err(empty) => {
                self.used += 1;
                (empty, None)
            }
        };
        self.buckets[at] = bucket(hash, new);
        before
    }

    /// Enters `new` instead of `old`; does nothing if `old` is not in the index.
    pub(super) fn replace(&mut self, hash: u64, old: u32, new: u32) {
        if let Ok(at) = self.find(hash, |place| place == old) {
            self.buckets[at] = bucket(hash, new);
        }
    }

    /// Removes a place, if it is in the index.
    pub(super) fn remove(&mut self, hash: u64, old: u32) {
        let Ok(mut hole) = self.find(hash, |place| place == old) else { return };
        let mut at = hole;
        loop {
            at = self.behind(at);
            let bucket = self.buckets[at];
            if bucket == 0 {
                break;
            }
            // A place may move back to the hole unless its home lies after the hole.
            let mask = self.buckets.len() - 1;
            let from_home = at.wrapping_sub(self.home(bucket)) & mask;
            let from_hole = at.wrapping_sub(hole) & mask;
            if from_home >= from_hole {
                self.buckets[hole] = bucket;
                hole = at;
            }
        }
        self.buckets[hole] = 0;
        self.used -= 1;
    }

    /// Asks the memory for the bucket where a search for a hash starts, and does not wait for it. Most searches end
    /// within the next few, which may lie in the next line of the cache.
    pub(super) fn expect(&self, hash: u64) {
        let home = self.home(hash);
        fetch(&self.buckets[home]);
        fetch(&self.buckets[(home + 4) & (self.buckets.len() - 1)]);
    }

    /// Number of places in the index.
    pub(super) const fn len(&self) -> usize {
        self.used
    }

    /// The filled buckets, in their order.
    fn filled(&self) -> impl Iterator<Item = u64> {
        self.buckets.iter().copied().filter(|&bucket| bucket != 0)
    }

    /// Removes all places, and touches all of the memory.
    pub(super) fn clear(&mut self) {
        self.buckets.fill(0);
        self.used = 0;
    }

    /// The bucket, else the empty bucket at which the search ended. There always is one, because of the limit.
    fn find(&self, hash: u64, is_meant: impl Fn(u32) -> bool) -> Result<usize, usize> {
        let mut at = self.home(hash);
        loop {
            match self.buckets[at] {
                0 => return Err(at),
                bucket if (bucket ^ hash) >> 32 == 0 && is_meant(place(bucket)) => return Ok(at),
                _ => at = self.behind(at),
            }
        }
    }

    /// The bucket at which the search for a hash starts. It depends on the upper half alone, so that a bucket holds its
    /// own home.
    fn home(&self, hash: u64) -> usize {
        (hash >> self.shift) as usize
    }

    fn behind(&self, at: usize) -> usize {
        (at + 1) & (self.buckets.len() - 1)
    }
}

const fn bucket(hash: u64, place: u32) -> u64 {
    hash & !0xffff_ffff | (place + 1) as u64
}

const fn place(bucket: u64) -> u32 {
    (bucket as u32).wrapping_sub(1)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_bytes_of_an_index_are_the_list_that_is_described() {
        let mut index = Index::new(10);
        for place in 0..7 {
            assert_eq!(index.set(u64::from(place) << 60, place, |_| false), None);
        }
        let mut bytes = Vec::new();
        index.save(&mut bytes);
        let mut from = Packed::new(&bytes);
        assert_eq!(<Vec<u64>>::unpack(&mut from).unwrap(), index.filled().collect::<Vec<_>>());
        assert!(from.is_empty());
        let mut next = Index::new(10);
        next.restore(&mut Packed::new(&bytes)).unwrap();
        assert_eq!((next.len(), next.buckets), (7, index.buckets));
    }

    #[test]
    fn places_of_one_hash_are_told_apart_and_one_can_take_anothers_bucket() {
        let mut index = Index::new(8);
        for place in [1, 2, 3] {
            assert_eq!(index.set(7 << 60, place, |other| other == place), None);
        }
        assert_eq!(index.set(7 << 60, 9, |other| other == 2), Some(2));
        assert_eq!(index.get(7 << 60, |place| place == 2), None);
        index.replace(7 << 60, 9, 4);
        assert_eq!(index.get(7 << 60, |place| place == 4), Some(4));
        assert_eq!(index.get(6 << 60, |_| true), None);
        assert_eq!(index.len(), 3);
    }

    proptest! {
        /// Few homes, so that searches run into each other and wrap around the end.
        #[test]
        fn index_finds_each_key_that_was_entered_and_not_taken_out(steps in prop::collection::vec((0_u32..12, any::<bool>()), 0..200)) {
            let hash = |place: u32| u64::from(place % 3 + 13) << 60 | u64::from(place % 2) << 40;
            let mut index = Index::new(12);
            let mut model = [false; 12];
            for (place, enter) in steps {
                if enter {
                    index.set(hash(place), place, |other| other == place);
                } else {
                    index.remove(hash(place), place);
                }
                model[place as usize] = enter;
                for (other, &is_in) in (0..).zip(&model) {
                    prop_assert_eq!(index.get(hash(other), |found| found == other).is_some(), is_in);
                }
                let entered = model.iter().filter(|&&is_in| is_in).count();
                prop_assert_eq!((index.len(), index.filled().count()), (entered, entered));
            }
        }
    }
}
