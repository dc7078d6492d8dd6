//! The settings as the prober needs them.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use super::exchange::Subject;
use super::names::Own;
use super::schedule::{Leaves, Wanted};
use super::sockets::{self, Way};
use crate::config::{Config, LoadSource, Probe, ProbeFrom, Proxy};
use crate::dispatch::rules::udp_listener_towards;
use crate::dispatch::targets::proxies::Address;
use crate::ids::ListenerId;
use crate::names::{Endpoint, Protocol};
use crate::net::host;
use crate::net::tls::ProxyKinds;
use crate::net::udp::Socket;
use crate::words::Transport;

/// Everything that is to be probed, and the addresses of our own that never are.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    pub(super) proxies: Vec<Proxy>,
    /// Addresses of the UDP listeners, with the ports that the kernel has chosen.
    pub(super) own: Vec<SocketAddr>,
    /// Duplicates of their sockets, in the same order; none where no probe leaves from them.
    pub(super) sockets: Vec<Arc<Socket>>,
    /// The address of this host that the operator names.
    pub(super) advertise: Option<IpAddr>,
    /// The listeners for connections over TCP and TLS.
    pub(super) streams: Vec<(Transport, SocketAddr)>,
    /// The protocol of the connections to each proxy that is reached over some.
    pub(super) kinds: ProxyKinds,
}

/// The address of ours that a connection has before it is begun.
pub(super) const NOWHERE: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0);

impl Own for Plan {
    fn is_own(&self, host: &str, Endpoint { protocol, address }: Endpoint) -> bool {
        let is_other = |own: &SocketAddr| own.is_ipv4() == address.is_ipv4() && !own.ip().is_loopback();
        let mut all = self.own.iter().chain(self.streams.iter().map(|(_, own)| own));
        let is_local = address.ip().is_loopback() && host != "localhost" && all.any(is_other);
        let transport = match protocol {
            Protocol::Udp => Transport::Udp,
            Protocol::Tcp => Transport::Tcp,
            Protocol::Tls => Transport::Tls,
        };
        is_local || self.is_listener(transport, address)
    }
}

impl Plan {
    /// The plan of a configuration. `bound`: the listeners that take datagrams; `streams`: those that take connections;
    /// `kinds`: the protocol of our own connections to proxies.
    ///
    /// # Errors
    /// No descriptor is left.
    pub fn new<'s>(
        config: &Config,
        bound: impl Iterator<Item = (ListenerId, &'s Socket)>,
        streams: impl Iterator<Item = (ListenerId, SocketAddr)>,
        kinds: ProxyKinds,
    ) -> io::Result<Self> {
        let transport = |of: ListenerId| config.listen.get(usize::from(of.0)).map(|it| it.service.transport());
        let bound = bound.filter(|(of, _)| transport(*of) == Some(Transport::Udp));
        let bound: Vec<&Socket> = bound.map(|(_, socket)| socket).collect();
        let has_use = config.proxies.iter().any(|proxy| proxy.probe_from == ProbeFrom::Listener);
        let used = bound.iter().filter(|_| has_use);
        Ok(Plan {
            proxies: config.proxies.clone(),
            own: bound.iter().map(|socket| socket.local_addr()).collect(),
            sockets: used.map(|socket| Ok(Arc::new(socket.try_clone()?))).collect::<io::Result<_>>()?,
            advertise: config.advertise,
            streams: streams.filter_map(|(of, address)| Some((transport(of)?, address))).collect(),
            kinds,
        })
    }

    /// The proxies whose written address is that of a listener of ours: what is sent there comes back.
    pub fn own_proxies(&self) -> impl Iterator<Item = &Proxy> {
        let address = |proxy: &Proxy| Some(SocketAddr::new(proxy.host.parse().ok()?, proxy.port()));
        let is_own = move |proxy: &&Proxy| address(proxy).is_some_and(|to| self.is_listener(proxy.transport, to));
        self.proxies.iter().filter(is_own)
    }

