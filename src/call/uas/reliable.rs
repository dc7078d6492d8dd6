//! Provisional responses: 180, 183 and the like, plain or reliable (RFC 3262).

use std::sync::Arc;

use crate::call::exchange::{CallKey, EndReason, Event, Way};
use crate::call::uas::Uas;
use crate::call::uas::body::{Body, session_description};
use crate::call::uas::call::Phase;
use crate::call::uas::request::Case;
use crate::call::uas::respond::{ALLOW, Response, SUPPORTED};
use crate::call::uas::server::Server;
use crate::time::Time;
use crate::transaction::{LIFETIME, Resend, T1};
use crate::wire::sip::Name;

/// The reliable provisional response of a call that was sent last.
#[derive(Debug)]
pub(super) struct Reliable {
    rseq: u32,
    cseq: u32,
    /// The wait for its PRACK; `None` once that has come.
    waiting: Option<Waiting>,
    /// Whether it carried an offer of ours.
    offered: bool,
    /// Whether a PRACK of this call has answered an offer of ours.
    answered: bool,
    /// The session description to accept the call with once the PRACK has come.
    accept: Option<Option<Box<[u8]>>>,
}

#[derive(Debug)]
struct Waiting {
    /// Whether it carried a session description.
    sdp: bool,
    /// The response; `None` once a 2xx has made its repetition unnecessary.
    repeat: Option<Repeat>,
}

#[derive(Debug)]
struct Repeat {
    bytes: Arc<[u8]>,
    way: Way,
    resend: Resend,
    end: Time,
}

impl Reliable {
    /// RFC 3262 §3: no 2xx before the PRACK of a response with a session description.
    pub(super) fn holds_back(&self) -> bool {
        self.waiting.as_ref().is_some_and(|waiting| waiting.sdp)
    }

    pub(super) fn then_accept(&mut self, sdp: Option<&[u8]>) {
        self.accept = Some(sdp.map(Into::into));
    }

    pub(super) fn due(&self) -> Time {
        let repeat = self.waiting.as_ref().and_then(|waiting| waiting.repeat.as_ref());
        repeat.map_or(Time::NEVER, |repeat| repeat.resend.at().min(repeat.end))
    }

    pub(super) const fn is_answered(&self) -> bool {
        self.answered
    }

    /// The part that is kept after the 2xx: a PRACK that is still to come must be answered (RFC 3262 §3).
    pub(super) fn without_repetition(mut self: Box<Self>) -> Option<Box<Self>> {
        self.waiting.as_mut()?.repeat = None;
        Some(self)
    }
}

/// The delivery of a provisional response.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Delivery {
    /// Reliably if the peer requires it.
    #[default]
    AsRequired,
    /// Reliably if the peer supports it.
    Reliable,
}

impl Uas {
    /// Sends a provisional response of 101–199, with a session description or without.
    ///
    /// False when the call is not waiting for a decision, the status is another, or an earlier reliable response waits
    /// for its PRACK: there may be only one (RFC 3262 §3).
    pub fn ring(&mut self, key: CallKey, status: u16, sdp: Option<&[u8]>, delivery: Delivery, now: Time) -> bool {
        if !(101..=199).contains(&status) {
            return false;
        }
        let Some(server) = self.undecided(key) else { return false };
        let Some(call) = self.calls.get_mut(key) else { return false };
        call.ring_first = false;
        let last = call.reliable.as_ref();
        if last.is_some_and(|reliable| reliable.waiting.is_some()) {
            return false;
        }
        let answered = last.is_some_and(|reliable| reliable.answered);
        let rseq = match last {
            Some(reliable) => reliable.rseq + 1,
            // RFC 3262 §3: between 1 and 2³¹ − 1, with room to count up.
            None => (self.number(b'q') % (1 << 30)) as u32 + 1,
        };
        let Some(addresses) = self.calls.get(key).map(|call| call.addresses) else { return false };
        let contact = self.contact(&addresses);
        self.with_request(server, |uas, request| {
            let required = request.lists(Name::Require, b"100rel");
            let possible = required || request.lists(Name::Supported, b"100rel");
            let reliable = required || (delivery == Delivery::Reliable && possible);
            let number = rseq.to_string();
            let mut headers = vec![("Contact", contact.as_slice()), ("Allow", ALLOW), ("Supported", SUPPORTED)];
            if reliable {
                headers.extend([("Require", &b"100rel"[..]), ("RSeq", number.as_bytes())]);
            }
            let response = Response { dialog: true, headers: &headers, sdp, ..Response::status(status) };
            uas.respond_in_call(server, request, &response, now);
            if !reliable {
                return;
            }
            let Some(server) = uas.servers.get(server) else { return };
            let Some(bytes) = server.transaction().response().cloned() else { return };
            let way = server.way();
            let repeat = Repeat { bytes, way, resend: Resend::first(T1, now), end: now + LIFETIME };
            let waiting = Some(Waiting { sdp: sdp.is_some(), repeat: Some(repeat) });
            let offered = sdp.is_some() && session_description(request.msg) == Body::None;
            if let Some(call) = uas.calls.get_mut(key) {
                call.sdp = sdp.map(Into::into).or(call.sdp.take());
                call.offered |= offered;
                let cseq = request.cseq.number;
                call.reliable = Some(Box::new(Reliable { rseq, cseq, waiting, offered, answered, accept: None }));
            }
        });
        self.arm_call(key);
        true
    }

