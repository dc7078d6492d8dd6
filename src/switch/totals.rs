//! Totals that a lane counts itself.

use serde::{Deserialize, Serialize};

use crate::pack::packed;
use crate::words::Transport;

/// Counts of messages since the lane's start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Messages read from the well-known sockets, retransmissions included.
    pub received: u64,
    /// Messages given to a worker by selection, table or group.
    pub handed_over: u64,
    /// Requests forwarded to downstream proxies.
    pub forwarded: u64,
    /// Responses of downstream proxies that were forwarded, or given to the prober.
    pub responses: u64,
    /// Messages given to the worker that has their call.
    pub relayed: u64,
    /// Answers of the dispatcher's own.
    pub replied: u64,
    /// Messages dropped.
    pub dropped: u64,
    /// Initial requests whose dialog stays at the well-known port.
    pub pinned: u64,
    /// Entries in the table.
    pub table_entries: u64,
    /// Datagrams that the kernel dropped because a receive buffer was full.
    pub rx_overflow: u64,
    /// The parts of `received`.
    pub transports: ByTransport,
}

/// Counts of messages by the transport that they came over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ByTransport {
    /// SIP over UDP.
    pub udp: u64,
    /// SIP over TCP.
    pub tcp: u64,
    /// SIP over TLS.
    pub tls: u64,
    /// SIP over WebSocket.
    pub ws: u64,
    /// SIP over WebSocket over TLS.
    pub wss: u64,
    /// MGCP over UDP.
    pub mgcp: u64,
}

packed!(Totals {
    received,
    handed_over,
    forwarded,
    responses,
    relayed,
    replied,
    dropped,
    pinned,
    table_entries,
    rx_overflow,
    transports
});
packed!(ByTransport { udp, tcp, tls, ws, wss, mgcp });

impl ByTransport {
    /// Counts a message.
    pub const fn count(&mut self, transport: Transport) {
        *match transport {
            Transport::Udp => &mut self.udp,
            Transport::Tcp => &mut self.tcp,
            Transport::Tls => &mut self.tls,
            Transport::Ws => &mut self.ws,
            Transport::Wss => &mut self.wss,
            Transport::Mgcp => &mut self.mgcp,
        } += 1;
    }

    /// The counts of two lanes together.
    pub const fn plus(self, other: ByTransport) -> ByTransport {
        ByTransport {
            udp: self.udp + other.udp,
            tcp: self.tcp + other.tcp,
            tls: self.tls + other.tls,
            ws: self.ws + other.ws,
            wss: self.wss + other.wss,
            mgcp: self.mgcp + other.mgcp,
        }
    }

    /// Messages that came on connections.
    pub const fn on_connections(self) -> u64 {
        self.tcp + self.tls + self.ws + self.wss
    }
}
