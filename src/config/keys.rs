//! The table of configuration keys: [`Settings`], the flags, `pointsman check --print`, the keys that a reload may
//! change, and README's table are made from these rows.
//!
//! A row is
//!
//! ```text
//! /// Description: the first sentence is for --help, all of it for README.
//! "name" field: Type {
//!     apply: Live,                        // or Restart: whether a reload may change it
//!     default: 4,                         // of the row's type; absent: none
//!     within: 1..=9, " units",            // the range that is checked; absent: the check has words of its own
//!     shown: "four",                      // words for the default where its value says less
//!     flag: "UNITS" under "Limits",       // word for the value in --help, and the heading
//!     see: "[Limits](#limits)"            // link in README
//! }
//! ```
//!
//! and [`Config`](super::Config) has a field of the same name with the checked value.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;

use super::describe::Written;
use super::error::Fault;
use super::key::{Flag, Given, Key, keys, maybe, within, words_of};
use super::{
    AccessRule, Apply, Bytes, EndpointKind, Insert, Lan, Listen, MethodRule, MgcpRule, Network, Policy, PoolKeys,
    PortRange, ProxyKeys, Route, Secret, Service, SipRule, SizeSource, Span, TlsIdentity,
};
use crate::transaction::LIFETIME;
use crate::words::ReplyFrom;

const fn seconds(n: u64) -> Span {
    Span::Of(Duration::from_secs(n))
}

const fn minutes(n: u64) -> Span {
    seconds(60 * n)
}

