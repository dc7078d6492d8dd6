//! The gate's setup: listeners for connections, and the protocol that is spoken on each.

use std::io;

use super::descriptors;
use super::sockets::Listeners;
use crate::config::{Config, Service};
use crate::net::process;
use crate::server::gate::{GateSetup, Limits, StreamListener};
use crate::stream::Kind;

/// The setup of the gate. `is_paused`: it accepts nothing until it is told to go on.
pub(super) fn gate_setup(config: &Config, listeners: &Listeners, is_paused: bool) -> io::Result<GateSetup> {
    let listeners = listeners
        .streams()
        .zip(kinds(config))
        .map(|((id, socket), kind)| Ok(StreamListener { id, socket: socket.try_clone()?, kind }));
    Ok(GateSetup {
        listeners: listeners.collect::<io::Result<_>>()?,
        limits: limits(config),
        access: config.access_rules(),
        is_paused,
    })
}

/// The protocol of each listener for connections, in their order.
fn kinds(config: &Config) -> Vec<Kind> {
    let services = config.listen.iter().map(|listen| listen.service).filter(|service| service.is_stream());
    services.map(kind).collect()
}

fn kind(_service: Service) -> Kind {
    Kind::Plain
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
