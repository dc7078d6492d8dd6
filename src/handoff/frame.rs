//! The handoff format: the bytes that travel between the dispatcher and a worker.
//!
//! # Compatibility rule
//!
//! The major version stands in every frame; an end that reads another major version closes the link with `Goodbye`.
//! Within a major version nothing changes its place. Additions are allowed: record kinds (a reader skips kinds it does
//! not know), fields after the fixed part of a record (each record states the length of its fixed part; a reader takes
//! the fields it knows and skips the rest), bits in a `flags` field, members in a JSON body (unknown ones are skipped).
//!
//! # Frame
//!
//! On a Unix link one frame is one `SOCK_SEQPACKET` message; on a stream link frames follow each other. All numbers are
//! little-endian.
//!
//! ```text
//! 0  u16  0x4d50 ("PM")        2  u8  major version, 1      3  u8  reserved, 0
//! 4  u32  length of the frame in bytes, these 8 included
//! 8  …    records
//! ```
//!
//! # Record
//!
//! ```text
//! 0  u8   kind                 1  u8  reserved, 0           2  u16 length of the fixed part in bytes, F
//! 4  u32  length of the record in bytes, these 8 included
//! 8  …    fixed part (F bytes)      8+F  …  variable part (the rest)
//! ```
//!
//! | kind | name | from | fixed part | variable part |
//! |---|---|---|---|---|
//! | 1 | [`Welcome`] | dispatcher | – | JSON; descriptors ride beside it (SCM_RIGHTS) in the order of `sockets` |
//! | 2 | [`Message`] | dispatcher | see [`Message`] | the message as it was received |
//! | 3 | [`Drain`] | dispatcher | u8 mode, 7 reserved, u64 milliseconds left | – |
//! | 4 | `Query` | dispatcher | – (asks for a [`Report`] at once) | – |
//! | 5 | `Ping` | dispatcher | u64 number | – |
//! | 6 | `Goodbye` | both | – | reason, UTF-8; the sender closes the link |
//! | 7 | `Access` | dispatcher | u16 bytes an entry, 6 reserved | entries, see [`AccessRule`]: they replace those of the welcome |
//! | 65 | [`Hello`] | worker | – | JSON |
//! | 66 | [`Report`] | worker | see [`Report`] | – |
//! | 67 | `Answered` | worker | – | u64 sequence numbers: their first final response has left, or none will |
//! | 68 | `Refuse` | worker | u64 sequence, u8 reason, 7 reserved | – |
//! | 69 | `Reply` | worker | u64 connection id | the bytes to write to that connection, or the answer that is gathered for it |
//! | 70 | – | worker | u64 sequence, 8 reserved | – (written no more; read as a `Refuse` of reason 255) |
//! | 71 | `Release` | worker | – | 16-byte branch fingerprints of [`Transaction`]s it came back with: their final response has left |
//! | 72 | `GroupOpen` | worker | u64 opened (µs, monotonic) | group name |
//! | 73 | `GroupClosed` | worker | – | group name |
//! | 74 | `Pong` | worker | u64 number | – |
//! | 75 | `Holding` | worker | u16 bytes an entry, 6 reserved | entries, see [`Transaction`] |
//! | 76 | `Outcome` | worker | u64 sequence, u16 status, 6 reserved | UTF-8: why, where there is something to say |
//! | 77 | `Unanswered` | worker | as [`Message`] | a message that it has not answered, as an earlier dispatcher received it |
//! | 128 | [`Takeover`] | both dispatchers | – | JSON; descriptors ride beside it |
//!
//! # Coming back
//!
//! A worker in a slot outlives its dispatcher. It connects to the next one with a `Hello` that names slot, incarnation
//! and secret and says how much work it has. Its sockets come with that frame, in the order of `sockets`. Then follow
//! as many `Holding` entries, `GroupOpen` and `Unanswered` records as the `Hello` says. Only after them comes the
//! `Welcome`, with the same incarnation and token. Sequence numbers begin at 1 again; those of the earlier link mean
//! nothing any more. So messages that the worker has read there and not answered are named by their transactions.
//!
//! An `Unanswered` INVITE exists at both ends again: the dispatcher keeps it until the transaction's `Release`, and if
//! the worker dies before that, the next worker gets it. Its listener is given by the worker's number for it, as in
//! `sockets`.

pub mod mgcp;
pub mod takeover;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::ids::{ConnId, ListenerId, Seq, TokenKey};
use crate::time::Time;

pub use mgcp::{Bypass, Mgcp, MgcpListener};
pub use takeover::Takeover;

/// The major version both ends must share.
pub const VERSION: u8 = 1;
/// A frame is flushed before the next record would make it longer than this.
pub const FRAME_SOFT_LIMIT: usize = 64 * 1024;
/// No frame is larger; a reader's buffer has this size.
pub const FRAME_HARD_LIMIT: usize = 72 * 1024;
/// The largest message that can be handed over: a UDP datagram's 65,535 bytes.
pub const MESSAGE_LIMIT: usize = 65_535;
/// The bytes in front of a frame's records.
pub const FRAME_HEADER: usize = 8;
/// The bytes in front of each record's fixed part.
pub const RECORD_HEADER: usize = 8;
/// The bytes in front of a [`Message`] record's payload: record header and fixed part.
pub const MESSAGE_HEADER: usize = RECORD_HEADER + MESSAGE_FIXED;

const MAGIC: u16 = 0x4d50;
const MESSAGE_FIXED: usize = 84;
const REPORT_FIXED: usize = 64;

