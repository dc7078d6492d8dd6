//! The dispatcher: the product's switch, fed from memory as the lane feeds it from sockets.

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use pointsman::config::Insert;
use pointsman::dispatch::decision::{Admin, Brought, Joined, Services};
use pointsman::dispatch::identity::Keyring;
use pointsman::dispatch::owner::Owners;
use pointsman::dispatch::rules::Rules;
use pointsman::dispatch::{Dispatch, Setup};
use pointsman::ids::{Incarnation, ListenerId, TokenKey, WorkerId};
use pointsman::pack::Packed;
use pointsman::stream::Received;
use pointsman::switch::owner::Owner;
use pointsman::switch::{LinkRead, Switch, Way};
use pointsman::time::Time;
use pointsman::words::Transport;

use crate::air::Datagram;
use crate::mutation::{Mutation, unmarked};
use crate::pipe::{FrontEnd, Pipe};
use crate::streams::{Streams, Written};
use crate::town;
use crate::truth::Truth;

/// The lane's own limits.
const FRAMES_A_TURN: usize = 64;
const BATCH: usize = 32;

/// The settings of a dispatcher.
#[derive(Clone, Debug)]
pub struct Settings {
    pub rules: Rules,
    pub insert: Insert,
    pub workers: usize,
    pub capacity: u32,
    pub table_cap: usize,
    pub group_cap: usize,
    pub retention: usize,
    /// Bytes that a link's buffer holds.
    pub link_buffer: usize,
}

/// The dispatcher and the sockets it reads.
pub struct Desk {
    pub switch: Switch<FrontEnd>,
    /// Datagrams that wait in the well-known socket.
    pub inbox: VecDeque<Datagram>,
    /// Datagrams that wait in the well-known MGCP socket.
    pub commands: VecDeque<Datagram>,
    /// Connections of callers.
    pub streams: Streams,
    /// Whether there have been any.
    has_commands: bool,
    settings: Settings,
    /// Slots that have sockets: the lane serves them while no worker does.
    open: Vec<bool>,
    mutation: Option<Mutation>,
    /// For a mutation: how often each message has come.
    copies: BTreeMap<Rc<str>, u32>,
    /// For another: the worker that came last.
    last: Option<Incarnation>,
}

impl Desk {
    /// A dispatcher without workers.
    pub fn new(settings: Settings, key: &TokenKey, seed: u64, mutation: Option<Mutation>) -> Self {
        let Settings { ref rules, workers, table_cap, group_cap, .. } = settings;
        let mut rules = rules.clone();
        if mutation == Some(Mutation::PendingInvitesAreForgotten) {
            rules.pending_max = Duration::from_secs(1);
        }
        let keys = Keyring::new(key.clone());
        let dispatch = Dispatch::new(Setup { rules, keys, table_cap, group_cap, workers, seed });
        Desk {
            switch: Switch::new(dispatch, settings.insert, settings.retention, Owners::new(0, 1, seed)),
            inbox: VecDeque::new(),
            commands: VecDeque::new(),
            streams: Streams::new(seed),
            has_commands: false,
            open: vec![true; workers],
            settings,
            mutation,
            copies: BTreeMap::new(),
            last: None,
        }
    }

