//! Dialogs of downstream proxies that stay at the well-known address, because one side could not reach the other (RFC
//! 3261 §16.6 step 4).
//!
//! The dispatcher puts two values into Record-Route, one for each side, and keeps nothing of the dialog: their token
//! names the way to the caller and the server. A request towards the caller goes the way that the call came, never to
//! the Contact, which a NAT may hide. One towards the server goes to the next Route, or else to the request-URI, if
//! that is the address of its server or of another proxy of the settings. Anyone could write any other there, so a
//! request with another one goes to its server, which knows what is meant.
//!
//! A request for a caller on a connection that is gone gets 430 (RFC 5626 §5.3.1).

use std::net::{IpAddr, SocketAddr};

use super::{Case, unless_ack};
use crate::config::{Pool, RecordRoute};
use crate::dispatch::Dispatch;
use crate::dispatch::decision::{Arrival, Decision, Forward, OwnRoutes, Reason, Routes, Target};
use crate::ids::{ListenerId, ProxyId};
use crate::transaction::flow_token::{FlowToken, Hop, Side};
use crate::transaction::identifier::IDENTIFIER_PARAM;
use crate::wire::sip::{Fault, Message, Method, Name, NameAddr, Scheme, Uri, Values, is_uri_text};
use crate::wire::{push_address, push_number};
use crate::words::{ReplyTo, Transport};

/// The parameter of our Record-Route that holds the host that a system has called over TLS.
const CALLED_PARAM: &str = "called";
/// Most values of ours at the top of Route: those of both sides, and one that a caller has from its settings.
const MOST_OWN: u8 = 3;

/// The Route values of a request: those that name us, and the next one, each of them read once.
#[derive(Clone, Debug)]
pub(super) struct RouteSet<'a> {
    /// The topmost values that name us.
    pub(super) own: OwnRoutes,
    /// The token of the first one that has one.
    token: Option<FlowToken>,
    /// The proxy that the first one names that names one.
    pub(super) identified: Option<ProxyId>,
    /// The first value that does not name us.
    pub(super) next: Option<Uri<'a>>,
    /// Whether one of all these cannot be read, or could be no request-URI.
    has_bad: bool,
    /// The values below, which are read when asked for: there may be thousands.
    below: Values<'a>,
}

impl<'a> RouteSet<'a> {
    /// Whether a value cannot be read, or could be no request-URI.
    pub(super) fn has_bad(&self) -> bool {
        self.has_bad || !self.below.clone().all(|value| route_uri(value).is_some_and(|uri| is_good(&uri)))
    }

    /// The host that a system has called over TLS, as our values have it.
    pub(super) fn called(&self, request: &Message<'a>) -> Option<&'a [u8]> {
        let own = request.values(Name::Route).take(usize::from(self.own.count)).filter_map(route_uri);
        own.filter_map(|uri| uri.param(CALLED_PARAM.as_bytes())).next()
    }

    /// Whether values stand below the next one.
    fn has_more(&self) -> bool {
        self.below.clone().next().is_some()
    }
}

/// The URI of a Route value.
fn route_uri(value: &[u8]) -> Option<Uri<'_>> {
    NameAddr::parse(value).and_then(|route| route.uri())
}

/// Whether the URI of a Route value can be a request-URI.
fn is_good(uri: &Uri<'_>) -> bool {
    matches!(uri.scheme, Scheme::Sip | Scheme::Sips) && is_uri_text(uri.raw)
}

