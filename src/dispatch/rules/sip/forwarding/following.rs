//! Requests that follow one at a downstream proxy: its copies, its CANCEL, its ACK, and requests inside a dialog whose
//! sender does not follow Contact.

use super::Case;
use crate::dispatch::Dispatch;
use crate::dispatch::decision::{Decision, Reason, Target};
use crate::dispatch::table::Entry;
use crate::ids::TargetId;

impl Dispatch {
    /// Forwards a request that belongs to a transaction, or to a call, of the table.
    pub(in crate::dispatch::rules::sip) fn forward_following(
        &mut self,
        case: &Case<'_>,
        entry: &Entry,
        reason: Reason,
    ) -> Decision {
        let TargetId::Proxy(proxy) = entry.target else {
            return Decision { target: Target::Drop, reason: Reason::WorkerGone };
        };
        if let Some(decision) = self.follow_context(case, entry.name, reason) {
            return decision;
        }
        match self.not_to_forward(case) {
            Some(refusal) => refusal,
            None => self.forward(case, proxy, reason, 0),
        }
    }

    /// Forwards a request inside a dialog to the proxy whose address its request-URI is. `None`: it is the address of
    /// none.
    pub(in crate::dispatch::rules::sip) fn forward_addressed(&mut self, case: &Case<'_>) -> Option<Decision> {
        let uri = case.request.read.uri?;
        let address = (uri.host.ip()?, uri.port.unwrap_or(5060)).into();
        let proxy = self.proxies.at(address).next()?;
        let refusal = self.not_to_forward(case);
        Some(refusal.unwrap_or_else(|| self.forward(case, proxy, Reason::RequestUri, 0)))
    }
}
