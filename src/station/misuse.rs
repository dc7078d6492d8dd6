//! Why an application's request for a call cannot be carried out. Nothing is sent then, and no status or header is
//! replaced by a similar one: the application still has to decide.

use std::ops::RangeInclusive;

use crate::call::offer::{Offer, OfferError};

/// Why a call was not treated as the application asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Misuse {
    /// The call is over or decided on, or an earlier reliable response waits for its PRACK.
    #[error("the call does not wait for that: it is over, decided on, or a PRACK is still to come")]
    NotWaiting,
    /// The status is of another kind.
    #[error("{given} is no status for that; give one from {least} to {most}")]
    Status {
        /// The status that was given.
        given: u16,
        /// The first that fits.
        least: u16,
        /// The last that fits.
        most: u16,
    },
    /// The bytes that were given are no session description.
    #[error(transparent)]
    NotSdp(#[from] OfferError),
    /// It does not answer the offer line by line (RFC 3264 §6).
    #[error("the answer has {answered} media lines where the offer has {offered}")]
    NotTheAnswer {
        /// Lines of the answer.
        answered: usize,
        /// Lines of the offer.
        offered: usize,
    },
    /// Another session description was sent reliably before: that one stands (RFC 3261 §13.2.1).
    #[error("another session description was sent reliably before, and stands")]
    AnotherAnswer,
    /// A header is missing without which the status says nothing.
    #[error("a {status} needs the header {header}")]
    Missing {
        /// The status.
        status: u16,
        /// The header.
        header: &'static str,
    },
    /// A header that is not the application's to write, or cannot be written.
    #[error("`{0}` is no header that can be added")]
    Header(String),
}

/// Final statuses that turn something down.
pub(super) const REFUSALS: RangeInclusive<u16> = 300..=699;
/// Provisional statuses but 100, which is sent by itself.
pub(super) const PROVISIONAL: RangeInclusive<u16> = 101..=199;

/// Headers that the response's own writer writes.
const WRITTEN: [&str; 16] = [
    "via",
    "v",
    "from",
    "f",
    "to",
    "t",
    "call-id",
    "i",
    "cseq",
    "content-length",
    "l",
    "content-type",
    "c",
    "record-route",
    "server",
    "max-forwards",
];

/// Statuses that say nothing without a header: RFC 3261 §21.3 to §21.4, RFC 4028 §6.
const NEEDED: [(u16, &str); 10] = [
    (301, "Contact"),
    (302, "Contact"),
    (305, "Contact"),
    (401, "WWW-Authenticate"),
    (405, "Allow"),
    (407, "Proxy-Authenticate"),
    (420, "Unsupported"),
    (421, "Require"),
    (422, "Min-SE"),
    (423, "Min-Expires"),
];

/// Checks a status.
pub(super) fn check_status(given: u16, range: &RangeInclusive<u16>) -> Result<(), Misuse> {
    let (least, most) = (*range.start(), *range.end());
    if range.contains(&given) { Ok(()) } else { Err(Misuse::Status { given, least, most }) }
}

/// Checks a session description: one that answers `offer`, where that is known.
pub(super) fn check_sdp(sdp: &[u8], offer: Option<&[u8]>) -> Result<(), Misuse> {
    let answered = Offer::parse(sdp)?.line_count();
    match offer.and_then(|offer| Offer::parse(offer).ok()).map(|offer| offer.line_count()) {
        Some(offered) if offered != answered => Err(Misuse::NotTheAnswer { answered, offered }),
        _ => Ok(()),
    }
}

/// Checks the headers of a refusal.
pub(super) fn check_headers(status: u16, headers: &[(&str, &str)]) -> Result<(), Misuse> {
    let refused = |(name, value): &&(&str, &str)| {
        let is_token =
            !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-.!%*_+`'~".contains(&byte));
        let is_ours = WRITTEN.iter().any(|written| name.eq_ignore_ascii_case(written));
        !is_token || is_ours || value.trim().is_empty() || value.chars().any(|c| c.is_control() && c != '\t')
    };
    if let Some((name, _)) = headers.iter().find(refused) {
        return Err(Misuse::Header((*name).to_owned()));
    }
    let has = |wanted: &str| {
        headers.iter().any(|(name, _)| {
            name.eq_ignore_ascii_case(wanted) || (wanted == "Contact" && name.eq_ignore_ascii_case("m"))
        })
    };
    match NEEDED.iter().find(|(needing, header)| *needing == status && !has(header)) {
        Some((_, header)) => Err(Misuse::Missing { status, header }),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_is_not_bent_into_another() {
        assert_eq!(check_status(180, &PROVISIONAL), Ok(()));
        assert_eq!(check_status(200, &PROVISIONAL), Err(Misuse::Status { given: 200, least: 101, most: 199 }));
        assert_eq!(check_status(200, &REFUSALS), Err(Misuse::Status { given: 200, least: 300, most: 699 }));
        assert_eq!(check_status(700, &REFUSALS), Err(Misuse::Status { given: 700, least: 300, most: 699 }));
    }

    #[test]
    fn a_body_that_is_no_session_description_or_answers_another_offer_is_refused() {
        let sdp =
            b"v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\nm=audio 4000 RTP/AVP 0\r\n";
        let two = [&sdp[..], b"m=video 0 RTP/AVP 99\r\n"].concat();
        assert_eq!(check_sdp(sdp, Some(sdp)), Ok(()));
        assert!(matches!(check_sdp(b"garbage", None), Err(Misuse::NotSdp(_))));
        assert!(matches!(check_sdp(b"", None), Err(Misuse::NotSdp(_))));
        assert_eq!(check_sdp(sdp, Some(&two)), Err(Misuse::NotTheAnswer { answered: 1, offered: 2 }));
    }

    #[test]
    fn a_redirect_without_a_contact_and_a_challenge_without_one_are_none() {
        assert_eq!(check_headers(302, &[]), Err(Misuse::Missing { status: 302, header: "Contact" }));
        assert_eq!(check_headers(302, &[("contact", "<sip:other@192.0.2.7>")]), Ok(()));
        assert_eq!(check_headers(401, &[]), Err(Misuse::Missing { status: 401, header: "WWW-Authenticate" }));
        assert_eq!(check_headers(486, &[("X-Why", "busy")]), Ok(()));
        for name in ["Via", "call-id", "L", "two words", ""] {
            assert_eq!(check_headers(486, &[(name, "x")]), Err(Misuse::Header(name.to_owned())));
        }
        assert_eq!(check_headers(486, &[("X", "a\r\nVia: b")]), Err(Misuse::Header("X".to_owned())), "no second line");
    }
}
