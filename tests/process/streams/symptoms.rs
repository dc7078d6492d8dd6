//! Symptoms that other systems were reported for, each at the whole process.

use std::net::TcpListener;

use super::*;
use crate::support::own_address;

/// A request with another sent-by in its Via.
fn sent_by(request: &str, sent_by: &str) -> String {
    let (front, rest) = request.split_once("Via: SIP/2.0/TCP ").unwrap();
    let (_, rest) = rest.split_once(';').unwrap();
    format!("{front}Via: SIP/2.0/TCP {sent_by};{rest}")
}

/// A listener at another port of this host, which never waits.
fn listener(host: SocketAddr) -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind((host.ip(), 0)).unwrap();
    listener.set_nonblocking(true).unwrap();
    let at = listener.local_addr().unwrap();
    (listener, at)
}

/// An INVITE that rings for so many milliseconds.
fn ringing(line: &Line, to: SocketAddr, call_id: &str, milliseconds: u64) -> (String, String) {
    let uri = format!("sip:service@{to};ring={milliseconds}");
    (line.request("INVITE", &uri, (call_id, &format!("<sip:service@{to}>")), 1), uri)
}

#[test]
fn a_cancel_over_tcp_with_another_sent_by_than_its_invite_ends_the_call() {
    for lanes in [1, 2] {
        let rig = Rig::with(Setup::new(2).lanes(lanes), "");
        let mut line = rig.line(false);
        for call in 0..4 {
            let (invite, uri) = ringing(&line, rig.tcp, &format!("cancelled-{call}"), 60_000);
            line.send(invite.as_bytes()).unwrap();
            while !line.receive().unwrap().starts_with("SIP/2.0 180") {}
            // The branch is that of the INVITE.
            let cancel = invite.replacen("INVITE ", "CANCEL ", 1).replacen("CSeq: 1 INVITE", "CSeq: 1 CANCEL", 1);
            let (head, _) = cancel.split_once("Content-Type").unwrap();
            let cancel = format!("{head}Content-Length: 0\r\n\r\n");
            assert!(cancel.starts_with(&format!("CANCEL {uri} ")));
            line.send(sent_by(&cancel, "another.example:5099").as_bytes()).unwrap();
            let mut finals = Vec::new();
            while finals.len() < 2 {
                let answer = line.receive().unwrap();
                let status = answer.split(' ').nth(1).unwrap().to_owned();
                if !status.starts_with('1') {
                    finals.push(status);
                }
            }
            finals.sort();
            assert_eq!(finals, ["200", "487"], "{lanes} lanes, call {call}");
        }
    }
}

#[test]
fn an_answer_after_a_reset_goes_to_the_sent_by_port_on_a_new_connection_and_never_to_the_source_port() {
    let rig = Rig::new(1);
    // An address of its own: connections of earlier tests may linger at ports of the usual one.
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::from((own_address(), 0)).into()).unwrap();
    socket.connect(&rig.tcp.into()).unwrap();
    let mut line = Line::of(socket.into());
    let (caller, at) = listener(line.local_addr());
    let (invite, _) = ringing(&line, rig.tcp, "reset", 1_000);
    line.send(sent_by(&invite, &at.to_string()).as_bytes()).unwrap();
    while !line.receive().unwrap().starts_with("SIP/2.0 180") {}
    // It answers at the port that the connection had as well, so that a wrong one would be seen.
    let source = line.local_addr();
    line.reset();
    let at_source = wait_for("the port of the connection", DEADLINE, || TcpListener::bind(source).ok());
    let (socket, from) = wait_for("a connection to the sent-by port", DEADLINE, || caller.accept().ok());
    socket.set_nonblocking(false).unwrap();
    let mut anew = Line::of(socket);
    let answer = anew.receive_final("INVITE").unwrap();
    assert!(answer.starts_with("SIP/2.0 200") && answer.contains("Call-ID: reset\r\n"), "from {from}: {answer}");
    let answered = Answered::of(&answer).unwrap();
    anew.ack(&answered, &answered.contact).unwrap();
    assert!(anew.bye(&answered, &answered.contact).unwrap().starts_with("SIP/2.0 200"));
    at_source.set_nonblocking(true).unwrap();
    assert_eq!(at_source.accept().unwrap_err().kind(), io::ErrorKind::WouldBlock);
}

