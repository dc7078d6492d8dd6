//! Requests of systems whose way is sought before they leave: the name that they go to is looked up (RFC 3263), or a
//! connection is opened (RFC 3261 §18.1.1).
//!
//! The addresses of a name are tried one after the other (RFC 3263 §4.3). A request waits for four seconds at most for
//! a connection to each. It goes to the next one, as an attempt with a branch of its own, where it cannot be sent or no
//! connection can be opened, where the answer is 503, and where nothing is heard. An INVITE waits for five seconds
//! then: a server that is there has sent 100 after 200 ms (RFC 3261 §17.2.1). The attempt that is responded to first
//! has the call, and another one gets a CANCEL when it responds. Other requests stay for all the time that they have:
//! nothing tells whether they have been carried out, and they cannot be cancelled.
//!
//! That takes the state of a transaction, which each request to a name has. One that travels without it (RFC 3261
//! §16.11) has one address only.

use std::net::SocketAddr;
use std::sync::Arc;

use super::moving::moved_by;
use super::outbound::may_be_named;
use super::{Case, way_back};
use crate::dispatch::Dispatch;
use crate::dispatch::awaiting::{Awaited, Destination, Waiter, WaitingAck};
use crate::dispatch::callees::Callee;
use crate::dispatch::contexts::{Around, ContextId, Leaving, LeavingMessage, Moves, Sought, UnderWay};
use crate::dispatch::decision::{Arrival, Decision, Forward, Hop, Reason, Target};
use crate::dispatch::probed::LookUp;
use crate::dispatch::rules::udp_listener_towards;
use crate::fingerprint::SourcePrint;
use crate::ids::{ConnId, ListenerId, ProxyId};
use crate::time::Time;
use crate::transaction::Kind;
use crate::transaction::response_context::{self as context, Candidate, Effect, Next, ResponseContext, Why};
use crate::wire::sip::Method;
use crate::words::Transport;

