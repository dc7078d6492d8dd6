//! The switch: one message in, its decision carried out.
//!
//! It decides nothing itself. What the pure core says is turned into a record on a link, an answer in the buffer, or
//! nothing; what the links say is told to the core.

mod mgcp;
mod saved;

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use foldhash::fast::FixedState;
use hashbrown::HashMap;
use tracing::debug;

use super::Totals;
use super::answers::Answers;
use super::door::Owner;
use super::early::{Early, Waiting};
use super::links::{Channel, Links};
use super::parcel::Parcel;
use super::repeats::Repeats;
use super::suspects::Suspects;
use crate::config::Insert;
use crate::dispatch::Dispatch;
use crate::dispatch::decision::{
    Admin, Answer, Arrival, Brought, Cause, ChainId, Decision, GatheringId, Handoff, Joined, Reason, Returned, Target,
};
use crate::dispatch::mgcp::chain::Chains;
use crate::dispatch::owner::Owners;
use crate::dispatch::rules::Rules;
use crate::handoff::frame::{Drain, DrainMode, Envelope, FRAME_HARD_LIMIT, Record, RefuseReason, Transport};
use crate::handoff::front::{self, Front, FrontEvent, Note};
use crate::ids::{ConnId, Incarnation, ListenerId, WorkerId};
use crate::net::udp::Datagram;
use crate::time::Time;
use crate::wire::sip::{self, Method, Scanner, patch};
use mgcp::{Asked, Way};

/// The decision with everything it takes to carry it out. It owns no socket and reads no clock: `C` carries the frames
/// of a link, and the caller says what time it is.
#[derive(Debug)]
pub struct Switch<C> {
    dispatch: Dispatch,
    scanner: Scanner,
    hands: Hands<C>,
    retention_bytes: usize,
    /// Slots that are configured.
    configured: usize,
    /// What one frame is read into.
    frame: Vec<u8>,
    /// Messages that workers gave back, by [`RefuseReason::ALL`].
    refused: [u64; RefuseReason::ALL.len()],
    /// Messages that came back from a worker and wait for their next decision.
    returned: VecDeque<Back>,
    /// Those of them that may have been the death of their worker.
    suspects: Suspects<Back>,
    owners: Owners,
    /// What other lanes are to decide about, by lane.
    parcels: Vec<Parcel>,
    /// What waits for something that another lane may still pass on.
    early: Early,
    /// The ledger of each worker as the other lanes know it, in units, and since when.
    told: Vec<u32>,
    told_at: Time,
    /// Workers that have not been told the access rules in force: their links took no more.
    untold: Vec<WorkerId>,
    /// MGCP commands that wait for others of their datagrams.
    chains: Chains<Way>,
    /// Chains that go on.
    resumed: VecDeque<ChainId>,
    /// What answers are gathered for.
    asked: HashMap<GatheringId, Asked, FixedState>,
}

/// How long other lanes may go without the ledger when no parcel leaves for them anyway.
const LEDGER_WITHIN: Duration = Duration::from_millis(10);

/// One part in so many of a worker's units is told at once.
const MUCH: u32 = 64;

/// What reading a link came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LinkRead {
    /// A frame was read; there may be more.
    Frame,
    /// There is nothing to read now.
    Nothing,
    /// The link is over, and why.
    Over(String),
}

/// A message that a worker gave back, or died with.
#[derive(Debug)]
struct Back {
    message: front::Returned,
    from: WorkerId,
    cause: Cause,
}

impl<C: Channel> Switch<C> {
    /// A switch without workers. The store of each link has `retention_bytes` bytes.
    pub fn new(mut dispatch: Dispatch, insert: Insert, retention_bytes: usize, owners: Owners) -> Self {
        dispatch.share_among(owners.lanes());
        Switch {
            parcels: (0..owners.lanes()).map(|_| Parcel::new(owners.own())).collect(),
            owners,
            early: Early::default(),
            told: Vec::new(),
            told_at: Time(0),
            configured: dispatch.pool().len(),
            dispatch,
            scanner: Scanner::new(),
            hands: Hands {
                links: Links::default(),
                answers: Answers::default(),
                repeats: Repeats::default(),
                insert,
                totals: Totals::default(),
                patched: Vec::new(),
            },
            retention_bytes,
            frame: vec![0; FRAME_HARD_LIMIT],
            refused: [0; RefuseReason::ALL.len()],
            returned: VecDeque::new(),
            suspects: Suspects::new(),
            untold: Vec::new(),
            chains: Chains::new(),
            resumed: VecDeque::new(),
            asked: HashMap::default(),
        }
    }

