//! Gatherings: the answers of all workers to one command for "all of" their endpoints, merged into one.
//!
//! The command goes to every worker; each answer comes back to the dispatcher and is merged. The merged answer is kept
//! for T-HIST (RFC 3435 §3.5.1), so that a retransmission gets the same one. A worker that dies, or does not answer
//! within LONGTRAN, is left out. Numbers and bytes are bounded.

use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;

use foldhash::fast::FixedState;
use hashbrown::HashMap;

use super::merge::Merged;
use crate::dispatch::decision::Arrival;
use crate::fingerprint::{Fingerprint, host};
use crate::ids::{GatheringId, WorkerId};
use crate::pack::{Damaged, saved};
use crate::time::Time;
use crate::transaction::{LIFETIME, LONGTRAN};
use crate::wire::mgcp::{Response, TransactionId};

/// Most workers that one command may go to.
pub(super) const MOST_WORKERS: usize = 256;
/// Most gatherings under way at a time.
const MOST_UNDER_WAY: usize = 256;
/// Most gatherings, including those that are only kept.
const MOST: usize = 16_384;
/// Most bytes of the answers that are kept.
const MOST_BYTES: usize = 4 << 20;

/// Number of times that an answer is repeated: under RFC 3435 §3.5.3 a command is sent seven times (Max2). The answer
/// may be a hundred times as large as the command, and a sender that forges its source must not gain more than that.
const MOST_REPEATS: u8 = 7;

/// State of a command for all workers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Known {
    /// Its answers are still being gathered.
    UnderWay,
    /// It has been answered.
    Answered(GatheringId),
    /// It has been answered as often as a call agent sends a command.
    AnsweredOften,
}

/// All gatherings.
#[derive(Debug)]
pub(in crate::dispatch) struct Gatherings {
    all: HashMap<GatheringId, Gathering, FixedState>,
    // Names are keyed hashes, so that peers cannot choose them.
    by_name: HashMap<Fingerprint, GatheringId, FixedState>,
    /// Gatherings under way, in the order in which they are due, and some that have ended since.
    due: VecDeque<(Time, GatheringId)>,
    /// Gatherings that are kept, in the order in which they are forgotten.
    kept: VecDeque<(Time, GatheringId)>,
    used: Used,
    /// Use of each host.
    hosts: BTreeMap<u64, Used>,
    /// Gatherings whose answer has not been fetched.
    ready: VecDeque<GatheringId>,
    last: u64,
}

/// Use of the bounded resources.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Used {
    all: usize,
    under_way: usize,
    bytes: usize,
}

impl Used {
    /// Whether another gathering finds a place in one of `parts` equal parts.
    const fn has_place(&self, parts: usize) -> bool {
        self.all < MOST / parts && self.under_way < MOST_UNDER_WAY / parts && self.bytes < MOST_BYTES / parts
    }
}

#[derive(Debug)]
struct Gathering {
    name: Fingerprint,
    arrival: Arrival,
    stage: Stage,
}

#[derive(Debug)]
enum Stage {
    UnderWay {
        transaction: TransactionId,
        /// Workers that have not been given the command yet.
        unsent: Vec<WorkerId>,
        /// Workers whose answer has not come yet.
        awaited: Vec<WorkerId>,
        merged: Merged,
    },
    Kept {
        answer: Box<[u8]>,
        /// Number of times that it has been repeated.
        repeats: u8,
    },
}

saved!(Gatherings by u64: Gatherings::last, Gatherings::go_on_after);

impl Gatherings {
    /// No gatherings.
    pub(in crate::dispatch) fn new() -> Self {
        Gatherings {
            all: HashMap::default(),
            by_name: HashMap::default(),
            due: VecDeque::new(),
            kept: VecDeque::new(),
            used: Used::default(),
            hosts: BTreeMap::new(),
            ready: VecDeque::new(),
            last: 0,
        }
    }

