//! Requests of systems whose way is sought before they leave: the name that they go to is looked up (RFC 3263), or a
//! connection is opened (RFC 3261 §18.1.1).
//!
//! The addresses of a name are tried one after the other (RFC 3263 §4.3). A request waits for four seconds at most for
//! a connection to each. Over UDP it goes to the next one, as an attempt with a branch of its own, where it cannot be
//! sent, where the answer is 503, and where nothing is heard. An INVITE waits for five seconds then: a server that is
//! there has sent 100 after 200 ms (RFC 3261 §17.2.1), and one that responds after all gets a CANCEL. Other requests
//! stay for all the time that they have: nothing tells whether they have been carried out, and they cannot be
//! cancelled.
//!
//! That takes the state of a transaction, which each request to a name has. One that travels without it (RFC 3261
//! §16.11) has one address only.

use std::net::SocketAddr;

use super::outbound::may_be_named;
use super::stateful::moved_by;
use super::{Case, way_back};
use crate::dispatch::Dispatch;
use crate::dispatch::awaiting::{Awaited, Destination};
use crate::dispatch::callees::Callee;
use crate::dispatch::contexts::{ContextId, Moves, UnderWay};
use crate::dispatch::decision::{Arrival, Decision, Forward, Hop, Reason, Target};
use crate::dispatch::probed::LookUp;
use crate::dispatch::rules::udp_listener_towards;
use crate::ids::{ConnId, ListenerId, ProxyId};
use crate::time::Time;
use crate::transaction::Kind;
use crate::transaction::response_context::{self as context, Candidate, Effect, Next, ResponseContext, Why};
use crate::wire::sip::Method;
use crate::words::Transport;

/// The way to a name that has been looked up.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Found {
    /// The connection of a proxy, which is open, from this listener.
    Way(Hop, Option<ListenerId>),
    /// The first of these that leads anywhere.
    OneOf(Vec<Destination>),
}

impl Dispatch {
    /// Begins the response context of a system's request whose way is still sought. Returns whether there is room for
    /// one.
    pub(super) fn begin_waiting(&mut self, case: &Case<'_>, forward: &Forward, awaited: Awaited) -> bool {
        let Some((id, pool)) = self.proxies.pool_for(forward.proxy) else { return false };
        let Some(back) = case.request.read.via.map(|via| way_back(&via, case.arrival)) else { return false };
        if !self.awaiting.has_room(|| case.source(self).print()) || !self.has_room_for_context(case) {
            return false;
        }
        let moves = if matches!(awaited, Awaited::Name(_)) { Moves::ByAddress } else { Moves::Never };
        let opening = context::Opening {
            kind: if case.request.method == Method::Invite { Kind::Invite } else { Kind::Other },
            terms: self.contexts.terms((id, pool), moves, self.rules.pending_max),
            first: None,
            is_reliable: true,
            may_be_forged: false,
            leads_to_flow: false,
        };
        let context = ResponseContext::begin(opening, case.now, &mut Vec::new());
        let source = case.source(self).print();
        let kept = self.contexts.keep(case.request.message.bytes());
        let under_way = UnderWay::new(
            context,
            (case.name, case.call, case.discriminator),
            (case.request.message, kept),
            (case.arrival, source, back),
            (id, forward),
            (None, None, moves),
        );
        let Some(id) = self.contexts.insert(under_way) else { return false };
        match awaited {
            Awaited::Name(_) => self.awaiting.wait((id, source), awaited, case.now),
            Awaited::Connection(to) => self.go_to_first(id, [Destination::Connection(to)], case.now),
        }
        true
    }

    /// A name has been looked up: the requests that wait for it go to the first address that they may go to.
    pub(in crate::dispatch) fn on_looked_up(&mut self, look_up: &LookUp, addresses: &[SocketAddr], now: Time) {
        for id in self.awaiting.take(&Awaited::Name(look_up.clone())) {
            self.go_to_found(id, (look_up, addresses), now);
        }
    }

    fn go_to_found(&mut self, id: ContextId, found: (&LookUp, &[SocketAddr]), now: Time) {
        let Some(arrival) = self.contexts.get(id).map(|under_way| under_way.arrival) else { return };
        match self.way_found(found, &arrival) {
            Ok(Found::Way(to, listener)) => {
                self.set_listener(id, listener);
                self.on_way_found(id, Ok((to, Reason::OutboundLookedUp)), now);
            }
            Ok(Found::OneOf(destinations)) => self.go_to_first(id, destinations, now),
            Err(refusal) => self.on_way_found(id, Err(refusal), now),
        }
    }

