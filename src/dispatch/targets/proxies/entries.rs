//! The entries of the settings: which proxies and pools there are, after a start, a reload, and an answer of a name
//! server.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};

use super::pool::{Link, PoolId, ProxyPool};
use super::slots::{KeptSlot, Security, Slot};
use super::{Proxies, State};
use crate::config::{self, PoolMode, Probe};
use crate::dispatch::decision::Admin;
use crate::dispatch::select::mix;
use crate::dispatch::targets::proxy::{Limits, Proxy, Terms};
use crate::ids::ProxyId;
use crate::pack::{Damaged, packed};
use crate::time::Time;

/// Most addresses of one name.
const ADDRESSES: usize = 16;

/// An address of a name, as SRV records give it (RFC 2782). Without them priority and weight are 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Address {
    /// The address.
    pub address: SocketAddr,
    /// Addresses of a higher number get requests when no lower one takes any.
    pub priority: u16,
    /// Share of the handicap among those of the same name.
    pub weight: u16,
}

packed!(Address { address, priority, weight });

/// One entry of the settings.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) settings: config::Proxy,
    /// The operator's order for all its proxies.
    admin: Admin,
    /// The handicap that the operator said since the settings last changed it.
    said_handicap: Option<u16>,
    /// Addresses of its host.
    addresses: Vec<Address>,
    /// Whether the addresses are old.
    pub(super) is_stale: bool,
    /// Its proxies; never empty.
    pub(super) proxies: Vec<ProxyId>,
}

/// State of an entry that a takeover hands on.
#[derive(Debug)]
pub(super) struct KeptEntry {
    name: String,
    host: String,
    handicap: u16,
    admin: Admin,
    said_handicap: Option<u16>,
    addresses: Vec<Address>,
    is_stale: bool,
}

packed!(KeptEntry { name, host, handicap, admin, said_handicap, addresses, is_stale });

impl Entry {
    fn new(settings: config::Proxy) -> Self {
        let mut entry = Entry {
            settings,
            admin: Admin::Ready,
            said_handicap: None,
            addresses: Vec::new(),
            is_stale: false,
            proxies: Vec::new(),
        };
        entry.addresses.extend(entry.written());
        entry
    }

    /// Sets other settings. An order and a handicap that the operator said stay unless the settings change them.
    fn set(&mut self, settings: config::Proxy) {
        if settings.handicap != self.settings.handicap {
            self.said_handicap = None;
        }
        let place = |of: &config::Proxy| (of.host.clone(), of.port(), of.transport);
        let is_moved = place(&settings) != place(&self.settings);
        self.settings = settings;
        if is_moved {
            self.addresses = self.written().into_iter().collect();
            self.is_stale = false;
        }
    }

    /// The address, if the URI has a numeric one.
    fn written(&self) -> Option<Address> {
        let ip: IpAddr = self.settings.host.parse().ok()?;
        Some(Address { address: SocketAddr::new(ip, self.settings.port()), priority: 0, weight: 0 })
    }

    /// Its share beside others.
    pub(super) fn handicap(&self) -> u16 {
        self.said_handicap.unwrap_or(self.settings.handicap)
    }

    /// Host and port of its URI.
    pub(super) fn host_and_port(&self) -> String {
        match self.settings.port {
            Some(port) => format!("{}:{port}", self.settings.host),
            None => self.settings.host.clone(),
        }
    }

    /// The name of its proxy at an address.
    fn name_at(&self, address: Option<SocketAddr>) -> String {
        match address {
            Some(address) if self.written().is_none() => format!("{}/{address}", self.settings.name),
            _ => self.settings.name.clone(),
        }
    }

    /// Its addresses with their ranks and shares of the handicap; one without an address while the name has none.
    fn places(&self) -> Vec<(Option<SocketAddr>, u16, f64)> {
        let mut priorities: Vec<u16> = self.addresses.iter().map(|address| address.priority).collect();
        priorities.sort_unstable();
        priorities.dedup();
        let heaviest = |priority: u16| {
            let same = self.addresses.iter().filter(move |address| address.priority == priority);
            same.map(|address| address.weight).max().unwrap_or(0)
        };
        let place = |address: &Address| {
            let rank = priorities.iter().position(|priority| *priority == address.priority).unwrap_or(0);
            let heaviest = heaviest(address.priority);
            // RFC 2782: a weight of 0 has a very small chance beside others.
            let share = if heaviest == 0 { 1.0 } else { f64::from(address.weight.max(1)) / f64::from(heaviest) };
            (Some(address.address), rank as u16, share)
        };
        if self.addresses.is_empty() { vec![(None, 0, 1.0)] } else { self.addresses.iter().map(place).collect() }
    }
}

