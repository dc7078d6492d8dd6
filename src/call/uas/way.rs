//! The ways back to the sender of a request: for its response, and for our own requests.

use std::net::{IpAddr, SocketAddr};

use crate::call::exchange::{Arrival, Hop, Path, Way};
use crate::call::uas::Uas;
use crate::call::uas::heard::Heard;
use crate::call::uas::request::Request;
use crate::wire::sip::{Name, Via};
use crate::words::{ReplyFrom, ReplyTo};

impl Uas {
    /// The way that the response to a request with this topmost Via takes (RFC 3261 §18.2.2, RFC 3581 §4).
    pub(super) fn way(&self, via: Option<&Via<'_>>, arrival: &Arrival) -> Way {
        let hop = match arrival.path {
            Path::Own(socket) => Hop::Own(socket),
            Path::Stream(conn) => Hop::Stream(conn),
            Path::Handoff { reply_to, .. } if reply_to.is_through_dispatcher() => Hop::Dispatcher(reply_to),
            Path::Handoff { listener, .. }
                if self.identity.reply_from == ReplyFrom::Listener && self.has_duplicate(listener.0) =>
            {
                Hop::Listener(listener.0)
            }
            // Only where it has to be (RFC 3581 §4).
            Path::Handoff { listener, reply_to: ReplyTo::Permitted(permit), .. }
                if self.identity.reply_from == ReplyFrom::Listener && via.is_some_and(asks_for_port) =>
            {
                Hop::Permitted(listener.0, permit)
            }
            Path::Handoff { .. } => Hop::Own(self.own_socket(arrival)),
        };
        let to = back_at(hop, via, arrival.source);
        Way { hop, transport: arrival.transport, source: arrival.source, to, from: Some(self.from(hop, arrival)) }
    }

    /// The way back to the sender of a request.
    pub(super) fn way_back(&self, request: &Request<'_>, arrival: &Arrival) -> Heard {
        let Request { msg, via, .. } = request;
        let hop = match arrival.path {
            Path::Own(socket) => Hop::Own(socket),
            Path::Stream(conn) => Hop::Stream(conn),
            Path::Handoff { reply_to, .. } if reply_to.is_through_dispatcher() => Hop::Dispatcher(reply_to),
            Path::Handoff { listener, .. } if self.has_duplicate(listener.0) => Hop::Listener(listener.0),
            Path::Handoff { listener, reply_to: ReplyTo::Permitted(permit), .. } if asks_for_port(via) => {
                Hop::Permitted(listener.0, permit)
            }
            Path::Handoff { .. } => Hop::Own(self.own_socket(arrival)),
        };
        let to = back_at(hop, Some(via), arrival.source);
        let is_direct = msg.values_below(Name::Via, via.raw).next().is_none();
        Heard { hop, transport: arrival.transport, to, from: Some(self.from(hop, arrival)), is_direct }
    }

    fn own_socket(&self, arrival: &Arrival) -> u16 {
        self.identity.own_socket(self.identity.here(arrival.local.ip()))
    }

    /// The local address that messages leave from: of the dispatcher's host where it sends them, else of ours.
    fn from(&self, hop: Hop, arrival: &Arrival) -> IpAddr {
        let local = arrival.local.ip();
        if matches!(hop, Hop::Listener(_) | Hop::Permitted(..)) { local } else { self.identity.here(local) }
    }

    /// Whether we hold a duplicate of a well-known socket.
    fn has_duplicate(&self, listener: u16) -> bool {
        self.identity.duplicates.get(usize::from(listener)).copied().unwrap_or(false)
    }
}

/// Whether a copy comes from the sender of the request. A NAT binding that has changed brings it from another port of
/// the same address. A copy from another address may come from any host that has seen the request. The same is true of
/// a copy without `rport` if the request had it. Such a copy gets its own answer, and the other responses go where they
/// went.
pub(super) fn is_same_sender(copy: &Via<'_>, its: &Way, known: &Way) -> bool {
    its.source.ip() == known.source.ip() && (asks_for_port(copy) || known.to != known.source || its.to == known.to)
}

/// Whether the sender wants the answer at the port that it has sent from (RFC 3581 §3).
fn asks_for_port(via: &Via<'_>) -> bool {
    via.params().has(b"rport")
}

/// The destination of messages to the sender of a request with this Via that leave by `hop`. For a connection it is the
/// address to dial when that is gone: the source's, with the port that the Via names (RFC 3261 §18.2.2). No server
/// listens at the port that a connection comes from.
pub(super) fn back_at(hop: Hop, via: Option<&Via<'_>>, source: SocketAddr) -> SocketAddr {
    let Some(via) = via else { return source };
    if !hop.is_reliable() {
        return via.where_to(source);
    }
    SocketAddr::new(source.ip(), via.port.unwrap_or(via.default_port()))
}
