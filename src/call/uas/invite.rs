//! A call's beginning: the initial INVITE, the application's decision about it, CANCEL and ACK.

use std::time::Duration;

use crate::call::exchange::{CallKey, EndReason, Event, Output};
use crate::call::identity::MediaPlace;
use crate::call::strangers::Claim;
use crate::call::uas::Uas;
use crate::call::uas::addresses::Addresses;
use crate::call::uas::body::{Body, session_description};
use crate::call::uas::call::{Call, Phase};
use crate::call::uas::dialog::{Dialog, NoDialog};
use crate::call::uas::options::Refusal;
use crate::call::uas::reliable::Delivery;
use crate::call::uas::request::{Case, Request};
use crate::call::uas::respond::{ALLOW, Keep, Response, SDP, SUPPORTED};
use crate::call::uas::server::{Server, ServerKey};
use crate::call::uas::session_timer::Agreement;
use crate::time::Time;
use crate::wire::sip::{DialogRef, Message, Method, Name, NameAddr, Uri, delta_seconds};
use crate::words::{RefuseReason, Transport};

/// The value of `Retry-After` when we are full, in seconds.
const RETRY_AFTER: &[u8] = b"5";

impl Uas {
    /// Shows the INVITE of a call that has not been decided on.
    pub fn with_invite<R>(&mut self, key: CallKey, then: impl FnOnce(&Message<'_>) -> R) -> Option<R> {
        let server = self.undecided(key)?;
        self.with_request(server, |_, request| then(request.msg))
    }

    /// The request-URI of a call that has not been decided on.
    pub fn request_uri(&self, key: CallKey) -> Option<Uri<'_>> {
        let server = self.servers.get(self.undecided(key)?)?;
        server.transaction().request()?.read().uri()
    }

    /// The units that a call was counted with.
    pub fn size(&self, key: CallKey) -> Option<u32> {
        self.calls.get(key).map(|call| call.size)
    }

    /// The address in the call's Contact, which its session description should name as well.
    pub fn address(&self, key: CallKey) -> Option<std::net::IpAddr> {
        self.calls.get(key).map(|call| call.addresses.contact.ip())
    }

    /// The local address that the caller reached: its media sockets should be bound to it.
    pub fn local_ip(&self, key: CallKey) -> Option<std::net::IpAddr> {
        self.calls.get(key).and_then(|call| call.addresses.from)
    }

    /// The place for streams whose peer, `towards`, is of another address family than the signalling. `host` is this
    /// host's address on the way there. `None` if we cannot be reached in that family.
    pub fn media_place(&self, towards: std::net::IpAddr, host: Option<std::net::IpAddr>) -> Option<MediaPlace> {
        self.identity.media_place(towards, host)
    }

    /// The Call-ID of a call.
    pub fn call_id(&self, key: CallKey) -> Option<&[u8]> {
        self.calls.get(key).map(|call| call.dialog.call_id())
    }

    /// Whether a call waits for a decision.
    pub fn is_undecided(&self, key: CallKey) -> bool {
        self.undecided(key).is_some()
    }

