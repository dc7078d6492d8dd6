//! Changes to a message that is handed over. One that travels on is changed by [`Edits`](super::Edits).

use std::ops::Range;

use super::edits::end_of_line;
use super::head::StartLine;
use super::message::{Message, Start};
use super::text::offset_in;
use super::uri::{Scheme, Uri};

/// A message with one text put in, or put in place of another: sent in this order the pieces are the changed message.
pub type Pieces<'a> = [&'a [u8]; 3];

/// The request with `port` (`:5071`) after the host of its request-URI, in place of the port there. `None` for
/// responses and for schemes without a host.
pub fn with_uri_port<'a>(request: &Message<'a>, port: &'a [u8]) -> Option<Pieces<'a>> {
    let place = uri_port(request)?;
    Some([request.bytes.get(..place.start)?, port, request.bytes.get(place.end..)?])
}

/// The request-URI before and behind its port: the same for a request and for its [`with_uri_port`].
pub fn around_uri_port<'a>(request: &Message<'a>) -> [&'a [u8]; 2] {
    let uri = request.request_uri();
    let around = || {
        let (place, start) = (uri_port(request)?, uri_start(request)?);
        Some([uri.get(..place.start.checked_sub(start)?)?, uri.get(place.end.checked_sub(start)?..)?])
    };
    around().unwrap_or([uri, b""])
}

/// The place in the message of the request-URI's port, its colon included; empty where there is none.
fn uri_port(request: &Message<'_>) -> Option<Range<usize>> {
    let uri = request.uri().filter(|uri| matches!(uri.scheme, Scheme::Sip | Scheme::Sips))?;
    let host = offset_in(uri.raw, uri.host.as_bytes())? + uri.host.as_bytes().len();
    let start = uri_start(request)?;
    Some(start + host..start + end_of_address(&uri))
}

/// Appends the message to `out`, without its fields of this name.
pub fn without_field(out: &mut Vec<u8>, message: &Message<'_>, name: &str) {
    let mut from = 0;
    for field in &message.head.fields {
        if field.name_text(message.bytes).eq_ignore_ascii_case(name.as_bytes()) {
            out.extend_from_slice(message.bytes.get(from..field.line as usize).unwrap_or_default());
            from = end_of_line(message.bytes, field);
        }
    }
    out.extend_from_slice(message.bytes.get(from..).unwrap_or_default());
}

fn uri_start(request: &Message<'_>) -> Option<usize> {
    match (request.head.start, request.start()) {
        (StartLine::Request { uri, .. }, Start::Request { .. }) => Some(uri as usize),
        _ => None,
    }
}

/// The offset in the URI where its parameters start, or would start.
fn end_of_address(uri: &Uri<'_>) -> usize {
    let behind = uri.params().as_bytes().len() + uri.headers.map_or(0, |headers| headers.len() + 1);
    uri.raw.len().saturating_sub(behind)
}

#[cfg(test)]
mod tests;
