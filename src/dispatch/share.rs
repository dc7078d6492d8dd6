//! Fair shares: the number of requests of each source that wait for an answer.
//!
//! A source is an IPv4 address or an IPv6 /64, known by a few bits of a keyed hash. So the counts have one fixed size,
//! and no source can aim at another's count; sources whose bits are equal by chance share a count. Under pressure the
//! remaining room is for sources below their share; a source at its share waits until one of its own requests is
//! answered. So no source takes the room that others wait for, and a newcomer finds room however many requests the
//! others send.

use crate::fingerprint::SourcePrint;

/// Waiting requests, by source.
#[derive(Debug)]
pub struct Shares {
    counts: Box<[u32; COUNTS]>,
    /// Number of sources with waiting requests.
    sources: u32,
    /// Number of all waiting requests.
    waiting: u32,
}

/// Number of counts: 256 KiB, which stay in a core's cache.
const COUNTS: usize = 1 << 16;
/// A share is never smaller than the waiting requests divided by this. Addresses are easily forged: were the divisor
/// the number of sources alone, a flood from a million of them would leave an honest proxy a share of one.
const MOST_SHARES: u64 = 64;

impl Default for Shares {
    fn default() -> Self {
        let counts = vec![0; COUNTS].into_boxed_slice();
        // The slice has just been made with that length, so the alternative never happens.
        let counts = counts.try_into().unwrap_or_else(|_| Box::new([0; COUNTS]));
        Shares { counts, sources: 0, waiting: 0 }
    }
}

impl Shares {
    /// Counts a waiting request of this source.
    pub fn add(&mut self, source: SourcePrint) {
        self.add_places(source, 1);
    }

    /// Takes a request of this source off the count: it waits no longer.
    pub fn remove(&mut self, source: SourcePrint) {
        self.remove_places(source, 1);
    }

    /// Counts a waiting request of this source that takes as much room as so many others, one at least.
    pub fn add_places(&mut self, source: SourcePrint, places: u32) {
        let count = &mut self.counts[usize::from(source.0)];
        self.sources += u32::from(*count == 0);
        *count += places;
        self.waiting += places;
    }

    /// Takes such a request of this source off the count.
    pub fn remove_places(&mut self, source: SourcePrint, places: u32) {
        let count = &mut self.counts[usize::from(source.0)];
        debug_assert!(*count >= places && self.waiting >= places, "more taken away than was added");
        self.sources -= u32::from(*count > 0 && *count <= places);
        *count = count.saturating_sub(places);
        self.waiting = self.waiting.saturating_sub(places);
    }

    /// Whether a source has its share already: the waiting requests divided among their sources and one newcomer, or a
    /// sixty-fourth of them if there are very many sources.
    ///
    /// The newcomer's part keeps sources that flood alike from filling the room: chance gives some of them a tenth more
    /// than others, and what the others lack to the largest of them can be all the room there is.
    pub fn is_used_up(&self, source: SourcePrint) -> bool {
        let count = u64::from(self.counts[usize::from(source.0)]);
        count > 0 && count * (u64::from(self.sources) + 1).min(MOST_SHARES) >= u64::from(self.waiting)
    }

    /// Number of all waiting requests.
    pub const fn waiting(&self) -> usize {
        self.waiting as usize
    }

    /// Number of sources with waiting requests; sources that share a count are one.
    pub const fn sources(&self) -> u32 {
        self.sources
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn shares(held: &[u32]) -> Shares {
        let mut shares = Shares::default();
        for (source, &held) in held.iter().enumerate() {
            (0..held).for_each(|_| shares.add(SourcePrint(source as u16)));
        }
        shares
    }

    fn used_up(held: &[u32]) -> Vec<bool> {
        let shares = shares(held);
        (0..held.len()).map(|source| shares.is_used_up(SourcePrint(source as u16))).collect()
    }

    #[test]
    fn a_source_with_the_average_or_more_has_used_up_its_share() {
        assert_eq!(used_up(&[0, 0]), [false, false]);
        assert_eq!(used_up(&[1, 0]), [true, false], "alone");
        assert_eq!(used_up(&[5, 5, 0]), [true, true, false]);
        assert_eq!(used_up(&[9, 2, 1, 0]), [true, false, false, false]);
    }

    #[test]
    fn sources_that_flood_alike_leave_room_for_a_newcomer_although_chance_gives_some_of_them_more() {
        // Eight sources filled three quarters of a lane's links. Were the smallest to catch up with the largest, each
        // would have 441, which is all of the 3,584 places but 56.
        let held = used_up(&[441, 421, 419, 412, 407, 421, 424, 420, 0]);
        assert!(!held[8] && held[..8].iter().all(|used_up| *used_up), "{held:?}");
    }

    #[test]
    fn among_very_many_sources_each_may_have_a_sixty_fourth() {
        let mut held = vec![1; 6_400];
        held[0] = 90;
        assert!(!used_up(&held)[0], "an honest proxy among forged addresses");
        held[0] = 110;
        assert!(used_up(&held)[0]);
        assert!(!used_up(&held)[1]);
    }

    proptest! {
        #[test]
        fn a_transaction_that_was_added_can_be_removed_and_some_source_is_below_the_average_or_all_are_at_it(
            held in prop::collection::vec(0_u32..20, 1..40),
        ) {
            let mut shares = shares(&held);
            prop_assert_eq!(shares.waiting(), held.iter().sum::<u32>() as usize);
            prop_assert_eq!(shares.sources() as usize, held.iter().filter(|&&held| held > 0).count());
            let above = (0..held.len()).filter(|&source| shares.is_used_up(SourcePrint(source as u16))).count();
            prop_assert!(above > 0 || shares.waiting() == 0);
            for (source, &held) in held.iter().enumerate() {
                (0..held).for_each(|_| shares.remove(SourcePrint(source as u16)));
            }
            prop_assert_eq!((shares.waiting(), shares.sources()), (0, 0));
        }
    }
}