    /// Answers a call with 200. `sdp` is the answer to the peer's offer or, when there was none, our offer.
    ///
    /// Waits by itself for a PRACK that must come first (RFC 3262 §3). False when the call is not waiting for a
    /// decision.
    pub fn accept(&mut self, key: CallKey, sdp: Option<&[u8]>, now: Time) -> bool {
        let Some(server) = self.undecided(key) else { return false };
        if self.calls.get(key).is_some_and(|call| call.ring_first) {
            self.ring(key, 180, None, Delivery::AsRequired, now);
        }
        let Some(call) = self.calls.get_mut(key) else { return false };
        if let Some(reliable) = call.reliable.as_mut().filter(|reliable| reliable.holds_back()) {
            reliable.then_accept(sdp);
            return true;
        }
        // A PRACK has already answered this offer: the 2xx must not offer it again (RFC 3261 §13.2.1).
        let agreed = call.reliable.as_ref().is_some_and(|reliable| reliable.is_answered());
        let sdp = sdp.filter(|_| !agreed);
        call.reliable = call.reliable.take().and_then(|reliable| reliable.without_repetition());
        call.phase = Phase::Accepted(None);
        call.sdp = sdp.or(call.sdp.as_deref()).map(Into::into);
        let (addresses, agreement) = (call.addresses, Agreement::with(&call.proposal, &self.session_timer));
        let contact = self.contact(&addresses);
        self.with_request(server, |uas, request| {
            let mut headers: Vec<(&str, &[u8])> = Vec::with_capacity(5);
            headers.extend([("Contact", contact.as_slice()), ("Allow", ALLOW), ("Supported", SUPPORTED)]);
            headers.extend(agreement.iter().flat_map(Agreement::headers));
            if let Some(call) = uas.calls.get_mut(key) {
                call.session = agreement.as_ref().map(|agreement| agreement.begin(call.addresses.heard.transport, now));
                call.offered = sdp.is_some() && session_description(request.msg) == Body::None;
                call.allows_update = request.lists(Name::Allow, b"UPDATE");
                call.takes_update = call.allows_update;
            }
            let response = Response { dialog: true, headers: &headers, sdp, ..Response::status(200) };
            uas.respond_in_call(server, request, &response, now);
        });
        self.load.answered += 1;
        if let Some(replaced) = self.calls.get_mut(key).and_then(|call| call.replaces.take()) {
            self.end(replaced, EndReason::Replaced, now);
        }
        true
    }

    /// Turns a call down with a final status of 300–699. False when the call is not waiting for a decision, or the
    /// status is another.
    pub fn reject(&mut self, key: CallKey, status: u16, now: Time) -> bool {
        self.reject_with(key, status, &[], now)
    }

    /// As [`Uas::reject`], with header fields of the application's choice beside those that every response has.
    pub fn reject_with(&mut self, key: CallKey, status: u16, headers: &[(&str, &[u8])], now: Time) -> bool {
        let response = Response { headers, ..Response::status(status) };
        (300..=699).contains(&status) && self.decline_with(key, &response, EndReason::Rejected(status), now)
    }

    /// The session description in a reliable provisional response of an undecided call: the answer to the peer's offer,
    /// or our own offer. The 2xx cannot change it (RFC 3261 §13.2.1).
    pub fn promised_sdp(&self, key: CallKey) -> Option<&[u8]> {
        self.undecided(key)?;
        self.calls.get(key)?.sdp.as_deref()
    }

    /// Gives a call back to the dispatcher, which offers it to another worker. That is not possible if the call came to
    /// our own port, belongs to a call of ours, or its caller has already got a response. It is then answered with 503,
    /// or with 486 if smaller calls still find room.
    pub fn refuse(&mut self, key: CallKey, reason: RefuseReason, now: Time) -> bool {
        let Some(server) = self.undecided(key) else { return false };
        if !self.servers.get(server).is_some_and(Server::may_go_back) {
            let status = if reason == RefuseReason::Full { 486 } else { 503 };
            return self.decline(key, status, EndReason::Refused(reason), now);
        }
        self.with_request(server, |uas, request| uas.given_back.note(request, &uas.prints, now));
        let back = self.servers.change(server, Server::take_seqs);
        self.outputs.extend(back.into_iter().flatten().map(|seq| Output::Refuse(seq, reason)));
        self.close(server);
        self.forget(key, EndReason::Refused(reason), now);
        true
    }

