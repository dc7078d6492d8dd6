//! The truth, told by the callers and the workers; the promises are checked against it as it grows.
//!
//! The dispatcher contributes nothing to it: its beliefs are compared with the truth, never copied into it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;

use pointsman::call::EndReason;
use pointsman::ids::{Incarnation, Seq, TokenKey, WorkerId};
use pointsman::time::Time;
use pointsman::words::Message;

use crate::connections::{Connections, Lives};
use crate::pipe::Books;
use crate::{text, town};

/// The shadow of the whole.
#[derive(Debug, Default)]
pub struct Truth {
    /// The first promise that was broken.
    pub broken: Option<String>,
    /// Whether the table has been full: then requests are placed by hash or forgotten early, as the rule for floods
    /// says.
    pub table_was_full: bool,
    /// Whether the list of conferences has been full.
    pub groups_were_full: bool,
    /// Final answers that were lost on the way and could not be sent again, because their sender had died.
    pub died_unheard: u64,
    /// Whether the network neither loses nor doubles anything, and nothing is late.
    is_fair: bool,
    /// Number of dispatchers that have died.
    restarts: u32,
    /// Ports of slots that the operator has taken away, whether or not they came back.
    closed: BTreeSet<SocketAddr>,
    lives: BTreeMap<u64, Life>,
    by_token: BTreeMap<String, u64>,
    calls: Vec<Call>,
    /// MGCP's part of it.
    pub connections: Connections,
}

/// One life of a worker.
#[derive(Debug)]
struct Life {
    slot: WorkerId,
    is_alive: bool,
    /// Number of dispatchers that had died when it did.
    died_under: u32,
    token: String,
    /// Callers from which it has had a message.
    callers: BTreeSet<usize>,
    /// Conferences of which it has been given a leg.
    conferences: BTreeSet<String>,
    /// Numbers that it has said are answered or given back.
    settled: BTreeSet<Seq>,
    /// Units of its MGCP connections and of its calls outside conferences.
    units: u32,
    /// Its conferences with a leg: the units that each has reserved, and the units that each leg needs.
    rooms: BTreeMap<String, (u32, Vec<u32>)>,
    /// The deadline by which it had to read the last message of each caller.
    deadlines: BTreeMap<usize, Option<Time>>,
}

/// The call of one caller.
#[derive(Debug, Default)]
struct Call {
    size: u32,
    live: Vec<Leg>,
    /// The life that has asked for credentials, and when.
    challenged: Option<(u64, Time)>,
    /// When the caller sent the ACK of that 401.
    acknowledged: Option<Time>,
    /// The lives that were given a copy of the request that came after that ACK: it is a new request (RFC 3261
    /// §8.2.2.2), and the credentials, which name no nonce of a worker, follow the newest one.
    begun_anew: BTreeSet<u64>,
    /// By branch.
    invites: BTreeMap<String, Invite>,
}

#[derive(Debug)]
struct Leg {
    life: u64,
    conference: Option<String>,
    /// The units that it takes, inside its conference's reservation or beyond it.
    needs: u32,
    /// Whether it was its conference's first.
    has_reserved: bool,
    /// Whether it was answered and acknowledged.
    stands: bool,
}

impl Life {
    fn units(&self) -> u32 {
        let rooms = self.rooms.values().map(|(reserved, legs)| legs.iter().sum::<u32>().max(*reserved));
        self.units + rooms.sum::<u32>()
    }

    fn leave(&mut self, name: &str, leg: &Leg) {
        let Some((reserved, legs)) = self.rooms.get_mut(name) else { return };
        if leg.has_reserved && !leg.stands {
            *reserved = 0;
        }
        if let Some(at) = legs.iter().position(|other| *other == leg.needs) {
            legs.swap_remove(at);
        }
        if legs.is_empty() {
            self.rooms.remove(name);
        }
    }
}

/// The fate of one INVITE.
#[derive(Debug, Default)]
struct Invite {
    /// The To-tags of final responses, each with the life that sent it (`None`: the dispatcher), its status and when.
    finals: Vec<(String, Option<u64>, u16, Time)>,
    /// When the first 200 to its CANCEL was sent.
    cancelled: Option<Time>,
    /// Lives that ended with it unanswered.
    deaths: u32,
    /// Whether a dispatcher that had answered it has died since.
    is_forgotten: bool,
}

