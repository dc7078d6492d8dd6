//! The rules for SIP, in the order they are asked: who is named by the message itself, what the table knows, which
//! conference, and only then selection.

use std::net::{IpAddr, Ipv4Addr};

use super::Dispatch;
use super::access::Admission;
use super::decision::{Answer, Arrival, Decision, EntryId, Handoff, Operational, Reason, Room, Target, Tried};
use super::fingerprint::{Fingerprint, Printer, Source};
use super::group::{Group, GroupId};
use super::identity::{Named, branch_token};
use super::pool::Worker;
use super::select::{Ask, by_hash};
use super::table::{Entry, LINGER, NewEntry, State};
use super::transaction::Names;
use crate::config::MethodRule;
use crate::handoff::frame::Transport;
use crate::ids::WorkerId;
use crate::time::Time;
use crate::wire::sip::{Essentials, Fault, Message, Method, Name, NameAddr, Unparsable, Uri};

/// The header that carries a worker's token where nothing of SIP's own does.
pub const EXTENSION: &str = "X-Pointsman-Worker";
/// The URI parameter that carries a worker's token in Contact, where the user part belongs to somebody else.
pub const URI_PARAM: &[u8] = b"pm";

/// The purpose of a conference's fingerprint.
pub(super) const CONFERENCE: u8 = b'g';

/// What the rules read of every request.
#[derive(Clone, Copy, Debug)]
pub(super) struct Summary<'a> {
    pub(super) method: Method<'a>,
    pub(super) branch: Fingerprint,
    pub(super) call: Fingerprint,
    pub(super) cseq: u32,
    pub(super) to_tag: Option<&'a [u8]>,
    pub(super) source: Source,
    pub(super) read: Essentials<'a>,
}

impl<'a> Summary<'a> {
    pub(super) fn of(message: &Message<'a>, method: Method<'a>, arrival: &Arrival, printer: &Printer) -> Self {
        let read = message.essentials();
        let Names { branch, call, cseq } = Names::of(message, &read, printer);
        let to_tag = read.to.and_then(|to| to.tag());
        let source = printer.source(arrival.source.ip());
        Summary { method, branch, call, cseq, to_tag, source, read }
    }
}

/// Where an initial request goes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Placement {
    pub(super) worker: WorkerId,
    pub(super) reason: Reason,
    pub(super) size: u32,
    pub(super) follows: bool,
    pub(super) group: Option<GroupId>,
}

/// What came of the search for a worker that the message itself names.
enum Echoed {
    Nobody,
    Worker(WorkerId, Reason),
    /// It refers to a dialog that is gone with its worker.
    Gone(Reason),
}

impl Dispatch {
    pub(super) fn decide_unparsable(&mut self, bad: &Unparsable<'_>, arrival: &Arrival, now: Time) -> Decision {
        let dropped = |reason| Decision { target: Target::Drop, reason };
        if self.access.denies(arrival.source.ip()) {
            return dropped(Reason::Denied);
        }
        match bad.fault {
            Fault::Empty | Fault::Keepalive if arrival.transport == Transport::Udp => {
                dropped(Reason::KeepaliveDatagram)
            }
            Fault::Empty | Fault::Keepalive => Decision { target: Target::Pong, reason: Reason::KeepaliveStream },
            Fault::Stun => dropped(Reason::Stun),
            fault => match (fault.status(), bad.message.and_then(|message| Some((message, message.method()?)))) {
                (Some(status), Some((message, method))) => {
                    let summary = Summary::of(&message, method, arrival, &self.printer);
                    self.turn_away(&summary, arrival, now)
                        .unwrap_or_else(|| self.answer(&summary, status, Reason::Malformed))
                }
                _ => dropped(Reason::Unparsable),
            },
        }
    }

    pub(super) fn decide(&mut self, message: &Message<'_>, arrival: &Arrival, now: Time) -> Decision {
        if self.access.denies(arrival.source.ip()) {
            return Decision { target: Target::Drop, reason: Reason::Denied };
        }
        let Some(method) = message.method() else { return self.response(message, now) };
        if now.since(arrival.received) > LINGER {
            return Decision { target: Target::Drop, reason: Reason::TooOld };
        }
        let summary = Summary::of(message, method, arrival, &self.printer);
        self.table.touch(summary.branch, summary.call);
        match (method, summary.to_tag) {
            (Method::Ack, _) => self.ack(message, &summary, arrival, now),
            (Method::Cancel, _) => self.cancel(message, &summary, arrival, now),
            (_, Some(to_tag)) => self.in_dialog(message, &summary, to_tag, arrival, now),
            (_, None) => self.initial(message, &summary, arrival, now),
        }
    }