    // -- messages from peers --

    /// A datagram came to a socket of `owner`. `listener` is the well-known socket that workers answer it from.
    pub fn on_datagram(&mut self, owner: Owner, listener: ListenerId, datagram: &Datagram<'_>, now: Time) {
        self.on_late_datagram(owner, listener, datagram, now, now);
    }

    /// A datagram came to a socket of `owner`, and the kernel has had it since `received`.
    pub fn on_late_datagram(
        &mut self,
        owner: Owner,
        listener: ListenerId,
        datagram: &Datagram<'_>,
        received: Time,
        now: Time,
    ) {
        if let Owner::Listener(_) = owner {
            self.hands.totals.received += 1;
        }
        let arrival = Arrival {
            listener,
            transport: Transport::Udp,
            conn: ConnId::default(),
            source: datagram.source,
            local: datagram.local,
            received,
        };
        let own = self.owners.own();
        if self.owners.lanes() == 1 {
            return self.decide(datagram.bytes, owner, &arrival, now);
        }
        let lane = match self.owners.at_a_look(datagram.bytes) {
            Some(lane) => lane,
            None => self.scanner.scan(datagram.bytes).map_or(own, |message| self.owners.lane_of(&message)),
        };
        match self.parcels.get_mut(lane) {
            Some(parcel) if lane != own => parcel.add(datagram.bytes, owner, &arrival),
            _ => self.decide_in_turn(datagram.bytes, owner, &arrival, now),
        }
    }

    /// Decides about a message of a lane beside which there are others: what it follows may still be on its way here.
    fn decide_in_turn(&mut self, bytes: &[u8], owner: Owner, arrival: &Arrival, now: Time) {
        // Nothing else is scanned twice.
        let is_early = bytes.starts_with(b"CANCEL ")
            && self.scanner.scan(bytes).is_ok_and(|message| self.dispatch.is_early(&message, arrival));
        if !is_early || !self.early.keep(bytes, owner, arrival, now) {
            self.decide(bytes, owner, arrival, now);
        }
    }

    /// Decides about what has waited for a message that has come, or for long enough.
    fn decide_early(&mut self, now: Time) {
        let Switch { early, scanner, dispatch, .. } = self;
        let taken = early.take(now, |waiting| {
            !scanner.scan(&waiting.bytes).is_ok_and(|message| dispatch.is_early(&message, &waiting.arrival))
        });
        self.decide_each(taken, now);
    }

    /// All lanes rest: nothing that is waited for will come any more.
    pub fn settle(&mut self, now: Time) {
        let taken = self.early.take(now, |_| true);
        self.decide_each(taken, now);
    }

    fn decide_each(&mut self, waited: Vec<Waiting>, now: Time) {
        for Waiting { bytes, owner, arrival, .. } in waited {
            self.decide(&bytes, owner, &arrival, now);
        }
    }

    fn decide(&mut self, bytes: &[u8], owner: Owner, arrival: &Arrival, now: Time) {
        let back = match self.scanner.scan(bytes) {
            Ok(message) => {
                let decision = match owner {
                    Owner::Listener(_) => self.dispatch.on_message(&message, arrival, now),
                    Owner::Vacant(_) | Owner::VacantMgcp(..) => self.dispatch.on_vacant(Ok(&message), arrival, now),
                };
                if decision.reason == Reason::OwnAck {
                    self.hands.repeats.on_ack(message.to().and_then(|to| to.tag()).unwrap_or_default());
                }
                self.hands.carry_out(&mut self.dispatch, decision, Some(&message), arrival, owner)
            }
            Err(bad) => {
                let decision = match owner {
                    Owner::Listener(_) => self.dispatch.on_unparsable(&bad, arrival, now),
                    Owner::Vacant(_) | Owner::VacantMgcp(..) => self.dispatch.on_vacant(Err(&bad), arrival, now),
                };
                self.hands.carry_out(&mut self.dispatch, decision, bad.message.as_ref(), arrival, owner)
            }
        };
        if let Some(back) = back {
            self.returned.push_back(back);
            self.place_returned(now);
        }
    }

