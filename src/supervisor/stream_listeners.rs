//! The gate's setup: listeners for connections, and the protocol that is spoken on each.

use std::sync::Arc;

use super::sockets::Listeners;
use super::{StartError, descriptors};
use crate::config::{Config, Service};
use crate::ids::TokenKey;
use crate::net::process;
use crate::net::tls::{Identity, TlsError, listeners_config};
use crate::server::gate::{GateSetup, Limits, Order, StreamListener};
use crate::stream::{Kind, Rules};
use crate::words::Certificates;

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

/// The certificates that workers get for their own ports, as the content of a file. Where no listener speaks TLS there
/// are none: no Contact names a worker's port for it. The workers are told that too, since an earlier dispatcher may
/// have had some.
///
/// # Errors
///
/// A file of a certificate cannot be used.
pub(super) fn certificates(config: &Config) -> Result<Arc<[u8]>, TlsError> {
    let mut told = Certificates::default();
    if config.serves(Service::Tls) {
        told.contact_name = config.contact_name().map(str::to_owned);
        let tell = |files| Ok(Identity::read(files)?.tell());
        told.identities = config.tls.iter().map(tell).collect::<Result<_, TlsError>>()?;
    }
    // Texts are written as JSON without a fault.
    Ok(serde_json::to_vec(&told).unwrap_or_default().into())
}

/// The protocol of each listener for connections, in their order. All that speak TLS share one configuration, which is
/// made without such a listener as well: a file that cannot be used is a fault, as `pointsman check` says.
fn kinds(config: &Config, key: &TokenKey) -> Result<Vec<Kind>, TlsError> {
    let services = || config.listen.iter().map(|listen| listen.service).filter(|service| service.is_stream());
    let tls = listeners_config(config, Some(key))?;
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
