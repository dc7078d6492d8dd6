//! Files that lie in memory, to be passed to another process.

use std::fs::File;
use std::io;

use rustix::fs::{FallocateFlags, MemfdFlags};

/// An empty file without a name in any directory; it is gone with its last descriptor.
///
/// # Errors
///
/// No descriptor is left.
pub fn file() -> io::Result<File> {
    Ok(rustix::fs::memfd_create("pointsman", MemfdFlags::CLOEXEC)?.into())
}

/// Has the kernel make room for `length` bytes now, so that writing them takes no longer than copying them.
pub fn reserve(file: &File, length: u64) {
    // What is not reserved is made when it is written.
    let _ = rustix::fs::fallocate(file, FallocateFlags::KEEP_SIZE, 0, length);
}

/// An empty list whose first `length` bytes of memory have been touched: filling them later meets no page that the kernel
/// has yet to give.
pub fn warm(length: usize) -> Vec<u8> {
    let mut bytes = vec![0xff; length];
    bytes.clear();
    bytes
}
