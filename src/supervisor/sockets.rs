//! The sockets that the dispatcher binds: the well-known ones, and those that belong to the slots.
//!
//! A slot has one UDP socket and one TCP listener on the same port (RFC 3261 §18.2.1) for each distinct address that
//! the dispatcher listens on. They outlive the worker: what arrives between two workers waits in them.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use tracing::warn;

use crate::config::Config;
use crate::handoff::frame::{PassedSocket, SocketRole};
use crate::ids::{ListenerId, WorkerId};
use crate::net::bind::BindError;
use crate::net::udp::Buffers;
use crate::net::{tcp, udp};

/// The well-known sockets.
#[derive(Debug)]
pub struct Listeners(Vec<udp::Socket>);

impl Listeners {
    /// Takes those that an earlier dispatcher's workers gave back, with what has come to them since, and binds the rest:
    /// all of them or none.
    pub fn bind(config: &Config, returned: Vec<udp::Socket>) -> Result<Self, BindError> {
        let mut returned: Vec<Option<udp::Socket>> = returned.into_iter().map(Some).collect();
        let bound = config.listen.iter().map(|listen| {
            let fits = |it: &&mut Option<udp::Socket>| {
                it.as_ref().is_some_and(|socket| is_meant(socket.local_addr(), listen.address))
            };
            match returned.iter_mut().find(fits).and_then(Option::take) {
                Some(socket) => Ok(socket),
                None => udp::Socket::bind(listen.address, Buffers::SIGNALLING),
            }
        });
        let bound = bound.collect::<Result<_, _>>()?;
        for unused in returned.iter().flatten().map(udp::Socket::local_addr) {
            // Several workers give back the same; what no listener is configured for is closed.
            if !config.listen.iter().any(|listen| is_meant(unused, listen.address)) {
                warn!("a socket at udp {unused} was kept or given, and no listener is configured there: it is closed");
            }
        }
        Ok(Listeners(bound))
    }

    /// Copies for the lane.
    pub fn copies(&self) -> io::Result<Vec<(ListenerId, udp::Socket)>> {
        let numbered = self.0.iter().enumerate();
        numbered.map(|(at, socket)| Ok((ListenerId(at as u16), socket.try_clone()?))).collect()
    }

    /// Their descriptors, by number.
    pub fn descriptors(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.0.iter().map(AsFd::as_fd)
    }

    /// Where they are bound, by number.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.0.iter().map(udp::Socket::local_addr).collect()
    }

    /// Adds them to what a worker gets; it may only send on them.
    pub fn pass<'s>(&'s self, passed: &mut Vec<PassedSocket>, sockets: &mut Vec<BorrowedFd<'s>>) {
        for (at, socket) in self.0.iter().enumerate() {
            let role = SocketRole::Listener;
            passed.push(PassedSocket { role, address: socket.local_addr(), listener: Some(at as u16) });
            sockets.push(socket.as_fd());
        }
    }
}

/// The sockets of one slot. None where a slot is there only for the number's sake.
#[derive(Debug, Default)]
pub struct SlotSockets(Vec<Pair>);

/// UDP and TCP on one port.
#[derive(Debug)]
struct Pair {
    udp: udp::Socket,
    tcp: tcp::Listener,
    address: SocketAddr,
}

impl Pair {
    fn bind(wanted: SocketAddr) -> Result<Self, BindError> {
        let udp = udp::Socket::bind(wanted, Buffers::SIGNALLING)?;
        // Port 0 lets the kernel choose once; TCP takes the same number.
        let address = udp.local_addr();
        Ok(Pair { tcp: tcp::Listener::bind(address)?, udp, address })
    }
}

impl SlotSockets {
    /// Binds a slot's port on every distinct listener address.
    pub fn bind(config: &Config, slot: WorkerId) -> Result<Self, BindError> {
        let mut sockets = SlotSockets::default();
        sockets.fit(config, slot)?;
        Ok(sockets)
    }

    /// Makes the sockets what the configuration says: those that fit stay, the others are bound, all of them or none.
    /// They differ where an earlier dispatcher with another configuration made them.
    pub fn fit(&mut self, config: &Config, slot: WorkerId) -> Result<(), BindError> {
        let wanted = |ip: &IpAddr| SocketAddr::new(*ip, config.sip_port(slot));
        let ips = config.listener_ips();
        let missing = ips.iter().filter(|ip| !self.0.iter().any(|pair| is_meant(pair.address, wanted(ip))));
        let bound = missing.map(|ip| Pair::bind(wanted(ip))).collect::<Result<Vec<_>, _>>()?;
        self.0.retain(|pair| ips.iter().any(|ip| is_meant(pair.address, wanted(ip))));
        self.0.extend(bound);
        // The first is the one that is shown, and the default of the worker's Contact.
        self.0.sort_by_key(|pair| ips.iter().position(|ip| *ip == pair.address.ip()));
        Ok(())
    }

