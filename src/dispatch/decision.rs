//! The vocabulary of the decision: its input, its output, and the reasons.
//!
//! A message comes with its [`Arrival`]; a [`Decision`] goes out: a [`Target`] and a [`Reason`]. The shell is one
//! `match` over the target. A message that a worker gives back comes in again as
//! [`Returned`](super::returned::Returned).

use std::net::SocketAddr;

use crate::ids::{GatheringId, ListenerId, ProxyId, Seq, WorkerId};
use crate::pack::packed;
use crate::time::Time;
use crate::wire::mgcp::{ReturnCode, TransactionId};
use crate::wire::sip::Fault;
use crate::words::{Envelope, ReplyTo, Transport};

pub use super::forward::{Forward, ForwardedResponse, OwnRoutes, Redirect, Routes};
pub use super::identity::DispatcherTag;
pub use super::joined::{Brought, Joined, Protocol, Services, Unanswered};
pub use super::mgcp::chain::ChainId;
pub use super::reason::Reason;
pub use super::search::{Search, Tried};
pub use super::sip::Pinned;
pub use crate::transaction::flow_token::{Hop, Side};
pub use crate::words::Room;

/// The way on which a message came in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arrival {
    /// The well-known socket it came to.
    pub listener: ListenerId,
    /// The transport it came over.
    pub transport: Transport,
    /// The way back of its answer.
    pub reply_to: ReplyTo,
    /// The address of its source.
    pub source: SocketAddr,
    /// The local address it was sent to.
    pub local: SocketAddr,
    /// When the kernel or the lane received it.
    pub received: Time,
    /// Whether its sender takes requests on the connection that it came on, and has shown that it has the name in its
    /// Via (RFC 5923).
    pub alias: bool,
    /// The downstream proxy that its sender has shown to be, by a certificate for the name of that one.
    pub certified: Option<ProxyId>,
}

packed!(Arrival { listener, transport, reply_to, source, local, received, alias, certified });

impl Arrival {
    /// The way on which a message came that was handed over with this envelope.
    pub const fn of(envelope: &Envelope) -> Self {
        let &Envelope { listener, transport, reply_to, source, local, received, alias, .. } = envelope;
        Arrival { listener, transport, reply_to, source, local, received, alias, certified: None }
    }
}

/// The decision about a message, with its reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decision {
    /// The action to take.
    pub target: Target,
    /// The rule that led to it.
    pub reason: Reason,
}

/// An action on a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// Hand it over to a worker.
    Worker(Handoff),
    /// Answer it with a response of the dispatcher's own.
    Answer(Answer),
    /// Answer it with a return code of the dispatcher's own (MGCP).
    Return(Return),
    /// Hand it over to every worker that it may concern, and merge their answers into one (MGCP):
    /// `Dispatch::poll_everyone` gives the workers.
    Everyone(GatheringId),
    /// Send the merged answer of all workers again: see `Dispatch::gathered`.
    Gathered(GatheringId),
    /// Forward it to a downstream proxy.
    Forward(Forward),
    /// Forward a response to the sender of its request.
    ForwardResponse(ForwardedResponse),
    /// Answer it with the addresses of downstream proxies (302), which `Dispatch::redirected` gives, and this To-tag.
    Redirect(DispatcherTag),
    /// Pass on a response to a request under way, see `Dispatch::poll_leaving`: that of this side, of this proxy's
    /// dialog.
    Passed(ProxyId, Side),
    /// Keep it until the name that it goes to has been looked up: see `Dispatch::poll_look_up`. It comes from this
    /// proxy.
    Waits(ProxyId),
    /// Give this response to the prober, whose request it answers.
    Prober,
    /// Do nothing.
    Drop,
}

