//! The few requests a worker sends: BYE, and UPDATE or re-INVITE as refresh.

mod fail_over;
mod undelivered;

use std::mem::take;
use std::net::SocketAddr;
use std::sync::Arc;

use self::fail_over::{PLACES, Places};
use crate::call::exchange::{CallKey, Hop, Output, ResolveKey, Transmit};
use crate::call::uas::dialog::put;
use crate::call::uas::heard::Heard;
use crate::call::uas::next_hop::{Leaving, NextHop, Towards};
use crate::call::uas::request::without_prefix;
use crate::call::uas::respond::{ALLOW, SDP, SUPPORTED};
use crate::call::uas::{Timer, Uas};
use crate::ids::{decode, encode};
use crate::names::Endpoint;
use crate::slab::{Handle, handle};
use crate::time::Time;
use crate::transaction::sip_client::{Copy, Due, Opening, Outcome, Transaction, write_ack};
use crate::transaction::{Kind, LIFETIME};
use crate::wire::sip::{Message, Method};

handle! {
    /// A request of ours.
    pub(super) struct ClientKey;
}

/// The kind of request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RequestKind {
    Bye,
    Update,
    Reinvite,
}

impl RequestKind {
    const fn method(self) -> &'static str {
        match self {
            RequestKind::Bye => "BYE",
            RequestKind::Update => "UPDATE",
            RequestKind::Reinvite => "INVITE",
        }
    }
}

/// A request of ours, from the search for its destination to the end of its transaction.
#[derive(Debug)]
pub(super) struct Client {
    kind: RequestKind,
    call: CallKey,
    /// A random number that makes the branch unpredictable.
    number: u64,
    cseq: u32,
    /// The way on which it leaves; the socket is known once the address is.
    hop: Hop,
    /// The name that the called side has to show a certificate for, for [`Hop::DialSecure`].
    peer: Option<Arc<str>>,
    /// `None` while the next hop's address is being looked up.
    sent: Option<Sent>,
    /// Further places to send it to if the present one fails.
    others: Places,
    /// Number of its copies that are included in [`Call::unanswered`](super::call::Call::unanswered).
    unanswered: u8,
    /// Address and socket where the far end was heard, for a Contact that cannot be reached.
    heard: Option<Heard>,
    /// When it is over without a response.
    end: Time,
    /// When the wheel looks at it next.
    armed: Time,
}

/// The end of a request of ours.
#[derive(Clone, Copy)]
pub(super) struct Final<'a> {
    pub(super) kind: RequestKind,
    /// The status of the final response, or the one that stands for none: 408 in time, 503 for one that could not be
    /// sent.
    pub(super) status: u16,
    pub(super) response: Option<&'a Message<'a>>,
}

/// A request that has left.
#[derive(Debug)]
struct Sent {
    transaction: Transaction,
    leaving: Leaving,
}

impl Client {
    /// When the wheel must look at it.
    fn due(&self) -> Time {
        self.sent.as_ref().map_or(self.end, |sent| sent.transaction.poll_timeout())
    }
}

const COOKIE: &[u8] = b"z9hG4bK";

impl Uas {
    /// Sends a request within the dialog of a call; `None` when there is no room for its transaction.
    pub(super) fn send_request(&mut self, key: CallKey, kind: RequestKind, now: Time) -> Option<ClientKey> {
        let number = self.number(b'b');
        let call = self.calls.get_mut(key)?;
        call.dialog.local_cseq = call.dialog.local_cseq.wrapping_add(1).max(1);
        let cseq = call.dialog.local_cseq;
        let addresses = call.addresses;
        let has_route = call.dialog.has_route();
        let Towards { hop, peer, to } = self.identity.towards(&addresses, call.dialog.next_hop(), has_route);
        let client = self.clients.insert(Client {
            kind,
            call: key,
            number,
            cseq,
            hop,
            peer,
            sent: None,
            others: Places::new(),
            unanswered: 0,
            heard: Some(addresses.heard).filter(|heard| heard.is_direct && !has_route),
            end: now + LIFETIME,
            armed: Time::NEVER,
        })?;
        self.go(client, to, now);
        Some(client)
    }

