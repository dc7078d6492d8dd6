//! The sockets that the dispatcher binds: the well-known ones, and those that belong to the slots.
//!
//! A slot has one UDP socket and one TCP listener on the same port (RFC 3261 §18.2.1) for each distinct address where
//! the dispatcher takes SIP, and one UDP socket for each MGCP listener. They outlive the worker: messages that arrive
//! between two workers wait in them.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use tracing::warn;

use crate::config::{Config, Listen};
use crate::ids::{ListenerId, WorkerId};
use crate::net::bind::BindError;
use crate::net::listener::Listener;
use crate::net::udp::Buffers;
use crate::net::{tcp, udp};
use crate::server::{self, Lanes};
use crate::words::{Bypass, PassedSocket, SocketRole};

/// The well-known sockets.
#[derive(Debug)]
pub struct Listeners(Vec<Listener>);

impl Listeners {
    /// Takes the sockets that an earlier dispatcher's workers gave back, with the datagrams that have come to them
    /// since, and binds the rest: all of them or none.
    pub fn bind(config: &Config, returned: Vec<Listener>) -> Result<Self, BindError> {
        let mut returned: Vec<Option<Listener>> = returned.into_iter().map(Some).collect();
        let bound = config.listen.iter().map(|listen| {
            match returned.iter_mut().find(|it| it.as_ref().is_some_and(|it| fits(it, listen))).and_then(Option::take) {
                Some(socket) => Ok(socket),
                None => Listener::bind(listen.address, listen.service.is_stream()),
            }
        });
        let bound = bound.collect::<Result<_, _>>()?;
        for unused in returned.iter().flatten() {
            // Several workers give back the same sockets; one at an address where no listener is configured is closed.
            if !config.listen.iter().any(|listen| fits(unused, listen)) {
                let (protocol, address) = (if unused.is_stream() { "tcp" } else { "udp" }, unused.local_addr());
                warn!(
                    "a socket at {protocol} {address} was kept or given, and no listener is configured there: it is closed"
                );
            }
        }
        Ok(Listeners(bound))
    }

    /// Copies of those that take datagrams, for the lane.
    pub fn copies(&self, config: &Config) -> io::Result<Vec<server::DatagramListener>> {
        let copy = |(id, socket): (ListenerId, &udp::Socket)| {
            let transport = config.listen.get(usize::from(id.0)).map(|listen| listen.service.transport());
            Ok(server::DatagramListener { id, transport: transport.unwrap_or_default(), socket: socket.try_clone()? })
        };
        self.datagrams().map(copy).collect()
    }

    /// Those that take datagrams, each with its number.
    pub fn datagrams(&self) -> impl Iterator<Item = (ListenerId, &udp::Socket)> {
        let numbered = self.0.iter().enumerate();
        numbered.filter_map(|(at, socket)| Some((ListenerId(at as u16), socket.datagram()?)))
    }

    /// Those that take connections, each with its number.
    pub fn streams(&self) -> impl Iterator<Item = (ListenerId, &tcp::Listener)> {
        let numbered = self.0.iter().enumerate();
        numbered.filter_map(|(at, socket)| Some((ListenerId(at as u16), socket.stream()?)))
    }

    /// Their descriptors, by number.
    pub fn descriptors(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.0.iter().map(AsFd::as_fd)
    }

    /// Their addresses, by number.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.0.iter().map(Listener::local_addr).collect()
    }

    /// Adds the listeners to the sockets that a worker gets; it may only send on them. A listener for streams is not
    /// among them: answers leave on the connections, which the dispatcher holds.
    pub fn pass<'s>(&'s self, passed: &mut Vec<PassedSocket>, sockets: &mut Vec<BorrowedFd<'s>>) {
        for (id, socket) in self.datagrams() {
            let role = SocketRole::Listener;
            passed.push(PassedSocket { role, address: socket.local_addr(), listener: Some(id.0) });
            sockets.push(socket.as_fd());
        }
    }
}

/// The sockets of one slot. A slot that only fills a gap in the numbers has none.
#[derive(Debug, Default)]
pub struct SlotSockets {
    sip: Vec<SipPair>,
    mgcp: Vec<MgcpSocket>,
}

/// UDP and TCP on one port, for SIP.
#[derive(Debug)]
struct SipPair {
    udp: udp::Socket,
    tcp: tcp::Listener,
    address: SocketAddr,
}

