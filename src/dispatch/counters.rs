//! Counts of decisions: totals since start, and the same broken down by reason.

use super::decision::{Decision, Handoff, Target};
use super::probed::ProbeEnd;
use super::reason::Reason;
use crate::pack::packed;

/// Counts since start. For messages from the well-known sockets,
/// `received = handed_over + forwarded + responses + relayed + replied + dropped`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    by_reason: ByReason,
    /// Messages read, retransmissions included.
    pub received: u64,
    /// Initial requests given to a worker.
    pub handed_over: u64,
    /// Requests forwarded to downstream proxies.
    pub forwarded: u64,
    /// Responses of downstream proxies that were forwarded, or given to the prober.
    pub responses: u64,
    /// Messages given to the worker that has their call or transaction.
    pub relayed: u64,
    /// The dispatcher's own answers, pongs included.
    pub replied: u64,
    /// Messages dropped.
    pub dropped: u64,
    /// Initial requests whose dialog stays at the well-known port.
    pub pinned: u64,
    /// Messages that came back: refused or orphaned by a worker, left by a server, or for a connection that is gone.
    pub returned: u64,
    /// Table entries removed before their time, to make room for new ones.
    pub evicted: u64,
    /// Conferences that two workers claimed.
    pub group_conflicts: u64,
    /// Conferences that could not be entered because the list was full.
    pub groups_unrecorded: u64,
    probes: [u64; ProbeEnd::ALL.len()],
}

/// Kinds of decision about a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Given to a worker, to begin something.
    HandedOver,
    /// Given to the worker that has its call or transaction.
    Relayed,
    /// A request forwarded to a downstream proxy.
    Forwarded,
    /// A response of a downstream proxy, forwarded or given to the prober.
    Response,
    /// Answered by the dispatcher.
    Replied,
    /// Dropped.
    Dropped,
    /// Any decision about a message that had come back.
    Returned,
    /// Any decision about a message to the port of a slot without a worker.
    Vacant,
}

impl Kind {
    const COUNT: usize = 8;
    /// The kinds whose sum is the number of messages read from the well-known sockets.
    pub const READ: [Kind; 6] =
        [Kind::HandedOver, Kind::Relayed, Kind::Forwarded, Kind::Response, Kind::Replied, Kind::Dropped];

    /// The kind of a decision about a message from a well-known socket.
    pub const fn of(decision: &Decision) -> Kind {
        match decision.target {
            Target::Worker(Handoff { follows: true, .. }) | Target::Everyone(_) => Kind::Relayed,
            Target::Worker(_) => Kind::HandedOver,
            Target::Forward(_) | Target::Waits(_) => Kind::Forwarded,
            Target::ForwardResponse(_) | Target::Passed(..) | Target::Prober => Kind::Response,
            Target::Answer(_) | Target::Redirect(_) | Target::Return(_) | Target::Gathered(_) => Kind::Replied,
            Target::Drop => Kind::Dropped,
        }
    }
}

packed!(Counters {
    by_reason,
    received,
    handed_over,
    forwarded,
    responses,
    relayed,
    replied,
    dropped,
    pinned,
    returned,
    evicted,
    group_conflicts,
    groups_unrecorded,
    probes,
});

/// Counts by kind and by reason.
#[derive(Clone, Debug, PartialEq, Eq)]
struct ByReason([[u64; Reason::COUNT]; Kind::COUNT]);

impl Default for ByReason {
    fn default() -> Self {
        ByReason([[0; Reason::COUNT]; Kind::COUNT])
    }
}

// Reasons are packed by their names: the counts survive a takeover by a version with other reasons.
packed!(ByReason by [Vec<(String, u64)>; Kind::COUNT]: ByReason::named, |named| Ok(ByReason::of(named)));

impl ByReason {
    fn named(&self) -> [Vec<(String, u64)>; Kind::COUNT] {
        let named = |counts: &[u64; Reason::COUNT]| {
            let given = Reason::all().iter().zip(counts).filter(|(_, count)| **count > 0);
            given.map(|(reason, count)| (reason.label().to_owned(), *count)).collect()
        };
        self.0.each_ref().map(named)
    }

    fn of(named: [Vec<(String, u64)>; Kind::COUNT]) -> Self {
        let mut all = ByReason::default();
        for (counts, named) in all.0.iter_mut().zip(named) {
            for (label, count) in named {
                let known = Reason::all().iter().zip(counts.iter_mut()).find(|(reason, _)| reason.label() == label);
                if let Some((_, known)) = known {
                    *known = count;
                }
            }
        }
        all
    }
}

impl Counters {
    /// Counts a decision about a message from a well-known socket.
    pub(super) fn on_decision(&mut self, decision: &Decision) {
        self.received += 1;
        let kind = Kind::of(decision);
        self.by_reason.0[kind as usize][decision.reason.index()] += 1;
        self.pinned += u64::from(matches!(decision.target, Target::Worker(Handoff { pinned: Some(_), .. })));
        match kind {
            Kind::HandedOver => self.handed_over += 1,
            Kind::Forwarded => self.forwarded += 1,
            Kind::Response => self.responses += 1,
            Kind::Relayed => self.relayed += 1,
            Kind::Replied => self.replied += 1,
            Kind::Dropped => self.dropped += 1,
            Kind::Returned | Kind::Vacant => {}
        }
    }

    /// Counts a decision about a message that came back.
    pub(super) fn on_returned(&mut self, decision: &Decision) {
        self.returned += 1;
        self.by_reason.0[Kind::Returned as usize][decision.reason.index()] += 1;
    }

    /// Counts a decision about a message to the port of a slot without a worker.
    pub(super) fn on_vacant(&mut self, decision: &Decision) {
        self.by_reason.0[Kind::Vacant as usize][decision.reason.index()] += 1;
    }

    /// Counts the end of a probe.
    pub(super) const fn on_probe(&mut self, end: ProbeEnd) {
        self.probes[end as usize] += 1;
    }

    /// Probes of downstream proxies, by their ends.
    pub fn probes(&self) -> impl Iterator<Item = (ProbeEnd, u64)> + '_ {
        ProbeEnd::ALL.into_iter().zip(self.probes)
    }

    /// Number of times that `reason` was given.
    pub fn of(&self, reason: Reason) -> u64 {
        self.by_reason.0.iter().map(|counts| counts[reason.index()]).sum()
    }

    /// Number of times that `reason` was given for a decision of this kind.
    pub fn of_kind(&self, kind: Kind, reason: Reason) -> u64 {
        self.by_reason.0[kind as usize][reason.index()]
    }

    /// Every reason with its count.
    pub fn reasons(&self) -> impl Iterator<Item = (Reason, u64)> + '_ {
        Reason::all().iter().map(|&reason| (reason, self.of(reason)))
    }
}
