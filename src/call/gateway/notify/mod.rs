//! The gateway as client: the commands it sends to call agents by itself, NTFY, DLCX and RSIP (RFC 3435 §3.5).
//!
//! Each command is sent until it is answered or T-MAX is over. The time between repetitions grows from 200 ms to 4 s
//! (§3.5.3), and the addresses of the call agent are tried in turn (§4.3). Messages that leave at the same moment on
//! the same way share a datagram (§3.5.5). The caller of [`Client::poll_end`] learns how each command ended, and acts
//! on it.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use foldhash::fast::FixedState;
use hashbrown::HashMap;

use crate::call::exchange::Egress;
use crate::call::gateway::exchange::{EndpointKey, LookupKey, Output};
use crate::ids::TransactionRange;
use crate::slab::Handle;
use crate::time::{Time, Wheel};
use crate::transaction::mgcp_client::{Due, Spread, Transaction};
use crate::transaction::timers::{LONGTRAN, RTO, T_HIST, T_MAX};
use crate::wire::mgcp::{CommandWriter, Field, Response, ResponseWriter, ReturnCode, TransactionId, Verb, separator};

mod entity;

pub use entity::{Entity, Host};

use entity::is_one_host;

#[cfg(test)]
mod tests;

/// The client transactions of one gateway.
#[derive(Debug)]
pub struct Client {
    range: TransactionRange,
    last: u32,
    chance: Chance,
    open: HashMap<u32, Pending, FixedState>,
    wheel: Wheel<u32>,
    /// Transactions whose final response has to be acknowledged again if it comes again (§3.5.6).
    acknowledged: VecDeque<(u32, Time)>,
    /// Transactions whose final response has come from this address and has not been confirmed with `K:` (§3.5.1).
    confirmable: VecDeque<(SocketAddr, u32, Time)>,
    datagrams: VecDeque<Datagram>,
    lookups: VecDeque<(LookupKey, Box<str>, u16)>,
    ends: VecDeque<(Purpose, u32, End)>,
}

/// The purpose of a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Purpose {
    /// Events of this endpoint are reported.
    Notify(EndpointKey),
    /// A connection of this endpoint has ended by itself.
    Delete(EndpointKey),
    /// Endpoints go in or out of service; the number is the restart's.
    Restart(u64),
}

/// The end of a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// The call agent has sent this final response.
    Answered {
        /// Its code.
        code: ReturnCode,
        /// The call agent it names, if it names one.
        entity: Option<Entity>,
    },
    /// No response came within T-MAX, or the name has no address: the endpoints are disconnected (§4.3).
    Lost,
}

/// A command to send.
#[derive(Clone, Debug)]
pub struct Draft {
    /// Its purpose.
    pub purpose: Purpose,
    /// NTFY, DLCX or RSIP.
    pub verb: Verb<'static>,
    /// The endpoint's name, or a name for all endpoints of a kind.
    pub endpoint: Box<[u8]>,
    /// Its parameters in order; `K:` is added.
    pub params: Vec<(Field, Box<[u8]>)>,
}

/// One transaction.
#[derive(Debug)]
struct Pending {
    draft: Draft,
    way: Egress,
    /// Transactions of older notifications of the endpoint, whose messages precede this one in the datagram (§4.4.1).
    ahead: Vec<u32>,
    state: State,
    /// When it is given up, however often it is answered provisionally.
    limit: Time,
}

#[derive(Debug)]
enum State {
    /// The name of the call agent is being looked up, until this time.
    Resolving(Time),
    /// Sent.
    Sent {
        transaction: Transaction,
        /// The addresses of the call agent: the present one is at index `at`, the others are alternatives.
        addresses: Vec<SocketAddr>,
        at: usize,
    },
}

#[derive(Debug)]
struct Datagram {
    way: Egress,
    to: SocketAddr,
    bytes: Vec<u8>,
}

