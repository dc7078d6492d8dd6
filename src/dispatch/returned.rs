//! A message that comes back from a worker, as the dispatcher decides about it anew.

use super::note::Note;
use super::search::Tried;
use crate::ids::WorkerId;
use crate::pack::packed;
use crate::reservation::Weight;
use crate::words::{HandedOver, RefuseReason};

/// A message that a worker refused, or that was found unanswered on the link of a worker that died. The link knows the
/// message as it was handed over; the dispatcher adds the worker and the cause of the return.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Returned {
    /// The message as it was handed over. A death that brings it back is not included in its search.
    pub message: HandedOver<Note>,
    /// The worker that had it.
    pub from: WorkerId,
    /// The cause of its return.
    pub cause: Cause,
}

/// The cause of a message's return.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// The worker refused it.
    Refused(RefuseReason),
    /// The worker died. Reported only once its link has been read to the end.
    Died,
}

impl Returned {
    /// Its worker died before the message was decided about again. The worker had given it back, so it did not kill the
    /// worker.
    pub fn on_worker_died(&mut self) {
        (self.cause, self.message.sent) = (Cause::Died, false);
    }

    /// The size it was handed over with.
    pub(super) const fn weight(&self) -> Weight {
        let envelope = &self.message.envelope;
        Weight { units: envelope.size, named: envelope.names_size }
    }

    /// Workers to exclude. A dead worker is not excluded: its successor in the slot may serve the message.
    pub(super) fn excluded(&self) -> Tried {
        let mut tried = Tried::default();
        for &target in self.message.note.search.tried.as_slice().iter().filter(|&&target| target != self.from) {
            tried.add(target);
        }
        if self.cause != Cause::Died {
            tried.add(self.from);
        }
        tried
    }
}

packed!(Returned { message, from, cause });
packed!(Cause as Died = 0, Refused(reason) = 1);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pack::Pack;

    #[test]
    fn a_cause_keeps_its_bytes_whatever_the_order_of_the_list_of_reasons() {
        let mut bytes = Vec::new();
        let causes = [Cause::Died, Cause::Refused(RefuseReason::Late), Cause::Refused(RefuseReason::Other)];
        causes.iter().for_each(|cause| cause.pack(&mut bytes));
        assert_eq!(bytes, [0, 1, 3, 1, 255]);
    }
}
