//! A door: a UDP socket that the lane reads, either a well-known one or one of a slot that has no worker.

use crate::ids::ListenerId;
use crate::net::udp;
use crate::switch::owner::Owner;
use crate::words::Transport;

/// A socket that the lane reads.
#[derive(Debug)]
pub struct Door {
    /// The socket.
    pub socket: udp::Socket,
    /// Owner of the socket: a listener, or a slot.
    pub owner: Owner,
    /// Protocol spoken on the socket: SIP over UDP, or MGCP.
    pub transport: Transport,
    /// The well-known socket that workers answer from. For a slot's own socket it is one of the same address, because a
    /// successor may own the slot's socket by then.
    pub listener: ListenerId,
    /// Whether there may be something to read: edge-triggered readiness is remembered until a read comes back short.
    pub readable: bool,
    /// Whether it may hold datagrams that arrived before this dispatcher started. The kernel has kept their times of
    /// arrival, which the lane reads until the socket was empty once.
    pub is_inherited: bool,
    /// Datagrams read from it.
    pub received: u64,
}
