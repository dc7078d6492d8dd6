//! Edits of a message that travels on: texts that take the place of ranges of the bytes that came.
//!
//! Nothing of the message is copied. The lane keeps one [`Edits`] for all its messages: once it has grown to what they
//! need, nothing is allocated for a message either. Lines are neither sorted nor written anew: what no edit names
//! leaves as it came, its folds, compact names and white space included (RFC 3261 §16.6).
//!
//! ```
//! use pointsman::wire::sip::{Edits, Scanner, ViaCompletion};
//!
//! let bytes = b"OPTIONS sip:a@ms.example.net SIP/2.0\r\nv: SIP/2.0/UDP 192.0.2.9:5062;rport;branch=z9hG4bK1\r\n\
//!     Max-Forwards: 70\r\nf: <sip:b@c>;tag=7\r\nt: <sip:a@ms.example.net>\r\ni: a84b\r\nCSeq: 1 OPTIONS\r\n\r\n";
//! let mut scanner = Scanner::new();
//! let message = scanner.scan(bytes).unwrap();
//! let mut edits = Edits::default();
//! edits.put_via(&message, b"SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bK2");
//! let (via, source) = (message.via().unwrap(), "198.51.100.7:4711".parse().unwrap());
//! edits.complete_via(&message, ViaCompletion::of(message.bytes(), &via, source), source);
//! edits.count_hop(&message);
//! let leaves: Vec<&[u8]> = edits.pieces(&message).collect();
//! assert_eq!(
//!     leaves.concat(),
//!     b"OPTIONS sip:a@ms.example.net SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bK2\r\n\
//!     v: SIP/2.0/UDP 192.0.2.9:5062;rport=4711;branch=z9hG4bK1;received=198.51.100.7\r\n\
//!     Max-Forwards: 69\r\nf: <sip:b@c>;tag=7\r\nt: <sip:a@ms.example.net>\r\ni: a84b\r\nCSeq: 1 OPTIONS\r\n\r\n"
//! );
//! ```

use std::net::SocketAddr;
use std::ops::Range;

use super::head::{Field, StartLine};
use super::message::Message;
use super::name::Name;
use super::name_addr::NameAddr;
use super::text::{Members, cut, is_lws, number, offset_in};
use super::uri::{Scheme, Uri};
use super::via::Via;
use crate::wire::line::clean;
use crate::wire::{push_address, push_ip, push_number};

/// Edits of one message, in the order of their places.
#[derive(Debug, Default)]
pub struct Edits {
    edits: Vec<Edit>,
    /// The texts of all edits, in the order in which they were written.
    text: Vec<u8>,
}

/// A range of the message, and the range of the text that stands there instead.
#[derive(Clone, Copy, Debug)]
struct Edit {
    start: u32,
    end: u32,
    text: u32,
    text_end: u32,
}

impl Edits {
    /// Begins with the next message.
    pub fn clear(&mut self) {
        self.edits.clear();
        self.text.clear();
    }

    /// Puts a Via on a line of its own above the others (RFC 3261 §16.6 step 8).
    pub fn put_via(&mut self, request: &Message<'_>, value: &[u8]) {
        let Some(at) = line_of(request, Name::Via) else { return };
        let from = self.text.len();
        [b"Via: ", value, b"\r\n"].iter().for_each(|text| self.text.extend_from_slice(text));
        self.add(at..at, from);
    }

    /// Completes the topmost Via value with its source.
    pub fn complete_via(&mut self, request: &Message<'_>, completion: ViaCompletion, source: SocketAddr) {
        let from = self.text.len();
        match completion {
            ViaCompletion::Complete => {}
            ViaCompletion::Fill { rport, end } => {
                if let Some(at) = rport {
                    push_rport(&mut self.text, source);
                    self.add(at.into()..at.into(), from);
                }
                let from = self.text.len();
                push_received(&mut self.text, source);
                self.add(end.into()..end.into(), from);
            }
            ViaCompletion::Rewrite => {
                let Some(via) = request.via() else { return };
                let Some(at) = offset_in(request.bytes, via.raw) else { return };
                rewrite_via(&mut self.text, &via, source);
                self.add(at..at + via.raw.len(), from);
            }
        }
    }

