//! A worker for an ordinary MGCP gateway: it speaks to the dispatcher as every worker does, and to the gateway over UDP
//! as a call agent does. [`crate::call::external`] decides which message goes where.
//!
//! ```no_run
//! use pointsman::worker::external::{Settings, run};
//!
//! let gateway = "127.0.0.1:2427".parse().unwrap();
//! run(Settings::new("/run/pointsman/handoff.sock".into(), gateway)).unwrap();
//! ```

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::AsRawFd;
use std::path::PathBuf;

use mio::unix::SourceFd;
use mio::{Interest, Poll, Token};

use crate::call::{Hop, Transmit};
use crate::net::clock;
use crate::net::random::random_u64;
use crate::net::udp::{Batch, Buffers, Delivery, Socket};
use crate::station::call_log::named;
use crate::station::{Adapter, GatewayEffect, Station, Ways};
use crate::time::Time;
use crate::words::Hello;
use crate::worker::link::LinkEnd;
use crate::worker::settings::{Link, MOST_LINKS, WorkerError};
use crate::worker::shell::{Joined, Ports, Shell};
use crate::worker::sources::{GATEWAY, Sources, TURNS};
use crate::worker::turn::Rank;

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
            links: MOST_LINKS as u16,
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
    let (Joined { dispatcher, wires }, _) = Joined::new(introduced, &sources.poll)?;
    let _named = named(&dispatcher.welcome().name).entered();
    let seed = || random_u64().map_err(WorkerError::system("no random numbers"));
    let (gateway, capacity) = (settings.gateway, settings.capacity);
    let adapter = Adapter::new(dispatcher.welcome(), gateway, capacity, [seed()?, seed()?]);
    let ways = Ways { can_return: true, has_slot: false, answers_while_stopping: false };
    let handoff = Some(settings.dispatcher.clone());
    let ports = ToGateway { settings, socket, batch: Batch::new() };
    Shell::new(sources, Station::new(dispatcher, adapter, ways), wires, None, handoff).run(ports)
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

/// The socket to the gateway.
struct ToGateway {
    settings: Settings,
    socket: Socket,
    batch: Batch,
}

impl Ports<Adapter> for ToGateway {
    fn on_ready(&mut self, token: Token, shell: &mut Shell<Adapter>) -> bool {
        token == GATEWAY && self.on_gateway(shell)
    }

    fn carry_out(&mut self, effect: GatewayEffect, shell: &mut Shell<Adapter>, now: Time) {
        match effect {
            GatewayEffect::Transmit(transmit) => transmit_from(&transmit, shell),
            GatewayEffect::Tell(bytes) => self.tell_gateway(&bytes, &mut shell.station, now),
        }
    }

    fn hello(&self) -> Hello {
        self.settings.hello()
    }
}

/// A message that cannot be sent is lost like a packet on the way: the call agent that waits for it retransmits its
/// command.
fn transmit_from(transmit: &Transmit, shell: &mut Shell<Adapter>) {
    let Transmit { hop, to, from, bytes, .. } = transmit;
    let socket = match *hop {
        Hop::Dispatcher(to) => return shell.station.reply(to, bytes),
        Hop::Listener(number) => shell.duplicates.get(number),
        Hop::Own(_) | Hop::Permitted(..) | Hop::Stream(_) | Hop::Dial | Hop::DialSecure | Hop::Gone => None,
    };
    let Some(socket) = socket else { return };
    if let Err(error) = socket.send(bytes, *to, *from) {
        tracing::debug!(%error, %to, "an MGCP message could not be sent");
    }
}

impl ToGateway {
    /// Datagrams from the gateway.
    fn on_gateway(&mut self, shell: &mut Shell<Adapter>) -> bool {
        // ECONNREFUSED: no process listens at the gateway's port. Reading datagrams would pass over that error.
        if let Ok(Some(error)) = self.socket.take_error()
            && error.kind() == io::ErrorKind::ConnectionRefused
        {
            shell.station.sessions_mut().on_gateway_gone(clock::now());
            shell.carry_out(self);
        }
        for _ in 0..TURNS {
            let read = match self.socket.recv_batch(&mut self.batch) {
                Ok(read @ 1..) => read,
                Ok(_) => return false,
                Err(error) => {
                    tracing::warn!(%error, "cannot read from the gateway");
                    return false;
                }
            };
            let now = clock::now();
            for datagram in self.batch.iter().filter(|datagram| !datagram.truncated) {
                shell.station.sessions_mut().on_gateway(datagram.bytes, now);
            }
            shell.carry_out(self);
            if read < self.batch.places() {
                return false;
            }
        }
        true
    }

    fn tell_gateway(&mut self, bytes: &[u8], station: &mut Station<Adapter>, now: Time) {
        match self.socket.send(bytes, self.settings.gateway, None) {
            // The error is about the datagram sent before: no process listened on the gateway's port.
            Ok(Delivery::Undeliverable(libc::ECONNREFUSED)) => {
                station.sessions_mut().on_gateway_gone(now);
                // The error stood for the earlier datagram; this one has not left yet.
                let _ = self.socket.send(bytes, self.settings.gateway, None);
            }
            Ok(_) => {}
            Err(error) => tracing::debug!(%error, "a message to the gateway could not be sent"),
        }
    }
}