    /// An INVITE without To-tag that is not a copy of another.
    pub(super) fn on_invite(&mut self, case: &Case<'_>) {
        let Case { request, arrival, now, .. } = *case;
        if arrival.seq().is_none() {
            self.load.direct += 1;
        }
        let proposal = match self.check_interval(request) {
            Ok(proposal) => proposal,
            Err(refusal) => return self.refuse_request(case, &refusal, None),
        };
        let replaces = match self.replaced(request) {
            Ok(replaces) => replaces,
            Err(refusal) => return self.refuse_request(case, &refusal, None),
        };
        let freed = replaces.map_or(0, |key| self.frees(key));
        let room = self.prints.conference(request);
        let cost = room.map_or(arrival.size, |room| self.rooms.cost(room, arrival.weight()));
        if self.draining {
            return self.turn_away(case, RefuseReason::Draining);
        }
        // A leg that costs nothing fits even if the capacity has shrunk below the units taken.
        if cost > 0 && self.units_taken().saturating_sub(freed).saturating_add(cost) > self.limits.units {
            return self.turn_away(case, RefuseReason::Full);
        }
        let Some(next) = self.calls.next_key() else {
            return self.turn_away(case, RefuseReason::Exhausted);
        };
        let tag = self.tag_for(next);
        let dialog = match Dialog::new(request, &tag, self.limits.dialog) {
            Ok(dialog) => dialog,
            Err(NoDialog::Contact) => {
                let refusal = Refusal::bad("Missing or Malformed Contact");
                return self.refuse_request(case, &refusal, None);
            }
            Err(NoDialog::TooLong) => return self.answer(case, None, &Response::status(513)),
        };
        let addresses = Addresses { secure: asks_for_sips(request.msg), ..self.addresses(request, arrival) };
        if is_sips(request.msg.request_uri()) && !addresses.pinned && !self.identity.speaks_tls {
            // RFC 5630 §5.1.2: a SIPS Contact would name a port that speaks no TLS.
            let refusal = Refusal::with(480, "Warning", b"380 pointsman \"SIPS Not Allowed\"");
            return self.refuse_request(case, &refusal, None);
        }
        let Some(server) = self.open(case, Keep::Request) else {
            return self.turn_away(case, RefuseReason::Exhausted);
        };
        let is_stranger = self.is_stranger(arrival);
        let seat = room.map(|room| self.rooms.join(room, arrival.weight(), is_stranger));
        let claim = if is_stranger { self.claim(arrival.size, seat) } else { Claim::None };
        let call = Call {
            size: arrival.size,
            seat,
            claim,
            proposal,
            replaces,
            ring_first: arrival.ring_first,
            expires: expires(request, now),
            ..Call::early(dialog, server, addresses)
        };
        let Some(key) = self.calls.insert(call) else { return self.close(server) };
        self.carry(key, arrival);
        self.servers.change(server, |server| server.belong_to(key));
        self.load.units_used = self.load.units_used.saturating_add(cost);
        self.load.sessions += 1;
        self.arm_call(key);
        let offer = match session_description(request.msg) {
            Body::Sdp(sdp) => Some(sdp.into()),
            Body::None | Body::Unknown => None,
        };
        self.tell(key, Event::Incoming { offer, replaces });
    }

    /// CANCEL (RFC 3261 §9.2).
    pub(super) fn on_cancel(&mut self, case: &Case<'_>) {
        let Case { request, now, .. } = *case;
        let known = self.servers.find(self.prints.invite(request)).or_else(|| self.invite_of_another_sent_by(case));
        let Some(invite) = known else {
            return self.answer_statelessly(case, &Response::status(481));
        };
        let call = self.servers.get(invite).and_then(Server::call);
        // The 200 has the same tag as the INVITE's responses.
        let tag = call.and_then(|key| self.calls.get(key)).map(|call| call.dialog.local_tag().to_vec());
        let response = Response { to_tag: tag.as_deref(), ..Response::status(200) };
        self.answer(case, call, &response);
        let proceeding = self.servers.get(invite).is_some_and(|server| server.transaction().is_proceeding());
        let Some(key) = call.filter(|_| proceeding) else { return };
        if self.undecided(key) == Some(invite) {
            self.decline(key, 487, EndReason::Cancelled, now);
        } else if self.calls.get(key).is_some_and(|call| call.asked == Some(invite)) {
            // A re-INVITE: it ends, the call goes on.
            self.reject_offer(key, 487, now);
        }
    }

