//! Endpoints go in and out of service: RSIP (RFC 3435 §2.3.12, §4.4.5 to §4.4.7).
//!
//! A worker's endpoints are virtual, so a restart is told for all endpoints of a kind at once, `ann/TOKEN/*@domain`, to
//! each call agent that is configured. An endpoint whose call agent does not answer is disconnected: it reports that
//! again and again, at growing intervals, until the call agent answers.

use std::time::Duration;

use crate::call::exchange::Egress;
use crate::call::gateway::exchange::EndpointKey;
use crate::call::gateway::kind::Kind;
use crate::call::gateway::notify::{Client, Draft, End, Entity, Purpose};
use crate::time::Time;
use crate::wire::mgcp::{Field, RestartMethod as Method, ReturnCode, Verb};

#[cfg(test)]
mod tests;

/// A configured call agent: it is told of restarts, and is the default notified entity of endpoints reached on this
/// way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallAgent {
    /// Its name.
    pub entity: Entity,
    /// The socket on which it knows the endpoints.
    pub way: Egress,
    /// The domain, after the `@`, in their names.
    pub domain: Box<str>,
}

/// The endpoints that a restart is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// All endpoints that this configured call agent knows.
    Agent(usize),
    /// One endpoint.
    Endpoint(EndpointKey),
}

/// The consequence of a restart's end for the endpoints.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The endpoints it applies to.
    pub scope: Scope,
    /// Their call agent from now on, if the answer named one.
    pub entity: Option<Entity>,
    /// Whether they were disconnected, and their call agent has answered.
    pub connected: bool,
}

/// All restarts of one gateway that are under way.
#[derive(Debug)]
pub struct Restarts {
    token: Box<str>,
    agents: Vec<CallAgent>,
    /// The first terms of the endpoints' names: the kinds and their aliases.
    terms: Vec<Box<str>>,
    runs: Vec<Run>,
    /// Number of restarts so far: each has a number.
    count: u64,
}

#[derive(Debug)]
struct Run {
    number: u64,
    scope: Scope,
    method: Method,
    name: Box<[u8]>,
    entity: Entity,
    way: Egress,
    stage: Stage,
    /// The longest wait after the next failure.
    wait: Duration,
    redirects: u32,
    /// The transaction of its last transmission.
    id: Option<u32>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// Waits to be sent at `until`; it was last sent at `since`.
    Waiting { until: Time, since: Option<Time> },
    /// Sent, and not answered yet.
    Sent(Time),
}

/// The endpoints of a worker that starts send their restart within this time (MWD, §4.4.6). The RFC's minutes are for
/// thousands of gateways that get their power back together; the workers of a host are few.
const START: Duration = Duration::from_millis(100);
/// §4.4.7: a disconnected endpoint first waits for a random time below this (Tdinit), …
const FIRST_WAIT: Duration = Duration::from_secs(15);
/// … at least this if a command reaches it meanwhile (Tdmin), …
const LEAST_WAIT: Duration = Duration::from_secs(15);
/// … and never more than this (Tdmax).
const LONGEST_WAIT: Duration = Duration::from_secs(600);
/// Endpoints that are reported as disconnected one by one, at most. Beyond it one report is sent for all endpoints of
/// the call agent.
const ONE_BY_ONE: usize = 32;
/// Restarts under way, at most. An endpoint beyond it stays silent until its call agent sends it a command.
const RUNS: usize = 1_024;
/// Redirections of one restart, from call agent to call agent, before it counts as a failure.
const REDIRECTS: u32 = 5;

impl Restarts {
    /// The restarts of the gateway with this token, for these call agents. `aliases` are other first terms of its
    /// endpoints' names.
    pub fn new(token: Box<str>, agents: Vec<CallAgent>, aliases: impl IntoIterator<Item = Box<str>>) -> Self {
        let terms = Kind::ALL.into_iter().map(|kind| kind.term().into()).chain(aliases).collect();
        Restarts { token, agents, terms, runs: Vec::new(), count: 0 }
    }

    /// The configured call agents.
    pub fn agents(&self) -> &[CallAgent] {
        &self.agents
    }

