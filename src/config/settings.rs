//! The operator's settings: the keys of the configuration file, each of which may be absent.
//!
//! The command line has the same keys as flags (`worker-ports` is `--worker-ports`) and wins over the file.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use toml::de::DeTable;

use super::error::{ConfigError, Fault, Origin, closest, one_line};
use super::{
    AccessRule, Bytes, EndpointKind, Insert, Listen, MethodRule, MgcpRule, Network, Policy, PortRange, Secret,
    SizeSource, Span,
};
use crate::words::ReplyFrom;

/// The keys of the configuration file (TOML). Durations carry a unit (`500ms`, `3s`, `5m`, `1h`).
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Settings {
    /// Number of workers to run, 0 to 1024; with 0, workers of your own come to the handoff socket, and calls get 503
    /// until one has. Default 1. A reload may change it.
    pub workers: Option<u16>,
    /// Directory of the stats and handoff sockets, the locks and the key; mode 0700. Default: `/run/pointsman` where
    /// it can be made, else `$XDG_RUNTIME_DIR/pointsman`, else `/tmp/pointsman-UID`.
    pub run_dir: Option<PathBuf>,
    /// Group whose members may read the stats socket, by name or number: `load`, `workers`, `counters`, `watch` and
    /// `explain`. The socket's mode is 0660 then, the run directory's 0710. Default: none.
    pub stats_group: Option<String>,
    /// The well-known addresses, each `[udp:|mgcp:]ADDR:PORT`; an IPv6 address stands in brackets. Port 0: the kernel
    /// chooses. Default `["udp:0.0.0.0:5060"]`.
    pub listen: Option<Vec<Listen>>,
    /// SIP port (UDP and TCP) of worker w0; worker wN has this plus N. 0: the kernel chooses each. Used by SIP
    /// listeners only. Default 5070.
    pub worker_ports: Option<u16>,
    /// MGCP port of worker w0; worker wN has this plus N. 0: the kernel chooses each. Used by `mgcp:` listeners only,
    /// where `bypass` is not `domain`. Default 2430.
    pub worker_mgcp_ports: Option<u16>,
    /// Units each worker offers; one unit is one plain two-party leg. 1 to 1000000. Default 1000.
    pub capacity: Option<u32>,
    /// UDP ports for media, `FIRST-LAST`, split evenly over the workers. Default `20000-31999`.
    pub rtp_ports: Option<PortRange>,
    /// Policy by which a worker is chosen for a new session: `least-load`, `round-robin`, `weighted`, `hash` or `pack`.
    /// Default `least-load`. A reload may change it.
    pub policy: Option<Policy>,
    /// Threads that read the well-known sockets and decide, 1 to 64; more pay off when one core is full. Default 1.
    pub lanes: Option<u16>,
    /// Address that workers name in Contact and SDP instead of the one the request arrived on. Default: none.
    pub advertise: Option<IpAddr>,
    /// Information that the dispatcher writes into a message it hands over: `none`, `header` (`X-Worker-Port`) or
    /// `request-uri` (the chosen worker's port). Default `none`. A reload may change it.
    pub insert: Option<Insert>,
    /// Socket that answers to a handed-over SIP request leave from: `listener` (RFC 3581 §4) or `worker`. Answers to
    /// MGCP commands leave from the address that the command came to. Default `listener`.
    pub reply_from: Option<ReplyFrom>,
    /// Time that workers get to end their calls with BYE at an orderly stop. Default `3s`. A reload may change it.
    pub stop_after: Option<Span>,
    /// Time after which a draining worker ends its remaining calls with BYE; `never`: it waits for them.
    /// Default `never`. A reload may change it.
    pub drain_after: Option<Span>,
    /// The largest size believed of one session, in units; larger ones count as this. Default 1000. A reload may
    /// change it.
    pub max_size: Option<u32>,
    /// Size of one video stream of an SDP offer, in units (an audio stream is 1). Default 4. A reload may change it.
    pub video_size: Option<u32>,
    /// Sources whose stated size is believed, as networks (`10.0.0.0/8`). Default: all. A reload may change it.
    pub size_from: Option<Vec<Network>>,
    /// Places in which the size is looked for, first hit wins: `header` (`X-Session-Size`), `request-uri` (`;size=`),
    /// `mscml`, `msml`, `sdp`. Default: all, in this order. A reload may change it.
    pub size_order: Option<Vec<SizeSource>>,
    /// Most entries in the table of recent messages; memory for it is taken at start, about 160 bytes each.
    /// 1024 to 16777216. Default 262144.
    pub table_cap: Option<usize>,
    /// Longest life of a table entry whose request has no final answer. 32s to 1h. Default `5m`. A reload may change
    /// it.
    pub pending_max: Option<Span>,
    /// Bytes of unanswered messages kept for each worker, with unit (`16MiB`) or without. 128KiB to 1GiB.
    /// Default `16MiB`.
    pub retention: Option<Bytes>,
    /// Time over which a started worker's share of new sessions rises to full; `0s`: at once. Default `10s`.
    /// A reload may change it.
    pub slow_start: Option<Span>,
    /// Time without a report after which a worker is silent and gets nothing new. 2s to 1m. Default `3s`. A reload may
    /// change it.
    pub silent_after: Option<Span>,
    /// Weights for the policies, by worker (`w0 = 2`), 1 to 1000. Default 1 each. A reload may change them.
    pub weights: Option<BTreeMap<String, u32>>,
    /// Treatment of a request outside a dialog, by method (`MESSAGE = "select"`): `select` a worker for it, `refuse` it
    /// with 405 (INFO and NOTIFY with 481), or, for REGISTER alone, `accept` it with 200. For INFO, MESSAGE, NOTIFY,
    /// PUBLISH, REFER, REGISTER and SUBSCRIBE. Default `refuse`. A reload may change them.
    pub methods: Option<BTreeMap<String, MethodRule>>,
    /// Secret that tokens are made with, 64 hexadecimal digits; the same on all dispatchers that share workers.
    /// Default: made once and kept in the run directory.
    pub token_key: Option<Secret>,
    /// A former `token-key` whose tokens are still recognised. Default: none.
    pub previous_token_key: Option<Secret>,
    /// Sources that cannot reach another port than the well-known one, as networks: their calls are relayed.
    /// Default: none. A reload may change it.
    pub pinned_sources: Option<Vec<Network>>,
    /// Sources that are sent 180 before the answer to their call, as networks: some callers fail without a provisional
    /// response. Default: none. A reload may change it.
    pub ring_first: Option<Vec<Network>>,
    /// Rules about the sources that may send to the well-known ports and to the workers' own, and about their rates: in
    /// order, the first that fits decides; see [`AccessRule`]. Default: no rule, all may send. A reload may change it.
    pub access: Option<Vec<AccessRule>>,
    /// Rules for the `mgcp:` listeners: the way in which commands reach the workers, and the call agent; see
    /// [`MgcpRule`]. Default: `relay` for all, and no call agent.
    pub mgcp: Option<Vec<MgcpRule>>,
    /// Other beginnings of MGCP endpoint names (`rtpbridge`, `mobicents/ivr`) beside `ann`, `cnf`, `ivr` and `bridge`,
    /// and the one of these that each stands for. Default `{ rtpbridge = "bridge" }`.
    pub mgcp_aliases: Option<BTreeMap<String, EndpointKind>>,
    /// Time after which an MGCP connection is deleted if no packet comes to it and no command names its endpoint, for
    /// example when its call agent has died; `never`: it stays. Default `10m`.
    pub mgcp_timeout: Option<Span>,
}

