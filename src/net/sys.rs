//! The system calls that no safe crate offers in the form needed. Every function is safe to call, one call wide, and
//! builds the kernel's structures from borrowed slices, so that nothing outlives what it points into.
//!
//! `recvmmsg` and `sendmmsg` are here because the ready-made ones keep the control lengths of the previous call or
//! share one control message across a batch; then replies leave from the wrong address.

#![allow(unsafe_code, reason = "the one file that speaks to the kernel without a safe crate between")]

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::ptr;

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::sockaddr::{Control, Name};

/// Most datagrams that one call receives or sends.
pub(super) const BATCH: usize = 32;

/// The kernel's data about one received datagram.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Received {
    pub(super) length: usize,
    pub(super) name_length: usize,
    pub(super) control_length: usize,
    pub(super) truncated: bool,
}

/// Receives at most [`BATCH`] datagrams without waiting, one into each place of `buffers`. The other slices have at
/// least as many places as `buffers`.
pub(super) fn receive<'a>(
    fd: BorrowedFd<'_>,
    buffers: impl Iterator<Item = &'a mut [u8]>,
    names: &mut [Name],
    controls: &mut [Control],
    received: &mut [Received],
) -> io::Result<usize> {
    let mut vectors = [libc::iovec { iov_base: ptr::null_mut(), iov_len: 0 }; BATCH];
    let mut headers = [EMPTY; BATCH];
    let mut count = 0;
    let places = vectors.iter_mut().zip(&mut headers).zip(names.iter_mut()).zip(controls.iter_mut());
    for ((((vector, header), name), control), buffer) in places.zip(buffers) {
        *vector = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
        // The kernel overwrites the lengths with those it used, so they are set anew before every call.
        header.msg_hdr.msg_name = name.as_mut_ptr();
        header.msg_hdr.msg_namelen = Name::CAPACITY as libc::socklen_t;
        header.msg_hdr.msg_iov = vector;
        header.msg_hdr.msg_iovlen = 1;
        header.msg_hdr.msg_control = control.as_mut_ptr();
        header.msg_hdr.msg_controllen = Control::CAPACITY as _;
        count += 1;
    }
    let flags = libc::MSG_DONTWAIT | libc::MSG_CMSG_CLOEXEC;
    // SAFETY: the first `count` headers point into `vectors`, `names`, `controls` and the buffers, all exclusively
    // borrowed beyond this call, with the lengths they have; no timeout is given.
    let got = unsafe { libc::recvmmsg(fd.as_raw_fd(), headers.as_mut_ptr(), count as _, flags as _, ptr::null_mut()) };
    let got = usize::try_from(got).map_err(|_| io::Error::last_os_error())?;
    for (received, header) in received.iter_mut().zip(&headers[..got.min(count)]) {
        *received = Received {
            length: header.msg_len as usize,
            name_length: header.msg_hdr.msg_namelen as usize,
            control_length: header.msg_hdr.msg_controllen,
            truncated: header.msg_hdr.msg_flags & libc::MSG_TRUNC != 0,
        };
    }
    Ok(got)
}

/// Asks the memory for the cache line at the address of `value`, without waiting for it. A hint: nothing depends on it.
#[inline]
pub(super) fn prefetch<T>(value: &T) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: every processor of x86_64 has SSE, and a prefetch neither faults nor changes memory.
    unsafe {
        std::arch::x86_64::_mm_prefetch::<{ std::arch::x86_64::_MM_HINT_T0 }>(ptr::from_ref(value).cast());
    }
    // Elsewhere the line is read when it is needed.
    #[cfg(not(target_arch = "x86_64"))]
    let _ = value;
}

/// One datagram to send.
#[derive(Debug)]
pub(super) struct Outgoing<'a> {
    pub(super) bytes: &'a [u8],
    pub(super) name: Name,
    pub(super) control: Option<Control>,
}

/// Sends one datagram without waiting.
pub(super) fn send(fd: BorrowedFd<'_>, outgoing: &Outgoing<'_>) -> io::Result<()> {
    let mut vector = libc::iovec { iov_base: outgoing.bytes.as_ptr().cast_mut().cast(), iov_len: outgoing.bytes.len() };
    let header = outgoing_header(outgoing, &mut vector).msg_hdr;
    // SAFETY: the header points into `vector` and `outgoing`, both borrowed beyond this call; `sendmsg` only reads.
    let sent = unsafe { libc::sendmsg(fd.as_raw_fd(), &header, libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL) };
    if sent < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Sends the first [`BATCH`] of `outgoing` without waiting. Returns the number sent; an error belongs to the first one.
pub(super) fn send_many(fd: BorrowedFd<'_>, outgoing: &[Outgoing<'_>]) -> io::Result<usize> {
    let mut vectors = [libc::iovec { iov_base: ptr::null_mut(), iov_len: 0 }; BATCH];
    let mut headers = [EMPTY; BATCH];
    let count = outgoing.len().min(BATCH);
    for ((vector, header), one) in vectors.iter_mut().zip(&mut headers).zip(outgoing) {
        *vector = libc::iovec { iov_base: one.bytes.as_ptr().cast_mut().cast(), iov_len: one.bytes.len() };
        *header = outgoing_header(one, vector);
    }
    let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
    // SAFETY: the first `count` headers point into `vectors` and `outgoing`, borrowed beyond this call; `sendmmsg`
    // writes nothing but the headers' `msg_len`.
    let sent = unsafe { libc::sendmmsg(fd.as_raw_fd(), headers.as_mut_ptr(), count as _, flags as _) };
    usize::try_from(sent).map_err(|_| io::Error::last_os_error())
}

