//! A response context (RFC 3261 §16.2): one request that is forwarded with the state of its transaction.
//!
//! ```text
//!  caller                 response context                    proxies
//!    │ request ──▶ server transaction    branch to p1 ── request, timers A, E ──▶ p1
//!    │ ◀── 100     (sip_server)          (sip_client)    no response in time,
//!    │                  ▲                     │          a status to retry, no way
//!    │                  │                     ▼
//!    │                  │                Ask: may another one have it?
//!    │                  │                     │ the owner: p2
//!    │                  │                     ▼
//!    │                  │                branch to p2 ── request ───────────────▶ p2
//!    │                  │                branch to p1: abandoned;  ◀── late 1xx ─ p1
//!    │                  │                     └───────── CANCEL ────────────────▶ p1
//!    │ ◀── 101–199, 2xx ┴── from any branch, at once
//!    │ ◀── 300–699 ──────── the best, when no branch is left that could do better (§16.7 step 6)
//! ```
//!
//! Branches follow one another; there is no parallel forking. Another proxy, or another address of one receiver, gets
//! the request only as long as nothing has bound the call to the one that has it: no 101–199 has passed, the caller has
//! not cancelled, no 6xx has come. As long as that is so a worker may get it as well, which answers the caller itself:
//! then nothing is left here but the branches that the request has left.
//!
//! The owner keeps the request, finds the context of a message, writes and sends messages, and knows which other proxy
//! may have the request. It passes messages and the time in, carries out the [`Effect`]s in their order, and calls
//! again at [`ResponseContext::poll_timeout`]. "In hand" is the message that the owner has just passed in.
//!
//! It departs from the RFC in these points:
//!
//! - An abandoned branch sends no more copies: nobody wants its server to ring. It gets its CANCEL when a provisional
//!   response shows that there is something to cancel (§9.1). Its 101–199 do not pass, since the call is another's by
//!   then; its 2xx does.
//! - Two addresses of one receiver may be those of one server. It answers the later attempt with 482, as it has the
//!   request by the earlier one (§8.2.2.2): that 482 says nothing about the request, whose outcome is that of the
//!   earlier attempt. So the request goes back to that while it may still be answered, and any other refusal is better
//!   than that 482. For the same reason the attempt has the call whose response comes first.
//! - A branch without a final response is not waited for once the request has gone on to another and that one has
//!   failed: the caller hears of it at once. A 2xx that comes afterwards passes all the same (§16.7 step 5).
//! - A request that the caller has cancelled and that nobody answers ends by 487 (§9.2), where §16.7 step 6 has 408, or
//!   the refusal after which it went on.
//! - Between streams no 100 of our own leaves, and that of the server passes: as without state (§16.11).
//! - A request whose connection is gone ends by 430 (RFC 5626 §5.3.1), where §16.9 has 503.
//! - CANCEL is repeated until its INVITE has a final response, whether it is answered or not.

mod best;
mod branch;
mod going_back;
mod handed_on;
mod to_worker;

use std::sync::Arc;
use std::time::Duration;

use self::best::Final;
use self::branch::Branch;
use super::Kind;
use super::flow_token::Hop;
use super::sip_server::{self, Due};
use super::timers::LIFETIME;
use crate::few::Few;
use crate::ids::ProxyId;
use crate::pack::packed;
use crate::time::Time;

