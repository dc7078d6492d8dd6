//! Everything together: callers, network, dispatcher, links and workers, in virtual time.
//!
//! A step is one event: a datagram arrives, a process or peer has its turn, an action takes place. After each step the
//! promises are checked.

use std::cell::RefCell;
use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use pointsman::dispatch::decision::Admin;
use pointsman::ids::{Incarnation, TokenKey, WorkerId};
use pointsman::time::Time;

use crate::agent::Agent;
use crate::air::{Air, Datagram};
use crate::caller::{Caller, Plan};
use crate::desk::Desk;
use crate::dice::Dice;
use crate::mutation::Mutation;
use crate::noise;
use crate::pipe::{News, Pipe};
use crate::process::{Fate, Process};
use crate::scene::{Action, Scene};
use crate::town;
use crate::truth::Truth;

const KEY: TokenKey = TokenKey::new([9; 32]);
const START: Time = Time(1_000_000_000);
/// Slots at most.
const SLOTS: usize = 6;
/// Datagrams that a socket holds; more are lost, as in the kernel.
const SOCKET_LIMIT: usize = 500;
/// Calls at a time.
const CALLS_LIMIT: usize = 80;
/// Calls of call agents at a time.
const AGENTS_LIMIT: usize = 40;
/// After the last call everything is forgotten within this time: 64·T1 for the INVITE's transaction and 64·T1 for a
/// BYE.
const REST: Duration = Duration::from_secs(100);
/// A message stays unanswered when its dispatcher has died, and then the worker that the dispatcher had handed it to.
/// Its entry goes when the table's time for INVITEs that wait is over.
const REST_AFTER_RESTART: Duration = Duration::from_secs(310);
/// No call lasts longer than this once nothing goes wrong any more.
const END_WITHIN: Duration = Duration::from_secs(700);

/// A broken promise, and how to see it again.
#[derive(Clone, Debug)]
pub struct Violation {
    pub what: String,
    pub step: u64,
    pub at: Time,
    /// The events before it, the last one last; empty unless asked for.
    pub events: Vec<String>,
}

/// The counts of a run.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tally {
    pub steps: u64,
    pub calls: u64,
    pub deaths: u64,
    pub moved: u64,
    pub died_unheard: u64,
    pub restarts: u64,
}

/// The world.
pub struct World {
    dice: Dice,
    scene: Scene,
    now: Time,
    steps: u64,
    queue: BinaryHeap<Reverse<Due>>,
    queued: u64,
    air: Air,
    desk: Desk,
    desk_wake: Option<Time>,
    slots: Vec<Slot>,
    /// The sockets of the slots: they outlive the processes.
    inboxes: Vec<VecDeque<Datagram>>,
    callers: Vec<(Caller, Option<Time>)>,
    active: Vec<usize>,
    /// Call agents, each with when it is woken.
    agents: Vec<(Agent, Option<Time>)>,
    truth: Truth,
    mutation: Option<Mutation>,
    is_calm: bool,
    tally: Tally,
    log: Option<VecDeque<String>>,
}

#[derive(Default)]
struct Slot {
    process: Option<Process>,
    pipe: Option<Rc<RefCell<Pipe>>>,
    wake: Option<Time>,
    is_draining: bool,
}

impl Slot {
    fn is_held(&self) -> bool {
        self.process.as_ref().is_some_and(|process| process.held_since.is_some())
    }
}

struct Due {
    at: Time,
    number: u64,
    event: Event,
}

#[derive(Debug)]
enum Event {
    Arrive(Datagram),
    Desk,
    Worker(usize),
    Caller(usize),
    Agent(usize),
    Start(usize),
    Release(usize, Incarnation),
    Thaw(usize),
    News(usize, News),
    Act,
}

/// Runs one seed: about `steps` steps of trouble, then until nothing is left.
pub fn run(seed: u64, steps: u64, mutation: Option<Mutation>, log: bool) -> Result<Tally, Box<Violation>> {
    let mut world = World::new(seed, mutation, log);
    while world.steps < steps {
        world.step()?;
    }
    world.calm();
    world.come_to_rest()?;
    Ok(Tally { steps: world.steps, ..world.tally })
}

