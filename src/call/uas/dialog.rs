//! A dialog (RFC 3261 §12) as a worker has it: the worker is always the called side of the INVITE that began it.
//!
//! All texts of a dialog lie in one allocation; a standing call is mostly this.

use crate::call::uas::request::Request;
use crate::wire::line::clean;
use crate::wire::push_number;
use crate::wire::sip::{Name, Uri};

/// The state that requests within a dialog are matched and built with.
#[derive(Clone, Debug)]
pub(super) struct Dialog {
    text: Box<[u8]>,
    ends: [u16; FIELDS],
    /// The number of our last request.
    pub(super) local_cseq: u32,
    /// The number of the peer's last request.
    pub(super) remote_cseq: u32,
}

/// The texts, in their order.
#[derive(Clone, Copy)]
enum Field {
    CallId,
    LocalTag,
    RemoteTag,
    /// The To value of the INVITE without our tag: our From.
    Local,
    /// The From value of the INVITE with its tag: our To.
    Remote,
    /// The URI of the peer's Contact.
    Target,
    /// The Record-Route values of the INVITE in their order (RFC 3261 §12.1.1), separated by commas.
    Routes,
}

const FIELDS: usize = 7;

/// The reason for which a request cannot make a dialog.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NoDialog {
    /// It has no Contact, or one that cannot be read.
    Contact,
    /// Its texts are longer than we keep.
    TooLong,
}

impl Dialog {
    /// The dialog that our answer with `local_tag` to `invite` makes.
    pub(super) fn new(invite: &Request<'_>, local_tag: &str, limit: usize) -> Result<Self, NoDialog> {
        let contact = invite.msg.contact().ok_or(NoDialog::Contact)?;
        let mut routes = Vec::new();
        for route in invite.msg.headers(Name::RecordRoute) {
            if !routes.is_empty() {
                routes.push(b',');
            }
            routes.extend_from_slice(route);
        }
        let fields: [&[u8]; FIELDS] = [
            invite.call_id,
            local_tag.as_bytes(),
            invite.from_tag,
            invite.msg.header(Name::To).unwrap_or_default(),
            invite.msg.header(Name::From).unwrap_or_default(),
            contact.uri,
            &routes,
        ];
        let (text, ends) = join(fields, limit)?;
        Ok(Dialog { text, ends, local_cseq: 0, remote_cseq: invite.cseq.number })
    }

    /// Whether `request` belongs to this dialog.
    pub(super) fn matches(&self, call_id: &[u8], local_tag: &[u8], remote_tag: &[u8]) -> bool {
        // RFC 3261 §7.3.1: tags are the same in either case; §20.8: a Call-ID is not.
        self.field(Field::LocalTag).eq_ignore_ascii_case(local_tag)
            && self.field(Field::CallId) == call_id
            && self.field(Field::RemoteTag).eq_ignore_ascii_case(remote_tag)
    }

    /// Takes the Contact URI of a target refresh (RFC 3261 §12.2); keeps the old one when the new one is too long.
    pub(super) fn refresh_target(&mut self, target: &[u8], limit: usize) {
        if target == self.field(Field::Target) {
            return;
        }
        let fields = [
            self.field(Field::CallId),
            self.field(Field::LocalTag),
            self.field(Field::RemoteTag),
            self.field(Field::Local),
            self.field(Field::Remote),
            target,
            self.field(Field::Routes),
        ];
        if let Ok((text, ends)) = join(fields, limit) {
            self.text = text;
            self.ends = ends;
        }
    }

    pub(super) fn local_tag(&self) -> &[u8] {
        self.field(Field::LocalTag)
    }

    pub(super) fn call_id(&self) -> &[u8] {
        self.field(Field::CallId)
    }

