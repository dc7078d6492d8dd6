//! Workers of an earlier dispatcher whose lock files were cleaned away. They make them anew when they lose their
//! dispatcher, but a dispatcher that starts at once may look before that. It finds them by their command lines, which
//! name slot and handoff socket.

use std::collections::BTreeMap;
use std::path::Path;

use crate::ids::WorkerId;
use crate::net::commands;
use crate::net::process::Process;
use crate::supervisor::child;

/// Processes of these workers, by slot.
#[derive(Debug, Default)]
pub struct Unlocked(BTreeMap<WorkerId, Process>);

impl Unlocked {
    /// Finds the workers that were started to come back to the socket `handoff`, except those in slots whose locks are
    /// `held`. A worker in a container may have the same command line for another directory: it is not one of them.
    pub fn find(handoff: &Path, held: &[WorkerId]) -> Self {
        let run_dir = handoff.parent().filter(|directory| !directory.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let workers = commands::own().filter_map(|(pid, command)| {
            let slot = child::slot_of(&command, handoff).filter(|slot| !held.contains(slot))?;
            let process = Process::open(pid).ok()?;
            // The process id may have passed to another process before it was opened.
            let is_ours = commands::of(pid)? == command && commands::sees(pid, run_dir);
            is_ours.then_some((slot, process))
        });
        Unlocked(workers.collect())
    }

    /// Their slots.
    pub fn slots(&self) -> impl Iterator<Item = WorkerId> {
        self.0.keys().copied()
    }

    /// The process of a slot's worker, while it lives.
    pub fn living(&self, slot: WorkerId) -> Option<&Process> {
        self.0.get(&slot).filter(|process| !process.has_ended())
    }
}
