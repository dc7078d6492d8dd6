//! Local connection options: `L: p:20, a:PCMU;PCMA, e:on` (RFC 3435 §3.2.2.10).

use std::ops::RangeInclusive;

use super::line::{lowered, number, trim};
use super::list::{Members, is_closed};
use super::return_code::ReturnCode;

/// Properties that a call agent asks of a connection.
#[derive(Clone, Debug, Default)]
pub struct LocalOptions<'a> {
    text: &'a [u8],
    /// `p`: packetization period in milliseconds.
    pub packetization: Option<RangeInclusive<u32>>,
    /// `b`: bandwidth in kilobits a second.
    pub bandwidth: Option<RangeInclusive<u32>>,
    /// `e`: echo cancellation.
    pub echo_cancellation: Option<Switch>,
    /// `gc`: gain control.
    pub gain: Option<Gain>,
    /// `s`: silence suppression.
    pub silence_suppression: Option<Switch>,
    /// `t`: the byte of IPv4's type of service, or the traffic class.
    pub type_of_service: Option<u8>,
    /// `r`: resource reservation.
    pub reservation: Option<Reservation>,
    codecs: Option<&'a [u8]>,
    networks: Option<&'a [u8]>,
    keys: Option<&'a [u8]>,
}

/// `on` or `off`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Switch {
    /// `on`
    On,
    /// `off`
    Off,
}

/// Gain control.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Gain {
    /// `auto`
    Auto,
    /// Decibels.
    Decibels(i32),
}

/// Resource reservation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reservation {
    /// `g`
    GuaranteedService,
    /// `cl`
    ControlledLoad,
    /// `be`
    BestEffort,
}

/// An encryption key, written as in SDP (RFC 2327 §6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EncryptionKey<'a> {
    /// `clear:KEY`
    Clear(&'a [u8]),
    /// `base64:KEY`
    Base64(&'a [u8]),
    /// `uri:URI`
    Uri(&'a [u8]),
    /// `prompt`
    Prompt,
}

/// An option that RFC 3435 does not name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OptionExtension<'a> {
    /// Its name: `x-…`, `x+…`, `package/…` or another.
    pub name: &'a [u8],
    /// Its value; empty where it has none.
    pub value: &'a [u8],
}

/// Why options cannot be taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum OptionsFault {
    /// Not a list of `name:value`.
    Syntax,
    /// A value that the option cannot have.
    Value,
    /// The same option twice.
    Repeated,
}

impl OptionsFault {
    /// The return code that says so.
    pub const fn code(self) -> ReturnCode {
        match self {
            OptionsFault::Syntax => ReturnCode::PROTOCOL_ERROR,
            OptionsFault::Value => ReturnCode::UNSUPPORTED_OPTION_VALUE,
            OptionsFault::Repeated => ReturnCode::OPTIONS_INCONSISTENT,
        }
    }
}

impl<'a> LocalOptions<'a> {
    /// Reads options. Extensions are listed by [`extensions`](Self::extensions); the gateway decides which it
    /// understands.
    pub fn parse(value: &'a [u8]) -> Result<Self, OptionsFault> {
        let mut options = LocalOptions { text: value, ..LocalOptions::default() };
        if !is_closed(value) {
            return Err(OptionsFault::Syntax);
        }
        for member in Members::new(value) {
            let (name, value) = name_and_value(member).ok_or(OptionsFault::Syntax)?;
            options.take(name, value)?;
        }
        Ok(options)
    }

