//! Server transactions (RFC 3261 §17.2, with the Accepted state of RFC 6026): the state kept for a request until its
//! sender cannot ask for the answer again.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use crate::call::allowance::Allowance;
use crate::call::exchange::{CallKey, Hop, Output, Transmit};
use crate::call::slab::handle;
use crate::fingerprint::Fingerprint;
use crate::ids::Seq;
use crate::time::Time;
use crate::transaction::Resend;

handle! {
    /// A server transaction.
    pub(super) struct ServerKey;
}

/// One server transaction.
#[derive(Debug)]
pub(super) struct Server {
    pub(super) fingerprint: Fingerprint,
    /// [`super::request::Fingerprints::merged`], for requests outside a dialog that are no copies of another.
    pub(super) merged: Option<Fingerprint>,
    pub(super) state: State,
    pub(super) kept: Kept,
    pub(super) way: Way,
    /// The call it belongs to, as long as there is one.
    pub(super) call: Option<CallKey>,
    /// The handed-over copies of the request, until its final response has left.
    pub(super) seqs: Seqs,
    /// Whether the request came to a port of ours, without the dispatcher.
    pub(super) direct: bool,
    /// Whether it must be answered rather than given back.
    pub(super) follows: bool,
    pub(super) cseq: u32,
    pub(super) resend: Option<Resend>,
    /// When the ACK to its 2xx came.
    pub(super) acknowledged: Option<Time>,
    /// Datagrams that may leave by themselves.
    pub(super) allowance: Allowance,
    /// When it is over (timers H, I, J, L) or, while [`State::Proceeding`], when a 100 is due.
    pub(super) end: Time,
    /// When the wheel looks at it next.
    pub(super) armed: Time,
}

/// The state of a server transaction. Of the two kinds of RFC 3261 only INVITE has `Confirmed` and `Accepted`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// No final response yet (`Trying` and `Proceeding`).
    Proceeding {
        /// Whether it is an INVITE.
        invite: bool,
    },
    /// INVITE: 300–699 sent, no ACK yet. Other requests: final response sent.
    Completed {
        /// Whether it is an INVITE.
        invite: bool,
    },
    /// The ACK to a 300–699 has come.
    Confirmed,
    /// A 2xx to an INVITE has been sent; `kept` holds it until its ACK has come.
    Accepted,
}

/// The message a transaction holds.
#[derive(Clone, Debug)]
pub(super) enum Kept {
    /// The request, while the application has not decided.
    Request(Arc<[u8]>),
    /// The request and the last provisional response to it.
    Both(Arc<[u8]>, Arc<[u8]>),
    /// The final response.
    Response(Arc<[u8]>),
    /// Neither is needed any more.
    Nothing,
}

impl Kept {
    pub(super) fn request(&self) -> Option<&Arc<[u8]>> {
        match self {
            Kept::Request(request) | Kept::Both(request, _) => Some(request),
            Kept::Response(_) | Kept::Nothing => None,
        }
    }

    pub(super) fn response(&self) -> Option<&Arc<[u8]>> {
        match self {
            Kept::Response(response) | Kept::Both(_, response) => Some(response),
            Kept::Request(_) | Kept::Nothing => None,
        }
    }

    pub(super) fn bytes(&self) -> usize {
        self.request().map_or(0, |bytes| bytes.len()) + self.response().map_or(0, |bytes| bytes.len())
    }
}

/// The way a response takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Way {
    pub(super) hop: Hop,
    /// The source of the request, for `received` and `rport`.
    pub(super) source: SocketAddr,
    pub(super) to: SocketAddr,
    pub(super) from: Option<IpAddr>,
}

impl Way {
    pub(super) fn transmit(&self, bytes: &Arc<[u8]>) -> Output {
        Output::Transmit(Transmit { hop: self.hop, to: self.to, from: self.from, bytes: bytes.clone() })
    }
}

/// The numbers of the handed-over copies of one request. There is nearly always one.
#[derive(Clone, Debug, Default)]
pub(super) struct Seqs {
    first: Option<Seq>,
    others: Vec<Seq>,
}

impl Seqs {
    /// Copies that are kept: more than seven retransmissions (64·T1) on two ways. Further copies are reported as dealt
    /// with at once.
    const LIMIT: usize = 16;

    pub(super) fn new(seq: Option<Seq>) -> Self {
        Seqs { first: seq, others: Vec::new() }
    }

    /// Adds a copy; returns it when there are too many.
    pub(super) fn add(&mut self, seq: Seq) -> Option<Seq> {
        if self.first.is_none() {
            self.first = Some(seq);
            return None;
        }
        if self.others.len() == Seqs::LIMIT {
            return Some(seq);
        }
        self.others.push(seq);
        None
    }

    pub(super) fn drain(&mut self) -> impl Iterator<Item = Seq> {
        self.first.take().into_iter().chain(std::mem::take(&mut self.others))
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.first.is_none()
    }

    /// The number of the copy that came first.
    pub(super) const fn first(&self) -> Option<Seq> {
        self.first
    }
}

impl Server {
    /// When the wheel must look at it.
    pub(super) fn due(&self) -> Time {
        self.resend.map_or(self.end, |resend| resend.at().min(self.end))
    }

    pub(super) const fn is_proceeding(&self) -> bool {
        matches!(self.state, State::Proceeding { .. })
    }

    /// Whether another copy of its request is one too many (RFC 3261 §8.2.2.2: beside an ongoing transaction). A
    /// refusal that has been acknowledged is over: the next attempt of a proxy that hunts is a new request. A standing
    /// call is over in this respect T4 after the ACK, when no copy can be on its way any more.
    pub(super) fn is_ongoing(&self, t4: Duration, now: Time) -> bool {
        match self.state {
            State::Proceeding { .. } | State::Completed { .. } => true,
            State::Accepted => self.acknowledged.is_none_or(|at| now < at + t4),
            State::Confirmed => false,
        }
    }
}
