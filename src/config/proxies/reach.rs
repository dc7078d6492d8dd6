//! The pools that requests come to: by a route, without one, or as a fallback.

use std::collections::BTreeSet;

use super::{Config, Pool, Route};

impl Config {
    /// Notes about pools that have members and get no request.
    pub(super) fn unreached_notes(&self) -> impl Iterator<Item = String> + '_ {
        let reached = self.reached_pools();
        let unreached = self.pools.iter().filter(move |pool| !reached.contains(pool.name.as_str()));
        unreached.filter_map(|Pool { name, workers, .. }| {
            let has_proxies = self.proxies.iter().any(|proxy| proxy.pool == *name);
            let is_default = name == Pool::DEFAULT && self.pool_without_route() == Pool::WORKERS;
            let remedy = match (has_proxies, workers) {
                (false, false) => return None,
                (true, _) if is_default => ", or set `workers = 0`",
                _ if is_default => "",
                _ => ", or name it in the `fallback` of another pool",
            };
            let why = if is_default { ": without a route they are for the workers" } else { "" };
            Some(format!("pool: no request comes to {name}{why}; add a [[route]] with `pool = \"{name}\"`{remedy}"))
        })
    }

    /// The names of the pools that some request can come to.
    fn reached_pools(&self) -> BTreeSet<&str> {
        let last = self.routes.iter().position(Route::fits_all);
        let unrouted = last.is_none().then(|| self.pool_without_route());
        let asked = last.map_or(self.routes.len(), |last| last + 1);
        let mut left: Vec<&str> = self.routes.iter().take(asked).map(|route| route.pool.as_str()).collect();
        left.extend(unrouted);
        let mut reached = BTreeSet::new();
        while let Some(name) = left.pop() {
            if reached.insert(name)
                && let Some(pool) = self.pool(name)
            {
                left.extend(pool.fallback.iter().map(String::as_str));
            }
        }
        reached
    }
}
