//! The workers, by slot, and the sets from which a selection is made.
//!
//! A worker gets new work if its three states and its link allow it and it has units left. The workers that do are kept
//! in one set, so that a selection need not read every worker. Every worker is checked at intervals ([`Pool::look`]).

use std::time::Duration;

use super::worker::Worker;
use crate::dispatch::bits::Bits;
use crate::dispatch::decision::{Admin, Brought, Joined, Operational, Protocol, Room};
use crate::dispatch::select::{Load, Snapshot};
use crate::ids::{Seq, TargetId, WorkerId};
use crate::pack::{Damaged, saved};
use crate::time::Time;
use crate::words::Report;

/// All workers, by slot.
#[derive(Debug)]
pub struct Pool {
    workers: Vec<Worker>,
    loads: Vec<Load>,
    /// Workers that take new work, by protocol.
    open: [Bits; Protocol::COUNT],
    /// The open workers whose links have room for calls of every source.
    open_to_all: [Bits; Protocol::COUNT],
    /// Workers that are up and do not drain, whatever their load.
    ready: Bits,
    /// The time since which the first of the ready workers is up.
    warmest: Time,
    /// Number of slots that the operator wants; a surplus slot goes when its process ends.
    wanted: usize,
    /// Number of processes in all slots so far. A slot that is removed and added again does not start from 0, or
    /// records of its dead worker would be taken for its own.
    lives: u32,
    slow_start: Duration,
    hung: Vec<WorkerId>,
}

saved!(Pool { workers, lives } else {
    loads, open, open_to_all, ready, warmest, wanted, slow_start, hung
} then Pool::resume);

impl Pool {
    /// `workers` empty slots.
    pub fn new(workers: usize, slow_start: Duration) -> Self {
        let mut pool = Pool {
            workers: Vec::new(),
            loads: Vec::new(),
            open: Default::default(),
            open_to_all: Default::default(),
            ready: Bits::default(),
            warmest: Time::default(),
            wanted: 0,
            lives: 0,
            slow_start,
            hung: Vec::new(),
        };
        pool.set_workers(workers);
        pool
    }

    /// Sets the number of slots that the operator wants. A surplus slot gets no new work, and goes once its process has
    /// ended.
    pub fn set_workers(&mut self, wanted: usize) {
        self.wanted = wanted.min(usize::from(u16::MAX));
        while self.workers.len() < self.wanted {
            self.workers.push(Worker::vacant());
        }
        while self.workers.len() > self.wanted
            && self.workers.last().is_some_and(|last| last.operational == Operational::Down)
        {
            self.workers.pop();
        }
        self.loads.resize(self.workers.len(), Load::default());
        self.open.iter_mut().chain(&mut self.open_to_all).for_each(|bits| bits.resize(self.workers.len()));
        self.ready.resize(self.workers.len());
        (0..self.workers.len()).for_each(|at| self.refresh(at));
    }

    /// Sets another slow start.
    pub fn set_slow_start(&mut self, slow_start: Duration) {
        self.slow_start = slow_start;
    }

    /// Takes note that a worker is connected.
    pub fn on_up(&mut self, worker: WorkerId, joined: &Joined, now: Time) {
        self.lives = self.lives.wrapping_add(1);
        let life = self.lives;
        self.change(worker, |worker| worker.on_up(joined, life, now));
    }

    /// Takes note that a connected worker has come back with its sessions: they count before its first report.
    pub fn on_back(&mut self, worker: WorkerId, brought: &Brought) {
        self.change(worker, |worker| worker.on_back(brought));
    }

    /// Takes note that a worker is gone.
    pub fn on_down(&mut self, worker: WorkerId) {
        self.change(worker, Worker::on_down);
        if self.workers.len() > self.wanted {
            self.set_workers(self.wanted);
        }
    }

    /// Takes note of a sign of life of a worker.
    pub fn on_heard(&mut self, worker: WorkerId, now: Time) {
        self.change(worker, |worker| worker.on_heard(now));
    }

    /// Takes note of a worker's report. An older report than the last one counts as a sign of life only.
    pub fn on_report(&mut self, worker: WorkerId, report: &Report, now: Time) {
        self.change(worker, |worker| worker.on_report(report, now));
    }

    /// Sets the room on a worker's link.
    pub fn set_room(&mut self, worker: WorkerId, room: Room) {
        if self.get(worker).is_some_and(|worker| worker.room != room) {
            self.change(worker, |worker| worker.room = room);
        }
    }

    /// Sets the operator's order for a worker.
    pub fn set_admin(&mut self, worker: WorkerId, admin: Admin) {
        self.change(worker, |worker| worker.admin = admin);
    }

    /// Numbers a message for a target's link and counts its size.
    pub fn hand_over(&mut self, target: TargetId, size: u32) -> Option<Seq> {
        let at = place(target)?;
        let seq = self.workers.get_mut(at)?.hand_over(size);
        if size > 0 {
            self.refresh(at);
        }
        Some(seq)
    }

    /// Sets the units that lane `lane` has handed to a worker and that no report to that lane includes.
    pub fn set_elsewhere(&mut self, worker: WorkerId, lane: usize, units: u32) {
        self.change(worker, |worker| worker.set_elsewhere(lane, units));
    }

    /// Counts an initial request.
    pub fn count_handoff(&mut self, target: TargetId) {
        if let Some(worker) = place(target).and_then(|at| self.workers.get_mut(at)) {
            worker.handoffs += 1;
        }
    }

    /// Counts a refusal, and takes the message off the worker's ledger.
    pub fn on_refused(&mut self, worker: WorkerId, seq: Seq, size: u32) {
        self.change(worker, |worker| worker.on_refused(seq, size));
    }

