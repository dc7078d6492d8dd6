//! Which lane decides about a message.
//!
//! All lanes read the same sockets. What belongs together is decided by one of them: the legs of a conference, and all
//! requests of a call, retransmissions and CANCEL included.

use std::hash::BuildHasher;

use foldhash::fast::FixedState;

use super::sip::conference_name;
use crate::wire::sip::Message;

/// The lanes there are, as one of them sees them.
#[derive(Clone, Debug)]
pub struct Owners {
    lanes: usize,
    own: usize,
    hash: FixedState,
}

impl Owners {
    /// Lane `own` of `lanes`; `seed` is the same for all of them.
    pub fn new(own: usize, lanes: usize, seed: u64) -> Self {
        Owners { lanes, own, hash: FixedState::with_seed(seed) }
    }

    /// How many lanes there are.
    pub const fn lanes(&self) -> usize {
        self.lanes
    }

    /// Which of them this is, from 0.
    pub const fn own(&self) -> usize {
        self.own
    }

    /// The other lane that a message is for; `None` when it is for this one.
    ///
    /// A response names its worker itself: whoever reads it passes it on.
    #[inline]
    pub fn other(&self, message: &Message<'_>) -> Option<usize> {
        if self.lanes < 2 || !message.is_request() {
            return None;
        }
        let conference = message.uri().and_then(|uri| conference_name(&uri));
        let name = conference.unwrap_or_else(|| message.call_id());
        let lane = ((u128::from(self.hash.hash_one(name)) * self.lanes as u128) >> 64) as usize;
        (lane != self.own).then_some(lane)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::sip::Scanner;

    fn lane_of(lanes: usize, text: &str) -> usize {
        let mut scanner = Scanner::new();
        let message = scanner.scan(text.as_bytes()).unwrap();
        let found: Vec<usize> =
            (0..lanes).filter(|&own| Owners::new(own, lanes, 7).other(&message).is_none()).collect();
        let [own] = found[..] else { panic!("{found:?} all take it") };
        let others = (0..lanes).filter(|&lane| lane != own);
        others.for_each(|lane| assert_eq!(Owners::new(lane, lanes, 7).other(&message), Some(own)));
        own
    }

    fn request(method: &str, user: &str, call: &str) -> String {
        format!(
            "{method} sip:{user}@ms SIP/2.0\r\nVia: SIP/2.0/UDP h;branch=z9hG4bK1\r\nFrom: <sip:a@h>;tag=1\r\n\
             To: <sip:b@ms>\r\nCall-ID: {call}\r\nCSeq: 1 {method}\r\n\r\n"
        )
    }

    #[test]
    fn one_lane_takes_each_call_and_the_lanes_share_them_evenly() {
        let mut taken = [0_usize; 4];
        for call in 0..400 {
            let lane = lane_of(4, &request("INVITE", "ivr", &format!("call-{call}")));
            assert_eq!(lane_of(4, &request("CANCEL", "ivr", &format!("call-{call}"))), lane);
            taken[lane] += 1;
        }
        assert!(taken.iter().all(|taken| (60..140).contains(taken)), "{taken:?}");
    }

    #[test]
    fn all_legs_of_a_conference_meet_in_one_lane() {
        let lanes: Vec<usize> =
            (0..40).map(|call| lane_of(4, &request("INVITE", "conf=42;leg", &format!("call-{call}")))).collect();
        assert!(lanes.iter().all(|lane| *lane == lanes[0]), "{lanes:?}");
    }

    #[test]
    fn whoever_reads_a_response_passes_it_on_itself() {
        let text = "SIP/2.0 200 OK\r\nVia: SIP/2.0/UDP h;branch=z9hG4bK1\r\nFrom: <sip:a@h>;tag=1\r\n\
             To: <sip:b@ms>;tag=2\r\nCall-ID: c\r\nCSeq: 1 BYE\r\n\r\n";
        let mut scanner = Scanner::new();
        let message = scanner.scan(text.as_bytes()).unwrap();
        assert!((0..4).all(|own| Owners::new(own, 4, 7).other(&message).is_none()));
    }
}
