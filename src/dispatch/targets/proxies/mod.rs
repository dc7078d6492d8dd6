//! The downstream proxies and their pools, as one lane sees them: state by name over reloads, and the choice.
//!
//! Settings name entries; an entry whose URI has a host name is as many proxies as that has addresses, each with its
//! own health. A proxy is one entry at one address: another address is another proxy, with another number and life.

mod connections;
mod entries;
mod findings;
mod pool;
mod slots;
mod turns;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use super::proxy::{Answered, Change, Final, ProbeNumber, Proxy, Reported, Row, Sent, State as Health};
use crate::config;
use crate::dispatch::bits::Bits;
use crate::dispatch::decision::Tried;
use crate::dispatch::select::{Ask, Random, mix};
use crate::ids::{ConnId, ProxyId};
use crate::pack::{packed, saved};
use crate::time::Time;
use crate::transaction::identifier::{Identifier, Identifiers};
use crate::wire::load::OverloadControl;
use crate::words::{LoadReport, Transport};

pub use connections::Dial;
pub use entries::Address;
use entries::Entry;
pub use pool::{Choice, PoolId};
use pool::{Link, ProxyPool, Situation};
use slots::{KeptSlot, Slots};
pub use slots::{STAYS, Security};

/// Interval at which proxies with requests that wait are looked at.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// Most changes of state that wait for the log.
const CHANGES: usize = 4_096;
/// Most reports of loads that wait: all are taken out after each batch of messages.
const REPORTS: usize = 1_024;

/// Most members that get a request whose proxy is not known.
const POSSIBLE: usize = 16;

/// The reason why no member of a pool takes a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// The pool has no member with an address, and neither have those after it.
    Empty,
    /// Those that could take it have had it.
    AllTried,
    /// Members that are up have no room; this one and others may have it again.
    Full,
    /// All are down, or the operator has them take nothing.
    Down,
}

/// Members of a redirect pool, best first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Several {
    ids: [ProxyId; Several::LIMIT],
    count: usize,
}

impl Several {
    /// Most members of one answer.
    pub const LIMIT: usize = Tried::LIMIT;

    /// The members.
    pub fn as_slice(&self) -> &[ProxyId] {
        &self.ids[..self.count]
    }

    fn add(&mut self, id: ProxyId) {
        if let Some(place) = self.ids.get_mut(self.count) {
            *place = id;
            self.count += 1;
        }
    }
}

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
    /// The time of the last event.
    seen: Time,
}

/// State that a takeover hands on.
#[derive(Debug)]
struct State {
    entries: Vec<entries::KeptEntry>,
    slots: Vec<KeptSlot>,
    /// Calls of each pool, by its name.
    calls: Vec<(String, u64)>,
    seen: Time,
}

