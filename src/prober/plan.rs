//! The settings as the prober needs them.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use super::exchange::Subject;
use super::names::Own;
use super::schedule::{Leaves, Wanted};
use super::sockets::{self, Way};
use crate::config::{Config, LoadSource, Probe, ProbeFrom, Proxy, Service};
use crate::dispatch::rules::udp_listener_towards;
use crate::dispatch::targets::proxies::Address;
use crate::ids::ListenerId;
use crate::net::host;
use crate::net::udp::Socket;

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
}

impl Own for Plan {
    fn is_own(&self, host: &str, address: SocketAddr) -> bool {
        let is_other = |own: &SocketAddr| own.is_ipv4() == address.is_ipv4() && !own.ip().is_loopback();
        let is_local = address.ip().is_loopback() && host != "localhost" && self.own.iter().any(is_other);
        is_local || self.is_listener(address)
    }
}

impl Plan {
    /// The plan of a configuration. `bound`: the listeners that take datagrams.
    ///
    /// # Errors
    /// No descriptor is left.
    pub fn new<'s>(config: &Config, bound: impl Iterator<Item = (ListenerId, &'s Socket)>) -> io::Result<Self> {
        let is_sip = |of: ListenerId| config.listen.get(usize::from(of.0)).is_some_and(|it| it.service == Service::Udp);
        let bound: Vec<&Socket> = bound.filter(|(of, _)| is_sip(*of)).map(|(_, socket)| socket).collect();
        let has_use = config.proxies.iter().any(|proxy| proxy.probe_from == ProbeFrom::Listener);
        let used = bound.iter().filter(|_| has_use);
        Ok(Plan {
            proxies: config.proxies.clone(),
            own: bound.iter().map(|socket| socket.local_addr()).collect(),
            sockets: used.map(|socket| Ok(Arc::new(socket.try_clone()?))).collect::<io::Result<_>>()?,
            advertise: config.advertise,
        })
    }

    /// The proxies whose written address is that of a listener of ours: what is sent there comes back.
    pub fn own_proxies(&self) -> impl Iterator<Item = &Proxy> {
        let address = |proxy: &Proxy| Some(SocketAddr::new(proxy.host.parse().ok()?, proxy.port()));
        self.proxies.iter().filter(move |proxy| address(proxy).is_some_and(|to| self.is_listener(to)))
    }

    /// Whether what is sent to this address comes to a listener of ours.
    fn is_listener(&self, to: SocketAddr) -> bool {
        let is_here = |own: &SocketAddr| own.ip() == to.ip() || own.ip().is_unspecified() && host::has(to.ip());
        let mut own = self.own.iter().filter(|own| own.is_ipv4() == to.is_ipv4() && own.port() == to.port());
        own.any(is_here)
    }

    /// What is to be probed at an address of a proxy; `None`: nothing.
    pub(super) fn wanted(&self, proxy: &Proxy, member: &Address) -> Option<Wanted> {
        if proxy.probe == Probe::None {
            return None;
        }
        let subject = Subject {
            to: member.address,
            uri: format!("sip:{}", member.address).into(),
            kind: proxy.probe,
            asks_load: proxy.load == LoadSource::Sip,
            within: proxy.probe_within,
        };
        let leaves = match proxy.probe_from {
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

    /// The way of probes, and the address that they leave from.
    pub(super) fn way_of(&self, wanted: &Wanted) -> io::Result<(Way, SocketAddr)> {
        match wanted.leaves {
            Leaves::Own => sockets::towards(wanted.subject.to, &self.own),
            Leaves::Listener(from) => {
                let nowhere = || io::Error::other("no route leads there from a UDP listener");
                let (number, local) = from.ok_or_else(nowhere)?;
                let socket = self.sockets.get(number).ok_or_else(nowhere)?;
                Ok((Way::Listener(Arc::clone(socket), local.ip()), local))
            }
        }
    }
}
