use std::io::{Read, Write};
use std::mem::take;
use std::sync::Arc;

use rustls::version::TLS13;

use super::certificates as certified;
use super::tls::{client_of_rustls, settle};
use super::*;
use crate::stream::websocket::Rules;

const REQUEST: &str = "GET /sip HTTP/1.1\r\nHost: h\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n\
    Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
const SIP: &str = "Sec-WebSocket-Protocol: chat, sip\r\n";

const CONTINUATION: u8 = 0;
const TEXT: u8 = 1;
const BINARY: u8 = 2;
const CLOSE: u8 = 8;
const PING: u8 = 9;
const PONG: u8 = 10;
const FINAL: u8 = 0x80;

fn called(origins: &[&str]) -> Peer {
    let origins = origins.iter().map(|origin| (*origin).to_owned()).collect();
    Peer::new(Kind::WebSocket(Arc::new(Rules { origins })))
}

fn open() -> Peer {
    let mut peer = called(&[]);
    peer.bytes(format!("{REQUEST}{SIP}\r\n")).unwrap();
    assert!(take(&mut peer.out).starts_with(b"HTTP/1.1 101 "));
    peer
}

/// A frame of a client.
fn frame(first: u8, content: impl AsRef<[u8]>) -> Vec<u8> {
    const MASK: [u8; 4] = [0x12, 0x34, 0x56, 0x78];
    let content = content.as_ref();
    let mut bytes = vec![first];
    match content.len() {
        length @ 0..126 => bytes.push(0x80 | length as u8),
        length @ 126..0x1_0000 => bytes.extend([&[0xfe][..], &(length as u16).to_be_bytes()].concat()),
        length => bytes.extend([&[0xff][..], &(length as u64).to_be_bytes()].concat()),
    }
    bytes.extend(MASK);
    bytes.extend(content.iter().zip(MASK.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    bytes
}

/// Takes the frames of a server, each with its first byte.
fn frames(out: &mut Vec<u8>) -> Vec<(u8, Vec<u8>)> {
    let bytes = take(out);
    let mut rest = bytes.as_slice();
    let mut frames = Vec::new();
    while let [first, length, ..] = *rest {
        let (header, length) = match length {
            126 => (4, usize::from(u16::from_be_bytes([rest[2], rest[3]]))),
            length => (2, usize::from(length)),
        };
        frames.push((first, rest[header..header + length].to_vec()));
        rest = &rest[header + length..];
    }
    frames
}

/// The code of the Close that a server has sent.
fn close_code(out: &mut Vec<u8>) -> Option<u16> {
    let frames = frames(out);
    let (_, content) = frames.iter().find(|(first, _)| *first == FINAL | CLOSE)?;
    Some(u16::from_be_bytes([content[0], content[1]]))
}

#[test]
fn an_upgrade_in_any_two_pieces_names_sip_and_gives_no_message() {
    let request = format!("{REQUEST}{SIP}\r\n");
    for cut in 0..request.len() {
        let mut peer = called(&[]);
        peer.bytes(&request[..cut]).unwrap();
        assert!(!peer.stream.is_open() && peer.out.is_empty());
        peer.bytes(&request[cut..]).unwrap();
        let answer = text(&take(&mut peer.out)).to_lowercase();
        assert!(answer.starts_with("http/1.1 101 ") && answer.ends_with("\r\n\r\n"), "{answer}");
        assert!(answer.contains("\r\nsec-websocket-protocol: sip\r\n"), "{answer}");
        assert!(answer.contains("\r\nsec-websocket-accept: s3pplmbitxaq9kygzzhzrbk+xoo=\r\n"), "{answer}");
        assert!(peer.stream.is_open());
    }
}

#[test]
fn an_upgrade_that_is_none_or_not_for_sip_is_refused_with_its_status() {
    let fields = format!("{REQUEST}{SIP}");
    let version = fields.replace("13", "8");
    for (request, status, fault) in [
        (format!("{REQUEST}\r\n"), 400, WebSocketFault::Subprotocol),
        (format!("{REQUEST}Sec-WebSocket-Protocol: sips\r\n\r\n"), 400, WebSocketFault::Subprotocol),
        (format!("{fields}Origin: https://evil.example\r\n\r\n"), 403, WebSocketFault::Origin),
        (format!("{fields}Origin: null\r\n\r\n"), 403, WebSocketFault::Origin),
        (format!("{version}\r\n"), 426, WebSocketFault::Upgrade),
        (format!("{fields}\r\n{}", message("too early")), 400, WebSocketFault::Upgrade),
        ("GET / HTTP/1.1\r\nHost: h\r\n\r\n".to_owned(), 400, WebSocketFault::Upgrade),
        (fields.replace("GET", "POST"), 400, WebSocketFault::Upgrade),
        (message("SIP on a port for WebSockets"), 400, WebSocketFault::Upgrade),
        ("\x16\x03\x01".to_owned(), 400, WebSocketFault::Upgrade),
        (format!("{fields}Cookie: {}", "x".repeat(20_000)), 400, WebSocketFault::Upgrade),
    ] {
        let mut peer = called(&["https://Phone.example"]);
        assert_eq!(peer.bytes(&request), Err(Fault::WebSocket(fault)), "{request:.300}");
        let answer = text(&peer.out);
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{answer}");
        assert!(!peer.stream.is_open());
    }
    for origin in ["Origin: https://phone.example\r\n", ""] {
        let mut peer = called(&["https://Phone.example"]);
        peer.bytes(format!("{fields}{origin}\r\n")).unwrap();
        assert!(peer.stream.is_open());
    }
}

#[test]
fn an_upgrade_that_stops_half_way_is_given_up() {
    let mut peer = called(&[]);
    peer.bytes(&REQUEST[..20]).unwrap();
    peer.pass(seconds(9)).unwrap();
    assert_eq!(peer.pass(seconds(1)), Err(Fault::SlowHandshake));
}

#[test]
fn a_message_in_any_pieces_of_bytes_and_of_frames_is_the_same() {
    let (first, second) = (message("first"), format!("{HEAD}\r\nwithout a length, \u{fe}"));
    let (front, back) = first.as_bytes().split_at(20);
    let bytes = [
        frame(TEXT, front),
        frame(FINAL | PING, "between"),
        frame(CONTINUATION, ""),
        frame(FINAL | CONTINUATION, back),
        frame(FINAL | BINARY, &second),
    ]
    .concat();
    for cut in 0..bytes.len() {
        for end in [cut, cut + 1, cut + 7, bytes.len()] {
            let end = end.min(bytes.len());
            let mut peer = open();
            for piece in [&bytes[..cut], &bytes[cut..end], &bytes[end..]] {
                peer.bytes(piece).unwrap();
            }
            assert_eq!(peer.messages, [first.as_str(), second.as_str()], "{cut} {end}");
            assert_eq!(frames(&mut peer.out), [(FINAL | PONG, b"between".to_vec())]);
            assert!(peer.stream.pending().is_empty());
        }
    }
}

#[test]
fn another_process_goes_on_with_the_bytes_that_are_pending() {
    let whole = message("in three pieces");
    let bytes = [
        frame(TEXT, &whole[..10]),
        frame(CONTINUATION, &whole[10..30]),
        frame(FINAL | PING, ""),
        frame(FINAL | CONTINUATION, &whole[30..]),
    ]
    .concat();
    for cut in 0..bytes.len() {
        let mut before = open();
        before.bytes(&bytes[..cut]).unwrap();
        let mut after = open();
        after.stream = Stream::resumed(Transport::Ws, Limits::default(), after.now);
        after.bytes(before.stream.pending()).unwrap();
        after.bytes(&bytes[cut..]).unwrap();
        assert_eq!(after.messages, [whole.as_str()], "{cut}");
    }
}

#[test]
fn a_double_line_end_is_answered_in_the_same_kind_of_frame_and_never_reaches_the_parser() {
    let mut peer = open();
    for kind in [TEXT, BINARY] {
        peer.bytes(frame(FINAL | kind, "\r\n\r\n")).unwrap();
        assert_eq!(frames(&mut peer.out), [(FINAL | kind, b"\r\n".to_vec())]);
        peer.bytes(frame(FINAL | kind, "\r\n")).unwrap();
        peer.bytes(frame(FINAL | kind, "")).unwrap();
        assert_eq!(frames(&mut peer.out), []);
        peer.bytes(frame(FINAL | kind, format!("\r\n\r\n\r\n{}", message("behind")))).unwrap();
        assert_eq!(frames(&mut peer.out), [(FINAL | kind, b"\r\n".to_vec())]);
        assert_eq!(take(&mut peer.messages), [message("behind")]);
    }
}

#[test]
fn messages_leave_as_text_or_as_binary_where_they_are_no_text() {
    let mut peer = open();
    peer.stream.write(message("ü").as_bytes(), &mut peer.out);
    let binary = [message("").as_bytes(), b"\xff"].concat();
    peer.stream.write(&binary, &mut peer.out);
    let large = message(&"x".repeat(1_000));
    peer.stream.write(large.as_bytes(), &mut peer.out);
    let expected =
        [(FINAL | TEXT, message("ü").into_bytes()), (FINAL | BINARY, binary), (FINAL | TEXT, large.into_bytes())];
    assert_eq!(frames(&mut peer.out), expected);
}

#[test]
fn a_broken_frame_is_refused_by_its_header_with_the_code_of_its_fault() {
    for (bytes, code, fault) in [
        (vec![FINAL | TEXT, 5, b'h'], 1002, WebSocketFault::Unmasked),
        (frame(FINAL | TEXT, "x".repeat(65_536))[..14].to_vec(), 1009, WebSocketFault::TooLarge),
        (vec![FINAL | TEXT, 0xff, 0x80, 0, 0, 0, 0, 0, 0, 1, 1, 2, 3, 4], 1009, WebSocketFault::TooLarge),
        (frame(FINAL | PING, "x".repeat(126))[..8].to_vec(), 1002, WebSocketFault::Protocol),
        (frame(PING, ""), 1002, WebSocketFault::Protocol),
        (frame(FINAL | 3, ""), 1002, WebSocketFault::Protocol),
        (frame(FINAL | 0x40 | TEXT, "x"), 1002, WebSocketFault::Protocol),
        (frame(FINAL | CONTINUATION, "x"), 1002, WebSocketFault::Protocol),
        ([frame(TEXT, "x"), frame(TEXT, "y")].concat(), 1002, WebSocketFault::Protocol),
        (frame(FINAL | TEXT, b"\xff"), 1007, WebSocketFault::Utf8),
        ([frame(TEXT, b"\xc3"), frame(FINAL | CONTINUATION, b"\xc3")].concat(), 1007, WebSocketFault::Utf8),
        (
            [frame(TEXT, "x".repeat(65_000)), frame(CONTINUATION, "x".repeat(600))].concat(),
            1009,
            WebSocketFault::TooLarge,
        ),
    ] {
        for piece in [1, usize::MAX] {
            let mut peer = open();
            let gone = bytes.chunks(piece).find_map(|piece| peer.bytes(piece).err());
            assert_eq!(gone, Some(Fault::WebSocket(fault)), "{:?}", &bytes[..2]);
            assert_eq!(close_code(&mut peer.out), Some(code), "{fault:?}");
            assert!(peer.messages.is_empty());
        }
    }
}

#[test]
fn a_message_that_is_not_one_of_sip_is_refused() {
    let length = format!("{}more", message("body"));
    for (content, fault, is_answered) in [
        ("hello".to_owned(), StreamFault::NotSip, false),
        ("GET / HTTP/1.1\r\n\r\n".to_owned(), StreamFault::NotSip, false),
        (length, StreamFault::ContentLength, true),
        (format!("{0}{0}", message("")), StreamFault::ContentLength, true),
    ] {
        let mut peer = open();
        assert_eq!(peer.bytes(frame(FINAL | TEXT, content)), Err(Fault::Framing(fault)));
        assert_eq!((peer.faulty.len(), peer.messages.len()), (usize::from(is_answered), 0));
        // An answer leaves in front of the end.
        peer.stream.write(message("answer").as_bytes(), &mut peer.out);
        peer.stream.close(&mut peer.out);
        let answers = frames(&mut peer.out.clone()).iter().filter(|(first, _)| *first == FINAL | TEXT).count();
        assert_eq!(answers, usize::from(is_answered));
        assert_eq!(close_code(&mut peer.out), Some(1008));
    }
}

#[test]
fn a_million_empty_pieces_or_pings_end_the_connection_early() {
    let pieces = || std::iter::once(frame(TEXT, "x")).chain(std::iter::repeat(frame(CONTINUATION, "")));
    let pings = || std::iter::repeat(frame(FINAL | PING, "x".repeat(125)));
    let empty = || std::iter::repeat(frame(FINAL | TEXT, ""));
    let lines = || std::iter::repeat(frame(FINAL | TEXT, "\r\n\r\n"));
    let many = || std::iter::repeat(frame(FINAL | TEXT, "\r\n\r\n".repeat(16_000)));
    let blank = || std::iter::repeat(frame(FINAL | BINARY, "\r\n"));
    let mixed = || (0..).map(|at| if at % 2 == 0 { frame(FINAL | PING, "") } else { frame(FINAL | TEXT, "\r\n\r\n") });
    for (flood, fault) in [
        (&mut pieces() as &mut dyn Iterator<Item = Vec<u8>>, WebSocketFault::Fragments),
        (&mut pings(), WebSocketFault::Flood),
        (&mut empty(), WebSocketFault::Flood),
        (&mut lines(), WebSocketFault::Flood),
        (&mut many(), WebSocketFault::Flood),
        (&mut blank(), WebSocketFault::Flood),
        (&mut mixed(), WebSocketFault::Flood),
    ] {
        let mut peer = open();
        let gone = flood.take(1_000_000).find_map(|bytes| peer.bytes(bytes).err());
        assert_eq!(gone, Some(Fault::WebSocket(fault)));
        assert!(peer.out.len() < 20_000 && peer.stream.pending().len() < 20_000);
        assert_eq!(close_code(&mut peer.out), Some(1008));
    }
}

#[test]
fn pings_of_a_client_that_does_something_else_between_are_no_flood() {
    let mut peer = open();
    for _ in 0..20 {
        (0..100).for_each(|_| peer.bytes(frame(FINAL | PING, "")).unwrap());
        peer.bytes(frame(FINAL | TEXT, message(""))).unwrap();
        (0..100).for_each(|_| peer.bytes(frame(FINAL | PING, "")).unwrap());
        peer.pass(seconds(30)).unwrap();
    }
}

#[test]
fn a_close_is_answered_and_ends_it() {
    let mut peer = open();
    assert_eq!(peer.bytes(frame(FINAL | CLOSE, [0x03, 0xe8])), Err(Fault::Closed));
    peer.stream.close(&mut peer.out);
    peer.stream.write(message("").as_bytes(), &mut peer.out);
    assert_eq!(frames(&mut peer.out), [(FINAL | CLOSE, vec![0x03, 0xe8])]);

    let mut peer = open();
    peer.stream.close(&mut peer.out);
    assert_eq!(close_code(&mut peer.out), Some(1001));
    peer.stream.write(message("").as_bytes(), &mut peer.out);
    assert_eq!(frames(&mut peer.out), []);
}

#[test]
fn a_browser_that_has_vanished_misses_two_pings_and_is_gone() {
    let mut peer = open();
    for _ in 0..5 {
        peer.pass(seconds(30)).unwrap();
        assert_eq!(frames(&mut peer.out), [(FINAL | PING, vec![])]);
        peer.bytes(frame(FINAL | PONG, "")).unwrap();
    }
    peer.pass(seconds(60)).unwrap();
    assert_eq!(frames(&mut peer.out).len(), 2);
    assert_eq!(peer.pass(seconds(30)), Err(Fault::WebSocket(WebSocketFault::NoPong)));
}

#[test]
fn a_message_in_pieces_has_its_time_and_pings_between_give_it_no_more() {
    let mut peer = open();
    peer.bytes(frame(TEXT, "OPTIONS")).unwrap();
    peer.pass(seconds(9)).unwrap();
    peer.bytes(frame(FINAL | PING, "")).unwrap();
    assert_eq!(peer.pass(seconds(1)), Err(Fault::SlowMessage));
}

#[test]
fn pings_that_are_always_cut_by_a_read_have_each_their_own_time() {
    let mut peer = open();
    let ping = frame(FINAL | PING, "x");
    peer.bytes(&ping[..3]).unwrap();
    for _ in 0..5 {
        peer.pass(seconds(4)).unwrap();
        peer.bytes([&ping[3..], &ping[..3]].concat()).unwrap();
    }
    assert_eq!(peer.pass(seconds(10)), Err(Fault::SlowMessage));
}

#[test]
fn a_secure_one_is_upgraded_in_tls_and_answers_in_tls() {
    let rules = Arc::new(Rules::default());
    let mut peer = Peer::new(Kind::SecureWebSocket(certified::server(&[&TLS13]), rules));
    let mut client = client_of_rustls(&[&TLS13]);
    // It comes with the end of the handshake.
    client.writer().write_all(format!("{REQUEST}{SIP}\r\n").as_bytes()).unwrap();
    settle(&mut client, &mut peer);
    assert!(peer.stream.is_open());
    let read = |client: &mut rustls::ClientConnection| {
        let mut bytes = vec![0; 1_000];
        let length = client.reader().read(&mut bytes).unwrap();
        bytes.truncate(length);
        bytes
    };
    assert!(read(&mut client).starts_with(b"HTTP/1.1 101 "));

    client.writer().write_all(&frame(FINAL | TEXT, message("secure"))).unwrap();
    client.writer().write_all(&frame(FINAL | PING, "x")).unwrap();
    settle(&mut client, &mut peer);
    assert_eq!(peer.messages, [message("secure")]);
    assert_eq!(peer.stream.transport(), Transport::Wss);
    assert_eq!(frames(&mut read(&mut client)), [(FINAL | PONG, b"x".to_vec())]);

    peer.stream.write(message("answer").as_bytes(), &mut peer.out);
    peer.pass(seconds(30)).unwrap();
    settle(&mut client, &mut peer);
    let expected = [(FINAL | TEXT, message("answer").into_bytes()), (FINAL | PING, vec![])];
    assert_eq!(frames(&mut read(&mut client)), expected);

    client.writer().write_all(&[FINAL | TEXT, 0]).unwrap();
    let mut bytes = Vec::new();
    client.write_tls(&mut bytes).unwrap();
    assert_eq!(peer.bytes(bytes), Err(Fault::WebSocket(WebSocketFault::Unmasked)));
    peer.stream.close(&mut peer.out);
    settle_close(&mut client, &mut peer);
    assert_eq!(close_code(&mut read(&mut client)), Some(1002));
}

/// Reads the last bytes of a server.
fn settle_close(client: &mut rustls::ClientConnection, peer: &mut Peer) {
    let bytes = take(&mut peer.out);
    client.read_tls(&mut bytes.as_slice()).unwrap();
    client.process_new_packets().unwrap();
}

#[test]
fn a_connection_whose_tls_is_done_elsewhere_keeps_the_name_of_its_transport() {
    let mut peer = open();
    for (transport, bytes) in [
        (Transport::Tls, message("").into_bytes()),
        (Transport::Wss, frame(FINAL | TEXT, message(""))),
        (Transport::Tcp, message("").into_bytes()),
    ] {
        peer.stream = Stream::resumed(transport, Limits::default(), peer.now);
        peer.bytes(bytes).unwrap();
        assert_eq!((peer.stream.transport(), take(&mut peer.messages)), (transport, vec![message("")]));
        assert!(peer.stream.is_open());
    }
}
