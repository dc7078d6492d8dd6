//! Messages that travel on: requests to downstream proxies, their responses, and redirections.

use std::net::{IpAddr, SocketAddr};

use crate::ids::{ListenerId, ProxyId};
use crate::transaction::flow_token::{Hop, Side};
use crate::transaction::forwarded::{Flow, ForwardedBranch};
use crate::wire::sip::ViaCompletion;
use crate::words::Transport;

/// A request that is forwarded to a downstream proxy (RFC 3261 §16.6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Forward {
    /// The proxy that gets it, or whose dialog it is of.
    pub proxy: ProxyId,
    /// The side that has sent it.
    pub side: Side,
    /// Where it goes: to the address of the proxy, or back to the caller of a dialog.
    pub to: Hop,
    /// The well-known socket that it leaves from.
    pub listener: ListenerId,
    /// The address of that socket, which our Via names, and its port.
    pub sent_by: (IpAddr, u16),
    /// The transport that it leaves over.
    pub transport: Transport,
    /// The branch of our Via.
    pub branch: ForwardedBranch,
    /// The parameter of our Via that vouches for the way that responses go.
    pub flow: Flow,
    /// The weight of the proxy when it was chosen; 0 for a request that follows another.
    pub weight: u16,
    /// Whether host and port of the request-URI become those of the proxy.
    pub rewrites_uri: bool,
    /// Whether our Via asks for overload control (RFC 7339).
    pub asks_overload: bool,
    /// Whether it gets our Record-Route.
    pub records_route: bool,
    /// The completion of the sender's Via.
    pub via: ViaCompletion,
    /// The changes to its Route.
    pub routes: Routes,
}

/// Changes to the Route of a request that is forwarded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Routes {
    /// The topmost values that name us, and are taken off.
    pub own: OwnRoutes,
    /// Whether the last value becomes the request-URI again (RFC 3261 §16.4).
    pub restores_uri: bool,
    /// Whether the next value is that of a strict router (RFC 3261 §16.6 step 6).
    pub is_strict: bool,
}

/// The topmost Route values of a request that name the dispatcher.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OwnRoutes {
    /// Their number.
    pub count: u8,
    /// The place in the message where the last of them ends.
    pub end: u16,
}

/// A response that is forwarded to the sender of its request (RFC 3261 §16.7).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ForwardedResponse {
    /// The proxy that has sent it, or that gets it.
    pub proxy: ProxyId,
    /// The side that has sent it.
    pub side: Side,
    /// The way that the request came.
    pub to: Hop,
    /// The well-known socket that the request came to.
    pub listener: ListenerId,
    /// The local address that it leaves from.
    pub from: IpAddr,
    /// The place in the message where our Via ends, which is taken off.
    pub via_end: u16,
}

/// Members of a pool, best first, for a 302.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Redirect {
    contacts: [Option<SocketAddr>; Redirect::LIMIT],
}

impl Redirect {
    /// Most members that a 302 names.
    pub const LIMIT: usize = 8;

    /// The addresses, best first; those beyond the limit are left out.
    pub fn of(contacts: impl IntoIterator<Item = SocketAddr>) -> Self {
        let mut redirect = Redirect::default();
        for (place, contact) in redirect.contacts.iter_mut().zip(contacts) {
            *place = Some(contact);
        }
        redirect
    }

    /// The addresses, best first.
    pub fn contacts(&self) -> impl Iterator<Item = SocketAddr> + '_ {
        self.contacts.iter().copied().flatten()
    }
}
