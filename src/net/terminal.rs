//! The terminal that a command runs on: its size, its keys.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use rustix::event::{PollFd, PollFlags};
use rustix::termios::{
    LocalModes, OptionalActions, SpecialCodeIndex, Termios, isatty, tcgetattr, tcgetwinsize, tcsetattr,
};

use super::signals::StopSignals;

/// Lines and columns of the terminal on stdout; `None` where stdout is no terminal, or the terminal does not tell.
pub fn size() -> Option<(u16, u16)> {
    let size = tcgetwinsize(io::stdout()).ok()?;
    (size.ws_row > 0 && size.ws_col > 0).then_some((size.ws_row, size.ws_col))
}

/// The keys of the terminal on stdin, each as soon as it is pressed and without an echo. Dropping it restores the
/// terminal's settings.
#[derive(Debug)]
pub struct Keyboard {
    before: Termios,
}

impl Keyboard {
    /// Takes the keyboard; `None` where stdin is no terminal.
    pub fn take() -> Option<Self> {
        let stdin = io::stdin();
        if !isatty(&stdin) {
            return None;
        }
        let before = tcgetattr(&stdin).ok()?;
        let mut now = before.clone();
        now.local_modes -= LocalModes::ICANON | LocalModes::ECHO;
        // A read never waits.
        now.special_codes[SpecialCodeIndex::VMIN] = 0;
        now.special_codes[SpecialCodeIndex::VTIME] = 0;
        tcsetattr(&stdin, OptionalActions::Now, &now).ok()?;
        Some(Keyboard { before })
    }

    /// The keys that have been pressed.
    ///
    /// # Errors
    ///
    /// The terminal is gone.
    pub fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        Ok(rustix::io::read(io::stdin(), buffer)?)
    }
}

impl Drop for Keyboard {
    fn drop(&mut self) {
        // A terminal that is gone needs no settings restored.
        let _ = tcsetattr(io::stdin(), OptionalActions::Now, &self.before);
    }
}

/// Waits until `stream` has something, a key is pressed, or a signal to stop has come.
///
/// # Errors
///
/// The kernel cannot wait for these.
pub fn wait(stream: BorrowedFd<'_>, keyboard: Option<&Keyboard>, signals: &StopSignals) -> io::Result<()> {
    let stdin = io::stdin();
    let mut watched = vec![PollFd::new(&stream, PollFlags::IN), PollFd::new(signals, PollFlags::IN)];
    if keyboard.is_some() {
        watched.push(PollFd::from_borrowed_fd(stdin.as_fd(), PollFlags::IN));
    }
    match rustix::event::poll(&mut watched, None) {
        // The terminal's size has changed, or the process was stopped and continues.
        Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}

/// Whether `stream` has something to read, or has ended.
pub fn has_something(stream: BorrowedFd<'_>) -> bool {
    let mut watched = [PollFd::new(&stream, PollFlags::IN)];
    let now = rustix::event::Timespec { tv_sec: 0, tv_nsec: 0 };
    // A stream that cannot be watched counts as readable: its read returns the error.
    rustix::event::poll(&mut watched, Some(&now)).map_or(true, |ready| ready > 0)
}
