//! A link between dispatcher and worker: [`dispatcher_end`] and [`worker_end`] are its two ends, both as values;
//! [`store`] keeps messages that have been handed over and not answered. A link over a network is a [`session`] of
//! several connections, and [`clock`] bounds the difference of the two hosts' clocks, [`permits`] say to whom its
//! worker may have answers sent. `wire::handoff` is the format of the bytes. Nothing here touches a socket; `server`
//! and `worker` carry the bytes.
//!
//! ```
//! use pointsman::ids::{ListenerId, Seq};
//! use pointsman::words::ReplyTo;
//! use pointsman::link::dispatcher_end::{DispatcherEnd, FromWorker};
//! use pointsman::link::worker_end::{FromDispatcher, WorkerEnd};
//! use pointsman::time::Time;
//! use pointsman::words::{Envelope, Transport};
//!
//! let now = Time(1_000_000_000);
//! let envelope = Envelope {
//!     seq: Seq(1),
//!     received: now,
//!     deadline: None,
//!     reply_to: ReplyTo::Datagram,
//!     size: 1,
//!     names_size: false,
//!     listener: ListenerId(0),
//!     transport: Transport::Udp,
//!     pinned: false,
//!     again: false,
//!     ring_first: false,
//!     alias: false,
//!     follows: false,
//!     source: "192.0.2.9:5060".parse().unwrap(),
//!     local: "192.0.2.1:5060".parse().unwrap(),
//! };
//! let (mut dispatcher, mut worker) = (DispatcherEnd::new(1 << 20), WorkerEnd::new());
//!
//! // The dispatcher's note about a message comes back with the answer; here it is a word.
//! dispatcher.push(&envelope, "note", &[b"INVITE sip:b@192.0.2.1 SIP/2.0\r\n\r\n"]).unwrap();
//! let mut frame = Vec::new();
//! dispatcher.poll_transmit(|pieces| Ok(pieces.iter().for_each(|piece| frame.extend_from_slice(piece)))).unwrap();
//!
//! let mut read = Vec::new();
//! worker.on_frame(&frame, &mut |record| read.push(record)).unwrap();
//! assert!(matches!(&read[..], [FromDispatcher::Message(message)] if message.envelope == envelope));
//!
//! worker.answered(Seq(1), now);
//! let (due, mut frame) = (worker.poll_timeout().unwrap(), Vec::new());
//! worker.poll_transmit(due, |pieces| Ok(pieces.iter().for_each(|piece| frame.extend_from_slice(piece)))).unwrap();
//! let mut told = Vec::new();
//! dispatcher.on_frame(&frame, &mut |record| told.push(format!("{record:?}"))).unwrap();
//! assert_eq!(told, [format!("{:?}", FromWorker::Answered(&[(Seq(1), "note")]))]);
//! assert_eq!(dispatcher.stats().retained_bytes, 0);
//! ```

pub mod clock;
pub mod dispatcher_end;
mod index;
pub mod permits;
pub mod session;
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
