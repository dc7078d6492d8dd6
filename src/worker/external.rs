//! A worker for an ordinary MGCP gateway: it speaks to the dispatcher as every worker does, and to the gateway over UDP
//! as a call agent does. [`crate::call::external`] decides which message goes where.
//!
//! ```no_run
//! use pointsman::worker::external::{Settings, run};
//!
//! let gateway = "127.0.0.1:2427".parse().unwrap();
//! run(Settings::new("/run/pointsman/handoff.sock".into(), gateway)).unwrap();
//! ```

mod reading;
mod reunion;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::AsRawFd;
use std::path::PathBuf;

use mio::unix::SourceFd;
use mio::{Interest, Poll, Token};

use crate::call::external::{External, Identity, Output};
use crate::call::{Hop, Transmit};
use crate::ids::{TransactionRange, WorkerId};
use crate::net::clock;
use crate::net::random::random_u64;
use crate::net::udp::{Batch, Buffers, Delivery, Socket};
use crate::station::call_log::named;
use crate::station::orphan::Next;
use crate::time::Time;
use crate::words::{DrainMode, Hello, Report};
use crate::worker::link::LinkEnd;
use crate::worker::links::{LINKS, MOST};
use crate::worker::process::gateway::group_of;
use crate::worker::settings::{Link, WorkerError};
use crate::worker::sources::{SIGNALS, Sources};
use crate::worker::tie::Tie;
use crate::worker::turn::Rank;

/// The socket to the gateway.
const GATEWAY: Token = Token(3);

/// Settings of such a worker. The dispatcher tells it everything else in the welcome.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The dispatcher's handoff socket.
    pub dispatcher: PathBuf,
    /// The address where the gateway takes commands.
    pub gateway: SocketAddr,
    /// A name of its own choice.
    pub name: Option<String>,
    /// Program and version, for people to read.
    pub program: String,
    /// Capacity units. `None`: the dispatcher's welcome says how many.
    pub capacity: Option<u32>,
}

impl Settings {
    /// A worker for that gateway, with everything else at its default.
    pub fn new(dispatcher: PathBuf, gateway: SocketAddr) -> Self {
        let program = concat!("pointsman/", env!("CARGO_PKG_VERSION"), " for ").to_owned() + &gateway.to_string();
        Settings { dispatcher, gateway, name: None, program, capacity: None }
    }

    fn hello(&self) -> Hello {
        Hello {
            name: self.name.clone(),
            program: self.program.clone(),
            pid: std::process::id(),
            capacity: self.capacity,
            services: vec!["mgcp".to_owned()],
            wants_listeners: true,
            links: MOST as u16,
            ..Hello::default()
        }
    }
}

/// Runs the worker until the dispatcher stops it, or until it has had neither connection nor dispatcher for 30 s.
///
/// # Errors
///
/// The dispatcher cannot be reached or does not welcome the worker, or the system refuses a socket. A gateway that does
/// not answer is no error: it is asked again and again.
pub fn run(settings: Settings) -> Result<(), WorkerError> {
    let sources = Sources::new(rank_of)?;
    let socket = to_gateway(settings.gateway, &sources.poll)?;
    let introduced = LinkEnd::introduce(&Link::Path(settings.dispatcher.clone()), settings.hello(), &sources.poll)?;
    let (tie, _) = Tie::new(introduced, &sources.poll)?;
    let _named = named(&tie.welcome.name).entered();
    Adapter::new(sources, socket, tie, settings)?.run()
}

/// Rank of a source: links are read before the gateway's socket.
fn rank_of(source: Token) -> Rank {
    if source == GATEWAY { Rank::Datagrams } else { Rank::Links }
}

