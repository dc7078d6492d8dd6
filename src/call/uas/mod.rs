//! The user agent: its state, its inputs and outputs. The files beside this one handle the requests.

mod body;
mod carried;
mod client;
mod dialog;
mod ending;
mod heard;
mod invite;
mod next_hop;
mod options;
mod refresh;
mod reliable;
mod reoffer;
mod request;
mod respond;
mod rooms;
mod server;
mod session_timer;
mod standalone;
mod unanswerable;
mod units;

#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use crate::call::exchange::{Arrival, CallKey, EndReason, Event, Hop, Load, Output, Path};
use crate::call::identity::{Identity, Limits, SessionTimer};
use crate::call::refused::Refused;
use crate::call::strangers::{Claim, Strangers};
use crate::call::uas::carried::Carried;
use crate::call::uas::client::{Client, ClientKey};
use crate::call::uas::dialog::Dialog;
use crate::call::uas::heard::Heard;
use crate::call::uas::refresh::Session;
use crate::call::uas::reliable::Reliable;
use crate::call::uas::request::{Fingerprints, Request, without_prefix};
use crate::call::uas::respond::Response;
use crate::call::uas::rooms::{RoomSeat, Rooms};
use crate::call::uas::server::{Server, ServerKey, Servers};
use crate::call::uas::standalone::may_stand_alone;
use crate::ids::{Seq, decode, encode};
use crate::slab::{Handle, Slab};
use crate::time::{Time, Wheel};
use crate::transaction::LIFETIME;
use crate::wire::sip::{Message, Method, Scanner};
use crate::words::{RefuseReason, Transport};

pub use self::reliable::Delivery;

/// The user agent of one worker.
#[derive(Debug)]
pub struct Uas {
    identity: Identity,
    limits: Limits,
    session_timer: SessionTimer,
    prints: Fingerprints,
    calls: Slab<CallKey, Call>,
    servers: Servers,
    clients: Slab<ClientKey, Client>,
    carried: Carried,
    refused: Refused,
    /// Conferences of which a leg was given back.
    refused_conferences: Refused,
    wheel: Wheel<Timer>,
    outputs: VecDeque<Output>,
    /// `None` only while it is lent out.
    scanner: Option<Scanner>,
    scratch: Vec<u8>,
    load: Load,
    strangers: Strangers,
    rooms: Rooms,
    /// Units of the capacity that sessions other than SIP calls take.
    elsewhere: u32,
    draining: bool,
    count: u64,
}

/// The dispatcher sends no message that it placed by selection so late that it is read more than 2 s after it came.
const LEGS_FOLLOW_WITHIN: Duration = Duration::from_secs(4);

/// One call.
#[derive(Debug)]
struct Call {
    dialog: Dialog,
    phase: Phase,
    size: u32,
    /// Its place in a conference, whose reservation it shares.
    seat: Option<RoomSeat>,
    /// The part of the size that it claims before its far end has been heard.
    claim: Claim,
    place: Addresses,
    /// The stream connection that its peer was last heard on.
    conn: Option<u64>,
    /// The initial INVITE without a final response, or the (re-)INVITE whose 2xx waits for its ACK.
    invite: Option<ServerKey>,
    /// A request in the dialog whose offer the application has not answered yet.
    asked: Option<ServerKey>,
    /// Whether an offer of ours waits for its answer.
    offered: bool,
    /// A refresh of ours that is under way.
    refresh: Option<ClientKey>,
    session: Option<Session>,
    reliable: Option<Box<Reliable>>,
    /// The session description we gave last; a refresh offers it again.
    sdp: Option<Box<[u8]>>,
    /// The call that this one replaces.
    replaces: Option<CallKey>,
    /// Whether a 180 is due before the answer.
    ring_first: bool,
    /// When the INVITE's `Expires` runs out.
    expires: Time,
    /// Whether we refresh by UPDATE (RFC 3311).
    takes_update: bool,
    /// Whether the peer has listed UPDATE in `Allow`.
    allows_update: bool,
    /// The shortest session interval that the peer has asked for when it refused a refresh of ours (RFC 4028 §7.4), in
    /// seconds.
    min_se: u32,
    /// Copies of our requests that left for an address from which neither its INVITE nor an answer has come.
    unanswered: u8,
    /// When the wheel looks at it next.
    armed: Time,
}

