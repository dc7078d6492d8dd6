//! The worker's end of the link as a socket: joining, frames in, frames out.

use std::io::{self, IoSlice};
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::time::Duration;

use mio::unix::SourceFd;
use mio::{Interest, Poll, Token};
use rustix::event::{PollFd, PollFlags, Timespec};

use crate::ids::WorkerId;
use crate::link::worker_end::{FromDispatcher, WorkerEnd};
use crate::net::lan::LanChannel;
use crate::net::run_dir::own_uid;
use crate::net::tcp::Listener;
use crate::net::udp::Socket;
use crate::net::unix::{SEND_BUFFER, SeqPacket};
use crate::net::{self, clock, process};
use crate::time::Time;
use crate::wire::handoff::FRAME_HARD_LIMIT;
use crate::words::{Hello, PassedSocket, SocketRole, Welcome};
use crate::worker::network;
use crate::worker::own_ports::{OwnPorts, ports};
use crate::worker::settings::{Link, Settings, WorkerError};

/// The first link's token; the others have the next ones.
pub(super) const LINKS: usize = 1 << 7;
/// Limit for the welcome: the dispatcher gives a stranger one second to say Hello, and takes no longer itself.
const WELCOME_WITHIN: Duration = Duration::from_secs(10);

/// The token of link `lane`.
pub(super) const fn token(lane: usize) -> Token {
    Token(LINKS + lane)
}

