//! The units that connections of strangers take. A stranger is a source that has never named an endpoint it was told.
//!
//! As with SIP, a connection of a stranger counts one unit for certain. The units that its command states beyond that
//! count as long as all strangers together, those of SIP among them, have no more than half of the worker. A command
//! that names an endpoint of this worker shows that its sender has the answer to an earlier command. It shows less than
//! a SIP tag does: endpoints are numbered one after the other, so a sender that knows one may guess the next.

use std::net::IpAddr;

use crate::call::gateway::Gateway;
use crate::call::gateway::exchange::ConnectionKey;
use crate::call::strangers::Strangers;
use crate::wire::mgcp::Command;

impl Gateway {
    /// Units of the connections, without the units that strangers claim beyond their share.
    pub(super) fn units_counted(&self) -> u32 {
        self.load.units_used.saturating_sub(self.units_not_counted())
    }

    /// Units that strangers claim beyond their share: they are not in the load.
    pub fn units_not_counted(&self) -> u32 {
        self.strangers.uncounted(0, self.for_strangers.unwrap_or(Strangers::share(self.limits.units)))
    }

    /// A connection of this cost was made by a command from `source`.
    pub(super) fn claim(&mut self, key: ConnectionKey, cost: u32, source: IpAddr) {
        // A loopback source cannot be forged from another host.
        if source.to_canonical().is_loopback() {
            return;
        }
        if self.strangers.knows(self.printer.source(source)) {
            return;
        }
        // A leg inside a reservation costs nothing, so it claims nothing. Its command names the endpoint, so `acquaint`
        // has already freed every connection there of its claim.
        let claim = self.strangers.claim(cost.saturating_sub(1));
        if let Some(connection) = self.connections.get_mut(key) {
            connection.claim = claim;
        }
    }

    /// A command from `source` names an endpoint. The connections there count whole from now on, and so do the
    /// connections that the source makes later.
    pub(super) fn acquaint(&mut self, command: &Command<'_>, source: IpAddr) {
        let Some(endpoint) = self.find_endpoint(&command.endpoint()) else { return };
        let source = self.printer.source(source);
        self.strangers.on_heard(source);
        for at in 0.. {
            let connections = self.endpoints.get(endpoint).map(|endpoint| &endpoint.connections);
            let Some(&key) = connections.and_then(|keys| keys.get(at)) else { break };
            self.unclaim(key);
        }
    }

    /// A connection is known to its call agent, or is over.
    pub(super) fn unclaim(&mut self, key: ConnectionKey) {
        let claim = self.connections.get_mut(key).map(|connection| std::mem::take(&mut connection.claim));
        self.strangers.unclaim(claim.unwrap_or_default());
    }
}
