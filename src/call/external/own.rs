//! Commands of our own to the gateway: is it there, and delete what nobody wants any more.

use std::time::Duration;

use super::asked::Purpose;
use super::connections::{Held, Which};
use super::exchange::Output;
use super::{AT_MOST, External, RTO};
use crate::time::Time;
use crate::wire::mgcp::{CommandWriter, Field, TransactionId, Verb};

/// A gateway on the same host or LAN that says nothing for so long is not there. Two copies of the question are sent.
const ANSWERS_WITHIN: Duration = Duration::from_millis(1_500);
/// The second copy follows after this time.
const ASK_AGAIN: Duration = Duration::from_millis(500);

impl External {
    /// Deletes every connection: the worker ends.
    pub fn end_all(&mut self, now: Time) {
        (self.draining, self.ending) = (true, true);
        for Held { endpoint, id, call } in self.connections.all() {
            self.delete(&endpoint, &id, call.as_deref(), None, now);
        }
    }

    /// Has the gateway delete a connection, as a part of the command `of`.
    pub(super) fn delete(&mut self, endpoint: &[u8], id: &[u8], call: Option<&[u8]>, of: Option<u32>, now: Time) {
        let own = self.take_id();
        let mut out = Vec::with_capacity(128);
        let mut writer = CommandWriter::new(&mut out, Verb::Dlcx, TransactionId(own), endpoint);
        if let Some(call) = call {
            writer = writer.param(Field::CallId, call);
        }
        writer.param(Field::ConnectionId, id).finish();
        let purpose = Purpose::Delete { endpoint: endpoint.into(), id: id.into(), of };
        self.begin(own, purpose, out.into(), Some(RTO), AT_MOST, now);
    }

    /// Connections are gone, or nobody can tell any more: they count no longer.
    pub(super) fn forget(&mut self, which: Which<'_>) {
        for call in self.connections.close(which) {
            self.outputs.push_back(Output::CallClosed(call));
        }
    }

    /// Asks whether the gateway is there, when that is due. Any answer will do, also that there is no such endpoint.
    pub(super) fn ask_whether_there(&mut self, now: Time) {
        if !self.reach.asks(now) {
            return;
        }
        let own = self.take_id();
        let mut out = Vec::with_capacity(64);
        CommandWriter::new(&mut out, Verb::Auep, TransactionId(own), self.agents.any()).finish();
        self.begin(own, Purpose::Probe, out.into(), Some(ASK_AGAIN), ANSWERS_WITHIN, now);
    }
}
