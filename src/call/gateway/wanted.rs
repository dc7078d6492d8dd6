//! LocalConnectionOptions (RFC 3435 §3.2.2.10): the call agent's wishes for a connection.

use std::ops::RangeInclusive;

use crate::media::Codec;
use crate::wire::mgcp::{Gain, LocalOptions, Members, OptionExtension, Reservation, ReturnCode};

/// The options of a connection, as far as they were given.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Wanted {
    /// `a:` the codecs of its list that we have, in order.
    pub(super) codecs: Option<Vec<Codec>>,
    /// `p:` the least and the longest packet time, in milliseconds.
    pub(super) ptime: Option<(u16, u16)>,
    /// All options as they were written, for audits; each name once.
    written: Vec<Written>,
}

/// Packet times that sound can be sent in, in milliseconds.
pub(super) const PACKET_TIMES: (u16, u16) = (10, 200);

/// The name and the value of an option.
type Written = (Box<[u8]>, Box<[u8]>);

impl Wanted {
    /// These options, overridden by those of `value`: options that MDCX does not name stay (RFC 3435 §2.3.6).
    pub(super) fn with(&self, value: Option<&[u8]>) -> Result<Self, ReturnCode> {
        let Some(value) = value else { return Ok(self.clone()) };
        if value.len() > 2 * Wanted::LONGEST {
            return Err(ReturnCode::UNSUPPORTED_OPTIONS);
        }
        let options = LocalOptions::parse(value).map_err(|fault| fault.code())?;
        let mut wanted = self.clone();
        wanted.codecs = options.codecs().map(codecs).transpose()?.or(wanted.codecs);
        wanted.ptime = options.packetization.as_ref().map(packet_times).transpose()?.or(wanted.ptime);
        check_bandwidth(&options)?;
        check_values(&options)?;
        options.extensions().try_for_each(check_extension)?;
        for member in Members::new(value) {
            wanted.note(member);
        }
        let length: usize = wanted.written.iter().map(|(name, value)| name.len() + value.len()).sum();
        if length > Wanted::LONGEST || wanted.written.len() > Wanted::MOST {
            return Err(ReturnCode::UNSUPPORTED_OPTIONS);
        }
        Ok(wanted)
    }

    /// The options as `L:` writes them.
    pub(super) fn text(&self) -> Vec<u8> {
        let pairs: Vec<Vec<u8>> = self.written.iter().map(|(name, value)| [name, &b":"[..], value].concat()).collect();
        pairs.join(&b", "[..])
    }

    /// Keeps an option as it was written, in place of what it was before.
    fn note(&mut self, member: &[u8]) {
        let mut halves = member.splitn(2, |byte| *byte == b':').map(<[u8]>::trim_ascii);
        let (name, value) = (halves.next().unwrap_or_default(), halves.next().unwrap_or_default());
        match self.written.iter_mut().find(|(known, _)| known.eq_ignore_ascii_case(name)) {
            Some((_, known)) => *known = value.into(),
            None => self.written.push((name.into(), value.into())),
        }
    }

    /// Options at most: more than the RFC has, vendors' own included.
    const MOST: usize = 32;
    /// The longest text of all options, in bytes: it is kept as long as the connection is.
    const LONGEST: usize = 1_000;
}

/// The codecs of a list that we have. A list without any of them is a failed negotiation (RFC 3435 §2.6).
fn codecs<'a>(names: impl Iterator<Item = &'a [u8]>) -> Result<Vec<Codec>, ReturnCode> {
    let known = |name: &[u8]| {
        let of_name = |codec: &Codec| codec.name().as_bytes().eq_ignore_ascii_case(name);
        [Codec::Pcmu, Codec::Pcma, Codec::TelephoneEvent].into_iter().find(of_name)
    };
    let mut codecs: Vec<Codec> = Vec::new();
    for codec in names.filter_map(known) {
        if !codecs.contains(&codec) {
            codecs.push(codec);
        }
    }
    if codecs.is_empty() { Err(ReturnCode::CODEC_NEGOTIATION) } else { Ok(codecs) }
}

