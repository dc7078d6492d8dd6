//! The prober's thread: it feeds the schedule from sockets and the clock, and tells the lanes.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::Receiver;
use mio::{Events, Poll, Token};
use tracing::warn;

use super::plan::Plan;
use super::schedule::{Output, Schedule, Wanted};
use super::sockets::{self, Sockets};
use super::{Order, Tell};
use crate::config::Proxy;
use crate::dispatch::probed::{Finding, Found};
use crate::dispatch::targets::proxies::Address;
use crate::net::clock;
use crate::net::udp::Batch;
use crate::seldom::Seldom;
use crate::time::Time;
use crate::wire::sip::Scanner;

/// The token of the waker; entries of the schedule begin at 1.
pub(super) const WAKER: Token = Token(0);
/// Longest time for which a finding waits for others: each delivery wakes every lane.
const GATHER: Duration = Duration::from_millis(10);
/// Events of one turn.
const EVENTS: usize = 256;
/// Longest answer that is read: one with a large body says nothing more.
const ANSWER: usize = 16 << 10;

/// Everything that the thread owns.
pub(super) struct Prober {
    orders: Receiver<Order>,
    tell: Tell,
    poll: Poll,
    plan: Plan,
    is_resting: bool,
    schedule: Schedule,
    sockets: Sockets,
    scanner: Scanner,
    batch: Batch,
    outputs: Vec<Output>,
    /// Findings that wait, and since when.
    found: Vec<Finding>,
    found_since: Option<Time>,
    no_socket: Seldom,
}

impl Prober {
    pub(super) fn new(poll: Poll, orders: Receiver<Order>, tell: Tell, seed: u64) -> Self {
        Prober {
            orders,
            tell,
            poll,
            plan: Plan::default(),
            is_resting: true,
            schedule: Schedule::new(seed),
            sockets: Sockets::default(),
            scanner: Scanner::new(),
            batch: Batch::sized(4, ANSWER),
            outputs: Vec::new(),
            found: Vec::new(),
            found_since: None,
            no_socket: Seldom::default(),
        }
    }

    /// Runs until the other end of the orders is gone.
    pub(super) fn run(mut self) {
        let mut events = Events::with_capacity(EVENTS);
        loop {
            let now = clock::now();
            let until = [self.schedule.poll_timeout(), self.found_since.map(|since| since + GATHER)];
            let wait = until.into_iter().flatten().min().map(|at| at.since(now));
            match self.poll.poll(&mut events, wait) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return warn!("downstream proxies are not probed any more: {error}"),
            }
            for event in &events {
                match event.token() {
                    WAKER => {}
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
            self.schedule.handle_timeout(clock::now(), &mut self.outputs);
            self.carry_out();
            self.tell_when_due(clock::now());
        }
    }

    fn on_order(&mut self, order: Order) {
        let now = clock::now();
        match order {
            Order::Plan(plan) => {
                self.plan = plan;
                self.schedule.on_reload();
                self.fit(now);
            }
            Order::Silence(address) => self.schedule.on_silence(address, now),
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
        for wanted in self.schedule.missing(&wanted) {
            let added = sockets::towards(wanted.subject.to, &self.plan.own).and_then(|(socket, local)| {
                let number = self.schedule.add(wanted.clone(), local, now);
                self.sockets.add(number, socket, self.poll.registry())
            });
            if let Err(error) = added
                && let Some(times) = self.no_socket.comes_up(now)
            {
                warn!(%error, times, "no probe leaves for {} at {}", wanted.proxy, wanted.subject.to);
            }
        }
    }

    fn of_proxy(&self, proxy: &Proxy) -> Vec<Wanted> {
        let numeric = proxy.host.parse().ok().map(|ip| {
            let address = SocketAddr::new(ip, proxy.port.unwrap_or(Proxy::PORT));
            Address { address, priority: 0, weight: 0 }
        });
        numeric.iter().filter_map(|member| Plan::wanted(proxy, member)).collect()
    }

    fn on_socket(&mut self, number: usize, is_error: bool) {
        let Some(socket) = self.sockets.get(number) else { return };
        let is_refused = is_error && matches!(socket.take_error(), Ok(Some(_)));
        let read = socket.recv_batch(&mut self.batch).unwrap_or(0);
        let now = clock::now();
        for place in 0..read {
            let arrived = now - self.batch.waited(place).unwrap_or_default();
            let Some(datagram) = self.batch.get(place).filter(|datagram| !datagram.truncated) else { continue };
            let from = (datagram.source, datagram.bytes);
            self.schedule.on_datagram(number, from, &mut self.scanner, arrived, &mut self.outputs);
        }
        if is_refused {
            self.schedule.on_refused(number, now, &mut self.outputs);
        }
        self.carry_out();
    }

    /// Sends and gathers what the schedule puts out.
    fn carry_out(&mut self) {
        let mut outputs = std::mem::take(&mut self.outputs);
        for output in outputs.drain(..) {
            match output {
                Output::Send { entry, bytes, to, is_probe } => {
                    let at = clock::now();
                    if is_probe {
                        self.schedule.on_sent(entry, at);
                    }
                    if !self.sockets.send(entry, &bytes, to) {
                        self.schedule.on_refused(entry, at, &mut self.outputs);
                    }
                }
                Output::Tell(finding) => self.gather(finding),
            }
        }
        // A refusal puts out no more than a finding.
        for output in std::mem::replace(&mut self.outputs, outputs) {
            if let Output::Tell(finding) = output {
                self.gather(finding);
            }
        }
    }

    fn gather(&mut self, finding: Finding) {
        // A failure is told at once.
        let is_urgent = !matches!(finding.what, Found::Answered { status: 100..500, .. } | Found::Late(_));
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