/// A worker introduces itself: the first record on a link.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
pub struct Hello {
    /// The slot it takes (`w2`), or a name of its own choice for a worker that the dispatcher did not start.
    pub name: Option<String>,
    /// The secret from an earlier [`Welcome`], if the worker comes back to a slot.
    pub secret: Option<u64>,
    /// The incarnation from an earlier [`Welcome`], if the worker comes back to a slot.
    pub incarnation: Option<u64>,
    /// Program and version, for people.
    pub program: String,
    /// Its process id.
    pub pid: u32,
    /// Capacity units it has in all; if absent, the dispatcher's setting.
    pub capacity: Option<u32>,
    /// The protocols that it serves: `sip`, `mgcp`.
    pub services: Vec<String>,
    /// Ports it has bound itself; empty if it wants the slot's sockets.
    pub ports: Vec<Port>,
    /// Whether it wants duplicates of the well-known sockets to answer from.
    pub wants_listeners: bool,
    /// Number of links it serves, this one included: a dispatcher with several lanes has one for each.
    pub links: u16,
    /// Names of the conferences it has.
    pub groups: Vec<String>,
    /// The descriptors that come with this record, in their order: a slot's worker that comes back gives the slot's
    /// sockets and its duplicates of the well-known ones to the new dispatcher. Sockets of other workers are not taken.
    pub sockets: Vec<PassedSocket>,
    /// The key from an earlier [`Welcome`], if the worker comes back to a slot. A dispatcher that has lost its own key
    /// takes it.
    pub key: Option<TokenKey>,
    /// Units of the sessions it has.
    pub units_used: u32,
    /// Sessions it has.
    pub sessions: u32,
    /// Whether the operator has it drain.
    pub draining: bool,
    /// [`Transaction`]s that follow in `Holding` records.
    pub transactions: u32,
    /// Conferences that follow in `GroupOpen` records.
    pub conferences: u32,
    /// Messages that follow in `Unanswered` records.
    pub messages: u32,
}

impl Default for Hello {
    fn default() -> Self {
        Hello {
            name: None,
            secret: None,
            incarnation: None,
            program: String::new(),
            pid: 0,
            capacity: None,
            services: vec!["sip".to_owned()],
            ports: Vec::new(),
            wants_listeners: true,
            links: 1,
            groups: Vec::new(),
            sockets: Vec::new(),
            key: None,
            units_used: 0,
            sessions: 0,
            draining: false,
            transactions: 0,
            conferences: 0,
            messages: 0,
        }
    }
}

/// A port that a worker serves.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Port {
    /// `sip` or `mgcp`.
    pub service: String,
    /// The address it is bound to.
    pub address: SocketAddr,
}

/// The dispatcher accepts a worker.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Welcome {
    /// The worker's name: `w2`.
    pub name: String,
    /// The slot's number.
    pub slot: u16,
    /// The worker's token as it must stand at the front of its tags, branches, nonces and ETags.
    pub token: String,
    /// This life of the worker; named again in the `Hello` of a re-attachment.
    pub incarnation: u64,
    /// Proof for a later re-attachment to the same slot.
    pub secret: u64,
    /// The key that tokens are checked and transactions are fingerprinted with; only for the slots' own workers.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub key: Option<TokenKey>,
    /// Capacity units the dispatcher counts with.
    pub capacity: u32,
    /// The addresses to name in Contact and SDP, one for each listener address; the first is the default.
    pub advertise: Vec<IpAddr>,
    /// The RTP ports this slot may use: first and last, both included. 0 and 0: none is left for a worker that was not
    /// started by the dispatcher.
    pub rtp_ports: (u16, u16),
    /// The socket from which responses to handed-over requests leave.
    pub reply_from: ReplyFrom,
    /// The descriptors that come with this record, in their order.
    pub sockets: Vec<PassedSocket>,
    /// The dispatcher's well-known addresses, by listener number.
    pub listeners: Vec<SocketAddr>,
    /// The sources that may send to the worker's own ports, and their rates.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub access: Vec<AccessRule>,
    /// The settings it needs to serve MGCP; absent if no listener speaks MGCP.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub mgcp: Option<Mgcp>,
}

/// A rule about sources. The first rule whose network holds the source decides; if no rule does, the source may send.
///
/// ```text
/// entry: 0 u8 family (4, 6)   1 u8 prefix   2 u8 action: 0 allow, 1 deny, 2 limit   3 reserved   4 u32 rate
///        8 u32 burst   12 u32 ban in milliseconds   16 16 bytes address (IPv4 in the first four)
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccessRule {
    /// The first address of the network.
    pub network: IpAddr,
    /// Number of its leading bits that count.
    pub prefix: u8,
    /// The rights of its sources.
    #[serde(flatten)]
    pub action: AccessAction,
}

/// The rights of a network's sources.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "action")]
pub enum AccessAction {
    /// Everything.
    Allow,
    /// Nothing: all their messages are dropped.
    Deny,
    /// A limited rate of requests.
    Limit {
        /// Requests a second that belong to no call and no known transaction, for each IPv4 address and IPv6 /64.
        rate: u32,
        /// Number of them that may come at once.
        burst: u32,
        /// Milliseconds for which a source that sends more may begin nothing; 0: it is not banned.
        #[serde(rename = "ban-ms")]
        ban_ms: u32,
    },
    /// An action of a newer version: the rule is skipped.
    #[serde(other)]
    Other,
}

/// The bytes of an [`AccessRule`] in an `Access` record.
const ACCESS_RULE: usize = 32;

/// The socket from which a worker answers a handed-over request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ReplyFrom {
    /// The well-known socket the request came to (RFC 3581 §4).
    #[default]
    Listener,
    /// The worker's own socket.
    Worker,
}

/// A socket that is passed to a worker.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct PassedSocket {
    /// The purpose of the socket.
    pub role: SocketRole,
    /// The address it is bound to.
    pub address: SocketAddr,
    /// The listener's number, for a duplicate of a well-known socket and for a slot's MGCP socket.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub listener: Option<u16>,
}

