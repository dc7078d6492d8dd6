//! Watching a descriptor from the control side's runtime.

use std::io;
use std::os::fd::{AsFd, AsRawFd};

use tokio::io::unix::AsyncFd;

use super::sys;

/// Has the runtime report when there is something to read.
///
/// # Errors
/// The kernel takes no more descriptors to watch; `inner` comes back.
pub fn readable<T: AsFd + AsRawFd>(inner: T) -> Result<AsyncFd<T>, (T, io::Error)> {
    sys::watch_readable(inner)
}
