//! Pools of proxies.

use std::time::Duration;

use crate::words::word_list::words;

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
