//! Messages as they come to the decision, of either protocol, readable or not; the decision is counted and noted.

use std::hash::BuildHasher;

use super::decision::{Arrival, Decision, Forward, Side, Target};
use super::history::About;
use super::returned::Returned;
use super::{Dispatch, mgcp, sip};
use crate::time::Time;
use crate::wire;
use crate::wire::sip::Essentials;

/// A message, or bytes that are none.
#[derive(Clone, Copy, Debug)]
pub enum Incoming<'m> {
    /// A message of SIP.
    Sip(&'m wire::sip::Message<'m>),
    /// Bytes on a SIP socket that cannot be read as a message.
    UnreadableSip(&'m wire::sip::Unparsable<'m>),
    /// A message of MGCP.
    Mgcp(&'m wire::mgcp::Message<'m>),
    /// Bytes on an MGCP socket that cannot be read as a message.
    UnreadableMgcp(&'m wire::mgcp::Unparsable<'m>),
}

/// A request of which everything is read that most decisions ask for.
#[derive(Clone, Copy, Debug)]
pub struct ReadRequest<'m>(sip::Case<'m>);

/// The same of a command of MGCP.
#[derive(Clone, Copy, Debug)]
pub struct ReadCommand<'m>(mgcp::Case<'m>);

/// A message that was read ahead of its decision.
#[derive(Clone, Copy, Debug)]
pub enum Foreseen<'m> {
    /// A request of SIP.
    Request(&'m ReadRequest<'m>),
    /// A command of MGCP.
    Command(&'m ReadCommand<'m>),
}

impl<'m> Incoming<'m> {
    /// Its bytes, as far as it could be read.
    pub fn bytes(&self) -> &'m [u8] {
        match self {
            Incoming::Sip(message) => message.bytes(),
            Incoming::UnreadableSip(bad) => bad.seen.map_or(b"", |message| message.bytes()),
            Incoming::Mgcp(message) => message.bytes(),
            Incoming::UnreadableMgcp(bad) => bad.bytes,
        }
    }
}