    /// One turn of the lane. `slots` are the datagrams that wait in the slots' sockets; answers go to `out`. Gives the
    /// workers that are hung: the caller of this function has to end them.
    pub fn turn(
        &mut self,
        slots: &mut [VecDeque<Datagram>],
        now: Time,
        truth: &mut Truth,
        out: &mut Vec<Datagram>,
    ) -> Vec<(WorkerId, Incarnation)> {
        for _ in 0..FRAMES_A_TURN {
            let Some(worker) = self.switch.take_readable_link() else { break };
            if let LinkRead::Over(..) = self.switch.read_link(worker, now) {
                self.switch.on_link_lost(worker, now);
            }
        }
        let mut came = Vec::new();
        for _ in 0..BATCH {
            let Some(datagram) = self.inbox.pop_front() else { break };
            let text = self.changed(&datagram.text).map_or(datagram.text, Rc::from);
            let owner = Owner::Listener(ListenerId(0));
            let ends = (datagram.from, datagram.to);
            came.push((text, Way::of_datagram(owner, ListenerId(0), Transport::Udp, ends, now)));
        }
        self.switch.on_messages(came.iter().map(|(text, way)| (text.as_bytes(), *way)), now);
        for _ in 0..BATCH {
            let Some(datagram) = self.commands.pop_front() else { break };
            self.has_commands = true;
            let changed = self.changed(&datagram.text);
            let bytes = changed.as_deref().unwrap_or(&datagram.text).as_bytes();
            let (owner, listener) = (Owner::Listener(ListenerId(1)), ListenerId(1));
            let way = Way::of_datagram(owner, listener, Transport::Mgcp, (datagram.from, datagram.to), now);
            self.switch.on_message(bytes, &way, now);
        }
        let Desk { streams, switch, .. } = self;
        let wrong = streams.read(now, |connection, caller, received| {
            let ends = (caller, town::STREAMS);
            // Callers name TCP, on a WebSocket as well: only the bytes differ here.
            let way = Way::of_stream(connection, ListenerId(2), Transport::Tcp, ends, now);
            match received {
                Received::Message(bytes) => switch.on_message(bytes, &way, now),
                Received::Faulty(head, fault) => switch.on_faulty(head, fault, &way, now),
            }
        });
        wrong.into_iter().for_each(|wrong| truth.broken(wrong));
        for (at, inbox) in slots.iter_mut().enumerate() {
            let worker = WorkerId(at as u16);
            if !self.serves(at) || self.switch.has_link(worker) {
                continue;
            }
            while let Some(datagram) = inbox.pop_front() {
                self.read(Owner::Vacant(worker), &datagram, now);
            }
        }
        self.switch.handle_timeout(now);
        self.flush(now, truth, out);
        std::iter::from_fn(|| self.switch.poll_hung()).collect()
    }

    /// Whether it has something to do at once.
    pub fn is_busy(&self, slots: &[VecDeque<Datagram>]) -> bool {
        let vacant = |at: usize| self.open.get(at) == Some(&true) && !self.switch.has_link(WorkerId(at as u16));
        let waits = slots.iter().enumerate().any(|(at, inbox)| !inbox.is_empty() && vacant(at));
        waits
            || self.streams.is_busy()
            || !self.inbox.is_empty()
            || !self.commands.is_empty()
            || self.switch.has_readable_link()
    }

    /// A worker has been welcomed: its predecessor's link is read to the end first.
    pub fn on_link(&mut self, worker: WorkerId, incarnation: Incarnation, pipe: &Rc<RefCell<Pipe>>, now: Time) {
        while self.switch.has_link(worker) {
            if self.switch.read_link(worker, now) != LinkRead::Frame {
                self.switch.on_link_lost(worker, now);
            }
        }
        // The mutation gives this worker the incarnation, and so the token, of the last one.
        let named = match self.mutation {
            Some(Mutation::TokensAreSwapped) => self.last.replace(incarnation).unwrap_or(incarnation),
            _ => incarnation,
        };
        let joined = self.joined(worker, named);
        self.switch.on_link(worker, FrontEnd(pipe.clone()), &joined, now);
    }

    /// A worker of an earlier dispatcher comes back.
    pub fn on_link_back(
        &mut self,
        worker: WorkerId,
        incarnation: Incarnation,
        pipe: &Rc<RefCell<Pipe>>,
        brought: &Brought,
        now: Time,
    ) {
        let joined = self.joined(worker, incarnation);
        self.switch.on_link_back(worker, FrontEnd(pipe.clone()), &joined, brought, now);
    }

