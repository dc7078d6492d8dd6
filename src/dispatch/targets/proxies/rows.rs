//! Proxies and pools in the statistics.

use super::Proxies;
use super::pool::ProxyPool;
use crate::dispatch::targets::proxy::Row;
use crate::time::Time;

impl Proxies {
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
