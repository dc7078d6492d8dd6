//! The decision: the worker that gets a message, or the dispatcher's own answer. A function of (state, message, now).
//!
//! [`Dispatch`] holds one lane's state and wires its parts. A message comes in as [`Incoming`]; [`rules`] has the order
//! of questions. Nothing here owns a socket, a clock, a thread or a random source: the seed is given once, the time
//! with every call.

mod bits;
mod case;
pub mod counters;
pub mod decision;
pub mod group;
pub mod history;
pub mod identity;
mod incoming;
mod index;
mod joined;
pub mod note;
pub mod owner;
pub mod reason;
pub mod returned;
pub mod rules;
mod saved;
pub mod search;
pub mod select;
pub mod share;
pub mod size;
pub mod table;
pub mod targets;

use std::hash::BuildHasher;
use std::time::Duration;

use foldhash::fast::FixedState;

use crate::access::Access;
use crate::fingerprint::{Fingerprint, Printer, SourcePrint};
use crate::ids::{Seq, WorkerId};
use crate::time::Time;
use crate::transaction::name::{self, sip::Names};
use crate::wire::sip::Message;
use crate::words;
use counters::Counters;
use decision::{Admin, Brought, Decision, Joined, Room, Target};
use group::{GroupId, Groups, Opening};
use history::{Explained, History};
use identity::{Directory, Keyring};
pub use incoming::Incoming;
use mgcp::{Acks, Gatherings};
use reason::Reason;
use rules::Rules;
pub use rules::{mgcp, sip};
use select::Selector;
use table::{NewEntry, State, Table};
use targets::pool::Pool;

/// The settings that a lane's decisions start with.
#[derive(Clone, Debug)]
pub struct Setup {
    /// The settings of the operator.
    pub rules: Rules,
    /// The keys of tokens and fingerprints.
    pub keys: Keyring,
    /// Most transactions in the table.
    pub table_cap: usize,
    /// Most conferences that are remembered.
    pub group_cap: usize,
    /// Number of workers that the operator wants.
    pub workers: usize,
    /// Seed of the random numbers of selections.
    pub seed: u64,
}

/// One lane's decisions.
///
/// ```
/// use pointsman::dispatch::decision::{Arrival, Joined, Reason, Target};
/// use pointsman::dispatch::identity::Keyring;
/// use pointsman::dispatch::rules::Rules;
/// use pointsman::dispatch::{Dispatch, Setup};
/// use pointsman::ids::{Incarnation, ListenerId, TokenKey, WorkerId};
/// use pointsman::words::ReplyTo;
/// use pointsman::time::Time;
/// use pointsman::wire::sip::Scanner;
/// use pointsman::words::Transport;
///
/// let (now, keys) = (Time(1_000_000_000), Keyring::new(TokenKey::new([7; 32])));
/// let rules = Rules::default();
/// let mut dispatch = Dispatch::new(Setup { rules, keys, table_cap: 100, group_cap: 10, workers: 1, seed: 1 });
/// dispatch.on_worker_up(WorkerId(0), &Joined::sip(Incarnation::new(1), 1000, Vec::new()), now);
///
/// let invite = b"INVITE sip:b@192.0.2.1 SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.9;branch=z9hG4bK1\r\n\
///     From: <sip:a@192.0.2.9>;tag=1\r\nTo: <sip:b@192.0.2.1>\r\nCall-ID: 1\r\nCSeq: 1 INVITE\r\n\r\n";
/// let arrival = Arrival {
///     listener: ListenerId(0),
///     transport: Transport::Udp,
///     reply_to: ReplyTo::Datagram,
///     source: "192.0.2.9:5060".parse().unwrap(),
///     local: "192.0.2.1:5060".parse().unwrap(),
///     received: now,
/// };
/// let mut scanner = Scanner::new();
/// let decision = dispatch.on_message(&scanner.scan(invite).unwrap(), &arrival, now);
/// assert_eq!(decision.reason, Reason::Selected);
/// assert!(matches!(decision.target, Target::Worker(handoff) if handoff.worker == WorkerId(0)));
/// ```
#[derive(Debug)]
pub struct Dispatch {
    rules: Rules,
    allow: String,
    printer: Printer,
    directory: Directory,
    pool: Pool,
    selector: Selector,
    table: Table,
    groups: Groups,
    access: Access,
    history: History,
    call_hash: FixedState,
    counters: Counters,
    /// Time until which messages may follow requests that were placed by hash and not recorded.
    unrecorded_until: Time,
    /// Time of the next look at every worker; `None` while no worker lives.
    next_look: Option<Time>,
    gatherings: Gatherings,
    acks: Acks,
    /// Time until which call agents at one address may have to be told apart.
    apart_until: Time,
    /// Number of lanes that decide, this one included.
    lanes: usize,
}

