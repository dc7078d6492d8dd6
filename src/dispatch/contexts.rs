//! Requests that are forwarded with the state of a transaction, while they are under way in a lane, and messages of
//! theirs that are to leave: those of `stateful` pools, and those that come or leave on a connection (RFC 3261 §16.11).
//!
//! After a takeover each goes on where it stands, by the way that it has left by, whatever the settings are by then.
//! Those that have gone nowhere yet are decided about anew.

use std::collections::{BTreeSet, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use foldhash::fast::FixedState;
use hashbrown::HashMap;

use super::awaiting::Destination;
use super::callees::Callee;
use super::decision::{Answer, Arrival, EntryId, Forward, Handoff, Hop, OwnRoutes, Reason, Routes, Side};
use super::share::Shares;
use super::targets::proxies::PoolId;
use super::targets::proxy::Sent;
use crate::config::Pool;
use crate::few::Few;
use crate::fingerprint::{Fingerprint, SourcePrint};
use crate::ids::{ConnId, ListenerId, ProxyId};
use crate::pack::{Damaged, Pack as _, Packed, Saved, pack_each, packed};
use crate::slab::{Handle, Slab, handle};
use crate::time::{Time, Wheel};
use crate::transaction::forwarded::MOST_ATTEMPTS;
use crate::transaction::response_context::{Candidate, Effect, ResponseContext, Terms};
use crate::wire::sip::{Edits, Message, Name, Scanner};
use crate::words::Transport;

handle! {
    /// The number of a request under way.
    pub(super) struct ContextId;
}

/// Most places of requests under way: each request takes about a kilobyte beside its message. Beyond it requests in
/// datagrams are forwarded without state, and those on connections are refused. The last eighth of the places is for
/// sources that have less than their fair share.
const MOST: usize = 65_536;
/// Bytes of a message for which a request takes a place.
const PLACE: usize = 2 << 10;

/// Time without any response to an INVITE after which an address of its receiver counts as failed: one that is there
/// has sent 100 after 200 ms (RFC 3261 §17.2.1).
const HEARD_WITHIN: Duration = Duration::from_secs(5);

/// Most requests that are over whose memory is kept, and the largest of them in bytes.
const MOST_SPARE: usize = 1_024;
const LARGEST_SPARE: usize = 4_096;
/// Memory of requests is a multiple of this.
const SPARE_STEP: usize = 1 << 10;

/// All requests under way.
#[derive(Debug)]
pub(super) struct Contexts {
    all: Slab<ContextId, UnderWay>,
    // Names are keyed hashes, so that peers cannot choose them.
    by_name: HashMap<Fingerprint, ContextId, FixedState>,
    /// INVITEs by their calls and CSeq numbers: so are the responses to their CANCELs found, which have no Via but
    /// ours.
    by_call: HashMap<(Fingerprint, u32), ContextId, FixedState>,
    /// The latest of the requests that have gone by each connection: see [`Place`].
    by_conn: HashMap<ConnId, ContextId, FixedState>,
    /// The addresses of requests that have gone to one of several in a datagram.
    by_address: BTreeSet<(SocketAddr, ContextId)>,
    wheel: Wheel<ContextId>,
    /// Places of their messages, by the sources of these.
    shares: Shares,
    /// Memory of requests that are over.
    spare: Vec<Arc<Vec<u8>>>,
    /// The terms of each pool, by how its requests move, made anew when its settings change.
    terms: Vec<(PoolId, Moves, Arc<Terms>)>,
    leaving: VecDeque<Leaving>,
    /// Requests of an earlier dispatcher that nothing has been done for.
    carried: Vec<Carried>,
    /// Requests whose search for a way a takeover has interrupted.
    interrupted: Vec<ContextId>,
    scratch: Scratch,
}

impl Saved for Contexts {
    fn save(&self, out: &mut Vec<u8>) {
        pack_each(self.carried(), out);
    }

    fn restore(&mut self, from: &mut Packed<'_>) -> Result<(), Damaged> {
        self.carried.unpack_over(from)
    }

    fn describe(out: &mut String) {
        out.push_str("Contexts=");
        <Vec<Carried>>::layout(out);
    }
}

/// The grounds on which a request goes on to another proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Moves {
    /// There are none.
    Never,
    /// The connection that it has gone by is gone, or its proxy is.
    WhenLost,
    /// Those of a `stateful` pool.
    Freely,
    /// An address of its receiver has failed: it goes to the next one (RFC 3263 §4.3).
    ByAddress,
}

