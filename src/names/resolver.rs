//! The resolver: its questions, the queries that wait, and the answers.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::time::Duration;

use crate::names::cache::Cache;
use crate::names::hosts::Hosts;
use crate::names::lookup::{Ground, Step};
use crate::names::question::{Asked, Endpoint, Protocol, Question, Server, Source, Unfound};
use crate::names::record::{Kind, Outcome};
use crate::names::servers::Servers;
use crate::names::shares::{Shares, Ticket};
use crate::time::Time;

/// Looks names up. `K` is the caller's key for its question, returned with the answer.
#[derive(Debug)]
pub struct Resolver<K> {
    limits: Limits,
    hosts: Hosts,
    servers: Servers,
    seed: u64,
    open: BTreeMap<u64, Open<K>>,
    deadlines: BTreeSet<(Time, u64)>,
    /// Queries without an outcome: no more than the open questions need at the same time.
    pending: BTreeMap<u64, Pending>,
    by_record: BTreeMap<(Box<str>, Kind), u64>,
    /// Queries that are with a name server, by the number of the attempt.
    sent: BTreeMap<u64, u64>,
    shares: Shares,
    cache: Cache,
    /// The server that answered last: it is asked first.
    server: usize,
    queries: VecDeque<Query>,
    answers: VecDeque<Answer<K>>,
    last: u64,
}

/// Limits of all that is under way at the same time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Most questions without an answer. At this number the newest question of the source with most of them gives way.
    pub questions: usize,
    /// Outcomes that are remembered.
    pub remembered: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Limits { questions: 1_024, remembered: 2_048 }
    }
}

/// A query for a name server. [`Resolver::on_outcome`] brings the outcome.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Query {
    /// Its number; another attempt has another one.
    pub number: u64,
    /// The name, without a dot at its end.
    pub name: Box<str>,
    /// The records that are asked for.
    pub kind: Kind,
    /// The server to ask.
    pub server: SocketAddr,
    /// The time it has to answer. A later answer is not waited for.
    pub within: Duration,
}

/// The answer to a question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer<K> {
    /// The asker's name for the question.
    pub key: K,
    /// At least one address, the best first.
    pub found: Result<Vec<Server>, Unfound>,
    /// The end of the life of the record that is the first to end; [`Time::NEVER`] if no server was asked.
    pub until: Time,
}

#[derive(Debug)]
struct Open<K> {
    key: K,
    question: Question,
    deadline: Time,
    /// The results of its queries: the first may have left the cache before the last arrives.
    brought: BTreeMap<(Box<str>, Kind), (Outcome, Time)>,
    /// The end of the life of the record that is the first to end, of those looked at so far.
    until: Time,
    /// The queries it waits for.
    waits_for: BTreeSet<u64>,
}

#[derive(Debug)]
struct Pending {
    name: Box<str>,
    kind: Kind,
    /// Questions that need it.
    waiters: Vec<u64>,
    attempt: Option<Attempt>,
}

#[derive(Debug)]
struct Attempt {
    number: u64,
    ticket: Ticket,
    /// Number of queries so far, this one included.
    count: u32,
    server: usize,
    until: Time,
    /// When the first one began.
    begun: Time,
    /// Whether it has lasted so long that the addresses found so far are returned.
    is_slow: bool,
}

/// Longest time for which a found address waits for those of the other family, or of another SRV target.
const PATIENCE: Duration = Duration::from_secs(1);

impl<K> Resolver<K> {
    /// A resolver without servers of its own choice. `seed` draws the order of servers of one priority.
    pub fn new(limits: Limits, seed: u64) -> Self {
        Resolver {
            limits,
            hosts: Hosts::default(),
            servers: Servers::default(),
            seed,
            open: BTreeMap::new(),
            deadlines: BTreeSet::new(),
            pending: BTreeMap::new(),
            by_record: BTreeMap::new(),
            sent: BTreeMap::new(),
            shares: Shares::default(),
            cache: Cache::new(limits.remembered),
            server: 0,
            queries: VecDeque::new(),
            answers: VecDeque::new(),
            last: 0,
        }
    }

    /// Sets other names from this host's file.
    pub fn set_hosts(&mut self, hosts: Hosts) {
        self.hosts = hosts;
    }

