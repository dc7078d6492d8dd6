//! The dispatcher's own answers to SIP: to OPTIONS, REGISTER, and requests that are faulty or not served.

use super::{Case, Dispatch};
use crate::dispatch::decision::{Admin, Decision, Operational, Protocol, Reason, Says, Target};
use crate::dispatch::targets::worker::Worker;
use crate::wire::load;
use crate::wire::sip::{Fault, Name, capabilities};
use crate::words::{LoadReport, LoadWord};

impl Dispatch {
    /// Answers OPTIONS to the dispatcher itself (RFC 3261 §11.2): the answer that an INVITE would get, with the load of
    /// the workers where the request asks for it. One from a downstream proxy may report the proxy's own load.
    pub(super) fn options(&mut self, case: &Case<'_>) -> Decision {
        if let Some(report) = load::read_headers(case.request.message) {
            // A system reports on connections that it has opened itself, from other ports.
            let system = self.system_of(case.arrival).and_then(|id| self.proxies.get(id)?.address());
            self.proxies.on_reported(system.unwrap_or(case.arrival.source), report);
        }
        let mut decision = self.answer_to_options(case);
        if let Target::Answer(answer) = &mut decision.target {
            answer.tells_load = case.request.message.extension(load::QUERY.as_bytes()) == Some(b"1");
        }
        decision
    }

    fn answer_to_options(&self, case: &Case<'_>) -> Decision {
        // RFC 3261 §8.2.2.3.
        if case.request.message.values(Name::Require).any(|option| !capabilities::supports(option)) {
            return saying(self.answer(case, 420, Reason::Options), Says::Unsupported);
        }
        if !self.pool.has_open(Protocol::Sip) && self.proxies.is_empty() {
            return self.unavailable(case, Reason::OptionsUnavailable);
        }
        saying(self.answer(case, 200, Reason::Options), Says::Capabilities)
    }

    /// The load of the workers together and of each.
    pub fn load_report(&self) -> LoadReport {
        let is_up = |worker: &&Worker| worker.operational == Operational::Up;
        let up = || self.pool.iter().map(|(_, worker)| worker).filter(is_up);
        let used = |worker: &Worker| worker.units_used.saturating_add(worker.ledger());
        let sum = |of: &dyn Fn(&Worker) -> u32| up().fold(0_u32, |sum, worker| sum.saturating_add(of(worker)));
        let word = match (self.pool.has_open(Protocol::Sip), up().all(|worker| worker.admin != Admin::Ready)) {
            (true, _) => LoadWord::Ready,
            (false, true) => LoadWord::Drain,
            (false, false) => LoadWord::Full,
        };
        let processes = up().take(LoadReport::PROCESSES).map(|worker| (used(worker), Some(worker.units_total)));
        LoadReport {
            used: Some(sum(&used)),
            total: Some(sum(&|worker| worker.units_total)),
            word: Some(word),
            percent: None,
            processes: processes.collect(),
        }
    }

    /// Answers a REGISTER that the rules accept: 200 with the addresses as they came (RFC 3261 §10.3). None of them is
    /// stored.
    pub(super) fn registered(&self, case: &Case<'_>) -> Decision {
        saying(self.answer(case, 200, Reason::Registered), Says::Registered)
    }

    /// The answer to a request that is faulty; it names the fault.
    pub(super) fn answer_fault(&self, case: &Case<'_>, status: u16, fault: Fault) -> Decision {
        let reason = if fault == Fault::UriScheme { Reason::UnknownScheme } else { Reason::Malformed };
        saying(self.answer(case, status, reason), Says::Fault(fault))
    }

    pub(super) fn refuse_method(&self, case: &Case<'_>, status: u16, reason: Reason) -> Decision {
        saying(self.answer(case, status, reason), Says::Allow)
    }

    pub(super) fn unavailable(&self, case: &Case<'_>, reason: Reason) -> Decision {
        self.answer(case, 503, reason)
    }
}

/// The answer, whose receiver need not stay away.
pub(super) const fn without_retry_after(mut decision: Decision) -> Decision {
    if let Target::Answer(answer) = &mut decision.target {
        answer.retry_after = None;
    }
    decision
}

/// The answer, with more text.
pub(super) const fn saying(mut decision: Decision, says: Says) -> Decision {
    if let Target::Answer(answer) = &mut decision.target {
        answer.says = says;
    }
    decision
}