    /// Lowers Max-Forwards by one; a request without it gets `Max-Forwards: 70` (RFC 3261 §16.6 step 3). A value that
    /// is no number stays as it is.
    pub fn count_hop(&mut self, request: &Message<'_>) {
        let from = self.text.len();
        let Some(field) = request.head.field(Name::MaxForwards) else {
            return self.put_line(request, b"Max-Forwards", b"70");
        };
        if let Some(hops) = number(field.value(request.bytes)) {
            push_number(&mut self.text, hops.saturating_sub(1));
            self.add(field.value as usize..field.value_end as usize, from);
        }
    }

    /// Puts `Record-Route: value` above the other Record-Routes (RFC 3261 §16.6 step 4).
    pub fn put_record_route(&mut self, request: &Message<'_>, value: &[u8]) {
        let Some(at) = line_of(request, Name::RecordRoute) else {
            return self.put_line(request, b"Record-Route", value);
        };
        let from = self.write_line(b"Record-Route", value);
        self.add(at..at, from);
    }

    /// Adds a field among the others.
    pub fn put_line(&mut self, message: &Message<'_>, name: &[u8], value: &[u8]) {
        // Above From, which every message has, and above which proxies look for their fields (RFC 3261 §7.3.1).
        let Some(at) = line_of(message, Name::From) else { return };
        let from = self.write_line(name, value);
        self.add(at..at, from);
    }

    /// States the length of the body where the message does not: on a connection nothing else ends it (RFC 3261 §18.3).
    pub fn state_length(&mut self, message: &Message<'_>) {
        if message.head.field(Name::ContentLength).is_some() {
            return;
        }
        let Some(last) = message.head.fields.last() else { return };
        let (at, from) = (end_of_line(message.bytes, last), self.text.len());
        self.text.extend_from_slice(b"Content-Length: ");
        push_number(&mut self.text, message.body().len());
        self.text.extend_from_slice(b"\r\n");
        self.add(at..at, from);
    }

    /// Adds a field below all others.
    pub fn append_line(&mut self, message: &Message<'_>, name: &[u8], value: &[u8]) {
        let Some(last) = message.head.fields.last() else { return };
        let at = end_of_line(message.bytes, last);
        let from = self.write_line(name, value);
        self.add(at..at, from);
    }

    /// Puts an extension field in the place of all of its name; without any it stands below all other fields.
    pub fn put_extension(&mut self, message: &Message<'_>, name: &[u8], value: &[u8]) {
        let is_it =
            |field: &&Field| field.name == Name::Other && field.name_text(message.bytes).eq_ignore_ascii_case(name);
        let mut is_put = false;
        for field in message.head.fields.iter().filter(is_it) {
            let from = self.text.len();
            if !std::mem::replace(&mut is_put, true) {
                self.write_line(name, value);
            }
            self.add(field.line as usize..end_of_line(message.bytes, field), from);
        }
        if !is_put {
            self.append_line(message, name, value);
        }
    }

    /// Takes the topmost Via value off, which ends there: a response goes on without that of its receiver (RFC 3261
    /// §16.7 step 3).
    pub fn take_via(&mut self, response: &Message<'_>, end: usize) {
        self.take_through(response, Name::Via, end);
    }

    /// Takes the topmost Route values off (RFC 3261 §16.4): those that name the receiver of the request. `end`: where
    /// the last of them ends.
    pub fn take_routes(&mut self, request: &Message<'_>, end: usize) {
        self.take_through(request, Name::Route, end);
    }

    /// Takes off the values of the fields of one name that stand above `end`, where one of them ends, with their
    /// commas. Fields that hold no other go whole.
    fn take_through(&mut self, message: &Message<'_>, name: Name, end: usize) {
        let bytes = message.bytes;
        for field in message.head.fields_from(name).iter().filter(|field| field.name == name) {
            let (value, value_end) = (field.value as usize, field.value_end as usize);
            if value >= end {
                return;
            }
            let behind = bytes.get(end.min(value_end)..value_end).unwrap_or_default();
            match behind.iter().position(|byte| !is_lws(*byte) && *byte != b',') {
                Some(separators) => self.add(value..end + separators, self.text.len()),
                None => self.add(field.line as usize..end_of_line(bytes, field), self.text.len()),
            }
        }
    }

    /// Replaces host and port of the request-URI. A URI without a host, such as `tel:`, stays as it is.
    pub fn replace_uri_host(&mut self, request: &Message<'_>, address: SocketAddr) {
        let Some(place) = uri_place(request) else { return };
        let from = self.text.len();
        push_address(&mut self.text, canonical(address));
        self.add(place, from);
    }

