//! Workers of an earlier dispatcher whose lock's file was cleaned away. They make it anew when they lose their dispatcher,
//! and one that starts at once may be there before them: their command lines name slot and handoff socket.

use std::collections::BTreeMap;
use std::path::Path;

use crate::ids::WorkerId;
use crate::net::commands;
use crate::net::process::Process;
use crate::supervisor::child;

/// Their processes, by slot.
#[derive(Debug, Default)]
pub struct Unlocked(BTreeMap<WorkerId, Process>);

impl Unlocked {
    /// Finds those that were started to come back to the socket `handoff`, but for the slots whose locks are `held`. A
    /// worker in a container has the same words perhaps, and another directory behind them: it is none of ours.
    pub fn find(handoff: &Path, held: &[WorkerId]) -> Self {
        let run_dir = handoff.parent().filter(|directory| !directory.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let workers = commands::own().filter_map(|(pid, command)| {
            let slot = child::slot_of(&command, handoff).filter(|slot| !held.contains(slot))?;
            let process = Process::open(pid).ok()?;
            // The number may have become another's before it was opened.
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
