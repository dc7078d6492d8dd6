//! A day of churn among downstream proxies: reloads, deaths, lies, reports that end, takeovers, findings that come late
//! or twice. Two dispatchers stand in front of the same servers and know nothing of each other. Weights and counts are
//! true again within an interval, and the state never contradicts itself.
//!
//! Broken rules change what a dispatcher hears or does; each of them has to be noticed.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use pointsman::config::{self, LoadSource, PoolPolicy};
use pointsman::dispatch::decision::{Admin, Tried};
use pointsman::dispatch::probed::{Finding, Found};
use pointsman::dispatch::select::Ask;
use pointsman::dispatch::targets::proxies::{Choice, PoolId, Proxies};
use pointsman::dispatch::targets::proxy::{Final, Sent, State};
use pointsman::ids::ProxyId;
use pointsman::pack::{Packed, Saved};
use pointsman::time::Time;
use pointsman::words::LoadReport;

use super::dice::Dice;

const INTERVAL: Duration = Duration::from_secs(5);
const DAY: u64 = 24 * 3_600 / 5;
const SLOW_START: Duration = Duration::from_secs(10);
/// Intervals of churn, and of calm after them: holds, slow start and delays have passed at its end.
const CHURN: u64 = 40;
const CALM: u64 = 20;

/// The truth about one server.
#[derive(Clone, Debug)]
struct Server {
    settings: config::Proxy,
    is_alive: bool,
    admin: Admin,
    said_handicap: Option<u16>,
    /// Its load, if it reports any, and when the last report came.
    load: Option<(u32, u32)>,
    reported: Option<(Time, u32, u32)>,
    probes: u32,
}

/// One broken rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Broken {
    /// Responses to calls are not noted.
    ResponsesAreLost,
    /// Requests that nobody waits for any more are counted on.
    GivenUpAreLost,
    /// Lost probes are not told.
    LossesAreLost,
    /// Answers to probes are not told.
    AnswersAreLost,
    /// A late loss counts as that of the newest probe.
    LateLossesCount,
    /// A report is told again after the server has ceased to report.
    ReportsAreRepeated,
    /// Reports are not told.
    ReportsAreLost,
    /// Orders of the operator are not carried out.
    OrdersAreLost,
    /// Handicaps of the operator are not set.
    HandicapsAreLost,
    /// The settings that a reload brings are not read.
    ReloadsAreLost,
    /// A successor starts from nothing.
    TakeoversForget,
}

impl Broken {
    const ALL: [Broken; 11] = [
        Broken::ResponsesAreLost,
        Broken::GivenUpAreLost,
        Broken::LossesAreLost,
        Broken::AnswersAreLost,
        Broken::LateLossesCount,
        Broken::ReportsAreRepeated,
        Broken::ReportsAreLost,
        Broken::OrdersAreLost,
        Broken::HandicapsAreLost,
        Broken::ReloadsAreLost,
        Broken::TakeoversForget,
    ];
}

#[derive(Clone, Copy, Debug)]
struct Waiting {
    /// The dispatcher that has sent it.
    at: usize,
    id: ProxyId,
    sent: Sent,
    begin: Time,
    /// Whether its owner forgets it.
    is_forgotten: bool,
}

struct World {
    /// The state of each dispatcher.
    dispatchers: [Proxies; 2],
    broken: Option<Broken>,
    servers: Vec<Server>,
    waiting: Vec<Waiting>,
    dice: Dice,
    now: Time,
    names: u32,
    seed: u64,
    calls: u64,
    refused: u64,
    panics: u64,
}

impl Server {
    fn new(number: u32) -> Self {
        let settings = config::Proxy {
            name: format!("fs{number}"),
            host: format!("198.51.100.{}", number % 250 + 1),
            probe_interval: INTERVAL,
            load: LoadSource::Sip,
            ..config::Proxy::default()
        };
        let (admin, load) = (Admin::Ready, Some((10, 100)));
        Server { settings, is_alive: true, admin, said_handicap: None, load, reported: None, probes: 0 }
    }

    fn address(&self) -> SocketAddr {
        SocketAddr::new(self.settings.host.parse().unwrap(), 5060)
    }

