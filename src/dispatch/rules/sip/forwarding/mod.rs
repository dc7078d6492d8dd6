//! Requests for downstream proxies (RFC 3261 §16): the route, the pool, the proxy, and what follows them.
//!
//! A request is forwarded without the state of a transaction (§16.11). The choice is remembered by the table, because
//! weights change: a retransmission, the CANCEL and the ACK to a refusal follow their request, whatever has changed
//! meanwhile.

mod carried;
mod following;
mod forgotten;
mod identified;
mod lost_flow;
mod moving;
mod outbound;
mod record_route;
mod response;
mod seeking;
mod stateful;
mod to_worker;

use std::net::{IpAddr, SocketAddr};

pub(in crate::dispatch) use forgotten::ForgottenCancels;

use super::answering::{saying, without_retry_after};
use super::echoed::Echoed;
use super::{Case, SipRequest};
use crate::config::{Asked, Pool, PoolMode, Route};
use crate::dispatch::Dispatch;
use crate::dispatch::contexts::WayOut;
use crate::dispatch::decision::{
    Arrival, Decision, Forward, Hop, Protocol, Reason, Redirect, Routes, Says, Side, Target, Tried,
};
use crate::dispatch::rules::udp_listener_towards;
use crate::dispatch::select::Ask;
use crate::dispatch::table::{Entry, Hold, NewEntry, State};
use crate::dispatch::targets::proxies::{Choice, PoolId, Refused};
use crate::dispatch::targets::proxy::Precedence;
use crate::ids::{ListenerId, ProxyId, TargetId};
use crate::transaction::forwarded::Came;
use crate::wire::sip::{Fault, Hindrance, Message, Method, Via, ViaCompletion};
use crate::words::{ReplyTo, Transport};

/// The largest request that is forwarded, in bytes: one that is still a datagram with what the dispatcher adds to it.
const LARGEST_FORWARDED: usize = 65_507 - 1_280;

impl Dispatch {
    /// Decides about a request outside a dialog that is for downstream proxies. `None`: it is for the workers, or for
    /// the dispatcher itself.
    pub(super) fn forward_initial(&mut self, case: &Case<'_>) -> Option<Decision> {
        if self.proxies.is_empty() || self.is_for_us(case) || !matches!(self.echoed(case), Echoed::NoWorker) {
            return None;
        }
        if self.system_of(case.arrival).is_some()
            && self.route_of(case, case.request.method).is_none_or(Route::fits_all)
            && let Some(decision) = self.forward_outbound(case)
        {
            return Some(decision);
        }
        // A request that comes again with credentials must reach the server that has asked for them.
        let is_held = |entry: &Entry| !matches!(entry.state, State::AnsweredHere(_)) && self.is_alive(entry);
        let known = self.table.of_call(case.call).map(|(_, entry)| *entry).find(is_held);
        match known.map(|entry| entry.target) {
            Some(TargetId::Worker(_)) => return None,
            Some(TargetId::Proxy(proxy)) if !self.is_away(proxy) => {
                let refusal = self.not_to_forward(case);
                return Some(refusal.unwrap_or_else(|| self.forward_new(case, (proxy, None), Reason::Again)));
            }
            Some(TargetId::Proxy(_)) | None => {}
        }
        let identified = self.identified(case, &self.route_set(case));
        if let Some(proxy) = identified.filter(|proxy| self.proxies.has_way_to(*proxy)) {
            let refusal = self.not_to_forward(case);
            return Some(refusal.unwrap_or_else(|| self.forward_new(case, (proxy, None), Reason::Identified)));
        }
        let pool = self.route(case, case.request.method)?;
        self.forward_into(case, pool)
    }

