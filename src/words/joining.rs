//! The first words of a worker and of the dispatcher on a link: introduction and welcome.

use std::net::{IpAddr, SocketAddr};

use serde::{Deserialize, Serialize};

use super::access::AccessRule;
use super::mgcp::Mgcp;
use super::word_list::words;
use crate::ids::TokenKey;

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
    /// Transactions that follow in `Holding` records.
    pub transactions: u32,
    /// Conferences that follow in `GroupOpen` records.
    pub conferences: u32,
    /// Messages that follow in `Unanswered` records.
    pub messages: u32,
    /// Additions to this format that it understands: see [`features`](super::features). They are sent to no other.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub features: Vec<String>,
    /// The connection over a network that this one is, or replaces; absent on the first one of a link that begins.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resume: Option<Resume>,
}

/// One more connection of a link over a network: the one to another lane, or a new one in place of one that was cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Resume {
    /// The link, as in [`LanTerms::link`].
    pub link: u64,
    /// The dispatcher's lane.
    pub lane: u16,
    /// Frames of this lane that the worker has read, on all connections before.
    pub frames: u64,
}

/// The terms of a link over a network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct LanTerms {
    /// The link's number: a new connection in place of one that was cut names it.
    pub link: u64,
    /// The dispatcher's lanes: the worker opens a connection for each.
    pub lanes: u16,
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
            sockets: Vec::new(),
            key: None,
            units_used: 0,
            sessions: 0,
            draining: false,
            transactions: 0,
            conferences: 0,
            messages: 0,
            features: Vec::new(),
            resume: None,
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
    /// The name in Contact for TLS callers, which the certificate is made for.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub contact_name: Option<String>,
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
    /// Additions to this format that the dispatcher understands, as in [`Hello::features`].
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub features: Vec<String>,
    /// The terms of a link over a network; absent on a link within the host.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub lan: Option<LanTerms>,
}

/// The socket from which a worker answers a handed-over request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum ReplyFrom {
    /// The well-known socket the request came to (RFC 3581 §4).
    #[default]
    Listener,
    /// The worker's own socket.
    Worker,
}

words!(ReplyFrom { Listener = "listener", Worker = "worker" });

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
