//! Lines about calls, at debug: each has the Call-ID, the last one as well, when the call itself is gone.

use foldhash::fast::FixedState;
use hashbrown::HashMap;
use tracing::{Level, Span, debug, enabled, error_span};

use crate::call::{CallKey, EndReason};
use crate::wire::quoted;
use crate::wire::sip::Scanner;

/// Every line of this thread names the worker, whatever is logged.
pub(crate) fn named(worker: &str) -> Span {
    error_span!("worker", name = worker)
}

/// The Call-IDs of the calls that were logged. Empty where debug is off. Keys are our own numbers, so a fixed hasher is
/// safe.
#[derive(Debug, Default)]
pub(crate) struct CallLog {
    call_ids: HashMap<CallKey, Box<[u8]>, FixedState>,
}

impl CallLog {
    /// A call has come, which has this Call-ID.
    pub(crate) fn comes(&mut self, key: CallKey, call_id: &[u8]) {
        if enabled!(Level::DEBUG) {
            debug!(call_id = %quoted(call_id), "a call comes");
            self.call_ids.insert(key, call_id.into());
        }
    }

    /// Its caller has acknowledged our answer.
    pub(crate) fn stands(&self, key: CallKey) {
        if let Some(call_id) = self.call_ids.get(&key) {
            debug!(call_id = %quoted(call_id), "a call stands");
        }
    }

    /// It is over.
    pub(crate) fn ended(&mut self, key: CallKey, reason: EndReason) {
        if let Some(call_id) = self.call_ids.remove(&key) {
            debug!(call_id = %quoted(&call_id), ?reason, "a call has ended");
        }
    }
}

/// The Call-ID of a message of ours, for the log.
pub(crate) fn call_id_of(message: &[u8]) -> String {
    Scanner::new().scan(message).map_or(String::new(), |message| quoted(message.call_id()).to_string())
}
