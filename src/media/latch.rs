//! Where a stream's packets go: symmetric RTP (RFC 4961) with rules that keep strangers out.
//!
//! Behind a NAT the address in the SDP is not where packets come from, so the remote address is learnt from what
//! arrives. Anyone can send to an open port; the rules:
//!
//! 1. Nothing is sent before something valid has arrived, so no packet of ours goes to an address on the SDP's word only.
//! 2. The first valid packet latches its sender. When that is the signalled address, it stays; when it is not, the
//!    signalled address still takes over with its first packet within the [`LEARNING`] time.
//! 3. A packet from elsewhere that continues the stream (same source, next sequence numbers) moves the latch at once:
//!    a NAT has rebound, or a forger sees the stream, and against that only SRTP helps.
//! 4. Any other sender must find the latched one silent for [`SILENCE`], and sends [`PROBATION`] packets in sequence
//!    before it is believed.
//! 5. A new offer or answer starts again at rule 2 (a transfer can move a stream anywhere).

use std::net::SocketAddr;
use std::time::Duration;

use crate::time::Time;

/// How long the signalled address may take over from another that came first.
pub const LEARNING: Duration = Duration::from_secs(5);
/// How long the latched sender must have been silent before another may take its place.
pub const SILENCE: Duration = Duration::from_secs(2);
/// Packets in sequence that a new sender has to show (RFC 3550 A.1 asks two of a new source; a stranger has to show more).
pub const PROBATION: u8 = 4;
/// A gap up to this is a loss (RFC 3550 A.1, MAX_DROPOUT).
pub(crate) const MAX_DROPOUT: u16 = 3_000;
/// A step back up to this is a reordering (RFC 3550 A.1, MAX_MISORDER).
pub(crate) const MAX_MISORDER: u16 = 100;

/// Whether `next` can belong to a stream that had reached `last`.
pub(crate) const fn continues(last: u16, next: u16) -> bool {
    let step = next.wrapping_sub(last);
    step < MAX_DROPOUT || step > u16::MAX - MAX_MISORDER
}

/// The remote address of one stream.
#[derive(Clone, Debug)]
pub struct Latch {
    signalled: Option<SocketAddr>,
    state: State,
}

#[derive(Clone, Debug)]
enum State {
    /// Nothing has arrived.
    Open,
    /// The sender that is believed.
    Latched { remote: SocketAddr, ssrc: u32, sequence: u16, since: Time, heard: Time, candidate: Option<Candidate> },
}

#[derive(Clone, Copy, Debug)]
struct Candidate {
    from: SocketAddr,
    ssrc: u32,
    sequence: u16,
    shown: u8,
}

impl Latch {
    /// A latch that expects packets from `signalled`, when the SDP names an address.
    pub const fn new(signalled: Option<SocketAddr>) -> Self {
        Latch { signalled, state: State::Open }
    }

    /// A new offer or answer names `signalled`. A stream that stays where it is keeps flowing.
    pub fn signal(&mut self, signalled: Option<SocketAddr>, now: Time) {
        let changed = self.signalled != signalled;
        self.signalled = signalled;
        if !changed {
            return;
        }
        match &mut self.state {
            State::Latched { remote, since, .. } if Some(*remote) == signalled => *since = now,
            state => *state = State::Open,
        }
    }

    /// Judges a valid packet; true when its sender is the believed one (from now on, perhaps).
    pub fn on_packet(&mut self, source: SocketAddr, ssrc: u32, sequence: u16, now: Time) -> bool {
        let signalled = self.signalled;
        let fresh = State::Latched { remote: source, ssrc, sequence, since: now, heard: now, candidate: None };
        let State::Latched { remote, ssrc: known, sequence: last, since, heard, candidate } = &mut self.state else {
            self.state = fresh;
            return true;
        };
        if source == *remote {
            // A late packet does not set the stream back; a leap or another source starts its numbers anew.
            if *known != ssrc || last.wrapping_sub(sequence) > MAX_MISORDER {
                *last = sequence;
            }
            *known = ssrc;
            *heard = now;
            *candidate = None;
            return true;
        }
        let signalled_takes_over =
            signalled == Some(source) && signalled != Some(*remote) && now.since(*since) <= LEARNING;
        // Rule 2 protects the signalled sender only as long as it is there; rule 3 needs the stream's own numbers.
        let moved = *known == ssrc && continues(*last, sequence);
        if signalled_takes_over || moved {
            self.state = fresh;
            return true;
        }
        if now.since(*heard) < SILENCE {
            return false;
        }
        let shown = match candidate {
            Some(seen) if seen.from == source && seen.ssrc == ssrc && seen.sequence.wrapping_add(1) == sequence => {
                seen.shown + 1
            }
            _ => 1,
        };
        if shown >= PROBATION {
            self.state = fresh;
            return true;
        }
        *candidate = Some(Candidate { from: source, ssrc, sequence, shown });
        false
    }

