//! An answer that the dispatcher sends for a worker.

use std::net::{IpAddr, SocketAddr};

use crate::ids::ListenerId;

/// An answer in a datagram that has to leave from a well-known socket, of which a worker on another host has no
/// duplicate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dispatched<'a> {
    /// The well-known socket.
    pub listener: ListenerId,
    /// The destination.
    pub to: SocketAddr,
    /// The local address that it leaves from: the one that the request was sent to.
    pub from: IpAddr,
    /// The answer.
    pub bytes: &'a [u8],
}