    /// State of the command with this name. An answer that is found is counted as repeated.
    pub(super) fn find(&mut self, name: Fingerprint) -> Option<Known> {
        let id = *self.by_name.get(&name)?;
        Some(match &mut self.all.get_mut(&id)?.stage {
            Stage::UnderWay { .. } => Known::UnderWay,
            Stage::Kept { repeats, .. } if *repeats >= MOST_REPEATS => Known::AnsweredOften,
            Stage::Kept { repeats, .. } => {
                *repeats += 1;
                Known::Answered(id)
            }
        })
    }

    /// Whether another gathering from `source` finds a place: one host has no more than half of the places.
    pub(super) fn has_place(&self, source: IpAddr) -> bool {
        self.used.has_place(1) && self.hosts.get(&host(source)).is_none_or(|used| used.has_place(2))
    }

    /// Begins a gathering for a command that goes to all `workers`.
    pub(super) fn begin(
        &mut self,
        (name, transaction): (Fingerprint, TransactionId),
        arrival: &Arrival,
        (workers, merged): (Vec<WorkerId>, Merged),
        now: Time,
    ) -> GatheringId {
        self.last += 1;
        let id = GatheringId(self.last);
        let stage = Stage::UnderWay { transaction, unsent: workers, awaited: Vec::new(), merged };
        self.all.insert(id, Gathering { name, arrival: *arrival, stage });
        self.by_name.insert(name, id);
        self.due.push_back((now + LONGTRAN, id));
        self.count(arrival.source.ip(), |used| (used.all, used.under_way) = (used.all + 1, used.under_way + 1));
        id
    }

    /// The next worker that is to have the command. After the last one, the gathering waits for their answers.
    pub(super) fn next_worker(&mut self, id: GatheringId) -> Option<WorkerId> {
        let Some(Stage::UnderWay { unsent, awaited, .. }) = self.all.get_mut(&id).map(|it| &mut it.stage) else {
            return None;
        };
        let worker = unsent.pop()?;
        awaited.push(worker);
        Some(worker)
    }

    /// Takes a worker's answer. A provisional one does not end the wait.
    pub(super) fn on_answer(&mut self, id: GatheringId, worker: WorkerId, response: &Response<'_>, now: Time) {
        let Some(Stage::UnderWay { transaction, awaited, merged, .. }) = self.all.get_mut(&id).map(|it| &mut it.stage)
        else {
            return;
        };
        // A worker may still answer a command of an earlier dispatcher, whose gatherings had the same numbers.
        let is_its = response.transaction() == *transaction;
        if !is_its || !response.code().is_final() || !awaited.contains(&worker) {
            return;
        }
        merged.add(response);
        self.leave_out(id, worker, now);
    }

    /// Takes note of a worker's answer that is too large to be read.
    pub(super) fn on_too_large(&mut self, id: GatheringId, worker: WorkerId, now: Time) {
        if let Some(Stage::UnderWay { awaited, merged, .. }) = self.all.get_mut(&id).map(|it| &mut it.stage)
            && awaited.contains(&worker)
        {
            merged.add_too_large();
            self.leave_out(id, worker, now);
        }
    }

    /// Takes note that this worker will not answer.
    pub(in crate::dispatch) fn leave_out(&mut self, id: GatheringId, worker: WorkerId, now: Time) {
        let Some(Stage::UnderWay { unsent, awaited, .. }) = self.all.get_mut(&id).map(|it| &mut it.stage) else {
            return;
        };
        unsent.retain(|other| *other != worker);
        awaited.retain(|other| *other != worker);
        if unsent.is_empty() && awaited.is_empty() {
            self.finish(id, now);
        }
    }

    /// Takes note that a worker is gone: it will answer none of the gatherings.
    pub(in crate::dispatch) fn on_worker_down(&mut self, worker: WorkerId, now: Time) {
        if self.used.under_way == 0 {
            return;
        }
        let open: Vec<GatheringId> = self.due.iter().map(|(_, id)| *id).collect();
        open.into_iter().for_each(|id| self.leave_out(id, worker, now));
    }

