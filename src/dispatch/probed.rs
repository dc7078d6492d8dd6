//! Findings of the prober about downstream proxies, told to every lane.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use super::Dispatch;
use super::decision::Admin;
use super::targets::proxies::Address;
use super::targets::proxy::Change;
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
    /// The load that one of its addresses has reported by itself.
    Reported {
        /// The address.
        address: SocketAddr,
        /// The load.
        load: LoadReport,
    },
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

impl Dispatch {
    /// Takes note of findings of the prober.
    pub fn on_found(&mut self, findings: &[Finding], now: Time) {
        findings.iter().for_each(|finding| self.proxies.on_finding(finding, now));
    }

    /// Sets the operator's order for a proxy, or for all addresses of one.
    pub fn set_proxy_admin(&mut self, name: &str, admin: Admin) {
        self.proxies.set_admin(name, admin);
    }

    /// Sets a proxy's handicap until the settings change it.
    pub fn set_handicap(&mut self, name: &str, handicap: u16, now: Time) {
        self.proxies.set_handicap(name, handicap, now);
    }

    /// Takes out the address of a proxy that is to be probed at once: requests have had no answer there.
    pub fn poll_silence(&mut self) -> Option<SocketAddr> {
        let id = self.proxies.poll_wish()?;
        self.proxies.get(id)?.address()
    }

    /// Takes out a load that the proxies at this address have reported by themselves: every lane is to know it.
    pub fn poll_report(&mut self) -> Option<(SocketAddr, LoadReport)> {
        self.proxies.poll_report()
    }

    /// Takes out a change of a proxy's state, for the log: its name, its address, and the state from now on.
    pub fn poll_proxy_change(&mut self) -> Option<(String, Option<SocketAddr>, Change)> {
        let (id, change) = self.proxies.poll_change()?;
        let address = self.proxies.get(id).and_then(|proxy| proxy.address());
        Some((self.proxies.name(id).unwrap_or_default().to_owned(), address, change))
    }
}