/// A request and what has become of it.
#[derive(Clone, Debug)]
pub struct ResponseContext {
    kind: Kind,
    terms: Arc<Terms>,
    server: sip_server::Transaction<Answer>,
    /// Only the last one can be in use, the others are abandoned or have failed.
    branches: Few<Branch>,
    /// A question to the owner that has not been answered.
    asked: Option<Why>,
    /// The owner looks for a way to its receiver, or to the next address of that.
    is_seeking: bool,
    /// No other proxy gets the request: a 101–199 has passed, or a 6xx has come.
    is_bound: bool,
    /// The caller has cancelled it.
    is_cancelled: bool,
    /// When the server transaction of the CANCEL ends.
    cancel_ends: Option<Time>,
    /// The final response that the caller got first.
    answered: Option<u16>,
    /// The request has had no final response for all its life, and gets none.
    is_expired: bool,
    /// It goes to a caller, who has one connection and no other way.
    leads_to_flow: bool,
    /// Nobody but the server of its dialog may have it.
    has_one_server: bool,
    /// A worker may have it after as many proxies as may.
    may_go_to_worker: bool,
    /// A worker has it, and no proxy has answered it with a 2xx since.
    is_with_worker: bool,
    /// No copies of the request come.
    is_reliable: bool,
    /// Neither side repeats anything: the server's 100 passes, and none of our own leaves.
    is_between_streams: bool,
}

packed!(ResponseContext {
    kind,
    terms,
    server,
    branches,
    is_seeking,
    is_bound,
    is_cancelled,
    cancel_ends,
    answered,
    is_expired,
    leads_to_flow,
    has_one_server,
    may_go_to_worker,
    is_with_worker,
    is_reliable,
    is_between_streams,
} else { asked });

/// Terms on which requests of a pool are forwarded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Terms {
    /// Time without any response after which another proxy may get the request.
    pub answer_within: Duration,
    /// Statuses after which another proxy may get the request.
    pub retry_on: Vec<u16>,
    /// Most proxies that get the request.
    pub tries: u8,
    /// Time after a 101–199 without a final response (timer C, RFC 3261 §16.8).
    pub pending_max: Duration,
}

packed!(Terms { answer_within, retry_on, tries, pending_max });

/// A proxy that may have the request, and the way to it; for a request of a proxy, the way to its caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// The proxy.
    pub proxy: ProxyId,
    /// The number of the attempt at the receiver, 0 where there is one only: each has a branch of its own.
    pub attempt: u8,
    /// The way: CANCEL goes there as well, wherever the name of the proxy leads by then.
    pub to: Hop,
}

packed!(Candidate { proxy, attempt, to });

/// The circumstances in which a context begins.
#[derive(Clone, Debug)]
pub struct Opening {
    /// The kind of request.
    pub kind: Kind,
    /// The terms of its pool.
    pub terms: Arc<Terms>,
    /// The first proxy that has it; `None`: the way to its receiver is still looked up.
    pub first: Option<Candidate>,
    /// Whether the caller's transport repeats lost messages by itself.
    pub is_reliable: bool,
    /// Whether the caller's address may be forged.
    pub may_be_forged: bool,
    /// Whether it goes to a caller, whose connection is the only way (RFC 5626).
    pub leads_to_flow: bool,
    /// Whether nobody but the server of its dialog may have it.
    pub has_one_server: bool,
    /// Whether a worker may have it after as many proxies as may.
    pub may_go_to_worker: bool,
}

/// A response to the caller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// One of our own with this status, to be written from the request. 503 stands for Retry-After as well.
    Own(u16),
    /// The response of a proxy, without our Via.
    Theirs(Arc<[u8]>),
}

packed!(Answer as Own(status) = 0, Theirs(bytes) = 1);

/// The reason why a request leaves its proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// No response has come in time.
    Silent,
    /// No response has come at all (timers B and F).
    TimedOut,
    /// A status that is to be retried.
    Status(u16),
    /// It could not be sent.
    Unsent,
    /// Its proxy was found down before any response has come.
    Down,
}

impl Why {
    /// Whether the proxy may still answer: then the request stays where no other one may have it.
    const fn is_open(self) -> bool {
        matches!(self, Why::Silent | Why::Down)
    }
}

