//! Processes: handles that cannot be mistaken for another process, lock files that name their holder, limits.

use std::ffi::CString;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::fcntl::{FcntlArg, fcntl};
use nix::sys::signal::SigSet;
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::wait::{Id, WaitPidFlag, waitid, waitpid};
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Resource, Rlimit};

use super::sys;

pub use rustix::process::Signal;

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

/// A lock that this process holds until it drops it or ends, in whatever way it ends. The file names the holder.
///
/// The lock belongs to the open file (`F_OFD_SETLK`): it can be looked up without being taken, and closing another
/// descriptor of the file does not drop it.
#[derive(Debug)]
pub struct LockFile {
    file: File,
    path: PathBuf,
}

impl LockFile {
    /// Takes the lock at `path`; a missing file is made, mode 0600.
    ///
    /// # Errors
    ///
    /// Another process holds it, or the file cannot be opened.
    pub fn take(path: &Path) -> Result<Self, LockError> {
        let failed = |error| LockError::Unusable { path: path.to_owned(), error };
        loop {
            let mut file = OpenOptions::new()
                .read(true)
                .write(true)
                .create(true)
                .truncate(false)
                .mode(0o600)
                .custom_flags(libc::O_NOFOLLOW)
                .open(path)
                .map_err(failed)?;
            match fcntl(&file, FcntlArg::F_OFD_SETLK(&whole_file())) {
                Ok(_) => {}
                Err(nix::errno::Errno::EAGAIN | nix::errno::Errno::EACCES) => {
                    return Err(LockError::Held { path: path.to_owned(), pid: read_pid(&mut file) });
                }
                Err(errno) => return Err(failed(errno.into())),
            }
            // A cleaner may have removed the file between open and lock: then the lock guards nothing.
            if is_there(&file, path) {
                file.set_len(0).and_then(|()| writeln!(file, "{}", std::process::id())).map_err(failed)?;
                return Ok(LockFile { file, path: path.to_owned() });
            }
        }
    }

    /// Takes over the lock that came with `fd` from its holder, which ends. The lock belongs to the open file, and so
    /// to both processes until then. The file names this process from now on.
    pub fn inherit(fd: OwnedFd, path: &Path) -> Self {
        let mut file = File::from(fd);
        let named =
            file.set_len(0).and_then(|()| file.rewind()).and_then(|()| writeln!(file, "{}", std::process::id()));
        // The name is for people to read; the lock is held without it.
        drop(named);
        LockFile { file, path: path.to_owned() }
    }

    /// Touches the lock's file, or makes a missing one anew, with its lock: cleaners of temporary directories remove
    /// files that no process has touched for days, even locked ones.
    ///
    /// # Errors
    ///
    /// The file is gone, and no other can be made, or another process has made one and locked it.
    pub fn refresh(&mut self) -> Result<(), LockError> {
        if !self.is_in_place() {
            *self = LockFile::take(&self.path)?;
        }
        touch(&self.file).map_err(|error| LockError::Unusable { path: self.path.clone(), error })
    }

    /// Whether the file at the lock's path is the locked one.
    pub fn is_in_place(&self) -> bool {
        is_there(&self.file, &self.path)
    }