/// A handover. Everything the link needs besides the bytes and the [`Arrival`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Handoff {
    /// The worker that gets it.
    pub worker: WorkerId,
    /// Its number on that worker's link. It is given here, so that ledger and link use the same number.
    pub seq: Seq,
    /// The units counted for it; 0 for a message that follows a call.
    pub size: u32,
    /// Whether the message itself names that size.
    pub names_size: bool,
    /// The table entry that this message has made, or made anew. `None` for messages that find an entry: the answer to
    /// them starts no clock.
    pub entry: Option<EntryId>,
    /// Why the dialog stays at the well-known address, if it does (then Contact names that address).
    pub pinned: Option<Pinned>,
    /// Whether a worker that died had the message before.
    pub again: bool,
    /// Whether the worker is to send the caller 180 before its answer to the call.
    pub ring_first: bool,
    /// Whether it belongs to a call or transaction that this worker has (found by identity, table or group), rather
    /// than being placed by selection.
    pub follows: bool,
    /// A worker that reads the message later than this must refuse it. `None`: it is never too late.
    pub deadline: Option<Time>,
    /// The search for a worker so far, this worker included. It is part of the link's note, and comes back with the
    /// message.
    pub search: Search,
}

impl Handoff {
    /// The information that the worker gets with the message, which arrived so.
    pub const fn envelope(&self, arrival: &Arrival) -> Envelope {
        Envelope {
            seq: self.seq,
            received: arrival.received,
            deadline: self.deadline,
            reply_to: arrival.reply_to,
            size: self.size,
            names_size: self.names_size,
            listener: arrival.listener,
            transport: arrival.transport,
            pinned: self.pinned.is_some(),
            again: self.again,
            ring_first: self.ring_first,
            alias: arrival.alias,
            follows: self.follows,
            source: arrival.source,
            local: arrival.local,
        }
    }
}

/// A response of the dispatcher's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// The To-tag to add; `None` if the request's To has one already.
    pub to_tag: Option<DispatcherTag>,
    /// Retry-After, in seconds.
    pub retry_after: Option<u32>,
    /// The headers and the reason phrase that belong to it alone.
    pub says: Says,
    /// Whether it tells the load of the workers: the request asks for it.
    pub tells_load: bool,
}

impl Answer {
    /// A response with nothing but its status and To-tag.
    pub const fn new(status: u16, to_tag: Option<DispatcherTag>) -> Self {
        Answer { status, to_tag, retry_after: None, says: Says::Nothing, tells_load: false }
    }
}

/// The text of an answer beside its status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Says {
    /// Nothing more.
    Nothing,
    /// Allow: see `Dispatch::allow`.
    Allow,
    /// Allow, Supported, Accept and the other headers of its kind: the answer to OPTIONS (RFC 3261 §11.2).
    Capabilities,
    /// The addresses of a REGISTER, with the time for which they are good.
    Registered,
    /// The options that the request requires and no worker supports (RFC 3261 §8.2.2.3).
    Unsupported,
    /// The options that the request requires of proxies (RFC 3261 §16.3).
    ProxyUnsupported,
    /// A Warning that requests for `sips:` URIs do not travel on (RFC 5630 §5.3).
    SipsNotAllowed,
    /// The fault of the request: the reason phrase of a 400 names it (RFC 3261 §21.4.1).
    Fault(Fault),
}

/// A response of the dispatcher's own to a command of MGCP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Return {
    /// The return code (RFC 3435 §2.4).
    pub code: ReturnCode,
    /// The command's transaction.
    pub transaction: TransactionId,
}

/// The operator's order for a worker.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Admin {
    /// It takes new work.
    #[default]
    Ready,
    /// It finishes the work that it has.
    Drain,
    /// It is left alone: the operator works on it.
    Maint,
}

/// The operational state of a worker, as the dispatcher sees it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Operational {
    /// There is no process, or it has not sent `Hello`.
    #[default]
    Down,
    /// It works.
    Up,
    /// Its link is open, and it has not been heard of for too long: it keeps its calls and gets nothing new.
    Silent,
}

/// An entry of the table. The generation tells an entry from an earlier one in the same place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct EntryId {
    /// Its place in the slab.
    pub index: u32,
    /// Number of times that the place had been used before.
    pub generation: u32,
}

packed!(Admin as Ready = 0, Drain = 1, Maint = 2);
packed!(Operational as Down = 0, Up = 2, Silent = 3);
packed!(EntryId { index, generation });
