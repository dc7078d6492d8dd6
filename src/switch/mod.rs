//! The switch: one message in, its decision carried out.
//!
//! The switch decides nothing itself. It turns the pure core's decision into a record on a link, an answer in the
//! buffer, or nothing, and tells the core what workers say on the links.

pub mod answers;
mod brought;
mod certificates;
mod clock_asks;
mod commands;
mod decided;
mod dialled;
mod early_cancels;
mod ending;
mod final_retransmits;
mod in_hand;
mod insert;
mod lanes;
pub mod links;
mod orders;
mod outbox;
pub mod owner;
pub mod parcel;
mod replies;
mod returned;
mod saved;
mod suspects;
mod together;
pub mod totals;
mod travelling;
mod unsent;

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Duration;

use crate::config::Insert;
use crate::dispatch::contexts::Sought;
use crate::dispatch::decision::{Admin, Brought, ChainId, Joined};
use crate::dispatch::identity::Keyring;
use crate::dispatch::mgcp::chain::Chains;
use crate::dispatch::note::Note;
use crate::dispatch::owner::Owners;
use crate::dispatch::returned::{Cause, Returned};
use crate::dispatch::{Dispatch, Foreseen, Incoming};
use crate::ids::{ConnId, Incarnation, LinkId, WorkerId};
use crate::link::dispatcher_end::{DispatcherEnd, FromWorker};
use crate::link::permits::Permits;
use crate::pack::Damaged;
use crate::time::Time;
use crate::wire::framing::StreamFault;
use crate::wire::handoff::FRAME_HARD_LIMIT;
use crate::wire::mgcp;
use crate::wire::sip::Scanner;
use crate::words::{Drain, DrainMode, RefuseReason, ReplyTo, Transport};
use answers::Leaving;
use brought::BroughtMessages;
use certificates::Certificates;
use clock_asks::ClockAsks;
use early_cancels::EarlyCancels;
use ending::{Estates, MESSAGES_A_TURN};
use in_hand::InHand;
pub use in_hand::Way;
use links::{Channel, Links};
use outbox::Outbox;
use owner::Owner;
use parcel::Parcel;
pub use replies::Connections;
use replies::{Replies, Reply};
use suspects::Suspects;
use together::Scanners;
use totals::Totals;

/// The decision with everything it takes to carry it out. It owns no socket and reads no clock: `C` carries the frames
/// of a link, and the caller says what time it is.
#[derive(Debug)]
pub struct Switch<C> {
    dispatch: Dispatch,
    scanner: Scanner,
    scanners: Scanners,
    outbox: Outbox<C>,
    retention_bytes: usize,
    /// Slots that are configured.
    configured: usize,
    /// Buffer that one frame is read into.
    frame: Vec<u8>,
    /// Messages that workers gave back, by [`RefuseReason::ALL`].
    refused: Refused,
    /// Messages that workers gave back and that wait for their next decision, and the number that may have it in this
    /// turn.
    given_back: VecDeque<Returned>,
    given_back_left: usize,
    /// Messages left by workers that are gone, and the number of them that may be looked at in this turn.
    estates: Estates<C>,
    orphans_left: usize,
    /// Messages that may have killed their worker.
    suspects: Suspects<Returned>,
    /// Whether a worker has said something since the suspects were looked at: it may have outlived one of them.
    may_clear: bool,
    /// Messages that workers of an earlier dispatcher have not answered.
    brought: BroughtMessages,
    /// Requests whose way was sought at a takeover.
    sought: Vec<Sought>,
    owners: Owners,
    /// Messages that other lanes are to decide about, by lane.
    parcels: Vec<Parcel>,
    /// Requests of this lane for connections that are gone.
    undelivered: Replies,
    /// Connections that are gone, and that requests of this lane may have left on.
    gone: Vec<ConnId>,
    /// CANCELs that wait for an INVITE that another lane may still pass on.
    early: EarlyCancels,
    /// The ledger of each worker as the other lanes were told it, in units, and the time of that.
    ledgers_told: Vec<u32>,
    ledgers_told_at: Time,
    /// Workers that have not been told the access rules in force: their links took no more.
    access_untold: Vec<WorkerId>,
    certificates: Certificates,
    /// MGCP commands that wait for others of their datagrams.
    chains: Chains<Way>,
    /// Chains that go on.
    resumed: VecDeque<ChainId>,
    clock_asks: ClockAsks,
}

