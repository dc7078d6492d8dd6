//! The kernel's facts about a process: children, CPU time, memory. Signals go by process id only.

use std::fs;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, SysconfVar, sysconf};

/// Sends a signal; false when there is no such process any more.
pub fn signal(pid: u32, signal: Signal) -> bool {
    kill(Pid::from_raw(pid as i32), signal).is_ok()
}

/// Kills processes, and waits until they have let go of their sockets; at most two seconds.
pub fn kill_all(pids: &[u32]) {
    for &pid in pids {
        signal(pid, Signal::SIGKILL);
    }
    let begin = Instant::now();
    while pids.iter().any(|&pid| runs(pid)) && begin.elapsed() < Duration::from_secs(2) {
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Whether the process runs. A zombie does not, unless a thread of it is still on its way out: until that has gone, the
/// process holds its sockets.
pub fn runs(pid: u32) -> bool {
    let is_over = fields(pid).is_none_or(|fields| fields.first().is_none_or(|state| state == "Z" || state == "X"));
    let threads = fs::read_dir(format!("/proc/{pid}/task")).map_or(0, Iterator::count);
    !is_over || threads > 1
}

/// Whether the process is stopped by a signal.
pub fn is_stopped(pid: u32) -> bool {
    fields(pid).is_some_and(|fields| fields.first().is_some_and(|state| state == "T"))
}

/// The processes whose parent is `parent`.
pub fn children(parent: u32) -> Vec<u32> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    let pids = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    pids.filter(|&pid| fields(pid).and_then(|fields| fields.get(1)?.parse().ok()) == Some(parent)).collect()
}

/// The processes that `parent` has started and that run a program of their own: a stop before that would stop the
/// parent as well, which waits for it.
pub fn started_by(parent: u32) -> Vec<u32> {
    let line = |pid| fs::read(format!("/proc/{pid}/cmdline")).ok().filter(|line| !line.is_empty());
    let Some(own) = line(parent) else { return Vec::new() };
    children(parent).into_iter().filter(|pid| line(*pid).is_some_and(|line| line != own)).collect()
}

/// CPU time of a process (user and system, all its threads); zero when it is gone.
pub fn cpu(pid: u32) -> Duration {
    let ticks: u64 = fields(pid)
        .map(|fields| fields.iter().skip(11).take(2).filter_map(|field| field.parse::<u64>().ok()).sum())
        .unwrap_or_default();
    let per_second = sysconf(SysconfVar::CLK_TCK).ok().flatten().unwrap_or(100) as f64;
    Duration::from_secs_f64(ticks as f64 / per_second)
}

/// CPU time of a process to the nanosecond where the scheduler tells it, else as [`cpu`].
///
/// A clock tick is 10 ms; `schedstat` counts nanoseconds, a line for each thread.
pub fn precise_cpu(pid: u32) -> Duration {
    let Ok(tasks) = fs::read_dir(format!("/proc/{pid}/task")) else { return Duration::ZERO };
    let spent = tasks.map(|task| {
        let text = fs::read_to_string(task.ok()?.path().join("schedstat")).ok()?;
        text.split_whitespace().next()?.parse::<u64>().ok()
    });
    spent.sum::<Option<u64>>().map_or_else(|| cpu(pid), Duration::from_nanos)
}

/// Resident memory in bytes; zero when the process is gone.
pub fn resident(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok()).unwrap_or(0) * 1024
}

/// The fields of `/proc/PID/stat` from the state on: 0 state, 1 parent, 11 user time, 12 system time.
fn fields(pid: u32) -> Option<Vec<String>> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name in parentheses may hold blanks and parentheses: the last one closes it.
    let rest = text.rsplit_once(')')?.1;
    Some(rest.split_whitespace().map(str::to_owned).collect())
}
