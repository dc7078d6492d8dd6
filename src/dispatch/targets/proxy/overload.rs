//! Overload control of a server (RFC 7339): it says which part of the requests that would go to it it does not want.
//!
//! Its part of the requests is counted, not drawn: of each hundred requests so many go to it, and no more of the first
//! ones. A request inside a dialog or for an emergency goes all the same (§5.10.1), and later ones pay for it, so that
//! the reduction is of all requests together (§7.2).

use crate::pack::packed;
use crate::time::Time;
use crate::transaction::LIFETIME;
use crate::wire::load::OverloadControl;

/// Hundredths of a request by which those that are kept may exceed what the server wants, before they are reduced too.
const MOST_OWED: u16 = 1_000;

/// Whether a request is among those that are reduced first (RFC 7339 §5.10.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Precedence {
    /// It is.
    Ordinary,
    /// It goes on with a dialog or a call, or is for an emergency.
    Kept,
}

/// Overload control of one server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Overload {
    wish: Option<Wish>,
    /// Hundredths of a request that the server still wants.
    credit: u16,
    /// Hundredths of a request that it has got beyond that.
    owed: u16,
}

packed!(Overload { wish, credit, owed });

/// The last wish of the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Wish {
    /// Part of the requests that it does not want, in percent.
    percent: u8,
    until: Time,
    seq: u64,
}

packed!(Wish { percent, until, seq });

impl Overload {
    /// Takes note of a wish. One that is not newer than the last one changes nothing (RFC 7339 §5.4), unless that is so
    /// long ago that no response is still on its way: then the server counts anew.
    pub fn on_wish(&mut self, control: OverloadControl, now: Time) {
        let OverloadControl { percent, validity, seq } = control;
        if self.wish.is_some_and(|last| seq <= last.seq && now < last.until + LIFETIME) {
            return;
        }
        if self.unwanted(now).is_none() {
            self.owed = 0;
        }
        self.wish = Some(Wish { percent, until: now + validity, seq });
    }

    /// Whether a request that would go to the server may go there; it is counted.
    pub fn admits(&mut self, precedence: Precedence, now: Time) -> bool {
        let Some(percent) = self.unwanted(now) else { return true };
        self.gain(100 - u16::from(percent));
        let missing = 100_u16.saturating_sub(self.credit);
        let most = match precedence {
            Precedence::Ordinary => 0,
            Precedence::Kept => MOST_OWED,
        };
        let admits = missing == 0 || self.owed.saturating_add(missing) <= most;
        if admits {
            self.spend();
        }
        admits
    }

    /// Counts a request that has gone to the server without a choice.
    pub fn on_kept(&mut self, now: Time) {
        if let Some(percent) = self.unwanted(now) {
            self.gain(100 - u16::from(percent));
            self.spend();
        }
    }

    /// Part of the requests that the server does not want now, in percent; `None`: it wants all.
    pub fn unwanted(&self, now: Time) -> Option<u8> {
        self.wish.filter(|wish| now < wish.until && wish.percent > 0).map(|wish| wish.percent.min(100))
    }

    /// The end of the last wish; 0 before the first.
    pub fn until(&self) -> Time {
        self.wish.map_or(Time(0), |wish| wish.until)
    }

    fn gain(&mut self, hundredths: u16) {
        let paid = self.owed.min(hundredths);
        self.owed -= paid;
        self.credit = self.credit.saturating_add(hundredths - paid).min(199);
    }

    fn spend(&mut self) {
        let missing = 100_u16.saturating_sub(self.credit);
        self.credit = self.credit.saturating_sub(100);
        self.owed = self.owed.saturating_add(missing).min(MOST_OWED);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn at(seconds: u64) -> Time {
        Time((1_000 + seconds) * 1_000_000)
    }

    fn wanting(percent: u8) -> Overload {
        let mut overload = Overload::default();
        overload.on_wish(OverloadControl { percent, validity: Duration::from_secs(60), seq: 1 }, at(0));
        overload
    }

    fn admitted(overload: &mut Overload, precedence: Precedence, of: usize) -> usize {
        (0..of).filter(|_| overload.admits(precedence, at(1))).count()
    }

    #[test]
    fn of_a_hundred_requests_a_server_gets_as_many_as_it_wants_and_never_more_on_the_way() {
        for percent in 0..=100 {
            let (mut overload, mut got) = (wanting(percent), 0);
            for so_far in 1..=1_000 {
                got += admitted(&mut overload, Precedence::Ordinary, 1);
                assert_eq!(got, so_far * usize::from(100 - percent) / 100, "{percent} %");
            }
        }
    }

    #[test]
    fn requests_that_are_kept_are_paid_for_by_others_up_to_a_bound() {
        let mut overload = wanting(50);
        (0..4).for_each(|_| overload.on_kept(at(1)));
        // Of ten requests five go: the four, and one more.
        assert_eq!(admitted(&mut overload, Precedence::Ordinary, 6), 1);
        let mut overload = wanting(90);
        assert_eq!(admitted(&mut overload, Precedence::Kept, 11), 11);
        assert_eq!(admitted(&mut overload, Precedence::Kept, 1_000), 100, "there are too many of them");
        assert_eq!(admitted(&mut overload, Precedence::Ordinary, 99), 0);
        let mut overload = wanting(100);
        assert_eq!(admitted(&mut overload, Precedence::Kept, 1_000), 10);
        (0..1_000).for_each(|_| overload.on_kept(at(1)));
        assert_eq!(overload.owed, MOST_OWED);
    }

    #[test]
    fn a_wish_that_is_over_reduces_nothing_and_leaves_no_debt() {
        let mut overload = wanting(90);
        (0..1_000).for_each(|_| overload.on_kept(at(1)));
        assert!((0..99).all(|_| overload.admits(Precedence::Ordinary, at(60))));
        overload.on_wish(OverloadControl { percent: 50, validity: Duration::from_secs(60), seq: 2 }, at(61));
        assert_eq!((0..10).filter(|_| overload.admits(Precedence::Ordinary, at(62))).count(), 5);
    }
}
