//! The settings of a worker for MGCP: the member `mgcp` of the `Welcome`.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

/// The settings that a worker needs to be a media gateway.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
pub struct Mgcp {
    /// Other beginnings of endpoint names, in lower case, and the kind that each stands for: `ann`, `cnf`, `ivr` or
    /// `bridge`.
    pub aliases: BTreeMap<String, String>,
    /// One for each well-known address that speaks MGCP.
    pub listeners: Vec<MgcpListener>,
    /// Milliseconds after which a connection without a sign of life is deleted; absent: never.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout_ms: Option<u64>,
    /// The token of the dead worker that had the slot before. Its endpoints are gone, and call agents are to be told so
    /// (RFC 3435 §2.3.12).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub predecessor: Option<String>,
}

/// A well-known address that speaks MGCP, as this worker serves it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct MgcpListener {
    /// Its number among the listeners.
    pub listener: u16,
    /// The way on which later commands come to this worker.
    #[serde(default)]
    pub bypass: Bypass,
    /// The part after the `@` in the worker's own endpoint names: its own domain if `bypass` is `domain`, else the
    /// domain of the whole host.
    pub domain: String,
    /// The worker's own MGCP socket for this listener. `None` if the worker has bound ports of its own.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub own: Option<SocketAddr>,
    /// The call agent that is told of starts and ends, and is the first to be notified: a notified entity as in RFC
    /// 3435 §3.2.1.3.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub call_agent: Option<String>,
}

/// The way on which the commands after a CRCX come to the worker that has the endpoint.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Bypass {
    /// Through the dispatcher, which finds the worker's token in the endpoint's name.
    #[default]
    Relay,
    /// Directly to an address of the worker's own, which the endpoint's domain stands for.
    Domain,
    /// Directly to the worker's own port, which is written after the domain. This is not in the standard; many call
    /// agents understand it.
    Port,
}

impl Bypass {
    /// Its name, as in the configuration.
    pub const fn label(self) -> &'static str {
        match self {
            Bypass::Relay => "relay",
            Bypass::Domain => "domain",
            Bypass::Port => "port",
        }
    }
}