    /// Tells each call agent that all endpoints go in or out of service. Restarts that are still to be told and are no
    /// longer true are dropped.
    pub fn tell_all(&mut self, method: Method, client: &mut Client, now: Time) {
        let token = self.token.clone();
        self.keep(client, |run| match method {
            // The goodbye of a predecessor is still true.
            Method::Forced => run.method == Method::Forced && !is_of(&run.name, &token),
            Method::Graceful => run.method != Method::CancelGraceful,
            Method::CancelGraceful => run.method != Method::Graceful,
            Method::Restart => run.method == Method::Disconnected || !is_of(&run.name, &token),
            Method::Disconnected => true,
        });
        let until = match method {
            Method::Restart => now + Duration::from_micros(client.roll(START.as_micros() as u64)),
            _ => now,
        };
        for agent in 0..self.agents.len() {
            self.add_terms(agent, &token, method, until);
        }
        self.handle_timeout(client, now);
    }

    /// The endpoints of a dead worker are gone, and this worker is its successor. Called before this worker's own
    /// restart, so that the dead worker's goodbye leaves first.
    pub fn succeed(&mut self, dead: &str, client: &mut Client, now: Time) {
        for agent in 0..self.agents.len() {
            self.add_terms(agent, dead, Method::Forced, now);
        }
        self.handle_timeout(client, now);
    }

    /// An endpoint's call agent does not answer (§4.4.7).
    pub fn on_lost(
        &mut self,
        endpoint: EndpointKey,
        name: &[u8],
        entity: Entity,
        way: Egress,
        client: &mut Client,
        now: Time,
    ) {
        let scope = Scope::Endpoint(endpoint);
        let same = |run: &Run| run.method == Method::Disconnected && run.entity == entity;
        if self.runs.iter().any(|run| run.scope == scope || same(run) && matches!(run.scope, Scope::Agent(_))) {
            return;
        }
        let until = now + wait(FIRST_WAIT, client);
        let agent = self.agents.iter().position(|agent| agent.entity == entity);
        match agent {
            Some(agent) if self.runs.iter().filter(|run| same(run)).count() >= ONE_BY_ONE => {
                self.keep(client, |run| !same(run));
                let token = self.token.clone();
                self.add_terms(agent, &token, Method::Disconnected, until);
            }
            _ if self.runs.len() >= RUNS => {}
            _ => self.add(scope, Method::Disconnected, name.into(), entity, way, until),
        }
    }

    /// A command has come for an endpoint. A disconnected endpoint reports now, unless it has just done so (§4.4.7). A
    /// restart that is still to be told is told now (§4.4.6).
    pub fn on_command(&mut self, endpoint: EndpointKey, client: &mut Client, now: Time) {
        let mut any = false;
        for run in &mut self.runs {
            let concerned = run.scope == Scope::Endpoint(endpoint) || matches!(run.scope, Scope::Agent(_));
            if let Stage::Waiting { until, since } = &mut run.stage
                && concerned
            {
                *until = since.map_or(now, |since| since + LEAST_WAIT).min(*until);
                any = true;
            }
        }
        if any {
            self.handle_timeout(client, now);
        }
    }

    /// The endpoint is gone: its restarts are dropped.
    pub fn forget(&mut self, endpoint: EndpointKey, client: &mut Client) {
        self.keep(client, |run| run.scope != Scope::Endpoint(endpoint));
    }

    /// An RSIP has ended.
    pub fn on_end(&mut self, number: u64, end: End, client: &mut Client, now: Time) -> Option<Change> {
        let at = self.runs.iter().position(|run| run.number == number)?;
        let End::Answered { code, entity } = end else {
            self.fail(at, client, now);
            return None;
        };
        let scope = self.runs.get(at)?.scope;
        // §2.3.12: the entity named in the answer is the call agent from now on.
        if let Some(entity) = entity.as_ref().filter(|_| code.is_success() || code == ReturnCode::REDIRECTED) {
            self.adopt(scope, entity);
        }
        match (code, entity) {
            (code, entity) if code.is_success() => {
                let done = self.runs.remove(at);
                let rest = self.runs.iter().any(|run| run.scope == scope && run.method == done.method);
                let connected = done.method == Method::Disconnected && !rest;
                (connected || entity.is_some()).then_some(Change { scope, entity, connected })
            }
            (ReturnCode::REDIRECTED, Some(entity)) => {
                let run = self.runs.get_mut(at)?;
                run.entity = entity.clone();
                run.redirects += 1;
                match run.redirects {
                    ..=REDIRECTS => run.stage = Stage::Waiting { until: now, since: None },
                    _ => self.fail(at, client, now),
                }
                self.handle_timeout(client, now);
                Some(Change { scope, entity: Some(entity), connected: false })
            }
            _ => {
                self.fail(at, client, now);
                None
            }
        }
    }