impl World {
    fn new(seed: u64, mutation: Option<Mutation>, log: bool) -> Self {
        let mut dice = Dice::new(seed);
        let scene = Scene::new(&mut dice);
        let desk = Desk::new(scene.settings.clone(), &KEY, seed, mutation);
        let mut world = World {
            now: START,
            steps: 0,
            queue: BinaryHeap::new(),
            queued: 0,
            air: Air::new(scene.weather),
            desk,
            desk_wake: None,
            slots: (0..SLOTS).map(|_| Slot::default()).collect(),
            inboxes: vec![VecDeque::new(); SLOTS],
            callers: Vec::new(),
            active: Vec::new(),
            agents: Vec::new(),
            truth: Truth::new(scene.weather.is_fair()),
            mutation,
            is_calm: false,
            tally: Tally::default(),
            log: log.then(VecDeque::new),
            dice,
            scene,
        };
        for slot in 0..world.scene.settings.workers {
            world.schedule(START, Event::Start(slot));
        }
        world.schedule(START + Duration::from_millis(5), Event::Act);
        world.note(|world| format!("{:?}", world.scene));
        world
    }

    fn step(&mut self) -> Result<(), Box<Violation>> {
        let Some(Reverse(Due { at, event, .. })) = self.queue.pop() else {
            self.truth.broken("nothing is left to happen".into());
            return self.verdict();
        };
        if self.is_stale(&event, at) {
            return Ok(());
        }
        self.now = at;
        self.steps += 1;
        self.note(|_| describe(&event));
        let mut out = Vec::new();
        match event {
            Event::Arrive(datagram) => self.arrive(datagram, &mut out),
            Event::Desk => {
                self.desk_wake = None;
                let over = self.desk.streams.handle_timeout(self.now);
                self.reset(over);
                let hung = self.desk.turn(&mut self.inboxes, self.now, &mut self.truth, &mut out);
                self.check_links();
                for (worker, incarnation) in hung {
                    let slot = usize::from(worker.0);
                    if self.slots[slot].process.as_ref().is_some_and(|process| process.incarnation == incarnation) {
                        self.note(|_| format!("    {worker} is hung"));
                        self.bury(slot);
                    }
                }
            }
            Event::Worker(slot) => self.worker_turn(slot, &mut out),
            Event::Caller(at) => {
                self.callers[at].1 = None;
                self.callers[at].0.handle_timeout(self.now, &mut self.truth, &mut out);
                self.wake_caller(at);
            }
            Event::Agent(at) => {
                self.agents[at].1 = None;
                self.agents[at].0.handle_timeout(self.now, &mut self.truth, &mut out);
                self.wake_agent(at);
            }
            Event::Start(slot) => self.start(slot),
            Event::Release(slot, incarnation) => {
                let same = |process: &&mut Process| process.incarnation == incarnation;
                if let Some(process) = self.slots[slot].process.as_mut().filter(same) {
                    process.held_since = None;
                    self.wake_worker(slot, Duration::ZERO);
                }
            }
            Event::Thaw(slot) => {
                if let Some(pipe) = &self.slots[slot].pipe {
                    pipe.borrow_mut().freeze(false);
                }
            }
            Event::News(slot, News { readable, writable }) => {
                self.desk.switch.on_link_event(WorkerId(slot as u16), readable, writable);
            }
            Event::Act => self.act(&mut out),
        }
        self.settle(out);
        self.desk.check(&mut self.truth);
        self.verdict()
    }

    fn verdict(&mut self) -> Result<(), Box<Violation>> {
        let Some(what) = self.truth.broken.take() else { return Ok(()) };
        let mut events: Vec<String> = self.log.take().unwrap_or_default().into();
        let named = what.split_once("caller ").or_else(|| what.split_once("Call-ID: c"));
        let caller = named.and_then(|(_, rest)| rest.split([' ', '\'', ',', '@']).next());
        if let Some(call_id) = caller.filter(|_| !events.is_empty()).map(|caller| format!("c{caller}@example.net")) {
            events.push(format!("\nwhat the dispatcher decided about {call_id}:"));
            let decided = self.desk.switch.explain(call_id.as_bytes(), self.now);
            events.extend(decided.iter().map(|decided| format!("{decided:?}")));
        }
        Err(Box::new(Violation { what, step: self.steps, at: self.now, events }))
    }

