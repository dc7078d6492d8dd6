//! A branch: the request at one proxy, and its CANCEL.

use std::time::Duration;

use super::best::Final;
use super::{Candidate, Effect, Terms};
use crate::pack::packed;
use crate::time::Time;
use crate::transaction::Kind;
use crate::transaction::flow_token::Hop;
use crate::transaction::sip_client::{Due, Opening, Outcome, Transaction};
use crate::transaction::timers::LIFETIME;

/// A branch. The messages are the owner's, so that the transactions hold none.
#[derive(Clone, Debug)]
pub(super) struct Branch {
    kind: Kind,
    to: Candidate,
    request: Transaction<(), ()>,
    cancel: Cancel,
    outcome: Outcomes,
    /// Another proxy has the request by now.
    is_abandoned: bool,
    /// It has gone by another connection after the first one ended.
    has_gone_anew: bool,
    /// When it has been silent for too long; never, once a response has come.
    answer_by: Time,
    /// Timer C (RFC 3261 §16.8).
    give_up_at: Time,
    /// When the request is over without a final response, after a provisional one has come.
    end: Time,
}

packed!(Branch { kind, to, request, cancel, outcome, is_abandoned, has_gone_anew, answer_by, give_up_at, end });

/// The CANCEL of a branch.
#[derive(Clone, Debug)]
enum Cancel {
    /// None is wanted, or none any more.
    No,
    /// It leaves with the first provisional response (RFC 3261 §9.1).
    Wanted,
    Sent(Transaction<(), ()>),
}

packed!(Cancel as No = 0, Wanted = 1, Sent(cancel) = 2);

/// The outcome of a branch.
#[derive(Clone, Debug)]
enum Outcomes {
    Pending,
    /// A 2xx.
    Accepted,
    /// A 300–699 that may be the best.
    Refused(Final),
    /// A 300–699 that does not matter.
    Dropped,
    TimedOut,
    Unsent,
}

packed!(Outcomes as Pending = 0, Accepted = 1, Refused(refusal) = 2, Dropped = 3, TimedOut = 4, Unsent = 5);

impl Branch {
    pub(super) fn begin(kind: Kind, to: Candidate, terms: &Terms, now: Time) -> Self {
        Branch {
            kind,
            to,
            request: begin(kind, to, now),
            cancel: Cancel::No,
            outcome: Outcomes::Pending,
            is_abandoned: false,
            has_gone_anew: false,
            answer_by: now + terms.answer_within,
            give_up_at: if kind == Kind::Invite { now + terms.pending_max } else { Time::NEVER },
            end: Time::NEVER,
        }
    }

    /// Whether it has no outcome yet, and a response may still bring one.
    pub(super) fn is_awaited(&self) -> bool {
        self.is_pending() && self.request.is_waiting()
    }

    /// Whether it is over by this time, or its CANCEL has left by then, whatever comes.
    pub(super) fn ends_by(&self, limit: Time) -> bool {
        // An INVITE has another end once it rings, if any, and timer C.
        let rings = self.kind == Kind::Invite && self.is_awaited();
        let later = if rings { self.request.end().max(self.end) } else { self.request.end() };
        self.is_over() || later.min(if rings { self.give_up_at } else { Time::NEVER }) <= limit
    }

    /// A provisional response has come. Returns whether it is one that still says something.
    pub(super) fn on_provisional(
        &mut self,
        status: u16,
        pending_max: Duration,
        now: Time,
        out: &mut Vec<Effect>,
    ) -> bool {
        self.answer_by = Time::NEVER;
        if self.request.on_response(status, now) != Outcome::Provisional {
            return false;
        }
        if self.kind == Kind::Invite {
            self.request.end_at(self.end);
            if status > 100 {
                self.give_up_at = now + pending_max;
            }
        }
        if matches!(self.cancel, Cancel::Wanted) {
            self.send_cancel(now, out);
        }
        true
    }

    /// A 2xx has come.
    pub(super) fn on_success(&mut self, status: u16, now: Time) {
        self.take_final(status, now);
        self.outcome = Outcomes::Accepted;
    }

