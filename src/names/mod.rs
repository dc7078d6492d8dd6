//! Names to addresses: what to ask name servers, in which order, for whom first, and what is remembered of the answers.
//!
//! [`Resolver`] is one value without socket, clock or thread: questions and responses go in, queries and answers come out.
//! It asks for SRV records where a name has no port and for A and AAAA records (RFC 3263 §4.2), keeps answers for as long
//! as they say and refusals for a while, and shares what may be asked at the same time fairly: first among the sources
//! that a name came from, then among the domains that a source names. A domain whose servers never answer costs those
//! who name it, and nobody else.
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
pub use question::{Asked, Endpoint, Protocol, Question, Source, Unfound};
pub use record::{Kind, Outcome, Service};
pub use resolver::{Answer, Limits, Query, Resolver};
pub use servers::Servers;