impl Dispatch {
    /// Decides about a message from a well-known socket.
    #[inline]
    pub fn on_message<'m>(&mut self, message: impl Into<Incoming<'m>>, arrival: &Arrival, now: Time) -> Decision {
        self.on_foreseen(message, None, arrival, now)
    }

    /// Reads a request that is decided about soon. `None` where nothing is to be read ahead: of a response, or of a
    /// request that is dropped because of its source.
    pub fn read_ahead<'m>(&self, message: &wire::sip::Message<'m>, arrival: &Arrival) -> Option<Essentials<'m>> {
        sip::read_ahead(self, message, arrival)
    }

    /// Asks the memory for what the decision about a request reads of the table. `read`: what [`Dispatch::read_ahead`]
    /// has read of it. It decides nothing.
    #[inline]
    pub fn foresee<'m>(
        &self,
        message: &'m wire::sip::Message<'m>,
        read: &'m Essentials<'m>,
        arrival: &'m Arrival,
        now: Time,
    ) -> Option<ReadRequest<'m>> {
        sip::foresee(self, message, read, arrival, now).map(ReadRequest)
    }

    /// Reads a command that is decided about soon, as [`Dispatch::foresee`] does a request.
    #[inline]
    pub fn foresee_command<'m>(
        &self,
        command: &'m wire::mgcp::Command<'m>,
        arrival: &'m Arrival,
        now: Time,
    ) -> Option<ReadCommand<'m>> {
        mgcp::foresee(self, command, arrival, now).map(ReadCommand)
    }

    /// Decides about a message from a well-known socket, of which something may have been read ahead.
    #[inline]
    pub fn on_foreseen<'m>(
        &mut self,
        message: impl Into<Incoming<'m>>,
        foreseen: Option<Foreseen<'_>>,
        arrival: &Arrival,
        now: Time,
    ) -> Decision {
        let message = message.into();
        let decision = match (message, foreseen) {
            (Incoming::Sip(message), Some(Foreseen::Request(read))) => sip::decide_foreseen(self, message, &read.0),
            (Incoming::Mgcp(_), Some(Foreseen::Command(read))) => mgcp::decide_foreseen(self, read.0),
            _ => self.decide(message, arrival, now),
        };
        self.counters.on_decision(&decision);
        self.note(message, &decision, arrival, now);
        decision
    }

    /// Decides about a message to the port of a slot that has no worker. The decision is the same as at a well-known
    /// socket, and counted apart.
    pub fn on_vacant<'m>(&mut self, message: impl Into<Incoming<'m>>, arrival: &Arrival, now: Time) -> Decision {
        let message = message.into();
        let decision = self.decide(message, arrival, now);
        self.counters.on_vacant(&decision);
        self.note(message, &decision, arrival, now);
        decision
    }

    /// Decides about a request whose way was sought when another dispatcher took over.
    pub fn on_sought(&mut self, request: &wire::sip::Message<'_>, arrival: &Arrival, now: Time) -> Decision {
        let decision = sip::decide_sought(self, request, arrival, now);
        self.counters.on_returned(&decision);
        self.note(request.into(), &decision, arrival, now);
        decision
    }

    /// Decides about a message that a worker refused or died with. After a death, [`Dispatch::on_worker_lost`] comes
    /// first.
    pub fn on_returned<'m>(&mut self, message: impl Into<Incoming<'m>>, back: &Returned, now: Time) -> Decision {
        let message = message.into();
        let arrival = &Arrival::of(&back.message.envelope);
        self.note_refusal(back);
        let decision = match message {
            Incoming::Sip(message) => {
                let read = message.essentials();
                let case = sip::Case::of(message, &read, arrival, now, &self.printer);
                self.request_returned(case, back)
            }
            Incoming::Mgcp(message) => {
                let case = self.command_in(message, arrival, now);
                self.request_returned(case, back)
            }
            // It was read before it was handed over.
            Incoming::UnreadableSip(_) | Incoming::UnreadableMgcp(_) => self.decide(message, arrival, now),
        };
        self.counters.on_returned(&decision);
        self.note(message, &decision, arrival, now);
        decision
    }

    /// Decides about a message of MGCP that is not carried out: its datagram has more parts than can wait, or too many
    /// datagrams wait.
    pub fn on_overflow(&mut self, message: &wire::mgcp::Message<'_>, arrival: &Arrival, now: Time) -> Decision {
        let decision = mgcp::decide_overflow(self, message, arrival, now);
        self.counters.on_decision(&decision);
        self.note(message.into(), &decision, arrival, now);
        decision
    }

    #[inline]
    fn decide(&mut self, message: Incoming<'_>, arrival: &Arrival, now: Time) -> Decision {
        match message {
            Incoming::Sip(message) => sip::decide(self, message, arrival, now),
            Incoming::UnreadableSip(bad) => sip::decide_unparsable(self, bad, arrival, now),
            Incoming::Mgcp(message) => mgcp::decide(self, message, arrival, now),
            Incoming::UnreadableMgcp(bad) => mgcp::decide_unparsable(self, bad, arrival, now),
        }
    }

    /// Notes a decision for [`Dispatch::explain`], under the names by which an operator asks.
    fn note(&mut self, message: Incoming<'_>, decision: &Decision, arrival: &Arrival, now: Time) {
        match message {
            Incoming::Sip(message) => sip::note(self, message, decision, arrival, now),
            Incoming::UnreadableSip(bad) => sip::note_fault(self, bad, decision, arrival, now),
            Incoming::Mgcp(message) => mgcp::note(self, message, decision, arrival, now),
            Incoming::UnreadableMgcp(_) => {}
        }
    }

    /// Notes a decision under a name.
    pub(super) fn note_text(&mut self, name: &[u8], about: About<'_>, decision: &Decision, now: Time) {
        let sent_by = self.sent_by(decision, about.arrival);
        self.history.note(self.call_hash.hash_one(name), about, (decision, sent_by), now);
    }

    /// The side that has sent a request that is forwarded; `None`: neither. Anyone may know the token of a dialog,
    /// which leads a request the way of those of its server.
    fn sent_by(&self, decision: &Decision, arrival: &Arrival) -> Option<Side> {
        let Target::Forward(Forward { proxy, side, .. }) = decision.target else { return None };
        let is_known = side == Side::Caller || self.proxies.is_from(proxy, arrival.source.ip(), arrival.certified);
        is_known.then_some(side)
    }
}

impl<'m> From<&'m wire::sip::Message<'_>> for Incoming<'m> {
    fn from(message: &'m wire::sip::Message<'_>) -> Self {
        Incoming::Sip(message)
    }
}

impl<'m> From<&'m wire::sip::Unparsable<'_>> for Incoming<'m> {
    fn from(bad: &'m wire::sip::Unparsable<'_>) -> Self {
        Incoming::UnreadableSip(bad)
    }
}

impl<'m> From<&'m wire::mgcp::Message<'_>> for Incoming<'m> {
    fn from(message: &'m wire::mgcp::Message<'_>) -> Self {
        Incoming::Mgcp(message)
    }
}

impl<'m> From<&'m wire::mgcp::Unparsable<'_>> for Incoming<'m> {
    fn from(bad: &'m wire::mgcp::Unparsable<'_>) -> Self {
        Incoming::UnreadableMgcp(bad)
    }
}
