//! The room of a link: how much more it takes, and for whom.

use super::{DispatcherEnd, UNREAD_LIMIT};
use crate::link::store::{BLOCK, Share, Store};
use crate::words::Room;

impl<N: Copy> DispatcherEnd<N> {
    /// The messages that the link can still take: the decision is told after each push and each frame.
    pub fn room(&self) -> Room {
        let unread = match self.unread() {
            unread if unread < UNREAD_LIMIT - UNREAD_LIMIT / 4 => Room::All,
            unread if unread < unread_limit(Share::Common) => Room::Scarce,
            unread if unread < unread_limit(Share::Reserve) => Room::Following,
            _ => Room::None,
        };
        let reserve = index_reserve(Share::Common, &self.store);
        let places = match self.index.room() {
            places if places > 2 * reserve => Room::All,
            places if places > reserve => Room::Scarce,
            1.. => Room::Following,
            0 => Room::None,
        };
        self.store.room().max(unread).max(places)
    }

    /// Assigned numbers that were never pushed count as well, until the worker has read a later message.
    pub(super) const fn unread(&self) -> u64 {
        self.pushed.0.saturating_sub(self.taken.0)
    }
}

/// Most unread messages under a share.
pub(super) const fn unread_limit(share: Share) -> u64 {
    match share {
        Share::Common => UNREAD_LIMIT - UNREAD_LIMIT / 8,
        Share::Reserve => UNREAD_LIMIT,
    }
}

/// Number of places of the index that a share may not use.
pub(super) fn index_reserve(share: Share, store: &Store) -> usize {
    match share {
        Share::Common => store.capacity() / (2 * BLOCK) / 8,
        Share::Reserve => 0,
    }
}
