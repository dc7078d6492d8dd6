//! Signals that a process reads, and those that it ignores.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};

use nix::sys::signal::SigSet;
use nix::sys::signalfd::{SfdFlags, SignalFd};

use super::sys;

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

/// Has SIGTERM, SIGINT and SIGHUP end this process again, in place of their handlers.
pub fn restore_stop_signals() {
    [libc::SIGTERM, libc::SIGINT, libc::SIGHUP].into_iter().for_each(sys::restore_signal);
}