    /// Whether it asks for our own capabilities (RFC 3261 §11): it names us, or it may go no further.
    fn is_for_us(&self, case: &Case<'_>) -> bool {
        let names_us = || {
            let uri = case.request.read.uri.filter(|uri| uri.user.is_none())?;
            let port = uri.port.unwrap_or(case.arrival.local.port());
            let host = uri.host.ip()?;
            let is_own =
                |own: SocketAddr| port == own.port() && (host == own.ip() || self.rules.own_addresses.contains(&host));
            // A connection that we have opened has an end of its own; its server names the listener.
            let listener = self.rules.listen.get(usize::from(case.arrival.listener.0)).map(|listen| listen.address);
            Some(is_own(case.arrival.local) || listener.is_some_and(is_own))
        };
        let has_no_hops = || case.request.message.hops() == Ok(Some(0));
        case.request.method == Method::Options && (has_no_hops() || names_us().unwrap_or(false))
    }

    /// The pool of downstream proxies that a request is for, if its method were this one; `None`: that of the workers.
    fn route(&self, case: &Case<'_>, method: Method<'_>) -> Option<PoolId> {
        self.proxies.pool_id(&self.route_of(case, method).unwrap_or(&self.rules.unrouted).pool)
    }

    /// The route of the settings that a request fits, if its method were this one.
    fn route_of(&self, case: &Case<'_>, method: Method<'_>) -> Option<&Route> {
        let (message, uri) = (case.request.message, case.request.read.uri?);
        let (method, host) = (method.as_bytes(), uri.host.as_bytes());
        let listen = self.rules.listen.get(usize::from(case.arrival.listener.0)).copied();
        let asked = Asked { method, user: uri.user, host, source: case.sender(), listen };
        let has = |name: &str, test: &dyn Fn(&[u8]) -> bool| {
            let mut named = message.fields().filter(|(of, _)| of.eq_ignore_ascii_case(name.as_bytes()));
            named.any(|(_, value)| test(value))
        };
        self.rules.routes.iter().find(|route| route.fits(&asked, has))
    }

    /// Forwards a request to a member of a pool; `None` where the workers are to have it.
    fn forward_into(&mut self, case: &Case<'_>, pool: PoolId) -> Option<Decision> {
        if let Some(refusal) = self.not_to_forward(case) {
            return Some(refusal);
        }
        let ask = Ask { size: 1, key: case.call.short(), tried: Tried::default() };
        if let Some(&Pool { mode: PoolMode::Redirect, tries, .. }) = self.proxies.pool(pool) {
            return self.redirect(case, pool, (&ask, tries));
        }
        let workers = self.pool.open_count(Protocol::Sip);
        match self.proxies.choose_by(pool, (&ask, || precedence(case.request.message)), workers, case.now) {
            Ok(Choice::Proxy(proxy)) => Some(self.forward_new(case, (proxy, Some(pool)), Reason::Proxied)),
            Ok(Choice::Workers) => None,
            Err(why) => Some(self.no_proxy(case, why)),
        }
    }

    /// The answer where no member takes a request. A caller is told to stay away when any other request would find none
    /// either (RFC 3261 §21.5.4).
    fn no_proxy(&self, case: &Case<'_>, why: Refused) -> Decision {
        match why {
            Refused::AllTried | Refused::Slow => self.answer(case, 500, Reason::NoProxy),
            // The next request may be one that a server wants.
            Refused::Overloaded => without_retry_after(self.unavailable(case, Reason::Overloaded)),
            Refused::Full | Refused::Empty | Refused::Down => self.unavailable(case, Reason::NoProxy),
        }
    }

    /// Answers a request with the addresses of members of a pool (RFC 3261 §8.3). The table does not remember it: a
    /// copy of it may be answered anew, and the ACK is known by its tag. `None` where the workers are to have it.
    fn redirect(&mut self, case: &Case<'_>, pool: PoolId, (ask, tries): (&Ask, u8)) -> Option<Decision> {
        let workers = self.pool.open_count(Protocol::Sip);
        let chosen = match self.proxies.choose_several(pool, ask, tries, workers, case.now) {
            Ok(chosen) => chosen?,
            Err(why) => return Some(self.no_proxy(case, why)),
        };
        let address = |proxy: &ProxyId| self.proxies.get(*proxy).and_then(|proxy| proxy.address());
        self.redirected = Redirect::of(chosen.as_slice().iter().filter_map(address));
        let tag = self.directory.keys().dispatcher_tag(case.name);
        Some(Decision { target: Target::Redirect(tag), reason: Reason::Redirected })
    }

