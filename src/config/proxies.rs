//! Downstream proxies: SIP servers that know nothing of us, the pools that they form, and the routes to the pools.

use std::time::Duration;

use super::Network;
use crate::words::word_list::words;

/// One table of the key `route`: requests that fit it are for its pool. The first route that fits holds. A condition
/// that is absent always holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// The method, in upper case.
    pub method: Option<String>,
    /// Pattern of the user part of the request-URI; `*` stands for any characters.
    pub user: Option<String>,
    /// Pattern of the host of the request-URI, in any case.
    pub host: Option<String>,
    /// Sources that it holds for; empty: all.
    pub from: Vec<Network>,
    /// Name of a header, in any case, and pattern of its value.
    pub header: Option<(String, String)>,
    /// Name of the pool; [`Pool::WORKERS`] is that of the slots.
    pub pool: String,
}

/// A pool of proxies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pool {
    /// Its name.
    pub name: String,
    /// Treatment of its requests.
    pub mode: PoolMode,
    /// Policy by which one of its members is chosen.
    pub policy: PoolPolicy,
    /// Names of pools that are asked in turn when no member takes a request.
    pub fallback: Vec<String>,
    /// Whether the workers are members.
    pub workers: bool,
    /// Time without any response after which the next member gets a request (mode `stateful`).
    pub answer_within: Duration,
    /// Statuses after which the next member gets a request (mode `stateful`).
    pub retry_on: Vec<u16>,
    /// Most members that get a request, or that a 302 names.
    pub tries: u8,
    /// Whether requests inside a dialog come back to the dispatcher.
    pub record_route: RecordRoute,
    /// Whether host and port of the request-URI become those of the chosen proxy.
    pub rewrite_uri: bool,
    /// New requests a second below which the members get them evenly in turn; 0: never.
    pub round_robin_below: u32,
}

impl Pool {
    /// The pool of the proxies that name none.
    pub const DEFAULT: &'static str = "default";
    /// The pool of the workers.
    pub const WORKERS: &'static str = "workers";
}

impl Default for Pool {
    fn default() -> Self {
        Pool {
            name: Pool::DEFAULT.to_owned(),
            mode: PoolMode::Proxy,
            policy: PoolPolicy::Latency,
            fallback: Vec::new(),
            workers: false,
            answer_within: Duration::from_secs(1),
            retry_on: vec![500, 503, 504],
            tries: 3,
            record_route: RecordRoute::Auto,
            rewrite_uri: false,
            round_robin_below: 0,
        }
    }
}

/// Treatment of the requests of a pool.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PoolMode {
    /// They are forwarded without state of a transaction (RFC 3261 §16.11).
    #[default]
    Proxy,
    /// They are forwarded with the state of their transaction: another member gets what one has not answered.
    Stateful,
    /// They are answered 302 with the addresses of members.
    Redirect,
}

words!(PoolMode { Proxy = "proxy", Stateful = "stateful", Redirect = "redirect" });

/// Policy by which a member of a pool is chosen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PoolPolicy {
    /// The member with the lowest (outstanding requests + 1) / weight.
    #[default]
    Latency,
    /// The members in turn, in proportion to their weights.
    Weighted,
    /// The member with the lowest load.
    LeastLoad,
    /// The members one after the other.
    RoundRobin,
    /// The same member for the same Call-ID (rendezvous hashing).
    Hash,
}

words!(PoolPolicy {
    Latency = "latency",
    Weighted = "weighted",
    LeastLoad = "least-load",
    RoundRobin = "round-robin",
    Hash = "hash",
});

/// Whether the dispatcher stays on the path of a dialog (RFC 3261 §16.6 step 4).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RecordRoute {
    /// Where one side could not reach the other without it.
    #[default]
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

words!(RecordRoute { Auto = "auto", Always = "always", Never = "never" });

/// A downstream proxy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proxy {
    /// Its name: the identity under which its state lasts over reloads.
    pub name: String,
    /// Host of its URI: a name or a numeric address, IPv6 without brackets.
    pub host: String,
    /// Port of its URI, if one is written.
    pub port: Option<u16>,
    /// Whether its URI names the transport.
    pub names_transport: bool,
    /// Name of its pool.
    pub pool: String,
    /// Its share beside others of the same delay and load, 1 to 1000.
    pub handicap: u16,
    /// Most sessions; `None`: as it reports, else without limit.
    pub capacity: Option<u32>,
    /// The request by which its health and delay are found out.
    pub probe: Probe,
    /// Time between two probes.
    pub probe_interval: Duration,
    /// Time after which a probe without an answer is lost.
    pub probe_within: Duration,
    /// The socket that probes leave from.
    pub probe_from: ProbeFrom,
    /// Lost probes in a row after which it is down.
    pub fall: u8,
    /// Answered probes in a row after which it is up again.
    pub rise: u8,
    /// Time for which an answered INVITE counts as a session where nothing reports the load.
    pub session_time: Duration,
    /// Source of its load.
    pub load: LoadSource,
    /// Metric (Prometheus) or pointer (JSON) of the sessions in use; empty: `used`.
    pub load_used: String,
    /// Metric or pointer of the most sessions; empty: `total`.
    pub load_total: String,
    /// Whether it is asked for overload control (RFC 7339).
    pub oc: bool,
}

impl Default for Proxy {
    fn default() -> Self {
        Proxy {
            name: String::new(),
            host: String::new(),
            port: None,
            names_transport: false,
            pool: Pool::DEFAULT.to_owned(),
            handicap: 100,
            capacity: None,
            probe: Probe::Options,
            probe_interval: Duration::from_secs(2),
            probe_within: Duration::from_secs(1),
            probe_from: ProbeFrom::Own,
            fall: 2,
            rise: 2,
            session_time: Duration::from_secs(180),
            load: LoadSource::None,
            load_used: String::new(),
            load_total: String::new(),
            oc: false,
        }
    }
}

/// A probe.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Probe {
    /// OPTIONS.
    #[default]
    Options,
    /// OPTIONS with Max-Forwards 0: a proxy answers itself.
    OptionsZero,
    /// An INVITE that every server refuses.
    Invite,
    /// Nothing is sent.
    None,
}

words!(Probe { Options = "options", OptionsZero = "options-0", Invite = "invite", None = "none" });

/// Socket that probes leave from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ProbeFrom {
    /// One of its own for each proxy: the kernel reports there that nothing listens.
    #[default]
    Own,
    /// The well-known one: for servers that answer only known addresses.
    Listener,
}

words!(ProbeFrom { Own = "own", Listener = "listener" });

/// Source of a proxy's load.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum LoadSource {
    /// Nothing reports it.
    #[default]
    None,
    /// `X-Load` and its kin in answers to probes, or in OPTIONS that it sends.
    Sip,
    /// A document at this address, `http://HOST:PORT/PATH`.
    Http(String),
    /// A line from this address, `HOST:PORT`.
    Agent(String),
}