    /// A response belongs to the worker whose token stands in the branch of the topmost Via.
    fn response(&mut self, message: &Message<'_>, now: Time) -> Decision {
        let named =
            message.via().and_then(|via| via.branch()).and_then(branch_token).and_then(|at| self.directory.token(at));
        match named {
            Some(Named::Live(worker)) => self.follow(worker, Reason::Branch, now),
            Some(Named::Gone) => Decision { target: Target::Drop, reason: Reason::WorkerGone },
            None => Decision { target: Target::Drop, reason: Reason::UnknownResponse },
        }
    }

    /// ACK: never answered, whatever becomes of it (RFC 3261 §17.2.1, §13.2.2.4).
    fn ack(&mut self, message: &Message<'_>, summary: &Summary<'_>, arrival: &Arrival, now: Time) -> Decision {
        let dropped = |reason| Decision { target: Target::Drop, reason };
        if let Some(to_tag) = summary.to_tag {
            // An ACK to a non-2xx has the INVITE's branch (§17.1.1.3), of which our own tag was made.
            if self.directory.keys().dispatcher_tag(summary.branch).as_bytes() == to_tag {
                return dropped(Reason::OwnAck);
            }
            match self.directory.token(to_tag) {
                Some(Named::Live(worker)) => return self.follow(worker, Reason::ToTag, now),
                Some(Named::Gone) => return dropped(Reason::WorkerGone),
                None => {}
            }
        }
        let by_branch = self.table.by_branch(summary.branch).and_then(|id| self.table.get(id)).copied();
        if let Some(entry) = by_branch.or_else(|| self.entry_of_call(summary)) {
            return match entry.state {
                State::Verdict(_) => dropped(Reason::OwnAck),
                _ if self.is_alive(&entry) => self.follow(entry.worker, Reason::Ack, now),
                _ => dropped(Reason::WorkerGone),
            };
        }
        match self.addressed(message, summary, arrival) {
            Some((Named::Live(worker), reason)) => self.follow(worker, reason, now),
            Some((Named::Gone, _)) => dropped(Reason::WorkerGone),
            None => match self.unrecorded_worker(summary, now) {
                Some(worker) => self.follow(worker, Reason::FollowsUnrecorded, now),
                None => dropped(Reason::UnknownAck),
            },
        }
    }

    /// CANCEL has the branch of what it cancels (RFC 3261 §9.1); a client that made a new one is known by its call.
    fn cancel(&mut self, message: &Message<'_>, summary: &Summary<'_>, arrival: &Arrival, now: Time) -> Decision {
        if let Some(id) = self.transaction_of_cancel(summary)
            && let Some(&entry) = self.table.get(id)
        {
            if matches!(entry.state, State::Verdict(_)) {
                return self.answer(summary, 200, Reason::CancelTooLate);
            }
            self.table.cancel(id);
            return match entry.state {
                _ if self.is_alive(&entry) => self.follow(entry.worker, Reason::Cancel, now),
                // Its INVITE comes back from the dead worker's link, finds that it was cancelled and gets its 487.
                State::Pending => self.answer(summary, 200, Reason::CancelAnswered),
                _ => self.answer(summary, 481, Reason::WorkerGone),
            };
        }
        // A re-INVITE is cancelled inside its dialog.
        let by_tag = summary.to_tag.and_then(|tag| self.directory.token(tag)).map(|named| (named, Reason::ToTag));
        match by_tag.or_else(|| self.addressed(message, summary, arrival)) {
            Some((Named::Live(worker), reason)) => self.follow(worker, reason, now),
            Some((Named::Gone, _)) => self.answer(summary, 481, Reason::WorkerGone),
            None => match self.unrecorded_worker(summary, now) {
                Some(worker) => self.follow(worker, Reason::FollowsUnrecorded, now),
                None => self.answer_stranger(summary, arrival, 481, Reason::UnknownCancel, now),
            },
        }
    }

    /// A request inside a dialog (RFC 3261 §12.2.2).
    fn in_dialog(
        &mut self,
        message: &Message<'_>,
        summary: &Summary<'_>,
        to_tag: &[u8],
        arrival: &Arrival,
        now: Time,
    ) -> Decision {
        let by_tag = self.directory.token(to_tag).map(|named| (named, Reason::ToTag));
        match by_tag.or_else(|| self.addressed(message, summary, arrival)) {
            Some((Named::Live(worker), reason)) => return self.follow(worker, reason, now),
            Some((Named::Gone, _)) => return self.answer(summary, 481, Reason::WorkerGone),
            None => {}
        }
        match self.entry_of_call(summary) {
            Some(entry) if matches!(entry.state, State::Verdict(_)) => {
                self.answer_stranger(summary, arrival, 481, Reason::UnknownDialog, now)
            }
            Some(entry) if self.is_alive(&entry) => self.follow(entry.worker, Reason::InDialog, now),
            Some(_) => self.answer(summary, 481, Reason::WorkerGone),
            None => match self.unrecorded_worker(summary, now) {
                Some(worker) => self.follow(worker, Reason::FollowsUnrecorded, now),
                None => self.answer_stranger(summary, arrival, 481, Reason::UnknownDialog, now),
            },
        }
    }

