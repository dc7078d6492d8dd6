//! Changing a session that stands: re-INVITE (RFC 3261 §14.2) and UPDATE (RFC 3311), with their glare rules.

use crate::call::exchange::{CallKey, Event};
use crate::call::uas::Uas;
use crate::call::uas::body::{Body, session_description};
use crate::call::uas::call::Phase;
use crate::call::uas::options::Refusal;
use crate::call::uas::request::Case;
use crate::call::uas::respond::{ALLOW, Keep, Response, SUPPORTED};
use crate::call::uas::server::{Server, ServerKey};
use crate::call::uas::session_timer::{Agreement, Proposal};
use crate::time::Time;
use crate::wire::sip::Method;

impl Uas {
    /// Answers the offer of an [`Event::Offer`], or makes the offer that an [`Event::OfferWanted`] asks for. False when
    /// neither waits.
    pub fn answer_offer(&mut self, key: CallKey, sdp: &[u8], now: Time) -> bool {
        let Some(call) = self.calls.get_mut(key) else { return false };
        let Some(server) = call.asked.take() else { return false };
        call.sdp = Some(sdp.into());
        self.grant(key, server, Some(sdp), now);
        self.on_prack_settled(key, now);
        true
    }

    /// Makes the offer that an [`Event::OfferWanted`] asks for: the session description we gave last. False when no
    /// offer is asked for.
    pub fn offer_again(&mut self, key: CallKey, now: Time) -> bool {
        let Some(call) = self.calls.get_mut(key) else { return false };
        let Some(server) = call.asked.take() else { return false };
        let sdp = call.sdp.clone();
        self.grant(key, server, sdp.as_deref(), now);
        true
    }

    /// Turns down an [`Event::Offer`] or an [`Event::OfferWanted`] with 488 or another status of 300–699; the session
    /// stays as it was. False when neither waits, or the status is another.
    pub fn reject_offer(&mut self, key: CallKey, status: u16, now: Time) -> bool {
        self.reject_offer_with(key, status, &[], now)
    }

    /// As [`Uas::reject_offer`], with header fields of the application's choice beside those that every response has.
    pub fn reject_offer_with(&mut self, key: CallKey, status: u16, headers: &[(&str, &[u8])], now: Time) -> bool {
        if !(300..=699).contains(&status) {
            return false;
        }
        let Some(server) = self.calls.get_mut(key).and_then(|call| call.asked.take()) else { return false };
        let response = Response { headers, ..Response::status(status) };
        self.respond_to_kept(server, &response, now);
        self.on_prack_settled(key, now);
        true
    }

    /// The application has not decided on a change for the whole life of its transaction. The next change may come.
    pub(super) fn on_undecided(&mut self, key: CallKey, server: ServerKey, now: Time) {
        let asked = self.calls.get_mut(key).and_then(|call| call.asked.take_if(|asked| *asked == server));
        if asked.is_some() {
            self.on_prack_settled(key, now);
        }
    }

    pub(super) fn on_reinvite(&mut self, key: CallKey, case: &Case<'_>) {
        let Case { request, .. } = *case;
        let Some(call) = self.calls.get_mut(key) else { return };
        let glare = match call.phase {
            Phase::Ending => Some(481),
            // RFC 3261 §14.2: a second INVITE before the final response to the first.
            Phase::Early => Some(500),
            _ if call.offered || call.refresh.is_some() => Some(491),
            _ if call.asked.is_some() => Some(500),
            Phase::Accepted(Some(_)) => Some(500),
            Phase::Accepted(None) | Phase::Confirmed => None,
        };
        if let Some(status) = glare {
            return self.refuse_glare(case, status, key);
        }
        if let Err(refusal) = self.check_interval(request) {
            return self.refuse_request(case, &refusal, Some(key));
        }
        self.on_implied_ack(key);
        let Some(server) = self.open_in_call(key, case) else { return };
        match session_description(request.msg) {
            Body::Sdp(offer) => self.ask(key, server, Event::Offer(offer.into())),
            // The offer is in the 2xx, made as for a new call (§14.2): only the application knows all our capabilities.
            Body::None | Body::Unknown => self.ask(key, server, Event::OfferWanted),
        }
    }