    fn joined(&self, worker: WorkerId, incarnation: Incarnation) -> Joined {
        let sip = Joined::sip(incarnation, self.settings.capacity, vec![town::port_of(worker)]);
        Joined { services: Services::ALL, ..sip }
    }

    /// The dispatcher dies, and another takes its place: the sockets stay, the table does not.
    pub fn restart(&mut self, key: &TokenKey, seed: u64) {
        let fresh = Desk::new(self.settings.clone(), key, seed, self.mutation);
        let old = std::mem::replace(self, fresh);
        (self.inbox, self.commands, self.open) = (old.inbox, old.commands, old.open);
    }

    /// Sets the operator's order for a worker.
    pub fn set_admin(&mut self, worker: WorkerId, admin: Admin) {
        self.switch.set_admin(worker, admin, None);
    }

    /// Sets another number of slots; workers of surplus slots drain.
    pub fn reload(&mut self, workers: usize, now: Time) {
        let before = self.settings.workers;
        self.settings.workers = workers;
        self.open.resize(self.open.len().max(workers), true);
        self.switch.reload(self.settings.rules.clone(), self.settings.insert, workers, now);
        for at in workers.min(before)..workers.max(before) {
            let admin = if at >= workers { Admin::Drain } else { Admin::Ready };
            self.open[at] |= at < workers;
            self.switch.set_admin(WorkerId(at as u16), admin, None);
        }
    }

    /// Another dispatcher takes over, with all that this one has; its selections draw from another seed.
    pub fn take_over(&mut self, key: &TokenKey, seed: u64) {
        let Settings { table_cap, group_cap, workers, .. } = self.settings;
        let (rules, keys) = (self.switch.dispatch().rules().clone(), Keyring::new(key.clone()));
        let dispatch = Dispatch::new(Setup { rules, keys, table_cap, group_cap, workers, seed });
        let mut switch = Switch::new(dispatch, self.settings.insert, self.settings.retention, Owners::new(0, 1, seed));
        let mut state = Vec::new();
        self.switch.save(&mut state);
        let channel = |worker| self.switch.links().get(worker).map(|link| FrontEnd(link.channel().0.clone()));
        let mut from = Packed::new(&state);
        switch.restore(&mut from, channel).expect("a state that was just saved");
        assert!(from.is_empty(), "not all of the state was read");
        // A process that ends at once closes no link: there is a duplicate of each.
        std::mem::forget(std::mem::replace(&mut self.switch, switch));
    }

    /// A slot is no more: no process reads its sockets.
    pub fn close(&mut self, worker: WorkerId) {
        if let Some(open) = self.open.get_mut(usize::from(worker.0)) {
            *open = false;
        }
    }

    /// Whether a worker or the lane serves a slot's port.
    pub fn serves(&self, slot: usize) -> bool {
        self.open.get(slot) == Some(&true)
    }

    /// The settings in force.
    pub const fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Checks everything that can be seen from outside without knowing the truth: caps, sums, figures of the links.
    pub fn check(&self, truth: &mut Truth) {
        let dispatch = self.switch.dispatch();
        let counters = dispatch.counters();
        let done = counters.handed_over + counters.relayed + counters.replied + counters.dropped;
        let read = self.switch.totals().received;
        // Commands that share a datagram are read together, and decided about one after the other.
        let is_behind = if self.has_commands { counters.received > read } else { counters.received != read };
        if counters.received != done || is_behind {
            truth.broken(format!("{read} messages read, {} counted, {done} dealt with", counters.received));
        }
        if dispatch.table_len() > self.settings.table_cap || dispatch.conferences() > self.settings.group_cap {
            truth.broken(format!("{} table entries, {} conferences", dispatch.table_len(), dispatch.conferences()));
        }
        let full = pointsman::dispatch::reason::Reason::Unrecorded;
        truth.table_was_full |= counters.evicted > 0 || counters.of(full) > 0;
        truth.groups_were_full |= counters.groups_unrecorded > 0;
    }

