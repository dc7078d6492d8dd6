//! What CRCX, MDCX, DLCX and RQNT carry beside their own matter: a notification request and bearer information. It is
//! judged before anything changes, and takes effect after everything else has.

use std::sync::Arc;

use crate::call::exchange::Arrival;
use crate::call::gateway::Gateway;
use crate::call::gateway::bearer::Coding;
use crate::call::gateway::exchange::EndpointKey;
use crate::call::gateway::kind::Kind;
use crate::call::gateway::no_events::Accepted;
use crate::time::Time;
use crate::wire::mgcp::{Command, Field, ReturnCode};

/// The embedded part of a command, judged.
#[derive(Debug, Default)]
pub(super) struct Embedded {
    request: Option<Accepted>,
    coding: Option<Coding>,
}

impl Embedded {
    /// Whether a command carries any.
    pub(super) fn is_in(command: &Command<'_>) -> bool {
        const FIELDS: [Field; 8] = [
            Field::RequestIdentifier,
            Field::RequestedEvents,
            Field::SignalRequests,
            Field::DigitMap,
            Field::QuarantineHandling,
            Field::DetectEvents,
            Field::NotifiedEntity,
            Field::BearerInformation,
        ];
        FIELDS.into_iter().any(|field| command.param(field).is_some())
    }
}

impl Gateway {
    /// Judges the embedded part of a command for `endpoint`, or for one of this kind that it makes.
    pub(super) fn check_embedded(
        &self,
        command: &Command<'_>,
        endpoint: Option<EndpointKey>,
        kind: Kind,
        now: Time,
    ) -> Result<Embedded, ReturnCode> {
        let coding = command.param(Field::BearerInformation).map(Coding::parse).transpose()?;
        let request = self.events.check(endpoint, kind, command, now)?;
        Ok(Embedded { request: Some(request), coding })
    }

    /// Puts it into effect. What comes back has to leave in front of the answer.
    pub(super) fn apply_embedded(
        &mut self,
        embedded: Embedded,
        key: EndpointKey,
        arrival: &Arrival,
        now: Time,
    ) -> Vec<Arc<[u8]>> {
        let Some(endpoint) = self.endpoints.get_mut(key) else { return Vec::new() };
        endpoint.coding = embedded.coding.unwrap_or(endpoint.coding);
        let Some(request) = embedded.request else { return Vec::new() };
        let before = self.events.pending(key);
        self.events.apply(key, endpoint.name.as_bytes(), request, arrival, now);
        before
    }
}