packed!(State { entries, slots, calls, seen });
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
            seen: Time(0),
        }
    }

    /// Sets the keys of identifiers.
    pub fn set_naming(&mut self, naming: Identifiers) {
        self.naming = Some(naming);
        self.list_identifiers();
    }

    /// Lists the proxies of the settings by their identifiers.
    fn list_identifiers(&mut self) {
        let Some(naming) = &self.naming else { return };
        let is_wanted = |slot: &slots::Slot| slot.removed.is_none() && slot.proxy.is_stream();
        let wanted = self.slots.iter().filter(|(_, slot)| is_wanted(slot));
        self.identifiers = wanted.flat_map(|(id, slot)| naming.known(&slot.name).map(move |it| (it, id))).collect();
        self.identifiers.sort_unstable_by_key(|(identifier, _)| *identifier);
        self.written.clear();
        for (id, slot) in self.slots.iter().filter(|(_, slot)| slot.proxy.is_stream()) {
            let place = usize::from(id.0);
            self.written.resize(self.written.len().max(place + 1), None);
            if let Some(written) = self.written.get_mut(place) {
                *written = Some(naming.of(&slot.name));
            }
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
            self.note(id, now);
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

    /// The member of a pool that gets a request, or of the pools after it. `workers` is the number of workers that take
    /// new work.
    pub fn choose(&mut self, pool: PoolId, ask: &Ask, workers: usize, now: Time) -> Result<Choice, Refused> {
        let Proxies { slots, pools, random, lanes, .. } = self;
        let Some(first) = pools.get_mut(usize::from(pool.0)) else { return Err(Refused::Empty) };
        let chain = std::mem::take(&mut first.chain);
        // A request that looks for another proxy was counted when it came.
        if ask.tried.as_slice().is_empty() {
            first.on_asked(now);
        }
        let mut situation = Situation { slots, random, workers, lanes: *lanes, now };
        let mut found = chain.iter().find_map(|link| match link {
            Link::Workers => (workers > 0).then_some(Choice::Workers),
            Link::Pool(id) => pools.get_mut(usize::from(id.0))?.pick(ask, &mut situation),
        });
        // A request that another proxy has had must not go to one that is known to be down.
        let is_panic = found.is_none() && ask.tried.as_slice().is_empty();
        if is_panic {
            let panics =
                [true, false].into_iter().flat_map(|by_probes| chain.iter().map(move |link| (by_probes, *link)));
            found = panics.into_iter().find_map(|(by_probes_alone, link)| match link {
                Link::Workers => None,
                Link::Pool(id) => {
                    pools.get_mut(usize::from(id.0))?.pick_in_panic(by_probes_alone, slots, now).map(Choice::Proxy)
                }
            });
        }
        let refused = found.is_none().then(|| self.refused(&chain, ask, now));
        if let Some(first) = self.pools.get_mut(usize::from(pool.0)) {
            first.chain = chain;
            first.is_panic = is_panic && found.is_some();
        }
        found.ok_or(refused.unwrap_or(Refused::Empty))
    }

    /// The members of a pool that may have got a call: those that are up, that which a hash of the call names first.
    pub fn possible(&mut self, pool: PoolId, call: u64, now: Time) -> Vec<ProxyId> {
        let Proxies { slots, pools, .. } = self;
        let Some(pool) = pools.get_mut(usize::from(pool.0)) else { return Vec::new() };
        let is_up = |id: &ProxyId| slots.get(*id).is_some_and(|slot| slot.proxy.state(now) == Health::Up);
        let first = pool.by_hash(call, is_up);
        let mut drawn: Vec<(u64, ProxyId)> =
            pool.with_names().filter(|(_, id)| is_up(id)).map(|(name, id)| (mix(call ^ name), id)).collect();
        drawn.sort_unstable_by_key(|(drawn, id)| (Some(*id) != first, std::cmp::Reverse(*drawn)));
        drawn.truncate(POSSIBLE);
        drawn.into_iter().map(|(_, id)| id).collect()
    }

    /// Up to `most` members of a redirect pool: the one chosen first, then those of the highest weights.
    pub fn choose_several(&mut self, pool: PoolId, ask: &Ask, most: u8, now: Time) -> Result<Several, Refused> {
        let mut several = Several::default();
        // A redirect never names a worker: there is none to choose.
        let Choice::Proxy(first) = self.choose(pool, ask, 0, now)? else { return Err(Refused::Empty) };
        several.add(first);
        let mut ask = *ask;
        ask.tried.add(first);
        let Proxies { slots, pools, random, lanes, .. } = self;
        let mut situation = Situation { slots, random, workers: 0, lanes: *lanes, now };
        let Some(pool) = pools.get_mut(usize::from(pool.0)) else { return Ok(several) };
        while several.count < usize::from(most).min(Several::LIMIT)
            && let Some(next) = pool.pick_best(&ask, &mut situation)
        {
            several.add(next);
            ask.tried.add(next);
        }
        let weight = |id: &ProxyId| situation.slots.weight(*id, now);
        several.ids[1..several.count].sort_by(|a, b| weight(b).total_cmp(&weight(a)));
        Ok(several)
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

    /// The identifier of a proxy; `None`: messages do not name it.
    pub fn identifier(&self, id: ProxyId) -> Option<Identifier> {
        self.written.get(usize::from(id.0)).copied().flatten()
    }

    /// Whether any proxy has an identifier.
    pub const fn has_identifiers(&self) -> bool {
        !self.identifiers.is_empty()
    }

    /// The proxy that has this identifier.
    pub fn identified(&self, text: &[u8]) -> Option<ProxyId> {
        let identifier = Identifier::read(text)?;
        let at = self.identifiers.binary_search_by_key(&identifier, |(of, _)| *of).ok()?;
        self.identifiers.get(at).map(|(_, id)| *id)
    }

    /// The proxy that a connection over this transport leads to, or comes from: it is at this address, or else on this
    /// host, or has this network.
    pub fn system_at(&self, address: SocketAddr, transport: Transport) -> Option<ProxyId> {
        let address = SocketAddr::new(address.ip().to_canonical(), address.port());
        let is_it = |id: &ProxyId| self.get(*id).is_some_and(|proxy| proxy.transport() == transport);
        let from = self.addresses.partition_point(|(other, _)| *other < SocketAddr::new(address.ip(), 0));
        let on_host = || {
            let rest = self.addresses.get(from..).unwrap_or_default();
            rest.iter().take_while(|(other, _)| other.ip() == address.ip()).map(|(_, id)| *id)
        };
        let of_network = || {
            let sources = self.sources.iter().filter(|(network, _)| network.contains(address.ip()));
            sources.map(|(_, id)| *id).find(is_it)
        };
        self.at(address).find(is_it).or_else(|| on_host().find(is_it)).or_else(of_network)
    }

    /// Whether what comes on a connection from this source comes from a proxy, or from another one of its entry: from
    /// the host of an address of theirs, from one of their networks, or from a peer that has shown their certificate.
    pub fn is_from(&self, id: ProxyId, source: IpAddr, certified: Option<ProxyId>) -> bool {
        let source = source.to_canonical();
        let is_at = |id: ProxyId| {
            self.get(id).and_then(Proxy::address).is_some_and(|address| address.ip().to_canonical() == source)
        };
        let entry_of = |id: ProxyId| {
            let name = &self.slots.get(id)?.entry;
            self.entries.iter().find(|entry| entry.settings.name == *name)
        };
        is_at(id)
            || entry_of(id).is_some_and(|entry| {
                entry.proxies.iter().any(|other| is_at(*other) || certified == Some(*other))
                    || entry.settings.from.iter().any(|network| network.contains(source))
            })
    }

    /// The proxy over TLS that a peer has shown to be, by a certificate for this name.
    pub fn certified(&self, has_shown: impl Fn(&str) -> bool) -> Option<ProxyId> {
        let settings = self.entries.iter().map(|entry| &entry.settings);
        let mut secure = settings.filter(|settings| settings.transport == Transport::Tls);
        let of = secure.find(|settings| has_shown(settings.certified_name()))?;
        let mut slots = self.slots.iter().filter(|(_, slot)| slot.removed.is_none());
        slots.find(|(_, slot)| slot.entry == of.name).map(|(id, _)| id)
    }

    /// Whether the certificate of a proxy over TLS is for this host, in lower case.
    pub fn is_named(&self, id: ProxyId, host: &str) -> bool {
        let of = |slot: &slots::Slot| self.entries.iter().find(|entry| entry.settings.name == slot.entry);
        self.slots.get(id).and_then(of).is_some_and(|entry| entry.settings.certified_name().eq_ignore_ascii_case(host))
    }

    /// The proxies of the settings with their numbers and addresses: those to probe.
    pub fn iter(&self) -> impl Iterator<Item = (ProxyId, &Proxy)> {
        self.slots.iter().filter(|(_, slot)| slot.removed.is_none()).map(|(id, slot)| (id, &slot.proxy))
    }

    /// Whether there is any proxy.
    pub const fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The proxies in the statistics, in the order of the settings.
    pub fn rows(&self, now: Time) -> Vec<Row> {
        let mut rows = Vec::new();
        for entry in &self.entries {
            for id in &entry.proxies {
                let Some(slot) = self.slots.get(*id) else { continue };
                let mut row = slot.proxy.row(now);
                if row.address.is_empty() {
                    row.address = entry.host_and_port();
                }
                row.name.clone_from(&slot.name);
                row.pool.clone_from(&entry.settings.pool);
                row.handicap = entry.handicap();
                row.stale = entry.is_stale;
                rows.push(row);
            }
        }
        rows
    }

    /// The pools in the statistics.
    pub fn pool_rows(&self, now: Time) -> Vec<PoolRow> {
        let row = |pool: &ProxyPool| {
            let settings = pool.settings.as_ref()?;
            Some(PoolRow {
                name: pool.name.clone(),
                mode: settings.mode.label(),
                policy: settings.policy.label(),
                up: pool.members().iter().filter(|id| self.slots.takes_new(**id, now)).count(),
                panic: pool.is_panic,
                calls: pool.calls,
            })
        };
        self.pools.iter().filter_map(row).collect()
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

    fn refused(&self, chain: &[Link], ask: &Ask, now: Time) -> Refused {
        let pools = chain.iter().filter_map(|link| match link {
            Link::Pool(id) => self.pools.get(usize::from(id.0)),
            Link::Workers => None,
        });
        let members = || pools.clone().flat_map(|pool| pool.members()).filter_map(|id| Some((*id, self.get(*id)?)));
        if members().any(|(id, proxy)| proxy.takes_new(now) && ask.tried.contains(id)) {
            return Refused::AllTried;
        }
        if members().any(|(_, proxy)| proxy.is_full(now)) {
            return Refused::Full;
        }
        if members().any(|(_, proxy)| proxy.address().is_some()) { Refused::Down } else { Refused::Empty }
    }
}

/// One pool in the statistics.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct PoolRow {
    /// Its name.
    pub name: String,
    /// Treatment of its requests.
    pub mode: &'static str,
    /// Its policy.
    pub policy: &'static str,
    /// Members that take new requests.
    pub up: usize,
    /// Whether all were down at the last request, so that they are tried in turn.
    pub panic: bool,
    /// Requests for it.
    pub calls: u64,
}

impl PoolRow {
    /// Adds the figures of the same pool in another lane: counts are added up, the rest is taken from the lane where it
    /// is worse off.
    pub fn add(&mut self, other: &PoolRow) {
        self.calls += other.calls;
        self.up = self.up.min(other.up);
        self.panic |= other.panic;
    }
}

#[cfg(test)]
mod tests;
