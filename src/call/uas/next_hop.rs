//! The way of our own requests: their destination, and the socket they leave by (RFC 3261 §8.1.2, RFC 3263 §4).

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use crate::call::exchange::Hop;
use crate::call::identity::Identity;
use crate::call::uas::addresses::Addresses;
use crate::names::{Endpoint, Protocol, Question, Source};
use crate::wire::sip::{Scheme, Uri};
use crate::words::Transport;

/// Destination of a request of ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum NextHop {
    /// This address.
    Address(SocketAddr),
    /// The address that this question leads to.
    Name(Question),
}

/// The way of a request of ours, and its destination.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Towards {
    pub(super) hop: Hop,
    /// The name that the called side has to show a certificate for, for [`Hop::DialSecure`].
    pub(super) peer: Option<Arc<str>>,
    pub(super) to: NextHop,
}

/// The way on which a request of ours leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Leaving {
    pub(super) hop: Hop,
    /// The transport in its Via.
    pub(super) transport: Transport,
    /// The local address it must leave from, on sockets bound to all addresses.
    pub(super) from: Option<IpAddr>,
    /// The address in its Via.
    pub(super) sent_by: SocketAddr,
}

impl Identity {
    /// Finds the way for a request of ours: the existing connection, else the first route (§8.1.2), else the remote
    /// target. If our connection is gone, a new one is opened to the same destination; after one over TLS only over
    /// TLS, to the host that the URI names.
    ///
    /// Some requests go to the address where the far end was heard, by the socket it was heard by. These are all
    /// requests to a pinned peer whose connection stands, or that has none, requests to a peer that has not shown that
    /// it hears us (its Contact may name a third party), and requests to a target that is another address than the one
    /// it was heard at, as behind a NAT.
    pub(super) fn towards(&self, addresses: &Addresses, uri: Option<Uri<'_>>, is_route: bool) -> Towards {
        let heard = &addresses.heard;
        // Only its Contact says who has to answer over TLS.
        let back = if heard.hop == Hop::DialSecure { Hop::Gone } else { heard.hop };
        let back = Towards { hop: back, peer: None, to: NextHop::Address(heard.to) };
        let has_way = match heard.hop {
            Hop::Stream(_) | Hop::Dispatcher(_) | Hop::Gone => false,
            Hop::Dial => true,
            // A worker without certificates has its calls over TLS pinned, and can open no such connection.
            Hop::DialSecure => self.speaks_tls,
            _ => !addresses.pinned,
        };
        let Some(uri) = uri.filter(|_| addresses.is_heard && has_way) else { return back };
        let transport = uri.transport();
        // RFC 3263 §4.1: a SIPS URI means TLS. A worker without certificates has none.
        let asks_for_tls = self.speaks_tls && (uri.scheme == Scheme::Sips || transport == Some(Transport::Tls));
        let hop = match heard.hop {
            Hop::DialSecure => Hop::DialSecure,
            _ if asks_for_tls => Hop::DialSecure,
            Hop::Dial => Hop::Dial,
            _ if transport == Some(Transport::Tcp) => Hop::Dial,
            _ => addresses.hop,
        };
        let is_named = heard.hop == Hop::Dial || hop == Hop::DialSecure || transport == Some(Transport::Tcp);
        let (is_secure, has_maddr) = (hop == Hop::DialSecure, uri.param(b"maddr").is_some());
        // The host of the URI, whatever its `maddr` says: nobody else can vouch for it (RFC 5922 §4).
        let peer = if is_secure { uri.host.name().map(Arc::from) } else { None };
        if is_secure && peer.is_none() {
            return Towards { hop: Hop::Gone, ..back };
        }
        let host = uri.target();
        let dialled = if is_secure { Transport::Tls } else { Transport::Udp };
        match host.ip().map(|ip| SocketAddr::new(ip, uri.port.unwrap_or(dialled.default_port()))) {
            Some(to) if is_route || is_named || has_maddr || !heard.is_direct || to == heard.to => {
                Towards { hop, peer, to: NextHop::Address(to) }
            }
            // A Contact of another address family is used as given (RFC 3263 §4).
            Some(to) if to.is_ipv4() != heard.to.is_ipv4() => Towards { hop, peer, to: NextHop::Address(to) },
            Some(_) => back,
            None if host.as_bytes().is_empty() => back,
            None => {
                // RFC 3263 §4.1: a transport that the URI names is used; else SRV records may name TCP.
                let protocols: &[Protocol] = match hop {
                    Hop::DialSecure => &[Protocol::Tls],
                    Hop::Dial => &[Protocol::Tcp],
                    _ if uri.param(b"transport").is_some() => &[Protocol::Udp],
                    _ => &[Protocol::Udp, Protocol::Tcp],
                };
                let host = String::from_utf8_lossy(host.as_bytes()).into();
                let source = Source::peer(addresses.source.ip());
                let question = Question { host, port: uri.port, protocols, asks_transports: false, source };
                Towards { hop, peer, to: NextHop::Name(question) }
            }
        }
    }

