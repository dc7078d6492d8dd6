//! Responses: their writing, and the server transactions that are opened, advanced and closed with them.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::call::allowance::{Allowance, Purpose};
use crate::call::exchange::{Arrival, CallKey, Hop, Output, Path};
use crate::call::request::Request;
use crate::call::server::{Kept, Seqs, Server, ServerKey, State, Way};
use crate::call::slab::Handle;
use crate::call::uas::{Timer, Uas};
use crate::fingerprint::Fingerprint;
use crate::ids::{Seq, encode};
use crate::time::Time;
use crate::transaction::Resend;
use crate::wire::sip::{Message, Method, ResponseWriter, capabilities, reason_phrase, where_to};
use crate::words::ReplyFrom;

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
    pub(super) fn answer(
        &mut self,
        request: &Request<'_>,
        arrival: &Arrival,
        call: Option<CallKey>,
        response: &Response<'_>,
        now: Time,
    ) {
        match self.open(request, arrival, Keep::Nothing, now) {
            Some(key) => {
                if let Some(server) = self.servers.get_mut(key) {
                    server.call = call;
                }
                self.respond(key, request, response, now);
            }
            None => self.answer_statelessly(request, arrival, response),
        }
    }

    /// Answers without keeping anything (RFC 3261 §8.2.7): the same request gets the same answer again.
    pub(super) fn answer_statelessly(&mut self, request: &Request<'_>, arrival: &Arrival, response: &Response<'_>) {
        let way = self.way(request.msg, arrival);
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
    pub(super) fn open(
        &mut self,
        request: &Request<'_>,
        arrival: &Arrival,
        keep: Keep,
        now: Time,
    ) -> Option<ServerKey> {
        let length = request.msg.bytes().len();
        if self.servers.is_full() || self.kept_bytes + length > self.limits.kept_bytes {
            return None;
        }
        let invite = request.method == Method::Invite;
        let kept = match keep {
            Keep::Request => Kept::Request(Arc::from(request.msg.bytes())),
            Keep::Nothing => Kept::Nothing,
        };
        self.kept_bytes += kept.bytes();
        // A copy is answered by 482. That answer must not make the next attempt a copy.
        let merged = request.to_tag.is_none().then(|| self.prints.merged(request));
        let merged = merged.filter(|merged| !self.is_merged(*merged, arrival, now));
        let end = if invite { now + TRYING_AFTER } else { now + self.timers.t64() };
        let way = self.way(request.msg, arrival);
        // The source is not forged on a connection, nor if the request has our tag and comes from the host that the tag
        // was told to: its sender hears us.
        let call = request.to_tag.and_then(|tag| self.find_call(request.call_id, tag, request.from_tag));
        let told = call.and_then(|call| self.calls.get(call)?.place.told);
        let may_be_forged = invite && told != Some(arrival.source.ip()) && !way.hop.is_reliable();
        let key = self.servers.insert(Server {
            fingerprint: self.prints.transaction(request),
            merged,
            state: State::Proceeding { invite },
            kept,
            way,
            call: None,
            seqs: Seqs::new(arrival.seq()),
            direct: arrival.seq().is_none(),
            follows: arrival.follows,
            cseq: request.cseq.number,
            resend: None,
            acknowledged: None,
            allowance: if may_be_forged { Allowance::unheard() } else { Allowance::heard() },
            end,
            armed: Time::NEVER,
        })?;
        self.index(key);
        if keep == Keep::Request {
            self.arm_server(key);
        }
        Some(key)
    }

    /// Sends a response within a transaction and moves it to its next state.
    pub(super) fn respond(&mut self, key: ServerKey, request: &Request<'_>, response: &Response<'_>, now: Time) {
        let Some(server) = self.servers.get(key) else { return };
        let (way, invite) = (server.way, matches!(server.state, State::Proceeding { invite: true }));
        let bytes = self.write(request, &way, response);
        let what = if response.status < 200 { Purpose::Provisional } else { Purpose::Final };
        if self.servers.get_mut(key).is_some_and(|server| server.allowance.take(what)) {
            self.outputs.push_back(way.transmit(&bytes));
        }
        if response.status < 200 {
            let kept = server_request(self.servers.get(key)).map(|request| Kept::Both(request, bytes));
            if let Some(kept) = kept {
                self.keep(key, kept);
            }
            if let Some(server) = self.servers.get_mut(key) {
                server.end = if response.status == 100 { Time::NEVER } else { now + server.says_again_after() };
            }
            self.arm_server(key);
            return;
        }
        let timers = self.timers;
        let success = response.status < 300;
        let reliable = way.hop.is_reliable();
        let Some(server) = self.servers.get_mut(key) else { return };
        self.outputs.extend(server.seqs.drain().flat_map(|seq| [response.end_of(seq), Output::Answered(seq)]));
        server.end = now + timers.t64();
        match (invite, success) {
            (true, true) => {
                // RFC 3261 §13.3.1.4: the core repeats a 2xx over every transport, until the ACK.
                server.state = State::Accepted;
                server.resend = Some(Resend::first(timers.t1, now));
            }
            (true, false) => {
                server.state = State::Completed { invite };
                server.resend = (!reliable).then(|| Resend::first(timers.t1, now));
            }
            (false, _) => server.state = State::Completed { invite },
        }
        if !invite && reliable {
            self.close(key);
            return;
        }
        let needed = !reliable || (invite && success);
        self.keep(key, if needed { Kept::Response(bytes) } else { Kept::Nothing });
        self.arm_server(key);
    }

    /// Ends a transaction without an answer; handed-over messages that it still has are reported as dealt with.
    pub(super) fn close(&mut self, key: ServerKey) {
        self.keep(key, Kept::Nothing);
        self.unindex(key);
        if let Some(mut server) = self.servers.remove(key) {
            self.outputs.extend(server.seqs.drain().map(Output::Answered));
        }
    }

    /// Changes what a transaction holds.
    pub(super) fn keep(&mut self, key: ServerKey, kept: Kept) {
        let Some(server) = self.servers.get_mut(key) else { return };
        self.kept_bytes = self.kept_bytes - server.kept.bytes() + kept.bytes();
        server.kept = kept;
    }

    /// A copy of the request of `key` has come.
    pub(super) fn on_retransmission(&mut self, key: ServerKey, request: &Request<'_>, arrival: &Arrival) {
        let way = self.way(request.msg, arrival);
        let Some(server) = self.servers.get_mut(key) else { return };
        if server.way.source.ip() != way.source.ip() {
            // The copy comes from another host: the worker cannot tell which of the two hears us.
            if !way.hop.is_reliable() && server.allowance.is_heard() {
                server.allowance = Allowance::unheard();
            }
            let call = server.call.filter(|_| request.method == Method::Invite && request.to_tag.is_none());
            call.and_then(|call| self.calls.get_mut(call)).into_iter().for_each(|call| call.place.told = None);
        }
        if is_same_sender(request.msg, &way, &server.way) {
            server.way = way;
        }
        let again = match server.state {
            State::Confirmed => None,
            // RFC 6026 §7.1 absorbs a copy after a 2xx, which the core repeats at its own pace. But as long as the
            // caller has not shown that it hears us the core repeats little, and a caller that asks again has heard
            // nothing.
            State::Accepted | State::Proceeding { .. } | State::Completed { .. } => server.kept.response().cloned(),
        };
        let over =
            if server.is_proceeding() { arrival.seq().and_then(|seq| server.seqs.add(seq)) } else { arrival.seq() };
        self.outputs.extend(again.map(|bytes| way.transmit(&bytes)));
        self.outputs.extend(over.map(Output::Answered));
    }

    /// The wheel points at a server transaction.
    pub(super) fn on_server_timer(&mut self, key: ServerKey, now: Time) {
        let Some(server) = self.servers.get_mut(key) else { return };
        if now < server.armed {
            return;
        }
        server.armed = Time::NEVER;
        if server.end <= now {
            self.on_server_end(key, now);
            return;
        }
        if let Some(resend) = server.resend.filter(|resend| resend.is_due(now)) {
            if server.allowance.take(Purpose::Final) {
                server.resend = Some(resend.next(self.timers.t2, now));
                self.outputs.extend(server.kept.response().map(|bytes| server.way.transmit(bytes)));
            } else {
                server.resend = Some(resend.suspend());
                server.call.into_iter().for_each(|call| self.give_up(call));
            }
        }
        self.arm_server(key);
    }

    fn on_server_end(&mut self, key: ServerKey, now: Time) {
        let Some(server) = self.servers.get_mut(key) else { return };
        match server.state {
            State::Proceeding { invite: true } if let Some(last) = server.kept.response() => {
                if server.allowance.take(Purpose::Provisional) {
                    self.outputs.push_back(server.way.transmit(last));
                }
                server.end = now + server.says_again_after();
                self.arm_server(key);
            }
            // RFC 3261 §17.2.1: a 100 leaves when the application takes more than 200 ms.
            State::Proceeding { invite: true } => {
                self.with_request(key, |uas, request| uas.respond(key, request, &Response::status(100), now));
            }
            // The application has not decided during the whole life of the transaction.
            State::Proceeding { invite: false } => {
                let call = server.call;
                self.with_request(key, |uas, request| uas.respond(key, request, &Response::status(500), now));
                call.into_iter().for_each(|call| self.on_undecided(call, key, now));
            }
            State::Accepted => {
                let unacknowledged = server.resend.is_some();
                let call = server.call;
                let has_bye = server.allowance.take(Purpose::Bye);
                self.close(key);
                if let Some(call) = call.filter(|_| unacknowledged) {
                    self.on_no_ack(call, key, has_bye, now);
                }
            }
            State::Completed { .. } | State::Confirmed => self.close(key),
        }
    }

    /// Files a transaction with the wheel, unless the wheel looks at it early enough anyway.
    pub(super) fn arm_server(&mut self, key: ServerKey) {
        let Some(server) = self.servers.get_mut(key) else { return };
        let due = server.due();
        if due < server.armed {
            server.armed = due;
            self.wheel.schedule(due, Timer::Server(key));
        }
    }

    /// The transaction of this fingerprint.
    pub(super) fn find_server(&self, fingerprint: Fingerprint) -> Option<ServerKey> {
        let same = |index: &u32| self.servers.at(*index).is_some_and(|(_, server)| server.fingerprint == fingerprint);
        let index = self.by_fingerprint.find(fingerprint.short(), same)?;
        self.servers.at(*index).map(|(key, _)| key)
    }

    /// Whether another copy of a request outside a dialog was being dealt with when this one arrived.
    pub(super) fn is_merged(&self, merged: Fingerprint, arrival: &Arrival, now: Time) -> bool {
        // The message may have waited on the link before this worker read it, so the dispatcher's time of arrival
        // counts.
        let (t4, at) = (self.timers.t4, arrival.received.unwrap_or(now));
        let is_copy = |server: &Server| server.merged == Some(merged) && server.is_ongoing(t4, at);
        let mut beside = self.by_merged.iter_hash(merged.short());
        beside.any(|index| self.servers.at(*index).is_some_and(|(_, server)| is_copy(server)))
    }

    /// Reads the kept request of a transaction and does something with it.
    pub(super) fn with_request<R>(
        &mut self,
        key: ServerKey,
        then: impl FnOnce(&mut Self, &Request<'_>) -> R,
    ) -> Option<R> {
        let bytes = server_request(self.servers.get(key))?;
        let mut scanner = self.scanner.take().unwrap_or_default();
        let result = match scanner.scan(&bytes) {
            Ok(msg) => Request::read(&msg).map(|request| then(self, &request)),
            // The error cannot happen: the request was scanned when it came.
            Err(_) => None,
        };
        self.scanner = Some(scanner);
        result
    }

    /// The way that the response to a request takes (RFC 3261 §18.2.2, RFC 3581 §4).
    pub(super) fn way(&self, request: &Message<'_>, arrival: &Arrival) -> Way {
        let hop = match arrival.path {
            Path::Own(socket) => Hop::Own(socket),
            Path::Stream(conn) => Hop::Stream(conn),
            Path::Handoff { conn, .. } if conn.0 != 0 => Hop::Dispatcher(conn),
            Path::Handoff { listener, .. } => {
                let held = self.identity.duplicates.get(usize::from(listener.0)).copied().unwrap_or(false);
                match self.identity.reply_from {
                    ReplyFrom::Listener if held => Hop::Listener(listener.0),
                    _ => Hop::Own(self.identity.own_socket(arrival.local.ip())),
                }
            }
        };
        let to = match hop {
            // The address to dial if the connection is gone (RFC 3261 §18.2.2).
            Hop::Stream(_) => stated_port(request, arrival.source),
            Hop::Dispatcher(_) | Hop::Dial => arrival.source,
            Hop::Own(_) | Hop::Listener(_) => where_to(request, arrival.source),
        };
        Way { hop, source: arrival.source, to, from: Some(arrival.local.ip()) }
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

    fn index(&mut self, key: ServerKey) {
        let Some(server) = self.servers.get(key) else { return };
        let (fingerprint, merged) = (server.fingerprint, server.merged);
        let servers = &self.servers;
        self.by_fingerprint.insert_unique(fingerprint.short(), key.index(), |index| {
            servers.at(*index).map_or(0, |(_, server)| server.fingerprint.short())
        });
        if let Some(merged) = merged {
            self.by_merged.insert_unique(merged.short(), key.index(), |index| {
                servers.at(*index).and_then(|(_, server)| server.merged).map_or(0, |merged| merged.short())
            });
        }
    }

    pub(super) fn unindex(&mut self, key: ServerKey) {
        let Some(server) = self.servers.get(key) else { return };
        let (fingerprint, merged) = (server.fingerprint, server.merged);
        if let Ok(entry) = self.by_fingerprint.find_entry(fingerprint.short(), |index| *index == key.index()) {
            entry.remove();
        }
        if let Some(merged) = merged
            && let Ok(entry) = self.by_merged.find_entry(merged.short(), |index| *index == key.index())
        {
            entry.remove();
        }
    }
}

/// Whether a transaction keeps its request for the application.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Keep {
    Request,
    Nothing,
}

/// RFC 3261 §17.2.1.
const TRYING_AFTER: Duration = Duration::from_millis(200);
/// RFC 3261 §13.3.1.1: a ringing call sends a provisional response every minute, or proxies on its way give up (timer
/// C).
const PROVISIONAL_EVERY: Duration = Duration::from_secs(60);
/// Time of the last provisional response if only one more is allowed: timer C is 3 minutes, and 2 in some proxies.
const PROVISIONAL_ONCE_MORE: Duration = Duration::from_secs(110);

impl Server {
    /// Time after which a call that still rings sends a provisional response again.
    const fn says_again_after(&self) -> Duration {
        if self.allowance.is_heard() { PROVISIONAL_EVERY } else { PROVISIONAL_ONCE_MORE }
    }
}

/// Whether a copy comes from the sender of the request. A NAT binding that has changed brings it from another port of
/// the same address. A copy from another address may come from any host that has seen the request. The same is true of
/// a copy without `rport` if the request had it. Such a copy gets its own answer, and the other responses go where they
/// went.
fn is_same_sender(copy: &Message<'_>, its: &Way, known: &Way) -> bool {
    let asks_for_port = copy.via().is_some_and(|via| via.params().has(b"rport"));
    its.source.ip() == known.source.ip() && (asks_for_port || known.to != known.source || its.to == known.to)
}

/// The source's address with the port that the request's Via names.
pub(super) fn stated_port(request: &Message<'_>, source: SocketAddr) -> SocketAddr {
    let port = request.via().map(|via| via.port.unwrap_or(via.default_port()));
    SocketAddr::new(source.ip(), port.unwrap_or(source.port()))
}

fn server_request(server: Option<&Server>) -> Option<Arc<[u8]>> {
    server?.kept.request().cloned()
}