    /// Finds the holder of the lock at `path`, without taking the lock. `None`: the lock is free, or there is no such
    /// file.
    ///
    /// # Errors
    ///
    /// The file cannot be opened.
    pub fn holder(path: &Path) -> Result<Option<Holder>, LockError> {
        let failed = |error| LockError::Unusable { path: path.to_owned(), error };
        let mut file = match OpenOptions::new().read(true).write(true).custom_flags(libc::O_NOFOLLOW).open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(failed(error)),
        };
        let mut lock = whole_file();
        fcntl(&file, FcntlArg::F_OFD_GETLK(&mut lock)).map_err(|errno| failed(errno.into()))?;
        if lock.l_type == libc::F_UNLCK as libc::c_short {
            return Ok(None);
        }
        Ok(Some(Holder { pid: read_pid(&mut file) }))
    }

    /// The process that holds the lock at `path`, by descriptor, so that no other process can be killed instead. The
    /// process id in the file alone proves nothing: the process must have the file open, and the lock must still be
    /// held afterwards.
    ///
    /// # Errors
    ///
    /// The lock is free (`NotFound`), or the holder cannot be told for certain: it runs in another pid namespace, or
    /// belongs to another user.
    pub fn holding_process(path: &Path) -> io::Result<Process> {
        let pid = || match LockFile::holder(path) {
            Ok(Some(Holder { pid: Some(pid) })) => Ok(pid),
            Ok(Some(Holder { pid: None })) => Err(io::Error::other("its holder has not written its number")),
            Ok(None) => Err(io::ErrorKind::NotFound.into()),
            Err(error) => Err(io::Error::other(error)),
        };
        let first = pid()?;
        let process = Process::open(first)?;
        let lock = std::fs::metadata(path)?;
        let open = std::fs::read_dir(format!("/proc/{first}/fd"))?;
        let has_it = open.filter_map(|entry| std::fs::metadata(entry.ok()?.path()).ok()).any(|it| is_same(&it, &lock));
        if !has_it || pid()? != first {
            return Err(io::Error::other(format!("process {first} is not its holder")));
        }
        Ok(process)
    }

    /// Path of the lock file.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl AsFd for LockFile {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

/// Holder of a lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Holder {
    /// Its process id; `None` in the moment between taking the lock and writing the process id.
    pub pid: Option<u32>,
}

/// Reason why a lock cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another process holds it.
    #[error(
        "{} is locked by {}; stop it or choose another directory with --run-dir",
        .path.display(),
        .pid.map_or_else(|| "another process".to_owned(), |pid| format!("process {pid}"))
    )]
    Held {
        /// The lock file.
        path: PathBuf,
        /// The holder, if it has written its process id.
        pid: Option<u32>,
    },
    /// The file cannot be opened, locked or written.
    #[error("cannot lock {}: {error}; choose another directory with --run-dir", .path.display())]
    Unusable {
        /// The lock file.
        path: PathBuf,
        /// The system's error.
        error: io::Error,
    },
}

fn whole_file() -> libc::flock {
    libc::flock {
        l_type: libc::F_WRLCK as libc::c_short,
        l_whence: libc::SEEK_SET as libc::c_short,
        l_start: 0,
        l_len: 0,
        // The kernel requires 0 for a lock of the open file.
        l_pid: 0,
    }
}

/// Sets the times of a file to now, as if it had been read and written.
///
/// # Errors
///
/// It belongs to another user.
pub fn touch(file: &File) -> io::Result<()> {
    let now = rustix::fs::Timespec { tv_sec: 0, tv_nsec: rustix::fs::UTIME_NOW };
    Ok(rustix::fs::futimens(file, &rustix::fs::Timestamps { last_access: now, last_modification: now })?)
}

fn is_there(file: &File, path: &Path) -> bool {
    std::fs::metadata(path).is_ok_and(|there| file.metadata().is_ok_and(|own| is_same(&there, &own)))
}

fn is_same(one: &std::fs::Metadata, other: &std::fs::Metadata) -> bool {
    (one.dev(), one.ino()) == (other.dev(), other.ino())
}

fn read_pid(file: &mut File) -> Option<u32> {
    let mut text = String::new();
    file.rewind().ok()?;
    file.take(32).read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}

/// The signals that ask a process to stop, SIGTERM and SIGINT, to be read from a descriptor. They interrupt nothing
/// then.
#[derive(Debug)]
pub struct StopSignals(SignalFd);

impl StopSignals {
    /// Takes them for this thread and all threads that it starts from now on.
    ///
    /// # Errors
    ///
    /// No descriptor is left.
    pub fn take() -> io::Result<Self> {
        let mut signals = SigSet::empty();
        signals.add(nix::sys::signal::Signal::SIGTERM);
        signals.add(nix::sys::signal::Signal::SIGINT);
        signals.thread_block()?;
        Ok(StopSignals(SignalFd::with_flags(&signals, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)?))
    }

