//! The order of queries: sources take turns, and within a source the domains that it names take turns.
//!
//! Each source, and each domain within it, has a limit of queries under way at the same time, so that names under a
//! domain that never answers delay neither other sources nor other names of the same source. The last places are for
//! sources that have no query under way: a few sources together cannot take them all.

use std::collections::{BTreeMap, VecDeque};

use crate::names::question::Source;

/// Queries that wait, by source and domain.
#[derive(Debug, Default)]
pub(super) struct Shares {
    turn: VecDeque<Source>,
    shares: BTreeMap<Source, Share>,
    /// Queries that are with a name server.
    busy: usize,
    limits: Most,
}

/// Queries that may be asked at the same time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Most {
    pub(super) in_all: usize,
    /// The last of these places, for sources that have no query under way.
    pub(super) for_newcomers: usize,
    pub(super) for_source: usize,
    pub(super) for_domain: usize,
}

impl Default for Most {
    fn default() -> Self {
        Most { in_all: 64, for_newcomers: 16, for_source: 16, for_domain: 8 }
    }
}

/// The queries of one source.
#[derive(Debug, Default)]
struct Share {
    turn: VecDeque<Box<str>>,
    lines: BTreeMap<Box<str>, Line>,
    busy: usize,
}

/// The queries of one source for one domain.
#[derive(Debug, Default)]
struct Line {
    waiting: VecDeque<u64>,
    busy: usize,
}

/// The source and domain on whose share a query is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Ticket {
    source: Source,
    domain: Box<str>,
}

impl Shares {
    /// Query `id` for `name` waits.
    pub(super) fn push(&mut self, source: Source, name: &str, id: u64) {
        let domain = domain_of(name);
        let share = self.shares.entry(source).or_default();
        if share.lines.is_empty() {
            self.turn.push_back(source);
        }
        let line = share.lines.entry(domain.into()).or_insert_with(|| {
            share.turn.push_back(domain.into());
            Line::default()
        });
        line.waiting.push_back(id);
    }

    /// The query whose turn it is, if one may be asked. The ticket comes back with [`Shares::give_back`].
    pub(super) fn next(&mut self) -> Option<(u64, Ticket)> {
        if self.busy >= self.limits.in_all {
            return None;
        }
        let is_scarce = self.busy >= self.limits.in_all.saturating_sub(self.limits.for_newcomers);
        let most = if is_scarce { self.limits.for_source.min(1) } else { self.limits.for_source };
        for _ in 0..self.turn.len() {
            self.turn.rotate_left(1);
            let Some(source) = self.turn.back().copied() else { break };
            let Some(share) = self.shares.get_mut(&source) else { continue };
            if share.busy >= most {
                continue;
            }
            if let Some((id, domain)) = share.next(self.limits.for_domain) {
                self.busy += 1;
                return Some((id, Ticket { source, domain }));
            }
        }
        None
    }

    /// Removes a waiting query of this source.
    pub(super) fn remove(&mut self, source: Source, name: &str, id: u64) {
        let domain = domain_of(name);
        let Some(share) = self.shares.get_mut(&source) else { return };
        share.lines.get_mut(domain).into_iter().for_each(|line| line.waiting.retain(|waiting| *waiting != id));
        share.forget_idle(domain);
        self.forget_idle(source);
    }

    /// A query has been asked, or need not be.
    pub(super) fn give_back(&mut self, ticket: &Ticket) {
        self.busy = self.busy.saturating_sub(1);
        let Some(share) = self.shares.get_mut(&ticket.source) else { return };
        share.busy = share.busy.saturating_sub(1);
        share.lines.get_mut(&ticket.domain).into_iter().for_each(|line| line.busy = line.busy.saturating_sub(1));
        share.forget_idle(&ticket.domain);
        self.forget_idle(ticket.source);
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.turn.len() + self.shares.len() + self.busy
    }

    fn forget_idle(&mut self, source: Source) {
        if self.shares.get(&source).is_some_and(|share| share.lines.is_empty()) {
            self.shares.remove(&source);
            self.turn.retain(|known| *known != source);
        }
    }
}

