//! One downstream proxy.

use std::time::Duration;

use super::Pool;
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