    // -- other lanes --

    /// What another lane has read for this one.
    pub fn on_parcel(&mut self, parcel: &Parcel, now: Time) {
        for &(worker, units) in &parcel.ledger {
            self.dispatch.on_ledger_elsewhere(worker, parcel.from, units);
        }
        for (bytes, owner, arrival) in parcel.messages() {
            match arrival.transport {
                Transport::Mgcp => self.on_mgcp_parcel(bytes, owner, arrival, now),
                _ => self.decide_in_turn(bytes, owner, arrival, now),
            }
        }
        self.decide_early(now);
        self.go_on_chains(now);
    }

    /// Gives what other lanes are to have to `send`, which puts an empty parcel in its place; or returns false when that
    /// lane takes no more: then it waits ([`Switch::has_parcels`]). Beyond a megabyte the messages are dropped, and their
    /// senders send again.
    pub fn flush_parcels(&mut self, now: Time, mut send: impl FnMut(usize, &mut Parcel) -> bool) {
        if self.parcels.len() < 2 {
            return;
        }
        let is_due = now.since(self.told_at) >= LEDGER_WITHIN || self.has_handed_over_much();
        if !is_due && self.parcels.iter().all(Parcel::is_empty) {
            return;
        }
        self.told_at = now;
        self.tell_ledger();
        let own = self.owners.own();
        for (lane, parcel) in self.parcels.iter_mut().enumerate().filter(|(lane, _)| *lane != own) {
            if !parcel.is_empty() && !send(lane, parcel) && parcel.is_full() {
                self.dispatch.on_lane_full(parcel.len());
                parcel.clear();
                // What it should have heard it hears next time, and the others again.
                self.told.fill(u32::MAX);
            }
            parcel.from = own;
        }
    }

    /// Whether something waits for a lane that takes no more.
    pub fn has_parcels(&self) -> bool {
        self.parcels.iter().any(|parcel| !parcel.is_empty())
    }

    /// Whether a worker has got so much since the other lanes were told that their next choice would be a wrong one.
    fn has_handed_over_much(&self) -> bool {
        let told = self.told.iter().copied().chain(std::iter::repeat(0));
        let mut pairs = self.dispatch.pool().iter().zip(told);
        pairs.any(|((_, slot), told)| slot.ledger().saturating_sub(told) > slot.units_total / MUCH)
    }

    /// Puts into every other lane's parcel what has changed in the ledger.
    fn tell_ledger(&mut self) {
        let Switch { dispatch, told, parcels, owners, .. } = self;
        told.resize(dispatch.pool().len(), 0);
        let own = owners.own();
        for ((worker, slot), told) in dispatch.pool().iter().zip(told) {
            let units = slot.ledger();
            if units != *told {
                *told = units;
                let others = parcels.iter_mut().enumerate().filter(|(lane, _)| *lane != own);
                others.for_each(|(_, parcel)| parcel.ledger.push((worker, units)));
            }
        }
    }

    /// Decides again about what workers gave back.
    fn place_returned(&mut self, now: Time) {
        // Whoever has had it does not get it again, so this comes to an end.
        while let Some(back) = self.returned.pop_front() {
            self.place_again(back, now);
        }
    }

    /// Decides again about what may have been the death of a worker, as much of it as may be out at a time.
    fn place_suspects(&mut self, now: Time) {
        let links = &self.hands.links;
        self.suspects.clear(now, |worker, seq| links.get(worker).is_some_and(|link| link.front.taken_through() >= seq));
        while let Some(back) = self.suspects.next() {
            if let Target::Worker(Handoff { worker, seq, .. }) = self.place_again(back, now) {
                self.suspects.on_handed_over(worker, seq, now);
            }
            self.place_returned(now);
        }
    }

