//! The vocabulary of the user agent: its inputs beside messages, and all its outputs.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use crate::ids::{ListenerId, Seq};
use crate::names::Question;
use crate::reservation::Weight;
use crate::slab::handle;
use crate::time::Time;
use crate::wire::sip::Scanner;
use crate::words::{Envelope, Permit, RefuseReason, ReplyTo, Transport};

handle! {
    /// A call of this worker, from its INVITE to its end. Never reused for another call.
    pub struct CallKey;
}

handle! {
    /// A request outside calls that the application is to answer.
    pub struct StandaloneKey;
}

handle! {
    /// A request of ours that waits for the address of its next hop.
    pub struct ResolveKey;
}

/// The circumstances in which a message came to this worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arrival {
    /// The way on which it came.
    pub path: Path,
    /// The transport it came over.
    pub transport: Transport,
    /// The source address.
    pub source: SocketAddr,
    /// The local address it was sent to.
    pub local: SocketAddr,
    /// The units of the session it opens, if it opens one.
    pub size: u32,
    /// Whether it names that size itself: if it begins a conference, that many units are reserved for the conference.
    pub names_size: bool,
    /// Whether the source can reach the well-known address only.
    pub pinned: bool,
    /// Whether the dispatcher placed it here because of a call we have, and not by selection: then we answer it,
    /// whatever the load.
    pub follows: bool,
    /// Whether a worker had it before and died: its sender may have an answer from that worker.
    pub again: bool,
    /// Whether its sender is to be sent 180 before the answer to its call.
    pub ring_first: bool,
    /// Whether its sender takes requests on this connection, and has shown that it has the name in its Via (RFC 5923).
    pub alias: bool,
    /// When the dispatcher read it; `None`: it came straight to our own socket.
    pub received: Option<Time>,
    /// When it must be given back instead of answered.
    pub deadline: Option<Time>,
}

impl Arrival {
    /// A message that the dispatcher handed over.
    pub fn handed_over(envelope: &Envelope) -> Self {
        Arrival {
            path: Path::Handoff { seq: envelope.seq, listener: envelope.listener, reply_to: envelope.reply_to },
            transport: envelope.transport,
            source: envelope.source,
            local: envelope.local,
            size: envelope.size,
            names_size: envelope.names_size,
            pinned: envelope.pinned,
            follows: envelope.follows,
            again: envelope.again,
            ring_first: envelope.ring_first,
            alias: envelope.alias,
            received: Some(envelope.received),
            deadline: envelope.deadline,
        }
    }

    /// A datagram on this worker's own socket number `socket`. It opens a session of `size` units if it opens one.
    pub fn own(socket: u16, source: SocketAddr, local: SocketAddr, size: u32) -> Self {
        Arrival {
            path: Path::Own(socket),
            transport: Transport::Udp,
            source,
            local,
            size,
            pinned: false,
            follows: false,
            again: false,
            ring_first: false,
            alias: false,
            names_size: false,
            received: None,
            deadline: None,
        }
    }

    /// A message on a stream connection of this worker, from one address to another.
    pub fn stream(conn: u64, transport: Transport, (source, local): (SocketAddr, SocketAddr), size: u32) -> Self {
        Arrival { path: Path::Stream(conn), transport, ..Arrival::own(0, source, local, size) }
    }

    /// The same message with this session weight.
    pub const fn weighing(self, weight: Weight) -> Self {
        Arrival { size: weight.units, names_size: weight.named, ..self }
    }

    /// The size of the session it opens.
    pub(super) const fn weight(&self) -> Weight {
        Weight { units: self.size, named: self.names_size }
    }

    pub(super) const fn seq(&self) -> Option<Seq> {
        match self.path {
            Path::Handoff { seq, .. } => Some(seq),
            Path::Own(_) | Path::Stream(_) => None,
        }
    }
}

/// The way a message came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Path {
    /// Over the link from the dispatcher.
    Handoff {
        /// Its number on the link.
        seq: Seq,
        /// The well-known socket it came to.
        listener: ListenerId,
        /// The way back of its answer.
        reply_to: ReplyTo,
    },
    /// Our own UDP socket of this number.
    Own(u16),
    /// A stream connection that we hold.
    Stream(u64),
}