    /// Replaces the whole request-URI.
    pub fn replace_uri(&mut self, request: &Message<'_>, uri: &[u8]) {
        let StartLine::Request { uri: start, uri_end, .. } = request.head.start else { return };
        let from = self.text.len();
        // A space would end the URI as surely as a line end would.
        self.text.extend(uri.iter().filter(|byte| !byte.is_ascii_whitespace()));
        self.add(start as usize..uri_end as usize, from);
    }

    /// Undoes the work of a strict router in front of us: the last Route value becomes the request-URI again (RFC 3261
    /// §16.4). `ours`: the topmost values that name the receiver, which go as [`Edits::take_routes`] takes them.
    pub fn restore_uri(&mut self, request: &Message<'_>, ours: usize) {
        let Some((place, last)) = request.values(Name::Route).enumerate().last() else { return };
        let Some(last) = NameAddr::parse(last) else { return };
        self.replace_uri(request, last.uri);
        self.take_values(request, Name::Route, place + 1, |number| number < ours || number == place);
    }

    /// Writes the request as a strict router after us wants it (RFC 3261 §16.6 step 6): the request-URI goes below the
    /// other Route values, and the one above them takes its place. `ours`: the topmost values that name the receiver,
    /// which go as [`Edits::take_routes`] takes them.
    pub fn give_strict(&mut self, request: &Message<'_>, ours: usize) {
        let Some(next) = request.values(Name::Route).nth(ours).and_then(NameAddr::parse) else { return };
        self.take_values(request, Name::Route, ours + 1, |_| true);
        let Some(last) = request.head.fields_from(Name::Route).iter().rfind(|field| field.name == Name::Route) else {
            return;
        };
        let at = end_of_line(request.bytes, last);
        let from = self.text.len();
        [b"Route: <", request.request_uri(), b">\r\n"].iter().for_each(|text| self.text.extend_from_slice(text));
        self.add(at..at, from);
        self.replace_uri(request, next.uri);
    }

    /// The changed message: sent in this order, the pieces are it.
    pub fn pieces<'e>(&'e self, message: &Message<'e>) -> Pieces<'e> {
        Pieces { bytes: message.bytes, edits: self.edits.iter(), text: &self.text, at: 0, next: None }
    }

    /// The length of the changed message.
    pub fn len(&self, message: &Message<'_>) -> usize {
        self.pieces(message).map(<[u8]>::len).sum()
    }

    /// Takes values of the comma-separated fields of one name off, with their commas: those of the first `count` that
    /// are `taken`. Fields that hold no other go whole.
    fn take_values(&mut self, message: &Message<'_>, name: Name, count: usize, taken: impl Fn(usize) -> bool) {
        let bytes = message.bytes;
        let mut number = 0;
        for field in message.head.fields_from(name).iter().filter(|field| field.name == name) {
            if number >= count {
                return;
            }
            let (mut kept_end, mut run) = (None, None);
            for member in Members::new(field.value(bytes)).filter(|member| !member.is_empty()) {
                let Some(at) = offset_in(bytes, member) else { continue };
                let end = at + member.len();
                match (number < count && taken(number), run.take()) {
                    (true, None) => run = Some(at..end),
                    (true, Some(Range { start, .. })) => run = Some(start..end),
                    (false, before) => {
                        if let Some(Range { start, .. }) = before {
                            self.add(start..at, self.text.len());
                        }
                        kept_end = Some(end);
                    }
                }
                number += 1;
            }
            match (run, kept_end) {
                (Some(Range { end, .. }), Some(kept_end)) => self.add(kept_end..end, self.text.len()),
                (Some(_), None) => self.add(field.line as usize..end_of_line(bytes, field), self.text.len()),
                (None, _) => {}
            }
        }
    }

    fn write_line(&mut self, name: &[u8], value: &[u8]) -> usize {
        let from = self.text.len();
        [name, b": ", value].iter().for_each(|text| self.text.extend_from_slice(text));
        clean(self.text.get_mut(from..).unwrap_or_default());
        self.text.extend_from_slice(b"\r\n");
        from
    }