    /// The URI whose host, port and transport determine the destination of our requests: the first route, else the
    /// target.
    pub(super) fn next_hop(&self) -> Option<Uri<'_>> {
        match first_route(self.field(Field::Routes)) {
            Some((route, _)) => Uri::parse(route),
            None => Uri::parse(self.field(Field::Target)),
        }
    }

    /// Whether a proxy between the far end and us has recorded its route.
    pub(super) fn has_route(&self) -> bool {
        first_route(self.field(Field::Routes)).is_some()
    }

    /// Writes the request line and all headers that the dialog determines, with CSeq `number`. `via` is the Via value.
    /// The caller adds its own headers and the body.
    pub(super) fn write_request(&self, out: &mut Vec<u8>, method: &str, via: &[u8], number: u32) {
        let target = self.field(Field::Target);
        let routes = self.field(Field::Routes);
        let first = first_route(routes);
        // RFC 3261 §12.2.1.1: a first route without `lr` is a strict router: it becomes the request-URI, and the target
        // goes to the end of the Route set.
        let strict = first.filter(|(uri, _)| Uri::parse(uri).is_some_and(|uri| uri.param(b"lr").is_none()));
        let uri = strict.map_or(target, |(uri, _)| uri);
        put(out, &[method.as_bytes(), b" ", uri, b" SIP/2.0\r\nVia: ", via, b"\r\nMax-Forwards: 70\r\n"]);
        match strict {
            Some((_, [])) => put(out, &[b"Route: <", target, b">\r\n"]),
            Some((_, rest)) => put(out, &[b"Route: ", rest, b", <", target, b">\r\n"]),
            None if !routes.is_empty() => put(out, &[b"Route: ", routes, b"\r\n"]),
            None => {}
        }
        put(out, &[b"From: ", self.field(Field::Local), b";tag=", self.local_tag(), b"\r\n"]);
        put(out, &[b"To: ", self.field(Field::Remote), b"\r\nCall-ID: ", self.call_id(), b"\r\nCSeq: "]);
        push_number(out, number);
        put(out, &[b" ", method.as_bytes(), b"\r\n"]);
    }

    fn field(&self, field: Field) -> &[u8] {
        let at = field as usize;
        let begin = if at == 0 { 0 } else { usize::from(self.ends[at - 1]) };
        self.text.get(begin..usize::from(self.ends[at])).unwrap_or_default()
    }
}

fn join(fields: [&[u8]; FIELDS], limit: usize) -> Result<(Box<[u8]>, [u16; FIELDS]), NoDialog> {
    let length: usize = fields.iter().map(|field| field.len()).sum();
    if length > limit.min(usize::from(u16::MAX)) {
        return Err(NoDialog::TooLong);
    }
    let mut text = Vec::with_capacity(length);
    let mut ends = [0; FIELDS];
    for (field, end) in fields.iter().zip(&mut ends) {
        text.extend_from_slice(field);
        *end = text.len() as u16;
    }
    // A folded URI would break the request line that it is written into.
    clean(&mut text);
    Ok((text.into_boxed_slice(), ends))
}

/// The URI of the first route, and the routes after it.
fn first_route(routes: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut quoted = false;
    let mut escaped = false;
    let mut uri = None;
    let mut begin = None;
    for (at, byte) in routes.iter().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' if begin.is_none() => quoted = !quoted,
            _ if quoted => {}
            b'<' if begin.is_none() && uri.is_none() => begin = Some(at + 1),
            b'>' => uri = uri.or(begin.take().and_then(|begin| routes.get(begin..at))),
            b',' if begin.is_none() => return Some((uri?, routes.get(at + 1..)?.trim_ascii())),
            _ => {}
        }
    }
    Some((uri?, b""))
}

/// Appends pieces.
pub(super) fn put(out: &mut Vec<u8>, pieces: &[&[u8]]) {
    pieces.iter().for_each(|piece| out.extend_from_slice(piece));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_route_is_found_behind_quotes_and_in_front_of_commas() {
        let routes = br#""a, <b>" <sip:p1;lr>;x=1, <sip:p2;lr>"#;
        assert_eq!(first_route(routes), Some((&b"sip:p1;lr"[..], &b"<sip:p2;lr>"[..])));
        assert_eq!(first_route(b"<sip:p1,2;lr>"), Some((&b"sip:p1,2;lr"[..], &b""[..])));
        assert_eq!(first_route(b""), None);
    }
}
