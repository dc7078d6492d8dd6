//! Commands that the gateway has not answered.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use super::exchange::Output;
use super::names::Tokens;
use crate::call::exchange::{Arrival, Egress};
use crate::call::seqs::Seqs;
use crate::ids::Seq;
use crate::time::Time;
use crate::transaction::mgcp_client::Transaction;
use crate::transaction::name::mgcp::TransactionKey;
use crate::wire::mgcp::{Command, EndpointName, ReturnCode, Verb, Wildcard};

/// A command that was sent to the gateway.
#[derive(Debug)]
pub(super) struct Pending {
    pub(super) purpose: Purpose,
    pub(super) transaction: Transaction,
    /// The moment the command was accepted for sending.
    pub(super) begun: Time,
    /// Time from sending for which an answer is awaited.
    pub(super) wait: Duration,
    /// When the call agent is told to wait; `None` once it has been told.
    pub(super) patience: Option<Time>,
    pub(super) flight: Flight,
}

/// Whether a command counts towards the window of commands that the gateway has at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flight {
    /// It has not been sent.
    Waiting,
    /// It counts, until this time.
    Counted(Time),
    /// It was sent so long ago that it does not count.
    Over,
}

impl Flight {
    pub(super) const fn is_counted(self) -> bool {
        matches!(self, Flight::Counted(_))
    }
}

/// The purpose of a command.
#[derive(Debug)]
pub(super) enum Purpose {
    /// A call agent's.
    Command(Box<AgentCommand>),
    /// A call agent's CRCX that the worker gave up: if the gateway has carried it out after all, its connection is
    /// deleted.
    Late {
        /// The endpoint it named, as the gateway knows it.
        endpoint: Box<[u8]>,
        call: Option<Box<[u8]>>,
    },
    /// Our own DLCX.
    Delete {
        endpoint: Box<[u8]>,
        id: Box<[u8]>,
        /// The DLCX for several endpoints that it is a part of.
        of: Option<u32>,
    },
    /// A call agent's DLCX for several endpoints; only its parts, one DLCX for each connection, go to the gateway.
    Several(Box<Several>),
    /// Our own AUEP, which asks whether the gateway is there.
    Probe,
}

/// A DLCX for several endpoints.
#[derive(Debug)]
pub(super) struct Several {
    pub(super) asked: AgentCommand,
    /// Number of connections still to be deleted.
    pub(super) left: usize,
    /// The return code of the final response, once all are deleted.
    pub(super) code: ReturnCode,
}

/// A call agent's command.
#[derive(Debug)]
pub(super) struct AgentCommand {
    pub(super) key: TransactionKey,
    /// The hash of its text.
    pub(super) print: u64,
    pub(super) verb: VerbKind,
    pub(super) verbs: Verbs,
    /// The newest copy's way back; `None` when it led to a dispatcher that is gone.
    pub(super) way: Option<Egress>,
    /// The address that copy came from.
    pub(super) source: SocketAddr,
    /// The copies that were handed over, until the final response.
    pub(super) seqs: Seqs,
    /// The endpoint as the gateway knows it.
    pub(super) endpoint: Box<[u8]>,
    pub(super) call: Option<Box<[u8]>>,
    pub(super) connection: Option<Box<[u8]>>,
    /// Units, of a CRCX.
    pub(super) size: u32,
    /// Whether it must be answered rather than given back to the dispatcher.
    pub(super) follows: bool,
    pub(super) is_told_to_wait: bool,
}

/// The kind of verb, as far as this worker treats verbs differently.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum VerbKind {
    /// CRCX.
    Create,
    /// DLCX.
    Delete,
    /// Any other.
    Other,
}

/// A set of verbs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Verbs(u16);

impl Verbs {
    fn of(verb: Verb<'_>) -> Self {
        let all = [Verb::Epcf, Verb::Crcx, Verb::Mdcx, Verb::Dlcx, Verb::Rqnt, Verb::Auep, Verb::Aucx, Verb::Mesg];
        Verbs(all.iter().position(|known| *known == verb).map_or(0, |bit| 1 << bit))
    }