    /// The way of a request that waited for it has been found: the request goes there, or is answered with this status.
    fn on_way_found(&mut self, id: ContextId, way: Result<(Hop, Reason), (u16, Reason)>, now: Time) {
        let Some(UnderWay { arrival, forward, request, context, .. }) = self.contexts.get(id) else { return };
        let (arrival, forward, request) = (*arrival, *forward, request.clone());
        if context.answered().is_some() {
            return;
        }
        let (next, target, reason) = match way {
            Ok((to, reason)) => {
                let next = Ok(Candidate { proxy: forward.proxy, attempt: 0, to });
                (next, Some(Target::Forward(Forward { to, ..forward })), reason)
            }
            Err((status, reason)) => (Err(status), self.own_answer(id, status).map(Target::Answer), reason),
        };
        self.happen(id, now, |context, effects| context.on_looked_up(next, now, effects));
        if let Some(decision) = target.map(|target| Decision { target, reason }) {
            self.count_again((&request, &arrival), &decision, now);
        }
    }

    /// Has a request go to the first of these destinations that leads anywhere.
    pub(super) fn go_to_first<D>(&mut self, id: ContextId, destinations: D, now: Time)
    where
        D: IntoIterator<Item = Destination, IntoIter: DoubleEndedIterator>,
    {
        let Some(under_way) = self.contexts.get_mut(id) else { return };
        under_way.others = destinations.into_iter().rev().collect();
        self.go_on(id, now);
    }

    /// Has a request go to the first of its destinations that were not tried.
    pub(super) fn go_on(&mut self, id: ContextId, now: Time) {
        while let Some(under_way) = self.contexts.get_mut(id) {
            let (source, is_around) = (under_way.source, under_way.is_around);
            let to = match under_way.others.pop() {
                Some(Destination::Connection(to)) => to,
                Some(Destination::Datagram(to)) => {
                    return self.on_way_found(id, Ok((Hop::Address(to), Reason::OutboundLookedUp)), now);
                }
                None if is_around => return self.cut_unheard(id, now),
                None => return self.on_way_found(id, Err((480, Reason::OutboundUnreachable)), now),
            };
            // Its responses and requests must find a way here.
            if self.rules.stream_listener(to.transport(), to.address.ip()).is_none() {
                continue;
            }
            if let Some(conn) = self.callees.open_to(&to) {
                return self.on_connected(id, (&to, conn), now);
            }
            if self.awaiting.has_room(|| source) && self.ask_for_connection(&to) {
                return self.awaiting.wait((id, source), Awaited::Connection(to), now);
            }
        }
    }

    /// Answers the question whether a request goes to another address of the name that it goes to (RFC 3263 §4.3).
    /// Returns why it does.
    pub(super) fn go_to_next_address(
        &mut self,
        id: ContextId,
        why: Why,
        effects: &mut Vec<Effect>,
        now: Time,
    ) -> Option<Reason> {
        let under_way = self.contexts.get_mut(id)?;
        let may_go = under_way.context.is_invite() || !matches!(why, Why::Silent | Why::TimedOut);
        let datagram = under_way.others.pop_if(|other| may_go && matches!(other, Destination::Datagram(_)));
        let Some(Destination::Datagram(to)) = datagram else {
            under_way.context.on_next(Next::None, now, effects);
            return None;
        };
        let to = Hop::Address(to);
        under_way.context.on_next(Next::Address(to), now, effects);
        let UnderWay { arrival, forward, ref request, .. } = *under_way;
        let (request, reason) = (request.clone(), moved_by(why));
        let decision = Decision { target: Target::Forward(Forward { to, ..forward }), reason };
        if let Why::Status(_) = why {
            // The response in hand is counted with the reason.
            self.note_again(&request, &arrival, &decision, now);
        } else {
            self.count_again((&request, &arrival), &decision, now);
        }
        Some(reason)
    }

    /// Asks for a connection to a far end. False: there are too many, and requests wait on each.
    pub(super) fn ask_for_connection(&mut self, to: &Callee) -> bool {
        let Dispatch { contexts, callees, .. } = self;
        callees.ask(to, |conn| !contexts.waits_on(conn))
    }

