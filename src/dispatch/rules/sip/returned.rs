//! SIP messages that come back from a worker, refused or orphaned.

use super::{Case, Dispatch};
use crate::dispatch::decision::{Arrival, Cause, Decision, Reason, Returned, Target};
use crate::dispatch::table::State;
use crate::time::Time;
use crate::wire::sip::{Message, Method};

/// Decides about a message that comes back.
pub(in crate::dispatch) fn decide_returned(
    dispatch: &mut Dispatch,
    message: &Message<'_>,
    arrival: &Arrival,
    back: &Returned,
    now: Time,
) -> Decision {
    let dropped = |reason| Decision { target: Target::Drop, reason };
    let Some(case) = Case::of(message, arrival, now, &dispatch.printer) else {
        return dropped(Reason::OrphanInDialog);
    };
    match (case.request.method, case.request.to_tag) {
        (Method::Ack, _) => dropped(Reason::OrphanInDialog),
        (Method::Cancel, None) => dispatch.cancel_returned(&case, back),
        (_, Some(_)) => match back.cause {
            Cause::Died => dispatch.answer(&case, 481, Reason::OrphanInDialog),
            Cause::Refused(_) => dispatch.answer(&case, 500, Reason::RefusedInDialog),
        },
        (_, None) => dispatch.request_returned(&case, back),
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

    fn request_returned(&mut self, case: &Case<'_>, back: &Returned) -> Decision {
        match back.entry {
            Some(id) => self.entered_returned(case, id, back),
            // A retransmission: only the first copy is decided about.
            None if back.follows && back.size == 0 => Decision { target: Target::Drop, reason: Reason::MovedAlready },
            None => self.unrecorded_returned(case, back),
        }
    }
}