    /// Its load as it must be known: unknown without a report, and after three intervals.
    fn known_load(&self, now: Time) -> f64 {
        match self.reported {
            Some((at, used, total)) if now.since(at) <= 3 * INTERVAL => {
                (f64::from(used) / f64::from(total).max(1e-9)).min(1.0)
            }
            _ => -1.0,
        }
    }
}

impl World {
    fn new(seed: u64, broken: Option<Broken>) -> Self {
        let now = Time(1_000_000_000);
        let mut world = World {
            dispatchers: [Proxies::new(SLOW_START, seed), Proxies::new(SLOW_START, seed + 1)],
            broken,
            servers: (0..6).map(Server::new).collect(),
            waiting: Vec::new(),
            dice: Dice::new(seed),
            now,
            names: 6,
            seed,
            calls: 0,
            refused: 0,
            panics: 0,
        };
        world.set();
        world
    }

    fn breaks(&self, rule: Broken) -> bool {
        self.broken == Some(rule)
    }

    fn reload(&mut self) {
        if !self.breaks(Broken::ReloadsAreLost) {
            self.set();
        }
    }

    fn set(&mut self) {
        let settings: Vec<_> = self.servers.iter().map(|server| server.settings.clone()).collect();
        for proxies in &mut self.dispatchers {
            let pool = config::Pool { policy: self.dice.pick(PoolPolicy::ALL), ..config::Pool::default() };
            proxies.set(&settings, &[pool], self.now);
            proxies.check(self.now);
        }
    }

    fn found(&mut self, server: usize, at: Time, what: Found) {
        let what = match (self.broken, what) {
            (Some(Broken::LossesAreLost), Found::Lost { .. }) => return,
            (Some(Broken::AnswersAreLost), Found::Answered { .. }) => return,
            (Some(Broken::LateLossesCount), Found::Lost { address, number }) => {
                Found::Lost { address, number: number + 1 }
            }
            (Some(Broken::ReportsAreLost), Found::Answered { address, number, status, retry_after, delay, .. }) => {
                Found::Answered { address, number, status, retry_after, delay, load: None }
            }
            (_, what) => what,
        };
        let proxy = self.servers[server].settings.name.as_str().into();
        let finding = Finding { proxy, at, what };
        self.dispatchers.iter_mut().for_each(|proxies| proxies.on_finding(&finding, self.now));
    }

    /// One interval: every server is probed, some calls come, time passes in small steps.
    fn interval(&mut self) {
        for server in 0..self.servers.len() {
            self.probe(server);
        }
        for call in 0..6 {
            self.call(call % 2);
        }
        let end = self.now + INTERVAL;
        let next = |proxies: &Proxies| proxies.poll_timeout().filter(|due| *due <= end);
        while let Some((due, at)) =
            self.dispatchers.iter().enumerate().filter_map(|(at, proxies)| Some((next(proxies)?, at))).min()
        {
            self.now = self.now.max(due);
            let proxies = &mut self.dispatchers[at];
            proxies.handle_timeout(due);
            if proxies.is_farewell_due(due) {
                proxies.let_go(&BTreeSet::new(), due);
            }
            while proxies.poll_wish().is_some() || proxies.poll_change().is_some() {}
            self.give_up();
        }
        self.now = end;
        self.give_up();
        self.compare();
    }

    fn probe(&mut self, server: usize) {
        let at = self.now;
        let it = &mut self.servers[server];
        it.probes += 1;
        let (address, number) = (it.address(), it.probes);
        if !it.is_alive {
            self.found(server, at, Found::Lost { address, number });
            // A copy of an old answer, and of the loss.
            self.found(server, at, Found::Lost { address, number });
            let old = self.answer(address, number, None);
            self.found(server, at, old);
            return;
        }
        let repeats = self.broken == Some(Broken::ReportsAreRepeated);
        let said = it.load.inspect(|(used, total)| it.reported = Some((at, *used, *total)));
        let said = said.or(it.reported.filter(|_| repeats).map(|(_, used, total)| (used, total)));
        let load =
            said.map(|(used, total)| LoadReport { used: Some(used), total: Some(total), ..LoadReport::default() });
        let what = self.answer(address, number, load);
        self.found(server, at, what);
        self.found(server, at, Found::Lost { address, number });
    }

