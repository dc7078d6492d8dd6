//! A call's end, from either side.

use crate::call::exchange::{CallKey, EndReason, Event};
use crate::call::uas::Uas;
use crate::call::uas::call::Phase;
use crate::call::uas::client::RequestKind;
use crate::call::uas::request::Case;
use crate::call::uas::respond::Response;
use crate::call::uas::server::Server;
use crate::time::Time;

impl Uas {
    /// Ends a call in the way its state asks for: 480 before a final response, BYE afterwards. While our 2xx waits for
    /// its ACK, the BYE leaves as soon as the ACK has come (RFC 3261 §15).
    pub fn hang_up(&mut self, key: CallKey, now: Time) {
        self.end(key, EndReason::HungUp, now);
    }

    pub(super) fn end(&mut self, key: CallKey, reason: EndReason, now: Time) {
        let Some(call) = self.calls.get_mut(key) else { return };
        match call.phase {
            Phase::Early => {
                self.decline(key, 480, reason, now);
            }
            Phase::Accepted(None) => call.phase = Phase::Accepted(Some(reason)),
            Phase::Accepted(Some(_)) | Phase::Ending => {}
            Phase::Confirmed => {
                self.release(key, reason, now);
                if let Some(call) = self.calls.get_mut(key) {
                    call.phase = Phase::Ending;
                }
                if self.send_request(key, RequestKind::Bye, now).is_none() {
                    self.remove_call(key);
                }
            }
        }
    }

    pub(super) fn on_bye(&mut self, key: CallKey, case: &Case<'_>) {
        let Case { now, .. } = *case;
        self.answer(case, Some(key), &Response::status(200));
        // RFC 3261 §15.1.2: requests that still wait get 487.
        if self.decline(key, 487, EndReason::PeerHungUp, now) {
            return;
        }
        self.forget_at(key, EndReason::PeerHungUp, now);
    }

    /// The transaction of our BYE is over, answered or not.
    pub(super) fn on_bye_done(&mut self, key: CallKey) {
        if self.calls.get(key).is_some_and(|call| call.phase == Phase::Ending) {
            self.remove_call(key);
        }
    }

    /// Removes a call whose INVITE has its final response.
    pub(super) fn forget(&mut self, key: CallKey, reason: EndReason, now: Time) {
        self.answer_asked(key, now);
        self.vacate(key);
        if self.remove_call(key).is_none() {
            return;
        }
        self.load.sessions = self.load.sessions.saturating_sub(1);
        self.tell(key, Event::Ended(reason));
    }

    /// Removes a call that the peer has ended.
    fn forget_at(&mut self, key: CallKey, reason: EndReason, now: Time) {
        match self.calls.get(key).map(|call| call.phase) {
            // The BYEs have crossed; the application knows already.
            Some(Phase::Ending) => {
                self.remove_call(key);
            }
            Some(_) => {
                self.release(key, reason, now);
                self.remove_call(key);
            }
            None => {}
        }
    }

    /// RFC 3261 §15.1.2: a change that still waits for the application gets 487.
    fn answer_asked(&mut self, key: CallKey, now: Time) {
        let Some(server) = self.calls.get_mut(key).and_then(|call| call.asked.take()) else { return };
        let response = Response::status(487);
        self.respond_to_kept(server, &response, now);
    }

    /// Releases everything that a call holds and tells the application.
    fn release(&mut self, key: CallKey, reason: EndReason, now: Time) {
        self.vacate(key);
        let Some(call) = self.calls.get_mut(key) else { return };
        call.reliable = None;
        call.session = None;
        call.sdp = None;
        let invite = call.invite.take();
        if let Some(refresh) = call.refresh.take() {
            self.stop_sending(refresh);
        }
        self.answer_asked(key, now);
        if let Some(invite) = invite {
            // A peer that sends BYE has our 2xx, so the 2xx is not repeated.
            self.servers.change(invite, Server::stop_repeating);
        }
        self.load.sessions = self.load.sessions.saturating_sub(1);
        self.tell(key, Event::Ended(reason));
    }
}