impl Share {
    fn next(&mut self, most: usize) -> Option<(u64, Box<str>)> {
        for _ in 0..self.turn.len() {
            self.turn.rotate_left(1);
            let domain = self.turn.back()?;
            let Some(line) = self.lines.get_mut(domain).filter(|line| line.busy < most) else { continue };
            if let Some(id) = line.waiting.pop_front() {
                line.busy += 1;
                self.busy += 1;
                return Some((id, domain.clone()));
            }
        }
        None
    }

    fn forget_idle(&mut self, domain: &str) {
        if self.lines.get(domain).is_some_and(|line| line.busy == 0 && line.waiting.is_empty()) {
            self.lines.remove(domain);
            self.turn.retain(|known| **known != *domain);
        }
    }
}

/// The domain whose name servers a look-up of the name asks, as far as the name shows: its last two labels.
fn domain_of(name: &str) -> &str {
    let mut dots = name.rmatch_indices('.').map(|(at, _)| at + 1);
    dots.nth(1).and_then(|at| name.get(at..)).unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(number: u8) -> Source {
        Source::peer([192, 0, 2, number].into())
    }

    fn asked(shares: &mut Shares) -> Vec<u64> {
        std::iter::from_fn(|| shares.next()).map(|(id, _)| id).collect()
    }

    fn shares(in_all: usize, for_source: usize, for_domain: usize) -> Shares {
        Shares { limits: Most { in_all, for_newcomers: 0, for_source, for_domain }, ..Shares::default() }
    }

    #[test]
    fn the_last_places_are_for_sources_that_have_nothing_asked() {
        let mut shares = shares(6, 3, 3);
        shares.limits.for_newcomers = 2;
        for number in 1..=3 {
            (0..9).for_each(|id| {
                shares.push(source(number), &format!("s{id}.slow.example"), u64::from(number) * 10 + id)
            });
        }
        assert_eq!(asked(&mut shares), [10, 20, 30, 11]);
        (0..2).for_each(|id| shares.push(source(4), "as.example.net", 40 + id));
        let (id, ticket) = shares.next().unwrap();
        assert_eq!((id, shares.next()), (40, None), "one at a time");
        shares.give_back(&ticket);
        assert_eq!(asked(&mut shares), [41]);
        shares.push(source(5), "as.example.net", 50);
        assert_eq!(asked(&mut shares), [50]);
    }

    #[test]
    fn sources_take_turns_and_none_has_more_than_its_limit() {
        let mut shares = shares(10, 3, 3);
        (0..100).for_each(|id| shares.push(source(1), "a.slow.example", id));
        (100..102).for_each(|id| shares.push(source(2), "b.example.net", id));
        shares.push(source(3), "c.example.net", 200);
        assert_eq!(asked(&mut shares), [0, 100, 200, 1, 101, 2]);
    }

    #[test]
    fn domains_of_one_source_take_turns_and_none_has_more_than_its_limit() {
        let mut shares = shares(10, 5, 2);
        (0..100).for_each(|id| shares.push(source(1), &format!("s{id}.slow.example"), id));
        (100..102).for_each(|id| shares.push(source(1), "as.example.net", id));
        assert_eq!(asked(&mut shares), [0, 100, 1, 101]);
    }

    #[test]
    fn a_place_that_is_given_back_goes_to_who_waits_and_nothing_is_kept_of_who_does_not() {
        let mut shares = shares(1, 1, 1);
        shares.push(source(1), "a.example.net", 1);
        shares.push(source(2), "b.example.net", 2);
        let (first, ticket) = shares.next().unwrap();
        assert_eq!((first, shares.next()), (1, None));
        shares.give_back(&ticket);
        let (second, ticket) = shares.next().unwrap();
        shares.give_back(&ticket);
        assert_eq!((second, shares.next()), (2, None));
        assert_eq!((shares.turn.len(), shares.shares.len(), shares.busy), (0, 0, 0));
    }
}