/// The owner's answer to [`Effect::Ask`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// This proxy, which has not had the request yet.
    This(Candidate),
    /// The same receiver by another of its addresses, which is another attempt (RFC 3263 §4.3): the owner looks for the
    /// way, and calls [`ResponseContext::on_looked_up`].
    Sought,
    /// A worker, which has it by now. It answers the caller itself.
    Worker,
    /// None that would be better.
    None,
    /// None, and any other request would find none either: a 503 may say so (RFC 3261 §16.7 step 6).
    Nowhere,
}

/// Something for the owner to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Send the request to this proxy, with the branch for it.
    Send {
        /// The proxy.
        to: Candidate,
        /// Whether it has had a copy already.
        is_copy: bool,
    },
    /// Decide whether another proxy may have the request, and call [`ResponseContext::on_next`].
    Ask {
        /// The proxy that has it.
        left: ProxyId,
        /// The reason.
        why: Why,
        /// Whether as many proxies as may have had it: none but a worker may have it.
        is_last: bool,
    },
    /// Send the CANCEL of the branch to this proxy.
    Cancel(Candidate),
    /// Acknowledge the 300–699 in hand to this proxy.
    Acknowledge(Candidate),
    /// Send a response to the caller.
    Respond(Answer),
    /// Send a response to the caller again.
    Again(Answer),
    /// Send the response in hand on to the caller. Nothing of it is kept.
    Forward,
    /// Answer the CANCEL in hand with 200.
    AcceptCancel,
    /// Take the request from the worker, if that has not answered it: this proxy has, with a 2xx.
    TakeBack(ProxyId),
}

/// A response in hand.
#[derive(Clone, Copy, Debug)]
pub struct Response<'a> {
    /// The proxy whose branch it has.
    pub proxy: ProxyId,
    /// The number of the attempt.
    pub attempt: u8,
    /// Its status.
    pub status: u16,
    /// Its bytes without our Via, where [`ResponseContext::keeps`] them.
    pub bytes: &'a [u8],
}

impl ResponseContext {
    /// The context of a request that is no copy of another.
    pub fn begin(opening: Opening, now: Time, out: &mut Vec<Effect>) -> Self {
        let Opening { kind, terms, first, is_reliable, may_be_forged, .. } = opening;
        let Opening { leads_to_flow, has_one_server, may_go_to_worker, .. } = opening;
        let is_stream = first.is_some_and(|first| matches!(first.to, Hop::Connection(_)));
        let is_between_streams = is_reliable && is_stream;
        // An ACK is known by its transaction alone, so that the CSeq number does not matter.
        let server = sip_server::Opening { kind, cseq: 0, request: None, is_reliable, may_be_forged };
        let mut context = ResponseContext {
            kind,
            terms,
            server: sip_server::Transaction::open_for_proxy(server, now),
            branches: Few::None,
            asked: None,
            is_seeking: first.is_none(),
            is_bound: false,
            is_cancelled: false,
            cancel_ends: None,
            answered: None,
            is_expired: false,
            leads_to_flow,
            has_one_server,
            may_go_to_worker,
            is_with_worker: false,
            is_reliable,
            is_between_streams,
        };
        first.into_iter().for_each(|first| context.branch_to(first, now, out));
        context
    }

    /// The terms on which it has begun.
    pub fn terms(&self) -> &Terms {
        &self.terms
    }

    /// Whether the request is an INVITE.
    pub fn is_invite(&self) -> bool {
        self.kind == Kind::Invite
    }

    /// Whether it goes to a caller, whose connection is the only way.
    pub const fn leads_to_flow(&self) -> bool {
        self.leads_to_flow
    }

    /// A copy of the request has come.
    pub fn on_copy(&mut self, out: &mut Vec<Effect>) {
        out.extend(self.server.on_copy().cloned().map(Effect::Again));
    }

    /// An ACK has come in the request's transaction. Returns whether it is for a response of this context, and so goes
    /// no further.
    pub fn on_ack(&mut self, now: Time) -> bool {
        self.server.on_ack(now);
        // The ACK to a 2xx is a transaction of its own, between caller and server.
        self.answered.is_some_and(|status| status >= 300)
    }

