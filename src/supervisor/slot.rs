//! A slot: its sockets, the state of its process, and what the operator has ordered for it.

use std::sync::Arc;

use tracing::warn;

use super::slot_state::SlotState;
use super::sockets::{Listeners, SlotSockets};
use crate::config::Config;
use crate::dispatch::decision::Admin;
use crate::ids::{Incarnation, WorkerId};
use crate::net::bind::BindError;
use crate::net::process::Process;
use crate::server::Lanes;
use crate::time::Time;

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

impl Slot {
    /// A slot with these sockets, whose first worker is due at once.
    pub(super) const fn new(sockets: SlotSockets, now: Time) -> Self {
        Slot {
            state: SlotState::new(now),
            sockets,
            process: None,
            incarnation: None,
            predecessor: None,
            admin: Admin::Ready,
            leaving: false,
            fault: String::new(),
        }
    }

    /// Makes sure, before a worker is started in the slot, that it has the sockets that the configuration says. They
    /// differ once: after a worker that came back with the sockets of another configuration. Returns whether they have
    /// changed.
    pub(super) fn fit_sockets(
        &mut self,
        config: &Config,
        listeners: &Listeners,
        worker: WorkerId,
    ) -> Result<bool, BindError> {
        if self.leaving || self.sockets.fits(config, listeners, worker) {
            return Ok(false);
        }
        self.sockets.fit(config, listeners, worker)?;
        Ok(true)
    }

    /// Gives the lanes copies of the sockets. An error is only logged: the slot's worker serves its ports without them.
    pub(super) fn serve_sockets(&self, worker: WorkerId, lanes: &Lanes) {
        if let Err(error) = self.sockets.serve(worker, lanes) {
            warn!(%worker, "its ports cannot be served while it has no worker: {error}");
        }
    }
}
