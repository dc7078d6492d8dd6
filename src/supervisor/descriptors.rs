//! Descriptors: how many the dispatcher takes, and how many are left for connections.

use super::StartError;
use crate::config::{Config, ConnectionCaps};
use crate::ids::WorkerId;
use crate::net::process;

/// Descriptors that are asked for: a worker has one for each RTP stream and TCP connection.
const DESCRIPTORS: u64 = 1 << 18;

/// Descriptors of the dispatcher beside listeners and slots: polls, wakers, run directory, clients of its sockets.
const DESCRIPTORS_BESIDE: u64 = 40;

/// Raises the limit of descriptors as far as it goes. The workers' calls need a high one: with a low one the pool is
/// smaller, and says so when it is full. A limit below what the start itself takes is an error.
pub(super) fn check(config: &Config) -> Result<(), StartError> {
    // A limit that cannot be read shows when the process runs into it.
    let limit = process::raise_descriptor_limit(DESCRIPTORS).unwrap_or(u64::MAX);
    let connections = if config.has_stream_listeners() { connection_caps(config, limit).total } else { 0 };
    let needed = beside(config) + u64::from(connections);
    if limit < needed {
        return Err(StartError::Descriptors { workers: config.workers, connections, needed, limit });
    }
    Ok(())
}

/// The caps on connections under this limit of descriptors.
pub(super) fn connection_caps(config: &Config, limit: u64) -> ConnectionCaps {
    config.connection_caps(limit.saturating_sub(beside(config)))
}

/// Descriptors that are not connections.
fn beside(config: &Config) -> u64 {
    let addresses = config.sip_ips().len() as u64;
    let gateways = config.mgcp_addresses(WorkerId(0), &[]).len() as u64;
    // A slot has its sockets, the lane's copies for the times without a worker, the link and the process.
    let slots = u64::from(config.workers) * (4 * addresses + 3 * gateways + 3);
    // A socket for the probes of each proxy; names that lead to several addresses take theirs of what is left.
    2 * config.listen.len() as u64 + slots + config.proxies.len() as u64 + DESCRIPTORS_BESIDE
}
