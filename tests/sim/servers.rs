//! Downstream servers as queues in virtual time: each serves one request after the other, some are slow at times.
//!
//! Callers send again what is not answered (T1, doubling); a copy costs a server a fifth of a request, and so does a
//! probe, which waits in the same queue. Another server may get a call that one has not answered. A call is lost once
//! it has had no response for five seconds. Every policy meets the same arrivals and the same bursts.

use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap, VecDeque};
use std::time::Duration;

use pointsman::config::{self, PoolMode, PoolPolicy};
use pointsman::dispatch::decision::Tried;
use pointsman::dispatch::select::Ask;
use pointsman::dispatch::targets::proxies::{Choice, PoolId, Proxies};
use pointsman::dispatch::targets::proxy::{Answered, Final, ProbeNumber, Sent, State};
use pointsman::ids::ProxyId;
use pointsman::time::Time;

use super::dice::Dice;

/// A situation that servers and callers are in. Times are in seconds.
#[derive(Clone, Debug)]
pub struct Scenario {
    pub rate: f64,
    pub calls: usize,
    /// Mean time of service, time on the way there and back, and factor in a burst, of each server.
    pub servers: [Nature; 4],
    /// Server 0 answers 503 at once in this time.
    pub failing: Option<(f64, f64)>,
    /// Server 0 says nothing in this time.
    pub dead: Option<(f64, f64)>,
    /// Calls come at this rate in this time.
    pub rush: Option<((f64, f64), f64)>,
}

/// One server.
#[derive(Clone, Copy, Debug)]
pub struct Nature {
    pub service: f64,
    pub way: f64,
    pub slow: f64,
    /// Mean length of a burst and of the time between two; 0: none.
    pub burst: f64,
    pub pause: f64,
}

pub const USUAL: Nature = Nature { service: 2.5e-3, way: 0.0, slow: 1.0, burst: 0.0, pause: 0.0 };

impl Default for Scenario {
    fn default() -> Self {
        Scenario { rate: 600.0, calls: 20_000, servers: [USUAL; 4], failing: None, dead: None, rush: None }
    }
}

/// The way in which calls are spread.
#[derive(Clone, Copy, Debug)]
pub struct Way {
    pub policy: PoolPolicy,
    pub mode: PoolMode,
    /// Interval of the probes.
    pub interval: f64,
    /// Lanes that share nothing.
    pub lanes: usize,
    /// Another server gets what one has not answered in this time.
    pub moves: Option<Moves>,
}

/// The servers that get what another has not answered.
#[derive(Clone, Copy, Debug)]
pub struct Moves {
    /// Time without an answer.
    pub within: f64,
    /// Only those that are quick themselves.
    pub to_quick: bool,
}

/// Figures of one run.
#[derive(Clone, Debug, Default)]
pub struct Figures {
    pub mean_ms: f64,
    pub p99_ms: f64,
    pub lost: usize,
    pub failed: usize,
    pub moved: usize,
    /// Seconds from the death of server 0 until it is seen.
    pub out: Option<f64>,
    /// Share of the calls that each server got, in percent.
    pub shares: [f64; 4],
}

const PATIENCE: f64 = 5.0;
const COPY: f64 = 0.2;
const PROBE_LOSS: f64 = 0.01;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Call,
    Answer { call: usize, server: usize, status: u16 },
    Silent { call: usize },
    Copy { call: usize, number: u32 },
    GiveUp { call: usize },
    Done { server: usize },
    Probe { server: usize },
    ProbeAnswer { probe: usize, status: u16 },
    ProbeLate { probe: usize },
    Burst { server: usize },
}

#[derive(Clone, Copy, Debug)]
enum Job {
    Call(usize),
    Copy,
    Probe(usize),
}

#[derive(Clone, Debug)]
struct Call {
    begin: Time,
    /// The servers that have it, the newest last, with its number at each until that one answers.
    sent: Vec<(usize, Option<Sent>)>,
    lane: usize,
    key: u64,
    is_over: bool,
}

#[derive(Clone, Copy, Debug)]
struct Probe {
    begin: Time,
    server: usize,
    number: ProbeNumber,
}

#[derive(Debug, Default)]
struct Server {
    queue: VecDeque<Job>,
    is_busy: bool,
    is_slow: bool,
    got: usize,
    probed: u32,
    last_probe: Time,
}