    /// Sends a request to its next hop, or has the address of the next hop looked up first.
    fn go(&mut self, client: ClientKey, to: NextHop, now: Time) {
        match to {
            NextHop::Address(to) => self.start(client, to, now),
            NextHop::Name(question) => {
                let key = ResolveKey::new(client.index(), client.generation());
                self.outputs.push_back(Output::Resolve(key, question));
            }
        }
        self.arm_client(client);
    }

    /// The places that an [`Output::Resolve`] asked for, the best first; an empty list if there is none.
    pub fn on_resolved(&mut self, key: ResolveKey, found: &[Endpoint], now: Time) {
        let key = ClientKey::new(key.index(), key.generation());
        let Some(client) = self.clients.get(key).filter(|client| client.sent.is_none()) else { return };
        let hop = client.hop;
        let addresses = self.calls.get(client.call).map(|call| call.addresses);
        let mut places: Places = addresses
            .map_or(Places::new(), |addresses| self.identity.reachable(&addresses, hop, found).take(PLACES).collect());
        match places.pop_front() {
            Some((hop, to)) => {
                if let Some(client) = self.clients.get_mut(key) {
                    (client.hop, client.others) = (hop, places);
                }
                self.start(key, to, now);
            }
            None => self.start_back(key, now),
        }
        self.arm_client(key);
    }

    /// A response to a request of ours.
    pub(super) fn on_response(&mut self, msg: &Message<'_>, now: Time) {
        let Some(key) = self.find_client(msg) else { return };
        let Some(client) = self.clients.get_mut(key) else { return };
        let Some(status) = msg.status() else { return };
        let call = self.calls.get_mut(client.call);
        let answered = take(&mut client.unanswered);
        call.into_iter().for_each(|call| call.unanswered = call.unanswered.saturating_sub(answered));
        let (call, kind) = (client.call, client.kind);
        let Some(sent) = &mut client.sent else { return };
        match sent.transaction.on_response(status, now) {
            Outcome::Nothing | Outcome::Provisional => {}
            Outcome::Again(bytes) => self.leave(key, Copy { bytes, is_counted: false }),
            Outcome::Final => {
                let next = (status == 503).then(|| self.next_place(key, now)).flatten();
                match kind {
                    RequestKind::Reinvite => self.acknowledge(key, msg, status, now),
                    RequestKind::Bye | RequestKind::Update => {
                        self.clients.remove(key);
                    }
                }
                if !self.fail_over(key, next, now) {
                    self.on_final(call, Final { kind, status, response: Some(msg) }, now);
                }
            }
        }
    }

    /// The wheel points at a request of ours.
    pub(super) fn on_client_timer(&mut self, key: ClientKey, now: Time) {
        let Some(client) = self.clients.get_mut(key) else { return };
        if now < client.armed {
            return;
        }
        client.armed = Time::NEVER;
        let due = match &mut client.sent {
            Some(sent) => sent.transaction.handle_timeout(now),
            None if client.end <= now => Due::TimedOut,
            None => Due::Nothing,
        };
        match due {
            Due::Nothing => {}
            Due::Send(copy) => self.leave(key, copy),
            // RFC 3261 §8.1.3.1: a timeout counts as 408.
            Due::TimedOut => return self.on_failed(key, 408, now),
            Due::Over => {
                self.clients.remove(key);
            }
        }
        self.arm_client(key);
    }

    /// Stops sending a request whose outcome does not matter any more. The final response to a re-INVITE still gets its
    /// ACK.
    pub(super) fn stop_sending(&mut self, key: ClientKey) {
        match self.clients.get_mut(key) {
            Some(Client { kind: RequestKind::Reinvite, sent: Some(sent), others, .. }) => {
                sent.transaction.stop_sending();
                others.clear();
            }
            _ => {
                self.clients.remove(key);
            }
        }
    }

    /// A request ends without a response, as by this status.
    fn on_failed(&mut self, key: ClientKey, status: u16, now: Time) {
        let Some(client) = self.clients.remove(key) else { return };
        self.on_final(client.call, Final { kind: client.kind, status, response: None }, now);
    }

    fn on_final(&mut self, call: CallKey, end: Final<'_>, now: Time) {
        match end.kind {
            RequestKind::Bye => self.on_bye_done(call),
            RequestKind::Update | RequestKind::Reinvite => self.on_refreshed(call, end, now),
        }
    }

