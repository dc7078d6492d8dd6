//! Copies of a request that came by another way (RFC 3261 §8.2.2.2), and further attempts of a call.

use super::{Case, Dispatch, SipRequest};
use crate::dispatch::case::{Placement, Request as _};
use crate::dispatch::decision::{EntryId, Reason, Tried};
use crate::dispatch::table::Entry;
use crate::reservation::Weight;

impl Dispatch {
    /// The place of a request whose call a worker has, or has had: the request is a copy, or the next attempt.
    pub(super) fn place_known(&mut self, case: &Case<'_>, entry: &Entry) -> Placement {
        let Entry { target, discriminator, .. } = *entry;
        if discriminator == case.discriminator {
            // The worker answers a copy with 482: no session comes of it.
            return Placement { target, reason: Reason::Merged, size: Weight::NOTHING, follows: true, group: None };
        }
        let size = self.size(case);
        let group = SipRequest::group(case, self).and_then(|name| self.groups.join(name, target));
        match group.and_then(|group| self.groups.get(group)) {
            // While the caller fetched its credentials, its conference has begun at another worker.
            Some(held) if held.target != target => {
                Placement { target: held.target, reason: Reason::Group, size, follows: held.opened.is_some(), group }
            }
            _ => Placement { target, reason: Reason::Again, size, follows: true, group },
        }
    }

    /// The entry of another copy of the request (RFC 3261 §8.2.2.2), or of another attempt, at a worker other than
    /// `tried`.
    pub(super) fn beside(&self, case: &Case<'_>, id: EntryId, tried: Tried) -> Option<&Entry> {
        let others = self.table.of_call(case.call).filter(|(other, _)| *other != id).map(|(_, entry)| entry);
        let is_of_worker = |entry: &Entry| entry.target.worker().is_some() && !tried.contains(entry.target);
        let mut held = others.filter(|entry| self.is_held(entry) && is_of_worker(entry));
        // The next attempt goes to its conference, which may be at another worker by now.
        held.find(|entry| entry.discriminator == case.discriminator || SipRequest::group(case, self).is_none())
    }
}