    /// The endpoints that we have a way to; those of the address family of the call's signalling come first. `hop` is
    /// the way of the call's requests.
    pub(super) fn reachable(
        &self,
        addresses: &Addresses,
        hop: Hop,
        endpoints: &[Endpoint],
    ) -> impl Iterator<Item = (Hop, SocketAddr)> {
        let way = |endpoint: &Endpoint| {
            let hop = match endpoint.protocol {
                Protocol::Udp => hop,
                Protocol::Tcp => Hop::Dial,
                Protocol::Tls => Hop::DialSecure,
            };
            self.leaving(addresses, hop, endpoint.address).map(|_| (hop, endpoint.address))
        };
        let is_like = |endpoint: &&Endpoint| endpoint.address.is_ipv4() == addresses.contact.is_ipv4();
        let (like, others): (Vec<_>, Vec<_>) = endpoints.iter().partition(is_like);
        let mut ways = Vec::with_capacity(endpoints.len());
        for way in like.into_iter().chain(others).filter_map(way) {
            // Several names may lead to one place, which is tried once.
            if !ways.contains(&way) {
                ways.push(way);
            }
        }
        ways.into_iter()
    }

    /// The way of a request of ours to `to` in a call whose requests leave by `hop`: that way, or our own socket of the
    /// address family of `to`. `None` if we have none.
    pub(super) fn leaving(&self, addresses: &Addresses, hop: Hop, to: SocketAddr) -> Option<Leaving> {
        if hop == Hop::Gone {
            return None;
        }
        let heard = &addresses.heard;
        let transport = match hop {
            Hop::Own(_) | Hop::Listener(_) | Hop::Permitted(..) => Transport::Udp,
            Hop::Dial | Hop::Gone => Transport::Tcp,
            Hop::Stream(_) | Hop::Dispatcher(_) if heard.hop.is_on(hop) => heard.transport,
            // An alias.
            Hop::DialSecure | Hop::Stream(_) | Hop::Dispatcher(_) => Transport::Tls,
        };
        if hop == heard.hop && to == heard.to {
            // A caller without `rport` answers to the port in our Via, and a NAT lets in only packets to the port that
            // it opened.
            let port = match hop {
                Hop::Listener(number) | Hop::Permitted(number, _) => {
                    self.listeners.get(usize::from(number)).map(SocketAddr::port)
                }
                _ => None,
            };
            let sent_by = SocketAddr::new(addresses.contact.ip(), port.unwrap_or(addresses.contact.port()));
            return Some(Leaving { hop, transport, from: heard.from, sent_by });
        }
        let usual = Leaving { hop, transport, from: addresses.from, sent_by: addresses.contact };
        if addresses.contact.is_ipv4() == to.is_ipv4() || matches!(hop, Hop::Stream(_) | Hop::Dispatcher(_)) {
            return Some(usual);
        }
        let number = self.own.iter().position(|own| own.is_ipv4() == to.is_ipv4())?;
        let own = self.own.get(number)?;
        let hop = if hop.is_dialled() { hop } else { Hop::Own(number as u16) };
        let sent_by = SocketAddr::new(self.ip_of(own), own.port());
        // The kernel knows best which address of a socket bound to all leads to `to`.
        let from = Some(own.ip()).filter(|ip| !ip.is_unspecified());
        Some(Leaving { hop, transport, from, sent_by })
    }
}
