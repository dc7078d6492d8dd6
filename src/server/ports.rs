//! The ports that a lane reads: UDP sockets, either the well-known ones or those of slots that have no worker.

use std::borrow::Cow;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsRawFd;
use std::sync::Arc;

use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};
use tracing::{debug, warn};

use super::DatagramListener;
use super::stats::ListenerCounters;
use crate::ids::{ListenerId, WorkerId};
use crate::net::udp::{self, Delivery};
use crate::switch::answers::Leaving;
use crate::switch::owner::Owner;
use crate::words::Transport;

/// Most destinations of one flush that are told to be undeliverable.
const UNDELIVERABLE: usize = 16;

/// A UDP socket that the lane reads.
#[derive(Debug)]
pub struct Port {
    socket: udp::Socket,
    /// Owner of the socket: a listener, or a slot.
    pub owner: Owner,
    /// Protocol spoken on the socket: SIP over UDP, or MGCP.
    pub transport: Transport,
    /// The well-known socket that workers answer from. For a slot's own socket it is one of the same address, because a
    /// successor may own the slot's socket by then.
    pub listener: ListenerId,
    /// Whether there may be something to read: edge-triggered readiness is remembered until a read comes back short.
    pub readable: bool,
    /// Whether it may hold datagrams that arrived before this dispatcher started. The kernel has kept their times of
    /// arrival, which the lane reads until the socket was empty once.
    pub is_inherited: bool,
    /// Datagrams read from it.
    received: u64,
}

/// All ports of a lane.
#[derive(Debug)]
pub struct Ports {
    registry: Arc<Registry>,
    /// Each port keeps its place, which its token names: a closed one leaves a hole, which the next one takes.
    open: Vec<Option<Port>>,
    /// Token of the first place.
    first: usize,
    /// The sockets of each slot, kept for the times when no worker serves them.
    slots: Vec<SlotSockets>,
}

/// The sockets of a slot.
#[derive(Debug, Default)]
pub struct SlotSockets {
    /// SIP over UDP.
    pub sip: Vec<udp::Socket>,
    /// MGCP, each with the listener it belongs to.
    pub mgcp: Vec<(ListenerId, udp::Socket)>,
}

impl Port {
    /// Reads one batch; 0 where the socket is empty or cannot be read.
    pub fn read(&mut self, batch: &mut udp::Batch) -> usize {
        let read = self.socket.recv_batch(batch).unwrap_or_else(|error| {
            debug!(%error, "cannot read a socket");
            0
        });
        // A short batch means that the socket is empty.
        self.readable = read == batch.places();
        self.received += read as u64;
        if self.is_inherited && !self.readable {
            self.is_inherited = false;
            // From here on the kernel would take times of arrival that the lane does not read.
            let _ = self.socket.stamp_arrivals(false);
        }
        read
    }

    const fn is_listener(&self) -> bool {
        matches!(self.owner, Owner::Listener(_))
    }

    fn belongs_to(&self, worker: WorkerId) -> bool {
        match self.owner {
            Owner::Vacant(of) | Owner::VacantMgcp(of, _) => of == worker,
            Owner::Listener(_) => false,
        }
    }
}

impl Ports {
    /// No ports. Those that are opened are watched by the poll of `registry`, with tokens from `first` on.
    pub const fn new(registry: Arc<Registry>, first: usize) -> Self {
        Ports { registry, open: Vec::new(), first, slots: Vec::new() }
    }

    /// Opens a well-known socket. `is_inherited`: an earlier dispatcher's workers have kept it.
    ///
    /// # Errors
    ///
    /// The kernel takes no more descriptors to watch.
    pub fn open_listener(&mut self, listener: DatagramListener, is_inherited: bool) -> io::Result<()> {
        let DatagramListener { id, transport, socket } = listener;
        let owner = Owner::Listener(id);
        self.open(Port { socket, owner, transport, listener: id, readable: true, is_inherited, received: 0 })
    }

    fn open(&mut self, port: Port) -> io::Result<()> {
        let at = self.open.iter().position(Option::is_none).unwrap_or(self.open.len());
        let token = Token(self.first + at);
        self.registry.register(&mut SourceFd(&port.socket.as_raw_fd()), token, Interest::READABLE)?;
        match self.open.get_mut(at) {
            Some(hole) => *hole = Some(port),
            None => self.open.push(Some(port)),
        }
        Ok(())
    }

    /// Gives a slot other sockets, none of which is read yet.
    pub fn set_slot(&mut self, worker: WorkerId, sockets: SlotSockets) {
        self.close_vacant(worker);
        let at = usize::from(worker.0);
        if self.slots.len() <= at {
            self.slots.resize_with(at + 1, SlotSockets::default);
        }
        self.slots[at] = sockets;
    }

    /// Reads a slot's own sockets until a successor is there, so that messages to them get an answer.
    pub fn serve_vacant(&mut self, worker: WorkerId) {
        let Some(SlotSockets { sip, mgcp }) = self.slots.get(usize::from(worker.0)) else { return };
        let sip = sip.iter().filter_map(|socket| {
            let copy = socket.try_clone().ok()?;
            Some((Owner::Vacant(worker), self.listener_beside(&copy), Transport::Udp, copy))
        });
        let mgcp = mgcp.iter().filter_map(|(listener, socket)| {
            Some((Owner::VacantMgcp(worker, *listener), *listener, Transport::Mgcp, socket.try_clone().ok()?))
        });
        let copies: Vec<_> = sip.chain(mgcp).collect();
        for (owner, listener, transport, socket) in copies {
            let port = Port { socket, owner, transport, listener, readable: true, is_inherited: false, received: 0 };
            if let Err(error) = self.open(port) {
                warn!(%worker, %error, "the ports of a slot without a worker cannot be served");
            }
        }
    }

