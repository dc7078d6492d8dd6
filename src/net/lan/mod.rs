//! Links over a network: connections that carry whole frames, and the links that outlive them.
//!
//! A link is used like a Unix one: a frame is taken whole or not at all, and comes out whole. What the socket has not
//! taken of a frame is kept, and the link takes no other until it has left.

mod channel;
mod connection;

pub use channel::LanChannel;
pub use connection::Connection;
