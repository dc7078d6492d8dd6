//! Events that are measured on a connection and have parameters (RFC 3660 §2.10): `R/rto(120,st=im)`, `R/pl(10)`.

use super::package::{Entry, Package};
use crate::wire::mgcp::ReturnCode as Code;

/// A measurement that is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Measure {
    /// `rto`: neither RTP nor RTCP for so many seconds, from now on or from the first RTCP packet on.
    Timeout {
        /// Number of seconds.
        seconds: u16,
        /// Whether the time begins with an RTCP packet (`st=ra`) instead of the request (`st=im`).
        after_rtcp: bool,
    },
    /// `pl`: more than so many packets of 100,000 are lost.
    Loss(u32),
}

impl Measure {
    /// Judges the parameters of an event; returns the measurement if the event is a measured one. The error is the
    /// return code.
    pub fn read(package: &Package, entry: &Entry, parameters: Option<&[u8]>) -> Result<Option<Measure>, Code> {
        let text = parameters.unwrap_or_default().trim_ascii();
        match (package.name, entry.name) {
            ("R", "rto") => timeout(text).map(Some).ok_or(Code::EVENT_PARAMETER),
            ("R", "pl") => number(text, 100_000).map(|limit| Some(Measure::Loss(limit))).ok_or(Code::EVENT_PARAMETER),
            // `iu` without a number means three packets.
            ("R", "iu") if text.is_empty() || number(text, 255).is_some() => Ok(None),
            _ if text.is_empty() => Ok(None),
            _ => Err(Code::EVENT_PARAMETER),
        }
    }

    /// The name of its event.
    pub const fn event(&self) -> &'static str {
        match self {
            Measure::Timeout { .. } => "rto",
            Measure::Loss(_) => "pl",
        }
    }

    /// The parameter that the event is reported with.
    pub fn parameter(&self) -> String {
        match self {
            Measure::Timeout { seconds, .. } => seconds.to_string(),
            Measure::Loss(limit) => limit.to_string(),
        }
    }
}

/// Reads `TIMEOUT`, `st=START`, both or neither. The defaults are 60 seconds, and a start at once.
fn timeout(text: &[u8]) -> Option<Measure> {
    let (mut seconds, mut after_rtcp) = (None, None);
    for part in text.split(|byte| *byte == b',').map(<[u8]>::trim_ascii).filter(|_| !text.is_empty()) {
        match part.split_at_checked(b"st=".len()) {
            Some((name, start)) if name.eq_ignore_ascii_case(b"st=") && after_rtcp.is_none() => {
                let is = |word: &[u8]| start.trim_ascii().eq_ignore_ascii_case(word);
                after_rtcp = Some(is(b"ra"));
                if !is(b"ra") && !is(b"im") {
                    return None;
                }
            }
            _ if seconds.is_none() => seconds = Some(number(part, 65_535)? as u16),
            _ => return None,
        }
    }
    Some(Measure::Timeout { seconds: seconds.unwrap_or(60), after_rtcp: after_rtcp.unwrap_or(false) })
}

/// A decimal number from 1 to `most`.
fn number(text: &[u8], most: u32) -> Option<u32> {
    let digits = std::str::from_utf8(text).ok().filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()))?;
    digits.parse().ok().filter(|number| (1..=most).contains(number))
}
