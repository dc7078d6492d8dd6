//! The search for a worker that takes a message: it goes with the message to a worker, and comes back with it.

use crate::ids::WorkerId;
use crate::pack::{Damaged, packed};
use crate::time::Time;

/// The state of a search for a worker.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Search {
    /// The workers that have had the message.
    pub tried: Tried,
    /// The time since which it is offered around: its first handover, or the last death or `Late` refusal.
    pub since: Time,
    /// Number of workers that have died with it.
    pub deaths: u8,
}

/// The workers that have had a message already; each worker gets it once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tried {
    workers: [WorkerId; Tried::LIMIT],
    count: u8,
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

    /// The search once `worker` has the message.
    pub fn at(mut self, worker: WorkerId) -> Self {
        self.tried.add(worker);
        self
    }
}

impl Tried {
    /// After this many workers the caller is answered: a busy signal is better than a long search.
    pub const LIMIT: usize = 8;

    fn of(workers: Vec<WorkerId>) -> Result<Tried, Damaged> {
        let mut tried = Tried::default();
        if workers.into_iter().all(|worker| tried.add(worker)) {
            Ok(tried)
        } else {
            Err(Damaged("too many workers tried"))
        }
    }

    /// Adds a worker; false when the limit is reached.
    pub fn add(&mut self, worker: WorkerId) -> bool {
        let Some(place) = self.workers.get_mut(usize::from(self.count)) else { return false };
        *place = worker;
        self.count += 1;
        true
    }

    /// Whether no further worker may be tried.
    pub const fn is_full(&self) -> bool {
        self.count as usize == Tried::LIMIT
    }

    /// The workers, first tried first.
    pub fn as_slice(&self) -> &[WorkerId] {
        &self.workers[..usize::from(self.count)]
    }

    /// Whether `worker` has had it.
    pub fn contains(&self, worker: WorkerId) -> bool {
        self.as_slice().contains(&worker)
    }
}

packed!(Search { tried, since, deaths });

packed!(Tried by Vec<WorkerId>: |tried| tried.as_slice().to_vec(), Tried::of);
