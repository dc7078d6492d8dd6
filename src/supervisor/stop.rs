//! The orderly stop: workers end their calls, and those that take too long are killed.

use std::time::Duration;

use tracing::{info, warn};

use super::child;
use super::event_loop::Supervisor;
use super::slot_state::Phase;
use crate::net::clock;
use crate::server;
use crate::time::Time;

/// Time between the end of `stop-after` and the kill of the workers that are still there.
const STOP_GRACE: Duration = Duration::from_secs(1);

impl Supervisor {
    pub(super) const fn is_stopping(&self) -> bool {
        self.kill_at.is_some()
    }

    /// SIGTERM or SIGINT: the first orders a stop, the second ends the time that the workers have.
    pub(super) fn on_stop(&mut self) {
        let now = clock::now();
        match self.kill_at {
            None => {
                info!("stopping: workers end their calls within {:?}", self.config.stop_after);
                let within = self.config.stop_after;
                self.service_manager.on_stopping();
                self.lanes.send(|_| server::Command::Stop { within });
                self.kill_at = Some(now + self.config.stop_after + STOP_GRACE);
                // A worker that has not introduced itself has no calls and gets no `Stop`.
                for slot in &self.slots {
                    if let (Phase::Starting { .. }, Some(process)) = (slot.state.phase(), &slot.process) {
                        child::kill(process);
                    }
                }
            }
            Some(_) => {
                info!("stopping at once");
                self.kill_at = Some(now);
            }
        }
    }

    /// Kills the workers whose time to stop is over.
    pub(super) fn kill_overdue(&mut self, now: Time) {
        if self.kill_at.is_none_or(|kill_at| kill_at > now) {
            return;
        }
        for process in self.slots.iter().filter_map(|slot| slot.process.as_ref()) {
            warn!(pid = process.pid(), "a worker did not stop in time and is killed");
            child::kill(process);
        }
        self.kill_at = Some(now + STOP_GRACE);
    }
}
