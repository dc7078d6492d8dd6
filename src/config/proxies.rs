//! Downstream proxies: SIP servers that know nothing of us, the pools that they form, and the routes to the pools.

use std::net::IpAddr;

use super::error::Fault;
use super::{Config, Listen, Settings};

pub use entry::ProxyKeys;
pub use pool::{Pool, PoolKeys, PoolMode, PoolPolicy, RecordRoute};
pub use proxy::{BadLoadSource, LoadSource, Probe, ProbeFrom, Proxy, SystemDown};
pub use route::{Asked, Route};

mod check;
mod entry;
mod name;
mod pattern;
mod place;
mod pool;
mod proxy;
mod reach;
mod route;

pub(super) use check::{Proxies, checked};

impl Config {
    /// The pool of a request that no route fits.
    pub fn pool_without_route(&self) -> &'static str {
        let has_default = self.proxies.iter().any(|proxy| proxy.pool == Pool::DEFAULT);
        if has_default && self.workers == 0 { Pool::DEFAULT } else { Pool::WORKERS }
    }

    /// The pool of this name.
    pub fn pool(&self, name: &str) -> Option<&Pool> {
        self.pools.iter().find(|pool| pool.name == name)
    }

    /// Notes about proxies, pools and routes that are allowed and probably not meant.
    pub(super) fn proxy_notes(&self) -> impl Iterator<Item = String> + '_ {
        let loopback = |proxy: &Proxy| proxy.host.parse().is_ok_and(|ip: IpAddr| ip.is_loopback());
        let local = self.proxies.iter().find(|proxy| loopback(proxy));
        let local = local.filter(|_| self.proxies.iter().any(|proxy| !loopback(proxy)));
        let local = local.map(|proxy| format!("proxy: {} is on this host, others are not", proxy.name));
        let is_empty = |pool: &&Pool| !pool.workers && !self.proxies.iter().any(|proxy| proxy.pool == pool.name);
        let empty = self.pools.iter().filter(is_empty).map(|pool| match pool.fallback.is_empty() {
            true => format!("pool: {} has no proxy; its requests get 503", pool.name),
            false => format!("pool: {} has no proxy; its requests go to its fallback", pool.name),
        });
        let default = Pool::default();
        let idle = move |pool: &&Pool| {
            let differs = pool.answer_within != default.answer_within || pool.retry_on != default.retry_on;
            differs && pool.mode != PoolMode::Stateful
        };
        let idle = self.pools.iter().filter(idle).map(|pool| {
            format!(
                "pool: mode {} of {} does not look at answer-within and retry-on; `stateful` does",
                pool.mode, pool.name
            )
        });
        let all = self.routes.iter().position(Route::fits_all).map_or(0, |at| at + 1);
        let shadowed = (all > 0 && all < self.routes.len())
            .then(|| format!("route: every request fits route {all}; those after it are never asked"));
        let asks_workers = |pool: &Pool| pool.fallback.iter().any(|name| name == Pool::WORKERS);
        let is_for_workers = self.routes.iter().any(|route| route.pool == Pool::WORKERS);
        let no_worker = (self.workers == 0 && (is_for_workers || self.pools.iter().any(asks_workers))).then(|| {
            "workers: none is started; what the pool `workers` is asked for gets 503 until one comes to the handoff socket"
                .to_owned()
        });
        let shared = self.proxies.iter().enumerate().filter_map(|(at, later)| {
            let first = self.proxies.iter().take(at).filter(|first| first.transport == later.transport);
            let both = first.flat_map(|first| first.from.iter().map(move |network| (first, network)));
            let (first, network) = both.into_iter().find(|(_, network)| later.from.contains(network))?;
            let (first, later) = (&first.name, &later.name);
            Some(format!("proxy: {first} and {later} both have {network} in `from`; who comes from there is {first}"))
        });
        let is_redirected = |proxy: &&Proxy| self.pool(&proxy.pool).is_some_and(|pool| pool.mode == PoolMode::Redirect);
        let oc = self.proxies.iter().filter(is_redirected).find(|proxy| proxy.oc).map(|proxy| {
            format!("proxy: `oc` of {} has no effect: no answer comes through here in mode redirect", proxy.name)
        });
        let unreached = self.unreached_notes();
        local
            .into_iter()
            .chain(empty)
            .chain(unreached)
            .chain(idle)
            .chain(shadowed)
            .chain(no_worker)
            .chain(shared)
            .chain(oc)
    }
}
