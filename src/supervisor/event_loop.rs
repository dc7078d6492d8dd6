//! The supervisor: starts the workers of this dispatcher, welcomes, watches and replaces them, and retires them at the
//! end.
//!
//! One loop works off one queue of [`Event`]s. Every task beside it (waiting for a process, reading a
//! `Hello`, serving a client of the stats socket) ends by putting one into the queue. Nothing here is hot.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::time::sleep;
use tracing::{debug, error, info, warn};

use super::admission::{Origin, Readmitted};
use super::child;
use super::handoff_socket::{accept_connections, read_hello};
use super::reattach::{Reattached, ReattachedWorker};
use super::run_dir_refresh::RunDirRefresh;
use super::service_manager::ServiceManager;
use super::slot_state::{self, Phase, Restart, SlotState};
use super::sockets::{Listeners, SlotSockets};
use super::takeover::predecessor::{DispatcherFds, PendingTakeover};
use super::takeover::state::SlotCopy;
use super::takeover::successor::InheritedSlot;
use crate::admin;
use crate::admin::protocol::{Command, Reply};
use crate::admin::server::{Others, StatsListener};
use crate::config::{Config, Source};
use crate::dispatch::decision::Admin;
use crate::ids::{Incarnation, LinkId, TokenKey, WorkerId};
use crate::net::bind::BindError;
use crate::net::clock;
use crate::net::process::{self, Process};
use crate::net::unix::{SeqListener, SeqPacket};
use crate::pack::packed;
use crate::server;
use crate::switch::Parting;
use crate::time::Time;
use crate::words::Hello;
use crate::words::takeover::Ask;

/// Longest time from a child's start to its `Hello`.
const CHILD_HELLO: Duration = Duration::from_secs(10);
/// Time between the end of `stop-after` and the kill of the workers that are still there.
const STOP_GRACE: Duration = Duration::from_secs(1);
/// Interval at which slots that are leaving are looked at.
const CHECK_EVERY: Duration = Duration::from_secs(1);

/// Something the supervisor's loop acts on.
#[derive(Debug)]
pub(super) enum Event {
    /// A worker process has ended.
    Exited { worker: WorkerId, pid: u32, how: String },
    /// A process has connected to the handoff socket.
    Connected { link: SeqPacket },
    /// A link has sent its `Hello`, or failed to. `child` is the process that it was made for.
    Introduced { origin: Origin, child: Option<u32>, link: SeqPacket, hello: Result<Box<Hello>, String> },
    /// A client of the stats socket has sent a command.
    Command { command: Command, reply: oneshot::Sender<Reply> },
    /// Another dispatcher wants to take over.
    TakeoverRequested { link: SeqPacket, ask: Box<Ask> },
    /// SIGHUP.
    Reload,
    /// SIGTERM or SIGINT.
    Stop,
}

/// Sender of commands to the supervisor, for other parts of this process.
#[derive(Clone, Debug)]
pub struct CommandSender(mpsc::UnboundedSender<Event>);

impl CommandSender {
    /// Sends a command of the stats socket to the supervisor and waits for the answer.
    pub async fn ask(self, command: Command) -> Reply {
        let (reply, answer) = oneshot::channel();
        let gone = || Reply::error("the dispatcher is stopping");
        match self.0.send(Event::Command { command, reply }) {
            Ok(()) => answer.await.unwrap_or_else(|_| gone()),
            Err(_) => gone(),
        }
    }

    /// CommandSender a reload of the configuration.
    pub fn reload(&self) {
        // A supervisor that is gone has nothing to reload.
        let _ = self.0.send(Event::Reload);
    }

    /// Orders a stop: the first one lets the workers end their calls, a second one stops them at once.
    pub fn stop(&self) {
        let _ = self.0.send(Event::Stop);
    }
}

/// A configured slot with all that belongs to it.
#[derive(Debug)]
pub(super) struct Slot {
    pub(super) state: SlotState,
    pub(super) sockets: SlotSockets,
    /// The running process.
    pub(super) process: Option<Arc<Process>>,
    /// Incarnation of that process, once it has introduced itself.
    pub(super) incarnation: Option<Incarnation>,
    /// The incarnation before it, whose process has died.
    pub(super) predecessor: Option<Incarnation>,
    /// Admin state that the operator has set; a reload does not change it.
    pub(super) admin: Admin,
    /// Whether it drains because the configuration has fewer slots now.
    pub(super) leaving: bool,
    /// End of its last process, in words, until another introduces itself.
    pub(super) fault: String,
}