/// The purpose of a passed socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SocketRole {
    /// The slot's SIP socket over UDP: read and write.
    SipUdp,
    /// The slot's SIP listener over TCP.
    SipTcp,
    /// The slot's MGCP socket for the listener that it names: read and write.
    Mgcp,
    /// A duplicate of a well-known UDP socket: send only.
    Listener,
    /// One more link to the dispatcher, with numbers and reports of its own, for a worker whose [`Hello::links`] allows
    /// it.
    Link,
}

/// One message, handed over.
///
/// ```text
/// fixed part, offsets from its begin:
///  0  u64  sequence number            8  u64  received (µs, monotonic)     16  u64  deadline (µs, monotonic; 0: none)
/// 24  u64  connection id, 0: datagram 32  u32  size                         36  u16  listener
/// 38  u8   transport: 0 UDP, 1 TCP, 2 TLS, 3 WS, 4 WSS, 5 MGCP
/// 39  u8   flags: 1 pinned, 2 handed over before, 4 follows a call, 8 a 180 is due before the answer,
///          16 it names its size
/// 40  source: u16 port, u8 family (4, 6), u8 reserved, 16 bytes address (IPv4 in the first four)
/// 60  local address, same form        80  u32  IPv6 scope of the source
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Message<'a> {
    /// All data but the payload.
    pub envelope: Envelope,
    /// The message, byte for byte as it was received.
    pub payload: &'a [u8],
}

/// The dispatcher's information about a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Envelope {
    /// Its number on this link.
    pub seq: Seq,
    /// Time at which the dispatcher read it.
    pub received: Time,
    /// A worker that reads it later than this must refuse it: another worker may have it by then. `None`: it is never
    /// too late.
    pub deadline: Option<Time>,
    /// The stream connection it came on; for an MGCP command that goes to all workers, the gathering of their answers.
    /// Unless it is 0, the answer goes back in a `Reply` with this number, not to the source.
    pub conn: ConnId,
    /// The units that the dispatcher has counted for it; 0 for a message that follows a call.
    pub size: u32,
    /// Whether the message itself names that size: a conference that begins with it has so many units reserved.
    pub names_size: bool,
    /// The well-known socket it came to.
    pub listener: ListenerId,
    /// The transport it came over.
    pub transport: Transport,
    /// Whether the source can reach only the well-known address (then Contact names that address).
    pub pinned: bool,
    /// Whether a worker that died had it before (rule "poison").
    pub again: bool,
    /// Whether the worker is to send the caller 180 before its answer to the call.
    pub ring_first: bool,
    /// Whether it belongs to a call that this worker has (found by token, table or port), rather than being placed by
    /// selection.
    pub follows: bool,
    /// The address of its source.
    pub source: SocketAddr,
    /// The local address it was sent to: answers leave from that address.
    pub local: SocketAddr,
}

/// The protocol of a message, and its transport.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Transport {
    /// SIP over UDP.
    #[default]
    Udp,
    /// SIP over TCP.
    Tcp,
    /// SIP over TLS over TCP.
    Tls,
    /// SIP over WebSocket.
    Ws,
    /// SIP over WebSocket over TLS.
    Wss,
    /// MGCP over UDP (RFC 3435 §3.5): one message, without the others of the same datagram.
    Mgcp,
}

impl Transport {
    /// Its name in a Via (RFC 3261 §20.42, RFC 7118). MGCP has no Via; it is given the name of its transport.
    pub const fn via_name(self) -> &'static str {
        match self {
            Transport::Udp | Transport::Mgcp => "UDP",
            Transport::Tcp => "TCP",
            Transport::Tls => "TLS",
            Transport::Ws => "WS",
            Transport::Wss => "WSS",
        }
    }

    const fn code(self) -> u8 {
        match self {
            Transport::Udp => 0,
            Transport::Tcp => 1,
            Transport::Tls => 2,
            Transport::Ws => 3,
            Transport::Wss => 4,
            Transport::Mgcp => 5,
        }
    }

    const fn from_code(code: u8) -> Option<Self> {
        Some(match code {
            0 => Transport::Udp,
            1 => Transport::Tcp,
            2 => Transport::Tls,
            3 => Transport::Ws,
            4 => Transport::Wss,
            5 => Transport::Mgcp,
            _ => return None,
        })
    }
}

/// Orders about new work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DrainMode {
    /// Take new work again.
    Ready,
    /// Finish the work that there is, take nothing new.
    Drain,
    /// End all calls within the time given, then exit.
    Stop,
}

/// An order to a worker about new work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Drain {
    /// The order.
    pub mode: DrainMode,
    /// Time for which calls may go on; for [`DrainMode::Stop`].
    pub within: Duration,
}

/// A worker's load, in absolute numbers.
///
/// ```text
/// fixed part: 0 u64 number   8 u64 taken through   16 u64 covers   24 u32 units used   28 u32 units total
///            32 u32 sessions  36 u32 cpu (millionths of one core)   40 u32 flags: 1 no room, 2 draining
///            44 u32 reserved   48 u64 calls that came to its own port   56 u64 calls answered
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Rises by one with each report of a link.
    pub number: u64,
    /// All messages up to this one have been read from the link. This only frees room on the link; it says nothing
    /// about load.
    pub taken_through: Seq,
    /// The figures below include all handoffs up to this one.
    pub covers: Seq,
    /// Units of the sessions it has.
    pub units_used: u32,
    /// Units it has in all.
    pub units_total: u32,
    /// Sessions it has.
    pub sessions: u32,
    /// Its use of the CPU, in millionths of one core.
    pub cpu: u32,
    /// Whether it can take nothing now, although units are free (its ports or descriptors are used up).
    pub no_room: bool,
    /// Whether it is draining, by its own report.
    pub draining: bool,
    /// Initial requests that came directly to its own port, since its start.
    pub direct: u64,
    /// Calls it has answered with 2xx, since its start.
    pub answered: u64,
}

