//! The room that a link has left.

use crate::pack::packed;

/// The messages that a link can still take. Less room is greater.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Room {
    /// All messages.
    #[default]
    All,
    /// Messages that follow a call; of new calls only those from sources with less waiting than their fair share.
    Scarce,
    /// Only messages that follow a call (CANCEL, ACK, BYE): they have a reserve.
    Following,
    /// No messages.
    None,
}

impl Room {
    /// Whether it takes new calls, at least of some sources.
    pub const fn takes_new(self) -> bool {
        matches!(self, Room::All | Room::Scarce)
    }
}

packed!(Room as All = 0, Scarce = 1, Following = 2, None = 3);