impl Settings {
    /// Reads a configuration file's text.
    ///
    /// # Errors
    /// Syntax errors, unknown keys and values of the wrong shape, each with its line and column.
    pub fn parse(text: &str) -> Result<Settings, ConfigError> {
        Settings::read(text).map_err(|fault| fault.found_in(&Origin::file("configuration", text)))
    }

    /// The names of all keys.
    pub fn keys() -> Vec<String> {
        Settings::default().values().into_iter().map(|(key, _)| key).collect()
    }

    /// Whether the settings have a value for this key; `weights.w0` asks for `weights`.
    pub(super) fn sets(&self, key: &str) -> bool {
        let key = key.split('.').next().unwrap_or(key);
        self.values().iter().any(|(name, value)| name == key && !value.is_null())
    }

    pub(super) fn read(text: &str) -> Result<Settings, Fault> {
        let table = DeTable::parse(text).map_err(|error| Fault::in_text(&error))?;
        let keys = Settings::keys();
        if let Some(unknown) = table.get_ref().keys().find(|key| !keys.iter().any(|known| known == key.get_ref())) {
            let message = match closest(unknown.get_ref(), &keys) {
                Some(known) => format!("no such key; did you mean `{known}`?"),
                None => format!("no such key; the keys are {}", keys.join(", ")),
            };
            return Err(Fault::of(unknown.get_ref(), message).at(unknown.span()));
        }
        toml::from_str(text).map_err(|error| {
            let key = error.span().and_then(|span| {
                let around = |value: &std::ops::Range<usize>| value.start <= span.start && span.start <= value.end;
                let entries = || table.get_ref().iter();
                let within = entries().find(|(key, value)| around(&(key.span().start..value.span().end)));
                // A table with a header of its own has the header alone as its place.
                let behind = || entries().filter(|(key, _)| key.span().start <= span.start);
                within.or_else(|| behind().max_by_key(|(key, _)| key.span().start))
            });
            match key {
                Some((key, _)) => Fault::of(key.get_ref(), one_line(error.message())).at_maybe(error.span()),
                None => Fault::in_text(&error),
            }
        })
    }

