//! The protocol between dispatcher and worker: [`frame`] is the format, [`front`] the dispatcher's end of a link and
//! [`back`] the worker's, both as values; [`store`] keeps messages that have been handed over and not answered. Nothing
//! here touches a socket; `server` and `worker` carry the bytes.

pub mod back;
pub mod frame;
pub mod front;
mod index;
pub mod store;

/// The result of sending on a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transmit {
    /// Nothing waits any more.
    Drained,
    /// The link takes no more now: ask for writability, then poll again.
    Blocked,
}

/// Whether a failed write means "later": a full socket buffer (`EAGAIN`), or the kernel lacks memory for one
/// (`ENOBUFS`, `ENOMEM`). Any other error is the link's end or a bug.
fn is_backpressure(error: &std::io::Error) -> bool {
    /// Linux's numbers of ENOMEM and ENOBUFS, which `ErrorKind` does not name.
    const ENOMEM: i32 = 12;
    const ENOBUFS: i32 = 105;
    error.kind() == std::io::ErrorKind::WouldBlock || matches!(error.raw_os_error(), Some(ENOMEM | ENOBUFS))
}
