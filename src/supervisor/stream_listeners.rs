//! The gate's setup: listeners for connections, and the protocol that is spoken on each.

use std::sync::Arc;

use super::sockets::Listeners;
use super::{StartError, descriptors};
use crate::config::{Config, Service};
use crate::ids::TokenKey;
use crate::net::process;
use crate::net::tls::{Identity, TlsError, server_config};
use crate::server::gate::{GateSetup, Limits, Order, StreamListener};
use crate::stream::{Kind, Rules};

/// The setup of the gate. `is_paused`: it accepts nothing until it is told to go on.
///
/// # Errors
///
/// A file of a certificate cannot be used, or no descriptor is left.
pub(super) fn gate_setup(
    config: &Config,
    key: &TokenKey,
    listeners: &Listeners,
    is_paused: bool,
) -> Result<GateSetup, StartError> {
    let mut accepting = Vec::new();
    for ((id, socket), kind) in listeners.streams().zip(kinds(config, key)?) {
        accepting.push(StreamListener { id, socket: socket.try_clone()?, kind });
    }
    Ok(GateSetup { listeners: accepting, limits: limits(config), access: config.access_rules(), is_paused })
}

/// The order that gives the gate another configuration.
///
/// # Errors
///
/// A file of a certificate cannot be used.
pub(super) fn gate_reload(config: &Config, key: &TokenKey) -> Result<Order, TlsError> {
    Ok(Order::Reload { kinds: kinds(config, key)?, limits: limits(config), access: config.access_rules() })
}

/// The protocol of each listener for connections, in their order. All that speak TLS share one configuration.
fn kinds(config: &Config, key: &TokenKey) -> Result<Vec<Kind>, TlsError> {
    let services = || config.listen.iter().map(|listen| listen.service).filter(|service| service.is_stream());
    let identities = match services().any(Service::is_secure) {
        true => config.tls.iter().map(Identity::read).collect::<Result<Vec<_>, _>>()?,
        false => Vec::new(),
    };
    let tls = server_config(&identities, Some(key))?;
    let rules = Arc::new(Rules { origins: config.origins.clone() });
    let kind = |service| match service {
        Service::Tls => Kind::Tls(Arc::clone(&tls)),
        Service::Ws => Kind::WebSocket(Arc::clone(&rules)),
        Service::Wss => Kind::SecureWebSocket(Arc::clone(&tls), Arc::clone(&rules)),
        Service::Tcp | Service::Udp | Service::Mgcp => Kind::Plain,
    };
    Ok(services().map(kind).collect())
}

/// The caps on connections.
fn limits(config: &Config) -> Limits {
    let caps = descriptors::connection_caps(config, process::descriptor_limit());
    Limits {
        connections: caps.total as usize,
        per_source: caps.per_source as usize,
        exempt: config.connection_exempt.clone(),
        handshakes: caps.handshakes as usize,
    }
}
