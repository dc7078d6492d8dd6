//! The gateway: its state, its inputs and outputs. What it does with each command is in the files beside this one.

use std::collections::VecDeque;
use std::net::SocketAddr;

use crate::call::gateway::exchange::{ConnectionKey, LookupKey, Output, Told};
use crate::call::gateway::identity::{Identity, Limits, Naming, Timers};
use crate::call::uas::Load;
use crate::time::Time;

/// The media gateway of one worker.
#[derive(Debug)]
pub struct Gateway {
    pub(super) identity: Identity,
    pub(super) limits: Limits,
    pub(super) timers: Timers,
    pub(super) outputs: VecDeque<Output>,
    pub(super) load: Load,
    pub(super) draining: bool,
}

impl Gateway {
    /// A gateway without endpoints.
    pub fn new(identity: Identity, limits: Limits, timers: Timers) -> Self {
        Gateway { identity, limits, timers, outputs: VecDeque::new(), load: Load::default(), draining: false }
    }

    /// What came of a media request, or what befell the media of a connection.
    pub fn on_media(&mut self, _key: ConnectionKey, _told: Told, _now: Time) {}

    /// The address of a call agent, or that there is none.
    pub fn on_resolved(&mut self, _key: LookupKey, _address: Option<SocketAddr>, _now: Time) {}

    /// What is to be done next; `None` when all is done until the next input or [`Gateway::poll_timeout`].
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// Time has passed.
    pub fn handle_timeout(&mut self, _now: Time) {}

    /// When [`Gateway::handle_timeout`] is to be called next.
    pub fn poll_timeout(&self) -> Option<Time> {
        None
    }

    /// Whether new connections are turned away.
    pub fn set_draining(&mut self, draining: bool) {
        self.draining = draining;
    }

    /// Whether new connections are turned away.
    pub const fn is_draining(&self) -> bool {
        self.draining
    }

    /// Changes how many units this gateway may use: the worker's capacity less what its other sessions use. Standing
    /// connections stay.
    pub fn set_units(&mut self, units: u32) {
        self.limits.units = units;
    }

    /// The capacity in units.
    pub fn units(&self) -> u32 {
        self.limits.units
    }

    /// The dispatcher is gone. What it has handed over cannot be given back any more, and is answered.
    pub fn on_dispatcher_lost(&mut self) {}

    /// A new dispatcher has other well-known sockets. The numbers of those that were there stay the same.
    pub fn set_listeners(&mut self, listeners: Vec<SocketAddr>, naming: Vec<Naming>, duplicates: Vec<bool>) {
        self.identity.listeners = listeners;
        self.identity.naming = naming;
        self.identity.duplicates = duplicates;
    }

    /// What there is to do: `sessions` are connections, `answered` the CRCX that were carried out.
    pub fn load(&self) -> Load {
        self.load
    }

    /// The call ids that have connections, in lower case, each with the time of its first.
    pub fn calls(&self) -> impl Iterator<Item = (&[u8], Time)> {
        std::iter::empty()
    }

    /// Deletes all connections and requests: the worker stops.
    pub fn end_all(&mut self, _now: Time) {}

    /// Whether nothing is left: no connection, no request, no transaction.
    pub fn is_idle(&self) -> bool {
        self.load.sessions == 0
    }

    /// Whether all connections and requests are gone; answers may still wait for retransmissions of their commands.
    pub fn is_quiet(&self) -> bool {
        self.load.sessions == 0
    }
}