    pub(super) fn on_update(&mut self, key: CallKey, case: &Case<'_>) {
        let Case { request, now, .. } = *case;
        let Some(call) = self.calls.get_mut(key) else { return };
        let offer = match session_description(request.msg) {
            Body::Sdp(offer) => Some(offer),
            Body::None | Body::Unknown => None,
        };
        // RFC 3311 §5.2.
        let glare = match call.phase {
            Phase::Ending => Some(481),
            _ if call.asked.is_some() => Some(500),
            _ if offer.is_none() => None,
            _ if call.offered || call.refresh.is_some() => Some(491),
            // The INVITE's own offer is still unanswered.
            Phase::Early if call.sdp.is_none() => Some(500),
            _ => None,
        };
        if let Some(status) = glare {
            return self.refuse_glare(case, status, key);
        }
        if let Err(refusal) = self.check_interval(request) {
            return self.refuse_request(case, &refusal, Some(key));
        }
        let Some(server) = self.open_in_call(key, case) else { return };
        match offer {
            Some(offer) => self.ask(key, server, Event::Offer(offer.into())),
            None => self.grant(key, server, None, now),
        }
    }

    /// Lets the application decide on an offer, or make one.
    pub(super) fn ask(&mut self, key: CallKey, server: ServerKey, question: Event) {
        if let Some(call) = self.calls.get_mut(key) {
            call.asked = Some(server);
        }
        self.tell(key, question);
    }

    /// Opens a transaction whose request is kept until it is decided on.
    pub(super) fn open_in_call(&mut self, key: CallKey, case: &Case<'_>) -> Option<ServerKey> {
        let Some(server) = self.open(case, Keep::Request) else {
            self.answer_statelessly(case, &Response::status(500));
            return None;
        };
        self.servers.change(server, |server| server.belong_to(key));
        Some(server)
    }

    /// Sends the 200 to a re-INVITE, UPDATE or PRACK. With the 200 the peer's new Contact takes effect (RFC 6141 §3.2).
    pub(super) fn grant(&mut self, key: CallKey, server: ServerKey, sdp: Option<&[u8]>, now: Time) {
        let Some(addresses) = self.calls.get(key).map(|call| call.addresses) else { return };
        let contact = self.contact(&addresses);
        let (ours, limit) = (self.session_timer, self.limits.dialog);
        self.with_request(server, |uas, request| {
            if request.method != Method::Prack
                && let Some(contact) = request.msg.contact()
                && let Some(call) = uas.calls.get_mut(key)
            {
                call.dialog.refresh_target(contact.uri, limit);
            }
            // RFC 4028 §7.4: every refresh settles the session timer anew.
            let agreement = Agreement::with(&Proposal::of(request), &ours);
            let mut headers: Vec<(&str, &[u8])> = Vec::with_capacity(5);
            if request.method != Method::Prack {
                headers.extend([("Contact", contact.as_slice()), ("Allow", ALLOW), ("Supported", SUPPORTED)]);
                headers.extend(agreement.iter().flat_map(Agreement::headers));
                if let Some(call) = uas.calls.get_mut(key).filter(|call| call.phase != Phase::Early) {
                    call.session =
                        agreement.as_ref().map(|agreement| agreement.begin(call.addresses.heard.transport, now));
                }
            }
            let response = Response { headers: &headers, sdp, ..Response::status(200) };
            uas.respond_in_call(server, request, &response, now);
            if request.method == Method::Invite
                && let Some(call) = uas.calls.get_mut(key)
            {
                call.invite = Some(server);
                call.offered = sdp.is_some() && !matches!(session_description(request.msg), Body::Sdp(_));
            }
        });
        self.arm_call(key);
    }

    /// The ACK of our 2xx must have been lost: a request has come that only makes sense after the 2xx.
    fn on_implied_ack(&mut self, key: CallKey) {
        let Some(call) = self.calls.get_mut(key) else { return };
        let Some(invite) = call.invite.take() else { return };
        let standing = call.phase == Phase::Confirmed;
        call.phase = Phase::Confirmed;
        self.servers.change(invite, Server::stop_repeating);
        if !standing {
            self.tell(key, Event::Established);
        }
    }

    pub(super) fn refuse_glare(&mut self, case: &Case<'_>, status: u16, key: CallKey) {
        let refusal = match status {
            // RFC 3261 §14.2, RFC 3311 §5.2: a random value of 0 to 10 seconds.
            500 => Refusal::with(500, "Retry-After", (self.number(b'r') % 11).to_string().as_bytes()),
            status => Refusal::status(status),
        };
        self.refuse_request(case, &refusal, Some(key));
    }
}