/// Everything that the supervisor is started with.
#[derive(Debug)]
pub struct Resources {
    /// The configuration.
    pub config: Config,
    /// Source from which a reload reads the configuration again.
    pub source: Source,
    /// The secret of tokens.
    pub key: TokenKey,
    /// The well-known sockets.
    pub listeners: Listeners,
    /// The socket for workers that the dispatcher did not start.
    pub handoff: SeqListener,
    /// The socket for operators.
    pub stats: StatsListener,
    /// Descriptors to pass on when another dispatcher takes over.
    pub fds: DispatcherFds,
    /// The files of the run directory.
    pub run_dir_refresh: RunDirRefresh,
    /// The running lanes.
    pub lanes: server::Lanes,
    /// Events of the lanes.
    pub lane_events: mpsc::UnboundedReceiver<server::Event>,
    /// Seed of the hash that assigns calls to lanes.
    pub seed: u64,
}

/// All workers of this dispatcher.
#[derive(Debug)]
pub struct Supervisor {
    pub(super) config: Config,
    pub(super) source: Source,
    pub(super) key: TokenKey,
    /// Path of the socket to which a child connects when its link ends.
    pub(super) handoff: PathBuf,
    pub(super) listeners: Listeners,
    pub(super) fds: DispatcherFds,
    pub(super) run_dir_refresh: RunDirRefresh,
    pub(super) lanes: server::Lanes,
    pub(super) lane_events: mpsc::UnboundedReceiver<server::Event>,
    pub(super) seed: u64,
    pub(super) slots: Vec<Slot>,
    /// Workers that came by themselves, placed after the configured slots.
    pub(super) unmanaged: BTreeMap<WorkerId, UnmanagedWorker>,
    pub(super) awaiting_hello: usize,
    /// Start of the current second, and the number of refusals in it.
    pub(super) refusals: (Time, u32),
    pub(super) event_sender: mpsc::UnboundedSender<Event>,
    pub(super) events: mpsc::UnboundedReceiver<Event>,
    /// Events that arrived during a takeover that has failed: they come first.
    pub(super) backlog: VecDeque<Event>,
    /// The dispatcher that waits to take over.
    pub(super) pending_takeover: Option<PendingTakeover>,
    pub(super) stopping: Option<Stopping>,
    /// Whether the log says already that no worker comes up.
    pub(super) said_no_worker: bool,
    pub(super) check_at: Time,
    pub(super) started: Time,
    pub(super) service_manager: ServiceManager,
    /// The id that was given to the last worker's links.
    pub(super) last_link: LinkId,
}

/// The lane's thread is gone, which only a bug can cause.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the lane has stopped, a fault of this program; its last words are above, calls in progress go on")]
pub struct LaneDied;

/// The reason for which the event loop has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// An order ended it; every worker has gone.
    Stopped,
    /// Another dispatcher has taken over everything.
    TakenOver {
        /// Its process id; 0 where it lives in another pid namespace.
        by: u32,
    },
}

/// A worker that came by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnmanagedWorker {
    pub(super) pid: u32,
    /// Its incarnation.
    pub(super) incarnation: Incarnation,
    /// The id of the links that it has, or had last.
    pub(super) link: LinkId,
    /// Address at which it takes calls.
    pub(super) address: SocketAddr,
    /// All its addresses.
    pub(super) addresses: Vec<SocketAddr>,
    /// The name it gave itself.
    pub(super) name: Option<String>,
    /// The program that it named in its `Hello`.
    pub(super) program: String,
    /// Admin state that the operator has set.
    pub(super) admin: Admin,
    /// Whether it is gone without a goodbye: it is shown as down until it comes back, or is forgotten.
    pub(super) is_down: bool,
}

packed!(UnmanagedWorker { pid, incarnation, link, address, addresses, name, program, admin, is_down });