    fn place_again(&mut self, back: Back, now: Time) -> Target {
        let Back { message: front::Returned { envelope, note, payload, sent }, from, cause } = back;
        let arrival = Arrival {
            listener: envelope.listener,
            transport: envelope.transport,
            conn: envelope.conn,
            source: envelope.source,
            local: envelope.local,
            received: envelope.received,
        };
        let returned = Returned {
            cause,
            from,
            seq: envelope.seq,
            tried: note.tried,
            since: note.since,
            deaths: note.deaths,
            sent,
            follows: envelope.follows,
            entry: note.entry,
            size: envelope.size,
        };
        if arrival.transport == Transport::Mgcp {
            return self.place_mgcp_again(&payload, &arrival, &returned, note.chain, now);
        }
        // It was scanned before it was handed over; a fault now would be a bug, and the message is dropped.
        let Ok(message) = self.scanner.scan(&payload) else { return Target::Drop };
        let decision = self.dispatch.on_returned(&message, &arrival, &returned, now);
        let owner = Owner::Listener(envelope.listener);
        self.returned.extend(self.hands.carry_out(&mut self.dispatch, decision, Some(&message), &arrival, owner));
        if let Target::Answer(Answer { to_tag: Some(tag), .. }) = decision.target
            && message.method() == Some(Method::Invite)
            && let Some(answer) = self.hands.answers.last()
        {
            self.hands.repeats.begin(tag, answer, now);
        }
        decision.target
    }

    // -- links --

    /// A worker has been welcomed.
    pub fn on_link(&mut self, worker: WorkerId, channel: C, joined: &Joined, now: Time) {
        self.begin_link(worker, channel, joined);
        self.dispatch.on_worker_up(worker, joined, now);
        // The operator's word is for the slot: it outlives the worker it was said to.
        let admin = self.dispatch.pool().get(worker).map(|worker| worker.admin).unwrap_or_default();
        if admin != Admin::Ready && self.is_first() {
            self.hands.tell(worker, Drain { mode: DrainMode::Drain, within: Duration::MAX });
        }
    }

    /// A worker of an earlier dispatcher has been welcomed back. It drains already where it was told to.
    pub fn on_link_back(&mut self, worker: WorkerId, channel: C, joined: &Joined, brought: &Brought, now: Time) {
        self.begin_link(worker, channel, joined);
        self.dispatch.on_worker_back(worker, joined, brought, now);
    }

    fn begin_link(&mut self, worker: WorkerId, channel: C, joined: &Joined) {
        self.hands.links.insert(worker, joined.incarnation, channel, Front::new(self.retention_bytes));
        self.fit_pool();
    }

    /// Whether a worker has a link.
    pub fn has_link(&self, worker: WorkerId) -> bool {
        self.hands.links.get(worker).is_some()
    }

    /// A link can be read or written.
    pub fn on_link_event(&mut self, worker: WorkerId, readable: bool, writable: bool) {
        self.hands.links.on_event(worker, readable, writable);
    }

    /// Takes a link that may have something to read; it comes back when there may be more.
    pub fn take_readable_link(&mut self) -> Option<WorkerId> {
        self.hands.links.take_readable()
    }

    /// Whether a link may have something to read.
    pub fn has_readable_link(&self) -> bool {
        self.hands.links.has_readable()
    }