    /// Forwards a request that begins a transaction, and remembers the proxy. `asked`: the pool that was asked for it,
    /// if that has chosen the proxy, which may be one of a pool after it.
    fn forward_new(&mut self, case: &Case<'_>, (proxy, asked): (ProxyId, Option<PoolId>), reason: Reason) -> Decision {
        // A copy of a request that the table has forgotten meanwhile.
        if let Some(decision) = self.follow_context(case, case.name, reason) {
            return decision;
        }
        if !self.table.has_place(|| case.source(self).print()) || self.lacks_context(case) {
            return self.unavailable(case, Reason::TableFull);
        }
        let weight = self.proxies.get(proxy).map_or(0.0, |proxy| proxy.weight(case.now));
        let decision = self.forward(case, proxy, reason, weight.ceil() as u16);
        if let Target::Forward(forward) = &decision.target {
            if asked.is_none() {
                self.proxies.on_kept(proxy, case.now);
            }
            let sent = self.proxies.on_sent(proxy, case.now);
            let hold = Some(Hold::Unheard { proxy, sent });
            let is_remembered = self.proxies.identifier(proxy).is_some();
            let new = NewEntry { hold, is_remembered, ..case.entry(self, (proxy.into(), sent.life), State::PENDING) };
            if let Some(id) = self.record(new, case.now)
                && self.begin_context(case, forward, Some((sent, id, asked)))
            {
                // The context knows whether a response has come.
                self.table.take_hold(id);
            }
        }
        decision
    }

    /// Forwards a request to a proxy.
    pub(super) fn forward(&mut self, case: &Case<'_>, proxy: ProxyId, reason: Reason, weight: u16) -> Decision {
        if self.proxies.get(proxy).and_then(|proxy| proxy.address()).is_none() {
            return Decision { target: Target::Drop, reason: Reason::NoProxy };
        }
        let Some(hop) = self.proxies.hop_to(proxy) else {
            // Its connections have ended.
            return unless_ack(case, self.unavailable(case, Reason::NoProxy));
        };
        let decision = self.forward_to(case, (hop, proxy, Side::Caller), reason, case.arrival.listener);
        let Target::Forward(forward) = decision.target else { return decision };
        if case.request.to_tag.is_some() && case.request.method != Method::Ack {
            self.proxies.on_kept(proxy, case.now);
        }
        let pool = self.proxies.pool_of(proxy);
        let own = self.route_set(case).own;
        // Our Route inside a dialog: the request-URI is a Contact (RFC 3261 §12.2.1.1).
        let has_contact = own.count > 0 && case.request.to_tag.is_some();
        let forward = Forward {
            weight,
            rewrites_uri: pool.is_some_and(|pool| pool.rewrite_uri) && !has_contact,
            asks_overload: self.asks_overload(proxy),
            records_route: self.records_route(case, pool, forward.listener),
            routes: Routes { own, ..Routes::default() },
            ..forward
        };
        Decision { target: Target::Forward(forward), reason }
    }

    /// Whether requests ask a proxy for overload control.
    fn asks_overload(&self, proxy: ProxyId) -> bool {
        self.proxies.get(proxy).is_some_and(|proxy| proxy.asks_overload())
    }

