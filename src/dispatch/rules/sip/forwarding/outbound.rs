//! Requests of systems that no flow token leads: they go where they name (RFC 3261 §16.5, §16.6 steps 6 and 7).
//!
//! A system is a downstream proxy that is reached over connections. Its request has come on one of those, or on one
//! that it has opened to a listener itself: it has shown a certificate for its name, or the source is its address, or
//! in its networks. A datagram counts as no system's, since its source may be forged. Anyone else's request goes to
//! pools and dialogs alone, so that the dispatcher is no open relay.

use std::net::{IpAddr, SocketAddr};

use super::record_route::{RouteSet, is_private};
use super::{Case, precedence, unless_ack};
use crate::dispatch::Dispatch;
use crate::dispatch::awaiting::Awaited;
use crate::dispatch::callees::Callee;
use crate::dispatch::decision::{Arrival, Decision, Forward, Hop, OwnRoutes, Reason, Routes, Side, Target};
use crate::dispatch::probed::LookUp;
use crate::dispatch::table::Entry;
use crate::dispatch::targets::proxies::Refused;
use crate::ids::{ConnId, ListenerId, ProxyId, TargetId};
use crate::transaction::flow_token::FlowToken;
use crate::wire::sip::{Fault, Message, Method, Name, NameAddr, Scheme, Uri};
use crate::words::{ReplyTo, Transport};

/// RFC 1035 §2.3.4.
const LONGEST_HOST: usize = 253;

/// A place that a request names.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place<'a> {
    uri: Uri<'a>,
    /// The numeric address and its transport; `None`: see [`Place::look_up`].
    pub(super) address: Option<(SocketAddr, Transport)>,
    /// The host whose certificate a party there has shown for this dialog, where it is not the one of the URI.
    called: Option<&'a [u8]>,
    /// The Route values above it, which are ours.
    own: OwnRoutes,
    /// Whether it stands in Route.
    is_route: bool,
    /// Whether it is that of a strict router (§16.6 step 6).
    is_strict: bool,
}

impl<'a> Place<'a> {
    /// The place that a request names after these Route values of ours.
    pub(super) fn of(request: &Message<'a>, own: OwnRoutes) -> Option<Self> {
        let route = request.values(Name::Route).nth(usize::from(own.count)).map(NameAddr::parse);
        let (uri, is_route) = match route {
            Some(route) => (route?.uri()?, true),
            None => (request.uri()?, false),
        };
        Place::at(uri, own, is_route)
    }

    /// The place that a request names behind our own Route values.
    fn after_own(case: &Case<'a>, set: &RouteSet<'a>) -> Option<Self> {
        Place::at(set.next.or(case.request.read.uri)?, set.own, set.next.is_some())
    }

    fn at(uri: Uri<'a>, own: OwnRoutes, is_route: bool) -> Option<Self> {
        if !matches!(uri.scheme, Scheme::Sip | Scheme::Sips) {
            return None;
        }
        let is_strict = is_route && uri.param(b"lr").is_none();
        Some(Place { uri, address: uri.address().zip(transport_of(&uri)), called: None, own, is_route, is_strict })
    }

    /// The name that is to be looked up; `None`: none that leads anywhere, or a transport that is not known.
    fn look_up(&self, from: IpAddr) -> Option<LookUp> {
        let transport = transport_of(&self.uri)?;
        let target = self.uri.target();
        let host = std::str::from_utf8(target.as_bytes()).ok().filter(|host| host.len() <= LONGEST_HOST)?;
        let host = host.trim_end_matches('.').to_ascii_lowercase();
        // RFC 2606: it never leads anywhere.
        let is_name = target.ip().is_none() && !host.is_empty() && !host.ends_with(".invalid");
        let asks_transports = self.uri.param(b"transport").is_none() && self.uri.scheme == Scheme::Sip;
        is_name.then(|| LookUp { host: host.into(), port: self.uri.port, transport, asks_transports, from })
    }