    /// The caller's CANCEL, or a copy of it, has come.
    pub fn on_cancel(&mut self, now: Time, out: &mut Vec<Effect>) {
        // A transaction of its own: each copy gets the same 200 for 64·T1 (§9.2, §17.2.2).
        out.push(Effect::AcceptCancel);
        if self.is_cancelled || self.kind == Kind::Other {
            return;
        }
        (self.is_cancelled, self.cancel_ends) = (true, Some(now + LIFETIME));
        self.cancel_all_but(None, now, out);
        if self.server.is_proceeding() && !self.branches.last().is_some_and(Branch::is_pending) {
            // It has not gone anywhere yet, or not to where it is to go next.
            self.respond(487, Answer::Own(487), now, out);
        }
    }

    /// Whether its owner looks for a way.
    pub const fn is_seeking(&self) -> bool {
        self.is_seeking
    }

    /// Whether it has gone anywhere.
    pub fn has_left(&self) -> bool {
        !self.branches.is_empty()
    }

    /// Whether it goes the way that its owner looks for, once that is found.
    pub fn wants_way(&self) -> bool {
        let is_free = |last: &Branch| self.may_move() && (last.is_unheard() || !last.is_pending());
        let is_open = self.server.is_proceeding() && !self.is_expired;
        self.is_seeking && is_open && self.branches.last().is_none_or(is_free)
    }

    /// The way to its receiver, or to the next address of that, has been looked for. The request goes there where it
    /// [wants](Self::wants_way) to. Where there is none, it is answered with this status, or as its last attempt ended.
    pub fn on_looked_up(&mut self, to: Result<(ProxyId, Hop), u16>, now: Time, out: &mut Vec<Effect>) {
        let wants_way = self.wants_way();
        if !std::mem::replace(&mut self.is_seeking, false) || self.is_expired {
            return;
        }
        let is_pending = self.branches.last().map(Branch::is_pending);
        match (to, is_pending) {
            (Ok((proxy, to)), _) if wants_way => {
                self.branches.last_mut().into_iter().for_each(Branch::abandon);
                let last = self.branches.iter().map(|branch| branch.to().attempt).max();
                let attempt = last.map_or(0, |last| last + 1);
                self.branch_to(Candidate { proxy, attempt, to }, now, out);
            }
            (Err(status), None) if wants_way => self.respond(status, Answer::Own(status), now, out),
            // It has responded meanwhile, or may do so yet.
            (_, Some(true)) => {}
            _ => self.decide(false, now, out),
        }
    }

    /// A response with the branch of a proxy has come. Returns whether the proxy has one here.
    pub fn on_response(&mut self, response: Response<'_>, now: Time, out: &mut Vec<Effect>) -> bool {
        let Some(index) = self.branch_of(response.proxy, response.attempt) else { return false };
        if self.kind == Kind::Other && response.status >= 200 && !self.server.is_proceeding() {
            // Its copies have to find the request as well.
            return true;
        }
        match response.status {
            ..200 => self.on_provisional(index, response, now, out),
            200..300 => self.on_success(index, response, now, out),
            _ => self.on_refusal(index, response, now, out),
        }
        true
    }

    /// A response to our CANCEL of the branch to this proxy has come.
    pub fn on_response_to_cancel(&mut self, (proxy, attempt): (ProxyId, u8), status: u16, now: Time) {
        let branch = self.branch_of(proxy, attempt).and_then(|index| self.branches.get_mut(index));
        branch.into_iter().for_each(|branch| branch.on_response_to_cancel(status, now));
    }

    /// The request could not be sent to this proxy: as if it had answered 503 (RFC 3261 §16.9).
    pub fn on_unsent(&mut self, proxy: ProxyId, now: Time, out: &mut Vec<Effect>) {
        let Some(index) = self.latest_at(proxy) else { return };
        if self.branches.get_mut(index).is_some_and(|branch| branch.on_unsent(now)) && self.is_in_use(index) {
            self.leave(Why::Unsent, now, out);
        }
    }

