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
use crate::ids::ProxyId;
use crate::time::Time;
use crate::transaction::LIFETIME;
use crate::transaction::name::sip::call_of;
use crate::wire::sip::{Message, Method, Via};
use crate::words::Transport;

/// CANCELs that several proxies have got: the caller of each gets one final response, the first 2xx, or else a refusal
/// once all have refused. A copy of a CANCEL says that its caller waits: the next refusal is enough then.
#[derive(Debug, Default)]
pub(in crate::dispatch) struct ForgottenCancels {
    open: HashMap<Cancelled, Answers, FixedState>,
}

/// A CANCEL by its call, its CSeq number and a hash of its branch.
type Cancelled = (Fingerprint, u32, u64);

/// The answers to one of them.
#[derive(Clone, Debug)]
struct Answers {
    /// Proxies that have not answered.
    awaited: Vec<ProxyId>,
    is_refused: bool,
    /// A copy has come after a refusal.
    is_urgent: bool,
    has_passed: bool,
}

impl ForgottenCancels {
    /// Most of them. The answers to those beyond it all pass.
    const MOST: usize = 4_096;

    /// These proxies get a CANCEL, or a copy of it.
    fn send(&mut self, of: Cancelled, proxies: impl Iterator<Item = ProxyId>) {
        if let Some(answers) = self.open.get_mut(&of) {
            answers.is_urgent |= answers.is_refused;
            return;
        }
        if self.open.len() < Self::MOST {
            let (is_refused, is_urgent, has_passed) = (false, false, false);
            self.open.insert(of, Answers { awaited: proxies.collect(), is_refused, is_urgent, has_passed });
        }
    }

    /// The final response of a proxy to a CANCEL has come. Returns whether its caller gets it.
    fn passes(&mut self, of: Cancelled, proxy: ProxyId, status: u16) -> bool {
        let Some(answers) = self.open.get_mut(&of) else { return true };
        answers.awaited.retain(|awaited| *awaited != proxy);
        answers.is_refused |= status >= 300;
        let passes = !answers.has_passed && (status < 300 || answers.awaited.is_empty() || answers.is_urgent);
        answers.has_passed |= passes;
        passes
    }

    fn forget(&mut self, of: &Cancelled) {
        self.open.remove(of);
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
        if let (Method::Cancel, Some(via)) = (case.request.method, case.request.read.via) {
            let of = self.cancelled((case.call, case.discriminator), &via);
            match (first.target, others.is_empty()) {
                (Target::Forward(first), false) => {
                    let all = [first.proxy].into_iter().chain(others.iter().map(|other| other.proxy));
                    self.forgotten_cancels.send(of, all);
                }
                // It goes to one alone, whose answer passes.
                _ => self.forgotten_cancels.forget(&of),
            }
        }
        let request = Arc::new(case.request.message.bytes().to_vec());
        for forward in others {
            let message = LeavingMessage::Request(forward);
            self.contexts.leave(Leaving { request: request.clone(), arrival: *case.arrival, message });
        }
        Some(first)
    }

    /// Whether a proxy's response to a forwarded CANCEL, which came with this Via, is none that its caller is to get:
    /// others have got the CANCEL as well.
    pub(super) fn is_beside_another(&mut self, response: &Message<'_>, via: &Via<'_>, proxy: ProxyId) -> bool {
        match (response.cseq(), response.status()) {
            (Some(cseq), Some(status)) if cseq.method == Method::Cancel && status >= 200 => {
                let of = self.cancelled((call_of(response, &self.printer), cseq.number), via);
                !self.forgotten_cancels.passes(of, proxy, status)
            }
            _ => false,
        }
    }

    fn cancelled(&self, (call, cseq): (Fingerprint, u32), via: &Via<'_>) -> Cancelled {
        (call, cseq, self.printer.quick(via.branch()))
    }
}
