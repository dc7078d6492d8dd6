//! The schedule of all probes: which address is probed when. A value without socket and clock.
//!
//! Starts are spread over the interval, and each next probe comes after it with a jitter of 10 %: a thousand servers
//! are not probed in one moment, and those that were do not stay together.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use super::exchange::{Exchange, Shown, Step, Subject};
use crate::dispatch::probed::{Finding, Found};
use crate::fingerprint::Printer;
use crate::time::Time;
use crate::wire::sip::Scanner;

/// An address that is to be probed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Wanted {
    /// Name of the proxy.
    pub(super) proxy: Arc<str>,
    pub(super) subject: Subject,
    pub(super) interval: Duration,
    /// The socket that the probes leave from.
    pub(super) leaves: Leaves,
}

/// The socket that probes leave from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Leaves {
    /// One of their own.
    Own,
    /// A well-known listener, by its number in the plan, and the address of ours that they leave from. `None`: no
    /// listener reaches the proxy.
    Listener(Option<(usize, SocketAddr)>),
    /// A connection of their own, from this address of ours; `None`: the kernel chooses one.
    Connection(Option<IpAddr>),
}

impl Wanted {
    fn key(&self) -> (&str, SocketAddr) {
        (&self.proxy, self.subject.to)
    }
}

/// The schedule. An entry has a number that no other has had.
#[derive(Debug)]
pub(super) struct Schedule {
    entries: BTreeMap<usize, Entry>,
    /// When each entry's next probe or timer is due.
    due: BTreeSet<(Time, usize)>,
    last: usize,
    seed: u64,
    /// Makes the branches of all probes.
    printer: Printer,
}

#[derive(Debug)]
struct Entry {
    wanted: Wanted,
    exchange: Exchange,
    next: Time,
    /// Its place in `due`.
    filed: Time,
    /// Whether the last probe was refused.
    is_refused: bool,
    /// When the last probe began.
    begun: Time,
    /// When its connection was begun, where it has one.
    connected: Time,
}

/// Output of the schedule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Output {
    /// Send this from the socket of the entry. `is_probe`: [`Schedule::on_sent`] is to be told when it has left.
    Send { entry: usize, bytes: Arc<[u8]>, to: SocketAddr, is_probe: bool },
    /// A probe is due: [`Schedule::on_connection`] is to be told of the connection of the entry.
    Connect(usize),
    /// Tell the lanes.
    Tell(Finding),
}

/// Shortest time between the start of a probe and one that a silence asks for.
const SILENCE_PAUSE: Duration = Duration::from_millis(50);

impl Schedule {
    pub(super) const fn new((seed, printer): (u64, Printer)) -> Self {
        Schedule { entries: BTreeMap::new(), due: BTreeSet::new(), last: 0, seed, printer }
    }

    /// Those of `wanted` that have no entry yet.
    pub(super) fn missing(&self, wanted: &[Wanted]) -> Vec<Wanted> {
        let there: BTreeSet<(&str, SocketAddr)> = self.entries.values().map(|entry| entry.wanted.key()).collect();
        wanted.iter().filter(|wanted| !there.contains(&wanted.key())).cloned().collect()
    }

    /// Ends the entries that are not exactly one of `wanted`. Returns their numbers.
    pub(super) fn fit(&mut self, wanted: &[Wanted]) -> Vec<usize> {
        let wanted: BTreeMap<(&str, SocketAddr), &Wanted> = wanted.iter().map(|it| (it.key(), it)).collect();
        let is_gone = |entry: &Entry| wanted.get(&entry.wanted.key()).is_none_or(|it| **it != entry.wanted);
        let gone = self.entries.extract_if(.., |_, entry| is_gone(entry));
        let gone: Vec<(usize, Time)> = gone.map(|(number, entry)| (number, entry.filed)).collect();
        for (number, filed) in &gone {
            self.due.remove(&(*filed, *number));
        }
        gone.into_iter().map(|(number, _)| number).collect()
    }

    /// The settings were read again: a server that took a probe for a call may have been mended.
    pub(super) fn on_reload(&mut self) {
        self.entries.values_mut().for_each(|entry| entry.exchange.on_reload());
    }

    /// Adds an address, whose probes leave from `local`; of a connection it is told later. Returns its entry's number.
    pub(super) fn add(&mut self, wanted: Wanted, local: SocketAddr, now: Time) -> usize {
        self.last += 1;
        let seed = self.draw();
        let next = now + wanted.interval.mul_f64(self.fraction());
        let exchange = Exchange::new(wanted.subject.clone(), local, (seed, self.printer.clone()));
        let (begun, connected) = (Time(0), Time(0));
        self.entries
            .insert(self.last, Entry { wanted, exchange, next, filed: next, is_refused: false, begun, connected });
        self.due.insert((next, self.last));
        self.last
    }

    /// A request for this address has had no answer for a while: it is probed at once.
    pub(super) fn on_silence(&mut self, address: SocketAddr, now: Time) {
        let numbers: Vec<usize> = self
            .entries
            .iter()
            .filter(|(_, entry)| entry.exchange.subject().to == address)
            .map(|(number, _)| *number)
            .collect();
        for number in numbers {
            if let Some(entry) = self.entries.get_mut(&number) {
                let earliest = entry.begun + SILENCE_PAUSE;
                entry.next = entry.next.min(now.max(earliest));
            }
            self.file(number);
        }
    }

