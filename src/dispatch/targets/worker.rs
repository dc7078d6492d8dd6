//! A worker as a target: its observed state, the operator's order for it, its own report, and its load.
//!
//! Three states, never one flag: [`Operational`] is observed, [`Admin`] is the operator's, [`OwnWord`] is the worker's.
//!
//! A worker that sends nothing, or reads none of its waiting messages, is silent: it keeps its calls and gets nothing
//! new. A worker that stays silent is hung and must be killed. Time is counted in looks, so that a dispatcher that was
//! itself held up does not count its delay against its workers.

use std::net::SocketAddr;

use super::ledger::Ledger;
use crate::dispatch::decision::{Admin, Brought, Joined, Operational, Room, Services};
use crate::dispatch::select::Load;
use crate::ids::Seq;
use crate::pack::packed;
use crate::time::Time;
use crate::words::Report;

/// Looks in a row that find the same message unread before its worker counts as silent. A healthy worker has read and
/// reported it within 100 ms.
const STUCK_LOOKS: u32 = 2;
/// Looks in a row that find a worker silent before it counts as hung: 7 s. Callers wait 32 s for an answer (RFC 3261
/// §17.1.1.2, Timer B), so another worker still has time for the messages that this one has not read.
pub(super) const HUNG_LOOKS: u32 = 28;

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

    /// A slot without a process.
    pub(super) fn vacant() -> Self {
        Worker { ledger: Ledger::new(), ..Worker::default() }
    }

    /// Takes note that the worker is connected; `life` is the number of its process in the pool.
    pub(super) fn on_up(&mut self, joined: &Joined, life: u32, now: Time) {
        self.operational = Operational::Up;
        self.own_word = OwnWord::default();
        self.room = Room::All;
        self.units_used = 0;
        self.units_total = joined.capacity;
        self.sessions = 0;
        self.heard = Some(now);
        self.reported = None;
        self.report_number = 0;
        self.life = life;
        self.up_since = now;
        self.services = joined.services;
        self.addresses.clone_from(&joined.addresses);
        self.mgcp.clone_from(&joined.mgcp);
        self.ledger.reset();
        self.elsewhere.clear();
        (self.behind, self.stuck_looks, self.silent_looks) = (None, 0, 0);
    }

    /// Takes note that the worker, which is connected, has come back with its sessions: they count before its first
    /// report.
    pub(super) const fn on_back(&mut self, brought: &Brought) {
        self.units_used = brought.units_used;
        self.sessions = brought.sessions;
        // The worker started long ago: it needs no slow start.
        self.up_since = Time(0);
        if brought.draining {
            self.admin = Admin::Drain;
        }
    }

    /// Takes note that the worker is gone.
    pub(super) fn on_down(&mut self) {
        self.operational = Operational::Down;
        self.units_used = 0;
        self.sessions = 0;
        self.cpu = 0;
        self.ledger.reset();
        self.elsewhere.clear();
    }

    /// Takes note of a sign of life.
    pub(super) fn on_heard(&mut self, now: Time) {
        self.heard = Some(now);
        // A worker that reads nothing stays silent, whatever it sends, until the next look.
        if self.operational == Operational::Silent && self.stuck_looks == 0 {
            self.operational = Operational::Up;
        }
    }

    /// Takes note of a report. An older report than the last one counts as a sign of life only.
    pub(super) fn on_report(&mut self, report: &Report, now: Time) {
        self.on_heard(now);
        if !self.is_alive() || self.reported.is_some() && report.number <= self.report_number {
            return;
        }
        self.report_number = report.number;
        self.reported = Some(now);
        self.units_used = report.units_used;
        self.units_total = report.units_total;
        self.sessions = report.sessions;
        self.cpu = report.cpu;
        self.direct = report.direct;
        self.answered = report.answered;
        self.own_word = OwnWord { no_room: report.no_room, draining: report.draining };
        self.ledger.covered(report.covers);
    }

    /// Numbers a message for the link and counts its size.
    pub(super) fn hand_over(&mut self, size: u32) -> Seq {
        self.ledger.hand_over(size)
    }

    /// Counts a refusal, and takes the message off the ledger.
    pub(super) fn on_refused(&mut self, seq: Seq, size: u32) {
        self.refused += u64::from(size > 0);
        self.ledger.refused(seq, size);
    }

    /// Sets the units that lane `lane` has handed to the worker and that no report to that lane includes.
    pub(super) fn set_elsewhere(&mut self, lane: usize, units: u32) {
        if !self.is_alive() {
            return;
        }
        if self.elsewhere.len() <= lane {
            self.elsewhere.resize(lane + 1, 0);
        }
        if let Some(known) = self.elsewhere.get_mut(lane) {
            *known = units;
        }
    }

    /// Takes note of a look at the link: `behind` is the last message that the worker has read, if more is waiting.
    pub(super) fn on_unread(&mut self, behind: Option<Seq>) {
        let is_same = behind.is_some() && behind == self.behind;
        self.stuck_looks = if is_same { self.stuck_looks.saturating_add(1) } else { 0 };
        self.behind = behind;
    }

    /// Checks the worker, which is alive, and returns whether it is hung. It is silent if it has not been heard of
    /// since `before`, or if it reads nothing while other workers do; it is hung if it has been silent for too long.
    pub(super) fn look(&mut self, before: Time, any_reads: bool) -> bool {
        let is_silent = self.is_stuck() && any_reads || self.heard.is_some_and(|heard| heard < before);
        self.operational = if is_silent { Operational::Silent } else { Operational::Up };
        self.silent_looks = if is_silent { self.silent_looks + 1 } else { 0 };
        // An operator works on a worker in `maint`, perhaps with a debugger. The count starts again, so that a hung
        // worker is reported again if it is not killed.
        let is_hung = self.silent_looks >= HUNG_LOOKS && self.admin != Admin::Maint;
        if is_hung {
            self.silent_looks = 0;
        }
        is_hung
    }

    /// Whether the worker reads none of its waiting messages.
    pub(super) const fn is_stuck(&self) -> bool {
        self.stuck_looks >= STUCK_LOOKS
    }

    /// Whether the worker may get new work if its load does not count: it is up, and neither the operator nor itself
    /// has it drain.
    pub(super) const fn is_ready(&self) -> bool {
        matches!(self.operational, Operational::Up) && matches!(self.admin, Admin::Ready) && !self.own_word.draining
    }

    /// Its load and its start, as a selection reads them.
    pub(super) fn as_load(&self) -> Load {
        Load { used: self.spoken_for(), total: self.units_total, up_since: self.up_since }
    }

    /// Whether there is a live process that has its calls.
    pub const fn is_alive(&self) -> bool {
        matches!(self.operational, Operational::Up | Operational::Silent)
    }
}
