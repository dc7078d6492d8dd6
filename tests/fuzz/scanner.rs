//! The scanner and every reader of the fields it has found.

use std::net::SocketAddr;

use pointsman::config::Insert;
use pointsman::dispatch::size::SizeRules;
use pointsman::wire::framing::{self, Framed};
use pointsman::wire::sip::{self, Message, Name, NameAddr, ResponseWriter, Scanner, patch};
use pointsman::wire::{mscml, msml, multipart, sdp};

use crate::runner::Seen;

pub const WORDS: &[&str] = &[
    "INVITE sip:a@h SIP/2.0\r\n",
    "ACK sip:a@h SIP/2.0\r\n",
    "SIP/2.0 200 OK\r\n",
    "Via: SIP/2.0/UDP h;branch=z9hG4bK1\r\n",
    "v: SIP/2.0/TCP [::1]:5060;rport",
    "From: <sip:b@c>;tag=1\r\n",
    "To: \"x\\\"y\" <sip:a@h;lr>;tag=2\r\n",
    "Call-ID: x\r\n",
    "CSeq: 1 INVITE\r\n",
    "Contact: *\r\n",
    "Content-Length: 0\r\n",
    "l:5",
    "Content-Type: multipart/mixed;boundary=b\r\n",
    "Replaces: a;to-tag=1;from-tag=2\r\n",
    "Route: <sip:h;lr>,<sips:i>\r\n",
    "Record-Route: <sip:h;lr>\r\n",
    "Max-Forwards: 70\r\n",
    "Require: 100rel\r\n",
    "Authorization: Digest nonce=\"pm0\", x=y\r\n",
    "X-Session-Size: 5\r\n",
    "\r\n\r\n",
    "\r\n ",
    "--b\r\n",
    "--b--",
    "m=audio 1 RTP/AVP 0\r\n",
    "v=0\r\n",
    "<?xml version=\"1.0\"?>",
    "reservedtalkers=\"3\"",
    "sip:conf=1@h",
    "tel:+1;x=y",
    ";tag=",
    "%41",
];

const INVITE: &str = "INVITE sip:ivr;x=y@ms.example.net:5060;size=3;lr?a=b SIP/2.0\r\n\
    Via: SIP/2.0/UDP 203.0.113.5:5060;rport;branch=z9hG4bK-1, SIP/2.0/TCP [2001:db8::1];branch=z9hG4bK-2\r\n\
    Max-Forwards: 70\r\nFrom: \"A S\" <sip:as@example.net>;tag=a\r\nTo: <sip:ivr@ms.example.net>\r\nCall-ID: 1@203.0.113.5\r\n\
    CSeq: 1 INVITE\r\nContact: <sip:as@203.0.113.5:5060;ob>\r\nX-Session-Size: 2\r\nRoute: <sip:ms.example.net;lr>\r\n\
    Content-Type: multipart/mixed;boundary=b\r\n\r\n--b\r\nContent-Type: application/sdp\r\n\r\nv=0\r\nm=audio 4000 RTP/AVP 0\r\n--b--\r\n";

const FOLDED: &str = "\r\nOPTIONS sip:h SIP/2.0\nv :\n  SIP/2.0/UDP\n c , SIP/2.0/TCP d\nf: \"\u{ff}\" <sip:b@c>;tag=1\nt: <sip:h>\ni:x\n\
    CSEQ: 1\n OPTIONS\nm: <sip:a>;q=0.1, \"x,y\" <sip:b>\ns: subject\nl: 4\n\nbody";

const CANCEL: &str = "CANCEL sip:ivr@h SIP/2.0\r\nVia: SIP/2.0/UDP c;branch=z9hG4bK1\r\nFrom: <sip:b@c>;tag=1\r\nTo: <sip:a@h>\r\n\
    Call-ID: x\r\nCSeq: 7 CANCEL\r\nReplaces: y;to-tag=pm1;from-tag=2;early-only\r\nContent-Length: 0\r\n\r\n";

const RESPONSE: &str = "SIP/2.0 180 Ringing\r\nVia: SIP/2.0/UDP 192.0.2.1:5070;branch=z9hG4bKpm0;received=203.0.113.1\r\n\
    From: <sip:a@b>;tag=1\r\nTo: <sip:c@d>;tag=2\r\nCall-ID: x\r\nCSeq: 1 BYE\r\nContent-Length: 0\r\n\r\n";

pub fn seeds() -> Vec<Vec<u8>> {
    let keepalives: [&[u8]; 4] = [b"", b"\r\n\r\n", b"\0", b"\x00\x01\x00\x00\x21\x12\xa4\x42............"];
    let texts = [INVITE, FOLDED, CANCEL, RESPONSE].map(str::as_bytes);
    keepalives.iter().chain(&texts).map(|input| input.to_vec()).collect()
}

