//! The downstream proxies and their pools, as one lane sees them: state by name over reloads, and the choice.
//!
//! Settings name entries; an entry whose URI has a host name is as many proxies as that has addresses, each with its
//! own health. A proxy is one entry at one address: another address is another proxy, with another number and life.

mod choosing;
mod connections;
mod entries;
mod findings;
mod knowing;
mod pool;
mod rows;
mod slots;
mod turns;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::time::Duration;

use super::proxy::{Answered, Change, Final, Precedence, ProbeNumber, Proxy, Reported, Sent};
use crate::config;
use crate::dispatch::bits::Bits;
use crate::dispatch::select::Random;
use crate::ids::{ConnId, ProxyId};
use crate::pack::{packed, saved};
use crate::time::Time;
use crate::transaction::identifier::{Identifier, Identifiers};
use crate::wire::load::OverloadControl;
use crate::words::LoadReport;

pub use choosing::{Refused, Several};
pub use connections::Dial;
pub use entries::Address;
use entries::Entry;
use pool::ProxyPool;
pub use pool::{Choice, Moving, PoolId};
pub use rows::PoolRow;
use slots::{KeptSlot, Slots};
pub use slots::{STAYS, Security};

/// Interval at which proxies with requests that wait are looked at.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// Most changes of state that wait for the log.
const CHANGES: usize = 4_096;
/// Most reports of loads that wait: all are taken out after each batch of messages.
const REPORTS: usize = 1_024;

/// A change of the state in which this lane sees a proxy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StateChange {
    /// The name of the proxy.
    pub name: String,
    /// Its address.
    pub address: Option<SocketAddr>,
    /// The state from now on; `None`: the settings have it no more.
    pub to: Option<Change>,
}

/// All proxies and pools.
#[derive(Debug)]
pub struct Proxies {
    entries: Vec<Entry>,
    slots: Slots,
    pools: Vec<ProxyPool>,
    /// Proxies by their addresses; several may share one.
    addresses: Vec<(SocketAddr, ProxyId)>,
    /// Makes the identifiers of proxies; the proxies over TCP and TLS by theirs; and the one that is written for each.
    naming: Option<Identifiers>,
    identifiers: Vec<(Identifier, ProxyId)>,
    written: Vec<Option<Identifier>>,
    /// The security of the connections to the proxies of each entry.
    securities: BTreeMap<String, Security>,
    /// Networks from which proxies open connections of their own.
    sources: Vec<(config::Network, ProxyId)>,
    slow_start: Duration,
    lanes: u32,
    random: Random,
    /// Proxies that time changes: requests wait there, or the end of a hold is due.
    busy: Bits,
    next_look: Option<Time>,
    /// When removed proxies are let go.
    next_farewell: Option<Time>,
    /// When connections are to be opened or closed.
    next_connection: Time,
    /// Connections of proxies that are gone.
    hang_ups: Vec<ConnId>,
    changes: VecDeque<StateChange>,
    wishes: VecDeque<ProxyId>,
    /// Loads that proxies have reported by themselves.
    reports: VecDeque<(SocketAddr, LoadReport)>,
    /// The names of the pools of an earlier dispatcher, by their numbers there.
    earlier_pools: Vec<String>,
    /// The proxies that its connections lead to.
    earlier_connections: BTreeMap<ConnId, ProxyId>,
    /// The end of all wishes for fewer requests (RFC 7339) that there are.
    overloaded_until: Time,
    /// The time of the last event.
    seen: Time,
}

/// State that a takeover hands on.
#[derive(Debug)]
struct State {
    entries: Vec<entries::KeptEntry>,
    slots: Vec<KeptSlot>,
    /// Calls of each pool, by its name, in the order of their numbers.
    calls: Vec<(String, u64)>,
    /// The proxies that connections lead to.
    connections: Vec<(ConnId, ProxyId)>,
    seen: Time,
}

packed!(State { entries, slots, calls, connections, seen });
saved!(Proxies by State: Proxies::kept, Proxies::restore_kept);

impl Proxies {
    /// No proxies.
    pub fn new(slow_start: Duration, seed: u64) -> Self {
        Proxies {
            entries: Vec::new(),
            slots: Slots::default(),
            pools: Vec::new(),
            addresses: Vec::new(),
            naming: None,
            identifiers: Vec::new(),
            written: Vec::new(),
            securities: BTreeMap::new(),
            sources: Vec::new(),
            slow_start,
            lanes: 1,
            random: Random::new(seed),
            busy: Bits::default(),
            next_look: None,
            next_farewell: None,
            next_connection: Time::NEVER,
            hang_ups: Vec::new(),
            changes: VecDeque::new(),
            wishes: VecDeque::new(),
            reports: VecDeque::new(),
            earlier_pools: Vec::new(),
            earlier_connections: BTreeMap::new(),
            overloaded_until: Time(0),
            seen: Time(0),
        }
    }

