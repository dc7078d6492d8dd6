//! The sessions of another MGCP gateway, for which this worker speaks. [`crate::call::external`] decides which message
//! goes where.

use std::net::SocketAddr;
use std::sync::Arc;

use crate::call::external::{External, Identity, Output};
use crate::call::{Arrival, Transmit};
use crate::ids::{TransactionRange, WorkerId};
use crate::time::Time;
use crate::wire::mgcp::{self, Message, Verb};
use crate::words::{AccessRule, Envelope, Report, Welcome};

use super::dispatcher::{Change, DispatcherLinks};
use super::listeners::Listeners;
use super::mgcp::group_of;
use super::sessions::{Account, Sessions};
use super::size::size_of_command;

/// The sessions of another gateway.
#[derive(Debug)]
pub struct Adapter {
    external: External,
    /// Where the gateway takes commands.
    gateway: SocketAddr,
    /// Capacity units of the operator's choice.
    capacity: Option<u32>,
    /// Whether the gateway answered, when the log said so last.
    was_there: bool,
}

/// A request to the process.
#[derive(Debug)]
pub enum GatewayEffect {
    /// Send this to a call agent.
    Transmit(Transmit),
    /// Send this to the gateway.
    Tell(Arc<[u8]>),
}

impl Adapter {
    /// A worker for `gateway` that `welcome` has let in.
    pub fn new(welcome: &Welcome, gateway: SocketAddr, capacity: Option<u32>, seed: [u64; 2]) -> Self {
        let external = External::new(Identity {
            token: welcome.token.as_str().into(),
            range: TransactionRange::of(WorkerId(welcome.slot)),
            units: capacity.unwrap_or(welcome.capacity),
            seed,
        });
        Adapter { external, gateway, capacity, was_there: false }
    }

    /// A datagram from the gateway.
    pub fn on_gateway(&mut self, datagram: &[u8], now: Time) {
        self.external.on_gateway(datagram, now);
    }

    /// No process listens on the gateway's port.
    pub fn on_gateway_gone(&mut self, now: Time) {
        self.external.on_gateway_gone(now);
    }

    fn look_at_gateway(&mut self) {
        let is_there = !self.external.is_without_gateway();
        if is_there == self.was_there {
            return;
        }
        self.was_there = is_there;
        let gateway = self.gateway;
        match is_there {
            true => tracing::info!(%gateway, "the gateway answers"),
            false => tracing::warn!(%gateway, "the gateway does not answer: it gets no new connections"),
        }
    }
}

impl Sessions for Adapter {
    type Effect = GatewayEffect;

    fn on_message(&mut self, envelope: &Envelope, payload: &[u8], now: Time) -> bool {
        let Ok(parsed) = mgcp::parse(payload) else { return false };
        let mut arrival = Arrival::handed_over(envelope);
        if let Message::Command(command) = &parsed
            && arrival.size == 0
            && command.verb() == Verb::Crcx
        {
            // The dispatcher has not weighed this CRCX, because it follows a call of ours.
            arrival = arrival.weighing(size_of_command(command));
        }
        self.external.on_message(&parsed, &arrival, now);
        true
    }

    /// This worker has no port of its own for callers, so that it needs no access rules.
    fn set_access(&mut self, _rules: &[AccessRule]) {}

    fn set_draining(&mut self, draining: bool, _now: Time) {
        self.external.set_draining(draining);
    }

    fn is_draining(&self) -> bool {
        self.external.is_draining()
    }

    fn end_all(&mut self, why: &str, now: Time) {
        tracing::info!(connections = self.external.load().sessions, "{why}: connections are deleted");
        self.external.end_all(now);
    }

    fn handle_timeout(&mut self, now: Time) {
        self.external.handle_timeout(now);
    }

    fn poll_timeout(&self) -> Option<Time> {
        self.external.poll_timeout()
    }

    fn poll_output(&mut self, dispatcher: &mut DispatcherLinks, now: Time) -> Option<GatewayEffect> {
        while let Some(output) = self.external.poll_output() {
            match output {
                Output::Transmit(transmit) => return Some(GatewayEffect::Transmit(transmit)),
                Output::Gateway(bytes) => return Some(GatewayEffect::Tell(bytes)),
                Output::Answered(seq) => drop(dispatcher.answered(seq, now)),
                Output::Refuse(seq, reason) => dispatcher.refuse(seq, reason),
                Output::CallOpened(id, since) => dispatcher.tell(Change::Opened(group_of(&id), since)),
                Output::CallClosed(id) => dispatcher.tell(Change::Closed(group_of(&id))),
            }
        }
        self.look_at_gateway();
        None
    }

    fn report(&self, _now: Time) -> Report {
        let load = self.external.load();
        Report {
            units_used: load.units_used,
            units_total: self.external.units(),
            sessions: load.sessions,
            no_room: self.external.is_without_gateway(),
            answered: load.answered,
            ..Report::default()
        }
    }

    fn is_needed(&self, _is_stopping: bool) -> bool {
        !self.external.is_quiet()
    }

    fn on_dispatcher_lost(&mut self, _now: Time) {
        self.external.on_dispatcher_lost();
    }

    /// A response that would have left from a duplicate that is closed is asked for again by its call agent, and the
    /// retransmission finds this worker by its call or its name.
    fn set_listeners(&mut self, _welcome: &Welcome, _listeners: &Listeners) {}

    fn on_welcome(&mut self, welcome: &mut Welcome, _listeners: &Listeners) {
        if self.capacity.is_none() {
            self.external.set_units(welcome.capacity);
        }
        self.external.set_identity(&welcome.token, TransactionRange::of(WorkerId(welcome.slot)));
    }

    fn account(&mut self, _now: Time) -> Account {
        let calls = self.external.calls().into_iter().map(|(since, id)| (since, group_of(&id)));
        Account { conferences: calls.collect(), ..Account::default() }
    }
}