/// The way bytes leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hop {
    /// Our own UDP socket of this number.
    Own(u16),
    /// The duplicate of the well-known UDP socket of this number.
    Listener(u16),
    /// The well-known UDP socket of this number at the dispatcher's host, by this permit.
    Permitted(u16, Permit),
    /// A stream connection that we hold.
    Stream(u64),
    /// The dispatcher, which passes the bytes on.
    Dispatcher(ReplyTo),
    /// A TCP connection to the address, opened if there is none.
    Dial,
    /// The same over TLS: the called side has to show a certificate for [`Transmit::peer`].
    DialSecure,
    /// Nowhere: the connection is gone, and its peer can only come back by itself.
    Gone,
}

impl Hop {
    /// Whether the transport retransmits by itself (RFC 3261 §17: timers A, E, G, I, J, K are zero then).
    pub const fn is_reliable(self) -> bool {
        !matches!(self, Hop::Own(_) | Hop::Listener(_) | Hop::Permitted(..))
    }

    /// Whether it opens a connection where there is none.
    pub(super) const fn is_dialled(self) -> bool {
        matches!(self, Hop::Dial | Hop::DialSecure)
    }

    /// Whether it is a connection that the dispatcher holds. The next dispatcher has others with the same numbers.
    pub(super) const fn is_dispatchers_connection(self) -> bool {
        matches!(self, Hop::Dispatcher(ReplyTo::Stream(_)))
    }

    /// Whether both are one connection, ours or the dispatcher's.
    pub(super) const fn is_on(self, connection: Hop) -> bool {
        match (self, connection) {
            (Hop::Dispatcher(to), Hop::Dispatcher(connection)) => to.is_same_connection(connection),
            (Hop::Stream(conn), Hop::Stream(connection)) => conn == connection,
            _ => false,
        }
    }

    /// The way to the peer of a connection that is gone. A browser takes no connections (RFC 7118 §5).
    pub(super) const fn without_connection(transport: Transport) -> Hop {
        match transport {
            Transport::Tcp => Hop::Dial,
            Transport::Tls => Hop::DialSecure,
            _ => Hop::Gone,
        }
    }
}

/// The socket by which bytes leave, whatever their destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Egress {
    /// The way on which they leave.
    pub hop: Hop,
    /// The local address they must leave from, on sockets bound to all addresses.
    pub from: Option<IpAddr>,
}

impl Egress {
    /// Bytes that leave by it.
    pub const fn transmit(self, to: SocketAddr, bytes: Arc<[u8]>) -> Transmit {
        Transmit { hop: self.hop, to, peer: None, from: self.from, bytes }
    }
}

/// Bytes to send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transmit {
    /// The way on which they leave.
    pub hop: Hop,
    /// The destination address.
    pub to: SocketAddr,
    /// The name, or address, that the called side has to show a certificate for; for [`Hop::DialSecure`] alone.
    pub peer: Option<Arc<str>>,
    /// The local address they must leave from, on sockets bound to all addresses.
    pub from: Option<IpAddr>,
    /// The message.
    pub bytes: Arc<[u8]>,
}

/// The way a response takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Way {
    pub(super) hop: Hop,
    /// The transport that the request came over.
    pub(super) transport: Transport,
    /// The source of the request, for `received` and `rport`.
    pub(super) source: SocketAddr,
    pub(super) to: SocketAddr,
    pub(super) from: Option<IpAddr>,
}

impl Way {
    pub(super) fn transmit(&self, bytes: &Arc<[u8]>) -> Output {
        let Way { hop, to, from, .. } = *self;
        // The peer is whom its Via says (RFC 3261 §18.2.2, RFC 5922 §4).
        let sent_by = || Scanner::new().scan(bytes).ok()?.via().and_then(|via| via.host.name());
        let peer = if hop == Hop::DialSecure { sent_by().map(Arc::from) } else { None };
        Output::Transmit(Transmit { hop, to, peer, from, bytes: bytes.clone() })
    }
}

