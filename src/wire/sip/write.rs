//! Responses and requests, written into the caller's buffer.
//!
//! Only the buffer allocates, when it grows. No value that passes through here can start a line of its own: line ends
//! inside it, those of folds included, become spaces.

use std::fmt;
use std::io::Write as _;
use std::net::SocketAddr;

use super::edits::complete_via;
use super::message::Message;
use super::name::Name;
use super::text::Members;
use super::via::Via;
use crate::wire::line::clean;
use crate::wire::push_number;

/// Writes a response to a request (RFC 3261 §8.2.6).
#[derive(Debug)]
pub struct ResponseWriter<'o> {
    lines: Lines<'o>,
}

impl<'o> ResponseWriter<'o> {
    /// Starts with the status line and the fields that a response takes from its request: the Via set, From, To,
    /// Call-ID, CSeq.
    ///
    /// With `source`, the topmost Via gets `received` and `rport` (RFC 3261 §18.2.1, RFC 3581 §4). With `to_tag`, To
    /// gets that tag if it has none.
    pub fn new(
        out: &'o mut Vec<u8>,
        request: &Message<'_>,
        status: u16,
        source: Option<SocketAddr>,
        to_tag: Option<&[u8]>,
    ) -> Self {
        Self::saying(out, request, status, reason_phrase(status), source, to_tag)
    }

    /// [`ResponseWriter::new`] with a reason phrase that says more than the status.
    pub fn saying(
        out: &'o mut Vec<u8>,
        request: &Message<'_>,
        status: u16,
        phrase: &str,
        source: Option<SocketAddr>,
        to_tag: Option<&[u8]>,
    ) -> Self {
        let begin = out.len();
        out.extend_from_slice(b"SIP/2.0 ");
        push_number(out, status);
        out.push(b' ');
        out.extend_from_slice(phrase.as_bytes());
        clean(out.get_mut(begin..).unwrap_or_default());
        out.extend_from_slice(b"\r\n");
        let mut writer = ResponseWriter { lines: Lines { out } };
        writer.vias(request, source);
        writer.copy_first(request, Name::From);
        writer.to(request, to_tag);
        writer.copy_first(request, Name::CallId);
        writer.copy_first(request, Name::CSeq);
        // RFC 3261 §8.2.6.1: a 100 repeats it, so that the caller learns the round trip.
        if status == 100
            && let Some(timestamp) = request.header(Name::Timestamp)
        {
            writer.lines.field(b"Timestamp", timestamp);
        }
        writer
    }

    /// Adds the Record-Route set as it came (RFC 3261 §12.1.1): for responses that start a dialog.
    pub fn record_routes(mut self, request: &Message<'_>) -> Self {
        let routes = request.headers(Name::RecordRoute);
        routes.for_each(|value| self.lines.field(b"Record-Route", value));
        self
    }

    /// Adds a field.
    pub fn header(mut self, name: &str, value: impl AsRef<[u8]>) -> Self {
        self.lines.field(name.as_bytes(), value.as_ref());
        self
    }

    /// Adds a field whose value is formatted into place.
    pub fn header_fmt(mut self, name: &str, value: fmt::Arguments<'_>) -> Self {
        self.lines.field_fmt(name.as_bytes(), value);
        self
    }

    /// Ends a response without a body.
    pub fn finish(self) {
        self.lines.finish(None);
    }

    /// Ends a response with a body.
    pub fn finish_with_body(self, content_type: &str, body: &[u8]) {
        self.lines.finish(Some((content_type, body)));
    }

    fn vias(&mut self, request: &Message<'_>, source: Option<SocketAddr>) {
        let mut values = request.headers(Name::Via);
        if let Some(source) = source
            && let Some(first) = values.next()
        {
            self.lines.out.extend_from_slice(b"Via: ");
            let mut members = Members::new(first);
            match members.next().and_then(Via::parse) {
                Some(via) => {
                    complete_via(self.lines.out, &via, source);
                    for below in members.filter(|member| !member.is_empty()) {
                        self.lines.out.extend_from_slice(b", ");
                        self.lines.text(below);
                    }
                }
                None => self.lines.text(first),
            }
            self.lines.out.extend_from_slice(b"\r\n");
        }
        values.for_each(|value| self.lines.field(b"Via", value));
    }

    fn to(&mut self, request: &Message<'_>, tag: Option<&[u8]>) {
        let Some(value) = request.header(Name::To) else { return };
        self.lines.out.extend_from_slice(b"To: ");
        self.lines.text(value);
        if let Some(tag) = tag
            && request.to().is_none_or(|to| to.tag().is_none())
        {
            self.lines.out.extend_from_slice(b";tag=");
            self.lines.text(tag);
        }
        self.lines.out.extend_from_slice(b"\r\n");
    }

    /// Only the first is copied, also when the fault to be answered is that there are two.
    fn copy_first(&mut self, request: &Message<'_>, name: Name) {
        if let Some(value) = request.header(name) {
            self.lines.field(name.as_str().as_bytes(), value);
        }
    }
}

/// Writes a request: the line, then the fields in the order they are given.
#[derive(Debug)]
pub struct RequestWriter<'o> {
    lines: Lines<'o>,
}

