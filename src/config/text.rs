//! Values that are written as text with a unit or a form of their own: durations, byte counts, port ranges, secrets.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use crate::ids::TokenKey;

/// Reads a type from configuration files by its `FromStr`.
macro_rules! written_as_text {
    ($name:ty, $what:literal) => {
        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                struct Text;
                impl serde::de::Visitor<'_> for Text {
                    type Value = $name;

                    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                        f.write_str($what)
                    }

                    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<$name, E> {
                        text.parse().map_err(E::custom)
                    }

                    fn visit_i64<E: serde::de::Error>(self, number: i64) -> Result<$name, E> {
                        number.to_string().parse().map_err(E::custom)
                    }
                }
                deserializer.deserialize_any(Text)
            }
        }
    };
}
pub(super) use written_as_text;

/// A duration: a whole number with a unit (`500ms`, `3s`, `5m`, `1h`), or `never`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd)]
pub enum Span {
    /// This long.
    Of(Duration),
    /// Without end.
    Never,
}

impl Span {
    /// The duration; `None`: without end.
    pub const fn duration(self) -> Option<Duration> {
        match self {
            Span::Of(duration) => Some(duration),
            Span::Never => None,
        }
    }
}

impl From<Duration> for Span {
    fn from(duration: Duration) -> Self {
        Span::Of(duration)
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Span::Of(duration) = self else { return f.write_str("never") };
        let millis = duration.as_millis();
        let units: [(u128, &str); 3] = [(3_600_000, "h"), (60_000, "m"), (1000, "s")];
        match units.iter().find(|(unit, _)| millis > 0 && millis.is_multiple_of(*unit)) {
            Some((unit, name)) => write!(f, "{}{name}", millis / unit),
            None if millis == 0 => f.write_str("0s"),
            None => write!(f, "{millis}ms"),
        }
    }
}

impl FromStr for Span {
    type Err = BadText;

    fn from_str(text: &str) -> Result<Self, BadText> {
        if text == "never" {
            return Ok(Span::Never);
        }
        let bad = || BadText { text: text.to_owned(), want: "a duration with its unit, such as 500ms, 3s, 5m or 1h" };
        let (number, unit) = split_unit(text).ok_or_else(bad)?;
        let millis = match unit {
            "ms" => 1,
            "s" => 1000,
            "m" => 60_000,
            "h" => 3_600_000,
            _ => return Err(bad()),
        };
        // The limit is a year: far beyond any use, and far from overflow in later sums.
        let millis = number.checked_mul(millis).filter(|millis| *millis <= 31_536_000_000).ok_or_else(bad)?;
        Ok(Span::Of(Duration::from_millis(millis)))
    }
}

written_as_text!(Span, "a duration with its unit, such as \"500ms\", \"3s\", \"5m\" or \"1h\"");

/// A number of bytes: `16MiB`, `512KiB`, `1GiB` or plain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd)]
pub struct Bytes(pub u64);

impl Bytes {
    /// The number, for the memory of this process.
    pub const fn count(self) -> usize {
        self.0 as usize
    }
}

const BYTE_UNITS: [(u64, &str); 3] = [(1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match BYTE_UNITS.iter().find(|(unit, _)| self.0 > 0 && self.0.is_multiple_of(*unit)) {
            Some((unit, name)) => write!(f, "{}{name}", self.0 / unit),
            None => write!(f, "{}", self.0),
        }
    }
}

impl FromStr for Bytes {
    type Err = BadText;

    fn from_str(text: &str) -> Result<Self, BadText> {
        let bad = || BadText { text: text.to_owned(), want: "a number of bytes, such as 16MiB, 512KiB or 1GiB" };
        let (number, unit) = split_unit(text).ok_or_else(bad)?;
        let unit = match unit {
            "" => 1,
            _ => BYTE_UNITS.iter().find(|(_, name)| *name == unit).ok_or_else(bad)?.0,
        };
        number.checked_mul(unit).map(Bytes).ok_or_else(bad)
    }
}

written_as_text!(Bytes, "a number of bytes, such as \"16MiB\"");

/// UDP ports from `first` to `last`, both included: `20000-31999`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PortRange {
    /// The first port.
    pub first: u16,
    /// The last port.
    pub last: u16,
}

impl PortRange {
    /// The first even port: RTP runs on even ports, RTCP on the odd one above (RFC 3550 §11).
    pub const fn first_even(self) -> u16 {
        self.first.saturating_add(self.first % 2)
    }

    /// Number of pairs, of an even port and the odd one above it, that the range holds.
    pub fn pairs(self) -> u32 {
        (u32::from(self.last) + 1).saturating_sub(u32::from(self.first_even())) / 2
    }

    /// Whether the range has this port.
    pub const fn contains(self, port: u16) -> bool {
        self.first <= port && port <= self.last
    }

