//! The outputs of the worker of an external gateway.

use std::sync::Arc;

use crate::call::exchange::{Arrival, Egress, Hop, Path, Transmit};
use crate::ids::Seq;
use crate::time::Time;
use crate::words::RefuseReason;

/// An output of the worker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Send this to a call agent.
    Transmit(Transmit),
    /// Send this to the gateway.
    Gateway(Arc<[u8]>),
    /// A handed-over message is dealt with: its final response has left, or none is needed.
    Answered(Seq),
    /// A handed-over message goes back to the dispatcher; the gateway has not seen it.
    Refuse(Seq, RefuseReason),
    /// The first connection of this call id was asked for at this time: the group `C:` + id is this worker's from then
    /// on.
    CallOpened(Box<[u8]>, Time),
    /// The last connection of this call id is gone, or none has come about.
    CallClosed(Box<[u8]>),
}

impl Egress {
    /// The way back for a message. The answer leaves from the port that the message came to; if the dispatcher gathers
    /// the answers of several workers, it goes to the dispatcher.
    pub(super) fn of(arrival: &Arrival) -> Self {
        let hop = match arrival.path {
            Path::Handoff { reply_to, .. } if reply_to.is_through_dispatcher() => Hop::Dispatcher(reply_to),
            Path::Handoff { listener, .. } => Hop::Listener(listener.0),
            Path::Own(number) => Hop::Own(number),
            Path::Stream(conn) => Hop::Stream(conn),
        };
        Egress { hop, from: Some(arrival.local.ip()) }
    }

    /// Whether a message of the gateway's own can go this way as well. A gathering at the dispatcher cannot take one:
    /// it ends with the answer.
    pub(super) const fn lasts(self) -> bool {
        !matches!(self.hop, Hop::Dispatcher(_))
    }
}