/// Interval at which every worker is checked for silence.
const LOOK_EVERY: Duration = Duration::from_millis(250);

impl Dispatch {
    /// A lane without workers; all memory has its full size from the start.
    pub fn new(setup: Setup) -> Self {
        let Setup { rules, keys, table_cap, group_cap, workers, seed } = setup;
        Dispatch {
            allow: rules.methods.allow(),
            printer: Printer::new(&keys.current),
            directory: Directory::new(keys),
            pool: Pool::new(workers, rules.slow_start),
            selector: Selector::new(rules.policy, &rules.weights, workers, seed),
            table: Table::new(table_cap, rules.pending_max),
            groups: Groups::new(group_cap),
            access: Access::new(&rules.access),
            history: History::new(),
            call_hash: FixedState::with_seed(seed),
            counters: Counters::default(),
            unrecorded_until: Time(0),
            next_look: None,
            gatherings: Gatherings::new(),
            acks: Acks::default(),
            apart_until: Time(0),
            lanes: 1,
            rules,
        }
    }

    /// Takes note that the final response to the message that made this entry has been sent.
    pub fn on_answered(&mut self, entry: decision::EntryId, now: Time) {
        let group = self.table.answered(entry, now);
        if let Some(group) = group {
            self.groups.on_answered(group, entry);
        }
        self.release(group);
    }

    /// Releases a leg of a group that waits no more.
    fn release(&mut self, group: Option<GroupId>) {
        if let Some(group) = group {
            self.groups.release(group);
        }
    }

    /// Takes note of a worker's final answer to a message, for [`Dispatch::explain`].
    pub fn on_outcome(&mut self, worker: WorkerId, outcome: words::Outcome<'_>, now: Time) {
        self.history.note_final(worker, outcome, now);
    }

    /// Takes note that a worker has sent `Hello`. Numbers on its link start at 1.
    pub fn on_worker_up(&mut self, worker: WorkerId, joined: &Joined, now: Time) {
        if usize::from(worker.0) >= self.pool.len() {
            return;
        }
        self.groups.on_target_down(worker.into());
        self.pool.on_up(worker, joined, now);
        self.directory.add(worker, joined);
        self.gatherings.on_worker_down(worker, now);
        self.next_look = self.next_look.or(Some(now + LOOK_EVERY));
    }

    /// Takes note that a worker of an earlier dispatcher has come back, with the work that it has. Numbers on its link
    /// start at 1.
    pub fn on_worker_back(&mut self, worker: WorkerId, joined: &Joined, brought: &Brought, now: Time) {
        self.on_worker_up(worker, joined, now);
        let Some(life) = self.pool.get(worker).map(|slot| slot.life) else { return };
        self.pool.on_back(worker, brought);
        for held in &brought.transactions {
            let name = Fingerprint::from_bytes(held.name);
            // If two workers claim one transaction, the first has it, as with two copies of a request.
            if self.table.by_name(name).is_some() {
                continue;
            }
            let new = NewEntry {
                name,
                call: Fingerprint::from_bytes(held.call),
                discriminator: held.cseq,
                target: worker.into(),
                life,
                group: None,
                is_invite: held.is_invite,
                state: if held.is_answered { State::ANSWERED } else { State::PENDING },
                // The source is not known, so each transaction counts as a source of its own.
                source: SourcePrint(name.short() as u16),
            };
            let Ok((entry, _)) = self.table.insert(new, now) else { break };
            if held.is_cancelled {
                self.table.cancel(entry);
            }
        }
        for (opened, name) in &brought.conferences {
            self.on_group_open(worker, name, *opened);
        }
    }

    /// The transaction of a message that a worker came back with and has not answered: its name, and its entry while it
    /// waits for that worker.
    pub fn brought(&self, worker: WorkerId, message: &Message<'_>) -> Option<([u8; 16], decision::EntryId)> {
        let name = Names::opened_by(message, &self.printer)?.name;
        let id = self.table.by_name(Fingerprint::from_bytes(name))?;
        let waits = |entry: &&table::Entry| entry.target == worker && entry.is_pending();
        self.table.get(id).filter(waits).map(|_| (name, id))
    }