    // -- what follows from a step --

    /// Sends the datagrams that were written, and wakes each process that has something to do.
    fn settle(&mut self, out: Vec<Datagram>) {
        for datagram in out {
            let copies = self.air.carry(&datagram, self.now, &mut self.dice);
            self.note(|_| {
                let fate = if copies[0].is_none() { " (lost)" } else { "" };
                format!("    {} -> {}: {}{fate}", datagram.from, datagram.to, summary(&datagram.text))
            });
            for at in copies.into_iter().flatten() {
                self.schedule(at, Event::Arrive(datagram.clone()));
            }
        }
        for slot in 0..SLOTS {
            let Some(pipe) = self.slots[slot].pipe.clone() else { continue };
            let news = pipe.borrow_mut().take_news();
            let has_frames = pipe.borrow().has_frames();
            if news.readable || news.writable {
                // The lane may be busy with something else when the kernel has news.
                let delay = if self.dice.chance(50) { Duration::ZERO } else { self.delay() };
                self.schedule(self.now + delay, Event::News(slot, news));
            }
            let has_room = pipe.borrow_mut().take_room();
            let process = self.slots[slot].process.as_mut().filter(|process| process.held_since.is_none());
            if process.is_some_and(|process| has_room && process.on_writable() || has_frames) {
                let delay = self.delay();
                self.wake_worker(slot, delay);
            }
        }
        let timeout = self.desk.switch.poll_timeout().into_iter().chain(self.desk.streams.poll_timeout()).min();
        // The wheel of the table may have been due already.
        let timeout = timeout.map(|at| at.max(self.now + Duration::from_micros(50)));
        let now = self.desk.is_busy(&self.inboxes) || self.has_dirty_link();
        let busy = now.then(|| self.now + self.delay());
        if let Some(at) = timeout.into_iter().chain(busy).min()
            && self.desk_wake.is_none_or(|wake| at < wake)
        {
            self.desk_wake = Some(at);
            self.schedule(at, Event::Desk);
        }
    }

    /// Whether an operator's order waits on a link: the lane flushes at the end of the turn in which the order is
    /// given.
    fn has_dirty_link(&self) -> bool {
        self.desk.switch.links().iter().any(|(worker, link)| {
            let pipe = self.slots[usize::from(worker.0)].pipe.as_ref();
            link.front.wants_transmit() && pipe.is_some_and(|pipe| !pipe.borrow().is_blocked())
        })
    }

    fn check_links(&mut self) {
        for (slot, Slot { pipe, .. }) in self.slots.iter().enumerate() {
            if let Some(pipe) = pipe {
                self.desk.check_link(WorkerId(slot as u16), &pipe.borrow(), &mut self.truth);
            }
        }
    }

    fn arrive(&mut self, datagram: Datagram, out: &mut Vec<Datagram>) {
        if datagram.to == town::WELL_KNOWN {
            if self.desk.inbox.len() < SOCKET_LIMIT {
                self.desk.inbox.push_back(datagram);
            }
        } else if datagram.to == town::STREAMS {
            self.desk.streams.on_bytes(&datagram, self.now);
        } else if datagram.to == town::MGCP {
            if self.desk.commands.len() < SOCKET_LIMIT {
                self.desk.commands.push_back(datagram);
            }
        } else if let Some(at) = town::agent_at(datagram.to).filter(|at| *at < self.agents.len()) {
            self.agents[at].0.on_datagram(&datagram, self.now, &mut self.truth, out);
            self.wake_agent(at);
        } else if let Some(slot) = town::slot_at(datagram.to).filter(|slot| *slot < SLOTS) {
            if self.desk.serves(slot) && self.inboxes[slot].len() < SOCKET_LIMIT {
                self.inboxes[slot].push_back(datagram);
                if self.slots[slot].process.is_some() {
                    let delay = self.delay();
                    self.wake_worker(slot, delay);
                }
            }
        } else if let Some(at) = town::caller_at(datagram.to).filter(|at| *at < self.callers.len()) {
            self.callers[at].0.on_datagram(&datagram, self.now, &mut self.truth, out);
            self.wake_caller(at);
        }
    }