impl Proxies {
    /// Sets the proxies and pools of the settings. State stays by name.
    pub fn set(&mut self, proxies: &[config::Proxy], pools: &[config::Pool], now: Time) {
        let before = std::mem::take(&mut self.entries);
        let mut before: BTreeMap<String, Entry> =
            before.into_iter().map(|entry| (entry.settings.name.clone(), entry)).collect();
        for settings in proxies {
            let entry = match before.remove(&settings.name) {
                Some(mut entry) => {
                    if entry.settings.load != settings.load {
                        self.forget_reports(&entry);
                    }
                    entry.set(settings.clone());
                    entry
                }
                None => Entry::new(settings.clone()),
            };
            self.entries.push(entry);
        }
        self.set_pools(pools);
        self.rebuild(now);
    }

    /// Sets the security of the connections to the proxies of each entry. Connections that were opened with another one
    /// are replaced.
    pub fn set_securities(&mut self, securities: BTreeMap<String, Security>, now: Time) {
        for slot in self.slots.iter_mut() {
            let Some(security) = securities.get(&slot.entry) else { continue };
            if slot.security.is_some_and(|before| before != *security) {
                slot.proxy.connections_mut().replace_all(now);
            }
            slot.security = Some(*security);
        }
        self.securities = securities;
        self.arm_connections();
    }

    /// Sets the time after its return until a proxy has its full share.
    pub fn set_slow_start(&mut self, slow_start: std::time::Duration, now: Time) {
        self.slow_start = slow_start;
        self.rebuild(now);
    }

    /// Sets the addresses of an entry's name. None: the name is gone. Returns whether there is such an entry.
    pub fn set_addresses(&mut self, name: &str, addresses: &[Address], now: Time) -> bool {
        let is_it = |entry: &&mut Entry| entry.settings.name == name && entry.written().is_none();
        let Some(entry) = self.entries.iter_mut().find(is_it) else { return false };
        entry.is_stale = false;
        let mut unique: Vec<Address> = Vec::new();
        for address in addresses {
            if unique.len() < ADDRESSES && unique.iter().all(|other| other.address != address.address) {
                unique.push(*address);
            }
        }
        if entry.addresses != unique {
            entry.addresses = unique;
            self.rebuild(now);
        }
        true
    }

    /// Takes note whether the addresses of an entry's name are old.
    pub fn set_stale(&mut self, name: &str, is_stale: bool) {
        if let Some(entry) = self.entries.iter_mut().find(|entry| entry.settings.name == name) {
            entry.is_stale = is_stale;
        }
    }

    /// Sets the operator's order for an entry, or for one of its proxies. Returns whether there is one of that name.
    pub fn set_admin(&mut self, name: &str, admin: Admin) -> bool {
        let (mut ids, mut is_known) = (Vec::new(), false);
        for entry in &mut self.entries {
            let is_all = entry.settings.name == name;
            if is_all {
                (entry.admin, is_known) = (admin, true);
            }
            ids.extend(entry.proxies.iter().copied().filter(|id| is_all || self.slots.is_named(*id, name)));
        }
        for id in &ids {
            if let Some(slot) = self.slots.get_mut(*id) {
                slot.proxy.set_admin(admin);
            }
        }
        is_known || !ids.is_empty()
    }

    /// Sets the handicap of an entry until the settings change it. Returns whether there is one of that name.
    pub fn set_handicap(&mut self, name: &str, handicap: u16, now: Time) -> bool {
        let Some(entry) = self.entries.iter_mut().find(|entry| entry.settings.name == name) else { return false };
        entry.said_handicap = Some(handicap.clamp(1, 1_000));
        self.rebuild(now);
        true
    }

