//! Connections by source: whether a source may have one more, and which connection makes room for it. Values only.
//!
//! A connection that is in use (a call, a request) never makes room. If the source already has its share, its own most
//! silent connection makes room; else the most silent one of the source that has most connections. So a source's many
//! connections harm that source alone, and never a call.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use crate::time::Time;

/// Number of connections of each source.
#[derive(Debug)]
pub struct Crowd {
    limit: usize,
    share: usize,
    sources: BTreeMap<u64, usize>,
    total: usize,
}

/// A connection that could make room.
#[derive(Clone, Copy, Debug)]
pub struct Standing<K> {
    /// Its name.
    pub key: K,
    /// Source of the connection.
    pub source: u64,
    /// When its peer was last heard.
    pub heard: Time,
    /// Whether something goes on over it.
    pub in_use: bool,
}

/// Room for one more connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Room<K> {
    /// A connection can be added now.
    Free,
    /// A connection can be added once this one is closed.
    InPlaceOf(K),
    /// None: all connections that could make room are in use.
    None,
}

impl Crowd {
    /// Room for `limit` connections, at most `share` of them from one source.
    pub const fn new(limit: usize, share: usize) -> Self {
        Crowd { limit, share: if share > 0 { share } else { 1 }, sources: BTreeMap::new(), total: 0 }
    }

    /// Changes how many connections there may be. Those that are there stay.
    pub const fn set_limits(&mut self, limit: usize, share: usize) {
        (self.limit, self.share) = (limit, if share > 0 { share } else { 1 });
    }

    /// Number of connections.
    pub const fn total(&self) -> usize {
        self.total
    }

    /// Number of connections of `source`.
    pub fn count(&self, source: u64) -> usize {
        self.sources.get(&source).copied().unwrap_or_default()
    }

    /// Adds a connection of `source`.
    pub fn add(&mut self, source: u64) {
        *self.sources.entry(source).or_default() += 1;
        self.total += 1;
    }

    /// Removes a connection of `source`.
    pub fn remove(&mut self, source: u64) {
        let Some(count) = self.sources.get_mut(&source) else { return };
        *count -= 1;
        self.total -= 1;
        if *count == 0 {
            self.sources.remove(&source);
        }
    }

    /// Looks for room for one more connection of `source`. `standing` are all connections; they are read only when
    /// there is no free room.
    pub fn room<K>(&self, source: u64, standing: impl Iterator<Item = Standing<K>>) -> Room<K> {
        let has_share = self.count(source) >= self.share;
        self.find(has_share.then_some(source), standing)
    }

    /// The same for a source that stands for many: it may have more than a share.
    pub fn room_beyond_share<K>(&self, standing: impl Iterator<Item = Standing<K>>) -> Room<K> {
        self.find(None, standing)
    }

    /// Looks for room; where it is of one source only, that source makes it.
    fn find<K>(&self, only: Option<u64>, standing: impl Iterator<Item = Standing<K>>) -> Room<K> {
        if only.is_none() && self.total < self.limit {
            return Room::Free;
        }
        let candidates = standing.filter(|it| !it.in_use && only.is_none_or(|source| it.source == source));
        let most_silent = candidates.min_by_key(|it| (Reverse(self.count(it.source)), it.heard));
        most_silent.map_or(Room::None, |it| Room::InPlaceOf(it.key))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Connections, numbered in their order.
    struct Hall {
        crowd: Crowd,
        standing: Vec<Standing<u64>>,
    }

    impl Hall {
        fn new(limit: usize) -> Hall {
            Hall { crowd: Crowd::new(limit, limit / 8), standing: Vec::new() }
        }

        fn enter(&mut self, source: u64, in_use: bool) -> Room<u64> {
            let room = self.crowd.room(source, self.standing.iter().copied());
            if let Room::InPlaceOf(key) = room {
                let gone = self.standing.iter().position(|it| it.key == key).unwrap();
                self.crowd.remove(self.standing.remove(gone).source);
            }
            if room != Room::None {
                let key = self.standing.last().map_or(0, |last| last.key + 1);
                self.crowd.add(source);
                self.standing.push(Standing { key, source, heard: Time(key), in_use });
            }
            room
        }

        fn of(&self, source: u64) -> usize {
            self.standing.iter().filter(|it| it.source == source).count()
        }
    }

    const HONEST: u64 = 20;
    const STRANGER: u64 = 66;

    #[test]
    fn four_thousand_idle_connections_of_one_source_close_none_of_the_twenty_of_another() {
        let mut hall = Hall::new(4_096);
        (0..20).for_each(|number| assert_eq!(hall.enter(HONEST, number % 2 == 0), Room::Free));
        (0..4_200).for_each(|_| assert_ne!(hall.enter(STRANGER, false), Room::None));
        assert_eq!((hall.of(HONEST), hall.of(STRANGER)), (20, 512));
    }

    #[test]
    fn many_sources_close_their_own_idle_connections_and_never_one_in_use() {
        let mut hall = Hall::new(64);
        (0..4).for_each(|_| assert_eq!(hall.enter(HONEST, true), Room::Free));
        (0..3).for_each(|_| assert_eq!(hall.enter(HONEST + 1, false), Room::Free));
        (0..500).for_each(|number| {
            hall.enter(100 + number % 12, false);
        });
        assert_eq!((hall.of(HONEST), hall.of(HONEST + 1), hall.standing.len()), (4, 3, 64));
    }

    #[test]
    fn one_more_connection_is_refused_where_all_are_in_use() {
        let mut hall = Hall::new(64);
        for source in 0..8 {
            (0..8).for_each(|_| assert_eq!(hall.enter(source, true), Room::Free));
        }
        assert_eq!(hall.enter(1, false), Room::None);
        assert_eq!(hall.enter(HONEST, false), Room::None);
    }
}
