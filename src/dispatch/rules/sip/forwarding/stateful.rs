//! Requests that are forwarded with the state of a transaction (RFC 3261 §16.2): the dispatcher answers for them, and
//! in a `stateful` pool another proxy gets what one has not answered.
//!
//! A request that comes on a connection, or leaves on one, always has one: what repeats lost messages on the side of
//! the datagrams has no counterpart on the other (§16.11).

use std::net::SocketAddr;
use std::sync::Arc;

use super::{Case, way_back};
use crate::config::PoolMode;
use crate::dispatch::Dispatch;
use crate::dispatch::contexts::{ContextId, LeavingMessage, Moves, Scratch, UnderWay, WayOut};
use crate::dispatch::decision::{
    Answer, Arrival, Decision, EntryId, Forward, ForwardedResponse, Hop, Reason, Side, Target,
};
use crate::dispatch::history::About;
use crate::dispatch::targets::proxies::PoolId;
use crate::dispatch::targets::proxy::{Final, Sent};
use crate::fingerprint::Fingerprint;
use crate::ids::{ConnId, ProxyId, TargetId};
use crate::time::Time;
use crate::transaction::Kind;
use crate::transaction::forwarded::Came;
use crate::transaction::response_context::{self as context, Candidate, Effect, Response, ResponseContext, Terms};
use crate::wire::sip::{Message, Method, Name, Scanner};
use crate::words::Transport;

impl Dispatch {
    /// Whether a request that must have the state of a transaction would find no room for it. One that comes in a
    /// datagram can do without: its sender repeats it.
    pub(super) fn lacks_context(&self, case: &Case<'_>) -> bool {
        case.arrival.transport != Transport::Udp && !self.has_room_for_context(case)
    }

    pub(super) fn has_room_for_context(&self, case: &Case<'_>) -> bool {
        self.contexts.has_room(case.request.message.bytes().len(), || case.source(self).print())
    }

    /// Begins the response context of a request that has just been forwarded, if it is to have one. `begun`: its number
    /// at the proxy, its place in the table, and the pool that was asked for it, if it is one that begins something;
    /// only such a request may move to another proxy. Returns whether it has one.
    pub(super) fn begin_context(
        &mut self,
        case: &Case<'_>,
        forward: &Forward,
        begun: Option<(Sent, EntryId, Option<PoolId>)>,
    ) -> bool {
        let Some((id, pool)) = self.proxies.pool_for(forward.proxy) else { return false };
        let moves = match forward.to {
            _ if begun.is_none() => self.moves_in_dialog(forward),
            _ if pool.mode == PoolMode::Stateful => Moves::Freely,
            Hop::Connection(_) => Moves::WhenLost,
            Hop::Address(_) => Moves::Never,
        };
        let is_reliable = case.arrival.transport != Transport::Udp;
        let is_on_connection = is_reliable || matches!(forward.to, Hop::Connection(_));
        if !(moves == Moves::Freely || is_on_connection) || !self.has_room_for_context(case) {
            return false;
        }
        let terms = self.contexts.terms((id, pool), moves, self.rules.pending_max);
        let kept = self.contexts.keep(case.request.message.bytes());
        // Where it moves, the pools after the one that was asked are asked in turn.
        let asked = begun.and_then(|(.., asked)| asked).unwrap_or(id);
        let begun = begun.map(|(sent, entry, _)| (sent, entry));
        self.open_context((case, kept), forward, begun, (asked, moves, terms)).is_some()
    }