/// A transaction of a worker that comes back, with the data that the dispatcher's table needs.
///
/// ```text
/// entry: 0 16 bytes fingerprint of (branch, sent-by)   16 16 bytes fingerprint of (Call-ID, From-tag)
///       32 u32 CSeq number   36 u8 flags: 1 INVITE, 2 its final response has left, 4 cancelled
///       37 3 reserved
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Transaction {
    /// The keyed hash of branch and sent-by.
    pub branch: [u8; 16],
    /// The keyed hash of Call-ID and From-tag.
    pub call: [u8; 16],
    /// The CSeq number.
    pub cseq: u32,
    /// Whether it is an INVITE.
    pub is_invite: bool,
    /// Whether its final response has been sent.
    pub is_answered: bool,
    /// Whether its CANCEL has come: if so, it is not offered to another worker.
    pub is_cancelled: bool,
}

/// The bytes of a [`Transaction`] in a `Holding` record.
const TRANSACTION: usize = 40;
/// Most entries in one `Holding` record: a frame holds them and other records.
pub const HOLDING_AT_ONCE: usize = 1_024;

/// The reason why a worker gives a message back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RefuseReason {
    /// No units left for this size.
    Full,
    /// It is draining.
    Draining,
    /// The deadline had passed when it was read.
    Late,
    /// Ports, descriptors or memory are used up.
    Exhausted,
    /// It follows a request of the same transaction that was refused.
    Follows,
    /// A reason of a newer version.
    Other,
}

impl RefuseReason {
    /// Every reason.
    pub const ALL: [RefuseReason; 6] = [
        RefuseReason::Full,
        RefuseReason::Draining,
        RefuseReason::Late,
        RefuseReason::Exhausted,
        RefuseReason::Follows,
        RefuseReason::Other,
    ];

    /// Its name in counters.
    pub const fn label(self) -> &'static str {
        match self {
            RefuseReason::Full => "full",
            RefuseReason::Draining => "draining",
            RefuseReason::Late => "late",
            RefuseReason::Exhausted => "exhausted",
            RefuseReason::Follows => "follows",
            RefuseReason::Other => "other",
        }
    }

    const fn code(self) -> u8 {
        match self {
            RefuseReason::Full => 1,
            RefuseReason::Draining => 2,
            RefuseReason::Late => 3,
            RefuseReason::Exhausted => 4,
            RefuseReason::Follows => 5,
            RefuseReason::Other => 255,
        }
    }

    const fn from_code(code: u8) -> Self {
        match code {
            1 => RefuseReason::Full,
            2 => RefuseReason::Draining,
            3 => RefuseReason::Late,
            4 => RefuseReason::Exhausted,
            5 => RefuseReason::Follows,
            _ => RefuseReason::Other,
        }
    }
}

/// One record, read.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the table in the module's doc names each")]
pub enum Record<'a> {
    Welcome(Welcome),
    Message(Message<'a>),
    Drain(Drain),
    Query,
    Ping(u64),
    Goodbye(&'a str),
    Access(AccessRules<'a>),
    Hello(Hello),
    Report(Report),
    Answered(Seqs<'a>),
    Refuse { seq: Seq, reason: RefuseReason },
    Reply { conn: ConnId, bytes: &'a [u8] },
    Release(Branches<'a>),
    Holding(Transactions<'a>),
    GroupOpen { opened: Time, name: &'a [u8] },
    GroupClosed { name: &'a [u8] },
    Pong(u64),
    Outcome(Outcome<'a>),
    Unanswered(Message<'a>),
    Takeover(Takeover),
}

/// The final answer to a message, for operators who ask the dispatcher. No decision depends on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outcome<'a> {
    /// The message.
    pub seq: Seq,
    /// The status of its final response.
    pub status: u16,
    /// The reason in words, or empty. At most [`Outcome::LONGEST`] bytes are read.
    pub why: &'a str,
}

impl Outcome<'_> {
    /// The longest reason that is read, in bytes.
    pub const LONGEST: usize = 128;
}

/// The sequence numbers of an `Answered` record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seqs<'a>(&'a [u8]);

impl Seqs<'_> {
    /// The numbers, in the order in which they were written.
    pub fn iter(&self) -> impl Iterator<Item = Seq> + '_ {
        self.0.chunks_exact(8).map(|chunk| Seq(u64_at(chunk, 0)))
    }
}

/// The fingerprints of a `Release` record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Branches<'a>(&'a [u8]);

impl Branches<'_> {
    /// The fingerprints, in the order in which they were written.
    pub fn iter(&self) -> impl Iterator<Item = [u8; 16]> + '_ {
        self.0.as_chunks().0.iter().copied()
    }
}

/// The entries of a `Holding` record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transactions<'a> {
    bytes: &'a [u8],
    /// Bytes of an entry; entries of a newer version are longer.
    stride: usize,
}

impl Transactions<'_> {
    /// The entries, in the order in which they were written.
    pub fn iter(&self) -> impl Iterator<Item = Transaction> + '_ {
        self.bytes.chunks_exact(self.stride).map(read_transaction)
    }

    /// Number of entries.
    pub const fn len(&self) -> usize {
        self.bytes.len() / self.stride
    }

    /// Whether there is no entry.
    pub const fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }
}

/// The rules of an `Access` record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AccessRules<'a> {
    bytes: &'a [u8],
    /// Bytes of an entry; entries of a newer version are longer.
    stride: usize,
}

impl AccessRules<'_> {
    /// The rules, in the order in which they were written; a rule with an unknown address family is skipped.
    pub fn iter(&self) -> impl Iterator<Item = AccessRule> + '_ {
        self.bytes.chunks_exact(self.stride).filter_map(read_access_rule)
    }
}