/// The progress of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// No final response to the initial INVITE yet.
    Early,
    /// Our 2xx waits for its ACK. With a reason: we hang up as soon as the ACK has come (RFC 3261 §15).
    Accepted(Option<EndReason>),
    /// Acknowledged.
    Confirmed,
    /// Our BYE waits for its answer. The application has been told already.
    Ending,
}

/// The addresses by which the peer and we reach each other.
#[derive(Clone, Copy, Debug)]
struct Addresses {
    /// The address in our Contact and Via.
    contact: SocketAddr,
    transport: Transport,
    pinned: bool,
    /// The way of our own requests to a route or a Contact.
    hop: Hop,
    from: Option<IpAddr>,
    /// Whether our Contact is a SIPS URI (RFC 3261 §12.1.1).
    secure: bool,
    /// Source of the INVITE.
    source: SocketAddr,
    /// Address and socket where the far end was heard last.
    heard: Heard,
    /// Whether it has shown that it hears us.
    is_heard: bool,
    /// The host that our tag was told to, as long as it is one host only: a sender that knows the tag hears us there.
    told: Option<IpAddr>,
}

/// An entry of the wheel.
#[derive(Clone, Copy, Debug)]
enum Timer {
    Server(ServerKey),
    Client(ClientKey),
    Call(CallKey),
}

impl Uas {
    /// A user agent without calls.
    pub fn new(identity: Identity, limits: Limits, session_timer: SessionTimer) -> Self {
        Uas {
            prints: Fingerprints::new(identity.seed),
            identity,
            calls: Slab::new(limits.calls),
            servers: Servers::new(limits.transactions, limits.kept_bytes),
            clients: Slab::new(limits.calls),
            carried: Carried::default(),
            refused: Refused::new(LIFETIME),
            refused_conferences: Refused::new(LEGS_FOLLOW_WITHIN),
            // 10 ms are fine enough for T1; one turn is 20 s, so that session timers are passed over rarely.
            wheel: Wheel::new(Duration::from_millis(10), 2_048, 1_024),
            outputs: VecDeque::new(),
            scanner: Some(Scanner::new()),
            scratch: Vec::new(),
            load: Load::default(),
            strangers: Strangers::new(),
            rooms: Rooms::default(),
            elsewhere: 0,
            draining: false,
            count: 0,
            limits,
            session_timer,
        }
    }

    /// Takes a message. Its consequences come out of [`Uas::poll_output`].
    pub fn on_message(&mut self, msg: &Message<'_>, arrival: &Arrival, now: Time) {
        if !msg.is_request() {
            self.on_response(msg, now);
            self.dealt_with(arrival);
            return;
        }
        match Request::read(msg) {
            Some(request) => self.on_request(&request, arrival, now),
            None => self.on_incomplete(msg, arrival),
        }
    }

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

    /// The next output; `None` when there is none until the next input or [`Uas::poll_timeout`].
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// Time has passed.
    pub fn handle_timeout(&mut self, now: Time) {
        while let Some(timer) = self.wheel.poll_expired(now) {
            match timer {
                Timer::Server(key) => self.on_server_timer(key, now),
                Timer::Client(key) => self.on_client_timer(key, now),
                Timer::Call(key) => self.on_call_timer(key, now),
            }
        }
    }

    /// When [`Uas::handle_timeout`] is to be called next.
    pub fn poll_timeout(&self) -> Option<Time> {
        self.wheel.poll_timeout()
    }

    /// Whether new calls are turned away.
    pub fn set_draining(&mut self, draining: bool) {
        self.draining = draining;
    }

    /// Whether new calls are turned away.
    pub const fn is_draining(&self) -> bool {
        self.draining
    }

    /// The dispatcher is gone. Messages it has handed over can no longer be given back, so they are answered. A message
    /// that was given back may not have reached another worker: a new dispatcher that selects us for it does so for the
    /// first time.
    pub fn on_dispatcher_lost(&mut self) {
        self.refused = Refused::new(LIFETIME);
        self.refused_conferences = Refused::new(LEGS_FOLLOW_WITHIN);
        let keys: Vec<ServerKey> = self.servers.keys().collect();
        for key in keys {
            self.servers.change(key, Server::stay);
        }
    }

