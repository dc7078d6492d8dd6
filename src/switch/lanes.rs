//! The switch among those of other lanes: messages that one lane has read and another decides about, the answers to
//! those that came on a connection, and the units that each has handed over.

use std::time::Duration;

use super::answers::Answers;
use super::early_cancels::EarlyCancel;
use super::in_hand::InHand;
use super::links::Channel;
use super::outbox::Outbox;
use super::owner::Owner;
use super::parcel::Parcel;
use super::replies::{Connections, Replies, Reply};
use super::together::Group;
use super::{Switch, Way};
use crate::dispatch::contexts::Sought;
use crate::ids::{ConnId, WorkerId};
use crate::time::Time;
use crate::transaction::forwarded::ForwardedBranch;
use crate::wire::sip::Message;
use crate::words::{ReplyTo, Transport};

/// Longest time that other lanes go without the ledger when no parcel leaves for them anyway.
const LEDGER_WITHIN: Duration = Duration::from_millis(10);

/// Memory of answers on connections that is kept for the next ones, in bytes.
const KEPT: usize = 1 << 20;

/// A worker's ledger that has grown by more than one part in so many of its units is told at once.
const MUCH: u32 = 64;

impl<C: Channel> Switch<C> {
    /// Acts on a parcel: the sender's ledger, messages that it has read for this lane, answers for connections of this
    /// lane, and requests of this lane for connections that are gone.
    pub fn on_parcel(&mut self, parcel: &Parcel, now: Time) {
        for &(worker, units) in &parcel.ledger {
            self.dispatch.on_ledger_elsewhere(worker, parcel.from, units);
        }
        parcel.replies.iter().for_each(|reply| self.outbox.answers.replies.push(reply));
        parcel.undelivered.iter().for_each(|request| self.undelivered.push(request));
        self.gone.extend_from_slice(&parcel.gone);
        self.answer_undelivered(now);
        let mut group = Group::default();
        for (bytes, way) in parcel.messages() {
            match way.arrival.transport {
                Transport::Mgcp => {
                    self.decide_group(&std::mem::take(&mut group), now);
                    self.on_passed(bytes, way, now);
                }
                _ => self.add(&mut group, (bytes, *way), now),
            }
        }
        self.decide_group(&group, now);
        self.decide_early(now);
        self.go_on_chains(now);
    }

    /// Queues each message for a connection of this lane, and has them leave. Messages for connections of other lanes
    /// go into their parcels. A worker's message for a connection that no lane has, or that ended before the message
    /// had left, goes back to it; a request that a lane has forwarded, to that lane.
    pub fn flush_replies(&mut self, mut connections: impl Connections) {
        let Outbox { answers: Answers { replies, unsent, .. }, links, .. } = &mut self.outbox;
        let own = self.owners.own();
        let mut forwarded = Replies::default();
        let mut return_to = |from: Option<WorkerId>, conn, bytes: &[u8]| match from {
            Some(worker) => {
                if let Some(link) = links.get_mut(worker) {
                    link.front.push_undelivered(ReplyTo::Stream(conn), bytes);
                    links.touch(worker);
                }
            }
            None if !bytes.starts_with(b"SIP/") => forwarded.push(Reply { conn, bytes, from }),
            None => {}
        };
        let mut gone = Vec::new();
        while let Some((closed, waiting)) = connections.poll_closed() {
            unsent.take(closed, waiting).for_each(|message| return_to(message.from, closed, &message.bytes));
            gone.push(closed);
        }
        let mut refused = Vec::new();
        for (at, reply) in replies.iter().enumerate() {
            if reply.conn.lane() != own
                && let Some(parcel) = self.parcels.get_mut(reply.conn.lane())
            {
                parcel.replies.push(reply);
            } else if reply.conn.lane() != own || !connections.queue(reply.conn, reply.bytes) {
                return_to(reply.from, reply.conn, reply.bytes);
                refused.push(at);
            }
        }
        connections.write();
        while let Some((closed, waiting)) = connections.poll_closed() {
            unsent.take(closed, waiting).for_each(|message| return_to(message.from, closed, &message.bytes));
            let queued = replies.iter().enumerate().filter(|(at, reply)| reply.conn == closed && !refused.contains(at));
            queued.for_each(|(_, reply)| return_to(reply.from, closed, reply.bytes));
            gone.push(closed);
        }
        let is_waiting = |reply: &Reply<'_>| reply.conn.lane() == own && connections.waiting(reply.conn) > 0;
        replies.iter().filter(is_waiting).for_each(|reply| unsent.push(reply));
        unsent.forget_sent(|conn| connections.waiting(conn));
        replies.clear(KEPT);
        for request in forwarded.iter() {
            let branch =
                self.scanner.scan(request.bytes).ok().and_then(|it| ForwardedBranch::read(it.via()?.branch()?));
            match branch.and_then(|branch| self.parcels.get_mut(branch.lane()).filter(|_| branch.lane() != own)) {
                Some(parcel) => parcel.undelivered.push(request),
                None => self.undelivered.push(request),
            }
        }
        self.tell_gone(&gone);
    }

