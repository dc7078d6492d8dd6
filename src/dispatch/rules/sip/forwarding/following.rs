//! Requests that follow one at a downstream proxy: its copies, its CANCEL, its ACK, and requests inside a dialog whose
//! sender does not follow Contact.

use super::Case;
use crate::dispatch::Dispatch;
use crate::dispatch::decision::{Decision, Reason, Target};
use crate::dispatch::table::Entry;
use crate::fingerprint::Fingerprint;
use crate::ids::TargetId;
use crate::wire::sip::Method;
use crate::words::Transport;

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
        let is_cancel = case.request.method == Method::Cancel;
        if !is_cancel && self.contexts.of(case.name).is_none() {
            return self.forward_unless_away(case, proxy, reason);
        }
        // A CANCEL that has a branch of its own has found its INVITE by the call.
        let name = if is_cancel { entry.name } else { case.name };
        self.forward_within(case, (name, reason), |dispatch| dispatch.forward(case, proxy, reason, 0))
    }

    /// Forwards a request inside a dialog to the proxy whose address its request-URI is. `None`: it is the address of
    /// none.
    pub(in crate::dispatch::rules::sip) fn forward_addressed(&mut self, case: &Case<'_>) -> Option<Decision> {
        let uri = case.request.read.uri?;
        let address = uri.address()?;
        let proxy = self.proxies.at_by(address, uri.transport()? != Transport::Udp)?;
        Some(self.forward_unless_away(case, proxy, Reason::RequestUri))
    }

    /// Forwards a request that begins nothing new, on the way that `forward` gives it, unless it belongs to the
    /// transaction of this name and that is under way.
    pub(super) fn forward_within(
        &mut self,
        case: &Case<'_>,
        (name, reason): (Fingerprint, Reason),
        forward: impl FnOnce(&mut Self) -> Decision,
    ) -> Decision {
        self.forward_unless(case, (name, reason), Self::not_to_forward, forward)
    }

    /// The same, unless it must not travel on, and is refused.
    pub(super) fn forward_unless(
        &mut self,
        case: &Case<'_>,
        (name, reason): (Fingerprint, Reason),
        refusal: impl FnOnce(&Self, &Case<'_>) -> Option<Decision>,
        forward: impl FnOnce(&mut Self) -> Decision,
    ) -> Decision {
        // `ack_of_context` has seen every ACK.
        if case.request.method != Method::Ack
            && let Some(decision) = self.follow_context(case, name, reason)
        {
            return decision;
        }
        if let Some(refusal) = refusal(self, case) {
            return refusal;
        }
        let is_transaction = !matches!(case.request.method, Method::Ack | Method::Cancel);
        if is_transaction && self.lacks_context(case) {
            return self.unavailable(case, Reason::TableFull);
        }
        let decision = forward(self);
        if let (true, Target::Forward(forward)) = (is_transaction, &decision.target) {
            self.begin_context(case, forward, None);
        }
        decision
    }
}