    /// Sends the ACK to the final response of a re-INVITE: a transaction of its own for a 2xx (§13.2.2.4), part of the
    /// INVITE's otherwise (§17.1.1.3).
    fn acknowledge(&mut self, key: ClientKey, response: &Message<'_>, status: u16, now: Time) {
        let ack = if status < 300 { self.ack_of_success(key) } else { self.ack_of_refusal(key, response) };
        let sent = self.clients.get_mut(key).and_then(|client| client.sent.as_mut());
        match ack.zip(sent) {
            Some((ack, sent)) => {
                let copy = sent.transaction.acknowledge(ack.into(), now);
                self.leave(key, copy);
                self.arm_client(key);
            }
            None => {
                self.clients.remove(key);
            }
        }
    }

    fn ack_of_success(&mut self, key: ClientKey) -> Option<Vec<u8>> {
        let number = self.number(b'b');
        let client = self.clients.get(key)?;
        let call = self.calls.get(client.call)?;
        let via = self.via(&client.sent.as_ref()?.leaving, key, number);
        let mut out = Vec::with_capacity(512);
        call.dialog.write_request(&mut out, "ACK", &via, client.cseq);
        put(&mut out, &[b"Content-Length: 0\r\n\r\n"]);
        Some(out)
    }

    fn ack_of_refusal(&mut self, key: ClientKey, response: &Message<'_>) -> Option<Vec<u8>> {
        let sent = self.clients.get(key)?.sent.as_ref()?;
        let mut out = Vec::with_capacity(512);
        let mut scanner = self.scanner.take().unwrap_or_default();
        if let Ok(request) = scanner.scan(sent.transaction.message()) {
            write_ack(&mut out, &request, response);
        }
        self.scanner = Some(scanner);
        Some(out)
    }

    fn start(&mut self, key: ClientKey, to: SocketAddr, now: Time) {
        let Some(client) = self.clients.get_mut(key) else { return };
        if client.hop == Hop::DialSecure {
            let alias = client.peer.as_deref().and_then(|peer| self.aliases.find(to, peer));
            client.hop = alias.unwrap_or(Hop::DialSecure);
        }
        let Client { call, kind, number, cseq, hop, end, .. } = *client;
        let addresses = self.calls.get(call).map(|call| call.addresses);
        // One copy is kept for the BYE.
        let kept = u8::from(kind != RequestKind::Bye);
        let unanswered = self.calls.get(call).map_or(0, |call| call.unanswered);
        let left = COPIES_ELSEWHERE.saturating_sub(unanswered + kept).max(1);
        let leaving = addresses.and_then(|addresses| self.identity.leaving(&addresses, hop, to));
        let bytes = leaving.and_then(|leaving| {
            let via = self.via(&leaving, key, number);
            self.write_request(call, kind, &via, cseq)
        });
        let (Some(addresses), Some(leaving), Some(bytes)) = (addresses, leaving, bytes) else {
            return self.start_back(key, now);
        };
        let is_reliable = leaving.hop.is_reliable();
        let copies = match addresses.is_heard {
            _ if is_reliable => None,
            false => Some(1),
            true if Some(to.ip()) == addresses.told => None,
            true => Some(left),
        };
        let kind = if kind == RequestKind::Reinvite { Kind::Invite } else { Kind::Other };
        let (transaction, first) = Transaction::begin(Opening { kind, to, bytes, is_reliable, copies, end }, now);
        if let Some(client) = self.clients.get_mut(key) {
            client.sent = Some(Sent { transaction, leaving });
        }
        self.leave(key, first);
    }

    /// The Contact or route of the far end cannot be reached: the request goes to the address where the far end was
    /// heard. This is tried once.
    fn start_back(&mut self, key: ClientKey, now: Time) {
        let heard = self.clients.get_mut(key).and_then(|client| {
            let heard = client.heard.take()?;
            client.hop = heard.hop;
            Some(heard)
        });
        match heard {
            Some(heard) => self.start(key, heard.to, now),
            // RFC 3261 §8.1.3.1: a destination that cannot be reached counts as 503.
            None => self.on_failed(key, 503, now),
        }
    }

