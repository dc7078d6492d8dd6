//! Call ids: all connections of one call are on one worker, so that they can hear each other.

use crate::call::gateway::Gateway;
use crate::call::gateway::exchange::Output;
use crate::time::Time;
use crate::wire::mgcp::ReturnCode;

/// A call id with connections.
#[derive(Clone, Copy, Debug)]
pub(super) struct CallEntry {
    connections: usize,
    since: Time,
}

impl Gateway {
    /// The call ids that have connections, in lower case, each with the time of its first.
    pub fn calls(&self) -> impl Iterator<Item = (&[u8], Time)> {
        self.calls.iter().map(|(id, entry)| (&**id, entry.since))
    }

    /// Whether a connection of this call is here.
    pub(super) fn has_call(&self, id: &[u8]) -> bool {
        self.calls.contains_key(id.to_ascii_lowercase().as_slice())
    }

    pub(super) fn calls_opened(&mut self, id: &[u8], now: Time) {
        let id = id.to_ascii_lowercase().into_boxed_slice();
        if let Some(entry) = self.calls.get_mut(&id) {
            entry.connections += 1;
            return;
        }
        self.outputs.push_back(Output::CallOpened(id.clone(), now));
        self.calls.insert(id, CallEntry { connections: 1, since: now });
    }

    pub(super) fn calls_closed(&mut self, id: &[u8]) {
        let id = id.to_ascii_lowercase().into_boxed_slice();
        let Some(entry) = self.calls.get_mut(&id) else { return };
        entry.connections -= 1;
        if entry.connections == 0 {
            self.calls.remove(&id);
            self.outputs.push_back(Output::CallClosed(id));
        }
    }
}

/// Reads a call id: at most 32 characters (RFC 3435 §2.1.3.1 says hexadecimal digits; any word will do, since it is
/// only compared).
pub(super) fn call_id(value: Option<&[u8]>) -> Result<&[u8], ReturnCode> {
    let value = value.ok_or(ReturnCode::PROTOCOL_ERROR)?;
    let is_word = (1..=32).contains(&value.len()) && value.iter().all(u8::is_ascii_graphic);
    if is_word { Ok(value) } else { Err(ReturnCode::INCORRECT_CALL) }
}