fn packet_times(times: &RangeInclusive<u32>) -> Result<(u16, u16), ReturnCode> {
    let most = |time: &u32| u16::try_from(*time).unwrap_or(u16::MAX);
    let (first, last) = (most(times.start()), most(times.end()));
    let is_possible = last >= PACKET_TIMES.0 && first <= PACKET_TIMES.1;
    if is_possible { Ok((first, last)) } else { Err(ReturnCode::UNSUPPORTED_PACKETIZATION) }
}

/// G.711 needs 64 kilobits a second.
fn check_bandwidth(options: &LocalOptions<'_>) -> Result<(), ReturnCode> {
    match &options.bandwidth {
        Some(range) if *range.end() < 64 => Err(match options.codecs() {
            Some(_) => ReturnCode::OPTIONS_INCONSISTENT,
            None => ReturnCode::UNSUPPORTED_OPTION_VALUE,
        }),
        _ => Ok(()),
    }
}

/// Checks the values of options. Echo cancellation and silence suppression are accepted and have no effect, because
/// sound is passed on as it comes. The type of service is left to the network.
fn check_values(options: &LocalOptions<'_>) -> Result<(), ReturnCode> {
    // Encryption keys are refused: sound that was to be encrypted must not travel in the clear.
    if options.keys().next().is_some() {
        return Err(ReturnCode::UNSUPPORTED_OPTIONS);
    }
    let gain = options.gain.is_none_or(|gain| gain == Gain::Decibels(0));
    let reservation = options.reservation.is_none_or(|reservation| reservation == Reservation::BestEffort);
    let mut networks = options.networks().peekable();
    let network = networks.peek().is_none() || networks.any(|network| network.eq_ignore_ascii_case(b"IN"));
    if gain && reservation && network { Ok(()) } else { Err(ReturnCode::UNSUPPORTED_OPTION_VALUE) }
}

/// Judges an unknown option: 525 for a vendor's or a package's that must be understood, 541 for one without a prefix.
fn check_extension(option: OptionExtension<'_>) -> Result<(), ReturnCode> {
    let is_mandatory = option.name.get(..2).is_some_and(|start| start.eq_ignore_ascii_case(b"x+"));
    match option.name {
        _ if option.is_optional() => Ok(()),
        name if is_mandatory || name.contains(&b'/') => Err(ReturnCode::UNKNOWN_OPTION_EXTENSION),
        _ => Err(ReturnCode::UNSUPPORTED_OPTIONS),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(value: &str) -> Result<Wanted, ReturnCode> {
        Wanted::default().with(Some(value.as_bytes()))
    }

    #[test]
    fn options_are_read_in_any_case_and_kept_as_written() {
        let wanted = read("P:10-30, A:pcma;G729;PCMU,nt:IN , e:on, x-foo:\"a,b\"").unwrap();
        assert_eq!(wanted.codecs, Some(vec![Codec::Pcma, Codec::Pcmu]));
        assert_eq!(wanted.ptime, Some((10, 30)));
        assert_eq!(wanted.text(), b"P:10-30, A:pcma;G729;PCMU, nt:IN, e:on, x-foo:\"a,b\"");
    }

    #[test]
    fn an_option_that_a_modification_does_not_name_stays() {
        let wanted = read("p:20, a:PCMU").unwrap().with(Some(b"A:PCMA")).unwrap();
        assert_eq!((wanted.ptime, wanted.codecs.as_deref()), (Some((20, 20)), Some(&[Codec::Pcma][..])));
        assert_eq!(wanted.text(), b"p:20, a:PCMA");
        assert_eq!(wanted.with(None), Ok(wanted));
    }

    #[test]
    fn each_fault_of_the_options_has_its_code() {
        for (value, code) in [
            ("p:20, p:30", 524),
            ("p:30-20", 532),
            ("a:PCMU, b:32", 524),
            ("x+foo:1", 525),
            ("fxr/fx:gw", 525),
            ("e:maybe", 532),
            ("gc:auto", 532),
            ("nt:ATM", 532),
            ("r:g", 532),
            ("p:abc", 532),
            ("b:32", 532),
            ("a:G729;G723", 534),
            ("a:", 532),
            ("p:1-5", 535),
            ("p:300", 535),
            ("k:clear:abcdef", 541),
            ("zz:1", 541),
            ("nonsense", 541),
            ("x-foo:\"", 510),
        ] {
            assert_eq!(read(value), Err(ReturnCode(code)), "{value}");
        }
    }
}
