//! CANCELs that arrived before their INVITE. Several lanes read one socket: one lane can get a CANCEL while its INVITE,
//! which another lane read a moment earlier, is still on its way to the lane that both belong to.

use std::collections::VecDeque;
use std::time::Duration;

use super::Way;
use crate::time::Time;

/// Longest wait. A lane passes on what it has read within a turn, and wakes the other lane.
const WITHIN: Duration = Duration::from_millis(10);
/// Most messages that wait; one beyond that is decided about at once.
const LIMIT: usize = 1_024;

/// Messages that wait for others, in the order in which they came.
#[derive(Debug, Default)]
pub struct EarlyCancels(VecDeque<EarlyCancel>);

/// One message.
#[derive(Debug)]
pub struct EarlyCancel {
    /// Its bytes.
    pub bytes: Box<[u8]>,
    /// The way on which it came.
    pub way: Way,
    until: Time,
}

impl EarlyCancels {
    /// Keeps a message; false when there is no place.
    pub fn keep(&mut self, bytes: &[u8], way: &Way, now: Time) -> bool {
        if self.0.len() >= LIMIT {
            return false;
        }
        self.0.push_back(EarlyCancel { bytes: bytes.into(), way: *way, until: now + WITHIN });
        true
    }

    /// Takes the messages for which `has_come` is true, and those whose time is over, oldest first.
    pub fn take(&mut self, now: Time, mut has_come: impl FnMut(&EarlyCancel) -> bool) -> Vec<EarlyCancel> {
        if self.0.is_empty() {
            return Vec::new();
        }
        let (taken, kept) = self.0.drain(..).partition(|waiting| waiting.until <= now || has_come(waiting));
        self.0 = kept;
        Vec::from_iter::<VecDeque<EarlyCancel>>(taken)
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The time at which the oldest message has waited long enough.
    pub fn poll_timeout(&self) -> Option<Time> {
        self.0.front().map(|waiting| waiting.until)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dispatch::decision::Arrival;
    use crate::ids::ListenerId;
    use crate::switch::owner::Owner;
    use crate::words::ReplyTo;
    use crate::words::Transport;

    #[test]
    fn a_cancel_is_taken_when_its_time_is_over_or_its_invite_has_come() {
        let source = "192.0.2.1:5060".parse().unwrap();
        let arrival = Arrival {
            listener: ListenerId(0),
            transport: Transport::Udp,
            reply_to: ReplyTo::Datagram,
            source,
            local: source,
            received: Time(0),
            alias: false,
            certified: None,
        };
        let way = Way { owner: Owner::Listener(ListenerId(0)), arrival };
        let mut early = EarlyCancels::default();
        assert!(early.keep(b"1", &way, Time(0)) && early.keep(b"2", &way, Time(5_000)));
        assert!(early.take(Time(9_999), |_| false).is_empty());
        assert_eq!(early.poll_timeout(), Some(Time(10_000)));
        let taken: Vec<_> = early.take(Time(9_999), |waiting| *waiting.bytes == *b"2");
        assert_eq!(taken.iter().map(|waiting| waiting.bytes[0]).collect::<Vec<_>>(), b"2");
        assert_eq!(early.take(Time(10_000), |_| false).len(), 1);
        assert!(early.is_empty());
        assert!((0..LIMIT).all(|_| early.keep(b"x", &way, Time(0))));
        assert!(!early.keep(b"x", &way, Time(0)));
    }
}