    fn worker_turn(&mut self, slot: usize, out: &mut Vec<Datagram>) {
        self.slots[slot].wake = None;
        let Some(process) = &mut self.slots[slot].process else { return };
        let frames = if self.dice.chance(30) { 1 } else { 64 };
        match process.turn(frames, &mut self.inboxes[slot], self.now, &mut self.truth, out) {
            Fate::Lives => self.wake_worker_when_due(slot),
            fate => {
                self.note(|_| format!("    w{slot} {fate:?}"));
                self.bury(slot);
            }
        }
    }

    /// A process is gone; its supervisor starts another.
    fn bury(&mut self, slot: usize) {
        let Some(process) = self.slots[slot].process.take() else { return };
        self.tally.deaths += 1;
        {
            let mut pipe = process.pipe.borrow_mut();
            self.truth.on_death(process.incarnation, &pipe.books);
            pipe.worker_gone();
        }
        let delay = Duration::from_millis(self.dice.pick(&[0, 1, 50, 1_500]));
        self.schedule(self.now + delay, Event::Start(slot));
    }

    fn start(&mut self, slot: usize) {
        let configured = slot < self.desk.settings().workers;
        if !configured {
            if self.slots[slot].process.is_none() {
                self.desk.close(WorkerId(slot as u16));
                self.truth.on_closed(town::port_of(WorkerId(slot as u16)));
                self.inboxes[slot].clear();
            }
            return;
        }
        if self.slots[slot].process.is_some() {
            return;
        }
        let incarnation = Incarnation::new(self.dice.number());
        let Scene { settings, .. } = &self.scene;
        let pipe = Rc::new(RefCell::new(Pipe::new(settings.link_buffer, self.mutation)));
        let worker = WorkerId(slot as u16);
        self.truth.on_born(worker, incarnation, &KEY);
        self.desk.on_link(worker, incarnation, &pipe, self.now);
        let process = Process::new(worker, incarnation, settings.capacity, pipe.clone(), &KEY);
        self.slots[slot] = Slot { process: Some(process), pipe: Some(pipe), ..Slot::default() };
        self.slots[slot].is_draining =
            self.desk.switch.dispatch().pool().get(worker).is_some_and(|worker| worker.admin != Admin::Ready);
        self.wake_worker(slot, Duration::ZERO);
    }

    // -- actions --

