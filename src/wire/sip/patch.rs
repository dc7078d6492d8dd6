//! Changes to a message that travels on: pieces of the original bytes around the few new ones.
//!
//! Every function gives the pieces in order; sent one after the other they are the changed message. The new text is the
//! caller's, in a buffer it reuses; line ends in it would start new fields, so build it with [`line::write`],
//! [`uri_param`] or [`via_with_source`].
//!
//! [`line::write`]: crate::wire::line::write

use std::io::Write as _;
use std::net::SocketAddr;

use super::message::{Message, Start};
use super::name::Name;
use super::scan::StartLine;
use super::text::{Members, offset_in, unescape};
use super::uri::{Scheme, Uri};
use super::via::Via;
use crate::wire::line::clean;

/// A message with one text put in, or put in place of another.
pub type Pieces<'a> = [&'a [u8]; 3];

/// Appends `;name=value` to `out`; bytes that may not stand in a URI parameter are escaped.
pub fn uri_param(out: &mut Vec<u8>, name: &str, value: &[u8]) {
    out.push(b';');
    out.extend_from_slice(name.as_bytes());
    out.push(b'=');
    for &byte in value {
        if byte.is_ascii_alphanumeric()
            || matches!(byte, b'-' | b'_' | b'.' | b'!' | b'~' | b'*' | b'\'' | b'(' | b')' | b':' | b'+')
        {
            out.push(byte);
        } else {
            let _ = write!(out, "%{byte:02X}");
        }
    }
}

/// The message with `lines` (each from [`line::write`](crate::wire::line::write)) as its first fields. A Via put there
/// is the topmost.
pub fn with_header<'a>(message: &Message<'a>, lines: &'a [u8]) -> Pieces<'a> {
    let at = message.head.fields_start as usize;
    pieces(message, at, at, lines)
}

/// The request with `param` (from [`uri_param`]) in its request-URI, in place of one of that name if there is one.
/// `None` for responses and for schemes without parameters.
pub fn with_uri_param<'a>(request: &Message<'a>, param: &'a [u8]) -> Option<Pieces<'a>> {
    let uri = request.uri().filter(|uri| !matches!(uri.scheme, Scheme::Other(_)))?;
    let params = uri.params().as_bytes();
    let new_name = name_of(param);
    // Empty parameters count as parameters: the URI ends after them.
    let mut from = uri_start(request)? + end_of_address(&uri);
    let is_same = |old: &[u8]| {
        let (old, new) = (unescape(name_of(old)), unescape(new_name));
        old.map(|byte| byte.to_ascii_lowercase()).eq(new.map(|byte| byte.to_ascii_lowercase()))
    };
    for old in params.split(|&byte| byte == b';').skip(1) {
        if is_same(old) {
            return Some(pieces(request, from, from + 1 + old.len(), param));
        }
        from += 1 + old.len();
    }
    Some(pieces(request, from, from, param))
}

/// The request with `port` (`:5071`) after the host of its request-URI, in place of the port there. `None` for
/// responses and for schemes without a host.
pub fn with_uri_port<'a>(request: &Message<'a>, port: &'a [u8]) -> Option<Pieces<'a>> {
    let uri = request.uri().filter(|uri| matches!(uri.scheme, Scheme::Sip | Scheme::Sips))?;
    let host = uri_start(request)? + offset_in(uri.raw, uri.host.as_bytes())? + uri.host.as_bytes().len();
    Some(pieces(request, host, uri_start(request)? + end_of_address(&uri), port))
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

/// The message with `value` (from [`via_with_source`]) in place of its topmost Via value.
pub fn with_top_via<'a>(message: &Message<'a>, value: &'a [u8]) -> Option<Pieces<'a>> {
    let top = Members::new(message.header(Name::Via)?).next()?;
    let at = offset_in(message.bytes, top)?;
    Some(pieces(message, at, at + top.len(), value))
}

/// The message without its topmost Via value, as a response travels on (RFC 3261 §16.7).
pub fn without_top_via<'a>(message: &Message<'a>) -> Option<Pieces<'a>> {
    let field = message.head.field(Name::Via)?;
    let value = field.value(message.bytes);
    let mut members = Members::new(value);
    members.next()?;
    let (from, to) = match members.next() {
        Some(below) => (field.value as usize, offset_in(message.bytes, below)?),
        None => {
            let behind = message.bytes.get(field.value_end as usize..)?;
            (field.line as usize, field.value_end as usize + end_of_fold(behind)?)
        }
    };
    Some(pieces(message, from, to, &[]))
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

/// Whether [`via_with_source`] would change the topmost Via of a request from `source`.
pub fn via_needs_source(via: &Via<'_>, source: SocketAddr) -> bool {
    let is_same_host = via.host.ip().map(|host| host.to_canonical()) == Some(source.ip().to_canonical());
    !is_same_host || via.params().has(b"rport") || via.params().has(b"received")
}

fn pieces<'a>(message: &Message<'a>, from: usize, to: usize, new: &'a [u8]) -> Pieces<'a> {
    [message.bytes.get(..from).unwrap_or_default(), new, message.bytes.get(to..).unwrap_or_default()]
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

fn name_of(param: &[u8]) -> &[u8] {
    let param = param.strip_prefix(b";").unwrap_or(param);
    param.split(|&byte| byte == b'=').next().unwrap_or_default()
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
