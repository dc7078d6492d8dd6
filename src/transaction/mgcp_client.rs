//! An MGCP client transaction (RFC 3435 §3.5): one command of ours, its copies, and the wait for its response.
//!
//! ```text
//!         command
//!            │
//!            ▼
//!         Waiting ◄─ no address yet, or the receiver has enough to do
//!          │    │
//!          │    └──────────────────────────────┐
//!          │ sent                              │ end
//!          ▼                                   │
//!         Sent ◄─ RTO, doubled up to RTO-MAX:  │
//!          │ │ │   again (§3.5.3)             │
//!          │ │ │                               │
//!          │ │ └─── end: T-MAX ────────────────┤
//!          │ │ 1xx (§3.5.6)                    ▼
//!          │ ▼                               Lost
//!          │ Proceeding ◄─ 1xx: end put off    ▲
//!          │ │  │      └── LONGTRAN: again     │
//!          │ │  └── end ───────────────────────┘
//!          ▼ ▼ final response
//!         over
//! ```
//!
//! The owner writes the command, chooses its id and its receiver, and finds the transaction of a response. It decides
//! how long to wait, and drops the transaction with the final response.
//!
//! It departs from RFC 3435 in these points:
//!
//! - §3.5.3 estimates RTO from the round trips seen. Here the first interval is fixed: the owner knows whether its
//!   receiver is on the same host or LAN.
//! - A command can be one that leaves once only, for receivers that would carry out each copy.
//! - §3.5.6 and §4.3 end copies at T-MAX and wait for 2·T-HIST. Here both end together, when the owner says so: an
//!   owner that waits for T-MAX after each 1xx asks again as long as it waits. After the first copy that follows a 1xx
//!   the intervals are RTO-MAX.

use std::sync::Arc;
use std::time::Duration;

use super::timers::RTO_MAX;
use crate::time::Time;

/// A client transaction.
#[derive(Debug)]
pub struct Transaction {
    message: Arc<[u8]>,
    /// The interval between the first copy and the second; `None`: it leaves once.
    first: Option<Duration>,
    /// The interval before the next copy.
    interval: Duration,
    /// When the next copy leaves; [`Time::NEVER`] if none does.
    again: Time,
    /// When the first copy left.
    since: Option<Time>,
    /// Copies that have left, since the last change of receiver.
    copies: u32,
    /// When it is lost.
    end: Time,
}

/// Something for the owner to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Due {
    /// Nothing; look again at [`Transaction::poll_timeout`].
    Nothing,
    /// Send a copy ([`Transaction::send`]).
    Send,
    /// No response has come in time.
    Lost,
}

/// The part of an interval that is waited for, so that several senders do not send in step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spread(u32);

impl Spread {
    /// The whole interval.
    pub const NONE: Spread = Spread(1_024);

    /// An interval that varies by up to an eighth; `chance` is any number.
    pub const fn of(chance: u64) -> Self {
        Spread(896 + (chance % 256) as u32)
    }
}

impl Transaction {
    /// A command that has not left. `first`: the interval between its first copy and the second; without one it leaves
    /// once.
    pub fn new(message: Arc<[u8]>, first: Option<Duration>, end: Time) -> Self {
        let interval = first.unwrap_or_default();
        Transaction { message, first, interval, again: Time::NEVER, since: None, copies: 0, end }
    }

    /// A copy leaves now. Returns the message.
    pub fn send(&mut self, Spread(part): Spread, now: Time) -> Arc<[u8]> {
        if let Some(first) = self.first {
            self.interval = if self.copies == 0 { first } else { (self.interval * 2).min(RTO_MAX) };
            self.again = now + self.interval * part / 1_024;
        }
        self.since.get_or_insert(now);
        self.copies += 1;
        self.message.clone()
    }

    /// The next copy goes to another receiver, as the first one did.
    pub const fn begin_again(&mut self) {
        self.copies = 0;
    }

    /// A provisional response has come: the receiver is at work. The command is repeated after `again` only to find out
    /// whether it still is, and is lost at `end`. Returns whether the next copy leaves at another time.
    pub fn on_provisional(&mut self, again: Option<Duration>, end: Time, now: Time) -> bool {
        self.end = end;
        // A provisional response that is repeated does not put the next copy off.
        if again == Some(self.interval) && self.again > now {
            return false;
        }
        self.again = again.map_or(Time::NEVER, |again| now + again);
        self.interval = again.unwrap_or(self.interval);
        true
    }