    /// The far end of the connection by which an address of it is reached; `None`: it is reached by none of ours.
    fn callee(&self, (address, transport): (SocketAddr, Transport)) -> Option<Callee> {
        match transport {
            Transport::Tcp => Some(Callee { address, name: None }),
            Transport::Tls => {
                let name = match self.called {
                    Some(called) => String::from_utf8_lossy(called).to_ascii_lowercase(),
                    None => self.uri.host.name()?,
                };
                (name.len() <= LONGEST_HOST).then(|| Callee { address, name: Some(name.into()) })
            }
            Transport::Udp | Transport::Ws | Transport::Wss | Transport::Mgcp => None,
        }
    }

    /// Whether it is reached over TLS.
    fn is_secure(&self) -> bool {
        self.address.map_or_else(|| transport_of(&self.uri), |(_, transport)| Some(transport)) == Some(Transport::Tls)
    }

    /// The changes to the Route of a request that goes there.
    fn routes(&self) -> Routes {
        Routes { own: self.own, is_strict: self.is_strict, ..Routes::default() }
    }

    const fn reason(&self) -> Reason {
        if self.is_route { Reason::OutboundRoute } else { Reason::OutboundUri }
    }
}

impl Dispatch {
    /// The system that a request comes from.
    pub(in crate::dispatch::rules::sip) fn system_of(&self, arrival: &Arrival) -> Option<ProxyId> {
        let is_on_connection = matches!(arrival.reply_to, ReplyTo::Stream(_));
        let transport = Some(arrival.transport).filter(|it| is_on_connection && *it != Transport::Udp)?;
        let has_transport = |id: &ProxyId| self.proxies.get(*id).is_some_and(|proxy| proxy.transport() == transport);
        let certified = arrival.certified.filter(has_transport);
        certified.or_else(|| self.proxies.system_at(arrival.source, transport))
    }

    /// Forwards a system's request inside a dialog to where it names, unless a worker has the dialog.
    pub(in crate::dispatch::rules::sip) fn forward_outbound_in_dialog(
        &mut self,
        case: &Case<'_>,
        entry: Option<&Entry>,
    ) -> Option<Decision> {
        let is_workers = entry.is_some_and(|it| matches!(it.target, TargetId::Worker(_)) && self.is_alive(it));
        if is_workers { None } else { self.forward_outbound(case) }
    }

    /// Forwards a system's request that was forwarded before, as it was then. `None`: the settings are others by now.
    pub(in crate::dispatch::rules::sip) fn lead_again(&mut self, case: &Case<'_>) -> Option<Decision> {
        let routed = if case.request.to_tag.is_some() { self.forward_routed(case) } else { None };
        routed.or_else(|| self.forward_outbound(case))
    }

    /// Forwards a system's request to where it names. `None`: it is none of a system, or names us.
    pub(super) fn forward_outbound(&mut self, case: &Case<'_>) -> Option<Decision> {
        let system = self.system_of(case.arrival)?;
        let set = self.route_set(case);
        if set.has_bad() {
            return Some(unless_ack(case, self.answer_fault(case, 400, Fault::Route)));
        }
        let place = Place::after_own(case, &set)?;
        if !place.is_route && self.names_us(&place.uri, case.arrival) {
            return None;
        }
        Some(self.lead_to_place(case, system, place))
    }

    /// Forwards a system's request inside a dialog that it has begun: to where it names, or else the way that the first
    /// request went. `None`: the token leads it.
    pub(super) fn forward_to_called(
        &mut self,
        case: &Case<'_>,
        token: &FlowToken,
        set: &RouteSet<'_>,
    ) -> Option<Decision> {
        let system = self.system_of(case.arrival).filter(|_| token.is_outbound && token.side == Side::Server)?;
        let Hop::Address(called) = token.caller else { return None };
        let place = Place::after_own(case, set)?;
        // The Contact of a called party whose address a NAT hides, or that has none.
        let is_hidden = |to: IpAddr| !place.is_route && is_private(to) && !is_private(called.ip());
        let named = place.address.filter(|(to, _)| !is_hidden(to.ip()) && !self.names_us(&place.uri, case.arrival));
        // It was called from a listener of the transport by which it was reached.
        let mut listeners = self.rules.stream_listeners.iter();
        let by = listeners.find(|(of, ..)| *of == token.listener && token.is_called_by_stream);
        let address = named.or_else(|| by.map(|(_, transport, _)| (called, *transport)))?;
        // A Contact is often an address, which a certificate is hardly ever for.
        let called = if address == (called, Transport::Tls) { set.called(case.request.message) } else { None };
        Some(self.lead_to_place(case, system, Place { address: Some(address), called, ..place }))
    }

