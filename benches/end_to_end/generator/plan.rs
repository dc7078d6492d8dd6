//! The plan of a load generator.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use super::sizes::Sizes;

/// The load that a generator makes.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The address for initial requests.
    pub target: SocketAddr,
    /// Connections to the target over TCP; 0: UDP.
    pub connections: usize,
    /// The generator's own address.
    pub local: IpAddr,
    /// The pace at which calls are placed.
    pub pace: Pace,
    /// Calls that exist at a time. A fixed rate places no more, so that a machine that cannot keep up gets its calls
    /// later and not all at once.
    pub at_most: usize,
    /// When the last one has been placed.
    pub until: Until,
    /// The time from a call's answer to its BYE; `None`: it stands until [`Generator::hang_up`].
    pub hold: Option<Duration>,
    /// BYEs a second at most; `None`: no limit.
    pub byes_per_second: Option<f64>,
    /// The routing of ACK and BYE.
    pub routing: Routing,
    /// The sizes in `X-Session-Size`.
    pub sizes: Sizes,
    /// The length of an INVITE in bytes.
    pub invite_bytes: usize,
    /// Whether the Via asks for replies at the source port (RFC 3581).
    pub rport: bool,
    /// Whether offers are `a=inactive`.
    pub inactive: bool,
    /// The retransmission timer T1.
    pub t1: Duration,
}

/// The pace of new calls.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Pace {
    /// Calls a second, whatever becomes of the earlier ones (an open loop).
    Rate(f64),
    /// As many as keep this number of transactions open (a closed loop).
    Window(usize),
}

/// When the last call has been placed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Until {
    /// After that many.
    Calls(u64),
    /// After that time.
    After(Duration),
    /// When [`Progress::stop`] says so.
    Stopped,
}

/// The routing of requests in a dialog.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Routing {
    /// By Record-Route, else to Contact: as RFC 3261 §12.2.1.1 says.
    Dialog,
    /// All to the target, as a client with a fixed outbound proxy does.
    Target,
}

impl Plan {
    /// Full calls to `target` with 956-byte INVITEs, a window of 64, until stopped.
    pub fn new(target: SocketAddr) -> Self {
        Plan {
            target,
            connections: 0,
            local: if target.ip().is_unspecified() { Ipv4Addr::LOCALHOST.into() } else { target.ip() },
            pace: Pace::Window(64),
            at_most: usize::MAX,
            until: Until::Stopped,
            hold: Some(Duration::ZERO),
            byes_per_second: None,
            routing: Routing::Dialog,
            sizes: Sizes::Unstated,
            invite_bytes: 956,
            rport: true,
            inactive: false,
            t1: Duration::from_millis(500),
        }
    }
}