    /// Has all lanes hear of connections that are gone, if they may have sent requests on them.
    fn tell_gone(&mut self, gone: &[ConnId]) {
        if gone.is_empty() || self.dispatch.proxies().is_empty() {
            return;
        }
        let (own, dispatch) = (self.owners.own(), &self.dispatch);
        self.gone.extend(gone.iter().filter(|conn| dispatch.has_gone_by(**conn)));
        let others = self.parcels.iter_mut().enumerate().filter(|(lane, _)| *lane != own);
        others.for_each(|(_, parcel)| parcel.gone.extend_from_slice(gone));
    }

    /// Has the senders of requests for connections that are gone hear of it.
    pub(super) fn answer_undelivered(&mut self, now: Time) {
        let Switch { undelivered, gone, scanner, dispatch, .. } = self;
        for request in undelivered.iter() {
            if let Ok(message) = scanner.scan(request.bytes) {
                dispatch.on_undelivered(&message, request.conn, now);
            }
        }
        undelivered.clear(KEPT);
        gone.drain(..).for_each(|conn| dispatch.on_caller_gone(conn, now));
        self.send_leaving(now);
    }

    /// Passes each parcel for another lane to `send`, which puts an empty one in its place, or returns false when that
    /// lane takes no more. The parcel then waits ([`Switch::has_parcels`]). Beyond a megabyte its messages are dropped,
    /// and their senders send them again.
    pub fn flush_parcels(&mut self, now: Time, mut send: impl FnMut(usize, &mut Parcel) -> bool) {
        if self.parcels.len() < 2 {
            return;
        }
        let is_due = now.since(self.ledgers_told_at) >= LEDGER_WITHIN || self.has_handed_over_much();
        if !is_due && self.parcels.iter().all(Parcel::is_empty) {
            return;
        }
        self.ledgers_told_at = now;
        self.tell_ledger();
        let own = self.owners.own();
        for (lane, parcel) in self.parcels.iter_mut().enumerate().filter(|(lane, _)| *lane != own) {
            if !parcel.is_empty() && !send(lane, parcel) && parcel.is_full() {
                // Answers in it are lost as well: they count with their requests, which were decided about.
                self.dispatch.on_lane_full(parcel.len());
                parcel.clear();
                // The lane gets the figures with its next parcel; the other lanes get theirs once more.
                self.ledgers_told.fill(u32::MAX);
            }
            parcel.from = own;
        }
    }

    /// Whether a parcel waits for a lane that takes no more.
    pub fn has_parcels(&self) -> bool {
        self.parcels.iter().any(|parcel| !parcel.is_empty())
    }

    /// Whether a worker has got so much since the other lanes were told that they would choose wrongly.
    fn has_handed_over_much(&self) -> bool {
        let told = self.ledgers_told.iter().copied().chain(std::iter::repeat(0));
        let mut pairs = self.dispatch.pool().iter().zip(told);
        pairs.any(|((_, slot), told)| slot.ledger().saturating_sub(told) > slot.units_total / MUCH)
    }