    /// A request that begins something, or is sent again.
    fn initial(&mut self, message: &Message<'_>, summary: &Summary<'_>, arrival: &Arrival, now: Time) -> Decision {
        if let Some(id) = self.table.by_branch(summary.branch)
            && let Some(&entry) = self.table.get(id)
        {
            return self.retransmission(message, summary, arrival, (id, &entry), now);
        }
        if let Err(fault) = message.check_read(&summary.read) {
            let reason = if fault == Fault::UriScheme { Reason::UnknownScheme } else { Reason::Malformed };
            return self.answer_stranger(summary, arrival, fault.status().unwrap_or(400), reason, now);
        }
        match summary.method {
            Method::Other(_) => {
                let refusal = self.turn_away(summary, arrival, now);
                return refusal.unwrap_or_else(|| self.refuse_method(summary, 501, Reason::UnknownMethod));
            }
            Method::Bye | Method::Prack | Method::Update | Method::Notify => {
                return self.answer_stranger(summary, arrival, 481, Reason::UnknownDialog, now);
            }
            _ => {}
        }
        match self.echoed(message, summary, arrival) {
            Echoed::Worker(worker, reason) => {
                let size = self.size(message, summary, arrival);
                let placement = Placement { worker, reason, size, follows: true, group: None };
                return self.place(message, summary, arrival, placement, now);
            }
            Echoed::Gone(reason) => return self.answer(summary, 481, reason),
            Echoed::Nobody => {}
        }
        // Of the copies of a call one may be gone with its worker while another lives.
        let tells = |entry: &Entry| match entry.state {
            State::Verdict(_) => entry.cseq == summary.cseq,
            _ => self.is_alive(entry),
        };
        let known = self.table.of_call(summary.call).map(|(_, entry)| *entry).find(tells);
        if let Some(entry) = known {
            if let State::Verdict(status) = entry.state {
                return self.answer(summary, status, Reason::AnsweredBefore);
            }
            let placement = self.place_known(message, summary, arrival, &entry);
            return self.place(message, summary, arrival, placement, now);
        }
        if let Some(refusal) = self.turn_away(summary, arrival, now) {
            return refusal;
        }
        match summary.method {
            Method::Invite => {}
            Method::Options => return self.options(message, summary),
            method => {
                if self.rules.methods.rule(method) != Some(MethodRule::Select) {
                    return self.refuse_method(summary, 405, Reason::MethodRefused);
                }
            }
        }
        self.begin(message, summary, arrival, now)
    }

    /// The place of a request whose call a worker has, or has had: a copy, or the next attempt.
    fn place_known(
        &mut self,
        message: &Message<'_>,
        summary: &Summary<'_>,
        arrival: &Arrival,
        entry: &Entry,
    ) -> Placement {
        let Entry { worker, cseq, .. } = *entry;
        if cseq == summary.cseq {
            // The worker answers a copy by 482: no session comes of it.
            return Placement { worker, reason: Reason::Merged, size: 0, follows: true, group: None };
        }
        let size = self.size(message, summary, arrival);
        let group = self.conference(summary).and_then(|name| self.groups.join(name, worker));
        match group.and_then(|group| self.groups.get(group)) {
            // While it was away for credentials its conference has begun elsewhere.
            Some(held) if held.worker != worker => {
                Placement { worker: held.worker, reason: Reason::Group, size, follows: held.opened.is_some(), group }
            }
            _ => Placement { worker, reason: Reason::Again, size, follows: true, group },
        }
    }

    /// Something new: the conference's worker, else one that is selected.
    fn begin(&mut self, message: &Message<'_>, summary: &Summary<'_>, arrival: &Arrival, now: Time) -> Decision {
        let size = self.size(message, summary, arrival);
        if !self.table.has_place(summary.source.print()) {
            return self.place_unrecorded(message, summary, arrival, size, 0, now);
        }
        match self.choose(summary, size, Tried::default(), self.least_room(summary), now) {
            Ok(placement) => self.place(message, summary, arrival, placement, now),
            Err(reason) => self.nobody(summary, reason, now),
        }
    }

