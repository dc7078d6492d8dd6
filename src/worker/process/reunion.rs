//! The dispatcher, as it comes and goes: the worker tells it, loses it, and finds the next one.

use std::io;
use std::os::fd::AsFd;

use super::{Meanwhile, Worker};
use crate::ids::Seq;
use crate::net::clock;
use crate::time::Time;
use crate::words::{Hello, PassedSocket, RefuseReason, SocketRole};
use crate::worker::application::Application;
use crate::worker::comeback::{Account, Comeback};
use crate::worker::link::{self, LinkEnd};
use crate::worker::tie::Tie;

impl<A: Application> Worker<A> {
    /// The final response to a handed-over message has left. The dispatcher of an earlier link has no use for its
    /// number; the present one knows the transaction by its name.
    pub(super) fn answered(&mut self, seq: Seq, now: Time) {
        let named = self.transactions.on_answered(seq, now);
        if !self.tie.links.answered(seq, now)
            && let Some(branch) = named
        {
            self.tell(Meanwhile::Released(branch));
        }
    }

    /// Gives a message back. One of an earlier link cannot be given back: the user agent answers it instead.
    pub(super) fn refuse(&mut self, seq: Seq, reason: RefuseReason) {
        self.transactions.on_refused(seq);
        self.tie.links.refuse(seq, reason);
    }

    /// Tells the dispatcher of a change. A dispatcher that has this worker's account and has not welcomed it yet is
    /// told later.
    pub(super) fn tell(&mut self, change: Meanwhile) {
        if !self.tie.links.is_up() {
            if self.tie.is_coming_back() {
                self.meanwhile.push(change);
            }
            return;
        }
        let told = match &change {
            Meanwhile::Released(branch) => {
                self.tie.links.release(*branch);
                Ok(())
            }
            Meanwhile::Opened(name, opened) => self.tie.links.group_open(*opened, name),
            Meanwhile::Closed(name) => self.tie.links.group_closed(name),
        };
        if let Err(error) = told {
            tracing::debug!(%error, "a conference cannot be reported to the dispatcher");
        }
    }

    pub(super) fn on_dispatcher_lost(&mut self, reason: &str) {
        // Pending output carries message numbers of these links, so it is sent before the links go.
        self.carry_out();
        if !self.tie.links.is_up() {
            return;
        }
        let calls = self.report(clock::now()).sessions;
        tracing::info!(reason, calls, "no dispatcher: calls go on");
        self.uas.on_dispatcher_lost();
        self.mgcp.gateway.on_dispatcher_lost();
        if !self.tie.stage.is_stopping() {
            if let Some(slot) = &mut self.slot {
                // The next dispatcher looks for the slot's lock before anything else.
                slot.restore();
                self.tie.listeners.stamp_arrivals();
            } else {
                // A new dispatcher does not wait for workers that came by themselves, and could not bind these sockets
                // while they are open here. Messages that would still leave from them leave from our own port.
                self.tie.listeners.close();
                self.uas.set_listeners(self.tie.listeners.addresses(), self.tie.listeners.held());
                self.mgcp.set_listeners(&self.tie.welcome, &self.tie.listeners);
            }
        }
        self.tie.on_dispatcher_lost(self.settings.handoff.is_some(), clock::now());
    }

    /// Links to a new dispatcher and begins to tell it what there is.
    pub(super) fn come_back(&mut self, now: Time) -> io::Result<Comeback> {
        let path = self.settings.handoff.as_deref().ok_or(io::ErrorKind::NotFound)?;
        if let Some(slot) = &mut self.slot {
            slot.restore();
        }
        let link = LinkEnd::connect(path, &self.sources.poll)?;
        let hello = Hello { draining: self.uas.is_draining(), ..self.settings.hello() };
        let hello = self.tie.hello_again(&self.report(now), hello);
        let mut conferences = self.conferences.open();
        conferences.extend(self.open_calls());
        if self.slot.is_none() {
            // The worker introduces itself as at its first start, and tells the rest after the welcome.
            let hello = Hello { ports: link::ports(&self.own, &self.mgcp.own), ..hello };
            self.meanwhile = conferences.into_iter().map(|(since, name)| Meanwhile::Opened(name, since)).collect();
            return Comeback::begin(link, hello, &[], Account::default(), now);
        }
        self.meanwhile.clear();
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
            // The new dispatcher knows by the address which listener the socket belongs to.
            passed.push(PassedSocket { role: SocketRole::Mgcp, address: socket.local_addr(), listener: None });
            sockets.push(socket.as_fd());
        }
        for (about, socket) in self.tie.listeners.passed() {
            passed.push(about);
            sockets.push(socket.as_fd());
        }
        let (name, key) = (Some(self.tie.welcome.name.clone()), self.tie.welcome.key.clone());
        let hello = Hello { name, key, sockets: passed, ..hello };
        let messages = self.transactions.unanswered(self.uas.unanswered());
        let account = Account { transactions: self.transactions.all(now), conferences, messages };
        Comeback::begin(link, hello, &sockets, account, now)
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
        let Tie { welcome, listeners, .. } = &mut self.tie;
        if !self.settings.gateway {
            welcome.mgcp = None;
        }
        self.uas.set_listeners(listeners.addresses(), listeners.held());
        self.mgcp.set_listeners(welcome, listeners);
        if self.settings.capacity.is_none() {
            self.uas.set_units(welcome.capacity);
        }
        self.transactions.set_key(welcome.key.clone());
        let access = welcome.access.clone();
        self.set_access(&access);
        tracing::info!(calls = self.report(clock::now()).sessions, "back with a dispatcher");
        std::mem::take(&mut self.meanwhile).into_iter().for_each(|change| self.tell(change));
    }
}
