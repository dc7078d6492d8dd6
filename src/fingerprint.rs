//! Fingerprints: the table stores 128 bits of a keyed hash for a text. Peers choose the texts, so the hash must have a
//! key.

use std::hash::{BuildHasher, Hasher};
use std::net::IpAddr;

use foldhash::quality::FixedState;
use siphasher::sip128::{Hasher128, SipHasher13};

use crate::ids::TokenKey;
use crate::pack::packed;
use crate::wire::{write_lowered, write_words};

/// The method by which fingerprints are made, and the texts that names are made of: a part of the layout of a takeover.
/// A version that changes either must change this text, or a takeover would find nothing by the old fingerprints.
pub const SCHEME: &str = "fingerprints:every-length:uri-of-old-peers,";

/// A keyed 128-bit hash of some texts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Fingerprint {
    low: u64,
    high: u64,
}

impl Fingerprint {
    /// 64 bits for a hash index or a selection.
    pub const fn short(self) -> u64 {
        self.low
    }

    /// The two halves of its bits, of which neither tells the other.
    pub const fn halves(self) -> [u64; 2] {
        [self.low, self.high]
    }

    /// Reads the bytes of [`Fingerprint::to_bytes`].
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        let bits = u128::from_le_bytes(bytes);
        Fingerprint { low: bits as u64, high: (bits >> 64) as u64 }
    }

    /// All bits, as bytes.
    pub fn to_bytes(self) -> [u8; 16] {
        (u128::from(self.low) | u128::from(self.high) << 64).to_le_bytes()
    }
}

packed!(Fingerprint { low, high });

/// A few bits of a [`Source`], by which requests are counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct SourcePrint(pub u16);

packed!(SourcePrint(u16));

/// A keyed hash of a source: of an IPv4 address, or of an IPv6 /64, within which a host chooses its address itself (RFC
/// 8981).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Source(u64);

impl Source {
    /// All bits.
    pub const fn bits(self) -> u64 {
        self.0
    }

    /// The bits by which requests are counted.
    pub const fn print(self) -> SourcePrint {
        SourcePrint(self.0 as u16)
    }
}

/// Makes fingerprints.
#[derive(Clone, Debug)]
pub struct Printer {
    texts: SipHasher13,
    sources: FixedState,
}

impl Printer {
    /// A printer with a key derived from the token key: the same texts have the same fingerprint after a restart.
    pub fn new(key: &TokenKey) -> Self {
        Printer {
            texts: SipHasher13::new_with_keys(key.hash(b'f', b"low"), key.hash(b'f', b"high")),
            sources: FixedState::with_seed(key.hash(b'f', b"source")),
        }
    }

    /// A printer whose key is 128 random bits.
    pub fn seeded([first, second]: [u64; 2]) -> Self {
        let texts = SipHasher13::new_with_keys(first, second);
        let printer = Printer { texts, sources: FixedState::default() };
        // The two hashes must not share a key: one that leaks would open the other.
        let sources = FixedState::with_seed(printer.print(b'f', &[b"source"]).short());
        Printer { sources, ..printer }
    }

    /// The hash of the source that `address` belongs to. An IPv4-mapped IPv6 address counts as IPv4.
    pub fn source(&self, address: IpAddr) -> Source {
        // Peers neither see this hash nor learn which sources collide: a fast one with a seed is enough.
        Source(self.sources.hash_one(host(address)))
    }

    /// A hash of some texts in their order, for what a peer gains nothing by if it guesses it.
    pub fn quick<'a>(&self, texts: impl IntoIterator<Item = &'a [u8]>) -> u64 {
        let mut hasher = self.sources.build_hasher();
        for text in texts {
            hasher.write(text);
            hasher.write_u64(text.len() as u64);
        }
        hasher.finish()
    }

    /// The fingerprint of some texts in their order. `purpose` separates kinds of texts from each other, the lengths
    /// separate the texts: `ab`, `c` is not `a`, `bc`.
    pub fn print(&self, purpose: u8, texts: &[&[u8]]) -> Fingerprint {
        self.print_each(purpose, texts.iter().map(|text| Text::AsItIs(text)))
    }

    /// [`Printer::print`] of texts, some of which compare in any case.
    #[inline]
    pub fn print_each<'a>(&self, purpose: u8, texts: impl IntoIterator<Item = Text<'a>>) -> Fingerprint {
        let mut hasher = self.texts;
        let mut lengths = u64::from(purpose);
        for text in texts {
            let length = match text {
                Text::AsItIs(text) => {
                    write_words(&mut hasher, text);
                    text.len()
                }
                Text::InAnyCase(text) => {
                    write_lowered(&mut hasher, text);
                    text.len()
                }
                Text::Number(number) => usize::from(number),
            };
            // One word has room for three lengths after the purpose.
            if lengths >> 48 != 0 {
                hasher.write_u64(lengths);
                lengths = 1;
            }
            lengths = lengths << 16 ^ length as u64;
        }
        hasher.write_u64(lengths);
        let hash = hasher.finish128();
        Fingerprint { low: hash.h1, high: hash.h2 }
    }
}

