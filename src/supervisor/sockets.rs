//! The sockets that the dispatcher binds: the well-known ones, and those that belong to the slots.
//!
//! A slot has one UDP socket and one TCP listener on the same port (RFC 3261 §18.2.1) for each distinct address that
//! the dispatcher listens on. They outlive the worker: what arrives between two workers waits in them.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd};

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
    /// Binds all of them or none.
    pub fn bind(config: &Config) -> Result<Self, BindError> {
        let bound = config.listen.iter().map(|listen| udp::Socket::bind(listen.address, Buffers::SIGNALLING));
        Ok(Listeners(bound.collect::<Result<_, _>>()?))
    }

    /// Copies for the lane.
    pub fn copies(&self) -> io::Result<Vec<(ListenerId, udp::Socket)>> {
        let numbered = self.0.iter().enumerate();
        numbered.map(|(at, socket)| Ok((ListenerId(at as u16), socket.try_clone()?))).collect()
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

/// The sockets of one slot.
#[derive(Debug)]
pub struct SlotSockets(Vec<Pair>);

/// UDP and TCP on one port.
#[derive(Debug)]
struct Pair {
    udp: udp::Socket,
    tcp: tcp::Listener,
    address: SocketAddr,
}

impl SlotSockets {
    /// Binds a slot's port on every distinct listener address.
    pub fn bind(config: &Config, slot: WorkerId) -> Result<Self, BindError> {
        let port = config.sip_port(slot);
        let mut pairs = Vec::new();
        for ip in config.listener_ips() {
            let udp = udp::Socket::bind(SocketAddr::new(ip, port), Buffers::SIGNALLING)?;
            // Port 0 lets the kernel choose once; TCP takes the same number.
            let address = udp.local_addr();
            let tcp = tcp::Listener::bind(address)?;
            pairs.push(Pair { udp, tcp, address });
        }
        Ok(SlotSockets(pairs))
    }

    /// Where the slot takes calls.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.0.iter().map(|pair| pair.address).collect()
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