/// A world of four servers, callers and lanes.
struct Queues {
    scenario: Scenario,
    way: Way,
    events: BinaryHeap<Reverse<(Time, u64, Event)>>,
    filed: u64,
    servers: [Server; 4],
    lanes: Vec<Proxies>,
    calls: Vec<Call>,
    probes: Vec<Probe>,
    times: Vec<f64>,
    figures: Figures,
    arrivals: Dice,
    bursts: Dice,
    dice: Dice,
    end: Time,
}

const START: Time = Time(1_000_000_000);

/// Runs a scenario; the same seed brings the same calls and bursts whatever the way.
pub fn run(scenario: &Scenario, way: Way, seed: u64) -> Figures {
    let proxy = |number: usize| config::Proxy {
        name: format!("fs{number}"),
        host: format!("192.0.2.{}", number + 1),
        probe_interval: Duration::from_secs_f64(way.interval),
        probe_within: Duration::from_secs_f64(way.interval.min(1.0)),
        ..config::Proxy::default()
    };
    let settings: Vec<_> = (0..4).map(proxy).collect();
    let pool = config::Pool { policy: way.policy, mode: way.mode, ..config::Pool::default() };
    let lane = |number: usize| {
        let mut proxies = Proxies::new(Duration::from_secs(10), seed + number as u64);
        proxies.set(&settings, std::slice::from_ref(&pool), START);
        proxies
    };
    let mut queues = Queues {
        scenario: scenario.clone(),
        way,
        events: BinaryHeap::new(),
        filed: 0,
        servers: Default::default(),
        lanes: (0..way.lanes).map(lane).collect(),
        calls: Vec::new(),
        probes: Vec::new(),
        times: Vec::new(),
        figures: Figures::default(),
        arrivals: Dice::new(seed + 100),
        bursts: Dice::new(seed + 200),
        dice: Dice::new(seed),
        end: Time::NEVER,
    };
    queues.run();
    queues.figures()
}

impl Queues {
    fn run(&mut self) {
        for server in 0..4 {
            let Nature { burst, pause, .. } = self.scenario.servers[server];
            if burst > 0.0 {
                let wait = exponential(&mut self.bursts, pause);
                self.file(START, wait, Event::Burst { server });
            }
            self.file(START, self.way.interval * server as f64 / 4.0, Event::Probe { server });
        }
        let wait = exponential(&mut self.arrivals, 1.0 / self.scenario.rate);
        self.file(START, wait, Event::Call);
        while let Some(Reverse((now, _, event))) = self.events.pop() {
            if now > self.end {
                break;
            }
            self.look(now);
            self.happen(event, now);
        }
        let end = self.end;
        self.lanes.iter().for_each(|lane| lane.check(end));
    }

    fn file(&mut self, now: Time, wait: f64, event: Event) {
        self.filed += 1;
        self.events.push(Reverse((now + Duration::from_secs_f64(wait), self.filed, event)));
    }

    /// Has every lane do what is due, and sends the probes that they wish for.
    fn look(&mut self, now: Time) {
        for lane in 0..self.lanes.len() {
            while let Some(due) = self.lanes[lane].poll_timeout().filter(|due| *due <= now) {
                let proxies = &mut self.lanes[lane];
                proxies.handle_timeout(due);
                if proxies.is_farewell_due(due) {
                    proxies.let_go(&BTreeSet::new(), due);
                }
            }
            while let Some(id) = self.lanes[lane].poll_wish() {
                let server = usize::from(id.0);
                if now.since(self.servers[server].last_probe) >= Duration::from_millis(200) {
                    self.probe(server, now);
                }
            }
        }
        if let Some((from, _)) = self.scenario.dead
            && self.figures.out.is_none()
            && now > at(from)
            && self.lanes.iter().all(|lane| lane.get(ProxyId(0)).unwrap().state(now) != State::Up)
        {
            self.figures.out = Some(now.since(at(from)).as_secs_f64());
        }
    }