    /// Takes note that a new request is sent to a proxy.
    pub fn on_sent(&mut self, id: ProxyId, now: Time) -> Sent {
        let sent = self.slots.get_mut(id).map(|slot| slot.proxy.on_sent(now)).unwrap_or_default();
        self.note(id, now);
        sent
    }

    /// Takes note of the first response to a request, of any class.
    pub fn on_first_response(&mut self, id: ProxyId, sent: Sent, status: u16, now: Time) {
        if let Some(proxy) = self.slots.of(id, sent) {
            proxy.on_first_response(sent, status, now);
            self.note(id, now);
        }
    }

    /// Takes note of the final response to a request, which may be the first one too.
    pub fn on_final_response(&mut self, id: ProxyId, sent: Sent, last: Final, now: Time) {
        if let Some(proxy) = self.slots.of(id, sent) {
            proxy.on_final_response(last, now);
            self.note(id, now);
        }
    }

    /// Takes note that a request could not be sent.
    pub fn on_transport_error(&mut self, id: ProxyId, sent: Sent, now: Time) {
        if let Some(proxy) = self.slots.of(id, sent) {
            proxy.on_transport_error(sent, now);
            self.note(id, now);
        }
    }

    /// Takes note that no first response to a request is waited for any more: it is cancelled, or its entry is gone.
    pub fn on_given_up(&mut self, id: ProxyId, sent: Sent, now: Time) {
        if let Some(proxy) = self.slots.of(id, sent) {
            proxy.on_given_up(sent, now);
            self.note(id, now);
        }
    }

    /// Takes note that another proxy gets a request after this one.
    pub fn on_moved(&mut self, id: ProxyId) {
        if let Some(slot) = self.slots.get_mut(id) {
            slot.proxy.on_moved();
        }
    }

    /// Takes note of the answer to a probe.
    pub fn on_probe_answered(&mut self, id: ProxyId, probe: ProbeNumber, answered: &Answered, now: Time) {
        if let Some(slot) = self.slots.get_mut(id) {
            slot.proxy.on_probe_answered(probe, answered, now);
            self.note(id, now);
        }
    }

    /// Takes note that a probe was lost.
    pub fn on_probe_lost(&mut self, id: ProxyId, probe: ProbeNumber, now: Time) {
        if let Some(slot) = self.slots.get_mut(id) {
            slot.proxy.on_probe_lost(probe, now);
            self.note(id, now);
        }
    }

    /// Takes note that the kernel says that nothing listens where a probe went.
    pub fn on_probe_refused(&mut self, id: ProxyId, probe: ProbeNumber, now: Time) {
        if let Some(slot) = self.slots.get_mut(id) {
            slot.proxy.on_probe_refused(probe, now);
            self.note(id, now);
        }
    }

    /// Takes note of a report of a proxy's load.
    pub fn on_load(&mut self, id: ProxyId, life: u32, report: &Reported, now: Time) {
        if let Some(slot) = self.slots.get_mut(id)
            && slot.proxy.life() == life
        {
            slot.proxy.on_load(report, now);
            self.note(id, now);
        }
    }

    /// Takes note of a load that comes from this address, if a proxy is there whose load comes in SIP messages.
    pub fn on_reported(&mut self, address: SocketAddr, report: LoadReport) {
        let is_asked_for = |id: ProxyId| {
            let entry =
                self.slots.get(id).and_then(|slot| self.entries.iter().find(|it| it.settings.name == slot.entry));
            entry.is_some_and(|entry| entry.settings.load == config::LoadSource::Sip)
        };
        if self.reports.len() < REPORTS && self.at(address).any(is_asked_for) {
            self.reports.push_back((address, report));
        }
    }

    /// Takes note of a proxy's wish that fewer requests come to it (RFC 7339), if it was asked.
    pub fn on_overload(&mut self, id: ProxyId, control: OverloadControl, now: Time) {
        if let Some(slot) = self.slots.get_mut(id)
            && slot.proxy.asks_overload()
        {
            slot.proxy.on_overload(control, now);
            self.overloaded_until = self.overloaded_until.max(now + control.validity);
            self.note(id, now);
        }
    }

    /// Whether a proxy wants a new request that nothing but it may have, by its overload control (RFC 7339).
    pub fn admits(&mut self, id: ProxyId, precedence: Precedence, now: Time) -> bool {
        self.slots.admits(id, precedence, now)
    }

