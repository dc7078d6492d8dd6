//! Files that lie in memory, to be passed to another process.

use std::fs::File;
use std::io;

use rustix::fs::MemfdFlags;

/// An empty file without a name in any directory; it is gone with its last descriptor.
///
/// # Errors
///
/// No descriptor is left.
pub fn file() -> io::Result<File> {
    Ok(rustix::fs::memfd_create("pointsman", MemfdFlags::CLOEXEC)?.into())
}
