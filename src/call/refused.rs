//! The transactions that were given back to the dispatcher: every message that follows them is given back as well, and
//! none of them is answered.

use std::collections::VecDeque;
use std::time::Duration;

use hashbrown::HashTable;

use crate::fingerprint::Fingerprint;
use crate::time::Time;

/// Fingerprints of refused transactions, the oldest first.
///
/// A worker under heavy refusal forgets the oldest ones early; a CANCEL of such a call gets 481, which the caller
/// takes.
#[derive(Debug)]
pub(super) struct Refused {
    entries: VecDeque<(Fingerprint, Time)>,
    /// The same fingerprints, to be found at once; they are keyed hashes already.
    index: HashTable<Fingerprint>,
    keep: Duration,
}

/// Fingerprints that are kept: more than a worker refuses in the 400 ms in which messages can still follow; a request
/// has two.
const LIMIT: usize = 8_192;

impl Refused {
    pub(super) const fn new(keep: Duration) -> Self {
        Refused { entries: VecDeque::new(), index: HashTable::new(), keep }
    }

    pub(super) fn insert(&mut self, fingerprint: Fingerprint, now: Time) {
        self.forget(now);
        if self.index.find(fingerprint.short(), |entry| *entry == fingerprint).is_some() {
            return;
        }
        if self.entries.len() == LIMIT {
            self.forget_oldest();
        }
        self.entries.push_back((fingerprint, now));
        self.index.insert_unique(fingerprint.short(), fingerprint, |entry| entry.short());
    }

    pub(super) fn contains(&mut self, fingerprint: Fingerprint, now: Time) -> bool {
        self.forget(now);
        self.index.find(fingerprint.short(), |entry| *entry == fingerprint).is_some()
    }

    /// Whether it has no fingerprint: a caller makes none then to ask for.
    pub(super) fn is_empty(&mut self, now: Time) -> bool {
        self.forget(now);
        self.entries.is_empty()
    }

    fn forget(&mut self, now: Time) {
        while self.entries.front().is_some_and(|(_, at)| now.since(*at) > self.keep) {
            self.forget_oldest();
        }
    }

    fn forget_oldest(&mut self) {
        let Some((oldest, _)) = self.entries.pop_front() else { return };
        if let Ok(entry) = self.index.find_entry(oldest.short(), |entry| *entry == oldest) {
            entry.remove();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn print(number: u128) -> Fingerprint {
        Fingerprint::from_bytes(number.to_le_bytes())
    }

    #[test]
    fn a_refusal_is_remembered_for_the_life_of_its_transaction() {
        let mut refused = Refused::new(Duration::from_secs(32));
        refused.insert(print(7), Time(0));
        assert!(refused.contains(print(7), Time(32_000_000)));
        assert!(!refused.contains(print(8), Time(0)));
        assert!(!refused.contains(print(7), Time(32_000_001)));
    }

    #[test]
    fn the_memory_is_bounded() {
        let mut refused = Refused::new(Duration::from_secs(32));
        (0..10_000).for_each(|number| refused.insert(print(number), Time(1)));
        assert_eq!(refused.entries.len(), LIMIT);
        assert!(refused.contains(print(9_999), Time(1)) && !refused.contains(print(0), Time(1)));
    }
}