pub fn run(input: &[u8], seen: &mut Seen) {
    let mut scanner = Scanner::new();
    match scanner.scan(input) {
        Ok(message) => {
            look(&message, seen);
            seen.note(("checked", format!("{:?}", message.check().err())));
            if message.method().is_some() && message.check().is_ok() {
                rewrite(&message);
                let answer = answer(&message);
                let mut scanner = Scanner::new();
                let read =
                    scanner.scan(&answer).unwrap_or_else(|bad| panic!("{:?}: {}", bad.fault, answer.escape_ascii()));
                // Folds, and lone carriage returns, which no field may have, are written as spaces.
                let spaced = |byte: &u8| if matches!(byte, b'\r' | b'\n') { b' ' } else { *byte };
                let call_id: Vec<u8> = message.call_id().iter().map(spaced).collect();
                assert_eq!((read.call_id(), read.cseq()), (call_id.as_slice(), message.cseq()));
            } else if message.is_answerable() {
                answer(&message);
            }
        }
        Err(bad) => {
            seen.note(("fault", format!("{:?}", bad.fault), bad.message.is_some()));
            if let Some(message) = bad.message {
                look(&message, seen);
                if bad.fault.status().is_some() {
                    answer(&message);
                }
            }
        }
    }
    frame(input, seen);
    seen.note(("sdp", sdp::weigh(input, 2).is_some()));
    seen.note(("mscml", mscml::reserved_talkers(input).is_some(), msml::reserved_talkers(input).is_some()));
}

/// Reads all there is to read.
fn look(message: &Message<'_>, seen: &mut Seen) {
    seen.note(("start", message.method().map(|method| method.as_bytes().len().min(10)), message.is_answerable()));
    let uri = message.uri();
    seen.note((
        "uri",
        uri.map(|uri| (uri.user.is_some(), uri.port.is_some(), uri.conference().is_some(), uri.host.ip().is_some())),
    ));
    let vias =
        message.vias().inspect(|via| seen.note(("via", via.port.is_some(), via.unique_branch().is_some()))).count();
    let fields = message.fields().count();
    assert!(vias <= message.bytes().len() && fields <= message.bytes().len());
    seen.note(("counts", vias.min(4), fields.min(20)));
    for address in [message.from(), message.to(), message.contact()].into_iter().flatten() {
        seen.note(("address", address.tag().is_some(), address.uri().is_some()));
    }
    for name in [Name::Route, Name::RecordRoute, Name::Require, Name::Contact, Name::Via, Name::Supported] {
        seen.note(("addresses", message.values(name).filter(|value| NameAddr::parse(value).is_some()).count().min(3)));
    }
    seen.note(("cseq", message.cseq().is_some(), message.max_forwards().is_some()));
    let dialogs = [message.replaces(), message.join(), message.target_dialog()];
    seen.note((
        "dialogs",
        dialogs.map(|dialog| dialog.map(|dialog| (dialog.to_tag.is_some(), dialog.from_tag.is_some()))),
    ));
    seen.note(("nonce", message.nonce().is_some(), message.extension(b"X-Session-Size").is_some()));
    seen.note(("content", message.content(b"application/sdp").is_some()));
    if let Some(part) = message.content_part() {
        let parts =
            part.parts().map_or(0, |parts| parts.take(4).map(|part| part.content.len()).filter(|&n| n > 0).count());
        seen.note(("parts", parts, part.must_be_understood(), part.is_for_the_session()));
        seen.note(("part", multipart::find(part, b"text/plain").is_some()));
    }
    let source: SocketAddr = "203.0.113.5:5060".parse().unwrap();
    let sized = SizeRules::default().size_of(message, uri.as_ref(), source.ip());
    assert!(sized.units <= SizeRules::default().max, "{sized:?}");
    seen.note(("size", sized.named, sized.units.min(2)));
    let place = message.body().as_ptr() as usize - message.bytes().as_ptr() as usize;
    assert!(place + message.body().len() <= message.bytes().len());
}

/// An answer to whatever may be answered: nothing of the request ends its fields early or makes it large.
fn answer(request: &Message<'_>) -> Vec<u8> {
    let source: SocketAddr = "203.0.113.5:5061".parse().unwrap();
    let mut out = Vec::new();
    ResponseWriter::new(&mut out, request, 400, Some(source), Some(b"tag")).finish();
    assert_eq!(memchr::memmem::find(&out, b"\r\n\r\n"), Some(out.len() - 4), "{}", out.escape_ascii());
    // At most the branch and all that came in, once more.
    assert!(out.len() <= request.bytes().len() + 256, "{} bytes in, {} out", request.bytes().len(), out.len());
    let _ = sip::where_to(request, source);
    out
}

/// Checks that a request can still be read after a port was written into it.
fn rewrite(request: &Message<'_>) {
    let mut rest = Vec::new();
    patch::without_field(&mut rest, request, Insert::HEADER);
    let with_port = patch::with_uri_port(request, b":5070").map(|pieces| pieces.concat());
    for changed in [Some(rest), with_port].into_iter().flatten() {
        let mut scanner = Scanner::new();
        let read = scanner.scan(&changed).unwrap_or_else(|bad| panic!("{:?}: {}", bad.fault, changed.escape_ascii()));
        assert_eq!((read.call_id(), read.body()), (request.call_id(), request.body()));
    }
}

/// Framing always gets on.
fn frame(input: &[u8], seen: &mut Seen) {
    let mut rest = input;
    for _ in 0..=input.len() {
        match framing::next(rest) {
            Framed::Message(length) | Framed::Ping(length) | Framed::Blank(length) => {
                assert!(length > 0 && length <= rest.len());
                seen.note("framed");
                rest = &rest[length..];
            }
            Framed::NeedMore { at_least } => {
                assert!(at_least > rest.len(), "{at_least} of {} wanted", rest.len());
                return;
            }
            Framed::Faulty(head, fault) => {
                assert!(head <= rest.len());
                return seen.note(("faulty", format!("{fault:?}")));
            }
            Framed::Close(fault) => return seen.note(("close", format!("{fault:?}"))),
        }
    }
    panic!("framing does not get on");
}