    /// Whether a signal has come since the last call. Never waits.
    pub fn poll(&self) -> bool {
        matches!(self.0.read_signal(), Ok(Some(_)))
    }
}

impl AsFd for StopSignals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl AsRawFd for StopSignals {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_fd().as_raw_fd()
    }
}

/// Ignores every stray signal for which the kernel would end this process: `pkill -HUP` of a logrotate script, and
/// `kill -USR1`, which other daemons take as a request, reach all processes of a name. Handlers that the program has
/// installed stay.
///
/// SIGTERM, SIGINT and SIGQUIT are not among them, nor are the signals of faults, of job control and of used-up limits.
pub fn ignore_stray_signals() {
    let named = [
        libc::SIGHUP,
        libc::SIGUSR1,
        libc::SIGUSR2,
        libc::SIGPIPE,
        libc::SIGALRM,
        libc::SIGVTALRM,
        libc::SIGPROF,
        libc::SIGIO,
        libc::SIGPWR,
    ];
    named.into_iter().chain(libc::SIGRTMIN()..=libc::SIGRTMAX()).for_each(sys::ignore_signal);
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

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn a_lock_is_held_once_and_names_its_holder() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("w0.lock");
        assert_eq!(LockFile::holder(&path).unwrap(), None);
        let lock = LockFile::take(&path).unwrap();
        let us = std::process::id();
        assert_eq!(LockFile::holder(&path).unwrap(), Some(Holder { pid: Some(us) }));
        let refused = LockFile::take(&path).unwrap_err();
        assert_eq!(
            refused.to_string(),
            format!("{} is locked by process {us}; stop it or choose another directory with --run-dir", path.display())
        );
        drop(lock);
        assert_eq!(LockFile::holder(&path).unwrap(), None);
        LockFile::take(&path).expect("it is free again");
    }

    #[test]
    fn a_lock_whose_file_was_cleaned_away_is_made_anew_and_one_that_is_there_looks_used() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("w0.lock");
        let mut lock = LockFile::take(&path).unwrap();
        let long_ago = std::time::SystemTime::UNIX_EPOCH;
        File::open(&path).unwrap().set_modified(long_ago).unwrap();
        lock.refresh().unwrap();
        assert!(std::fs::metadata(&path).unwrap().modified().unwrap() > long_ago);
        std::fs::remove_file(&path).unwrap();
        assert!(!lock.is_in_place());
        lock.refresh().unwrap();
        let us = std::process::id();
        assert_eq!(LockFile::holder(&path).unwrap(), Some(Holder { pid: Some(us) }));
        // Another process has taken the lock meanwhile: it belongs to that one.
        std::fs::remove_file(&path).unwrap();
        let other = LockFile::take(&path).unwrap();
        assert!(matches!(lock.refresh(), Err(LockError::Held { pid: Some(pid), .. }) if pid == us));
        drop(other);
    }

    #[test]
    fn the_process_behind_a_lock_is_believed_only_when_it_has_the_file_open() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("w0.lock");
        assert_eq!(LockFile::holding_process(&path).unwrap_err().kind(), io::ErrorKind::NotFound);
        let lock = LockFile::take(&path).unwrap();
        assert_eq!(LockFile::holding_process(&path).unwrap().pid(), std::process::id());
        // The file holds the id of a process that does not hold the lock.
        let mut child = Command::new("cat").stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
        std::fs::write(&path, child.id().to_string()).unwrap();
        let refused = LockFile::holding_process(&path).unwrap_err();
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(refused.to_string(), format!("process {} is not its holder", child.id()));
        drop(lock);
    }

    #[test]
    fn a_lock_in_a_missing_directory_says_so() {
        let refused = LockFile::take(Path::new("/nonexistent/lock")).unwrap_err();
        assert!(matches!(refused, LockError::Unusable { .. }), "{refused}");
    }

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
