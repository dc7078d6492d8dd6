//! A scanned message: a view on the sender's bytes, read field by field when asked for.

use std::ops::Range;
use std::time::Duration;

use super::credentials;
use super::cseq::CSeq;
use super::dialog_ref::DialogRef;
use super::head::{Field, Head, StartLine};
use super::method::Method;
use super::name::Name;
use super::name_addr::NameAddr;
use super::text::{Members, delta_seconds, number, offset_in, trim};
use super::uri::Uri;
use super::via::Via;
use crate::wire::multipart::{self, Part};

/// A message as [`Scanner`](super::Scanner) found it.
#[derive(Clone, Copy)]
pub struct Message<'a> {
    pub(super) bytes: &'a [u8],
    pub(super) head: &'a Head,
}

/// The start line of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start<'a> {
    /// A request line.
    Request {
        /// The method.
        method: Method<'a>,
        /// The request-URI as written.
        uri: &'a [u8],
    },
    /// A status line.
    Response {
        /// From 100 to 699.
        status: u16,
        /// The reason phrase; may be empty.
        reason: &'a [u8],
    },
}

/// The fields of a request that nearly every decision about it reads, each read once.
#[derive(Clone, Copy, Debug)]
pub struct Essentials<'a> {
    /// The request-URI.
    pub uri: Option<Uri<'a>>,
    /// The topmost Via.
    pub via: Option<Via<'a>>,
    /// From.
    pub from: Option<NameAddr<'a>>,
    /// To.
    pub to: Option<NameAddr<'a>>,
}

impl<'a> Message<'a> {
    /// Reads the fields that nearly every decision asks for.
    pub fn essentials(&self) -> Essentials<'a> {
        Essentials { uri: self.uri(), via: self.via(), from: self.from(), to: self.to() }
    }

    /// The message from its start line to the end of its body: without empty lines before and bytes after it.
    pub const fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// The body; empty when there is none.
    pub fn body(&self) -> &'a [u8] {
        self.bytes.get(self.head.body_start as usize..).unwrap_or_default()
    }

    /// The start line.
    pub fn start(&self) -> Start<'a> {
        match self.head.start {
            StartLine::Request { method_end, .. } => Start::Request {
                method: Method::new(self.bytes.get(..method_end as usize).unwrap_or_default()),
                uri: self.request_uri(),
            },
            StartLine::Response { status, reason, reason_end } => Start::Response {
                status,
                reason: self.bytes.get(reason as usize..reason_end as usize).unwrap_or_default(),
            },
            StartLine::None => Start::Response { status: 0, reason: &[] },
        }
    }

    /// Whether it is a request.
    pub const fn is_request(&self) -> bool {
        matches!(self.head.start, StartLine::Request { .. })
    }

    /// The method of a request.
    pub fn method(&self) -> Option<Method<'a>> {
        match self.start() {
            Start::Request { method, .. } => Some(method),
            Start::Response { .. } => None,
        }
    }

    /// The request-URI as written; empty in a response.
    pub fn request_uri(&self) -> &'a [u8] {
        match self.head.start {
            StartLine::Request { uri, uri_end, .. } => {
                self.bytes.get(uri as usize..uri_end as usize).unwrap_or_default()
            }
            _ => &[],
        }
    }

    /// The request-URI, read.
    pub fn uri(&self) -> Option<Uri<'a>> {
        Uri::parse(self.request_uri())
    }

    /// The status of a response.
    pub const fn status(&self) -> Option<u16> {
        match self.head.start {
            StartLine::Response { status, .. } => Some(status),
            _ => None,
        }
    }

    /// The value of the first field of that name, without white space around it; it may contain folds.
    pub fn header(&self, name: Name) -> Option<&'a [u8]> {
        self.head.field(name).map(|field| field.value(self.bytes))
    }

    /// The value of every field of that name, in order.
    pub fn headers(&self, name: Name) -> Headers<'a> {
        Headers { bytes: self.bytes, fields: self.head.fields_from(name).iter(), name }
    }

    /// The comma-separated members of every field of that name, in order, without empty ones.
    pub fn values(&self, name: Name) -> Values<'a> {
        Values { headers: self.headers(name), members: None }
    }

    /// The values of every field of that name below the topmost one, which has been read: `top`.
    pub fn values_below(&self, name: Name, top: &[u8]) -> Values<'a> {
        let mut headers = self.headers(name);
        let first = headers.next().unwrap_or_default();
        Values { headers, members: members_behind(first, top) }
    }

    /// The place of a part of the message in its bytes; 0 to 0 for a text that is no part of it.
    pub fn place_of(&self, part: &[u8]) -> Range<u16> {
        // No message is longer than these places reach.
        offset_in(self.bytes, part).map_or(0..0, |at| at as u16..(at + part.len()) as u16)
    }

    /// The value of the first field called `name` (any case), where that is not one of the names in [`Name`].
    pub fn extension(&self, name: &[u8]) -> Option<&'a [u8]> {
        if !self.head.has_others {
            return None;
        }
        let called =
            |field: &&Field| field.name == Name::Other && field.name_text(self.bytes).eq_ignore_ascii_case(name);
        self.head.fields.iter().find(called).map(|field| field.value(self.bytes))
    }

    /// Every field as name and value, in order.
    pub fn fields(&self) -> impl Iterator<Item = (&'a [u8], &'a [u8])> + use<'a> {
        let bytes = self.bytes;
        self.head.fields.iter().map(move |field| (field.name_text(bytes), field.value(bytes)))
    }

    /// The topmost Via.
    pub fn via(&self) -> Option<Via<'a>> {
        Via::parse(Members::new(self.header(Name::Via)?).next()?)
    }

    /// Every Via that can be read, topmost first.
    pub fn vias(&self) -> Vias<'a> {
        Vias(self.values(Name::Via))
    }

    /// From.
    pub fn from(&self) -> Option<NameAddr<'a>> {
        NameAddr::parse(self.header(Name::From)?)
    }

    /// To.
    pub fn to(&self) -> Option<NameAddr<'a>> {
        NameAddr::parse(self.header(Name::To)?)
    }

    /// The first Contact.
    pub fn contact(&self) -> Option<NameAddr<'a>> {
        NameAddr::parse(self.values(Name::Contact).next()?)
    }

    /// Call-ID; empty only in a message that is at fault.
    pub fn call_id(&self) -> &'a [u8] {
        self.header(Name::CallId).unwrap_or_default()
    }

    /// CSeq; `None` only in a message that is at fault.
    pub fn cseq(&self) -> Option<CSeq<'a>> {
        match self.head.cseq {
            Some((number, method, end)) => {
                let method = self.bytes.get(method as usize..end as usize).unwrap_or_default();
                Some(CSeq { number, method: Method::new(method) })
            }
            None => CSeq::parse(self.header(Name::CSeq)?),
        }
    }

    /// Max-Forwards, if it is a number.
    pub fn max_forwards(&self) -> Option<u32> {
        number(self.header(Name::MaxForwards)?)
    }

    /// The time of Retry-After.
    pub fn retry_after(&self) -> Option<Duration> {
        delta_seconds(self.header(Name::RetryAfter)?).map(|seconds| Duration::from_secs(seconds.into()))
    }

    /// The dialog that Replaces names.
    pub fn replaces(&self) -> Option<DialogRef<'a>> {
        DialogRef::parse(self.header(Name::Replaces)?)
    }

    /// The dialog that Join names.
    pub fn join(&self) -> Option<DialogRef<'a>> {
        DialogRef::parse(self.header(Name::Join)?)
    }

    /// The dialog that Target-Dialog names.
    pub fn target_dialog(&self) -> Option<DialogRef<'a>> {
        DialogRef::parse_target(self.header(Name::TargetDialog)?)
    }

    /// The first nonce in Authorization, else in Proxy-Authorization.
    pub fn nonce(&self) -> Option<&'a [u8]> {
        let nonce_in = |name| self.headers(name).find_map(credentials::nonce);
        nonce_in(Name::Authorization).or_else(|| nonce_in(Name::ProxyAuthorization))
    }

    /// The body, or the part of a multipart body, of media type `wanted` (`application/sdp`, in lower case). A body
    /// without Content-Type counts as SDP when it starts like one: RFC 2543 user agents send such.
    pub fn content(&self, wanted: &[u8]) -> Option<&'a [u8]> {
        multipart::find(self.content_part()?, wanted)
    }

    /// The body with its type and disposition; `None` when there is none.
    pub fn content_part(&self) -> Option<Part<'a>> {
        let content = Some(self.body()).filter(|body| !body.is_empty())?;
        let stated = self.header(Name::ContentType);
        let content_type = stated.or_else(|| content.starts_with(b"v=0").then_some(&b"application/sdp"[..]));
        Some(Part { content_type, disposition: self.header(Name::ContentDisposition), content })
    }

    /// Whether a response that tells its fault can be written: it is a request other than ACK with a Via that names a
    /// host, From, To, Call-ID and CSeq. After a fault of [`Message::check`], ask this first.
    pub fn is_answerable(&self) -> bool {
        matches!(self.head.start, StartLine::Request { .. })
            && self.method() != Some(Method::Ack)
            && [Name::From, Name::To, Name::CallId, Name::CSeq]
                .iter()
                .all(|&name| self.header(name).is_some_and(|value| !value.is_empty()))
            && self.via().is_some()
    }
}