/// An orderly stop in progress.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stopping {
    /// Time at which workers that are still there are killed.
    kill_at: Time,
}

impl Supervisor {
    /// A supervisor whose workers are all due to be started, except those that have come back. `slots` has the slots'
    /// sockets, including those of reattached workers in slots beyond the configured ones.
    pub fn new(resources: Resources, slots: Vec<SlotSockets>, reattached: Reattached) -> Self {
        let now = clock::now();
        let mut supervisor = Supervisor::without_slots(resources, now);
        let configured = usize::from(supervisor.config.workers);
        for (at, sockets) in slots.into_iter().enumerate() {
            supervisor.add_slot(sockets, now);
            if let Some(slot) = supervisor.slots.last_mut().filter(|_| at >= configured) {
                (slot.state, slot.leaving) = (SlotState::retired(), true);
            }
        }
        reattached.workers.into_iter().for_each(|found| supervisor.reattach(found, now));
        for (link, hello) in reattached.unmanaged {
            supervisor.awaiting_hello += 1;
            supervisor.on_introduced(Origin::Unmanaged, None, link, Ok(Box::new(hello)));
        }
        supervisor
    }

    /// The supervisor of a dispatcher that has taken over. Its lanes have the links already. `more` has the sockets of
    /// slots that are new.
    pub(super) fn inherit(
        resources: Resources,
        started: Time,
        slots: Vec<InheritedSlot>,
        unmanaged: Vec<(WorkerId, UnmanagedWorker)>,
        more: Vec<SlotSockets>,
    ) -> Self {
        let now = clock::now();
        let mut supervisor = Supervisor::without_slots(resources, now);
        supervisor.started = started;
        supervisor.unmanaged = unmanaged.into_iter().collect();
        for InheritedSlot { copy, sockets, process } in slots {
            supervisor.add_slot(sockets, now);
            let worker = WorkerId((supervisor.slots.len() - 1) as u16);
            let process = process.map(|process| supervisor.watch(worker, process));
            if let Some(slot) = supervisor.slots.last_mut() {
                let SlotCopy { state, sip: _, mgcp: _, process: _, incarnation, admin, leaving } = copy;
                let (sockets, predecessor) = (std::mem::take(&mut slot.sockets), None);
                let fault = String::new();
                *slot = Slot { state, sockets, process, incarnation, predecessor, admin, leaving, fault };
            }
        }
        supervisor.fit_slots(more, now);
        supervisor
    }

    /// A supervisor that has no slots yet.
    fn without_slots(resources: Resources, now: Time) -> Self {
        let (event_sender, events) = mpsc::unbounded_channel();
        let Resources {
            config,
            source,
            key,
            listeners,
            handoff,
            stats,
            fds,
            run_dir_refresh,
            lanes,
            lane_events,
            seed,
        } = resources;
        let service_manager = ServiceManager::new(now);
        service_manager.keep(listeners.descriptors());
        let path = handoff.path().to_owned();
        tokio::spawn(accept_connections(handoff, event_sender.clone()));
        let commands = CommandSender(event_sender.clone());
        let others = if config.stats_group.is_some() { Others::MayRead } else { Others::TurnedAway };
        tokio::spawn(admin::server::serve(stats, others, move |command| commands.clone().ask(command)));
        Supervisor {
            config,
            source,
            key,
            handoff: path,
            listeners,
            fds,
            run_dir_refresh,
            lanes,
            lane_events,
            seed,
            slots: Vec::new(),
            unmanaged: BTreeMap::new(),
            awaiting_hello: 0,
            refusals: (now, 0),
            event_sender,
            events,
            backlog: VecDeque::new(),
            pending_takeover: None,
            stopping: None,
            said_no_worker: false,
            check_at: now + CHECK_EVERY,
            started: now,
            service_manager,
            last_link: LinkId(0),
        }
    }

    /// A sender of commands for other parts of this process.
    pub fn command_sender(&self) -> CommandSender {
        CommandSender(self.event_sender.clone())
    }