    fn values(&self) -> Vec<(String, serde_json::Value)> {
        match serde_json::to_value(self) {
            Ok(serde_json::Value::Object(values)) => values.into_iter().collect(),
            // A struct of plain values always makes an object.
            _ => Vec::new(),
        }
    }

    /// These settings, each replaced by that of `flags` where `flags` has a value.
    #[must_use]
    pub fn overridden_by(&self, flags: &Settings) -> Settings {
        let (file, flags) = (self.clone(), flags.clone());
        Settings {
            workers: flags.workers.or(file.workers),
            run_dir: flags.run_dir.or(file.run_dir),
            stats_group: flags.stats_group.or(file.stats_group),
            listen: flags.listen.or(file.listen),
            worker_ports: flags.worker_ports.or(file.worker_ports),
            worker_mgcp_ports: flags.worker_mgcp_ports.or(file.worker_mgcp_ports),
            capacity: flags.capacity.or(file.capacity),
            rtp_ports: flags.rtp_ports.or(file.rtp_ports),
            policy: flags.policy.or(file.policy),
            lanes: flags.lanes.or(file.lanes),
            advertise: flags.advertise.or(file.advertise),
            insert: flags.insert.or(file.insert),
            reply_from: flags.reply_from.or(file.reply_from),
            stop_after: flags.stop_after.or(file.stop_after),
            drain_after: flags.drain_after.or(file.drain_after),
            max_size: flags.max_size.or(file.max_size),
            video_size: flags.video_size.or(file.video_size),
            size_from: flags.size_from.or(file.size_from),
            size_order: flags.size_order.or(file.size_order),
            table_cap: flags.table_cap.or(file.table_cap),
            pending_max: flags.pending_max.or(file.pending_max),
            retention: flags.retention.or(file.retention),
            slow_start: flags.slow_start.or(file.slow_start),
            silent_after: flags.silent_after.or(file.silent_after),
            weights: flags.weights.or(file.weights),
            methods: flags.methods.or(file.methods),
            token_key: flags.token_key.or(file.token_key),
            previous_token_key: flags.previous_token_key.or(file.previous_token_key),
            pinned_sources: flags.pinned_sources.or(file.pinned_sources),
            ring_first: flags.ring_first.or(file.ring_first),
            access: flags.access.or(file.access),
            mgcp: flags.mgcp.or(file.mgcp),
            mgcp_aliases: flags.mgcp_aliases.or(file.mgcp_aliases),
            mgcp_timeout: flags.mgcp_timeout.or(file.mgcp_timeout),
        }
    }
}
