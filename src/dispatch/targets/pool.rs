//! The workers: for each its observed state, the operator's order for it, its own report, and its load.
//!
//! Three states, never one flag: [`Operational`] is observed, [`Admin`] is the operator's, [`OwnWord`] is the worker's.
//! A worker gets new work if all three and its link allow it and it has units left. The workers that do are kept in one
//! set, so that a selection need not read every worker.
//!
//! Every worker is checked at intervals ([`Pool::look`]). A worker that sends nothing, or reads none of its waiting
//! messages, is silent: it keeps its calls and gets nothing new. A worker that stays silent is hung and must be killed.
//! Time is counted in looks, so that a dispatcher that was itself held up does not count its delay against its workers.

use std::net::SocketAddr;
use std::time::Duration;

use super::ledger::Ledger;
use crate::dispatch::bits::Bits;
use crate::dispatch::decision::{Admin, Brought, Joined, Operational, Protocol, Room, Services};
use crate::dispatch::select::{Load, Snapshot};
use crate::ids::{Seq, WorkerId};
use crate::pack::{Damaged, Pack, Packed, packed};
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
    calm: [Bits; Protocol::COUNT],
    /// Workers that are up and do not drain, whatever their load, and below it the time since which the first of them
    /// is up.
    ready: Bits,
    warmest: Time,
    /// Number of slots that the operator wants; a surplus slot goes when its process ends.
    wanted: usize,
    /// Number of processes in all slots so far. A slot that is removed and added again does not start from 0, or
    /// records of its dead worker would be taken for its own.
    lives: u32,
    slow_start: Duration,
    hung: Vec<WorkerId>,
}

/// Looks in a row that find the same message unread before its worker counts as silent. A healthy worker has read and
/// reported it within 100 ms.
const STUCK_LOOKS: u32 = 2;
/// Looks in a row that find a worker silent before it counts as hung: 7 s. Callers wait 32 s for an answer (RFC 3261
/// §17.1.1.2, Timer B), so another worker still has time for the messages that this one has not read.
const HUNG_LOOKS: u32 = 28;

/// One slot and the worker in it.
#[derive(Debug, Default)]
pub struct Worker {
    /// Its state, as the dispatcher sees it.
    pub operational: Operational,
    /// The operator's order for it.
    pub admin: Admin,
    /// Its own report about new work.
    pub own_word: OwnWord,
    /// The room on its link.
    pub room: Room,
    /// Units of its sessions, by its last report.
    pub units_used: u32,
    /// Units it has in all.
    pub units_total: u32,
    /// Number of its sessions, by its last report.
    pub sessions: u32,
    /// Its use of the CPU, in millionths of one core.
    pub cpu: u32,
    /// Initial requests handed over to this slot since start.
    pub handoffs: u64,
    /// Number of them that came back refused.
    pub refused: u64,
    /// Initial requests that came directly to its own port, by its last report.
    pub direct: u64,
    /// Calls answered, by its last report.
    pub answered: u64,
    /// Time of its last sign of life.
    pub heard: Option<Time>,
    /// Time of its last report.
    pub reported: Option<Time>,
    /// Number of the process in the slot: each process has a number of its own in the pool.
    pub life: u32,
    /// The protocols that it serves.
    pub services: Services,
    /// Its own SIP ports.
    pub addresses: Vec<SocketAddr>,
    /// Its own MGCP ports.
    pub mgcp: Vec<SocketAddr>,
    ledger: Ledger,
    /// Units that other lanes have handed to it and that no report to them includes, by lane.
    elsewhere: Vec<u32>,
    report_number: u64,
    up_since: Time,
    /// The last message that it had read at the last look while more was waiting.
    behind: Option<Seq>,
    /// Number of looks in a row that found the same.
    stuck_looks: u32,
    /// Looks in a row that found it silent.
    silent_looks: u32,
}

/// A worker's own report about new work.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OwnWord {
    /// It can take nothing new, although units are free.
    pub no_room: bool,
    /// It is draining.
    pub draining: bool,
}

packed!(Worker {
    operational,
    admin,
    own_word,
    room,
    units_used,
    units_total,
    sessions,
    cpu,
    handoffs,
    refused,
    direct,
    answered,
    heard,
    reported,
    life,
    services,
    addresses,
    mgcp,
    ledger,
    elsewhere,
    report_number,
    up_since,
    behind,
    stuck_looks,
    silent_looks,
});
packed!(OwnWord { no_room, draining });