    /// A request that the table knows by its branch.
    fn retransmission(
        &mut self,
        message: &Message<'_>,
        summary: &Summary<'_>,
        arrival: &Arrival,
        (id, entry): (EntryId, &Entry),
        now: Time,
    ) -> Decision {
        if let State::Verdict(status) = entry.state {
            return self.answer(summary, status, Reason::AnsweredBefore);
        }
        if self.is_alive(entry) {
            return self.follow(entry.worker, Reason::Retransmission, now);
        }
        let deaths = entry.deaths + u8::from(entry.state == State::Pending);
        let size = self.size(message, summary, arrival);
        self.move_on(message, summary, arrival, id, size, (Tried::default(), now, deaths), Reason::SelectedAnew, now)
    }

    /// The conference's worker, else one that is selected and has the conference from now on.
    pub(super) fn choose(
        &mut self,
        summary: &Summary<'_>,
        size: u32,
        tried: Tried,
        least: Room,
        now: Time,
    ) -> Result<Placement, Reason> {
        let conference = self.conference(summary);
        if let Some(name) = conference
            && let Some(&Group { worker, opened, .. }) = self.groups.find(name).and_then(|id| self.groups.get(id))
            && !tried.contains(worker)
        {
            let group = self.groups.join(name, worker);
            // A conference that its worker has not opened yet can still go elsewhere, with all its legs.
            return Ok(Placement { worker, reason: Reason::Group, size, follows: opened.is_some(), group });
        }
        let key = conference.unwrap_or(summary.call).short();
        let ask = Ask { size, key, tried };
        let (pool, snapshot) = (&self.pool, self.pool.snapshot(least, now));
        let is_crowded = conference.is_some_and(|name| self.groups.find(name).is_none()) && !self.groups.has_place();
        let picked = if is_crowded {
            // Not remembered, so the name itself has to lead every leg to the same worker.
            self.counters.groups_unrecorded += 1;
            by_hash(key, pool.len(), |worker| pool.is_ready(worker) && snapshot.takes(worker, &ask))
                .map(|at| WorkerId(at as u16))
        } else {
            self.selector.pick(&snapshot, &ask)
        };
        let worker = picked.ok_or_else(|| self.why_nobody(size, least))?;
        let Some(name) = conference.filter(|_| !is_crowded) else {
            return Ok(Placement { worker, reason: Reason::Selected, size, follows: false, group: None });
        };
        let group = self.groups.join(name, worker);
        // A conference whose worker has refused its first leg moves here, and the legs behind it follow.
        if let Some(id) = group {
            self.groups.move_to(id, worker);
        }
        Ok(Placement { worker, reason: Reason::SelectedGroup, size, follows: false, group })
    }

    /// Hands an initial request over, and enters it before it leaves: a CANCEL may be right behind it.
    fn place(
        &mut self,
        message: &Message<'_>,
        summary: &Summary<'_>,
        arrival: &Arrival,
        placement: Placement,
        now: Time,
    ) -> Decision {
        let Placement { worker, group, .. } = placement;
        let room = self.pool.get(worker).map_or(Room::None, |slot| slot.room);
        let Some(slot) = self.pool.get(worker).filter(|_| room <= self.least_room(summary)) else {
            group.into_iter().for_each(|group| self.groups.release(group));
            return self.no_room(summary, room);
        };
        let new = NewEntry {
            branch: summary.branch,
            call: summary.call,
            cseq: summary.cseq,
            worker,
            life: slot.life,
            group,
            is_invite: summary.method == Method::Invite,
            state: State::Pending,
            source: summary.source.print(),
        };
        let entry = match self.table.insert(new, now) {
            Ok((id, evicted)) => {
                self.counters.evicted += u64::from(evicted.is_some());
                Some(id)
            }
            Err(_) => {
                group.into_iter().for_each(|group| self.groups.release(group));
                None
            }
        };
        self.hand_over(message, summary, arrival, placement, entry, (Tried::default(), now, 0), now)
    }

    /// The table is full of requests that wait: the hash of the call (or of the conference) leads the messages that
    /// follow to the same worker, whatever its load is then. So it must not count now either; the worker itself refuses
    /// what it has no room for.
    pub(super) fn place_unrecorded(
        &mut self,
        message: &Message<'_>,
        summary: &Summary<'_>,
        arrival: &Arrival,
        size: u32,
        deaths: u8,
        now: Time,
    ) -> Decision {
        self.unrecorded_until = now + self.rules.pending_max;
        let worker = self.unrecorded_worker(summary, now);
        let Some(worker) = worker else {
            let reason = self.why_nobody(size, Room::Scarce);
            return self.unavailable(summary, reason);
        };
        let room = self.pool.get(worker).map_or(Room::None, |slot| slot.room);
        if room > self.least_room(summary) {
            return self.no_room(summary, room);
        }
        let placement = Placement { worker, reason: Reason::Unrecorded, size, follows: false, group: None };
        self.hand_over(message, summary, arrival, placement, None, (Tried::default(), now, deaths), now)
    }

