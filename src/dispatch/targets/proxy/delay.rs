//! Delay of a downstream proxy: from a request to its first response, beside the best that the same proxy can do.
//!
//! A proxy far away is not slow: only the excess over its own best counts. Failures count as slow, so that a proxy that
//! refuses at once draws nothing. A request that waits tells more than all that were answered.

use std::time::Duration;

use crate::pack::packed;
use crate::time::Time;

/// Time in which the smoothed delay falls by 63 %. It rises at once.
const FALL: f64 = 2e6;
/// Share by which the best delay rises in a second, so that a better day is forgotten.
const BEST_RISES: f64 = 0.01;
/// A failure counts as at least so slow.
const FAILURE: Duration = Duration::from_secs(1);
/// Without news for so long, the smoothed delay falls by itself: a proxy that gets neither probes nor requests because
/// it was slow would never be asked again.
const STALE: Duration = Duration::from_secs(10);

/// Delays of one proxy, in microseconds.
#[derive(Clone, Copy, Debug, Default)]
pub struct Delay {
    smoothed: f64,
    best: f64,
    /// Time of the last delay or failure; `None` before the first.
    at: Option<Time>,
    /// Time at which `best` was as written; `None` while there was no delay.
    best_at: Option<Time>,
}

packed!(Delay { smoothed, best, at, best_at });

impl Delay {
    /// Takes note of a delay.
    pub fn on_delay(&mut self, delay: Duration, now: Time) {
        let delay = micros(delay).max(1.0);
        self.best = if self.best_at.is_some() { self.best(now).min(delay) } else { delay };
        self.best_at = Some(now);
        self.smooth(delay, now);
    }

    /// Takes note of a failure after this time.
    pub fn on_failure(&mut self, after: Duration, now: Time) {
        self.smooth(micros(after.max(FAILURE)), now);
    }

    /// The proxy has come back: its delays and failures of before say nothing of it any more, but the best one.
    pub const fn begin_anew(&mut self) {
        self.smoothed = 0.0;
    }

    /// Delay over the best one, in microseconds; a request that has waited for `oldest` counts when that is longer.
    pub fn excess(&self, oldest: Duration, now: Time) -> f64 {
        if self.best_at.is_none() {
            // Nothing to compare with: only failures and waiting speak against it.
            return self.smoothed(now).max(micros(oldest));
        }
        (self.smoothed(now).max(micros(oldest)) - self.best(now)).max(0.0)
    }

    /// Smoothed delay in microseconds; 0 before the first.
    pub fn smoothed(&self, now: Time) -> f64 {
        let Some(at) = self.at else { return 0.0 };
        let age = now.since(at);
        if age <= STALE {
            return self.smoothed;
        }
        let best = if self.best_at.is_some() { self.best.min(self.smoothed) } else { 0.0 };
        best + (self.smoothed - best) * (-micros(age - STALE) / micros(STALE)).exp()
    }

    /// Best delay in microseconds; 0 before the first.
    pub fn best(&self, now: Time) -> f64 {
        let Some(at) = self.best_at else { return 0.0 };
        let risen = self.best * (1.0 + BEST_RISES * passed(at, now) / 1e6);
        risen.min(self.smoothed).max(self.best)
    }

    fn smooth(&mut self, delay: f64, now: Time) {
        let before = self.smoothed(now);
        let passed = self.at.map_or(f64::INFINITY, |at| passed(at, now));
        self.smoothed =
            if delay >= before { delay } else { before + (delay - before) * (1.0 - (-passed / FALL).exp()) };
        self.at = Some(now);
    }
}

/// Microseconds between two times.
fn passed(from: Time, to: Time) -> f64 {
    to.0.saturating_sub(from.0) as f64
}

fn micros(span: Duration) -> f64 {
    span.as_secs_f64() * 1e6
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(milliseconds: u64) -> Duration {
        Duration::from_millis(milliseconds)
    }

    fn at(milliseconds: u64) -> Time {
        Time(1_000_000_000) + ms(milliseconds)
    }

    fn excess(delay: &Delay, now: Time) -> u64 {
        delay.excess(Duration::ZERO, now).round() as u64
    }

    #[test]
    fn a_proxy_far_away_is_not_slow() {
        let mut delay = Delay::default();
        (0..100).for_each(|number| delay.on_delay(ms(40), at(number)));
        assert!(excess(&delay, at(100)) < 50, "{}", excess(&delay, at(100)));
    }

    #[test]
    fn it_rises_at_once_and_falls_in_seconds() {
        let mut delay = Delay::default();
        delay.on_delay(ms(5), at(0));
        delay.on_delay(ms(105), at(10));
        assert_eq!((excess(&delay, at(10)) + 500) / 1_000, 100);
        delay.on_delay(ms(5), at(2_010));
        let fallen = excess(&delay, at(2_010)) / 1_000;
        assert!((36..=37).contains(&fallen), "{fallen} of 100 after two seconds");
    }

    #[test]
    fn a_failure_in_no_time_is_never_fast() {
        let mut delay = Delay::default();
        delay.on_delay(ms(5), at(0));
        delay.on_failure(Duration::from_micros(200), at(10));
        assert_eq!((excess(&delay, at(10)) + 500) / 1_000, 995);
        assert_eq!((delay.best(at(10)) as u64) / 100, 50, "it is no best");
        let mut delay = Delay::default();
        delay.on_failure(Duration::from_micros(200), at(0));
        assert_eq!(excess(&delay, at(0)), 1_000_000, "also as the first that is known");
        delay.on_failure(ms(3_000), at(0));
        assert_eq!(excess(&delay, at(0)), 3_000_000);
    }

    #[test]
    fn the_oldest_request_counts_when_it_has_waited_longer() {
        let mut delay = Delay::default();
        delay.on_delay(ms(40), at(0));
        assert_eq!(delay.excess(ms(30), at(0)), 0.0);
        assert_eq!(delay.excess(ms(140), at(0)) as u64, 100_000);
        assert_eq!(Delay::default().excess(ms(140), at(0)) as u64, 140_000);
    }

    #[test]
    fn the_best_rises_by_a_hundredth_a_second() {
        let mut delay = Delay::default();
        delay.on_delay(ms(10), at(0));
        (0..=1_000).for_each(|number| delay.on_delay(ms(20), at(number * 10)));
        let best = delay.best(at(10_000)) / 1e3;
        assert!((11.0..11.2).contains(&best), "{best}");
        (0..=20_000).for_each(|number| delay.on_delay(ms(20), at(10_000 + number * 10)));
        assert_eq!(excess(&delay, at(210_000)), 0, "a new home, farther away, is no fault for ever");
    }

    #[test]
    fn a_slow_day_is_forgotten_without_news() {
        let mut delay = Delay::default();
        delay.on_delay(ms(5), at(0));
        delay.on_failure(ms(0), at(10));
        assert_eq!((excess(&delay, at(10_000)) + 500) / 1_000, 995);
        assert!(excess(&delay, at(80_000)) < 5_000, "{}", excess(&delay, at(80_000)));
        let empty = Delay::default();
        assert_eq!((empty.smoothed(at(0)), empty.best(at(0)), excess(&empty, at(0))), (0.0, 0.0, 0));
    }
}