impl Worker {
    /// Units that this lane has handed over and no report includes.
    pub fn ledger(&self) -> u32 {
        self.ledger.units()
    }

    /// Units in use, and those that any lane has handed over and no report includes.
    pub fn spoken_for(&self) -> u32 {
        self.elsewhere
            .iter()
            .fold(self.units_used.saturating_add(self.ledger()), |sum, units| sum.saturating_add(*units))
    }

    /// (used + ledger) / total; 0 for a worker without units.
    pub fn load(&self) -> f64 {
        let used = f64::from(self.spoken_for());
        if self.units_total == 0 { 0.0 } else { used / f64::from(self.units_total) }
    }

    /// Milliseconds since its last report came.
    pub fn report_age_ms(&self, now: Time) -> Option<u64> {
        self.reported.map(|reported| now.since(reported).as_millis() as u64)
    }

    /// Its first own port.
    pub fn port(&self) -> Option<u16> {
        self.addresses.first().map(SocketAddr::port)
    }

    /// Whether there is a live process that has its calls.
    pub const fn is_alive(&self) -> bool {
        matches!(self.operational, Operational::Up | Operational::Silent)
    }
}

impl Pool {
    /// `workers` empty slots.
    pub fn new(workers: usize, slow_start: Duration) -> Self {
        let mut pool = Pool {
            workers: Vec::new(),
            loads: Vec::new(),
            open: Default::default(),
            calm: Default::default(),
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
            self.workers.push(Worker { ledger: Ledger::new(), ..Worker::default() });
        }
        while self.workers.len() > self.wanted
            && self.workers.last().is_some_and(|last| last.operational == Operational::Down)
        {
            self.workers.pop();
        }
        self.loads.resize(self.workers.len(), Load::default());
        self.open.iter_mut().chain(&mut self.calm).for_each(|bits| bits.resize(self.workers.len()));
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
        self.change(worker, |worker| {
            worker.operational = Operational::Up;
            worker.own_word = OwnWord::default();
            worker.room = Room::All;
            worker.units_used = 0;
            worker.units_total = joined.capacity;
            worker.sessions = 0;
            worker.heard = Some(now);
            worker.reported = None;
            worker.report_number = 0;
            worker.life = life;
            worker.up_since = now;
            worker.services = joined.services;
            worker.addresses.clone_from(&joined.addresses);
            worker.mgcp.clone_from(&joined.mgcp);
            worker.ledger.reset();
            worker.elsewhere.clear();
            (worker.behind, worker.stuck_looks, worker.silent_looks) = (None, 0, 0);
        });
    }

    /// Takes note that a connected worker has come back with its sessions: they count before its first report.
    pub fn on_back(&mut self, worker: WorkerId, brought: &Brought) {
        self.change(worker, |worker| {
            worker.units_used = brought.units_used;
            worker.sessions = brought.sessions;
            // The worker started long ago: it needs no slow start.
            worker.up_since = Time(0);
            if brought.draining {
                worker.admin = Admin::Drain;
            }
        });
    }

    /// Takes note that a worker is gone.
    pub fn on_down(&mut self, worker: WorkerId) {
        self.change(worker, |worker| {
            worker.operational = Operational::Down;
            worker.units_used = 0;
            worker.sessions = 0;
            worker.cpu = 0;
            worker.ledger.reset();
            worker.elsewhere.clear();
        });
        if self.workers.len() > self.wanted {
            self.set_workers(self.wanted);
        }
    }

    /// Takes note of a sign of life of a worker.
    pub fn on_heard(&mut self, worker: WorkerId, now: Time) {
        self.change(worker, |worker| {
            worker.heard = Some(now);
            // A worker that reads nothing stays silent, whatever it sends, until the next look.
            if worker.operational == Operational::Silent && worker.stuck_looks == 0 {
                worker.operational = Operational::Up;
            }
        });
    }