    /// Forwards a system's request to a place, unless it must not travel on. One for a `sips:` URI leaves over TLS, and
    /// one outside a dialog has come over TLS (RFC 3261 §26.2.2, RFC 5630 §5.3).
    fn lead_to_place(&mut self, case: &Case<'_>, system: ProxyId, place: Place<'_>) -> Decision {
        let has_come = case.arrival.transport == Transport::Tls || case.request.to_tag.is_some();
        let is_secure = has_come && place.is_secure();
        let refusal = |dispatch: &Self, case: &Case<'_>| dispatch.not_to_travel(case, is_secure);
        self.forward_unless(case, (case.name, place.reason()), refusal, |dispatch| {
            dispatch.forward_to_place(case, system, place)
        })
    }

    fn forward_to_place(&mut self, case: &Case<'_>, system: ProxyId, place: Place<'_>) -> Decision {
        let Some((to, transport)) = place.address else {
            let look_up = place.look_up(case.sender()).map(Awaited::Name);
            return self.wait_for_place(case, system, &place, look_up);
        };
        if self.is_own(to, case.arrival) {
            return self.refuse_to_forward(case, 482, Reason::Loop);
        }
        if !may_be_named(to, case.arrival) {
            return self.refuse_to_forward(case, 403, Reason::OutboundRefused);
        }
        // A dialog goes on by no connection that is for another host than the one called (RFC 5922 §4).
        let called = place.called.and_then(|called| std::str::from_utf8(called).ok());
        let is_called = |proxy: &ProxyId| called.is_none_or(|called| self.proxies.is_named(*proxy, called));
        if let Some(proxy) = self.proxy_at(to, transport).filter(is_called) {
            let is_new = case.request.to_tag.is_none() && case.request.method != Method::Ack;
            if is_new && !self.proxies.admits(proxy, precedence(case.request.message), case.now) {
                return self.no_proxy(case, Refused::Overloaded);
            }
            let decision = self.forward(case, proxy, place.reason(), 0);
            let Target::Forward(forward) = decision.target else { return decision };
            return Decision { target: Target::Forward(Forward { routes: place.routes(), ..forward }), ..decision };
        }
        if transport == Transport::Udp {
            return self.go_to_place(case, system, &place, (Hop::Address(to), case.arrival.listener));
        }
        let Some(callee) = place.callee((to, transport)) else {
            return self.wait_for_place(case, system, &place, None);
        };
        let listener = self.rules.stream_listener(transport, to.ip());
        if let Some((conn, (listener, _))) = self.callees.open_to(&callee).zip(listener) {
            return self.go_to_place(case, system, &place, (Hop::Connection(conn), listener));
        }
        self.wait_for_place(case, system, &place, Some(Awaited::Connection(callee)))
    }

    /// The proxy at an address that is reached over this transport. One that a request wants to reach over TLS is never
    /// reached over TCP.
    pub(super) fn proxy_at(&self, to: SocketAddr, transport: Transport) -> Option<ProxyId> {
        let proxy = self.proxies.at_by(to, transport != Transport::Udp)?;
        let is_secure = || self.proxies.get(proxy).is_some_and(|proxy| proxy.transport() == Transport::Tls);
        (transport != Transport::Tls || is_secure()).then_some(proxy)
    }

    /// Sends a system's request to a place on this way, from this listener.
    fn go_to_place(
        &mut self,
        case: &Case<'_>,
        system: ProxyId,
        place: &Place<'_>,
        (to, listener): (Hop, ListenerId),
    ) -> Decision {
        let decision = self.forward_to(case, (to, system, Side::Server), place.reason(), listener);
        let Target::Forward(forward) = decision.target else { return decision };
        let records_route = self.records_route(case, self.proxies.pool_of(system), forward.listener);
        let forward = Forward { routes: place.routes(), records_route, ..forward };
        Decision { target: Target::Forward(forward), ..decision }
    }

