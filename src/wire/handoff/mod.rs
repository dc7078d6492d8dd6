//! The handoff format: the bytes that travel between the dispatcher and a worker.
//!
//! # Compatibility rule
//!
//! The major version stands in every frame; an end that reads another major version closes the link with `Goodbye`.
//! Within a major version nothing changes its place. Additions are allowed: record kinds (a reader skips kinds it does
//! not know), fields after the fixed part of a record (each record states the length of its fixed part; a reader takes
//! the fields it knows and skips the rest), bits in a `flags` field, members in a JSON body (unknown ones are skipped).
//!
//! # Frame
//!
//! On a Unix link one frame is one `SOCK_SEQPACKET` message; on a stream link frames follow each other. All numbers are
//! little-endian.
//!
//! ```text
//! 0  u16  0x4d50 ("PM")        2  u8  major version, 1      3  u8  reserved, 0
//! 4  u32  length of the frame in bytes, these 8 included
//! 8  …    records
//! ```
//!
//! # Record
//!
//! ```text
//! 0  u8   kind                 1  u8  reserved, 0           2  u16 length of the fixed part in bytes, F
//! 4  u32  length of the record in bytes, these 8 included
//! 8  …    fixed part (F bytes)      8+F  …  variable part (the rest)
//! ```
//!
//! | kind | name | from | fixed part | variable part |
//! |---|---|---|---|---|
//! | 1 | [`Welcome`](crate::words::Welcome) | dispatcher | – | JSON; descriptors ride beside it (SCM_RIGHTS) in the order of `sockets` |
//! | 2 | [`Message`](crate::words::Message) | dispatcher | see `message.rs` | the message as it was received |
//! | 3 | [`Drain`](crate::words::Drain) | dispatcher | u8 mode, 7 reserved, u64 milliseconds left | – |
//! | 4 | – | dispatcher | – | – (never written; skipped) |
//! | 5 | `Ping` | dispatcher | u64 number; over a network: frames that it has read, see below | – |
//! | 6 | `Goodbye` | both | – | reason, UTF-8; the sender closes the link |
//! | 7 | `Access` | dispatcher | u16 bytes an entry, 6 reserved | entries, see `access.rs`: they replace those of the welcome |
//! | 8 | [`Certificates`](crate::words::Certificates) | dispatcher | – | –; those that the worker's own ports have from now on lie as JSON in a sealed file beside it (SCM_RIGHTS); for the workers of slots |
//! | 9 | `Undelivered` | dispatcher | u64 way back, as in `Reply` | the bytes of a `Reply` whose connection is gone |
//! | 10 | `Clock` | dispatcher | u64 the time that was asked with, u64 the dispatcher's own (µs, monotonic) | – |
//! | 65 | [`Hello`](crate::words::Hello) | worker | – | JSON |
//! | 66 | [`Report`](crate::words::Report) | worker | see `report.rs` | – |
//! | 67 | `Answered` | worker | – | u64 sequence numbers: their first final response has left, or none will |
//! | 68 | `Refuse` | worker | u64 sequence, u8 reason, 7 reserved | – |
//! | 69 | `Reply` | worker | u64 way back, as in the message | the answer, or for a connection a request of the worker's own |
//! | 70 | – | worker | u64 sequence, 8 reserved | – (written no more; read as a `Refuse` of reason 255) |
//! | 71 | `Release` | worker | – | 16-byte branch fingerprints of transactions it came back with: their final response has left |
//! | 72 | `GroupOpen` | worker | u64 opened (µs, monotonic) | group name |
//! | 73 | `GroupClosed` | worker | – | group name |
//! | 74 | `Pong` | worker | u64 number, as in `Ping` | – |
//! | 75 | `Holding` | worker | u16 bytes an entry, 6 reserved | entries, see `transactions.rs` |
//! | 76 | `Outcome` | worker | u64 sequence, u16 status, 6 reserved | UTF-8: why, where there is something to say |
//! | 77 | `Unanswered` | worker | as `Message` | a message that it has not answered, as an earlier dispatcher received it |
//! | 78 | `ClockAsk` | worker | u64 the worker's own time (µs, monotonic) | – |
//! | 79 | [`Send`](crate::words::Dispatched) | worker | u16 listener, 6 bytes permit, destination and local address as in `Message`, u32 IPv6 scope of the destination | the answer |
//! | 128 | [`Takeover`](crate::words::Takeover) | both dispatchers | – | JSON; descriptors ride beside it |
//!
//! # Coming back
//!
//! A worker in a slot outlives its dispatcher. It connects to the next one with a `Hello` that names slot, incarnation
//! and secret and says how much work it has. Its sockets come with that frame, in the order of `sockets`. Then follow
//! as many `Holding` entries, `GroupOpen` and `Unanswered` records as the `Hello` says. Only after them comes the
//! `Welcome`, with the same incarnation and token. Sequence numbers begin at 1 again; those of the earlier link mean
//! nothing any more. So messages that the worker has read there and not answered are named by their transactions.
//!
//! An `Unanswered` INVITE exists at both ends again: the dispatcher keeps it until the transaction's `Release`, and if
//! the worker dies before that, the next worker gets it. Its listener is given by the worker's number for it, as in
//! `sockets`.

//!
//! # Over a network
//!
//! A link to a worker on another host outlives its connections. Each end keeps its frames until the other has read
//! them, and tells with `Ping` or `Pong` how many it has read: each second, and after each 64 KiB. A frame that begins
//! with one of these is not counted itself. When a connection is cut, the worker opens another with a `Hello` that
//! names the link and the frames that it has read ([`Resume`](crate::words::Resume)); the dispatcher answers with its
//! own `Ping`; and each end sends again the frames that the other has not read. So no record is lost or read twice.
//! After 10 s without a connection the link is over, as when a worker has died.

mod access;
mod frame;
mod message;
mod numbers;
mod record;
mod report;
mod transactions;

pub use access::AccessRules;
pub use frame::{
    FRAME_HARD_LIMIT, FRAME_HEADER, FRAME_SOFT_LIMIT, Frame, FrameBuilder, FrameError, RECORD_HEADER, VERSION,
    frame_header,
};
pub use message::{MESSAGE_HEADER, deadline_of, message_header};
pub use record::{Record, Seqs};
pub use transactions::{HOLDING_AT_ONCE, Released, Transactions};

#[cfg(test)]
mod tests;