/// A request whose connection has ended goes to the same place by a new one, or to its receiver's Contact: once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Around {
    No,
    /// A connection is opened for it.
    Waits,
    Done,
}

/// Memory that is used again for each message.
#[derive(Debug, Default)]
pub(super) struct Scratch {
    pub(super) edits: Edits,
    /// A response without our Via.
    pub(super) response: Vec<u8>,
    pub(super) effects: Vec<Effect>,
}

/// The way that a request has gone last: the address that a system's request has gone to in a datagram, or the
/// connection, with its neighbours among those that have gone by it.
#[derive(Clone, Copy, Debug, Default)]
struct Place {
    address: Option<SocketAddr>,
    conn: Option<ConnId>,
    before: Option<ContextId>,
    after: Option<ContextId>,
}

/// The way out of an attempt: its CANCEL and its ACK have the same topmost Via (RFC 3261 §9.1, §17.1.1.3).
#[derive(Clone, Copy, Debug)]
pub(super) struct WayOut {
    pub(super) proxy: ProxyId,
    pub(super) attempt: u8,
    /// The well-known socket.
    pub(super) listener: ListenerId,
    pub(super) sent_by: (IpAddr, u16),
    pub(super) transport: Transport,
}

/// A request under way.
#[derive(Debug)]
pub(super) struct UnderWay {
    pub(super) context: ResponseContext,
    /// The name of its transaction, and its place in the table, if it has one.
    pub(super) name: Fingerprint,
    pub(super) entry: Option<EntryId>,
    /// The name of its call.
    pub(super) call: Fingerprint,
    /// Its CSeq number.
    pub(super) cseq: u32,
    /// The request as it came.
    pub(super) request: Arc<Vec<u8>>,
    /// The places of its Call-ID and of the value of its From.
    identity: [Range<u16>; 2],
    pub(super) arrival: Arrival,
    /// Its source, for shares.
    pub(super) source: SourcePrint,
    /// The way of its responses.
    pub(super) back: Hop,
    /// Its way to the first proxy.
    pub(super) forward: Forward,
    pub(super) pool: PoolId,
    /// The ways to its receiver that have not been tried, the last one first.
    pub(super) others: Vec<Destination>,
    /// The ways out of its attempts, but that of one for which `forward` stands.
    pub(super) ways_out: Few<WayOut>,
    /// The far end of the connection that it has gone by, where we have opened that.
    pub(super) opened: Option<Callee>,
    /// Why it goes on to its next address.
    pub(super) moved: Option<Reason>,
    /// The proxies that have had it and not responded.
    pub(super) unheard: Few<(ProxyId, Sent)>,
    pub(super) moves: Moves,
    /// Whether the table knows of its final response.
    pub(super) is_told: bool,
    /// Whether the connection has ended that its responses were to come by.
    pub(super) is_cut: bool,
    pub(super) around: Around,
    /// Whether copies of it may come that nothing else knows of.
    pub(super) has_copies: bool,
    /// Why it has stayed at its proxy when it might have moved.
    pub(super) stays: Option<Reason>,
    /// When the wheel has it come out.
    armed: Time,
    place: Place,
}

/// A message that is to leave.
#[derive(Clone, Debug, PartialEq)]
pub struct Leaving {
    /// The request that it belongs to, as it came.
    pub request: Arc<Vec<u8>>,
    /// The way on which that came.
    pub arrival: Arrival,
    /// The message.
    pub message: LeavingMessage,
}

/// A request that has come, and has gone nowhere yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sought {
    /// Its bytes.
    pub request: Vec<u8>,
    /// The way on which it came.
    pub arrival: Arrival,
}

packed!(Sought { request, arrival });

