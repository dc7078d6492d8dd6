//! Messages as bytes on the wire: borrowed views, no state, nothing owned but a scanner's scratch.
//!
//! Nothing here decides anything. A reader of a message sees the text that the sender wrote; `dispatch` and `call`
//! decide what it means for a session.

mod decimal;
mod find;
pub mod framing;
pub mod handoff;
mod label;
pub mod line;
pub mod load;
mod lower;
pub mod mgcp;
pub mod mscml;
pub mod msml;
pub mod multipart;
mod quoted;
pub mod sdp;
pub mod sip;
mod xml;

pub(crate) use decimal::{push_address, push_ip, push_number};
pub(crate) use find::find;
pub use label::Label;
pub(crate) use lower::{write_lowered, write_words};
pub use quoted::quoted;
