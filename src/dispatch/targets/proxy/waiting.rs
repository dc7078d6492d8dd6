//! Requests that one proxy has not answered yet, by the time at which it got them.
//!
//! A request has one place here, from its sending until its first response or its end. What is outstanding is the
//! number of places: nothing is counted up in one place and down in another. One that no one speaks of any more goes by
//! itself.

use std::collections::VecDeque;
use std::time::Duration;

use crate::pack::packed;
use crate::time::Time;
use crate::transaction::LIFETIME;

/// Requests without a response are few among one of so many.
const FEW: u32 = 8;

/// Requests without a response, oldest first.
#[derive(Clone, Debug, Default)]
pub struct Waiting {
    /// Number of the request at the front.
    first: u32,
    /// Times of sending; [`Time::NEVER`] once a request waits no more.
    sent: VecDeque<Time>,
    /// Requests that wait.
    open: u32,
    /// Places at the front whose requests were found silent already.
    judged: u32,
    /// Places at the front whose requests the proxy has lost: it was down since. The place after them waits.
    lost: u32,
    /// Requests among them that wait.
    lost_open: u32,
    /// Places at the front up to that of the newest request that has been answered.
    passed: u32,
    /// Requests among them that wait: the proxy has answered later ones.
    passed_open: u32,
}

packed!(Waiting { first, sent, open, judged, lost, lost_open, passed, passed_open });

impl Waiting {
    /// Most places. If more requests are sent, the oldest is forgotten.
    pub const LIMIT: usize = 16_384;

    /// Notes a request, and numbers it.
    pub fn push(&mut self, now: Time) -> u32 {
        if self.sent.len() >= Waiting::LIMIT {
            self.take(self.first);
        }
        self.sent.push_back(now);
        self.open += 1;
        self.first.wrapping_add(self.sent.len() as u32 - 1)
    }

    /// Takes out a request that has its first response, and returns when it was sent; `None` if it does not wait.
    pub fn on_response(&mut self, number: u32) -> Option<Time> {
        let at = number.wrapping_sub(self.first) as usize;
        if at < self.sent.len() && at >= self.passed as usize {
            let newly = self.sent.range(self.passed as usize..=at);
            self.passed_open += newly.filter(|sent| **sent != Time::NEVER).count() as u32;
            self.passed = at as u32 + 1;
        }
        self.take(number)
    }

    /// Takes out a request, and returns when it was sent; `None` if it does not wait.
    pub fn take(&mut self, number: u32) -> Option<Time> {
        let at = number.wrapping_sub(self.first) as usize;
        let sent = self.sent.get_mut(at).filter(|sent| **sent != Time::NEVER)?;
        let sent = std::mem::replace(sent, Time::NEVER);
        self.open -= 1;
        self.lost_open -= u32::from(at < self.lost as usize);
        self.passed_open -= u32::from(at < self.passed as usize);
        while self.sent.front() == Some(&Time::NEVER) {
            self.sent.pop_front();
            self.first = self.first.wrapping_add(1);
            self.judged = self.judged.saturating_sub(1);
            self.lost = self.lost.saturating_sub(1);
            self.passed = self.passed.saturating_sub(1);
        }
        while self.lost > 0 && self.sent.get(self.lost as usize) == Some(&Time::NEVER) {
            self.lost += 1;
        }
        Some(sent)
    }

    /// Takes note that the proxy has lost the requests of now. They wait on, and their age says nothing of it.
    pub fn on_lost(&mut self) {
        (self.lost, self.lost_open) = (self.sent.len() as u32, self.open);
    }

    /// Takes out a request that has ended without a response (RFC 3261 §17.1.1.2 and §17.1.2.2: timers B and F).
    pub fn poll_ended(&mut self, now: Time) -> Option<u32> {
        let number = self.first;
        self.sent.front().filter(|sent| now.since(**sent) >= LIFETIME)?;
        self.take(number).map(|_| number)
    }

    /// A request that has waited for `span`, with the time of its sending; each once.
    pub fn poll_silent(&mut self, span: Duration, now: Time) -> Option<(u32, Time)> {
        while let Some(&sent) = self.sent.get(self.judged as usize) {
            if sent != Time::NEVER && now.since(sent) < span {
                return None;
            }
            let number = self.first.wrapping_add(self.judged);
            self.judged += 1;
            if sent != Time::NEVER {
                return Some((number, sent));
            }
        }
        None
    }