    /// Counts a request that goes to a proxy without a choice, where that wants only a part of the requests (RFC 7339
    /// §7.2).
    pub fn on_kept(&mut self, id: ProxyId, now: Time) {
        if let Some(slot) = self.slots.get_mut(id) {
            slot.proxy.on_kept(now);
        }
    }

    /// The states that there are begin now.
    pub fn on_start(&mut self, now: Time) {
        self.slots.iter_mut().for_each(|slot| slot.proxy.on_start(now));
    }

    /// Divides the calls of each proxy among `lanes` lanes.
    pub fn share_among(&mut self, lanes: usize, now: Time) {
        self.lanes = u32::try_from(lanes).unwrap_or(u32::MAX);
        self.rebuild(now);
    }

    /// Does everything that is due.
    pub fn handle_timeout(&mut self, now: Time) {
        if self.next_look.is_some_and(|look| look <= now) {
            self.next_look = None;
            let mut at = 0;
            loop {
                let next = self.busy.around(at).next().filter(|next| *next >= at);
                let Some(next) = next else { break };
                let id = ProxyId(next as u16);
                if let Some(slot) = self.slots.get_mut(id) {
                    slot.proxy.handle_timeout(now);
                }
                self.note(id, now);
                at = next + 1;
            }
        }
    }

    /// Whether proxies may have to be let go that the settings have lost.
    pub fn is_farewell_due(&self, now: Time) -> bool {
        self.next_farewell.is_some_and(|due| due <= now)
    }

    /// Lets go of proxies that the settings have lost long ago, but not of those in `awaited`: requests wait for an
    /// answer of theirs. Returns each connection that ends with its proxy.
    pub fn let_go(&mut self, awaited: &BTreeSet<ProxyId>, now: Time) -> Vec<(ProxyId, ConnId)> {
        let (next, gone) = self.slots.let_go(|id| awaited.contains(&id), now);
        self.next_farewell = next;
        let conns = gone.iter().flat_map(|(id, slot)| slot.proxy.connections().all().map(|conn| (*id, conn)));
        let ended: Vec<_> = conns.collect();
        self.hang_ups.extend(ended.iter().map(|(_, conn)| *conn));
        ended
    }

    /// The time at which [`Proxies::handle_timeout`] or [`Proxies::let_go`] is due next.
    pub fn poll_timeout(&self) -> Option<Time> {
        let connection = Some(self.next_connection).filter(|at| *at < Time::NEVER);
        self.next_look.into_iter().chain(self.next_farewell).chain(connection).min()
    }

    /// Takes out a change of state, for the log.
    pub fn poll_change(&mut self) -> Option<StateChange> {
        self.changes.pop_front()
    }

    /// Takes out a proxy that is to be probed at once.
    pub fn poll_wish(&mut self) -> Option<ProxyId> {
        self.wishes.pop_front()
    }

    /// Takes out a load that the proxies at this address have reported by themselves, for all lanes.
    pub fn poll_report(&mut self) -> Option<(SocketAddr, LoadReport)> {
        self.reports.pop_front()
    }

    /// Forgets the requests that wait, but those that `is_known` names: after a takeover.
    pub fn keep_waiting(&mut self, is_known: impl Fn(ProxyId, Sent) -> bool) {
        let ids: Vec<ProxyId> = self.slots.iter().map(|(id, _)| id).collect();
        for id in ids {
            if let Some(slot) = self.slots.get_mut(id) {
                // A trial that is given up may begin anew at once.
                slot.proxy.keep_waiting(Time(0), |sent| is_known(id, sent));
            }
        }
    }

    /// The pool of this name.
    pub fn pool_id(&self, name: &str) -> Option<PoolId> {
        let at = self.pools.iter().position(|pool| pool.name == name && pool.settings.is_some())?;
        Some(PoolId(at as u16))
    }

    /// The pool of this number at the dispatcher that this one has taken over from.
    pub fn pool_of_earlier(&self, id: PoolId) -> PoolId {
        let name = self.earlier_pools.get(usize::from(id.0));
        name.and_then(|name| self.pool_id(name)).unwrap_or(PoolId::NONE)
    }

    /// The settings of a pool.
    pub fn pool(&self, id: PoolId) -> Option<&config::Pool> {
        self.pools.get(usize::from(id.0))?.settings.as_ref()
    }

    /// The pool of a proxy.
    pub fn pool_id_of(&self, id: ProxyId) -> Option<PoolId> {
        self.slots.get(id)?.pool
    }

    /// The settings of a proxy's pool.
    pub fn pool_of(&self, id: ProxyId) -> Option<&config::Pool> {
        self.pool(self.slots.get(id)?.pool?)
    }