    /// Sends the restarts that are due.
    pub fn handle_timeout(&mut self, client: &mut Client, now: Time) {
        for run in &mut self.runs {
            let Stage::Waiting { until, .. } = run.stage else { continue };
            if until > now {
                continue;
            }
            run.stage = Stage::Sent(now);
            let draft = Draft {
                purpose: Purpose::Restart(run.number),
                verb: Verb::Rsip,
                endpoint: run.name.clone(),
                params: vec![(Field::RestartMethod, run.method.name().as_bytes().into())],
            };
            run.id = client.send(draft, &run.entity, run.way, &[], now);
        }
    }

    /// When [`Restarts::handle_timeout`] is to be called next.
    pub fn poll_timeout(&self) -> Option<Time> {
        let due = |run: &Run| match run.stage {
            Stage::Waiting { until, .. } => Some(until),
            Stage::Sent(_) => None,
        };
        self.runs.iter().filter_map(due).min()
    }

    /// Whether a call agent has still to learn that endpoints are out of service.
    pub fn is_saying_goodbye(&self) -> bool {
        self.runs.iter().any(|run| run.method == Method::Forced)
    }

    fn add_terms(&mut self, agent: usize, token: &str, method: Method, until: Time) {
        let Some(CallAgent { entity, way, domain }) = self.agents.get(agent).cloned() else { return };
        for term in self.terms.clone() {
            let name = format!("{term}/{token}/*@{domain}");
            self.add(Scope::Agent(agent), method, name.into_bytes().into(), entity.clone(), way, until);
        }
    }

    fn add(&mut self, scope: Scope, method: Method, name: Box<[u8]>, entity: Entity, way: Egress, until: Time) {
        self.count += 1;
        let stage = Stage::Waiting { until, since: None };
        let number = self.count;
        let (wait, redirects, id) = (FIRST_WAIT, 0, None);
        self.runs.push(Run { number, scope, method, name, entity, way, stage, wait, redirects, id });
    }

    /// Drops the other restarts. Their messages are not sent again: a late copy would say something that is no longer
    /// true.
    fn keep(&mut self, client: &mut Client, is_kept: impl Fn(&Run) -> bool) {
        for run in self.runs.extract_if(.., |run| !is_kept(run)) {
            run.id.into_iter().for_each(|id| client.abandon(id));
        }
    }

    /// A configured call agent is replaced by the one it named.
    fn adopt(&mut self, scope: Scope, entity: &Entity) {
        if let Scope::Agent(agent) = scope
            && let Some(agent) = self.agents.get_mut(agent)
        {
            agent.entity = entity.clone();
        }
    }

    /// Tries a restart again later; a goodbye is not tried again.
    fn fail(&mut self, at: usize, client: &mut Client, now: Time) {
        let Some(run) = self.runs.get_mut(at) else { return };
        if run.method == Method::Forced {
            self.runs.remove(at);
            return;
        }
        let since = match run.stage {
            Stage::Sent(since) => Some(since),
            Stage::Waiting { since, .. } => since,
        };
        let (scope, limit) = (run.scope, run.wait);
        run.redirects = 0;
        run.wait = (limit * 2).min(LONGEST_WAIT);
        // Restarts of one scope that failed together are sent together again.
        let together = self.runs.iter().find_map(|run| match run.stage {
            Stage::Waiting { until, .. } if run.scope == scope && until > now => Some(until),
            Stage::Waiting { .. } | Stage::Sent(_) => None,
        });
        let until = together.unwrap_or_else(|| now + wait(limit, client));
        if let Some(run) = self.runs.get_mut(at) {
            run.stage = Stage::Waiting { until, since };
        }
    }
}

/// Whether a name belongs to the worker with this token.
fn is_of(name: &[u8], token: &str) -> bool {
    // The last term is the wildcard for all endpoints, the token is the one before it; the kind may have several terms.
    name.split(|byte| *byte == b'/').rev().nth(1).is_some_and(|term| term.eq_ignore_ascii_case(token.as_bytes()))
}

/// A random time up to `limit`.
fn wait(limit: Duration, client: &mut Client) -> Duration {
    Duration::from_micros(client.roll(limit.as_micros() as u64))
}
