//! Time as a value, and the wheel that deadlines wait on.
//!
//! [`Time`] is microseconds of the host's monotonic clock: writable in a test, valid in every process of the host.
//! Only `net` and the processes read the clock; everything else is given the time.

use std::fmt;
use std::ops::{Add, Sub};
use std::time::Duration;

/// A moment: microseconds of the host's monotonic clock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Time(pub u64);

impl Time {
    /// A moment that does not come.
    pub const NEVER: Time = Time(u64::MAX);

    /// The time that has passed since `earlier`, zero when `earlier` lies ahead.
    pub const fn since(self, earlier: Time) -> Duration {
        Duration::from_micros(self.0.saturating_sub(earlier.0))
    }
}

impl Add<Duration> for Time {
    type Output = Time;

    fn add(self, span: Duration) -> Time {
        Time(self.0.saturating_add(u64::try_from(span.as_micros()).unwrap_or(u64::MAX)))
    }
}

impl Sub<Duration> for Time {
    type Output = Time;

    fn sub(self, span: Duration) -> Time {
        Time(self.0.saturating_sub(u64::try_from(span.as_micros()).unwrap_or(u64::MAX)))
    }
}

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:06}", self.0 / 1_000_000, self.0 % 1_000_000)
    }
}

/// A hashed timing wheel: items wait in the bucket of their deadline and come out once it has passed.
///
/// Items are never cancelled: when an item comes out, its owner checks whether it is still due, and files it again if
/// not.
/// Nodes are reused, so a wheel in steady state does not allocate. Items come out at most one tick late, never early.
#[derive(Debug)]
pub struct Wheel<T> {
    tick: u64,
    heads: Vec<u32>,
    nodes: Vec<Node<T>>,
    free: u32,
    waiting: usize,
    /// The tick whose bucket is looked at next.
    cursor: u64,
}

#[derive(Debug)]
struct Node<T> {
    deadline: Time,
    next: u32,
    item: T,
}

const NONE: u32 = u32::MAX;

impl<T: Copy> Wheel<T> {
    /// A wheel of `buckets` buckets, `tick` wide each, with room for `capacity` items before it has to grow.
    pub fn new(tick: Duration, buckets: usize, capacity: usize) -> Self {
        Wheel {
            tick: (tick.as_micros() as u64).max(1),
            heads: vec![NONE; buckets.max(1)],
            nodes: Vec::with_capacity(capacity),
            free: NONE,
            waiting: 0,
            cursor: 0,
        }
    }

    /// Files `item` to come out at `deadline`.
    pub fn schedule(&mut self, deadline: Time, item: T) {
        // A deadline that has already passed goes where the cursor looks next.
        let tick = self.tick_of(deadline).max(self.cursor);
        let bucket = (tick % self.heads.len() as u64) as usize;
        let node = Node { deadline, next: self.heads[bucket], item };
        let index = if self.free == NONE {
            self.nodes.push(node);
            (self.nodes.len() - 1) as u32
        } else {
            let index = self.free;
            self.free = self.nodes[index as usize].next;
            self.nodes[index as usize] = node;
            index
        };
        self.heads[bucket] = index;
        self.waiting += 1;
    }

    /// Takes out one item whose deadline has passed.
    pub fn poll_expired(&mut self, now: Time) -> Option<T> {
        let last = now.0 / self.tick;
        // An empty wheel has nothing to skip. Else one turn visits every item: more would visit them twice.
        let skipped = if self.waiting == 0 { last + 1 } else { (last + 1).saturating_sub(self.heads.len() as u64) };
        self.cursor = self.cursor.max(skipped);
        while self.cursor <= last {
            let bucket = (self.cursor % self.heads.len() as u64) as usize;
            if let Some(item) = self.take_due(bucket, now) {
                return Some(item);
            }
            self.cursor += 1;
        }
        None
    }

