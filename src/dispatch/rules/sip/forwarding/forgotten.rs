//! A CANCEL or ACK whose INVITE is not known, as after a start without the table (RFC 3261 §16.10, §16.11).

use std::sync::Arc;

use foldhash::fast::FixedState;
use hashbrown::HashMap;

use super::Case;
use crate::config::PoolMode;
use crate::dispatch::Dispatch;
use crate::dispatch::contexts::{Leaving, LeavingMessage};
use crate::dispatch::decision::{Decision, Forward, Reason, Target};
use crate::fingerprint::Fingerprint;
use crate::time::Time;
use crate::transaction::LIFETIME;
use crate::transaction::name::sip::call_of;
use crate::wire::sip::{Message, Method};
use crate::words::Transport;

/// CANCELs that several proxies have got: the caller of each gets one final response, the first 2xx, or else the last
/// refusal.
#[derive(Debug, Default)]
pub(in crate::dispatch) struct ForgottenCancels {
    /// By call and CSeq number.
    open: HashMap<(Fingerprint, u32), Answers, FixedState>,
}

/// The answers to one of them.
#[derive(Clone, Copy, Debug)]
struct Answers {
    /// Proxies that have not answered.
    awaited: usize,
    has_passed: bool,
}

impl ForgottenCancels {
    /// Most of them. The answers to those beyond it all pass.
    const MOST: usize = 4_096;

    /// So many proxies get a CANCEL, or a copy of it.
    fn begin(&mut self, of: (Fingerprint, u32), proxies: usize) {
        if self.open.len() < Self::MOST || self.open.contains_key(&of) {
            self.open.insert(of, Answers { awaited: proxies, has_passed: false });
        }
    }

    /// A final response to a CANCEL has come. Returns whether its caller gets it.
    fn passes(&mut self, of: (Fingerprint, u32), status: u16) -> bool {
        let Some(answers) = self.open.get_mut(&of) else { return true };
        answers.awaited = answers.awaited.saturating_sub(1);
        let passes = !answers.has_passed && (status < 300 || answers.awaited == 0);
        answers.has_passed |= passes;
        passes
    }

    /// Forgets all of them once none is answered any more: none begins after `until`.
    pub(in crate::dispatch) fn handle_timeout(&mut self, until: Time, now: Time) {
        if !self.open.is_empty() && now >= until + LIFETIME {
            *self = ForgottenCancels::default();
        }
    }
}

impl Dispatch {
    /// Forwards a CANCEL or ACK whose INVITE is not known. For 64·T1 after a start without the table it goes to every
    /// member of the pool that may have the INVITE: each gets the branch that its INVITE had. Later it goes to one.
    /// `None`: its route leads to no pool of proxies that may have the INVITE.
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
        if case.request.method == Method::Cancel && !others.is_empty() {
            self.forgotten_cancels.begin((case.call, case.discriminator), 1 + others.len());
        }
        let request = Arc::new(case.request.message.bytes().to_vec());
        for forward in others {
            let message = LeavingMessage::Request(forward);
            self.contexts.leave(Leaving { request: request.clone(), arrival: *case.arrival, message });
        }
        Some(first)
    }

    /// Whether a response to a forwarded CANCEL is none that its caller is to get: others have got the CANCEL as well.
    pub(super) fn is_beside_another(&mut self, response: &Message<'_>) -> bool {
        match (response.cseq(), response.status()) {
            (Some(cseq), Some(status)) if cseq.method == Method::Cancel && status >= 200 => {
                let call = call_of(response, &self.printer);
                !self.forgotten_cancels.passes((call, cseq.number), status)
            }
            _ => false,
        }
    }
}
