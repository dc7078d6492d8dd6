//! One `[[proxy]]` as written, over `[proxy-defaults]` → the proxy that is meant.

use std::fmt;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;

use super::super::describe::{Written, inline_table};
use super::super::error::Fault;
use super::super::key::within;
use super::super::mgcp::is_host;
use super::super::table::table_keys;
use super::super::{Network, Span};
use super::place::Place;
use super::{LoadSource, Pool, Probe, ProbeFrom, Proxy, SystemDown, name};
use crate::transaction::LIFETIME;
use crate::words::Transport;

table_keys! {
    /// One table of the key `proxy` as written, or the table `proxy-defaults`, which has no name and no URI.
    ///
    /// ```toml
    /// [[proxy]]
    /// name = "fs1"
    /// uri = "sip:192.0.2.21:5060"
    /// pool = "ivr"
    /// ```
    #[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
    #[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
    pub struct ProxyKeys {
        /// Its name, which no other proxy has.
        pub name: Option<String>,
        /// Its address: `sip:HOST[:PORT][;transport=udp|tcp|tls]`. A name is looked up, and each of its addresses is a
        /// server of its own.
        pub uri: Option<String>,
        /// Its pool. Default `default`.
        pub pool: Option<String>,
        /// Its share beside others of the same delay and load, 1 to 1000. Default 100.
        pub handicap: Option<u32>,
        /// Most sessions, 1 to 1000000. Default: as it reports, else without limit.
        pub capacity: Option<u32>,
        /// Request by which its health and delay are found out: `options`; `options-0`, with Max-Forwards 0, which a
        /// proxy answers itself; `invite`, which every server refuses; `none`. Default `options`.
        pub probe: Option<Probe>,
        /// Time between two probes, 100ms to 1h. Default 2s.
        pub probe_interval: Option<Span>,
        /// Time after which a probe without an answer is lost, 10ms to 32s. Default 1s, or `probe-interval` if that is
        /// shorter.
        pub probe_within: Option<Span>,
        /// Socket that probes leave from, over UDP: `own`, one for each proxy, where the kernel tells of a closed port;
        /// `listener`, for a server that admits the well-known address alone. Default `own`.
        pub probe_from: Option<ProbeFrom>,
        /// Lost probes in a row after which it is down, 1 to 100. Default 2.
        pub fall: Option<u32>,
        /// Answered probes in a row after which it is up again, 1 to 100. Default 2.
        pub rise: Option<u32>,
        /// Time for which an answered INVITE counts as a session where nothing reports the load, 1s to 24h. Default 3m.
        pub session_time: Option<Span>,
        /// Source of its load: `none`; `sip`, the header `X-Load: used=17;total=200`, or `X-FS-Calls: 17`, in its
        /// answers to probes or in OPTIONS that it sends; `http://HOST:PORT/PATH`, a document of JSON or Prometheus;
        /// `agent:HOST:PORT`, a line of HAProxy's agent-check. Default `none`.
        pub load: Option<LoadSource>,
        /// Sessions in use in a document over HTTP: a JSON pointer, or a Prometheus metric, whose series are added up.
        /// Default `used`.
        pub load_used: Option<String>,
        /// Most sessions in a document over HTTP, in the same way. Default `total`.
        pub load_total: Option<String>,
        /// Whether it is asked for overload control (RFC 7339): of the requests that would go to it, the part that it
        /// does not want goes to other servers, or is refused with 503. Default false.
        pub oc: Option<bool>,
        /// Connections that each lane keeps open to it, over TCP or TLS, 1 to 16. Default 1.
        pub connections: Option<u32>,
        /// Networks from which it opens connections itself, over TCP or TLS, beside its own address. Default: none.
        pub from: Option<Vec<Network>>,
        /// Whether requests to it and its responses get its identifier in the header `identifier-header`, over TCP or
        /// TLS.
        /// Default false.
        pub identifier: Option<bool>,
        /// Treatment of requests inside its dialogs while it is down, over TCP or TLS: `refuse`, 503 with Retry-After;
        /// `move`, to another member of the pool. Default `refuse`.
        pub system_down: Option<SystemDown>,
        /// Name that its certificate has to be for. Default: the HOST of its URI.
        pub tls_name: Option<String>,
        /// File of the certificate that it is shown (PEM). Default: the first of `[[tls]]`.
        pub tls_certificate: Option<PathBuf>,
        /// File of the private key of `tls-certificate` (PEM). Default: the first of `[[tls]]`.
        pub tls_key: Option<PathBuf>,
    }
}

