//! One downstream proxy.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use super::super::Network;
use super::super::describe::{Written, inline_table};
use super::super::text::written_as_text;
use super::Pool;
use super::place::Place;
use crate::words::Transport;
use crate::words::word_list::words;

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
    /// The transport: UDP, or TCP or TLS for persistent connections.
    pub transport: Transport,
    /// Connections that each lane keeps open to it, over TCP or TLS.
    pub connections: u8,
    /// Sources of the connections that it opens itself, beside its own address.
    pub from: Vec<Network>,
    /// Whether requests to it and its responses get its identifier in an extension header.
    pub identifier: bool,
    /// Treatment of requests inside its dialogs while it is down.
    pub system_down: SystemDown,
    /// The name that its certificate has to be for; `None`: the host of its URI.
    pub tls_name: Option<String>,
    /// File of the certificate that it is shown (PEM), and of its private key; `None`: that of the first listener.
    pub tls_files: Option<(PathBuf, PathBuf)>,
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
            transport: Transport::Udp,
            connections: 1,
            from: Vec::new(),
            identifier: false,
            system_down: SystemDown::Refuse,
            tls_name: None,
            tls_files: None,
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

/// Treatment of a request inside a dialog whose proxy is down.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SystemDown {
    /// It is answered 503 with Retry-After.
    #[default]
    Refuse,
    /// Another member of the pool gets it.
    Move,
}

words!(SystemDown { Refuse = "refuse", Move = "move" });

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

impl Proxy {
    /// The name that its certificate is for.
    pub fn certified_name(&self) -> &str {
        self.tls_name.as_ref().unwrap_or(&self.host)
    }

    /// Its port: where none is written that of its transport.
    pub fn port(&self) -> u16 {
        self.port.unwrap_or(self.transport.default_port())
    }

    /// Whether it is reached over persistent connections.
    pub fn is_stream(&self) -> bool {
        self.transport != Transport::Udp
    }

    /// Its URI as the file has it.
    pub fn uri(&self) -> String {
        let host = if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() };
        let port = self.port.map(|port| format!(":{port}")).unwrap_or_default();
        let transport = match (self.transport, self.names_transport) {
            (Transport::Tcp, _) => ";transport=tcp",
            (Transport::Tls, _) => ";transport=tls",
            (_, true) => ";transport=udp",
            (_, false) => "",
        };
        format!("sip:{host}{port}{transport}")
    }
}

impl LoadSource {
    /// Host, port and path of a source that is asked over TCP.
    pub fn place(&self) -> Option<(String, u16, &str)> {
        let (place, port, path) = match self {
            LoadSource::None | LoadSource::Sip => return None,
            LoadSource::Http(url) => {
                let rest = url.strip_prefix("http://")?;
                let (place, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
                (place, Some(80), if path.is_empty() { "/" } else { path })
            }
            LoadSource::Agent(place) => (place.as_str(), None, ""),
        };
        let place = Place::read(place).ok()?;
        Some((place.host, place.port.or(port)?, path))
    }
}

impl FromStr for LoadSource {
    type Err = BadLoadSource;

    fn from_str(text: &str) -> Result<Self, BadLoadSource> {
        let bad = || BadLoadSource(text.to_owned());
        if text.len() > 1024 || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(bad());
        }
        let source = match (text, text.strip_prefix("agent:")) {
            ("none", _) => return Ok(LoadSource::None),
            ("sip", _) => return Ok(LoadSource::Sip),
            (_, Some(place)) => LoadSource::Agent(place.to_owned()),
            (_, None) => LoadSource::Http(text.to_owned()),
        };
        if source.place().is_some() { Ok(source) } else { Err(bad()) }
    }
}

impl fmt::Display for LoadSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LoadSource::None => f.write_str("none"),
            LoadSource::Sip => f.write_str("sip"),
            LoadSource::Http(url) => f.write_str(url),
            LoadSource::Agent(place) => write!(f, "agent:{place}"),
        }
    }
}

/// A text that names no source of the load.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no source of the load: write none, sip, http://HOST:PORT/PATH or agent:HOST:PORT")]
pub struct BadLoadSource(String);

written_as_text!(LoadSource, "`none`, `sip`, `http://HOST:PORT/PATH` or `agent:HOST:PORT`");

impl fmt::Display for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let is_http = matches!(self.load, LoadSource::Http(_));
        f.write_str(&inline_table([
            ("name", Some(self.name.written())),
            ("uri", Some(self.uri().written())),
            ("pool", Some(self.pool.written())),
            ("handicap", Some(self.handicap.to_string())),
            ("capacity", self.capacity.map(|capacity| capacity.to_string())),
            ("probe", Some(format!("\"{}\"", self.probe))),
            ("probe-interval", Some(self.probe_interval.written())),
            ("probe-within", Some(self.probe_within.written())),
            ("probe-from", Some(format!("\"{}\"", self.probe_from))),
            ("fall", Some(self.fall.to_string())),
            ("rise", Some(self.rise.to_string())),
            ("session-time", Some(self.session_time.written())),
            ("load", Some(self.load.to_string().written())),
            ("load-used", is_http.then(|| self.load_used.written())),
            ("load-total", is_http.then(|| self.load_total.written())),
            ("oc", Some(self.oc.written())),
            ("connections", self.is_stream().then(|| self.connections.to_string())),
            ("from", (!self.from.is_empty()).then(|| self.from.written())),
            ("identifier", self.is_stream().then(|| self.identifier.written())),
            ("system-down", self.is_stream().then(|| self.system_down.to_string().written())),
            ("tls-name", self.tls_name.as_ref().map(String::written)),
            ("tls-certificate", self.tls_files.as_ref().map(|(certificate, _)| certificate.written())),
            ("tls-key", self.tls_files.as_ref().map(|(_, key)| key.written())),
        ]))
    }
}