/// Time for which a dispatcher remembers transactions that it or its workers have answered (64·T1).
const LINGER: Duration = Duration::from_secs(32);

impl Truth {
    /// Nothing has happened yet.
    pub fn new(is_fair: bool) -> Self {
        Truth { is_fair, ..Truth::default() }
    }

    /// A promise is broken. The first one counts.
    pub fn broken(&mut self, what: String) {
        self.broken.get_or_insert(what);
    }

    /// A caller places a call of this size.
    pub fn on_placed(&mut self, caller: usize, size: u32) {
        debug_assert_eq!(caller, self.calls.len());
        self.calls.push(Call { size, ..Call::default() });
    }

    /// A process has been welcomed.
    pub fn on_born(&mut self, slot: WorkerId, incarnation: Incarnation, key: &TokenKey) {
        let token = key.token(incarnation).to_string();
        self.by_token.insert(token.clone(), incarnation.bits());
        let life = Life {
            slot,
            is_alive: true,
            died_under: 0,
            token,
            callers: BTreeSet::new(),
            conferences: BTreeSet::new(),
            settled: BTreeSet::new(),
            units: 0,
            rooms: BTreeMap::new(),
            deadlines: BTreeMap::new(),
        };
        self.lives.insert(incarnation.bits(), life);
    }

    /// A slot is no more: datagrams to its port are lost.
    pub fn on_closed(&mut self, port: SocketAddr) {
        self.closed.insert(port);
    }

    /// A process is gone, with the messages that its link's books show as open.
    pub fn on_death(&mut self, incarnation: Incarnation, books: &Books) {
        let Some(life) = self.lives.get_mut(&incarnation.bits()) else { return };
        life.is_alive = false;
        life.died_under = self.restarts;
        self.connections.on_death(incarnation.bits());
        for (seq, entry) in &books.open {
            if !life.settled.contains(seq)
                && entry.begins
                && let Some(call) = entry.caller.and_then(|caller| self.calls.get_mut(caller))
            {
                call.invites.entry(entry.branch.clone()).or_default().deaths += 1;
            }
        }
        for caller in &life.callers {
            self.calls[*caller].live.retain(|leg| leg.life != incarnation.bits());
        }
    }

    /// The dispatcher dies. Its own answers are forgotten; the numbers on the links begin anew.
    pub fn on_restart(&mut self) {
        self.restarts += 1;
        self.lives.values_mut().for_each(|life| life.settled.clear());
        for invite in self.calls.iter_mut().flat_map(|call| call.invites.values_mut()) {
            let before = invite.finals.len();
            invite.finals.retain(|(_, by, ..)| by.is_some());
            invite.is_forgotten |= invite.finals.len() < before;
            // The dispatcher has forgotten its answer to the CANCEL as well.
            invite.cancelled = invite.cancelled.filter(|_| invite.finals.len() == before);
            invite.deaths = 0;
        }
    }