    /// A probe has left at this moment.
    pub(super) fn on_sent(&mut self, number: usize, at: Time) {
        if let Some(entry) = self.entries.get_mut(&number) {
            entry.exchange.on_sent(at);
        }
        self.file(number);
    }

    /// The host says that nothing listens there. A second probe follows at once: ICMP, or the reset of a connection
    /// that is not open yet, is easily forged.
    pub(super) fn on_refused(&mut self, number: usize, now: Time, out: &mut Vec<Output>) {
        let Some(entry) = self.entries.get_mut(&number) else { return };
        let Some(shown) = entry.exchange.on_refused() else { return };
        if !std::mem::replace(&mut entry.is_refused, true) {
            entry.next = entry.next.min(now + SILENCE_PAUSE);
        }
        out.push(Output::Tell(entry.finding(shown, now)));
        self.file(number);
    }

    /// The entry has this connection, by its address of ours: the probe that is due begins. Where `is_new`, it is being
    /// opened.
    pub(super) fn on_connection(
        &mut self,
        number: usize,
        (local, is_new): (SocketAddr, bool),
        now: Time,
        out: &mut Vec<Output>,
    ) {
        let Some(entry) = self.entries.get_mut(&number) else { return };
        if is_new {
            entry.connected = now;
        }
        entry.exchange.set_local(local);
        let step = entry.exchange.begin(now);
        entry.put(number, step, now, true, out);
        self.file(number);
    }

    /// The connection of the entry has ended. A probe follows at once, which shows whether the server is there, unless
    /// the connection ended before its first interval was over: a server that closes each one is not called without
    /// end.
    pub(super) fn on_closed(&mut self, number: usize, now: Time, out: &mut Vec<Output>) {
        let Some(entry) = self.entries.get_mut(&number) else { return };
        if now.since(entry.connected) >= entry.wanted.interval {
            entry.next = entry.next.min(now.max(entry.begun + SILENCE_PAUSE));
        }
        out.extend(entry.exchange.on_closed().map(|shown| Output::Tell(entry.finding(shown, now))));
        self.file(number);
    }

    /// A message has come that may be for this entry.
    pub(super) fn on_message(
        &mut self,
        number: usize,
        message: (SocketAddr, &[u8]),
        scanner: &mut Scanner,
        at: Time,
        out: &mut Vec<Output>,
    ) {
        let Some(entry) = self.entries.get_mut(&number) else { return };
        let step = entry.exchange.on_message(message, scanner, at);
        entry.is_refused = false;
        entry.put(number, step, at, false, out);
        self.file(number);
    }

    /// When [`Schedule::handle_timeout`] is to be called next.
    pub(super) fn poll_timeout(&self) -> Option<Time> {
        self.due.first().map(|(at, _)| *at)
    }

    /// Time has passed: probes begin, others are lost.
    pub(super) fn handle_timeout(&mut self, now: Time, out: &mut Vec<Output>) {
        while let Some((_, number)) = self.due.first().copied().filter(|(at, _)| *at <= now) {
            let jitter = 0.9 + 0.2 * self.fraction();
            let Some(entry) = self.entries.get_mut(&number) else { return };
            let step = entry.exchange.handle_timeout(now);
            entry.put(number, step, now, false, out);
            if let Some(until) = entry.exchange.waits_until() {
                // One probe at a time: an early one would make the one before it count as lost.
                entry.next = entry.next.max(until);
            } else if entry.next <= now {
                (entry.begun, entry.next) = (now, now + entry.wanted.interval.mul_f64(jitter));
                match entry.wanted.leaves {
                    Leaves::Connection(_) => out.push(Output::Connect(number)),
                    Leaves::Own | Leaves::Listener(_) => {
                        let step = entry.exchange.begin(now);
                        entry.put(number, step, now, true, out);
                    }
                }
            }
            self.file(number);
        }
    }

    /// Files the entry anew by what it waits for.
    fn file(&mut self, number: usize) {
        let Some(entry) = self.entries.get_mut(&number) else { return };
        let at = entry.exchange.poll_timeout().map_or(entry.next, |timeout| timeout.min(entry.next));
        if at != entry.filed {
            self.due.remove(&(entry.filed, number));
            entry.filed = at;
            self.due.insert((at, number));
        }
    }

    fn draw(&mut self) -> u64 {
        self.seed = self.seed.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
        self.seed ^ (self.seed >> 29)
    }

    /// A number from 0 to 1.
    fn fraction(&mut self) -> f64 {
        (self.draw() >> 32) as f64 / f64::from(u32::MAX)
    }
}

impl Entry {
    fn put(&self, number: usize, step: Step, at: Time, is_probe: bool, out: &mut Vec<Output>) {
        out.extend(step.shown.into_iter().map(|shown| Output::Tell(self.finding(shown, at))));
        let to = self.wanted.subject.to;
        out.extend(step.send.into_iter().map(|bytes| Output::Send { entry: number, bytes, to, is_probe }));
    }

    fn finding(&self, shown: Shown, at: Time) -> Finding {
        let address = self.wanted.subject.to;
        let what = match shown {
            Shown::Answered { number, status, retry_after, delay, load } => {
                Found::Answered { address, number, status, retry_after, delay, load }
            }
            Shown::Lost { number } => Found::Lost { address, number },
            Shown::Refused { number } => Found::Refused { address, number },
            Shown::Late => Found::Late(address),
            Shown::Taken => Found::Taken(address),
        };
        Finding { proxy: Arc::clone(&self.wanted.proxy), at, what }
    }
}
