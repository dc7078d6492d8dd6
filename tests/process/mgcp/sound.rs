//! Connections carry RTP: back in test modes, across a bridge.

use std::net::UdpSocket;
use std::time::Duration;

use super::*;
use crate::support::{DEADLINE, wait_for};

fn packet(sequence: u16, ssrc: u32, payload: u8) -> Vec<u8> {
    let mut packet = vec![0x80, 0];
    packet.extend_from_slice(&sequence.to_be_bytes());
    packet.extend_from_slice(&(u32::from(sequence) * 160).to_be_bytes());
    packet.extend_from_slice(&ssrc.to_be_bytes());
    packet.extend_from_slice(&[payload; 160]);
    packet
}

fn phone(agent: &Agent) -> UdpSocket {
    let phone = UdpSocket::bind((agent.address().ip(), 0)).unwrap();
    phone.set_read_timeout(Some(DEADLINE)).unwrap();
    phone
}

fn description(phone: &UdpSocket) -> String {
    let address = phone.local_addr().unwrap();
    let (ip, port) = (address.ip(), address.port());
    format!("\r\nv=0\r\no=- 1 1 IN IP4 {ip}\r\ns=-\r\nc=IN IP4 {ip}\r\nt=0 0\r\nm=audio {port} RTP/AVP 0")
}

#[test]
fn a_loopback_connection_sends_back_what_it_hears_and_counts_it() {
    let (pointsman, well_known, agent) = gateway(1);
    let phone = phone(&agent);
    let made =
        create(&agent, well_known, "ann/$@ms", &["C: 1", "L: p:20, a:PCMU", "M: loopback", &description(&phone)]);
    let media = made.media_address();
    assert_eq!(media.port() % 2, 0, "RTP has an even port");
    let mut buffer = [0; 2_048];
    for sequence in 0..10 {
        let sent = packet(sequence, 7, sequence as u8);
        phone.send_to(&sent, media).unwrap();
        let (length, from) = phone.recv_from(&mut buffer).unwrap();
        assert_eq!((from, &buffer[12..length]), (media, &sent[12..]), "packet {sequence}");
    }
    let connection = format!("I: {}", made.need("I"));
    let audited = ask(&agent, well_known, "AUCX", made.need("Z"), &[&connection, "F: P"]);
    assert!(audited.need("P").contains("PS=10") && audited.need("P").contains("PR=10"), "{}", audited.text);
    let deleted = ask(&agent, well_known, "DLCX", made.need("Z"), &["C: 1", &connection]);
    assert_eq!(deleted.code(), 250);
    assert!(deleted.need("P").contains("PS=10") && deleted.need("P").contains("OR=1600"), "{}", deleted.text);
    wait_until_empty(&pointsman);
}

#[test]
fn two_connections_of_one_bridge_hear_each_other() {
    let (pointsman, well_known, agent) = gateway(2);
    let (left, right) = (phone(&agent), phone(&agent));
    let first = create(&agent, well_known, "bridge/$@ms", &["C: B1", "L: a:PCMU", "M: sendrecv", &description(&left)]);
    let name = first.need("Z").to_owned();
    let second = create(&agent, well_known, &name, &["C: B1", "L: a:PCMU", "M: sendrecv", &description(&right)]);
    let (to_left, to_right) = (first.media_address(), second.media_address());
    let mut buffer = [0; 2_048];
    for sequence in 0..10 {
        let sent = packet(sequence, 1, 0x11);
        left.send_to(&sent, to_left).unwrap();
        let (length, from) = right.recv_from(&mut buffer).unwrap();
        assert_eq!((from, &buffer[12..length]), (to_right, &sent[12..]), "to the right, packet {sequence}");
        let sent = packet(sequence, 2, 0x22);
        right.send_to(&sent, to_right).unwrap();
        let (length, from) = left.recv_from(&mut buffer).unwrap();
        assert_eq!((from, &buffer[12..length]), (to_left, &sent[12..]), "to the left, packet {sequence}");
    }
    // An inactive leg hears nothing; packets sent meanwhile never come.
    let connection = format!("I: {}", second.need("I"));
    let changed = ask(&agent, well_known, "MDCX", &name, &["C: B1", &connection, "M: inactive"]);
    assert_eq!(changed.code(), 200, "{}", changed.text);
    left.send_to(&packet(100, 1, 0x33), to_left).unwrap();
    // Sound and commands come by different sockets: a packet that the worker has not read yet could still be passed on.
    let own = format!("I: {}", first.need("I"));
    wait_for("the packet to be read", DEADLINE, || {
        let audited = ask(&agent, well_known, "AUCX", &name, &[&own, "F: P"]);
        audited.need("P").contains("PR=11").then_some(())
    });
    let changed = ask(&agent, well_known, "MDCX", &name, &["C: B1", &connection, "M: sendrecv"]);
    assert_eq!(changed.code(), 200, "{}", changed.text);
    left.send_to(&packet(101, 1, 0x44), to_left).unwrap();
    let (length, _) = right.recv_from(&mut buffer).unwrap();
    assert_eq!(buffer[length - 1], 0x44);
    assert!(matches!(ask(&agent, well_known, "DLCX", &name, &["C: B1"]).code(), 200 | 250));
    right.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
    left.send_to(&packet(102, 1, 0x55), to_left).unwrap();
    assert!(right.recv_from(&mut buffer).is_err(), "a deleted connection still sends");
    wait_until_empty(&pointsman);
}