impl Dispatch {
    /// The Route values of a request.
    pub(super) fn route_set<'a>(&self, case: &Case<'a>) -> RouteSet<'a> {
        let below = case.request.message.values(Name::Route);
        let mut set =
            RouteSet { own: OwnRoutes::default(), token: None, identified: None, next: None, has_bad: false, below };
        while let Some(value) = set.below.next() {
            let uri = route_uri(value);
            set.has_bad |= !uri.is_some_and(|uri| is_good(&uri));
            if !uri.is_some_and(|uri| set.own.count < MOST_OWN && self.take_own(&mut set, &uri, case)) {
                set.next = uri;
                break;
            }
            set.own = OwnRoutes { count: set.own.count + 1, end: case.request.message.place_of(value).end };
        }
        set
    }

    /// Whether a Route value names us; its token and identifier are noted.
    fn take_own(&self, set: &mut RouteSet<'_>, uri: &Uri<'_>, case: &Case<'_>) -> bool {
        let token = || uri.user.and_then(|user| self.flow_tokens.read(user, case.request.message.call_id()));
        // The first token leads. To read one takes a hash, so a value below it is known by its address first.
        let seeks = set.token.is_none();
        if seeks {
            set.token = token();
        }
        let leads = seeks && set.token.is_some();
        // Where a token leads a dialog, the identifier beside it is not asked.
        let is_led = set.token.is_some() && case.request.to_tag.is_some();
        let identified = if is_led { None } else { self.identified_by(uri) };
        set.identified = set.identified.or(identified);
        leads
            || identified.is_some()
            || self.is_own_address(uri, case.arrival)
            || is_way_here(uri, set.own.count)
            || !seeks && token().is_some()
            || is_led && self.identified_by(uri).is_some()
    }

    fn is_own_address(&self, uri: &Uri<'_>, arrival: &Arrival) -> bool {
        let (Some(address), local) = (uri.address(), arrival.local) else { return false };
        let (ip, port) = (address.ip(), address.port());
        let is_port = port == local.port() || self.rules.udp_listeners.iter().any(|(_, other)| other.port() == port);
        is_port && (ip == local.ip().to_canonical() || self.rules.own_addresses.contains(&ip))
    }

    /// Whether a request to or from a proxy of this pool gets our Record-Route. `leaves`: the listener that it leaves
    /// from.
    pub(super) fn records_route(&self, case: &Case<'_>, pool: Option<&Pool>, leaves: ListenerId) -> bool {
        let (method, arrival) = (case.request.method, case.arrival);
        let begins = matches!(method, Method::Invite | Method::Subscribe | Method::Refer);
        if !begins || case.request.to_tag.is_some() {
            return false;
        }
        match pool.map_or(RecordRoute::Never, |pool| pool.record_route) {
            RecordRoute::Never => false,
            RecordRoute::Always => true,
            RecordRoute::Auto => {
                arrival.transport != Transport::Udp
                    || arrival.listener != leaves
                    || self.pinned(method, arrival).is_some()
                    || is_hidden(case.request.message, arrival.source.ip())
            }
        }
    }

    /// Appends our Record-Route values for a request that is forwarded: that of its receiver's side, and below it that
    /// of its sender's.
    pub fn write_record_route(
        &self,
        out: &mut Vec<u8>,
        forward: &Forward,
        (request, arrival): (&Message<'_>, &Arrival),
    ) {
        let Some(server) = self.proxies.get(forward.proxy).and_then(|proxy| proxy.address()) else { return };
        // A system has begun the dialog: the side of the called is that which the request goes to.
        let is_outbound = forward.side == Side::Server;
        let called = match forward.to {
            Hop::Connection(conn) if is_outbound => self.callees.of(conn),
            _ => None,
        };
        let caller = match arrival.reply_to {
            _ if is_outbound => called.map_or(forward.to, |called| Hop::Address(called.address)),
            ReplyTo::Stream(conn) => Hop::Connection(conn),
            _ => Hop::Address(arrival.source),
        };
        let is_sips = request.request_uri().get(..5).is_some_and(|front| front.eq_ignore_ascii_case(b"sips:"));
        let scheme = if is_sips { "sips" } else { "sip" };
        let came = match arrival.reply_to {
            // A message for the system names the listener that it reaches, whoever has opened the connection.
            ReplyTo::Stream(conn) if is_outbound => {
                let to_system = (Hop::Connection(conn), forward.proxy, Side::Caller);
                self.way_out(arrival, to_system, arrival.listener).map_or(arrival.local, |(_, local, _)| local)
            }
            _ => arrival.local,
        };
        let identifier = self.proxies.identifier(forward.proxy);
        let is_stream = if is_outbound { arrival.transport } else { forward.transport } != Transport::Udp;
        let listener = if is_outbound { forward.listener } else { arrival.listener };
        let token = FlowToken {
            side: forward.side,
            listener,
            caller,
            server,
            is_stream,
            is_outbound,
            is_called_by_stream: called.is_some(),
        };
        let tokens = self.flow_tokens.pair(&token, request.call_id());
        let identifier = identifier.map(|identifier| identifier.text());
        for (side, local, transport) in
            [(forward.side.other(), forward.sent_by.into(), forward.transport), (forward.side, came, arrival.transport)]
        {
            let (param, is_secure) = transport_param(transport);
            let name = self.rules.contact_name.as_deref().filter(|_| is_secure);
            let comma = if side == forward.side { ", " } else { "" };
            [comma, "<", scheme, ":"].iter().for_each(|part| out.extend_from_slice(part.as_bytes()));
            out.extend_from_slice(tokens.text(side));
            out.push(b'@');
            match name {
                Some(name) => {
                    out.extend_from_slice(name.as_bytes());
                    out.push(b':');
                    push_number(out, local.port());
                }
                None => push_address(out, local),
            }
            out.extend_from_slice(param.as_bytes());
            if let Some(identifier) = identifier {
                [";", IDENTIFIER_PARAM, "="].iter().for_each(|part| out.extend_from_slice(part.as_bytes()));
                out.extend_from_slice(&identifier);
            }
            // The system's requests bring it back, as its own request had it.
            if let Some(name) = called.and_then(|called| called.name.as_ref()).filter(|_| side == forward.side) {
                [";", CALLED_PARAM, "=", name].iter().for_each(|part| out.extend_from_slice(part.as_bytes()));
            }
            out.extend_from_slice(b";lr>");
        }
    }

    /// Forwards a request inside a dialog by its Route: by our Record-Route, or to the proxy that it names. `None`:
    /// neither is ours.
    pub(in crate::dispatch::rules::sip) fn forward_routed(&mut self, case: &Case<'_>) -> Option<Decision> {
        let set = self.route_set(case);
        self.forward_by_token(case, &set).or_else(|| self.forward_identified(case, &set))
    }

    /// Forwards a request inside a dialog by our Record-Route. `None`: it has none of ours.
    fn forward_by_token(&mut self, case: &Case<'_>, set: &RouteSet<'_>) -> Option<Decision> {
        // A strict router in front of us has put our value into the request-URI (§16.4).
        let has_route = set.own.count > 0 || set.next.is_some() || set.has_bad;
        let user = case.request.read.uri.and_then(|uri| uri.user).filter(|_| has_route);
        let restored = user.and_then(|user| self.flow_tokens.read(user, case.request.message.call_id()));
        let token = restored.or(set.token)?;
        if set.has_bad() {
            return Some(unless_ack(case, self.answer_fault(case, 400, Fault::Route)));
        }
        if restored.is_none()
            && let Some(decision) = self.forward_to_called(case, &token, set)
        {
            return Some(decision);
        }
        let server = self.proxies.at_by(token.server, token.is_stream);
        let (to, proxy, is_strict) = match token.side {
            // It can be led to no place, and the connection that it was called by may be gone.
            Side::Server if token.is_called_by_stream => {
                return Some(self.refuse_to_forward(case, 430, Reason::FlowFailed));
            }
            Side::Server => (Some(token.caller), server, false),
            Side::Caller => {
                let (to, is_strict) = self.towards_server(case, &token, (set, restored.is_some()));
                let proxy =
                    if to == token.server { server } else { self.proxies.at_by(to, token.is_stream).or(server) };
                // The ACK of a call that rang when the settings lost its server.
                let is_ack = case.request.method == Method::Ack && token.is_stream;
                let proxy = proxy.or_else(|| self.proxies.lost_at(token.server).filter(|_| is_ack));
                let hop = match token.is_stream {
                    false => Some(Hop::Address(to)),
                    true => proxy.and_then(|proxy| self.proxies.hop_to(proxy)),
                };
                (hop, proxy, is_strict)
            }
        };
        let routes = Routes { own: set.own, restores_uri: restored.is_some(), is_strict };
        let Some(to) = to else {
            return Some(self.server_is_away(case, proxy, Routes { is_strict: false, ..routes }));
        };
        let proxy = proxy.unwrap_or(ProxyId::NONE);
        Some(self.forward_within(case, (case.name, Reason::RecordRouted), |dispatch| {
            let decision = dispatch.forward_to(case, (to, proxy, token.side), Reason::RecordRouted, token.listener);
            let Target::Forward(forward) = decision.target else { return decision };
            Decision { target: Target::Forward(Forward { routes, ..forward }), ..decision }
        }))
    }

    /// The next address towards the server of a dialog, and whether it is that of a strict router (§16.6 step 6).
    fn towards_server(
        &self,
        case: &Case<'_>,
        token: &FlowToken,
        (set, is_restored): (&RouteSet<'_>, bool),
    ) -> (SocketAddr, bool) {
        // The last Route becomes the request-URI again, which is then not a Route any more.
        let route = set.next.filter(|_| !is_restored || set.has_more());
        let next = if is_restored { set.next } else { set.next.or(case.request.read.uri) };
        let is_strict = route.is_some_and(|uri| uri.param(b"lr").is_none());
        let address = next.and_then(|uri| uri.address());
        let is_server =
            |address: &SocketAddr| *address == token.server || self.proxies.at_by(*address, token.is_stream).is_some();
        match address.filter(is_server) {
            Some(address) => (address, is_strict),
            None => (token.server, false),
        }
    }
}

/// The parameter of a URI that names a transport, and whether it is one with certificates.
const fn transport_param(transport: Transport) -> (&'static str, bool) {
    match transport {
        Transport::Udp | Transport::Mgcp => ("", false),
        Transport::Tcp => (";transport=tcp", false),
        Transport::Tls => (";transport=tls", true),
        Transport::Ws => (";transport=ws", false),
        Transport::Wss => (";transport=ws", true),
    }
}

/// Whether the topmost Route is a name by which the request has come here: its sender has resolved it (§8.1.2). A
/// caller has it from its settings, and puts it above the values of its dialog.
fn is_way_here(uri: &Uri<'_>, above: u8) -> bool {
    let is_name = matches!(uri.scheme, Scheme::Sip | Scheme::Sips) && uri.host.ip().is_none();
    above == 0 && is_name && uri.param(b"lr").is_some()
}

/// Whether a caller cannot be reached at its Contact from elsewhere: that is a private address other than its source's,
/// or none at all (RFC 7118 §5.1), and nobody else has put itself between.
fn is_hidden(request: &Message<'_>, source: IpAddr) -> bool {
    if request.header(Name::RecordRoute).is_some() {
        return false;
    }
    let Some(uri) = request.values(Name::Contact).next().and_then(NameAddr::parse).and_then(|contact| contact.uri())
    else {
        return false;
    };
    match uri.host.ip() {
        Some(ip) => is_private(ip) && ip.to_canonical() != source.to_canonical(),
        None => {
            let host = uri.host.as_bytes();
            let host = host.strip_suffix(b".").unwrap_or(host);
            host.rsplit(|byte| *byte == b'.').next().is_some_and(|last| last.eq_ignore_ascii_case(b"invalid"))
        }
    }
}

/// Whether an address means something on its own network only (RFC 1918, RFC 6598, RFC 3927, RFC 4193, RFC 4291).
pub(super) fn is_private(ip: IpAddr) -> bool {
    match ip.to_canonical() {
        IpAddr::V4(ip) => {
            let is_shared = ip.octets()[0] == 100 && ip.octets()[1] & 0xc0 == 64;
            ip.is_private() || is_shared || ip.is_link_local() || ip.is_loopback() || ip.is_unspecified()
        }
        IpAddr::V6(ip) => ip.is_unique_local() || ip.is_unicast_link_local() || ip.is_loopback() || ip.is_unspecified(),
    }
}