    /// The proxy was found down: a request that has heard nothing from it may leave at once.
    pub fn on_down(&mut self, proxy: ProxyId, now: Time, out: &mut Vec<Effect>) {
        let Some(index) = self.latest_at(proxy) else { return };
        let is_unheard = self.branches.get(index).is_some_and(Branch::is_unheard);
        if is_unheard && self.is_in_use(index) && self.is_free() {
            self.leave(Why::Down, now, out);
        }
    }

    /// The connection to this proxy is gone, and it has answered with a provisional response at most: nothing more
    /// comes of it. That is told by a 503, and not by the 500 of a server that has answered.
    pub fn on_cut(&mut self, proxy: ProxyId, now: Time, out: &mut Vec<Effect>) {
        let Some(index) = self.latest_at(proxy) else { return };
        if self.branches.get_mut(index).is_some_and(|branch| branch.on_cut(now)) && self.is_in_use(index) {
            self.decide(true, now, out);
        }
    }

    /// Has the branch to this proxy, which has not responded, go by another connection from now on. Returns whether it
    /// may: that the request leaves again is of use only once, and while its outcome is waited for.
    pub fn go_by(&mut self, to: Candidate) -> bool {
        let Some(index) = self.latest_at(to.proxy) else { return false };
        let may = self.is_in_use(index) && !self.is_cancelled;
        self.branches.get_mut(index).is_some_and(|branch| may && branch.go_by(to.to))
    }

    /// Whether this proxy has the request and has not responded at all.
    pub fn is_unheard(&self, proxy: ProxyId) -> bool {
        self.latest_at(proxy).and_then(|index| self.branches.get(index)).is_some_and(Branch::is_unheard)
    }

    /// Whether a final response is awaited on this way.
    pub fn waits_on(&self, way: Hop) -> bool {
        self.branches.iter().any(|branch| branch.to().to == way && branch.is_pending())
    }

    /// Whether the request may go another way to this proxy, or to the caller of its dialog: no response has come, and
    /// one is wanted.
    pub fn may_go_around(&self, proxy: ProxyId) -> bool {
        self.server.is_proceeding() && !self.is_expired && !self.is_cancelled && self.is_unheard(proxy)
    }

    /// The request has gone by a connection that is gone, and its receiver may be reached by this way. It goes there as
    /// if it had gone nowhere, where it may. Returns whether it goes.
    pub fn go_around(&mut self, to: Candidate, now: Time, out: &mut Vec<Effect>) -> bool {
        if !self.may_go_around(to.proxy) {
            return false;
        }
        self.is_between_streams = false;
        self.branch_anew(to, now, out);
        true
    }

    /// The owner's answer to [`Effect::Ask`].
    pub fn on_next(&mut self, next: Next, now: Time, out: &mut Vec<Effect>) {
        let Some(why) = self.asked.take() else { return };
        match next {
            Next::Sought => self.is_seeking = true,
            Next::Worker => self.go_to_worker(),
            Next::This(candidate) if self.branches.iter().all(|branch| branch.to().proxy != candidate.proxy) => {
                self.branches.last_mut().into_iter().for_each(Branch::abandon);
                self.branch_to(candidate, now, out);
            }
            // What has the request may still answer.
            Next::This(_) | Next::None | Next::Nowhere if why.is_open() => {}
            Next::This(_) | Next::None => self.decide(false, now, out),
            Next::Nowhere => self.decide(true, now, out),
        }
    }

