//! Commands of our own to the gateway: they ask whether it is there, and delete connections that no call agent wants
//! any more.

use std::time::Duration;

use super::asked::Purpose;
use super::connections::{ConnectionName, Which};
use super::exchange::Output;
use super::window::Sending;
use super::{AT_MOST, External};
use crate::time::Time;
use crate::transaction::timers::RTO;
use crate::wire::mgcp::{CommandWriter, Field, TransactionId, Verb};

/// The gateway is taken to be gone when it has been silent for this time, on the same host or LAN. Two copies of the
/// question are sent.
const ANSWERS_WITHIN: Duration = Duration::from_millis(1_500);
/// The second copy follows after this time.
const ASK_AGAIN: Duration = Duration::from_millis(500);

impl External {
    /// Deletes every connection, because the worker ends.
    pub fn end_all(&mut self, now: Time) {
        (self.draining, self.ending) = (true, true);
        self.connections.all().into_iter().for_each(|name| self.delete(name, None, now));
    }

    /// Has the gateway delete a connection, as a part of the command `of`.
    pub(super) fn delete(&mut self, name: ConnectionName, of: Option<u32>, now: Time) {
        let ConnectionName { endpoint, id, call } = name;
        let own = self.take_id();
        let mut out = Vec::with_capacity(128);
        let mut writer = CommandWriter::new(&mut out, Verb::Dlcx, TransactionId(own), &endpoint);
        if let Some(call) = &call {
            writer = writer.param(Field::CallId, call);
        }
        writer.param(Field::ConnectionId, &id).finish();
        let sending = Sending { bytes: out.into(), repeat: Some(RTO), wait: AT_MOST };
        self.begin(own, Purpose::Delete { endpoint, id, of }, sending, now);
    }

    /// Stops counting connections that are gone, or that may be: the gateway can no longer tell.
    pub(super) fn forget(&mut self, which: Which<'_>) {
        for call in self.connections.close(which) {
            self.outputs.push_back(Output::CallClosed(call));
        }
    }

    /// Asks whether the gateway is there, when that is due. Any answer shows that it is, "no such endpoint" included.
    pub(super) fn ask_whether_there(&mut self, now: Time) {
        if !self.reach.asks(now) {
            return;
        }
        let own = self.take_id();
        let mut out = Vec::with_capacity(64);
        CommandWriter::new(&mut out, Verb::Auep, TransactionId(own), self.agents.any()).finish();
        let sending = Sending { bytes: out.into(), repeat: Some(ASK_AGAIN), wait: ANSWERS_WITHIN };
        self.begin(own, Purpose::Probe, sending, now);
    }
}
