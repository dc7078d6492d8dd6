//! Texts as a hasher sees them, in words of eight bytes: as they are, or in small letters where case does not count
//! (RFC 3261 §7.3.1). The texts are short, and a hasher that gets whole words buffers no bytes between writes.

use std::hash::Hasher;

/// Hashes a text, the last word filled up with zeros. The caller hashes the length, where it does not follow from the
/// context.
#[inline]
pub(crate) fn write_words(hasher: &mut impl Hasher, text: &[u8]) {
    write(hasher, text, |word| word);
}

/// [`write_words`] of the text in small letters.
#[inline]
pub(crate) fn write_lowered(hasher: &mut impl Hasher, text: &[u8]) {
    write(hasher, text, lowered);
}

#[inline]
fn write(hasher: &mut impl Hasher, text: &[u8], fold: impl Fn(u64) -> u64) {
    let (words, rest) = text.as_chunks::<8>();
    for word in words {
        hasher.write_u64(fold(u64::from_le_bytes(*word)));
    }
    if !rest.is_empty() {
        hasher.write_u64(fold(last_word(text, rest)));
    }
}

/// The word of the one to seven bytes that are left of a text.
#[inline]
fn last_word(text: &[u8], rest: &[u8]) -> u64 {
    if let Some(last) = text.last_chunk::<8>() {
        return u64::from_le_bytes(*last) >> (64 - 8 * rest.len());
    }
    match (rest.first_chunk::<4>(), rest.last_chunk::<4>()) {
        (Some(first), Some(last)) => {
            let last = u64::from(u32::from_le_bytes(*last)) << (8 * rest.len() - 32);
            u64::from(u32::from_le_bytes(*first)) | last
        }
        _ => rest.iter().rev().fold(0, |word, &byte| word << 8 | u64::from(byte)),
    }
}

/// Eight bytes in small letters: the bit that tells a capital from its small letter is set in those from `A` to `Z`.
const fn lowered(word: u64) -> u64 {
    const EACH: u64 = 0x0101_0101_0101_0101;
    let low = word & (0x7f * EACH);
    let from_a = low + (0x80 - b'A' as u64) * EACH;
    let behind_z = low + (0x7f - b'Z' as u64) * EACH;
    let is_ascii = !word & (0x80 * EACH);
    word | ((from_a ^ behind_z) & is_ascii) >> 2
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_lowered_as_their_bytes_are() {
        for byte in 0..=255_u8 {
            for at in 0..8 {
                let mut bytes = *b"Az[@`{Z0";
                bytes[at] = byte;
                let word = lowered(u64::from_le_bytes(bytes));
                assert_eq!(word.to_le_bytes(), bytes.map(|byte| byte.to_ascii_lowercase()), "{bytes:?}");
            }
        }
    }
}