    /// The options as written.
    pub const fn as_bytes(&self) -> &'a [u8] {
        self.text
    }

    /// `a`: the codecs wanted, best first, without quotes; `None` where the option is absent.
    pub fn codecs(&self) -> Option<impl Iterator<Item = &'a [u8]> + use<'a>> {
        self.codecs.map(|list| Members::of_option(list).map(unquoted))
    }

    /// `nt`: the types of network wanted (`IN`, `ATM`, `LOCAL`); empty where the option is absent.
    pub fn networks(&self) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        Members::of_option(self.networks.unwrap_or_default())
    }

    /// `k`: the keys; empty where the option is absent.
    pub fn keys(&self) -> impl Iterator<Item = EncryptionKey<'a>> + use<'a> {
        Members::of_option(self.keys.unwrap_or_default()).filter_map(EncryptionKey::parse)
    }

    /// Options that RFC 3435 does not name, in order.
    pub fn extensions(&self) -> impl Iterator<Item = OptionExtension<'a>> + use<'a> {
        Members::new(self.text)
            .filter_map(name_and_value)
            .filter(|(name, _value)| !is_known(name))
            .map(|(name, value)| OptionExtension { name, value })
    }

    fn take(&mut self, name: &[u8], value: &'a [u8]) -> Result<(), OptionsFault> {
        match lowered(name, &mut [0; 8]) {
            b"p" => once(&mut self.packetization, range(value)),
            b"a" => once(&mut self.codecs, list(value, |codec| codec.iter().all(|byte| !byte.is_ascii_control()))),
            b"b" => once(&mut self.bandwidth, range(value)),
            b"e" => once(&mut self.echo_cancellation, Switch::parse(value)),
            b"gc" => once(&mut self.gain, Gain::parse(value)),
            b"s" => once(&mut self.silence_suppression, Switch::parse(value)),
            b"t" => once(&mut self.type_of_service, hex_byte(value)),
            b"r" => once(&mut self.reservation, Reservation::parse(value)),
            b"nt" => once(&mut self.networks, list(value, |_name| true)),
            b"k" => once(&mut self.keys, list(value, |key| EncryptionKey::parse(key).is_some())),
            _ => Ok(()),
        }
    }
}

impl Switch {
    fn parse(value: &[u8]) -> Option<Self> {
        match lowered(value, &mut [0; 8]) {
            b"on" => Some(Switch::On),
            b"off" => Some(Switch::Off),
            _ => None,
        }
    }
}

impl Gain {
    fn parse(value: &[u8]) -> Option<Self> {
        if value.eq_ignore_ascii_case(b"auto") {
            return Some(Gain::Auto);
        }
        let (sign, digits) = match value {
            [b'-', digits @ ..] => (-1, digits),
            digits => (1, digits),
        };
        let decibels = number(digits).filter(|_| digits.len() <= 4)?;
        i32::try_from(decibels).ok().map(|decibels| Gain::Decibels(sign * decibels))
    }
}

impl Reservation {
    fn parse(value: &[u8]) -> Option<Self> {
        match lowered(value, &mut [0; 8]) {
            b"g" => Some(Reservation::GuaranteedService),
            b"cl" => Some(Reservation::ControlledLoad),
            b"be" => Some(Reservation::BestEffort),
            _ => None,
        }
    }
}

impl<'a> EncryptionKey<'a> {
    fn parse(value: &'a [u8]) -> Option<Self> {
        if value.eq_ignore_ascii_case(b"prompt") {
            return Some(EncryptionKey::Prompt);
        }
        let (method, key) = name_and_value(value)?;
        if key.is_empty() {
            return None;
        }
        match lowered(method, &mut [0; 8]) {
            b"clear" => Some(EncryptionKey::Clear(unquoted(key))),
            b"base64" => Some(EncryptionKey::Base64(key)),
            b"uri" => Some(EncryptionKey::Uri(unquoted(key))),
            _ => None,
        }
    }
}

impl OptionExtension<'_> {
    /// Whether an option that is not understood may be passed over: only `x-…` may (§3.2.2.10); for others the answer
    /// is 525.
    pub fn is_optional(&self) -> bool {
        self.name.get(..2).is_some_and(|start| start.eq_ignore_ascii_case(b"x-"))
    }
}

fn is_known(name: &[u8]) -> bool {
    [&b"p"[..], b"a", b"b", b"e", b"gc", b"s", b"t", b"r", b"nt", b"k"]
        .iter()
        .any(|known| name.eq_ignore_ascii_case(known))
}

fn name_and_value(member: &[u8]) -> Option<(&[u8], &[u8])> {
    let at = memchr::memchr(b':', member).unwrap_or(member.len());
    let (name, value) = member.split_at_checked(at)?;
    let name = trim(name);
    let is_name = !name.is_empty() && name.iter().all(u8::is_ascii_graphic);
    is_name.then_some((name, trim(value.get(1..).unwrap_or_default())))
}

fn once<T>(place: &mut Option<T>, value: Option<T>) -> Result<(), OptionsFault> {
    match place.replace(value.ok_or(OptionsFault::Value)?) {
        None => Ok(()),
        Some(_) => Err(OptionsFault::Repeated),
    }
}

/// One number or two: one to four digits each.
fn range(value: &[u8]) -> Option<RangeInclusive<u32>> {
    let mut ends = value.splitn(2, |&byte| byte == b'-').map(|end| number(trim(end)).filter(|&end| end <= 9_999));
    let first = ends.next()??;
    let last = ends.next().unwrap_or(Some(first))?;
    (first <= last).then_some(first..=last)
}

