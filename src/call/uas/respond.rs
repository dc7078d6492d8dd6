//! Responses: their writing, and the server transactions that are opened, advanced and closed with them.

use std::sync::Arc;

use crate::call::exchange::{Arrival, CallKey, Output, Way};
use crate::call::uas::request::{Case, Request};
use crate::call::uas::server::{Server, ServerKey};
use crate::call::uas::way::is_same_sender;
use crate::call::uas::{Timer, Uas};
use crate::fingerprint::Fingerprint;
use crate::ids::{Seq, encode};
use crate::time::Time;
use crate::transaction::Kind;
use crate::transaction::sip_server::{Due, Opening, Transaction};
use crate::wire::sip::{KeptMessage, Method, ResponseWriter, capabilities, reason_phrase};

/// The methods we serve, for `Allow`.
pub(super) const ALLOW: &[u8] = capabilities::ALLOW.as_bytes();
/// The extensions we know, for `Supported`.
pub(super) const SUPPORTED: &[u8] = capabilities::SUPPORTED.as_bytes();
/// The media type of session descriptions.
pub(super) const SDP: &str = capabilities::ACCEPT;

/// The content of a response beyond the fields that its request determines.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Response<'a> {
    pub(super) status: u16,
    /// Our tag, for a request without To-tag; one made of the request's fingerprint when absent.
    pub(super) to_tag: Option<&'a [u8]>,
    /// Whether it makes or refreshes a dialog: Record-Route is then copied.
    pub(super) dialog: bool,
    pub(super) headers: &'a [(&'a str, &'a [u8])],
    /// A session description.
    pub(super) sdp: Option<&'a [u8]>,
    /// The fault of the request, in words: the reason phrase of a 400 (RFC 3261 §21.4.1), and for the dispatcher's
    /// `explain`.
    pub(super) why: Option<&'a str>,
}

impl Response<'_> {
    pub(super) fn status(status: u16) -> Self {
        Response { status, ..Response::default() }
    }

    fn end_of(&self, seq: Seq) -> Output {
        Output::Final { seq, status: self.status, why: self.why.map(Into::into) }
    }
}

impl Uas {
    /// Answers a request for good, with a transaction that repeats the answer when asked again.
    pub(super) fn answer(&mut self, case: &Case<'_>, call: Option<CallKey>, response: &Response<'_>) {
        let Case { request, now, .. } = *case;
        match self.open(case, Keep::Nothing) {
            Some(key) => {
                if let Some(call) = call {
                    self.servers.change(key, |server| server.belong_to(call));
                }
                self.respond(key, request, response, now);
            }
            None => self.answer_statelessly(case, response),
        }
    }

    /// Answers without keeping anything (RFC 3261 §8.2.7): the same request gets the same answer again.
    pub(super) fn answer_statelessly(&mut self, case: &Case<'_>, response: &Response<'_>) {
        let Case { request, arrival, .. } = *case;
        let way = self.way(Some(&request.via), arrival);
        let bytes = self.write(request, &way, response);
        self.outputs.push_back(way.transmit(&bytes));
        if let Some(seq) = arrival.seq().filter(|_| response.status >= 200) {
            self.outputs.push_back(response.end_of(seq));
        }
        self.dealt_with(arrival);
    }

    /// A handed-over message needs nothing more.
    pub(super) fn dealt_with(&mut self, arrival: &Arrival) {
        self.outputs.extend(arrival.seq().map(Output::Answered));
    }

