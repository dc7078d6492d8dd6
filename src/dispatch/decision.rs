//! The vocabulary of the decision: what goes in, what comes out, and why.
//!
//! A message comes with its [`Arrival`]; a [`Decision`] goes out: a [`Target`] and a [`Reason`]. The shell is one `match`
//! over the target. What a worker gives back comes in again as [`Returned`].

use std::net::SocketAddr;

use crate::handoff::frame::{Envelope, RefuseReason, Transaction, Transport};
use crate::ids::{ConnId, Incarnation, LinkId, ListenerId, Seq, WorkerId};
use crate::pack::{Damaged, Pack, Packed, packed};
use crate::reservation::Weight;
use crate::time::Time;
use crate::wire::mgcp::{ReturnCode, TransactionId};
use crate::wire::sip::Fault;

pub use super::identity::DispatcherTag;
pub use super::mgcp::chain::ChainId;
pub use super::mgcp::gathering::GatheringId;
pub use super::pinned::Pinned;
pub use super::reason::Reason;

/// How a message came in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arrival {
    /// The well-known socket it came to.
    pub listener: ListenerId,
    /// The transport it came over.
    pub transport: Transport,
    /// The stream connection it came on; none for a datagram. Of an MGCP command that everyone has: its gathering.
    pub conn: ConnId,
    /// Where it came from.
    pub source: SocketAddr,
    /// The local address it was sent to.
    pub local: SocketAddr,
    /// When the kernel or the lane got it.
    pub received: Time,
}

/// What becomes of a message, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decision {
    /// What to do with it.
    pub target: Target,
    /// The rule that says so.
    pub reason: Reason,
}

/// What to do with a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// Hand it over to a worker.
    Worker(Handoff),
    /// Answer it: the dispatcher's own response.
    Answer(Answer),
    /// Answer it: a return code of the dispatcher's own (MGCP).
    Return(Return),
    /// Hand it over to everyone it may concern, and make one answer of theirs (MGCP): the workers come from
    /// `Dispatch::poll_everyone`.
    Everyone(GatheringId),
    /// Answer it as before, from what everyone said: see `Dispatch::gathered`.
    Gathered(GatheringId),
    /// Send one CRLF back on the stream (RFC 5626 §3.5.1).
    Pong,
    /// Nothing.
    Drop,
}

/// A handover. Everything the link needs besides the bytes and the [`Arrival`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Handoff {
    /// Who gets it.
    pub worker: WorkerId,
    /// Its number on that worker's link. Numbered here, so that ledger and link share it.
    pub seq: Seq,
    /// The units counted for it; 0 for a message that follows a call.
    pub size: u32,
    /// Whether the message names that size itself.
    pub names_size: bool,
    /// The table's entry that this message has made, or made anew. `None` for messages that find an entry: their answer
    /// starts no clock.
    pub entry: Option<EntryId>,
    /// Why the dialog stays at the well-known address, if it does (then Contact names that).
    pub pinned: Option<Pinned>,
    /// Whether a worker that died had it before.
    pub again: bool,
    /// Whether its sender is to be sent 180 before the answer to its call.
    pub ring_first: bool,
    /// Whether it belongs to something this worker has (found by identity, table or group), rather than placed by selection.
    pub follows: bool,
    /// A worker that reads it later must refuse it. `None`: never too late.
    pub deadline: Option<Time>,
    /// The workers that have had it, this one included: goes into the link's note and comes back in [`Returned`].
    pub tried: Tried,
    /// When it was first handed to a worker: goes into the note too.
    pub since: Time,
    /// How many workers have died with it: goes into the note too.
    pub deaths: u8,
}

