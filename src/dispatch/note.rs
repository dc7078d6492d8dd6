//! The dispatcher's note about a message that a worker has.

use super::decision::{ChainId, EntryId, Search};
use crate::pack::{Damaged, Pack, Packed};

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

impl Pack for Note {
    fn pack(&self, out: &mut Vec<u8>) {
        // The chain that waits for it is not taken over.
        let Note { entry, search, chain: _ } = self;
        entry.pack(out);
        search.pack(out);
    }

    fn unpack(from: &mut Packed<'_>) -> Result<Self, Damaged> {
        Ok(Note { entry: Pack::unpack(from)?, search: Pack::unpack(from)?, chain: None })
    }

    fn layout(out: &mut String) {
        out.push_str("Note:");
        <Option<EntryId>>::layout(out);
        Search::layout(out);
    }
}