    /// The figures of one link against its books.
    pub fn check_link(&self, worker: WorkerId, pipe: &Pipe, truth: &mut Truth) {
        let Some(link) = self.switch.links().get(worker) else { return };
        let Some(slot) = self.switch.dispatch().pool().get(worker) else { return };
        let stats = link.front.stats();
        if stats.faults > 0 {
            truth.broken(format!("{worker} said what cannot be: {} faults", stats.faults));
        }
        if stats.retained_bytes as usize > self.settings.retention.max(STORE_AT_LEAST) {
            truth.broken(format!("{} bytes retained for {worker}", stats.retained_bytes));
        }
        // Messages that wait to be sent are in no book yet.
        if link.front.wants_transmit() {
            return;
        }
        let open = pipe.books.uncovered.values();
        let (least, most) = open.fold((0, 0), |sum, units| (sum.0 + units.0, sum.1 + units.1));
        if !(least..=most).contains(&slot.ledger()) {
            truth.broken(format!("{worker}: the ledger has {} units, {least} to {most} are open", slot.ledger()));
        }
        if let Some(units) = pipe.books.reported.filter(|units| *units != slot.units_used) {
            truth.broken(format!("{worker}: {} units are believed used, {units} were", slot.units_used));
        }
        if stats.retained as usize != pipe.books.open.len() {
            truth.broken(format!("{worker}: {} messages retained, {} open", stats.retained, pipe.books.open.len()));
        }
    }

    fn read(&mut self, owner: Owner, datagram: &Datagram, now: Time) {
        let changed = self.changed(&datagram.text);
        let bytes = changed.as_deref().unwrap_or(&datagram.text).as_bytes();
        let way = Way::of_datagram(owner, ListenerId(0), Transport::Udp, (datagram.from, datagram.to), now);
        self.switch.on_message(bytes, &way, now);
    }

    /// A message as a mutation has it read.
    fn changed(&mut self, text: &Rc<str>) -> Option<String> {
        let mutation = self.mutation?;
        let copies = self.copies.entry(text.clone()).or_default();
        *copies += 1;
        mutation.to_dispatcher(text, *copies - 1)
    }

    fn flush(&mut self, now: Time, truth: &mut Truth, out: &mut Vec<Datagram>) {
        let mutation = self.mutation;
        let mut leave = |owner: Owner, bytes: &[u8], to: SocketAddr| {
            let text = std::str::from_utf8(bytes).expect("callers write plain text");
            let changed = (mutation == Some(Mutation::RetransmissionsAreSelected)).then(|| unmarked(text));
            let text = changed.as_deref().unwrap_or(text);
            if owner == Owner::Listener(ListenerId(1)) {
                truth.on_returned(None, text);
                return out.push(Datagram { from: town::MGCP, to, text: text.into() });
            }
            truth.on_sent(None, text, now);
            let from = match owner {
                Owner::Listener(_) => town::WELL_KNOWN,
                Owner::Vacant(worker) | Owner::VacantMgcp(worker, _) => town::port_of(worker),
            };
            out.push(Datagram { from, to, text: text.into() });
        };
        self.switch.flush_answers(|leaving| {
            let owner = leaving.owner;
            leaving.for_each(|(bytes, to)| leave(owner, bytes, to));
        });
        let streams = &mut self.streams;
        self.switch.flush_replies(|connection, bytes: &[u8]| {
            let written = streams.write(connection, bytes);
            if matches!(written, Written::Gone) {
                return false;
            }
            let text = std::str::from_utf8(bytes).expect("callers write plain text");
            truth.on_sent(None, text, now);
            if let Written::To(to) = written {
                out.push(Datagram { from: town::STREAMS, to, text: text.into() });
            }
            true
        });
        self.switch.flush_links();
    }
}

/// No store is smaller than this, whatever is asked for.
const STORE_AT_LEAST: usize = 256 * 1024;