    /// Gives an entry whose worker is gone, or has refused, to another worker.
    #[allow(clippy::too_many_arguments, reason = "the message, its entry and its past: each from another place")]
    pub(super) fn move_on(
        &mut self,
        message: &Message<'_>,
        summary: &Summary<'_>,
        arrival: &Arrival,
        id: EntryId,
        size: u32,
        past: (Tried, Time, u8),
        reason: Reason,
        now: Time,
    ) -> Decision {
        let (tried, _, deaths) = past;
        if self.table.get(id).is_some_and(|entry| entry.cancelled) {
            return self.verdict(summary, id, 487, Reason::Cancelled, now);
        }
        if deaths >= 2 {
            return self.verdict(summary, id, 500, Reason::Poison, now);
        }
        if let Echoed::Gone(reason) = self.echoed(message, summary, arrival) {
            return self.verdict(summary, id, 481, reason, now);
        }
        // A copy that is left over from its request becomes the request, and has its size.
        let size = if size > 0 { size } else { self.size(message, summary, arrival) };
        // Any other goes where the request is by now: elsewhere it would be a second call.
        let beside = self.beside(summary, id, tried).map(|entry| {
            // The worker answers a copy by 482: no session comes of it.
            let size = if entry.cseq == summary.cseq { 0 } else { size };
            Placement { worker: entry.worker, reason, size, follows: true, group: None }
        });
        // It has waited as one of its source's; that share is its own already.
        let placement = match beside.map_or_else(|| self.choose(summary, size, tried, Room::Scarce, now), Ok) {
            Ok(placement) => placement,
            Err(why) => {
                let reason =
                    if tried.as_slice().is_empty() || reason == Reason::Died { why } else { Reason::RefusedByAll };
                let status = if self.pool.has_open() { status_of(why) } else { 503 };
                return self.verdict(summary, id, status, reason, now);
            }
        };
        let Placement { worker, group, .. } = placement;
        let Some(slot) = self.pool.get(worker).filter(|slot| slot.room.takes_new()) else {
            group.into_iter().for_each(|group| self.groups.release(group));
            return self.verdict(summary, id, 486, Reason::HolderBusy, now);
        };
        let life = slot.life;
        if let Some(before) = self.table.move_to(id, (worker, life), group, deaths, now) {
            self.groups.release(before);
        }
        self.hand_over(message, summary, arrival, Placement { reason, ..placement }, Some(id), past, now)
    }

    #[allow(clippy::too_many_arguments, reason = "the message, its placement and its past: each from another place")]
    fn hand_over(
        &mut self,
        message: &Message<'_>,
        summary: &Summary<'_>,
        arrival: &Arrival,
        placement: Placement,
        entry: Option<EntryId>,
        (mut tried, since, deaths): (Tried, Time, u8),
        begin: Time,
    ) -> Decision {
        let Placement { worker, reason, size, follows, .. } = placement;
        let Some(seq) = self.pool.hand_over(worker, size) else {
            return Decision { target: Target::Drop, reason: Reason::LinkFull };
        };
        self.pool.count_handoff(worker);
        tried.add(worker);
        let handoff = Handoff {
            worker,
            seq,
            size,
            entry,
            pinned: self.is_pinned(message, summary, arrival),
            again: deaths > 0,
            follows,
            // What has one worker only is not too late for it.
            deadline: (!follows).then(|| begin + self.rules.read_within),
            tried,
            since,
            deaths,
        };
        Decision { target: Target::Worker(handoff), reason }
    }

    /// Hands over what follows something a worker has. A link that takes nothing more loses it: its sender sends again.
    pub(super) fn follow(&mut self, worker: WorkerId, reason: Reason, now: Time) -> Decision {
        let full = Decision { target: Target::Drop, reason: Reason::LinkFull };
        let room = self.pool.get(worker).map(|slot| slot.room);
        let is_full = match room {
            Some(Room::All | Room::Scarce) => false,
            // A retransmission can wait for the next one; the reserve is for what moves a call on.
            Some(Room::Following) => reason == Reason::Retransmission,
            Some(Room::None) | None => true,
        };
        let Some(seq) = Some(worker).filter(|_| !is_full).and_then(|worker| self.pool.hand_over(worker, 0)) else {
            return full;
        };
        let mut tried = Tried::default();
        tried.add(worker);
        let handoff = Handoff {
            worker,
            seq,
            size: 0,
            entry: None,
            pinned: false,
            again: false,
            follows: true,
            deadline: None,
            tried,
            since: now,
            deaths: 0,
        };
        Decision { target: Target::Worker(handoff), reason }
    }