    /// Reads one frame from a link.
    ///
    /// A dead worker's last frames are still readable behind an error: only the end of the link is the end.
    pub fn read_link(&mut self, worker: WorkerId, now: Time) -> LinkRead {
        let Some(link) = self.hands.links.get_mut(worker) else { return LinkRead::Nothing };
        let length = match link.read(&mut self.frame) {
            Ok(None) => return LinkRead::Nothing,
            Ok(Some(0)) => return LinkRead::Over("the worker closed it".to_owned()),
            Ok(Some(length)) => length,
            Err(error) => return LinkRead::Over(error.to_string()),
        };
        self.hands.links.on_event(worker, true, false);
        let Switch { hands, dispatch, frame, returned, refused, resumed, .. } = self;
        let Some(link) = hands.links.get_mut(worker) else { return LinkRead::Nothing };
        let mut goodbye = None;
        let read = link.front.on_frame(&frame[..length], &mut |event| match event {
            FrontEvent::Answered { note, .. } => {
                if let Some(entry) = note.entry {
                    dispatch.on_answered(entry, now);
                }
                resumed.extend(note.chain);
            }
            FrontEvent::Refused { returned: message, reason } => {
                if let Some(at) = RefuseReason::ALL.iter().position(|other| *other == reason) {
                    refused[at] += 1;
                }
                returned.push_back(Back { message, from: worker, cause: Cause::Refused(reason) });
            }
            FrontEvent::Report(report) => dispatch.on_report(worker, &report, now),
            FrontEvent::Released { branch } => dispatch.on_released(worker, branch, now),
            FrontEvent::GroupOpen { name, opened } => dispatch.on_group_open(worker, name, opened, now),
            FrontEvent::GroupClosed { name } => dispatch.on_group_closed(worker, name),
            FrontEvent::Goodbye(reason) => goodbye = Some(reason.to_owned()),
            FrontEvent::Reply { conn, bytes } => {
                if let Some(gathering) = GatheringId::of(conn) {
                    dispatch.on_gathered(gathering, worker, bytes, now);
                }
            }
            // Lanes pass messages on themselves, and nobody was pinged.
            FrontEvent::Hello(_) | FrontEvent::NotMine { .. } | FrontEvent::Pong(_) => {}
        });
        dispatch.on_link_room(worker, link.front.room());
        hands.links.touch(worker);
        self.place_returned(now);
        if !self.suspects.is_empty() {
            self.place_suspects(now);
        }
        self.go_on_chains(now);
        match read {
            Err(error) => LinkRead::Over(format!("it sent what is no frame: {error}")),
            Ok(()) => goodbye.map_or(LinkRead::Frame, |said| LinkRead::Over(format!("it said goodbye: {said}"))),
        }
    }

    /// A link is over: what the worker had not answered goes to others. Says whose link it was.
    pub fn on_link_lost(&mut self, worker: WorkerId, now: Time) -> Option<Incarnation> {
        let (incarnation, front) = self.hands.links.remove(worker)?;
        self.dispatch.on_worker_down(worker, now);
        self.fit_pool();
        self.suspects.on_link_lost(worker);
        for message in front.into_orphans() {
            // What never left cannot have been the death of it. What was there at two deaths has its answer now.
            let is_suspect = message.sent && message.note.deaths == 0 && message.note.entry.is_some();
            let back = Back { message, from: worker, cause: Cause::Died };
            if is_suspect {
                self.suspects.add(back);
            } else {
                self.returned.push_back(back);
            }
        }
        self.place_returned(now);
        self.place_suspects(now);
        self.go_on_chains(now);
        Some(incarnation)
    }

    /// Workers that came by themselves have their places behind the configured ones; slots that are no longer configured
    /// go with their links.
    fn fit_pool(&mut self) {
        let last = self.hands.links.iter().map(|(worker, _)| usize::from(worker.0) + 1).max().unwrap_or_default();
        self.dispatch.set_workers(self.configured.max(last));
    }

    // -- time --

    /// Does what is due.
    pub fn handle_timeout(&mut self, now: Time) {
        if self.dispatch.is_look_due(now) {
            self.tell_access();
            for (worker, link) in self.hands.links.iter() {
                self.dispatch.on_unread(worker, link.front.unread_behind());
            }
        }
        self.dispatch.handle_timeout(now);
        if self.early.poll_timeout().is_some_and(|due| due <= now) {
            self.decide_early(now);
        }
        self.hands.repeats.handle_timeout(now, &mut self.hands.answers);
        if self.suspects.poll_timeout().is_some_and(|due| due <= now) {
            self.place_suspects(now);
        }
        while let Some(rest) = self.chains.poll_expired(now) {
            self.go_on(rest, now);
        }
        self.go_on_chains(now);
    }

    /// A worker that is hung, and which life of it: somebody has to end it.
    pub fn poll_hung(&mut self) -> Option<(WorkerId, Incarnation)> {
        let worker = self.dispatch.poll_hung()?;
        Some((worker, self.hands.links.get(worker)?.incarnation))
    }

