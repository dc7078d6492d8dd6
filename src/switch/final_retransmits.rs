//! The dispatcher's final answers to INVITEs that a worker had before: sent again until they are acknowledged.
//!
//! A caller that has had a provisional response does not send its INVITE again (RFC 3261 §17.1.1.2): if the only copy
//! of the answer were lost, it would wait for ever. An INVITE without one is retransmitted, and then gets the answer
//! again.

use std::time::Duration;

use foldhash::fast::FixedState;
use hashbrown::HashMap;

use super::answers::{Answers, Written};
use crate::dispatch::identity::DispatcherTag;
use crate::pack::{Damaged, packed, saved};
use crate::time::{Time, Wheel};
use crate::transaction::{LIFETIME, T1, T2};

/// Answers that wait for their ACK.
#[derive(Debug)]
pub struct FinalRetransmits {
    // Tags are this dispatcher's keyed hashes, so that peers cannot choose them.
    by_tag: HashMap<DispatcherTag, Retransmit, FixedState>,
    wheel: Wheel<DispatcherTag>,
}

#[derive(Debug)]
struct Retransmit {
    answer: Written,
    next: Time,
    interval: Duration,
    end: Time,
}

saved!(FinalRetransmits { by_tag } else { wheel } then FinalRetransmits::resume);
packed!(Retransmit { answer, next, interval, end });

/// Most answers that are repeated: more than a worker has calls being set up; 2 MiB of answers. One beyond that is sent
/// once.
const LIMIT: usize = 4_096;

impl FinalRetransmits {
    /// Sends `answer` again until [`FinalRetransmits::on_ack`] with its To-tag.
    pub fn begin(&mut self, tag: DispatcherTag, answer: Written, now: Time) {
        if self.by_tag.len() >= LIMIT {
            return;
        }
        let next = now + T1;
        let repeat = Retransmit { answer, next, interval: T1, end: now + LIFETIME };
        if self.by_tag.insert(tag, repeat).is_none() {
            self.wheel.schedule(next, tag);
        }
    }

    /// The ACK with this To-tag has come.
    pub fn on_ack(&mut self, to_tag: &[u8]) {
        if !self.by_tag.is_empty()
            && let Some(tag) = DispatcherTag::read(to_tag)
        {
            self.by_tag.remove(&tag);
        }
    }

    /// Writes the answers that are due.
    pub fn handle_timeout(&mut self, now: Time, answers: &mut Answers) {
        while let Some(tag) = self.wheel.poll_expired(now) {
            let Some(repeat) = self.by_tag.get_mut(&tag) else { continue };
            if repeat.end <= now {
                self.by_tag.remove(&tag);
                continue;
            }
            if repeat.next <= now {
                answers.write_again(&repeat.answer);
                repeat.interval = (repeat.interval * 2).min(T2);
                repeat.next = now + repeat.interval;
            }
            self.wheel.schedule(repeat.next, tag);
        }
    }

    /// Schedules the answers of an earlier dispatcher.
    fn resume(&mut self) -> Result<(), Damaged> {
        self.by_tag.iter().for_each(|(tag, repeat)| self.wheel.schedule(repeat.next, *tag));
        Ok(())
    }

    /// The time at which something is due next.
    pub fn poll_timeout(&self) -> Option<Time> {
        self.wheel.poll_timeout()
    }
}

impl Default for FinalRetransmits {
    fn default() -> Self {
        FinalRetransmits { by_tag: HashMap::default(), wheel: Wheel::new(Duration::from_millis(50), 128, 0) }
    }
}
