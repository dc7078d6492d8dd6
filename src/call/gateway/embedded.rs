//! The embedded part of CRCX, MDCX, DLCX and RQNT: a notification request and bearer information. It is judged before
//! anything changes, and takes effect after everything else has.

use std::sync::Arc;

use crate::call::exchange::Arrival;
use crate::call::gateway::Gateway;
use crate::call::gateway::bearer::Coding;
use crate::call::gateway::events::Accepted;
use crate::call::gateway::exchange::{ConnectionKey, EndpointKey};
use crate::call::gateway::kind::Kind;
use crate::call::gateway::params;
use crate::time::Time;
use crate::wire::mgcp::{Command, Field, ReturnCode};

/// The embedded part of a command, judged.
#[derive(Debug, Default)]
pub(super) struct Embedded {
    request: Option<Accepted>,
    coding: Option<Coding>,
}

impl Embedded {
    /// Whether a command carries an embedded part.
    pub(super) fn is_in(command: &Command<'_>) -> bool {
        params::EMBEDDED.iter().any(|field| command.param(*field).is_some())
    }
}

impl Gateway {
    /// Judges the embedded part of a command for `endpoint`, or for one of this kind that it makes.
    pub(super) fn check_embedded(
        &self,
        command: &Command<'_>,
        endpoint: Option<EndpointKey>,
        kind: Kind,
    ) -> Result<Embedded, ReturnCode> {
        let coding = command.param(Field::BearerInformation).map(Coding::parse).transpose()?;
        let has = |id: &[u8]| endpoint.is_some_and(|endpoint| self.find_connection(endpoint, id).is_ok());
        let request = self.events.check(endpoint, kind, command, &has)?;
        Ok(Embedded { request: Some(request), coding })
    }

    /// Puts it into effect; `connection` is the one that the command made or changed. The messages it returns have to
    /// leave ahead of the answer.
    pub(super) fn apply_embedded(
        &mut self,
        embedded: Embedded,
        key: EndpointKey,
        connection: Option<ConnectionKey>,
        arrival: &Arrival,
        now: Time,
    ) -> Vec<Arc<[u8]>> {
        let sender = self.sender(arrival);
        let connection = connection.and_then(|key| self.connections.get(key));
        let Some(endpoint) = self.endpoints.get_mut(key) else { return Vec::new() };
        endpoint.coding = embedded.coding.unwrap_or(endpoint.coding);
        let Some(mut request) = embedded.request else { return Vec::new() };
        if let Some(connection) = connection {
            request.resolve(connection.id.as_bytes());
        }
        let is_request = request.is_request();
        let before = self.events.apply(key, endpoint.name.as_bytes(), request, sender, now);
        self.listen(key, now);
        if is_request {
            self.measure_anew(key, now);
        }
        before
    }
}
