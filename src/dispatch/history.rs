//! The last decisions, by Call-ID (for MGCP commands without a call: by endpoint and transaction): `explain` reads
//! them, also for calls that ended long ago.

use std::time::Duration;

use foldhash::fast::FixedState;
use hashbrown::HashMap;

use super::decision::{Arrival, Decision, Forward, ForwardedResponse, Handoff, Pinned, Side, Target};
use super::reason::Reason;
use crate::ids::{ConnId, ProxyId, Seq, WorkerId};
use crate::time::Time;
use crate::wire::Label;
use crate::wire::sip::Fault;
use crate::words::{self, ReplyTo, Transport};

/// A ring of decisions. Its memory is taken as it fills, once.
#[derive(Debug)]
pub struct History {
    ring: Ring<Line>,
    finals: Ring<Told>,
    /// The connections of messages that came on one.
    streams: Ring<OnStream>,
}

/// The last entries of a kind.
#[derive(Debug)]
struct Ring<T> {
    entries: Vec<T>,
    next: usize,
}

impl<T> Ring<T> {
    fn new() -> Self {
        Ring { entries: Vec::with_capacity(History::LEN), next: 0 }
    }

    fn push(&mut self, entry: T) {
        match self.entries.get_mut(self.next) {
            Some(place) => *place = entry,
            None => self.entries.push(entry),
        }
        self.next = (self.next + 1) % History::LEN;
    }

    /// The entries, oldest first.
    fn iter(&self) -> impl Iterator<Item = &T> {
        let (newer, older) = self.entries.split_at(self.next.min(self.entries.len()));
        older.iter().chain(newer)
    }
}

/// One decision, as `explain` shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explained {
    /// The time of the decision.
    pub at: Time,
    /// The method or verb of the message.
    pub method: Label,
    /// The transport that the message came over.
    pub transport: Transport,
    /// The connection that it came on.
    pub connection: Option<ConnId>,
    /// The reason.
    pub reason: Reason,
    /// The fault of the message, if the decision was made for it.
    pub fault: Option<Fault>,
    /// The target.
    pub target: ShortTarget,
    /// Its worker's final answer, as far as it is known.
    pub answered: Option<Final>,
    /// Of a request that a downstream proxy was chosen for: the time until its first response that travelled on, or
    /// until another proxy got the request.
    pub took: Option<Duration>,
}

/// The final response of a worker to a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Final {
    /// The status of the final response.
    pub status: u16,
    /// The worker's reason, in words.
    pub why: Option<Box<str>>,
}

/// The target of a decision, in short.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ShortTarget {
    /// Handed to this worker, counted with `size` units.
    Worker {
        /// The worker that got it.
        worker: WorkerId,
        /// Units.
        size: u32,
        /// Why its dialog stays at the well-known address, if it does.
        pinned: Option<Pinned>,
        /// Whether it was handed over to the worker that had its call.
        follows: bool,
    },
    /// A request, forwarded to this downstream proxy or from it to the caller.
    Forwarded {
        /// The proxy.
        proxy: ProxyId,
        /// The side that sent it; `None`: it goes the way of the proxy's requests, and does not come from the proxy.
        sent_by: Option<Side>,
        /// Its weight then; 0 for a request that follows another.
        weight: u16,
    },
    /// A request under way that no other proxy gets: it stays with this one.
    Stays {
        /// The proxy.
        proxy: ProxyId,
    },
    /// A response of this downstream proxy, or of the caller for it, forwarded.
    Response {
        /// The proxy.
        proxy: ProxyId,
        /// The side that sent it.
        side: Side,
    },
    /// Answered with this status, or this return code.
    Answered(u16),
    /// Handed to every worker that it may concern.
    Everyone,
    /// Answered with the merged answer of all workers, as before.
    AnsweredAgain,
    /// Dropped, or a keepalive that was answered by a CRLF.
    Dropped,
}

/// A decision, and the hash of its call. One is written for each message: two of them fill a cache line.
#[derive(Clone, Copy, Debug)]
struct Line {
    call: u64,
    at: Time,
    target: ShortTarget,
    seq: ShortSeq,
    method: Label,
    reason: Reason,
    fault: Option<Fault>,
    transport: Transport,
}

/// The connection of a message: apart from its decision, because most messages have none.
#[derive(Clone, Copy, Debug)]
struct OnStream {
    call: u64,
    at: Time,
    connection: ConnId,
}

/// Message that a decision was about.
#[derive(Clone, Copy, Debug)]
pub(super) struct About<'a> {
    /// The message's method or verb.
    pub(super) method: Label,
    /// Its fault, if the decision was made for it.
    pub(super) fault: Option<Fault>,
    /// The way on which it came.
    pub(super) arrival: &'a Arrival,
}

/// A worker's report of its final response to a message.
#[derive(Clone, Debug)]
struct Told {
    at: Time,
    why: Option<Box<str>>,
    seq: ShortSeq,
    worker: WorkerId,
    status: u16,
}