impl Handoff {
    /// What the worker is told besides the message, which came so.
    pub const fn envelope(&self, arrival: &Arrival) -> Envelope {
        Envelope {
            seq: self.seq,
            received: arrival.received,
            deadline: self.deadline,
            conn: arrival.conn,
            size: self.size,
            names_size: self.names_size,
            listener: arrival.listener,
            transport: arrival.transport,
            pinned: self.pinned.is_some(),
            again: self.again,
            ring_first: self.ring_first,
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
    /// The To-tag to add; `None` when the request's To has one already.
    pub to_tag: Option<DispatcherTag>,
    /// Retry-After, in seconds.
    pub retry_after: Option<u32>,
    /// Whether to add Allow: see `Dispatch::allow`.
    pub allow: bool,
    /// Whether to repeat the addresses of a REGISTER, with the time they are good for.
    pub registered: bool,
    /// Whether to add Accept and its like and Supported: the answer to OPTIONS (RFC 3261 §11.2).
    pub capabilities: bool,
    /// Whether to name what the request requires as unsupported (RFC 3261 §8.2.2.3).
    pub unsupported: bool,
    /// The fault of the request: the reason phrase of a 400 says it (RFC 3261 §21.4.1).
    pub fault: Option<Fault>,
}

impl Answer {
    /// A response with nothing but its status and To-tag.
    pub const fn new(status: u16, to_tag: Option<DispatcherTag>) -> Self {
        Answer {
            status,
            to_tag,
            retry_after: None,
            allow: false,
            registered: false,
            capabilities: false,
            unsupported: false,
            fault: None,
        }
    }
}

/// A response of the dispatcher's own to a command of MGCP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Return {
    /// The return code (RFC 3435 §2.4).
    pub code: ReturnCode,
    /// The command's transaction.
    pub transaction: TransactionId,
}

/// A message that comes back from a worker: refused, or found unanswered on the link of one that died.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Returned {
    /// Why.
    pub cause: Cause,
    /// The worker that had it.
    pub from: WorkerId,
    /// Its number on that worker's link.
    pub seq: Seq,
    /// The workers that have had it.
    pub tried: Tried,
    /// When it was first handed to a worker.
    pub since: Time,
    /// How many workers have died with it, this death not included.
    pub deaths: u8,
    /// Whether it had left on the link: what never did cannot have been the death of the worker.
    pub sent: bool,
    /// Whether it was handed over as following something the worker had.
    pub follows: bool,
    /// Its entry in the table.
    pub entry: Option<EntryId>,
    /// The units it was handed over with.
    pub size: u32,
    /// Whether it names that size itself.
    pub names_size: bool,
}

impl Returned {
    /// The size it was handed over with.
    pub(super) const fn weight(&self) -> Weight {
        Weight { units: self.size, named: self.names_size }
    }
}

/// Why a message comes back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// The worker said so.
    Refused(RefuseReason),
    /// The worker died. Said only once its link has been read to the end.
    Died,
}

/// A worker is there: a child that said Hello, or one that came back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Joined {
    /// This life of it.
    pub incarnation: Incarnation,
    /// Its links.
    pub link: LinkId,
    /// Its capacity in units.
    pub capacity: u32,
    /// What it serves.
    pub services: Services,
    /// Its own SIP ports. An unspecified address stands for every address of this host.
    pub addresses: Vec<SocketAddr>,
    /// Its own MGCP ports.
    pub mgcp: Vec<SocketAddr>,
}

impl Joined {
    /// A worker that serves SIP alone.
    pub const fn sip(incarnation: Incarnation, capacity: u32, addresses: Vec<SocketAddr>) -> Self {
        Joined { incarnation, link: LinkId(0), capacity, services: Services::SIP, addresses, mgcp: Vec::new() }
    }
}

/// What a message is written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Protocol {
    /// SIP.
    Sip,
    /// MGCP.
    Mgcp,
}

impl Protocol {
    /// How many there are.
    pub const COUNT: usize = 2;
    /// All of them.
    pub const ALL: [Protocol; Protocol::COUNT] = [Protocol::Sip, Protocol::Mgcp];
}

/// What a worker serves: it gets nothing else.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Services {
    /// SIP.
    pub sip: bool,
    /// MGCP.
    pub mgcp: bool,
}

impl Services {
    /// SIP alone.
    pub const SIP: Services = Services { sip: true, mgcp: false };
    /// MGCP alone.
    pub const MGCP: Services = Services { sip: false, mgcp: true };
    /// Both.
    pub const ALL: Services = Services { sip: true, mgcp: true };

    /// What these names say; others say nothing.
    pub fn named(names: &[String]) -> Services {
        let has = |name: &str| names.iter().any(|it| it == name);
        Services { sip: has("sip"), mgcp: has("mgcp") }
    }

