//! The RTP ports of one slot: even ports, each with the odd one above it for RTCP (RFC 3550 §11).
//!
//! Taking and giving back cost the same whatever the size of the range. A port that is given back goes to the end of
//! the queue, so that it rests as long as the range allows: late packets of the old call then meet a closed port
//! instead of a stranger's call.

use std::collections::VecDeque;

/// The slot's range, and its free pairs.
#[derive(Clone, Debug)]
pub struct Ports {
    first: u16,
    /// Free pairs by their place in the range, the longest free first. Never grows: it holds each pair at most once.
    free: VecDeque<u16>,
    taken: Vec<bool>,
}

/// No port of the slot's range is free.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("all {pairs} RTP port pairs of this slot are taken (--rtp-ports)")]
pub struct Exhausted {
    /// Number of pairs in the range.
    pub pairs: usize,
}

impl Ports {
    /// The pairs that lie wholly within `range` (both ends included). `seed` turns the order: a process that takes the
    /// place of another does not begin with the ports which the last calls of its predecessor had.
    pub fn new(range: (u16, u16), seed: u64) -> Self {
        // Port 0 means "none" in SDP, so a range never begins with it.
        let first = u32::from(range.0.max(1)).next_multiple_of(2);
        let pairs = (u32::from(range.1) + 1).saturating_sub(first) / 2;
        let mut free: VecDeque<u16> = (0..pairs as u16).collect();
        if pairs > 0 {
            free.rotate_left((seed % u64::from(pairs)) as usize);
        }
        Ports { first: first as u16, free, taken: vec![false; pairs as usize] }
    }

    /// Takes the pair that has been free longest; returns its even port.
    pub fn take(&mut self) -> Result<u16, Exhausted> {
        let place = self.free.pop_front().ok_or(Exhausted { pairs: self.taken.len() })?;
        if let Some(taken) = self.taken.get_mut(usize::from(place)) {
            *taken = true;
        }
        Ok(self.first + 2 * place)
    }

    /// Takes `count` pairs, all or none.
    pub fn take_all(&mut self, count: usize) -> Result<Vec<u16>, Exhausted> {
        if self.free.len() < count {
            return Err(Exhausted { pairs: self.taken.len() });
        }
        (0..count).map(|_| self.take()).collect()
    }

    /// Gives a pair back, named by its even port; false when it was not taken.
    pub fn give_back(&mut self, port: u16) -> bool {
        let Some(place) = self.place_of(port) else { return false };
        if !std::mem::take(&mut self.taken[place]) {
            return false;
        }
        self.free.push_back(place as u16);
        true
    }

    /// Number of free pairs.
    pub fn free(&self) -> usize {
        self.free.len()
    }

    /// Number of pairs in the range.
    pub const fn pairs(&self) -> usize {
        self.taken.len()
    }

    /// Whether none is free.
    pub fn is_exhausted(&self) -> bool {
        self.free.is_empty()
    }

    /// The index of an even port that lies in the range; indexing `taken` with it is safe.
    fn place_of(&self, port: u16) -> Option<usize> {
        let offset = port.checked_sub(self.first)?;
        let place = usize::from(offset / 2);
        (offset % 2 == 0 && place < self.taken.len()).then_some(place)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drain(ports: &mut Ports) -> Vec<u16> {
        std::iter::from_fn(|| ports.take().ok()).collect()
    }

    #[test]
    fn ports_are_even_and_their_rtcp_port_lies_in_the_range_too() {
        let cases = [
            ((20_000, 20_005), vec![20_000, 20_002, 20_004]),
            ((20_001, 20_006), vec![20_002, 20_004]),
            ((20_001, 20_002), vec![]),
            ((0, 3), vec![2]),
            ((65_534, 65_535), vec![65_534]),
            ((65_535, 65_535), vec![]),
            ((5, 4), vec![]),
        ];
        for (range, expected) in cases {
            let mut ports = Ports::new(range, 0);
            assert_eq!(ports.pairs(), expected.len(), "{range:?}");
            assert_eq!(drain(&mut ports), expected, "{range:?}");
        }
        assert_eq!(Ports::new((1, 65_535), 0).pairs(), 32_767);
    }

    #[test]
    fn a_port_given_back_rests_until_all_others_have_been_used() {
        let mut ports = Ports::new((20_000, 20_007), 0);
        let first = ports.take().unwrap();
        assert!(ports.give_back(first));
        assert_eq!(drain(&mut ports), [20_002, 20_004, 20_006, 20_000]);
    }

    #[test]
    fn exhaustion_is_an_error_that_names_the_range_and_takes_nothing() {
        let mut ports = Ports::new((20_000, 20_003), 0);
        assert_eq!(ports.take_all(3), Err(Exhausted { pairs: 2 }));
        assert_eq!(ports.free(), 2);
        assert_eq!(ports.take_all(2), Ok(vec![20_000, 20_002]));
        assert!(ports.is_exhausted());
        assert_eq!(ports.take(), Err(Exhausted { pairs: 2 }));
    }

    #[test]
    fn only_a_taken_port_of_the_range_can_be_given_back() {
        let mut ports = Ports::new((20_000, 20_003), 0);
        let port = ports.take().unwrap();
        for wrong in [port + 1, port + 2, port - 2, 40_000, 0] {
            assert!(!ports.give_back(wrong), "{wrong}");
        }
        assert!(ports.give_back(port));
        assert!(!ports.give_back(port), "given back twice");
        assert_eq!(ports.free(), 2);
    }

    #[test]
    fn the_seed_turns_the_order_but_not_the_set() {
        let mut ports = drain(&mut Ports::new((20_000, 20_007), 6));
        assert_eq!(ports[0], 20_004);
        ports.sort_unstable();
        assert_eq!(ports, [20_000, 20_002, 20_004, 20_006]);
    }
}