#[test]
fn an_answer_leaves_on_the_open_connection_although_its_sent_by_port_could_be_reached() {
    let rig = Rig::new(1);
    let mut line = rig.line(false);
    let (caller, at) = listener(line.local_addr());
    let (invite, uri) = ringing(&line, rig.tcp, "open", 200);
    line.send(sent_by(&invite, &at.to_string()).as_bytes()).unwrap();
    let answered = Answered::of(&line.receive_final("INVITE").unwrap()).unwrap();
    line.ack(&answered, &uri).unwrap();
    assert!(line.bye(&answered, &uri).unwrap().starts_with("SIP/2.0 200"));
    assert_eq!(caller.accept().unwrap_err().kind(), io::ErrorKind::WouldBlock);
}

#[test]
fn a_dialogs_bye_follows_the_connection_that_its_last_request_came_on_and_dials_no_advertised_port() {
    let rig = Rig::with(Setup::new(1).with(["--stop-after", "1s"]), "");
    let mut line = rig.line(false);
    let (caller, at) = listener(line.local_addr());
    let contact = format!("Contact: <sip:caller@{at}");
    let own = format!("Contact: <sip:caller@{}", line.local_addr());
    let uri = format!("sip:service@{}", rig.tcp);
    let invite = line.request("INVITE", &uri, ("followed", &format!("<{uri}>")), 1).replace(&own, &contact);
    line.send(invite.as_bytes()).unwrap();
    let answered = Answered::of(&line.receive_final("INVITE").unwrap()).unwrap();
    // It follows Contact to the worker's own port.
    let port = answered.contact.split([':', ';', '>']).nth(2).and_then(|port| port.parse().ok()).unwrap();
    let mut own_line = Line::tcp(SocketAddr::new(rig.tcp.ip(), port)).unwrap();
    own_line.ack(&answered, &answered.contact).unwrap();
    let options = own_line.request("OPTIONS", &answered.contact, (&answered.call_id, &answered.to), 2);
    own_line.send(options.as_bytes()).unwrap();
    assert!(own_line.receive_final("OPTIONS").unwrap().starts_with("SIP/2.0 200"));
    rig.pointsman.ask_to_stop();
    let bye = own_line.receive().unwrap();
    assert!(bye.starts_with("BYE sip:caller@"), "{bye}");
    assert_eq!(caller.accept().unwrap_err().kind(), io::ErrorKind::WouldBlock);
}

/// Sends 60 OPTIONS over TLS in one write with the end of the handshake; the answers that have come when the dispatcher
/// closes or says nothing more.
fn burst(rig: &Rig, at: SocketAddr, ends: bool) -> usize {
    let name = rustls::pki_types::ServerName::try_from("localhost").unwrap();
    let mut session = rustls::ClientConnection::new(Arc::clone(&rig.config), name).unwrap();
    let mut socket = std::net::TcpStream::connect(at).unwrap();
    socket.set_read_timeout(Some(DEADLINE)).unwrap();
    for number in 0..60 {
        let request = format!(
            "OPTIONS sip:{to} SIP/2.0\r\nVia: SIP/2.0/TLS {from};branch=z9hG4bK{number}\r\nMax-Forwards: 70\r\n\
             From: <sip:a@{from}>;tag=1\r\nTo: <sip:{to}>\r\nCall-ID: burst-{number}-{ends}\r\nCSeq: 1 OPTIONS\r\n\
             X-Fill: {fill}\r\nContent-Length: 0\r\n\r\n",
            to = at,
            from = socket.local_addr().unwrap(),
            fill = "x".repeat(600),
        );
        io::Write::write_all(&mut session.writer(), request.as_bytes()).unwrap();
    }
    session.write_tls(&mut socket).unwrap();
    while session.is_handshaking() {
        session.read_tls(&mut socket).unwrap();
        session.process_new_packets().unwrap();
    }
    let mut bytes = Vec::new();
    while session.wants_write() {
        session.write_tls(&mut bytes).unwrap();
    }
    io::Write::write_all(&mut socket, &bytes).unwrap();
    if ends {
        socket.shutdown(std::net::Shutdown::Write).unwrap();
    }
    let mut answers = Vec::new();
    let count = |answers: &[u8]| String::from_utf8_lossy(answers).matches("SIP/2.0 200").count();
    while count(&answers) < 60 && session.read_tls(&mut socket).is_ok_and(|read| read > 0) {
        session.process_new_packets().unwrap();
        // The bytes that have come may be no whole record yet.
        let _ = io::Read::read_to_end(&mut session.reader(), &mut answers);
    }
    count(&answers)
}

#[test]
fn messages_that_come_with_the_end_of_a_handshake_are_answered() {
    let rig = Rig::new(1);
    for at in [rig.tls, rig.pointsman.worker_address(0)] {
        assert_eq!(burst(&rig, at, false), 60, "{at}");
        assert_eq!(burst(&rig, at, true), 60, "{at}: the caller has ended its half");
    }
}
