//! Pools of proxies.

use std::fmt;
use std::time::Duration;

use serde::Deserialize;

use super::super::Span;
use super::super::describe::{Written, inline_table};
use super::super::error::Fault;
use super::super::key::within;
use super::super::table::table_keys;
use super::name;
use crate::transaction::LIFETIME;
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
    /// Names of pools that are asked in turn when no member takes a request, or those that have had it do not answer.
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

table_keys! {
    /// One table of the key `pool` as written.
    ///
    /// ```toml
    /// [[pool]]
    /// name = "ivr"
    /// mode = "stateful"
    /// fallback = ["workers"]
    /// ```
    #[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
    #[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
    pub struct PoolKeys {
        /// Its name, which no other pool has.
        pub name: Option<String>,
        /// Treatment of its requests: `proxy`, `stateful` or `redirect`. Default `proxy`.
        pub mode: PoolMode,
        /// Policy by which a member is chosen: `latency`, the fewest unanswered requests for its weight; `weighted`, in
        /// turn by weight; `least-load`; `round-robin`, in turn; `hash`, by Call-ID. Default `latency`; in mode
        /// `redirect`, which sees no answers, `weighted`; with `workers` `least-load`.
        pub policy: Option<PoolPolicy>,
        /// Pools that are asked in turn when no member takes a request, in mode `stateful` also when those that have
        /// had it do not answer it; `workers` is that of the workers, which get it after `tries` servers as well.
        /// Default: none.
        pub fallback: Vec<String>,
        /// Whether the workers are members, beside its proxies. Default false.
        pub workers: bool,
        /// Time without any response after which the next member gets a request, 50ms to 32s, in mode `stateful`.
        /// Default 1s.
        pub answer_within: Option<Span>,
        /// Statuses after which the next member gets a request, 400 to 599, in mode `stateful`. Default 500, 503, 504.
        pub retry_on: Option<Vec<u16>>,
        /// Most members that get a request, or that a 302 names, 1 to 16. Default 3.
        pub tries: Option<u32>,
        /// Whether requests inside a dialog come back to Pointsman: `auto`, where one side could not reach the other
        /// otherwise; `always`; `never`. Default `auto`.
        pub record_route: RecordRoute,
        /// Whether host and port of the request-URI become the server's. Default false.
        pub rewrite_uri: bool,
        /// New requests a second below which the members get them evenly in turn, 0 to 100000; 0 is never. Default 0.
        pub round_robin_below: u32,
    }
}

impl PoolKeys {
    /// The pool that is meant, checked alone. `at` is the place of the table, such as `pool.1`.
    pub(super) fn checked(&self, at: &str) -> Result<Pool, Fault> {
        let of = |key: &str, words: String| Fault::of(&format!("{at}.{key}"), words);
        let default = Pool::default();
        let name = self.name.clone().ok_or_else(|| Fault::of(at, "`name` is missing; give the pool a name"))?;
        name::check(&name).map_err(|words| of("name", words))?;
        if name == Pool::WORKERS {
            return Err(of("name", format!("`{name}` is the pool of the workers and has no settings; give another")));
        }
        let answer_within = self.answer_within.unwrap_or(Span::Of(default.answer_within));
        within(&format!("{at}.answer-within"), &answer_within, &ANSWER_WITHIN, "")?;
        let tries = self.tries.unwrap_or(u32::from(default.tries));
        within(&format!("{at}.tries"), &tries, &(1..=16), "")?;
        within(&format!("{at}.round-robin-below"), &self.round_robin_below, &(0..=100_000), " requests a second")?;
        let retry_on = self.retry_on.clone().unwrap_or(default.retry_on);
        if retry_on.len() > MOST_STATUSES {
            return Err(of("retry-on", format!("{} are too many; give at most {MOST_STATUSES}", retry_on.len())));
        }
        // A 6xx holds everywhere (RFC 3261 §16.7 step 5).
        if let Some(status) = retry_on.iter().find(|status| !(400..600).contains(*status)) {
            return Err(of("retry-on", format!("{status} does not ask for another server; give statuses 400 to 599")));
        }
        let policy = self.policy.unwrap_or(match (self.workers, self.mode) {
            (true, _) => PoolPolicy::LeastLoad,
            (false, PoolMode::Redirect) => PoolPolicy::Weighted,
            (false, PoolMode::Proxy | PoolMode::Stateful) => PoolPolicy::Latency,
        });
        self.check_together(policy).map_err(|(key, words)| of(key, words))?;
        if let Some(own) = self.fallback.iter().find(|other| **other == name) {
            return Err(of("fallback", format!("`{own}` falls back to itself; name other pools")));
        }
        let twice = self.fallback.iter().enumerate().find(|(at, other)| self.fallback[..*at].contains(other));
        if let Some((_, twice)) = twice {
            return Err(of("fallback", format!("`{twice}` stands there twice; keep the first")));
        }
        Ok(Pool {
            name,
            mode: self.mode,
            policy,
            fallback: self.fallback.clone(),
            workers: self.workers,
            answer_within: answer_within.duration().unwrap_or(default.answer_within),
            retry_on,
            tries: u8::try_from(tries).unwrap_or(default.tries),
            record_route: self.record_route,
            rewrite_uri: self.rewrite_uri,
            round_robin_below: self.round_robin_below,
        })
    }

    /// Checks keys against each other; the error is the key, and the message.
    fn check_together(&self, policy: PoolPolicy) -> Result<(), (&'static str, String)> {
        let sees_delay = matches!(policy, PoolPolicy::Latency | PoolPolicy::Weighted);
        if self.workers && self.mode == PoolMode::Redirect {
            return Err(("workers", "a 302 names proxies alone; leave the workers to `fallback`".to_owned()));
        }
        if self.workers && sees_delay {
            let words = format!(
                "workers have no delay that `{policy}` could compare; write `least-load`, `round-robin` or `hash`"
            );
            return Err(("policy", words));
        }
        if self.mode == PoolMode::Redirect && policy == PoolPolicy::Latency {
            let words = "a redirect pool sees no answers; write `weighted`, `least-load`, `round-robin` or `hash`";
            return Err(("policy", words.to_owned()));
        }
        if self.mode == PoolMode::Redirect && self.rewrite_uri {
            let words = "a redirected caller names the server itself; leave this out";
            return Err(("rewrite-uri", words.to_owned()));
        }
        if self.mode == PoolMode::Redirect && self.record_route == RecordRoute::Always {
            let words =
                "a redirected call never comes through here; write mode `proxy` or `stateful`, or leave this out";
            return Err(("record-route", words.to_owned()));
        }
        Ok(())
    }
}

const ANSWER_WITHIN: std::ops::RangeInclusive<Span> = Span::Of(Duration::from_millis(50))..=Span::Of(LIFETIME);

/// Most statuses of `retry-on`.
const MOST_STATUSES: usize = 32;

impl fmt::Display for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&inline_table([
            ("name", Some(self.name.written())),
            ("mode", Some(format!("\"{}\"", self.mode))),
            ("policy", Some(format!("\"{}\"", self.policy))),
            ("fallback", (!self.fallback.is_empty()).then(|| self.fallback.written())),
            ("workers", Some(self.workers.written())),
            ("answer-within", Some(self.answer_within.written())),
            ("retry-on", Some(self.retry_on.written())),
            ("tries", Some(self.tries.to_string())),
            ("record-route", Some(format!("\"{}\"", self.record_route))),
            ("rewrite-uri", Some(self.rewrite_uri.written())),
            ("round-robin-below", Some(self.round_robin_below.to_string())),
        ]))
    }
}