/// A request that has left, as another dispatcher goes on with it.
#[derive(Clone, Debug)]
pub(super) struct Carried {
    pub(super) context: ResponseContext,
    /// Its bytes.
    pub(super) request: Arc<Vec<u8>>,
    /// The way on which it came.
    pub(super) arrival: Arrival,
    pub(super) entry: Option<EntryId>,
    /// The number of its pool at the earlier dispatcher.
    pub(super) pool: PoolId,
    pub(super) side: Side,
    /// The ways out of its attempts, in their order.
    pub(super) ways_out: Few<WayOut>,
    pub(super) rewrites_uri: bool,
    pub(super) records_route: bool,
    pub(super) routes: Routes,
    /// The ways to its receiver that have not been tried, the last one first.
    pub(super) others: Vec<Destination>,
    /// The far end of the connection that it has gone by, where that was opened for it.
    pub(super) opened: Option<Callee>,
    /// The proxies that have had it and not responded.
    pub(super) unheard: Few<(ProxyId, Sent)>,
    pub(super) moves: Moves,
    pub(super) is_told: bool,
    pub(super) is_cut: bool,
    pub(super) around: Around,
    pub(super) has_copies: bool,
}

packed!(Carried {
    context,
    request,
    arrival,
    entry,
    pool,
    side,
    ways_out,
    rewrites_uri,
    records_route,
    routes,
    others,
    opened,
    unheard,
    moves,
    is_told,
    is_cut,
    around,
    has_copies,
});
packed!(WayOut { proxy, attempt, listener, sent_by, transport });
packed!(Moves as Never = 0, WhenLost = 1, Freely = 2, ByAddress = 3);
packed!(Around as No = 0, Waits = 1, Done = 2);
packed!(Routes { own, restores_uri, is_strict });
packed!(OwnRoutes { count, end });

/// The message that leaves.
#[derive(Clone, Debug, PartialEq)]
pub enum LeavingMessage {
    /// The request, to a proxy.
    Request(Forward),
    /// Its CANCEL, to a proxy.
    Cancel(Forward),
    /// The ACK to a proxy's 300–699, with the value of its To.
    Acknowledge(Forward, Box<[u8]>),
    /// A response of the dispatcher's own, to the caller.
    Answer(Answer),
    /// The response of a proxy, to the caller.
    Response(Arc<[u8]>),
    /// The request, to a worker.
    HandedOver(Handoff),
    /// A CANCEL of the request, to the worker that has it.
    TakenBack(Handoff),
}

impl UnderWay {
    pub(super) fn new(
        context: ResponseContext,
        (name, call, cseq): (Fingerprint, Fingerprint, u32),
        (message, request): (&Message<'_>, Arc<Vec<u8>>),
        (arrival, source, back): (&Arrival, SourcePrint, Hop),
        (pool, forward): (PoolId, &Forward),
        (first, entry, moves): (Option<Sent>, Option<EntryId>, Moves),
    ) -> Self {
        UnderWay {
            context,
            name,
            entry,
            call,
            cseq,
            request,
            identity: identity(message).map(|value| message.place_of(value)),
            arrival: *arrival,
            source,
            back,
            forward: *forward,
            pool,
            others: Vec::new(),
            ways_out: Few::None,
            opened: None,
            moved: None,
            unheard: first.map(|sent| (forward.proxy, sent)).into(),
            moves,
            is_told: false,
            is_cut: false,
            around: Around::No,
            has_copies: first.is_none() && arrival.transport == Transport::Udp,
            stays: None,
            armed: Time::NEVER,
            place: Place::default(),
        }
    }

    /// Whether a response has the Call-ID and the From of the request, byte by byte, as user agents write them (RFC
    /// 3261 §8.2.6.2). One whose From is written in another way may still be of its call.
    pub(super) fn has_identity_of(&self, response: &Message<'_>) -> bool {
        let own = self.identity.iter().map(|place| self.request.get(usize::from(place.start)..usize::from(place.end)));
        own.zip(identity(response)).all(|(own, other)| own == Some(other))
    }

    /// Whether it is a request inside a dialog. One that has a place in the table is none.
    pub(super) fn is_in_dialog(&self) -> bool {
        if self.entry.is_some() {
            return false;
        }
        let mut scanner = Scanner::new();
        let request = scanner.scan(&self.request).ok();
        request.and_then(|request| request.to()).is_some_and(|to| to.tag().is_some())
    }

    /// Takes out the number of the request at a proxy that has not responded.
    pub(super) fn take_unheard(&mut self, proxy: ProxyId) -> Option<Sent> {
        self.unheard.take(|(of, _)| *of == proxy).map(|(_, sent)| sent)
    }

    /// The way out that an attempt has left by.
    pub(super) fn way_out(&self, Candidate { proxy, attempt, .. }: Candidate) -> WayOut {
        let way = self.ways_out.iter().find(|way| (way.proxy, way.attempt) == (proxy, attempt)).copied();
        way.unwrap_or(WayOut { proxy, ..WayOut::of(attempt, &self.forward) })
    }

    /// Takes note of the way out that an attempt leaves by.
    pub(super) fn set_way_out(&mut self, attempt: u8, forward: &Forward) {
        let way = WayOut::of(attempt, forward);
        self.ways_out.take(|other| (other.proxy, other.attempt) == (way.proxy, way.attempt));
        self.ways_out.push(way);
    }

    /// A message of it that leaves.
    pub(super) fn leaving(&self, message: LeavingMessage) -> Leaving {
        Leaving { request: self.request.clone(), arrival: self.arrival, message }
    }
}

impl WayOut {
    /// The way out of an attempt that leaves like this.
    pub(super) fn of(attempt: u8, &Forward { proxy, listener, sent_by, transport, .. }: &Forward) -> Self {
        WayOut { proxy, attempt, listener, sent_by, transport }
    }
}

/// Call-ID and the value of From.
fn identity<'a>(message: &Message<'a>) -> [&'a [u8]; 2] {
    [message.call_id(), message.header(Name::From).unwrap_or_default()]
}

