//! The search for one of a few bytes in the short texts that messages are made of.

use wide::u8x16;

/// The offset of the first of the `wanted` bytes. Sixteen bytes at a step, in line: fields are short, and calling a
/// search for long texts costs more than reading them.
#[inline]
pub(crate) fn find<const N: usize>(bytes: &[u8], wanted: [u8; N]) -> Option<usize> {
    match find_in_blocks(bytes, |block| places(block, wanted)) {
        Ok(at) => Some(at),
        Err(0) => None,
        Err(left) => find_bytes_in_end(bytes, left, wanted),
    }
}

/// The length of the front of `bytes` that consists of bytes of host names: letters, digits, `-`, `.` and `_`.
pub(crate) fn host_name_len(bytes: &[u8]) -> usize {
    let others = |block| {
        let block = u8x16::new(block);
        let letters = within(block | u8x16::splat(0x20), b'a', b'z');
        let digits = within(block, b'0', b'9');
        let marks = within(block, b'-', b'.') | block.simd_eq(u8x16::splat(b'_'));
        !(letters | digits | marks).to_bitmask() & 0xffff
    };
    let is_other = |byte: u8| !byte.is_ascii_alphanumeric() && !matches!(byte, b'-' | b'.' | b'_');
    find_by(bytes, others, is_other).unwrap_or(bytes.len())
}

/// Whether `bytes` hold a control character, a space, or one of `<>"`.
pub(crate) fn has_delimiter(bytes: &[u8]) -> bool {
    let delimiters = |block| within(u8x16::new(block), 0, b' ').to_bitmask() | places(block, [b'<', b'>', b'"', 0x7f]);
    find_by(bytes, delimiters, |byte| matches!(byte, 0..=b' ' | b'<' | b'>' | b'"' | 0x7f)).is_some()
}

/// The offset of the first byte that `of_block` gives a bit for, and `of_byte` says yes to.
#[inline(always)]
fn find_by(bytes: &[u8], of_block: impl Fn([u8; 16]) -> u32, of_byte: impl Fn(u8) -> bool) -> Option<usize> {
    match find_in_blocks(bytes, &of_block) {
        Ok(at) => Some(at),
        Err(left) => find_in_end(bytes, left, of_block, of_byte),
    }
}

/// [`find_by`] in the whole blocks of `bytes`; fails with the number of bytes that are left behind them.
#[inline(always)]
fn find_in_blocks(bytes: &[u8], of_block: impl Fn([u8; 16]) -> u32) -> Result<usize, usize> {
    let mut rest = bytes;
    while let Some((block, behind)) = rest.split_first_chunk() {
        let found = of_block(*block);
        if found != 0 {
            return Ok(bytes.len() - rest.len() + found.trailing_zeros() as usize);
        }
        rest = behind;
    }
    Err(rest.len())
}

/// [`find_by`] in the last `left` bytes, less than a block.
#[inline(always)]
fn find_in_end(
    bytes: &[u8],
    left: usize,
    of_block: impl Fn([u8; 16]) -> u32,
    of_byte: impl Fn(u8) -> bool,
) -> Option<usize> {
    if let Some(last) = bytes.last_chunk() {
        // The last block reaches back into what has been read.
        let found = of_block(*last) >> (last.len() - left);
        return (found != 0).then(|| bytes.len() - left + found.trailing_zeros() as usize);
    }
    // The front and the end of a shorter text, which overlap, are one block.
    let (block, half) = match (bytes.first_chunk::<8>(), bytes.last_chunk::<8>()) {
        (Some(front), Some(end)) => {
            let [first, second] = [u64::from_le_bytes(*front), u64::from_le_bytes(*end)];
            (u128::from(first) | u128::from(second) << 64, 8)
        }
        _ => match (bytes.first_chunk::<4>(), bytes.last_chunk::<4>()) {
            (Some(front), Some(end)) => {
                let [first, second] = [u32::from_le_bytes(*front), u32::from_le_bytes(*end)];
                (u128::from(first) | u128::from(second) << 32, 4)
            }
            _ => return bytes.iter().position(|byte| of_byte(*byte)),
        },
    };
    let found = of_block(block.to_le_bytes()) & ((1 << (2 * half)) - 1);
    let at = found.trailing_zeros() as usize;
    (found != 0).then(|| if at < half { at } else { bytes.len() + at - 2 * half })
}