    /// Sets other name servers. Answers of the former ones are forgotten: another network may answer otherwise.
    pub fn set_servers(&mut self, servers: Servers) {
        if self.servers != servers {
            self.servers = servers;
            self.server = 0;
            self.cache.clear();
        }
    }

    /// Asks for the endpoints of `question`; the answer comes by `deadline`.
    ///
    /// # Errors
    ///
    /// It is not a name, or too many questions wait already.
    pub fn ask(&mut self, key: K, question: Question, deadline: Time, now: Time) -> Result<Asked, Unfound> {
        if let Some(ip) = question.literal() {
            let protocol = question.protocols.first().copied().unwrap_or(Protocol::Udp);
            return Ok(Asked::Now(Endpoint { protocol, address: SocketAddr::new(ip, question.usual_port()) }));
        }
        if !question.is_name() {
            return Err(Unfound::NotAName { name: question.shown() });
        }
        if self.open.len() >= self.limits.questions && !self.make_room(question.source) {
            return Err(Unfound::Busy { name: question.host });
        }
        self.last += 1;
        let id = self.last;
        self.deadlines.insert((deadline, id));
        self.open.insert(id, {
            let (brought, waits_for) = (BTreeMap::new(), BTreeSet::new());
            Open { key, question, deadline, brought, until: Time::NEVER, waits_for }
        });
        self.advance(id, now);
        self.send_next(now);
        Ok(Asked::Later)
    }

    /// The outcome of query `number`.
    pub fn on_outcome(&mut self, number: u64, outcome: Outcome, now: Time) {
        let Some(id) = self.sent.remove(&number) else { return };
        match outcome {
            Outcome::Failed => self.try_again(id, now),
            outcome => {
                if let Some(attempt) = self.pending.get(&id).and_then(|pending| pending.attempt.as_ref()) {
                    self.server = attempt.server;
                }
                self.settle(id, outcome, now);
            }
        }
        self.send_next(now);
    }

    /// Time has passed.
    pub fn handle_timeout(&mut self, now: Time) {
        let late = |attempt: &Attempt| attempt.until <= now;
        for id in self.asked(late) {
            self.try_again(id, now);
        }
        let slow = |attempt: &Attempt| !attempt.is_slow && attempt.begun + PATIENCE <= now;
        for id in self.asked(slow) {
            let Some(pending) = self.pending.get_mut(&id) else { continue };
            pending.attempt.iter_mut().for_each(|attempt| attempt.is_slow = true);
            let waiters = pending.waiters.clone();
            waiters.into_iter().for_each(|waiter| self.advance(waiter, now));
        }
        while let Some((_, id)) = self.deadlines.first().copied().filter(|(deadline, _)| *deadline <= now) {
            self.close(id, |name| Err(Unfound::Late { name }));
        }
        self.send_next(now);
    }

    /// When [`Resolver::handle_timeout`] is to be called next, or [`Resolver::poll_answer`].
    pub fn poll_timeout(&self) -> Option<Time> {
        if !self.answers.is_empty() {
            return Some(Time(0));
        }
        let attempts = self.sent.values().filter_map(|id| self.pending.get(id)?.attempt.as_ref());
        let dues = attempts.map(|attempt| match attempt.is_slow {
            true => attempt.until,
            false => attempt.until.min(attempt.begun + PATIENCE),
        });
        dues.chain(self.deadlines.first().map(|(deadline, _)| *deadline)).min()
    }

    /// The next query to be sent.
    pub fn poll_query(&mut self) -> Option<Query> {
        self.queries.pop_front()
    }

    /// The next answer.
    pub fn poll_answer(&mut self) -> Option<Answer<K>> {
        self.answers.pop_front()
    }

    /// Questions without an answer.
    pub fn waiting(&self) -> usize {
        self.open.len()
    }

    /// The number of all entries kept for questions without an answer.
    #[cfg(test)]
    pub(super) fn kept(&self) -> usize {
        let of_questions = self.open.len() + self.deadlines.len() + self.shares.len();
        of_questions + self.pending.len() + self.by_record.len() + self.sent.len() + self.queries.len()
    }

