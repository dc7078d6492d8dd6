//! Packets and the terms they travel on: the slot's RTP ports, a stream with its RTCP, its echo, and a call's streams
//! together. Values only: bytes and the sender's address in, bytes and an address out.

pub mod codec;
pub mod echo;
pub mod latch;
pub mod ports;
pub mod rtcp;
pub mod session;
pub mod stream;

pub use codec::{Codec, Direction, Payload, Payloads};
pub use echo::Echo;
pub use ports::{Exhausted, Ports};
pub use session::Session;
pub use stream::{Dropped, Stream, Terms};
