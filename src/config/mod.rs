//! One file of settings and the command line → one checked, immutable [`Config`].
//!
//! [`Settings`] is the operator's text: every key may be absent. [`Config`] is what the dispatcher runs with: every
//! value is present and checked against the others. After [`Config::load`], the kernel alone can still object (the port
//! is in use, the directory may not be made). The difference that a reload makes is a [`Change`].
//!
//! ```
//! use pointsman::config::{Config, Policy, Settings};
//!
//! let file = Settings::parse("workers = 4\npolicy = \"pack\"\n").unwrap();
//! let config = Config::check(&file).unwrap();
//! assert_eq!((config.workers, config.policy), (4, Policy::Pack));
//! ```

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::ids::{TokenKey, WorkerId};
use crate::words;
use crate::words::ReplyFrom;

pub use access::{AccessRule, MAX_ACCESS_NETWORKS};
pub use change::{Change, Changed, NeedsRestart};
pub use check::{LONGEST_SOCKET_NAME, LONGEST_SOCKET_PATH};
pub use choice::{AccessAction, ClientCertificates, EndpointKind, Insert, MethodRule, Policy, SipBypass, SizeSource};
pub use connections::ConnectionCaps;
pub use describe::{Apply, Described};
pub use error::ConfigError;
pub use key::{Flag, Key};
pub use keys::{KEYS, Settings};
pub use lan::Lan;
pub use listen::{Listen, Service};
pub use mgcp::MgcpRule;
pub(crate) use mgcp::is_host;
pub use network::Network;
pub use proxies::{
    Asked, BadLoadSource, LoadSource, Pool, PoolKeys, PoolMode, PoolPolicy, Probe, ProbeFrom, Proxy, ProxyKeys,
    RecordRoute, Route, SystemDown,
};
pub use sip::SipRule;
pub use source::Source;
pub use table::{TABLES, Table, TableKey};
pub use text::{Bytes, PortRange, Secret, Span, count_of_workers};
pub use tls::TlsIdentity;

mod access;
mod change;
mod check;
mod choice;
mod connections;
mod describe;
mod error;
mod key;
mod keys;
mod lan;
mod listen;
mod mgcp;
mod network;
mod proxies;
mod settings;
mod sip;
mod source;
mod table;
mod text;
mod tls;

/// Most slots: a pool larger than this is several hosts, with a dispatcher each.
pub const MAX_WORKERS: u16 = 1024;

/// The checked configuration of a dispatcher. The keys are described at [`Settings`], under the same names.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// Number of worker slots, 0 to [`MAX_WORKERS`].
    pub workers: u16,
    /// The run directory as given; `None`: the first default that can be made.
    pub run_dir: Option<PathBuf>,
    /// The group that may read the stats socket.
    pub stats_group: Option<String>,
    /// The well-known sockets; at least one, none of which clashes with another.
    pub listen: Vec<Listen>,
    /// The SIP port of slot 0; 0: the kernel chooses each.
    pub worker_ports: u16,
    /// The MGCP port of slot 0; 0: the kernel chooses each.
    pub worker_mgcp_ports: u16,
    /// Units each worker offers, at least 1.
    pub capacity: u32,
    /// First and last RTP port of the whole pool.
    pub rtp_ports: PortRange,
    /// Policy by which a worker is chosen for a new session.
    pub policy: Policy,
    /// Threads that read the well-known sockets.
    pub lanes: u16,
    /// The address that Contact names in place of the one the request arrived on.
    pub advertise: Option<IpAddr>,
    /// Information to write into a message that is handed over.
    pub insert: Insert,
    /// Socket from which the answer to a handed-over request leaves.
    pub reply_from: ReplyFrom,
    /// Time that workers get to end their calls at an orderly stop.
    pub stop_after: Duration,
    /// Time after which a draining worker ends its calls; `None`: it waits for them.
    pub drain_after: Option<Duration>,
    /// The largest size believed of one session, in units.
    pub max_size: u32,
    /// Units of one video stream.
    pub video_size: u32,
    /// Sources whose stated size is believed.
    pub size_from: Vec<Network>,
    /// Places in which the size is looked for, in this order.
    pub size_order: Vec<SizeSource>,
    /// Most entries in the table of recent messages.
    pub table_cap: usize,
    /// Longest life of a table entry whose request has no final answer.
    pub pending_max: Duration,
    /// Bytes of unanswered messages kept for each worker.
    pub retention: Bytes,
    /// Time over which a started worker's share rises to full; zero: none.
    pub slow_start: Duration,
    /// Time without a report after which a worker is silent and gets nothing new.
    pub silent_after: Duration,
    /// Weights other than 1, by worker.
    pub weights: BTreeMap<WorkerId, u32>,
    /// Treatment of a request outside a dialog, by method; absent: refused.
    pub methods: BTreeMap<String, MethodRule>,
    /// The secret that tokens are made with; `None`: the one in the run directory.
    pub token_key: Option<TokenKey>,
    /// A secret whose tokens are still recognised.
    pub previous_token_key: Option<TokenKey>,
    /// Sources that cannot reach another port than the well-known one.
    pub pinned_sources: Vec<Network>,
    /// Rules for the SIP listeners; [`Config::pins`] finds a listener's.
    pub sip: Vec<SipRule>,
    /// Certificates of TLS listeners; at least one where there is such a listener.
    pub tls: Vec<TlsIdentity>,
    /// Workers on other hosts; `None`: there are none.
    pub lan: Option<Lan>,
    /// Most connections at once; `None`: derived, see [`Config::connection_caps`].
    pub max_connections: Option<u32>,
    /// Most connections of one source; `None`: derived.
    pub max_connections_per_source: Option<u32>,
    /// Sources whose connections are not counted against the cap of one source.
    pub connection_exempt: Vec<Network>,
    /// Most handshakes under way at once.
    pub max_handshakes: u32,
    /// Origins whose WebSocket connections are accepted, in lower case; empty: all.
    pub origins: Vec<String>,
    /// Time for which a dispatcher that has been taken over keeps its TLS connections.
    pub linger: Duration,
    /// Sources that are sent a 180 before the answer to their call.
    pub ring_first: Vec<Network>,
    /// Rules about the sources that may send, and their rates.
    pub access: Vec<AccessRule>,
    /// Rules for the MGCP listeners; [`Config::mgcp_of`] finds a listener's.
    pub mgcp: Vec<MgcpRule>,
    /// Other beginnings of MGCP endpoint names, in lower case, and the kinds that they stand for.
    pub mgcp_aliases: BTreeMap<String, EndpointKind>,
    /// Time after which an MGCP connection without a sign of life is deleted; `None`: never.
    pub mgcp_timeout: Option<Duration>,
    /// Routes of requests to pools.
    pub routes: Vec<Route>,
    /// Pools of proxies; [`Pool::DEFAULT`] is among them where it is written or named.
    pub pools: Vec<Pool>,
    /// Values that `proxies` have where their tables leave a key out.
    pub proxy_defaults: ProxyKeys,
    /// Downstream proxies.
    pub proxies: Vec<Proxy>,
    /// The extension header that holds a proxy's identifier.
    pub identifier_header: String,
    /// Time for which a forwarded message is remembered after its final response.
    pub remember: Duration,
}

