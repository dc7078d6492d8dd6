//! A door: a UDP socket that the lane reads, either a well-known one or one of a slot that has no worker.

use crate::ids::{ListenerId, WorkerId};
use crate::net::udp;

/// A socket that the lane reads.
#[derive(Debug)]
pub struct Door {
    /// The socket.
    pub socket: udp::Socket,
    /// Whose it is.
    pub owner: Owner,
    /// The well-known socket that workers answer from; for a slot's own socket one of the same address, because the
    /// slot's may have passed to a successor by then.
    pub listener: ListenerId,
    /// Whether there may be something to read: edge-triggered readiness is remembered until a read comes back short.
    pub readable: bool,
    /// Whether it may hold what came before this dispatcher: then the kernel has kept the times, and they are looked at
    /// until it was empty once.
    pub is_inherited: bool,
    /// Datagrams read from it.
    pub received: u64,
}

/// Whose socket a door is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner {
    /// A well-known socket.
    Listener(ListenerId),
    /// A slot's own socket, served by the lane while the slot has no worker.
    Vacant(WorkerId),
}