    /// Answers a question if its records are there, else starts the queries that it still needs.
    fn advance(&mut self, id: u64, now: Time) {
        match self.step(id, false, now) {
            None => {}
            Some(Step::Ask(records)) => {
                self.want(id, records, now);
                // A slow answer is not waited for when another address was found. If none was found, the question goes
                // on waiting.
                match self.step(id, true, now) {
                    Some(Step::Found(found)) => self.close(id, |_| Ok(found)),
                    Some(Step::Ask(records)) => self.want(id, records, now),
                    _ => {}
                }
            }
            Some(Step::Found(found)) => self.close(id, |_| Ok(found)),
            Some(Step::NoName) => self.close(id, |name| Err(Unfound::NoName { name })),
            Some(Step::Nothing) => self.close(id, |name| Err(Unfound::Nothing { name })),
            Some(Step::Failed) => self.close(id, |name| Err(Unfound::Failed { name })),
        }
    }

    fn step(&mut self, id: u64, without_slow: bool, now: Time) -> Option<Step> {
        let open = self.open.get(&id)?;
        let until = Cell::new(open.until);
        let is_slow = |name: &str, kind| {
            let pending = self.by_record.get(&(name.into(), kind)).and_then(|id| self.pending.get(id));
            // An address without the SRV records could be the wrong one: they are waited for.
            !matches!(kind, Kind::Srv | Kind::Naptr)
                && pending.and_then(|it| it.attempt.as_ref()).is_some_and(|attempt| attempt.is_slow)
        };
        let record = |name: &str, kind: Kind| {
            let brought = open.brought.get(&(name.into(), kind)).map(|(outcome, until)| (outcome, *until));
            let known = brought.or_else(|| self.cache.get(name, kind, now)).map(|(outcome, ends)| {
                until.set(until.get().min(ends));
                outcome.clone()
            });
            known.or_else(|| (without_slow && is_slow(name, kind)).then_some(Outcome::Failed))
        };
        let seed = self.seed.wrapping_add(id.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let ground = Ground { hosts: &self.hosts, servers: &self.servers, seed, record };
        let step = ground.step(&open.question);
        let until = until.get();
        self.open.entry(id).and_modify(|open| open.until = until);
        Some(step)
    }

    /// A question needs these records.
    fn want(&mut self, id: u64, records: Vec<(Box<str>, Kind)>, now: Time) {
        let Some(source) = self.open.get(&id).map(|open| open.question.source) else { return };
        for (name, kind) in records {
            let known = self.by_record.get(&(name.clone(), kind)).copied();
            let query = match known {
                Some(query) => query,
                None => {
                    self.last += 1;
                    self.by_record.insert((name.clone(), kind), self.last);
                    let pending = Pending { name: name.clone(), kind, waiters: Vec::new(), attempt: None };
                    self.pending.insert(self.last, pending);
                    self.last
                }
            };
            let Some(pending) = self.pending.get_mut(&query).filter(|it| !it.waiters.contains(&id)) else { continue };
            pending.waiters.push(id);
            self.open.entry(id).and_modify(|open| {
                open.waits_for.insert(query);
            });
            if pending.attempt.is_none() {
                // The query waits in the line of each source that wants it, so that it is asked in the earliest turn.
                self.shares.push(source, &name, query);
            }
        }
        self.send_next(now);
    }

    /// Hands out queries as long as the limits allow.
    fn send_next(&mut self, now: Time) {
        while let Some((id, ticket)) = self.shares.next() {
            // The query may have been sent already, in the turn of another source that waits for it.
            match self.pending.get(&id).is_some_and(|pending| pending.attempt.is_none()) {
                true => self.send(id, ticket, 1, self.server, now, now),
                false => self.shares.give_back(&ticket),
            }
        }
    }

    fn send(&mut self, id: u64, ticket: Ticket, count: u32, server: usize, begun: Time, now: Time) {
        let servers = &self.servers.addresses;
        let server = server % servers.len().max(1);
        let Some((pending, address)) = self.pending.get_mut(&id).zip(servers.get(server)) else { return };
        self.last += 1;
        let (number, within) = (self.last, self.servers.timeout);
        let is_slow = pending.attempt.as_ref().is_some_and(|attempt| attempt.is_slow);
        pending.attempt = Some(Attempt { number, ticket, count, server, until: now + within, begun, is_slow });
        self.sent.insert(number, id);
        let (name, kind) = (pending.name.clone(), pending.kind);
        self.queries.push_back(Query { number, name, kind, server: *address, within });
    }

    /// A server did not answer, or did not know: the next one is asked, until each has been asked often enough.
    fn try_again(&mut self, id: u64, now: Time) {
        let Some(pending) = self.pending.get(&id) else { return };
        let Some(attempt) = &pending.attempt else { return };
        self.sent.remove(&attempt.number);
        let most = self.servers.attempts.saturating_mul(self.servers.addresses.len() as u32);
        if attempt.count >= most || pending.waiters.is_empty() {
            return self.settle(id, Outcome::Failed, now);
        }
        let Attempt { ticket, count, server, begun, .. } = attempt;
        let (ticket, count, server, begun) = (ticket.clone(), count + 1, server + 1, *begun);
        self.send(id, ticket, count, server, begun, now);
    }

    /// The outcome of a query is there.
    fn settle(&mut self, id: u64, outcome: Outcome, now: Time) {
        let Some(Pending { name, kind, waiters, attempt }) = self.pending.remove(&id) else { return };
        self.by_record.remove(&(name.clone(), kind));
        if let Some(attempt) = attempt {
            self.sent.remove(&attempt.number);
            self.shares.give_back(&attempt.ticket);
        }
        let until = now + outcome.seconds().map_or(Duration::MAX, |seconds| Duration::from_secs(u64::from(seconds)));
        self.cache.insert(&name, kind, outcome.clone(), now);
        for waiter in waiters {
            if let Some(open) = self.open.get_mut(&waiter) {
                open.brought.insert((name.clone(), kind), (outcome.clone(), until));
                open.waits_for.remove(&id);
            }
            self.advance(waiter, now);
        }
    }

    /// Queries with an attempt that fulfils a condition.
    fn asked(&self, is_it: impl Fn(&Attempt) -> bool) -> Vec<u64> {
        let is_due =
            |id: &&u64| self.pending.get(*id).is_some_and(|pending| pending.attempt.as_ref().is_some_and(&is_it));
        self.sent.values().filter(is_due).copied().collect()
    }

    /// Drops the newest question of the source that has most questions, if that is not `source` and has more than it.
    fn make_room(&mut self, source: Source) -> bool {
        let mut counts: BTreeMap<Source, (usize, u64)> = BTreeMap::new();
        for (id, open) in &self.open {
            let (count, newest) = counts.entry(open.question.source).or_default();
            (*count, *newest) = (*count + 1, *id);
        }
        let own = counts.get(&source).map_or(0, |(count, _)| *count);
        let Some((count, newest)) = counts.into_values().max_by_key(|(count, _)| *count) else { return false };
        if count <= own + 1 {
            return false;
        }
        self.close(newest, |name| Err(Unfound::Busy { name }));
        true
    }

    /// Question `id` no longer waits for this query. A query that no question waits for is dropped, unless a server has
    /// it already: then it ends by itself, and its answer may be of use later.
    fn stop_waiting(&mut self, id: u64, source: Source, query: u64) {
        let Some(pending) = self.pending.get_mut(&query) else { return };
        pending.waiters.retain(|waiter| *waiter != id);
        if pending.attempt.is_some() {
            return;
        }
        let is_same = |waiter: &u64| self.open.get(waiter).is_some_and(|open| open.question.source == source);
        if !pending.waiters.iter().any(is_same) {
            self.shares.remove(source, &pending.name, query);
        }
        if pending.waiters.is_empty()
            && let Some(pending) = self.pending.remove(&query)
        {
            self.by_record.remove(&(pending.name, pending.kind));
        }
    }

    fn close(&mut self, id: u64, found: impl FnOnce(Box<str>) -> Result<Vec<Server>, Unfound>) {
        let Some(Open { key, question, deadline, waits_for, until, .. }) = self.open.remove(&id) else { return };
        self.deadlines.remove(&(deadline, id));
        waits_for.into_iter().for_each(|query| self.stop_waiting(id, question.source, query));
        self.answers.push_back(Answer { key, found: found(question.host), until });
    }
}