    /// Opens the response context of a request, whose bytes are kept.
    fn open_context(
        &mut self,
        (case, kept): (&Case<'_>, Arc<Vec<u8>>),
        forward: &Forward,
        begun: Option<(Sent, EntryId)>,
        (pool, moves, terms): (PoolId, Moves, Arc<Terms>),
    ) -> Option<ContextId> {
        let (sent, entry) = begun.unzip();
        let is_reliable = case.arrival.transport != Transport::Udp;
        let back = case.request.read.via.map(|via| way_back(&via, case.arrival))?;
        let callee = if forward.side == Side::Server { self.opened_for(forward.to) } else { None };
        let opening = context::Opening {
            kind: if case.request.method == Method::Invite { Kind::Invite } else { Kind::Other },
            terms,
            first: Some(Candidate { proxy: forward.proxy, attempt: 0, to: forward.to }),
            is_reliable,
            may_be_forged: !is_reliable,
            leads_to_flow: forward.side == Side::Server && callee.is_none(),
            has_one_server: forward.side == Side::Caller && sent.is_none() && moves == Moves::Never,
            may_go_to_worker: entry.is_some() && self.falls_to_workers(case.request.method, (pool, moves)),
        };
        // The decision in hand sends it to the first proxy.
        let mut scratch = self.contexts.take_scratch();
        let context = ResponseContext::begin(opening, case.now, &mut scratch.effects);
        self.contexts.give_scratch(scratch);
        let source = case.source(self).print();
        let mut under_way = UnderWay::new(
            context,
            (case.name, case.call, case.discriminator),
            (case.request.message, kept),
            (case.arrival, source, back),
            (pool, forward),
            (sent, entry, moves),
        );
        under_way.opened = callee;
        self.contexts.insert(under_way)
    }

    /// The grounds on which another member of the pool gets a request that begins nothing: inside a dialog, when the
    /// connection to its server is gone.
    fn moves_in_dialog(&self, forward: &Forward) -> Moves {
        let is_to_server = forward.side == Side::Caller && matches!(forward.to, Hop::Connection(_));
        let moves = is_to_server && self.proxies.get(forward.proxy).is_some_and(|proxy| proxy.moves_dialogs());
        if moves { Moves::WhenLost } else { Moves::Never }
    }

    /// Decides about a request that belongs to the transaction of this name, which may be under way. `None`: it is not
    /// dealt with there.
    pub(in crate::dispatch::rules::sip) fn follow_context(
        &mut self,
        case: &Case<'_>,
        name: Fingerprint,
        reason: Reason,
    ) -> Option<Decision> {
        let id = self.contexts.of(name)?;
        let accepted = (case.request.method == Method::Cancel).then(|| self.answer(case, 200, reason));
        let mut scratch = self.contexts.take_scratch();
        let context = self.contexts.get_mut(id).map(|under_way| &mut under_way.context);
        let decision = context.and_then(|context| match case.request.method {
            Method::Ack => {
                let dropped = Decision { target: Target::Drop, reason: Reason::OwnAck };
                context.on_ack(case.now).then_some(dropped)
            }
            Method::Cancel => {
                context.on_cancel(case.now, &mut scratch.effects);
                accepted
            }
            _ => {
                context.on_copy(&mut scratch.effects);
                Some(Decision { target: Target::Drop, reason })
            }
        });
        self.carry_out(id, &mut scratch.effects, None, case.now);
        self.contexts.give_scratch(scratch);
        decision
    }

    /// Decides about an ACK to a response that the dispatcher has sent for a request under way.
    pub(in crate::dispatch::rules::sip) fn ack_of_context(&mut self, case: &Case<'_>) -> Option<Decision> {
        let under_way = self.contexts.get(self.contexts.of(case.name)?)?;
        if under_way.call == case.call { self.follow_context(case, case.name, Reason::OwnAck) } else { None }
    }

    /// Decides about a proxy's response to the request under way of this name. `is_own`: it comes from the proxy's own
    /// address. `None`: there is no such request.
    pub(super) fn respond_in_context(
        &mut self,
        message: &Message<'_>,
        (name, (proxy, attempt), is_own): (Fingerprint, (ProxyId, u8), bool),
        via_end: u16,
        now: Time,
    ) -> Option<Decision> {
        let id = self.contexts.of(name)?;
        let (under_way, status) = (self.contexts.get(id)?, message.status()?);
        let (keeps, back, side) = (under_way.context.keeps(status), under_way.back, under_way.forward.side);
        let mut scratch = self.contexts.take_scratch();
        if keeps {
            scratch.edits.take_via(message, via_end.into());
            if let Some(identifier) = self.identifier_for(proxy).filter(|_| side == Side::Caller) {
                scratch.edits.put_extension(message, self.rules.identifier_header.as_bytes(), &identifier.text());
            }
            if let Hop::Connection(_) = back {
                scratch.edits.state_length(message);
            }
            scratch.edits.pieces(message).for_each(|piece| scratch.response.extend_from_slice(piece));
        }
        let decision = self.on_response_in_context(id, (message, via_end, (proxy, attempt), is_own), &mut scratch, now);
        self.contexts.give_scratch(scratch);
        decision
    }

    fn on_response_in_context(
        &mut self,
        id: ContextId,
        (message, via_end, (proxy, attempt), is_own): (&Message<'_>, u16, (ProxyId, u8), bool),
        Scratch { response, effects, .. }: &mut Scratch,
        now: Time,
    ) -> Option<Decision> {
        let (status, under_way) = (message.status()?, self.contexts.get_mut(id)?);
        let side = under_way.forward.side.other();
        let UnderWay { back: to, arrival: Arrival { listener, local, .. }, .. } = *under_way;
        let was_answered = under_way.context.answered().is_some();
        let had = under_way.context.in_use();
        let is_accepted = (200..300).contains(&status) && under_way.context.is_invite();
        let begins_call = is_accepted && side == Side::Server && !under_way.is_in_dialog();
        let is_out_of_tries = !was_answered && side == Side::Server && under_way.context.is_out_of_tries(status);
        if !under_way.context.on_response(Response { proxy, attempt, status, bytes: response }, now, effects) {
            return None;
        }
        let is_late = under_way.context.is_late((proxy, attempt), status);
        let (entry, has) = (under_way.entry, under_way.context.in_use());
        if (101..200).contains(&status) {
            // The table keeps it for as long as the context: timer C begins anew (RFC 3261 §16.7 step 2).
            let has_it = |entry: &EntryId| self.table.get(*entry).is_some_and(|it| it.target == TargetId::Proxy(proxy));
            entry.filter(has_it).into_iter().for_each(|entry| self.table.ring(entry, now));
        }
        match under_way.take_unheard(proxy) {
            Some(sent) if is_own => self.proxies.on_first_response(proxy, sent, status, now),
            Some(sent) => self.proxies.on_given_up(proxy, sent, now),
            None => {}
        }
        let life = self.proxies.get(proxy).map_or(0, |proxy| proxy.life());
        if status >= 200 && !was_answered && is_own {
            let last = Final { status, retry_after: message.retry_after(), begins_call };
            self.proxies.on_final_response(proxy, Sent { life, number: 0 }, last, now);
        }
        if (200..300).contains(&status) && !was_answered {
            // The call may stand at a proxy that had lost the request.
            self.stands_at(entry, proxy, now);
        }
        if let Some(has) = has.filter(|has| Some(*has) != had) {
            // The request has gone back.
            self.stands_at(entry, has.proxy, now);
            self.contexts.on_way(id, has.to);
            let opened = self.opened_for(has.to);
            if let Some(under_way) = self.contexts.get_mut(id) {
                under_way.opened = opened;
            }
        }
        let reason = match self.carry_out(id, effects, Some(message), now) {
            Some(reason) => reason,
            None if is_late => Reason::LateResponse,
            None if is_out_of_tries => Reason::AllTried,
            None => Reason::Branch,
        };
        let target = if effects.contains(&Effect::Forward) {
            Target::ForwardResponse(ForwardedResponse { proxy, side, to, listener, from: local.ip(), via_end })
        } else if effects.iter().any(|effect| matches!(effect, Effect::Respond(_))) {
            Target::Passed(proxy, side)
        } else {
            Target::Drop
        };
        Some(Decision { target, reason })
    }

    /// Takes note in the table that this proxy has a request under way, and no other proxy. From a worker a request is
    /// [taken back](Self::take_back).
    fn stands_at(&mut self, entry: Option<EntryId>, proxy: ProxyId, now: Time) {
        let is_at_another = |id: &EntryId| match self.table.get(*id).map(|entry| entry.target) {
            Some(TargetId::Proxy(other)) => other != proxy,
            Some(TargetId::Worker(_)) | None => false,
        };
        if let Some(entry) = entry.filter(is_at_another) {
            let life = self.proxies.get(proxy).map_or(0, |proxy| proxy.life());
            let hold = self.table.move_to(entry, (proxy.into(), life), 0, now);
            self.give_back(hold, now);
        }
    }

    /// Decides about the response to a CANCEL of our own: it has no Via but ours.
    pub(super) fn response_to_cancel(
        &mut self,
        message: &Message<'_>,
        of: (ProxyId, u8),
        now: Time,
    ) -> Option<Decision> {
        let cseq = message.cseq().filter(|cseq| cseq.method == Method::Cancel)?;
        let call = crate::transaction::name::sip::call_of(message, &self.printer);
        let id = self.contexts.invite_of(call, cseq.number)?;
        let (under_way, status) = (self.contexts.get_mut(id)?, message.status()?);
        under_way.context.on_response_to_cancel(of, status, now);
        self.contexts.arm(id);
        Some(Decision { target: Target::Drop, reason: Reason::Branch })
    }

    /// Does everything that is due for requests under way.
    pub(in crate::dispatch) fn handle_contexts(&mut self, now: Time) {
        self.handle_waiting(now);
        while let Some(id) = self.contexts.poll_due(now) {
            self.happen(id, now, |context, effects| context.handle_timeout(now, effects));
        }
    }

    /// Has something happen to a request under way, and carries out its effects.
    pub(super) fn happen(
        &mut self,
        id: ContextId,
        now: Time,
        event: impl FnOnce(&mut ResponseContext, &mut Vec<Effect>),
    ) {
        let mut scratch = self.contexts.take_scratch();
        if let Some(under_way) = self.contexts.get_mut(id) {
            event(&mut under_way.context, &mut scratch.effects);
        }
        self.carry_out(id, &mut scratch.effects, None, now);
        self.contexts.give_scratch(scratch);
    }

    /// Moves the requests that have heard nothing from a proxy, which was found down.
    pub(in crate::dispatch) fn leave_proxy(&mut self, proxy: ProxyId, now: Time) {
        for id in self.contexts.unheard_at(proxy) {
            self.happen(id, now, |context, effects| context.on_down(proxy, now, effects));
        }
    }

    /// Takes note that no datagram can be sent to an address: requests that wait for a response of a proxy there go on
    /// to another one (RFC 3261 §16.9), and those of systems to the next address of the name that they go to, or end.
    pub fn on_undeliverable(&mut self, to: SocketAddr, now: Time) {
        let there: Vec<ProxyId> = self.proxies.at(to).collect();
        for proxy in there {
            for id in self.contexts.unheard_at(proxy) {
                let sent = self.contexts.get_mut(id).and_then(|under_way| under_way.take_unheard(proxy));
                sent.into_iter().for_each(|sent| self.proxies.on_transport_error(proxy, sent, now));
                self.happen(id, now, |context, effects| context.on_unsent(proxy, now, effects));
            }
        }
        for id in self.contexts.at_address(to) {
            let Some(proxy) = self.contexts.get(id).map(|under_way| under_way.forward.proxy) else { continue };
            self.happen(id, now, |context, effects| context.on_unsent(proxy, now, effects));
        }
    }

    /// Takes note that this lane does not have a connection by which requests of an earlier dispatcher have gone to a
    /// proxy.
    pub fn on_connection_missed(&mut self, conn: ConnId, now: Time) {
        if let Some(proxy) = self.contexts.proxy_on(conn) {
            self.leave_connection(proxy, conn, now);
        }
    }

    /// Takes note that a connection to a proxy has ended. What has gone by it and has no response goes by another
    /// connection to that proxy, or else to another proxy; what has only a provisional response is over.
    pub(in crate::dispatch) fn leave_connection(&mut self, proxy: ProxyId, conn: ConnId, now: Time) {
        let other = self.proxies.connection_like(proxy, conn);
        for id in self.contexts.take_on(conn, Side::Caller) {
            let Some(under_way) = self.contexts.get_mut(id) else { continue };
            let to = other.map(|other| Candidate { proxy, attempt: 0, to: Hop::Connection(other) });
            let to = to.filter(|to| under_way.context.go_by(*to));
            match (under_way.context.is_unheard(proxy), to) {
                (true, Some(to)) => {
                    self.send_of(id, Effect::Send { to, is_copy: true }, None);
                }
                (true, None) => {
                    let sent = under_way.take_unheard(proxy);
                    sent.into_iter().for_each(|sent| self.proxies.on_transport_error(proxy, sent, now));
                    self.happen(id, now, |context, effects| context.on_unsent(proxy, now, effects));
                }
                (false, _) => self.cut(id, proxy, now),
            }
        }
    }

    /// Counts another decision about a request under way, and notes it for `explain`.
    pub(super) fn count_again(&mut self, (request, arrival): (&[u8], &Arrival), decision: &Decision, now: Time) {
        self.counters.on_returned(decision);
        self.note_again(request, arrival, decision, now);
    }

    /// Notes another decision about a request under way for `explain`.
    pub(super) fn note_again(&mut self, request: &[u8], arrival: &Arrival, decision: &Decision, now: Time) {
        let mut scanner = Scanner::new();
        if let Ok(message) = scanner.scan(request) {
            let method = message.method().map_or(crate::wire::Label::Response, Method::label);
            self.note_text(message.call_id(), About { method, fault: None, arrival }, decision, now);
        }
    }

    /// Carries effects out. Returns what has become of the question whether another proxy may have the request.
    fn carry_out(
        &mut self,
        id: ContextId,
        effects: &mut Vec<Effect>,
        in_hand: Option<&Message<'_>>,
        now: Time,
    ) -> Option<Reason> {
        let (mut at, mut asked) = (0, None);
        while let Some(effect) = effects.get(at).cloned() {
            at += 1;
            match effect {
                Effect::Ask { left, why, is_last } => {
                    asked = self.move_context(id, (left, why, is_last), effects, now);
                }
                Effect::TakeBack(proxy) => self.take_back(id, proxy, now),
                effect => {
                    if let (None, Effect::Respond(context::Answer::Own(status @ 200..))) = (in_hand, &effect) {
                        self.note_own_answer(id, *status, now);
                    }
                    self.send_of(id, effect, in_hand);
                }
            }
        }
        self.settle(id, now);
        asked
    }

    /// Counts a final response of our own to a request under way, and notes it for `explain`. That no way to its
    /// receiver was found is noted where that is seen.
    fn note_own_answer(&mut self, id: ContextId, status: u16, now: Time) {
        let Some(under_way) = self.contexts.get(id) else { return };
        let reason = match status {
            430 | 503 if under_way.is_cut => Reason::FlowFailed,
            408 => Reason::Unanswered,
            487 => Reason::Cancelled,
            500 => Reason::AllTried,
            503 => Reason::NoProxy,
            _ => return,
        };
        let (request, arrival) = (under_way.request.clone(), under_way.arrival);
        if let Some(answer) = self.own_answer(id, status) {
            self.count_again((&request, &arrival), &Decision { target: Target::Answer(answer), reason }, now);
        }
    }

    /// Sends a message of a request under way.
    fn send_of(&mut self, id: ContextId, effect: Effect, in_hand: Option<&Message<'_>>) {
        let to_proxy = |to| self.forward_of(id, to);
        let message = match effect {
            Effect::Send { to, is_copy } => {
                let forward = if is_copy { to_proxy(to) } else { self.forward_first(id, to) };
                self.contexts.on_way(id, to.to);
                if let (false, Some(forward), Some(under_way)) = (is_copy, &forward, self.contexts.get_mut(id)) {
                    under_way.set_way_out(to.attempt, forward);
                }
                forward.map(LeavingMessage::Request)
            }
            Effect::Cancel(to) => to_proxy(to).map(LeavingMessage::Cancel),
            Effect::Acknowledge(to) => to_proxy(to).map(|forward| {
                let to = in_hand.and_then(|message| message.header(Name::To)).unwrap_or_default();
                LeavingMessage::Acknowledge(forward, to.into())
            }),
            Effect::Respond(answer) | Effect::Again(answer) => match answer {
                context::Answer::Theirs(bytes) => Some(LeavingMessage::Response(bytes)),
                context::Answer::Own(status) => self.own_answer(id, status).map(LeavingMessage::Answer),
            },
            // The decision in hand passes a response on, and answers a CANCEL.
            Effect::Forward | Effect::AcceptCancel | Effect::Ask { .. } | Effect::TakeBack(_) => None,
        };
        let leaving = message.and_then(|message| Some(self.contexts.get_mut(id)?.leaving(message)));
        leaving.into_iter().for_each(|leaving| self.contexts.leave(leaving));
    }

    /// A response of our own to a request under way, the same for each copy of it. A 100 has no tag (RFC 3261
    /// §8.2.6.2).
    pub(super) fn own_answer(&self, id: ContextId, status: u16) -> Option<Answer> {
        let under_way = self.contexts.get(id)?;
        let tag = self.directory.keys().dispatcher_tag(under_way.name);
        // Others may be well: without Retry-After the caller need not stay away (RFC 3261 §21.5.4).
        let retry_after = (status == 503 && !under_way.is_cut).then_some(self.rules.retry_after);
        let mut scanner = Scanner::new();
        let has_tag = scanner.scan(&under_way.request).ok()?.to().is_some_and(|to| to.tag().is_some());
        Some(Answer { retry_after, ..Answer::new(status, Some(tag).filter(|_| status > 100 && !has_tag)) })
    }

    /// The way of a request under way to a proxy that has it, with the Via that it has gone there with, whatever the
    /// settings are by now.
    fn forward_of(&self, id: ContextId, to: Candidate) -> Option<Forward> {
        let under_way = self.contexts.get(id)?;
        let way = under_way.way_out(to);
        // Another dispatcher may have other listeners, and its connection may be gone.
        let has_listener = self.rules.listeners().any(|it| (it.0, it.1) == (way.listener, way.transport));
        let has_way = match to.to {
            Hop::Connection(conn) if under_way.forward.side == Side::Caller => {
                self.proxies.get(to.proxy).is_some_and(|proxy| proxy.connections().has(conn))
            }
            _ => true,
        };
        if !has_listener || !has_way {
            return self.forward_first(id, to);
        }
        let UnderWay { request, arrival, call, forward, .. } = under_way;
        self.forward_out((request, arrival, *call), forward, to.to, &way)
    }

    /// The way of a request under way to a proxy that does not have it.
    fn forward_first(&self, id: ContextId, Candidate { proxy, attempt, to }: Candidate) -> Option<Forward> {
        let UnderWay { request, arrival, call, forward, .. } = self.contexts.get(id)?;
        let to = match to {
            // Another connection to the proxy serves as well.
            Hop::Connection(conn) if forward.side == Side::Caller => {
                Hop::Connection(self.proxies.connection_like(proxy, conn)?)
            }
            to => to,
        };
        self.forward_anew((request, arrival, *call), forward, Candidate { proxy, attempt, to })
    }

    /// The way of a request to a proxy, or from one to this address or connection. `first`: its way to another one.
    pub(super) fn forward_anew(
        &self,
        (request, arrival, call): (&[u8], &Arrival, Fingerprint),
        first: &Forward,
        Candidate { proxy, attempt, to }: Candidate,
    ) -> Option<Forward> {
        let beside = if first.side == Side::Server { self.listener_beside(to) } else { None };
        let (listener, sent_by, transport) =
            self.way_out(arrival, (to, proxy, first.side), beside.unwrap_or(first.listener))?;
        let sent_by = (sent_by.ip(), sent_by.port());
        let way = WayOut { proxy, attempt, listener, sent_by, transport };
        self.forward_out((request, arrival, call), first, to, &way)
    }

    /// The same by this way out.
    fn forward_out(
        &self,
        (request, arrival, call): (&[u8], &Arrival, Fingerprint),
        first: &Forward,
        to: Hop,
        &WayOut { proxy, attempt, listener, sent_by, transport }: &WayOut,
    ) -> Option<Forward> {
        let mut scanner = Scanner::new();
        let message = scanner.scan(request).ok()?;
        let cseq = message.cseq().map_or(0, |cseq| cseq.number);
        let via = message.via()?;
        let came = Came { via, call, cseq };
        let way = self.branches.way(&message);
        let mut branch = self.branches.give(&came, way, (arrival.listener, self.lane), (proxy, first.side));
        if attempt > 0 {
            branch = self.branches.give_anew(&came, branch, attempt);
        }
        let flow = self.branches.flow(&branch, way_back(&via, arrival));
        let asks_overload = first.side == Side::Caller && self.asks_overload(proxy);
        let forward = Forward { proxy, to, listener, sent_by, transport, branch, flow, ..*first };
        Some(Forward { weight: 0, asks_overload, ..forward })
    }

    /// Files a request anew after something has happened to it, or forgets it.
    fn settle(&mut self, id: ContextId, now: Time) {
        if let Some(under_way) = self.contexts.get_mut(id)
            && under_way.context.answered().is_some()
            && !under_way.is_told
        {
            under_way.is_told = true;
            if let Some(entry) = under_way.entry {
                self.on_answered(entry, now);
            }
        }
        match self.contexts.forget_if_over(id, now) {
            Some(over) => {
                over.unheard.iter().for_each(|(proxy, sent)| self.proxies.on_given_up(*proxy, *sent, now));
                let is_accepted = over.context.is_settled();
                over.entry.filter(|_| is_accepted).into_iter().for_each(|entry| self.table.accepted(entry));
            }
            None => self.contexts.arm(id),
        }
    }
}