/// The reason why bytes are not a frame. After any of these, close the link.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// Shorter than a header, or than the length it states.
    #[error("a frame of {got} bytes where {stated} were stated")]
    Short {
        /// Bytes that came.
        got: usize,
        /// Bytes that should have come.
        stated: usize,
    },
    /// Not a frame of this protocol at all.
    #[error("not a handoff frame (it begins with {0:#06x})")]
    Magic(u16),
    /// Another major version.
    #[error("handoff version {0}; this program speaks version {VERSION}")]
    Version(u8),
    /// Larger than [`FRAME_HARD_LIMIT`].
    #[error("a frame of {0} bytes; the limit is {FRAME_HARD_LIMIT}")]
    Oversized(usize),
    /// A record whose lengths do not fit into its frame, or a fixed part that is too short.
    #[error("record of kind {kind}: lengths do not fit")]
    Record {
        /// The record's kind.
        kind: u8,
    },
    /// A JSON body that cannot be read.
    #[error("record of kind {kind}: {error}")]
    Json {
        /// The record's kind.
        kind: u8,
        /// The error of the JSON reader.
        error: String,
    },
    /// A value outside its range, such as an unknown address family.
    #[error("record of kind {kind}: impossible {field}")]
    Value {
        /// The record's kind.
        kind: u8,
        /// The field's name.
        field: &'static str,
    },
}

/// A frame whose header has been checked; yields its records.
#[derive(Clone, Debug)]
pub struct Frame<'a> {
    rest: &'a [u8],
}

impl<'a> Frame<'a> {
    /// Reads the frame that `bytes` are. Bytes after the frame are an error.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, FrameError> {
        let length = Frame::length(bytes)?;
        if length != bytes.len() {
            return Err(FrameError::Short { got: bytes.len(), stated: length });
        }
        Ok(Frame { rest: &bytes[FRAME_HEADER..] })
    }

    /// The length that a frame's header states, for a stream link that has at least the header.
    pub fn length(bytes: &[u8]) -> Result<usize, FrameError> {
        if bytes.len() < FRAME_HEADER {
            return Err(FrameError::Short { got: bytes.len(), stated: FRAME_HEADER });
        }
        let magic = u16_at(bytes, 0);
        if magic != MAGIC {
            return Err(FrameError::Magic(magic));
        }
        if bytes[2] != VERSION {
            return Err(FrameError::Version(bytes[2]));
        }
        let length = u32_at(bytes, 4) as usize;
        if length > FRAME_HARD_LIMIT {
            return Err(FrameError::Oversized(length));
        }
        if length < FRAME_HEADER {
            return Err(FrameError::Short { got: length, stated: FRAME_HEADER });
        }
        Ok(length)
    }
}

impl<'a> Iterator for Frame<'a> {
    type Item = Result<Record<'a>, FrameError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if self.rest.is_empty() {
                return None;
            }
            let kind = self.rest[0];
            let Some((fixed, body, rest)) = split_record(self.rest) else {
                self.rest = &[];
                return Some(Err(FrameError::Record { kind }));
            };
            self.rest = rest;
            match read_record(kind, fixed, body) {
                Ok(Some(record)) => return Some(Ok(record)),
                // A kind of a newer version: the rule is to skip it.
                Ok(None) => {}
                Err(error) => {
                    self.rest = &[];
                    return Some(Err(error));
                }
            }
        }
    }
}

fn split_record(bytes: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    if bytes.len() < RECORD_HEADER {
        return None;
    }
    let fixed = usize::from(u16_at(bytes, 2));
    let length = u32_at(bytes, 4) as usize;
    if length < RECORD_HEADER + fixed || length > bytes.len() {
        return None;
    }
    let (record, rest) = bytes.split_at(length);
    let (fixed, body) = record[RECORD_HEADER..].split_at(fixed);
    Some((fixed, body, rest))
}

fn read_record<'a>(kind: u8, fixed: &'a [u8], body: &'a [u8]) -> Result<Option<Record<'a>>, FrameError> {
    let need = |length: usize| if fixed.len() < length { Err(FrameError::Record { kind }) } else { Ok(()) };
    let json_error = |error: serde_json::Error| FrameError::Json { kind, error: error.to_string() };
    let record = match kind {
        1 => Record::Welcome(serde_json::from_slice(body).map_err(json_error)?),
        2 => {
            need(MESSAGE_FIXED)?;
            let payload = body;
            Record::Message(Message { envelope: read_envelope(fixed)?, payload })
        }
        3 => {
            need(16)?;
            let mode = match fixed[0] {
                0 => DrainMode::Ready,
                1 => DrainMode::Drain,
                2 => DrainMode::Stop,
                _ => return Err(FrameError::Value { kind, field: "mode" }),
            };
            Record::Drain(Drain { mode, within: Duration::from_millis(u64_at(fixed, 8)) })
        }
        4 => Record::Query,
        5 => {
            need(8)?;
            Record::Ping(u64_at(fixed, 0))
        }
        6 => Record::Goodbye(std::str::from_utf8(body).map_err(|_| FrameError::Value { kind, field: "reason" })?),
        7 => {
            need(8)?;
            let stride = usize::from(u16_at(fixed, 0));
            if stride < ACCESS_RULE || !body.len().is_multiple_of(stride) {
                return Err(FrameError::Value { kind, field: "length of an entry" });
            }
            Record::Access(AccessRules { bytes: body, stride })
        }
        65 => Record::Hello(serde_json::from_slice(body).map_err(json_error)?),
        66 => {
            need(REPORT_FIXED)?;
            Record::Report(read_report(fixed))
        }
        67 => {
            if !body.len().is_multiple_of(8) {
                return Err(FrameError::Record { kind });
            }
            Record::Answered(Seqs(body))
        }
        68 => {
            need(16)?;
            Record::Refuse { seq: Seq(u64_at(fixed, 0)), reason: RefuseReason::from_code(fixed[8]) }
        }
        69 => {
            need(8)?;
            Record::Reply { conn: ConnId(u64_at(fixed, 0)), bytes: body }
        }
        70 => {
            need(16)?;
            // A worker of an earlier version gives the message back; if this record were skipped as unknown, the
            // message would be lost.
            Record::Refuse { seq: Seq(u64_at(fixed, 0)), reason: RefuseReason::Other }
        }
        71 => {
            if !body.len().is_multiple_of(16) {
                return Err(FrameError::Record { kind });
            }
            Record::Release(Branches(body))
        }
        72 => {
            need(8)?;
            Record::GroupOpen { opened: Time(u64_at(fixed, 0)), name: body }
        }
        73 => Record::GroupClosed { name: body },
        74 => {
            need(8)?;
            Record::Pong(u64_at(fixed, 0))
        }
        75 => {
            need(8)?;
            let stride = usize::from(u16_at(fixed, 0));
            if stride < TRANSACTION || !body.len().is_multiple_of(stride) {
                return Err(FrameError::Value { kind, field: "length of an entry" });
            }
            Record::Holding(Transactions { bytes: body, stride })
        }
        76 => {
            need(16)?;
            let why = body.get(..Outcome::LONGEST).unwrap_or(body);
            // The text is for people: if it is cut or damaged, its readable beginning is shown.
            let why = match std::str::from_utf8(why) {
                Ok(why) => why,
                Err(error) => {
                    why.get(..error.valid_up_to()).and_then(|why| std::str::from_utf8(why).ok()).unwrap_or_default()
                }
            };
            Record::Outcome(Outcome { seq: Seq(u64_at(fixed, 0)), status: u16_at(fixed, 8), why })
        }
        77 => {
            need(MESSAGE_FIXED)?;
            Record::Unanswered(Message { envelope: read_envelope(fixed)?, payload: body })
        }
        128 => Record::Takeover(serde_json::from_slice(body).map_err(json_error)?),
        _ => return Ok(None),
    };
    Ok(Some(record))
}

