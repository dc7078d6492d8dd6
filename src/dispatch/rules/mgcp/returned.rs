//! Commands that come back from a worker, refused or orphaned.
//!
//! Only a command that was placed by selection moves to another worker, to each worker once. The legs of a call that
//! its worker has not begun move together. A command that names its endpoint has one worker only, and is answered.

use super::meant::Meant;
use super::{Case, Dispatch};
use crate::dispatch::decision::{Arrival, Cause, Decision, Reason, Returned, Target};
use crate::dispatch::table::{Entry, State};
use crate::time::Time;
use crate::wire::mgcp::{Message, ReturnCode, Verb};
use crate::words::ReplyTo;

/// Decides about a message that comes back.
pub(in crate::dispatch) fn decide_returned(
    dispatch: &mut Dispatch,
    message: &Message<'_>,
    arrival: &Arrival,
    back: &Returned,
    now: Time,
) -> Decision {
    let dropped = |reason| Decision { target: Target::Drop, reason };
    // It is one of many handovers of the same command: the other workers answer.
    if let ReplyTo::Gathering(gathering) = arrival.reply_to {
        dispatch.gatherings.leave_out(gathering, back.from, now);
        return dropped(Reason::Everyone);
    }
    let Message::Command(command) = message else { return dropped(Reason::OrphanInDialog) };
    let case = dispatch.told_apart(Case::of(command, arrival, now, &dispatch.printer));
    match back.entry {
        Some(id) => dispatch.entered_returned(&case, id, back),
        None => dispatch.named_returned(&case, back),
    }
}

impl Dispatch {
    /// Decides about a command that found its worker by a name, or about a copy of a command in the table.
    fn named_returned(&mut self, case: &Case<'_>, back: &Returned) -> Decision {
        let dropped = |reason| Decision { target: Target::Drop, reason };
        let known = self.entry_of(case.name);
        match (back.cause, known) {
            (_, Some((_, Entry { state: State::AnsweredHere(code), .. }))) => {
                self.answer(case, code, Reason::AnsweredBefore)
            }
            // Only the first copy is decided about; this one is dropped.
            (Cause::Refused(_), Some(_)) if case.request.verb == Verb::Crcx => dropped(Reason::MovedAlready),
            (Cause::Died, Some(_)) if case.request.leaves_choice() => dropped(Reason::MovedAlready),
            // The link did not take it, but the worker may have carried out an earlier copy.
            (Cause::Refused(_), _) if !back.sent => dropped(Reason::LinkFull),
            (Cause::Refused(_), Some((id, _))) => {
                self.conclude(case, id, ReturnCode::TRANSIENT_ERROR.0, Reason::RefusedInDialog)
            }
            (Cause::Refused(_), None) => self.answer(case, ReturnCode::TRANSIENT_ERROR.0, Reason::RefusedInDialog),
            (Cause::Died, _) => {
                let code = match self.meant(case) {
                    Meant::Gone(code) => code,
                    _ => ReturnCode::ENDPOINT_UNKNOWN,
                };
                self.answer(case, code.0, Reason::OrphanInDialog)
            }
        }
    }
}
