//! Fills one worker before the next, so that the last ones can be stopped.

use super::{Ask, Snapshot};

pub(super) fn pick(snapshot: &Snapshot<'_>, ask: &Ask) -> Option<usize> {
    snapshot.from(0, ask)
}
