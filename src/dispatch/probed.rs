//! Findings of the prober about downstream proxies, told to every lane.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::dispatch::targets::proxies::Address;
use crate::time::Time;
use crate::words::LoadReport;

/// A finding about a proxy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Name of the proxy.
    pub proxy: Arc<str>,
    /// The moment at which it was found.
    pub at: Time,
    /// The finding.
    pub what: Found,
}

/// Content of a finding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// One of its addresses has answered a probe.
    Answered {
        /// The address.
        address: SocketAddr,
        /// Number of the probe: later ones to this address have higher ones.
        number: u32,
        /// Status of the final response.
        status: u16,
        /// Time for which it wants nothing, at most five minutes.
        retry_after: Option<Duration>,
        /// Time from the probe to the first response.
        delay: Duration,
        /// Its load, if the answer says it.
        load: Option<LoadReport>,
    },
    /// A probe to this address was not answered in time.
    Lost {
        /// The address.
        address: SocketAddr,
        /// Number of the probe.
        number: u32,
    },
    /// The host at this address says that nothing listens there (ICMP).
    Refused {
        /// The address.
        address: SocketAddr,
        /// Number of the probe.
        number: u32,
    },
    /// The answer to a probe that counts as lost.
    Late(SocketAddr),
    /// The server at this address took a probe for a call. The call was ended, and probes are OPTIONS from now on.
    Taken(SocketAddr),
    /// The load that its source reports, for all of its addresses.
    Load(LoadReport),
    /// Its name leads to these addresses from now on; none: to nowhere.
    Addresses {
        /// The addresses.
        members: Vec<Address>,
        /// Whether they are old: the name servers give no answer at the moment.
        is_stale: bool,
    },
}

impl super::Dispatch {
    /// The prober has found this out.
    pub fn on_found(&mut self, _findings: &[Finding], _now: Time) {}
}
