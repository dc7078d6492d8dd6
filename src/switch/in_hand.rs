//! A message at the switch: what was read, the way on which it came, and the chain that waits for its answer.

use std::net::SocketAddr;

use super::owner::Owner;
use crate::dispatch::Incoming;
use crate::dispatch::decision::{Arrival, ChainId};
use crate::ids::{ConnId, ListenerId, ProxyId};
use crate::time::Time;
use crate::words::{ReplyTo, Transport};

/// The way of a message: the owner of the socket that it came to, and its arrival.
#[derive(Clone, Copy, Debug)]
pub struct Way {
    /// The owner of the socket.
    pub owner: Owner,
    /// The arrival.
    pub arrival: Arrival,
}

impl Way {
    /// The way of a datagram from one address to another. `listener` is the well-known socket that workers answer it
    /// from.
    pub fn of_datagram(
        owner: Owner,
        listener: ListenerId,
        transport: Transport,
        (source, local): (SocketAddr, SocketAddr),
        received: Time,
    ) -> Self {
        let reply_to = ReplyTo::Datagram;
        let (alias, certified) = (false, None);
        Way { owner, arrival: Arrival { listener, transport, reply_to, source, local, received, alias, certified } }
    }

    /// The way of a message on a connection that was accepted at `listener`, from one address to another.
    pub fn of_stream(
        connection: ConnId,
        listener: ListenerId,
        transport: Transport,
        (source, local): (SocketAddr, SocketAddr),
        received: Time,
    ) -> Self {
        let reply_to = ReplyTo::Stream(connection);
        let owner = Owner::Listener(listener);
        let (alias, certified) = (false, None);
        Way { owner, arrival: Arrival { listener, transport, reply_to, source, local, received, alias, certified } }
    }

    /// The same way, on a connection that its peer takes requests on.
    pub const fn with_alias(mut self, alias: bool) -> Self {
        self.arrival.alias = alias;
        self
    }

    /// The same way, on a connection whose peer has shown to be this downstream proxy.
    pub const fn certified_as(mut self, proxy: Option<ProxyId>) -> Self {
        self.arrival.certified = proxy;
        self
    }
}

/// A message in hand: it is decided about, and the decision is carried out.
#[derive(Clone, Copy, Debug)]
pub(super) struct InHand<'m> {
    /// The message as it was read.
    pub(super) message: Incoming<'m>,
    /// The way on which it came.
    pub(super) way: &'m Way,
    /// The MGCP commands of the same datagram that wait for its answer.
    pub(super) chain: Option<ChainId>,
    /// The time of the decision.
    pub(super) now: Time,
}