/// The places that a message of so many bytes takes.
fn places(bytes: usize) -> u32 {
    u32::try_from(bytes.div_ceil(PLACE)).unwrap_or(u32::MAX).max(1)
}

impl Contexts {
    pub(super) fn new() -> Self {
        Contexts {
            all: Slab::new(MOST),
            by_name: HashMap::default(),
            by_call: HashMap::default(),
            by_conn: HashMap::default(),
            by_address: BTreeSet::new(),
            // The shortest timer is 200 ms; most come out within 32 s.
            wheel: Wheel::new(Duration::from_millis(10), 4_096, 0),
            shares: Shares::default(),
            spare: Vec::new(),
            terms: Vec::new(),
            leaving: VecDeque::new(),
            carried: Vec::new(),
            interrupted: Vec::new(),
            scratch: Scratch::default(),
        }
    }

    fn carried(&self) -> impl Iterator<Item = Carried> {
        let all = self.all.keys().filter_map(|id| self.all.get(id)).filter(|under_way| under_way.context.has_left());
        all.map(|under_way| {
            let UnderWay { context, request, arrival, entry, forward, others, opened, unheard, .. } = under_way;
            let &UnderWay { pool, moves, is_told, is_cut, around, has_copies, .. } = under_way;
            let &Forward { side, rewrites_uri, records_route, routes, .. } = forward;
            let mut ways_out = Few::None;
            context.attempts().for_each(|attempt| ways_out.push(under_way.way_out(attempt)));
            Carried {
                context: context.clone(),
                request: request.clone(),
                arrival: *arrival,
                entry: *entry,
                pool,
                side,
                ways_out,
                rewrites_uri,
                records_route,
                routes,
                others: others.clone(),
                opened: opened.clone(),
                unheard: unheard.clone(),
                moves,
                is_told,
                is_cut,
                around,
                has_copies,
            }
        })
    }

    /// The requests of an earlier dispatcher that wait for a first response of a proxy.
    pub(super) fn carried_unheard(&self) -> impl Iterator<Item = (ProxyId, Sent)> {
        self.carried.iter().flat_map(|carried| carried.unheard.iter().copied())
    }

    /// Takes out the requests of an earlier dispatcher.
    pub(super) fn take_carried(&mut self) -> Vec<Carried> {
        std::mem::take(&mut self.carried)
    }

    /// The terms of a pool, for requests that move like this.
    pub(super) fn terms(&mut self, (id, pool): (PoolId, &Pool), moves: Moves, pending_max: Duration) -> Arc<Terms> {
        let (answer_within, retry_on, tries) = match moves {
            Moves::Never => (pool.answer_within, &*pool.retry_on, 1),
            Moves::WhenLost => (pool.answer_within, &*pool.retry_on, 2),
            Moves::Freely => (pool.answer_within, &*pool.retry_on, pool.tries),
            Moves::ByAddress => (HEARD_WITHIN, [503].as_slice(), MOST_ATTEMPTS),
        };
        let is_same = |terms: &Terms| {
            (terms.answer_within, terms.tries, terms.pending_max) == (answer_within, tries, pending_max)
                && *terms.retry_on == *retry_on
        };
        let is_of = |of: PoolId, by: Moves| (of, by) == (id, moves);
        if let Some((.., terms)) = self.terms.iter().find(|(of, by, terms)| is_of(*of, *by) && is_same(terms)) {
            return terms.clone();
        }
        let terms = Arc::new(Terms { answer_within, retry_on: retry_on.to_vec(), tries, pending_max });
        self.terms.retain(|(of, by, _)| !is_of(*of, *by));
        self.terms.push((id, moves, terms.clone()));
        terms
    }

