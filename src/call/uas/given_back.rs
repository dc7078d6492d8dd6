//! The requests that were given back to the dispatcher: their copies, and the requests that follow them, go back too.

use std::time::Duration;

use crate::call::refused::Refused;
use crate::call::uas::request::{Case, Fingerprints, Request};
use crate::time::Time;
use crate::transaction::LIFETIME;
use crate::words::RefuseReason;

/// Transactions and conferences that this worker gave back.
#[derive(Debug)]
pub(super) struct GivenBack {
    transactions: Refused,
    /// Conferences of which a leg was given back.
    conferences: Refused,
}

/// The dispatcher sends no message that it placed by selection so late that it is read more than 2 s after it came.
const LEGS_FOLLOW_WITHIN: Duration = Duration::from_secs(4);

impl GivenBack {
    pub(super) const fn new() -> Self {
        GivenBack { transactions: Refused::new(LIFETIME), conferences: Refused::new(LEGS_FOLLOW_WITHIN) }
    }

    /// The reason to give back a handed-over request: it comes too late, or it follows a request that was given back.
    pub(super) fn reason(&mut self, case: &Case<'_>, prints: &Fingerprints) -> Option<RefuseReason> {
        let Case { request, merged, arrival, now, .. } = *case;
        // A copy has `follows`, because the dispatcher sent it after its request. A request that is placed here anew is
        // the next attempt.
        if !self.transactions.is_empty(now) {
            let names = [merged.filter(|_| arrival.follows), Some(prints.invite(request))];
            if names.into_iter().flatten().any(|name| self.transactions.contains(name, now)) {
                return Some(RefuseReason::Follows);
            }
        }
        if arrival.follows {
            return None;
        }
        if arrival.deadline.is_some_and(|deadline| deadline < now) {
            self.note(request, prints, now);
            return Some(RefuseReason::Late);
        }
        // The conference is placed elsewhere together with the leg that was given back: a leg that was on its way then
        // must not open it here.
        if self.conferences.is_empty(now) {
            return None;
        }
        let leg = prints.conference(request)?;
        if !self.conferences.contains(leg, now) {
            return None;
        }
        self.note(request, prints, now);
        Some(RefuseReason::Follows)
    }

    /// Notes that a request is given back: its copies and the requests that follow it must go back as well.
    pub(super) fn note(&mut self, request: &Request<'_>, prints: &Fingerprints, now: Time) {
        self.transactions.insert(prints.invite(request), now);
        self.transactions.insert(prints.merged(request), now);
        if let Some(conference) = prints.conference(request) {
            self.conferences.insert(conference, now);
        }
    }
}
