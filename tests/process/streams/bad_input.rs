//! Peers that speak something else, say nothing, or want too much.

use super::*;

/// Answers to bytes on a new plain connection, until it is closed.
fn said(rig: &Rig, bytes: &[u8]) -> String {
    let mut line = rig.line(false);
    // The other end may close it before all is written.
    let _ = line.send(bytes);
    let mut said = String::new();
    while let Ok(message) = line.receive() {
        said += &message;
    }
    said
}

#[test]
fn bytes_that_are_no_sip_close_their_connection_and_disturb_no_other() {
    let rig = Rig::new(1);
    let mut honest = rig.line(false);
    for garbage in [
        &b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"[..],
        b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
        &[0xff; 1_000],
        &[b'x'; 40_000],
        "INVITE sip:a SIP/2.0\r\n".repeat(10).as_bytes(),
        ["OPTIONS sip:a@b SIP/2.0\r\n", &"a: b\r\n".repeat(100), "\r\n"].concat().as_bytes(),
    ] {
        assert_eq!(said(&rig, garbage), "", "{:?}", String::from_utf8_lossy(&garbage[..20.min(garbage.len())]));
        let answered = honest.call(rig.tcp, &format!("honest-{}", garbage.len())).unwrap();
        assert!(honest.bye(&answered, &format!("sip:service@{}", rig.tcp)).unwrap().starts_with("SIP/2.0 200"));
    }
    for garbage in [&b"INVITE sip:a SIP/2.0\r\n\r\n"[..], b"\x16\x03\x01\x00\x05garbage", &[0; 5_000]] {
        let mut line = Line::tcp(rig.tls).unwrap();
        let _ = line.send(garbage);
        assert!(line.receive().is_err());
    }
}

#[test]
fn a_message_whose_end_cannot_be_told_is_answered_and_its_connection_closed() {
    let rig = Rig::new(1);
    for (length, status) in [
        ("", "400"),
        ("Content-Length: -1\r\n", "400"),
        ("Content-Length: 1\r\nl: 2\r\n", "400"),
        ("Content-Length: 65536\r\n", "513"),
    ] {
        let request = format!(
            "OPTIONS sip:a@{0} SIP/2.0\r\nVia: SIP/2.0/TCP 127.0.0.1;branch=z9hG4bK-1\r\nMax-Forwards: 70\r\n\
             From: <sip:b@c>;tag=1\r\nTo: <sip:a@{0}>\r\nCall-ID: 1\r\nCSeq: 1 OPTIONS\r\n{length}\r\n",
            rig.tcp
        );
        let said = said(&rig, request.as_bytes());
        assert!(said.starts_with(&format!("SIP/2.0 {status} ")), "{length}: {said}");
    }
}

#[test]
fn a_source_has_its_share_of_the_connections_and_others_are_served() {
    let rig = Rig::with(Setup::new(1), "max-connections = 40\nmax-connections-per-source = 20");
    let mut greedy: Vec<Line> = (0..60).filter_map(|_| Line::tcp(rig.tcp).ok()).collect();
    let mut open = 0;
    for (number, line) in greedy.iter_mut().enumerate() {
        open += usize::from(line.call(rig.tcp, &format!("greedy-{number}")).is_ok());
    }
    assert_eq!(open, 20);
    // Another source: a connection from another loopback address.
    let other = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    other.bind(&SocketAddr::from((crate::support::own_address(), 0)).into()).unwrap();
    other.connect(&rig.tcp.into()).unwrap();
    let mut other = Line::of(other.into());
    assert!(other.call(rig.tcp, "other").is_ok());
    // One that ends makes room.
    drop(greedy);
    wait_for("room again", DEADLINE, || rig.line(false).call(rig.tcp, "later").ok());
}

#[test]
fn a_handshake_that_stops_half_way_keeps_no_other_waiting() {
    let rig = Rig::with(Setup::new(1), "max-handshakes = 16");
    let stalled: Vec<_> = (0..40)
        .map(|_| {
            let mut line = Line::tcp(rig.tls).unwrap();
            // The begin of a ClientHello.
            let _ = line.send(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03");
            line
        })
        .collect();
    let mut line = rig.line(true);
    assert!(line.call(rig.tls, "honest").is_ok());
    drop(stalled);
}

#[test]
fn descriptors_are_what_they_were_after_a_thousand_connections_of_each_kind() {
    let rig = Rig::new(1);
    let descriptors = || fs::read_dir(format!("/proc/{}/fd", rig.pointsman.pid())).unwrap().count();
    let mut line = rig.line(true);
    line.call(rig.tls, "first").unwrap();
    let before = descriptors();
    for number in 0..1_000 {
        let mut line = Line::tcp(if number % 2 == 0 { rig.tcp } else { rig.tls }).unwrap();
        match number % 4 {
            0 => line.send(b"OPTIONS sip:").unwrap(),
            1 => line.send(b"\x16\x03\x01\x02").unwrap(),
            2 => line.send(b"\xff\xff").unwrap(),
            _ => {}
        }
    }
    wait_for("the end of all of them", DEADLINE, || (descriptors() <= before).then_some(()));
}
