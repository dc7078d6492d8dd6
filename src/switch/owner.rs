//! The owner of a socket that a lane reads: a message is counted by it, and answered from its socket.

use crate::ids::{ListenerId, WorkerId};
use crate::pack::{Damaged, Pack, Packed};

/// Owner of a socket.
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
