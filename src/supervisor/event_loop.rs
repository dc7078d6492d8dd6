//! The crew: all workers of this dispatcher, started, greeted, watched, replaced, and retired at the end.
//!
//! One loop works off one queue of [`Happening`]s. Every task beside it (waiting for a process, greeting a link,
//! serving a client of the stats socket) ends by putting one into the queue. Nothing here is hot.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::time::sleep;
use tracing::{debug, error, info, warn};

use super::admission::{Origin, Resumed};
use super::child;
use super::handoff_socket::{greet, take_outsiders};
use super::reattach::{Survivor, Survivors};
use super::run_dir_refresh::Upkeep;
use super::service_manager::Manager;
use super::slot_state::{self, Phase, Restart, Slot};
use super::sockets::{Listeners, SlotSockets};
use super::takeover::predecessor::{Asked, Estate};
use super::takeover::state::Seat;
use super::takeover::successor::Heir;
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
const LOOK_AROUND: Duration = Duration::from_secs(1);

/// Something the crew's loop acts on.
#[derive(Debug)]
pub(super) enum Happening {
    /// A worker process has ended.
    Exited { worker: WorkerId, pid: u32, how: String },
    /// A process has connected to the handoff socket.
    Knocked { link: SeqPacket },
    /// A link has sent its `Hello`, or failed to. `child` is the process that it was made for.
    Greeted { origin: Origin, child: Option<u32>, link: SeqPacket, hello: Result<Box<Hello>, String> },
    /// A client of the stats socket has sent a command.
    Asked { command: Command, reply: oneshot::Sender<Reply> },
    /// Another dispatcher wants to take over.
    TakeoverAsked { link: SeqPacket, ask: Box<Ask> },
    /// SIGHUP.
    Reload,
    /// SIGTERM or SIGINT.
    Stop,
}

/// Sender of orders to the crew, for other parts of this process.
#[derive(Clone, Debug)]
pub struct Orders(mpsc::UnboundedSender<Happening>);

impl Orders {
    /// Sends a command of the stats socket to the crew and waits for the answer.
    pub async fn ask(self, command: Command) -> Reply {
        let (reply, answer) = oneshot::channel();
        let gone = || Reply::error("the dispatcher is stopping");
        match self.0.send(Happening::Asked { command, reply }) {
            Ok(()) => answer.await.unwrap_or_else(|_| gone()),
            Err(_) => gone(),
        }
    }

    /// Orders a reload of the configuration.
    pub fn reload(&self) {
        // A crew that is gone has nothing to reload.
        let _ = self.0.send(Happening::Reload);
    }

    /// Orders a stop: the first order stops all in order, a second one at once.
    pub fn stop(&self) {
        let _ = self.0.send(Happening::Stop);
    }
}

/// A configured slot with all that belongs to it.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) slot: Slot,
    pub(super) sockets: SlotSockets,
    /// The running process.
    pub(super) leash: Option<Arc<Process>>,
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

/// Everything that the crew is started with.
#[derive(Debug)]
pub struct Muster {
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
    pub estate: Estate,
    /// The files of the run directory.
    pub upkeep: Upkeep,
    /// The running lanes.
    pub lanes: server::Lanes,
    /// Events of the lanes.
    pub lane_events: mpsc::UnboundedReceiver<server::Event>,
    /// Seed of the hash that assigns calls to lanes.
    pub seed: u64,
}

