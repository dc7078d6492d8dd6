//! A set of small numbers, one bit each, such as the open workers. Finding the next number reads a few words.

/// A set of numbers below a size given once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Bits {
    words: Vec<u64>,
    len: usize,
}

impl Bits {
    /// Makes room for numbers below `size`; those at or above it are taken out.
    pub fn resize(&mut self, size: usize) {
        self.words.resize(size.div_ceil(64), 0);
        if !size.is_multiple_of(64)
            && let Some(last) = self.words.last_mut()
        {
            *last &= (1 << (size % 64)) - 1;
        }
        self.len = self.words.iter().map(|word| word.count_ones() as usize).sum();
    }

    /// Puts a number in or takes it out.
    pub fn set(&mut self, number: usize, present: bool) {
        let Some(word) = self.words.get_mut(number / 64) else { return };
        let bit = 1 << (number % 64);
        if (*word & bit != 0) != present {
            *word ^= bit;
            self.len = if present { self.len + 1 } else { self.len - 1 };
        }
    }

    /// Whether a number is in the set.
    pub fn contains(&self, number: usize) -> bool {
        self.words.get(number / 64).is_some_and(|word| word >> (number % 64) & 1 != 0)
    }

    /// Count of the numbers in the set.
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Whether the set is empty.
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// All numbers from `start` up, then those below it.
    pub fn around(&self, start: usize) -> impl Iterator<Item = usize> + '_ {
        let (mut at, mut end) = (start, usize::MAX);
        std::iter::from_fn(move || {
            let mut found = self.next(at).filter(|&number| number < end);
            if found.is_none() && end != start {
                end = start;
                found = self.next(0).filter(|&number| number < end);
            }
            at = found? + 1;
            found
        })
    }

    /// The lowest number from `start` up.
    fn next(&self, start: usize) -> Option<usize> {
        let mut at = start / 64;
        let mut word = self.words.get(at)? & (u64::MAX << (start % 64));
        while word == 0 {
            at += 1;
            word = *self.words.get(at)?;
        }
        Some(at * 64 + word.trailing_zeros() as usize)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_come_in_order_from_any_start_and_round() {
        let mut bits = Bits::default();
        bits.resize(200);
        for number in [3, 64, 127, 199, 500] {
            bits.set(number, true);
        }
        assert_eq!(bits.around(64).collect::<Vec<_>>(), [64, 127, 199, 3]);
        assert_eq!(bits.around(0).collect::<Vec<_>>(), [3, 64, 127, 199]);
        bits.set(64, false);
        bits.resize(128);
        assert_eq!(bits.around(128).collect::<Vec<_>>(), [3, 127]);
        assert_eq!((bits.len(), bits.contains(127), bits.contains(199)), (2, true, false));
    }
}
