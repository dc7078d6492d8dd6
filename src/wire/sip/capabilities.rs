//! Capabilities of a worker's user agent, in the words of its headers. The dispatcher answers OPTIONS with them, for
//! its workers.

/// The methods that a worker serves, for `Allow`.
pub const ALLOW: &str = "INVITE, ACK, CANCEL, BYE, OPTIONS, INFO, UPDATE, PRACK";
/// The extensions it knows, for `Supported`.
pub const SUPPORTED: &str = "100rel, timer, replaces";
/// The media type of session descriptions, for `Accept`.
pub const ACCEPT: &str = "application/sdp";
/// Encodings of a body, for `Accept-Encoding`.
pub const ACCEPT_ENCODING: &str = "identity";
/// Languages of reason phrases and warnings, for `Accept-Language`.
pub const ACCEPT_LANGUAGE: &str = "en";

/// Whether an option tag is one of [`SUPPORTED`].
pub fn supports(option: &[u8]) -> bool {
    SUPPORTED.split(", ").any(|known| option.eq_ignore_ascii_case(known.as_bytes()))
}
