//! An answer that the dispatcher sends for a worker.

use std::net::{IpAddr, SocketAddr};

use crate::ids::ListenerId;
use crate::pack::packed;

/// Leave to have answers sent to the source of a message from a well-known socket; 0: none. It comes with the message
/// (see [`link::permits`](crate::link::permits)).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Permit(pub u64);

packed!(Permit(u64));

impl Permit {
    /// The number of bits that mean something on the link.
    const BITS: u32 = 46;

    /// The permit of these bits, as far as they have room.
    pub const fn new(bits: u64) -> Self {
        Permit(bits & ((1 << Self::BITS) - 1))
    }
}

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
    /// The permit that came with the request.
    pub permit: Permit,
    /// The answer.
    pub bytes: &'a [u8],
}
