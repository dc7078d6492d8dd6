//! Faults that many peers or messages may cause: the log names each at most once in ten seconds.

use std::time::Duration;

use crate::time::Time;

/// A fault that is logged seldom, with the number of times it came up.
#[derive(Debug, Default)]
pub struct Seldom {
    said: Option<Time>,
    times: u64,
}

impl Seldom {
    /// Time between two lines.
    pub const EVERY: Duration = Duration::from_secs(10);

    /// Counts a fault. If it is to be logged now, returns how many times it came up since the last log line, this one
    /// included.
    pub fn comes_up(&mut self, now: Time) -> Option<u64> {
        self.times += 1;
        if self.said.is_some_and(|said| now.since(said) < Seldom::EVERY) {
            return None;
        }
        self.said = Some(now);
        Some(std::mem::take(&mut self.times))
    }

    /// Number of times it came up since the last log line.
    #[cfg(test)]
    pub(crate) const fn unsaid(&self) -> u64 {
        self.times
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_said_once_in_ten_seconds_with_what_came_up_meanwhile() {
        let mut seldom = Seldom::default();
        let mut at = |seconds: u64| seldom.comes_up(Time(seconds * 1_000_000));
        assert_eq!([at(1), at(2), at(10), at(11), at(12), at(21)], [Some(1), None, None, Some(3), None, Some(2)]);
    }
}
