//! A line of the log for each decision, at debug: `-v` shows them. Where debug is off it costs one comparison.

use std::fmt::{self, Display};

use tracing::{Level, debug, enabled};

use crate::dispatch::Incoming;
use crate::dispatch::decision::{Arrival, Decision, Side, Target};
use crate::wire::quoted;
use crate::wire::{mgcp, sip};

/// A decision about a message. A command of MGCP that belongs to no call is named by its endpoint, as in `explain`.
#[inline]
pub(super) fn about(message: Incoming<'_>, arrival: &Arrival, decision: &Decision) {
    if enabled!(Level::DEBUG) {
        let (kind, call) = names(message);
        say(kind, call, arrival, decision);
    }
}

/// The kind of a message, and the name of its call.
fn names(message: Incoming<'_>) -> (&[u8], &[u8]) {
    match message {
        Incoming::Sip(message) => of_sip(message),
        Incoming::UnreadableSip(bad) => match &bad.message {
            Some(message) => of_sip(message),
            None => (bad.fault.label().as_bytes(), b"-"),
        },
        Incoming::Mgcp(mgcp::Message::Command(command)) => {
            (command.verb().name(), command.call_id().unwrap_or(command.endpoint().as_bytes()))
        }
        Incoming::Mgcp(mgcp::Message::Response(_)) => (b"response", b"-"),
        Incoming::UnreadableMgcp(bad) => (bad.fault.label().as_bytes(), b"-"),
    }
}

fn of_sip<'m>(message: &sip::Message<'m>) -> (&'m [u8], &'m [u8]) {
    (message.method().map_or(b"response", sip::Method::as_bytes), message.call_id())
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

/// A target as the log shows it.
struct Shown(Target);

impl Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Target::Worker(handoff) => write!(f, "{}", handoff.worker),
            Target::Forward(forward) => write!(f, "{}", forward.to),
            Target::ForwardResponse(response) => write!(f, "{}", response.to),
            Target::Passed(_, Side::Server) => f.write_str("caller"),
            Target::Passed(_, Side::Caller) => f.write_str("server"),
            Target::Redirect(_) => f.write_str("302"),
            Target::Answer(answer) => write!(f, "{}", answer.status),
            Target::Return(answer) => write!(f, "{}", answer.code.0),
            Target::Everyone(_) => f.write_str("everyone"),
            Target::Gathered(_) => f.write_str("as-before"),
            Target::Prober => f.write_str("prober"),
            Target::Waits(_) => f.write_str("looked-up"),
            Target::Drop => f.write_str("dropped"),
        }
    }
}
