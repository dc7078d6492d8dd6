//! The scanner against two other readers of SIP, and against itself: on a well-formed message all see the same method,
//! Call-ID, tags, CSeq and branch; no bytes make it panic; a patched message differs in the patch alone.
//!
//! A peer that refuses a message has no vote on it. `rsip` refuses folds, compact names, IPv6 hosts and methods it does
//! not know; `ezk-sip-types` refuses header lines that are not UTF-8. If both accept a message and differ, it is listed
//! in [`DISAGREEMENTS`] with the reason.

use std::fs;
use std::net::SocketAddr;

use proptest::prelude::*;

use pointsman::wire::framing;
use pointsman::wire::multipart::{self, Part};
use pointsman::wire::sip::{Fault, Message, Name, ResponseWriter, Scanner, patch, where_to};
use pointsman::wire::{mscml, msml, sdp};

/// The values that every reader is asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Read {
    method: Option<String>,
    call_id: String,
    from_tag: Option<String>,
    to_tag: Option<String>,
    cseq: u32,
    branch: Option<String>,
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn ours(message: &Message<'_>) -> Read {
    Read {
        method: message.method().map(|method| text(method.as_bytes())),
        call_id: text(message.call_id()),
        from_tag: message.from().and_then(|from| from.tag()).map(text),
        to_tag: message.to().and_then(|to| to.tag()).map(text),
        cseq: message.cseq().map_or(0, |cseq| cseq.number),
        branch: message.via().and_then(|via| via.branch()).map(text),
    }
}

/// `None` where rsip does not accept the message.
fn by_rsip(bytes: &[u8]) -> Option<Read> {
    use rsip::message::HeadersExt;
    use rsip::prelude::*;
    let message = rsip::SipMessage::try_from(bytes).ok()?;
    let method = match &message {
        rsip::SipMessage::Request(request) => Some(request.method().to_string()),
        rsip::SipMessage::Response(_) => None,
    };
    Some(Read {
        method,
        call_id: message.call_id_header().ok()?.value().to_string(),
        from_tag: message.from_header().ok()?.typed().ok()?.tag().map(|tag| tag.value().to_string()),
        to_tag: message.to_header().ok()?.typed().ok()?.tag().map(|tag| tag.value().to_string()),
        cseq: message.cseq_header().ok()?.seq().ok()?,
        branch: message.via_header().ok()?.typed().ok()?.branch().map(|branch| branch.value().to_string()),
    })
}

/// `None` where ezk-sip-types does not accept the message.
fn by_ezk(bytes: &[u8]) -> Option<Read> {
    use ezk_sip_types::header::typed::{CSeq, CallID, FromTo, Via};
    use ezk_sip_types::msg::{Line, MessageLine, PullParser};
    use ezk_sip_types::{Headers, Name};
    let bytes = bytes.to_vec().into();
    // Tells the compiler what `bytes` is: the type is of a crate this one does not name.
    let _ = Line::parse(&bytes, "");
    let mut lines = PullParser::new(&bytes, 0);
    let first = std::str::from_utf8(lines.next()?.ok()?).ok()?;
    let start: MessageLine = first.parse().ok()?;
    let mut headers = Headers::new();
    for line in lines {
        let line = std::str::from_utf8(line.ok()?).ok()?;
        let (_, Line { name, value }) = Line::parse(&bytes, line).ok()?;
        headers.insert(name, value);
    }
    let via: Vec<Via> = headers.get_named().ok()?;
    let via = via.into_iter().next()?;
    let from: FromTo = headers.get(Name::FROM).ok()?;
    let to: FromTo = headers.get(Name::TO).ok()?;
    let call_id: CallID = headers.get_named().ok()?;
    let cseq: CSeq = headers.get_named().ok()?;
    Some(Read {
        method: start.request_method().map(ToString::to_string),
        call_id: call_id.0.to_string(),
        from_tag: from.tag.map(|tag| tag.to_string()),
        to_tag: to.tag.map(|tag| tag.to_string()),
        cseq: cseq.cseq,
        branch: via.params.get_val("branch").map(ToString::to_string),
    })
}