fn list(value: &[u8], is_member: impl Fn(&[u8]) -> bool) -> Option<&[u8]> {
    let mut members = Members::of_option(value).peekable();
    (members.peek().is_some() && members.all(|member| !member.is_empty() && is_member(member))).then_some(value)
}

fn hex_byte(value: &[u8]) -> Option<u8> {
    let digits =
        std::str::from_utf8(value).ok().filter(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit()))?;
    u8::from_str_radix(digits, 16).ok()
}

/// The text between quotes; a value without quotes as it is.
fn unquoted(value: &[u8]) -> &[u8] {
    match value {
        [b'"', inner @ .., b'"'] => inner,
        _ => value,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> LocalOptions<'_> {
        LocalOptions::parse(text.as_bytes()).unwrap()
    }

    #[test]
    fn every_option_of_the_rfc_is_read_in_any_case() {
        // §3.2.2.10.
        let options = read("p:10-20, A:PCMU;G726-32, b:64, E:on, gc:-6, s:OFF, t:A0, r:cl, nt:IN;local, k:clear:abc");
        assert_eq!(options.packetization, Some(10..=20));
        assert_eq!(options.codecs().unwrap().collect::<Vec<_>>(), [&b"PCMU"[..], b"G726-32"]);
        assert_eq!(options.bandwidth, Some(64..=64));
        assert_eq!(options.echo_cancellation, Some(Switch::On));
        assert_eq!(options.gain, Some(Gain::Decibels(-6)));
        assert_eq!(options.silence_suppression, Some(Switch::Off));
        assert_eq!(options.type_of_service, Some(0xa0));
        assert_eq!(options.reservation, Some(Reservation::ControlledLoad));
        assert_eq!(options.networks().collect::<Vec<_>>(), [&b"IN"[..], b"local"]);
        assert_eq!(options.keys().collect::<Vec<_>>(), [EncryptionKey::Clear(b"abc")]);
        assert_eq!(options.extensions().count(), 0);
    }

    #[test]
    fn keys_are_read_as_in_sdp_and_several_of_them() {
        let options = read("k:clear:\"a,b\";base64:YQ==;uri:https://h/k;prompt");
        assert_eq!(
            options.keys().collect::<Vec<_>>(),
            [
                EncryptionKey::Clear(b"a,b"),
                EncryptionKey::Base64(b"YQ=="),
                EncryptionKey::Uri(b"https://h/k"),
                EncryptionKey::Prompt,
            ]
        );
    }

    #[test]
    fn extensions_are_listed_and_only_vendors_optional_ones_may_be_passed_over() {
        let options = read("x-size:3, X+sec:1, a:PCMU, foo/bar:a;b, fmtp:\"PCMU x=1, y=2\", x-plain");
        let found: Vec<_> =
            options.extensions().map(|extension| (extension.name, extension.value, extension.is_optional())).collect();
        assert_eq!(
            found,
            [
                (&b"x-size"[..], &b"3"[..], true),
                (b"X+sec", b"1", false),
                (b"foo/bar", b"a;b", false),
                (b"fmtp", b"\"PCMU x=1, y=2\"", false),
                (b"x-plain", b"", true),
            ]
        );
    }

    #[test]
    fn an_impossible_value_of_an_option_has_its_return_code() {
        for (text, fault) in [
            ("p:10,,a:PCMU", OptionsFault::Syntax),
            (":10", OptionsFault::Syntax),
            ("k:clear:\"a", OptionsFault::Syntax),
            ("p:", OptionsFault::Value),
            ("p:20-10", OptionsFault::Value),
            ("p:10000", OptionsFault::Value),
            ("a:", OptionsFault::Value),
            ("a:PCMU;", OptionsFault::Value),
            ("e:maybe", OptionsFault::Value),
            ("gc:loud", OptionsFault::Value),
            ("t:1A0", OptionsFault::Value),
            ("t:+1", OptionsFault::Value),
            ("r:x", OptionsFault::Value),
            ("k:secret:x", OptionsFault::Value),
            ("k:clear:", OptionsFault::Value),
            ("p:10, P:20", OptionsFault::Repeated),
        ] {
            assert_eq!(LocalOptions::parse(text.as_bytes()).err(), Some(fault), "{text}");
        }
        assert_eq!(OptionsFault::Syntax.code(), ReturnCode(510));
        assert_eq!(OptionsFault::Value.code(), ReturnCode(532));
        assert_eq!(OptionsFault::Repeated.code(), ReturnCode(524));
        assert!(LocalOptions::parse(b"").is_ok());
    }
}
