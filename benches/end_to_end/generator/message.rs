//! The generator's SIP: requests from templates of fixed length, replies read for the few fields a caller needs.
//!
//! Every call has a key of 24 hexadecimal digits (run, slot, serial). It is the Call-ID's first part, the From-tag and
//! the branch, so a reply leads to its slot without a look-up table.

use std::net::SocketAddr;

/// The identity of a call: its slot, and its number among the slot's calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key {
    /// The run: tells replies to an earlier run of the same port.
    pub run: u32,
    /// The slot.
    pub slot: u32,
    /// The number of calls that the slot had before.
    pub serial: u32,
}

impl Key {
    /// The length of the text form.
    const LEN: usize = 24;

    /// 24 hexadecimal digits.
    pub fn text(self) -> [u8; Key::LEN] {
        let mut text = [0; Key::LEN];
        for (part, digits) in [self.run, self.slot, self.serial].into_iter().zip(text.chunks_exact_mut(8)) {
            for (place, digit) in digits.iter_mut().rev().enumerate() {
                *digit = b"0123456789abcdef"[(part >> (4 * place)) as usize & 15];
            }
        }
        text
    }

    fn read(text: &[u8]) -> Option<Key> {
        let part = |at: usize| -> Option<u32> {
            let digits = std::str::from_utf8(text.get(at..at + 8)?).ok()?;
            u32::from_str_radix(digits, 16).ok()
        };
        Some(Key { run: part(0)?, slot: part(8)?, serial: part(16)? })
    }
}

/// The form of an INVITE.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    /// The caller's own address.
    pub local: SocketAddr,
    /// The name of the transport in Via.
    pub transport: &'static str,
    /// The address that calls go to.
    pub target: SocketAddr,
    /// The first character of the branch after its cookie: a redirected call is another transaction.
    pub mark: char,
    /// The length of the whole INVITE in bytes; reached by filling the SDP.
    pub bytes: usize,
    /// Whether the Via asks for the reply at the source port (RFC 3581).
    pub rport: bool,
    /// Whether the offered stream is `a=inactive`.
    pub inactive: bool,
    /// Whether there is an `X-Session-Size`.
    pub sized: bool,
}

/// An INVITE whose variable parts all have fixed places.
#[derive(Clone, Debug)]
pub struct InviteTemplate {
    bytes: Vec<u8>,
    keys: Vec<usize>,
    size: Option<usize>,
}

const KEY_MARK: &str = "KKKKKKKKKKKKKKKKKKKKKKKK";
const SIZE_MARK: &str = "    0";

impl InviteTemplate {
    /// A template of that shape.
    pub fn new(shape: &Shape) -> Self {
        let bare = invite_text(shape, 0).len();
        // The length of Content-Length's own digits can move by one when the body grows: asked twice, it is right.
        let mut fill = shape.bytes.saturating_sub(bare);
        fill = (fill + shape.bytes).saturating_sub(invite_text(shape, fill).len());
        let text = invite_text(shape, fill);
        let keys = text.match_indices(KEY_MARK).map(|(at, _)| at).collect();
        let size = text.find(&format!("X-Session-Size:{SIZE_MARK}")).map(|at| at + "X-Session-Size:".len());
        InviteTemplate { bytes: text.into_bytes(), keys, size }
    }

    /// The INVITE of a call; it has to be sent before the next is written.
    pub fn write(&mut self, key: Key, size: u32) -> &[u8] {
        let text = key.text();
        for &at in &self.keys {
            self.bytes[at..at + Key::LEN].copy_from_slice(&text);
        }
        if let Some(at) = self.size {
            let mut rest = size;
            for byte in self.bytes[at..at + SIZE_MARK.len()].iter_mut().rev() {
                *byte = if rest == 0 { b' ' } else { b'0' + (rest % 10) as u8 };
                rest /= 10;
            }
        }
        &self.bytes
    }
}

