//! The dispatcher's note about a message that a worker has.

use super::decision::{ChainId, EntryId, Handoff, Search};
use crate::pack::packed;

/// The dispatcher's record about a message besides the message itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Note {
    /// Its entry in the table.
    pub entry: Option<EntryId>,
    /// The search for a worker so far.
    pub search: Search,
    /// The chain that waits for its answer.
    pub chain: Option<ChainId>,
}

impl Note {
    /// The note about a message that is handed over so.
    pub const fn of(handoff: &Handoff, chain: Option<ChainId>) -> Self {
        Note { entry: handoff.entry, search: handoff.search, chain }
    }
}

// The chain that waits for it is not taken over.
packed!(Note { entry, search } else { chain });
