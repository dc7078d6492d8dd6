//! Session timers of a call (RFC 4028): our refreshes by UPDATE or re-INVITE, and the end of a call that is not
//! refreshed.

use std::time::Duration;

use crate::call::exchange::{CallKey, EndReason, Event};
use crate::call::uas::Uas;
use crate::call::uas::call::Phase;
use crate::call::uas::client::{Final, RequestKind};
use crate::call::uas::options::Refusal;
use crate::call::uas::request::Request;
use crate::call::uas::respond::SDP;
use crate::call::uas::session_timer::{LONGEST, Proposal, Refresher, Session};
use crate::time::Time;
use crate::wire::sip::{Message, Name};

impl Uas {
    /// The proposal of a request for session timers; the refusal if its interval is too short (RFC 4028 §9).
    pub(super) fn check_interval(&self, request: &Request<'_>) -> Result<Proposal, Refusal> {
        let too_short = |floor: u32| Refusal::with(422, "Min-SE", floor.to_string().as_bytes());
        let proposal = Proposal::of(request);
        proposal.agree(&self.session_timer).map(|_| proposal).map_err(too_short)
    }

    /// A session timer has run out.
    pub(super) fn on_session_timer(&mut self, key: CallKey, now: Time) {
        let Some(call) = self.calls.get_mut(key).filter(|call| call.phase == Phase::Confirmed) else { return };
        let Some(session) = call.session.as_mut().filter(|session| session.due <= now) else { return };
        if session.interval.refresher == Refresher::Peer || session.expires <= now {
            return self.end(key, EndReason::SessionExpired, now);
        }
        if call.asked.is_some() || call.invite.is_some() || call.refresh.is_some() {
            // A change by the peer is under way, which may refresh the session by itself.
            session.due = (now + Duration::from_secs(2)).min(session.expires);
            return;
        }
        session.due = session.expires;
        self.send_refresh(key, now);
    }

    /// A refresh of ours has ended.
    ///
    /// RFC 4028 §10: a refusal does not end the session. The refresh is tried again in the way its status asks for, as
    /// long as there is time.
    pub(super) fn on_refreshed(&mut self, key: CallKey, end: Final<'_>, now: Time) {
        let Final { kind, status, response } = end;
        let (limit, ours) = (self.limits.dialog, self.session_timer.min_se.max(90));
        let jitter = Duration::from_millis(self.number(b'j') % 200 * 10);
        let Some(call) = self.calls.get_mut(key) else { return };
        call.refresh = None;
        let Some(session) = call.session.as_mut() else { return };
        match status {
            200..=299 => {
                let agreed = response.and_then(|msg| {
                    Proposal::read(msg.header(Name::SessionExpires), msg.header(Name::MinSe), true).accepted()
                });
                // RFC 4028 §7.2: if the peer has no session timers, we refresh.
                *session = Session::new(agreed.unwrap_or(session.interval), call.addresses.heard.transport, now);
                if let Some(contact) = response.and_then(|msg| msg.contact()) {
                    call.dialog.refresh_target(contact.uri, limit);
                }
                if kind == RequestKind::Reinvite
                    && let Some(answer) = response.and_then(|msg| msg.content(SDP.as_bytes()))
                {
                    self.tell(key, Event::Answer(answer.into()));
                }
            }
            422 => {
                let floor = response.and_then(|msg| Proposal::read(None, msg.header(Name::MinSe), true).min_se);
                match floor.filter(|floor| *floor > call.min_se.max(ours) && *floor <= LONGEST) {
                    // RFC 4028 §7.4: our further refreshes state this `Min-SE`.
                    Some(floor) => {
                        call.min_se = floor;
                        session.interval.seconds = session.interval.seconds.max(floor);
                        self.send_refresh(key, now);
                    }
                    None => session.try_again(None, jitter, now),
                }
            }
            // RFC 3261 §14.1: the Call-ID is not ours, so we try again after 0 to 2 s.
            491 => session.due = (now + jitter).min(session.expires),
            405 | 501 if kind == RequestKind::Update => {
                (call.takes_update, call.allows_update) = (false, false);
                self.send_refresh(key, now);
            }
            // RFC 3261 §12.2.1.2: the peer does not have the dialog, or is not there.
            408 | 481 => self.end(key, EndReason::RefreshFailed(status), now),
            _ => {
                session.try_again(response.and_then(Message::retry_after), jitter, now);
                // A peer that finds fault with this method may accept the other one. Refusals for lack of time or
                // credentials do not concern the method.
                if matches!(status, 400 | 402..=406 | 409..=499) && call.allows_update {
                    call.takes_update = kind == RequestKind::Reinvite;
                }
            }
        }
        self.arm_call(key);
    }

    fn send_refresh(&mut self, key: CallKey, now: Time) {
        let Some(call) = self.calls.get(key) else { return };
        let kind = if call.takes_update { RequestKind::Update } else { RequestKind::Reinvite };
        let sent = self.send_request(key, kind, now);
        // A refresh that could not leave is over already.
        let sent = sent.filter(|client| self.clients.get(*client).is_some());
        if let Some(call) = self.calls.get_mut(key) {
            call.refresh = sent;
        }
    }
}