    /// Runs until the orderly stop is over and every worker has gone, or until another dispatcher has taken over.
    ///
    /// # Errors
    /// The lane has panicked. The workers live on and serve their calls.
    pub async fn serve(mut self) -> Result<Ending, LaneDied> {
        while !self.is_over() {
            if !self.lanes.are_running() {
                return Err(LaneDied);
            }
            let now = clock::now();
            if let Some(by) = self.hand_over_when_due(now).await {
                return Ok(Ending::TakenOver { by });
            }
            self.start_due(now);
            self.kill_overdue(now);
            self.refresh_run_dir(now);
            // The clock decides, not a quiet second: a client that watches all the time leaves no quiet second.
            if self.check_at <= now {
                self.check_at = now + CHECK_EVERY;
                self.collect_orphans();
                self.retire_idle_workers().await;
            }
            // Lanes that wait for a successor to take over do not answer this now.
            if self.pending_takeover.is_none() && self.service_manager.poll_timeout().is_some_and(|due| due <= now) {
                match self.snapshot().await {
                    Ok(load) => self.service_manager.on_healthy(&load, clock::now()),
                    Err(error) => {
                        warn!("{error}");
                        self.service_manager.postpone(clock::now());
                    }
                }
            }
            if let Some(event) = self.backlog.pop_front() {
                self.on_event(event).await;
                continue;
            }
            let until = self.poll_timeout().map_or(self.check_at, |at| at.min(self.check_at));
            tokio::select! {
                Some(event) = self.events.recv() => self.on_event(event).await,
                Some(event) = self.lane_events.recv() => self.on_lane_event(event),
                () = sleep(until.since(clock::now())) => {}
            }
        }
        Ok(Ending::Stopped)
    }

    pub(super) const fn is_stopping(&self) -> bool {
        self.stopping.is_some()
    }

    fn is_over(&self) -> bool {
        self.is_stopping() && self.slots.iter().all(|slot| slot.process.is_none())
    }

    fn poll_timeout(&self) -> Option<Time> {
        let starts = slot_state::next_start(self.slots.iter().map(|slot| slot.state));
        let others = [
            self.takeover_deadline(),
            Some(self.run_dir_refresh.poll_timeout()),
            self.service_manager.poll_timeout().filter(|_| self.pending_takeover.is_none()),
            self.stopping.map(|stopping| stopping.kill_at),
        ];
        starts.into_iter().chain(others.into_iter().flatten()).min()
    }

    /// Keeps the run directory's files fresh. A dispatcher that takes over gets the lock as it is now.
    fn refresh_run_dir(&mut self, now: Time) {
        if self.run_dir_refresh.poll_timeout() > now {
            return;
        }
        self.run_dir_refresh.handle_timeout(now);
        match self.run_dir_refresh.lock() {
            Ok(lock) => self.fds.lock = lock,
            Err(error) => warn!("the run directory's lock: {error}"),
        }
    }

    async fn on_event(&mut self, event: Event) {
        match event {
            Event::Exited { worker, pid, how } => self.on_exit(worker, pid, &how),
            Event::Connected { link } => self.on_connected(link),
            Event::Introduced { origin, child, link, hello } => self.on_introduced(origin, child, link, hello),
            Event::Command { command, reply } => {
                // A client that has gone was told, or will believe, that nothing was done.
                if reply.is_closed() {
                    return info!("not carried out, whoever asked has gone: {}", command.to_line());
                }
                let answer = self.answer(command).await;
                // A client that hung up does not want its answer.
                let _ = reply.send(answer);
            }
            Event::TakeoverRequested { link, ask } => {
                self.awaiting_hello -= 1;
                self.on_takeover_requested(link, &ask);
            }
            Event::Reload => {
                // The result of the reload is in the log.
                let _ = self.reload();
            }
            Event::Stop => self.on_stop(),
        }
    }

    // -- processes --

    /// The running process of a slot.
    pub(super) fn process_of(&self, worker: WorkerId) -> Option<&Process> {
        self.slots.get(usize::from(worker.0))?.process.as_deref()
    }

    pub(super) fn add_slot(&mut self, sockets: SlotSockets, now: Time) {
        let worker = WorkerId(self.slots.len() as u16);
        if let Err(error) = sockets.serve(worker, &self.lanes) {
            warn!(%worker, "its ports cannot be served while it has no worker: {error}");
        }
        self.slots.push(Slot {
            state: SlotState::new(now),
            sockets,
            process: None,
            incarnation: None,
            predecessor: None,
            admin: Admin::Ready,
            leaving: false,
            fault: String::new(),
        });
    }

