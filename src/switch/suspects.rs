//! Suspects: messages that a worker had read or could have read when it died, on their way to other workers. One of
//! them may be what killed it.
//!
//! At the second death with a message its caller gets a 500, and every other message at that worker then has seen two
//! deaths as well. So suspects are handed over a few at a time: the next ones once a worker has read those before and
//! lives.

use std::collections::VecDeque;
use std::time::Duration;

use crate::ids::{Seq, WorkerId};
use crate::pack::packed;
use crate::time::Time;

/// The messages that wait, and those that were handed over and may still kill their worker.
#[derive(Debug)]
pub struct Suspects<M> {
    waiting: VecDeque<M>,
    out: Vec<Out>,
}

#[derive(Clone, Copy, Debug)]
struct Out {
    worker: WorkerId,
    seq: Seq,
    until: Time,
}

packed!(Suspects<M> { waiting, out });
packed!(Out { worker, seq, until });

/// Longest wait for a suspect to be read. A live worker reports within 100 ms what it has read; the others do not wait
/// for one that does not.
const READ_WITHIN: Duration = Duration::from_millis(250);
/// One more suspect is out at a time for each so many that wait: thousands must not wait for minutes.
const CROWD: usize = 32;
/// Most suspects that may be out at a time: each frame that a worker sends has all of them looked at.
const MOST_OUT: usize = 512;

impl<M> Suspects<M> {
    /// No suspects.
    pub const fn new() -> Self {
        Suspects { waiting: VecDeque::new(), out: Vec::new() }
    }

    /// Adds a message that a worker has died with.
    pub fn add(&mut self, message: M) {
        self.waiting.push_back(message);
    }

    /// Takes the next suspect that may be handed over.
    pub fn next(&mut self) -> Option<M> {
        if self.may_go() { self.waiting.pop_front() } else { None }
    }

    /// Whether a suspect may be handed over.
    pub fn may_go(&self) -> bool {
        !self.waiting.is_empty() && self.out.len() < (1 + self.waiting.len() / CROWD).min(MOST_OUT)
    }

    /// Notes that a suspect was handed over.
    pub fn on_handed_over(&mut self, worker: WorkerId, seq: Seq, now: Time) {
        self.out.push(Out { worker, seq, until: now + READ_WITHIN });
    }

    /// A worker is gone, and its messages with it.
    pub fn on_link_lost(&mut self, worker: WorkerId) {
        self.out.retain(|out| out.worker != worker);
    }

    /// Forgets the suspects that their worker `has_read` and outlived, and those whose time is over.
    pub fn clear(&mut self, now: Time, has_read: impl Fn(WorkerId, Seq) -> bool) {
        self.out.retain(|out| out.until > now && !has_read(out.worker, out.seq));
    }

    /// Whether no suspect waits.
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// The latest time at which the next suspect may be handed over.
    pub fn poll_timeout(&self) -> Option<Time> {
        if self.is_empty() { None } else { self.out.iter().map(|out| out.until).min() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const W0: WorkerId = WorkerId(0);

    #[test]
    fn the_next_one_waits_until_the_one_before_has_been_read() {
        let mut suspects = Suspects::new();
        (0..3).for_each(|message| suspects.add(message));
        assert_eq!(suspects.next(), Some(0));
        suspects.on_handed_over(W0, Seq(7), Time(0));
        assert_eq!(suspects.next(), None);
        suspects.clear(Time(1), |_, seq| seq <= Seq(6));
        assert_eq!(suspects.next(), None);
        suspects.clear(Time(1), |_, seq| seq <= Seq(7));
        assert_eq!(suspects.next(), Some(1));
        suspects.on_handed_over(W0, Seq(8), Time(1));
        suspects.on_link_lost(W0);
        assert_eq!(suspects.next(), Some(2), "it was the death of its worker, too");
        assert_eq!((suspects.is_empty(), suspects.poll_timeout()), (true, None));
    }

    #[test]
    fn a_suspect_does_not_wait_long_for_a_worker_that_says_nothing() {
        let mut suspects = Suspects::new();
        (0..2).for_each(|message| suspects.add(message));
        suspects.next();
        suspects.on_handed_over(W0, Seq(1), Time(0));
        assert_eq!(suspects.poll_timeout(), Some(Time(250_000)));
        suspects.clear(Time(250_000), |_, _| false);
        assert_eq!(suspects.next(), Some(1));
    }

    #[test]
    fn many_are_handed_over_together() {
        let mut suspects = Suspects::new();
        (0..10 * CROWD).for_each(|message| suspects.add(message));
        let mut out = 0;
        while suspects.next().is_some() {
            out += 1;
            suspects.on_handed_over(W0, Seq(out), Time(0));
        }
        assert_eq!(out, 10);
    }
}
