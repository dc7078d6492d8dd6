//! One turn of a worker's loop: which sources are read in it, and when it is over. Arithmetic only.
//!
//! Each source that may have more to read is read once in a turn, as long as the time of its rank lasts. So a report
//! leaves on time however much comes, and a peer that sends much does not keep the worker from peers that send little.
//! All stream connections are one source, which reads from one after the other while [`Turn::has_time`].

use std::collections::VecDeque;
use std::time::Duration;

use foldhash::fast::FixedState;
use hashbrown::HashSet;
use mio::Token;

use crate::time::Time;

/// Kinds of sources, in the order in which they are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rank {
    /// The dispatcher's links and the process's own affairs.
    Links,
    /// Sockets for datagrams: signalling and media.
    Datagrams,
    /// Stream connections and their listeners.
    Streams,
}

/// Ranks there are.
const RANKS: usize = 3;
/// Time that the sources of each rank have in one turn. Together they are a tenth of the time between two reports under
/// load. A rank whose time is over as it begins still has one source read.
const SHARES: [Duration; RANKS] = [Duration::from_millis(4), Duration::from_millis(4), Duration::from_millis(2)];

/// Sources that may have more to read.
#[derive(Debug, Default)]
pub(super) struct Turn {
    queues: [Queue; RANKS],
    /// Every token of the queues. They are our own numbers: no peer can choose colliding ones.
    waiting: HashSet<Token, FixedState>,
    /// The rank that is read, and since when.
    rank: usize,
    since: Option<Time>,
}

#[derive(Debug, Default)]
struct Queue {
    tokens: VecDeque<Token>,
    /// Number of them that belong to this turn.
    left: usize,
}

impl Turn {
    /// A source should be read in the next turn.
    pub(super) fn add(&mut self, rank: Rank, source: Token) {
        if self.waiting.insert(source) {
            self.queues[rank as usize].tokens.push_back(source);
        }
    }

    /// Whether any source waits.
    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Begins a turn with the sources that wait now.
    pub(super) fn begin(&mut self) {
        self.queues.iter_mut().for_each(|queue| queue.left = queue.tokens.len());
        (self.rank, self.since) = (0, None);
    }

    /// Whether the time of the rank that is read is not over.
    pub(super) fn has_time(&self, now: Time) -> bool {
        let (since, share) = (self.since.unwrap_or(now), SHARES.get(self.rank).copied().unwrap_or_default());
        now.since(since) < share
    }

    /// The next source to read; `None` when the turn is over.
    pub(super) fn next(&mut self, now: Time) -> Option<Token> {
        loop {
            let has_time = self.since.is_none() || self.has_time(now);
            self.since.get_or_insert(now);
            let queue = self.queues.get_mut(self.rank)?;
            if let Some(token) = queue.tokens.pop_front_if(|_| queue.left > 0 && has_time) {
                queue.left -= 1;
                self.waiting.remove(&token);
                return Some(token);
            }
            (self.rank, self.since) = (self.rank + 1, None);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000;

    /// Sources that are read, when each takes `ms` to read and always has more.
    fn turn_of(turn: &mut Turn, rank: impl Fn(Token) -> Rank, ms: u64, now: &mut Time) -> Vec<usize> {
        let mut read = Vec::new();
        turn.begin();
        while let Some(token) = turn.next(*now) {
            read.push(token.0);
            *now = *now + Duration::from_millis(ms);
            turn.add(rank(token), token);
        }
        read
    }

    const fn rank(token: Token) -> Rank {
        match token.0 {
            0..10 => Rank::Links,
            10..100 => Rank::Datagrams,
            _ => Rank::Streams,
        }
    }

    #[test]
    fn four_thousand_streams_that_always_have_more_keep_neither_reports_nor_links_waiting() {
        let (mut turn, mut now) = (Turn::default(), Time(0));
        // All of them are one source.
        const STREAMS: Token = Token(100);
        let mut connections: VecDeque<usize> = (100..4_196).collect();
        for number in 0..100 {
            let (began, mut read) = (now, Vec::new());
            [Token(1), Token(10), STREAMS].into_iter().for_each(|token| turn.add(rank(token), token));
            turn.begin();
            while let Some(source) = turn.next(now) {
                let mut visits = 0;
                while visits == 0 || source == STREAMS && turn.has_time(now) {
                    read.push(if source == STREAMS { connections.pop_front().unwrap() } else { source.0 });
                    now = now + Duration::from_millis(1);
                    visits += 1;
                }
            }
            connections.extend(&read[2..]);
            assert_eq!(read, [1, 10, 100 + 2 * number, 101 + 2 * number], "links first, connections in their order");
            assert!(now.since(began) < Duration::from_millis(10));
        }
    }

    #[test]
    fn each_rank_has_a_source_read_however_slow_the_one_before_it_was() {
        let (mut turn, mut now) = (Turn::default(), Time(0));
        [1, 2, 10, 11, 100, 101].into_iter().for_each(|token| turn.add(rank(Token(token)), Token(token)));
        assert_eq!(turn_of(&mut turn, rank, 50, &mut now), [1, 10, 100]);
        assert_eq!(turn_of(&mut turn, rank, 50, &mut now), [2, 11, 101]);
    }

    #[test]
    fn a_source_is_read_once_in_a_turn_and_stands_in_the_queue_once() {
        let (mut turn, mut now) = (Turn::default(), Time(5 * MS));
        for _ in 0..3 {
            turn.add(Rank::Streams, Token(100));
        }
        assert_eq!(turn_of(&mut turn, rank, 0, &mut now), [100]);
        assert!(!turn.is_empty());
        turn.begin();
        assert_eq!(turn.next(now), Some(Token(100)));
        assert_eq!((turn.next(now), turn.is_empty()), (None, true));
    }
}
