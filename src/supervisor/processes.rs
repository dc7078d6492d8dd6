//! Worker processes: started when their slot is due, watched, replaced when they end.

use std::sync::Arc;
use std::time::Duration;

use tracing::{debug, error, warn};

use super::admission::{Origin, Readmitted};
use super::child;
use super::event::Event;
use super::event_loop::Supervisor;
use super::handoff_socket::read_hello;
use super::reattach::ReattachedWorker;
use super::slot::Slot;
use super::slot_state::{self, Restart, SlotState};
use super::sockets::SlotSockets;
use crate::dispatch::decision::Admin;
use crate::ids::WorkerId;
use crate::net::clock;
use crate::net::process::{self, Process};
use crate::server;
use crate::server::link_socket::GivenLink;
use crate::time::Time;

/// Longest time from a child's start to its `Hello`.
const CHILD_HELLO: Duration = Duration::from_secs(10);

impl Supervisor {
    /// The running process of a slot.
    pub(super) fn process_of(&self, worker: WorkerId) -> Option<&Process> {
        self.slots.get(usize::from(worker.0))?.process.as_deref()
    }

    /// Adds a slot after the last one; its first worker is due at once.
    pub(super) fn add_slot(&mut self, sockets: SlotSockets, now: Time) {
        let worker = WorkerId(self.slots.len() as u16);
        let slot = Slot::new(sockets, now);
        slot.serve_sockets(worker, &self.lanes);
        self.slots.push(slot);
    }

    /// Starts the workers that are due.
    pub(super) fn start_due(&mut self, now: Time) {
        if self.is_stopping() {
            return;
        }
        let due: Vec<usize> = slot_state::to_start(self.slots.iter().map(|slot| slot.state), now).collect();
        due.into_iter().for_each(|at| self.start(WorkerId(at as u16), now));
    }

    fn start(&mut self, worker: WorkerId, now: Time) {
        let slot = &mut self.slots[usize::from(worker.0)];
        match slot.fit_sockets(&self.config, &self.listeners, worker) {
            Ok(false) => {}
            Ok(true) => slot.serve_sockets(worker, &self.lanes),
            Err(error) => {
                warn!(%worker, "{error}");
                slot.fault = error.to_string();
                let restart = slot.state.on_death(now);
                return self.on_process_lost(restart.and_then(|restart| restart.crash_loop), now);
            }
        }
        let started = match child::start(worker, &self.handoff) {
            Ok(started) => started,
            Err(error) => {
                warn!(%worker, "cannot start its process: {error}");
                slot.fault = format!("cannot be started: {error}");
                let restart = slot.state.on_death(now);
                self.on_process_lost(restart.and_then(|restart| restart.crash_loop), now);
                return;
            }
        };
        let pid = started.process.pid();
        debug!(%worker, pid, "started");
        slot.state.on_started(pid, now);
        slot.process = Some(Arc::new(started.process));
        // A worker that dies before its welcome has given no peer a token.
        slot.predecessor = slot.incarnation.take().or(slot.predecessor);
        let events = self.event_sender.clone();
        tokio::spawn(async move {
            let how = child::describe(&started.child.ended().await);
            let _ = events.send(Event::Exited { worker, pid, how });
        });
        tokio::spawn(read_hello(
            Origin::Child(worker),
            Some(pid),
            started.link,
            CHILD_HELLO,
            self.event_sender.clone(),
        ));
    }