    fn act(&mut self, out: &mut Vec<Datagram>) {
        if self.is_calm {
            return;
        }
        self.retire_surplus();
        let action = self.scene.action(&mut self.dice);
        self.note(|_| format!("    {action:?}"));
        let mut rest = self.dice.between(1, self.scene.pace);
        let slot = self.dice.roll(SLOTS as u64) as usize;
        let milliseconds = |most: u64, dice: &mut Dice| Duration::from_millis(dice.between(100, most));
        match action {
            Action::Call => {
                let plan = self.scene.plan(&mut self.dice);
                self.place(plan, out);
            }
            Action::Replace => self.replace(out),
            Action::Conference => self.confer(out),
            Action::Options => {
                let plan =
                    Plan { options: true, cancel: None, copy: None, vanishes: None, ..self.scene.plan(&mut self.dice) };
                self.place(plan, out);
            }
            Action::Command => {
                if self.agents.iter().filter(|(agent, _)| !agent.is_over()).count() < AGENTS_LIMIT {
                    let (at, plan) = (self.agents.len(), self.scene.agent(&mut self.dice));
                    self.tally.calls += 1;
                    let agent = Agent::new(at, plan, self.now, &mut self.truth, out);
                    self.agents.push((agent, None));
                    self.wake_agent(at);
                }
            }
            Action::Flood => {
                for _ in 0..12 {
                    let plan = Plan { vanishes: Some(0), ..self.scene.plan(&mut self.dice) };
                    self.place(plan, out);
                }
            }
            Action::Kill => self.bury(slot),
            Action::Doom(point) => {
                if let Some(process) = &mut self.slots[slot].process {
                    process.doom = Some(point);
                }
            }
            Action::Hold => {
                let span = milliseconds(12_000, &mut self.dice);
                let (now, dies) = (self.now, self.dice.chance(30));
                if let Some(process) = &mut self.slots[slot].process {
                    process.held_since = Some(now);
                    let incarnation = process.incarnation;
                    if dies {
                        process.doom = Some(crate::process::CrashPoint::BeforeRead);
                    }
                    self.schedule(now + span, Event::Release(slot, incarnation));
                }
            }
            Action::Drain => {
                let worker = WorkerId(slot as u16);
                if slot < self.desk.settings().workers {
                    let is_draining = !self.slots[slot].is_draining;
                    self.slots[slot].is_draining = is_draining;
                    self.desk.set_admin(worker, if is_draining { Admin::Drain } else { Admin::Ready });
                }
            }
            Action::Freeze => {
                if let Some(pipe) = &self.slots[slot].pipe {
                    pipe.borrow_mut().freeze(true);
                    let span = milliseconds(3_000, &mut self.dice);
                    self.schedule(self.now + span, Event::Thaw(slot));
                }
            }
            Action::Reload => {
                let workers = self.dice.between(1, SLOTS as u64) as usize;
                self.reload(workers);
            }
            Action::Restart => self.restart(out),
            Action::TakeOver => {
                self.desk.take_over(&KEY, self.dice.roll(u64::MAX));
                let callers = self.desk.streams.hand_over(self.now);
                self.reset(callers);
            }
            Action::Reset => {
                let caller = self.desk.streams.reset(self.dice.number());
                self.reset(caller);
            }
            Action::HalfEnd => self.desk.streams.end_half(self.dice.number(), self.now),
            Action::Vanish => {
                let caller = self.desk.streams.vanish(self.dice.number(), self.now);
                self.reset(caller);
            }
            Action::Noise => {
                let number = self.dice.number();
                let messages = noise::messages(number, &mut self.dice);
                self.desk.streams.on_noise(noise::stranger(number), &messages, self.now);
            }
            Action::Rest => rest += self.dice.roll(4_000),
        }
        self.schedule(self.now + Duration::from_millis(rest), Event::Act);
    }

    /// Connections of these callers have broken.
    fn reset(&mut self, callers: impl IntoIterator<Item = SocketAddr>) {
        for at in callers.into_iter().filter_map(town::caller_at) {
            self.callers[at].0.on_reset();
        }
    }

    fn place(&mut self, plan: Plan, out: &mut Vec<Datagram>) {
        self.active.retain(|at| !self.callers[*at].0.is_over());
        if self.active.len() >= CALLS_LIMIT {
            return;
        }
        let number = self.callers.len();
        self.tally.calls += 1;
        self.truth.on_placed(number, plan.size);
        let caller = Caller::new(number, plan, self.now, out);
        self.callers.push((caller, None));
        self.active.push(number);
        self.wake_caller(number);
    }

    fn replace(&mut self, out: &mut Vec<Datagram>) {
        let standing: Vec<String> = self.active.iter().filter_map(|at| self.callers[*at].0.dialog()).collect();
        if standing.is_empty() {
            return;
        }
        let replaces = standing[self.dice.roll(standing.len() as u64) as usize].clone();
        let plan = Plan { replaces: Some(replaces), copy: None, ..self.scene.plan(&mut self.dice) };
        self.place(plan, out);
    }

    fn confer(&mut self, out: &mut Vec<Datagram>) {
        let name = format!("conf={}", self.dice.roll(5));
        for leg in 0..self.dice.between(1, 4) {
            let user = if leg == 2 { format!("{name};mute") } else { name.clone() };
            let plan = Plan { user, ..self.scene.plan(&mut self.dice) };
            self.place(plan, out);
        }
    }

    fn reload(&mut self, workers: usize) {
        self.desk.reload(workers, self.now);
        for slot in 0..SLOTS {
            self.slots[slot].is_draining = slot >= workers;
            self.schedule(self.now, Event::Start(slot));
        }
    }