    /// Where packets go; `None` until something has arrived.
    pub const fn remote(&self) -> Option<SocketAddr> {
        match &self.state {
            State::Open => None,
            State::Latched { remote, .. } => Some(*remote),
        }
    }

    /// When the believed sender was last heard.
    pub const fn heard(&self) -> Option<Time> {
        match &self.state {
            State::Open => None,
            State::Latched { heard, .. } => Some(*heard),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIGNALLED: &str = "192.0.2.1:4000";
    const NATTED: &str = "203.0.113.9:61000";
    const STRANGER: &str = "198.51.100.66:6666";

    fn at(ms: u64) -> Time {
        Time(1_000_000 + ms * 1_000)
    }

    fn addr(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    fn latch() -> Latch {
        Latch::new(Some(addr(SIGNALLED)))
    }

    #[test]
    fn nothing_is_believed_before_a_packet_and_the_first_sender_then() {
        let mut latch = latch();
        assert_eq!(latch.remote(), None);
        assert!(latch.on_packet(addr(NATTED), 7, 1, at(0)));
        assert_eq!(latch.remote(), Some(addr(NATTED)));
    }

    #[test]
    fn a_stranger_does_not_take_a_stream_that_is_alive() {
        let mut latch = latch();
        assert!(latch.on_packet(addr(SIGNALLED), 7, 1, at(0)));
        for n in 0..100_u16 {
            assert!(latch.on_packet(addr(SIGNALLED), 7, n + 2, at(u64::from(n) * 20)));
            assert!(!latch.on_packet(addr(STRANGER), 8, n, at(u64::from(n) * 20 + 1)));
        }
        assert_eq!(latch.remote(), Some(addr(SIGNALLED)));
    }

    #[test]
    fn the_signalled_sender_takes_over_from_one_that_was_faster() {
        let mut latch = latch();
        assert!(latch.on_packet(addr(STRANGER), 8, 1, at(0)));
        assert!(latch.on_packet(addr(SIGNALLED), 7, 500, at(40)));
        assert!(!latch.on_packet(addr(STRANGER), 8, 2, at(41)));
        assert_eq!(latch.remote(), Some(addr(SIGNALLED)));
    }

    #[test]
    fn after_the_learning_time_the_signalled_address_is_a_stranger_too() {
        let mut latch = latch();
        latch.on_packet(addr(NATTED), 8, 1, at(0));
        latch.on_packet(addr(NATTED), 8, 2, at(5_000));
        assert!(!latch.on_packet(addr(SIGNALLED), 7, 500, at(5_001)));
    }

    #[test]
    fn a_rebound_nat_is_followed_at_once() {
        let mut latch = latch();
        latch.on_packet(addr(NATTED), 7, 65_535, at(0));
        assert!(latch.on_packet(addr("203.0.113.9:61001"), 7, 0, at(20)));
        assert_eq!(latch.remote(), Some(addr("203.0.113.9:61001")));
        assert!(!latch.on_packet(addr(STRANGER), 7, 30_000, at(21)), "same source, but far away in sequence");
    }

    #[test]
    fn after_silence_a_new_sender_has_to_show_four_packets_in_sequence() {
        let mut latch = latch();
        latch.on_packet(addr(SIGNALLED), 7, 1, at(0));
        assert!(!latch.on_packet(addr(STRANGER), 8, 1, at(2_000)));
        assert!(!latch.on_packet(addr(STRANGER), 8, 2, at(2_020)));
        assert!(!latch.on_packet(addr(STRANGER), 8, 9, at(2_040)), "out of sequence: counted from one again");
        assert!(!latch.on_packet(addr(STRANGER), 8, 10, at(2_060)));
        assert!(!latch.on_packet(addr(STRANGER), 8, 11, at(2_080)));
        assert!(latch.on_packet(addr(STRANGER), 8, 12, at(2_100)));
    }

    #[test]
    fn the_believed_sender_coming_back_ends_a_probation() {
        let mut latch = latch();
        latch.on_packet(addr(SIGNALLED), 7, 1, at(0));
        for n in 0..3 {
            assert!(!latch.on_packet(addr(STRANGER), 8, n, at(2_000)));
        }
        assert!(latch.on_packet(addr(SIGNALLED), 7, 2, at(2_100)));
        assert!(!latch.on_packet(addr(STRANGER), 8, 3, at(2_101)));
    }

    #[test]
    fn a_new_answer_opens_the_latch_unless_it_names_where_the_stream_comes_from() {
        let mut latch = latch();
        latch.on_packet(addr(NATTED), 7, 1, at(0));
        latch.signal(Some(addr(SIGNALLED)), at(10));
        assert_eq!(latch.remote(), Some(addr(NATTED)), "the same address again changes nothing");
        latch.signal(Some(addr(NATTED)), at(20));
        assert_eq!(latch.remote(), Some(addr(NATTED)));
        latch.signal(Some(addr("192.0.2.77:4000")), at(30));
        assert_eq!(latch.remote(), None);
    }
}
