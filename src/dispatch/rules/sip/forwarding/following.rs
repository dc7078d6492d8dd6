//! Requests that follow one at a downstream proxy: its copies, its CANCEL, its ACK, and requests inside a dialog whose
//! sender does not follow Contact.

use std::sync::Arc;

use super::Case;
use crate::config::PoolMode;
use crate::dispatch::Dispatch;
use crate::dispatch::contexts::{Leaving, LeavingMessage};
use crate::dispatch::decision::{Decision, Forward, Reason, Target};
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

    /// Forwards a CANCEL or ACK whose INVITE is not known (RFC 3261 §16.10, §16.11). For 64·T1 after a start without
    /// the table it goes to every member of the pool that may have the INVITE: each gets the branch that its INVITE
    /// had. Later it goes to one. `None`: its route leads to no pool of proxies that may have the INVITE.
    pub(in crate::dispatch::rules::sip) fn forward_forgotten(&mut self, case: &Case<'_>) -> Option<Decision> {
        if self.proxies.is_empty() || case.arrival.transport != Transport::Udp {
            return None;
        }
        let pool = self.route(case, Method::Invite)?;
        self.proxies.pool(pool).filter(|pool| pool.mode != PoolMode::Redirect)?;
        let members = self.proxies.possible(pool, case.call.short(), case.now);
        let most = if case.now < self.forgotten_until { members.len() } else { 1 };
        let reason = Reason::Forgotten;
        let mut members = members.into_iter().take(most);
        let first = members.next()?;
        let first = self.forward_within(case, (case.name, reason), |dispatch| dispatch.forward(case, first, reason, 0));
        if !matches!(first.target, Target::Forward(_)) {
            return Some(first);
        }
        let forward = |proxy| match self.forward(case, proxy, reason, 0).target {
            Target::Forward(forward) => Some(forward),
            _ => None,
        };
        let others: Vec<Forward> = members.filter_map(forward).collect();
        let request = Arc::new(case.request.message.bytes().to_vec());
        for forward in others {
            let message = LeavingMessage::Request(forward);
            self.contexts.leave(Leaving { request: request.clone(), arrival: *case.arrival, message });
        }
        Some(first)
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
