//! The decision: the worker that gets a message, or the dispatcher's own answer. A function of (state, message, now).
//!
//! [`Dispatch`] holds one lane's state and wires its parts. A message comes in as [`Incoming`]; [`rules`] has the order
//! of questions. Nothing here owns a socket, a clock, a thread or a random source: the seed is given once, the time
//! with every call.

mod awaiting;
mod bits;
pub mod callees;
mod case;
pub mod contexts;
pub mod counters;
pub mod decision;
mod dialled;
pub mod forward;
pub mod group;
pub mod history;
pub mod identity;
mod incoming;
mod index;
mod joined;
pub mod note;
pub mod owner;
pub mod probed;
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
mod workers;

use std::hash::BuildHasher;
use std::net::IpAddr;
use std::time::Duration;

use foldhash::fast::FixedState;

use crate::access::Access;
use crate::fingerprint::Printer;
use crate::ids::WorkerId;
use crate::time::Time;
use crate::transaction::LIFETIME;
use crate::transaction::flow_token::FlowTokens;
use crate::transaction::forwarded::Branches;
use crate::transaction::identifier::Identifiers;
use awaiting::Awaiting;
use callees::Callees;
use contexts::{Contexts, Leaving};
use counters::Counters;
use decision::{Admin, Decision, Redirect, Target};
use group::Groups;
use history::{Explained, History};
use identity::{Directory, Keyring};
pub use incoming::{Foreseen, Incoming, ReadCommand, ReadRequest};
use mgcp::{Acks, Gatherings};
use reason::Reason;
use rules::Rules;
pub use rules::{mgcp, sip};
use select::Selector;
use sip::ForgottenCancels;
use table::Table;
use targets::pool::Pool;
use targets::proxies::Proxies;

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
///     alias: false,
///     certified: None,
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
    proxies: Proxies,
    /// The addresses in the last redirection.
    redirected: Redirect,
    branches: Branches,
    flow_tokens: FlowTokens,
    contexts: Contexts,
    awaiting: Awaiting,
    callees: Callees,
    selector: Selector,
    table: Table,
    groups: Groups,
    access: Access,
    history: History,
    call_hash: FixedState,
    counters: Counters,
    /// Time until which messages may follow requests that were placed by hash and not recorded.
    unrecorded_until: Time,
    /// Time until which requests may follow some that a dispatcher before has forwarded, whose table is lost.
    forgotten_until: Time,
    forgotten_cancels: ForgottenCancels,
    /// Time of the next look at every worker; `None` while no worker lives.
    next_look: Option<Time>,
    gatherings: Gatherings,
    acks: Acks,
    /// Time until which call agents at one address may have to be told apart.
    apart_until: Time,
    /// Responses to probes that the prober can still take.
    prober_room: usize,
    /// Number of this lane, and of lanes that decide, this one included.
    lane: usize,
    lanes: usize,
}

/// Interval at which every worker is checked for silence.
const LOOK_EVERY: Duration = Duration::from_millis(250);

impl Dispatch {
    /// A lane without workers; all memory has its full size from the start.
    pub fn new(setup: Setup) -> Self {
        let Setup { rules, keys, table_cap, group_cap, workers, seed } = setup;
        let naming = Identifiers::new(&keys.current, keys.previous.as_ref());
        Dispatch {
            allow: rules.methods.allow(),
            printer: Printer::new(&keys.current),
            pool: Pool::new(workers, rules.slow_start),
            redirected: Redirect::default(),
            contexts: Contexts::new(),
            awaiting: Awaiting::default(),
            callees: Callees::default(),
            branches: Branches::new(&keys.current, keys.previous.as_ref()),
            flow_tokens: {
                let mut tokens = FlowTokens::new(&keys.current, keys.previous.as_ref());
                tokens.set_listeners(rules.listeners());
                tokens
            },
            directory: Directory::new(keys),
            proxies: {
                let mut proxies = Proxies::new(rules.slow_start, seed);
                proxies.set(&rules.proxies, &rules.pools, Time(0));
                proxies.set_naming(naming);
                proxies
            },
            selector: Selector::new(rules.policy, &rules.weights, workers, seed),
            table: {
                let mut table = Table::new(table_cap, rules.pending_max);
                table.set_remember(rules.remember);
                table
            },
            groups: Groups::new(group_cap),
            access: Access::new(&rules.access),
            history: History::new(),
            call_hash: FixedState::with_seed(seed),
            counters: Counters::default(),
            unrecorded_until: Time(0),
            forgotten_until: Time(0),
            forgotten_cancels: ForgottenCancels::default(),
            next_look: None,
            gatherings: Gatherings::new(),
            acks: Acks::default(),
            apart_until: Time(0),
            prober_room: 0,
            lane: 0,
            lanes: 1,
            rules,
        }
    }