    /// Puts the text that has been written since `from` in the place of a range. Texts for one place stand in the order
    /// in which they were added.
    fn add(&mut self, place: Range<usize>, from: usize) {
        let (start, end) = (place.start as u32, place.end as u32);
        let edit = Edit { start, end, text: from as u32, text_end: self.text.len() as u32 };
        // What is put somewhere stands above what is taken away there.
        let is_above = |other: &Edit| (other.start, other.end) <= (start, end);
        let index = self.edits.iter().rposition(is_above).map_or(0, |last| last + 1);
        let after = self.edits.get(index).map_or(u32::MAX, |other| other.start);
        let before = index.checked_sub(1).and_then(|index| self.edits.get(index)).map_or(0, |other| other.end);
        let is_apart = before <= start && end <= after;
        debug_assert!(is_apart, "two edits of one place: {edit:?} among {:?}", self.edits);
        if is_apart {
            self.edits.insert(index, edit);
        }
    }
}

/// The pieces of a changed message, none of them empty.
#[derive(Clone, Debug)]
pub struct Pieces<'e> {
    bytes: &'e [u8],
    edits: std::slice::Iter<'e, Edit>,
    text: &'e [u8],
    at: usize,
    /// The text after the piece that was given last.
    next: Option<&'e [u8]>,
}

impl<'e> Iterator for Pieces<'e> {
    type Item = &'e [u8];

    fn next(&mut self) -> Option<&'e [u8]> {
        loop {
            if let Some(text) = self.next.take().filter(|text| !text.is_empty()) {
                return Some(text);
            }
            let (piece, end) = match self.edits.next() {
                Some(edit) => {
                    self.next = self.text.get(edit.text as usize..edit.text_end as usize);
                    (self.bytes.get(self.at..edit.start as usize), edit.end as usize)
                }
                None if self.at < self.bytes.len() => (self.bytes.get(self.at..), self.bytes.len()),
                None => return None,
            };
            self.at = end;
            if let Some(piece) = piece.filter(|piece| !piece.is_empty()) {
                return Some(piece);
            }
        }
    }
}

/// The way in which the receiver of a request completes its topmost Via: `received` with the source address where it
/// differs from the sent-by or `rport` stands there (RFC 3261 §18.2.1, RFC 3581 §4), `rport` with the source port where
/// it is asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ViaCompletion {
    /// It says where it came from.
    #[default]
    Complete,
    /// The source is filled in.
    Fill {
        /// The end of the name `rport`, where the port goes.
        rport: Option<u16>,
        /// The end of the value, where `received` goes.
        end: u16,
    },
    /// The sender has claimed a source itself, and is not believed; or its parameters are malformed.
    Rewrite,
}

impl ViaCompletion {
    /// The completion of a Via that is a part of `bytes`, with places in them.
    pub fn of(bytes: &[u8], via: &Via<'_>, source: SocketAddr) -> Self {
        if via.claims_source() || !via.has_good_params() {
            return ViaCompletion::Rewrite;
        }
        let rport = via.asked_rport();
        if rport.is_none() && is_sent_by(via, source) {
            return ViaCompletion::Complete;
        }
        // No message is longer than these places reach.
        let place = |text: &[u8], len| u16::try_from(offset_in(bytes, text)? + len).ok();
        let end = place(via.raw, via.raw.len());
        let rport = rport.and_then(|rport| place(rport, 0));
        end.map_or(ViaCompletion::Complete, |end| ViaCompletion::Fill { rport, end })
    }
}

/// Appends a Via value as the receiver of a request completes it: see [`ViaCompletion`].
pub(super) fn complete_via(out: &mut Vec<u8>, via: &Via<'_>, source: SocketAddr) {
    let from = out.len();
    match ViaCompletion::of(via.raw, via, source) {
        ViaCompletion::Complete => out.extend_from_slice(via.raw),
        ViaCompletion::Fill { rport, .. } => {
            let (front, end) = cut(via.raw, rport.map(usize::from));
            out.extend_from_slice(front);
            if rport.is_some() {
                push_rport(out, source);
            }
            out.extend_from_slice(end);
            push_received(out, source);
        }
        ViaCompletion::Rewrite => return rewrite_via(out, via, source),
    }
    clean(out.get_mut(from..).unwrap_or_default());
}

