//! The settings as the prober needs them.

use std::net::SocketAddr;
use std::sync::Arc;

use super::exchange::Subject;
use super::names::Own;
use super::schedule::Wanted;
use crate::config::{Config, LoadSource, Probe, Proxy, Service};
use crate::dispatch::targets::proxies::Address;
use crate::net::host;

/// Everything that is to be probed, and the addresses of our own that never are.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    pub(super) proxies: Vec<Proxy>,
    /// Addresses of the UDP listeners, with the ports that the kernel has chosen.
    pub(super) own: Vec<SocketAddr>,
}

impl Own for Plan {
    fn is_own(&self, host: &str, address: SocketAddr) -> bool {
        let is_other = |own: &SocketAddr| own.is_ipv4() == address.is_ipv4() && !own.ip().is_loopback();
        let is_local = address.ip().is_loopback() && host != "localhost" && self.own.iter().any(is_other);
        is_local || self.is_listener(address)
    }
}

impl Plan {
    /// The plan of a configuration. `bound`: the listeners' addresses, in their order.
    pub fn new(config: &Config, bound: impl IntoIterator<Item = SocketAddr>) -> Self {
        let own = config.listen.iter().zip(bound);
        let own = own.filter(|(listen, _)| listen.service == Service::Udp).map(|(_, address)| address).collect();
        Plan { proxies: config.proxies.clone(), own }
    }

    /// The proxies whose written address is that of a listener of ours: what is sent there comes back.
    pub fn own_proxies(&self) -> impl Iterator<Item = &Proxy> {
        let address =
            |proxy: &Proxy| Some(SocketAddr::new(proxy.host.parse().ok()?, proxy.port.unwrap_or(Proxy::PORT)));
        self.proxies.iter().filter(move |proxy| address(proxy).is_some_and(|to| self.is_listener(to)))
    }

    /// Whether what is sent to this address comes to a listener of ours.
    fn is_listener(&self, to: SocketAddr) -> bool {
        let is_here = |own: &SocketAddr| own.ip() == to.ip() || own.ip().is_unspecified() && host::has(to.ip());
        let mut own = self.own.iter().filter(|own| own.is_ipv4() == to.is_ipv4() && own.port() == to.port());
        own.any(is_here)
    }

    /// What is to be probed at an address of a proxy; `None`: nothing.
    pub(super) fn wanted(proxy: &Proxy, member: &Address) -> Option<Wanted> {
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
        Some(Wanted { proxy: Arc::from(proxy.name.as_str()), subject, interval: proxy.probe_interval })
    }
}