const INTERVAL: RangeInclusive<Span> = Span::Of(Duration::from_millis(100))..=Span::Of(Duration::from_secs(3600));
const WITHIN: RangeInclusive<Span> = Span::Of(Duration::from_millis(10))..=Span::Of(LIFETIME);
const SESSION_TIME: RangeInclusive<Span> = Span::Of(Duration::from_secs(1))..=Span::Of(Duration::from_secs(86_400));

impl ProxyKeys {
    /// Checks each value alone. `at` is the place of the table: `proxy.1` or `proxy-defaults`.
    pub(super) fn check(&self, at: &str) -> Result<(), Fault> {
        let counts = [
            ("handicap", self.handicap, 1..=1000),
            ("capacity", self.capacity, 1..=1_000_000),
            ("fall", self.fall, 1..=100),
            ("rise", self.rise, 1..=100),
            ("connections", self.connections, 1..=16),
        ];
        for (key, value, range) in counts {
            value.map_or(Ok(()), |value| within(&format!("{at}.{key}"), &value, &range, ""))?;
        }
        let spans = [
            ("probe-interval", self.probe_interval, INTERVAL),
            ("probe-within", self.probe_within, WITHIN),
            ("session-time", self.session_time, SESSION_TIME),
        ];
        for (key, value, range) in spans {
            value.map_or(Ok(()), |value| within(&format!("{at}.{key}"), &value, &range, ""))?;
        }
        for (key, value) in [("load-used", &self.load_used), ("load-total", &self.load_total)] {
            let fault = |words: String| Fault::of(&format!("{at}.{key}"), words);
            value.as_deref().map_or(Ok(()), check_series).map_err(fault)?;
        }
        Ok(())
    }

    /// The defaults' own check: they have no name and no URI.
    pub(super) fn check_as_defaults(&self) -> Result<(), Fault> {
        const AT: &str = "proxy-defaults";
        for (key, value) in [("name", &self.name), ("uri", &self.uri)] {
            if value.is_some() {
                let words = format!("each proxy has its own `{key}`; write it into [[proxy]]");
                return Err(Fault::of(&format!("{AT}.{key}"), words));
            }
        }
        self.check(AT)
    }

