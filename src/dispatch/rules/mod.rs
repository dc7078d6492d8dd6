//! The rules: the order of questions by which a request finds its worker or its answer.
//!
//! Questions of both protocols are asked once, about a `Case`: `placing`, `refusing`, `returned`.
//! [`sip`] and [`mgcp`] have the order of each protocol's own questions, and say what differs. [`settings`] are the
//! operator's.

pub mod mgcp;
mod placing;
mod refusing;
mod returned;
pub mod settings;
pub mod sip;

pub use settings::{Methods, Rules, SizeRules, udp_listener_towards};
