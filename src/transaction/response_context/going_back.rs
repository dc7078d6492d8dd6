//! A request goes back to an earlier attempt: two addresses of one receiver may be those of one server, which answers
//! the later attempt with 482, or responds to the earlier one after all.

use super::branch::Branch;
use super::{Effect, ResponseContext};
use crate::time::Time;
use crate::transaction::Kind;

impl ResponseContext {
    /// Whether an earlier attempt has the call again with this first response to it.
    pub(super) fn has_call_again(&self, index: usize, status: u16) -> bool {
        let (Some(branch), Some(last)) = (self.branches.get(index), self.branches.last()) else { return false };
        let is_earlier = branch.is_left() && branch.to().proxy == last.to().proxy;
        is_earlier && self.is_free() && (status > 100 || last.is_unheard() || !last.is_pending())
    }

    /// Another attempt at the receiver of this one, by which its server may have the INVITE: the one in use, or one
    /// that the request may go back to.
    pub(super) fn other_attempt(&self, index: usize) -> Option<usize> {
        let proxy = self.branches.get(index).filter(|_| self.kind == Kind::Invite)?.to().proxy;
        let may_have_it = |branch: &Branch| branch.to().proxy == proxy && branch.is_pending();
        if self.is_in_use(index) {
            let other = self.branches.iter().rposition(|branch| may_have_it(branch) && branch.is_left());
            return other.filter(|_| self.is_free());
        }
        let last = self.branches.len().checked_sub(1)?;
        self.branches.get(last).filter(|branch| may_have_it(branch)).map(|_| last)
    }

    /// Takes the request back to a branch that it has left, and leaves the one that has it.
    pub(super) fn go_back(&mut self, index: usize, now: Time, out: &mut Vec<Effect>) {
        if let Some(last) = self.branches.last_mut() {
            last.abandon();
            last.cancel(now, out);
        }
        self.branches.get_mut(index..).into_iter().for_each(|later| later.rotate_left(1));
        self.branches.last_mut().into_iter().for_each(Branch::resume);
    }
}
