//! The search for a worker that takes a message: it goes with the message to a worker, and comes back with it.

use crate::ids::{TargetId, WorkerId};
use crate::pack::{Damaged, packed};
use crate::time::Time;

/// The state of a search for a worker.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Search {
    /// The targets that have had the message.
    pub tried: Tried,
    /// The time since which it is offered around: its first handover, or the last death or `Late` refusal.
    pub since: Time,
    /// Number of workers that have died with it.
    pub deaths: u8,
}

/// The targets that have had a message already; each gets it once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tried {
    targets: [TargetId; Tried::LIMIT],
    count: u8,
}

impl Default for Tried {
    fn default() -> Self {
        // Places beyond `count` are never read.
        Tried { targets: [TargetId::Worker(WorkerId(0)); Tried::LIMIT], count: 0 }
    }
}

impl Search {
    /// A search that begins: no worker has had the message.
    pub fn new(now: Time) -> Self {
        Search { since: now, ..Search::default() }
    }

    /// The search for a message that `deaths` workers have died with; any worker may have it.
    pub fn after_deaths(deaths: u8, now: Time) -> Self {
        Search { deaths, ..Search::new(now) }
    }

    /// The search once `target` has the message.
    pub fn at(mut self, target: impl Into<TargetId>) -> Self {
        self.tried.add(target);
        self
    }
}

impl Tried {
    /// After this many targets the caller is answered: a busy signal is better than a long search.
    pub const LIMIT: usize = 8;

    fn of(targets: Vec<TargetId>) -> Result<Tried, Damaged> {
        let mut tried = Tried::default();
        if targets.into_iter().all(|target| tried.add(target)) {
            Ok(tried)
        } else {
            Err(Damaged("too many targets tried"))
        }
    }

    /// Adds a target; false when the limit is reached.
    pub fn add(&mut self, target: impl Into<TargetId>) -> bool {
        let Some(place) = self.targets.get_mut(usize::from(self.count)) else { return false };
        *place = target.into();
        self.count += 1;
        true
    }

    /// Whether no further target may be tried.
    pub const fn is_full(&self) -> bool {
        self.count as usize == Tried::LIMIT
    }

    /// The targets, first tried first.
    pub fn as_slice(&self) -> &[TargetId] {
        &self.targets[..usize::from(self.count)]
    }

    /// Whether `target` has had it.
    pub fn contains(&self, target: impl Into<TargetId>) -> bool {
        self.as_slice().contains(&target.into())
    }
}

packed!(Search { tried, since, deaths });

packed!(Tried by Vec<TargetId>: |tried| tried.as_slice().to_vec(), Tried::of);
