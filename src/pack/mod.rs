//! Values as bytes: how a dispatcher gives its state to the one that takes over from it.
//!
//! A type lists its fields once (`packed!`), beside its definition. The list is exhaustive: the code does not compile
//! unless a new field is packed or named as left out. Both ends are the same program or nearly so: the format has no
//! room for differences. Instead each type tells its [`Pack::layout`], and a dispatcher refuses bytes of another one.
//!
//! Numbers are little-endian and of their type's length; a list is preceded by its length as u32.

mod macros;
mod values;

pub(crate) use macros::{packed, saved};

/// A value that can be written as bytes and read back.
pub trait Pack: Sized {
    /// Appends it to `out`.
    fn pack(&self, out: &mut Vec<u8>);

    /// Reads it from the front of `from`.
    ///
    /// # Errors
    ///
    /// The bytes are no such value.
    fn unpack(from: &mut Packed<'_>) -> Result<Self, Damaged>;

    /// Reads a value in place of this one. A list keeps its memory.
    ///
    /// # Errors
    ///
    /// As [`Pack::unpack`].
    fn unpack_over(&mut self, from: &mut Packed<'_>) -> Result<(), Damaged> {
        *self = Pack::unpack(from)?;
        Ok(())
    }

    /// Appends all of them to `out`, one after the other.
    fn pack_all(items: &[Self], out: &mut Vec<u8>) {
        items.iter().for_each(|it| it.pack(out));
    }

    /// Reads so many from the front of `from`, and appends them to `items`.
    ///
    /// # Errors
    ///
    /// As [`Pack::unpack`].
    fn unpack_all(length: usize, items: &mut Vec<Self>, from: &mut Packed<'_>) -> Result<(), Damaged> {
        for _ in 0..length {
            items.push(Self::unpack(from)?);
        }
        Ok(())
    }

    /// Writes a description of its layout, for people and for [`fingerprint`].
    fn layout(out: &mut String);
}

/// State that is replaced in its place: it has limits or memory of its own, so it cannot be unpacked as a new value.
pub trait Saved {
    /// Appends the state to `out`.
    fn save(&self, out: &mut Vec<u8>);

    /// Replaces the state by the one at the front of `from`.
    ///
    /// # Errors
    ///
    /// The bytes are no such state, or do not fit; the value must not be used then.
    fn restore(&mut self, from: &mut Packed<'_>) -> Result<(), Damaged>;

    /// Writes a description of the layout, as [`Pack::layout`] does.
    fn describe(out: &mut String);
}

impl<T: Pack> Saved for T {
    fn save(&self, out: &mut Vec<u8>) {
        self.pack(out);
    }

    fn restore(&mut self, from: &mut Packed<'_>) -> Result<(), Damaged> {
        self.unpack_over(from)
    }

    fn describe(out: &mut String) {
        T::layout(out);
    }
}

/// Bytes that values are read from.
#[derive(Clone, Copy, Debug)]
pub struct Packed<'a>(&'a [u8]);

/// The bytes are not as they were written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the state of the running dispatcher cannot be read ({0})")]
pub struct Damaged(pub &'static str);

impl<'a> Packed<'a> {
    /// Reads from the front of `bytes`.
    pub const fn new(bytes: &'a [u8]) -> Self {
        Packed(bytes)
    }

    /// Takes `length` bytes.
    ///
    /// # Errors
    ///
    /// Fewer bytes are left.
    pub fn take(&mut self, length: usize) -> Result<&'a [u8], Damaged> {
        let (taken, rest) = self.0.split_at_checked(length).ok_or(Damaged("too short"))?;
        self.0 = rest;
        Ok(taken)
    }

    /// Reads the length of a list. Every item takes a byte at least, so a length beyond the bytes is refused before
    /// anything is reserved for it.
    ///
    /// # Errors
    ///
    /// The bytes hold no list of that length.
    pub fn length(&mut self) -> Result<usize, Damaged> {
        let length = u32::unpack(self)? as usize;
        if length > self.0.len() { Err(Damaged("a list longer than the rest")) } else { Ok(length) }
    }

    /// Reads bytes with their length in front.
    ///
    /// # Errors
    ///
    /// Fewer bytes are left.
    pub fn bytes(&mut self) -> Result<&'a [u8], Damaged> {
        let length = self.length()?;
        self.take(length)
    }

    /// Whether everything has been read.
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Writes the length of a list.
pub fn pack_length(length: usize, out: &mut Vec<u8>) {
    u32::try_from(length).unwrap_or(u32::MAX).pack(out);
}

/// Writes bytes with their length in front.
pub fn pack_bytes(bytes: &[u8], out: &mut Vec<u8>) {
    pack_length(bytes.len(), out);
    out.extend_from_slice(bytes);
}

/// Writes a list one item at a time: it need not be in memory as a whole.
pub(crate) fn pack_each<T: Pack>(items: impl Iterator<Item = T>, out: &mut Vec<u8>) {
    let (at, mut length) = (out.len(), 0);
    pack_length(length, out);
    for item in items {
        item.pack(out);
        length += 1;
    }
    let mut written = Vec::new();
    pack_length(length, &mut written);
    out[at..at + written.len()].copy_from_slice(&written);
}

/// A number for a layout: 64 bits of FNV-1a, the same in every build.
pub fn fingerprint(layout: &str) -> u64 {
    layout.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

/// The layout of the field that a closure names.
pub(crate) fn layout_of<T, F: Pack>(_: fn(&T) -> &F, out: &mut String) {
    F::layout(out);
}

/// The layout of the field of a variant that a closure names.
pub(crate) fn layout_in<T, F: Pack>(_: fn(&T) -> Option<&F>, out: &mut String) {
    F::layout(out);
}

/// The layout of the state in the field that a closure names.
pub(crate) fn describe_of<T, F: Saved>(_: fn(&T) -> &F, out: &mut String) {
    F::describe(out);
}

#[cfg(test)]
mod tests;
