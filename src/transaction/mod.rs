//! Transactions: a request, its copies, and the responses to it (RFC 3261 §17, RFC 3435 §3.5).
//!
//! | | SIP | MGCP |
//! |---|---|---|
//! | their requests | [`sip_server`] | [`mgcp_server`] |
//! | our requests | [`sip_client`] | [`mgcp_client`] |
//! | which transaction a message is of | [`name::sip`] | [`name::mgcp`] |
//! | requests that are forwarded | [`forwarded`] | |
//! | dialogs that stay with us | [`flow_token`] | |
//! | probes of downstream proxies | [`probe`] | |
//!
//! Each state machine is one value in one file, with the RFC's figure above it. It has no socket, clock or look-up: its
//! owner passes messages and the time in, sends what comes back, and calls it again at `poll_timeout`. The user agent
//! ([`crate::call`]), the gateway and the worker of an external gateway are such owners. A probe needs no more than
//! this:
//!
//! ```
//! use pointsman::time::Time;
//! use pointsman::transaction::sip_client::{Due, Opening, Outcome, Transaction};
//! use pointsman::transaction::{Kind, LIFETIME};
//!
//! let opening: Opening = Opening {
//!     kind: Kind::Other,
//!     to: "192.0.2.7:5060".parse().unwrap(),
//!     bytes: b"OPTIONS sip:192.0.2.7 SIP/2.0\r\n\r\n"[..].into(),
//!     is_reliable: false,
//!     copies: None,
//!     end: Time(0) + LIFETIME,
//! };
//! let (mut probe, first) = Transaction::begin(opening, Time(0));
//! // `first.bytes` leaves for `probe.to()`. No answer comes, so a copy leaves after T1.
//! let later = probe.poll_timeout();
//! assert_eq!(later, Time(500_000));
//! assert!(matches!(probe.handle_timeout(later), Due::Send(copy) if copy.bytes == first.bytes));
//! // 200 comes: the other end is there.
//! assert_eq!(probe.on_response(200, Time(600_000)), Outcome::Final);
//! ```

mod allowance;
pub mod flow_token;
pub mod forwarded;
pub mod identifier;
pub mod mgcp_client;
pub mod mgcp_server;
pub mod name;
pub mod probe;
pub mod response_context;
pub mod sip_client;
pub mod sip_server;
pub mod timers;

use crate::pack::packed;
pub use timers::{LIFETIME, LONGTRAN, Resend, T_HIST, T1, T2, T4};

/// The kinds of SIP request whose transactions differ (RFC 3261 §17).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// INVITE.
    Invite,
    /// Any other but ACK, which has no transaction of its own.
    Other,
}

packed!(Kind as Invite = 0, Other = 1);