    fn happen(&mut self, event: Event, now: Time) {
        match event {
            Event::Call => self.call(now),
            Event::Answer { call, server, status } => self.answer(call, (server, status), now),
            Event::Silent { call } => self.move_on(call, now),
            Event::Copy { call, number } => {
                let Call { sent, is_over, .. } = &self.calls[call];
                if !is_over {
                    self.arrive(sent[sent.len() - 1].0, Job::Copy, now);
                    self.file(now, 0.5 * f64::from(1 << number), Event::Copy { call, number: number + 1 });
                }
            }
            Event::GiveUp { call } => {
                if !self.calls[call].is_over {
                    self.figures.lost += 1;
                    self.times.push(PATIENCE);
                    self.end_call(call, now);
                }
            }
            Event::Done { server } => self.done(server, now),
            Event::Probe { server } => {
                self.probe(server, now);
                let wait = self.way.interval * (0.9 + 0.2 * uniform(&mut self.dice));
                self.file(now, wait, Event::Probe { server });
            }
            Event::ProbeAnswer { probe, status } => {
                let Probe { begin, server, number } = self.probes[probe];
                let answered = Answered { status, retry_after: None, delay: now.since(begin) };
                for lane in &mut self.lanes {
                    lane.on_probe_answered(ProxyId(server as u16), number, &answered, now);
                }
            }
            Event::ProbeLate { probe } => {
                let Probe { server, number, .. } = self.probes[probe];
                self.lanes.iter_mut().for_each(|lane| lane.on_probe_lost(ProxyId(server as u16), number, now));
            }
            Event::Burst { server } => {
                let Nature { burst, pause, .. } = self.scenario.servers[server];
                let is_slow = !self.servers[server].is_slow;
                self.servers[server].is_slow = is_slow;
                let wait = exponential(&mut self.bursts, if is_slow { burst } else { pause });
                self.file(now, wait, Event::Burst { server });
            }
        }
    }

    fn call(&mut self, now: Time) {
        let call = self.calls.len();
        let lane = self.dice.number() as usize % self.lanes.len();
        let key = self.dice.number();
        if call + 1 < self.scenario.calls {
            let rush = self.scenario.rush.filter(|(span, _)| is_within(Some(*span), now));
            let wait = exponential(&mut self.arrivals, 1.0 / rush.map_or(self.scenario.rate, |(_, rate)| rate));
            self.file(now, wait, Event::Call);
        } else {
            self.end = now + Duration::from_secs_f64(PATIENCE + 1.0);
        }
        self.calls.push(Call { begin: now, sent: Vec::new(), lane, key, is_over: false });
        let ask = Ask { size: 1, key, tried: Tried::default() };
        let Ok(Choice::Proxy(id)) = self.lanes[lane].choose(PoolId(0), &ask, 0, now) else {
            self.figures.failed += 1;
            self.calls[call].is_over = true;
            return;
        };
        self.file(now, 0.5, Event::Copy { call, number: 1 });
        self.file(now, PATIENCE, Event::GiveUp { call });
        self.give(call, id, now);
    }

    /// Sends a call to a server.
    fn give(&mut self, call: usize, id: ProxyId, now: Time) {
        let (server, lane) = (usize::from(id.0), self.calls[call].lane);
        let sent = self.sees_answers().then(|| self.lanes[lane].on_sent(id, now));
        self.calls[call].sent.push((server, sent));
        self.servers[server].got += 1;
        if server == 0 && is_within(self.scenario.failing, now) {
            self.file(now, 2e-4, Event::Answer { call, server, status: 503 });
            return;
        }
        self.arrive(server, Job::Call(call), now);
        if let Some(Moves { within, .. }) = self.way.moves {
            self.file(now, within, Event::Silent { call });
        }
    }

    /// Gives a call that its server has not answered to another one, by the rule of a response context.
    fn move_on(&mut self, call: usize, now: Time) {
        let Call { sent, lane, key, is_over, .. } = self.calls[call].clone();
        let (false, Some(Moves { within, to_quick })) = (is_over, self.way.moves) else { return };
        let mut ask = Ask { size: 1, key, tried: Tried::default() };
        sent.iter().for_each(|(server, _)| assert!(ask.tried.add(ProxyId(*server as u16))));
        while let Ok(Choice::Proxy(id)) = self.lanes[lane].choose(PoolId(0), &ask, 0, now) {
            let proxy = self.lanes[lane].get(id).unwrap();
            if !to_quick || proxy.is_quick(Duration::from_secs_f64(within), now) {
                self.figures.moved += 1;
                self.lanes[lane].on_moved(ProxyId(sent[sent.len() - 1].0 as u16));
                return self.give(call, id, now);
            }
            assert!(ask.tried.add(id));
        }
    }

    fn answer(&mut self, call: usize, (server, status): (usize, u16), now: Time) {
        let Call { begin, lane, is_over, .. } = self.calls[call];
        let sent = self.calls[call].sent.iter_mut().find(|(of, _)| *of == server).and_then(|(_, sent)| sent.take());
        if is_over {
            return;
        }
        if status == 200 {
            self.times.push(now.since(begin).as_secs_f64());
        } else {
            self.figures.failed += 1;
        }
        if let Some(sent) = sent {
            let id = ProxyId(server as u16);
            self.lanes[lane].on_first_response(id, sent, status, now);
            self.lanes[lane].on_final_response(id, sent, Final { status, retry_after: None, begins_call: true }, now);
        }
        self.end_call(call, now);
    }

