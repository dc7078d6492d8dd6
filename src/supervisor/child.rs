//! A worker process: its start, its command line, its end.

use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::process::ExitStatus;
use std::time::Duration;

use rustix::io::{FdFlags, fcntl_setfd};
use rustix::process::Signal;
use tokio::process::{Child, Command};
use tokio::time::sleep;
use tracing::level_filters::LevelFilter;

use crate::ids::WorkerId;
use crate::net::process::Process;
use crate::net::unix::SeqPacket;
use crate::net::watch;

/// A running worker process and the dispatcher's end of its link.
#[derive(Debug)]
pub struct Started {
    /// The process, to be waited for.
    pub child: Running,
    /// Handle to end the process.
    pub process: Process,
    /// The link, on which no `Hello` has come yet.
    pub link: SeqPacket,
}

/// A process that can be waited for.
#[derive(Debug)]
pub struct Running(Child);

/// Starts a worker for `slot`: this executable again, as `pointsman worker --link-fd N`. The worker connects to the
/// socket `handoff` when its link ends.
///
/// The child gets a process group of its own (a terminal's Ctrl-C is the dispatcher's to act on) and inherits stderr,
/// so no log runs through a pipe that a dead dispatcher would leave full.
pub fn start(slot: WorkerId, handoff: &Path) -> io::Result<Started> {
    let (ours, theirs) = SeqPacket::pair()?;
    // The child's end must survive exec. Nothing else is started between here and the drop below.
    fcntl_setfd(theirs.as_fd(), FdFlags::empty())?;
    let mut child = Command::new("/proc/self/exe")
        .arg0("pointsman")
        .arg("worker")
        .arg("--name")
        .arg(slot.to_string())
        .arg("--link-fd")
        .arg(theirs.as_raw_fd().to_string())
        .arg("--dispatcher")
        .arg(handoff)
        // The worker logs as much as this process, whether a flag or the environment set that.
        .env("POINTSMAN_LOG", std::env::var("POINTSMAN_LOG").unwrap_or_else(|_| LevelFilter::current().to_string()))
        // The service manager's variables are meant for the dispatcher alone.
        .env_remove("NOTIFY_SOCKET")
        .env_remove("WATCHDOG_USEC")
        .env_remove("LISTEN_FDS")
        .stdin(std::process::Stdio::null())
        .process_group(0)
        .kill_on_drop(false)
        .spawn()?;
    drop(theirs);
    let pid = child.id().unwrap_or_default();
    // Without a pidfd the process could not be killed safely (its process id may be another's later), and would keep
    // its slot for good.
    let process = Process::open(pid).inspect_err(|_| drop(child.start_kill()))?;
    Ok(Started { child: Running(child), process, link: ours })
}

/// The slot that the process with this command line was [started](start) for by a dispatcher with the socket `handoff`.
pub fn slot_of(command: &[u8], handoff: &Path) -> Option<WorkerId> {
    let words: Vec<&[u8]> = command.split(|byte| *byte == 0).collect();
    let follows = |flag: &str| words.iter().skip_while(|word| **word != flag.as_bytes()).nth(1).copied();
    let is_worker = words.get(1) == Some(&b"worker".as_slice()) && follows("--link-fd").is_some();
    if !is_worker || follows("--dispatcher") != Some(handoff.as_os_str().as_bytes()) {
        return None;
    }
    std::str::from_utf8(follows("--name")?).ok()?.parse().ok()
}

impl Running {
    /// Waits for the end.
    pub async fn ended(mut self) -> io::Result<ExitStatus> {
        self.0.wait().await
    }
}

/// Interval at which a process is checked whose end causes no wake-up.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Waits for the end of a process that is not a child of this one.
pub async fn until_end<P: AsRef<Process> + AsFd + AsRawFd>(process: P) {
    match watch::readable(process) {
        Ok(watched) => drop(watched.readable().await),
        // The kernel cannot watch this descriptor, or no more of them.
        Err((process, _)) => {
            while !process.as_ref().has_ended() {
                sleep(LOOK_EVERY).await;
            }
        }
    }
}

/// Ends a process at once. A process that is gone already is no error.
pub fn kill(process: &Process) {
    let _ = process.signal(Signal::KILL);
}

/// The end of a process, in words.
pub fn describe(status: &io::Result<ExitStatus>) -> String {
    use std::os::unix::process::ExitStatusExt;

    match status {
        Ok(status) => match (status.code(), status.signal()) {
            (Some(code), _) => format!("exited with code {code}"),
            (None, Some(signal)) => format!("was ended by signal {signal}"),
            (None, None) => "ended".to_owned(),
        },
        Err(error) => format!("could not be waited for: {error}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_line_tells_the_slot_of_a_worker_of_this_run_directory_alone() {
        let slot = |line: &str| slot_of(line.replace(' ', "\0").as_bytes(), Path::new("/run/pm/handoff.sock"));
        assert_eq!(
            slot("pointsman worker --name w3 --link-fd 9 --dispatcher /run/pm/handoff.sock "),
            Some(WorkerId(3))
        );
        for other in [
            "pointsman worker --name w3 --link-fd 9 --dispatcher /run/other/handoff.sock ",
            "pointsman worker --name w3 --dispatcher /run/pm/handoff.sock ",
            "pointsman worker --name mixer --link-fd 9 --dispatcher /run/pm/handoff.sock ",
            "grep worker --name w3 --link-fd 9 --dispatcher",
            "pointsman dispatch --run-dir /run/pm ",
            "",
        ] {
            assert_eq!(slot(other), None, "{other}");
        }
    }
}