    /// The worker that the message itself names, for requests that begin something.
    fn echoed(&self, message: &Message<'_>, summary: &Summary<'_>, arrival: &Arrival) -> Echoed {
        if let Some((Named::Live(worker), reason)) = self.addressed(message, summary, arrival) {
            return Echoed::Worker(worker, reason);
        }
        if let Some(dialog) = message.replaces().or_else(|| message.join())
            && let Some(named) = dialog.to_tag.and_then(|tag| self.directory.token(tag))
        {
            return match named {
                Named::Live(worker) => Echoed::Worker(worker, Reason::Replaces),
                Named::Gone => Echoed::Gone(Reason::ReplacesGone),
            };
        }
        let field = |field: Option<&[u8]>| match field.and_then(|field| self.directory.token(field)) {
            Some(Named::Live(worker)) => Some(worker),
            // A life that is over makes these worth nothing: a new worker challenges again.
            Some(Named::Gone) | None => None,
        };
        let extension = field(message.extension(EXTENSION.as_bytes())).map(|worker| (worker, Reason::Extension));
        let target = || message.target_dialog().and_then(|dialog| dialog.to_tag);
        let found = extension
            .or_else(|| Some((field(target())?, Reason::TargetDialog)))
            .or_else(|| Some((field(message.nonce())?, Reason::Nonce)))
            .or_else(|| Some((field(message.header(Name::SipIfMatch))?, Reason::Etag)));
        found.map_or(Echoed::Nobody, |(worker, reason)| Echoed::Worker(worker, reason))
    }

    /// The worker that request-URI or topmost Route name, by token or by its own address.
    fn addressed(&self, message: &Message<'_>, summary: &Summary<'_>, arrival: &Arrival) -> Option<(Named, Reason)> {
        let by_uri = summary.read.uri.and_then(|uri| {
            let token = self.token_in(&uri).map(|named| (named, Reason::RequestUri));
            token.or_else(|| self.own_port(&uri, arrival).map(|named| (named, Reason::WorkerAddress)))
        });
        if matches!(by_uri, Some((Named::Live(_), _))) {
            return by_uri;
        }
        let route = message.values(Name::Route).next().and_then(NameAddr::parse).and_then(|route| route.uri());
        let by_route = route.and_then(|uri| self.token_in(&uri).or_else(|| self.own_port(&uri, arrival)));
        by_route.map(|named| (named, Reason::Route)).or(by_uri)
    }

    fn token_in(&self, uri: &Uri<'_>) -> Option<Named> {
        let user = uri.user.and_then(|user| self.directory.token(user));
        user.or_else(|| uri.param(URI_PARAM).and_then(|param| self.directory.token(param)))
    }

    fn own_port(&self, uri: &Uri<'_>, arrival: &Arrival) -> Option<Named> {
        // A worker's port is never the default one, and nobody writes the well-known one for it.
        let port = uri.port.filter(|&port| port != arrival.local.port())?;
        let host = uri.host.ip()?;
        let is_ours = |host| host == arrival.local.ip() || self.rules.own_addresses.contains(&host);
        self.directory.address(host, port, is_ours)
    }

    pub(super) fn transaction_of_cancel(&self, summary: &Summary<'_>) -> Option<EntryId> {
        self.table.by_branch(summary.branch).or_else(|| self.table.invite_of(summary.call, summary.cseq))
    }

    /// The entry of another copy of the request (RFC 3261 §8.2.2.2), or of another attempt, that a worker other than
    /// `tried` has.
    pub(super) fn beside(&self, summary: &Summary<'_>, id: EntryId, tried: Tried) -> Option<&Entry> {
        let others = self.table.of_call(summary.call).filter(|(other, _)| *other != id).map(|(_, entry)| entry);
        let mut held = others.filter(|entry| self.is_held(entry) && !tried.contains(entry.worker));
        // The next attempt goes to its conference, which may be elsewhere by now.
        held.find(|entry| entry.cseq == summary.cseq || self.conference(summary).is_none())
    }

    /// What tells where a call is: its newest entry whose worker lives, else its newest.
    fn entry_of_call(&self, summary: &Summary<'_>) -> Option<Entry> {
        let mut entries = self.table.of_call(summary.call).map(|(_, entry)| entry);
        let newest = entries.next()?;
        let held = std::iter::once(newest).chain(entries).find(|entry| self.is_held(entry));
        Some(*held.unwrap_or(newest))
    }

