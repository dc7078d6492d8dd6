//! SIP requests that come back from a worker, and that followed something there.

use super::{Case, Dispatch};
use crate::dispatch::decision::{Decision, Reason, Target};
use crate::dispatch::returned::{Cause, Returned};
use crate::dispatch::table::State;
use crate::wire::sip::Method;

/// Decides about a request that has made no entry.
pub(super) fn decide(case: &Case<'_>, dispatch: &mut Dispatch, back: &Returned) -> Decision {
    let dropped = |reason| Decision { target: Target::Drop, reason };
    let envelope = &back.message.envelope;
    match (case.request.method, case.request.to_tag, back.cause) {
        (Method::Ack, ..) => dropped(Reason::OrphanInDialog),
        (Method::Cancel, None, _) => dispatch.cancel_returned(case, back),
        (_, Some(_), Cause::Died) => dispatch.answer(case, 481, Reason::OrphanInDialog),
        (_, Some(_), Cause::Refused(_)) => dispatch.answer(case, 500, Reason::RefusedInDialog),
        // A retransmission: only the first copy is decided about.
        (_, None, _) if envelope.follows && envelope.size == 0 => dropped(Reason::MovedAlready),
        (_, None, _) => dispatch.unrecorded_returned(case, back),
    }
}

impl Dispatch {
    fn cancel_returned(&mut self, case: &Case<'_>, back: &Returned) -> Decision {
        let known = self.transaction_of_cancel(case);
        let Some((id, entry)) = known.and_then(|id| Some((id, *self.table.get(id)?))) else {
            return self.answer(case, 481, Reason::OrphanInDialog);
        };
        match entry.state {
            State::Answered { .. } | State::Over => self.answer(case, 481, Reason::OrphanInDialog),
            State::AnsweredHere(_) => self.answer(case, 200, Reason::CancelAnswered),
            // Its INVITE had moved to another worker before the CANCEL was seen.
            State::Pending { .. } if self.has_moved(&entry, back) => {
                self.follow(entry.target, Reason::Cancel, case.now)
            }
            State::Pending { .. } => {
                self.table.cancel(id);
                self.answer(case, 200, Reason::CancelAnswered)
            }
        }
    }
}