impl Config {
    /// Reads the file, if one is named, lays the command line over it and checks the whole.
    ///
    /// # Errors
    /// The first fault found: an unreadable file, a syntax error, an unknown key, an impossible value.
    pub fn load(file: Option<&Path>, flags: &Settings) -> Result<Config, ConfigError> {
        Source { file: file.map(Path::to_owned), flags: flags.clone() }.load()
    }

    /// The slots' names, first to last.
    pub fn slots(&self) -> impl ExactSizeIterator<Item = WorkerId> + use<> {
        (0..self.workers).map(WorkerId)
    }

    /// The SIP port of a slot, 0 when the kernel is to choose.
    pub const fn sip_port(&self, slot: WorkerId) -> u16 {
        if self.worker_ports == 0 { 0 } else { self.worker_ports.saturating_add(slot.0) }
    }

    /// The MGCP port of a slot, 0 when the kernel is to choose.
    pub const fn mgcp_port(&self, slot: WorkerId) -> u16 {
        if self.worker_mgcp_ports == 0 { 0 } else { self.worker_mgcp_ports.saturating_add(slot.0) }
    }

    /// First and last RTP port of a slot: the first is even, the last odd (RFC 3550 §11).
    ///
    /// The range is split evenly over the slots. When a reload changes their number, workers that run keep the ports
    /// they were given until they restart, so two may share some; a port in use is passed over.
    pub fn rtp_ports(&self, slot: WorkerId) -> PortRange {
        let slots = self.workers.max(1);
        let span = self.rtp_ports.pairs() / u32::from(slots) * 2;
        let first = u32::from(self.rtp_ports.first_even()) + span * u32::from(slot.0 % slots);
        PortRange { first: first as u16, last: (first + span - 1) as u16 }
    }

    /// First and last RTP port for workers that come by themselves: the wider range beside the slots' own. These
    /// workers share it with each other and with every other program on the host; a port in use is passed over. `None`:
    /// the slots have all.
    pub fn rtp_ports_beside(&self) -> Option<PortRange> {
        const UNPRIVILEGED: u16 = 1024;
        let PortRange { first, last } = self.rtp_ports;
        let below = PortRange { first: UNPRIVILEGED, last: first.saturating_sub(1).max(UNPRIVILEGED) };
        let above = PortRange { first: last.saturating_add(1), last: u16::MAX };
        let wider = if above.pairs() >= below.pairs() { above } else { below };
        let first = u32::from(wider.first_even());
        let last = first + wider.pairs() * 2;
        (last > first).then(|| PortRange { first: first as u16, last: (last - 1) as u16 })
    }

    /// A worker's weight, 1 unless the configuration names another.
    pub fn weight(&self, slot: WorkerId) -> u32 {
        self.weights.get(&slot).copied().unwrap_or(1)
    }

    /// Treatment of a request of this method outside a dialog.
    pub fn method_rule(&self, method: &str) -> MethodRule {
        self.methods.get(method).copied().unwrap_or_default()
    }

    /// The rules about sources, as the decision and the workers read them: one rule for each network.
    pub fn access_rules(&self) -> Vec<words::AccessRule> {
        self.access.iter().flat_map(AccessRule::each).collect()
    }

    /// The distinct addresses of the SIP listeners: each slot has its SIP sockets on every one of them, and none where
    /// no listener speaks SIP.
    pub fn sip_ips(&self) -> Vec<IpAddr> {
        let mut ips: Vec<IpAddr> = Vec::new();
        let sip = self.listen.iter().filter(|listen| listen.service != Service::Mgcp);
        for ip in sip.map(|listen| listen.address.ip()) {
            if !ips.contains(&ip) {
                ips.push(ip);
            }
        }
        ips
    }
}

impl Default for Config {
    fn default() -> Self {
        Config::check(&Settings::default()).expect("the defaults pass every check, shown by a test")
    }
}

#[cfg(test)]
mod tests;