impl<'o> RequestWriter<'o> {
    /// Starts with the request line.
    pub fn new(out: &'o mut Vec<u8>, method: &str, uri: &[u8]) -> Self {
        let mut lines = Lines { out };
        lines.text(method.as_bytes());
        lines.out.push(b' ');
        // A space would end the URI as surely as a line end would.
        lines.out.extend(uri.iter().filter(|byte| !byte.is_ascii_whitespace()));
        lines.out.extend_from_slice(b" SIP/2.0\r\n");
        RequestWriter { lines }
    }

    /// Adds a field.
    pub fn header(mut self, name: &str, value: impl AsRef<[u8]>) -> Self {
        self.lines.field(name.as_bytes(), value.as_ref());
        self
    }

    /// Adds a field whose value is formatted into place.
    pub fn header_fmt(mut self, name: &str, value: fmt::Arguments<'_>) -> Self {
        self.lines.field_fmt(name.as_bytes(), value);
        self
    }

    /// Ends a request without a body.
    pub fn finish(self) {
        self.lines.finish(None);
    }

    /// Ends a request with a body.
    pub fn finish_with_body(self, content_type: &str, body: &[u8]) {
        self.lines.finish(Some((content_type, body)));
    }
}

/// Header lines in the making.
#[derive(Debug)]
struct Lines<'o> {
    out: &'o mut Vec<u8>,
}

impl Lines<'_> {
    fn field(&mut self, name: &[u8], value: &[u8]) {
        self.text(name);
        self.out.extend_from_slice(b": ");
        self.text(value);
        self.out.extend_from_slice(b"\r\n");
    }

    fn field_fmt(&mut self, name: &[u8], value: fmt::Arguments<'_>) {
        self.text(name);
        self.out.extend_from_slice(b": ");
        let from = self.out.len();
        // A Vec takes every byte; only a Display that fails itself could cut the value short.
        let _ = self.out.write_fmt(value);
        self.clean(from);
        self.out.extend_from_slice(b"\r\n");
    }

    fn text(&mut self, text: &[u8]) {
        let from = self.out.len();
        self.out.extend_from_slice(text);
        self.clean(from);
    }

    fn clean(&mut self, from: usize) {
        clean(self.out.get_mut(from..).unwrap_or_default());
    }

    fn finish(self, body: Option<(&str, &[u8])>) {
        let (content_type, body) = body.unwrap_or_default();
        let mut lines = self;
        if !body.is_empty() {
            lines.field(b"Content-Type", content_type.as_bytes());
        }
        lines.out.extend_from_slice(b"Content-Length: ");
        push_number(lines.out, body.len());
        lines.out.extend_from_slice(b"\r\n\r\n");
        lines.out.extend_from_slice(body);
    }
}

/// The address for the response to a request that came as a datagram, or to one whose stream has closed (RFC 3261
/// §18.2.2, RFC 3581 §4). It is always the address the request came from, at its source port if the topmost Via asks
/// for that, else at the sent-by port. `maddr` is ignored: only multicast needs it, and a peer could aim responses with
/// it.
pub fn where_to(request: &Message<'_>, source: SocketAddr) -> SocketAddr {
    request.via().map_or(source, |via| via.where_to(source))
}

/// The reason phrase that RFCs give a status; the phrase of its class where they give none.
pub const fn reason_phrase(status: u16) -> &'static str {
    match status {
        100 => "Trying",
        180 => "Ringing",
        181 => "Call Is Being Forwarded",
        182 => "Queued",
        183 => "Session Progress",
        101..=199 => "Progress",
        202 => "Accepted",
        204 => "No Notification",
        200..=299 => "OK",
        300 => "Multiple Choices",
        301 => "Moved Permanently",
        302 => "Moved Temporarily",
        305 => "Use Proxy",
        380 => "Alternative Service",
        303..=399 => "Redirection",
        400 => "Bad Request",
        401 => "Unauthorized",
        402 => "Payment Required",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        406 => "Not Acceptable",
        407 => "Proxy Authentication Required",
        408 => "Request Timeout",
        410 => "Gone",
        412 => "Conditional Request Failed",
        413 => "Request Entity Too Large",
        414 => "Request-URI Too Long",
        415 => "Unsupported Media Type",
        416 => "Unsupported URI Scheme",
        420 => "Bad Extension",
        421 => "Extension Required",
        422 => "Session Interval Too Small",
        423 => "Interval Too Brief",
        430 => "Flow Failed",
        469 => "Bad Info Package",
        480 => "Temporarily Unavailable",
        481 => "Call/Transaction Does Not Exist",
        482 => "Loop Detected",
        483 => "Too Many Hops",
        484 => "Address Incomplete",
        485 => "Ambiguous",
        486 => "Busy Here",
        487 => "Request Terminated",
        488 => "Not Acceptable Here",
        489 => "Bad Event",
        491 => "Request Pending",
        493 => "Undecipherable",
        500 => "Server Internal Error",
        501 => "Not Implemented",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Server Time-out",
        505 => "Version Not Supported",
        513 => "Message Too Large",
        580 => "Precondition Failure",
        506..=599 => "Server Failure",
        600 => "Busy Everywhere",
        603 => "Decline",
        604 => "Does Not Exist Anywhere",
        606 => "Not Acceptable",
        601..=699 => "Global Failure",
        _ => "Request Failure",
    }
}

#[cfg(test)]
mod tests;
