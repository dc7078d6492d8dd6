//! The sockets of the probes: one for each address, that of a well-known listener, or a connection.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::AsRawFd;
use std::sync::Arc;

use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};

use super::streams::Streams;
use crate::net::udp::{Buffers, Delivery, Socket};

/// The sockets, by the number of their entry in the schedule.
#[derive(Debug)]
pub(super) struct Sockets {
    open: BTreeMap<usize, Way>,
    pub(super) streams: Streams,
    /// The entries whose answers come to a listener, by the address that they come from.
    at_listener: BTreeSet<(SocketAddr, usize)>,
}

/// The way of the probes of one address.
#[derive(Debug)]
pub(super) enum Way {
    /// A socket of their own.
    Own(Socket),
    /// The socket of a listener, and the address of ours that they leave from.
    Listener(Arc<Socket>, IpAddr),
    /// A connection to this proxy, from this address of ours; `None`: the kernel chooses one.
    Connection(Arc<str>, Option<IpAddr>),
}

/// A socket of a probe holds an answer or two.
const BUFFERS: Buffers = Buffers { receive: 64 << 10, send: 64 << 10 };

/// A socket of their own towards an address: from the listener's own address where it has one, so that servers which
/// know us by our address know the probes as well.
pub(super) fn towards(to: SocketAddr, own: &[SocketAddr]) -> io::Result<(Way, SocketAddr)> {
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
    Ok((Way::Own(socket), local))
}

impl Sockets {
    pub(super) fn new(streams: Streams) -> Self {
        Sockets { open: BTreeMap::new(), streams, at_listener: BTreeSet::new() }
    }

    /// Adds the way of an entry's probes, which go to this address.
    pub(super) fn add(&mut self, number: usize, (way, to): (Way, SocketAddr), registry: &Registry) -> io::Result<()> {
        match &way {
            Way::Own(socket) => {
                registry.register(&mut SourceFd(&socket.as_raw_fd()), Token(number), Interest::READABLE)?;
            }
            // The lanes read it.
            Way::Listener(..) => drop(self.at_listener.insert((to, number))),
            Way::Connection(proxy, from) => self.streams.add(number, Arc::clone(proxy), to, *from),
        }
        self.open.insert(number, way);
        Ok(())
    }

    pub(super) fn remove(&mut self, number: usize, registry: &Registry) {
        match self.open.remove(&number) {
            Some(Way::Own(socket)) => {
                // Closing it would do the same.
                let _ = registry.deregister(&mut SourceFd(&socket.as_raw_fd()));
            }
            Some(Way::Listener(..)) => self.at_listener.retain(|(_, of)| *of != number),
            Some(Way::Connection(..)) => self.streams.remove(number),
            None => {}
        }
    }

    /// The entry's own socket.
    pub(super) fn own(&self, number: usize) -> Option<&Socket> {
        match self.open.get(&number)? {
            Way::Own(socket) => Some(socket),
            Way::Listener(..) | Way::Connection(..) => None,
        }
    }

    /// The entries whose answers come to a listener from this address.
    pub(super) fn at_listener(&self, from: SocketAddr) -> impl Iterator<Item = usize> + '_ {
        self.at_listener.range((from, 0)..=(from, usize::MAX)).map(|(_, number)| *number)
    }

    /// Sends a message; false if the host says that nothing listens there, or no route leads to it. A connection says
    /// that later, and when a probe has left.
    pub(super) fn send(&mut self, number: usize, (bytes, is_probe): (&[u8], bool), to: SocketAddr) -> bool {
        let delivery = match self.open.get(&number) {
            Some(Way::Own(socket)) => socket.send(bytes, to, None),
            Some(Way::Listener(socket, from)) => socket.send(bytes, to, Some(*from)),
            Some(Way::Connection(..)) => {
                self.streams.send(number, bytes, is_probe);
                return true;
            }
            None => return true,
        };
        !matches!(delivery, Ok(Delivery::Undeliverable(_)))
    }
}
