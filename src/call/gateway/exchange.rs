//! The vocabulary of the gateway: its inputs beside messages, and all its outputs.

use std::net::IpAddr;

use crate::call::exchange::Transmit;
use crate::ids::Seq;
use crate::media::{Direction, Payloads};
use crate::slab::handle;
use crate::time::Time;
use crate::words::RefuseReason;

handle! {
    /// An endpoint of this worker, from its first connection or request to its last. Never reused for another.
    pub struct EndpointKey;
}

handle! {
    /// A connection of this worker, from its CRCX to its end. Never reused for another.
    pub struct ConnectionKey;
}

handle! {
    /// A message of ours that waits for the address of a call agent.
    pub struct LookupKey;
}

/// An output of the gateway.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Send this.
    Transmit(Transmit),
    /// A handed-over message is dealt with: its final response has left, or none is needed.
    Answered(Seq),
    /// A handed-over message goes back to the dispatcher; nothing of it has been answered.
    Refuse(Seq, RefuseReason),
    /// Do this for the media of a connection, and pass the outcome to [`crate::call::gateway::Gateway::on_media`]. The
    /// gateway must get no other input in between: a command is carried out whole or not at all.
    Media(ConnectionKey, Ask),
    /// The first connection of this call id was made at this time (the id is in lower case, because call ids are
    /// compared without regard to case). The group `C:` + id is this worker's from then on.
    CallOpened(Box<[u8]>, Time),
    /// The last connection of this call id is gone.
    CallClosed(Box<[u8]>),
    /// Look up the address of a call agent, then call [`crate::call::gateway::Gateway::on_resolved`].
    Resolve {
        /// The message that asks.
        key: LookupKey,
        /// The name.
        host: Box<str>,
        /// The port to go with it.
        port: u16,
    },
}

/// A request to the media of a connection. Each is answered by one [`Told`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ask {
    /// Open RTP and RTCP sockets for a new connection: [`Told::Opened`] or [`Told::Failed`].
    Open {
        /// The local address to bind them to.
        local: IpAddr,
        /// The flow that they carry.
        flow: Flow,
    },
    /// Carry this from now on; the ports stay: [`Told::Changed`] or, with everything as before, [`Told::Failed`].
    Change(Flow),
    /// Close the sockets and forget the connection: [`Told::Closed`].
    Close,
    /// Tell how much it has carried: [`Told::Counted`].
    Count,
}

/// The media of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flow {
    /// The address at which the other end wants its packets; `None` while it is not known.
    pub remote: Option<std::net::SocketAddr>,
    /// The formats, first choice first.
    pub payloads: Payloads,
    /// Milliseconds of sound in a packet.
    pub ptime: u16,
    /// The direction that the connection mode lets through, seen from our side. Packets that arrive while we do not
    /// receive are read and counted, and go nowhere.
    pub direction: Direction,
    /// The source of the sound that is sent.
    pub sound: Sound,
}

/// The source of the sound that a connection sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Sound {
    /// None yet: the endpoint makes no sound of its own.
    Silence,
    /// Its own other end: `netwloop`, `netwtest`, `loopback`, `conttest` (RFC 3435 §2.3.5).
    Echo,
    /// Sound that this other connection of the endpoint receives; the other one's flow names this one in turn. The
    /// sound passes only if the other one's direction lets it in and this one's lets it out. Formats are paired by
    /// codec; a packet in a format that this connection does not send is dropped.
    Connection(ConnectionKey),
}

/// The outcome of an [`Ask`], or the loss of a connection's media.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Told {
    /// The sockets are open at this RTP port; RTCP has the next one.
    Opened(u16),
    /// The connection carries the flow it was asked to.
    Changed,
    /// No port or descriptor is free; nothing has changed.
    Failed,
    /// The sockets are closed. The counters of the connection.
    Closed(Counters),
    /// The counters of the connection so far.
    Counted(Counters),
    /// Its sockets do not work any more: the connection ends by itself (RFC 3435 §2.3.8).
    Lost,
}

/// The counters of a connection: the connection parameters of RFC 3435 §2.3.7.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// RTP packets sent (`PS`).
    pub packets_sent: u64,
    /// Octets of payload sent, without headers (`OS`).
    pub octets_sent: u64,
    /// RTP packets received (`PR`).
    pub packets_received: u64,
    /// Octets of payload received (`OR`).
    pub octets_received: u64,
    /// Packets that were expected and did not come (`PL`; RFC 3550 §6.4.1).
    pub packets_lost: u64,
    /// Average deviation of the arrival intervals, in milliseconds (`JI`; RFC 3550 §6.4.1).
    pub jitter_ms: u32,
    /// Average one-way delay, in milliseconds; 0 while it is not known (`LA`).
    pub latency_ms: u32,
    /// RTCP packets received.
    pub rtcp_received: u64,
}
