//! Requests whose connection is gone: they go by another one to the same place or to the Contact of their receiver, or
//! their sender hears of it (RFC 5626 §5.3.1).

use std::net::SocketAddr;

use super::outbound::{Place, may_be_named};
use super::record_route::is_private;
use crate::dispatch::Dispatch;
use crate::dispatch::awaiting::{Awaited, Waiter};
use crate::dispatch::callees::Callee;
use crate::dispatch::contexts::{Around, ContextId, UnderWay};
use crate::dispatch::decision::{Decision, Forward, Hop, Reason, Side, Target};
use crate::ids::{ConnId, ProxyId};
use crate::time::Time;
use crate::transaction::forwarded::ForwardedBranch;
use crate::transaction::response_context::Candidate;
use crate::wire::sip::{Message, Method, Name, Scanner, Scheme, Via};
use crate::words::Transport;

impl Dispatch {
    /// Takes note that a request of ours could not leave on its connection, which is gone: its sender hears of it (RFC
    /// 5626 §5.3.1). An ACK is lost, and the response to it comes again.
    pub fn on_undelivered(&mut self, request: &Message<'_>, conn: ConnId, now: Time) {
        let mut vias = request.values(Name::Via).map_while(Via::parse);
        let branch = vias.next().and_then(|via| ForwardedBranch::read(via.branch()?));
        let name = vias.next().and_then(|via| self.name_of(request, &via));
        let reason = Reason::FlowFailed;
        if request.method() == Some(Method::Ack) {
            return self.counters.on_returned(&Decision { target: Target::Drop, reason });
        }
        let Some(id) = branch.and(name).and_then(|name| self.contexts.of(name)) else { return };
        // The end of a connection to a proxy is told, and moves all requests that went by it. That of another lane may
        // have been told meanwhile.
        let is_of_server = self.contexts.get(id).is_some_and(|under_way| under_way.forward.side == Side::Server);
        if is_of_server && self.contexts.is_on(id, conn) {
            self.lose_flow(id, now);
        }
    }

    /// Whether a request has gone by this connection.
    pub fn has_gone_by(&self, conn: ConnId) -> bool {
        self.contexts.has_on(conn)
    }

    /// The connections that requests under way have gone by.
    pub fn connections_in_use(&self) -> impl Iterator<Item = ConnId> {
        self.contexts.connections()
    }

    /// Takes note that the connection of a caller, or one that was opened for requests of systems, has ended: requests
    /// for it that have no final response are over, or go another way.
    pub fn on_caller_gone(&mut self, conn: ConnId, now: Time) {
        for id in self.contexts.take_on(conn, Side::Server) {
            self.lose_flow(id, now);
        }
    }

    /// Has a request whose connection is gone go by another one, if we have opened that, or to the Contact of its
    /// receiver, or else tells its sender.
    fn lose_flow(&mut self, id: ContextId, now: Time) {
        let contact = self.contact_of(id);
        let Some(under_way) = self.contexts.get_mut(id).filter(|it| it.context.answered().is_none()) else { return };
        let proxy = under_way.forward.proxy;
        let (may_go, around) = (under_way.context.may_go_around(proxy), under_way.around);
        let opened = under_way.opened.take();
        self.contexts.leave_way(id);
        match (opened, contact) {
            _ if !may_go => self.cut(id, proxy, now),
            _ if around != Around::No => self.lose_unheard(id, now),
            (Some(callee), _) => self.go_around_by(id, callee, now),
            (None, Some((to, Transport::Udp))) => self.go_around(id, Hop::Address(to), now),
            (None, Some((address, _))) => self.go_around_by(id, Callee { address, name: None }, now),
            (None, None) => self.lose_unheard(id, now),
        }
    }

    /// Has a request whose connection is gone go by a connection to this far end, which may have to be opened.
    pub(super) fn go_around_by(&mut self, id: ContextId, to: Callee, now: Time) {
        let Some(source) = self.contexts.get(id).map(|under_way| under_way.source) else { return };
        match self.find_connection(&to, source) {
            Some(Some(conn)) => self.go_around(id, Hop::Connection(conn), now),
            Some(None) => {
                if let Some(under_way) = self.contexts.get_mut(id) {
                    under_way.around = Around::Waits;
                }
                self.awaiting.wait((Waiter::Request(id), source), Awaited::Connection(to), now);
            }
            None => self.lose_unheard(id, now),
        }
    }

    /// Has a request whose connection is gone go by another way, or tells its sender where that is of no use any more.
    pub(super) fn go_around(&mut self, id: ContextId, to: Hop, now: Time) {
        let opened = self.opened_for(to);
        let Some(under_way) = self.contexts.get_mut(id) else { return };
        (under_way.around, under_way.opened) = (Around::Done, opened);
        let UnderWay { forward, ref request, arrival, .. } = *under_way;
        let request = request.clone();
        let (candidate, mut goes) = (Candidate { proxy: forward.proxy, attempt: 0, to }, false);
        self.happen(id, now, |context, effects| goes = context.go_around(candidate, now, effects));
        if !goes {
            return self.lose_unheard(id, now);
        }
        let target = Target::Forward(Forward { to, ..forward });
        let decision = Decision { target, reason: Reason::OutboundContact };
        self.count_again((&request, &arrival), &decision, now);
    }

    /// Tells the sender of a request that its connection is gone, and that there is no other way.
    pub(super) fn cut(&mut self, id: ContextId, proxy: ProxyId, now: Time) {
        let Some(under_way) = self.contexts.get_mut(id) else { return };
        // Copies of an answer that has left stay the same.
        under_way.is_cut |= under_way.context.answered().is_none();
        self.happen(id, now, |context, effects| context.on_cut(proxy, now, effects));
    }

    /// The same where nothing has been heard of the request meanwhile: a receiver that responds has found a way itself.
    /// It goes to the next address of its receiver, if that has one (RFC 3263 §4.3).
    pub(super) fn lose_unheard(&mut self, id: ContextId, now: Time) {
        let Some(under_way) = self.contexts.get_mut(id) else { return };
        under_way.around = Around::Done;
        let proxy = under_way.forward.proxy;
        // While the next address is looked for, or connected, the request waits for that.
        let is_last = under_way.others.is_empty() && !under_way.context.is_seeking();
        match (under_way.context.is_unheard(proxy), is_last) {
            (false, _) => {}
            (true, true) => self.cut(id, proxy, now),
            (true, false) => self.happen(id, now, |context, effects| context.on_unsent(proxy, now, effects)),
        }
    }

    /// The address by which the receiver of a system's request is reached whose connection is gone, and its transport:
    /// those in its Contact, where this means something outside of its own network.
    fn contact_of(&self, id: ContextId) -> Option<(SocketAddr, Transport)> {
        let UnderWay { request, arrival, forward, .. } = self.contexts.get(id)?;
        self.system_of(arrival)?;
        let mut scanner = Scanner::new();
        let request = scanner.scan(request).ok()?;
        let (to, transport) = Place::of(&request, forward.routes.own)?.address?;
        let is_public = to.ip().is_loopback() || !is_private(to.ip());
        // RFC 3261 §26.2.2: one for a `sips:` URI leaves over TLS, or not at all.
        let is_sips = request.uri().is_some_and(|uri| uri.scheme == Scheme::Sips);
        let is_open = matches!(transport, Transport::Udp | Transport::Tcp) && !is_sips;
        let is_good = is_public && is_open && !self.is_own(to, arrival) && may_be_named(to, arrival);
        is_good.then_some((to, transport))
    }
}
