//! Processes: handles that cannot be mistaken for another process, names, limits.

use std::collections::BTreeSet;
use std::ffi::CString;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};

use nix::sys::wait::{Id, WaitPidFlag, waitid, waitpid};
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Resource, Rlimit};

pub use rustix::process::Signal;

use super::sys;

/// A process, held by descriptor: a signal never reaches another process that got the same process id later.
///
/// The descriptor is a `pidfd`, readable once the process has ended, or, where the kernel has none (before 5.3) or a
/// filter refuses it, the process's directory in `/proc`, which cannot be watched.
#[derive(Debug)]
pub struct Process {
    fd: OwnedFd,
    pid: u32,
    is_directory: bool,
}

impl Process {
    /// The process `pid`.
    ///
    /// # Errors
    ///
    /// There is none (`NotFound`).
    pub fn open(pid: u32) -> io::Result<Self> {
        let number = i32::try_from(pid).ok().and_then(Pid::from_raw);
        let number = number.ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "no process has that number"))?;
        match rustix::process::pidfd_open(number, PidfdFlags::empty()) {
            Ok(fd) => Ok(Process { fd, pid, is_directory: false }),
            Err(Errno::NOSYS | Errno::PERM) => Process::by_directory(pid),
            Err(errno) => Err(no_process(errno)),
        }
    }

    /// The process `pid`, by a descriptor that was opened while it lived.
    ///
    /// # Errors
    ///
    /// The descriptor cannot be looked at.
    pub fn from_fd(fd: OwnedFd, pid: u32) -> io::Result<Self> {
        let file = File::from(fd);
        let is_directory = file.metadata()?.is_dir();
        Ok(Process { fd: file.into(), pid, is_directory })
    }

    fn by_directory(pid: u32) -> io::Result<Self> {
        let directory = File::open(format!("/proc/{pid}"))?;
        Ok(Process { fd: directory.into(), pid, is_directory: true })
    }

    /// Its process id.
    pub const fn pid(&self) -> u32 {
        self.pid
    }

    /// Sends it `signal`. A process that has ended is no error.
    ///
    /// # Errors
    ///
    /// It belongs to another user.
    pub fn signal(&self, signal: Signal) -> io::Result<()> {
        match rustix::process::pidfd_send_signal(&self.fd, signal) {
            Err(Errno::SRCH) => Ok(()),
            // Kernels before 5.1 lack this call, and a filter may refuse it. The process id is another's only if,
            // between these two calls, the process is collected and all process ids have been used up.
            Err(Errno::NOSYS | Errno::PERM) if self.is_directory => self.signal_by_number(signal),
            done => Ok(done?),
        }
    }

    fn signal_by_number(&self, signal: Signal) -> io::Result<()> {
        let Some(pid) = i32::try_from(self.pid).ok().and_then(Pid::from_raw).filter(|_| !self.has_ended()) else {
            return Ok(());
        };
        match rustix::process::kill_process(pid, signal) {
            Err(Errno::SRCH) => Ok(()),
            done => Ok(done?),
        }
    }

    /// Whether it has ended, even if its parent has not collected it yet.
    pub fn has_ended(&self) -> bool {
        if self.is_directory {
            return self.state().is_none_or(|state| matches!(state, 'Z' | 'X'));
        }
        let mut fds = [PollFd::new(&self.fd, PollFlags::IN)];
        // A poll that fails proves nothing; the caller asks again.
        rustix::event::poll(&mut fds, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })).is_ok_and(|ready| ready > 0)
    }

    /// Its state from `/proc/PID/stat`; `None` when it is gone.
    fn state(&self) -> Option<char> {
        let stat = rustix::fs::openat(&self.fd, "stat", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).ok()?;
        let mut text = String::new();
        File::from(stat).take(512).read_to_string(&mut text).ok()?;
        // The name in parentheses may hold blanks and parentheses: the last one closes it.
        text.rsplit_once(')')?.1.trim_start().chars().next()
    }
}

impl AsRef<Process> for Process {
    fn as_ref(&self) -> &Process {
        self
    }
}