fn read_envelope(fixed: &[u8]) -> Result<Envelope, FrameError> {
    let bad = |field| FrameError::Value { kind: 2, field };
    let mut source = read_address(&fixed[40..60]).ok_or(bad("source"))?;
    if let SocketAddr::V6(v6) = &mut source {
        v6.set_scope_id(u32_at(fixed, 80));
    }
    let deadline = u64_at(fixed, 16);
    Ok(Envelope {
        seq: Seq(u64_at(fixed, 0)),
        received: Time(u64_at(fixed, 8)),
        deadline: (deadline != 0).then_some(Time(deadline)),
        conn: ConnId(u64_at(fixed, 24)),
        size: u32_at(fixed, 32),
        names_size: fixed[39] & NAMES_SIZE != 0,
        listener: ListenerId(u16_at(fixed, 36)),
        transport: Transport::from_code(fixed[38]).ok_or(bad("transport"))?,
        pinned: fixed[39] & PINNED != 0,
        again: fixed[39] & AGAIN != 0,
        follows: fixed[39] & FOLLOWS != 0,
        ring_first: fixed[39] & RING_FIRST != 0,
        source,
        local: read_address(&fixed[60..80]).ok_or(bad("local address"))?,
    })
}

const PINNED: u8 = 1;
const AGAIN: u8 = 2;
const FOLLOWS: u8 = 4;
const RING_FIRST: u8 = 8;
const NAMES_SIZE: u8 = 16;

fn read_report(fixed: &[u8]) -> Report {
    let flags = u32_at(fixed, 40);
    Report {
        number: u64_at(fixed, 0),
        taken_through: Seq(u64_at(fixed, 8)),
        covers: Seq(u64_at(fixed, 16)),
        units_used: u32_at(fixed, 24),
        units_total: u32_at(fixed, 28),
        sessions: u32_at(fixed, 32),
        cpu: u32_at(fixed, 36),
        no_room: flags & 1 != 0,
        draining: flags & 2 != 0,
        direct: u64_at(fixed, 48),
        answered: u64_at(fixed, 56),
    }
}

fn read_transaction(entry: &[u8]) -> Transaction {
    let print = |at: usize| entry.get(at..at + 16).and_then(|bytes| bytes.try_into().ok()).unwrap_or_default();
    Transaction {
        branch: print(0),
        call: print(16),
        cseq: u32_at(entry, 32),
        is_invite: entry[36] & 1 != 0,
        is_answered: entry[36] & 2 != 0,
        is_cancelled: entry[36] & 4 != 0,
    }
}

fn read_access_rule(entry: &[u8]) -> Option<AccessRule> {
    Some(AccessRule {
        network: match entry[0] {
            4 => Ipv4Addr::new(entry[16], entry[17], entry[18], entry[19]).into(),
            6 => Ipv6Addr::from(<[u8; 16]>::try_from(entry.get(16..32)?).ok()?).into(),
            _ => return None,
        },
        prefix: entry[1],
        action: match entry[2] {
            0 => AccessAction::Allow,
            1 => AccessAction::Deny,
            2 => AccessAction::Limit { rate: u32_at(entry, 4), burst: u32_at(entry, 8), ban_ms: u32_at(entry, 12) },
            _ => AccessAction::Other,
        },
    })
}

fn read_address(bytes: &[u8]) -> Option<SocketAddr> {
    let port = u16_at(bytes, 0);
    let ip: IpAddr = match bytes[2] {
        4 => Ipv4Addr::new(bytes[4], bytes[5], bytes[6], bytes[7]).into(),
        6 => {
            let octets: [u8; 16] = bytes[4..20].try_into().ok()?;
            Ipv6Addr::from(octets).into()
        }
        _ => return None,
    };
    Some(SocketAddr::new(ip, port))
}

