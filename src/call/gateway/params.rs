//! The parameters that a command may have (RFC 3435 §3.2.2), and the extensions that are understood.

use crate::wire::mgcp::{Command, Field, ReturnCode, Verb};

/// The parameters that every command for events may carry: an embedded notification request (RFC 3435 §2.3.3) and
/// endpoint configuration.
pub(super) const EMBEDDED: &[Field] = &[
    Field::NotifiedEntity,
    Field::RequestIdentifier,
    Field::RequestedEvents,
    Field::SignalRequests,
    Field::DigitMap,
    Field::QuarantineHandling,
    Field::DetectEvents,
    Field::BearerInformation,
];

/// Checks the names of all parameters: 539 for one that the command must not have, 510 for one that occurs twice, 511
/// for a mandatory extension and 518 for a parameter of an unknown package.
pub(super) fn check(command: &Command<'_>) -> Result<(), ReturnCode> {
    let mut seen = 0_u32;
    for param in command.params() {
        let Some(field) = param.field() else {
            extension(command.verb(), param.name)?;
            continue;
        };
        let bit = 1 << field as u32;
        if seen & bit != 0 {
            return Err(ReturnCode::PROTOCOL_ERROR);
        }
        seen |= bit;
        if !is_allowed(command.verb(), field) {
            return Err(ReturnCode::UNSUPPORTED_PARAMETER);
        }
    }
    Ok(())
}

fn is_allowed(verb: Verb<'_>, field: Field) -> bool {
    let own: &[Field] = match verb {
        Verb::Epcf => return matches!(field, Field::BearerInformation | Field::ResponseAck),
        Verb::Crcx => &[Field::CallId, Field::LocalConnectionOptions, Field::ConnectionMode, Field::SecondEndpointId],
        Verb::Mdcx => &[Field::CallId, Field::ConnectionId, Field::LocalConnectionOptions, Field::ConnectionMode],
        // Reason code and connection parameters are for a gateway to send (RFC 3435 §2.3.8), and harmless from a call
        // agent.
        Verb::Dlcx => &[Field::CallId, Field::ConnectionId, Field::ReasonCode, Field::ConnectionParameters],
        Verb::Rqnt => &[],
        Verb::Auep => return matches!(field, Field::RequestedInfo | Field::SpecificEndpointId | Field::ResponseAck),
        Verb::Aucx => return matches!(field, Field::ConnectionId | Field::RequestedInfo | Field::ResponseAck),
        Verb::Ntfy | Verb::Rsip | Verb::Mesg | Verb::Other(_) => return true,
    };
    field == Field::ResponseAck || own.contains(&field) || EMBEDDED.contains(&field)
}

fn extension(verb: Verb<'_>, name: &[u8]) -> Result<(), ReturnCode> {
    match name {
        // The size of a session, an extension of ours.
        [b'x' | b'X', b'+', rest @ ..] if rest.eq_ignore_ascii_case(b"size") => Ok(()),
        [b'x' | b'X', b'+', ..] => Err(ReturnCode::UNRECOGNIZED_EXTENSION),
        [b'x' | b'X', b'-', ..] => Ok(()),
        name if name.contains(&b'/') => Err(ReturnCode::UNKNOWN_PACKAGE),
        name if verb == Verb::Auep && name.eq_ignore_ascii_case(b"ZM") => Ok(()),
        _ => Err(ReturnCode::UNSUPPORTED_PARAMETER),
    }
}