    /// The pool whose settings hold for a request to a proxy: its own, or the default one where that is gone.
    pub fn pool_for(&self, id: ProxyId) -> Option<(PoolId, &config::Pool)> {
        let settings = |id: PoolId| Some((id, self.pool(id)?));
        let own = self.pool_id_of(id).and_then(settings);
        own.or_else(|| settings(self.pool_id(config::Pool::DEFAULT)?))
    }

    /// A proxy, also one that the settings have lost lately.
    pub fn get(&self, id: ProxyId) -> Option<&Proxy> {
        self.slots.get(id).map(|slot| &slot.proxy)
    }

    /// Whether the settings have a proxy.
    pub fn is_configured(&self, id: ProxyId) -> bool {
        self.slots.get(id).is_some_and(|slot| slot.removed.is_none())
    }

    /// The name of a proxy: of its entry, with its address if the entry may have several.
    pub fn name(&self, id: ProxyId) -> Option<&str> {
        self.slots.get(id).map(|slot| slot.name.as_str())
    }

    /// The address of a proxy in that life; `None` once it is forgotten.
    pub fn address(&self, id: ProxyId, life: u32) -> Option<SocketAddr> {
        self.get(id).filter(|proxy| proxy.life() == life)?.address()
    }

    /// The proxies at an address.
    pub fn at(&self, address: SocketAddr) -> impl Iterator<Item = ProxyId> + '_ {
        let from = self.addresses.partition_point(|(other, _)| *other < address);
        let rest = self.addresses.get(from..).unwrap_or_default();
        rest.iter().take_while(move |(other, _)| *other == address).map(|(_, id)| *id)
    }

    /// The proxy at an address that is reached over persistent connections, or is not.
    pub fn at_by(&self, address: SocketAddr, is_stream: bool) -> Option<ProxyId> {
        let is_it = |id: &ProxyId| self.get(*id).is_some_and(|proxy| proxy.is_stream() == is_stream);
        self.at(address).find(is_it)
    }

    /// The proxy at an address that the settings have lost, while it has a connection.
    pub fn lost_at(&self, address: SocketAddr) -> Option<ProxyId> {
        let is_it = |slot: &slots::Slot| slot.removed.is_some() && slot.proxy.address() == Some(address);
        let mut lost = self.slots.iter().filter(|(_, slot)| is_it(slot) && slot.proxy.connections().has_open());
        lost.next().map(|(id, _)| id)
    }

    /// The proxies of the settings with their numbers and addresses: those to probe.
    pub fn iter(&self) -> impl Iterator<Item = (ProxyId, &Proxy)> {
        self.slots.iter().filter(|(_, slot)| slot.removed.is_none()).map(|(id, slot)| (id, &slot.proxy))
    }

    /// Whether there is any proxy.
    pub const fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Panics if it contradicts itself. For tests: it reads everything.
    pub fn check(&self, now: Time) {
        for (id, slot) in self.slots.iter() {
            slot.proxy.check(now);
            assert!(slot.proxy.outstanding() == 0 || self.busy.contains(usize::from(id.0)), "{id:?} is not looked at");
            let is_listed = self.entries.iter().any(|entry| entry.proxies.contains(&id));
            assert_eq!(is_listed, slot.removed.is_none(), "{id:?} {}", slot.name);
        }
        assert!(self.busy.is_empty() || self.next_look.is_some());
        for pool in &self.pools {
            for id in pool.members() {
                let slot = self.slots.get(*id);
                assert!(slot.is_some_and(|slot| slot.removed.is_none()), "{id:?} in pool {}", pool.name);
            }
        }
        for entry in &self.entries {
            assert!(!entry.proxies.is_empty(), "{} has no row", entry.settings.name);
        }
        assert!(self.addresses.is_sorted() && self.changes.len() <= CHANGES);
    }

    /// Sees to it that time changes a proxy when it must, and takes out what it has to say.
    fn note(&mut self, id: ProxyId, now: Time) {
        self.seen = now;
        let at = usize::from(id.0);
        let Some(slot) = self.slots.get_mut(id) else {
            self.busy.set(at, false);
            return;
        };
        // One that finds no place is told later: its proxy still has it.
        if self.changes.len() < CHANGES {
            self.changes.extend(slot.poll_change(now));
        }
        let proxy = &mut slot.proxy;
        if proxy.poll_wish(now) && slot.removed.is_none() && !self.wishes.contains(&id) {
            self.wishes.push_back(id);
        }
        let is_busy = proxy.is_busy();
        self.busy.set(at, is_busy);
        if is_busy && self.next_look.is_none() {
            self.next_look = Some(now + LOOK_EVERY);
        }
    }
}

#[cfg(test)]
mod tests;