    /// PRACK (RFC 3262 §3).
    pub(super) fn on_prack(&mut self, key: CallKey, case: &Case<'_>) {
        let Case { request, now, .. } = *case;
        let acknowledged = request.msg.header(Name::RAck).and_then(rack);
        let Some(call) = self.calls.get_mut(key) else { return };
        let matching = call
            .reliable
            .as_mut()
            .filter(|reliable| reliable.waiting.is_some() && acknowledged == Some((reliable.rseq, reliable.cseq)));
        let Some(reliable) = matching else {
            return self.answer(case, Some(key), &Response::status(481));
        };
        let offers = !reliable.offered && matches!(session_description(request.msg), Body::Sdp(_));
        if offers && (call.asked.is_some() || call.offered) {
            return self.refuse_glare(case, 500, key);
        }
        reliable.waiting = None;
        let answers_ours = std::mem::take(&mut reliable.offered);
        match session_description(request.msg) {
            Body::Sdp(answer) if answers_ours => {
                call.offered = false;
                reliable.answered = true;
                let answer = answer.into();
                self.answer(case, Some(key), &Response::status(200));
                self.tell(key, Event::Answer(answer));
            }
            Body::Sdp(offer) => {
                // RFC 3262 §5: the PRACK has an offer of its own, which the 200 answers.
                if let Some(server) = self.open_in_call(key, case) {
                    self.ask(key, server, Event::Offer(offer.into()));
                }
                return;
            }
            Body::None | Body::Unknown => {
                self.answer(case, Some(key), &Response::status(200));
            }
        }
        self.on_prack_settled(key, now);
    }

    /// Accepts a call that waited for its PRACK, once no change waits for the application.
    pub(super) fn on_prack_settled(&mut self, key: CallKey, now: Time) {
        let Some(call) = self.calls.get_mut(key).filter(|call| call.asked.is_none()) else { return };
        if call.phase != Phase::Early {
            call.reliable.take_if(|reliable| reliable.waiting.is_none());
        }
        let Some(reliable) = call.reliable.as_mut().filter(|reliable| reliable.waiting.is_none()) else { return };
        if let Some(sdp) = reliable.accept.take() {
            self.accept(key, sdp.as_deref(), now);
        }
    }

    /// Repeats a reliable response; without PRACK for 64·T1 the call is over (RFC 3262 §3).
    pub(super) fn on_reliable_timer(&mut self, key: CallKey, now: Time) {
        let Some(call) = self.calls.get_mut(key) else { return };
        let waiting = call.reliable.as_mut().and_then(|reliable| reliable.waiting.as_mut());
        let Some(repeat) = waiting.and_then(|waiting| waiting.repeat.as_mut()) else { return };
        if repeat.end <= now {
            self.decline(key, 504, EndReason::NoPrack, now);
        } else if repeat.resend.is_due(now) {
            let may = call.invite.and_then(|invite| self.servers.change(invite, Server::may_repeat_reliable));
            if may == Some(true) {
                // RFC 3262 §3: the intervals have no cap.
                repeat.resend = repeat.resend.next(LIFETIME, now);
                self.outputs.push_back(repeat.way.transmit(&repeat.bytes));
            } else {
                repeat.resend = repeat.resend.suspend();
            }
        }
    }
}

/// `RAck: response-num CSeq-num Method` (RFC 3262 §7.2), of an INVITE.
fn rack(value: &[u8]) -> Option<(u32, u32)> {
    let text = std::str::from_utf8(value).ok()?;
    let mut parts = text.split_ascii_whitespace();
    let numbers = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
    (parts.next()? == "INVITE" && parts.next().is_none()).then_some(numbers)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rack_names_a_response_and_an_invite() {
        assert_eq!(rack(b"776656 1 INVITE"), Some((776_656, 1)));
        assert_eq!(rack(b" 1\t2  INVITE "), Some((1, 2)));
        for bad in [&b""[..], b"1 INVITE", b"1 2 BYE", b"1 2 INVITE 3", b"-1 2 INVITE", b"99999999999 1 INVITE"] {
            assert_eq!(rack(bad), None);
        }
    }
}