    /// Whether there is room for a request of so many bytes from this source.
    pub(super) fn has_room(&self, bytes: usize, source: impl FnOnce() -> SourcePrint) -> bool {
        match MOST.checked_sub(self.shares.waiting() + places(bytes) as usize) {
            Some(left) => left >= MOST / 8 || !self.shares.is_used_up(source()),
            None => false,
        }
    }

    /// The bytes of a request, in memory of one that is over.
    pub(super) fn keep(&mut self, request: &[u8]) -> Arc<Vec<u8>> {
        let mut kept = self.spare.pop().unwrap_or_default();
        match Arc::get_mut(&mut kept) {
            Some(bytes) => {
                bytes.clear();
                // Another request in this memory later may be larger.
                bytes.reserve(request.len().next_multiple_of(SPARE_STEP));
                bytes.extend_from_slice(request);
                kept
            }
            // A message of its earlier request is still to leave.
            None => Arc::new(request.to_vec()),
        }
    }

    /// Lends the scratch memory, empty; it is to be given back.
    pub(super) fn take_scratch(&mut self) -> Scratch {
        let mut scratch = std::mem::take(&mut self.scratch);
        scratch.edits.clear();
        scratch.response.clear();
        scratch.effects.clear();
        scratch
    }

    pub(super) fn give_scratch(&mut self, scratch: Scratch) {
        self.scratch = scratch;
    }

    pub(super) fn insert(&mut self, under_way: UnderWay) -> Option<ContextId> {
        let UnderWay { name, call, cseq, source, .. } = under_way;
        let (places, is_invite) = (places(under_way.request.len()), under_way.context.is_invite());
        let to = under_way.forward.to;
        let id = self.all.insert(under_way)?;
        self.shares.add_places(source, places);
        self.by_name.insert(name, id);
        self.on_way(id, to);
        if is_invite {
            self.by_call.insert((call, cseq), id);
        }
        self.arm(id);
        Some(id)
    }

    /// Whether the request has gone by this connection last, and has not been told that it is gone.
    pub(super) fn is_on(&self, id: ContextId, conn: ConnId) -> bool {
        self.all.get(id).is_some_and(|under_way| under_way.place.conn == Some(conn))
    }

    pub(super) fn of(&self, name: Fingerprint) -> Option<ContextId> {
        self.by_name.get(&name).copied()
    }

    /// The INVITE of a call with this CSeq number.
    pub(super) fn invite_of(&self, call: Fingerprint, cseq: u32) -> Option<ContextId> {
        self.by_call.get(&(call, cseq)).copied()
    }

    pub(super) fn get(&self, id: ContextId) -> Option<&UnderWay> {
        self.all.get(id)
    }

    pub(super) fn get_mut(&mut self, id: ContextId) -> Option<&mut UnderWay> {
        self.all.get_mut(id)
    }

    /// The requests that wait for a first response of this proxy.
    pub(super) fn unheard_at(&self, proxy: ProxyId) -> Vec<ContextId> {
        let is_there = |id: &ContextId| {
            self.all.get(*id).is_some_and(|under_way| under_way.unheard.iter().any(|(at, _)| *at == proxy))
        };
        self.all.keys().filter(is_there).collect()
    }

    /// The proxies that have requests under way, or have sent them.
    pub(super) fn proxies(&self) -> BTreeSet<ProxyId> {
        let all = self.all.keys().filter_map(|id| self.all.get(id));
        all.flat_map(|under_way| under_way.context.tried().chain([under_way.forward.proxy])).collect()
    }

