//! Which part of a body is the session description (RFC 3261 §7.4, RFC 5621).

use crate::wire::sip::{Message, Name};

/// What a request's body holds for us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Body<'a> {
    /// Nothing that concerns the session.
    None,
    /// A session description.
    Sdp(&'a [u8]),
    /// Something that must be understood and is not.
    Unknown,
}

/// Finds the session description of a message: its body, or the first such part of a `multipart` body.
pub(super) fn session_description<'a>(msg: &Message<'a>) -> Body<'a> {
    if msg.body().is_empty() {
        return Body::None;
    }
    if let Some(sdp) = msg.content(b"application/sdp") {
        return Body::Sdp(sdp);
    }
    // Other parts of a multipart body (MSCML and the like) speak to somebody else.
    let multipart = |value| media_type(value).get(..10).is_some_and(|start| start.eq_ignore_ascii_case(b"multipart/"));
    let passed_over = msg.header(Name::ContentDisposition).is_some_and(is_optional)
        || msg.header(Name::ContentType).is_some_and(multipart);
    if passed_over { Body::None } else { Body::Unknown }
}

/// Whether a Content-Type value names this type, whatever its parameters.
pub(super) fn is_type(value: &[u8], wanted: &[u8]) -> bool {
    media_type(value).eq_ignore_ascii_case(wanted)
}

/// A Content-Type value without its parameters.
pub(super) fn media_type(value: &[u8]) -> &[u8] {
    value.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii()
}

/// `handling=optional` (RFC 3261 §20.11).
fn is_optional(disposition: &[u8]) -> bool {
    disposition.split(|byte| *byte == b';').skip(1).any(|param| {
        let mut halves = param.splitn(2, |byte| *byte == b'=').map(|half| half.trim_ascii());
        halves.next().is_some_and(|name| name.eq_ignore_ascii_case(b"handling"))
            && halves.next().is_some_and(|value| value.eq_ignore_ascii_case(b"optional"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disposition_can_make_a_body_optional() {
        assert!(is_optional(b"session; handling = optional"));
        assert!(!is_optional(b"session;handling=required"));
        assert!(!is_optional(b"optional"));
    }
}