/// A slot's own MGCP socket.
#[derive(Debug)]
struct MgcpSocket {
    /// The number of the listener it belongs to; of the first one where it belongs to several.
    listener: u16,
    udp: udp::Socket,
}

impl SipPair {
    fn bind(wanted: SocketAddr) -> Result<Self, BindError> {
        let udp = udp::Socket::bind(wanted, Buffers::SIGNALLING)?;
        // Port 0 lets the kernel choose once; TCP takes the same number.
        let address = udp.local_addr();
        Ok(SipPair { tcp: tcp::Listener::bind(address)?, udp, address })
    }
}

impl SlotSockets {
    /// Binds a slot's sockets: its SIP port on every distinct address of a SIP listener, and one MGCP socket for each
    /// MGCP listener.
    pub fn bind(config: &Config, listeners: &Listeners, slot: WorkerId) -> Result<Self, BindError> {
        let mut sockets = SlotSockets::default();
        sockets.fit(config, listeners, slot)?;
        Ok(sockets)
    }

    /// Fits the sockets to the configuration: those that match stay, the others are bound, all of them or none. They
    /// differ where an earlier dispatcher with another configuration made them.
    pub fn fit(&mut self, config: &Config, listeners: &Listeners, slot: WorkerId) -> Result<(), BindError> {
        let wanted = |ip: &IpAddr| SocketAddr::new(*ip, config.sip_port(slot));
        let ips = config.sip_ips();
        let missing = ips.iter().filter(|ip| !self.sip.iter().any(|pair| is_meant(pair.address, wanted(ip))));
        let bind = |ip| SipPair::bind(wanted(ip)).map_err(|error| error.chosen_with("--worker-ports"));
        let bound = missing.map(bind).collect::<Result<Vec<_>, _>>()?;
        let mgcp = config.mgcp_addresses(slot, &listeners.addresses());
        let mut own: Vec<Option<MgcpSocket>> = Vec::new();
        for (listener, wanted) in &mgcp {
            let is_there = self.mgcp.iter().any(|own| is_meant(own.udp.local_addr(), *wanted));
            let bind = || {
                let bound = udp::Socket::bind(*wanted, Buffers::SIGNALLING);
                let udp = bound.map_err(|error| error.chosen_with(mgcp_flag(config, *listener)))?;
                Ok(MgcpSocket { listener: *listener, udp })
            };
            own.push(if is_there { None } else { Some(bind()?) });
        }
        self.sip.retain(|pair| ips.iter().any(|ip| is_meant(pair.address, wanted(ip))));
        self.sip.extend(bound);
        // The first address is the one that is shown, and the default of the worker's Contact.
        self.sip.sort_by_key(|pair| ips.iter().position(|ip| *ip == pair.address.ip()));
        let mut kept = std::mem::take(&mut self.mgcp);
        for ((listener, wanted), bound) in mgcp.iter().zip(own) {
            let found = kept.iter().position(|own| is_meant(own.udp.local_addr(), *wanted));
            let own = bound.or_else(|| found.map(|at| MgcpSocket { listener: *listener, ..kept.swap_remove(at) }));
            self.mgcp.extend(own);
        }
        Ok(())
    }

    /// The same sockets with this configuration's numbers of listeners: an earlier dispatcher may have numbered them
    /// otherwise.
    #[must_use]
    pub fn numbered(mut self, config: &Config, listeners: &Listeners, slot: WorkerId) -> Self {
        for (listener, wanted) in config.mgcp_addresses(slot, &listeners.addresses()) {
            if let Some(own) = self.mgcp.iter_mut().find(|own| is_meant(own.udp.local_addr(), wanted)) {
                own.listener = listener;
            }
        }
        self
    }

    /// Whether [`SlotSockets::fit`] would change nothing.
    pub fn fits(&self, config: &Config, listeners: &Listeners, slot: WorkerId) -> bool {
        let ips = config.sip_ips();
        let has = |ip: &IpAddr| {
            self.sip.iter().any(|pair| is_meant(pair.address, SocketAddr::new(*ip, config.sip_port(slot))))
        };
        let mgcp = config.mgcp_addresses(slot, &listeners.addresses());
        let is_it = |(own, (listener, wanted)): (&MgcpSocket, &(u16, SocketAddr))| {
            own.listener == *listener && is_meant(own.udp.local_addr(), *wanted)
        };
        self.sip.len() == ips.len()
            && ips.iter().all(has)
            && self.mgcp.len() == mgcp.len()
            && self.mgcp.iter().zip(&mgcp).all(is_it)
    }

