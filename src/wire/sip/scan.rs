//! The scanner: one pass over the header section that notes where each field lies.
//!
//! It reads no more of a message than the choice of a worker needs: the start line, names, ends of values,
//! Content-Length and CSeq. Line ends are CRLF; a bare LF is accepted as one, because senders that use it exist and no
//! field can hold it; a bare CR is a byte like others. Bytes need not be UTF-8. Folds stay in the values and count as
//! white space. Invariant: every offset lies inside the message, in order, and at most [`MAX_FIELDS`] are kept.

use memchr::memmem;

use super::cseq;
use super::fault::{Fault, Unparsable};
use super::head::{Field, Head, NONE, StartLine};
use super::message::Message;
use super::method::Method;
use super::name::Name;
use super::text::{cut, find, is_lws, is_token, is_token_byte, number, offset_in};
use crate::wire::find::places;

/// The most header fields a message may have: ten times what is usual, and no more than one line of it each.
pub const MAX_FIELDS: usize = 96;

/// The largest message, in bytes: the most that a datagram can hold.
pub const MAX_MESSAGE: usize = 65_535;
/// The smallest datagram that is answered. A request with all fields that RFC 3261 §8.1.1 requires is longer than this
/// even in its shortest form. An answer to a shorter one would be useful to an attacker who forges the source.
pub const SMALLEST_ANSWERED: usize = 100;

/// Scratch for one message at a time. Nothing is allocated after [`Scanner::new`].
#[derive(Debug)]
pub struct Scanner {
    head: Head,
}

impl Default for Scanner {
    fn default() -> Self {
        Scanner::new()
    }
}

impl Scanner {
    /// A scanner with room for [`MAX_FIELDS`] fields.
    pub fn new() -> Self {
        Scanner { head: Head { fields: Vec::with_capacity(MAX_FIELDS), ..Head::default() } }
    }

    /// Reads a datagram, or a message that [`framing`](crate::wire::framing) cut out of a stream.
    ///
    /// Empty lines before the start line are skipped (RFC 3261 §7.5); bytes after the stated Content-Length are ignored
    /// (§18.3).
    pub fn scan<'a>(&'a mut self, bytes: &'a [u8]) -> Result<Message<'a>, Unparsable<'a>> {
        let bytes = match start_of_message(bytes) {
            Ok(bytes) => bytes,
            Err(fault) => return Err(Unparsable { fault, message: None, seen: None }),
        };
        let found = self.head.read(bytes);
        let head = &self.head;
        let message = Message { bytes: bytes.get(..head.end as usize).unwrap_or(bytes), head };
        match found {
            Ok(()) => Ok(message),
            Err(fault) => Err(Unparsable {
                fault,
                message: message.is_answerable().then_some(message),
                seen: (fault != Fault::NotSip).then_some(message),
            }),
        }
    }

    /// Reads the head of a message of which `fault` is known already: the end of its body cannot be found.
    pub fn scan_head<'a>(&'a mut self, head: &'a [u8], fault: Fault) -> Unparsable<'a> {
        match self.scan(head) {
            Ok(message) => {
                Unparsable { fault, message: message.is_answerable().then_some(message), seen: Some(message) }
            }
            Err(bad) => Unparsable { fault, ..bad },
        }
    }
}

/// The fields that every answer copies from its request (RFC 3261 §8.2.6.2).
const NEEDED: [Name; 5] = [Name::Via, Name::From, Name::To, Name::CallId, Name::CSeq];
const _: () = assert!(MAX_FIELDS + NEEDED.len() < NONE as usize);
fn start_of_message(bytes: &[u8]) -> Result<&[u8], Fault> {
    match bytes {
        [] => Err(Fault::Empty),
        _ if bytes.len() <= 4 => Err(Fault::Keepalive),
        [b'\r' | b'\n', ..] => {
            let blank = bytes.iter().take_while(|byte| matches!(byte, b'\r' | b'\n')).count();
            bytes.get(blank..).filter(|rest| !rest.is_empty()).ok_or(Fault::Keepalive)
        }
        // RFC 5389 §6: two zero bits, and the magic cookie after type and length.
        [0..0x40, _, _, _, 0x21, 0x12, 0xa4, 0x42, ..] if bytes.len() >= 20 => Err(Fault::Stun),
        _ => Ok(bytes),
    }
    .and_then(|bytes| if bytes.len() > MAX_MESSAGE { Err(Fault::TooLarge) } else { Ok(bytes) })
}