    /// Time has passed.
    pub fn handle_timeout(&mut self, now: Time, out: &mut Vec<Effect>) {
        if self.asked.is_some() {
            // A question that an owner forgets must not keep the request for ever.
            self.on_next(Next::None, now, out);
        }
        self.cancel_ends = self.cancel_ends.filter(|end| *end > now);
        match self.server.handle_timeout(now) {
            Due::Nothing | Due::Unheard | Due::Unacknowledged { .. } | Due::Over => {}
            Due::Send(answer) => out.push(Effect::Again(answer)),
            Due::Trying if self.is_between_streams => {}
            Due::Trying => self.respond(100, Answer::Own(100), now, out),
            // RFC 4320 §4.2: no 408. A response that still comes has nobody who waits for it.
            Due::Undecided => self.expire(),
        }
        for index in 0..self.branches.len() {
            self.on_branch_timeout(index, now, out);
        }
    }

    /// When [`ResponseContext::handle_timeout`] is to be called next.
    pub fn poll_timeout(&self) -> Time {
        if self.asked.is_some() {
            return Time(0);
        }
        let server =
            if self.server.is_terminated() || self.is_expired { Time::NEVER } else { self.server.poll_timeout() };
        let own = server.min(self.cancel_ends.unwrap_or(Time::NEVER));
        self.branches.iter().map(Branch::poll_timeout).fold(own, Time::min)
    }

    /// Whether no message of it is awaited any more: it is to be forgotten.
    pub fn is_over(&self, now: Time) -> bool {
        (self.server.is_terminated() || self.is_expired)
            && self.cancel_ends.is_none_or(|end| end <= now)
            && self.branches.iter().all(Branch::is_over)
    }

    /// Whether the context adds nothing to forwarding each message as it comes: the caller has a 2xx and has cancelled
    /// nothing, and no branch but those with a 2xx can still answer. It may be forgotten before its time.
    pub fn is_settled(&self) -> bool {
        self.answered.is_some_and(|status| status < 300)
            && self.kind == Kind::Invite
            && self.cancel_ends.is_none()
            && self.branches.iter().all(|branch| branch.is_accepted() || branch.is_over())
    }

    /// Whether the bytes of a response with this status may be kept: for copies of the request, or until it is known
    /// whether it is the best.
    pub const fn keeps(&self, status: u16) -> bool {
        match (status, self.kind) {
            (300.., _) => true,
            (200.., Kind::Invite) => false,
            _ => !self.is_reliable,
        }
    }

    /// The final response that the caller got first.
    pub const fn answered(&self) -> Option<u16> {
        self.answered
    }

    /// The branch whose outcome the caller waits for, if there is one.
    pub fn in_use(&self) -> Option<Candidate> {
        self.branches.last().map(Branch::to)
    }

    /// Whether a response of this proxy comes too late to be the one that the caller waits for: the request has gone on
    /// to another proxy, or it is a 2xx after a refusal.
    pub fn is_late(&self, (proxy, attempt): (ProxyId, u8), status: u16) -> bool {
        let branch = self.branch_of(proxy, attempt).and_then(|index| self.branches.get(index));
        branch.is_some_and(Branch::is_abandoned)
            || self.answered.is_some_and(|answered| answered >= 300) && (200..300).contains(&status)
    }

    /// Whether a status asks for another proxy, and as many as may have the request have had it.
    pub fn is_out_of_tries(&self, status: u16) -> bool {
        self.branches.len() >= usize::from(self.terms.tries) && self.terms.retry_on.contains(&status)
    }

    /// The attempts at delivering the request, in their order.
    pub fn attempts(&self) -> impl Iterator<Item = Candidate> {
        self.branches.iter().map(Branch::to)
    }

    /// The proxies that have had the request, in their order.
    pub fn tried(&self) -> impl Iterator<Item = ProxyId> {
        self.attempts().map(|attempt| attempt.proxy)
    }

    fn branch_of(&self, proxy: ProxyId, attempt: u8) -> Option<usize> {
        self.branches.iter().position(|branch| (branch.to().proxy, branch.to().attempt) == (proxy, attempt))
    }