    fn start_due(&mut self, now: Time) {
        if self.is_stopping() {
            return;
        }
        let due: Vec<usize> = slot_state::to_start(self.slots.iter().map(|slot| slot.state), now).collect();
        due.into_iter().for_each(|at| self.start(WorkerId(at as u16), now));
    }

    fn start(&mut self, worker: WorkerId, now: Time) {
        let slot = &mut self.slots[usize::from(worker.0)];
        if let Err(error) = fit_sockets(&self.config, &self.listeners, worker, slot, &self.lanes) {
            warn!(%worker, "{error}");
            slot.fault = error.to_string();
            let restart = slot.state.on_death(now);
            return self.on_process_lost(restart.and_then(|restart| restart.crash_loop), now);
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
        // A worker that dies before its welcome has had no name that a peer knows.
        slot.predecessor = slot.incarnation.take().or(slot.predecessor);
        let queue = self.event_sender.clone();
        tokio::spawn(async move {
            let how = child::describe(&started.child.ended().await);
            let _ = queue.send(Event::Exited { worker, pid, how });
        });
        tokio::spawn(read_hello(
            Origin::Child(worker),
            Some(pid),
            started.link,
            CHILD_HELLO,
            self.event_sender.clone(),
        ));
    }

    fn on_exit(&mut self, worker: WorkerId, pid: u32, how: &str) {
        let stopping = self.stopping.is_some();
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
        let nobody = self.unmanaged.values().all(|it| it.is_down) && self.slots.iter().all(|slot| !slot.state.is_up());
        if crash_loop.is_some() && nobody && !std::mem::replace(&mut self.said_no_worker, true) {
            error!("no worker comes up, every call is refused: the lines above tell why");
        }
    }

    pub(super) fn on_lane_event(&mut self, event: server::Event) {
        match event {
            server::Event::LinkLost { worker, incarnation, link, parting, why } => {
                self.on_link_lost(worker, (incarnation, link), parting, &why);
            }
            server::Event::Hung { worker, incarnation, link } => self.on_hung(worker, incarnation, link),
        }
    }

    /// Kills a worker that hangs: its messages move, and its successor gets the sockets, only when it is seen to end. A
    /// worker that came by itself is not the dispatcher's to kill: its link is closed, and it has to refuse messages
    /// that it reads after their deadline, which has passed.
    fn on_hung(&mut self, worker: WorkerId, incarnation: Incarnation, link: LinkId) {
        self.service_manager.update_soon(clock::now());
        if let Some(unmanaged) = self.unmanaged.get(&worker) {
            if !unmanaged.is_here_by(link) {
                return;
            }
            warn!(%worker, pid = unmanaged.pid, "says or reads nothing; its link is closed");
            self.lanes.send(|_| server::Command::HangUp { worker, link });
            return;
        }
        let Some(slot) = self.slots.get(usize::from(worker.0)) else { return };
        if let Some(process) = slot.process.as_ref().filter(|_| slot.incarnation == Some(incarnation)) {
            warn!(%worker, pid = process.pid(), "says or reads nothing and is killed");
            child::kill(process);
        }
    }

    fn on_link_lost(
        &mut self,
        worker: WorkerId,
        (incarnation, link): (Incarnation, LinkId),
        parting: Parting,
        why: &str,
    ) {
        // The links to the other lanes that the worker got with this one are of no use any more.
        self.lanes.send(|_| server::Command::EndLink { worker, link });
        if let Some(unmanaged) = self.unmanaged.get_mut(&worker) {
            if !unmanaged.is_here_by(link) {
                return;
            }
            let pid = unmanaged.pid;
            if parting == Parting::Lost {
                unmanaged.is_down = true;
                warn!(%worker, pid, "died: {why}; it is missed until it comes back, or `pointsman forget {worker}`");
                return;
            }
            info!(%worker, pid, "left: {why}");
            self.forget(worker);
            return;
        }
        let Some(slot) = self.slots.get_mut(usize::from(worker.0)) else { return };
        let Some(process) = &slot.process else { return };
        if self.stopping.is_some() || slot.leaving || slot.incarnation != Some(incarnation) {
            return;
        }
        // A worker without its link can do no more good, and must be gone before its successor gets the sockets.
        debug!(%worker, pid = process.pid(), "its link ended: {why}");
        child::kill(process);
    }

    /// Frees the place of a worker that came by itself for the next one. The operator's admin state was set for the
    /// worker that had it, so it does not stay.
    pub(super) fn forget(&mut self, worker: WorkerId) {
        self.unmanaged.remove(&worker);
        self.send_admin(worker, Admin::Ready);
    }

    /// A worker of an earlier dispatcher goes on under this one.
    fn reattach(&mut self, mut found: ReattachedWorker, now: Time) {
        found.renumber(&self.listeners.addresses());
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
                let links = std::iter::once(link).chain(more).collect();
                self.lanes.link(worker, links, &joined, Some(&brought));
            }
            Err(reason) => {
                warn!(%worker, pid, "could not come back and is killed: {reason}");
                child::kill(process);
            }
        }
        // The draining that the worker itself reports is all that is left of the operator's order.
        if hello.draining && !leaving {
            slot.admin = Admin::Drain;
        }
        if leaving {
            let drain_within = self.config.drain_after;
            self.lanes.send(|_| server::Command::Admin { worker, admin: Admin::Drain, drain_within });
        }
    }

    /// Watches a process that is not a child of this one, so that its end is noticed.
    fn watch(&self, worker: WorkerId, process: Process) -> Arc<Process> {
        let process = Arc::new(process);
        let (watched, queue) = (process.clone(), self.event_sender.clone());
        tokio::spawn(async move {
            let pid = watched.pid();
            child::until_end(watched).await;
            // Only the process's parent gets its exit status.
            let _ = queue.send(Event::Exited { worker, pid, how: "ended".to_owned() });
        });
        process
    }

    /// Collects orphans: as process 1 of a container this process is the parent of all of them.
    fn collect_orphans(&self) {
        if std::process::id() == 1 {
            process::collect_orphans(|pid| {
                self.slots.iter().any(|slot| slot.process.as_ref().is_some_and(|process| process.pid() == pid))
            });
        }
    }

    // -- the end --

    fn on_stop(&mut self) {
        let now = clock::now();
        match self.stopping {
            None => {
                info!("stopping: workers end their calls within {:?}", self.config.stop_after);
                let within = self.config.stop_after;
                self.service_manager.on_stopping();
                self.lanes.send(|_| server::Command::Stop { within });
                self.stopping = Some(Stopping { kill_at: now + self.config.stop_after + STOP_GRACE });
                // A worker that has not introduced itself has no calls and gets no `Stop`.
                for slot in &self.slots {
                    if let (Phase::Starting { .. }, Some(process)) = (slot.state.phase(), &slot.process) {
                        child::kill(process);
                    }
                }
            }
            Some(_) => {
                info!("stopping at once");
                self.stopping = Some(Stopping { kill_at: now });
            }
        }
    }

    fn kill_overdue(&mut self, now: Time) {
        let Some(Stopping { kill_at }) = self.stopping else { return };
        if kill_at > now {
            return;
        }
        for process in self.slots.iter().filter_map(|slot| slot.process.as_ref()) {
            warn!(pid = process.pid(), "a worker did not stop in time and is killed");
            child::kill(process);
        }
        self.stopping = Some(Stopping { kill_at: now + STOP_GRACE });
    }
}

/// Makes sure, before a worker is started in a slot, that the slot has the sockets that the configuration says. They
/// differ once: after a worker that came back with the sockets of another configuration.
fn fit_sockets(
    config: &Config,
    listeners: &Listeners,
    worker: WorkerId,
    slot: &mut Slot,
    lanes: &server::Lanes,
) -> Result<(), BindError> {
    if slot.leaving || slot.sockets.fits(config, listeners, worker) {
        return Ok(());
    }
    slot.sockets.fit(config, listeners, worker)?;
    if let Err(error) = slot.sockets.serve(worker, lanes) {
        warn!(%worker, "its ports cannot be served while it has no worker: {error}");
    }
    Ok(())
}