/// Transactions under way, at most.
const OPEN: usize = 4_096;
/// A command that is answered provisionally again and again is given up after this time.
const PROVISIONAL: Duration = Duration::from_secs(300);
/// Addresses of one call agent that are tried, at most.
const ADDRESSES: usize = 8;
/// RFC 3435 §4.3: this many transmissions to one address without a response make it suspicious (Max1). The next address
/// is then tried.
const SUSPICIOUS: u32 = 5;
/// The longest datagram of several messages, in bytes: a longer one might be fragmented.
const JOINED: usize = 1_400;
/// Final responses that are remembered, at most, and transactions that one `K:` confirms, at most.
const REMEMBERED: usize = 256;
const CONFIRMED: usize = 16;
/// The tick and the turns of the wheel of retransmissions.
const TICK: Duration = Duration::from_millis(10);
const BUCKETS: usize = 1_024;

impl Client {
    /// A client without transactions. Its ids come from `range`, beginning with a random one.
    pub fn new(range: TransactionRange, seed: u64) -> Self {
        let mut chance = Chance(seed);
        Client {
            range,
            last: range.pick(chance.number()),
            chance,
            open: HashMap::default(),
            wheel: Wheel::new(TICK, BUCKETS, 64),
            acknowledged: VecDeque::new(),
            confirmable: VecDeque::new(),
            datagrams: VecDeque::new(),
            lookups: VecDeque::new(),
            ends: VecDeque::new(),
        }
    }

    /// Sends a command to a call agent. The messages of those transactions in `ahead` that still wait for their
    /// responses precede it in the same datagram. Returns the transaction's id. Without room the command counts as lost
    /// at once.
    pub fn send(&mut self, draft: Draft, to: &Entity, way: Egress, ahead: &[u32], now: Time) -> Option<u32> {
        if self.open.len() >= OPEN {
            self.ends.push_back((draft.purpose, 0, End::Lost));
            return None;
        }
        let id = self.next_id();
        let end = now + T_MAX;
        let limit = now + PROVISIONAL;
        let pending = Pending { draft, way, ahead: ahead.to_vec(), state: State::Resolving(end), limit };
        self.open.insert(id, pending);
        match to.host() {
            Host::Address(ip) => self.start(id, vec![SocketAddr::new(*ip, to.port())], now),
            Host::Name(name) => {
                self.wheel.schedule(end, id);
                self.lookups.push_back((LookupKey::new(id, 0), name.clone(), to.port()));
            }
        }
        Some(id)
    }

    /// The addresses that an [`Output::Resolve`] asked for; with none, the name does not exist.
    pub fn on_resolved(&mut self, key: LookupKey, addresses: &[SocketAddr], now: Time) {
        let id = key.index();
        if !self.open.get(&id).is_some_and(|pending| matches!(pending.state, State::Resolving(_))) {
            return;
        }
        let addresses: Vec<SocketAddr> =
            addresses.iter().filter(|address| is_one_host(address.ip())).take(ADDRESSES).copied().collect();
        match &addresses[..] {
            [] => self.lose(id),
            _ => self.start(id, addresses, now),
        }
    }

    /// A response has come. A response to no transaction of ours is ignored.
    pub fn on_response(&mut self, response: &Response<'_>, source: SocketAddr, way: Egress, now: Time) {
        let id = response.transaction().0;
        let code = response.code();
        if code.is_ack() || !self.range.contains(id) {
            return;
        }
        if code.is_provisional() {
            self.on_provisional(id, now);
            return;
        }
        let wants_ack = response.asks_for_ack();
        let known = self.open.contains_key(&id) || self.is_acknowledged(id, now);
        if wants_ack && known {
            self.acknowledge(id, source, way, now);
        }
        let Some(pending) = self.open.remove(&id) else { return };
        if !wants_ack {
            self.confirm_later(source, id, now);
        }
        // Call agents may answer from another of their addresses. But a new notified entity is taken only from an
        // address that the command was sent to, because ids can be guessed.
        let entity =
            response.param(Field::NotifiedEntity).filter(|_| pending.was_sent_to(source)).and_then(Entity::parse);
        self.ends.push_back((pending.draft.purpose, id, End::Answered { code, entity }));
    }

    /// Forgets a transaction whose end does not matter any more.
    pub fn abandon(&mut self, id: u32) {
        self.open.remove(&id);
    }

    /// The message of a transaction that waits for its response, as it was sent.
    pub fn message(&self, id: u32) -> Option<Arc<[u8]>> {
        match &self.open.get(&id)?.state {
            State::Sent { transaction, .. } => Some(transaction.message().clone()),
            State::Resolving(_) => None,
        }
    }

