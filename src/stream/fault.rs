//! Reasons for which a connection ends.

use crate::wire::framing::StreamFault;

/// The reason for which a connection has to be closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// No further message can be found in it.
    Framing(StreamFault),
    /// Nothing at all came within the limit.
    Silent,
    /// A message was not whole within the limit.
    SlowMessage,
    /// Nothing came for the limit's time.
    Idle,
}

impl Fault {
    /// A short name for logs and counters.
    pub const fn label(self) -> &'static str {
        match self {
            Fault::Framing(fault) => fault.label(),
            Fault::Silent => "silent",
            Fault::SlowMessage => "slow-message",
            Fault::Idle => "idle",
        }
    }
}
