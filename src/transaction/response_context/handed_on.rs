//! A context whose owner hands it on to another one, as bytes.

use std::time::Duration;

use super::ResponseContext;
use super::branch::Branch;
use crate::time::Time;
use crate::transaction::LIFETIME;

/// The shortest time after which another proxy is asked for: with none it would be asked for without end.
const SHORTEST: Duration = Duration::from_millis(50);

impl ResponseContext {
    /// Whether a context that another owner has left ends by itself: `longest` after the last response all of it is
    /// over, and a caller that waits for a final response has a branch that may still bring one, or its owner looks for
    /// the next way.
    pub fn ends(&self, longest: Duration, now: Time) -> bool {
        let limit = now + longest + LIFETIME;
        let waits = self.server.is_proceeding() && !self.is_expired;
        let is_awaited = self.branches.last().is_some_and(Branch::is_awaited);
        let server_ends = waits || self.is_expired || self.server.is_terminated() || self.server.end() <= limit;
        self.has_left()
            && (is_awaited || self.is_seeking || !waits)
            && server_ends
            && self.terms.answer_within >= SHORTEST
            && self.terms.pending_max <= longest
            && self.cancel_ends.is_none_or(|end| end <= limit)
            && self.branches.iter().all(|branch| branch.ends_by(limit))
    }
}