    fn answer(&mut self, address: SocketAddr, number: u32, load: Option<LoadReport>) -> Found {
        let status = self.dice.pick(&[200, 404, 483, 401]);
        Found::Answered { address, number, status, retry_after: None, delay: Duration::from_millis(2), load }
    }

    fn call(&mut self, at: usize) {
        self.calls += 1;
        let ask = Ask { size: 1, key: self.dice.number(), tried: Tried::default() };
        let now = self.now;
        let hears = !self.breaks(Broken::ResponsesAreLost);
        let proxies = &mut self.dispatchers[at];
        let Ok(Choice::Proxy(id)) = proxies.choose(PoolId(0), &ask, 0, now) else {
            self.refused += 1;
            let takes = proxies.rows(now).into_iter().filter(|row| row.weight > 0).count();
            assert_eq!(takes, 0, "refused while some take calls");
            return;
        };
        let proxy = proxies.get(id).unwrap();
        let (address, state) = (proxy.address().unwrap(), proxy.state(now));
        let server = self.servers.iter().find(|server| server.address() == address).expect("it is no more");
        assert_eq!(server.admin, Admin::Ready);
        if state == State::Down {
            assert!(proxies.pool_rows(now)[0].panic, "one that is down, and others are not");
            self.panics += 1;
        }
        let is_alive = server.is_alive;
        let sent = proxies.on_sent(id, now);
        if is_alive {
            let then = now + Duration::from_millis(2);
            if hears {
                proxies.on_first_response(id, sent, 180, then);
                proxies.on_final_response(id, sent, Final { status: 200, retry_after: None, begins_call: true }, then);
                // A copy.
                proxies.on_first_response(id, sent, 200, then);
            }
        } else {
            let is_forgotten = self.dice.chance(20);
            self.waiting.push(Waiting { at, id, sent, begin: now, is_forgotten });
        }
        proxies.check(now);
    }

    fn give_up(&mut self) {
        let now = self.now;
        let tells = !self.breaks(Broken::GivenUpAreLost);
        for waiting in std::mem::take(&mut self.waiting) {
            let Waiting { at, id, sent, begin, is_forgotten } = waiting;
            let age = now.since(begin);
            if !is_forgotten && age >= Duration::from_secs(6) {
                if tells {
                    self.dispatchers[at].on_given_up(id, sent, now);
                }
            } else if age < Duration::from_millis(32_100) {
                self.waiting.push(waiting);
            }
        }
    }

    /// Compares all with the truth, after an interval.
    fn compare(&self) {
        (0..self.dispatchers.len()).for_each(|at| self.compare_one(at));
    }

    fn compare_one(&self, at: usize) {
        let (now, proxies) = (self.now, &self.dispatchers[at]);
        proxies.check(now);
        let rows = proxies.rows(now);
        assert_eq!(rows.len(), self.servers.len());
        for (row, server) in rows.iter().zip(&self.servers) {
            assert_eq!((&row.name, row.address.parse()), (&server.settings.name, Ok(server.address())));
            assert_eq!(row.handicap, server.said_handicap.unwrap_or(server.settings.handicap), "{}", row.name);
            let expected = server.known_load(now);
            assert!((row.load - expected).abs() < 1e-3, "{}: load {} for {expected}", row.name, row.load);
            let id = proxies.at(server.address()).find(|id| proxies.name(*id) == Some(&row.name)).unwrap();
            let life = proxies.get(id).unwrap().life();
            let waits = |longest: u64| {
                let is_his = |waiting: &&Waiting| (waiting.at, waiting.id, waiting.sent.life) == (at, id, life);
                let young = |waiting: &&Waiting| now.since(waiting.begin) < Duration::from_millis(longest);
                self.waiting.iter().filter(is_his).filter(young).count() as u32
            };
            assert!((waits(32_000)..=waits(32_100)).contains(&row.outstanding), "{}: {}", row.name, row.outstanding);
        }
    }

