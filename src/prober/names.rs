//! The names of proxies: when each is asked for, and the addresses that it leads to meanwhile. A value without socket
//! and clock.
//!
//! A name server that is silent, fails or knows nothing changes nothing: the last addresses stay, and show as stale. A
//! name that is gone keeps them too, until this has been said three times and for a minute.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::config::Proxy;
use crate::dispatch::probed::{Finding, Found};
use crate::dispatch::targets::proxies::Address;
use crate::names::{Endpoint, Protocol, Question, Server, Source, Unfound};
use crate::time::Time;
use crate::words::Transport;

/// Shortest time between two questions for a name: a TTL of 0 would have each server asked without end.
const SHORTEST: Duration = Duration::from_secs(5);
/// Longest.
const LONGEST: Duration = Duration::from_secs(3600);
/// Time until a name is asked for again that has not been found.
const AGAIN: Duration = Duration::from_secs(20);
/// Most addresses of a name.
const ADDRESSES: usize = 16;
/// A name is gone after so many answers that say so, the first of them this long ago.
const GONE: (u32, Duration) = (3, Duration::from_secs(60));

/// The names of all proxies that have one.
#[derive(Debug, Default)]
pub(super) struct Names {
    names: BTreeMap<Arc<str>, Name>,
}

/// The name of a proxy.
#[derive(Debug)]
struct Name {
    host: Box<str>,
    port: Option<u16>,
    transport: Transport,
    asks_transports: bool,
    members: Vec<Address>,
    is_stale: bool,
    /// Whether the lanes have been told of its state.
    is_told: bool,
    /// Number of answers in a row that say that it is gone, and the time of the first.
    gone: (u32, Time),
    /// When it is asked for next; `None` while a question waits.
    next: Option<Time>,
}

/// Addresses that a proxy must not have.
pub(super) trait Own {
    /// Whether a name must not lead to this place: a message would come back to us, or reach a port of this host that
    /// only this host should reach.
    fn is_own(&self, host: &str, to: Endpoint) -> bool;
}

impl Names {
    /// Sets the proxies; names that are the same keep their addresses.
    pub(super) fn set(&mut self, proxies: &[Proxy], now: Time) {
        let mut before = std::mem::take(&mut self.names);
        for proxy in proxies.iter().filter(|proxy| proxy.host.parse::<IpAddr>().is_err()) {
            let (host, port, transport) = (proxy.host.as_str(), proxy.port, proxy.transport);
            // RFC 3263 §4.1: where the URI names the transport, the domain is not asked for one.
            let asks_transports = !proxy.names_transport;
            let wanted = (host, port, transport, asks_transports);
            let is_same = |name: &Name| (&*name.host, name.port, name.transport, name.asks_transports) == wanted;
            let name = before.remove(proxy.name.as_str()).filter(is_same).unwrap_or_else(|| Name {
                host: host.into(),
                port,
                transport,
                asks_transports,
                members: Vec::new(),
                is_stale: false,
                is_told: true,
                gone: (0, now),
                next: Some(now),
            });
            self.names.insert(Arc::from(proxy.name.as_str()), name);
        }
    }

    /// The lanes have read the settings again: they are told every name's addresses anew.
    pub(super) fn tell_all(&mut self) {
        self.names.values_mut().for_each(|name| name.is_told &= name.members.is_empty());
    }

    /// The addresses of a proxy.
    pub(super) fn members(&self, proxy: &str) -> &[Address] {
        self.names.get(proxy).map_or(&[], |name| &name.members)
    }

    /// When [`Names::poll_question`] is to be called next.
    pub(super) fn poll_timeout(&self) -> Option<Time> {
        self.names.values().filter_map(|name| name.next).min()
    }

    /// The next name that is to be asked for.
    pub(super) fn poll_question(&mut self, now: Time) -> Option<(Arc<str>, Question)> {
        let (proxy, name) = self.names.iter_mut().find(|(_, name)| name.next.is_some_and(|next| next <= now))?;
        name.next = None;
        let question = Question {
            host: name.host.clone(),
            port: name.port,
            protocols: protocols(name.transport),
            asks_transports: name.asks_transports,
            source: Source::Proxies,
        };
        Some((Arc::clone(proxy), question))
    }

    /// The answer for a proxy's name, which holds until the given time. `spread`, 0 to 1, keeps names with the same TTL
    /// from being asked for at the same time. Returns whether the addresses changed.
    pub(super) fn on_answer(
        &mut self,
        proxy: &str,
        (found, until): (Result<Vec<Server>, Unfound>, Time),
        own: &impl Own,
        spread: f64,
        now: Time,
    ) -> bool {
        let Some(name) = self.names.get_mut(proxy) else { return false };
        let (before, was_stale) = (std::mem::take(&mut name.members), name.is_stale);
        let mut wait = AGAIN;
        match found {
            Ok(servers) => {
                name.gone.0 = 0;
                let usable = members(&name.host, &servers, own);
                // Addresses that are all our own are as good as none.
                name.is_stale = usable.is_empty();
                name.members = if usable.is_empty() { before.clone() } else { usable };
                wait = until.since(now);
            }
            Err(Unfound::NoName { .. }) => {
                name.gone = if name.gone.0 == 0 { (1, now) } else { (name.gone.0 + 1, name.gone.1) };
                let is_gone = name.gone.0 >= GONE.0 && now.since(name.gone.1) >= GONE.1;
                name.is_stale = !is_gone && !before.is_empty();
                name.members = if is_gone { Vec::new() } else { before.clone() };
            }
            Err(_) => {
                name.gone.0 = 0;
                name.is_stale = !before.is_empty();
                name.members = before.clone();
            }
        }
        // Asked a moment after the end of a record's life: the name server itself may keep it that long.
        name.next = Some(now + wait.clamp(SHORTEST, LONGEST) + Duration::from_millis(500).mul_f64(spread));
        let is_changed = name.members != before;
        name.is_told &= !is_changed && name.is_stale == was_stale;
        is_changed
    }

    /// The next name whose state the lanes do not know.
    pub(super) fn poll_finding(&mut self, now: Time) -> Option<Finding> {
        let (proxy, name) = self.names.iter_mut().find(|(_, name)| !name.is_told)?;
        name.is_told = true;
        let what = Found::Addresses { members: name.members.clone(), is_stale: name.is_stale };
        Some(Finding { proxy: Arc::clone(proxy), at: now, what })
    }
}

/// The protocol whose records lead to a proxy of this transport.
pub(super) const fn protocols(transport: Transport) -> &'static [Protocol] {
    match transport {
        Transport::Tcp => &[Protocol::Tcp],
        Transport::Tls => &[Protocol::Tls],
        _ => &[Protocol::Udp],
    }
}

/// The distinct addresses that are not our own.
fn members(host: &str, servers: &[Server], own: &impl Own) -> Vec<Address> {
    let mut members: Vec<Address> = Vec::new();
    for &Server { endpoint, priority, weight } in servers {
        let address = endpoint.address;
        let is_host = !address.ip().is_unspecified() && !address.ip().is_multicast() && address.port() != 0;
        let is_new = members.iter().all(|member| member.address != address);
        if is_host && is_new && members.len() < ADDRESSES && !own.is_own(host, endpoint) {
            members.push(Address { address, priority, weight });
        }
    }
    // The order of answers changes with each: it means nothing.
    members.sort_by_key(|member| (member.priority, member.address));
    members
}
