//! Message balancing: dispatchers that keep connections to processing systems, and take calls over UDP, TCP and
//! WebSocket.

mod caller;
mod cut;
mod dialogs;
mod takeover;

use std::net::SocketAddr;

use crate::proxies::Front;
use crate::proxies::systems::System;
use crate::support::pointsman::Setup;
use crate::support::{DEADLINE, wait_for};

/// Settings with a proxy for each of these systems, `s0`, `s1`, and so on, with these lines each.
fn settings(systems: &[SocketAddr], lines: &str) -> String {
    let one = |(number, address)| {
        format!("[[proxy]]\nname = \"s{number}\"\nuri = \"sip:{address};transport=tcp\"\n{lines}\n")
    };
    systems.iter().enumerate().map(one).collect()
}

fn addresses(systems: &[System]) -> Vec<SocketAddr> {
    systems.iter().map(System::address).collect()
}

/// Distance of the port for WebSocket from that for UDP and TCP.
const WEBSOCKET: u16 = 2;

/// A dispatcher in front of them, which takes SIP over UDP and TCP at the same address, and over WebSocket.
fn start(settings: &str, lanes: usize) -> Front {
    let setup = Setup::new(0).lanes(lanes);
    let listen = format!("tcp:{}", SocketAddr::new(setup.ip, setup.port));
    let websocket = format!("ws:{}", SocketAddr::new(setup.ip, setup.port + WEBSOCKET));
    Front::start_as(settings, setup.with(["--listen", &listen, "--listen", &websocket]))
}

/// Waits until each system has so many connections of a lane's or more.
fn wait_for_connections(front: &Front, systems: &[System], count: usize) {
    front.pointsman.wait_until("all connections", |_| systems.iter().all(|system| system.connections() >= count));
}