    /// A copy of a request, or an ACK, leaves.
    fn leave(&mut self, key: ClientKey, copy: Copy) {
        let Some(client) = self.clients.get_mut(key) else { return };
        if copy.is_counted {
            client.unanswered = client.unanswered.saturating_add(1);
            let call = self.calls.get_mut(client.call);
            call.into_iter().for_each(|call| call.unanswered = call.unanswered.saturating_add(1));
        }
        let Some(Sent { transaction, leaving }) = &client.sent else { return };
        let (Leaving { hop, from, .. }, peer, to) = (*leaving, client.peer.clone(), transaction.to());
        self.outputs.push_back(Output::Transmit(Transmit { hop, to, peer, from, bytes: copy.bytes }));
    }

    fn arm_client(&mut self, key: ClientKey) {
        let Some(client) = self.clients.get_mut(key) else { return };
        let due = client.due();
        if due < client.armed {
            client.armed = due;
            self.wheel.schedule(due, Timer::Client(key));
        }
    }

    /// The transaction whose branch and method a response has (§17.1.3).
    fn find_client(&self, msg: &Message<'_>) -> Option<ClientKey> {
        let branch = msg.via()?.branch()?;
        let rest = without_prefix(without_prefix(branch, COOKIE)?, self.identity.token.as_bytes())?;
        let (key, client) = self.clients.at(u32::try_from(decode(rest.get(..7)?)?).ok()?)?;
        let number = decode(rest.get(7..)?)?;
        let method = match msg.cseq()?.method {
            Method::Bye => RequestKind::Bye,
            Method::Update => RequestKind::Update,
            Method::Invite => RequestKind::Reinvite,
            _ => return None,
        };
        (rest.len() == 15 && client.number & NUMBER_MASK == number && client.kind == method).then_some(key)
    }

    fn via(&self, leaving: &Leaving, key: ClientKey, number: u64) -> Vec<u8> {
        use std::io::Write as _;
        let mut text = [0; 15];
        encode(u64::from(key.index()), &mut text[..7]);
        encode(number, &mut text[7..]);
        let mut out = Vec::with_capacity(96);
        // Writing to a Vec cannot fail.
        let transport = leaving.transport.via_name();
        let _ = write!(out, "SIP/2.0/{transport} {};branch=z9hG4bK{}", leaving.sent_by, self.identity.token);
        out.extend_from_slice(&text);
        out.extend_from_slice(b";rport");
        out
    }

    fn write_request(&mut self, key: CallKey, kind: RequestKind, via: &[u8], cseq: u32) -> Option<Arc<[u8]>> {
        let mut out = std::mem::take(&mut self.scratch);
        out.clear();
        let call = self.calls.get(key)?;
        call.dialog.write_request(&mut out, kind.method(), via, cseq);
        if !self.identity.program.is_empty() {
            put(&mut out, &[b"User-Agent: ", self.identity.program.as_bytes(), b"\r\n"]);
        }
        let mut body: &[u8] = b"";
        if kind != RequestKind::Bye {
            put(&mut out, &[b"Contact: ", &self.contact(&call.addresses), b"\r\nAllow: ", ALLOW]);
            put(&mut out, &[b"\r\nSupported: ", SUPPORTED, b"\r\n"]);
            if let Some(session) = &call.session {
                // The `uac` of a request of ours is this worker.
                let line = format!("Session-Expires: {};refresher=uac\r\n", session.interval.seconds);
                put(&mut out, &[line.as_bytes()]);
                let min_se = self.session_timer.min_se.max(call.min_se).max(90);
                put(&mut out, &[format!("Min-SE: {min_se}\r\n").as_bytes()]);
            }
            if kind == RequestKind::Reinvite {
                body = call.sdp.as_deref().unwrap_or_default();
            }
        }
        if !body.is_empty() {
            put(&mut out, &[b"Content-Type: ", SDP.as_bytes(), b"\r\n"]);
        }
        put(&mut out, &[format!("Content-Length: {}\r\n\r\n", body.len()).as_bytes(), body]);
        let bytes = Arc::from(out.as_slice());
        self.scratch = out;
        Some(bytes)
    }
}

/// Copies of a call's requests that leave for addresses from which neither its INVITE nor an answer has come: the hosts
/// there may have no part in the call.
const COPIES_ELSEWHERE: u8 = 5;
/// The mask of a number that fits into eight characters of five bits, the room in a branch.
const NUMBER_MASK: u64 = (1 << 40) - 1;
