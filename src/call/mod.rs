//! A worker's handling of a call: one user agent as a value, without socket, clock or thread.
//!
//! [`Uas`] reads SIP messages. Its outputs say which bytes to send, which events a call has, and which handed-over
//! messages are dealt with. It knows transactions, dialogs and session timers. It does not know media: session
//! descriptions pass through it as bytes between the peer and the application ([`offer`] reads and answers them).
//!
//! The shell feeds it with [`Uas::on_message`], [`Uas::handle_timeout`] and the application's actions ([`Uas::ring`],
//! [`Uas::accept`], [`Uas::reject`], [`Uas::hang_up`], …) and carries out the outputs of [`Uas::poll_output`]. The
//! vocabulary of both directions is in [`exchange`].
//!
//! ```
//! use pointsman::call::{Arrival, Identity, Limits, Output, SessionTimer, Uas};
//! use pointsman::time::Time;
//! use pointsman::wire::sip::Scanner;
//! use pointsman::words::ReplyFrom;
//!
//! let identity = Identity {
//!     token: "pm0123456789abcdef".into(),
//!     own: vec!["192.0.2.1:5070".parse().unwrap()],
//!     listeners: vec!["192.0.2.1:5060".parse().unwrap()],
//!     duplicates: vec![true],
//!     away: Vec::new(),
//!     advertise: Vec::new(),
//!     hosts: Vec::new(),
//!     reply_from: ReplyFrom::Listener,
//!     contact_name: None,
//!     speaks_tls: false,
//!     program: "".into(),
//!     seed: [1, 2],
//! };
//! let mut uas = Uas::new(identity, Limits::default(), SessionTimer::default());
//!
//! let options = b"OPTIONS sip:b@192.0.2.1:5070 SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.9;branch=z9hG4bK1\r\n\
//!     From: <sip:a@192.0.2.9>;tag=1\r\nTo: <sip:b@192.0.2.1>\r\nCall-ID: 1\r\nCSeq: 1 OPTIONS\r\n\r\n";
//! let arrival = Arrival::own(0, "192.0.2.9:5060".parse().unwrap(), "192.0.2.1:5070".parse().unwrap(), 1);
//! let mut scanner = Scanner::new();
//! uas.on_message(&scanner.scan(options).unwrap(), &arrival, Time(1_000_000_000));
//! let Some(Output::Transmit(answer)) = uas.poll_output() else { panic!("no answer") };
//! assert!(answer.bytes.starts_with(b"SIP/2.0 200 "));
//! ```
//!
//! Two promises hold. For every message that was handed over, whatever it is, exactly one [`Output::Answered`] or
//! [`Output::Refuse`] comes out. Each [`Event::Incoming`] is followed by exactly one [`Event::Ended`].
//!
//! It departs from RFC 3261 in two points on purpose, because the source of a datagram can be forged:
//!
//! - §13.3.1.4 and §17.2.1 (and RFC 3262 §3) have responses to an INVITE repeated for 64·T1. Here at most five
//!   datagrams leave for an INVITE, its BYE included, until the far end has shown that it hears us (ACK, PRACK, a
//!   request with our tag). All of them go to the INVITE's source. A copy of the INVITE is answered once more, also
//!   after a 2xx, where RFC 6026 §7.1 absorbs it. A re-INVITE, or a copy, that comes from another host than the one our
//!   tag was told to does not show by the tag that its sender hears us: its datagrams are counted as well.
//! - §12.2.1.1 sends our requests to the far end's Contact. If that is an address at which the far end was not heard,
//!   and no proxy has recorded its route, our requests go to the address where it was heard last, by the socket it was
//!   heard by.
//!
//! [`gateway`] is to MGCP what [`Uas`] is to SIP.

pub mod exchange;
pub mod external;
pub mod gateway;
pub mod identity;
pub mod offer;

mod refused;
mod seqs;
mod strangers;
mod uas;

pub use exchange::{Arrival, CallKey, EndReason, Event, Hop, Load, Output, Path, ResolveKey, StandaloneKey, Transmit};
pub use identity::{Identity, Limits, MediaPlace, SessionTimer};
pub use uas::{Delivery, Request, Uas};