    /// The number of the life that a worker is in, or was in last.
    pub fn life(&self, worker: WorkerId) -> Option<u32> {
        self.pool.get(worker).map(|slot| slot.life)
    }

    /// Takes note that the final response to a transaction that a worker came back with has been sent.
    pub fn on_released(&mut self, worker: WorkerId, name: [u8; 16], now: Time) {
        if let Some(life) = self.life(worker) {
            self.on_released_before_death(worker, life, name, now);
        }
    }

    /// [`Dispatch::on_released`] for a worker that is gone and was in this life.
    pub fn on_released_before_death(&mut self, worker: WorkerId, life: u32, name: [u8; 16], now: Time) {
        if let Some(entry) = self.table.by_name(Fingerprint::from_bytes(name)) {
            self.on_answered_before_death(entry, worker, life, now);
        }
    }

    /// Takes note that a worker that is gone, and was in this life, had answered a message before. A retransmission may
    /// have gone to another worker since: that worker then has the transaction, and this answer does not count for it.
    pub fn on_answered_before_death(&mut self, entry: decision::EntryId, worker: WorkerId, life: u32, now: Time) {
        if self.table.get(entry).is_some_and(|entry| (entry.target, entry.life) == (worker.into(), life)) {
            self.on_answered(entry, now);
        }
    }

    /// Takes note that the link of a worker lost in this life has been read to the end: it brings no more answers to
    /// gatherings.
    pub fn on_link_read(&mut self, worker: WorkerId, life: Option<u32>, now: Time) {
        // A successor in the slot may have been asked since.
        if self.life(worker).is_none_or(|of_now| Some(of_now) == life) {
            self.gatherings.on_worker_down(worker, now);
        }
    }

    /// Takes note that a worker is gone: it gets nothing more. Its link may still be read: see
    /// [`Dispatch::on_link_read`].
    pub fn on_worker_lost(&mut self, worker: WorkerId) {
        let slots = self.pool.len();
        self.pool.on_down(worker);
        self.directory.remove(worker);
        self.groups.on_target_down(worker.into());
        if self.pool.len() != slots {
            self.selector.set(self.rules.policy, &self.rules.weights, self.pool.len());
        }
    }

    /// Takes note of the last message that a worker has read on its link while more was waiting (`None`: nothing
    /// waits). Called for every link when [`Dispatch::is_look_due`].
    pub fn on_unread(&mut self, worker: WorkerId, behind: Option<Seq>) {
        self.pool.on_unread(worker, behind);
    }

    /// Takes note of a worker's report.
    pub fn on_report(&mut self, worker: WorkerId, report: &words::Report, now: Time) {
        self.pool.on_report(worker, report, now);
    }

    /// Takes note of the room on a link; called after each push and each `Answered`.
    pub fn on_link_room(&mut self, worker: WorkerId, room: Room) {
        self.pool.set_room(worker, room);
    }

    /// Takes note that a worker has opened a conference, or a call of MGCP. `name` is the user part that callers write,
    /// `conf=ID`, or the call id with `C:` in front.
    pub fn on_group_open(&mut self, worker: WorkerId, name: &[u8], opened: Time) {
        match self.groups.open(self.group_name(name), worker.into(), opened) {
            Opening::Recorded => {}
            Opening::Conflict => self.counters.group_conflicts += 1,
            Opening::Full => self.counters.groups_unrecorded += 1,
        }
    }

    /// Takes note that a worker has closed a conference.
    pub fn on_group_closed(&mut self, worker: WorkerId, name: &[u8]) {
        self.groups.close(self.group_name(name), worker.into());
    }

    /// The fingerprint of a group that a worker names.
    fn group_name(&self, name: &[u8]) -> Fingerprint {
        match name.strip_prefix(name::mgcp::CALL) {
            Some(id) => name::mgcp::call(id, &self.printer),
            None => sip::conference(name, &self.printer),
        }
    }

    /// Takes note of the units that another lane has handed to a worker and that no report to that lane includes.
    pub fn on_ledger_elsewhere(&mut self, worker: WorkerId, lane: usize, units: u32) {
        self.pool.set_elsewhere(worker, lane, units);
    }