/// All workers of this dispatcher.
#[derive(Debug)]
pub struct Crew {
    pub(super) config: Config,
    pub(super) source: Source,
    pub(super) key: TokenKey,
    /// Path of the socket to which a child connects when its link ends.
    pub(super) handoff: PathBuf,
    pub(super) listeners: Listeners,
    pub(super) estate: Estate,
    pub(super) upkeep: Upkeep,
    pub(super) lanes: server::Lanes,
    pub(super) lane_events: mpsc::UnboundedReceiver<server::Event>,
    pub(super) seed: u64,
    pub(super) places: Vec<Place>,
    /// Workers that came by themselves, placed after the configured slots.
    pub(super) outsiders: BTreeMap<WorkerId, Outsider>,
    pub(super) ungreeted: usize,
    /// Start of the current second, and the number of refusals in it.
    pub(super) refusals: (Time, u32),
    pub(super) queue: mpsc::UnboundedSender<Happening>,
    pub(super) inbox: mpsc::UnboundedReceiver<Happening>,
    /// Happenings that arrived during a takeover that has failed: they come first.
    pub(super) backlog: VecDeque<Happening>,
    /// The dispatcher that waits to take over.
    pub(super) asked: Option<Asked>,
    pub(super) stopping: Option<Stopping>,
    /// Whether the log says already that no worker comes up.
    pub(super) is_barren: bool,
    pub(super) look_around_at: Time,
    pub(super) started: Time,
    pub(super) manager: Manager,
    /// The id that was given to the last worker's links.
    pub(super) last_link: LinkId,
}

/// The lane's thread is gone, which only a bug can cause.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the lane has stopped, a fault of this program; its last words are above, calls in progress go on")]
pub struct LaneDied;

/// End of a crew's work.
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
pub struct Outsider {
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

packed!(Outsider { pid, incarnation, link, address, addresses, name, program, admin, is_down });

/// An orderly stop in progress.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stopping {
    /// Time at which workers that are still there are killed.
    kill_at: Time,
}

impl Crew {
    /// A crew whose workers are all due to be started, except those that have come back. `slots` has the slots'
    /// sockets, including those of survivors in slots beyond the configured ones.
    pub fn new(muster: Muster, slots: Vec<SlotSockets>, survivors: Survivors) -> Self {
        let now = clock::now();
        let mut crew = Crew::alone(muster, now);
        let configured = usize::from(crew.config.workers);
        for (at, sockets) in slots.into_iter().enumerate() {
            crew.add_place(sockets, now);
            if let Some(place) = crew.places.last_mut().filter(|_| at >= configured) {
                (place.slot, place.leaving) = (Slot::retired(), true);
            }
        }
        survivors.workers.into_iter().for_each(|survivor| crew.resume(survivor, now));
        for (link, hello) in survivors.outsiders {
            crew.ungreeted += 1;
            crew.on_greeted(Origin::Outsider, None, link, Ok(Box::new(hello)));
        }
        crew
    }

    /// The crew of a dispatcher that has taken over. Its lanes have the links already. `more` has the sockets of slots
    /// that are new.
    pub(super) fn inherit(
        muster: Muster,
        started: Time,
        heirs: Vec<Heir>,
        outsiders: Vec<(WorkerId, Outsider)>,
        more: Vec<SlotSockets>,
    ) -> Self {
        let now = clock::now();
        let mut crew = Crew::alone(muster, now);
        crew.started = started;
        crew.outsiders = outsiders.into_iter().collect();
        for Heir { seat, sockets, process } in heirs {
            crew.add_place(sockets, now);
            let worker = WorkerId((crew.places.len() - 1) as u16);
            let leash = process.map(|process| crew.watch(worker, process));
            if let Some(place) = crew.places.last_mut() {
                let Seat { slot, sip: _, mgcp: _, process: _, incarnation, admin, leaving } = seat;
                let (sockets, predecessor) = (std::mem::take(&mut place.sockets), None);
                let fault = String::new();
                *place = Place { slot, sockets, leash, incarnation, predecessor, admin, leaving, fault };
            }
        }
        crew.fit_places(more, now);
        crew
    }

    /// A crew without places.
    fn alone(muster: Muster, now: Time) -> Self {
        let (queue, inbox) = mpsc::unbounded_channel();
        let Muster { config, source, key, listeners, handoff, stats, estate, upkeep, lanes, lane_events, seed } =
            muster;
        let manager = Manager::new(now);
        manager.keep(listeners.descriptors());
        let path = handoff.path().to_owned();
        tokio::spawn(take_outsiders(handoff, queue.clone()));
        let orders = Orders(queue.clone());
        let others = if config.stats_group.is_some() { Others::MayRead } else { Others::TurnedAway };
        tokio::spawn(admin::server::serve(stats, others, move |command| orders.clone().ask(command)));
        Crew {
            config,
            source,
            key,
            handoff: path,
            listeners,
            estate,
            upkeep,
            lanes,
            lane_events,
            seed,
            places: Vec::new(),
            outsiders: BTreeMap::new(),
            ungreeted: 0,
            refusals: (now, 0),
            queue,
            inbox,
            backlog: VecDeque::new(),
            asked: None,
            stopping: None,
            is_barren: false,
            look_around_at: now + LOOK_AROUND,
            started: now,
            manager,
            last_link: LinkId(0),
        }
    }

