//! The dispatcher, as it comes and goes.

use std::io;

use super::{Adapter, heard};
use crate::ids::{TransactionRange, WorkerId};
use crate::net::clock;
use crate::time::Time;
use crate::words::Hello;
use crate::worker::comeback::{Account, Comeback};
use crate::worker::link::LinkEnd;
use crate::worker::process::gateway::group_of;
use crate::worker::tie::Tie;

impl Adapter {
    pub(super) fn on_dispatcher_lost(&mut self, reason: &str) {
        // Pending output carries message numbers of these links, so it is sent before the links go.
        self.carry_out();
        if !self.tie.links.is_up() {
            return;
        }
        tracing::info!(reason, connections = self.external.load().sessions, "no dispatcher: connections stay");
        self.external.on_dispatcher_lost();
        // A new dispatcher does not wait for workers that came by themselves, and could not bind these sockets while
        // they are open here. A response that would still have left from them is asked for again by its call agent, and
        // the retransmission finds this worker by its call or its name.
        self.tie.listeners.close();
        self.tie.on_dispatcher_lost(true, clock::now());
    }

    /// Links to a new dispatcher and introduces the worker as at its first start. The worker tells of its calls after
    /// the welcome.
    pub(super) fn come_back(&mut self, now: Time) -> io::Result<Comeback> {
        let link = LinkEnd::connect(&self.settings.dispatcher, &self.sources.poll)?;
        let hello = Hello { draining: self.external.is_draining(), ..self.settings.hello() };
        let hello = self.tie.hello_again(&self.report(), hello);
        Comeback::begin(link, hello, &[], Account::default(), now)
    }

    /// The link to a new dispatcher has something to say, or takes more; true when that dispatcher has welcomed us.
    pub(super) fn on_comeback(&mut self, now: Time) -> bool {
        let is_back = self.tie.on_comeback(&self.sources.poll, now);
        if is_back {
            self.on_welcome();
        }
        is_back
    }

    fn on_welcome(&mut self) {
        let Tie { welcome, links, .. } = &mut self.tie;
        if self.settings.capacity.is_none() {
            self.external.set_units(welcome.capacity);
        }
        self.external.set_identity(&welcome.token, TransactionRange::of(WorkerId(welcome.slot)));
        tracing::info!(connections = self.external.load().sessions, "back with a dispatcher");
        for (since, call) in self.external.calls() {
            heard(links.group_open(since, &group_of(&call)));
        }
    }
}