/// A socket connected to the gateway: it receives from no other source.
fn to_gateway(gateway: SocketAddr, poll: &Poll) -> Result<Socket, WorkerError> {
    let any: IpAddr = match gateway {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = Socket::bind(SocketAddr::new(any, 0), Buffers::SIGNALLING)?;
    socket.connect(gateway).map_err(WorkerError::system("there is no way to the gateway"))?;
    poll.registry()
        .register(&mut SourceFd(&socket.as_raw_fd()), GATEWAY, Interest::READABLE)
        .map_err(WorkerError::system("cannot watch the socket to the gateway"))?;
    Ok(socket)
}

/// The state of the process.
struct Adapter {
    sources: Sources,
    settings: Settings,
    tie: Tie,
    external: External,
    /// To the gateway.
    socket: Socket,
    batch: Batch,
    /// Whether the gateway answered, when the log said so last.
    was_there: bool,
}

impl Adapter {
    fn new(sources: Sources, socket: Socket, tie: Tie, settings: Settings) -> Result<Self, WorkerError> {
        let seed = || random_u64().map_err(WorkerError::system("no random numbers"));
        let external = External::new(Identity {
            token: tie.welcome.token.as_str().into(),
            range: TransactionRange::of(WorkerId(tie.welcome.slot)),
            units: settings.capacity.unwrap_or(tie.welcome.capacity),
            seed: [seed()?, seed()?],
        });
        Ok(Adapter { sources, settings, tie, external, socket, batch: Batch::new(), was_there: false })
    }

    fn run(mut self) -> Result<(), WorkerError> {
        loop {
            let now = clock::now();
            let due = if self.sources.has_more() { None } else { self.poll_timeout() };
            self.sources.wait(due.map(|due| due.since(now)))?;
            while let Some(token) = self.sources.next() {
                if self.on_ready(token) {
                    self.sources.add(token);
                }
                self.carry_out();
            }
            let now = clock::now();
            if self.tie.stage.is_drained(now) {
                self.end_connections("drained for long enough", now);
            }
            self.external.handle_timeout(now);
            self.carry_out();
            if self.is_over(now) {
                return Ok(());
            }
            let report = self.report();
            self.tie.speak(report, now, &mut self.sources);
        }
    }

    fn poll_timeout(&self) -> Option<Time> {
        self.tie.poll_timeout(self.report()).into_iter().chain(self.external.poll_timeout()).min()
    }

    /// Reads from a source; true when it may have more.
    fn on_ready(&mut self, token: Token) -> bool {
        let now = clock::now();
        match token {
            // More frames may follow the welcome.
            Token(LINKS) if self.tie.is_coming_back() => self.on_comeback(now),
            Token(token) if (LINKS..LINKS + MOST).contains(&token) => self.on_link(token - LINKS),
            SIGNALS => {
                while self.sources.signals.poll() {
                    let order = self.tie.stage.on_stop_signal(now);
                    self.obey(order, now);
                }
                false
            }
            GATEWAY => self.on_gateway(),
            _ => false,
        }
    }

    /// Carries out the outputs of `external` until there are none.
    fn carry_out(&mut self) {
        while let Some(output) = self.external.poll_output() {
            let now = clock::now();
            match output {
                Output::Transmit(transmit) => self.transmit(&transmit),
                Output::Gateway(bytes) => self.tell_gateway(&bytes, now),
                Output::Answered(seq) => {
                    self.tie.links.answered(seq, now);
                }
                Output::Refuse(seq, reason) => self.tie.links.refuse(seq, reason),
                Output::CallOpened(id, since) => heard(self.tie.links.group_open(since, &group_of(&id))),
                Output::CallClosed(id) => heard(self.tie.links.group_closed(&group_of(&id))),
            }
        }
        let is_there = !self.external.is_without_gateway();
        if is_there != self.was_there {
            self.was_there = is_there;
            let gateway = self.settings.gateway;
            match is_there {
                true => tracing::info!(%gateway, "the gateway answers"),
                false => tracing::warn!(%gateway, "the gateway does not answer: it gets no new connections"),
            }
        }
    }

    /// A message that cannot be sent is lost like a packet on the way: the call agent that waits for it retransmits its
    /// command.
    fn transmit(&mut self, transmit: &Transmit) {
        let Transmit { hop, to, from, bytes } = transmit;
        let socket = match *hop {
            Hop::Dispatcher(conn) => return heard(self.tie.links.reply(conn, bytes)),
            Hop::Listener(number) => self.tie.listeners.get(number),
            Hop::Own(_) | Hop::Stream(_) | Hop::Dial => None,
        };
        let Some(socket) = socket else { return };
        if let Err(error) = socket.send(bytes, *to, *from) {
            tracing::debug!(%error, %to, "an MGCP message could not be sent");
        }
    }

    fn tell_gateway(&mut self, bytes: &[u8], now: Time) {
        match self.socket.send(bytes, self.settings.gateway, None) {
            // The error is about the datagram sent before: no process listened on the gateway's port.
            Ok(Delivery::Undeliverable(libc::ECONNREFUSED)) => {
                self.external.on_gateway_gone(now);
                // The error stood for the earlier datagram; this one has not left yet.
                let _ = self.socket.send(bytes, self.settings.gateway, None);
            }
            Ok(_) => {}
            Err(error) => tracing::debug!(%error, "a message to the gateway could not be sent"),
        }
    }

    fn obey(&mut self, order: Option<DrainMode>, now: Time) {
        match order {
            None => {}
            Some(DrainMode::Ready) => self.external.set_draining(false),
            Some(DrainMode::Drain) => self.external.set_draining(true),
            Some(DrainMode::Stop) => self.end_connections("stopping", now),
        }
    }

    fn end_connections(&mut self, why: &str, now: Time) {
        tracing::info!(connections = self.external.load().sessions, "{why}: connections are deleted");
        self.external.end_all(now);
        self.carry_out();
    }

    fn is_over(&mut self, now: Time) -> bool {
        if self.tie.is_comeback_over(now) {
            self.on_comeback(now);
        }
        match self.tie.poll(!self.external.is_quiet(), now) {
            Next::Wait => false,
            Next::Try => {
                let begun = self.come_back(now);
                self.tie.on_hello(begun, now);
                false
            }
            Next::Leave => true,
        }
    }

    fn report(&self) -> Report {
        let load = self.external.load();
        Report {
            units_used: load.units_used,
            units_total: self.external.units(),
            sessions: load.sessions,
            no_room: self.external.is_without_gateway(),
            answered: load.answered,
            ..Report::default()
        }
    }
}

/// Logs that a link with a backlog has dropped a record about a call, or an answer to a command for all workers. The
/// dispatcher asks again, or gives up, by itself.
fn heard(told: Result<(), crate::link::worker_end::Backlog>) {
    if let Err(error) = told {
        tracing::debug!(%error, "a record for the dispatcher is not sent");
    }
}