    /// Time has passed.
    pub fn handle_timeout(&mut self, now: Time) {
        while let Some(id) = self.wheel.poll_expired(now) {
            let due = match self.open.get(&id).map(|pending| &pending.state) {
                Some(State::Sent { transaction, .. }) => transaction.due(now),
                Some(State::Resolving(end)) if *end <= now => Due::Lost,
                Some(State::Resolving(_)) | None => Due::Nothing,
            };
            match due {
                Due::Nothing => {}
                Due::Send => self.repeat(id, now),
                Due::Lost => self.lose(id),
            }
        }
    }

    /// When [`Client::handle_timeout`] is to be called next.
    pub fn poll_timeout(&self) -> Option<Time> {
        self.wheel.poll_timeout()
    }

    /// The next output.
    pub fn poll_output(&mut self) -> Option<Output> {
        if let Some((key, host, port)) = self.lookups.pop_front() {
            return Some(Output::Resolve { key, host, port });
        }
        let Datagram { way, to, bytes } = self.datagrams.pop_front()?;
        Some(Output::Transmit(way.transmit(to, bytes.into())))
    }

    /// The next command that has ended, with the transaction's id; the id is 0 if there was no room for the command.
    pub fn poll_end(&mut self) -> Option<(Purpose, u32, End)> {
        self.ends.pop_front()
    }

    /// Whether no command is under way.
    pub fn is_idle(&self) -> bool {
        self.open.is_empty() && self.ends.is_empty()
    }

    /// A number below `limit`, from the seed.
    pub fn roll(&mut self, limit: u64) -> u64 {
        self.chance.number() % limit.max(1)
    }

    #[cfg(test)]
    pub(super) fn timers(&self) -> usize {
        self.wheel.len()
    }

    fn next_id(&mut self) -> u32 {
        loop {
            self.last = self.range.next(self.last);
            if !self.open.contains_key(&self.last) {
                return self.last;
            }
        }
    }

    /// The first transmission.
    fn start(&mut self, id: u32, addresses: Vec<SocketAddr>, now: Time) {
        let Some(&to) = addresses.first() else { return };
        let confirmed = self.confirmed(to, now);
        let Some(pending) = self.open.get_mut(&id) else { return };
        let State::Resolving(end) = pending.state else { return };
        let mut bytes = Vec::new();
        let draft = &pending.draft;
        let mut writer = CommandWriter::new(&mut bytes, draft.verb, TransactionId(id), &draft.endpoint);
        if !confirmed.is_empty() {
            writer = writer.param(Field::ResponseAck, &confirmed);
        }
        for (field, value) in &draft.params {
            writer = writer.param(*field, value);
        }
        writer.finish();
        let transaction = Transaction::new(bytes.into(), Some(RTO), end);
        pending.state = State::Sent { transaction, addresses, at: 0 };
        self.transmit(id, now);
    }

    /// Retransmits (§3.5.3), to the next address if this one has become suspicious (§4.3).
    fn repeat(&mut self, id: u32, now: Time) {
        let Some(pending) = self.open.get_mut(&id) else { return };
        if let State::Sent { transaction, addresses, at } = &mut pending.state
            && transaction.copies() >= SUSPICIOUS
            && addresses.len() > 1
        {
            *at = (*at + 1) % addresses.len();
            transaction.begin_again();
        }
        self.transmit(id, now);
    }

    fn transmit(&mut self, id: u32, now: Time) {
        let ahead = self.open.get(&id).map(|pending| pending.ahead.clone()).unwrap_or_default();
        let older: Vec<Arc<[u8]>> = ahead.into_iter().filter_map(|id| self.message(id)).collect();
        // The pause varies by up to an eighth, so that gateways that lost the same call agent do not send in step.
        let spread = Spread::of(self.chance.number());
        let Some(pending) = self.open.get_mut(&id) else { return };
        let State::Sent { transaction, addresses, at } = &mut pending.state else { return };
        let Some(&to) = addresses.get(*at) else { return };
        let bytes = transaction.send(spread, now);
        let (way, due) = (pending.way, transaction.poll_timeout());
        for older in older {
            self.push(way, to, &older);
        }
        self.push(way, to, &bytes);
        self.wheel.schedule(due, id);
    }

