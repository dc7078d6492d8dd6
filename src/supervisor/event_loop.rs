//! The supervisor: starts the workers of this dispatcher, welcomes, watches and replaces them, and retires them at the
//! end.
//!
//! One loop takes [`Event`]s from one queue. Every other task (waiting for a process, reading a `Hello`, serving a
//! client of the stats socket) ends by putting one into the queue. Nothing here is on the path of a message.

use std::collections::{BTreeMap, VecDeque};
use std::path::PathBuf;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::sleep;
use tracing::{info, warn};

use super::admission::Origin;
use super::event::{CommandSender, Event};
use super::handoff_socket::accept_connections;
use super::lan::LanListener;
use super::proxy_states::ProxyStates;
use super::reattach::Reattached;
use super::run_dir_refresh::RunDirRefresh;
use super::service_manager::ServiceManager;
use super::slot::Slot;
use super::slot_state::{self, SlotState};
use super::sockets::{Listeners, SlotSockets};
use super::takeover::{DispatcherFds, PendingTakeover};
use super::unmanaged::UnmanagedWorker;
use crate::admin;
use crate::admin::listener::StatsListener;
use crate::admin::rights::OtherUsers;
use crate::config::{Config, Source};
use crate::fingerprint::Printer;
use crate::ids::{LinkId, TokenKey, WorkerId};
use crate::net::clock;
use crate::net::conns::Pumped;
use crate::net::lan::Connected;
use crate::net::tls::ProxyKinds;
use crate::net::unix::SeqListener;
use crate::prober::{Plan, Prober};
use crate::server;
use crate::time::Time;

/// Interval at which slots that are leaving are checked.
const CHECK_EVERY: Duration = Duration::from_secs(1);

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
    /// The listener for workers on other hosts.
    pub lan: Option<LanListener>,
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
    /// The protocol of the connections to downstream proxies.
    pub proxy_kinds: ProxyKinds,
}

/// The supervisor of all workers of this dispatcher.
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
    /// The protocol of the connections to downstream proxies, by the certificates that were read last.
    pub(super) proxy_kinds: ProxyKinds,
    pub(super) slots: Vec<Slot>,
    /// Unmanaged workers; their slot numbers follow those of the configured slots.
    pub(super) unmanaged: BTreeMap<WorkerId, UnmanagedWorker>,
    /// Workers on other hosts, and the state of each one's connections.
    pub(super) lan: BTreeMap<WorkerId, Vec<Connected>>,
    pub(super) awaiting_hello: usize,
    /// Start of the current second, and the number of refusals in it.
    pub(super) refusals: (Time, u32),
    pub(super) event_sender: mpsc::UnboundedSender<Event>,
    pub(super) events: mpsc::UnboundedReceiver<Event>,
    /// Events that arrived during a takeover that has failed: they come first.
    pub(super) backlog: VecDeque<Event>,
    /// The dispatcher that waits to take over.
    pub(super) pending_takeover: Option<PendingTakeover>,
    /// In an orderly stop: the time at which workers that are still there are killed.
    pub(super) kill_at: Option<Time>,
    /// Whether the log has said already that no worker comes up.
    pub(super) said_no_worker: bool,
    pub(super) check_at: Time,
    pub(super) started: Time,
    pub(super) service_manager: ServiceManager,
    /// The id that was given to the last worker's links.
    pub(super) last_link: LinkId,
    pub(super) prober: Prober,
    pub(super) proxy_states: ProxyStates,
}

/// A lane's thread has ended, which only a bug can cause.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a lane has panicked, a fault of this program; its message is above, calls in progress go on")]
pub struct LaneDied;

/// The reason for which the event loop has ended.
#[derive(Debug)]
pub enum Ending {
    /// An order to stop; every worker has ended.
    Stopped,
    /// Another dispatcher has taken over everything.
    TakenOver {
        /// Its process id; 0 where it lives in another pid namespace.
        by: u32,
        /// TLS connections whose plaintext goes to it.
        pumped: Vec<Pumped>,
        /// Longest time for which these stay open.
        linger: Duration,
    },
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