prop_compose! {
    fn token()(text in "[a-zA-Z0-9._~+-]{1,24}") -> String { text }
}

fn host() -> impl Strategy<Value = String> {
    prop_oneof![
        "[a-z][a-z0-9]{0,8}(\\.[a-z]{2,6}){1,2}",
        any::<[u8; 4]>().prop_map(|ip| std::net::Ipv4Addr::from(ip).to_string()),
        any::<[u8; 16]>().prop_map(|ip| format!("[{}]", std::net::Ipv6Addr::from(ip))),
    ]
}

fn uri() -> impl Strategy<Value = String> {
    (
        prop::sample::select(vec!["sip", "sips"]),
        prop::option::of("[a-z0-9=;.-]{1,10}"),
        host(),
        prop::option::of(1_u16..),
    )
        .prop_flat_map(|(scheme, user, host, port)| {
            let user = user.map(|user| format!("{user}@")).unwrap_or_default();
            let port = port.map(|port| format!(":{port}")).unwrap_or_default();
            prop::sample::select(vec!["", ";transport=tcp", ";lr;size=3"])
                .prop_map(move |params| format!("{scheme}:{user}{host}{port}{params}"))
        })
}

fn name_addr() -> impl Strategy<Value = String> {
    (prop::sample::select(vec!["", "Anna ", "\"B, \\\"<x>\\\" ; tag=no\" "]), uri(), prop::option::of(token()))
        .prop_map(|(display, uri, tag)| {
            format!("{display}<{uri}>{}", tag.map(|tag| format!(";tag={tag}")).unwrap_or_default())
        })
}

fn via() -> impl Strategy<Value = String> {
    (prop::sample::select(vec!["UDP", "TCP", "TLS"]), host(), prop::option::of(1_u16..), token(), any::<bool>())
        .prop_map(|(transport, host, port, branch, rport)| {
            let port = port.map(|port| format!(":{port}")).unwrap_or_default();
            let rport = if rport { ";rport" } else { "" };
            format!("SIP/2.0/{transport} {host}{port}{rport};branch=z9hG4bK{branch}")
        })
}

/// The form in which a field's line is written.
#[derive(Clone, Copy, Debug)]
enum Dress {
    Plain,
    Compact,
    Folded,
    Upper,
}

fn dressed(name: &str, compact: &str, value: &str, dress: Dress) -> String {
    match dress {
        Dress::Plain => format!("{name}: {value}\r\n"),
        Dress::Compact => format!("{compact}:{value}\r\n"),
        Dress::Folded => format!("{name} :\r\n\t{value}  \r\n"),
        Dress::Upper => format!("{}: {value}\r\n", name.to_uppercase()),
    }
}

fn dress() -> impl Strategy<Value = Dress> {
    prop::sample::select(vec![Dress::Plain, Dress::Plain, Dress::Compact, Dress::Folded, Dress::Upper])
}

fn message_with(dress: impl Strategy<Value = Dress>) -> impl Strategy<Value = Vec<u8>> {
    let method = prop::sample::select(vec![
        "INVITE", "ACK", "BYE", "CANCEL", "OPTIONS", "REGISTER", "INFO", "UPDATE", "PRACK", "MESSAGE", "NOTIFY",
        "PUBLISH",
    ]);
    let status = prop::option::weighted(0.3, 100_u16..700);
    (
        (method, status, uri(), prop::collection::vec(via(), 1..4)),
        (name_addr(), name_addr(), "[a-zA-Z0-9.@-]{1,40}", 0_u32..=u32::MAX),
        (prop::collection::vec(dress, 6), prop::collection::vec(any::<u8>(), 0..40), 0_usize..6),
    )
        .prop_map(|((method, status, uri, vias), (from, to, call_id, number), (dress, body, rotation))| {
            let start = match status {
                Some(status) => format!("SIP/2.0 {status} Some Reason\r\n"),
                None => format!("{method} {uri} SIP/2.0\r\n"),
            };
            let mut lines = [
                vias.iter().map(|via| dressed("Via", "v", via, dress[0])).collect::<String>(),
                dressed("From", "f", &from, dress[1]),
                dressed("To", "t", &to, dress[2]),
                dressed("Call-ID", "i", &call_id, dress[3]),
                dressed("CSeq", "CSeq", &format!("{number} {method}"), dress[4]),
                dressed("Content-Length", "l", &body.len().to_string(), dress[5]),
            ];
            lines.rotate_left(rotation);
            let mut bytes = start.into_bytes();
            bytes.extend_from_slice(lines.concat().as_bytes());
            bytes.extend_from_slice(b"\r\n");
            bytes.extend_from_slice(&body);
            bytes
        })
}