    /// A worker has read a message from its link, which it had to do by `deadline`.
    pub fn on_handed(&mut self, incarnation: Incarnation, message: &Message<'_>, deadline: Option<Time>, now: Time) {
        let text = std::str::from_utf8(message.payload).expect("callers write plain text");
        let Some(caller) = text::caller(text) else { return };
        let (branch, envelope) = (text::branch(text), &message.envelope);
        let is_new = text.starts_with("INVITE") && text::to_tag(text).is_none();
        let conference = conference(text);
        let Some(life) = self.lives.get_mut(&incarnation.bits()) else { return };
        let slot = life.slot;
        let knows = life.callers.contains(&caller)
            || text.contains(&life.token)
            || text.contains(&format!(":{}", town::port_of(slot).port()))
            || conference.is_some_and(|name| life.conferences.contains(name));
        life.callers.insert(caller);
        life.conferences.extend(conference.map(str::to_owned));
        life.deadlines.insert(caller, deadline);
        if envelope.follows && !knows && !self.table_was_full {
            return self.broken(format!("{slot} got a message that belongs to a call it has never heard of:\n{text}"));
        }
        if !is_new || self.table_was_full {
            return;
        }
        let Some(call) = self.calls.get_mut(caller) else { return };
        let has_credentials = text::header(text, "Authorization").is_some();
        if call.acknowledged.is_some_and(|at| envelope.received >= at) && !has_credentials {
            call.begun_anew.insert(incarnation.bits());
        }
        let call = &self.calls[caller];
        let elsewhere =
            |life: u64| life != incarnation.bits() && self.lives.get(&life).is_some_and(|other| other.is_alive);
        let is_next = self.may_begin_anew(call);
        let part = call.live.iter().find(|leg| elsewhere(leg.life) && !envelope.follows && !is_next);
        // A copy may have been on the link before the first one came back from there: it will come back as well.
        let broken = if let Some(leg) = part {
            Some(format!("{slot} was given the call of caller {caller}, which {} has", self.lives[&leg.life].slot))
        } else if let Some((life, at)) = call.challenged
            && elsewhere(life)
            && now.since(at) < LINGER
            && conference.is_none()
            && has_credentials
            && !call.begun_anew.contains(&incarnation.bits())
        {
            Some(format!(
                "caller {caller} sends credentials; {} asked for them, {slot} gets them",
                self.lives[&life].slot
            ))
        } else if !envelope.follows && envelope.size != call.size {
            Some(format!("caller {caller} says size {}, {slot} was told {}", call.size, envelope.size))
        } else {
            let invite = call.invites.get(branch);
            let deaths = invite.map_or(0, |invite| invite.deaths);
            let verdict = invite.and_then(|invite| invite.finals.iter().find(|(_, by, ..)| by.is_none()));
            if envelope.again && deaths == 0 && self.restarts == 0 {
                Some(format!("caller {caller}'s INVITE was moved to {slot} although it had been answered"))
            } else if deaths > 1 {
                Some(format!("caller {caller}'s INVITE was handed to {slot} after {deaths} workers died with it"))
            } else if let Some((_, _, status, at)) =
                verdict.filter(|(.., at)| envelope.received > *at && now.since(*at) < LINGER)
            {
                Some(format!("{slot} got an INVITE that the dispatcher answered with {status} at {at}"))
            } else {
                None
            }
        };
        if let Some(broken) = broken {
            self.broken(broken);
        }
    }

    /// Whether a worker has died after it refused the call: its INVITE goes to another one, and the caller, who has
    /// heard the refusal, begins its next attempt beside that.
    fn may_begin_anew(&self, call: &Call) -> bool {
        let has_died = |life: &u64| self.lives.get(life).is_none_or(|other| !other.is_alive);
        let mut finals = call.invites.values().flat_map(|invite| &invite.finals);
        finals.any(|(_, by, status, _)| *status >= 300 && by.as_ref().is_some_and(has_died))
    }

    /// A worker has a new call.
    pub fn on_incoming(
        &mut self,
        incarnation: Incarnation,
        caller: usize,
        conference: Option<&str>,
        size: Option<u32>,
        now: Time,
    ) {
        let bits = incarnation.bits();
        let Some(slot) = self.lives.get(&bits).map(|life| life.slot) else { return };
        let mut broken = None;
        let call = &self.calls[caller];
        // After a worker's death another worker may get late copies of the first attempt beside the next attempt.
        let is_orphan = self.lives.values().any(|life| !life.is_alive && life.callers.contains(&caller));
        let mut legs = call.live.iter().filter(|leg| self.lives[&leg.life].is_alive);
        // A late copy of the first attempt finds the worker of the next one where credentials have been asked for, and
        // is asked for them as well.
        let is_stale = call.challenged.is_some();
        let is_next = self.may_begin_anew(call);
        let other = legs.find(|leg| if leg.life == bits { !is_orphan && !is_stale } else { !is_next });
        if let Some(leg) = other.filter(|_| !self.table_was_full) {
            broken = Some(format!("the call of caller {caller} lives on {} and {slot}", self.lives[&leg.life].slot));
        }
        if size != Some(call.size) {
            broken = Some(format!("{slot} counts {size:?} for caller {caller}, who says {}", call.size));
        }
        let deadline = self.lives[&bits].deadlines.get(&caller).copied().flatten();
        if let Some(late) = deadline.filter(|deadline| *deadline < now) {
            broken = Some(format!("{slot} took a call whose deadline was {late}"));
        }
        if let Some(name) = conference.filter(|_| !self.groups_were_full && !self.table_was_full) {
            let legs = self.calls.iter().flat_map(|call| &call.live);
            let mut elsewhere = legs.filter(|leg| leg.life != bits && leg.conference.as_deref() == Some(name));
            if let Some(leg) = elsewhere.find(|leg| self.lives[&leg.life].is_alive) {
                broken =
                    Some(format!("{name} is on {} and with caller {caller} on {slot}", self.lives[&leg.life].slot));
            }
        }
        let mut leg = Leg {
            life: bits,
            conference: conference.map(str::to_owned),
            needs: size.unwrap_or(0),
            has_reserved: false,
            stands: false,
        };
        if let Some(life) = self.lives.get_mut(&bits) {
            match conference {
                None => life.units += leg.needs,
                Some(name) => {
                    // Every caller says its size, so that the first one's is the reservation.
                    let (reserved, legs) = life.rooms.entry(name.to_owned()).or_default();
                    if legs.is_empty() {
                        (*reserved, leg.needs, leg.has_reserved) = (leg.needs, leg.needs.min(1), true);
                    }
                    legs.push(leg.needs);
                }
            }
        }
        self.calls[caller].live.push(leg);
        if let Some(broken) = broken {
            self.broken(broken);
        }
    }

