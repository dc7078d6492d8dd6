//! The operator's side: the stats socket with its protocol and server, the client and its tables.
//!
//! It decides nothing about calls. The control side of the dispatcher gives [`server::serve`] a function from
//! [`protocol::Command`] to [`protocol::Reply`]; `pointsman stat` and the other subcommands use [`client::Client`].

pub mod client;
mod clients;
pub mod connections;
pub mod listener;
pub mod protocol;
pub mod proxies;
pub mod rights;
pub mod screen;
pub mod server;
pub mod table;