/// Most messages given back that wait before links are left unread: it takes some turns to decide about them.
const MOST_GIVEN_BACK: usize = 512;

/// End of a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parting {
    /// The worker said goodbye.
    Goodbye,
    /// The worker did not say goodbye.
    Lost,
}

/// Result of reading a link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LinkRead {
    /// A frame was read; there may be more.
    Frame,
    /// There is nothing to read now.
    Nothing,
    /// The link is over, and why.
    Over(Parting, String),
}

impl<C: Channel> Switch<C> {
    /// A switch without workers. The store of each link has `retention_bytes` bytes.
    pub fn new(mut dispatch: Dispatch, insert: Insert, retention_bytes: usize, owners: Owners) -> Self {
        dispatch.share_among(owners.own(), owners.lanes(), owners.seed());
        Switch {
            parcels: (0..owners.lanes()).map(|_| Parcel::new(owners.own())).collect(),
            owners,
            undelivered: Replies::default(),
            gone: Vec::new(),
            early: EarlyCancels::default(),
            ledgers_told: Vec::new(),
            ledgers_told_at: Time(0),
            configured: dispatch.pool().len(),
            dispatch,
            scanner: Scanner::new(),
            scanners: Scanners::new(),
            outbox: Outbox::new(insert),
            retention_bytes,
            frame: vec![0; FRAME_HARD_LIMIT],
            refused: Refused::default(),
            given_back: VecDeque::new(),
            given_back_left: MESSAGES_A_TURN,
            estates: Estates::default(),
            orphans_left: MESSAGES_A_TURN,
            suspects: Suspects::new(),
            may_clear: false,
            brought: BroughtMessages::default(),
            sought: Vec::new(),
            access_untold: Vec::new(),
            certificates: Certificates::default(),
            chains: Chains::new(),
            resumed: VecDeque::new(),
            clock_asks: ClockAsks::default(),
        }
    }

    // -- messages from peers --

    /// A message came to a socket; several of MGCP may have come in one datagram.
    pub fn on_message(&mut self, bytes: &[u8], way: &Way, now: Time) {
        if way.arrival.transport == Transport::Mgcp {
            self.on_messages([(bytes, *way)], now);
        } else if self.is_own(bytes, way) {
            self.decide_in_turn(bytes, way, now);
        }
    }

    /// Whether a message of SIP that came to a socket is for this lane. One for another lane goes into its parcel.
    fn is_own(&mut self, bytes: &[u8], way: &Way) -> bool {
        self.count_received(way);
        let own = self.owners.own();
        if self.owners.lanes() == 1 {
            return true;
        }
        let lane = match self.owners.at_a_look(bytes) {
            Some(lane) => lane,
            None => self.scanner.scan(bytes).map_or(own, |message| self.owners.lane_of(&message)),
        };
        !self.is_passed(lane, bytes, way)
    }

    /// Whether what came belongs to another lane: it goes into the parcel of that one.
    fn is_passed(&mut self, lane: usize, bytes: &[u8], way: &Way) -> bool {
        match self.parcels.get_mut(lane) {
            Some(parcel) if lane != self.owners.own() => {
                parcel.add(bytes, way);
                true
            }
            _ => false,
        }
    }

    /// The head of a message came on a connection, and the end of its body cannot be found.
    pub fn on_faulty(&mut self, head: &[u8], fault: StreamFault, way: &Way, now: Time) {
        self.count_received(way);
        let Switch { scanner, dispatch, outbox, .. } = self;
        let bad = scanner.scan_head(head, fault.into());
        outbox.decide(dispatch, &InHand { message: (&bad).into(), way, chain: None, now }, None);
    }

    /// Decides about a message of this lane. Returns whether its answer is still to come, for which `chain` waits.
    fn decide(&mut self, bytes: &[u8], way: &Way, chain: Option<ChainId>, now: Time) -> bool {
        if way.arrival.transport == Transport::Mgcp {
            return self.decide_parsed(&mgcp::parse(bytes), way, chain, None, now);
        }
        let Switch { scanner, dispatch, outbox, .. } = self;
        let waits = match scanner.scan(bytes) {
            Ok(message) => outbox.decide(dispatch, &InHand { message: (&message).into(), way, chain, now }, None),
            Err(bad) => outbox.decide(dispatch, &InHand { message: (&bad).into(), way, chain, now }, None),
        };
        self.place_not_taken(now);
        waits
    }