    /// Opens a server transaction; `None` when there is no room for it.
    pub(super) fn open(&mut self, case: &Case<'_>, keep: Keep) -> Option<ServerKey> {
        let Case { request, name, merged, arrival, now } = *case;
        if !self.servers.has_room(KeptMessage::size_of(request.msg)) {
            return None;
        }
        // A copy is answered by 482. That answer must not make the next attempt a copy.
        let merged = merged.filter(|merged| !self.is_merged(*merged, arrival, now));
        let way = self.way(Some(&request.via), arrival);
        // The source is not forged on a connection, nor if the request has our tag and comes from the host that the tag
        // was told to: its sender hears us.
        let call = request.to_tag.and_then(|tag| self.find_call(request.call_id, tag, request.from_tag));
        let told = call.and_then(|call| self.calls.get(call)?.addresses.told);
        let kind = if request.method == Method::Invite { Kind::Invite } else { Kind::Other };
        let is_reliable = way.hop.is_reliable();
        let opening = Opening {
            kind,
            cseq: request.cseq.number,
            request: (keep == Keep::Request).then(|| Arc::new(request.msg.into())),
            is_reliable,
            may_be_forged: kind == Kind::Invite && told != Some(arrival.source.ip()) && !is_reliable,
        };
        let key = self.servers.insert(Server::new(Transaction::open(opening, now), name, merged, way, arrival))?;
        if keep == Keep::Request {
            self.arm_server(key);
        }
        Some(key)
    }

    /// Sends a response within a transaction and moves it to its next state.
    pub(super) fn respond(&mut self, key: ServerKey, request: &Request<'_>, response: &Response<'_>, now: Time) {
        let Some(way) = self.servers.get(key).map(Server::way) else { return };
        let bytes = self.write(request, &way, response);
        let sent = self.servers.change(key, |server| server.respond(response.status, bytes.clone(), now));
        let Some((leaves, answered)) = sent else { return };
        if leaves {
            self.outputs.push_back(way.transmit(&bytes));
        }
        self.outputs.extend(answered.flat_map(|seq| [response.end_of(seq), Output::Answered(seq)]));
        self.settle(key);
    }

    /// Responds within a transaction of a call, with the call's own tag.
    pub(super) fn respond_in_call(
        &mut self,
        key: ServerKey,
        request: &Request<'_>,
        response: &Response<'_>,
        now: Time,
    ) {
        let call = self.servers.get(key).and_then(Server::call).and_then(|call| self.calls.get(call));
        let tag = call.map(|call| call.dialog.local_tag().to_vec());
        self.respond(key, request, &Response { to_tag: tag.as_deref(), ..*response }, now);
    }

    /// The same, to a request that was kept until now.
    pub(super) fn respond_to_kept(&mut self, key: ServerKey, response: &Response<'_>, now: Time) {
        self.with_request(key, |uas, request| uas.respond_in_call(key, request, response, now));
    }

    /// Files a transaction with the wheel, or forgets it if it is over.
    pub(super) fn settle(&mut self, key: ServerKey) {
        match self.servers.get(key) {
            Some(server) if server.transaction().is_terminated() => self.close(key),
            _ => self.arm_server(key),
        }
    }

    /// Ends a transaction without an answer; handed-over messages that it still has are reported as dealt with.
    pub(super) fn close(&mut self, key: ServerKey) {
        if let Some(mut server) = self.servers.remove(key) {
            self.outputs.extend(server.take_seqs().map(Output::Answered));
        }
    }

    /// A copy of the request of `key` has come.
    pub(super) fn on_retransmission(&mut self, key: ServerKey, case: &Case<'_>) {
        let Case { request, arrival, .. } = *case;
        let way = self.way(Some(&request.via), arrival);
        let Some((known, call)) = self.servers.get(key).map(|server| (server.way(), server.call())) else { return };
        if known.source.ip() != way.source.ip() && request.method == Method::Invite && request.to_tag.is_none() {
            let call = call.and_then(|call| self.calls.get_mut(call));
            call.into_iter().for_each(|call| call.addresses.told = None);
        }
        let is_same = is_same_sender(&request.via, &way, &known);
        let copied = self.servers.change(key, |server| server.on_copy(way, is_same, arrival.seq()));
        let Some((again, over)) = copied else { return };
        self.outputs.extend(again.map(|bytes| way.transmit(&bytes)));
        self.outputs.extend(over.map(Output::Answered));
    }