/// An output of the user agent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Send this.
    Transmit(Transmit),
    /// Tell the application.
    Event(CallKey, Event),
    /// The application is to answer this request, which begins no call: read it with
    /// [`crate::call::Uas::with_standalone`], answer it with [`crate::call::Uas::answer_standalone`], now or within 32
    /// s.
    Standalone(StandaloneKey),
    /// The final answer to a handed-over message; it precedes the [`Output::Answered`] of the message.
    Final {
        /// The message.
        seq: Seq,
        /// The status of the final response.
        status: u16,
        /// The reason, if one is known.
        why: Option<Box<str>>,
    },
    /// A handed-over message is dealt with: its final response has left, or none is needed.
    Answered(Seq),
    /// A handed-over message goes back to the dispatcher; nothing of it has been answered.
    Refuse(Seq, RefuseReason),
    /// Look up the places of a host, then call [`crate::call::Uas::on_resolved`].
    Resolve(ResolveKey, Question),
}

/// An event of a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A new call. Decide with `ring`, `accept`, `reject` or `refuse`, now or later; the INVITE can be read with
    /// [`crate::call::Uas::with_invite`] until then.
    Incoming {
        /// The peer's offer, if the INVITE carried one; without it `accept` takes our offer.
        offer: Option<Box<[u8]>>,
        /// The call that it replaces (RFC 3891). That call is hung up when this one is accepted.
        replaces: Option<CallKey>,
    },
    /// The peer has acknowledged our 2xx: the call stands.
    Established,
    /// The peer wants to change the session. Answer with `answer_offer` or `reject_offer`, now or later.
    Offer(Box<[u8]>),
    /// The peer wants an offer of ours within the session: a re-INVITE without one (RFC 3261 §14.2). Give one with
    /// `answer_offer`, as for a new call, repeat the last with `offer_again`, or refuse with `reject_offer`, now or
    /// later.
    OfferWanted,
    /// The peer's answer to an offer of ours.
    Answer(Box<[u8]>),
    /// The peer sent an INFO; it has been answered with 200.
    Info {
        /// Its media type; empty when it had none.
        content_type: Box<[u8]>,
        /// Its body.
        body: Box<[u8]>,
    },
    /// The call is over, and its key with it.
    Ended(EndReason),
}

/// The reason for which a call ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EndReason {
    /// The peer sent BYE.
    PeerHungUp,
    /// The application hung up.
    HungUp,
    /// The peer sent CANCEL before there was a final response.
    Cancelled,
    /// The application rejected it with this status.
    Rejected(u16),
    /// The call was given back to the dispatcher.
    Refused(RefuseReason),
    /// The INVITE's `Expires` ran out before there was a final response (RFC 3261 §13.3.1).
    InviteExpired,
    /// No ACK came for our 2xx within 64·T1 (RFC 3261 §13.3.1.4).
    NoAck,
    /// No PRACK came for a reliable provisional response within 64·T1 (RFC 3262 §3).
    NoPrack,
    /// The ACK brought no answer to the offer in our 2xx (RFC 3261 §13.2.2.4).
    NoAnswer,
    /// The session was not refreshed in time (RFC 4028 §10).
    SessionExpired,
    /// The peer answered a refresh with this status: it does not know the call any more.
    RefreshFailed(u16),
    /// Another call replaced it (RFC 3891).
    Replaced,
}

impl EndReason {
    /// A stable name for logs and counters.
    pub const fn label(self) -> &'static str {
        match self {
            EndReason::PeerHungUp => "peer-hung-up",
            EndReason::HungUp => "hung-up",
            EndReason::Cancelled => "cancelled",
            EndReason::Rejected(_) => "rejected",
            EndReason::Refused(_) => "refused",
            EndReason::InviteExpired => "invite-expired",
            EndReason::NoAck => "no-ack",
            EndReason::NoPrack => "no-prack",
            EndReason::NoAnswer => "no-answer",
            EndReason::SessionExpired => "session-expired",
            EndReason::RefreshFailed(_) => "refresh-failed",
            EndReason::Replaced => "replaced",
        }
    }
}

/// The load of a worker, in absolute numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Load {
    /// Units of the calls it has.
    pub units_used: u32,
    /// Calls it has, without those that only wait for the answer to a BYE.
    pub sessions: u32,
    /// Initial INVITEs that came to its own port, since its start.
    pub direct: u64,
    /// Calls answered with 2xx, since its start.
    pub answered: u64,
}
