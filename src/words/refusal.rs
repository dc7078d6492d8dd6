//! The reasons for which a worker gives a message back.

use crate::pack::packed;

/// The reason why a worker gives a message back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RefuseReason {
    /// No units left for this size.
    Full,
    /// It is draining.
    Draining,
    /// The deadline had passed when it was read.
    Late,
    /// Ports, descriptors or memory are used up.
    Exhausted,
    /// It follows a request of the same transaction that was refused.
    Follows,
    /// A reason of a newer version.
    Other,
}

packed!(RefuseReason as Full = 1, Draining = 2, Late = 3, Exhausted = 4, Follows = 5, Other = 255);

impl RefuseReason {
    /// Every reason.
    pub const ALL: [RefuseReason; 6] = [
        RefuseReason::Full,
        RefuseReason::Draining,
        RefuseReason::Late,
        RefuseReason::Exhausted,
        RefuseReason::Follows,
        RefuseReason::Other,
    ];

    /// Its name in counters.
    pub const fn label(self) -> &'static str {
        match self {
            RefuseReason::Full => "full",
            RefuseReason::Draining => "draining",
            RefuseReason::Late => "late",
            RefuseReason::Exhausted => "exhausted",
            RefuseReason::Follows => "follows",
            RefuseReason::Other => "other",
        }
    }
}
