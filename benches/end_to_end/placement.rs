//! The placement of processes on CPUs: as the scheduler places them, or with the front alone on the first CPU.

use std::process::{Command, Stdio};

use crate::front::Running;

/// A placement of the processes on the machine's CPUs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Placement {
    /// The scheduler decides.
    Scheduler,
    /// The front on CPU 0, everything else on CPU 1.
    FrontAlone,
}

impl Placement {
    /// Both.
    pub const ALL: [Placement; 2] = [Placement::Scheduler, Placement::FrontAlone];

    /// Its name in table and JSON.
    pub const fn name(self) -> &'static str {
        match self {
            Placement::Scheduler => "scheduler",
            Placement::FrontAlone => "front-alone",
        }
    }

    /// Why it cannot be had on this machine, if so.
    pub fn missing(self) -> Option<String> {
        let cpus = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        match self {
            Placement::Scheduler => None,
            Placement::FrontAlone if cpus < 2 => Some("this machine has one CPU".to_owned()),
            Placement::FrontAlone => {
                let found = Command::new("taskset").arg("-V").stdout(Stdio::null()).status();
                found.is_err().then(|| "taskset is not installed (apt-get install util-linux)".to_owned())
            }
        }
    }

    /// Places a front, its workers and this process.
    pub fn apply(self, running: &Running) {
        let (front, rest) = match self {
            Placement::Scheduler => ("0,1", "0,1"),
            Placement::FrontAlone => ("0", "1"),
        };
        if self == Placement::Scheduler && std::thread::available_parallelism().map_or(1, std::num::NonZero::get) < 2 {
            return;
        }
        running.front_pids().into_iter().for_each(|pid| pin(pid, front));
        let others = running.worker_pids().into_iter().chain(running.bystander()).chain([std::process::id()]);
        others.for_each(|pid| pin(pid, rest));
    }
}

/// All threads of a process. A thread that has just ended is no loss.
fn pin(pid: u32, cpus: &str) {
    let arguments = ["-a", "-p", "-c", cpus, &pid.to_string()];
    let _ = Command::new("taskset").args(arguments).stdout(Stdio::null()).stderr(Stdio::null()).status();
}
