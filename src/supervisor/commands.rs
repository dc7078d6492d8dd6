//! The operators' commands, carried out and answered from the lanes' figures and the supervisor's own.

use std::cmp::Reverse;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::{Instant, timeout_at};
use tracing::info;

use super::event_loop::Supervisor;
use super::slot_state::Phase;
use super::unmanaged::UnmanagedWorker;
use crate::admin::protocol::{Command, Reply};
use crate::config::count_of_workers;
use crate::dispatch::decision::Admin;
use crate::ids::WorkerId;
use crate::net::{clock, host};
use crate::server::stats::{AdminState, DispatcherLoad, Explained, Snapshot, State, WorkerLoad};
use crate::server::{self, LaneLoad, ProxyOrder};

/// Longest wait for the answer of a lane or of the gate. Each answers within its turn, unless it is stuck.
pub(super) const LANE_PATIENCE: Duration = Duration::from_secs(2);

impl Supervisor {
    /// Carries out a command, and returns the result.
    pub(super) async fn answer(&mut self, command: Command) -> Reply {
        let answer = match command {
            Command::Load | Command::Watch => self.snapshot().await.map(Reply::Load),
            Command::Workers => self.snapshot().await.map(|load| Reply::Workers { workers: load.workers }),
            Command::Counters => self.counters().await.map(|counters| Reply::Counters(Box::new(counters))),
            Command::Connections { number: None } => self.connections().await.map(Reply::Connections),
            Command::Connections { number: Some(number) } => self.connection(number).await,
            Command::Explain { call_id } => {
                let asked =
                    self.ask(|reply| server::Command::Explain { call_id: call_id.clone().into_bytes(), reply }).await;
                asked.map(|lanes| {
                    let mut decisions = lanes.concat();
                    decisions.sort_by_key(|decided| Reverse(decided.age_ms));
                    Reply::Explain(Explained { call_id, decisions })
                })
            }
            Command::Proxies => {
                self.snapshot().await.map(|load| Reply::Proxies { proxies: load.proxies, pools: load.pools })
            }
            Command::Set { worker, admin } => Ok(self.set_admin(worker, admin)),
            Command::SetProxy { proxy, admin } => match self.on_lan_as(&proxy) {
                Some(worker) => Ok(self.set_admin(worker, admin)),
                None => {
                    Ok(self
                        .order_proxy(&proxy, ProxyOrder::Admin(admin.into()), |proxy| Reply::SetProxy { proxy, admin }))
                }
            },
            Command::Handicap { proxy, handicap } => {
                let order = ProxyOrder::Handicap(handicap);
                Ok(self.order_proxy(&proxy, order, |proxy| Reply::Handicap { proxy, handicap }))
            }
            Command::Forget { worker } => Ok(self.forget_worker(worker)),
            Command::Reload => Ok(self.reload().map_or_else(Reply::error, Reply::from)),
        };
        answer.unwrap_or_else(Reply::error)
    }

    /// The figures of workers and dispatcher, now.
    pub(super) async fn snapshot(&self) -> Result<Snapshot, LaneStuck> {
        let lanes = self.ask(server::Command::Load).await?;
        let LaneLoad { mut workers, totals, connections, proxies, pools } =
            lanes.into_iter().reduce(LaneLoad::plus).unwrap_or_default();
        let now = clock::now();
        // Configured workers are shown from the first moment, also those that never came up.
        let last = self.unmanaged.last_key_value().map_or(0, |(worker, _)| usize::from(worker.0) + 1);
        workers.resize_with(workers.len().max(self.slots.len()).max(last), WorkerLoad::default);
        for (at, load) in workers.iter_mut().enumerate() {
            self.complete(WorkerId(at as u16), load);
        }
        let shown = |at: usize| at < self.slots.len() || self.unmanaged.contains_key(&WorkerId(at as u16));
        let workers = workers.into_iter().enumerate().filter(|(at, _)| shown(*at)).map(|(_, load)| load).collect();
        let dispatcher = DispatcherLoad {
            pid: std::process::id(),
            uptime_s: now.since(self.started).as_secs_f64(),
            received: totals.received,
            handed_over: totals.handed_over,
            relayed: totals.relayed,
            replied: totals.replied,
            dropped: totals.dropped,
            table_entries: totals.table_entries,
            rx_overflow: totals.rx_overflow,
            pinned: totals.pinned,
            connections,
            transports: totals.transports,
            forwarded: totals.forwarded,
            responses: totals.responses,
        };
        Ok(Snapshot { workers, dispatcher, proxies, pools })
    }

    /// Adds what only the supervisor knows: process, port, restarts.
    fn complete(&self, worker: WorkerId, load: &mut WorkerLoad) {
        load.name = worker.to_string();
        if let Some(unmanaged) = self.unmanaged.get(&worker) {
            load.pid = Some(unmanaged.pid).filter(|_| !unmanaged.is_down);
            load.admin = AdminState::from(unmanaged.admin);
            if unmanaged.is_on_lan {
                load.certified = unmanaged.name.clone().unwrap_or_default();
            }
            if unmanaged.is_down {
                load.state = State::Down;
            }
            (load.address, load.port) = (unmanaged.address.ip(), unmanaged.address.port());
            return;
        }
        let Some(slot) = self.slots.get(usize::from(worker.0)) else { return };
        load.pid = slot.state.pid();
        load.restarts = slot.state.restarts();
        load.fault.clone_from(&slot.fault);
        if let Some(address) = slot.sockets.shown() {
            (load.address, load.port) = (self.reached_at(address.ip()), address.port());
        }
        if load.units_total == 0 {
            load.units_total = self.config.capacity;
        }
        match slot.state.phase() {
            Phase::Starting { .. } => load.state = State::Starting,
            Phase::BackOff { .. } | Phase::Retired => load.state = State::Down,
            Phase::Up { .. } => {}
        }
    }

