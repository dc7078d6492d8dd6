//! Number of events of the last minutes, in a ring of fixed size. Each event is counted once; it leaves with its time.

use std::time::Duration;

use crate::pack::packed;
use crate::time::Time;

/// Parts that the time is counted in.
const PARTS: u64 = 60;

/// Events of the last `span`.
#[derive(Clone, Debug, Default)]
pub struct Recent {
    /// Microseconds of each part; 0 before the first.
    width: u64,
    /// Number of the newest part since time 0.
    newest: u64,
    parts: Vec<u32>,
}

packed!(Recent { width, newest, parts });

impl Recent {
    /// A count over `span`.
    pub fn new(span: Duration) -> Self {
        Recent { width: width(span), newest: 0, parts: Vec::new() }
    }

    /// Sets another span. If it differs, the count begins anew.
    pub fn set_span(&mut self, span: Duration) {
        if width(span) != self.width {
            *self = Recent::new(span);
        }
    }

    /// Counts an event.
    pub fn add(&mut self, now: Time) {
        self.parts.resize(PARTS as usize, 0);
        let part = now.0 / self.width.max(1);
        if part > self.newest {
            let passed = (part - self.newest).min(PARTS);
            for number in part - passed + 1..=part {
                self.parts[(number % PARTS) as usize] = 0;
            }
            self.newest = part;
        }
        let count = &mut self.parts[(self.newest % PARTS) as usize];
        *count = count.saturating_add(1);
    }

    /// Number of events.
    pub fn count(&self, now: Time) -> u32 {
        let part = now.0 / self.width.max(1);
        let passed = part.saturating_sub(self.newest);
        if self.parts.is_empty() || passed >= PARTS {
            return 0;
        }
        // The oldest parts have gone since the last event.
        let first = part.max(self.newest).saturating_sub(PARTS - 1);
        let counted = (first..=self.newest).filter_map(|number| self.parts.get((number % PARTS) as usize));
        counted.fold(0, |sum, count| sum.saturating_add(*count))
    }
}

const fn width(span: Duration) -> u64 {
    let width = span.as_micros() as u64 / PARTS;
    if width == 0 { 1 } else { width }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn it_agrees_with_a_list_of_times_but_for_one_part(steps in prop::collection::vec(0..9_000_u64, 0..400)) {
            let (mut recent, mut times, mut now) = (Recent::new(Duration::from_millis(60_000)), Vec::new(), 1_000_000_u64);
            for step in steps {
                now += step * 1_000;
                recent.add(Time(now));
                times.push(now);
                let within = |span: u64| times.iter().filter(|time| now - **time < span).count() as u32;
                let count = recent.count(Time(now));
                prop_assert!(within(59_000_000) <= count && count <= within(60_000_000), "{count}");
            }
        }
    }

    #[test]
    fn a_clock_that_stands_or_jumps_leaves_nothing_behind() {
        let mut recent = Recent::new(Duration::from_secs(60));
        (0..7).for_each(|_| recent.add(Time(5_000_000)));
        recent.add(Time(4_000_000));
        assert_eq!(recent.count(Time(5_000_000)), 8);
        assert_eq!(recent.count(Time(500_000_000)), 0);
        recent.add(Time(500_000_000));
        assert_eq!(recent.count(Time(500_000_000)), 1);
        recent.set_span(Duration::ZERO);
        recent.add(Time(u64::MAX));
        assert_eq!(recent.count(Time(u64::MAX)), 1);
    }
}
