//! Transactions: a request, its copies, and the responses to it (RFC 3261 §17, RFC 3435 §3.5).
//!
//! Each state machine is a value without socket, clock or table of its own. Its owner passes messages and the time in,
//! sends what comes back, and calls it again when it says so.

mod allowance;
pub mod mgcp_client;
pub mod mgcp_server;
pub mod name;
pub mod sip_client;
pub mod sip_server;
pub mod timers;

pub use timers::{LIFETIME, LONGTRAN, Resend, T_HIST, T1, T2, T4};

/// The kinds of SIP request whose transactions differ (RFC 3261 §17).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// INVITE.
    Invite,
    /// Any other but ACK, which has no transaction of its own.
    Other,
}
