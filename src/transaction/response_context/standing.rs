//! The standing of a request under way, with which another owner goes on.

use super::branch::Branch;
use super::{Answer, Candidate, ResponseContext};
use crate::few::Few;
use crate::time::Time;
use crate::transaction::Kind;

/// The standing of a request that has left and has no final response: another owner goes on with it.
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
    /// The response that copies of the request get, if a proxy has sent it.
    pub passed: Option<Box<[u8]>>,
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
    /// Whether it has failed.
    pub has_failed: bool,
}

impl ResponseContext {
    /// Where it stands, if an outcome is still awaited.
    pub fn standing(&self) -> Option<Standing> {
        self.branches.last().filter(|last| last.is_pending())?;
        let passed = self.server.on_copy().and_then(|answer| match answer {
            Answer::Own(_) => None,
            Answer::Theirs(bytes) => Some(bytes[..].into()),
        });
        let standing = Standing {
            branches: self.branches.iter().map(Branch::standing).collect(),
            is_bound: self.is_bound,
            is_cancelled: self.is_cancelled,
            leads_to_flow: self.leads_to_flow,
            passed,
        };
        (self.server.is_proceeding() && !self.is_expired).then_some(standing)
    }

    /// Goes on, after it has begun, where another owner has left it. All timers begin anew. Nothing leaves: what was
    /// due then has left.
    pub fn go_on(&mut self, from: &Standing, now: Time) {
        self.branches = Few::None;
        for standing in &from.branches {
            self.branches.push(Branch::go_on(self.kind, standing, &self.terms, now));
        }
        (self.is_bound, self.leads_to_flow) = (from.is_bound, from.leads_to_flow);
        if self.kind == Kind::Invite && from.is_bound {
            let passed = from.passed.as_ref().map_or(Answer::Own(100), |bytes| Answer::Theirs(bytes[..].into()));
            // Without it a 100 of our own leaves in time: that of the other owner may not have left.
            self.server.pass(180, (!self.is_reliable).then_some(passed), now);
        }
        if from.is_cancelled {
            self.on_cancel(now, &mut Vec::new());
        }
    }
}
