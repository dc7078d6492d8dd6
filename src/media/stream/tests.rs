use rtp_types::RtpPacketBuilder;

use super::*;
use crate::media::Payload;

const ALICE: &str = "192.0.2.1:4000";
const BOB: &str = "198.51.100.2:5000";

fn addr(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

fn at(ms: u64) -> Time {
    Time(ms * 1_000)
}

fn terms(remote: &str, direction: Direction, payloads: &[(Codec, u8)]) -> Terms {
    let payloads = payloads.iter().map(|(codec, n)| Payload { codec: *codec, receive: *n, send: *n });
    Terms { direction, remote: Some(addr(remote)), payloads: payloads.collect() }
}

/// The leg of Alice, who has events as 101, and Bob's, who has them as 96.
fn legs() -> (Stream, Stream) {
    let alice = terms(ALICE, Direction::SendRecv, &[(Codec::Pcmu, 0), (Codec::TelephoneEvent, 101)]);
    let bob = terms(BOB, Direction::SendRecv, &[(Codec::Pcmu, 0), (Codec::TelephoneEvent, 96)]);
    (Stream::new(1, &alice, None), Stream::new(2, &bob, None))
}

fn packet(payload_type: u8, ssrc: u32, sequence: u16) -> Vec<u8> {
    let packet = RtpPacketBuilder::new().payload_type(payload_type).ssrc(ssrc).sequence_number(sequence);
    packet.timestamp(160 * u32::from(sequence)).payload(&b"sound"[..]).write_vec().unwrap()
}

/// Sends a packet into `from`; returns what leaves at `to`: destination, payload type, sequence number.
fn across(
    from: &mut Stream,
    to: &mut Stream,
    mut bytes: Vec<u8>,
    source: &str,
    ms: u64,
) -> Result<(SocketAddr, u8, u16), Dropped> {
    let arrived = from.receive(&bytes, addr(source), at(ms))?;
    let (remote, bytes) = to.forward(&arrived, &mut bytes, at(ms))?;
    let read = RtpPacket::parse(bytes).unwrap();
    assert_eq!((read.payload(), read.ssrc()), (&b"sound"[..], to.ssrc()));
    Ok((remote, read.payload_type(), read.sequence_number()))
}

#[test]
fn packets_that_one_leg_receives_leave_the_other_as_a_stream_of_its_own() {
    let (mut alice, mut bob) = legs();
    let (to, payload_type, first) = across(&mut alice, &mut bob, packet(0, 7, 100), ALICE, 0).unwrap();
    assert_eq!((to, payload_type), (addr(BOB), 0), "Bob has sent nothing yet: his description says where he is");
    let (_, payload_type, second) = across(&mut alice, &mut bob, packet(101, 7, 101), ALICE, 20).unwrap();
    assert_eq!((payload_type, second), (96, first.wrapping_add(1)), "the number that events have with Bob");
    let (_, _, third) = across(&mut alice, &mut bob, packet(0, 8, 40_000), ALICE, 40).unwrap();
    assert_eq!(third, first.wrapping_add(2), "Alice's new source makes no gap");
    assert_eq!((bob.sent().packets, bob.sent().octets), (3, 15));
    assert_eq!((alice.received().packets, alice.received().octets, alice.lost()), (3, 15, 0));
}

#[test]
fn behind_a_nat_packets_go_where_the_other_leg_sends_from_once_it_does() {
    for (said, heard) in
        [("10.1.2.3:5000", "203.0.113.5:61000"), ("[fd00::1]:5000", "[2001:db8::5]:61000"), (BOB, "198.51.100.2:61000")]
    {
        let (mut alice, _) = legs();
        let mut bob = Stream::new(2, &terms(said, Direction::SendRecv, &[(Codec::Pcmu, 0)]), None);
        across(&mut bob, &mut alice, packet(0, 9, 1), heard, 0).unwrap();
        let (to, ..) = across(&mut alice, &mut bob, packet(0, 7, 1), ALICE, 20).unwrap();
        assert_eq!(to, addr(heard));
    }
}

#[test]
fn a_stranger_who_sends_to_the_port_does_not_get_to_hear_the_other_leg() {
    let (mut alice, mut bob) = legs();
    let stranger = "203.0.113.66:6666";
    // Bob only listens at first, and is silent for a while later.
    assert_eq!(across(&mut bob, &mut alice, packet(0, 66, 1), stranger, 0), Err(Dropped::OtherSender));
    let (to, ..) = across(&mut alice, &mut bob, packet(0, 7, 1), ALICE, 20).unwrap();
    assert_eq!(to, addr(BOB));
    across(&mut bob, &mut alice, packet(0, 9, 1), BOB, 40).unwrap();
    for sequence in 1..10 {
        let _ = across(&mut bob, &mut alice, packet(0, 67, sequence), stranger, 5_000 + u64::from(sequence) * 20);
        let (to, ..) = across(&mut alice, &mut bob, packet(0, 7, 1 + sequence), ALICE, 6_000).unwrap();
        assert_eq!(to, addr(BOB));
    }
    across(&mut bob, &mut alice, packet(0, 9, 2), BOB, 9_000).unwrap();
    assert_eq!(bob.remote(), Some(addr(BOB)), "he talks again");
}

#[test]
fn a_format_that_the_other_leg_does_not_have_is_dropped_and_looks_like_no_loss() {
    let (mut alice, _) = legs();
    let mut bob = Stream::new(2, &terms(BOB, Direction::SendRecv, &[(Codec::Pcmu, 0)]), None);
    let (_, _, first) = across(&mut alice, &mut bob, packet(0, 7, 100), ALICE, 0).unwrap();
    for sequence in 101..104 {
        let event = packet(101, 7, sequence);
        assert_eq!(across(&mut alice, &mut bob, event, ALICE, 20), Err(Dropped::PayloadType));
    }
    let (_, _, next) = across(&mut alice, &mut bob, packet(0, 7, 104), ALICE, 100).unwrap();
    assert_eq!(next, first.wrapping_add(1));
}

#[test]
fn a_leg_that_does_not_send_or_has_no_address_gets_nothing() {
    let (mut alice, _) = legs();
    let mut held = Stream::new(2, &terms(BOB, Direction::RecvOnly, &[(Codec::Pcmu, 0)]), None);
    assert_eq!(across(&mut alice, &mut held, packet(0, 7, 1), ALICE, 0), Err(Dropped::Held));
    let nowhere = Terms { remote: None, ..terms(BOB, Direction::SendRecv, &[(Codec::Pcmu, 0)]) };
    let mut nowhere = Stream::new(2, &nowhere, None);
    assert_eq!(across(&mut alice, &mut nowhere, packet(0, 7, 2), ALICE, 20), Err(Dropped::NoAddress));
    across(&mut nowhere, &mut alice, packet(0, 9, 1), BOB, 30).unwrap();
    assert_eq!(across(&mut alice, &mut nowhere, packet(0, 7, 3), ALICE, 40), Err(Dropped::NoAddress), "on hold");
    assert_eq!(held.sent().packets + nowhere.sent().packets, 0);
}

#[test]
fn losses_are_counted_over_all_sources_of_a_stream() {
    let (mut alice, _) = legs();
    for (ssrc, sequence) in [(7, 1), (7, 4), (8, 100), (8, 102)] {
        alice.receive(&packet(0, ssrc, sequence), addr(ALICE), at(0)).unwrap();
    }
    assert_eq!((alice.received().packets, alice.lost()), (4, 3));
    let refused = alice.receive(&packet(0, 9, 1), addr("203.0.113.6:6"), at(10)).unwrap_err();
    assert_eq!(refused, Dropped::OtherSender);
    assert_eq!(alice.received().packets, 4, "a stranger's packets are not the stream's");
}