    /// The branch of the last attempt at this proxy.
    fn latest_at(&self, proxy: ProxyId) -> Option<usize> {
        self.branches.iter().rposition(|branch| branch.to().proxy == proxy)
    }

    /// Whether this is the branch whose outcome the caller waits for.
    fn is_in_use(&self, index: usize) -> bool {
        index + 1 == self.branches.len() && self.server.is_proceeding()
    }

    /// Whether nothing has bound it to the branch that is in use.
    fn is_free(&self) -> bool {
        !self.is_bound && !self.is_cancelled && self.server.is_proceeding() && !self.is_expired
    }

    fn may_move(&self) -> bool {
        self.is_free() && self.branches.len() < usize::from(self.terms.tries)
    }

    fn branch_to(&mut self, candidate: Candidate, now: Time, out: &mut Vec<Effect>) {
        self.branches.push(Branch::begin(self.kind, candidate, &self.terms, now));
        out.push(Effect::Send { to: candidate, is_copy: false });
    }

    /// The same in place of a branch that has not responded. It has the same name: where both addresses are those of
    /// one server, that one sees a copy.
    fn branch_anew(&mut self, candidate: Candidate, now: Time, out: &mut Vec<Effect>) {
        let index = self.latest_at(candidate.proxy);
        let attempt = index.and_then(|index| self.branches.get(index)).map_or(0, |last| last.to().attempt);
        self.branches.take(|branch| (branch.to().proxy, branch.to().attempt) == (candidate.proxy, attempt));
        self.branch_to(Candidate { attempt, ..candidate }, now, out);
    }

    /// The request may leave the proxy that has it.
    fn leave(&mut self, why: Why, now: Time, out: &mut Vec<Effect>) {
        let Some(left) = self.branches.last().map(|branch| branch.to().proxy) else { return };
        if self.is_seeking {
            // The next one is looked for.
        } else if self.may_move() || self.may_go_to_worker && self.is_free() {
            self.asked = Some(why);
            out.push(Effect::Ask { left, why, is_last: !self.may_move() });
        } else if !why.is_open() {
            // The next request of the dialog would not reach its server either.
            self.decide(why == Why::Unsent && self.has_one_server, now, out);
        }
    }

    fn on_provisional(&mut self, mut index: usize, response: Response<'_>, now: Time, out: &mut Vec<Effect>) {
        if self.has_call_again(index, response.status) {
            self.go_back(index, now, out);
            index = self.branches.len() - 1;
        }
        let Some(branch) = self.branches.get_mut(index) else { return };
        if !branch.on_provisional(response.status, self.terms.pending_max, now, out) {
            return;
        }
        let passes = response.status > 100 || self.is_between_streams;
        if passes && self.kind == Kind::Invite && !branch.is_abandoned() && self.server.is_proceeding() {
            self.is_bound |= response.status > 100;
            self.pass(response, now, out);
        }
    }

    fn on_success(&mut self, index: usize, response: Response<'_>, now: Time, out: &mut Vec<Effect>) {
        let Some(branch) = self.branches.get_mut(index) else { return };
        branch.on_success(response.status, now);
        if self.kind == Kind::Other {
            // RFC 4320 §4.2: exactly one, and none that is late.
            if self.server.is_proceeding() && !self.is_expired {
                self.pass(response, now, out);
                self.branches.iter_mut().for_each(Branch::wait_for_no_response);
            }
            return;
        }
        // RFC 6026 §7.1, RFC 3261 §16.7 step 5: each 2xx passes, its copies too, whatever has been sent before.
        out.push(Effect::Forward);
        if self.server.is_proceeding() {
            self.server.pass(response.status, None, now);
            self.answered = Some(response.status);
            self.cancel_all_but(Some(index), now, out);
        }
        self.take_back(index, response.status, now, out);
    }