    /// Sends a request on its way: to a proxy, or from it to the caller of its dialog, who is reached from this
    /// listener.
    fn forward_to(
        &mut self,
        case: &Case<'_>,
        (to, proxy, side): (Hop, ProxyId, Side),
        reason: Reason,
        listener: ListenerId,
    ) -> Decision {
        let (Some((listener, sent_by, transport)), Some(via)) =
            (self.way_out(case.arrival, (to, proxy, side), listener), case.request.read.via)
        else {
            return match to {
                // No well-known socket reaches addresses of its family.
                Hop::Address(_) => self.refuse_to_forward(case, 503, Reason::NoProxy),
                Hop::Connection(_) if side == Side::Caller => self.refuse_to_forward(case, 503, Reason::NoProxy),
                // Its listener is gone from the settings (RFC 5626 §5.3.1).
                Hop::Connection(_) => self.refuse_to_forward(case, 430, Reason::FlowFailed),
            };
        };
        let way = self.branches.way(case.request.message);
        if self.branches.is_loop(case.request.message, &via, way) {
            return self.refuse_to_forward(case, 482, Reason::Loop);
        }
        let sent_by = (sent_by.ip(), sent_by.port());
        let out = WayOut { proxy, attempt: 0, listener, sent_by, transport };
        Decision { target: Target::Forward(self.forward_by(case, &via, (to, side), &out)), reason }
    }

    /// A request on its way out.
    fn forward_by(&self, case: &Case<'_>, via: &Via<'_>, (to, side): (Hop, Side), out: &WayOut) -> Forward {
        let &WayOut { proxy, listener, sent_by, transport, .. } = out;
        let came = Came { via: *via, call: case.call, cseq: case.discriminator };
        let way = self.branches.way(case.request.message);
        let branch = self.branches.give(&came, way, (case.arrival.listener, self.lane), (proxy, side));
        let flow = self.branches.flow(&branch, way_back(via, case.arrival));
        let (weight, rewrites_uri, asks_overload, records_route) = (0, false, false, false);
        Forward {
            proxy,
            side,
            to,
            listener,
            sent_by,
            transport,
            branch,
            flow,
            weight,
            rewrites_uri,
            asks_overload,
            records_route,
            via: ViaCompletion::of(case.request.message.bytes(), via, case.arrival.source),
            routes: Routes::default(),
        }
    }

    /// The answer to a request that must not travel on (RFC 3261 §16.3). `None`: it may.
    fn not_to_forward(&self, case: &Case<'_>) -> Option<Decision> {
        // A dialog stands, and its requests go its way.
        self.not_to_travel(case, case.request.to_tag.is_some())
    }

    /// The same. `has_sips`: whether one for a `sips:` URI may.
    fn not_to_travel(&self, case: &Case<'_>, has_sips: bool) -> Option<Decision> {
        let SipRequest { message, read, .. } = &case.request;
        if message.bytes().len() > LARGEST_FORWARDED {
            return Some(unless_ack(case, self.answer_fault(case, 513, Fault::TooLarge)));
        }
        let hindrance = message.check_travels(read).err()?;
        if hindrance == Hindrance::Sips && has_sips {
            return None;
        }
        let status = hindrance.status();
        let refusal = match hindrance {
            Hindrance::Fault(fault) => self.answer_fault(case, status, fault),
            Hindrance::TooManyHops => self.refuse_to_forward(case, status, Reason::TooManyHops),
            Hindrance::BadExtension => {
                saying(self.refuse_to_forward(case, status, Reason::BadExtension), Says::ProxyUnsupported)
            }
            Hindrance::Sips => {
                saying(self.refuse_to_forward(case, status, Reason::SipsNotAllowed), Says::SipsNotAllowed)
            }
        };
        Some(unless_ack(case, refusal))
    }

    fn refuse_to_forward(&self, case: &Case<'_>, status: u16, reason: Reason) -> Decision {
        unless_ack(case, self.answer(case, status, reason))
    }