impl Head {
    fn read(&mut self, bytes: &[u8]) -> Result<(), Fault> {
        self.fields.clear();
        self.first.fill(NONE);
        (self.repeated, self.has_others, self.cseq) = (0, false, None);
        self.end = bytes.len() as u32;
        self.body_start = self.end;
        self.fields_start = self.end;

        let line_end = find(bytes, [b'\n']).ok_or(Fault::NotSip)?;
        self.fields_start = (line_end + 1) as u32;
        let line = bytes.get(..line_end).unwrap_or_default();
        let (start, mut fault) = start_line(line.strip_suffix(b"\r").unwrap_or(line))?;
        self.start = start;

        let (found, length) = self.read_fields(bytes);
        fault = fault.or(found);
        let available = self.end - self.body_start;
        match length {
            // Line ends after the empty line are no body: some senders end every message with one more.
            Length::Absent if is_blank(bytes.get(self.body_start as usize..)) => self.end = self.body_start,
            Length::Absent => {}
            Length::Bytes(length) if length <= available => self.end = self.body_start + length,
            _ => fault = fault.or(Some(Fault::ContentLength)),
        }
        match fault.or_else(|| self.fault_of_mandatory(bytes)) {
            Some(fault) => Err(fault),
            None => Ok(()),
        }
    }

    fn read_fields(&mut self, bytes: &[u8]) -> (Option<Fault>, Length) {
        let mut fault = None;
        let mut length = Length::Absent;
        let mut at = self.fields_start as usize;
        loop {
            if let Some((field, end)) = plain_field(bytes, at)
                && self.fields.len() < MAX_FIELDS
            {
                self.take_in(bytes, field, (&mut fault, &mut length));
                at = end + 1;
                continue;
            }
            if let Some(body) = behind_empty_line(bytes, at) {
                self.body_start = body as u32;
                return (fault, length);
            }
            let Some((colon, end)) = ends(bytes, at) else { return (fault.or(Some(Fault::Truncated)), length) };
            if self.fields.len() >= MAX_FIELDS {
                // The rest is passed over, except the fields that every answer needs.
                fault = Some(Fault::TooManyHeaders);
                if let Some(field) = field(bytes, at, colon, end).filter(|field| self.is_missed(field.name)) {
                    let _ = self.keep(field);
                }
                at = end + 1;
                continue;
            }
            match field(bytes, at, colon, end) {
                Some(field) => self.take_in(bytes, field, (&mut fault, &mut length)),
                None => fault = fault.or(Some(Fault::HeaderLine)),
            }
            at = end + 1;
        }
    }

    /// Keeps a field, and takes note of the first fault and of the length of the body.
    #[inline(always)]
    fn take_in(&mut self, bytes: &[u8], field: Field, (fault, length): (&mut Option<Fault>, &mut Length)) {
        if let Err(found) = self.keep(field) {
            *fault = fault.or(Some(found));
        }
        if field.name == Name::ContentLength {
            *length = length.and(bytes.get(field.value as usize..field.value_end as usize));
        }
    }

    #[inline]
    fn keep(&mut self, field: Field) -> Result<(), Fault> {
        let place = self.fields.len() as u8;
        self.fields.push(field);
        if field.name == Name::Other {
            self.has_others = true;
            return Ok(());
        }
        match self.first.get_mut(field.name as usize) {
            Some(first) if *first == NONE => {
                *first = place;
                return Ok(());
            }
            _ => self.repeated |= 1 << field.name as u8,
        }
        match field.name {
            // RFC 4475 §3.3.8: nothing tells which of the two the peer means.
            Name::CallId | Name::To | Name::From | Name::CSeq | Name::MaxForwards => Err(Fault::Repeated),
            _ => Ok(()),
        }
    }