    /// Whether what is sent to this address over this transport comes to a listener of ours.
    fn is_listener(&self, transport: Transport, to: SocketAddr) -> bool {
        let is_here = |own: SocketAddr| own.ip() == to.ip() || own.ip().is_unspecified() && host::has(to.ip());
        let mut own = self.listeners(transport).filter(|own| own.is_ipv4() == to.is_ipv4() && own.port() == to.port());
        own.any(is_here)
    }

    /// The addresses of the listeners of a transport.
    fn listeners(&self, transport: Transport) -> impl Iterator<Item = SocketAddr> + '_ {
        let datagrams = self.own.iter().copied().filter(move |_| transport == Transport::Udp);
        let streams = self.streams.iter().filter(move |(of, _)| *of == transport);
        datagrams.chain(streams.map(|(_, own)| *own))
    }

    /// What is to be probed at an address of a proxy; `None`: nothing.
    pub(super) fn wanted(&self, proxy: &Proxy, member: &Address) -> Option<Wanted> {
        if proxy.probe == Probe::None {
            return None;
        }
        let subject = Subject {
            to: member.address,
            transport: proxy.transport,
            kind: proxy.probe,
            asks_load: proxy.load == LoadSource::Sip,
            within: proxy.probe_within,
        };
        let leaves = match proxy.probe_from {
            _ if proxy.is_stream() => Leaves::Connection(self.own_ip_towards(proxy.transport, member.address)),
            ProbeFrom::Own => Leaves::Own,
            ProbeFrom::Listener => Leaves::Listener(self.listener_towards(member.address)),
        };
        Some(Wanted { proxy: Arc::from(proxy.name.as_str()), subject, interval: proxy.probe_interval, leaves })
    }

    /// The listener from which requests for an address leave that have come to none of its family, and the address of
    /// ours that they leave from. Of a wildcard listener it is the one that the operator names, if this host has it,
    /// else the one that the route begins at.
    fn listener_towards(&self, to: SocketAddr) -> Option<(usize, SocketAddr)> {
        let (number, bound) = udp_listener_towards((0..).zip(self.own.iter().copied()), to.ip())?;
        let named = self.advertise.filter(|own| {
            own.is_ipv4() == to.is_ipv4() && own.is_loopback() == to.ip().is_loopback() && host::has(*own)
        });
        let ip = match bound.ip() {
            wildcard if wildcard.is_unspecified() => named.or_else(|| host::address_towards(to.ip()))?,
            own => own,
        };
        Some((number, SocketAddr::new(ip, bound.port())))
    }

    /// The address of ours that connections for an address leave from: the listener's own where it has one, so that
    /// servers which know us by our address know the probes as well.
    fn own_ip_towards(&self, transport: Transport, to: SocketAddr) -> Option<IpAddr> {
        let mut own = self.listeners(transport).map(|own| own.ip());
        own.find(|own| {
            own.is_ipv4() == to.is_ipv4() && !own.is_unspecified() && own.is_loopback() == to.ip().is_loopback()
        })
    }

    /// The way of probes, and the address that they leave from. That of a connection is known when it is opened.
    pub(super) fn way_of(&self, wanted: &Wanted) -> io::Result<(Way, SocketAddr)> {
        match wanted.leaves {
            Leaves::Own => sockets::towards(wanted.subject.to, &self.own),
            Leaves::Connection(from) => Ok((Way::Connection(Arc::clone(&wanted.proxy), from), NOWHERE)),
            Leaves::Listener(from) => {
                let nowhere = || io::Error::other("no route leads there from a UDP listener");
                let (number, local) = from.ok_or_else(nowhere)?;
                let socket = self.sockets.get(number).ok_or_else(nowhere)?;
                Ok((Way::Listener(Arc::clone(socket), local.ip()), local))
            }
        }
    }
}
