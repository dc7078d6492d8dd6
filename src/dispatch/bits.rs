//! A set of small numbers, one bit each: who is open. Finding the next one is a look at a few words.

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

    /// Whether a number is in.
    pub fn contains(&self, number: usize) -> bool {
        self.words.get(number / 64).is_some_and(|word| word >> (number % 64) & 1 != 0)
    }

    /// How many are in.
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Whether none is in.
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// All numbers from `start` up, then those below it.
    pub fn around(&self, start: usize) -> impl Iterator<Item = usize> + '_ {
        let (above, below) = (self.from(start), self.from(0).take_while(move |&number| number < start));
        above.chain(below)
    }

    fn from(&self, start: usize) -> impl Iterator<Item = usize> + '_ {
        let first = start / 64;
        self.words.iter().enumerate().skip(first).flat_map(move |(at, &word)| {
            let mut rest = if at == first { word & (u64::MAX << (start % 64)) } else { word };
            std::iter::from_fn(move || {
                let bit = rest.trailing_zeros();
                rest &= rest.wrapping_sub(1);
                (bit < 64).then_some(at * 64 + bit as usize)
            })
        })
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