    /// Numbers of the requests that wait.
    pub fn numbers(&self) -> impl Iterator<Item = u32> + '_ {
        let waits = (0..).zip(&self.sent).filter(|(_, sent)| **sent != Time::NEVER);
        waits.map(|(at, _): (u32, _)| self.first.wrapping_add(at))
    }

    /// Number of requests that wait.
    pub const fn len(&self) -> u32 {
        self.open
    }

    /// Number of those that the proxy has not lost.
    pub const fn kept(&self) -> u32 {
        self.open.saturating_sub(self.lost_open)
    }

    /// Time at which the oldest was sent that waits and says something of the proxy. Those that it has lost do not, and
    /// neither do a few among many that it has answered: a server may ignore a caller whom it does not admit, and be
    /// quick for all others.
    pub fn oldest(&self) -> Option<Time> {
        let ignored = if self.passed_open.saturating_mul(FEW) <= self.passed { self.passed } else { 0 };
        self.sent.iter().skip(self.lost.max(ignored) as usize).find(|sent| **sent != Time::NEVER).copied()
    }

    /// Panics if it contradicts itself.
    pub fn check(&self) {
        assert!(self.is_sound(), "{self:?}");
    }

    /// Whether it does not contradict itself.
    pub fn is_sound(&self) -> bool {
        let length = self.sent.len();
        let open = |front: usize| self.sent.iter().take(front).filter(|sent| **sent != Time::NEVER).count();
        let parts =
            [(length, self.open), (self.lost as usize, self.lost_open), (self.passed as usize, self.passed_open)];
        length <= Waiting::LIMIT
            && self.sent.front() != Some(&Time::NEVER)
            && self.judged as usize <= length
            && parts.iter().all(|(front, count)| *front <= length && open(*front) == *count as usize)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn it_agrees_with_a_plain_list(operations in prop::collection::vec((0..6_u8, 0..60_u32), 0..300)) {
            let (mut waiting, mut list, mut now) = (Waiting::default(), Vec::new(), Time(1_000_000));
            let (mut given, mut lost, mut passed, mut silent, mut expected) = (0, 0, 0, Vec::new(), Vec::new());
            for (kind, number) in operations {
                match kind {
                    0 => {
                        prop_assert_eq!(waiting.push(now), given);
                        list.push((given, now));
                        given += 1;
                    }
                    1 | 5 => {
                        if kind == 5 && number < given && list.first().is_some_and(|&(first, _)| number >= first) {
                            passed = passed.max(number + 1);
                        }
                        let known = list.iter().position(|&(other, _)| other == number).map(|at| list.remove(at).1);
                        let taken = if kind == 5 { waiting.on_response(number) } else { waiting.take(number) };
                        prop_assert_eq!(taken, known);
                    }
                    2 => now = now + Duration::from_millis(100 * u64::from(number)),
                    3 => {
                        waiting.on_lost();
                        lost = given;
                    }
                    _ => {
                        silent.extend(std::iter::from_fn(|| waiting.poll_silent(Duration::from_millis(500), now)));
                        let late = |&(_, sent): &(u32, Time)| now.since(sent) >= Duration::from_millis(500);
                        expected.extend(list.iter().copied().filter(late));
                        expected.dedup();
                        expected.sort_unstable();
                        expected.dedup();
                        while let Some(ended) = waiting.poll_ended(now) {
                            prop_assert_eq!(list.remove(0).0, ended);
                        }
                    }
                }
                waiting.check();
                prop_assert_eq!(waiting.len() as usize, list.len());
                let first = list.first().map_or(given, |&(number, _)| number);
                let open = list.iter().filter(|&&(number, _)| number < passed).count() as u32;
                let few = if open * FEW <= passed.saturating_sub(first) { passed } else { 0 };
                let oldest = list.iter().find(|&&(number, _)| number >= lost.max(few));
                prop_assert_eq!(waiting.oldest(), oldest.map(|&(_, sent)| sent));
                prop_assert_eq!(&silent, &expected);
            }
        }
    }

    #[test]
    fn one_ignored_request_among_many_answered_ones_says_nothing_and_one_of_two_does() {
        let mut waiting = Waiting::default();
        let ignored = waiting.push(Time(1));
        for time in 2..=8 {
            let number = waiting.push(Time(time));
            assert_eq!((waiting.oldest(), waiting.on_response(number)), (Some(Time(1)), Some(Time(time))));
        }
        // Of eight.
        assert_eq!(waiting.oldest(), None);
        waiting.push(Time(10));
        assert_eq!((waiting.oldest(), waiting.len()), (Some(Time(10)), 2));
        waiting.check();
        assert_eq!(waiting.take(ignored), Some(Time(1)));
        waiting.check();
        // One of its processes hangs, and half of all requests with it.
        for time in 20..60 {
            let number = waiting.push(Time(time));
            if time % 2 == 0 {
                waiting.on_response(number);
            }
        }
        waiting.check();
        assert_eq!(waiting.oldest(), Some(Time(10)));
    }

    #[test]
    fn a_flood_without_answers_costs_no_more_memory_than_the_limit_and_goes_by_itself() {
        let mut waiting = Waiting::default();
        for number in 0..Waiting::LIMIT as u64 + 10 {
            waiting.push(Time(number));
        }
        waiting.check();
        assert_eq!((waiting.len() as usize, waiting.take(9)), (Waiting::LIMIT, None));
        let late = Time(Waiting::LIMIT as u64 + 10) + LIFETIME;
        while waiting.poll_ended(late).is_some() {}
        assert_eq!((waiting.len(), waiting.oldest()), (0, None));
    }

    #[test]
    fn numbers_go_on_over_their_end() {
        let mut waiting = Waiting { first: u32::MAX, ..Waiting::default() };
        let numbers: Vec<_> = (0..3).map(|at| waiting.push(Time(at))).collect();
        assert_eq!(numbers, [u32::MAX, 0, 1]);
        assert_eq!(
            (waiting.take(0), waiting.take(u32::MAX), waiting.oldest()),
            (Some(Time(1)), Some(Time(0)), Some(Time(2)))
        );
    }
}
