//! Retransmission timers: a queue for each interval, so that setting one and taking one out cost the same for any
//! number of calls. Nothing is cancelled; the owner looks whether what comes out still matters.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::message::{Key, Method};

/// A timer that has run out.
#[derive(Clone, Copy, Debug)]
pub struct Due {
    /// The call.
    pub key: Key,
    /// The method of its transaction: INVITE (Timer A) or BYE (Timer E).
    pub method: Method,
    /// Whether this only waits for the transaction's end (Timers B and F): nothing is to be sent.
    pub last: bool,
    /// When it ran out. The next one counts from here, so that a late turn delays one copy and not all that follow.
    pub at: Instant,
    level: usize,
}

/// All timers of a generator.
#[derive(Debug)]
pub struct Timers {
    t1: Duration,
    /// Queue `n` holds timers of T1 × 2ⁿ, in the order in which they run out.
    levels: [VecDeque<Due>; Timers::LEVELS],
    /// Timers of the transactions' ends, each with its own time.
    ends: VecDeque<Due>,
}

impl Timers {
    const LEVELS: usize = 7;
    /// T2 is 8 × T1: BYE is sent again every 4 s at most (RFC 3261 §17.1.2.1).
    const T2_LEVEL: usize = 3;

    /// No timers.
    pub fn new(t1: Duration) -> Self {
        Timers { t1, levels: Default::default(), ends: VecDeque::new() }
    }

    /// The first timer of a transaction that began at `now`.
    pub fn start(&mut self, now: Instant, key: Key, method: Method) {
        self.levels[0].push_back(Due { key, method, last: false, at: now + self.t1, level: 0 });
    }

    /// The timer after `due`; `left` is what remained then until the transaction's end.
    pub fn again(&mut self, due: Due, left: Duration) {
        let highest = if due.method == Method::Bye { Timers::T2_LEVEL } else { Timers::LEVELS - 1 };
        let level = (due.level + 1).min(highest);
        let interval = self.t1 * (1 << level);
        if interval < left {
            self.levels[level].push_back(Due { level, at: due.at + interval, ..due });
        } else {
            self.ends.push_back(Due { last: true, at: due.at + left, ..due });
        }
    }

    /// A timer that has run out by `now`.
    pub fn pop(&mut self, now: Instant) -> Option<Due> {
        self.queues().find(|queue| queue.front().is_some_and(|due| due.at <= now))?.pop_front()
    }

    /// When the next one runs out.
    pub fn next(&self) -> Option<Instant> {
        self.levels.iter().chain([&self.ends]).filter_map(|queue| queue.front()).map(|due| due.at).min()
    }

    fn queues(&mut self) -> impl Iterator<Item = &mut VecDeque<Due>> {
        self.levels.iter_mut().chain([&mut self.ends])
    }
}