    /// Takes note that a request leaves by this way.
    pub(super) fn on_way(&mut self, id: ContextId, to: Hop) {
        self.leave_way(id);
        let conn = match to {
            Hop::Connection(conn) => conn,
            Hop::Address(to) => {
                if let Some(under_way) = self.all.get_mut(id).filter(|it| it.forward.side == Side::Server) {
                    under_way.place.address = Some(to);
                    self.by_address.insert((to, id));
                }
                return;
            }
        };
        let after = self.by_conn.get(&conn).copied();
        let Some(under_way) = self.all.get_mut(id) else { return };
        under_way.place = Place { address: None, conn: Some(conn), before: None, after };
        self.by_conn.insert(conn, id);
        if let Some(next) = after.and_then(|after| self.all.get_mut(after)) {
            next.place.before = Some(id);
        }
    }

    /// Takes note that a request waits for its next way no longer, though it has none: at a takeover.
    pub(super) fn interrupt(&mut self, id: ContextId) {
        self.interrupted.push(id);
    }

    /// Takes out those that still want a way.
    pub(super) fn take_interrupted(&mut self) -> Vec<ContextId> {
        let wants = |under_way: &UnderWay| under_way.context.is_seeking() || under_way.around == Around::Waits;
        let mut interrupted = std::mem::take(&mut self.interrupted);
        interrupted.retain(|id| self.all.get(*id).is_some_and(wants));
        interrupted
    }

    /// The requests of systems that have gone to this address in a datagram.
    pub(super) fn at_address(&self, to: SocketAddr) -> Vec<ContextId> {
        let from_there = self.by_address.range((to, ContextId::new(0, 0))..);
        from_there.take_while(|(at, _)| *at == to).map(|(_, id)| *id).collect()
    }

    /// Takes note that the end of no connection, and no address, concerns a request any more.
    pub(super) fn leave_way(&mut self, id: ContextId) {
        let place = self.all.get_mut(id).map(|under_way| std::mem::take(&mut under_way.place));
        let Some(Place { address, conn, before, after }) = place else { return };
        if let Some(address) = address {
            self.by_address.remove(&(address, id));
        }
        let Some(conn) = conn else { return };
        match (before.and_then(|before| self.all.get_mut(before)), after) {
            (Some(previous), _) => previous.place.after = after,
            (None, Some(after)) => {
                self.by_conn.insert(conn, after);
            }
            (None, None) => {
                self.by_conn.remove(&conn);
            }
        }
        if let Some(next) = after.and_then(|after| self.all.get_mut(after)) {
            next.place.before = before;
        }
    }

    /// The connections that requests have gone by.
    pub(super) fn connections(&self) -> impl Iterator<Item = ConnId> {
        self.by_conn.keys().copied()
    }

    /// The proxy of the latest request that has gone by this connection.
    pub(super) fn proxy_on(&self, conn: ConnId) -> Option<ProxyId> {
        self.all.get(*self.by_conn.get(&conn)?)?.context.in_use().map(|to| to.proxy)
    }

    /// Whether a request has gone by this connection.
    pub(super) fn has_on(&self, conn: ConnId) -> bool {
        self.by_conn.contains_key(&conn)
    }

    /// Whether a request that has gone by this connection has no final response.
    pub(super) fn waits_on(&self, conn: ConnId) -> bool {
        let first = self.by_conn.get(&conn).copied();
        let mut all = std::iter::successors(first, |id| self.all.get(*id)?.place.after);
        all.any(|id| self.all.get(id).is_some_and(|it| it.context.waits_on(Hop::Connection(conn))))
    }

    /// The requests of one side without a final response that have gone by this connection, which is gone.
    pub(super) fn take_on(&mut self, conn: ConnId, side: Side) -> Vec<ContextId> {
        let (mut ids, mut next) = (Vec::new(), self.by_conn.get(&conn).copied());
        while let Some((id, under_way)) = next.and_then(|id| Some((id, self.all.get(id)?))) {
            next = under_way.place.after;
            ids.extend(Some(id).filter(|_| under_way.forward.side == side));
        }
        ids.iter().for_each(|id| self.leave_way(*id));
        let waits = |id: &ContextId| self.all.get(*id).is_some_and(|it| it.context.waits_on(Hop::Connection(conn)));
        ids.retain(waits);
        ids
    }

    pub(super) fn leave(&mut self, leaving: Leaving) {
        self.leaving.push_back(leaving);
    }