    /// When something is due next.
    pub fn poll_timeout(&self) -> Option<Time> {
        let own = [
            self.suspects.poll_timeout(),
            self.hands.repeats.poll_timeout(),
            self.early.poll_timeout(),
            self.chains.poll_timeout(),
        ];
        self.dispatch.poll_timeout().into_iter().chain(own.into_iter().flatten()).min()
    }

    // -- writing --

    /// Gives every waiting answer to `send`: whose socket it leaves from, bytes, where to, from which local address.
    pub fn flush_answers(&mut self, send: impl FnMut(Owner, &[u8], SocketAddr, IpAddr)) {
        self.hands.answers.flush(send);
    }

    /// Writes what is queued on the links.
    pub fn flush_links(&mut self) {
        self.hands.links.flush();
    }

    // -- the control side --

    /// Whether this is the lane that tells workers what the operator wants: once is enough.
    pub const fn is_first(&self) -> bool {
        self.owners.own() == 0
    }

    /// Changes a worker's administrative state, and tells the worker.
    pub fn set_admin(&mut self, worker: WorkerId, admin: Admin, drain_within: Option<Duration>) {
        self.dispatch.set_admin(worker, admin);
        let mode = if admin == Admin::Ready { DrainMode::Ready } else { DrainMode::Drain };
        if !self.is_first() {
            return;
        }
        self.hands.tell(worker, Drain { mode, within: drain_within.unwrap_or(Duration::MAX) });
    }

    /// The rules and the number of slots change; calls and table stay.
    pub fn reload(&mut self, rules: Rules, insert: Insert, workers: usize, now: Time) {
        let is_new = self.dispatch.rules().access != rules.access;
        self.dispatch.set_rules(rules, now);
        self.configured = workers;
        self.fit_pool();
        self.hands.insert = insert;
        if is_new && self.is_first() {
            // Who links later has them from its welcome.
            self.untold = self.hands.links.iter().map(|(worker, _)| worker).collect();
            self.tell_access();
        }
    }

    /// Tells the workers that have not heard of them which access rules are in force.
    fn tell_access(&mut self) {
        let Switch { hands, dispatch, untold, .. } = self;
        let rules = &dispatch.rules().access;
        untold.retain(|&worker| {
            let is_told = hands.links.get_mut(worker).is_none_or(|link| link.front.push_access(rules));
            hands.links.touch(worker);
            !is_told
        });
    }

    /// No new work anywhere; every worker ends its calls within the time.
    pub fn stop(&mut self, within: Duration) {
        let workers: Vec<WorkerId> = self.hands.links.iter().map(|(worker, _)| worker).collect();
        for worker in workers {
            self.retire(worker, within);
        }
    }

    /// One worker ends its calls within the time and exits.
    pub fn retire(&mut self, worker: WorkerId, within: Duration) {
        self.dispatch.set_admin(worker, Admin::Drain);
        if self.is_first() {
            self.hands.tell(worker, Drain { mode: DrainMode::Stop, within });
        }
    }

    // -- looking in --

    /// The decision.
    pub const fn dispatch(&self) -> &Dispatch {
        &self.dispatch
    }

    /// The links.
    pub const fn links(&self) -> &Links<C> {
        &self.hands.links
    }

    /// Bytes of the store of each link.
    pub const fn retention_bytes(&self) -> usize {
        self.retention_bytes
    }

    /// How often workers gave a message back, by their reason.
    pub fn refused(&self) -> impl Iterator<Item = (RefuseReason, u64)> {
        RefuseReason::ALL.into_iter().zip(self.refused)
    }

    /// How many datagrams of MGCP have commands that wait for others.
    pub fn waiting_chains(&self) -> usize {
        self.chains.len()
    }

    /// What the lane itself counts.
    pub const fn totals(&self) -> &Totals {
        &self.hands.totals
    }

    /// Datagrams the kernel has dropped so far.
    pub fn set_overflow(&mut self, overflow: u64) {
        self.hands.totals.rx_overflow = overflow;
    }
}

/// What carries a decision out: links and answers.
#[derive(Debug)]
struct Hands<C> {
    links: Links<C>,
    answers: Answers,
    repeats: Repeats,
    insert: Insert,
    totals: Totals,
    /// The message with the worker's port written into it, when that is asked for.
    patched: Vec<u8>,
}