/// The low half of a message's number on its worker's link: the ring forgets an entry long before 2^32 more messages
/// pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct ShortSeq(u32);

impl From<Seq> for ShortSeq {
    fn from(Seq(seq): Seq) -> Self {
        ShortSeq(seq as u32)
    }
}

const _: () = assert!(size_of::<Line>() == 32 && size_of::<Told>() == 32);

impl History {
    /// Number of decisions that a lane remembers.
    pub const LEN: usize = 65_536;

    /// An empty history.
    pub fn new() -> Self {
        History { ring: Ring::new(), finals: Ring::new(), streams: Ring::new() }
    }

    /// Notes a decision about a message of the call whose Call-ID hashes to `call`. `sent_by`: the side that has sent a
    /// request that is forwarded, if it comes from either.
    pub(super) fn note(
        &mut self,
        call: u64,
        about: About<'_>,
        (decision, sent_by): (&Decision, Option<Side>),
        now: Time,
    ) {
        let target = match decision.target {
            Target::Worker(Handoff { worker, size, pinned, follows, .. }) => {
                ShortTarget::Worker { worker, size, pinned, follows }
            }
            Target::Forward(Forward { proxy, .. }) if decision.reason.stays() => ShortTarget::Stays { proxy },
            Target::Forward(Forward { proxy, weight, .. }) => ShortTarget::Forwarded { proxy, sent_by, weight },
            Target::ForwardResponse(ForwardedResponse { proxy, side, .. }) | Target::Passed(proxy, side) => {
                ShortTarget::Response { proxy, side }
            }
            Target::Redirect(_) => ShortTarget::Answered(302),
            Target::Answer(answer) => ShortTarget::Answered(answer.status),
            Target::Return(answer) => ShortTarget::Answered(answer.code.0),
            Target::Everyone(_) => ShortTarget::Everyone,
            Target::Gathered(_) => ShortTarget::AnsweredAgain,
            Target::Waits(proxy) => ShortTarget::Forwarded { proxy, sent_by: Some(Side::Server), weight: 0 },
            Target::Prober | Target::Drop => ShortTarget::Dropped,
        };
        let seq = match decision.target {
            Target::Worker(handoff) => handoff.seq,
            _ => Seq(0),
        };
        let About { method, fault, arrival: &Arrival { transport, reply_to, .. } } = about;
        let reason = decision.reason;
        self.ring.push(Line { call, at: now, target, seq: seq.into(), method, reason, fault, transport });
        if let ReplyTo::Stream(connection) = reply_to {
            self.streams.push(OnStream { call, at: now, connection });
        }
    }

    /// Notes the final answer of a worker to a message.
    pub fn note_final(&mut self, worker: WorkerId, outcome: words::Outcome<'_>, now: Time) {
        let words::Outcome { seq, status, why } = outcome;
        let why = (!why.is_empty()).then(|| why.into());
        self.finals.push(Told { at: now, why, seq: seq.into(), worker, status });
    }

    /// The decisions about a call, oldest first.
    pub fn of(&self, call: u64) -> Vec<Explained> {
        let lines = self.ring.iter().filter(|line| line.call == call);
        let mut decisions = Vec::new();
        let mut streams = self.streams.iter().filter(|stream| stream.call == call).peekable();
        // One pass over the final answers, however many decisions there are: this runs on the lane, which decides
        // nothing in that time.
        let mut open: HashMap<(WorkerId, ShortSeq), Vec<usize>, FixedState> = HashMap::default();
        for &Line { call: _, at, target, seq, method, reason, fault, transport } in lines {
            if let ShortTarget::Worker { worker, .. } = target {
                open.entry((worker, seq)).or_default().push(decisions.len());
            }
            // Connections are noted in the order of the decisions. The decision of the first one may be forgotten.
            while streams.next_if(|stream| stream.at < at).is_some() {}
            let is_stream = !matches!(transport, Transport::Udp | Transport::Mgcp);
            let connection = streams.next_if(|stream| is_stream && stream.at == at).map(|stream| stream.connection);
            let (answered, took) = (None, None);
            decisions.push(Explained { at, method, transport, connection, reason, fault, target, answered, took });
        }
        time_attempts(&mut decisions);
        if open.is_empty() {
            return decisions;
        }
        for told in self.finals.iter() {
            // Numbers begin anew with each life of a worker: an answer belongs to the latest decision before it.
            let places = open.get(&(told.worker, told.seq)).into_iter().flatten();
            let is_before = |place: &usize| decisions.get(*place).is_some_and(|it: &Explained| it.at <= told.at);
            let before = places.rev().copied().find(is_before);
            if let Some(decision) = before.and_then(|place| decisions.get_mut(place)) {
                decision.answered = Some(Final { status: told.status, why: told.why.clone() });
            }
        }
        decisions
    }
}

