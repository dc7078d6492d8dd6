//! The size of a session in capacity units, as given in its first message.
//!
//! Only a whole number above zero counts as a size. After any other value the next place is read. A session without a
//! size has size 1.

use std::net::IpAddr;

use crate::config::{Network, SizeSource};
use crate::reservation::Weight;
use crate::wire::multipart::{self, Part};
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

/// The content of one place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Said {
    /// No size that counts.
    Nothing,
    Units(u32),
    /// The offer has streams, all of them disabled: a session that costs nothing now.
    Disabled,
}

impl SizeRules {
    /// The size of the session that `message` from `source` begins; `uri` is its request-URI.
    pub fn size_of(&self, message: &Message<'_>, uri: Option<&Uri<'_>>, source: IpAddr) -> Weight {
        let body = message.content_part();
        self.first_named(source, |place| self.ask(place, message, uri, body))
    }

    /// The first size that `ask` finds in one of the places, if `source` is believed.
    #[inline]
    pub(super) fn first_named(&self, source: IpAddr, ask: impl Fn(SizeSource) -> Said) -> Weight {
        if !self.from.is_empty() && !self.from.iter().any(|net| net.contains(source)) {
            return Weight::plain(1);
        }
        for &place in &self.order {
            match ask(place) {
                Said::Nothing => {}
                Said::Disabled => return Weight::NOTHING,
                Said::Units(units) => {
                    return Weight { units: units.min(self.max), named: place != SizeSource::Sdp };
                }
            }
        }
        Weight::plain(1)
    }

    fn ask(&self, place: SizeSource, message: &Message<'_>, uri: Option<&Uri<'_>>, body: Option<Part<'_>>) -> Said {
        let content = |wanted| body.and_then(|body| multipart::find(body, wanted));
        match place {
            SizeSource::Header => message.extension(b"X-Session-Size").map_or(Said::Nothing, read),
            SizeSource::RequestUri => uri.and_then(|uri| uri.param(b"size")).map_or(Said::Nothing, read),
            SizeSource::Mscml => {
                content(mscml::MEDIA_TYPE).and_then(mscml::reserved_talkers).map_or(Said::Nothing, judge)
            }
            SizeSource::Msml => content(msml::MEDIA_TYPE).and_then(msml::reserved_talkers).map_or(Said::Nothing, judge),
            SizeSource::Sdp => match content(b"application/sdp").and_then(|body| sdp::weigh(body, self.video)) {
                None => Said::Nothing,
                Some(0) => Said::Disabled,
                Some(units) => Said::Units(units),
            },
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
        return Said::Nothing;
    }
    let number =
        digits.iter().fold(0_i64, |number, digit| number.saturating_mul(10).saturating_add(i64::from(digit - b'0')));
    judge(sign * number)
}

fn judge(number: i64) -> Said {
    match number {
        ..=0 => Said::Nothing,
        _ => Said::Units(u32::try_from(number).unwrap_or(u32::MAX)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_numbers_above_zero_are_sizes() {
        assert_eq!(read(b" 120 "), Said::Units(120));
        assert_eq!(read(b"+7"), Said::Units(7));
        assert_eq!(read(b"1000000000000000000000000"), Said::Units(u32::MAX));
        for unusable in
            [&b"0"[..], b"-1", b"-99999999999999999999999", b"", b"-", b"1.5", b"0x10", b"ten", b"1 2", b"\xff"]
        {
            assert_eq!(read(unusable), Said::Nothing, "{unusable:?}");
        }
    }
}