    /// Whether the two have a port in common.
    pub const fn overlaps(self, other: PortRange) -> bool {
        self.first <= other.last && other.first <= self.last
    }
}

/// A number of workers, in words.
pub fn count_of_workers(count: impl Into<u64>) -> String {
    match count.into() {
        1 => "1 worker".to_owned(),
        count => format!("{count} workers"),
    }
}

impl fmt::Display for PortRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.first, self.last)
    }
}

impl FromStr for PortRange {
    type Err = BadText;

    fn from_str(text: &str) -> Result<Self, BadText> {
        let bad = || BadText { text: text.to_owned(), want: "a range of ports FIRST-LAST, such as 20000-31999" };
        let (first, last) = text.split_once('-').ok_or_else(bad)?;
        let port = |digits: &str| digits.trim().parse::<u16>().ok().filter(|port| *port > 0).ok_or_else(bad);
        let (first, last) = (port(first)?, port(last)?);
        if first > last {
            return Err(bad());
        }
        Ok(PortRange { first, last })
    }
}

written_as_text!(PortRange, "a range of ports such as \"20000-31999\"");

/// A secret of 32 bytes, written as 64 hexadecimal digits and never shown again.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret([u8; 32]);

impl Secret {
    /// The key made of this secret.
    pub const fn token_key(&self) -> TokenKey {
        TokenKey::new(self.0)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("…")
    }
}

impl FromStr for Secret {
    type Err = BadText;

    fn from_str(text: &str) -> Result<Self, BadText> {
        // The text is not repeated: an error ends up in logs.
        let bad =
            || BadText { text: "…".to_owned(), want: "64 hexadecimal digits, such as `openssl rand -hex 32` prints" };
        let mut key = [0; 32];
        if text.len() != 64 || !text.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            return Err(bad());
        }
        for (byte, digits) in key.iter_mut().zip(text.as_bytes().chunks(2)) {
            let digits = std::str::from_utf8(digits).map_err(|_| bad())?;
            *byte = u8::from_str_radix(digits, 16).map_err(|_| bad())?;
        }
        Ok(Secret(key))
    }
}

written_as_text!(Secret, "a secret of 64 hexadecimal digits");

/// A text that is not of the form its key asks for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not {want}")]
pub struct BadText {
    text: String,
    want: &'static str,
}

fn split_unit(text: &str) -> Option<(u64, &str)> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    Some((number.parse().ok()?, unit))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_is_a_number_and_a_unit() {
        for (text, millis) in [("500ms", 500), ("3s", 3000), ("5m", 300_000), ("1h", 3_600_000), ("0s", 0)] {
            let span: Span = text.parse().unwrap();
            assert_eq!(span, Span::Of(Duration::from_millis(millis)));
            assert_eq!(span.to_string(), text);
        }
        assert_eq!("never".parse(), Ok(Span::Never));
        for bad in ["", "3", "s", "-3s", "3 s", "3d", "1.5s", "99999999999999999999s", "20000h", "é"] {
            assert!(bad.parse::<Span>().is_err(), "{bad}");
        }
    }

    #[test]
    fn bytes_are_a_number_with_or_without_unit() {
        for (text, bytes) in [("16MiB", 16 << 20), ("512KiB", 512 << 10), ("1GiB", 1 << 30), ("1000", 1000)] {
            let parsed: Bytes = text.parse().unwrap();
            assert_eq!(parsed, Bytes(bytes));
            assert_eq!(parsed.to_string(), text);
        }
        for bad in ["", "MiB", "16MB", "-1", "99999999999999999999", "18446744073709551615GiB"] {
            assert!(bad.parse::<Bytes>().is_err(), "{bad}");
        }
    }

    #[test]
    fn media_ports_come_in_pairs_of_an_even_port_and_the_next() {
        let range = |text: &str| text.parse::<PortRange>().unwrap();
        assert_eq!(range("20000-31999").pairs(), 6000);
        assert_eq!((range("20001-20004").first_even(), range("20001-20004").pairs()), (20002, 1));
        assert_eq!(range("20001-20002").pairs(), 0);
        assert_eq!(range("65535-65535").pairs(), 0);
        for bad in ["", "20000", "20000-", "31999-20000", "0-10", "1-65536", "a-b", "1-2-3"] {
            assert!(bad.parse::<PortRange>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_secret_is_never_shown() {
        let secret: Secret = "ab".repeat(32).parse().unwrap();
        assert_eq!(secret.token_key(), TokenKey::new([0xab; 32]));
        assert_eq!(format!("{secret} {secret:?}"), "… Secret(…)");
        let error = "hunter2".parse::<Secret>().unwrap_err().to_string();
        assert!(!error.contains("hunter2"), "{error}");
    }
}
