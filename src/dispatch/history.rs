//! The last decisions, by Call-ID (of MGCP commands without a call: by endpoint and transaction): what `explain` reads for calls that are long gone.

use super::decision::{Decision, Handoff, Pinned, Target};
use super::reason::Reason;
use crate::ids::WorkerId;
use crate::time::Time;
use crate::wire::sip::Fault;

/// A ring of decisions. Its memory is taken as it fills, once.
#[derive(Debug)]
pub struct History {
    ring: Vec<Line>,
    next: usize,
}

/// One decision, as `explain` shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Explained {
    /// When it was made.
    pub at: Time,
    /// The method or verb of the message; `response` for one, empty for what cannot be read so far.
    pub method: &'static str,
    /// Why.
    pub reason: Reason,
    /// What is wrong with the message, where that is the reason.
    pub fault: Option<Fault>,
    /// What was done.
    pub outcome: Outcome,
}

/// What was done with a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Handed to this worker, counted with `size` units.
    Worker {
        /// Who got it.
        worker: WorkerId,
        /// Units.
        size: u32,
        /// Why its dialog stays at the well-known address, if it does.
        pinned: Option<Pinned>,
        /// Whether it went where its call was.
        follows: bool,
    },
    /// Answered with this status, or this return code.
    Answered(u16),
    /// Handed to every worker that it may concern.
    Everyone,
    /// Answered as before, from what everyone had said.
    AnsweredAgain,
    /// Dropped, or answered by a keepalive.
    Dropped,
}

#[derive(Clone, Copy, Debug)]
struct Line {
    call: u64,
    explained: Explained,
}

impl History {
    /// How many decisions a lane remembers.
    pub const LEN: usize = 65_536;

    /// An empty ring.
    pub fn new() -> Self {
        History { ring: Vec::with_capacity(History::LEN), next: 0 }
    }

    /// Notes a decision about a message of this method, of the call whose Call-ID hashes to `call`.
    pub fn note(&mut self, call: u64, method: &'static str, fault: Option<Fault>, decision: &Decision, now: Time) {
        let outcome = match decision.target {
            Target::Worker(Handoff { worker, size, pinned, follows, .. }) => {
                Outcome::Worker { worker, size, pinned, follows }
            }
            Target::Answer(answer) => Outcome::Answered(answer.status),
            Target::Return(answer) => Outcome::Answered(answer.code.0),
            Target::Everyone(_) => Outcome::Everyone,
            Target::Gathered(_) => Outcome::AnsweredAgain,
            Target::Pong | Target::Drop => Outcome::Dropped,
        };
        let line = Line { call, explained: Explained { at: now, method, reason: decision.reason, fault, outcome } };
        match self.ring.get_mut(self.next) {
            Some(place) => *place = line,
            None => self.ring.push(line),
        }
        self.next = (self.next + 1) % History::LEN;
    }

    /// The decisions about a call, oldest first.
    pub fn of(&self, call: u64) -> Vec<Explained> {
        let (newer, older) = self.ring.split_at(self.next.min(self.ring.len()));
        older.iter().chain(newer).filter(|line| line.call == call).map(|line| line.explained).collect()
    }
}

impl Default for History {
    fn default() -> Self {
        History::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ring_forgets_the_oldest_and_tells_the_rest_in_order() {
        let mut history = History::new();
        let drop = Decision { target: Target::Drop, reason: Reason::Stun };
        for at in 0..History::LEN as u64 + 3 {
            history.note(at % 2, "INVITE", None, &drop, Time(at));
        }
        let odd = history.of(1);
        assert_eq!(odd.len(), History::LEN / 2);
        assert_eq!(odd.first().map(|line| line.at), Some(Time(3)));
        assert_eq!(odd.last().map(|line| line.at), Some(Time(History::LEN as u64 + 1)));
        assert!(odd.windows(2).all(|pair| pair[0].at < pair[1].at));
        assert_eq!(history.of(2), []);
    }
}