    /// SIP addresses at which the slot takes calls.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.sip.iter().map(|pair| pair.address).collect()
    }

    /// Addresses at which it takes MGCP commands.
    pub fn mgcp_addresses(&self) -> Vec<SocketAddr> {
        self.mgcp.iter().map(|own| own.udp.local_addr()).collect()
    }

    /// The address that is shown: the first SIP address if it has one, else the first MGCP address.
    pub fn shown(&self) -> Option<SocketAddr> {
        self.addresses().first().or(self.mgcp_addresses().first()).copied()
    }

    /// Number of its sockets of each kind: pairs for SIP, and the listener that each MGCP socket belongs to.
    pub fn shape(&self) -> (usize, Vec<u16>) {
        (self.sip.len(), self.mgcp.iter().map(|own| own.listener).collect())
    }

    /// The sockets themselves: SIP over UDP and TCP in turn, then MGCP.
    pub fn descriptors(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        let sip = self.sip.iter().flat_map(|pair| [pair.udp.as_fd(), pair.tcp.as_fd()]);
        sip.chain(self.mgcp.iter().map(|own| own.udp.as_fd()))
    }

    /// Takes the descriptors that [`SlotSockets::descriptors`] of another dispatcher gave, of this
    /// [shape](SlotSockets::shape).
    ///
    /// # Errors
    ///
    /// They are not such sockets.
    pub fn inherit((pairs, mgcp): (usize, &[u16]), next: &mut impl FnMut() -> io::Result<OwnedFd>) -> io::Result<Self> {
        let mut sockets = SlotSockets::default();
        for _ in 0..pairs {
            let (udp, tcp) = (udp::Socket::from_fd(next()?)?, tcp::Listener::from_fd(next()?)?);
            sockets.sip.push(SipPair { address: udp.local_addr(), udp, tcp });
        }
        for listener in mgcp {
            sockets.mgcp.push(MgcpSocket { listener: *listener, udp: udp::Socket::from_fd(next()?)? });
        }
        Ok(sockets)
    }

    /// Gives the lanes copies: they answer from them, and read them while the slot has no worker.
    ///
    /// # Errors
    ///
    /// No descriptor is left.
    pub fn serve(&self, worker: WorkerId, lanes: &Lanes) -> io::Result<()> {
        let sip = self.sip.iter().map(|pair| pair.udp.try_clone()).collect::<io::Result<Vec<_>>>()?;
        let mgcp = self.mgcp.iter().map(|own| Ok((ListenerId(own.listener), own.udp.try_clone()?)));
        lanes.slot(worker, &sip, &mgcp.collect::<io::Result<Vec<_>>>()?);
        Ok(())
    }

    /// Adds the slot's sockets to those that its worker gets.
    pub fn pass<'s>(&'s self, passed: &mut Vec<PassedSocket>, sockets: &mut Vec<BorrowedFd<'s>>) {
        for SipPair { udp, tcp, address } in &self.sip {
            passed.push(PassedSocket { role: SocketRole::SipUdp, address: *address, listener: None });
            sockets.push(udp.as_fd());
            passed.push(PassedSocket { role: SocketRole::SipTcp, address: *address, listener: None });
            sockets.push(tcp.as_fd());
        }
        for MgcpSocket { listener, udp } in &self.mgcp {
            let (role, address) = (SocketRole::Mgcp, udp.local_addr());
            passed.push(PassedSocket { role, address, listener: Some(*listener) });
            sockets.push(udp.as_fd());
        }
    }
}

/// Sockets that a worker gives to the new dispatcher when it comes back.
#[derive(Debug)]
pub struct ReturnedSockets {
    /// Duplicates of the well-known sockets.
    pub listeners: Vec<udp::Socket>,
    /// Its slot's sockets.
    pub slot: SlotSockets,
}

