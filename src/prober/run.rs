//! The prober's thread: it feeds the schedule from sockets and the clock, and tells the lanes.

use std::cmp::Reverse;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender};
use mio::{Events, Poll, Token, Waker};
use tracing::{info, warn};

use super::fetch::{Fetcher, Source};
use super::mailbox::{Mail, WAITING};
use super::names::{Names, protocols};
use super::plan::{NOWHERE, Plan};
use super::schedule::{Output, Schedule, Wanted};
use super::sockets::Sockets;
use super::streams::{self, StreamEvent, Streams};
use super::{Order, Tell};
use crate::config::{LoadSource, Proxy};
use crate::dispatch::probed::{Finding, Found, LookUp, ProbeAnswer};
use crate::dispatch::targets::proxies::Address;
use crate::fingerprint::Printer;
use crate::names::{self, Asked, Question, Unfound};
use crate::net::clock;
use crate::net::resolve::Resolver;
use crate::net::tcp;
use crate::net::udp::Batch;
use crate::seldom::Seldom;
use crate::time::Time;
use crate::wire::sip::Scanner;
use crate::words::LoadReport;

/// The token of the waker; entries of the schedule begin at 1.
pub(super) const WAKER: Token = Token(0);
/// Longest time for which a finding waits for others: each delivery wakes every lane.
const GATHER: Duration = Duration::from_millis(10);
/// Time that a name server has in all. A name that is not found is asked for again later.
const LOOKUP_WITHIN: Duration = Duration::from_secs(15);
/// Events of one turn.
const EVENTS: usize = 256;
/// Longest answer that is read: one with a large body says nothing more.
const ANSWER: usize = 16 << 10;

/// Most addresses of a name that a request goes to.
const ADDRESSES: usize = 16;

/// The asker for a name.
#[derive(Clone, Debug)]
enum Asker {
    /// A proxy of the settings.
    Proxy(Arc<str>),
    /// A request in a lane.
    Lane(LookUp),
}

/// The question of a lane (RFC 3263 §4).
fn question(look_up: &LookUp) -> Question {
    Question {
        host: (*look_up.host).into(),
        port: look_up.port,
        protocols: protocols(look_up.transport),
        asks_transports: look_up.asks_transports,
        source: names::Source::peer(look_up.from),
    }
}

/// Everything that the thread owns.
pub(super) struct Prober {
    orders: Receiver<Order>,
    /// Responses to probes that the lanes have read, and names that they ask for.
    mail: Vec<Receiver<Mail>>,
    /// Names that have not been asked for.
    look_ups: Vec<LookUp>,
    tell: Tell,
    poll: Poll,
    waker: Arc<Waker>,
    plan: Plan,
    names: Names,
    /// Looks names up; there is one once a proxy has a name.
    resolver: Option<Resolver<Asker>>,
    is_resting: bool,
    schedule: Schedule,
    sockets: Sockets,
    /// Asks for loads over TCP; there is one once a proxy has such a source.
    fetcher: Option<Fetcher>,
    /// The sources that are asked.
    sources: Vec<Source>,
    /// Findings of the fetcher, and its end of the channel.
    fetched: Receiver<Finding>,
    fetched_sender: Sender<Finding>,
    scanner: Scanner,
    batch: Batch,
    outputs: Vec<Output>,
    /// Findings that wait, and since when.
    found: Vec<Finding>,
    found_since: Option<Time>,
    no_socket: Seldom,
    no_resolver: Seldom,
    not_found: Seldom,
}

impl Prober {
    /// The prober with this poll.
    ///
    /// # Errors
    /// No descriptor is left.
    pub(super) fn new(
        poll: Poll,
        waker: Arc<Waker>,
        (orders, mail): (Receiver<Order>, Vec<Receiver<Mail>>),
        tell: Tell,
        makes: (u64, Printer),
    ) -> io::Result<Self> {
        let (fetched_sender, fetched) = crossbeam_channel::unbounded();
        let streams = Streams::new(poll.registry().try_clone()?);
        Ok(Prober {
            orders,
            mail,
            look_ups: Vec::new(),
            tell,
            poll,
            waker,
            plan: Plan::default(),
            names: Names::default(),
            resolver: None,
            is_resting: true,
            schedule: Schedule::new(makes),
            sockets: Sockets::new(streams),
            fetcher: None,
            sources: Vec::new(),
            fetched,
            fetched_sender,
            scanner: Scanner::new(),
            batch: Batch::sized(4, ANSWER),
            outputs: Vec::new(),
            found: Vec::new(),
            found_since: None,
            no_socket: Seldom::default(),
            no_resolver: Seldom::default(),
            not_found: Seldom::default(),
        })
    }