fn invite_text(shape: &Shape, fill: usize) -> String {
    let Shape { local, target, transport, mark, .. } = shape;
    let parameter = if *transport == "TCP" { ";transport=tcp" } else { "" };
    let ip = local.ip();
    let family = if ip.is_ipv4() { "IP4" } else { "IP6" };
    let direction = if shape.inactive { "inactive" } else { "sendrecv" };
    let mut body = format!(
        "v=0\r\no=- 20518 20518 IN {family} {ip}\r\ns=-\r\nc=IN {family} {ip}\r\nt=0 0\r\n\
         m=audio 40000 RTP/AVP 0 8 101\r\na=rtpmap:0 PCMU/8000\r\na=rtpmap:8 PCMA/8000\r\n\
         a=rtpmap:101 telephone-event/8000\r\na=fmtp:101 0-15\r\na=ptime:20\r\na={direction}\r\n"
    );
    const FILL: &str = "a=x-fill:\r\n";
    if fill >= FILL.len() {
        body.push_str(&format!("a=x-fill:{}\r\n", "x".repeat(fill - FILL.len())));
    }
    let rport = if shape.rport { ";rport" } else { "" };
    let size = if shape.sized { format!("X-Session-Size:{SIZE_MARK}\r\n") } else { String::new() };
    format!(
        "INVITE sip:service@{target} SIP/2.0\r\n\
         Via: SIP/2.0/{transport} {local};branch=z9hG4bK{mark}{KEY_MARK}{rport}\r\n\
         Max-Forwards: 70\r\n\
         From: <sip:caller@{local}>;tag={KEY_MARK}\r\n\
         To: <sip:service@{target}>\r\n\
         Call-ID: {KEY_MARK}@{ip}\r\n\
         CSeq: 1 INVITE\r\n\
         Contact: <sip:caller@{local}{parameter}>\r\n\
         Allow: INVITE, ACK, CANCEL, BYE, OPTIONS\r\n\
         {size}Content-Type: application/sdp\r\n\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

/// The far end as an answer describes it: all that a caller needs for ACK and BYE.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Remote {
    /// The value of To, with its tag.
    pub to: Vec<u8>,
    /// The URI of Contact.
    pub uri: Vec<u8>,
    /// Route header lines, from Record-Route in reverse order (RFC 3261 §12.1.2); empty when there were none.
    pub routes: Vec<u8>,
    /// The address for requests of the dialog: the first route, else Contact.
    pub next_hop: Option<SocketAddr>,
}

impl Remote {
    /// Takes over what `reply` says; keeps the memory.
    pub fn take(&mut self, reply: &Reply<'_>) {
        self.to.clear();
        self.to.extend_from_slice(reply.to);
        self.uri.clear();
        self.uri.extend_from_slice(reply.contact.unwrap_or_default());
        self.routes.clear();
        for route in reply.record_routes.iter().rev().flatten() {
            self.routes.extend_from_slice(b"Route: ");
            self.routes.extend_from_slice(route);
            self.routes.extend_from_slice(b"\r\n");
        }
        let first = reply.record_routes.iter().rev().flatten().next();
        self.next_hop = address_in(first.and_then(|route| uri_in(route)).unwrap_or(&self.uri));
    }
}

/// Writes a request of a dialog: `ACK` with the INVITE's CSeq, `BYE` with the next.
pub fn write_in_dialog(
    out: &mut Vec<u8>,
    method: InDialog,
    key: Key,
    (transport, local): (&str, &str),
    remote: &Remote,
) {
    let text = key.text();
    let (name, mark, cseq): (&[u8], &[u8], &[u8]) = match method {
        InDialog::Ack => (b"ACK", b"a", b"1"),
        InDialog::Bye => (b"BYE", b"b", b"2"),
    };
    let ip = local.rsplit_once(':').map_or(local, |(ip, _)| ip);
    out.clear();
    for part in [
        name,
        b" ",
        &remote.uri,
        b" SIP/2.0\r\nVia: SIP/2.0/",
        transport.as_bytes(),
        b" ",
        local.as_bytes(),
        b";branch=z9hG4bK",
        mark,
        &text,
        b";rport\r\nMax-Forwards: 70\r\n",
        &remote.routes,
        b"From: <sip:caller@",
        local.as_bytes(),
        b">;tag=",
        &text,
        b"\r\nTo: ",
        &remote.to,
        b"\r\nCall-ID: ",
        &text,
        b"@",
        ip.trim_start_matches('[').trim_end_matches(']').as_bytes(),
        b"\r\nCSeq: ",
        cseq,
        b" ",
        name,
        b"\r\nContent-Length: 0\r\n\r\n",
    ] {
        out.extend_from_slice(part);
    }
}

/// The two requests that a caller sends in a dialog.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InDialog {
    /// Acknowledges a 2xx.
    Ack,
    /// Ends the call.
    Bye,
}

/// Writes the ACK of a response other than 2xx: same branch as the INVITE, the response's To (RFC 3261 §17.1.1.3).
pub fn write_hop_ack(out: &mut Vec<u8>, invite: &[u8], to: &[u8]) {
    out.clear();
    out.extend_from_slice(b"ACK");
    for line in head(invite).split_inclusive(|&byte| byte == b'\n') {
        match line.split(|&byte| byte == b':').next().unwrap_or_default() {
            start if start.starts_with(b"INVITE ") => out.extend_from_slice(&line[b"INVITE".len()..]),
            b"Via" | b"Max-Forwards" | b"From" | b"Call-ID" => out.extend_from_slice(line),
            b"To" => {
                out.extend_from_slice(b"To: ");
                out.extend_from_slice(to);
                out.extend_from_slice(b"\r\n");
            }
            _ => {}
        }
    }
    out.extend_from_slice(b"CSeq: 1 ACK\r\nContent-Length: 0\r\n\r\n");
}