    /// The proxy that is meant, over the defaults. `at` is the place of the table.
    pub(super) fn checked(&self, defaults: &ProxyKeys, at: &str) -> Result<Proxy, Fault> {
        let of = |key: &str, words: String| Fault::of(&format!("{at}.{key}"), words);
        self.check(at)?;
        let missing = |key: &str, hint: &str| Fault::of(at, format!("`{key}` is missing; {hint}"));
        let name = self.name.clone().ok_or_else(|| missing("name", "give the proxy a name, such as \"fs1\""))?;
        name::check(&name).map_err(|words| of("name", words))?;
        if name::is_of_worker(&name) {
            return Err(of("name", format!("`{name}` is the name of a worker; give another")));
        }
        let uri = self.uri.as_deref().ok_or_else(|| missing("uri", "write such as `uri = \"sip:192.0.2.21:5060\"`"))?;
        let (place, transport) = read_uri(uri).map_err(|words| of("uri", words))?;
        let merged = self.over(defaults);
        let default = Proxy::default();
        let load = merged.load.unwrap_or_default();
        let is_http = matches!(load, LoadSource::Http(_));
        for (key, value) in [("load-used", &self.load_used), ("load-total", &self.load_total)] {
            if !is_http && value.as_ref().is_some_and(|value| !value.is_empty()) {
                let words =
                    "it names a value of a document; with `load = \"http://HOST:PORT/PATH\"` alone it has a use";
                return Err(of(key, words.to_owned()));
            }
        }
        self.check_transport(transport.unwrap_or(Transport::Udp), at)?;
        let time = |given: Option<Span>, default| given.and_then(Span::duration).unwrap_or(default);
        let probe_interval = time(merged.probe_interval, default.probe_interval);
        let probe_within = time(merged.probe_within, default.probe_within.min(probe_interval));
        if probe_within > probe_interval {
            let words = format!(
                "{} is longer than the `probe-interval` of {}; give less, or leave it out",
                Span::Of(probe_within),
                Span::Of(probe_interval)
            );
            return Err(of("probe-within", words));
        }
        let count = |given: Option<u32>, default: u8| given.and_then(|it| it.try_into().ok()).unwrap_or(default);
        Ok(Proxy {
            name,
            host: place.host,
            port: place.port,
            names_transport: transport.is_some(),
            transport: transport.unwrap_or(Transport::Udp),
            connections: count(merged.connections, default.connections),
            from: merged.from.unwrap_or_default(),
            identifier: merged.identifier.unwrap_or_default(),
            system_down: merged.system_down.unwrap_or_default(),
            tls_name: merged.tls_name,
            tls_files: merged.tls_certificate.zip(merged.tls_key),
            pool: merged.pool.unwrap_or_else(|| Pool::DEFAULT.to_owned()),
            handicap: merged.handicap.and_then(|it| it.try_into().ok()).unwrap_or(default.handicap),
            capacity: merged.capacity,
            probe: merged.probe.unwrap_or_default(),
            probe_interval,
            probe_within,
            probe_from: merged.probe_from.unwrap_or_default(),
            fall: count(merged.fall, default.fall),
            rise: count(merged.rise, default.rise),
            session_time: time(merged.session_time, default.session_time),
            load,
            load_used: merged.load_used.filter(|_| is_http).unwrap_or_default(),
            load_total: merged.load_total.filter(|_| is_http).unwrap_or_default(),
            oc: merged.oc.unwrap_or_default(),
        })
    }

