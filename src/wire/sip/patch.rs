//! Changes to a message that travels on.

use std::io::Write as _;
use std::net::SocketAddr;
use std::ops::Range;

use super::head::StartLine;
use super::message::{Message, Start};
use super::text::offset_in;
use super::uri::{Scheme, Uri};
use super::via::Via;
use crate::wire::line::clean;

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
            let behind = message.bytes.get(field.value_end as usize..).unwrap_or_default();
            from = field.value_end as usize + end_of_fold(behind).unwrap_or_default();
        }
    }
    out.extend_from_slice(message.bytes.get(from..).unwrap_or_default());
}

/// Appends a Via value as the receiver of a request completes it: `received` with the source address where it differs
/// from the sent-by or `rport` stands there (RFC 3261 §18.2.1, RFC 3581 §4), `rport` with the source port where it is
/// asked for. Values that the sender wrote there itself are not believed.
pub fn via_with_source(out: &mut Vec<u8>, via: &Via<'_>, source: SocketAddr) {
    let from = out.len();
    let ip = source.ip().to_canonical();
    let asks = via.params().has(b"rport");
    let params = via.params().as_bytes();
    out.extend_from_slice(
        via.raw.get(..via.raw.len().saturating_sub(params.len())).unwrap_or_default().trim_ascii_end(),
    );
    for (name, value) in via.params() {
        if name.is_empty() || name.eq_ignore_ascii_case(b"received") || name.eq_ignore_ascii_case(b"rport") {
            continue;
        }
        out.push(b';');
        out.extend_from_slice(name);
        if let Some(value) = value {
            out.push(b'=');
            out.extend_from_slice(value);
        }
    }
    // Writing to a Vec cannot fail.
    if asks {
        let _ = write!(out, ";rport={}", source.port());
    }
    if asks || via.host.ip().map(|host| host.to_canonical()) != Some(ip) {
        let _ = write!(out, ";received={ip}");
    }
    clean(out.get_mut(from..).unwrap_or_default());
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

/// The length of the rest of a field after its value: white space, empty folds, the line end.
fn end_of_fold(behind: &[u8]) -> Option<usize> {
    let mut at = 0;
    loop {
        at += memchr::memchr(b'\n', behind.get(at..)?)? + 1;
        if !matches!(behind.get(at), Some(b' ' | b'\t')) {
            return Some(at);
        }
    }
}

#[cfg(test)]
mod tests;
