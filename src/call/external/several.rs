//! DLCX for several endpoints (RFC 3435 §2.3.7): the connections it means are deleted one by one.
//!
//! It never goes to the gateway as it came. Some gateways then ignore the call id and delete all their connections,
//! those of other call agents included.

use std::sync::Arc;

use super::asked::{AgentCommand, Flight, Pending, Purpose, Several};
use super::connections::Which;
use super::{AT_MOST, External, PATIENCE, rewrite};
use crate::time::Time;
use crate::transaction::mgcp_client::Transaction;
use crate::wire::mgcp::{EndpointName, ReturnCode, Wildcard};

impl External {
    /// Deletes the connections that a DLCX for several endpoints means.
    pub(super) fn delete_several(&mut self, asked: AgentCommand, now: Time) {
        let is_any = EndpointName::parse(&asked.endpoint).is_some_and(|name| name.wildcard() == Wildcard::AnyOf);
        let which = Which { name: &asked.endpoint, id: None, call: asked.call.as_deref() };
        let meant = self.connections.meant(which);
        let answer = match meant.is_empty() {
            _ if is_any => Some(ReturnCode::ENDPOINT_UNKNOWN),
            // A connection identifier belongs to one endpoint.
            _ if asked.connection.is_some() => Some(ReturnCode::INCORRECT_CONNECTION),
            true => Some(ReturnCode::CONNECTION_DELETED),
            false => None,
        };
        if let Some(code) = answer {
            self.transactions.begin(asked.key, asked.print, 0, now);
            let response = rewrite::plain(code, asked.key.id());
            return self.finish(asked, response, now);
        }
        let own = self.take_id();
        self.transactions.begin(asked.key, asked.print, own, now);
        let several = Several { asked, left: meant.len(), code: ReturnCode::CONNECTION_DELETED };
        self.keep(
            own,
            Pending {
                purpose: Purpose::Several(Box::new(several)),
                transaction: Transaction::new(Arc::default(), None, now + AT_MOST),
                begun: now,
                wait: AT_MOST,
                patience: Some(now + PATIENCE),
                flight: Flight::Over,
            },
        );
        meant.into_iter().for_each(|name| self.delete(name, Some(own), now));
    }

    /// A connection of a DLCX for several endpoints is deleted, or nothing is known of it; `code` says which.
    pub(super) fn one_is_deleted(&mut self, of: Option<u32>, code: ReturnCode, now: Time) {
        let Some(own) = of else { return };
        let Some(mut pending) = self.take(own) else { return };
        let Purpose::Several(mut several) = pending.purpose else {
            return self.keep(own, pending);
        };
        several.left = several.left.saturating_sub(1);
        if !code.is_success() {
            several.code = code;
        }
        if several.left > 0 {
            pending.purpose = Purpose::Several(several);
            return self.keep(own, pending);
        }
        self.end_several(*several, now);
    }

    /// The answer to a command that named several endpoints.
    pub(super) fn end_several(&mut self, several: Several, now: Time) {
        let response = rewrite::plain(several.code, several.asked.key.id());
        self.finish(several.asked, response, now);
    }
}
