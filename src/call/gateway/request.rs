//! NotificationRequest and EndpointConfiguration (RFC 3435 §2.3.3 and §2.3.2), for one endpoint or for all that a name
//! covers.

use crate::call::exchange::Arrival;
use crate::call::gateway::Gateway;
use crate::call::gateway::answer::{Answer, Denial};
use crate::call::gateway::bearer::Coding;
use crate::call::gateway::exchange::EndpointKey;
use crate::time::Time;
use crate::transaction::name::mgcp::TransactionKey;
use crate::wire::mgcp::{Command, EndpointName, Field, ReturnCode, Wildcard};

/// The endpoints that one request may be for, at most: each then keeps a request of its own.
const AT_ONCE: usize = 1_000;

impl Gateway {
    pub(super) fn on_rqnt(
        &mut self,
        command: &Command<'_>,
        arrival: &Arrival,
        transaction: TransactionKey,
        now: Time,
    ) -> Result<(), Denial> {
        let keys = self.meant(&command.endpoint())?;
        if keys.len() > AT_ONCE {
            return Err(ReturnCode::WILDCARD_TOO_COMPLICATED.into());
        }
        if keys.is_empty() {
            self.tell(transaction, &Answer::new(ReturnCode::OK), now);
            return Ok(());
        }
        let mut accepted = Vec::with_capacity(keys.len());
        for key in keys {
            let kind = self.endpoints.get(key).ok_or(ReturnCode::ENDPOINT_UNKNOWN)?.kind;
            accepted.push((key, self.check_embedded(command, Some(key), kind)?));
        }
        let mut before = Vec::new();
        for (key, embedded) in accepted {
            before.extend(self.apply_embedded(embedded, key, None, arrival, now));
            self.release(key, now);
        }
        self.answer(transaction, &Answer::new(ReturnCode::OK).after(before), now);
        Ok(())
    }

    pub(super) fn on_epcf(
        &mut self,
        command: &Command<'_>,
        transaction: TransactionKey,
        now: Time,
    ) -> Result<(), Denial> {
        let coding = Coding::parse(command.param(Field::BearerInformation).ok_or(ReturnCode::PROTOCOL_ERROR)?)?;
        let keys = self.meant(&command.endpoint())?;
        if keys.is_empty() {
            self.tell(transaction, &Answer::new(ReturnCode::OK), now);
            return Ok(());
        }
        for key in keys {
            if let Some(endpoint) = self.endpoints.get_mut(key) {
                endpoint.coding = coding;
            }
        }
        self.answer(transaction, &Answer::new(ReturnCode::OK), now);
        Ok(())
    }

    /// The endpoints that a command means, if it may be for many.
    fn meant(&self, name: &EndpointName<'_>) -> Result<Vec<EndpointKey>, ReturnCode> {
        match name.wildcard() {
            Wildcard::AnyOf => Err(ReturnCode::ENDPOINT_UNKNOWN),
            _ if Gateway::is_many(name) => Ok(self.covered(name)),
            _ => Ok(vec![self.one_endpoint(name)?]),
        }
    }
}
