//! TLS: files of certificates and keys to the configurations of rustls.
//!
//! A set of files is used whole or not at all: a fault in one of them leaves the configuration that stands.

mod certified;
mod client;
mod error;
mod files;
mod notes;
mod resolver;
mod server;
mod tickets;

pub use client::{ProxyKind, ProxyKinds, client_config, proxy_kinds};
pub use error::{TlsError, TlsFault};
pub use files::{Contents, Identity};
pub use notes::check;
pub(in crate::net) use server::roots;
pub use server::{listeners_config, server_config};

#[cfg(test)]
mod tests;