    /// Counts messages that were read for another lane while that lane could take no more.
    pub fn on_lane_full(&mut self, messages: usize) {
        let decision = Decision { target: Target::Drop, reason: Reason::LaneFull };
        (0..messages).for_each(|_| self.counters.on_decision(&decision));
    }

    /// Divides the rate of each source among `lanes` lanes.
    pub fn share_among(&mut self, lanes: usize) {
        self.access.share_among(lanes);
        self.lanes = lanes;
    }

    /// Sets the operator's order for a worker.
    pub fn set_admin(&mut self, worker: WorkerId, admin: Admin) {
        self.pool.set_admin(worker, admin);
    }

    /// Sets other rules, from the next message on. Table, load and conferences stay.
    pub fn set_rules(&mut self, rules: Rules) {
        self.allow = rules.methods.allow();
        self.table.set_pending_max(rules.pending_max);
        self.pool.set_slow_start(rules.slow_start);
        self.access.set_rules(&rules.access);
        self.selector.set(rules.policy, &rules.weights, self.pool.len());
        self.rules = rules;
    }

    /// Sets another number of workers. A surplus slot gets no new work, and goes once its process has ended.
    pub fn set_workers(&mut self, workers: usize) {
        self.pool.set_workers(workers);
        self.selector.set(self.rules.policy, &self.rules.weights, self.pool.len());
    }

    /// Does everything that is due.
    pub fn handle_timeout(&mut self, now: Time) {
        while let Some(expired) = self.table.poll_expired(now) {
            self.release(expired.group);
        }
        self.gatherings.handle_timeout(now);
        if self.is_look_due(now) {
            self.pool.look(now - self.rules.silent_after);
            let is_alive = self.pool.iter().any(|(_, worker)| worker.is_alive());
            self.next_look = is_alive.then_some(now + LOOK_EVERY);
        }
    }

    /// Whether the next [`Dispatch::handle_timeout`] looks at every worker.
    pub fn is_look_due(&self, now: Time) -> bool {
        self.next_look.is_some_and(|look| look <= now)
    }

    /// Takes out a worker that has been silent for so long that it must be killed: the messages that it has not read
    /// wait for that.
    pub fn poll_hung(&mut self) -> Option<WorkerId> {
        self.pool.poll_hung()
    }

    /// The time at which [`Dispatch::handle_timeout`] is due next.
    pub fn poll_timeout(&self) -> Option<Time> {
        self.table.poll_timeout().into_iter().chain(self.next_look).chain(self.gatherings.poll_timeout()).min()
    }

    /// The workers.
    pub const fn pool(&self) -> &Pool {
        &self.pool
    }

    /// The counts since start.
    pub const fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Most entries the table can hold.
    pub const fn table_cap(&self) -> usize {
        self.table.cap()
    }

    /// Number of transactions in the table now.
    pub fn table_len(&self) -> usize {
        self.table.len()
    }

    /// Most conferences whose worker can be known.
    pub const fn conference_cap(&self) -> usize {
        self.groups.cap()
    }

    /// Number of conferences known now.
    pub fn conferences(&self) -> usize {
        self.groups.len()
    }

    /// The value of Allow in the dispatcher's own answers.
    pub fn allow(&self) -> &str {
        &self.allow
    }

    /// The rules in force.
    pub const fn rules(&self) -> &Rules {
        &self.rules
    }

    /// Panics if table, conferences or gatherings contradict themselves. For tests: it reads everything.
    pub fn check(&self) {
        self.table.check();
        self.groups.check();
        self.gatherings.check();
    }

    /// Whether no command for all workers is under way, and no answer to one kept.
    #[cfg(test)]
    pub(crate) fn has_no_gathering(&self) -> bool {
        self.gatherings.is_empty()
    }

    /// The decisions about a call, oldest first; for MGCP commands without a call id, about an endpoint or a
    /// transaction as written. Names of MGCP are found in any case.
    pub fn explain(&self, name: &[u8]) -> Vec<Explained> {
        let lower = name.to_ascii_lowercase();
        let mut explained = self.history.of(self.call_hash.hash_one(name));
        if lower != name {
            explained.extend(self.history.of(self.call_hash.hash_one(lower.as_slice())));
            explained.sort_by_key(|explained| explained.at);
        }
        explained
    }
}
