//! The times of SIP and MGCP transactions: their standard values, each defined here only, and the clock of
//! retransmissions.

use std::time::Duration;

use crate::pack::{Damaged, packed};
use crate::time::Time;

/// The round-trip estimate (RFC 3261 §17.1.1.1).
pub const T1: Duration = Duration::from_millis(500);
/// The longest interval between retransmissions (RFC 3261 §17.1.2.2).
pub const T2: Duration = Duration::from_secs(4);
/// Time for which a message may stay in the network (RFC 3261 §17.1.2.2).
pub const T4: Duration = Duration::from_secs(5);
/// 64·T1, the length of timers B, F, H, J and L: copies of a request, and its sender's wish for an answer, last no
/// longer.
pub const LIFETIME: Duration = T1.saturating_mul(64);

/// The first interval between retransmissions of an MGCP message (RTO, RFC 3435 §3.5.3).
pub const RTO: Duration = Duration::from_millis(200);
/// The longest interval between them (RTO-MAX, §3.5.3).
pub const RTO_MAX: Duration = Duration::from_secs(4);
/// An MGCP message is not sent again after this time (T-MAX, §4.3).
pub const T_MAX: Duration = Duration::from_secs(20);
/// Time for which an MGCP response is kept, to answer copies of its command (T-HIST, §3.5.1).
pub const T_HIST: Duration = Duration::from_secs(30);
/// A command that takes longer than this gets a provisional response; one that has got it is repeated after this time
/// (LONGTRAN-TIMER, §3.5.6).
pub const LONGTRAN: Duration = Duration::from_secs(5);

/// A retransmission to come, and the interval before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Resend {
    at: Time,
    interval: Duration,
}

packed!(Resend by (Time, Duration): |it| (it.at, it.interval), |(at, interval)| {
    // Without an interval one retransmission would follow another at once, for ever.
    if interval.is_zero() { Err(Damaged("interval")) } else { Ok(Resend { at, interval }) }
});

impl Resend {
    /// The first retransmission, after `interval`.
    pub fn first(interval: Duration, now: Time) -> Self {
        Resend { at: now + interval, interval }
    }

    /// The retransmission after this one: intervals double up to `longest`.
    pub fn next(self, longest: Duration, now: Time) -> Self {
        Resend::first((self.interval * 2).min(longest), now)
    }

    /// This retransmission, with another interval before the next one.
    pub const fn with_interval(self, interval: Duration) -> Self {
        Resend { interval, ..self }
    }

    /// The same, put off until [`Resend::resume`].
    pub const fn suspend(self) -> Self {
        Resend { at: Time::NEVER, ..self }
    }

    /// The same, after its interval if it was put off.
    pub fn resume(self, now: Time) -> Self {
        if self.at == Time::NEVER { Resend::first(self.interval, now) } else { self }
    }

    /// When it is due.
    pub const fn at(self) -> Time {
        self.at
    }

    /// Whether it is due.
    pub fn is_due(self, now: Time) -> bool {
        self.at <= now
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals_double_up_to_the_longest() {
        let mut resend = Resend::first(T1, Time(0));
        let mut at = vec![];
        for _ in 0..5 {
            at.push(resend.at().0 / 1_000);
            resend = resend.next(T2, resend.at());
        }
        assert_eq!(at, [500, 1_500, 3_500, 7_500, 11_500]);
    }
}