impl ReturnedSockets {
    /// Sorts the descriptors that came beside a worker's `Hello`. The sockets' own addresses count, not those that the
    /// worker names.
    ///
    /// # Errors
    /// A descriptor is not the socket it is named as, a SIP socket is not one of a pair, or there is none at all.
    pub fn sort(named: &[PassedSocket], descriptors: Vec<OwnedFd>) -> io::Result<Self> {
        let mut listeners = Vec::new();
        let mut udps = Vec::new();
        let mut tcps = Vec::new();
        let mut mgcp = Vec::new();
        for (PassedSocket { role, listener, .. }, fd) in named.iter().zip(descriptors) {
            match role {
                SocketRole::Listener => listeners.push(udp::Socket::from_fd(fd)?),
                SocketRole::SipUdp => udps.push(udp::Socket::from_fd(fd)?),
                SocketRole::SipTcp => tcps.push(tcp::Listener::from_fd(fd)?),
                SocketRole::Mgcp => {
                    // The number is the earlier dispatcher's: it is set anew where the configuration differs.
                    mgcp.push(MgcpSocket { listener: listener.unwrap_or_default(), udp: udp::Socket::from_fd(fd)? });
                }
                // A link to a dead dispatcher is closed.
                SocketRole::Link => {}
            }
        }
        let mut pairs = Vec::new();
        for udp in udps {
            let address = udp.local_addr();
            let tcp = tcps.iter().position(|tcp| tcp.local_addr() == address).map(|at| tcps.swap_remove(at));
            let tcp = tcp.ok_or_else(|| io::Error::other(format!("no TCP listener came for {address}")))?;
            pairs.push(SipPair { udp, tcp, address });
        }
        if pairs.is_empty() && mgcp.is_empty() {
            return Err(io::Error::other("no socket of its slot came"));
        }
        Ok(ReturnedSockets { listeners, slot: SlotSockets { sip: pairs, mgcp } })
    }
}

/// Flag or key that sets the port of a slot's MGCP socket beside a listener.
fn mgcp_flag(config: &Config, listener: u16) -> &'static str {
    match config.mgcp_of(usize::from(listener)).bypass {
        Bypass::Domain => "`addresses` of its `mgcp` rule",
        Bypass::Relay | Bypass::Port => "--worker-mgcp-ports",
    }
}

/// Whether a socket is the one that `listen` asks for.
fn fits(socket: &Listener, listen: &Listen) -> bool {
    socket.is_stream() == listen.service.is_stream() && is_meant(socket.local_addr(), listen.address)
}

/// Whether a socket bound to `address` is the one that `wanted` asks for; port 0 asks for any.
fn is_meant(address: SocketAddr, wanted: SocketAddr) -> bool {
    address.ip() == wanted.ip() && (wanted.port() == 0 || wanted.port() == address.port())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::words::Transport;

    /// A configuration with these well-known addresses.
    fn listening(listen: &[&str]) -> Config {
        Config { listen: listen.iter().map(|text| text.parse().unwrap()).collect(), ..Config::default() }
    }

    #[test]
    fn listeners_for_streams_are_numbered_among_the_others_and_go_neither_to_lanes_nor_to_workers() {
        let config = listening(&["udp:127.0.0.1:0", "tcp:127.0.0.1:0", "mgcp:127.0.0.1:0"]);
        let listeners = Listeners::bind(&config, Vec::new()).unwrap();
        assert_eq!(listeners.addresses().len(), 3);
        let of_lanes: Vec<_> =
            listeners.copies(&config).unwrap().iter().map(|listener| (listener.id.0, listener.transport)).collect();
        assert_eq!(of_lanes, [(0, Transport::Udp), (2, Transport::Mgcp)]);
        let (mut passed, mut sockets) = (Vec::new(), Vec::new());
        listeners.pass(&mut passed, &mut sockets);
        assert_eq!(passed.iter().map(|it| it.listener).collect::<Vec<_>>(), [Some(0), Some(2)]);
        assert_eq!(sockets.len(), 2);
    }

    #[test]
    fn a_socket_that_comes_back_is_taken_for_a_listener_of_its_own_kind() {
        let both = listening(&["tcp:127.0.0.1:0", "udp:127.0.0.1:0"]);
        let first = Listeners::bind(&both, Vec::new()).unwrap();
        let returned = first.0.iter().map(|socket| socket.try_clone().unwrap()).collect();
        let again = Listeners::bind(&listening(&["udp:127.0.0.1:0", "tcp:127.0.0.1:0"]), returned).unwrap();
        assert_eq!(again.addresses(), first.addresses().into_iter().rev().collect::<Vec<_>>());
        assert_eq!(again.0.iter().map(Listener::is_stream).collect::<Vec<_>>(), [false, true]);
    }
}