    /// The well-known listener that a request leaves from, its address, and the transport: this one, if it is a UDP
    /// socket that reaches the receiver's family of addresses. What leaves on a connection of a caller names the
    /// address that it came to itself, with the port of the connection's listener. What leaves on a connection to a
    /// proxy names the listener to which that one sends what it does not send on the connection.
    fn way_out(
        &self,
        arrival: &Arrival,
        (to, proxy, side): (Hop, ProxyId, Side),
        listener: ListenerId,
    ) -> Option<(ListenerId, SocketAddr, Transport)> {
        let to = match to {
            Hop::Address(to) => to,
            Hop::Connection(_) if side == Side::Caller => {
                let proxy = self.proxies.get(proxy)?;
                let (far, transport) = (proxy.address()?.ip(), proxy.transport());
                let (listener, bound) = self.rules.stream_listener(transport, far)?;
                let ip = if bound.ip().is_unspecified() { self.own_ip_towards(far, arrival)? } else { bound.ip() };
                return Some((listener, SocketAddr::new(ip, bound.port()), transport));
            }
            Hop::Connection(conn) => {
                let (_, transport, bound) = self.rules.stream_listeners.iter().find(|(of, ..)| *of == listener)?;
                let ip = match self.callees.of(conn) {
                    _ if !bound.ip().is_unspecified() => bound.ip(),
                    Some(called) => self.own_ip_towards(called.address.ip(), arrival)?,
                    None => arrival.local.ip(),
                };
                return Some((listener, SocketAddr::new(ip, bound.port()), *transport));
            }
        };
        let is_same = |address: &SocketAddr| address.is_ipv4() == to.is_ipv4();
        if is_same(&arrival.local) && arrival.listener == listener && self.rules.udp_listener(listener).is_some() {
            return Some((arrival.listener, arrival.local, Transport::Udp));
        }
        let mut udp = self.rules.udp_listeners.iter();
        let wanted = udp.find(|(of, address)| *of == listener && is_same(address));
        let others = || udp_listener_towards(self.rules.udp_listeners.iter().copied(), to.ip());
        let (listener, bound) = wanted.copied().or_else(others)?;
        let ip = if bound.ip().is_unspecified() { self.own_ip_towards(to.ip(), arrival)? } else { bound.ip() };
        Some((listener, SocketAddr::new(ip, bound.port()), Transport::Udp))
    }

    /// The address of ours that a wildcard socket sends to an address from.
    fn own_ip_towards(&self, to: IpAddr, arrival: &Arrival) -> Option<IpAddr> {
        let local = arrival.local.ip();
        let fits = |ip: &&IpAddr| ip.is_ipv4() == to.is_ipv4();
        // Nothing of this host's own reaches it from elsewhere, and the other way round.
        let is_near = |ip: &&IpAddr| fits(ip) && ip.is_loopback() == to.is_loopback();
        let known = || self.rules.own_addresses.iter().chain(&self.rules.wildcard_addresses);
        Some(&local)
            .filter(is_near)
            .or_else(|| known().find(is_near))
            .or_else(|| known().find(fits))
            .or_else(|| Some(&local).filter(fits))
            .copied()
    }
}

/// The way that responses to a request with this topmost Via go.
fn way_back(via: &Via<'_>, arrival: &Arrival) -> Hop {
    match arrival.reply_to {
        ReplyTo::Stream(conn) => Hop::Connection(conn),
        _ => Hop::Address(via.where_to(arrival.source)),
    }
}

/// The precedence of a request that begins something. A call for help says so (RFC 7135).
fn precedence(request: &Message<'_>) -> Precedence {
    let mut fields = request.fields();
    let is_for_help = |(name, value): (&[u8], &[u8])| {
        let mut values = value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
        name.eq_ignore_ascii_case(b"Resource-Priority")
            && values.any(|value| value.get(..6).is_some_and(|start| start.eq_ignore_ascii_case(b"esnet.")))
    };
    if fields.any(is_for_help) { Precedence::Kept } else { Precedence::Ordinary }
}

/// The decision, unless it is an answer to an ACK, which is never answered.
fn unless_ack(case: &Case<'_>, decision: Decision) -> Decision {
    if case.request.method == Method::Ack { Decision { target: Target::Drop, ..decision } } else { decision }
}
