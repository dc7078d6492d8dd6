//! Settings of a worker process, and the reasons why it may not run.

use std::io;
use std::net::IpAddr;
use std::os::fd::RawFd;
use std::path::PathBuf;

use crate::call::SessionTimer;
use crate::config::PortRange;
use crate::net::bind::BindError;
use crate::net::lan::{Credentials, Network};
use crate::net::lock_file::LockError;
use crate::net::tls::TlsError;
use crate::words::Hello;

/// Links that a worker takes, one for each lane of the dispatcher: more than any machine has CPUs.
pub(super) const MOST_LINKS: usize = 1 << 7;

/// Settings of a worker process. The dispatcher tells it everything else in the welcome.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The way to the dispatcher.
    pub link: Link,
    /// The slot it takes (`w2`), or a name of its own choice.
    pub name: Option<String>,
    /// Program and version, for people and for the `Server` header.
    pub program: String,
    /// Capacity units. `None`: the dispatcher's welcome says how many.
    pub capacity: Option<u32>,
    /// Whether it wants duplicates of the well-known sockets, to answer handed-over requests from.
    pub wants_listeners: bool,
    /// The handoff socket where it looks for a new dispatcher when its link ends. `None`: it serves the calls it has,
    /// and leaves 30 s after the last.
    pub handoff: Option<PathBuf>,
    /// Whether it is also a media gateway and takes MGCP (RFC 3435). The built-in worker is; an application has no part
    /// in it.
    pub gateway: bool,
    /// Session timers that it asks for (RFC 4028).
    pub session_timer: SessionTimer,
    /// The addresses where a worker that comes by itself takes calls. Empty: every address of this host.
    pub addresses: Vec<IpAddr>,
    /// Its SIP port, UDP and TCP; 0: the kernel chooses.
    pub sip_port: u16,
    /// Its ports for media. `None`: those that the dispatcher names, which belong to no slot.
    pub rtp_ports: Option<PortRange>,
}

/// The way to the dispatcher.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Link {
    /// A connected socket that was inherited under this number. [`crate::worker::run`] takes it over and closes it.
    Inherited(RawFd),
    /// The dispatcher's handoff socket. The worker binds ports of its own.
    Path(PathBuf),
    /// A dispatcher on another host. The worker binds ports of its own, and needs `addresses`.
    Network {
        /// Its name or address, for which its certificate is made.
        host: String,
        /// Its port.
        port: u16,
        /// The worker's certificate, in which its name stands, and the CA of the dispatcher's.
        credentials: Credentials,
    },
}

impl Settings {
    /// A worker that comes by `link`, with everything else at its default.
    pub fn new(link: Link) -> Self {
        let handoff = match &link {
            Link::Path(path) => Some(path.clone()),
            Link::Inherited(_) | Link::Network { .. } => None,
        };
        Settings {
            link,
            handoff,
            name: None,
            program: concat!("pointsman/", env!("CARGO_PKG_VERSION")).to_owned(),
            capacity: None,
            wants_listeners: true,
            gateway: false,
            session_timer: SessionTimer::default(),
            addresses: Vec::new(),
            sip_port: 0,
            rtp_ports: None,
        }
    }

    /// First and last port for media, where the dispatcher names `named`. A slot's worker uses the ports that the
    /// dispatcher names.
    ///
    /// # Errors
    ///
    /// A worker that came by itself has no pair of ports: the dispatcher would hand it nothing.
    pub(super) fn media_ports(&self, named: (u16, u16)) -> Result<(u16, u16), WorkerError> {
        if matches!(self.link, Link::Inherited(_)) {
            return Ok(named);
        }
        let (first, last) = self.rtp_ports.map_or(named, |own| (own.first, own.last));
        match (self.rtp_ports, PortRange { first, last }.pairs()) {
            (Some(own), 0) => Err(WorkerError::NoPairOfPorts(own)),
            (None, 0) => Err(WorkerError::NoPortsLeft),
            (_, _) => Ok((first, last)),
        }
    }

    /// The way to a dispatcher on another host.
    ///
    /// # Errors
    ///
    /// The certificates cannot be used.
    pub(super) fn network(&self) -> Result<Option<Network>, TlsError> {
        let Link::Network { host, port, credentials } = &self.link else { return Ok(None) };
        Ok(Some(Network { host: host.clone(), port: *port, tls: credentials.client()? }))
    }

