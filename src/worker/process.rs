//! The built-in worker's process: the slot's sockets, streams, media and name look-ups around a
//! [`MediaServer`].

mod held;
mod ports;

use std::os::fd::AsRawFd;

use mio::unix::SourceFd;
use mio::{Interest, Registry, Token, Waker};

use crate::ids::TokenKey;
use crate::net::process::descriptor_limit;
use crate::net::resolve::Resolver;
use crate::net::streams::{self, Streams};
use crate::net::udp::{Batch, Socket};
use crate::net::{clock, host, random};
use crate::station::call_log::named;
use crate::station::{Application, MediaServer, Setup, Station, Ways};
use crate::worker::descriptors::Descriptors;
use crate::worker::link::LinkEnd;
use crate::worker::media::{RTP_TOKENS, RtpMedia};
use crate::worker::network::Redial;
use crate::worker::own_ports::OwnPorts;
use crate::worker::settings::{Settings, WorkerError};
use crate::worker::shell::{Joined, Shell};
use crate::worker::slot_lock::SlotLock;
use crate::worker::sources::{RESOLVER, Sources};
use crate::worker::turn::Rank;

use self::held::Held;
use self::ports::Sockets;

/// The slot's UDP sockets, by number.
const OWN_UDP: usize = 1 << 8;
/// The slot's TCP listeners, by number.
const OWN_TCP: usize = 1 << 9;
/// The slot's MGCP sockets, by number.
const OWN_MGCP: usize = 1 << 10;
/// All stream connections together, as one source.
const STREAMS: Token = Token(OWN_TCP + SOCKETS);
/// Stream connections, by their place.
const STREAM_TOKENS: usize = 1 << 20;
/// Sockets of each kind that a slot can have.
const SOCKETS: usize = 1 << 8;

/// Runs a worker until the dispatcher stops it, or until it has had neither call nor dispatcher for 30 s.
///
/// # Errors
///
/// The dispatcher cannot be reached or does not welcome the worker, or the system refuses a socket. A link that ends
/// later is no error: the calls go on.
pub fn run(settings: Settings, application: impl Application) -> Result<(), WorkerError> {
    let sources = Sources::new(rank_of)?;
    let _named = settings.name.as_deref().map(|name| named(name).entered());
    // The lock is taken before the slot's sockets come: the process that has them must hold it, because a new
    // dispatcher waits for the lock's holder.
    let lock = SlotLock::take(&settings)?;
    let (mut joined, own) = Joined::new(LinkEnd::join(&settings, &sources.poll)?, &sources.poll)?;
    let _named = settings.name.is_none().then(|| named(&joined.dispatcher.welcome().name).entered());
    let media_ports = settings.media_ports(joined.dispatcher.welcome().rtp_ports);
    // The worker says goodbye with the reason, so that the dispatcher does not report it as missing.
    let media_ports = media_ports.inspect_err(|error| joined.goodbye(&error.to_string()))?;
    let random: [u8; 48] = random().map_err(WorkerError::system("no random numbers"))?;
    let seed = |at: usize| random.get(at..at + 8).and_then(|bytes| bytes.try_into().ok()).map_or(0, u64::from_ne_bytes);
    let registry = sources.poll.registry();
    let shares = Descriptors::of(descriptor_limit());
    let media_registry = registry.try_clone().map_err(WorkerError::system("cannot share the poll"))?;
    let media = RtpMedia::new(media_registry, media_ports, shares.media, seed(16));
    let setup = Setup {
        sip: own.udp.iter().map(Socket::local_addr).collect(),
        mgcp: own.mgcp.iter().map(Socket::local_addr).collect(),
        hosts: host::addresses(),
        program: settings.program.as_str().into(),
        capacity: settings.capacity,
        has_gateway: settings.gateway,
        session_timer: settings.session_timer,
        gate_key: TokenKey::new(self::random().map_err(WorkerError::system("no random numbers"))?),
        seeds: [seed(0), seed(8), seed(24), seed(32), seed(40)],
    };
    let redial = settings.network()?.map(|network| Redial::new(network, &sources.poll)).transpose()?;
    let can_return = settings.handoff.is_some() || redial.is_some();
    let ways = Ways { can_return, has_slot: lock.is_some(), answers_while_stopping: true };
    let handoff = settings.handoff.clone();
    let sockets = Sockets::new(registry, own, shares.streams, settings)?;
    let Joined { dispatcher, wires } = joined;
    let sessions = MediaServer::new(setup, &dispatcher, application, media, clock::now());
    let shell = Shell::new(sources, Station::new(dispatcher, sessions, ways), wires, lock, handoff);
    match redial {
        Some(redial) => shell.over_network(redial).run(sockets),
        None => shell.run(sockets),
    }
}

/// Rank of a source: links are read first, then datagrams, then streams.
fn rank_of(source: Token) -> Rank {
    match source.0 {
        ..OWN_UDP => Rank::Links,
        OWN_TCP..OWN_MGCP | STREAM_TOKENS..RTP_TOKENS => Rank::Streams,
        _ => Rank::Datagrams,
    }
}

/// Watches a socket for datagrams.
fn watch(registry: &Registry, socket: &Socket, token: Token) -> Result<(), WorkerError> {
    let fd = socket.as_raw_fd();
    registry
        .register(&mut SourceFd(&fd), token, Interest::READABLE)
        .map_err(WorkerError::system("cannot watch the slot's socket"))
}

impl Sockets {
    fn new(registry: &Registry, own: OwnPorts, most_streams: usize, settings: Settings) -> Result<Self, WorkerError> {
        let OwnPorts { udp: own, tcp, mgcp } = own;
        for (number, socket) in own.iter().enumerate().take(SOCKETS) {
            watch(registry, socket, Token(OWN_UDP + number))?;
        }
        for (number, socket) in mgcp.iter().enumerate().take(SOCKETS) {
            watch(registry, socket, Token(OWN_MGCP + number))?;
        }
        let tokens = streams::Tokens { listeners: OWN_TCP, connections: STREAM_TOKENS };
        let streams = Streams::new(registry, tcp, tokens, most_streams)
            .map_err(WorkerError::system("cannot watch the slot's TCP listener"))?;
        let waker = Waker::new(registry, RESOLVER).map_err(WorkerError::system("cannot make a waker"))?;
        // A failed wake is made good by the deadline of the question.
        let wake = move || drop(waker.wake());
        let resolver = Resolver::new(wake).map_err(WorkerError::system("cannot start the look-up of names"))?;
        let (batch, rtp_batch) = (Batch::new(), Batch::sized(32, 2_048));
        Ok(Sockets { settings, own, mgcp, streams, resolver, batch, rtp_batch, held: Held::default() })
    }
}