    /// Compares states and weights with the truth, after some calm.
    fn compare_at_rest(&self) {
        let rows = self.dispatchers.iter().map(|proxies| proxies.rows(self.now));
        for (row, server) in rows.flat_map(|rows| rows.into_iter().zip(&self.servers)) {
            assert_eq!(row.state, if server.is_alive { "up" } else { "down" }, "{row:?}");
            let load = server.known_load(self.now).max(0.0);
            let gets = server.is_alive && server.admin == Admin::Ready && load < 1.0;
            let expected = if gets { (f64::from(row.handicap) * (1.0 - load)).max(1.0) } else { 0.0 };
            let is_near = (f64::from(row.weight) - expected).abs() <= (expected * 0.03).max(1.0);
            assert!(is_near, "weight {} for {expected}: {row:?}", row.weight);
        }
    }

    fn trouble(&mut self) {
        let server = self.dice.roll(self.servers.len() as u64) as usize;
        let now = self.now;
        match self.dice.roll(12) {
            0 | 1 => self.servers[server].is_alive ^= true,
            2 => self.servers[server].load = None,
            3 => {
                let (used, total) = (self.dice.roll(300) as u32, self.dice.pick(&[0, 1, 100, 200, u32::MAX]));
                self.servers[server].load = Some((used, total));
            }
            4 => {
                self.servers[server].settings.handicap = self.dice.between(1, 1_000) as u16;
                self.servers[server].said_handicap = None;
                self.reload();
            }
            5 => {
                let handicap = self.dice.between(1, 1_000) as u16;
                self.servers[server].said_handicap = Some(handicap);
                let name = self.servers[server].settings.name.clone();
                if !self.breaks(Broken::HandicapsAreLost) {
                    let set = |proxies: &mut Proxies| proxies.set_handicap(&name, handicap, now);
                    assert!(self.dispatchers.iter_mut().all(set));
                }
            }
            6 => {
                let admin = self.dice.pick(&[Admin::Ready, Admin::Ready, Admin::Drain, Admin::Maint]);
                self.servers[server].admin = admin;
                if !self.breaks(Broken::OrdersAreLost) {
                    let set = |proxies: &mut Proxies| proxies.set_admin(&self.servers[server].settings.name, admin);
                    assert!(self.dispatchers.iter_mut().all(set));
                }
            }
            7 if self.servers.len() > 2 => {
                self.servers.remove(server);
                self.reload();
            }
            8 if self.servers.len() < 9 => {
                self.servers.insert(server, Server::new(self.names));
                self.names += 1;
                self.reload();
            }
            9 => {
                // It moves: another address is another life, of which nothing is known but the order.
                let host = format!("203.0.113.{}", self.names % 250 + 1);
                self.names += 1;
                let it = &mut self.servers[server];
                it.settings.host = host;
                (it.reported, it.probes) = (None, 0);
                self.reload();
            }
            10 => self.take_over(),
            _ => self.reload(),
        }
        self.dispatchers.iter().for_each(|proxies| proxies.check(now));
    }

    fn take_over(&mut self) {
        let forgets = self.breaks(Broken::TakeoversForget);
        let saved = self.dispatchers.each_ref().map(|proxies| {
            let mut bytes = Vec::new();
            proxies.save(&mut bytes);
            bytes
        });
        self.dispatchers = [0, 1].map(|at| Proxies::new(SLOW_START, self.seed + at));
        self.set();
        for (proxies, bytes) in self.dispatchers.iter_mut().zip(&saved).filter(|_| !forgets) {
            proxies.restore(&mut Packed::new(bytes)).unwrap();
        }
    }
}

fn day(seed: u64, broken: Option<Broken>) {
    let mut world = World::new(seed, broken);
    for interval in 0..DAY {
        let is_calm = interval % (CHURN + CALM) >= CHURN;
        if !is_calm && world.dice.chance(40) {
            world.trouble();
        }
        world.interval();
        if interval % (CHURN + CALM) == CHURN + CALM - 1 {
            world.compare_at_rest();
        }
    }
    let World { calls, refused, panics, names, .. } = world;
    println!("seed {seed}: {DAY} intervals, {calls} calls, {refused} refused, {panics} in panic, {names} names");
}

#[test]
fn a_day_of_churn_ends_with_the_truth() {
    day(1, None);
}

#[test]
fn another_day_of_churn_ends_with_the_truth() {
    day(2, None);
}

#[test]
fn each_broken_rule_is_noticed_within_a_day() {
    for broken in Broken::ALL {
        let noticed = std::panic::catch_unwind(|| day(1, Some(broken)));
        assert!(noticed.is_err(), "{broken:?}");
    }
}
