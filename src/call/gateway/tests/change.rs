//! MDCX (RFC 3435 §2.3.6, F.4).

use super::*;
use crate::call::gateway::Sound;
use crate::media::{Codec, Direction};

fn mdcx(id: u32, lines: &str) -> String {
    format!("MDCX {id} {} MGCP 1.0\r\nC: 1\r\nI: {}\r\n{lines}", name("ann", 1), super::id(1))
}

#[test]
fn f_4_the_mode_changes_without_a_description() {
    let mut rig = Rig::new();
    rig.send(&format!("CRCX 1 ann/$@gw MGCP 1.0\r\nC: 1\r\nM: recvonly\r\n\r\n{SDP}"));
    let answer = rig.send(&mdcx(2, "M: sendrecv\r\n"));
    assert_eq!(answer, "200 2 OK\r\n");
    assert_eq!(rig.media.values().next().unwrap().direction, Direction::SendRecv);
    assert_eq!(rig.send(&mdcx(3, "")), "200 3 OK\r\n");
}

#[test]
fn f_4_a_description_of_the_other_end_changes_where_packets_go() {
    let mut rig = Rig::new();
    rig.create("ann", 1);
    let answer = rig.send(&mdcx(2, &format!("M: sendrecv\r\n\r\n{SDP}")));
    assert_eq!((code(&answer), descriptions(&answer).len()), (200, 1));
    // The formats are fewer now, so the version rises (RFC 8866 §5.2).
    assert_eq!(line(&descriptions(&answer)[0], "o=").split(' ').nth(2), Some("2"));
    let flow = *rig.media.values().next().unwrap();
    assert_eq!(flow.remote, Some("128.96.41.1:3456".parse().unwrap()));
    let again = rig.send(&mdcx(3, &format!("\r\n{SDP}")));
    assert_eq!(descriptions(&again), descriptions(&answer));
}

#[test]
fn formats_keep_the_numbers_we_have_named_and_go_out_under_the_other_end_s() {
    let mut rig = Rig::new();
    rig.create("ann", 1);
    let sdp = SDP.replace("AVP 0\r\n", "AVP 0 97\r\na=rtpmap:97 telephone-event/8000\r\n");
    rig.send(&mdcx(2, &format!("\r\n{sdp}")));
    let flow = *rig.media.values().next().unwrap();
    let numbers: Vec<_> = flow.payloads.iter().map(|payload| (payload.codec, payload.receive, payload.send)).collect();
    assert_eq!(numbers, [(Codec::Pcmu, 0, 0), (Codec::TelephoneEvent, 101, 97)]);
}

#[test]
fn a_number_never_gets_another_meaning() {
    let mut rig = Rig::new();
    rig.send("CRCX 1 ann/$@gw MGCP 1.0\r\nC: 1\r\nL: a:PCMU;telephone-event\r\nM: recvonly\r\n");
    let sdp =
        SDP.replace("AVP 0\r\n", "AVP 101 97 0\r\na=rtpmap:101 PCMA/8000\r\na=rtpmap:97 telephone-event/8000\r\n");
    let answer = rig.send(&mdcx(2, &format!("L: a:PCMA;telephone-event\r\n\r\n{sdp}")));
    assert_eq!(line(&descriptions(&answer)[0], "m="), "m=audio 20000 RTP/AVP 8 101");
    let flow = *rig.media.values().next().unwrap();
    let numbers: Vec<_> = flow.payloads.iter().map(|payload| (payload.codec, payload.receive, payload.send)).collect();
    assert_eq!(numbers, [(Codec::Pcma, 8, 101), (Codec::TelephoneEvent, 101, 97)]);
}

#[test]
fn the_other_end_s_packet_time_counts_within_the_options() {
    let mut rig = Rig::new();
    rig.create("ann", 1);
    let sdp = format!("{SDP}a=ptime:40\r\n");
    for (number, options, wanted) in
        [(2, "", 40), (3, "L: p:30-60\r\n", 40), (4, "L: p:10-30\r\n", 20), (5, "L: p:60\r\n", 60)]
    {
        assert_eq!(code(&rig.send(&mdcx(number, &format!("{options}\r\n{sdp}")))), 200);
        assert_eq!(rig.media.values().next().unwrap().ptime, wanted, "{options}");
    }
}

#[test]
fn every_test_mode_turns_the_stream_back_and_needs_no_description() {
    let mut rig = Rig::new();
    rig.create("ann", 1);
    for (number, mode) in (2..).zip(["loopback", "conttest", "netwloop", "NETWTEST"]) {
        assert_eq!(code(&rig.send(&mdcx(number, &format!("M: {mode}\r\n")))), 200);
        let flow = rig.media.values().next().unwrap();
        assert_eq!((flow.sound, flow.direction), (Sound::Echo, Direction::SendRecv));
    }
    assert_eq!(code(&rig.send(&mdcx(9, "M: inactive\r\n"))), 200);
    assert_eq!(rig.media.values().next().unwrap().sound, Sound::Silence);
}