    /// Max-Forwards is not required: RFC 2543 did not know it (RFC 4475 §3.4.1).
    fn fault_of_mandatory(&mut self, bytes: &[u8]) -> Option<Fault> {
        if [Name::Via, Name::From, Name::To, Name::CallId].iter().any(|&name| self.is_absent(name)) {
            return Some(Fault::Missing);
        }
        let Some(field) = self.field(Name::CSeq) else { return Some(Fault::Missing) };
        let value = field.value(bytes);
        if let StartLine::Request { method_end, .. } = self.start {
            let method = bytes.get(..method_end as usize).unwrap_or_default();
            // Nearly all write it so: the digits, a space, the method of the start line.
            let digits = value.strip_suffix(method).and_then(|front| front.strip_suffix(b" "));
            if let Some(number) = digits.and_then(number) {
                self.cseq = Some((number, field.value_end - method_end, field.value_end));
                return None;
            }
        }
        let Some((number, cseq_method)) = cseq::parts(value) else { return Some(Fault::CSeq) };
        self.cseq = offset_in(bytes, cseq_method).map(|at| (number, at as u32, (at + cseq_method.len()) as u32));
        match self.start {
            StartLine::Request { method_end, .. } => {
                let method = bytes.get(..method_end as usize).unwrap_or_default();
                match cseq_method == method {
                    true => None,
                    false if Method::new(method).is_known() => Some(Fault::CSeqMethod),
                    false => Some(Fault::CSeqMethodUnknown),
                }
            }
            _ => None,
        }
    }

    /// Whether an answer needs a field of this name, and there is none yet.
    fn is_missed(&self, name: Name) -> bool {
        NEEDED.contains(&name) && self.place(name).is_none()
    }

    fn is_absent(&self, name: Name) -> bool {
        self.field(name).is_none_or(|field| field.value == field.value_end)
    }
}

fn is_blank(bytes: Option<&[u8]>) -> bool {
    bytes.is_some_and(|bytes| bytes.iter().all(|byte| matches!(byte, b'\r' | b'\n')))
}

/// The body's length by all Content-Length fields together.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Length {
    Absent,
    Bytes(u32),
    /// No number, or two different ones (RFC 4475 §3.3.9).
    Wrong,
}

impl Length {
    fn and(self, value: Option<&[u8]>) -> Length {
        match (self, value.and_then(number)) {
            (Length::Absent, Some(length)) => Length::Bytes(length),
            (Length::Bytes(before), Some(length)) if before == length => self,
            _ => Length::Wrong,
        }
    }
}

/// The field that starts at `at`, and the place of its line feed, if it is written as nearly all are: a known name of
/// up to 15 bytes as the RFCs spell it, a colon, a space, a value without folds. `None`: [`ends`] and [`field`] read
/// it.
#[inline(always)]
fn plain_field(bytes: &[u8], at: usize) -> Option<(Field, usize)> {
    let line = bytes.get(at..)?;
    let block = line.first_chunk()?;
    let (colons, line_feeds) = (places(*block, [b':']), places(*block, [b'\n']));
    let colon = colons.trailing_zeros() as usize;
    let end = match line_feeds.trailing_zeros() as usize {
        32 => block.len() + find(line.get(block.len()..)?, [b'\n'])?,
        end => end,
    };
    // Without a colon in the block it is at 32.
    if colon >= block.len().min(end) {
        return None;
    }
    let name = Name::of_block(*block, colon)?;
    let value = colon + 2;
    let value_end = end.checked_sub(1)?;
    let [_, b' ', first, ..] = line.get(colon..value_end)? else { return None };
    let [last, b'\r', b'\n', next, ..] = line.get(value_end - 1..)? else { return None };
    if is_lws(*first) || is_lws(*last) || matches!(next, b' ' | b'\t') {
        return None;
    }
    let field = Field {
        name,
        line: at as u32,
        name_len: colon as u32,
        value: (at + value) as u32,
        value_end: (at + value_end) as u32,
    };
    Some((field, at + end))
}

/// The place behind the empty line that starts at `at`; `None`: a field starts there, or nothing.
fn behind_empty_line(bytes: &[u8], at: usize) -> Option<usize> {
    match bytes.get(at..)? {
        [b'\n', ..] => Some(at + 1),
        [b'\r', b'\n', ..] => Some(at + 2),
        _ => None,
    }
}

/// The ends of the name and of the value of the field that starts at `at`.
#[inline]
fn ends(bytes: &[u8], at: usize) -> Option<(usize, usize)> {
    let found = at + find(bytes.get(at..)?, [b':', b'\n'])?;
    if bytes.get(found) == Some(&b':') {
        return Some((found, end_of_field(bytes, found + 1)?));
    }
    // The line is a folded name, or no field at all.
    let end = end_of_field(bytes, at)?;
    let colon = find(bytes.get(at..end)?, [b':']).map_or(end, |colon| at + colon);
    Some((colon, end))
}

