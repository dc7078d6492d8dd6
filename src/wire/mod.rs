//! Messages as bytes on the wire: borrowed views, no state, nothing owned but a scanner's scratch.
//!
//! Nothing here decides anything. A reader of a message sees the text that the sender wrote; `dispatch` and `call`
//! decide what it means for a session.

pub mod framing;
mod label;
pub mod line;
pub mod mgcp;
pub mod mscml;
pub mod msml;
pub mod multipart;
mod quoted;
pub mod sdp;
pub mod sip;
mod words;
mod xml;

pub use label::Label;
pub use quoted::quoted;
pub(crate) use words::{write_lowered, write_words};