    /// Takes note that a worker has no port, descriptor or memory left. Its next report repeats this, or says that
    /// there is room again. Until then other workers get new calls; if no worker is left, callers are told so.
    pub fn on_exhausted(&mut self, worker: WorkerId) {
        self.change(worker, |worker| worker.own_word.no_room = true);
    }

    /// Takes note of a look at a worker's link: `behind` is the last message that it has read, if more is waiting.
    pub fn on_unread(&mut self, worker: WorkerId, behind: Option<Seq>) {
        if let Some(worker) = self.workers.get_mut(usize::from(worker.0)) {
            worker.on_unread(behind);
        }
    }

    /// Checks every worker. It is silent if it has not been heard of since `before` or reads nothing, and hung if it
    /// has been silent for too long.
    pub fn look(&mut self, before: Time) {
        // If no worker reads on, the host is busy, and there is no better worker to prefer.
        let any_reads = self.workers.iter().any(|worker| worker.is_alive() && !worker.is_stuck());
        for at in 0..self.workers.len() {
            let worker = &mut self.workers[at];
            if !worker.is_alive() {
                continue;
            }
            if worker.look(before, any_reads) {
                self.hung.push(WorkerId(at as u16));
            }
            self.refresh(at);
        }
    }

    /// Takes out one worker that was found hung.
    pub fn poll_hung(&mut self) -> Option<WorkerId> {
        self.hung.pop()
    }

    /// The pool as a selection sees it: the workers that serve `protocol` and whose links have at least this room.
    pub fn snapshot(&self, protocol: Protocol, least: Room, now: Time) -> Snapshot<'_> {
        Snapshot {
            open: self.having(protocol, least),
            loads: &self.loads,
            slow_start: self.slow_start,
            warmest: self.warmest,
            now,
        }
    }

    /// A slot; `None` beyond the last.
    pub fn get(&self, target: impl Into<TargetId>) -> Option<&Worker> {
        self.workers.get(place(target.into())?)
    }

    /// Every slot.
    pub fn iter(&self) -> impl Iterator<Item = (WorkerId, &Worker)> {
        self.workers.iter().enumerate().map(|(at, worker)| (WorkerId(at as u16), worker))
    }

    /// Number of slots.
    pub fn len(&self) -> usize {
        self.workers.len()
    }

    /// Whether there is no slot.
    pub fn is_empty(&self) -> bool {
        self.workers.is_empty()
    }

    /// Whether any worker takes new work of this protocol.
    pub const fn has_open(&self, protocol: Protocol) -> bool {
        !self.open[protocol as usize].is_empty()
    }

    /// Whether a worker that takes new work of this protocol has a link with room for some sources only.
    pub const fn is_scarce(&self, protocol: Protocol) -> bool {
        self.open_to_all[protocol as usize].len() != self.open[protocol as usize].len()
    }

    /// Number of workers that take new work of this protocol.
    pub const fn open_count(&self, protocol: Protocol) -> usize {
        self.open[protocol as usize].len()
    }

    /// Whether any worker takes new work of this protocol over a link with at least this room.
    pub const fn has_open_with(&self, protocol: Protocol, least: Room) -> bool {
        !self.having(protocol, least).is_empty()
    }

    /// Whether `worker` serves this protocol.
    pub fn serves(&self, worker: usize, protocol: Protocol) -> bool {
        self.workers.get(worker).is_some_and(|slot| slot.services.has(protocol))
    }

    /// Whether `worker` may get new work if its load does not count: it is up, and neither the operator nor itself has
    /// it drain.
    pub fn is_ready(&self, worker: usize) -> bool {
        self.workers.get(worker).is_some_and(|slot| worker < self.wanted && slot.is_ready())
    }

    const fn having(&self, protocol: Protocol, least: Room) -> &Bits {
        if matches!(least, Room::All) { &self.open_to_all[protocol as usize] } else { &self.open[protocol as usize] }
    }

    /// Fits the restored workers to the wanted slots, and sums up what follows from them.
    fn resume(&mut self) -> Result<(), Damaged> {
        self.set_workers(self.wanted);
        Ok(())
    }

    fn change(&mut self, worker: WorkerId, change: impl FnOnce(&mut Worker)) {
        let at = usize::from(worker.0);
        if let Some(worker) = self.workers.get_mut(at) {
            change(worker);
            self.refresh(at);
        }
    }

    fn refresh(&mut self, at: usize) {
        let is_ready = self.is_ready(at);
        let (Some(worker), Some(load)) = (self.workers.get(at), self.loads.get_mut(at)) else { return };
        let is_same = self.ready.contains(at) == is_ready && load.up_since == worker.as_load().up_since;
        *load = worker.as_load();
        let has_room = !worker.own_word.no_room && worker.room.takes_new() && load.used < load.total;
        for (protocol, (open, open_to_all)) in
            Protocol::ALL.into_iter().zip(self.open.iter_mut().zip(&mut self.open_to_all))
        {
            let is_open = is_ready && has_room && worker.services.has(protocol);
            open.set(at, is_open);
            open_to_all.set(at, is_open && worker.room == Room::All);
        }
        if !is_same {
            self.ready.set(at, is_ready);
            let since = self.ready.around(0).filter_map(|at| self.loads.get(at)).map(|load| load.up_since);
            self.warmest = since.min().unwrap_or_default();
        }
    }
}

/// The place of a target in the pool, if it is a worker.
fn place(target: TargetId) -> Option<usize> {
    target.worker().map(|worker| usize::from(worker.0))
}

#[cfg(test)]
mod tests;