    /// A 300–699 has come; that of an INVITE is acknowledged. Returns whether it is the first and matters.
    pub(super) fn on_refusal(&mut self, status: u16, now: Time, out: &mut Vec<Effect>) -> bool {
        if self.is_accepted() {
            // RFC 6026 §7.2: after a 2xx nothing but a 2xx counts.
            return false;
        }
        let is_unwanted = self.is_abandoned && matches!(self.cancel, Cancel::Sent(_));
        let is_first = self.take_final(status, now) && matches!(self.outcome, Outcomes::Pending);
        if self.kind == Kind::Invite {
            out.push(Effect::Acknowledge(self.to));
        }
        if is_first {
            self.outcome = Outcomes::Dropped;
        }
        is_first && !is_unwanted
    }

    /// The refusal that has just come may be the best.
    pub(super) fn keep(&mut self, refusal: Final) {
        self.outcome = Outcomes::Refused(refusal);
    }

    /// Takes a final response. Returns whether it is the first of a request that waited for one.
    fn take_final(&mut self, status: u16, now: Time) -> bool {
        (self.answer_by, self.give_up_at) = (Time::NEVER, Time::NEVER);
        self.cancel = Cancel::No;
        let is_first = self.request.on_response(status, now) == Outcome::Final;
        if is_first && self.kind == Kind::Invite {
            // The ACK is the owner's matter; copies of the response are awaited from here on.
            self.request.acknowledge((), now);
        }
        is_first
    }

    pub(super) fn on_response_to_cancel(&mut self, status: u16, now: Time) {
        if let Cancel::Sent(cancel) = &mut self.cancel {
            // Whatever it says, the INVITE's own response tells the outcome.
            let _ = cancel.on_response(status, now);
        }
    }

    /// The request could not be sent. Returns whether it is over by that: one that was answered has arrived.
    pub(super) fn on_unsent(&mut self, now: Time) -> bool {
        let is_over = self.is_unheard();
        if is_over {
            self.lose(now);
        }
        is_over
    }

    /// The connection is gone that its responses were to come by. Returns whether it is over by that.
    pub(super) fn on_cut(&mut self, now: Time) -> bool {
        let is_over = self.is_pending();
        if is_over {
            self.lose(now);
        }
        is_over
    }

    /// It counts as failed from now on.
    fn lose(&mut self, now: Time) {
        self.outcome = Outcomes::Unsent;
        self.cancel = Cancel::No;
        self.end = now + LIFETIME;
        self.request.end_at(self.end);
        self.wait_for_no_response();
    }

    /// The caller has another response, or gets one now. One that comes after all must find its request, or it would
    /// pass as well.
    pub(super) fn wait_for_no_response(&mut self) {
        (self.answer_by, self.give_up_at) = (Time::NEVER, Time::NEVER);
        self.request.stop_sending();
    }

    /// Whether it has no outcome yet.
    pub(super) const fn is_pending(&self) -> bool {
        matches!(self.outcome, Outcomes::Pending)
    }

    /// Whether it waits, and no response has come.
    pub(super) fn is_unheard(&self) -> bool {
        self.request.is_trying() && matches!(self.outcome, Outcomes::Pending)
    }

    /// Another proxy gets the request.
    pub(super) fn abandon(&mut self) {
        self.is_abandoned = true;
        self.answer_by = Time::NEVER;
        if matches!(self.outcome, Outcomes::Pending) {
            // It is asked about before any response has come, so that there is nothing to cancel yet.
            self.request.stop_sending();
            if self.kind == Kind::Invite {
                self.cancel = Cancel::Wanted;
            }
        }
    }

    /// Whether another proxy has got the request, and this one may still have it back: it has no outcome and no CANCEL.
    pub(super) const fn is_left(&self) -> bool {
        self.is_abandoned && self.is_pending() && !matches!(self.cancel, Cancel::Sent(_))
    }

    /// It has the request again. No more copies leave: its server has it.
    pub(super) fn resume(&mut self) {
        (self.is_abandoned, self.cancel) = (false, Cancel::No);
    }

    /// The outcome is not wanted any more. Nothing but an INVITE can be cancelled (RFC 3261 §9.1).
    pub(super) fn cancel(&mut self, now: Time, out: &mut Vec<Effect>) {
        self.answer_by = Time::NEVER;
        let is_sent = matches!(self.cancel, Cancel::Sent(_));
        if !self.is_pending() || is_sent || self.kind != Kind::Invite {
            return;
        }
        if self.request.is_trying() {
            self.cancel = Cancel::Wanted;
        } else {
            self.send_cancel(now, out);
        }
    }

