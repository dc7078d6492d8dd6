//! What a worker does with a call: one user agent as a value, without socket, clock or thread.
//!
//! [`Uas`] reads SIP messages and says what to send, what happened to a call and which handed-over messages are dealt
//! with. It knows transactions, dialogs and session timers; it does not know media: session descriptions pass through it
//! as bytes between the peer and the application ([`offer`] reads and answers them).
//!
//! The shell feeds it with [`Uas::on_message`], [`Uas::handle_timeout`] and the application's actions
//! ([`Uas::ring`], [`Uas::accept`], [`Uas::reject`], [`Uas::hang_up`], …) and carries out what
//! [`Uas::poll_output`] gives. The vocabulary of both directions is in [`exchange`].
//!
//! Two promises hold for every message that was handed over, whatever it is: exactly one [`Output::Answered`] or
//! [`Output::Refuse`] comes out for it; and each [`Event::Incoming`] is followed by exactly one [`Event::Ended`].
//!
//! In two things it departs from RFC 3261 on purpose, because the source of a datagram can be forged:
//!
//! - §13.3.1.4 and §17.2.1 (and RFC 3262 §3) have responses to an INVITE repeated for 64·T1. Until the far end has shown that
//!   it hears us (ACK, PRACK, a request with our tag), at most five datagrams leave for an INVITE, its BYE included, all of
//!   them to its source; a copy of the INVITE is answered once more, also after a 2xx, where RFC 6026 §7.1 absorbs it. Of a
//!   re-INVITE, and of a copy, from another host than our tag was told to, the tag shows nothing: they are counted as well.
//! - §12.2.1.1 sends our requests to the far end's Contact. Where that is an address at which it was not heard, and no proxy
//!   has recorded its route, they go to where it was heard last, by the socket it was heard by.
//!
//! [`gateway`] is to MGCP what [`Uas`] is to SIP.

pub mod exchange;
pub mod external;
pub mod gateway;
pub mod identity;
pub mod offer;
pub mod session_timer;
pub mod slab;

mod allowance;
mod body;
mod carried;
mod client;
mod dialog;
mod ending;
mod heard;
mod invite;
mod next_hop;
mod options;
mod refresh;
mod refused;
mod reliable;
mod reoffer;
mod request;
mod respond;
mod rooms;
mod server;
mod standalone;
mod strangers;
mod uas;
mod unanswerable;

#[cfg(test)]
mod tests;

pub use exchange::{Arrival, CallKey, EndReason, Event, Hop, Output, Path, ResolveKey, StandaloneKey, Transmit};
pub use identity::{Identity, Limits, MediaPlace, SessionTimer, Timers};
pub use reliable::Delivery;
pub use uas::{Load, Uas};
