//! Memory from the kernel: files that lie in it, to be passed to another process, and the handling of large blocks.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;

use rustix::fs::{FallocateFlags, MemfdFlags, SealFlags};

use super::sys;

/// An empty file without a name in any directory; it is gone with its last descriptor.
///
/// # Errors
///
/// No descriptor is left.
pub fn file() -> io::Result<File> {
    Ok(rustix::fs::memfd_create("pointsman", MemfdFlags::CLOEXEC)?.into())
}

/// A file like [`file()`] with these bytes, which no process can change any more.
///
/// # Errors
///
/// No descriptor or memory is left.
pub fn sealed(bytes: &[u8]) -> io::Result<OwnedFd> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let mut file = File::from(rustix::fs::memfd_create("pointsman", flags)?);
    file.write_all(bytes)?;
    rustix::fs::fcntl_add_seals(&file, SealFlags::WRITE | SealFlags::GROW | SealFlags::SHRINK | SealFlags::SEAL)?;
    Ok(file.into())
}

/// The bytes of a file that another process has sealed, at most `most`. One that could still be cut short under the
/// reader is refused.
///
/// # Errors
///
/// It is larger, can still be changed, or cannot be read.
pub fn read_sealed(fd: OwnedFd, most: usize) -> io::Result<Vec<u8>> {
    let file = File::from(fd);
    let length = usize::try_from(file.metadata()?.len()).unwrap_or(usize::MAX);
    if length > most || !rustix::fs::fcntl_get_seals(&file)?.contains(SealFlags::WRITE | SealFlags::SHRINK) {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut bytes = vec![0; length];
    // All descriptors of the file share one place of reading.
    file.read_exact_at(&mut bytes, 0)?;
    Ok(bytes)
}

/// Has the kernel make room for `length` bytes now, so that writing them takes no longer than copying them.
pub fn reserve(file: &File, length: u64) {
    // Room that is not reserved is made when it is written.
    let _ = rustix::fs::fallocate(file, FallocateFlags::KEEP_SIZE, 0, length);
}

/// An empty list whose first `length` bytes of memory have been touched: filling them later waits for no page from the
/// kernel.
pub fn warm(length: usize) -> Vec<u8> {
    let mut bytes = vec![0xff; length];
    bytes.clear();
    bytes
}

/// Size from which on a block gets memory of its own from the kernel: the smallest part of a link's store.
const LARGE: i32 = 256 << 10;

/// Has large blocks come from the kernel untouched and go back to it when they are freed, for as long as the process
/// runs.
///
/// Without this, glibc does so only until the first large block is freed. From then on it keeps freed blocks, and
/// clears the ones that it gives out again byte by byte: 16 MiB for each worker that joins.
pub fn map_large_blocks() {
    // Another C library does so anyway.
    sys::map_blocks_from(LARGE);
}

/// Asks the memory for the cache line where `value` begins, and does not wait for it. No value depends on this: it
/// makes a later read of the line faster.
#[inline]
pub fn fetch<T>(value: &T) {
    sys::prefetch(value);
}

/// Whether blocks of these sizes can be had together. No memory is touched, and all of it is given back at once.
pub fn can_have(blocks: impl IntoIterator<Item = usize>) -> bool {
    let mut had = Vec::new();
    blocks.into_iter().all(|block| {
        let mut bytes: Vec<u8> = Vec::new();
        let has = bytes.try_reserve_exact(block).is_ok();
        had.push(bytes);
        has
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The memory that this process has touched, in bytes.
    fn resident() -> usize {
        let text = std::fs::read_to_string("/proc/self/statm").unwrap();
        text.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap() * 4096
    }

    #[test]
    fn blocks_that_come_after_one_was_freed_take_no_memory_before_they_are_used() {
        const BLOCK: usize = 16 << 20;
        map_large_blocks();
        let on_a_thread = || {
            let used = vec![1_u8; BLOCK];
            let before = resident();
            drop(std::hint::black_box(used));
            assert!(resident() + BLOCK / 2 < before, "what is freed goes back");
            let before = resident();
            let blocks: Vec<Vec<u8>> = (0..16).map(|_| vec![0; BLOCK]).collect();
            assert!(resident() < before + BLOCK, "{} bytes for {} blocks", resident() - before, blocks.len());
        };
        // As in a lane: a thread that is not the first has another heap.
        std::thread::spawn(on_a_thread).join().unwrap();
        on_a_thread();
    }

    #[test]
    fn a_sealed_file_is_read_by_each_who_has_it_and_changed_by_none() {
        let file = sealed(b"certificates").unwrap();
        for _ in 0..2 {
            assert_eq!(read_sealed(file.try_clone().unwrap(), 12).unwrap(), b"certificates");
        }
        assert!(read_sealed(file.try_clone().unwrap(), 11).is_err());
        assert!(File::from(file).write_at(b"x", 0).is_err());
        assert!(read_sealed(super::file().unwrap().into(), 100).is_err(), "it can still be changed");
    }

    #[test]
    fn more_than_there_is_cannot_be_had() {
        assert!(can_have([1 << 20; 4]));
        assert!(!can_have([1 << 20, usize::MAX / 4]));
    }
}
