//! The search for the session description in a body (RFC 3261 §7.4, RFC 5621).

use crate::wire::multipart::{MAX_DEPTH, MAX_PARTS, Part};
use crate::wire::sip::{Message, Name};

/// The content of a request's body, as far as it matters to us.
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
///
/// A part that says `handling=required` and is not understood makes the whole body unknown. A part without `handling`
/// is passed over beside a session description. RFC 3261 §20.11 would have it understood, but callers put MSCML, ISUP
/// or a location there for other recipients, and want their call to be answered. Without a session description, only
/// parts that say `handling=optional` are passed over.
pub(super) fn session_description<'a>(msg: &Message<'a>) -> Body<'a> {
    let Some(body) = content_of(msg) else { return Body::None };
    match judge(&body, MAX_DEPTH, &mut MAX_PARTS.clone()) {
        Found { lacks_required: true, .. } => Body::Unknown,
        Found { sdp: Some(sdp), .. } => Body::Sdp(sdp),
        Found { lacks_other: true, .. } => Body::Unknown,
        _ => Body::None,
    }
}

/// The body of a message, if it has one. Some senders put line ends after a message without a body.
pub(super) fn content_of<'a>(msg: &Message<'a>) -> Option<Part<'a>> {
    let has_type = msg.header(Name::ContentType).is_some();
    msg.content_part().filter(|body| has_type || !body.content.trim_ascii().is_empty())
}

/// A Content-Type value without its parameters.
pub(super) fn media_type(value: &[u8]) -> &[u8] {
    value.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii()
}

/// The content of a body, its parts included.
#[derive(Clone, Copy, Debug, Default)]
struct Found<'a> {
    sdp: Option<&'a [u8]>,
    /// Whether a part with `handling=required` is not understood.
    lacks_required: bool,
    /// Whether a part without `handling` is not understood.
    lacks_other: bool,
}

impl<'a> Found<'a> {
    const fn not_understood(required: bool) -> Self {
        Found { sdp: None, lacks_required: required, lacks_other: !required }
    }

    const fn and(self, other: Found<'a>) -> Self {
        Found {
            sdp: if self.sdp.is_some() { self.sdp } else { other.sdp },
            lacks_required: self.lacks_required || other.lacks_required,
            lacks_other: self.lacks_other || other.lacks_other,
        }
    }
}

fn judge<'a>(part: &Part<'a>, depth: usize, left: &mut usize) -> Found<'a> {
    let required = part.must_be_understood();
    let found = judge_content(part, required == Some(true), depth, left);
    match required {
        Some(false) => Found { sdp: found.sdp, ..Found::default() },
        _ => found,
    }
}

fn judge_content<'a>(part: &Part<'a>, required: bool, depth: usize, left: &mut usize) -> Found<'a> {
    if part.is_type(b"application/sdp") && part.is_for_the_session() {
        return Found { sdp: Some(part.content), ..Found::default() };
    }
    let Some(mut parts) = part.parts().filter(|_| depth > 0) else { return Found::not_understood(required) };
    let mut all: Option<Found<'a>> = None;
    while *left > 0
        && let Some(part) = parts.next()
    {
        *left -= 1;
        let found = judge(&part, depth - 1, left);
        all = Some(all.map_or(found, |all| all.and(found)));
    }
    match all {
        // RFC 2046 §5.1.4: of alternatives one is enough.
        Some(Found { sdp: Some(sdp), .. }) if part.is_type(b"multipart/alternative") => {
            Found { sdp: Some(sdp), ..Found::default() }
        }
        Some(found) => found,
        None => Found::not_understood(required),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::sip::Scanner;

    /// Outcome for a body of this type and disposition, with these parts.
    fn understood(head: &str, parts: &[(&str, &str)]) -> &'static str {
        let parts: String = parts.iter().map(|(head, body)| format!("--b\r\n{head}\r\n\r\n{body}\r\n")).collect();
        let body = if parts.is_empty() { "v=0".to_owned() } else { format!("{parts}--b--\r\n") };
        let text = format!(
            "INVITE sip:a@b SIP/2.0\r\nVia: SIP/2.0/UDP h;branch=z9hG4bK1\r\nFrom: <sip:c@d>;tag=f\r\nTo: <sip:a@b>\r\n\
             Call-ID: 1\r\nCSeq: 7 INVITE\r\n{head}Content-Length: {}\r\n\r\n{body}",
            body.len()
        );
        match session_description(&Scanner::new().scan(text.as_bytes()).unwrap()) {
            Body::None => "nothing",
            Body::Sdp(b"v=0") => "offer",
            Body::Sdp(_) => "another",
            Body::Unknown => "unknown",
        }
    }

    const MIXED: &str = "Content-Type: multipart/mixed;boundary=b\r\n";
    const SDP: (&str, &str) = ("Content-Type: application/sdp", "v=0");
    const EARLY: (&str, &str) = ("Content-Type: application/sdp\r\nContent-Disposition: early-session", "v=0 early");
    const REQUIRED: (&str, &str) = ("Content-Type: x/isup\r\nContent-Disposition: signal;handling=required", "i");
    const OPTIONAL: (&str, &str) = ("Content-Type: x/isup\r\nContent-Disposition: signal;handling=optional", "i");
    const PLAIN: (&str, &str) = ("Content-Type: application/pidf+xml", "<presence/>");

    #[test]
    fn a_part_that_must_be_understood_and_is_not_makes_the_body_unknown() {
        assert_eq!(understood(MIXED, &[SDP, REQUIRED]), "unknown");
        assert_eq!(understood(MIXED, &[SDP, OPTIONAL]), "offer");
        assert_eq!(understood(MIXED, &[PLAIN, SDP]), "offer");
        let alternative = MIXED.replace("mixed", "alternative");
        assert_eq!(understood(&alternative, &[REQUIRED, SDP]), "offer");
        assert_eq!(understood(&alternative, &[REQUIRED, PLAIN]), "unknown");
        let optional = format!("{MIXED}Content-Disposition: session;handling=optional\r\n");
        assert_eq!(understood(&optional, &[PLAIN, REQUIRED]), "nothing");
    }

    #[test]
    fn a_body_of_parts_without_a_session_description_is_unknown_unless_all_are_optional() {
        assert_eq!(understood(MIXED, &[PLAIN]), "unknown");
        assert_eq!(understood(MIXED, &[PLAIN, OPTIONAL]), "unknown");
        assert_eq!(understood(MIXED, &[OPTIONAL]), "nothing");
        assert_eq!(understood("Content-Type: multipart/mixed\r\n", &[SDP]), "unknown");
    }

    #[test]
    fn an_early_sessions_description_is_no_offer() {
        assert_eq!(understood(MIXED, &[EARLY, SDP]), "offer");
        assert_eq!(
            understood("Content-Type: application/sdp\r\nContent-Disposition: early-session\r\n", &[]),
            "unknown"
        );
        let optional = "Content-Type: application/sdp\r\nContent-Disposition: early-session;handling=optional\r\n";
        assert_eq!(understood(optional, &[]), "nothing");
        assert_eq!(understood("Content-Type: application / sdp\r\n", &[]), "offer");
    }
}