    /// Puts every proxy that entries and addresses ask for into a place, and all into their pools.
    pub(super) fn rebuild(&mut self, now: Time) {
        let known = self.slots.by_entry();
        let mut wanted: BTreeSet<ProxyId> = BTreeSet::new();
        let mut members: Vec<Vec<(u16, ProxyId, u64)>> = vec![Vec::new(); self.pools.len()];
        let mut entries = std::mem::take(&mut self.entries);
        for entry in &mut entries {
            let pool = self.pool_id(&entry.settings.pool);
            let is_redirected = pool.and_then(|id| self.pool(id)).is_some_and(|pool| pool.mode == PoolMode::Redirect);
            entry.proxies.clear();
            for (address, rank, share) in entry.places() {
                let terms = self.terms(entry, share, is_redirected);
                let of_entry = known.get(&entry.settings.name).map_or(&[][..], Vec::as_slice);
                let place = of_entry.iter().find(|(at, _)| *at == address).map(|(_, id)| *id);
                let Some(id) = self.place((entry, place), address, terms, now) else { continue };
                if let Some(slot) = self.slots.get_mut(id) {
                    slot.pool = pool;
                }
                entry.proxies.push(id);
                wanted.insert(id);
                if let Some(members) = pool.and_then(|id| members.get_mut(usize::from(id.0))) {
                    members.push((rank, id, hash(&entry.name_at(address))));
                }
            }
        }
        self.entries = entries;
        let lost: Vec<ProxyId> = self.slots.iter().map(|(id, _)| id).filter(|id| !wanted.contains(id)).collect();
        lost.into_iter().for_each(|id| self.slots.remove(id, now));
        self.next_farewell = self.slots.next_farewell(now);
        for (pool, members) in self.pools.iter_mut().zip(members) {
            pool.set_members(members);
        }
        self.addresses = self.iter().filter_map(|(id, proxy)| Some((proxy.address()?, id))).collect();
        self.addresses.sort_unstable();
        let first = |entry: &Entry| entry.proxies.first().copied();
        let with_first = self.entries.iter().filter_map(|entry| Some((entry, first(entry)?)));
        self.sources = with_first.flat_map(|(entry, id)| entry.settings.from.iter().map(move |it| (*it, id))).collect();
        self.busy.resize(self.slots.len());
        let ids: Vec<ProxyId> = self.slots.iter().map(|(id, _)| id).collect();
        ids.into_iter().for_each(|id| self.note(id, now));
        self.arm_connections();
        self.list_identifiers();
    }

    /// The proxy of an entry at an address, in the place that it has or a new one.
    fn place(
        &mut self,
        (entry, place): (&Entry, Option<ProxyId>),
        address: Option<SocketAddr>,
        terms: Terms,
        now: Time,
    ) -> Option<ProxyId> {
        let security = self.securities.get(&entry.settings.name).copied();
        if let Some(id) = place
            && let Some(slot) = self.slots.get_mut(id)
        {
            (slot.removed, slot.security) = (None, security);
            slot.proxy.set_terms(terms, now);
            return Some(id);
        }
        let mut proxy = Proxy::new(address, self.slots.new_life(), terms, now);
        proxy.set_admin(entry.admin);
        let (name, entry) = (entry.name_at(address), entry.settings.name.clone());
        self.slots.add(Slot { name, entry, proxy, pool: None, removed: None, security })
    }

    fn terms(&self, entry: &Entry, share: f64, is_redirected: bool) -> Terms {
        let settings = &entry.settings;
        Terms {
            handicap: f64::from(entry.handicap()) * share,
            fall: settings.fall,
            rise: settings.rise,
            probe_interval: settings.probe_interval,
            probe_within: settings.probe_within,
            is_probed: settings.probe != Probe::None,
            limits: Limits {
                capacity: settings.capacity,
                interval: settings.probe_interval,
                session_time: settings.session_time,
                lanes: self.lanes,
            },
            slow_start: self.slow_start,
            is_redirected,
            asks_overload: settings.oc,
            transport: settings.transport,
            is_identified: settings.identifier,
            moves_dialogs: settings.system_down == config::SystemDown::Move,
            // Redirected requests do not come through here.
            connections: if settings.is_stream() && !is_redirected { settings.connections.into() } else { 0 },
        }
    }