    /// Ends gatherings that have waited for long enough, and forgets answers that have been kept for long enough.
    pub(in crate::dispatch) fn handle_timeout(&mut self, now: Time) {
        while let Some((_, id)) = self.due.pop_front_if(|(due, _)| *due <= now) {
            self.finish(id, now);
        }
        while let Some((_, id)) = self.kept.pop_front_if(|(over, _)| *over <= now) {
            let Some(Gathering { name, stage, arrival }) = self.all.remove(&id) else { continue };
            if self.by_name.get(&name) == Some(&id) {
                self.by_name.remove(&name);
            }
            let bytes = match stage {
                Stage::Kept { answer, .. } => answer.len(),
                Stage::UnderWay { .. } => 0,
            };
            self.count(arrival.source.ip(), |used| (used.all, used.bytes) = (used.all - 1, used.bytes - bytes));
        }
    }

    /// The time at which the next gathering is due.
    pub(in crate::dispatch) fn poll_timeout(&self) -> Option<Time> {
        let fronts = [self.due.front(), self.kept.front()];
        fronts.into_iter().flatten().map(|(due, _)| *due).min()
    }

    /// Takes out a gathering whose answer is ready.
    pub(super) fn poll_ready(&mut self) -> Option<GatheringId> {
        self.ready.pop_front()
    }

    /// The merged answer, and the way on which the command came.
    pub(super) fn answer(&self, id: GatheringId) -> Option<(&[u8], &Arrival)> {
        match self.all.get(&id)? {
            Gathering { stage: Stage::Kept { answer, .. }, arrival, .. } => Some((answer, arrival)),
            _ => None,
        }
    }

    /// The last number given. After a takeover, answers to earlier numbers may still come.
    const fn last(&self) -> u64 {
        self.last
    }

    /// Continues the numbers after this one.
    fn go_on_after(&mut self, last: u64) -> Result<(), Damaged> {
        self.last = last;
        Ok(())
    }

    /// Panics if more is kept than may be, if what is kept is counted wrongly, or if a gathering has lost its name or
    /// will never be forgotten.
    pub(in crate::dispatch) fn check(&self) {
        let under_way = self.all.values().filter(|it| matches!(it.stage, Stage::UnderWay { .. })).count();
        assert_eq!((self.used.all, self.used.under_way), (self.all.len(), under_way), "gatherings");
        assert_eq!((self.by_name.len(), self.kept.len() + under_way), (self.all.len(), self.all.len()), "leaked");
        assert!(self.used.all <= MOST && under_way <= MOST_UNDER_WAY, "too many gatherings");
    }

    /// Whether none is under way or kept.
    #[cfg(test)]
    pub(in crate::dispatch) fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    fn finish(&mut self, id: GatheringId, now: Time) {
        let Some(gathering) = self.all.get_mut(&id) else { return };
        let Stage::UnderWay { transaction, merged, .. } = &gathering.stage else { return };
        let mut bytes = Vec::new();
        merged.write(*transaction, &mut bytes);
        let (length, source) = (bytes.len(), gathering.arrival.source.ip());
        gathering.stage = Stage::Kept { answer: bytes.into(), repeats: 0 };
        self.count(source, |used| (used.under_way, used.bytes) = (used.under_way - 1, used.bytes + length));
        self.kept.push_back((now + LIFETIME, id));
        self.ready.push_back(id);
    }

    fn count(&mut self, source: IpAddr, change: impl Fn(&mut Used)) {
        change(&mut self.used);
        let source = host(source);
        let used = self.hosts.entry(source).or_default();
        change(used);
        if used.all == 0 {
            self.hosts.remove(&source);
        }
    }
}

#[cfg(test)]
mod tests;