    /// Address at which callers reach a socket bound to `ip`; in place of a wildcard it is `advertise` or this host's
    /// own.
    pub(super) fn reached_at(&self, ip: IpAddr) -> IpAddr {
        if !ip.is_unspecified() {
            return ip;
        }
        self.config.advertise.unwrap_or_else(|| host::own_address(ip))
    }

    /// Passes an order for a downstream proxy, or for all addresses of one, on to the lanes.
    fn order_proxy(&self, name: &str, order: ProxyOrder, done: impl FnOnce(String) -> Reply) -> Reply {
        let entry = name.split('/').next().unwrap_or(name);
        if !self.config.proxies.iter().any(|proxy| proxy.name == entry) {
            let names: Vec<&str> = self.config.proxies.iter().take(8).map(|proxy| proxy.name.as_str()).collect();
            return match names.as_slice() {
                [] => Reply::error(format_args!("there is no worker and no proxy {name}: no proxy is configured")),
                names => Reply::error(format_args!("there is no proxy {name}: there are {}", names.join(", "))),
            };
        }
        let shared: Arc<str> = Arc::from(name);
        self.lanes.send(|_| server::Command::Proxy { name: Arc::clone(&shared), order });
        done(name.to_owned())
    }

    /// The worker on another host whose certificate has this name, unless a proxy has it.
    fn on_lan_as(&self, name: &str) -> Option<WorkerId> {
        let is_it = |it: &UnmanagedWorker| it.is_on_lan && it.name.as_deref() == Some(name);
        let is_proxy = self.config.proxies.iter().any(|proxy| proxy.name == name);
        // One that has come back as another version has another slot.
        let with_name = self.unmanaged.iter().filter(|(_, it)| is_it(it) && !is_proxy);
        with_name.min_by_key(|(_, it)| it.is_down).map(|(worker, _)| *worker)
    }

    fn set_admin(&mut self, worker: WorkerId, state: AdminState) -> Reply {
        if self.is_stopping() {
            return Reply::error("the dispatcher is stopping");
        }
        if usize::from(worker.0) >= self.slots.len() && !self.unmanaged.contains_key(&worker) {
            return Reply::no_such_worker(worker, self.slots.len());
        }
        let admin = Admin::from(state);
        if let Some(unmanaged) = self.unmanaged.get_mut(&worker) {
            unmanaged.admin = admin;
        }
        if let Some(slot) = self.slots.get_mut(usize::from(worker.0)) {
            if slot.leaving {
                return Reply::error(format_args!(
                    "{worker} is being removed: the configuration has {} now",
                    count_of_workers(self.config.workers)
                ));
            }
            slot.admin = admin;
        }
        info!(%worker, "set to {} by the operator", state.label());
        self.send_admin(worker, admin);
        Reply::Set { worker: worker.to_string(), admin: state }
    }

    /// Forgets an unmanaged worker that died: it is no longer shown as down.
    fn forget_worker(&mut self, worker: WorkerId) -> Reply {
        match self.unmanaged.get(&worker) {
            Some(unmanaged) if !unmanaged.is_down && unmanaged.is_on_lan => Reply::error(format_args!(
                "{worker} is connected from another host, or has been for the last 10 s; stop it there, then ask again"
            )),
            Some(unmanaged) if !unmanaged.is_down => Reply::error(format_args!(
                "{worker} is connected, as process {}; stop that process, and the worker is forgotten",
                unmanaged.pid
            )),
            Some(_) => {
                info!(%worker, "forgotten by the operator");
                self.forget(worker);
                Reply::Forgotten { worker: worker.to_string(), forgotten: true }
            }
            None if usize::from(worker.0) < self.slots.len() => Reply::error(format_args!(
                "{worker} is a configured slot; with `maint {worker}` its absence is no fault, and `workers` sets how \
                 many there are"
            )),
            None => Reply::no_such_worker(worker, self.slots.len()),
        }
    }

    /// Has the lanes set a worker's admin state; one of them tells the worker.
    pub(super) fn send_admin(&self, worker: WorkerId, admin: Admin) {
        self.lanes.send(|_| server::Command::Admin { worker, admin, drain_within: self.config.drain_after });
    }

    /// Asks every lane the same question.
    pub(super) async fn ask<T>(
        &self,
        question: impl Fn(oneshot::Sender<T>) -> server::Command,
    ) -> Result<Vec<T>, LaneStuck> {
        ask(&self.lanes, |_, reply| question(reply)).await
    }
}

/// Asks every lane; `question` gets the lane's number.
pub(super) async fn ask<T>(
    lanes: &server::Lanes,
    mut question: impl FnMut(usize, oneshot::Sender<T>) -> server::Command,
) -> Result<Vec<T>, LaneStuck> {
    let mut answers = Vec::new();
    lanes.send(|at| {
        let (reply, answer) = oneshot::channel();
        answers.push(answer);
        question(at, reply)
    });
    let deadline = Instant::now() + LANE_PATIENCE;
    let mut all = Vec::new();
    for answer in answers {
        all.push(timeout_at(deadline, answer).await.ok().and_then(Result::ok).ok_or(LaneStuck)?);
    }
    Ok(all)
}

/// A lane, or the gate, did not answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a lane of the dispatcher does not answer; calls in progress go on; restart the dispatcher")]
pub struct LaneStuck;