    /// Whether [`SlotSockets::fit`] would change nothing.
    pub fn fits(&self, config: &Config, slot: WorkerId) -> bool {
        let ips = config.listener_ips();
        let has =
            |ip: &IpAddr| self.0.iter().any(|pair| is_meant(pair.address, SocketAddr::new(*ip, config.sip_port(slot))));
        self.0.len() == ips.len() && ips.iter().all(has)
    }

    /// Where the slot takes calls.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.0.iter().map(|pair| pair.address).collect()
    }

    /// The sockets themselves, UDP and TCP in turn.
    pub fn descriptors(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.0.iter().flat_map(|pair| [pair.udp.as_fd(), pair.tcp.as_fd()])
    }

    /// Takes what [`SlotSockets::descriptors`] of another dispatcher gave.
    ///
    /// # Errors
    ///
    /// They are not that.
    pub fn inherit(descriptors: Vec<OwnedFd>) -> io::Result<Self> {
        let mut descriptors = descriptors.into_iter();
        let mut pairs = Vec::new();
        while let (Some(udp), Some(tcp)) = (descriptors.next(), descriptors.next()) {
            let (udp, tcp) = (udp::Socket::from_fd(udp)?, tcp::Listener::from_fd(tcp)?);
            pairs.push(Pair { address: udp.local_addr(), udp, tcp });
        }
        Ok(SlotSockets(pairs))
    }

    /// Copies of the UDP sockets, for the times when no worker reads them.
    pub fn udp_copies(&self) -> io::Result<Vec<udp::Socket>> {
        self.0.iter().map(|pair| pair.udp.try_clone()).collect()
    }

    /// Adds them to what the slot's worker gets.
    pub fn pass<'s>(&'s self, passed: &mut Vec<PassedSocket>, sockets: &mut Vec<BorrowedFd<'s>>) {
        for Pair { udp, tcp, address } in &self.0 {
            passed.push(PassedSocket { role: SocketRole::SipUdp, address: *address, listener: None });
            sockets.push(udp.as_fd());
            passed.push(PassedSocket { role: SocketRole::SipTcp, address: *address, listener: None });
            sockets.push(tcp.as_fd());
        }
    }
}

/// What a worker that comes back gives to the new dispatcher.
#[derive(Debug)]
pub struct Returned {
    /// Duplicates of the well-known sockets.
    pub listeners: Vec<udp::Socket>,
    /// Its slot's sockets.
    pub slot: SlotSockets,
}

impl Returned {
    /// Sorts what came beside a worker's `Hello`; what the sockets are is asked of them, not of the worker.
    ///
    /// # Errors
    /// A descriptor is not the socket it is named as, or there is no whole pair of slot sockets.
    pub fn sort(named: &[PassedSocket], descriptors: Vec<OwnedFd>) -> io::Result<Self> {
        let mut listeners = Vec::new();
        let mut udps = Vec::new();
        let mut tcps = Vec::new();
        for (PassedSocket { role, .. }, fd) in named.iter().zip(descriptors) {
            match role {
                SocketRole::Listener => listeners.push(udp::Socket::from_fd(fd)?),
                SocketRole::SipUdp => udps.push(udp::Socket::from_fd(fd)?),
                SocketRole::SipTcp => tcps.push(tcp::Listener::from_fd(fd)?),
                // Not served, or a dead dispatcher's; closed.
                SocketRole::Mgcp | SocketRole::Link => {}
            }
        }
        let mut pairs = Vec::new();
        for udp in udps {
            let address = udp.local_addr();
            let tcp = tcps.iter().position(|tcp| tcp.local_addr() == address).map(|at| tcps.swap_remove(at));
            let tcp = tcp.ok_or_else(|| io::Error::other(format!("no TCP listener came for {address}")))?;
            pairs.push(Pair { udp, tcp, address });
        }
        if pairs.is_empty() {
            return Err(io::Error::other("no socket of its slot came"));
        }
        Ok(Returned { listeners, slot: SlotSockets(pairs) })
    }
}

/// Whether a socket bound to `address` is what `wanted` asks for; port 0 asks for any.
fn is_meant(address: SocketAddr, wanted: SocketAddr) -> bool {
    address.ip() == wanted.ip() && (wanted.port() == 0 || wanted.port() == address.port())
}
