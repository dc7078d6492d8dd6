//! A worker as it joins the dispatcher: its life, ports and protocols, and the work that it brings from an earlier
//! dispatcher.

use std::net::SocketAddr;

use crate::ids::{Incarnation, LinkId};
use crate::pack::packed;
use crate::time::Time;
use crate::words::{Envelope, OpenTransaction};

/// A worker that is connected: a child process that sent `Hello`, or a worker of an earlier dispatcher that came back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Joined {
    /// This life of the worker.
    pub incarnation: Incarnation,
    /// Its links.
    pub link: LinkId,
    /// Its capacity in units.
    pub capacity: u32,
    /// The protocols that it serves.
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

/// The protocol of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Protocol {
    /// SIP.
    Sip,
    /// MGCP.
    Mgcp,
}

impl Protocol {
    /// Number of protocols.
    pub const COUNT: usize = 2;
    /// All protocols.
    pub const ALL: [Protocol; Protocol::COUNT] = [Protocol::Sip, Protocol::Mgcp];
}

/// The protocols that a worker serves: it gets messages of no other.
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

    /// The services with these names; unknown names are ignored.
    pub fn named(names: &[String]) -> Services {
        let has = |name: &str| names.iter().any(|it| it == name);
        Services { sip: has("sip"), mgcp: has("mgcp") }
    }

    /// Whether the worker serves this protocol.
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

/// The work that a worker has when it comes back from an earlier dispatcher. Empty for a new worker.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Brought {
    /// Units of the sessions it has.
    pub units_used: u32,
    /// Sessions it has.
    pub sessions: u32,
    /// Whether the operator had it drain: the order outlives the dispatcher that received it.
    pub draining: bool,
    /// Transactions whose messages may still come.
    pub transactions: Vec<OpenTransaction>,
    /// Conferences: the time each was opened, and its name.
    pub conferences: Vec<(Time, Box<[u8]>)>,
    /// Messages that it has not answered.
    pub messages: Vec<Unanswered>,
}

/// A message that a worker has not answered, in the form in which it was handed over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unanswered {
    /// The information that came with it.
    pub envelope: Envelope,
    /// The message, byte for byte as it was received.
    pub payload: Box<[u8]>,
}

packed!(Services { sip, mgcp });
