//! The dispatcher, as it comes and goes.

use std::io;
use std::os::fd::OwnedFd;

use super::{Adapter, heard};
use crate::handoff::back::Back;
use crate::handoff::frame::{Hello, Welcome};
use crate::ids::{TransactionRange, WorkerId};
use crate::net::clock;
use crate::time::Time;
use crate::worker::comeback::{Comeback, Progress};
use crate::worker::link::{self, LinkEnd, Sorted};
use crate::worker::process::gateway::group_of;
use crate::worker::report::Pace;

impl Adapter {
    pub(super) fn on_dispatcher_lost(&mut self, reason: &str) {
        // What is to be said on these links is numbered on them.
        self.carry_out();
        if !self.links.is_up() {
            return;
        }
        tracing::info!(reason, connections = self.external.load().sessions, "no dispatcher: connections stay");
        self.links.clear();
        self.external.on_dispatcher_lost();
        // A new dispatcher does not wait for who came by itself, and could not bind them. What would still leave from
        // them is asked for again, and found by its call or its name.
        self.listeners.close();
        self.stage.on_dispatcher_lost(true, clock::now());
    }

    /// Links to a new dispatcher and says who it is. It comes as it came first, and tells of its calls when it is welcome.
    pub(super) fn come_back(&mut self, now: Time) -> io::Result<Comeback> {
        let link = LinkEnd::connect(&self.settings.dispatcher, &self.poll)?;
        let load = self.external.load();
        let hello = Hello {
            secret: Some(self.welcome.secret),
            incarnation: Some(self.welcome.incarnation),
            units_used: load.units_used,
            sessions: load.sessions,
            draining: self.external.is_draining(),
            ..self.settings.hello()
        };
        Comeback::begin(link, hello, &[], Vec::new(), Vec::new(), now)
    }

    /// The link to a new dispatcher has something to say, or takes more.
    pub(super) fn on_comeback(&mut self, now: Time) {
        let Some(comeback) = self.comeback.take() else { return };
        match comeback.go_on(now) {
            Progress::Waiting(comeback) => self.comeback = Some(comeback),
            Progress::Welcome(link, welcome, descriptors) => self.on_welcome(link, *welcome, descriptors),
            Progress::Refused(reason) => {
                if self.stage.on_refused(&reason, now) {
                    tracing::warn!(reason, "a new dispatcher does not let this worker in; connections stay");
                }
            }
            Progress::Failed => self.stage.on_failed(now),
        }
    }

    fn on_welcome(&mut self, link: LinkEnd, welcome: Welcome, descriptors: Vec<OwnedFd>) {
        let more = match link::sort(&welcome, descriptors) {
            Ok(Sorted { listeners, more, .. }) => {
                self.listeners.set(&welcome.listeners, listeners);
                more
            }
            Err(error) => {
                tracing::warn!(%error, "the new dispatcher's sockets cannot be used");
                Vec::new()
            }
        };
        if self.settings.capacity.is_none() {
            self.external.set_units(welcome.capacity);
        }
        self.external.set_identity(&welcome.token, TransactionRange::of(WorkerId(welcome.slot)));
        self.welcome = welcome;
        if let Err(error) = self.links.set(link, Back::new(), more, &self.poll) {
            tracing::warn!(%error, "a lane of the dispatcher cannot be heard");
        }
        self.pace = Pace::new();
        self.stage.on_welcome();
        tracing::info!(connections = self.external.load().sessions, "back with a dispatcher");
        for (since, call) in self.external.calls() {
            heard(self.links.group_open(since, &group_of(&call)));
        }
    }
}