    fn forget_reports(&mut self, entry: &Entry) {
        for id in &entry.proxies {
            if let Some(slot) = self.slots.get_mut(*id) {
                slot.proxy.forget_reports();
            }
        }
    }

    /// Sets the pools: each keeps its number by its name.
    fn set_pools(&mut self, pools: &[config::Pool]) {
        for pool in &mut self.pools {
            pool.settings = None;
        }
        let names: BTreeSet<&str> = pools.iter().map(|pool| pool.name.as_str()).collect();
        for settings in pools {
            let at = self.pools.iter().position(|pool| pool.name == settings.name);
            // A name that the settings have no more leaves its number to another.
            let at = at.or_else(|| self.pools.iter().position(|pool| !names.contains(pool.name.as_str())));
            let at = at.unwrap_or_else(|| {
                self.pools.push(ProxyPool::default());
                self.pools.len() - 1
            });
            if self.pools[at].name != settings.name {
                self.pools[at] = ProxyPool::named(&settings.name);
            }
            self.pools[at].settings = Some(settings.clone());
        }
        for at in 0..self.pools.len() {
            let mut chain = Vec::new();
            self.follow(PoolId(at as u16), &mut chain);
            self.pools[at].chain = chain;
        }
    }

    /// Adds a pool and those after it, in the order of the settings, each once.
    fn follow(&self, id: PoolId, chain: &mut Vec<Link>) {
        let Some(settings) = self.pool(id).filter(|_| !chain.contains(&Link::Pool(id))) else { return };
        chain.push(Link::Pool(id));
        for name in &settings.fallback {
            match self.pool_id(name) {
                Some(next) => self.follow(next, chain),
                None if name == config::Pool::WORKERS && !chain.contains(&Link::Workers) => chain.push(Link::Workers),
                None => {}
            }
        }
    }

    pub(super) fn kept(&self) -> State {
        let keep = |entry: &Entry| KeptEntry {
            name: entry.settings.name.clone(),
            host: entry.host_and_port(),
            handicap: entry.settings.handicap,
            admin: entry.admin,
            said_handicap: entry.said_handicap,
            addresses: entry.addresses.clone(),
            is_stale: entry.is_stale,
        };
        let conns = |(id, slot): (ProxyId, &Slot)| slot.proxy.connections().all().map(move |conn| (conn, id)).collect();
        State {
            entries: self.entries.iter().map(keep).collect(),
            slots: self.slots.kept(),
            calls: self.pools.iter().map(|pool| (pool.name.clone(), pool.calls)).collect(),
            connections: self.slots.iter().flat_map::<Vec<_>, _>(conns).collect(),
            seen: self.seen,
        }
    }

    pub(super) fn restore_kept(&mut self, state: State) -> Result<(), Damaged> {
        if !state.slots.iter().all(KeptSlot::is_sound) {
            return Err(Damaged("the requests at a proxy"));
        }
        for kept in state.entries {
            let Some(entry) = self.entries.iter_mut().find(|entry| entry.settings.name == kept.name) else { continue };
            entry.admin = kept.admin;
            if kept.handicap == entry.settings.handicap {
                entry.said_handicap = kept.said_handicap;
            }
            if entry.written().is_none() && kept.host == entry.host_and_port() {
                (entry.addresses, entry.is_stale) = (kept.addresses, kept.is_stale);
            }
        }
        self.earlier_connections = state.connections.into_iter().collect();
        self.earlier_pools.clear();
        for (name, calls) in state.calls {
            self.pools.iter_mut().filter(|pool| pool.name == name).for_each(|pool| pool.calls = calls);
            self.earlier_pools.push(name);
        }
        self.slots.restore(state.slots, state.seen);
        let ends = self.slots.iter().map(|(_, slot)| slot.proxy.overloaded_until());
        self.overloaded_until = ends.max().unwrap_or(Time(0));
        self.rebuild(state.seen);
        Ok(())
    }
}

/// A hash of a name: the same in every lane and dispatcher.
fn hash(name: &str) -> u64 {
    mix(crate::pack::fingerprint(name))
}