/// The members of a field's value behind its first one, which has been read: `first`. `None`: there is no comma.
pub(super) fn members_behind<'a>(value: &'a [u8], first: &[u8]) -> Option<Members<'a>> {
    let behind = value.get(offset_in(value, first)? + first.len()..)?;
    let comma = behind.iter().position(|byte| *byte == b',')?;
    behind.get(comma + 1..).map(Members::new)
}

impl std::fmt::Debug for Message<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let line = self.bytes.get(..self.head.fields_start as usize).unwrap_or_default();
        write!(f, "Message({})", String::from_utf8_lossy(trim(line)))
    }
}

/// Iterates over the values of the fields of one name.
#[derive(Clone, Debug)]
pub struct Headers<'a> {
    bytes: &'a [u8],
    fields: std::slice::Iter<'a, Field>,
    name: Name,
}

impl<'a> Iterator for Headers<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        self.fields.find(|field| field.name == self.name).map(|field| field.value(self.bytes))
    }
}

/// Iterates over the comma-separated members of the fields of one name.
#[derive(Clone, Debug)]
pub struct Values<'a> {
    headers: Headers<'a>,
    members: Option<Members<'a>>,
}

impl<'a> Iterator for Values<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        loop {
            if let Some(member) = self.members.as_mut().and_then(|members| members.find(|member| !member.is_empty())) {
                return Some(member);
            }
            self.members = Some(Members::new(self.headers.next()?));
        }
    }
}

/// Iterates over the Vias of a message.
#[derive(Clone, Debug)]
pub struct Vias<'a>(Values<'a>);

impl<'a> Iterator for Vias<'a> {
    type Item = Via<'a>;

    fn next(&mut self) -> Option<Via<'a>> {
        self.0.find_map(Via::parse)
    }
}