    /// The ACK to a worker's 2xx has come.
    pub fn on_established(&mut self, incarnation: Incarnation, caller: usize) {
        let mut legs = self.calls[caller].live.iter_mut();
        if let Some(leg) = legs.find(|leg| leg.life == incarnation.bits()) {
            leg.stands = true;
        }
    }

    /// A call is over at a worker.
    pub fn on_ended(&mut self, incarnation: Incarnation, caller: usize, reason: EndReason, now: Time) {
        let call = &mut self.calls[caller];
        if reason == EndReason::Rejected(401) {
            call.challenged = Some((incarnation.bits(), now));
            call.acknowledged = None;
            call.begun_anew.clear();
        }
        if let Some(at) = call.live.iter().position(|leg| leg.life == incarnation.bits()) {
            let leg = call.live.remove(at);
            if let Some(life) = self.lives.get_mut(&incarnation.bits()) {
                match &leg.conference {
                    None => life.units = life.units.saturating_sub(leg.needs),
                    Some(name) => life.leave(name, &leg),
                }
            }
        }
    }

    /// A caller sends the ACK of a 401 with this To-tag.
    pub fn on_acknowledged(&mut self, caller: usize, tag: &str, now: Time) {
        let life = tag.get(..18).and_then(|token| self.by_token.get(token));
        let call = &mut self.calls[caller];
        if call.challenged.is_some_and(|(challenger, _)| life == Some(&challenger)) {
            call.acknowledged.get_or_insert(now);
        }
    }

    /// Whether what belongs together may have been parted, because tables were full.
    pub const fn is_excused(&self) -> bool {
        self.table_was_full || self.groups_were_full
    }

    /// An MGCP message leaves a worker (`Some`) or the dispatcher.
    pub fn on_returned(&mut self, sender: Option<Incarnation>, text: &str) {
        let excused = self.is_excused();
        let verdict = self.connections.on_answer(
            sender.map(Incarnation::bits),
            text,
            excused,
            &Known(&self.lives, &self.by_token),
        );
        if let Some(life) = sender.and_then(|life| self.lives.get_mut(&life.bits())) {
            life.units = life.units.saturating_add_signed(verdict.units as i32);
        }
        if let Some(what) = verdict.broken {
            self.broken(what);
        }
    }

    /// A message leaves a worker (`Some`) or the dispatcher.
    pub fn on_sent(&mut self, sender: Option<Incarnation>, text: &str, now: Time) {
        let Some(status @ 200..) = text::status(text) else { return };
        let (Some(caller), Some(tag)) = (text::caller(text), text::to_tag(text)) else { return };
        let Some(call) = self.calls.get_mut(caller) else { return };
        let mut broken = None;
        match text::method(text) {
            "CANCEL" if status == 200 => {
                let invite = call.invites.entry(text::branch(text).to_owned()).or_default();
                invite.cancelled.get_or_insert(now);
            }
            "INVITE" if sender.is_some() || tag.starts_with("pd") => {
                let invite = call.invites.entry(text::branch(text).to_owned()).or_default();
                if invite.finals.iter().any(|(other, ..)| other == tag) {
                    return;
                }
                let has_died = |life: &Life| !life.is_alive && life.callers.contains(&caller);
                let is_forgotten = self.restarts > 0 && self.lives.values().any(has_died);
                if let Some(at) = invite.cancelled.filter(|_| status < 300 && !self.table_was_full && !is_forgotten) {
                    broken =
                        Some(format!("caller {caller}'s CANCEL was answered at {at}, and its INVITE with {status}"));
                }
                let own = invite.finals.iter().find(|(_, by, ..)| by.is_none() && sender.is_none());
                if let Some((other, ..)) = own {
                    broken = Some(format!("caller {caller} got two To-tags of the dispatcher: {other} and {tag}"));
                }
                invite.finals.push((tag.to_owned(), sender.map(Incarnation::bits), status, now));
            }
            _ => {}
        }
        if let Some(broken) = broken {
            self.broken(broken);
        }
    }