    pub(super) const fn add(&mut self, others: Verbs) {
        self.0 |= others.0;
    }

    pub(super) const fn has(self, others: Verbs) -> bool {
        self.0 & others.0 != 0
    }
}

impl Purpose {
    /// The call agent's command that waits for an answer.
    pub(super) fn asked_mut(&mut self) -> Option<&mut AgentCommand> {
        match self {
            Purpose::Command(asked) => Some(asked),
            Purpose::Several(several) => Some(&mut several.asked),
            Purpose::Late { .. } | Purpose::Delete { .. } | Purpose::Probe => None,
        }
    }
}

impl AgentCommand {
    /// Whether another worker could carry it out: no response has been sent yet, and any endpoint will do.
    pub(super) fn can_go_elsewhere(&self) -> bool {
        let is_any = EndpointName::parse(&self.endpoint).is_some_and(|name| name.wildcard() != Wildcard::None);
        self.verb == VerbKind::Create && is_any && !self.follows && !self.is_told_to_wait
    }

    /// A message for the call agent, if there is a way to it.
    pub(super) fn transmit(&self, bytes: Arc<[u8]>) -> Option<Output> {
        self.way.map(|way| Output::Transmit(way.transmit(self.source, bytes)))
    }

    pub(super) fn new(
        (key, print): (TransactionKey, u64),
        command: &Command<'_>,
        arrival: &Arrival,
        tokens: &Tokens,
    ) -> Self {
        AgentCommand {
            key,
            print,
            verb: match command.verb() {
                Verb::Crcx => VerbKind::Create,
                Verb::Dlcx => VerbKind::Delete,
                _ => VerbKind::Other,
            },
            verbs: Verbs::of(command.verb()),
            way: Some(Egress::of(arrival)),
            source: arrival.source,
            seqs: Seqs::new(arrival.seq()),
            endpoint: tokens.strip(command.endpoint().as_bytes()).into(),
            call: command.call_id().map(Into::into),
            connection: command.connection_id().map(Into::into),
            size: 0,
            follows: arrival.follows,
            is_told_to_wait: false,
        }
    }

    /// The same command again. Returns the copy's number if it is not kept: the copy counts as answered.
    pub(super) fn on_again(&mut self, arrival: &Arrival) -> Option<Seq> {
        (self.way, self.source) = (Some(Egress::of(arrival)), arrival.source);
        self.seqs.add(arrival.seq()?)
    }
}

impl Pending {
    /// A CRCX that was given up.
    pub(super) fn late(endpoint: Box<[u8]>, call: Option<Box<[u8]>>, now: Time, wait: Duration) -> Self {
        Pending {
            purpose: Purpose::Late { endpoint, call },
            transaction: Transaction::new(Arc::default(), None, now + wait),
            begun: now,
            wait,
            patience: None,
            flight: Flight::Over,
        }
    }

    /// When it was sent, or accepted for sending.
    pub(super) fn since(&self) -> Time {
        self.transaction.since().unwrap_or(self.begun)
    }

    /// When something is to be done about it.
    pub(super) fn due(&self) -> Time {
        let counted = match self.flight {
            Flight::Counted(until) => Some(until),
            Flight::Waiting | Flight::Over => None,
        };
        let due = self.transaction.poll_timeout();
        self.patience.into_iter().chain(counted).fold(due, Time::min)
    }

    /// The dispatcher is gone: its gathering of answers ended with it, and the next dispatcher has other numbers.
    pub(super) fn on_dispatcher_lost(&mut self) {
        if let Some(asked) = self.purpose.asked_mut() {
            asked.way = asked.way.filter(|way| way.lasts());
            // The dispatcher that handed the command over is gone, so the command cannot be given back.
            asked.follows = true;
        }
    }

    /// Whether the worker must not exit before it ends: a call agent waits for the answer, or a connection must be
    /// deleted.
    pub(super) const fn is_a_commitment(&self) -> bool {
        matches!(self.purpose, Purpose::Command(_) | Purpose::Delete { .. } | Purpose::Several(_))
    }
}