    /// The keys of tokens.
    pub const fn keys(&self) -> &Keyring {
        self.directory.keys()
    }

    /// Counts messages that were read for another lane while that lane could take no more.
    pub fn on_lane_full(&mut self, messages: usize) {
        let decision = Decision { target: Target::Drop, reason: Reason::LaneFull };
        (0..messages).for_each(|_| self.counters.on_decision(&decision));
    }

    /// It begins now, without the table of a dispatcher before. The states of proxies begin with it.
    pub fn on_start(&mut self, now: Time) {
        self.proxies.on_start(now);
        self.forgotten_until = now + LIFETIME;
    }

    /// It is lane `lane` of `lanes`, which share the rate of each source. `epoch`: a number that dispatchers share
    /// which take each other's connections over, and no others do.
    pub fn share_among(&mut self, lane: usize, lanes: usize, epoch: u64) {
        self.branches.set_epoch(epoch);
        self.flow_tokens.set_epoch(epoch);
        self.access.share_among(lanes);
        (self.lane, self.lanes) = (lane, lanes);
        self.proxies.share_among(lanes, Time(0));
    }

    /// The prober can take so many responses before the next call of this.
    pub const fn set_prober_room(&mut self, room: usize) {
        self.prober_room = room;
    }

    /// Sets the operator's order for a worker.
    pub fn set_admin(&mut self, worker: WorkerId, admin: Admin) {
        self.pool.set_admin(worker, admin);
    }

    /// Sets other rules, from the next message on. Table, load and conferences stay.
    pub fn set_rules(&mut self, rules: Rules, now: Time) {
        self.allow = rules.methods.allow();
        self.table.set_pending_max(rules.pending_max);
        self.table.set_remember(rules.remember);
        self.pool.set_slow_start(rules.slow_start);
        self.access.set_rules(&rules.access);
        self.selector.set(rules.policy, &rules.weights, self.pool.len());
        self.proxies.set_slow_start(rules.slow_start, now);
        self.proxies.set(&rules.proxies, &rules.pools, now);
        self.flow_tokens.set_listeners(rules.listeners());
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
            self.give_back(expired.hold, now);
        }
        self.handle_contexts(now);
        self.forgotten_cancels.handle_timeout(self.forgotten_until, now);
        self.gatherings.handle_timeout(now);
        self.proxies.handle_timeout(now);
        self.let_go_of_proxies(now);
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

    /// Whether the rules refuse everything from this address.
    pub fn denies(&self, address: IpAddr) -> bool {
        self.access.denies(address)
    }

    /// Takes out a worker that has been silent for so long that it must be killed: the messages that it has not read
    /// wait for that.
    pub fn poll_hung(&mut self) -> Option<WorkerId> {
        self.pool.poll_hung()
    }

    /// The time at which [`Dispatch::handle_timeout`] is due next.
    pub fn poll_timeout(&self) -> Option<Time> {
        self.table
            .poll_timeout()
            .into_iter()
            .chain(self.next_look)
            .chain(self.gatherings.poll_timeout())
            .chain(self.proxies.poll_timeout())
            .chain(self.contexts.poll_timeout())
            .chain(self.awaiting.poll_timeout())
            .min()
    }

    /// The addresses in the last redirection that was decided.
    pub const fn redirected(&self) -> &Redirect {
        &self.redirected
    }

    /// Takes out a message of a request under way that is to leave.
    pub fn poll_leaving(&mut self) -> Option<Leaving> {
        self.contexts.poll_leaving()
    }

    /// The downstream proxies.
    pub const fn proxies(&self) -> &Proxies {
        &self.proxies
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
        self.contexts.check();
        self.awaiting.check();
        self.callees.check();
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
