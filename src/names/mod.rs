//! Names to addresses: the queries to name servers, their order, the turns of the askers, and the answers that are
//! remembered.
//!
//! [`Resolver`] is one value without socket, clock or thread: questions and responses go in, queries and answers come
//! out. It asks for NAPTR records where the asker is free to choose a transport, for SRV records where a name has no
//! port, and for A and AAAA records (RFC 3263 §4), keeps answers for their TTL and refusals for a while, and shares the
//! queries that may be under way at the same time fairly: first among the sources that a name came from, then among the
//! domains that a source names. A domain whose servers never answer costs only the sources that name it.
//!
//! `net::resolve` brings the queries to the name servers and the system's files here.

mod cache;
mod hosts;
mod lookup;
pub mod message;
mod question;
mod record;
mod resolver;
mod servers;
mod shares;

#[cfg(test)]
mod tests;

pub use hosts::Hosts;
pub use question::{Asked, Endpoint, Protocol, Question, Server, Source, Unfound};
pub use record::{Kind, Outcome, Pointer, Service};
pub use resolver::{Answer, Limits, Query, Resolver};
pub use servers::Servers;
