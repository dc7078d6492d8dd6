//! The way of a request to the function that serves it: a copy, a CANCEL, an ACK, a request in a dialog or outside.

use crate::call::exchange::{Arrival, CallKey, Output};
use crate::call::uas::Uas;
use crate::call::uas::call::Phase;
use crate::call::uas::request::{Case, Request};
use crate::call::uas::respond::Response;
use crate::call::uas::server::ServerKey;
use crate::call::uas::standalone::may_stand_alone;
use crate::wire::sip::{Message, Method};

impl Uas {
    /// Whether a message belongs to no known call and no known transaction, and would be answered: a flood consists of
    /// such messages.
    pub fn begins(&self, msg: &Message<'_>) -> bool {
        if !msg.is_request() {
            return false;
        }
        let Some(request) = Request::read(msg) else { return true };
        match (request.method, request.to_tag) {
            (Method::Ack, _) => false,
            (Method::Cancel, _) => self.servers.find(self.prints.invite(&request)).is_none(),
            (_, tag) => {
                let in_call = |tag| self.find_call(request.call_id, tag, request.from_tag).is_some();
                self.servers.find(self.prints.transaction(&request)).is_none() && !tag.is_some_and(in_call)
            }
        }
    }

    /// Serves a request, whatever it is.
    pub(super) fn serve(&mut self, case: &Case<'_>) {
        let Case { request, name, .. } = *case;
        let known = self.servers.find(name);
        match (request.method, known) {
            (Method::Ack, _) => return self.on_ack(case, known),
            (_, Some(key)) if self.is_another(key, request) => self.servers.unindex(key),
            (_, Some(key)) => return self.on_retransmission(key, case),
            _ => {}
        }
        if self.give_back(case) {
            return;
        }
        if request.method == Method::Cancel {
            return self.on_cancel(case);
        }
        match request.to_tag {
            Some(tag) => match self.find_call(request.call_id, tag, request.from_tag) {
                Some(call) => self.on_request_in_dialog(call, case),
                // RFC 3261 §12.2.2. The same answer goes to requests in calls of an earlier process that had this port.
                None => self.answer_statelessly(case, &Response::status(481)),
            },
            None => self.on_request_outside_dialog(case),
        }
    }

    /// Whether a request with the branch of a known transaction is no copy of it. Some clients keep the branch of their
    /// first request (against RFC 3261 §8.1.1.7) and count CSeq on. Without an answer their call would end.
    fn is_another(&self, key: ServerKey, request: &Request<'_>) -> bool {
        self.servers.get(key).is_some_and(|server| server.transaction().cseq() < request.cseq.number)
    }

    /// Gives back a request that the dispatcher must place elsewhere.
    fn give_back(&mut self, case: &Case<'_>) -> bool {
        let Case { arrival, .. } = *case;
        let Some(seq) = arrival.seq() else { return false };
        let reason = self.given_back.reason(case, &self.prints);
        self.outputs.extend(reason.map(|reason| Output::Refuse(seq, reason)));
        reason.is_some()
    }

    /// A request without all mandatory headers: 400 if it has enough for an answer.
    pub(super) fn on_incomplete(&mut self, msg: &Message<'_>, arrival: &Arrival) {
        self.answer_incomplete(msg, 400, "Malformed Via, From, To, Call-ID or CSeq", arrival);
        self.dealt_with(arrival);
    }

    /// The ACK of a 2xx or of a 300–699. It is never answered.
    fn on_ack(&mut self, case: &Case<'_>, known: Option<ServerKey>) {
        let Case { request, arrival, now, .. } = *case;
        let completed = known
            .filter(|key| self.servers.get(*key).is_some_and(|server| server.transaction().waits_for_ack_of_refusal()));
        if let Some(key) = completed {
            self.on_ack_of_refusal(key, now);
        } else if let Some(tag) = request.to_tag
            && let Some(call) = self.find_call(request.call_id, tag, request.from_tag)
        {
            self.carry(call, arrival);
            self.on_heard(call, case);
            self.on_ack_of_success(call, request, now);
        }
        self.dealt_with(arrival);
    }

    fn on_request_in_dialog(&mut self, key: CallKey, case: &Case<'_>) {
        let Case { request, arrival, .. } = *case;
        self.carry(key, arrival);
        let Some(call) = self.calls.get_mut(key) else { return };
        if call.phase == Phase::Ending && request.method != Method::Bye {
            // RFC 3261 §15.1.1: with our BYE the dialog is over.
            return self.answer(case, Some(key), &Response::status(481));
        }
        if request.cseq.number < call.dialog.remote_cseq {
            // RFC 3261 §12.2.2: a later request has overtaken it.
            return self.answer(case, Some(key), &Response::status(500));
        }
        call.dialog.remote_cseq = request.cseq.number;
        self.on_heard(key, case);
        if let Some(refusal) = self.screen(request) {
            return self.refuse_request(case, &refusal, Some(key));
        }
        match request.method {
            Method::Invite => self.on_reinvite(key, case),
            Method::Update => self.on_update(key, case),
            Method::Prack => self.on_prack(key, case),
            Method::Bye => self.on_bye(key, case),
            Method::Info => self.on_info(key, case),
            // The remaining method is OPTIONS: `screen` has let through only methods that `Allow` lists.
            _ => self.on_options(case),
        }
    }

    fn on_request_outside_dialog(&mut self, case: &Case<'_>) {
        let Case { request, merged, arrival, now, .. } = *case;
        // A message that came through the dispatcher has passed this check.
        if arrival.seq().is_none()
            && let Err(fault) = request.msg.check()
        {
            self.answer_incomplete(request.msg, fault.status().unwrap_or(400), fault.phrase(), arrival);
            return;
        }
        // RFC 3261 §8.2.2.2: a second copy on another way. This check precedes the others, which would answer it
        // differently.
        if merged.is_some_and(|merged| self.is_merged(merged, arrival, now)) {
            return self.answer(case, None, &Response::status(482));
        }
        // The dispatcher hands over requests that the operator's `methods` let through: the application decides about
        // them.
        if arrival.seq().is_some() && may_stand_alone(request.method) {
            return self.ask_application(case);
        }
        if let Some(refusal) = self.screen(request) {
            return self.refuse_request(case, &refusal, None);
        }
        match request.method {
            Method::Invite => self.on_invite(case),
            Method::Options => self.on_options(case),
            // BYE, UPDATE, PRACK, INFO, NOTIFY: they need a dialog.
            _ => self.answer_statelessly(case, &Response::status(481)),
        }
    }
}