    /// Leaves a slot's own sockets to its worker.
    pub fn close_vacant(&mut self, worker: WorkerId) {
        for place in &mut self.open {
            if let Some(port) = place.take_if(|port| port.belongs_to(worker)) {
                let _ = self.registry.deregister(&mut SourceFd(&port.socket.as_raw_fd()));
            }
        }
    }

    /// The well-known SIP socket on the same address as a slot's.
    fn listener_beside(&self, socket: &udp::Socket) -> ListenerId {
        let address = socket.local_addr().ip();
        let beside = |port: &&Port| port.transport == Transport::Udp && port.socket.local_addr().ip() == address;
        self.listeners().find(beside).map_or(ListenerId(0), |port| port.listener)
    }

    /// Sends messages from the socket that they are to leave from. One that the kernel does not take is lost like any
    /// datagram: the peer asks again. `undeliverable` gets the destinations to which none can be sent.
    pub fn send(&self, leaving: Leaving<'_>, undeliverable: &mut Vec<SocketAddr>) {
        let from = leaving.from;
        if let Some(socket) = self.socket_of(leaving.owner, from) {
            let datagrams = leaving.map(|(bytes, to)| udp::Answer { bytes, to, from: Some(from) });
            socket.send_batch(datagrams, |udp::Answer { to, .. }, fate| {
                let is_of_address = fate.is_ok_and(Delivery::is_of_address);
                if is_of_address && undeliverable.last() != Some(&to) && undeliverable.len() < UNDELIVERABLE {
                    undeliverable.push(to);
                }
            });
        }
    }

    fn socket_of(&self, owner: Owner, from: IpAddr) -> Option<&udp::Socket> {
        let slot = |worker: WorkerId| self.slots.get(usize::from(worker.0));
        match owner {
            Owner::Listener(_) => self.listeners().find(|port| port.owner == owner).map(|port| &port.socket),
            Owner::Vacant(worker) => slot(worker)?.sip.iter().find(|socket| is_bound_to(socket, from)),
            Owner::VacantMgcp(worker, listener) => {
                slot(worker)?.mgcp.iter().find(|(of, _)| *of == listener).map(|(_, socket)| socket)
            }
        }
    }

    // -- reading --

    /// Number of places.
    pub const fn places(&self) -> usize {
        self.open.len()
    }

    /// The port at this place, if there may be something to read.
    pub fn readable(&mut self, place: usize) -> Option<&mut Port> {
        self.open.get_mut(place)?.as_mut().filter(|port| port.readable)
    }

    /// Whether there may be something to read in any of them.
    pub fn has_readable(&self) -> bool {
        self.open.iter().flatten().any(|port| port.readable)
    }

    /// The kernel says that the port of this token can be read.
    pub fn on_readable(&mut self, token: usize) {
        let place = token.checked_sub(self.first);
        if let Some(Some(port)) = place.and_then(|place| self.open.get_mut(place)) {
            port.readable = true;
        }
    }

    /// Has all of them read, whether or not the kernel has said that they can be.
    pub fn read_all(&mut self) {
        self.open.iter_mut().flatten().for_each(|port| port.readable = true);
    }

    // -- counting --

    fn listeners(&self) -> impl Iterator<Item = &Port> {
        self.open.iter().flatten().filter(|port| port.is_listener())
    }

    /// Datagrams read from each listener.
    pub fn received(&self) -> Vec<u64> {
        self.listeners().map(|port| port.received).collect()
    }

    /// Counts on from what the lane of an earlier dispatcher has read from each listener.
    pub fn set_received(&mut self, received: Vec<u64>) {
        let listeners = self.open.iter_mut().flatten().filter(|port| port.is_listener());
        listeners.zip(received).for_each(|(port, received)| port.received = received);
    }

    /// Datagrams that the kernel has dropped because a listener's buffer was full.
    pub fn overflow(&self) -> u64 {
        self.listeners().filter_map(|port| port.socket.drops().ok()).map(u64::from).sum()
    }

    /// The counters of each listener. The supervisor adds the transport.
    pub fn counters(&self) -> Vec<ListenerCounters> {
        let counters = self.listeners().map(|port| {
            let memory = port.socket.memory().unwrap_or_default();
            ListenerCounters {
                address: port.socket.local_addr(),
                received: port.received,
                rx_overflow: memory.drops.into(),
                receive_buffer: memory.receive as u64,
                send_buffer: memory.send as u64,
                transport: Cow::default(),
                connections: 0,
                accepted: 0,
            }
        });
        counters.collect()
    }
}

/// Whether answers from the local address `ip` leave from this socket.
fn is_bound_to(socket: &udp::Socket, ip: IpAddr) -> bool {
    let bound = socket.local_addr().ip();
    bound == ip || bound.is_unspecified() && bound.is_ipv4() == ip.is_ipv4()
}
