//! The owner of a socket that a lane reads: a message is counted by it, and answered from its socket.

use crate::ids::{ListenerId, WorkerId};
use crate::pack::packed;

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

packed!(Owner as Listener(listener) = 0, Vacant(worker) = 1, VacantMgcp(worker, listener) = 2);