    /// Takes note of a worker's report. An older report than the last one counts as a sign of life only.
    pub fn on_report(&mut self, worker: WorkerId, report: &Report, now: Time) {
        self.on_heard(worker, now);
        self.change(worker, |worker| {
            if !worker.is_alive() || worker.reported.is_some() && report.number <= worker.report_number {
                return;
            }
            worker.report_number = report.number;
            worker.reported = Some(now);
            worker.units_used = report.units_used;
            worker.units_total = report.units_total;
            worker.sessions = report.sessions;
            worker.cpu = report.cpu;
            worker.direct = report.direct;
            worker.answered = report.answered;
            worker.own_word = OwnWord { no_room: report.no_room, draining: report.draining };
            worker.ledger.covered(report.covers);
        });
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

    /// Numbers a message for a worker's link and counts its size.
    pub fn hand_over(&mut self, id: WorkerId, size: u32) -> Option<Seq> {
        let at = usize::from(id.0);
        let seq = self.workers.get_mut(at)?.ledger.hand_over(size);
        if size > 0 {
            self.refresh(at);
        }
        Some(seq)
    }

    /// Sets the units that lane `lane` has handed to a worker and that no report to that lane includes.
    pub fn set_elsewhere(&mut self, worker: WorkerId, lane: usize, units: u32) {
        self.change(worker, |worker| {
            if !worker.is_alive() {
                return;
            }
            if worker.elsewhere.len() <= lane {
                worker.elsewhere.resize(lane + 1, 0);
            }
            if let Some(known) = worker.elsewhere.get_mut(lane) {
                *known = units;
            }
        });
    }

    /// Counts an initial request.
    pub fn count_handoff(&mut self, worker: WorkerId) {
        if let Some(worker) = self.workers.get_mut(usize::from(worker.0)) {
            worker.handoffs += 1;
        }
    }

    /// Counts a refusal, and takes the message off the worker's ledger.
    pub fn on_refused(&mut self, worker: WorkerId, seq: Seq, size: u32) {
        self.change(worker, |worker| {
            worker.refused += u64::from(size > 0);
            worker.ledger.refused(seq, size);
        });
    }

    /// Takes note that a worker has no port, descriptor or memory left. Its next report repeats this, or says that
    /// there is room again. Until then other workers get new calls; if no worker is left, callers are told so.
    pub fn on_exhausted(&mut self, worker: WorkerId) {
        self.change(worker, |worker| worker.own_word.no_room = true);
    }

    /// Takes note of a look at a worker's link: `behind` is the last message that it has read, if more is waiting.
    pub fn on_unread(&mut self, worker: WorkerId, behind: Option<Seq>) {
        let Some(worker) = self.workers.get_mut(usize::from(worker.0)) else { return };
        let is_stuck = behind.is_some() && behind == worker.behind;
        worker.stuck_looks = if is_stuck { worker.stuck_looks.saturating_add(1) } else { 0 };
        worker.behind = behind;
    }

    /// Checks every worker. It is silent if it has not been heard of since `before` or reads nothing, and hung if it
    /// has been silent for too long.
    pub fn look(&mut self, before: Time) {
        // If no worker reads on, the host is busy, and there is no better worker to prefer.
        let anybody_reads = self.workers.iter().any(|worker| worker.is_alive() && worker.stuck_looks < STUCK_LOOKS);
        for at in 0..self.workers.len() {
            let worker = &mut self.workers[at];
            if !worker.is_alive() {
                continue;
            }
            let is_stuck = worker.stuck_looks >= STUCK_LOOKS && anybody_reads;
            let is_silent = is_stuck || worker.heard.is_some_and(|heard| heard < before);
            worker.operational = if is_silent { Operational::Silent } else { Operational::Up };
            worker.silent_looks = if is_silent { worker.silent_looks + 1 } else { 0 };
            // An operator works on a worker in `maint`, perhaps with a debugger. The count starts again, so that a hung
            // worker is reported again if it is not killed.
            let is_hung = worker.silent_looks >= HUNG_LOOKS && worker.admin != Admin::Maint;
            if is_hung {
                worker.silent_looks = 0;
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
    pub fn get(&self, worker: WorkerId) -> Option<&Worker> {
        self.workers.get(usize::from(worker.0))
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
        self.calm[protocol as usize].len() != self.open[protocol as usize].len()
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
        self.workers.get(worker).is_some_and(|slot| {
            worker < self.wanted
                && slot.operational == Operational::Up
                && slot.admin == Admin::Ready
                && !slot.own_word.draining
        })
    }

    const fn having(&self, protocol: Protocol, least: Room) -> &Bits {
        if matches!(least, Room::All) { &self.calm[protocol as usize] } else { &self.open[protocol as usize] }
    }

    /// Writes all workers.
    pub fn save(&self, out: &mut Vec<u8>) {
        // The number of wanted slots and the slow start come from the configuration, the rest follows from the workers.
        let Pool {
            workers,
            lives,
            loads: _,
            open: _,
            calm: _,
            ready: _,
            warmest: _,
            wanted: _,
            slow_start: _,
            hung: _,
        } = self;
        workers.pack(out);
        lives.pack(out);
    }

    /// Replaces the workers by those that [`Pool::save`] wrote.
    ///
    /// # Errors
    ///
    /// The bytes are no workers.
    pub fn restore(&mut self, from: &mut Packed<'_>) -> Result<(), Damaged> {
        self.workers = Vec::unpack(from)?;
        self.lives = u32::unpack(from)?;
        self.set_workers(self.wanted);
        Ok(())
    }

    /// The layout of these bytes.
    pub fn layout(out: &mut String) {
        Worker::layout(out);
        out.push_str("lives:u32");
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
        let is_same = self.ready.contains(at) == is_ready && load.up_since == worker.up_since;
        *load = Load { used: worker.spoken_for(), total: worker.units_total, up_since: worker.up_since };
        let has_room = !worker.own_word.no_room && worker.room.takes_new() && load.used < load.total;
        for (protocol, (open, calm)) in Protocol::ALL.into_iter().zip(self.open.iter_mut().zip(&mut self.calm)) {
            let is_open = is_ready && has_room && worker.services.has(protocol);
            open.set(at, is_open);
            calm.set(at, is_open && worker.room == Room::All);
        }
        if !is_same {
            self.ready.set(at, is_ready);
            let since = self.ready.around(0).filter_map(|at| self.loads.get(at)).map(|load| load.up_since);
            self.warmest = since.min().unwrap_or_default();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::Incarnation;

    const W0: WorkerId = WorkerId(0);

    fn joined(capacity: u32) -> Joined {
        Joined::sip(Incarnation::new(1), capacity, Vec::new())
    }

    fn pool() -> Pool {
        let mut pool = Pool::new(2, Duration::ZERO);
        pool.on_up(W0, &joined(10), Time(1));
        pool
    }

    #[test]
    fn what_comes_to_a_slot_that_was_taken_away_is_not_its_former_worker() {
        let mut pool = pool();
        pool.on_up(WorkerId(1), &joined(10), Time(1));
        let life = |pool: &Pool| pool.get(WorkerId(1)).map(|worker| worker.life);
        let former = life(&pool);
        pool.set_workers(1);
        pool.on_down(WorkerId(1));
        assert_eq!(life(&pool), None);
        pool.set_workers(2);
        pool.on_up(WorkerId(1), &joined(10), Time(2));
        assert_ne!(life(&pool), former);
    }

    #[test]
    fn the_operator_the_worker_and_its_state_are_three_things() {
        let mut pool = pool();
        assert!(pool.has_open(Protocol::Sip));
        pool.set_admin(W0, Admin::Drain);
        pool.on_report(W0, &Report { number: 1, units_total: 10, draining: true, ..Report::default() }, Time(2));
        pool.set_admin(W0, Admin::Ready);
        assert!(!pool.has_open(Protocol::Sip), "its own word stands");
        pool.on_report(W0, &Report { number: 2, units_total: 10, ..Report::default() }, Time(3));
        assert!(pool.has_open(Protocol::Sip));
        pool.look(Time(4));
        assert_eq!(
            (pool.get(W0).map(|worker| worker.operational), pool.has_open(Protocol::Sip)),
            (Some(Operational::Silent), false)
        );
        pool.on_heard(W0, Time(5));
        assert!(pool.has_open(Protocol::Sip));
        pool.set_room(W0, Room::Following);
        assert!(!pool.has_open(Protocol::Sip));
    }

    #[test]
    fn the_ledger_counts_until_a_report_does() {
        let mut pool = pool();
        let seq = pool.hand_over(W0, 10).unwrap();
        assert!(!pool.has_open(Protocol::Sip), "its ten units are spoken for");
        assert_eq!(pool.get(W0).map(Worker::load), Some(1.0));
        let report = Report { number: 1, covers: seq, units_used: 4, units_total: 10, ..Report::default() };
        pool.on_report(W0, &report, Time(2));
        assert_eq!(pool.get(W0).map(|worker| (worker.units_used, worker.ledger())), Some((4, 0)));
        pool.on_report(W0, &Report { units_used: 9, ..report }, Time(3));
        assert_eq!(pool.get(W0).map(|worker| worker.units_used), Some(4), "the same report twice");
        let refused = pool.hand_over(W0, 3).unwrap();
        pool.on_refused(W0, refused, 3);
        assert_eq!(pool.get(W0).map(|worker| (worker.ledger(), worker.refused)), Some((0, 1)));
    }

    #[test]
    fn what_other_lanes_have_handed_over_counts_until_they_say_otherwise() {
        let mut pool = pool();
        pool.set_elsewhere(W0, 2, 6);
        pool.hand_over(W0, 3);
        assert_eq!(pool.get(W0).map(|worker| (worker.spoken_for(), worker.ledger())), Some((9, 3)));
        pool.set_elsewhere(W0, 1, 1);
        assert!(!pool.has_open(Protocol::Sip), "ten of ten units");
        pool.set_elsewhere(W0, 2, 0);
        assert!(pool.has_open(Protocol::Sip));
        pool.on_down(W0);
        pool.set_elsewhere(W0, 1, 5);
        assert_eq!(pool.get(W0).map(Worker::spoken_for), Some(0), "a worker that is gone has nothing");
    }

    #[test]
    fn workers_that_start_together_do_not_wait_for_each_other() {
        let mut pool = Pool::new(2, Duration::from_secs(10));
        pool.on_up(W0, &joined(10), Time(0));
        pool.on_up(WorkerId(1), &joined(10), Time(50_000));
        let shares = |pool: &Pool, now: u64| {
            [0, 1].map(|worker| pool.snapshot(Protocol::Sip, Room::All, Time(now)).share(worker))
        };
        assert_eq!(shares(&pool, 60_000), [1024, 1024]);
        assert_eq!(shares(&pool, 2_000_000), [1024, 998], "a twentieth of a second in two");
        pool.on_down(WorkerId(1));
        pool.on_up(WorkerId(1), &joined(10), Time(60_000_000));
        assert_eq!(shares(&pool, 61_000_000), [1024, 102]);
        pool.set_admin(W0, Admin::Drain);
        assert_eq!(shares(&pool, 61_000_000)[1], 1024, "nobody warmer takes calls");
    }

    #[test]
    fn a_slot_too_many_goes_when_its_process_has() {
        let mut pool = pool();
        pool.on_up(WorkerId(1), &joined(10), Time(1));
        pool.set_workers(1);
        assert_eq!(pool.len(), 2);
        assert!(!pool.is_ready(1));
        pool.on_down(WorkerId(1));
        assert_eq!(pool.len(), 1);
        pool.set_workers(3);
        assert_eq!(pool.len(), 3);
    }

    fn states(pool: &Pool) -> Vec<Operational> {
        pool.iter().map(|(_, worker)| worker.operational).collect()
    }

    #[test]
    fn a_worker_that_reports_and_reads_nothing_is_silent_unless_nobody_reads() {
        let mut pool = pool();
        pool.on_up(WorkerId(1), &joined(10), Time(1));
        let look = |pool: &mut Pool, behind: [Option<u64>; 2]| {
            for (worker, behind) in behind.into_iter().enumerate() {
                pool.on_heard(WorkerId(worker as u16), Time(2));
                pool.on_unread(WorkerId(worker as u16), behind.map(Seq));
            }
            pool.look(Time(2));
            states(pool)
        };
        let (up, silent) = (Operational::Up, Operational::Silent);
        assert_eq!(look(&mut pool, [Some(4), Some(8)]), [up, up]);
        assert_eq!(look(&mut pool, [Some(4), Some(9)]), [up, up], "w1 has read on");
        assert_eq!(look(&mut pool, [Some(4), None]), [silent, up]);
        assert_eq!(look(&mut pool, [Some(5), Some(9)]), [up, up]);
        look(&mut pool, [Some(5), Some(9)]);
        assert_eq!(look(&mut pool, [Some(5), Some(9)]), [up, up], "the host is busy");
    }

    #[test]
    fn a_worker_that_stays_silent_is_hung_after_many_looks_and_not_after_a_long_pause() {
        let mut pool = pool();
        pool.look(Time(u64::MAX));
        assert_eq!((states(&pool)[0], pool.poll_hung()), (Operational::Silent, None), "one look, however late");
        (2..HUNG_LOOKS).for_each(|_| pool.look(Time(3)));
        assert_eq!(pool.poll_hung(), None);
        pool.look(Time(3));
        assert_eq!((pool.poll_hung(), pool.poll_hung()), (Some(W0), None));
        pool.set_admin(W0, Admin::Maint);
        (0..2 * HUNG_LOOKS).for_each(|_| pool.look(Time(3)));
        assert_eq!(pool.poll_hung(), None, "somebody works on it");
    }
}