    /// Whether a worker that lives has it, or has had it last.
    fn is_held(&self, entry: &Entry) -> bool {
        !matches!(entry.state, State::Verdict(_)) && self.is_alive(entry)
    }

    pub(super) fn is_alive(&self, entry: &Entry) -> bool {
        self.pool.get(entry.worker).is_some_and(|slot| slot.is_alive() && slot.life == entry.life)
    }

    /// The worker that a request would have been placed at, were it placed now without being recorded.
    fn unrecorded_worker(&self, summary: &Summary<'_>, now: Time) -> Option<WorkerId> {
        if now >= self.unrecorded_until {
            return None;
        }
        let conference = self.conference(summary);
        let holder = conference.and_then(|name| self.groups.get(self.groups.find(name)?)).map(|group| group.worker);
        let key = conference.unwrap_or(summary.call).short();
        let hashed = || by_hash(key, self.pool.len(), |worker| self.pool.is_ready(worker));
        holder.or_else(|| hashed().map(|at| WorkerId(at as u16)))
    }

    /// The conference that a request is for.
    fn conference(&self, summary: &Summary<'_>) -> Option<Fingerprint> {
        summary.read.uri?.conference().map(|name| self.printer.print(CONFERENCE, &[name]))
    }

    fn size(&mut self, message: &Message<'_>, summary: &Summary<'_>, arrival: &Arrival) -> u32 {
        // Only INVITE begins a session.
        if summary.method != Method::Invite {
            return 0;
        }
        let sized = self.rules.size.size_of(message, summary.read.uri.as_ref(), arrival.source.ip());
        self.counters.on_size(sized.note);
        sized.units
    }

    /// Whether the source can only reach the well-known address.
    fn is_pinned(&self, message: &Message<'_>, summary: &Summary<'_>, arrival: &Arrival) -> bool {
        let source = arrival.source.ip();
        if matches!(arrival.transport, Transport::Ws | Transport::Wss)
            || message.header(Name::Route).is_some()
            || self.rules.pinned.iter().any(|net| net.contains(source))
        {
            return true;
        }
        let contact = message.contact().and_then(|contact| contact.uri());
        if contact.is_some_and(|uri| uri.param(b"ob").is_some()) {
            return true;
        }
        let is_hidden = |host: Option<IpAddr>| host.is_some_and(is_private);
        is_public(source)
            && (is_hidden(contact.and_then(|uri| uri.host.ip()))
                || is_hidden(summary.read.via.and_then(|via| via.host.ip())))
    }

    /// OPTIONS to the dispatcher itself (RFC 3261 §11.2): the answer an INVITE would get.
    fn options(&self, message: &Message<'_>, summary: &Summary<'_>) -> Decision {
        // The dispatcher itself has no extension; what its workers have, it cannot promise (RFC 3261 §8.2.2.3).
        if message.header(Name::Require).is_some() {
            return self.refine(self.answer(summary, 420, Reason::Options), |answer| answer.unsupported = true);
        }
        if !self.pool.has_open() {
            return self.unavailable(summary, Reason::OptionsUnavailable);
        }
        self.refine(self.answer(summary, 200, Reason::Options), |answer| {
            answer.allow = true;
            answer.capabilities = true;
        })
    }

    /// What belongs to nothing here is counted against its source's rate; beyond it, the decision to turn it away. Over
    /// the rate a request is refused by 503 first: a caller who means well stops sending it again then (RFC 3261
    /// §17.1.1.2), which silence would not make it. But nobody gets more such answers than the rate has grants, so that
    /// forged sources do not make them a flood at whoever they name.
    fn turn_away(&mut self, summary: &Summary<'_>, arrival: &Arrival, now: Time) -> Option<Decision> {
        let dropped = |reason| Some(Decision { target: Target::Drop, reason });
        match self.access.admit(arrival.source.ip(), summary.source, now) {
            Admission::Granted => None,
            Admission::Refused => Some(self.answer(summary, 503, Reason::OverRate)),
            Admission::Ignored => dropped(Reason::OverRate),
            Admission::Banned => dropped(Reason::Banned),
        }
    }

    /// The answer to a request that belongs to nothing here, unless its source is to be turned away.
    fn answer_stranger(
        &mut self,
        summary: &Summary<'_>,
        arrival: &Arrival,
        status: u16,
        reason: Reason,
        now: Time,
    ) -> Decision {
        self.turn_away(summary, arrival, now).unwrap_or_else(|| self.answer(summary, status, reason))
    }

    /// What a link must have for a new call of this source: where room is scarce, it is for those who wait for less than
    /// their share.
    fn least_room(&self, summary: &Summary<'_>) -> Room {
        if self.table.shares().is_used_up(summary.source.print()) { Room::All } else { Room::Scarce }
    }

