//! The size of a session in capacity units, as given in its first message.
//!
//! Only a whole number above zero counts as a size. Any other value is noted, and the next place is read. A session
//! without a size has size 1.

use std::net::IpAddr;

use crate::config::{Network, SizeSource};
use crate::reservation::Weight;
use crate::wire::sip::{Message, Uri};
use crate::wire::{mscml, msml, sdp};

/// The rules by which sizes are read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SizeRules {
    /// The places in the message, in the order in which they are read; the first that names a size counts.
    pub order: Vec<SizeSource>,
    /// The largest size a message can name; a larger one counts as this.
    pub max: u32,
    /// Units of a video stream.
    pub video: u32,
    /// Sources whose sizes are believed; empty: all.
    pub from: Vec<Network>,
}

impl Default for SizeRules {
    fn default() -> Self {
        SizeRules { order: SizeSource::ALL.to_vec(), max: 1000, video: 4, from: Vec::new() }
    }
}

/// A size, and the finding about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sized {
    /// Units, and whether the message names them.
    pub weight: Weight,
    /// The finding on the way to it.
    pub note: SizeNote,
}

/// Findings about the places that can name a size.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum SizeNote {
    /// A size that counts.
    Named,
    /// No size: 1.
    Unnamed,
    /// More than the largest size allowed: the largest counts.
    Clamped,
    /// A place named 0, and the next one was read.
    Zero,
    /// A place named a negative number, and the next one was read.
    Negative,
    /// A place held something else than a whole number, and the next one was read.
    Garbage,
    /// The source is not believed: 1.
    Untrusted,
}

impl SizeNote {
    /// Number of kinds of finding.
    pub const COUNT: usize = 7;

    /// Every note.
    pub const ALL: [SizeNote; SizeNote::COUNT] = [
        SizeNote::Named,
        SizeNote::Unnamed,
        SizeNote::Clamped,
        SizeNote::Zero,
        SizeNote::Negative,
        SizeNote::Garbage,
        SizeNote::Untrusted,
    ];

    /// Its place in [`SizeNote::ALL`].
    pub const fn index(self) -> usize {
        self as usize
    }

    /// Its stable name in logs and counters.
    pub const fn label(self) -> &'static str {
        match self {
            SizeNote::Named => "size-named",
            SizeNote::Unnamed => "size-unnamed",
            SizeNote::Clamped => "size-clamped",
            SizeNote::Zero => "size-zero",
            SizeNote::Negative => "size-negative",
            SizeNote::Garbage => "size-garbage",
            SizeNote::Untrusted => "size-untrusted",
        }
    }
}

impl Sized {
    /// The size of a message that begins no session.
    pub(super) const NOTHING: Sized = Sized { weight: Weight::NOTHING, note: SizeNote::Unnamed };
}

/// The content of one place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Said {
    Nothing,
    Units(u32),
    /// The offer has streams, all of them disabled: a session that costs nothing now.
    Disabled,
    Unusable(SizeNote),
}

impl SizeRules {
    /// The size of the session that `message` from `source` begins; `uri` is its request-URI.
    pub fn size_of(&self, message: &Message<'_>, uri: Option<&Uri<'_>>, source: IpAddr) -> Sized {
        self.first_named(source, |place| self.ask(place, message, uri))
    }

    /// The first size that `ask` finds in one of the places, if `source` is believed.
    #[inline]
    pub(super) fn first_named(&self, source: IpAddr, ask: impl Fn(SizeSource) -> Said) -> Sized {
        if !self.from.is_empty() && !self.from.iter().any(|net| net.contains(source)) {
            return Sized { weight: Weight::plain(1), note: SizeNote::Untrusted };
        }
        let mut unusable = None;
        for &place in &self.order {
            match ask(place) {
                Said::Nothing => {}
                Said::Disabled => {
                    return Sized { weight: Weight::NOTHING, note: unusable.unwrap_or(SizeNote::Named) };
                }
                Said::Units(units) => {
                    let weight = Weight { units: units.min(self.max), named: place != SizeSource::Sdp };
                    let note = if units > self.max { SizeNote::Clamped } else { unusable.unwrap_or(SizeNote::Named) };
                    return Sized { weight, note };
                }
                Said::Unusable(note) => unusable = unusable.or(Some(note)),
            }
        }
        Sized { weight: Weight::plain(1), note: unusable.unwrap_or(SizeNote::Unnamed) }
    }

    fn ask(&self, place: SizeSource, message: &Message<'_>, uri: Option<&Uri<'_>>) -> Said {
        match place {
            SizeSource::Header => message.extension(b"X-Session-Size").map_or(Said::Nothing, read),
            SizeSource::RequestUri => uri.and_then(|uri| uri.param(b"size")).map_or(Said::Nothing, read),
            SizeSource::Mscml => {
                message.content(mscml::MEDIA_TYPE).and_then(mscml::reserved_talkers).map_or(Said::Nothing, judge)
            }
            SizeSource::Msml => {
                message.content(msml::MEDIA_TYPE).and_then(msml::reserved_talkers).map_or(Said::Nothing, judge)
            }
            SizeSource::Sdp => {
                match message.content(b"application/sdp").and_then(|body| sdp::weigh(body, self.video)) {
                    None => Said::Nothing,
                    Some(0) => Said::Disabled,
                    Some(units) => Said::Units(units),
                }
            }
        }
    }
}

/// Reads a number as written in a header.
pub(super) fn read(text: &[u8]) -> Said {
    let text = text.trim_ascii();
    let (sign, digits) = match text {
        [b'-', digits @ ..] => (-1, digits),
        [b'+', digits @ ..] => (1, digits),
        digits => (1, digits),
    };
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return Said::Unusable(SizeNote::Garbage);
    }
    let number =
        digits.iter().fold(0_i64, |number, digit| number.saturating_mul(10).saturating_add(i64::from(digit - b'0')));
    judge(sign * number)
}

fn judge(number: i64) -> Said {
    match number {
        0 => Said::Unusable(SizeNote::Zero),
        ..0 => Said::Unusable(SizeNote::Negative),
        _ => Said::Units(u32::try_from(number).unwrap_or(u32::MAX)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_or_refused_with_the_reason() {
        assert_eq!(read(b" 120 "), Said::Units(120));
        assert_eq!(read(b"+7"), Said::Units(7));
        assert_eq!(read(b"1000000000000000000000000"), Said::Units(u32::MAX));
        assert_eq!(read(b"0"), Said::Unusable(SizeNote::Zero));
        assert_eq!(read(b"-1"), Said::Unusable(SizeNote::Negative));
        assert_eq!(read(b"-99999999999999999999999"), Said::Unusable(SizeNote::Negative));
        for garbage in [&b""[..], b"-", b"1.5", b"0x10", b"ten", b"1 2", b"\xff"] {
            assert_eq!(read(garbage), Said::Unusable(SizeNote::Garbage), "{garbage:?}");
        }
    }

    #[test]
    fn notes_have_one_place_each() {
        assert!(SizeNote::ALL.iter().enumerate().all(|(place, note)| note.index() == place));
    }
}