    /// It is lost at this time, and not earlier.
    pub const fn wait_until(&mut self, end: Time) {
        self.end = end;
    }

    /// The thing to do at this time.
    pub fn due(&self, now: Time) -> Due {
        match () {
            () if self.end <= now => Due::Lost,
            () if self.again <= now => Due::Send,
            () => Due::Nothing,
        }
    }

    /// When [`Transaction::due`] has something to do next.
    pub fn poll_timeout(&self) -> Time {
        self.again.min(self.end)
    }

    /// The command.
    pub const fn message(&self) -> &Arc<[u8]> {
        &self.message
    }

    /// When its first copy left; `None`: none has.
    pub const fn since(&self) -> Option<Time> {
        self.since
    }

    /// Copies that have left, since the last change of receiver.
    pub const fn copies(&self) -> u32 {
        self.copies
    }

    /// Whether it leaves once only.
    pub const fn leaves_once(&self) -> bool {
        self.first.is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transaction::timers::{LONGTRAN, RTO};

    const MS: u64 = 1_000;

    fn new(first: Option<Duration>) -> Transaction {
        Transaction::new(Arc::from(&b"RSIP 1"[..]), first, Time(20_000 * MS))
    }

    /// When copies leave until `until`, in milliseconds.
    fn pass(transaction: &mut Transaction, until: u64) -> Vec<u64> {
        let mut times = Vec::new();
        while transaction.poll_timeout() <= Time(until * MS) {
            let now = transaction.poll_timeout();
            match transaction.due(now) {
                Due::Send => times.push(now.0 / MS),
                Due::Nothing | Due::Lost => break,
            }
            transaction.send(Spread::NONE, now);
        }
        times
    }

    #[test]
    fn intervals_double_up_to_rto_max_until_it_is_lost() {
        let mut transaction = new(Some(RTO));
        transaction.send(Spread::NONE, Time(0));
        assert_eq!(pass(&mut transaction, 30_000), [200, 600, 1_400, 3_000, 6_200, 10_200, 14_200, 18_200]);
        assert_eq!(transaction.due(Time(20_000 * MS)), Due::Lost);
    }

    #[test]
    fn a_command_that_leaves_once_is_only_waited_for() {
        let mut transaction = new(None);
        assert_eq!(transaction.since(), None);
        transaction.send(Spread::NONE, Time(5));
        assert_eq!((transaction.since(), transaction.leaves_once()), (Some(Time(5)), true));
        assert_eq!(pass(&mut transaction, 30_000), [0; 0]);
    }

    #[test]
    fn another_receiver_gets_copies_as_the_first_did() {
        let mut transaction = new(Some(RTO));
        transaction.send(Spread::NONE, Time(0));
        assert_eq!(pass(&mut transaction, 1_000), [200, 600]);
        transaction.begin_again();
        assert_eq!(pass(&mut transaction, 3_000), [1_400, 1_600, 2_000, 2_800]);
        assert_eq!(transaction.copies(), 4);
    }

    #[test]
    fn a_provisional_response_slows_copies_down_and_its_own_copy_does_not_put_them_off() {
        let mut transaction = new(Some(RTO));
        transaction.send(Spread::NONE, Time(0));
        transaction.on_provisional(Some(LONGTRAN), Time(40_000 * MS), Time(100 * MS));
        transaction.on_provisional(Some(LONGTRAN), Time(45_000 * MS), Time(4_000 * MS));
        assert_eq!(pass(&mut transaction, 10_000), [5_100, 9_100]);
        transaction.on_provisional(None, Time(45_000 * MS), Time(9_200 * MS));
        assert_eq!((pass(&mut transaction, 50_000), transaction.poll_timeout()), (vec![], Time(45_000 * MS)));
    }

    #[test]
    fn an_interval_varies_by_an_eighth() {
        for chance in [0, 255, u64::MAX] {
            let mut transaction = new(Some(RTO));
            transaction.send(Spread::of(chance), Time(0));
            assert!((175 * MS..225 * MS).contains(&transaction.poll_timeout().0));
        }
    }
}