    /// Whether the proxy's transport has a use for the keys that are written for it.
    fn check_transport(&self, transport: Transport, at: &str) -> Result<(), Fault> {
        let of_stream = [
            ("connections", self.connections.is_some()),
            ("from", self.from.is_some()),
            ("identifier", self.identifier.is_some()),
            ("system-down", self.system_down.is_some()),
        ];
        let of_tls = [
            ("tls-name", self.tls_name.is_some()),
            ("tls-certificate", self.tls_certificate.is_some()),
            ("tls-key", self.tls_key.is_some()),
        ];
        let written =
            |keys: &[(&'static str, bool)]| keys.iter().find(|(_, is_written)| *is_written).map(|(key, _)| *key);
        let unused = match transport {
            Transport::Tls => None,
            Transport::Tcp => written(&of_tls).map(|key| (key, ";transport=tls")),
            _ => written(&of_tls)
                .map(|key| (key, ";transport=tls"))
                .or(written(&of_stream).map(|key| (key, ";transport=tcp"))),
        };
        if transport != Transport::Udp && self.probe_from == Some(ProbeFrom::Listener) {
            let words = "probes over TCP and TLS leave on a connection of their own; leave it out";
            return Err(Fault::of(&format!("{at}.probe-from"), words.to_owned()));
        }
        if let Some((key, transport)) = unused {
            return Err(Fault::of(&format!("{at}.{key}"), format!("it has a use with `{transport}` in `uri` alone")));
        }
        if let Some(name) = &self.tls_name
            && !is_host(name)
        {
            let words = format!("`{name}` is not a host's name; give one that its certificate is made for");
            return Err(Fault::of(&format!("{at}.tls-name"), words));
        }
        let (one, other) = match (&self.tls_certificate, &self.tls_key) {
            (Some(_), None) => ("tls-certificate", "tls-key"),
            (None, Some(_)) => ("tls-key", "tls-certificate"),
            _ => return Ok(()),
        };
        Err(Fault::of(&format!("{at}.{one}"), format!("it needs `{other}` beside it")))
    }

    /// These keys, each of the defaults where it is absent.
    fn over(&self, defaults: &ProxyKeys) -> ProxyKeys {
        macro_rules! over {
            ($($field:ident),+) => {
                ProxyKeys { $($field: self.$field.as_ref().or(defaults.$field.as_ref()).cloned(),)+ }
            };
        }
        over!(
            name,
            uri,
            pool,
            handicap,
            capacity,
            probe,
            probe_interval,
            probe_within,
            probe_from,
            fall,
            rise,
            session_time,
            load,
            load_used,
            load_total,
            oc,
            connections,
            from,
            identifier,
            system_down,
            tls_name,
            tls_certificate,
            tls_key
        )
    }
}

/// Reads `sip:HOST[:PORT][;transport=udp|tcp|tls]`: the place, and the transport if it is written.
fn read_uri(uri: &str) -> Result<(Place, Option<Transport>), String> {
    let (scheme, rest) = uri.split_once(':').unwrap_or(("", uri));
    if scheme.eq_ignore_ascii_case("sips") {
        return Err("write `sip:HOST[:PORT];transport=tls`: `sips:` asks for TLS on the whole way".to_owned());
    }
    if !scheme.eq_ignore_ascii_case("sip") {
        return Err(format!("`{uri}` is not a URI of a server; write sip:HOST[:PORT]"));
    }
    if rest.contains('@') {
        return Err(format!("`{uri}` names a user; write sip:HOST[:PORT]"));
    }
    let mut parts = rest.split(';');
    let place =
        Place::read(parts.next().unwrap_or_default()).map_err(|words| format!("{words}; write sip:HOST[:PORT]"))?;
    let mut transport = None;
    for param in parts {
        let (name, value) = param.split_once('=').unwrap_or((param, ""));
        if !name.eq_ignore_ascii_case("transport") {
            return Err(format!("the parameter `;{param}` has no use here; leave it out"));
        }
        if transport.is_some() {
            return Err("`;transport` stands there twice; keep one".to_owned());
        }
        transport = match value.to_ascii_lowercase().as_str() {
            "udp" => Some(Transport::Udp),
            "tcp" => Some(Transport::Tcp),
            "tls" => Some(Transport::Tls),
            _ => return Err(format!("proxies are reached over udp, tcp or tls; write one of them for `{value}`")),
        };
    }
    Ok((place, transport))
}

/// Checks the name of a Prometheus metric, or a JSON pointer (RFC 6901); empty: the usual one.
fn check_series(name: &str) -> Result<(), String> {
    let is_metric = |byte: u8| byte.is_ascii_alphanumeric() || b"_:".contains(&byte);
    let is_pointer = name.starts_with('/') && !name.contains(char::is_control);
    if name.len() <= 255 && (name.bytes().all(is_metric) || is_pointer) {
        return Ok(());
    }
    Err(format!("`{name}` is neither a metric nor a JSON pointer; write such as asterisk_calls_count or /calls/used"))
}

impl fmt::Display for ProxyKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let number = |value: Option<u32>| value.map(|value| value.to_string());
        let span = |value: Option<Span>| value.map(|value| value.written());
        f.write_str(&inline_table([
            ("name", self.name.as_ref().map(String::written)),
            ("uri", self.uri.as_ref().map(String::written)),
            ("pool", self.pool.as_ref().map(String::written)),
            ("handicap", number(self.handicap)),
            ("capacity", number(self.capacity)),
            ("probe", self.probe.map(|probe| probe.to_string().written())),
            ("probe-interval", span(self.probe_interval)),
            ("probe-within", span(self.probe_within)),
            ("probe-from", self.probe_from.map(|from| from.to_string().written())),
            ("fall", number(self.fall)),
            ("rise", number(self.rise)),
            ("session-time", span(self.session_time)),
            ("load", self.load.as_ref().map(|load| load.to_string().written())),
            ("load-used", self.load_used.as_ref().map(String::written)),
            ("load-total", self.load_total.as_ref().map(String::written)),
            ("oc", self.oc.map(|oc| oc.to_string())),
            ("connections", number(self.connections)),
            ("from", self.from.as_ref().map(|from| from.written())),
            ("identifier", self.identifier.map(|it| it.to_string())),
            ("system-down", self.system_down.map(|it| it.to_string().written())),
            ("tls-name", self.tls_name.as_ref().map(String::written)),
            ("tls-certificate", self.tls_certificate.as_ref().map(PathBuf::written)),
            ("tls-key", self.tls_key.as_ref().map(PathBuf::written)),
        ]))
    }
}
