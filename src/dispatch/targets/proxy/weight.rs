//! Weight of a downstream proxy: its share of new requests beside the others of its pool.
//!
//! `handicap × 5 ms / (5 ms + excess) × (1 − load) × slow start`, the excess being the delay over the proxy's own best.
//! Where requests are redirected no answers are seen. Weights from probes alone swing: many requests follow one probe,
//! and the next probe tells of them. There probes move a damped factor in the place of the delay.

use std::time::Duration;

use crate::pack::packed;
use crate::time::Time;

/// Excess at which the weight is half, in microseconds.
const HALF: f64 = 5_000.0;
/// Least part of the weight that a proxy has when it comes back, as that of a worker.
const COLDEST: f64 = 0.1;

/// The values that a weight is made of.
#[derive(Clone, Copy, Debug)]
pub struct Parts {
    /// Handicap, with the share that the proxy itself wants.
    pub handicap: f64,
    /// Factor for the delay.
    pub pace: f64,
    /// Load, 0 to 1; `None`: unknown.
    pub load: Option<f64>,
    /// Factor for a proxy that has come back.
    pub warmth: f64,
}

impl Parts {
    /// The weight as selections use it, above 0.
    pub fn weight(&self) -> f64 {
        let weight = self.handicap * self.pace * (1.0 - self.load.unwrap_or(0.0)) * self.warmth;
        // A weight of 0 would let a proxy that gets requests wait for ever.
        if weight > 1e-3 { weight } else { 1e-3 }
    }
}

/// The factor of a delay over the own best of so many microseconds.
pub fn pace_of(excess: f64) -> f64 {
    HALF / (HALF + excess)
}

/// The factor of a proxy that came back at `back`.
pub fn warmth(back: Time, slow_start: Duration, now: Time) -> f64 {
    let age = now.since(back);
    if age >= slow_start { 1.0 } else { (age.as_secs_f64() / slow_start.as_secs_f64()).max(COLDEST) }
}

/// The damped factor that probes of redirect pools move.
#[derive(Clone, Copy, Debug)]
pub struct Damped {
    factor: f64,
    at: Time,
}

packed!(Damped { factor, at });

impl Damped {
    /// Excess over the own best that counts as slow, in microseconds.
    const SLOW: f64 = 20_000.0;
    /// Factors of a slow and of a lost probe.
    const AFTER_SLOW: f64 = 0.7;
    const AFTER_LOST: f64 = 0.5;
    /// Rise in a second.
    const RISE: f64 = 0.05;
    /// Least factor.
    const LEAST: f64 = 0.05;

    /// The factor of a proxy of which nothing is known.
    pub const fn new(now: Time) -> Self {
        Damped { factor: 1.0, at: now }
    }

    /// Takes note of a probe that was answered with this excess.
    pub fn on_answered(&mut self, excess: f64, now: Time) {
        let rise = Damped::RISE * now.since(self.at).as_secs_f64();
        let factor = if excess > Damped::SLOW { self.factor * Damped::AFTER_SLOW } else { self.factor + rise };
        self.set(factor, now);
    }

    /// Takes note of a lost probe.
    pub fn on_lost(&mut self, now: Time) {
        self.set(self.factor * Damped::AFTER_LOST, now);
    }

    /// The factor, above 0 and at most 1.
    pub const fn factor(&self) -> f64 {
        self.factor
    }

    const fn set(&mut self, factor: f64, now: Time) {
        self.factor = factor.clamp(Damped::LEAST, 1.0);
        self.at = now;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn weight(excess_ms: f64, load: Option<f64>) -> f64 {
        Parts { handicap: 100.0, pace: pace_of(excess_ms * 1_000.0), load, warmth: 1.0 }.weight()
    }

    #[test]
    fn delay_and_load_lower_the_weight_as_the_table_says() {
        assert_eq!([weight(0.0, None), weight(5.0, None), weight(45.0, None)], [100.0, 50.0, 10.0]);
        assert_eq!([weight(20.0, Some(0.5)), weight(0.0, Some(0.8)).round()], [10.0, 20.0]);
        assert!(weight(1e12, Some(1.0)) > 0.0);
    }

    #[test]
    fn a_proxy_that_comes_back_begins_with_a_tenth() {
        let (back, slow_start) = (Time(1_000_000), Duration::from_secs(10));
        let share = |seconds: u64| (warmth(back, slow_start, Time(1_000_000 * (1 + seconds))) * 100.0).round() as u32;
        assert_eq!([share(0), share(1), share(5), share(10), share(99)], [10, 10, 50, 100, 100]);
        assert_eq!(warmth(back, Duration::ZERO, back), 1.0);
    }

    #[test]
    fn probes_of_a_redirect_pool_lower_the_weight_at_once_and_raise_it_slowly() {
        let mut damped = Damped::new(Time(0));
        let mut steps = Vec::new();
        for (second, excess) in [(1, Some(30_000.0)), (2, Some(20_000.0)), (4, Some(0.0)), (5, None), (100, Some(0.0))]
        {
            let now = Time(second * 1_000_000);
            match excess {
                Some(excess) => damped.on_answered(excess, now),
                None => damped.on_lost(now),
            }
            steps.push((damped.factor() * 1_000.0).round() as u32);
        }
        assert_eq!(steps, [700, 750, 850, 425, 1_000]);
        (0..100).for_each(|_| damped.on_lost(Time(100_000_000)));
        assert_eq!(damped.factor(), 0.05);
    }
}