    /// Ends a call. The servers that have not answered it are waited for no more.
    fn end_call(&mut self, call: usize, now: Time) {
        let Call { sent, lane, is_over, .. } = &mut self.calls[call];
        *is_over = true;
        for (server, sent) in sent {
            if let Some(sent) = sent.take() {
                self.lanes[*lane].on_given_up(ProxyId(*server as u16), sent, now);
            }
        }
    }

    fn probe(&mut self, server: usize, now: Time) {
        let probe = self.probes.len();
        let it = &mut self.servers[server];
        it.probed += 1;
        it.last_probe = now;
        let life = self.lanes[0].get(ProxyId(server as u16)).unwrap().life();
        self.probes.push(Probe { begin: now, server, number: ProbeNumber { life, number: it.probed } });
        if uniform(&mut self.dice) >= PROBE_LOSS {
            self.arrive(server, Job::Probe(probe), now);
        }
        self.file(now, self.way.interval.min(1.0), Event::ProbeLate { probe });
    }

    fn arrive(&mut self, server: usize, job: Job, now: Time) {
        if server == 0 && is_within(self.scenario.dead, now) {
            return;
        }
        self.servers[server].queue.push_back(job);
        self.serve(server, now);
    }

    fn serve(&mut self, server: usize, now: Time) {
        let Nature { service, slow, .. } = self.scenario.servers[server];
        let it = &mut self.servers[server];
        let Some(job) = it.queue.front().filter(|_| !it.is_busy) else { return };
        it.is_busy = true;
        let part = if matches!(job, Job::Call(_)) { 1.0 } else { COPY };
        let mean = service * if it.is_slow { slow } else { 1.0 };
        let span = lognormal(&mut self.dice, mean) * part;
        self.file(now, span, Event::Done { server });
    }

    fn done(&mut self, server: usize, now: Time) {
        self.servers[server].is_busy = false;
        let job = self.servers[server].queue.pop_front();
        let is_dead = server == 0 && is_within(self.scenario.dead, now);
        let way = self.scenario.servers[server].way;
        match job.filter(|_| !is_dead) {
            Some(Job::Call(call)) => self.file(now, way, Event::Answer { call, server, status: 200 }),
            Some(Job::Probe(probe)) if uniform(&mut self.dice) >= PROBE_LOSS => {
                self.file(now, way, Event::ProbeAnswer { probe, status: 200 });
            }
            _ => {}
        }
        self.serve(server, now);
    }

    /// Whether the dispatcher sees the answers to calls: a redirecting one does not.
    fn sees_answers(&self) -> bool {
        self.way.mode != PoolMode::Redirect
    }

    fn figures(mut self) -> Figures {
        self.times.sort_by(f64::total_cmp);
        let count = self.times.len().max(1);
        let sum: f64 = self.times.iter().sum();
        self.figures.mean_ms = sum / count as f64 * 1e3;
        self.figures.p99_ms = self.times.get(count * 99 / 100).copied().unwrap_or(0.0) * 1e3;
        let all = self.calls.len().max(1) as f64;
        self.figures.shares = self.servers.each_ref().map(|server| server.got as f64 * 100.0 / all);
        self.figures
    }
}

fn at(seconds: f64) -> Time {
    START + Duration::from_secs_f64(seconds)
}

fn is_within(span: Option<(f64, f64)>, now: Time) -> bool {
    span.is_some_and(|(from, to)| at(from) <= now && now < at(to))
}

fn uniform(dice: &mut Dice) -> f64 {
    (dice.number() >> 11) as f64 / (1_u64 << 53) as f64
}

fn exponential(dice: &mut Dice, mean: f64) -> f64 {
    -mean * (1.0 - uniform(dice)).ln()
}

/// A time of service with this mean and a deviation as large.
fn lognormal(dice: &mut Dice, mean: f64) -> f64 {
    let variance = 2_f64.ln();
    let radius = (-2.0 * (1.0 - uniform(dice)).ln()).sqrt();
    let normal = radius * (std::f64::consts::TAU * uniform(dice)).cos();
    mean * (variance.sqrt() * normal - variance / 2.0).exp()
}