    /// A sender with which other parts of this process give the crew orders.
    pub fn orders(&self) -> Orders {
        Orders(self.queue.clone())
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
            if let Some(by) = self.give_when_due(now).await {
                return Ok(Ending::TakenOver { by });
            }
            self.start_due(now);
            self.kill_overdue(now);
            self.keep_up(now);
            // The clock decides, not a quiet second: a client that watches all the time leaves no quiet second.
            if self.look_around_at <= now {
                self.look_around_at = now + LOOK_AROUND;
                self.collect_orphans();
                self.look_around().await;
            }
            // Lanes that wait for a successor to take over do not answer this now.
            if self.asked.is_none() && self.manager.poll_timeout().is_some_and(|due| due <= now) {
                match self.snapshot().await {
                    Ok(load) => self.manager.on_well(&load, clock::now()),
                    Err(error) => {
                        warn!("{error}");
                        self.manager.wait(clock::now());
                    }
                }
            }
            if let Some(happening) = self.backlog.pop_front() {
                self.on_happening(happening).await;
                continue;
            }
            let until = self.poll_timeout().map_or(self.look_around_at, |at| at.min(self.look_around_at));
            tokio::select! {
                Some(happening) = self.inbox.recv() => self.on_happening(happening).await,
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
        self.is_stopping() && self.places.iter().all(|place| place.leash.is_none())
    }

    fn poll_timeout(&self) -> Option<Time> {
        let starts = slot_state::next_start(self.places.iter().map(|place| place.slot));
        let others = [
            self.give_until(),
            Some(self.upkeep.poll_timeout()),
            self.manager.poll_timeout().filter(|_| self.asked.is_none()),
            self.stopping.map(|stopping| stopping.kill_at),
        ];
        starts.into_iter().chain(others.into_iter().flatten()).min()
    }

    /// Keeps the run directory's files fresh. A dispatcher that takes over gets the lock as it is now.
    fn keep_up(&mut self, now: Time) {
        if self.upkeep.poll_timeout() > now {
            return;
        }
        self.upkeep.handle_timeout(now);
        match self.upkeep.lock() {
            Ok(lock) => self.estate.lock = lock,
            Err(error) => warn!("the run directory's lock: {error}"),
        }
    }

    async fn on_happening(&mut self, happening: Happening) {
        match happening {
            Happening::Exited { worker, pid, how } => self.on_exit(worker, pid, &how),
            Happening::Knocked { link } => self.on_knock(link),
            Happening::Greeted { origin, child, link, hello } => self.on_greeted(origin, child, link, hello),
            Happening::Asked { command, reply } => {
                // A client that has gone was told, or will believe, that nothing was done.
                if reply.is_closed() {
                    return info!("not carried out, whoever asked has gone: {}", command.to_line());
                }
                let answer = self.answer(command).await;
                // A client that hung up does not want its answer.
                let _ = reply.send(answer);
            }
            Happening::TakeoverAsked { link, ask } => {
                self.ungreeted -= 1;
                self.on_asked(link, &ask);
            }
            Happening::Reload => {
                // The result of the reload is in the log.
                let _ = self.reload();
            }
            Happening::Stop => self.on_stop(),
        }
    }

    // -- processes --

    /// The running process of a slot.
    pub(super) fn leash(&self, worker: WorkerId) -> Option<&Process> {
        self.places.get(usize::from(worker.0))?.leash.as_deref()
    }

    pub(super) fn add_place(&mut self, sockets: SlotSockets, now: Time) {
        let worker = WorkerId(self.places.len() as u16);
        if let Err(error) = sockets.serve(worker, &self.lanes) {
            warn!(%worker, "its ports cannot be served while it has no worker: {error}");
        }
        self.places.push(Place {
            slot: Slot::new(now),
            sockets,
            leash: None,
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
        let due: Vec<usize> = slot_state::to_start(self.places.iter().map(|place| place.slot), now).collect();
        due.into_iter().for_each(|at| self.start(WorkerId(at as u16), now));
    }

    fn start(&mut self, worker: WorkerId, now: Time) {
        let place = &mut self.places[usize::from(worker.0)];
        if let Err(error) = fit_sockets(&self.config, &self.listeners, worker, place, &self.lanes) {
            warn!(%worker, "{error}");
            place.fault = error.to_string();
            let restart = place.slot.on_death(now);
            return self.on_end(restart.and_then(|restart| restart.crash_loop), now);
        }
        let started = match child::start(worker, &self.handoff) {
            Ok(started) => started,
            Err(error) => {
                warn!(%worker, "cannot start its process: {error}");
                place.fault = format!("cannot be started: {error}");
                let restart = place.slot.on_death(now);
                self.on_end(restart.and_then(|restart| restart.crash_loop), now);
                return;
            }
        };
        let pid = started.leash.pid();
        debug!(%worker, pid, "started");
        place.slot.on_started(pid, now);
        place.leash = Some(Arc::new(started.leash));
        // A worker that dies before its welcome has had no name that a peer knows.
        place.predecessor = place.incarnation.take().or(place.predecessor);
        let queue = self.queue.clone();
        tokio::spawn(async move {
            let how = child::describe(&started.process.ended().await);
            let _ = queue.send(Happening::Exited { worker, pid, how });
        });
        tokio::spawn(greet(Origin::Child(worker), Some(pid), started.link, CHILD_HELLO, self.queue.clone()));
    }

    fn on_exit(&mut self, worker: WorkerId, pid: u32, how: &str) {
        let stopping = self.stopping.is_some();
        let Some(place) = self.places.get_mut(usize::from(worker.0)) else { return };
        if place.leash.as_ref().is_none_or(|leash| leash.pid() != pid) {
            return;
        }
        place.leash = None;
        if stopping || place.leaving {
            debug!(%worker, pid, "{how}");
            place.slot.retire();
            self.forget_left_places();
            return;
        }
        let now = clock::now();
        let restart = place.slot.on_death(now);
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
        place.fault = crash_loop.map_or_else(|| how.to_owned(), |deaths| format!("{how}, {deaths} times in a row"));
        self.on_end(crash_loop, now);
    }

    /// A slot has lost its process. When that happens again and again and no slot has a worker, one line must tell the
    /// operator: the dispatcher runs, and refuses every call.
    fn on_end(&mut self, crash_loop: Option<u32>, now: Time) {
        self.manager.hasten(now);
        let nobody =
            self.outsiders.values().all(|it| it.is_down) && self.places.iter().all(|place| !place.slot.is_up());
        if crash_loop.is_some() && nobody && !std::mem::replace(&mut self.is_barren, true) {
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
        self.manager.hasten(clock::now());
        if let Some(outsider) = self.outsiders.get(&worker) {
            if !outsider.is_here_by(link) {
                return;
            }
            warn!(%worker, pid = outsider.pid, "says or reads nothing; its link is closed");
            self.lanes.send(|_| server::Command::HangUp { worker, link });
            return;
        }
        let Some(place) = self.places.get(usize::from(worker.0)) else { return };
        if let Some(leash) = place.leash.as_ref().filter(|_| place.incarnation == Some(incarnation)) {
            warn!(%worker, pid = leash.pid(), "says or reads nothing and is killed");
            child::kill(leash);
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
        if let Some(outsider) = self.outsiders.get_mut(&worker) {
            if !outsider.is_here_by(link) {
                return;
            }
            let pid = outsider.pid;
            if parting == Parting::Lost {
                outsider.is_down = true;
                warn!(%worker, pid, "died: {why}; it is missed until it comes back, or `pointsman forget {worker}`");
                return;
            }
            info!(%worker, pid, "left: {why}");
            self.forget(worker);
            return;
        }
        let Some(place) = self.places.get_mut(usize::from(worker.0)) else { return };
        let Some(leash) = &place.leash else { return };
        if self.stopping.is_some() || place.leaving || place.incarnation != Some(incarnation) {
            return;
        }
        // A worker without its link can do no more good, and must be gone before its successor gets the sockets.
        debug!(%worker, pid = leash.pid(), "its link ended: {why}");
        child::kill(leash);
    }

    /// Frees the place of a worker that came by itself for the next one. The operator's admin state was set for the
    /// worker that had it, so it does not stay.
    pub(super) fn forget(&mut self, worker: WorkerId) {
        self.outsiders.remove(&worker);
        self.order(worker, Admin::Ready);
    }

    /// A worker of an earlier dispatcher goes on under this one.
    fn resume(&mut self, mut survivor: Survivor, now: Time) {
        survivor.renumber(&self.listeners.addresses());
        let Survivor { resumed, link, process, hello, mut brought, sockets: _ } = survivor;
        let Resumed { worker, incarnation, key } = resumed;
        let pid = process.pid();
        if key != self.key {
            // The transactions are named with the key before, so a look-up would never find them.
            brought.transactions.clear();
        }
        let welcomed = self.welcome(worker, &link, &hello, Some((incarnation, key)));
        let process = self.watch(worker, process);
        let place = &mut self.places[usize::from(worker.0)];
        place.slot = Slot::resumed(pid, now);
        place.incarnation = Some(incarnation);
        let leaving = place.leaving;
        let leash = place.leash.insert(process);
        match welcomed {
            Ok((joined, more)) => {
                let links = std::iter::once(link).chain(more).collect();
                self.lanes.link(worker, links, &joined, Some(&brought));
            }
            Err(reason) => {
                warn!(%worker, pid, "could not come back and is killed: {reason}");
                child::kill(leash);
            }
        }
        // The draining that the worker itself reports is all that is left of the operator's order.
        if hello.draining && !leaving {
            place.admin = Admin::Drain;
        }
        if leaving {
            let drain_within = self.config.drain_after;
            self.lanes.send(|_| server::Command::Admin { worker, admin: Admin::Drain, drain_within });
        }
    }

    /// Watches a process that is not a child of this one, so that its end is noticed.
    fn watch(&self, worker: WorkerId, process: Process) -> Arc<Process> {
        let process = Arc::new(process);
        let (watched, queue) = (process.clone(), self.queue.clone());
        tokio::spawn(async move {
            let pid = watched.pid();
            child::until_end(watched).await;
            // Only the process's parent gets its exit status.
            let _ = queue.send(Happening::Exited { worker, pid, how: "ended".to_owned() });
        });
        process
    }

    /// Collects orphans: as process 1 of a container this process is the parent of all of them.
    fn collect_orphans(&self) {
        if std::process::id() == 1 {
            process::collect_orphans(|pid| {
                self.places.iter().any(|place| place.leash.as_ref().is_some_and(|leash| leash.pid() == pid))
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
                self.manager.on_stopping();
                self.lanes.send(|_| server::Command::Stop { within });
                self.stopping = Some(Stopping { kill_at: now + self.config.stop_after + STOP_GRACE });
                // A worker that has not introduced itself has no calls and gets no `Stop`.
                for place in &self.places {
                    if let (Phase::Starting { .. }, Some(leash)) = (place.slot.phase(), &place.leash) {
                        child::kill(leash);
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
        for leash in self.places.iter().filter_map(|place| place.leash.as_ref()) {
            warn!(pid = leash.pid(), "a worker did not stop in time and is killed");
            child::kill(leash);
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
    place: &mut Place,
    lanes: &server::Lanes,
) -> Result<(), BindError> {
    if place.leaving || place.sockets.fits(config, listeners, worker) {
        return Ok(());
    }
    place.sockets.fit(config, listeners, worker)?;
    if let Err(error) = place.sockets.serve(worker, lanes) {
        warn!(%worker, "its ports cannot be served while it has no worker: {error}");
    }
    Ok(())
}