/// [`find_in_end`] for a search for bytes. It is called: in line everywhere, it would push the code of the hot path out
/// of the first level of the cache.
#[inline(never)]
fn find_bytes_in_end<const N: usize>(bytes: &[u8], left: usize, wanted: [u8; N]) -> Option<usize> {
    find_in_end(bytes, left, |block| places(block, wanted), |byte| wanted.contains(&byte))
}

/// Iterates over the places of a byte in a text, sixty-four bytes at a step.
#[derive(Clone, Debug)]
pub(crate) struct Places<'a> {
    bytes: &'a [u8],
    wanted: u8,
    /// A bit for each place in the block at hand that has not been given, and where that block begins.
    found: u64,
    block: usize,
    /// The bytes before it have been read.
    read: usize,
}

impl<'a> Places<'a> {
    /// The places in `bytes` at or after `from`.
    pub(crate) const fn from(bytes: &'a [u8], from: usize, wanted: u8) -> Self {
        Places { bytes, wanted, found: 0, block: from, read: from }
    }

    /// Reads the next block that has one.
    #[inline]
    fn read(&mut self) -> Option<()> {
        while let Some(block) = self.bytes.get(self.read..).and_then(<[u8]>::first_chunk) {
            self.found = self.in_block(block);
            (self.block, self.read) = (self.read, self.read + block.len());
            if self.found != 0 {
                return Some(());
            }
        }
        self.read_end()
    }

    #[inline(always)]
    fn in_block(&self, block: &[u8; 64]) -> u64 {
        let (parts, _) = block.as_chunks();
        parts.iter().rev().fold(0, |found, part| found << 16 | u64::from(places(*part, [self.wanted])))
    }

    /// Reads the last bytes, less than a block.
    #[cold]
    fn read_end(&mut self) -> Option<()> {
        let rest = self.bytes.get(self.read..).unwrap_or_default();
        let mut last = [0; 64];
        last.iter_mut().zip(rest).for_each(|(place, byte)| *place = *byte);
        self.found = self.in_block(&last) & ((1 << rest.len()) - 1);
        (self.block, self.read) = (self.read, self.bytes.len().max(self.read));
        (self.found != 0).then_some(())
    }
}

impl Iterator for Places<'_> {
    type Item = usize;

    #[inline]
    fn next(&mut self) -> Option<usize> {
        if self.found == 0 {
            self.read()?;
        }
        let at = self.block + self.found.trailing_zeros() as usize;
        self.found &= self.found - 1;
        Some(at)
    }
}

/// All bits of each byte that lies between two others, these included.
#[inline(always)]
fn within(block: u8x16, least: u8, most: u8) -> u8x16 {
    block.max(u8x16::splat(least)).simd_eq(block) & block.min(u8x16::splat(most)).simd_eq(block)
}

/// The offset of the first byte that is `first` and has one of the `seconds` behind it.
#[inline]
pub(crate) fn find_pair<const N: usize>(bytes: &[u8], first: u8, seconds: [u8; N]) -> Option<usize> {
    let mut rest = bytes;
    loop {
        let at = bytes.len() - rest.len();
        let (Some(front), Some(behind)) = (rest.first_chunk(), rest.get(1..).and_then(<[u8]>::first_chunk)) else {
            if let (Some(behind), Some(front)) =
                (bytes.last_chunk(), bytes.split_last().and_then(|(_, front)| front.last_chunk()))
            {
                // The last blocks reach back into what has been read.
                let before = bytes.len() - 1 - front.len();
                let found = (places(*front, [first]) & places(*behind, seconds)) >> (at - before);
                return (found != 0).then(|| at + found.trailing_zeros() as usize);
            }
            let is_pair = |pair: &[u8]| matches!(pair, [one, other] if *one == first && seconds.contains(other));
            return rest.windows(2).position(is_pair).map(|in_rest| at + in_rest);
        };
        let found = places(*front, [first]) & places(*behind, seconds);
        if found != 0 {
            return Some(at + found.trailing_zeros() as usize);
        }
        rest = rest.get(front.len()..).unwrap_or_default();
    }
}