    /// A worker's word that a message is answered, or given back, is on the link.
    pub fn on_settled(&mut self, incarnation: Incarnation, seq: Seq) {
        if let Some(life) = self.lives.get_mut(&incarnation.bits()) {
            life.settled.insert(seq);
        }
    }

    /// Units of the calls that a worker has.
    pub fn units_of(&self, incarnation: Incarnation) -> u32 {
        self.lives.get(&incarnation.bits()).map_or(0, Life::units)
    }

    /// Whether the worker whose token `tag` begins with has the call of `caller`, and could say so.
    pub fn has(&self, tag: &str, caller: usize) -> bool {
        let life = tag.get(..18).and_then(|token| self.by_token.get(token));
        life.is_some_and(|life| {
            self.lives[life].is_alive && self.calls[caller].live.iter().any(|leg| leg.life == *life)
        })
    }

    /// A caller has waited in vain for as long as a caller has to.
    pub fn on_silence(&mut self, caller: usize, branch: &str, what: &str, to: SocketAddr, now: Time) {
        if self.closed.contains(&to) {
            return;
        }
        let finals = self.calls[caller].invites.get(branch).map(|invite| &invite.finals);
        let unheard = finals.into_iter().flatten().any(|(_, by, ..)| match by {
            Some(life) => !self.lives[life].is_alive,
            None => false,
        });
        // A worker that dies before its dispatcher, or with it: both processes that knew the message may be gone. A
        // worker that dies after it has come back has brought the message along.
        let died_first = |life: &Life| !life.is_alive && life.died_under < self.restarts;
        let has_died = self.lives.values().any(|life| died_first(life) && life.callers.contains(&caller));
        let is_forgotten = has_died
            || self.table_was_full
            || self.calls[caller].invites.get(branch).is_some_and(|invite| invite.is_forgotten);
        if unheard || is_forgotten {
            self.died_unheard += 1;
        } else {
            self.broken(format!(
                "caller {caller} got no answer to its {what} until {now}; final responses: {finals:?}"
            ));
        }
    }

    /// The dispatcher or a worker says that the INVITE of a CANCEL is unknown, while its caller has a provisional
    /// response to it.
    pub fn on_unknown_cancel(&mut self, caller: usize, branch: &str) {
        let is_answered = self.calls[caller].invites.get(branch).is_some_and(|invite| !invite.finals.is_empty());
        let died = self.lives.values().any(|life| !life.is_alive && life.callers.contains(&caller));
        if !is_answered && !died && !self.table_was_full {
            self.broken(format!("caller {caller}'s CANCEL did not find its INVITE"));
        }
    }

    /// A caller whose INVITE was refused has it accepted after all.
    pub fn on_second_thoughts(&mut self, caller: usize, branch: &str, refused: u16) {
        let Some(invite) = self.calls[caller].invites.get(branch) else { return };
        // The worker that accepted it may have died since; then the INVITE was decided about again.
        let has_died = invite.finals.iter().any(|(_, by, ..)| by.is_some_and(|life| !self.lives[&life].is_alive));
        if invite.deaths == 0 && !has_died && !invite.is_forgotten && !self.table_was_full {
            self.broken(format!("caller {caller} got {refused} and then a 2xx to the same INVITE"));
        }
    }

    /// A caller that had acknowledged a refusal was told that its next attempt is a copy. Where the network loses or
    /// delays, the ACK may come after the attempt; a dispatcher that is killed loses it with its links.
    pub fn on_taken_for_a_copy(&mut self, caller: usize) {
        let died = self.lives.values().any(|life| !life.is_alive && life.callers.contains(&caller));
        let is_excused = self.table_was_full || self.restarts > 0;
        if self.is_fair && !died && !is_excused {
            self.broken(format!("caller {caller}'s next attempt was taken for a copy of what it had acknowledged"));
        }
    }