    /// A connection that a request waits for is open: the request goes by it.
    fn on_connected(&mut self, id: ContextId, (to, conn): (&Callee, ConnId), now: Time) {
        self.set_listener(
            id,
            self.rules.stream_listener(to.transport(), to.address.ip()).map(|(listener, _)| listener),
        );
        let Some(under_way) = self.contexts.get_mut(id) else { return };
        under_way.others.push(Destination::Connection(to.clone()));
        if under_way.is_around {
            self.go_around(id, Hop::Connection(conn), now);
        } else {
            self.on_way_found(id, Ok((Hop::Connection(conn), Reason::OutboundConnected)), now);
        }
    }

    /// Has a request leave from this listener.
    fn set_listener(&mut self, id: ContextId, listener: Option<ListenerId>) {
        if let Some((under_way, listener)) = self.contexts.get_mut(id).zip(listener) {
            under_way.forward.listener = listener;
        }
    }

    /// Takes note that a connection for requests of systems is open, if it is one.
    pub(in crate::dispatch) fn on_callee_connected(&mut self, conn: ConnId, now: Time) {
        let Some(to) = self.callees.on_open(conn) else { return };
        for id in self.awaiting.take(&Awaited::Connection(to.clone())) {
            self.on_connected(id, (&to, conn), now);
        }
    }

    /// Takes note that a connection to a far end cannot be opened: the requests that wait for it go on to their next
    /// address (RFC 3263 §4.3).
    pub(in crate::dispatch) fn on_callee_unreachable(&mut self, to: &Callee, now: Time) {
        for id in self.awaiting.take(&Awaited::Connection(to.clone())) {
            self.go_on(id, now);
        }
    }

    /// Answers the requests whose way is still sought: nobody else would, since a sender on a connection does not
    /// repeat them.
    pub fn give_up_waiting(&mut self, now: Time) {
        while let Some(id) = self.awaiting.poll_any() {
            if self.contexts.get(id).is_some_and(|under_way| under_way.is_around) {
                self.cut_unheard(id, now);
            } else {
                self.on_way_found(id, Err((503, Reason::OutboundUnreachable)), now);
            }
        }
    }

    /// The way to the first address of a name that may be named and can be reached.
    fn way_found(
        &mut self,
        (look_up, addresses): (&LookUp, &[SocketAddr]),
        arrival: &Arrival,
    ) -> Result<Found, (u16, Reason)> {
        let (mut refused, mut found) = ((480, Reason::OutboundUnreachable), Vec::new());
        for to in addresses {
            let to = SocketAddr::new(to.ip().to_canonical(), to.port());
            if self.is_own(to, arrival) {
                refused = (482, Reason::Loop);
                continue;
            }
            if !may_be_named(to, arrival) {
                refused = (403, Reason::OutboundRefused);
                continue;
            }
            if look_up.transport == Transport::Udp {
                let is_reached = udp_listener_towards(self.rules.udp_listeners.iter().copied(), to.ip()).is_some();
                found.extend(Some(Destination::Datagram(to)).filter(|_| is_reached));
                continue;
            }
            // Over TLS the connection to a server is for the host in its certificate alone (RFC 5922 §4).
            let is_named = |proxy: &ProxyId| self.proxies.is_named(*proxy, &look_up.host);
            let is_secure = look_up.transport == Transport::Tls;
            match self.proxy_at(to, look_up.transport).filter(|proxy| !is_secure || is_named(proxy)) {
                Some(proxy) if found.is_empty() => {
                    let transport = self.proxies.get(proxy).map_or(look_up.transport, |proxy| proxy.transport());
                    let listener = self.rules.stream_listener(transport, to.ip()).map(|(listener, _)| listener);
                    if let Some(way) = self.proxies.hop_to(proxy) {
                        return Ok(Found::Way(way, listener));
                    }
                }
                None => {
                    let name = Some(&look_up.host).filter(|_| is_secure).cloned();
                    found.push(Destination::Connection(Callee { address: to, name }));
                }
                _ => {}
            }
        }
        if found.is_empty() { Err(refused) } else { Ok(Found::OneOf(found)) }
    }

    /// Has the requests go on that have waited for too long.
    pub(super) fn handle_waiting(&mut self, now: Time) {
        while let Some((id, awaited)) = self.awaiting.poll_expired(now) {
            match &awaited {
                Awaited::Name(look_up) => self.go_to_found(id, (look_up, &[]), now),
                Awaited::Connection(to) => {
                    if !self.awaiting.awaits(&awaited) {
                        self.callees.give_up(to);
                    }
                    self.go_on(id, now);
                }
            }
        }
    }
}