impl<C: Channel> Hands<C> {
    /// Does what was decided. Gives back a message that its worker's link does not take after all.
    fn carry_out(
        &mut self,
        dispatch: &mut Dispatch,
        decision: Decision,
        message: Option<&sip::Message<'_>>,
        arrival: &Arrival,
        owner: Owner,
    ) -> Option<Back> {
        match (decision.target, message) {
            (Target::Worker(handoff), Some(message)) => return self.hand_over(dispatch, &handoff, message, arrival),
            (Target::Answer(answer), Some(message)) => {
                self.answers.write(owner, &answer, dispatch.allow(), message, arrival);
            }
            // A pong goes only over streams (RFC 5626 §4.4.1); on UDP the keepalive needs no answer.
            _ => {}
        }
        None
    }

    fn hand_over(
        &mut self,
        dispatch: &mut Dispatch,
        handoff: &Handoff,
        message: &sip::Message<'_>,
        arrival: &Arrival,
    ) -> Option<Back> {
        let port =
            dispatch.pool().get(handoff.worker).and_then(|worker| worker.addresses.first()).map(SocketAddr::port);
        self.patched.clear();
        let pieces = match (self.insert, port) {
            (Insert::Header, Some(port)) if !handoff.follows => {
                // Only the dispatcher says this: a line of the sender's, or of an earlier handover, goes.
                patch::without_field(&mut self.patched, message, Insert::HEADER);
                let rest = self.patched.len();
                patch::header_line(&mut self.patched, Insert::HEADER, port.to_string().as_bytes());
                let (message, line) = self.patched.split_at(rest);
                let start = memchr::memchr(b'\n', message).map_or(0, |end| end + 1);
                [&message[..start], line, &message[start..]]
            }
            (Insert::RequestUri, Some(port)) if !handoff.follows => {
                self.patched.extend_from_slice(format!(":{port}").as_bytes());
                // A scheme without a host has no port either, and goes on as it came.
                patch::with_uri_port(message, &self.patched).unwrap_or([message.bytes(), &[], &[]])
            }
            _ => [message.bytes(), &[], &[]],
        };
        push(&mut self.links, dispatch, handoff, None, arrival, &pieces, message.bytes())
    }

    fn tell(&mut self, worker: WorkerId, drain: Drain) {
        if let Some(link) = self.links.get_mut(worker) {
            link.front.push_control(&Record::Drain(drain));
            self.links.touch(worker);
        }
    }
}

/// Puts what is handed over on its worker's link: `pieces` are `message` as the worker is to have it. Gives back a message
/// that the link does not take: the core knows what each can take, so this is rare, and one more worker that refuses.
fn push<C: Channel>(
    links: &mut Links<C>,
    dispatch: &mut Dispatch,
    handoff: &Handoff,
    chain: Option<ChainId>,
    arrival: &Arrival,
    pieces: &[&[u8]],
    message: &[u8],
) -> Option<Back> {
    let envelope = Envelope {
        seq: handoff.seq,
        received: arrival.received,
        deadline: handoff.deadline,
        conn: arrival.conn,
        size: handoff.size,
        listener: arrival.listener,
        transport: arrival.transport,
        pinned: handoff.pinned,
        again: handoff.again,
        follows: handoff.follows,
        source: arrival.source,
        local: arrival.local,
    };
    let Handoff { entry, tried, since, deaths, .. } = *handoff;
    let note = Note { entry, tried, since, deaths, chain };
    let not_taken = || Back {
        message: front::Returned { envelope, note, payload: message.to_vec(), sent: false },
        from: handoff.worker,
        cause: Cause::Refused(RefuseReason::Exhausted),
    };
    let Some(link) = links.get_mut(handoff.worker) else { return Some(not_taken()) };
    let pushed = link.front.push(&envelope, note, pieces);
    dispatch.on_link_room(handoff.worker, link.front.room());
    if let Err(error) = pushed {
        debug!(worker = %handoff.worker, "not handed over: {error}");
        return Some(not_taken());
    }
    links.touch(handoff.worker);
    None
}

#[cfg(test)]
mod tests;
