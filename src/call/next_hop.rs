//! The way of our own requests: where they go, and by which socket (RFC 3261 §8.1.2, RFC 3263 §4).

use std::net::{IpAddr, SocketAddr};

use crate::call::exchange::Hop;
use crate::call::identity::Identity;
use crate::call::uas::Place;
use crate::wire::sip::Uri;

/// Where a request of ours goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum NextHop {
    /// To this address.
    Address(SocketAddr),
    /// To the address of this name, at this port.
    Name(Box<str>, u16),
}

/// By which way a request of ours leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Leaving {
    pub(super) hop: Hop,
    /// The local address it must leave from, on sockets bound to all addresses.
    pub(super) from: Option<IpAddr>,
    /// The address in its Via.
    pub(super) sent_by: SocketAddr,
}

/// Where a request of ours goes: on the connection there is, to the source of a pinned peer, else where the first route
/// or the remote target says. That is also where a connection is opened when ours is gone.
pub(super) fn next_hop(place: &Place, uri: Option<Uri<'_>>) -> (Hop, NextHop) {
    let source = NextHop::Address(place.source);
    if place.pinned || matches!(place.hop, Hop::Front(_)) {
        return (place.hop, source);
    }
    let Some(uri) = uri else { return (place.hop, source) };
    let tcp = uri.param(b"transport").is_some_and(|value| value.eq_ignore_ascii_case(b"tcp"));
    let hop = if tcp { Hop::Dial } else { place.hop };
    let port = uri.port.unwrap_or(5060);
    let host = uri.target();
    if let Hop::Stream(_) = place.hop {
        // A name is not worth a wait for a connection that is there.
        let to = host.ip().map_or(place.source, |ip| SocketAddr::new(ip, port));
        return (place.hop, NextHop::Address(to));
    }
    match host.ip() {
        Some(ip) => (hop, NextHop::Address(SocketAddr::new(ip, port))),
        None if host.as_bytes().is_empty() => (hop, source),
        None => (hop, NextHop::Name(String::from_utf8_lossy(host.as_bytes()).into(), port)),
    }
}

impl Identity {
    /// The way of a request of ours to `to` in a call whose requests leave by `hop`: by that, or by our own socket of the
    /// address family that `to` is of. `None` when we have none.
    pub(super) fn leaving(&self, place: &Place, hop: Hop, to: SocketAddr) -> Option<Leaving> {
        let usual = Leaving { hop, from: place.from, sent_by: place.contact };
        if place.contact.is_ipv4() == to.is_ipv4() || matches!(hop, Hop::Stream(_) | Hop::Front(_)) {
            return Some(usual);
        }
        let number = self.own.iter().position(|own| own.is_ipv4() == to.is_ipv4())?;
        let own = self.own.get(number)?;
        let hop = if hop == Hop::Dial { hop } else { Hop::Own(number as u16) };
        let sent_by = SocketAddr::new(self.ip_of(own), own.port());
        // Of a socket bound to all addresses the kernel knows best which of them leads to `to`.
        let from = Some(own.ip()).filter(|ip| !ip.is_unspecified());
        Some(Leaving { hop, from, sent_by })
    }
}