    /// The dispatcher is killed. Workers live on and come back to the next one. A worker that is held then does not
    /// come back, and is killed.
    fn restart(&mut self, out: &mut Vec<Datagram>) {
        self.tally.restarts += 1;
        self.tally.moved += self.desk.switch.dispatch().counters().returned;
        for slot in (0..SLOTS).filter(|slot| self.slots[*slot].is_held()).collect::<Vec<_>>() {
            self.bury(slot);
        }
        self.truth.on_restart();
        let seed = self.dice.number();
        let callers: Vec<SocketAddr> = self.desk.streams.peers().collect();
        self.reset(callers);
        self.desk.restart(&KEY, seed);
        for slot in 0..SLOTS {
            self.slots[slot].pipe = None;
            let Some(process) = &mut self.slots[slot].process else { continue };
            let pipe = Rc::new(RefCell::new(Pipe::new(self.scene.settings.link_buffer, self.mutation)));
            match process.come_back(pipe.clone(), self.now, &mut self.truth, out) {
                Some(mut brought) => {
                    match self.mutation {
                        Some(Mutation::TransactionsAreNotBrought) => brought.transactions.clear(),
                        Some(Mutation::ConferencesAreNotBrought) => brought.conferences.clear(),
                        Some(Mutation::MessagesAreNotBrought) => brought.messages.clear(),
                        _ => {}
                    }
                    let incarnation = process.incarnation;
                    self.desk.on_link_back(WorkerId(slot as u16), incarnation, &pipe, &brought, self.now);
                    self.slots[slot].pipe = Some(pipe);
                    self.wake_worker(slot, Duration::ZERO);
                }
                None => self.bury(slot),
            }
        }
    }

    /// Workers of slots that are configured no more leave once they have no session left.
    fn retire_surplus(&mut self) {
        for slot in self.desk.settings().workers..SLOTS {
            let worker = WorkerId(slot as u16);
            let load = self.desk.switch.dispatch().pool().get(worker).map(|load| (load.sessions, load.ledger()));
            if self.slots[slot].process.is_some() && load == Some((0, 0)) {
                self.desk.switch.retire(worker, Duration::from_secs(3));
            }
        }
    }

    // -- the end --

    /// From now on nothing goes wrong any more.
    fn calm(&mut self) {
        self.is_calm = true;
        self.note(|_| "calm".into());
        for slot in 0..SLOTS {
            self.schedule(self.now, Event::Thaw(slot));
            if let Some(process) = &mut self.slots[slot].process {
                process.doom = None;
                let incarnation = process.incarnation;
                self.schedule(self.now, Event::Release(slot, incarnation));
            }
        }
    }

    fn come_to_rest(&mut self) -> Result<(), Box<Violation>> {
        let begin = self.now;
        let rest = if self.tally.restarts > 0 { REST_AFTER_RESTART } else { REST };
        let mut quiet_since = None;
        loop {
            self.step()?;
            let is_quiet = self.truth.live_calls() == 0
                && self.active.iter().all(|at| self.callers[*at].0.is_over())
                && self.agents.iter().all(|(agent, _)| agent.is_over());
            if !is_quiet {
                quiet_since = None;
            }
            if is_quiet && self.now.since(*quiet_since.get_or_insert(self.now)) >= rest {
                break;
            }
            if self.now.since(begin) > END_WITHIN {
                let waiting: Vec<_> =
                    self.active.iter().map(|at| &self.callers[*at].0).filter(|caller| !caller.is_over()).collect();
                let live = self.truth.live_calls();
                let agents: Vec<_> = self.agents.iter().filter(|(agent, _)| !agent.is_over()).collect();
                self.truth.broken(format!(
                    "no rest: {live} calls at workers, callers that wait: {waiting:#?}, call agents: {agents:#?}"
                ));
                return self.verdict();
            }
        }
        self.check_rest();
        self.tally.moved += self.desk.switch.dispatch().counters().returned;
        self.tally.died_unheard = self.truth.died_unheard;
        self.verdict()
    }