    /// The `Hello` for every dispatcher.
    pub(super) fn hello(&self) -> Hello {
        let services: &[&str] = if self.gateway { &["sip", "mgcp"] } else { &["sip"] };
        Hello {
            services: services.iter().map(|service| (*service).to_owned()).collect(),
            name: self.name.clone(),
            program: self.program.clone(),
            pid: std::process::id(),
            capacity: self.capacity,
            wants_listeners: self.wants_listeners,
            links: MOST_LINKS as u16,
            ..Hello::default()
        }
    }
}

/// Why a worker does not run, or stopped.
#[derive(Debug, thiserror::Error)]
pub enum WorkerError {
    /// The dispatcher cannot be reached.
    #[error("cannot reach the dispatcher at {at}: {error}; is it running, and is this its run directory?")]
    Link {
        /// The path where the worker looked for it.
        at: String,
        /// The system's error.
        error: io::Error,
    },
    /// The dispatcher on another host cannot be reached.
    #[error("cannot reach the dispatcher at {at}: {error}")]
    Unreachable {
        /// Its host and port.
        at: String,
        /// The error, or the reason why one of the two refuses the other's certificate.
        error: io::Error,
    },
    /// The worker's certificate.
    #[error(transparent)]
    Credentials(#[from] TlsError),
    /// A worker on another host has no address that callers can reach.
    #[error(
        "a worker on another host needs --address, the address at which callers reach it; 0.0.0.0 and [::] are none"
    )]
    NoAddress,
    /// The descriptor that the dispatcher has passed on is no link.
    #[error("the link that the dispatcher has passed on as descriptor {fd} cannot be used: {error}")]
    Inherited {
        /// The descriptor's number.
        fd: RawFd,
        /// The system's error.
        error: io::Error,
    },
    /// The link ended, or nothing came, before the dispatcher's welcome.
    #[error("the dispatcher did not welcome this worker: {0}")]
    NotWelcome(String),
    /// The dispatcher's welcome cannot be used.
    #[error("the dispatcher's welcome cannot be used: {0}")]
    Welcome(String),
    /// Another process is the worker of its slot.
    #[error(transparent)]
    Slot(#[from] LockError),
    /// It came by itself, and has no port to serve.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// The dispatcher's own slots have all ports, and none were named for this worker.
    #[error(
        "no ports for media are left beside the dispatcher's `rtp-ports`; narrow them, or name some with --rtp-ports"
    )]
    NoPortsLeft,
    /// The ports named for media are too few for one stream.
    #[error("--rtp-ports: {0} holds no even port with the next one, which a media stream takes; give at least two")]
    NoPairOfPorts(PortRange),
    /// The system refused something that the worker cannot do without.
    #[error("{what}: {error}")]
    System {
        /// The action that failed.
        what: &'static str,
        /// The system's error.
        error: io::Error,
    },
}

impl WorkerError {
    pub(super) fn system(what: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |error| WorkerError::System { what, error }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worker_that_came_by_itself_and_has_no_port_for_media_does_not_run() {
        let by_path = |own: Option<PortRange>| Settings { rtp_ports: own, ..Settings::new(Link::Path("p".into())) };
        let range = |first, last| Some(PortRange { first, last });
        let refusal = |own, named| by_path(own).media_ports(named).map_err(|error| error.to_string());
        assert_eq!(refusal(None, (32_000, 65_535)), Ok((32_000, 65_535)));
        assert_eq!(refusal(range(30_000, 30_099), (0, 0)), Ok((30_000, 30_099)));
        assert!(refusal(None, (0, 0)).is_err_and(|words| words.contains("name some with --rtp-ports")));
        let pair = refusal(range(30_001, 30_002), (32_000, 65_535));
        assert!(pair.is_err_and(|words| words.starts_with("--rtp-ports: 30001-30002 holds no even port")));
        let slot = Settings { rtp_ports: range(30_000, 30_099), ..Settings::new(Link::Inherited(3)) };
        assert!(slot.media_ports((20_000, 20_999)).is_ok_and(|ports| ports == (20_000, 20_999)));
    }
}