    /// Decides about a message of MGCP.
    fn decide_parsed(
        &mut self,
        message: &Result<mgcp::Message<'_>, mgcp::Unparsable<'_>>,
        way: &Way,
        chain: Option<ChainId>,
        foreseen: Option<Foreseen<'_>>,
        now: Time,
    ) -> bool {
        let message = message.as_ref().map_or_else(Incoming::from, Incoming::from);
        let waits = self.outbox.decide(&mut self.dispatch, &InHand { message, way, chain, now }, foreseen);
        self.send_acks(way, now);
        self.place_not_taken(now);
        waits
    }

    /// Counts a message that was read from a well-known socket.
    fn count_received(&mut self, way: &Way) {
        if let Owner::Listener(_) = way.owner {
            self.outbox.totals.received += 1;
            self.outbox.totals.transports.count(way.arrival.transport);
        }
    }

    // -- links --

    /// A worker has been welcomed.
    pub fn on_link(&mut self, worker: WorkerId, channel: C, joined: &Joined, now: Time) {
        self.begin_link(worker, channel, joined);
        self.dispatch.on_worker_up(worker, joined, now);
        // The operator's admin state belongs to the slot: it outlives the worker that was told.
        let admin = self.dispatch.pool().get(worker).map(|worker| worker.admin).unwrap_or_default();
        if admin != Admin::Ready && self.is_first() {
            self.outbox.tell(worker, Drain { mode: DrainMode::Drain, within: Duration::MAX });
        }
    }

    /// A worker of an earlier dispatcher has been welcomed back. It already drains if it was told to.
    pub fn on_link_back(&mut self, worker: WorkerId, channel: C, joined: &Joined, brought: &Brought, now: Time) {
        self.begin_link(worker, channel, joined);
        self.dispatch.on_worker_back(worker, joined, brought, now);
        self.take_back(worker, &brought.messages, now);
    }

    fn begin_link(&mut self, worker: WorkerId, channel: C, joined: &Joined) {
        let of = (joined.incarnation, joined.link);
        let front = self.permitting(DispatcherEnd::new(self.retention_bytes), &channel, joined.incarnation);
        self.outbox.links.insert(worker, of, channel, front);
        self.fit_pool();
        self.owe_certificates(worker);
        self.tell_certificates();
    }

    /// The end of a link: a worker on another host has answers sent by permits.
    fn permitting(&self, front: DispatcherEnd<Note>, channel: &C, incarnation: Incarnation) -> DispatcherEnd<Note> {
        if !channel.is_over_network() {
            return front;
        }
        let Keyring { current, previous } = self.dispatch.keys();
        front.sending_by(Permits::new((current.clone(), previous.clone()), incarnation))
    }

    /// Whether a worker has a link.
    pub fn has_link(&self, worker: WorkerId) -> bool {
        self.outbox.links.get(worker).is_some()
    }

    /// A link can be read or written.
    pub fn on_link_event(&mut self, worker: WorkerId, readable: bool, writable: bool) {
        self.outbox.links.on_event(worker, readable, writable);
    }

    /// Takes a link that may have something to read; it comes back when there may be more.
    pub fn take_readable_link(&mut self) -> Option<WorkerId> {
        self.outbox.links.take_readable()
    }

    /// Whether a link may have something to read.
    pub fn has_readable_link(&self) -> bool {
        self.outbox.links.has_readable()
    }

    /// Whether workers have given back so many messages that links are left unread: the queue must not grow without
    /// end.
    pub fn is_behind(&self) -> bool {
        self.given_back.len() >= MOST_GIVEN_BACK
    }