    /// The wheel points at a server transaction.
    pub(super) fn on_server_timer(&mut self, key: ServerKey, now: Time) {
        let due = self.servers.change(key, |server| (server.handle_timeout(now), server.way(), server.call()));
        let Some((Some(due), way, call)) = due else { return };
        match due {
            Due::Nothing => {}
            Due::Send(bytes) => self.outputs.push_back(way.transmit(&bytes)),
            Due::Unheard => call.into_iter().for_each(|call| self.give_up(call)),
            Due::Trying => {
                self.with_request(key, |uas, request| uas.respond(key, request, &Response::status(100), now));
            }
            // The application has not decided during the whole life of the transaction.
            Due::Undecided => {
                self.with_request(key, |uas, request| uas.respond(key, request, &Response::status(500), now));
                call.into_iter().for_each(|call| self.on_undecided(call, key, now));
            }
            Due::Unacknowledged { may_send_bye } => {
                self.close(key);
                call.into_iter().for_each(|call| self.on_no_ack(call, key, may_send_bye, now));
            }
            Due::Over => self.close(key),
        }
        self.arm_server(key);
    }

    /// Files a transaction with the wheel, unless the wheel looks at it early enough anyway.
    pub(super) fn arm_server(&mut self, key: ServerKey) {
        if let Some(Some(due)) = self.servers.change(key, Server::arm) {
            self.wheel.schedule(due, Timer::Server(key));
        }
    }

    /// Whether another copy of a request outside a dialog was being dealt with when this one arrived.
    pub(super) fn is_merged(&self, merged: Fingerprint, arrival: &Arrival, now: Time) -> bool {
        // The message may have waited on the link before this worker read it, so the dispatcher's time of arrival
        // counts.
        self.servers.is_merged(merged, arrival.received.unwrap_or(now))
    }

    /// Reads the kept request of a transaction and does something with it.
    pub(super) fn with_request<R>(
        &mut self,
        key: ServerKey,
        then: impl FnOnce(&mut Self, &Request<'_>) -> R,
    ) -> Option<R> {
        let kept = self.servers.get(key)?.transaction().request()?.clone();
        Request::read(&kept.read()).map(|request| then(self, &request))
    }

    /// Writes a response.
    fn write(&mut self, request: &Request<'_>, way: &Way, response: &Response<'_>) -> Arc<[u8]> {
        let made;
        let to_tag = match (request.to_tag, response.to_tag) {
            (Some(_), _) => None,
            // RFC 3261 §8.2.6.2: a 100 may have no tag; it makes no dialog.
            (None, None) if response.status == 100 => None,
            (None, Some(tag)) => Some(tag),
            (None, None) => {
                made = self.stateless_tag(request);
                Some(made.as_slice())
            }
        };
        let mut out = std::mem::take(&mut self.scratch);
        out.clear();
        let phrase = match response.why {
            Some(why) if response.status == 400 => why,
            _ => reason_phrase(response.status),
        };
        let mut writer =
            ResponseWriter::saying(&mut out, request.msg, response.status, phrase, Some(way.source), to_tag);
        if response.dialog {
            writer = writer.record_routes(request.msg);
        }
        for (name, value) in response.headers {
            writer = writer.header(name, value);
        }
        if !self.identity.program.is_empty() && response.status > 100 {
            writer = writer.header("Server", self.identity.program.as_bytes());
        }
        match response.sdp {
            Some(sdp) => writer.finish_with_body(SDP, sdp),
            None => writer.finish(),
        }
        let bytes = Arc::from(out.as_slice());
        self.scratch = out;
        bytes
    }

    /// A tag that is the same for every copy of a request: it is made from the transaction's fingerprint (RFC 3261
    /// §8.2.7).
    fn stateless_tag(&self, request: &Request<'_>) -> Vec<u8> {
        let fingerprint = match request.method {
            Method::Cancel => self.prints.invite(request),
            _ => self.prints.transaction(request),
        };
        let mut tag = Vec::with_capacity(self.identity.token.len() + 14);
        tag.extend_from_slice(self.identity.token.as_bytes());
        tag.extend_from_slice(b"-x");
        let mut text = [0; 12];
        encode(fingerprint.short(), &mut text);
        tag.extend_from_slice(&text);
        tag
    }
}

/// Whether a transaction keeps its request for the application.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Keep {
    Request,
    Nothing,
}