    /// The only worker it can go to has a link with no more than this room.
    fn no_room(&self, summary: &Summary<'_>, room: Room) -> Decision {
        match room {
            Room::Scarce => self.answer(summary, 503, Reason::OverShare),
            _ => self.answer(summary, 486, Reason::HolderBusy),
        }
    }

    fn refuse_method(&self, summary: &Summary<'_>, status: u16, reason: Reason) -> Decision {
        self.refine(self.answer(summary, status, reason), |answer| answer.allow = true)
    }

    fn unavailable(&self, summary: &Summary<'_>, reason: Reason) -> Decision {
        self.answer(summary, 503, reason)
    }

    /// Nobody was selected: the answer, kept for the INVITE's retransmissions, so that one of them is not selected after
    /// all when room opens in between.
    fn nobody(&mut self, summary: &Summary<'_>, reason: Reason, now: Time) -> Decision {
        let status = status_of(reason);
        // Who is over its share gets no place for the answer either.
        if summary.method == Method::Invite && reason != Reason::OverShare {
            let new = NewEntry {
                branch: summary.branch,
                call: summary.call,
                cseq: summary.cseq,
                worker: WorkerId(0),
                life: 0,
                group: None,
                is_invite: true,
                state: State::Verdict(status),
                source: summary.source.print(),
            };
            if let Ok((_, Some(_))) = self.table.insert(new, now) {
                self.counters.evicted += 1;
            }
        }
        self.answer(summary, status, reason)
    }

    /// The dispatcher's final answer to a transaction that is in the table.
    pub(super) fn verdict(
        &mut self,
        summary: &Summary<'_>,
        id: EntryId,
        status: u16,
        reason: Reason,
        now: Time,
    ) -> Decision {
        if let Some(group) = self.table.verdict(id, status, now) {
            self.groups.release(group);
        }
        self.answer(summary, status, reason)
    }

    pub(super) fn answer(&self, summary: &Summary<'_>, status: u16, reason: Reason) -> Decision {
        let own_tag = || self.directory.keys().dispatcher_tag(summary.branch);
        let to_tag = if summary.to_tag.is_some() { None } else { Some(own_tag()) };
        let retry_after = (status == 503).then_some(self.rules.retry_after);
        Decision { target: Target::Answer(Answer { retry_after, ..Answer::new(status, to_tag) }), reason }
    }

    fn refine(&self, mut decision: Decision, change: impl FnOnce(&mut Answer)) -> Decision {
        if let Target::Answer(answer) = &mut decision.target {
            change(answer);
        }
        decision
    }

    /// Why nobody takes a session of this size.
    pub(super) fn why_nobody(&self, size: u32, least: Room) -> Reason {
        if self.pool.has_open() && !self.pool.has_open_with(least) {
            return Reason::OverShare;
        }
        if self.pool.has_open() {
            let largest = self.pool.iter().filter(|(_, slot)| slot.is_alive()).map(|(_, slot)| slot.units_total).max();
            return if largest.is_some_and(|largest| size > largest) {
                Reason::LargerThanAnyWorker
            } else {
                Reason::NoRoomForSize
            };
        }
        let is_up = |slot: &Worker| slot.operational == Operational::Up;
        if !self.pool.iter().any(|(_, slot)| is_up(slot)) {
            Reason::NoWorker
        } else if (0..self.pool.len()).any(|worker| self.pool.is_ready(worker)) {
            Reason::Full
        } else {
            Reason::AllDraining
        }
    }
}

/// RFC 3261 §21.5.4: a 503 makes peers shun the whole address, so it is for "nothing at all" only.
const fn status_of(reason: Reason) -> u16 {
    match reason {
        Reason::NoRoomForSize => 486,
        Reason::LargerThanAnyWorker => 480,
        _ => 503,
    }
}

/// An address of a private network or a link (RFC 1918, 6598, 3927, 4193, 4291).
fn is_private(ip: IpAddr) -> bool {
    match ip.to_canonical() {
        IpAddr::V4(ip) => ip.is_private() || ip.is_link_local() || is_shared(ip),
        IpAddr::V6(ip) => ip.is_unique_local() || ip.is_unicast_link_local(),
    }
}

/// RFC 6598: behind a carrier's NAT.
const fn is_shared(ip: Ipv4Addr) -> bool {
    ip.to_bits() >> 22 == Ipv4Addr::new(100, 64, 0, 0).to_bits() >> 22
}

fn is_public(ip: IpAddr) -> bool {
    !is_private(ip) && !ip.to_canonical().is_loopback() && !ip.is_unspecified()
}