/// Appends a completed Via value without what its sender wrote of its source.
fn rewrite_via(out: &mut Vec<u8>, via: &Via<'_>, source: SocketAddr) {
    let from = out.len();
    let params = via.params().as_bytes();
    out.extend_from_slice(
        via.raw.get(..via.raw.len().saturating_sub(params.len())).unwrap_or_default().trim_ascii_end(),
    );
    for (name, value) in via.params() {
        let is_of_source = name.eq_ignore_ascii_case(b"rport") || name.eq_ignore_ascii_case(b"received");
        if name.is_empty() || is_of_source {
            continue;
        }
        out.push(b';');
        out.extend_from_slice(name);
        if let Some(value) = value {
            out.push(b'=');
            out.extend_from_slice(value);
        }
    }
    let asks = via.asked_rport().is_some();
    if asks {
        out.extend_from_slice(b";rport");
        push_rport(out, source);
    }
    if asks || !is_sent_by(via, source) {
        push_received(out, source);
    }
    clean(out.get_mut(from..).unwrap_or_default());
}

/// Whether the sent-by of a Via is the address that its request came from.
fn is_sent_by(via: &Via<'_>, source: SocketAddr) -> bool {
    via.host.ip().is_some_and(|host| host.to_canonical() == source.ip().to_canonical())
}

/// Appends the value of `rport`.
fn push_rport(out: &mut Vec<u8>, source: SocketAddr) {
    out.push(b'=');
    push_number(out, source.port());
}

/// Appends `received`, without brackets around IPv6 (RFC 5118 §4.5).
fn push_received(out: &mut Vec<u8>, source: SocketAddr) {
    out.extend_from_slice(b";received=");
    push_ip(out, source.ip().to_canonical());
}

/// Appends `<sip:user@host:port;params>`: where a caller finds what it has asked for at another address (RFC 3261
/// §8.3). The parameters that would lead it elsewhere are left out: `maddr`, `ttl`, and `transport`, since the address
/// is that of a UDP socket. A number becomes a user part (§19.1.6).
pub fn write_contact(out: &mut Vec<u8>, uri: &Uri<'_>, address: SocketAddr) {
    let from = out.len();
    out.extend_from_slice(if uri.scheme == Scheme::Sips { b"<sips:" } else { b"<sip:" });
    let is_number = uri.scheme == Scheme::Tel;
    if let Some(user) = uri.user {
        out.extend_from_slice(user);
        if is_number {
            out.extend_from_slice(uri.params().as_bytes());
        }
        if let Some(password) = uri.password {
            out.push(b':');
            out.extend_from_slice(password);
        }
        out.push(b'@');
    }
    push_address(out, canonical(address));
    if is_number {
        out.extend_from_slice(b";user=phone");
    } else {
        for (name, value) in uri.params() {
            let leads_elsewhere = [&b"maddr"[..], b"ttl", b"transport"].iter().any(|it| name.eq_ignore_ascii_case(it));
            if name.is_empty() || leads_elsewhere {
                continue;
            }
            out.push(b';');
            out.extend_from_slice(name);
            if let Some(value) = value {
                out.push(b'=');
                out.extend_from_slice(value);
            }
        }
    }
    // Nothing of a peer's URI can end the brackets or the line.
    let text = out.get_mut(from + 1..).unwrap_or_default();
    text.iter_mut().filter(|byte| matches!(byte, 0..=b' ' | b'<' | b'>' | b'"' | 0x7f)).for_each(|byte| *byte = b'_');
    out.push(b'>');
}

/// The address as one of IPv4 where it is that of an IPv4 peer of a socket for both families.
fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

/// The place of host and port of the request-URI.
fn uri_place(request: &Message<'_>) -> Option<Range<usize>> {
    let uri = request.uri().filter(|uri| matches!(uri.scheme, Scheme::Sip | Scheme::Sips))?;
    let start = offset_in(request.bytes, uri.host.as_bytes())?;
    let behind = uri.params().as_bytes().len() + uri.headers.map_or(0, |headers| headers.len() + 1);
    let end = offset_in(request.bytes, uri.raw)? + uri.raw.len().checked_sub(behind)?;
    (start <= end).then_some(start..end)
}

/// The start of the line of the first field of that name.
fn line_of(message: &Message<'_>, name: Name) -> Option<usize> {
    message.head.field(name).map(|field| field.line as usize)
}

/// The end of a field's line, folds and line end included.
pub(super) fn end_of_line(bytes: &[u8], field: &Field) -> usize {
    let mut at = field.value_end as usize;
    while let Some(end) = bytes.get(at..).and_then(|behind| memchr::memchr(b'\n', behind)) {
        at += end + 1;
        if !matches!(bytes.get(at), Some(b' ' | b'\t')) {
            return at;
        }
    }
    bytes.len()
}

#[cfg(test)]
mod tests;
