//! The ports of a worker's own: those of its slot, or those it binds when it comes by itself.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::net::bind::BindError;
use crate::net::tcp::Listener;
use crate::net::udp::{Buffers, Socket};
use crate::words::Port;
use crate::worker::settings::{Settings, WorkerError};

/// A worker's own sockets.
#[derive(Debug, Default)]
pub(super) struct OwnPorts {
    /// UDP sockets for SIP; the TCP listeners follow.
    pub(super) udp: Vec<Socket>,
    pub(super) tcp: Vec<Listener>,
    pub(super) mgcp: Vec<Socket>,
}

impl OwnPorts {
    /// Binds the ports of a worker that comes by itself: one for each family, UDP and TCP, on the address of its choice
    /// or on every address of this host, and one more for MGCP.
    pub(super) fn bind(settings: &Settings) -> Result<Self, WorkerError> {
        let (mut ports, port) = (OwnPorts::default(), settings.sip_port);
        if let [first, more @ ..] = &settings.addresses[..] {
            let flag = if port == 0 { "--address" } else { "--address or --port" };
            let bind = |ports: &mut OwnPorts, ip, port| {
                ports.add(ip, port).map_err(|error| error.chosen_with(flag).with_holders())
            };
            bind(&mut ports, *first, port)?;
            // One port on all addresses: what is told of one holds for the others.
            let port = ports.udp.first().map_or(port, |first| first.local_addr().port());
            more.iter().try_for_each(|ip| bind(&mut ports, *ip, port))?;
        } else {
            let v4 = ports.add(Ipv4Addr::UNSPECIFIED.into(), port);
            v4.map_err(|error| error.chosen_with("--port").with_holders())?;
            // A host may have no IPv6; then its callers have none either.
            let _ = ports.add(Ipv6Addr::UNSPECIFIED.into(), port);
        }
        if settings.gateway {
            for own in &ports.udp {
                let any = SocketAddr::new(own.local_addr().ip(), 0);
                ports.mgcp.push(Socket::bind(any, Buffers::SIGNALLING)?);
            }
        }
        Ok(ports)
    }

    fn add(&mut self, ip: IpAddr, port: u16) -> Result<(), BindError> {
        let mut tries = 0;
        loop {
            let udp = Socket::bind(SocketAddr::new(ip, port), Buffers::SIGNALLING)?;
            match Listener::bind(udp.local_addr()) {
                Ok(tcp) => {
                    self.udp.push(udp);
                    self.tcp.push(tcp);
                    return Ok(());
                }
                // The kernel gives a port that is free for UDP; another process may have it for TCP.
                Err(_) if port == 0 && tries < 16 => tries += 1,
                Err(error) => return Err(error),
            }
        }
    }
}

/// A worker's own ports, as it names them in its Hello.
pub(super) fn ports(sip: &[Socket], mgcp: &[Socket]) -> Vec<Port> {
    let port =
        |service: &'static str| move |own: &Socket| Port { service: service.to_owned(), address: own.local_addr() };
    sip.iter().map(port("sip")).chain(mgcp.iter().map(port("mgcp"))).collect()
}
