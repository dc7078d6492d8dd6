//! SipHash-1-3 of whole words, with 128 bits (Aumasson and Bernstein, "SipHash: a fast short-input PRF", 2012).
//!
//! Texts are hashed a word at a time, so that this needs no place for a part of one: its state stays in registers. The
//! hashes are those of any other SipHash-1-3 that is given the same bytes.

use std::hash::Hasher;

/// A hash that has begun.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sip {
    state: [u64; 4],
    /// Number of bytes so far.
    length: u64,
}

impl Sip {
    /// A hash with a key of 128 bits.
    pub(super) const fn new(first: u64, second: u64) -> Self {
        let [from, to] = [0x736f_6d65_7073_6575, 0x646f_7261_6e64_6f6d];
        let [with, last] = [0x6c79_6765_6e65_7261, 0x7465_6462_7974_6573];
        Sip { state: [first ^ from, second ^ to ^ 0xee, first ^ with, second ^ last], length: 0 }
    }

    /// Both halves of the hash of the words so far.
    #[inline(always)]
    pub(super) fn finish128(mut self) -> [u64; 2] {
        self.mix(self.length << 56);
        self.state[2] ^= 0xee;
        let low = self.end();
        self.state[1] ^= 0xdd;
        [low, self.end()]
    }

    #[inline(always)]
    fn mix(&mut self, word: u64) {
        self.state[3] ^= word;
        self.round();
        self.state[0] ^= word;
    }

    #[inline(always)]
    fn end(&mut self) -> u64 {
        (0..3).for_each(|_| self.round());
        self.state.iter().fold(0, |hash, part| hash ^ part)
    }

    #[inline(always)]
    fn round(&mut self) {
        let [mut a, mut b, mut c, mut d] = self.state;
        a = a.wrapping_add(b);
        c = c.wrapping_add(d);
        b = b.rotate_left(13) ^ a;
        d = d.rotate_left(16) ^ c;
        a = a.rotate_left(32).wrapping_add(d);
        c = c.wrapping_add(b);
        d = d.rotate_left(21) ^ a;
        b = b.rotate_left(17) ^ c;
        c = c.rotate_left(32);
        self.state = [a, b, c, d];
    }
}

impl Hasher for Sip {
    #[inline(always)]
    fn write_u64(&mut self, word: u64) {
        self.mix(word);
        self.length += 8;
    }

    /// Bytes are hashed as whole words: the last one is filled up with zeros.
    fn write(&mut self, bytes: &[u8]) {
        for part in bytes.chunks(8) {
            let mut word = [0; 8];
            word.iter_mut().zip(part).for_each(|(to, byte)| *to = *byte);
            self.write_u64(u64::from_le_bytes(word));
        }
    }

    fn finish(&self) -> u64 {
        self.finish128()[0]
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use siphasher::sip128::{Hasher128, SipHasher13};

    use super::*;

    proptest! {
        #[test]
        fn words_have_the_hash_that_another_siphash_gives_them(
            keys: [u64; 2], words in prop::collection::vec(any::<u64>(), 0..40),
        ) {
            let (mut own, mut other) = (Sip::new(keys[0], keys[1]), SipHasher13::new_with_keys(keys[0], keys[1]));
            for word in words {
                own.write_u64(word);
                other.write(&word.to_le_bytes());
            }
            let hash = other.finish128();
            prop_assert_eq!(own.finish128(), [hash.h1, hash.h2]);
        }
    }

    #[test]
    fn bytes_are_hashed_as_words() {
        let (mut bytes, mut words) = (Sip::new(1, 2), Sip::new(1, 2));
        bytes.write(b"abcdefghi");
        words.write_u64(u64::from_le_bytes(*b"abcdefgh"));
        words.write_u64(u64::from(b'i'));
        assert_eq!(bytes.finish(), words.finish());
    }
}