    pub(super) fn poll_leaving(&mut self) -> Option<Leaving> {
        self.leaving.pop_front()
    }

    /// Sees to it that the request comes out when it is due.
    pub(super) fn arm(&mut self, id: ContextId) {
        let Some(under_way) = self.all.get_mut(id) else { return };
        let due = under_way.context.poll_timeout();
        if due < under_way.armed {
            under_way.armed = due;
            self.wheel.schedule(due, id);
        }
    }

    /// Takes out a request that may be due.
    pub(super) fn poll_due(&mut self, now: Time) -> Option<ContextId> {
        loop {
            let id = self.wheel.poll_expired(now)?;
            let Some(under_way) = self.all.get_mut(id) else { continue };
            if under_way.armed > now {
                continue;
            }
            under_way.armed = Time::NEVER;
            return Some(id);
        }
    }

    /// Forgets a request once no message of it is awaited, or the table alone knows enough to send on what comes.
    pub(super) fn forget_if_over(&mut self, id: ContextId, now: Time) -> Option<UnderWay> {
        // Without an entry nothing but its context tells that a response comes after the 2xx: it stays while there is
        // much room.
        let is_crowded = self.shares.waiting() >= MOST / 4;
        let is_over = |UnderWay { context, has_copies, entry, .. }: &UnderWay| {
            context.is_over(now) || !has_copies && (entry.is_some() || is_crowded) && context.is_settled()
        };
        self.all.get(id).filter(|under_way| is_over(under_way))?;
        self.forget(id)
    }

    /// Forgets a request.
    pub(super) fn forget(&mut self, id: ContextId) -> Option<UnderWay> {
        self.leave_way(id);
        let under_way = self.all.remove(id)?;
        self.shares.remove_places(under_way.source, places(under_way.request.len()));
        if self.spare.len() < MOST_SPARE && under_way.request.capacity() <= LARGEST_SPARE {
            self.spare.push(under_way.request.clone());
        }
        if self.by_name.get(&under_way.name) == Some(&id) {
            self.by_name.remove(&under_way.name);
        }
        let of_call = (under_way.call, under_way.cseq);
        if self.by_call.get(&of_call) == Some(&id) {
            self.by_call.remove(&of_call);
        }
        Some(under_way)
    }

    pub(super) fn poll_timeout(&self) -> Option<Time> {
        self.wheel.poll_timeout()
    }

    /// Takes so much room, for the sources of these requests, that they get no more.
    #[cfg(test)]
    pub(super) fn crowd_like(&mut self, other: &Self) {
        let sources = other.all.keys().filter_map(|id| other.all.get(id)).map(|under_way| under_way.source);
        sources.for_each(|source| self.shares.add_places(source, MOST as u32 / 8 * 7));
    }

    /// Panics if it contradicts itself.
    pub(super) fn check(&self) {
        let all = || self.all.keys().filter_map(|id| Some((id, self.all.get(id)?)));
        let taken: u32 = all().map(|(_, under_way)| places(under_way.request.len())).sum();
        assert_eq!(self.shares.waiting(), taken as usize);
        assert!(all().all(|(id, under_way)| self.of(under_way.name) == Some(id)), "a name leads elsewhere");
        assert_eq!(self.by_name.len(), self.all.len());
        assert!(self.by_call.values().all(|id| self.all.get(*id).is_some()), "a call leads nowhere");
        let mut placed = 0;
        for (conn, first) in &self.by_conn {
            let (mut next, mut before) = (Some(*first), None);
            while let Some((id, it)) = next.and_then(|id| Some((id, self.all.get(id)?))) {
                assert_eq!((it.place.conn, it.place.before), (Some(*conn), before), "a request out of its place");
                (before, next, placed) = (Some(id), it.place.after, placed + 1);
            }
            assert!(before.is_some() && next.is_none(), "a connection leads nowhere");
        }
        assert_eq!(all().filter(|(_, it)| it.place.conn.is_some()).count(), placed);
        let is_there =
            |(at, id): &(SocketAddr, ContextId)| self.all.get(*id).is_some_and(|it| it.place.address == Some(*at));
        assert!(self.by_address.iter().all(is_there), "an address of no request");
        assert!(all().all(|(_, it)| it.armed <= it.context.poll_timeout()), "a request that is never looked at");
        assert!(self.leaving.is_empty(), "a message that was not sent");
    }
}