    fn send_cancel(&mut self, now: Time, out: &mut Vec<Effect>) {
        self.cancel = Cancel::Sent(begin(Kind::Other, self.to, now));
        self.give_up_at = Time::NEVER;
        // RFC 3261 §9.1: a request that has no final response 64·T1 after its CANCEL is over.
        self.end = now + LIFETIME;
        self.request.end_at(self.end);
        out.push(Effect::Cancel(self.to));
    }

    /// Nothing is awaited any more.
    pub(super) fn give_up(&mut self) {
        self.request.fail();
        self.cancel = Cancel::No;
        (self.answer_by, self.give_up_at) = (Time::NEVER, Time::NEVER);
    }

    /// Time has passed. Returns whether the request is over by that without a final response.
    pub(super) fn handle_timeout(&mut self, now: Time, out: &mut Vec<Effect>) -> bool {
        if let Cancel::Sent(cancel) = &mut self.cancel
            && !cancel.is_terminated()
            && matches!(cancel.handle_timeout(now), Due::Send(_))
        {
            out.push(Effect::Cancel(self.to));
        }
        if self.request.is_terminated() {
            return false;
        }
        if self.give_up_at <= now {
            self.give_up_at = Time::NEVER;
            if self.request.is_trying() {
                // RFC 3261 §16.8: as if a 408 had come.
                self.request.end_at(now);
            } else {
                self.cancel(now, out);
            }
        }
        match self.request.handle_timeout(now) {
            Due::Send(_) => out.push(Effect::Send { to: self.to, is_copy: true }),
            Due::TimedOut => {
                self.outcome = Outcomes::TimedOut;
                self.give_up();
                return true;
            }
            Due::Nothing | Due::Over => {}
        }
        false
    }

    /// Whether it has been silent for too long by now. It is asked about again as long as it stays so.
    pub(super) fn is_silent(&mut self, answer_within: Duration, now: Time) -> bool {
        let is_silent = self.answer_by <= now;
        if is_silent {
            self.answer_by = now + answer_within;
        }
        is_silent
    }

    pub(super) fn poll_timeout(&self) -> Time {
        let request = if self.request.is_terminated() { Time::NEVER } else { self.request.poll_timeout() };
        let cancel = match &self.cancel {
            Cancel::Sent(cancel) if !cancel.is_terminated() => cancel.poll_timeout(),
            _ => Time::NEVER,
        };
        let own = if self.is_over() { Time::NEVER } else { self.answer_by.min(self.give_up_at) };
        request.min(cancel).min(own)
    }

    /// Goes by another connection, if it has not done so before. Returns whether it does.
    pub(super) fn go_by(&mut self, to: Hop) -> bool {
        let may = self.is_unheard() && !std::mem::replace(&mut self.has_gone_anew, true);
        if may {
            self.to.to = to;
        }
        may
    }

    pub(super) const fn to(&self) -> Candidate {
        self.to
    }

    pub(super) const fn is_abandoned(&self) -> bool {
        self.is_abandoned
    }

    pub(super) const fn is_accepted(&self) -> bool {
        matches!(self.outcome, Outcomes::Accepted)
    }

    pub(super) const fn is_timed_out(&self) -> bool {
        matches!(self.outcome, Outcomes::TimedOut)
    }

    /// Whether the connection that it was to leave on is gone.
    pub(super) const fn has_lost_flow(&self) -> bool {
        matches!((&self.outcome, self.to.to), (Outcomes::Unsent, Hop::Connection(_)))
    }

    pub(super) const fn refusal(&self) -> Option<&Final> {
        match &self.outcome {
            Outcomes::Refused(refusal) => Some(refusal),
            _ => None,
        }
    }

    pub(super) fn is_over(&self) -> bool {
        self.request.is_terminated()
    }
}

/// A transaction whose message and destination the owner has.
fn begin(kind: Kind, to: Candidate, now: Time) -> Transaction<(), ()> {
    let is_reliable = matches!(to.to, Hop::Connection(_));
    Transaction::begin(Opening { kind, to: (), bytes: (), is_reliable, copies: None, end: now + LIFETIME }, now).0
}