    /// Reads one frame from a link.
    ///
    /// An error does not end the link: the last frames of a dead worker can still be read after one. Only the end of
    /// the stream does.
    pub fn read_link(&mut self, worker: WorkerId, now: Time) -> LinkRead {
        let Some(link) = self.outbox.links.get_mut(worker) else { return LinkRead::Nothing };
        let read = link.read(&mut self.frame);
        if link.takes_again() {
            self.outbox.links.on_event(worker, false, true);
        }
        let length = match read {
            Ok(None) => return LinkRead::Nothing,
            Ok(Some(0)) => return LinkRead::Over(Parting::Lost, "the worker closed it".to_owned()),
            Ok(Some(length)) => length,
            Err(error) => return LinkRead::Over(Parting::Lost, error.to_string()),
        };
        self.outbox.links.on_event(worker, true, false);
        let Switch { outbox, dispatch, frame, given_back, refused, resumed, brought, clock_asks, .. } = self;
        let Outbox { links, answers, .. } = outbox;
        let Some(link) = links.get_mut(worker) else { return LinkRead::Nothing };
        let mut goodbye = None;
        let read = link.front.on_frame(&frame[..length], &mut |event| match event {
            FromWorker::Answered(all) => {
                dispatch.on_answered_together(all.iter().filter_map(|(_, note)| note.entry), now);
                resumed.extend(all.iter().filter_map(|(_, note)| note.chain));
            }
            FromWorker::Outcome(outcome) => dispatch.on_outcome(worker, outcome, now),
            FromWorker::Refused { message, reason } => {
                refused.count(reason);
                given_back.push_back(Returned { message, from: worker, cause: Cause::Refused(reason) });
            }
            FromWorker::Report(report) => dispatch.on_report(worker, &report, now),
            FromWorker::Released { name } => {
                dispatch.on_released(worker, name, now);
                brought.on_released(worker, name);
            }
            FromWorker::GroupOpen { name, opened } => dispatch.on_group_open(worker, name, opened),
            FromWorker::GroupClosed { name } => dispatch.on_group_closed(worker, name),
            FromWorker::Goodbye(reason) => goodbye = Some(reason.to_owned()),
            FromWorker::Reply { to: ReplyTo::Gathering(gathering), bytes } => {
                dispatch.on_gathered(gathering, worker, bytes, now);
            }
            FromWorker::Reply { to: ReplyTo::Stream(conn), bytes } => {
                answers.replies.push(Reply { conn, bytes, from: Some(worker) });
            }
            FromWorker::Send(answer) => answers.write_for(&answer),
            FromWorker::ClockAsk(asked) => clock_asks.add(worker, asked, now),
            // A `Hello` is read once, at the beginning. A worker sends answers in datagrams itself.
            FromWorker::Hello(_) | FromWorker::Reply { to: ReplyTo::Datagram | ReplyTo::Permitted(_), .. } => {}
        });
        dispatch.on_link_room(worker, link.front.room());
        links.touch(worker);
        self.place_given_back(now);
        self.may_clear |= !self.suspects.is_empty();
        self.go_on_chains(now);
        match read {
            Err(error) => LinkRead::Over(Parting::Lost, format!("it sent what is no frame: {error}")),
            Ok(()) => goodbye
                .map_or(LinkRead::Frame, |said| LinkRead::Over(Parting::Goodbye, format!("it said goodbye: {said}"))),
        }
    }

    /// Fits the pool to the slots. Workers that came by themselves have their places after the configured ones; slots
    /// that are no longer configured go with their links.
    fn fit_pool(&mut self) {
        let last = self.outbox.links.iter().map(|(worker, _)| usize::from(worker.0) + 1).max().unwrap_or_default();
        self.dispatch.set_workers(self.configured.max(last));
    }

    // -- time --

    /// Carries out everything that is due.
    pub fn handle_timeout(&mut self, now: Time) {
        if self.dispatch.is_look_due(now) {
            self.outbox.links.look(now);
            self.take_unread(now);
            self.tell_access();
            for (worker, link) in self.outbox.links.iter() {
                self.dispatch.on_unread(worker, link.front.unread_behind());
            }
            self.tell_certificates();
        }
        self.tell_clock(now);
        self.answer_undelivered(now);
        self.dispatch.handle_timeout(now);
        self.send_leaving(now);
        (self.given_back_left, self.orphans_left) = (MESSAGES_A_TURN, MESSAGES_A_TURN);
        self.place_given_back(now);
        if self.has_orphans() {
            self.read_ending(now);
            self.place_orphans(now);
        }
        if self.early.poll_timeout().is_some_and(|due| due <= now) {
            self.decide_early(now);
        }
        self.outbox.retransmits.handle_timeout(now, &mut self.outbox.answers);
        if self.may_clear || self.suspects.poll_timeout().is_some_and(|due| due <= now) {
            self.place_suspects(now);
        }
        while let Some(rest) = self.chains.poll_expired(now) {
            self.go_on(rest, now);
        }
        self.go_on_chains(now);
    }