fn message() -> impl Strategy<Value = Vec<u8>> {
    message_with(dress())
}

/// Asks every accessor for everything: nothing may panic, and every part lies inside the message.
fn read_everything(message: &Message<'_>) {
    let bytes = message.bytes();
    let inside = |part: &[u8]| {
        let (start, part_start) = (bytes.as_ptr() as usize, part.as_ptr() as usize);
        assert!(part.is_empty() || part_start >= start && part_start + part.len() <= start + bytes.len());
    };
    inside(message.body());
    for (name, value) in message.fields() {
        inside(name);
        inside(value);
        message.extension(name).into_iter().for_each(inside);
    }
    for name in [Name::Via, Name::Contact, Name::Route, Name::From] {
        message.values(name).for_each(inside);
    }
    if let Some(uri) = message.uri() {
        inside(uri.raw);
        inside(uri.host.as_bytes());
        uri.user.into_iter().for_each(inside);
        uri.headers.into_iter().for_each(inside);
        uri.params().into_iter().for_each(|(name, value)| {
            inside(name);
            value.into_iter().for_each(inside);
        });
        let _ = uri.host.ip();
    }
    for via in message.vias() {
        inside(via.raw);
        let _ = (via.branch(), via.unique_branch(), via.rport(), via.received(), via.reply_address());
    }
    for address in [message.from(), message.to(), message.contact()].into_iter().flatten() {
        inside(address.uri);
        let _ = (address.tag(), address.uri());
    }
    let _ = (message.cseq(), message.max_forwards(), message.nonce(), message.check());
    let _ = (message.replaces(), message.join(), message.target_dialog(), message.content(b"application/sdp"));
    let source = SocketAddr::from(([192, 0, 2, 1], 5060));
    let _ = where_to(message, source);
    let mut out = Vec::new();
    ResponseWriter::new(&mut out, message, 400, Some(source), Some(b"t")).record_routes(message).finish();
    if let Some(pieces) = patch::with_uri_port(message, b":1") {
        inside(pieces[0]);
        inside(pieces[2]);
    }
}

fn read_all(bytes: &[u8]) {
    let mut scanner = Scanner::new();
    match scanner.scan(bytes) {
        Ok(message) => read_everything(&message),
        Err(bad) => bad.message.iter().for_each(read_everything),
    }
    let _ = framing::next(bytes);
    let _ = (sdp::weigh(bytes, 4), mscml::reserved_talkers(bytes), msml::reserved_talkers(bytes));
    let mixed = Part { content_type: Some(b"multipart/mixed;boundary=b"), disposition: None, content: bytes };
    let _ = multipart::find(mixed, b"application/sdp");
}

