//! A well-known socket, of either kind: one that takes datagrams, or one that takes connections.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use socket2::{SockRef, Type};

use super::bind::BindError;
use super::udp::Buffers;
use super::{tcp, udp};

/// A well-known socket.
#[derive(Debug)]
pub enum Listener {
    /// A UDP socket: each datagram holds whole messages.
    Datagram(udp::Socket),
    /// A TCP listener: messages come on the connections that it accepts.
    Stream(tcp::Listener),
}

impl Listener {
    /// Binds `address`: for streams with TCP, else with UDP and the buffers of signalling.
    ///
    /// # Errors
    ///
    /// The address is in use, belongs to no interface of this host, or needs a right that this process lacks.
    pub fn bind(address: SocketAddr, is_stream: bool) -> Result<Self, BindError> {
        if is_stream {
            tcp::Listener::bind(address).map(Listener::Stream)
        } else {
            udp::Socket::bind(address, Buffers::SIGNALLING).map(Listener::Datagram)
        }
    }

    /// Takes a socket that another process has bound, of the kind that it is.
    ///
    /// # Errors
    ///
    /// The descriptor is neither a UDP socket nor a TCP listener.
    pub fn from_fd(fd: OwnedFd) -> io::Result<Self> {
        match SockRef::from(&fd).r#type()? {
            Type::STREAM => tcp::Listener::from_fd(fd).map(Listener::Stream),
            _ => udp::Socket::from_fd(fd).map(Listener::Datagram),
        }
    }

    /// A duplicate: the same socket under another descriptor.
    ///
    /// # Errors
    ///
    /// No descriptor is left.
    pub fn try_clone(&self) -> io::Result<Self> {
        Ok(match self {
            Listener::Datagram(socket) => Listener::Datagram(socket.try_clone()?),
            Listener::Stream(socket) => Listener::Stream(socket.try_clone()?),
        })
    }

    /// Address that it is bound to.
    pub const fn local_addr(&self) -> SocketAddr {
        match self {
            Listener::Datagram(socket) => socket.local_addr(),
            Listener::Stream(socket) => socket.local_addr(),
        }
    }

    /// Whether it takes connections.
    pub const fn is_stream(&self) -> bool {
        matches!(self, Listener::Stream(_))
    }

    /// The UDP socket; `None` where it takes connections.
    pub const fn datagram(&self) -> Option<&udp::Socket> {
        match self {
            Listener::Datagram(socket) => Some(socket),
            Listener::Stream(_) => None,
        }
    }

    /// The TCP listener; `None` where it takes datagrams.
    pub const fn stream(&self) -> Option<&tcp::Listener> {
        match self {
            Listener::Datagram(_) => None,
            Listener::Stream(listener) => Some(listener),
        }
    }

    /// Brings a socket that another program has bound into the state in which [`Listener::bind`] leaves one.
    ///
    /// # Errors
    ///
    /// The kernel refuses, or an IPv6 socket serves IPv4 as well.
    pub fn prepare(&self) -> io::Result<()> {
        if let Listener::Datagram(socket) = self {
            socket.prepare(Buffers::SIGNALLING)?;
        }
        let address = self.local_addr();
        if address.is_ipv6() && address.ip().is_unspecified() && !SockRef::from(self).only_v6()? {
            let key = if self.is_stream() { "ListenStream=" } else { "ListenDatagram=" };
            return Err(io::Error::other(format!(
                "it serves IPv4, too: BindIPv6Only=ipv6-only, and another {key} for IPv4"
            )));
        }
        Ok(())
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Listener::Datagram(socket) => socket.as_fd(),
            Listener::Stream(socket) => socket.as_fd(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_of_another_process_is_taken_as_the_kind_it_is() {
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        for is_stream in [false, true] {
            let bound = Listener::bind(any, is_stream).unwrap();
            let taken = Listener::from_fd(bound.as_fd().try_clone_to_owned().unwrap()).unwrap();
            assert_eq!((taken.is_stream(), taken.local_addr()), (is_stream, bound.local_addr()));
            assert_eq!(taken.datagram().is_some(), !is_stream);
        }
    }

    #[test]
    fn a_connection_is_no_listener() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let connection = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let error = Listener::from_fd(connection.into()).unwrap_err();
        assert_eq!(error.to_string(), "the descriptor is not a listening TCP socket");
    }

    #[test]
    fn a_socket_for_both_address_families_is_not_used() {
        let both = socket2::Socket::new(socket2::Domain::IPV6, Type::STREAM, None).unwrap();
        both.set_only_v6(false).unwrap();
        both.bind(&SocketAddr::from((std::net::Ipv6Addr::UNSPECIFIED, 0)).into()).unwrap();
        both.listen(1).unwrap();
        let error = Listener::from_fd(both.into()).unwrap().prepare().unwrap_err();
        assert!(error.to_string().contains("another ListenStream= for IPv4"), "{error}");
    }
}