    /// The INVITE of a CANCEL on a connection that states another sent-by. Clients write the port of each connection
    /// there. The rest must be the same: branch, Call-ID, From-tag, CSeq number and host. A connection's source is not
    /// forged.
    fn invite_of_another_sent_by(&mut self, case: &Case<'_>) -> Option<ServerKey> {
        let Case { request, arrival, .. } = *case;
        let key = self.servers.find_merged(self.prints.merged_invite(request))?;
        let way = self.servers.get(key)?.way();
        let is_stream = |transport| !matches!(transport, Transport::Udp | Transport::Mgcp);
        let is_same_host = way.source.ip() == arrival.source.ip();
        let branch = request.via.unique_branch()?;
        let is_meant =
            |invite: &Request<'_>| invite.via.unique_branch().is_some_and(|other| other.eq_ignore_ascii_case(branch));
        let may_be = is_same_host && is_stream(way.transport) && is_stream(arrival.transport);
        (may_be && self.with_request(key, |_, invite| is_meant(invite)) == Some(true)).then_some(key)
    }

    /// The ACK to a 300–699: timer I, or nothing over a reliable transport.
    pub(super) fn on_ack_of_refusal(&mut self, key: ServerKey, now: Time) {
        self.servers.change(key, |server| server.on_ack(now));
        self.settle(key);
    }

    /// The ACK to a 2xx: stops its repetition and may bring an answer.
    pub(super) fn on_ack_of_success(&mut self, key: CallKey, request: &Request<'_>, now: Time) {
        let Some(call) = self.calls.get_mut(key) else { return };
        let Some(invite) = call.invite else { return };
        let cseq = request.cseq.number;
        if self.servers.change(invite, |server| server.on_ack_of_success(cseq, now)) != Some(true) {
            return;
        }
        call.invite = None;
        let answer = request.msg.content(SDP.as_bytes()).filter(|_| call.offered).map(Into::into);
        let unanswered = std::mem::take(&mut call.offered) && answer.is_none();
        let phase = call.phase;
        if let Phase::Accepted(_) = phase {
            call.phase = Phase::Confirmed;
            self.tell(key, Event::Established);
        }
        if let Some(answer) = answer {
            self.tell(key, Event::Answer(answer));
        }
        match phase {
            Phase::Accepted(Some(reason)) => self.end(key, reason, now),
            // RFC 3261 §13.2.2.4: without an answer there is no session. A call that stands keeps the one it had.
            Phase::Accepted(None) if unanswered => self.end(key, EndReason::NoAnswer, now),
            _ => self.arm_call(key),
        }
    }

    /// 64·T1 without ACK (RFC 3261 §13.3.1.4): the call is over. `may_send_bye`: whether a BYE may still leave
    /// for its INVITE.
    pub(super) fn on_no_ack(&mut self, key: CallKey, invite: ServerKey, may_send_bye: bool, now: Time) {
        let Some(call) = self.calls.get_mut(key) else { return };
        if call.invite != Some(invite) {
            return;
        }
        call.invite = None;
        let reason = match call.phase {
            Phase::Accepted(Some(reason)) => reason,
            _ => EndReason::NoAck,
        };
        if let Phase::Accepted(_) = call.phase {
            self.vacate(key);
        }
        if let Some(call) = self.calls.get_mut(key) {
            call.phase = Phase::Confirmed;
        }
        match may_send_bye {
            true => self.end(key, reason, now),
            false => self.forget(key, reason, now),
        }
    }

    /// The INVITE's `Expires` ran out (RFC 3261 §13.3.1).
    pub(super) fn on_invite_expired(&mut self, key: CallKey, now: Time) {
        self.decline(key, 487, EndReason::InviteExpired, now);
    }

    /// Answers an undecided INVITE with a final refusal and ends its call.
    pub(super) fn decline(&mut self, key: CallKey, status: u16, reason: EndReason, now: Time) -> bool {
        self.decline_with(key, &Response::status(status), reason, now)
    }

