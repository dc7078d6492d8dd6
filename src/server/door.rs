//! A door: a UDP socket that the lane reads, either a well-known one or one of a slot that has no worker.

use crate::ids::{ListenerId, WorkerId};
use crate::net::udp;
use crate::pack::{Damaged, Pack, Packed};
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

/// Owner of a door's socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner {
    /// A well-known socket.
    Listener(ListenerId),
    /// A slot's own SIP socket, served by the lane while the slot has no worker.
    Vacant(WorkerId),
    /// A slot's own MGCP socket for this listener, served by the lane in the same way.
    VacantMgcp(WorkerId, ListenerId),
}

impl Pack for Owner {
    fn pack(&self, out: &mut Vec<u8>) {
        match self {
            Owner::Listener(listener) => (0_u8, *listener).pack(out),
            Owner::Vacant(worker) => (1_u8, *worker).pack(out),
            Owner::VacantMgcp(worker, listener) => ((2_u8, *worker), *listener).pack(out),
        }
    }

    fn unpack(from: &mut Packed<'_>) -> Result<Self, Damaged> {
        match u8::unpack(from)? {
            0 => ListenerId::unpack(from).map(Owner::Listener),
            1 => WorkerId::unpack(from).map(Owner::Vacant),
            2 => <(WorkerId, ListenerId)>::unpack(from).map(|(worker, listener)| Owner::VacantMgcp(worker, listener)),
            _ => Err(Damaged("the owner of a socket")),
        }
    }

    fn layout(out: &mut String) {
        out.push_str("Owner|Listener=0|Vacant=1:u16|VacantMgcp=2:u16,u16");
    }
}