/// A text, with the way in which it compares.
#[derive(Clone, Copy, Debug)]
pub enum Text<'a> {
    /// Every byte counts.
    AsItIs(&'a [u8]),
    /// Capital and small letters are the same: tags, branches and hosts (RFC 3261 §7.3.1).
    InAnyCase(&'a [u8]),
    /// No text: a number, such as a port.
    Number(u16),
}

/// The number of a host: an IPv4 address, or an IPv6 network of 64 bits.
pub(crate) fn host(address: IpAddr) -> u64 {
    match address.to_canonical() {
        IpAddr::V4(address) => u64::from(address.to_bits()),
        // No /64 has the number of an IPv4 address: the addresses of ::/32 are not assigned.
        IpAddr::V6(address) => (address.to_bits() >> 64) as u64,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_that_run_into_each_other_are_told_apart() {
        let printer = Printer::new(&TokenKey::new([1; 32]));
        let print = printer.print(1, &[b"ab", b"c"]);
        assert_eq!(print, printer.print(1, &[b"ab", b"c"]));
        assert_ne!(print, printer.print(1, &[b"a", b"bc"]));
        assert_ne!(print, printer.print(2, &[b"ab", b"c"]));
        assert_ne!(print, Printer::new(&TokenKey::new([2; 32])).print(1, &[b"ab", b"c"]));
    }

    #[test]
    fn a_text_in_any_case_has_one_print_whatever_its_length() {
        let printer = Printer::new(&TokenKey::new([1; 32]));
        for length in [0, 1, 63, 64, 65, 200] {
            let (small, large) = ("aZ9-".repeat(50), "Az9-".repeat(50));
            let (small, large) = (&small.as_bytes()[..length], &large.as_bytes()[..length]);
            let print = |text| printer.print_each(1, [Text::InAnyCase(text), Text::AsItIs(b"X")]);
            assert_eq!(print(small), print(large), "{length}");
            assert_ne!(print(small), printer.print_each(1, [Text::InAnyCase(small), Text::AsItIs(b"x")]));
        }
    }

    #[test]
    fn every_byte_of_a_text_counts_whatever_its_length() {
        let printer = Printer::new(&TokenKey::new([1; 32]));
        for length in 1..=33_usize {
            let text: Vec<u8> = (1..=length as u8).collect();
            let print = printer.print(1, &[&text]);
            for at in 0..length {
                let mut other = text.clone();
                other[at] ^= 0x80;
                assert_ne!(printer.print(1, &[&other]), print, "byte {at} of {length}");
            }
            assert_ne!(printer.print(1, &[&[&text[..], &[0]].concat()]), print, "a zero behind {length}");
        }
    }

    #[test]
    fn where_texts_end_counts_however_many_there_are() {
        let printer = Printer::new(&TokenKey::new([1; 32]));
        let texts = [&b"aaaaaaaabbbbbbbb"[..], b"host", b"", b"", b"5060", b"1"];
        let print = printer.print(1, &texts);
        for other in [
            [&b"aaaaaaaa"[..], b"bbbbbbbbhost", b"", b"", b"5060", b"1"],
            [b"aaaaaaaabbbbbbbb", b"", b"host", b"", b"5060", b"1"],
            [b"aaaaaaaabbbbbbbb", b"host", b"", b"5060", b"", b"1"],
        ] {
            assert_ne!(printer.print(1, &other), print, "{other:?}");
        }
        assert_ne!(printer.print(1, &[]), printer.print(1, &[b""]));
        assert_ne!(printer.print(1, &[b"", b"", b""]), printer.print(1, &[b"", b"", b"", b""]));
        let numbered = |port| printer.print_each(1, [Text::AsItIs(b"a"), Text::Number(port)]);
        assert_ne!(numbered(5060), numbered(5061));
    }

    #[test]
    fn fingerprints_made_in_another_way_need_another_name_of_the_scheme() {
        let printer = Printer::new(&TokenKey::new([1; 32]));
        let print = printer.print(1, &[b"z9hG4bK-1", b"192.0.2.1", b"", b"5060", b"INVITE"]);
        let source = printer.source("192.0.2.1".parse().unwrap());
        assert_eq!(
            (SCHEME, print.short(), source),
            (
                "fingerprints:every-length:uri-of-old-peers,",
                14_850_384_338_990_362_212,
                Source(12_692_356_399_222_541_225)
            )
        );
    }

    #[test]
    fn a_source_is_an_ipv4_address_or_an_ipv6_network_of_64_bits() {
        let printer = Printer::new(&TokenKey::new([1; 32]));
        let source = |text: &str| printer.source(text.parse().unwrap());
        assert_eq!(source("192.0.2.1"), source("::ffff:192.0.2.1"));
        assert_ne!(source("192.0.2.1"), source("192.0.2.2"));
        assert_eq!(source("2001:db8::1"), source("2001:db8::ffff:1"));
        assert_ne!(source("2001:db8::1"), source("2001:db8:0:1::1"));
    }
}