    fn decline_with(&mut self, key: CallKey, response: &Response<'_>, reason: EndReason, now: Time) -> bool {
        let Some(server) = self.undecided(key) else { return false };
        let mut headers = response.headers.to_vec();
        if response.status == 503 && !headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("Retry-After")) {
            headers.push(("Retry-After", RETRY_AFTER));
        }
        self.respond_to_kept(server, &Response { headers: &headers, ..*response }, now);
        self.forget(key, reason, now);
        true
    }

    /// The transaction of a call that has no final response yet.
    pub(super) fn undecided(&self, key: CallKey) -> Option<ServerKey> {
        self.calls.get(key).filter(|call| call.phase == Phase::Early).and_then(|call| call.invite)
    }

    /// Turns an INVITE away for lack of room: it goes back to the dispatcher if the dispatcher selected us, else we
    /// answer it.
    fn turn_away(&mut self, case: &Case<'_>, reason: RefuseReason) {
        let Case { request, arrival, now, .. } = *case;
        if let Some(seq) = arrival.seq().filter(|_| !arrival.follows) {
            self.given_back.note(request, &self.prints, now);
            self.outputs.push_back(Output::Refuse(seq, reason));
            return;
        }
        // A 503 makes the peer avoid the whole address (RFC 3261 §21.5.4). For a request that follows a call of ours
        // that address is the dispatcher's, so another status is sent.
        let own_port = arrival.seq().is_none();
        let status = match reason {
            RefuseReason::Full if arrival.size > self.limits.units => 480,
            RefuseReason::Full if self.units_taken() < self.limits.units || !own_port => 486,
            _ if own_port => 503,
            _ => 480,
        };
        let retry = [("Retry-After", RETRY_AFTER)];
        let headers: &[(&str, &[u8])] = if status == 503 { &retry } else { &[] };
        self.answer(case, None, &Response { headers, ..Response::status(status) });
    }

    /// The call that an INVITE with Replaces means (RFC 3891 §3). Join (RFC 3911) is not served.
    fn replaced(&self, request: &Request<'_>) -> Result<Option<CallKey>, Refusal> {
        let join = request.msg.header(Name::Join);
        if request.msg.header(Name::Replaces).is_none() {
            if join.is_none() {
                return Ok(None);
            }
            let known = request.msg.join().and_then(|dialog| self.find_dialog(&dialog));
            return Err(Refusal::status(if known.is_some() { 488 } else { 481 }));
        }
        if join.is_some() || request.msg.headers(Name::Replaces).count() > 1 {
            return Err(Refusal::bad("More Than One Replaces or Join"));
        }
        let reference = request.msg.replaces().ok_or(Refusal::bad("Malformed Replaces"))?;
        let key = self.find_dialog(&reference).ok_or(Refusal::status(481))?;
        let phase = self.calls.get(key).map(|call| call.phase);
        match phase {
            // The dialog is early and was not initiated by us.
            Some(Phase::Early) | None => Err(Refusal::status(481)),
            Some(Phase::Ending) => Err(Refusal::status(603)),
            Some(Phase::Accepted(_) | Phase::Confirmed) if reference.early_only => Err(Refusal::status(486)),
            Some(Phase::Accepted(_) | Phase::Confirmed) => Ok(Some(key)),
        }
    }

    /// The call whose dialog a Replaces or Join names; its tags are given as this worker sees them.
    fn find_dialog(&self, dialog: &DialogRef<'_>) -> Option<CallKey> {
        self.find_call(dialog.call_id, dialog.to_tag?, dialog.from_tag.unwrap_or_default())
    }
}

/// Whether our Contact has to be a SIPS URI (RFC 3261 §12.1.1). It has to be if the request-URI is one or the topmost
/// Record-Route is one; without Record-Route, if the caller's Contact is one.
fn asks_for_sips(invite: &Message<'_>) -> bool {
    let route = invite.values(Name::RecordRoute).next().and_then(NameAddr::parse);
    is_sips(invite.request_uri()) || route.or_else(|| invite.contact()).is_some_and(|address| is_sips(address.uri))
}

/// Whether this is a SIPS URI.
fn is_sips(uri: &[u8]) -> bool {
    uri.get(..5).is_some_and(|scheme| scheme.eq_ignore_ascii_case(b"sips:"))
}

/// When an INVITE's `Expires` runs out.
fn expires(request: &Request<'_>, now: Time) -> Time {
    debug_assert_eq!(request.method, Method::Invite);
    let seconds = request.msg.header(Name::Expires).and_then(delta_seconds);
    seconds.map_or(Time::NEVER, |seconds| now + Duration::from_secs(u64::from(seconds)))
}
