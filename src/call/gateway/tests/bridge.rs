//! Bridges: each of two connections sends the packets that the other one receives.

use super::*;
use crate::call::gateway::Sound;
use crate::media::{Codec, Direction};

fn crcx(id: u32, endpoint: &str, lines: &str) -> String {
    format!("CRCX {id} {endpoint} MGCP 1.0\r\nC: 1\r\nM: recvonly\r\n{lines}")
}

#[test]
fn the_second_connection_and_the_first_name_each_other() {
    let mut rig = Rig::new();
    let (endpoint, _) = rig.create("rtpbridge", 1);
    let (first, _) = rig.asked[0];
    assert_eq!(rig.media[&first].sound, Sound::Silence);
    let answer = rig.send(&crcx(2, &endpoint, &format!("\r\n{SDP}")));
    let second = *rig.media.keys().last().unwrap();
    assert_eq!(
        (rig.media[&first].sound, rig.media[&second].sound),
        (Sound::Connection(second), Sound::Connection(first))
    );
    let dlcx = format!("DLCX 3 {endpoint} MGCP 1.0\r\nI: {}\r\n", param(&answer, Field::ConnectionId));
    assert_eq!(code(&rig.send(&dlcx)), 250);
    assert_eq!(rig.media[&first].sound, Sound::Silence);
}

#[test]
fn a_connection_that_turns_its_stream_back_gives_none_to_the_other() {
    let mut rig = Rig::new();
    let (endpoint, connection) = rig.create("bridge", 1);
    rig.send(&crcx(2, &endpoint, ""));
    let keys: Vec<ConnectionKey> = rig.media.keys().copied().collect();
    let mdcx = |id, mode| format!("MDCX {id} {endpoint} MGCP 1.0\r\nC: 1\r\nI: {connection}\r\nM: {mode}\r\n");
    assert_eq!(code(&rig.send(&mdcx(3, "loopback"))), 200);
    assert_eq!((rig.media[&keys[0]].sound, rig.media[&keys[1]].sound), (Sound::Echo, Sound::Silence));
    assert_eq!(code(&rig.send(&mdcx(4, "inactive"))), 200);
    assert_eq!(rig.media[&keys[0]].sound, Sound::Connection(keys[1]));
    assert_eq!(rig.media[&keys[1]].sound, Sound::Connection(keys[0]));
    assert_eq!(rig.media[&keys[0]].direction, Direction::Inactive);
}

#[test]
fn both_sides_must_have_a_sound_format_in_common() {
    let mut rig = Rig::new();
    let (endpoint, first) = rig.create("bridge", 1);
    rig.send(&format!("MDCX 2 {endpoint} MGCP 1.0\r\nC: 1\r\nI: {first}\r\n\r\n{SDP}"));
    let pcma = SDP.replace("AVP 0", "AVP 8");
    assert_eq!(code(&rig.send(&crcx(3, &endpoint, &format!("\r\n{pcma}")))), 534);
    assert_eq!(code(&rig.send(&crcx(4, &endpoint, "L: a:PCMA\r\n"))), 534);
    let both = SDP.replace("AVP 0", "AVP 8 0");
    let answer = rig.send(&crcx(5, &endpoint, &format!("\r\n{both}")));
    assert_eq!(line(&descriptions(&answer)[0], "m="), "m=audio 20002 RTP/AVP 0");
    let codecs: Vec<Codec> = rig.media.values().last().unwrap().payloads.iter().map(|payload| payload.codec).collect();
    assert_eq!(codecs, [Codec::Pcmu]);
    let second = param(&answer, Field::ConnectionId);
    let mdcx = format!("MDCX 6 {endpoint} MGCP 1.0\r\nC: 1\r\nI: {second}\r\n\r\n{pcma}");
    assert_eq!(code(&rig.send(&mdcx)), 534);
}

#[test]
fn connections_of_other_endpoints_get_nothing_of_each_other() {
    let mut rig = Rig::new();
    for (number, kind) in [(1, "ann"), (10, "ivr"), (20, "cnf")] {
        let (endpoint, _) = rig.create(kind, number);
        rig.send(&crcx(number + 1, &endpoint, ""));
    }
    assert!(rig.media.values().all(|flow| flow.sound == Sound::Silence));
}