    /// Whether any call is left at a worker that lives.
    pub fn live_calls(&self) -> usize {
        self.calls.iter().map(|call| call.live.len()).sum()
    }
}

/// The lives, as MGCP's part of the truth asks for them.
struct Known<'a>(&'a BTreeMap<u64, Life>, &'a BTreeMap<String, u64>);

impl Lives for Known<'_> {
    fn is_alive(&self, life: u64) -> bool {
        self.0.get(&life).is_some_and(|life| life.is_alive)
    }

    fn named(&self, endpoint: &str) -> Option<u64> {
        endpoint.split('/').find_map(|term| self.1.get(term).copied())
    }
}

/// The conference that a request is for.
pub fn conference(text: &str) -> Option<&str> {
    let user = text.split(' ').nth(1)?.strip_prefix("sip:")?.split('@').next()?;
    let name = user.split(';').next()?;
    name.starts_with("conf=").then_some(name)
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use pointsman::ids::ListenerId;
    use pointsman::words::{Envelope, ReplyTo, Transport};

    use super::*;

    const LIVES: [Incarnation; 3] = [Incarnation::new(1), Incarnation::new(2), Incarnation::new(3)];

    fn hand(truth: &mut Truth, life: Incarnation, branch: u8, line: &str) {
        let text = format!(
            "INVITE sip:ivr@192.0.2.1 SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.9;branch=z9hG4bK-{branch}\r\n\
             To: <sip:ivr@192.0.2.1>\r\nCall-ID: c0@example.net\r\n{line}\r\n"
        );
        let envelope = Envelope {
            seq: Seq(1),
            received: Time(0),
            deadline: None,
            reply_to: ReplyTo::Datagram,
            size: 1,
            listener: ListenerId(0),
            transport: Transport::Udp,
            pinned: false,
            again: false,
            ring_first: false,
            alias: false,
            names_size: false,
            follows: false,
            source: SocketAddr::from(([192, 0, 2, 9], 5060)),
            local: town::WELL_KNOWN,
        };
        truth.on_handed(life, &Message { envelope, payload: text.as_bytes() }, None, Time(0));
    }

    /// A caller whose first request the first life has answered 401.
    fn challenged() -> Truth {
        let mut truth = Truth::new(true);
        for (slot, life) in (0..).zip(LIVES) {
            truth.on_born(WorkerId(slot), life, &TokenKey::new([1; 32]));
        }
        truth.on_placed(0, 1);
        hand(&mut truth, LIVES[0], 1, "");
        truth.on_ended(LIVES[0], 0, EndReason::Rejected(401), Time(0));
        truth
    }

    const CREDENTIALS: &str = "Authorization: Digest nonce=\"n\"\r\n";

    #[test]
    fn credentials_belong_to_the_worker_that_asked_for_them() {
        for (life, is_right) in LIVES.into_iter().zip([true, false, false]) {
            let mut truth = challenged();
            hand(&mut truth, life, 2, CREDENTIALS);
            assert_eq!(truth.broken.is_none(), is_right, "{:?}", truth.broken);
        }
    }

    #[test]
    fn credentials_may_follow_a_copy_that_came_after_its_401_was_acknowledged() {
        for (life, is_right) in LIVES.into_iter().zip([true, true, false]) {
            let mut truth = challenged();
            truth.on_acknowledged(0, &TokenKey::new([1; 32]).token(LIVES[0]).to_string(), Time(0));
            hand(&mut truth, LIVES[1], 2, "");
            hand(&mut truth, life, 3, CREDENTIALS);
            assert_eq!(truth.broken.is_none(), is_right, "{:?}", truth.broken);
        }
    }
    #[test]
    fn credentials_may_not_follow_a_copy_that_came_before_the_ack() {
        for acknowledged in [None, Some(Time(1))] {
            let mut truth = challenged();
            if let Some(at) = acknowledged {
                truth.on_acknowledged(0, &TokenKey::new([1; 32]).token(LIVES[0]).to_string(), at);
            }
            hand(&mut truth, LIVES[1], 2, "");
            hand(&mut truth, LIVES[1], 3, CREDENTIALS);
            assert!(truth.broken.is_some(), "{acknowledged:?}");
        }
    }
}
