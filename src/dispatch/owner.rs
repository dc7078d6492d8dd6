//! The lane that decides about a message.
//!
//! All lanes read the same sockets. Messages that belong together are decided about by one lane: the legs of a
//! conference; all requests of a call, retransmissions and CANCEL included; all MGCP commands of a call id.

use std::hash::{BuildHasher, Hasher};
use std::net::IpAddr;

use foldhash::fast::FixedState;
use memchr::memchr;

use crate::transaction::forwarded::ForwardedBranch;
use crate::transaction::name::mgcp::lowered;
use crate::wire::mgcp::Command;
use crate::wire::sip::{Message, Peek, Start, Uri, peek};
use crate::wire::write_lowered;

/// All lanes, as one of them sees them.
#[derive(Clone, Debug)]
pub struct Owners {
    lanes: usize,
    own: usize,
    seed: u64,
    hash: FixedState,
}

impl Owners {
    /// Lane `own` of `lanes`; `seed` is the same for all of them.
    pub fn new(own: usize, lanes: usize, seed: u64) -> Self {
        Owners { lanes, own, seed, hash: FixedState::with_seed(seed) }
    }

    /// The seed, which a takeover hands on.
    pub const fn seed(&self) -> u64 {
        self.seed
    }

    /// Number of lanes.
    pub const fn lanes(&self) -> usize {
        self.lanes
    }

    /// Number of this lane, from 0.
    pub const fn own(&self) -> usize {
        self.own
    }

    /// The lane that a message is for, if a quick look shows it; `None` leaves the answer to [`Owners::lane_of`].
    #[inline]
    pub fn at_a_look(&self, bytes: &[u8]) -> Option<usize> {
        let Peek { uri, call_id } = peek(bytes)?;
        Some(conference_in(uri).map_or_else(|| self.lane(call_id), |name| self.lane_of_conference(name)))
    }

    /// The lane that a message is for.
    ///
    /// A response to a worker's request names that worker itself: any lane that reads it passes it on.
    pub fn lane_of(&self, message: &Message<'_>) -> usize {
        match message.start() {
            Start::Request { uri, .. } => {
                conference_in(uri).map_or_else(|| self.lane(message.call_id()), |name| self.lane_of_conference(name))
            }
            Start::Response { .. } => self.lane_of_response(message).unwrap_or(self.own),
        }
    }

    /// The lane that has forwarded the request which a response answers.
    fn lane_of_response(&self, message: &Message<'_>) -> Option<usize> {
        let branch = ForwardedBranch::read(message.via()?.branch()?)?;
        Some(branch.lane()).filter(|lane| *lane < self.lanes)
    }

    /// The lane that an MGCP command from `source` is for: that of its call, else that of its transaction, so that a
    /// retransmission meets the first copy.
    pub fn lane_of_command(&self, command: &Command<'_>, source: IpAddr) -> usize {
        let mut name = [0; 64];
        if let Some(call) = command.call_id().filter(|id| !id.is_empty()) {
            return self.lane(lowered(call, &mut name));
        }
        let ip = source.to_canonical();
        let id = command.transaction().0;
        self.lane_of_hash(self.hash.hash_one((ip, id)))
    }

    /// The lane of a conference, whose name compares in any case.
    fn lane_of_conference(&self, name: &[u8]) -> usize {
        let mut hasher = self.hash.build_hasher();
        write_lowered(&mut hasher, name);
        self.lane_of_hash(hasher.finish())
    }

    fn lane(&self, name: &[u8]) -> usize {
        self.lane_of_hash(self.hash.hash_one(name))
    }

    fn lane_of_hash(&self, hash: u64) -> usize {
        ((u128::from(hash) * self.lanes as u128) >> 64) as usize
    }
}

/// The conference's name in a request-URI as written.
fn conference_in(uri: &[u8]) -> Option<&[u8]> {
    // Most URIs name none, which is seen without parsing them.
    let at = memchr(b':', uri).filter(|at| *at <= b"sips".len())?;
    let is_named = uri.get(at + 1..at + 1 + b"conf=".len())?.eq_ignore_ascii_case(b"conf=");
    is_named.then(|| Uri::parse(uri)?.conference()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::mgcp;
    use crate::wire::sip::Scanner;

    fn lane_of(lanes: usize, text: &str) -> usize {
        let mut scanner = Scanner::new();
        let message = scanner.scan(text.as_bytes()).unwrap();
        let of = |own: usize| Owners::new(own, lanes, 7);
        let lane = of(0).lane_of(&message);
        assert!((0..lanes).all(|own| of(own).lane_of(&message) == lane), "they do not agree");
        assert_eq!(of(0).at_a_look(text.as_bytes()), Some(lane));
        lane
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
    fn an_mgcp_call_has_one_lane_in_any_case_and_a_command_without_one_that_of_its_transaction() {
        let source: [IpAddr; 2] = ["192.0.2.1".parse().unwrap(), "::ffff:192.0.2.1".parse().unwrap()];
        let lane = |text: &str, source: IpAddr| {
            let Ok(mgcp::Message::Command(command)) = mgcp::parse(text.as_bytes()) else { panic!("{text}") };
            Owners::new(0, 4, 7).lane_of_command(&command, source)
        };
        let mut taken = [0_usize; 4];
        for number in 1..400_u32 {
            let call = lane(&format!("CRCX {number} ann/$@ms MGCP 1.0\nC: A{number:x}\n"), source[0]);
            assert_eq!(lane(&format!("DLCX {} a@ms MGCP 1.0\nC: a{number:X}\n", number + 1), source[1]), call);
            let named = lane(&format!("RQNT {number} a@ms MGCP 1.0\nX: 1\n"), source[0]);
            assert_eq!(lane(&format!("RQNT 0{number} b@ms MGCP 1.0\n"), source[1]), named);
            taken[call] += 1;
            taken[named] += 1;
        }
        assert!(taken.iter().all(|taken| (120..280).contains(taken)), "{taken:?}");
    }

    #[test]
    fn all_legs_of_a_conference_meet_in_one_lane() {
        let lanes: Vec<usize> =
            (0..40).map(|call| lane_of(4, &request("INVITE", "conf=4a2;leg", &format!("call-{call}")))).collect();
        assert!(lanes.iter().all(|lane| *lane == lanes[0]), "{lanes:?}");
        for name in ["Conf=4A2", "CONF=4a2;leg"] {
            assert_eq!(lane_of(4, &request("INVITE", name, "other")), lanes[0], "{name}");
        }
    }

    #[test]
    fn a_response_is_passed_on_by_the_lane_that_reads_it() {
        let text = "SIP/2.0 200 OK\r\nVia: SIP/2.0/UDP h;branch=z9hG4bK1\r\nFrom: <sip:a@h>;tag=1\r\n\
             To: <sip:b@ms>;tag=2\r\nCall-ID: c\r\nCSeq: 1 BYE\r\n\r\n";
        let mut scanner = Scanner::new();
        let message = scanner.scan(text.as_bytes()).unwrap();
        for own in 0..4 {
            let owners = Owners::new(own, 4, 7);
            assert_eq!((owners.at_a_look(text.as_bytes()), owners.lane_of(&message)), (None, own));
        }
    }
}
