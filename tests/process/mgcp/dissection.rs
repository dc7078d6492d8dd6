//! Another implementation reads our messages: each kind of answer and command goes through Wireshark's dissectors.

use std::net::Ipv4Addr;
use std::path::Path;
use std::process::Command;

use super::*;
use crate::support::pass_over;

/// A capture file of UDP datagrams from the well-known MGCP port: link type 101, bare IPv4.
fn capture(datagrams: &[Vec<u8>]) -> Vec<u8> {
    let mut file = Vec::new();
    for word in [0xa1b2_c3d4_u32, 0x0004_0002, 0, 0, 65_535, 101] {
        file.extend_from_slice(&word.to_le_bytes());
    }
    for (second, datagram) in datagrams.iter().enumerate() {
        let length = 28 + datagram.len();
        for word in [second as u32, 0, length as u32, length as u32] {
            file.extend_from_slice(&word.to_le_bytes());
        }
        let mut ip = vec![0x45, 0, (length >> 8) as u8, length as u8, 0, 0, 0, 0, 64, 17, 0, 0];
        ip.extend_from_slice(&Ipv4Addr::new(127, 0, 0, 1).octets());
        ip.extend_from_slice(&Ipv4Addr::new(127, 0, 0, 2).octets());
        let udp = length - 20;
        for half in [2_427, 2_727, udp as u16, 0] {
            ip.extend_from_slice(&half.to_be_bytes());
        }
        file.extend_from_slice(&ip);
        file.extend_from_slice(datagram);
    }
    file
}

fn tshark(file: &Path, words: &[&str]) -> Option<String> {
    let output = Command::new("tshark").arg("-r").arg(file).args(words).output().ok()?;
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Some(String::from_utf8_lossy(&output.stdout).into_owned())
}

#[test]
fn tshark_dissects_every_kind_of_answer_without_an_error() {
    let dir = tempfile::tempdir().unwrap();
    let (_pointsman, well_known, agent, told) = super::life::gateway_with_call_agent(2, dir.path());
    super::life::expect_restart(&told, "restart", |_| true);
    let entity = format!("N: ca@[{}]:{}", agent.address().ip(), agent.address().port());
    let phone = std::net::UdpSocket::bind((agent.address().ip(), 0)).unwrap();
    // Sound counts from the host that the description names.
    let (host, port) = (agent.address().ip(), phone.local_addr().unwrap().port());
    let remote =
        format!("\r\nv=0\r\no=- 1 1 IN IP4 {host}\r\ns=-\r\nc=IN IP4 {host}\r\nt=0 0\r\nm=audio {port} RTP/AVP 0 8");
    let remote = remote.as_str();
    let made = create(&agent, well_known, "ann/$@ms", &["C: 1", "L: p:20, a:PCMU;PCMA", "M: loopback", remote]);
    let (name, connection) = (made.need("Z").to_owned(), format!("I: {}", made.need("I")));
    create(&agent, well_known, "bridge/$@ms", &["C: 2", "M: recvonly"]);
    let request = ["X: 1", "R: R/ma(N), G/oc(A)", "Q: loop", &entity];
    assert_eq!(ask(&agent, well_known, "RQNT", &name, &request).code(), 200);
    phone
        .send_to(&[&[0x80, 0, 0, 1, 0, 0, 0, 0, 1, 2, 3, 4][..], &[0x7f; 160]].concat(), made.media_address())
        .unwrap();
    expect_command(&agent, "NTFY", |_| true);
    for (verb, endpoint, lines) in [
        ("MDCX", name.as_str(), &["C: 1", &connection, "M: sendrecv", remote][..]),
        ("EPCF", &name, &["B: e:A"]),
        ("AUEP", &name, &[]),
        ("AUEP", &name, &["F: A,R,D,S,X,N,I,T,O,ES"]),
        ("AUEP", "ann/*@ms", &[]),
        ("AUCX", &name, &[&connection, "F: C,N,L,M,RC,LC,P"]),
        ("AUEP", "ann/none/1@ms", &[]),
        ("FROB", &name, &[]),
        ("RQNT", &name, &["X: 1", "S: G/rt"]),
        ("CRCX", "ann/$@ms", &["C: 3", "M: confrnce"]),
        ("MDCX", &name, &["C: 1", "I: FFFF"]),
        ("DLCX", &name, &["C: 1", &connection]),
        ("DLCX", "bridge/*@ms", &[]),
    ] {
        ask(&agent, well_known, verb, endpoint, lines);
    }
    agent.send_bytes(b"AUEP 900001 ann/$@ms MGCP 2.0\r\n", well_known);
    agent.expect("a refusal", |said| said.id() == 900_001);
    let mut datagrams = agent.heard();
    datagrams.extend(told.heard());
    assert!(datagrams.len() >= 17, "{}", datagrams.len());

    let file = dir.path().join("answers.pcap");
    std::fs::write(&file, capture(&datagrams)).unwrap();
    let decode = ["-d", "udp.port==2427,mgcp"];
    let Some(protocols) = tshark(&file, &[&decode[..], &["-T", "fields", "-e", "frame.protocols"]].concat()) else {
        return pass_over("there is no tshark");
    };
    assert!(protocols.lines().all(|line| line.contains(":mgcp")), "{protocols}");
    assert!(protocols.lines().any(|line| line.contains(":sdp")), "{protocols}");
    let faults = "_ws.malformed || _ws.expert.severity == \"Error\" || _ws.expert.severity == \"Warning\"";
    let found = tshark(&file, &[&decode[..], &["-Y", faults, "-V"]].concat()).unwrap();
    assert!(found.is_empty(), "{found}");
}