    fn on_refusal(&mut self, index: usize, response: Response<'_>, now: Time, out: &mut Vec<Effect>) {
        let Some(branch) = self.branches.get_mut(index) else { return };
        let is_new = branch.on_refusal(response.status, now, out);
        if !is_new || !self.server.is_proceeding() || self.is_expired {
            return;
        }
        let other = if response.status == 482 { self.other_attempt(index) } else { None };
        let Some(branch) = self.branches.get_mut(index) else { return };
        branch.keep(Final { status: response.status, bytes: response.bytes.into(), is_merged: other.is_some() });
        if let Some(other) = other {
            if self.is_in_use(index) {
                self.go_back(other, now, out);
            }
            return;
        }
        if response.status >= 600 {
            // RFC 3261 §16.7 step 5: no new branch, and the others are cancelled.
            self.is_bound = true;
            self.cancel_all_but(Some(index), now, out);
        }
        match self.is_in_use(index) {
            true if self.terms.retry_on.contains(&response.status) => {
                self.leave(Why::Status(response.status), now, out)
            }
            true => self.decide(false, now, out),
            false => {}
        }
    }

    fn on_branch_timeout(&mut self, index: usize, now: Time, out: &mut Vec<Effect>) {
        let Some(branch) = self.branches.get_mut(index) else { return };
        let is_timed_out = branch.handle_timeout(now, out);
        let is_silent = branch.is_silent(self.terms.answer_within, now);
        if !self.is_in_use(index) {
            return;
        }
        if is_timed_out {
            self.leave(Why::TimedOut, now, out);
        } else if is_silent {
            self.leave(Why::Silent, now, out);
        }
    }

    /// Sends the best final response (RFC 3261 §16.7 step 6). `nowhere`: no other request would find a proxy either.
    fn decide(&mut self, nowhere: bool, now: Time, out: &mut Vec<Effect>) {
        if !self.server.is_proceeding() || self.is_expired {
            return;
        }
        let last = self.branches.last();
        let without = match last {
            // RFC 5626 §5.3.1.
            Some(last) if self.leads_to_flow && last.has_lost_flow() => 430,
            _ if self.branches.iter().any(Branch::is_timed_out) => 408,
            _ => 503,
        };
        let (status, answer) = if self.is_cancelled && last.and_then(Branch::refusal).is_none() {
            (487, Answer::Own(487))
        } else {
            best::choose(self.branches.iter().filter_map(Branch::refusal), without, nowhere)
        };
        if self.kind == Kind::Other && status == 408 {
            // RFC 4320 §4.2: the caller knows as much as a 408 would say.
            return self.expire();
        }
        self.respond(status, answer, now, out);
        self.cancel_all_but(None, now, out);
    }

    fn respond(&mut self, status: u16, answer: Answer, now: Time, out: &mut Vec<Effect>) {
        if status >= 200 {
            self.answered = self.answered.or(Some(status));
        }
        if self.server.respond(status, answer.clone(), now) {
            out.push(Effect::Respond(answer));
        }
    }

    /// Lets a provisional response, or a 2xx to a request other than INVITE, pass.
    fn pass(&mut self, response: Response<'_>, now: Time, out: &mut Vec<Effect>) {
        let Response { status, bytes, .. } = response;
        if !self.keeps(status) {
            self.answered = self.answered.or((status >= 200).then_some(status));
            self.server.pass(status, None, now);
            out.push(Effect::Forward);
        } else {
            self.respond(status, Answer::Theirs(bytes.into()), now, out);
        }
    }

    fn expire(&mut self) {
        self.is_expired = true;
        self.branches.iter_mut().for_each(Branch::give_up);
    }

    fn cancel_all_but(&mut self, spared: Option<usize>, now: Time, out: &mut Vec<Effect>) {
        let others = self.branches.iter_mut().enumerate().filter(|(index, _)| Some(*index) != spared);
        others.for_each(|(_, branch)| branch.cancel(now, out));
    }
}

#[cfg(test)]
mod tests;