    /// Runs until the other end of the orders is gone.
    pub(super) fn run(mut self) {
        let mut events = Events::with_capacity(EVENTS);
        loop {
            let now = clock::now();
            let until = [
                self.schedule.poll_timeout(),
                self.found_since.map(|since| since + GATHER),
                self.names.poll_timeout().filter(|_| !self.is_resting),
                self.resolver.as_ref().and_then(Resolver::poll_timeout),
                self.sockets.streams.poll_timeout(),
            ];
            let wait = until.into_iter().flatten().min().map(|at| at.since(now));
            let wait = if self.sockets.streams.is_unfinished() { Some(Duration::ZERO) } else { wait };
            match self.poll.poll(&mut events, wait) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return warn!("downstream proxies are not probed any more: {error}"),
            }
            for event in &events {
                match event.token() {
                    WAKER => {}
                    Token(streams::FIRST..) => self.sockets.streams.on_event(event),
                    Token(number) => self.on_socket(number, event.is_error()),
                }
            }
            loop {
                match self.orders.try_recv() {
                    Ok(order) => self.on_order(order),
                    Err(crossbeam_channel::TryRecvError::Empty) => break,
                    Err(crossbeam_channel::TryRecvError::Disconnected) => return,
                }
            }
            self.read_mail();
            while let Ok(finding) = self.fetched.try_recv() {
                self.gather(finding);
            }
            self.look_up(clock::now());
            self.schedule.handle_timeout(clock::now(), &mut self.outputs);
            self.carry_out();
            self.on_streams();
            self.tell_when_due(clock::now());
        }
    }

    fn on_order(&mut self, order: Order) {
        let now = clock::now();
        match order {
            Order::Plan(plan) => {
                self.plan = plan;
                self.schedule.on_reload();
                self.names.set(&self.plan.proxies, now);
                self.names.tell_all();
                self.fit(now);
            }
            Order::Silence(address) => self.schedule.on_silence(address, now),
            Order::Report(address, load) => self.on_report(address, &load, now),
            Order::Rest => {
                self.is_resting = true;
                self.fit(now);
            }
            Order::Work => {
                self.is_resting = false;
                self.fit(now);
            }
        }
    }

    /// Fits the schedule to the plan: what is the same goes on, what is new begins within its interval.
    fn fit(&mut self, now: Time) {
        let wanted: Vec<Wanted> = match self.is_resting {
            true => Vec::new(),
            false => self.plan.proxies.iter().flat_map(|proxy| self.of_proxy(proxy)).collect(),
        };
        for number in self.schedule.fit(&wanted) {
            self.sockets.remove(number, self.poll.registry());
        }
        self.fit_sources();
        for wanted in self.schedule.missing(&wanted) {
            let added = self.plan.way_of(&wanted).and_then(|(way, local)| {
                let number = self.schedule.add(wanted.clone(), local, now);
                self.sockets.add(number, (way, wanted.subject.to), self.poll.registry())
            });
            if let Err(error) = added
                && let Some(times) = self.no_socket.comes_up(now)
            {
                warn!(%error, times, "no probe leaves for {} at {}", wanted.proxy, wanted.subject.to);
            }
        }
    }

    fn fit_sources(&mut self) {
        let sources: Vec<Source> = match self.is_resting {
            true => Vec::new(),
            false => self.plan.proxies.iter().filter_map(Source::of).collect(),
        };
        if sources == self.sources {
            return;
        }
        if self.fetcher.is_none() {
            match Fetcher::start(self.fetched_sender.clone(), Arc::clone(&self.waker)) {
                Ok(fetcher) => self.fetcher = Some(fetcher),
                Err(error) => return warn!("loads of downstream proxies are not asked for: {error}"),
            }
        }
        if let Some(fetcher) = &self.fetcher {
            self.sources.clone_from(&sources);
            fetcher.set(sources);
        }
    }

    fn of_proxy(&self, proxy: &Proxy) -> Vec<Wanted> {
        self.members(proxy).filter_map(|member| self.plan.wanted(proxy, &member)).collect()
    }

    /// The addresses of a proxy.
    fn members<'s>(&'s self, proxy: &Proxy) -> impl Iterator<Item = Address> + 's {
        let numeric = proxy.host.parse().ok().map(|ip| {
            let address = SocketAddr::new(ip, proxy.port());
            Address { address, priority: 0, weight: 0 }
        });
        numeric.into_iter().chain(self.names.members(&proxy.name).iter().copied())
    }

    fn on_report(&mut self, address: SocketAddr, load: &LoadReport, now: Time) {
        let is_there = |proxy: &&Proxy| {
            proxy.load == LoadSource::Sip && self.members(proxy).any(|member| member.address == address)
        };
        let names: Vec<Arc<str>> =
            self.plan.proxies.iter().filter(is_there).map(|it| it.name.as_str().into()).collect();
        for proxy in names {
            self.gather(Finding { proxy, at: now, what: Found::Reported { address, load: load.clone() } });
        }
    }

    /// Asks for the names that are due, and takes the answers.
    fn look_up(&mut self, now: Time) {
        if self.is_resting {
            return;
        }
        while let Some((proxy, question)) = self.names.poll_question(now) {
            if let Err(error) = self.ask(Asker::Proxy(Arc::clone(&proxy)), question, now) {
                self.names.on_answer(&proxy, (Err(error), now), &self.plan, 1.0, now);
            }
        }
        for look_up in std::mem::take(&mut self.look_ups) {
            match self.ask(Asker::Lane(look_up.clone()), question(&look_up), now) {
                Ok(Asked::Now(endpoint)) => self.gather(look_up.found(vec![endpoint.address], now)),
                Ok(Asked::Later) => {}
                Err(_) => self.gather(look_up.found(Vec::new(), now)),
            }
        }
        let mut is_changed = false;
        while let Some(answer) = self.resolver.as_mut().and_then(|resolver| resolver.poll(now)) {
            let proxy = match answer.key {
                Asker::Proxy(proxy) => proxy,
                Asker::Lane(look_up) => {
                    let mut servers = answer.found.unwrap_or_default();
                    servers.sort_by_key(|server| (server.priority, Reverse(server.weight)));
                    let addresses = servers.iter().map(|server| server.endpoint.address).take(ADDRESSES).collect();
                    self.gather(look_up.found(addresses, now));
                    continue;
                }
            };
            if let Err(error) = &answer.found
                && let Some(times) = self.not_found.comes_up(now)
            {
                warn!(%error, times, "{proxy}");
            }
            let spread = f64::from(proxy.bytes().fold(0, |sum: u8, byte| sum.wrapping_mul(31) ^ byte)) / 255.0;
            is_changed |= self.names.on_answer(&proxy, (answer.found, answer.until), &self.plan, spread, now);
        }
        while let Some(finding) = self.names.poll_finding(now) {
            if let Found::Addresses { members, is_stale } = &finding.what {
                let to: Vec<String> = members.iter().map(|member| member.address.to_string()).collect();
                let state = if *is_stale { ", as far as is known" } else { "" };
                info!(
                    "{} leads to {}{state}",
                    finding.proxy,
                    if to.is_empty() { "nothing".into() } else { to.join(", ") }
                );
            }
            self.gather(finding);
        }
        if is_changed {
            self.fit(now);
        }
    }

    /// Asks for a name.
    fn ask(&mut self, asker: Asker, question: Question, now: Time) -> Result<Asked, Unfound> {
        if self.resolver.is_none() {
            let waker = Arc::clone(&self.waker);
            match Resolver::new(move || drop(waker.wake())) {
                Ok(resolver) => self.resolver = Some(resolver),
                Err(error) => {
                    if let Some(times) = self.no_resolver.comes_up(now) {
                        warn!(%error, times, "no names are looked up");
                    }
                }
            }
        }
        match &mut self.resolver {
            Some(resolver) => resolver.ask(asker, question, now + LOOKUP_WITHIN, now),
            None => Err(Unfound::Failed { name: question.host }),
        }
    }

    /// Reads responses that have come to the well-known listeners, and names that lanes ask for.
    fn read_mail(&mut self) {
        let Prober { mail, look_ups, sockets, schedule, scanner, outputs, .. } = self;
        for mail in mail.iter().flat_map(|lane| lane.try_iter().take(WAITING)) {
            match mail {
                Mail::Answer(ProbeAnswer { from, at, bytes }) if bytes.len() <= ANSWER => {
                    for number in sockets.at_listener(from) {
                        schedule.on_message(number, (from, &bytes), scanner, at, outputs);
                    }
                }
                Mail::Answer(_) => {}
                Mail::LookUp(look_up) => look_ups.push(look_up),
            }
        }
        self.carry_out();
    }

    fn on_socket(&mut self, number: usize, is_error: bool) {
        let Some(socket) = self.sockets.own(number) else { return };
        let is_refused = is_error && matches!(socket.take_error(), Ok(Some(_)));
        let read = socket.recv_batch(&mut self.batch).unwrap_or(0);
        let now = clock::now();
        for place in 0..read {
            let arrived = now - self.batch.waited(place).unwrap_or_default();
            let Some(datagram) = self.batch.get(place).filter(|datagram| !datagram.truncated) else { continue };
            let from = (datagram.source, datagram.bytes);
            self.schedule.on_message(number, from, &mut self.scanner, arrived, &mut self.outputs);
        }
        if is_refused {
            self.schedule.on_refused(number, now, &mut self.outputs);
        }
        self.carry_out();
    }

    /// Reads and writes the connections.
    fn on_streams(&mut self) {
        let now = clock::now();
        let Prober { sockets, schedule, scanner, outputs, .. } = self;
        sockets.streams.handle_timeout(now);
        sockets.streams.turn(now, &mut |number, from, bytes| {
            schedule.on_message(number, (from, bytes), scanner, now, outputs);
        });
        while let Some(event) = sockets.streams.poll() {
            match event {
                StreamEvent::Sent(number) => schedule.on_sent(number, now),
                StreamEvent::Refused(number) => schedule.on_refused(number, now, outputs),
                StreamEvent::Closed(number) => schedule.on_closed(number, now, outputs),
            }
        }
        self.carry_out();
    }

    /// Has a probe that is due leave on the connection of its entry.
    fn connect(&mut self, number: usize) {
        let now = clock::now();
        let Prober { sockets, schedule, outputs, .. } = self;
        match sockets.streams.open(number, &self.plan.kinds, now) {
            Ok(connection) => schedule.on_connection(number, connection, now, outputs),
            Err(error) if tcp::is_refusal(&error) => {
                schedule.on_connection(number, (NOWHERE, true), now, outputs);
                schedule.on_refused(number, now, outputs);
            }
            Err(error) => {
                if let Some(times) = self.no_socket.comes_up(now) {
                    warn!(%error, times, "no probe leaves for {}", sockets.streams.proxy(number));
                }
            }
        }
    }

    /// Sends and gathers what the schedule puts out.
    fn carry_out(&mut self) {
        while !self.outputs.is_empty() {
            for output in std::mem::take(&mut self.outputs) {
                match output {
                    Output::Send { entry, bytes, to, is_probe } => {
                        let at = clock::now();
                        if is_probe {
                            self.schedule.on_sent(entry, at);
                        }
                        if !self.sockets.send(entry, (&bytes, is_probe), to) {
                            self.schedule.on_refused(entry, at, &mut self.outputs);
                        }
                    }
                    Output::Connect(entry) => self.connect(entry),
                    Output::Tell(finding) => self.gather(finding),
                }
            }
        }
    }

    fn gather(&mut self, finding: Finding) {
        // A failure is told at once.
        let is_urgent = !matches!(
            finding.what,
            Found::Answered { status: 100..500, .. } | Found::Late(_) | Found::Load(_) | Found::Reported { .. }
        );
        let since = if is_urgent { Time(0) } else { finding.at };
        self.found_since = Some(self.found_since.map_or(since, |earlier| earlier.min(since)));
        self.found.push(finding);
    }

    fn tell_when_due(&mut self, now: Time) {
        if self.found_since.is_some_and(|since| since + GATHER <= now) {
            self.found_since = None;
            let findings: Arc<[Finding]> = self.found.drain(..).collect();
            (self.tell)(&findings);
        }
    }
}
