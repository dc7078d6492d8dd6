//! A reload: the configuration read again, and applied whole or not at all. No call is touched.

use std::sync::Arc;

use tracing::{info, warn};

use super::event_loop::Supervisor;
use super::sockets::SlotSockets;
use super::stream_listeners::{certificates, gate_reload};
use crate::config::{Change, Config, ConfigError, NeedsRestart};
use crate::dispatch::decision::Admin;
use crate::ids::WorkerId;
use crate::net::bind::BindError;
use crate::net::clock;
use crate::net::tls::{TlsError, proxy_kinds};
use crate::server;
use crate::time::Time;

/// Reason why nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum ReloadError {
    /// The configuration has a fault.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A setting that differs cannot change while the dispatcher runs.
    #[error(transparent)]
    Restart(#[from] NeedsRestart),
    /// A new slot's port cannot be had.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// A file of a certificate cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// There is no file to read again.
    #[error(
        "there is no file to read again: the dispatcher was started without --config; flags change with a restart or `--takeover`"
    )]
    NoFile,
    /// The dispatcher is stopping, so nothing is started any more.
    #[error("the dispatcher is stopping")]
    Stopping,
    /// An unmanaged worker has the number of a new slot.
    #[error("workers: slot {0} is taken by an unmanaged worker; stop that worker first")]
    Taken(WorkerId),
}

impl Supervisor {
    /// Reads the configuration again and applies what differs. The log tells the result, whichever way the reload was
    /// asked for.
    pub(super) fn reload(&mut self) -> Result<Change, ReloadError> {
        let reloaded = self.try_reload();
        match &reloaded {
            Ok(change) => info!("configuration read again: {change}"),
            Err(error) => warn!("configuration not changed: {error}"),
        }
        reloaded
    }

    fn try_reload(&mut self) -> Result<Change, ReloadError> {
        if self.is_stopping() {
            return Err(ReloadError::Stopping);
        }
        if self.source.file.is_none() {
            return Err(ReloadError::NoFile);
        }
        let new = self.source.load()?;
        let change = Change::between(&self.config, &new)?;
        // Certificates are renewed under the same names, so they are read again whatever the configuration says.
        let gate = gate_reload(&new, &self.key)?;
        let told = certificates(&new)?;
        let proxy_kinds = proxy_kinds(&new)?;
        let more = self.bind_more(&new)?;
        self.proxy_kinds = proxy_kinds;
        self.lanes.send(|_| server::Command::Certificates(Arc::clone(&told)));
        self.lanes.send(|_| server::Command::ProxyKinds(self.proxy_kinds.clone()));
        if change.is_empty() {
            self.lanes.order(gate);
            self.follow_plan();
            return Ok(change);
        }
        let now = clock::now();
        let known = self.config.notes();
        self.config = new;
        for note in self.config.notes().iter().filter(|note| !known.contains(note)) {
            warn!("{note}");
        }
        self.lanes.order(gate);
        self.lanes.send(|_| server::Command::Reload {
            rules: Box::new(super::rules(&self.config)),
            insert: self.config.insert,
            workers: usize::from(self.config.workers),
        });
        self.follow_plan();
        self.fit_slots(more, now);
        Ok(change)
    }

    /// Tells the workers the certificates of their own ports.
    pub(super) fn tell_certificates(&self) {
        match certificates(&self.config) {
            Ok(told) => self.lanes.send(|_| server::Command::Certificates(Arc::clone(&told))),
            // The gate has just used the same files.
            Err(error) => warn!("calls over TLS stay at the well-known port: {error}"),
        }
    }

    /// Makes as many slots as the configuration says: `more` has the sockets of new ones.
    pub(super) fn fit_slots(&mut self, more: Vec<SlotSockets>, now: Time) {
        let configured = usize::from(self.config.workers);
        let mut orders = Vec::new();
        for (at, slot) in self.slots.iter_mut().enumerate() {
            let leaving = at >= configured;
            if leaving != slot.leaving {
                slot.leaving = leaving;
                if !leaving {
                    slot.state.revive(now);
                } else if slot.state.pid().is_none() {
                    slot.state.retire();
                }
                orders.push((WorkerId(at as u16), if leaving { Admin::Drain } else { slot.admin }));
            }
        }
        orders.into_iter().for_each(|(worker, admin)| self.send_admin(worker, admin));
        for sockets in more {
            let worker = WorkerId(self.slots.len() as u16);
            // An unmanaged worker that is down there is forgotten.
            self.unmanaged.remove(&worker);
            self.add_slot(sockets, now);
            // The lane may still know the last worker of an earlier slot of that number, which was told to drain.
            self.send_admin(worker, Admin::Ready);
        }
        self.drop_left_slots();
    }

    /// Binds the sockets of slots that are new, before anything is changed.
    fn bind_more(&self, new: &Config) -> Result<Vec<SlotSockets>, ReloadError> {
        let added = || new.slots().skip(self.slots.len());
        if let Some(taken) = added().find(|slot| self.unmanaged.get(slot).is_some_and(|it| !it.is_down)) {
            return Err(ReloadError::Taken(taken));
        }
        Ok(added().map(|slot| SlotSockets::bind(new, &self.listeners, slot)).collect::<Result<_, _>>()?)
    }

    /// Ends the workers of slots that are no longer configured, once they have no session left.
    pub(super) async fn retire_idle_workers(&mut self) {
        if !self.slots.iter().any(|slot| slot.leaving && slot.state.pid().is_some()) {
            return;
        }
        let load = match self.snapshot().await {
            Ok(load) => load,
            Err(error) => return warn!("{error}"),
        };
        for (at, (slot, worker)) in self.slots.iter().zip(&load.workers).enumerate() {
            if slot.leaving && slot.state.pid().is_some() && worker.sessions == 0 && worker.ledger == 0 {
                let within = self.config.stop_after;
                self.lanes.send(|_| server::Command::Retire { worker: WorkerId(at as u16), within });
            }
        }
    }

    /// Drops the last slots when they are not configured and have no process; their ports are free then.
    pub(super) fn drop_left_slots(&mut self) {
        while self.slots.last().is_some_and(|slot| slot.leaving && slot.state.pid().is_none()) {
            self.slots.pop();
            self.lanes.send(|_| server::Command::Close { worker: WorkerId(self.slots.len() as u16) });
        }
    }
}