/// A response that was written for any request, well-formed or not, is a message with nothing added.
fn response_is_sound(message: &Message<'_>) -> Result<(), TestCaseError> {
    let mut out = Vec::new();
    ResponseWriter::new(&mut out, message, 486, Some(SocketAddr::from(([192, 0, 2, 1], 9))), Some(b"tag7")).finish();
    let mut scanner = Scanner::new();
    let response = scanner.scan(&out).map_err(|bad| TestCaseError::fail(format!("{:?}: {}", bad.fault, text(&out))))?;
    let request = ours(message);
    prop_assert_eq!(response.status(), Some(486));
    let expected = Read { method: None, to_tag: request.to_tag.clone().or(Some("tag7".to_owned())), ..request };
    prop_assert_eq!(ours(&response), expected);
    prop_assert_eq!(response.vias().count(), message.vias().count());
    prop_assert_eq!(response.body(), b"");
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(512) })]

    #[test]
    fn readers_agree_on_well_formed_messages(bytes in message()) {
        let mut scanner = Scanner::new();
        let message = scanner.scan(&bytes).map_err(|bad| TestCaseError::fail(format!("{:?}: {}", bad.fault, text(&bytes))))?;
        prop_assert_eq!(message.check(), Ok(()));
        let read = ours(&message);
        if let Some(theirs) = by_rsip(&bytes) {
            prop_assert_eq!(&read, &theirs, "rsip: {}", text(&bytes));
        }
        if let Some(theirs) = by_ezk(&bytes) {
            prop_assert_eq!(&read, &theirs, "ezk: {}", text(&bytes));
        }
        read_everything(&message);
        if message.is_request() {
            response_is_sound(&message)?;
        }
    }

    #[test]
    fn line_feeds_alone_change_nothing(bytes in message()) {
        let head = bytes.windows(4).position(|window| window == b"\r\n\r\n").unwrap() + 4;
        let mut bare: Vec<u8> = bytes[..head].iter().copied().filter(|&byte| byte != b'\r').collect();
        bare.extend_from_slice(&bytes[head..]);
        let (mut scanner, mut other) = (Scanner::new(), Scanner::new());
        let (message, bare) = (scanner.scan(&bytes).unwrap(), other.scan(&bare).unwrap());
        prop_assert_eq!(ours(&message), ours(&bare));
        prop_assert_eq!(message.body(), bare.body());
    }

    #[test]
    fn a_stream_is_cut_where_the_message_ends(bytes in message(), more in prop::collection::vec(any::<u8>(), 0..20)) {
        let mut stream = bytes.clone();
        stream.extend_from_slice(&more);
        prop_assert_eq!(framing::next(&stream), framing::Framed::Message(bytes.len()));
        for end in 0..bytes.len() {
            let framed = framing::next(&stream[..end]);
            prop_assert!(matches!(framed, framing::Framed::NeedMore { at_least } if at_least > end && at_least <= bytes.len()), "{framed:?}");
        }
    }

    #[test]
    fn a_patch_changes_nothing_else(bytes in message(), port in any::<u16>(), source in any::<[u8; 4]>()) {
        let (mut scanner, mut other) = (Scanner::new(), Scanner::new());
        let message = scanner.scan(&bytes).unwrap();
        let fields: Vec<_> = message.fields().collect();

        let first = bytes.windows(2).position(|window| window == b"\r\n").unwrap() + 2;
        let added = [&bytes[..first], b"X-Worker-Port: 5070\r\n", &bytes[first..]].concat();
        let added = other.scan(&added).unwrap();
        prop_assert_eq!(added.extension(b"X-Worker-Port"), Some(&b"5070"[..]));
        prop_assert_eq!(added.fields().skip(1).collect::<Vec<_>>(), fields.clone());
        prop_assert_eq!(added.body(), message.body());
        let mut without = Vec::new();
        patch::without_field(&mut without, &added, "X-Worker-Port");
        prop_assert_eq!(&without, &bytes);

        let source = SocketAddr::from((source, port));
        let mut answer = Vec::new();
        ResponseWriter::new(&mut answer, &message, 200, Some(source), None).finish();
        let answer = other.scan(&answer).unwrap();
        let completed = answer.via().unwrap();
        prop_assert_eq!(completed.branch(), message.via().unwrap().branch());
        prop_assert_eq!(completed.received().or(completed.host.ip()), Some(source.ip()));
        prop_assert_eq!(answer.vias().skip(1).collect::<Vec<_>>(), message.vias().skip(1).collect::<Vec<_>>());

        let Some(uri) = message.uri() else { return Ok(()) };
        let text = format!(":{port}");
        let changed = patch::with_uri_port(&message, text.as_bytes()).unwrap().concat();
        let changed = other.scan(&changed).unwrap();
        let new = changed.uri().unwrap();
        prop_assert_eq!((new.user, new.host, new.port), (uri.user, uri.host, Some(port)));
        prop_assert_eq!(new.params(), uri.params());
        prop_assert_eq!(changed.fields().collect::<Vec<_>>(), fields);
    }

    #[test]
    fn no_bytes_make_a_reader_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        read_all(&bytes);
    }

    #[test]
    fn no_change_of_a_message_makes_a_reader_panic(
        mut bytes in message(),
        edits in prop::collection::vec((any::<prop::sample::Index>(), 0_u8..4, any::<u8>()), 1..6),
    ) {
        // Bytes that mean something do more harm than others.
        const MEANT: &[u8] = b"\r\n :;,<>\"\\@?=[]%/\0\xff-09";
        for (at, kind, byte) in edits {
            let at = at.index(bytes.len());
            let meant = MEANT[usize::from(byte) % MEANT.len()];
            match kind {
                0 => bytes[at] = meant,
                1 => bytes.insert(at, meant),
                2 => bytes.truncate(at.max(1)),
                _ => drop(bytes.remove(at)),
            }
            if bytes.is_empty() {
                break;
            }
        }
        read_all(&bytes);
        let mut scanner = Scanner::new();
        if let Err(bad) = scanner.scan(&bytes)
            && let Some(message) = bad.message
        {
            let mut out = Vec::new();
            ResponseWriter::new(&mut out, &message, 400, Some(SocketAddr::from(([192, 0, 2, 1], 9))), Some(b"t")).finish();
            let mut other = Scanner::new();
            // A broken CSeq is copied as it came; nothing it holds becomes a line.
            let response = match other.scan(&out) {
                Ok(response) => response,
                Err(bad) => {
                    prop_assert_eq!(bad.fault, Fault::CSeq);
                    return Ok(());
                }
            };
            prop_assert_eq!(response.body(), b"");
        }
    }
}

