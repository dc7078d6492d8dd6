//! The worker as media gateway: MGCP 1.0 (RFC 3435) as a value, without socket, clock or thread.
//!
//! [`Gateway`] reads commands, makes endpoints and connections, answers, and tells the media what to do. Its endpoints
//! are virtual: `CRCX 1 ann/$@domain` makes one, and it is gone with its last connection and its last request. So only
//! endpoints in use take room, however many are asked for.
//!
//! The shell feeds it with [`Gateway::on_message`], [`Gateway::on_unparsable`] and [`Gateway::handle_timeout`], and
//! carries out the outputs of [`Gateway::poll_output`]. It carries out [`Output::Media`] before the next input, and
//! answers it at once with [`Gateway::on_media`]; it carries out the rest when it likes, in order. The vocabulary of
//! both directions is in [`exchange`]. Arrivals and the ways of transmissions are those of SIP
//! ([`crate::call::exchange`]). A command whose answer goes back over the link is one that came by a stream connection
//! of the dispatcher.
//!
//! Three promises hold. For every message that was handed over exactly one [`Output::Answered`] or [`Output::Refuse`]
//! comes out. A command is carried out whole or not at all, and its retransmission gets the same bytes for T-HIST (RFC
//! 3435 §3.5.1). An answer is never answered.

pub mod events;
pub mod exchange;
pub mod identity;
pub mod kind;
pub mod notify;
pub mod restart;

mod answer;
mod audit;
mod bearer;
mod calls;
mod claims;
mod connection;
mod create;
mod delete;
mod description;
mod doubt;
mod embedded;
mod endpoint;
mod job;
mod listening;
mod lost;
mod measuring;
mod media_gateway;
mod mode;
mod modify;
mod params;
mod remote;
mod request;
mod silence;
mod terms;
mod wanted;

#[cfg(test)]
mod tests;

pub use exchange::{Ask, ConnectionKey, Counters, EndpointKey, Flow, LookupKey, Output, Sound, Told};
pub use identity::{Identity, Limits, Naming};
pub use kind::Kind;
pub use media_gateway::Gateway;