#[test]
fn options_are_merged_and_what_they_rule_out_is_refused() {
    let mut rig = Rig::new();
    rig.send(&format!("CRCX 1 ann/$@gw MGCP 1.0\r\nC: 1\r\nL: p:10, a:PCMU;PCMA\r\nM: recvonly\r\n\r\n{SDP}"));
    assert_eq!(code(&rig.send(&mdcx(2, "L: a:PCMA\r\n"))), 534);
    assert_eq!(rig.media.values().next().unwrap().ptime, 10);
    let answer = rig.send(&mdcx(3, "L: p:30\r\n"));
    assert_eq!(line(&descriptions(&answer)[0], "a=ptime"), "a=ptime:30");
    let audit = rig.send(&format!("AUCX 4 {} MGCP 1.0\r\nI: {}\r\nF: L\r\n", name("ann", 1), id(1)));
    assert_eq!(param(&audit, Field::LocalConnectionOptions), "p:30, a:PCMU;PCMA");
}

#[test]
fn a_change_that_is_refused_leaves_everything_as_it_was() {
    let mut rig = Rig::new();
    rig.create("ann", 1);
    let before = *rig.media.values().next().unwrap();
    let (endpoint, connection) = (name("ann", 1), id(1));
    let table = [
        (format!("MDCX 10 {} MGCP 1.0\r\nC: 1\r\nI: {connection}\r\n", name("ann", 2)), 500),
        (format!("MDCX 11 *@gw MGCP 1.0\r\nC: 1\r\nI: {connection}\r\n"), 500),
        (format!("MDCX 12 ann/{TOKEN}/$@gw MGCP 1.0\r\nC: 1\r\nI: {connection}\r\n"), 500),
        (format!("MDCX 13 {endpoint} MGCP 1.0\r\nC: 1\r\n"), 510),
        (format!("MDCX 14 {endpoint} MGCP 1.0\r\nC: 1\r\nI: {}\r\n", id(2)), 515),
        (format!("MDCX 15 {endpoint} MGCP 1.0\r\nC: 1\r\nI: FDE234C8\r\n"), 515),
        (format!("MDCX 16 {endpoint} MGCP 1.0\r\nC: 2\r\nI: {connection}\r\n"), 516),
        (format!("MDCX 17 {endpoint} MGCP 1.0\r\nI: {connection}\r\n"), 510),
        (mdcx(18, "M: confrnce\r\n"), 517),
        (mdcx(19, "M: sendrecv\r\n"), 527),
        (mdcx(20, "L: a:G723\r\n"), 534),
        (mdcx(21, "Z2: ann/$@gw\r\n"), 539),
        (mdcx(22, &format!("\r\n{}", SDP.replace("3456", "0"))), 505),
        (mdcx(23, "M: inactive\r\nX: 1\r\nR: nosuch/pkg\r\n"), 518),
    ];
    for (command, wanted) in table {
        assert_eq!(code(&rig.send(&command)), wanted, "{command}");
    }
    rig.broken = true;
    assert_eq!(code(&rig.send(&mdcx(30, "M: inactive\r\n"))), 403);
    rig.broken = false;
    assert_eq!(*rig.media.values().next().unwrap(), before);
    let audit = rig.send(&format!("AUCX 31 {endpoint} MGCP 1.0\r\nI: {connection}\r\nF: M\r\n"));
    assert_eq!(param(&audit, Field::ConnectionMode), "recvonly");
}

#[test]
fn ids_and_call_ids_compare_in_any_case() {
    let mut rig = Rig::new();
    rig.send("CRCX 1 ann/$@gw MGCP 1.0\r\nC: aBc\r\nM: recvonly\r\n");
    let command = format!(
        "mdcx 2 {} mgcp 1.0\nc: AbC\ni: {}\nm: INACTIVE\n",
        name("ANN", 1).to_uppercase(),
        id(1).to_uppercase()
    );
    assert_eq!(code(&rig.send(&command)), 200);
}

#[test]
fn a_modification_whose_connection_goes_meanwhile_is_407() {
    let mut rig = Rig::new();
    rig.create("ann", 1);
    let (key, _) = rig.asked[0];
    rig.silent = true;
    assert_eq!(rig.send(&mdcx(2, "M: inactive\r\n")), "");
    rig.gateway.on_media(key, Told::Lost, rig.now);
    rig.gateway.on_media(key, Told::Changed, rig.now);
    rig.settle();
    assert_eq!(code(&rig.answer()), 407);
}
