//! Answers of name servers, for as long as they hold.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::names::record::{Kind, Outcome};
use crate::time::Time;

/// Outcomes by name and kind of record. Bounded: the one that ends first makes room.
#[derive(Debug)]
pub(super) struct Cache {
    entries: BTreeMap<(Box<str>, Kind), (Outcome, Time)>,
    limit: usize,
}

/// The shortest time that an answer is kept: with a TTL of 0 every call would ask anew.
const SHORTEST: Duration = Duration::from_secs(1);
/// The longest.
const LONGEST: Duration = Duration::from_secs(3_600);
/// "There is none" holds for no longer than this (RFC 2308 §5 allows hours): a record that an operator adds later is
/// found soon.
const NOTHING_LONGEST: Duration = Duration::from_secs(300);
/// "There is none", where the answer does not say how long.
const NOTHING: Duration = Duration::from_secs(30);
/// A failure is remembered this long, so that a dead domain is not asked for with every call (RFC 9520 §3.2: 1 s to 5
/// min).
const FAILED: Duration = Duration::from_secs(5);

impl Cache {
    pub(super) fn new(limit: usize) -> Self {
        Cache { entries: BTreeMap::new(), limit }
    }

    pub(super) fn get(&self, name: &str, kind: Kind, now: Time) -> Option<(&Outcome, Time)> {
        let (outcome, until) = self.entries.get(&(name.into(), kind))?;
        (*until > now).then_some((outcome, *until))
    }

    pub(super) fn insert(&mut self, name: &str, kind: Kind, outcome: Outcome, now: Time) {
        let seconds = |seconds: u32| Duration::from_secs(u64::from(seconds));
        let holds = match &outcome {
            Outcome::Addresses(_, ttl) | Outcome::Services(_, ttl) | Outcome::Pointers(_, ttl) => {
                seconds(*ttl).clamp(SHORTEST, LONGEST)
            }
            Outcome::NoName(ttl) | Outcome::Nothing(ttl) => {
                ttl.map_or(NOTHING, seconds).clamp(SHORTEST, NOTHING_LONGEST)
            }
            Outcome::Failed => FAILED,
        };
        if self.entries.len() >= self.limit {
            self.entries.retain(|_, (_, until)| *until > now);
        }
        if self.entries.len() >= self.limit {
            let first = self.entries.iter().min_by_key(|(_, (_, until))| *until).map(|(key, _)| key.clone());
            first.map(|key| self.entries.remove(&key));
        }
        self.entries.insert((name.into(), kind), (outcome, now + holds));
    }

    pub(super) fn clear(&mut self) {
        self.entries.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_outcome_holds_for_its_time() {
        let mut cache = Cache::new(10);
        let addresses = |ttl| Outcome::Addresses(Vec::new(), ttl);
        for (outcome, seconds) in [
            (addresses(0), 1),
            (addresses(60), 60),
            (addresses(u32::MAX), 3_600),
            (Outcome::Nothing(None), 30),
            (Outcome::Nothing(Some(86_400)), 300),
            (Outcome::Failed, 5),
        ] {
            let until = Time(0) + Duration::from_secs(seconds);
            cache.insert("a", Kind::A, outcome.clone(), Time(0));
            assert_eq!(cache.get("a", Kind::A, Time(until.0 - 1)), Some((&outcome, until)), "{outcome:?}");
            assert_eq!(cache.get("a", Kind::A, until), None, "{outcome:?}");
        }
    }

    #[test]
    fn the_one_that_ends_first_makes_room() {
        let mut cache = Cache::new(2);
        for (name, ttl) in [("a", 50), ("b", 10), ("c", 20)] {
            cache.insert(name, Kind::A, Outcome::Addresses(Vec::new(), ttl), Time(0));
        }
        let there = ["a", "b", "c"].map(|name| cache.get(name, Kind::A, Time(1)).is_some());
        assert_eq!(there, [true, false, true]);
    }
}