    /// Whether it serves this.
    pub const fn has(self, protocol: Protocol) -> bool {
        match protocol {
            Protocol::Sip => self.sip,
            Protocol::Mgcp => self.mgcp,
        }
    }

    /// Whether it serves nothing at all.
    pub const fn is_empty(self) -> bool {
        !self.sip && !self.mgcp
    }
}

/// What a worker has when it comes back from an earlier dispatcher. Empty for one that is new.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Brought {
    /// Units of the sessions it has.
    pub units_used: u32,
    /// Sessions it has.
    pub sessions: u32,
    /// Whether the operator had it drain: the word outlives the dispatcher it was said to.
    pub draining: bool,
    /// Transactions whose messages may still come.
    pub transactions: Vec<Transaction>,
    /// Conferences: since when, and their names.
    pub conferences: Vec<(Time, Box<[u8]>)>,
    /// Messages that it has not answered.
    pub messages: Vec<Unanswered>,
}

/// A message that a worker has not answered, as it was handed over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unanswered {
    /// How it came.
    pub envelope: Envelope,
    /// The message, byte for byte as it was received.
    pub payload: Box<[u8]>,
}

/// What the operator wants of a worker.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Admin {
    /// It takes new work.
    #[default]
    Ready,
    /// It finishes what it has.
    Drain,
    /// It is left alone: someone works on it.
    Maint,
}

/// What a worker is seen to be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Operational {
    /// There is no process.
    #[default]
    Down,
    /// A process has been started and has not said Hello.
    Starting,
    /// It works.
    Up,
    /// Its link is open and it has not been heard of for too long: it keeps its calls, and gets nothing new.
    Silent,
}

/// An entry of the table. The generation tells an entry from an earlier one in the same place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct EntryId {
    /// Its place in the slab.
    pub index: u32,
    /// How often the place had been used before.
    pub generation: u32,
}

/// What a link can still take. What is worse is greater.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Room {
    /// Everything.
    #[default]
    All,
    /// Of new calls only those from sources that wait for less than their fair share; and what follows a call.
    Scarce,
    /// Only messages that follow a call (CANCEL, ACK, BYE): they have a reserve.
    Following,
    /// Nothing.
    None,
}

impl Room {
    /// Whether it takes new calls, of some sources at least.
    pub const fn takes_new(self) -> bool {
        matches!(self, Room::All | Room::Scarce)
    }
}

/// The workers that have had a message already; each gets it once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tried {
    workers: [WorkerId; Tried::LIMIT],
    count: u8,
}

packed!(Services { sip, mgcp });
packed!(Admin as Ready = 0, Drain = 1, Maint = 2);
packed!(Operational as Down = 0, Starting = 1, Up = 2, Silent = 3);
packed!(Room as All = 0, Scarce = 1, Following = 2, None = 3);
packed!(EntryId { index, generation });

impl Pack for Tried {
    fn pack(&self, out: &mut Vec<u8>) {
        self.as_slice().to_vec().pack(out);
    }

    fn unpack(from: &mut Packed<'_>) -> Result<Self, Damaged> {
        let mut tried = Tried::default();
        let all = <Vec<WorkerId>>::unpack(from)?;
        if all.into_iter().all(|worker| tried.add(worker)) { Ok(tried) } else { Err(Damaged("too many workers tried")) }
    }

    fn layout(out: &mut String) {
        out.push_str("Tried");
    }
}

impl Tried {
    /// After this many workers the caller gets its answer: a busy signal beats a long search.
    pub const LIMIT: usize = 8;

    /// Adds a worker; false when the limit is reached.
    pub fn add(&mut self, worker: WorkerId) -> bool {
        let Some(place) = self.workers.get_mut(usize::from(self.count)) else { return false };
        *place = worker;
        self.count += 1;
        true
    }

    /// Whether no further worker may be tried.
    pub const fn is_full(&self) -> bool {
        self.count as usize == Tried::LIMIT
    }

    /// The workers, first tried first.
    pub fn as_slice(&self) -> &[WorkerId] {
        &self.workers[..usize::from(self.count)]
    }

    /// Whether `worker` has had it.
    pub fn contains(&self, worker: WorkerId) -> bool {
        self.as_slice().contains(&worker)
    }
}
