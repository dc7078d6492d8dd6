//! Links over a network: connections that carry whole frames, and the links that outlive them.
//!
//! A link is used like a Unix one: a frame is taken whole or not at all, and comes out whole. What the socket has not
//! taken of a frame is kept, and the link takes no other until it has left.

pub mod certify;
mod channel;
mod connection;
mod credentials;
mod dial;

pub use channel::{Connected, LanChannel};
pub use connection::{Connection, NoName};
pub use credentials::Credentials;
pub use dial::{Dialled, Dialler, Network, dial};

#[cfg(test)]
mod tests;