    /// A worker process has ended.
    pub(super) fn on_exit(&mut self, worker: WorkerId, pid: u32, how: &str) {
        let stopping = self.is_stopping();
        let Some(slot) = self.slots.get_mut(usize::from(worker.0)) else { return };
        if slot.process.as_ref().is_none_or(|process| process.pid() != pid) {
            return;
        }
        slot.process = None;
        if stopping || slot.leaving {
            debug!(%worker, pid, "{how}");
            slot.state.retire();
            self.drop_left_slots();
            return;
        }
        let now = clock::now();
        let restart = slot.state.on_death(now);
        match restart {
            Some(Restart { at, crash_loop: Some(deaths) }) => error!(
                %worker, pid,
                "{how}; {deaths} deaths in a row, the next start is in {:?}: look at its log",
                at.since(now)
            ),
            Some(_) => warn!(%worker, pid, "{how}; a successor is started"),
            None => debug!(%worker, pid, "{how}"),
        }
        let crash_loop = restart.and_then(|restart| restart.crash_loop);
        slot.fault = crash_loop.map_or_else(|| how.to_owned(), |deaths| format!("{how}, {deaths} times in a row"));
        self.on_process_lost(crash_loop, now);
    }

    /// A slot has lost its process. When that happens again and again and no slot has a worker, one line must tell the
    /// operator: the dispatcher runs, and refuses every call.
    fn on_process_lost(&mut self, crash_loop: Option<u32>, now: Time) {
        self.service_manager.update_soon(now);
        let has_none =
            self.unmanaged.values().all(|it| it.is_down) && self.slots.iter().all(|slot| !slot.state.is_up());
        if crash_loop.is_some() && has_none && !std::mem::replace(&mut self.said_no_worker, true) {
            error!("no worker comes up, every call is refused: the lines above tell why");
        }
    }

    /// A worker of an earlier dispatcher goes on under this one.
    pub(super) fn reattach(&mut self, mut found: ReattachedWorker, now: Time) {
        let listeners: Vec<_> = self.listeners.datagrams().map(|(id, socket)| (id, socket.local_addr())).collect();
        found.renumber(&listeners);
        let ReattachedWorker { readmitted, link, process, hello, mut brought, sockets: _ } = found;
        let Readmitted { worker, incarnation, key } = readmitted;
        let pid = process.pid();
        if key != self.key {
            // The transactions are named with the key before, so a look-up would never find them.
            brought.transactions.clear();
        }
        let welcomed = self.welcome(worker, &link, &hello, Some((incarnation, key)));
        let process = self.watch(worker, process);
        let slot = &mut self.slots[usize::from(worker.0)];
        slot.state = SlotState::reattached(pid, now);
        slot.incarnation = Some(incarnation);
        let leaving = slot.leaving;
        let process = slot.process.insert(process);
        match welcomed {
            Ok((joined, more)) => {
                let links = std::iter::once(link).chain(more).map(GivenLink::Unix).collect();
                self.lanes.link(worker, links, &joined, Some(&brought));
            }
            Err(reason) => {
                warn!(%worker, pid, "could not come back and is killed: {reason}");
                child::kill(process);
            }
        }
        // The operator's order to drain died with the earlier dispatcher; the worker still reports that it drains.
        if hello.draining && !leaving {
            slot.admin = Admin::Drain;
        }
        if leaving {
            let drain_within = self.config.drain_after;
            self.lanes.send(|_| server::Command::Admin { worker, admin: Admin::Drain, drain_within });
        }
    }

    /// Watches a process that is not a child of this one, so that its end is noticed.
    pub(super) fn watch(&self, worker: WorkerId, process: Process) -> Arc<Process> {
        let process = Arc::new(process);
        let (watched, events) = (process.clone(), self.event_sender.clone());
        tokio::spawn(async move {
            let pid = watched.pid();
            child::until_end(watched).await;
            // Only the process's parent gets its exit status.
            let _ = events.send(Event::Exited { worker, pid, how: "ended".to_owned() });
        });
        process
    }

    /// Collects orphans: as process 1 of a container this process is the parent of all of them.
    pub(super) fn collect_orphans(&self) {
        if std::process::id() == 1 {
            process::collect_orphans(|pid| {
                self.slots.iter().any(|slot| slot.process.as_ref().is_some_and(|process| process.pid() == pid))
            });
        }
    }
}
