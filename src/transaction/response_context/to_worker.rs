//! A request goes to a worker, which answers its caller itself: no response of ours leaves from then on, and copies,
//! CANCEL and ACK are the worker's. Its proxies are left as for another proxy. A 2xx of theirs passes all the same (RFC
//! 3261 §16.7 step 5): where it comes before the worker's answer, the call is its proxy's.

use super::branch::Branch;
use super::{Effect, ResponseContext};
use crate::time::Time;

impl ResponseContext {
    /// A worker has the request.
    pub(super) fn go_to_worker(&mut self) {
        self.branches.last_mut().into_iter().for_each(Branch::abandon);
        self.server.leave();
        self.is_with_worker = true;
    }

    /// A proxy has answered the INVITE with a 2xx. Where the request has left it for a worker, that takes the request
    /// back, as from another proxy (RFC 3261 §16.7 step 10).
    pub(super) fn take_back(&mut self, index: usize, status: u16, now: Time, out: &mut Vec<Effect>) {
        let Some(to) = self.branches.get(index).map(Branch::to).filter(|_| self.is_with_worker) else { return };
        self.is_with_worker = false;
        self.answered = Some(status);
        out.push(Effect::TakeBack(to.proxy));
        self.cancel_all_but(Some(index), now, out);
    }
}
