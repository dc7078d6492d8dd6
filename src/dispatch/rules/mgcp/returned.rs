//! Commands that come back from a worker, and that followed something there.
//!
//! A command that names its endpoint has one worker only, and is answered.

use super::meant::Meant;
use super::{Case, Dispatch};
use crate::dispatch::decision::{Decision, Reason, Target};
use crate::dispatch::returned::{Cause, Returned};
use crate::dispatch::table::{Entry, State};
use crate::wire::mgcp::{ReturnCode, Verb};

/// Decides about a command that found its worker by a name, or about a copy of a command in the table.
pub(super) fn decide(case: &Case<'_>, dispatch: &mut Dispatch, back: &Returned) -> Decision {
    let dropped = |reason| Decision { target: Target::Drop, reason };
    let known = dispatch.entry_of(case.name);
    match (back.cause, known) {
        (_, Some((_, Entry { state: State::AnsweredHere(code), .. }))) => {
            dispatch.answer(case, code, Reason::AnsweredBefore)
        }
        // Only the first copy is decided about; this one is dropped.
        (Cause::Refused(_), Some(_)) if case.request.verb == Verb::Crcx => dropped(Reason::MovedAlready),
        (Cause::Died, Some(_)) if case.request.leaves_choice() => dropped(Reason::MovedAlready),
        // The link did not take it, but the worker may have carried out an earlier copy.
        (Cause::Refused(_), _) if !back.message.sent => dropped(Reason::LinkFull),
        (Cause::Refused(_), Some((id, _))) => {
            dispatch.conclude(case, id, ReturnCode::TRANSIENT_ERROR.0, Reason::RefusedInDialog)
        }
        (Cause::Refused(_), None) => dispatch.answer(case, ReturnCode::TRANSIENT_ERROR.0, Reason::RefusedInDialog),
        (Cause::Died, _) => {
            let code = match dispatch.meant(case) {
                Meant::Gone(code) => code,
                _ => ReturnCode::ENDPOINT_UNKNOWN,
            };
            dispatch.answer(case, code.0, Reason::OrphanInDialog)
        }
    }
}
