//! The ledger: the units that have been handed to one worker and are not yet in its reports.
//!
//! A report names the last handoff that its figures include; until then the ledger adds the handoff's size. No handoff
//! is counted up in one place and down in another, so nothing can drift.

use std::collections::VecDeque;

use crate::ids::Seq;
use crate::pack::packed;

/// Handoffs of one link that are not yet in the worker's reports. The ledger numbers them.
#[derive(Debug, Default)]
pub struct Ledger {
    last: u64,
    open: VecDeque<(u64, u32)>,
    folded: Folded,
    units: u64,
}

/// The oldest handoffs, counted as one when there are too many to keep each.
#[derive(Debug, Default)]
struct Folded {
    through: u64,
    units: u64,
}

packed!(Ledger { last, open, folded, units });
packed!(Folded { through, units });

impl Ledger {
    /// If more than this many handoffs are open, the oldest are counted as one until the last of them is in a report:
    /// the sum is right or too high, never too low.
    pub const LIMIT: usize = 16_384;

    /// A ledger with memory for some handoffs from the start.
    pub fn new() -> Self {
        Ledger { open: VecDeque::with_capacity(1024), ..Ledger::default() }
    }

    /// Numbers the next message of the link and counts its size.
    pub fn hand_over(&mut self, size: u32) -> Seq {
        self.last += 1;
        if size > 0 {
            if self.open.len() >= Ledger::LIMIT
                && let Some((number, oldest)) = self.open.pop_front()
            {
                self.folded.through = number;
                self.folded.units += u64::from(oldest);
            }
            self.open.push_back((self.last, size));
            self.units += u64::from(size);
        }
        Seq(self.last)
    }

    /// Takes note of a report whose figures include all handoffs through `seq`.
    pub fn covered(&mut self, seq: Seq) {
        if self.folded.through <= seq.0 {
            self.units -= std::mem::take(&mut self.folded.units);
        }
        while let Some(&(number, size)) = self.open.front()
            && number <= seq.0
        {
            self.open.pop_front();
            self.units -= u64::from(size);
        }
    }

    /// Removes message `seq` of `size` units, which the worker has refused.
    pub fn refused(&mut self, seq: Seq, size: u32) {
        if seq.0 <= self.folded.through {
            let gone = u64::from(size).min(self.folded.units);
            self.folded.units -= gone;
            self.units -= gone;
            return;
        }
        // If it is not open, a report that included it came first, or it had size 0.
        let Ok(at) = self.open.binary_search_by_key(&seq.0, |&(number, _)| number) else { return };
        if let Some((_, open)) = self.open.get_mut(at) {
            self.units -= u64::from(std::mem::take(open));
        }
    }

    /// Starts a new link: numbers begin anew, and nothing is open.
    pub fn reset(&mut self) {
        self.open.clear();
        *self = Ledger { open: std::mem::take(&mut self.open), ..Ledger::default() };
    }

    /// Units handed over that no report includes yet.
    pub fn units(&self) -> u32 {
        u32::try_from(self.units).unwrap_or(u32::MAX)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[derive(Clone, Debug)]
    enum Operation {
        HandOver(u32),
        Covered(u64),
        Refused(u64),
    }

    fn operation() -> impl Strategy<Value = Operation> {
        prop_oneof![
            (0..200_u32).prop_map(Operation::HandOver),
            (0..60_u64).prop_map(Operation::Covered),
            (1..60_u64).prop_map(Operation::Refused),
        ]
    }

    proptest! {
        #[test]
        fn the_ledger_agrees_with_a_plain_list(operations in prop::collection::vec(operation(), 0..200)) {
            let mut ledger = Ledger::new();
            let mut list: Vec<(u64, u32)> = Vec::new();
            let mut sizes = vec![0];
            for operation in operations {
                match operation {
                    Operation::HandOver(size) => {
                        let seq = ledger.hand_over(size);
                        prop_assert_eq!(seq.0, sizes.len() as u64);
                        sizes.push(size);
                        list.push((seq.0, size));
                    }
                    Operation::Covered(through) => {
                        ledger.covered(Seq(through));
                        list.retain(|&(seq, _)| seq > through);
                    }
                    Operation::Refused(seq) => {
                        ledger.refused(Seq(seq), sizes.get(seq as usize).copied().unwrap_or(0));
                        list.retain(|&(other, _)| other != seq);
                    }
                }
                prop_assert_eq!(ledger.units(), list.iter().map(|&(_, size)| size).sum::<u32>());
            }
        }
    }

    #[test]
    fn a_worker_that_never_reports_costs_no_more_memory_than_the_limit() {
        let mut ledger = Ledger::new();
        for _ in 0..Ledger::LIMIT + 10 {
            ledger.hand_over(2);
        }
        assert_eq!(ledger.open.len(), Ledger::LIMIT);
        assert_eq!(ledger.units() as usize, 2 * (Ledger::LIMIT + 10));
        ledger.refused(Seq(3), 2);
        assert_eq!(ledger.units() as usize, 2 * (Ledger::LIMIT + 9));
        ledger.covered(Seq(9));
        assert_eq!(ledger.units() as usize, 2 * (Ledger::LIMIT + 9), "not all of the ten are covered");
        ledger.covered(Seq(11));
        assert_eq!(ledger.units() as usize, 2 * (Ledger::LIMIT - 1));
        ledger.reset();
        assert_eq!((ledger.units(), ledger.last), (0, 0));
    }
}