    /// Puts the changes of the ledger into every other lane's parcel.
    fn tell_ledger(&mut self) {
        let Switch { dispatch, ledgers_told, parcels, owners, .. } = self;
        ledgers_told.resize(dispatch.pool().len(), 0);
        let own = owners.own();
        for ((worker, slot), told) in dispatch.pool().iter().zip(ledgers_told) {
            let units = slot.ledger();
            if units != *told {
                *told = units;
                let others = parcels.iter_mut().enumerate().filter(|(lane, _)| *lane != own);
                others.for_each(|(_, parcel)| parcel.ledger.push((worker, units)));
            }
        }
    }

    /// Decides about a message of this lane.
    pub(super) fn decide_in_turn(&mut self, bytes: &[u8], way: &Way, now: Time) {
        // Messages other than a CANCEL are not scanned twice.
        let is_cancel = self.owners.lanes() > 1 && begins_as_cancel(bytes);
        let Switch { scanner, dispatch, early, .. } = self;
        let is_kept = is_cancel
            && scanner.scan(bytes).is_ok_and(|message| dispatch.is_early(&message, &way.arrival))
            && early.keep(bytes, way, now);
        if !is_kept {
            self.decide(bytes, way, None, now);
        }
    }

    /// Whether this is a CANCEL whose INVITE may still be on its way from another lane to this one: the CANCEL waits.
    pub(super) fn is_kept_early(&mut self, message: &Message<'_>, bytes: &[u8], way: &Way, now: Time) -> bool {
        self.owners.lanes() > 1
            && begins_as_cancel(bytes)
            && self.dispatch.is_early(message, &way.arrival)
            && self.early.keep(bytes, way, now)
    }

    /// Decides about CANCELs whose INVITE has come, or that have waited long enough.
    pub(super) fn decide_early(&mut self, now: Time) {
        let Switch { early, scanner, dispatch, .. } = self;
        let taken = early.take(now, |waiting| {
            !scanner.scan(&waiting.bytes).is_ok_and(|message| dispatch.is_early(&message, &waiting.way.arrival))
        });
        self.decide_each(taken, now);
    }

    /// Decides about everything that waits. All lanes rest: no message that another waits for will come any more.
    pub fn settle(&mut self, now: Time) {
        self.answer_undelivered(now);
        // A CANCEL finds its request while that is still here.
        let taken = self.early.take(now, |_| true);
        self.decide_each(taken, now);
        self.sought.extend(self.dispatch.take_sought(now));
        self.send_leaving(now);
        while self.has_orphans() || !self.given_back.is_empty() {
            (self.given_back_left, self.orphans_left) = (usize::MAX, usize::MAX);
            self.read_ending(now);
            self.place_given_back(now);
            self.place_orphans(now);
        }
    }

    /// Decides about requests whose way was sought when this dispatcher took over, or when another one failed to:
    /// before anything is read that belongs to them.
    pub fn decide_sought(&mut self, now: Time) {
        self.dispatch.seek_again(now);
        self.send_leaving(now);
        let Switch { sought, scanner, dispatch, outbox, .. } = self;
        for Sought { request, arrival } in sought.drain(..) {
            let Ok(message) = scanner.scan(&request) else { continue };
            let way = Way { owner: Owner::Listener(arrival.listener), arrival };
            let decision = dispatch.on_sought(&message, &arrival, now);
            outbox.carry_out(dispatch, decision, &InHand { message: (&message).into(), way: &way, chain: None, now });
        }
        self.place_not_taken(now);
    }

    fn decide_each(&mut self, waited: Vec<EarlyCancel>, now: Time) {
        for EarlyCancel { bytes, way, .. } in waited {
            self.decide(&bytes, &way, None, now);
        }
    }
}

/// Whether a message begins as a CANCEL does.
fn begins_as_cancel(bytes: &[u8]) -> bool {
    bytes.trim_ascii_start().starts_with(b"CANCEL ")
}
