//! Overload control in the topmost Via of a response (RFC 7339):
//! `;oc=20;oc-algo="loss";oc-validity=500;oc-seq=1282321615.782`.

use std::time::Duration;

use super::digits;
use crate::wire::sip::Via;

/// The parameters by which a request asks for overload control (RFC 7339 §4.1, §4.2).
pub const OVERLOAD_QUERY: &str = ";oc;oc-algo=\"loss\"";

/// A server's wish that fewer requests come to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OverloadControl {
    /// Part of the requests that it does not want, in percent.
    pub percent: u8,
    /// Time for which that holds; 0: no longer.
    pub validity: Duration,
    /// Rises with each change.
    pub seq: u64,
}

/// Time for which it holds where none is written (RFC 7339 §4.3).
const VALIDITY: Duration = Duration::from_millis(500);
/// Longest time for which it holds: a mistake of a server must not last for a day.
const LONGEST: Duration = Duration::from_secs(300);

impl OverloadControl {
    /// Reads the parameters. `None` where the server does not answer the question: it repeats ours, as every server
    /// does that knows nothing of them, or says something that cannot be meant.
    pub fn read(via: &Via<'_>) -> Option<Self> {
        let params = via.params();
        let percent = digits(params.get(b"oc")?).filter(|percent| *percent <= 100)?;
        let algorithm = params.get(b"oc-algo")?;
        let is_loss = [&b"loss"[..], b"\"loss\""].iter().any(|loss| algorithm.eq_ignore_ascii_case(loss));
        let validity = match params.get(b"oc-validity") {
            Some(validity) => Duration::from_millis(digits(validity)?.into()).min(LONGEST),
            None => VALIDITY,
        };
        let seq = sequence(params.get(b"oc-seq")?)?;
        is_loss.then_some(OverloadControl { percent: percent as u8, validity, seq })
    }
}

/// The number that `1*12DIGIT "." 1*5DIGIT` stands for, in units of the last digit.
fn sequence(text: &[u8]) -> Option<u64> {
    let dot = text.iter().position(|byte| *byte == b'.')?;
    let (whole, part) = (text.get(..dot)?, text.get(dot + 1..)?);
    if whole.is_empty() || whole.len() > 12 || part.is_empty() || part.len() > 5 {
        return None;
    }
    let part = part.iter().copied().chain(std::iter::repeat(b'0')).take(5);
    whole
        .iter()
        .copied()
        .chain(part)
        .try_fold(0_u64, |number, byte| byte.is_ascii_digit().then(|| number * 10 + u64::from(byte - b'0')))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(params: &str) -> Option<OverloadControl> {
        let via = format!("SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bK1{params}");
        OverloadControl::read(&Via::parse(via.as_bytes()).unwrap())
    }

    #[test]
    fn a_wish_is_read_as_the_rfc_writes_it() {
        let wish = read(";oc=20;oc-algo=\"loss\";oc-validity=800;oc-seq=1282321615.782").unwrap();
        let seq = 128_232_161_578_200;
        assert_eq!(wish, OverloadControl { percent: 20, validity: Duration::from_millis(800), seq });
        assert_eq!(read(";oc=0;oc-algo=\"loss\";oc-seq=1.5").unwrap().validity, VALIDITY);
        assert!(
            read(";oc=1;oc-algo=loss;oc-seq=1.5").unwrap().seq > read(";oc=1;oc-algo=loss;oc-seq=1.10").unwrap().seq
        );
        assert_eq!(read(";oc=1;oc-algo=loss;oc-validity=4000000000;oc-seq=1.0").unwrap().validity, LONGEST);
    }

    #[test]
    fn our_own_question_that_a_server_repeats_is_no_wish() {
        assert_eq!(read(OVERLOAD_QUERY), None);
        assert_eq!(read(""), None);
    }

    #[test]
    fn values_that_cannot_be_meant_are_no_wish() {
        for oc in ["-1", "101", "1e9", "NaN", "", "\"5\"", "4294967296"] {
            assert_eq!(read(&format!(";oc={oc};oc-algo=\"loss\";oc-seq=1.0")), None, "{oc}");
        }
        for seq in ["", "1", ".", "1.", ".1", "1234567890123.1", "1.123456", "-1.0", "1.x", "x.1"] {
            assert_eq!(read(&format!(";oc=5;oc-algo=\"loss\";oc-seq={seq}")), None, "{seq}");
        }
        assert_eq!(read(";oc=5;oc-algo=\"rate\";oc-seq=1.0"), None);
        assert_eq!(read(";oc=5;oc-seq=1.0"), None);
        assert_eq!(read(";oc=5;oc-algo=\"loss\";oc-validity=x;oc-seq=1.0"), None);
        assert_eq!(read(";oc=5;oc-algo=\"loss\""), None);
    }
}
