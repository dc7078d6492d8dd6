use std::mem::take;

use rustls::version::{TLS12, TLS13};
use rustls::{ClientConnection, DEFAULT_VERSIONS, SupportedProtocolVersion};

use super::certificates as certified;
use super::*;

pub(super) type Versions<'a> = &'a [&'static SupportedProtocolVersion];

pub(super) fn called(versions: Versions<'_>) -> Peer {
    Peer::new(Kind::Tls(certified::server(versions)))
}

fn caller(versions: Versions<'_>) -> Peer {
    Peer::new(Kind::TlsClient(certified::client(versions), certified::localhost()))
}

/// Carries bytes both ways, `piece` at a time, until none are left.
fn exchange(one: &mut Peer, other: &mut Peer, piece: usize) {
    one.bytes("").unwrap();
    loop {
        let (ours, theirs) = (take(&mut one.out), take(&mut other.out));
        if ours.is_empty() && theirs.is_empty() {
            return;
        }
        ours.chunks(piece).for_each(|piece| other.bytes(piece).unwrap());
        theirs.chunks(piece).for_each(|piece| one.bytes(piece).unwrap());
    }
}

/// A client and a server whose handshake is done.
fn open(versions: Versions<'_>) -> (Peer, Peer) {
    let (mut client, mut server) = (caller(versions), called(versions));
    exchange(&mut client, &mut server, usize::MAX);
    assert!(client.stream.is_open() && server.stream.is_open());
    (client, server)
}

#[test]
fn messages_go_both_ways_in_each_version_and_in_pieces_of_each_size() {
    for versions in [&[&TLS12] as Versions<'_>, &[&TLS13]] {
        for piece in [1, 2, 7, 100, usize::MAX] {
            let (mut client, mut server) = (caller(versions), called(versions));
            // Messages written during the handshake wait for its end.
            client.stream.write(message("early").as_bytes(), &mut client.out);
            exchange(&mut client, &mut server, piece);
            server.bytes("").unwrap();
            assert_eq!(server.messages, [message("early")], "{piece}");

            let large = message(&"x".repeat(60_000));
            server.stream.write(large.as_bytes(), &mut server.out);
            client.stream.write(message("next").as_bytes(), &mut client.out);
            exchange(&mut client, &mut server, piece);
            assert_eq!(server.messages[1..], [message("next")], "{piece}");
            assert_eq!(client.messages, [large], "{piece}");
            assert_eq!(server.stream.transport(), Transport::Tls);
        }
    }
}

#[test]
fn a_message_that_cannot_wait_for_the_handshake_or_comes_after_the_end_is_said_to_be_lost() {
    let (mut client, mut server) = (caller(&[&TLS13]), called(&[&TLS13]));
    let large = message(&"x".repeat(30_000));
    let taken = (0..4).map(|_| client.stream.write(large.as_bytes(), &mut client.out));
    assert_eq!(taken.collect::<Vec<_>>(), [true, true, false, false]);
    exchange(&mut client, &mut server, usize::MAX);
    server.bytes("").unwrap();
    assert_eq!(server.messages, [large.as_str(), large.as_str()]);
    assert!(client.stream.write(large.as_bytes(), &mut client.out));
    client.stream.close(&mut client.out);
    assert!(!client.stream.write(large.as_bytes(), &mut client.out));
}

#[test]
fn the_call_that_completes_the_handshake_gives_no_message_and_the_next_one_does() {
    let (mut client, mut server) = (caller(&[&TLS13]), called(&[&TLS13]));
    client.bytes("").unwrap();
    server.bytes(take(&mut client.out)).unwrap();
    client.bytes(take(&mut server.out)).unwrap();
    client.stream.write(message("with finished").as_bytes(), &mut client.out);
    assert!(!server.stream.is_open());
    server.bytes(take(&mut client.out)).unwrap();
    assert!(server.stream.is_open() && server.messages.is_empty());
    server.bytes("").unwrap();
    assert_eq!(server.messages, [message("with finished")]);
}

#[test]
fn a_message_in_two_records_or_two_messages_in_one_are_the_same() {
    let (mut client, mut server) = open(DEFAULT_VERSIONS);
    let two = format!("{}{}", message("one"), message("two"));
    for cut in 1..two.len() {
        let (front, back) = two.as_bytes().split_at(cut);
        client.stream.write(front, &mut client.out);
        client.stream.write(back, &mut client.out);
        exchange(&mut client, &mut server, usize::MAX);
        assert_eq!(take(&mut server.messages), [message("one"), message("two")], "{cut}");
    }
}

#[test]
fn new_keys_on_an_idle_connection_are_answered_at_once() {
    let (mut server, mut raw) = (called(&[&TLS13]), client_of_rustls(&[&TLS13]));
    settle(&mut raw, &mut server);
    raw.refresh_traffic_keys().unwrap();
    server.bytes(written(&mut raw)).unwrap();
    assert!(!server.out.is_empty(), "the peer waits for our new keys");
    settle(&mut raw, &mut server);
    server.stream.write(message("in new keys").as_bytes(), &mut server.out);
    settle(&mut raw, &mut server);
    let mut plaintext = vec![0; 1_000];
    let length = std::io::Read::read(&mut raw.reader(), &mut plaintext).unwrap();
    assert_eq!(text(&plaintext[..length]), message("in new keys"));
}

#[test]
fn a_thousand_new_keys_close_the_connection() {
    let (mut server, mut raw) = (called(&[&TLS13]), client_of_rustls(&[&TLS13]));
    settle(&mut raw, &mut server);
    let gone = (0..1_000).find_map(|_| {
        raw.refresh_traffic_keys().unwrap();
        server.bytes(written(&mut raw)).err()
    });
    assert_eq!(gone, Some(Fault::Tls(TlsFault::Misbehaved)));
    assert!(server.out.len() < 4_000, "{}", server.out.len());
}

#[test]
fn an_end_said_on_an_idle_connection_is_answered_at_once_or_after_our_last_words() {
    let (mut client, mut server) = open(&[&TLS12]);
    client.stream.close(&mut client.out);
    assert_eq!(server.bytes(take(&mut client.out)), Err(Fault::Closed));
    assert_eq!(client.bytes(take(&mut server.out)), Err(Fault::Closed));

    let (mut client, mut server) = open(&[&TLS13]);
    client.stream.close(&mut client.out);
    assert_eq!(server.bytes(take(&mut client.out)), Err(Fault::Closed));
    server.stream.write(message("the answer").as_bytes(), &mut server.out);
    server.stream.close(&mut server.out);
    server.stream.write(message("too late").as_bytes(), &mut server.out);
    assert_eq!(client.bytes(take(&mut server.out)), Err(Fault::Closed));
    assert_eq!(client.messages, [message("the answer")]);
}

#[test]
fn an_older_version_garbage_and_sip_get_an_alert_and_are_told_apart() {
    let hello = hello_of_tls_1_1();
    for (bytes, fault) in [
        (hello.as_slice(), TlsFault::Version),
        (message("").as_bytes(), TlsFault::Garbage),
        (&[0x16, 3, 1, 0xff, 0xff, 1, 2, 3], TlsFault::Garbage),
        (&[0x16, 3, 1, 0, 4, 9, 0, 0, 0], TlsFault::Misbehaved),
    ] {
        let mut server = called(DEFAULT_VERSIONS);
        let gone = bytes.iter().find_map(|byte| server.bytes([*byte]).err());
        assert_eq!(gone, Some(Fault::Tls(fault)));
        assert_eq!(server.out.first(), Some(&0x15), "{fault:?}: an alert");
    }
}

#[test]
fn a_handshake_that_stops_half_way_is_given_up() {
    let (mut client, mut server) = (caller(DEFAULT_VERSIONS), called(DEFAULT_VERSIONS));
    client.bytes("").unwrap();
    server.bytes(&client.out[..100]).unwrap();
    server.pass(seconds(9)).unwrap();
    assert_eq!(server.pass(seconds(1)), Err(Fault::SlowHandshake));
    assert_eq!(called(DEFAULT_VERSIONS).pass(seconds(10)), Err(Fault::Silent));
}

#[test]
fn half_a_record_is_a_message_that_takes_too_long() {
    let (mut client, mut server) = open(DEFAULT_VERSIONS);
    client.stream.write(message("").as_bytes(), &mut client.out);
    let record = take(&mut client.out);
    server.bytes(&record[..20]).unwrap();
    server.pass(seconds(9)).unwrap();
    assert_eq!(server.pass(seconds(1)), Err(Fault::SlowMessage));
    server.bytes(&record[20..]).unwrap();
    server.pass(seconds(599)).unwrap();
    assert_eq!(server.pass(seconds(1)), Err(Fault::Idle));
}

#[test]
fn a_fault_in_what_it_carries_leaves_it_open_for_answers() {
    let (mut client, mut server) = open(DEFAULT_VERSIONS);
    client.stream.write(format!("{HEAD}l: x\r\n\r\n").as_bytes(), &mut client.out);
    assert_eq!(server.bytes(take(&mut client.out)), Err(Fault::Framing(StreamFault::ContentLength)));
    server.stream.write(message("answer").as_bytes(), &mut server.out);
    client.bytes(take(&mut server.out)).unwrap();
    assert_eq!(client.messages, [message("answer")]);
}

#[test]
fn the_first_byte_tells_tls() {
    let sniffed = || Peer::new(Kind::Sniffed(certified::server(DEFAULT_VERSIONS)));
    let (mut client, mut server) = (caller(DEFAULT_VERSIONS), sniffed());
    server.pass(seconds(29)).unwrap();
    exchange(&mut client, &mut server, 1);
    assert_eq!(server.stream.transport(), Transport::Tls);

    let mut server = sniffed();
    assert!(!server.stream.is_open());
    server.bytes(&message("plain")[..1]).unwrap();
    server.bytes(&message("plain")[1..]).unwrap();
    assert_eq!((server.stream.transport(), server.messages), (Transport::Tcp, vec![message("plain")]));
    assert_eq!(sniffed().pass(seconds(30)), Err(Fault::Silent));
}

#[test]
fn keepalives_are_answered_in_records() {
    let (mut client, mut server) = open(DEFAULT_VERSIONS);
    client.stream.write(b"\r\n\r\n", &mut client.out);
    server.bytes(take(&mut client.out)).unwrap();
    assert!(server.out.len() > 20, "{:?}", server.out);
    client.bytes(take(&mut server.out)).unwrap();
}

/// A client that can do more than ours.
pub(super) fn client_of_rustls(versions: Versions<'_>) -> ClientConnection {
    ClientConnection::new(certified::client(versions), certified::localhost()).unwrap()
}

/// Carries bytes both ways until none are left.
pub(super) fn settle(client: &mut ClientConnection, server: &mut Peer) {
    while client.wants_write() || !server.out.is_empty() {
        server.bytes(written(client)).unwrap();
        let bytes = take(&mut server.out);
        let mut rest = bytes.as_slice();
        while !rest.is_empty() {
            client.read_tls(&mut rest).unwrap();
            client.process_new_packets().unwrap();
        }
    }
}

fn written(client: &mut ClientConnection) -> Vec<u8> {
    let mut bytes = Vec::new();
    while client.wants_write() {
        client.write_tls(&mut bytes).unwrap();
    }
    bytes
}

/// A hello that offers nothing newer than TLS 1.1.
fn hello_of_tls_1_1() -> Vec<u8> {
    // Version, random, no session, one cipher suite, no compression.
    let body = [&[3, 2], [7; 32].as_slice(), &[0, 0, 2, 0xc0, 0x13, 1, 0]].concat();
    let handshake = [&[1, 0, 0, body.len() as u8], body.as_slice()].concat();
    [&[0x16, 3, 1, 0, handshake.len() as u8], handshake.as_slice()].concat()
}