fn outgoing_header(outgoing: &Outgoing<'_>, vector: &mut libc::iovec) -> libc::mmsghdr {
    let mut header = EMPTY;
    header.msg_hdr.msg_name = outgoing.name.as_ptr().cast_mut();
    header.msg_hdr.msg_namelen = outgoing.name.len() as libc::socklen_t;
    header.msg_hdr.msg_iov = vector;
    header.msg_hdr.msg_iovlen = 1;
    if let Some(control) = &outgoing.control {
        header.msg_hdr.msg_control = control.as_ptr().cast_mut();
        header.msg_hdr.msg_controllen = control.len() as _;
    }
    header
}

/// A header that points nowhere.
const EMPTY: libc::mmsghdr = {
    // SAFETY: a C structure of integers and pointers; all zeroes mean "nothing" in each field.
    unsafe { std::mem::zeroed() }
};

/// The memory of a socket (`SO_MEMINFO`): the words of `SK_MEMINFO_*`, as many as the kernel knows.
pub(super) fn meminfo(fd: BorrowedFd<'_>) -> io::Result<[u32; 9]> {
    let mut words = [0_u32; 9];
    let mut length = size_of_val(&words) as libc::socklen_t;
    let place = words.as_mut_ptr().cast();
    // SAFETY: `place` has room for `length` bytes, and the kernel writes no more than that.
    let failed = unsafe { libc::getsockopt(fd.as_raw_fd(), libc::SOL_SOCKET, SO_MEMINFO, place, &mut length) };
    if failed == 0 { Ok(words) } else { Err(io::Error::last_os_error()) }
}

/// `SO_MEMINFO` of `asm-generic/socket.h`.
const SO_MEMINFO: libc::c_int = 55;

/// Fills `bytes` from the kernel's random source, as far as one call does. Returns the number of bytes filled.
pub(super) fn getrandom(bytes: &mut [u8]) -> io::Result<usize> {
    // SAFETY: the pointer and the length are those of an exclusively borrowed slice.
    let got = unsafe { libc::getrandom(bytes.as_mut_ptr().cast(), bytes.len(), 0) };
    usize::try_from(got).map_err(|_| io::Error::last_os_error())
}

/// A duplicate of the descriptor with the number `fd`, closed on exec. Every kernel and every filter of system calls
/// allows `fcntl`; `pidfd_getfd`, which would need no bare number, is refused in containers.
pub(super) fn duplicate(fd: RawFd) -> io::Result<OwnedFd> {
    // SAFETY: the kernel reads two numbers and no memory; a number without a descriptor is an error.
    let duplicate = unsafe { libc::fcntl(fd, libc::F_DUPFD_CLOEXEC, 3) };
    if duplicate < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just made this descriptor, for us alone.
    Ok(unsafe { OwnedFd::from_raw_fd(duplicate) })
}

/// Has the C library take each block of `bytes` or more from the kernel by itself, and give it back when it is freed.
/// Returns true where the C library has such a setting.
pub(super) fn map_blocks_from(bytes: libc::c_int) -> bool {
    #[cfg(target_env = "gnu")]
    // SAFETY: the call takes two numbers; the allocator changes its own setting under its own lock.
    let told = unsafe { libc::mallopt(libc::M_MMAP_THRESHOLD, bytes) } == 1;
    #[cfg(not(target_env = "gnu"))]
    let told = bytes < 0;
    told
}

/// Ignores a signal that still has its default action; a signal with a handler of the program keeps it.
pub(super) fn ignore_signal(signal: libc::c_int) {
    // SAFETY: a C structure of integers and an address that is not called.
    let mut now: libc::sigaction = unsafe { std::mem::zeroed() };
    // SAFETY: nothing is changed, and the present action is written into an exclusively borrowed structure.
    let failed = unsafe { libc::sigaction(signal, std::ptr::null(), &mut now) };
    if failed == 0 && now.sa_sigaction == libc::SIG_DFL {
        // SAFETY: no handler is installed, the signal is only ignored.
        unsafe { libc::signal(signal, libc::SIG_IGN) };
    }
}

/// Gives a signal its default action.
pub(super) fn restore_signal(signal: libc::c_int) {
    // SAFETY: the handler that was there is not called any more; no memory is touched.
    unsafe { libc::signal(signal, libc::SIG_DFL) };
}

/// Closes what a descriptor of this process leads to; its number leads to `other` from now on, until its owner closes
/// it.
pub(super) fn replace(fd: RawFd, other: BorrowedFd<'_>) {
    // SAFETY: this touches no memory. The number stays open, so that no one else gets it before its owner closes it.
    unsafe { libc::dup3(other.as_raw_fd(), fd, libc::O_CLOEXEC) };
}

/// Has the runtime watch a descriptor for something to read; returns it if that fails.
pub(super) fn watch_readable<T: AsFd + AsRawFd>(inner: T) -> Result<AsyncFd<T>, (T, io::Error)> {
    // SAFETY: `T` owns its descriptor (AsFd) and is moved into the watch, so the descriptor stays open and the same for
    // as long as it is registered.
    let watched = unsafe { AsyncFd::register_with_interest(inner, Interest::READABLE) };
    watched.map_err(|error| error.into_parts())
}
