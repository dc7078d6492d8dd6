//! The lock of a slot: a worker that a dispatcher has started holds it as long as it has the slot's sockets, so that
//! the next dispatcher sees which workers live.

use std::path::Path;
use std::thread;
use std::time::Duration;

use crate::ids::WorkerId;
use crate::net::clock;
use crate::net::lock_file::{LockError, LockFile};
use crate::net::run_dir::worker_lock;
use crate::time::Time;
use crate::worker::settings::{Link, Settings, WorkerError};

/// Limit for taking the lock: it is free this soon after its last holder has ended.
const WITHIN: Duration = Duration::from_secs(1);
/// The lock file is touched this often: cleaners of temporary directories remove files that were not used for days.
const REFRESH_EVERY: Duration = Duration::from_secs(3600);

/// The lock of a slot, whose file is kept fresh.
#[derive(Debug)]
pub(super) struct SlotLock {
    file: LockFile,
    refresh_at: Time,
}

impl SlotLock {
    /// Takes the lock of the slot that a dispatcher has started this worker for. `None`: the worker came by itself, and
    /// has ports of its own.
    ///
    /// # Errors
    ///
    /// Another process holds it, or its file cannot be made.
    pub(super) fn take(settings: &Settings) -> Result<Option<Self>, WorkerError> {
        let name = settings.name.as_deref().filter(|_| matches!(settings.link, Link::Inherited(_)));
        let slot = name.and_then(|name| name.parse::<WorkerId>().ok());
        let run_dir = settings.handoff.as_deref().and_then(Path::parent);
        let (Some(slot), Some(run_dir)) = (slot, run_dir) else { return Ok(None) };
        let path = worker_lock(run_dir, slot);
        let deadline = clock::now() + WITHIN;
        loop {
            match LockFile::take(&path) {
                Err(LockError::Held { .. }) if clock::now() < deadline => thread::sleep(Duration::from_millis(20)),
                taken => return Ok(Some(SlotLock { file: taken?, refresh_at: clock::now() + REFRESH_EVERY })),
            }
        }
    }

    /// Sees to it that a new dispatcher finds the lock, also where its file was removed meanwhile.
    pub(super) fn restore(&mut self) {
        if !self.file.is_in_place() {
            self.refresh();
        }
    }

    /// Has the file look used when that is due.
    pub(super) fn handle_timeout(&mut self, now: Time) {
        if self.refresh_at <= now {
            self.refresh_at = now + REFRESH_EVERY;
            self.refresh();
        }
    }

    /// When [`SlotLock::handle_timeout`] is due.
    pub(super) const fn poll_timeout(&self) -> Time {
        self.refresh_at
    }

    fn refresh(&mut self) {
        if let Err(error) = self.file.refresh() {
            // The run directory may be gone as a whole: it is tried again with the next dispatcher.
            tracing::debug!(%error, "the slot's lock cannot be kept fresh");
        }
    }
}