/// A way to a destination.
enum Way<'a> {
    /// It is there, and for this reason a request goes by it.
    Open(Hop, Reason),
    /// A connection to this far end has to be opened.
    Opens(&'a Callee),
    /// There is none.
    None,
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
            has_one_server: false,
            may_go_to_worker: false,
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
            Awaited::Name(_) => self.awaiting.wait((Waiter::Request(id), source), awaited, case.now),
            Awaited::Connection(to) => self.go_to_first(id, [Destination::Connection(to)], case.now),
        }
        true
    }

    /// Has an ACK to a 2xx wait. It has no transaction, and nobody repeats it by a timer: only a copy of the 2xx brings
    /// another one (RFC 3261 §13.2.2.4). Returns whether there is room for it.
    pub(super) fn ack_waits(&mut self, case: &Case<'_>, forward: &Forward, awaited: Awaited) -> bool {
        let source = case.source(self).print();
        if !self.awaiting.has_room(|| source) {
            return false;
        }
        let request = Arc::new(case.request.message.bytes().to_vec());
        let (arrival, call, forward) = (*case.arrival, case.call, *forward);
        let mut ack = Box::new(WaitingAck { request, arrival, call, source, forward, others: Vec::new() });
        match awaited {
            Awaited::Name(_) => self.awaiting.wait((Waiter::Ack(ack), source), awaited, case.now),
            Awaited::Connection(to) => {
                ack.others.push(Destination::Connection(to));
                self.lead_ack(ack, case.now);
            }
        }
        true
    }

    /// Has an ACK go to the first of its destinations that were not tried.
    fn lead_ack(&mut self, mut ack: Box<WaitingAck>, now: Time) {
        while let Some(destination) = ack.others.pop() {
            let source = ack.source;
            match self.way_to(&destination, source) {
                Way::Open(to, reason) => return self.send_ack(&ack, (to, reason), now),
                Way::Opens(to) => {
                    return self.awaiting.wait((Waiter::Ack(ack), source), Awaited::Connection(to.clone()), now);
                }
                Way::None => {}
            }
        }
        let dropped = Decision { target: Target::Drop, reason: Reason::OutboundUnreachable };
        self.count_again((&ack.request, &ack.arrival), &dropped, now);
    }

    /// Sends an ACK that has waited.
    fn send_ack(&mut self, ack: &WaitingAck, (to, reason): (Hop, Reason), now: Time) {
        let WaitingAck { request, arrival, call, forward, .. } = ack;
        let candidate = Candidate { proxy: forward.proxy, attempt: 0, to };
        let Some(forward) = self.forward_anew((request, arrival, *call), forward, candidate) else { return };
        let (request, arrival) = (request.clone(), *arrival);
        self.count_again((&request, &arrival), &Decision { target: Target::Forward(forward), reason }, now);
        self.contexts.leave(Leaving { request, arrival, message: LeavingMessage::Request(forward) });
    }

    /// A name has been looked up: the requests that wait for it go to the first address that they may go to.
    pub(in crate::dispatch) fn on_looked_up(&mut self, look_up: &LookUp, addresses: &[SocketAddr], now: Time) {
        for waiter in self.awaiting.take(&Awaited::Name(look_up.clone())) {
            self.go_to_found(waiter, (look_up, addresses), now);
        }
    }

    fn go_to_found(&mut self, waiter: Waiter, found: (&LookUp, &[SocketAddr]), now: Time) {
        match waiter {
            Waiter::Request(id) => {
                let Some(arrival) = self.contexts.get(id).map(|under_way| under_way.arrival) else { return };
                match self.destinations(found, &arrival) {
                    Ok(destinations) => self.go_to_first(id, destinations, now),
                    Err(refusal) => self.on_way_found(id, Err(refusal), now),
                }
            }
            Waiter::Ack(mut ack) => {
                ack.others = self.destinations(found, &ack.arrival).unwrap_or_default();
                ack.others.reverse();
                self.lead_ack(ack, now);
            }
        }
    }

    /// The way of a request that waited for it has been found: the request goes there, or is answered with this status
    /// unless it has gone elsewhere before.
    fn on_way_found(&mut self, id: ContextId, way: Result<(Hop, Reason), (u16, Reason)>, now: Time) {
        let opened = way.ok().and_then(|(to, _)| self.opened_for(to));
        let Some(under_way) = self.contexts.get_mut(id) else { return };
        let (wants_way, has_left) = (under_way.context.wants_way(), under_way.context.has_left());
        if wants_way && way.is_ok() {
            (under_way.opened, under_way.around) = (opened, Around::No);
        }
        let UnderWay { arrival, forward, ref request, moved, .. } = *under_way;
        let request = request.clone();
        let (next, target, reason) = match way {
            Ok((to, reason)) => {
                let target = wants_way.then_some(Target::Forward(Forward { to, ..forward }));
                (Ok((forward.proxy, to)), target, moved.unwrap_or(reason))
            }
            Err((status, reason)) => {
                let answer = if wants_way && !has_left { self.own_answer(id, status) } else { None };
                (Err(status), answer.map(Target::Answer), reason)
            }
        };
        self.happen(id, now, |context, effects| context.on_looked_up(next, now, effects));
        if let Some(decision) = target.map(|target| Decision { target, reason }) {
            self.count_again((&request, &arrival), &decision, now);
        }
    }

    /// The far end of a connection, where we have opened that for requests of systems.
    pub(super) fn opened_for(&self, to: Hop) -> Option<Callee> {
        match to {
            Hop::Connection(conn) => self.callees.of(conn).cloned(),
            Hop::Address(_) => None,
        }
    }

    /// The listener to which the far end of a connection of ours sends what it does not send on that.
    pub(super) fn listener_beside(&self, to: Hop) -> Option<ListenerId> {
        let Hop::Connection(conn) = to else { return None };
        let (transport, address) = match self.callees.of(conn) {
            Some(callee) => (callee.transport(), callee.address),
            None => {
                let proxy = self.proxies.get(self.proxies.of_connection(conn)?)?;
                (proxy.transport(), proxy.address()?)
            }
        };
        self.rules.stream_listener(transport, address.ip()).map(|(listener, _)| listener)
    }

    /// Has a request go to the first of these destinations that leads anywhere.
    fn go_to_first<D>(&mut self, id: ContextId, destinations: D, now: Time)
    where
        D: IntoIterator<Item = Destination, IntoIter: DoubleEndedIterator>,
    {
        let Some(under_way) = self.contexts.get_mut(id) else { return };
        under_way.others = destinations.into_iter().rev().collect();
        self.go_on(id, now);
    }

    /// Has a request go to the first of its destinations that were not tried.
    fn go_on(&mut self, id: ContextId, now: Time) {
        while let Some(under_way) = self.contexts.get_mut(id) {
            let source = under_way.source;
            let Some(destination) = under_way.others.pop() else {
                return self.on_way_found(id, Err((480, Reason::OutboundUnreachable)), now);
            };
            match self.way_to(&destination, source) {
                Way::Open(to, reason) => return self.on_way_found(id, Ok((to, reason)), now),
                Way::Opens(to) => {
                    return self.awaiting.wait((Waiter::Request(id), source), Awaited::Connection(to.clone()), now);
                }
                Way::None => {}
            }
        }
    }

    /// The way to a destination for a request of this source.
    fn way_to<'a>(&mut self, destination: &'a Destination, source: SourcePrint) -> Way<'a> {
        let looked_up = |to| Way::Open(to, Reason::OutboundLookedUp);
        match destination {
            Destination::Datagram(to) => looked_up(Hop::Address(*to)),
            Destination::Proxy(proxy) => self.proxies.hop_to(*proxy).map_or(Way::None, looked_up),
            Destination::Connection(to) => match self.find_connection(to, source) {
                Some(Some(conn)) => Way::Open(Hop::Connection(conn), Reason::OutboundConnected),
                Some(None) => Way::Opens(to),
                None => Way::None,
            },
        }
    }

    /// Finds a connection to a far end for a request of this source. `Some(None)`: the request has to wait until one is
    /// open; `None`: there will be none.
    pub(super) fn find_connection(&mut self, to: &Callee, source: SourcePrint) -> Option<Option<ConnId>> {
        // Its responses and requests must find a way here.
        self.rules.stream_listener(to.transport(), to.address.ip())?;
        if let Some(conn) = self.callees.open_to(to) {
            return Some(Some(conn));
        }
        let Dispatch { awaiting, contexts, callees, .. } = self;
        let waits = awaiting.has_room(|| source) && callees.ask(to, |conn| !contexts.waits_on(conn));
        waits.then_some(None)
    }

    /// Answers the question whether a request goes to another address of the name that it goes to (RFC 3263 §4.3), and
    /// begins to look for the way.
    pub(super) fn go_to_next_address(&mut self, id: ContextId, why: Why, effects: &mut Vec<Effect>, now: Time) {
        let Some(under_way) = self.contexts.get_mut(id) else { return };
        let may_go = match why {
            Why::Silent => under_way.context.is_invite() && under_way.around != Around::Waits,
            Why::TimedOut => under_way.context.is_invite(),
            Why::Status(_) | Why::Unsent | Why::Down => true,
        };
        if !may_go || under_way.others.is_empty() {
            return under_way.context.on_next(Next::None, now, effects);
        }
        (under_way.moved, under_way.around) = (Some(moved_by(why)), Around::Done);
        under_way.context.on_next(Next::Sought, now, effects);
        self.go_on(id, now);
    }

    /// A connection that a request waits for is open: the request goes by it.
    fn on_connected(&mut self, waiter: &Waiter, conn: ConnId, now: Time) {
        let to = Hop::Connection(conn);
        let id = match waiter {
            Waiter::Request(id) => *id,
            Waiter::Ack(ack) => return self.send_ack(ack, (to, Reason::OutboundConnected), now),
        };
        let Some(under_way) = self.contexts.get(id) else { return };
        if under_way.context.is_seeking() {
            self.on_way_found(id, Ok((to, Reason::OutboundConnected)), now);
        } else if under_way.around == Around::Waits {
            self.go_around(id, to, now);
        }
    }

    /// A connection that a request waits for cannot be opened: the request goes on to its next address.
    fn on_unconnected(&mut self, waiter: Waiter, now: Time) {
        let id = match waiter {
            Waiter::Request(id) => id,
            Waiter::Ack(ack) => return self.lead_ack(ack, now),
        };
        let Some(under_way) = self.contexts.get(id) else { return };
        if under_way.context.is_seeking() {
            self.go_on(id, now);
        } else if under_way.around == Around::Waits {
            self.lose_unheard(id, now);
        }
    }

    /// Takes note that a connection for requests of systems is open, if it is one.
    pub(in crate::dispatch) fn on_callee_connected(&mut self, conn: ConnId, now: Time) {
        let Some(to) = self.callees.on_open(conn) else { return };
        for waiter in self.awaiting.take(&Awaited::Connection(to.clone())) {
            self.on_connected(&waiter, conn, now);
        }
    }

    /// Takes note that a connection to a far end cannot be opened: the requests that wait for it go on to their next
    /// address (RFC 3263 §4.3).
    pub(in crate::dispatch) fn on_callee_unreachable(&mut self, to: &Callee, now: Time) {
        for waiter in self.awaiting.take(&Awaited::Connection(to.clone())) {
            self.on_unconnected(waiter, now);
        }
    }

    /// Takes out the requests that have gone nowhere yet, for the dispatcher that takes over: a sender on a connection
    /// does not repeat them. Those that have gone somewhere before stay, and wait for nothing until
    /// [`Dispatch::seek_again`].
    pub fn take_sought(&mut self, now: Time) -> Vec<Sought> {
        let mut all = Vec::new();
        while let Some((waiter, awaited)) = self.awaiting.poll_any() {
            let id = match waiter {
                Waiter::Request(id) => id,
                Waiter::Ack(ack) => {
                    all.push(Sought { request: ack.request.to_vec(), arrival: ack.arrival });
                    continue;
                }
            };
            let Some(under_way) = self.contexts.get_mut(id) else { continue };
            let UnderWay { ref context, ref request, arrival, .. } = *under_way;
            match (context.is_seeking(), context.has_left(), awaited) {
                (true, false, _) if context.wants_way() => {
                    all.push(Sought { request: request.to_vec(), arrival });
                    self.contexts.forget(id);
                }
                (true, false, _) => self.on_way_found(id, Err((480, Reason::OutboundUnreachable)), now),
                (is_seeking, _, awaited) => {
                    match awaited {
                        Awaited::Connection(to) if is_seeking => under_way.others.push(Destination::Connection(to)),
                        Awaited::Connection(to) => under_way.opened = Some(to),
                        Awaited::Name(_) => {}
                    }
                    self.contexts.interrupt(id);
                }
            }
        }
        all
    }

    /// Has the requests look for their way again that have gone somewhere before: another dispatcher has taken over, or
    /// has failed to.
    pub fn seek_again(&mut self, now: Time) {
        for id in self.contexts.take_interrupted() {
            let Some(under_way) = self.contexts.get_mut(id) else { continue };
            match (under_way.context.is_seeking(), under_way.opened.take()) {
                (true, _) => self.go_on(id, now),
                (false, Some(to)) => self.go_around_by(id, to, now),
                (false, None) => self.lose_unheard(id, now),
            }
        }
    }

    /// The addresses of a name that may be named and can be reached; none: the status of the answer.
    fn destinations(
        &self,
        (look_up, addresses): (&LookUp, &[SocketAddr]),
        arrival: &Arrival,
    ) -> Result<Vec<Destination>, (u16, Reason)> {
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
            let proxy = self.proxy_at(to, look_up.transport).filter(|proxy| !is_secure || is_named(proxy));
            let name = Some(&look_up.host).filter(|_| is_secure).cloned();
            found.push(proxy.map_or(Destination::Connection(Callee { address: to, name }), Destination::Proxy));
        }
        if found.is_empty() { Err(refused) } else { Ok(found) }
    }

    /// Has the requests go on that have waited for too long.
    pub(super) fn handle_waiting(&mut self, now: Time) {
        while let Some((waiter, awaited)) = self.awaiting.poll_expired(now) {
            match &awaited {
                Awaited::Name(look_up) => self.go_to_found(waiter, (look_up, &[]), now),
                Awaited::Connection(to) => {
                    if !self.awaiting.awaits(&awaited) {
                        self.callees.give_up(to);
                    }
                    self.on_unconnected(waiter, now);
                }
            }
        }
    }
}