    /// Nothing may be left of anything.
    fn check_rest(&mut self) {
        self.check_links();
        let dispatch = self.desk.switch.dispatch();
        if let Some(standing) = self.truth.connections.standing() {
            // With its table full the dispatcher may have forgotten a CRCX and had it done twice.
            if !self.truth.is_excused() {
                self.truth.broken(format!("left at the end: {standing}"));
            }
            return;
        }
        let (table, groups) = (dispatch.table_len(), dispatch.conferences());
        if (table, groups) != (0, 0) {
            self.truth.broken(format!("left at the end: {table} table entries, {groups} conferences"));
        }
        for (worker, slot) in dispatch.pool().iter() {
            if (slot.units_used, slot.ledger()) != (0, 0) {
                let (used, ledger) = (slot.units_used, slot.ledger());
                self.truth.broken(format!("left at the end: {used} units and {ledger} in the ledger of {worker}"));
            }
        }
        for (worker, link) in self.desk.switch.links().iter() {
            let retained = link.front.stats().retained;
            if retained > 0 {
                self.truth.broken(format!("left at the end: {retained} messages retained for {worker}"));
            }
        }
        for process in self.slots.iter().filter_map(|slot| slot.process.as_ref()) {
            if !process.is_idle() {
                self.truth.broken(format!("left at the end: something at {}", process.slot));
            }
        }
    }

    // -- turns --

    fn schedule(&mut self, at: Time, event: Event) {
        self.queued += 1;
        self.queue.push(Reverse(Due { at: at.max(self.now), number: self.queued, event }));
    }

    /// The time that the kernel takes to run a process that has something to do: at times long enough for a batch to
    /// gather.
    fn delay(&mut self) -> Duration {
        let most = if self.dice.chance(10) { 6_000 } else { 300 };
        Duration::from_micros(self.dice.between(10, most))
    }

    fn wake_worker(&mut self, slot: usize, delay: Duration) {
        let at = self.now + delay;
        if self.slots[slot].wake.is_none_or(|wake| at < wake) {
            self.slots[slot].wake = Some(at);
            self.schedule(at, Event::Worker(slot));
        }
    }

    fn wake_worker_when_due(&mut self, slot: usize) {
        let due = self.slots[slot].process.as_ref().and_then(|process| process.poll_timeout(self.now));
        if let Some(due) = due {
            // A timer wheel may call early; time has to pass all the same.
            let delay = due.since(self.now).max(Duration::from_micros(200));
            self.wake_worker(slot, delay);
        }
    }

    fn wake_caller(&mut self, caller: usize) {
        let Some(due) = self.callers[caller].0.poll_timeout() else { return };
        let at = due.max(self.now);
        if self.callers[caller].1.is_none_or(|wake| at < wake) {
            self.callers[caller].1 = Some(at);
            self.schedule(at, Event::Caller(caller));
        }
    }

    fn wake_agent(&mut self, agent: usize) {
        let Some(due) = self.agents[agent].0.poll_timeout() else { return };
        let at = due.max(self.now);
        if self.agents[agent].1.is_none_or(|wake| at < wake) {
            self.agents[agent].1 = Some(at);
            self.schedule(at, Event::Agent(agent));
        }
    }

    fn is_stale(&self, event: &Event, at: Time) -> bool {
        match event {
            Event::Desk => self.desk_wake != Some(at),
            Event::Worker(slot) => self.slots[*slot].wake != Some(at),
            Event::Caller(caller) => self.callers[*caller].1 != Some(at),
            Event::Agent(agent) => self.agents[*agent].1 != Some(at),
            _ => false,
        }
    }

    fn note(&mut self, what: impl FnOnce(&Self) -> String) {
        if self.log.is_none() {
            return;
        }
        let line = format!("{:>6} {} {}", self.steps, self.now, what(self));
        if let Some(log) = &mut self.log {
            log.push_back(line);
            if log.len() > 100_000 {
                log.pop_front();
            }
        }
    }
}

fn describe(event: &Event) -> String {
    match event {
        Event::Arrive(datagram) => format!("at {}: {}", datagram.to, summary(&datagram.text)),
        other => format!("{other:?}"),
    }
}

fn summary(text: &str) -> String {
    use crate::text;
    let line = text.split("\r\n").next().unwrap_or_default();
    let tag = text::to_tag(text).unwrap_or("-");
    format!("{line} [{} {} to-tag {tag}]", text::branch(text), text::header(text, "CSeq").unwrap_or_default())
}

impl PartialEq for Due {
    fn eq(&self, other: &Self) -> bool {
        self.number == other.number
    }
}

impl Eq for Due {}

impl PartialOrd for Due {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Due {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.number).cmp(&(other.at, other.number))
    }
}