    /// The time at which the wheel next needs to be asked; `None` when it is empty. May be early, never late by more
    /// than a tick.
    pub fn poll_timeout(&self) -> Option<Time> {
        if self.waiting == 0 {
            return None;
        }
        let buckets = self.heads.len() as u64;
        let filled = (self.cursor..self.cursor + buckets).find(|tick| self.heads[(tick % buckets) as usize] != NONE)?;
        Some(Time(filled * self.tick))
    }

    /// Number of items that wait.
    pub const fn len(&self) -> usize {
        self.waiting
    }

    /// Whether nothing waits.
    pub const fn is_empty(&self) -> bool {
        self.waiting == 0
    }

    fn tick_of(&self, time: Time) -> u64 {
        // Rounds up: when a bucket's tick begins, all items in the bucket are due.
        time.0.div_ceil(self.tick)
    }

    fn take_due(&mut self, bucket: usize, now: Time) -> Option<T> {
        let mut previous = NONE;
        let mut at = self.heads[bucket];
        while at != NONE {
            let Node { deadline, next, item } = self.nodes[at as usize];
            if deadline <= now {
                match previous {
                    NONE => self.heads[bucket] = next,
                    _ => self.nodes[previous as usize].next = next,
                }
                self.nodes[at as usize].next = self.free;
                self.free = at;
                self.waiting -= 1;
                return Some(item);
            }
            previous = at;
            at = next;
        }
        None
    }
}

impl<T: Copy> Copy for Node<T> {}

impl<T: Copy> Clone for Node<T> {
    fn clone(&self) -> Self {
        *self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expired(wheel: &mut Wheel<u32>, now: u64) -> Vec<u32> {
        let mut items: Vec<u32> = std::iter::from_fn(|| wheel.poll_expired(Time(now))).collect();
        items.sort_unstable();
        items
    }

    #[test]
    fn items_come_out_after_their_deadline_and_never_before() {
        let mut wheel = Wheel::new(Duration::from_micros(10), 8, 4);
        for deadline in [5, 10, 11, 95, 1_000] {
            wheel.schedule(Time(deadline), deadline as u32);
        }
        assert_eq!(expired(&mut wheel, 4), [0; 0]);
        assert_eq!(expired(&mut wheel, 10), [5, 10]);
        assert_eq!(expired(&mut wheel, 20), [11]);
        assert_eq!(expired(&mut wheel, 94), [0; 0]);
        assert_eq!(expired(&mut wheel, 100), [95]);
        assert_eq!(expired(&mut wheel, 999), [0; 0]);
        assert_eq!(expired(&mut wheel, 1_000), [1_000]);
        assert!(wheel.is_empty());
    }

    #[test]
    fn the_timeout_is_never_later_than_a_tick_after_the_next_deadline() {
        let mut wheel = Wheel::new(Duration::from_micros(10), 8, 4);
        assert_eq!(wheel.poll_timeout(), None);
        let boot = 77_000_000_000;
        wheel.schedule(Time(boot + 25), 1);
        let timeout = wheel.poll_timeout().unwrap();
        assert!(timeout <= Time(boot + 35), "{timeout}");
        assert_eq!(expired(&mut wheel, boot + 35), [1]);
    }

    #[test]
    fn a_deadline_beyond_one_turn_on_an_empty_wheel_holds_up_no_nearer_one() {
        let mut wheel = Wheel::new(Duration::from_micros(10), 8, 4);
        assert_eq!(expired(&mut wheel, 1_000), [0; 0]);
        wheel.schedule(Time(1_500), 1);
        wheel.schedule(Time(1_020), 2);
        assert!(wheel.poll_timeout().unwrap() <= Time(1_020));
        assert_eq!(expired(&mut wheel, 1_030), [2]);
        assert_eq!(expired(&mut wheel, 1_500), [1]);
    }

    #[test]
    fn nodes_are_reused() {
        let mut wheel = Wheel::new(Duration::from_micros(10), 8, 4);
        for round in 0..100 {
            let now = round * 100;
            wheel.schedule(Time(now + 10), 1);
            wheel.schedule(Time(now + 20), 2);
            assert_eq!(expired(&mut wheel, now + 40), [1, 2]);
        }
        assert_eq!(wheel.nodes.len(), 2);
    }
}