    /// Has a request wait until the name that it goes to has been looked up, or a connection is open. `None`: there is
    /// no way to wait for.
    fn wait_for_place(
        &mut self,
        case: &Case<'_>,
        system: ProxyId,
        place: &Place<'_>,
        awaited: Option<Awaited>,
    ) -> Decision {
        // The address of the listener that it leaves from stands for the one that is not known yet.
        let from = awaited.as_ref().and_then(|awaited| match awaited {
            Awaited::Name(LookUp { transport: Transport::Udp, .. }) => {
                self.rules.udp_listeners.first().map(|(_, from)| (Hop::Address(*from), case.arrival.listener, *from))
            }
            Awaited::Name(_) => {
                let (listener, _, from) = self.rules.stream_listeners.first()?;
                Some((Hop::Connection(ConnId::GONE), *listener, *from))
            }
            Awaited::Connection(to) => {
                let (listener, from) = self.rules.stream_listener(to.transport(), to.address.ip())?;
                Some((Hop::Connection(ConnId::GONE), listener, from))
            }
        });
        let Some((awaited, (way, listener, from))) = awaited.zip(from) else {
            return self.refuse_to_forward(case, 480, Reason::OutboundUnreachable);
        };
        let decision = self.go_to_place(case, system, place, (way, listener));
        let Target::Forward(forward) = decision.target else { return decision };
        let forward = Forward { to: Hop::Address(from), ..forward };
        let waits = match case.request.method {
            Method::Ack => self.ack_waits(case, &forward, awaited),
            _ => self.begin_waiting(case, &forward, awaited),
        };
        if !waits {
            return unless_ack(case, self.unavailable(case, Reason::TableFull));
        }
        Decision { target: Target::Waits(system), ..decision }
    }

    /// Whether a URI names this dispatcher.
    fn names_us(&self, uri: &Uri<'_>, arrival: &Arrival) -> bool {
        match uri.host.ip() {
            Some(ip) => self.is_own_ip(ip, arrival) && uri.port.is_none_or(|port| self.is_own_port(port)),
            None => {
                let name = self.rules.contact_name.as_deref().unwrap_or_default();
                uri.host.as_bytes().eq_ignore_ascii_case(name.as_bytes())
            }
        }
    }

    pub(super) fn is_own(&self, address: SocketAddr, arrival: &Arrival) -> bool {
        self.is_own_ip(address.ip(), arrival) && self.is_own_port(address.port())
    }

    fn is_own_ip(&self, ip: IpAddr, arrival: &Arrival) -> bool {
        let known = self.rules.own_addresses.iter().chain(&self.rules.wildcard_addresses).copied();
        let bound = self.rules.listeners().map(|(.., bound)| bound.ip());
        let mut own = bound.chain(known).chain([arrival.local.ip()]);
        own.any(|own| own.to_canonical() == ip.to_canonical())
    }

    fn is_own_port(&self, port: u16) -> bool {
        self.rules.listeners().any(|(.., bound)| bound.port() == port)
    }
}

/// The transport by which a place can be called: a browser cannot (RFC 7118 §5).
fn transport_of(uri: &Uri<'_>) -> Option<Transport> {
    uri.transport().filter(|transport| matches!(transport, Transport::Udp | Transport::Tcp | Transport::Tls))
}

/// Whether a system at the source of this message may have requests sent to an address: what only this host reaches is
/// for systems of this host.
pub(super) fn may_be_named(to: SocketAddr, arrival: &Arrival) -> bool {
    let ip = to.ip().to_canonical();
    let is_broadcast = matches!(ip, IpAddr::V4(ip) if ip.is_broadcast());
    let is_near = ip.is_loopback() && !arrival.source.ip().to_canonical().is_loopback();
    to.port() != 0 && !(ip.is_unspecified() || ip.is_multicast() || is_broadcast || is_near)
}