    /// A supervisor that has no slots yet.
    pub(super) fn without_slots(resources: Resources, now: Time) -> Self {
        let (event_sender, events) = mpsc::unbounded_channel();
        let Resources {
            config,
            source,
            key,
            listeners,
            handoff,
            lan,
            stats,
            fds,
            run_dir_refresh,
            lanes,
            lane_events,
            seed,
            proxy_kinds,
        } = resources;
        let service_manager = ServiceManager::new(now);
        service_manager.keep(listeners.descriptors());
        let path = handoff.path().to_owned();
        tokio::spawn(accept_connections(handoff, event_sender.clone()));
        if let Some(lan) = lan {
            tokio::spawn(lan.accept(event_sender.clone()));
        }
        let teller = lanes.teller();
        let prober = Prober::new(lanes.count(), Printer::new(&key), move |findings| teller.tell(findings));
        let commands = CommandSender(event_sender.clone());
        let others = if config.stats_group.is_some() { OtherUsers::MayRead } else { OtherUsers::Refused };
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
            proxy_kinds,
            slots: Vec::new(),
            unmanaged: BTreeMap::new(),
            lan: BTreeMap::new(),
            awaiting_hello: 0,
            refusals: (now, 0),
            event_sender,
            events,
            backlog: VecDeque::new(),
            pending_takeover: None,
            kill_at: None,
            said_no_worker: false,
            check_at: now + CHECK_EVERY,
            started: now,
            service_manager,
            last_link: LinkId(0),
            prober,
            proxy_states: ProxyStates::default(),
        }
    }

    /// A sender of commands for other parts of this process.
    pub fn command_sender(&self) -> CommandSender {
        CommandSender(self.event_sender.clone())
    }

    /// Runs until the orderly stop is over and every worker has gone, or until another dispatcher has taken over.
    ///
    /// # Errors
    /// A lane has panicked. The workers live on and serve their calls.
    pub async fn serve(mut self) -> Result<Ending, LaneDied> {
        self.tell_certificates();
        self.follow_plan();
        while !self.is_over() {
            if !self.lanes.are_running() {
                return Err(LaneDied);
            }
            let now = clock::now();
            if let Some(by) = self.hand_over_when_due(now).await {
                let (pumped, linger) = (self.end_lanes().await, self.config.linger);
                return Ok(Ending::TakenOver { by, pumped, linger });
            }
            // Two dispatchers that probe would count each answer twice, and one that stops needs none.
            self.prober.set_resting(self.is_stopping() || self.pending_takeover.is_some());
            self.start_due(now);
            self.kill_overdue(now);
            self.refresh_run_dir(now);
            // Checked by the clock and not by the sleep below: events that come all the time would put it off for ever.
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

    /// Has the prober probe what the configuration says.
    pub(super) fn follow_plan(&mut self) {
        let streams = self.listeners.streams().map(|(id, socket)| (id, socket.local_addr()));
        let plan = Plan::new(&self.config, self.listeners.datagrams(), streams, self.proxy_kinds.clone());
        let plan = match plan {
            Ok(plan) => plan,
            Err(error) => return warn!("downstream proxies are probed as before: {error}"),
        };
        for proxy in plan.own_proxies() {
            warn!("proxy {}: {} is this dispatcher; give the address of another server", proxy.name, proxy.uri());
        }
        if let Err(error) = self.prober.follow(plan) {
            warn!("downstream proxies are not probed: {error}");
        }
        self.lanes.give(self.prober.take_mailboxes());
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
            self.kill_at,
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
            Event::OnLan { from, introduced } => self.on_lan(from, introduced),
            Event::Command { command, reply } => {
                // A client that has disconnected has had no answer, so the command must not be carried out later.
                if reply.is_closed() {
                    return info!("not carried out, the client has disconnected: {}", command.to_line());
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
}
