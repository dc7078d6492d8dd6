//! Addresses.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use pointsman::ids::WorkerId;

/// The host of dispatcher and workers.
pub const HOST: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));
/// The dispatcher's port.
pub const WELL_KNOWN: SocketAddr = SocketAddr::new(HOST, 5060);
/// The dispatcher's MGCP port.
pub const MGCP: SocketAddr = SocketAddr::new(HOST, 2427);
/// The dispatcher's address for connections.
pub const STREAMS: SocketAddr = SocketAddr::new(HOST, 5061);
const FIRST_PORT: u16 = 5070;
/// Ports from which workers open connections begin here.
const FIRST_DIALLING: u16 = 50_000;

/// A slot's own port.
pub fn port_of(slot: WorkerId) -> SocketAddr {
    SocketAddr::new(HOST, FIRST_PORT + slot.0)
}

/// The port from which a slot's worker opens connections.
pub fn dialling(slot: WorkerId) -> SocketAddr {
    SocketAddr::new(HOST, FIRST_DIALLING + slot.0)
}

/// Whether what goes to or comes from this address goes over a connection.
pub fn is_stream(address: SocketAddr) -> bool {
    address == STREAMS || address.ip() == HOST && address.port() >= FIRST_DIALLING
}

/// The slot whose port this is.
pub fn slot_at(address: SocketAddr) -> Option<usize> {
    if address.ip() == HOST && address.port() >= FIRST_DIALLING {
        return Some(usize::from(address.port() - FIRST_DIALLING));
    }
    (address.ip() == HOST && address.port() >= FIRST_PORT).then(|| usize::from(address.port() - FIRST_PORT))
}

/// Address of a caller: on this host, so that its calls count whole before they are acknowledged, as the truth has it.
pub fn phone(caller: usize) -> SocketAddr {
    SocketAddr::from(([127, 0, 113, (caller / 10_000) as u8 + 1], 10_000 + (caller % 10_000) as u16))
}

/// The caller whose phone has this address.
pub fn caller_at(address: SocketAddr) -> Option<usize> {
    let IpAddr::V4(ip) = address.ip() else { return None };
    let [127, 0, 113, block] = ip.octets() else { return None };
    Some(usize::from(block - 1) * 10_000 + usize::from(address.port()) - 10_000)
}

/// The address of a call agent. Ten of them are one host, whose transaction identifiers are all different.
pub fn agent(number: usize) -> SocketAddr {
    let host = number / 10;
    SocketAddr::from(([198, 51, (host / 256) as u8, (host % 256) as u8], 2_700 + (number % 10) as u16))
}

/// The call agent that has this address.
pub fn agent_at(address: SocketAddr) -> Option<usize> {
    let IpAddr::V4(ip) = address.ip() else { return None };
    let [198, 51, high, low] = ip.octets() else { return None };
    Some((usize::from(high) * 256 + usize::from(low)) * 10 + usize::from(address.port()) - 2_700)
}
