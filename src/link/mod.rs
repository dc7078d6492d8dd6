//! A link between dispatcher and worker: [`dispatcher_end`] and [`worker_end`] are its two ends, both as values;
//! [`store`] keeps messages that have been handed over and not answered. `wire::handoff` is the format of the bytes.
//! Nothing here touches a socket; `server` and `worker` carry the bytes.

pub mod dispatcher_end;
mod index;
pub mod store;
pub mod worker_end;

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
