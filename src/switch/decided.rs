//! A line of the log for each decision, at debug: `-v` shows them. Where debug is off it costs one comparison.

use std::fmt::{self, Display};

use tracing::{Level, debug, enabled};

use crate::dispatch::decision::{Arrival, Decision, Target};
use crate::wire::quoted;
use crate::wire::{mgcp, sip};

/// A decision about a message of SIP.
#[inline]
pub(super) fn about_sip(message: &sip::Message<'_>, arrival: &Arrival, decision: &Decision) {
    if enabled!(Level::DEBUG) {
        say(kind_of_sip(message), message.call_id(), arrival, decision);
    }
}

/// A decision about bytes that are no message of SIP.
#[inline]
pub(super) fn about_unparsable(bad: &sip::Unparsable<'_>, arrival: &Arrival, decision: &Decision) {
    if !enabled!(Level::DEBUG) {
        return;
    }
    match &bad.message {
        Some(message) => say(kind_of_sip(message), message.call_id(), arrival, decision),
        None => say(bad.fault.label().as_bytes(), b"-", arrival, decision),
    }
}

/// A decision about a message of MGCP. A message that belongs to no call is named by its endpoint, as in `explain`.
#[inline]
pub(super) fn about_mgcp(message: &mgcp::Message<'_>, arrival: &Arrival, decision: &Decision) {
    if !enabled!(Level::DEBUG) {
        return;
    }
    match message {
        mgcp::Message::Command(command) => {
            let name = command.call_id().unwrap_or(command.endpoint().as_bytes());
            say(command.verb().name(), name, arrival, decision);
        }
        mgcp::Message::Response(_) => say(b"response", b"-", arrival, decision),
    }
}

/// A decision about bytes that are no message of MGCP.
#[inline]
pub(super) fn about_unparsable_mgcp(bad: &mgcp::Unparsable<'_>, arrival: &Arrival, decision: &Decision) {
    if enabled!(Level::DEBUG) {
        say(bad.fault.label().as_bytes(), b"-", arrival, decision);
    }
}

#[cold]
fn say(kind: &[u8], call_id: &[u8], arrival: &Arrival, decision: &Decision) {
    debug!(
        method = %quoted(kind),
        call_id = %quoted(call_id),
        source = %arrival.source,
        target = %Shown(decision.target),
        reason = %decision.reason,
        "decided"
    );
}

fn kind_of_sip<'m>(message: &sip::Message<'m>) -> &'m [u8] {
    message.method().map_or(b"response", sip::Method::as_bytes)
}

/// A target as the log shows it.
struct Shown(Target);

impl Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Target::Worker(handoff) => write!(f, "{}", handoff.worker),
            Target::Answer(answer) => write!(f, "{}", answer.status),
            Target::Return(answer) => write!(f, "{}", answer.code.0),
            Target::Everyone(_) => f.write_str("everyone"),
            Target::Gathered(_) => f.write_str("as-before"),
            Target::Drop => f.write_str("dropped"),
        }
    }
}
