//! A message on its way to a worker, and the dispatcher's information about it.

use std::net::SocketAddr;

use super::ReplyTo;
use crate::ids::{ListenerId, Seq};
use crate::pack::packed;
use crate::time::Time;

/// One message, handed over.
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
    /// The way back of its answer.
    pub reply_to: ReplyTo,
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
    /// Whether its sender takes requests on the connection that it came on, and has shown that it has the name in its
    /// Via (RFC 5923).
    pub alias: bool,
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
    /// Its stable name in `explain`.
    pub const fn label(self) -> &'static str {
        match self {
            Transport::Udp | Transport::Mgcp => "udp",
            Transport::Tcp => "tcp",
            Transport::Tls => "tls",
            Transport::Ws => "ws",
            Transport::Wss => "wss",
        }
    }

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

    /// The port that is meant where none is written: of SIP, or of SIP over TLS (RFC 3261 §19.1.2). MGCP, whose
    /// addresses have ports, is given that of its transport.
    pub const fn default_port(self) -> u16 {
        match self {
            Transport::Udp | Transport::Tcp | Transport::Ws | Transport::Mgcp => 5060,
            Transport::Tls | Transport::Wss => 5061,
        }
    }
}

packed!(Envelope {
    seq,
    received,
    deadline,
    reply_to,
    size,
    names_size,
    listener,
    transport,
    pinned,
    again,
    ring_first,
    alias,
    follows,
    source,
    local,
});
packed!(Transport as Udp = 0, Tcp = 1, Tls = 2, Ws = 3, Wss = 4, Mgcp = 5);

#[cfg(test)]
impl Envelope {
    /// The envelope of a new call's first message, for tests to which the details do not matter.
    pub(crate) fn plain(seq: u64) -> Self {
        Envelope {
            seq: Seq(seq),
            received: Time(0),
            deadline: None,
            reply_to: ReplyTo::Datagram,
            size: 1,
            listener: ListenerId(0),
            transport: Transport::Udp,
            pinned: false,
            again: false,
            ring_first: false,
            alias: false,
            names_size: false,
            follows: false,
            source: "192.0.2.9:5070".parse().unwrap(),
            local: "192.0.2.1:5060".parse().unwrap(),
        }
    }
}
