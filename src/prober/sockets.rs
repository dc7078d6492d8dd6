//! The sockets of the probes, one for each address.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::AsRawFd;

use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};

use crate::net::udp::{Buffers, Delivery, Socket};

/// The sockets, by the number of their entry in the schedule.
#[derive(Debug, Default)]
pub(super) struct Sockets {
    open: BTreeMap<usize, Socket>,
}

/// A socket of a probe holds an answer or two.
const BUFFERS: Buffers = Buffers { receive: 64 << 10, send: 64 << 10 };

/// A socket towards an address: from the listener's own address where it has one, so that servers which know us by our
/// address know the probes as well.
pub(super) fn towards(to: SocketAddr, own: &[SocketAddr]) -> io::Result<(Socket, SocketAddr)> {
    let listener = own.iter().find(|own| own.is_ipv4() == to.is_ipv4()).map(SocketAddr::ip);
    let any = match to {
        SocketAddr::V4(_) => IpAddr::from(Ipv4Addr::UNSPECIFIED),
        SocketAddr::V6(_) => IpAddr::from(Ipv6Addr::UNSPECIFIED),
    };
    let from = SocketAddr::new(listener.unwrap_or(any), 0);
    let socket = Socket::bind(from, BUFFERS).map_err(io::Error::other)?;
    socket.connect(to)?;
    // Where the kernel keeps no time of arrival, the time of reading counts.
    let _ = socket.stamp_arrivals(true);
    // The kernel has chosen the address that leads there: it is read anew.
    let socket = Socket::from_fd(socket.into())?;
    let local = socket.local_addr();
    Ok((socket, local))
}

impl Sockets {
    pub(super) fn add(&mut self, number: usize, socket: Socket, registry: &Registry) -> io::Result<()> {
        registry.register(&mut SourceFd(&socket.as_raw_fd()), Token(number), Interest::READABLE)?;
        self.open.insert(number, socket);
        Ok(())
    }

    pub(super) fn remove(&mut self, number: usize, registry: &Registry) {
        if let Some(socket) = self.open.remove(&number) {
            // Closing it would do the same.
            let _ = registry.deregister(&mut SourceFd(&socket.as_raw_fd()));
        }
    }

    pub(super) fn get(&self, number: usize) -> Option<&Socket> {
        self.open.get(&number)
    }

    /// Sends a message; false if the host says that nothing listens there, or no route leads to it.
    pub(super) fn send(&self, number: usize, bytes: &[u8], to: SocketAddr) -> bool {
        let Some(socket) = self.open.get(&number) else { return true };
        !matches!(socket.send(bytes, to, None), Ok(Delivery::Undeliverable(_)))
    }
}