/// The bytes before a message's payload of `payload_length` bytes.
pub fn message_header(envelope: &Envelope, payload_length: usize) -> [u8; MESSAGE_HEADER] {
    let mut bytes = [0; MESSAGE_HEADER];
    put_record_header(&mut bytes, 2, MESSAGE_FIXED, MESSAGE_HEADER + payload_length);
    let fixed = &mut bytes[RECORD_HEADER..];
    put_u64(fixed, 0, envelope.seq.0);
    put_u64(fixed, 8, envelope.received.0);
    put_u64(fixed, 16, envelope.deadline.map_or(0, |deadline| deadline.0));
    put_u64(fixed, 24, envelope.conn.0);
    put_u32(fixed, 32, envelope.size);
    put_u16(fixed, 36, envelope.listener.0);
    fixed[38] = envelope.transport.code();
    fixed[39] = if envelope.pinned { PINNED } else { 0 }
        | if envelope.again { AGAIN } else { 0 }
        | if envelope.follows { FOLLOWS } else { 0 }
        | if envelope.ring_first { RING_FIRST } else { 0 }
        | if envelope.names_size { NAMES_SIZE } else { 0 };
    put_address(&mut fixed[40..60], envelope.source);
    put_address(&mut fixed[60..80], envelope.local);
    if let SocketAddr::V6(v6) = envelope.source {
        put_u32(fixed, 80, v6.scope_id());
    }
    bytes
}

/// The header of a frame whose records take `records_length` bytes.
pub fn frame_header(records_length: usize) -> [u8; FRAME_HEADER] {
    let mut bytes = [0; FRAME_HEADER];
    put_u16(&mut bytes, 0, MAGIC);
    bytes[2] = VERSION;
    put_u32(&mut bytes, 4, (FRAME_HEADER + records_length) as u32);
    bytes
}

/// Builds a frame of small records in one buffer that is used again and again.
///
/// A record that would make the frame longer than [`FRAME_HARD_LIMIT`] is a bug of the caller: check
/// [`FrameBuilder::fits`].
#[derive(Clone, Debug)]
pub struct FrameBuilder {
    bytes: Vec<u8>,
}

impl Default for FrameBuilder {
    fn default() -> Self {
        FrameBuilder { bytes: frame_header(0).to_vec() }
    }
}

impl FrameBuilder {
    /// An empty frame.
    pub fn new() -> Self {
        FrameBuilder::default()
    }

    /// Removes the records and keeps the memory.
    pub fn clear(&mut self) {
        self.bytes.truncate(FRAME_HEADER);
    }

    /// Adds a record.
    pub fn push(&mut self, record: &Record<'_>) {
        match record {
            Record::Welcome(welcome) => self.push_json(1, welcome),
            Record::Message(message) => {
                self.bytes.extend_from_slice(&message_header(&message.envelope, message.payload.len()));
                self.bytes.extend_from_slice(message.payload);
            }
            Record::Drain(drain) => {
                let mut fixed = [0; 16];
                fixed[0] = match drain.mode {
                    DrainMode::Ready => 0,
                    DrainMode::Drain => 1,
                    DrainMode::Stop => 2,
                };
                put_u64(&mut fixed, 8, u64::try_from(drain.within.as_millis()).unwrap_or(u64::MAX));
                self.push_record(3, &fixed, &[]);
            }
            Record::Query => self.push_record(4, &[], &[]),
            Record::Takeover(takeover) => self.push_json(128, takeover),
            Record::Ping(number) => self.push_record(5, &number.to_le_bytes(), &[]),
            Record::Goodbye(reason) => self.push_record(6, &[], reason.as_bytes()),
            Record::Access(rules) => self.push_record(7, &stride_fixed(rules.stride), rules.bytes),
            Record::Hello(hello) => self.push_json(65, hello),
            Record::Report(report) => self.push_record(66, &report_fixed(report), &[]),
            Record::Answered(seqs) => self.push_record(67, &[], seqs.0),
            Record::Refuse { seq, reason } => {
                let mut fixed = [0; 16];
                put_u64(&mut fixed, 0, seq.0);
                fixed[8] = reason.code();
                self.push_record(68, &fixed, &[]);
            }
            Record::Reply { conn, bytes } => self.push_record(69, &conn.0.to_le_bytes(), bytes),
            Record::Release(branches) => self.push_record(71, &[], branches.0),
            Record::Holding(transactions) => {
                self.push_record(75, &stride_fixed(transactions.stride), transactions.bytes);
            }
            Record::GroupOpen { opened, name } => self.push_record(72, &opened.0.to_le_bytes(), name),
            Record::GroupClosed { name } => self.push_record(73, &[], name),
            Record::Pong(number) => self.push_record(74, &number.to_le_bytes(), &[]),
            Record::Outcome(outcome) => {
                let mut fixed = [0; 16];
                put_u64(&mut fixed, 0, outcome.seq.0);
                fixed[8..10].copy_from_slice(&outcome.status.to_le_bytes());
                self.push_record(76, &fixed, outcome.why.as_bytes());
            }
            Record::Unanswered(message) => {
                let begin = self.bytes.len();
                self.push(&Record::Message(*message));
                self.bytes[begin] = 77;
            }
        }
    }

    /// Adds an `Answered` record for `seqs`.
    pub fn push_answered(&mut self, seqs: &[Seq]) {
        let begin = self.bytes.len();
        self.push_record(67, &[], &[]);
        for seq in seqs {
            self.bytes.extend_from_slice(&seq.0.to_le_bytes());
        }
        let length = self.bytes.len() - begin;
        put_u32(&mut self.bytes[begin..], 4, length as u32);
    }

    /// Adds a `Release` record for `branches`.
    pub fn push_release(&mut self, branches: &[[u8; 16]]) {
        self.push_record(71, &[], branches.as_flattened());
    }

    /// Adds a `Holding` record for `transactions`; at most [`HOLDING_AT_ONCE`].
    pub fn push_holding(&mut self, transactions: &[Transaction]) {
        let begin = self.bytes.len();
        self.push_record(75, &stride_fixed(TRANSACTION), &[]);
        for transaction in transactions {
            let mut entry = [0; TRANSACTION];
            entry[..16].copy_from_slice(&transaction.branch);
            entry[16..32].copy_from_slice(&transaction.call);
            put_u32(&mut entry, 32, transaction.cseq);
            entry[36] = u8::from(transaction.is_invite)
                | u8::from(transaction.is_answered) << 1
                | u8::from(transaction.is_cancelled) << 2;
            self.bytes.extend_from_slice(&entry);
        }
        let length = self.bytes.len() - begin;
        put_u32(&mut self.bytes[begin..], 4, length as u32);
    }

