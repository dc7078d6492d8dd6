//! The dispatcher's note about a message that a worker has.

use super::decision::{ChainId, EntryId, Tried};
use crate::pack::{Damaged, Pack, Packed};
use crate::time::Time;

/// The dispatcher's record about a message besides the message itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Note {
    /// Its entry in the table.
    pub entry: Option<EntryId>,
    /// The workers that have had it.
    pub tried: Tried,
    /// The time since which it is offered around: its first handover, or the last death or `Late` refusal.
    pub since: Time,
    /// Number of workers that have died with it.
    pub deaths: u8,
    /// The chain that waits for its answer.
    pub chain: Option<ChainId>,
}

impl Pack for Note {
    fn pack(&self, out: &mut Vec<u8>) {
        // The chain that waits for it is not taken over.
        let Note { entry, tried, since, deaths, chain: _ } = self;
        entry.pack(out);
        tried.pack(out);
        since.pack(out);
        deaths.pack(out);
    }

    fn unpack(from: &mut Packed<'_>) -> Result<Self, Damaged> {
        Ok(Note {
            entry: Pack::unpack(from)?,
            tried: Pack::unpack(from)?,
            since: Pack::unpack(from)?,
            deaths: Pack::unpack(from)?,
            chain: None,
        })
    }

    fn layout(out: &mut String) {
        out.push_str("Note:");
        <Option<EntryId>>::layout(out);
        Tried::layout(out);
        Time::layout(out);
    }
}