/// The peers refuse much; if they refused all that is generated, the comparison above would say nothing.
#[test]
fn the_peers_accept_plain_messages() {
    use proptest::strategy::ValueTree;
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let strategy = message_with(Just(Dress::Plain));
    let (mut rsip, mut ezk) = (0, 0);
    for _ in 0..200 {
        let bytes = strategy.new_tree(&mut runner).unwrap().current();
        rsip += usize::from(by_rsip(&bytes).is_some());
        ezk += usize::from(by_ezk(&bytes).is_some());
    }
    assert!(rsip > 10 && ezk > 100, "rsip accepts {rsip} of 200, ezk {ezk}");
}

/// Disagreements of the readers on the torture messages. `ezk` reads `%66` in a branch as `f`: escapes mean something
/// in URIs only (RFC 4475 §3.1.1.2 puts one into a branch for that).
const DISAGREEMENTS: &[&str] = &["ezk on intmeth"];

#[test]
fn readers_agree_on_the_torture_messages() {
    let root = std::env::var("POINTSMAN_CORPORA")
        .unwrap_or_else(|_| concat!(env!("CARGO_MANIFEST_DIR"), "/../shared/corpora").to_owned());
    let (mut compared, mut differ) = (0, Vec::new());
    for folder in ["rfc4475", "rfc5118"] {
        let Ok(files) = fs::read_dir(format!("{root}/{folder}")) else {
            eprintln!("not run: {root}/{folder} is not there");
            return;
        };
        for path in
            files.map(|file| file.unwrap().path()).filter(|path| path.extension().is_some_and(|ext| ext == "dat"))
        {
            let name = path.file_stem().unwrap().to_string_lossy().into_owned();
            let bytes = fs::read(&path).unwrap();
            let mut scanner = Scanner::new();
            let Ok(message) = scanner.scan(&bytes) else { continue };
            for (peer, theirs) in [("rsip", by_rsip(&bytes)), ("ezk", by_ezk(&bytes))] {
                let Some(theirs) = theirs else { continue };
                compared += 1;
                let read = ours(&message);
                if theirs != read {
                    eprintln!("{peer} on {name}: {theirs:?}, ours {read:?}");
                    differ.push(format!("{peer} on {name}"));
                }
            }
        }
    }
    assert!(compared > 20, "{compared}");
    differ.sort();
    assert_eq!(differ, DISAGREEMENTS);
}