keys! {
    /// Workers to run, 0 to 1024; 0: only workers of your own, which come to the handoff socket. One that a reload
    /// takes away is drained first. Without a worker, calls get 503.
    "workers" workers: u16 {
        apply: Live, default: 1, flag: "N", see: "[Workers of your own](#workers-of-your-own)"
    }

    /// Directory of the stats and handoff sockets, the locks and the key. Its mode is 0700.
    "run-dir" run_dir: PathBuf {
        apply: Restart,
        shown: "/run/pointsman where it can be made, else $XDG_RUNTIME_DIR/pointsman, else /tmp/pointsman-UID",
        flag: "DIR"
    }

    /// Group whose members may read the stats socket, by name or number. The socket's mode is 0660 then, the run
    /// directory's 0710.
    "stats-group" stats_group: String {
        apply: Restart, flag: "GROUP", see: "[Stats socket](#stats-socket)"
    }

    /// Well-known addresses, `[udp:|tcp:|tls:|ws:|wss:|mgcp:]ADDR:PORT`, IPv6 in brackets; port 0: the kernel chooses.
    "listen" listen: Vec<Listen> {
        apply: Restart,
        default: [Service::Udp, Service::Tcp].map(|service| Listen { service, address: ([0, 0, 0, 0], 5060).into() }).into(),
        flag: "ADDR:PORT", see: "[Transports](#transports)"
    }

    /// SIP port (UDP and TCP) of worker w0; wN has this plus N; 0: the kernel chooses each. Used beside SIP listeners
    /// only.
    "worker-ports" worker_ports: u16 {
        apply: Restart, default: 5070, flag: "FIRST"
    }

    /// MGCP port of worker w0; wN has this plus N; 0: the kernel chooses each. Used beside `mgcp:` listeners only,
    /// where `bypass` is not `domain`.
    "worker-mgcp-ports" worker_mgcp_ports: u16 {
        apply: Restart, default: 2430, flag: "FIRST"
    }

    /// Units each worker offers; one unit is one plain two-party leg.
    "capacity" capacity: u32 {
        apply: Restart, default: 1000, within: 1..=1_000_000, " units", flag: "UNITS"
    }

    /// UDP ports for media, split evenly over the workers.
    "rtp-ports" rtp_ports: PortRange {
        apply: Restart, default: PortRange { first: 20_000, last: 31_999 }, flag: "FIRST-LAST"
    }

    /// Policy by which a worker is chosen: `least-load`, `round-robin`, `weighted`, `hash`, `pack`.
    "policy" policy: Policy {
        apply: Live, default: Policy::LeastLoad, flag: "NAME"
    }

    /// Threads that read the well-known sockets and decide, 1 to 64; more pay off when one core is full. Each has a
    /// link of its own to every worker.
    "lanes" lanes: u16 {
        apply: Restart, default: 1, flag: "N"
    }

    /// Address that workers name in Contact and SDP.
    "advertise" advertise: IpAddr {
        apply: Restart, shown: "the one the request arrived on", flag: "ADDR"
    }

    /// Information written into a message that is handed over: `none`, `header` (`X-Worker-Port`) or `request-uri`,
    /// both with the worker's port.
    "insert" insert: Insert {
        apply: Live, default: Insert::None, flag: "WHAT"
    }

    /// Socket that SIP answers leave from: `listener`, the well-known one (RFC 3581 §4), or `worker`. Answers to MGCP
    /// commands leave from the address that the command came to.
    "reply-from" reply_from: ReplyFrom {
        apply: Restart, default: ReplyFrom::Listener, flag: "SOCKET"
    }

    /// Time that workers get to end their calls with BYE at an orderly stop.
    "stop-after" stop_after: Span {
        apply: Live, default: seconds(3), within: seconds(0)..=minutes(60), "", flag: "TIME"
    }

    /// Time after which a draining worker ends its remaining calls with BYE, or `never`.
    "drain-after" drain_after: Span {
        apply: Live, default: Span::Never, flag: "TIME"
    }

    /// Largest size believed of one session; a larger one counts as this.
    "max-size" max_size: u32 {
        apply: Live, default: 1000, within: 1..=1_000_000, " units", flag: "UNITS" under "Session sizes"
    }

    /// Size of one video stream of an SDP offer; an audio stream is 1.
    "video-size" video_size: u32 {
        apply: Live, default: 4, within: 0..=1_000_000, " units", flag: "UNITS" under "Session sizes"
    }

    /// Sources whose stated size is believed, as networks.
    "size-from" size_from: Vec<Network> {
        apply: Live, default: Network::ALL.to_vec(), shown: "all", flag: "NET" under "Session sizes"
    }

    /// Places in which the size is looked for, the first hit wins. Without a hit it is 1.
    "size-order" size_order: Vec<SizeSource> {
        apply: Live, default: SizeSource::ALL.to_vec(), flag: "PLACE" under "Session sizes"
    }

    /// Most entries in the table of recent messages. Memory for it is taken at start, about 160 bytes each.
    "table-cap" table_cap: usize {
        apply: Restart, default: 1 << 18, within: 1 << 10..=1 << 24, " entries", flag: "N" under "Limits"
    }

    /// Longest life of an entry whose request has no final answer.
    "pending-max" pending_max: Span {
        apply: Live, default: minutes(5), within: Span::Of(LIFETIME)..=minutes(60), "", flag: "TIME" under "Limits"
    }

    /// Bytes of unanswered messages kept for each worker. They are taken as they are used, and given back when it
    /// leaves.
    "retention" retention: Bytes {
        apply: Restart, default: Bytes(16 << 20), within: Bytes(128 << 10)..=Bytes(1 << 30), "",
        flag: "BYTES" under "Limits"
    }

    /// Time over which a started worker's share of new sessions rises to full; `0s`: at once.
    "slow-start" slow_start: Span {
        apply: Live, default: seconds(10), within: seconds(0)..=minutes(60), "", flag: "TIME" under "Limits"
    }

    /// Time without a report after which a worker gets nothing new. One that stays silent for 7 s more is killed and
    /// started anew, except in `maint`.
    "silent-after" silent_after: Span {
        // Idle workers report once a second: below two, one late report would make a worker silent.
        apply: Live, default: seconds(3), within: seconds(2)..=minutes(1), "", flag: "TIME" under "Limits"
    }

    /// Weights of workers for the policy `weighted`, 1 to 1000, as a table: `w0 = 2`.
    "weights" weights: BTreeMap<String, u32> {
        apply: Live, shown: "1 each"
    }

    /// Treatment of requests outside a dialog, as a table: `MESSAGE = "select"` brings them to a worker's application
    /// (else 405; INFO and NOTIFY 481), `REGISTER = "accept"` answers 200 and keeps nothing, for telephones that must
    /// register to call. Rules are for INFO, MESSAGE, NOTIFY, PUBLISH, REFER, REGISTER and SUBSCRIBE.
    "methods" methods: BTreeMap<String, MethodRule> {
        apply: Live, shown: "refuse"
    }

    /// Secret of the tokens, 64 hexadecimal digits; the same where dispatchers share workers. Keep the file from other
    /// users (`chmod o-r`).
    "token-key" token_key: Secret {
        apply: Restart, shown: "made once"
    }

    /// Former `token-key` whose tokens are still recognised.
    "previous-token-key" previous_token_key: Secret {
        apply: Restart
    }

    /// Sources that cannot reach another port, as networks: their calls stay at the well-known one.
    "pinned-sources" pinned_sources: Vec<Network> {
        apply: Live, flag: "NET", see: "[Who bypasses](#who-bypasses-and-who-is-pinned)"
    }

    /// List of rules for SIP listeners: whether calls bypass the dispatcher.
    "sip" sip: Vec<SipRule> {
        apply: Live, shown: "bypass for all but WebSocket", see: "[Transports](#transports)"
    }

    /// List of the certificates of `tls:` and `wss:` listeners, and of the workers' own ports.
    "tls" tls: Vec<TlsIdentity> {
        apply: Live, see: "[Transports](#transports)"
    }

    /// Workers on other hosts, as a table: `listen`, `certificate`, `key`, `client-ca`, and `names` of those that may
    /// come.
    "lan" lan: Lan {
        apply: Restart, see: "[Workers on other hosts](#workers-on-other-hosts)"
    }

    /// Most connections at once, of all `tcp:`, `tls:`, `ws:` and `wss:` listeners, 1 to 1000000. Beyond it, a new one
    /// is closed.
    "max-connections" max_connections: u32 {
        apply: Restart, shown: "half of the descriptors that are left, at most 65536", flag: "N" under "Connections"
    }

    /// Most connections of one source, an IPv4 address or an IPv6 /64.
    "max-connections-per-source" max_connections_per_source: u32 {
        apply: Live, shown: "an eighth of `max-connections`", flag: "N" under "Connections"
    }

    /// Sources that may have any number of connections and handshakes, as networks: load balancers and proxies.
    "connection-exempt" connection_exempt: Vec<Network> {
        apply: Live, flag: "NET" under "Connections"
    }

    /// Most TLS and WebSocket handshakes under way at once.
    "max-handshakes" max_handshakes: u32 {
        apply: Live, default: 512, within: 1..=65_536, " handshakes", flag: "N" under "Connections"
    }

    /// Origins of web pages whose WebSocket connections are accepted, such as `https://example.net`; a connection that
    /// names another is refused with 403.
    "origins" origins: Vec<String> {
        apply: Live, shown: "all", flag: "ORIGIN" under "Connections"
    }

    /// Time for which a dispatcher that has been taken over keeps its TLS connections that are not quiet.
    "linger" linger: Span {
        apply: Live, default: minutes(10), within: seconds(0)..=minutes(24 * 60), "",
        flag: "TIME" under "Connections"
    }

    /// Sources that are sent 180 before the answer to their call, as networks. Some callers fail without a provisional
    /// response.
    "ring-first" ring_first: Vec<Network> {
        apply: Live, flag: "NET"
    }

    /// List of rules about the sources that may send, and how much each may begin; the first that fits decides.
    "access" access: Vec<AccessRule> {
        apply: Live, see: "[Floods](#floods)"
    }

    /// List of rules for `mgcp:` listeners: the way past the dispatcher, and the call agent.
    "mgcp" mgcp: Vec<MgcpRule> {
        apply: Restart, shown: "relay for all", see: "[MGCP](#mgcp)"
    }

    /// Other beginnings of MGCP endpoint names, of one term or several (`"mobicents/ivr" = "ivr"`), and the kind that
    /// each stands for, as a table.
    "mgcp-aliases" mgcp_aliases: BTreeMap<String, EndpointKind> {
        apply: Restart, default: BTreeMap::from([("rtpbridge".to_owned(), EndpointKind::Bridge)])
    }

    /// Time after which MGCP connections without command and packet are deleted, 1s to 168h, or `never`.
    "mgcp-timeout" mgcp_timeout: Span {
        apply: Restart, default: minutes(10), flag: "TIME" under "Limits", see: "[MGCP](#mgcp)"
    }

    /// List of rules that lead requests to pools: by `method`, `user`, `host`, `from` and `header`. The first that fits
    /// decides; without one, requests are for the workers, or for the pool `default` if no worker is started.
    "route" routes: Vec<Route> {
        apply: Live, see: "[their keys](#keys-of-the-tables)"
    }

    /// List of pools of downstream proxies: `mode` is `proxy`, `stateful` or `redirect`. The pool `default` need not be
    /// written, `workers` is that of the workers.
    "pool" pools: Vec<PoolKeys> {
        apply: Live, see: "[their keys](#keys-of-the-tables)"
    }

    /// Values of keys that the tables of `proxy` leave out, as a table; all but `name` and `uri`.
    "proxy-defaults" proxy_defaults: ProxyKeys {
        apply: Live
    }

    /// List of downstream proxies: SIP servers that requests are forwarded or redirected to, each with its `name` and
    /// `uri`.
    "proxy" proxies: Vec<ProxyKeys> {
        apply: Live, see: "[their keys](#keys-of-the-tables)"
    }

    /// Name of the extension header by which requests to proxies with `identifier = true` say which one has them.
    "identifier-header" identifier_header: String {
        apply: Live, default: "X-Pointsman-System".to_owned()
    }

    /// Time for which a message that went to a downstream proxy over TCP or TLS is remembered after its final response,
    /// so that later ones of its dialog without an identifier follow it.
    "remember" remember: Span {
        apply: Live, default: Span::Of(LIFETIME), within: Span::Of(LIFETIME)..=seconds(12 * 3600), ""
    }
}