/// The place of the line feed that ends the field which goes on at `at`, folds included.
fn end_of_field(bytes: &[u8], at: usize) -> Option<usize> {
    let mut from = at;
    loop {
        let end = from + find(bytes.get(from..)?, [b'\n'])?;
        if !matches!(bytes.get(end + 1), Some(b' ' | b'\t')) {
            return Some(end);
        }
        from = end + 1;
    }
}

// Inlined: otherwise the field is passed in memory, and the loads that follow wait for the stores.
#[inline(always)]
fn field(bytes: &[u8], at: usize, colon: usize, end: usize) -> Option<Field> {
    let line = bytes.get(at..end)?;
    let colon = Some(colon - at).filter(|&colon| colon < line.len())?;
    let name = line.get(..colon)?.trim_ascii_end();
    let known = Name::of(name);
    if known == Name::Other && !is_token(name) {
        return None;
    }
    let mut value = colon + 1;
    let mut value_end = line.len();
    while value < value_end && is_lws(*line.get(value)?) {
        value += 1;
    }
    while value < value_end && is_lws(*line.get(value_end - 1)?) {
        value_end -= 1;
    }
    Some(Field {
        name: known,
        line: at as u32,
        name_len: name.len() as u32,
        value: (at + value) as u32,
        value_end: (at + value_end) as u32,
    })
}

/// Reads the start line strictly: one space between its parts (RFC 3261 §7.1, §7.2). A fault that can still be answered
/// comes beside it; bytes that are not SIP end the reading.
fn start_line(line: &[u8]) -> Result<(StartLine, Option<Fault>), Fault> {
    if let Some((_version, rest)) = line.split_at_checked(4).filter(|(front, _)| front.eq_ignore_ascii_case(b"SIP/")) {
        return Ok(status_line(line, rest));
    }
    let (method, rest) = cut(line, find(line, [b' ']));
    if !is_token(method) {
        return Err(Fault::NotSip);
    }
    let (uri, version) = cut(rest.get(1..).unwrap_or_default(), find(rest.get(1..).unwrap_or_default(), [b' ']));
    let version = version.get(1..).unwrap_or_default();
    let start = method.len() + 1;
    let request = |uri: &[u8]| StartLine::Request {
        method_end: method.len() as u32,
        uri: start as u32,
        uri_end: (start + uri.len()) as u32,
    };
    if version == b"SIP/2.0" && !uri.is_empty() {
        return Ok((request(uri), None));
    }
    let names_sip = version.get(..4).is_some_and(|front| front.eq_ignore_ascii_case(b"SIP/"));
    if names_sip && !uri.is_empty() && version.iter().all(|&byte| is_token_byte(byte) || byte == b'/') {
        // RFC 3261 §7.1: the version is compared without regard to case.
        let fault = (!version.eq_ignore_ascii_case(b"SIP/2.0")).then_some(Fault::Version);
        return Ok((request(uri), fault));
    }
    match memmem::find(line, b"SIP/") {
        Some(_) => Ok((request(&[]), Some(Fault::StartLine))),
        None => Err(Fault::NotSip),
    }
}

fn status_line(line: &[u8], rest: &[u8]) -> (StartLine, Option<Fault>) {
    let (version, rest) = cut(rest, find(rest, [b' ']));
    let (status, reason) = cut(rest.get(1..).unwrap_or_default(), find(rest.get(1..).unwrap_or_default(), [b' ']));
    let reason = reason.get(1..).unwrap_or_default();
    let status = number(status).filter(|_| status.len() == 3).unwrap_or_default() as u16;
    let fault = match status {
        _ if version != b"2.0" => Some(Fault::Version),
        // RFC 4475 §3.1.2.19: a status beyond 699 is dropped with its response.
        100..=699 => None,
        _ => Some(Fault::StartLine),
    };
    let reason_start = line.len() - reason.len();
    (StartLine::Response { status, reason: reason_start as u32, reason_end: line.len() as u32 }, fault)
}

#[cfg(test)]
mod tests;
