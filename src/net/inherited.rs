//! Descriptors that this process was started with, known by their number only.

use std::io;
use std::os::fd::{AsFd, OwnedFd, RawFd};

use super::sys;

/// An inherited descriptor as one of our own: a duplicate, closed on exec, takes the place of the bare number, which says
/// nothing about who owns it.
///
/// # Errors
///
/// There is no such descriptor.
pub fn inherited(fd: RawFd) -> io::Result<OwnedFd> {
    if fd == 0 {
        return io::stdin().as_fd().try_clone_to_owned();
    }
    let duplicate = sys::duplicate(fd)?;
    // The number was ours to take over: left open it would hide the end of a link from whoever is at the other.
    nix::unistd::close(fd)?;
    Ok(duplicate)
}