/// A bit for each byte of a block that is wanted.
#[inline(always)]
pub(crate) fn places<const N: usize>(block: [u8; 16], wanted: [u8; N]) -> u32 {
    let block = u8x16::new(block);
    let found = wanted.iter().fold(u8x16::ZERO, |found, byte| found | block.simd_eq(u8x16::splat(*byte)));
    found.to_bitmask()
}

/// Whether the first `len` bytes of two blocks are the same; `len` is at most 16.
#[inline(always)]
pub(crate) fn begin_alike(one: [u8; 16], other: [u8; 16], len: usize) -> bool {
    let alike = u8x16::new(one).simd_eq(u8x16::new(other)).to_bitmask();
    !alike & ((1 << len) - 1) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_wanted_byte_is_found_wherever_it_stands_and_however_long_the_text_is() {
        for len in 0..70 {
            for at in 0..len {
                let mut text = vec![b':' + 1; len];
                text[at] = b':';
                text[len - 1] = b':';
                assert_eq!(find(&text, [b':', b'"']), Some(at), "{at} of {len}");
                assert_eq!(find(&text, [b'"', b';' + 1]), None, "{at} of {len}");
            }
            assert_eq!(find(&vec![0; len], [b'\x01', 0xff]), None, "{len} NULs");
            assert_eq!(find(&vec![1; len], [0]), None, "no NUL among {len}");
        }
    }

    #[test]
    fn every_place_of_a_byte_is_found_from_wherever_the_search_begins() {
        let text: Vec<u8> = (0..140).map(|at| if at % 7 == 3 || at > 120 { b'\n' } else { 0 }).collect();
        for (len, from) in (0..=140).flat_map(|len| (0..=len + 1).map(move |from| (len, from))) {
            let expected: Vec<_> = (from..len).filter(|at| text[*at] == b'\n').collect();
            assert_eq!(Places::from(&text[..len], from, b'\n').collect::<Vec<_>>(), expected, "{from} in {len}");
            let zeros = (from..len).filter(|at| text[*at] == 0).count();
            assert_eq!(Places::from(&text[..len], from, 0).count(), zeros, "{from} in {len}");
        }
    }

    #[test]
    fn each_byte_counts_in_every_place_of_a_text_as_it_does_alone() {
        let of_name = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
        for (len, byte) in
            [1, 3, 4, 7, 8, 15, 16, 17, 40].into_iter().flat_map(|len| (0..=255).map(move |byte| (len, byte)))
        {
            for at in 0..len {
                let mut text = vec![b'x'; len];
                text[at] = byte;
                assert_eq!(host_name_len(&text), if of_name(byte) { len } else { at }, "{byte} at {at} of {len}");
                let delimits = byte <= b' ' || b"<>\"\x7f".contains(&byte);
                assert_eq!(has_delimiter(&text), delimits, "{byte} at {at} of {len}");
            }
        }
        assert_eq!((host_name_len(b""), has_delimiter(b"")), (0, false));
    }

    #[test]
    fn two_bytes_are_found_across_the_ends_of_blocks() {
        for len in 0..70 {
            assert_eq!(find_pair(&vec![b'a'; len], b'a', [b'b', b'c']), None, "{len}");
            for at in 0..len.saturating_sub(1) {
                let mut text = vec![b'a'; len];
                text[at + 1] = b'b';
                text[len - 1] = b'b';
                assert_eq!(find_pair(&text, b'a', [b'c', b'b']), Some(at), "{at} of {len}");
            }
        }
    }
}