/// Writes the response to a request that came to the caller: the fields that RFC 3261 §8.2.6.2 names, copied.
pub fn write_response(out: &mut Vec<u8>, request: &[u8], status: &str) {
    out.clear();
    out.extend_from_slice(b"SIP/2.0 ");
    out.extend_from_slice(status.as_bytes());
    out.extend_from_slice(b"\r\n");
    for line in head(request).split_inclusive(|&byte| byte == b'\n') {
        let name = line.split(|&byte| byte == b':').next().unwrap_or_default();
        let copied: [&[u8]; 5] = [b"via", b"from", b"to", b"call-id", b"cseq"];
        if copied.iter().any(|field| name.eq_ignore_ascii_case(field)) {
            out.extend_from_slice(line);
        }
    }
    out.extend_from_slice(b"Content-Length: 0\r\n\r\n");
}

/// The header part, with the line end of its last line.
fn head(message: &[u8]) -> &[u8] {
    let end = memchr::memmem::find(message, b"\r\n\r\n").map_or(message.len(), |at| at + 2);
    &message[..end]
}

/// The method of a request, as far as a caller tells methods apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// INVITE.
    Invite,
    /// BYE.
    Bye,
    /// Anything else.
    Other,
}

/// A message that came, as views of its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reply<'a> {
    /// The status; 0 when it is a request.
    pub status: u16,
    /// The method in CSeq.
    pub method: Method,
    /// The call it belongs to.
    pub key: Key,
    /// The value of To.
    pub to: &'a [u8],
    /// The URI of the first Contact.
    pub contact: Option<&'a [u8]>,
    /// Record-Route, top first; more than four are not followed.
    pub record_routes: [Option<&'a [u8]>; 4],
}

impl<'a> Reply<'a> {
    /// Reads a message; `None` when it belongs to no call of a generator.
    pub fn read(bytes: &'a [u8]) -> Option<Self> {
        let mut lines = Lines(bytes);
        let start = lines.next()?;
        let status = match start.strip_prefix(b"SIP/2.0 ") {
            Some(rest) => std::str::from_utf8(rest.get(..3)?).ok()?.parse().ok()?,
            None => 0,
        };
        let (mut method, mut key, mut to, mut contact) = (None, None, None, None);
        let mut record_routes = [None; 4];
        let mut routes = record_routes.iter_mut();
        for line in lines {
            if line.is_empty() {
                break;
            }
            let Some(colon) = memchr::memchr(b':', line) else { continue };
            let (name, value) = (line[..colon].trim_ascii_end(), line[colon + 1..].trim_ascii());
            match name.first().map(u8::to_ascii_lowercase) {
                Some(b'c') if name.eq_ignore_ascii_case(b"call-id") => key = Key::read(value),
                Some(b'i') if name.len() == 1 => key = Key::read(value),
                Some(b'c') if name.eq_ignore_ascii_case(b"cseq") => {
                    method = match value.rsplit(|&byte| byte == b' ').next()? {
                        b"INVITE" => Some(Method::Invite),
                        b"BYE" => Some(Method::Bye),
                        _ => Some(Method::Other),
                    };
                }
                Some(b't') if name.len() == 1 || name.eq_ignore_ascii_case(b"to") => to = Some(value),
                Some(b'c') if name.eq_ignore_ascii_case(b"contact") => contact = contact.or(uri_in(value)),
                Some(b'm') if name.len() == 1 => contact = contact.or(uri_in(value)),
                Some(b'r') if name.eq_ignore_ascii_case(b"record-route") => {
                    for (place, route) in routes.by_ref().zip(values(value)) {
                        *place = Some(route);
                    }
                }
                _ => {}
            }
        }
        Some(Reply { status, method: method?, key: key?, to: to?, contact, record_routes })
    }
}

struct Lines<'a>(&'a [u8]);

impl<'a> Iterator for Lines<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let end = memchr::memchr(b'\n', self.0)?;
        let (line, rest) = self.0.split_at(end + 1);
        self.0 = rest;
        Some(line.trim_ascii_end())
    }
}

/// The values of a header line, each with its URI in `<…>`.
fn values(line: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut is_inside = false;
    let is_comma = move |byte: &u8| {
        is_inside = *byte == b'<' || is_inside && *byte != b'>';
        *byte == b',' && !is_inside
    };
    line.split(is_comma).map(<[u8]>::trim_ascii)
}

/// The URI in the first `<…>`, or the value up to its parameters.
fn uri_in(value: &[u8]) -> Option<&[u8]> {
    match memchr::memchr(b'<', value) {
        Some(open) => {
            let rest = &value[open + 1..];
            Some(&rest[..memchr::memchr(b'>', rest)?])
        }
        None => value.split(|&byte| byte == b';').next(),
    }
}

/// Host and port of a SIP URI with a numeric host; 5060 when no port is named.
pub fn address_in(uri: &[u8]) -> Option<SocketAddr> {
    let uri = std::str::from_utf8(uri).ok()?;
    let (_, rest) = uri.split_once(':')?;
    let host = rest.rsplit_once('@').map_or(rest, |(_, host)| host);
    let host = host.split([';', '?']).next()?;
    host.parse().ok().or_else(|| format!("{host}:5060").parse().ok())
}
