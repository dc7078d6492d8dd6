//! The standing of a request under way, with which another owner goes on.

use super::branch::Branch;
use super::{Answer, Candidate, ResponseContext};
use crate::few::Few;
use crate::time::Time;
use crate::transaction::Kind;
use crate::transaction::timers::LIFETIME;

/// The standing of a request that has left and has no final response, or has one and is to be cancelled elsewhere:
/// another owner goes on with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// The branches: the last one is in use.
    pub branches: Vec<BranchStanding>,
    /// Whether no other proxy gets the request.
    pub is_bound: bool,
    /// Whether the caller has cancelled it.
    pub is_cancelled: bool,
    /// Whether it goes to a caller, whose connection is the only way.
    pub leads_to_flow: bool,
    /// The final response that the caller got first.
    pub answered: Option<u16>,
    /// Whether that one waits for its ACK.
    pub waits_for_ack: bool,
    /// The response that copies of the request get, if a proxy has sent it.
    pub passed: Option<Box<[u8]>>,
    /// When a request other than INVITE is over without a final response: its sender has given up (timer F).
    pub undecided_at: Time,
    /// Whether its 100 has left.
    pub is_tried: bool,
}

/// The standing of a branch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BranchStanding {
    /// Its proxy, and the way to that.
    pub to: Candidate,
    /// Whether a response has come.
    pub is_heard: bool,
    /// Whether another one has the request by now.
    pub is_abandoned: bool,
    /// Whether its CANCEL has left, or leaves with the first provisional response.
    pub is_cancelled: bool,
    /// Whether it has failed, or has an outcome that has passed.
    pub has_failed: bool,
    /// When it is over without a final response, or without another one.
    pub end: Time,
}

impl ResponseContext {
    /// Where it stands, if an outcome is still awaited, or a response that brings a CANCEL about (RFC 3261 §9.1).
    pub fn standing(&self) -> Option<Standing> {
        let is_open = || {
            let is_pending = self.branches.last().is_some_and(Branch::is_pending);
            is_pending && self.server.is_proceeding() && !self.is_expired
        };
        let owes_cancel = || self.answered.is_some() && self.branches.iter().any(Branch::owes_cancel);
        if !is_open() && !owes_cancel() {
            return None;
        }
        let on_copy = self.server.on_copy();
        let passed = on_copy.and_then(|answer| match answer {
            Answer::Own(_) => None,
            Answer::Theirs(bytes) => Some(bytes[..].into()),
        });
        Some(Standing {
            branches: self.branches.iter().map(Branch::standing).collect(),
            is_bound: self.is_bound,
            is_cancelled: self.is_cancelled,
            leads_to_flow: self.leads_to_flow,
            answered: self.answered,
            waits_for_ack: self.server.waits_for_ack_of_refusal(),
            passed,
            undecided_at: self.server.undecided_at(),
            is_tried: on_copy.is_some(),
        })
    }

    /// Goes on, after it has begun, where another owner has left it. The intervals of copies and timer C begin anew; a
    /// request ends when it would have ended there. Nothing leaves: what was due then has left.
    pub fn go_on(&mut self, from: &Standing, now: Time) {
        self.branches = Few::None;
        for standing in &from.branches {
            self.branches.push(Branch::go_on(self.kind, standing, &self.terms, now));
        }
        (self.is_bound, self.leads_to_flow, self.answered) = (from.is_bound, from.leads_to_flow, from.answered);
        let passed = |or: u16| from.passed.as_ref().map_or(Answer::Own(or), |bytes| Answer::Theirs(bytes[..].into()));
        match (self.kind, from.answered) {
            (_, Some(status)) => {
                self.server.respond(status, passed(status), now);
                if !from.waits_for_ack {
                    self.server.on_ack(now);
                }
            }
            // Without it a 100 of our own leaves in time: that of the other owner may not have left.
            (Kind::Invite, None) if from.is_bound => {
                self.server.pass(180, (!self.is_reliable).then(|| passed(100)), now);
            }
            (Kind::Invite, None) => {}
            (Kind::Other, None) => {
                let trying = from.is_tried.then_some(Answer::Own(100));
                self.server.set_undecided_at(from.undecided_at.min(now + LIFETIME), trying);
            }
        }
        if from.is_cancelled {
            self.on_cancel(now, &mut Vec::new());
        }
    }
}
