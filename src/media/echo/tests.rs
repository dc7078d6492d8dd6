use proptest::prelude::*;
use rtp_types::{RtpPacket, RtpPacketBuilder};

use super::*;
use crate::media::stream::RATE_LIMIT;
use crate::media::{Codec, Direction, Payload, rtcp};

const CALLER: &str = "192.0.2.1:4000";

fn addr(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

fn terms(direction: Direction) -> Terms {
    let payloads = [(Codec::Pcmu, 0), (Codec::TelephoneEvent, 101)];
    Terms {
        direction,
        remote: Some(addr(CALLER)),
        payloads: payloads.into_iter().map(|(codec, n)| Payload { codec, receive: n, send: n }).collect(),
    }
}

fn echo() -> Echo {
    Echo::new(0x1234_5678_9abc_def0, &terms(Direction::SendRecv), None)
}

fn packet(ssrc: u32, sequence: u16, timestamp: u32) -> RtpPacketBuilder<&'static [u8], &'static [u8]> {
    RtpPacketBuilder::new()
        .payload_type(0)
        .ssrc(ssrc)
        .sequence_number(sequence)
        .timestamp(timestamp)
        .payload(&b"sound"[..])
}

/// Sends a packet through; returns (ssrc, sequence, timestamp) of its echo.
fn through(echo: &mut Echo, ssrc: u32, sequence: u16, timestamp: u32, ms: u64) -> (u32, u16, u32) {
    let mut bytes = packet(ssrc, sequence, timestamp).write_vec().unwrap();
    let echoed = echo.on_packet(&mut bytes, addr(CALLER), Time(ms * 1_000)).unwrap();
    assert_eq!(echoed.to, addr(CALLER));
    let read = RtpPacket::parse(echoed.bytes).unwrap();
    assert_eq!(read.payload(), b"sound");
    (read.ssrc(), read.sequence_number(), read.timestamp())
}

#[test]
fn a_packet_comes_back_with_the_same_sound_and_our_own_source() {
    let mut echo = echo();
    let mut bytes = packet(7, 1, 160).marker_bit(true).write_vec().unwrap();
    let echoed = echo.on_packet(&mut bytes, addr(CALLER), Time(0)).unwrap();
    let read = RtpPacket::parse(echoed.bytes).unwrap();
    assert_eq!(read.payload(), b"sound");
    assert_eq!(read.ssrc(), echo.ssrc());
    assert_eq!((read.payload_type(), read.marker_bit()), (0, true));
    assert_eq!((echo.sent().packets, echo.sent().octets), (1, 5));
}

#[test]
fn losses_and_reorderings_of_the_sender_stay_as_they_were() {
    let mut echo = echo();
    let (_, first, begin) = through(&mut echo, 7, 65_534, u32::MAX - 100, 0);
    for (sequence, step) in [(65_535, 1), (1, 3), (0, 2), (5, 7)] {
        let timestamp = (u32::MAX - 100).wrapping_add(160 * u32::from(step));
        let (_, out, stamp) = through(&mut echo, 7, sequence, timestamp, 20);
        assert_eq!(out, first.wrapping_add(step));
        assert_eq!(stamp, begin.wrapping_add(160 * u32::from(step)));
    }
}

#[test]
fn a_sender_that_starts_over_makes_no_gap_in_our_stream() {
    let mut echo = echo();
    let (ssrc, sequence, timestamp) = through(&mut echo, 7, 100, 8_000, 0);
    let restarted = through(&mut echo, 8, 40_000, 99, 500);
    assert_eq!(restarted, (ssrc, sequence.wrapping_add(1), timestamp.wrapping_add(4_000)));
    let leapt = through(&mut echo, 8, 10_000, 77, 520);
    assert_eq!(leapt, (ssrc, sequence.wrapping_add(2), timestamp.wrapping_add(4_160)));
}

#[test]
fn a_late_packet_before_a_restart_does_not_set_our_numbers_back() {
    let mut echo = echo();
    let (_, sequence, _) = through(&mut echo, 7, 100, 0, 0);
    through(&mut echo, 7, 102, 320, 40);
    through(&mut echo, 7, 101, 160, 41);
    let (_, next, _) = through(&mut echo, 9, 1, 0, 60);
    assert_eq!(next, sequence.wrapping_add(3));
}

#[test]
fn contributing_sources_extensions_and_padding_are_left_out() {
    let mut bytes =
        packet(7, 1, 0).add_csrc(1).add_csrc(2).extension(0xbede, &[1, 2, 3, 4][..]).padding(8).write_vec().unwrap();
    assert_eq!(bytes.len(), 12 + 8 + 8 + 5 + 8);
    let mut echo = echo();
    let echoed = echo.on_packet(&mut bytes, addr(CALLER), Time(0)).unwrap();
    assert_eq!(echoed.bytes.len(), 12 + 5);
    assert_eq!(RtpPacket::parse(echoed.bytes).unwrap().payload(), b"sound");
}

#[test]
fn telephone_events_pass_with_their_marker() {
    let mut bytes = packet(7, 1, 0)
        .clear_payloads()
        .payload_type(101)
        .marker_bit(true)
        .payload(&[5, 10, 0, 160][..])
        .write_vec()
        .unwrap();
    let mut echo = echo();
    let echoed = echo.on_packet(&mut bytes, addr(CALLER), Time(0)).unwrap();
    let read = RtpPacket::parse(echoed.bytes).unwrap();
    assert_eq!((read.payload_type(), read.marker_bit(), read.payload()), (101, true, &[5, 10, 0, 160][..]));
}

#[test]
fn the_echo_carries_the_number_that_the_peer_gave_the_format() {
    let payloads = [Payload { codec: Codec::Pcmu, receive: 96, send: 0 }].into_iter().collect();
    let mut echo = Echo::new(1, &Terms { payloads, ..terms(Direction::SendRecv) }, None);
    let mut bytes = packet(7, 1, 0).payload_type(96).write_vec().unwrap();
    let echoed = echo.on_packet(&mut bytes, addr(CALLER), Time(0)).unwrap();
    assert_eq!(RtpPacket::parse(echoed.bytes).unwrap().payload_type(), 0);
}

#[test]
fn packets_of_another_stream_are_dropped_with_their_reason() {
    let mut echo = echo();
    through(&mut echo, 7, 1, 0, 0);
    let own = echo.ssrc();
    let mut drop_of = |mut bytes: Vec<u8>, source: &str| echo.on_packet(&mut bytes, addr(source), Time(1_000)).err();
    let valid = || packet(7, 2, 160).write_vec().unwrap();
    assert_eq!(drop_of(b"".to_vec(), CALLER), Some(Dropped::NotRtp));
    assert_eq!(drop_of(b"INVITE sip:a@b SIP/2.0\r\n".to_vec(), CALLER), Some(Dropped::NotRtp));
    assert_eq!(drop_of(valid()[..11].to_vec(), CALLER), Some(Dropped::NotRtp));
    assert_eq!(drop_of(vec![0x80, 200, 0, 6, 0, 0, 0, 7], CALLER), Some(Dropped::Rtcp));
    assert_eq!(drop_of(packet(7, 2, 0).payload_type(9).write_vec().unwrap(), CALLER), Some(Dropped::PayloadType));
    assert_eq!(drop_of(packet(own, 2, 0).write_vec().unwrap(), CALLER), Some(Dropped::Loop));
    assert_eq!(drop_of(packet(8, 2, 0).write_vec().unwrap(), "198.51.100.6:9"), Some(Dropped::OtherSender));
    assert_eq!(drop_of(valid(), CALLER), None);
}

#[test]
fn an_invalid_packet_does_not_latch_its_sender() {
    let mut echo = echo();
    let mut foreign = packet(7, 2, 0).payload_type(9).write_vec().unwrap();
    assert_eq!(echo.on_packet(&mut foreign, addr("198.51.100.6:9"), Time(0)), Err(Dropped::PayloadType));
    assert_eq!(echo.remote(), None);
}

#[test]
fn on_hold_nothing_is_sent_and_the_stream_goes_on_without_a_gap_afterwards() {
    let mut echo = echo();
    let (ssrc, sequence, _) = through(&mut echo, 7, 1, 0, 0);
    for direction in [Direction::RecvOnly, Direction::Inactive] {
        echo.set_terms(&terms(direction), None);
        let mut bytes = packet(7, 2, 160).write_vec().unwrap();
        assert_eq!(echo.on_packet(&mut bytes, addr(CALLER), Time(20_000)), Err(Dropped::Held));
    }
    echo.set_terms(&terms(Direction::SendRecv), None);
    let (again, next, _) = through(&mut echo, 7, 50, 8_000, 1_000);
    assert_eq!((again, next), (ssrc, sequence.wrapping_add(1)));
}

#[test]
fn two_echoes_pointed_at_each_other_do_not_run_hot() {
    let mut echo = echo();
    let echoed = (0..10_000_u16)
        .filter(|n| {
            let mut bytes = packet(7, *n, 0).write_vec().unwrap();
            echo.on_packet(&mut bytes, addr(CALLER), Time(500 + u64::from(*n))).is_ok()
        })
        .count();
    assert_eq!(echoed, RATE_LIMIT as usize);
    through(&mut echo, 7, 10_001, 0, 1_001);
}

#[test]
fn a_strangers_flood_takes_nothing_from_the_stream() {
    let mut echo = echo();
    through(&mut echo, 7, 1, 0, 0);
    for n in 0..2 * RATE_LIMIT {
        let mut bytes = packet(8, n as u16, 0).write_vec().unwrap();
        assert_eq!(echo.on_packet(&mut bytes, addr("198.51.100.6:9"), Time(1_000)), Err(Dropped::OtherSender));
    }
    through(&mut echo, 7, 2, 160, 20);
}

#[test]
fn a_report_from_the_peers_host_is_answered_and_a_strangers_is_not() {
    let mut echo = echo();
    let report = [0x80, 201, 0, 1, 0, 0, 0, 7];
    let mut out = Vec::new();
    assert_eq!(echo.on_rtcp(&report, addr("192.0.2.1:4001"), Time(0), &mut out), Answered::No);
    through(&mut echo, 7, 1, 0, 0);
    assert_eq!(echo.on_rtcp(&report, addr("198.51.100.6:4001"), Time(0), &mut out), Answered::No);
    assert!(out.is_empty());
    assert_eq!(echo.on_rtcp(&report, addr("192.0.2.1:4001"), Time(0), &mut out), Answered::Yes);
    assert!(rtcp::is_rtcp(&out));
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic_and_an_echo_is_never_longer_than_its_packet(
        mut bytes in prop::collection::vec(any::<u8>(), 0..120),
        version in any::<bool>(),
    ) {
        if version && !bytes.is_empty() {
            bytes[0] = bytes[0] & 0x3f | 0x80;
        }
        let length = bytes.len();
        let mut echo = echo();
        let mut out = Vec::new();
        echo.on_rtcp(&bytes, addr(CALLER), Time(0), &mut out);
        if let Ok(echoed) = echo.on_packet(&mut bytes, addr(CALLER), Time(0)) {
            prop_assert!(echoed.bytes.len() <= length);
            prop_assert!(RtpPacket::parse(echoed.bytes).is_ok());
        }
        echo.on_rtcp(&bytes, addr(CALLER), Time(1), &mut out);
    }
}
