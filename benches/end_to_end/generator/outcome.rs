//! The outcome of the calls.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use hdrhistogram::Histogram;

/// Counts and times of a run.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Calls placed.
    pub started: u64,
    /// Calls that got a 2xx.
    pub answered: u64,
    /// Calls whose BYE got a 2xx.
    pub completed: u64,
    /// Calls that the far end ended.
    pub ended_by_peer: u64,
    /// Failures by request and status: `INVITE 503`, `BYE without a final response`.
    pub failures: BTreeMap<String, u64>,
    /// INVITEs sent, retransmissions included.
    pub invites_sent: u64,
    /// INVITEs sent again (Timer A).
    pub invites_again: u64,
    /// BYEs sent, without retransmissions.
    pub byes_sent: u64,
    /// BYEs sent again (Timer E).
    pub byes_again: u64,
    /// 2xx that came again and were acknowledged again.
    pub answers_again: u64,
    /// 2xx of a second worker for the same INVITE.
    pub second_answers: u64,
    /// Responses from another address than the request was sent to.
    pub from_elsewhere: u64,
    /// Datagrams that belong to no call.
    pub strangers: u64,
    /// Datagrams that the kernel did not take.
    pub send_failed: u64,
    /// Answered calls by the next hop that their answer named: Contact, or the last Record-Route.
    pub contacts: BTreeMap<SocketAddr, u64>,
    /// INVITE → 2xx in microseconds.
    pub latency: Histogram<u64>,
    /// The length of the run.
    pub elapsed: Duration,
}

impl Default for Outcome {
    fn default() -> Self {
        Outcome {
            started: 0,
            answered: 0,
            completed: 0,
            ended_by_peer: 0,
            failures: BTreeMap::new(),
            invites_sent: 0,
            invites_again: 0,
            byes_sent: 0,
            byes_again: 0,
            answers_again: 0,
            second_answers: 0,
            from_elsewhere: 0,
            strangers: 0,
            send_failed: 0,
            contacts: BTreeMap::new(),
            // 1 µs to 100 s with three digits: the bounds are constants, so this cannot fail.
            latency: Histogram::new_with_bounds(1, 100_000_000, 3).expect("bounds that fit"),
            elapsed: Duration::ZERO,
        }
    }
}

impl Outcome {
    /// The number of requests of `method` that failed.
    pub fn failed(&self, method: &str) -> u64 {
        let of_method = |name: &str| name.split(' ').next() == Some(method);
        self.failures.iter().filter(|(name, _)| of_method(name)).map(|(_, count)| count).sum()
    }

    pub(super) fn fail(&mut self, method: &str, how: &str) {
        *self.failures.entry(format!("{method} {how}")).or_default() += 1;
    }

    pub(super) fn answered(&mut self, after: Duration) {
        self.answered += 1;
        self.latency.saturating_record(after.as_micros() as u64);
    }

    pub(super) fn count_contact(&mut self, contact: Option<SocketAddr>) {
        if let Some(contact) = contact {
            *self.contacts.entry(contact).or_default() += 1;
        }
    }
}

/// Figures of a running generator, for another thread.
#[derive(Debug, Default)]
pub struct Progress {
    invites_sent: AtomicU64,
    started: AtomicU64,
    answered: AtomicU64,
    completed: AtomicU64,
    established: AtomicU64,
    stopped: AtomicBool,
}

impl Progress {
    /// INVITEs sent, retransmissions included.
    pub fn invites_sent(&self) -> u64 {
        self.invites_sent.load(Ordering::Relaxed)
    }

    /// Calls placed.
    pub fn started(&self) -> u64 {
        self.started.load(Ordering::Relaxed)
    }

    /// Calls that got a 2xx.
    pub fn answered(&self) -> u64 {
        self.answered.load(Ordering::Relaxed)
    }

    /// Calls whose BYE got a 2xx.
    pub fn completed(&self) -> u64 {
        self.completed.load(Ordering::Relaxed)
    }

    /// Calls that stand.
    pub fn established(&self) -> u64 {
        self.established.load(Ordering::Relaxed)
    }

    /// Places no more calls; those that are open come to their end.
    pub fn stop(&self) {
        self.stopped.store(true, Ordering::Relaxed);
    }

    pub(super) fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Relaxed)
    }

    pub(super) fn publish(&self, outcome: &Outcome, established: u64) {
        self.invites_sent.store(outcome.invites_sent, Ordering::Relaxed);
        self.started.store(outcome.started, Ordering::Relaxed);
        self.answered.store(outcome.answered, Ordering::Relaxed);
        self.completed.store(outcome.completed, Ordering::Relaxed);
        self.established.store(established, Ordering::Relaxed);
    }
}
