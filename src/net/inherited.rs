//! Descriptors that this process was started with, known by their number only.

use std::io;
use std::os::fd::{AsFd, OwnedFd, RawFd};

use super::sys;

/// Takes an inherited descriptor over: a duplicate, closed on exec, replaces the bare number, which tells nothing about
/// its owner.
///
/// # Errors
///
/// There is no such descriptor.
pub fn inherited(fd: RawFd) -> io::Result<OwnedFd> {
    if fd == 0 {
        return io::stdin().as_fd().try_clone_to_owned();
    }
    let duplicate = sys::duplicate(fd)?;
    // The number belongs to this process now: left open, it would hide the end of a link from the process at its other
    // end.
    nix::unistd::close(fd)?;
    Ok(duplicate)
}
