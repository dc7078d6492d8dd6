//! The control side's commands to a lane.

use std::io;
use std::thread;

use mio::Token;
use tracing::info;

use super::stage::Stage;
use super::{FIRST_LINK, Lane};
use crate::dispatch::decision::{Brought, Joined};
use crate::ids::WorkerId;
use crate::net::conns::CloseReason;
use crate::net::{clock, memory};
use crate::server::link_socket::{GivenLink, LinkSocket};
use crate::server::ports::SlotSockets;
use crate::server::stats::Counters;
use crate::server::{Command, Event, LaneCounters, LaneLoad, ProxyOrder};
use crate::switch::Parting;
use crate::time::Time;

impl Lane {
    /// Carries out one command.
    pub(super) fn on_command(&mut self, command: Command) {
        let now = clock::now();
        self.certified.clear();
        match command {
            Command::Link { worker, link, joined, brought } => {
                self.on_link(worker, link, &joined, brought.as_deref(), now);
            }
            Command::Attach { worker, link, connection, read, shown } => {
                let attached =
                    self.switch.link_socket(worker, link).map(|socket| socket.attach(*connection, read, shown));
                self.on_attached(worker, attached);
            }
            Command::EndLink { worker, link } => {
                let ended = self.switch.end_link_of(worker, link, now).map(|incarnation| (incarnation, link));
                let why = "its link to another lane has ended";
                self.on_link_ended(worker, ended, Parting::Lost, why.to_owned());
            }
            Command::Connection(moved) => self.on_connection(*moved),
            Command::GiveSockets(reply) => drop(reply.send(self.conns.give_sockets())),
            Command::Adopt(sockets, reply) => drop(reply.send(self.conns.adopt(sockets, now))),
            Command::GivePumped(reply) => {
                // The one who asked may be gone: then the process ends.
                let _ = reply.send(self.conns.take_pumped());
                // The successor has the sockets of this lane; the process closes them here.
                loop {
                    thread::park();
                }
            }
            Command::Slot { worker, sockets, mgcp } => {
                self.ports.set_slot(worker, SlotSockets { sip: sockets, mgcp });
                if !self.switch.has_link(worker) {
                    self.serve_vacant(worker);
                }
            }
            Command::Close { worker } => self.ports.set_slot(worker, SlotSockets::default()),
            Command::Admin { worker, admin, drain_within } => self.switch.set_admin(worker, admin, drain_within),
            Command::Reload { rules, insert, workers } => {
                self.switch.reload(*rules, insert, workers, clock::now());
                let Lane { conns, switch, .. } = self;
                conns.close_where(CloseReason::Denied, |ends| switch.dispatch().denies(ends.remote.ip()));
            }
            Command::HangUp { worker, link } => {
                if self.switch.links().get(worker).is_some_and(|it| it.id == link) {
                    self.on_link_lost(worker, Parting::Lost, "it was silent for too long".to_owned());
                }
            }
            Command::Certificates(file) => self.switch.set_certificates(file),
            Command::ProxyKinds(kinds) => self.set_proxy_kinds(kinds, now),
            Command::Stop { within } => self.switch.stop(within),
            Command::Retire { worker, within } => self.switch.retire(worker, within),
            Command::Proxy { name, order } => match order {
                ProxyOrder::Admin(admin) => self.switch.set_proxy_admin(&name, admin),
                ProxyOrder::Handicap(handicap) => self.switch.set_handicap(&name, handicap, now),
            },
            Command::Found(findings) => self.switch.on_found(&findings, now),
            Command::Prober(mailbox) => self.mailbox = Some(mailbox),
            Command::Resume => self.resume(),
            // The supervisor that asked may be gone: then its answer is dropped, which does no harm.
            Command::Pause(reply) => self.stage = Stage::Pausing(reply),
            Command::Settle(reply) => {
                self.read_parcels(now);
                self.switch.settle(now);
                self.stage = Stage::Pausing(reply);
            }
            Command::Give(memory, reply) => drop(reply.send(self.give(memory))),
            Command::Take(given, reply) => drop(reply.send(self.take(given))),
            Command::Load(reply) => drop(reply.send(self.load(now))),
            Command::Counters(reply) => drop(reply.send(self.counters())),
            Command::Sources(reply) => drop(reply.send(self.conns.by_source())),
            Command::State(connection, reply) => drop(reply.send(self.state_of(connection))),
            Command::Explain { call_id, reply } => drop(reply.send(self.switch.explain(&call_id, now))),
        }
    }

    /// A worker has been welcomed, for the first time or with what it has `brought` from an earlier dispatcher.
    fn on_link(&mut self, worker: WorkerId, link: GivenLink, joined: &Joined, brought: Option<&Brought>, now: Time) {
        self.end_link(worker, "a successor has come", now);
        self.ports.close_vacant(worker);
        let socket = match self.watch_link(worker, link) {
            Ok(socket) => socket,
            Err(error) => {
                let Joined { incarnation, link, .. } = *joined;
                let (parting, why) = (Parting::Lost, error.to_string());
                // The control side is gone only when the process ends.
                let _ = self.control.send(Event::LinkLost { worker, incarnation, link, parting, why });
                return;
            }
        };
        match brought {
            None => {
                if self.switch.is_first() {
                    info!(%worker, "ready for calls");
                }
                self.switch.on_link(worker, socket, joined, now);
            }
            Some(brought) => {
                if self.switch.is_first() {
                    info!(%worker, sessions = brought.sessions, "back, with its calls");
                }
                self.switch.on_link_back(worker, socket, joined, brought, now);
                self.awaited = self.awaited.saturating_sub(1);
            }
        }
        if self.awaited == 0 {
            self.holding_until = None;
        }
    }

    /// A worker on another host has opened a connection for its link. One for another link than the present one was
    /// closed: its worker begins anew.
    fn on_attached(&mut self, worker: WorkerId, attached: Option<Result<(), String>>) {
        match attached {
            None => {}
            Some(Ok(())) => self.switch.on_link_event(worker, true, true),
            Some(Err(why)) => self.on_link_lost(worker, Parting::Lost, why),
        }
    }

    fn watch_link(&self, worker: WorkerId, link: GivenLink) -> io::Result<LinkSocket> {
        // Memory that the kernel refuses would end the process.
        if !memory::can_have([self.switch.retention_bytes()]) {
            return Err(io::ErrorKind::OutOfMemory.into());
        }
        LinkSocket::register(link, self.registry.clone(), Token(FIRST_LINK + usize::from(worker.0)))
    }

    fn load(&self, now: Time) -> LaneLoad {
        LaneLoad { connections: self.conns.count() as u64, ..self.switch.load(now) }
    }

    fn counters(&self) -> LaneCounters {
        let counters = Counters { listeners: self.ports.counters(), ..self.switch.counters() };
        LaneCounters { counters, streams: self.stream_counters() }
    }
}