    /// §3.5.6: the call agent is at work. The command is repeated only to find out whether it still is.
    fn on_provisional(&mut self, id: u32, now: Time) {
        let Some(pending) = self.open.get_mut(&id) else { return };
        let end = (now + T_MAX).min(pending.limit);
        // A provisional response that is repeated must not file the transaction with the wheel each time.
        if let State::Sent { transaction, .. } = &mut pending.state
            && transaction.on_provisional(Some(LONGTRAN), end, now)
        {
            self.wheel.schedule(now + LONGTRAN, id);
        }
    }

    fn lose(&mut self, id: u32) {
        if let Some(pending) = self.open.remove(&id) {
            self.ends.push_back((pending.draft.purpose, id, End::Lost));
        }
    }

    /// Sends `000` (§3.5.6).
    fn acknowledge(&mut self, id: u32, to: SocketAddr, way: Egress, now: Time) {
        let mut bytes = Vec::new();
        ResponseWriter::new(&mut bytes, ReturnCode::ACKNOWLEDGEMENT, TransactionId(id)).finish();
        self.push(way, to, &bytes);
        if !self.is_acknowledged(id, now) {
            if self.acknowledged.len() >= REMEMBERED {
                self.acknowledged.pop_front();
            }
            self.acknowledged.push_back((id, now));
        }
    }

    fn is_acknowledged(&mut self, id: u32, now: Time) -> bool {
        while self.acknowledged.front().is_some_and(|(_, since)| now.since(*since) > T_HIST) {
            self.acknowledged.pop_front();
        }
        self.acknowledged.iter().any(|(known, _)| *known == id)
    }

    fn confirm_later(&mut self, source: SocketAddr, id: u32, now: Time) {
        if self.confirmable.len() >= REMEMBERED {
            self.confirmable.pop_front();
        }
        self.confirmable.push_back((source, id, now));
    }

    /// The value of `K:` for the next command to `to`: the transactions that the call agent may forget (§3.5.1). Empty:
    /// none.
    fn confirmed(&mut self, to: SocketAddr, now: Time) -> Vec<u8> {
        let mut ids = Vec::new();
        self.confirmable.retain(|(source, id, since)| {
            let taken = *source == to && ids.len() < CONFIRMED;
            if taken {
                ids.push(*id);
            }
            !taken && now.since(*since) <= T_HIST
        });
        ids.sort_unstable();
        write_ranges(&ids)
    }

    /// Puts a message into the last datagram if it has the same way and room, else into a new one.
    fn push(&mut self, way: Egress, to: SocketAddr, message: &[u8]) {
        if let Some(last) = self.datagrams.back_mut()
            && (last.way, last.to) == (way, to)
            && last.bytes.len() + message.len() + 3 <= JOINED
        {
            separator(&mut last.bytes);
            last.bytes.extend_from_slice(message);
            return;
        }
        self.datagrams.push_back(Datagram { way, to, bytes: message.to_vec() });
    }
}

impl Pending {
    fn was_sent_to(&self, source: SocketAddr) -> bool {
        match &self.state {
            State::Sent { addresses, .. } => {
                addresses.iter().any(|to| to.ip().to_canonical() == source.ip().to_canonical())
            }
            State::Resolving(_) => false,
        }
    }
}

/// Writes sorted ids as `6234-6255, 6257`.
fn write_ranges(ids: &[u32]) -> Vec<u8> {
    let mut ranges: Vec<(u32, u32)> = Vec::new();
    for &id in ids {
        match ranges.last_mut() {
            Some((_, last)) if *last + 1 == id => *last = id,
            _ => ranges.push((id, id)),
        }
    }
    let text = |(first, last): &(u32, u32)| match first == last {
        true => first.to_string(),
        false => format!("{first}-{last}"),
    };
    ranges.iter().map(text).collect::<Vec<_>>().join(", ").into_bytes()
}

/// Numbers that follow from a seed (SplitMix64): the first transaction id, and jitter.
#[derive(Clone, Debug)]
struct Chance(u64);

impl Chance {
    fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}
