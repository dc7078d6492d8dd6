//! The difference of the clocks of two hosts, bounded as NTP does it. The monotonic clocks of two hosts mean nothing to
//! each other, and a message on a link carries the dispatcher's time.
//!
//! A worker that asks at its time w₁ and hears the dispatcher's time d at w₂ knows: when it was w₁ here, it was not yet
//! d there; when it was w₂ here, it was d there or later. The dispatcher's clock at our time w is at most d + (w − w₁)
//! and at least d + (w − w₂).

use std::time::Duration;

use crate::time::Time;

/// A clock may run this much faster or slower than another: 100 parts in a million, twice what is usual.
const DRIFT: i128 = 10_000;
/// The dispatcher is asked each second at first, then every ten.
const SOON: Duration = Duration::from_secs(1);
const LATER: Duration = Duration::from_secs(10);
const SOON_TIMES: u32 = 10;

/// The dispatcher's clock, as a worker on another host knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ForeignClock {
    /// The dispatcher's clock less ours, in microseconds: least and most, at the time `at`.
    low: i128,
    high: i128,
    at: Time,
    ask_at: Time,
    asked: u32,
}

impl ForeignClock {
    /// The clock whose time `theirs` was heard at our time `heard`, and asked for at `asked`.
    pub fn new(asked: Time, theirs: Time, heard: Time) -> Self {
        let (low, high) = bounds(asked, theirs, heard);
        ForeignClock { low, high, at: heard, ask_at: heard + SOON, asked: 0 }
    }

    /// Takes note of another answer.
    pub fn narrow(&mut self, asked: Time, theirs: Time, heard: Time) {
        let (low, high) = bounds(asked, theirs, heard);
        let (old_low, old_high) = self.offset(heard);
        (self.low, self.high) = (low.max(old_low), high.min(old_high));
        if self.low > self.high {
            // One of the clocks stood still for a while, such as that of a machine that was moved: what was known
            // before is void.
            (self.low, self.high) = (low, high);
        }
        self.at = heard;
    }

    /// Our time when their clock may have reached `theirs` already: before it, `theirs` is in the future for certain.
    pub fn earliest(&self, theirs: Time, now: Time) -> Time {
        time(i128::from(theirs.0) - self.offset(now).1)
    }

    /// About what their clock shows when ours shows `ours`.
    pub fn theirs(&self, ours: Time, now: Time) -> Time {
        let (low, high) = self.offset(now);
        time(i128::from(ours.0) + (low + high) / 2)
    }

    /// About what our clock shows when theirs shows `theirs`.
    pub fn ours(&self, theirs: Time, now: Time) -> Time {
        let (low, high) = self.offset(now);
        time(i128::from(theirs.0) - (low + high) / 2)
    }

    /// Whether it is time to ask again; the next time is counted from `now`.
    pub fn poll_ask(&mut self, now: Time) -> bool {
        if now < self.ask_at {
            return false;
        }
        self.asked = self.asked.saturating_add(1);
        self.ask_at = now + if self.asked < SOON_TIMES { SOON } else { LATER };
        true
    }

    /// When [`ForeignClock::poll_ask`] is due.
    pub const fn poll_timeout(&self) -> Time {
        self.ask_at
    }

    fn offset(&self, now: Time) -> (i128, i128) {
        let drift = i128::from(now.0.saturating_sub(self.at.0)) / DRIFT + 1;
        (self.low - drift, self.high + drift)
    }
}

fn bounds(asked: Time, theirs: Time, heard: Time) -> (i128, i128) {
    let theirs = i128::from(theirs.0);
    (theirs - i128::from(heard.0), theirs - i128::from(asked.0))
}

fn time(micros: i128) -> Time {
    Time(micros.clamp(0, i128::from(u64::MAX)) as u64)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECOND: u64 = 1_000_000;

    #[test]
    fn a_deadline_is_never_judged_to_be_later_than_it_is() {
        // Their clock is 500 s ahead; the question takes 3 ms, the answer 1 ms.
        let asked = Time(10 * SECOND);
        let clock = ForeignClock::new(asked, Time(510 * SECOND + 3_000), asked + Duration::from_millis(4));
        let deadline = Time(520 * SECOND);
        let ours = clock.earliest(deadline, asked + Duration::from_millis(4));
        assert!(ours <= Time(20 * SECOND), "{ours:?}");
        assert!(ours >= Time(20 * SECOND - 4_100), "{ours:?}: off by more than the round trip");
        assert_eq!(clock.theirs(Time(20 * SECOND), Time(10 * SECOND + 4_000)).0 / 10_000, 520 * SECOND / 10_000);
    }

    #[test]
    fn a_better_answer_narrows_the_bound_and_time_widens_it_by_100_parts_in_a_million() {
        let mut clock = ForeignClock::new(Time(0), Time(SECOND), Time(SECOND / 2));
        clock.narrow(Time(SECOND), Time(2 * SECOND - 100), Time(SECOND + 200));
        let at = |now: u64| clock.earliest(Time(100 * SECOND), Time(now)).0;
        let width = clock.high - clock.low;
        assert!(width <= 300, "{width}");
        assert_eq!(at(SECOND + 200) - at(11 * SECOND + 200), 1_000, "1 ms in 10 s");
    }

    #[test]
    fn a_clock_that_stood_still_is_learned_anew() {
        let mut clock = ForeignClock::new(Time(0), Time(SECOND), Time(100));
        clock.narrow(Time(2 * SECOND), Time(60 * SECOND), Time(2 * SECOND + 100));
        assert!(clock.low <= 58 * SECOND as i128 && 58 * SECOND as i128 <= clock.high + 100);
    }

    #[test]
    fn it_is_asked_for_each_second_at_first_and_then_every_ten() {
        let mut clock = ForeignClock::new(Time(0), Time(0), Time(0));
        let asked: Vec<u64> = (0..60).filter(|second| clock.poll_ask(Time(second * SECOND))).collect();
        assert_eq!(asked, [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 20, 30, 40, 50]);
    }

    proptest! {
        #[test]
        fn the_true_time_lies_within_the_bound_whatever_the_delays(
            offset in 0_u64..1 << 50,
            asks in prop::collection::vec((0_u64..2_000_000, 0_u64..50_000, 0_u64..50_000), 1..20),
            later in 0_u64..20_000_000,
        ) {
            let (mut now, mut clock) = (5 * SECOND, None::<ForeignClock>);
            for (pause, there, back) in asks {
                now += pause;
                let (asked, theirs, heard) = (Time(now), Time(now + there + offset), Time(now + there + back));
                now += there + back;
                match &mut clock {
                    None => clock = Some(ForeignClock::new(asked, theirs, heard)),
                    Some(clock) => clock.narrow(asked, theirs, heard),
                }
            }
            let (low, high) = clock.unwrap().offset(Time(now + later));
            prop_assert!(low <= i128::from(offset) && i128::from(offset) <= high);
        }
    }
}