    /// Adds an `Access` record for `rules`.
    pub fn push_access(&mut self, rules: &[AccessRule]) {
        let begin = self.bytes.len();
        self.push_record(7, &stride_fixed(ACCESS_RULE), &[]);
        for rule in rules {
            self.bytes.extend_from_slice(&access_entry(rule));
        }
        let length = self.bytes.len() - begin;
        put_u32(&mut self.bytes[begin..], 4, length as u32);
    }

    /// Whether a record with `payload` bytes besides its fixed part fits below the soft limit.
    pub fn fits(&self, payload: usize) -> bool {
        self.bytes.len() + RECORD_HEADER + MESSAGE_FIXED + payload <= FRAME_SOFT_LIMIT
    }

    /// The bytes of the frame so far, its header included.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Removes the records that were added since [`FrameBuilder::len`] was `length`.
    pub fn truncate(&mut self, length: usize) {
        self.bytes.truncate(length.max(FRAME_HEADER));
    }

    /// The records so far.
    pub fn records(&self) -> &[u8] {
        &self.bytes[FRAME_HEADER..]
    }

    /// Adds the records of another frame.
    pub fn push_records(&mut self, records: &[u8]) {
        self.bytes.extend_from_slice(records);
    }

    /// Whether no record has been added.
    pub fn is_empty(&self) -> bool {
        self.bytes.len() == FRAME_HEADER
    }

    /// The frame, ready to be sent.
    pub fn bytes(&mut self) -> &[u8] {
        let header = frame_header(self.bytes.len() - FRAME_HEADER);
        self.bytes[..FRAME_HEADER].copy_from_slice(&header);
        &self.bytes
    }

    fn push_record(&mut self, kind: u8, fixed: &[u8], body: &[u8]) {
        let mut header = [0; RECORD_HEADER];
        put_record_header(&mut header, kind, fixed.len(), RECORD_HEADER + fixed.len() + body.len());
        self.bytes.extend_from_slice(&header);
        self.bytes.extend_from_slice(fixed);
        self.bytes.extend_from_slice(body);
    }

    fn push_json(&mut self, kind: u8, value: &impl Serialize) {
        // This cannot fail: the types are plain structs with text keys, and a Vec takes every byte.
        let body = serde_json::to_vec(value).unwrap_or_default();
        self.push_record(kind, &[], &body);
    }
}

/// The fixed part of a record of entries that are `stride` bytes long.
fn stride_fixed(stride: usize) -> [u8; 8] {
    let mut fixed = [0; 8];
    put_u16(&mut fixed, 0, stride as u16);
    fixed
}

fn access_entry(rule: &AccessRule) -> [u8; ACCESS_RULE] {
    let mut entry = [0; ACCESS_RULE];
    match rule.network {
        IpAddr::V4(ip) => {
            entry[0] = 4;
            entry[16..20].copy_from_slice(&ip.octets());
        }
        IpAddr::V6(ip) => {
            entry[0] = 6;
            entry[16..32].copy_from_slice(&ip.octets());
        }
    }
    entry[1] = rule.prefix;
    entry[2] = match rule.action {
        AccessAction::Allow => 0,
        AccessAction::Deny => 1,
        AccessAction::Limit { .. } => 2,
        AccessAction::Other => u8::MAX,
    };
    if let AccessAction::Limit { rate, burst, ban_ms } = rule.action {
        put_u32(&mut entry, 4, rate);
        put_u32(&mut entry, 8, burst);
        put_u32(&mut entry, 12, ban_ms);
    }
    entry
}

fn report_fixed(report: &Report) -> [u8; REPORT_FIXED] {
    let mut fixed = [0; REPORT_FIXED];
    put_u64(&mut fixed, 0, report.number);
    put_u64(&mut fixed, 8, report.taken_through.0);
    put_u64(&mut fixed, 16, report.covers.0);
    put_u32(&mut fixed, 24, report.units_used);
    put_u32(&mut fixed, 28, report.units_total);
    put_u32(&mut fixed, 32, report.sessions);
    put_u32(&mut fixed, 36, report.cpu);
    put_u32(&mut fixed, 40, u32::from(report.no_room) | u32::from(report.draining) << 1);
    put_u64(&mut fixed, 48, report.direct);
    put_u64(&mut fixed, 56, report.answered);
    fixed
}

fn put_record_header(bytes: &mut [u8], kind: u8, fixed: usize, length: usize) {
    bytes[0] = kind;
    put_u16(bytes, 2, fixed as u16);
    put_u32(bytes, 4, length as u32);
}

fn put_address(bytes: &mut [u8], address: SocketAddr) {
    put_u16(bytes, 0, address.port());
    match address.ip() {
        IpAddr::V4(ip) => {
            bytes[2] = 4;
            bytes[4..8].copy_from_slice(&ip.octets());
        }
        IpAddr::V6(ip) => {
            bytes[2] = 6;
            bytes[4..20].copy_from_slice(&ip.octets());
        }
    }
}

fn put_u16(bytes: &mut [u8], at: usize, value: u16) {
    bytes[at..at + 2].copy_from_slice(&value.to_le_bytes());
}

fn put_u32(bytes: &mut [u8], at: usize, value: u32) {
    bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
}

fn put_u64(bytes: &mut [u8], at: usize, value: u64) {
    bytes[at..at + 8].copy_from_slice(&value.to_le_bytes());
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([bytes[at], bytes[at + 1]])
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from(u16_at(bytes, at)) | u32::from(u16_at(bytes, at + 2)) << 16
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from(u32_at(bytes, at)) | u64::from(u32_at(bytes, at + 4)) << 32
}

#[cfg(test)]
mod tests;