    /// A worker that hangs, and its incarnation: the control side has to end it.
    pub fn poll_hung(&mut self) -> Option<(WorkerId, Incarnation)> {
        let worker = self.dispatch.poll_hung()?;
        Some((worker, self.outbox.links.get(worker)?.incarnation))
    }

    /// The time at which something is due next.
    pub fn poll_timeout(&self) -> Option<Time> {
        let own = [
            self.suspects.poll_timeout(),
            self.outbox.retransmits.poll_timeout(),
            self.early.poll_timeout(),
            self.chains.poll_timeout(),
            (self.has_orphans() || self.may_clear || !self.given_back.is_empty() || !self.clock_asks.is_empty())
                .then_some(Time(0)),
            (!self.undelivered.is_empty() || !self.gone.is_empty() || !self.sought.is_empty()).then_some(Time(0)),
        ];
        self.dispatch.poll_timeout().into_iter().chain(own.into_iter().flatten()).min()
    }

    // -- writing --

    /// Gives every waiting answer to `send`: owner of the socket it leaves from, bytes, destination, local address.
    pub fn flush_answers(&mut self, send: impl FnMut(Leaving<'_>)) {
        self.outbox.answers.flush(send);
    }

    /// No datagram can be sent to this address.
    pub fn on_undeliverable(&mut self, to: SocketAddr, now: Time) {
        self.dispatch.on_undeliverable(to, now);
        self.send_leaving(now);
    }

    /// Writes the records that are queued on the links.
    pub fn flush_links(&mut self) {
        self.outbox.links.flush();
    }

    // -- reading the state --

    /// The decision.
    pub const fn dispatch(&self) -> &Dispatch {
        &self.dispatch
    }

    /// The carrier of a worker's link, if it is the one with this id.
    pub fn link_socket(&mut self, worker: WorkerId, id: LinkId) -> Option<&mut C> {
        self.outbox.links.get_mut(worker).filter(|link| link.id == id).map(links::Link::channel_mut)
    }

    /// The links.
    pub const fn links(&self) -> &Links<C> {
        &self.outbox.links
    }

    /// Bytes of the store of each link.
    pub const fn retention_bytes(&self) -> usize {
        self.retention_bytes
    }

    /// Messages that workers gave back, counted by the workers' reasons.
    pub fn refused(&self) -> impl Iterator<Item = (RefuseReason, u64)> {
        self.refused.iter()
    }

    /// Panics if the switch of a dispatcher with one lane contradicts itself. For tests: it reads everything.
    pub fn check(&self) {
        self.dispatch.check();
        let (read, decided) = (self.totals().received, self.dispatch.counters().received);
        // Commands that wait after others of their datagram have not been decided about.
        assert!(decided == read || decided < read && !self.chains.is_empty(), "{read} read, {decided} decided about");
    }

    /// Totals that the lane itself counts.
    pub const fn totals(&self) -> &Totals {
        &self.outbox.totals
    }

    /// Sets the number of datagrams that the kernel has dropped so far.
    pub fn set_overflow(&mut self, overflow: u64) {
        self.outbox.totals.rx_overflow = overflow;
    }
}

/// Messages given back, in the order of [`RefuseReason::ALL`].
#[derive(Debug, Default)]
struct Refused([u64; RefuseReason::ALL.len()]);

impl Refused {
    fn count(&mut self, reason: RefuseReason) {
        self.add(reason, 1);
    }

    fn add(&mut self, reason: RefuseReason, count: u64) {
        if let Some(at) = RefuseReason::ALL.iter().position(|other| *other == reason) {
            self.0[at] += count;
        }
    }

    fn iter(&self) -> impl Iterator<Item = (RefuseReason, u64)> + use<> {
        RefuseReason::ALL.into_iter().zip(self.0)
    }

    /// Counts from here on what another dispatcher has counted.
    fn set(&mut self, counts: Vec<(RefuseReason, u64)>) -> Result<(), Damaged> {
        *self = Refused::default();
        counts.into_iter().for_each(|(reason, count)| self.add(reason, count));
        Ok(())
    }
}

#[cfg(test)]
mod tests;