    /// The initial INVITEs that were handed over and have no final response yet, by the number of their first copy.
    pub fn unanswered(&self) -> impl Iterator<Item = (Seq, Arc<[u8]>)> {
        let undecided = self.calls.keys().filter_map(|key| self.servers.get(self.undecided(key)?));
        undecided.filter_map(|server| Some((server.first_seq()?, server.transaction().request()?.clone())))
    }

    /// A new dispatcher has other well-known sockets. Sockets that existed before keep their numbers.
    pub fn set_listeners(&mut self, listeners: Vec<SocketAddr>, duplicates: Vec<bool>) {
        self.identity.listeners = listeners;
        self.identity.duplicates = duplicates;
    }

    /// All calls that are not over.
    pub fn calls(&self) -> impl Iterator<Item = CallKey> + '_ {
        self.calls.keys().filter(|key| self.calls.get(*key).is_some_and(|call| call.phase != Phase::Ending))
    }

    /// Whether nothing is left: no call, no transaction.
    pub fn is_idle(&self) -> bool {
        self.calls.is_empty() && self.servers.is_empty() && self.clients.is_empty()
    }

    /// Whether all own requests have been answered and all calls are over; transactions may still wait for
    /// retransmissions.
    pub fn is_quiet(&self) -> bool {
        self.calls.is_empty()
    }

    fn on_request(&mut self, request: &Request<'_>, arrival: &Arrival, now: Time) {
        let known = self.servers.find(self.prints.transaction(request));
        match (request.method, known) {
            (Method::Ack, _) => return self.on_ack(request, known, arrival, now),
            (_, Some(key)) if self.is_another(key, request) => self.servers.unindex(key),
            (_, Some(key)) => return self.on_retransmission(key, request, arrival),
            _ => {}
        }
        if self.give_back(request, arrival, now) {
            return;
        }
        if request.method == Method::Cancel {
            return self.on_cancel(request, arrival, now);
        }
        match request.to_tag {
            Some(tag) => match self.find_call(request.call_id, tag, request.from_tag) {
                Some(call) => self.on_request_in_dialog(call, request, arrival, now),
                // RFC 3261 §12.2.2. The same answer goes to requests in calls of an earlier process that had this port.
                None => self.answer_statelessly(request, arrival, &Response::status(481)),
            },
            None => self.on_request_outside_dialog(request, arrival, now),
        }
    }

    /// Whether a request with the branch of a known transaction is no copy of it. Some clients keep the branch of their
    /// first request (against RFC 3261 §8.1.1.7) and count CSeq on. Without an answer their call would end.
    fn is_another(&self, key: ServerKey, request: &Request<'_>) -> bool {
        self.servers.get(key).is_some_and(|server| server.transaction().cseq() < request.cseq.number)
    }

    /// Gives back a request that comes too late, or that follows a transaction that was given back.
    fn give_back(&mut self, request: &Request<'_>, arrival: &Arrival, now: Time) -> bool {
        let Some(seq) = arrival.seq() else { return false };
        // A copy has `follows`, because the dispatcher sent it after its request. A request that is placed here anew is
        // the next attempt.
        let is_copy =
            arrival.follows && request.to_tag.is_none() && self.refused.contains(self.prints.merged(request), now);
        if is_copy || self.refused.contains(self.prints.invite(request), now) {
            self.outputs.push_back(Output::Refuse(seq, RefuseReason::Follows));
            return true;
        }
        if arrival.follows {
            return false;
        }
        if arrival.deadline.is_some_and(|deadline| deadline < now) {
            self.note_refusal(request, now);
            self.outputs.push_back(Output::Refuse(seq, RefuseReason::Late));
            return true;
        }
        // The conference is placed elsewhere together with the leg that was given back: a leg that was on its way then
        // must not open it here.
        let leg = self.prints.conference(request);
        let is_elsewhere = leg.is_some_and(|leg| self.refused_conferences.contains(leg, now));
        if is_elsewhere {
            self.note_refusal(request, now);
            self.outputs.push_back(Output::Refuse(seq, RefuseReason::Follows));
        }
        is_elsewhere
    }

    /// Notes that a request is given back to the dispatcher: its copies and the requests that follow it must go back as
    /// well.
    fn note_refusal(&mut self, request: &Request<'_>, now: Time) {
        self.refused.insert(self.prints.invite(request), now);
        self.refused.insert(self.prints.merged(request), now);
        if let Some(conference) = self.prints.conference(request) {
            self.refused_conferences.insert(conference, now);
        }
    }

    /// A request without all mandatory headers: 400 if it has enough for an answer.
    fn on_incomplete(&mut self, msg: &Message<'_>, arrival: &Arrival) {
        self.answer_incomplete(msg, 400, "Malformed Via, From, To, Call-ID or CSeq", arrival);
        self.dealt_with(arrival);
    }

    /// The ACK of a 2xx or of a 300–699. It is never answered.
    fn on_ack(&mut self, request: &Request<'_>, known: Option<ServerKey>, arrival: &Arrival, now: Time) {
        let completed = known
            .filter(|key| self.servers.get(*key).is_some_and(|server| server.transaction().waits_for_ack_of_refusal()));
        if let Some(key) = completed {
            self.on_ack_of_refusal(key, now);
        } else if let Some(tag) = request.to_tag
            && let Some(call) = self.find_call(request.call_id, tag, request.from_tag)
        {
            self.carry(call, arrival);
            self.on_heard(call, request, arrival, now);
            self.on_ack_of_success(call, request, now);
        }
        self.dealt_with(arrival);
    }

    fn on_request_in_dialog(&mut self, key: CallKey, request: &Request<'_>, arrival: &Arrival, now: Time) {
        self.carry(key, arrival);
        let Some(call) = self.calls.get_mut(key) else { return };
        if call.phase == Phase::Ending && request.method != Method::Bye {
            // RFC 3261 §15.1.1: with our BYE the dialog is over.
            return self.answer(request, arrival, Some(key), &Response::status(481), now);
        }
        if request.cseq.number < call.dialog.remote_cseq {
            // RFC 3261 §12.2.2: a later request has overtaken it.
            return self.answer(request, arrival, Some(key), &Response::status(500), now);
        }
        call.dialog.remote_cseq = request.cseq.number;
        self.on_heard(key, request, arrival, now);
        if let Some(refusal) = self.screen(request) {
            return self.refuse_request(&refusal, request, arrival, Some(key), now);
        }
        match request.method {
            Method::Invite => self.on_reinvite(key, request, arrival, now),
            Method::Update => self.on_update(key, request, arrival, now),
            Method::Prack => self.on_prack(key, request, arrival, now),
            Method::Bye => self.on_bye(key, request, arrival, now),
            Method::Info => self.on_info(key, request, arrival, now),
            // The remaining method is OPTIONS: `screen` has let through only methods that `Allow` lists.
            _ => self.on_options(request, arrival),
        }
    }

    fn on_request_outside_dialog(&mut self, request: &Request<'_>, arrival: &Arrival, now: Time) {
        // A message that came through the dispatcher has passed this check.
        if arrival.seq().is_none()
            && let Err(fault) = request.msg.check()
        {
            self.answer_incomplete(request.msg, fault.status().unwrap_or(400), fault.phrase(), arrival);
            return;
        }
        // RFC 3261 §8.2.2.2: a second copy on another way. This check precedes the others, which would answer it
        // differently.
        if self.is_merged(self.prints.merged(request), arrival, now) {
            return self.answer(request, arrival, None, &Response::status(482), now);
        }
        // The dispatcher hands over requests that the operator's `methods` let through: the application decides about
        // them.
        if arrival.seq().is_some() && may_stand_alone(request.method) {
            return self.ask_application(request, arrival, now);
        }
        if let Some(refusal) = self.screen(request) {
            return self.refuse_request(&refusal, request, arrival, None, now);
        }
        match request.method {
            Method::Invite => self.on_invite(request, arrival, now),
            Method::Options => self.on_options(request, arrival),
            // BYE, UPDATE, PRACK, INFO, NOTIFY: they need a dialog.
            _ => self.answer_statelessly(request, arrival, &Response::status(481)),
        }
    }

    /// The call whose dialog has these tags. Our tag contains the call's place.
    fn find_call(&self, call_id: &[u8], local_tag: &[u8], remote_tag: &[u8]) -> Option<CallKey> {
        let rest = without_prefix(local_tag, self.identity.token.as_bytes())?.strip_prefix(b"-")?;
        let (key, call) = self.calls.at(u32::try_from(decode(rest.get(..7)?)?).ok()?)?;
        call.dialog.matches(call_id, local_tag, remote_tag).then_some(key)
    }

    /// The tag of the call that will be put in place `key`.
    fn tag_for(&mut self, key: CallKey) -> String {
        let mut text = [0; 15];
        encode(u64::from(key.index()), &mut text[..7]);
        encode(self.number(b'g'), &mut text[7..]);
        format!("{}-{}", self.identity.token, std::str::from_utf8(&text).unwrap_or_default())
    }

    /// The addresses by which the peer of a call and we reach each other.
    fn place(&self, msg: &Message<'_>, arrival: &Arrival) -> Addresses {
        let local = arrival.local.ip();
        let own = self.identity.own_socket(local);
        let (listener, through_dispatcher) = match arrival.path {
            Path::Handoff { listener, reply_to, .. } => (Some(listener.0), reply_to.is_through_dispatcher()),
            Path::Own(_) | Path::Stream(_) => (None, false),
        };
        let well_known = listener.and_then(|number| self.identity.listeners.get(usize::from(number)));
        let port = match well_known.filter(|_| arrival.pinned) {
            Some(address) => address.port(),
            None => self.identity.own.get(usize::from(own)).map_or(0, SocketAddr::port),
        };
        let heard = self.way_back(msg, arrival, arrival.pinned);
        let hop = match (arrival.path, through_dispatcher) {
            (_, true) => Hop::Dial,
            (Path::Own(socket), _) => Hop::Own(socket),
            (Path::Handoff { .. } | Path::Stream(_), _) => Hop::Own(own),
        };
        Addresses {
            contact: SocketAddr::new(self.identity.public_ip(listener, local), port),
            transport: arrival.transport,
            pinned: arrival.pinned && well_known.is_some(),
            hop,
            from: Some(local),
            secure: false,
            source: arrival.source,
            heard,
            is_heard: false,
            told: Some(arrival.source.ip()),
        }
    }

    /// The Contact value of a call.
    fn contact(&self, place: &Addresses) -> Vec<u8> {
        use std::io::Write as _;
        let mut out = Vec::with_capacity(64);
        let scheme = if place.secure { "sips" } else { "sip" };
        // The port does not identify a pinned dialog's worker, so the token is added. Writing to a Vec cannot fail.
        let _ = match place.pinned {
            true => write!(out, "<{scheme}:{}@{}", self.identity.token, place.contact),
            false => write!(out, "<{scheme}:{}", place.contact),
        };
        match place.transport {
            Transport::Udp | Transport::Mgcp => out.extend_from_slice(b">"),
            // Our own port uses TCP; a pinned peer uses the transport of the dispatcher's connection.
            Transport::Tcp => out.extend_from_slice(b";transport=tcp>"),
            _ if !place.pinned => out.extend_from_slice(b";transport=tcp>"),
            Transport::Tls => out.extend_from_slice(b";transport=tls>"),
            Transport::Ws | Transport::Wss => out.extend_from_slice(b";transport=ws>"),
        }
        out
    }

    /// A number that cannot be predicted from outside.
    fn number(&mut self, purpose: u8) -> u64 {
        self.count += 1;
        self.prints.number(purpose, self.count)
    }

    fn tell(&mut self, key: CallKey, event: Event) {
        self.outputs.push_back(Output::Event(key, event));
    }

    /// Files a call with the wheel, unless the wheel looks at it early enough anyway.
    fn arm_call(&mut self, key: CallKey) {
        let Some(call) = self.calls.get_mut(key) else { return };
        let due = call.due();
        if due < call.armed {
            call.armed = due;
            self.wheel.schedule(due, Timer::Call(key));
        }
    }

    fn on_call_timer(&mut self, key: CallKey, now: Time) {
        let Some(call) = self.calls.get_mut(key) else { return };
        if now < call.armed {
            return;
        }
        call.armed = Time::NEVER;
        if call.phase == Phase::Early && call.expires <= now {
            return self.on_invite_expired(key, now);
        }
        self.on_reliable_timer(key, now);
        self.on_session_timer(key, now);
        self.arm_call(key);
    }
}

impl Call {
    fn due(&self) -> Time {
        let expires = if self.phase == Phase::Early { self.expires } else { Time::NEVER };
        let reliable = self.reliable.as_ref().map_or(Time::NEVER, |reliable| reliable.due());
        let session =
            self.session.as_ref().filter(|_| self.phase == Phase::Confirmed).map_or(Time::NEVER, |session| session.due);
        expires.min(reliable).min(session)
    }
}