/// Sends a frame on link `lane`.
pub(super) fn send(links: &mut [LinkEnd], lane: usize, pieces: &[IoSlice<'_>]) -> io::Result<()> {
    links.get_mut(lane).ok_or(io::ErrorKind::NotConnected)?.send(pieces)
}

/// The link to the dispatcher.
#[derive(Debug)]
pub(super) struct LinkEnd {
    wire: Wire,
    frame: Vec<u8>,
}

/// The carrier of a link's frames.
#[derive(Debug)]
enum Wire {
    Unix(SeqPacket),
    Lan(Box<LanChannel>),
}

/// The result of a read.
pub(super) enum Received<'a> {
    Frame(&'a [u8]),
    /// No more for now.
    Nothing,
    /// The other end is gone.
    End,
}

impl LinkEnd {
    /// Connects, introduces the worker and waits for the welcome.
    pub(super) fn join(settings: &Settings, poll: &Poll) -> Result<Introduced, WorkerError> {
        // A worker that was started for a slot gets the slot's ports; one that comes by itself binds its own.
        let bound = match settings.link {
            Link::Inherited(_) => OwnPorts::default(),
            Link::Network { .. } if !names_addresses(settings) => return Err(WorkerError::NoAddress),
            Link::Path(_) | Link::Network { .. } => OwnPorts::bind(settings)?,
        };
        let hello = Hello { ports: ports(&bound.udp, &bound.mgcp), ..settings.hello() };
        if let Link::Network { .. } = settings.link {
            let network = settings.network()?.ok_or(WorkerError::NoAddress)?;
            let mut introduced = network::join(&network, bound, hello, poll)?;
            if !settings.gateway {
                introduced.welcome.mgcp = None;
            }
            say_which_worker(&introduced.welcome);
            return Ok(introduced);
        }
        let mut introduced = LinkEnd::introduce(&settings.link, hello, poll)?;
        let Introduced { welcome, own, .. } = &mut introduced;
        if matches!(settings.link, Link::Path(_)) {
            *own = bound;
        }
        if !settings.gateway {
            welcome.mgcp = None;
            own.mgcp.clear();
        }
        if own.udp.is_empty() && own.mgcp.is_empty() {
            return Err(WorkerError::Welcome("no socket came with it".into()));
        }
        Ok(introduced)
    }

    /// Connects, says `hello` and waits for the welcome.
    pub(super) fn introduce(link: &Link, hello: Hello, poll: &Poll) -> Result<Introduced, WorkerError> {
        let mut link = LinkEnd::open(link)?;
        link.watch(poll, token(0)).map_err(WorkerError::system("cannot watch the link"))?;
        let mut end = WorkerEnd::new();
        end.hello(hello);
        end.poll_transmit(clock::now(), |pieces| link.send(pieces))
            .map_err(|error| WorkerError::NotWelcome(error.to_string()))?;
        let (welcome, descriptors) = link.await_welcome(&mut end)?;
        say_which_worker(&welcome);
        let Sorted { own, listeners, more } = sort(&welcome, descriptors)?;
        Ok(Introduced { link, end, welcome, own, listeners, more, clock: None })
    }

    /// Links to a new dispatcher. A worker tries again and again: without a listener on the path, a try costs two
    /// system calls.
    ///
    /// # Errors
    ///
    /// No process listens there, or one of another user does: the worker's account is secret, and its sockets are worth
    /// stealing.
    pub(super) fn connect(path: &Path, poll: &Poll) -> io::Result<Self> {
        let socket = SeqPacket::connect(path).map_err(io::Error::other)?;
        let peer = socket.peer()?;
        if peer.uid != own_uid() && peer.uid != 0 {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        let link = LinkEnd::on(socket);
        link.watch(poll, token(0))?;
        Ok(link)
    }

    /// The next frame, and the descriptors beside it.
    pub(super) fn receive_with(&mut self, descriptors: &mut Vec<OwnedFd>) -> io::Result<Received<'_>> {
        let received = match &mut self.wire {
            Wire::Unix(socket) => socket.recv(&mut self.frame, descriptors),
            Wire::Lan(channel) => {
                channel.flush();
                channel.recv(&mut self.frame)
            }
        };
        match received {
            Ok(0) => Ok(Received::End),
            Ok(length) => Ok(Received::Frame(self.frame.get(..length).unwrap_or_default())),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(Received::Nothing),
            Err(error) => Err(error),
        }
    }

    pub(super) fn send(&mut self, pieces: &[IoSlice<'_>]) -> io::Result<()> {
        match &mut self.wire {
            Wire::Unix(socket) => socket.send(pieces, &[]),
            Wire::Lan(channel) => channel.send(pieces),
        }
    }

    /// Sends a frame with descriptors beside it.
    pub(super) fn send_with(&mut self, pieces: &[IoSlice<'_>], descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
        match &mut self.wire {
            Wire::Unix(socket) => socket.send(pieces, descriptors),
            Wire::Lan(_) => Err(io::ErrorKind::Unsupported.into()),
        }
    }

    /// The carrier of a link over a network.
    pub(super) fn channel(&self) -> Option<&LanChannel> {
        match &self.wire {
            Wire::Unix(_) => None,
            Wire::Lan(channel) => Some(channel),
        }
    }

    /// The carrier of a link over a network.
    pub(super) fn channel_mut(&mut self) -> Option<&mut LanChannel> {
        match &mut self.wire {
            Wire::Unix(_) => None,
            Wire::Lan(channel) => Some(channel),
        }
    }

    fn open(link: &Link) -> Result<Self, WorkerError> {
        let socket = match link {
            Link::Inherited(fd) => net::inherited(*fd)
                .and_then(SeqPacket::from_fd)
                .map_err(|error| WorkerError::Inherited { fd: *fd, error })?,
            Link::Path(path) => SeqPacket::connect(path).map_err(|error| {
                let (at, error) = (path.display().to_string(), io::Error::other(error));
                WorkerError::Link { at, error }
            })?,
            Link::Network { .. } => return Err(WorkerError::Welcome("it came over a network".to_owned())),
        };
        Ok(LinkEnd::on(socket))
    }

    /// The end of a link that another process has made.
    pub(super) fn on(socket: SeqPacket) -> Self {
        // A larger buffer, or the default one would hold back a burst of answers. The worker goes on with whatever size
        // the kernel grants.
        let _ = socket.set_buffers(SEND_BUFFER, 0);
        LinkEnd { wire: Wire::Unix(socket), frame: vec![0; FRAME_HARD_LIMIT] }
    }

    /// The end of a link over a network.
    pub(super) fn over_network(channel: LanChannel) -> Self {
        LinkEnd { wire: Wire::Lan(Box::new(channel)), frame: vec![0; FRAME_HARD_LIMIT] }
    }

    /// Registers the link with the poll, for reading and writing.
    pub(super) fn watch(&self, poll: &Poll, token: Token) -> io::Result<()> {
        let fd = match &self.wire {
            Wire::Unix(socket) => socket.as_raw_fd(),
            Wire::Lan(channel) => return network::watch(channel, poll, token),
        };
        poll.registry().register(&mut SourceFd(&fd), token, Interest::READABLE | Interest::WRITABLE)
    }

    fn await_welcome(&mut self, end: &mut WorkerEnd) -> Result<(Welcome, Vec<OwnedFd>), WorkerError> {
        let deadline = clock::now() + WELCOME_WITHIN;
        let mut descriptors = Vec::new();
        loop {
            let Wire::Unix(socket) = &self.wire else {
                return Err(WorkerError::NotWelcome("it came over a network".to_owned()));
            };
            match socket.recv(&mut self.frame, &mut descriptors) {
                Ok(0) => return Err(WorkerError::NotWelcome("it closed the link".into())),
                Ok(length) => {
                    let (mut welcome, mut goodbye) = (None, None);
                    end.on_frame(self.frame.get(..length).unwrap_or_default(), &mut |event| match event {
                        FromDispatcher::Welcome(it) => welcome = Some(*it),
                        FromDispatcher::Goodbye(reason) => goodbye = Some(reason.to_owned()),
                        // Messages come after the welcome, in frames of their own.
                        FromDispatcher::Message(_)
                        | FromDispatcher::Drain(_)
                        | FromDispatcher::Access(_)
                        | FromDispatcher::Undelivered { .. }
                        | FromDispatcher::Clock { .. } => {}
                    })
                    .map_err(|error| WorkerError::NotWelcome(error.to_string()))?;
                    match (welcome, goodbye) {
                        (Some(welcome), _) => return Ok((welcome, descriptors)),
                        (None, Some(reason)) => return Err(WorkerError::NotWelcome(reason)),
                        (None, None) => {}
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => wait(socket, deadline)?,
                Err(error) => return Err(WorkerError::NotWelcome(error.to_string())),
            }
        }
    }
}

/// Puts the worker's name into the built-in worker's process name, now that the dispatcher has assigned it. Another
/// program keeps its process name.
fn say_which_worker(welcome: &Welcome) {
    if process::name().is_some_and(|name| name == process::NAME) {
        process::set_name_of(&WorkerId(welcome.slot).to_string());
    }
}

/// A worker that has been welcomed, with the sockets and links that it was given.
#[derive(Debug)]
pub(super) struct Introduced {
    pub(super) link: LinkEnd,
    pub(super) end: WorkerEnd,
    pub(super) welcome: Welcome,
    pub(super) own: OwnPorts,
    /// Duplicates of the well-known sockets, by listener number.
    pub(super) listeners: Vec<Option<Socket>>,
    /// Links to the dispatcher's other lanes.
    pub(super) more: Vec<LinkEnd>,
    /// The clock of a dispatcher on another host: asked at our time, its own, heard at our time.
    pub(super) clock: Option<(Time, Time, Time)>,
}

/// Whether a worker on another host is told addresses at which callers reach it.
fn names_addresses(settings: &Settings) -> bool {
    !settings.addresses.is_empty() && !settings.addresses.iter().any(|ip| ip.is_unspecified())
}

/// Waits until the link may be read, without taking the event from the poll that serves it later.
fn wait(link: &SeqPacket, deadline: Time) -> Result<(), WorkerError> {
    let left = deadline.since(clock::now());
    if left.is_zero() {
        return Err(WorkerError::NotWelcome(format!("nothing came for {} s", WELCOME_WITHIN.as_secs())));
    }
    let mut watched = [PollFd::new(link, PollFlags::IN)];
    let timeout = Timespec { tv_sec: left.as_secs() as i64, tv_nsec: i64::from(left.subsec_nanos()) };
    match rustix::event::poll(&mut watched, Some(&timeout)) {
        Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
        Err(errno) => Err(WorkerError::System { what: "cannot wait for the welcome", error: errno.into() }),
    }
}

/// The welcome's descriptors, sorted by purpose.
#[derive(Debug)]
pub(super) struct Sorted {
    pub(super) own: OwnPorts,
    pub(super) listeners: Vec<Option<Socket>>,
    pub(super) more: Vec<LinkEnd>,
}

/// Sorts the descriptors that came beside a welcome.
pub(super) fn sort(welcome: &Welcome, descriptors: Vec<OwnedFd>) -> Result<Sorted, WorkerError> {
    if descriptors.len() != welcome.sockets.len() {
        let (came, named) = (descriptors.len(), welcome.sockets.len());
        return Err(WorkerError::Welcome(format!("{came} descriptors came where {named} were named")));
    }
    let mut own = OwnPorts::default();
    let mut more = Vec::new();
    let mut listeners: Vec<Option<Socket>> = welcome.listeners.iter().map(|_| None).collect();
    for (PassedSocket { role, listener, .. }, fd) in welcome.sockets.iter().zip(descriptors) {
        let unusable = |error: io::Error| WorkerError::Welcome(error.to_string());
        match role {
            SocketRole::SipUdp => own.udp.push(Socket::from_fd(fd).map_err(unusable)?),
            SocketRole::SipTcp => own.tcp.push(Listener::from_fd(fd).map_err(unusable)?),
            SocketRole::Listener => {
                if let Some(place) = listener.and_then(|number| listeners.get_mut(usize::from(number))) {
                    *place = Some(Socket::from_fd(fd).map_err(unusable)?);
                }
            }
            SocketRole::Link => more.push(LinkEnd::on(SeqPacket::from_fd(fd).map_err(unusable)?)),
            SocketRole::Mgcp => own.mgcp.push(Socket::from_fd(fd).map_err(unusable)?),
        }
    }
    Ok(Sorted { own, listeners, more })
}

/// Whether each listener's duplicate has come.
pub(super) fn held(listeners: &[Option<Socket>]) -> Vec<bool> {
    listeners.iter().map(Option::is_some).collect()
}
