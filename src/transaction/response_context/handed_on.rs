//! A context whose owner hands it on to another one, as bytes.

use std::sync::Arc;

use super::branch::Branch;
use super::{ResponseContext, Terms};
use crate::time::Time;

impl ResponseContext {
    /// Goes on, on these terms, where another owner has left it. Returns whether it ends by itself: all of it is over
    /// by `limit`, and a caller that waits for a final response has a branch that may still bring one.
    pub fn go_on(&mut self, terms: Arc<Terms>, limit: Time) -> bool {
        self.terms = terms;
        let waits = self.server.is_proceeding() && !self.is_expired;
        let is_awaited = self.branches.last().is_some_and(Branch::is_awaited);
        let server_ends = waits || self.is_expired || self.server.is_terminated() || self.server.end() <= limit;
        // Nobody looks for the way of one that seeks it.
        let is_placed = self.has_left() && !self.is_seeking;
        is_placed
            && (is_awaited || !waits)
            && server_ends
            && self.cancel_ends.is_none_or(|end| end <= limit)
            && self.branches.iter().all(|branch| branch.ends_by(limit))
    }
}
