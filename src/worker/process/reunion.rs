//! The dispatcher, as it comes and goes: what it is told, how it is lost, how the next one is found.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use super::{Meanwhile, Worker};
use crate::handoff::back::Back;
use crate::handoff::frame::{Hello, PassedSocket, Port, RefuseReason, SocketRole, Welcome};
use crate::ids::Seq;
use crate::net::clock;
use crate::net::udp::Socket;
use crate::time::Time;
use crate::worker::application::Application;
use crate::worker::comeback::{Comeback, Progress};
use crate::worker::link::{self, LinkEnd, Sorted};
use crate::worker::links::MOST;
use crate::worker::report::Pace;

impl<A: Application> Worker<A> {
    /// The final response to a handed-over message has left. The dispatcher of an earlier link has no use for its number;
    /// the present one knows the transaction by its name.
    pub(super) fn answered(&mut self, seq: Seq, now: Time) {
        let named = self.holdings.on_answered(seq, now);
        if !self.links.answered(seq, now)
            && let Some(branch) = named
        {
            self.tell(Meanwhile::Released(branch));
        }
    }

    /// Gives a message back. What came on an earlier link cannot be: the user agent answers it instead.
    pub(super) fn refuse(&mut self, seq: Seq, reason: RefuseReason) {
        self.holdings.on_refused(seq);
        self.links.refuse(seq, reason);
    }

    /// Tells the dispatcher, or the one that has been told already what there is and has not welcomed us yet.
    pub(super) fn tell(&mut self, change: Meanwhile) {
        if !self.links.is_up() {
            if self.comeback.is_some() {
                self.meanwhile.push(change);
            }
            return;
        }
        let told = match &change {
            Meanwhile::Released(branch) => {
                self.links.release(*branch);
                Ok(())
            }
            Meanwhile::Opened(name, opened) => self.links.group_open(*opened, name),
            Meanwhile::Closed(name) => self.links.group_closed(name),
        };
        if let Err(error) = told {
            tracing::debug!(%error, "the dispatcher does not hear of a conference");
        }
    }

    pub(super) fn on_dispatcher_lost(&mut self, reason: &str) {
        // What is to be said on these links is numbered on them.
        self.carry_out();
        if !self.links.is_up() {
            return;
        }
        let calls = self.figures(clock::now()).sessions;
        tracing::info!(reason, calls, "no dispatcher: calls go on");
        self.links.clear();
        self.uas.on_dispatcher_lost();
        self.mgcp.gateway.on_dispatcher_lost();
        if !self.stage.is_stopping() {
            if self.slot.is_some() {
                self.listeners.stamp_arrivals();
            } else {
                // A new dispatcher does not wait for who came by itself, and could not bind them: what still has to leave
                // from them leaves from our own port.
                self.listeners.close();
                self.uas.set_listeners(self.listeners.addresses(), self.listeners.held());
                self.mgcp.set_listeners(&self.welcome, &self.listeners);
            }
        }
        self.stage.on_dispatcher_lost(self.settings.handoff.is_some(), clock::now());
    }

    /// Links to a new dispatcher and begins to tell it what there is.
    pub(super) fn come_back(&mut self, now: Time) -> io::Result<Comeback> {
        let path = self.settings.handoff.as_deref().ok_or(io::ErrorKind::NotFound)?;
        let link = LinkEnd::connect(path, &self.poll)?;
        let load = self.figures(now);
        let hello = Hello {
            services: link::services(&self.settings),
            secret: Some(self.welcome.secret),
            incarnation: Some(self.welcome.incarnation),
            program: self.settings.program.clone(),
            pid: std::process::id(),
            capacity: self.settings.capacity,
            wants_listeners: self.settings.wants_listeners,
            links: MOST as u16,
            units_used: load.units_used,
            sessions: load.sessions,
            draining: self.uas.is_draining(),
            ..Hello::default()
        };
        let mut conferences = self.conferences.open();
        conferences.extend(self.open_calls());
        if self.slot.is_none() {
            // It comes as it came first, and tells the rest when it is welcome.
            let port = |service: &'static str| {
                move |own: &Socket| Port { service: service.to_owned(), address: own.local_addr() }
            };
            let ports = self.own.iter().map(port("sip")).chain(self.mgcp.own.iter().map(port("mgcp"))).collect();
            let hello = Hello { name: self.settings.name.clone(), ports, ..hello };
            self.meanwhile = conferences.into_iter().map(|(since, name)| Meanwhile::Opened(name, since)).collect();
            return Comeback::begin(link, hello, &[], Vec::new(), Vec::new(), now);
        }
        let mut sockets = Vec::new();
        let mut passed = Vec::new();
        for socket in &self.own {
            passed.push(PassedSocket { role: SocketRole::SipUdp, address: socket.local_addr(), listener: None });
            sockets.push(socket.as_fd());
        }
        for listener in self.streams.listeners() {
            passed.push(PassedSocket { role: SocketRole::SipTcp, address: listener.local_addr(), listener: None });
            sockets.push(listener.as_fd());
        }
        for socket in &self.mgcp.own {
            // Which listener it belongs to, the new dispatcher knows by its address.
            passed.push(PassedSocket { role: SocketRole::Mgcp, address: socket.local_addr(), listener: None });
            sockets.push(socket.as_fd());
        }
        for (about, socket) in self.listeners.passed() {
            passed.push(about);
            sockets.push(socket.as_fd());
        }
        let (name, key) = (Some(self.welcome.name.clone()), self.welcome.key.clone());
        let hello = Hello { name, key, sockets: passed, ..hello };
        Comeback::begin(link, hello, &sockets, self.holdings.transactions(now), conferences, now)
    }

    /// The link to a new dispatcher has something to say, or takes more.
    pub(super) fn on_comeback(&mut self, now: Time) {
        let Some(comeback) = self.comeback.take() else { return };
        match comeback.go_on(now) {
            Progress::Waiting(comeback) => self.comeback = Some(comeback),
            Progress::Welcome(link, welcome, descriptors) => self.on_welcome(link, *welcome, descriptors),
            Progress::Refused(reason) => {
                self.meanwhile.clear();
                if self.stage.on_refused(&reason, now) {
                    tracing::warn!(reason, "a new dispatcher does not let this worker in; calls go on");
                }
            }
            Progress::Failed => {
                self.meanwhile.clear();
                self.stage.on_failed(now);
            }
        }
    }

    /// A new dispatcher has welcomed us back. The slot's sockets, which it gave back, are ours already.
    pub(super) fn on_welcome(&mut self, link: LinkEnd, mut welcome: Welcome, descriptors: Vec<OwnedFd>) {
        welcome.mgcp.take_if(|_| !self.settings.gateway);
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
        self.uas.set_listeners(self.listeners.addresses(), self.listeners.held());
        self.mgcp.set_listeners(&welcome, &self.listeners);
        if self.settings.capacity.is_none() {
            self.uas.set_units(welcome.capacity);
        }
        self.holdings.set_key(welcome.key.clone());
        self.set_access(&welcome.access);
        self.welcome = welcome;
        if let Err(error) = self.links.set(link, Back::new(), more, &self.poll) {
            tracing::warn!(%error, "a lane of the dispatcher cannot be heard");
        }
        self.pace = Pace::new();
        self.stage.on_welcome();
        tracing::info!(calls = self.figures(clock::now()).sessions, "back with a dispatcher");
        std::mem::take(&mut self.meanwhile).into_iter().for_each(|change| self.tell(change));
    }
}