impl AsFd for Process {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl AsRawFd for Process {
    fn as_raw_fd(&self) -> RawFd {
        self.fd.as_raw_fd()
    }
}

fn no_process(errno: Errno) -> io::Error {
    if errno == Errno::SRCH {
        io::Error::new(io::ErrorKind::NotFound, "no process has that number")
    } else {
        errno.into()
    }
}

/// The name of this program's own processes.
pub const NAME: &str = "pointsman";

/// Names this process in `ps`, `top`, `ss` and the journal, where a program that runs from `/proc/self/exe` is called
/// `exe`. Call it on the main thread; 15 bytes are shown.
pub fn set_name(name: &str) {
    let Ok(name) = CString::new(name) else { return };
    // The name is for people to read.
    let _ = nix::sys::prctl::set_name(&name);
}

/// Names this process as the one of worker `worker`.
pub fn set_name_of(worker: &str) {
    set_name(&format!("{NAME}-{worker}"));
}

/// The name that [`set_name`] has given to the calling thread.
pub fn name() -> Option<String> {
    nix::sys::prctl::get_name().ok()?.into_string().ok()
}

/// Collects orphans that have ended. To process 1 of a container the kernel gives all processes whose parents have
/// ended, and no other process would ever collect them. Those that `is_awaited` names are left to the task that waits
/// for them.
pub fn collect_orphans(is_awaited: impl Fn(u32) -> bool) {
    let ended = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
    while let Ok(status) = waitid(Id::All, ended) {
        let Some(pid) = status.pid().filter(|pid| !is_awaited(pid.as_raw().unsigned_abs())) else { return };
        // The process has ended: this does not wait.
        if waitpid(pid, Some(WaitPidFlag::WNOHANG)).is_err() {
            return;
        }
    }
}

/// Limit of descriptors of this process.
pub fn descriptor_limit() -> u64 {
    // The kernel's value for "unlimited" reads as `None`.
    rustix::process::getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}

/// Raises the limit of open descriptors to `wanted`, or as far as this process may. Returns the new limit.
///
/// # Errors
///
/// The kernel refuses a limit within the hard limit.
pub fn raise_descriptor_limit(wanted: u64) -> io::Result<u64> {
    let now = rustix::process::getrlimit(Resource::Nofile);
    // The kernel's value for "unlimited" reads as `None`.
    let Some(current) = now.current else { return Ok(u64::MAX) };
    if current >= wanted {
        return Ok(current);
    }
    let raised = Rlimit { current: Some(wanted), maximum: Some(now.maximum.unwrap_or(wanted).max(wanted)) };
    if rustix::process::setrlimit(Resource::Nofile, raised).is_ok() {
        return Ok(wanted);
    }
    let target = now.maximum.unwrap_or(wanted).min(wanted);
    rustix::process::setrlimit(Resource::Nofile, Rlimit { current: Some(target), maximum: now.maximum })?;
    Ok(target)
}

/// Closes every descriptor of this process but those of its terminal or log and `kept`. The numbers lead to
/// `/dev/null`: a thread that is about to end closes its own once more, and would close another one that had its number
/// by then.
///
/// # Errors
///
/// The system does not name them, or has no `/dev/null`.
pub fn close_all_but(kept: &[RawFd]) -> io::Result<()> {
    let open = std::fs::read_dir("/proc/self/fd")?;
    let number = |entry: io::Result<std::fs::DirEntry>| entry.ok()?.file_name().to_str()?.parse::<RawFd>().ok();
    let open: Vec<RawFd> = open.filter_map(number).collect();
    let kept: BTreeSet<RawFd> = kept.iter().copied().chain(0..=2).collect();
    let null = std::fs::File::open("/dev/null")?;
    open.into_iter().filter(|fd| !kept.contains(fd)).for_each(|fd| sys::replace(fd, null.as_fd()));
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn a_process_is_seen_to_end() {
        let mut child = Command::new("cat").stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
        let process = Process::open(child.id()).unwrap();
        assert!(!process.has_ended());
        process.signal(Signal::KILL).unwrap();
        let mut fds = [PollFd::new(&process, PollFlags::IN)];
        assert_eq!(rustix::event::poll(&mut fds, Some(&Timespec { tv_sec: 5, tv_nsec: 0 })).unwrap(), 1);
        assert!(process.has_ended());
        child.wait().unwrap();
        process.signal(Signal::KILL).expect("a process that has ended is no error");
        assert_eq!(Process::open(u32::MAX).unwrap_err().kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn a_process_is_seen_to_end_where_the_kernel_has_no_pidfd() {
        let mut child = Command::new("cat").stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
        let process = Process::by_directory(child.id()).unwrap();
        assert!(!process.has_ended());
        // This is the form in which the dispatcher that takes over gets it.
        let process = Process::from_fd(process.fd, child.id()).unwrap();
        assert!(process.is_directory && !process.has_ended());
        process.signal_by_number(Signal::KILL).unwrap();
        child.wait().unwrap();
        assert!(process.has_ended());
        process.signal(Signal::KILL).expect("a process that has ended is no error");
        process.signal_by_number(Signal::KILL).expect("nor is it by its number");
        assert_eq!(Process::by_directory(u32::MAX).unwrap_err().kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn the_descriptor_limit_never_falls() {
        let before = raise_descriptor_limit(0).unwrap();
        assert_eq!(raise_descriptor_limit(before).unwrap(), before);
        assert_eq!(raise_descriptor_limit(16).unwrap(), before);
    }
}