/// Gives each attempt at a downstream proxy the time that it took. From the last decision to the first: what ended an
/// attempt comes after it.
fn time_attempts(decisions: &mut [Explained]) {
    let mut responses: HashMap<ProxyId, Time, FixedState> = HashMap::default();
    let mut moved = None;
    for decision in decisions.iter_mut().rev() {
        let at = decision.at;
        match decision.target {
            ShortTarget::Response { proxy, side: Side::Server } => _ = responses.insert(proxy, at),
            ShortTarget::Forwarded { proxy, weight: 1.., .. } => {
                let ends = [responses.remove(&proxy), moved];
                decision.took = ends.into_iter().flatten().min().map(|end| end.since(at));
                moved = decision.reason.is_of_move().then_some(at);
            }
            // A worker got the request after the proxy.
            ShortTarget::Worker { .. } if decision.reason.is_of_move() => moved = Some(at),
            _ => {}
        }
    }
}

impl Default for History {
    fn default() -> Self {
        History::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dispatch::decision::Search;

    fn arrival(transport: Transport, reply_to: ReplyTo) -> Arrival {
        Arrival { transport, reply_to, ..Arrival::of(&words::Envelope::plain(1)) }
    }

    fn about(method: Label, arrival: &Arrival) -> About<'_> {
        About { method, fault: None, arrival }
    }

    #[test]
    fn a_decision_is_told_with_the_connection_of_its_message() {
        let mut history = History::new();
        let drop = Decision { target: Target::Drop, reason: Reason::Stun };
        let on = |number| ReplyTo::Stream(ConnId(number));
        let ways = [
            (Transport::Tcp, on(7), 1),
            (Transport::Udp, ReplyTo::Datagram, 1),
            (Transport::Wss, on(9), 1),
            (Transport::Udp, ReplyTo::Datagram, 2),
            (Transport::Tls, on(8), 3),
        ];
        for (transport, reply_to, at) in ways {
            let arrival = arrival(transport, reply_to);
            history.note(1, about(Label::Invite, &arrival), (&drop, None), Time(at));
            history.note(2, about(Label::Bye, &arrival), (&drop, None), Time(at));
        }
        let told = history.of(1);
        let told: Vec<_> = told.iter().map(|it| (it.transport.label(), it.connection.map(|it| it.0))).collect();
        assert_eq!(told, [("tcp", Some(7)), ("udp", None), ("wss", Some(9)), ("udp", None), ("tls", Some(8))]);
    }

    #[test]
    fn the_ring_forgets_the_oldest_and_tells_the_rest_in_order() {
        let mut history = History::new();
        let drop = Decision { target: Target::Drop, reason: Reason::Stun };
        for at in 0..History::LEN as u64 + 3 {
            history.note(
                at % 2,
                about(Label::Invite, &arrival(Transport::Udp, ReplyTo::Datagram)),
                (&drop, None),
                Time(at),
            );
        }
        let odd = history.of(1);
        assert_eq!(odd.len(), History::LEN / 2);
        assert_eq!(odd.first().map(|line| line.at), Some(Time(3)));
        assert_eq!(odd.last().map(|line| line.at), Some(Time(History::LEN as u64 + 1)));
        assert!(odd.windows(2).all(|pair| pair[0].at < pair[1].at));
        assert_eq!(history.of(2), []);
    }

    #[test]
    fn the_end_that_a_worker_tells_belongs_to_the_decision_before_it() {
        let mut history = History::new();
        let handed = |worker, seq| {
            let handoff = Handoff {
                worker: WorkerId(worker),
                seq: Seq(seq),
                size: 1,
                entry: None,
                pinned: None,
                again: false,
                ring_first: false,
                names_size: false,
                follows: false,
                deadline: None,
                search: Search::default(),
            };
            Decision { target: Target::Worker(handoff), reason: Reason::Selected }
        };
        let arrival = arrival(Transport::Udp, ReplyTo::Datagram);
        let (invite, bye) = (about(Label::Invite, &arrival), about(Label::Bye, &arrival));
        let outcome = |seq, status, why| words::Outcome { seq: Seq(seq), status, why };
        history.note(1, invite, (&handed(0, 7), None), Time(1));
        history.note_final(WorkerId(1), outcome(7, 200, ""), Time(2));
        history.note_final(WorkerId(0), outcome(7, 488, "no format"), Time(3));
        // The worker starts anew, and its link counts from the beginning.
        history.note(1, invite, (&handed(0, 7), None), Time(4));
        history.note(1, bye, (&handed(1, 8), None), Time(5));
        let ends = |history: &History| {
            history.of(1).into_iter().map(|it| it.answered.map(|end| end.status)).collect::<Vec<_>>()
        };
        assert_eq!(ends(&history), [Some(488), None, None]);
        history.note_final(WorkerId(0), outcome(7, 200, ""), Time(6));
        assert_eq!(ends(&history), [Some(488), Some(200), None]);
        assert_eq!(history.of(1)[0].answered.as_ref().and_then(|end| end.why.as_deref()), Some("no format"));
    }
}
