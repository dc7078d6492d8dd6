//! Receive moderation: at a high rate the lane lets a moment pass before it reads again, so that frames fill, and a
//! system call on a connection brings or takes many messages.
//!
//! A frame of one record costs ten times what a record costs in a frame of sixteen, and to wake its reader on another
//! CPU costs most. Below the threshold the lane never waits: at 2,000 messages a second a fixed wait of 50 µs took the
//! median answer from 50 to 190 µs. Above it the lane waits for as long as sixteen messages take to come, but no longer
//! than a quarter of a millisecond: a call takes a thousand times longer to be answered by a person. At 27,000 messages
//! a second, where callers and workers share two cores with the lane, it takes a fifth off the cost of a message, and
//! at 200,000 a quarter.

use std::time::Duration;

use crate::time::Time;

/// Above this many messages a second the lane waits between reads: a wait then brings at least five.
const THRESHOLD_PER_SECOND: f64 = 20_000.0;
/// The lane waits for so many messages.
const WORTH_A_WAIT: f64 = 16.0;
/// The shortest and the longest wait; the kernel's timer slack adds about 50 µs. A receive buffer of the kernel's
/// default size holds the datagrams that come meanwhile.
const SHORTEST: Duration = Duration::from_micros(100);
const LONGEST: Duration = Duration::from_micros(250);
/// The rate is smoothed over about this time, so that one burst does not count as a high rate.
const SMOOTHING_MICROS: f64 = 10_000.0;

/// The smoothed rate of messages, and the pause that follows from it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Moderation {
    per_second: f64,
    last: Time,
    /// Messages read since `last`.
    pending: u32,
    /// The wait that suits what the last turn brought; a pause after an empty one would gain nothing.
    wait: Option<Duration>,
}

impl Moderation {
    /// A turn that began at `now` brought so many datagrams, and messages on connections; none when all sockets were
    /// empty.
    pub fn on_read(&mut self, datagrams: usize, on_connections: usize, now: Time) {
        let messages = datagrams + on_connections;
        self.wait = match (datagrams, on_connections) {
            (0, 0) => None,
            // Senders on connections wait when the kernel's buffers are full, whereas datagrams are lost. At 180,000
            // messages a second through a lane that has a core of its own a message costs a fifth less so.
            (0, _) => Some(LONGEST),
            _ => Some(Duration::from_secs_f64(WORTH_A_WAIT / self.per_second.max(1.0)).clamp(SHORTEST, LONGEST)),
        };
        if messages == 0 {
            return;
        }
        self.pending = self.pending.saturating_add(messages as u32);
        let elapsed = now.since(self.last).as_micros() as f64;
        // Two turns within one tick of the clock are one.
        if elapsed < 1.0 {
            return;
        }
        let rate = f64::from(self.pending) * 1e6 / elapsed;
        let weight = elapsed / (elapsed + SMOOTHING_MICROS);
        self.per_second += (rate - self.per_second) * weight;
        self.last = now;
        self.pending = 0;
    }

    /// The wait before the next turn, once one has emptied the sockets.
    pub fn pause(&self) -> Option<Duration> {
        self.wait.filter(|_| self.per_second > THRESHOLD_PER_SECOND)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(per_second: u64, seconds: u64) -> Moderation {
        let mut moderation = Moderation::default();
        // Ten batches a millisecond.
        for batch in 1..=seconds * 10_000 {
            moderation.on_read((per_second / 10_000) as usize, 0, Time(batch * 100));
        }
        moderation
    }

    #[test]
    fn a_low_rate_never_waits_and_a_high_one_waits_for_some_messages() {
        assert_eq!(after(10_000, 1).pause(), None);
        assert_eq!(after(30_000, 1).pause(), Some(LONGEST));
        let at_100_000 = after(100_000, 1).pause().unwrap().as_micros();
        assert!((155..=165).contains(&at_100_000), "{at_100_000} us for sixteen messages");
        assert_eq!(after(300_000, 1).pause(), Some(SHORTEST));
    }

    #[test]
    fn one_burst_is_not_a_high_rate() {
        let mut moderation = after(10_000, 1);
        moderation.on_read(32, 0, Time(1_000_100));
        assert_eq!(moderation.pause(), None);
    }

    #[test]
    fn without_messages_the_lane_does_not_wait() {
        let mut flowing = after(300_000, 1);
        flowing.on_read(0, 0, Time(1_000_100));
        assert_eq!(flowing.pause(), None);
        flowing.on_read(5, 0, Time(1_000_150));
        assert_eq!(flowing.pause(), Some(SHORTEST));
    }

    #[test]
    fn while_all_messages_come_on_connections_the_lane_waits_longer() {
        let mut moderation = after(300_000, 1);
        moderation.on_read(0, 10, Time(1_000_100));
        assert_eq!(moderation.pause(), Some(LONGEST));
        moderation.on_read(1, 9, Time(1_000_200));
        assert_eq!(moderation.pause(), Some(SHORTEST), "a datagram that finds no room is lost");
    }

    #[test]
    fn after_a_quiet_time_the_first_message_is_read_at_once() {
        let mut moderation = after(100_000, 1);
        moderation.on_read(1, 0, Time(2_000_000));
        assert_eq!(moderation.pause(), None);
    }
}
