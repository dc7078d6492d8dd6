//! Datagrams that may leave for an INVITE whose sender has not shown that it hears us.
//!
//! The source of a datagram can be forged, and RFC 3261 §13.3.1.4, §17.2.1 and RFC 3262 §3 have a response repeated for
//! 32 s to a host that may never have asked for it. So at most five datagrams leave for an INVITE by themselves, the
//! BYE that ends its call included, until a message with our tag has come (ACK, PRACK, any request of the dialog). A
//! copy of the INVITE is answered in addition, one for one, so that a caller that hears nothing and sends again loses
//! nothing.

use crate::pack::packed;

/// Datagrams that may still leave for an INVITE.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Allowance {
    /// Datagrams that may still leave; `None`: as many as the RFCs want.
    left: Option<u8>,
    /// Final responses that have left.
    finals: u8,
}

packed!(Allowance { left, finals });

/// The purpose of a datagram that leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// A provisional response, or its repetition.
    Provisional,
    /// The repetition of a reliable provisional response. The PRACK that it asks for shows more than any other message
    /// of a ringing call that the caller hears us.
    Reliable,
    /// The final response, or its repetition.
    Final,
    /// The BYE of a call that was never acknowledged.
    Bye,
}

/// Datagrams for one INVITE.
const MOST: u8 = 5;
/// Datagrams that provisional responses leave for the final response. With three copies a final response and its ACK
/// get through in 99 of 100 cases if each way loses 10 % (0.19³).
const FINALS: u8 = 3;

impl Allowance {
    /// Allowance of a new INVITE whose source may be forged.
    pub(super) const fn unheard() -> Self {
        Allowance { left: Some(MOST), finals: 0 }
    }

    /// Allowance of a transaction whose sender hears us: it came on a connection, or it knows our tag.
    pub(super) const fn heard() -> Self {
        Allowance { left: None, finals: 0 }
    }

    pub(super) const fn is_heard(self) -> bool {
        self.left.is_none()
    }

    /// Whether this may leave; if so, it counts.
    pub(super) fn take(&mut self, purpose: Purpose) -> bool {
        let Some(left) = &mut self.left else { return true };
        let kept_back = match purpose {
            Purpose::Provisional => FINALS,
            Purpose::Reliable => 1,
            // One datagram is kept for the BYE once the final response has left `FINALS` times.
            Purpose::Final => u8::from(self.finals >= FINALS),
            Purpose::Bye => 0,
        };
        let may = *left > kept_back;
        if may {
            *left -= 1;
            self.finals += u8::from(purpose == Purpose::Final);
        }
        may
    }
}

#[cfg(test)]
mod tests {
    use super::Purpose::{Bye, Final, Provisional, Reliable};
    use super::*;

    fn taken(all: &[Purpose]) -> Vec<bool> {
        let mut allowance = Allowance::unheard();
        all.iter().map(|purpose| allowance.take(*purpose)).collect()
    }

    #[test]
    fn five_leave_and_three_of_them_can_be_the_final_response() {
        assert_eq!(taken(&[Final, Final, Final, Final, Final, Bye, Bye]), [true, true, true, true, false, true, false]);
        assert_eq!(taken(&[Provisional, Final, Final, Final, Final, Bye]), [true, true, true, true, false, true]);
        assert_eq!(
            taken(&[Provisional, Provisional, Provisional, Final, Final, Final, Bye]),
            [true, true, false, true, true, true, false]
        );
    }

    #[test]
    fn a_reliable_response_is_repeated_and_leaves_room_for_the_final_one() {
        assert_eq!(
            taken(&[Provisional, Reliable, Reliable, Reliable, Reliable, Final, Final]),
            [true, true, true, true, false, true, false]
        );
    }

    #[test]
    fn answers_to_a_caller_that_hears_us_are_not_counted() {
        let mut allowance = Allowance::heard();
        assert!((0..100).all(|_| allowance.take(Final)));
    }
}
